/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The services of fault.h, across processes: a server on a Unix socket, backed by whatever parts of
 * a system are at hand, and the client that fills a struct tritone_services in the fault runner.
 * `tritone test`, `up` and `gateway` serve one at RUN/control.sock; runners, and `tritone inject`
 * from another terminal, are its clients. One protocol for all: wire/frame.h.
 *
 * A rule belongs to the connection that set it and ends with it: whoever dies takes its rules
 * along.
 */
#ifndef TRITONE_SERVICE_H
#define TRITONE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "tritone/fault.h"
#include "wal/error.h"

/* What the server can offer. A NULL member answers ENOTSUP with "this system has no ...: WHY"
 * (missing_* says why; may be NULL). */
struct service_backend {
	void *arg; /* first argument of each */
	int (*targets)(void *arg, uint32_t kind, tritone_target_fn visit, void *visit_arg, struct error *err);
	int (*gateway_rule)(void *arg, const struct tritone_gateway_rule *rule, struct error *err);
	int (*errno_rule)(void *arg, const struct tritone_errno_rule *rule, struct error *err);
	int (*faultpoint)(void *arg, const struct tritone_point_rule *rule, struct error *err);
	int (*rule_hits)(void *arg, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err);
	int (*rule_clear)(void *arg, const char *key, struct error *err);
	const char *missing_gateway, *missing_errno, *missing_faultpoint;
	const char *state_dir; /* the system's directory: what `tritone inject` confines a fault to */
};

struct service_server;

/* Listens at `path` (mode 0600; a stale socket is replaced, a live one is EADDRINUSE) on a thread
 * of its own. */
int service_serve(
    struct service_server **ret_server, const char *path, const struct service_backend *backend, struct error *err);
void service_stop(
    struct service_server *server); /* closes all connections, clears their rules, unlinks; NULL is fine */

struct service_client;

int service_connect(struct service_client **ret_client, const char *path, struct error *err);
void service_close(struct service_client *client);
/* Whether the server has gone, or closed the connection. Asks nobody; not while a call is under way. */
bool service_ended(struct service_client *client);
/* Why the server has nothing for this capability (TRITONE_CAP_GATEWAY, _ERRNO or _FAULTPOINT); NULL: it has, or did not say. */
const char *service_missing(const struct service_client *client, uint32_t capability);
/* The server's state_dir. */
const char *service_state_dir(const struct service_client *client);

/* These mirror services: what a runner puts behind struct tritone_services. */
int service_targets(
    struct service_client *client, uint32_t kind, tritone_target_fn visit, void *arg, struct error *err);
int service_gateway_rule(struct service_client *client, const struct tritone_gateway_rule *rule, struct error *err);
int service_errno_rule(struct service_client *client, const struct tritone_errno_rule *rule, struct error *err);
int service_faultpoint(struct service_client *client, const struct tritone_point_rule *rule, struct error *err);
int service_rule_hits(
    struct service_client *client, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err);
int service_rule_clear(struct service_client *client, const char *key, struct error *err);

#endif
