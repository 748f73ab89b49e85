/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's HTTP server: listening, routing, collecting bodies, and the history's completions. See gateway.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/proxy/proxy.h"
#include "gateway/script.h"

#define BODY_MAX        (8u << 20)  /* bytes; more is answered with 413 */
#define BODY_DROP_MAX   (64u << 20) /* bytes; beyond this the connection is closed */
#define MODELS          "/v1/models"
#define CONNECTIONS_MAX 8192
#define MEMORY_MAX      (64u << 10) /* bytes a connection, for its headers */

/* ---- routing ---- */

static const char *name_in(char *const *names, const char *name, size_t size)
{
	size_t i;

	for (i = 0; names[i]; i++)
		if (strlen(names[i]) == size && !memcmp(names[i], name, size))
			return names[i];
	return NULL;
}

/* Returns the status with which the request is refused; 0: none. */
static int route(struct request *request, const char *url, const char *method)
{
	struct gateway *gateway = request->gateway;
	const char *name = url + 1, *rest;

	request->route = ROUTE_NONE;
	if (*url != '/')
		return 404;
	if (!strncmp(url, "/sink/", 6)) {
		request->target = name_in(gateway->sinks, url + 6, strlen(url + 6));
		if (!request->target)
			return 404;
		request->route = ROUTE_SINK;
		return strcmp(method, "POST") ? 405 : 0;
	}
	rest = strchrnul(name, '/');
	request->target = name_in(gateway->providers, name, (size_t)(rest - name));
	if (!request->target)
		return 404;
	request->origin = proxy_origin(gateway, request->target);
	request->asked.wire = wire_of(rest);
	if (request->origin) { /* what there is and how it is asked for is for the upstream to say */
		request->route = request->asked.wire && !strcmp(method, "POST") ? ROUTE_CALL : ROUTE_PASS;
		return ask_route(request, rest, method);
	}
	if (request->asked.wire)
		request->route = ROUTE_CALL;
	else if (!strcmp(rest, MODELS) || !strncmp(rest, MODELS "/", sizeof MODELS))
		request->route = ROUTE_MODELS;
	else
		return 404;
	request->model = request->route == ROUTE_MODELS && rest[sizeof MODELS - 1] ? rest + sizeof MODELS : NULL;
	return strcmp(method, request->route == ROUTE_CALL ? "POST" : "GET") ? 405 : 0;
}

/* What is not for a provider's model or a sink: not recorded, and no rule applies. */
static enum MHD_Result answer_aside(struct request *request, int refused, const char *url, const char *method)
{
	static const struct manner plain = {.retry_after_ms = -1};
	enum family family = request_family(request);
	char id[REQUEST_ID_SIZE];
	struct reply reply;

	request_id(request, id);
	if (refused == 405)
		reply =
		    error_refuse(family, 405, "method_not_allowed", id, "Not allowed to %.20s on %.200s.", method, url);
	else if (refused)
		reply = error_refuse(family, refused, "unknown_url", id, "Invalid URL (%.20s %.200s)", method, url);
	else
		reply = models_reply(family, request->target, request->model);
	return send_reply(request, reply, &plain);
}

/* ---- one request ---- */

static struct request *request_create(struct gateway *gateway, struct MHD_Connection *connection)
{
	struct request *request = calloc(1, sizeof *request);

	if (!request)
		return NULL;
	request->gateway = gateway;
	request->connection = connection;
	request->id = ++gateway->requests;
	request->stage = STAGE_ARRIVED;
	request->retry_after_ms = -1;
	return request;
}

static enum MHD_Result collect(struct request *request, const char *bytes, size_t size)
{
	request->total += size;
	if (request->total > BODY_DROP_MAX)
		return MHD_NO;
	if (request->total > BODY_MAX) {
		request_bad(request, 413, "The body of your request is over the limit of %u bytes.", BODY_MAX);
		return MHD_YES;
	}
	if (request->room - request->size < size) {
		size_t room = request->room ? request->room : 4096;
		char *grown;

		while (room - request->size < size)
			room *= 2;
		grown = realloc(request->body, room);
		if (!grown)
			return MHD_NO;
		request->body = grown;
		request->room = room;
	}
	memcpy(request->body + request->size, bytes, size);
	request->size += size;
	return MHD_YES;
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
    const char *version, const char *upload, size_t *upload_size, void **context)
{
	struct request *request = *context;
	enum MHD_Result r;
	int refused;

	(void)version;
	if (!request) {
		*context = request_create(arg, connection);
		return *context ? MHD_YES : MHD_NO;
	}
	if (*upload_size) {
		r = collect(request, upload, *upload_size);
		*upload_size = 0;
		return r;
	}
	if (request->stage == STAGE_ARRIVED) {
		refused = route(request, url, method);
		if (refused || request->route == ROUTE_MODELS)
			return answer_aside(request, refused, url, method);
	}
	return answer(request);
}

