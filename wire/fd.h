/* SPDX-License-Identifier: Apache-2.0 */
/* What a call on a descriptor may do by halves, done as a whole. 0, or -1 with errno. */
#ifndef TRITONE_WIRE_FD_H
#define TRITONE_WIRE_FD_H

#include <stddef.h>

/* All of it, through signals and short writes. What of it is there after a failure is not told. */
int fd_write_all(int fd, const void *bytes, size_t size);
/* The names in `dir` are on the disk when it returns. */
int fd_sync_dir(const char *dir);

#endif
