/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a file, by lines. */
#include "system/tail.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAIL_SIZE_MAX (64u << 10)

/* The last bytes of the file, NUL-terminated, malloc'ed; NULL when there are none. */
static char *read_end(const char *path, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char *text = NULL;
	size_t size = 0;
	struct stat st;
	off_t from;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (text = malloc(TAIL_SIZE_MAX + 1)) != NULL) {
		from = st.st_size > (off_t)TAIL_SIZE_MAX ? st.st_size - (off_t)TAIL_SIZE_MAX : 0;
		while (size < TAIL_SIZE_MAX) {
			ssize_t got = pread(fd, text + size, TAIL_SIZE_MAX - size, from + (off_t)size);

			if (got < 0 && errno == EINTR)
				continue;
			if (got <= 0)
				break;
			size += (size_t)got;
		}
		text[size] = '\0';
		for (size_t i = 0; i < size; i++)
			if (!text[i])
				text[i] = '?';
	}
	close(fd);
	*ret_size = size;
	return text;
}

/* The beginning of the line that ends before `end`. */
static size_t line_start(const char *text, size_t end)
{
	while (end > 0 && text[end - 1] != '\n')
		end--;
	return end;
}

static void show(const char *from, size_t size, void (*visit)(void *arg, const char *line), void *arg)
{
	char line[TAIL_LINE_SIZE];
	size_t i;

	for (i = 0; i < size && i + 1 < sizeof line; i++)
		line[i] = isprint((unsigned char)from[i]) || (from[i] & 0x80) || from[i] == '\t' ? from[i] : '?';
	line[i] = '\0';
	visit(arg, line);
}

size_t tail_lines(const char *path, size_t count, void (*visit)(void *arg, const char *line), void *arg)
{
	size_t size = 0, at, begin, lines = 0;
	char *text = read_end(path, &size);

	if (!text)
		return 0;
	/* Backwards to where the first of them begins; what was cut off there may be the middle of a line, and is better than nothing. */
	for (at = begin = size; at > 0 && lines < count;) {
		size_t end = text[at - 1] == '\n' ? at - 1 : at, start = line_start(text, end);

		if (end > start) {
			lines++;
			begin = start;
		}
		at = start;
	}
	for (at = begin; at < size;) {
		size_t length = strcspn(text + at, "\n");

		if (length)
			show(text + at, length, visit, arg);
		at += length + 1;
	}
	free(text);
	return lines;
}

struct said {
	char *text;
	size_t size;
};

static void take_said(void *arg, const char *line)
{
	struct said *said = arg;

	snprintf(said->text, said->size, "; it said: %.170s", line);
}

void tail_said(const char *path, char *ret, size_t size)
{
	struct said said = {ret, size};

	ret[0] = '\0';
	tail_lines(path, 1, take_said, &said);
}
