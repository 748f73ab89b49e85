/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a log. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wal/files.h"
#include "wal/internal.h"

#define MAP_SIZE_DEFAULT     ((size_t)16 << 20)
#define MAP_SIZE_MAX_DEFAULT ((size_t)64 << 30)
#define SNAPSHOT_TRIES       100 /* each is lost only when a writer commits twice in between */

static int open_env(struct wal *wal, struct wal_opening *opening, struct error *err)
{
	unsigned flags = MDB_NOTLS; /* a reader's slot is the transaction's, not the thread's */
	int rc = mdb_env_create(&wal->env);

	if (rc)
		return wal_mdb_error(err, rc, wal, "LMDB");
	rc = mdb_env_set_maxdbs(wal->env, 2);
	if (!rc)
		rc = mdb_env_set_mapsize(wal->env, wal->map_size);
	if (wal->read_only) {
		flags |= MDB_RDONLY;
		/* Without a lock file LMDB would make one, and reading changes nothing on disk; it is needed only
		 * beside a live writer. */
		if (faccessat(opening->dir_fd, WAL_LMDB_LOCK, R_OK | W_OK, 0) < 0) {
			const int code = errno;

			if (code != ENOENT && code != EACCES && code != EROFS)
				return error_set(err, code, "%s/%s: %s", wal->dir, WAL_LMDB_LOCK, strerror(code));
			if (wal_lock_holder(opening->dir_fd))
				return error_set(err, code,
				    "%s/%s: %s; the log has a live writer, beside which it is needed", wal->dir,
				    WAL_LMDB_LOCK, strerror(code));
			flags |= MDB_NOLOCK;
		}
	}
	if (!rc && !(flags & MDB_NOLOCK) && wal_look_at_lock(wal, opening, err) < 0)
		return -1;
	if (!rc)
		rc = mdb_env_open(wal->env, wal->dir, flags, 0666);
	if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH) /* the data file was looked at before */
		return error_set(err, EILSEQ,
		    "%s/%s: is not LMDB's lock file; where no process uses the log it may be removed", wal->dir,
		    WAL_LMDB_LOCK);
	return rc ? wal_mdb_error(err, rc, wal, "cannot be opened") : 0;
}

/* Walks the pages of the current snapshot. Takes new snapshots when a live writer overtakes it. */
static int check_shape(struct wal *wal, struct wal_opening *opening, uint64_t *ret_bad_lsn, struct error *err)
{
	struct shape_found found = {0};
	const char *why = "";
	char reason[128];
	int tries;

	for (tries = 0; why && !*why && tries < SNAPSHOT_TRIES; tries++) {
		MDB_txn *txn;

		if (wal_read_begin(wal, &txn, err) < 0)
			return -1;
		why = shape_check(opening->data_fd, mdb_txn_id(txn), &found, reason, sizeof reason);
		wal_read_end(wal, txn);
	}
	if (why && !*why)
		return error_set(err, EAGAIN, "%s: its writer is too fast to take a snapshot; try again", wal->dir);
	if (why && found.code != EILSEQ)
		return error_set(err, found.code, "%s/%s: %s", wal->dir, WAL_DATA_FILE, why);
	if (why) {
		*ret_bad_lsn = found.last_lsn + 1;
		return error_set(err, EILSEQ, "%s/%s: damaged from LSN %llu on at the latest: %s", wal->dir,
		    WAL_DATA_FILE, (unsigned long long)*ret_bad_lsn, why);
	}
	*ret_bad_lsn = found.empty && opening->marked;
	if (*ret_bad_lsn)
		return error_set(err, EILSEQ,
		    "%s/%s: holds nothing, though the log was created: all is lost from LSN 1 on", wal->dir,
		    WAL_DATA_FILE);
	opening->fresh = found.empty;
	return 0;
}

/* The file is made as long as the map: LMDB then never reads beyond its end, and a shorter one is a cut one. */
static int extend_data(struct wal *wal, struct error *err)
{
	struct stat status;
	int fd, rc = mdb_env_get_fd(wal->env, &fd);

	if (rc)
		return wal_mdb_error(err, rc, wal, "has no file");
	if (fstat(fd, &status) < 0 ||
	    ((size_t)status.st_size < wal->map_size && (ftruncate(fd, (off_t)wal->map_size) < 0 || fsync(fd) < 0)))
		return error_set(err, errno, "%s/%s: cannot be made %zu bytes long: %s", wal->dir, WAL_DATA_FILE,
		    wal->map_size, strerror(errno));
	return 0;
}

