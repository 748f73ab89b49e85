/* SPDX-License-Identifier: Apache-2.0 */
/* host/system's eye on a git repository: each commit once and in its order, however it came there, and a branch that is rewritten. */
#include "watch_room.h"

#include <git2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static git_oid commit(struct fixture *fixture, const char *task, const git_oid *parent_id, bool set)
{
	char path[256], message[128];
	git_repository *repo;
	git_signature *who;
	git_commit *parent = NULL;
	const git_commit *parents[1];
	git_tree *tree;
	git_oid empty, id;
	git_treebuilder *builder;
	git_reference *reference = NULL;

	assert_int_equal(git_repository_open(&repo, in(fixture, "repo", path)), 0);
	assert_int_equal(git_treebuilder_new(&builder, repo, NULL), 0);
	assert_int_equal(git_treebuilder_write(&empty, builder), 0);
	assert_int_equal(git_tree_lookup(&tree, repo, &empty), 0);
	assert_int_equal(git_signature_new(&who, "test", "test@localhost", 1, 0), 0);
	if (parent_id)
		assert_int_equal(git_commit_lookup(&parent, repo, parent_id), 0);
	parents[0] = parent;
	snprintf(message, sizeof message, "%s\n\nTask-Id: %s\n", task, task);
	assert_int_equal(git_commit_create(&id, repo, NULL, who, who, NULL, message, tree, parent ? 1 : 0, parents), 0);
	if (set)
		assert_int_equal(git_reference_create(&reference, repo, "refs/heads/main", &id, 1, "test"), 0);
	git_reference_free(reference);
	git_commit_free(parent);
	git_signature_free(who);
	git_tree_free(tree);
	git_treebuilder_free(builder);
	git_repository_free(repo);
	return id;
}

static void make_repository(struct fixture *fixture)
{
	git_repository *repo;
	char path[256];

	assert_int_equal(git_repository_init(&repo, in(fixture, "repo", path), 1), 0);
	git_repository_free(repo);
}

static void make_ledger(struct fixture *fixture)
{
	char path[256];

	assert_int_equal(ledger_create(&fixture->ledger,
			     &(struct ledger_options){.history = fixture->history,
				 .repository = in(fixture, "repo", path),
				 .branch = "main",
				 .task_trailer = "Task-Id"},
			     NULL),
	    0);
	assert_int_equal(ledger_watch(fixture->ledger, fixture->watch, NULL), 0);
}

/* "TASK@PLACE[!] " for each commit in the history; '!': rewritten. */
static void commits(struct fixture *fixture, char *ret, size_t size)
{
	struct history_view view = history_view(fixture->history);

	ret[0] = '\0';
	for (size_t i = 0; i < view.count; i++) {
		size_t used = strlen(ret);

		if (view.ops[i].kind == OP_COMMIT)
			snprintf(ret + used, size - used, "%s@%d%s ", view.ops[i].task, (int)view.ops[i].value,
			    !strcmp(view.ops[i].detail, "rewritten") ? "!" : "");
	}
}

static void test_commits_in_order_and_once(void **state)
{
	struct fixture *fixture = *state;
	char text[256];
	git_oid id;

	make_repository(fixture);
	id = commit(fixture, "before", NULL, true);
	make_ledger(fixture);
	id = commit(fixture, "a", &id, true);
	dispatch(fixture);
	id = commit(fixture, "b", &id, true);
	id = commit(fixture, "c", &id, false); /* seen only with d, which stands on it */
	commit(fixture, "d", &id, true);
	dispatch(fixture);
	assert_int_equal(ledger_look(fixture->ledger, NULL), 0);
	commits(fixture, text, sizeof text);
	assert_string_equal(text, "a@0 b@1 c@2 d@3 ");
}

static void test_a_branch_that_is_rewritten(void **state)
{
	struct fixture *fixture = *state;
	git_oid first, id;
	char text[256];

	make_repository(fixture);
	first = commit(fixture, "before", NULL, true);
	make_ledger(fixture);
	id = commit(fixture, "a", &first, true);
	dispatch(fixture);
	id = commit(fixture, "b", &first, true); /* a is gone */
	dispatch(fixture);
	commit(fixture, "c", &id, true);
	dispatch(fixture);
	commits(fixture, text, sizeof text);
	assert_string_equal(text, "a@0 b@0! c@1 ");
}

static void test_a_repository_that_comes_later_and_is_packed(void **state)
{
	struct fixture *fixture = *state;
	char text[256], path[256], line[512];
	git_oid id;

	make_ledger(fixture);
	dispatch(fixture);
	make_repository(fixture);
	dispatch(fixture);
	id = commit(fixture, "a", NULL, true);
	dispatch(fixture);
	commits(fixture, text, sizeof text);
	assert_string_equal(text, "a@0 ");
	/* The branch moves on in packed-refs alone. */
	id = commit(fixture, "b", &id, false);
	git_oid_tostr(text, GIT_OID_HEXSZ + 1, &id);
	snprintf(line, sizeof line, "# pack-refs with: peeled fully-peeled sorted \n%s refs/heads/main\n", text);
	write_file(fixture, "repo/packed-refs.new", line);
	assert_int_equal(unlink(in(fixture, "repo/refs/heads/main", path)), 0);
	move(fixture, "repo/packed-refs.new", "repo/packed-refs");
	dispatch(fixture);
	commits(fixture, text, sizeof text);
	assert_string_equal(text, "a@0 b@1 ");
}

