/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the checkers share: a story of the test's own, and the configuration under which it is judged. After cmocka.h. */
#ifndef TRITONE_TESTS_CHECK_FIXTURE_H
#define TRITONE_TESTS_CHECK_FIXTURE_H

#include <stdlib.h>

#include "check/observed.h"
#include "tests/story.h"

struct fixture {
	struct story story;
	struct check_config config;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	assert_non_null(f);
	check_config_init(&f->config);
	f->config.providers[0] = "claude";
	f->config.providers[1] = "codex";
	f->config.providers[2] = "gemini";
	f->config.provider_count = 3;
	f->config.throttle_grace_us = 100000;
	f->config.breaker_threshold = 3;
	f->config.breaker_reset_us = 800000;
	f->config.attempts_max = 3;
	f->config.agents_max = 2;
	f->config.claim_slack_us = 500000;
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	free(*state);
	return 0;
}

#define JUDGE(name)    story_judge(&f->story, name, &f->config)
#define expect(r, how) assert_int_equal((r).verdict, CHECK_##how)

static inline void fault_and_revert(struct story *s, uint64_t from, uint64_t to)
{
	SAY(s, from, FAULT, INVOKE, .actor = "f");
	SAY(s, from + 1, FAULT, OK, .actor = "f");
	SAY(s, to, REVERT, INVOKE, .actor = "f");
	SAY(s, to, REVERT, OK, .actor = "f");
}

/* The n-th finding, word by word, with its evidence. */
static inline void tells(
    const struct check_result *r, size_t n, const char *text, const uint64_t *evidence, size_t evidence_count)
{
	size_t i;

	assert_true(n < r->finding_count);
	assert_string_equal(r->findings[n].text, text);
	assert_int_equal(r->findings[n].evidence_count, evidence_count);
	for (i = 0; i < evidence_count; i++)
		assert_int_equal(r->findings[n].evidence[i], evidence[i]);
}

/* TELLS(&r, 0, "task a ...", 3, 4) */
#define TELLS(r, n, text, ...)                                                                                         \
	tells(r, n, text, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
