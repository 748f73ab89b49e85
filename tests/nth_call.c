/* SPDX-License-Identifier: Apache-2.0 */
/* The handler keeps to raw system calls: it may run inside of malloc, of LMDB, of anything. */
#include "nth_call.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef __x86_64__
#error "only for x86-64: see tests/meson.build"
#endif

#define PAGE 4096

/* The only place from which calls pass the filter. A seventh argument is on the stack. */
__asm__(".text\n"
	".globl nth_gate\n"
	".hidden nth_gate\n"
	".type nth_gate, @function\n"
	"nth_gate:\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 8(%rsp), %r9\n"
	"	syscall\n"
	".globl nth_gate_passed\n"
	".hidden nth_gate_passed\n"
	"nth_gate_passed:\n"
	"	ret\n"
	".size nth_gate, . - nth_gate\n");

extern long nth_gate(long number, long a, long b, long c, long d, long e, long f) __attribute__((visibility("hidden")));
extern const char nth_gate_passed[] __attribute__((visibility("hidden")));

static const struct {
	long number;
	const char *name;
} calls[] = {
    {SYS_open, "open"},
    {SYS_openat, "openat"},
    {SYS_close, "close"},
    {SYS_read, "read"},
    {SYS_pread64, "pread64"},
    {SYS_write, "write"},
    {SYS_pwrite64, "pwrite64"},
    {SYS_writev, "writev"},
    {SYS_pwritev, "pwritev"},
    {SYS_fsync, "fsync"},
    {SYS_fdatasync, "fdatasync"},
    {SYS_msync, "msync"},
    {SYS_ftruncate, "ftruncate"},
    {SYS_fallocate, "fallocate"},
    {SYS_lseek, "lseek"},
    {SYS_fcntl, "fcntl"},
    {SYS_flock, "flock"},
    {SYS_mkdir, "mkdir"},
    {SYS_mkdirat, "mkdirat"},
    {SYS_rename, "rename"},
    {SYS_renameat, "renameat"},
    {SYS_renameat2, "renameat2"},
    {SYS_link, "link"},
    {SYS_linkat, "linkat"},
    {SYS_unlink, "unlink"},
    {SYS_unlinkat, "unlinkat"},
    {SYS_fstat, "fstat"},
    {SYS_newfstatat, "newfstatat"},
    {SYS_statx, "statx"},
    {SYS_statfs, "statfs"},
    {SYS_fstatfs, "fstatfs"},
    {SYS_access, "access"},
    {SYS_faccessat, "faccessat"},
    {SYS_faccessat2, "faccessat2"},
    {SYS_mmap, "mmap"}, /* of a file */
    {SYS_mremap, "mremap"},
};

#define CALLS (sizeof calls / sizeof calls[0])

static struct nth_call *plan; /* the handler has no argument of ours */

long nth_raw(long number, long a, long b, long c, long d, long e, long f)
{
	return nth_gate(number, a, b, c, d, e, f);
}

const char *nth_name(long number, char *buffer, size_t size)
{
	size_t i;

	for (i = 0; i < CALLS; i++)
		if (calls[i].number == number)
			return calls[i].name;
	snprintf(buffer, size, "%ld", number);
	return buffer;
}

static void die(void)
{
	nth_gate(SYS_kill, getpid(), SIGKILL, 0, 0, 0, 0);
	for (;;)
		nth_gate(SYS_pause, 0, 0, 0, 0, 0, 0);
}

static bool of_several_pages(long number, const long args[6])
{
	return ((number == SYS_pwrite64 || number == SYS_write) && args[2] > PAGE) ||
	       ((number == SYS_pwritev || number == SYS_writev) && args[2] > 1);
}

/* A write that is killed ends at the border of a page. */
static void tear(long number, const long args[6])
{
	struct iovec first;

	if (number == SYS_pwrite64 || number == SYS_write) {
		nth_gate(number, args[0], args[1], PAGE, args[3], 0, 0);
	} else {
		first = *(const struct iovec *)args[1];
		nth_gate(number, args[0], (long)&first, 1, args[3], args[4], 0);
	}
}

static void on_call(int signal_number, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	const long args[6] = {regs[REG_RDI], regs[REG_RSI], regs[REG_RDX], regs[REG_R10], regs[REG_R8], regs[REG_R9]};
	const long number = info->si_syscall;
	const bool counts = plan->mode != NTH_KILL_TORN || of_several_pages(number, args);
	const uint64_t count = atomic_fetch_add(&plan->count, counts ? 1 : 0) + 1;
	const int kept = errno;
	long rc = 0;

	(void)signal_number;
	if (plan->count_max && count > plan->count_max)
		nth_gate(SYS_exit_group, NTH_EXIT_ENDLESS, 0, 0, 0, 0, 0);
	if (plan->mode == NTH_COUNT || !counts || count < plan->n || count > plan->until) {
		regs[REG_RAX] = nth_gate(number, args[0], args[1], args[2], args[3], args[4], args[5]);
		errno = kept;
		return;
	}
	if (atomic_fetch_add(&plan->hits, 1) == 0)
		atomic_store(&plan->number, number);
	if (plan->mode == NTH_KILL_TORN)
		tear(number, args);
	if (plan->mode == NTH_KILL || plan->mode == NTH_KILL_TORN)
		die();
	if (plan->mode == NTH_STOP) {
		nth_gate(SYS_kill, getpid(), SIGSTOP, 0, 0, 0, 0);
		regs[REG_RAX] = nth_gate(number, args[0], args[1], args[2], args[3], args[4], args[5]);
		errno = kept;
		return;
	}
	/* a close that fails has closed, here as on every Linux */
	if (plan->mode == NTH_PERFORM_THEN_FAIL || number == SYS_close)
		rc = nth_gate(number, args[0], args[1], args[2], args[3], args[4], args[5]);
	regs[REG_RAX] = rc < 0 && rc > -PAGE ? rc : -plan->error;
	errno = kept;
}

static void put(struct sock_filter *program, unsigned *used, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
	program[(*used)++] = (struct sock_filter){.code = code, .jt = yes, .jf = no, .k = k};
}

int nth_install(struct nth_call *call)
{
	const uint64_t passed = (uint64_t)(uintptr_t)nth_gate_passed;
	const struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sock_filter program[2 * CALLS + 24];
	struct sock_fprog filter = {.filter = program};
	unsigned used = 0;
	size_t i;

	plan = call;
	if (sigaction(SIGSYS, &action, NULL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	put(program, &used, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
	put(program, &used, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	put(program, &used, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	put(program, &used, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer), 0, 0);
	put(program, &used, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)passed, 0, 3);
	put(program, &used, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4, 0, 0);
	put(program, &used, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(passed >> 32), 0, 1);
	put(program, &used, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	put(program, &used, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
	put(program, &used, BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 4);
	/* memory without a file is malloc's and the sanitizers' */
	put(program, &used, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4]), 0, 0);
	put(program, &used, BPF_JMP | BPF_JEQ | BPF_K, UINT32_MAX, 0, 1);
	put(program, &used, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	put(program, &used, BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0, 0);
	for (i = 0; i < CALLS; i++) {
		put(program, &used, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number, 0, 1);
		put(program, &used, BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0, 0);
	}
	put(program, &used, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	filter.len = (unsigned short)used;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0);
}
