/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small workload of the conductor as one program that can be recorded: makes DIR with it, hands in tasks, and prints
 * what was acknowledged to the outside, each line as soon as it was: "made", "accepted TASK" (the answer to its
 * submitter), "confirmed TASK" (its commit was notified). The gateway is in this process and writes nothing.
 *
 *     conductor_writer DIR CHAINS
 *     conductor_writer DIR finish N    goes on there until N more tasks were notified
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conductor_room.h"

static void say(const char *verb, const char *task)
{
	char line[64];
	int size = snprintf(line, sizeof line, "%s%s%s\n", verb, *task ? " " : "", task);

	if (write(STDOUT_FILENO, line, (size_t)size) != size)
		exit(1);
}

/* In order, and each once: the history is looked at from its beginning. */
struct confirmed {
	int next, said;
};

static void on_delivered(void *arg, const char *task)
{
	struct confirmed *confirmed = arg;

	if (confirmed->next++ < confirmed->said)
		return;
	say("confirmed", task);
	confirmed->said++;
}

static void wait_for(struct room *room, int wanted, struct confirmed *confirmed)
{
	confirmed->next = 0;
	room_wait_delivered(room, wanted, on_delivered, confirmed);
}

/* What was left undone is done. */
static int finish(struct room *room, int wanted)
{
	int status;

	room_serve(room);
	if (wanted > 0)
		room_wait_delivered(room, wanted, NULL, NULL);
	status = room_stop(room, SIGTERM);
	room_destroy(room);
	return status ? 1 : 0;
}

int main(int argc, char **argv)
{
	const int chains = argc == 3 ? atoi(argv[2]) : 0;
	struct confirmed confirmed = {0, 0};
	struct room *room;
	char output[256];
	int chain, role;

	if (argc == 4 && strcmp(argv[2], "finish") == 0 && room_create(&room, argv[1]) == 0)
		return finish(room, atoi(argv[3]));
	if (chains < 1 || chains * ROOM_ROLES > ROOM_TASKS_MAX || room_create(&room, argv[1]) != 0) {
		fprintf(stderr, "usage: conductor_writer DIR CHAINS, with CONDUCTOR in the environment\n");
		return 2;
	}
	room_run_verb(room, "init", output, sizeof output);
	say("made", "");
	room_serve(room);
	for (chain = 0; chain < chains; chain++)
		for (role = 0; role < ROOM_ROLES; role++) {
			char name[32];

			if (room_submit(room, chain, role) != 202)
				return 1;
			room_task_name(name, sizeof name, chain, role);
			say("accepted", name);
		}
	for (chain = 1; chain <= chains * ROOM_ROLES; chain++)
		wait_for(room, chain, &confirmed);
	role = room_stop(room, SIGTERM);
	room_destroy(room);
	return role;
}
