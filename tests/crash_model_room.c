/* SPDX-License-Identifier: Apache-2.0 */
/* Traces written by hand, and states in words; see crash_model_room.h. */
#include "crash_model_room.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);

	if (!room || trace_create(&room->trace, "/dir", NULL) < 0 || trace_set_root(room->trace, ROOT, NULL) < 0)
		return -1;
	*state = room;
	return 0;
}

int teardown(void **state)
{
	struct room *room = *state;

	trace_destroy(room->trace);
	free(room);
	return 0;
}

void add(struct room *room, struct trace_op op)
{
	struct error err;

	if (trace_add(room->trace, &op, &err) < 0)
		fail_msg("%s", err.text);
}

void create(struct room *room, uint64_t file, const char *name)
{
	add(room, (struct trace_op){.kind = TRACE_CREATE, .file = file, .dir = ROOT, .name = name});
}

void write_at(struct room *room, uint64_t file, uint64_t offset, const char *text)
{
	add(room, (struct trace_op){.kind = TRACE_WRITE,
		      .file = file,
		      .offset = offset,
		      .size = strlen(text),
		      .data = (const uint8_t *)text,
		      .data_size = strlen(text)});
}

void plain(struct room *room, uint32_t kind, uint64_t file)
{
	add(room, (struct trace_op){.kind = kind, .file = file});
}

void ack(struct room *room)
{
	add(room, (struct trace_op){.kind = TRACE_ACK, .data = (const uint8_t *)"", .data_size = 0});
}

/* Runs of a character are told by their number: pages are large. */
static void describe(const struct variant *variant, char *to, size_t size)
{
	uint64_t at, end;
	size_t used = 0;

	to[0] = '\0';
	for (at = 0; at < variant->over.size && used + 16 < size; at = end) {
		const uint8_t *page = variant_page(variant, at / PAGE_BYTES);
		const char c = page ? (char)page[at % PAGE_BYTES] : '\0';

		for (end = at; end < variant->over.size; end++) {
			page = variant_page(variant, end / PAGE_BYTES);
			if ((page ? (char)page[end % PAGE_BYTES] : '\0') != c)
				break;
		}
		if (end - at > 3)
			used += (size_t)snprintf(
			    to + used, size - used, "%c*%llu", c ? c : '0', (unsigned long long)(end - at));
		else
			used += (size_t)snprintf(
			    to + used, size - used, "%.*s", (int)(end - at), c ? (const char[]){c, c, c, 0} : "000");
	}
}

static int visit(void *arg, const struct model_state *state)
{
	struct room *room = arg;
	char text[160] = "", content[100];
	size_t i, used = 0;

	room->visits++;
	if (state->acked < room->acked_min)
		return 0;
	for (i = 0; i < model_files(state); i++) {
		const struct model_file file = model_file(state, i);

		content[0] = '\0';
		if (file.entry->kind == TRACE_CREATE)
			describe(file.variant, content, sizeof content);
		used += (size_t)snprintf(
		    text + used, sizeof text - used, "%s%s=%s", i ? " " : "", file.entry->path, content);
		assert_true(used < sizeof text);
	}
	for (i = 0; i < room->found_count; i++)
		if (!strcmp(room->found[i], text))
			return 0;
	assert_true(room->found_count < FOUND_MAX);
	strcpy(room->found[room->found_count++], text);
	return 0;
}

void walk_all(struct room *room, unsigned kinds)
{
	struct model *model;
	struct error err = {0};

	room->options.kinds = kinds;
	room->visits = room->found_count = 0;
	if (model_create(&model, room->trace, &room->options, &err) < 0 || model_walk(model, visit, room, &err) != 0)
		fail_msg("%s", err.text);
	model_count(model, &room->count);
	model_destroy(model);
}

void expect(struct room *room, const char *const *texts)
{
	size_t i, count;

	for (count = 0; texts[count]; count++) {
		for (i = 0; i < room->found_count; i++)
			if (!strcmp(room->found[i], texts[count]))
				break;
		if (i == room->found_count)
			fail_msg("not found: '%s' (of %zu, the first '%s')", texts[count], room->found_count,
			    room->found[0]);
	}
	for (i = 0; room->found_count != count && i < room->found_count; i++)
		print_message("found: '%s'\n", room->found[i]);
	assert_int_equal(room->found_count, count);
}

void begin_with(struct room *room, uint64_t file, const char *name, const char *content)
{
	create(room, file, name);
	if (*content)
		write_at(room, file, 0, content);
	plain(room, TRACE_BEGIN, 0);
}
