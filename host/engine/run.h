/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the engine: the state of one run, handed from stage to stage. */
#ifndef TRITONE_ENGINE_RUN_H
#define TRITONE_ENGINE_RUN_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "gateway/gateway.h"
#include "history/history.h"
#include "runner/runner.h"
#include "service/service.h"
#include "system/system.h"

/* ---- tracker.c: what has become of the workload's tasks, followed operation by operation ---- */

struct tracked {
	bool accepted, committed, notified, given_up;
	bool done; /* says the system */
};

struct tracker {
	struct tracked *tasks;
	size_t count;
	size_t accepted, committed, notified, given_up;
	uint64_t submissions, refused; /* attempts to hand in, for the kill switch */
	uint64_t last_activity_us;
	char red_claims[8][48]; /* names of the claims whose last word was "not met" or "red" */
	size_t red_count;
	bool ledger, sinks, outcomes; /* what there is to see */
};

/* What the manifest does not declare is not waited for. */
int tracker_init(struct tracker *tracker, size_t tasks, const struct spec_manifest *manifest, struct error *err);
void tracker_finish(struct tracker *tracker);
void tracker_follow(struct tracker *tracker, const struct op *op);
/*
 * Every task of the first `count` is accepted and at its end: committed and notified, or, where no ledger or no sink is declared, done by the
 * system's own word, too: after a commit its work may go on. Or it is given up.
 */
bool tracker_settled(const struct tracker *tracker, size_t count);

/* ---- workload.c: hands tasks in, on a thread of its own, as a patient client does ---- */

struct workload;
/*
 * Tasks first..first+count-1, `rate` a second (0: as fast as they are accepted), in chains of `roles`, which must outlive it. What is refused is
 * tried again with the same key until workload_stop.
 */
int workload_start(struct workload **ret_workload, struct system *system, const struct spec_strings *roles, double rate,
    size_t first, size_t count, struct error *err);
/* The tasks of a graph, which must outlive it, each at its time. */
int workload_start_graph(struct workload **ret_workload, struct system *system, const struct spec_task *graph,
    size_t count, struct error *err);
bool workload_done(struct workload *workload);
void workload_stop(struct workload *workload); /* joins and frees; NULL is fine */

/* ---- fault.c: one fault of the experiment ---- */

enum fault_state {
	FAULT_WAITING = 0, /* for its moment */
	FAULT_DUE,         /* its event has come; `due_us` is when */
	FAULT_ACTIVE,      /* injected */
	FAULT_OVER,
};

#define RUN_PARAMS_MAX 32

struct run_fault {
	const struct spec_fault *spec;
	struct result_fault *result;
	struct plugin_info *info;
	struct runner *runner;
	struct run *run;
	char *params[RUN_PARAMS_MAX]; /* name=value, variables replaced, the sweep's value put in */
	const struct spec_pair *arguments[RUN_PARAMS_MAX]; /* where each stands in the file; NULL: it is the sweep's */
	size_t param_count;
	enum fault_state state;
	uint64_t when_seen, until_seen; /* matching events so far */
	uint64_t occurred;              /* those too that probability has left out */
	uint64_t due_us;
	uint64_t end_us; /* UINT64_MAX until known */
	uint64_t proof_until_us, next_verify_us, verify_gap_us;
	uint64_t invoke; /* index of the FAULT invoke; what is `until` its end comes after it */
	uint64_t hold;   /* barrier at the gateway, 0: none */
	bool holds_call; /* a system call is held back instead, or will be */
	char event_task[128];
	bool unexercised; /* in force, but nobody came across it */
};

/* ---- the run ---- */

struct run {
	const struct engine_options *options;
	const struct engine_case *c;
	struct spec_experiment *x;
	struct spec_manifest *manifest;
	struct result *result;
	char dir[PATH_MAX], state_dir[PATH_MAX], socket[PATH_MAX];
	struct spec_strings arguments; /* of the experiment, the case and its bug; owned */
	bool syscall_filter;
	struct history *history;
	struct gateway *gateway;
	struct system *system;
	struct service_server *services;
	struct undo_log *undo;
	struct run_fault *faults; /* owned */
	size_t fault_count;
	struct tracker tracker;
	struct workload *workload;
	struct check_config config;
	uint64_t began_us; /* when the workload began */
	uint64_t next;     /* first operation that has not been looked at */
	uint64_t asked_us; /* when it was last asked what became of the tasks */
	bool started;      /* the system was */
	bool watching;     /* the faults' moments may come */
};

/* rundir.c */
int rundir_create(struct run *run, struct error *err); /* refuses at a halt file and at outstanding undo records */
bool rundir_halted(const struct run *run, char *ret_why, size_t size);
int rundir_remove(const char *dir);

