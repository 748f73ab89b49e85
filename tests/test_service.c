/* SPDX-License-Identifier: Apache-2.0 */
/* The services' socket: every call through it, what is refused, and where it can be. */
#include "service_room.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int count_target(void *arg, const struct tritone_target *target)
{
	int *count = arg;
	char id[32];

	snprintf(id, sizeof id, "a-%d", *count);
	assert_string_equal(target->id, id);
	assert_int_equal(target->kind, TRITONE_TARGET_AGENT);
	assert_int_equal(target->flags, TRITONE_TARGET_OF_EVENT);
	assert_int_equal(target->pid, 4711);
	assert_true(target->start_time == UINT64_MAX);
	assert_string_equal(target->task, "t-1");
	assert_string_equal(target->worktree, "/w");
	return ++*count == 2;
}

static void test_each_call(void **state)
{
	struct world *world = *state;
	struct service_client *client = join(world);
	struct tritone_gateway_rule gateway = rule_of("g");
	struct tritone_errno_rule error = {.struct_size = sizeof error,
	    .mode = TRITONE_ERRNO_PERFORM_THEN_FAIL,
	    .key = "e",
	    .path = "/state",
	    .calls = TRITONE_CALL_WRITE | TRITONE_CALL_SYNC,
	    .error = ENOSPC,
	    .delay_ms = 1,
	    .first = 2,
	    .every = 3,
	    .count = UINT64_MAX,
	    .probability = 0.5,
	    .lifetime_ms = 5};
	struct tritone_point_rule point = {.struct_size = sizeof point,
	    .action = TRITONE_POINT_KILL,
	    .key = "p",
	    .name = "claim.after",
	    .error = 6,
	    .nth = 7,
	    .count = 8};
	uint64_t hits = 0, seen = 0;
	struct stat st;
	int count = 0;

	assert_string_equal(service_state_dir(client), "/some/state");
	assert_int_equal(stat(world->socket, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);

	assert_int_equal(service_gateway_rule(client, &gateway, NULL), 0);
	assert_int_equal(world->gateway.action, TRITONE_GATEWAY_ANSWER);
	assert_int_equal(world->gateway.status, 429);
	assert_int_equal(world->gateway.retry_after_ms, 250);
	assert_int_equal(world->gateway.delay_ms, 1);
	assert_int_equal(world->gateway.first, 2);
	assert_int_equal(world->gateway.count, 3);
	assert_true(world->gateway.probability == 0.25);
	assert_int_equal(world->gateway.lifetime_ms, 4);
	assert_string_equal(world->target, "claude");
	gateway.retry_after_ms = -1;
	assert_int_equal(service_gateway_rule(client, &gateway, NULL), 0);
	assert_int_equal(world->gateway.retry_after_ms, -1);

	assert_int_equal(service_errno_rule(client, &error, NULL), 0);
	assert_int_equal(world->error.mode, TRITONE_ERRNO_PERFORM_THEN_FAIL);
	assert_int_equal(world->error.calls, TRITONE_CALL_WRITE | TRITONE_CALL_SYNC);
	assert_int_equal(world->error.error, ENOSPC);
	assert_int_equal(world->error.delay_ms, 1);
	assert_int_equal(world->error.first, 2);
	assert_int_equal(world->error.every, 3);
	assert_true(world->error.count == UINT64_MAX);
	assert_true(world->error.probability == 0.5);
	assert_int_equal(world->error.lifetime_ms, 5);
	assert_string_equal(world->path, "/state");

	assert_int_equal(service_faultpoint(client, &point, NULL), 0);
	assert_int_equal(world->point.action, TRITONE_POINT_KILL);
	assert_int_equal(world->point.error, 6);
	assert_int_equal(world->point.nth, 7);
	assert_int_equal(world->point.count, 8);
	assert_string_equal(world->name, "claim.after");

	assert_int_equal(service_rule_hits(client, "p", &hits, &seen, NULL), 0);
	assert_int_equal(hits, 3);
	assert_true(seen == UINT64_MAX);
	assert_int_equal(service_rule_hits(client, "p", NULL, NULL, NULL), 0);
	assert_int_equal(service_rule_clear(client, "p", NULL), 0);
	assert_false(has(world, "p"));
	assert_int_equal(service_targets(client, TRITONE_TARGET_AGENT, count_target, &count, NULL), 0);
	assert_int_equal(count, 2); /* stopped there by the visitor */
	service_close(client);
}

static void test_refusals(void **state)
{
	struct world *world = *state;
	struct service_client *client = join(world);
	struct tritone_gateway_rule rule = rule_of("g");
	struct error err = {0};
	int count = 0;

	rule.target = "nobody";
	assert_int_equal(service_gateway_rule(client, &rule, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err.text, "no provider 'nobody'");
	rule.key = NULL;
	assert_int_equal(service_gateway_rule(client, &rule, &err), -1);
	assert_int_equal(err.code, EINVAL);
	assert_int_equal(service_rule_hits(client, "gone", NULL, NULL, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(service_targets(client, TRITONE_TARGET_SINK, count_target, &count, &err), -1);
	assert_int_equal(err.code, EMSGSIZE);
	assert_int_equal(service_rule_clear(client, "gone", &err), 0); /* and it still serves */
	service_close(client);
}

static void test_missing_parts(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule gateway = rule_of("g");
	struct tritone_errno_rule error = {.struct_size = sizeof error, .key = "e", .path = "/x"};
	struct tritone_point_rule point = {.struct_size = sizeof point, .key = "p", .name = "x"};
	struct service_client *client;
	struct error err = {0};

	world->backend.gateway_rule = NULL;
	world->backend.missing_gateway = "it was started without one";
	world->backend.errno_rule = NULL;
	world->backend.faultpoint = NULL;
	serve(world);
	client = join(world);
	assert_int_equal(service_gateway_rule(client, &gateway, &err), -1);
	assert_int_equal(err.code, ENOTSUP);
	assert_string_equal(err.text, "this system has no gateway: it was started without one");
	assert_int_equal(service_errno_rule(client, &error, &err), -1);
	assert_string_equal(err.text, "this system has no system-call filter");
	assert_int_equal(service_faultpoint(client, &point, &err), -1);
	assert_string_equal(err.text, "this system has no fault points");
	service_close(client);
}

/* ---- the path ---- */

static void test_paths(void **state)
{
	struct world *world = *state;
	struct service_server *second = NULL;
	struct service_client *client = NULL;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct error err = {0};
	char path[512], deep[400];
	size_t used;
	int fd;

	assert_int_equal(service_serve(&second, world->socket, &world->backend, &err), -1);
	assert_int_equal(err.code, EADDRINUSE);

	/* stale: bound, and nobody listens any more */
	snprintf(path, sizeof path, "%s/stale", world->dir);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(un.sun_path, sizeof un.sun_path, "%s/stale", world->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
	close(fd);
	assert_int_equal(service_connect(&client, path, &err), -1);
	assert_int_equal(err.code, ECONNREFUSED);
	assert_int_equal(service_serve(&second, path, &world->backend, &err), 0);
	service_stop(second);
	assert_int_equal(service_connect(&client, path, &err), -1);
	assert_int_equal(err.code, ENOENT);

	/* something else than a socket */
	snprintf(path, sizeof path, "%s/file", world->dir);
	fclose(fopen(path, "w"));
	assert_int_equal(service_serve(&second, path, &world->backend, &err), -1);
	assert_int_equal(err.code, EEXIST);
	assert_int_equal(unlink(path), 0);

	/* deeper than the kernel's 107 bytes */
	used = (size_t)snprintf(deep, sizeof deep, "%s/", world->dir);
	memset(deep + used, 'd', 150);
	deep[used + 150] = '\0';
	assert_int_equal(mkdir(deep, 0700), 0);
	snprintf(path, sizeof path, "%s/control.sock", deep);
	assert_int_equal(service_serve(&second, path, &world->backend, &err), 0);
	assert_int_equal(service_connect(&client, path, &err), 0);
	service_close(client);
	service_stop(second);
	assert_int_equal(rmdir(deep), 0); /* nothing was left in it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_each_call, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_missing_parts, setup_unserved, teardown),
	    cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
