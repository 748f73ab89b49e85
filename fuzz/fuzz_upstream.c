/* SPDX-License-Identifier: Apache-2.0 */
/* What a real provider answers, and what a recording of it holds: counted, written down and read again, and made wrong by a
 * fault. Whatever it is, the bytes come back as they were, and where events end stays inside. */
#include "fuzz/fuzz.h"
#include "gateway/internal.h"
#include "gateway/proxy/recording.h"
#include "gateway/proxy/usage.h"

static struct reply reply_of(const uint8_t *bytes, size_t size, bool stream)
{
	struct reply reply = {.status = 200, .size = size, .body = malloc(size + 1)};

	MUST(reply.body);
	memcpy(reply.body, bytes, size);
	if (stream)
		recording_ends(&reply);
	return reply;
}

static void must_be_sound(const struct reply *reply)
{
	size_t i;

	MUST(reply->body);
	MUST(reply->ends || !reply->end_count);
	for (i = 1; reply->ends && i < reply->end_count; i++)
		MUST(reply->ends[i] > reply->ends[i - 1]);
	MUST(!reply->end_count || reply->ends[reply->end_count - 1] == reply->size);
}

/* A stream says the same however it is cut. */
static void try_usage(const uint8_t *bytes, size_t size)
{
	struct usage whole = {0}, pieces = {0};
	size_t i;

	usage_feed(&whole, (const char *)bytes, size);
	for (i = 0; i < size; i++)
		usage_feed(&pieces, (const char *)bytes + i, 1);
	MUST(usage_tokens(&whole) == usage_tokens(&pieces) && usage_tokens(&whole) >= 0);
	usage_finish(&whole);
	usage_finish(&pieces);
	usage_body(&whole, (const char *)bytes, size);
	MUST(usage_tokens(&whole) >= 0);
	usage_finish(&whole);
}

static void try_recording(const uint8_t *bytes, size_t size)
{
	const struct recording_request request = {
	    .provider = "claude", .method = "POST", .path = "/v1/messages", .body = (const char *)bytes, .size = size};
	struct header_list headers = {0}, back = {0};
	char key[RECORDING_KEY_SIZE], *line;
	struct reply reply = {0};
	struct error err = {0};

	MUST(header_list_add(&headers, "Content-Type", 12, "text/event-stream", 17));
	recording_key(&request, key);
	line = recording_line(&request, key, 1, 200, &headers, (const char *)bytes, size);
	MUST(line && strlen(line) && strchr(line, '\n') == line + strlen(line) - 1);
	MUST(recording_answer(line, strlen(line), &reply, &back, &err) == 0);
	MUST(reply.status == 200 && reply.size == size && !memcmp(reply.body, bytes, size));
	must_be_sound(&reply);
	MUST(back.size == headers.size && !memcmp(back.bytes, headers.bytes, back.size));
	free(line);
	reply_free(&reply);
	header_list_free(&headers);
	header_list_free(&back);
	/* the same bytes as a line that somebody else wrote */
	if (recording_answer((const char *)bytes, size, &reply, &back, &err) == 0)
		must_be_sound(&reply);
	else
		MUST(err.code > 0 && err.text[0]);
	reply_free(&reply);
	header_list_free(&back);
}

static void try_faults(const uint8_t *bytes, size_t size, const struct wire *wire, bool stream)
{
	static const uint32_t actions[] = {TRITONE_GATEWAY_WRONG_CONTENT, TRITONE_GATEWAY_WRONG_USAGE,
	    TRITONE_GATEWAY_WRONG_TOOL, TRITONE_GATEWAY_WRONG_ARGUMENTS, TRITONE_GATEWAY_BROKEN_STREAM,
	    TRITONE_GATEWAY_MALFORMED};
	json_t *body = json_pack("{s:s}", "model", "opus");
	const struct asked asked = {.wire = wire,
	    .provider = "claude",
	    .model = "opus",
	    .task = "",
	    .role = "",
	    .after = "",
	    .body = body,
	    .stream = stream};
	size_t i;

	MUST(body);
	for (i = 0; i < sizeof actions / sizeof actions[0]; i++) {
		struct reply reply = reply_of(bytes, size, stream);

		if (!stream || reply.ends)
			reshape(actions[i], "", 1, &asked, &reply);
		must_be_sound(&reply);
		reply_free(&reply);
	}
	json_decref(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct wire *const wires[] = {&wire_chat, &wire_responses, &wire_messages};
	size_t i;

	try_usage(bytes, size);
	try_recording(bytes, size);
	for (i = 0; i < sizeof wires / sizeof wires[0]; i++) {
		try_faults(bytes, size, wires[i], true);
		try_faults(bytes, size, wires[i], false);
	}
	return 0;
}
