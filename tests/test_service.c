/* SPDX-License-Identifier: Apache-2.0 */
/* The services' socket: every call through it, and what becomes of the rules of those who die. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/service.h"
#include "wire/frame.h"

#define RULES_MAX 16

/* A backend that keeps what it was told. */
struct world {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char keys[RULES_MAX][64]; /* "": free */
	struct tritone_gateway_rule gateway;
	struct tritone_errno_rule error;
	struct tritone_point_rule point;
	char target[64], path[256], name[64];
	struct service_backend backend;
	struct service_server *server;
	char dir[64], socket[100];
};

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

static bool has(struct world *world, const char *key)
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

/* Waits until a rule has gone; that it never does shows as a test that hangs. */
static void wait_gone(struct world *world, const char *key)
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

static void serve(struct world *world)
{
	struct error err = {0};

	if (service_serve(&world->server, world->socket, &world->backend, &err) < 0)
		fail_msg("%s", err.text);
}

static int setup(void **state)
{
	struct world *world = world_new();

	serve(world);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	service_stop(world->server);
	rmdir(world->dir);
	pthread_cond_destroy(&world->changed);
	pthread_mutex_destroy(&world->lock);
	free(world);
	return 0;
}

static int setup_unserved(void **state)
{
	*state = world_new();
	return 0;
}

static struct service_client *join(struct world *world)
{
	struct service_client *client = NULL;
	struct error err = {0};

	if (service_connect(&client, world->socket, &err) < 0)
		fail_msg("%s", err.text);
	return client;
}

static struct tritone_gateway_rule rule_of(const char *key)
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

/* ---- who dies takes its rules along ---- */

static void test_close_clears(void **state)
{
	struct world *world = *state;
	struct service_client *one = join(world), *other = join(world);
	struct tritone_gateway_rule first = rule_of("first"), second = rule_of("second"), shared = rule_of("shared");

	assert_int_equal(service_gateway_rule(one, &first, NULL), 0);
	assert_int_equal(service_gateway_rule(one, &shared, NULL), 0);
	assert_int_equal(service_gateway_rule(other, &second, NULL), 0);
	assert_int_equal(service_gateway_rule(other, &shared, NULL), 0); /* taken over: the last to set it */
	service_close(one);
	wait_gone(world, "first");
	assert_int_equal(service_rule_hits(other, "second", NULL, NULL, NULL), 0);
	assert_int_equal(service_rule_hits(other, "shared", NULL, NULL, NULL), 0);
	service_close(other);
	wait_gone(world, "second");
	wait_gone(world, "shared");
}

static void test_killed_client(void **state)
{
	struct world *world = *state;
	struct tritone_gateway_rule mine = rule_of("mine"), its = rule_of("its");
	struct service_client *client;
	int ready[2], go[2], status;
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid = fork(); /* before there are threads */
	assert_true(pid >= 0);
	if (pid == 0) {
		if (read(go[0], &byte, 1) != 1 || service_connect(&client, world->socket, NULL) < 0 ||
		    service_gateway_rule(client, &its, NULL) < 0 || write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	serve(world);
	client = join(world);
	assert_int_equal(service_gateway_rule(client, &mine, NULL), 0);
	assert_int_equal(write(go[1], &byte, 1), 1);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_true(has(world, "its"));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	wait_gone(world, "its");
	assert_true(has(world, "mine"));
	assert_int_equal(service_rule_hits(client, "mine", NULL, NULL, NULL), 0);
	service_close(client);
	close(ready[0]);
	close(ready[1]);
	close(go[0]);
	close(go[1]);
}

static void test_stop_clears(void **state)
{
	struct world *world = *state;
	struct service_client *client = join(world);
	struct tritone_gateway_rule rule = rule_of("g");
	struct error err = {0};

	assert_int_equal(service_gateway_rule(client, &rule, NULL), 0);
	service_stop(world->server);
	world->server = NULL;
	assert_false(has(world, "g"));
	assert_int_equal(access(world->socket, F_OK), -1);
	assert_int_equal(service_rule_clear(client, "g", &err), -1);
	assert_int_equal(err.code, EPIPE);
	assert_int_equal(service_rule_clear(client, "g", &err), -1);
	assert_int_equal(err.code, EPIPE);
	service_close(client);
}

/* ---- bad peers ---- */

static int raw(struct world *world)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof un.sun_path, "%s", world->socket);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof un), 0);
	return fd;
}

static void expect_closed(int fd)
{
	struct frame frame;

	frame_init(&frame);
	assert_int_equal(frame_recv(fd, -1, &frame, NULL) > 0, 0);
	frame_finish(&frame);
	close(fd);
}

static void send_map(int fd, const char *op)
{
	msgpack_sbuffer buf;
	msgpack_packer pk;

	msgpack_sbuffer_init(&buf);
	msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
	msgpack_pack_map(&pk, op ? 2 : 1);
	frame_put_uint(&pk, "id", 9);
	if (op)
		frame_put_str(&pk, "op", op);
	assert_int_equal(frame_send(fd, &buf, NULL), 0);
	msgpack_sbuffer_destroy(&buf);
}

static void expect_refused(int fd, int64_t wanted)
{
	struct frame frame;
	int64_t code = 0;
	uint64_t id = 0;
	bool ok = true;

	frame_init(&frame);
	assert_int_equal(frame_recv(fd, -1, &frame, NULL), 1);
	assert_true(frame_get_bool(&frame.value, "ok", &ok) && !ok);
	assert_true(frame_get_uint(&frame.value, "id", &id) && id == 9);
	assert_true(frame_get_int(&frame.value, "code", &code));
	assert_int_equal(code, wanted);
	frame_finish(&frame);
}

static void test_bad_frames(void **state)
{
	static const unsigned char not_msgpack[] = {0, 0, 0, 1, 0xc1}, too_long[] = {0xff, 0xff, 0xff, 0xff, 1},
				   not_a_map[] = {0, 0, 0, 1, 7}, half[] = {0, 0, 0, 9, 0x81};
	struct world *world = *state;
	struct service_client *client = join(world);
	struct tritone_gateway_rule rule = rule_of("kept");
	int fd;

	assert_int_equal(service_gateway_rule(client, &rule, NULL), 0);
	fd = raw(world);
	assert_int_equal(write(fd, not_msgpack, sizeof not_msgpack), sizeof not_msgpack);
	expect_closed(fd);
	fd = raw(world);
	assert_int_equal(write(fd, too_long, sizeof too_long), sizeof too_long);
	expect_closed(fd);
	fd = raw(world);
	assert_int_equal(write(fd, not_a_map, sizeof not_a_map), sizeof not_a_map);
	expect_closed(fd);
	fd = raw(world);
	assert_int_equal(write(fd, half, sizeof half), sizeof half);
	assert_int_equal(service_rule_hits(client, "kept", NULL, NULL, NULL), 0); /* nobody waits for the rest */
	close(fd);
	fd = raw(world);
	send_map(fd, "dance");
	expect_refused(fd, ENOTSUP);
	send_map(fd, NULL);
	expect_refused(fd, EINVAL);
	send_map(fd, "gateway_rule"); /* without its members */
	expect_refused(fd, EINVAL);
	close(fd);
	assert_int_equal(service_rule_hits(client, "kept", NULL, NULL, NULL), 0);
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
	    cmocka_unit_test_setup_teardown(test_close_clears, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed_client, setup_unserved, teardown),
	    cmocka_unit_test_setup_teardown(test_stop_clears, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_frames, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
