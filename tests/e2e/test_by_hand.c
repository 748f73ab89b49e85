/* SPDX-License-Identifier: Apache-2.0 */
/* Faults by hand: a system that runs under `tritone up`, tasks handed in over HTTP, and one fault at a time, taken back. */
#include "e2e.h"

#include <curl/curl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- HTTP as a person's curl ---- */

struct body {
	char text[65536];
	size_t used;
};

static size_t take(char *bytes, size_t one, size_t count, void *arg)
{
	struct body *body = arg;
	size_t n = one * count, room = sizeof body->text - 1 - body->used;

	if (n > room)
		n = room;
	memcpy(body->text + body->used, bytes, n);
	body->used += n;
	body->text[body->used] = '\0';
	return one * count;
}

/* `request` is "METHOD URL", as `up` prints it. The status, 0 when there was no answer. */
static long http(const char *request, const char *json, struct body *body)
{
	char method[16] = "";
	struct curl_slist *headers;
	struct body ignored;
	long status = 0;
	CURL *curl;

	if (!request)
		return 0; /* the system has not said how */
	curl = curl_easy_init();
	headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!body)
		body = &ignored;
	body->used = 0;
	body->text[0] = '\0';
	snprintf(method, sizeof method, "%.*s", (int)strcspn(request, " "), request);
	curl_easy_setopt(curl, CURLOPT_URL, strchr(request, ' ') + 1);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)GUARD_MS);
	if (json)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, json);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return status;
}

/* ---- a system that is up ---- */

struct up {
	struct ran *ran;
	const char *run, *state, *gateway, *control, *submit, *outcome;
};

static struct up start_up(struct world *world, const char *system, const char *option)
{
	struct up up = {.ran = tritone_start(world, "up", system, option, NULL)};

	ran_says(up.ran, "ready; end it with");
	up.run = ran_value(world, up.ran, "run ");
	up.state = ran_value(world, up.ran, "state ");
	up.gateway = ran_value(world, up.ran, "gateway ");
	up.control = ran_value(world, up.ran, "control ");
	up.submit = ran_value(world, up.ran, "submit ");
	up.outcome = ran_value(world, up.ran, "outcome ");
	return up;
}

static void hand_in(const struct up *up, const char *id, const char *role)
{
	char json[256];

	snprintf(json, sizeof json,
	    "{\"id\": \"%s\", \"key\": \"%s\", \"role\": \"%s\", \"after\": [], \"prompt\": \"do\"}", id, id, role);
	assert_in_range(http(up->submit, json, NULL), 200, 299);
}

/* While it is being started again nobody takes it. */
static void hand_in_again(const struct up *up, const char *id)
{
	char json[256];

	snprintf(
	    json, sizeof json, "{\"id\": \"%s\", \"key\": \"%s\", \"role\": \"write\", \"prompt\": \"do\"}", id, id);
	while (http(up->submit, json, NULL) / 100 != 2)
		usleep(5000);
}

/* Waits for `count` agents that are at work: their pid files. */
static void await_agents(const struct up *up, size_t count)
{
	char pattern[512];

	snprintf(pattern, sizeof pattern, "%s/.sdd/runtime/agents/*/pid", up->state);
	while (world_matches(pattern, NULL, 0) < count)
		usleep(5000);
}

static void end_up(struct world *world, const struct up *up)
{
	ran_signal(up->ran, SIGINT);
	ran_status(up->ran, 0);
	world_quiet(world);
	world_clean(world);
	assert_int_equal(world_runs(world), 0);
}

/* A model that answers after 20 s: whoever asks it stays where he is for the length of a test. */
static const char *patient(struct world *world)
{
	return world_manifest(world, "patient.yaml", "latency: 20ms", "latency: 20s");
}

static const char *reference = SOURCES "/fixtures/systems/conductor.yaml";

/* ---- up ---- */

static void test_up_works_for_a_person(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, reference, NULL);
	static struct body body;
	char url[256];

	assert_int_equal(strncmp(up.submit, "POST http://127.0.0.1:", 22), 0);
	hand_in(&up, "one", "write");
	do
		assert_int_equal(http(up.outcome, NULL, &body), 200);
	while (!strstr(body.text, "\"done\""));
	snprintf(url, sizeof url, "POST %s/claude/v1/chat/completions", up.gateway);
	assert_int_equal(
	    http(url, "{\"model\": \"opus\", \"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", NULL), 200);
	ran_has(tritone(world, "status", NULL), "none");
	end_up(world, &up);
}

