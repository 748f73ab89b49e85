/* SPDX-License-Identifier: Apache-2.0 */
/* What is going on, on standard error: one line that rewrites itself on a terminal; elsewhere a line for each stage. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "report/report.h"
#include "report/text.h"

#define LINE_MAX_BYTES 400

struct progress {
	FILE *err;
	bool quiet, terminal;
	size_t experiments, begun;
	char name[128], stage[32];
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

static void head(const struct progress *progress, char *buf, size_t size)
{
	/* an experiment that is run again goes beyond the number that was planned */
	if (progress->begun <= progress->experiments)
		snprintf(buf, size, "[%zu/%zu] %s", progress->begun, progress->experiments, progress->name);
	else
		snprintf(buf, size, "[%zu] %s", progress->begun, progress->name);
}

void progress_begin(struct progress *progress, const char *name)
{
	char line[LINE_MAX_BYTES];

	if (!progress || progress->quiet)
		return;
	progress->begun++;
	progress->stage[0] = '\0';
	snprintf(progress->name, sizeof progress->name, "%s", name);
	head(progress, line, sizeof line);
	if (progress->terminal)
		rewrite(progress, line);
	else
		plain_line(progress, line);
}

void progress_stage(struct progress *progress, const char *stage, const char *detail)
{
	char line[LINE_MAX_BYTES + 64], start[LINE_MAX_BYTES - 100];
	bool is_new, has_detail = detail && *detail;

	if (!progress || progress->quiet)
		return;
	is_new = strcmp(stage, progress->stage) != 0;
	snprintf(progress->stage, sizeof progress->stage, "%s", stage);
	head(progress, start, sizeof start);
	snprintf(line, sizeof line, "%s: %s%s%.100s", start, stage, has_detail ? ", " : "", has_detail ? detail : "");
	if (progress->terminal)
		rewrite(progress, line);
	else if (is_new) /* a log wants the stages, not every count within one */
		plain_line(progress, line);
}

void progress_end(struct progress *progress)
{
	if (!progress || progress->quiet || !progress->terminal || !*progress->shown)
		return;
	progress->shown[0] = '\0';
	fputs("\r\033[K", progress->err);
	fflush(progress->err);
}

void progress_destroy(struct progress *progress)
{
	progress_end(progress);
	free(progress);
}
