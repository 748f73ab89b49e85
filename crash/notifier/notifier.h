/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notifier: records a command from outside, also one that is statically linked. Each system call that could change a
 * file below the directory waits (seccomp user notification) until this process has done it for the task, with the
 * task's files and its umask, and has written it down: so the order is total and the results are known. The preloaded
 * recorder does the same from within and costs less.
 *
 * Caveats
 *  - io_uring and Linux AIO are answered with ENOSYS; sendfile, copy_file_range, splice, reflinks and O_TMPFILE below
 *    the directory as if the file system could not do them: whoever uses them falls back.
 *  - What comes into the directory from outside by rename or link is refused: its content was never seen.
 *  - A file below it mapped shared and writable is refused, unless its name matches `volatiles`.
 *  - Limits of the task (RLIMIT_FSIZE) and its capabilities do not hold for what is done on its behalf.
 *  - Modes, owners, times and extended attributes are not part of a trace.
 */
#ifndef TRITONE_CRASH_NOTIFIER_NOTIFIER_H
#define TRITONE_CRASH_NOTIFIER_NOTIFIER_H

#include <signal.h>

#include "crash/trace.h"
#include "wal/error.h"

struct notifier_options {
	const char *dir;              /* there */
	char *const *argv;            /* found by PATH */
	const char *const *volatiles; /* patterns of file names as in fnmatch(3), NULL-terminated; NULL: none */
	int echo;                     /* what the command prints is also written there; -1: nowhere */
	const volatile sig_atomic_t *interrupted; /* not 0: the command is killed, EINTR; or NULL */
};

/*
 * Runs the command to its end; what it leaves running in its process group is killed then, and who left that is waited
 * for. Standard output is the acknowledgements and never reaches a terminal; standard input and error are ours.
 * *ret_status is as of waitpid. -1 with ENOTSUP: it did what cannot be followed, or this machine has no user
 * notification; the text says what to do.
 * The calling process must be single-threaded as far as its umask goes.
 */
int notifier_record(
    struct trace **ret_trace, const struct notifier_options *options, int *ret_status, struct error *err);

#endif
