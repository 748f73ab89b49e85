/* SPDX-License-Identifier: Apache-2.0 */
/* The seccomp program that notifies of file-writing calls: made once in the keeper, installed in a
 * child between fork and exec. */
#ifndef TRITONE_SYSTEM_FILTER_H
#define TRITONE_SYSTEM_FILTER_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>

#include "wal/error.h"

/* Newer than the kernel headers of Debian 12. */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

int filter_build(struct sock_fprog *ret_program, struct error *err);
void filter_free(struct sock_fprog *program);

/*
 * Puts the calling process, and all that it will start, under the filter, for good; also sets
 * no_new_privs. Returns the notification descriptor (CLOEXEC), or -1 with errno. Async-signal-safe.
 */
int filter_install(const struct sock_fprog *program);

/* Lets an answered task run on the answerer's processor at once (Linux 6.6). False: not here. */
bool filter_sync_wake_up(int listener);

/* Tries all of it in a forked child: install, notify, read the child's memory, take its descriptor,
 * answer. *ret_sync_wake_up may be NULL. */
int filter_try(bool *ret_sync_wake_up, struct error *err);

#endif
