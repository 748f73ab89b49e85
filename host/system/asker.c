/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that asks a system for its claims. */
#include "system/asker.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "system/metrics.h"
#include "system/private.h"

#define ASK_TIMEOUT_MS 5000

struct asker {
	struct system *system;
	struct metrics_condition *conditions; /* one for each of the manifest's samples */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop; /* under the lock */
};

/* What a URL of the manifest answers, malloc'ed; NULL: nothing. */
static char *fetch(struct system *system, const char *text, size_t *ret_size)
{
	struct http_reply reply = {0, NULL, 0};
	char *url;

	if (spec_expand(&url, text, system_lookup, system, NULL) != 0)
		return NULL;
	if (http_do(system->http, &(struct http_request){.url = url, .timeout_ms = ASK_TIMEOUT_MS}, &reply, NULL) != 0)
		reply.body = NULL;
	free(url);
	if (reply.body && (reply.status < 200 || reply.status >= 300)) {
		free(reply.body);
		return NULL;
	}
	*ret_size = reply.size;
	return reply.body;
}

static void claim_samples(const struct asker *asker, const char *text)
{
	const struct spec_pairs *samples = &asker->system->manifest->slo.samples;

	for (size_t i = 0; i < samples->count; i++) {
		double value;

		if (metrics_find(text, &asker->conditions[i], &value))
			claims_record(asker->system->history, samples->items[i].name, value,
			    metrics_holds(&asker->conditions[i], value), "");
	}
}

static void ask(const struct asker *asker)
{
	struct system *system = asker->system;
	const struct spec_manifest *m = system->manifest;
	char *text = NULL;
	size_t size = 0;

	if (m->slo.metrics) {
		text = fetch(system, m->slo.metrics, &size);
		if (text)
			claim_samples(asker, text);
	} else if (m->slo.url) {
		text = fetch(system, m->slo.url, &size);
	} else if (system_command_says(system, "slo", &m->slo.command, &text, &size, NULL) != 0) {
		text = NULL;
	}
	if (text && !m->slo.metrics)
		claims_take(system->history, text, size);
	free(text);
}

static void *again_and_again(void *arg)
{
	struct asker *asker = arg;
	int64_t every_ms = asker->system->manifest->slo.every_ms;
	struct timespec next;
	bool stop = false;

	while (!stop) {
		ask(asker);
		next = clock_in(every_ms);
		pthread_mutex_lock(&asker->lock);
		while (!asker->stop && pthread_cond_timedwait(&asker->wake, &asker->lock, &next) != ETIMEDOUT)
			;
		stop = asker->stop;
		pthread_mutex_unlock(&asker->lock);
	}
	return NULL;
}

static int read_conditions(struct asker *asker, struct error *err)
{
	const struct spec_pairs *samples = &asker->system->manifest->slo.samples;

	asker->conditions = calloc(samples->count + 1, sizeof *asker->conditions);
	if (!asker->conditions)
		return error_set(err, ENOMEM, "no memory for the claims");
	for (size_t i = 0; i < samples->count; i++)
		if (metrics_condition(&asker->conditions[i], samples->items[i].value, err) != 0)
			return error_context(err, "%s:%u:%u", asker->system->manifest->file, samples->items[i].line,
			    samples->items[i].column);
	return 0;
}

int asker_start(struct asker **ret_asker, struct system *system, struct error *err)
{
	struct asker *asker = calloc(1, sizeof *asker);
	int code;

	if (!asker)
		return error_set(err, ENOMEM, "no memory for the claims");
	asker->system = system;
	if (read_conditions(asker, err) != 0) {
		free(asker->conditions);
		free(asker);
		return -1;
	}
	pthread_mutex_init(&asker->lock, NULL);
	clock_cond_init(&asker->wake);
	code = pthread_create(&asker->thread, NULL, again_and_again, asker);
	if (code) {
		pthread_cond_destroy(&asker->wake);
		pthread_mutex_destroy(&asker->lock);
		free(asker->conditions);
		free(asker);
		return error_set(err, code, "a thread for the claims: %s", strerror(code));
	}
	*ret_asker = asker;
	return 0;
}

void asker_stop(struct asker *asker)
{
	if (!asker)
		return;
	pthread_mutex_lock(&asker->lock);
	asker->stop = true;
	pthread_cond_broadcast(&asker->wake);
	pthread_mutex_unlock(&asker->lock);
	pthread_join(asker->thread, NULL);
	pthread_cond_destroy(&asker->wake);
	pthread_mutex_destroy(&asker->lock);
	free(asker->conditions);
	free(asker);
}
