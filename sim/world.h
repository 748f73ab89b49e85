/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated world around the conductor's core; for sim/ only. It brings events and performs effects, as
 * io/ does for real, in virtual time: one file for each part that can go wrong. Everything is taken from
 * memory that was there before the first seed.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "check/check.h"
#include "check/facts.h"
#include "fixtures/conductor/core/core.h"
#include "history/history.h"
#include "sim/coverage.h"
#include "sim/heap.h"
#include "sim/plan.h"
#include "sim/sim.h"

#define WORLD_HAPPENINGS 16384u
#define WORLD_AGENTS     4096u
#define WORLD_OPS        131072u
#define WORLD_RECORDS    32768u
#define WORLD_LOG_BYTES  (16u << 20)
#define WORLD_COMMITS    1024u
#define WORLD_SNAPSHOT   (1u << 20)
#define WORLD_EVENTS_MAX 400000u /* of one seed: beyond it the run is cut off, and judged as it stands */
#define WORLD_WALL_US    UINT64_C(1000000000000)
#define WORLD_NAME_MAX   16u
#define NOBODY           UINT32_MAX

enum happening_kind {
	/* in the orchestrator's process: they stop with it, and wait while it is stopped */
	HAPPENS_CORE = 0, /* an event for the core */
	HAPPENS_SYNCED,
	HAPPENS_OPEN_LOG,
	HAPPENS_TAKEN_OVER,
	HAPPENS_GIT,
	HAPPENS_PREPARED,
	HAPPENS_FILE,
	HAPPENS_NOTIFIED,
	/* outside */
	HAPPENS_START,
	HAPPENS_ACT, /* an agent does something */
	HAPPENS_BEAT,
	HAPPENS_ANSWER,
	HAPPENS_SINK,
	HAPPENS_SUBMIT,
	HAPPENS_ODD,
	HAPPENS_FAULT,
	HAPPENS_FAULT_ENDS,
	HAPPENS_LOOK, /* is the run at its end? */
};

/* One thing that is going to happen. Which members count is said where it is made. */
struct happening {
	enum happening_kind kind;
	enum core_event_kind core; /* HAPPENS_CORE */
	uint32_t life;             /* of the process it belongs to */
	uint32_t agent, task, attempt, step, what;
	int32_t status;
	uint32_t provider;
	enum core_class fault_class;
	uint64_t epoch, op, tree, tokens, action;
	int64_t number;
	bool found;
};

enum act {
	ACT_BEGIN = 0, /* it has been given work */
	ACT_ASK,       /* may I call? */
	ACT_CALL,      /* its request is at the provider */
	ACT_CALLED,    /* the answer is here */
	ACT_TIMEOUT,   /* none came */
	ACT_STEP,      /* the tool was applied, and the tree written */
	ACT_RESULT,
	ACT_EXIT,
};

struct sim_agent {
	uint32_t task, attempt, step, life, draws, tries;
	uint64_t epoch;
	int32_t pid;
	bool alive, seen, spawned, told, paused, term_pending, orphan;
	bool deaf, silent, loops, removed, lossy, restored;
	bool muddled;     /* it has babbled otherwise than by going in circles: what it says may come between */
	uint32_t same;    /* how often it has done the same thing */
	uint32_t babble;  /* bit of BABBLE_...: in force */
	uint32_t call;    /* number of the call under way, 0: none */
	uint64_t call_op; /* its invoke in the history */
	uint64_t said_us; /* what it says next arrives no earlier */
	uint64_t seen_op;
	bool deferred;         /* an act waits for the end of a pause */
	struct happening act;  /* that one */
	struct happening held; /* the answer that a fault of its provider holds back */
	uint32_t held_by;      /* which; NOBODY: none */
	uint32_t beats;        /* number of the series of beats */
};

enum fault_state { FAULT_WAITS = 0, FAULT_DUE, FAULT_ACTIVE, FAULT_OVER };

