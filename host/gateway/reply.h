/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The middle of the gateway, where no protocol is known: what was asked of a model, what the model says, and the
 * bytes that go back. A protocol's adapter (chat.c, responses.c, messages.c, ...; the table is wire_of) reads a
 * request's body into `struct asked` and writes a `struct completion` as its API would, as one body or as a stream
 * of events. Knows no sockets; the same for the same seed and request.
 */
#ifndef TRITONE_GATEWAY_REPLY_H
#define TRITONE_GATEWAY_REPLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wal/error.h"

/* Whose words are used in errors and headers. */
enum family {
	FAMILY_OPENAI = 1,
	FAMILY_ANTHROPIC,
};

/* What goes back. The body of a stream ends an event at each of `ends`. */
struct reply {
	int status;
	char *body; /* NULL: out of memory */
	size_t size;
	size_t *ends; /* NULL: not a stream */
	size_t end_count;
	int64_t tokens; /* those that it is worth; 0: none */
};
void reply_free(struct reply *reply); /* and empties it */
/* Takes `object`; NULL: out of memory. */
struct reply reply_json(int status, json_t *object, int64_t tokens);

struct wire;

/* One request to a model. The pointers are borrowed. */
struct asked {
	const struct wire *wire;
	const char *provider, *model, *task, *role, *after; /* never NULL */
	int64_t step;                                       /* as its header says; 0: it was not there */
	json_t *body;                                       /* an object */
	const char *bytes;                                  /* of the body, as sent */
	size_t size;
	/* from the body, by wire->read */
	int64_t turn; /* 1 + the assistant's turns in the conversation */
	bool stream;
	bool stream_usage; /* OpenAI's stream_options.include_usage */
};
int64_t asked_step(const struct asked *asked); /* `step`, or else `turn` */
/* The name of the i-th tool that the request offers; NULL: there is none. */
const char *asked_tool(const struct asked *asked, size_t i);
bool asked_offers(const struct asked *asked, const char *tool);
/* For a wire's read: the model that every request names, or -1 with the provider's own words for that it is missing.
 * The turn is the first so far. */
int asked_read(struct asked *asked, const char *missing, struct error *err);
/* Whether a message is the role's. */
bool message_by(const json_t *message, const char *role);
/* Names the reply: of the seed, the request's bytes, and whom and what it is for. */
#define ASKED_ID_SIZE 20
void asked_id(uint64_t seed, const struct asked *asked, char id[ASKED_ID_SIZE]);

enum finish {
	FINISH_STOP = 1,
	FINISH_TOOLS,
	FINISH_LENGTH,
	FINISH_FILTER,
};

/* What the model says. All zero: nothing. */
struct completion {
	char *text; /* UTF-8; NULL: none */
	json_t *
	    calls; /* of tools: [{"name": NAME, "arguments": TEXT}], TEXT is JSON unless it is to be wrong; NULL: none */
	enum finish finish;
	int64_t input, output, total; /* tokens, as they are reported */
	int64_t tokens;               /* as they are counted here */
};
void completion_free(struct completion *completion); /* and empties it */
void completion_call(struct completion *completion, const char *name, const char *arguments);
/* Fills in the finish if it is 0, and what it costs: four bytes make a token. */
void completion_count(struct completion *completion, const struct asked *asked);
/* The i-th call; NULL: there is none. */
const char *completion_name(const struct completion *completion, size_t i, const char **ret_arguments);

/*
 * The built-in plan, for each task (plan.c):
 *   step 1  tool call read_file {"path": P}: work/DEP.md for the first id in X-After, else README.md
 *   step 2  tool call write_file {"path": "work/TASK.md", "content": ...}
 *   step 3  tool call run_check {"path": "work/TASK.md"}
 *   step 4  content "done", finished
 * The step is what X-Step says; without the header it is the conversation's turn, and a tool that the request does
 * not offer is skipped over to step 4. What is written depends on the seed, the task, X-Role and X-After, not on
 * provider, model or attempt: a task that fails over or is tried again writes the same file.
 */
void plan_complete(uint64_t seed, const struct asked *asked, struct completion *ret_completion);

/* Texts of a conversation, for scripts; free with texts_free. NULL: there is none. */
struct texts {
	char *system; /* all that the system or developer says */
	char *user;   /* the last thing that the user says */
	char *last;   /* the last thing that anybody says, such as a tool's result */
};
void texts_free(struct texts *texts);
/* Adds a message's content: a string, or a list of parts with a "text" (or a string "content"). */
void texts_add(char **text, const json_t *content);
void texts_set(char **text, const json_t *content);
/* The next of OpenAI's messages: by the system or developer, the user, or somebody else. */
void texts_hear(struct texts *texts, const json_t *message, const json_t *content);

/* One endpoint of a provider. */
struct wire {
	const char *path; /* below /PROVIDER */
	enum family family;
	bool talks; /* answers with a completion; the others are given an empty one */
	/* Looks into asked->body. -1: it is not a request of this kind; *err says why in the provider's words. */
	int (*read)(struct asked *asked, struct error *err);
	void (*texts)(const struct asked *asked, struct texts *ret_texts); /* NULL: there are none */
	struct reply (*encode)(uint64_t seed, const struct asked *asked, const struct completion *completion);
};
const struct wire *wire_of(const char *path); /* NULL: there is none */

extern const struct wire wire_chat, wire_responses, wire_messages, wire_count_tokens, wire_embeddings;

#define CREATED 1700000000 /* a fixed time: replies are the same whenever they are asked for */

/* models.c: the list, or the one model `name`. */
struct reply models_reply(enum family family, const char *provider, const char *name);

/* errors.c: bodies of errors. `id` is the request's. */
struct reply error_reply(enum family family, int status, int64_t retry_after_ms, const char *model, const char *id);
/* The same with a text and code of one's own (code may be NULL; OpenAI only), for what is wrong with the request. */
struct reply error_refuse(enum family family, int status, const char *code, const char *id, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The prompt is too long for the model. */
struct reply error_too_long(enum family family, int64_t tokens, const char *id);
/* The upstream of a provider could not be asked. */
struct reply error_upstream(enum family family, int status, const char *id, const char *provider, const char *why);
/* What a proxy in between typically answers with: 200, and not JSON. */
struct reply error_malformed(void);
/* The event with which a stream ends when the model fails in the middle; *ret_name is NULL where it has none. */
json_t *error_event(const struct wire *wire, const char **ret_name);
struct reply sink_ok(void);

/* "2", "0.25": seconds, with decimals only where needed. */
#define SECONDS_SIZE 32
void seconds_text(int64_t ms, char text[SECONDS_SIZE]);

#endif
