/* SPDX-License-Identifier: Apache-2.0 */
/* The table of fault points. A slot that was armed once is used again as late as possible: a process may still be in the
 * middle of passing it when it is disarmed. */
#include "system/faultpoints.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tritone/faultpoint.h"

enum { SLOT_FREE = 0, SLOT_WRITING = 1, SLOT_ARMED = 2 };

struct faultpoints {
	char *path;
	struct tritone_point_table *table;
	pthread_mutex_t lock;
	char keys[TRITONE_POINT_SLOTS][64]; /* "": the slot is free */
	unsigned next;                      /* where to look for a free slot */
};

static int make_table(const char *path, struct tritone_point_table **ret_table, struct error *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), code;
	void *map;

	if (fd < 0)
		goto failed;
	if (ftruncate(fd, (off_t)sizeof(struct tritone_point_table)) != 0)
		goto failed;
	map = mmap(NULL, sizeof(struct tritone_point_table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		goto failed;
	close(fd);
	*ret_table = map;
	(*ret_table)->slots = TRITONE_POINT_SLOTS;
	__atomic_store_n(&(*ret_table)->magic, TRITONE_POINT_MAGIC, __ATOMIC_RELEASE);
	return 0;
failed:
	code = errno;
	if (fd >= 0)
		close(fd);
	return error_set(err, code, "%s: cannot make the table of fault points: %s", path, strerror(code));
}

int faultpoints_create(struct faultpoints **ret_points, const char *path, struct error *err)
{
	struct faultpoints *points = calloc(1, sizeof *points);

	if (!points || !(points->path = strdup(path))) {
		free(points);
		return error_set(err, ENOMEM, "%s: no memory", path);
	}
	if (make_table(path, &points->table, err) != 0) {
		free(points->path);
		free(points);
		return -1;
	}
	pthread_mutex_init(&points->lock, NULL);
	*ret_points = points;
	return 0;
}

static void disarm(struct faultpoints *points, unsigned i)
{
	if (!points->keys[i][0])
		return;
	__atomic_store_n(&points->table->slot[i].state, SLOT_FREE, __ATOMIC_RELEASE);
	__atomic_sub_fetch(&points->table->armed, 1, __ATOMIC_ACQ_REL);
	points->keys[i][0] = '\0';
}

void faultpoints_destroy(struct faultpoints *points)
{
	if (!points)
		return;
	for (unsigned i = 0; i < TRITONE_POINT_SLOTS; i++)
		disarm(points, i);
	munmap(points->table, sizeof *points->table);
	pthread_mutex_destroy(&points->lock);
	free(points->path);
	free(points);
}

const char *faultpoints_path(const struct faultpoints *points)
{
	return points->path;
}

static int find(const struct faultpoints *points, const char *key)
{
	for (int i = 0; i < TRITONE_POINT_SLOTS; i++)
		if (points->keys[i][0] && !strcmp(points->keys[i], key))
			return i;
	return -1;
}

static int check_rule(const struct tritone_point_rule *rule, struct error *err)
{
	if (!rule->key || !*rule->key || strlen(rule->key) > 63)
		return error_set(err, EINVAL, "fault point: a rule needs a key of at most 63 bytes");
	if (!rule->name || !*rule->name || strlen(rule->name) > 55)
		return error_set(
		    err, EINVAL, "fault point rule %s: needs a point's name of at most 55 bytes", rule->key);
	switch (rule->action) {
	case TRITONE_POINT_COUNT:
	case TRITONE_POINT_KILL:
	case TRITONE_POINT_STOP:
		return 0;
	case TRITONE_POINT_ERROR:
		if (rule->error > 0)
			return 0;
		return error_set(
		    err, EINVAL, "fault point %s: needs an errno value above 0, not %d", rule->name, rule->error);
	default:
		return error_set(err, EINVAL, "fault point %s: no action %#x", rule->name, rule->action);
	}
}

static int set_locked(struct faultpoints *points, const struct tritone_point_rule *rule, struct error *err)
{
	struct tritone_point_slot *slot;
	int same = find(points, rule->key);
	unsigned i = 0, tried;

	for (i = 0; i < TRITONE_POINT_SLOTS; i++)
		if ((int)i != same && points->keys[i][0] && !strcmp(points->table->slot[i].name, rule->name))
			return error_set(
			    err, EBUSY, "fault point %s: rule %s already has it", rule->name, points->keys[i]);
	if (same >= 0)
		disarm(points, (unsigned)same);
	for (tried = 0; tried < TRITONE_POINT_SLOTS; tried++) {
		i = (points->next + tried) % TRITONE_POINT_SLOTS;
		if (!points->keys[i][0])
			break;
	}
	if (tried == TRITONE_POINT_SLOTS)
		return error_set(
		    err, ENOSPC, "fault point %s: all %d slots are in use", rule->name, TRITONE_POINT_SLOTS);
	points->next = (i + 1) % TRITONE_POINT_SLOTS;
	slot = &points->table->slot[i];
	__atomic_store_n(&slot->state, SLOT_WRITING, __ATOMIC_RELEASE);
	slot->action = rule->action;
	slot->error = rule->error;
	slot->nth = rule->nth ? rule->nth : 1;
	slot->count = rule->count;
	slot->passes = 0;
	slot->hits = 0;
	memset(slot->name, 0, sizeof slot->name);
	memcpy(slot->name, rule->name, strlen(rule->name));
	memcpy(points->keys[i], rule->key, strlen(rule->key) + 1);
	__atomic_store_n(&slot->state, SLOT_ARMED, __ATOMIC_RELEASE);
	__atomic_add_fetch(&points->table->armed, 1, __ATOMIC_ACQ_REL);
	return 0;
}

int faultpoints_set(struct faultpoints *points, const struct tritone_point_rule *rule, struct error *err)
{
	int result;

	if (check_rule(rule, err) != 0)
		return -1;
	pthread_mutex_lock(&points->lock);
	result = set_locked(points, rule, err);
	pthread_mutex_unlock(&points->lock);
	return result;
}

int faultpoints_hits(
    struct faultpoints *points, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	int i, result = 0;

	pthread_mutex_lock(&points->lock);
	i = find(points, key);
	if (i < 0) {
		result = error_set(err, ENOENT, "no fault point rule %s", key);
	} else {
		/* Hits first: a pass is counted before its hit, so that hits never exceed what is returned as seen. */
		uint64_t hits = __atomic_load_n(&points->table->slot[i].hits, __ATOMIC_ACQUIRE);
		uint64_t seen = __atomic_load_n(&points->table->slot[i].passes, __ATOMIC_ACQUIRE);

		if (ret_hits)
			*ret_hits = hits;
		if (ret_seen)
			*ret_seen = seen;
	}
	pthread_mutex_unlock(&points->lock);
	return result;
}

int faultpoints_clear(struct faultpoints *points, const char *key)
{
	int i;

	pthread_mutex_lock(&points->lock);
	i = find(points, key);
	if (i >= 0)
		disarm(points, (unsigned)i);
	pthread_mutex_unlock(&points->lock);
	return i >= 0;
}
