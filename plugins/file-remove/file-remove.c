/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removes one file from an agent's worktree, chosen by pattern and seed. A copy, byte for byte, is durable outside the tree before the file
 * goes. Never follows a link, never leaves the worktree: every path is resolved beneath it.
 */
#include <errno.h>
#include <unistd.h>

#include "plugins/file-remove/kept.h"
#include "plugins/file-remove/worktree.h"
#include "plugins/plugin.h"

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

#define UNDO_VERSION 1u

struct undo {
	uint32_t version;
	uint32_t reserved;
	struct file_identity identity;
	char worktree[1400];
	char path[1400];
	char task[128];
};
_Static_assert(sizeof(struct undo) <= TRITONE_UNDO_SIZE_MAX, "the record fits");

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	struct worktree_choice choice = {.wanted = call->values[AGENT].string, .call = call};
	struct undo u = {.version = UNDO_VERSION};

	if (call->services->targets(call->host, TRITONE_TARGET_AGENT, worktree_consider, &choice, error))
		return -1;
	if (!choice.found)
		return fail(error, ESRCH, "no agent has a worktree at the moment");
	if (strlen(choice.worktree) >= sizeof u.worktree)
		return fail(error, ENAMETOOLONG, "the path of the worktree is too long: %.80s", choice.worktree);
	snprintf(u.worktree, sizeof u.worktree, "%s", choice.worktree);
	snprintf(u.task, sizeof u.task, "%s", choice.task);
	if (worktree_inside(u.worktree, call->state_dir, error) ||
	    worktree_pick(call, u.worktree, call->values[PATTERN].string, u.path, sizeof u.path, &u.identity, error))
		return -1;
	undo_write(undo, &u, sizeof u);
	evidence(call, "worktree", "%s", u.worktree);
	evidence(call, "file", "%s", u.path);
	return 0;
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	const struct undo *u = undo_read(undo, sizeof *u, UNDO_VERSION, error);
	uint64_t bytes = 0;
	int root;

	if (!u)
		return -1;
	root = worktree_open(u->worktree, error);
	if (root < 0)
		return -1;
	if (kept_store(call, root, u->path, &u->identity, &bytes, error) ||
	    kept_unlink(root, u->path, &u->identity, error)) {
		close(root);
		return -1;
	}
	close(root);
	evidence(call, "removed-path", "%s", u->path);
	evidence(call, "removed-task", "%s", u->task);
	evidence(call, "removed-bytes", "%llu", (unsigned long long)bytes);
	return 0;
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	const struct undo *u = undo_read(undo, sizeof *u, UNDO_VERSION, error);
	struct file_identity now;
	int root, r;

	if (!u)
		return -1;
	if (!kept_exists(call))
		return proven(proof, TRITONE_NEVER, "no copy of %s was kept, so it was not removed", u->path);
	root = worktree_open(u->worktree, error);
	if (root < 0)
		return proven(proof, TRITONE_FELT, "%s was removed; its worktree is gone since", u->path);
	r = worktree_identify(root, u->path, &now, error);
	close(root);
	if (r && error->code == ENOENT)
		return proven(proof, TRITONE_FELT, "%s is gone from the worktree of %s", u->path, u->task);
	if (r)
		return -1;
	if (file_same(&now, &u->identity))
		return proven(proof, TRITONE_NEVER, "%s is still there", u->path);
	return proven(proof, TRITONE_FELT, "%s was removed, and another file is in its place since", u->path);
}

static int revert(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	const struct undo *u = undo_read(undo, sizeof *u, UNDO_VERSION, error);
	int root, r;

	if (!u)
		return -1;
	if (!kept_exists(call))
		return 0; /* inject has not come so far as to remove anything */
	root = worktree_open(u->worktree, error);
	if (root < 0)
		return error->code == ENOENT ? 0 : -1; /* the worktree has served its time: nothing to put back into */
	r = kept_restore(call, root, u->path, error);
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
    .params = params,
    .param_count = sizeof params / sizeof params[0],
    .proof_ms = 2000,
    .plan = plan,
    .inject = inject,
    .verify = verify,
    .revert = revert,
};
TRITONE_FAULT(fault)
