/* SPDX-License-Identifier: Apache-2.0 */
/* The errno rules in force: matching, counting, evidence. Thread-safe; knows neither clocks nor
 * processes. */
#ifndef TRITONE_KEEPER_RULES_H
#define TRITONE_KEEPER_RULES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/keeper.h"
#include "tritone/fault.h"
#include "wal/error.h"

struct rules;

int rules_create(struct rules **ret_rules, uint64_t seed, struct error *err);
void rules_destroy(struct rules *rules);

/* A fresh rule counts from 0, also in the place of one with the same key. now_ns: CLOCK_MONOTONIC. */
int rules_set(struct rules *rules, const struct tritone_errno_rule *rule, int64_t now_ns, struct error *err);
void rules_clear(struct rules *rules, const char *key);
/* Those of a rule whose time is over, too, until it is cleared (or gives way where there are too many). */
int rules_stats(
    struct rules *rules, const char *key, int64_t now_ns, struct keeper_rule_stats *ret_stats, struct error *err);

/* Without a lock: false when no rule is in force. */
bool rules_any(const struct rules *rules);
/* Whether the very rule of this verdict is still in force. */
struct rules_verdict {
	uint64_t rule; /* its number */
	uint32_t mode;
	int error;
	int64_t delay_ms;
};
bool rules_alive(struct rules *rules, const struct rules_verdict *verdict, int64_t now_ns);

struct rules_call {
	const char *name;
	uint32_t set;     /* one bit of enum tritone_call_set */
	const char *path; /* resolved */
	const char *from; /* rename, link: the other path; may be NULL */
	pid_t pid;
	int64_t now_ns;
};
/* Counts the call with every rule that it matches; true: the first whose turn it is is in *ret_verdict. One call at a time, up to: */
bool rules_judge(struct rules *rules, const struct rules_call *call, struct rules_verdict *ret_verdict);
/* The rule has acted. Only then is it a hit: who sees it counted sees what was performed, too. */
void rules_acted(struct rules *rules, const struct rules_verdict *verdict);

#endif
