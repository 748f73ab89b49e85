/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that people write: experiments, suites, and manifests of systems, as structs. YAML, or
 * JSON (which is YAML). Every mistake is reported as "FILE:LINE:COLUMN: what is wrong" with what
 * was expected, and the nearest known key for an unknown one.
 *
 * All strings and arrays of a loaded struct live until its spec_..._free. Durations in files are
 * "250ms", "2s", "1m"; in structs milliseconds, int64_t. Strings may hold ${variables}; they are
 * kept as written, see spec_expand.
 */
#ifndef TRITONE_SPEC_H
#define TRITONE_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "wal/error.h"

struct spec_strings {
	char **items; /* `count` of them, then a NULL: usable as argv */
	size_t count;
};

struct spec_pair {
	char *name, *value;
	unsigned line, column; /* of the value */
};
struct spec_pairs {
	struct spec_pair *items;
	size_t count;
};

/* ------------------------------------------------------------------ manifest:
 * fixtures/systems/NAME.yaml ---- */

struct spec_process {
	char *name;
	struct spec_strings command;
	struct spec_pairs environment;
	char *directory;         /* NULL: ${state} */
	bool helper;             /* stands beside the system: never "the orchestrator" */
	bool restart;            /* as the manifest's restart says; else never */
	uint64_t output_max_mib; /* 256 */
	struct {                 /* each that is given has to hold; NULL: not asked */
		char *http, *file, *port, *output;
		struct spec_strings command;
		int64_t timeout_ms; /* 10 s */
	} ready;
};

struct spec_upstream {
	char *provider, *url, *key_from;
	int64_t timeout_ms;
};

struct spec_manifest {
	char *file, *name, *description;
	struct { /* once for all runs, below ${install} */
		struct spec_strings inputs;
		struct spec_strings *commands;
		size_t command_count; /* 0: nothing to install */
		int64_t timeout_ms;
	} install;
	struct spec_strings ports;    /* fixed ones that have to be free */
	struct spec_strings *prepare; /* commands that run once, before the first start */
	size_t prepare_count;
	struct spec_process *processes; /* started in this order, at least one */
	size_t process_count;
	size_t main_process;           /* the first that is no helper: "the orchestrator" */
	struct spec_strings arguments; /* the loader has added them to its command and to wal.recover */

	int64_t stop_grace_ms; /* 5 s */
	struct {
		bool on_crash;
		int64_t delay_ms;
		uint64_t max;
	} restart;
	struct {                           /* how a task is handed in */
		char *method, *url, *body; /* body: ${task} ${key} ${role} ${after} (a JSON array) ${prompt} */
		int64_t timeout_ms;        /* 5 s. 2xx = accepted; 4xx, 5xx = refused; anything else =
				       unknown */
		struct spec_pairs headers;
		struct spec_strings command; /* or else this: 0 = accepted, a signal = unknown, else refused */
		char *file;                  /* or else this: a spool file; accepted at once, or once */
		char *accepted_file;         /* this exists (for a command, too), or */
		bool taken;                  /* it is gone */
	} submit;
	struct {                                  /* what it says of its tasks: one of */
		char *url;                        /* GET, JSON */
		struct spec_strings command;      /* that prints the same */
		char *file;                       /* that holds the same */
		struct spec_strings each;         /* for one ${task}: 0 done, 1 given up, else open */
		char *done_file, *failed_file;    /* with ${task}: they exist */
		char *list, *id, *state, *reason; /* member names: {list: [{id, state, reason}]} */
		struct spec_strings done, failed; /* values of `state` that are terminal */
	} outcome;
	struct { /* agents: files with a number, a name, a path; globs below ${state} whose first
		    '*' is the agent's id */
		char *pid_files, *task_files, *worktree_files;
		char *pattern, *task_environment; /* or else: command lines in the process tree */
	} agents;
	struct {
		struct spec_strings providers, sinks;
		struct spec_strings cascade; /* PROVIDER or PROVIDER/MODEL in order; empty: the providers' */
		char *task_header, *attempt_header, *sink_task, *sink_key;
		char *script; /* its path, as seen from the working directory; NULL: none */
		char *task_pattern;
		int64_t latency_ms;
		struct spec_upstream *upstreams; /* providers that are asked, not played */
		size_t upstream_count;
		char *record, *replay; /* paths as the script's; at most one */
	} gateway;
	struct {
		char *git, *branch, *task_trailer, *attempt_trailer, *epoch_trailer;
		char *file, *pattern; /* or else: lines, with the groups task, attempt, epoch, id */
		char *sink;           /* or else: what is sent there */
	} commits;
	struct {
		char *file, *url; /* one of these, */
		struct spec_strings command;
		char *metrics; /* or in Prometheus' text format: */
		struct spec_pairs samples;
		int64_t every_ms;
	} slo;
	struct {
		char *directory;
		struct spec_strings json, temporary;
	} state; /* globs below directory, '**' crosses directories */
	struct {
		char *directory;
		struct spec_strings replay;  /* prints {"digest": "...", "tasks": {ID: STATE}} from
						the log alone, changing nothing */
		struct spec_strings recover; /* recovers a *copy* (${state} is the copy) without
						starting work, then exits 0 */
		char *recover_point;         /* fault point at which a recovery is killed for the
						second-crash check */
	} wal;
	struct spec_strings faultpoints;
	struct spec_pairs contract; /* commits: exactly-once | at-least-once | at-most-once, ... */
	struct spec_pairs policy;   /* numbers for the checkers, by the names in check.h without _us
				       and _max's unit: "attempts-max: 6" */
};

