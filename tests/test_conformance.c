/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every fault plugin has promised, for each one that was built: `test_conformance MODULE|DIRECTORY ...`. Through the real runner, at a
 * system of real parts (conformance_world). Also for plugins from elsewhere.
 */
#include "conformance_world.h"
#include "skip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keeper/keeper.h"

#define FAULT  "conformance-1"
#define PARAMS 4
#define KNOWN                                                                                                          \
	(TRITONE_CAP_SIGNAL | TRITONE_CAP_FILES | TRITONE_CAP_GATEWAY | TRITONE_CAP_ERRNO | TRITONE_CAP_FAULTPOINT |   \
	    TRITONE_CAP_NETWORK | TRITONE_CAP_INSTANT)
#define EFFECTS (KNOWN & ~(unsigned)(TRITONE_CAP_NETWORK | TRITONE_CAP_INSTANT))

extern char **environ;

/* What else is to be felt, besides a fault as it is by default. */
static const struct {
	const char *plugin, *params[PARAMS];
} variants[] = {
    {"agent-kill", {"signal=KILL"}},
    {"agent-kill", {"agent=a-2", "signal=ABRT"}},
    {"agent-pause", {"agent=a-1"}},
    {"rate-limit", {"provider=codex", "header=false"}},
    {"rate-limit", {"provider=claude", "retry-after=250ms", "count=1"}},
    {"provider-error", {"kind=delay", "delay=1ms"}},
    {"provider-error", {"kind=hang"}},
    {"provider-error", {"kind=reset"}},
    {"provider-error", {"kind=malformed"}},
    {"provider-error", {"kind=truncated", "provider=claude"}},
    {"provider-error", {"kind=slow", "delay=1ms"}},
    {"provider-error", {"kind=wrong-content", "text=no"}},
    {"provider-error", {"kind=wrong-tool"}},
    {"provider-error", {"kind=context"}},
    {"rate-limit", {"says=soon"}},
    {"key-rotation", {"provider=claude", "key=sk-new"}},
    {"file-remove", {"pattern=*.bin"}},
    {"file-remove", {"pattern=src/*", "agent=a-2"}},
    {"disk-full", {"mode=perform-then-fail", "error=EIO", "calls=sync"}},
    {"disk-full", {"path=journal", "calls=create"}},
    {"swallowed-exception", {"swallow=false"}},
    {"process-kill", {"process=a-*", "which=one", "scope=group"}},
    {"process-kill", {"process=orchestrator", "scope=tree", "signal=ABRT"}},
    {"process-stop", {"process=*", "scope=tree"}},
    {"orchestrator-kill", {"point=notify.swallow"}},
};

static int setup(void **state)
{
	*state = world_create(*state);
	return 0;
}

static int teardown(void **state)
{
	world_destroy(*state);
	return 0;
}

/* ---- helpers ---- */

static void start(struct world *w, const char *const *params)
{
	struct runner_options options = {
	    .plugin = w->plugin,
	    .fault_id = FAULT,
	    .params = params,
	    .run_dir = w->run,
	    .state_dir = w->state,
	    .socket = w->socket,
	    .seed = 7,
	    .hook_timeout_ms = 60000,
	    .interrupt_fd = -1,
	};

	while (params && params[options.param_count])
		options.param_count++;
	if (!w->undo && undo_open(&w->undo, w->run, &w->err) < 0)
		fail_msg("%s", w->err.text);
	options.undo = w->undo;
	if (runner_start(&w->runner, &options, &w->err) < 0 || runner_check(w->runner, &w->err) < 0)
		fail_msg("%s", w->err.text);
}

static void inject(struct world *w, const char *const *params)
{
	start(w, params);
	if (runner_plan(w->runner, NULL, &w->err) < 0 || runner_inject(w->runner, &w->err) < 0)
		fail_msg("%s", w->err.text);
}

static void copy_entry(void *arg, const struct undo_entry *entry)
{
	memcpy(arg, entry, sizeof *entry);
}

