/* SPDX-License-Identifier: Apache-2.0 */
/* Can a schedule be run on a real system? */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/plan.h"
#include "sim/sim.h"
#include "spec/spec.h"

/* By other names than the simulation's own. */
static const char *const aliases[] = {"process-kill", "process-stop", "key-rotation"};

const char *schedule_real_plugin(unsigned i)
{
	if (i < SIM_REAL_PLUGINS)
		return sim_plugin_name((enum sim_plugin)i);
	i -= SIM_REAL_PLUGINS;
	return i < sizeof aliases / sizeof aliases[0] ? aliases[i] : NULL;
}

/* "agent-kill, agent-pause, ..." */
static void list_real(char *buf, size_t size)
{
	size_t used = 0;

	for (unsigned i = 0; schedule_real_plugin(i) && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s", i ? ", " : "", schedule_real_plugin(i));
}

static int check_fault(const struct spec_experiment *x, const struct spec_fault *fault, struct error *err)
{
	int plugin = sim_plugin_parse(fault->plugin), point;
	char real[200];

	list_real(real, sizeof real);
	if (plugin >= (int)SIM_REAL_PLUGINS)
		return error_set(err, ENOTSUP, "%s:%u:%u: only the simulation has the fault %s; for real there are %s",
		    x->file, fault->line, fault->column, fault->plugin, real);
	for (size_t i = 0; plugin == SIM_ORCHESTRATOR_KILL && i < fault->arguments.count; i++) {
		const struct spec_pair *pair = &fault->arguments.items[i];

		if (strcmp(pair->name, "point") != 0)
			continue;
		point = sim_point_parse(pair->value);
		if (point == (int)SIM_POINT_ANY_EFFECT || point == (int)SIM_POINT_RECOVERY)
			return error_set(err, ENOTSUP,
			    "%s:%u:%u: only the simulation can kill at '%s', between any two effects; for real there "
			    "are the "
			    "'faultpoints' of the system's manifest",
			    x->file, pair->line, pair->column, pair->value);
	}
	return 0;
}

int schedule_is_real(const char *path, bool *ret_system, struct error *err)
{
	struct spec_experiment *x;
	int r = 0;

	if (spec_experiment_load(&x, path, err) != 0)
		return -1;
	for (size_t i = 0; r == 0 && i < x->fault_count; i++)
		r = check_fault(x, &x->faults[i], err);
	*ret_system = x->system != NULL;
	spec_experiment_free(x);
	return r;
}
