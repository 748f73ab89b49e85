/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a manifest wants installed before any run: once for the content of its inputs and the words of its commands, in
 * CACHE/NAME-HASH, whoever needs it first; the others wait for the lock. Half an installation is never used: a mark
 * beside it says that it is whole, and without it is made anew.
 */
#ifndef TRITONE_SYSTEM_INSTALL_H
#define TRITONE_SYSTEM_INSTALL_H

#include <stdbool.h>
#include <stddef.h>

#include "spec/spec.h"
#include "keeper/keeper.h"
#include "wal/error.h"

struct install_options {
	const struct spec_manifest *manifest;
	const char *cache_dir; /* absolute; made if absent */
	struct keeper *keeper; /* no observer may run */
	spec_lookup_fn lookup; /* for the commands; "install" must be what install_dir was given */
	void *lookup_arg;
	int interrupt_fd;                              /* 0 or -1: none */
	void (*progress)(void *arg, const char *text); /* may be NULL */
	void *progress_arg;
};

/* Where it is or will be: hashes the inputs. */
int install_dir(const struct install_options *options, char *ret, size_t size, struct error *err);
/* Makes it if it is not there. -1 with the step; what the commands have said stays in DIR.log. */
int install_make(const struct install_options *options, const char *dir, struct error *err);

#endif
