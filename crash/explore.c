/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each job walks all states and judges its share, by content: so each state has one judge, and nothing is exchanged but
 * counts. The walker does not judge: it forks a child at the first state, which goes on by itself. If the child dies,
 * the walker follows to where it was, notes the verdict and forks anew.
 */
#include "crash/explore.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crash/record/record.h"
#include "crash/seen.h"
#include "crash/state.h"

#define NONE                UINT64_MAX
#define TIMEOUT_MS          10000u
#define THOROUGH_ONE_IN     4u
#define LOOK_MS             500
#define RECOVERY_STATES_MAX 2000u /* of one recovery that is crashed */

/* One job's, in memory that its processes share. */
struct share {
	_Atomic uint64_t current;  /* the ordinal being judged; NONE: between two */
	_Atomic uint64_t progress; /* states judged, for whoever watches */
	_Atomic uint64_t deviations;
	struct explore_result result;
	struct crash_verdict of_death;
	struct error failed; /* code 0: not */
};

struct shared {
	_Atomic uint32_t stop;
	struct share jobs[EXPLORE_JOBS_MAX];
};

struct job {
	const struct trace *trace;
	const struct crash_judge *judge;
	const struct explore_options *options;
	void *context;
	struct shared *shared;
	struct share *share;
	unsigned index, jobs;
	struct state_dir *dir;
	struct seen seen;
	bool judging;    /* the child */
	bool recoveries; /* second pass: it is the recovery of a state that is crashed */
	uint64_t one_in; /* states are taken for that */
	struct record_self *self;
	struct state_dir *dir_second;
	uint64_t skip_to; /* what was judged by children that are gone, inclusive; NONE: nothing */
	struct error *err;
};

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- the result --- */

bool explore_deviates(const struct explore_finding *finding)
{
	return finding->found && !(finding->outcome == CRASH_REFUSED && finding->kind == MODEL_BYTE);
}

/* Fewer pieces missing is simpler, and then what comes earlier. */
static bool is_simpler(const struct explore_finding *a, const struct explore_finding *b)
{
	if (!b->found || a->kind != b->kind)
		return !b->found || a->kind < b->kind;
	return a->missing != b->missing ? a->missing < b->missing : a->ordinal < b->ordinal;
}

static uint64_t pieces_missing(const struct model_state *state)
{
	uint64_t missing = 0;
	size_t op, piece;

	for (op = 0; op < state->at; op++)
		for (piece = 0; piece < model_pieces(state->model, op); piece++)
			missing += model_fate(state, op, piece, NULL, 0) == MODEL_MISSING;
	return missing;
}

static void note(
    struct job *job, const struct model_state *state, const struct crash_verdict *verdict, bool in_recovery)
{
	struct explore_result *result = &job->share->result;
	struct explore_finding finding = {.found = true,
	    .ordinal = state->ordinal,
	    .kind = state->kind,
	    .outcome = verdict->outcome,
	    .at = state->at,
	    .acked = state->acked,
	    .in_recovery = in_recovery};

	if (in_recovery)
		result->recoveries++;
	else
		result->judged[state->kind]++;
	result->outcomes[verdict->outcome]++;
	if (state->kind == MODEL_BYTE && !in_recovery)
		result->outcomes_byte[verdict->outcome]++;
	job->share->progress++;
	if (verdict->outcome == CRASH_RECOVERED)
		return;
	finding.missing = pieces_missing(state);
	memcpy(finding.reason, verdict->reason, sizeof finding.reason);
	job->share->deviations += explore_deviates(&finding);
	if (is_simpler(&finding, &result->first[verdict->outcome]))
		result->first[verdict->outcome] = finding;
	if (job->options->stop_at_first && explore_deviates(&finding))
		job->shared->stop = 1;
}

static void add_result(struct explore_result *to, const struct explore_result *from)
{
	size_t i;

	for (i = 0; i < MODEL_KINDS; i++)
		to->judged[i] += from->judged[i];
	for (i = 0; i < CRASH_OUTCOMES; i++) {
		to->outcomes[i] += from->outcomes[i];
		to->outcomes_byte[i] += from->outcomes_byte[i];
		if (from->first[i].found && is_simpler(&from->first[i], &to->first[i]))
			to->first[i] = from->first[i];
	}
	to->contents += from->contents;
	to->recoveries += from->recoveries;
}

/* --- a job --- */

static struct crash_case case_of(const struct job *job, const struct model_state *state)
{
	return (struct crash_case){.dir = state_path(job->dir),
	    .trace = job->trace,
	    .acked = state->acked,
	    .marked = state->marked,
	    .thorough = job->options->only || state->kind == MODEL_PREFIX || state->digest.high % THOROUGH_ONE_IN == 0};
}

