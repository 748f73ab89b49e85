/* SPDX-License-Identifier: Apache-2.0 */
/* The moment of a fault: which operation it is, what has to be looked for or held so that it is not missed, and how long after it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "engine/run.h"

static bool of(const struct spec_when *when, const struct op *op)
{
	return !when->of || !strcmp(when->of, op->actor);
}

static bool matches(const struct run_fault *fault, const struct spec_when *when, const struct op *op)
{
	switch (when->event) {
	case SPEC_EVENT_NONE:
		return false;
	case SPEC_EVENT_REQUEST:
		return op->kind == OP_CALL && op->type == OP_INVOKE && of(when, op);
	case SPEC_EVENT_REPLY:
		return op->kind == OP_CALL && (op->type == OP_OK || op->type == OP_FAIL) && of(when, op);
	case SPEC_EVENT_COMMIT:
		return op->kind == OP_COMMIT;
	case SPEC_EVENT_NOTIFY:
		return op->kind == OP_NOTIFY && op->type == OP_INVOKE && of(when, op);
	case SPEC_EVENT_ACCEPT:
		return op->kind == OP_SUBMIT && op->type == OP_OK;
	case SPEC_EVENT_FAULT:
		return op->kind == OP_FAULT && op->type == OP_OK && of(when, op);
	case SPEC_EVENT_REVERT:
		return op->kind == OP_REVERT && op->type == OP_OK && of(when, op);
	case SPEC_EVENT_RESTART:
		return op->kind == OP_SYSTEM && op->type == OP_OK;
	case SPEC_EVENT_OUTPUT:
		return op->kind == OP_OUTPUT && !strcmp(op->key, fault->spec->base);
	case SPEC_EVENT_FILE:
		return op->kind == OP_FILE && !strcmp(op->key, fault->spec->base);
	case SPEC_EVENT_SYNC: /* counted elsewhere, see take_count */
	case SPEC_EVENT_POINT:
		return false;
	}
	return false;
}

uint64_t moment_delay_us(const struct run_fault *fault, const struct spec_when *when)
{
	uint64_t range = run_us(when->within_ms);
	const char *name = fault->spec->name;

	return run_us(when->after_ms) +
	       (range ? XXH3_64bits_withSeed(name, strlen(name), fault->run->options->seed) % range : 0);
}

/* The request that the barrier holds, whichever the gateway counted as the n-th: its invoke says "held ID ID". */
static bool is_held(const struct run_fault *fault, const struct op *op)
{
	const char *at = op->detail;
	uint64_t id = 0;

	if (op->type != OP_INVOKE || strncmp(at, "held", 4) != 0)
		return false;
	for (at += 4; *at == ' ' && id != fault->hold;) {
		char *end;

		id = strtoull(at, &end, 10);
		at = end;
	}
	return id == fault->hold;
}

/* Whether this occurrence of its event counts: repetitions of one fault draw alike. */
static bool is_drawn(const struct run_fault *fault, uint64_t occurrence)
{
	char text[96];
	int size;

	if (fault->spec->when.probability <= 0)
		return true;
	size = snprintf(text, sizeof text, "%.64s/%" PRIu64, fault->spec->base, occurrence);
	return (double)(XXH3_64bits_withSeed(text, (size_t)size, fault->run->options->seed) >> 11) * 0x1p-53 <
	       fault->spec->when.probability;
}

/* Whether its moment has come with this operation. */
static bool is_moment(struct run_fault *fault, const struct op *op)
{
	const struct spec_when *when = &fault->spec->when;

	if (fault->hold)
		return is_held(fault, op);
	if (fault->holds_call)
		return false; /* asked for, see moment_ask */
	if (!matches(fault, when, op) || !is_drawn(fault, ++fault->occurred))
		return false;
	return ++fault->when_seen == (when->nth ? when->nth : 1);
}

