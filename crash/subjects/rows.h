/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work that every subject does, as a function of the transaction's number alone: rows put, rewritten and removed,
 * small and larger than a page. So what a database holds can be compared with what it should, byte by byte.
 */
#ifndef TRITONE_CRASH_SUBJECTS_ROWS_H
#define TRITONE_CRASH_SUBJECTS_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crash/subjects/subject.h"

#define ROWS_COUNT_MAX 4096u
#define ROWS_VALUE_MAX 6000u
#define ROWS_STEPS_MAX 3u

struct rows_step {
	uint32_t key;
	bool remove;
	size_t size;
	uint8_t value[ROWS_VALUE_MAX];
};

/* What transaction `transaction` does beside setting the counter to its number. Returns how many steps. */
size_t rows_steps(uint32_t transaction, struct rows_step steps[ROWS_STEPS_MAX]);

/* A database being compared with what `transaction` transactions leave behind: rows in any order. */
struct rows_check {
	uint32_t transaction;
	uint32_t version[ROWS_COUNT_MAX + 1]; /* of each key; 0: not there */
	uint32_t rows, expected;
	char *message;
	size_t message_size;
};

void rows_check_begin(struct rows_check *check, uint32_t transaction, char *message, size_t message_size);
bool rows_check_one(struct rows_check *check, uint64_t key, const void *value, size_t size); /* false: wrong */
bool rows_check_end(struct rows_check *check); /* false: rows are missing */

/* The verdict for a database whose counter says `found` and is what it should be for that. */
enum subject_verdict rows_judge(uint32_t found, uint32_t acked, uint32_t attempted, char *message, size_t message_size);

#endif
