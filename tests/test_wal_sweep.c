/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th failure sweep of wal/: a run that opens, appends, grows, replays, reopens and verifies has its n-th file call
 * failed, for every n that there is, every errno, refused or performed and then failed, once or from then on. After it
 * the disk is well again: nothing acknowledged may be lost, nothing wrong be there, the error must have had its name.
 * TRITONE_SWEEP_STRIDE=k tries every k-th n only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "nth_call.h"
#include "wal_fixture.h"

#define MAP_SIZE       ((size_t)64 << 10)
#define BASE           60u
#define SUMMARY_SIZE   20000u
#define CALLS_MAX      20000u /* far more than any run has */
#define HANG_S         100u   /* only so that a hang is reported as one */
#define STORM          60u    /* interruptions one after the other */
#define DEVIATIONS_MAX 20

static const struct {
	int code;
	const char *name;
} errors[] = {
    {ENOSPC, "ENOSPC"}, {EIO, "EIO"}, {EDQUOT, "EDQUOT"}, {EINTR, "EINTR"}, {EROFS, "EROFS"}, {ENOMEM, "ENOMEM"}};

/* What a run says of itself, in shared memory. */
struct told {
	struct nth_call call;
	uint64_t attempted, acknowledged, opened, checkpoint, checkpoint_tried;
	int errors,
	    after; /* calls of wal/ that failed; of those that must not fail any more, since the fault was over */
	struct error first, last;
	char step[32];
};

struct sweep {
	struct fixture *fixture;
	struct told *told;
	bool prepared; /* there is a log with BASE records */
	uint8_t *data;
	size_t data_size;
	uint64_t runs, unfelt, named, deviations;
};

/* --- the run, in a child --- */

static void failed(struct told *told, const char *step, const struct error *err)
{
	if (told->errors++ == 0) {
		told->first = *err;
		snprintf(told->step, sizeof told->step, "%s", step);
	}
	told->last = *err;
}

static int write_some(struct told *told, struct wal *wal, uint64_t count, struct error *err)
{
	const uint64_t next = told->attempted + 1;
	uint64_t durable;

	told->attempted += count;
	if (append_some(wal, next, count, err) < 0 || wal_sync(wal, 0, &durable, err) < 0)
		return -1;
	told->acknowledged = durable;
	return 0;
}

/* What the header tells one to do after an error: close, open again, see what is there. NULL if it cannot be opened. */
static struct wal *reopen(struct told *told, struct wal *wal, const char *dir, const char *step)
{
	const struct wal_options options = {.map_size = MAP_SIZE};
	struct error err = {0};

	wal_close(wal);
	wal = NULL;
	if (wal_open(&wal, dir, &options, &err) < 0) {
		failed(told, step, &err);
		/* the fault may have met this one: once more, and if it was to come once, that must do */
		if (wal_open(&wal, dir, &options, &err) < 0) {
			failed(told, step, &err);
			told->after += told->call.until == told->call.n;
			return NULL;
		}
	}
	told->opened++;
	told->attempted = wal_durable(wal);
	return wal;
}

static size_t summary_make(uint8_t bytes[], uint64_t lsn)
{
	memset(bytes, (int)(lsn % 251), SUMMARY_SIZE);
	return SUMMARY_SIZE;
}

static int keep_up(struct told *told, struct wal *wal, struct error *err)
{
	static uint8_t bytes[SUMMARY_SIZE];
	const uint64_t lsn = wal_durable(wal) - 5;

	told->checkpoint_tried = lsn;
	if (wal_checkpoint(wal, lsn, bytes, summary_make(bytes, lsn), err) < 0)
		return -1;
	told->checkpoint = lsn;
	return wal_trim(wal, 0, err);
}

static int see_all(void *arg, const struct wal_record *record)
{
	static uint8_t bytes[SUMMARY_SIZE];
	struct seen *seen = arg;

	if (!record->checkpoint)
		return see(arg, record);
	if (record->size != summary_make(bytes, record->lsn) || memcmp(record->payload, bytes, record->size) != 0)
		seen->wrong++;
	seen->count += record->lsn; /* what it stands for */
	return 0;
}

