/* SPDX-License-Identifier: Apache-2.0 */
/* The model: each case small enough to write down all that a disk may hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash/model.h"

#define ROOT      100u
#define FOUND_MAX 256

/* All states that were visited, in words: "name=content name=content", sorted, each once. */
struct room {
	struct trace *trace;
	struct model_options options;
	struct model_count count;
	char found[FOUND_MAX][160];
	size_t found_count, visits;
	size_t acked_min; /* only states with so many */
};

static int setup(void **state)
{
	struct room *room = calloc(1, sizeof *room);

	if (!room || trace_create(&room->trace, "/dir", NULL) < 0 || trace_set_root(room->trace, ROOT, NULL) < 0)
		return -1;
	*state = room;
	return 0;
}

static int teardown(void **state)
{
	struct room *room = *state;

	trace_destroy(room->trace);
	free(room);
	return 0;
}

static void add(struct room *room, struct trace_op op)
{
	struct error err;

	if (trace_add(room->trace, &op, &err) < 0)
		fail_msg("%s", err.text);
}

static void create(struct room *room, uint64_t file, const char *name)
{
	add(room, (struct trace_op){.kind = TRACE_CREATE, .file = file, .dir = ROOT, .name = name});
}

static void write_at(struct room *room, uint64_t file, uint64_t offset, const char *text)
{
	add(room, (struct trace_op){.kind = TRACE_WRITE,
		      .file = file,
		      .offset = offset,
		      .size = strlen(text),
		      .data = (const uint8_t *)text,
		      .data_size = strlen(text)});
}

static void plain(struct room *room, uint32_t kind, uint64_t file)
{
	add(room, (struct trace_op){.kind = kind, .file = file});
}

static void ack(struct room *room)
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

static void explore(struct room *room, unsigned kinds)
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

/* Exactly these, in any order; ends with NULL. */
static void expect(struct room *room, const char *const *texts)
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

#define EXPECT(room, ...) expect(room, (const char *const[]){__VA_ARGS__, NULL})
#define PREFIX            (1u << MODEL_PREFIX)
#define SUBSET            (1u << MODEL_SUBSET)
#define SECTOR            (1u << MODEL_SECTOR)
#define BYTE              (1u << MODEL_BYTE)

static void begin_with(struct room *room, uint64_t file, const char *name, const char *content)
{
	create(room, file, name);
	if (*content)
		write_at(room, file, 0, content);
	plain(room, TRACE_BEGIN, 0);
}

static void test_prefix(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "a");
	write_at(room, 1, 1, "b");
	write_at(room, 1, 2, "c");
	explore(room, PREFIX);
	EXPECT(room, "f=a", "f=ab", "f=abc");
	assert_int_equal(room->visits, 3);
}

/* Two writes to different files that nothing has covered: there, or not. */
static void test_subset(void **state)
{
	struct room *room = *state;

	create(room, 2, "g");
	begin_with(room, 1, "f", "");
	write_at(room, 1, 0, "a");
	write_at(room, 2, 0, "b");
	explore(room, SUBSET);
	EXPECT(room, "g= f=", "g= f=a", "g=b f=", "g=b f=a");
	assert_true(room->count.exhaustive);
}

/* A write is as many pieces as it touches pages. */
static void test_pages(void **state)
{
	struct room *room = *state;
	char text[3 * PAGE_BYTES + 1];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	begin_with(room, 1, "f", "");
	write_at(room, 1, 0, text);
	explore(room, SUBSET);
	EXPECT(room, "f=", "f=x*4096", "f=0*4096x*4096", "f=x*8192", "f=0*8192x*4096", "f=x*40960*4096x*4096",
	    "f=0*4096x*8192", "f=x*12288");
}

static void test_sync_of_the_file(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "");
	write_at(room, 1, 0, "a");
	plain(room, TRACE_FDATASYNC, 1);
	write_at(room, 1, 1, "b");
	explore(room, PREFIX | SUBSET);
	EXPECT(room, "f=", "f=a", "f=ab");
}

/* The sync of another file covers nothing; nor does one before the write. */
static void test_sync_of_another(void **state)
{
	struct room *room = *state;

	create(room, 2, "g");
	begin_with(room, 1, "f", "");
	plain(room, TRACE_FSYNC, 1);
	write_at(room, 1, 0, "a");
	plain(room, TRACE_FSYNC, 2);
	write_at(room, 2, 0, "b");
	explore(room, SUBSET);
	EXPECT(room, "g= f=", "g= f=a", "g=b f=", "g=b f=a");
}

