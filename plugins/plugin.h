/* SPDX-License-Identifier: Apache-2.0 */
/* What the plugins of this tree share: errors, proofs, evidence, the keys of rules, undo records. Header only. */
#ifndef TRITONE_PLUGINS_PLUGIN_H
#define TRITONE_PLUGINS_PLUGIN_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tritone/fault.h"

__attribute__((format(printf, 3, 4))) static inline int fail(
    struct tritone_error *error, int code, const char *format, ...)
{
	va_list args;

	error->code = code;
	va_start(args, format);
	vsnprintf(error->text, sizeof error->text, format, args);
	va_end(args);
	return -1;
}

/* Answers verify. Returns 0, so that `return proven(proof, TRITONE_FELT, "...");` is the whole answer. */
__attribute__((format(printf, 3, 4))) static inline int proven(
    struct tritone_proof *proof, uint32_t felt, const char *format, ...)
{
	va_list args;

	proof->felt = felt;
	va_start(args, format);
	vsnprintf(proof->text, sizeof proof->text, format, args);
	va_end(args);
	return 0;
}

__attribute__((format(printf, 3, 4))) static inline void evidence(
    const struct tritone_call *call, const char *name, const char *format, ...)
{
	char value[TRITONE_TEXT_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(value, sizeof value, format, args);
	va_end(args);
	call->services->evidence(call->host, name, value);
}

/*
 * The key under which this fault holds a rule; `part` tells several of one fault apart, "" for the only one. Keys have at most 63 bytes:
 * a long id is cut, and told apart from the next one by its hash.
 */
static inline const char *rule_key(const struct tritone_call *call, const char *part, char buf[64])
{
	const char *dot = part[0] ? "." : "", *c;
	uint32_t hash = 0x811c9dc5u; /* FNV-1a */

	if (snprintf(buf, 64, "%s%s%s", call->fault_id, dot, part) < 64)
		return buf;
	for (c = call->fault_id; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 0x01000193u;
	snprintf(buf, 64, "%.36s-%08x%s%.16s", call->fault_id, (unsigned)hash, dot, part);
	return buf;
}

/*
 * The undo record of a plugin is a struct of its own with a uint32_t version first. Copies it out, for the record lies at any address;
 * -1 with *error when it is not that.
 */
static inline int undo_read(
    const struct tritone_undo *undo, void *ret_record, size_t size, uint32_t version, struct tritone_error *error)
{
	uint32_t found = 0;

	memset(ret_record, 0, size);
	if (undo->size >= sizeof found)
		memcpy(&found, undo->bytes, sizeof found);
	if (undo->size != size || found != version)
		return fail(error, 22 /* EINVAL */,
		    "the undo record has %u bytes of version %u, expected %zu of version %u", undo->size, found, size,
		    version);
	memcpy(ret_record, undo->bytes, size);
	return 0;
}

/* A text of the record, which may be damaged. */
static inline bool undo_text(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

static inline void undo_write(struct tritone_undo *undo, const void *record, size_t size)
{
	memcpy(undo->bytes, record, size);
	undo->size = (uint32_t)size;
}

#endif
