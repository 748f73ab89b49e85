/* SPDX-License-Identifier: Apache-2.0 */
/* Unix socket addresses; see address.h. */
#include "service/address.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int address_init(struct address *address, const char *path, struct error *err)
{
	const char *name = strrchr(path, '/');
	size_t size = strlen(path);
	char *dir;
	int n;

	*address = (struct address){.un = {.sun_family = AF_UNIX}, .dir = -1};
	if (!size)
		return error_set(err, EINVAL, "the control socket's path is empty");
	if (size < sizeof address->un.sun_path) {
		memcpy(address->un.sun_path, path, size + 1);
		return 0;
	}
	/* The kernel takes 107 bytes, run directories may lie deeper: by way of an open directory it is short. */
	if (!name)
		return error_set(err, ENAMETOOLONG, "%.100s: too long for a socket's name", path);
	dir = strndup(path, name == path ? 1 : (size_t)(name - path));
	if (!dir)
		return error_set(err, ENOMEM, "no memory for the control socket's path");
	address->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	n = errno;
	free(dir);
	if (address->dir < 0)
		return error_set(err, n, "the directory of %.150s: %s", path, strerror(n));
	n = snprintf(address->un.sun_path, sizeof address->un.sun_path, "/proc/self/fd/%d/%s", address->dir, name + 1);
	if (n < 0 || (size_t)n >= sizeof address->un.sun_path) {
		address_finish(address);
		return error_set(err, ENAMETOOLONG, "%.100s: too long for a socket's name", name + 1);
	}
	return 0;
}

void address_finish(struct address *address)
{
	if (address->dir >= 0)
		close(address->dir);
	address->dir = -1;
}
