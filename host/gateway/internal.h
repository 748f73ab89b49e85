/* SPDX-License-Identifier: Apache-2.0 */
/* What the gateway's files share: the gateway itself and one request. Lock order: gateway->lock, then the HTTP
 * server's own; the history is never called with gateway->lock held. */
#ifndef TRITONE_GATEWAY_INTERNAL_H
#define TRITONE_GATEWAY_INTERNAL_H

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>

#include "gateway/gateway.h"
#include "gateway/proxy/header_list.h"
#include "gateway/reply.h"
#include "gateway/hold.h"
#include "gateway/loop.h"
#include "gateway/park.h"
#include "gateway/rules.h"

struct script;
struct finder;
struct proxy;
struct origin;
struct exchange;

struct gateway {
	struct history *history; /* may be NULL */
	uint64_t seed;
	int64_t latency_ms;
	char *providers[GATEWAY_NAMES_MAX + 1], *sinks[GATEWAY_NAMES_MAX + 1]; /* NULL-terminated, owned */
	char *task_header, *attempt_header, *sink_task, *sink_key;             /* NULL: none */
	char *ledger_sink;                                                     /* NULL: none */
	uint64_t landed;                                                       /* there; the server's thread only */
	struct script *script;                                                 /* NULL: the built-in plan */
	struct finder *task_finder;                                            /* NULL: none */
	struct proxy *proxy;                                                   /* NULL: all providers are played */
	char url[64];
	struct MHD_Daemon *daemon;
	struct loop *loop; /* its thread */
	uint64_t requests; /* the server's thread only */

	pthread_mutex_t lock;
	struct rules *rules;
	struct holds *holds;
	struct park *park;
	uint64_t tags; /* names of rules and barriers, never reused */
};

enum route {
	ROUTE_NONE = 1, /* 404 */
	ROUTE_CALL,     /* of a model: asked.wire says in which protocol */
	ROUTE_MODELS,
	ROUTE_SINK,
	ROUTE_PASS, /* for an upstream, whatever it is: not recorded in the history, and no rule applies */
};

enum stage {
	STAGE_ARRIVED = 1,
	STAGE_HELD,   /* by a barrier */
	STAGE_HUNG,   /* until its rule ends */
	STAGE_LATE,   /* until its time has come */
	STAGE_ASKED,  /* for its upstream */
	STAGE_ANSWER, /* the answer is in the socket's hands */
};

struct request {
	struct park_slot slot;
	struct gateway *gateway;
	struct MHD_Connection *connection;
	enum route route;
	const char *target; /* the provider's or sink's name, owned by the gateway; NULL with ROUTE_NONE */
	const char *model;  /* ROUTE_MODELS: the one that is asked for; NULL: all; valid while it is routed */
	char *body;
	size_t size, room, total; /* total: what came, even where it was too much to keep */
	uint64_t id;
	enum stage stage;
	struct verdict verdict;

	/* with an upstream */
	const struct origin *origin; /* NULL: none */
	char method[16];
	char *path, *shown; /* below the provider, with its query; the latter without what may be an API key */
	struct exchange *exchange;

	/* from headers and body; borrowed from the connection, `json` or `numbers` */
	json_t *json;
	struct asked asked;
	const char *task, *key; /* key: the model, or the deduplication key */
	int64_t attempt;
	const char *api_key; /* "": none */
	char numbers[2][32];
	char found_task[128]; /* in the conversation */
	int bad;              /* status with which the request itself is refused; 0: it is well-formed */
	char bad_text[200];

	/* for the history */
	bool recorded;
	uint64_t invoke;
	int status; /* as answered; 0: not at all */
	int64_t tokens, retry_after_ms;
	int64_t sent_us;  /* when the answer was given to the HTTP server */
	const char *lost; /* why there was no answer; NULL: there was, or the client went away */
	char lost_text[176];
};

/* request.c: fills the fields above from the collected body; what is wrong goes into bad and bad_text. */
void request_read_call(struct request *request); /* asked.wire is set */
void request_read_sink(struct request *request);
void request_bad(struct request *request, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* request.c too: where a task is found in a conversation. EINVAL: it is no pattern, or has no group. */
int finder_create(struct finder **ret_finder, const char *pattern, struct error *err);
void finder_free(struct finder *finder);

/* In whose words it is answered. */
enum family request_family(const struct request *request);
/* "req_" and 16 digits: the same for the n-th request of a run with the same seed. */
#define REQUEST_ID_SIZE 24
void request_id(const struct request *request, char id[REQUEST_ID_SIZE]);

/* headers.c: those of the request's family, beside its status and Retry-After. */
void headers_add(struct MHD_Response *response, const struct request *request);

/* send.c: hands an answer to the HTTP server. Takes `reply`. */
struct manner {
	int64_t retry_after_ms;            /* -1: none */
	bool half;                         /* the body breaks off half way */
	int64_t pace_ms;                   /* between its pieces: a stream's events, or eighths; 0: none */
	const struct header_list *headers; /* the upstream's, instead of the family's; NULL: none */
	bool bare;                         /* none of either */
};
enum MHD_Result send_reply(struct request *request, struct reply reply, const struct manner *manner);
/* Instead of an answer, or of its rest: the client sees a reset. `why` is what the history says of it. */
enum MHD_Result send_reset(struct request *request, const char *why);

/* wrong.c: what an action makes of what a model says, and of a stream; text "" is the action's own. */
void wrong_completion(uint32_t action, const char *text, const struct asked *asked, struct completion *completion);
/* The first half of the events, and one that is an error, or not JSON. */
void wrong_stream(uint32_t action, const struct wire *wire, struct reply *reply);

/* reshape.c: the same for an answer of an upstream, or of a recording. */
void reshape(uint32_t action, const char *text, uint64_t seed, const struct asked *asked, struct reply *reply);

/* proxy.c: whether it is answered from a recording. */
bool proxy_replays(const struct request *request);
/* What the history says of an upstream's answer. */
void proxy_tell(struct request *request, int status, const struct header_list *headers);

/* answer.c: what becomes of a request whose body has arrived, or whose wait is over. */
enum MHD_Result answer(struct request *request);
/* With what an upstream or a recording says, after what the rules make of it. Takes `reply`. */
enum MHD_Result answer_with(struct request *request, struct reply reply, const struct header_list *headers);
/* There is nothing for the rule to act on: it was not felt. */
void answer_spare(struct request *request);

#endif
