/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a worktree and a file in it, with every path resolved beneath the worktree and no link followed. */
#ifndef TRITONE_FILE_REMOVE_WORKTREE_H
#define TRITONE_FILE_REMOVE_WORKTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tritone/fault.h"

/* Names one file for ever: an inode number may be used again, with a birth (or change) time it may not. */
struct file_identity {
	uint64_t inode, device;
	int64_t seconds, nanoseconds;
	uint32_t mode, reserved;
};

static inline bool file_same(const struct file_identity *a, const struct file_identity *b)
{
	return a->inode == b->inode && a->device == b->device && a->seconds == b->seconds &&
	       a->nanoseconds == b->nanoseconds;
}

/* The worktree's path from state_dir, links resolved. EPERM when it is not below it. */
int worktree_locate(
    const char *worktree, const char *state_dir, char *ret_path, size_t size, struct tritone_error *error);
/* What worktree_open and its like say of something that is there no more, or is something else now. */
bool worktree_gone(int code);
/* A regular file whose path matches, chosen by the call's seed among all that do, sorted; the repository's own .git is left out. */
int worktree_pick(const struct tritone_call *call, int root, const char *pattern, char *ret_path, size_t size,
    struct file_identity *ret_identity, struct tritone_error *error);

/* Descriptors, to be closed by the caller; -1 with *error. */
int worktree_open(const char *state_dir, const char *worktree, struct tritone_error *error); /* as located */
int worktree_open_beneath(int root, const char *path, int flags, struct tritone_error *error);
/* The directory of `path` beneath root; *ret_name points to the last part of `path`. */
int worktree_open_parent(int root, const char *path, const char **ret_name, struct tritone_error *error);
int worktree_identify_open(int fd, struct file_identity *ret_identity, struct tritone_error *error);
/*
 * A directory by its path, across mounts and whatever changes in it: inode and, where the file system has one, birth time; nothing of the
 * device. ENOMEDIUM when it is not there.
 */
int worktree_identify_path(const char *path, struct file_identity *ret_identity, struct tritone_error *error);
int worktree_identify(int root, const char *path, struct file_identity *ret_identity, struct tritone_error *error);

#endif
