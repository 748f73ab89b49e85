/* SPDX-License-Identifier: Apache-2.0 */
/* The undo log, who may write to it, and what `tritone status` and `tritone recover` make of it. The faults are real
 * ones of tests/plugins; their hosts and runners are killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runner/runner.h"
#include "runner_host.h"

#define RUN_ID "run-1"

struct fixture {
	char dir[64], run[PATH_MAX], state[PATH_MAX], bin[PATH_MAX], plugin[PATH_MAX];
	char out[4096]; /* of the last tritone */
	struct undo_log *log;
	int64_t hook_timeout_ms; /* of the faults of fork_host; 0: the runner's own */
	struct undo_entry entry;
	struct error err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char path[PATH_MAX], *slash;
	ssize_t n;

	assert_non_null(f);
	strcpy(f->dir, "/tmp/test-undo-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(path, sizeof path, "%s/runs", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(f->run, sizeof f->run, "%s/runs/" RUN_ID, f->dir);
	assert_int_equal(mkdir(f->run, 0700), 0);
	snprintf(f->state, sizeof f->state, "%s/runs/" RUN_ID "/state", f->dir);
	assert_int_equal(mkdir(f->state, 0700), 0);
	n = readlink("/proc/self/exe", f->bin, sizeof f->bin - 32);
	assert_true(n > 0);
	f->bin[n] = '\0';
	slash = strrchr(f->bin, '/');
	*slash = '\0';
	assert_true((size_t)snprintf(f->plugin, sizeof f->plugin, "%s/plugins/evil.so", f->bin) < sizeof f->plugin);
	strcpy(slash, "/../tritone");
	assert_int_equal(setenv("TRITONE_STATE", f->dir, 1), 0);
	strcpy(f->entry.fault_id, "a");
	strcpy(f->entry.plugin, "/p.so");
	strcpy(f->entry.params, "x=1\ny=2\n");
	f->entry.seed = UINT64_MAX;
	f->entry.duration_ms = -1;
	f->entry.hook_timeout_ms = 12345;
	f->entry.undo.size = 3;
	memcpy(f->entry.undo.bytes, "\0\1\2", 3);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[128];

	undo_close(f->log);
	snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* ---- the log ---- */

struct ids {
	char text[256];
	struct undo_entry last;
};

static void collect(void *arg, const struct undo_entry *entry)
{
	struct ids *ids = arg;
	size_t used = strlen(ids->text);

	snprintf(ids->text + used, sizeof ids->text - used, "%s ", entry->fault_id);
	ids->last = *entry;
}

static void assert_outstanding(struct fixture *f, const char *ids)
{
	struct ids seen = {.text = ""};
	int n = f->log ? undo_log_outstanding(f->log, collect, &seen, &f->err)
		       : undo_outstanding(f->run, collect, &seen, &f->err);

	if (n < 0)
		fail_msg("%s", f->err.text);
	assert_string_equal(seen.text, ids);
	assert_int_equal(n, strlen(ids) / 2);
}

static void planned(struct fixture *f, const char *id)
{
	strcpy(f->entry.fault_id, id);
	assert_int_equal(undo_planned(f->log, &f->entry, &f->err), 0);
}

static void test_entries_open_and_close(void **state)
{
	struct fixture *f = *state;

	assert_outstanding(f, ""); /* no log at all */
	assert_int_equal(undo_open(&f->log, f->run, &f->err), 0);
	assert_outstanding(f, "");
	planned(f, "a");
	planned(f, "b");
	planned(f, "c");
	assert_outstanding(f, "a b c ");
	assert_int_equal(undo_reverted(f->log, "b", &f->err), 0);
	assert_int_equal(undo_reverted(f->log, "never-was", &f->err), 0);
	assert_outstanding(f, "a c ");
	planned(f, "b");
	undo_close(f->log);
	f->log = NULL;
	assert_outstanding(f, "a c b ");
}

static void test_an_entry_comes_back_whole(void **state)
{
	struct fixture *f = *state;
	struct ids seen = {.text = ""};

	assert_int_equal(undo_open(&f->log, f->run, &f->err), 0);
	f->entry.undo.size = TRITONE_UNDO_SIZE_MAX;
	planned(f, "a");
	assert_int_equal(undo_log_outstanding(f->log, collect, &seen, &f->err), 1);
	assert_memory_equal(&seen.last, &f->entry, sizeof f->entry);
	f->entry.undo.size = TRITONE_UNDO_SIZE_MAX + 1;
	assert_int_equal(undo_planned(f->log, &f->entry, &f->err), -1);
	assert_int_equal(f->err.code, EMSGSIZE);
}

static void test_a_damaged_log_is_said(void **state)
{
	struct fixture *f = *state;
	char command[PATH_MAX + 128];

	assert_int_equal(undo_open(&f->log, f->run, &f->err), 0);
	planned(f, "a");
	undo_close(f->log);
	f->log = NULL;
	snprintf(command, sizeof command,
	    "dd if=/dev/zero of='%s/undo/data.mdb' bs=4096 count=2 conv=notrunc 2>/dev/null", f->run);
	assert_int_equal(system(command), 0);
	assert_int_equal(undo_outstanding(f->run, NULL, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EILSEQ);
}

/* ---- who writes ---- */

static void test_one_host(void **state)
{
	struct fixture *f = *state;
	struct undo_log *second;
	char own[32];

	assert_int_equal(undo_host(f->run), 0);
	assert_int_equal(undo_open(&f->log, f->run, &f->err), 0);
	assert_int_equal(undo_host(f->run), getpid());
	assert_int_equal(undo_open(&second, f->run, &f->err), -1);
	assert_int_equal(f->err.code, EBUSY);
	snprintf(own, sizeof own, "in use by pid %d", (int)getpid());
	assert_non_null(strstr(f->err.text, own));
	assert_int_equal(runner_recover_run(f->run, NULL, NULL, &f->err), -1);
	assert_int_equal(f->err.code, EBUSY);
	undo_close(f->log);
	f->log = NULL;
	assert_int_equal(undo_host(f->run), 0);
}

static void test_take_over_needs_the_end_of_the_host(void **state)
{
	struct fixture *f = *state;
	struct undo_log *heir;
	char keep[PATH_MAX + 8];

	snprintf(keep, sizeof keep, "%s/keep", f->run);
	assert_int_equal(mkdir(keep, 0700), 0);
	assert_int_equal(undo_open(&f->log, f->run, &f->err), 0);
	assert_int_equal(undo_take_over(&heir, f->run, &f->err), -1);
	assert_int_equal(f->err.code, EBUSY);
	undo_close(f->log);
	f->log = NULL;
	assert_int_equal(undo_take_over(&heir, f->run, &f->err), 0);
	undo_close(heir);
}

static void test_heirs_take_turns(void **state)
{
	struct fixture *f = *state;
	char keep[PATH_MAX + 8], byte;
	int fds[2], turn;
	pid_t pid;

	snprintf(keep, sizeof keep, "%s/keep", f->run);
	assert_int_equal(mkdir(keep, 0700), 0);
	assert_int_equal(undo_open(&f->log, f->run, &f->err), 0);
	undo_close(f->log);
	f->log = NULL;
	turn = open(keep, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(turn >= 0);
	assert_int_equal(flock(turn, LOCK_EX), 0); /* as an heir has it that writes just now */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(turn);
		if (undo_take_over(&f->log, f->run, &f->err) < 0 || write(fds[1], "x", 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(fds[1]);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(fds[0], &byte, 1), -1); /* it waits */
	assert_int_equal(fcntl(fds[0], F_SETFL, 0), 0);
	close(turn);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	close(fds[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- the verbs ---- */

static int tritone(struct fixture *f, const char *arguments)
{
	char command[2 * PATH_MAX];
	FILE *pipe;
	size_t n;
	int status;

	assert_true((size_t)snprintf(command, sizeof command, "'%s' %s 2>&1", f->bin, arguments) < sizeof command);
	pipe = popen(command, "re");
	assert_non_null(pipe);
	n = fread(f->out, 1, sizeof f->out - 1, pipe);
	f->out[n] = '\0';
	status = pclose(pipe);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void assert_says(const struct fixture *f, const char *text)
{
	if (!strstr(f->out, text))
		fail_msg("'%s' does not say '%s'", f->out, text);
}

static bool is_there(const struct fixture *f, const char *id)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof path, "%s/evil-%s", f->state, id);
	return access(path, F_OK) == 0;
}

/* A host with two active faults, "one" and "two", that waits to be killed. */
static pid_t fork_host(const struct fixture *f, const char *const *params, size_t count)
{
	const struct runner_options options = {
	    .plugin = f->plugin,
	    .params = params,
	    .param_count = count,
	    .run_dir = f->run,
	    .state_dir = f->state,
	    .seed = 1,
	    .hook_timeout_ms = f->hook_timeout_ms,
	    .interrupt_fd = -1,
	};

	return fork_host_of_two(&options, "one", "two");
}

static void kill_children_of(pid_t pid, int signal)
{
	char path[64];
	long child;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fscanf(file, "%ld", &child) == 1)
		assert_int_equal(kill((pid_t)child, signal), 0);
	fclose(file);
}

static void test_status_and_recover(void **state)
{
	struct fixture *f = *state;
	pid_t host = fork_host(f, NULL, 0);
	char text[128], *one, *two;

	assert_int_equal(tritone(f, "status"), 0);
	snprintf(text, sizeof text, "pid %d", (int)host);
	assert_says(f, text);
	assert_says(f, "active: one, two");
	assert_int_equal(tritone(f, "recover"), 0);
	snprintf(text, sizeof text, RUN_ID " is in use by pid %d", (int)host);
	assert_says(f, text);
	snprintf(text, sizeof text, "recover '%s/runs/" RUN_ID "'", f->dir);
	assert_int_equal(tritone(f, text), 5);
	assert_true(is_there(f, "one") && is_there(f, "two"));

	kill_children_of(host, SIGKILL); /* the runners first: no dead-man switch */
	assert_int_equal(kill(host, SIGKILL), 0);
	wait_for_all();
	assert_true(is_there(f, "one") && is_there(f, "two"));
	assert_int_equal(tritone(f, "status"), 5);
	assert_says(f, "LEFT BEHIND: one, two");
	assert_int_equal(tritone(f, "status --json"), 5);
	assert_says(f, "\"alive\": false");

	assert_int_equal(tritone(f, "recover"), 0);
	two = strstr(f->out, RUN_ID ": two: undone");
	one = strstr(f->out, RUN_ID ": one: undone");
	assert_true(two && one && two < one); /* the last one done is the first one undone */
	assert_false(is_there(f, "one") || is_there(f, "two"));
	assert_int_equal(tritone(f, "status"), 0);
	assert_says(f, "gone");
	assert_int_equal(tritone(f, "recover"), 0);
	assert_string_equal(f->out, "nothing is outstanding\n");
	assert_int_equal(tritone(f, text), 0);
	assert_says(f, "nothing is outstanding");
}

static void test_recover_says_what_it_could_not_undo(void **state)
{
	static const char *const params[] = {"when=revert", "how=refuse"};
	struct fixture *f = *state;
	pid_t host = fork_host(f, params, 2);

	kill_children_of(host, SIGKILL);
	assert_int_equal(kill(host, SIGKILL), 0);
	wait_for_all();
	assert_int_equal(tritone(f, "recover"), 5);
	assert_says(f, RUN_ID ": one: NOT undone: one: not on a Sunday");
	assert_says(f, "tritone recover --forget " RUN_ID "/one\n");
	assert_int_equal(tritone(f, "status"), 5);
}

/* What can never be undone is given up by its name, and nothing else with it. */
static void test_one_is_given_up(void **state)
{
	static const char *const params[] = {"when=revert", "how=refuse"};
	struct fixture *f = *state;
	pid_t host = fork_host(f, params, 2);

	assert_int_equal(tritone(f, "recover --forget " RUN_ID "/one"), 5); /* the host is there */
	assert_says(f, " is in use by pid ");
	kill_children_of(host, SIGKILL);
	assert_int_equal(kill(host, SIGKILL), 0);
	wait_for_all();
	assert_int_equal(tritone(f, "recover --forget three"), 2);
	assert_int_equal(tritone(f, "recover --forget run-2/one"), 2);
	assert_int_equal(tritone(f, "recover --forget one --forget two"), 2);
	assert_int_equal(tritone(f, "status"), 5);
	assert_says(f, "LEFT BEHIND: one, two");
	assert_int_equal(tritone(f, "recover --forget one"), 0);
	assert_says(f, RUN_ID ": one: GIVEN UP, NOT UNDONE: ");
	assert_int_equal(tritone(f, "status"), 5);
	assert_says(f, "LEFT BEHIND: two");
	assert_int_equal(tritone(f, "recover --forget one"), 2);
	assert_int_equal(tritone(f, "recover --forget " RUN_ID "/two"), 0);
	assert_int_equal(tritone(f, "status"), 0);
	assert_int_equal(tritone(f, "recover"), 0);
	assert_string_equal(f->out, "nothing is outstanding\n");
	assert_true(is_there(f, "one") && is_there(f, "two"));
}

/* A revert that hangs is given the time that the experiment gave the hooks, not one of recover's own. */
static void test_recover_keeps_to_the_hook_timeout(void **state)
{
	static const char *const params[] = {"when=revert", "how=hang"};
	struct fixture *f = *state;
	pid_t host;

	f->hook_timeout_ms = 300;
	host = fork_host(f, params, 2);
	kill_children_of(host, SIGKILL);
	assert_int_equal(kill(host, SIGKILL), 0);
	wait_for_all();
	assert_int_equal(tritone(f, "recover"), 5);
	assert_says(f, "the plugin hung in revert: no answer within 300 ms");
}

/* A host that has closed its log is told from one that was killed. */
static void test_finished_or_gone(void **state)
{
	struct fixture *f = *state;

	assert_false(undo_host_finished(f->run));
	assert_int_equal(undo_open(&f->log, f->run, &f->err), 0);
	assert_false(undo_host_finished(f->run));
	undo_close(f->log);
	f->log = NULL;
	assert_true(undo_host_finished(f->run));
	assert_int_equal(tritone(f, "status"), 0);
	assert_says(f, "finished, kept");
}

/* The host is killed and recover is called at once, before its runners have reverted: it waits for them, and finds
 * nothing left to do. */
static void test_recover_waits_for_runners(void **state)
{
	struct fixture *f = *state;
	pid_t recoverer, host = fork_host(f, NULL, 0);
	struct pollfd p = {.events = POLLIN};
	int status;

	kill_children_of(host, SIGSTOP); /* so that they cannot be quicker than this test */
	assert_int_equal(kill(host, SIGKILL), 0);
	assert_int_equal(waitpid(host, NULL, 0), host);
	recoverer = fork();
	assert_true(recoverer >= 0);
	if (recoverer == 0) /* without a visit: to have one would crash it */
		_exit(runner_recover_run(f->run, NULL, NULL, &f->err) == 0 ? 0 : 1);
	p.fd = pidfd_open(recoverer, 0);
	assert_true(p.fd >= 0);
	assert_int_equal(poll(&p, 1, 200), 0); /* time enough for one that does not wait to get into their way */
	close(p.fd);
	kill_children_of(getpid(), SIGCONT);
	assert_int_equal(waitpid(recoverer, &status, 0), recoverer);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_false(is_there(f, "one") || is_there(f, "two"));
	wait_for_all();
	assert_outstanding(f, "");
}

static void test_usage(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(tritone(f, "status extra"), 2);
	assert_int_equal(tritone(f, "recover --force"), 2);
	assert_int_equal(tritone(f, "recover /nowhere"), 2);
	assert_says(f, "/nowhere is not the directory of a run");
	assert_int_equal(tritone(f, "plugin"), 2);
	assert_int_equal(tritone(f, "__runner"), 2);
}

/* ---- finding plugins ---- */

static void test_plugins_are_found_by_name(void **state)
{
	struct fixture *f = *state;
	char dir[PATH_MAX], path[PATH_MAX], *slash, **names;
	struct error err = {0};
	size_t i;
	bool found = false;

	strcpy(dir, f->plugin);
	slash = strrchr(dir, '/');
	*slash = '\0';
	assert_int_equal(setenv("TRITONE_PLUGIN_PATH", dir, 1), 0);
	assert_int_equal(plugin_locate("evil", path, sizeof path, &err), 0);
	assert_string_equal(path, f->plugin);
	assert_int_equal(plugin_list(&names, &err), 0);
	for (i = 0; names[i]; i++) {
		assert_true(i == 0 || strcmp(names[i - 1], names[i]) < 0);
		found |= !strcmp(names[i], "evil");
	}
	while (i > 0)
		free(names[--i]);
	free(names);
	assert_true(found);
	assert_int_equal(plugin_locate("evill", path, sizeof path, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_non_null(strstr(err.text, "did you mean 'evil'?"));
	assert_int_equal(plugin_locate("../evil", path, sizeof path, &err), -1);
	assert_int_equal(plugin_locate("Evil", path, sizeof path, &err), -1);
	assert_int_equal(err.code, EINVAL);
}

static void test_never_from_the_working_directory(void **state)
{
	static const char *const paths[] = {"", ":", ".", "wd", NULL};
	struct fixture *f = *state;
	char command[3 * PATH_MAX], path[PATH_MAX];
	struct error err = {0};
	size_t i;

	snprintf(command, sizeof command, "mkdir '%s/wd' && cp '%s' '%s/wd/stray.so' && cp '%s' '%s/stray.so'", f->dir,
	    f->plugin, f->dir, f->plugin, f->dir);
	assert_int_equal(system(command), 0);
	assert_int_equal(chdir(f->dir), 0);
	for (i = 0; i < sizeof paths / sizeof *paths; i++) {
		if (paths[i])
			assert_int_equal(setenv("TRITONE_PLUGIN_PATH", paths[i], 1), 0);
		else
			assert_int_equal(unsetenv("TRITONE_PLUGIN_PATH"), 0);
		assert_int_equal(plugin_locate("stray", path, sizeof path, &err), -1);
		assert_int_equal(err.code, ENOENT);
	}
	assert_int_equal(plugin_locate("./stray.so", path, sizeof path, &err), 0); /* said explicitly */
	assert_int_equal(chdir("/"), 0);
}

#define UNDO_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    UNDO_TEST(test_entries_open_and_close),
	    UNDO_TEST(test_an_entry_comes_back_whole),
	    UNDO_TEST(test_a_damaged_log_is_said),
	    UNDO_TEST(test_one_host),
	    UNDO_TEST(test_take_over_needs_the_end_of_the_host),
	    UNDO_TEST(test_heirs_take_turns),
	    UNDO_TEST(test_status_and_recover),
	    UNDO_TEST(test_recover_says_what_it_could_not_undo),
	    UNDO_TEST(test_one_is_given_up),
	    UNDO_TEST(test_recover_keeps_to_the_hook_timeout),
	    UNDO_TEST(test_finished_or_gone),
	    UNDO_TEST(test_recover_waits_for_runners),
	    UNDO_TEST(test_usage),
	    UNDO_TEST(test_plugins_are_found_by_name),
	    UNDO_TEST(test_never_from_the_working_directory),
	};

	if (argc > 1 && !strcmp(argv[1], "__runner"))
		return runner_main(argc - 1, argv + 1);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
