/* SPDX-License-Identifier: Apache-2.0 */
/* ${variables}. What a variable holds is not expanded again. */
#include "spec/spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXPANDED_MAX (1u << 20)
#define VARIABLE_MAX 64

struct text {
	char *bytes;
	size_t length, size;
};

static int add(struct text *text, const char *bytes, size_t length, struct error *err)
{
	if (length >= EXPANDED_MAX - text->length)
		return error_set(
		    err, E2BIG, "a text grows past %u bytes when its variables are filled in", EXPANDED_MAX);
	if (text->length + length + 1 > text->size) {
		size_t size = (text->length + length + 1) * 2;
		char *grown = realloc(text->bytes, size);

		if (!grown)
			return error_set(err, ENOMEM, "no memory for a text of %zu bytes", size);
		text->bytes = grown;
		text->size = size;
	}
	if (length)
		memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
	text->bytes[text->length] = '\0';
	return 0;
}

/* `at` points to "${"; *ret_after behind the "}". */
static int variable(
    struct text *text, const char *at, const char **ret_after, spec_lookup_fn lookup, void *arg, struct error *err)
{
	const char *begin = at + 2, *end = strchr(begin, '}'), *value;
	char name[VARIABLE_MAX + 1];

	if (!end)
		return error_set(err, EINVAL, "'%.40s' has no closing brace; a dollar sign itself is written $$", at);
	if (end == begin || end - begin > VARIABLE_MAX)
		return error_set(
		    err, EINVAL, "a variable's name has 1 to %d characters, found '%.40s'", VARIABLE_MAX, at);
	memcpy(name, begin, (size_t)(end - begin));
	name[end - begin] = '\0';
	value = lookup(arg, name);
	if (!value)
		return error_set(err, ENOENT, "there is no variable '%s'; a dollar sign itself is written $$", name);
	*ret_after = end + 1;
	return add(text, value, strlen(value), err);
}

int spec_expand(char **ret, const char *text, spec_lookup_fn lookup, void *arg, struct error *err)
{
	struct text out = {0};
	int rc = add(&out, "", 0, err);

	while (rc == 0 && *text) {
		size_t plain = strcspn(text, "$");

		if (plain) {
			rc = add(&out, text, plain, err);
			text += plain;
		} else if (text[1] == '{') {
			rc = variable(&out, text, &text, lookup, arg, err);
		} else {
			/* a single dollar sign that starts nothing stands for itself */
			rc = add(&out, "$", 1, err);
			text += text[1] == '$' ? 2 : 1;
		}
	}
	if (rc != 0) {
		free(out.bytes);
		return -1;
	}
	*ret = out.bytes;
	return 0;
}
