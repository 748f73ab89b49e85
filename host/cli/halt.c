/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone halt`: the kill switch by hand. A halt file in a run's directory ends that run; one in the state directory ends all and blocks every start. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verb.h"

static const char usage[] =
    "usage: tritone halt ID ...      end these runs: their faults are undone, their systems ended\n"
    "       tritone halt --all       end every run, and let nothing start until it is cleared\n"
    "       tritone halt --clear     let runs start again\n\n"
    "IDs are those of `tritone status`. Exit status: 0, 2 no such run.\n";

static int touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0) {
		fprintf(stderr, "tritone halt: %s: %s\n", path, strerror(errno));
		return 2;
	}
	close(fd);
	return 0;
}

static int halt_run(const char *root, const char *id)
{
	char path[PATH_MAX];
	struct stat st;

	if (strchr(id, '/') || id[0] == '.' ||
	    snprintf(path, sizeof path, "%s/runs/%s", root, id) >= (int)sizeof path || stat(path, &st) != 0 ||
	    !S_ISDIR(st.st_mode)) {
		fprintf(stderr, "tritone halt: there is no run '%s' in %s/runs; see tritone status\n", id, root);
		return 2;
	}
	if (snprintf(path, sizeof path, "%s/runs/%s/halt", root, id) >= (int)sizeof path)
		return 2;
	return touch(path);
}

int verb_halt(int argc, char **argv)
{
	static const struct option options[] = {
	    {"all", no_argument, NULL, 'a'},
	    {"clear", no_argument, NULL, 'c'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *root = cli_state_root();
	char path[PATH_MAX];
	int c, i, status = 0, all = 0, clear = 0;

	optind = 1;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		if (c == '?')
			return cli_usage("halt", "wrong arguments");
		all |= c == 'a';
		clear |= c == 'c';
	}
	if (all + clear + (optind < argc) != 1)
		return cli_usage("halt", "one of: run ids, --all, --clear");
	if (snprintf(path, sizeof path, "%s/halt", root) >= (int)sizeof path)
		return cli_usage("halt", "the path of %s is too long", root);
	if (all) {
		if (mkdir(root, 0755) != 0 && errno != EEXIST) {
			fprintf(stderr, "tritone halt: %s: %s\n", root, strerror(errno));
			return 2;
		}
		return touch(path);
	}
	if (clear) {
		if (unlink(path) != 0 && errno != ENOENT) {
			fprintf(stderr, "tritone halt: %s: %s\n", path, strerror(errno));
			return 2;
		}
		return 0;
	}
	for (i = optind; i < argc; i++)
		status |= halt_run(root, argv[i]);
	return status;
}
