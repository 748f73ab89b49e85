/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tiny world for the conductor's core: a log, git, a sink, providers and agents in memory, in virtual
 * time. It performs effects and brings events; what goes wrong is said by the test. The default is that
 * everything works: an agent makes four model calls of 20 ms each and then has a result.
 */
#ifndef CORE_WORLD_H
#define CORE_WORLD_H

#include "fixtures/conductor/core/core.h"

#define WORLD_MS UINT64_C(1000)

struct world_record {
	uint32_t kind;
	size_t size;
	uint8_t *payload;
};

struct world_commit {
	char task[CORE_ID_MAX], id[CORE_HASH_MAX];
	uint32_t attempt;
	uint64_t epoch, at_us;
};

struct world_call {
	char task[CORE_ID_MAX];
	int provider;
	uint32_t attempt, step;
	uint64_t at_us;
	int32_t status;
};

struct world_agent {
	char task[CORE_ID_MAX];
	uint32_t attempt, step;
	uint64_t epoch;
	int32_t pid;
	bool alive, hung, deaf; /* hung: says nothing; deaf: SIGTERM does not end it */
	bool told;              /* it has work */
	bool called;            /* a model call is under way */
};

struct world_note {
	char key[224];
	int32_t status;
	uint64_t at_us;
};

struct world_reply {
	uint64_t token;
	int32_t status;
	uint64_t lsn, durable; /* the log's durable LSN when it was given */
	char task[CORE_ID_MAX], text[224];
};

struct world_event {
	uint64_t at_us, order;
	struct core_event event;
	char task[CORE_ID_MAX], digest[CORE_HASH_MAX], base[CORE_HASH_MAX], text[CORE_TEXT_MAX];
	int agent; /* -1: none; else it is not brought when that agent is dead, and late when it hangs */
};

enum world_git {
	GIT_WORKS = 0,
	GIT_FAILS,           /* nothing lands, it says that it does not know */
	GIT_LANDS_AND_FAILS, /* lands, and says that it does not know */
	GIT_CONFLICTS,
};

#define WORLD_EVENTS 8192
#define WORLD_LIST   8192

struct world {
	struct core_options options;
	struct core *core;
	struct core_effects *effects;
	uint64_t now_us, timer_us, order, epoch;
	uint64_t steps; /* of the core */

	struct world_record log[WORLD_LIST];
	uint64_t staged, durable; /* LSNs: log[lsn - 1] */
	bool syncing, write_fails;
	uint64_t sync_ms;   /* how long one takes; 0: 1 */
	uint64_t crash_lsn; /* the world ends when this LSN is durable; 0: never */
	bool crash_after;   /* ... after its effects were performed, else before */
	bool crashed;

	struct world_event *events;
	size_t event_count;

	struct world_commit commits[WORLD_LIST];
	struct world_call calls[WORLD_LIST];
	struct world_agent agents[WORLD_LIST];
	struct world_note notes[WORLD_LIST];
	struct world_reply replies[WORLD_LIST];
	size_t commit_count, call_count, agent_count, note_count, reply_count;
	size_t spawns, kills, slo_writes, incident_writes, status_writes, stops;
	int32_t exit_status; /* -1: none */

	bool doubts;                     /* after a restart nobody knows how much time has passed */
	struct core_slo_report slo_file; /* what slos.json says */

	/* what goes wrong */
	int32_t sink_status;
	enum world_git git;
	uint64_t call_ms;
	uint64_t tokens;                           /* of one call */
	uint64_t action;                           /* of each step; 0: another one each */
	int32_t provider_status[POLICY_PROVIDERS]; /* 0: 200; < 0: no answer */
	int64_t provider_retry_after_ms[POLICY_PROVIDERS];
	uint64_t window_us[POLICY_PROVIDERS]; /* until when a 429 that the core has heard of forbids calls */
	size_t inside;                        /* calls that were let through all the same */
	/* Sees each effect first; true: it is not performed. */
	bool (*on_effect)(struct world *world, const struct core_effect *effect);
	uint64_t user[32]; /* the test's own */
};

/* Scaled as in the fixtures. */
void world_options(struct core_options *options);
struct world *world_create(const struct core_options *options); /* recovered and ready, its log empty */
void world_destroy(struct world *world);

/* Brings one event now, at once. */
void world_step(struct world *world, struct core_event event);
/* Puts an event into the future. */
void world_later(struct world *world, uint64_t after_us, int agent, struct core_event event);
void world_submit(struct world *world, uint64_t token, const char *id, const char *role, const char *after);
/* Goes on for so long, or until the core is quiet and no event is left (or it has crashed, or left). */
void world_run(struct world *world, uint64_t for_us);
/* Goes on for exactly so long. */
void world_pass(struct world *world, uint64_t for_us);
/* The process dies: what is not durable is gone, agents live on. Then it starts again with the log's first `lsn` records
 * (0: all that is durable). */
void world_restart(struct world *world, uint64_t lsn);
/* The disk is well again: the core is reset and recovers in the same process. */
void world_reopen(struct world *world);

const char *world_state(struct world *world, const char *task);
size_t world_commits(const struct world *world, const char *task);
size_t world_notes(const struct world *world, const char *task); /* taken by the sink */
int world_agent(const struct world *world, const char *task, uint32_t attempt);
void world_die(struct world *world, int agent, int32_t status);
size_t world_records(const struct world *world, uint32_t kind);
/* A fresh core; the caller's to destroy. */
struct core *world_core(const struct core_options *options);
/* Records of the log into a core of the test's own. */
void world_replay(const struct world *world, struct core *core, uint64_t first, uint64_t last);
/* The digest of a fresh core that has replayed all that is durable. */
uint64_t world_replayed(const struct world *world);

#endif
