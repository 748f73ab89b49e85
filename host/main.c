/* SPDX-License-Identifier: Apache-2.0 */
/* The program `tritone`: finds the verb and calls it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/verb.h"

static int help(FILE *out)
{
	const struct verb *verb;

	fputs("tritone breaks a multi-agent orchestrator on purpose and says whether it "
	      "recovered.\n\n"
	      "usage: tritone VERB [ARGUMENT ...]      tritone VERB --help\n\n",
	    out);
	for (verb = verb_table; verb->name; verb++)
		if (verb->summary)
			fprintf(out, "  %-10s %s\n", verb->name, verb->summary);
	fputs("\nSee tritone(1).\n", out);
	return out == stdout ? 0 : 2;
}

/*
 * What whoever starts us may have left us without: a standard descriptor that is closed would be given to a file of ours, and be written
 * into; where SIGCHLD is ignored, nobody's end is ever reported to us, nor to the keeper, which inherits it.
 */
static int settle_in(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
	return fd < 0 || signal(SIGCHLD, SIG_DFL) == SIG_ERR ? -1 : 0;
}

/* A report that could not be written is no success. */
static int written(int status)
{
	if ((fflush(stdout) == 0 && !ferror(stdout)) || status)
		return status;
	fprintf(stderr, "tritone: standard output cannot be written: %s\n", strerror(errno));
	return 2;
}

int main(int argc, char **argv)
{
	const struct verb *verb;

	if (settle_in() < 0) {
		perror("tritone: /dev/null");
		return 2;
	}
	if (argc < 2)
		return help(stderr);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return written(help(stdout));
	if (!strcmp(argv[1], "--version")) {
		puts("tritone 0.1.0");
		return 0;
	}
	for (verb = verb_table; verb->name; verb++)
		if (!strcmp(argv[1], verb->name))
			return written(verb->run(argc - 1, argv + 1));
	fprintf(stderr, "tritone: no verb '%s'; see tritone --help\n", argv[1]);
	return 2;
}
