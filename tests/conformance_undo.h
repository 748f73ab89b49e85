/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold of a fault's undoing, whoever dies before it: tests of test_conformance, each of a struct world. */
#ifndef CONFORMANCE_UNDO_H
#define CONFORMANCE_UNDO_H

void conformance_revert_twice(void **state);
void conformance_revert_elsewhere(void **state);
void conformance_runner_killed(void **state);
void conformance_host_killed(void **state);
void conformance_damaged_record(void **state);

/* `test_conformance __host PLUGIN RUN STATE SOCKET`: injects, names its runner, and waits to be killed. argv: from PLUGIN on. */
int conformance_host(char **argv);

#endif
