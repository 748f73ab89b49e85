/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin in its runner may do, and what the host does for it. */
#include "runner_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "skip.h"
#include "service/service.h"

/* ---- confinement ---- */

static void test_files_are_confined(void **state)
{
	struct fixture *f = *state;
	char outside[PATH_MAX];

	if (!has_landlock())
		SKIP("this kernel has no Landlock");
	with(f, "inject", "outside", NULL);
	plan(f);
	assert_int_equal(runner_inject(f->runner, &f->err), -1);
	assert_int_equal(f->err.code, EACCES);
	snprintf(outside, sizeof outside, "%s/outside", f->dir);
	assert_int_equal(access(outside, F_OK), -1);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_files_need_the_capability(void **state)
{
	struct fixture *f = *state;

	if (!has_landlock())
		SKIP("this kernel has no Landlock");
	use_plugin(f, "evil-no-files");
	plan(f);
	assert_int_equal(runner_inject(f->runner, &f->err), -1);
	assert_int_equal(f->err.code, EACCES);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

static void test_sockets_need_the_capability(void **state)
{
	struct fixture *f = *state;

	with(f, "check", "inet", NULL);
	start(f);
	assert_int_equal(runner_check(f->runner, &f->err), -1);
	assert_int_equal(f->err.code, EACCES);
	runner_destroy(f->runner);
	f->runner = NULL;
	use_plugin(f, "evil-network");
	start(f);
	assert_int_equal(runner_check(f->runner, &f->err), 0);
}

static void test_signals_to_the_group_are_ignored(void **state)
{
	struct fixture *f = *state;
	pid_t pid;

	inject(f);
	pid = only_child();
	assert_int_equal(getpgid(pid), pid);
	assert_int_equal(kill(-pid, SIGINT), 0);
	assert_int_equal(kill(-pid, SIGTERM), 0);
	assert_int_equal(kill(-pid, SIGHUP), 0);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_int_equal(only_child(), pid);
	assert_clean(f);
}

/* ---- services ---- */

struct backend {
	char key[64]; /* the rule that is set, "" if none */
	int gone[2];  /* a byte is written when a rule is cleared */
};

static int give_targets(void *arg, uint32_t kind, tritone_target_fn visit, void *visit_arg, struct error *err)
{
	const struct tritone_target target = {
	    .struct_size = sizeof target, .kind = kind, .pid = 1, .id = "agent-7", .task = "", .worktree = ""};

	(void)arg;
	(void)err;
	visit(visit_arg, &target);
	return 0;
}

static int set_rule(void *arg, const struct tritone_gateway_rule *rule, struct error *err)
{
	struct backend *backend = arg;

	(void)err;
	snprintf(backend->key, sizeof backend->key, "%s", rule->key);
	return rule->status == 429 ? 0 : -1;
}

static int count_hits(void *arg, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	struct backend *backend = arg;

	if (strcmp(backend->key, key) != 0)
		return error_set(err, ENOENT, "no rule %s", key);
	*ret_hits = 3;
	*ret_seen = 4;
	return 0;
}

static int clear_rule(void *arg, const char *key, struct error *err)
{
	struct backend *backend = arg;

	(void)err;
	if (!strcmp(backend->key, key)) {
		backend->key[0] = '\0';
		return write(backend->gone[1], "x", 1) == 1 ? 0 : -1;
	}
	return 0;
}

static void test_services(void **state)
{
	struct fixture *f = *state;
	struct backend backend = {.key = ""};
	const struct service_backend table = {
	    .arg = &backend,
	    .targets = give_targets,
	    .gateway_rule = set_rule,
	    .rule_hits = count_hits,
	    .rule_clear = clear_rule,
	    .missing_errno = "it was started without the filter",
	    .state_dir = f->state,
	};
	struct service_server *server;
	char path[PATH_MAX], byte;
	int round;

	snprintf(path, sizeof path, "%s/control.sock", f->dir);
	assert_int_equal(pipe2(backend.gone, O_CLOEXEC), 0);
	assert_int_equal(service_serve(&server, path, &table, &f->err), 0);
	f->options.socket = path;
	with(f, "inject", "services", NULL);
	for (round = 0; round < 2; round++) {
		inject(f);
		assert_true(has_evidence(f, "target=agent-7\nhits=3\nseen=4\n"));
		assert_true(has_evidence(f, "it was started without the filter"));
		assert_true(has_evidence(f, "point="));
		assert_string_equal(backend.key, FAULT);
		if (round == 1) /* the rule goes with the runner's connection, the file with a fresh runner */
			assert_int_equal(kill(only_child(), SIGKILL), 0);
		else
			assert_int_equal(runner_revert(f->runner, &f->err), 0);
		assert_int_equal(read(backend.gone[0], &byte, 1), 1);
		assert_string_equal(backend.key, "");
		assert_int_equal(runner_revert(f->runner, &f->err), 0);
		assert_clean(f);
		runner_destroy(f->runner);
		f->runner = NULL;
	}
	/* Without its server a fault does not start, and one that is outstanding can still be undone. */
	f->seen[0] = '\0';
	inject(f);
	service_stop(server);
	assert_int_equal(kill(only_child(), SIGKILL), 0);
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
	runner_destroy(f->runner);
	assert_int_equal(runner_start(&f->runner, &f->options, &f->err), -1);
	f->runner = NULL;
	close(backend.gone[0]);
	close(backend.gone[1]);
}

static void test_without_services(void **state)
{
	struct fixture *f = *state;

	with(f, "inject", "services", NULL);
	plan(f);
	assert_int_equal(runner_inject(f->runner, &f->err), -1);
	assert_int_equal(f->err.code, ENOTSUP);
	assert_says(f, "without a control socket");
	assert_int_equal(runner_revert(f->runner, &f->err), 0);
	assert_clean(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    RUNNER_TEST(test_files_are_confined),
	    RUNNER_TEST(test_files_need_the_capability),
	    RUNNER_TEST(test_sockets_need_the_capability),
	    RUNNER_TEST(test_signals_to_the_group_are_ignored),
	    RUNNER_TEST(test_services),
	    RUNNER_TEST(test_without_services),
	};

	return runner_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