/* Runs a shell's script in the fixture's directory, with nobody's settings of git. */
static void run(struct fixture *fixture, const char *script)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		static const char *const who[] = {
		    "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"};

		for (size_t i = 0; i < sizeof who / sizeof *who; i++)
			setenv(who[i], "test", 1);
		setenv("HOME", fixture->dir, 1);
		setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
		if (chdir(fixture->dir) == 0)
			execl("/bin/sh", "sh", "-ec", script, NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Each commit is seen by its own event, before there is another one, and nobody asks for a look. */
static void each_is_seen(struct fixture *fixture, const char *one_more)
{
	char text[256], expected[256] = "";

	for (int i = 0; i < 4; i++) {
		size_t used = strlen(expected);

		setenv("TASK", (const char *[]){"a", "b", "c", "d"}[i], 1);
		run(fixture, one_more);
		dispatch(fixture);
		snprintf(expected + used, sizeof expected - used, "%c@%d ", 'a' + i, i);
		commits(fixture, text, sizeof text);
		assert_string_equal(text, expected);
	}
}

/* No file of the work tree changes: what is seen is the commit. */
#define PORCELAIN "git commit -q --allow-empty -m \"x\n\nTask-Id: $TASK\"\n"
#define PLUMBING                                                                                                       \
	"tip=$(git rev-parse -q --verify refs/heads/main) || tip=\n"                                                   \
	"id=$(printf 'x\\n\\nTask-Id: %s\\n' $TASK | git commit-tree ${tip:+-p $tip} $(git mktree </dev/null))\n"      \
	"git update-ref refs/heads/main $id\n"

static void test_commits_beside_a_work_tree(void **state)
{
	struct fixture *fixture = *state;

	run(fixture, "git init -q -b main repo");
	make_ledger(fixture);
	each_is_seen(fixture, "cd repo\n" PORCELAIN);
}

static void test_commits_beside_a_work_tree_that_comes_later(void **state)
{
	struct fixture *fixture = *state;

	make_ledger(fixture);
	dispatch(fixture);
	run(fixture, "git init -q -b main repo");
	dispatch(fixture);
	each_is_seen(fixture, "cd repo\n" PORCELAIN);
}

static void test_a_work_tree_and_its_first_commit_at_once(void **state)
{
	struct fixture *fixture = *state;

	make_ledger(fixture);
	dispatch(fixture);
	each_is_seen(fixture, "[ -d repo ] || git init -q -b main repo; cd repo\n" PORCELAIN);
}

static void test_commits_without_a_reflog(void **state)
{
	struct fixture *fixture = *state;

	make_ledger(fixture);
	run(fixture, "git init -q -b main repo; git -C repo config core.logAllRefUpdates false");
	dispatch(fixture);
	each_is_seen(fixture, "cd repo\n" PORCELAIN);
}

static void test_commits_of_plumbing_beside_a_work_tree(void **state)
{
	struct fixture *fixture = *state;

	make_ledger(fixture);
	run(fixture, "git init -q -b main repo");
	dispatch(fixture);
	each_is_seen(fixture, "cd repo\n" PLUMBING);
}

static void test_commits_of_plumbing_in_a_bare_repository(void **state)
{
	struct fixture *fixture = *state;

	make_ledger(fixture);
	dispatch(fixture);
	each_is_seen(fixture, "[ -d repo ] || git init -q --bare -b main repo; cd repo\n" PLUMBING);
}

static void test_commits_in_a_linked_work_tree(void **state)
{
	struct fixture *fixture = *state;

	run(fixture, "git init -q -b other home; cd home; git commit -q --allow-empty -m root");
	make_ledger(fixture);
	dispatch(fixture);
	run(fixture, "cd home; git worktree add -q --orphan main ../repo 2>/dev/null ||\n"
		     "{ git worktree add -q --detach ../repo; cd ../repo; git checkout -q --orphan main; }");
	each_is_seen(fixture, "cd repo\n" PORCELAIN);
}

static void test_commits_that_are_packed_at_once(void **state)
{
	struct fixture *fixture = *state;

	make_ledger(fixture);
	dispatch(fixture);
	each_is_seen(fixture, "[ -d repo ] || git init -q -b main repo; cd repo\n" PORCELAIN "git pack-refs --all\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    WATCH_TEST(test_commits_in_order_and_once),
	    WATCH_TEST(test_a_branch_that_is_rewritten),
	    WATCH_TEST(test_a_repository_that_comes_later_and_is_packed),
	    WATCH_TEST(test_commits_beside_a_work_tree),
	    WATCH_TEST(test_commits_beside_a_work_tree_that_comes_later),
	    WATCH_TEST(test_a_work_tree_and_its_first_commit_at_once),
	    WATCH_TEST(test_commits_without_a_reflog),
	    WATCH_TEST(test_commits_of_plumbing_beside_a_work_tree),
	    WATCH_TEST(test_commits_of_plumbing_in_a_bare_repository),
	    WATCH_TEST(test_commits_in_a_linked_work_tree),
	    WATCH_TEST(test_commits_that_are_packed_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
