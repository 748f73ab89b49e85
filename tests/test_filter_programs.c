/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of system calls in programs that nobody here wrote: an interpreter, a runtime with a thread pool (and io_uring if it may), a static one. */
#include "filter_fixture.h"
#include "skip.h"

#define UNUSABLE 200 /* exit status: the set-up itself failed */

/* `OP PATH` as the program's last arguments: "write" opens PATH for writing, "sync" writes and syncs, "rename" writes PATH.new and renames it,
 * "mkdir" makes it. Exits with the errno of what failed, 0 if nothing did, and says "done" in PATH itself where it can. */
static const char node_sync[] =
    "const fs = require('fs'); const [op, path] = process.argv.slice(-2);"
    "try {"
    "  if (op === 'write') fs.writeFileSync(path, 'done');"
    "  else if (op === 'sync') { const fd = fs.openSync(path, 'w'); fs.writeSync(fd, 'done'); fs.fsyncSync(fd); }"
    "  else if (op === 'rename') { fs.writeFileSync(path + '.new', 'done'); fs.renameSync(path + '.new', path); }"
    "  else if (op === 'mkdir') fs.mkdirSync(path);"
    "  else process.exit(200);"
    "} catch (error) { process.exit(-error.errno); }";
/* By way of libuv's threads, or of its io_uring. */
static const char node_async[] =
    "const fs = require('fs/promises'); const [op, path] = process.argv.slice(-2);"
    "async function run() {"
    "  if (op === 'write') await fs.writeFile(path, 'done');"
    "  else if (op === 'sync') { const file = await fs.open(path, 'w'); await file.write('done'); await file.sync();"
    "    await file.close(); }"
    "  else if (op === 'rename') { await fs.writeFile(path + '.new', 'done'); await fs.rename(path + '.new', path); }"
    "  else if (op === 'mkdir') await fs.mkdir(path);"
    "  else process.exit(200);"
    "}"
    "run().catch((error) => process.exit(-error.errno));";
static const char node_stream[] =
    "const fs = require('fs'); const [op, path] = process.argv.slice(-2);"
    "if (op !== 'write') process.exit(200);"
    "const out = fs.createWriteStream(path); out.on('error', (error) => process.exit(-error.errno)); out.end('done');";
static const char python[] = "import os, sys\n"
			     "op, path = sys.argv[-2:]\n"
			     "try:\n"
			     "    if op == 'write':\n"
			     "        with open(path, 'w') as f: f.write('done')\n"
			     "    elif op == 'sync':\n"
			     "        with open(path, 'w') as f: f.write('done'); f.flush(); os.fsync(f.fileno())\n"
			     "    elif op == 'rename':\n"
			     "        with open(path + '.new', 'w') as f: f.write('done')\n"
			     "        os.replace(path + '.new', path)\n"
			     "    elif op == 'mkdir': os.mkdir(path)\n"
			     "    else: sys.exit(200)\n"
			     "except OSError as e: sys.exit(e.errno)\n";

struct program {
	const char *name, *command; /* looked for in PATH */
	const char *arguments[4];
	const char *environment; /* NAME=VALUE, or NULL */
	bool only_write;
};

static const struct program programs[] = {
    {"node", "node", {"-e", node_sync, "--"}, NULL, false},
    {"node, by its threads", "node", {"-e", node_async, "--"}, "UV_USE_IO_URING=0", false},
    {"node, with io_uring if it may", "node", {"-e", node_async, "--"}, "UV_USE_IO_URING=1", false},
    {"node, a stream", "node", {"-e", node_stream, "--"}, NULL, true},
    {"python3", "python3", {"-c", python}, NULL, false},
};

static bool find_program(const char *name, char path[PATH_MAX])
{
	const char *at = getenv("PATH");

	while (at && *at) {
		size_t size = strcspn(at, ":");

		if (size && snprintf(path, PATH_MAX, "%.*s/%s", (int)size, at, name) < PATH_MAX &&
		    access(path, X_OK) == 0)
			return true;
		at += size + (at[size] == ':');
	}
	return false;
}

