/* SPDX-License-Identifier: Apache-2.0 */
/* What several verbs read from the command line and the environment in the same way. */
#ifndef TRITONE_CLI_OPTIONS_H
#define TRITONE_CLI_OPTIONS_H

#include <stdint.h>

/* TRITONE_STATE, or ".tritone". */
const char *cli_state_root(void);
/* A number for --seed: decimal, 0x..., or any other word (a commit id), which is hashed. NULL: TRITONE_SEED, or a fresh random one. */
uint64_t cli_seed(const char *text);
/* A decimal number from min to max, and nothing else; -1 otherwise. */
int cli_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
/* Prints "tritone VERB: TEXT" and the hint at --help on standard error; returns 2. */
int cli_usage(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
