/* SPDX-License-Identifier: Apache-2.0 */
/* Who is at the other end of the services' socket: what becomes of the rules of those who go or die, and bad frames. */
#include "service_room.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wire/frame.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_close_clears, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed_client, setup_unserved, teardown),
	    cmocka_unit_test_setup_teardown(test_stop_clears, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_frames, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
