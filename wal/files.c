/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a log before LMDB is let near them: is there a log, was there ever one, is its data whole, can its lock file be used. */
#include "wal/files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "wal/internal.h"

#define LMDB_LOCK_SIZE       8192
#define LMDB_OPENING_TRIES   200
#define LMDB_OPENING_WAIT_NS 1000000

static const char format_text[] = "tritone wal 1\n";

static int sync_dir(const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 ? -1 : fsync(fd);

	if (rc < 0)
		error_set(err, errno, "%s: cannot be made durable: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

static int sync_parent(const char *dir, struct error *err)
{
	char *copy = strdup(dir);
	int rc;

	if (!copy)
		return error_set(err, ENOMEM, "%s: out of memory", dir);
	rc = sync_dir(dirname(copy), err);
	free(copy);
	return rc;
}

int wal_create_dir(const char *dir, struct error *err)
{
	if (mkdir(dir, 0777) < 0 && errno != EEXIST)
		return error_set(err, errno, "%s: cannot be created: %s", dir, strerror(errno));
	return 0;
}

/* Is the mark there? -1: it is, but is not ours. */
static int look_for_mark(struct wal *wal, struct wal_opening *opening, struct error *err)
{
	char text[sizeof format_text] = "";
	int fd = openat(opening->dir_fd, WAL_FORMAT_FILE, O_RDONLY | O_CLOEXEC);
	bool torn = true;
	ssize_t n, i;

	if (fd < 0) {
		if (errno == ENOENT)
			return 0;
		return error_set(err, errno, "%s/%s: %s", wal->dir, WAL_FORMAT_FILE, strerror(errno));
	}
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n < 0)
		return error_set(err, errno, "%s/%s: %s", wal->dir, WAL_FORMAT_FILE, strerror(errno));
	opening->marked = n == (ssize_t)sizeof text - 1 && memcmp(text, format_text, sizeof text) == 0;
	/* a part of it, or zeros in its place: whoever was leaving the mark died of it */
	for (i = 0; i < n; i++)
		torn = torn && (text[i] == format_text[i] || !text[i]);
	if (!torn)
		return error_set(err, EILSEQ, "%s/%s: says '%.*s', expected 'tritone wal 1': not a log of this version",
		    wal->dir, WAL_FORMAT_FILE, (int)strcspn(text, "\n"), text);
	return 0;
}

/* Who finds the mark takes it that the entries of directory and data file are durable: whoever made them may have died
 * before they were. So these first. */
int wal_leave_mark(struct wal *wal, struct wal_opening *opening, struct error *err)
{
	const ssize_t size = sizeof format_text - 1;
	int fd, rc = -1;

	if (sync_parent(wal->dir, err) < 0 || sync_dir(wal->dir, err) < 0)
		return -1;
	fd = openat(opening->dir_fd, WAL_FORMAT_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd >= 0) {
		errno = EIO;
		rc = pwrite(fd, format_text, (size_t)size, 0) == size ? fsync(fd) : -1;
	}
	if (rc < 0)
		error_set(err, errno, "%s/%s: %s", wal->dir, WAL_FORMAT_FILE, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc < 0 ? -1 : sync_dir(wal->dir, err);
}

/* Whoever was creating this log died within LMDB's very first write: nothing was ever in it. */
static int begin_again(struct wal *wal, struct wal_opening *opening, struct error *err)
{
	opening->fresh = true;
	if (wal->read_only)
		return 0;
	if (unlinkat(opening->dir_fd, WAL_DATA_FILE, 0) < 0)
		return error_set(err, errno, "%s/%s: was never complete and cannot be removed: %s", wal->dir,
		    WAL_DATA_FILE, strerror(errno));
	opening->absent = true;
	return 0;
}

int wal_look_at_data(struct wal *wal, struct wal_opening *opening, uint64_t *ret_bad_lsn, struct error *err)
{
	struct shape_geometry geometry = {0};
	struct shape_found found = {0};
	char reason[128];
	struct stat status;

	if (look_for_mark(wal, opening, err) < 0)
		return -1;
	opening->data_fd = openat(opening->dir_fd, WAL_DATA_FILE, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (opening->data_fd < 0 && errno != ENOENT)
		return error_set(err, errno, "%s/%s: %s", wal->dir, WAL_DATA_FILE, strerror(errno));
	opening->absent = opening->data_fd < 0;
	if (!opening->absent && fstat(opening->data_fd, &status) < 0)
		return error_set(err, errno, "%s/%s: %s", wal->dir, WAL_DATA_FILE, strerror(errno));
	if (!opening->absent && !S_ISREG(status.st_mode))
		return error_set(err, EILSEQ, "%s/%s: is not a file", wal->dir, WAL_DATA_FILE);
	opening->fresh = opening->absent || status.st_size == 0;
	*ret_bad_lsn = opening->fresh && opening->marked;
	if (*ret_bad_lsn)
		return error_set(err, EILSEQ, "%s/%s: %s, though the log was created: all is lost from LSN 1 on",
		    wal->dir, WAL_DATA_FILE, opening->absent ? "missing" : "empty");
	if (opening->fresh)
		return 0;
	/* Asked first: a meta page that is torn behind its geometry looks whole, and LMDB aborts at it. */
	if (!opening->marked && shape_unborn(opening->data_fd))
		return begin_again(wal, opening, err);
	if (shape_geometry(opening->data_fd, &geometry, reason, sizeof reason)) {
		if (!geometry.size) /* not even LMDB's, or not to be read */
			return error_set(err, geometry.code, "%s/%s: %s", wal->dir, WAL_DATA_FILE, reason);
		shape_check(opening->data_fd, geometry.txn_id, &found, reason, sizeof reason);
		*ret_bad_lsn = found.last_lsn + 1;
		return error_set(err, EILSEQ, "%s/%s: damaged from LSN %llu on at the latest: %s", wal->dir,
		    WAL_DATA_FILE, (unsigned long long)*ret_bad_lsn, reason);
	}
	/* the file is as long as its map (see wal_grow), unless it was copied compactly */
	if (geometry.size > wal->map_size)
		wal->map_size = (geometry.size + geometry.page_size - 1) / geometry.page_size * geometry.page_size;
	return 0;
}

/*
 * LMDB makes its lock file sparse and maps it: on a full disk the first touch of it would be a SIGBUS. Its blocks are asked for before,
 * where that can be refused. The size is what LMDB takes for its 126 readers; a file that is longer is fine with it.
 */
static int reserve_lock(const struct wal *wal, int fd, struct error *err)
{
	int code;

	do
		code = posix_fallocate(fd, 0, LMDB_LOCK_SIZE);
	while (code == EINTR);
	if (code == ENOSPC || code == EDQUOT || code == EFBIG)
		return error_set(err, code, "%s/%s: %s", wal->dir, WAL_LMDB_LOCK, strerror(code));
	return 0; /* a file system that cannot reserve is no worse than before */
}

/*
 * LMDB waits without end for whoever holds its lock file alone, which a process does while it opens the environment first.
 * One that was stopped in that moment is not waited for: it is named.
 */
static int lock_file_is_free(const struct wal *wal, int fd, struct error *err)
{
	const struct timespec pause = {.tv_nsec = LMDB_OPENING_WAIT_NS};
	struct flock range = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
	int tries = 0, rc;

	while ((rc = fcntl(fd, F_GETLK, &range)) == 0 && range.l_type != F_UNLCK && ++tries < LMDB_OPENING_TRIES) {
		nanosleep(&pause, NULL);
		range = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
	}
	if (rc == 0 && range.l_type != F_UNLCK)
		return error_set(err, EBUSY, "%s/%s: process %ld holds it alone, and does not go on opening the log",
		    wal->dir, WAL_LMDB_LOCK, (long)range.l_pid);
	return 0;
}

int wal_look_at_lock(const struct wal *wal, const struct wal_opening *opening, struct error *err)
{
	const int flags = wal->read_only ? O_RDONLY : O_RDWR | O_CREAT;
	int fd = openat(opening->dir_fd, WAL_LMDB_LOCK, flags | O_CLOEXEC, 0666), rc = 0;

	if (fd < 0 && wal->read_only) /* without it LMDB says why */
		return 0;
	if (fd < 0)
		return error_set(err, errno, "%s/%s: %s", wal->dir, WAL_LMDB_LOCK, strerror(errno));
	if (!wal->read_only)
		rc = reserve_lock(wal, fd, err);
	if (rc == 0)
		rc = lock_file_is_free(wal, fd, err);
	close(fd);
	return rc;
}
