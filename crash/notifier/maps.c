/* SPDX-License-Identifier: Apache-2.0 */
/* Shared writable mappings: stores through them cannot be seen. Those of volatile files are noted, others refused. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crash/notifier/internal.h"
#include "notified/target.h"

static void mapped(struct recording *recording, const struct asked *asked, const char *path)
{
	struct trace_op op = {.kind = TRACE_VOLATILE};
	struct stat st;

	if (!recording_below(recording, path))
		return;
	if (!trace_matches(recording->options->volatiles, strrchr(path, '/') + 1)) {
		recording_refuse(recording,
		    "%s is mapped shared and writable: what is stored there cannot be followed (if it means nothing "
		    "after "
		    "a loss of power, name it with --volatile)",
		    path + strlen(recording->root) + 1);
		return;
	}
	if (stat(path, &st) < 0)
		return;
	op.file = st.st_ino;
	recording_add(recording, asked, &op);
}

/* A file that is mapped shared: [start, end) is what it has from `offset` on. */
struct mapping {
	unsigned long long start, end, offset;
	const char *path;
};

typedef void (*mapping_fn)(struct recording *recording, const struct asked *asked, const struct mapping *mapping);

/* Those that the call's range, its first two arguments, has a part of. */
static void look_at_range(struct recording *recording, const struct asked *asked, mapping_fn look)
{
	const uint64_t address = asked->args[0], size = asked->args[1];
	char name[64], *line = NULL;
	size_t room = 0;
	FILE *maps;

	snprintf(name, sizeof name, "/proc/%d/maps", asked->tid);
	maps = fopen(name, "re");
	if (!maps)
		return;
	while (getline(&line, &room, maps) > 0) {
		struct mapping mapping;
		char flags[8];
		int at = 0;

		if (sscanf(line, "%llx-%llx %7s %llx %*s %*s %n", &mapping.start, &mapping.end, flags, &mapping.offset,
			&at) < 4 ||
		    address + size <= mapping.start || address >= mapping.end || flags[3] != 's' || !at ||
		    line[at] != '/')
			continue;
		line[strcspn(line, "\n")] = '\0';
		mapping.path = line + at;
		look(recording, asked, &mapping);
	}
	free(line);
	fclose(maps);
}

static void made_writable(struct recording *recording, const struct asked *asked, const struct mapping *mapping)
{
	mapped(recording, asked, mapping->path);
}

/* A sync of what others see of a mapping that is only read, or of a volatile file. It counts if it is of the whole file: a trace
 * knows no syncs of parts, and less may be promised. */
static void synced(struct recording *recording, const struct asked *asked, const struct mapping *mapping)
{
	const uint64_t address = asked->args[0], size = asked->args[1];
	struct trace_op op = {.kind = TRACE_MSYNC};
	struct stat st;

	if (!recording_below(recording, mapping->path) || stat(mapping->path, &st) < 0 || mapping->offset ||
	    address != mapping->start || size > mapping->end - mapping->start || size < (uint64_t)st.st_size)
		return;
	op.file = st.st_ino;
	recording_add(recording, asked, &op);
}

struct result maps_call(struct recording *recording, const struct asked *asked)
{
	if (asked->nr == SYS_mmap) {
		if (target_fd_path(asked->tid, (int)asked->args[4], recording->path) == 0)
			mapped(recording, asked, recording->path);
	} else if (asked->nr == SYS_mprotect) {
		look_at_range(recording, asked, made_writable);
	} else if (asked->nr == SYS_msync && asked->args[2] & MS_SYNC) {
		look_at_range(recording, asked, synced);
	}
	return RESULT_CONTINUE;
}
