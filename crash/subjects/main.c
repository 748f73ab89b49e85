/* SPDX-License-Identifier: Apache-2.0 */
/* crash-subject: the subjects as the foreign programs that they stand for: a writer, a recovery, a check. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash/subjects/rows.h"

#define EXIT_USAGE 64

static const char usage[] =
    "crash-subject: libraries that keep their state in files, to be crashed\n"
    "\n"
    "  crash-subject NAME write COUNT DIR    COUNT transactions; prints the number of each once it is durable\n"
    "  crash-subject NAME recover DIR        opens it as after a crash\n"
    "  crash-subject NAME check DIR ACKED    ACKED: a file with the lines that were printed\n"
    "\n"
    "check: 0 recovered, 1 lost what was acknowledged, 2 corrupt, 3 refused by the library; 64 wrong usage.\n"
    "Names:\n";

static int read_number(const char *text, uint32_t *ret_number)
{
	char *end;
	unsigned long number;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || end == text || (*end && *end != '\n') || number > ROWS_COUNT_MAX)
		return -1;
	*ret_number = (uint32_t)number;
	return 0;
}

/* The last line of the file: the writer goes on only after it has printed. */
static int read_acked(const char *path, uint32_t *ret_acked)
{
	FILE *file = fopen(path, "re");
	char line[64];
	int r = 0;

	*ret_acked = 0;
	if (!file)
		return -1;
	while (r == 0 && fgets(line, sizeof line, file))
		r = read_number(line, ret_acked);
	fclose(file);
	return r;
}

static int failed(const struct subject *subject, const struct error *err)
{
	fprintf(stderr, "%s: %s\n", subject->name, err->text);
	return 1;
}

static int check(const struct subject *subject, const char *dir, const char *acked_path)
{
	static const char *const words[] = {"recovered", "lost", "corrupt", "refused"};
	enum subject_verdict verdict;
	char message[256];
	uint32_t acked;

	if (read_acked(acked_path, &acked) < 0) {
		fprintf(stderr, "crash-subject: %s: no list of numbers up to %u\n", acked_path, ROWS_COUNT_MAX);
		return EXIT_USAGE;
	}
	verdict = subject->check(dir, acked, acked + 1, message, sizeof message);
	printf("%s%s%s\n", words[verdict], message[0] ? ": " : "", message);
	return (int)verdict;
}

int main(int argc, char **argv)
{
	const struct subject *subject = argc > 3 ? subject_find(argv[1]) : NULL;
	struct error err;
	uint32_t count;
	size_t i;

	if (subject && argc == 5 && !strcmp(argv[2], "write") && read_number(argv[3], &count) == 0)
		return subject->write(argv[4], count, subject_print, NULL, &err) < 0 ? failed(subject, &err) : 0;
	if (subject && argc == 4 && !strcmp(argv[2], "recover"))
		return subject->recover(argv[3], &err) < 0 ? failed(subject, &err) : 0;
	if (subject && argc == 5 && !strcmp(argv[2], "check"))
		return check(subject, argv[3], argv[4]);
	fputs(usage, stderr);
	for (i = 0; (subject = subject_at(i)); i++)
		fprintf(stderr, "  %-24s%s\n", subject->name, subject->summary);
	return EXIT_USAGE;
}
