/* SPDX-License-Identifier: Apache-2.0 */
/* Cleaning foreign texts; the few phrases that more than one format needs. */
#include "report/text.h"

#include <inttypes.h>
#include <string.h>

/* Length of the well-formed UTF-8 sequence at p, and its code point; 0: none. */
static size_t decode(const unsigned char *p, uint32_t *ret)
{
	size_t length = *p < 0x80                 ? 1
			: *p >= 0xc2 && *p < 0xe0 ? 2
			: *p >= 0xe0 && *p < 0xf0 ? 3
			: *p >= 0xf0 && *p < 0xf5 ? 4
						  : 0;
	static const unsigned char mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t code = *p & mask[length];
	size_t i;

	for (i = 1; i < length; i++) {
		if ((p[i] & 0xc0u) != 0x80u) /* the final NUL too */
			return 0;
		code = code << 6 | (p[i] & 0x3fu);
	}
	if (!length || code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	*ret = code;
	return length;
}

static bool is_fit(uint32_t code)
{
	return code >= 0x20 && !(code >= 0x7f && code < 0xa0) && code != 0xfffe && code != 0xffff;
}

char *text_clean(char *ret, size_t size, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t used = 0;

	while (*p) {
		uint32_t code = 0;
		size_t length = decode(p, &code);
		bool fit = length && is_fit(code);
		size_t out = fit ? length : 1;

		if (used + out >= size)
			break;
		if (fit)
			memcpy(ret + used, p, length);
		else
			ret[used] = '?';
		used += out;
		p += length ? length : 1;
	}
	ret[used] = '\0';
	return ret;
}

char *text_span(char *ret, size_t size, uint64_t us)
{
	if (us < 10000)
		snprintf(ret, size, "%.1f ms", (double)us / 1e3);
	else if (us < 1000000)
		snprintf(ret, size, "%" PRIu64 " ms", us / 1000);
	else if (us < 60000000)
		snprintf(ret, size, "%.2f s", (double)us / 1e6);
	else
		snprintf(ret, size, "%" PRIu64 " min %" PRIu64 " s", us / 60000000, us / 1000000 % 60);
	return ret;
}

/* Whether the line has to speak of this check: where all is ok, because it deviated; else because it came out as it should not. */
static bool is_told(const struct result *result, const struct result_check *check)
{
	return result->ok ? check->result.verdict == CHECK_DEVIATED : result_check_failed(check);
}

/* The check that the line speaks of: the first, a deviation before anything else. */
static const struct result_check *foremost(const struct result *result)
{
	const struct result_check *first = NULL;
	uint32_t i;

	for (i = 0; i < result->check_count; i++) {
		const struct result_check *check = &result->checks[i];
		bool deviated = check->result.verdict == CHECK_DEVIATED;

		if (!is_told(result, check))
			continue;
		if (!first ||
		    (deviated && (first->result.verdict != CHECK_DEVIATED || (check->named && !first->named))))
			first = check;
	}
	return first;
}

/* "; also NAME, NAME": the other ones, all of them. */
static void name_others(char *ret, size_t size, const struct result *result, const struct result_check *first)
{
	size_t used = 0;
	uint32_t i;

	*ret = '\0';
	for (i = 0; i < result->check_count && used < size; i++) {
		const struct result_check *check = &result->checks[i];

		if (check != first && is_told(result, check))
			used += (size_t)snprintf(
			    ret + used, size - used, "%s %s", used ? "," : "; also", check->check->name);
	}
}

static const char *what_of(const struct result_check *check)
{
	switch (check->result.verdict) {
	case CHECK_HELD:
		return "was expected to deviate, but held";
	case CHECK_VACUOUS:
		return *check->result.summary ? check->result.summary : "had no opportunity";
	case CHECK_DEVIATED:
		break;
	}
	return check->result.finding_count ? check->result.findings[0].text : check->result.summary;
}

char *text_reason(char *ret, size_t size, const struct result *result)
{
	char raw[TEXT_MAX], also[320], again[48] = "";
	const struct result_check *check = NULL;

	if (result->verdict == VERDICT_DEVIATED || result->verdict == VERDICT_HELD)
		check = foremost(result);
	if (!check)
		return text_clean(ret, size,
		    *result->reason || (result->ok && result->verdict == VERDICT_HELD) ? result->reason
										       : "no reason was given");
	name_others(also, sizeof also, result, check);
	if (result->reruns)
		snprintf(again, sizeof again, "; reproduced %u/%u", result->reproduced, result->reruns);
	snprintf(raw, sizeof raw, "%s%s: %s%s%s", check->check->name,
	    !result->ok                         ? ""
	    : check->permitted && !check->named ? ", as its contract permits"
						: ", as expected",
	    what_of(check), also, again);
	return text_clean(ret, size, raw);
}

/* Appends " WORD", quoted for a shell where that is needed. */
static void add_word(char *line, size_t size, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
	size_t used = strlen(line);

	if (*word && !word[strspn(word, plain)]) {
		snprintf(line + used, size - used, " %s", word);
		return;
	}
	used += (size_t)snprintf(line + used, size - used, " '");
	for (; *word && used + 6 < size; word++)
		used += (size_t)*word == '\'' ? (size_t)snprintf(line + used, size - used, "'\\''")
					      : (size_t)snprintf(line + used, size - used, "%c", *word);
	if (used + 1 < size)
		snprintf(line + used, size - used, "'");
}

char *text_command(char *ret, size_t size, const struct report_options *options, const struct result *result)
{
	const char *file = options->file ? options->file : result->file;
	char raw[TEXT_MAX], seed[24];

	snprintf(raw, sizeof raw, "tritone test");
	if (options->system) {
		add_word(raw, sizeof raw, "--system");
		add_word(raw, sizeof raw, options->system);
	}
	add_word(raw, sizeof raw, file);
	if (strcmp(file, result->file) != 0 || strchr(result->name, '[')) { /* one of many */
		add_word(raw, sizeof raw, "--only");
		add_word(raw, sizeof raw, result->name);
	}
	snprintf(seed, sizeof seed, "%" PRIu64, result->seed);
	add_word(raw, sizeof raw, "--seed");
	add_word(raw, sizeof raw, seed);
	return text_clean(ret, size, raw);
}
