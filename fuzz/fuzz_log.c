/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A damaged environment: one of a few logs that wal/ has made, changed as the input says, then verified, replayed, and opened
 * for writing. LMDB trusts its file, so what is let through to it must be sound: nothing may crash, no wrong record be
 * shown, and what is refused must have its name. The first byte of an input is the log, then come the changes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "wal/wal.h"

#define BASES    5
#define PAGE     4096u
#define MARK     "tritone wal 1\n"
#define EDITS    8
#define META_END (2 * PAGE) /* LMDB's first pages: without a checksum, of two versions */

struct base {
	uint8_t *bytes;
	size_t size, file_size; /* behind `size` nothing was ever written */
	uint64_t last;
};

static struct base bases[BASES];
static char log_dir[96], data_path[112], mark_path[112];

static size_t payload_make(uint64_t lsn, uint8_t *bytes)
{
	const size_t size = (size_t)(lsn * 37 % 90) + (lsn % 16 == 0 ? 5000 : 0);
	size_t i;

	for (i = 0; i < size; i++)
		bytes[i] = (uint8_t)(lsn * 31 + i);
	return size;
}

static void append(struct wal *wal, uint64_t count)
{
	uint8_t bytes[6000];
	uint64_t i, lsn = wal_durable(wal);

	for (i = 0; i < count; i++) {
		lsn++;
		MUST(wal_append(wal, (uint32_t)(lsn % 7), bytes, payload_make(lsn, bytes), NULL, NULL) == 0);
	}
	MUST(wal_sync(wal, 0, NULL, NULL) == 0);
}

static void remove_log(void)
{
	static const char *const names[] = {"data.mdb", "lock.mdb", "writer.lock", "format"};
	char path[128];
	size_t i;

	for (i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", log_dir, names[i]);
		unlink(path);
	}
}

static void make_base(struct base *base, unsigned which)
{
	static const uint64_t counts[BASES] = {0, 12, 60, 300, 80};
	const struct wal_options options = {.map_size = (size_t)64 << 10};
	struct stat status;
	struct wal *wal;
	int fd;

	remove_log();
	MUST(wal_open(&wal, log_dir, &options, NULL) == 0);
	while (wal_durable(wal) < counts[which])
		append(wal, which == 3 ? 60 : 12);
	if (which == 4) {
		uint8_t summary[9000] = "all up to here";

		MUST(wal_checkpoint(wal, 50, summary, sizeof summary, NULL) == 0 && wal_trim(wal, 40, NULL) == 0);
	}
	base->last = wal_durable(wal);
	wal_close(wal);
	fd = open(data_path, O_RDONLY | O_CLOEXEC);
	MUST(fd >= 0 && fstat(fd, &status) == 0);
	base->size = base->file_size = (size_t)status.st_size;
	base->bytes = malloc(base->size);
	MUST(base->bytes && read(fd, base->bytes, base->size) == status.st_size);
	close(fd);
	while (base->size > PAGE && base->bytes[base->size - 1] == 0)
		base->size--;
	base->size = (base->size + PAGE - 1) / PAGE * PAGE;
}

static void prepare(void)
{
	unsigned i;

	snprintf(log_dir, sizeof log_dir, "%s/log", fuzz_dir());
	snprintf(data_path, sizeof data_path, "%s/data.mdb", log_dir);
	snprintf(mark_path, sizeof mark_path, "%s/format", log_dir);
	for (i = 0; i < BASES; i++)
		make_base(&bases[i], i);
}

/* What an edit can be: as bits rot, as disks write to the wrong place, as crashes leave a file. */
enum { SET_BYTE, FLIP_BIT, SET_WORD, SET_NUMBER, COPY_PAGE, ZERO_SECTOR, CUT, SWAP_METAS };

struct damage {
	uint8_t *bytes;
	size_t size, end; /* of the file; up to where it is written */
	bool in_metas, unmarked;
};

