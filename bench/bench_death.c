/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How soon the reference orchestrator sees that an agent has died, and how soon the task is worked on again. Agents are killed one
 * after the other while they wait for a model. Seen: the record of the failure in the orchestrator's log. Working again: the next attempt's
 * first call arrives at the gateway. Peers of the same rounds: a plain child's death at a pidfd, and an agent's bare start.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bare.h"
#include "child.h"
#include "core/core.h"
#include "gateway/gateway.h"
#include "median.h"
#include "wal/wal.h"
#include "wire/frame.h"

#define KILLS_MAX  100
#define WAIT_MS    30000
#define SEEN_MS    5.0 /* limits */
#define AGAIN_MS   100.0
#define LATENCY_MS 50 /* of a model's answer: so long an agent can be found waiting */

struct bench {
	struct spec_manifest *manifest;
	struct history *history;
	struct gateway *gateway;
	struct http *http;
	struct bare *bare;
	char agent[512];
	int kills;
	/* of each kill; the wall clock in microseconds, because the log has that one */
	int64_t killed_us[KILLS_MAX], failed_us[KILLS_MAX];
	double seen[KILLS_MAX], again[KILLS_MAX], pidfd[KILLS_MAX], started[KILLS_MAX];
};

static int64_t wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- the peers ---- */

static int plain_child(double *ret_ms, struct error *err)
{
	pid_t pid = fork();
	struct pollfd p = {.events = POLLIN};
	double began;

	if (pid == 0)
		for (;;)
			pause();
	if (pid < 0)
		return error_set(err, errno, "fork: %s", strerror(errno));
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	began = now_s();
	kill(pid, SIGKILL);
	if (p.fd >= 0)
		poll(&p, 1, -1);
	*ret_ms = (now_s() - began) * 1e3;
	close(p.fd);
	waitpid(pid, NULL, 0);
	return p.fd < 0 ? error_set(err, ENOSYS, "no pidfd") : 0;
}

