/* SPDX-License-Identifier: Apache-2.0 */
/* A fault: the answers of a model provider come late. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <tritone/fault.h>

static const struct tritone_param params[] = {
    {.name = "provider", .type = TRITONE_PARAM_STRING, .fallback = "*", .help = "which provider; *: all"},
    {.name = "delay",
	.type = TRITONE_PARAM_DURATION,
	.fallback = "500ms",
	.min = 1,
	.max = 60000,
	.unit = "ms",
	.help = "how much later each answer comes"},
};
enum { PROVIDER, DELAY }; /* places in the table, and in call->values */

/* What revert must know, whichever process it runs in. */
struct undo {
	uint32_t version; /* a later version of this plugin may read it */
	char key[64];
};

/* 0, or -1: plan of this plugin cannot have written that record. */
static int read_undo(const struct tritone_undo *undo, struct undo *ret, struct tritone_error *error)
{
	if (undo->size == sizeof *ret) {
		memcpy(ret, undo->bytes, sizeof *ret);
		if (ret->version == 1 && ret->key[0] && memchr(ret->key, 0, sizeof ret->key))
			return 0;
	}
	error->code = EINVAL;
	snprintf(error->text, sizeof error->text, "the undo record is damaged");
	return -1;
}

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	struct undo record = {.version = 1};

	(void)error;
	snprintf(record.key, sizeof record.key, "%s", call->fault_id);
	memcpy(undo->bytes, &record, sizeof record);
	undo->size = sizeof record;
	return 0;
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct tritone_gateway_rule rule = {.struct_size = sizeof rule, .action = TRITONE_GATEWAY_DELAY};
	struct undo record;

	if (read_undo(undo, &record, error) != 0)
		return -1;
	rule.key = record.key;
	rule.target = call->values[PROVIDER].string;
	rule.delay_ms = call->values[DELAY].integer;
	rule.lifetime_ms = call->duration_ms; /* it ends even if nobody is left to end it */
	return call->services->gateway_rule(call->host, &rule, error);
}

/* A rule that is set is a wish. The fault is felt once an answer was really late. */
static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	uint64_t hits = 0, seen = 0;
	struct undo record;

	if (read_undo(undo, &record, error) != 0)
		return -1;
	if (call->services->rule_hits(call->host, record.key, &hits, &seen, error) != 0)
		return -1;
	proof->felt = hits ? TRITONE_FELT : TRITONE_UNEXERCISED;
	snprintf(proof->text, sizeof proof->text, "%llu of %llu answers were late by %lld ms", (unsigned long long)hits,
	    (unsigned long long)seen, (long long)call->values[DELAY].integer);
	return 0;
}

/* Ending a rule that is not there is no error: this may be called twice, or without inject. */
static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct undo record;

	if (read_undo(undo, &record, error) != 0)
		return -1;
	return call->services->rule_clear(call->host, record.key, error);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .name = "slow-model",
    .version = "1.0",
    .summary = "the answers of a model provider come late",
    .blast = TRITONE_BLAST_GATEWAY,
    .capabilities = TRITONE_CAP_GATEWAY,
    TRITONE_FAULT_PARAMS(params),
    TRITONE_FAULT_HOOKS(plan, inject, verify, revert),
};
TRITONE_FAULT(fault)
