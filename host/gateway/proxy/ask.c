/* SPDX-License-Identifier: Apache-2.0 */
/* What an upstream is asked: the client's own request, but for what is for one connection alone; see proxy.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/proxy/proxy.h"
#include "gateway/proxy/recording.h"
#include "gateway/proxy/upstream.h"

/* ---- where to ---- */

static void put_escaped(FILE *out, const char *text, const char *allowed)
{
	for (; *text; text++) {
		const unsigned char c = (unsigned char)*text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    strchr(allowed, (char)c))
			fputc(c, out);
		else
			fprintf(out, "%%%02X", c);
	}
}

struct query {
	FILE *out;
	bool shown; /* what is an API key is left out */
	size_t count;
};

static enum MHD_Result put_argument(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	static const char *const secret[] = {"key", "api_key", "api-key", "apikey", "access_token", "token"};
	static const char allowed[] = "-._~/:@!$'()*,;?[]";
	struct query *query = arg;
	size_t i;

	(void)kind;
	for (i = 0; query->shown && i < sizeof secret / sizeof secret[0]; i++)
		if (!strcasecmp(name, secret[i]))
			return MHD_YES;
	fputc(query->count++ ? '&' : '?', query->out);
	put_escaped(query->out, name, allowed);
	if (value) {
		fputc('=', query->out);
		put_escaped(query->out, value, allowed);
	}
	return MHD_YES;
}

static char *path_of(struct request *request, const char *rest, bool shown)
{
	struct query query = {.shown = shown};
	char *text = NULL;
	size_t size = 0;

	query.out = open_memstream(&text, &size);
	if (!query.out)
		return NULL;
	put_escaped(query.out, rest, "-._~/:@!$&'()*+,;=");
	MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, put_argument, &query);
	if (fclose(query.out)) {
		free(text);
		return NULL;
	}
	return text;
}

/* Has it a part that leads elsewhere than below the origin's own path, with the origin's key? */
static bool leads_away(const char *path)
{
	size_t size;

	for (; *path; path += size) {
		path += *path == '/';
		size = strcspn(path, "/");
		if ((size == 1 && path[0] == '.') || (size == 2 && path[0] == '.' && path[1] == '.'))
			return true;
	}
	return false;
}

int ask_route(struct request *request, const char *rest, const char *method)
{
	const size_t size = strlen(method);

	if (leads_away(rest))
		return 404;
	if (size >= sizeof request->method || strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != size)
		return 405;
	memcpy(request->method, method, size + 1);
	request->path = path_of(request, rest, false);
	request->shown = path_of(request, rest, true);
	return request->path && request->shown ? 0 : 500;
}

/* ---- with what ---- */

struct gathered {
	struct exchange *exchange;
	const struct origin *origin;
	const char *connection; /* the request's header of that name */
	FILE *secrets;
	bool bad, typed, accepts;
};

static void send_header(struct gathered *gathered, const char *name, const char *value)
{
	struct curl_slist *grown;
	char *line = NULL;

	/* curl leaves out a header that ends in a colon, and sends one without a value for a semicolon. */
	if (asprintf(&line, *value ? "%s: %s" : "%s;", name, value) < 0)
		line = NULL;
	grown = line ? curl_slist_append(gathered->exchange->send, line) : NULL;
	if (grown)
		gathered->exchange->send = grown;
	else
		gathered->bad = true;
	free(line);
}

/* Curl's own words for what the client has not said. */
static void leave_out(struct gathered *gathered, const char *line)
{
	struct curl_slist *grown = curl_slist_append(gathered->exchange->send, line);

	if (grown)
		gathered->exchange->send = grown;
	else
		gathered->bad = true;
}

static bool is_secret(const char *name)
{
	return !strcasecmp(name, "Authorization") || !strcasecmp(name, "x-api-key") || !strcasecmp(name, "api-key") ||
	       !strcasecmp(name, "x-goog-api-key");
}

static void add_secret(FILE *secrets, const char *value)
{
	const char *space = strchr(value, ' '); /* behind "Bearer" */

	if (*value)
		fwrite(value, 1, strlen(value) + 1, secrets);
	if (space && space[1])
		fwrite(space + 1, 1, strlen(space + 1) + 1, secrets);
}

/*
 * Could the upstream read another header than the server here has read, or the end of the head? A blank before the colon, a
 * carriage return alone: it is left out.
 */
