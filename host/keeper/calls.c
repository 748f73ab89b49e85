/* SPDX-License-Identifier: Apache-2.0 */
/* The table of notified system calls. */
#include "keeper/calls.h"

#include <sys/syscall.h>

#include "tritone/fault.h"

#define REST .dir = CALL_NONE, .path = CALL_NONE, .from_dir = CALL_NONE, .from_path = CALL_NONE, .flags = CALL_NONE
#define BY_FD(call, group, argument)                                                                                   \
	{                                                                                                              \
		.nr = SYS_##call, .name = #call, .set = TRITONE_CALL_##group, .fd = argument, .address = CALL_NONE,    \
		REST                                                                                                   \
	}
#define BY_ADDRESS(call, group, argument)                                                                              \
	{                                                                                                              \
		.nr = SYS_##call, .name = #call, .set = TRITONE_CALL_##group, .fd = CALL_NONE, .address = argument,    \
		REST                                                                                                   \
	}
#define BY_PATHS(call, group, d, p, from_d, from_p, f)                                                                 \
	{                                                                                                              \
		.nr = SYS_##call, .name = #call, .set = TRITONE_CALL_##group, .fd = CALL_NONE, .dir = d, .path = p,    \
		.from_dir = from_d, .from_path = from_p, .flags = f, .address = CALL_NONE                              \
	}
#define BY_PATH(call, group, d, p) BY_PATHS(call, group, d, p, CALL_NONE, CALL_NONE, CALL_NONE)

const struct call call_table[] = {
    BY_FD(write, WRITE, 0),
    BY_FD(pwrite64, WRITE, 0),
    BY_FD(writev, WRITE, 0),
    BY_FD(pwritev, WRITE, 0),
    BY_FD(pwritev2, WRITE, 0),
    BY_FD(sendfile, WRITE, 0),
    BY_FD(copy_file_range, WRITE, 2),
    BY_FD(splice, WRITE, 2),
    BY_FD(fsync, SYNC, 0),
    BY_FD(fdatasync, SYNC, 0),
    BY_ADDRESS(msync, SYNC, 0),
    BY_FD(ftruncate, ALLOCATE, 0),
    BY_FD(fallocate, ALLOCATE, 0),
    BY_PATH(truncate, ALLOCATE, CALL_NONE, 0),
    BY_PATHS(openat, CREATE, 0, 1, CALL_NONE, CALL_NONE, 2),
    BY_PATH(openat2, CREATE, 0, 1),
    BY_PATH(mkdirat, CREATE, 0, 1),
    BY_PATHS(renameat2, RENAME, 2, 3, 0, 1, CALL_NONE),
    BY_PATHS(linkat, LINK, 2, 3, 0, 1, CALL_NONE),
    BY_PATH(symlinkat, LINK, 1, 2),
#ifdef SYS_renameat
    BY_PATHS(renameat, RENAME, 2, 3, 0, 1, CALL_NONE),
#endif
#ifdef SYS_open /* the older architectures' calls without a directory */
    BY_PATHS(open, CREATE, CALL_NONE, 0, CALL_NONE, CALL_NONE, 1),
    BY_PATH(creat, CREATE, CALL_NONE, 0),
    BY_PATH(mkdir, CREATE, CALL_NONE, 0),
    BY_PATHS(rename, RENAME, CALL_NONE, 1, CALL_NONE, 0, CALL_NONE),
    BY_PATHS(link, LINK, CALL_NONE, 1, CALL_NONE, 0, CALL_NONE),
    BY_PATH(symlink, LINK, CALL_NONE, 1),
#endif
};

const size_t call_count = sizeof call_table / sizeof *call_table;

const struct call *call_find(int nr)
{
	size_t i;

	for (i = 0; i < call_count; i++)
		if (call_table[i].nr == nr)
			return &call_table[i];
	return NULL;
}
