/* SPDX-License-Identifier: Apache-2.0 */
/* The table of subjects. */
#include "crash/subjects/subject.h"

#include <string.h>

static const struct subject *const table[] = {
    &subject_sqlite_wal,
    &subject_sqlite_rollback,
    &subject_sqlite_rollback_extra,
    &subject_lmdb,
    &subject_lmdb_nosync,
    &subject_lmdb_nometasync,
    &subject_wal,
};

const struct subject *subject_at(size_t index)
{
	return index < sizeof table / sizeof *table ? table[index] : NULL;
}

const struct subject *subject_find(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof table / sizeof *table; i++)
		if (!strcmp(table[i]->name, name))
			return table[i];
	return NULL;
}
