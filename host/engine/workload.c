/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hands the workload's tasks in, in order, on a thread of its own. It is a patient client: what is refused or unanswered is tried again with
 * the same idempotency key, a little later. Chains of roles: each task but the first of a chain waits for the one before; or a graph as the
 * experiment has it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "engine/run.h"

#define RETRY_MS 50

struct workload {
	struct system *system;
	const struct spec_strings *roles;
	double rate;
	const struct spec_task *graph; /* NULL: chains */
	struct timespec began;
	size_t first, count;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop, done;
};

static const char *role_of(const struct workload *w, size_t index)
{
	return w->roles->count ? w->roles->items[index % w->roles->count] : "task";
}

/* Returns true when the workload was stopped meanwhile. */
static bool wait_until(struct workload *w, const struct timespec *when)
{
	bool stop;

	pthread_mutex_lock(&w->lock);
	while (!w->stop && pthread_cond_timedwait(&w->wake, &w->lock, when) != ETIMEDOUT)
		;
	stop = w->stop;
	pthread_mutex_unlock(&w->lock);
	return stop;
}

struct names {
	char task[96], after[1024];
};

/* Each task of a chain is after the one before; the first one that is handed in waits for nobody. */
static void name_in_chain(const struct workload *w, size_t index, struct names *names)
{
	snprintf(names->task, sizeof names->task, "t%03zu-%s", index, role_of(w, index));
	snprintf(names->after, sizeof names->after, "[]");
	if (w->roles->count && index % w->roles->count && index > w->first)
		snprintf(names->after, sizeof names->after, "[\"t%03zu-%s\"]", index - 1, role_of(w, index - 1));
}

static void name_in_graph(const struct workload *w, size_t index, struct names *names)
{
	const struct spec_task *task = &w->graph[index];
	size_t used = 1, i, k;

	snprintf(names->task, sizeof names->task, "t%03zu-%.64s", index, task->role);
	names->after[0] = '[';
	for (i = 0; i < task->after.count; i++)
		for (k = 0; k < index && used + 96 < sizeof names->after; k++)
			if (!strcmp(w->graph[k].name, task->after.items[i]))
				used += (size_t)snprintf(names->after + used, sizeof names->after - used,
				    "%s\"t%03zu-%.64s\"", used > 1 ? ", " : "", k, w->graph[k].role);
	snprintf(names->after + used, sizeof names->after - used, "]");
}

/* Until it is accepted; true when the workload was stopped before. */
static bool submit(struct workload *w, size_t index)
{
	char key[128], prompt[256];
	struct names names = {.task = ""};
	struct system_task t = {.task = names.task,
	    .key = key,
	    .role = w->graph ? w->graph[index].role : role_of(w, index),
	    .prompt = prompt,
	    .after = names.after};
	struct timespec next;

	if (w->graph)
		name_in_graph(w, index, &names);
	else
		name_in_chain(w, index, &names);
	snprintf(key, sizeof key, "key-%s", names.task);
	snprintf(prompt, sizeof prompt, "Do the %.64s of item %zu and leave the result in work/%s.md", t.role, index,
	    names.task);
	for (;;) {
		next = clock_in(RETRY_MS);
		if (system_submit(w->system, &t) == 0)
			return false;
		if (wait_until(w, &next))
			return true;
	}
}

/* When the task's time has come; true when the workload was stopped before. */
static bool wait_for_turn(struct workload *w, size_t index)
{
	struct timespec when = clock_later(w->began, w->graph[index].at_ms);

	return wait_until(w, &when);
}

static void *hand_in(void *arg)
{
	struct workload *w = arg;
	struct timespec next;
	bool stop = false;
	size_t i;

	for (i = 0; i < w->count && !stop; i++) {
		next = clock_in(w->rate > 0 ? (int64_t)(1000 / w->rate) : 0);
		if (w->graph && wait_for_turn(w, i))
			break;
		stop = submit(w, w->first + i) || wait_until(w, &next);
	}
	pthread_mutex_lock(&w->lock);
	w->done = true;
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static int start(struct workload **ret_workload, const struct workload *like, struct error *err)
{
	struct workload *w = malloc(sizeof *w);
	int r;

	if (!w)
		return error_set(err, ENOMEM, "no memory for the workload");
	*w = *like;
	w->began = clock_in(0);
	pthread_mutex_init(&w->lock, NULL);
	clock_cond_init(&w->wake);
	r = pthread_create(&w->thread, NULL, hand_in, w);
	if (r) {
		pthread_cond_destroy(&w->wake);
		pthread_mutex_destroy(&w->lock);
		free(w);
		return error_set(err, r, "a thread for the workload: %s", strerror(r));
	}
	*ret_workload = w;
	return 0;
}

int workload_start(struct workload **ret_workload, struct system *system, const struct spec_strings *roles, double rate,
    size_t first, size_t count, struct error *err)
{
	const struct workload like = {.system = system, .roles = roles, .rate = rate, .first = first, .count = count};

	return start(ret_workload, &like, err);
}

int workload_start_graph(struct workload **ret_workload, struct system *system, const struct spec_task *graph,
    size_t count, struct error *err)
{
	const struct workload like = {.system = system, .graph = graph, .count = count};

	return start(ret_workload, &like, err);
}

bool workload_done(struct workload *w)
{
	bool done;

	if (!w)
		return true;
	pthread_mutex_lock(&w->lock);
	done = w->done;
	pthread_mutex_unlock(&w->lock);
	return done;
}

void workload_stop(struct workload *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
