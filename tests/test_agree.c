/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulation and reality agree: each schedule of a suite is run in simulation, with several seeds, and on the real system, and the
 * verdict of each invariant must be the same. Where it is not, the schedule says so, with the reason, and it must be so.
 * Arguments: tritone, the suite, a directory for the runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim/coverage.h"
#include "sim/plan.h"
#include "sim/schedule.h"
#include "sim/sim.h"
#include "spec/spec.h"

#define SEEDS         20u
#define SCHEDULES_MIN 30u
#define PLUGINS_MAX   32u
#define JOBS          "4" /* most of the time they wait */
#define INVARIANTS    (SIM_CHECKS - 1)

struct agree {
	const char *tritone, *suite_file;
	char dir[64], report[128];
	struct spec_suite *suite;
	json_t *results;
	struct sim *sim;
	struct coverage coverage;
};
static struct agree agree; /* what all the tests share: the real runs are made once, beside each other */

static const char *verdict_of(uint64_t opportunities, uint64_t violations)
{
	return violations ? "deviated" : opportunities ? "held" : "vacuous";
}

/* ---- reality ---- */

static void run_for_real(void)
{
	json_error_t why;
	json_t *root;
	int status;
	pid_t pid;

	snprintf(agree.report, sizeof agree.report, "%s/report.json", agree.dir);
	assert_int_equal(setenv("TRITONE_STATE", agree.dir, 1), 0);
	assert_int_equal(setenv("TRITONE_SEED", "1", 1), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (freopen(agree.report, "w", stdout))
			execl(agree.tritone, agree.tritone, "test", "--quiet", "--json", "--reruns", "0", "--jobs",
			    JOBS, agree.suite_file, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	root = json_load_file(agree.report, 0, &why);
	if (!root)
		fail_msg("%s:%d: %s", agree.report, why.line, why.text);
	agree.results = json_incref(json_object_get(root, "results"));
	json_decref(root);
}

static json_t *result_of(const char *name)
{
	json_t *result;
	size_t i;

	json_array_foreach (agree.results, i, result)
		if (strcmp(json_string_value(json_object_get(result, "name")), name) == 0)
			return result;
	fail_msg("%s was not run on the real system", name);
	return NULL;
}

static const json_t *real_check(const json_t *result, const char *invariant)
{
	json_t *check;
	size_t i;

	json_array_foreach (json_object_get(result, "checks"), i, check)
		if (strcmp(json_string_value(json_object_get(check, "invariant")), invariant) == 0)
			return check;
	fail_msg("%s was not judged on the real system: %s: %s", invariant,
	    json_string_value(json_object_get(result, "verdict")),
	    json_string_value(json_object_get(result, "reason")));
	return NULL;
}

/* The first finding, for people. */
static const char *real_finding(const json_t *check)
{
	const json_t *finding = json_array_get(json_object_get(check, "findings"), 0);
	const char *text = json_string_value(json_object_get(finding, "text"));

	return text ? text : "";
}

/* ---- simulation ---- */

static const char *simulate(const char *file, struct sim_result *first)
{
	static struct sim_plan plan;
	static char text[512];
	struct sim_result r;
	struct error err;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		if (schedule_read(&plan, &seed, file, &err) != 0)
			fail_msg("%s", err.text);
		sim_run(agree.sim, &plan, &r, &agree.coverage);
		if (seed == 1)
			*first = r;
		if (r.cut)
			return "the simulation was cut off";
		/* What a bug has lost is waited for by what was to come after it, and that is refused, in both worlds. */
		if (r.verdicts[INVARIANTS].violations && !plan.bugged)
			return strcpy(text, r.verdicts[INVARIANTS].text);
		if (r.faults_felt != plan.fault_count) {
			snprintf(text, sizeof text, "seed %u: %u of %u faults were felt in simulation", (unsigned)seed,
			    r.faults_felt, plan.fault_count);
			return text;
		}
		for (unsigned i = 0; i < INVARIANTS; i++) {
			const struct sim_verdict *one = &first->verdicts[i], *other = &r.verdicts[i];
			const char *a = verdict_of(one->opportunities, one->violations),
				   *b = verdict_of(other->opportunities, other->violations);

			if (strcmp(a, b) == 0)
				continue;
			snprintf(text, sizeof text, "%s: %s in simulation with seed 1, %s with seed %u: %s%s",
			    one->name, a, b, (unsigned)seed, one->text, other->text);
			return text;
		}
	}
	return NULL;
}

/* ---- both ---- */

static const struct spec_difference *listed(const struct spec_experiment *x, const char *invariant)
{
	for (size_t i = 0; i < x->simulation.differ_count; i++)
		if (strcmp(x->simulation.differs[i].invariant, invariant) == 0)
			return &x->simulation.differs[i];
	return NULL;
}

static unsigned compare(const struct spec_experiment *x, const struct sim_result *simulated, const json_t *result)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < INVARIANTS; i++) {
		const struct sim_verdict *v = &simulated->verdicts[i];
		const struct spec_difference *difference = listed(x, v->name);
		const json_t *check = real_check(result, v->name);
		const char *a = verdict_of(v->opportunities, v->violations),
			   *b = json_string_value(json_object_get(check, "verdict"));

		if (difference ? strcmp(difference->simulated, a) == 0 && strcmp(difference->real, b) == 0
			       : strcmp(a, b) == 0)
			continue;
		print_message("%s: %s is %s in simulation, %s on the real system%s\n  simulated: %s\n  real: %s\n",
		    x->name, v->name, a, b, difference ? "; another difference is listed" : "", v->text,
		    real_finding(check));
		wrong++;
	}
	return wrong;
}

