/* SPDX-License-Identifier: Apache-2.0 */
/* What this machine offers: each capability tried for real, what it is for, and what is lost
 * without it. Leaves nothing behind. */
#ifndef TRITONE_SYSTEM_MACHINE_H
#define TRITONE_SYSTEM_MACHINE_H

#include <stdbool.h>

struct machine_row {
	const char *name;
	bool present;
	bool needed;      /* without it, suites end with status 7 */
	char detail[160]; /* what was found, or why not */
	const char *used_for;
	const char *without; /* what its absence costs */
};

/* Calls visit for each capability. `state_root` need not exist: then the directory where it would
 * be made is measured. Returns how many are needed and missing. */
int machine_look(const char *state_root, void (*visit)(void *arg, const struct machine_row *row), void *arg);

#endif