/* Is there anything of the kind to see? */
bool spec_has_ledger(const struct spec_manifest *manifest);
bool spec_has_outcome(const struct spec_manifest *manifest);
bool spec_has_agents(const struct spec_manifest *manifest);
bool spec_has_claims(const struct spec_manifest *manifest);
/* What its contract says under this key; NULL: nothing. */
const char *spec_contract(const struct spec_manifest *manifest, const char *key);

int spec_manifest_load(struct spec_manifest **ret_manifest, const char *path, struct error *err);
void spec_manifest_free(struct spec_manifest *manifest);

/* ------------------------------------------------------------------ experiment:
 * fixtures/experiments/NAME.yaml ---- */

enum spec_event {
	SPEC_EVENT_NONE = 0, /* at a time */
	SPEC_EVENT_REQUEST,  /* provider-request: may be held */
	SPEC_EVENT_REPLY,    /* provider-reply */
	SPEC_EVENT_COMMIT,   /* commit: a line in the ledger */
	SPEC_EVENT_NOTIFY,   /* notify: a request at a sink: may be held */
	SPEC_EVENT_ACCEPT,   /* accept: a submission was accepted */
	SPEC_EVENT_FAULT,    /* fault: another fault of this experiment (by its name) is felt */
	SPEC_EVENT_REVERT,   /* revert: another fault of this experiment was undone */
	SPEC_EVENT_RESTART,  /* restart: the system is ready again */
	SPEC_EVENT_OUTPUT,   /* output: a process has written a line */
	SPEC_EVENT_FILE,     /* file: a file below the state directory was written */
	SPEC_EVENT_SYNC,     /* sync: one was made durable; needs the system-call filter */
	SPEC_EVENT_POINT,    /* point: a fault point was passed */
};

#define SPEC_HOLD_MAX_MS 60000 /* a call whose fault does not come is let go on */

struct spec_when {
	enum spec_event event;
	uint64_t nth;          /* 1-based; 1 by default */
	bool hold;             /* the request stays unanswered until the fault is injected */
	char *of;              /* provider, sink, fault, process, path or point that the event is about; NULL: any */
	char *matches;         /* output: a pattern; NULL: any line */
	uint64_t every, times; /* and again at each `every`-th after the n-th, `times` in all; unrolled by the loader */
	double probability;    /* only this part of the events counts, by the seed; 0: all */
	int64_t after_ms;      /* since the workload began (SPEC_EVENT_NONE), or since the event */
	int64_t within_ms;     /* and a random part of this, by the run's seed */
	unsigned line, column; /* of `of` when it is there, else of all this */
};

/* In an experiment, with their repetitions: each has a process of its own from the start. */
#define SPEC_FAULTS_MAX 64

