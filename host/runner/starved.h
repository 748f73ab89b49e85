/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a runner's process has been kept from its work by a busy machine: that is no time of the hook's. */
#ifndef TRITONE_RUNNER_STARVED_H
#define TRITONE_RUNNER_STARVED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Of its own two threads, the one of the hooks and the one of the socket; what a plugin has started does not count. */
struct starved {
	int64_t ran_us;    /* on a processor */
	int64_t waited_us; /* ready to run before each time that they came to run */
	bool ready;        /* one of them is now: it runs, or waits for a processor */
};

/* All 0 where the kernel does not say, or the process is gone. */
void starved_look(pid_t pid, struct starved *ret);

#endif
