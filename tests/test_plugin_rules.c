/* SPDX-License-Identifier: Apache-2.0 */
/* rate-limit, provider-error, disk-full, swallowed-exception: what rules they ask for, what they make of the counts, how they end. */
#include "plugin_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int try(
    struct plugin *p, int (*hook)(const struct tritone_call *, const struct tritone_undo *, struct tritone_error *))
{
	return hook(&p->call, p->undo, &p->error);
}

static void life(struct plugin *p)
{
	p->fake.order[0] = '\0';
	plugin_plan(p);
	assert_string_equal(p->fake.order, "");
	plugin_inject(p);
}

/* The table of a proof by one rule. */
static void proofs(struct plugin *p, const char *felt, const char *unexercised)
{
	p->fake.hits[0].key_end = "f-1";
	assert_int_equal(plugin_verify(p), TRITONE_UNEXERCISED);
	assert_has(p->proof.text, unexercised);
	p->fake.hits[0].seen = 5;
	assert_int_not_equal(plugin_verify(p), TRITONE_FELT);
	p->fake.hits[0].hits = 2;
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, felt);
	p->fake.hits[0].error = ENOENT; /* its time is over */
	assert_int_equal(plugin_verify(p), TRITONE_UNEXERCISED);
	p->fake.hits[0].error = EPIPE;
	plugin_failed(p, p->fault->verify(&p->call, p->undo, &p->proof, &p->error), EPIPE, "no hits");
	memset(p->fake.hits, 0, sizeof p->fake.hits);
}

/* ---- at the gateway ---- */

static void test_rate_limit(void **state)
{
	struct plugin *p = *state;

	p->call.duration_ms = 700;
	plugin_use(p, "rate-limit", "provider=claude", "retry-after=250ms", "count=7", "probability=0.5", NULL);
	life(p);
	assert_string_equal(p->fake.order, "gateway f-1\n");
	assert_string_equal(p->fake.target, "claude");
	assert_int_equal(p->fake.gateway.action, TRITONE_GATEWAY_ANSWER);
	assert_int_equal(p->fake.gateway.status, 429);
	assert_int_equal(p->fake.gateway.retry_after_ms, 250);
	assert_int_equal(p->fake.gateway.count, 7);
	assert_true(p->fake.gateway.probability > 0.49 && p->fake.gateway.probability < 0.51);
	assert_int_equal(p->fake.gateway.lifetime_ms, 700);
	proofs(p, "2 of 5 requests to claude were answered 429", "nobody has called claude");
	plugin_revert(p);
	plugin_revert(p);
	assert_string_equal(p->fake.order, "gateway f-1\nclear f-1\nclear f-1\n");
	p->fake.failing = "clear";
	plugin_failed(p, try(p, p->fault->revert), EIO, "clear f-1");

	plugin_use(p, "rate-limit", "says=7", NULL);
	life(p);
	assert_string_equal(p->fake.gateway.text, "7");
	assert_int_equal(p->fake.gateway.retry_after_ms, 7000);
	plugin_use(p, "rate-limit", "says=soon", NULL);
	life(p);
	assert_int_equal(p->fake.gateway.retry_after_ms, -1);

	plugin_use(p, "rate-limit", "header=false", NULL);
	p->fake.failing = "gateway";
	plugin_failed(p, try(p, p->fault->inject), EIO, "gateway f-1");
	assert_string_equal(p->fake.target, "*");
	assert_int_equal(p->fake.gateway.retry_after_ms, -1);
}

