/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock by raw system calls (the C library has no wrappers), seccomp by libseccomp; see confine.h. */
#include "runner/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

/* ABI 1 refuses every rename between directories, which a fault that moves a file aside needs. */
#define LANDLOCK_ABI_MIN 2

#define FILE_RIGHTS (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)
#define WRITE_RIGHTS                                                                                                   \
	(FILE_RIGHTS | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR | \
	    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |                 \
	    LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM |               \
	    LANDLOCK_ACCESS_FS_REFER)

int confine_process(int keep_fd, struct error *err)
{
	const struct rlimit none = {0, 0};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set(err, errno, "no_new_privs: %s", strerror(errno));
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return error_set(err, errno, "no core files: %s", strerror(errno));
	if (close_range((unsigned)keep_fd + 1, ~0U, 0) < 0 && errno != ENOSYS)
		return error_set(err, errno, "closing descriptors: %s", strerror(errno));
	return 0;
}

/* ---- files ---- */

static int allow(int ruleset, const char *path, __u64 rights, struct error *err)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = rights};
	struct stat st;
	int r;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return errno == ENOENT ? 0 : error_set(err, errno, "%s: %s", path, strerror(errno));
	if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed_access &= FILE_RIGHTS;
	r = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	if (r < 0)
		error_set(err, errno, "landlock: %s: %s", path, strerror(errno));
	close(rule.parent_fd);
	return r;
}

int confine_files(const char *const *paths, struct error *err)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = WRITE_RIGHTS};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int ruleset, r;

	if (abi < LANDLOCK_ABI_MIN)
		return error_set(err, ENOTSUP, "this kernel has no Landlock of version %d or later", LANDLOCK_ABI_MIN);
	if (abi < 3)
		attr.handled_access_fs &= ~(__u64)LANDLOCK_ACCESS_FS_TRUNCATE;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
	if (ruleset < 0)
		return error_set(err, ENOTSUP, "landlock: %s", strerror(errno));
	r = allow(ruleset, "/dev/null", attr.handled_access_fs, err);
	for (; r == 0 && *paths; paths++)
		r = allow(ruleset, *paths, attr.handled_access_fs, err);
	if (r == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		r = error_set(err, ENOTSUP, "landlock: %s", strerror(errno));
	close(ruleset);
	return r;
}

/* ---- network ---- */

int confine_network(struct error *err)
{
	const struct scmp_arg_cmp other = {.arg = 0, .op = SCMP_CMP_NE, .datum_a = AF_UNIX};
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (!filter)
		return error_set(err, ENOMEM, "no memory for a system-call filter");
	r = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 1, &other);
	if (r == 0) /* it could make sockets too, out of the filter's sight */
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup), 0);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r < 0 ? error_set(err, ENOTSUP, "the system-call filter for sockets: %s", strerror(-r)) : 0;
}