static void test_durable_write(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "--");
	write_at(room, 1, 0, "a");
	add(room, (struct trace_op){.kind = TRACE_WRITE,
		      .flags = TRACE_DURABLE,
		      .file = 1,
		      .offset = 0,
		      .size = 2,
		      .data = (const uint8_t *)"BC",
		      .data_size = 2});
	ack(room);
	room->acked_min = 1;
	explore(room, PREFIX | SUBSET);
	EXPECT(room, "f=BC"); /* what came before it, on the same bytes, cannot come after it */
}

/* A name is durable with its directory, and only then; the file's own sync is not enough. */
static void test_names(void **state)
{
	struct room *room = *state;

	plain(room, TRACE_BEGIN, 0);
	create(room, 1, "f");
	write_at(room, 1, 0, "a");
	plain(room, TRACE_FSYNC, 1);
	ack(room);
	plain(room, TRACE_FSYNC, ROOT);
	ack(room);
	explore(room, SUBSET);
	EXPECT(room, "", "f=", "f=a");
	room->acked_min = 1;
	explore(room, SUBSET);
	EXPECT(room, "", "f=a");
	room->acked_min = 2;
	explore(room, SUBSET);
	EXPECT(room, "f=a");
}

/* The classic mistake: a new file is renamed over the old one, and its data have never been synced. */
static void test_rename(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "old");
	create(room, 2, "t");
	write_at(room, 2, 0, "new");
	add(room,
	    (struct trace_op){
		.kind = TRACE_RENAME, .file = 2, .other = 1, .dir = ROOT, .name = "t", .dir2 = ROOT, .name2 = "f"});
	explore(room, SUBSET);
	EXPECT(room, "f=old", "f=old t=", "f=old t=new", "f=", "f=new");
}

/* Names reach the disk in their order: never the second without the first. */
static void test_order_of_names(void **state)
{
	struct room *room = *state;

	plain(room, TRACE_BEGIN, 0);
	create(room, 1, "a");
	add(room, (struct trace_op){.kind = TRACE_MKDIR, .file = 2, .dir = ROOT, .name = "d"});
	add(room, (struct trace_op){.kind = TRACE_CREATE, .file = 3, .dir = 2, .name = "b"});
	plain(room, TRACE_FSYNC, 2);
	ack(room);
	explore(room, SUBSET);
	EXPECT(room, "", "a=", "a= d=", "a= d= d/b=");
	room->acked_min = 1;
	explore(room, SUBSET);
	EXPECT(room, "a= d= d/b=");
}

static void test_moved_directory(void **state)
{
	struct room *room = *state;

	add(room, (struct trace_op){.kind = TRACE_MKDIR, .file = 2, .dir = ROOT, .name = "d"});
	add(room, (struct trace_op){.kind = TRACE_CREATE, .file = 3, .dir = 2, .name = "b"});
	plain(room, TRACE_BEGIN, 0);
	add(room,
	    (struct trace_op){.kind = TRACE_RENAME, .file = 2, .dir = ROOT, .name = "d", .dir2 = ROOT, .name2 = "e"});
	explore(room, SUBSET);
	EXPECT(room, "d= d/b=", "e= e/b=");
}

/* What was written into a file after it was cut cannot be there without the cut. */
static void test_truncate(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "old");
	plain(room, TRACE_TRUNCATE, 1);
	write_at(room, 1, 0, "n");
	explore(room, SUBSET);
	EXPECT(room, "f=old", "f=", "f=n");
}

/* A change of size is durable with its file, and not before. */
static void test_size(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "old");
	add(room, (struct trace_op){.kind = TRACE_TRUNCATE, .file = 1, .size = 1});
	ack(room);
	room->acked_min = 1;
	explore(room, SUBSET);
	EXPECT(room, "f=old", "f=o");
	plain(room, TRACE_FSYNC, 1);
	ack(room);
	room->acked_min = 2;
	explore(room, SUBSET);
	EXPECT(room, "f=o");
}

/* Two names change places at once: never one file under both, or none. */
static void test_exchange(void **state)
{
	struct room *room = *state;

	create(room, 2, "g");
	begin_with(room, 1, "f", "a");
	add(room, (struct trace_op){.kind = TRACE_RENAME,
		      .flags = TRACE_EXCHANGE,
		      .file = 1,
		      .other = 2,
		      .dir = ROOT,
		      .name = "f",
		      .dir2 = ROOT,
		      .name2 = "g"});
	explore(room, PREFIX | SUBSET);
	EXPECT(room, "g= f=a", "g=a f=");
}

