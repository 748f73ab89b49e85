/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trap: lets a process record itself. A seccomp filter turns each system call that could change a file into SIGSYS in
 * the thread that made it; the handler makes the call, under a lock that all recorded processes share, and writes
 * down what it did. So also what libc does inside (fwrite, printf, dprintf) is seen, which wrapping libc's functions
 * would miss.
 *
 * Caveats
 *  - For good: a filter cannot be taken off, and goes through fork and exec. A program that is started without the
 *    preloaded library (statically linked, or with an emptied environment) dies of SIGSYS at its first write.
 *  - SIGSYS must not be blocked. The preloaded library sees to that for what goes through libc.
 *  - io_uring, Linux AIO, O_TMPFILE, reflinks, sendfile and copy_file_range into the directory are answered as on a
 *    system that lacks them: whoever uses them has another way.
 */
#ifndef TRITONE_CRASH_RECORD_TRAP_H
#define TRITONE_CRASH_RECORD_TRAP_H

#include <stdbool.h>
#include <sys/syscall.h>

#include "crash/record/control.h"

/* Makes trap_call work. Once; trap_install does it if it was not done. 0, or an errno value. */
int trap_open_gate(void);

/* Puts the calling process under the filter, once; `control` must stay mapped. 0, or an errno value. */
int trap_install(struct record_control *control);

/* A system call that is never trapped, whoever makes it. Returns what the kernel does: -errno on failure. */
long trap_call(long number, long a, long b, long c, long d, long e, long f);

#define TRAP_CALL3(number, a, b, c) trap_call(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)

/* calls_maps.c: is [address, address + size) a shared mapping of a file of ours that is now to become writable? Then it is
 * refused. */
void trap_look_at_mprotect(struct record_control *control, const void *address, size_t size);

/* Between the files of this room. */
struct trap_args {
	long number;
	long a[6];
};
/* calls.c: carries it out, and writes it down. */
long trap_dispatch(struct record_control *control, const struct trap_args *args);

#endif
