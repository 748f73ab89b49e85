/* SPDX-License-Identifier: Apache-2.0 */
/* What the system itself promises, held against what it did: a deviation that its contract permits is one that it may have. */
#include <stdio.h>
#include <string.h>

#include "engine/run.h"

/* Which promise an invariant is about, and what the permitted deviation would have broken. */
static const struct {
	const char *invariant, *promise, *broken;
} promises[] = {
    {"no-duplicate-commit", "commits", "exactly-once"},
    {"no-lost-task", "commits", "at-least-once"},
    {"every-confirmed-notified", "notifications", "at-least-once"},
    {"cascade-order", "throttling", "waiting for the end of a throttle window"},
    {"cascade-order", "order", "the order of fallback"},
};

/* "commits at-least-once (declared) -> expected; exactly-once would be broken", after what is there already. */
static void add(struct run *run, size_t promise, const struct result_check *k)
{
	char *text = run->result->contract;
	const size_t size = sizeof run->result->contract, used = strlen(text);
	const char *value = spec_contract(run->manifest, promises[promise].promise), *between = used ? "; " : "";

	if (!value)
		snprintf(text + used, size - used, "%s%s: nothing is declared", between, promises[promise].promise);
	else if (k->permitted)
		snprintf(text + used, size - used, "%s%s %s (declared) -> expected; %s would be broken", between,
		    promises[promise].promise, value, promises[promise].broken);
	else
		snprintf(text + used, size - used, "%s%s %s (declared) -> broken", between, promises[promise].promise,
		    value);
}

/* Of an invariant that two promises are about, the one that is declared, and permits it if it is permitted. */
static bool concerns(const struct run *run, size_t promise, const struct result_check *k)
{
	const char *value = spec_contract(run->manifest, promises[promise].promise);

	if (strcmp(promises[promise].invariant, k->check->name) != 0)
		return false;
	if (!strcmp(k->check->name, "cascade-order"))
		return value && (!k->permitted || !strcmp(value, "retries") || !strcmp(value, "any"));
	return true;
}

void contract_say(struct run *run)
{
	struct result *result = run->result;
	const char *source = spec_contract(run->manifest, "source");
	size_t i, p, used;

	result->contract[0] = '\0';
	for (i = 0; i < result->check_count; i++) {
		const struct result_check *k = &result->checks[i];

		for (p = 0; k->result.verdict == CHECK_DEVIATED && p < sizeof promises / sizeof *promises; p++)
			if (concerns(run, p, k))
				add(run, p, k);
	}
	used = strlen(result->contract);
	if (used && source && used + 1 < sizeof result->contract)
		snprintf(result->contract + used, sizeof result->contract - used, " (source: %s)", source);
}
