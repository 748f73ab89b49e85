/* SPDX-License-Identifier: Apache-2.0 */
/* Records in the mapping that all recorded processes share. */
#include "crash/record/emit.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct trace_file_head *head_of(struct record_control *control)
{
	return (struct trace_file_head *)(void *)((uint8_t *)control + RECORD_TRACE_AT);
}

void emit_lock(struct record_control *control)
{
	if (pthread_mutex_lock(&control->lock) == EOWNERDEAD) {
		control->torn = 1;
		pthread_mutex_consistent(&control->lock);
	}
}

void emit_unlock(struct record_control *control)
{
	pthread_mutex_unlock(&control->lock);
}

void emit_stop(struct record_control *control)
{
	emit_lock(control);
	__atomic_store_n(&control->enabled, 0, __ATOMIC_RELEASE);
	emit_unlock(control);
}

static uint8_t *append(uint8_t *to, const void *bytes, size_t size)
{
	if (size)
		memcpy(to, bytes, size);
	return to + size;
}

void emit(struct record_control *control, const struct trace_op *op, const struct iovec *pieces, int count)
{
	struct trace_file_head *head = head_of(control);
	const size_t size = trace_record_size(op);
	struct trace_record record = trace_record_of(op);
	size_t left = op->data_size;
	uint8_t *at = (uint8_t *)head + head->end;
	int i;

	if (RECORD_TRACE_AT + head->end + size > RECORD_SIZE || size > UINT32_MAX) {
		control->full = 1;
		return;
	}
	record.pid = (uint32_t)getpid();
	at = append(at, &record, sizeof record);
	at = append(at, op->name, record.name_size);
	at = append(at, op->name2, record.name2_size);
	for (i = 0; i < count && left; i++) {
		const size_t piece = pieces[i].iov_len < left ? pieces[i].iov_len : left;

		at = append(at, pieces[i].iov_base, piece);
		left -= piece;
	}
	head->end += size; /* only now does it count */
}

static void add_text(char *to, size_t size, const char *text)
{
	const size_t used = strlen(to), wanted = strlen(text);
	const size_t fits = wanted < size - 1 - used ? wanted : size - 1 - used;

	memcpy(to + used, text, fits);
	to[used + fits] = '\0';
}

void emit_refusal(struct record_control *control, const char *what, const char *name, const char *why)
{
	if (control->refused)
		return; /* the first one is what counts */
	control->refusal[0] = '\0';
	add_text(control->refusal, sizeof control->refusal, what);
	add_text(control->refusal, sizeof control->refusal, " ");
	add_text(control->refusal, sizeof control->refusal, name);
	add_text(control->refusal, sizeof control->refusal, why);
	control->refused = 1;
}
