/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An experiment's life: gate -> plan -> inject -> verify -> watch -> revert -> settle -> judge, one file a stage. What comes in is
 * a case (an experiment, a system, what is expected), what comes out is a result; nothing is printed here but progress.
 */
#ifndef TRITONE_ENGINE_H
#define TRITONE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "report/report.h"
#include "spec/spec.h"
#include "wal/error.h"

/* SIGINT, SIGTERM and SIGHUP as something that can be waited for. One for the process; begin it before any thread is started. */
struct interrupt;
int interrupt_begin(struct interrupt **ret_interrupt, struct error *err);
void interrupt_end(struct interrupt *interrupt);
int interrupt_signal(const struct interrupt *interrupt); /* 0, or the first signal that came */
int interrupt_fd(const struct interrupt *interrupt);     /* readable once one has come */

struct engine_options {
	const char *root; /* the state directory (TRITONE_STATE or .tritone), made if absent */
	uint64_t seed;
	uint32_t
	    reruns;   /* how often a deviation that nobody expected is run again; one that was expected: at most once */
	bool keep;    /* keep the run directory of what went as expected, too */
	bool dry_run; /* stop after the plan; touch nothing */
	bool timeline; /* keep the timeline in the result */
	bool allow_pathological;
	bool strict;               /* what the contract permits is not expected for that */
	struct progress *progress; /* may be NULL */
	unsigned lane;             /* of progress, for this run */
	struct interrupt *interrupt;
};

/* One run to be made. All but the sweep is borrowed from the loaded suite. */
struct engine_case {
	char name[128];
	const char *experiment; /* file */
	const char *problem;    /* why it cannot be read; NULL: it can, or run_once will see */
	const char *system;     /* manifest: a file, or a name in a systems/ folder; NULL: the experiment's own */
	const struct spec_strings *arguments; /* may be NULL */
	const char *bug;                      /* may be NULL */
	bool has_expect;
	const struct spec_strings *deviated, *may, *vacuous;
	char *sweep_fault, *sweep_argument, *sweep_value; /* owned; NULL: none */
};

/* Cases of a suite: sweeps unrolled, controls added (each distinct experiment of a bug once more, without it). */
int engine_cases(struct engine_case **ret_cases, size_t *ret_count, const struct spec_suite *suite, const char *system,
    struct error *err);

void engine_cases_free(struct engine_case *cases, size_t count);

/*
 * Runs one case, and again when it deviated. Always fills *result (VERDICT_ERROR with the reason when the harness itself could not
 * go on); free with result_finish. Nothing of it is left running afterwards.
 */
void engine_run(const struct engine_options *options, const struct engine_case *c, struct result *result);

/*
 * Starts a system and leaves it running until a signal or `tritone halt` comes, for faults by hand. `ready` is called once it is. Returns
 * the verdict: HELD when it ended as asked; DEVIATED when its orchestrator has died and is not started again. `lost` is told of that, and of
 * any other process that is gone for good, with which it goes on; `words` is shown the last lines that such a process has said.
 */
struct engine_place {
	const char *run_dir, *state_dir, *gateway_url, *socket;
	const char *submit,
	    *outcome; /* "POST http://...": how a task is handed in, and what became of them; NULL: not declared */
};
struct engine_up {
	const char *system; /* manifest, by file or by name in systems/ beside the working directory or fixtures/ */
	bool syscall_filter;
	double load; /* tasks a second that are handed in all the while; 0: none */
	void (*ready)(void *arg, const struct engine_place *place);
	void (*lost)(void *arg, const char *process, const char *how);
	void (*words)(void *arg, const char *process, const char *line);
	void *arg;
};
enum verdict engine_up(const struct engine_options *options, const struct engine_up *up, struct error *err);

/*
 * Goes through what an experiment needs of a system, without any fault of a plugin: it starts it in a run directory of its own, hands tasks
 * in, sees them end, kills and restarts it, stops it. `step` is called as each ends; the first that fails is the last but the stop. `words`
 * is then shown the last lines of what the system's processes have said. Nothing is left running.
 */
enum step_state { STEP_OK = 1, STEP_FAILED, STEP_LEFT_OUT };
struct engine_step {
	const char *name;
	enum step_state state;
	uint64_t took_us;
	const char *detail; /* what was found, what is wrong, or why it was left out; may be empty */
};
struct engine_checkup {
	const char *system; /* as engine_up's */
	int64_t limit_ms;   /* of each step */
	void (*step)(void *arg, const struct engine_step *step);
	void (*words)(void *arg, const char *process, const char *line);
	void *arg;
};
/* HELD: all is well; DEVIATED: a step failed; GATE_FAILED: it did not even become ready. err says what, when it is not HELD. *ret_dir is the
 * run directory if it was kept, else empty. */
enum verdict engine_check_up(const struct engine_options *options, const struct engine_checkup *checkup, char *ret_dir,
    size_t dir_size, struct error *err);

/*
 * One fault by hand at a system that already runs: found by its control socket (below `state` or given), or by pids and pid files.
 */
struct engine_shot {
	const char *plugin;
	const char *const *params; /* name=value */
	size_t param_count;
	const char *state;     /* a run directory, or a system's own directory; NULL: none */
	const char *socket;    /* control socket of a gateway or a run; NULL: looked for in `state` */
	const char *pid_files; /* glob below `state`, its first '*' is the agent's id */
	const int *pids;
	size_t pid_count;
	size_t max; /* act on at most so many of the agents that match; 0: exactly one may match */
	int64_t duration_ms;
	int64_t proof_ms;
	FILE *out;
};
enum verdict engine_shoot(const struct engine_options *options, const struct engine_shot *shot, struct error *err);

/*
 * Runs the cases, `jobs` beside each other, and calls `done` for each in the order of the cases, never two at a time. Returns how many were
 * run: fewer than `count` when a signal came.
 */
size_t engine_run_all(const struct engine_options *options, const struct engine_case *cases, size_t count,
    unsigned jobs, struct result *results, void (*done)(void *arg, const struct result *result), void *arg);

/*
 * A manifest by path, or by name in a systems/ folder beside or above the file `beside` (NULL: none), else in the working directory or its
 * fixtures/.
 */
int engine_system_path(char *ret, size_t size, const char *system, const char *beside, struct error *err);

#endif
