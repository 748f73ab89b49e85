/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each job walks all states and judges its share, by content: so each state has one judge, and nothing is exchanged but
 * counts. Here the jobs are started, watched and added up; what one does is in explore_job.c.
 */
#include <errno.h>
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
#include <unistd.h>

#include "crash/explore_internal.h"

#define SEEN_MAX         (1u << 22)
#define SEEN_OF_RECOVERY 32u /* states that one recovery leaves when it is crashed, about, that no other has left */

static pid_t start_job(struct job *job, struct model *model)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (explore_job_run(job, model) == 0)
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
	seen_case = explore_case(job, state, job->dir);
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

static int wait_for_job(pid_t pid, const struct share *share, struct error *err)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_set(
			    err, errno, "a job of the exploration cannot be waited for: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (share->failed.code)
		return error_set(err, share->failed.code, "%s", share->failed.text);
	return error_set(err, ECHILD, "a job of the exploration ended with status 0x%x", (unsigned)status);
}

static int run_jobs(struct job *job, struct model *model, struct error *err)
{
	pid_t pids[EXPLORE_JOBS_MAX];
	unsigned i, started;
	int rc = 0;

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
		const int one = wait_for_job(pids[i], &job->shared->jobs[i], rc == 0 ? err : NULL);

		rc = one < 0 ? -1 : rc;
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
	    .states_max = options->states_max,
	    .from = options->from};
}

/* Can be told what a recovery writes? */
static bool recoveries_known(const struct crash_judge *judge)
{
	return judge->recover || judge->record;
}

/* For what was judged, what was left to be recovered again, and what crashed recoveries leave. */
static struct seen_common *create_common(
    const struct crash_judge *judge, const struct explore_options *options, uint64_t visits)
{
	const uint64_t each = recoveries_known(judge) && options->recovery_max ? SEEN_OF_RECOVERY : 2;

	return seen_common_create(visits < SEEN_MAX / each ? visits * each : SEEN_MAX);
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
	struct error unread = {0};
	double begin = explore_now_s();
	unsigned i;
	int rc = -1;

	if (!err)
		err = job.err = &unread; /* the jobs tell each other by it */
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
	for (i = 0; i < MODEL_KINDS; i++)
		result.visits += count.visits[i];
	job.common = options->common;
	if (!job.common && !(job.common = create_common(judge, options, result.visits))) {
		error_set(err, ENOMEM, "no memory for what was seen");
		goto out;
	}
	rc = run_jobs(&job, model, err);
	if (rc == 0 && recoveries_known(judge) && options->recovery_max && !job.shared->stop) {
		uint64_t contents = 0;

		for (i = 0; i < EXPLORE_JOBS_MAX; i++)
			contents += job.shared->jobs[i].result.contents;
		job.recoveries = true;
		job.one_in = contents ? (contents - 1) / options->recovery_max + 1 : 1;
		result.crashed_all = job.one_in == 1;
		rc = run_jobs(&job, model, err);
	}
	for (i = 0; i < EXPLORE_JOBS_MAX; i++)
		explore_add_result(&result, &job.shared->jobs[i].result);
	result.exhaustive = count.exhaustive;
	result.seconds = explore_now_s() - begin;
	*ret_result = result;
out:
	if (job.common != options->common)
		seen_common_destroy(job.common);
	model_destroy(model);
	if (judge->finish && job.context)
		judge->finish(job.context);
	munmap(job.shared, sizeof *job.shared);
	return rc;
}