/* One transaction: an LMDB code, or -1 with *err filled. */
static int take_over_once(struct wal *wal, bool fresh, struct wal_state *state, struct error *err)
{
	const unsigned create = fresh ? MDB_CREATE : 0;
	MDB_txn *txn;
	int rc = mdb_txn_begin(wal->env, NULL, wal->read_only ? MDB_RDONLY : 0, &txn);

	if (rc)
		return rc;
	rc = mdb_dbi_open(txn, "log", MDB_INTEGERKEY | create, &wal->log);
	if (!rc)
		rc = mdb_dbi_open(txn, "meta", create, &wal->meta);
	if (!rc)
		rc = mdb_dbi_open(txn, NULL, 0, &wal->root);
	if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE)
		rc = wal_mdb_error(err, rc, wal, "is not a log");
	if (!rc && !fresh)
		rc = wal_get_state(wal, txn, state, err);
	if (!rc && !wal->read_only) {
		state->epoch++;
		rc = wal_move_state(wal, txn);
		if (!rc)
			rc = wal_put_state(wal, txn, state);
	}
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

/* Opens the two databases (creates them in a fresh log), bumps the epoch of a writer. Its map may be full to the last page,
 * and a reader's too small for what a writer has just done. */
static int take_over(struct wal *wal, bool fresh, struct error *err)
{
	bool resized = false;
	int interrupted = 0;

	for (;;) {
		struct wal_state state = {0};
		int rc = take_over_once(wal, fresh, &state, err);

		if (rc == -1)
			return -1;
		if (rc == 0) {
			wal->state = state;
			wal->epoch = state.epoch;
			atomic_store(&wal->durable_lsn, state.head_lsn);
			atomic_store(&wal->base_lsn, state.base_lsn);
			atomic_store(&wal->checkpoint_lsn, state.checkpoint_lsn);
			wal->next_lsn = state.head_lsn + 1;
			return 0;
		}
		if (rc == MDB_MAP_FULL && !wal->read_only && !resized) {
			resized = true;
			if (wal_grow(wal, 1, err) < 0)
				return -1;
		} else if (rc == MDB_MAP_RESIZED && wal->read_only && !resized) {
			resized = true;
			rc = mdb_env_set_mapsize(wal->env, 0);
			if (rc)
				return wal_mdb_error(err, rc, wal, "cannot be mapped at its new size");
		} else if (rc != EINTR || ++interrupted >= WAL_INTR_TRIES) {
			return wal_mdb_error(
			    err, rc, wal, wal->read_only ? "cannot be read" : "the epoch cannot be bumped");
		}
	}
}

/* The databases must be open for the walk and the epoch unbumped if it fails: first as a reader does, then as writer. */
static int check_chain(struct wal *wal, uint64_t *ret_bad_lsn, struct error *err)
{
	const bool read_only = wal->read_only;
	struct wal_checkpoint checkpoint;
	struct chain_walk walk = {0};
	MDB_txn *txn;
	int rc;

	wal->read_only = true;
	rc = take_over(wal, false, err);
	wal->read_only = read_only;
	if (rc < 0 || wal_read_begin(wal, &txn, err) < 0)
		return -1;
	rc = wal_get_state(wal, txn, &wal->state, err);
	if (rc == 0)
		rc = chain_verify(wal, txn, &wal->state, &walk, &checkpoint, err);
	wal_read_end(wal, txn);
	*ret_bad_lsn = walk.bad_lsn;
	return rc;
}

static int open_writer(struct wal *wal, struct wal_opening *opening, uint64_t *ret_bad_lsn, struct error *err)
{
	int dead, rc;

	if (!opening->fresh && check_shape(wal, opening, ret_bad_lsn, err) < 0)
		return -1;
	if (!opening->fresh && check_chain(wal, ret_bad_lsn, err) < 0)
		return -1;
	rc = mdb_reader_check(wal->env, &dead);
	if (rc)
		return wal_mdb_error(err, rc, wal, "cannot clear its stale readers");
	if (extend_data(wal, err) < 0 || take_over(wal, opening->fresh, err) < 0)
		return -1;
	opening->made = true;
	return opening->marked ? 0 : wal_leave_mark(wal, opening, err);
}

static int open_reader(struct wal *wal, struct wal_opening *opening, uint64_t *ret_bad_lsn, struct error *err)
{
	if (check_shape(wal, opening, ret_bad_lsn, err) < 0)
		return -1;
	if (opening->fresh)
		return error_set(err, ENOENT, "%s: there is no log in it yet", wal->dir);
	return take_over(wal, false, err);
}

