/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the recorder's processes share: one file in memory, mapped by all of them. The control block, then the trace as
 * trace_add_records reads it. Nothing but this header is common to the preloaded library and the program that starts it.
 */
#ifndef TRITONE_CRASH_RECORD_CONTROL_H
#define TRITONE_CRASH_RECORD_CONTROL_H

#include <pthread.h>
#include <stdint.h>

#include "crash/trace.h"

#define RECORD_ENV      "TRITONE_RECORD" /* names the file */
#define RECORD_MAGIC    0x3143455254525454ull
#define RECORD_TRACE_AT 16384u
#define RECORD_SIZE     ((size_t)4 << 30) /* of the file: sparse */
#define RECORD_PATH_MAX 4096u

struct record_control {
	uint64_t magic;
	pthread_mutex_t lock; /* robust; held round each recorded call: this is the total order */
	uint32_t enabled;     /* 0: every call is let through unseen */
	uint32_t processes;   /* how many have loaded the recorder */
	uint32_t shared_maps; /* mappings of files below the directory that mprotect could make writable */
	uint32_t torn;        /* somebody died between a call and its record */
	uint32_t full;
	uint32_t refused; /* `refusal` says what was done that cannot be followed */
	char refusal[512];
	uint64_t root_dev;
	uint64_t output_dev, output_inode; /* the pipe that is the command's standard output; 0: none */
	char volatiles[1024];              /* patterns of file names, each ending with a NUL; an empty one ends them */
	char root[RECORD_PATH_MAX];        /* without links, without a slash at its end */
};

_Static_assert(sizeof(struct record_control) <= RECORD_TRACE_AT, "the control block has its place");

#endif
