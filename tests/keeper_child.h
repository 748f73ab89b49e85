/* SPDX-License-Identifier: Apache-2.0 */
/* What test_keeper starts under the keeper, and in its place: the same program, by its first arguments. */
#ifndef KEEPER_CHILD_H
#define KEEPER_CHILD_H

/* "child MODE [ARGUMENT]": exit STATUS, hygiene, or one that writes its pid to the fifo ARGUMENT and stays. */
int keeper_child(int argc, char **argv);
/* A keeper that says `hello` at most, and ends when the host goes away. */
int keeper_silent(int control, const char *says);

#endif
