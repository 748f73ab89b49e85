/* SPDX-License-Identifier: Apache-2.0 */
/* The backend, and the socket before it; see service_room.h. */
#include "service_room.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void remember(struct world *world, const char *key)
{
	size_t i, free_at = RULES_MAX;

	for (i = 0; i < RULES_MAX; i++) {
		if (!strcmp(world->keys[i], key))
			return;
		if (!*world->keys[i])
			free_at = i;
	}
	snprintf(world->keys[free_at], sizeof world->keys[0], "%s", key);
}

static int fake_gateway_rule(void *arg, const struct tritone_gateway_rule *rule, struct error *err)
{
	struct world *world = arg;

	if (!strcmp(rule->target, "nobody"))
		return error_set(err, ENOENT, "no provider 'nobody'");
	pthread_mutex_lock(&world->lock);
	world->gateway = *rule;
	snprintf(world->target, sizeof world->target, "%s", rule->target);
	remember(world, rule->key);
	pthread_mutex_unlock(&world->lock);
	return 0;
}

static int fake_errno_rule(void *arg, const struct tritone_errno_rule *rule, struct error *err)
{
	struct world *world = arg;

	(void)err;
	pthread_mutex_lock(&world->lock);
	world->error = *rule;
	snprintf(world->path, sizeof world->path, "%s", rule->path);
	remember(world, rule->key);
	pthread_mutex_unlock(&world->lock);
	return 0;
}

static int fake_faultpoint(void *arg, const struct tritone_point_rule *rule, struct error *err)
{
	struct world *world = arg;

	(void)err;
	pthread_mutex_lock(&world->lock);
	world->point = *rule;
	snprintf(world->name, sizeof world->name, "%s", rule->name);
	remember(world, rule->key);
	pthread_mutex_unlock(&world->lock);
	return 0;
}

bool has(struct world *world, const char *key)
{
	bool found = false;
	size_t i;

	pthread_mutex_lock(&world->lock);
	for (i = 0; i < RULES_MAX; i++)
		found |= !strcmp(world->keys[i], key);
	pthread_mutex_unlock(&world->lock);
	return found;
}

static int fake_hits(void *arg, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	if (!has(arg, key))
		return error_set(err, ENOENT, "no rule '%s'", key);
	*ret_hits = 3;
	*ret_seen = UINT64_MAX;
	return 0;
}

static int fake_clear(void *arg, const char *key, struct error *err)
{
	struct world *world = arg;
	size_t i;

	(void)err;
	pthread_mutex_lock(&world->lock);
	for (i = 0; i < RULES_MAX; i++)
		if (!strcmp(world->keys[i], key))
			*world->keys[i] = '\0';
	pthread_cond_broadcast(&world->changed);
	pthread_mutex_unlock(&world->lock);
	return 0;
}

static int fake_targets(void *arg, uint32_t kind, tritone_target_fn visit, void *visit_arg, struct error *err)
{
	struct tritone_target target = {.struct_size = sizeof target,
	    .kind = kind,
	    .flags = TRITONE_TARGET_OF_EVENT,
	    .pid = 4711,
	    .start_time = UINT64_MAX,
	    .task = "t-1",
	    .worktree = "/w"};
	char id[32];
	int i;

	(void)arg;
	(void)err;
	for (i = 0; i < (kind == TRITONE_TARGET_SINK ? 100000 : 3); i++) {
		snprintf(id, sizeof id, "a-%d", i);
		target.id = id;
		if (visit(visit_arg, &target))
			break;
	}
	return 0;
}

void wait_gone(struct world *world, const char *key)
{
	size_t i;

	pthread_mutex_lock(&world->lock);
	for (i = 0; i < RULES_MAX; i++)
		while (!strcmp(world->keys[i], key))
			pthread_cond_wait(&world->changed, &world->lock);
	pthread_mutex_unlock(&world->lock);
}

static struct world *world_new(void)
{
	struct world *world = calloc(1, sizeof *world);

	assert_non_null(world);
	pthread_mutex_init(&world->lock, NULL);
	pthread_cond_init(&world->changed, NULL);
	strcpy(world->dir, "/tmp/tritone-service-XXXXXX");
	assert_non_null(mkdtemp(world->dir));
	snprintf(world->socket, sizeof world->socket, "%s/control.sock", world->dir);
	world->backend = (struct service_backend){.arg = world,
	    .targets = fake_targets,
	    .gateway_rule = fake_gateway_rule,
	    .errno_rule = fake_errno_rule,
	    .faultpoint = fake_faultpoint,
	    .rule_hits = fake_hits,
	    .rule_clear = fake_clear,
	    .state_dir = "/some/state"};
	return world;
}

void serve(struct world *world)
{
	struct error err = {0};

	if (service_serve(&world->server, world->socket, &world->backend, &err) < 0)
		fail_msg("%s", err.text);
}

int setup(void **state)
{
	struct world *world = world_new();

	serve(world);
	*state = world;
	return 0;
}

int teardown(void **state)
{
	struct world *world = *state;

	service_stop(world->server);
	rmdir(world->dir);
	pthread_cond_destroy(&world->changed);
	pthread_mutex_destroy(&world->lock);
	free(world);
	return 0;
}

int setup_unserved(void **state)
{
	*state = world_new();
	return 0;
}

struct service_client *join(struct world *world)
{
	struct service_client *client = NULL;
	struct error err = {0};

	if (service_connect(&client, world->socket, &err) < 0)
		fail_msg("%s", err.text);
	return client;
}

struct tritone_gateway_rule rule_of(const char *key)
{
	return (struct tritone_gateway_rule){.struct_size = sizeof(struct tritone_gateway_rule),
	    .action = TRITONE_GATEWAY_ANSWER,
	    .key = key,
	    .target = "claude",
	    .status = 429,
	    .retry_after_ms = 250,
	    .delay_ms = 1,
	    .first = 2,
	    .count = 3,
	    .probability = 0.25,
	    .lifetime_ms = 4};
}