struct active_fault {
	enum fault_state state;
	uint32_t seen; /* of the event that it waits for */
	uint32_t until_seen;
	uint32_t agent;  /* its target */
	uint32_t passes; /* of its point */
	uint32_t by;     /* the agent of the event that it came with */
	bool felt;
	uint64_t invoke; /* its operation in the history */
	char name[32], proof[48];
};

struct sim_commit {
	uint32_t task, attempt;
	uint64_t epoch;
	char id[WORLD_NAME_MAX], key[2 * WORLD_NAME_MAX];
};

struct log_entry {
	uint32_t kind, size;
	uint64_t offset, epoch;
};

struct claim {
	double current[CORE_SLOS], budget;
	const char *status[CORE_SLOS], *budget_status;
	bool met[CORE_SLOS], depleted;
	uint32_t agents;
};

/* What the records of a task, and of a provider, have said so far: for promises.c. */
struct promised_unsent { /* a notification that has failed */
	uint64_t at_us, op, epoch;
	uint32_t stops;
	bool there;
};

struct promised {
	struct promised_unsent unsent;
	uint64_t notified_op; /* the last that was asked for */
	uint32_t gone;        /* the last attempt whose agent is known to be no more */
	uint32_t attempts, step, fails[CORE_CLASS_END];
	uint32_t network,
	    validation; /* calls of the attempt without an answer, with a bad one, since the last good one */
	uint64_t not_before_us;
};

struct promised_provider {
	uint64_t throttled_until_us;
	uint32_t throttle_level, failures; /* in a row, at least so many as the core has counted */
	bool open;
};

struct client_task {
	bool accepted, in_flight, told;     /* told: what became of it */
	bool committed, notified, given_up; /* as seen from outside */
	uint32_t tries;
	uint64_t invoke;
};

struct world {
	/* memory, for all seeds */
	struct core *core, *auditor;
	struct core_effects *effects, *auditor_effects;
	struct heap heap;
	struct happening *happenings;
	uint32_t *free_happenings, free_count;
	struct sim_agent *agents;
	struct op *ops;
	struct log_entry *log;
	uint8_t *log_bytes;
	struct sim_commit *commits;
	uint8_t *snapshots[2]; /* the one that counts, and the one whose records are not durable yet */
	struct facts facts;    /* of the history, for all the checkers */
	size_t memory;         /* bytes of all that */

	/* of the seed */
	const struct sim_plan *plan;
	struct core_options options;
	struct sim_result *result;
	struct coverage *coverage;
	uint64_t now_us, end_us, events, trace;
	bool cut; /* a bound was reached */
	char names[SIM_TASKS_MAX][WORLD_NAME_MAX];
	char names_again[SIM_TASKS_MAX][WORLD_NAME_MAX + 8];
	char after[SIM_TASKS_MAX][SIM_AFTER_MAX * (WORLD_NAME_MAX + 4)]; /* as a JSON array, of those handed in */

	/* the orchestrator's process */
	uint32_t life;
	bool alive, live, announced, lost, log_open, recovering, exited;
	int32_t exit_status;
	int64_t clock_us; /* its clock is so far ahead of ours */
	int64_t jump_us;  /* the machine's clock was set, to be seen after the next boot */
	bool booted;      /* there was one, and what the recovery made of it is not durable up to doubt_lsn yet */
	bool timed;       /* this process has recovered once */
	uint64_t doubt_lsn;
	uint64_t timer_us, stopped_until_us, reopen_ms, system_op, performed;
	uint32_t deaths;

	/* the log */
	uint64_t staged, durable, batch, epoch, bytes_used;
	bool syncing, sync_waits;
	uint64_t waits_since_us;
	uint64_t checkpoint_lsn, next_lsn; /* of the two snapshots; 0: there is none */
	size_t checkpoint_size, next_size;
	uint64_t first_death_lsn;
	uint32_t first_death_commits;

	/* git, the sink, the files */
	uint64_t ref_epoch, git_free_us;
	uint32_t commit_count;
	bool file_writing, file_waits, file_torn, temporary_left;
	struct claim file_now, file_next;
	uint32_t calls, agent_count, files, other_keys;
	char keys[64][4 * WORLD_NAME_MAX]; /* of notifications, that are not those of their commits */

