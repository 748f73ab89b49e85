/* SPDX-License-Identifier: Apache-2.0 */
/* The undo log: RUN/undo, a wal/ log with a record when a fault is planned and one when it was reverted. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runner/locks.h"
#include "runner/protocol.h"
#include "wal/wal.h"
#include "wire/value.h"

#define UNDO_KIND_PLANNED   1u
#define UNDO_KIND_REVERTED  2u
#define UNDO_KIND_FORGOTTEN 3u
#define UNDO_MAP_SIZE       ((size_t)1 << 20)

struct undo_log {
	struct wal *wal;
	int host_fd, turn_fd; /* locks, -1 where not held */
	char path[PATH_MAX];
};

/* ---- one entry ---- */

void undo_entry_pack(msgpack_packer *pk, const struct undo_entry *entry)
{
	msgpack_pack_map(pk, 10);
	frame_put_str(pk, "fault", entry->fault_id);
	frame_put_str(pk, "plugin", entry->plugin);
	frame_put_str(pk, "socket", entry->socket);
	frame_put_str(pk, "state_dir", entry->state_dir);
	frame_put_str(pk, "keep_dir", entry->keep_dir);
	frame_put_uint(pk, "seed", entry->seed);
	frame_put_int(pk, "duration_ms", entry->duration_ms);
	frame_put_int(pk, "hook_timeout_ms", entry->hook_timeout_ms);
	frame_put_str(pk, "params", entry->params);
	frame_put_bin(pk, "undo", entry->undo.bytes, entry->undo.size);
}

int undo_entry_unpack(const msgpack_object *map, struct undo_entry *ret_entry, struct error *err)
{
	const uint8_t *bytes;
	size_t size;

	memset(ret_entry, 0, sizeof *ret_entry);
#define GET_STR(key, field) frame_get_str(map, key, ret_entry->field, sizeof ret_entry->field)
	if (!GET_STR("fault", fault_id) || !GET_STR("plugin", plugin) || !GET_STR("socket", socket) ||
	    !GET_STR("state_dir", state_dir) || !GET_STR("keep_dir", keep_dir) || !GET_STR("params", params) ||
	    !frame_get_uint(map, "seed", &ret_entry->seed) ||
	    !frame_get_int(map, "duration_ms", &ret_entry->duration_ms) || !frame_get_bin(map, "undo", &bytes, &size) ||
	    size > TRITONE_UNDO_SIZE_MAX)
		return error_set(err, EILSEQ, "an undo record that is incomplete or too large");
#undef GET_STR
	if (frame_get(map, "hook_timeout_ms") && !frame_get_int(map, "hook_timeout_ms", &ret_entry->hook_timeout_ms))
		return error_set(err, EILSEQ, "an undo record whose hook_timeout_ms is not a number");
	memcpy(ret_entry->undo.bytes, bytes, size);
	ret_entry->undo.size = (uint32_t)size;
	return 0;
}

/* ---- writing ---- */

static int enter_as_host(struct undo_log *log, const char *run_dir, struct error *err)
{
	log->host_fd = lock_host(run_dir, err);
	return log->host_fd < 0 ? -1 : 0;
}

/* An heir does not become the host: others would take the run for one at work. No host comes back to a run either. */
static int enter_as_heir(struct undo_log *log, const char *run_dir, struct error *err)
{
	log->turn_fd = lock_turn(run_dir, err);
	return log->turn_fd < 0 ? -1 : lock_no_host(run_dir, err);
}

static int open_log(struct undo_log **ret_log, const char *run_dir, bool take_over, struct error *err)
{
	const struct wal_options options = {.map_size = UNDO_MAP_SIZE, .must_exist = take_over};
	struct undo_log *log = calloc(1, sizeof *log);

	if (!log)
		return error_set(err, ENOMEM, "no memory for the undo log");
	log->host_fd = log->turn_fd = -1;
	if ((size_t)snprintf(log->path, sizeof log->path, "%s/undo", run_dir) >= sizeof log->path) {
		error_set(err, ENAMETOOLONG, "%s: the path of the run is too long", run_dir);
		goto fail;
	}
	if ((take_over ? enter_as_heir(log, run_dir, err) : enter_as_host(log, run_dir, err)) < 0 ||
	    wal_open(&log->wal, log->path, &options, err) < 0)
		goto fail;
	*ret_log = log;
	return 0;
fail:
	undo_close(log);
	return -1;
}

int undo_open(struct undo_log **ret_log, const char *run_dir, struct error *err)
{
	return open_log(ret_log, run_dir, false, err);
}

int undo_take_over(struct undo_log **ret_log, const char *run_dir, struct error *err)
{
	return open_log(ret_log, run_dir, true, err);
}

void undo_close(struct undo_log *log)
{
	if (!log)
		return;
	wal_close(log->wal);
	if (log->host_fd >= 0)
		lock_host_done(log->host_fd);
	if (log->turn_fd >= 0)
		close(log->turn_fd);
	free(log);
}

static int append(struct undo_log *log, uint32_t kind, const msgpack_sbuffer *buf, struct error *err)
{
	uint64_t lsn;

	if (wal_append(log->wal, kind, buf->data, buf->size, &lsn, err) < 0 || wal_sync(log->wal, lsn, NULL, err) < 0)
		return error_context(err, "%s", log->path);
	return 0;
}

