/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault points: places in a system's own code at which Tritone may count, fail, stop or kill the
 * process. Header only, C11 and C++17, nothing to link. Without the environment variable
 * TRITONE_FAULTPOINTS a point costs one load and one branch.
 *
 *     if (tritone_faultpoint("notify.swallow")) { ... pretend that it went well ... }
 *
 * tritone_faultpoint(name) returns 0, or the errno value that the armed point is to report. It may
 * not return at all. TRITONE_FAULTPOINTS names a file of struct tritone_point_table that is mapped,
 * shared, at the first call; a file that is not such a table is ignored. Thread-safe;
 * async-signal-safe after the first call.
 */
#ifndef TRITONE_FAULTPOINT_H
#define TRITONE_FAULTPOINT_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRITONE_POINT_MAGIC 0x31544e494f505254ull
#define TRITONE_POINT_SLOTS 64

/* `state` orders the slot: 0 free, 1 being written, 2 armed. Only the harness moves it to 0, 1
 * and 2. */
struct tritone_point_slot {
	uint32_t state;
	uint32_t action; /* enum tritone_point_action of fault.h */
	int32_t error;
	uint32_t reserved;
	uint64_t nth;    /* act at this pass (1-based) ... */
	uint64_t count;  /* ... and so many from there on; 0: all */
	uint64_t passes; /* how often the point was passed while armed */
	uint64_t hits;   /* how often it acted */
	char name[56];
};

struct tritone_point_table {
	uint64_t magic;
	uint32_t slots;
	uint32_t armed; /* number of slots in use: 0 lets every point return at once */
	struct tritone_point_slot slot[TRITONE_POINT_SLOTS];
};

static inline struct tritone_point_table *tritone_point_table_map(void)
{
	const char *path = getenv("TRITONE_FAULTPOINTS");
	struct tritone_point_table *table;
	struct stat st;
	void *map;
	int fd;

	if (!path || !*path)
		return NULL;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof *table) {
		close(fd);
		return NULL;
	}
	map = mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return NULL;
	table = (struct tritone_point_table *)map;
	if (table->magic != TRITONE_POINT_MAGIC || table->slots != TRITONE_POINT_SLOTS) {
		munmap(map, sizeof *table);
		return NULL;
	}
	return table;
}

static inline int tritone_point_pass(struct tritone_point_slot *slot)
{
	uint64_t pass = __atomic_add_fetch(&slot->passes, 1, __ATOMIC_ACQ_REL);

	if (pass < slot->nth)
		return 0;
	if (slot->count && pass >= (slot->nth ? slot->nth : 1) + slot->count)
		return 0;
	__atomic_add_fetch(&slot->hits, 1, __ATOMIC_ACQ_REL);
	switch (slot->action) {
	case 0x20: /* TRITONE_POINT_ERROR */
		return slot->error > 0 ? slot->error : 1;
	case 0x30: /* TRITONE_POINT_KILL */
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	case 0x40: /* TRITONE_POINT_STOP */
		raise(SIGSTOP);
		return 0;
	default:
		return 0;
	}
}

/* Under `tritone crashtest`: a write to a descriptor that nobody has, which the recorder sees and the kernel refuses. */
static inline void tritone_point_tell(int descriptor, const char *text, size_t size)
{
	const int kept = errno;

	if (write(descriptor, text, size) < 0)
		errno = kept;
}

/* Under `tritone crashtest`: what a line on standard output says, for a program that prints none: `line` (up to its end
 * or a newline) is acknowledged, all that it promises is durable. Otherwise nothing. */
static inline void tritone_acknowledge(const char *line)
{
	static int state; /* 0: not looked yet, 1: nobody records, 2: somebody does */
	int seen = __atomic_load_n(&state, __ATOMIC_ACQUIRE);

	if (seen == 0) {
		seen = getenv("TRITONE_RECORD") ? 2 : 1;
		__atomic_store_n(&state, seen, __ATOMIC_RELEASE);
	}
	if (seen == 2)
		tritone_point_tell(-0x7473, line, strcspn(line, "\n"));
}

static inline int tritone_faultpoint(const char *name)
{
	static struct tritone_point_table *table;
	static int state; /* 0: not looked yet, 1: looked, | 2: mapped, | 4: recorded */
	int seen = __atomic_load_n(&state, __ATOMIC_ACQUIRE);
	struct tritone_point_table *points;
	uint32_t i;

	if (seen == 1)
		return 0;
	if (seen == 0) { /* two threads may both map it: harmless */
		struct tritone_point_table *mapped = tritone_point_table_map();

		seen = 1 | (mapped ? 2 : 0) | (getenv("TRITONE_RECORD") ? 4 : 0);
		__atomic_store_n(&table, mapped, __ATOMIC_RELEASE);
		__atomic_store_n(&state, seen, __ATOMIC_RELEASE);
	}
	if (seen & 4)
		tritone_point_tell(-0x7472, name, strlen(name));
	if (!(seen & 2))
		return 0;
	points = __atomic_load_n(&table, __ATOMIC_ACQUIRE);
	if (!points || __atomic_load_n(&points->armed, __ATOMIC_ACQUIRE) == 0)
		return 0;
	for (i = 0; i < TRITONE_POINT_SLOTS; i++) {
		struct tritone_point_slot *slot = &points->slot[i];

		if (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != 2)
			continue;
		if (strncmp(slot->name, name, sizeof slot->name) == 0)
			return tritone_point_pass(slot);
	}
	return 0;
}

#ifdef __cplusplus
}
#endif
#endif
