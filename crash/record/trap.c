/* SPDX-License-Identifier: Apache-2.0 */
/* The filter, the one place from which calls are let through, and the handler. What a call means is in calls.c. */
#include "crash/record/trap.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <linux/audit.h>

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code: the C library does not name it */
#endif
#define COOKIE 0x7472u /* how we know that a SIGSYS is ours */

/*
 * The gate: one `syscall` instruction at an address that is the same in every process, because the filter that lets it
 * through is inherited over exec, where nothing else stays in its place.
 */
#define GATE_ADDRESS 0x200054520000ull
static const uint8_t gate_code[] = {
    0x48, 0x89, 0xf8,             /* mov rax, rdi */
    0x48, 0x89, 0xf7,             /* mov rdi, rsi */
    0x48, 0x89, 0xd6,             /* mov rsi, rdx */
    0x48, 0x89, 0xca,             /* mov rdx, rcx */
    0x4d, 0x89, 0xc2,             /* mov r10, r8 */
    0x4d, 0x89, 0xc8,             /* mov r8, r9 */
    0x4c, 0x8b, 0x4c, 0x24, 0x08, /* mov r9, [rsp + 8] */
    0x0f, 0x05,                   /* syscall */
    0xc3,                         /* ret */
};
#define GATE_AFTER (GATE_ADDRESS + sizeof gate_code - 1) /* where the instruction pointer is then */

/* A signal handler has no other way to know. Written once, by trap_install. */
static struct record_control *trap_control;
static bool trap_gate_is_open;

long trap_call(long number, long a, long b, long c, long d, long e, long f)
{
	long (*gate)(long, long, long, long, long, long, long);
	const uint64_t address = GATE_ADDRESS;

	memcpy(&gate, &address, sizeof gate);
	return gate(number, a, b, c, d, e, f);
}

static void on_trap(int signal_number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	const int kept = errno;
	struct trap_args args = {.number = (long)registers[REG_RAX],
	    .a = {(long)registers[REG_RDI], (long)registers[REG_RSI], (long)registers[REG_RDX],
		(long)registers[REG_R10], (long)registers[REG_R8], (long)registers[REG_R9]}};

	(void)signal_number;
	if (info->si_code == SYS_SECCOMP && (unsigned)info->si_errno == COOKIE)
		registers[REG_RAX] = (greg_t)trap_dispatch(trap_control, &args);
	errno = kept;
}

#define LOAD(field)             BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define LOAD_ARG(n)             LOAD(args[n])
#define RETURN(what)            BPF_STMT(BPF_RET | BPF_K, (what))
#define JUMP_EQUAL(value, t, f) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), (t), (f))
#define JUMP_BITS(value, t, f)  BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(value), (t), (f))
#define ALLOW                   RETURN(SECCOMP_RET_ALLOW)
#define TRAP                    RETURN(SECCOMP_RET_TRAP | COOKIE)
#define TRAPPED(nr)             JUMP_EQUAL(nr, 0, 1), TRAP
/* `nr` is trapped if its argument n has one of these bits. The number is no longer loaded then: it ends here. */
#define TRAPPED_BITS(nr, n, bits) JUMP_EQUAL(nr, 0, 4), LOAD_ARG(n), JUMP_BITS(bits, 0, 1), TRAP, ALLOW
#define REFUSED(nr, code)         JUMP_EQUAL(nr, 0, 1), RETURN(SECCOMP_RET_ERRNO | (code))

#define FICLONE_NR      0x40049409u
#define FICLONERANGE_NR 0x4020940du
#define OPEN_BITS       (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))

