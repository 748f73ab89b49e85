/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of one fault: a process of its own (`tritone` re-executed as `tritone __runner`)
 * that loads the plugin, confines itself, and calls the hooks. Whatever the plugin does (crash,
 * hang, lie), it costs this process, never the host.
 *
 * Dead-man switch: when the host goes away, the runner reverts and exits; when a hook hangs while
 * the host goes away, the runner re-executes itself to revert from the undo record. When the runner
 * dies, runner_revert starts a fresh one.
 *
 * Undo records live in a wal/ log, RUN/undo: PLANNED is durable before inject is called; REVERTED
 * closes it. What is planned and not reverted is *outstanding*.
 */
#ifndef TRITONE_RUNNER_H
#define TRITONE_RUNNER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tritone/fault.h"
#include "wal/error.h"

/* --- undo.h part: the undo log of one run --- */

struct undo_log;

struct undo_entry {
	char fault_id[64];
	char plugin[1024]; /* absolute path of the module */
	char socket[256];  /* control socket of the services, "" if none */
	char state_dir[1024], keep_dir[1024];
	uint64_t seed;
	int64_t duration_ms;
	int64_t hook_timeout_ms; /* for the revert; 0: 10000 */
	char params[2048];       /* as given: name=value, one a line */
	struct tritone_undo undo;
};

int undo_open(struct undo_log **ret_log, const char *run_dir, struct error *err); /* EBUSY: in use, with the pid */
/* The same for a log whose host is gone: waits while others of its heirs write to it. EBUSY: the host is alive. */
int undo_take_over(struct undo_log **ret_log, const char *run_dir, struct error *err);
void undo_close(struct undo_log *log);
/* The host of the run, while its log is open by undo_open; 0: gone, -1: there, pid unknown. Changes nothing. */
pid_t undo_host(const char *run_dir);
/* Its host has closed its log; false as long as it is there, and when it was killed. */
bool undo_host_finished(const char *run_dir);
int undo_planned(struct undo_log *log, const struct undo_entry *entry, struct error *err); /* returns when durable */
int undo_reverted(struct undo_log *log, const char *fault_id, struct error *err);          /* returns when durable */
/* Given up by a person: what it did stays, and it is no longer outstanding. Returns when durable. */
int undo_forgotten(struct undo_log *log, const char *fault_id, struct error *err);
/* Calls visit for each outstanding entry, oldest first; read-only, works while another process
 * holds the log. Returns their number or -1. */
int undo_outstanding(
    const char *run_dir, void (*visit)(void *arg, const struct undo_entry *entry), void *arg, struct error *err);
/* The same for a log that this process has open: a run's own log must not be opened twice. */
int undo_log_outstanding(
    struct undo_log *log, void (*visit)(void *arg, const struct undo_entry *entry), void *arg, struct error *err);

/* --- plugins --- */

/*
 * Finds NAME: an explicit path (it contains '/') is taken as it is, a bare name is looked up in the
 * directories of TRITONE_PLUGIN_PATH, then beside the program (build tree), then the installed
 * directory; never in the working directory.
 */
int plugin_locate(const char *name, char *ret_path, size_t size, struct error *err);
/* Names of all plugins that can be found, sorted; *ret_names is NULL-terminated, free each and the
 * array. */
int plugin_list(char ***ret_names, struct error *err);

/* What a descriptor says, copied out of the plugin by a runner process (the host itself never loads
 * one). Free with plugin_info_free. */
struct plugin_info {
	char *name, *version, *summary, *path;
	uint32_t abi, blast, capabilities;
	int64_t proof_ms;
	struct tritone_param *params; /* strings owned */
	uint32_t param_count;
};
int plugin_info_load(struct plugin_info **ret_info, const char *path, struct error *err);
void plugin_info_free(struct plugin_info *info);
/*
 * Checks name=value pairs against the table: EINVAL names the parameter, its type and range, and the nearest known name. Where
 * `later` (may be NULL) is set, the value is not known yet and only the name is checked. *ret_wrong (may be NULL) is the pair that is wrong,
 * or `count`: one is missing.
 */
int plugin_params_check(const struct plugin_info *info, const char *const *pairs, const bool *later, size_t count,
    size_t *ret_wrong, struct error *err);
