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

/* One line of /proc/self/maps: "from-to rw-s offset dev inode path". */
static void look_at_line(struct record_control *control, const char *line, uint64_t from, uint64_t to)
{
	const char *flags = strchr(line, ' '), *path = strchr(line, '/');
	const uint64_t begin = strtoull(line, NULL, 16);
	uint64_t end;
	char *dash;

	(void)strtoull(line, &dash, 16);
	end = *dash == '-' ? strtoull(dash + 1, NULL, 16) : 0;
	if (!flags || flags[4] != 's' || !path || end <= from || begin >= to || !call_is_below(control, path))
		return;
	if (!is_volatile(control, last_component(path)))
		emit_refusal(control, "it maps", last_component(path), " shared and makes the mapping writable");
}

void trap_look_at_mprotect(struct record_control *control, const void *address, size_t size)
{
	const long fd = trap_call(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0, 0, 0);
	char buffer[2 * RECORD_PATH_MAX];
	size_t used = 0;
	uint64_t from;
	char *end;
	long n;

	memcpy(&from, &address, sizeof from);
	while (fd >= 0 && (n = TRAP_CALL3(SYS_read, fd, buffer + used, sizeof buffer - 1 - used)) > 0) {
		used += (size_t)n;
		buffer[used] = '\0';
		while ((end = strchr(buffer, '\n'))) {
			*end = '\0';
			look_at_line(control, buffer, from, from + size);
			used -= (size_t)(end + 1 - buffer);
			memmove(buffer, end + 1, used + 1);
		}
	}
	if (fd >= 0)
		trap_call(SYS_close, fd, 0, 0, 0, 0, 0);
}
