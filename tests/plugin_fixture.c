/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin with a service table of the test's; see plugin_fixture.h. */
#include "plugin_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/params.h"

static char *const *modules;

int plugin_fixture_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
	if (argc < 2) {
		fputs("the modules to be tested are the arguments\n", stderr);
		return 1;
	}
	modules = argv + 1;
	return _cmocka_run_group_tests("plugins", tests, count, NULL, NULL);
}

void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' does not hold '%s'", text, part);
}

/* ---- the services ---- */

static int refuse(struct tritone_error *error, int code, const char *text)
{
	error->code = code;
	snprintf(error->text, sizeof error->text, "%s", text);
	return -1;
}

static int record(struct fake *fake, const char *what, const char *key, struct tritone_error *error)
{
	char line[96];

	assert_true(strlen(key) > 0 && strlen(key) < 64);
	snprintf(line, sizeof line, "%s %s\n", what, key);
	assert_true(strlen(fake->order) + strlen(line) < sizeof fake->order);
	strcat(fake->order, line);
	return fake->failing && strstr(line, fake->failing) ? refuse(error, EIO, line) : 0;
}

static void fake_log(void *host, uint32_t level, const char *text)
{
	(void)host;
	(void)level;
	(void)text;
}

static int fake_cancelled(void *host)
{
	(void)host;
	return 0;
}

static uint64_t fake_random(void *host, uint64_t bound)
{
	struct fake *fake = host;
	uint64_t z = fake->random += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return bound ? (z ^ (z >> 31)) % bound : 0;
}

static int fake_targets(void *host, uint32_t kind, tritone_target_fn visit, void *arg, struct tritone_error *error)
{
	struct fake *fake = host;
	size_t i;

	(void)error;
	for (i = 0; i < fake->target_count; i++)
		if (fake->targets[i].kind == kind && visit(arg, &fake->targets[i]))
			break;
	return 0;
}

static int fake_gateway(void *host, const struct tritone_gateway_rule *rule, struct tritone_error *error)
{
	struct fake *fake = host;

	fake->gateway = *rule;
	fake->gateway.key = NULL; /* the plugin's memory */
	snprintf(fake->target, sizeof fake->target, "%s", rule->target);
	return record(fake, "gateway", rule->key, error);
}

static int fake_errno(void *host, const struct tritone_errno_rule *rule, struct tritone_error *error)
{
	struct fake *fake = host;

	fake->refusal = *rule;
	fake->refusal.key = NULL;
	snprintf(fake->path, sizeof fake->path, "%s", rule->path);
	return record(fake, "errno", rule->key, error);
}

static int fake_point(void *host, const struct tritone_point_rule *rule, struct tritone_error *error)
{
	struct fake *fake = host;

	fake->point = *rule;
	fake->point.key = NULL;
	snprintf(fake->name, sizeof fake->name, "%s", rule->name);
	return record(fake, "point", rule->key, error);
}

static int fake_hits(void *host, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct tritone_error *error)
{
	struct fake *fake = host;
	size_t i, n = strlen(key);

	if (fake->on_hits)
		fake->on_hits(fake);
	for (i = 0; i < FAKE_RULES && fake->hits[i].key_end; i++) {
		size_t end = strlen(fake->hits[i].key_end);

		if (n < end || strcmp(key + n - end, fake->hits[i].key_end) != 0)
			continue;
		if (fake->hits[i].error)
			return refuse(error, fake->hits[i].error, "no hits");
		if (ret_hits)
			*ret_hits = fake->hits[i].hits;
		if (ret_seen)
			*ret_seen = fake->hits[i].seen;
		return 0;
	}
	return refuse(error, ENOENT, "no such rule");
}

static int fake_clear(void *host, const char *key, struct tritone_error *error)
{
	return record(host, "clear", key, error);
}

