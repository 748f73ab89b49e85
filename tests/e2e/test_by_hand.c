/* SPDX-License-Identifier: Apache-2.0 */
/* Faults by hand: a system that runs under `tritone up`, tasks handed in over HTTP, and one fault at a time, taken back. */
#include "e2e_up.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- agents of that system ---- */

static void test_kill_one_agent(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, patient(world), NULL);
	struct ran *ran;

	ran = tritone(world, "inject", "agent-kill", "--state", up.run, NULL);
	ran_status(ran, 4);
	ran_has(ran, "no agent matches");
	hand_in(&up, "one", "write");
	await_agents(&up, 1);

	ran = tritone(world, "inject", "agent-kill", "signal=KILL", "--state", up.run, "--dry-run", NULL);
	ran_status(ran, 0);
	ran_has(ran, "would inject agent-kill at ");
	ran_has(ran, "undo");
	await_agents(&up, 1);
	assert_int_equal(world_runs(world), 1); /* nothing but the system's own */

	ran = tritone(world, "inject", "agent-kill", "signal=KILL", "--state", up.run, "--proof", "10m", NULL);
	ran_status(ran, 0);
	ran_has(ran, "is gone after SIGKILL");
	ran_has(ran, "undone        agent-kill");
	assert_int_equal(world_runs(world), 1);
	end_up(world, &up);
}

static void test_more_than_one_needs_max(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, patient(world), NULL);
	struct ran *ran;

	hand_in(&up, "one", "plan");
	hand_in(&up, "two", "plan");
	hand_in(&up, "three", "plan");
	await_agents(&up, 3);
	ran = tritone(world, "inject", "agent-pause", "--state", up.run, "--for", "1s", NULL);
	ran_status(ran, 2);
	ran_has(ran, "3 agents match:\n  ");
	ran_has(ran, "--max");
	ran = tritone(world, "inject", "agent-pause", "--state", up.run, "--for", "100ms", "--max", "2", NULL);
	ran_status(ran, 0);
	ran_has(ran, "agent-pause at ");
	assert_non_null(strstr(strstr(ran->text[0], "undone") + 1, "undone"));
	assert_null(strstr(strstr(strstr(ran->text[0], "undone") + 1, "undone") + 1, "undone"));
	ran = tritone(world, "inject", "agent-pause", "agent=nonesuch", "--state", up.run, NULL);
	ran_status(ran, 4);
	ran_has(ran, "no agent matches: nonesuch");
	end_up(world, &up);
}

/* ---- its gateway and its disk ---- */

static void test_rate_limit(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, unhurried(world), NULL);
	struct ran *ran;
	char url[256];
	const char *ask = "{\"model\": \"opus\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}";

	snprintf(url, sizeof url, "POST %s/claude/v1/chat/completions", up.gateway);
	ran = tritone(world, "inject", "rate-limit", "provider=claude", "retry-after=1500ms", "count=3", "--state",
	    up.run, "--dry-run", NULL);
	ran_status(ran, 0);
	ran_has(ran, "  target       the gateway's provider claude\n");
	ran_has(ran, "  rule         it answers 429 with Retry-After 1.5 s to the first 3 requests\n");
	ran_has(ran, "  undo         the rule rate-limit-1-");
	ran_has(ran, " is cleared\n");
	ran_has(ran, up.control);
	assert_int_equal(http(url, ask, NULL), 200);
	ran = tritone(world, "inject", "rate-limit", "provider=cluade", "--state", up.run, "--dry-run", NULL);
	ran_status(ran, 4);
	ran_has(ran, "the gateway has no provider 'cluade'; there are: claude, ");
	/* Nobody calls: in force, and not felt. */
	ran = tritone(world, "inject", "rate-limit", "provider=claude", "--state", up.run, "--for", "100ms", "--proof",
	    "50ms", NULL);
	ran_status(ran, 4);
	ran_has(ran, "vacuous");
	assert_int_equal(http(url, ask, NULL), 200);

	ran = tritone_start(world, "inject", "rate-limit", "provider=claude", "--state", up.run, "--for", "100s", NULL);
	ran_says(ran, "injecting rate-limit");
	while (http(url, ask, NULL) != 429)
		; /* until it is in force */
	ran_says(ran, "felt ");
	ran_has(tritone(world, "status", NULL), "active: rate-limit-1");
	assert_int_equal(kill(-ran->pid, SIGINT), 0);
	ran_status(ran, 130);
	ran_has(ran, "undone        rate-limit");
	assert_int_equal(http(url, ask, NULL), 200);

	/* Somebody calls when the time for the proof is over, and that of the fault is not. */
	ran = tritone_start(world, "inject", "rate-limit", "provider=claude", "--state", up.run, "--for", "1000s",
	    "--proof", "1ms", NULL);
	ran_says(ran, "waiting       nobody has called claude");
	assert_int_equal(http(url, ask, NULL), 429);
	ran_says(ran, "felt          1 of 1 requests");
	assert_int_equal(kill(-ran->pid, SIGINT), 0);
	ran_status(ran, 130);
	end_up(world, &up);
}

