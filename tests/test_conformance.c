/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every fault plugin has promised, for each one that was built: `test_conformance MODULE|DIRECTORY ...`. Through the
 * real runner, at a system of real parts (conformance_world). Also for plugins from elsewhere.
 */
#include "conformance_fault.h"
#include "conformance_undo.h"
#include "skip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#include "keeper/keeper.h"

#define PARAMS 4
#define KNOWN                                                                                                          \
	(TRITONE_CAP_SIGNAL | TRITONE_CAP_FILES | TRITONE_CAP_GATEWAY | TRITONE_CAP_ERRNO | TRITONE_CAP_FAULTPOINT |   \
	    TRITONE_CAP_NETWORK | TRITONE_CAP_INSTANT)
#define EFFECTS (KNOWN & ~(unsigned)(TRITONE_CAP_NETWORK | TRITONE_CAP_INSTANT))

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

/* ---- the descriptor ---- */

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
	fault_start(w, NULL);
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
	fault_recover(w, entry);
	free(entry);

	after = world_tree(w, true);
	assert_string_equal(after, before);
	assert_string_equal(world_processes(w, is), was);
	assert_int_equal(world_rules(w, NULL), 0);
	assert_int_equal(fault_outstanding(w, NULL), 0);
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

	fault_inject(w, params);
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
	    {"revert twice", conformance_revert_twice},
	    {"revert in another process", conformance_revert_elsewhere},
	    {"runner killed", conformance_runner_killed},
	    {"host killed", conformance_host_killed},
	    {"damaged record", conformance_damaged_record},
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
		return conformance_host(argv + 2);
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
