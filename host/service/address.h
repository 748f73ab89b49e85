/* SPDX-License-Identifier: Apache-2.0 */
/* Unix socket addresses of any length. */
#ifndef TRITONE_SERVICE_ADDRESS_H
#define TRITONE_SERVICE_ADDRESS_H

#include <sys/socket.h>
#include <sys/un.h>

#include "wal/error.h"

struct address {
	struct sockaddr_un un;
	int dir; /* holds the directory of a path that is too long for sun_path; -1: not needed */
};

int address_init(struct address *address, const char *path, struct error *err);
void address_finish(struct address *address);

#endif
