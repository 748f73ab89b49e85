/* SPDX-License-Identifier: Apache-2.0 */
/* Globs over whole paths. Recursive matching is enough: patterns are short and come from a
 * manifest. */
#include "system/pathglob.h"

#include <stdio.h>
#include <string.h>

struct capture {
	const char *from;
	size_t size;
};

static bool match(const char *pattern, const char *path, struct capture *capture);

/* A '**' component: as many whole directories as it takes. */
static bool match_directories(const char *pattern, const char *path, struct capture *capture)
{
	const char *rest = pattern + 2, *at = path;

	if (*rest == '\0') {
		*capture = (struct capture){path, strlen(path)};
		return true;
	}
	rest++; /* the '/' */
	for (;;) {
		if (match(rest, at, capture)) {
			*capture = (struct capture){path, (size_t)(at - path)};
			return true;
		}
		at = strchr(at, '/');
		if (!at)
			return false;
		at++;
	}
}

static bool match(const char *pattern, const char *path, struct capture *capture)
{
	for (;; pattern++, path++) {
		if (pattern[0] == '*' && pattern[1] == '*' && (pattern[2] == '/' || pattern[2] == '\0'))
			return match_directories(pattern, path, capture);
		if (*pattern == '*') {
			const char *end = path;

			for (;; end++) {
				if (match(pattern + 1, end, capture)) {
					/* The outer call returns last: the first star wins. */
					*capture = (struct capture){path, (size_t)(end - path)};
					return true;
				}
				if (*end == '\0' || *end == '/')
					return false;
			}
		}
		if (*pattern == '\0' || *path == '\0')
			return *pattern == *path;
		if (*pattern == '?' ? *path == '/' : *pattern != *path)
			return false;
	}
}

bool pathglob_match(const char *pattern, const char *path)
{
	struct capture capture = {NULL, 0};

	return match(pattern, path, &capture);
}

bool pathglob_capture(const char *pattern, const char *path, char *ret, size_t size)
{
	struct capture capture = {NULL, 0};

	if (!match(pattern, path, &capture))
		return false;
	if (capture.size >= size)
		capture.size = 0;
	if (capture.size)
		memcpy(ret, capture.from, capture.size);
	ret[capture.size] = '\0';
	return true;
}

bool pathglob_may_hold(const char *pattern, const char *dir)
{
	for (;;) {
		char part[256], name[256];
		size_t part_size = strcspn(pattern, "/"), name_size = strcspn(dir, "/");

		if (part_size == 2 && pattern[0] == '*' && pattern[1] == '*')
			return true;
		if (part_size >= sizeof part || name_size >= sizeof name)
			return true;
		memcpy(part, pattern, part_size);
		part[part_size] = '\0';
		memcpy(name, dir, name_size);
		name[name_size] = '\0';
		if (!pathglob_match(part, name))
			return false;
		if (pattern[part_size] == '\0')
			return false; /* the directory itself is all that it can match */
		if (dir[name_size] == '\0')
			return true;
		pattern += part_size + 1;
		dir += name_size + 1;
	}
}

bool pathglob_fill(const char *pattern, const char *text, char *ret, size_t size)
{
	const char *star = strchr(pattern, '*');
	int before = star ? (int)(star - pattern) : (int)strlen(pattern);
	int used =
	    snprintf(ret, size, "%.*s%s%s", before, pattern, star ? text : "", star ? star + strspn(star, "*") : "");

	return used >= 0 && (size_t)used < size;
}

bool pathglob_root(const char *pattern, char *ret, size_t size)
{
	size_t end = strcspn(pattern, "*?");

	while (end > 1 && pattern[end - 1] != '/')
		end--;
	if (end > 1)
		end--;
	if (end + 1 > size)
		return false;
	memcpy(ret, pattern, end);
	ret[end] = '\0';
	return true;
}
