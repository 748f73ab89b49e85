/* SPDX-License-Identifier: Apache-2.0 */
/* What a directory holds, as the beginning of a trace. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash/trace.h"

#define TREE_DEPTH_MAX 64
#define FILE_SIZE_MAX  ((off_t)1 << 32) /* of one that is there from the start, in bytes of content */
#define CHUNK          (1u << 20)

static int add_tree(struct trace *trace, int dir_fd, uint64_t dir_inode, int depth, struct error *err);

/* Only what is not a hole: a log's file is as long as its map. */
static int add_content(struct trace *trace, int fd, uint64_t inode, off_t size, struct error *err)
{
	struct trace_op op = {.kind = TRACE_WRITE, .file = inode};
	off_t data = 0, hole = 0;
	uint8_t *chunk;
	int rc = 0;

	chunk = malloc(CHUNK);
	if (!chunk)
		return error_set(err, ENOMEM, "no memory for what is there");
	while (rc == 0 && (data = lseek(fd, hole, SEEK_DATA)) >= 0 && data < size) {
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			break;
		while (rc == 0 && data < hole) {
			const size_t wanted = hole - data > (off_t)CHUNK ? CHUNK : (size_t)(hole - data);
			const ssize_t n = pread(fd, chunk, wanted, data);

			if (n <= 0) {
				rc = error_set(err, n ? errno : EIO, "cannot be read");
				break;
			}
			op.offset = (uint64_t)data;
			op.size = op.data_size = (size_t)n;
			op.data = chunk;
			rc = trace_add(trace, &op, err);
			data += n;
		}
	}
	free(chunk);
	op = (struct trace_op){.kind = TRACE_TRUNCATE, .file = inode, .size = (uint64_t)size};
	return rc < 0 ? -1 : trace_add(trace, &op, err);
}

static int add_entry(
    struct trace *trace, int dir_fd, uint64_t dir_inode, const char *name, int depth, struct error *err)
{
	struct trace_op op = {.dir = dir_inode, .name = name};
	char target[4096];
	struct stat status;
	ssize_t n;
	int fd, rc;

	if (fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set(err, errno, "%s: %s", name, strerror(errno));
	op.file = status.st_ino;
	if (S_ISLNK(status.st_mode)) {
		n = readlinkat(dir_fd, name, target, sizeof target);
		if (n < 0)
			return error_set(err, errno, "%s: %s", name, strerror(errno));
		op.kind = TRACE_SYMLINK;
		op.data = (const uint8_t *)target;
		op.data_size = (size_t)n;
		return trace_add(trace, &op, err);
	}
	if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode))
		return 0; /* sockets and pipes hold nothing that could be lost */
	if (S_ISREG(status.st_mode) && status.st_nlink > 1 && trace_knows(trace, op.file)) {
		op.kind = TRACE_LINK;
		return trace_add(trace, &op, err);
	}
	op.kind = S_ISDIR(status.st_mode) ? TRACE_MKDIR : TRACE_CREATE;
	op.mode = status.st_mode & 07777;
	if (S_ISREG(status.st_mode) && status.st_blocks * 512 > FILE_SIZE_MAX)
		return error_set(err, EFBIG, "%s: is too large to be recorded", name);
	if (trace_add(trace, &op, err) < 0)
		return -1;
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(err, errno, "%s: %s", name, strerror(errno));
	rc = S_ISDIR(status.st_mode) ? add_tree(trace, fd, status.st_ino, depth + 1, err)
				     : add_content(trace, fd, status.st_ino, status.st_size, err);
	close(fd);
	return rc < 0 ? error_context(err, "%s", name) : 0;
}

static int add_tree(struct trace *trace, int dir_fd, uint64_t dir_inode, int depth, struct error *err)
{
	int copy = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0), rc = 0;
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;

	if (!dir) {
		error_set(err, errno, "cannot be read: %s", strerror(errno));
		if (copy >= 0)
			close(copy);
		return -1;
	}
	if (depth > TREE_DEPTH_MAX)
		rc = error_set(err, ELOOP, "is too deep");
	while (rc == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = add_entry(trace, dir_fd, dir_inode, entry->d_name, depth, err);
	closedir(dir);
	return rc;
}

int trace_add_tree(struct trace *trace, const char *dir, struct error *err)
{
	const struct trace_op begin = {.kind = TRACE_BEGIN};
	int rc = -1, fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		error_set(err, errno, "%s: %s", dir, strerror(errno));
	else if (trace_set_root(trace, status.st_ino, err) == 0)
		rc = add_tree(trace, fd, status.st_ino, 0, err);
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		return error_context(err, "%s", dir);
	return trace_add(trace, &begin, err);
}