static int run(struct fixture *f, const struct program *p, const char *path, const char *op, const char *file)
{
	const char *argv[12];
	size_t n = 0, i;

	argv[n++] = "/usr/bin/env";
	if (p->environment)
		argv[n++] = p->environment;
	argv[n++] = path;
	for (i = 0; i < COUNT(p->arguments) && p->arguments[i]; i++)
		argv[n++] = p->arguments[i];
	argv[n++] = op;
	argv[n++] = file;
	argv[n] = NULL;
	return exit_status(f, launch(f, argv));
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void judge_writes(struct fixture *f, const struct program *p, const char *path)
{
	uint64_t begin;

	RULE(f, .calls = TRITONE_CALL_WRITE, .error = ENOSPC);
	assert_int_equal(run(f, p, path, "write", at(f->in, "file")), ENOSPC);
	assert_string_equal(content(at(f->in, "file")), "");
	assert_string_equal(stats(f).path, at(f->in, "file"));
	assert_int_equal(run(f, p, path, "write", at(f->out, "file")), 0); /* beside it */
	assert_string_equal(content(at(f->out, "file")), "done");
	RULE(f, .calls = TRITONE_CALL_WRITE, .error = EIO, PERFORM);
	assert_int_equal(run(f, p, path, "write", at(f->in, "file")), EIO);
	/* And yet it was; Python tries what failed once more when the file is dropped: there it is twice. */
	assert_int_equal(strncmp(content(at(f->in, "file")), "done", 4), 0);
	RULE(f, .calls = TRITONE_CALL_WRITE, .mode = TRITONE_ERRNO_DELAY, .delay_ms = 300, .count = 1);
	begin = now_ms();
	assert_int_equal(run(f, p, path, "write", at(f->in, "file")), 0);
	assert_true(now_ms() - begin >= 300);
	assert_int_equal(stats(f).hits, 1);
	clear(f);
	assert_int_equal(run(f, p, path, "write", at(f->in, "file")), 0);
}

static void judge_others(struct fixture *f, const struct program *p, const char *path)
{
	RULE(f, .calls = TRITONE_CALL_SYNC, .error = EIO);
	assert_int_equal(run(f, p, path, "sync", at(f->in, "synced")), EIO);
	assert_string_equal(content(at(f->in, "synced")), "done");
	RULE(f, .calls = TRITONE_CALL_RENAME, .error = ENOSPC);
	assert_int_equal(run(f, p, path, "rename", at(f->in, "renamed")), ENOSPC);
	assert_false(exists(at(f->in, "renamed")));
	RULE(f, .calls = TRITONE_CALL_RENAME, .error = EIO, PERFORM);
	assert_int_equal(run(f, p, path, "rename", at(f->in, "renamed")), EIO);
	assert_true(exists(at(f->in, "renamed")));
	RULE(f, .calls = TRITONE_CALL_CREATE, .error = ENOSPC);
	assert_int_equal(run(f, p, path, "mkdir", at(f->in, "made")), ENOSPC);
	assert_int_equal(run(f, p, path, "write", at(f->in, "new")), ENOSPC);
	assert_false(exists(at(f->in, "made")) || exists(at(f->in, "new")));
	clear(f);
}

static void test_programs(void **state)
{
	struct fixture *f = *state;
	char path[PATH_MAX];
	size_t i, tried = 0;

	for (i = 0; i < COUNT(programs); i++) {
		if (!find_program(programs[i].command, path)) {
			print_message("# skipped: %s is not installed\n", programs[i].command);
			continue;
		}
		print_message("# %s\n", programs[i].name);
		judge_writes(f, &programs[i], path);
		if (!programs[i].only_write)
			judge_others(f, &programs[i], path);
		for (const char *const *name = (const char *const[]){"file", "synced", "renamed", "renamed.new", NULL};
		     *name; name++)
			(void)unlink(at(f->in, *name));
		(void)unlink(at(f->out, "file"));
		tried++;
	}
	assert_true(tried > 0); /* meson itself is a Python */
}

/* A git that commits: many files, renames and links, and a commit that was made though its last rename is said to have failed. */
static void test_git(void **state)
{
	struct fixture *f = *state;
	static const char script[] = "cd \"$1\" && git init -q -b main r && cd r && git config user.name t && git "
				     "config user.email t@localhost &&"
				     " git commit -q --allow-empty -m one || exit 200";
	static const char again[] = "cd \"$1/r\" && git commit -q --allow-empty -m two 2>/dev/null";
	static const char count[] = "cd \"$1/r\" && exit $(git rev-list --count main)";
	const char *const make[] = {"/bin/sh", "-c", script, "sh", f->in, NULL};
	const char *const commit[] = {"/bin/sh", "-c", again, "sh", f->in, NULL};
	const char *const look[] = {"/bin/sh", "-c", count, "sh", f->in, NULL};

	assert_int_equal(exit_status(f, launch(f, make)), 0);
	RULE(f, .calls = ALL, .error = ENOSPC);
	assert_int_not_equal(exit_status(f, launch(f, commit)), 0);
	clear(f);
	assert_int_equal(exit_status(f, launch(f, look)), 1);
	RULE(f, .path = at(f->in, "r/.git/refs/heads"), .calls = TRITONE_CALL_RENAME, .error = EIO, PERFORM);
	assert_int_not_equal(exit_status(f, launch(f, commit)), 0);
	clear(f);
	assert_int_equal(exit_status(f, launch(f, look)), 2); /* what makes a system commit twice */
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_programs),
	    CASE(test_git),
	};
	int status = fixture_begin(argc, argv);

	if (status >= 0)
		return status;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
