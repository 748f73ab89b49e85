/* SPDX-License-Identifier: Apache-2.0 */
/* The trace on disk, a directory's content as its beginning, and one operation in words. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash/trace.h"

#define TREE_DEPTH_MAX 64
#define FILE_SIZE_MAX  ((off_t)1 << 32) /* of one that is there from the start, in bytes of content */
#define CHUNK          (1u << 20)

/* --- on disk --- */

static int put(FILE *out, const void *bytes, size_t size)
{
	return size && fwrite(bytes, 1, size, out) != size ? -1 : 0;
}

static int put_op(FILE *out, const struct trace_op *op)
{
	static const char zeros[8];
	const struct trace_record record = trace_record_of(op);
	const size_t padding =
	    record.size - sizeof record - record.name_size - record.name2_size - (size_t)op->data_size;

	if (put(out, &record, sizeof record) < 0 || put(out, op->name, record.name_size) < 0 ||
	    put(out, op->name2, record.name2_size) < 0 || put(out, op->data, op->data_size) < 0)
		return -1;
	return put(out, zeros, padding);
}

int trace_save(const struct trace *trace, const char *path, struct error *err)
{
	struct trace_file_head head = {.magic = TRACE_MAGIC, .root_inode = TRACE_ROOT};
	FILE *out = fopen(path, "we");
	int rc = -1;
	long end;
	size_t i;

	if (!out)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	snprintf(head.root, sizeof head.root, "%s", trace->root);
	if (put(out, &head, sizeof head) < 0)
		goto out;
	for (i = 0; i < trace->count; i++)
		if (put_op(out, &trace->ops[i]) < 0)
			goto out;
	end = ftell(out);
	if (end < 0 || fseek(out, 0, SEEK_SET) < 0)
		goto out;
	head.end = (uint64_t)end;
	rc = put(out, &head, sizeof head);
out:
	if (fclose(out) || rc < 0)
		return error_set(err, errno ? errno : EIO, "%s: cannot be written: %s", path, strerror(errno));
	return 0;
}

int trace_save_acks(const struct trace *trace, size_t count, const char *path, struct error *err)
{
	FILE *out = fopen(path, "we");
	int rc = 0;
	size_t i;

	if (!out)
		return error_set(err, errno, "%s: %s", path, strerror(errno));
	for (i = 0; rc == 0 && i < count; i++)
		if (put(out, trace->acks[i].text, trace->acks[i].size) < 0 || put(out, "\n", 1) < 0)
			rc = -1;
	if (fclose(out) || rc < 0)
		return error_set(err, errno ? errno : EIO, "%s: cannot be written: %s", path, strerror(errno));
	return 0;
}

/* One record at `at`; its names are copied to `names` because they end with a NUL there. */
static int load_record(struct trace *trace, const uint8_t *at, size_t room, char names[2][TRACE_NAME_MAX + 1],
    size_t *ret_size, struct error *err)
{
	struct trace_record record;
	const uint8_t *bytes = at + sizeof record;
	struct trace_op op;

	if (room < sizeof record)
		return error_set(err, EILSEQ, "a record that is cut");
	memcpy(&record, at, sizeof record);
	if (record.size > room || record.size % 8 || record.name_size > TRACE_NAME_MAX ||
	    record.name2_size > TRACE_NAME_MAX || record.data_size > record.size ||
	    sizeof record + record.name_size + record.name2_size + record.data_size > record.size)
		return error_set(err, EILSEQ, "a record whose sizes do not fit");
	memcpy(names[0], bytes, record.name_size);
	names[0][record.name_size] = '\0';
	memcpy(names[1], bytes + record.name_size, record.name2_size);
	names[1][record.name2_size] = '\0';
	op = (struct trace_op){.kind = record.kind,
	    .flags = record.flags,
	    .pid = record.pid,
	    .mode = record.mode,
	    .file = record.file,
	    .other = record.other,
	    .dir = record.dir,
	    .dir2 = record.dir2,
	    .name = record.name_size ? names[0] : NULL,
	    .name2 = record.name2_size ? names[1] : NULL,
	    .offset = record.offset,
	    .size = record.length,
	    .data = bytes + record.name_size + record.name2_size,
	    .data_size = record.data_size};
	if (!op.data_size && op.kind < TRACE_OUTPUT)
		op.data = NULL;
	*ret_size = record.size;
	return trace_add(trace, &op, err);
}

