/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that came from a system under test, made fit to be shown: they may hold anything. */
#ifndef TRITONE_REPORT_TEXT_H
#define TRITONE_REPORT_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "report/report.h"

#define TEXT_MAX 4096 /* no field of a result is longer */

/*
 * Copies valid UTF-8, without control characters and what XML forbids; each of these becomes '?'. Cut at a character's
 * border when it does not fit. Returns ret. What comes out is safe on a terminal, and can be escaped for JSON and XML.
 */
char *text_clean(char *ret, size_t size, const char *text);
/* "0.4 ms", "41 ms", "1.24 s", "2 min 5 s" */
char *text_span(char *ret, size_t size, uint64_t us);
/* One clause on why the result is what it is, for a line of its own. Never empty for anything but held. */
char *text_reason(char *ret, size_t size, const struct result *result);
/* What reproduces it. */
char *text_command(char *ret, size_t size, const struct report_options *options, const struct result *result);

#endif