bool fault_see(struct run_fault *fault, const struct op *op)
{
	const struct spec_when *when = &fault->spec->when, *until = &fault->spec->until;

	if (fault->state == FAULT_WAITING) {
		if (!is_moment(fault, op))
			return false;
		fault->state = FAULT_DUE;
		fault->due_us = op->time_us + moment_delay_us(fault, when);
		snprintf(fault->event_task, sizeof fault->event_task, "%s", op->task);
		return true;
	}
	if (fault->state == FAULT_DUE && fault->holds_call && op->kind == OP_COMMIT)
		snprintf(fault->event_task, sizeof fault->event_task, "%s", op->task);
	/* What was there before it is only seen now. */
	if (fault->state == FAULT_ACTIVE && op->index > fault->invoke && matches(fault, until, op)) {
		if (++fault->until_seen != (until->nth ? until->nth : 1))
			return false;
		fault->end_us = op->time_us + moment_delay_us(fault, until);
		return true;
	}
	return false;
}

/* ---- events that are counted where they happen, and asked for ---- */

static bool is_counted(const struct run_fault *fault)
{
	return fault->spec->when.event == SPEC_EVENT_SYNC || fault->spec->when.event == SPEC_EVENT_POINT;
}

bool moment_asks(const struct run_fault *fault)
{
	return fault->holds_call || is_counted(fault);
}

/* The key under which its events are counted; its repetitions have the same. A call that is held is held by each of its own. */
static const char *rule_key(const struct run_fault *fault, char buf[64])
{
	snprintf(buf, 64, "when.%.58s", fault->holds_call ? fault->spec->name : fault->spec->base);
	return buf;
}

static int below_state(const struct run_fault *fault, char path[PATH_MAX], struct error *err)
{
	const struct spec_when *when = &fault->spec->when;

	if (snprintf(path, PATH_MAX, "%s%s%s", fault->run->state_dir, when->of ? "/" : "", when->of ? when->of : "") >=
	    PATH_MAX)
		return error_set(err, ENAMETOOLONG, "the path of its event is too long");
	return 0;
}

static int arm_count(struct run_fault *fault, struct error *err)
{
	const struct spec_when *when = &fault->spec->when;
	struct system *system = fault->run->system;
	char key[64], path[PATH_MAX];

	if (fault->spec->again)
		return 0;
	if (when->event == SPEC_EVENT_POINT)
		return system_faultpoint(system,
		    &(struct tritone_point_rule){.struct_size = sizeof(struct tritone_point_rule),
			.action = TRITONE_POINT_COUNT,
			.key = rule_key(fault, key),
			.name = when->of},
		    err);
	if (below_state(fault, path, err))
		return -1;
	return system_errno_rule(system,
	    &(struct tritone_errno_rule){.struct_size = sizeof(struct tritone_errno_rule),
		.mode = TRITONE_ERRNO_DELAY,
		.key = rule_key(fault, key),
		.path = path,
		.calls = TRITONE_CALL_SYNC,
		.delay_ms = 1,
		.first = INT64_MAX}, /* it only counts */
	    err);
}

/* The file whose change is a commit, and the calls that change it. */
static int ledger_file(const struct run_fault *fault, char path[PATH_MAX], uint32_t *ret_calls, struct error *err)
{
	const struct spec_manifest *m = fault->run->manifest;
	const char *text = m->commits.git ? m->commits.git : m->commits.file;
	char *expanded;
	struct stat st;
	int size;

	*ret_calls = m->commits.git ? TRITONE_CALL_RENAME | TRITONE_CALL_LINK : TRITONE_CALL_WRITE;
	if (spec_expand(&expanded, text, run_lookup, fault->run, err))
		return -1;
	size = snprintf(path, PATH_MAX, "%s/.git", expanded);
	if (m->commits.git && size < PATH_MAX)
		size = snprintf(path, PATH_MAX, "%s%s/refs/heads/%s", expanded,
		    stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? "/.git" : "", m->commits.branch);
	else
		size = snprintf(path, PATH_MAX, "%s", expanded);
	free(expanded);
	return size < PATH_MAX ? 0 : error_set(err, ENAMETOOLONG, "the ledger's path is too long");
}

