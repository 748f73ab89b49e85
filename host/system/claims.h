/* SPDX-License-Identifier: Apache-2.0 */
/* The system's own words: its SLO file, one CLAIM operation for each entry whenever it is published anew. For one thread. */
#ifndef TRITONE_SYSTEM_CLAIMS_H
#define TRITONE_SYSTEM_CLAIMS_H

#include "history/history.h"
#include "system/watch.h"
#include "wal/error.h"

struct claims;

int claims_create(struct claims **ret_claims, struct history *history, const char *file, struct error *err);
void claims_destroy(struct claims *claims); /* NULL is fine */
int claims_watch(struct claims *claims, struct watch *watch, struct error *err);

#endif
