/* SPDX-License-Identifier: Apache-2.0 */
/* The events that an experiment's faults wait for, held against what the system can show: one that never comes is refused up front. */
#include <errno.h>
#include <string.h>

#include "spec/spec.h"

static int fail(const struct spec_experiment *x, const struct spec_when *when, struct error *err, const char *what,
    const char *manifest)
{
	return error_set(
	    err, EINVAL, "%s:%u:%u: %s; the system is that of %s", x->file, when->line, when->column, what, manifest);
}

/* `kind` is a provider or a sink; `names` are those that there are. */
static int check_name(const struct spec_manifest *m, const struct spec_experiment *x, const struct spec_when *when,
    const char *kind, const struct spec_strings *names, struct error *err)
{
	char what[200];
	const char *nearest;
	size_t i;

	if (!names->count) {
		snprintf(what, sizeof what, "the event never comes: there is no %s", kind);
		return fail(x, when, err, what, m->file);
	}
	for (i = 0; when->of && i < names->count; i++)
		if (!strcmp(names->items[i], when->of))
			return 0;
	if (!when->of)
		return 0;
	nearest = spec_nearest(when->of, (const char *const *)names->items);
	snprintf(what, sizeof what, "there is no %s named '%.40s'%s%.40s%s", kind, when->of,
	    nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
	return fail(x, when, err, what, m->file);
}

static int check_process(
    const struct spec_manifest *m, const struct spec_experiment *x, const struct spec_when *when, struct error *err)
{
	char what[200];
	size_t i;

	for (i = 0; when->of && i < m->process_count; i++)
		if (!strcmp(m->processes[i].name, when->of))
			return 0;
	if (!when->of)
		return 0;
	snprintf(what, sizeof what, "there is no process named '%.40s'", when->of);
	return fail(x, when, err, what, m->file);
}

static int check(
    const struct spec_manifest *m, const struct spec_experiment *x, const struct spec_when *when, struct error *err)
{
	switch (when->event) {
	case SPEC_EVENT_REQUEST:
	case SPEC_EVENT_REPLY:
		return check_name(m, x, when, "provider", &m->gateway.providers, err);
	case SPEC_EVENT_NOTIFY:
		return check_name(m, x, when, "sink", &m->gateway.sinks, err);
	case SPEC_EVENT_COMMIT:
		return spec_has_ledger(m) ? 0
					  : fail(x, when, err, "the event never comes: there is no ledger", m->file);
	case SPEC_EVENT_OUTPUT:
		return check_process(m, x, when, err);
	case SPEC_EVENT_POINT:
		return check_name(m, x, when, "fault point", &m->faultpoints, err);
	case SPEC_EVENT_FILE:
	case SPEC_EVENT_SYNC:
	case SPEC_EVENT_NONE:
	case SPEC_EVENT_ACCEPT:
	case SPEC_EVENT_FAULT: /* of faults in the same file: their names have been looked at */
	case SPEC_EVENT_REVERT:
	case SPEC_EVENT_RESTART:
		break;
	}
	return 0;
}

int spec_events_check(const struct spec_manifest *manifest, const struct spec_experiment *experiment, struct error *err)
{
	size_t i;

	for (i = 0; i < experiment->fault_count; i++)
		if (check(manifest, experiment, &experiment->faults[i].when, err) != 0 ||
		    check(manifest, experiment, &experiment->faults[i].until, err) != 0)
			return -1;
	return 0;
}
