/* SPDX-License-Identifier: Apache-2.0 */
/* What upstreams answer is recorded, and answered from the recording: the same bytes, no key, no half of a line. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway_station.h"

#define STREAM                                                                                                         \
	"{\"model\":\"opus\",\"messages\":[{\"role\":\"user\",\"content\":\"go\"}],\"stream\":true,"                   \
	"\"stream_options\":{\"include_usage\":true}}"
#define JSON "Content-Type: application/json\r\n"
#define KEY  "sk-0123456789-secret"

static struct gateway_options recording(const struct stage *stage, const char *url)
{
	struct gateway_options options = stage_options(url);

	options.record = stage->file;
	return options;
}

/* From here on nobody can be asked: there is a recording. */
static void replay(struct stage *stage)
{
	struct gateway_options options = usual_options(NULL);

	options.replay = stage->file;
	stage_front(stage, &options);
}

static void say(struct stage *stage, size_t i, int status, const char *body)
{
	struct call *call;

	stage_begin(stage, OPUS, "", CHAT);
	station_hear(&stage->station);
	station_answer(&stage->station, status, JSON, body);
	call = stage_end(stage, i);
	assert_string_equal(call->answer, body);
	free(call);
}

/* Every protocol, streaming and not, and what is not for a model. */
static void test_same_bytes(void **state)
{
	static const struct {
		const char *path, *headers, *body;
	} rows[] = {{OPUS, "X-Step: 2", CHAT}, {OPUS, "X-Step: 2", STREAM},
	    {"/claude/v1/messages?beta=true", "",
		"{\"model\":\"o\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\"}]}"},
	    {"/claude/v1/messages", "",
		"{\"model\":\"o\",\"stream\":true,\"max_tokens\":9,\"messages\":[{\"role\":\"user\"}]}"},
	    {"/claude/v1/responses", "", "{\"model\":\"o\",\"input\":\"go\",\"stream\":true}"},
	    {"/claude/v1/embeddings", "", "{\"model\":\"o\",\"input\":\"go\",\"dimensions\":9}"},
	    {"/claude/v1/models", "", ""}, {"/claude/v1/nothing", "", ""}, {OPUS, "", "no JSON \\u00ff \x01"}};
	enum { COUNT = sizeof rows / sizeof rows[0] };
	struct stage *stage = *state;
	struct call *first[COUNT], *again;
	struct gateway_options options;
	char url[96];
	size_t i;

	stage_other(stage, 0);
	snprintf(url, sizeof url, "%s/claude", gateway_url(stage->other.gateway));
	options = recording(stage, url);
	stage_front(stage, &options);
	for (i = 0; i < COUNT; i++) {
		first[i] = request(&stage->front, rows[i].path, rows[i].headers, rows[i].body);
		assert_int_equal(first[i]->code, CURLE_OK);
	}
	assert_int_equal(first[0]->status, 200);
	assert_int_equal(first[7]->status, 404);
	assert_int_equal(first[8]->status, 400);
	has(first[3]->answer, "event: message_stop");
	replay(stage);
	gateway_destroy(stage->other.gateway);
	stage->other.gateway = NULL;
	for (i = 0; i < COUNT; i++) {
		again = request(&stage->front, rows[i].path, rows[i].headers, rows[i].body);
		assert_int_equal(again->status, first[i]->status);
		assert_int_equal(again->size, first[i]->size);
		assert_memory_equal(again->answer, first[i]->answer, first[i]->size);
		assert_string_equal(again->answer_headers, first[i]->answer_headers);
		free(again);
		free(first[i]);
	}
	assert_int_equal(gateway_amiss(stage->front.gateway, NULL), 0);
}

/* The n-th with the n-th, however its JSON is written; beyond the last, the last again. The tokens are told again, too. */
static void test_in_order(void **state)
{
	static const char *const other = "{ \"tools\": [], \"messages\":\n[{\"content\":\"go\",\"role\":\"user\"}],"
					 "\"model\":\"\\u006fpus\"}";
	static const char *const answers[] = {
	    "{\"n\":1,\"usage\":{\"input_tokens\":40,\"output_tokens\":2}}", "{\"n\":2}"};
	struct stage *stage = *state;
	struct gateway_options options = recording(stage, stage->station.url);
	struct call *call;
	size_t i;

	stage_front(stage, &options);
	say(stage, 0, 200, answers[0]);
	say(stage, 1, 429, answers[1]);
	replay(stage);
	for (i = 0; i < 3; i++) {
		call = request(&stage->front, OPUS, "", i % 2 ? CHAT : other);
		assert_string_equal(call->answer, answers[i ? 1 : 0]);
		assert_int_equal(call->status, i ? 429 : 200);
		free(call);
	}
	assert_int_equal(wait_op(&stage->front, OP_CALL, OP_OK, 1).value, 42);
	assert_string_equal(wait_op(&stage->front, OP_CALL, OP_FAIL, 1).detail, "upstream: answered 429");
}

