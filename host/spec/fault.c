/* SPDX-License-Identifier: Apache-2.0 */
/* An experiment's `faults`: when each comes, and how they refer to each other. */
#include <string.h>

#include "spec/tables.h"

#define FAULT_IN(member_) .offset = offsetof(struct spec_fault, member_)
#define WHEN_IN(member_)  .offset = offsetof(struct spec_when, member_)

static const char *const event_names[] = {"provider-request", "provider-reply", "commit", "notify", "accept", "fault",
    "revert", "restart", "output", "file", "sync", "point", NULL}; /* in the order of enum spec_event, from 1 on */

static int read_event(struct node_file *file, yaml_node_t *node, void *out)
{
	enum spec_event *event = out;
	char *text;
	size_t i;

	if (node_text(file, node, "an event", &text) != 0)
		return -1;
	for (i = 0; event_names[i]; i++)
		if (!strcmp(event_names[i], text))
			break;
	if (!event_names[i])
		return node_unknown(file, node, "event", text, event_names);
	*event = (enum spec_event)(i + 1);
	return 0;
}

static bool can_be_held(enum spec_event event)
{
	return event == SPEC_EVENT_REQUEST || event == SPEC_EVENT_NOTIFY || event == SPEC_EVENT_COMMIT ||
	       event == SPEC_EVENT_FILE || event == SPEC_EVENT_SYNC;
}

static int when_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	static const char *const with_event[] = {
	    "nth", "hold", "of", "after", "matches", "every", "times", "probability", NULL};
	yaml_node_t *of = node_get(file, node, "of");
	struct spec_when *when = out;
	size_t i;

	when->line = node_line(of ? of : node);
	when->column = node_column(of ? of : node);
	if (when->event == SPEC_EVENT_NONE) {
		for (i = 0; with_event[i]; i++)
			if (node_get(file, node, with_event[i]))
				return node_fail(file, node, "'%s' goes with 'event'", with_event[i]);
		return node_get(file, node, "at") ? 0 : node_fail(file, node, "expected 'at' or 'event'");
	}
	if (node_get(file, node, "at"))
		return node_fail(file, node, "'at' and 'event' exclude each other; 'after' counts from the event");
	if (when->hold && !can_be_held(when->event))
		return node_fail(file, node_get(file, node, "hold"),
		    "only a provider-request, a notify, a commit, a file and a sync can be held back, found the event "
		    "%s",
		    event_names[when->event - 1]);
	if (when->hold && when->event == SPEC_EVENT_FILE && when->of && when->of[strcspn(when->of, "*?[")])
		return node_fail(file, of, "with 'hold' the file is a path, found the pattern '%.100s'", when->of);
	if (when->of &&
	    (when->event == SPEC_EVENT_COMMIT || when->event == SPEC_EVENT_ACCEPT || when->event == SPEC_EVENT_RESTART))
		return node_fail(file, node_get(file, node, "of"), "the event %s is not of anything in particular",
		    event_names[when->event - 1]);
	if (when->matches && when->event != SPEC_EVENT_OUTPUT)
		return node_fail(file, node_get(file, node, "matches"), "'matches' is about the event output");
	if (when->event == SPEC_EVENT_POINT && !when->of)
		return node_fail(file, node, "'of' is missing: which point?");
	if (when->hold && when->probability > 0)
		return node_fail(file, node, "'hold' and 'probability' exclude each other");
	if (when->hold && when->after_ms + when->within_ms >= SPEC_HOLD_MAX_MS)
		return node_fail(file, node,
		    "what is held back is let go after %d s: 'after' and 'within' together must be less",
		    SPEC_HOLD_MAX_MS / 1000);
	return spec_pattern(file, node_get(file, node, "matches"), when->matches, NULL);
}

static int until_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	const struct spec_when *until = out;

	if (until->event == SPEC_EVENT_NONE)
		return node_fail(file, node, "expected an 'event'; how long a fault lasts is said by 'duration'");
	if (until->hold)
		return node_fail(file, node_get(file, node, "hold"), "'hold' has no meaning for the end of a fault");
	if (until->event >= SPEC_EVENT_OUTPUT || until->probability > 0 || until->times > 1)
		return node_fail(file, node,
		    "a fault cannot end at the event %s, nor by probability, nor several times; it can begin so",
		    event_names[until->event - 1]);
	return when_finish(file, node, out);
}

