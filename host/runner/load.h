/* SPDX-License-Identifier: Apache-2.0 */
/* Loads a fault plugin into this process: only ever done in a fault runner, never in the host. */
#ifndef TRITONE_RUNNER_LOAD_H
#define TRITONE_RUNNER_LOAD_H

#include "tritone/fault.h"
#include "wal/error.h"

#define PLUGIN_TEXT_MAX 1023u /* bytes of one string of a descriptor */

struct plugin {
	void *handle;
	struct tritone_fault fault; /* the host's copy; its strings, table and hooks are the plugin's */
};

/*
 * ENOENT: no such file; ENOEXEC: not a fault plugin, or one with a broken descriptor; EPROTO: made for another ABI.
 * The constructors of the module run here.
 */
int plugin_load(struct plugin *ret_plugin, const char *path, struct error *err);
void plugin_unload(struct plugin *plugin);

#endif
