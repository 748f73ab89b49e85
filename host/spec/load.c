/* SPDX-License-Identifier: Apache-2.0 */
/* A file's bytes to a YAML document, within bounds. Everything is looked at twice: first as events, where anchors,
 * aliases, depth and size are refused before they cost anything, then as the tree that is kept. */
#include "spec/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int node_fail_at(struct node_file *file, unsigned line, unsigned column, const char *format, ...)
{
	char text[sizeof file->err->text];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return error_set(file->err, EINVAL, "%s:%u:%u: %s", file->path, line, column, text);
}

static int read_all(struct node_file *file, int fd, char **ret_bytes, size_t *ret_size)
{
	size_t size = 0, room = 4096;
	char *bytes = NULL;

	for (;;) {
		char *grown;
		ssize_t got;

		if (!bytes || size == room) {
			if (room > NODE_FILE_MAX)
				return error_set(
				    file->err, EFBIG, "%s: longer than %u bytes", file->path, NODE_FILE_MAX);
			room = bytes ? room * 2 : room;
			grown = arena_alloc(file->arena, room);
			if (!grown)
				return node_no_memory(file);
			if (size)
				memcpy(grown, bytes, size);
			bytes = grown;
		}
		got = read(fd, bytes + size, room - size);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set(file->err, errno, "%s: cannot be read: %s", file->path, strerror(errno));
		if (got == 0)
			break;
		size += (size_t)got;
	}
	if (size > NODE_FILE_MAX)
		return error_set(file->err, EFBIG, "%s: longer than %u bytes", file->path, NODE_FILE_MAX);
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}

static int read_file(struct node_file *file, char **ret_bytes, size_t *ret_size)
{
	struct stat st;
	int fd, rc;

	do
		fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return error_set(file->err, errno, "%s: %s", file->path, strerror(errno));
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		rc = error_set(file->err, EISDIR, "%s: a directory; expected a YAML or JSON file", file->path);
	else
		rc = read_all(file, fd, ret_bytes, ret_size);
	close(fd);
	return rc;
}

/* Line and column (1-based, in characters) of a byte. */
static void place(const char *bytes, size_t offset, unsigned *ret_line, unsigned *ret_column)
{
	unsigned line = 1, column = 1;
	size_t i;

	for (i = 0; i < offset; i++) {
		if (bytes[i] == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)bytes[i] & 0xc0u) != 0x80u) {
			column++;
		}
	}
	*ret_line = line;
	*ret_column = column;
}

/* The column of a tab among the white space that a line begins with, or 0. */
static unsigned tab_column(const char *bytes, size_t size, size_t line)
{
	size_t i = 0;
	unsigned column;

	for (; line > 0 && i < size; i++)
		if (bytes[i] == '\n')
			line--;
	for (column = 1; i < size && (bytes[i] == ' ' || bytes[i] == '\t'); i++, column++)
		if (bytes[i] == '\t')
			return column;
	return 0;
}

static int syntax_error(struct node_file *file, const yaml_parser_t *parser, const char *bytes, size_t size)
{
	const yaml_mark_t *mark = &parser->problem_mark;
	unsigned line = (unsigned)mark->line + 1, column = (unsigned)mark->column + 1, tab;
	const char *problem = parser->problem ? parser->problem : "not YAML";

	switch (parser->error) {
	case YAML_MEMORY_ERROR:
		return node_no_memory(file);
	case YAML_READER_ERROR:
		place(bytes, parser->problem_offset < size ? parser->problem_offset : size, &line, &column);
		if (parser->problem_value >= 0 && parser->problem_value < 0x20)
			return node_fail_at(
			    file, line, column, "a control character (0x%02x)", (unsigned)parser->problem_value);
		return node_fail_at(file, line, column, "not UTF-8: %s", problem);
	case YAML_NO_ERROR:
	case YAML_SCANNER_ERROR:
	case YAML_PARSER_ERROR:
	case YAML_COMPOSER_ERROR:
	case YAML_WRITER_ERROR:
	case YAML_EMITTER_ERROR:
	default:
		tab = tab_column(bytes, size, mark->line);
		if (tab)
			return node_fail_at(file, line, tab, "a tab in the indentation; indent with spaces");
		if (parser->context && parser->context_mark.line != mark->line)
			return node_fail_at(file, line, column, "not valid YAML: %s %s that began at line %u", problem,
			    parser->context, (unsigned)parser->context_mark.line + 1);
		return node_fail_at(file, line, column, "not valid YAML: %s", problem);
	}
}

struct bounds {
	unsigned depth, nodes, documents;
};

static int refuse_at(struct node_file *file, const yaml_event_t *event, const char *what)
{
	return node_fail_at(
	    file, (unsigned)event->start_mark.line + 1, (unsigned)event->start_mark.column + 1, "%s", what);
}

static int look_at(struct node_file *file, struct bounds *bounds, const yaml_event_t *event)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (++bounds->documents > 1)
			return refuse_at(file, event, "a second document; expected one in a file");
		return 0;
	case YAML_ALIAS_EVENT:
		return refuse_at(file, event, "aliases (*name) are not supported; write the value out");
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		bounds->depth++;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		bounds->depth++;
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		bounds->depth--;
		return 0;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT:
	default:
		return 0;
	}
	if (anchor)
		return refuse_at(
		    file, event, "anchors (&name) are not supported; write the value out where it is used");
	if (tag)
		return refuse_at(file, event, "tags (!name) are not supported");
	if (bounds->depth > NODE_DEPTH_MAX)
		return refuse_at(file, event, "nested too deeply");
	if (++bounds->nodes > NODE_COUNT_MAX)
		return refuse_at(file, event, "too many values in one file");
	return 0;
}

static int look_through(struct node_file *file, const char *bytes, size_t size)
{
	struct bounds bounds = {0};
	yaml_parser_t parser;
	yaml_event_t event;
	bool ended = false;
	int rc = 0;

	if (!yaml_parser_initialize(&parser))
		return node_no_memory(file);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, size);
	while (rc == 0 && !ended) {
		if (!yaml_parser_parse(&parser, &event)) {
			rc = syntax_error(file, &parser, bytes, size);
			break;
		}
		ended = event.type == YAML_STREAM_END_EVENT;
		rc = look_at(file, &bounds, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	if (rc == 0 && bounds.nodes == 0)
		return error_set(file->err, EINVAL, "%s:1:1: the file is empty", file->path);
	return rc;
}

int node_open(struct node_file *file, const char *path, struct arena *arena, struct error *err)
{
	yaml_parser_t parser;
	char *bytes = NULL;
	size_t size = 0;
	int rc = 0;

	memset(file, 0, sizeof *file);
	file->path = path;
	file->arena = arena;
	file->err = err;
	if (read_file(file, &bytes, &size) != 0)
		return -1;
	if (look_through(file, bytes, size) != 0)
		return -1;
	if (!yaml_parser_initialize(&parser))
		return node_no_memory(file);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, size);
	if (!yaml_parser_load(&parser, &file->document))
		rc = syntax_error(file, &parser, bytes, size);
	yaml_parser_delete(&parser);
	return rc;
}

void node_close(struct node_file *file)
{
	yaml_document_delete(&file->document);
}

yaml_node_t *node_root(struct node_file *file)
{
	return yaml_document_get_root_node(&file->document);
}
