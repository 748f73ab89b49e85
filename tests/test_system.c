/* SPDX-License-Identifier: Apache-2.0 */
/* host/system against a small real orchestrator (fake_system.c): its life, and what is seen of it. */
#include "system_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/ready.h"

static void test_starts_takes_tasks_and_stops(void **state)
{
	struct fixture *fixture = *state;
	struct want ready = {.kind = OP_SYSTEM, .type = OP_OK, .actor = "fake"};
	struct want commit = {.kind = OP_COMMIT, .type = OP_OK};
	struct want died = {.kind = OP_SYSTEM, .type = OP_INFO, .detail = "stop"};
	struct want outcome = {.kind = OP_OUTCOME, .type = OP_OK};
	struct error err;

	start(fixture, NULL);
	assert_int_equal(count(fixture, &ready), 1);
	assert_int_equal(submit(fixture, "one", "say \"hello\"\n\\ to all"), 0);
	assert_int_equal(submit(fixture, "two", ""), 0);
	observe(fixture);
	assert_int_equal(count(fixture, &commit), 2); /* and not the one from before the start */
	commit.task = "two";
	assert_int_equal(count(fixture, &commit), 1);
	assert_int_equal(commit.found.value, 1);
	assert_int_equal(commit.found.attempt, 2);
	assert_int_equal(commit.found.epoch, 7);
	assert_int_equal(strlen(commit.key), 40);
	assert_int_equal(system_outcomes(fixture->system, &err), 0);
	assert_int_equal(count(fixture, &outcome), 2);
	assert_int_equal(stop(fixture), 0);
	assert_int_equal(count(fixture, &died), 1);
	assert_int_equal(died.found.status, 0);
	assert_int_equal(died.found.pair, ready.found.pair);
	assert_int_equal(system_stop(fixture->system, 0, &err), 0);
}

static void test_submit_tells_refused_from_unknown(void **state)
{
	struct fixture *fixture = *state;
	struct want fail = {.kind = OP_SUBMIT, .type = OP_FAIL}, info = {.kind = OP_SUBMIT, .type = OP_INFO};
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", "refuse"), 1);
	assert_int_equal(count(fixture, &fail), 1);
	assert_int_equal(fail.found.status, 400);
	assert_string_equal(fail.said, "not that one");
	assert_int_equal(submit(fixture, "two", "crash"), 2);
	assert_int_equal(count(fixture, &info), 1);
	await(fixture, &back, 0);
	assert_int_equal(submit(fixture, "two", ""), 0);
}

/* Until nobody starts it again. */
static void crash_for_good(struct fixture *fixture)
{
	struct want back = {.kind = OP_SYSTEM, .type = OP_OK, .detail = "restart"};
	struct want limit = {.kind = OP_SYSTEM, .type = OP_FAIL, .detail = "limit"};
	uint64_t from = 0;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(submit(fixture, "bad", "crash"), 2);
		await(fixture, &back, from);
		from = back.found.index + 1;
	}
	assert_int_equal(submit(fixture, "bad", "crash"), 2);
	await(fixture, &limit, 0);
}

static void test_restarts_as_often_as_it_may(void **state)
{
	struct fixture *fixture = *state;
	struct want died = {.kind = OP_SYSTEM, .type = OP_INFO, .detail = "died"};

	start(fixture, NULL);
	crash_for_good(fixture);
	assert_int_equal(count(fixture, &died), 3);
	assert_int_equal(died.found.status, 128 + SIGKILL);
	assert_int_equal(submit(fixture, "late", ""), 2);
	assert_int_equal(stop(fixture), 0);
}

static void test_not_ready_and_not_there(void **state)
{
	struct fixture *fixture = *state;
	char *never[] = {(char[]){"--never-ready"}, NULL};
	struct spec_strings arguments = {.items = never, .count = 1};
	struct want fail = {.kind = OP_SYSTEM, .type = OP_FAIL};
	struct error err;

	create(fixture, "100ms", &arguments);
	assert_int_equal(system_start(fixture->system, &err), -1);
	assert_int_equal(err.code, ETIMEDOUT);
	assert_int_equal(count(fixture, &fail), 1);
	assert_int_equal(stop(fixture), 0);
}

static void test_death_before_ready_is_told_with_its_last_words(void **state)
{
	struct fixture *fixture = *state;
	char path[128];
	struct error err;

	create(fixture, "30s", NULL);
	snprintf(path, sizeof path, "%s/state/wal", fixture->dir);
	assert_int_equal(symlink("/dev/null", path), 0); /* its log cannot be opened */
	assert_int_equal(system_start(fixture->system, &err), -1);
	assert_int_equal(err.code, ECHILD);
	assert_non_null(strstr(err.text, "fake_system: "));
}

static void test_deletions_are_seen(void **state)
{
	struct fixture *fixture = *state;
	struct want deletion = {.kind = OP_DELETION, .type = OP_OK};

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", ""), 0);
	observe(fixture);
	assert_int_equal(count(fixture, &deletion), 0);
	assert_int_equal(submit(fixture, "two", "delete"), 0);
	deletion.actor = "README.md";
	deletion.task = "two";
	await(fixture, &deletion, 0);
}

