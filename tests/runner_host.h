/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts that are processes of their own, to be killed with their faults active. Failures fail the test. */
#ifndef RUNNER_HOST_H
#define RUNNER_HOST_H

#include <sys/types.h>

#include "runner/runner.h"

/*
 * A host with two active faults of these options, but for fault_id and undo, that waits to be killed. Both are active when
 * this returns.
 */
pid_t fork_host_of_two(const struct runner_options *options, const char *first, const char *second);
/* Until no descendant is left. */
void wait_for_all(void);

#endif
