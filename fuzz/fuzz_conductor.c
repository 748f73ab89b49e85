/* SPDX-License-Identifier: Apache-2.0 */
/* The conductor's records: what is decoded, of whatever kind, must come back the same from its own bytes. The first byte is
 * the kind. */
#include "core/record.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct record record, again;
	static uint8_t encoded[RECORD_MAX];
	struct error err = {0};
	size_t length;
	uint32_t kind;

	if (!size)
		return 0;
	kind = bytes[0];
	if (core_record_decode(&record, kind, bytes + 1, size - 1, &err) < 0) {
		MUST(err.code > 0 && err.text[0]);
		return 0;
	}
	MUST(record.after_count <= CORE_AFTER_MAX && record.prompt_size <= CORE_PROMPT_MAX);
	MUST(strlen(record.task) < sizeof record.task && strlen(record.text) < sizeof record.text);
	length = core_record_encode(&record, encoded, sizeof encoded);
	MUST(length > 0);
	MUST(core_record_decode(&again, kind, encoded, length, &err) == 0);
	MUST(again.prompt_size == record.prompt_size);
	MUST(!record.prompt_size || memcmp(again.prompt, record.prompt, record.prompt_size) == 0);
	MUST(again.kind == record.kind && again.time_us == record.time_us && again.epoch == record.epoch);
	MUST(again.attempt == record.attempt && again.pid == record.pid && again.after_count == record.after_count);
	MUST(strcmp(again.task, record.task) == 0 && strcmp(again.key, record.key) == 0);
	MUST(strcmp(again.text, record.text) == 0 && strcmp(again.commit, record.commit) == 0);
	return 0;
}