static void test_up_is_halted(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, reference, NULL);

	ran_status(tritone(world, "halt", strrchr(up.run, '/') + 1, NULL), 0);
	ran_status(up.ran, 6); /* not as it would have ended by itself */
	ran_has(up.ran, "this run was halted by hand");
	world_quiet(world);
	world_clean(world);
}

static void test_up_is_killed(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, reference, NULL);

	hand_in(&up, "one", "write");
	ran_signal(up.ran, SIGKILL);
	ran_status(up.ran, 137);
	world_quiet(world);
	world_clean(world);
}

/* Who has died and is started no more: which, how and its last words, and a status of its own. */
static void test_up_whose_system_dies(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world, world_manifest(world, "mortal.yaml", "max: 20", "max: 1"), NULL);

	ran_status(tritone(world, "inject", "process-kill", "--state", up.run, NULL), 0);
	hand_in_again(&up, "one"); /* it is back */
	ran_status(tritone(world, "inject", "process-kill", "--state", up.run, NULL), 0);
	ran_status(up.ran, 1);
	ran_has(up.ran, "process conductor is gone for good: it was killed by signal 9 (Killed), after 1 restarts\n");
	ran_has(up.ran, "  conductor: ");
	ran_has(up.ran, "the system has ended by itself: conductor: ");
	assert_int_equal(world_runs(world), 1); /* for the post-mortem */
	world_quiet(world);
	world_clean(world);
}

/* Another process than the orchestrator: that is said, and the system stays up. */
static void test_up_whose_worker_dies(void **state)
{
	struct world *world = *state;
	struct up up = start_up(world,
	    world_manifest(world, "mortal.yaml", "processes:\n",
		"processes:\n  - {name: beside, helper: true, restart: false, command: [sh, -c, 'echo last words; exec "
		"sleep "
		"1000']}\n"),
	    NULL);

	ran_status(tritone(world, "inject", "process-kill", "process=beside", "--state", up.run, NULL), 0);
	ran_says(up.ran, "process beside is gone for good: it was killed by signal 9 (Killed)\n");
	ran_says(up.ran, "  beside: last words\n");
	hand_in(&up, "one", "write");
	end_up(world, &up);
}

/* ---- processes of others ---- */

static pid_t sleeper(struct world *world, struct ran **ret)
{
	char *argv[] = {(char[]){"/bin/sleep"}, (char[]){"1000"}, NULL};

	*ret = program_start(world, argv);
	return (*ret)->pid;
}

static const char *text_of(pid_t pid)
{
	char *text;

	assert_true(asprintf(&text, "%d", (int)pid) > 0);
	return text;
}

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

	ran = tritone(world, "inject", "agent-kill", "signal=KILL", "--state", up.run, NULL);
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
	struct up up = start_up(world, reference, NULL);
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
	struct up up = start_up(world, reference, NULL);
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
	struct up up = start_up(world, reference, NULL);
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
	struct up up = start_up(world, reference, NULL);
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
	struct up up = start_up(world, reference, NULL);
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

	up = start_up(world, reference, "--syscall-filter");
	ran = tritone_start(world, "inject", "disk-full", "--state", up.run, "--for", "100s", NULL);
	ran_says(ran, "injecting disk-full");
	hand_in(&up, "one", "write"); /* ENOSPC, if not refused at once */
	ran_says(ran, "felt ");
	ran_signal(ran, SIGTERM);
	ran_status(ran, 143);
	ran_has(ran, "undone        disk-full");
	end_up(world, &up);
}

/* ---- by pid ---- */

static void test_kill_a_foreign_process(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	const char *pid = text_of(sleeper(world, &victim));

	ran = tritone(world, "inject", "agent-kill", "--pid", pid, "--dry-run", NULL);
	ran_status(ran, 0);
	ran_has(ran, pid);
	assert_int_equal(process_state(victim->pid), 'S');
	ran = tritone(world, "inject", "agent-kill", "--pid", pid, NULL);
	ran_status(ran, 0);
	ran_has(ran, "is gone after SIGTERM");
	ran_status(victim, 128 + SIGTERM);
	ran = tritone(world, "inject", "agent-kill", "--pid", pid, NULL);
	ran_status(ran, 4);
	world_quiet(world);
	world_clean(world);
}

static void test_ignored_signal_is_not_felt(void **state)
{
	struct world *world = *state;
	char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"},
	    (char[]){"trap '' TERM; echo ready; while :; do sleep 1000; done"}, NULL};
	struct ran *victim = program_start(world, argv), *ran;

	ran_says(victim, "ready");
	ran = tritone(world, "inject", "agent-kill", "--pid", text_of(victim->pid), "--proof", "300ms", NULL);
	ran_status(ran, 4);
	ran_has(ran, "ignores SIGTERM");
	kill(-victim->pid, SIGKILL);
	ran_end(victim);
	world_quiet(world);
}