static const char *unfelt(const json_t *fault)
{
	const char *proof = json_string_value(json_object_get(fault, "proof"));

	return proof && *proof ? proof : "a fault was not felt on the real system, without a word";
}

static void both_worlds_say_the_same(void **state)
{
	const struct spec_case *c = *state;
	struct spec_experiment *x = NULL;
	struct sim_result simulated;
	const char *trouble;
	struct error err;
	json_t *result, *fault;
	unsigned wrong;
	size_t i;

	if (c->problem || spec_experiment_load(&x, c->experiment, &err) != 0)
		fail_msg("%s", c->problem ? c->problem : err.text);
	trouble = simulate(c->experiment, &simulated);
	result = result_of(c->name);
	if (json_array_size(json_object_get(result, "faults")) != x->fault_count)
		trouble = "not all of its faults were run on the real system";
	json_array_foreach (json_object_get(result, "faults"), i, fault)
		if (!json_is_true(json_object_get(fault, "felt")))
			trouble = unfelt(fault);
	wrong = trouble ? 1 : compare(x, &simulated, result);
	spec_experiment_free(x);
	if (trouble)
		fail_msg("%s: %s", c->name, trouble);
	assert_int_equal(wrong, 0);
}

/* Each plugin is in one that holds, and in one that deviates. */
static void every_plugin_is_there(void **state)
{
	bool holds[PLUGINS_MAX] = {false}, deviates[PLUGINS_MAX] = {false};
	struct error err;

	(void)state;
	assert_true(agree.suite->case_count >= SCHEDULES_MIN);
	for (size_t i = 0; i < agree.suite->case_count; i++) {
		struct spec_experiment *x;

		if (spec_experiment_load(&x, agree.suite->cases[i].experiment, &err) != 0)
			fail_msg("%s", err.text);
		for (size_t f = 0; f < x->fault_count; f++) {
			bool *seen = x->expect_deviated.count ? deviates : holds;

			for (unsigned p = 0; schedule_real_plugin(p); p++)
				seen[p] = seen[p] || strcmp(x->faults[f].plugin, schedule_real_plugin(p)) == 0;
		}
		spec_experiment_free(x);
	}
	for (unsigned i = 0; schedule_real_plugin(i); i++)
		if (!holds[i] || !deviates[i])
			fail_msg(
			    "%s is in no schedule that %s", schedule_real_plugin(i), holds[i] ? "deviates" : "holds");
}

static int begin(void **state)
{
	struct error err;

	(void)state;
	if (sim_create(&agree.sim, NULL, &err) != 0)
		fail_msg("%s", err.text);
	run_for_real();
	return 0;
}

static int end(void **state)
{
	char command[128];

	(void)state;
	sim_destroy(agree.sim);
	json_decref(agree.results);

	snprintf(command, sizeof command, "rm -rf %s", agree.dir);
	return getenv("AGREE_KEEP") ? 0 : system(command); /* NOLINT(cert-env33-c): a path of our own */
}

int main(int argc, char **argv)
{
	struct CMUnitTest *tests;
	struct error err;
	int r;

	if (argc != 3)
		return 2;
	agree.tritone = argv[1];
	agree.suite_file = argv[2];
	snprintf(agree.dir, sizeof agree.dir, "/tmp/tritone-agree-XXXXXX");
	if (!mkdtemp(agree.dir) || spec_suite_load(&agree.suite, agree.suite_file, &err) != 0)
		return 2;
	tests = calloc(agree.suite->case_count + 1, sizeof *tests);
	if (!tests)
		return 2;
	for (size_t i = 0; i < agree.suite->case_count; i++)
		tests[i] = (struct CMUnitTest){.name = agree.suite->cases[i].name,
		    .test_func = both_worlds_say_the_same,
		    .initial_state = &agree.suite->cases[i]};
	tests[agree.suite->case_count] = (struct CMUnitTest)cmocka_unit_test(every_plugin_is_there);
	r = _cmocka_run_group_tests("agree", tests, agree.suite->case_count + 1, begin, end);
	free(tests);
	spec_suite_free(agree.suite);
	return r;
}
