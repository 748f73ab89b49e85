/* SPDX-License-Identifier: Apache-2.0 */
/* The seccomp program that notifies of file-writing calls: made once in the keeper; notified/filter.h installs it. */
#ifndef TRITONE_KEEPER_FILTER_H
#define TRITONE_KEEPER_FILTER_H

#include <stdbool.h>

#include "notified/filter.h"
#include "wal/error.h"

/* notified_free releases it. */
int filter_build(struct sock_fprog *ret_program, struct error *err);
/* Tries all of it in a forked child: install, notify, read the child's memory, take its descriptor,
 * answer. *ret_sync_wake_up may be NULL. */
int filter_try(bool *ret_sync_wake_up, struct error *err);

/* What this machine offers, for `tritone doctor` and plugins' check: 0, or -1 with the reason. */
int filter_available(struct error *err);

#endif
