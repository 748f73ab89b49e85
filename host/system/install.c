/* SPDX-License-Identifier: Apache-2.0 */
/* The install step: its key, its lock, its commands. */
#include "system/install.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "clock.h"
#include "system/commands.h"
#include "system/copytree.h"
#include "system/tail.h"
#include "system/variables.h"

#define DEPTH_MAX   32
#define LOCK_GAP_MS 100
#define PIECE_SIZE  65536u

/* ---- the key ---- */

static void add_text(XXH3_state_t *hash, const char *text)
{
	XXH3_128bits_update(hash, text, strlen(text) + 1);
}

static int add_file(XXH3_state_t *hash, const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), code = 0;
	char *piece = malloc(PIECE_SIZE);
	ssize_t got = 1;

	if (fd < 0 || !piece)
		code = fd < 0 ? errno : ENOMEM;
	while (!code && got > 0) {
		got = read(fd, piece, PIECE_SIZE);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got < 0)
			code = errno;
		else
			XXH3_128bits_update(hash, piece, (size_t)got);
	}
	free(piece);
	if (fd >= 0)
		close(fd);
	return code ? error_set(err, code, "install: %s: %s", path, strerror(code)) : 0;
}

static int add_tree(XXH3_state_t *hash, const char *path, int depth, struct error *err);

static int is_entry(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int add_directory(XXH3_state_t *hash, const char *path, int depth, struct error *err)
{
	struct dirent **entries;
	int count = scandir(path, &entries, is_entry, alphasort), result = 0;

	if (count < 0)
		return error_set(err, errno, "install: %s: %s", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		char child[PATH_MAX];

		if (result == 0 &&
		    snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name) >= (int)sizeof child)
			result = error_set(err, ENAMETOOLONG, "install: %s: too long", path);
		if (result == 0) {
			add_text(hash, entries[i]->d_name);
			result = add_tree(hash, child, depth + 1, err);
		}
		free(entries[i]);
	}
	free(entries);
	return result;
}

static int add_tree(XXH3_state_t *hash, const char *path, int depth, struct error *err)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return error_set(err, errno, "install: %s: %s", path, strerror(errno));
	if (depth > DEPTH_MAX)
		return error_set(err, ELOOP, "install: %s: too deep", path);
	if (S_ISDIR(st.st_mode))
		return add_directory(hash, path, depth, err);
	if (S_ISREG(st.st_mode))
		return add_file(hash, path, err);
	return error_set(err, EINVAL, "install: %s is neither a file nor a directory", path);
}

/* From the manifest's directory. */
static int input_path(const struct install_options *options, size_t i, char *ret, size_t size, struct error *err)
{
	const char *input = options->manifest->install.inputs.items[i], *slash = strrchr(options->manifest->file, '/');
	char *expanded;
	int length;

	if (spec_expand(&expanded, input, options->lookup, options->lookup_arg, err) != 0)
		return error_context(err, "install");
	if (expanded[0] == '/' || !slash)
		length = snprintf(ret, size, "%s", expanded);
	else
		length = snprintf(
		    ret, size, "%.*s/%s", (int)(slash - options->manifest->file), options->manifest->file, expanded);
	free(expanded);
	return length < (int)size ? 0 : error_set(err, ENAMETOOLONG, "install: %.100s...: too long", ret);
}

int install_dir(const struct install_options *options, char *ret, size_t size, struct error *err)
{
	const struct spec_manifest *m = options->manifest;
	XXH3_state_t *hash = XXH3_createState();
	char path[PATH_MAX];
	XXH128_hash_t key;
	int result = 0;

	if (!hash || XXH3_128bits_reset(hash) != XXH_OK)
		result = error_set(err, ENOMEM, "install: no memory");
	for (size_t i = 0; result == 0 && i < m->install.inputs.count; i++) {
		add_text(hash, m->install.inputs.items[i]);
		result = input_path(options, i, path, sizeof path, err);
		if (result == 0)
			result = add_tree(hash, path, 0, err);
	}
	for (size_t i = 0; result == 0 && i < m->install.command_count; i++)
		for (size_t k = 0; k <= m->install.commands[i].count; k++)
			add_text(hash, m->install.commands[i].items[k] ? m->install.commands[i].items[k] : "");
	if (result == 0) {
		key = XXH3_128bits_digest(hash);
		if (snprintf(ret, size, "%s/%.60s-%016" PRIx64, options->cache_dir, m->name, (uint64_t)key.low64) >=
		    (int)size)
			result = error_set(err, ENAMETOOLONG, "install: %s: too long", options->cache_dir);
	}
	XXH3_freeState(hash);
	return result;
}

/* ---- the lock ---- */

/* The lock's descriptor: held by one tritone at a time, and by none that is dead. */
static int take_lock(const struct install_options *options, const char *dir, struct error *err)
{
	bool told = false;
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof path, "%s.lock", dir) >= (int)sizeof path)
		return error_set(err, ENAMETOOLONG, "install: %s: too long", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return error_set(err, errno, "install: %s: %s", path, strerror(errno));
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			int code = errno;

			close(fd);
			return error_set(err, code, "install: %s: %s", path, strerror(code));
		}
		if (!told && options->progress)
			options->progress(options->progress_arg, "waiting for another tritone that installs it");
		told = true;
		if (command_interrupted(options->interrupt_fd, LOCK_GAP_MS)) {
			close(fd);
			return error_set(err, ECANCELED, "install: interrupted");
		}
	}
	return fd;
}

/* ---- the commands ---- */

