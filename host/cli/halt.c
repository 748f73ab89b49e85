/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone halt`: the kill switch by hand. A halt file in a run's directory ends that run; one in the state directory ends all and blocks every start. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/runs.h"
#include "cli/verb.h"
#include "runner/runner.h"

#define WAIT_MS 30000 /* so long runs may take to undo their faults and to end their systems */
#define GAP_MS  50
#define UNENDED 1

static const char usage[] =
    "usage: tritone halt [--no-wait] ID ...   end these runs: their faults are undone, their systems ended\n"
    "       tritone halt [--no-wait] --all    end every run, and let nothing start until it is cleared\n"
    "       tritone halt --clear              let runs start again\n\n"
    "It waits up to 30 s for their end, unless --no-wait. A run that was asked ends, even if --clear follows at once.\n"
    "IDs are those of `tritone status`. Exit status: 0, 1 some had not ended after 30 s, 2 no such run.\n";

/* A run that was asked to end, and the tritone that is at it. */
struct asked {
	char *dir;
	pid_t host;
	int pidfd; /* -1: none, its undo log tells */
};

/* `word` says who asked; see rundir_halted. */
static int touch(const char *path, const char *word)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, word, strlen(word)) < 0) {
		fprintf(stderr, "tritone halt: %s: %s\n", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return 2;
	}
	close(fd);
	return 0;
}

static int ask(const char *dir, const char *word, struct asked *asked)
{
	char path[PATH_MAX];

	*asked = (struct asked){.dir = strdup(dir), .host = undo_host(dir), .pidfd = -1};
	if (asked->host > 0)
		asked->pidfd = (int)syscall(SYS_pidfd_open, asked->host, 0);
	if (!asked->dir || snprintf(path, sizeof path, "%s/halt", dir) >= (int)sizeof path)
		return 2;
	return touch(path, word);
}

static bool ended(const struct asked *asked)
{
	struct pollfd p = {.fd = asked->pidfd, .events = POLLIN};

	if (asked->pidfd >= 0)
		return poll(&p, 1, 0) == 1;
	return undo_host(asked->dir) == 0;
}

/* The processes and not only the runs: a suite begins no other run either while the halt file of all is there. */
static int wait_for(const struct asked *asked, size_t count)
{
	int left_ms = WAIT_MS;
	size_t i = 0;

	for (; i < count && left_ms > 0; left_ms -= GAP_MS) {
		while (i < count && ended(&asked[i]))
			i++;
		if (i < count)
			poll(NULL, 0, GAP_MS);
	}
	if (i == count)
		return 0;
	for (; i < count; i++)
		if (!ended(&asked[i]))
			fprintf(stderr, "tritone halt: run %s has not ended after %d s (pid %ld); see tritone status\n",
			    runs_id(asked[i].dir), WAIT_MS / 1000, (long)asked[i].host);
	return UNENDED;
}

static bool is_run(const char *root, const char *id, char *ret_dir, size_t size)
{
	struct stat st;

	return !strchr(id, '/') && id[0] != '.' && snprintf(ret_dir, size, "%s/runs/%s", root, id) < (int)size &&
	       stat(ret_dir, &st) == 0 && S_ISDIR(st.st_mode);
}

static int halt_these(const char *root, char **ids, size_t count, struct asked *asked, size_t *ret_asked)
{
	int status = 0;

	for (size_t i = 0; i < count; i++) {
		char dir[PATH_MAX];

		if (!is_run(root, ids[i], dir, sizeof dir)) {
			fprintf(stderr, "tritone halt: there is no run '%s' in %s/runs; see tritone status\n", ids[i],
			    root);
			status = 2;
		} else {
			status |= ask(dir, "", &asked[(*ret_asked)++]);
		}
	}
	return status;
}

/* The one file stops what is about to start; each run has its own, which stays when the one is cleared. */
static int halt_all(const char *root, char **dirs, size_t count, struct asked *asked, size_t *ret_asked)
{
	char path[PATH_MAX];
	int status;

	if (snprintf(path, sizeof path, "%s/halt", root) >= (int)sizeof path)
		return cli_usage("halt", "the path of %s is too long", root);
	if (mkdir(root, 0755) != 0 && errno != EEXIST) {
		fprintf(stderr, "tritone halt: %s: %s\n", root, strerror(errno));
		return 2;
	}
	status = touch(path, "");
	for (size_t i = 0; status == 0 && i < count; i++)
		if (!undo_host_finished(dirs[i]))
			status = ask(dirs[i], "all\n", &asked[(*ret_asked)++]);
	return status;
}

static int halt_and_wait(const char *root, bool all, char **ids, size_t id_count, bool wait)
{
	char **dirs = NULL;
	size_t dir_count = 0, count = 0, alive = 0, i;
	struct asked *asked;
	struct error err;
	int status;

	/* Listed after the file of all is there, so that no run falls in between. */
	if (all && (status = halt_all(root, NULL, 0, NULL, NULL)) != 0)
		return status;
	if (all && runs_list(&dirs, &dir_count, &err) != 0) {
		fprintf(stderr, "tritone halt: %s\n", err.text);
		return 2;
	}
	asked = calloc(dir_count + id_count + 1, sizeof *asked);
	if (!asked) {
		fputs("tritone halt: no memory\n", stderr);
		status = 2;
		goto out;
	}
	status = all ? halt_all(root, dirs, dir_count, asked, &count) : halt_these(root, ids, id_count, asked, &count);
	for (i = 0; i < count; i++)
		alive += asked[i].host != 0;
	printf("%zu run%s asked to end%s\n", alive, alive == 1 ? "" : "s",
	    alive == 0 ? ""
	    : wait     ? ""
		       : "; not waiting for it");
	fflush(stdout);
	if (wait && alive && status != 2)
		status = wait_for(asked, count);
	if (wait && alive && status == 0)
		printf("ended\n");
	for (i = 0; i < count; i++) {
		free(asked[i].dir);
		if (asked[i].pidfd >= 0)
			close(asked[i].pidfd);
	}
out:
	free(asked);
	runs_free(dirs, dir_count);
	return status;
}

static int clear_halt(const char *root)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/halt", root) >= (int)sizeof path)
		return cli_usage("halt", "the path of %s is too long", root);
	if (unlink(path) != 0 && errno != ENOENT) {
		fprintf(stderr, "tritone halt: %s: %s\n", path, strerror(errno));
		return 2;
	}
	return 0;
}

int verb_halt(int argc, char **argv)
{
	static const struct option options[] = {
	    {"all", no_argument, NULL, 'a'},
	    {"clear", no_argument, NULL, 'c'},
	    {"no-wait", no_argument, NULL, 'n'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *root = cli_state_root();
	int c, all = 0, clear = 0, no_wait = 0;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (c == '?')
			return cli_usage("halt", "wrong arguments");
		all |= c == 'a';
		clear |= c == 'c';
		no_wait |= c == 'n';
	}
	if (all + clear + (optind < argc) != 1)
		return cli_usage("halt", "one of: run ids, --all, --clear");
	if (clear)
		return clear_halt(root);
	return halt_and_wait(root, all, argv + optind, (size_t)(argc - optind), !no_wait);
}