static void run(struct told *told, const char *dir)
{
	const struct wal_options reading = {.read_only = true};
	struct wal *wal = reopen(told, NULL, dir, "open");
	struct wal_report report;
	struct error err = {0};
	struct seen seen = {0};
	int i;

	for (i = 0; i < 4 && wal; i++) {
		if (write_some(told, wal, 12, &err) == 0)
			continue;
		failed(told, "commit", &err);
		wal = reopen(told, wal, dir, "reopen");
		if (wal && told->call.until == told->call.n && write_some(told, wal, 3, &err) < 0) {
			failed(told, "commit after all", &err);
			told->after++;
		}
	}
	if (wal && wal_replay(wal, 1, see, &seen, &err) < 0)
		failed(told, "replay", &err);
	if (wal && keep_up(told, wal, &err) < 0) {
		failed(told, "checkpoint", &err);
		/* in a log that has not failed, it goes on as it was */
		if (told->call.until == told->call.n && strstr(err.text, "takes nothing more") == NULL &&
		    write_some(told, wal, 1, &err) < 0)
			failed(told, "commit after a checkpoint", &err);
	}
	wal = reopen(told, wal, dir, "second open");
	if (wal && write_some(told, wal, 60, &err) < 0)
		failed(told, "growth", &err);
	wal_close(wal);
	wal = NULL;
	if (wal_verify(dir, &report, &err) < 0)
		failed(told, "verify", &err);
	if (wal_open(&wal, dir, &reading, &err) < 0)
		failed(told, "read-only open", &err);
	else if (wal_replay(wal, 0, see_all, &seen, &err) < 0)
		failed(told, "read-only replay", &err);
	wal_close(wal);
	if (seen.wrong)
		_exit(5);
}

/* --- the judge --- */

static void deviate(struct sweep *sweep, const char *what, const struct error *err)
{
	const struct told *told = sweep->told;
	const struct nth_call *call = &told->call;
	char number[24];

	if (++sweep->deviations > DEVIATIONS_MAX)
		return;
	fprintf(stderr, "# %s log, call %llu (%s), %s, %s, %s: %s%s%s (at %s: %d %s)\n",
	    sweep->prepared ? "old" : "new", (unsigned long long)call->n, nth_name(call->number, number, sizeof number),
	    strerror(call->error), call->mode == NTH_REFUSE ? "refused" : "performed",
	    call->until != call->n ? "from then on" : "once", what, err ? ": " : "", err ? err->text : "", told->step,
	    told->first.code, told->first.text);
}

