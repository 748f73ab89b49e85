/* SPDX-License-Identifier: Apache-2.0 */
/* The trace on disk, and in the memory that a recorder has written to. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crash/trace.h"

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