/* The sink has it, whether its sender has heard of that or not. */
static void record_landing(struct request *request)
{
	struct gateway *gateway = request->gateway;
	char key[32];

	if (!gateway->ledger_sink || strcmp(request->target, gateway->ledger_sink) != 0)
		return;
	snprintf(key, sizeof key, "post %" PRIu64, gateway->landed + 1);
	history_append(gateway->history, &(struct op){.kind = OP_COMMIT,
					     .type = OP_OK,
					     .pair = OP_NONE,
					     .task = request->task,
					     .key = request->key && *request->key ? request->key : key,
					     .attempt = request->attempt,
					     .value = (int64_t)gateway->landed});
	gateway->landed++;
}

static void record_completion(struct request *request, bool sent)
{
	struct op op = {.pair = request->invoke,
	    .status = request->status,
	    .kind = request->route == ROUTE_CALL ? OP_CALL : OP_NOTIFY,
	    .number = request->retry_after_ms < 0 ? -1 : (double)request->retry_after_ms / 1000};
	const char *what = request->lost ? request->lost : sent ? "" : OP_CLIENT_GONE;
	char detail[192];

	if (!sent)
		op.type = OP_INFO;
	else if (request->status >= 200 && request->status < 300)
		op.type = OP_OK;
	else
		op.type = OP_FAIL;
	/* A throttle window began, or a call was over, that long ago, as the client counts. */
	if (op.type == OP_OK) {
		op.value = request->tokens;
		op.number = (double)(park_now_us() - request->sent_us) / 1e6;
	} else if (op.type == OP_FAIL) {
		op.value = park_now_us() - request->sent_us;
	}
	if (*request->verdict.key)
		snprintf(detail, sizeof detail, "%s%srule %s", what, *what ? ", " : "", request->verdict.key);
	else
		snprintf(detail, sizeof detail, "%s", what);
	op.detail = detail;
	history_complete(request->gateway->history, request->invoke, &op);
	if (request->route == ROUTE_SINK && !request->lost && request->status >= 200 && request->status < 300)
		record_landing(request);
}

/* The HTTP server is through with it: only now is it known whether the answer was handed over. */
static void completed(void *arg, struct MHD_Connection *connection, void **context, enum MHD_RequestTerminationCode how)
{
	struct request *request = *context;

	(void)arg;
	(void)connection;
	if (!request)
		return;
	if (request->recorded) {
		if (how == MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN && !request->lost)
			request->lost = "the gateway was stopped";
		record_completion(request, how == MHD_REQUEST_TERMINATED_COMPLETED_OK);
	}
	proxy_leave(request);
	json_decref(request->json);
	free(request->body);
	free(request);
	*context = NULL;
}

/* ---- the gateway ---- */

static int listen_on(uint16_t port, uint16_t *ret_port, struct error *err)
{
	struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	if (fd < 0)
		return error_set(err, errno, "making the gateway's socket: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, SOMAXCONN) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) < 0) {
		error_set(err, errno, "the gateway cannot listen on 127.0.0.1:%u: %s", port, strerror(errno));
		close(fd);
		return -1;
	}
	*ret_port = ntohs(address.sin_port);
	return fd;
}

static int copy_text(char **ret, const char *text, struct error *err)
{
	if (text && !(*ret = strdup(text)))
		return error_set(err, ENOMEM, "no memory for the gateway");
	return 0;
}

static int copy_names(
    struct gateway *gateway, char **into, const char *const *names, const char *what, struct error *err)
{
	size_t i;

