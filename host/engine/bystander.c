/* SPDX-License-Identifier: Apache-2.0 */
/* The services of a system that runs by itself; see bystander.h. */
#include "engine/bystander.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "service/service.h"
#include "system/pathglob.h"
#include "system/textfile.h"

#define CLOCK_SLACK_S 5 /* a clock may have been set between the two */

struct bystander {
	char state_dir[PATH_MAX],
	    pattern[3 * PATH_MAX]; /* the latter for glob(): the former, escaped, and the pid files */
	char pid_files[PATH_MAX];
	char refused[224]; /* why the last pid file that was passed over was */
	int *pids;
	size_t pid_count;
	struct service_client *gateway;
	struct service_server *server;
};

/* "" when there is no such file. */
static void read_line(const char *path, char *buf, size_t size)
{
	if (textfile_line(path, buf, size, NULL))
		buf[0] = '\0';
}

/* When a process was started that began at `ticks` after boot, by the clock of file times. */
static int64_t started_s(uint64_t ticks)
{
	struct timespec now, up;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	return (int64_t)now.tv_sec - (int64_t)up.tv_sec + (int64_t)(ticks / (uint64_t)sysconf(_SC_CLK_TCK));
}

/*
 * A pid file that is older than the process of that number was written for another one, which is gone: who has its number now is nobody's
 * agent. Its start time alone cannot tell, for it is read now.
 */
static bool stale(struct bystander *b, const char *path, int pid)
{
	struct stat st;
	uint64_t ticks;
	int64_t late_s;

	if (stat(path, &st) || textfile_start_time(pid, &ticks, NULL))
		return false; /* one of them is gone: there is nobody to show */
	late_s = started_s(ticks) - (int64_t)st.st_mtim.tv_sec;
	if (late_s <= CLOCK_SLACK_S)
		return false;
	snprintf(b->refused, sizeof b->refused,
	    "process %d has begun %" PRId64 " s after its pid file was written, so it is another one's (--pid %d if "
	    "not): %.80s",
	    pid, late_s, pid, path + strlen(b->state_dir) + 1);
	return true;
}

static int show(int pid, const char *id, const char *task, const char *worktree, tritone_target_fn visit, void *arg)
{
	struct tritone_target t = {
	    .struct_size = sizeof t,
	    .kind = TRITONE_TARGET_AGENT,
	    .pid = pid,
	    .id = id,
	    .task = task,
	    .worktree = worktree,
	};

	return textfile_start_time(pid, &t.start_time, NULL) ? 0 : visit(arg, &t);
}

/* A pid file .../ID/pid, and task and worktree beside it where they are. */
static int show_pid_file(struct bystander *b, const char *path, tritone_target_fn visit, void *arg)
{
	size_t dir = (size_t)(strrchr(path, '/') - path);
	char text[64], id[128], beside[PATH_MAX], task[128], worktree[PATH_MAX], *end;
	long pid;

	read_line(path, text, sizeof text);
	pid = strtol(text, &end, 10);
	if (end == text || pid <= 0 || pid > INT_MAX || stale(b, path, (int)pid))
		return 0;
	if (!pathglob_capture(b->pid_files, path + strlen(b->state_dir) + 1, id, sizeof id) || !id[0])
		snprintf(id, sizeof id, "%ld", pid);
	snprintf(beside, sizeof beside, "%.*s/task", (int)dir, path);
	read_line(beside, task, sizeof task);
	snprintf(beside, sizeof beside, "%.*s/worktree", (int)dir, path);
	read_line(beside, worktree, sizeof worktree);
	return show((int)pid, id, task, worktree, visit, arg);
}

