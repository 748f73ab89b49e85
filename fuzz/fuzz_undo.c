/* SPDX-License-Identifier: Apache-2.0 */
/* An undo record, and what a fault's runner says, which may be a plugin gone mad: one msgpack value, in a frame's bounds. */
#include <msgpack.h>

#include "fuzz/fuzz.h"
#include "runner/protocol.h"
#include "wire/value.h"

static void try_entry(const msgpack_object *value)
{
	static struct undo_entry entry, again;
	msgpack_unpacked unpacked;
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	size_t offset = 0;

	if (undo_entry_unpack(value, &entry, NULL) < 0)
		return;
	MUST(entry.undo.size <= TRITONE_UNDO_SIZE_MAX && strlen(entry.fault_id) < sizeof entry.fault_id);
	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	undo_entry_pack(&packer, &entry);
	msgpack_unpacked_init(&unpacked);
	MUST(msgpack_unpack_next(&unpacked, buffer.data, buffer.size, &offset) == MSGPACK_UNPACK_SUCCESS);
	MUST(undo_entry_unpack(&unpacked.data, &again, NULL) == 0);
	MUST(strcmp(entry.fault_id, again.fault_id) == 0 && strcmp(entry.params, again.params) == 0);
	MUST(entry.undo.size == again.undo.size && memcmp(entry.undo.bytes, again.undo.bytes, entry.undo.size) == 0);
	msgpack_unpacked_destroy(&unpacked);
	msgpack_sbuffer_destroy(&buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct runner_request request;
	static struct runner_reply reply;
	msgpack_unpacked unpacked;

	msgpack_unpacked_init(&unpacked);
	if (value_unpack(&unpacked, bytes, size, NULL) == 0) {
		try_entry(&unpacked.data);
		protocol_parse_request(&unpacked.data, &request, NULL);
		reply.info = NULL;
		if (protocol_parse_reply(&unpacked.data, &reply, NULL) == 0) {
			MUST(strlen(reply.text) < sizeof reply.text && reply.undo.size <= TRITONE_UNDO_SIZE_MAX);
			plugin_info_free(reply.info);
		}
	}
	msgpack_unpacked_destroy(&unpacked);
	return 0;
}