static int outstanding(struct world *w, struct undo_entry *ret_entry)
{
	void (*visit)(void *, const struct undo_entry *) = ret_entry ? copy_entry : NULL;
	int n = w->undo ? undo_log_outstanding(w->undo, visit, ret_entry, &w->err)
			: undo_outstanding(w->run, visit, ret_entry, &w->err);

	if (n < 0)
		fail_msg("%s", w->err.text);
	return n;
}

/* The record of the fault at hand. */
static struct undo_entry *entry_of(struct world *w)
{
	struct undo_entry *entry = calloc(1, sizeof *entry);

	assert_non_null(entry);
	assert_int_equal(outstanding(w, entry), 1);
	return entry;
}

static void recover(struct world *w, const struct undo_entry *entry)
{
	if (runner_recover(w->run, w->undo, entry, &w->err) < 0)
		fail_msg("%s", w->err.text);
}

static bool instant(const struct world *w)
{
	return w->info->capabilities & TRITONE_CAP_INSTANT;
}

/* A kill cannot be undone, all else must be as it was. */
static void assert_undone(struct world *w, const char *tree_before)
{
	char *tree = world_tree(w, false), buf[256];

	assert_string_equal(tree, tree_before);
	free(tree);
	world_processes(w, buf);
	if (instant(w))
		assert_null(strstr(buf, "stopped"));
	else
		assert_string_equal(buf, "orchestrator alive; a-1 alive; a-2 alive; ");
	assert_int_equal(world_rules(w, NULL), 0);
	assert_int_equal(outstanding(w, NULL), 0);
}

/* Our child, the runner of this fault. */
static pid_t runner_pid(void)
{
	char path[64], text[512];
	long pid, found = 0;
	FILE *children;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	children = fopen(path, "re");
	assert_non_null(children);
	while (fscanf(children, "%ld", &pid) == 1) {
		ssize_t n;
		int fd;

		snprintf(path, sizeof path, "/proc/%ld/cmdline", pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd >= 0 ? read(fd, text, sizeof text) : 0;
		if (fd >= 0)
			close(fd);
		if (n > 0 && memmem(text, (size_t)n, "__runner", 8))
			found = pid;
	}
	fclose(children);
	assert_true(found > 0);
	return (pid_t)found;
}

/* ---- the descriptor ---- */

static void assert_line(const char *text, const char *what)
{
	if (!text || !*text || strchr(text, '\n') || isspace((unsigned char)*text))
		fail_msg("%s: expected one line, found '%s'", what, text ? text : "nothing");
}

static void check_param(const struct plugin_info *info, uint32_t i)
{
	const struct tritone_param *p = &info->params[i];
	char pair[512];
	const char *const pairs[] = {pair};
	struct error err;
	uint32_t k;

	assert_line(p->help, p->name);
	assert_int_equal(strspn(p->name, "abcdefghijklmnopqrstuvwxyz0123456789-_"), strlen(p->name));
	for (k = 0; k < i; k++)
		assert_string_not_equal(p->name, info->params[k].name);
	assert_true(p->min <= p->max);
	if (p->type == TRITONE_PARAM_CHOICE)
		assert_line(p->choices, p->name);
	if (p->required) {
		assert_null(p->fallback);
	} else if (p->fallback) {
		snprintf(pair, sizeof pair, "%s=%s", p->name, p->fallback);
		if (plugin_params_check(info, pairs, NULL, 1, NULL, &err) < 0)
			fail_msg("its own default is refused: %s", err.text);
	}
}

static void test_descriptor(void **state)
{
	const struct world *w = *state;
	const struct plugin_info *info = w->info;
	char file[300];
	uint32_t i;

	snprintf(file, sizeof file, "%s.so", info->name);
	assert_string_equal(strrchr(w->plugin, '/') + 1, file);
	assert_int_equal(info->abi, TRITONE_FAULT_ABI);
	assert_line(info->version, "version");
	assert_line(info->summary, "summary");
	assert_string_not_equal(plugin_blast_name(info->blast), plugin_blast_name(0x99));
	assert_int_equal(info->capabilities & ~(uint32_t)KNOWN, 0);
	assert_true(info->capabilities & EFFECTS);
	assert_true(info->proof_ms > 0);
	for (i = 0; i < info->param_count; i++)
		check_param(info, i);
}

/* ---- without inject ---- */

static void test_plan_has_no_effect(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, true), *after, was[256], is[256];
	struct tritone_proof proof = {.struct_size = sizeof proof};
	struct undo_entry *entry = calloc(1, sizeof *entry);
	struct tritone_undo undo;

	world_processes(w, was);
	start(w, NULL);
	if (runner_plan(w->runner, &undo, &w->err) < 0)
		fail_msg("%s", w->err.text);
	assert_in_range(undo.size, 0, TRITONE_UNDO_SIZE_MAX);
	/* What was not done is not felt. */
	if (runner_verify(w->runner, &proof, &w->err) == 0)
		assert_int_not_equal(proof.felt, TRITONE_FELT);

	/* As if the host had died between the durable record and inject. */
	assert_non_null(entry);
	snprintf(entry->fault_id, sizeof entry->fault_id, "%s", FAULT);
	snprintf(entry->plugin, sizeof entry->plugin, "%s", w->plugin);
	snprintf(entry->socket, sizeof entry->socket, "%s", w->socket);
	snprintf(entry->state_dir, sizeof entry->state_dir, "%s", w->state);
	snprintf(entry->keep_dir, sizeof entry->keep_dir, "%s/keep/%s", w->run, FAULT);
	entry->undo = undo;
	runner_destroy(w->runner);
	w->runner = NULL;
	assert_int_equal(undo_planned(w->undo, entry, &w->err), 0);
	recover(w, entry);
	free(entry);

	after = world_tree(w, true);
	assert_string_equal(after, before);
	assert_string_equal(world_processes(w, is), was);
	assert_int_equal(world_rules(w, NULL), 0);
	assert_int_equal(outstanding(w, NULL), 0);
	free(after);
	free(before);
}

