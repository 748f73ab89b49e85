/* SPDX-License-Identifier: Apache-2.0 */
/* The preloaded library: puts the program that loads it under the recorder, before anything of its own runs. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crash/record/trap.h"

#define VISIBLE __attribute__((visibility("default")))

/* For mprotect, which no handler is called for. Written once, before the program begins. */
static struct record_control *preload_control;

static void complain(const char *what)
{
	static const char head[] = "tritone crashtest: cannot record: ";

	if (write(STDERR_FILENO, head, sizeof head - 1) < 0 || write(STDERR_FILENO, what, strlen(what)) < 0 ||
	    write(STDERR_FILENO, "\n", 1) < 0)
		return;
}

/* First of all constructors (-z initfirst), libc's too: its getenv would not find anything yet. */
static const char *find_variable(char **environment, const char *name)
{
	const size_t size = strlen(name);

	for (; *environment; environment++)
		if (!strncmp(*environment, name, size) && (*environment)[size] == '=')
			return *environment + size + 1;
	return NULL;
}

__attribute__((constructor)) static void begin(int argc, char **argv, char **environment)
{
	const char *path = find_variable(environment, RECORD_ENV);
	struct record_control *control;
	int fd, rc;
	long mapped;

	(void)argc;
	(void)argv;
	if (!path)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		complain(strerror(errno));
		return;
	}
	rc = trap_open_gate();
	if (rc) {
		complain(strerror(rc));
		return;
	}
	/* through the gate: whoever started us is under the filter, so we are, and the handler is not there yet */
	mapped = trap_call(SYS_mmap, 0, (long)RECORD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	close(fd);
	control = (struct record_control *)mapped;
	if ((mapped < 0 && mapped > -4096) || control->magic != RECORD_MAGIC) {
		complain("what " RECORD_ENV " names is no trace being recorded");
		return;
	}
	rc = trap_install(control);
	if (rc) {
		complain(strerror(rc));
		return;
	}
	preload_control = control;
	__atomic_add_fetch(&control->processes, 1, __ATOMIC_RELAXED);
}

/* A thread that blocks SIGSYS would be killed at its next write. */
static const sigset_t *without_ours(int how, const sigset_t *set, sigset_t *room)
{
	if (!set || how == SIG_UNBLOCK)
		return set;
	*room = *set;
	sigdelset(room, SIGSYS);
	return room;
}

VISIBLE int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t room;

	return (int)-trap_call(SYS_rt_sigprocmask, how, (long)without_ours(how, set, &room), (long)old, 8, 0, 0);
}

VISIBLE int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	const int rc = pthread_sigmask(how, set, old);

	errno = rc ? rc : errno;
	return rc ? -1 : 0;
}

VISIBLE int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	int (*real)(int, const struct sigaction *, struct sigaction *);
	struct sigaction room;
	void *symbol = dlsym(RTLD_NEXT, "sigaction");

	memcpy(&real, &symbol, sizeof real);
	if (number == SIGSYS && action)
		return 0;
	if (action) {
		room = *action;
		sigdelset(&room.sa_mask, SIGSYS);
	}
	return real(number, action ? &room : NULL, old);
}

/* The loader uses mprotect of its own before we are there, so the filter cannot look at it. */
VISIBLE int mprotect(void *address, size_t size, int protection)
{
	long rc;

	if (preload_control && (protection & PROT_WRITE) &&
	    __atomic_load_n(&preload_control->shared_maps, __ATOMIC_RELAXED))
		trap_look_at_mprotect(preload_control, address, size);
	rc = syscall(SYS_mprotect, address, size, protection);
	return rc < 0 ? -1 : 0;
}