	/* what was promised */
	struct promised promised[SIM_TASKS_MAX];
	struct promised_provider promised_providers[POLICY_PROVIDERS];
	uint64_t agents_limit, clean_tasks, clean_since_us, incidents[CORE_SLOS], incident_last;
	bool giving_back;
	uint32_t stops; /* times that the process was stopped */

	/* the client */
	struct client_task client[SIM_TASKS_MAX];
	uint32_t handed_in;   /* plan->tasks of so many are being handed in */
	int32_t odd_expected; /* what the client's mistake that is being looked at is to be answered; 0: none is */
	bool tail;
	uint64_t healed_us, active_us; /* the last time that something was seen to happen */
	bool red[CORE_SLOS + 2];       /* the SLOs, the budget, the agents that were taken away */
	uint64_t red_us;               /* the last time that a claim was seen to be, or to have been, red */
	uint64_t settled_us, stage_us; /* stage_us: since when stages.c waits for it */

	/* the faults */
	struct active_fault faults[SIM_FAULTS_MAX];
	uint8_t task_states[SIM_TASKS_MAX]; /* as the log says, for the coverage */

	/* the history */
	uint64_t op_count;
};

static inline struct core_event event_of(enum core_event_kind kind)
{
	return (struct core_event){.kind = kind};
}

/* --- world.c --- */
struct happening *world_later(struct world *w, uint64_t after_us, enum happening_kind kind);
void world_sooner(
    struct world *w, uint64_t than_us); /* what waits for the process until then happens now, in its order */