static int targets(void *arg, uint32_t kind, tritone_target_fn visit, void *visit_arg, struct error *err)
{
	struct bystander *b = arg;
	glob_t found;
	size_t i;
	int r;

	if (kind == TRITONE_TARGET_PROVIDER || kind == TRITONE_TARGET_SINK)
		return b->gateway ? service_targets(b->gateway, kind, visit, visit_arg, err) : 0;
	for (i = 0; i < b->pid_count; i++) {
		char id[32];

		snprintf(id, sizeof id, "%d", b->pids[i]);
		if (kind == TRITONE_TARGET_AGENT && show(b->pids[i], id, "", "", visit, visit_arg))
			return 0;
	}
	if (kind != TRITONE_TARGET_AGENT || !b->pattern[0])
		return 0;
	r = glob(b->pattern, 0, NULL, &found);
	if (r == GLOB_NOMATCH)
		return 0;
	if (r)
		return error_set(err, r == GLOB_NOSPACE ? ENOMEM : EIO, "%s: the pid files cannot be read", b->pattern);
	for (i = 0; i < found.gl_pathc; i++)
		if (show_pid_file(b, found.gl_pathv[i], visit, visit_arg))
			break;
	globfree(&found);
	return 0;
}

static int gateway_rule(void *arg, const struct tritone_gateway_rule *rule, struct error *err)
{
	return service_gateway_rule(((struct bystander *)arg)->gateway, rule, err);
}

static int rule_hits(void *arg, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	struct bystander *b = arg;

	if (!b->gateway)
		return error_set(err, ENOENT, "there is no rule '%s'", key);
	return service_rule_hits(b->gateway, key, ret_hits, ret_seen, err);
}

static int rule_clear(void *arg, const char *key, struct error *err)
{
	struct bystander *b = arg;

	return b->gateway ? service_rule_clear(b->gateway, key, err) : 0;
}

/* Only the pattern's own wildcards are any: the directory is called what it is called. */
static void set_pattern(struct bystander *b)
{
	size_t used = 0, i;

	for (i = 0; b->state_dir[i]; i++) {
		if (strchr("*?[\\", b->state_dir[i]))
			b->pattern[used++] = '\\';
		b->pattern[used++] = b->state_dir[i];
	}
	snprintf(b->pattern + used, sizeof b->pattern - used, "/%.*s", PATH_MAX, b->pid_files);
}

int bystander_create(struct bystander **ret_bystander, const char *path, const char *state_dir, const char *pid_files,
    const int *pids, size_t pid_count, const char *gateway, struct error *err)
{
	struct bystander *b = calloc(1, sizeof *b);
	struct service_backend backend = {
	    .arg = b,
	    .targets = targets,
	    .rule_hits = rule_hits,
	    .rule_clear = rule_clear,
	    .missing_gateway = "no control socket of a gateway was given (--control)",
	    .missing_errno = "it was not started by tritone; `tritone up --syscall-filter` starts a system under it",
	    .missing_faultpoint = "it was not started by tritone (see tritone up)",
	    .state_dir = state_dir,
	};

	if (!b)
		return error_set(err, ENOMEM, "no memory");
	snprintf(b->state_dir, sizeof b->state_dir, "%s", state_dir);
	if (pid_files && snprintf(b->pid_files, sizeof b->pid_files, "%s", pid_files) >= (int)sizeof b->pid_files) {
		error_set(err, ENAMETOOLONG, "%s is too long", pid_files);
		goto fail;
	}
	if (pid_files)
		set_pattern(b);
	if (pid_count) {
		b->pids = calloc(pid_count, sizeof *b->pids);
		if (!b->pids) {
			error_set(err, ENOMEM, "no memory");
			goto fail;
		}
		memcpy(b->pids, pids, pid_count * sizeof *pids);
		b->pid_count = pid_count;
	}
	if (gateway && service_connect(&b->gateway, gateway, err))
		goto fail;
	if (gateway)
		backend.gateway_rule = gateway_rule;
	if (service_serve(&b->server, path, &backend, err))
		goto fail;
	*ret_bystander = b;
	return 0;
fail:
	bystander_destroy(b);
	return -1;
}

const char *bystander_refused(const struct bystander *b)
{
	return b ? b->refused : "";
}

void bystander_destroy(struct bystander *b)
{
	if (!b)
		return;
	service_stop(b->server);
	service_close(b->gateway);
	free(b->pids);
	free(b);
}
