/* SPDX-License-Identifier: Apache-2.0 */
/* tritone wal dump|verify DIR: what is in a log, and whether it is whole. Changes nothing. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "wal/wal.h"
#include "wire/value.h"

#define DEPTH_MAX     32
#define OVERTAKEN_MAX 10 /* a live writer may trim between two looks */

struct dump {
	bool json;
	FILE *out;
};

static void print_help(void)
{
	fputs("usage: tritone wal dump [--json] [--from LSN] DIR\n"
	      "       tritone wal verify [--json] DIR\n\n"
	      "Reads the log in DIR, also beside its live writer, and changes nothing.\n\n"
	      "  dump     prints the checkpoint, if there is one, and one line a record: LSN, epoch, kind, payload\n"
	      "  verify   walks the whole chain, checks the checkpoint, and names the first bad LSN\n\n"
	      "  --json       JSON, one object a line\n"
	      "  --from LSN   only the records from there on\n\n"
	      "Exit status: 0 whole, 1 damaged or not readable, 2 usage.\n",
	    stdout);
}

/* A JSON string. What is not valid UTF-8 or not printable is escaped byte for byte, so that a terminal is safe. */
static void print_text(FILE *out, const char *text, size_t size)
{
	size_t i, k, length;

	fputc('"', out);
	for (i = 0; i < size; i += length) {
		const unsigned char c = (unsigned char)text[i];

		length = c < 0x80                ? 1
			 : c >= 0xc2 && c < 0xe0 ? 2
			 : c >= 0xe0 && c < 0xf0 ? 3
			 : c >= 0xf0 && c < 0xf5 ? 4
						 : 0;
		for (k = 1; k < length; k++)
			if (i + k >= size || ((unsigned char)text[i + k] & 0xc0) != 0x80)
				length = 0;
		if (length == 3 && ((c == 0xe0 && (unsigned char)text[i + 1] < 0xa0) ||
				       (c == 0xed && (unsigned char)text[i + 1] > 0x9f)))
			length = 0;
		if (length == 4 && ((c == 0xf0 && (unsigned char)text[i + 1] < 0x90) ||
				       (c == 0xf4 && (unsigned char)text[i + 1] > 0x8f)))
			length = 0;
		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (length == 0 || c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[i + 1] < 0xa0))
			fprintf(out, "\\u%04x", length == 2 ? (unsigned char)text[i + 1] : c);
		else
			fwrite(text + i, 1, length, out);
		length = length ? length : 1;
	}
	fputc('"', out);
}

static void print_bytes(FILE *out, const void *bytes, size_t size)
{
	size_t i;

	fputs("\"0x", out);
	for (i = 0; i < size; i++)
		fprintf(out, "%02x", ((const uint8_t *)bytes)[i]);
	fputc('"', out);
}

/* As short as it can be read back from; JSON has no infinity. */
static void print_number(FILE *out, double number)
{
	char text[32];

	double back;

	snprintf(text, sizeof text, "%.15g", number);
	back = strtod(text, NULL);
	if (back < number || back > number)
		snprintf(text, sizeof text, "%.17g", number);
	fprintf(out, isfinite(number) ? "%s" : "\"%s\"", text);
}

static void print_value(FILE *out, const msgpack_object *value, int depth);

