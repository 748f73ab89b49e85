/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request of the services' protocol, answered from the backend. Knows no sockets.
 *
 * A request is a map {"id": n, "op": NAME, ...}; a reply {"id": n, "ok": true, ...} or
 * {"id": n, "ok": false, "code": errno, "text": ...}.
 *
 *   hello                                           -> version, state_dir, no_gateway, no_errno, no_faultpoint
 *                                                      (why there is none; empty: there is)
 *   targets       kind                              -> targets: [{kind, flags, pid, start_time, id, task, worktree}]
 *   gateway_rule  the members of struct tritone_gateway_rule
 *   errno_rule    the members of struct tritone_errno_rule
 *   faultpoint    the members of struct tritone_point_rule
 *   rule_hits     key                               -> hits, seen
 *   rule_clear    key
 */
#ifndef TRITONE_SERVICE_DISPATCH_H
#define TRITONE_SERVICE_DISPATCH_H

#include <msgpack.h>
#include <stdbool.h>

#include "service/service.h"

#define SERVICE_VERSION     1u
#define SERVICE_KEY_SIZE    64 /* bytes, with the final NUL */
#define SERVICE_TARGET_SIZE 64
#define SERVICE_POINT_SIZE  56

/* What a request would set or has cleared, for the connection's account. */
enum dispatch_effect {
	DISPATCH_NONE = 1,
	DISPATCH_SET,
	DISPATCH_CLEARED,
};

/* The effect that this request would have, and the rule's key. */
enum dispatch_effect dispatch_foresee(const msgpack_object *request, char key[SERVICE_KEY_SIZE]);
/* Appends the reply. Returns true when the request was carried out, false when it was refused. */
bool dispatch(const struct service_backend *backend, const msgpack_object *request, msgpack_sbuffer *reply);
/* A reply that refuses the request for a reason of the server's own. */
void dispatch_refuse(const msgpack_object *request, msgpack_sbuffer *reply, const struct error *why);

#endif
