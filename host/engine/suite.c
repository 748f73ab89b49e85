/* SPDX-License-Identifier: Apache-2.0 */
/* A suite as the list of runs to be made: sweeps unrolled, and a control without the bug for each experiment that is used with one. */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"

static bool manifest_in(const char *dir, const char *name, char *ret, size_t size)
{
	return snprintf(ret, size, "%s/systems/%s.yaml", dir, name) < (int)size && access(ret, R_OK) == 0;
}

/* A name: beside or above the file, then from where tritone was called, as `tritone up` does, which has no file. */
static int by_name(char *ret, size_t size, const char *name, const char *beside, struct error *err)
{
	char dir[PATH_MAX];
	int up;

	snprintf(dir, sizeof dir, "%s", beside ? beside : ".");
	for (up = 0; beside && up < 3; up++) {
		char *parent = dirname(dir);

		memmove(dir, parent, strlen(parent) + 1);
		if (manifest_in(dir, name, ret, size))
			return 0;
		if (!strcmp(dir, ".") || !strcmp(dir, "/"))
			break;
	}
	if (manifest_in(".", name, ret, size) || manifest_in("fixtures", name, ret, size))
		return 0;
	if (!beside)
		return error_set(err, ENOENT,
		    "there is no systems/%.80s.yaml in the working directory, nor in its fixtures/; a manifest "
		    "elsewhere is named "
		    "by its path",
		    name);
	return error_set(err, ENOENT,
	    "there is no systems/%.60s.yaml beside or above %.90s, nor in the working directory or its fixtures/", name,
	    beside);
}

int engine_system_path(char *ret, size_t size, const char *system, const char *beside, struct error *err)
{
	char dir[PATH_MAX];

	if (beside && strlen(beside) >= sizeof dir)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long", beside);
	if (!strchr(system, '/') && !strstr(system, ".yaml") && !strstr(system, ".json"))
		return by_name(ret, size, system, beside, err);
	if (access(system, R_OK) == 0) {
		snprintf(ret, size, "%s", system);
		return 0;
	}
	if (system[0] != '/' && beside) {
		snprintf(dir, sizeof dir, "%s", beside);
		snprintf(ret, size, "%s/%s", dirname(dir), system);
		if (access(ret, R_OK) == 0)
			return 0;
	}
	return error_set(err, ENOENT, "there is no manifest %s", system);
}

struct list {
	struct engine_case *cases;
	size_t count, room;
};

static struct engine_case *add(struct list *list)
{
	if (list->count == list->room) {
		size_t room = list->room ? 2 * list->room : 16;
		struct engine_case *grown = realloc(list->cases, room * sizeof *grown);

		if (!grown)
			return NULL;
		list->cases = grown;
		list->room = room;
	}
	memset(&list->cases[list->count], 0, sizeof *list->cases);
	return &list->cases[list->count++];
}

static int add_like(struct list *list, const struct engine_case *like, struct error *err)
{
	struct engine_case *c = add(list);

	if (!c)
		return error_set(err, ENOMEM, "no memory for the suite's cases");
	*c = *like;
	return 0;
}

static int unroll(struct list *list, const struct engine_case *like, const struct spec_experiment *x, struct error *err)
{
	size_t i, n = x->sweep.argument ? x->sweep.values.count : 1;

	for (i = 0; i < n; i++) {
		struct engine_case *c = add(list);

		if (!c)
			return error_set(err, ENOMEM, "no memory for the suite's cases");
		*c = *like;
		if (!x->sweep.argument)
			continue;
		c->sweep_fault = x->sweep.fault ? strdup(x->sweep.fault) : NULL;
		c->sweep_argument = strdup(x->sweep.argument);
		c->sweep_value = strdup(x->sweep.values.items[i]);
		if (!c->sweep_argument || !c->sweep_value || (x->sweep.fault && !c->sweep_fault))
			return error_set(err, ENOMEM, "no memory for the suite's cases");
		snprintf(c->name, sizeof c->name, "%.80s[%.40s]", like->name, c->sweep_value);
	}
	return 0;
}

static int add_case(struct list *list, const struct spec_suite *suite, const struct spec_case *s, const char *system,
    bool control, struct error *err)
{
	struct engine_case like = {.experiment = s->experiment, .system = system ? system : suite->system};
	struct spec_experiment *x = NULL;
	struct error why;
	int r;

	/* One that cannot be read is a case that fails with the reason, and the others are run. */
	like.problem = s->problem;
	if ((s->problem || spec_experiment_load(&x, s->experiment, &why)) && control)
		return 0; /* the case with the bug says why */
	if (control) {
		snprintf(like.name, sizeof like.name, "%.100s (no bug)", x ? x->name : s->name);
	} else {
		snprintf(like.name, sizeof like.name, "%.120s", s->name);
		like.arguments = &s->arguments;
		like.bug = s->bug;
		like.has_expect = s->has_expect;
		like.deviated = &s->expect_deviated;
		like.may = &s->expect_may;
		like.vacuous = &s->expect_vacuous;
	}
	if (x)
		r = unroll(list, &like, x, err);
	else
		r = add_like(list, &like, err);
	spec_experiment_free(x);
	return r;
}

static bool has_control(const struct spec_suite *suite, size_t until, const char *experiment)
{
	size_t i;

	for (i = 0; i < until; i++)
		if (suite->cases[i].bug && !strcmp(suite->cases[i].experiment, experiment))
			return true;
	return false;
}

int engine_cases(struct engine_case **ret_cases, size_t *ret_count, const struct spec_suite *suite, const char *system,
    struct error *err)
{
	struct list list = {0};
	size_t i;

	if (!system && suite->system_problem)
		return error_set(err, ENOENT, "%s", suite->system_problem);

	for (i = 0; i < suite->case_count; i++) {
		const struct spec_case *s = &suite->cases[i];

		if (add_case(&list, suite, s, system, false, err))
			goto fail;
		if (suite->control && s->bug && !has_control(suite, i, s->experiment) &&
		    add_case(&list, suite, s, system, true, err))
			goto fail;
	}
	*ret_cases = list.cases;
	*ret_count = list.count;
	return 0;
fail:
	engine_cases_free(list.cases, list.count);
	return -1;
}

void engine_cases_free(struct engine_case *cases, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		free(cases[i].sweep_fault);
		free(cases[i].sweep_argument);
		free(cases[i].sweep_value);
	}
	free(cases);
}
