/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs: one line for each file in this folder. */
#include "cli/verb.h"

#include <stddef.h>

#include "system/system.h"

const struct verb verb_table[] = {
    {"gateway", "run a gateway (model providers and sinks) by itself", verb_gateway},
    {"__keeper", NULL, keeper_main},
    {NULL, NULL, NULL},
};
