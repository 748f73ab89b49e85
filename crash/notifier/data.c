/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on a descriptor: writes with their data, lengths, syncs. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "crash/notifier/internal.h"
#include "notified/target.h"

static int make_room(struct recording *recording, size_t size)
{
	uint8_t *grown;

	if (size <= recording->data_room)
		return 0;
	grown = realloc(recording->data, size);
	if (!grown)
		return -ENOMEM;
	recording->data = grown;
	recording->data_room = size;
	return 0;
}

/* The call's data, all in one piece. Returns its size or a negative errno. */
static ssize_t load_data(struct recording *recording, const struct asked *asked)
{
	struct iovec vectors[NOTIFIER_VECTORS_MAX];
	size_t count = 1, size = 0, i;
	int r;

	if (asked->nr == SYS_write || asked->nr == SYS_pwrite64) {
		vectors[0].iov_base = (void *)(uintptr_t)asked->args[1]; // NOLINT(performance-no-int-to-ptr)
		vectors[0].iov_len = asked->args[2];
	} else {
		count = asked->args[2];
		if (count > NOTIFIER_VECTORS_MAX)
			return -EINVAL;
		r = target_read(asked->tid, asked->args[1], vectors, count * sizeof *vectors);
		if (r < 0)
			return r;
	}
	for (i = 0; i < count; i++) {
		size_t take = vectors[i].iov_len;

		if (take > NOTIFIER_DATA_MAX - size)
			take = NOTIFIER_DATA_MAX - size;
		r = make_room(recording, size + take);
		if (r == 0)
			r = target_read(
			    asked->tid, (uint64_t)(uintptr_t)vectors[i].iov_base, recording->data + size, take);
		if (r < 0) {
			if (size)
				break;
			return r;
		}
		size += take;
	}
	return (ssize_t)size;
}

static struct result put_output(struct recording *recording, const struct asked *asked)
{
	const ssize_t size = load_data(recording, asked);
	ssize_t done = 0, n;
	struct trace_op op;

