/* SPDX-License-Identifier: Apache-2.0 */
/* agent-kill, agent-pause, orchestrator-kill, process-kill, process-stop: their hooks, on real processes. */
#include "plugin_fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The one agent of most tests. */
static struct agent *agent_of(struct plugin *p, bool deaf)
{
	struct agent *agent = agent_start(p, deaf);
	struct tritone_target *t = plugin_target(p, TRITONE_TARGET_AGENT, "a-1");

	t->task = "t-1";
	agent_as_target(agent, t);
	return agent;
}

static void wait_state(const struct agent *agent, int options, int (*is)(int))
{
	int status = 0;

	assert_int_equal(waitpid(agent->pid, &status, options), agent->pid);
	assert_true(is(status));
}

static int stopped(int status)
{
	return WIFSTOPPED(status);
}

static int continued(int status)
{
	return WIFCONTINUED(status);
}

/* A zombie for good: whoever looks finds it dead, and its pid is not used again. */
static void wait_dead(const struct agent *agent)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)agent->pid, &info, WEXITED | WNOWAIT), 0);
}

/* ---- agent-kill ---- */

static void test_kill(void **state)
{
	struct plugin *p = *state;
	struct agent *agent = agent_of(p, false);

	plugin_use(p, "agent-kill", NULL);
	plugin_plan(p);
	assert_has(p->fake.seen, "target=a-1\n");
	agent_say(agent, 'h');
	assert_int_equal(plugin_verify(p), TRITONE_NOT_YET);
	plugin_inject(p);
	wait_dead(agent);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, "is gone after SIGTERM");
	plugin_revert(p);
	plugin_revert(p);
	plugin_failed(p, p->fault->inject(&p->call, p->undo, &p->error), ESRCH, "is gone");
}

static void test_one_that_ignores_it_is_not_called_killed(void **state)
{
	struct plugin *p = *state;
	struct agent *agent = agent_of(p, true);

	plugin_use(p, "agent-kill", NULL);
	plugin_plan(p);
	plugin_inject(p);
	agent_say(agent, 'h');
	assert_int_equal(plugin_verify(p), TRITONE_NEVER);
	assert_has(p->proof.text, "ignores SIGTERM and lives on");
	agent_say(agent, 'h');

	plugin_use(p, "agent-kill", "signal=KILL", NULL);
	plugin_plan(p);
	plugin_inject(p);
	wait_dead(agent);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
}

/* As one does that has caught it, and is on its way out. */
static void test_one_that_begins_to_ignore_it_is_waited_for(void **state)
{
	struct plugin *p = *state;
	struct agent *agent = agent_of(p, false);

	plugin_use(p, "agent-kill", NULL);
	plugin_plan(p);
	agent_say(agent, 'd');
	plugin_inject(p);
	agent_say(agent, 'h');
	assert_int_equal(plugin_verify(p), TRITONE_NOT_YET);
	assert_has(p->proof.text, "still alive after SIGTERM");
	agent_say(agent, 'x');
	wait_dead(agent);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
}

/* One that catches it may end as if nothing had happened: that is said, and of nobody else. */
static void test_one_that_catches_it_is_said_to(void **state)
{
	struct plugin *p = *state;
	struct agent *agent = agent_of(p, false);
	struct tritone_undo old;

	plugin_use(p, "agent-kill", NULL);
	plugin_plan(p);
	assert_null(strstr(p->fake.seen, "caught="));
	agent_say(agent, 'c');
	plugin_plan(p);
	assert_has(p->fake.seen, "caught=it has a handler for SIGTERM");
	plugin_inject(p);
	wait_dead(agent);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, "is gone after SIGTERM, which it catches");

	/* A record of version 1 ends before the set of caught signals. */
	old = *p->undo;
	old.size -= (uint32_t)sizeof(uint64_t);
	old.bytes[0] = 1;
	assert_int_equal(p->fault->revert(&p->call, &old, &p->error), 0);
	assert_int_equal(p->fault->verify(&p->call, &old, &p->proof, &p->error), 0);
	assert_null(strstr(p->proof.text, "catches"));
	old.bytes[0] = 2;
	plugin_failed(p, p->fault->revert(&p->call, &old, &p->error), EINVAL, "version 2");
}

