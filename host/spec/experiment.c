/* SPDX-License-Identifier: Apache-2.0 */
/* Experiment files: the table of their keys, and what a table cannot say. */
#include <string.h>

#include "check/check.h"
#include "spec/policy.h"
#include "spec/tables.h"

#define IN(member_)    .offset = offsetof(struct spec_experiment, member_)
#define COUNT(member_) .count_offset = offsetof(struct spec_experiment, member_)

/* Nobody after the loader has to know that a parameter has two names. */
static int use_long_names(struct node_file *file, struct spec_invariant *invariant)
{
	size_t i;

	for (i = 0; i < invariant->parameters.count; i++) {
		struct spec_pair *pair = &invariant->parameters.items[i];
		const char *key = policy_key(invariant->name, pair->name);

		pair->name = arena_text(file->arena, key, strlen(key));
		if (!pair->name)
			return node_no_memory(file);
	}
	return 0;
}

/* The limit of no-lost-task is how long the system gets to settle: it becomes workload.limit, and is no parameter any more. */
static int take_limit(struct node_file *file, struct spec_invariant *invariant, int64_t *ret_limit_ms)
{
	struct spec_pairs *parameters = &invariant->parameters;
	size_t i, kept = 0;

	for (i = 0; i < parameters->count; i++) {
		if (!policy_taken(invariant->name, parameters->items[i].name))
			parameters->items[kept++] = parameters->items[i];
		else if (spec_duration(parameters->items[i].value, ret_limit_ms, file->err) != 0)
			return -1;
	}
	parameters->count = kept;
	return 0;
}

static int read_invariant(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_invariant *invariant = out;
	struct check_config scratch;
	yaml_node_t *key = node, *value;
	const char *known[POLICY_INVARIANTS_MAX + 1];

	invariant->line = node_line(node);
	invariant->column = node_column(node);
	if (!node_is_scalar(node)) {
		if (node_check_map(file, node) != 0)
			return -1;
		if (node_count(node) != 1)
			return node_fail(
			    file, node, "expected one name with its parameters, as in {no-lost-task: {limit: 5s}}");
		node_key(file, node, 0, &key, &value);
		if (node_pairs(file, value, &invariant->parameters) != 0)
			return -1;
	}
	if (node_text(file, key, "the name of an invariant", &invariant->name) != 0)
		return -1;
	if (check_find(invariant->name)) {
		if (policy_invariant_apply(invariant, file->path, &scratch, file->err) != 0)
			return -1;
		return use_long_names(file, invariant);
	}
	policy_invariant_names(known);
	return node_unknown(file, key, "invariant", invariant->name, known);
}
static const struct node_table invariant_table = {.read = read_invariant, .size = sizeof(struct spec_invariant)};

static const struct node_field hypothesis_fields[] = {
    {.key = "title", .type = NODE_TEXT, IN(hypothesis_title), .help = "What is believed, in one sentence."},
    {.key = "probes",
	.type = NODE_LIST,
	IN(hypothesis.items),
	COUNT(hypothesis.count),
	.table = &spec_hypothesis_table,
	.help = "Must be within their tolerance before anything is broken, and again afterwards."},
    {.key = NULL},
};
static const struct node_table hypothesis_table = {.fields = hypothesis_fields};

#define TASK_IN(member_) .offset = offsetof(struct spec_task, member_)
static const struct node_field task_fields[] = {
    {.key = "name", .type = NODE_TEXT, .required = true, TASK_IN(name), .help = "Unique in the list."},
    {.key = "role", .type = NODE_TEXT, .required = true, TASK_IN(role), .help = "Which kind of agent does it."},
    {.key = "after", .type = NODE_STRINGS, TASK_IN(after), .help = "Tasks before it in the list that must be done."},
    {.key = "at", .type = NODE_DURATION, TASK_IN(at_ms), .help = "Handed in so long after the workload began."},
    {.key = "steps",
	.type = NODE_UINT,
	TASK_IN(steps),
	.fallback = "4",
	.min = 1,
	.max = 6,
	.help = "Model calls that it takes in simulation; on the real system the gateway's plan says it: four."},
    {.key = NULL},
};

static int task_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_task *task = out;

	(void)file;
	task->line = node_line(node);
	task->column = node_column(node);
	return 0;
}
static const struct node_table task_table = {
    .fields = task_fields, .size = sizeof(struct spec_task), .finish = task_finish};

