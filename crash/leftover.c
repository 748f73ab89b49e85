/* SPDX-License-Identifier: Apache-2.0 */
/* As a subreaper: an orphan comes to us, so that killing children until there are none finds all. */
#include "crash/leftover.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void leftover_adopt(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/* Was there any that can be killed? */
static bool kill_children(void)
{
	char path[64];
	bool killed = false;
	FILE *list;
	int pid;

	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	list = fopen(path, "re");
	if (!list)
		return false;
	while (fscanf(list, "%d", &pid) == 1)
		killed = (pid > 1 && kill((pid_t)pid, SIGKILL) == 0) || killed;
	fclose(list);
	return killed;
}

void leftover_end(void)
{
	pid_t pid;

	for (;;) {
		pid = waitpid(-1, NULL, WNOHANG);
		if (pid == 0) { /* there are some, and they live */
			if (!kill_children())
				return;
			pid = waitpid(-1, NULL, 0);
		}
		if (pid < 0 && errno != EINTR)
			return;
	}
}
