/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's repository: landing once, under the epoch, and worktrees that lose nothing in
 * silence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <git2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/repo.h"
#include "io/worktree.h"

struct room {
	char dir[64];
	char git[80];
	char tree[80]; /* a worktree */
	struct repo *repo;
	char base[REPO_ID_SIZE];
	struct error err;
};

__attribute__((format(printf, 1, 2))) static void run(const char *format, ...)
{
	char command[512];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof command, format, args);
	va_end(args);
	assert_int_equal(system(command), 0);
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static bool there(const char *dir, const char *name)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return lstat(path, &st) == 0;
}

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);

	if (!room)
		return -1;
	*state = room;
	snprintf(room->dir, sizeof room->dir, "/tmp/test-conductor-git-XXXXXX");
	if (!mkdtemp(room->dir))
		return -1;
	snprintf(room->git, sizeof room->git, "%s/repo", room->dir);
	snprintf(room->tree, sizeof room->tree, "%s/t1-1", room->dir);
	if (repo_init(room->git, &room->err) != 0 || repo_open(&room->repo, room->git, &room->err) != 0 ||
	    repo_head(room->repo, room->base, &room->err) != 0) {
		fprintf(stderr, "%s\n", room->err.text);
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;

	repo_close(room->repo);
	worktree_remove(room->dir, NULL);
	free(room);
	return 0;
}

/* A tree made from `base` with one more file. */
static void make_result(struct room *room, const char *name, const char *text, char ret_tree[REPO_ID_SIZE])
{
	assert_int_equal(worktree_make(room->repo, room->tree, room->base, &room->err), 0);
	put(room->tree, name, text);
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, false, ret_tree, &room->err), 0);
}

static struct landing landing_of(struct room *room, const char *task, const char *tree, uint64_t epoch)
{
	return (struct landing){
	    .task = task, .attempt = 1, .epoch = epoch, .base = room->base, .tree = tree, .time_s = 1700000000};
}

static unsigned count_commits(struct room *room)
{
	git_repository *git = NULL;
	git_revwalk *walk = NULL;
	unsigned count = 0;
	git_oid id;

	assert_int_equal(git_repository_open_bare(&git, room->git), 0);
	assert_int_equal(git_revwalk_new(&walk, git), 0);
	assert_int_equal(git_revwalk_push_ref(walk, REPO_MAIN), 0);
	while (git_revwalk_next(&id, walk) == 0)
		count++;
	git_revwalk_free(walk);
	git_repository_free(git);
	return count;
}

static void test_init_twice_changes_nothing(void **state)
{
	struct room *room = *state;
	char head[REPO_ID_SIZE];

	assert_int_equal(repo_init(room->git, &room->err), 0);
	assert_int_equal(repo_head(room->repo, head, &room->err), 0);
	assert_string_equal(head, room->base);
	assert_int_equal(count_commits(room), 1);
}

static void test_landing_and_finding(void **state)
{
	struct room *room = *state;
	char one[REPO_ID_SIZE], two[REPO_ID_SIZE], commit[REPO_ID_SIZE], found[REPO_ID_SIZE];
	struct landing landing;
	uint32_t attempt = 0;

	assert_int_equal(repo_take_epoch(room->repo, 3, &room->err), 0);
	make_result(room, "one.md", "1\n", one);
	make_result(room, "two.md", "2\n", two);
	assert_int_equal(repo_find(room->repo, "t-one", found, &attempt, &room->err), 0);

	landing = landing_of(room, "t-one", one, 3);
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_LANDED);
	assert_int_equal(repo_find(room->repo, "t-one", found, &attempt, &room->err), 1);
	assert_string_equal(found, commit);
	assert_int_equal(attempt, 1);
	assert_int_equal(repo_find(room->repo, "t-on", found, &attempt, &room->err), 0);

	/* The second is based on the old main: it is merged, the first one's file stays. */
	landing = landing_of(room, "t-two", two, 3);
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_LANDED);
	assert_int_equal(worktree_make(room->repo, room->tree, commit, &room->err), 0);
	assert_true(there(room->tree, "one.md"));
	assert_true(there(room->tree, "two.md"));
	assert_int_equal(count_commits(room), 3);
}

static void test_conflict_lands_nothing(void **state)
{
	struct room *room = *state;
	char one[REPO_ID_SIZE], two[REPO_ID_SIZE], commit[REPO_ID_SIZE];
	struct landing landing;

	assert_int_equal(repo_take_epoch(room->repo, 1, &room->err), 0);
	make_result(room, "README.md", "mine\n", one);
	make_result(room, "README.md", "yours\n", two);
	landing = landing_of(room, "a", one, 1);
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_LANDED);
	landing = landing_of(room, "b", two, 1);
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_CONFLICT);
	assert_int_equal(count_commits(room), 2);
}

static void test_a_newer_epoch_fences(void **state)
{
	struct room *room = *state;
	char tree[REPO_ID_SIZE], commit[REPO_ID_SIZE];
	struct landing landing;
	uint64_t epoch = 0;

	assert_int_equal(repo_take_epoch(room->repo, 4, &room->err), 0);
	make_result(room, "late.md", "late\n", tree);
	assert_int_equal(repo_take_epoch(room->repo, 5, &room->err), 0);
	landing = landing_of(room, "late", tree, 4);
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_FENCED);
	assert_int_equal(count_commits(room), 1);
	assert_int_equal(repo_take_epoch(room->repo, 4, &room->err), -1);
	assert_int_equal(room->err.code, ESTALE);
	assert_int_equal(repo_take_epoch(room->repo, 5, &room->err), 0);
	assert_int_equal(repo_read_epoch(room->repo, &epoch, &room->err), 0);
	assert_int_equal(epoch, 5);
}

