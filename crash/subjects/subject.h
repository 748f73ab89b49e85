/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that keep their state in files, to be crashed: SQLite, LMDB, and wal/ beside them, all with the same work.
 * Each writes below a directory, says what is durable by its library's own word, and can be asked afterwards whether
 * that is still so. They know nothing of the explorer.
 */
#ifndef TRITONE_CRASH_SUBJECTS_SUBJECT_H
#define TRITONE_CRASH_SUBJECTS_SUBJECT_H

#include <stddef.h>
#include <stdint.h>

#include "wal/error.h"

/* What became of a directory; also the exit status of `crash-subject NAME check`. */
enum subject_verdict {
	SUBJECT_RECOVERED = 0, /* all that was acknowledged, and nothing that was not attempted */
	SUBJECT_LOST = 1,      /* whole, but of an earlier time than the last acknowledgement */
	SUBJECT_CORRUPT = 2,   /* opened, and gave what was never written: silently wrong */
	SUBJECT_REFUSED = 3,   /* the library says by itself that something is wrong */
};

/* Told after each transaction that the library calls durable. */
typedef int (*subject_acked_fn)(void *arg, uint32_t transaction);
/* One that prints its number: a line on standard output. 0 or -1. */
int subject_print(void *arg, uint32_t transaction);

struct subject {
	const char *name, *summary;
	/* Transactions 1 to `count`, in a fresh directory. */
	int (*write)(const char *dir, uint32_t count, subject_acked_fn acked, void *arg, struct error *err);
	/* What the library does when it is opened after a crash, and nothing more. */
	int (*recover)(const char *dir, struct error *err);
	/*
	 * Reads everything and compares with what transactions 1 to m leave behind, for the m that is found: it is to be
	 * no less than `acked` and no more than `attempted`. `message` says what is wrong, "" if nothing is. LMDB may
	 * take the process down with SIGSEGV or SIGBUS here: call it in one that may die.
	 */
	enum subject_verdict (*check)(
	    const char *dir, uint32_t acked, uint32_t attempted, char *message, size_t message_size);
};

const struct subject *subject_find(const char *name); /* NULL: there is none */
const struct subject *subject_at(size_t index);       /* NULL: no more */

extern const struct subject subject_sqlite_wal, subject_sqlite_rollback, subject_sqlite_rollback_extra;
extern const struct subject subject_lmdb, subject_lmdb_nosync, subject_lmdb_nometasync, subject_wal;

#endif
