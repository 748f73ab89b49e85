/* SPDX-License-Identifier: Apache-2.0 */
/* Shared mappings, through which stores go unseen: of a file that is not volatile by design they are refused. */
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "crash/record/calls.h"

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_volatile(const struct record_control *control, const char *name)
{
	const char *pattern;

	for (pattern = control->volatiles; *pattern && fnmatch(pattern, name, 0); pattern += strlen(pattern) + 1)
		;
	return *pattern;
}

long call_mmap(struct record_control *control, const struct trap_args *args)
{
	const int fd = (int)args->a[4];
	struct trace_op op = {.kind = TRACE_VOLATILE};
	char path[RECORD_PATH_MAX + 32];
	struct stat status;
	long rc;

	if ((args->a[3] & MAP_ANONYMOUS) || !call_is_ours(control, fd, &status) || call_path_of(fd, path) < 0)
		return call_as_is(args);
	if (!(args->a[2] & PROT_WRITE)) {
		__atomic_add_fetch(&control->shared_maps, 1, __ATOMIC_RELAXED);
		return call_as_is(args);
	}
	emit_lock(control);
	rc = call_as_is(args);
	op.file = status.st_ino;
	if (is_volatile(control, last_component(path)))
		emit(control, &op, NULL, 0);
	else
		emit_refusal(control, "it maps", last_component(path), " shared and writable");
	emit_unlock(control);
	return rc;
}

/* A file below the directory that is mapped shared: [begin, end) is what it has from `offset` on. */
struct mapping {
	uint64_t begin, end, offset;
	const char *path;
};

/* One line of /proc/self/maps, "from-to rw-s offset dev inode path": is it such a one? */
static bool parse(const struct record_control *control, const char *line, struct mapping *ret_mapping)
{
	const char *flags = strchr(line, ' '), *path = strchr(line, '/');
	char *dash;

	ret_mapping->begin = strtoull(line, &dash, 16);
	ret_mapping->end = *dash == '-' ? strtoull(dash + 1, NULL, 16) : 0;
	if (!flags || flags[4] != 's' || !path || !call_is_below(control, path))
		return false;
	ret_mapping->offset = strtoull(flags + 5, NULL, 16);
	ret_mapping->path = path;
	return ret_mapping->end > ret_mapping->begin;
}

typedef void (*mapping_fn)(
    struct record_control *control, const struct mapping *mapping, uint64_t address, uint64_t size);

/* Those that [address, address + size) has a part of. */
static void look_at_range(struct record_control *control, uint64_t address, uint64_t size, mapping_fn look)
{
	const long fd = trap_call(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0, 0, 0);
	char buffer[2 * RECORD_PATH_MAX];
	struct mapping mapping;
	size_t used = 0;
	char *end;
	long n;

	while (fd >= 0 && (n = TRAP_CALL3(SYS_read, fd, buffer + used, sizeof buffer - 1 - used)) > 0) {
		used += (size_t)n;
		buffer[used] = '\0';
		while ((end = strchr(buffer, '\n'))) {
			*end = '\0';
			if (parse(control, buffer, &mapping) && mapping.begin < address + size && mapping.end > address)
				look(control, &mapping, address, size);
			used -= (size_t)(end + 1 - buffer);
			memmove(buffer, end + 1, used + 1);
		}
	}
	if (fd >= 0)
		trap_call(SYS_close, fd, 0, 0, 0, 0, 0);
}

static void made_writable(
    struct record_control *control, const struct mapping *mapping, uint64_t address, uint64_t size)
{
	(void)address;
	(void)size;
	if (!is_volatile(control, last_component(mapping->path)))
		emit_refusal(
		    control, "it maps", last_component(mapping->path), " shared and makes the mapping writable");
}

void trap_look_at_mprotect(struct record_control *control, const void *address, size_t size)
{
	uint64_t from;

	memcpy(&from, &address, sizeof from);
	look_at_range(control, from, size, made_writable);
}

/* A trace knows no syncs of parts: it counts if it is of the whole file, and less may be promised. */
static void synced(struct record_control *control, const struct mapping *mapping, uint64_t address, uint64_t size)
{
	struct trace_op op = {.kind = TRACE_MSYNC};
	struct stat status;

	if (trap_call(SYS_newfstatat, AT_FDCWD, (long)mapping->path, (long)&status, 0, 0, 0) < 0 || mapping->offset ||
	    address != mapping->begin || size > mapping->end - mapping->begin || size < (uint64_t)status.st_size)
		return;
	op.file = status.st_ino;
	emit(control, &op, NULL, 0);
}

/* Of a mapping that is only read: it makes durable what was written by calls. */
long call_msync(struct record_control *control, const struct trap_args *args)
{
	long rc;

	if (!__atomic_load_n(&control->shared_maps, __ATOMIC_RELAXED))
		return call_as_is(args);
	emit_lock(control);
	rc = call_as_is(args);
	if (rc == 0)
		look_at_range(control, (uint64_t)args->a[0], (uint64_t)args->a[1], synced);
	emit_unlock(control);
	return rc;
}
