/* SPDX-License-Identifier: Apache-2.0 */
/* The monotonic clock, in milliseconds and for conditions that are waited for. Header only. */
#ifndef TRITONE_CLOCK_H
#define TRITONE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* So much later than `from`. */
static inline struct timespec clock_later(struct timespec from, int64_t ms)
{
	from.tv_sec += ms / 1000;
	from.tv_nsec += (ms % 1000) * 1000000;
	if (from.tv_nsec >= 1000000000) {
		from.tv_sec++;
		from.tv_nsec -= 1000000000;
	}
	return from;
}

/* So much later than now: for pthread_cond_timedwait on a condition of clock_cond_init. */
static inline struct timespec clock_in(int64_t ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return clock_later(now, ms);
}

/* A condition whose waits end by this clock. 0, or an errno value. */
static inline int clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int code = pthread_condattr_init(&attr);

	if (code)
		return code;
	code = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!code)
		code = pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
	return code;
}

#endif
