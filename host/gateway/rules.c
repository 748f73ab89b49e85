/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's fault rules; see rules.h. */
#include "gateway/rules.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define RULES_MAX    256
#define NAME_MAX_    64
#define DURATION_MAX (INT64_C(365) * 24 * 3600 * 1000) /* ms; so that sums in microseconds cannot overflow */

struct rule {
	struct rule *next;
	struct tritone_gateway_rule rule; /* its strings point below */
	char key[RULES_KEY_SIZE], target[NAME_MAX_], text[RULES_TEXT_SIZE];
	uint64_t tag, hits, seen;
	int64_t ends_us; /* -1: when it is cleared */
};

struct rules {
	struct rule *first; /* in the order in which they were set */
	size_t count;
	uint64_t seed;
};

int gateway_rules_create(struct rules **ret_rules, uint64_t seed, struct error *err)
{
	struct rules *rules = calloc(1, sizeof *rules);

	if (!rules)
		return error_set(err, ENOMEM, "no memory for the gateway's rules");
	rules->seed = seed;
	*ret_rules = rules;
	return 0;
}

void gateway_rules_destroy(struct rules *rules)
{
	if (!rules)
		return;
	while (rules->first) {
		struct rule *next = rules->first->next;

		free(rules->first);
		rules->first = next;
	}
	free(rules);
}

/* Where the pointer to the rule `key` is kept: at NULL when there is none. */
static struct rule **find(struct rules *rules, const char *key)
{
	struct rule **at = &rules->first;

	while (*at && strcmp((*at)->key, key) != 0)
		at = &(*at)->next;
	return at;
}

static void drop(struct rules *rules, struct rule **at)
{
	struct rule *gone = *at;

	*at = gone->next;
	free(gone);
	rules->count--;
}

static void drop_expired(struct rules *rules, int64_t now_us)
{
	struct rule **at = &rules->first;

	while (*at) {
		if ((*at)->ends_us >= 0 && (*at)->ends_us <= now_us)
			drop(rules, at);
		else
			at = &(*at)->next;
	}
}

bool gateway_rules_for_models(uint32_t action)
{
	return action == TRITONE_GATEWAY_WRONG_CONTENT || action == TRITONE_GATEWAY_WRONG_USAGE ||
	       action == TRITONE_GATEWAY_WRONG_TOOL || action == TRITONE_GATEWAY_WRONG_ARGUMENTS ||
	       action == TRITONE_GATEWAY_TOO_LONG || action == TRITONE_GATEWAY_KEY ||
	       action == TRITONE_GATEWAY_BROKEN_STREAM;
}

static bool known_action(uint32_t action)
{
	return action == TRITONE_GATEWAY_ANSWER || action == TRITONE_GATEWAY_DELAY || action == TRITONE_GATEWAY_HANG ||
	       action == TRITONE_GATEWAY_RESET || action == TRITONE_GATEWAY_MALFORMED ||
	       action == TRITONE_GATEWAY_TRUNCATED || action == TRITONE_GATEWAY_SLOW ||
	       gateway_rules_for_models(action);
}

/* The text of a rule; NULL: it has none, or its plugin knows of none. */
static const char *text_of(const struct tritone_gateway_rule *rule)
{
	return rule->struct_size >= offsetof(struct tritone_gateway_rule, text) + sizeof rule->text ? rule->text : NULL;
}

