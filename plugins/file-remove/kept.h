/* SPDX-License-Identifier: Apache-2.0 */
/* The kept copy of a removed file: durable before the file goes, put back without ever replacing what has come into its place. */
#ifndef TRITONE_FILE_REMOVE_KEPT_H
#define TRITONE_FILE_REMOVE_KEPT_H

#include "plugins/file-remove/worktree.h"

bool kept_exists(const struct tritone_call *call);
/* Whether a file could be put back there: ENOTSUP on a file system that cannot. Leaves nothing behind. */
int kept_possible(int root, const char *path, struct tritone_error *error);
/* Copies the file, which must be that very one, to keep_dir, and unlinks it when the copy is durable. */
int kept_remove(const struct tritone_call *call, int root, const char *path, const struct file_identity *identity,
    uint64_t *ret_bytes, struct tritone_error *error);
/*
 * Puts it back where nothing is: content, mode, owner, time. Success too when something is there, or its directory has gone. The copy
 * stays, for the post-mortem.
 */
int kept_restore(const struct tritone_call *call, int root, const char *path, struct tritone_error *error);

#endif