static void prepare(struct sweep *sweep)
{
	struct fixture *f = sweep->fixture;
	char path[128];
	int fd;

	nftw(f->log, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	if (!sweep->prepared)
		return;
	assert_int_equal(mkdir(f->log, 0777), 0);
	fd = open(f->data, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	assert_int_equal(write(fd, sweep->data, sweep->data_size), sweep->data_size);
	close(fd);
	snprintf(path, sizeof path, "%s/format", f->log);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	assert_int_equal(write(fd, "tritone wal 1\n", 14), 14);
	close(fd);
}

static void judge_error(struct sweep *sweep, const struct error *err)
{
	const struct told *told = sweep->told;
	const bool refusal = err->code == EROFS && strstr(err->text, "takes nothing more");

	/* LMDB takes any failure to lock its lock file for one that is locked already, and then does not make it */
	if (told->call.number == SYS_fcntl && err->code == EILSEQ && strstr(err->text, "lock.mdb"))
		return;
	if (err->code != told->call.error && !refusal)
		deviate(sweep, "the error has another's name", err);
	else if (err->text[0] != '/' || !strstr(err->text, strerror(told->call.error)))
		deviate(sweep, "the error does not say what or where", err);
}

static void judge(struct sweep *sweep)
{
	struct fixture *f = sweep->fixture;
	struct told *told = sweep->told;
	struct wal_report report = {0};
	struct seen seen = {0};
	struct error err = {0};
	struct wal *wal = NULL;

	if (wal_verify(f->log, &report, &err) < 0 && (err.code != ENOENT || told->acknowledged || sweep->prepared))
		deviate(sweep, "the log is damaged", &err);
	else if (report.last_lsn < told->acknowledged || (sweep->prepared && report.last_lsn < BASE))
		deviate(sweep, "acknowledged records are lost", NULL);
	else if (report.checkpoint_lsn != told->checkpoint && report.checkpoint_lsn != told->checkpoint_tried)
		deviate(sweep, "the checkpoint is another", NULL);
	else if (report.epoch < told->opened)
		deviate(sweep, "an epoch was given out twice", NULL);
	if (wal_open(&wal, f->log, NULL, &err) < 0)
		deviate(sweep, "the log cannot be opened again", &err);
	else if (append_some(wal, report.last_lsn + 1, 5, &err) < 0 || wal_sync(wal, 0, NULL, &err) < 0 ||
		 wal_replay(wal, 0, see_all, &seen, &err) < 0)
		deviate(sweep, "the log cannot be written again", &err);
	else if (seen.wrong || seen.count != report.last_lsn + 5)
		deviate(sweep, "records are not what was written", NULL);
	wal_close(wal);
}

/* False when the run has no n-th call. */
static bool try_one(struct sweep *sweep, const struct nth_call *call)
{
	struct told *told = sweep->told;
	const struct error none = {0};
	pid_t pid;
	int status;

	prepare(sweep);
	memset(told, 0, sizeof *told);
	told->call = *call;
	told->call.count_max = CALLS_MAX;
	told->acknowledged = sweep->prepared ? BASE : 0;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(HANG_S);
		if (nth_install(&told->call) < 0)
			_exit(2);
		run(told, sweep->fixture->log);
		_exit(0);
	}
	status = child_status(pid);
	sweep->runs++;
	if (status == NTH_EXIT_ENDLESS || status == 128 + SIGALRM)
		deviate(sweep, "it never ends", NULL);
	else if (status == 5)
		deviate(sweep, "a replay showed what was not written", NULL);
	else if (status)
		deviate(sweep, "it crashed", NULL);
	if (told->after)
		deviate(sweep, "the fault was over and still an error came", &told->last);
	if (told->errors) {
		judge_error(sweep, &told->first);
		if (memcmp(&told->last, &none, sizeof none) != 0)
			judge_error(sweep, &told->last);
		sweep->named++;
	} else {
		sweep->unfelt++;
	}
	judge(sweep);
	return told->call.hits > 0;
}

static uint64_t stride(void)
{
	const char *text = getenv("TRITONE_SWEEP_STRIDE");
	uint64_t value = text ? strtoull(text, NULL, 0) : 1;

	return value ? value : 1;
}

static void sweep_all(struct fixture *f, bool prepared)
{
	struct sweep sweep = {.fixture = f, .prepared = prepared};
	const uint64_t step = stride();
	uint64_t longest = 0;
	size_t e;
	int how;

	if (access("/dev/shm", W_OK) == 0) {
		snprintf(f->log, sizeof f->log, "/dev/shm/%s", strrchr(f->dir, '/') + 1);
		snprintf(f->data, sizeof f->data, "%s/data.mdb", f->log);
	}
	sweep.told = mmap(NULL, sizeof *sweep.told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(sweep.told, MAP_FAILED);
	if (prepared) {
		const struct wal_options options = {.map_size = MAP_SIZE};
		struct stat status;
		int fd;

		assert_int_equal(wal_open(&f->wal, f->log, &options, &f->err), 0);
		assert_int_equal(append_some(f->wal, 1, BASE, &f->err), 0);
		assert_int_equal(wal_sync(f->wal, 0, NULL, &f->err), 0);
		wal_close(f->wal);
		f->wal = NULL;
		fd = open(f->data, O_RDONLY | O_CLOEXEC);
		assert_int_equal(fstat(fd, &status), 0);
		sweep.data_size = (size_t)status.st_size;
		sweep.data = malloc(sweep.data_size);
		assert_int_equal(read(fd, sweep.data, sweep.data_size), sweep.data_size);
		close(fd);
	}
	for (e = 0; e < sizeof errors / sizeof errors[0]; e++)
		for (how = 0; how < 4; how++) {
			struct nth_call call = {
			    .mode = how % 2 ? NTH_PERFORM_THEN_FAIL : NTH_REFUSE, .error = errors[e].code};
			uint64_t before = sweep.runs;
			bool felt = true;

			for (call.n = 1 + before % step; felt; call.n += step) {
				/* LMDB, as most, goes on after an interruption for as long as there are any */
				call.until = how < 2 ? call.n : call.error == EINTR ? call.n + STORM : UINT64_MAX;
				felt = try_one(&sweep, &call);
				longest = call.n > longest ? call.n : longest;
			}
			assert_true(sweep.runs - before > 1); /* at least one was felt */
		}
	fprintf(stderr,
	    "# %s log: %llu runs (6 errnos x 2 modes x once or from then on; up to %llu calls), %llu with named "
	    "errors, %llu "
	    "without any, %llu deviations\n",
	    prepared ? "old" : "new", (unsigned long long)sweep.runs, (unsigned long long)longest,
	    (unsigned long long)sweep.named, (unsigned long long)sweep.unfelt, (unsigned long long)sweep.deviations);
	munmap(sweep.told, sizeof *sweep.told);
	free(sweep.data);
	nftw(f->log, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(sweep.deviations, 0);
	assert_true(sweep.named > 0);
}

static void test_sweep_of_a_new_log(void **state)
{
	sweep_all(*state, false);
}

static void test_sweep_of_an_old_log(void **state)
{
	sweep_all(*state, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_sweep_of_a_new_log, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_sweep_of_an_old_log, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