static int copy_file(const char *from, const char *to, mode_t mode, struct error *err)
{
	int in = open(from, O_RDONLY | O_CLOEXEC),
	    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode & 0777);
	int code = in < 0 || out < 0 ? errno : 0;

	while (!code) {
		ssize_t moved = copy_file_range(in, NULL, out, NULL, 1 << 20, 0);

		if (moved == 0)
			break;
		if (moved < 0 && errno != EINTR)
			code = errno;
	}
	if (in >= 0)
		close(in);
	if (out >= 0 && close(out) != 0 && !code)
		code = errno;
	return code ? error_set(err, code, "install: %s to %s: %s", from, to, strerror(code)) : 0;
}

/* A directory's content, without its name. */
static int copy_content(const char *from, const char *to, struct error *err)
{
	struct dirent **entries;
	int count = scandir(from, &entries, is_entry, alphasort), result = 0;

	if (count < 0)
		return error_set(err, errno, "install: %s: %s", from, strerror(errno));
	for (int i = 0; i < count; i++) {
		char source[PATH_MAX], target[PATH_MAX];
		struct stat st;

		if (result == 0 &&
		    (snprintf(source, sizeof source, "%s/%s", from, entries[i]->d_name) >= (int)sizeof source ||
			snprintf(target, sizeof target, "%s/%s", to, entries[i]->d_name) >= (int)sizeof target))
			result = error_set(err, ENAMETOOLONG, "install: %s: too long", from);
		if (result == 0 && stat(source, &st) != 0)
			result = error_set(err, errno, "install: %s: %s", source, strerror(errno));
		else if (result == 0)
			result = S_ISDIR(st.st_mode) ? copytree(source, target, err)
						     : copy_file(source, target, st.st_mode, err);
		free(entries[i]);
	}
	free(entries);
	return result;
}

static int copy_inputs(const struct install_options *options, const char *dir, struct error *err)
{
	char from[PATH_MAX], to[PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < options->manifest->install.inputs.count; i++) {
		const char *name;
		int result;

		if (input_path(options, i, from, sizeof from, err) != 0)
			return -1;
		if (stat(from, &st) != 0)
			return error_set(err, errno, "install: %s: %s", from, strerror(errno));
		name = strrchr(from, '/');
		if (snprintf(to, sizeof to, "%s/%s", dir, name ? name + 1 : from) >= (int)sizeof to)
			return error_set(err, ENAMETOOLONG, "install: %s: too long", dir);
		result = S_ISDIR(st.st_mode) ? copy_content(from, dir, err) : copy_file(from, to, st.st_mode, err);
		if (result != 0)
			return -1;
	}
	return 0;
}

static int run_commands(const struct install_options *options, const char *dir, const char *log, struct error *err)
{
	const struct spec_manifest *m = options->manifest;
	int64_t deadline = clock_ms() + m->install.timeout_ms;
	static const struct spec_pairs none = {NULL, 0};
	char **environment = NULL;
	int result = variables_environment(&environment, m, &none, NULL, options->lookup, options->lookup_arg, err);

	for (size_t i = 0; result == 0 && i < m->install.command_count; i++) {
		char **argv = NULL, text[160], how[96], said[128];
		int status = 0;

		result = variables_expand_all(
		    &argv, &m->install.commands[i], NULL, options->lookup, options->lookup_arg, err);
		if (result == 0 && options->progress) {
			snprintf(text, sizeof text, "%zu of %zu: %.60s %.60s", i + 1, m->install.command_count, argv[0],
			    argv[1] ? argv[1] : "");
			options->progress(options->progress_arg, text);
		}
		if (result == 0)
			result = command_run(options->keeper,
			    &(struct command){.name = "install",
				.argv = argv,
				.environment = environment,
				.directory = dir,
				.output = log,
				.timeout_ms = deadline - clock_ms() > 1 ? deadline - clock_ms() : 1,
				.interrupt_fd = options->interrupt_fd},
			    &status, err);
		if (result == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
			command_status(status, how, sizeof how);
			tail_said(log, said, sizeof said);
			result = error_set(err, ECHILD, "install: %s %s%s; see %s", argv[0], how, said, log);
		}
		strings_free(argv);
	}
	strings_free(environment);
	return result;
}

/* In its own place, as many programs write down where they are; only a mark beside it, made at the end, says that it is whole. */
static int make(const struct install_options *options, const char *dir, const char *mark, struct error *err)
{
	char log[PATH_MAX];
	int fd;

	if (snprintf(log, sizeof log, "%s.log", dir) >= (int)sizeof log)
		return error_set(err, ENAMETOOLONG, "install: %s: too long", dir);
	unlink(log);
	if (removetree(dir, err) != 0)
		return error_context(err, "install");
	if (mkdir(dir, 0755) != 0)
		return error_set(err, errno, "install: %s: %s", dir, strerror(errno));
	if (copy_inputs(options, dir, err) != 0 || run_commands(options, dir, log, err) != 0)
		return -1;
	fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return error_set(err, errno, "install: %s: %s", mark, strerror(errno));
	close(fd);
	return 0;
}

int install_make(const struct install_options *options, const char *dir, struct error *err)
{
	char mark[PATH_MAX];
	int lock, result = 0;

	if (snprintf(mark, sizeof mark, "%s.whole", dir) >= (int)sizeof mark)
		return error_set(err, ENAMETOOLONG, "install: %s: too long", dir);
	if (mkdir(options->cache_dir, 0755) != 0 && errno != EEXIST)
		return error_set(err, errno, "install: %s: %s", options->cache_dir, strerror(errno));
	if (access(mark, F_OK) == 0)
		return 0;
	lock = take_lock(options, dir, err);
	if (lock < 0)
		return -1;
	if (access(mark, F_OK) != 0)
		result = make(options, dir, mark, err);
	close(lock);
	return result;
}