	if (size < 0)
		return RESULT_FAILED((int)-size);
	op = (struct trace_op){.kind = TRACE_OUTPUT, .data = recording->data, .data_size = (size_t)size};
	recording_add(recording, asked, &op);
	while (recording->options->echo >= 0 && done < size) {
		n = write(recording->options->echo, recording->data + done, (size_t)(size - done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; /* nobody listens: that is no fault of the command's */
		done += n;
	}
	return RESULT_VALUE(size);
}

static struct result put_line(struct recording *recording, const struct asked *asked, uint32_t kind)
{
	const ssize_t size = load_data(recording, asked);
	struct trace_op op = {.kind = kind, .data = recording->data};

	if (size >= 0) {
		op.data_size = (size_t)size;
		recording_add(recording, asked, &op);
	}
	return RESULT_FAILED(EBADF);
}

/* Where the bytes will go. Nobody else writes meanwhile: all who could wait for us. */
static int64_t offset_of(const struct asked *asked, int fd, int file_flags, const struct stat *st)
{
	const bool at_position = asked->nr == SYS_write || asked->nr == SYS_writev ||
				 (asked->nr == SYS_pwritev2 && (int64_t)asked->args[3] == -1);

	if (file_flags & O_APPEND || (asked->nr == SYS_pwritev2 && asked->args[5] & RWF_APPEND))
		return st->st_size;
	return at_position ? lseek(fd, 0, SEEK_CUR) : (int64_t)asked->args[3];
}

static struct result do_write(
    struct recording *recording, const struct asked *asked, int fd, const struct stat *st, int file_flags)
{
	const int flags = asked->nr == SYS_pwritev2 ? (int)asked->args[5] : 0;
	const ssize_t size = load_data(recording, asked);
	struct trace_op op = {.kind = TRACE_WRITE, .file = st->st_ino, .data = recording->data};
	struct iovec iov;
	int64_t offset;
	ssize_t n;

	if (size < 0)
		return RESULT_FAILED((int)-size);
	if (!recording_valid(recording, asked))
		return (struct result){.done = ANSWERED};
	offset = offset_of(asked, fd, file_flags, st);
	iov = (struct iovec){recording->data, (size_t)size};
	do {
		if (asked->nr == SYS_write || asked->nr == SYS_writev)
			n = write(fd, recording->data, (size_t)size);
		else
			n = pwritev2(fd, &iov, 1, (off_t)asked->args[3], flags);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return RESULT_FAILED(errno);
	if (n > 0) {
		op.offset = (uint64_t)offset;
		op.size = op.data_size = (size_t)n;
		if (file_flags & O_DSYNC || flags & (RWF_DSYNC | RWF_SYNC)) /* O_SYNC contains O_DSYNC */
			op.flags = TRACE_DURABLE;
		recording_add(recording, asked, &op);
	}
	return RESULT_VALUE(n);
}

static struct result simple(struct recording *recording, const struct asked *asked, int r, struct trace_op op)
{
	if (r < 0)
		return RESULT_FAILED(errno);
	recording_add(recording, asked, &op);
	return RESULT_VALUE(0);
}

static struct result on_file(struct recording *recording, const struct asked *asked, int fd, const struct stat *st)
{
	const uint64_t *args = asked->args;
	struct trace_op op = {.file = st->st_ino};
	int file_flags;

	switch (asked->nr) {
	case SYS_fsync:
		op.kind = TRACE_FSYNC;
		return simple(recording, asked, fsync(fd), op);
	case SYS_fdatasync:
		op.kind = TRACE_FDATASYNC;
		return simple(recording, asked, fdatasync(fd), op);
	case SYS_syncfs:
		op = (struct trace_op){.kind = TRACE_SYNC_ALL};
		return simple(recording, asked, syncfs(fd), op);
	case SYS_ftruncate:
		op.kind = TRACE_TRUNCATE;
		op.size = args[1];
		return simple(recording, asked, ftruncate(fd, (off_t)args[1]), op);
	case SYS_fallocate:
		op.kind = TRACE_ALLOCATE;
		op.mode = (uint32_t)args[1];
		op.offset = args[2];
		op.size = args[3];
		return simple(recording, asked, fallocate(fd, (int)args[1], (off_t)args[2], (off_t)args[3]), op);
	default:
		file_flags = fcntl(fd, F_GETFL);
		if (file_flags < 0)
			return RESULT_FAILED(errno);
		return do_write(recording, asked, fd, st, file_flags);
	}
}

static bool is_write(int nr)
{
	return nr == SYS_write || nr == SYS_writev || nr == SYS_pwrite64 || nr == SYS_pwritev || nr == SYS_pwritev2;
}

/* The descriptor that something is copied into. */
static int copied_to(const struct asked *asked)
{
	if (asked->nr == SYS_sendfile)
		return (int)asked->args[0];
	return asked->nr == SYS_copy_file_range || asked->nr == SYS_splice ? (int)asked->args[2] : -1;
}

static bool is_output(const struct recording *recording, const struct stat *st)
{
	return st->st_dev == recording->output.st_dev && st->st_ino == recording->output.st_ino;
}

struct result data_call(struct recording *recording, const struct asked *asked)
{
	const bool copies = copied_to(asked) >= 0;
	const int number = copies ? copied_to(asked) : (int)asked->args[0];
	struct result result = RESULT_CONTINUE;
	struct stat st;
	int fd;

	if ((number == TRACE_MARK_FD || number == TRACE_ACK_FD) && is_write(asked->nr))
		return put_line(recording, asked, number == TRACE_ACK_FD ? TRACE_ACK : TRACE_MARK);
	fd = target_take_fd(asked->tid, number);
	if (fd < 0 || fstat(fd, &st) < 0)
		goto out; /* the kernel knows best what is wrong */
	if (is_output(recording, &st)) {
		result = copies ? RESULT_FAILED(EINVAL)
				: (is_write(asked->nr) ? put_output(recording, asked) : RESULT_CONTINUE);
		goto out;
	}
	if (st.st_dev != recording->root_dev || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
		goto out;
	if (asked->nr != SYS_syncfs &&
	    (target_fd_path(asked->tid, number, recording->path) < 0 || !recording_below(recording, recording->path)))
		goto out;
	if (!recording_valid(recording, asked))
		result.done = ANSWERED;
	else if (copies)
		result = RESULT_FAILED(asked->nr == SYS_copy_file_range ? EXDEV : EINVAL);
	else
		result = on_file(recording, asked, fd, &st);
out:
	if (fd >= 0)
		close(fd);
	return result;
}