/* open.c: undo log, history, gateway, system, control socket; then all of them closed. NULL members are fine. */
int run_open(struct run *run, struct error *err);
void run_shut(struct run *run);

/* services.c: what the fault runners get from this run, at run->socket */
int services_start(struct run *run, struct error *err);

/* activity.c: a spec_lookup_fn over a run: what the experiment's configuration and secrets define, then ${provider}, then the system's
 * variables, once there is a system. */
const char *run_lookup(void *run, const char *name);
/* The same before there is a system: what only its start gives a value is "", and sets `later`. */
struct run_early {
	struct run *run;
	bool later;
};
const char *run_lookup_early(void *run_early, const char *name);

/* activity.c: probes and actions of the experiment file. 0 within tolerance, 1 not (err->text says what was found), -1 could not be done. */
int activity_run(struct run *run, const struct spec_activity *activity, bool must_finish, struct error *err);
/* Before anything is started: are their programs there? Those whose names are not known yet are passed over. -1 with the place. */
int activities_check(struct run *run, const struct spec_activities *activities, struct error *err);
/* All of them, with their pauses and PROBE operations. 0, or -1 with the first that failed. Signals and halt files end it, but not when it
 * `must_finish`. */
int activities_run(struct run *run, const struct spec_activities *activities, bool must_finish, struct error *err);

/* The stages. Each 0, or -1 with the verdict and the reason set in run->result. */
int stage_prepare(struct run *run); /* prepare.c: files, plugins, directory, gateway, services; --dry-run ends here */
int stage_gate(struct run *run);    /* gate.c: the system is started, the hypothesis holds */
int stage_watch(struct run *run);  /* watch.c: workload, faults, kill switch; all faults are reverted when it returns */
int stage_settle(struct run *run); /* settle.c: recovery finishes on its own, tail, outcomes */
int stage_close(
    struct run *run); /* settle.c: rollbacks, then the system is stopped and audited, whatever happened before */
void stage_judge(struct run *run); /* judge.c */

/* contract.c: fills result->contract with what was promised of what deviated; empty when nothing did. */
void contract_say(struct run *run);

/* recovery.c: the longest time that something broken needed to work again, in microseconds; -1: nothing to measure. Pure. */
int64_t recovery_us(const struct history_view *view);

/* watch.c: waits for operations, feeding tracker and faults, until `timeout_ms` or something needs attention. -1 when interrupted. */
int run_wait(struct run *run, int64_t timeout_ms);
/* Every task of the workload, without its tail, was handed in and is at its end. */
bool run_all_done(const struct run *run);
/* Tasks that were given up are only known by asking: asks when nothing has happened for a while. */
void run_ask_when_quiet(struct run *run);
/* A signal has come or a halt file is there: -1, and the verdict is `aborted`. */
int run_stopped(struct run *run);
/* Lets so much time pass; -1 as run_stopped says, unless it `must_finish`. */
int run_pause(struct run *run, int64_t ms, bool must_finish);

int run_fail(struct run *run, enum verdict verdict, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint64_t run_stage_begin(struct run *run, const char *stage);
void run_stage_end(struct run *run, uint64_t invoke, bool ok);

/* ---- moment.c: when a fault comes ---- */

/* Microseconds; a negative time is none. */
static inline uint64_t run_us(int64_t ms)
{
	return ms > 0 ? (uint64_t)ms * 1000 : 0;
}

/* How long after its moment it comes: each fault of a run has a random part of its own. */
uint64_t moment_delay_us(const struct run_fault *fault, const struct spec_when *when);
/* The moment can only be met by a system under the system-call filter. */
bool moment_needs_filter(const struct spec_manifest *manifest, const struct spec_when *when);
int moment_watch(struct run_fault *fault, struct error *err); /* before the system starts */
bool moment_asks(const struct run_fault *fault); /* no operation shows it: moment_ask looks, again and again */
void moment_ask(struct run_fault *fault, uint64_t now_us);
/* What was held for it goes on; none is fine. */
void moment_release(struct run_fault *fault);
int fault_arm(struct run_fault *fault);                       /* its barrier, just before the workload begins */
bool fault_see(struct run_fault *fault, const struct op *op); /* true: it has something to do now */

/* fault.c */
int fault_load(struct run *run, struct run_fault *fault,
    const struct spec_fault *spec);       /* before there is a system: finds and checks the plugin */
int fault_start(struct run_fault *fault); /* its runner, once the services are there */
void fault_finish(struct run_fault *fault);
/* Does what is due now; returns when it wants to be called again (microseconds of the history, UINT64_MAX: at the next event). */
uint64_t fault_advance(struct run_fault *fault, uint64_t now_us);
void fault_end(struct run_fault *fault); /* reverts if need be, settles what is known of its proof */

#endif