/* In the child. 0: go on. */
static int judge_state(struct job *job, const struct model_state *state)
{
	struct crash_verdict verdict = {0};
	struct crash_case seen_case;

	if (job->shared->stop)
		return 1;
	if (state_make(job->dir, state, job->err) < 0)
		return -1;
	seen_case = case_of(job, state);
	job->share->current = state->ordinal;
	if (job->judge->judge(job->context, &seen_case, &verdict, job->err) < 0)
		return -1;
	note(job, state, &verdict, false);
	job->share->current = NONE;
	return 0;
}

/* --- the recovery, crashed --- */

struct crashing {
	struct job *job;
	const struct model_state *outer;
	struct seen seen;
};

static int judge_crashed_recovery(void *arg, const struct model_state *state)
{
	struct crashing *crashing = arg;
	struct job *job = crashing->job;
	struct crash_verdict verdict = {0};
	struct crash_case seen_case = case_of(job, crashing->outer);

	seen_case.dir = state_path(job->dir_second);
	seen_case.thorough = state->kind == MODEL_PREFIX;
	if (seen_add(&crashing->seen, state->digest, 0) != SEEN_NEW)
		return 0;
	if (state_make(job->dir_second, state, job->err) < 0 ||
	    job->judge->judge(job->context, &seen_case, &verdict, job->err) < 0)
		return -1;
	note(job, crashing->outer, &verdict, true);
	return 0;
}

/* Records what the recovery of this state writes, and judges each state that a crash of it could leave. */
static int crash_recovery(struct job *job, const struct model_state *state)
{
	const struct model_options options = {.kinds = (1u << MODEL_PREFIX) | (1u << MODEL_SUBSET),
	    .volatiles = job->options->volatiles,
	    .seed = job->options->seed,
	    .states_max = RECOVERY_STATES_MAX};
	struct crashing crashing = {.job = job, .outer = state};
	const struct crash_case seen_case = case_of(job, state);
	struct trace *trace = NULL;
	struct model *model = NULL;
	int rc = -1;

	if (state_make(job->dir, state, job->err) < 0)
		return -1;
	if (!job->self && record_self_create(&job->self, state_path(job->dir), job->err) < 0)
		return -1;
	if (record_self_begin(job->self, job->err) < 0)
		return -1;
	rc = job->judge->recover(job->context, &seen_case, job->err);
	if (record_self_end(job->self, &trace, job->err) < 0)
		return -1;
	if (rc == 0)
		rc = model_create(&model, trace, &options, job->err);
	if (rc == 0)
		rc = model_walk(model, judge_crashed_recovery, &crashing, job->err);
	seen_finish(&crashing.seen);
	model_destroy(model);
	trace_destroy(trace);
	return rc;
}

static bool is_taken(const struct job *job, const struct model_state *state)
{
	return job->options->only || state->kind == MODEL_PREFIX || state->digest.high % job->one_in == 0;
}

/* Waits for the child; kills it when one state takes too long. What waitpid says, or -1. */
static int wait_for_child(struct job *job, pid_t pid, bool *ret_hung)
{
	const unsigned timeout_ms = job->options->timeout_ms ? job->options->timeout_ms : TIMEOUT_MS;
	struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	uint64_t last = NONE, judged = 0;
	double since = now_s();
	int status = 0;

	*ret_hung = false;
	while (end.fd >= 0 && poll(&end, 1, LOOK_MS) == 0) {
		const uint64_t current = job->share->current;

		if (current != last || job->share->progress != judged || current == NONE) {
			last = current;
			judged = job->share->progress;
			since = now_s();
		} else if ((now_s() - since) * 1000 > timeout_ms) {
			*ret_hung = true;
			kill(-pid, SIGKILL);
			kill(pid, SIGKILL);
		}
	}
	if (end.fd >= 0)
		close(end.fd);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

/* A crash is to end the process, whatever the program that we are part of would make of it. */
static void take_no_signals(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGINT, SIGTERM};
	size_t i;

	for (i = 0; i < sizeof signals / sizeof *signals; i++)
		signal(signals[i], SIG_DFL);
}

