/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a recording; see recording.h. A thread of its own: neither clients nor upstreams wait for the disk. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/proxy/recording.h"
#include "gateway/tally.h"
#include "gateway/proxy/upstream.h"
#include "wire/fd.h"

#define SECRET_MIN 8 /* bytes: shorter keys, such as "any", would be found in every text */

struct recorder {
	pthread_mutex_t *lock; /* the gateway's; not ours */
	pthread_cond_t more;
	pthread_t thread;
	char *path;
	int fd;
	struct tally *answers; /* of each key; the thread's own */
	struct exchange *first, **last;
	bool stop;
	struct error trouble; /* code 0: none */
};

/* ---- the file ---- */

static int lock_file(int fd, int how)
{
	int r;

	do
		r = flock(fd, how);
	while (r < 0 && errno == EINTR);
	return r;
}

/* The file's name has to survive, too. */
static int sync_directory(const char *path)
{
	char *copy = strdup(path);
	int r = copy ? fd_sync_dir(dirname(copy)) : -1;

	free(copy);
	return r;
}

/* Behind the last line feed; -1: errno says why. */
static off_t whole_lines(int fd, off_t size)
{
	char block[4096];

	while (size > 0) {
		const size_t wanted = size < (off_t)sizeof block ? (size_t)size : sizeof block;
		const ssize_t n = pread(fd, block, wanted, size - (off_t)wanted);
		const char *end = n > 0 ? memrchr(block, '\n', (size_t)n) : NULL;

		if (n < 0)
			return -1;
		if (end)
			return size - (off_t)wanted + (end - block) + 1;
		size -= (off_t)wanted;
	}
	return 0;
}

/* With the file locked: it is a recording, and ends with a whole line. */
static int look_over(struct recorder *recorder, struct error *err)
{
	static const char first[] = RECORDING_FIRST;
	char begin[sizeof first - 1];
	struct stat st;
	ssize_t n = 0;
	off_t end;

	if (fstat(recorder->fd, &st) < 0 || (n = pread(recorder->fd, begin, sizeof begin, 0)) < 0)
		return error_set(err, errno, "%.150s: %s", recorder->path, strerror(errno));
	if (!S_ISREG(st.st_mode) || memcmp(begin, first, (size_t)n) != 0)
		return error_set(err, EINVAL, "%.150s is no recording, and is not overwritten", recorder->path);
	if (n < (ssize_t)sizeof begin) { /* fresh, or its writer died */
		if (ftruncate(recorder->fd, 0) < 0 || fd_write_all(recorder->fd, first, sizeof begin) < 0 ||
		    fsync(recorder->fd) < 0 || sync_directory(recorder->path) < 0)
			return error_set(err, errno, "%.150s: %s", recorder->path, strerror(errno));
		return 0;
	}
	end = whole_lines(recorder->fd, st.st_size);
	if (end < 0 || (end < st.st_size && ftruncate(recorder->fd, end) < 0))
		return error_set(err, errno, "%.150s: %s", recorder->path, strerror(errno));
	return 0;
}

/* ---- pairs ---- */

/* API keys that the other side quotes are blotted out, byte by byte. */
static void blot(char *bytes, size_t size, const char *secrets)
{
	for (; *secrets; secrets += strlen(secrets) + 1) {
		const size_t length = strlen(secrets);
		char *at = bytes;

		while (length >= SECRET_MIN && (at = memmem(at, size - (size_t)(at - bytes), secrets, length)))
			memset(at, '*', length);
	}
}

static char *line_of(struct recorder *recorder, const struct exchange *exchange)
{
	const struct recording_note *note = exchange->note;
	const struct recording_request request = {.provider = note->provider,
	    .method = exchange->method,
	    .path = note->text,
	    .body = exchange->body,
	    .size = exchange->body_size};
	const char *secrets = note->text + note->secrets;
	char key[RECORDING_KEY_SIZE], *answer = malloc(exchange->size + 1), *line;

	if (!answer)
		return NULL;
	if (exchange->size)
		memcpy(answer, exchange->bytes, exchange->size);
	blot(answer, exchange->size, secrets);
	recording_key(&request, key);
	line = recording_line(&request, key, tally_of(recorder->answers, key) + 1, exchange->status, &exchange->headers,
	    answer, exchange->size);
	tally_add(recorder->answers, key);
	free(answer);
	if (line)
		blot(line, strlen(line), secrets);
	return line;
}