struct spec_fault {
	char *name;                  /* unique in the file; the plugin's name by default */
	char *base;                  /* of a repetition, the name of the first; else its own */
	bool again;                  /* a repetition: it need not come */
	char *plugin;                /* a name, or a module's path, resolved (in the file: relative to it) */
	struct spec_pairs arguments; /* for the plugin */
	struct spec_when when;
	struct spec_when until;  /* event NONE and after 0: `duration` rules */
	int64_t duration_ms;     /* 0: reverted once the workload is over or `until` comes */
	int64_t proof_ms;        /* 0: the plugin's own */
	int64_t hook_timeout_ms; /* 0: the runner's own */
	unsigned line, column;
};

enum spec_provider_type { SPEC_PROVIDER_HTTP = 1, SPEC_PROVIDER_PROCESS };

struct spec_activity { /* a probe or an action, as in the Chaos Toolkit */
	char *name;
	bool is_probe;
	enum spec_provider_type type;
	char *url, *method;          /* http */
	struct spec_strings command; /* process: path and arguments */
	int64_t timeout_ms;
	/* tolerance: HTTP status or exit status in [low, high], or the output matches a PCRE */
	bool has_tolerance;
	int64_t tolerance_low, tolerance_high;
	char *tolerance_regex;
	int64_t pause_before_ms, pause_after_ms;
	unsigned line, column;
};
struct spec_activities {
	struct spec_activity *items;
	size_t count;
};

struct spec_invariant {
	char *name;
	struct spec_pairs parameters; /* override the manifest's policy for this experiment; by its names,
					whichever the file used */
	unsigned line, column;
};

struct spec_task { /* of a workload that is a graph */
	char *name, *role;
	struct spec_strings after; /* names of tasks before it in the list */
	int64_t at_ms;             /* since the workload began */
	uint64_t steps;            /* for the simulation */
	unsigned line, column;
};

struct spec_difference { /* an invariant whose verdict is another one in simulation than on the real system */
	char *invariant, *simulated, *real; /* "held", "deviated", "vacuous" */
	char *because;
};

struct spec_experiment {
	char *file, *name /* the file's name without .yaml */, *title, *description;
	struct spec_strings tags;
	struct spec_pairs configuration, secrets; /* variables; values may be {type: env, key: NAME, default: ...} */
	char *system;                  /* the manifest's path, resolved (in the file: relative to it, or a name in
					  systems/ beside or above it, or where tritone was called); NULL: given elsewhere */
	char *system_problem;          /* why that is not to be found; NULL: it is */
	struct spec_strings arguments; /* added to the first process's command (the seeded bugs: --bug NAME) */
	bool syscall_filter;           /* derived or forced: `syscall-filter: true` */
	char *hypothesis_title;
	struct spec_activities hypothesis, method, rollbacks;
	struct {
		uint64_t tasks;            /* during the fault, 24 */
		uint64_t tail;             /* afterwards, to see that it is back to normal: 6 */
		struct spec_strings roles; /* each chain of tasks has these roles in order; default
					      plan, write, review */
		double rate;               /* submissions a second; 0: as fast as they are accepted */
		int64_t limit_ms;          /* all must be settled within: 30 s */
		struct spec_task *graph;   /* instead of chains: `tasks` of them; NULL: none */
		size_t graph_count;
	} workload;
	struct spec_fault *faults;
	size_t fault_count;
	struct spec_invariant *invariants; /* empty: all twelve */
	size_t invariant_count;
	struct {
		double error_rate;       /* abort when more than this fraction of submissions fails; 0:
				      off */
		int64_t unresponsive_ms; /* abort when nothing was observed for so long; 0: off */
		char *halt_file;         /* abort once it exists; NULL: only the general one */
	} stop;
	struct spec_strings expect_deviated; /* must deviate; empty: everything must hold */
	struct spec_strings expect_may;      /* may deviate too */
	struct spec_strings expect_vacuous;  /* may be vacuous */
	struct {
		char *argument;
		struct spec_strings values;
		char *fault;
	} sweep;            /* run once for each value; argument NULL: no sweep */
	struct {            /* for `tritone replay`; the real system knows nothing of it */
		char *seed; /* how long things take, and what is drawn; NULL: any will do */
		struct spec_difference *differs;
		size_t differ_count;
	} simulation;
};

int spec_experiment_load(struct spec_experiment **ret_experiment, const char *path, struct error *err);
void spec_experiment_free(struct spec_experiment *experiment);

