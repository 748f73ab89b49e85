/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The output of the system's processes, kept from filling the disk: of a long log only the beginning and the end keep their blocks, and a
 * process that has written more than its manifest allows is ended, and not started again. One thread.
 */
#ifndef TRITONE_SYSTEM_OUTPUT_H
#define TRITONE_SYSTEM_OUTPUT_H

#include "spec/spec.h"
#include "system/processes.h"
#include "system/watch.h"
#include "wal/error.h"

struct output;

int output_create(struct output **ret_output, const struct spec_manifest *manifest, const char *log_dir,
    struct processes *processes, struct error *err);
void output_destroy(struct output *output); /* NULL is fine */
int output_watch(struct output *output, struct watch *watch, struct error *err);

#endif
