/* SPDX-License-Identifier: Apache-2.0 */
/* Shared writable mappings: stores through them cannot be seen. Those of volatile files are noted, others refused. */
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crash/notifier/internal.h"
#include "notified/target.h"

static bool is_volatile(const struct recording *recording, const char *path)
{
	const char *const *pattern = recording->options->volatiles;
	const char *name = strrchr(path, '/') + 1;

	for (; pattern && *pattern; pattern++)
		if (fnmatch(*pattern, name, 0) == 0)
			return true;
	return false;
}

static void mapped(struct recording *recording, const struct asked *asked, const char *path)
{
	struct trace_op op = {.kind = TRACE_VOLATILE};
	struct stat st;

	if (!recording_below(recording, path))
		return;
	if (!is_volatile(recording, path)) {
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

/* What is mapped shared in [address, address + size). */
static void look_at_range(struct recording *recording, const struct asked *asked, uint64_t address, uint64_t size)
{
	char name[64], *line = NULL;
	size_t room = 0;
	FILE *maps;

	snprintf(name, sizeof name, "/proc/%d/maps", asked->tid);
	maps = fopen(name, "re");
	if (!maps)
		return;
	while (getline(&line, &room, maps) > 0) {
		unsigned long long start, end;
		char flags[8];
		int at = 0;

		if (sscanf(line, "%llx-%llx %7s %*s %*s %*s %n", &start, &end, flags, &at) < 3 ||
		    address + size <= start || address >= end || flags[3] != 's' || !at || line[at] != '/')
			continue;
		line[strcspn(line, "\n")] = '\0';
		mapped(recording, asked, line + at);
	}
	free(line);
	fclose(maps);
}

/* A sync of what others see of a mapping that is only read, or of a volatile file. */
static void synced(struct recording *recording, const struct asked *asked)
{
	struct trace_op op = {.kind = TRACE_MSYNC};
	struct stat st;

	if (target_mapped_path(asked->tid, asked->args[0], recording->path) < 0 ||
	    !recording_below(recording, recording->path) || stat(recording->path, &st) < 0)
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
		look_at_range(recording, asked, asked->args[0], asked->args[1]);
	} else if (asked->nr == SYS_msync) {
		synced(recording, asked);
	}
	return RESULT_CONTINUE;
}
