/* SPDX-License-Identifier: Apache-2.0 */
/* What the end-to-end tests of faults by hand share: a system under `tritone up`, and a person's curl. Failures fail the test. */
#ifndef TRITONE_TESTS_E2E_UP_H
#define TRITONE_TESTS_E2E_UP_H

#include "e2e.h"

struct body {
	char text[65536];
	size_t used;
};

/* `request` is "METHOD URL", as `up` prints it. The status, 0 when there was no answer. */
long http(const char *request, const char *json, struct body *body);

struct up {
	struct ran *ran;
	const char *run, *state, *gateway, *control, *submit, *outcome;
};

/* Until it is ready; `option` may be NULL. */
struct up start_up(struct world *world, const char *system, const char *option);
/* It must be taken. */
void hand_in(const struct up *up, const char *id, const char *role);
/* Again and again until it is: while the system is being started nobody takes it. */
void hand_in_again(const struct up *up, const char *id);
/* Until so many are at work: their pid files. */
void await_agents(const struct up *up, size_t count);
/* By a signal, and nothing is left. */
void end_up(struct world *world, const struct up *up);

/* The manifest of the reference system, see world_unhurried. */
const char *unhurried(struct world *world);
/* A manifest with models that answer after an hour, and without limits that matter: whoever asks one stays where he is. */
const char *patient(struct world *world);

/* A process of nobody. */
pid_t sleeper(struct world *world, struct ran **ret);
/* In digits. */
const char *text_of(pid_t pid);

/* The main of such a test program. */
int up_main(const char *name, const struct CMUnitTest *tests, size_t count);
#define UP_TEST(name_) cmocka_unit_test_setup_teardown(name_, world_create, world_destroy)

#endif