/* Two of the same plugin at one gateway at the same time, each with a rule of its own. */
static void test_two_at_once(void **state)
{
	static const char *const providers[2] = {"claude", "codex"};
	struct world *world = *state;
	struct up up = start_up(world, unhurried(world), NULL);
	struct ran *ran[2];
	char url[2][256], provider[64];
	const char *ask = "{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}";
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(url[i], sizeof url[i], "POST %s/%s/v1/chat/completions", up.gateway, providers[i]);
		snprintf(provider, sizeof provider, "provider=%s", providers[i]);
		ran[i] =
		    tritone_start(world, "inject", "rate-limit", provider, "--state", up.run, "--for", "100s", NULL);
		while (http(url[i], ask, NULL) != 429)
			;
		ran_says(ran[i], "felt ");
	}
	assert_int_equal(http(url[0], ask, NULL), 429);
	ran_signal(ran[0], SIGINT);
	ran_status(ran[0], 130);
	assert_int_equal(http(url[0], ask, NULL), 200);
	assert_int_equal(http(url[1], ask, NULL), 429); /* its rule is still there */
	ran_signal(ran[1], SIGINT);
	ran_status(ran[1], 130);
	assert_int_equal(http(url[1], ask, NULL), 200);
	end_up(world, &up);
}

/* `tritone halt` with the id of the shot: undone, and the status says that it did not end by itself. */
static void test_halted(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, unhurried(world), NULL);
	struct ran *ran;
	char url[256], pattern[160], run[256];
	const char *ask = "{\"model\": \"opus\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}";

	snprintf(url, sizeof url, "POST %s/claude/v1/chat/completions", up.gateway);
	ran = tritone_start(world, "inject", "rate-limit", "provider=claude", "--state", up.run, "--for", "100s", NULL);
	ran_says(ran, "injecting rate-limit");
	while (http(url, ask, NULL) != 429)
		;
	ran_says(ran, "felt ");
	snprintf(pattern, sizeof pattern, "%s/runs/*inject*", world->state);
	assert_int_equal(world_matches(pattern, run, sizeof run), 1);
	ran_status(tritone(world, "halt", strrchr(run, '/') + 1, NULL), 0);
	ran_status(ran, 6);
	ran_has(ran, "aborted: this run was halted by hand");
	ran_has(ran, "undone        rate-limit");
	assert_int_equal(http(url, ask, NULL), 200);

	/* While nobody has felt it yet, too. */
	ran = tritone_start(world, "inject", "rate-limit", "provider=claude", "--state", up.run, "--for", "100s",
	    "--proof", "100s", NULL);
	ran_says(ran, "injecting rate-limit");
	while (world_matches(pattern, run, sizeof run) == 0)
		usleep(5000);
	ran_status(tritone(world, "halt", strrchr(run, '/') + 1, NULL), 0);
	ran_status(ran, 6);
	assert_int_equal(http(url, ask, NULL), 200);
	end_up(world, &up);
}

