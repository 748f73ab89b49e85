/* SPDX-License-Identifier: Apache-2.0 */
/* How many requests of each task were answered, in bounded memory: from the million-and-first task on, none is
 * remembered and each request counts as a first one. Tasks are told apart by 64 bits of a hash. */
#ifndef TRITONE_GATEWAY_TALLY_H
#define TRITONE_GATEWAY_TALLY_H

#include <stdint.h>

struct tally;

struct tally *tally_create(void); /* NULL: no memory */
void tally_destroy(struct tally *tally);
uint64_t tally_of(const struct tally *tally, const char *task);
void tally_add(struct tally *tally, const char *task);

#endif
