/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history on disk, in a wal/ log: a thread follows the memory and commits what has come, some times a second, so
 * that no observer ever waits for the disk. One record an operation; its kind is the operation's.
 */
#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "history/internal.h"
#include "wal/wal.h"
#include "wire/value.h"

#define FLUSH_MS         100 /* how long an operation may wait for company */
#define BATCH_MAX        256u
#define STORED_FIELDS    14u
#define STORED_TEXT_SIZE (200u << 10) /* bytes; four of them fit into a record */

struct store {
	struct history *history;
	struct wal *wal;
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows; never held together with the history's */
	pthread_cond_t wake, done;
	bool stop;
	bool pending;                  /* something came since the last flush began */
	uint64_t wanted, begun, ended; /* flushes: asked for by history_sync, taken up, finished */
	struct error failed;           /* code 0: all is well */
};

static void pack_text(msgpack_packer *packer, const char *text)
{
	size_t size = strnlen(text, STORED_TEXT_SIZE);

	msgpack_pack_str(packer, size);
	msgpack_pack_str_body(packer, text, size);
}

static void pack_op(msgpack_sbuffer *buffer, const struct op *op)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, STORED_FIELDS);
	msgpack_pack_uint64(&packer, op->index);
	msgpack_pack_uint64(&packer, op->time_us);
	msgpack_pack_uint64(&packer, op->pair);
	msgpack_pack_uint32(&packer, op->type);
	msgpack_pack_uint32(&packer, op->kind);
	pack_text(&packer, op->task);
	pack_text(&packer, op->actor);
	pack_text(&packer, op->key);
	pack_text(&packer, op->detail);
	msgpack_pack_int64(&packer, op->attempt);
	msgpack_pack_int64(&packer, op->epoch);
	msgpack_pack_int64(&packer, op->status);
	msgpack_pack_int64(&packer, op->value);
	msgpack_pack_double(&packer, op->number);
}

/* Everything from *next on to the disk. */
static int flush(struct store *store, uint64_t *next, msgpack_sbuffer *buffer, struct error *err)
{
	struct op ops[BATCH_MAX];
	size_t count, i;

	while ((count = history_copy(store->history, *next, ops, BATCH_MAX)) > 0) {
		for (i = 0; i < count; i++) {
			msgpack_sbuffer_clear(buffer);
			pack_op(buffer, &ops[i]);
			if (wal_append(store->wal, ops[i].kind, buffer->data, buffer->size, NULL, err) < 0)
				return -1;
		}
		*next += count;
	}
	return wal_sync(store->wal, 0, NULL, err);
}

static void *follow(void *arg)
{
	struct store *store = arg;
	msgpack_sbuffer buffer;
	uint64_t next = 0;
	bool stop = false;

	msgpack_sbuffer_init(&buffer);
	pthread_mutex_lock(&store->lock);
	while (!stop) {
		struct timespec deadline;
		struct error err = {0};
		uint64_t flush_number;

		while (!store->stop && !store->pending && store->begun == store->wanted)
			pthread_cond_wait(&store->wake, &store->lock);
		deadline = history_deadline(FLUSH_MS);
		while (!store->stop && store->begun == store->wanted)
			if (pthread_cond_timedwait(&store->wake, &store->lock, &deadline) == ETIMEDOUT)
				break;
		stop = store->stop; /* after this flush, which takes all that is there */
		store->pending = false;
		store->begun = flush_number = store->wanted;
		pthread_mutex_unlock(&store->lock);
		if (!store->failed.code) /* only written by this thread */
			flush(store, &next, &buffer, &err);
		pthread_mutex_lock(&store->lock);
		if (err.code)
			store->failed = err;
		store->ended = flush_number;
		pthread_cond_broadcast(&store->done);
	}
	pthread_mutex_unlock(&store->lock);
	msgpack_sbuffer_destroy(&buffer);
	return NULL;
}

static int store_locks(struct store *store, struct error *err)
{
	int rc = pthread_mutex_init(&store->lock, NULL);

	if (rc)
		return error_set(err, rc, "history: no mutex: %s", strerror(rc));
	if (history_cond_init(&store->wake, err) < 0)
		goto fail_wake;
	if (history_cond_init(&store->done, err) < 0)
		goto fail_done;
	return 0;

fail_done:
	pthread_cond_destroy(&store->wake);
fail_wake:
	pthread_mutex_destroy(&store->lock);
	return -1;
}

int store_create(struct history *history, const char *dir, struct error *err)
{
	struct store *store = calloc(1, sizeof *store);
	int rc;

	if (!store)
		return error_set(err, ENOMEM, "history: out of memory");
	store->history = history;
	if (wal_open(&store->wal, dir, NULL, err) < 0)
		goto fail_open;
	if (wal_durable(store->wal) > 0) {
		error_set(err, EEXIST, "%s: holds a history already; give each run a directory of its own", dir);
		goto fail_locks;
	}
	if (store_locks(store, err) < 0)
		goto fail_locks;
	rc = pthread_create(&store->thread, NULL, follow, store);
	if (rc) {
		error_set(err, rc, "history: no thread: %s", strerror(rc));
		goto fail_thread;
	}
	history->store = store;
	return 0;

fail_thread:
	pthread_cond_destroy(&store->done);
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->lock);
fail_locks:
	wal_close(store->wal);
fail_open:
	free(store);
	return -1;
}

