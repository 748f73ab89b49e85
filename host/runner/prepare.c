/* SPDX-License-Identifier: Apache-2.0 */
/* Confine, load, confine further by what the plugin has declared, connect. */
#include "runner/prepare.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "runner/confine.h"
#include "runner/locks.h"

static int confine_paths(const struct runner_setup *setup, bool files, const struct hooks_sink *sink, struct error *err)
{
	const char *paths[4] = {NULL}; /* none at all for a description */
	char undo[PATH_MAX + 8], text[320];
	struct error local = {0};
	size_t n = 0;

	if (!setup->describe_only) {
		snprintf(undo, sizeof undo, "%s/undo", setup->run_dir);
		paths[n++] = setup->entry.keep_dir;
		paths[n++] = undo; /* the dead-man switch writes there once the host has gone */
		if (files)
			paths[n++] = setup->entry.state_dir;
	}
	if (confine_files(paths, &local) == 0)
		return 0;
	if (local.code != ENOTSUP) {
		if (err)
			*err = local;
		return error_context(err, "confining the plugin");
	}
	if (files) { /* said once, not again for the second layer */
		snprintf(text, sizeof text, "the plugin's file accesses are not confined: %s", local.text);
		sink->log(sink->arg, TRITONE_LOG_WARNING, text);
	}
	return 0;
}

static int confine_sockets(const struct hooks_sink *sink, struct error *err)
{
	struct error local = {0};
	char text[320];

	if (confine_network(&local) == 0)
		return 0;
	if (local.code != ENOTSUP) {
		if (err)
			*err = local;
		return -1;
	}
	snprintf(text, sizeof text, "the plugin's sockets are not confined: %s", local.text);
	sink->log(sink->arg, TRITONE_LOG_WARNING, text);
	return 0;
}

int prepare(struct prepared *ret_prepared, const struct runner_setup *setup, const struct hooks_sink *sink, int keep_fd,
    bool need_services, struct error *err)
{
	struct prepared prepared = {0};
	const struct tritone_fault *fault = &prepared.plugin.fault;

	if (confine_process(keep_fd, err) < 0 || confine_paths(setup, true, sink, err) < 0)
		return -1;
	if (!setup->describe_only && lock_fault(setup->entry.keep_dir, err) < 0) /* held until the process ends */
		return -1;
	if (plugin_load(&prepared.plugin, setup->entry.plugin, err) < 0)
		return -1;
	if (!(fault->capabilities & TRITONE_CAP_FILES) && confine_paths(setup, false, sink, err) < 0)
		goto fail;
	if (!(fault->capabilities & TRITONE_CAP_NETWORK) && confine_sockets(sink, err) < 0)
		goto fail;
	*ret_prepared = prepared;
	if (!setup->describe_only &&
	    hooks_create(&ret_prepared->hooks, &ret_prepared->plugin, setup, sink, need_services, err) < 0)
		goto fail;
	return 0;
fail:
	plugin_unload(&prepared.plugin);
	return -1;
}
