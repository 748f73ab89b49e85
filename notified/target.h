/* SPDX-License-Identifier: Apache-2.0 */
/* Looking into a task that waits in a notified call: its memory, descriptors and paths. All by the
 * thread's id; what is read holds only if the notification is still valid afterwards. */
#ifndef TRITONE_NOTIFIED_TARGET_H
#define TRITONE_NOTIFIED_TARGET_H

#include <linux/limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Every function returns 0 or a negative errno. */

/* All of it or -EFAULT. */
int target_read(pid_t tid, uint64_t address, void *ret_bytes, size_t size);
/* A path argument. "/proc/self" and "/proc/thread-self" at its start are replaced by what they mean
 * for the task. */
int target_string(pid_t tid, uint64_t address, char ret_text[PATH_MAX]);

/* The file behind a descriptor, by its path; of a deleted file, the last one. -ENOENT: not a file. */
int target_fd_path(pid_t tid, int fd, char ret_path[PATH_MAX]);
/* The file that is mapped at an address. -ENOENT: none. */
int target_mapped_path(pid_t tid, uint64_t address, char ret_path[PATH_MAX]);
/*
 * Where `path` leads for the task: absolute, directories without symbolic links, the last component
 * followed on demand (and where it ends, if that does not exist). dirfd may be AT_FDCWD.
 */
int target_resolve(pid_t tid, int dirfd, const char *path, bool follow, char ret_path[PATH_MAX]);

/* The process of a thread, and its umask. */
int target_status(pid_t tid, pid_t *ret_pid, mode_t *ret_umask);
/* A duplicate of its descriptor: the same open file. The caller closes it. */
int target_take_fd(pid_t tid, int fd);
/* The directory that relative paths of a call are relative to, as O_PATH. The caller closes it. */
int target_open_dir(pid_t tid, int dirfd);

#endif
