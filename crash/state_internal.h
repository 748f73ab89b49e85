/* SPDX-License-Identifier: Apache-2.0 */
/* What makes a state and what reads one share: files that are kept open and mapped. */
#ifndef TRITONE_CRASH_STATE_INTERNAL_H
#define TRITONE_CRASH_STATE_INTERNAL_H

#include <dirent.h>
#include <sys/types.h>

#include "crash/state.h"

#define STATE_SLOTS     128u /* files that are kept open; others are opened anew for each state */
#define STATE_DEPTH_MAX 64
#define SMALL_BYTES     512u /* up to here a file is read and written, and not mapped */

struct slot {
	char *path;
	int fd;
	ino_t inode;
	uint8_t *map;
	size_t map_size;
};

struct state_dir {
	char *path;
	int fd;
	DIR *stream;       /* of the directory itself */
	bool blocks_exact; /* a file takes as much room as it has pages: nothing is compressed or shared */
	struct slot slots[STATE_SLOTS];
	size_t slots_count;
	const char **wanted; /* paths, sorted */
	size_t wanted_count, wanted_capacity;
};

#endif