static const struct node_field workload_fields[] = {
    {.key = "tasks",
	.type = NODE_UINT,
	IN(workload.tasks),
	.fallback = "24",
	.min = 1,
	.max = 1000000,
	.help = "Tasks submitted while the fault is in force."},
    {.key = "tail",
	.type = NODE_UINT,
	IN(workload.tail),
	.fallback = "6",
	.max = 1000000,
	.help = "Tasks submitted afterwards, to see that all is back to normal."},
    {.key = "roles",
	.type = NODE_STRINGS,
	.filled = true,
	IN(workload.roles),
	.fallback = "plan write review",
	.help = "Each chain of tasks has these roles, each waiting for the one before."},
    {.key = "rate",
	.type = NODE_DOUBLE,
	IN(workload.rate),
	.fallback = "0",
	.max = 1e6,
	.help = "Submissions a second; 0: as fast as they are accepted."},
    {.key = "limit",
	.type = NODE_DURATION,
	IN(workload.limit_ms),
	.fallback = "30s",
	.min = 1,
	.max = 86400000,
	.help = "All must be settled within it; the limit of no-lost-task is the same one."},
    {.key = "graph",
	.type = NODE_LIST,
	IN(workload.graph),
	COUNT(workload.graph_count),
	.table = &task_table,
	.help = "These tasks, instead of _tasks_ in chains. The _tail_ is made of chains all the same."},
    {.key = NULL},
};
static const struct node_table workload_table = {.fields = workload_fields};

static const struct node_field stop_fields[] = {
    {.key = "error-rate",
	.type = NODE_DOUBLE,
	IN(stop.error_rate),
	.fallback = "0",
	.max = 1,
	.help = "Abort when more than this fraction of the submissions fails; 0: never."},
    {.key = "unresponsive",
	.type = NODE_DURATION,
	IN(stop.unresponsive_ms),
	.fallback = "0",
	.help = "Abort when nothing at all was observed for so long; 0: never."},
    {.key = "halt-file", .type = NODE_TEXT, IN(stop.halt_file), .help = "Abort once this file exists."},
    {.key = NULL},
};
static const struct node_table stop_table = {.fields = stop_fields};

struct expect {
	struct spec_strings deviated, may, vacuous;
};
static const struct node_field expect_fields[] = {
    {.key = "deviated",
	.type = NODE_STRINGS,
	.offset = offsetof(struct expect, deviated),
	.help = "Invariants that must deviate; all others must hold."},
    {.key = "may",
	.type = NODE_STRINGS,
	.offset = offsetof(struct expect, may),
	.help = "Invariants that may deviate too."},
    {.key = "vacuous",
	.type = NODE_STRINGS,
	.offset = offsetof(struct expect, vacuous),
	.help = "Invariants that may have had no opportunity."},
    {.key = NULL},
};
static int expect_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	const struct expect *expect = out;

	if (spec_check_invariants(file, node_get(file, node, "deviated"), &expect->deviated) != 0 ||
	    spec_check_invariants(file, node_get(file, node, "may"), &expect->may) != 0)
		return -1;
	return spec_check_invariants(file, node_get(file, node, "vacuous"), &expect->vacuous);
}
const struct node_table spec_expect_table = {.fields = expect_fields, .finish = expect_finish};

_Static_assert(
    offsetof(struct spec_experiment, expect_may) - offsetof(struct spec_experiment, expect_deviated) ==
	    offsetof(struct expect, may) &&
	offsetof(struct spec_experiment, expect_vacuous) - offsetof(struct spec_experiment, expect_deviated) ==
	    offsetof(struct expect, vacuous) &&
	offsetof(struct spec_case, expect_vacuous) - offsetof(struct spec_case, expect_deviated) ==
	    offsetof(struct expect, vacuous),
    "the three lists lie side by side, in this order");

static const struct node_field sweep_fields[] = {
    {.key = "fault", .type = NODE_TEXT, IN(sweep.fault), .help = "The fault's name; the only one when not given."},
    {.key = "argument", .type = NODE_TEXT, .required = true, IN(sweep.argument), .help = "Its parameter."},
    {.key = "values", .type = NODE_STRINGS, .required = true, .filled = true, IN(sweep.values), .help = "Its values."},
    {.key = NULL},
};
static const struct node_table sweep_table = {.fields = sweep_fields};

static int sweep_finish(struct node_file *file, yaml_node_t *sweep, struct spec_experiment *experiment)
{
	size_t i;

	if (!experiment->sweep.argument)
		return 0;
	if (!experiment->sweep.fault && experiment->fault_count == 1)
		experiment->sweep.fault = experiment->faults[0].name;
	if (!experiment->sweep.fault)
		return node_fail(
		    file, sweep, "the key 'fault' is missing: this file has %zu faults", experiment->fault_count);
	for (i = 0; i < experiment->fault_count; i++)
		if (!strcmp(experiment->faults[i].name, experiment->sweep.fault))
			return 0;
	return node_fail(file, node_get(file, sweep, "fault"), "there is no fault named '%.64s' in this file",
	    experiment->sweep.fault);
}

static const char *const verdict_names[] = {"held", "deviated", "vacuous", NULL};

