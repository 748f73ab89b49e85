/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's barriers; see hold.h. */
#include "gateway/hold.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLDS_MAX   64
#define TARGET_SIZE 64

struct barrier {
	uint64_t tag;     /* 0: free */
	uint64_t left;    /* requests until it falls */
	uint64_t request; /* the one it holds; 0: not fallen yet */
	char target[TARGET_SIZE];
};

struct holds {
	struct barrier barriers[HOLDS_MAX];
	size_t active; /* so that a request without barriers looks at nothing */
};

int holds_create(struct holds **ret_holds, struct error *err)
{
	struct holds *holds = calloc(1, sizeof *holds);

	if (!holds)
		return error_set(err, ENOMEM, "no memory for the gateway's barriers");
	*ret_holds = holds;
	return 0;
}

void holds_destroy(struct holds *holds)
{
	free(holds);
}

int holds_add(struct holds *holds, const char *target, uint64_t nth, uint64_t tag, struct error *err)
{
	struct barrier *barrier = NULL;
	size_t i;

	if (!nth)
		return error_set(err, EINVAL, "a barrier's request number is 0, expected 1 or more");
	if (!target || !*target || strlen(target) >= TARGET_SIZE)
		return error_set(err, EINVAL, "a barrier needs a target of 1 to %d bytes", TARGET_SIZE - 1);
	for (i = 0; i < HOLDS_MAX && !barrier; i++)
		if (!holds->barriers[i].tag)
			barrier = &holds->barriers[i];
	if (!barrier)
		return error_set(err, ENOSPC, "there are %d barriers already; release one", HOLDS_MAX);
	*barrier = (struct barrier){.tag = tag, .left = nth};
	memcpy(barrier->target, target, strlen(target));
	holds->active++;
	return 0;
}

void holds_remove(struct holds *holds, uint64_t tag)
{
	size_t i;

	for (i = 0; tag && i < HOLDS_MAX; i++) {
		if (holds->barriers[i].tag != tag)
			continue;
		holds->barriers[i].tag = 0;
		holds->active--;
	}
}

bool holds_arrive(struct holds *holds, const char *target, bool provider, uint64_t id, char *text, size_t size)
{
	size_t used = 0, i;

	text[0] = '\0';
	for (i = 0; holds->active && i < HOLDS_MAX; i++) {
		struct barrier *barrier = &holds->barriers[i];

		if (!barrier->tag || !barrier->left)
			continue;
		if (strcmp(barrier->target, target) != 0 && !(provider && !strcmp(barrier->target, "*")))
			continue;
		if (--barrier->left)
			continue;
		barrier->request = id;
		if (used < size)
			used +=
			    (size_t)snprintf(text + used, size - used, "%s %" PRIu64, used ? "" : "held", barrier->tag);
	}
	return used > 0;
}

uint64_t holds_of(const struct holds *holds, uint64_t id)
{
	size_t i;

	for (i = 0; holds->active && i < HOLDS_MAX; i++)
		if (holds->barriers[i].tag && holds->barriers[i].request == id)
			return holds->barriers[i].tag;
	return 0;
}