static const struct node_field when_fields[] = {
    {.key = "at", .type = NODE_DURATION, WHEN_IN(after_ms), .help = "So long after the workload began."},
    {.key = "event",
	.type = NODE_CUSTOM,
	WHEN_IN(event),
	.read = read_event,
	.form = "provider-request, provider-reply, commit, notify, accept, fault, revert, restart, output, file, sync "
		"or point",
	.help =
	    "What the harness sees happen: a call to a model provider or its answer, a line in the ledger, a request "
	    "at a sink, an accepted submission, another fault felt or undone, the system ready again, a line of "
	    "output, a file "
	    "written below *${state}* or put there by rename, one made durable (fsync; under the system-call filter), "
	    "a fault "
	    "point "
	    "passed."},
    {.key = "nth",
	.type = NODE_UINT,
	WHEN_IN(nth),
	.fallback = "1",
	.min = 1,
	.max = 1e9,
	.help = "At its n-th time, counted from 1."},
    {.key = "hold",
	.type = NODE_BOOL,
	WHEN_IN(hold),
	.fallback = "false",
	.help =
	    "No race: whoever made it happen waits until the fault is injected. A provider-request or a notify is not "
	    "answered; the write or rename behind a commit or a file and the fsync of a sync are done, but do not "
	    "return (at most a minute; these put the system under the system-call filter). For these five."},
    {.key = "of",
	.type = NODE_TEXT,
	WHEN_IN(of),
	.help = "Only of this provider, sink, fault (by its name), or process; of files, a glob below *${state}*; of a "
		"sync, and of a file that is held, a path "
		"there; of a point, its name."},
    {.key = "matches",
	.type = NODE_TEXT,
	WHEN_IN(matches),
	.help = "Only lines of output that match this regular expression (PCRE2)."},
    {.key = "every",
	.type = NODE_UINT,
	WHEN_IN(every),
	.fallback = "1",
	.min = 1,
	.max = 1e9,
	.help = "With _times_: after the n-th, again at each so many."},
    {.key = "times",
	.type = NODE_UINT,
	WHEN_IN(times),
	.fallback = "1",
	.min = 1,
	.max = SPEC_FAULTS_MAX,
	.help =
	    "So often at most, as NAME, NAME-2, ...: those that do not come before the work is done, or find "
	    "nothing to break, are "
	    "no failure; the first one has to come. All faults of an experiment with their repetitions are at most 64, "
	    "each in a process of its own."},
    {.key = "probability",
	.type = NODE_DOUBLE,
	WHEN_IN(probability),
	.min = 0,
	.max = 1,
	.help = "Each event counts only with this probability, drawn from the seed."},
    {.key = "after", .type = NODE_DURATION, WHEN_IN(after_ms), .help = "So long after the event."},
    {.key = "within",
	.type = NODE_DURATION,
	WHEN_IN(within_ms),
	.help = "And a random part of this later, the same for the same seed."},
    {.key = NULL},
};
static const struct node_table when_table = {.fields = when_fields, .finish = when_finish};
static const struct node_table until_table = {.fields = when_fields, .finish = until_finish};

static bool name_is_fit(const char *name)
{
	return *name && strlen(name) < 64 && !name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")];
}

static int fault_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	yaml_node_t *at = node_get(file, node, "name");
	struct spec_fault *fault = out;

	fault->line = node_line(node);
	fault->column = node_column(node);
	if (strchr(fault->plugin, '/')) {
		fault->plugin = spec_beside(file->arena, file->path, fault->plugin);
		if (!fault->plugin)
			return node_no_memory(file);
	}
	if (!fault->name) {
		at = node_get(file, node, "plugin");
		fault->name = spec_stem(file->arena, fault->plugin);
		if (!fault->name)
			return node_no_memory(file);
	}
	if (node_get(file, node, "duration") && fault->duration_ms == 0)
		return node_fail(file, node_get(file, node, "duration"),
		    "a fault that lasts no time is none; without 'duration' and 'until' it lasts until the workload is "
		    "over");
	if (!name_is_fit(fault->name))
		return node_fail(
		    file, at, "a fault's name has up to 63 of a-z, 0-9 and '-', found '%.70s'", fault->name);
	return 0;
}

static const struct node_field fault_fields[] = {
    {.key = "name", .type = NODE_TEXT, FAULT_IN(name), .help = "Unique in the file; the plugin's name when not given."},
    {.key = "plugin",
	.type = NODE_TEXT,
	.required = true,
	FAULT_IN(plugin),
	.help = "A name (see *tritone plugin list*), or a module's path, with a slash, from this file's directory."},
    {.key = "arguments",
	.type = NODE_PAIRS,
	FAULT_IN(arguments),
	.help = "The plugin's parameters; see *tritone plugin show* NAME. Their variables are replaced first."},
    {.key = "when",
	.type = NODE_MAP,
	FAULT_IN(when),
	.table = &when_table,
	.help = "As soon as the workload begins when not given."},
    {.key = "until",
	.type = NODE_MAP,
	FAULT_IN(until),
	.table = &until_table,
	.elsewhere = true,
	.form = "map with the keys of _when_ but _at_ and _hold_",
	.help = "What ends it."},
    {.key = "duration",
	.type = NODE_DURATION,
	FAULT_IN(duration_ms),
	.help = "How long it lasts. With neither this nor _until_: until the workload is over."},
    {.key = "proof",
	.type = NODE_DURATION,
	FAULT_IN(proof_ms),
	.help = "How long its proof may take; the plugin's own time when not given."},
    {.key = "hook-timeout",
	.type = NODE_DURATION,
	.min = 50,
	.max = 600000,
	.fallback = "10s",
	FAULT_IN(hook_timeout_ms),
	.help = "A hook of the plugin that has not answered by then is ended with its process; what it did is undone "
		"by a fresh "
		"one."},
    {.key = NULL},
};
const struct node_table spec_fault_table = {
    .fields = fault_fields, .size = sizeof(struct spec_fault), .finish = fault_finish};

