/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls that the filter notifies, and where in their arguments the file is: one table
 * for the filter, the rules and the performer. */
#ifndef TRITONE_KEEPER_CALLS_H
#define TRITONE_KEEPER_CALLS_H

#include <stddef.h>
#include <stdint.h>

#define CALL_NONE (-1)

struct call {
	int nr;
	const char *name;
	uint32_t set;               /* enum tritone_call_set */
	int8_t fd;                  /* argument that is the file's descriptor */
	int8_t dir, path;           /* the path that the call makes or changes; dir CALL_NONE: relative to cwd */
	int8_t from_dir, from_path; /* rename, link: the other one */
	int8_t flags;               /* open: the argument with O_CREAT */
	int8_t address;             /* msync: the mapping */
};

extern const struct call call_table[];
extern const size_t call_count;

const struct call *call_find(int nr); /* NULL: not one of them */

#endif
