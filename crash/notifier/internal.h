/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share: one recording. */
#ifndef TRITONE_CRASH_NOTIFIER_INTERNAL_H
#define TRITONE_CRASH_NOTIFIER_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "crash/notifier/notifier.h"
#include "notified/filter.h"

#define NOTIFIER_VECTORS_MAX 1024u
#define NOTIFIER_DATA_MAX    ((size_t)64 << 20) /* of one call; more is a short write */

struct recording {
	const struct notifier_options *options;
	struct trace *trace;
	struct notified notified;
	int listener;
	char root[PATH_MAX]; /* without links */
	dev_t root_dev;
	struct stat output; /* the pipe that is the command's standard output */
	uint8_t *data;
	size_t data_room;
	char path[PATH_MAX], from[PATH_MAX], text[PATH_MAX];
	struct error failure; /* code 0: none; the recording is worth nothing any more */
};

/* The call in hand. */
struct asked {
	uint64_t id;
	pid_t tid;
	int nr;
	const uint64_t *args;
};

/* What a call came to. */
enum done {
	DONE,     /* performed: `value` */
	FAILED,   /* `error` */
	CONTINUE, /* not ours: let the kernel do it */
	ANSWERED, /* already */
};

struct result {
	enum done done;
	int64_t value;
	int error;
};

#define RESULT_CONTINUE        ((struct result){.done = CONTINUE})
#define RESULT_FAILED(code)    ((struct result){.done = FAILED, .error = (code)})
#define RESULT_VALUE(returned) ((struct result){.done = DONE, .value = (returned)})

/* notifier.c */
bool recording_below(const struct recording *recording, const char *path); /* the directory itself counts */
void recording_refuse(struct recording *recording, const char *format, ...) __attribute__((format(printf, 2, 3)));
void recording_add(struct recording *recording, const struct asked *asked, const struct trace_op *op);
bool recording_valid(const struct recording *recording, const struct asked *asked);

/* filter.c */
int notifier_filter(struct sock_fprog *ret_program, struct error *err);

/* data.c: calls on descriptors; names.c: on paths; maps.c: mmap, mprotect, msync */
struct result data_call(struct recording *recording, const struct asked *asked);
struct result names_call(struct recording *recording, const struct asked *asked);
struct result maps_call(struct recording *recording, const struct asked *asked);

#endif