/* A number between the bounds; `place` and `a` say for what, so that it stays the same when other things change. */
uint64_t world_span(struct world *w, const struct sim_span *span, uint64_t place, uint64_t a, uint64_t b);
bool world_draw(struct world *w, uint32_t permille, uint64_t place, uint64_t a, uint64_t b);
uint64_t world_core_now(const struct world *w);
void world_broken(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *world_tree(uint64_t tree, char buf[WORLD_NAME_MAX * 2]);
uint64_t world_tree_parse(const char *text);
uint32_t world_task(const char *id);

/* --- process.c: the orchestrator's process --- */
void process_start(struct world *w);
void process_crash(struct world *w, bool power);
void process_feed(struct world *w, struct core_event event);
void process_lose_log(struct world *w);
void process_open_log(struct world *w);
void process_taken_over(struct world *w);
void process_exit(struct world *w, int32_t status);
void process_stop(struct world *w, uint64_t until_us); /* at least until then */
void process_go_on(struct world *w);
/* A fault point is passed; true: the process has died there. */
bool process_pass(struct world *w, uint32_t point);

/* --- contract.c --- */
/* false: it names nobody, and cannot be performed */
bool contract_effect(struct world *w, const struct core_effect *e);
void contract_report(struct world *w, const struct core_slo_report *r);

/* --- promises.c --- */
void promises_begin(struct world *w);
void promises_record(struct world *w, uint32_t kind, const uint8_t *payload, size_t size);
/* After the step with a CORE_CALLED; `heard`: the core could decide anything then. */
void promises_called(struct world *w, const struct core_event *event, bool heard);
void promises_gone(struct world *w, const struct core_event *event);
void promises_notified(struct world *w, const struct core_event *event);
void promises_notify(struct world *w, const struct core_effect *e);
void promises_forget(struct world *w); /* the log has lost what was not durable */

/* --- perform.c --- */
void perform_all(struct world *w);

/* --- disk.c: the log with its promises, and the state files --- */
bool disk_fails(struct world *w, enum sim_path path, bool *ret_performed);
int disk_append(struct world *w, const struct core_effect *effect);
void disk_flush(struct world *w);
void disk_synced(struct world *w, const struct happening *h);
void disk_crash(struct world *w);
bool disk_open_log(struct world *w);
void disk_close_log(struct world *w);
int disk_replay(struct world *w, struct core *core, uint64_t upto);
/* As the process does at its start: from the checkpoint, if there is one. */
int disk_recover(struct world *w, struct core *core);
void disk_put_claims(struct world *w);
void disk_file_written(struct world *w);

/* --- agents.c --- */
void agents_spawn(struct world *w, const struct core_effect *e);
void agents_prepared(struct world *w, const struct happening *h);
void agents_work(struct world *w, const struct core_effect *e);
void agents_route(struct world *w, const struct core_effect *e);
void agents_stop(struct world *w, const struct core_effect *e);
void agents_signal(struct world *w, const struct core_effect *e);
void agents_end(struct world *w, const struct core_effect *e);
void agents_act(struct world *w, const struct happening *h);
void agents_beat(struct world *w, const struct happening *h);
void agents_orphan(struct world *w, bool power);
void agents_kill_all(struct world *w);
void agent_die(struct world *w, uint32_t index, int32_t status);
void agent_term(struct world *w, uint32_t index);
void agent_resume(struct world *w, uint32_t index);
struct happening *agent_act_later(struct world *w, uint32_t index, uint64_t after_us, enum act act);

/* --- providers.c --- */
void providers_arrive(struct world *w, uint32_t agent, const struct happening *h);
void providers_let_go(struct world *w, uint32_t fault); /* those whom it has kept waiting */
void providers_answer(struct world *w, const struct happening *h);
void providers_hung_up(struct world *w, struct sim_agent *agent, const char *why);

/* --- git.c --- */
void git_land(struct world *w, const struct core_effect *e);
void git_lookup(struct world *w, const struct core_effect *e);
void git_done(struct world *w, const struct happening *h);
uint64_t git_lane(struct world *w, uint64_t takes_us); /* when a job of that length is done, from now */

/* --- sink.c --- */
void sink_notify(struct world *w, const struct core_effect *e);
void sink_arrived(struct world *w, const struct happening *h);

/* --- client.c --- */
void client_begin(struct world *w, uint32_t first, uint32_t count);
void client_submit(struct world *w, const struct happening *h);
void client_reply(struct world *w, const struct core_effect *e);
void client_disconnected(struct world *w);
bool client_done(const struct world *w);
const char *client_prompt(uint32_t task); /* as handed in */
void client_submission(const struct world *w, uint32_t index, struct core_submission *s);

/* --- odd.c --- */
void odd_begin(struct world *w);
void odd_submit(struct world *w, const struct happening *h);
bool odd_reply(struct world *w, const struct core_effect *e); /* true: it was about one of them */

/* --- inject.c: the faults' lives --- */
void inject_begin(struct world *w);
void inject_happens(struct world *w, enum sim_event_name event, uint32_t of, uint32_t agent);
void inject_due(struct world *w, uint32_t index);
void inject_end(struct world *w, uint32_t index);
void inject_end_all(struct world *w);
void inject_felt(struct world *w, uint32_t index, const char *proof);
void inject_babbled(struct world *w, const struct sim_agent *agent, uint32_t kind); /* it has just done so */
/* The first active fault of that plugin whose target is this one or any, or NULL; *ret_index its number. */
const struct sim_fault *inject_active(
    const struct world *w, enum sim_plugin plugin, uint32_t target, uint32_t *ret_index);

/* --- ops.c: what an observer outside would have seen --- */
uint64_t ops_add(struct world *w, struct op op);
void ops_complete(struct world *w, uint64_t invoke, struct op op);
void ops_claims(struct world *w, const struct claim *claim);
void ops_outcomes(struct world *w, bool last);
bool ops_any_red(const struct world *w); /* does any claim that stands say so? */

/* --- audit.c --- */
void audit_run(struct world *w);

/* --- judge.c --- */
uint64_t judge_progress_limit(const struct sim_plan *plan);
/* What the checkers are to go by. */
void judge_limits(const struct sim_plan *plan, struct check_config *config);
void judge_run(struct world *w);

/* --- settle.c --- */
bool settle_look(struct world *w); /* true: the run is over */

/* --- stages.c --- */
bool stages_look(struct world *w); /* the same for the plan of an experiment */

/* --- trace.c --- */
void trace_event(struct world *w, const struct core_event *event);
void trace_effects(struct world *w);

#endif
