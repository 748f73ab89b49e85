/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The notification sink fails, and the system's own code swallows the error (a fault point in it), so that its dashboard stays green
 * over a silent notifier. With swallow=false only the sink fails.
 */
#include "plugins/gateway.h"

static const struct tritone_param params[] = {
    {.name = "sink", .type = TRITONE_PARAM_STRING, .fallback = "notify", .help = "which sink of the gateway"},
    {.name = "status", .type = TRITONE_PARAM_INT, .fallback = "503", .min = 400, .max = 599, .help = "what it answers"},
    {.name = "swallow",
	.type = TRITONE_PARAM_BOOL,
	.fallback = "true",
	.help = "the error is swallowed, at the fault point"},
    {.name = "point",
	.type = TRITONE_PARAM_STRING,
	.fallback = "notify.swallow",
	.help = "the fault point that swallows it"},
};
enum { SINK, STATUS, SWALLOW, POINT };

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	const struct tritone_value *v = call->values;
	bool swallow = v[SWALLOW].integer;
	char sink[64], point[64];

	if (gateway_plan(call, TRITONE_TARGET_SINK, v[SINK].string, error, "answers %lld to each notification%s%.60s",
		(long long)v[STATUS].integer, swallow ? ", and the system swallows that at its fault point " : "",
		swallow ? v[POINT].string : ""))
		return -1;
	evidence(call, "undo", "the rules %s%s%s are cleared", rule_key(call, "sink", sink), swallow ? " and " : "",
	    swallow ? rule_key(call, "point", point) : "");
	return rule_record(undo);
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char sink_key[64], point_key[64];
	const struct tritone_gateway_rule sink = {
	    .struct_size = sizeof sink,
	    .action = TRITONE_GATEWAY_ANSWER,
	    .key = rule_key(call, "sink", sink_key),
	    .target = call->values[SINK].string,
	    .status = (int32_t)call->values[STATUS].integer,
	    .retry_after_ms = -1,
	    .lifetime_ms = call->duration_ms,
	};
	const struct tritone_point_rule point = {
	    .struct_size = sizeof point,
	    .action = TRITONE_POINT_ERROR,
	    .key = rule_key(call, "point", point_key),
	    .name = call->values[POINT].string,
	    .error = 5, /* EIO: any will do */
	};

	(void)undo;
	/* The swallowing first: the first failure is to be swallowed already. */
	if (call->values[SWALLOW].integer && call->services->faultpoint(call->host, &point, error))
		return -1;
	return call->services->gateway_rule(call->host, &sink, error);
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	uint64_t failed = 0, seen = 0, swallowed = 0, passed = 0;
	const char *sink = call->values[SINK].string;
	int r = rule_count(call, "sink", &failed, &seen, error);

	(void)undo;
	if (r)
		return r > 0 ? rule_ended(proof) : -1;
	if (!failed)
		return proven(proof, seen ? TRITONE_NOT_YET : TRITONE_UNEXERCISED, "none of %llu notifications failed",
		    (unsigned long long)seen);
	if (!call->values[SWALLOW].integer)
		return proven(proof, TRITONE_FELT, "%llu notifications to %s were answered %lld",
		    (unsigned long long)failed, sink, (long long)call->values[STATUS].integer);
	r = rule_count(call, "point", &swallowed, &passed, error);
	if (r)
		return r > 0 ? rule_ended(proof) : -1;
	if (!swallowed)
		return proven(proof, TRITONE_NOT_YET, "%llu notifications failed, none was swallowed at %s",
		    (unsigned long long)failed, call->values[POINT].string);
	return proven(proof, TRITONE_FELT, "%llu notifications to %s failed, %llu errors were swallowed",
	    (unsigned long long)failed, sink, (unsigned long long)swallowed);
}

static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	static const char *const both[] = {"sink", "point", NULL};

	return rules_revert(call, undo, both, error);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_SYSTEM,
    .capabilities = TRITONE_CAP_GATEWAY | TRITONE_CAP_FAULTPOINT,
    .name = "swallowed-exception",
    .version = "1.0",
    .summary = "the notification sink fails and the system's own code swallows the error",
    TRITONE_FAULT_PARAMS(params),
    TRITONE_FAULT_HOOKS(plan, inject, verify, revert),
};
TRITONE_FAULT(fault)