/* ---- felt ---- */

static void wait_felt(struct world *w)
{
	const struct timespec gap = {.tv_nsec = 2000000};
	struct tritone_proof proof = {.struct_size = sizeof proof};
	char last[TRITONE_TEXT_SIZE] = "";

	for (;;) {
		if (runner_verify(w->runner, &proof, &w->err) < 0)
			fail_msg("%s", w->err.text);
		if (proof.felt == TRITONE_FELT)
			break;
		if (proof.felt == TRITONE_NEVER)
			fail_msg("%s", proof.text);
		if (strcmp(last, proof.text) != 0)
			fprintf(stderr, "# waiting for %s: %s\n", w->info->name, proof.text);
		memcpy(last, proof.text, sizeof last);
		nanosleep(&gap, NULL);
	}
	assert_line(proof.text, "proof");
}

/* Felt, by no other means than the declared ones, and undone. */
static void feel(struct world *w, const char *const *params)
{
	char *before = world_tree(w, false), *broken, *exercised, processes[256];
	uint32_t used;

	inject(w, params);
	broken = world_tree(w, false);
	(void)world_rules(w, &used);
	if (strcmp(broken, before) != 0)
		used |= TRITONE_CAP_FILES;
	/* What is a signal alone needs nobody to come across it, and an orchestrator that is stopped would be waited for. */
	if ((!used || used & ~(uint32_t)TRITONE_CAP_FILES) &&
	    w->info->capabilities & ~(uint32_t)(TRITONE_CAP_SIGNAL | TRITONE_CAP_INSTANT))
		world_exercise(w);
	exercised = world_tree(w, false);
	wait_felt(w);
	if (strcmp(world_processes(w, processes), "orchestrator alive; a-1 alive; a-2 alive; ") != 0 &&
	    !(used & TRITONE_CAP_FAULTPOINT))
		used |= TRITONE_CAP_SIGNAL;
	assert_int_not_equal(used, 0);
	assert_int_equal(used & ~w->info->capabilities, 0);
	if (runner_revert(w->runner, &w->err) < 0)
		fail_msg("%s", w->err.text);
	assert_undone(w, used & TRITONE_CAP_FILES ? before : exercised);
	free(exercised);
	free(broken);
	free(before);
}

