/* SPDX-License-Identifier: Apache-2.0 */
/* Copies a directory, sharing the blocks where the file system can; and removes one. */
#ifndef TRITONE_SYSTEM_COPYTREE_H
#define TRITONE_SYSTEM_COPYTREE_H

#include "wal/error.h"

/* `to` may not exist. Files, directories and symbolic links; sockets, pipes and devices are left out, and so is what vanishes
 * meanwhile. */
int copytree(const char *from, const char *to, struct error *err);
/* Not there: fine. Follows no link. */
int removetree(const char *path, struct error *err);

#endif
