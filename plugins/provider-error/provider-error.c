/* SPDX-License-Identifier: Apache-2.0 */
/* A model provider fails: a status of 4xx or 5xx, silence, a reset connection, a body that makes no sense, or a model that does not. */
#include "plugins/gateway.h"

static const struct tritone_param params[] = {
    GATEWAY_PARAM_PROVIDER,
    {.name = "kind",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "status",
	.choices =
	    "status|delay|hang|reset|malformed|truncated|slow|broken-stream|wrong-content|wrong-usage|wrong-tool|"
	    "wrong-arguments|context",
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
	.help = "kind=delay: how much later it answers; kind=slow: how far its pieces are apart"},
    GATEWAY_PARAM_COUNT,
    GATEWAY_PARAM_PROBABILITY,
    {.name = "text",
	.type = TRITONE_PARAM_STRING,
	.fallback = "",
	.help = "kind=wrong-content: what the model says; kind=wrong-tool: which tool it calls"},
};
enum { PROVIDER, KIND, STATUS, DELAY, COUNT, PROBABILITY, TEXT };

static const struct kind {
	const char *name;
	uint32_t action;
	const char *what; /* the rest of "it ...", before the requests; NULL: depends on parameters */
} kinds[] = {
    {"status", TRITONE_GATEWAY_ANSWER, NULL},
    {"delay", TRITONE_GATEWAY_DELAY, NULL},
    {"hang", TRITONE_GATEWAY_HANG, "never answers"},
    {"reset", TRITONE_GATEWAY_RESET, "closes the connection at"},
    {"malformed", TRITONE_GATEWAY_MALFORMED, "gives a malformed body to"},
    {"truncated", TRITONE_GATEWAY_TRUNCATED, "gives a truncated body to"},
    {"slow", TRITONE_GATEWAY_SLOW, NULL},
    {"broken-stream", TRITONE_GATEWAY_BROKEN_STREAM, "ends with an error the streams of"},
    {"wrong-content", TRITONE_GATEWAY_WRONG_CONTENT, "says something else to"},
    {"wrong-usage", TRITONE_GATEWAY_WRONG_USAGE, "counts tokens that cannot be for"},
    {"wrong-tool", TRITONE_GATEWAY_WRONG_TOOL, "calls a tool that is not there at"},
    {"wrong-arguments", TRITONE_GATEWAY_WRONG_ARGUMENTS, "calls a tool with half of the arguments at"},
    {"context", TRITONE_GATEWAY_TOO_LONG, "finds the prompt too long in"},
};

static const struct kind *kind_of(const char *name)
{
	size_t i = 0;

	while (i + 1 < sizeof kinds / sizeof kinds[0] && strcmp(kinds[i].name, name) != 0)
		i++;
	return &kinds[i]; /* the host lets no other name pass */
}

static void describe(const struct tritone_call *call, char *buf, size_t size)
{
	const struct kind *kind = kind_of(call->values[KIND].string);
	const double delay_s = (double)call->values[DELAY].integer / 1e3;

	if (kind->what)
		snprintf(buf, size, "%s", kind->what);
	else if (kind->action == TRITONE_GATEWAY_ANSWER)
		snprintf(buf, size, "answers %lld to", (long long)call->values[STATUS].integer);
	else if (kind->action == TRITONE_GATEWAY_DELAY)
		snprintf(buf, size, "answers %g s later to", delay_s);
	else
		snprintf(buf, size, "answers in pieces, %g s apart, to", delay_s);
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
	    .action = kind_of(call->values[KIND].string)->action,
	    .key = rule_key(call, "", key),
	    .target = call->values[PROVIDER].string,
	    .status = (int32_t)call->values[STATUS].integer,
	    .retry_after_ms = -1,
	    .delay_ms = call->values[DELAY].integer,
	    .count = (uint64_t)call->values[COUNT].integer,
	    .probability = call->values[PROBABILITY].number,
	    .lifetime_ms = call->duration_ms,
	    .text = call->values[TEXT].string,
	};

	(void)undo;
	return call->services->gateway_rule(call->host, &rule, error);
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	(void)undo;
	return rule_verify(call, call->values[PROVIDER].string, "made to fail", proof, error);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_GATEWAY,
    .capabilities = TRITONE_CAP_GATEWAY,
    .name = "provider-error",
    .version = "1.1",
    .summary = "a model provider fails: an error status, silence, a reset, nonsense, half a stream",
    TRITONE_FAULT_PARAMS(params),
    TRITONE_FAULT_HOOKS(plan, inject, verify, rule_revert),
};
TRITONE_FAULT(fault)
