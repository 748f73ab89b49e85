/* SPDX-License-Identifier: Apache-2.0 */
/* Several cases beside each other: each has its own run directory, gateway, keeper and history, so that they share nothing but the machine. */
#include <pthread.h>
#include <stdlib.h>

#include "engine/engine.h"

struct pool {
	const struct engine_options *options;
	const struct engine_case *cases;
	struct result *results;
	bool *finished;
	size_t count, next, shown;
	bool halted; /* every run was: the others are not begun */
	void (*done)(void *arg, const struct result *result);
	void *arg;
	pthread_mutex_t lock;
};

struct worker {
	struct pool *pool;
	unsigned lane;
	pthread_t thread;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct pool *p = w->pool;
	struct engine_options options = *p->options;

	options.lane = w->lane;
	pthread_mutex_lock(&p->lock);
	while (p->next < p->count && !p->halted && !interrupt_signal(options.interrupt)) {
		size_t i = p->next++;

		pthread_mutex_unlock(&p->lock);
		engine_run(&options, &p->cases[i], &p->results[i]);
		pthread_mutex_lock(&p->lock);
		p->finished[i] = true;
		p->halted = p->halted || p->results[i].halted;
		while (p->shown < p->next && p->finished[p->shown])
			p->done(p->arg, &p->results[p->shown++]);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

size_t engine_run_all(const struct engine_options *options, const struct engine_case *cases, size_t count,
    unsigned jobs, struct result *results, void (*done)(void *arg, const struct result *result), void *arg)
{
	struct pool pool = {
	    .options = options, .cases = cases, .results = results, .count = count, .done = done, .arg = arg};
	struct worker workers[PROGRESS_LANES];
	unsigned started = 0, i;

	pool.finished = calloc(count ? count : 1, sizeof *pool.finished);
	if (!pool.finished)
		return 0;
	pthread_mutex_init(&pool.lock, NULL);
	/* The first worker is this thread; that more could not be started only makes it slower. */
	workers[0] = (struct worker){.pool = &pool};
	for (i = 1; i < jobs && i < PROGRESS_LANES && i < count; i++) {
		workers[started + 1] = (struct worker){.pool = &pool, .lane = started + 1};
		if (pthread_create(&workers[started + 1].thread, NULL, work, &workers[started + 1]))
			break;
		started++;
	}
	work(&workers[0]);
	for (i = 1; i <= started; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_mutex_destroy(&pool.lock);
	free(pool.finished);
	return pool.next;
}
