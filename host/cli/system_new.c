/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone system new`: a commented manifest that the reader takes as it is, and that `tritone system check` says the next step about. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "spec/spec.h"

static const char head[] = "# All that Tritone needs to know of an orchestrator; tritone-manifest(5) has every key. "
			   "Fill in what is in CAPITALS, take\n"
			   "# the comment from what you have, and try it as you go: tritone system check %s\n"
			   "#\n"
			   "# ${run} is the run's own directory, ${state} the system's below it (both fresh), "
			   "${gateway} the URL of the model providers,\n"
			   "# ${port.NAME} a free port, ${seed} a number. A dollar sign is $$.\n"
			   "name: %s\n";

static const char body[] =
    "description: WHAT IT IS, IN ONE SENTENCE\n"
    "\n"
    "# Run once, one after the other, before the first start of each run.\n"
    "#prepare:\n"
    "#  - [git, init, --bare, --initial-branch, main, \"${state}/repo\"]\n"
    "\n"
    "# What runs, in this order, each once the one before is ready. The first is \"the orchestrator\".\n"
    "processes:\n"
    "  - name: server\n"
    "    command: [/PATH/TO/YOUR/SERVER, --port, \"${port.api}\"]\n"
    "    # directory: \"${state}\"\n"
    "    environment:\n"
    "      # Where its clients find the model providers: the same words as at the real ones.\n"
    "      OPENAI_BASE_URL: \"${gateway}/openai/v1\"\n"
    "      OPENAI_API_KEY: any\n"
    "    ready: {http: \"http://127.0.0.1:${port.api}/health\", timeout: 30s} # or file: PATH\n"
    "\n"
    "# A process that dies is started again, as its keeper in production would.\n"
    "restart: {on-crash: true, delay: 100ms, max: 20}\n"
    "\n"
    "# Instead of url and headers: command: [PROGRAM, \"${task}\"], or file: \"${state}/in/${task}.json\" for a spool "
    "directory.\n"
    "# How a task is handed in. 2xx: accepted; 4xx, 5xx: refused; nothing: unknown. ${key} is the same when it is "
    "tried again.\n"
    "submit:\n"
    "  url: \"http://127.0.0.1:${port.api}/tasks\"\n"
    "  headers: {Content-Type: application/json}\n"
    "  body: '{\"id\": \"${task}\", \"prompt\": \"${prompt}\"}'\n"
    "\n"
    "# What it says became of its tasks: GET, {tasks: [{id, state}]}.\n"
    "#outcome: {url: \"http://127.0.0.1:${port.api}/tasks\", list: tasks, id: id, state: state, done: [done], failed: "
    "[failed]}\n"
    "\n"
    "# The model providers that it calls, in the order of fallback, and where its notifications go "
    "(${gateway}/sink/NAME).\n"
    "gateway:\n"
    "  providers: [openai]\n"
    "  # sinks: [notify]\n"
    "  # sink-task: task          # member of a notification's body that names the task\n"
    "  # task-header: X-Task-Id   # header of a model request that names the task\n"
    "  latency: 20ms\n"
    "  # A real one, its answers kept in a file; later, from that file: replay: answers.jsonl\n"
    "  # upstreams: [{provider: openai, url: \"https://api.openai.com\", key-from: OPENAI_API_KEY}]\n"
    "  # record: answers.jsonl\n"
    "\n"
    "# The ledger: where finished work lands, and how a line of it names its task.\n"
    "#commits: {git: \"${state}/repo\", branch: main, task-trailer: Task-Id}\n"
    "#commits: {file: \"${state}/ledger.log\", pattern: '^merged task=(?<task>\\S+)'}\n"
    "\n"
    "# Its agents, for the faults that are about them.\n"
    "#agents: {pid-files: \"agents/*/pid\"}\n"
    "#agents: {pattern: 'agent --task (?<task>\\S+)'} # over the command lines of its processes\n"
    "\n"
    "# Files that must be whole whenever somebody looks, and names that may not be left over.\n"
    "#state: {json: [\"*.json\"], temporary: [\"*.tmp\"]}\n"
    "\n"
    "# What its documentation promises: exactly-once, at-least-once or at-most-once.\n"
    "#contract: {commits: at-least-once}\n"
    "\n"
    "# So much silence with work open is its end: more than its own retries and leases take.\n"
    "#policy: {progress-limit: 30s}\n";

static int write_file(const char *path, const char *name)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	bool bad;

	if (!out) {
		fprintf(stderr, "tritone system new: %s: %s%s\n", path, strerror(errno),
		    errno == EEXIST ? "; nothing is overwritten" : "");
		if (fd >= 0)
			close(fd);
		return 2;
	}
	fprintf(out, head, path, name);
	fputs(body, out);
	bad = ferror(out) != 0;
	if (fclose(out) != 0 || bad) {
		fprintf(stderr, "tritone system new: %s: %s\n", path, strerror(errno));
		unlink(path);
		return 2;
	}
	printf("%s\nfill it in, then: tritone system check %s\n", path, path);
	return 0;
}

int system_new(int argc, char **argv)
{
	char path[4096];

	if (argc < 2 || argc > 3 || argv[1][0] == '-')
		return cli_usage("system", "new wants a name, and perhaps a file");
	if (!argv[1][0] || strlen(argv[1]) > 60 ||
	    argv[1][strspn(argv[1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] ||
	    argv[1][0] == '.')
		return cli_usage(
		    "system", "a name has up to 60 letters, digits, '-', '_' and '.', found '%s'", argv[1]);
	if (snprintf(path, sizeof path, "%s%s", argc == 3 ? argv[2] : argv[1], argc == 3 ? "" : ".yaml") >=
	    (int)sizeof path)
		return cli_usage("system", "the file's name is too long");
	return write_file(path, argv[1]);
}