static void test_sectors(void **state)
{
	struct room *room = *state;
	char old[1025], new[1025];

	memset(old, 'o', 1024);
	memset(new, 'n', 1024);
	old[1024] = new[1024] = '\0';
	begin_with(room, 1, "f", old);
	write_at(room, 1, 0, new);
	explore(room, SECTOR);
	EXPECT(room, "f=n*512o*512", "f=o*512n*512");
}

/* Sectors that a write leaves as they are cannot be told to be torn: no state is made for them. */
static void test_unchanged_sectors(void **state)
{
	struct room *room = *state;
	char old[4097], new[4097];

	memset(old, 'o', 4096);
	memset(new, 'o', 4096);
	memset(new + 512, 'n', 512);
	memset(new + 2048, 'm', 1024);
	old[4096] = new[4096] = '\0';
	begin_with(room, 1, "f", old);
	write_at(room, 1, 0, new);
	explore(room, SECTOR);
	assert_int_equal(room->visits, 1 + 2 + 4 + 1); /* none; those of three sectors; all is a tear here, too */
	EXPECT(room, "f=o*4096", "f=o*512n*512o*3072", "f=o*2048m*512o*1536", "f=o*2560m*512o*1024",
	    "f=o*512n*512o*1024m*512o*1536", "f=o*512n*512o*1536m*512o*1024", "f=o*2048m*1024o*1024",
	    "f=o*512n*512o*1024m*1024o*1024");
}

/* Zeros that make a file longer are something else than no zeros. */
static void test_sectors_of_zeros(void **state)
{
	struct room *room = *state;
	uint8_t zeros[1536] = {0};

	begin_with(room, 1, "f", "");
	add(room, (struct trace_op){
		      .kind = TRACE_WRITE, .file = 1, .size = sizeof zeros, .data = zeros, .data_size = sizeof zeros});
	explore(room, SECTOR);
	EXPECT(room, "f=0*512", "f=0*1024", "f=0*1536");
}

/* What has no name any more cannot be seen to be torn. */
static void test_sectors_without_a_name(void **state)
{
	struct room *room = *state;
	char old[1025], new[1025];

	memset(old, 'o', 1024);
	memset(new, 'n', 1024);
	old[1024] = new[1024] = '\0';
	begin_with(room, 1, "f", old);
	add(room, (struct trace_op){.kind = TRACE_UNLINK, .file = 1, .dir = ROOT, .name = "f"});
	plain(room, TRACE_FSYNC, ROOT);
	write_at(room, 1, 0, new);
	explore(room, SECTOR);
	assert_int_equal(room->visits, 1);
	EXPECT(room, "");
}

static void test_bytes(void **state)
{
	struct room *room = *state;

	begin_with(room, 1, "f", "abc");
	write_at(room, 1, 0, "XYZ");
	explore(room, BYTE);
	EXPECT(room, "f=Xbc", "f=XYc", "f=abZ", "f=aYZ");
}

static void test_volatile(void **state)
{
	static const char *const patterns[] = {"*-shm", NULL};
	struct room *room = *state;

	plain(room, TRACE_BEGIN, 0);
	create(room, 1, "db-shm");
	write_at(room, 1, 0, "x");
	create(room, 2, "db");
	room->options.volatiles = patterns;
	explore(room, PREFIX | SUBSET);
	EXPECT(room, "", "db=");
}

/* What was there, and was not touched, is there in all states. */
static void test_beginning(void **state)
{
	struct room *room = *state;

	create(room, 2, "kept");
	write_at(room, 2, 0, "k");
	begin_with(room, 1, "f", "");
	add(room, (struct trace_op){.kind = TRACE_UNLINK, .file = 1, .dir = ROOT, .name = "f"});
	explore(room, PREFIX | SUBSET);
	EXPECT(room, "kept=k f=", "kept=k");
}

struct digests {
	struct digest sum;
	uint64_t visits;
};

static int sum_up(void *arg, const struct model_state *state)
{
	struct digests *digests = arg;

	digest_add(&digests->sum, digest_of(&state->digest, sizeof state->digest, digests->visits++));
	return 0;
}

static struct digests walk(struct room *room, uint64_t seed)
{
	struct digests digests = {0};
	struct model *model;