static void test_a_reused_pid_is_never_signalled(void **state)
{
	static const char *const names[] = {"agent-kill", "agent-pause", "orchestrator-kill"};
	struct plugin *p = *state;
	struct agent *agent = agent_start(p, false);
	struct tritone_target *t = plugin_target(p, TRITONE_TARGET_AGENT, "a-1");
	size_t i;

	agent_as_target(agent, t);
	p->fake.targets[1] = *t;
	p->fake.targets[1].kind = TRITONE_TARGET_SYSTEM;
	p->fake.target_count = 2;
	p->fake.targets[0].start_time--; /* the process that had this pid before */
	p->fake.targets[1].start_time--;
	for (i = 0; i < sizeof names / sizeof names[0]; i++) {
		plugin_use(p, names[i], i == 0 ? "signal=KILL" : NULL, NULL);
		plugin_plan(p);
		plugin_failed(p, p->fault->inject(&p->call, p->undo, &p->error), ESRCH, "is gone");
		plugin_revert(p);
		agent_say(agent, 'h');
		assert_int_equal(waitpid(agent->pid, NULL, WNOHANG | WUNTRACED | WCONTINUED), 0);
	}
}

/* ---- agent-pause ---- */

static void test_pause(void **state)
{
	struct plugin *p = *state;
	struct agent *agent = agent_of(p, false);

	plugin_use(p, "agent-pause", NULL);
	/* What another has stopped has nothing to feel, and is not ours to let go. */
	assert_int_equal(kill(agent->pid, SIGSTOP), 0);
	wait_state(agent, WUNTRACED, stopped);
	plugin_failed(p, p->fault->plan(&p->call, p->undo, &p->error), EALREADY, "is stopped already");
	assert_int_equal(kill(agent->pid, SIGCONT), 0);
	wait_state(agent, WCONTINUED, continued);
	plugin_plan(p);
	assert_int_equal(plugin_verify(p), TRITONE_NOT_YET);
	plugin_inject(p);
	wait_state(agent, WUNTRACED, stopped);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	plugin_revert(p);
	wait_state(agent, WCONTINUED, continued);
	agent_say(agent, 'h');
	assert_int_equal(plugin_verify(p), TRITONE_NOT_YET);
	plugin_revert(p);
	agent_say(agent, 'x');
	wait_dead(agent);
	assert_int_equal(plugin_verify(p), TRITONE_NEVER);
	plugin_revert(p);
}

/* ---- whom ---- */

static const char *const ids[] = {"a-1", "a-2", "a-3", "a-4", "a-5"};
#define IDS (sizeof ids / sizeof ids[0])

static void five_agents(struct plugin *p, bool backwards)
{
	size_t i;

	p->fake.target_count = 0;
	for (i = 0; i < IDS; i++) {
		struct tritone_target *t = plugin_target(p, TRITONE_TARGET_AGENT, ids[backwards ? IDS - 1 - i : i]);

		t->pid = 1 << 30; /* of nobody */
		t->start_time = 1;
	}
}

static const char *chosen(struct plugin *p, uint64_t seed, char buf[64])
{
	p->fake.random = seed;
	p->fake.seen[0] = '\0';
	plugin_plan(p);
	assert_int_equal(sscanf(p->fake.seen, "target=%63s", buf), 1);
	return buf;
}

static void test_the_seed_chooses(void **state)
{
	struct plugin *p = *state;
	unsigned hits[IDS] = {0};
	char one[64], same[64], turned[64];
	uint64_t seed;
	size_t i;

	plugin_use(p, "agent-kill", NULL);
	for (seed = 0; seed < 200; seed++) {
		five_agents(p, false);
		chosen(p, seed, one);
		assert_string_equal(chosen(p, seed, same), one);
		five_agents(p, true);
		assert_string_equal(chosen(p, seed, turned), one);
		for (i = 0; i < IDS; i++)
			hits[i] += !strcmp(one, ids[i]);
	}
	for (i = 0; i < IDS; i++) /* 40 are due; less than 15 is as good as impossible */
		assert_true(hits[i] >= 15);
}

static void test_that_of_the_event_is_preferred(void **state)
{
	struct plugin *p = *state;
	uint64_t seed;
	char buf[64];
	size_t i;

	plugin_use(p, "agent-pause", NULL);
	for (i = 0; i < IDS; i++) {
		five_agents(p, false);
		p->fake.targets[i].flags = TRITONE_TARGET_OF_EVENT;
		for (seed = 0; seed < 20; seed++)
			assert_string_equal(chosen(p, seed, buf), ids[i]);
	}
}

