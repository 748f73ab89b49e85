/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The notification sink fails, and the system's own code swallows the error (a fault point in it), so that its dashboard stays green
 * over a silent notifier. With swallow=false only the sink fails.
 */
#include "plugins/plugin.h"

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

static const char *key_of(const struct tritone_call *call, const char *part, char *buf, size_t size)
{
	snprintf(buf, size, "%.40s.%s", call->fault_id, part);
	return buf;
}

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	const uint32_t version = 1;

	(void)call;
	(void)error;
	undo_write(undo, &version, sizeof version);
	return 0;
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char sink_key[64], point_key[64];
	const struct tritone_gateway_rule sink = {
	    .struct_size = sizeof sink,
	    .action = TRITONE_GATEWAY_ANSWER,
	    .key = key_of(call, "sink", sink_key, sizeof sink_key),
	    .target = call->values[SINK].string,
	    .status = (int32_t)call->values[STATUS].integer,
	    .retry_after_ms = -1,
	    .lifetime_ms = call->duration_ms,
	};
	const struct tritone_point_rule point = {
	    .struct_size = sizeof point,
	    .action = TRITONE_POINT_ERROR,
	    .key = key_of(call, "point", point_key, sizeof point_key),
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
	uint64_t failed = 0, seen = 0, swallowed = 0;
	const char *sink = call->values[SINK].string;
	char key[64];

	(void)undo;
	if (call->services->rule_hits(call->host, key_of(call, "sink", key, sizeof key), &failed, &seen, error))
		return -1;
	if (!failed)
		return proven(proof, seen ? TRITONE_NOT_YET : TRITONE_UNEXERCISED, "none of %llu notifications failed",
		    (unsigned long long)seen);
	if (!call->values[SWALLOW].integer)
		return proven(proof, TRITONE_FELT, "%llu notifications to %s were answered %lld",
		    (unsigned long long)failed, sink, (long long)call->values[STATUS].integer);
	if (call->services->rule_hits(call->host, key_of(call, "point", key, sizeof key), &swallowed, &seen, error))
		return -1;
	if (!swallowed)
		return proven(proof, TRITONE_NOT_YET, "%llu notifications failed, none was swallowed at %s",
		    (unsigned long long)failed, call->values[POINT].string);
	return proven(proof, TRITONE_FELT, "%llu notifications to %s failed, %llu errors were swallowed",
	    (unsigned long long)failed, sink, (unsigned long long)swallowed);
}

static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char key[64];
	int sink, point;

	(void)undo;
	sink = call->services->rule_clear(call->host, key_of(call, "sink", key, sizeof key), error);
	point = call->services->rule_clear(call->host, key_of(call, "point", key, sizeof key), error);
	return sink || point ? -1 : 0;
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_SYSTEM,
    .capabilities = TRITONE_CAP_GATEWAY | TRITONE_CAP_FAULTPOINT,
    .name = "swallowed-exception",
    .version = "1.0",
    .summary = "the notification sink fails and the system's own code swallows the error",
    .params = params,
    .param_count = sizeof params / sizeof params[0],
    .plan = plan,
    .inject = inject,
    .verify = verify,
    .revert = revert,
};
TRITONE_FAULT(fault)