void store_destroy(struct store *store)
{
	if (!store)
		return;
	pthread_mutex_lock(&store->lock);
	store->stop = true;
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->lock);
	pthread_join(store->thread, NULL);
	pthread_cond_destroy(&store->done);
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->lock);
	wal_close(store->wal);
	free(store);
}

void store_wake(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	if (!store->pending) {
		store->pending = true;
		pthread_cond_signal(&store->wake);
	}
	pthread_mutex_unlock(&store->lock);
}

int history_store_error(struct history *history, struct error *err)
{
	struct store *store = history->store;
	int rc = 0;

	if (!store)
		return 0;
	pthread_mutex_lock(&store->lock);
	if (store->failed.code)
		rc = error_set(err, store->failed.code, "%s", store->failed.text);
	pthread_mutex_unlock(&store->lock);
	return rc;
}

int history_sync(struct history *history, struct error *err)
{
	struct store *store = history->store;
	uint64_t mine;

	if (!store)
		return 0;
	pthread_mutex_lock(&store->lock);
	mine = ++store->wanted; /* a flush that began before may have missed the newest */
	pthread_cond_signal(&store->wake);
	while (store->ended < mine)
		pthread_cond_wait(&store->done, &store->lock);
	pthread_mutex_unlock(&store->lock);
	return history_store_error(history, err);
}

struct loading {
	struct history *history;
	char *text; /* the strings of one record, NUL-terminated */
	size_t text_size;
	struct error *err;
};

static bool take_i64(const msgpack_object *object, int64_t *ret_value)
{
	if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		*ret_value = object->via.i64;
	else if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 <= INT64_MAX)
		*ret_value = (int64_t)object->via.u64;
	else
		return false;
	return true;
}

static bool take_u64(const msgpack_object *object, uint64_t max, uint64_t *ret_value)
{
	if (object->type != MSGPACK_OBJECT_POSITIVE_INTEGER || object->via.u64 > max)
		return false;
	*ret_value = object->via.u64;
	return true;
}

static bool take_text(const msgpack_object *object, char **at, const char **ret_text)
{
	if (object->type != MSGPACK_OBJECT_STR)
		return false;
	memcpy(*at, object->via.str.ptr, object->via.str.size);
	(*at)[object->via.str.size] = '\0';
	*ret_text = *at;
	*at += object->via.str.size + 1;
	return true;
}

/* `text` has room for the record's bytes and four more. */
static bool unpack_op(const msgpack_object *object, char *text, struct op *ret_op)
{
	const msgpack_object *fields = object->via.array.ptr;
	uint64_t type, kind;
	struct op op = {0};

	if (object->type != MSGPACK_OBJECT_ARRAY || object->via.array.size < STORED_FIELDS)
		return false;
	if (!take_u64(&fields[0], OP_NONE - 1, &op.index) || !take_u64(&fields[1], UINT64_MAX, &op.time_us) ||
	    !take_u64(&fields[2], OP_NONE, &op.pair) || !take_u64(&fields[3], OP_INFO, &type) ||
	    !take_u64(&fields[4], INT32_MAX, &kind))
		return false;
	op.type = (enum op_type)type;
	op.kind = (enum op_kind)kind;
	if (!take_text(&fields[5], &text, &op.task) || !take_text(&fields[6], &text, &op.actor) ||
	    !take_text(&fields[7], &text, &op.key) || !take_text(&fields[8], &text, &op.detail))
		return false;
	if (!take_i64(&fields[9], &op.attempt) || !take_i64(&fields[10], &op.epoch) ||
	    !take_i64(&fields[11], &op.status) || !take_i64(&fields[12], &op.value))
		return false;
	if (fields[13].type != MSGPACK_OBJECT_FLOAT64)
		return false;
	op.number = fields[13].via.f64;
	*ret_op = op;
	return true;
}

static int load_one(void *arg, const struct wal_record *record)
{
	struct loading *loading = arg;
	msgpack_unpacked unpacked;
	struct op op;
	bool good;

	if (loading->text_size < record->size + 4) {
		char *text = realloc(loading->text, 2 * record->size + 4);

		if (!text) {
			error_set(loading->err, ENOMEM, "history: out of memory");
			return 1;
		}
		loading->text = text;
		loading->text_size = 2 * record->size + 4;
	}
	msgpack_unpacked_init(&unpacked);
	good = value_unpack(&unpacked, record->payload, record->size, NULL) == 0 &&
	       unpack_op(&unpacked.data, loading->text, &op) && op.index == loading->history->count &&
	       (op.pair < op.index || op.pair == OP_NONE);
	if (good)
		history_restore(loading->history, &op);
	msgpack_unpacked_destroy(&unpacked);
	if (good)
		return 0;
	error_set(loading->err, EILSEQ, "the record at LSN %llu is no operation of a history",
	    (unsigned long long)record->lsn);
	return 1;
}

int history_load(struct history **ret_history, const char *dir, struct error *err)
{
	const struct wal_options options = {.read_only = true};
	struct loading loading = {.err = err};
	struct wal *wal = NULL;
	int rc;

	if (wal_open(&wal, dir, &options, err) < 0)
		return -1;
	rc = history_create(&loading.history, NULL, err);
	if (rc < 0)
		goto out;
	rc = wal_replay(wal, 0, load_one, &loading, err);
	if (rc > 0)
		rc = error_context(err, "%s", dir);
	if (rc < 0)
		history_destroy(loading.history);
	else
		*ret_history = loading.history;
out:
	free(loading.text);
	wal_close(wal);
	return rc;
}