static void edit(struct damage *damage, struct taker *input)
{
	const uint64_t what = take(input, 1);
	const size_t pages = damage->size / PAGE, page = (size_t)take(input, 1) % pages;
	const size_t at = page * PAGE + (size_t)take(input, 2) % PAGE;
	uint8_t *bytes = damage->bytes;
	uint64_t number;

	damage->unmarked |= (what & 0x80) != 0;
	damage->in_metas |= at < META_END;
	switch (what % 8) {
	case SET_BYTE:
		bytes[at] = (uint8_t)take(input, 1);
		break;
	case FLIP_BIT:
		bytes[at] ^= (uint8_t)(1u << take(input, 1) % 8);
		break;
	case SET_WORD:
		number = take(input, 2);
		memcpy(bytes + (at & ~(size_t)1), &number, 2);
		break;
	case SET_NUMBER:
		number = take(input, 1);
		number = number == 0xff ? UINT64_MAX : number;
		memcpy(bytes + (at & ~(size_t)7), &number, 8);
		break;
	case COPY_PAGE:
		memmove(bytes + page * PAGE, bytes + (size_t)take(input, 1) % pages * PAGE, PAGE);
		break;
	case ZERO_SECTOR:
		memset(bytes + at / 512 * 512, 0, 512);
		break;
	case CUT:
		damage->end = damage->end < at ? damage->end : at;
		damage->in_metas = true;
		break;
	case SWAP_METAS:
	default:
		if (damage->size < META_END)
			break;
		damage->in_metas = true;
		for (number = 0; number < 152; number++) {
			uint8_t kept = bytes[number];

			bytes[number] = bytes[PAGE + number];
			bytes[PAGE + number] = kept;
		}
		break;
	}
}

static void put_file(const char *path, const void *bytes, size_t size, size_t file_size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	MUST(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	MUST(ftruncate(fd, (off_t)file_size) == 0);
	close(fd);
}

struct look {
	uint64_t last;
};

static int look_at(void *arg, const struct wal_record *record)
{
	struct look *look = arg;
	uint8_t bytes[6000];

	if (record->checkpoint) {
		MUST(record->size == 9000);
		look->last = record->lsn;
		return 0;
	}
	MUST(look->last == 0 || record->lsn == look->last + 1);
	MUST(record->kind == record->lsn % 7);
	MUST(record->size == payload_make(record->lsn, bytes));
	MUST(record->size == 0 || memcmp(record->payload, bytes, record->size) == 0);
	look->last = record->lsn;
	return 0;
}

/* EILSEQ: damage. ENOENT: nothing was ever in it, and no mark says otherwise. The rest is for a file that asks for more than
 * this machine has, or may not be mapped as it says. */
static bool is_named(const struct error *err, bool unmarked)
{
	return err->text[0] && (err->code == EILSEQ || (err->code == ENOENT && unmarked));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const struct wal_options reading = {.read_only = true};
	struct taker input = {bytes, size};
	struct damage damage = {0};
	const struct base *base;
	struct wal_report report = {0};
	struct look look = {0};
	struct error err = {0};
	struct wal *wal = NULL;
	int i;

	if (!bases[0].bytes)
		prepare();
	base = &bases[take(&input, 1) % BASES];
	damage.size = damage.end = base->size;
	damage.bytes = malloc(base->size);
	MUST(damage.bytes);
	memcpy(damage.bytes, base->bytes, base->size);
	for (i = 0; i < EDITS && input.size; i++)
		edit(&damage, &input);
	remove_log();
	put_file(data_path, damage.bytes, damage.end, damage.end == base->size ? base->file_size : damage.end);
	if (!damage.unmarked)
		put_file(mark_path, MARK, sizeof MARK - 1, sizeof MARK - 1);

	if (wal_verify(log_dir, &report, &err) < 0)
		MUST(is_named(&err, damage.unmarked));
	if (wal_open(&wal, log_dir, &reading, &err) < 0) {
		MUST(is_named(&err, damage.unmarked));
	} else {
		if (wal_replay(wal, 0, look_at, &look, &err) < 0)
			MUST(is_named(&err, damage.unmarked));
		else
			/* older, if the page that said what is newest was hit; never newer, never other */
			MUST(look.last == base->last || (damage.in_metas && look.last <= base->last));
		wal_close(wal);
	}
	if (wal_open(&wal, log_dir, NULL, &err) < 0) {
		MUST(is_named(&err, damage.unmarked));
	} else {
		append(wal, 5);
		look.last = 0;
		MUST(wal_replay(wal, 0, look_at, &look, &err) == 0);
		wal_close(wal);
		MUST(wal_verify(log_dir, &report, &err) == 0);
	}
	free(damage.bytes);
	return 0;
}
