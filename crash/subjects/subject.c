/* SPDX-License-Identifier: Apache-2.0 */
/* The table of subjects, and how one that runs by itself acknowledges. */
#include "crash/subjects/subject.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

int subject_print(void *arg, uint32_t transaction)
{
	char line[16];
	const int size = snprintf(line, sizeof line, "%u\n", transaction);

	(void)arg;
	return write(STDOUT_FILENO, line, (size_t)size) == size ? 0 : -1;
}
