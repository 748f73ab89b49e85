/* SPDX-License-Identifier: Apache-2.0 */
/* file-remove: its hooks, on real files, and on everything that could lead it astray. */
#include "plugin_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BINARY_SIZE 150001 /* more than is copied at once */

static const char *at(const char *dir, const char *name)
{
	static char paths[4][512];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s", dir, name);
	return path;
}

static void put(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void assert_content(const char *path, const char *text)
{
	char found[256] = "";
	FILE *file = fopen(path, "re");

	if (!file)
		fail_msg("%s is not there", path);
	assert_int_equal(fread(found, 1, sizeof found - 1, file), strlen(text));
	fclose(file);
	assert_string_equal(found, text);
}

static bool there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static char tree[160]; /* the worktree of the agent a-1: state/tree */

static int setup(void **state)
{
	struct plugin *p;
	struct tritone_target *t;

	plugin_setup(state);
	p = *state;
	snprintf(tree, sizeof tree, "%s/tree", p->state);
	assert_int_equal(mkdir(tree, 0700), 0);
	assert_int_equal(mkdir(at(tree, "src"), 0700), 0);
	assert_int_equal(mkdir(at(tree, ".git"), 0700), 0);
	put(at(tree, ".git/config"), "not to be touched\n");
	put(at(tree, "src/a.c"), "int a;\n");
	put(at(p->outside, "a.c"), "somebody else's\n");
	t = plugin_target(p, TRITONE_TARGET_AGENT, "a-1");
	t->task = "t-1";
	t->worktree = tree;
	plugin_use(p, "file-remove", NULL);
	return 0;
}

static int plan(struct plugin *p)
{
	return p->fault->plan(&p->call, p->undo, &p->error);
}

static int inject(struct plugin *p)
{
	return p->fault->inject(&p->call, p->undo, &p->error);
}

/* ---- removed and restored ---- */

static void read_all(const char *path, unsigned char *bytes, struct stat *st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, bytes, BINARY_SIZE + 1), BINARY_SIZE);
	assert_int_equal(fstat(fd, st), 0);
	close(fd);
}

static void test_byte_for_byte(void **state)
{
	struct plugin *p = *state;
	unsigned char *before = malloc(BINARY_SIZE + 1), *after = malloc(BINARY_SIZE + 1);
	const struct timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 1}, {.tv_sec = 2000, .tv_nsec = 123456789}};
	char path[300];
	struct stat was, is, kept;
	size_t i;
	int fd;

	assert_true(before && after);
	snprintf(path, sizeof path, "%s/src/image.bin", tree);
	for (i = 0; i < BINARY_SIZE; i++)
		before[i] = (unsigned char)(i * 31 ^ i >> 8);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, before, BINARY_SIZE), BINARY_SIZE);
	assert_int_equal(fchmod(fd, 04751), 0);
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
	read_all(path, before, &was);

	plugin_use(p, "file-remove", "pattern=*.bin", NULL);
	plugin_plan(p);
	assert_true(there(path));
	assert_has(p->fake.seen, "file=src/image.bin\n");
	assert_int_equal(plugin_verify(p), TRITONE_NEVER); /* nothing was done */
	plugin_inject(p);
	assert_false(there(path));
	assert_has(p->fake.seen, "removed-path=src/image.bin\nremoved-task=t-1\nremoved-bytes=150001\n");
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	read_all(at(p->keep, "f-1.file"), after, &kept);
	assert_memory_equal(after, before, BINARY_SIZE);

	plugin_revert(p);
	read_all(path, after, &is);
	assert_memory_equal(after, before, BINARY_SIZE);
	assert_int_equal(is.st_mode, was.st_mode);
	assert_int_equal(is.st_uid, was.st_uid);
	assert_int_equal(is.st_gid, was.st_gid);
	assert_int_equal(is.st_mtim.tv_sec, 2000);
	assert_int_equal(is.st_mtim.tv_nsec, 123456789);
	plugin_revert(p);
	assert_true(there(at(p->keep, "f-1.file"))); /* for the post-mortem */
	free(before);
	free(after);
}

static void test_what_came_meanwhile_is_kept(void **state)
{
	struct plugin *p = *state;

	plugin_plan(p);
	plugin_inject(p);
	put(at(tree, "src/a.c"), "restored by the system\n");
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, "another file is in its place");
	plugin_revert(p);
	assert_content(at(tree, "src/a.c"), "restored by the system\n");
	assert_int_equal(unlink(at(tree, "src/a.c")), 0);
	assert_int_equal(symlink("/nonexistent", at(tree, "src/a.c")), 0); /* this, too, is something */
	plugin_revert(p);
	assert_int_equal(unlink(at(tree, "src/a.c")), 0);
	assert_int_equal(rmdir(at(tree, "src")), 0);
	plugin_revert(p);
	assert_false(there(at(tree, "src")));
}