static int check_text(const struct tritone_gateway_rule *rule, struct error *err)
{
	const char *text = text_of(rule), *c;

	if (rule->action == TRITONE_GATEWAY_KEY && (!text || !*text))
		return error_set(err, EINVAL, "gateway rule %s: needs the key that is accepted", rule->key);
	if (text && strlen(text) >= RULES_TEXT_SIZE)
		return error_set(
		    err, EINVAL, "gateway rule %s: its text is over %d bytes", rule->key, RULES_TEXT_SIZE - 1);
	for (c = text; c && *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return error_set(err, EINVAL, "gateway rule %s: its text holds a control character", rule->key);
	return 0;
}

static int check(const struct tritone_gateway_rule *rule, struct error *err)
{
	size_t least = offsetof(struct tritone_gateway_rule, lifetime_ms) + sizeof rule->lifetime_ms;

	if (rule->struct_size < least)
		return error_set(
		    err, EINVAL, "a gateway rule's struct_size is %u, expected at least %zu", rule->struct_size, least);
	if (!rule->key || !*rule->key || strlen(rule->key) >= RULES_KEY_SIZE)
		return error_set(err, EINVAL, "a gateway rule needs a key of 1 to %d bytes", RULES_KEY_SIZE - 1);
	if (!rule->target || !*rule->target || strlen(rule->target) >= NAME_MAX_)
		return error_set(err, EINVAL,
		    "gateway rule %s: needs a target of 1 to %d bytes (a provider, a sink or *)", rule->key,
		    NAME_MAX_ - 1);
	if (!known_action(rule->action))
		return error_set(err, EINVAL, "gateway rule %s: unknown action 0x%x", rule->key, rule->action);
	if (rule->action == TRITONE_GATEWAY_ANSWER && (rule->status < 400 || rule->status > 599))
		return error_set(
		    err, EINVAL, "gateway rule %s: status is %d, expected 400 to 599", rule->key, rule->status);
	if (rule->action == TRITONE_GATEWAY_ANSWER &&
	    (rule->retry_after_ms < -1 || rule->retry_after_ms > DURATION_MAX))
		return error_set(err, EINVAL, "gateway rule %s: retry_after_ms is %lld, expected -1 (none) or more",
		    rule->key, (long long)rule->retry_after_ms);
	if ((rule->action == TRITONE_GATEWAY_DELAY || rule->action == TRITONE_GATEWAY_SLOW) &&
	    (rule->delay_ms < 0 || rule->delay_ms > DURATION_MAX))
		return error_set(err, EINVAL, "gateway rule %s: delay_ms is %lld, expected 0 to a year", rule->key,
		    (long long)rule->delay_ms);
	if (!(rule->probability >= 0 && rule->probability <= 1))
		return error_set(
		    err, EINVAL, "gateway rule %s: probability is %g, expected 0 to 1", rule->key, rule->probability);
	if (rule->lifetime_ms < 0 || rule->lifetime_ms > DURATION_MAX)
		return error_set(err, EINVAL, "gateway rule %s: lifetime_ms is %lld, expected 0 (none) to a year",
		    rule->key, (long long)rule->lifetime_ms);
	return check_text(rule, err);
}

int gateway_rules_set(struct rules *rules, const struct tritone_gateway_rule *rule, uint64_t tag, int64_t now_us,
    uint64_t *ret_replaced, struct error *err)
{
	struct rule *fresh, **at;
	uint64_t replaced = 0;

	if (check(rule, err) < 0)
		return -1;
	drop_expired(rules, now_us);
	at = find(rules, rule->key);
	if (!*at && rules->count >= RULES_MAX)
		return error_set(
		    err, ENOSPC, "gateway rule %s: there are %d rules already; clear one", rule->key, RULES_MAX);
	fresh = calloc(1, sizeof *fresh);
	if (!fresh)
		return error_set(err, ENOMEM, "gateway rule %s: no memory", rule->key);
	memcpy(&fresh->rule, rule, sizeof fresh->rule < rule->struct_size ? sizeof fresh->rule : rule->struct_size);
	memcpy(fresh->key, rule->key, strlen(rule->key));
	memcpy(fresh->target, rule->target, strlen(rule->target));
	if (text_of(rule))
		memcpy(fresh->text, text_of(rule), strlen(text_of(rule)));
	fresh->rule.text = fresh->text;
	fresh->rule.key = fresh->key;
	fresh->rule.target = fresh->target;
	fresh->tag = tag;
	fresh->ends_us = rule->lifetime_ms ? now_us + rule->lifetime_ms * 1000 : -1;
	if (*at) {
		replaced = (*at)->tag;
		drop(rules, at);
	}
	for (at = &rules->first; *at; at = &(*at)->next)
		;
	*at = fresh;
	rules->count++;
	*ret_replaced = replaced;
	return 0;
}

int gateway_rules_hits(
    struct rules *rules, const char *key, int64_t now_us, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	const struct rule *rule;

	drop_expired(rules, now_us);
	rule = *find(rules, key);
	if (!rule)
		return error_set(err, ENOENT, "the gateway has no rule '%s', or it has ended", key);
	if (ret_hits)
		*ret_hits = rule->hits;
	if (ret_seen)
		*ret_seen = rule->seen;
	return 0;
}

uint64_t gateway_rules_clear(struct rules *rules, const char *key)
{
	struct rule **at = find(rules, key);
	uint64_t tag;

	if (!*at)
		return 0;
	tag = (*at)->tag;
	drop(rules, at);
	return tag;
}

bool gateway_rules_live(const struct rules *rules, uint64_t tag, int64_t now_us)
{
	const struct rule *rule = rules->first;

	while (rule && rule->tag != tag)
		rule = rule->next;
	return rule && (rule->ends_us < 0 || rule->ends_us > now_us);
}

void gateway_rules_take_back(struct rules *rules, uint64_t tag)
{
	struct rule *rule = rules->first;

	while (rule && rule->tag != tag)
		rule = rule->next;
	if (rule && rule->hits)
		rule->hits--;
}

/* A draw for the n-th request that a rule sees: it depends on seed, key and n alone, so that other rules and other
 * requests do not shift it. */
static bool drawn(uint64_t seed, const struct rule *rule)
{
	uint64_t draw = XXH3_64bits_withSeed(rule->key, strlen(rule->key), seed);

	if (rule->rule.probability <= 0 || rule->rule.probability >= 1)
		return true;
	draw = XXH3_64bits_withSeed(&rule->seen, sizeof rule->seen, draw);
	return ldexp((double)(draw >> 11), -53) < rule->rule.probability;
}

static bool acts(const struct rules *rules, struct rule *rule)
{
	rule->seen++;
	if (rule->seen <= rule->rule.first)
		return false;
	if (rule->rule.count && rule->hits >= rule->rule.count)
		return false;
	if (!drawn(rules->seed, rule))
		return false;
	rule->hits++;
	return true;
}

static bool concerns(const struct rule *rule, const struct rules_shown *shown)
{
	if (strcmp(rule->target, shown->target) != 0 && !(shown->provider && !strcmp(rule->target, "*")))
		return false;
	switch (rule->rule.action) {
	case TRITONE_GATEWAY_WRONG_CONTENT:
	case TRITONE_GATEWAY_WRONG_TOOL:
	case TRITONE_GATEWAY_WRONG_ARGUMENTS:
		return shown->talks;
	case TRITONE_GATEWAY_WRONG_USAGE:
	case TRITONE_GATEWAY_TOO_LONG:
		return shown->spends;
	case TRITONE_GATEWAY_BROKEN_STREAM:
		return shown->talks && shown->stream;
	case TRITONE_GATEWAY_KEY:
		return shown->provider && strcmp(shown->api_key, rule->text) != 0;
	default:
		return true;
	}
}

void gateway_rules_judge(
    struct rules *rules, const struct rules_shown *shown, int64_t now_us, struct verdict *ret_verdict)
{
	struct verdict v = {.retry_after_ms = -1, .until_us = -1};
	struct rule *rule;

	drop_expired(rules, now_us);
	for (rule = rules->first; rule && !v.action; rule = rule->next) {
		if (!concerns(rule, shown) || !acts(rules, rule))
			continue;
		if (rule->rule.action == TRITONE_GATEWAY_DELAY) {
			if (rule->rule.delay_ms > v.delay_ms) {
				v.delay_ms = rule->rule.delay_ms;
				v.delay_tag = rule->tag;
			}
		} else {
			v.action = rule->rule.action;
			v.status = rule->rule.status;
			v.retry_after_ms = rule->rule.action == TRITONE_GATEWAY_ANSWER ? rule->rule.retry_after_ms : -1;
			v.pace_ms = rule->rule.action == TRITONE_GATEWAY_SLOW ? rule->rule.delay_ms : 0;
			v.until_us = rule->ends_us;
			v.tag = rule->tag;
			memcpy(v.text, rule->text, sizeof v.text);
		}
		memcpy(v.key, rule->key, sizeof v.key);
	}
	*ret_verdict = v;
}
