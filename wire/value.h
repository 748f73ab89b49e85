/* SPDX-License-Identifier: Apache-2.0 */
/* One msgpack value from bytes that may be anybody's. */
#ifndef TRITONE_WIRE_VALUE_H
#define TRITONE_WIRE_VALUE_H

#include <msgpack.h>
#include <stddef.h>

#include "wal/error.h"

/*
 * Fills *unpacked, which is initialised and to be destroyed by the caller; its strings point into `bytes`. EILSEQ: not
 * msgpack, more than one value, or a list that says it has more members than there are bytes, for whose places msgpack
 * would ask for memory before it looks (five bytes can ask for 100 GiB).
 */
int value_unpack(msgpack_unpacked *unpacked, const void *bytes, size_t size, struct error *err);

#endif
