/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's controls: rules, barriers and targets, from any thread. See gateway.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gateway/internal.h"

static bool known(char *const *names, const char *name)
{
	size_t i;

	for (i = 0; names[i]; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

static int check_target(const struct gateway *gateway, const char *target, struct error *err)
{
	char names[192] = "";
	size_t used = 0, i;

	if (!target)
		return error_set(err, EINVAL, "no target is given: expected a provider, a sink or *");
	if (!strcmp(target, "*") || known(gateway->providers, target) || known(gateway->sinks, target))
		return 0;
	for (i = 0; gateway->providers[i] && used < sizeof names; i++)
		used += (size_t)snprintf(names + used, sizeof names - used, " %s", gateway->providers[i]);
	for (i = 0; gateway->sinks[i] && used < sizeof names; i++)
		used += (size_t)snprintf(names + used, sizeof names - used, " %s", gateway->sinks[i]);
	return error_set(
	    err, ENOENT, "the gateway has no provider or sink '%.63s'; it has:%s", target, *names ? names : " none");
}

int gateway_rule_set(struct gateway *gateway, const struct tritone_gateway_rule *rule, struct error *err)
{
	uint64_t replaced = 0;
	int r;

	if (check_target(gateway, rule->target, err) < 0)
		return -1;
	if (gateway_rules_for_models(rule->action) && known(gateway->sinks, rule->target))
		return error_set(
		    err, EINVAL, "the action 0x%x is for models, and %s is a sink", rule->action, rule->target);
	pthread_mutex_lock(&gateway->lock);
	r = gateway_rules_set(gateway->rules, rule, ++gateway->tags, park_now_us(), &replaced, err);
	park_end(gateway->park, replaced);
	pthread_mutex_unlock(&gateway->lock);
	return r;
}

int gateway_rule_hits(
    struct gateway *gateway, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	int r;

	pthread_mutex_lock(&gateway->lock);
	r = gateway_rules_hits(gateway->rules, key, park_now_us(), ret_hits, ret_seen, err);
	pthread_mutex_unlock(&gateway->lock);
	return r;
}

void gateway_rule_clear(struct gateway *gateway, const char *key)
{
	pthread_mutex_lock(&gateway->lock);
	park_end(gateway->park, gateway_rules_clear(gateway->rules, key));
	pthread_mutex_unlock(&gateway->lock);
}

int gateway_hold(struct gateway *gateway, const char *target, uint64_t nth, uint64_t *ret_id, struct error *err)
{
	uint64_t id;
	int r;

	if (check_target(gateway, target, err) < 0)
		return -1;
	pthread_mutex_lock(&gateway->lock);
	id = ++gateway->tags;
	r = holds_add(gateway->holds, target, nth, id, err);
	pthread_mutex_unlock(&gateway->lock);
	if (r == 0)
		*ret_id = id;
	return r;
}

void gateway_release(struct gateway *gateway, uint64_t id)
{
	pthread_mutex_lock(&gateway->lock);
	holds_remove(gateway->holds, id);
	park_end(gateway->park, id);
	pthread_mutex_unlock(&gateway->lock);
}

static void visit_names(char *const *names, uint32_t kind, tritone_target_fn visit, void *arg)
{
	size_t i;

	for (i = 0; names[i]; i++) {
		struct tritone_target target = {
		    .struct_size = sizeof target, .kind = kind, .id = names[i], .task = "", .worktree = ""};

		if (visit(arg, &target))
			return;
	}
}

int gateway_targets(struct gateway *gateway, uint32_t kind, tritone_target_fn visit, void *arg)
{
	if (kind == TRITONE_TARGET_PROVIDER)
		visit_names(gateway->providers, kind, visit, arg);
	else if (kind == TRITONE_TARGET_SINK)
		visit_names(gateway->sinks, kind, visit, arg);
	return 0;
}
