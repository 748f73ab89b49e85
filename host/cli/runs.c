/* SPDX-License-Identifier: Apache-2.0 */
/* The run directories below the state directory; see runs.h. */
#include "cli/runs.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"

void runs_free(char **dirs, size_t count)
{
	while (count)
		free(dirs[--count]);
	free(dirs);
}

const char *runs_id(const char *dir)
{
	const char *slash = strrchr(dir, '/');

	return slash && slash[1] ? slash + 1 : dir;
}

static int is_run(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN);
}

int runs_list(char ***ret_dirs, size_t *ret_count, struct error *err)
{
	char runs[PATH_MAX], real[PATH_MAX], path[PATH_MAX + NAME_MAX + 2];
	struct dirent **entries;
	char **dirs = NULL;
	int i, n, r = 0;
	size_t count = 0;

	if ((size_t)snprintf(runs, sizeof runs, "%s/runs", cli_state_root()) >= sizeof runs)
		return error_set(err, ENAMETOOLONG, "%s: the path is too long", cli_state_root());
	n = realpath(runs, real) ? scandir(real, &entries, is_run, alphasort) : -1;
	if (n < 0 && errno != ENOENT)
		return error_set(err, errno, "%s: %s", runs, strerror(errno));
	dirs = calloc(n > 0 ? (size_t)n : 1, sizeof *dirs);
	if (!dirs)
		r = error_set(err, ENOMEM, "no memory for the list of runs");
	for (i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/%s", real, entries[i]->d_name);
		if (dirs && r == 0 && !(dirs[count++] = strdup(path)))
			r = error_set(err, ENOMEM, "no memory for the list of runs");
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	if (r < 0) {
		runs_free(dirs, count);
		return -1;
	}
	*ret_dirs = dirs;
	*ret_count = count;
	return 0;
}