/* In this order: the lock before anything is looked at, the look before LMDB, LMDB before anything is written. */
static int open_files(
    struct wal *wal, struct wal_opening *opening, bool must_exist, uint64_t *ret_bad_lsn, struct error *err)
{
	opening->dir_fd = open(wal->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (opening->dir_fd < 0 && errno == ENOENT && !must_exist) {
		if (wal_create_dir(wal->dir, err) < 0)
			return -1;
		opening->dir_fd = open(wal->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (opening->dir_fd < 0)
		return error_set(err, errno, "%s: %s", wal->dir, strerror(errno));
	if (must_exist && faccessat(opening->dir_fd, WAL_DATA_FILE, F_OK, 0) < 0 &&
	    (errno != ENOENT || faccessat(opening->dir_fd, WAL_FORMAT_FILE, F_OK, 0) < 0))
		return errno == ENOENT ? error_set(err, ENOENT, "%s: there is no log in it", wal->dir)
				       : error_set(err, errno, "%s/%s: %s", wal->dir, WAL_DATA_FILE, strerror(errno));
	if (!wal->read_only && wal_lock_take(opening->dir_fd, wal->dir, &wal->lock_fd, err) < 0)
		return -1;
	if (wal->read_only && wal_lock_holder(opening->dir_fd) == getpid())
		return error_set(err, EBUSY, "%s: this process has the log open already", wal->dir);
	if (wal_look_at_data(wal, opening, ret_bad_lsn, err) < 0)
		return -1;
	if (wal->read_only && opening->fresh)
		return error_set(err, ENOENT, "%s: there is no log in it yet", wal->dir);
	if (open_env(wal, opening, err) < 0)
		return -1;
	return wal->read_only ? open_reader(wal, opening, ret_bad_lsn, err)
			      : open_writer(wal, opening, ret_bad_lsn, err);
}

static void close_all(struct wal *wal)
{
	if (wal->env)
		mdb_env_close(wal->env);
	wal_lock_release(wal->lock_fd);
	wal_staging_finish(wal);
	free(wal->dir);
	free(wal);
}

static int open_log(
    struct wal **ret_wal, const char *dir, const struct wal_options *options, uint64_t *ret_bad_lsn, struct error *err)
{
	const struct wal_options none = {0}, *given = options ? options : &none;
	const bool must_exist = given->must_exist || given->read_only;
	struct wal_opening opening = {.dir_fd = -1, .data_fd = -1};
	struct wal *wal;
	int rc;

	wal = calloc(1, sizeof *wal);
	if (!wal || !(wal->dir = strdup(dir))) {
		free(wal);
		return error_set(err, ENOMEM, "%s: out of memory", dir);
	}
	wal->lock_fd = -1;
	wal->read_only = given->read_only;
	wal->map_size_max = given->map_size_max ? given->map_size_max : MAP_SIZE_MAX_DEFAULT;
	wal->map_size = given->map_size ? (given->map_size + 0xffff) & ~(size_t)0xffff : MAP_SIZE_DEFAULT;
	if (wal_staging_init(wal, err) < 0) {
		free(wal->dir);
		free(wal);
		return -1;
	}
	rc = open_files(wal, &opening, must_exist, ret_bad_lsn, err);
	if (rc < 0 && opening.absent && wal->env && !wal->read_only && !opening.made) {
		/* half made by us, under the lock, and never acknowledged */
		unlinkat(opening.dir_fd, WAL_DATA_FILE, 0);
		unlinkat(opening.dir_fd, WAL_LMDB_LOCK, 0);
	}
	if (opening.data_fd >= 0)
		close(opening.data_fd);
	if (opening.dir_fd >= 0)
		close(opening.dir_fd);
	if (rc < 0) {
		close_all(wal);
		return -1;
	}
	*ret_wal = wal;
	return 0;
}

int wal_open(struct wal **ret_wal, const char *dir, const struct wal_options *options, struct error *err)
{
	uint64_t bad_lsn;

	return open_log(ret_wal, dir, options, &bad_lsn, err);
}

void wal_close(struct wal *wal)
{
	if (wal)
		close_all(wal);
}

uint64_t wal_epoch(const struct wal *wal)
{
	return wal->epoch;
}

int wal_verify(const char *dir, struct wal_report *report, struct error *err)
{
	const struct wal_options options = {.read_only = true};
	struct wal_report found = {0};
	struct wal_checkpoint checkpoint = {0};
	struct chain_walk walk = {0};
	struct wal_state state;
	struct wal *wal = NULL;
	MDB_txn *txn = NULL;
	int rc = -1;

	if (open_log(&wal, dir, &options, &found.bad_lsn, err) < 0)
		goto out;
	if (wal_read_begin(wal, &txn, err) < 0)
		goto out;
	if (wal_get_state(wal, txn, &state, err) < 0)
		goto out;
	rc = chain_verify(wal, txn, &state, &walk, &checkpoint, err);
	found.records = walk.records;
	found.first_lsn = walk.records ? walk.first : 0;
	found.last_lsn = rc == 0 ? state.head_lsn : walk.records ? walk.first + walk.records - 1 : 0;
	found.checkpoint_lsn = state.checkpoint_lsn;
	found.checkpoint_size = checkpoint.size;
	found.epoch = state.epoch;
	found.bad_lsn = walk.bad_lsn;
	memcpy(found.head, state.head.bytes, sizeof found.head);
out:
	if (txn)
		wal_read_end(wal, txn);
	wal_close(wal);
	*report = found;
	return rc;
}
