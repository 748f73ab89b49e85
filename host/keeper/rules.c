/* SPDX-License-Identifier: Apache-2.0 */
/* The table of errno rules. A few rules at most: a list, looked through under one lock. */
#include "keeper/rules.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SIZE  64u
#define RULES_MAX 256u
#define ERRNO_MAX 4095

struct entry {
	struct entry *next;
	uint64_t number;
	char key[KEY_SIZE];
	char *path;      /* as given, normalised */
	char *real_path; /* without symbolic links; the same when it does not exist yet */
	struct tritone_errno_rule rule;
	int64_t end_ns; /* 0: none */
	bool ended;     /* its time is over: it acts no more, and its counts are kept until it is cleared */
	uint64_t random;
	struct keeper_rule_stats stats;
};

struct rules {
	pthread_mutex_t lock; /* the list and what hangs on it */
	struct entry *first;
	unsigned count;
	uint64_t seed, numbers;
	atomic_bool any;
};

int rules_create(struct rules **ret_rules, uint64_t seed, struct error *err)
{
	struct rules *rules = calloc(1, sizeof *rules);

	if (!rules)
		return error_set(err, ENOMEM, "no memory for the rules");
	pthread_mutex_init(&rules->lock, NULL);
	rules->seed = seed;
	*ret_rules = rules;
	return 0;
}

static void entry_free(struct entry *entry)
{
	if (!entry)
		return;
	free(entry->path);
	free(entry->real_path);
	free(entry);
}

void rules_destroy(struct rules *rules)
{
	if (!rules)
		return;
	while (rules->first) {
		struct entry *entry = rules->first;

		rules->first = entry->next;
		entry_free(entry);
	}
	pthread_mutex_destroy(&rules->lock);
	free(rules);
}

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static uint64_t seed_of(uint64_t seed, const char *key)
{
	uint64_t hash = 0xcbf29ce484222325u;

	while (*key)
		hash = (hash ^ (unsigned char)*key++) * 0x100000001b3u;
	return seed ^ hash;
}

static int check(const struct tritone_errno_rule *rule, struct error *err)
{
	const uint32_t all = TRITONE_CALL_WRITE | TRITONE_CALL_SYNC | TRITONE_CALL_CREATE | TRITONE_CALL_RENAME |
			     TRITONE_CALL_LINK | TRITONE_CALL_ALLOCATE;
	const bool delays = rule->mode == TRITONE_ERRNO_DELAY || rule->mode == TRITONE_ERRNO_PERFORM_THEN_DELAY;

	if (!rule->key || !rule->key[0] || strlen(rule->key) >= KEY_SIZE)
		return error_set(err, EINVAL, "a rule's key must have 1 to %u bytes", KEY_SIZE - 1);
	if (!rule->path || rule->path[0] != '/' || strlen(rule->path) >= PATH_MAX)
		return error_set(err, EINVAL, "rule %s: the path must be absolute", rule->key);
	if (rule->calls == 0 || (rule->calls & ~all))
		return error_set(err, EINVAL, "rule %s: 0x%x is no set of calls", rule->key, rule->calls);
	if (rule->mode != TRITONE_ERRNO_REFUSE && rule->mode != TRITONE_ERRNO_PERFORM_THEN_FAIL && !delays)
		return error_set(err, EINVAL, "rule %s: 0x%x is no mode", rule->key, rule->mode);
	if (!delays && (rule->error < 1 || rule->error > ERRNO_MAX))
		return error_set(err, EINVAL, "rule %s: %d is no errno value", rule->key, rule->error);
	if (delays && rule->delay_ms < 1)
		return error_set(err, EINVAL, "rule %s: a delay must be at least 1 ms", rule->key);
	if (!(rule->probability >= 0 && rule->probability <= 1))
		return error_set(err, EINVAL, "rule %s: a probability must be from 0 to 1", rule->key);
	if (rule->lifetime_ms < 0 || rule->lifetime_ms > INT64_MAX / 2000000)
		return error_set(err, EINVAL, "rule %s: the lifetime is out of range", rule->key);
	return 0;
}

/* Without a '/' at the end, so that a directory is a prefix of what is below it; "/" becomes "". */
static char *trimmed(const char *path)
{
	char *copy = strdup(path);
	size_t length = copy ? strlen(copy) : 0;

	while (length && copy[length - 1] == '/')
		copy[--length] = '\0';
	return copy;
}

static struct entry *entry_make(const struct tritone_errno_rule *rule)
{
	struct entry *entry = calloc(1, sizeof *entry);
	char *real;

	if (!entry)
		return NULL;
	real = realpath(rule->path, NULL);
	entry->path = trimmed(rule->path);
	entry->real_path = trimmed(real ? real : rule->path);
	free(real);
	if (!entry->path || !entry->real_path) {
		entry_free(entry);
		return NULL;
	}
	snprintf(entry->key, sizeof entry->key, "%s", rule->key);
	entry->rule = *rule;
	entry->rule.key = entry->key;
	entry->rule.path = entry->path;
	return entry;
}

static struct entry **find(struct rules *rules, const char *key)
{
	struct entry **link = &rules->first;

	while (*link && strcmp((*link)->key, key) != 0)
		link = &(*link)->next;
	return link;
}

static void unlink_entry(struct rules *rules, struct entry **link)
{
	struct entry *entry = *link;

	*link = entry->next;
	rules->count--;
	entry_free(entry);
}

static void expire(struct rules *rules, int64_t now_ns)
{
	struct entry *entry;
	bool any = false;

	for (entry = rules->first; entry; entry = entry->next) {
		entry->ended = entry->ended || (entry->end_ns && entry->end_ns <= now_ns);
		any = any || !entry->ended;
	}
	atomic_store(&rules->any, any);
}

