/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of a message; see header_list.h. */
#include "gateway/proxy/header_list.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void header_list_free(struct header_list *list)
{
	free(list->bytes);
	*list = (struct header_list){0};
}

bool header_list_add(struct header_list *list, const char *name, size_t name_size, const char *value, size_t size)
{
	const size_t more = name_size + size + 2;
	char *grown;

	if (more > HEADER_LIST_MAX || list->size + more > HEADER_LIST_MAX)
		return false;
	grown = realloc(list->bytes, list->size + more);
	if (!grown)
		return false;
	list->bytes = grown;
	grown += list->size;
	memcpy(grown, name, name_size);
	grown[name_size] = '\0';
	memcpy(grown + name_size + 1, value, size);
	grown[more - 1] = '\0';
	list->size += more;
	return true;
}

const char *header_list_next(const struct header_list *list, size_t *at, const char **ret_value)
{
	const char *name = list->bytes + *at;

	if (*at >= list->size)
		return NULL;
	*ret_value = name + strlen(name) + 1;
	*at = (size_t)(*ret_value + strlen(*ret_value) + 1 - list->bytes);
	return name;
}

const char *header_list_get(const struct header_list *list, const char *name)
{
	const char *at_name, *value;
	size_t at = 0;

	while ((at_name = header_list_next(list, &at, &value)))
		if (!strcasecmp(at_name, name))
			return value;
	return NULL;
}

/* Is it one of the words of a list with commas? */
static bool is_listed(const char *name, const char *list)
{
	const size_t size = strlen(name);

	while (*list) {
		list += strspn(list, ", \t");
		if (!strncasecmp(list, name, size) && strcspn(list, ", \t") == size)
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

bool header_is_hop(const char *name, const char *connection)
{
	static const char *const hops[] = {"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate",
	    "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding", "Upgrade"};
	size_t i;

	for (i = 0; i < sizeof hops / sizeof hops[0]; i++)
		if (!strcasecmp(name, hops[i]))
			return true;
	return connection && is_listed(name, connection);
}