/* 0: this process is the child now; 1: the child has walked to the end; 2: it is dead, and skip_to says where. */
static int fork_judge(struct job *job, const struct model_state *state)
{
	struct crash_verdict verdict = {.outcome = CRASH_FAILED};
	bool hung;
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return error_set(job->err, errno, "no process to judge in: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		take_no_signals();
		setpgid(0, 0); /* so that what a judge has started ends with it */
		/* LMDB asks for megabytes of zeros at each opening and touches few of them: let them be fresh from the
		 * kernel each time instead of wiped by hand */
		mallopt(M_MMAP_THRESHOLD, 256 << 10);
		job->judging = true;
		return 0;
	}
	status = wait_for_child(job, pid, &hung);
	if (status < 0)
		return error_set(job->err, errno, "a judge cannot be waited for: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 1;
	if (job->share->failed.code) {
		*job->err = job->share->failed;
		return -1;
	}
	job->skip_to = job->share->current;
	if (job->skip_to == NONE || job->skip_to < state->ordinal)
		return error_set(
		    job->err, ECHILD, "a judge ended with status 0x%x outside of any state", (unsigned)status);
	if (hung)
		snprintf(verdict.reason, sizeof verdict.reason, "the recovery or the check did not end");
	else if (WIFSIGNALED(status))
		snprintf(verdict.reason, sizeof verdict.reason, "the recovery or the check died of signal %d (%s)",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(verdict.reason, sizeof verdict.reason,
		    "the recovery or the check ended the process with status %d", WEXITSTATUS(status));
	job->share->of_death = verdict;
	return 2;
}

static int visit(void *arg, const struct model_state *state)
{
	struct job *job = arg;
	enum seen_answer answer;
	bool follows, is_new; /* behind a child that is gone; a content that was not seen before */
	int rc;

	if (job->options->only ? state->ordinal != job->options->ordinal : state->digest.low % job->jobs != job->index)
		return 0;
	if (!job->judging && job->shared->stop)
		return 1;
	if (job->recoveries && !is_taken(job, state))
		return 0;
	answer = seen_add(&job->seen, state->digest, state->acked);
	if (answer == SEEN_BEFORE)
		return 0;
	if (answer == SEEN_NO_MEMORY)
		return error_set(job->err, ENOMEM, "no memory for what was seen");
	is_new = answer == SEEN_NEW;
	follows = job->skip_to != NONE && job->skip_to >= state->ordinal;
	if (job->options->common && !follows && !job->recoveries) {
		if (!seen_common_add(job->options->common, state->digest, state->acked))
			return 0;
		is_new = seen_common_add(job->options->common, state->digest, NONE);
	}
	if (!job->judging && !follows) {
		rc = fork_judge(job, state);
		if (rc == 1 || rc < 0)
			return rc;
	}
	if (job->judging && job->recoveries) {
		job->share->current = state->ordinal;
		rc = job->shared->stop ? 1 : crash_recovery(job, state);
		job->share->current = NONE;
		return rc;
	}
	if (job->judging) {
		job->share->result.contents += is_new;
		return judge_state(job, state);
	}
	if (job->skip_to == state->ordinal)
		note(job, state, &job->share->of_death, job->recoveries);
	return 0;
}

/* The process of a job. */
static int run_job(struct job *job, struct model *model)
{
	char path[96];
	int rc;

	snprintf(path, sizeof path, "%s/%u", job->options->work, job->index);
	if (mkdir(path, 0777) < 0 && errno != EEXIST)
		return error_set(job->err, errno, "%s: %s", path, strerror(errno));
	if (state_open(&job->dir, path, job->err) < 0)
		return -1;
	if (job->recoveries) {
		snprintf(path, sizeof path, "%s/%u.again", job->options->work, job->index);
		if (mkdir(path, 0777) < 0 && errno != EEXIST)
			return error_set(job->err, errno, "%s: %s", path, strerror(errno));
		if (state_open(&job->dir_second, path, job->err) < 0)
			return -1;
	}
	rc = model_walk(model, visit, job, job->err);
	state_close(job->dir);
	state_close(job->dir_second);
	seen_finish(&job->seen);
	return rc < 0 ? -1 : 0;
}

static pid_t start_job(struct job *job, struct model *model)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (run_job(job, model) == 0)
		_exit(0);
	if (!job->share->failed.code)
		job->share->failed = *job->err; /* this process's copy of the caller's */
	if (!job->share->failed.code)
		error_set(&job->share->failed, EIO, "the exploration failed without a reason");
	_exit(1);
}

/* --- all of it --- */

struct learning {
	struct job *job;
	struct error *err;
};

static int learn_state(void *arg, const struct model_state *state)
{
	struct learning *learning = arg;
	struct job *job = learning->job;
	struct crash_case seen_case;

	if (state_make(job->dir, state, learning->err) < 0)
		return -1;
	seen_case = case_of(job, state);
	return job->judge->learn(job->context, &seen_case, learning->err);
}

/* What each prefix leaves behind is what may be found. */
static int learn(struct job *job, struct error *err)
{
	const struct model_options options = {.kinds = 1u << MODEL_PREFIX, .volatiles = job->options->volatiles};
	struct learning learning = {job, err};
	struct model *model = NULL;
	char path[96];
	int rc = -1;

	snprintf(path, sizeof path, "%s/learn", job->options->work);
	if (mkdir(path, 0777) < 0 && errno != EEXIST)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	if (model_create(&model, job->trace, &options, err) == 0 && state_open(&job->dir, path, err) == 0)
		rc = model_walk(model, learn_state, &learning, err);
	state_close(job->dir);
	job->dir = NULL;
	model_destroy(model);
	return rc;
}

static void watch(struct job *job, pid_t *pids)
{
	struct pollfd ends[EXPLORE_JOBS_MAX];
	unsigned i, left = job->jobs;

	for (i = 0; i < job->jobs; i++)
		ends[i] = (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, pids[i], 0), .events = POLLIN};
	while (left) {
		uint64_t judged = 0, deviations = 0;

		if (poll(ends, job->jobs, LOOK_MS) < 0 && errno != EINTR)
			break;
		if (job->options->interrupted && *job->options->interrupted)
			job->shared->stop = 1;
		left = 0;
		for (i = 0; i < job->jobs; i++) {
			if (ends[i].fd >= 0 && ends[i].revents) {
				close(ends[i].fd);
				ends[i].fd = -1;
			}
			left += ends[i].fd >= 0;
			judged += job->shared->jobs[i].progress;
			deviations += job->shared->jobs[i].deviations;
		}
		if (job->options->progress)
			job->options->progress(job->options->progress_arg, judged, deviations);
	}
	for (i = 0; i < job->jobs; i++)
		if (ends[i].fd >= 0)
			close(ends[i].fd);
}

