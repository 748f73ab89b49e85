/* SPDX-License-Identifier: Apache-2.0 */
/* docs/plugin-guide.md: its compiler line builds the example, and the example keeps its word, with a service table made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tritone/fault.h"

struct world {
	char dir[64], module[128];
	void *handle;
	const struct tritone_fault *fault;
	/* the gateway that the plugin sees */
	char key[64], target[64];
	int64_t delay_ms, lifetime_ms;
	uint64_t hits;
	unsigned cleared;
};

static int gateway_rule(void *host, const struct tritone_gateway_rule *rule, struct tritone_error *error)
{
	struct world *world = host;

	(void)error;
	assert_int_equal(rule->action, TRITONE_GATEWAY_DELAY);
	snprintf(world->key, sizeof world->key, "%s", rule->key);
	snprintf(world->target, sizeof world->target, "%s", rule->target);
	world->delay_ms = rule->delay_ms;
	world->lifetime_ms = rule->lifetime_ms;
	return 0;
}

static int rule_hits(void *host, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct tritone_error *error)
{
	struct world *world = host;

	(void)error;
	assert_string_equal(key, world->key);
	*ret_hits = world->hits;
	*ret_seen = 3;
	return 0;
}

static int rule_clear(void *host, const char *key, struct tritone_error *error)
{
	struct world *world = host;

	(void)error;
	assert_string_equal(key, "slow-model-1");
	world->key[0] = '\0';
	world->cleared++;
	return 0;
}

static const struct tritone_services services = {
    .struct_size = sizeof services, .gateway_rule = gateway_rule, .rule_hits = rule_hits, .rule_clear = rule_clear};

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	tritone_fault_fn entry;
	char command[1024];

	assert_non_null(world);
	strcpy(world->dir, "/tmp/test-plugin-XXXXXX");
	assert_non_null(mkdtemp(world->dir));
	snprintf(world->module, sizeof world->module, "%s/slow-model.so", world->dir);
	snprintf(command, sizeof command,
	    "${CC:-cc} -shared -fPIC -fvisibility=hidden -Wall -Wextra -Werror -Wl,-z,defs -I '%s/include' -o %s "
	    "'%s/docs/examples/plugin/slow-model.c'",
	    SOURCES, world->module, SOURCES);
	assert_int_equal(system(command), 0);
	world->handle = dlopen(world->module, RTLD_NOW | RTLD_LOCAL);
	assert_non_null(world->handle);
	*(void **)&entry = dlsym(world->handle, TRITONE_FAULT_SYMBOL);
	assert_non_null(entry);
	world->fault = entry();
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	dlclose(world->handle);
	unlink(world->module);
	rmdir(world->dir);
	free(world);
	return 0;
}

static void test_descriptor(void **state)
{
	const struct world *world = *state;
	const struct tritone_fault *fault = world->fault;

	assert_int_equal(fault->magic, TRITONE_FAULT_MAGIC);
	assert_int_equal(fault->abi, TRITONE_FAULT_ABI);
	assert_string_equal(fault->name, "slow-model");
	assert_int_equal(fault->param_count, 2);
	assert_int_equal(fault->capabilities, TRITONE_CAP_GATEWAY);
}

static void test_life(void **state)
{
	struct world *world = *state;
	struct tritone_value values[] = {{.string = "claude"}, {.integer = 800}};
	struct tritone_call call = {.struct_size = sizeof call,
	    .value_count = 2,
	    .services = &services,
	    .host = world,
	    .values = values,
	    .fault_id = "slow-model-1",
	    .state_dir = "/tmp",
	    .keep_dir = "/tmp",
	    .duration_ms = 2000};
	struct tritone_undo undo = {0};
	struct tritone_proof proof = {.struct_size = sizeof proof};
	struct tritone_error error = {0};

	assert_int_equal(world->fault->plan(&call, &undo, &error), 0);
	assert_true(undo.size > 0 && undo.size <= TRITONE_UNDO_SIZE_MAX);
	assert_string_equal(world->key, ""); /* no effects yet */
	assert_int_equal(world->fault->revert(&call, &undo, &error), 0);
	assert_int_equal(world->fault->inject(&call, &undo, &error), 0);
	assert_string_equal(world->key, "slow-model-1");
	assert_string_equal(world->target, "claude");
	assert_int_equal(world->delay_ms, 800);
	assert_int_equal(world->lifetime_ms, 2000);
	assert_int_equal(world->fault->verify(&call, &undo, &proof, &error), 0);
	assert_int_equal(proof.felt, TRITONE_UNEXERCISED);
	world->hits = 2;
	assert_int_equal(world->fault->verify(&call, &undo, &proof, &error), 0);
	assert_int_equal(proof.felt, TRITONE_FELT);
	assert_string_equal(proof.text, "2 of 3 answers were late by 800 ms");
	assert_int_equal(world->fault->revert(&call, &undo, &error), 0);
	assert_int_equal(world->fault->revert(&call, &undo, &error), 0);
	assert_string_equal(world->key, "");
	assert_int_equal(world->cleared, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_descriptor, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_life, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
