/* SPDX-License-Identifier: Apache-2.0 */
/* The one way in which a failure is written down. Does not log. */
#include "wal/error.h"

#include <stdio.h>
#include <string.h>

int error_vset(struct error *err, int code, const char *format, va_list args)
{
	if (err) {
		err->code = code;
		vsnprintf(err->text, sizeof err->text, format, args);
	}
	return -1;
}

int error_set(struct error *err, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_vset(err, code, format, args);
	va_end(args);
	return -1;
}

int error_context(struct error *err, const char *format, ...)
{
	char was[sizeof err->text];
	size_t used;
	va_list args;

	if (!err)
		return -1;
	memcpy(was, err->text, sizeof was);
	va_start(args, format);
	vsnprintf(err->text, sizeof err->text, format, args);
	va_end(args);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof err->text - used, ": %s", was);
	return -1;
}
