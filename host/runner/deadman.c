/* SPDX-License-Identifier: Apache-2.0 */
/* The second half of the dead-man switch: close the undo record of a host that has gone, hang or no hang. */
#include "runner/deadman.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "runner/prepare.h"

struct find {
	const char *fault_id;
	struct undo_entry *entry;
	bool found;
};

static void visit(void *arg, const struct undo_entry *entry)
{
	struct find *find = arg;

	if (strcmp(entry->fault_id, find->fault_id) != 0)
		return;
	*find->entry = *entry;
	find->found = true;
}

static int wait_for_end(int pidfd, int64_t timeout_ms, struct error *err)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r;

	if (pidfd < 0)
		return 0;
	do
		r = poll(&p, 1, (int)timeout_ms);
	while (r < 0 && errno == EINTR);
	return r > 0 ? 0
		     : error_set(err, EBUSY, "the host has closed its socket and lives on: the record stays its own");
}

int deadman_settle(const char *run_dir, const char *fault_id, struct hooks *hooks, bool reverted, int host_pidfd,
    int64_t timeout_ms, struct error *err)
{
	struct undo_entry *entry = NULL;
	struct runner_reply *reply = NULL;
	struct undo_log *log = NULL;
	struct find find;
	int r = -1;

	if (wait_for_end(host_pidfd, timeout_ms, err) < 0)
		return -1;
	entry = malloc(sizeof *entry);
	reply = calloc(1, sizeof *reply);
	if (!entry || !reply) {
		error_set(err, ENOMEM, "no memory for an undo record");
		goto out;
	}
	find = (struct find){.fault_id = fault_id, .entry = entry};
	/* Several runners may have lost the same host: they take the log one after the other. */
	if (undo_take_over(&log, run_dir, err) < 0 || undo_log_outstanding(log, visit, &find, err) < 0)
		goto out;
	if (!find.found) {
		r = 0;
		goto out;
	}
	if (!reverted) {
		hooks_run(hooks, HOOK_REVERT, &entry->undo, reply);
		if (reply->result < 0) {
			if (err)
				*err = reply->error;
			goto out;
		}
	}
	r = undo_reverted(log, fault_id, err);
out:
	undo_close(log);
	free(reply);
	free(entry);
	return r;
}

/* ---- in place of a hook that hangs ---- */

void deadman_exec(const char *run_dir, const char *fault_id, int64_t timeout_ms)
{
	char name[] = "tritone", verb[] = "__runner", option[] = "--revert";
	char dir[PATH_MAX], id[RUNNER_FAULT_ID_MAX + 1], timeout[24];
	char *const argv[] = {name, verb, option, dir, id, timeout, NULL};

	snprintf(dir, sizeof dir, "%s", run_dir);
	snprintf(id, sizeof id, "%s", fault_id);
	snprintf(timeout, sizeof timeout, "%lld", (long long)timeout_ms);
	execv("/proc/self/exe", argv);
}

/* Past its time this process dies of SIGALRM, and the record stays outstanding. */
static void arm(int64_t timeout_ms)
{
	const struct itimerval timer = {.it_value = {timeout_ms / 1000, timeout_ms % 1000 * 1000}};
	struct sigaction normal = {.sa_handler = SIG_DFL};
	sigset_t set;

	sigaction(SIGALRM, &normal, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void log_to_stderr(void *arg, uint32_t level, const char *text)
{
	(void)arg;
	(void)level;
	fprintf(stderr, "%s\n", text);
}

static void evidence_to_stderr(void *arg, const char *name, const char *value)
{
	(void)arg;
	fprintf(stderr, "%s: %s\n", name, value);
}

static int revert_recorded(const char *run_dir, const char *fault_id, int64_t timeout_ms, struct error *err)
{
	static const struct hooks_sink sink = {.log = log_to_stderr, .evidence = evidence_to_stderr};
	struct runner_setup *setup = calloc(1, sizeof *setup);
	struct runner_reply *reply = calloc(1, sizeof *reply);
	struct prepared prepared = {0};
	struct find find;
	int r = -1;

	if (!setup || !reply) {
		error_set(err, ENOMEM, "no memory for an undo record");
		goto out;
	}
	find = (struct find){.fault_id = fault_id, .entry = &setup->entry};
	if (undo_outstanding(run_dir, visit, &find, err) < 0)
		goto out;
	if (!find.found) {
		r = 0;
		goto out;
	}
	snprintf(setup->run_dir, sizeof setup->run_dir, "%s", run_dir);
	setup->hook_timeout_ms = timeout_ms;
	if (prepare(&prepared, setup, &sink, STDERR_FILENO, false, err) < 0)
		goto out;
	hooks_run(prepared.hooks, HOOK_REVERT, &setup->entry.undo, reply);
	if (reply->result < 0) {
		if (err)
			*err = reply->error;
		goto out;
	}
	arm(timeout_ms); /* the fault is gone; waiting for one's turn at the log has its own time */
	r = deadman_settle(run_dir, fault_id, prepared.hooks, true, -1, timeout_ms, err);
out:
	hooks_destroy(prepared.hooks);
	free(reply);
	free(setup);
	return r;
}

int deadman_main(const char *run_dir, const char *fault_id, int64_t timeout_ms)
{
	struct error err = {0};

	arm(timeout_ms);
	if (revert_recorded(run_dir, fault_id, timeout_ms, &err) < 0) {
		fprintf(stderr, "%s: still outstanding: %s\n", fault_id, err.text);
		return 5;
	}
	fprintf(stderr, "%s: reverted after a hook that hung, without the host\n", fault_id);
	return 0;
}