static int run_jobs(struct job *job, struct model *model, struct error *err)
{
	pid_t pids[EXPLORE_JOBS_MAX];
	unsigned i, started;
	int status, rc = 0;

	for (started = 0; started < job->jobs; started++) {
		job->index = started;
		job->share = &job->shared->jobs[started];
		job->share->current = NONE;
		pids[started] = start_job(job, model);
		if (pids[started] < 0) {
			rc = error_set(err, errno, "no process to explore in: %s", strerror(errno));
			job->shared->stop = 1;
			break;
		}
	}
	if (started < job->jobs)
		job->jobs = started;
	watch(job, pids);
	for (i = 0; i < started; i++) {
		while (waitpid(pids[i], &status, 0) < 0 && errno == EINTR)
			;
		if (rc == 0 && (!WIFEXITED(status) || WEXITSTATUS(status))) {
			if (job->shared->jobs[i].failed.code)
				*err = job->shared->jobs[i].failed;
			else
				error_set(
				    err, ECHILD, "a job of the exploration ended with status 0x%x", (unsigned)status);
			rc = -1;
		}
	}
	if (rc == 0 && job->options->interrupted && *job->options->interrupted)
		return error_set(err, EINTR, "interrupted");
	return rc;
}

struct model_options explore_model_options(const struct explore_options *options)
{
	return (struct model_options){.kinds = options->kinds ? options->kinds : MODEL_DEFAULT,
	    .volatiles = options->volatiles,
	    .seed = options->seed,
	    .states_max = options->states_max};
}

int explore(const struct trace *trace, const struct crash_judge *judge, const struct explore_options *options,
    struct explore_result *ret_result, struct error *err)
{
	const struct model_options of_model = explore_model_options(options);
	struct job job = {.trace = trace,
	    .judge = judge,
	    .options = options,
	    .jobs = options->jobs ? options->jobs : 2,
	    .skip_to = NONE,
	    .err = err};
	struct explore_result result = {0};
	struct model *model = NULL;
	struct model_count count;
	double begin = now_s();
	unsigned i;
	int rc = -1;

	if (job.jobs > EXPLORE_JOBS_MAX)
		job.jobs = EXPLORE_JOBS_MAX;
	if (options->only)
		job.jobs = 1;
	job.shared = mmap(NULL, sizeof *job.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (job.shared == MAP_FAILED)
		return error_set(err, errno, "no memory for an exploration: %s", strerror(errno));
	if (judge->prepare && judge->prepare(judge->config, trace, &job.context, err) < 0)
		goto out;
	if (judge->learn && learn(&job, err) < 0)
		goto out;
	if (model_create(&model, trace, &of_model, err) < 0)
		goto out;
	model_count(model, &count);
	rc = run_jobs(&job, model, err);
	if (rc == 0 && judge->recover && options->recovery_max && !job.shared->stop) {
		uint64_t contents = 0;

		for (i = 0; i < EXPLORE_JOBS_MAX; i++)
			contents += job.shared->jobs[i].result.contents;
		job.recoveries = true;
		job.one_in = contents / options->recovery_max + 1;
		rc = run_jobs(&job, model, err);
	}
	for (i = 0; i < EXPLORE_JOBS_MAX; i++)
		add_result(&result, &job.shared->jobs[i].result);
	for (i = 0; i < MODEL_KINDS; i++)
		result.visits += count.visits[i];
	result.exhaustive = count.exhaustive;
	result.seconds = now_s() - begin;
	*ret_result = result;
out:
	model_destroy(model);
	if (judge->finish && job.context)
		judge->finish(job.context);
	munmap(job.shared, sizeof *job.shared);
	return rc;
}
