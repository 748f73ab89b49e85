/* SPDX-License-Identifier: Apache-2.0 */
/* How every room reports a failure: a code (an errno value) and one sentence, in memory that the
 * caller owns. */
#ifndef TRITONE_WAL_ERROR_H
#define TRITONE_WAL_ERROR_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * `code` is an errno value (> 0). `text` names the thing, what was expected, what was found and,
 * where there is one, what to do; it ends without a full stop or newline. A function that fails
 * returns -1 with *err filled, unless its header says else; on success *err is left as it was.
 * `err` may be NULL where the caller only wants to know whether.
 */
struct error {
	int code;
	char text[256];
};

/* Fills *err and returns -1, so that `return error_set(err, ENOSPC, "%s: ...", path);` is the whole
 * failure path. */
int error_set(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
int error_vset(struct error *err, int code, const char *format, va_list args) __attribute__((format(printf, 3, 0)));

/* Prepends "CONTEXT: " to err->text, keeping the code. Returns -1. */
int error_context(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
