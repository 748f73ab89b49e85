/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest's `contract`: what the system promises. */
#include <string.h>

#include "spec/tables.h"

/* What may be promised, and how it is worded. */
static const char *const times[] = {"exactly-once", "at-least-once", "at-most-once", NULL};
static const char *const orders[] = {"cascade", "any", NULL};
static const char *const throttlings[] = {"waits", "retries", NULL};
static const struct node_field contract_fields[] = {
    {.key = "commits",
	.type = NODE_TEXT,
	.choices = times,
	.help = "How often a task's work lands. _at-least-once_ permits a task to be committed again, _at-most-once_ "
		"that it "
		"is lost."},
    {.key = "notifications",
	.type = NODE_TEXT,
	.choices = times,
	.help = "The same for notifications; _at-most-once_ permits one that is lost."},
    {.key = "order",
	.type = NODE_TEXT,
	.choices = orders,
	.help = "Whether it falls back in the order of its providers; _any_ permits others."},
    {.key = "throttling",
	.type = NODE_TEXT,
	.choices = throttlings,
	.help = "What it does at a 429. _waits_: nobody in it calls that provider before the window ends. _retries_: "
		"by a clock of its own, such as each worker's."},
    {.key = "source",
	.type = NODE_TEXT,
	.help = "The sentence of its documentation that says so, and where that is; shown with a verdict."},
    {.key = NULL},
};

/* Kept as pairs: what is not declared is not there. */
int spec_contract_read(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_pairs *contract = out;
	const char *known[sizeof contract_fields / sizeof *contract_fields] = {NULL};
	size_t i, f;

	if (node_pairs(file, node, contract) != 0)
		return -1;
	for (f = 0; contract_fields[f].key; f++)
		known[f] = contract_fields[f].key;
	for (i = 0; i < contract->count; i++) {
		yaml_node_t *key, *value;
		const char *const *choice;

		(void)node_key(file, node, i, &key, &value);
		for (f = 0; known[f] && strcmp(known[f], contract->items[i].name) != 0; f++)
			;
		if (!known[f])
			return node_unknown(file, key, "key", contract->items[i].name, known);
		for (choice = contract_fields[f].choices; choice && *choice; choice++)
			if (!strcmp(*choice, contract->items[i].value))
				break;
		if (choice && !*choice)
			return node_unknown(
			    file, value, known[f], contract->items[i].value, contract_fields[f].choices);
	}
	return 0;
}
const struct node_table spec_contract_table = {.fields = contract_fields};

const char *spec_contract(const struct spec_manifest *manifest, const char *key)
{
	size_t i;

	for (i = 0; i < manifest->contract.count; i++)
		if (!strcmp(manifest->contract.items[i].name, key))
			return manifest->contract.items[i].value;
	return NULL;
}
