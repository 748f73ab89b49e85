/* SPDX-License-Identifier: Apache-2.0 */
/* The room that the log has: its map and its file made larger, the file's blocks there before they are needed, a full disk. */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "wal/internal.h"

#define GROWTH_SLACK (1u << 20)   /* bytes, for LMDB's own pages */
#define AHEAD_FROM   (128u << 10) /* bytes of a log that is worth it */
#define AHEAD_MAX    (1u << 20)
#define AHEAD_BATCH  (16u << 10) /* bytes; one that is larger has so many flushes less */
#define AHEAD_LOW    (32u << 10) /* bytes, and twice what is needed now: with less, more are written */
#define ZEROS_SIZE   4096u

/* More address space, and a file as long as the map: a hole costs nothing, and what LMDB maps can never end in SIGBUS. */
int wal_grow(struct wal *wal, size_t needed, struct error *err)
{
	size_t size = wal->map_size;
	int rc, fd;

	do {
		if (size >= wal->map_size_max)
			return error_set(
			    err, ENOSPC, "%s: the log may not grow beyond %zu bytes", wal->dir, wal->map_size_max);
		size = size > wal->map_size_max / 2 ? wal->map_size_max : 2 * size;
	} while (size - wal->map_size < needed && size < wal->map_size_max);
	rc = mdb_env_get_fd(wal->env, &fd);
	if (rc)
		return wal_mdb_error(err, rc, wal, "has no file");
	if (ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0)
		return error_set(
		    err, errno, "%s/%s: cannot grow to %zu bytes: %s", wal->dir, WAL_DATA_FILE, size, strerror(errno));
	pthread_rwlock_wrlock(&wal->map);
	rc = mdb_env_set_mapsize(wal->env, size);
	if (rc)
		atomic_store(&wal->unmapped, true);
	pthread_rwlock_unlock(&wal->map);
	if (rc)
		return wal_mdb_error(err, rc, wal, "cannot be mapped at its new size");
	wal->map_size = size;
	return 0;
}

/* Zeros from `from` to `to` of the file, as far as that goes; what the process may not write would kill it (SIGXFSZ). */
static void write_zeros(int fd, size_t from, size_t to)
{
	static const uint8_t zeros[ZEROS_SIZE];
	struct iovec parts[AHEAD_MAX / ZEROS_SIZE];
	struct rlimit most;
	size_t count, i;

	if (getrlimit(RLIMIT_FSIZE, &most) == 0 && to > most.rlim_cur)
		to = (size_t)most.rlim_cur;
	if (to <= from)
		return;
	count = (to - from) / ZEROS_SIZE;
	for (i = 0; i < count; i++)
		parts[i] = (struct iovec){(void *)(uintptr_t)zeros, sizeof zeros};
	if (pwritev(fd, parts, (int)count, (off_t)from) < 0)
		return; /* a commit then finds its blocks itself, or says why there are none */
}

void wal_write_ahead(struct wal *wal, size_t needed)
{
	MDB_envinfo info;
	MDB_stat stat;
	size_t used, ahead, to;
	int fd;

	if (mdb_env_info(wal->env, &info) || mdb_env_stat(wal->env, &stat) || mdb_env_get_fd(wal->env, &fd))
		return;
	used = (info.me_last_pgno + 1) * stat.ms_psize;
	if (!wal->used_first)
		wal->used_first = used;
	if (wal->ahead_to < used)
		wal->ahead_to = used;
	ahead = used < AHEAD_MAX ? used / ZEROS_SIZE * ZEROS_SIZE : AHEAD_MAX;
	to = used + ahead < wal->map_size ? used + ahead : wal->map_size;
	if (used == wal->used_first || used < AHEAD_FROM || needed > AHEAD_BATCH ||
	    wal->ahead_to - used >= AHEAD_LOW + 2 * needed || to <= wal->ahead_to)
		return;
	write_zeros(fd, wal->ahead_to, to);
	wal->ahead_to = to;
}

/* What a full map asks for: pages that readers held who are gone, or else a larger map, once. */
int wal_make_room(struct wal *wal, size_t needed, bool *cleared, bool *grown, struct error *err)
{
	int rc, dead = 0;

	if (!*cleared) {
		*cleared = true;
		rc = mdb_reader_check(wal->env, &dead);
		if (rc)
			return wal_mdb_error(err, rc, wal, "cannot clear its stale readers");
		if (dead)
			return 0;
	}
	if (*grown)
		return wal_mdb_error(err, MDB_MAP_FULL, wal, "cannot be written");
	*grown = true;
	return wal_grow(wal, 2 * needed + GROWTH_SLACK, err);
}

/* LMDB says EIO for a short write, and that is how a disk becomes full. */
bool wal_disk_is_full(const struct wal *wal, size_t needed)
{
	struct statvfs status;

	return statvfs(wal->dir, &status) == 0 && status.f_bavail * status.f_frsize < needed + GROWTH_SLACK;
}