static void test_not_in_it(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = recording(stage, stage->station.url);
	struct error err = {0};
	struct call *call;

	stage_front(stage, &options);
	say(stage, 0, 200, "{}");
	assert_int_equal(gateway_amiss(stage->front.gateway, &err), 0);
	replay(stage);
	call = request(&stage->front, OPUS, "", CHAT2);
	assert_int_equal(call->status, 404);
	has(call->answer, "\"The recording has no answer to this request: POST /v1/chat/completions to claude");
	has(call->answer, "\"not_in_recording\"");
	free(call);
	assert_string_equal(wait_op(&stage->front, OP_CALL, OP_FAIL, 1).detail, "not in the recording");
	assert_int_equal(status_of(&stage->front, CODEX, CHAT), 404); /* of another provider */
	assert_int_equal(gateway_amiss(stage->front.gateway, &err), -1);
	has(err.text, "no answer to 2 requests; the first: POST /v1/chat/completions to claude");
}

/* The client's key and the one that replaces it: in no line of the recording, even if the other side repeats them. */
static void test_no_key(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = recording(stage, stage->station.url);
	struct call *call;
	size_t i, n;
	char *text;

	assert_int_equal(setenv("TRITONE_TEST_KEY", KEY, 1), 0);
	options.upstreams[0].key_variable = "TRITONE_TEST_KEY";
	stage_front(stage, &options);
	for (i = 0; i < 2; i++) {
		stage_begin(stage, i ? "/claude/v1/messages?key=key-in-the-url" : OPUS "?key=key-in-the-url",
		    "Authorization: Bearer client-" KEY "\nx-api-key: other-" KEY "\nCookie: c", CHAT);
		station_hear(&stage->station);
		has(stage->station.request, i ? "\r\nx-api-key: " KEY "\r\n" : "\r\nAuthorization: Bearer " KEY "\r\n");
		assert_int_equal(count_of(stage->station.request, KEY), 1);
		station_answer(&stage->station, 401, JSON "X-Seen: " KEY "\r\nSet-Cookie: session=1\r\n",
		    "{\"error\":\"wrong: " KEY ", client-" KEY ", key-in-the-url\"}");
		call = stage_end(stage, i);
		has(call->answer, KEY);
		free(call);
	}
	stage_begin(stage, OPUS, "", "{\"key\":\"" KEY "\"}");
	station_hear(&stage->station);
	station_answer(&stage->station, 200, JSON, "\xff " KEY); /* no text: written in hex */
	free(stage_end(stage, i));
	assert_int_equal(unsetenv("TRITONE_TEST_KEY"), 0);
	text = stage_text(stage);
	assert_int_equal(count_of(text, "\n"), 4);
	assert_null(strstr(text, KEY));
	has(text, "{\"hex\": \"ff202a2a2a2a");
	assert_null(strstr(text, "client-"));
	assert_null(strstr(text, "key-in-the-url"));
	assert_null(strstr(text, "session"));
	assert_int_equal(count_of(text, "********************"), 2 * (1 + 1 + 8) + 1); /* blotted out where they were */
	free(text);
	for (n = 0; n < history_count(stage->front.history); n++) {
		struct history_view view = history_view(stage->front.history);

		assert_null(strstr(view.ops[n].detail, "secret"));
		assert_null(strstr(view.ops[n].key, "secret"));
	}
}