static void test_locks_of_a_dead_process_are_cleaned(void **state)
{
	struct room *room = *state;
	char tree[REPO_ID_SIZE], commit[REPO_ID_SIZE];
	struct landing landing;

	assert_int_equal(repo_take_epoch(room->repo, 1, &room->err), 0);
	make_result(room, "x.md", "x\n", tree);
	put(room->git, "refs/heads/main.lock", "");
	put(room->git, "refs/conductor/epoch.lock", "");
	put(room->git, "objects/tmp_object_git2_abcdef", "half");
	landing = landing_of(room, "x", tree, 1);
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_UNKNOWN);
	assert_int_equal(count_commits(room), 1);
	assert_int_equal(repo_clean(room->repo, &room->err), 0);
	assert_false(there(room->git, "objects/tmp_object_git2_abcdef"));
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_LANDED);
	assert_int_equal(count_commits(room), 2);
}

static void test_an_unwritable_repository_is_unknown(void **state)
{
	struct room *room = *state;
	char tree[REPO_ID_SIZE], commit[REPO_ID_SIZE];
	struct landing landing;

	assert_int_equal(repo_take_epoch(room->repo, 1, &room->err), 0);
	make_result(room, "x.md", "x\n", tree);
	run("mv %s/refs/heads/main /tmp/nowhere-$$ && rm /tmp/nowhere-$$", room->git);
	landing = landing_of(room, "x", tree, 1);
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_UNKNOWN);
	assert_true(room->err.text[0] != '\0');
}

static void test_a_vanished_file_is_no_deletion(void **state)
{
	struct room *room = *state;
	char tree[REPO_ID_SIZE], path[160];

	assert_int_equal(worktree_make(room->repo, room->tree, room->base, &room->err), 0);
	snprintf(path, sizeof path, "%s/docs/style.md", room->tree);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, false, tree, &room->err), -1);
	assert_int_equal(room->err.code, ENOENT);
	assert_non_null(strstr(room->err.text, "docs/style.md"));
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, true, tree, &room->err), 0);
	assert_int_equal(worktree_restore(room->repo, room->tree, room->base, &room->err), 0);
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, false, tree, &room->err), 0);
	assert_true(there(room->tree, "docs/style.md"));

	run("rm -r %s/docs", room->tree);
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, false, tree, &room->err), -1);
	assert_int_equal(room->err.code, ENOENT);
	run("rm -r %s", room->tree);
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, true, tree, &room->err), -1);
	assert_int_equal(room->err.code, ENOENT);
}

static void test_worktree_edges(void **state)
{
	struct room *room = *state;
	char tree[REPO_ID_SIZE], again[REPO_ID_SIZE];
	struct stat st;

	/* Left-overs go, links stay links, files being written are left out, empty folders too. */
	assert_int_equal(worktree_make(room->repo, room->tree, room->base, &room->err), 0);
	put(room->tree, "left-over", "x");
	assert_int_equal(worktree_make(room->repo, room->tree, room->base, &room->err), 0);
	assert_false(there(room->tree, "left-over"));
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, false, tree, &room->err), 0);
	put(room->tree, TMPNAME_AGENT "1", "half");
	run("mkdir %s/empty", room->tree);
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, false, again, &room->err), 0);
	assert_string_equal(tree, again);

	run("cd %s && ln -s /etc/passwd link && chmod +x src/main.txt", room->tree);
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, false, tree, &room->err), 0);
	assert_int_equal(worktree_make(room->repo, room->tree, tree, &room->err), 0);
	assert_int_equal(lstat(room->tree, &st), 0);
	run("cd %s && test -L link && test -x src/main.txt", room->tree);

	run("mkfifo %s/pipe", room->tree);
	assert_int_equal(worktree_snapshot(room->repo, room->tree, room->base, false, tree, &room->err), -1);
	assert_int_equal(room->err.code, ELOOP);
	assert_int_equal(worktree_remove(room->tree, &room->err), 0);
	assert_int_equal(worktree_remove(room->tree, &room->err), 0);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

/* Its tree was there when the record was written, and somebody has removed it: it would be tried for ever. */
static void test_a_result_that_is_gone_never_lands(void **state)
{
	struct room *room = *state;
	char commit[REPO_ID_SIZE], tree[REPO_ID_SIZE] = "00112233445566778899aabbccddeeff00112233";
	struct landing landing = landing_of(room, "t1", tree, 3);

	assert_int_equal(repo_take_epoch(room->repo, 3, &room->err), 0);
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_CONFLICT);
	assert_int_equal(count_commits(room), 1);
	make_result(room, "a.txt", "a", tree);
	assert_int_equal(repo_land(room->repo, &landing, commit, &room->err), REPO_LANDED);
}

static void test_a_killed_init_is_made_good(void **state)
{
	struct room *room = *state;
	char head[REPO_ID_SIZE];

	/* It was killed while it made main, and had it locked. */
	run("rm %s/refs/heads/main && touch %s/refs/heads/main.lock", room->git, room->git);
	assert_int_equal(repo_init(room->git, &room->err), 0);
	assert_int_equal(repo_head(room->repo, head, &room->err), 0);
	/* But a repository at work is not touched. */
	run("touch %s/refs/heads/main.lock", room->git);
	assert_int_equal(repo_init(room->git, &room->err), 0);
	assert_true(there(room->git, "refs/heads/main.lock"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_init_twice_changes_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_landing_and_finding, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_conflict_lands_nothing, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_newer_epoch_fences, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_locks_of_a_dead_process_are_cleaned, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_an_unwritable_repository_is_unknown, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_vanished_file_is_no_deletion, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_worktree_edges, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_result_that_is_gone_never_lands, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_killed_init_is_made_good, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
