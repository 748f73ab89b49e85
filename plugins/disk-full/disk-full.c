/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real system calls of the orchestrator and its agents fail below a path, as on a full disk, or are slow, without root and without filling
 * anything. Proven by a call that got the error, or was held up.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "plugins/gateway.h"

static const struct tritone_param params[] = {
    {.name = "path",
	.type = TRITONE_PARAM_STRING,
	.help = "a file, or a directory and all below it; relative to the system's directory; empty: all of that"},
    {.name = "mode",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "refuse",
	.choices = "refuse|perform-then-fail|slow",
	.help = "refuse: the call is not performed; perform-then-fail: it is, and is reported as failed; slow: it is, "
		"later"},
    {.name = "error",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "ENOSPC",
	.choices = "ENOSPC|EDQUOT|EIO|EROFS",
	.help = "what the caller gets"},
    {.name = "calls",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "all",
	.choices = "all|write|sync|create|rename|link|allocate",
	.help = "which system calls"},
    {.name = "first",
	.type = TRITONE_PARAM_INT,
	.fallback = "0",
	.min = 0,
	.max = 1e12,
	.unit = "calls",
	.help = "leave so many alone first"},
    {.name = "every", .type = TRITONE_PARAM_INT, .fallback = "1", .min = 1, .max = 1e12, .help = "then every n-th"},
    {.name = "count",
	.type = TRITONE_PARAM_INT,
	.fallback = "0",
	.min = 0,
	.max = 1e12,
	.unit = "calls",
	.help = "at most so many; 0: all"},
    {.name = "probability",
	.type = TRITONE_PARAM_DOUBLE,
	.fallback = "1",
	.min = 0.0001,
	.max = 1,
	.help = "of each call"},
    {.name = "delay",
	.type = TRITONE_PARAM_DURATION,
	.fallback = "1s",
	.min = 1,
	.max = 3600000,
	.unit = "ms",
	.help = "mode=slow: how much later"},
};
enum { PATH, MODE, ERROR, CALLS, FIRST, EVERY, COUNT, PROBABILITY, DELAY };

static bool is_slow(const struct tritone_call *call)
{
	return !strcmp(call->values[MODE].string, "slow");
}

static uint32_t mode_of(const struct tritone_call *call)
{
	if (is_slow(call))
		return TRITONE_ERRNO_DELAY;
	return !strcmp(call->values[MODE].string, "refuse") ? TRITONE_ERRNO_REFUSE : TRITONE_ERRNO_PERFORM_THEN_FAIL;
}

static int error_of(const char *name)
{
	if (!strcmp(name, "EDQUOT"))
		return EDQUOT;
	if (!strcmp(name, "EIO"))
		return EIO;
	if (!strcmp(name, "EROFS"))
		return EROFS;
	return ENOSPC;
}

static uint32_t calls_of(const char *name)
{
	static const struct {
		const char *name;
		uint32_t calls;
	} sets[] = {
	    {"write", TRITONE_CALL_WRITE},
	    {"sync", TRITONE_CALL_SYNC},
	    {"create", TRITONE_CALL_CREATE},
	    {"rename", TRITONE_CALL_RENAME},
	    {"link", TRITONE_CALL_LINK},
	    {"allocate", TRITONE_CALL_ALLOCATE},
	};
	uint32_t all = 0;
	size_t i;

	for (i = 0; i < sizeof sets / sizeof sets[0]; i++) {
		if (!strcmp(sets[i].name, name))
			return sets[i].calls;
		all |= sets[i].calls;
	}
	return all;
}

static bool climbs(const char *path)
{
	const char *part;

	for (part = path; (part = strstr(part, "..")); part += 2)
		if ((part == path || part[-1] == '/') && (part[2] == '/' || !part[2]))
			return true;
	return false;
}

