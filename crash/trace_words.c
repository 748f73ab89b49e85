/* SPDX-License-Identifier: Apache-2.0 */
/* One operation of a trace, in words. */
#include "crash/trace.h"

static const char *verb_of(uint32_t kind)
{
	switch (kind) {
	case TRACE_CREATE:
		return "create";
	case TRACE_MKDIR:
		return "make directory";
	case TRACE_SYMLINK:
		return "make symbolic link";
	case TRACE_LINK:
		return "link";
	case TRACE_UNLINK:
		return "unlink";
	case TRACE_RMDIR:
		return "remove directory";
	case TRACE_FSYNC:
		return "fsync";
	case TRACE_FDATASYNC:
		return "fdatasync";
	case TRACE_MSYNC:
		return "msync";
	case TRACE_VOLATILE:
		return "map, shared and writable:";
	default:
		return "?";
	}
}

void trace_describe(const struct trace *trace, size_t index, char *to, size_t size)
{
	const struct trace_op *op = &trace->ops[index];
	const char *name = trace_name(trace, op->file);

	switch (op->kind) {
	case TRACE_WRITE:
		snprintf(to, size, "write %llu bytes at %llu of %s%s", (unsigned long long)op->size,
		    (unsigned long long)op->offset, name, op->flags & TRACE_DURABLE ? ", durable at once" : "");
		return;
	case TRACE_TRUNCATE:
		snprintf(to, size, "make %s %llu bytes long", name, (unsigned long long)op->size);
		return;
	case TRACE_ALLOCATE:
		snprintf(to, size, "allocate %llu bytes at %llu of %s (mode %u)", (unsigned long long)op->size,
		    (unsigned long long)op->offset, name, op->mode);
		return;
	case TRACE_RENAME:
		snprintf(to, size, "rename %s/%s to %s/%s%s", trace_name(trace, op->dir), op->name,
		    trace_name(trace, op->dir2), op->name2, op->flags & TRACE_EXCHANGE ? ", exchanged" : "");
		return;
	case TRACE_ACK:
	case TRACE_MARK:
		snprintf(to, size, "%s '%.*s'", op->kind == TRACE_ACK ? "acknowledged:" : "passed", (int)op->data_size,
		    (const char *)op->data);
		return;
	case TRACE_BEGIN:
		snprintf(to, size, "the command starts");
		return;
	case TRACE_SYNC_ALL:
		snprintf(to, size, "sync everything");
		return;
	default:
		break;
	}
	if (op->name)
		snprintf(to, size, "%s %s/%s", verb_of(op->kind), trace_name(trace, op->dir), op->name);
	else
		snprintf(to, size, "%s %s", verb_of(op->kind), name);
}
