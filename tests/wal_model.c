/* SPDX-License-Identifier: Apache-2.0 */
/* The model of wal/, and the operations that are compared with it; see wal_model.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>

#include "wal_fixture.h"
#include "wal_model.h"

#define RECORDS_MAX 20000u
#define PAYLOAD_MAX 60000u
#define MAP_LIMIT   ((size_t)3 << 20)

const char *const wal_model_names[WHATS] = {"append", "sync", "replay", "reopen", "second writer", "reader", "oversize",
    "sync beyond", "checkpoint", "trim", "killed writer"};

struct model {
	uint32_t tags[RECORDS_MAX]; /* of each record: its size and bytes follow */
	uint64_t epochs[RECORDS_MAX];
	uint64_t durable, staged, first, checkpoint, epoch;
	uint32_t checkpoint_tag;
	uint32_t next_tag;
	bool failed;
};

static void deviate(const struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

static void deviate(const struct run *run, const char *format, ...)
{
	va_list args;
	int n = snprintf(
	    run->text, WAL_MODEL_TEXT, "operation %zu (%s): ", run->at, wal_model_names[run->ops[run->at].what]);

	va_start(args, format);
	vsnprintf(run->text + n, WAL_MODEL_TEXT - (size_t)n, format, args);
	va_end(args);
	_exit(1);
}

#define EXPECT(run, what, err)                                                                                         \
	do {                                                                                                           \
		if (!(what))                                                                                           \
			deviate(run, "%s does not hold: %s", #what, (err)->text);                                      \
	} while (0)

uint64_t wal_model_draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static size_t bytes_make(uint32_t tag, uint8_t *bytes)
{
	uint64_t state = tag;
	const uint64_t kind = wal_model_draw(&state) % 16;
	size_t size = (size_t)(wal_model_draw(&state) % (kind == 0 ? PAYLOAD_MAX : kind < 3 ? 6000 : 200)), i;

	size = kind == 3 ? 0 : size;
	for (i = 0; i < size; i++)
		bytes[i] = (uint8_t)(state >> i % 56 ^ i);
	return size;
}

/* --- reading, here or in another process --- */

struct visit {
	const struct run *run;
	uint64_t next;
	bool checkpoint;
};

static int compare(void *arg, const struct wal_record *record)
{
	static uint8_t bytes[PAYLOAD_MAX];
	struct visit *visit = arg;
	const struct run *run = visit->run;
	const struct model *model = run->model;
	const uint32_t tag = record->checkpoint ? model->checkpoint_tag : model->tags[record->lsn % RECORDS_MAX];
	const size_t size = bytes_make(tag, bytes);

	if (record->checkpoint != visit->checkpoint || record->lsn != visit->next || record->lsn > model->durable)
		deviate(run, "replay shows LSN %llu, expected %llu", (unsigned long long)record->lsn,
		    (unsigned long long)visit->next);
	if (record->size != size || (size && memcmp(record->payload, bytes, size) != 0) ||
	    (!record->checkpoint && (record->kind != tag % 1000 || record->epoch != model->epochs[record->lsn])))
		deviate(run, "LSN %llu is not what was written", (unsigned long long)record->lsn);
	visit->checkpoint = false;
	visit->next++;
	return 0;
}

static void replay_from(const struct run *run, struct wal *wal, uint64_t first)
{
	const struct model *model = run->model;
	struct visit visit = {.run = run, .next = first};
	struct error err = {0};
	int rc;

	if (first == 0) {
		visit.checkpoint = model->checkpoint > 0;
		visit.next = model->checkpoint ? model->checkpoint : 1;
	}
	rc = wal_replay(wal, first, compare, &visit, &err);
	if (first > 0 && first < model->first) {
		EXPECT(run, rc == -1 && err.code == ERANGE, &err);
		return;
	}
	EXPECT(run, rc == 0, &err);
	if (first <= model->durable && visit.next != model->durable + 1)
		deviate(run, "replay ends before LSN %llu, expected %llu", (unsigned long long)visit.next,
		    (unsigned long long)model->durable + 1);
}

static int in_child(const struct run *run, void (*body)(const struct run *run, const struct op *op))
{
	const pid_t pid = fork();

	if (pid == 0) {
		body(run, &run->ops[run->at]);
		_exit(0);
	}
	return child_status(pid);
}

static void read_beside(const struct run *run, const struct op *op)
{
	const struct wal_options reading = {.read_only = true};
	struct wal_report report;
	struct error err = {0};
	struct wal *wal;

	(void)op;
	EXPECT(run, wal_open(&wal, run->dir, &reading, &err) == 0, &err);
	EXPECT(run, wal_first(wal) == run->model->first, &err);
	EXPECT(run, wal_checkpoint_lsn(wal) == run->model->checkpoint, &err);
	EXPECT(run, wal_append(wal, 1, "x", 1, NULL, &err) < 0 && err.code == EBADF, &err);
	replay_from(run, wal, 0);
	replay_from(run, wal, run->model->first);
	wal_close(wal);
	EXPECT(run, wal_verify(run->dir, &report, &err) == 0, &err);
	EXPECT(run, report.last_lsn == run->model->durable && report.epoch == run->model->epoch, &err);
	EXPECT(run, report.records == run->model->durable - run->model->first + 1, &err);
}

static void write_beside(const struct run *run, const struct op *op)
{
	struct error err = {0};
	struct wal *wal;

	(void)op;
	EXPECT(run, wal_open(&wal, run->dir, NULL, &err) < 0 && err.code == EBUSY, &err);
	EXPECT(run, strstr(err.text, "process "), &err);
}

/* --- writing --- */

static void open_again(struct run *run)
{
	const struct wal_options options = {.map_size = (size_t)64 << 10, .map_size_max = run->limited ? MAP_LIMIT : 0};
	struct model *model = run->model;
	struct error err = {0};

	wal_close(run->wal);
	run->wal = NULL;
	if (wal_open(&run->wal, run->dir, &options, &err) < 0) {
		/* not even the epoch has room: only then a larger map is the way on */
		EXPECT(run, run->limited && err.code == ENOSPC, &err);
		run->limited = false;
		EXPECT(run, wal_open(&run->wal, run->dir, NULL, &err) == 0, &err);
	}
	EXPECT(run, wal_epoch(run->wal) == model->epoch + (run->plant == PLANT_EPOCH ? 2 : 1), &err);
	EXPECT(run, wal_durable(run->wal) == model->durable, &err);
	EXPECT(run, wal_first(run->wal) == model->first, &err);
	EXPECT(run, wal_checkpoint_lsn(run->wal) == model->checkpoint, &err);
	model->epoch = wal_epoch(run->wal);
	model->staged = model->durable;
	model->failed = false;
}

static void append(struct run *run, uint32_t count)
{
	static uint8_t bytes[PAYLOAD_MAX];
	struct model *model = run->model;
	struct error err = {0};
	uint64_t lsn = 0;

	for (; count && model->staged + 2 < RECORDS_MAX; count--) {
		const uint32_t tag = ++model->next_tag;
		const size_t size = bytes_make(tag, bytes);

		if (model->failed) {
			EXPECT(run, wal_append(run->wal, 1, bytes, size, &lsn, &err) < 0 && err.code == EROFS, &err);
			return;
		}
		EXPECT(run, wal_append(run->wal, tag % 1000, bytes, size, &lsn, &err) == 0, &err);
		EXPECT(run, lsn == model->staged + 1, &err);
		model->staged = lsn;
		model->tags[lsn] = tag;
		model->epochs[lsn] = model->epoch;
		EXPECT(run, wal_durable(run->wal) == model->durable, &err); /* staged only */
	}
}

static void sync_some(struct run *run, uint64_t lsn)
{
	struct model *model = run->model;
	uint64_t durable = 0;
	struct error err = {0};
	const int rc = wal_sync(run->wal, lsn, &durable, &err);

	if (model->failed && (lsn == 0 || lsn > model->durable)) {
		EXPECT(run, rc < 0 && err.code == EROFS, &err);
		return;
	}
	if (rc < 0 && run->limited && err.code == ENOSPC) {
		model->failed = true;
		return;
	}
	EXPECT(run, rc == 0, &err);
	/* what is already durable costs no commit; all others go with the one that is waited for */
	if (lsn == 0 || lsn > model->durable)
		model->durable = model->staged;
	if (run->plant == PLANT_SYNC && model->durable > 3)
		model->durable--;
	EXPECT(run, durable == model->durable && wal_durable(run->wal) == durable, &err);
}

static void checkpoint(struct run *run, const struct op *op)
{
	static uint8_t bytes[PAYLOAD_MAX];
	struct model *model = run->model;
	const uint64_t lsn = model->durable - (model->durable ? op->a % model->durable : 0) + (op->b % 9 == 0);
	const uint32_t tag = ++model->next_tag;
	const size_t size = bytes_make(tag, bytes);
	struct error err = {0};
	const int rc = wal_checkpoint(run->wal, lsn, bytes, size, &err);

	if (rc < 0 && err.code == EROFS) {
		EXPECT(run, model->failed, &err);
	} else if (lsn == 0 || lsn > model->durable || lsn < model->checkpoint) {
		EXPECT(run, rc < 0 && err.code == EINVAL, &err);
	} else if (rc < 0) {
		EXPECT(run, run->limited && err.code == ENOSPC, &err);
	} else {
		EXPECT(run, wal_checkpoint_lsn(run->wal) == lsn, &err);
		model->checkpoint = lsn;
		model->checkpoint_tag = tag;
		/* it goes in turn with the appends, and takes along who waits; nobody does here */
	}
	EXPECT(run, wal_durable(run->wal) == model->durable, &err);
}

static void trim(struct run *run, const struct op *op)
{
	struct model *model = run->model;
	const uint64_t lsn = op->b % 3 ? 0 : model->checkpoint / 2 + op->a % (model->checkpoint / 2 + 2);
	const uint64_t to = lsn ? lsn : model->checkpoint;
	struct error err = {0};
	const int rc = wal_trim(run->wal, lsn, &err);

	if (rc < 0 && err.code == EROFS) {
		EXPECT(run, model->failed, &err);
	} else if (lsn > model->checkpoint) {
		EXPECT(run, rc < 0 && err.code == EINVAL, &err);
	} else if (rc < 0) {
		EXPECT(run, run->limited && err.code == ENOSPC, &err);
		model->first = wal_first(run->wal); /* some are gone, from the front */
		EXPECT(run, model->first <= to + 1, &err);
	} else if (to + 1 > model->first) {
		model->first = to + 1 + (run->plant == PLANT_TRIM);
	}
	EXPECT(run, wal_first(run->wal) == model->first, &err);
}

/* A writer in a process of its own: opens, appends, syncs, and is killed at one of its file calls. */
static void write_and_die(const struct run *run, const struct op *op)
{
	static uint8_t bytes[PAYLOAD_MAX];
	const struct wal_options options = {.map_size = (size_t)64 << 10};
	struct error err = {0};
	struct wal *wal;
	uint32_t i;

	memset(run->call, 0, sizeof *run->call);
	run->call->mode = op->b % 2 ? NTH_KILL : NTH_KILL_TORN;
	run->call->n = 1 + op->a % 90;
	run->call->until = UINT64_MAX;
	if (nth_install(run->call) < 0 || wal_open(&wal, run->dir, &options, &err) < 0)
		deviate(run, "the other writer cannot open: %s", err.text);
	for (i = 1; i <= 1 + op->b % 20; i++) {
		const uint32_t tag = run->model->next_tag + i;

		if (wal_append(wal, tag % 1000, bytes, bytes_make(tag, bytes), NULL, &err) < 0)
			deviate(run, "the other writer cannot append: %s", err.text);
	}
	if (wal_sync(wal, 0, NULL, &err) < 0)
		deviate(run, "the other writer cannot sync: %s", err.text);
	atomic_store(run->acknowledged, wal_durable(wal));
	wal_close(wal);
}

static void killed_writer(struct run *run, const struct op *op)
{
	struct model *model = run->model;
	const uint64_t count = 1 + op->b % 20, before = model->durable;
	struct wal_report report;
	struct error err = {0};
	uint64_t i;
	int status;

	if (before + count + 2 >= RECORDS_MAX)
		return;
	wal_close(run->wal);
	run->wal = NULL;
	atomic_store(run->acknowledged, before);
	status = in_child(run, write_and_die);
	if (status == 1)
		_exit(1); /* it has said why */
	EXPECT(run, status == 0 || status == 128 + SIGKILL, &err);
	EXPECT(run, wal_verify(run->dir, &report, &err) == 0, &err);
	EXPECT(run, report.last_lsn == before || report.last_lsn == before + count, &err);
	EXPECT(run, report.last_lsn >= atomic_load(run->acknowledged), &err);
	EXPECT(run, report.epoch == model->epoch || report.epoch == model->epoch + 1, &err);
	for (i = before + 1; i <= report.last_lsn; i++) {
		model->tags[i] = model->next_tag + (uint32_t)(i - before);
		model->epochs[i] = report.epoch;
	}
	model->next_tag += (uint32_t)count;
	model->durable = report.last_lsn;
	model->epoch = report.epoch;
	open_again(run);
}

static void refusals(struct run *run, const struct op *op)
{
	static const uint8_t large[WAL_PAYLOAD_MAX + 1];
	struct model *model = run->model;
	struct error err = {0};

	if (op->what == OVERSIZE) {
		EXPECT(run, wal_append(run->wal, 1, large, sizeof large, NULL, &err) < 0, &err);
		EXPECT(run, err.code == EMSGSIZE, &err);
	} else {
		EXPECT(run, wal_sync(run->wal, model->staged + 1 + op->a, NULL, &err) < 0, &err);
		EXPECT(run, err.code == (model->failed ? EROFS : EINVAL), &err);
	}
}

static void perform(struct run *run, const struct op *op)
{
	struct model *model = run->model;
	struct error err = {0};
	struct wal *other;

	switch (op->what) {
	case APPEND:
		append(run, 1 + op->a % (op->b % 8 ? 12 : 150));
		break;
	case SYNC:
		sync_some(run, op->a % 3 && model->staged ? 1 + op->b % model->staged : 0);
		break;
	case REPLAY:
		replay_from(run, run->wal, op->a % 3 ? op->b % (model->durable + 3) : 0);
		break;
	case REOPEN:
		open_again(run);
		break;
	case SECOND:
		EXPECT(run, wal_open(&other, run->dir, NULL, &err) < 0 && err.code == EBUSY, &err);
		if (in_child(run, write_beside))
			_exit(1);
		break;
	case READER:
		if (in_child(run, read_beside))
			_exit(1);
		break;
	case OVERSIZE:
	case BEYOND:
		refusals(run, op);
		break;
	case CHECKPOINT:
		checkpoint(run, op);
		break;
	case TRIM:
		trim(run, op);
		break;
	case KILL:
		killed_writer(run, op);
		break;
	case WHATS:
	default:
		break;
	}
}

void wal_model_run(struct run *run)
{
	const enum plant plant = run->plant;

	run->model = calloc(1, sizeof *run->model);
	if (!run->model)
		_exit(2);
	run->model->first = 1;
	run->plant = PLANT_NONE; /* not yet: an empty list of operations holds */
	open_again(run);
	run->plant = plant;
	for (run->at = 0; run->at < run->count; run->at++)
		perform(run, &run->ops[run->at]);
	run->at = run->count ? run->count - 1 : 0;
	replay_from(run, run->wal, 0);
	wal_close(run->wal);
	_exit(0);
}
