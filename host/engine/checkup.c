/* SPDX-License-Identifier: Apache-2.0 */
/* A system gone through step by step, for `tritone system check`: does the manifest say the truth of it? No experiment, no plugin. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/checkup.h"

#define TASKS      6u /* handed in at first: two chains */
#define CHAIN      3u
#define LAST_LINES 10

/* ---- how a step ends ---- */

static void begin(struct checkup *c)
{
	c->step_us = history_now_us(c->run->history);
	c->trouble[0] = '\0';
}

static void tell(const struct checkup *c, const char *name, enum step_state state, uint64_t took_us, const char *detail)
{
	c->what->step(
	    c->what->arg, &(struct engine_step){.name = name, .state = state, .took_us = took_us, .detail = detail});
}

static int passed(struct checkup *c, const char *name, const char *detail)
{
	tell(c, name, STEP_OK, history_now_us(c->run->history) - c->step_us, detail);
	return 0;
}

static int failed(struct checkup *c, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int failed(struct checkup *c, const char *name, const char *format, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	tell(c, name, STEP_FAILED, history_now_us(c->run->history) - c->step_us, text);
	return error_set(&c->why, EPROTO, "%s: %.200s", name, text);
}

static void left_out(const struct checkup *c, const char *name, const char *why)
{
	tell(c, name, STEP_LEFT_OUT, 0, why);
}

/* ---- what the steps wait for ---- */

static bool is_accepted(const struct checkup *c)
{
	return c->run->tracker.tasks[c->first].accepted;
}

static bool is_reached(const struct checkup *c)
{
	return c->reached_count > 0;
}

static bool are_all_reached(const struct checkup *c)
{
	return c->reached_count == c->run->manifest->gateway.providers.count;
}

static bool are_at_their_end(const struct checkup *c)
{
	size_t i, missing;

	for (i = c->first; i < c->last; i++)
		if (c->run->tracker.tasks[i].given_up)
			return true; /* this one will not come */
	return checkup_count(c, c->end, &missing) == c->last - c->first;
}

static bool is_restarted(const struct checkup *c)
{
	return c->restarts > 0;
}

static bool has_answer(const struct checkup *c)
{
	return c->asked > 0 || c->refusal[0];
}

static bool has_agents(const struct checkup *c)
{
	return c->agents > 0;
}

static bool has_claims(const struct checkup *c)
{
	return c->claims > 0;
}

/* ---- the steps ---- */

static int step_start(struct checkup *c)
{
	struct run *run = c->run;
	uint64_t begin_us = history_now_us(run->history), now_us;
	struct error err;
	int r;

	begin(c);
	r = system_start(run->system, &err);
	checkup_catch_up(c);
	now_us = history_now_us(run->history);
	if (r && (c->started_us == 0 || err.code == ENOENT || err.code == EACCES || err.code == ENOEXEC))
		return failed(c, "starts", "%.199s", err.text);
	tell(c, "starts", STEP_OK, c->started_us - begin_us, "");
	c->step_us = c->started_us;
	if (r)
		return failed(c, "ready", "%.199s", err.text);
	tell(c, "ready", STEP_OK, now_us - c->started_us, "");
	return 0;
}

static int step_accept(struct checkup *c)
{
	begin(c);
	if (checkup_hand_in(c, TASKS))
		return failed(c, "accepts a task", "%.199s", c->why.text);
	if (checkup_await(c, is_accepted))
		return failed(c, "accepts a task", "%s", c->trouble);
	return passed(c, "accepts a task", "");
}

/* One of the ends that a task comes to. */
static int step_end(struct checkup *c, const char *name, enum checkup_end end)
{
	static const char *const hows[] = {
	    [END_COMMITTED] = "committed", [END_NOTIFIED] = "notified", [END_DONE] = "done by its own word"};
	char text[96];
	size_t missing, n;
	int r;

	begin(c);
	c->end = end;
	r = checkup_await(c, are_at_their_end);
	n = checkup_count(c, end, &missing);
	if (r == 0 && n == c->last - c->first) {
		snprintf(text, sizeof text, "%zu tasks", n);
		return passed(c, name, text);
	}
	if (!c->trouble[0] && c->outcome_trouble[0])
		memcpy(c->trouble, c->outcome_trouble, sizeof c->trouble);
	return failed(c, name, "%zu of %zu tasks were %s, t%03zu-%s was not%s: %s", n, c->last - c->first, hows[end],
	    missing, c->roles.items[missing % CHAIN],
	    end == END_COMMITTED && c->commits_of_no_task ? ", and some commits name no task" : "",
	    c->trouble[0] ? c->trouble : "?");
}

static int step_ends(struct checkup *c)
{
	const struct spec_manifest *m = c->run->manifest;

	if (!spec_has_ledger(m))
		left_out(c, "commits seen", "none are declared");
	else if (step_end(c, "commits seen", END_COMMITTED))
		return -1;
	if (m->gateway.sinks.count && step_end(c, "notifications seen", END_NOTIFIED))
		return -1;
	if (!spec_has_outcome(m))
		left_out(c, "completion seen", "no 'outcome' is declared");
	else if (step_end(c, "completion seen", END_DONE))
		return -1;
	if (spec_has_agents(m)) {
		begin(c);
		if (checkup_await(c, has_agents))
			return failed(c, "agents seen", "%s", c->trouble);
		passed(c, "agents seen", "");
	}
	if (spec_has_claims(m)) {
		begin(c);
		if (checkup_await(c, has_claims))
			return failed(c, "claims seen", "%s", c->trouble);
		passed(c, "claims seen", "");
	}
	return 0;
}

static int step_gateway(struct checkup *c)
{
	const struct spec_strings *providers = &c->run->manifest->gateway.providers;
	char text[96];

	if (!providers->count) {
		left_out(c, "reaches the gateway", "no providers are declared");
		return 0;
	}
	begin(c);
	if (checkup_await(c, is_reached))
		return failed(c, "reaches the gateway", "no provider was called: %s", c->trouble);
	snprintf(text, sizeof text, "%s",
	    c->calls_of_no_task && c->run->manifest->gateway.task_header ? "some calls name no task" : "");
	return passed(c, "reaches the gateway", text);
}

/* Those that have been called answer 429 from here on: that is when the next of a cascade is. */
static int throttle_reached(struct checkup *c, bool on)
{
	const struct spec_strings *providers = &c->run->manifest->gateway.providers;
	size_t i;

	for (i = 0; i < providers->count; i++) {
		char key[64];

		snprintf(key, sizeof key, "checkup-%zu", i);
		if (!on)
			gateway_rule_clear(c->run->gateway, key);
		else if (c->reached[i] && gateway_rule_set(c->run->gateway,
					      &(struct tritone_gateway_rule){
						  .struct_size = sizeof(struct tritone_gateway_rule),
						  .action = TRITONE_GATEWAY_ANSWER,
						  .key = key,
						  .target = providers->items[i],
						  .status = 429,
						  .retry_after_ms = 1000,
					      },
					      &c->why))
			return -1;
	}
	return 0;
}

static bool is_another_reached(const struct checkup *c)
{
	return c->reached_count > c->reached_before;
}

static int step_providers(struct checkup *c)
{
	const struct spec_strings *providers = &c->run->manifest->gateway.providers;
	char name[64];
	int r = 0;

	if (providers->count < 2)
		return 0;
	snprintf(name, sizeof name, "all %zu providers", providers->count);
	begin(c);
	while (r == 0 && !are_all_reached(c)) {
		c->reached_before = c->reached_count;
		r = throttle_reached(c, true);
		if (r == 0)
			r = checkup_hand_in(c, CHAIN);
		if (r == 0 && checkup_await(c, is_another_reached)) {
			size_t i;

			for (i = 0; c->reached[i]; i++)
				;
			r = failed(c, name, "%s was not called though all that were called answered 429: %s",
			    providers->items[i], c->trouble);
		}
	}
	(void)throttle_reached(c, false);
	return r ? r : passed(c, name, "");
}

/* Those that are not played: after all have been called. */
static int step_upstreams(struct checkup *c)
{
	const struct spec_manifest *m = c->run->manifest;
	char text[400];
	size_t used = 0, i;
	struct error err;

	if (!m->gateway.upstream_count && !m->gateway.replay)
		return 0;
	begin(c);
	for (i = 0; i < m->gateway.upstream_count && used < sizeof text; i++)
		used += (size_t)snprintf(text + used, sizeof text - used, "%s%s at %s", i ? ", " : "",
		    m->gateway.upstreams[i].provider, m->gateway.upstreams[i].url);
	if (m->gateway.replay)
		snprintf(text, sizeof text, "from %s", m->gateway.replay);
	else if (m->gateway.record && used < sizeof text)
		snprintf(text + used, sizeof text - used, ", recorded in %s", m->gateway.record);
	if (checkup_await(c, has_answer) || !c->asked)
		return failed(c, "real providers", "%s: %s", text, c->refusal[0] ? c->refusal : c->trouble);
	if (gateway_amiss(c->run->gateway, &err))
		return failed(c, "real providers", "%s", err.text);
	return passed(c, "real providers", text);
}

static int step_restart(struct checkup *c)
{
	const struct spec_manifest *m = c->run->manifest;
	struct error err;
	size_t i;

	if (!m->restart.on_crash) {
		left_out(c, "restart", "'restart' is not declared");
		return 0;
	}
	begin(c);
	for (i = 0; i < m->process_count; i++) {
		if (m->processes[i].helper || !m->processes[i].restart)
			continue;
		c->restarts = 0;
		if (system_signal(c->run->system, m->processes[i].name, SIGKILL, &err))
			return failed(c, "restart", "%.199s", err.text);
		if (checkup_await(c, is_restarted))
			return failed(c, "restart", "process %s after a SIGKILL: %s", m->processes[i].name, c->trouble);
	}
	if (checkup_hand_in(c, CHAIN))
		return failed(c, "restart", "%.199s", c->why.text);
	/* A process that died once is expected here. */
	if (spec_has_ledger(m))
		return step_end(c, "restart", END_COMMITTED);
	if (spec_has_outcome(m))
		return step_end(c, "restart", END_DONE);
	return checkup_await(c, is_accepted) ? failed(c, "restart", "%s", c->trouble) : passed(c, "restart", "");
}

static bool bad_file(void *arg, const struct op *op)
{
	char *text = arg;

	if ((op->kind != OP_STATEFILE && op->kind != OP_WAL) || op->type != OP_FAIL)
		return false;
	snprintf(text, 200, "%.80s: %.110s", op->actor, op->detail);
	return true;
}

static int step_state(struct checkup *c)
{
	const struct spec_manifest *m = c->run->manifest;
	char text[200] = "";
	struct error err;

	if (!m->state.json.count && !m->state.temporary.count && !m->wal.directory)
		return 0;
	begin(c);
	if (system_audit(c->run->system, &err))
		return failed(c, "state whole", "%.199s", err.text);
	if (history_scan(c->run->history, 0, bad_file, text))
		return failed(c, "state whole", "%s", text);
	return passed(c, "state whole", "");
}

/* Whatever happened before. */
static int step_stop(struct checkup *c)
{
	struct error err;
	int killed;

	begin(c);
	killed = system_stop(c->run->system, c->run->manifest->stop_grace_ms, &err);
	if (killed < 0) {
		failed(c, "stops", "%.199s", err.text);
		return run_fail(c->run, err.code == EPERM ? VERDICT_UNDO_INCOMPLETE : VERDICT_ERROR,
		    "the system could not be stopped: %s", err.text);
	}
	if (killed > 0)
		return failed(c, "stops", "%d of its processes had to be killed %g s after SIGTERM; nothing left",
		    killed, (double)c->run->manifest->stop_grace_ms / 1e3);
	return passed(c, "stops", "nothing left");
}

/* ---- all of it ---- */

static void say(void *arg, const char *name, const char *line)
{
	const struct checkup *c = arg;

	c->what->words(c->what->arg, name, line);
}

static void go_through(struct checkup *c)
{
	struct run *run = c->run;
	struct error first;
	bool ready = false, bad;

	bad = step_start(c) != 0;
	ready = !bad;
	bad = bad || step_accept(c) || step_gateway(c) || step_ends(c) || step_providers(c) || step_upstreams(c) ||
	      step_restart(c);
	first = c->why;
	workload_stop(run->workload);
	run->workload = NULL;
	if (step_stop(c) && !bad) {
		bad = true;
		first = c->why;
	}
	if (!bad && step_state(c)) {
		bad = true;
		first = c->why;
	}
	if (run_stopped(run)) /* whatever failed, failed of that */
		return;
	if (bad) {
		system_last_words(run->system, LAST_LINES, say, c);
		run_fail(run, ready ? VERDICT_DEVIATED : VERDICT_GATE_FAILED, "%s", first.text);
	}
}

static int set_up(struct checkup *c, struct error *err)
{
	struct run *run = c->run;
	size_t tasks = TASKS + CHAIN + CHAIN * run->manifest->gateway.providers.count;
	char why[256];

	if (rundir_halted(run, why, sizeof why))
		return run_fail(run, VERDICT_ABORTED, "%s", why);
	if (rundir_create(run, err) || run_open(run, err) || tracker_init(&run->tracker, tasks, run->manifest, err))
		return run_fail(run, VERDICT_ERROR, "%s", err->text);
	return 0;
}

enum verdict engine_check_up(const struct engine_options *options, const struct engine_checkup *checkup, char *ret_dir,
    size_t dir_size, struct error *err)
{
	struct result result = {.recovered_us = -1};
	struct engine_case dummy = {.experiment = ""};
	struct run run = {.options = options, .c = &dummy, .result = &result};
	char path[PATH_MAX], plan[] = "plan", write[] = "write", review[] = "review";
	char *names[] = {plan, write, review, NULL};
	struct checkup c = {.what = checkup, .run = &run, .roles = {names, CHAIN}};

	ret_dir[0] = '\0';
	if (engine_system_path(path, sizeof path, checkup->system, NULL, err) ||
	    spec_manifest_load(&run.manifest, path, err))
		return VERDICT_ERROR;
	snprintf(dummy.name, sizeof dummy.name, "check-%.60s", run.manifest->name);
	if (set_up(&c, err) == 0)
		go_through(&c);
	run_shut(&run);
	tracker_finish(&run.tracker);
	spec_manifest_free(run.manifest);
	if (result.verdict != VERDICT_HELD)
		error_set(err, ECANCELED, "%.250s", result.reason);
	if (run.dir[0] && result.verdict == VERDICT_HELD && !options->keep)
		(void)rundir_remove(run.dir);
	else
		snprintf(ret_dir, dir_size, "%s", run.dir);
	return result.verdict;
}
