/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges what a loss of power may have left of the conductor's directory, recorded from conductor_writer: the conductor's
 * own recovery is let loose on it, and what was acknowledged to the outside must be there, in its log and in git.
 */
#ifndef TRITONE_TESTS_CONDUCTOR_JUDGE_H
#define TRITONE_TESTS_CONDUCTOR_JUDGE_H

#include "crash/judge.h"

struct conductor_judge_config {
	const char *writer;   /* the path of conductor_writer */
	unsigned serve_every; /* each so many-th state is also served to its end, with agents; 0: none */
	/* What was acknowledged before the trace that is explored began: the first `acked` lines of this one. Or NULL. */
	const struct trace *before;
	size_t acked;
};

/* `config`: the above. The conductor runs in the judging process: nothing else may have used libuv or libgit2 before. */
extern const struct crash_judge conductor_judge;

/*
 * The rules, in this order:
 *  - `conductor init` (only when it was not acknowledged) and `conductor recover` end well, twice, and say the same
 *  - each task that was accepted is known; each that was confirmed is committed, as far as it is concerned for ever
 *  - main holds at most one commit of each task; one of each task that the log calls committed
 *  - every commit, tree and blob that main reaches is there and is what its name says
 *  - the chain of the log verifies
 *  - served to its end, each task that is known is done, and committed once
 *  - no half-written file is left below .sdd, and what is there is JSON
 */

#endif
