/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories watched with inotify for several parties at once. Directories that do not exist yet
 * are waited for; each is listed once after its watch is in place, so that nothing falls in between
 * (a file may then be reported twice: once as found, once as an event).
 *
 * For one thread. A callback may not call back into the watch.
 */
#ifndef TRITONE_SYSTEM_WATCH_H
#define TRITONE_SYSTEM_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "wal/error.h"

struct watch;

/* A file (not a directory) at `path`. mask: inotify's (IN_CREATE, IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_TO, IN_DELETE,
 * IN_MOVED_FROM), or 0: found when its directory was listed. */
typedef void (*watch_event_fn)(void *arg, const char *path, uint32_t mask);
/* Is directory `dir`, somewhere below the root, to be watched too? */
typedef bool (*watch_descend_fn)(void *arg, const char *dir);

int watch_create(struct watch **ret_watch, struct error *err);
void watch_destroy(struct watch *watch); /* NULL is fine */
int watch_fd(const struct watch *watch); /* readable when there is something to dispatch */

/* Watches directory `root` (absolute; it need not exist) for one party. descend NULL: not what is below it. */
int watch_add(struct watch *watch, const char *root, watch_descend_fn descend, watch_event_fn event, void *arg,
    struct error *err);
/* The directory that `file` (absolute) is or will be in; the party looks at the paths itself. event NULL: it is only woken. */
int watch_beside(struct watch *watch, const char *file, watch_event_fn event, void *arg, struct error *err);
/* Handles all that has happened up to now. When events were lost, everything is listed again. */
int watch_dispatch(struct watch *watch, struct error *err);

#endif