int undo_planned(struct undo_log *log, const struct undo_entry *entry, struct error *err)
{
	msgpack_sbuffer buf;
	msgpack_packer pk;
	int r;

	if (entry->undo.size > TRITONE_UNDO_SIZE_MAX)
		return error_set(err, EMSGSIZE, "%s: an undo record of %u bytes is over the limit of %u",
		    entry->fault_id, entry->undo.size, TRITONE_UNDO_SIZE_MAX);
	msgpack_sbuffer_init(&buf);
	msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
	undo_entry_pack(&pk, entry);
	r = append(log, UNDO_KIND_PLANNED, &buf, err);
	msgpack_sbuffer_destroy(&buf);
	return r;
}

static int close_entry(struct undo_log *log, uint32_t kind, const char *fault_id, struct error *err)
{
	msgpack_sbuffer buf;
	msgpack_packer pk;
	int r;

	msgpack_sbuffer_init(&buf);
	msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, 1);
	frame_put_str(&pk, "fault", fault_id);
	r = append(log, kind, &buf, err);
	msgpack_sbuffer_destroy(&buf);
	return r;
}

int undo_reverted(struct undo_log *log, const char *fault_id, struct error *err)
{
	return close_entry(log, UNDO_KIND_REVERTED, fault_id, err);
}

int undo_forgotten(struct undo_log *log, const char *fault_id, struct error *err)
{
	return close_entry(log, UNDO_KIND_FORGOTTEN, fault_id, err);
}

/* ---- reading: what is outstanding ---- */

struct outstanding {
	struct undo_entry **items;
	size_t count, room;
	struct error error; /* of the visit */
};

static int push(struct outstanding *list, const msgpack_object *map)
{
	struct undo_entry *entry;

	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 8;
		struct undo_entry **grown = realloc(list->items, room * sizeof *grown);

		if (!grown)
			return error_set(&list->error, ENOMEM, "no memory for %zu undo records", room);
		list->items = grown;
		list->room = room;
	}
	entry = malloc(sizeof *entry);
	if (!entry)
		return error_set(&list->error, ENOMEM, "no memory for an undo record");
	if (undo_entry_unpack(map, entry, &list->error) < 0) {
		free(entry);
		return -1;
	}
	list->items[list->count++] = entry;
	return 0;
}

static int drop(struct outstanding *list, const msgpack_object *map)
{
	char fault_id[sizeof list->items[0]->fault_id];
	size_t i, kept = 0;

	if (!frame_get_str(map, "fault", fault_id, sizeof fault_id))
		return error_set(&list->error, EILSEQ, "a record of a revert without the fault's id");
	for (i = 0; i < list->count; i++)
		if (!strcmp(list->items[i]->fault_id, fault_id))
			free(list->items[i]);
		else
			list->items[kept++] = list->items[i];
	list->count = kept;
	return 0;
}

static int collect(void *arg, const struct wal_record *record)
{
	struct outstanding *list = arg;
	msgpack_unpacked unpacked;
	int r;

	msgpack_unpacked_init(&unpacked);
	r = value_unpack(&unpacked, record->payload, record->size, &list->error);
	if (r == 0 && record->kind == UNDO_KIND_PLANNED)
		r = push(list, &unpacked.data);
	else if (r == 0 && (record->kind == UNDO_KIND_REVERTED || record->kind == UNDO_KIND_FORGOTTEN))
		r = drop(list, &unpacked.data);
	else if (r == 0)
		r = error_set(&list->error, EILSEQ, "a record of the unknown kind %u", record->kind);
	msgpack_unpacked_destroy(&unpacked);
	if (r < 0)
		error_context(&list->error, "LSN %llu", (unsigned long long)record->lsn);
	return r < 0 ? 1 : 0;
}

static int visit_all(struct wal *wal, const char *path, void (*visit)(void *arg, const struct undo_entry *entry),
    void *arg, struct error *err)
{
	struct outstanding list = {0};
	size_t i;
	int r = wal_replay(wal, 0, collect, &list, err);

	if (r > 0) {
		if (err)
			*err = list.error;
		error_context(err, "%s", path);
		r = -1;
	}
	for (i = 0; i < list.count; i++) {
		if (r == 0 && visit)
			visit(arg, list.items[i]);
		free(list.items[i]);
	}
	free(list.items);
	return r < 0 ? -1 : (int)list.count;
}

int undo_log_outstanding(
    struct undo_log *log, void (*visit)(void *arg, const struct undo_entry *entry), void *arg, struct error *err)
{
	return visit_all(log->wal, log->path, visit, arg, err);
}

int undo_outstanding(
    const char *run_dir, void (*visit)(void *arg, const struct undo_entry *entry), void *arg, struct error *err)
{
	const struct wal_options options = {.read_only = true, .must_exist = true, .map_size = UNDO_MAP_SIZE};
	struct error local = {0};
	char path[PATH_MAX];
	struct wal *wal;
	int r;

	if ((size_t)snprintf(path, sizeof path, "%s/undo", run_dir) >= sizeof path)
		return error_set(err, ENAMETOOLONG, "%s: the path of the run is too long", run_dir);
	if (wal_open(&wal, path, &options, &local) < 0) {
		if (local.code == ENOENT) /* a run that never planned anything */
			return 0;
		if (err)
			*err = local;
		return -1;
	}
	r = visit_all(wal, path, visit, arg, err);
	wal_close(wal);
	return r;
}
