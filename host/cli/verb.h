/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs. One file a verb, cli/NAME.c: parse, call, print. */
#ifndef TRITONE_CLI_VERB_H
#define TRITONE_CLI_VERB_H

struct verb {
	const char *name;
	const char *summary;               /* NULL: internal, not shown by --help */
	int (*run)(int argc, char **argv); /* argv[0] is the verb; returns the exit status */
};

extern const struct verb verb_table[]; /* ends with a NULL name */

/* One for each file NAME.c of this folder. */
int verb_crashtest(int argc, char **argv);
int verb_doctor(int argc, char **argv);
int verb_gateway(int argc, char **argv);
int verb_halt(int argc, char **argv);
int verb_inject(int argc, char **argv);
int verb_plugin(int argc, char **argv);
int verb_recover(int argc, char **argv);
int verb_replay(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_show(int argc, char **argv);
int verb_simulate(int argc, char **argv);
int verb_status(int argc, char **argv);
int verb_system(int argc, char **argv);
int verb_test(int argc, char **argv);
int verb_up(int argc, char **argv);
int verb_wal(int argc, char **argv);

/* system_new.c: `tritone system new`. */
int system_new(int argc, char **argv);

#endif
