/* SPDX-License-Identifier: Apache-2.0 */
/* The fault that a conformance test is about: one at a time, through the real runner. Failures fail the test. */
#ifndef CONFORMANCE_FAULT_H
#define CONFORMANCE_FAULT_H

#include "conformance_world.h"

#define FAULT "conformance-1"

/* Its runner, and the plugin checked. `params`: name=value ..., NULL at the end, or NULL. */
void fault_start(struct world *w, const char *const *params);
/* That, planned and injected. */
void fault_inject(struct world *w, const char *const *params);
/* How many undo records are; the last in *ret_entry, if not NULL. */
int fault_outstanding(struct world *w, struct undo_entry *ret_entry);
/* The only one. Free it. */
struct undo_entry *fault_entry(struct world *w);
void fault_recover(struct world *w, const struct undo_entry *entry);
/* A kill cannot be undone, all else must be as it was. */
void assert_undone(struct world *w, const char *tree_before);
/* Our child, the runner of this fault. */
pid_t runner_pid(void);
/* One line of text, and not of space. */
void assert_line(const char *text, const char *what);

#endif
