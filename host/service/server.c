/* SPDX-License-Identifier: Apache-2.0 */
/* The services' server: a thread, its connections, and the rules that each of them answers for. See service.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "service/address.h"
#include "service/dispatch.h"
#include "service/service.h"
#include "wire/frame.h"

#define CONNECTIONS_MAX 128  /* a runner has one, and there are as many as faults */
#define RULES_MAX       256  /* a connection */
#define SEND_MS         2000 /* a client that does not read for so long is dropped */

struct connection {
	int fd;
	struct frame_reader *reader;
	char (*keys)[SERVICE_KEY_SIZE]; /* the rules that end with it */
	size_t key_count, key_room;
};

struct service_server {
	struct service_backend backend;
	char *path, *state_dir;
	char *missing[3];
	dev_t dev; /* of our own socket: a later one at the same path is not ours to unlink */
	ino_t ino;
	int listener, wake;
	pthread_t thread;
	struct connection connections[CONNECTIONS_MAX]; /* the thread's */
	size_t count;
};

/* ---- the account of rules ---- */

static size_t find_key(const struct connection *connection, const char *key)
{
	size_t i;

	for (i = 0; i < connection->key_count; i++)
		if (!strcmp(connection->keys[i], key))
			break;
	return i;
}

/* Whoever had it: it is another's now, or nobody's. */
static void disown(struct service_server *server, const char *key)
{
	size_t i;

	for (i = 0; i < server->count; i++) {
		struct connection *c = &server->connections[i];
		size_t at = find_key(c, key);

		if (at < c->key_count)
			memmove(c->keys[at], c->keys[--c->key_count], SERVICE_KEY_SIZE);
	}
}

static int reserve_key(struct connection *connection, struct error *err)
{
	size_t room = connection->key_room ? connection->key_room * 2 : 8;
	char(*grown)[SERVICE_KEY_SIZE];

	if (connection->key_count < connection->key_room)
		return 0;
	if (connection->key_count >= RULES_MAX)
		return error_set(err, ENOSPC, "this connection has %d rules already; clear one", RULES_MAX);
	grown = reallocarray(connection->keys, room, SERVICE_KEY_SIZE);
	if (!grown)
		return error_set(err, ENOMEM, "no memory for another rule");
	connection->keys = grown;
	connection->key_room = room;
	return 0;
}

/* ---- connections ---- */

static void drop(struct service_server *server, size_t i)
{
	struct connection *c = &server->connections[i];
	size_t k;

	for (k = 0; server->backend.rule_clear && k < c->key_count; k++)
		(void)server->backend.rule_clear(server->backend.arg, c->keys[k], NULL);
	free(c->keys);
	frame_reader_destroy(c->reader);
	close(c->fd);
	server->count--;
	if (i != server->count)
		server->connections[i] = server->connections[server->count];
}

static void take(struct service_server *server)
{
	struct timeval limit = {.tv_sec = SEND_MS / 1000};
	struct connection *c = &server->connections[server->count];
	int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	*c = (struct connection){.fd = fd};
	if (server->count >= CONNECTIONS_MAX - 1 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
	    frame_reader_create(&c->reader, NULL) < 0) {
		close(fd);
		return;
	}
	server->count++;
}

static int carry_out(struct service_server *server, struct connection *c, const msgpack_object *request)
{
	char key[SERVICE_KEY_SIZE];
	enum dispatch_effect effect = dispatch_foresee(request, key);
	struct error err = {0};
	msgpack_sbuffer reply;
	int r;

	msgpack_sbuffer_init(&reply);
	/* The place in the account comes first: a rule that nobody answers for must never be. */
	if (effect == DISPATCH_SET && reserve_key(c, &err) < 0) {
		dispatch_refuse(request, &reply, &err);
	} else if (dispatch(&server->backend, request, &reply) && effect != DISPATCH_NONE) {
		disown(server, key);
		if (effect == DISPATCH_SET)
			memcpy(c->keys[c->key_count++], key, sizeof key);
	}
	r = frame_send(c->fd, &reply, NULL);
	msgpack_sbuffer_destroy(&reply);
	return r;
}

/* False: the connection is to be dropped. */
static bool serve(struct service_server *server, struct connection *c)
{
	uint8_t bytes[16384];
	ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
	struct frame frame;
	int r;

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n == 0 || frame_reader_feed(c->reader, bytes, (size_t)n, NULL) < 0)
		return false;
	frame_init(&frame);
	while ((r = frame_reader_next(c->reader, &frame, NULL)) > 0) {
		if (frame.value.type != MSGPACK_OBJECT_MAP || carry_out(server, c, &frame.value) < 0) {
			r = -1;
			break;
		}
	}
	frame_finish(&frame);
	return r == 0;
}

