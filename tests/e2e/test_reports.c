/* SPDX-License-Identifier: Apache-2.0 */
/* A suite of every outcome as programs read it: --json, --jsonl, --junit. */
#include "e2e.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *suite(struct world *world)
{
	const char *system = "system: " SOURCES "/fixtures/systems/conductor.yaml\nworkload: {tasks: 1, tail: 0}\n";

	world_write(world, "good.yaml", "title: \"<good> & 'quoted' \\u0007\"\n%sinvariants: [no-lost-task]\n", system);
	world_write(world, "bad.yaml", "%sfalts: []\n", system);
	world_write(world, "lie.yaml",
	    "%sfaults: [{plugin: %s, arguments: {when: inject, how: lie, text: \"]]>\\x01<&\"}, proof: 100ms}]\n"
	    "invariants: [no-lost-task]\n",
	    system, world_plugin(world, "evil"));
	return world_write(world, "suite.yaml", "title: \"<all>\"\nexperiments: [good.yaml, bad.yaml, lie.yaml]\n");
}

static const char *const names[] = {"good", "bad", "lie"}, *const verdicts[] = {"held", "error", "not-injected"};

static void check_result(const json_t *result, size_t i)
{
	assert_true(json_is_object(result));
	assert_string_equal(json_string_value(json_object_get(result, "name")), names[i]);
	assert_string_equal(json_string_value(json_object_get(result, "verdict")), verdicts[i]);
}

static void test_json(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", "--json", suite(world), NULL);
	json_t *document = json_loads(ran->text[0], 0, NULL), *results;
	size_t i;

	ran_status(ran, 2);
	assert_non_null(document);
	results = json_object_get(document, "results");
	assert_int_equal(json_array_size(results), 3);
	for (i = 0; i < 3; i++)
		check_result(json_array_get(results, i), i);
	json_decref(document);
}