static void test_felt(void **state)
{
	struct world *w = *state;
	size_t i;

	if (!w->filtered && w->info->capabilities & TRITONE_CAP_ERRNO)
		SKIP("nothing on this machine can make a system call fail");
	feel(w, NULL);
	for (i = 0; i < sizeof variants / sizeof variants[0]; i++) {
		if (strcmp(variants[i].plugin, w->info->name) != 0)
			continue;
		*state = world_create(w->plugin); /* the one that is broken is of no more use */
		world_destroy(w);
		w = *state;
		feel(w, variants[i].params);
	}
}

/* ---- undoing ---- */

static void test_revert_twice(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);
	struct undo_entry *entry;

	inject(w, NULL);
	entry = entry_of(w);
	if (runner_revert(w->runner, &w->err) < 0)
		fail_msg("%s", w->err.text);
	assert_undone(w, before);
	assert_int_equal(runner_revert(w->runner, &w->err), 0);
	/* The runner knows that it has reverted; the plugin in a fresh process does not. */
	runner_destroy(w->runner);
	w->runner = NULL;
	assert_int_equal(undo_planned(w->undo, entry, &w->err), 0);
	recover(w, entry);
	assert_undone(w, before);
	free(entry);
	free(before);
}

static void test_revert_elsewhere(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);
	struct undo_entry *entry;

	inject(w, NULL);
	runner_destroy(w->runner);
	w->runner = NULL;
	entry = entry_of(w);
	recover(w, entry);
	assert_undone(w, before);
	free(entry);
	free(before);
}

static void test_runner_killed(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);

	inject(w, NULL);
	assert_int_equal(kill(runner_pid(), SIGKILL), 0);
	if (runner_revert(w->runner, &w->err) < 0)
		fail_msg("%s", w->err.text);
	assert_undone(w, before);
	free(before);
}

/* `test_conformance __host PLUGIN RUN STATE SOCKET`: injects, names its runner, and waits to be killed. */
static int host(char **argv)
{
	struct world w = {.plugin = argv[0], .undo = NULL};
	const struct runner_options base = {.plugin = argv[0],
	    .fault_id = FAULT,
	    .run_dir = argv[1],
	    .state_dir = argv[2],
	    .socket = argv[3],
	    .seed = 7,
	    .hook_timeout_ms = 60000,
	    .interrupt_fd = -1};
	struct runner_options options = base;

	if (undo_open(&w.undo, argv[1], &w.err) < 0)
		goto fail;
	options.undo = w.undo;
	if (runner_start(&w.runner, &options, &w.err) < 0 || runner_plan(w.runner, NULL, &w.err) < 0 ||
	    runner_inject(w.runner, &w.err) < 0)
		goto fail;
	printf("%d\n", (int)runner_pid());
	fflush(stdout);
	for (;;)
		pause();
fail:
	fprintf(stderr, "%s\n", w.err.text);
	return 1;
}

static void test_host_killed(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);
	char self[] = "/proc/self/exe", name[] = "test_conformance", verb[] = "__host", plugin[PATH_MAX];
	char *const argv[] = {name, verb, plugin, w->run, w->state, w->socket, NULL};
	posix_spawn_file_actions_t actions;
	int pipe_fds[2], runner = 0;
	FILE *words;
	pid_t pid;

	snprintf(plugin, sizeof plugin, "%s", w->plugin);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO), 0);
	assert_int_equal(posix_spawn(&pid, self, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_fds[1]);
	words = fdopen(pipe_fds[0], "r");
	assert_non_null(words);
	assert_int_equal(fscanf(words, "%d", &runner), 1);
	fclose(words);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	/* This process is a subreaper: the runner is ours now. */
	assert_int_equal(waitpid(runner, NULL, 0), runner);
	assert_undone(w, before);
	free(before);
}

/* ---- damaged records ---- */