static void test_one_by_name(void **state)
{
	struct plugin *p = *state;
	char buf[64];

	five_agents(p, false);
	p->fake.targets[1].flags = TRITONE_TARGET_OF_EVENT;
	p->fake.targets[3].task = "t-9";
	plugin_use(p, "agent-kill", "agent=a-3", NULL);
	assert_string_equal(chosen(p, 1, buf), "a-3");
	plugin_use(p, "agent-kill", "agent=t-9", NULL);
	assert_string_equal(chosen(p, 1, buf), "a-4");
	plugin_use(p, "agent-kill", "agent=a-77", NULL);
	plugin_failed(p, p->fault->plan(&p->call, p->undo, &p->error), ESRCH, "no agent with the id or task 'a-77'");
	p->fake.targets[2].pid = 0;
	plugin_use(p, "agent-kill", "agent=a-3", NULL);
	plugin_failed(p, p->fault->plan(&p->call, p->undo, &p->error), ESRCH, "a-3");
	p->fake.target_count = 0;
	plugin_use(p, "agent-kill", NULL);
	plugin_failed(p, p->fault->plan(&p->call, p->undo, &p->error), ESRCH, "the system has no agent at the moment");
	plugin_use(p, "orchestrator-kill", NULL);
	plugin_failed(p, p->fault->plan(&p->call, p->undo, &p->error), ESRCH, "the system has no orchestrator");
}

/* ---- orchestrator-kill ---- */

static struct agent *orchestrator_of(struct plugin *p)
{
	struct agent *agent = agent_start(p, false);

	agent_as_target(agent, plugin_target(p, TRITONE_TARGET_SYSTEM, "orchestrator"));
	return agent;
}

static void test_orchestrator_without_a_point(void **state)
{
	struct plugin *p = *state;
	struct agent *agent = orchestrator_of(p);

	plugin_use(p, "orchestrator-kill", NULL);
	plugin_plan(p);
	assert_int_equal(plugin_verify(p), TRITONE_NOT_YET);
	plugin_inject(p);
	wait_dead(agent);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	plugin_revert(p);
	plugin_revert(p);
	assert_string_equal(p->fake.order, "");
}

static void test_orchestrator_at_a_point(void **state)
{
	struct plugin *p = *state;
	struct agent *agent = orchestrator_of(p);

	p->fake.hits[0].key_end = "f-1";
	plugin_use(p, "orchestrator-kill", "point=claim.after", "nth=3", NULL);
	plugin_plan(p);
	plugin_inject(p);
	agent_say(agent, 'h'); /* not before the point */
	assert_string_equal(p->fake.order, "point f-1\n");
	assert_string_equal(p->fake.name, "claim.after");
	assert_int_equal(p->fake.point.action, TRITONE_POINT_KILL);
	assert_int_equal(p->fake.point.nth, 3);
	assert_int_equal(p->fake.point.count, 1);

	p->fake.hits[0].seen = 2;
	assert_int_equal(plugin_verify(p), TRITONE_UNEXERCISED);
	assert_has(p->proof.text, "has passed claim.after 2 times, 3 are wanted");
	p->fake.hits[0].seen = 3;
	p->fake.hits[0].hits = 1;
	assert_int_equal(plugin_verify(p), TRITONE_NOT_YET); /* on its way */
	agent_say(agent, 'x');
	wait_dead(agent);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, "is gone, at claim.after");
	p->fake.hits[0].hits = 0;
	assert_int_equal(plugin_verify(p), TRITONE_UNEXERCISED); /* the next one may come there */
	assert_has(p->proof.text, "died before it came to claim.after");
	p->fake.hits[0].error = ENOENT;
	assert_int_equal(plugin_verify(p), TRITONE_UNEXERCISED);
	p->fake.hits[0].error = EIO;
	plugin_failed(p, p->fault->verify(&p->call, p->undo, &p->proof, &p->error), EIO, "no hits");
	plugin_revert(p);
	plugin_revert(p);
	assert_string_equal(p->fake.order, "point f-1\nclear f-1\nclear f-1\n");
	p->fake.failing = "clear";
	plugin_failed(p, p->fault->revert(&p->call, p->undo, &p->error), EIO, "clear f-1");
}

static void die(struct fake *fake)
{
	struct agent *agent = fake->arg;

	agent_say(agent, 'x');
	wait_dead(agent);
}

/* It reaches the point and dies between the two looks of one proof. */
static void test_a_death_while_one_looks(void **state)
{
	struct plugin *p = *state;

	p->fake.arg = orchestrator_of(p);
	p->fake.on_hits = die;
	p->fake.hits[0].key_end = "f-1";
	plugin_use(p, "orchestrator-kill", "point=claim.after", NULL);
	plugin_plan(p);
	plugin_inject(p);
	assert_int_equal(plugin_verify(p), TRITONE_UNEXERCISED);
	p->fake.on_hits = NULL;
	p->fake.hits[0].hits = p->fake.hits[0].seen = 1;
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
}

