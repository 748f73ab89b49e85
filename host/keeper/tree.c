/* SPDX-License-Identifier: Apache-2.0 */
/* The process tree below one process, read from /proc/PID/stat. Sends no signals. */
#include "keeper/tree.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEPTH_MAX 4096 /* of a chain of parents; a snapshot torn by pid reuse could hold a cycle */

static bool parse_stat(char *text, struct tree_node *node)
{
	/* comm may hold anything, parentheses and blanks too: it ends at the last ')'. */
	char *open = strchr(text, '('), *close = strrchr(text, ')');
	char *field, *save = NULL;
	size_t length;
	int i;

	if (!open || !close || close < open || close[1] != ' ')
		return false;
	memset(node, 0, sizeof *node);
	node->pid = (pid_t)strtol(text, NULL, 10);
	length = (size_t)(close - open - 1);
	if (length >= sizeof node->comm)
		length = sizeof node->comm - 1;
	memcpy(node->comm, open + 1, length);
	for (i = 3, field = strtok_r(close + 2, " ", &save); field && i <= 22;
	     i++, field = strtok_r(NULL, " ", &save)) {
		if (i == 3)
			node->state = field[0];
		else if (i == 4)
			node->ppid = (pid_t)strtol(field, NULL, 10);
		else if (i == 5)
			node->pgrp = (pid_t)strtol(field, NULL, 10);
		else if (i == 22)
			node->start_time = strtoull(field, NULL, 10);
	}
	return i > 22;
}

static bool read_at(int proc, const char *pid, struct tree_node *node)
{
	char path[64], text[1024];
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "%s/stat", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	do
		n = read(fd, text, sizeof text - 1);
	while (n < 0 && errno == EINTR);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return parse_stat(text, node);
}

bool tree_read(pid_t pid, struct tree_node *ret_node)
{
	char path[32];
	struct tree_node node;

	snprintf(path, sizeof path, "/proc/%d", pid);
	if (!read_at(AT_FDCWD, path, &node))
		return false;
	*ret_node = node;
	return true;
}

bool tree_is_below(pid_t pid, pid_t root)
{
	struct tree_node node;
	int i;

	for (i = 0; i < DEPTH_MAX && pid > 1; i++) {
		if (!tree_read(pid, &node))
			return false;
		if (node.ppid == root)
			return true;
		pid = node.ppid;
	}
	return false;
}

static int by_pid(const void *a, const void *b)
{
	const struct tree_node *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int by_depth(const void *a, const void *b)
{
	const struct tree_node *x = a, *y = b;

	return x->depth != y->depth ? (x->depth > y->depth) - (x->depth < y->depth) : by_pid(a, b);
}

static struct tree_node *find(const struct tree *tree, pid_t pid)
{
	struct tree_node key = {.pid = pid};

	if (!tree->count)
		return NULL;
	return bsearch(&key, tree->nodes, tree->count, sizeof key, by_pid);
}

/* How far below root, or 0. */
static int depth_of(const struct tree *tree, struct tree_node *node, pid_t root)
{
	int depth;

	for (depth = 1; depth < DEPTH_MAX; depth++) {
		struct tree_node *parent;

		if (node->ppid == root)
			return depth;
		if (node->ppid <= 1)
			return 0;
		parent = find(tree, node->ppid);
		/* The parent died while we looked: ask the child anew who has inherited it. */
		if (!parent && (!tree_read(node->pid, node) || !(parent = find(tree, node->ppid))))
			return node->ppid == root ? depth : 0;
		node = parent;
	}
	return 0;
}

static int add(struct tree *tree, const struct tree_node *node, struct error *err)
{
	if (tree->count == tree->room) {
		size_t room = tree->room ? tree->room * 2 : 256;
		struct tree_node *grown = reallocarray(tree->nodes, room, sizeof *grown);

		if (!grown)
			return error_set(err, ENOMEM, "no memory for %zu processes", room);
		tree->nodes = grown;
		tree->room = room;
	}
	tree->nodes[tree->count++] = *node;
	return 0;
}

int tree_scan(struct tree *tree, pid_t root, struct error *err)
{
	struct dirent *entry;
	struct tree_node node;
	size_t i, kept = 0;
	DIR *dir;
	int r = 0;

	tree->count = 0;
	dir = opendir("/proc");
	if (!dir)
		return error_set(err, errno, "/proc: %s", strerror(errno));
	while (r == 0 && (entry = readdir(dir)))
		if (isdigit((unsigned char)entry->d_name[0]) && read_at(dirfd(dir), entry->d_name, &node))
			r = add(tree, &node, err);
	closedir(dir);
	if (r < 0)
		return -1;
	if (!tree->count)
		return error_set(err, ENOENT, "/proc shows no process: is it mounted?");
	qsort(tree->nodes, tree->count, sizeof *tree->nodes, by_pid);
	for (i = 0; i < tree->count; i++)
		tree->nodes[i].depth = depth_of(tree, &tree->nodes[i], root);
	for (i = 0; i < tree->count; i++)
		if (tree->nodes[i].depth > 0)
			tree->nodes[kept++] = tree->nodes[i];
	tree->count = kept;
	if (kept)
		qsort(tree->nodes, kept, sizeof *tree->nodes, by_depth);
	return 0;
}

void tree_finish(struct tree *tree)
{
	free(tree->nodes);
	memset(tree, 0, sizeof *tree);
}
