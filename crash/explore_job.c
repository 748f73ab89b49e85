/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job walks all states and judges its share. The walker does not judge: it forks a child at the first state, which goes
 * on by itself. If the child dies, the walker follows to where it was, notes the verdict and forks anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/explore_internal.h"
#include "crash/leftover.h"
#include "crash/record/record.h"

#define RECOVERED_AGAIN     (NONE - 1) /* and below: beside numbers of acknowledged lines in what jobs have in common */
#define TIMEOUT_MS          10000u
#define RECOVERY_STATES_MAX 2000u /* of one recovery that is crashed */

/*
 * What a recovery makes of a directory depends on what is in it, and on nothing else. So where one has left behind what
 * another did, the second recovery is the same, and done once; and where it has changed nothing, it was the second, too.
 * What is missing then depends on what was acknowledged, too: once for each number, unless the judge compares.
 */
static uint64_t again_key(const struct again *again)
{
	return RECOVERED_AGAIN - (again->job->judge->compares ? 0 : again->acked);
}

static bool is_to_be_recovered_again(void *arg)
{
	struct again *again = arg;
	struct job *job = again->job;
	struct error unread;

	if (state_digest(again->dir, job->options->volatiles, &again->digest, &unread) < 0)
		return true; /* what cannot be compared is done */
	if (!job->judge->always_writes && digest_equal(again->digest, again->before))
		return job->options->only;
	again->asked = !seen_common_has(job->common, again->digest, again_key(again));
	return again->asked || job->options->only;
}

struct crash_case explore_case(struct job *job, const struct model_state *state, const struct state_dir *dir)
{
	job->again = (struct again){.job = job, .dir = dir, .acked = state->acked};
	return (struct crash_case){.dir = state_path(dir),
	    .trace = job->trace,
	    .acked = state->acked,
	    .marked = state->marked,
	    .again = is_to_be_recovered_again,
	    .again_arg = &job->again};
}

static int judge(struct job *job, const struct crash_case *state, struct crash_verdict *ret_verdict)
{
	struct again *again = &job->again;

	if (!job->judge->always_writes &&
	    state_digest(again->dir, job->options->volatiles, &again->before, job->err) < 0)
		return -1;
	if (job->judge->judge(job->context, state, ret_verdict, job->err) < 0)
		return -1;
	if (ret_verdict->outcome != CRASH_RECOVERED || !again->asked)
		return 0;
	job->share->result.again++;
	seen_common_add(job->common, again->digest, again_key(again));
	return 0;
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
	seen_case = explore_case(job, state, job->dir);
	job->share->current = state->ordinal;
	if (judge(job, &seen_case, &verdict) < 0)
		return -1;
	explore_note(job, state, &verdict, false);
	job->share->current = NONE;
	return 0;
}

/* --- the recovery, crashed --- */

struct crashing {
	struct job *job;
	const struct model_state *outer;
};

static int judge_crashed_recovery(void *arg, const struct model_state *state)
{
	struct crashing *crashing = arg;
	struct job *job = crashing->job;
	struct crash_verdict verdict = {0};
	const struct crash_case seen_case = explore_case(job, crashing->outer, job->dir_second);

	/* many recoveries pass through the same states, and some are a state that no recovery was needed for */
	if (!seen_common_add(job->common, state->digest, crashing->outer->acked))
		return 0;
	if (state_make(job->dir_second, state, job->err) < 0 || judge(job, &seen_case, &verdict) < 0)
		return -1;
	explore_note(job, crashing->outer, &verdict, true);
	return 0;
}

/* What the recovery of this state writes. */
static int record_recovery(struct job *job, const struct crash_case *state, struct trace **ret_trace)
{
	int rc;

	if (job->judge->record)
		return job->judge->record(job->context, state, job->options->volatiles, ret_trace, job->err);
	if (!job->self && record_self_create(&job->self, state_path(job->dir), job->err) < 0)
		return -1;
	if (record_self_begin(job->self, job->err) < 0)
		return -1;
	rc = job->judge->recover(job->context, state, job->err);
	return record_self_end(job->self, ret_trace, job->err) < 0 ? -1 : rc;
}

/* Records what the recovery of this state writes, and judges each state that a crash of it could leave. */
static int crash_recovery(struct job *job, const struct model_state *state)
{
	const struct model_options options = {.kinds = (1u << MODEL_PREFIX) | (1u << MODEL_SUBSET),
	    .volatiles = job->options->volatiles,
	    .seed = job->options->seed,
	    .states_max = RECOVERY_STATES_MAX};
	struct crashing crashing = {.job = job, .outer = state};
	const struct crash_case seen_case = explore_case(job, state, job->dir);
	struct trace *trace = NULL;
	struct model *model = NULL;
	int rc = -1;

	if (state_make(job->dir, state, job->err) < 0)
		return -1;
	rc = record_recovery(job, &seen_case, &trace);
	if (rc == 0)
		rc = model_create(&model, trace, &options, job->err);
	if (rc == 0)
		rc = model_walk(model, judge_crashed_recovery, &crashing, job->err);
	job->share->result.crashed++;
	model_destroy(model);
	trace_destroy(trace);
	return rc;
}

static bool is_taken(const struct job *job, const struct model_state *state)
{
	return job->options->only || state->kind == MODEL_PREFIX ||
	       (state->digest.high + job->options->seed) % job->one_in == 0;
}

/* Waits for the child; kills it when one state takes too long. What waitpid says, or -1. */
static int wait_for_child(struct job *job, pid_t pid, bool *ret_hung)
{
	const unsigned timeout_ms = job->options->timeout_ms ? job->options->timeout_ms : TIMEOUT_MS;
	struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	uint64_t last = NONE, judged = 0;
	double since = explore_now_s();
	int status = 0;

	*ret_hung = false;
	while (end.fd >= 0) {
		const int ended = poll(&end, 1, LOOK_MS);
		const uint64_t current = job->share->current;

		if (ended > 0 || (ended < 0 && errno != EINTR))
			break;
		if (current != last || job->share->progress != judged || current == NONE) {
			last = current;
			judged = job->share->progress;
			since = explore_now_s();
		} else if ((explore_now_s() - since) * 1000 > timeout_ms) {
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
	leftover_end(); /* what it had started is ours now */
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
		leftover_adopt();
		/* LMDB asks for two megabytes of zeros at each opening and touches few of them: let them be fresh from
		 * the kernel each time instead of wiped by hand. What it asks for without zeros stays with us. */
		mallopt(M_MMAP_THRESHOLD, 3 << 19);
		mallopt(M_TRIM_THRESHOLD, 16 << 20);
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
	if (!follows && !job->recoveries && !seen_common_add(job->common, state->digest, state->acked) &&
	    job->options->common)
		return 0;
	if (job->options->common && !follows && !job->recoveries)
		is_new = seen_common_add(job->common, state->digest, NONE);
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
		explore_note(job, state, &job->share->of_death, job->recoveries);
	return 0;
}

int explore_job_run(struct job *job, struct model *model)
{
	char path[96];
	int rc;

	leftover_adopt();
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
