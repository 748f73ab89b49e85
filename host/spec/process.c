/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest's processes, when each is ready, and what is installed before any of them. */
#include "spec/tables.h"

#define IN(member_)         .offset = offsetof(struct spec_manifest, member_)
#define PROCESS_IN(member_) .offset = offsetof(struct spec_process, member_)

static int read_command(struct node_file *file, yaml_node_t *node, void *out)
{
	struct spec_strings *command = out;

	if (node_strings(file, node, command) != 0)
		return -1;
	return command->count ? 0 : node_fail(file, node, "an empty command");
}
const struct node_table spec_command_table = {.read = read_command, .size = sizeof(struct spec_strings)};

static const struct node_field ready_fields[] = {
    {.key = "http", .type = NODE_TEXT, PROCESS_IN(ready.http), .help = "Ready once this URL answers 2xx."},
    {.key = "file", .type = NODE_TEXT, PROCESS_IN(ready.file), .help = "Ready once this file exists."},
    {.key = "port",
	.type = NODE_TEXT,
	PROCESS_IN(ready.port),
	.help = "Ready once this TCP port of 127.0.0.1 takes a connection."},
    {.key = "output",
	.type = NODE_TEXT,
	PROCESS_IN(ready.output),
	.help = "Ready once this text is in what it has written since its start."},
    {.key = "command",
	.type = NODE_STRINGS,
	.filled = true,
	PROCESS_IN(ready.command),
	.help = "Ready once this command, run again and again, exits with 0."},
    {.key = "timeout",
	.type = NODE_DURATION,
	PROCESS_IN(ready.timeout_ms),
	.fallback = "10s",
	.min = 1,
	.max = 3600000,
	.help = "Not ready by then: the system did not start."},
    {.key = NULL},
};
static const struct node_table ready_table = {.fields = ready_fields};

static const struct node_field process_fields[] = {
    {.key = "name", .type = NODE_TEXT, .required = true, PROCESS_IN(name), .help = "Unique; shown in reports."},
    {.key = "command",
	.type = NODE_STRINGS,
	.required = true,
	.filled = true,
	PROCESS_IN(command),
	.help = "Program and arguments; no shell is in between. It has to stay in the foreground."},
    {.key = "environment",
	.type = NODE_PAIRS,
	PROCESS_IN(environment),
	.help = "Variables added to those that tritone itself has."},
    {.key = "directory",
	.type = NODE_TEXT,
	PROCESS_IN(directory),
	.help = "Working directory; *${state}* when not given."},
    {.key = "helper",
	.type = NODE_BOOL,
	PROCESS_IN(helper),
	.fallback = "false",
	.help = "A service that the system stands on (a database, a queue) and that is no part of it: never \"the "
		"orchestrator\", and not killed to see it restarted."},
    {.key = "restart",
	.type = NODE_BOOL,
	PROCESS_IN(restart),
	.fallback = "true",
	.help = "false: it is not started again, whatever _restart_ says of the others."},
    {.key = "output-max",
	.type = NODE_UINT,
	PROCESS_IN(output_max_mib),
	.fallback = "256",
	.min = 1,
	.max = 1048576,
	.help = "MiB. Who writes more to its standard output and error is ended, and not started again. Of a long "
		"output only "
		"the beginning and the end are kept."},
    {.key = "ready",
	.type = NODE_MAP,
	.table = &ready_table,
	.help = "When it is ready; all conditions that are given, at once if none is."},
    {.key = NULL},
};
const struct node_table spec_process_table = {.fields = process_fields, .size = sizeof(struct spec_process)};

static const struct node_field install_fields[] = {
    {.key = "inputs",
	.type = NODE_STRINGS,
	.required = true,
	.filled = true,
	IN(install.inputs),
	.help = "Files and directories, from the manifest's directory. Their content decides whether it is done "
		"already; they "
		"are copied to *${install}* first, each by its last name, a directory's content without its name."},
    {.key = "commands",
	.type = NODE_LIST,
	.required = true,
	.filled = true,
	IN(install.commands),
	.count_offset = offsetof(struct spec_manifest, install.command_count),
	.table = &spec_command_table,
	.form = "list of commands",
	.help =
	    "Run one after the other in *${install}*; each must exit with 0. Their output stays in *${install}.log*."},
    {.key = "timeout",
	.type = NODE_DURATION,
	IN(install.timeout_ms),
	.fallback = "10m",
	.min = 1,
	.max = 36000000,
	.help = "All of them together."},
    {.key = NULL},
};
const struct node_table spec_install_table = {.fields = install_fields};