static void fake_evidence(void *host, const char *name, const char *value)
{
	struct fake *fake = host;
	size_t used = strlen(fake->seen);

	snprintf(fake->seen + used, sizeof fake->seen - used, "%s=%s\n", name, value);
}

static const struct tritone_services services = {
    .struct_size = sizeof services,
    .log = fake_log,
    .cancelled = fake_cancelled,
    .random = fake_random,
    .targets = fake_targets,
    .gateway_rule = fake_gateway,
    .errno_rule = fake_errno,
    .faultpoint = fake_point,
    .rule_hits = fake_hits,
    .rule_clear = fake_clear,
    .evidence = fake_evidence,
};

/* ---- life ---- */

int plugin_setup(void **state)
{
	struct plugin *plugin = calloc(1, sizeof *plugin);

	assert_non_null(plugin);
	strcpy(plugin->dir, "/tmp/test-plugin-XXXXXX");
	assert_non_null(mkdtemp(plugin->dir));
	snprintf(plugin->state, sizeof plugin->state, "%s/state", plugin->dir);
	snprintf(plugin->keep, sizeof plugin->keep, "%s/keep", plugin->dir);
	snprintf(plugin->outside, sizeof plugin->outside, "%s/state-not", plugin->dir);
	assert_int_equal(mkdir(plugin->state, 0700) | mkdir(plugin->keep, 0700) | mkdir(plugin->outside, 0700), 0);
	/* 8-aligned, and 4 on: a record may begin there. */
	plugin->undo_memory = calloc(1, sizeof *plugin->undo + 8);
	assert_non_null(plugin->undo_memory);
	plugin->undo = (void *)((char *)plugin->undo_memory + 4);
	plugin->call = (struct tritone_call){
	    .struct_size = sizeof plugin->call,
	    .services = &services,
	    .host = &plugin->fake,
	    .fault_id = "f-1",
	    .state_dir = plugin->state,
	    .keep_dir = plugin->keep,
	};
	*state = plugin;
	return 0;
}

static void unload(struct plugin *plugin)
{
	if (plugin->fault)
		params_free(plugin->values, plugin->fault->param_count);
	if (plugin->handle)
		dlclose(plugin->handle);
	plugin->handle = NULL;
	plugin->fault = NULL;
}

int plugin_teardown(void **state)
{
	struct plugin *plugin = *state;
	char command[128];
	size_t i;

	for (i = 0; i < plugin->agent_count; i++) {
		close(plugin->agents[i].to);
		close(plugin->agents[i].from);
		if (plugin->agents[i].pid > 0) {
			kill(plugin->agents[i].pid, SIGKILL);
			waitpid(plugin->agents[i].pid, NULL, 0);
		}
	}
	unload(plugin);
	snprintf(command, sizeof command, "rm -rf '%s'", plugin->dir);
	assert_int_equal(system(command), 0);
	free(plugin->undo_memory);
	free(plugin);
	return 0;
}

void plugin_load(struct plugin *plugin, const char *const *words)
{
	const char *slash;
	const struct tritone_fault *fault;
	tritone_fault_fn entry;
	char *const *module;
	struct error err;
	char file[64];
	size_t count = 0;

	unload(plugin);
	snprintf(file, sizeof file, "%s.so", words[0]);
	for (module = modules; *module; module++) {
		slash = strrchr(*module, '/');
		if (!strcmp(slash ? slash + 1 : *module, file))
			break;
	}
	if (!*module)
		fail_msg("%s is not among the modules", file);
	plugin->handle = dlopen(*module, RTLD_NOW | RTLD_LOCAL);
	if (!plugin->handle)
		fail_msg("%s", dlerror());
	*(void **)&entry = dlsym(plugin->handle, TRITONE_FAULT_SYMBOL);
	assert_non_null(entry);
	fault = entry();
	if (!fault) {
		fail_msg("%s has no descriptor", file);
		return; /* never reached, which the analyzer does not know */
	}
	while (words[count + 1])
		count++;
	if (params_parse(&plugin->values, fault->params, fault->param_count, words + 1, count, &err) < 0)
		fail_msg("%s", err.text);
	plugin->fault = fault;
	plugin->call.values = plugin->values;
	plugin->call.value_count = fault->param_count;
}

