/* SPDX-License-Identifier: Apache-2.0 */
/* Claims that have to be asked for: a URL, a command, or metrics, again and again on a thread of its own. */
#ifndef TRITONE_SYSTEM_ASKER_H
#define TRITONE_SYSTEM_ASKER_H

#include "wal/error.h"

struct asker;
struct system;

/* Asks what the manifest's slo says, until asker_stop. Whoever does not answer has claimed nothing. */
int asker_start(struct asker **ret_asker, struct system *system, struct error *err);
void asker_stop(struct asker *asker); /* joins and frees; NULL is fine */

#endif
