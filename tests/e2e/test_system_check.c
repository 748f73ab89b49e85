/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone system`: a manifest written, a system gone through; and every way in which a stranger's system does not work. */
#include "e2e.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A manifest whose server is a shell script. */
static const char *stranger(struct world *world, const char *script, const char *ready, const char *more)
{
	return world_write(world, "stranger.yaml",
	    "name: stranger\n"
	    "processes:\n"
	    "  - name: server\n"
	    "    command: [sh, \"%s\"]\n"
	    "    ready: {%s}\n"
	    "submit: {url: \"http://127.0.0.1:${port.api}/tasks\", body: \"{}\"}\n%s",
	    world_write(world, "server.sh", "%s", script), ready, more);
}

static struct ran *check(struct world *world, const char *file)
{
	return tritone(world, "system", "check", "--limit", "2s", file, NULL);
}

/* One that fails by no limit, or not at all. */
static struct ran *check_unhurried(struct world *world, const char *file)
{
	return tritone(world, "system", "check", "--limit", "10m", file, NULL);
}

static void nothing_is_left(struct world *world)
{
	world_quiet(world);
	world_clean(world);
}

static void test_the_reference_system(void **state)
{
	static const char *const steps[] = {"starts ok ", "ready ok ", "accepts a task ok ", "reaches the gateway ok ",
	    "commits seen ok ", "notifications seen ok ", "completion seen ok ", "agents seen ok ", "claims seen ok ",
	    "all 4 providers ok ", "restart ok ", "stops ok ", "nothing left", "state whole ok "};
	struct world *world = *state;
	struct ran *ran =
	    tritone(world, "system", "check", "--limit", "10m", SOURCES "/fixtures/systems/conductor.yaml", NULL);
	size_t i;

	ran_status(ran, 0);
	for (i = 0; i < sizeof steps / sizeof *steps; i++)
		ran_has(ran, steps[i]);
	assert_int_equal(world_runs(world), 0);
	nothing_is_left(world);
}

/* So many commits in the repository of the one run that there is. */
static void await_commits(struct world *world, int count)
{
	char repo[256], command[512];
	int n = 0;

	world_file(world_path(world, "state/runs/*/state/repo/refs/heads/main"));
	assert_int_equal(world_matches(world_path(world, "state/runs/*/state/repo"), repo, sizeof repo), 1);
	snprintf(command, sizeof command, "git -C '%s' rev-list --count main", repo);
	while (n < count) {
		FILE *git = popen(command, "re");

		assert_non_null(git);
		if (fscanf(git, "%d", &n) != 1)
			n = 0; /* it is just being written */
		pclose(git);
		usleep(10000);
	}
}

/* The process of this world whose command has that word. */
static pid_t process_with(struct world *world, const char *word)
{
	pid_t pids[64];
	size_t n = world_processes(world, pids, 64), i;

	for (i = 0; i < n; i++) {
		char path[64], line[4096] = "", *at;
		FILE *file;
		size_t size = 0;

		snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pids[i]);
		file = fopen(path, "re");
		if (file) {
			size = fread(line, 1, sizeof line - 1, file);
			fclose(file);
		}
		for (at = line; at < line + size; at += strlen(at) + 1)
			if (!strcmp(at, word))
				return pids[i];
	}
	fail_msg("no process has the word %s", word);
	return 0;
}

/* What it claims of the ledger is not so: no commit has such a trailer. It is ended when there are some, or nothing but the time would. */
static void test_a_wrong_claim(void **state)
{
	struct world *world = *state;
	const char *file = world_unhurried(world, "wrong.yaml", "task-trailer: Task-Id", "task-trailer: Task");
	struct ran *ran;

	world_edit(world, "wrong.yaml", "on-crash: true", "on-crash: false");
	ran = tritone_start(world, "system", "check", "--limit", "10m", file, NULL);
	await_commits(world, 3);
	assert_int_equal(kill(process_with(world, "serve"), SIGKILL), 0);
	ran_status(ran, 1);
	ran_has(ran, "commits seen FAILED after ");
	ran_has(ran, "0 of 6 tasks were committed, t000-plan was not, and some commits name no task: ");
	ran_has(ran, "stops ok ");
	assert_int_equal(world_runs(world), 1); /* kept, to be looked into */
	nothing_is_left(world);
}

/* A provider that is asked and not played: it answers, it is gone, and a recording of it has too little. */
static void test_a_real_provider(void **state)
{
	struct world *world = *state;
	struct ran *upstream = tritone_start(world, "gateway", "--providers", "claude", "--quiet", NULL), *ran;
	const char *record, *replay;
	char more[256];

	ran_says(upstream, "http://127.0.0.1:");
	snprintf(more, sizeof more,
	    "latency: 20ms\n  upstreams: [{provider: claude, url: \"http://127.0.0.1:%s/claude\"}]\n"
	    "  record: answers.jsonl\n",
	    ran_value(world, upstream, "http://127.0.0.1:"));
	record = world_unhurried(world, "record.yaml", "latency: 20ms\n", more);
	replay = world_unhurried(world, "replay.yaml", "latency: 20ms\n", "latency: 20ms\n  replay: few.jsonl\n");
	world_write(world, "few.jsonl", "{\"tritone-recording\": 1}\n");

	ran = check_unhurried(world, record);
	ran_status(ran, 0);
	ran_has(ran, "real providers ok ");
	ran_has(ran, ", claude at http://127.0.0.1:");
	ran_has(ran, "/answers.jsonl");
	ran_signal(upstream, SIGTERM);
	ran_status(upstream, 0);
	ran = check_unhurried(world, record);
	ran_status(ran, 1);
	ran_has(ran, "real providers FAILED after ");
	ran_has(ran, "provider claude: upstream: connection refused");
	/* Whatever was seen was seen in a world that nobody has asked for. */
	ran = check_unhurried(world, replay);
	ran_status(ran, 2);
	ran_has(ran, "the recording has no answer to ");
	nothing_is_left(world);
}

/* A provider that the system never calls, whatever the others answer. */
static void test_a_provider_that_is_not_called(void **state)
{
	struct world *world = *state;
	const char *file =
	    world_unhurried(world, "wrong.yaml", "gemini, qwen]\n  cascade", "gemini, qwen, other]\n  cascade");
	/* Each of the others has to be called within it, and it is waited out for this one. */
	struct ran *ran = tritone(world, "system", "check", "--limit", "10s", file, NULL);

	ran_status(ran, 1);
	ran_has(ran, "all 5 providers FAILED");
	ran_has(ran, "other was not called though all that were called answered 429");
	nothing_is_left(world);
}

static void test_new(void **state)
{
	struct world *world = *state;
	const char *file = world_path(world, "mine.yaml");
	struct ran *ran = tritone(world, "system", "new", "my-orchestrator", file, NULL);

	ran_status(ran, 0);
	ran_has(ran, "mine.yaml");
	/* The reader takes it as it is; what it names is not there yet. */
	ran = check(world, file);
	ran_status(ran, 3);
	ran_has(ran, "starts FAILED");
	ran_has(ran, "process server: /PATH/TO/YOUR/SERVER: No such file or directory");
	ran = tritone(world, "system", "new", "my-orchestrator", file, NULL);
	ran_status(ran, 2);
	ran_has(ran, "nothing is overwritten");
	ran_status(tritone(world, "system", "new", "--help", NULL), 0);
	ran = tritone(world, "system", "new", "../x", NULL);
	ran_status(ran, 2);
	ran = tritone(world, "system", NULL);
	ran_status(ran, 2);
	nothing_is_left(world);
}

/* The key of a real provider is the gateway's: the system has the one that its manifest gives it, or none. */
static void test_a_key_is_not_passed_on(void **state)
{
	static const char more[] = "gateway: {providers: [p], upstreams: [{provider: p, url: \"http://127.0.0.1:1\", "
				   "key-from: TRIAL_KEY}]}\n";
	struct world *world = *state;
	struct ran *ran;

	assert_int_equal(setenv("TRIAL_KEY", "sk-real", 1), 0);
	ran = check(world, stranger(world, "echo key=$TRIAL_KEY.; exit 9", "file: \"${state}/ready\"", more));
	ran_status(ran, 3);
	ran_has(ran, "  server: key=.\n");
	ran = check(world, stranger(world, "echo key=$TRIAL_KEY.; exit 9",
			       "file: \"${state}/ready\"}\n    environment: {TRIAL_KEY: any", more));
	assert_int_equal(unsetenv("TRIAL_KEY"), 0);
	ran_status(ran, 3);
	ran_has(ran, "  server: key=any.\n");
	nothing_is_left(world);
}

static void test_not_ready_in_time(void **state)
{
	struct world *world = *state;
	struct ran *ran = check(
	    world, stranger(world, "echo one; echo two; exec sleep 1000", "file: \"${state}/ready\", timeout: 2s", ""));

	ran_status(ran, 3);
	ran_has(ran, "starts ok ");
	ran_has(ran, "ready FAILED after ");
	ran_has(ran, "process server: not ready within 2000 ms: there is no file ");
	ran_has(ran, "state/ready; it said: two\n");
	ran_has(ran, "the last lines of its output:\n  server: one\n  server: two\n");
	nothing_is_left(world);
}

static void test_it_ends_before_it_is_ready(void **state)
{
	struct world *world = *state;
	struct ran *ran = check(world,
	    stranger(world, "echo no such database: $(seq -s / 40) >&2; exit 9", "file: \"${state}/ready\"", ""));

	ran_status(ran, 3);
	ran_has(ran, "ready FAILED after ");
	ran_has(ran, "process server: it ended before it was ready: exited with 9; it said: no such database: "
		     "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29/30/31/32/33/34/35/"
		     "36/37/38/39/40");
	nothing_is_left(world);
}

/* The one that was started says farewell, and what it has started lives on in a session of its own: that is not under test, and not left. */
static void test_it_forks_away(void **state)
{
	struct world *world = *state;
	struct ran *ran = check(world, stranger(world, "setsid setsid sh -c 'echo daemon; exec sleep 1000' & exit 0",
					   "file: \"${state}/ready\"", ""));

	ran_status(ran, 3);
	ran_has(ran, "it ended before it was ready: exited with 0; does it go into the background? It must stay");
	nothing_is_left(world);
}

static void test_it_ignores_sigterm(void **state)
{
	struct world *world = *state;
	struct ran *ran = check(
	    world, stranger(world, "trap '' TERM; echo deaf; while :; do sleep 1000; done", "output: \"deaf\\n\"", ""));

	ran_status(ran, 1);
	ran_has(ran, "stops FAILED after ");
	ran_has(ran, "of its processes had to be killed 5 s after SIGTERM; nothing left");
	ran_has(ran, "  server: deaf\n");
	nothing_is_left(world);
}

/* ---- what is promised ---- */

/* The orchestrator commits a task twice when it is killed between commit and record: whether that is a failure is its contract's. */
static void test_contract(void **state)
{
	static const struct {
		const char *contract, *strict;
		int status;
		const char *line, *word;
	} rows[] = {
	    {"commits: at-least-once", NULL, 0, "deviated  no-duplicate-commit, as its contract permits: task t00",
		"contract: commits at-least-once (declared) -> expected; exactly-once would be broken (source: page "
		"3)\n"},
	    {"commits: at-least-once", "--strict", 1, "DEVIATED  no-duplicate-commit: task t00",
		"-> expected; exactly-once"},
	    {"commits: exactly-once", NULL, 1, "DEVIATED  no-duplicate-commit: task t00",
		"contract: commits exactly-once (declared) -> broken (source: page 3)\n"},
	    {"order: cascade", NULL, 1, "DEVIATED  no-duplicate-commit: task t00",
		"contract: commits: nothing is declared (source: page 3)\n"},
	};
	struct world *world = *state;
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		char to[128];
		struct ran *ran;
		const char *file;

		snprintf(to, sizeof to, "%s\n  source: page 3", rows[i].contract);
		world_manifest(world, "twice.yaml", "commits: exactly-once", to);
		file = world_write(world, "x.yaml",
		    "title: killed between the commit and its record\n"
		    "system: ./twice.yaml\n"
		    "arguments: [--bug, double-commit-on-retry]\n"
		    "workload: {tasks: 9, tail: 0}\n"
		    "faults:\n"
		    "  - {plugin: orchestrator-kill, arguments: {point: git-commit.after, nth: 2}}\n"
		    "invariants: [no-duplicate-commit, no-lost-task]\n"
		    "expect: {may: [wal-intact]}\n");
		ran = tritone(world, "test", "--reruns", "0", file, rows[i].strict, NULL);
		ran_status(ran, rows[i].status);
		ran_has(ran, rows[i].line);
		ran_has(ran, rows[i].word);
	}
	nothing_is_left(world);
}

/* The orchestrator is killed at a point of its own code, and sleeps at a sync of its log: both counted where they happen. */
static void test_points_and_syncs(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", "-v",
	    world_write(world, "x.yaml",
		"title: x\nsystem: " SOURCES "/fixtures/systems/conductor.yaml\n"
		"workload: {tasks: 9, tail: 0}\n"
		"faults:\n"
		"  - {name: at-point, plugin: process-kill, when: {event: point, of: commit-done.after, nth: 2}}\n"
		"  - {name: at-sync, plugin: process-stop, when: {event: sync, of: wal, nth: 5}, duration: 100ms}\n"
		"invariants: [no-duplicate-commit, no-lost-task]\n"),
	    NULL);

	if (ran_end(ran) == 7) {
		nothing_is_left(world);
		skip(); /* without the filter nobody counts syncs */
	}
	ran_status(ran, 0);
	ran_has(ran, "fault at-point: felt: conductor (pid ");
	ran_has(ran, "fault at-sync: felt: conductor (pid ");
	nothing_is_left(world);
}

/* ---- what strangers do ---- */

static void test_a_flood_of_output(void **state)
{
	struct world *world = *state;
	struct stat st;
	char log[512];
	struct ran *ran = check(
	    world, stranger(world, "echo hello; exec head -c 1073741824 /dev/zero",
		       "file: \"${state}/ready\", timeout: 60s}\n    output-max: 100\n    environment: {A: b", ""));

	ran_status(ran, 3);
	ran_has(ran, "ready FAILED after ");
	ran_has(ran, "process server: it has written more than 100 MiB of output, and was killed");
	ran_has(ran, "the last lines of its output:\n  server: ???");
	/* What was between the beginning and the end was given back. */
	assert_int_equal(world_matches(world_path(world, "state/runs/*/logs/server.log"), log, sizeof log), 1);
	assert_int_equal(stat(log, &st), 0);
	assert_true(st.st_size > 100 << 20);
	assert_true(st.st_blocks * 512 < st.st_size / 2);
	nothing_is_left(world);
}

static void test_a_port_that_is_taken(void **state)
{
	struct world *world = *state;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const char *file;
	struct ran *ran;
	char text[96];

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	snprintf(text, sizeof text, "http: \"http://localhost:%d/ready\"", ntohs(address.sin_port));
	file = stranger(world, "exec sleep 1000", text, "");
	ran = check(world, file);
	ran_status(ran, 3);
	snprintf(text, sizeof text, "starts FAILED after ");
	ran_has(ran, text);
	snprintf(text, sizeof text, "port %d (ready.http) is taken already", ntohs(address.sin_port));
	ran_has(ran, text);
	snprintf(text, sizeof text, "ports: [%d]\n", ntohs(address.sin_port));
	ran = check(world, stranger(world, "exec sleep 1000", "timeout: 1s", text));
	ran_status(ran, 3);
	ran_has(ran, "(ports) is taken already");
	ran = check(world, stranger(world, "exec sleep 1000", "timeout: 1s", "ports: [66000]\n"));
	ran_status(ran, 3);
	ran_has(ran, "ports: '66000' is no TCP port");
	close(fd);
	/* Free now: what is not ready is the system. */
	ran = check(world, stranger(world, "exec sleep 1000", "file: \"${state}/ready\", timeout: 300ms", text));
	ran_status(ran, 3);
	ran_has(ran, "ready FAILED");
	nothing_is_left(world);
}

static void test_it_points_nowhere(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "system", "check", world_path(world, "nonesuch.yaml"), NULL);

	ran_status(ran, 2);
	ran_has(ran, "nonesuch.yaml");
	ran = check(world, stranger(world, "exit 0",
			       "timeout: 1s}\n    directory: \"${state}/nonesuch\"\n    environment: {A: b", ""));
	ran_status(ran, 3);
	ran_has(ran, "starts FAILED");
	ran_has(ran, "state/nonesuch: No such file or directory");
	nothing_is_left(world);
}

static void test_interrupted(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone_start(world, "system", "check",
	    stranger(world, "exec sleep 1000", "file: \"${state}/ready\", timeout: 60s", ""), NULL);

	world_file(world_path(world, "state/runs/*/logs/server.log"));
	ran_signal(ran, SIGINT);
	assert_int_equal(ran_end(ran), 6);
	nothing_is_left(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_the_reference_system, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_wrong_claim, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_real_provider, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_provider_that_is_not_called, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_new, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_key_is_not_passed_on, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_not_ready_in_time, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_it_ends_before_it_is_ready, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_it_forks_away, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_it_ignores_sigterm, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_points_and_syncs, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_flood_of_output, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_port_that_is_taken, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_it_points_nowhere, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_contract, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_interrupted, world_create, world_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
