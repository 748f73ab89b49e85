/* SPDX-License-Identifier: Apache-2.0 */
/* One recording, as the files on the reading side share it. */
#ifndef TRITONE_CRASH_RECORD_RECORDING_H
#define TRITONE_CRASH_RECORD_RECORDING_H

#include "crash/record/control.h"
#include "crash/record/record.h"

struct recording {
	struct record_control *control;
	int fd;        /* of the control file */
	int image_fd;  /* of the preloaded library */
	int output[2]; /* the command's standard output */
	struct trace *trace;
};

int recording_map(struct recording *recording, const struct record_options *options, struct error *err);
void recording_restart(struct recording *recording, uint64_t root_inode); /* forgets what was recorded */
const struct trace_file_head *recording_head(const struct recording *recording);
void recording_release(struct recording *recording);

#endif
