/* SPDX-License-Identifier: Apache-2.0 */
/* The work of every subject, and its comparison with what is found. No I/O. */
#include "crash/subjects/rows.h"

#include <stdio.h>
#include <string.h>

static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* The value of `key` as transaction `version` wrote it; every fifth is larger than a page. */
static size_t value_of(uint32_t key, uint32_t version, uint8_t value[ROWS_VALUE_MAX])
{
	uint64_t state = (uint64_t)key << 32 | version, bits;
	size_t size = 16 + next(&state) % 600, at;

	if ((key + version) % 5 == 0)
		size += 4500;
	for (at = 0; at + sizeof bits <= size; at += sizeof bits) {
		bits = next(&state);
		memcpy(value + at, &bits, sizeof bits);
	}
	bits = next(&state);
	memcpy(value + at, &bits, size - at);
	return size;
}

static uint32_t rewritten(uint32_t transaction)
{
	return transaction > 2 && transaction % 2 ? transaction - 2 : 0;
}

static uint32_t removed(uint32_t transaction)
{
	return transaction % 4 == 0 ? transaction / 2 : 0;
}

size_t rows_steps(uint32_t transaction, struct rows_step steps[ROWS_STEPS_MAX])
{
	size_t count = 0;

	steps[count].key = transaction;
	steps[count].remove = false;
	steps[count].size = value_of(transaction, transaction, steps[count].value);
	count++;
	if (rewritten(transaction)) {
		steps[count].key = rewritten(transaction);
		steps[count].remove = false;
		steps[count].size = value_of(steps[count].key, transaction, steps[count].value);
		count++;
	}
	if (removed(transaction)) {
		steps[count].key = removed(transaction);
		steps[count].remove = true;
		steps[count].size = 0;
		count++;
	}
	return count;
}

void rows_check_begin(struct rows_check *check, uint32_t transaction, char *message, size_t message_size)
{
	uint32_t i;

	memset(check, 0, sizeof *check);
	check->message = message;
	check->message_size = message_size;
	if (transaction > ROWS_COUNT_MAX)
		transaction = ROWS_COUNT_MAX;
	check->transaction = transaction;
	for (i = 1; i <= transaction; i++) {
		check->version[i] = i;
		check->version[rewritten(i)] = i;
		check->version[removed(i)] = 0;
	}
	for (i = 1; i <= transaction; i++)
		check->expected += check->version[i] != 0;
}

bool rows_check_one(struct rows_check *check, uint64_t key, const void *value, size_t size)
{
	uint8_t expected[ROWS_VALUE_MAX];

	check->rows++;
	if (key == 0 || key > check->transaction || check->version[key] == 0) {
		snprintf(check->message, check->message_size, "key %llu is there, which transaction %u does not have",
		    (unsigned long long)key, check->transaction);
		return false;
	}
	if (size != value_of((uint32_t)key, check->version[key], expected) || memcmp(value, expected, size) != 0) {
		snprintf(check->message, check->message_size, "key %llu has another value than transaction %u wrote",
		    (unsigned long long)key, check->version[key]);
		return false;
	}
	return true;
}

bool rows_check_end(struct rows_check *check)
{
	if (check->rows == check->expected)
		return true;
	snprintf(check->message, check->message_size, "%u rows after transaction %u, expected %u", check->rows,
	    check->transaction, check->expected);
	return false;
}

enum subject_verdict rows_judge(uint32_t found, uint32_t acked, uint32_t attempted, char *message, size_t message_size)
{
	if (found < acked) {
		snprintf(message, message_size, "transaction %u was acknowledged, %u is the last that is there", acked,
		    found);
		return SUBJECT_LOST;
	}
	if (found > attempted) {
		snprintf(message, message_size, "transaction %u is there, %u was the last that was attempted", found,
		    attempted);
		return SUBJECT_CORRUPT;
	}
	message[0] = '\0';
	return SUBJECT_RECOVERED;
}
