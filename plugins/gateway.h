/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugins with rules at the gateway or elsewhere share: records, proofs and ends. Header only. */
#ifndef TRITONE_PLUGINS_GATEWAY_H
#define TRITONE_PLUGINS_GATEWAY_H

#include <errno.h>

#include "plugins/plugin.h"

#define RULE_UNDO_VERSION 1u

/* Nothing to record but a version: the rules' keys follow from the fault's id. */
static inline int rule_record(struct tritone_undo *undo)
{
	const uint32_t version = RULE_UNDO_VERSION;

	undo_write(undo, &version, sizeof version);
	return 0;
}

/* The same, with the undo as a fact, for a fault with one rule. */
static inline int rule_plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	char key[64];

	(void)error;
	evidence(call, "undo", "the rule %s is cleared", rule_key(call, "", key));
	return rule_record(undo);
}

/* Rows for the tables of parameters: whose requests, and how many of them. */
#define GATEWAY_PARAM_PROVIDER                                                                                         \
	{                                                                                                              \
		.name = "provider", .type = TRITONE_PARAM_STRING, .fallback = "*", .help = "which provider; *: all"    \
	}
#define GATEWAY_PARAM_COUNT                                                                                            \
	{                                                                                                              \
		.name = "count", .type = TRITONE_PARAM_INT, .fallback = "0", .min = 0, .max = 1e9, .unit = "requests", \
		.help = "so many; 0: all"                                                                              \
	}
#define GATEWAY_PARAM_PROBABILITY                                                                                      \
	{                                                                                                              \
		.name = "probability", .type = TRITONE_PARAM_DOUBLE, .fallback = "1", .min = 0.0001, .max = 1,         \
		.help = "of each request"                                                                              \
	}

struct gateway_names {
	const char *wanted;
	bool found;
	char all[TRITONE_TEXT_SIZE];
};

static inline int gateway_name(void *arg, const struct tritone_target *t)
{
	struct gateway_names *names = arg;
	size_t used = strlen(names->all);

	names->found = names->found || !strcmp(t->id, names->wanted);
	snprintf(names->all + used, sizeof names->all - used, "%s%s", used ? ", " : "", t->id);
	return 0;
}

/* The plan of a rule at the gateway: whom it is for, which must be there, what it does (the rest of "it ..."), how it ends. */
__attribute__((format(printf, 5, 6))) static inline int gateway_plan(const struct tritone_call *call, uint32_t kind,
    const char *target, struct tritone_error *error, const char *format, ...)
{
	struct gateway_names names = {.wanted = target};
	const char *what = kind == TRITONE_TARGET_SINK ? "sink" : "provider";
	char text[TRITONE_TEXT_SIZE];
	va_list args;

	if (call->services->targets(call->host, kind, gateway_name, &names, error))
		return -1;
	if (names.all[0] && !names.found && strcmp(target, "*") != 0)
		return fail(error, ENOENT, "the gateway has no %s '%.60s'; there are: %.120s", what, target, names.all);
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (!strcmp(target, "*"))
		evidence(call, "target", "every %s of the gateway%s%s", what, names.all[0] ? ": " : "", names.all);
	else
		evidence(call, "target", "the gateway's %s %s", what, target);
	evidence(call, "rule", "it %s", text);
	return 0;
}

/* "each request", "the first 3 requests", "each request, with a probability of 0.5" */
static inline const char *gateway_share(uint64_t count, double probability, char *buf, size_t size)
{
	int n = count ? snprintf(buf, size, "the first %llu requests", (unsigned long long)count)
		      : snprintf(buf, size, "each request");

	if (n > 0 && (size_t)n < size && probability < 1)
		snprintf(buf + n, size - (size_t)n, ", with a probability of %g", probability);
	return buf;
}

/*
 * How often a rule has acted, and been looked at. 1: it has ended, with its time or its system. Whoever asks then has not found the
 * fault felt before, so that nobody is known to have come across it.
 */
static inline int rule_count(const struct tritone_call *call, const char *part, uint64_t *ret_hits, uint64_t *ret_seen,
    struct tritone_error *error)
{
	char key[64];

	if (call->services->rule_hits(call->host, rule_key(call, part, key), ret_hits, ret_seen, error) == 0)
		return 0;
	return error->code == ENOENT ? 1 : -1;
}

static inline int rule_ended(struct tritone_proof *proof)
{
	return proven(
	    proof, TRITONE_UNEXERCISED, "it is over, and nobody had come across it when it was last looked at");
}

/* Felt once a request was answered by the rule; unexercised as long as nobody has called. `who`: a provider, or "*"; `what` ends the sentence. */
static inline int rule_verify(const struct tritone_call *call, const char *who, const char *what,
    struct tritone_proof *proof, struct tritone_error *error)
{
	uint64_t hits = 0, seen = 0;
	int r = rule_count(call, "", &hits, &seen, error);

	if (r)
		return r > 0 ? rule_ended(proof) : -1;
	if (!strcmp(who, "*"))
		who = "the providers";
	if (hits)
		return proven(proof, TRITONE_FELT, "%llu of %llu requests to %s were %s", (unsigned long long)hits,
		    (unsigned long long)seen, who, what);
	if (!seen)
		return proven(proof, TRITONE_UNEXERCISED, "nobody has called %s", who);
	return proven(
	    proof, TRITONE_NOT_YET, "none of %llu requests to %s was %s", (unsigned long long)seen, who, what);
}

/*
 * Clears the rules whatever the record says, each even if another one cannot be; -1 with the first reason. `parts` ends with NULL. A record
 * that is damaged, or of a later version, is an error all the same: that version may have had more to undo.
 */
static inline int rules_revert(const struct tritone_call *call, const struct tritone_undo *undo,
    const char *const *parts, struct tritone_error *error)
{
	struct tritone_error other;
	uint32_t version;
	char key[64];
	int r = 0;

	for (; *parts; parts++)
		if (call->services->rule_clear(call->host, rule_key(call, *parts, key), r ? &other : error))
			r = -1;
	return undo_read(undo, &version, sizeof version, RULE_UNDO_VERSION, r ? &other : error) || r ? -1 : 0;
}

static inline int rule_revert(
    const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	static const char *const only[] = {"", NULL};

	return rules_revert(call, undo, only, error);
}

#endif