static void test_half_way(void **state)
{
	struct plugin *p = *state;
	struct stat before, after;

	plugin_plan(p);
	assert_int_equal(stat(at(tree, "src/a.c"), &before), 0);
	put(at(p->keep, "f-1.file"), "int a;\n"); /* the copy was made, then the runner died */
	assert_int_equal(plugin_verify(p), TRITONE_NEVER);
	assert_has(p->proof.text, "is still there");
	plugin_revert(p);
	assert_int_equal(stat(at(tree, "src/a.c"), &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
}

static void test_a_worktree_that_has_gone(void **state)
{
	struct plugin *p = *state;
	char command[256];

	plugin_plan(p);
	plugin_inject(p);
	snprintf(command, sizeof command, "rm -rf '%s'", tree);
	assert_int_equal(system(command), 0);
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
	assert_has(p->proof.text, "its worktree is gone since");
	plugin_revert(p);
	assert_false(there(tree));
	plugin_failed(p, plan(p), ENOENT, tree);
}

/* Not mounted, or moved away: that the file could be put back is not given up. */
static void test_a_system_out_of_sight(void **state)
{
	struct plugin *p = *state;
	char away[300];

	plugin_plan(p);
	plugin_inject(p);
	snprintf(away, sizeof away, "%s.away", p->state);
	assert_int_equal(rename(p->state, away), 0);
	plugin_failed(p, p->fault->revert(&p->call, p->undo, &p->error), ENOMEDIUM, p->state);
	assert_int_equal(rename(away, p->state), 0);
	plugin_revert(p);
	assert_true(there(at(tree, "src/a.c")));
}

/* An empty directory in its place, as the mount point of what is not mounted, is not the system either. */
static void test_another_directory_in_its_place(void **state)
{
	struct plugin *p = *state;
	struct tritone_undo old;
	char away[300];

	plugin_plan(p);
	plugin_inject(p);
	snprintf(away, sizeof away, "%s.away", p->state);
	assert_int_equal(rename(p->state, away), 0);
	assert_int_equal(mkdir(p->state, 0755), 0);
	plugin_failed(
	    p, p->fault->revert(&p->call, p->undo, &p->error), ENOMEDIUM, "is not the directory that src/a.c was");
	/* A record of version 1 ends before the system's identity. */
	old = *p->undo;
	old.size -= 40;
	old.bytes[0] = 1;
	assert_int_equal(p->fault->revert(&p->call, &old, &p->error), 0);
	assert_int_equal(rmdir(p->state), 0);
	assert_int_equal(rename(away, p->state), 0);
	plugin_revert(p);
	assert_true(there(at(tree, "src/a.c")));
}

/* ---- never elsewhere ---- */

static void test_links_are_not_chosen(void **state)
{
	struct plugin *p = *state;
	uint64_t seed;

	assert_int_equal(symlink(at(p->outside, "a.c"), at(tree, "link.c")), 0);
	assert_int_equal(symlink(p->outside, at(tree, "out")), 0);
	assert_int_equal(mkfifo(at(tree, "pipe.c"), 0600), 0);
	plugin_use(p, "file-remove", "pattern=link.c", NULL);
	plugin_failed(p, plan(p), ENOENT, "no file of the worktree matches 'link.c'");
	plugin_use(p, "file-remove", "pattern=out/*", NULL);
	plugin_failed(p, plan(p), ENOENT, "no file");
	plugin_use(p, "file-remove", "pattern=*config", NULL);
	plugin_failed(p, plan(p), ENOENT, "no file"); /* of the repository's own */
	plugin_use(p, "file-remove", NULL);
	for (seed = 0; seed < 50; seed++) {
		p->fake.random = seed;
		p->fake.seen[0] = '\0';
		plugin_plan(p);
		assert_has(p->fake.seen, "file=src/a.c\n");
	}
}

/* The directory of the file becomes a link to somewhere else, where a file of the same name is. */
static void swap(struct plugin *p, const char *path)
{
	char aside[300];

	snprintf(aside, sizeof aside, "%s/aside", p->state);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(symlink(p->outside, path), 0);
}

static void test_a_link_before_inject(void **state)
{
	struct plugin *p = *state;

	plugin_plan(p);
	swap(p, at(tree, "src"));
	assert_int_equal(inject(p), -1);
	assert_content(at(p->outside, "a.c"), "somebody else's\n");
	assert_content(at(p->state, "aside/a.c"), "int a;\n");
	plugin_revert(p);
}

static void test_a_link_before_revert(void **state)
{
	struct plugin *p = *state;

	plugin_plan(p);
	plugin_inject(p);
	assert_int_equal(unlink(at(p->outside, "a.c")), 0);
	swap(p, at(tree, "src"));
	plugin_revert(p);
	assert_false(there(at(p->outside, "a.c")));
	assert_int_equal(plugin_verify(p), TRITONE_FELT);
}

static void test_a_link_for_the_worktree(void **state)
{
	struct plugin *p = *state;

	assert_int_equal(mkdir(at(p->outside, "src"), 0700), 0);
	plugin_plan(p);
	plugin_inject(p);
	swap(p, tree);
	plugin_revert(p);
	assert_false(there(at(p->outside, "src/a.c")));
	put(at(p->outside, "src/a.c"), "somebody else's\n");
	assert_int_equal(inject(p), -1);
	assert_content(at(p->outside, "src/a.c"), "somebody else's\n");
}

static void test_another_file_of_that_name(void **state)
{
	struct plugin *p = *state;

	plugin_plan(p);
	put(at(tree, "new"), "new\n");
	assert_int_equal(rename(at(tree, "new"), at(tree, "src/a.c")), 0);
	plugin_failed(p, inject(p), ESTALE, "not the file any more that was chosen");
	assert_content(at(tree, "src/a.c"), "new\n");
	assert_false(there(at(p->keep, "f-1.file")));
}

static void test_a_worktree_elsewhere(void **state)
{
	struct plugin *p = *state;
	char link[300];

	p->fake.targets[0].worktree = p->outside;
	plugin_failed(p, plan(p), EPERM, "is outside the system's directory");
	snprintf(link, sizeof link, "%s/link", p->state);
	assert_int_equal(symlink(p->outside, link), 0);
	p->fake.targets[0].worktree = link;
	plugin_failed(p, plan(p), EPERM, "is outside the system's directory");
	snprintf(link, sizeof link, "%s/tree/../../state-not", p->state);
	plugin_failed(p, plan(p), EPERM, "is outside the system's directory");
	p->fake.targets[0].worktree = p->state; /* the system's own directory is nobody's worktree */
	plugin_failed(p, plan(p), EPERM, "is outside the system's directory");
	p->fake.targets[0].worktree = "";
	plugin_failed(p, plan(p), ESRCH, "no agent with a worktree");
	assert_content(at(p->outside, "a.c"), "somebody else's\n");
}

/* A record that leads elsewhere is damaged, or somebody's work: it is followed by nobody. */
static void test_a_record_that_leads_elsewhere(void **state)
{
	static const char *const ways[] = {"../state-not", "/etc", "tree/../../state-not"};
	struct plugin *p = *state;
	size_t i, place;

	plugin_plan(p);
	plugin_inject(p);
	assert_int_equal(unlink(at(p->outside, "a.c")), 0);
	for (place = 0; place < p->undo->size && memcmp(p->undo->bytes + place, "tree", 5) != 0; place++)
		;
	assert_in_range(place, 1, p->undo->size - 100);
	for (i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		memcpy(p->undo->bytes + place, ways[i], strlen(ways[i]) + 1);
		(void)p->fault->revert(&p->call, p->undo, &p->error);
		assert_int_equal(inject(p), -1);
	}
	assert_false(there(at(p->outside, "a.c")));
	assert_false(there(at(p->outside, "src")));
	memset(p->undo->bytes + 4, 'x', p->undo->size - 4);
	plugin_failed(p, p->fault->revert(&p->call, p->undo, &p->error), EINVAL, "damaged");
	plugin_failed(p, p->fault->verify(&p->call, p->undo, &p->proof, &p->error), EINVAL, "damaged");
	plugin_failed(p, inject(p), EINVAL, "damaged");
}

/* ---- which ---- */

static void test_which_worktree_and_file(void **state)
{
	struct plugin *p = *state;
	struct tritone_target *other = plugin_target(p, TRITONE_TARGET_AGENT, "a-2");
	char second[160], one[2048];
	bool first_tree = false, second_tree = false;
	uint64_t seed;

	snprintf(second, sizeof second, "%s/tree-2", p->state);
	assert_int_equal(mkdir(second, 0700), 0);
	put(at(second, "x.md"), "x\n");
	put(at(second, "y.md"), "y\n");
	other->worktree = second;
	for (seed = 0; seed < 40; seed++) {
		p->fake.random = seed;
		p->fake.seen[0] = '\0';
		plugin_plan(p);
		memcpy(one, p->fake.seen, sizeof one);
		first_tree |= strstr(one, "a.c") != NULL;
		second_tree |= strstr(one, ".md") != NULL;
		p->fake.random = seed;
		p->fake.seen[0] = '\0';
		plugin_plan(p);
		assert_string_equal(p->fake.seen, one);
	}
	assert_true(first_tree && second_tree);
	other->flags = TRITONE_TARGET_OF_EVENT;
	for (seed = 0; seed < 20; seed++) {
		p->fake.random = seed;
		p->fake.seen[0] = '\0';
		plugin_plan(p);
		assert_has(p->fake.seen, ".md\n");
	}
	plugin_use(p, "file-remove", "agent=t-1", NULL);
	p->fake.seen[0] = '\0';
	plugin_plan(p);
	assert_has(p->fake.seen, "file=src/a.c\n");
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, plugin_teardown)
	    T(test_byte_for_byte),
	    T(test_what_came_meanwhile_is_kept),
	    T(test_half_way),
	    T(test_a_worktree_that_has_gone),
	    T(test_a_system_out_of_sight),
	    T(test_another_directory_in_its_place),
	    T(test_links_are_not_chosen),
	    T(test_a_link_before_inject),
	    T(test_a_link_before_revert),
	    T(test_a_link_for_the_worktree),
	    T(test_another_file_of_that_name),
	    T(test_a_worktree_elsewhere),
	    T(test_a_record_that_leads_elsewhere),
	    T(test_which_worktree_and_file),
	};

	return plugin_fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
