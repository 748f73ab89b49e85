/* SPDX-License-Identifier: Apache-2.0 */
/* The writer, its judge, its exploration; see explore_room.h. */
#include "explore_room.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash/record/record.h"

struct writer {
	const char *dir;
	enum mistake mistake;
};

int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);

	if (!room || explore_work_create(room->work, NULL) < 0)
		return -1;
	snprintf(room->dir, sizeof room->dir, "%s/writer", room->work);
	room->options = (struct explore_options){.work = room->work, .seed = 1, .kinds = MODEL_DEFAULT};
	*state = room;
	return mkdir(room->dir, 0700);
}

int teardown(void **state)
{
	struct room *room = *state;

	trace_destroy(room->trace);
	explore_work_remove(room->work);
	free(room);
	return 0;
}

static int put(enum mistake mistake, int dir, int value)
{
	const char *name = mistake == IN_PLACE ? "value" : "value.new";
	const int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC | (mistake == IN_PLACE ? 0 : O_TRUNC), 0600);
	char text[1024];
	int rc;

	memset(text, 'a' + value, sizeof text);
	rc = fd < 0 || write(fd, text, sizeof text) != (ssize_t)sizeof text ? -1 : 0;
	if (rc == 0 && mistake == ACK_FIRST)
		printf("%d\n", value), fflush(stdout);
	if (rc == 0 && mistake != NO_SYNC)
		rc = fsync(fd);
	close(fd);
	if (rc == 0 && mistake != IN_PLACE)
		rc = renameat(dir, "value.new", dir, "value");
	if (rc == 0 && mistake != NO_DIR_SYNC)
		rc = fsync(dir);
	if (rc == 0 && mistake != ACK_FIRST)
		printf("%d\n", value), fflush(stdout);
	return rc;
}

static int write_values(void *arg)
{
	const struct writer *writer = arg;
	const int dir = open(writer->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int value, rc = dir < 0 ? -1 : 0;

	for (value = 1; rc == 0 && value <= VALUES; value++)
		rc = put(writer->mistake, dir, value);
	return rc < 0;
}

void record_writer(struct room *room, enum mistake mistake)
{
	const struct record_options options = {.dir = room->dir};
	struct writer writer = {room->dir, mistake};
	struct error err = {0};
	int status;

	if (record_function(&options, write_values, &writer, &room->trace, &status, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(status, 0);
	assert_int_equal(room->trace->acks_count, VALUES);
}

int read_value(const char *dir)
{
	char path[128], text[1025];
	ssize_t n, i;
	int fd;

	snprintf(path, sizeof path, "%s/value", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof text);
	close(fd);
	for (i = 0; i < n; i++)
		if (text[i] != text[0])
			return -1;
	return n == 1024 && text[0] > 'a' && text[0] <= 'a' + VALUES ? text[0] - 'a' : -1;
}

int judge_value(void *context, const struct crash_case *state, struct crash_verdict *verdict, struct error *err)
{
	const int value = read_value(state->dir);

	(void)context;
	(void)err;
	verdict->outcome = value < 0 ? CRASH_CORRUPT : value < (int)state->acked ? CRASH_LOST : CRASH_RECOVERED;
	snprintf(verdict->reason, sizeof verdict->reason, "value %d of %zu", value, state->acked);
	return 0;
}

const struct crash_judge by_value = {.name = "value", .judge = judge_value};

void explore_it(struct room *room, const struct crash_judge *judge)
{
	struct error err = {0};

	if (explore(room->trace, judge, &room->options, &room->result, &err) < 0)
		fail_msg("%s", err.text);
}

uint64_t judged(const struct explore_result *result)
{
	return result->judged[MODEL_PREFIX] + result->judged[MODEL_SUBSET] + result->judged[MODEL_SECTOR] +
	       result->judged[MODEL_BYTE];
}

uint64_t all_outcomes(const struct explore_result *result)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < CRASH_OUTCOMES; i++)
		sum += result->outcomes[i];
	return sum;
}
