/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that carry out trapped calls share. Async-signal-safe, all of it. */
#ifndef TRITONE_CRASH_RECORD_CALLS_H
#define TRITONE_CRASH_RECORD_CALLS_H

#include <string.h>
#include <sys/stat.h>

#include "crash/record/emit.h"
#include "crash/record/trap.h"

static inline long call_as_is(const struct trap_args *args)
{
	return trap_call(args->number, args->a[0], args->a[1], args->a[2], args->a[3], args->a[4], args->a[5]);
}

static inline int call_stat_fd(int fd, struct stat *ret_status)
{
	return (int)TRAP_CALL3(SYS_fstat, fd, ret_status, 0);
}

/* The path of a descriptor, as /proc says; -1 if it has none. */
int call_path_of(int fd, char path[RECORD_PATH_MAX + 32]);
bool call_is_below(const struct record_control *control, const char *path);
/* Is `fd` a file (or directory) below the directory, or the directory itself? */
bool call_is_ours(struct record_control *control, int fd, struct stat *ret_status);

/* calls_names.c: open, and whatever makes, removes or moves a name. All others as they are. */
long call_names(struct record_control *control, const struct trap_args *args);

/* calls_maps.c */
long call_mmap(struct record_control *control, const struct trap_args *args);
long call_msync(struct record_control *control, const struct trap_args *args);

#endif
