/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the conductor's core recovers from: a snapshot, or records in a row (kind, size in two bytes, payload), by the first
 * byte of the input. What it takes, its own snapshot of it must give to another core, alike.
 */
#include <errno.h>
#include <stdbool.h>

#include "core/core.h"
#include "fuzz/fuzz.h"
#include "policy/policy.h"

static struct core *core, *other;
static struct core_options options = {.seed = 1, .tasks_max = 32, .agents_max = 8, .prompt_bytes = 1 << 16};

static void prepare(void)
{
	struct error err;

	policy_init(&options.policy);
	MUST(core_create(&core, &options, &err) == 0 && core_create(&other, &options, &err) == 0);
}

static void replay(struct taker *input)
{
	uint64_t lsn = 0;

	while (input->size) {
		const uint32_t kind = (uint32_t)take(input, 1);
		size_t size = (size_t)take(input, 2);
		struct error err = {0};

		size = size < input->size ? size : input->size;
		if (core_replay(core, ++lsn, 1, kind, input->bytes, size, &err) < 0) {
			MUST(err.code > 0 && err.text[0]);
			return;
		}
		input->bytes += size;
		input->size -= size;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct taker input = {bytes, size};
	struct error err = {0};
	uint8_t *snapshot;
	bool replayed;
	size_t length;

	if (!core)
		prepare();
	MUST(core_renew(core, &options, &err) == 0 && core_renew(other, &options, &err) == 0);
	replayed = take(&input, 1) != 0;
	if (replayed) {
		replay(&input);
	} else if (core_restore(core, input.bytes, input.size, &err) < 0) {
		MUST(err.code > 0 && err.text[0]);
		return 0;
	}
	length = core_snapshot(core, NULL, 0);
	snapshot = malloc(length);
	MUST(length && snapshot && core_snapshot(core, snapshot, length) == length);
	/* records that no conductor would write one after the other may give a state that is refused, by name */
	if (core_restore(other, snapshot, length, &err) == 0)
		MUST(core_digest(core) == core_digest(other));
	else
		MUST(replayed && err.code == EILSEQ && err.text[0]);
	free(snapshot);
	return 0;
}
