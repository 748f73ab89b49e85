/* SPDX-License-Identifier: Apache-2.0 */
/* Files that people write: an experiment, a manifest, a suite. Each is loaded, or refused with a place in it. */
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "spec/spec.h"

static void refused(const struct error *err)
{
	MUST(err->code > 0 && err->text[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct spec_experiment *experiment = NULL;
	struct spec_manifest *manifest = NULL;
	struct spec_suite *suite = NULL;
	struct error err = {0};
	char path[32];
	int fd = fuzz_file(bytes, size, path);

	if (spec_experiment_load(&experiment, path, &err) < 0)
		refused(&err);
	else
		spec_experiment_free(experiment);
	if (spec_manifest_load(&manifest, path, &err) < 0)
		refused(&err);
	else
		spec_manifest_free(manifest);
	if (spec_suite_load(&suite, path, &err) < 0)
		refused(&err);
	else
		spec_suite_free(suite);
	close(fd);
	return 0;
}