static void test_pause_for_a_while(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim);

	ran = tritone_start(world, "inject", "agent-pause", "--pid", text_of(pid), "--for", "300ms", NULL);
	ran_says(ran, "is stopped");
	ran_status(ran, 0);
	ran_has(ran, "undone        agent-pause");
	assert_int_equal(process_state(pid), 'S');

	ran = tritone_start(world, "inject", "agent-pause", "--pid", text_of(pid), "--for", "100s", NULL);
	ran_says(ran, "is stopped");
	assert_int_equal(process_state(pid), 'T');
	ran_signal(ran, SIGINT);
	ran_status(ran, 130);
	assert_int_equal(process_state(pid), 'S');

	/* The host is killed: the fault's own process lets go. */
	ran = tritone_start(world, "inject", "agent-pause", "--pid", text_of(pid), "--for", "100s", NULL);
	ran_says(ran, "is stopped");
	ran_signal(ran, SIGKILL);
	ran_status(ran, 137);
	process_await(pid, "S");
	kill(pid, SIGKILL);
	ran_end(victim);
	world_quiet(world);
	world_clean(world);
}

/* Host and runner are killed at once: it stays stopped, that is said, and recover lets it go. */
static void test_pause_whose_host_and_runner_are_killed(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim), pids[64];
	size_t n, i;

	ran = tritone_start(world, "inject", "agent-pause", "--pid", text_of(pid), "--for", "100s", NULL);
	ran_says(ran, "is stopped");
	n = world_processes(world, pids, 64);
	for (i = 0; i < n; i++)
		if (pids[i] != pid)
			kill(pids[i], SIGSTOP);
	for (i = 0; i < n; i++)
		if (pids[i] != pid)
			kill(pids[i], SIGKILL);
	ran_status(ran, 137);
	assert_int_equal(process_state(pid), 'T');
	ran = tritone(world, "status", NULL);
	ran_status(ran, 5);
	ran_has(ran, "LEFT BEHIND: agent-pause-1");
	ran = tritone(world, "inject", "agent-pause", "--pid", text_of(pid), NULL);
	ran_status(ran, 2);
	ran_has(ran, "run `tritone recover` first");
	ran = tritone(world, "recover", NULL);
	ran_status(ran, 0);
	ran_has(ran, ": agent-pause-1-");
	ran_has(ran, ": undone\n");
	process_await(pid, "S");
	kill(pid, SIGKILL);
	ran_end(victim);
	world_quiet(world);
	world_clean(world);
}

/* Pid files below a directory that knows nothing of tritone. */
static void test_pid_files_of_a_stranger(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim);
	char command[512];

	snprintf(command, sizeof command, "mkdir -p %s/other/workers/w1 && echo %d > %s/other/workers/w1/pid",
	    world->dir, (int)pid, world->dir);
	assert_int_equal(system(command), 0);
	ran = tritone(world, "inject", "agent-kill", "agent=w1", "--state", world_path(world, "other"), "--pid-files",
	    "workers/*/pid", NULL);
	ran_status(ran, 0);
	ran_has(ran, "agent-kill at w1");
	ran_status(victim, 128 + SIGTERM);
	world_quiet(world);
	world_clean(world);
}

/* The agent is gone, its pid file is not, and another process has the number. */
static void test_a_stale_pid_file_hits_nobody(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim);
	char command[512];

	snprintf(command, sizeof command,
	    "mkdir -p %s/other/w1 && echo %d > %s/other/w1/pid && touch -d '1 minute ago' %s/other/w1/pid", world->dir,
	    (int)pid, world->dir, world->dir);
	assert_int_equal(system(command), 0);
	ran =
	    tritone(world, "inject", "agent-kill", "--state", world_path(world, "other"), "--pid-files", "*/pid", NULL);
	ran_status(ran, 4);
	ran_has(ran, "after its pid file was written");
	ran_has(ran, "w1/pid");
	assert_int_not_equal(process_state(pid), 'Z');
	ran =
	    tritone(world, "inject", "agent-kill", "--state", world_path(world, "other"), "--pid", text_of(pid), NULL);
	ran_status(ran, 0);
	ran_status(victim, 128 + SIGTERM);
	world_quiet(world);
	world_clean(world);
}