static int difference_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	const struct spec_difference *difference = out;
	const char *known[POLICY_INVARIANTS_MAX + 1];

	policy_invariant_names(known);
	if (!check_find(difference->invariant))
		return node_unknown(file, node_get(file, node, "invariant"), "invariant", difference->invariant, known);
	if (!strcmp(difference->simulated, difference->real))
		return node_fail(file, node, "'simulated' and 'real' are the same: that is no difference");
	return 0;
}

#define DIFFERENCE_IN(member_) .offset = offsetof(struct spec_difference, member_)
static const struct node_field difference_fields[] = {
    {.key = "invariant", .type = NODE_TEXT, .required = true, DIFFERENCE_IN(invariant), .help = "Its name."},
    {.key = "simulated",
	.type = NODE_TEXT,
	.required = true,
	.choices = verdict_names,
	DIFFERENCE_IN(simulated),
	.help = "Its verdict in simulation."},
    {.key = "real",
	.type = NODE_TEXT,
	.required = true,
	.choices = verdict_names,
	DIFFERENCE_IN(real),
	.help = "Its verdict on the real system."},
    {.key = "because", .type = NODE_TEXT, .required = true, DIFFERENCE_IN(because), .help = "Why."},
    {.key = NULL},
};
static const struct node_table difference_table = {
    .fields = difference_fields, .size = sizeof(struct spec_difference), .finish = difference_finish};

static const struct node_field simulation_fields[] = {
    {.key = "seed",
	.type = NODE_TEXT,
	IN(simulation.seed),
	.help = "A number: how long each thing takes, and all else that is drawn, follows from it. With no _system_, "
		"fleet and policy do, "
		"too. When not given, any seed will do, and the times are those of the real system."},
    {.key = "differs",
	.type = NODE_LIST,
	IN(simulation.differs),
	COUNT(simulation.differ_count),
	.table = &difference_table,
	.help = "Verdicts that are known to be others in simulation than on the real system."},
    {.key = NULL},
};
static const struct node_table simulation_table = {.fields = simulation_fields};

static bool is_judged(const struct spec_experiment *experiment, const char *name)
{
	size_t i;

	for (i = 0; i < experiment->invariant_count; i++)
		if (!strcmp(experiment->invariants[i].name, name))
			return true;
	return experiment->invariant_count == 0;
}

static int invariants_finish(struct node_file *file, yaml_node_t *node, struct spec_experiment *experiment)
{
	yaml_node_t *expect = node_get(file, node, "expect");
	size_t i, j;

	for (i = 0; i < experiment->invariant_count; i++) {
		struct spec_invariant *invariant = &experiment->invariants[i];

		for (j = 0; j < i; j++)
			if (!strcmp(experiment->invariants[j].name, invariant->name))
				return node_fail_at(file, invariant->line, invariant->column,
				    "the invariant '%s' is here twice", invariant->name);
		if (take_limit(file, invariant, &experiment->workload.limit_ms) != 0)
			return -1;
	}
	for (i = 0; i < experiment->expect_deviated.count; i++)
		if (!is_judged(experiment, experiment->expect_deviated.items[i]))
			return node_fail(file, node_get(file, expect, "deviated"),
			    "'%s' cannot deviate: it is not among this experiment's invariants",
			    experiment->expect_deviated.items[i]);
	return 0;
}

static bool is_before(const struct spec_experiment *experiment, size_t task, const char *name)
{
	size_t i;

	for (i = 0; i < task; i++)
		if (!strcmp(experiment->workload.graph[i].name, name))
			return true;
	return false;
}

static int graph_finish(struct node_file *file, yaml_node_t *workload, struct spec_experiment *experiment)
{
	size_t i, k;

	if (!experiment->workload.graph)
		return 0;
	if (node_get(file, workload, "tasks"))
		return node_fail(file, node_get(file, workload, "tasks"), "'tasks' and 'graph' exclude each other");
	experiment->workload.tasks = experiment->workload.graph_count;
	for (i = 0; i < experiment->workload.graph_count; i++) {
		const struct spec_task *task = &experiment->workload.graph[i];

		if (is_before(experiment, i, task->name))
			return node_fail_at(file, task->line, task->column, "a second task named '%.64s'", task->name);
		for (k = 0; k < task->after.count; k++)
			if (!is_before(experiment, i, task->after.items[k]))
				return node_fail_at(file, task->line, task->column,
				    "task '%.64s' is after '%.64s', which is not before it in the list", task->name,
				    task->after.items[k]);
	}
	return 0;
}

