/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removes one file from an agent's worktree, chosen by pattern and seed. A copy, byte for byte, is durable outside the tree before the file
 * goes. Never follows a link, never leaves the worktree: every path is resolved beneath it.
 */
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "plugins/file-remove/kept.h"
#include "plugins/file-remove/worktree.h"
#include "plugins/target.h"

static const struct tritone_param params[] = {
    {.name = "pattern",
	.type = TRITONE_PARAM_STRING,
	.fallback = "*",
	.help = "shell pattern for the path inside the worktree ('*' crosses '/')"},
    {.name = "agent",
	.type = TRITONE_PARAM_STRING,
	.help = "whose worktree, by agent id or task; empty: that of the event, or one by the seed"},
};
enum { PATTERN, AGENT };

#define UNDO_VERSION 2u
#define UNDO_SIZE_1  offsetof(struct undo, system)

struct undo {
	uint32_t version;
	uint32_t reserved;
	struct file_identity identity;
	char worktree[1400];
	char path[1400];
	char task[128];
	struct file_identity system; /* the system's directory; a record of version 1 ends before it */
};
_Static_assert(sizeof(struct undo) <= TRITONE_UNDO_SIZE_MAX, "the record fits");

static int read_undo(const struct tritone_undo *undo, struct undo *ret, struct tritone_error *error)
{
	uint32_t version = 0;

	if (undo->size == UNDO_SIZE_1)
		memcpy(&version, undo->bytes, sizeof version);
	memset(ret, 0, sizeof *ret);
	if (version == 1 ? undo_read(undo, ret, UNDO_SIZE_1, 1, error)
			 : undo_read(undo, ret, sizeof *ret, UNDO_VERSION, error))
		return -1;
	if (!undo_text(ret->worktree, sizeof ret->worktree) || !undo_text(ret->path, sizeof ret->path) ||
	    !undo_text(ret->task, sizeof ret->task) || !ret->worktree[0] || !ret->path[0])
		return fail(error, EINVAL, "the undo record is damaged: it names no file");
	return 0;
}

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	struct target_choice choice = {.id = call->values[AGENT].string, .worktree = true};
	struct undo u = {.version = UNDO_VERSION};
	int root, r;

	if (target_choose(call, TRITONE_TARGET_AGENT, &choice, error) ||
	    worktree_locate(choice.dir, call->state_dir, u.worktree, sizeof u.worktree, error))
		return -1;
	root = worktree_open(call->state_dir, u.worktree, error);
	if (root < 0)
		return -1;
	r = worktree_identify_path(call->state_dir, &u.system, error) ||
	    worktree_pick(call, root, call->values[PATTERN].string, u.path, sizeof u.path, &u.identity, error) ||
	    kept_possible(root, u.path, error);
	close(root);
	if (r)
		return -1;
	memcpy(u.task, choice.task, sizeof u.task);
	undo_write(undo, &u, sizeof u);
	evidence(call, "worktree", "%s", choice.dir);
	evidence(call, "file", "%s", u.path);
	return 0;
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	uint64_t bytes = 0;
	struct undo u;
	int root, r;

	if (read_undo(undo, &u, error))
		return -1;
	root = worktree_open(call->state_dir, u.worktree, error);
	if (root < 0)
		return -1;
	r = kept_remove(call, root, u.path, &u.identity, &bytes, error);
	close(root);
	if (r)
		return -1;
	evidence(call, "removed-path", "%s", u.path);
	evidence(call, "removed-task", "%s", u.task);
	evidence(call, "removed-bytes", "%llu", (unsigned long long)bytes);
	return 0;
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	struct file_identity now;
	struct undo u;
	int root, r;

	if (read_undo(undo, &u, error))
		return -1;
	if (!kept_exists(call))
		return proven(proof, TRITONE_NEVER, "no copy of %.150s was kept, so it was not removed", u.path);
	root = worktree_open(call->state_dir, u.worktree, error);
	if (root < 0)
		return worktree_gone(error->code)
			   ? proven(proof, TRITONE_FELT, "%.150s was removed; its worktree is gone since", u.path)
			   : -1;
	r = worktree_identify(root, u.path, &now, error);
	close(root);
	if (r && worktree_gone(error->code))
		return proven(proof, TRITONE_FELT, "%.100s is gone from the worktree of %.100s", u.path, u.task);
	if (r)
		return -1;
	if (file_same(&now, &u.identity))
		return proven(proof, TRITONE_NEVER, "%.200s is still there", u.path);
	return proven(proof, TRITONE_FELT, "%.150s was removed, and another file is in its place since", u.path);
}

/*
 * Whether it is the directory that the file was taken from, and not what is in its place while that is out of sight (the mount point of a
 * file system that is not mounted). Without the device: its number changes with the next mount.
 */
static int check_system(const struct tritone_call *call, const struct undo *u, struct tritone_error *error)
{
	struct file_identity now;

	if (u->version == 1)
		return 0;
	if (worktree_identify_path(call->state_dir, &now, error))
		return -1;
	if (file_same(&now, &u->system))
		return 0;
	return fail(error, ENOMEDIUM,
	    "%.80s is not the directory that %.60s was removed from: not mounted? `tritone recover --forget` gives it "
	    "up",
	    call->state_dir, u->path);
}

static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	struct undo u;
	int root, r;

	if (read_undo(undo, &u, error))
		return -1;
	if (!kept_exists(call))
		return 0; /* inject has not come so far as to remove anything */
	if (check_system(call, &u, error))
		return -1;
	root = worktree_open(call->state_dir, u.worktree, error);
	if (root < 0) /* the worktree has served its time: nothing to put back into */
		return worktree_gone(error->code) ? 0 : -1;
	r = kept_restore(call, root, u.path, error);
	close(root);
	return r;
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_DIRECTORY,
    .capabilities = TRITONE_CAP_FILES,
    .name = "file-remove",
    .version = "1.0",
    .summary = "a file vanishes from an agent's worktree",
    TRITONE_FAULT_PARAMS(params),
    .proof_ms = 2000,
    TRITONE_FAULT_HOOKS(plan, inject, verify, revert),
};
TRITONE_FAULT(fault)
