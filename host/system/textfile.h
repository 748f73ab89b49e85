/* SPDX-License-Identifier: Apache-2.0 */
/* Small files of the system under test, read as any outside reader would: once, as they are. */
#ifndef TRITONE_SYSTEM_TEXTFILE_H
#define TRITONE_SYSTEM_TEXTFILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wal/error.h"

#define TEXTFILE_SIZE_MAX (16u << 20) /* bytes; a longer one is EFBIG */

/* *ret_text is malloc'ed and NUL-terminated. ENOENT when it is not there (any more). */
int textfile_read(char **ret_text, size_t *ret_size, const char *path, struct error *err);
/* The first line without the white space around it; cut when it does not fit. */
int textfile_line(const char *path, char *ret, size_t size, struct error *err);

/* Clock ticks since boot at which the process began (field 22 of /proc/PID/stat). ESRCH: no such
 * process, or a zombie. */
int textfile_start_time(pid_t pid, uint64_t *ret_ticks, struct error *err);

#endif
