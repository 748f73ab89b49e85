/* SPDX-License-Identifier: Apache-2.0 */
/* The services of a run, for its fault runners: gateway rules from the gateway, all else from the system. */
#include "engine/run.h"

static int targets(void *arg, uint32_t kind, tritone_target_fn visit, void *visit_arg, struct error *err)
{
	return system_targets(((struct run *)arg)->system, kind, visit, visit_arg, err);
}

static int gateway_rule(void *arg, const struct tritone_gateway_rule *rule, struct error *err)
{
	return gateway_rule_set(((struct run *)arg)->gateway, rule, err);
}

static int errno_rule(void *arg, const struct tritone_errno_rule *rule, struct error *err)
{
	return system_errno_rule(((struct run *)arg)->system, rule, err);
}

static int faultpoint(void *arg, const struct tritone_point_rule *rule, struct error *err)
{
	return system_faultpoint(((struct run *)arg)->system, rule, err);
}

static int rule_hits(void *arg, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	struct run *run = arg;

	if (gateway_rule_hits(run->gateway, key, ret_hits, ret_seen, err) == 0)
		return 0;
	return system_rule_hits(run->system, key, ret_hits, ret_seen, err);
}

static int rule_clear(void *arg, const char *key, struct error *err)
{
	struct run *run = arg;

	gateway_rule_clear(run->gateway, key);
	return system_rule_clear(run->system, key, err);
}

int services_start(struct run *run, struct error *err)
{
	const struct service_backend backend = {
	    .arg = run,
	    .targets = targets,
	    .gateway_rule = gateway_rule,
	    .errno_rule = run->syscall_filter ? errno_rule : NULL,
	    .faultpoint = run->manifest->faultpoints.count ? faultpoint : NULL,
	    .rule_hits = rule_hits,
	    .rule_clear = rule_clear,
	    .missing_errno = "`tritone up --syscall-filter` starts it with one",
	    .missing_faultpoint = "its manifest declares none",
	    .state_dir = run->state_dir,
	};

	return service_serve(&run->services, run->socket, &backend, err);
}
