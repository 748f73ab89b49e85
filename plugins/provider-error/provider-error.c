/* SPDX-License-Identifier: Apache-2.0 */
/* A model provider fails: a status of 4xx or 5xx, silence, a reset connection, or a body that makes no sense. */
#include "plugins/gateway.h"

static const struct tritone_param params[] = {
    {.name = "provider", .type = TRITONE_PARAM_STRING, .fallback = "*", .help = "which provider; *: all"},
    {.name = "kind",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "status",
	.choices = "status|delay|hang|reset|malformed|truncated",
	.help = "how it fails"},
    {.name = "status",
	.type = TRITONE_PARAM_INT,
	.fallback = "500",
	.min = 400,
	.max = 599,
	.help = "kind=status: which"},
    {.name = "delay",
	.type = TRITONE_PARAM_DURATION,
	.fallback = "1s",
	.min = 0,
	.max = 3600000,
	.unit = "ms",
	.help = "kind=delay: how much later it answers"},
    {.name = "count",
	.type = TRITONE_PARAM_INT,
	.fallback = "0",
	.min = 0,
	.max = 1e9,
	.unit = "requests",
	.help = "so many; 0: all"},
    {.name = "probability",
	.type = TRITONE_PARAM_DOUBLE,
	.fallback = "1",
	.min = 0.0001,
	.max = 1,
	.help = "of each request"},
};
enum { PROVIDER, KIND, STATUS, DELAY, COUNT, PROBABILITY };

static uint32_t action_of(const char *kind)
{
	if (!strcmp(kind, "delay"))
		return TRITONE_GATEWAY_DELAY;
	if (!strcmp(kind, "hang"))
		return TRITONE_GATEWAY_HANG;
	if (!strcmp(kind, "reset"))
		return TRITONE_GATEWAY_RESET;
	if (!strcmp(kind, "malformed"))
		return TRITONE_GATEWAY_MALFORMED;
	if (!strcmp(kind, "truncated"))
		return TRITONE_GATEWAY_TRUNCATED;
	return TRITONE_GATEWAY_ANSWER;
}

static void describe(const struct tritone_call *call, char *buf, size_t size)
{
	const char *kind = call->values[KIND].string;

	if (!strcmp(kind, "status"))
		snprintf(buf, size, "answers %lld to", (long long)call->values[STATUS].integer);
	else if (!strcmp(kind, "delay"))
		snprintf(buf, size, "answers %g s later to", (double)call->values[DELAY].integer / 1e3);
	else if (!strcmp(kind, "hang"))
		snprintf(buf, size, "never answers");
	else if (!strcmp(kind, "reset"))
		snprintf(buf, size, "closes the connection at");
	else
		snprintf(buf, size, "gives a %s body to", kind);
}

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	const struct tritone_value *v = call->values;
	char share[96], what[96];

	describe(call, what, sizeof what);
	gateway_share((uint64_t)v[COUNT].integer, v[PROBABILITY].number, share, sizeof share);
	if (gateway_plan(call, TRITONE_TARGET_PROVIDER, v[PROVIDER].string, error, "%s %s", what, share))
		return -1;
	return rule_plan(call, undo, error);
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char key[64];
	const struct tritone_gateway_rule rule = {
	    .struct_size = sizeof rule,
	    .action = action_of(call->values[KIND].string),
	    .key = rule_key(call, "", key),
	    .target = call->values[PROVIDER].string,
	    .status = (int32_t)call->values[STATUS].integer,
	    .retry_after_ms = -1,
	    .delay_ms = call->values[DELAY].integer,
	    .count = (uint64_t)call->values[COUNT].integer,
	    .probability = call->values[PROBABILITY].number,
	    .lifetime_ms = call->duration_ms,
	};

	(void)undo;
	return call->services->gateway_rule(call->host, &rule, error);
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	const char *who = call->values[PROVIDER].string;

	(void)undo;
	return rule_verify(call, !strcmp(who, "*") ? "the providers" : who, "made to fail", proof, error);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_GATEWAY,
    .capabilities = TRITONE_CAP_GATEWAY,
    .name = "provider-error",
    .version = "1.0",
    .summary = "a model provider fails: an error status, silence, a reset, nonsense",
    .params = params,
    .param_count = sizeof params / sizeof params[0],
    .plan = plan,
    .inject = inject,
    .verify = verify,
    .revert = rule_revert,
};
TRITONE_FAULT(fault)