/* Where a path really leads: as far as it is there, without symbolic links. */
static bool leads_inside(const char *path, const char *state_dir)
{
	char real[PATH_MAX], root[PATH_MAX], at[PATH_MAX], *slash;
	size_t n;

	if (!realpath(state_dir, root) || strlen(path) >= sizeof at)
		return false;
	memcpy(at, path, strlen(path) + 1);
	while (!realpath(at, real)) {
		struct stat st;

		slash = strrchr(at, '/');
		if ((errno != ENOENT && errno != ENOTDIR) || lstat(at, &st) == 0 || !slash || slash == at)
			return false; /* a link that leads nowhere yet may do so later */
		*slash = '\0';        /* what is not there yet cannot lead anywhere */
	}
	n = strlen(root);
	return !strncmp(real, root, n) && (!real[n] || real[n] == '/');
}

/* Absolute, and inside the system's directory: nothing outside it may be touched. */
static int scope(const struct tritone_call *call, char *buf, size_t size, struct tritone_error *error)
{
	const char *path = call->values[PATH].string;
	size_t root = strlen(call->state_dir);
	int n;

	while (root > 1 && call->state_dir[root - 1] == '/')
		root--;
	if (path[0] == '/')
		n = snprintf(buf, size, "%s", path);
	else
		n = snprintf(buf, size, "%.*s%s%s", (int)root, call->state_dir, path[0] ? "/" : "", path);
	if (n < 0 || (size_t)n >= size)
		return fail(error, ENAMETOOLONG, "path: longer than %zu bytes", size - 1);
	if (strncmp(buf, call->state_dir, root) != 0 || (buf[root] && buf[root] != '/') || climbs(buf + root) ||
	    !leads_inside(buf, call->state_dir))
		return fail(error, EPERM, "path: %s is outside the system's directory %s", path, call->state_dir);
	return 0;
}

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	char path[PATH_MAX];

	if (scope(call, path, sizeof path, error))
		return -1;
	evidence(call, "path", "%s", path);
	return rule_plan(call, undo, error);
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char key[64], path[PATH_MAX];
	const struct tritone_value *v = call->values;
	struct tritone_errno_rule rule = {
	    .struct_size = sizeof rule,
	    .mode = mode_of(call),
	    .key = rule_key(call, "", key),
	    .path = path,
	    .calls = calls_of(v[CALLS].string),
	    .error = is_slow(call) ? 0 : error_of(v[ERROR].string),
	    .delay_ms = is_slow(call) ? v[DELAY].integer : 0,
	    .first = (uint64_t)v[FIRST].integer,
	    .every = (uint64_t)v[EVERY].integer,
	    .count = (uint64_t)v[COUNT].integer,
	    .probability = v[PROBABILITY].number,
	    .lifetime_ms = call->duration_ms,
	};

	(void)undo;
	if (scope(call, path, sizeof path, error))
		return -1;
	return call->services->errno_rule(call->host, &rule, error);
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	const struct tritone_value *v = call->values;
	uint64_t hits = 0, seen = 0;
	int r = rule_count(call, "", &hits, &seen, error);

	(void)undo;
	if (r)
		return r > 0 ? rule_ended(proof) : -1;
	if (hits && is_slow(call))
		return proven(proof, TRITONE_FELT, "%llu of %llu calls came %g s later", (unsigned long long)hits,
		    (unsigned long long)seen, (double)v[DELAY].integer / 1e3);
	if (hits)
		return proven(proof, TRITONE_FELT, "%llu of %llu calls got %s%s", (unsigned long long)hits,
		    (unsigned long long)seen, v[ERROR].string,
		    !strcmp(v[MODE].string, "refuse") ? "" : " after they had been performed");
	return proven(
	    proof, TRITONE_UNEXERCISED, "none of %llu calls below the path was reached", (unsigned long long)seen);
}

static const struct tritone_fault fault = {
    TRITONE_FAULT_HEAD,
    .blast = TRITONE_BLAST_DIRECTORY,
    .capabilities = TRITONE_CAP_ERRNO,
    .name = "disk-full",
    .version = "1.0",
    .summary = "writes below a path fail with ENOSPC, or are slow, by the real system calls",
    TRITONE_FAULT_PARAMS(params),
    TRITONE_FAULT_HOOKS(plan, inject, verify, rule_revert),
};
TRITONE_FAULT(fault)
