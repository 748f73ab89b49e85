/* SPDX-License-Identifier: Apache-2.0 */
/* All descendants of one process, from /proc. A snapshot: who forks meanwhile may be missing, who
 * lives all the time is in it. */
#ifndef TRITONE_KEEPER_TREE_H
#define TRITONE_KEEPER_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "wal/error.h"

struct tree_node {
	pid_t pid, ppid, pgrp;
	int depth; /* 1: a child of the root */
	uint64_t start_time;
	char state;
	char comm[32];
};

struct tree {
	struct tree_node *nodes;
	size_t count, room;
};

/* Fills *tree (zeroed before its first use) with the descendants of root, zombies too: parents
 * before children, then by pid. */
int tree_scan(struct tree *tree, pid_t root, struct error *err);
void tree_finish(struct tree *tree);

/* One process. False: it is gone. */
bool tree_read(pid_t pid, struct tree_node *ret_node);
/* Whether pid is below root now. */
bool tree_is_below(pid_t pid, pid_t root);

#endif
