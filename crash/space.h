/* SPDX-License-Identifier: Apache-2.0 */
/* space: the names below the directory, as they are after so many operations on the name space. */
#ifndef TRITONE_CRASH_SPACE_H
#define TRITONE_CRASH_SPACE_H

#include "crash/digest.h"
#include "crash/slab.h"
#include "crash/trace.h"
#include "wal/error.h"

struct space_entry {
	uint64_t file, dir;
	const char *name; /* the trace's */
	const char *path; /* below the root; the slab's */
	struct digest path_digest;
	uint32_t kind;         /* TRACE_CREATE, TRACE_MKDIR or TRACE_SYMLINK */
	const uint8_t *target; /* of a symbolic link */
	size_t target_size;
};

struct space {
	struct space_entry *entries; /* a directory comes before what is in it */
	size_t count, capacity;
};

int space_copy(struct space *to, const struct space *from); /* 0 or -1 */
void space_finish(struct space *space);
/* What `op` of the name space does. 0, or -1: no memory. */
int space_apply(struct space *space, const struct trace_op *op, struct slab *slab);

#endif
