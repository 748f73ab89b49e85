/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of test_conformance's system, under the system-call filter and so never instrumented: `agent` only lives; `system STATE
 * FIFO` does what an orchestrator does once for each SIGUSR1 (writes below STATE, passes its fault point), and says so in FIFO.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "tritone/faultpoint.h"

static void tell(int fd)
{
	if (write(fd, "x", 1) != 1)
		_exit(9);
}

/* What fails here, by a fault, fails: the next one is tried all the same. */
static void work(const char *state)
{
	char path[4096] = "";
	int fd;

	strncat(path, state, sizeof path - 16);
	strcat(path, "/journal");
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd >= 0) {
		if (write(fd, "step\n", 5) == 5)
			(void)fsync(fd);
		close(fd);
	}
	(void)tritone_faultpoint("notify.swallow");
}

int main(int argc, char **argv)
{
	sigset_t set;
	int fd, sig;

	if (argc == 2 && !strcmp(argv[1], "agent"))
		for (;;)
			pause();
	if (argc != 4 || strcmp(argv[1], "system") != 0)
		return 2;
	fd = open(argv[3], O_WRONLY | O_CLOEXEC);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	if (fd < 0 || sigprocmask(SIG_BLOCK, &set, NULL))
		return 3;
	for (;;) {
		tell(fd);
		if (sigwait(&set, &sig))
			return 4;
		work(argv[2]);
	}
}