static void test_provider_error(void **state)
{
	static const struct {
		const char *kind;
		uint32_t action;
	} kinds[] = {{"kind=status", TRITONE_GATEWAY_ANSWER}, {"kind=delay", TRITONE_GATEWAY_DELAY},
	    {"kind=hang", TRITONE_GATEWAY_HANG}, {"kind=reset", TRITONE_GATEWAY_RESET},
	    {"kind=malformed", TRITONE_GATEWAY_MALFORMED}, {"kind=truncated", TRITONE_GATEWAY_TRUNCATED},
	    {"kind=slow", TRITONE_GATEWAY_SLOW}, {"kind=broken-stream", TRITONE_GATEWAY_BROKEN_STREAM},
	    {"kind=wrong-content", TRITONE_GATEWAY_WRONG_CONTENT}, {"kind=wrong-usage", TRITONE_GATEWAY_WRONG_USAGE},
	    {"kind=wrong-tool", TRITONE_GATEWAY_WRONG_TOOL}, {"kind=wrong-arguments", TRITONE_GATEWAY_WRONG_ARGUMENTS},
	    {"kind=context", TRITONE_GATEWAY_TOO_LONG}};
	struct plugin *p = *state;
	size_t i;

	for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		plugin_use(p, "provider-error", kinds[i].kind, "status=502", "delay=40ms", "provider=qwen", NULL);
		life(p);
		assert_int_equal(p->fake.gateway.action, kinds[i].action);
		assert_int_equal(p->fake.gateway.status, 502);
		assert_int_equal(p->fake.gateway.delay_ms, 40);
		assert_int_equal(p->fake.gateway.retry_after_ms, -1);
		assert_string_equal(p->fake.target, "qwen");
	}
	proofs(p, "2 of 5 requests to qwen were made to fail", "nobody has called qwen");
	plugin_revert(p);
	plugin_revert(p);
}

static void test_key_rotation(void **state)
{
	struct plugin *p = *state;

	plugin_use(p, "key-rotation", "key=sk-2", "provider=qwen", NULL);
	life(p);
	assert_int_equal(p->fake.gateway.action, TRITONE_GATEWAY_KEY);
	assert_string_equal(p->fake.gateway.text, "sk-2");
	assert_string_equal(p->fake.target, "qwen");
	proofs(p, "2 of 5 requests to qwen were refused for its key", "nobody has called qwen");
	plugin_revert(p);
	plugin_revert(p);
	plugin_use(p, "key-rotation", "key=", NULL);
	plugin_failed(p, p->fault->plan(&p->call, p->undo, &p->error), EINVAL, "the new key has 0 bytes");
}

/* To a rule 0 means always: nobody who writes it means that. */
static void test_a_probability_of_nothing_is_refused(void **state)
{
	static const char *const names[] = {"rate-limit", "provider-error", "disk-full"};
	struct plugin *p = *state;
	unsigned found = 0;
	size_t i;
	uint32_t k;

	for (i = 0; i < 3; i++) {
		plugin_use(p, names[i], NULL);
		for (k = 0; k < p->fault->param_count; k++)
			if (!strcmp(p->fault->params[k].name, "probability") && p->fault->params[k].min > 0)
				found++;
	}
	assert_int_equal(found, 3);
}

/* Two faults of one run, whose ids are as long as they may be and differ at the end alone. */
static void test_keys_do_not_collide(void **state)
{
	struct plugin *p = *state;
	char one[64], two[64];

	memset(one, 'x', sizeof one);
	one[63] = '\0';
	memcpy(two, one, sizeof two);
	one[62] = '1';
	two[62] = '2';
	plugin_use(p, "swallowed-exception", NULL);
	p->call.fault_id = one;
	life(p);
	memcpy(one, p->fake.order, sizeof one);
	p->call.fault_id = two;
	life(p);
	assert_int_not_equal(strncmp(one, p->fake.order, sizeof one), 0);
	assert_has(p->fake.order, ".point\n");
	assert_has(p->fake.order, ".sink\n");
	plugin_use(p, "rate-limit", NULL);
	life(p);
	assert_has(p->fake.order, two); /* as it is: it fits */
}

/* ---- disk-full ---- */

