/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of a message, in their order, and which of them are for one connection alone (RFC 9110, section 7.6.1). */
#ifndef TRITONE_GATEWAY_HEADER_LIST_H
#define TRITONE_GATEWAY_HEADER_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define HEADER_LIST_MAX (24u << 10) /* bytes of all of them: what fits into the server's memory for a connection */

/* All zero: none. */
struct header_list {
	char *bytes; /* NAME\0VALUE\0 ... */
	size_t size;
};

void header_list_free(struct header_list *list); /* and empties it */
/* False: no memory, or more than HEADER_LIST_MAX. */
bool header_list_add(struct header_list *list, const char *name, size_t name_size, const char *value, size_t size);
/* The name behind *at (0 at first), which moves on; NULL: no more. */
const char *header_list_next(const struct header_list *list, size_t *at, const char **ret_value);
/* The first value of a header, whatever its case; NULL: there is none. */
const char *header_list_get(const struct header_list *list, const char *name);

/* `connection`: the message's own header of that name (NULL: none), which may name more of them. */
bool header_is_hop(const char *name, const char *connection);

#endif
