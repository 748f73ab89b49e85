/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a seed stands for: the fleet and its policy, the tasks and their graph, how long things take, and
 * the faults with their moments. All of it is drawn before the run begins, so that it can be printed, and
 * made smaller. The words of the faults are those of experiment files (tritone-experiment(5)).
 */
#ifndef SIM_PLAN_H
#define SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/check.h"
#include "fixtures/conductor/policy/bugs.h"
#include "fixtures/conductor/core/core.h"
#include "fixtures/conductor/policy/policy.h"

#define SIM_TASKS_MAX  96u /* those of the workload and those after it */
#define SIM_FAULTS_MAX 24u
#define SIM_AFTER_MAX  3u
#define SIM_STEPS_MAX  6u
#define SIM_ANY        UINT32_MAX /* provider: all of them */
#define SIM_MS         UINT64_C(1000)
#define SIM_SECOND     (1000 * SIM_MS)

/* The first eight are plugins of the real system, with their parameters; the others only the simulation has. */
enum sim_plugin {
	SIM_AGENT_KILL = 0,
	SIM_AGENT_PAUSE,
	SIM_RATE_LIMIT,
	SIM_PROVIDER_ERROR,
	SIM_FILE_REMOVE,
	SIM_DISK_FULL,
	SIM_SWALLOWED_EXCEPTION,
	SIM_ORCHESTRATOR_KILL,
	SIM_POWER_LOSS,
	SIM_ORCHESTRATOR_PAUSE,
	SIM_CLOCK_JUMP,
	SIM_AGENT_BABBLE,
	SIM_GIT_TROUBLE,
	SIM_SINK_ERROR,
	SIM_PROVIDER_LIE,
	SIM_PLUGINS,
};
#define SIM_REAL_PLUGINS SIM_POWER_LOSS /* the first that is not real */

/* The choices of each plugin's `kind`, in the order of their names in fault.c. */
enum { KILL_TERM = 0, KILL_KILL };
enum { ERROR_STATUS = 0, ERROR_DELAY, ERROR_HANG, ERROR_RESET, ERROR_MALFORMED, ERROR_TRUNCATED };
enum { DISK_REFUSE = 0, DISK_PERFORM };
enum { EXCEPTION_SWALLOWED = 0, EXCEPTION_SEEN }; /* what the core is told of the sink's refusal */
enum { BABBLE_TWICE = 0, BABBLE_LATE, BABBLE_REORDER, BABBLE_STALE, BABBLE_LOOP, BABBLE_DEAF, BABBLE_SILENT };
enum { GIT_SLOW = 0, GIT_FAIL, GIT_LANDS_AND_FAILS, GIT_CONFLICT, GIT_UNREADABLE };
enum { SINK_STATUS = 0, SINK_HANG, SINK_LOST_REPLY, SINK_SLOW };
enum { LIE_TOKENS = 0, LIE_NO_HEADER, LIE_LONG_HEADER };

/* `target` of disk-full. */
enum sim_path { PATH_ALL = 0, PATH_WAL, PATH_REPO, PATH_WORKTREES, PATH_METRICS, PATHS };

enum sim_event_name { /* when a fault comes; as in experiment files */
	SIM_AT = 0,
	SIM_ON_REQUEST,
	SIM_ON_REPLY,
	SIM_ON_COMMIT,
	SIM_ON_NOTIFY,
	SIM_ON_ACCEPT,
	SIM_ON_FAULT,
	SIM_ON_REVERT,
	SIM_ON_RESTART,
	SIM_EVENTS,
};

struct sim_when {
	enum sim_event_name event;
	uint32_t nth;      /* 1-based */
	uint32_t of;       /* of REQUEST and REPLY: a provider or SIM_ANY; of FAULT and REVERT: a fault */
	uint64_t after_us; /* since the event, or since the beginning */
	bool hold;
};