static void *run(void *arg)
{
	struct service_server *server = arg;
	struct pollfd polled[CONNECTIONS_MAX + 2];
	size_t i;

	for (;;) {
		polled[0] = (struct pollfd){.fd = server->wake, .events = POLLIN};
		polled[1] = (struct pollfd){.fd = server->listener, .events = POLLIN};
		for (i = 0; i < server->count; i++)
			polled[i + 2] = (struct pollfd){.fd = server->connections[i].fd, .events = POLLIN};
		if (poll(polled, server->count + 2, -1) < 0)
			continue; /* EINTR, or memory is short: again */
		if (polled[0].revents)
			break;
		/* From the last one on: dropping one moves the last into its place. */
		for (i = server->count; i-- > 0;)
			if (polled[i + 2].revents && !serve(server, &server->connections[i]))
				drop(server, i);
		if (polled[1].revents)
			take(server);
	}
	while (server->count)
		drop(server, server->count - 1);
	return NULL;
}

/* ---- listening ---- */

/* Whether what lies at the path may be replaced: a socket that nobody listens at. */
static int remove_stale(const struct address *address, const char *path, struct error *err)
{
	struct stat st;
	int fd, r;

	if (lstat(path, &st) < 0)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, EEXIST, "%s exists and is not a socket; it is left alone", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, errno, "making a socket: %s", strerror(errno));
	r = connect(fd, (const struct sockaddr *)&address->un, sizeof address->un);
	r = r < 0 && errno == ECONNREFUSED;
	close(fd);
	if (!r)
		return error_set(err, EADDRINUSE, "%s: another process listens there", path);
	if (unlink(path) < 0)
		return error_set(err, errno, "removing the stale socket %s: %s", path, strerror(errno));
	return 0;
}

static int listen_at(struct service_server *server, struct error *err)
{
	struct address address;
	struct stat st;
	int r;

	if (address_init(&address, server->path, err) < 0)
		return -1;
	server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode must be there before the name is: it is taken from the socket by bind. */
	if (server->listener < 0 || fchmod(server->listener, 0600) < 0) {
		error_set(err, errno, "making the control socket: %s", strerror(errno));
		goto fail;
	}
	r = bind(server->listener, (const struct sockaddr *)&address.un, sizeof address.un);
	if (r < 0 && errno == EADDRINUSE) {
		if (remove_stale(&address, server->path, err) < 0)
			goto fail;
		r = bind(server->listener, (const struct sockaddr *)&address.un, sizeof address.un);
	}
	if (r < 0 || listen(server->listener, 16) < 0 || lstat(server->path, &st) < 0) {
		error_set(err, errno, "listening at %s: %s", server->path, strerror(errno));
		goto fail;
	}
	server->dev = st.st_dev;
	server->ino = st.st_ino;
	address_finish(&address);
	return 0;
fail:
	address_finish(&address);
	return -1;
}

/* ---- the server ---- */

static int copy(char **into, const char **text, struct error *err)
{
	if (!*text)
		return 0;
	*into = strdup(*text);
	if (!*into)
		return error_set(err, ENOMEM, "no memory for the services");
	*text = *into;
	return 0;
}

static void server_free(struct service_server *server)
{
	struct stat st;

	if (server->ino && lstat(server->path, &st) == 0 && st.st_dev == server->dev && st.st_ino == server->ino)
		(void)unlink(server->path);
	if (server->listener >= 0)
		close(server->listener);
	if (server->wake >= 0)
		close(server->wake);
	free(server->missing[0]);
	free(server->missing[1]);
	free(server->missing[2]);
	free(server->state_dir);
	free(server->path);
	free(server);
}

static int start_thread(struct service_server *server, struct error *err)
{
	sigset_t all, before;
	int r;

	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&server->thread, NULL, run, server);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r ? error_set(err, r, "starting the services' thread: %s", strerror(r)) : 0;
}

int service_serve(
    struct service_server **ret_server, const char *path, const struct service_backend *backend, struct error *err)
{
	struct service_server *server = calloc(1, sizeof *server);
	const char *name = path;

	if (!server)
		return error_set(err, ENOMEM, "no memory for the services");
	server->listener = server->wake = -1;
	server->backend = *backend;
	if (copy(&server->path, &name, err) < 0 || copy(&server->state_dir, &server->backend.state_dir, err) < 0 ||
	    copy(&server->missing[0], &server->backend.missing_gateway, err) < 0 ||
	    copy(&server->missing[1], &server->backend.missing_errno, err) < 0 ||
	    copy(&server->missing[2], &server->backend.missing_faultpoint, err) < 0)
		goto fail;
	server->wake = eventfd(0, EFD_CLOEXEC);
	if (server->wake < 0) {
		error_set(err, errno, "the services' event descriptor: %s", strerror(errno));
		goto fail;
	}
	if (listen_at(server, err) < 0 || start_thread(server, err) < 0)
		goto fail;
	*ret_server = server;
	return 0;
fail:
	server_free(server);
	return -1;
}

void service_stop(struct service_server *server)
{
	uint64_t one = 1;

	if (!server)
		return;
	while (write(server->wake, &one, sizeof one) < 0 && errno == EINTR)
		;
	pthread_join(server->thread, NULL);
	server_free(server);
}
