/* SPDX-License-Identifier: Apache-2.0 */
/* workload: small work for wal/, written as letters, one a transaction; the line after each is the LSN that is durable. */
#ifndef TRITONE_CRASH_WORKLOAD_H
#define TRITONE_CRASH_WORKLOAD_H

#include "crash/trace.h"
#include "wal/error.h"

/*
 * s  one small record             S  three small ones
 * m  one of half a page           l  one of some pages
 * M  a hundred small ones         r  closes the log and opens it again, then one small record
 * L  one of many pages            b  nine of a third of a page: the tree's pages split
 * c  a checkpoint of all that is durable, then one small record
 * t  the same, and all before it is trimmed
 * g  so much that blocks are written ahead from the next one on (not among the shapes of all work: it is no small one)
 */
#define WORKLOAD_SHAPES "sSmlLMbrct"

#define WORKLOAD_MAP_BYTES (256u << 10) /* with which the log is opened: small, so that it has to grow */

/* In `dir`, which is the log. Lines on standard output. 0, or -1 with a line on standard error. */
int workload_write(const char *dir, const char *shapes);

/* The trace of it, in a directory of its own below `work`. */
int workload_record(const char *work, const char *shapes, struct trace **ret_trace, struct error *err);

/* The trace of any call that writes below the directory `path`, which is made for it, and removed. It is to return 0. */
int workload_record_call(const char *path, const char *name, int (*call_fn)(void *arg), void *arg,
    struct trace **ret_trace, struct error *err);

#endif
