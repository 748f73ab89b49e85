/* SPDX-License-Identifier: Apache-2.0 */
/* A model provider answers 429, with or without Retry-After. Proven by a 429 that was really sent. */
#include <stdlib.h>

#include "plugins/gateway.h"

static const struct tritone_param params[] = {
    GATEWAY_PARAM_PROVIDER,
    {.name = "retry-after",
	.type = TRITONE_PARAM_DURATION,
	.fallback = "1s",
	.min = 0,
	.max = 86400000,
	.unit = "ms",
	.help = "what the Retry-After header says"},
    {.name = "header", .type = TRITONE_PARAM_BOOL, .fallback = "true", .help = "send the Retry-After header at all"},
    GATEWAY_PARAM_COUNT,
    GATEWAY_PARAM_PROBABILITY,
    {.name = "says",
	.type = TRITONE_PARAM_STRING,
	.fallback = "",
	.help = "what the Retry-After header says instead, as it is: 'soon', -5, 1e9, a date"},
};
enum { PROVIDER, RETRY_AFTER, HEADER, COUNT, PROBABILITY, SAYS };

/* In milliseconds, as the invariants count a window: -1 where the header says nothing that could be one. */
static int64_t window(const struct tritone_value *v)
{
	const char *says = v[SAYS].string;
	char *end;
	long seconds;

	if (!*says)
		return v[HEADER].integer ? v[RETRY_AFTER].integer : -1;
	seconds = strtol(says, &end, 10);
	return *end || seconds < 0 || seconds > 86400 ? -1 : (int64_t)seconds * 1000;
}

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	const struct tritone_value *v = call->values;
	char share[96], header[48] = "no Retry-After";

	if (*v[SAYS].string)
		snprintf(header, sizeof header, "Retry-After '%.24s'", v[SAYS].string);
	else if (v[HEADER].integer)
		snprintf(header, sizeof header, "Retry-After %g s", (double)v[RETRY_AFTER].integer / 1e3);
	gateway_share((uint64_t)v[COUNT].integer, v[PROBABILITY].number, share, sizeof share);
	if (gateway_plan(
		call, TRITONE_TARGET_PROVIDER, v[PROVIDER].string, error, "answers 429 with %s to %s", header, share))
		return -1;
	return rule_plan(call, undo, error);
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char key[64];
	const struct tritone_gateway_rule rule = {
	    .struct_size = sizeof rule,
	    .action = TRITONE_GATEWAY_ANSWER,
	    .key = rule_key(call, "", key),
	    .target = call->values[PROVIDER].string,
	    .status = 429,
	    .retry_after_ms = window(call->values),
	    .count = (uint64_t)call->values[COUNT].integer,
	    .probability = call->values[PROBABILITY].number,
	    .lifetime_ms = call->duration_ms,
	    .text = call->values[SAYS].string,
	};

	(void)undo;
	return call->services->gateway_rule(call->host, &rule, error);
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	(void)undo;
	return rule_verify(call, call->values[PROVIDER].string, "answered 429", proof, error);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_GATEWAY,
    .capabilities = TRITONE_CAP_GATEWAY,
    .name = "rate-limit",
    .version = "1.1",
    .summary = "a model provider answers 429 Too Many Requests",
    TRITONE_FAULT_PARAMS(params),
    TRITONE_FAULT_HOOKS(plan, inject, verify, rule_revert),
};
TRITONE_FAULT(fault)