	for (i = 0; names[i]; i++) {
		size_t size = strlen(names[i]);

		if (i >= GATEWAY_NAMES_MAX)
			return error_set(err, EINVAL, "more than %d %ss", GATEWAY_NAMES_MAX, what);
		if (!size || size > 63 ||
		    strspn(names[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != size)
			return error_set(err, EINVAL,
			    "%s '%.80s': expected a name of letters, digits, '-', '_' and '.'", what, names[i]);
		if (!strcmp(what, "provider") && !strcmp(names[i], "sink"))
			return error_set(
			    err, EINVAL, "a provider cannot be called 'sink': that is where the sinks are");
		if (name_in(gateway->providers, names[i], size) || name_in(gateway->sinks, names[i], size))
			return error_set(err, EINVAL, "%s '%s' is named twice", what, names[i]);
		if (copy_text(&into[i], names[i], err) < 0)
			return -1;
	}
	return 0;
}

static int configure(struct gateway *gateway, const struct gateway_options *options, struct error *err)
{
	gateway->history = options->history;
	gateway->seed = options->seed;
	gateway->latency_ms = options->latency_ms;
	if (options->latency_ms < 0 || options->latency_ms > INT64_C(3600) * 1000)
		return error_set(
		    err, EINVAL, "the gateway's latency is %" PRId64 " ms, expected 0 to an hour", options->latency_ms);
	if (copy_names(gateway, gateway->providers, options->providers, "provider", err) < 0 ||
	    copy_names(gateway, gateway->sinks, options->sinks, "sink", err) < 0 ||
	    copy_text(&gateway->task_header, options->task_header, err) < 0 ||
	    copy_text(&gateway->attempt_header, options->attempt_header, err) < 0 ||
	    copy_text(&gateway->sink_task, options->sink_task, err) < 0 ||
	    copy_text(&gateway->sink_key, options->sink_key, err) < 0 ||
	    copy_text(&gateway->ledger_sink, options->ledger_sink, err) < 0)
		return -1;
	if (options->task_pattern && finder_create(&gateway->task_finder, options->task_pattern, err) < 0)
		return -1;
	if (options->script && script_load(&gateway->script, options->script, err) < 0)
		return -1;
	return proxy_create(gateway, options, err);
}

/* Where there was no room for more there may be now: that is looked at in the next turn, which nobody else asks for. */
static void connection_ended(
    void *arg, struct MHD_Connection *connection, void **context, enum MHD_ConnectionNotificationCode what)
{
	const struct gateway *gateway = arg;

	(void)connection;
	(void)context;
	if (what == MHD_CONNECTION_NOTIFY_CLOSED)
		loop_wake(gateway->loop);
}

static int start(struct gateway *gateway, uint16_t wanted, struct error *err)
{
	uint16_t port = 0;
	int fd = listen_on(wanted, &port, err);

	if (fd < 0)
		return -1;
	snprintf(gateway->url, sizeof gateway->url, "http://127.0.0.1:%u", port);
	errno = 0;
	gateway->daemon = MHD_start_daemon(LOOP_FLAGS, 0, NULL, NULL, handle, gateway, MHD_OPTION_LISTEN_SOCKET, fd,
	    MHD_OPTION_NOTIFY_COMPLETED, completed, gateway, MHD_OPTION_NOTIFY_CONNECTION, connection_ended, gateway,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)MEMORY_MAX, MHD_OPTION_END);
	if (!gateway->daemon) {
		error_set(err, errno ? errno : EIO, "the gateway's HTTP server cannot start on %s: %s", gateway->url,
		    strerror(errno ? errno : EIO));
		close(fd);
		return -1;
	}
	return loop_begin(gateway->loop, gateway->daemon, err);
}

int gateway_create(struct gateway **ret_gateway, const struct gateway_options *options, struct error *err)
{
	struct gateway *gateway = calloc(1, sizeof *gateway);
	sigset_t all, before;
	int r;

	if (!gateway)
		return error_set(err, ENOMEM, "no memory for the gateway");
	pthread_mutex_init(&gateway->lock, NULL);
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = configure(gateway, options, err);
	if (r == 0)
		r = gateway_rules_create(&gateway->rules, options->seed, err);
	if (r == 0)
		r = holds_create(&gateway->holds, err);
	if (r == 0)
		r = loop_create(&gateway->loop, err);
	if (r == 0)
		r = park_create(&gateway->park, &gateway->lock, gateway->loop, err);
	if (r == 0)
		r = start(gateway, options->port, err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r < 0) {
		gateway_destroy(gateway);
		return -1;
	}
	*ret_gateway = gateway;
	return 0;
}

void gateway_destroy(struct gateway *gateway)
{
	size_t i;

	if (!gateway)
		return;
	if (gateway->park) {
		pthread_mutex_lock(&gateway->lock);
		park_close(gateway->park);
		pthread_mutex_unlock(&gateway->lock);
	}
	loop_end(gateway->loop);
	if (gateway->daemon)
		MHD_stop_daemon(gateway->daemon);
	proxy_destroy(gateway);
	park_destroy(gateway->park);
	loop_destroy(gateway->loop);
	holds_destroy(gateway->holds);
	gateway_rules_destroy(gateway->rules);
	script_free(gateway->script);
	finder_free(gateway->task_finder);
	pthread_mutex_destroy(&gateway->lock);
	for (i = 0; i <= GATEWAY_NAMES_MAX; i++) {
		free(gateway->providers[i]);
		free(gateway->sinks[i]);
	}
	free(gateway->task_header);
	free(gateway->attempt_header);
	free(gateway->sink_task);
	free(gateway->sink_key);
	free(gateway->ledger_sink);
	free(gateway);
}

const char *gateway_url(const struct gateway *gateway)
{
	return gateway->url;
}
