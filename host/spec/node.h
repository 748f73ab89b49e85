/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A typed reader over YAML nodes. A file's keys are described once, in tables of struct node_field; the tables drive the
 * reading, the defaults, the errors (unknown key with the nearest known one, duplicate, wrong type, out of range,
 * missing) and the manual pages (spec_describe), so that these cannot drift apart.
 *
 * Every failure is EINVAL with "FILE:LINE:COLUMN: ..." unless the file itself could not be read.
 */
#ifndef TRITONE_SPEC_NODE_H
#define TRITONE_SPEC_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

#include "spec/arena.h"
#include "spec/spec.h"
#include "wal/error.h"

#define NODE_FILE_MAX  (1u << 20) /* bytes */
#define NODE_DEPTH_MAX 24
#define NODE_COUNT_MAX 50000 /* nodes in a file */
#define NODE_ITEMS_MAX 2000  /* keys in a map, items in a list */

struct node_file {
	const char *path;
	struct arena *arena;
	struct error *err;
	yaml_document_t document;
};

enum node_type {
	NODE_TEXT = 1, /* char *; with `choices`, one of them */
	NODE_BOOL,     /* bool */
	NODE_UINT,     /* uint64_t */
	NODE_DOUBLE,   /* double */
	NODE_DURATION, /* int64_t, milliseconds */
	NODE_STRINGS,  /* struct spec_strings: a list of texts */
	NODE_PAIRS,    /* struct spec_pairs: a map of texts */
	NODE_MAP,      /* `table` */
	NODE_LIST,     /* a pointer at `offset`, a size_t at `count_offset`; items as `table` says */
	NODE_CUSTOM,   /* `read` */
};

struct node_table;
/* Reads `node` into `out`: the struct that the field or the item belongs to. */
typedef int (*node_read_fn)(struct node_file *file, yaml_node_t *node, void *out);

struct node_field {
	const char *key;
	enum node_type type;
	bool required;
	bool filled;    /* STRINGS, LIST: at least one item */
	bool elsewhere; /* its keys are described with another field: `form` or `help` says which */
	size_t offset, count_offset;
	double min, max;                /* UINT, DOUBLE, DURATION (ms), inclusive; both 0: unbounded */
	const char *const *choices;     /* TEXT: NULL-terminated */
	const char *fallback;           /* as written in a file; STRINGS: words. NULL: NULL, 0, false, none */
	const struct node_table *table; /* MAP, LIST */
	node_read_fn read;              /* CUSTOM */
	const char *form;               /* CUSTOM: what may be written, for people */
	const char *help;               /* one sentence, for the manual page; scdoc */
};

struct node_table {
	const struct node_field *fields; /* ends with a NULL key */
	size_t size;                     /* of one item, for LIST */
	node_read_fn read;               /* instead of the map that `fields` describe; may call node_map */
	node_read_fn finish;             /* after the fields: what a table cannot say; may be NULL */
};

/* Reads, checks the bounds above, refuses anchors, aliases, and anything but one document. `path` must outlive it. */
int node_open(struct node_file *file, const char *path, struct arena *arena, struct error *err);
void node_close(struct node_file *file); /* of an opened one */
yaml_node_t *node_root(struct node_file *file);

/* Reads a map: defaults, then the fields, then `finish`. */
int node_map(struct node_file *file, yaml_node_t *node, const struct node_table *table, void *out);
/* The same for the file's outermost node. */
int node_top(struct node_file *file, const struct node_table *table, void *out);
/* The defaults alone. */
int node_defaults(struct node_file *file, const struct node_field *fields, void *out);

/* Is it a map without a duplicate key, a list of bearable length? -1 with the error if not. */
int node_check_map(struct node_file *file, yaml_node_t *node);
int node_check_list(struct node_file *file, yaml_node_t *node, const char *expected);
int node_strings(struct node_file *file, yaml_node_t *node, struct spec_strings *ret);
int node_pairs(struct node_file *file, yaml_node_t *node, struct spec_pairs *ret);
/* A scalar's text; `expected` begins the error: "a text". */
int node_text(struct node_file *file, yaml_node_t *node, const char *expected, char **ret);
int node_number(struct node_file *file, yaml_node_t *node, double *ret);

/* The value of a key in a map, or NULL. */
yaml_node_t *node_get(struct node_file *file, yaml_node_t *map, const char *key);
yaml_node_t *node_at(struct node_file *file, yaml_node_t *list, size_t i); /* NULL behind the end */
size_t node_count(const yaml_node_t *node);                                /* items or keys; 0 for a scalar */
/* The i-th key's text, "" when it has none, and its value. */
const char *node_key(
    struct node_file *file, yaml_node_t *map, size_t i, yaml_node_t **ret_key, yaml_node_t **ret_value);
bool node_is_scalar(const yaml_node_t *node);
unsigned node_line(const yaml_node_t *node); /* 1-based */
unsigned node_column(const yaml_node_t *node);

/* EINVAL at the node's place, or at a line and column; always -1. */
int node_fail(struct node_file *file, const yaml_node_t *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int node_fail_at(struct node_file *file, unsigned line, unsigned column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* "unknown KIND 'word'; did you mean 'x'?" at the node's place; always -1. */
int node_unknown(
    struct node_file *file, const yaml_node_t *node, const char *kind, const char *word, const char *const *known);
int node_no_memory(struct node_file *file);
/* "a list", "a map", "nothing", "'text'" */
const char *node_found(const yaml_node_t *node, char *buf, size_t size);

#endif
