/* SPDX-License-Identifier: Apache-2.0 */
/* The API key of a provider is exchanged: only the new one is accepted from now on. Proven by a 401 that was really sent. */
#include "plugins/gateway.h"

static const struct tritone_param params[] = {
    GATEWAY_PARAM_PROVIDER,
    {.name = "key",
	.type = TRITONE_PARAM_STRING,
	.fallback = "rotated",
	.help = "the new key: the only one that is accepted"},
};
enum { PROVIDER, KEY };

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	const struct tritone_value *v = call->values;

	if (!*v[KEY].string || strlen(v[KEY].string) > 255)
		return fail(error, EINVAL, "the new key has %zu bytes, expected 1 to 255", strlen(v[KEY].string));
	if (gateway_plan(call, TRITONE_TARGET_PROVIDER, v[PROVIDER].string, error,
		"answers 401 to each request without the new key"))
		return -1;
	return rule_plan(call, undo, error);
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char key[64];
	const struct tritone_gateway_rule rule = {
	    .struct_size = sizeof rule,
	    .action = TRITONE_GATEWAY_KEY,
	    .key = rule_key(call, "", key),
	    .target = call->values[PROVIDER].string,
	    .retry_after_ms = -1,
	    .lifetime_ms = call->duration_ms,
	    .text = call->values[KEY].string,
	};

	(void)undo;
	return call->services->gateway_rule(call->host, &rule, error);
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	const char *who = call->values[PROVIDER].string;

	(void)undo;
	return rule_verify(
	    call, !strcmp(who, "*") ? "the providers with another key" : who, "refused for its key", proof, error);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_GATEWAY,
    .capabilities = TRITONE_CAP_GATEWAY,
    .name = "key-rotation",
    .version = "1.0",
    .summary = "a provider's API key stops being valid, and a new one is accepted",
    TRITONE_FAULT_PARAMS(params),
    TRITONE_FAULT_HOOKS(plan, inject, verify, rule_revert),
};
TRITONE_FAULT(fault)