static void test_disk_full(void **state)
{
	struct plugin *p = *state;

	p->call.duration_ms = 300;
	plugin_use(p, "disk-full", "path=log", "first=3", "every=2", "count=9", "probability=0.25", NULL);
	life(p);
	assert_string_equal(p->fake.order, "errno f-1\n");
	assert_int_equal(p->fake.refusal.mode, TRITONE_ERRNO_REFUSE);
	assert_int_equal(p->fake.refusal.error, ENOSPC);
	assert_int_equal(p->fake.refusal.calls, 0x3f);
	assert_int_equal(p->fake.refusal.first, 3);
	assert_int_equal(p->fake.refusal.every, 2);
	assert_int_equal(p->fake.refusal.count, 9);
	assert_int_equal(p->fake.refusal.lifetime_ms, 300);
	assert_true(p->fake.refusal.probability > 0.24 && p->fake.refusal.probability < 0.26);
	proofs(p, "2 of 5 calls got ENOSPC", "none of 0 calls");
	plugin_use(p, "disk-full", "mode=perform-then-fail", "error=EIO", "calls=sync", NULL);
	life(p);
	assert_int_equal(p->fake.refusal.mode, TRITONE_ERRNO_PERFORM_THEN_FAIL);
	assert_int_equal(p->fake.refusal.error, EIO);
	assert_int_equal(p->fake.refusal.calls, TRITONE_CALL_SYNC);
	proofs(p, "got EIO after they had been performed", "none of 0 calls");
	assert_int_equal(p->fake.refusal.delay_ms, 0);
	plugin_use(p, "disk-full", "mode=slow", "delay=250ms", "calls=sync", NULL);
	life(p);
	assert_int_equal(p->fake.refusal.mode, TRITONE_ERRNO_DELAY);
	assert_int_equal(p->fake.refusal.delay_ms, 250);
	assert_int_equal(p->fake.refusal.error, 0);
	proofs(p, "2 of 5 calls came 0.25 s later", "none of 0 calls");
	plugin_revert(p);
	plugin_revert(p);
}

static void assert_scope(struct plugin *p, const char *path, const char *expected)
{
	char pair[300], full[300];

	snprintf(pair, sizeof pair, "path=%s", path);
	plugin_use(p, "disk-full", pair, NULL);
	p->fake.order[0] = '\0';
	if (!expected) {
		plugin_failed(
		    p, p->fault->plan(&p->call, p->undo, &p->error), EPERM, "is outside the system's directory");
		plugin_failed(p, try(p, p->fault->inject), EPERM, "is outside the system's directory");
		assert_string_equal(p->fake.order, "");
		return;
	}
	snprintf(full, sizeof full, "%s%s", p->state, expected);
	life(p);
	assert_string_equal(p->fake.path, full);
}

static void test_disk_full_stays_inside(void **state)
{
	struct plugin *p = *state;
	char path[300], slash[160];

	snprintf(path, sizeof path, "%s/a", p->state);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/in", p->state);
	assert_int_equal(symlink("a", path), 0);
	snprintf(path, sizeof path, "%s/out", p->state);
	assert_int_equal(symlink("../state-not", path), 0);
	snprintf(path, sizeof path, "%s/nowhere", p->state);
	assert_int_equal(symlink("/nonexistent/file", path), 0);

	assert_scope(p, "", "");
	assert_scope(p, "a", "/a");
	assert_scope(p, "a/not/yet/there", "/a/not/yet/there");
	assert_scope(p, "in/file", "/in/file");
	assert_scope(p, "..a/b..", "/..a/b..");
	assert_scope(p, p->state, "");
	snprintf(path, sizeof path, "%s/a/b", p->state);
	assert_scope(p, path, "/a/b");

	assert_scope(p, "..", NULL);
	assert_scope(p, "../state-not", NULL);
	assert_scope(p, "a/../../state-not", NULL);
	assert_scope(p, "a/..", NULL); /* it would do no harm, and nobody needs it */
	assert_scope(p, "out", NULL);
	assert_scope(p, "out/file", NULL);
	assert_scope(p, "nowhere", NULL);
	assert_scope(p, "/", NULL);
	assert_scope(p, "/etc", NULL);
	assert_scope(p, p->outside, NULL); /* begins like the state directory */
	snprintf(path, sizeof path, "%s/../state-not", p->state);
	assert_scope(p, path, NULL);

	snprintf(slash, sizeof slash, "%s/", p->state);
	p->call.state_dir = slash;
	assert_scope(p, "a", "/a");
	assert_scope(p, "", "");
	assert_scope(p, p->outside, NULL);
}

/* ---- swallowed-exception ---- */

