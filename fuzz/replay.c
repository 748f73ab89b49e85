/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target once over each file that is named, or lies in a directory that is named: no libFuzzer. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz/fuzz.h"

static int run_file(const char *path)
{
	FILE *file = fopen(path, "re");
	uint8_t *bytes = NULL;
	struct stat status;
	size_t size = 0;

	if (!file || fstat(fileno(file), &status) < 0) {
		perror(path);
		if (file)
			fclose(file);
		return -1;
	}
	/* exactly as long as the input: reading behind it is then seen */
	bytes = malloc(status.st_size ? (size_t)status.st_size : 1);
	if (!bytes) {
		fclose(file);
		return -1;
	}
	if (status.st_size)
		size = fread(bytes, 1, (size_t)status.st_size, file);
	fclose(file);
	fprintf(stderr, "%s\n", path); /* the last line is whom to blame */
	LLVMFuzzerTestOneInput(bytes, size);
	free(bytes);
	return 0;
}

int main(int argc, char **argv)
{
	int i, run = 0, failed = 0;

	for (i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);
		struct dirent *entry;
		char path[4096];

		if (!dir) {
			failed |= run_file(argv[i]);
			run++;
			continue;
		}
		while ((entry = readdir(dir)) != NULL) {
			if (entry->d_name[0] == '.')
				continue;
			snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
			failed |= run_file(path);
			run++;
		}
		closedir(dir);
	}
	printf("%d inputs\n", run);
	return failed || !run; /* no input is no test */
}