/* ------------------------------------------------------------------ suite:
 * fixtures/suites/NAME.yaml ---- */

struct spec_case {
	char *experiment; /* path of the file, resolved */
	char *problem;    /* why it cannot be read; NULL: it can. The other cases are none the worse for it */
	char *name;       /* shown, unique; by default the bug's name, or the experiment's */
	struct spec_strings arguments; /* for the first process */
	char *bug;                     /* to be added as --bug NAME: it is not in `arguments`; NULL: none */
	bool has_expect;               /* the case says what it expects: overrides the experiment's */
	struct spec_strings expect_deviated, expect_may, expect_vacuous;
	unsigned line, column;
};

struct spec_suite {
	char *file, *name, *title, *system;
	char *system_problem; /* as an experiment's */
	struct spec_case *cases;
	size_t case_count;
	bool control; /* each distinct experiment of a case with a bug is also run without it, and
			 must hold */
};

/* A file with an `experiments` key is a suite; an experiment file alone is loaded as a suite of
 * one. */
int spec_suite_load(struct spec_suite **ret_suite, const char *path, struct error *err);
void spec_suite_free(struct spec_suite *suite);

/* ------------------------------------------------------------------ script: what models say ---- */

#define SPEC_SCRIPT_GROUPS_MAX 32

struct spec_script_call {
	char *name;
	char *arguments; /* JSON, an object; NULL: none. Its texts hold ${variables} as written */
};

/* The first rule whose match is for a request is the one that answers it. */
struct spec_script_rule {
	unsigned line;
	struct {
		char *provider, *model, *path, *task, *role; /* NULL: any */
		char *user, *system, *last;                  /* patterns of PCRE2, checked; NULL: any */
		char *contains;                              /* a text in the last message */
		uint64_t step, nth;                          /* 0: any */
	} match;
	struct {
		char *content; /* holds ${variables} as written */
		struct spec_script_call *calls;
		size_t call_count;
		char *finish; /* NULL: as it follows from the calls */
		uint64_t input, output, status;
		bool counted; /* the usage is not given */
		char *error;
	} reply;
};

struct spec_script {
	struct spec_script_rule *rules;
	size_t count;
};

int spec_script_load(struct spec_script **ret_script, const char *path, struct error *err);
void spec_script_free(struct spec_script *script);

/* ------------------------------------------------------------------ for the checkers ---- */

struct check_config;
/* Fills what the manifest (gateway, contract, policy) and the experiment's invariants (their parameters; may be NULL) say
 * into a config that check_config_init has set up; the rest stays. Its strings are the manifest's. */
int spec_check_config(const struct spec_manifest *manifest, const struct spec_experiment *experiment,
    struct check_config *config, struct error *err);

/* Every event that a fault waits for is one that a system of this manifest can show: its providers, its sinks, a ledger. EINVAL with the
 * place in the experiment's file otherwise. */
int spec_events_check(
    const struct spec_manifest *manifest, const struct spec_experiment *experiment, struct error *err);

/* ------------------------------------------------------------------ variables ---- */

/* Replaces ${name} by lookup(arg, name); an unknown one is ENOENT and named. *ret is malloc'ed.
 * "$$" is a dollar sign. */
typedef const char *(*spec_lookup_fn)(void *arg, const char *name);
int spec_expand(char **ret, const char *text, spec_lookup_fn lookup, void *arg, struct error *err);

/* "250ms", "2s", "1.5s", "1m", "1h"; also a plain number of seconds. EINVAL otherwise. */
int spec_duration(const char *text, int64_t *ret_ms, struct error *err);
/* Is it the base URL of an upstream: http or https, a host, perhaps a port and a path, nothing else? EINVAL if not. */
int spec_check_upstream(const char *url, struct error *err);
/* The closest of `known` (NULL-terminated) to `word` within an edit distance of 3 and half of the longer word, or NULL. */
const char *spec_nearest(const char *word, const char *const *known);

/* Writes the keys of "manifest", "experiment", "suite", a rule of a "script", the numbers of "policy", or an invariant and its parameters, as a
 * piece of a manual page in scdoc's language. */
int spec_describe(FILE *out, const char *what, struct error *err);

#endif