static const struct sock_filter program[] = {
    LOAD(arch),
    JUMP_EQUAL(AUDIT_ARCH_X86_64, 1, 0),
    ALLOW,
    LOAD(instruction_pointer),
    JUMP_EQUAL(GATE_AFTER & 0xffffffffu, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, instruction_pointer) + 4),
    JUMP_EQUAL(GATE_AFTER >> 32, 0, 1),
    ALLOW,
    LOAD(nr),
    TRAPPED(SYS_write),
    TRAPPED(SYS_pwrite64),
    TRAPPED(SYS_writev),
    TRAPPED(SYS_pwritev),
    TRAPPED(SYS_pwritev2),
    TRAPPED_BITS(SYS_openat, 2, OPEN_BITS),
    TRAPPED_BITS(SYS_open, 1, OPEN_BITS),
    TRAPPED(SYS_creat),
    TRAPPED(SYS_openat2),
    TRAPPED(SYS_fsync),
    TRAPPED(SYS_fdatasync),
    TRAPPED(SYS_sync),
    TRAPPED(SYS_syncfs),
    TRAPPED(SYS_truncate),
    TRAPPED(SYS_ftruncate),
    TRAPPED(SYS_fallocate),
    TRAPPED(SYS_rename),
    TRAPPED(SYS_renameat),
    TRAPPED(SYS_renameat2),
    TRAPPED(SYS_link),
    TRAPPED(SYS_linkat),
    TRAPPED(SYS_unlink),
    TRAPPED(SYS_unlinkat),
    TRAPPED(SYS_mkdir),
    TRAPPED(SYS_mkdirat),
    TRAPPED(SYS_rmdir),
    TRAPPED(SYS_symlink),
    TRAPPED(SYS_symlinkat),
    TRAPPED(SYS_sendfile),
    TRAPPED(SYS_copy_file_range),
    TRAPPED(SYS_splice),
    TRAPPED_BITS(SYS_mmap, 3, MAP_SHARED),
    TRAPPED_BITS(SYS_msync, 2, MS_SYNC),
    REFUSED(SYS_io_uring_setup, ENOSYS),
    REFUSED(SYS_io_setup, ENOSYS),
    JUMP_EQUAL(SYS_ioctl, 0, 5),
    LOAD_ARG(1),
    JUMP_EQUAL(FICLONE_NR, 1, 0),
    JUMP_EQUAL(FICLONERANGE_NR, 0, 1),
    RETURN(SECCOMP_RET_ERRNO | EOPNOTSUPP),
    ALLOW,
    ALLOW,
};

int trap_open_gate(void)
{
	const uint64_t address = GATE_ADDRESS;
	void *wanted, *gate;

	if (trap_gate_is_open)
		return 0;
	memcpy(&wanted, &address, sizeof wanted);
	gate = mmap(wanted, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (gate == MAP_FAILED || gate != wanted)
		return gate == MAP_FAILED ? errno : ENOTSUP;
	memcpy(gate, gate_code, sizeof gate_code);
	if (mprotect(gate, 4096, PROT_READ | PROT_EXEC) < 0)
		return errno;
	trap_gate_is_open = true;
	return 0;
}

/* The libc's own: the preloaded library has a sigaction that keeps others from taking this signal. */
static int take_signal(const struct sigaction *action)
{
	int (*real)(int, const struct sigaction *, struct sigaction *);
	void *symbol = dlsym(RTLD_NEXT, "sigaction");

	if (!symbol) /* a static program has one only */
		return sigaction(SIGSYS, action, NULL);
	memcpy(&real, &symbol, sizeof real);
	return real(SIGSYS, action, NULL);
}

int trap_install(struct record_control *control)
{
	struct sock_fprog filter = {.len = (unsigned short)(sizeof program / sizeof *program)};
	struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sock_filter copy[sizeof program / sizeof *program];
	sigset_t ours;
	int rc = trap_open_gate();

	if (rc)
		return rc;
	trap_control = control;
	sigfillset(&action.sa_mask); /* nothing of the program's runs while the lock is held */
	if (take_signal(&action) < 0)
		return errno;
	sigemptyset(&ours);
	sigaddset(&ours, SIGSYS);
	if (syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &ours, NULL, 8) < 0)
		return errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return errno;
	memcpy(copy, program, sizeof copy);
	filter.filter = copy;
	/* TSYNC: a library that was initialised before may have started threads. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0)
		return errno ? errno : ENOTSUP;
	return 0;
}

#else
int trap_open_gate(void)
{
	return ENOTSUP;
}

int trap_install(struct record_control *control)
{
	(void)control;
	return ENOTSUP;
}

long trap_call(long number, long a, long b, long c, long d, long e, long f)
{
	const long rc = syscall(number, a, b, c, d, e, f);

	return rc < 0 ? -errno : rc;
}
#endif