static void test_jsonl(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", "--jsonl", "-q", suite(world), NULL);
	char *line, *save = NULL;
	size_t i = 0;

	ran_status(ran, 2);
	assert_string_equal(ran->text[1], ""); /* -q: not a word */
	for (line = strtok_r(ran->text[0], "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		json_t *result = json_loads(line, 0, NULL);

		assert_in_range(i, 0, 2);
		check_result(result, i++);
		json_decref(result);
	}
	assert_int_equal(i, 3);
}

/* A plan is read by programs, too: nothing but JSON, of the same shape. */
static void test_a_plan(void **state)
{
	struct world *world = *state;
	const char *file = suite(world);
	struct ran *ran = tritone(world, "test", "--json", "--dry-run", file, NULL);
	json_t *document = json_loads(ran->text[0], 0, NULL), *first;
	char *line, *save = NULL;
	size_t lines = 0;

	ran_status(ran, 2);
	assert_non_null(document);
	assert_int_equal(json_array_size(json_object_get(document, "results")), 3);
	first = json_array_get(json_object_get(document, "results"), 0);
	assert_string_equal(json_string_value(json_object_get(first, "verdict")), "planned");
	assert_non_null(strstr(json_string_value(json_object_get(first, "plan")), "1 + 0 tasks on conductor"));
	assert_non_null(strstr(json_string_value(json_object_get(first, "plan")), " s, no faults"));
	first = json_array_get(json_object_get(document, "results"), 1);
	assert_string_equal(json_string_value(json_object_get(first, "verdict")), "error");
	assert_null(json_object_get(first, "plan"));
	json_decref(document);
	ran = tritone(world, "test", "--jsonl", "--dry-run", file, NULL);
	ran_status(ran, 2);
	for (line = strtok_r(ran->text[0], "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++) {
		json_t *result = json_loads(line, 0, NULL);

		assert_string_equal(json_string_value(json_object_get(result, "name")), names[lines]);
		json_decref(result);
	}
	assert_int_equal(lines, 3);
	assert_int_equal(world_runs(world), 0);
}

/* What a system commits before it is given anything, the root of its repository for one, is none of its work. */
static void test_the_root_is_not_counted(void **state)
{
	struct world *world = *state;
	struct ran *ran;

	world_manifest(world, "rooted.yaml", "command:\n",
	    "command:\n"
	    "      - sh\n"
	    "      - -ec\n"
	    "      - git -C repo update-ref refs/heads/main $$(git -C repo -c user.name=x -c user.email=x@x "
	    "commit-tree\n"
	    "        -m root $$(git -C repo mktree </dev/null)); exec \"$$0\" \"$$@\"\n");
	ran = tritone(world, "test",
	    world_write(
		world, "x.yaml", "system: rooted.yaml\nworkload: {tasks: 2, tail: 0}\ninvariants: [no-lost-task]\n"),
	    NULL);
	ran_status(ran, 0);
	ran_has(ran, "2 tasks, 2 commits, 0 duplicates");
}

/* Once: every invariant. Twice: what happened, too. */
static void test_verbose(void **state)
{
	struct world *world = *state;
	const char *file = suite(world);
	struct ran *once = tritone(world, "test", "-v", "--only", "good", file, NULL);
	struct ran *twice = tritone(world, "test", "-vv", "--only", "good", file, NULL);

	ran_status(once, 0);
	ran_status(twice, 0);
	ran_has(once, "no-lost-task");
	assert_false(ran_said(once, "stage ok  gate\n"));
	ran_has(twice, "no-lost-task");
	ran_has(twice, "s  stage ok  gate\n");
	ran_has(twice, "s  commit ok  t000-plan");
}

/* ---- XML: enough of it to know that a parser would take it ---- */

static const char *entity(const char *p)
{
	static const char *const known[] = {"&lt;", "&gt;", "&amp;", "&quot;", "&apos;"};
	char *end;
	size_t i;

	for (i = 0; i < sizeof known / sizeof *known; i++)
		if (!strncmp(p, known[i], strlen(known[i])))
			return p + strlen(known[i]);
	if (!strncmp(p, "&#", 2) && strtoul(p + 2, &end, 10) >= 9 && *end == ';')
		return end + 1;
	return NULL;
}

/* Text up to one of `stop`; NULL when it holds what no XML may hold. */
static const char *text(const char *p, const char *stop)
{
	while (p && *p && !strchr(stop, *p)) {
		if (*p == '&')
			p = entity(p);
		else if (*p == '<' || ((unsigned char)*p < 0x20 && !strchr("\t\r\n", *p)) || !strncmp(p, "]]>", 3))
			return NULL;
		else
			p++;
	}
	return p;
}

static const char *name_end(const char *p)
{
	while (isalnum((unsigned char)*p) || strchr("-_:.", *p))
		p += *p != '\0';
	return p;
}

/* Behind the tag's '>', NULL when it is none; *ret_empty: it ended with "/>". */
static const char *attributes(const char *p, bool *ret_empty)
{
	for (;;) {
		const char *space = p;

		p += strspn(p, " \t\r\n");
		*ret_empty = *p == '/';
		if (*p == '/')
			p++;
		if (*p == '>')
			return p + 1;
		if (*ret_empty || p == space || name_end(p) == p)
			return NULL;
		p = name_end(p);
		if (p[0] != '=' || p[1] != '"' || !(p = text(p + 2, "\"")) || *p++ != '"')
			return NULL;
	}
}

/* Where it goes wrong, NULL: nowhere. Counts the elements named `what`. */
static const char *malformed(const char *p, const char *what, size_t *ret_count)
{
	char open[16][64];
	size_t depth = 0, roots = 0;

	*ret_count = 0;
	if (!strncmp(p, "<?xml ", 6))
		p = strstr(p, "?>") + 2;
	while (*p) {
		const char *at = p, *end;
		bool empty;

		if (*p != '<') {
			if (!(p = text(p, "<")) || (!depth && strspn(at, " \n") != (size_t)(p - at)))
				return at;
			continue;
		}
		end = name_end(p + (p[1] == '/' ? 2 : 1));
		if (p[1] == '/') {
			if (!depth-- || strlen(open[depth]) != (size_t)(end - p - 2) ||
			    strncmp(open[depth], p + 2, (size_t)(end - p - 2)) != 0 || *end != '>')
				return at;
			p = end + 1;
			continue;
		}
		if (end == p + 1 || end - p > 63 || depth == 16 || (!depth && roots++))
			return at;
		snprintf(open[depth], sizeof open[0], "%.*s", (int)(end - p - 1), p + 1);
		*ret_count += !strcmp(open[depth], what);
		if (!(p = attributes(end, &empty)))
			return at;
		depth += !empty;
	}
	return depth || !roots ? p : NULL;
}

static void test_the_xml_checker_itself(void **state)
{
	static const char *const bad[] = {"", "<a>", "<a></b>", "<a b=c/>", "<a b=\"<\"/>", "<a>&</a>", "<a>\x01</a>",
	    "<a/><b/>", "x<a/>", "<a b=\"1\"c=\"2\"/>", "<a>]]></a>"};
	size_t count, i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!malformed(bad[i], "a", &count))
			fail_msg("taken for well-formed: %s", bad[i]);
	assert_null(malformed("<?xml version=\"1.0\"?>\n<a b=\"&lt;\"><b/>x &#10;<b></b></a>\n", "b", &count));
	assert_int_equal(count, 2);
}

static void test_junit(void **state)
{
	struct world *world = *state;
	const char *path = world_path(world, "junit.xml"), *where;
	struct ran *ran = tritone(world, "test", "--junit", path, suite(world), NULL);
	static char xml[1 << 18];
	size_t count;
	FILE *file;

	ran_status(ran, 2);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_true(fread(xml, 1, sizeof xml - 1, file) > 0);
	fclose(file);
	where = malformed(xml, "testcase", &count);
	if (where)
		fail_msg("not well-formed here: %.200s", where);
	assert_int_equal(count, 3);
	assert_non_null(strstr(xml, "failures=\""));

	ran = tritone(world, "test", "--junit", "/nowhere/x.xml", world_path(world, "good.yaml"), NULL);
	ran_status(ran, 2);
	ran_has(ran, "/nowhere/x.xml");
}

static void test_output_that_cannot_be_written(void **state)
{
	static const char *const formats[] = {"--json", "--jsonl", "-v"};
	struct world *world = *state;
	char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, NULL, NULL};
	size_t i;

	suite(world);
	for (i = 0; i < 3; i++) {
		struct ran *ran;

		assert_true(
		    asprintf(&argv[2], "exec %s/tritone test %s good.yaml >/dev/full", world->build, formats[i]) > 0);
		ran = program_start(world, argv);
		ran_status(ran, 2);
		ran_has(ran, i ? "standard output" : "could not be written");
	}
}