/* The directory may be called what it likes, and a pattern may say more than a star. */
static void test_pid_files_below_a_strange_name(void **state)
{
	struct world *world = *state;
	struct ran *victim, *ran;
	pid_t pid = sleeper(world, &victim);
	char command[512], where[128];

	snprintf(where, sizeof where, "%s/o[t]h*er?", world->dir);
	snprintf(command, sizeof command, "mkdir -p '%s/w1' && echo %d > '%s/w1/agent-7.pid'", where, (int)pid, where);
	assert_int_equal(system(command), 0);
	ran =
	    tritone(world, "inject", "agent-kill", "agent=7", "--state", where, "--pid-files", "w?/agent-*.pid", NULL);
	ran_status(ran, 0);
	ran_has(ran, "agent-kill at 7");
	ran_status(victim, 128 + SIGTERM);
	victim = NULL;
	pid = sleeper(world, &victim);
	snprintf(command, sizeof command, "echo %d > '%s/w1/agent-7.pid'", (int)pid, where);
	assert_int_equal(system(command), 0);
	/* A pattern longer than what it matches: who has no id of his own has his pid. */
	ran = tritone(world, "inject", "agent-kill", "--state", where, "--pid-files",
	    "w[abcdefghijklmnopqrstuvwxyz0123456789]/[a][g][e][n][t]-*[6789].[p][i][d]", NULL);
	ran_status(ran, 0);
	snprintf(command, sizeof command, "agent-kill at %d", (int)pid);
	ran_has(ran, command);
	ran_status(victim, 128 + SIGTERM);
	world_quiet(world);
	world_clean(world);
}

/* ---- the other verbs ---- */

static void test_verbs_that_look(void **state)
{
	struct world *world = *state;
	const char *file = world_write(
	    world, "x.yaml", "system: %s\nworkload: {tasks: 1, tail: 0}\ninvariants: [no-lost-task]\n", reference);
	char run[256], pattern[160], path[300];
	struct ran *ran;
	json_t *json;

	ran_status(tritone(world, "test", "--keep", file, NULL), 0);
	snprintf(pattern, sizeof pattern, "%s/runs/*[a-z]", world->state);
	assert_int_equal(world_matches(pattern, run, sizeof run), 1);
	ran = tritone(world, "show", run, NULL);
	ran_status(ran, 0);
	ran_has(ran, "commit");
	ran_status(tritone(world, "show", "--kind", "commit", strrchr(run, '/') + 1, NULL), 0);
	snprintf(path, sizeof path, "%s/history", run);
	ran_status(tritone(world, "wal", "verify", path, NULL), 0);
	ran = tritone(world, "wal", "dump", path, NULL);
	ran_status(ran, 0);
	assert_true(ran->used[0] > 0);
	snprintf(path, sizeof path, "%s/state/wal", run);
	ran_status(tritone(world, "wal", "verify", path, NULL), 0);
	ran = tritone(world, "plugin", "list", NULL);
	ran_status(ran, 0);
	ran_has(ran, "orchestrator-kill");
	ran = tritone(world, "plugin", "show", "rate-limit", NULL);
	ran_status(ran, 0);
	ran_has(ran, "retry-after");
	ran = tritone(world, "doctor", "--json", NULL);
	json = json_loads(ran->text[0], 0, NULL);
	assert_non_null(json);
	json_decref(json);
	ran = tritone(world, "status", "--json", NULL);
	ran_status(ran, 0);
	json = json_loads(ran->text[0], 0, NULL);
	assert_int_equal(json_array_size(json), 1);
	json_decref(json);
	world_quiet(world);
}

int main(void)
{
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, world_create, world_destroy)
	const struct CMUnitTest tests[] = {
	    TEST(test_up_works_for_a_person),
	    TEST(test_up_is_halted),
	    TEST(test_up_is_killed),
	    TEST(test_up_whose_system_dies),
	    TEST(test_up_whose_worker_dies),
	    TEST(test_kill_one_agent),
	    TEST(test_more_than_one_needs_max),
	    TEST(test_rate_limit),
	    TEST(test_two_at_once),
	    TEST(test_halted),
	    TEST(test_system_ends_meanwhile),
	    TEST(test_rate_limit_whose_host_is_killed),
	    TEST(test_disk_full),
	    TEST(test_kill_a_foreign_process),
	    TEST(test_ignored_signal_is_not_felt),
	    TEST(test_pause_for_a_while),
	    TEST(test_pause_whose_host_and_runner_are_killed),
	    TEST(test_pid_files_of_a_stranger),
	    TEST(test_a_stale_pid_file_hits_nobody),
	    TEST(test_pid_files_below_a_strange_name),
	    TEST(test_verbs_that_look),
	};
	int r;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	r = cmocka_run_group_tests_name("by_hand", tests, NULL, NULL);
	curl_global_cleanup();
	return r;
}
