/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One plugin, its hooks called directly, with a service table made here that keeps what it was asked for. The program's arguments are the
 * modules that were built. Failures fail the test.
 */
#ifndef PLUGIN_FIXTURE_H
#define PLUGIN_FIXTURE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/types.h>

#include "tritone/fault.h"

#define FAKE_TARGETS 8
#define FAKE_RULES   4

/* What stands behind the plugin's services. */
struct fake {
	struct tritone_target targets[FAKE_TARGETS];
	size_t target_count;
	uint64_t random; /* its state: set it to the seed */
	char seen[2048]; /* evidence: "name=value\n" ... */

	char order
	    [256]; /* of the calls that set or clear a rule: "point KEY\n", "gateway KEY\n", "errno KEY\n", "clear KEY\n" */
	struct tritone_gateway_rule gateway;
	struct tritone_errno_rule refusal;
	struct tritone_point_rule point;
	char target[64], path[4096], name[64];
	const char *failing; /* a call whose line in `order` holds this fails with EIO */

	struct {
		const char *key_end; /* the rule whose key ends so */
		uint64_t hits, seen;
		int error;
	} hits[FAKE_RULES];
	void (*on_hits)(struct fake *fake);
	void *arg;
};

/* A real process, that answers when it is spoken to; ended with the fixture. */
struct agent {
	pid_t pid;
	uint64_t start_time;
	int to, from;
};

struct plugin {
	void *handle;
	const struct tritone_fault *fault;
	struct fake fake;
	struct tritone_call call;
	struct tritone_value *values;
	struct tritone_undo *undo; /* as badly aligned as it may be */
	void *undo_memory;
	struct tritone_proof proof;
	struct tritone_error error;
	struct agent agents[4];
	size_t agent_count;
	char dir[64], state[128], keep[128], outside[128];
};

int plugin_fixture_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count);

/* With a directory of its own: state, keep, outside. For setup and teardown. */
int plugin_setup(void **state);
int plugin_teardown(void **state);
/* Loads a plugin, for which NAME and parameters as name=value are given, NULL at the end; again for other ones. */
#define plugin_use(plugin, ...) plugin_load(plugin, (const char *const[]){__VA_ARGS__})
void plugin_load(struct plugin *plugin, const char *const *words);
struct tritone_target *plugin_target(struct plugin *plugin, uint32_t kind, const char *id);

/* Each must succeed; the undo record goes from plan to the others. */
void plugin_plan(struct plugin *plugin);
void plugin_inject(struct plugin *plugin);
uint32_t plugin_verify(struct plugin *plugin); /* what it answers */
void plugin_revert(struct plugin *plugin);
/* It must have failed, with this code and a text that holds this. */
void plugin_failed(const struct plugin *plugin, int result, int code, const char *text);
void assert_has(const char *text, const char *part);

struct agent *agent_start(struct plugin *plugin, bool deaf); /* deaf: it ignores SIGTERM from the start */
/* 'd': be deaf from now on; 'x': exit; anything else is only answered. It must answer. */
void agent_say(struct agent *agent, char what);
uint64_t start_time_of(pid_t pid); /* in clock ticks since boot; 0: there is none */
void agent_as_target(const struct agent *agent, struct tritone_target *target);

#endif