static void print_key(FILE *out, const msgpack_object *key, int depth)
{
	if (key->type == MSGPACK_OBJECT_STR || key->type == MSGPACK_OBJECT_BIN) {
		print_value(out, key, depth);
		return;
	}
	if (key->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		fprintf(out, "\"%" PRIu64 "\"", key->via.u64);
	else if (key->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		fprintf(out, "\"%" PRId64 "\"", key->via.i64);
	else
		fputs("\"?\"", out);
}

static void print_value(FILE *out, const msgpack_object *value, int depth)
{
	uint32_t i;

	if (depth > DEPTH_MAX) {
		fputs("\"...\"", out);
		return;
	}
	switch (value->type) {
	case MSGPACK_OBJECT_NIL:
		fputs("null", out);
		break;
	case MSGPACK_OBJECT_BOOLEAN:
		fputs(value->via.boolean ? "true" : "false", out);
		break;
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		fprintf(out, "%" PRIu64, value->via.u64);
		break;
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		fprintf(out, "%" PRId64, value->via.i64);
		break;
	case MSGPACK_OBJECT_FLOAT32:
	case MSGPACK_OBJECT_FLOAT64:
		print_number(out, value->via.f64);
		break;
	case MSGPACK_OBJECT_STR:
		print_text(out, value->via.str.ptr, value->via.str.size);
		break;
	case MSGPACK_OBJECT_BIN:
		print_bytes(out, value->via.bin.ptr, value->via.bin.size);
		break;
	case MSGPACK_OBJECT_EXT:
		print_bytes(out, value->via.ext.ptr, value->via.ext.size);
		break;
	case MSGPACK_OBJECT_ARRAY:
		fputc('[', out);
		for (i = 0; i < value->via.array.size; i++) {
			fputs(i ? "," : "", out);
			print_value(out, &value->via.array.ptr[i], depth + 1);
		}
		fputc(']', out);
		break;
	case MSGPACK_OBJECT_MAP:
		fputc('{', out);
		for (i = 0; i < value->via.map.size; i++) {
			fputs(i ? "," : "", out);
			print_key(out, &value->via.map.ptr[i].key, depth + 1);
			fputc(':', out);
			print_value(out, &value->via.map.ptr[i].val, depth + 1);
		}
		fputc('}', out);
		break;
	}
}

/* A payload is by convention one msgpack value; anything else is shown as bytes. */
static void print_payload(FILE *out, const struct wal_record *record)
{
	msgpack_unpacked unpacked;

	if (!record->size) {
		fputs("null", out);
		return;
	}
	msgpack_unpacked_init(&unpacked);
	if (value_unpack(&unpacked, record->payload, record->size, NULL) == 0)
		print_value(out, &unpacked.data, 0);
	else
		print_bytes(out, record->payload, record->size);
	msgpack_unpacked_destroy(&unpacked);
}

static int dump_record(void *arg, const struct wal_record *record)
{
	const struct dump *dump = arg;
	FILE *out = dump->out;

	fprintf(out,
	    dump->json ? "{\"lsn\":%" PRIu64 ",\"epoch\":%" PRIu64 ",\"kind\":%" PRIu32 ",\"payload\":"
		       : "%8" PRIu64 "  epoch %" PRIu64 "  kind %2" PRIu32 "  ",
	    record->lsn, record->epoch, record->kind);
	print_payload(out, record);
	fputs(dump->json ? "}\n" : "\n", out);
	return ferror(out) ? 1 : 0;
}

/* It stands for the records before it, which may be there still: only itself is shown, and only JSON has its payload. */
static int dump_checkpoint(void *arg, const struct wal_record *record)
{
	const struct dump *dump = arg;
	FILE *out = dump->out;

	if (!record->checkpoint)
		return 1;
	if (dump->json) {
		fprintf(out, "{\"lsn\":%" PRIu64 ",\"epoch\":%" PRIu64 ",\"checkpoint\":true,\"size\":%zu,\"payload\":",
		    record->lsn, record->epoch, record->size);
		print_payload(out, record);
		fputs("}\n", out);
	} else {
		fprintf(out, "%8" PRIu64 "  epoch %" PRIu64 "  checkpoint of %zu bytes\n", record->lsn, record->epoch,
		    record->size);
	}
	return 1;
}

static int fail(const struct error *err)
{
	fprintf(stderr, "tritone wal: %s\n", err->text);
	return 1;
}

static int dump_log(const char *dir, uint64_t from, bool json)
{
	const struct wal_options options = {.read_only = true};
	struct dump dump = {json, stdout};
	struct error err;
	struct wal *wal = NULL;
	int rc, overtaken = 0;

	if (wal_open(&wal, dir, &options, &err) < 0)
		return fail(&err);
	rc = from ? 0 : wal_replay(wal, 0, dump_checkpoint, &dump, &err);
	if (rc >= 0) {
		do
			rc = wal_replay(wal, from ? from : wal_first(wal), dump_record, &dump, &err);
		while (rc < 0 && !from && err.code == ERANGE && ++overtaken < OVERTAKEN_MAX);
	}
	wal_close(wal);
	if (rc > 0 || fflush(stdout)) {
		fprintf(stderr, "tritone wal: standard output: %s\n", strerror(errno));
		return 1;
	}
	return rc < 0 ? fail(&err) : 0;
}

static int verify_log(const char *dir, bool json)
{
	struct wal_report report;
	struct error err;
	char head[2 * sizeof report.head + 1];
	size_t i;
	int rc = wal_verify(dir, &report, &err);

	for (i = 0; i < sizeof report.head; i++)
		snprintf(head + 2 * i, 3, "%02x", report.head[i]);
	if (json) {
		printf("{\"ok\":%s,\"records\":%" PRIu64 ",\"first_lsn\":%" PRIu64 ",\"last_lsn\":%" PRIu64
		       ",\"epoch\":%" PRIu64 ",\"checkpoint_lsn\":%" PRIu64 ",\"checkpoint_size\":%" PRIu64
		       ",\"bad_lsn\":%" PRIu64 ",\"head\":\"%s\",\"error\":",
		    rc == 0 ? "true" : "false", report.records, report.first_lsn, report.last_lsn, report.epoch,
		    report.checkpoint_lsn, report.checkpoint_size, report.bad_lsn, head);
		if (rc < 0)
			print_text(stdout, err.text, strlen(err.text));
		else
			fputs("null", stdout);
		puts("}");
		return rc < 0;
	}
	if (rc < 0)
		return fail(&err);
	printf("ok: %" PRIu64 " records, LSN %" PRIu64 " to %" PRIu64 ", epoch %" PRIu64, report.records,
	    report.first_lsn, report.last_lsn, report.epoch);
	if (report.checkpoint_lsn)
		printf(
		    ", checkpoint of %" PRIu64 " bytes at LSN %" PRIu64, report.checkpoint_size, report.checkpoint_lsn);
	printf(", head %s\n", head);
	return 0;
}

int verb_wal(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
	    {"from", required_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	bool json = false, verify;
	uint64_t from = 0;
	int option;

	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (option) {
		case 'j':
			json = true;
			break;
		case 'f':
			if (cli_number(optarg, 0, UINT64_MAX, &from) != 0)
				return cli_usage("wal", "--from: '%s' is no LSN", optarg);
			break;
		case 'h':
			print_help();
			return 0;
		default:
			return cli_usage("wal", "see the options above");
		}
	}
	if (argc - optind != 2)
		return cli_usage("wal", "expected dump or verify, and a directory");
	verify = !strcmp(argv[optind], "verify");
	if (!verify && strcmp(argv[optind], "dump") != 0)
		return cli_usage("wal", "no '%s': expected dump or verify", argv[optind]);
	if (verify && from)
		return cli_usage("wal", "--from goes with dump only: a chain is verified whole");
	return verify ? verify_log(argv[optind + 1], json) : dump_log(argv[optind + 1], from, json);
}
