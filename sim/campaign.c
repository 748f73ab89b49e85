/* SPDX-License-Identifier: Apache-2.0 */
/* Workers that take the next seeds from memory that they share; see campaign.h. */
#include "sim/campaign.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/plan.h"

#define CHUNK      8u  /* seeds taken at a time */
#define SEED_CPU_S 60u /* one seed that takes longer hangs */
#define TRY_CPU_S  2u  /* and when many are tried, of one of which that is known; most take a millisecond */

struct worker {
	pid_t pid;
	uint64_t at;      /* the seed that is being run */
	uint64_t end;     /* of its chunk; another process takes the rest of it over when this one dies */
	uint64_t counted; /* of its processor time, in shared->cpu_us */
	struct campaign sum;
};

struct shared {
	_Atomic uint64_t next;   /* offset of the next chunk */
	_Atomic uint64_t limit;  /* offset of the lowest seed that deviates */
	_Atomic uint64_t cpu_us; /* that all of them have used */
	_Atomic bool stop;
	struct worker workers[CAMPAIGN_JOBS_MAX];
};

static double now_s(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void keep(struct campaign *c, const struct campaign_found *found)
{
	uint32_t place = c->found_count;

	c->deviated++;
	while (place > 0 && c->found[place - 1].seed > found->seed)
		place--;
	if (place == CAMPAIGN_FOUND_MAX)
		return;
	if (c->found_count < CAMPAIGN_FOUND_MAX)
		c->found_count++;
	memmove(&c->found[place + 1], &c->found[place], (c->found_count - place - 1) * sizeof c->found[0]);
	c->found[place] = *found;
}

static void lower(_Atomic uint64_t *limit, uint64_t offset)
{
	uint64_t seen = atomic_load(limit);

	while (offset < seen && !atomic_compare_exchange_weak(limit, &seen, offset))
		;
}

static struct campaign_found found_in(const struct sim_result *r)
{
	struct campaign_found found = {.seed = r->seed};

	for (unsigned i = 0; i < SIM_CHECKS; i++) {
		if (!r->verdicts[i].violations)
			continue;
		if (!found.checks)
			memcpy(found.text, r->verdicts[i].text, sizeof found.text);
		found.checks |= 1u << i;
	}
	return found;
}

static void add(struct campaign *sum, const struct sim_result *r)
{
	sum->seeds++;
	sum->events += r->events;
	sum->steps += r->steps;
	sum->ops += r->ops;
	sum->simulated_us += r->simulated_us;
	sum->tasks += r->tasks;
	sum->done += r->done;
	sum->failed += r->failed;
	sum->crashes += r->crashes;
	sum->faults += r->faults_felt;
	sum->trace += r->trace;
}

static void watch_time(unsigned cpu_s)
{
	const struct itimerval limit = {.it_value = {.tv_sec = cpu_s}};

	setitimer(ITIMER_PROF, &limit, NULL);
}

static void take(
    struct shared *shared, struct worker *w, const struct campaign_options *options, const struct campaign_found *found)
{
	for (unsigned i = 0; i < SIM_CHECKS; i++)
		w->sum.by_check[i] += found->checks >> i & 1;
	if (options->aim >= 0 && !(found->checks >> options->aim & 1)) {
		w->sum.others++;
		return;
	}
	keep(&w->sum, found);
	if (options->aim >= 0)
		lower(&shared->limit, w->at);
}

/* ---- in a worker ---- */

/* May more seeds be run? The first may. */
static bool goes_on(struct shared *shared, struct worker *me, const struct campaign_options *options, double until_s)
{
	uint64_t used = (uint64_t)(now_s(CLOCK_PROCESS_CPUTIME_ID) * 1e6), more = used - me->counted;
	uint64_t all = atomic_fetch_add(&shared->cpu_us, more) + more;

	me->counted = used;
	if (me->sum.seeds == 0)
		return true;
	if (options->cpu_ms && all / 1000 >= options->cpu_ms)
		return false;
	return until_s <= 0 || now_s(CLOCK_MONOTONIC) <= until_s;
}

/* Ends with what has started it. */
static void follow(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(3);
}

static bool next_chunk(struct shared *shared, struct worker *me, const struct campaign_options *options, double until_s)
{
	me->at = atomic_fetch_add(&shared->next, CHUNK);
	me->end = me->at + CHUNK < options->count ? me->at + CHUNK : options->count;
	return me->at < options->count && goes_on(shared, me, options, until_s);
}

static void work(struct shared *shared, struct worker *me, const struct campaign_options *options, double until_s)
{
	struct sim_plan plan;
	struct sim_result result;
	struct sim *sim;
	struct error err;

	if (sim_create(&sim, options->bug, &err) != 0)
		_exit(3);
	me->sum.memory = sim_memory(sim);
	if (me->at < me->end) { /* what another one has left when it died */
		watch_time(SEED_CPU_S);
		if (!goes_on(shared, me, options, until_s))
			_exit(0);
	}
	for (;;) {
		if (me->at >= me->end) {
			watch_time(SEED_CPU_S);
			if (!next_chunk(shared, me, options, until_s))
				break;
		}
		if (me->at > atomic_load(&shared->limit) || atomic_load(&shared->stop))
			break;
		plan_draw(&plan, options->first + me->at);
		sim_run(sim, &plan, &result, &me->sum.coverage);
		add(&me->sum, &result);
		if (result.deviated) {
			struct campaign_found found = found_in(&result);

			take(shared, me, options, &found);
		}
		me->at++;
	}
	sim_destroy(sim);
}

static int begin_worker(
    struct shared *shared, struct worker *me, const struct campaign_options *options, double until_s, struct error *err)
{
	pid_t parent = getpid(), pid;

	me->counted = 0;
	pid = fork();
	if (pid < 0)
		return error_set(err, errno, "a process for the simulation: %s", strerror(errno));
	if (pid > 0) {
		me->pid = pid; /* in shared memory: only the parent writes it */
		return 0;
	}
	follow(parent);
	work(shared, me, options, until_s);
	_exit(0);
}

/* ---- in the parent ---- */

static void died(struct shared *shared, struct worker *w, const struct campaign_options *options, int number)
{
	struct campaign_found found = {
	    .seed = options->first + w->at, .checks = 1u << CAMPAIGN_CRASHED, .signal = number};

	snprintf(found.text, sizeof found.text,
	    number == SIGPROF ? "the core did not come to an end within %u s"
			      : "the core brought its process down: signal %u",
	    number == SIGPROF ? SEED_CPU_S : (unsigned)number);
	take(shared, w, options, &found);
	w->sum.seeds++;
	w->at++;
}

static uint64_t used_us(const struct rusage *usage)
{
	return (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

static struct worker *worker_of(struct shared *shared, unsigned jobs, pid_t pid)
{
	for (unsigned i = 0; i < jobs; i++)
		if (shared->workers[i].pid == pid)
			return &shared->workers[i];
	return NULL;
}

static int ended(struct shared *shared, struct worker *w, const struct campaign_options *options, double until_s,
    int status, const struct rusage *usage, struct error *err)
{
	uint64_t used = used_us(usage);

	w->pid = 0;
	if (used > w->counted)
		atomic_fetch_add(&shared->cpu_us, used - w->counted);
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return error_set(err, ENOMEM, "no memory for a simulation");
	if (!WIFSIGNALED(status))
		return 0;
	if (WTERMSIG(status) == SIGKILL)
		return error_set(err, EINTR, "a process of the simulation was ended from outside");
	if (w->at >= w->end)
		return error_set(
		    err, EIO, "a process of the simulation died before its first seed: signal %d", WTERMSIG(status));
	died(shared, w, options, WTERMSIG(status));
	return begin_worker(shared, w, options, until_s, err);
}

/* Looks at those that have ended. 1: none is left. */
static int reap(struct shared *shared, const struct campaign_options *options, double until_s, struct error *err)
{
	unsigned running = 0;
	struct rusage usage;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
		struct worker *w = worker_of(shared, options->jobs, pid);

		if (w && ended(shared, w, options, until_s, status, &usage, err) != 0)
			return -1;
	}
	for (unsigned i = 0; i < options->jobs; i++)
		running += shared->workers[i].pid > 0;
	return running == 0;
}

/* With these signals blocked. */
static int wait_for_all(struct shared *shared, const struct campaign_options *options, double until_s,
    const sigset_t *signals, int *ret_interrupted, struct error *err)
{
	int r;

	while ((r = reap(shared, options, until_s, err)) == 0) {
		int number = sigwaitinfo(signals, NULL);

		if (number < 0 || number == SIGCHLD)
			continue;
		if (*ret_interrupted)
			return error_set(err, EINTR, "interrupted again");
		*ret_interrupted = number;
		atomic_store(&shared->stop, true);
	}
	return r < 0 ? -1 : 0;
}

static void merge(struct campaign *all, const struct campaign *one)
{
	all->seeds += one->seeds;
	all->events += one->events;
	all->steps += one->steps;
	all->ops += one->ops;
	all->simulated_us += one->simulated_us;
	all->tasks += one->tasks;
	all->done += one->done;
	all->failed += one->failed;
	all->crashes += one->crashes;
	all->faults += one->faults;
	all->trace += one->trace;
	all->memory = one->memory > all->memory ? one->memory : all->memory;
	coverage_add(&all->coverage, &one->coverage);
	all->deviated += one->deviated;
	all->others += one->others;
	for (unsigned i = 0; i < SIM_CHECKS; i++)
		all->by_check[i] += one->by_check[i];
	for (uint32_t i = 0; i < one->found_count; i++) {
		keep(all, &one->found[i]);
		all->deviated--;
	}
}

static double children_cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return (double)used_us(&usage) / 1e6;
}

int campaign_run(struct campaign *campaign, const struct campaign_options *options, struct error *err)
{
	double from_s = now_s(CLOCK_MONOTONIC), cpu_s = children_cpu_s();
	double until_s = options->budget_ms ? from_s + (double)options->budget_ms / 1e3 : 0;
	struct shared *shared;
	sigset_t signals, before;
	int r = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	memset(campaign, 0, sizeof *campaign);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return error_set(err, errno, "memory for the simulation: %s", strerror(errno));
	atomic_store(&shared->limit, UINT64_MAX);
	fflush(NULL);
	sigprocmask(SIG_BLOCK, &signals, &before);
	for (unsigned i = 0; r == 0 && i < options->jobs; i++)
		r = begin_worker(shared, &shared->workers[i], options, until_s, err);
	if (r == 0)
		r = wait_for_all(shared, options, until_s, &signals, &campaign->interrupted, err);
	for (unsigned i = 0; i < options->jobs; i++) {
		if (r != 0 && shared->workers[i].pid > 0 && kill(shared->workers[i].pid, SIGKILL) == 0)
			waitpid(shared->workers[i].pid, NULL, 0);
		merge(campaign, &shared->workers[i].sum);
	}
	if (options->aim >= 0 && campaign->deviated > 1) { /* others have found a later one meanwhile */
		campaign->found_count = 1;
		campaign->deviated = 1;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	campaign->wall_s = now_s(CLOCK_MONOTONIC) - from_s;
	campaign->cpu_s = children_cpu_s() - cpu_s;
	munmap(shared, sizeof *shared);
	return r;
}

/* ---- one plan ---- */

struct one {
	struct campaign_found found;
	uint64_t events;
};

int campaign_try(
    const char *bug, const struct sim_plan *plan, struct campaign_found *found, uint64_t *ret_events, struct error *err)
{
	struct one *one = mmap(NULL, sizeof *one, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0, r = 0;
	pid_t parent = getpid(), pid;

	if (one == MAP_FAILED)
		return error_set(err, errno, "memory for the simulation: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		static struct coverage ignored;
		struct sim_result result;
		struct sim *sim;

		follow(parent);
		watch_time(TRY_CPU_S);
		if (!freopen("/dev/null", "w", stderr) || sim_create(&sim, bug, NULL) != 0)
			_exit(3);
		sim_run(sim, plan, &result, &ignored);
		one->found = found_in(&result);
		one->events = result.events;
		_exit(0);
	}
	while (pid > 0 && (r = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
		;
	if (pid < 0 || r < 0 || (WIFEXITED(status) && WEXITSTATUS(status) != 0)) {
		munmap(one, sizeof *one);
		return error_set(err, errno, "a process for the simulation could not be run");
	}
	*found = one->found;
	*ret_events = one->events;
	if (WIFSIGNALED(status))
		*found = (struct campaign_found){
		    .seed = plan->seed, .checks = 1u << CAMPAIGN_CRASHED, .signal = WTERMSIG(status)};
	munmap(one, sizeof *one);
	return 0;
}
