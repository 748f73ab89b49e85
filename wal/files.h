/* SPDX-License-Identifier: Apache-2.0 */
/* files: of a log, looked at before LMDB trusts them. */
#ifndef TRITONE_WAL_FILES_H
#define TRITONE_WAL_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "wal/error.h"

struct wal;

/* What opening has found out so far, and what must be let go of or taken back when it fails. */
struct wal_opening {
	int dir_fd, data_fd;
	bool absent; /* there was no data file: what is there now is ours to remove */
	bool marked; /* the format file says that the log was once complete */
	bool fresh;  /* nothing was ever written: initialise it */
	bool made;   /* it is a log now, if without the mark: nothing of it is to be removed */
};

int wal_create_dir(const char *dir, struct error *err);

/* The data file: is it one, whole, and if not, was it ever? Opens it for reading, and takes wal->map_size from it. */
int wal_look_at_data(struct wal *wal, struct wal_opening *opening, uint64_t *ret_bad_lsn, struct error *err);

/* LMDB's lock file: what LMDB is going to open and lock can be, without harm and without waiting. */
int wal_look_at_lock(const struct wal *wal, const struct wal_opening *opening, struct error *err);

/* The log is complete from here on. */
int wal_leave_mark(struct wal *wal, struct wal_opening *opening, struct error *err);

#endif
