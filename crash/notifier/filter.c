/* SPDX-License-Identifier: Apache-2.0 */
/* Which calls are notified. Opening is, only if it may make or empty a file; mapping, only if it may share writes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "crash/notifier/internal.h"

#define OPEN_BITS (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))

static const int always[] = {
    SYS_write,
    SYS_pwrite64,
    SYS_writev,
    SYS_pwritev,
    SYS_pwritev2,
    SYS_sendfile,
    SYS_copy_file_range,
    SYS_splice,
    SYS_fsync,
    SYS_fdatasync,
    SYS_sync,
    SYS_syncfs,
    SYS_msync,
    SYS_ftruncate,
    SYS_truncate,
    SYS_fallocate,
    SYS_openat2,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_unlinkat,
    SYS_linkat,
    SYS_symlinkat,
    SYS_renameat2,
#ifdef SYS_renameat
    SYS_renameat,
#endif
#ifdef SYS_open /* the older architectures' calls without a directory */
    SYS_creat,
    SYS_mkdir,
    SYS_mknod,
    SYS_unlink,
    SYS_rmdir,
    SYS_link,
    SYS_symlink,
    SYS_rename,
#endif
};

static int add_open(scmp_filter_ctx ctx, int nr, unsigned int flags)
{
	unsigned int bit;
	int r = 0;

	for (bit = 1; r == 0 && bit; bit <<= 1)
		if (OPEN_BITS & bit)
			r = seccomp_rule_add(
			    ctx, SCMP_ACT_NOTIFY, nr, 1, SCMP_CMP(flags, SCMP_CMP_MASKED_EQ, bit, bit));
	return r;
}

static int add_rules(scmp_filter_ctx ctx)
{
	static const uint64_t reflinks[] = {FICLONE, FICLONERANGE, FIDEDUPERANGE};
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < sizeof always / sizeof *always; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, always[i], 0);
	if (r == 0)
		r = add_open(ctx, SYS_openat, 2);
#ifdef SYS_open
	if (r == 0)
		r = add_open(ctx, SYS_open, 1);
#endif
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, SCMP_SYS(mmap), 2,
		    SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE, PROT_WRITE),
		    SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_SHARED, MAP_SHARED));
	if (r == 0)
		r = seccomp_rule_add(
		    ctx, SCMP_ACT_NOTIFY, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE, PROT_WRITE));
	for (i = 0; r == 0 && i < sizeof reflinks / sizeof *reflinks; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EOPNOTSUPP), SCMP_SYS(ioctl), 1,
		    SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, reflinks[i]));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup), 0);
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_setup), 0);
	return r;
}

int notifier_filter(struct sock_fprog *ret_program, struct error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (!ctx)
		return error_set(err, ENOMEM, "no memory for the recorder's filter");
	/* A call of another word size would go by unseen. */
	r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
	if (r == 0)
		r = add_rules(ctx);
	if (r < 0)
		error_set(err, -r, "making the recorder's filter: %s", strerror(-r));
	else
		r = notified_export(ctx, ret_program, err);
	seccomp_release(ctx);
	return r < 0 ? -1 : 0;
}
