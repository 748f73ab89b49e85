/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th file call of this process is killed, failed, or performed and then failed; all of them are counted.
 * A seccomp filter turns each into SIGSYS, whose handler performs it through one address that the filter lets pass: no
 * second process, about a microsecond a call. For a child that was forked for it: there is no way back. x86-64 only.
 */
#ifndef TRITONE_TESTS_NTH_CALL_H
#define TRITONE_TESTS_NTH_CALL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum nth_mode {
	NTH_COUNT,     /* only counted */
	NTH_KILL,      /* SIGKILL before the call is performed */
	NTH_KILL_TORN, /* a write of several pages performs the first ones, as the kernel does for who is killed */
	NTH_STOP,      /* SIGSTOP before the call, which is performed after SIGCONT */
	NTH_REFUSE,    /* not performed, `error` */
	NTH_PERFORM_THEN_FAIL, /* performed, `error` all the same */
};

/* In memory that is shared with whoever wants to know after the death. */
struct nth_call {
	enum nth_mode mode;
	uint64_t n;     /* 1: the first */
	uint64_t until; /* the last that is hit; UINT64_MAX: from then on */
	int error;
	_Atomic uint64_t count; /* out: calls so far */
	_Atomic uint64_t hits;  /* out: calls that were failed */
	_Atomic long number;    /* out: the call that was hit first */
	uint64_t count_max;     /* 0: none. More calls than that are a loop without end: exit status NTH_EXIT_ENDLESS */
};

#define NTH_EXIT_ENDLESS 77

/* 0, or -1 with errno. */
int nth_install(struct nth_call *call);

/* A call that is neither counted nor hit; -errno if it fails. */
long nth_raw(long number, long a, long b, long c, long d, long e, long f);

/* "openat", or its number. */
const char *nth_name(long number, char *buffer, size_t size);

#endif
