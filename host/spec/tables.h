/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of keys of the three kinds of files, and what their loaders share. */
#ifndef TRITONE_SPEC_TABLES_H
#define TRITONE_SPEC_TABLES_H

#include "spec/node.h"

extern const struct node_table spec_manifest_table, spec_experiment_table, spec_suite_table, spec_script_table;
extern const struct node_table spec_activity_table, spec_hypothesis_table, spec_fault_table, spec_variable_table,
    spec_expect_table;
/* The pieces of a manifest: process.c, seen.c, contract.c. */
extern const struct node_table spec_command_table, spec_process_table, spec_install_table, spec_submit_table,
    spec_outcome_table, spec_agents_table, spec_commits_table, spec_slo_table, spec_contract_table;
extern const struct node_table spec_upstream_table;
/* What a table cannot say of a gateway's upstreams, record, replay. */
int spec_upstreams_finish(struct node_file *file, yaml_node_t *gateway, struct spec_manifest *manifest);
int spec_contract_read(struct node_file *file, yaml_node_t *node, void *out); /* into a struct spec_pairs */

/* Reads what is in an open file into `out`, the zeroed struct of its kind. */
typedef int (*spec_read_fn)(struct node_file *file, void *out);
/* A struct of `size` bytes, read from a file: it and all that is allocated in its arena live until spec_file_free. */
int spec_file_load(void **ret_spec, size_t size, const char *path, spec_read_fn reader, struct error *err);
void spec_file_free(void *spec); /* NULL is fine */

/* The file's name without its directory and .yaml, .yml, .json. */
char *spec_stem(struct arena *arena, const char *path);
/* `path` as seen from the directory of `file`. */
char *spec_beside(struct arena *arena, const char *file, const char *path);
/* A manifest by its path beside `file`, or by its name in systems/ beside or above it. EINVAL at the node's place. */
/* What is not there is a problem, and no error: --system may say another. */
int spec_find_system(struct node_file *file, yaml_node_t *node, char **system, char **ret_problem);
/* Is each of them the name of an invariant? */
int spec_check_invariants(struct node_file *file, yaml_node_t *node, const struct spec_strings *names);
/* Is it a regular expression? */
int spec_check_pattern(struct node_file *file, yaml_node_t *node, const char *pattern);
int spec_read_variables(struct node_file *file, yaml_node_t *node, void *out); /* into a struct spec_pairs */
/* What the faults in `list` say of each other. */
int spec_faults_finish(struct node_file *file, yaml_node_t *list, const struct spec_experiment *experiment);
/* Is it a regular expression, with the group if one is wanted? NULL is fine. */
int spec_pattern(struct node_file *file, const yaml_node_t *node, const char *text, const char *group);
/* Each fault that comes several times becomes several. */
int spec_faults_unroll(struct node_file *file, yaml_node_t *list, struct spec_experiment *experiment);
/* Loads an experiment from an open file. */
int spec_experiment_read(struct node_file *file, struct spec_experiment *experiment);

#endif
