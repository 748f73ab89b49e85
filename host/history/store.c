/* SPDX-License-Identifier: Apache-2.0 */
/* The history on disk, in a wal/ log. Refuses until that log is here. */
#include <errno.h>

#include "history/internal.h"

int store_create(struct history *history, const char *dir, struct error *err)
{
	(void)history;
	return error_set(err, ENOTSUP, "%s: histories cannot be stored yet", dir);
}

void store_destroy(struct store *store)
{
	(void)store;
}

void store_wake(struct store *store)
{
	(void)store;
}

int history_sync(struct history *history, struct error *err)
{
	(void)history;
	return error_set(err, ENOTSUP, "histories cannot be stored yet");
}

int history_store_error(struct history *history, struct error *err)
{
	(void)history;
	(void)err;
	return 0;
}

int history_load(struct history **ret_history, const char *dir, struct error *err)
{
	(void)ret_history;
	return error_set(err, ENOTSUP, "%s: histories cannot be loaded yet", dir);
}
