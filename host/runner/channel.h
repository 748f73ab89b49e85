/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of one runner process: starts it, asks it for one hook at a time under a deadline, tells crash, hang
 * and refusal apart, and ends it. Knows nothing of undo records.
 */
#ifndef TRITONE_RUNNER_CHANNEL_H
#define TRITONE_RUNNER_CHANNEL_H

#include "runner/protocol.h"

struct channel_options {
	const char *log_path;    /* the process's standard output and error are appended here; NULL: lost */
	int64_t hook_timeout_ms; /* of each ask */
	int interrupt_fd;        /* readable: give up waiting; -1: none */
	void (*log)(void *arg, uint32_t level, const char *text);
	void (*evidence)(void *arg, const char *name, const char *value);
	void *arg;
};

struct channel;

/* Starts `tritone __runner` in a session of its own; nothing is loaded yet. */
int channel_open(struct channel **ret_channel, const struct channel_options *options, struct error *err);
/*
 * One request (numbered here) and its answer; log and evidence on the way go to the callbacks. -1: the hook refused (its own code and
 * text), EPROTO when the process crashed, ETIMEDOUT when the hook hung, ECANCELED when interrupt_fd became readable
 * first (never when `must_finish`). A hook that does not return soon after its deadline is ended with its process.
 */
int channel_ask(struct channel *channel, struct runner_request *request, bool must_finish,
    struct runner_reply *ret_reply, struct error *err);
/* Takes in what has arrived, without waiting. */
void channel_drain(struct channel *channel);
bool channel_alive(const struct channel *channel);
enum runner_failure channel_failure(const struct channel *channel); /* of the last ask, or of the process */
/* 1: the fault's time has run out and the runner has reverted; -1: it tried and failed; 0: neither. */
int channel_expired(const struct channel *channel, struct error *err);
/* How the process ended, in *err. Returns -1. */
int channel_ended(const struct channel *channel, struct error *err);
int channel_fd(const struct channel *channel);
/* Ends the process and all that it started with SIGKILL: it gets no chance to revert. */
void channel_kill(struct channel *channel);
void channel_close(struct channel *channel); /* kills first; NULL is fine */

#endif
