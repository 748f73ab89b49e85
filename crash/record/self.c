/* SPDX-License-Identifier: Apache-2.0 */
/* A process that records itself, now and then: how the writes of a recovery are come by, thousands of times. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "crash/record/emit.h"
#include "crash/record/recording.h"
#include "crash/record/trap.h"

struct record_self {
	struct recording recording; /* its control block must stay: the filter cannot be taken off */
};

int record_self_create(struct record_self **ret_self, const char *dir, struct error *err)
{
	const struct record_options options = {.dir = dir};
	struct record_self *self = calloc(1, sizeof *self);
	int rc;

	if (!self)
		return error_set(err, ENOMEM, "no memory for a recording");
	self->recording = (struct recording){.fd = -1, .image_fd = -1, .output = {-1, -1}};
	if (recording_map(&self->recording, &options, err) < 0)
		goto fail;
	self->recording.control->enabled = 0;
	rc = trap_install(self->recording.control);
	if (rc) {
		error_set(err, ENOTSUP, "this process cannot record itself: %s", strerror(rc));
		goto fail;
	}
	*ret_self = self;
	return 0;

fail:
	recording_release(&self->recording);
	free(self);
	return -1;
}

int record_self_begin(struct record_self *self, struct error *err)
{
	struct recording *recording = &self->recording;
	struct record_control *control = recording->control;
	struct stat status;

	if (stat(control->root, &status) < 0)
		return error_set(err, errno, "%s: %s", control->root, strerror(errno));
	recording_restart(recording, status.st_ino);
	control->refused = control->full = control->torn = 0;
	if (trace_create(&recording->trace, control->root, err) < 0)
		return -1;
	if (trace_add_tree(recording->trace, control->root, err) < 0) {
		trace_destroy(recording->trace);
		recording->trace = NULL;
		return -1;
	}
	control->enabled = 1;
	return 0;
}

int record_self_end(struct record_self *self, struct trace **ret_trace, struct error *err)
{
	struct recording *recording = &self->recording;
	const struct trace_file_head *head = recording_head(recording);
	struct trace *trace = recording->trace;

	emit_stop(recording->control);
	recording->trace = NULL;
	if (recording->control->refused || recording->control->full) {
		trace_destroy(trace);
		return error_set(err, ENOTSUP, "the recovery cannot be followed: %s",
		    recording->control->refused ? recording->control->refusal : "it writes too much");
	}
	if (trace_add_records(trace, (const uint8_t *)(head + 1), head->end - sizeof *head, err) < 0) {
		trace_destroy(trace);
		return -1;
	}
	*ret_trace = trace;
	return 0;
}