/* Room for one more: a rule that has ended gives way. */
static void drop_ended(struct rules *rules)
{
	struct entry **link = &rules->first;

	while (*link && !(*link)->ended)
		link = &(*link)->next;
	if (*link)
		unlink_entry(rules, link);
}

int rules_set(struct rules *rules, const struct tritone_errno_rule *rule, int64_t now_ns, struct error *err)
{
	struct entry *entry, **link;

	if (check(rule, err) < 0)
		return -1;
	entry = entry_make(rule);
	if (!entry)
		return error_set(err, ENOMEM, "no memory for rule %s", rule->key);
	entry->random = seed_of(rules->seed, rule->key);
	if (rule->lifetime_ms)
		entry->end_ns = now_ns + rule->lifetime_ms * 1000000;
	pthread_mutex_lock(&rules->lock);
	expire(rules, now_ns);
	if (rules->count >= RULES_MAX && !*find(rules, rule->key))
		drop_ended(rules);
	link = find(rules, rule->key);
	if (!*link && rules->count >= RULES_MAX) {
		pthread_mutex_unlock(&rules->lock);
		entry_free(entry);
		return error_set(err, ENOSPC, "there are %u rules already", RULES_MAX);
	}
	if (*link) {
		entry->next = (*link)->next;
		entry_free(*link);
	} else {
		rules->count++;
	}
	*link = entry;
	entry->number = ++rules->numbers;
	atomic_store(&rules->any, true);
	pthread_mutex_unlock(&rules->lock);
	return 0;
}

void rules_clear(struct rules *rules, const char *key)
{
	struct entry **link;

	pthread_mutex_lock(&rules->lock);
	link = find(rules, key);
	if (*link)
		unlink_entry(rules, link);
	expire(rules, 0);
	pthread_mutex_unlock(&rules->lock);
}

int rules_stats(
    struct rules *rules, const char *key, int64_t now_ns, struct keeper_rule_stats *ret_stats, struct error *err)
{
	struct entry *entry;

	pthread_mutex_lock(&rules->lock);
	expire(rules, now_ns);
	entry = *find(rules, key);
	if (entry)
		*ret_stats = entry->stats;
	pthread_mutex_unlock(&rules->lock);
	return entry ? 0 : error_set(err, ENOENT, "no rule %s", key);
}

bool rules_any(const struct rules *rules)
{
	return atomic_load_explicit(&rules->any, memory_order_acquire);
}

static struct entry *by_number(struct rules *rules, uint64_t number)
{
	struct entry *entry = rules->first;

	while (entry && entry->number != number)
		entry = entry->next;
	return entry;
}

bool rules_alive(struct rules *rules, const struct rules_verdict *verdict, int64_t now_ns)
{
	const struct entry *entry;
	bool alive;

	pthread_mutex_lock(&rules->lock);
	expire(rules, now_ns);
	entry = by_number(rules, verdict->rule);
	alive = entry && !entry->ended;
	pthread_mutex_unlock(&rules->lock);
	return alive;
}

/* ---- one call ---- */

static bool below(const char *path, const char *scope)
{
	size_t length = strlen(scope);

	return !strncmp(path, scope, length) && (path[length] == '\0' || path[length] == '/');
}

/* The path that puts the call into the rule's scope, or NULL. */
static const char *in_scope(const struct entry *entry, const struct rules_call *call)
{
	const char *paths[] = {call->path, call->from};
	size_t i;

	if (!(entry->rule.calls & call->set))
		return NULL;
	for (i = 0; i < 2; i++)
		if (paths[i] && (below(paths[i], entry->real_path) || below(paths[i], entry->path)))
			return paths[i];
	return NULL;
}

/* Counts, and says whether it is the rule's turn. */
static bool turn(struct entry *entry)
{
	const struct tritone_errno_rule *rule = &entry->rule;
	uint64_t nth = ++entry->stats.seen;

	if (nth <= rule->first)
		return false;
	if (rule->every > 1 && (nth - rule->first - 1) % rule->every != 0)
		return false;
	if (rule->count && entry->stats.hits >= rule->count)
		return false;
	if (rule->probability > 0 && rule->probability < 1 &&
	    (double)(draw(&entry->random) >> 11) * 0x1p-53 >= rule->probability)
		return false;
	return true;
}

bool rules_judge(struct rules *rules, const struct rules_call *call, struct rules_verdict *ret_verdict)
{
	struct entry *entry;
	bool act = false;

	pthread_mutex_lock(&rules->lock);
	expire(rules, call->now_ns);
	for (entry = rules->first; entry; entry = entry->next) {
		const char *path = entry->ended ? NULL : in_scope(entry, call);

		if (!path || !turn(entry) || act)
			continue;
		act = true;
		entry->stats.pid = call->pid;
		snprintf(entry->stats.call, sizeof entry->stats.call, "%s", call->name);
		snprintf(entry->stats.path, sizeof entry->stats.path, "%s", path);
		*ret_verdict = (struct rules_verdict){.rule = entry->number,
		    .mode = entry->rule.mode,
		    .error = entry->rule.error,
		    .delay_ms = entry->rule.delay_ms};
	}
	pthread_mutex_unlock(&rules->lock);
	return act;
}

void rules_acted(struct rules *rules, const struct rules_verdict *verdict)
{
	struct entry *entry;

	pthread_mutex_lock(&rules->lock);
	entry = by_number(rules, verdict->rule);
	if (entry)
		entry->stats.hits++;
	pthread_mutex_unlock(&rules->lock);
}
