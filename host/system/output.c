/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at the logs as they grow. */
#include "system/output.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB        (INT64_C(1) << 20)
#define KEPT_MIB   1  /* of the beginning and of the end */
#define BLOCKS_MIB 64 /* above it, what is in between gives its blocks back */

struct output {
	const struct spec_manifest *manifest;
	char *log_dir;
	struct processes *processes;
};

int output_create(struct output **ret_output, const struct spec_manifest *manifest, const char *log_dir,
    struct processes *processes, struct error *err)
{
	struct output *output = calloc(1, sizeof *output);

	if (!output || !(output->log_dir = strdup(log_dir))) {
		free(output);
		return error_set(err, ENOMEM, "no memory for the output");
	}
	output->manifest = manifest;
	output->processes = processes;
	*ret_output = output;
	return 0;
}

void output_destroy(struct output *output)
{
	if (!output)
		return;
	free(output->log_dir);
	free(output);
}

/* A file system that cannot do it keeps the blocks: the limit is what ends it then. */
static void give_back(const char *path, const struct stat *st)
{
	int64_t from = KEPT_MIB * MIB, size = (int64_t)st->st_size - 2 * KEPT_MIB * MIB;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, size) != 0 && errno == EINTR)
		;
	close(fd);
}

static void on_log(void *arg, const char *path, uint32_t mask)
{
	struct output *output = arg;
	const char *name = strrchr(path, '/') + 1;
	size_t size = strlen(name);
	struct stat st;

	if (!(mask & IN_MODIFY) || size < 5 || strcmp(name + size - 4, ".log") != 0 || stat(path, &st) != 0)
		return;
	if ((int64_t)st.st_blocks * 512 > BLOCKS_MIB * MIB)
		give_back(path, &st);
	for (size_t i = 0; i < output->manifest->process_count; i++) {
		const struct spec_process *process = &output->manifest->processes[i];

		if (strlen(process->name) == size - 4 && !strncmp(process->name, name, size - 4) &&
		    (uint64_t)st.st_size > process->output_max_mib << 20)
			processes_overflow(output->processes, i);
	}
}

int output_watch(struct output *output, struct watch *watch, struct error *err)
{
	return watch_add(watch, output->log_dir, NULL, on_log, output, err);
}