struct tritone_target *plugin_target(struct plugin *plugin, uint32_t kind, const char *id)
{
	struct tritone_target *target = &plugin->fake.targets[plugin->fake.target_count++];

	assert_true(plugin->fake.target_count <= FAKE_TARGETS);
	*target =
	    (struct tritone_target){.struct_size = sizeof *target, .kind = kind, .id = id, .task = "", .worktree = ""};
	return target;
}

static void must(const struct plugin *plugin, int result)
{
	if (result)
		fail_msg("%d: %s", plugin->error.code, plugin->error.text);
}

void plugin_plan(struct plugin *plugin)
{
	must(plugin, plugin->fault->plan(&plugin->call, plugin->undo, &plugin->error));
}

void plugin_inject(struct plugin *plugin)
{
	must(plugin, plugin->fault->inject(&plugin->call, plugin->undo, &plugin->error));
}

uint32_t plugin_verify(struct plugin *plugin)
{
	plugin->proof = (struct tritone_proof){.struct_size = sizeof plugin->proof};
	must(plugin, plugin->fault->verify(&plugin->call, plugin->undo, &plugin->proof, &plugin->error));
	assert_true(plugin->proof.text[0]);
	return plugin->proof.felt;
}

void plugin_revert(struct plugin *plugin)
{
	must(plugin, plugin->fault->revert(&plugin->call, plugin->undo, &plugin->error));
}

void plugin_failed(const struct plugin *plugin, int result, int code, const char *text)
{
	assert_int_equal(result, -1);
	if (plugin->error.code != code)
		fail_msg("code %d, expected %d: %s", plugin->error.code, code, plugin->error.text);
	assert_has(plugin->error.text, text);
}

/* ---- agents ---- */

static void end_well(int signal)
{
	(void)signal;
	_exit(0);
}

static void __attribute__((noreturn)) live(int in, int out)
{
	char what;

	while (read(in, &what, 1) == 1) {
		if (what == 'd')
			signal(SIGTERM, SIG_IGN);
		if (what == 'c')
			signal(SIGTERM, end_well);
		if (write(out, &what, 1) != 1 || what == 'x')
			break;
	}
	_exit(0);
}

uint64_t start_time_of(pid_t pid)
{
	char path[64], text[1024], *p;
	FILE *stat;
	int field;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	stat = fopen(path, "re");
	assert_non_null(stat);
	assert_non_null(fgets(text, sizeof text, stat));
	fclose(stat);
	p = strrchr(text, ')');
	for (field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

struct agent *agent_start(struct plugin *plugin, bool deaf)
{
	struct agent *agent = &plugin->agents[plugin->agent_count++];
	int to[2], from[2];

	assert_true(plugin->agent_count <= sizeof plugin->agents / sizeof plugin->agents[0]);
	assert_int_equal(pipe2(to, O_CLOEXEC) | pipe2(from, O_CLOEXEC), 0);
	agent->pid = fork();
	assert_true(agent->pid >= 0);
	if (agent->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(to[1]);
		close(from[0]);
		live(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	agent->to = to[1];
	agent->from = from[0];
	agent->start_time = start_time_of(agent->pid);
	agent_say(agent, deaf ? 'd' : 'h');
	return agent;
}

void agent_say(struct agent *agent, char what)
{
	char answer = '\0';

	assert_int_equal(write(agent->to, &what, 1), 1);
	assert_int_equal(read(agent->from, &answer, 1), 1);
	assert_int_equal(answer, what);
}

void agent_as_target(const struct agent *agent, struct tritone_target *target)
{
	target->pid = agent->pid;
	target->start_time = agent->start_time;
}
