/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference orchestrator as its manifest starts it, but without the harness: no keeper, no observers, no history. And a client
 * that hands tasks in and asks what became of them, for one with the harness, too.
 */
#ifndef TRITONE_BENCH_BARE_H
#define TRITONE_BENCH_BARE_H

#include <stddef.h>
#include <sys/types.h>

#include "spec/spec.h"
#include "system/http.h"
#include "wal/error.h"

struct bare;

/* `gateway` is the URL of one that already answers. The manifest is borrowed. */
int bare_start(struct bare **ret_bare, const struct spec_manifest *manifest, const char *gateway, struct error *err);
const char *bare_state(const struct bare *bare);
pid_t bare_pid(const struct bare *bare);
const char *bare_submit_url(const struct bare *bare);
const char *bare_outcome_url(const struct bare *bare);
/* SIGTERM, and its end. The files stay until bare_free. */
int bare_stop(struct bare *bare, struct error *err);
void bare_free(struct bare *bare); /* kills it if it still runs; NULL is fine */

/* The manifest of the reference orchestrator, from the working directory. */
int bare_manifest(struct spec_manifest **ret_manifest, struct error *err);

int client_submit(struct http *http, const char *url, const char *task, const char *role, struct error *err);
/* How many tasks are at their end, and how many of those were given up. */
int client_ended(struct http *http, const char *url, size_t *ret_ended, size_t *ret_failed, struct error *err);
/* Asks until `count` are at their end. */
int client_await(struct http *http, const char *url, size_t count, double timeout_s, struct error *err);

#endif