static void test_full_output_of_the_simulation(void **state)
{
	static const char *const verbs[] = {"simulate --seeds 1..5", "replay --seed 1", "--help"};
	struct world *world = *state;
	char *argv[] = {(char[]){"/bin/sh"}, (char[]){"-c"}, NULL, NULL};

	for (size_t i = 0; i < 3; i++) {
		struct ran *ran;

		assert_true(asprintf(&argv[2], "exec %s/tritone %s >/dev/full", world->build, verbs[i]) > 0);
		ran = program_start(world, argv);
		ran_status(ran, 2);
		ran_has(ran, "standard output cannot be written");
		free(argv[2]);
	}
}

/* The same seed twice: what was decided by chance is the same. */
static void test_seed(void **state)
{
	struct world *world = *state;
	const char *file = suite(world);
	struct ran *ran;

	ran = tritone(world, "test", "--seed", "4711", "--only", "good", file, NULL);
	ran_status(ran, 0);
	ran_has(ran, "seed 4711\n");
	ran_status(tritone(world, "test", "--only", "nonesuch", file, NULL), 2);
	ran = tritone(world, "test", "--dry-run", "--only", "good", file, NULL);
	ran_status(ran, 0);
	ran_has(ran, "nothing was touched");
	assert_int_equal(world_runs(world), 0);
}

static void test_only_given_twice(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", "--jsonl", "-q", "--only", "goo", "--only", "lie", suite(world), NULL);
	const char *second = strchr(ran->text[0], '\n');

	ran_status(ran, 4);
	assert_non_null(strstr(ran->text[0], "\"good\""));
	assert_non_null(second);
	assert_non_null(strstr(second, "\"lie\""));
	assert_null(strstr(ran->text[0], "\"bad\""));
}

int main(void)
{
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, world_create, world_destroy)
	const struct CMUnitTest tests[] = {
	    TEST(test_json),
	    TEST(test_jsonl),
	    TEST(test_a_plan),
	    TEST(test_the_root_is_not_counted),
	    TEST(test_verbose),
	    cmocka_unit_test(test_the_xml_checker_itself),
	    TEST(test_junit),
	    TEST(test_output_that_cannot_be_written),
	    TEST(test_full_output_of_the_simulation),
	    TEST(test_seed),
	    TEST(test_only_given_twice),
	};

	return cmocka_run_group_tests_name("reports", tests, NULL, NULL);
}