/* ---- process-kill, process-stop ---- */

/* One that lives, one that is dead, and one whose number another process has by now. */
static void workers(struct plugin *p, bool backwards)
{
	static const char *const names[] = {"worker-1", "worker-2", "worker-3"};
	struct agent *agent = agent_start(p, false);
	size_t i;

	for (i = 0; i < 3; i++) {
		struct tritone_target *t = plugin_target(p, TRITONE_TARGET_PROCESS, names[backwards ? 2 - i : i]);

		agent_as_target(agent, t);
		if (!strcmp(t->id, "worker-2"))
			t->pid = 1 << 30; /* of nobody */
		else if (!strcmp(t->id, "worker-3"))
			t->start_time--;
	}
}

static void test_the_dead_among_many_are_passed_over(void **state)
{
	struct plugin *p = *state;
	char buf[64];
	uint64_t seed;
	int backwards;

	for (backwards = 0; backwards < 2; backwards++) {
		p->fake.target_count = 0;
		workers(p, backwards);
		plugin_use(p, "process-kill", "process=worker*", NULL);
		assert_string_equal(chosen(p, 1, buf), "worker-1");
		assert_null(strstr(strstr(p->fake.seen, "target=") + 1, "target="));
		plugin_use(p, "process-stop", "process=worker*", "which=one", NULL);
		for (seed = 0; seed < 50; seed++)
			assert_string_equal(chosen(p, seed, buf), "worker-1");
	}
	plugin_use(p, "process-kill", "process=worker-[23]", NULL);
	plugin_failed(p, p->fault->plan(&p->call, p->undo, &p->error), ESRCH, "whose name matches 'worker-[23]'");
}

static void test_many_are_stopped_and_killed(void **state)
{
	struct plugin *p = *state;
	struct agent *one = agent_start(p, false), *two = agent_start(p, false);

	agent_as_target(one, plugin_target(p, TRITONE_TARGET_PROCESS, "one"));
	agent_as_target(two, plugin_target(p, TRITONE_TARGET_PROCESS, "two"));
	plugin_use(p, "process-stop", "process=*", NULL);
	plugin_plan(p);
	plugin_inject(p);
	wait_state(one, WUNTRACED, stopped);
	wait_state(two, WUNTRACED, stopped);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, " and 1 more are stopped");
	plugin_failed(p, p->fault->plan(&p->call, p->undo, &p->error), EALREADY, "2 of the processes");
	plugin_revert(p);
	wait_state(one, WCONTINUED, continued);
	wait_state(two, WCONTINUED, continued);

	plugin_use(p, "process-kill", "process=*", "signal=TERM", NULL);
	plugin_plan(p);
	agent_say(one, 'x');
	wait_dead(one);
	plugin_inject(p); /* who is gone already is no hindrance */
	wait_dead(two);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, " and 1 more are gone after SIGTERM");
	plugin_failed(p, p->fault->inject(&p->call, p->undo, &p->error), ESRCH, "is gone");
	plugin_revert(p);
}

/* More than the record holds: refused, and not done to a part of them. */
static void test_a_crowd_that_is_too_great(void **state)
{
	struct plugin *p = *state;
	struct tritone_target *t = plugin_target(p, TRITONE_TARGET_PROCESS, "many");
	int pipe_fds[2], i;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(pipe_fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setpgid(0, 0);
		for (i = 0; i < 60; i++)
			if (fork() == 0)
				for (;;)
					pause();
		if (write(pipe_fds[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	t->pid = pid;
	t->start_time = start_time_of(pid);
	plugin_use(p, "process-kill", "process=many", "scope=tree", NULL);
	i = p->fault->plan(&p->call, p->undo, &p->error);
	plugin_use(p, "process-kill", "process=many", NULL);
	plugin_plan(p); /* it alone */
	kill(-pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(i, -1);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, plugin_setup, plugin_teardown)
	    T(test_kill),
	    T(test_one_that_ignores_it_is_not_called_killed),
	    T(test_one_that_begins_to_ignore_it_is_waited_for),
	    T(test_one_that_catches_it_is_said_to),
	    T(test_a_reused_pid_is_never_signalled),
	    T(test_pause),
	    T(test_the_seed_chooses),
	    T(test_that_of_the_event_is_preferred),
	    T(test_one_by_name),
	    T(test_orchestrator_without_a_point),
	    T(test_orchestrator_at_a_point),
	    T(test_a_death_while_one_looks),
	    T(test_the_dead_among_many_are_passed_over),
	    T(test_many_are_stopped_and_killed),
	    T(test_a_crowd_that_is_too_great),
	};

	return plugin_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