struct sim_fault {
	enum sim_plugin plugin;
	uint32_t name;   /* its number among the faults of the seed: stays when others are left out */
	uint32_t kind;   /* which of the plugin's ways */
	uint32_t target; /* provider, path, fault point */
	uint32_t nth;    /* orchestrator-kill: at the n-th pass of the point */
	int64_t number;  /* ms, or a status */
	struct sim_when when;
	bool has_until;
	struct sim_when until;
	uint64_t duration_us; /* 0 and no until: for good, as far as the plugin has something to undo */
};

struct sim_task {
	enum policy_role role;
	uint8_t steps;
	uint8_t after_count;
	uint8_t after[SIM_AFTER_MAX];
	bool left_out; /* by the shrinker: never handed in */
	uint64_t submit_us;
};

/* Bounds of how long something takes, in microseconds. */
struct sim_span {
	uint32_t low, high;
};

struct sim_plan {
	uint64_t seed;
	struct policy policy;
	uint32_t slots_max;
	uint32_t task_count, tail_count; /* tasks[task_count..) come after the faults are gone */
	struct sim_task tasks[SIM_TASKS_MAX];
	struct sim_span sync, message, prepare, call, tool, snapshot, git, lookup, sink, restart, take_over, file;
	uint32_t tokens;             /* of a call */
	uint32_t checkpoint_records; /* after so many a checkpoint is stored; 0: never */
	uint64_t faults_end_us;      /* what is still in force then is undone */
	uint64_t claims_lag_us;      /* no claim can be taken back, or nothing is heard of a commit, for so long */
	uint64_t news_lag_us;        /* what an agent was answered may be heard so much later */
	uint32_t fault_count;
	struct sim_fault faults[SIM_FAULTS_MAX];
	bool as_real; /* as the engine does it on a real system: `limits` for the checkers, the tail as it is */
	struct check_config limits;
	uint64_t settle_limit_us;
	uint64_t refusal_us; /* a call that is refused takes so long; 0: as long as any */
	bool bugged;         /* with these bugs, not those of the simulation */
	struct bugs bugs;
};

/* --- swarm.c --- */
void plan_draw(struct sim_plan *plan, uint64_t seed);
/* What follows from the faults that are there; to be called once more when some were left out. */
void plan_settle(struct sim_plan *plan);

/* --- fault.c: the words --- */
const char *sim_plugin_name(enum sim_plugin plugin);
int sim_plugin_parse(const char *name);                /* -1: unknown */
const char *sim_event_word(enum sim_event_name event); /* "provider-request"; NULL for SIM_AT */
int sim_event_parse(const char *name);                 /* -1: unknown */
const char *sim_kind_name(enum sim_plugin plugin, uint32_t kind);
int sim_kind_parse(enum sim_plugin plugin, const char *name);
const char *sim_path_name(uint32_t path);
int sim_path_parse(const char *name);
/* One line: "rate-limit claude retry-after 700 ms, at the 8th provider-request, for 800 ms". */
void sim_fault_format(const struct sim_fault *fault, char *buf, size_t size);
/* The name of a fault: "rate-limit-3". */
void sim_fault_name(const struct sim_fault *fault, char *buf, size_t size);

/* --- points: where an orchestrator may die --- */
#define SIM_POINT_ANY_EFFECT 0u /* between any two effects */
#define SIM_POINT_RECOVERY   1u /* between any two effects of a recovery */
#define SIM_POINT_MIDDLE     2u /* recover.middle */
#define SIM_POINT_GIT_BEFORE 3u
#define SIM_POINT_GIT_AFTER  4u
#define SIM_POINT_RECORDS    5u /* 2 x (record kind - 1) + after */
#define SIM_POINTS           (SIM_POINT_RECORDS + 2u * (CORE_RECORD_END - 1u))
#define SIM_POINT_NOW        SIM_POINTS /* wherever it is */
/* "commit-intent.before"; "" for SIM_POINT_NOW. The buffer is used for the records' only. */
const char *sim_point_name(uint32_t point, char *buf, size_t size);
int sim_point_parse(const char *name); /* -1: unknown */

#endif