static int experiment_finish(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_experiment *experiment = out;
	yaml_node_t *system = node_get(file, node, "system");

	if (system && spec_find_system(file, system, &experiment->system, &experiment->system_problem) != 0)
		return -1;
	if (experiment->fault_count && (spec_faults_finish(file, node_get(file, node, "faults"), experiment) != 0 ||
					   spec_faults_unroll(file, node_get(file, node, "faults"), experiment) != 0))
		return -1;
	if (graph_finish(file, node_get(file, node, "workload"), experiment) != 0 ||
	    sweep_finish(file, node_get(file, node, "sweep"), experiment) != 0)
		return -1;
	return invariants_finish(file, node, experiment);
}

static const struct node_field experiment_fields[] = {
    {.key = "title", .type = NODE_TEXT, IN(title), .help = "The belief that is put to the test."},
    {.key = "description", .type = NODE_TEXT, IN(description), .help = "Why, and what is expected."},
    {.key = "tags", .type = NODE_STRINGS, IN(tags), .help = "Words to find it by."},
    {.key = "configuration",
	.type = NODE_CUSTOM,
	IN(configuration),
	.read = spec_read_variables,
	.table = &spec_variable_table,
	.form = "map of values, or of {type: env, key: NAME, default: VALUE}",
	.help = "Variables: *${name}* in any text of the file."},
    {.key = "secrets",
	.type = NODE_CUSTOM,
	IN(secrets),
	.read = spec_read_variables,
	.form = "the same",
	.help = "The same, for what must not be shown."},
    {.key = "system",
	.type = NODE_TEXT,
	IN(system),
	.help = "The manifest: a path relative to this file, or a name in _systems/_ beside or above it, in the "
		"working directory, or in its _fixtures/_. When not given, the suite or *--system* says it."},
    {.key = "arguments",
	.type = NODE_STRINGS,
	IN(arguments),
	.help = "Added to the command of the system's first process."},
    {.key = "syscall-filter",
	.type = NODE_BOOL,
	IN(syscall_filter),
	.fallback = "false",
	.help = "Start the system under the system-call filter even if no fault needs it."},
    {.key = "steady-state-hypothesis", .type = NODE_MAP, .table = &hypothesis_table, .help = "What normal looks like."},
    {.key = "method",
	.type = NODE_LIST,
	IN(method.items),
	COUNT(method.count),
	.table = &spec_activity_table,
	.help = "Actions and probes, carried out in order while the workload runs."},
    {.key = "rollbacks",
	.type = NODE_LIST,
	IN(rollbacks.items),
	COUNT(rollbacks.count),
	.table = &spec_activity_table,
	.elsewhere = true,
	.help = "The same, always carried out at the end, while the system still runs: after the faults are undone and "
		"it has settled, before it is stopped. Faults undo themselves: they need none. "
		"The keys of an item are those of _method_."},
    {.key = "workload", .type = NODE_MAP, .table = &workload_table, .help = "The work that the system is given."},
    {.key = "faults",
	.type = NODE_LIST,
	IN(faults),
	COUNT(fault_count),
	.table = &spec_fault_table,
	.help = "What is broken."},
    {.key = "invariants",
	.type = NODE_LIST,
	IN(invariants),
	COUNT(invariant_count),
	.table = &invariant_table,
	.form = "list of names, or of {NAME: {PARAMETER: VALUE}}",
	.help = "All twelve are judged; one named here must have had an opportunity, too. See tritone-invariants(7)."},
    {.key = "stop", .type = NODE_MAP, .table = &stop_table, .help = "The kill switch."},
    {.key = "expect",
	.type = NODE_MAP,
	IN(expect_deviated),
	.table = &spec_expect_table,
	.help = "For systems with a known defect. When not given, everything must hold."},
    {.key = "simulation",
	.type = NODE_MAP,
	.table = &simulation_table,
	.help = "For *tritone replay*, see tritone-schedule(5)."},
    {.key = "sweep", .type = NODE_MAP, .table = &sweep_table, .help = "Run once for each value of one argument."},
    {.key = NULL},
};
const struct node_table spec_experiment_table = {.fields = experiment_fields, .finish = experiment_finish};

int spec_experiment_read(struct node_file *file, struct spec_experiment *experiment)
{
	experiment->file = arena_text(file->arena, file->path, strlen(file->path));
	experiment->name = spec_stem(file->arena, file->path);
	if (!experiment->file || !experiment->name)
		return node_no_memory(file);
	return node_top(file, &spec_experiment_table, experiment);
}

static int read_experiment(struct node_file *file, void *out)
{
	if (node_get(file, node_root(file), "experiments"))
		return node_fail(file, node_root(file), "this is a suite; expected an experiment");
	return spec_experiment_read(file, out);
}

int spec_experiment_load(struct spec_experiment **ret_experiment, const char *path, struct error *err)
{
	void *experiment;

	if (spec_file_load(&experiment, sizeof **ret_experiment, path, read_experiment, err) != 0)
		return -1;
	*ret_experiment = experiment;
	return 0;
}

void spec_experiment_free(struct spec_experiment *experiment)
{
	spec_file_free(experiment);
}
