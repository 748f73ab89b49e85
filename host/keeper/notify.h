/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's second thread: answers the notifications of every filtered process by the rules. */
#ifndef TRITONE_KEEPER_NOTIFY_H
#define TRITONE_KEEPER_NOTIFY_H

#include "keeper/rules.h"
#include "wal/error.h"

struct notify;

/* `rules` must outlive it. */
int notify_start(struct notify **ret_notify, struct rules *rules, struct error *err);
/* Takes the listener over, whatever is returned; closes it when no process is left under its filter. */
int notify_add(struct notify *notify, int listener, struct error *err);
/* A rule was cleared: calls that it delays go on now. */
void notify_rules_changed(struct notify *notify);
void notify_stop(struct notify *notify); /* NULL is fine */

#endif