/* ---- all of them together ---- */

static const struct spec_fault *find(const struct spec_experiment *experiment, const char *name)
{
	size_t i;

	for (i = 0; i < experiment->fault_count; i++)
		if (!strcmp(experiment->faults[i].name, name))
			return &experiment->faults[i];
	return NULL;
}

static bool refers(const struct spec_when *when)
{
	return when->of && (when->event == SPEC_EVENT_FAULT || when->event == SPEC_EVENT_REVERT);
}

static int check_reference(struct node_file *file, yaml_node_t *node, const char *key,
    const struct spec_experiment *experiment, const struct spec_fault *fault, const struct spec_when *when)
{
	yaml_node_t *of;

	if (!refers(when))
		return 0;
	of = node_get(file, node_get(file, node, key), "of");
	if (!find(experiment, when->of))
		return node_fail(file, of, "there is no fault named '%.64s' in this file", when->of);
	if (!strcmp(when->of, fault->name))
		return node_fail(file, of, "the fault '%s' would wait for itself", fault->name);
	return 0;
}

/* a waits for b, b waits for a: neither would ever come */
static int check_cycle(struct node_file *file, const struct spec_experiment *experiment, const struct spec_fault *fault)
{
	const struct spec_fault *at = fault;
	size_t steps;

	for (steps = 0; at && steps <= experiment->fault_count; steps++)
		at = refers(&at->when) ? find(experiment, at->when.of) : NULL;
	if (!at)
		return 0;
	return node_fail_at(
	    file, fault->line, fault->column, "the fault '%s' waits for faults that wait for each other", fault->name);
}

int spec_faults_finish(struct node_file *file, yaml_node_t *list, const struct spec_experiment *experiment)
{
	size_t i;

	for (i = 0; i < experiment->fault_count; i++) {
		const struct spec_fault *fault = &experiment->faults[i];
		yaml_node_t *node = node_at(file, list, i);

		if (find(experiment, fault->name) != fault)
			return node_fail(
			    file, node, "a second fault named '%s'; give it a 'name' of its own", fault->name);
		if (check_reference(file, node, "when", experiment, fault, &fault->when) != 0 ||
		    check_reference(file, node, "until", experiment, fault, &fault->until) != 0)
			return -1;
	}
	for (i = 0; i < experiment->fault_count; i++)
		if (check_cycle(file, experiment, &experiment->faults[i]) != 0)
			return -1;
	return 0;
}

int spec_faults_unroll(struct node_file *file, yaml_node_t *list, struct spec_experiment *experiment)
{
	struct spec_fault *all;
	size_t count = 0, i, at = 0;
	uint64_t k;

	for (i = 0; i < experiment->fault_count; i++) {
		struct spec_fault *fault = &experiment->faults[i];

		fault->base = fault->name;
		count += fault->when.times > 1 ? fault->when.times : 1;
	}
	if (count > SPEC_FAULTS_MAX)
		return node_fail(
		    file, list, "%zu faults with their repetitions, at most %d are possible", count, SPEC_FAULTS_MAX);
	if (count == experiment->fault_count)
		return 0;
	all = arena_alloc(file->arena, count * sizeof *all);
	if (!all)
		return node_no_memory(file);
	for (i = 0; i < experiment->fault_count; i++) {
		const struct spec_fault *fault = &experiment->faults[i];

		for (k = 0; k == 0 || k < fault->when.times; k++, at++) {
			all[at] = *fault;
			if (k == 0)
				continue;
			all[at].again = true;
			all[at].when.nth = fault->when.nth + k * fault->when.every;
			all[at].name = arena_format(file->arena, "%.60s-%llu", fault->name, (unsigned long long)k + 1);
			if (!all[at].name)
				return node_no_memory(file);
		}
	}
	for (i = 0; i < count; i++) /* a repetition may have got a name that is taken */
		for (k = 0; k < i; k++)
			if (!strcmp(all[i].name, all[k].name))
				return node_fail(file, list,
				    "two faults would be named '%s': give one a 'name' of its own", all[i].name);
	experiment->faults = all;
	experiment->fault_count = count;
	return 0;
}