static bool misleads(const char *name, const char *value)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (!*name || name[strspn(name, token)])
		return true;
	for (; *value; value++)
		if (((unsigned char)*value < 0x20 && *value != '\t') || *value == 0x7f)
			return true;
	return false;
}

/* The length is curl's own, and what is compressed could not be looked into. */
static enum MHD_Result gather(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct gathered *gathered = arg;

	(void)kind;
	value = value ? value : "";
	if (is_secret(name))
		add_secret(gathered->secrets, value);
	if (misleads(name, value))
		return MHD_YES;
	if (!strcasecmp(name, "Host") || !strcasecmp(name, "Content-Length") || !strcasecmp(name, "Expect") ||
	    !strcasecmp(name, "Accept-Encoding") || header_is_hop(name, gathered->connection) ||
	    (gathered->origin->key && is_secret(name)))
		return MHD_YES;
	gathered->typed = gathered->typed || !strcasecmp(name, "Content-Type");
	gathered->accepts = gathered->accepts || !strcasecmp(name, "Accept");
	send_header(gathered, name, value);
	return MHD_YES;
}

static enum MHD_Result gather_argument(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	FILE *secrets = arg;

	(void)kind;
	(void)name;
	if (value && *value)
		fwrite(value, 1, strlen(value) + 1, secrets);
	return MHD_YES;
}

static void send_headers(struct request *request, struct gathered *gathered)
{
	const struct origin *origin = gathered->origin;
	char *line;

	MHD_get_connection_values(request->connection, MHD_HEADER_KIND, gather, gathered);
	if (origin->key && request_family(request) == FAMILY_ANTHROPIC) {
		send_header(gathered, "x-api-key", origin->key);
	} else if (origin->key) {
		if (asprintf(&line, "Bearer %s", origin->key) < 0)
			line = NULL;
		send_header(gathered, "Authorization", line ? line : "");
		gathered->bad = gathered->bad || !line;
		free(line);
	}
	if (origin->key)
		add_secret(gathered->secrets, origin->key);
	leave_out(gathered, "Accept-Encoding: identity");
	leave_out(gathered, "Expect:");
	if (!gathered->typed)
		leave_out(gathered, "Content-Type:");
	if (!gathered->accepts)
		leave_out(gathered, "Accept:");
}

/* The path, and the keys that are not to be written. */
static struct recording_note *note_of(const struct request *request, const char *secrets, size_t size)
{
	const size_t path = strlen(request->shown) + 1;
	struct recording_note *note = malloc(sizeof *note + path + size + 1);

	if (!note)
		return NULL;
	note->provider = request->target;
	note->secrets = path;
	memcpy(note->text, request->shown, path);
	memcpy(note->text + path, secrets, size);
	note->text[path + size] = '\0';
	return note;
}

struct exchange *ask_exchange(struct request *request)
{
	struct exchange *exchange = calloc(1, sizeof *exchange);
	struct gathered gathered = {.exchange = exchange, .origin = request->origin};
	char *secrets = NULL;
	size_t size = 0;

	if (!exchange)
		return NULL;
	exchange->owners = 1;
	exchange->silence_ms = request->origin->silence_ms;
	memcpy(exchange->method, request->method, sizeof exchange->method);
	gathered.connection = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "Connection");
	gathered.secrets = open_memstream(&secrets, &size);
	if (gathered.secrets) {
		send_headers(request, &gathered);
		if (strcmp(request->path, request->shown) != 0)
			MHD_get_connection_values(
			    request->connection, MHD_GET_ARGUMENT_KIND, gather_argument, gathered.secrets);
		gathered.bad = fclose(gathered.secrets) != 0 || gathered.bad;
	}
	if (asprintf(&exchange->url, "%s%s", request->origin->url, request->path) < 0)
		exchange->url = NULL;
	exchange->note = secrets ? note_of(request, secrets, size) : NULL;
	if (secrets)
		explicit_bzero(secrets, size);
	free(secrets);
	if (gathered.bad || !exchange->url || !exchange->note) {
		exchange_unref(exchange);
		return NULL;
	}
	/* The request still looks into it: the exchange does not end before the request has left it. */
	exchange->body = request->body;
	exchange->body_size = request->size;
	request->body = NULL;
	return exchange;
}