static void append(const struct stage *stage, const char *text)
{
	FILE *file = fopen(stage->file, "ae");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

/* A line whose writer died is neither read nor written on; what is recorded again is renewed. */
static void test_goes_on(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = recording(stage, stage->station.url);
	struct call *call;
	json_t *line;
	char *text;

	append(stage, "{\"trito"); /* it died at once */
	stage_front(stage, &options);
	say(stage, 0, 200, "{\"old\":1}");
	append(stage, "{\"provider\": \"claude\", \"method\": \"PO");
	replay(stage);
	call = request(&stage->front, OPUS, "", CHAT);
	assert_string_equal(call->answer, "{\"old\":1}");
	free(call);

	stage_front(stage, &options);
	say(stage, 1, 200, "{\"new\":1}");
	text = stage_text(stage);
	assert_int_equal(count_of(text, "\n"), 3);
	line = json_loads(strrchr(text, '{') ? strchr(strchr(text, '\n') + 1, '\n') + 1 : "", 0, NULL);
	assert_string_equal(json_string_value(json_object_get(line, "answer")), "{\"new\":1}");
	assert_string_equal(json_string_value(json_object_get(json_object_get(line, "request"), "model")), "opus");
	json_decref(line);
	free(text);
	replay(stage);
	call = request(&stage->front, OPUS, "", CHAT);
	assert_string_equal(call->answer, "{\"new\":1}");
	free(call);
}

/* Two gateways write to one file, and the other one dies within a line. */
static void test_beside_one_that_dies(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = recording(stage, stage->station.url);
	struct call *call;

	stage_front(stage, &options);
	say(stage, 0, 200, "{\"n\":1}");
	append(stage, "{\"provider\": \"claude\", \"method\": \"PO");
	say(stage, 1, 200, "{\"n\":2}");
	replay(stage);
	free(request(&stage->front, OPUS, "", CHAT));
	call = request(&stage->front, OPUS, "", CHAT);
	assert_string_equal(call->answer, "{\"n\":2}");
	free(call);
}

/* An upstream that dies is no answer; one that is slow is one when it is whole. */
static void test_only_what_is_whole(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = recording(stage, stage->station.url);
	char *text;

	stage_front(stage, &options);
	stage_begin(stage, OPUS, "", CHAT);
	station_hear(&stage->station);
	station_say(&stage->station, "HTTP/1.1 200 OK\r\n" JSON "Content-Length: 100\r\n\r\n{\"choices\"");
	station_hang_up(&stage->station);
	free(stage_end(stage, 0));
	free(request(&stage->front, CODEX, "", CHAT));
	text = stage_text(stage);
	assert_string_equal(text, "{\"tritone-recording\": 1}\n");
	free(text);
	say(stage, 1, 200, "{}");
	/* the client has had the answer: so has the file */
	text = stage_text(stage);
	has(text, "\"nth\": 1, ");
	free(text);
}

static void refused(const struct gateway_options *options, const char *why)
{
	struct gateway *gateway = NULL;
	struct error err = {0};

	assert_int_equal(gateway_create(&gateway, options, &err), -1);
	has(err.text, why);
}

static void test_bad_files(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {{"", ":1:1: no recording"}, {"{}\n", ":1:1: no recording"},
	    {"{\"tritone-recording\": 1}\n[]\n", ":2: no pair of a recording: 'key' or 'nth' is missing"},
	    {"{\"tritone-recording\": 1}\n{\"key\":\"00000000000000000000000000000000\",\"nth\":1,\"status\":99}\n",
		":2: no pair of a recording: 'status' is none of 200 to 599"},
	    {"{\"tritone-recording\": 1}\n{\"key\":\"00000000000000000000000000000000\",\"nth\":1,\"status\":200,"
	     "\"headers\":[],\"answer\":{\"hex\":\"zz\"}}\n",
		":2: no pair of a recording: 'answer' is neither"}};
	struct stage *stage = *state;
	struct gateway_options options = usual_options(NULL);
	char *text;
	size_t i;

	options.replay = stage->file;
	refused(&options, "No such file");
	for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		unlink(stage->file);
		append(stage, rows[i].text);
		refused(&options, rows[i].error);
	}
	unlink(stage->file);
	append(stage, "somebody's notes\n");
	options = recording(stage, stage->station.url);
	refused(&options, "is no recording, and is not overwritten");
	text = stage_text(stage);
	assert_string_equal(text, "somebody's notes\n");
	free(text);
	options.record = "/dev/null";
	refused(&options, "is no recording");
	options.record = "/nowhere/at/all";
	refused(&options, "No such file");
}

static void test_bad_options(void **state)
{
	struct stage *stage = *state;
	struct gateway_options options = stage_options("ftp://x"), none = usual_options(NULL);

	refused(&options, "neither with http://");
	options = stage_options("http://user:" KEY "@x");
	refused(&options, "it has a user or a password");
	options = stage_options("http://x:99999");
	refused(&options, "its port is none of");
	options = stage_options("http://x/?a");
	refused(&options, "a query or a fragment");
	options = stage_options("http://x");
	options.upstreams[1].provider = "nobody";
	refused(&options, "no such provider");
	options.upstreams[1].provider = "claude";
	refused(&options, "two upstreams");
	options = stage_options("http://x");
	options.upstreams[1].key_variable = "TRITONE_TEST_NO_KEY";
	refused(&options, "TRITONE_TEST_NO_KEY, with the API key for 'codex', is not set");
	options = recording(stage, "http://x");
	options.replay = stage->file;
	refused(&options, "contradict each other");
	none.record = stage->file;
	refused(&none, "needs an upstream");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_same_bytes, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_in_order, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_not_in_it, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_no_key, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_goes_on, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_beside_one_that_dies, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_only_what_is_whole, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_bad_files, stage_setup, stage_teardown),
	    cmocka_unit_test_setup_teardown(test_bad_options, stage_setup, stage_teardown),
	};

	return room_run(tests);
}