int trace_add_records(struct trace *trace, const uint8_t *bytes, size_t end, struct error *err)
{
	char names[2][TRACE_NAME_MAX + 1];
	size_t at, size = 0;

	for (at = 0; at < end; at += size)
		if (load_record(trace, bytes + at, end - at, names, &size, err) < 0)
			return -1;
	return 0;
}

int trace_load(struct trace **ret_trace, const char *path, struct error *err)
{
	const struct trace_file_head *head;
	struct trace *trace = NULL;
	uint8_t *bytes = MAP_FAILED;
	struct stat status;
	int rc = -1, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) < 0) {
		error_set(err, errno, "%s: %s", path, strerror(errno));
		goto out;
	}
	if ((size_t)status.st_size >= sizeof *head)
		bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	head = (const struct trace_file_head *)(const void *)bytes;
	if (bytes == MAP_FAILED || head->magic != TRACE_MAGIC || head->end < sizeof *head ||
	    head->end > (uint64_t)status.st_size || !memchr(head->root, '\0', sizeof head->root)) {
		error_set(err, EILSEQ, "%s: is no trace", path);
		goto out;
	}
	if (trace_create(&trace, head->root, err) < 0 || trace_set_root(trace, head->root_inode, err) < 0)
		goto out;
	rc = trace_add_records(trace, bytes + sizeof *head, head->end - sizeof *head, err);
	if (rc < 0)
		error_context(err, "%s", path);
out:
	if (bytes != MAP_FAILED)
		munmap(bytes, (size_t)status.st_size);
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		trace_destroy(trace);
	else
		*ret_trace = trace;
	return rc;
}

/* --- what is there from the start --- */

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

/* --- in words --- */

void trace_describe(const struct trace *trace, size_t index, char *to, size_t size)
{
	const struct trace_op *op = &trace->ops[index];
	const char *name = trace_name(trace, op->file);
	const char *verb = NULL;

	switch ((enum trace_kind)op->kind) {
	case TRACE_WRITE:
		snprintf(to, size, "write %llu bytes at %llu of %s%s", (unsigned long long)op->size,
		    (unsigned long long)op->offset, name, op->flags & TRACE_DURABLE ? ", durable at once" : "");
		return;
	case TRACE_TRUNCATE:
		snprintf(to, size, "make %s %llu bytes long", name, (unsigned long long)op->size);
		return;
	case TRACE_ALLOCATE:
		snprintf(to, size, "allocate %llu bytes at %llu of %s (mode %u)", (unsigned long long)op->size,
		    (unsigned long long)op->offset, name, op->mode);
		return;
	case TRACE_RENAME:
		snprintf(to, size, "rename %s/%s to %s/%s%s", trace_name(trace, op->dir), op->name,
		    trace_name(trace, op->dir2), op->name2, op->flags & TRACE_EXCHANGE ? ", exchanged" : "");
		return;
	case TRACE_ACK:
	case TRACE_MARK:
		snprintf(to, size, "%s '%.*s'", op->kind == TRACE_ACK ? "acknowledged:" : "passed", (int)op->data_size,
		    (const char *)op->data);
		return;
	case TRACE_BEGIN:
		snprintf(to, size, "the command starts");
		return;
	case TRACE_SYNC_ALL:
		snprintf(to, size, "sync everything");
		return;
	case TRACE_CREATE:
		verb = "create";
		break;
	case TRACE_MKDIR:
		verb = "make directory";
		break;
	case TRACE_SYMLINK:
		verb = "make symbolic link";
		break;
	case TRACE_LINK:
		verb = "link";
		break;
	case TRACE_UNLINK:
		verb = "unlink";
		break;
	case TRACE_RMDIR:
		verb = "remove directory";
		break;
	case TRACE_FSYNC:
		verb = "fsync";
		break;
	case TRACE_FDATASYNC:
		verb = "fdatasync";
		break;
	case TRACE_MSYNC:
		verb = "msync";
		break;
	case TRACE_VOLATILE:
		verb = "map, shared and writable:";
		break;
	case TRACE_OUTPUT:
		break;
	}
	if (op->name)
		snprintf(to, size, "%s %s/%s", verb, trace_name(trace, op->dir), op->name);
	else
		snprintf(to, size, "%s %s", verb ? verb : "?", name);
}