/* The n-th call is performed, and does not return before the fault is injected. */
static int hold_call(struct run_fault *fault, struct error *err)
{
	const struct spec_when *when = &fault->spec->when;
	uint32_t calls = TRITONE_CALL_SYNC;
	char key[64], path[PATH_MAX];
	int r;

	if (when->event == SPEC_EVENT_COMMIT)
		r = ledger_file(fault, path, &calls, err);
	else
		r = below_state(fault, path, err);
	if (r)
		return -1;
	if (when->event == SPEC_EVENT_FILE)
		calls = TRITONE_CALL_WRITE | TRITONE_CALL_RENAME | TRITONE_CALL_LINK;
	fault->holds_call = true;
	return system_errno_rule(fault->run->system,
	    &(struct tritone_errno_rule){.struct_size = sizeof(struct tritone_errno_rule),
		.mode = TRITONE_ERRNO_PERFORM_THEN_DELAY,
		.key = rule_key(fault, key),
		.path = path,
		.calls = calls,
		.delay_ms = SPEC_HOLD_MAX_MS,
		.first = when->nth ? when->nth - 1 : 0,
		.count = 1},
	    err);
}

void moment_ask(struct run_fault *fault, uint64_t now_us)
{
	const struct spec_when *when = &fault->spec->when;
	uint64_t hits = 0, seen = 0;
	char key[64];
	struct error err;

	if (system_rule_hits(fault->run->system, rule_key(fault, key), &hits, &seen, &err))
		return;
	if (fault->holds_call && hits) {
		if (when->event == SPEC_EVENT_COMMIT)
			(void)system_observe(
			    fault->run->system, &err); /* its task: a system that cannot be observed has none */
		fault->state = FAULT_DUE;
		fault->due_us = now_us + moment_delay_us(fault, when);
	}
	while (!fault->holds_call && fault->occurred < seen && fault->state == FAULT_WAITING) {
		if (!is_drawn(fault, ++fault->occurred) || ++fault->when_seen != (when->nth ? when->nth : 1))
			continue;
		fault->state = FAULT_DUE;
		fault->due_us = now_us + moment_delay_us(fault, when);
	}
}

/* ---- what has to be looked for ---- */

int moment_watch(struct run_fault *fault, struct error *err)
{
	const struct spec_when *when = &fault->spec->when;

	if (when->event == SPEC_EVENT_OUTPUT)
		return system_watch_output(fault->run->system, fault->spec->base, when->of, when->matches, err);
	if (when->event == SPEC_EVENT_FILE && !when->hold)
		return system_watch_file(fault->run->system, fault->spec->base, when->of ? when->of : "**", err);
	return 0;
}

static int hold_request(struct run_fault *fault, struct error *err)
{
	const struct spec_when *when = &fault->spec->when;
	const struct spec_manifest *m = fault->run->manifest;
	const char *target = "*";

	if (when->of)
		target = when->of;
	else if (when->event == SPEC_EVENT_COMMIT)
		target = m->commits.sink;
	else if (when->event == SPEC_EVENT_NOTIFY && m->gateway.sinks.count)
		target = m->gateway.sinks.items[0];
	return gateway_hold(fault->run->gateway, target, when->nth ? when->nth : 1, &fault->hold, err);
}

bool moment_needs_filter(const struct spec_manifest *manifest, const struct spec_when *when)
{
	if (when->event == SPEC_EVENT_SYNC)
		return true;
	return when->hold &&
	       (when->event == SPEC_EVENT_FILE || (when->event == SPEC_EVENT_COMMIT && !manifest->commits.sink));
}

int fault_arm(struct run_fault *fault)
{
	const struct spec_when *when = &fault->spec->when;
	struct error err;
	int r = 0;

	if (when->hold && moment_needs_filter(fault->run->manifest, when))
		r = hold_call(fault, &err);
	else if (when->hold)
		r = hold_request(fault, &err);
	else if (is_counted(fault))
		r = arm_count(fault, &err);
	return r ? run_fail(fault->run, VERDICT_ERROR, "fault %s: %s", fault->spec->name, err.text) : 0;
}

void moment_release(struct run_fault *fault)
{
	struct error err;
	char key[64];

	if (fault->hold)
		gateway_release(fault->run->gateway, fault->hold);
	if (fault->holds_call)
		(void)system_rule_clear(
		    fault->run->system, rule_key(fault, key), &err); /* a dead keeper holds nothing */
	fault->hold = 0;
	fault->holds_call = false;
}
