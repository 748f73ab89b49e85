/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the binary inputs from which fuzzing begins: fuzz_seeds fuzz/corpus. What is text is kept as it is. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/record.h"
#include "fuzz/fuzz.h"
#include "policy/policy.h"
#include "runner/protocol.h"
#include "wal/internal.h"

static const char *root;

static void put(const char *target, const char *name, const void *bytes, size_t size)
{
	char path[512];
	int fd;

	snprintf(path, sizeof path, "%s/%s", root, target);
	MUST(mkdir(path, 0777) == 0 || errno == EEXIST);
	snprintf(path, sizeof path, "%s/%s/seed-%s", root, target, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	MUST(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	close(fd);
}

static void seed_record(void)
{
	const struct wal_state state = {.epoch = 3, .head_lsn = 70, .base_lsn = 10, .checkpoint_lsn = 20, .txn = 9};
	const struct wal_checkpoint checkpoint = {.lsn = 20, .epoch = 2, .size = 5000};
	uint8_t bytes[400], payload[300] = "payload";

	put("record", "small", bytes, record_encode(bytes, 1, 1, 1, payload, 7));
	put("record", "empty", bytes, record_encode(bytes, 200, 1, 0, payload, 0));
	put("record", "wide", bytes, record_encode(bytes, UINT64_MAX, 1u << 20, UINT32_MAX, payload, sizeof payload));
	state_encode(bytes, &state);
	put("record", "state", bytes, WAL_STATE_SIZE);
	checkpoint_encode(bytes, &checkpoint);
	put("record", "checkpoint", bytes, WAL_CHECKPOINT_SIZE);
}

/* The log, then edits: what, page, offset (2), and what that takes. See fuzz_log.c. */
static void seed_log(void)
{
	put("log", "whole-0", "\0", 1);
	put("log", "whole-1", "\1", 1);
	put("log", "whole-2", "\2", 1);
	put("log", "whole-3", "\3", 1);
	put("log", "whole-4", "\4", 1);
	put("log", "byte", "\2\0\6\4\10\7", 6);
	put("log", "bits", "\3\1\11\1\1\4\1\3\0\40\7", 11);
	put("log", "cut", "\2\6\5\2\2", 5);
	put("log", "cut-unmarked", "\2\206\0\17\0", 5);
	put("log", "metas-swapped", "\4\7\0\0\0", 5);
	put("log", "stale-page", "\3\4\4\0\0\2", 6);
	put("log", "meta-zeroed", "\2\5\1\0\0", 5);
	put("log", "txn-number", "\2\3\0\0\230\1", 6);
}

static void put_frame(const char *target, const char *name, const msgpack_sbuffer *value, bool framed)
{
	uint8_t bytes[8192];
	const size_t size = value->size, head = framed ? 5 : 0;

	MUST(size + head <= sizeof bytes);
	if (framed) {
		bytes[0] = 3;
		bytes[1] = bytes[2] = 0;
		bytes[3] = (uint8_t)(size >> 8);
		bytes[4] = (uint8_t)size;
	}
	memcpy(bytes + head, value->data, size);
	put(target, name, bytes, size + head);
}

static void seed_frame(msgpack_sbuffer *buffer)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, buffer, msgpack_sbuffer_write);
	msgpack_pack_map(&packer, 6);
	frame_put_str(&packer, "s", "text");
	frame_put_uint(&packer, "u", 70000);
	frame_put_int(&packer, "i", -3);
	frame_put_double(&packer, "d", 0.5);
	frame_put_bool(&packer, "b", true);
	frame_put_bin(&packer, "x", "bytes", 5);
	put_frame("frame", "map", buffer, true);
	msgpack_sbuffer_clear(buffer);
}

static void seed_undo(msgpack_sbuffer *buffer)
{
	struct undo_entry entry = {.fault_id = "f1",
	    .plugin = "/usr/lib/tritone/agent-kill.so",
	    .params = "count=1\n",
	    .seed = 7,
	    .duration_ms = 1000,
	    .undo = {.size = 5, .bytes = "undo"}};
	msgpack_packer packer;

	msgpack_packer_init(&packer, buffer, msgpack_sbuffer_write);
	undo_entry_pack(&packer, &entry);
	put_frame("undo", "entry", buffer, false);
	msgpack_sbuffer_clear(buffer);
	msgpack_pack_map(&packer, 6);
	frame_put_str(&packer, "do", "load");
	frame_put_uint(&packer, "sequence", 1);
	frame_put_str(&packer, "run_dir", "/tmp/run");
	frame_put_int(&packer, "hook_timeout_ms", 1000);
	frame_put_bool(&packer, "describe_only", false);
	msgpack_pack_str(&packer, 5);
	msgpack_pack_str_body(&packer, "entry", 5);
	undo_entry_pack(&packer, &entry);
	put_frame("undo", "load", buffer, false);
	msgpack_sbuffer_clear(buffer);
}