	room->options = (struct model_options){.kinds = SUBSET, .seed = seed, .states_max = 500};
	assert_int_equal(model_create(&model, room->trace, &room->options, NULL), 0);
	model_count(model, &room->count);
	assert_int_equal(model_walk(model, sum_up, &digests, NULL), 0);
	model_destroy(model);
	return digests;
}

/* Too many for all: as many as asked for, the same ones for the same seed, and it is said. */
static void test_sampling(void **state)
{
	struct room *room = *state;
	struct digests first, second, other;
	uint64_t i;

	begin_with(room, 1, "f", "");
	for (i = 0; i < 30; i++)
		write_at(room, 1, i * PAGE_BYTES, "x");
	first = walk(room, 1);
	second = walk(room, 1);
	other = walk(room, 2);
	assert_false(room->count.exhaustive);
	assert_true(first.visits <= 500 && first.visits > 250);
	assert_int_equal(room->count.visits[MODEL_SUBSET], first.visits);
	assert_true(digest_equal(first.sum, second.sum));
	assert_false(digest_equal(first.sum, other.sum));
}

/* More than can be counted are never said to be all of them; as many as can be are counted right. */
static void test_too_many_to_count(void **state)
{
	const struct model_options options = {.kinds = SUBSET, .seed = 1, .states_max = INT64_MAX};
	struct room *room = *state;
	struct model_count count;
	struct model *model;
	uint64_t i;

	begin_with(room, 1, "f", "");
	for (i = 0; i < 61; i++) {
		if (i == 41) {
			ack(room);
			assert_int_equal(model_create(&model, room->trace, &options, NULL), 0);
			model_count(model, &count);
			model_destroy(model);
			assert_true(count.exhaustive);
			/* of the beginning one, each write with any of those before it, and any of all */
			assert_int_equal(count.visits[MODEL_SUBSET], 1 + ((1ull << 41) - 1) + (1ull << 41));
		}
		write_at(room, 1, i * PAGE_BYTES, "x");
	}
	for (; i < 64; i++)
		write_at(room, 1, i * PAGE_BYTES, "x");
	assert_int_equal(model_create(&model, room->trace, &options, NULL), 0);
	model_count(model, &count);
	model_destroy(model);
	assert_false(count.exhaustive);
	assert_true(count.visits[MODEL_SUBSET] <= INT64_MAX);
}

struct contents {
	struct digest seen[64];
	size_t count;
};

static int count_contents(void *arg, const struct model_state *state)
{
	struct contents *contents = arg;
	size_t i;

	for (i = 0; i < contents->count && !digest_equal(contents->seen[i], state->digest); i++)
		;
	assert_true(i < 64);
	contents->seen[i] = state->digest;
	contents->count += i == contents->count;
	return 0;
}

static size_t contents_of(struct room *room, unsigned kinds)
{
	const struct model_options options = {.kinds = kinds, .seed = 1, .states_max = 1};
	struct contents contents = {0};
	struct model *model;

	assert_int_equal(model_create(&model, room->trace, &options, NULL), 0);
	assert_int_equal(model_walk(model, count_contents, &contents, NULL), 0);
	model_destroy(model);
	return contents.count;
}

/* Room for one state at each point: it is not the one that the prefix is. */
static void test_sampling_of_one(void **state)
{
	struct room *room = *state;
	uint64_t i;

	begin_with(room, 1, "f", "");
	for (i = 0; i < 10; i++)
		write_at(room, 1, i * PAGE_BYTES, "x");
	assert_int_equal(contents_of(room, PREFIX), 11);
	assert_int_equal(contents_of(room, PREFIX | SUBSET), 11 + 9); /* each alone; the first alone is a prefix */
}

static void test_parse(void **state)
{
	struct error err;
	unsigned kinds;

	(void)state;
	assert_int_equal(model_parse("prefix,byte", &kinds, NULL), 0);
	assert_int_equal(kinds, PREFIX | BYTE);
	assert_int_equal(model_parse("prefix,bits", &kinds, &err), -1);
	assert_non_null(strstr(err.text, "'bits'"));
	assert_int_equal(model_parse("", &kinds, &err), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_prefix, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_subset, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sync_of_the_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sync_of_another, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_durable_write, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_names, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rename, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_order_of_names, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_moved_directory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_truncate, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_size, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_exchange, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sectors, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unchanged_sectors, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sectors_of_zeros, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sectors_without_a_name, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_volatile, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_beginning, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sampling, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_too_many_to_count, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sampling_of_one, setup, teardown),
	    cmocka_unit_test(test_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