static void damage(struct tritone_undo *undo, int how)
{
	uint32_t i;

	switch (how) {
	case 0:
		undo->size = 0;
		break;
	case 1:
		undo->size--;
		break;
	case 2:
		undo->bytes[0] ^= 0x40; /* its version */
		break;
	case 3:
		memset(undo->bytes, 0xff, sizeof undo->bytes);
		break;
	case 4:
		memset(undo->bytes, 0x5a, sizeof undo->bytes);
		undo->size = TRITONE_UNDO_SIZE_MAX;
		break;
	default: /* all but the version */
		for (i = 4; i < sizeof undo->bytes; i++)
			undo->bytes[i] = (uint8_t)(how == 5 ? 0xff : 0);
	}
}

static void test_damaged_record(void **state)
{
	struct world *w = *state;
	char *before = world_tree(w, false);
	struct undo_entry *entry, *damaged = malloc(sizeof *damaged);
	int how, r;

	inject(w, NULL);
	runner_destroy(w->runner);
	w->runner = NULL;
	entry = entry_of(w);
	assert_non_null(damaged);
	for (how = 0; how < 7; how++) {
		memcpy(damaged, entry, sizeof *damaged);
		damage(&damaged->undo, how);
		if (!memcmp(&damaged->undo.bytes, &entry->undo.bytes, entry->undo.size) &&
		    damaged->undo.size == entry->undo.size)
			continue; /* it has nothing that could be damaged so */
		memset(&w->err, 0, sizeof w->err);
		r = runner_recover(w->run, w->undo, damaged, &w->err);
		if (r == 0)
			fail_msg("damaged in way %d, the record was taken for good", how);
		assert_line(w->err.text, "error");
		if (w->err.code != EINVAL)
			fail_msg("damaged in way %d: expected a refusal, found: %s", how, w->err.text);
		assert_int_equal(outstanding(w, NULL), 1);
	}
	recover(w, entry);
	assert_undone(w, before);
	free(damaged);
	free(entry);
	free(before);
}

/* ---- which ---- */

#define TESTS       8
#define MODULES_MAX 128

static void add(struct CMUnitTest *tests, size_t *count, const char *path)
{
	static const struct {
		const char *name;
		CMUnitTestFunction function;
	} all[TESTS] = {
	    {"descriptor", test_descriptor},
	    {"plan has no effect", test_plan_has_no_effect},
	    {"felt, and undone", test_felt},
	    {"revert twice", test_revert_twice},
	    {"revert in another process", test_revert_elsewhere},
	    {"runner killed", test_runner_killed},
	    {"host killed", test_host_killed},
	    {"damaged record", test_damaged_record},
	};
	const char *base = strrchr(path, '/');
	char *real = realpath(path, NULL), *name;
	size_t i;

	if (!real || *count + TESTS > MODULES_MAX * TESTS) {
		fprintf(stderr, "%s: %s\n", path, real ? "too many" : strerror(errno));
		exit(1);
	}
	for (i = 0; i < TESTS; i++) {
		if (asprintf(&name, "%s: %s", base ? base + 1 : path, all[i].name) < 0)
			exit(1);
		tests[(*count)++] = (struct CMUnitTest){name, all[i].function, setup, teardown, real};
	}
}

static void add_all(struct CMUnitTest *tests, size_t *count, const char *path)
{
	char pattern[PATH_MAX];
	struct stat st;
	glob_t found;
	size_t i;

	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		add(tests, count, path);
		return;
	}
	snprintf(pattern, sizeof pattern, "%s/*/*.so", path);
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (i = 0; i < found.gl_pathc; i++)
		add(tests, count, found.gl_pathv[i]);
	globfree(&found);
}

int main(int argc, char **argv)
{
	static struct CMUnitTest tests[MODULES_MAX * TESTS];
	size_t count = 0;
	int i;

	if (argc > 1 && !strcmp(argv[1], "__runner"))
		return runner_main(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "__keeper"))
		return keeper_main(argc - 1, argv + 1);
	if (argc == 6 && !strcmp(argv[1], "__host"))
		return host(argv + 2);
	for (i = 1; i < argc; i++)
		add_all(tests, &count, argv[i]);
	if (!count) {
		fputs("no plugin is found: there is nothing that could conform\n", stderr);
		return 1;
	}
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return 1;
	return _cmocka_run_group_tests("conformance", tests, count, NULL, NULL);
}