static void seed_replies(void)
{
	const struct runner_reply replies[] = {{.kind = REPLY_DONE, .sequence = 2, .undo = {.size = 3, .bytes = "abc"}},
	    {.kind = REPLY_DONE, .sequence = 3, .result = -1, .error = {EIO, "it did not work"}},
	    {.kind = REPLY_LOG, .level = 1, .text = "a line"}, {.kind = REPLY_EVIDENCE, .name = "pid", .text = "17"},
	    {.kind = REPLY_EXPIRED}};
	uint8_t bytes[8192];
	char name[16];
	size_t i;

	for (i = 0; i < sizeof replies / sizeof replies[0]; i++) {
		int ends[2];
		ssize_t n;

		MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
		MUST(protocol_send_reply(ends[0], &replies[i], NULL) == 0);
		n = read(ends[1], bytes, sizeof bytes);
		MUST(n > 4);
		snprintf(name, sizeof name, "reply-%zu", i);
		put("undo", name, bytes + 4, (size_t)n - 4);
		close(ends[0]);
		close(ends[1]);
	}
}

/* A task's life as a row of records, and the snapshot after it. */
static void seed_snapshot(void)
{
	static const uint32_t kinds[] = {CORE_RECORD_ACCEPT, CORE_RECORD_CLAIM, CORE_RECORD_SPAWN, CORE_RECORD_STEP,
	    CORE_RECORD_RESULT, CORE_RECORD_COMMIT_INTENT, CORE_RECORD_COMMIT_DONE, CORE_RECORD_NOTIFY_INTENT,
	    CORE_RECORD_NOTIFY_DONE};
	static struct core_options options = {.seed = 1, .tasks_max = 32, .agents_max = 8, .prompt_bytes = 1 << 16};
	static struct record record;
	static uint8_t bytes[1 << 16];
	struct error err = {0};
	struct core *core;
	size_t used = 1, i;

	policy_init(&options.policy);
	MUST(core_create(&core, &options, &err) == 0);
	for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		size_t size;

		record_init(&record, kinds[i], "c0-plan", 1700000000000000u + i);
		record.attempt = 1;
		record.epoch = 1;
		record.prompt = "do it";
		record.prompt_size = 5;
		record.step = kinds[i] == CORE_RECORD_STEP;
		record_copy(record.key, sizeof record.key, "k-c0-plan");
		record_copy(record.digest, sizeof record.digest, "0123456789abcdef0123456789abcdef01234567");
		record_copy(record.commit, sizeof record.commit, "0123456789abcdef0123456789abcdef01234567");
		size = core_record_encode(&record, bytes + used + 3, sizeof bytes - used - 3);
		if (core_replay(core, i + 1, 1, kinds[i], bytes + used + 3, size, &err) < 0) {
			fprintf(stderr, "%s\n", err.text);
			abort();
		}
		bytes[used] = (uint8_t)kinds[i];
		bytes[used + 1] = (uint8_t)(size >> 8);
		bytes[used + 2] = (uint8_t)size;
		used += 3 + size;
	}
	bytes[0] = 1;
	put("snapshot", "life", bytes, used);
	used = core_snapshot(core, bytes + 1, sizeof bytes - 1);
	MUST(used);
	bytes[0] = 0;
	put("snapshot", "after", bytes, used + 1);
	core_destroy(core);
}

static void seed_conductor(void)
{
	static struct record record;
	static uint8_t bytes[RECORD_MAX + 1];
	char name[16];
	uint32_t kind;

	for (kind = CORE_RECORD_ACCEPT; kind < CORE_RECORD_END; kind++) {
		record_init(&record, kind, "c0-plan", 1700000000000000u);
		record.attempt = 1;
		record.epoch = 2;
		record.pid = 4242;
		record.tokens = 120;
		record.prompt = "do it";
		record.prompt_size = 5;
		record.after_count = 1;
		record_copy(record.after[0], sizeof record.after[0], "c0-before");
		record_copy(record.key, sizeof record.key, "k-c0-plan");
		record_copy(record.text, sizeof record.text, "a reason");
		record_copy(record.commit, sizeof record.commit, "0123456789abcdef0123456789abcdef01234567");
		bytes[0] = (uint8_t)kind;
		snprintf(name, sizeof name, "kind-%u", kind);
		put("conductor", name, bytes, 1 + core_record_encode(&record, bytes + 1, sizeof bytes - 1));
	}
}

/* Not a fuzz target: it only has fuzz.c's parts in common with them. */
int main(int argc, char **argv)
{
	msgpack_sbuffer buffer;

	if (argc != 2) {
		fprintf(stderr, "usage: fuzz_seeds DIR\n");
		return 2;
	}
	root = argv[1];
	MUST(mkdir(root, 0777) == 0 || errno == EEXIST);
	msgpack_sbuffer_init(&buffer);
	seed_record();
	seed_log();
	seed_frame(&buffer);
	seed_undo(&buffer);
	seed_replies();
	seed_conductor();
	seed_snapshot();
	msgpack_sbuffer_destroy(&buffer);
	return 0;
}
