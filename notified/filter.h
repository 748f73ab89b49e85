/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls that wait until another process has answered for them: the seccomp program is made once, installed in a
 * child between fork and exec, and its listener taken over. Which calls, and what the answer is, is the user's: the
 * host's keeper makes them fail, crash/ writes them down.
 */
#ifndef TRITONE_NOTIFIED_FILTER_H
#define TRITONE_NOTIFIED_FILTER_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

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

/* Takes the program out of libseccomp's hands, so that a child can install it without allocating. */
int notified_export(scmp_filter_ctx ctx, struct sock_fprog *ret_program, struct error *err);
void notified_free(struct sock_fprog *program);

/*
 * Puts the calling process, and all that it will start, under the filter, for good; also sets no_new_privs. Returns
 * the notification descriptor (CLOEXEC), or -1 with errno. Async-signal-safe.
 */
int notified_install(const struct sock_fprog *program);

/* Lets an answered task run on the answerer's processor at once (Linux 6.6). False: not here. */
bool notified_sync_wake_up(int listener);

/* The task still waits in this call: what was read from it belongs to it. */
bool notified_valid(int listener, uint64_t id);

/* A request and an answer with the room that this kernel writes. */
struct notified {
	struct seccomp_notif *request;
	struct seccomp_notif_resp *response;
	size_t request_size, response_size;
};
int notified_init(struct notified *notified, struct error *err);
void notified_finish(struct notified *notified);
/* -1 with errno; ENOENT: who called has died meanwhile. */
int notified_receive(struct notified *notified, int listener);
/* The call returns `value`, or fails with `error` if that is not 0. `flags` SECCOMP_USER_NOTIF_FLAG_CONTINUE: the kernel
 * does it. A task that is gone by now needs no answer. */
void notified_answer(struct notified *notified, int listener, uint64_t id, uint32_t flags, int64_t value, int error);

#endif