const char *plugin_blast_name(uint32_t blast);

/* --- one fault --- */

struct runner_options {
	const char *plugin;        /* absolute path */
	const char *fault_id;      /* unique in the run */
	const char *const *params; /* name=value */
	size_t param_count;
	const char *run_dir; /* keep_dir and logs go below it */
	const char *state_dir;
	const char *socket; /* control socket of the services; NULL: none */
	struct undo_log *undo;
	uint64_t seed;
	int64_t duration_ms;     /* 0: until runner_revert */
	int64_t hook_timeout_ms; /* 0: 10000; time in which the machine had no processor for it does not count */
	bool allow_pathological;
	void (*log)(void *arg, uint32_t level, const char *text);
	void (*evidence)(void *arg, const char *name, const char *value);
	void *arg;
	int interrupt_fd; /* readable: give up waiting for a hook (ECANCELED); -1: none */
};

struct runner;

/* Starts the process and loads the plugin: ENOENT, ENOEXEC (not a plugin: why), EPROTO (wrong ABI),
 * EINVAL (parameters), EPERM (pathological). */
int runner_start(struct runner **ret_runner, const struct runner_options *options, struct error *err);
const struct plugin_info *runner_info(const struct runner *runner);

/* ENOTSUP: not possible here (err->text says why: "a capability is missing"). 0 too when the plugin
 * has no check hook. */
int runner_check(struct runner *runner, struct error *err);
/* No effects. *ret_undo (may be NULL) is what would be recorded. */
int runner_plan(struct runner *runner, struct tritone_undo *ret_undo, struct error *err);
/* Makes the undo record durable, then calls inject. */
int runner_inject(struct runner *runner, struct error *err);
/* One look. EPROTO etc. as below. */
int runner_verify(struct runner *runner, struct tritone_proof *ret_proof, struct error *err);
/* 1: the duration has run out and the runner has reverted by itself (successfully); 0: not yet; -1:
 * its revert failed, or it died. */
int runner_expired(struct runner *runner, struct error *err);
/* A descriptor that becomes readable when runner_expired may have changed. */
int runner_fd(const struct runner *runner);
/*
 * Reverts in the runner, or, if that has crashed, hung or been killed, in a fresh one from the undo
 * record; then marks the record. -1: the fault is still outstanding. Fine when nothing was
 * injected, or twice.
 */
int runner_revert(struct runner *runner, struct error *err);
/* Whether its undo record is open: from just before inject until it is reverted. */
bool runner_recorded(const struct runner *runner);
/* Ends the process. What is not reverted stays outstanding. NULL is fine. */
void runner_destroy(struct runner *runner);

/* From any failing call: did the plugin crash (signal), hang (deadline) or just say no? */
enum runner_failure {
	RUNNER_FAILURE_NONE = 0,
	RUNNER_FAILURE_REFUSED, /* the hook returned -1 */
	RUNNER_FAILURE_CRASHED,
	RUNNER_FAILURE_HUNG,
};
enum runner_failure runner_failure(const struct runner *runner);

/* Reverts one outstanding entry of a run whose host is gone, in a fresh runner, and marks it. */
int runner_recover(const char *run_dir, struct undo_log *log, const struct undo_entry *entry, struct error *err);
/*
 * All outstanding entries of a run whose host is gone, the newest first; waits for runners of that host that are still
 * reverting. `visit` hears of each, with the reason where it could not be undone. Returns how many are left, or -1:
 * EBUSY "in use by pid N", or the log's own error.
 */
int runner_recover_run(const char *run_dir,
    void (*visit)(void *arg, const struct undo_entry *entry, const struct error *why), void *arg, struct error *err);

/*
 * Gives one outstanding entry of a run up whose host is gone, and that entry alone; *ret_entry is what it was. Waits for a runner that is
 * still reverting it. ENOENT: it is not outstanding; EBUSY as above.
 */
int runner_forget(const char *run_dir, const char *fault_id, struct undo_entry *ret_entry, struct error *err);

/*
 * The child: what `tritone __runner` calls. Does not return. A test that starts runners is re-executed itself: its main
 * begins with `if (argc > 1 && !strcmp(argv[1], "__runner")) return runner_main(argc - 1, argv + 1);`
 */
int runner_main(int argc, char **argv);

#endif
