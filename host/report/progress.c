/* SPDX-License-Identifier: Apache-2.0 */
/* What is going on, on standard error: one line that rewrites itself on a terminal; elsewhere a line for each stage. */
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "report/report.h"
#include "report/text.h"

#define LINE_MAX_BYTES 400

struct lane {
	size_t number; /* of its experiment, 1-based; 0: the lane is free */
	char name[128], stage[32], detail[100];
};

struct progress {
	FILE *err;
	bool quiet, terminal;
	pthread_mutex_t lock;
	size_t experiments, begun;
	struct lane lanes[PROGRESS_LANES];
	char shown[LINE_MAX_BYTES]; /* what is on the terminal's line now */
};

struct progress *progress_create(FILE *err, bool quiet, size_t experiments)
{
	struct progress *progress = calloc(1, sizeof *progress);
	const char *term = getenv("TERM");
	int fd = fileno(err);

	if (!progress)
		return NULL; /* fine: every call takes it */
	progress->err = err;
	progress->quiet = quiet;
	progress->terminal = fd >= 0 && isatty(fd) && term && strcmp(term, "dumb") != 0;
	progress->experiments = experiments;
	pthread_mutex_init(&progress->lock, NULL);
	return progress;
}

static size_t columns(const struct progress *progress)
{
	struct winsize size;

	if (ioctl(fileno(progress->err), TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

/* Keeps the line from wrapping: a wrapped one cannot be rewritten. Cuts at a character's border. */
static void cut(char *line, size_t width)
{
	size_t characters = 0;
	char *p;

	for (p = line; *p; p++) {
		if (((unsigned char)*p & 0xc0u) == 0x80u)
			continue;
		if (++characters >= width) {
			*p = '\0';
			return;
		}
	}
}

static void rewrite(struct progress *progress, const char *text)
{
	char line[LINE_MAX_BYTES];

	text_clean(line, sizeof line, text);
	cut(line, columns(progress));
	if (!strcmp(line, progress->shown))
		return;
	snprintf(progress->shown, sizeof progress->shown, "%s", line);
	fprintf(progress->err, "\r\033[K%s", line);
	fflush(progress->err);
}

static void plain_line(struct progress *progress, const char *text)
{
	char line[LINE_MAX_BYTES];

	fprintf(progress->err, "%s\n", text_clean(line, sizeof line, text));
	fflush(progress->err);
}

static size_t describe(const struct progress *progress, const struct lane *lane, char *buf, size_t size)
{
	int n;

	/* an experiment that is run again goes beyond the number that was planned */
	if (lane->number <= progress->experiments)
		n = snprintf(buf, size, "[%zu/%zu] %s", lane->number, progress->experiments, lane->name);
	else
		n = snprintf(buf, size, "[%zu] %s", lane->number, lane->name);
	if (n > 0 && (size_t)n < size && *lane->stage)
		n += snprintf(
		    buf + n, size - (size_t)n, ": %s%s%s", lane->stage, *lane->detail ? ", " : "", lane->detail);
	return n > 0 && (size_t)n < size ? (size_t)n : size - 1;
}

/* All lanes on the terminal's one line. */
static void redraw(struct progress *progress)
{
	char line[LINE_MAX_BYTES] = "";
	size_t used = 0, i;

	for (i = 0; i < PROGRESS_LANES && used + 4 < sizeof line; i++) {
		if (!progress->lanes[i].number)
			continue;
		if (used)
			used += (size_t)snprintf(line + used, sizeof line - used, " | ");
		used += describe(progress, &progress->lanes[i], line + used, sizeof line - used);
	}
	rewrite(progress, line);
}

static void show(struct progress *progress, const struct lane *lane)
{
	char line[LINE_MAX_BYTES];

	if (progress->terminal) {
		redraw(progress);
	} else {
		describe(progress, lane, line, sizeof line);
		plain_line(progress, line);
	}
}

void progress_begin(struct progress *progress, unsigned lane, const char *name)
{
	struct lane *l;

	if (!progress || progress->quiet || lane >= PROGRESS_LANES)
		return;
	pthread_mutex_lock(&progress->lock);
	l = &progress->lanes[lane];
	memset(l, 0, sizeof *l);
	l->number = ++progress->begun;
	snprintf(l->name, sizeof l->name, "%s", name);
	show(progress, l);
	pthread_mutex_unlock(&progress->lock);
}

void progress_stage(struct progress *progress, unsigned lane, const char *stage, const char *detail)
{
	struct lane *l;
	bool is_new;

	if (!progress || progress->quiet || lane >= PROGRESS_LANES)
		return;
	pthread_mutex_lock(&progress->lock);
	l = &progress->lanes[lane];
	is_new = strcmp(stage, l->stage) != 0;
	snprintf(l->stage, sizeof l->stage, "%s", stage);
	snprintf(l->detail, sizeof l->detail, "%s", detail ? detail : "");
	if (l->number && (progress->terminal || is_new)) /* a log wants the stages, not every count within one */
		show(progress, l);
	pthread_mutex_unlock(&progress->lock);
}

void progress_note(struct progress *progress, unsigned lane, const char *format, ...)
{
	struct lane *l;
	va_list args;

	if (!progress || progress->quiet || lane >= PROGRESS_LANES)
		return;
	pthread_mutex_lock(&progress->lock);
	l = &progress->lanes[lane];
	va_start(args, format);
	vsnprintf(l->detail, sizeof l->detail, format, args);
	va_end(args);
	if (l->number)
		show(progress, l);
	pthread_mutex_unlock(&progress->lock);
}

static void erase(struct progress *progress)
{
	if (!progress->terminal || !*progress->shown)
		return;
	progress->shown[0] = '\0';
	fputs("\r\033[K", progress->err);
	fflush(progress->err);
}

void progress_end(struct progress *progress, unsigned lane)
{
	if (!progress || progress->quiet || lane >= PROGRESS_LANES)
		return;
	pthread_mutex_lock(&progress->lock);
	memset(&progress->lanes[lane], 0, sizeof progress->lanes[lane]);
	erase(progress);
	pthread_mutex_unlock(&progress->lock);
}

void progress_erase(struct progress *progress)
{
	if (!progress || progress->quiet)
		return;
	pthread_mutex_lock(&progress->lock);
	erase(progress);
	pthread_mutex_unlock(&progress->lock);
}

void progress_destroy(struct progress *progress)
{
	if (!progress)
		return;
	progress_erase(progress);
	pthread_mutex_destroy(&progress->lock);
	free(progress);
}
