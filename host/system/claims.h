/* SPDX-License-Identifier: Apache-2.0 */
/* The system's own words: its SLO file, one CLAIM operation for each entry whenever it is published anew. For one thread. */
#ifndef TRITONE_SYSTEM_CLAIMS_H
#define TRITONE_SYSTEM_CLAIMS_H

#include <stdbool.h>
#include <stddef.h>

#include "history/history.h"
#include "system/watch.h"
#include "wal/error.h"

struct claims;

/* One CLAIM operation for each entry of such a text; none when it is no JSON. And one by itself. */
void claims_take(struct history *history, const char *text, size_t size);
void claims_record(struct history *history, const char *name, double number, bool met, const char *status);

int claims_create(struct claims **ret_claims, struct history *history, const char *file, struct error *err);
void claims_destroy(struct claims *claims); /* NULL is fine */
int claims_watch(struct claims *claims, struct watch *watch, struct error *err);

#endif
