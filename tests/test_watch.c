/* SPDX-License-Identifier: Apache-2.0 */
/* host/system's eyes, each by itself: directories that come, go and move; a ledger that is rewritten; state files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <git2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/agents.h"
#include "system/claims.h"
#include "system/copytree.h"
#include "system/ledger.h"
#include "system/statefiles.h"
#include "system/watch.h"

struct fixture {
	char dir[64];
	struct history *history;
	struct watch *watch;
	struct ledger *ledger;
	struct statefiles *statefiles;
	struct agents *agents;
	char seen[2048]; /* "NAME " for each file that was reported, in order */
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);

	if (!fixture)
		return -1;
	strcpy(fixture->dir, "/tmp/test_watch.XXXXXX");
	if (!mkdtemp(fixture->dir) || history_create(&fixture->history, NULL, NULL) != 0 ||
	    watch_create(&fixture->watch, NULL) != 0)
		return -1;
	git_libgit2_init();
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	agents_destroy(fixture->agents);
	statefiles_destroy(fixture->statefiles);
	ledger_destroy(fixture->ledger);
	watch_destroy(fixture->watch);
	history_destroy(fixture->history);
	removetree(fixture->dir, NULL);
	git_libgit2_shutdown();
	free(fixture);
	return 0;
}

static const char *in(struct fixture *fixture, const char *name, char *buf)
{
	snprintf(buf, 256, "%s/%s", fixture->dir, name);
	return buf;
}

static void make_directory(struct fixture *fixture, const char *name)
{
	char path[256];

	assert_int_equal(mkdir(in(fixture, name, path), 0700), 0);
}

