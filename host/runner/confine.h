/* SPDX-License-Identifier: Apache-2.0 */
/* What a fault runner gives up before and after it has loaded its plugin. Inherited by all that it starts. */
#ifndef TRITONE_RUNNER_CONFINE_H
#define TRITONE_RUNNER_CONFINE_H

#include "wal/error.h"

/* No new privileges, no core files, no descriptors above `keep_fd`. */
int confine_process(int keep_fd, struct error *err);
/*
 * From now on files can be written, made and removed only below `paths` (NULL-terminated; one that does not exist is
 * left out) and in /dev/null. May be called again to take more away. ENOTSUP when the kernel cannot.
 */
int confine_files(const char *const *paths, struct error *err);
/* No sockets but AF_UNIX. ENOTSUP when the kernel cannot. */
int confine_network(struct error *err);

#endif
