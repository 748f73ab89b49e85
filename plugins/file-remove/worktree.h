/* SPDX-License-Identifier: Apache-2.0 */
/* Finding a worktree and a file in it, with every path resolved beneath the worktree and no link followed. */
#ifndef TRITONE_FILE_REMOVE_WORKTREE_H
#define TRITONE_FILE_REMOVE_WORKTREE_H

#include <stdbool.h>
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

struct worktree_choice {
	const char *wanted; /* agent id or task; "": any */
	const struct tritone_call *call;
	char worktree[4096];
	char task[128];
	uint64_t seen;
	bool found, of_event;
};
int worktree_consider(void *choice, const struct tritone_target *target); /* a tritone_target_fn */

/* The worktree must be a directory below state_dir, links resolved. */
int worktree_inside(const char *worktree, const char *state_dir, struct tritone_error *error);
/* A regular file whose path matches, chosen by the call's seed among all that do, sorted; the repository's own .git is left out. */
int worktree_pick(const struct tritone_call *call, const char *worktree, const char *pattern, char *ret_path,
    size_t size, struct file_identity *ret_identity, struct tritone_error *error);

/* Descriptors, to be closed by the caller; -1 with *error. */
int worktree_open(const char *worktree, struct tritone_error *error);
int worktree_open_beneath(int root, const char *path, int flags, struct tritone_error *error);
/* The directory of `path` beneath root; *ret_name points to the last part of `path`. */
int worktree_open_parent(int root, const char *path, const char **ret_name, struct tritone_error *error);
int worktree_identify(int root, const char *path, struct file_identity *ret_identity, struct tritone_error *error);

#endif