/* From before the fork to the first word on its socket. */
static int bare_agent(const char *program, double *ret_ms, struct error *err)
{
	const char *argv[] = {program, NULL};
	int pair[2];
	double began;
	struct pollfd p = {.events = POLLIN};
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(err, errno, "socketpair: %s", strerror(errno));
	began = now_s();
	pid = fork();
	if (pid == 0) {
		if (dup2(pair[1], 3) != 3) /* pair[1] is above 3: close-on-exec goes with the copy */
			_exit(127);
		execv(program, (char **)(uintptr_t)argv);
		_exit(127);
	}
	close(pair[1]);
	p.fd = pair[0];
	if (pid > 0)
		poll(&p, 1, -1);
	*ret_ms = (now_s() - began) * 1e3;
	close(pair[0]);
	if (pid < 0)
		return error_set(err, errno, "fork: %s", strerror(errno));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

/* ---- the kills ---- */

struct awaited {
	char task[32];
	int64_t attempt;
	uint64_t at_us;
};

static bool is_awaited(void *arg, const struct op *op)
{
	struct awaited *a = arg;

	if (op->kind != OP_CALL || op->type != OP_INVOKE || op->attempt != a->attempt || strcmp(op->task, a->task) != 0)
		return false;
	a->at_us = op->time_us;
	return true;
}

static int await_call(struct bench *b, struct awaited *a, struct error *err)
{
	uint64_t index;

	if (history_wait(b->history, 0, is_awaited, a, WAIT_MS, &index) == 1)
		return 0;
	return error_set(err, ETIMEDOUT, "attempt %d of %s made no call", (int)a->attempt, a->task);
}

static int agent_pid(struct bench *b, const char *task, pid_t *ret_pid, struct error *err)
{
	char path[512];
	FILE *in;
	int n, pid = 0;

	snprintf(path, sizeof path, "%s/.sdd/runtime/agents/%s-a1/pid", bare_state(b->bare), task);
	in = fopen(path, "re");
	n = in ? fscanf(in, "%d", &pid) : 0;
	if (in)
		fclose(in);
	if (n != 1 || pid <= 1)
		return error_set(err, ENOENT, "%s: no pid there", path);
	*ret_pid = pid;
	return 0;
}

static int kill_one(struct bench *b, int i, struct error *err)
{
	struct awaited a = {.attempt = 1};
	uint64_t killed_us;
	pid_t pid = 0;

	snprintf(a.task, sizeof a.task, "t%03d-plan", i);
	if (client_submit(b->http, bare_submit_url(b->bare), a.task, "plan", err) || await_call(b, &a, err) ||
	    agent_pid(b, a.task, &pid, err))
		return -1;
	b->killed_us[i] = wall_us();
	killed_us = history_now_us(b->history);
	if (kill(pid, SIGKILL) < 0)
		return error_set(err, errno, "kill: %s", strerror(errno));
	a.attempt = 2;
	if (await_call(b, &a, err))
		return -1;
	b->again[i] = (double)(a.at_us - killed_us) / 1e3;
	if (plain_child(&b->pidfd[i], err))
		return -1;
	return bare_agent(b->agent, &b->started[i], err);
}

/* ---- what the log says ---- */

static int take_failure(void *arg, const struct wal_record *record)
{
	struct bench *b = arg;
	msgpack_unpacked unpacked;
	uint64_t attempt = 0, time = 0;
	char task[64] = "";
	int i = -1;

	if (record->kind != CORE_RECORD_FAIL)
		return 0;
	msgpack_unpacked_init(&unpacked);
	if (msgpack_unpack_next(&unpacked, (const char *)record->payload, record->size, NULL) ==
		MSGPACK_UNPACK_SUCCESS &&
	    frame_get_str(&unpacked.data, "task", task, sizeof task) &&
	    frame_get_uint(&unpacked.data, "attempt", &attempt) && frame_get_uint(&unpacked.data, "time", &time) &&
	    attempt == 1)
		i = atoi(task + 1);
	msgpack_unpacked_destroy(&unpacked);
	if (i >= 0 && i < b->kills)
		b->failed_us[i] = (int64_t)time;
	return 0;
}

static int read_log(struct bench *b, struct error *err)
{
	char dir[512];
	struct wal *wal;
	int r, i;

	snprintf(dir, sizeof dir, "%s/wal", bare_state(b->bare));
	if (wal_open(&wal, dir, &(struct wal_options){.read_only = true, .must_exist = true}, err))
		return -1;
	r = wal_replay(wal, 0, take_failure, b, err);
	wal_close(wal);
	for (i = 0; r == 0 && i < b->kills; i++) {
		if (b->failed_us[i] < b->killed_us[i])
			return error_set(err, EPROTO, "the log says nothing of the failure of t%03d-plan", i);
		b->seen[i] = (double)(b->failed_us[i] - b->killed_us[i]) / 1e3;
	}
	return r;
}

/* ---- */

static int open_bench(struct bench *b, struct error *err)
{
	struct gateway_options options = {.seed = 1, .latency_ms = LATENCY_MS};
	size_t i;

	if (child_program(b->agent, sizeof b->agent, "fixtures/conductor/conductor-agent", err) ||
	    bare_manifest(&b->manifest, err) || history_create(&b->history, NULL, err) || http_create(&b->http, err))
		return -1;
	for (i = 0; i < b->manifest->gateway.providers.count && i < GATEWAY_NAMES_MAX; i++)
		options.providers[i] = b->manifest->gateway.providers.items[i];
	for (i = 0; i < b->manifest->gateway.sinks.count && i < GATEWAY_NAMES_MAX; i++)
		options.sinks[i] = b->manifest->gateway.sinks.items[i];
	options.history = b->history;
	options.task_header = b->manifest->gateway.task_header;
	options.attempt_header = b->manifest->gateway.attempt_header;
	if (gateway_create(&b->gateway, &options, err))
		return -1;
	return bare_start(&b->bare, b->manifest, gateway_url(b->gateway), err);
}

static int run(struct bench *b, struct error *err)
{
	int i;

	for (i = 0; i < b->kills; i++)
		if (kill_one(b, i, err))
			return -1;
	if (client_await(b->http, bare_outcome_url(b->bare), (size_t)b->kills, WAIT_MS / 1e3, err) ||
	    bare_stop(b->bare, err))
		return -1;
	return read_log(b, err);
}

static void print(struct bench *b)
{
	size_t n = (size_t)b->kills;
	double seen = median(b->seen, n), again = median(b->again, n);

	printf("%d agents killed with SIGKILL at a model call, %d tasks done; medians, 90th percentiles\n", b->kills,
	    b->kills);
	printf("death seen:         %7.2f ms, p90 %7.2f   limit %5.0f ms: ratio %.2f\n", seen,
	    quantile(b->seen, n, 0.9), SEEN_MS, seen / SEEN_MS);
	printf("  peer, a plain child's death at a pidfd:     %7.2f ms, p90 %7.2f: ratio %.1f\n", median(b->pidfd, n),
	    quantile(b->pidfd, n, 0.9), seen / median(b->pidfd, n));
	printf("task running again: %7.2f ms, p90 %7.2f   limit %5.0f ms: ratio %.2f\n", again,
	    quantile(b->again, n, 0.9), AGAIN_MS, again / AGAIN_MS);
	printf("  peer, an agent's bare start, exec to hello: %7.2f ms, p90 %7.2f: ratio %.1f\n", median(b->started, n),
	    quantile(b->started, n, 0.9), again / median(b->started, n));
}

int main(int argc, char **argv)
{
	struct bench bench = {.kills = 60};
	struct error err;
	int r;

	if (argc == 2 && strcmp(argv[1], "--quick") == 0) {
		bench.kills = 15;
	} else if (argc > 1) {
		fputs("usage: bench_death [--quick]\n", stderr);
		return 2;
	}
	r = open_bench(&bench, &err);
	if (r == 0)
		r = run(&bench, &err);
	if (r == 0)
		print(&bench);
	else
		fprintf(stderr, "bench_death: %s\n", err.text);
	bare_free(bench.bare);
	gateway_destroy(bench.gateway);
	history_destroy(bench.history);
	http_destroy(bench.http);
	spec_manifest_free(bench.manifest);
	return r == 0 ? 0 : 1;
}