/* Returns 0, or an errno. */
static int write_pairs(struct recorder *recorder, const struct exchange *first)
{
	const struct exchange *exchange;
	off_t size, before = -1;
	int r = 0;

	if (lock_file(recorder->fd, LOCK_EX) < 0)
		return errno;
	/* Another one that writes to it may have died within a line since: ours would become its end. */
	size = lseek(recorder->fd, 0, SEEK_END);
	before = size < 0 ? -1 : whole_lines(recorder->fd, size);
	if (before < 0 || (before < size && ftruncate(recorder->fd, before) < 0))
		r = errno;
	for (exchange = first; exchange && r == 0; exchange = exchange->next) {
		char *line = line_of(recorder, exchange);

		if (!line)
			r = ENOMEM;
		else if (fd_write_all(recorder->fd, line, strlen(line)) < 0)
			r = errno;
		free(line);
	}
	if (r == 0 && fdatasync(recorder->fd) < 0)
		r = errno;
	if (r && before >= 0) /* no half of a line is left */
		(void)!ftruncate(recorder->fd, before);
	(void)lock_file(recorder->fd, LOCK_UN);
	return r;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
	struct recorder *recorder = arg;
	struct exchange *first, *next;
	int r;

	pthread_mutex_lock(recorder->lock);
	for (;;) {
		while (!recorder->first && !recorder->stop)
			pthread_cond_wait(&recorder->more, recorder->lock);
		first = recorder->first;
		if (!first)
			break;
		recorder->first = NULL;
		recorder->last = &recorder->first;
		pthread_mutex_unlock(recorder->lock);
		r = write_pairs(recorder, first);
		pthread_mutex_lock(recorder->lock);
		if (r && !recorder->trouble.code)
			error_set(&recorder->trouble, r, "what was answered could not be recorded: %.120s: %s",
			    recorder->path, strerror(r));
		for (; first; first = next) {
			next = first->next;
			exchange_finish(first);
			exchange_unref(first);
		}
	}
	pthread_mutex_unlock(recorder->lock);
	return NULL;
}

void recorder_take(struct recorder *recorder, struct exchange *exchange)
{
	exchange->owners++;
	exchange->next = NULL;
	*recorder->last = exchange;
	recorder->last = &exchange->next;
	pthread_cond_signal(&recorder->more);
}

int recorder_trouble(const struct recorder *recorder, struct error *err)
{
	if (!recorder->trouble.code)
		return 0;
	*err = recorder->trouble;
	return -1;
}

static void release(struct recorder *recorder)
{
	if (recorder->fd >= 0)
		close(recorder->fd);
	tally_destroy(recorder->answers);
	free(recorder->path);
	pthread_cond_destroy(&recorder->more);
	free(recorder);
}

int recorder_create(struct recorder **ret_recorder, const char *path, pthread_mutex_t *lock, struct error *err)
{
	struct recorder *recorder = calloc(1, sizeof *recorder);
	int r;

	if (!recorder)
		return error_set(err, ENOMEM, "%s: no memory for it", path);
	pthread_cond_init(&recorder->more, NULL);
	recorder->lock = lock;
	recorder->last = &recorder->first;
	recorder->path = strdup(path);
	recorder->answers = tally_create();
	recorder->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
	if (recorder->fd < 0 || !recorder->path || !recorder->answers) {
		error_set(err, recorder->fd < 0 ? errno : ENOMEM, "the recording %.150s: %s", path,
		    strerror(recorder->fd < 0 ? errno : ENOMEM));
		goto fail;
	}
	r = lock_file(recorder->fd, LOCK_EX) < 0 ? error_set(err, errno, "%.150s: %s", path, strerror(errno))
						 : look_over(recorder, err);
	(void)lock_file(recorder->fd, LOCK_UN);
	if (r < 0)
		goto fail;
	r = pthread_create(&recorder->thread, NULL, run, recorder);
	if (r) {
		error_set(err, r, "starting the gateway's thread for recording: %s", strerror(r));
		goto fail;
	}
	*ret_recorder = recorder;
	return 0;
fail:
	release(recorder);
	return -1;
}

void recorder_destroy(struct recorder *recorder)
{
	if (!recorder)
		return;
	pthread_mutex_lock(recorder->lock);
	recorder->stop = true;
	pthread_cond_signal(&recorder->more);
	pthread_mutex_unlock(recorder->lock);
	pthread_join(recorder->thread, NULL);
	release(recorder);
}