static void test_claims_are_recorded_once_each(void **state)
{
	struct fixture *fixture = *state;
	struct want claim = {.kind = OP_CLAIM, .type = OP_OK, .actor = "task_success"};
	struct want budget = {.kind = OP_CLAIM, .type = OP_OK, .actor = "error_budget"};

	start(fixture, NULL);
	observe(fixture);
	assert_int_equal(count(fixture, &claim), 1);
	assert_int_equal(claim.found.value, 1);
	assert_string_equal(claim.said, "green");
	assert_int_equal(submit(fixture, "one", "red"), 0);
	observe(fixture);
	assert_int_equal(count(fixture, &claim), 2);
	assert_int_equal(claim.found.value, 0);
	assert_true(claim.found.number > 0.49 && claim.found.number < 0.51);
	assert_string_equal(claim.said, "red");
	assert_int_equal(count(fixture, &budget), 2);
	assert_true(budget.found.number > 0.74 && budget.found.number < 0.76);
}

struct targets {
	unsigned count, of_event;
	pid_t pid;
	char id[64], worktree[64];
};

static int visit_target(void *arg, const struct tritone_target *target)
{
	struct targets *targets = arg;

	targets->count++;
	targets->pid = target->pid;
	if (target->flags & TRITONE_TARGET_OF_EVENT) {
		targets->of_event++;
		snprintf(targets->id, sizeof targets->id, "%s", target->id);
		snprintf(targets->worktree, sizeof targets->worktree, "%s", target->worktree);
	}
	return 0;
}

static void test_agents_are_targets_until_they_die(void **state)
{
	struct fixture *fixture = *state;
	struct want alive = {.kind = OP_AGENT, .type = OP_INVOKE, .actor = "one-a1"};
	struct want gone = {.kind = OP_AGENT, .type = OP_OK, .actor = "one-a1"};
	struct targets targets = {.count = 0};
	struct error err;
	char path[128];
	FILE *file;

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", "agent"), 0);
	assert_int_equal(submit(fixture, "two", "agent"), 0);
	observe(fixture);
	assert_int_equal(count(fixture, &alive), 1);
	system_event_task(fixture->system, "one");
	assert_int_equal(system_targets(fixture->system, TRITONE_TARGET_AGENT, visit_target, &targets, &err), 0);
	assert_int_equal(targets.count, 2);
	assert_int_equal(targets.of_event, 1);
	assert_string_equal(targets.id, "one-a1");
	assert_string_equal(targets.worktree, "/nowhere");

	/* A pid file that names a process outside the system makes it no target. */
	snprintf(path, sizeof path, "%s/state/.sdd/runtime/agents/alien", fixture->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/state/.sdd/runtime/agents/alien/pid", fixture->dir);
	file = fopen(path, "we");
	assert_non_null(file);
	fprintf(file, "%d\n", (int)getpid());
	fclose(file);
	observe(fixture);

	assert_int_equal(kill((pid_t)alive.found.value, SIGKILL), 0);
	await(fixture, &gone, 0);
	assert_int_equal(gone.found.pair, alive.found.index);
	targets = (struct targets){.count = 0};
	assert_int_equal(system_targets(fixture->system, TRITONE_TARGET_AGENT, visit_target, &targets, &err), 0);
	assert_int_equal(targets.count, 1);
	targets = (struct targets){.count = 0};
	assert_int_equal(system_targets(fixture->system, TRITONE_TARGET_SYSTEM, visit_target, &targets, &err), 0);
	assert_int_equal(targets.count, 1);
	assert_true(targets.pid > 1);
}

static void test_a_daemon_that_has_strayed_is_ended(void **state)
{
	struct fixture *fixture = *state;
	struct error err;

	start(fixture, NULL);
	assert_int_equal(submit(fixture, "one", "stray"), 0);
	crash_for_good(fixture); /* or how long the others take to end would matter */
	assert_int_equal(system_stop(fixture->system, 100, &err), 1); /* it ignores SIGTERM */
}

static int connect_to(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_true(connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EINPROGRESS);
	return fd;
}

/* Whoever listens and takes nobody does not hold up who asks, and has the port all the same. */
static void test_a_port_that_takes_nobody(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), waiting[4], taken;
	socklen_t size = sizeof address;
	uint16_t port;
	size_t i;

	(void)state;
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	port = ntohs(address.sin_port);
	assert_int_equal(ready_port(port), READY_PORT_FREE);
	assert_int_equal(listen(listener, 0), 0);
	assert_int_equal(ready_port(port), READY_PORT_OPEN);
	taken = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(taken >= 0);
	for (i = 0; i < sizeof waiting / sizeof waiting[0]; i++)
		waiting[i] = connect_to(&address);
	assert_int_equal(ready_port(port), READY_PORT_BUSY);
	for (i = 0; i < sizeof waiting / sizeof waiting[0]; i++)
		close(waiting[i]);
	close(taken);
	close(listener);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    SYSTEM_TEST(test_starts_takes_tasks_and_stops),
	    SYSTEM_TEST(test_submit_tells_refused_from_unknown),
	    SYSTEM_TEST(test_restarts_as_often_as_it_may),
	    SYSTEM_TEST(test_not_ready_and_not_there),
	    SYSTEM_TEST(test_death_before_ready_is_told_with_its_last_words),
	    SYSTEM_TEST(test_deletions_are_seen),
	    SYSTEM_TEST(test_claims_are_recorded_once_each),
	    SYSTEM_TEST(test_agents_are_targets_until_they_die),
	    SYSTEM_TEST(test_a_daemon_that_has_strayed_is_ended),
	    cmocka_unit_test(test_a_port_that_takes_nobody),
	};

	return system_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