static void test_swallowed_exception(void **state)
{
	struct plugin *p = *state;

	p->fake.hits[0].key_end = ".sink";
	p->fake.hits[1].key_end = ".point";
	plugin_use(p, "swallowed-exception", NULL);
	life(p);
	/* The first failure must find the swallowing in place. */
	assert_string_equal(p->fake.order, "point f-1.point\ngateway f-1.sink\n");
	assert_string_equal(p->fake.name, "notify.swallow");
	assert_int_equal(p->fake.point.action, TRITONE_POINT_ERROR);
	assert_true(p->fake.point.error > 0);
	assert_int_equal(p->fake.point.count, 0);
	assert_string_equal(p->fake.target, "notify");
	assert_int_equal(p->fake.gateway.status, 503);

	assert_int_equal(plugin_verify(p), TRITONE_UNEXERCISED);
	p->fake.hits[0].seen = p->fake.hits[0].hits = 3;
	assert_int_equal(plugin_verify(p), TRITONE_NOT_YET);
	assert_has(p->proof.text, "3 notifications failed, none was swallowed");
	p->fake.hits[1].seen = p->fake.hits[1].hits = 2;
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, "3 notifications to notify failed, 2 errors were swallowed");
	p->fake.hits[1].error = ENOENT;
	assert_int_equal(plugin_verify(p), TRITONE_UNEXERCISED);
	p->fake.hits[0].error = EPIPE;
	plugin_failed(p, p->fault->verify(&p->call, p->undo, &p->proof, &p->error), EPIPE, "no hits");
}

static void test_without_swallowing(void **state)
{
	struct plugin *p = *state;

	p->fake.hits[0].key_end = ".sink";
	plugin_use(p, "swallowed-exception", "swallow=false", "status=500", NULL);
	life(p);
	assert_string_equal(p->fake.order, "gateway f-1.sink\n");
	p->fake.hits[0].seen = p->fake.hits[0].hits = 1;
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, "1 notifications to notify were answered 500");
}

static void test_both_rules_are_cleared(void **state)
{
	static const char *const failing[] = {"clear f-1.sink", "clear f-1.point"};
	struct plugin *p = *state;
	size_t i;

	plugin_use(p, "swallowed-exception", NULL);
	life(p);
	for (i = 0; i < 2; i++) {
		p->fake.order[0] = '\0';
		p->fake.failing = failing[i];
		plugin_failed(p, try(p, p->fault->revert), EIO, failing[i]);
		assert_has(p->fake.order, "clear f-1.sink\n");
		assert_has(p->fake.order, "clear f-1.point\n");
	}
	p->fake.failing = "clear"; /* both: the first reason is told */
	plugin_failed(p, try(p, p->fault->revert), EIO, "clear f-1.sink");
	p->fake.failing = NULL;
	plugin_revert(p);

	/* The sink's rule is refused: the point's is there, and goes with revert. */
	p->fake.order[0] = '\0';
	p->fake.failing = "gateway";
	plugin_failed(p, try(p, p->fault->inject), EIO, "gateway f-1.sink");
	plugin_revert(p);
	assert_has(p->fake.order, "clear f-1.point\n");
}

/* A record that cannot be read: what is known is cleared, and nothing is called undone. */
static void test_a_later_record(void **state)
{
	static const char *const names[] = {"rate-limit", "provider-error", "disk-full", "swallowed-exception"};
	struct plugin *p = *state;
	size_t i;

	for (i = 0; i < 4; i++) {
		plugin_use(p, names[i], NULL);
		life(p);
		p->undo->bytes[0]++;
		plugin_failed(p, try(p, p->fault->revert), EINVAL, "4 bytes of version 2, expected 4 of version 1");
		assert_has(p->fake.order, "clear f-1");
	}
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, plugin_setup, plugin_teardown)
	    T(test_rate_limit),
	    T(test_provider_error),
	    T(test_key_rotation),
	    T(test_a_probability_of_nothing_is_refused),
	    T(test_keys_do_not_collide),
	    T(test_disk_full),
	    T(test_disk_full_stays_inside),
	    T(test_swallowed_exception),
	    T(test_without_swallowing),
	    T(test_both_rules_are_cleared),
	    T(test_a_later_record),
	};

	return plugin_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