/* The system dies under the fault: that is said, and nobody waits for the end of its time. */
static void test_system_ends_meanwhile(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, patient(world), NULL);
	struct ran *ran, *victim;

	hand_in(&up, "one", "write");
	await_agents(&up, 1);
	ran = tritone_start(world, "inject", "agent-pause", "--state", up.run, "--for", "1h", NULL);
	ran_says(ran, "is stopped");
	ran_signal(up.ran, SIGKILL);
	ran_status(up.ran, 137);
	ran_status(ran, 6);
	ran_has(ran, "aborted: the system has ended meanwhile");
	ran_has(ran, "undone        agent-pause");

	ran = tritone_start(
	    world, "inject", "agent-pause", "--pid", text_of(sleeper(world, &victim)), "--for", "1h", NULL);
	ran_says(ran, "is stopped");
	ran_signal(victim, SIGKILL);
	ran_status(victim, 137);
	ran_status(ran, 6);
	ran_has(ran, "aborted: the system has ended meanwhile: no process is left of ");
	ran_has(ran, "undone        agent-pause");
	world_quiet(world);
	world_clean(world);
}

static void test_rate_limit_whose_host_is_killed(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, unhurried(world), NULL);
	struct ran *ran;
	char url[256];
	const char *ask = "{\"model\": \"opus\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}";

	snprintf(url, sizeof url, "POST %s/claude/v1/chat/completions", up.gateway);
	ran = tritone_start(world, "inject", "rate-limit", "provider=claude", "--state", up.run, "--for", "100s", NULL);
	ran_says(ran, "injecting rate-limit");
	while (http(url, ask, NULL) != 429)
		;
	ran_signal(ran, SIGKILL);
	ran_status(ran, 137);
	ran_status(tritone(world, "recover", NULL), 0); /* waits for what is being undone */
	assert_int_equal(http(url, ask, NULL), 200);
	ran_signal(up.ran, SIGTERM);
	ran_status(up.ran, 0);
	world_quiet(world);
	world_clean(world);
}

static void test_disk_full(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, unhurried(world), NULL);
	struct ran *ran;

	ran = tritone(world, "inject", "disk-full", "--state", up.run, "--for", "1s", NULL);
	ran_status(ran, 7);
	ran_has(ran,
	    "unavailable: this system has no system-call filter: `tritone up --syscall-filter` starts it with one\n");
	assert_int_equal(ran->used[0], 0); /* it has not even begun */
	ran_status(tritone(world, "inject", "disk-full", "--state", up.run, "--dry-run", NULL), 7);
	ran = tritone(world, "inject", "disk-full", "--state", world->dir, NULL);
	ran_status(ran, 7);
	ran_has(ran, "`tritone up --syscall-filter` starts a system under it");
	ran_status(tritone(world, "inject", "rate-limit", "--state", world->dir, "--dry-run", NULL), 7);
	end_up(world, &up);

	up = start_up(world, unhurried(world), "--syscall-filter");
	ran = tritone_start(world, "inject", "disk-full", "--state", up.run, "--for", "100s", NULL);
	ran_says(ran, "injecting disk-full");
	hand_in(&up, "one", "write"); /* ENOSPC, if not refused at once */
	ran_says(ran, "felt ");
	ran_signal(ran, SIGTERM);
	ran_status(ran, 143);
	ran_has(ran, "undone        disk-full");
	end_up(world, &up);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    UP_TEST(test_kill_one_agent),
	    UP_TEST(test_more_than_one_needs_max),
	    UP_TEST(test_rate_limit),
	    UP_TEST(test_two_at_once),
	    UP_TEST(test_halted),
	    UP_TEST(test_system_ends_meanwhile),
	    UP_TEST(test_rate_limit_whose_host_is_killed),
	    UP_TEST(test_disk_full),
	};

	return up_main("by_hand", tests, sizeof tests / sizeof tests[0]);
}
