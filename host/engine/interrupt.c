/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as a descriptor to wait for: blocked in every thread, taken by one that does nothing else. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/engine.h"

struct interrupt {
	pthread_t thread;
	atomic_int first;
	atomic_bool over;
	int fd;
	sigset_t set, before;
};

static void *take_signals(void *arg)
{
	struct interrupt *in = arg;
	const uint64_t one = 1;
	int sig;

	for (;;) {
		int none = 0;

		if (sigwait(&in->set, &sig) != 0)
			continue;
		if (sig == SIGUSR2) { /* interrupt_end, or somebody else's, which means nothing */
			if (atomic_load(&in->over))
				return NULL;
			continue;
		}
		atomic_compare_exchange_strong(&in->first, &none, sig);
		while (write(in->fd, &one, sizeof one) < 0 && errno == EINTR)
			;
	}
}

int interrupt_begin(struct interrupt **ret_interrupt, struct error *err)
{
	struct interrupt *in = calloc(1, sizeof *in);
	int r;

	if (!in)
		return error_set(err, ENOMEM, "no memory");
	in->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (in->fd < 0) {
		r = errno;
		free(in);
		return error_set(err, r, "eventfd: %s", strerror(r));
	}
	sigemptyset(&in->set);
	sigaddset(&in->set, SIGINT);
	sigaddset(&in->set, SIGTERM);
	sigaddset(&in->set, SIGHUP);
	sigaddset(&in->set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &in->set, &in->before);
	signal(SIGPIPE, SIG_IGN);
	r = pthread_create(&in->thread, NULL, take_signals, in);
	if (r) {
		pthread_sigmask(SIG_SETMASK, &in->before, NULL);
		close(in->fd);
		free(in);
		return error_set(err, r, "a thread for signals: %s", strerror(r));
	}
	*ret_interrupt = in;
	return 0;
}

void interrupt_end(struct interrupt *in)
{
	if (!in)
		return;
	atomic_store(&in->over, true);
	pthread_kill(in->thread, SIGUSR2);
	pthread_join(in->thread, NULL);
	pthread_sigmask(SIG_SETMASK, &in->before, NULL);
	close(in->fd);
	free(in);
}

int interrupt_signal(const struct interrupt *in)
{
	return in ? atomic_load(&in->first) : 0;
}

int interrupt_fd(const struct interrupt *in)
{
	return in ? in->fd : -1;
}