static void write_file(struct fixture *fixture, const char *name, const char *text)
{
	char path[256];
	FILE *file = fopen(in(fixture, name, path), "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void move(struct fixture *fixture, const char *from, const char *to)
{
	char old[256], new[256];

	assert_int_equal(rename(in(fixture, from, old), in(fixture, to, new)), 0);
}

static void note(void *arg, const char *path, uint32_t mask)
{
	struct fixture *fixture = arg;
	size_t size = strlen(fixture->seen);

	if (mask == 0 || (mask & (IN_CLOSE_WRITE | IN_MOVED_TO)))
		snprintf(fixture->seen + size, sizeof fixture->seen - size, "%s ", strrchr(path, '/') + 1);
}

static bool everywhere(void *arg, const char *dir)
{
	(void)arg;
	return !strstr(dir, "/not");
}

static void dispatch(struct fixture *fixture)
{
	assert_int_equal(watch_dispatch(fixture->watch, NULL), 0);
	if (fixture->ledger)
		assert_int_equal(ledger_follow(fixture->ledger, NULL), 0);
}

static void watch_root(struct fixture *fixture, const char *name)
{
	char path[256];

	assert_int_equal(watch_add(fixture->watch, in(fixture, name, path), everywhere, note, fixture, NULL), 0);
}

/* --- directories --- */

static void test_a_root_that_comes_later(void **state)
{
	struct fixture *fixture = *state;

	watch_root(fixture, "a/b/c");
	make_directory(fixture, "a");
	dispatch(fixture);
	make_directory(fixture, "a/b"); /* and what is below it, before anybody looks */
	make_directory(fixture, "a/b/c");
	write_file(fixture, "a/b/c/one", "");
	write_file(fixture, "a/b/other", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one ");
	write_file(fixture, "a/b/c/two", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one two ");
}

static void test_directories_below_are_watched(void **state)
{
	struct fixture *fixture = *state;

	make_directory(fixture, "root");
	write_file(fixture, "root/old", "");
	watch_root(fixture, "root");
	assert_string_equal(fixture->seen, "old ");
	make_directory(fixture, "root/x");
	make_directory(fixture, "root/x/y");
	make_directory(fixture, "root/not");
	write_file(fixture, "root/x/y/deep", "");
	write_file(fixture, "root/not/hidden", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "old deep ");
	write_file(fixture, "root/x/y/more", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "old deep more ");
}

static void test_a_directory_that_moves_in_and_out(void **state)
{
	struct fixture *fixture = *state;

	make_directory(fixture, "root");
	make_directory(fixture, "aside");
	write_file(fixture, "aside/one", "");
	watch_root(fixture, "root");
	move(fixture, "aside", "root/in");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one ");
	move(fixture, "root/in", "root/renamed");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one one ");
	write_file(fixture, "root/renamed/two", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one one two ");
	move(fixture, "root/renamed", "out");
	dispatch(fixture);
	write_file(fixture, "out/three", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "one one two ");
}

static void test_a_root_that_is_made_anew(void **state)
{
	struct fixture *fixture = *state;
	char path[256];

	make_directory(fixture, "root");
	watch_root(fixture, "root");
	assert_int_equal(removetree(in(fixture, "root", path), NULL), 0);
	dispatch(fixture);
	make_directory(fixture, "root");
	write_file(fixture, "root/again", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "again ");
}

static void test_two_parties_in_one_directory(void **state)
{
	struct fixture *fixture = *state;

	make_directory(fixture, "root");
	make_directory(fixture, "root/x");
	watch_root(fixture, "root");
	watch_root(fixture, "root/x");
	write_file(fixture, "root/x/both", "");
	write_file(fixture, "root/first", "");
	dispatch(fixture);
	assert_string_equal(fixture->seen, "both both first ");
}

/* --- the ledger --- */

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

/* --- state files --- */

static void make_statefiles(struct fixture *fixture)
{
	static const char *const json[] = {"**/*.json", NULL}, *const temporary[] = {"**/*.tmp", "**/.new-*", NULL};

	assert_int_equal(
	    statefiles_create(&fixture->statefiles,
		&(struct statefiles_options){
		    .history = fixture->history, .directory = fixture->dir, .json = json, .temporary = temporary},
		NULL),
	    0);
	assert_int_equal(statefiles_watch(fixture->statefiles, fixture->watch, NULL), 0);
}

/* "+NAME " for a file that was whole, "-NAME " for one that was not, "*" behind one that was rewritten in place. */
static void statefiles(struct fixture *fixture, char *ret, size_t size)
{
	struct history_view view = history_view(fixture->history);

	ret[0] = '\0';
	for (size_t i = 0; i < view.count; i++) {
		size_t used = strlen(ret);

		if (view.ops[i].kind == OP_STATEFILE)
			snprintf(ret + used, size - used, "%c%s%s ", view.ops[i].type == OP_OK ? '+' : '-',
			    view.ops[i].actor, strstr(view.ops[i].detail, "in place") ? "*" : "");
	}
}

static void test_a_file_is_seen_as_a_reader_sees_it(void **state)
{
	struct fixture *fixture = *state;
	char text[256], path[256];
	int fd;

	make_directory(fixture, "d");
	make_statefiles(fixture);
	write_file(fixture, "d/.new-a.json", "{\"a\": "); /* nobody reads it yet */
	dispatch(fixture);
	write_file(fixture, "d/.new-a.json", "{\"a\": 1}");
	move(fixture, "d/.new-a.json", "d/a.json");
	dispatch(fixture);
	statefiles(fixture, text, sizeof text);
	assert_string_equal(text, "+d/a.json ");

	fd = open(in(fixture, "d/a.json", path), O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	dispatch(fixture); /* at this moment it is empty */
	assert_int_equal(write(fd, "{}", 2), 2);
	close(fd);
	dispatch(fixture);
	statefiles(fixture, text, sizeof text);
	assert_string_equal(text, "+d/a.json -d/a.json +d/a.json* ");
}

static void test_a_file_that_vanished_is_no_finding(void **state)
{
	struct fixture *fixture = *state;
	char text[256], path[256];

	make_statefiles(fixture);
	write_file(fixture, "gone.json", "half");
	assert_int_equal(unlink(in(fixture, "gone.json", path)), 0);
	dispatch(fixture);
	statefiles(fixture, text, sizeof text);
	assert_string_equal(text, "");
}

static void test_audit_looks_at_all(void **state)
{
	struct fixture *fixture = *state;
	char text[256];

	make_directory(fixture, "d");
	write_file(fixture, "d/x.tmp", "");
	make_statefiles(fixture);
	write_file(fixture, "d/bad.json", "[1, 2");
	assert_int_equal(statefiles_audit(fixture->statefiles, NULL), 0);
	statefiles(fixture, text, sizeof text);
	assert_true(!strcmp(text, "-d/x.tmp -d/bad.json ") || !strcmp(text, "-d/bad.json -d/x.tmp "));
}

/* --- claims --- */

static void test_a_claim_found_and_told_of_is_one(void **state)
{
	struct fixture *fixture = *state;
	struct claims *claims;
	char path[256];

	make_directory(fixture, "d");
	watch_root(fixture, "d");
	assert_int_equal(claims_create(&claims, fixture->history, in(fixture, "d/slos.json", path), NULL), 0);
	write_file(fixture, "d/slos.json", "{\"slos\": [{\"name\": \"x\", \"current\": 1, \"status\": \"green\"}]}");
	assert_int_equal(claims_watch(claims, fixture->watch, NULL), 0); /* found ... */
	dispatch(fixture);                                               /* ... and told of */
	assert_int_equal(history_count(fixture->history), 1);
	write_file(fixture, "d/slos.json", "{\"slos\": [{\"name\": \"x\", \"current\": 0, \"status\": \"red\"}, {}]}");
	dispatch(fixture);
	write_file(fixture, "d/slos.json", "{\"slos\": ");
	dispatch(fixture);
	assert_int_equal(history_count(fixture->history), 3);
	assert_int_equal(history_view(fixture->history).ops[0].value, 1);
	assert_int_equal(history_view(fixture->history).ops[1].value, 0); /* no "met": the word counts */
	watch_destroy(fixture->watch);
	fixture->watch = NULL;
	claims_destroy(claims);
}

/* --- agents --- */

static void test_an_agent_waits_for_its_task(void **state)
{
	struct fixture *fixture = *state;
	char pid[32];

	assert_int_equal(agents_create(&fixture->agents,
			     &(struct agents_options){.history = fixture->history,
				 .state_dir = fixture->dir,
				 .pid_files = "agents/*/pid",
				 .task_files = "agents/*/task"},
			     NULL),
	    0);
	assert_int_equal(agents_watch(fixture->agents, fixture->watch, NULL), 0);
	snprintf(pid, sizeof pid, "%d\n", (int)getpid());
	make_directory(fixture, "agents");
	make_directory(fixture, "agents/x");
	write_file(fixture, "agents/x/pid", pid);
	dispatch(fixture);
	assert_int_equal(history_count(fixture->history), 0);
	write_file(fixture, "agents/x/task.new", "the task\n");
	move(fixture, "agents/x/task.new", "agents/x/task");
	write_file(fixture, "agents/x/pid", pid); /* the same again */
	dispatch(fixture);
	assert_int_equal(history_count(fixture->history), 1);
	assert_string_equal(history_view(fixture->history).ops[0].task, "the task");
	assert_string_equal(history_view(fixture->history).ops[0].actor, "x");
	write_file(fixture, "agents/x/pid", "nonsense");
	make_directory(fixture, "agents/y");
	write_file(fixture, "agents/y/pid", "0");
	dispatch(fixture);
	assert_int_equal(history_count(fixture->history), 1);
}

#define WATCH_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    WATCH_TEST(test_a_root_that_comes_later),
	    WATCH_TEST(test_directories_below_are_watched),
	    WATCH_TEST(test_a_directory_that_moves_in_and_out),
	    WATCH_TEST(test_a_root_that_is_made_anew),
	    WATCH_TEST(test_two_parties_in_one_directory),
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
	    WATCH_TEST(test_a_file_is_seen_as_a_reader_sees_it),
	    WATCH_TEST(test_a_file_that_vanished_is_no_finding),
	    WATCH_TEST(test_audit_looks_at_all),
	    WATCH_TEST(test_a_claim_found_and_told_of_is_one),
	    WATCH_TEST(test_an_agent_waits_for_its_task),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
