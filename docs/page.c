/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completes a manual page before scdoc sees it, so that nothing is written twice: a line "@keys NAME" becomes the keys that the
 * loaders know (spec_describe), "@file PATH" a file, by its path from the page, as it is, and "@plugin" what the descriptor of the page's
 * plugin says: `page FILE [TRITONE MODULE]`.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "spec/spec.h"

extern char **environ;

static int put_file(const char *page, const char *name)
{
	const char *slash = strrchr(page, '/');
	char path[4096], line[1024];
	FILE *in;

	snprintf(path, sizeof path, "%.*s%s", slash ? (int)(slash - page) + 1 : 0, page, name);
	in = fopen(path, "re");
	if (!in) {
		fprintf(stderr, "%s: %s: %s\n", page, path, strerror(errno));
		return -1;
	}
	fputs("```\n", stdout);
	while (fgets(line, sizeof line, in))
		fputs(line, stdout);
	fputs("```\n", stdout);
	if (ferror(in) || fclose(in) != 0)
		return -1;
	return 0;
}

/* As `tritone plugin show --scd MODULE` prints it. */
static int put_plugin(char *program, char *module)
{
	char plugin[] = "plugin", show[] = "show", scd[] = "--scd";
	char *const argv[] = {program, plugin, show, scd, module, NULL};
	int status = -1;
	pid_t pid;

	if (fflush(stdout) != 0 || posix_spawn(&pid, program, NULL, NULL, argv, environ) != 0)
		return -1;
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	struct error err;
	char line[4096];
	FILE *in = argc == 2 || argc == 4 ? fopen(argv[1], "re") : NULL;
	int rc = in ? 0 : -1;

	while (rc == 0 && fgets(line, sizeof line, in)) {
		char *end = strchr(line, '\n');

		if (!strncmp(line, "@keys ", 6) && end) {
			*end = '\0';
			rc = spec_describe(stdout, line + 6, &err);
			if (rc != 0)
				fprintf(stderr, "%s: %s\n", argv[1], err.text);
		} else if (!strncmp(line, "@file ", 6) && end) {
			*end = '\0';
			rc = put_file(argv[1], line + 6);
		} else if (!strcmp(line, "@plugin\n")) {
			rc = argc == 4 ? put_plugin(argv[2], argv[3]) : -1;
			if (rc != 0)
				fprintf(stderr, "%s: its plugin could not be described\n", argv[1]);
		} else {
			fputs(line, stdout);
		}
	}
	if (in && (ferror(in) || fclose(in) != 0))
		rc = -1;
	return rc == 0 && fflush(stdout) == 0 ? 0 : 1;
}
