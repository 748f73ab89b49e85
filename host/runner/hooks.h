/* SPDX-License-Identifier: Apache-2.0 */
/* In the runner: calls a loaded plugin's hooks with the call struct and the services that fault.h promises. */
#ifndef TRITONE_RUNNER_HOOKS_H
#define TRITONE_RUNNER_HOOKS_H

#include <stdatomic.h>

#include "runner/load.h"
#include "runner/protocol.h"

/* Where log and evidence go; called from the thread that runs the hook. */
struct hooks_sink {
	void *arg;
	void (*log)(void *arg, uint32_t level, const char *text);
	void (*evidence)(void *arg, const char *name, const char *value);
};

struct hooks;

/*
 * Parses the parameters and connects to the services' socket. A socket that is not there is an error only when
 * `need_services`: when reverting after the host's end its rules are gone with it.
 */
int hooks_create(struct hooks **ret_hooks, const struct plugin *plugin, const struct runner_setup *setup,
    const struct hooks_sink *sink, bool need_services, struct error *err);
void hooks_destroy(struct hooks *hooks); /* NULL is fine */
/* From any thread: services->cancelled says `on` from now on. */
void hooks_cancel(struct hooks *hooks, bool on);
/* Runs one hook; fills ret_reply's result, error, undo (plan) and proof (verify). */
void hooks_run(
    struct hooks *hooks, enum runner_hook hook, const struct tritone_undo *undo, struct runner_reply *ret_reply);

#endif
