/* SPDX-License-Identifier: Apache-2.0 */
/* The last lines of a file that may be of any size: what a process of the system said before something went wrong. */
#ifndef TRITONE_SYSTEM_TAIL_H
#define TRITONE_SYSTEM_TAIL_H

#include <stddef.h>

/* Longer lines are cut; bytes that are no text come as '?'. */
#define TAIL_LINE_SIZE 512

/* Calls visit for each of the last `count` lines that are not empty, in their order. Returns how many there were; 0 when it cannot be
 * read. Looks at no more than the last 64 KiB. */
size_t tail_lines(const char *path, size_t count, void (*visit)(void *arg, const char *line), void *arg);
/* "; it said: LINE" of the last of them, for the end of an error message; "" when there is none. */
void tail_said(const char *path, char *ret, size_t size);

#endif
