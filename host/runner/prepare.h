/* SPDX-License-Identifier: Apache-2.0 */
/* In the runner: from a setup to hooks that can be called. Confines the process for good on the way, and waits until no
 * other runner of the fault is left. */
#ifndef TRITONE_RUNNER_PREPARE_H
#define TRITONE_RUNNER_PREPARE_H

#include "runner/hooks.h"

struct prepared {
	struct plugin plugin;
	struct hooks *hooks; /* NULL when describe_only */
};

/* `keep_fd`: descriptors above it are closed. What the kernel cannot enforce is said through the sink, as a warning. */
int prepare(struct prepared *ret_prepared, const struct runner_setup *setup, const struct hooks_sink *sink, int keep_fd,
    bool need_services, struct error *err);

#endif
