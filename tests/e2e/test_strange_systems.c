/* SPDX-License-Identifier: Apache-2.0 */
/* Orchestrators of other kinds, each a few lines of shell: every way in which a manifest lets a task in and sees its end. */
#include "e2e.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A spool directory, and a ledger of lines: it takes the tasks one after the other, writes a line for each, and says done. Woken by a
 * named pipe, as nothing in a shell waits for a file.
 */
static const char spooler[] =
    "cd \"$1\" || exit 1\n"
    "mkdir -p in out\n"
    "echo started\n"
    "while :; do\n"
    "  for f in in/*.json; do\n"
    "    [ -e \"$f\" ] || continue\n"
    "    t=${f#in/}; t=${t%.json}\n"
    "    grep -q \"task=$t \" ledger 2>/dev/null || echo \"commit task=$t attempt=1 id=c-$t\" >>ledger\n"
    "    echo \"note about $t\" >>ledger\n"
    "    touch \"out/$t\"\n"
    "    echo \"did $t\"\n"
    "    rm \"$f\"\n"
    "  done\n"
    "  sleep 0.05\n"
    "done\n";

static const char *spool_manifest_slow(
    struct world *world, const char *submit, const char *outcome, const char *restart_delay)
{
	world_write(world, "spooler.sh", "%s", spooler);
	return world_write(world, "spool.yaml",
	    "name: spool\n"
	    "processes:\n"
	    "  - name: spooler\n"
	    "    command: [sh, \"${manifest}/spooler.sh\", \"${state}\"]\n"
	    "    ready: {output: \"started\\n\"}\n"
	    "restart: {on-crash: true, delay: %s}\n"
	    "submit: %s\n"
	    "outcome: %s\n"
	    "commits: {file: \"${state}/ledger\", pattern: '^commit task=(?<task>\\S+) attempt=(?<attempt>\\d+) "
	    "id=(?<id>\\S+)$'}\n"
	    "contract: {commits: at-least-once}\n",
	    restart_delay, submit, outcome);
}

static const char *spool_manifest(struct world *world, const char *submit, const char *outcome)
{
	return spool_manifest_slow(world, submit, outcome, "10ms");
}

static void all_is_well(struct world *world, const char *file)
{
	struct ran *ran = tritone(world, "system", "check", "--limit", "10m", file, NULL);

	ran_status(ran, 0);
	ran_has(ran, "accepts a task ok ");
	ran_has(ran, "commits seen ok ");
	ran_has(ran, "completion seen ok ");
	ran_has(ran, "restart ok ");
	ran_has(ran, "nothing left");
	world_quiet(world);
	world_clean(world);
}

#define SPOOL                                                                                                          \
	"{file: \"${state}/in/${task}.json\", body: '{\"id\": \"${task}\"}', accepted: {taken: true}, timeout: 10s}"

static void test_spool_file_and_done_files(void **state)
{
	struct world *world = *state;

	all_is_well(world, spool_manifest(world, SPOOL, "{done-file: \"${state}/out/${task}\"}"));
}

static void test_commands(void **state)
{
	struct world *world = *state;

	world_write(
	    world, "hand-in.sh", "%s", "echo \"{}\" >\"$1/in/$2.part\" && mv \"$1/in/$2.part\" \"$1/in/$2.json\"\n");
	/* done, not yet: there is no failure here */
	world_write(world, "ask.sh", "%s", "test -e \"$1/out/$2\" || exit 2\n");
	all_is_well(
	    world, spool_manifest(world, "{command: [sh, \"${manifest}/hand-in.sh\", \"${state}\", \"${task}\"]}",
		       "{each: [sh, \"${manifest}/ask.sh\", \"${state}\", \"${task}\"]}"));
}

static void test_a_command_that_lists(void **state)
{
	struct world *world = *state;

	world_write(world, "list.sh", "%s",
	    "cd \"$1/out\" || exit 1\nprintf '['\nfor t in *; do\n  printf '%s{\"name\": \"%s\", \"is\": \"fine\"}' "
	    "\"$c\" \"$t\"; c=,\ndone\n"
	    "printf ']'\n");
	all_is_well(
	    world, spool_manifest(world, SPOOL,
		       "{command: [sh, \"${manifest}/list.sh\", \"${state}\"], id: name, state: is, done: [fine]}"));
}

/* Asked for, the end of eight tasks is eight operations: a command that is slower than the silence after which it is asked again. */
static void test_a_command_that_is_slow(void **state)
{
	struct world *world = *state;
	struct ran *ran;

	world_write(world, "slow.sh", "%s",
	    "sleep 0.6; cd \"$1/out\" || exit 1\nprintf '['\nfor t in *; do\n"
	    "  printf '%s{\"id\": \"%s\", \"state\": \"fine\"}' \"$c\" \"$t\"; c=,\ndone\nprintf ']'\n");
	ran = tritone(world, "test", "--system",
	    spool_manifest(world, SPOOL, "{command: [sh, \"${manifest}/slow.sh\", \"${state}\"], done: [fine]}"),
	    world_write(world, "slow.yaml",
		"title: t\nworkload: {tasks: 8, tail: 0, roles: [write], limit: 60s}\n"
		"invariants: [no-lost-task]\n"),
	    NULL);
	ran_status(ran, 0);
	ran_has(ran, "8 tasks, 8 commits, 0 duplicates");
	world_quiet(world);
}

/* A refusal is a refusal, and shows why: though it comes after the limit, be it a matter of the command or of the machine. */
static void test_a_command_that_refuses(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "system", "check", "--limit", "100ms",
	    spool_manifest(
		world, "{command: [sh, -c, \"sleep 0.3; exit 4\"]}", "{done-file: \"${state}/out/${task}\"}"),
	    NULL);

	ran_status(ran, 1);
	ran_has(ran, "accepts a task FAILED");
	ran_has(ran, "task t000-plan was refused: exited with 4; not within 0.1 s");
	ran = tritone(world, "system", "check", "--limit", "100ms",
	    spool_manifest(
		world, "{file: \"${state}/nowhere/${task}\", body: x}", "{done-file: \"${state}/out/${task}\"}"),
	    NULL);
	ran_status(ran, 1);
	ran_has(ran, "state/nowhere/t000-plan: No such file or directory");
	/* Nobody takes it: that is unknown, and no refusal. */
	ran = tritone(world, "system", "check", "--limit", "100ms",
	    spool_manifest(world, "{file: \"${state}/${task}\", body: x, accepted: {taken: true}, timeout: 100ms}",
		"{done-file: \"${state}/out/${task}\"}"),
	    NULL);
	ran_status(ran, 1);
	ran_has(ran, "task t000-plan was not answered: it did not show that it was accepted");
	world_quiet(world);
}

/* All is well but its end: that is told, and is no success. */
static void test_it_has_to_be_killed(void **state)
{
	struct world *world = *state;
	const char *file = spool_manifest(world, SPOOL, "{done-file: \"${state}/out/${task}\"}");
	struct ran *ran;

	world_write(world, "spooler.sh", "trap '' TERM\n%s", spooler);
	ran = tritone(world, "test", "--system", file,
	    world_write(world, "x.yaml",
		"title: x\nworkload: {tasks: 1, tail: 0, roles: [write]}\ninvariants: [no-lost-task]\n"),
	    NULL);
	ran_status(ran, 5);
	ran_has(ran, "ok    x  held ");
	ran_has(ran, " of its processes had to be killed when it was stopped\n");
	world_quiet(world);
	world_clean(world);
}

/* It ends in the middle of the work: what was lost has its cause beside it. */
static void test_it_is_gone_for_good(void **state)
{
	struct world *world = *state;
	struct ran *ran;

	world_write(world, "server.sh", "%s",
	    "cd \"$1\"; echo started; while set -- in-*; [ ! -e \"$1\" ]; do sleep 0.05; done; exit 0\n");
	ran = tritone(world, "test", "--reruns", "0", "--system",
	    world_write(world, "gone.yaml",
		"name: gone\n"
		"processes: [{name: server, command: [sh, \"${manifest}/server.sh\", \"${state}\"], "
		"ready: {output: started}}]\n"
		"submit: {file: \"${state}/in-${task}\", body: x}\n"
		"commits: {file: \"${state}/ledger\", pattern: '^(?<task>\\S+)'}\n"
		"policy: {progress-limit: 300ms}\n"),
	    world_write(world, "x.yaml",
		"title: x\nworkload: {tasks: 1, tail: 0, roles: [write]}\ninvariants: [no-lost-task]\n"),
	    NULL);
	ran_status(ran, 1);
	ran_has(ran, "DEVIATED  no-lost-task: ");
	ran_has(ran,
	    "      system: server is gone for good: it exited with 0; does it go into the background? It must stay\n");
	ran_has(ran, "      the last lines of its output:\n        server: started\n      run  ");
	world_quiet(world);
	world_clean(world);
}

/* ---- readiness, and who is the orchestrator ---- */

static void test_helpers_and_readiness(void **state)
{
	struct world *world = *state;
	struct ran *ran;
	const char *file;

	world_write(world, "spooler.sh", "%s", spooler);
	world_write(world, "helper.sh", "%s", "echo helping; touch \"$1/helped\"; exec sleep 1000\n");
	file = world_write(world, "two.yaml",
	    "name: two\n"
	    "processes:\n"
	    "  - name: helper\n"
	    "    helper: true\n"
	    "    command: [sh, \"${manifest}/helper.sh\", \"${state}\"]\n"
	    "    ready: {output: helping, command: [test, -e, \"${state}/helped\"]}\n"
	    "  - name: spooler\n"
	    "    command: [sh, -c, \"test -e $1/helped && exec sh $0 $1\", \"${manifest}/spooler.sh\", \"${state}\"]\n"
	    "    ready: {output: started}\n"
	    "restart: {on-crash: true, delay: 10ms}\n"
	    "submit: " SPOOL "\n"
	    "outcome: {done-file: \"${state}/out/${task}\"}\n"
	    "commits: {file: \"${state}/ledger\", pattern: 'commit task=(?<task>\\S+)'}\n");
	all_is_well(world, file);
	/* What orchestrator-kill kills is not the helper. */
	ran = tritone(world, "test", "--system", file,
	    world_write(world, "x.yaml",
		"title: x\nworkload: {tasks: 6, tail: 0}\nfaults: [{plugin: orchestrator-kill, when: {event: commit, "
		"nth: 2}}]\n"
		"invariants: [no-duplicate-commit, no-lost-task]\n"),
	    "-v", NULL);
	ran_status(ran, 0);
	ran_has(ran, "fault orchestrator-kill: felt");
	ran_has(ran, "6 tasks, 6 commits, 0 duplicates");
	world_quiet(world);
}

/* ---- agents by their command lines, claims by a command, commits at a sink ---- */

/* Each task is a process of its own, which sends its result to a sink and then stays for a little. */
static const char sender[] = "state=$1 url=${2#http://}\n"
			     "host=${url%:*} port=${url#*:}\n"
			     "cd \"$state\"; mkdir -p in; echo started\n"
			     "post() {\n"
			     "  b=\"{\\\"task\\\": \\\"$1\\\"}\"\n"
			     "  exec 3<>/dev/tcp/$host/$port\n"
			     "  printf 'POST /sink/results HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: "
			     "%d\\r\\nConnection: close\\r\\n\\r\\n%s' ${#b} \"$b\" >&3\n"
			     "  read -r line <&3; echo \"$1: $line\"\n"
			     "}\n"
			     "if [ \"$3\" = agent ]; then post \"$WORK\"; rm \"in/$WORK\"; exec sleep 1; fi\n"
			     "while :; do\n"
			     "  for f in in/*; do\n"
			     "    [ -e \"$f\" ] && WORK=${f#in/} bash \"$0\" \"$state\" \"$2\" agent\n"
			     "  done\n"
			     "  sleep 0.05\n"
			     "done\n";

static void test_a_sink_as_ledger(void **state)
{
	struct world *world = *state;
	struct ran *ran;
	const char *file;

	world_write(world, "sender.sh", "%s", sender);
	world_write(world, "slo.sh", "%s",
	    "echo '{\"slos\": [{\"name\": \"all-well\", \"current\": 1.0, \"met\": true, \"status\": \"green\"}]}'\n");
	file = world_write(world, "sender.yaml",
	    "name: sender\n"
	    "processes:\n"
	    "  - name: sender\n"
	    "    command: [bash, \"${manifest}/sender.sh\", \"${state}\", \"${gateway}\"]\n"
	    "    ready: {output: started}\n"
	    "restart: {on-crash: true, delay: 10ms}\n"
	    "submit: {file: \"${state}/in/${task}\", body: x, accepted: {taken: true}, timeout: 20s}\n"
	    "gateway: {providers: [], sinks: [results], sink-task: task}\n"
	    "commits: {sink: results}\n"
	    "agents: {pattern: 'sender[.]sh .* agent$|^sleep 1$', task-environment: WORK}\n"
	    "slo: {command: [sh, \"${manifest}/slo.sh\"], every: 100ms}\n");
	ran = tritone(world, "system", "check", "--limit", "30s", file, NULL);
	ran_status(ran, 0);
	ran_has(ran, "commits seen ok ");
	ran_has(ran, "agents seen ok ");
	ran_has(ran, "claims seen ok ");
	/* The agent of the event is the one of its task. */
	ran = tritone(world, "test", "-v", "--system", file,
	    world_write(world, "x.yaml",
		"title: x\nworkload: {tasks: 2, tail: 0, roles: [work]}\n"
		"faults: [{plugin: agent-kill, arguments: {signal: KILL}, when: {event: commit}}]\n"
		"invariants: [no-duplicate-commit, no-lost-task]\n"),
	    NULL);
	ran_status(ran, 0);
	ran_has(ran, "fault agent-kill: felt: agent pid-");
	ran_has(ran, "2 tasks, 2 commits, 0 duplicates");
	world_quiet(world);
	world_clean(world);
}

/* ---- faults on events ---- */

/* The worker dies when it says so, when its ledger grows, and at random commits: again and again, until the work is done. */
static void test_faults_on_events(void **state)
{
	static const char *const whens[] = {
	    "{event: output, of: spooler, matches: '^did t', nth: 2, every: 2, times: 4}",
	    "{event: file, of: ledger, nth: 2, every: 3, times: 4}",
	    "{event: commit, probability: 0.4, times: 4}",
	};
	struct world *world = *state;
	const char *file = spool_manifest(world, SPOOL, "{done-file: \"${state}/out/${task}\"}");
	size_t i;

	for (i = 0; i < sizeof whens / sizeof *whens; i++) {
		struct ran *ran = tritone(world, "test", "-v", "--seed", "5", "--system", file,
		    world_write(world, "x.yaml",
			"title: x\nworkload: {tasks: 9, tail: 0}\n"
			"faults: [{name: die, plugin: process-kill, arguments: {process: spoo*, scope: group}, when: "
			"%s}]\n"
			"invariants: [no-duplicate-commit, no-lost-task]\n",
			whens[i]),
		    NULL);

		ran_status(ran, 0);
		ran_has(ran, "fault die: felt: spooler (pid ");
		ran_has(ran, "fault die-2: felt: spooler (pid ");
		ran_has(ran, "9 tasks, 9 commits, 0 duplicates");
	}
	world_quiet(world);
	world_clean(world);
}

/*
 * It takes note of what it has done at once, and never looks whether it did it before. What comes some milliseconds after the line is too
 * late for it: only held it dies between the two, each time.
 */
static void test_held_calls(void **state)
{
	static const char *const whens[] = {
	    "{event: commit, hold: true, nth: 2, every: 3, times: 3}",
	    "{event: file, of: ledger, hold: true, nth: 2, every: 3, times: 3}",
	};
	struct world *world = *state;
	const char *file = spool_manifest(world, SPOOL, "{done-file: \"${state}/out/${task}\"}");
	size_t i;

	world_write(world, "spooler.sh", "%s",
	    "cd \"$1\" || exit 1\nmkdir -p in out\necho started\n"
	    "while :; do\n"
	    "  for f in in/*.json; do\n"
	    "    [ -e \"$f\" ] || continue\n"
	    "    t=${f#in/}; t=${t%.json}\n"
	    "    echo \"commit task=$t attempt=1 id=c-$t\" >>ledger; : >\"out/$t\"; rm \"$f\"\n"
	    "  done\n"
	    "  sleep 0.05\n"
	    "done\n");
	for (i = 0; i < sizeof whens / sizeof *whens; i++) {
		struct ran *ran = tritone(world, "test", "-v", "--reruns", "0", "--system", file,
		    world_write(world, "x.yaml",
			"title: x\nworkload: {tasks: 9, tail: 0}\n"
			"faults: [{name: die, plugin: process-kill, arguments: {process: spoo*}, when: %s}]\n"
			"invariants: [no-duplicate-commit, no-lost-task]\n",
			whens[i]),
		    NULL);

		ran_status(ran, 0); /* its contract permits it */
		ran_has(ran, "fault die-3: felt: spooler (pid ");
		ran_has(ran, "12 commits, 3 tasks committed twice, 0 commits of no known task");
	}
	world_quiet(world);
	world_clean(world);
}

/* The moment of the second is when the first has just killed it: it waits for the one that is started in its place. */
static void test_a_fault_waits_for_who_is_started_again(void **state)
{
	struct world *world = *state;
	struct ran *ran = tritone(world, "test", "-v", "--system",
	    spool_manifest_slow(world, SPOOL, "{done-file: \"${state}/out/${task}\"}", "300ms"),
	    world_write(world, "x.yaml",
		"title: x\nworkload: {tasks: 6, tail: 0}\n"
		"faults:\n"
		"  - {name: first, plugin: process-kill, when: {event: commit, nth: 2}}\n"
		"  - {name: second, plugin: process-kill, arguments: {process: spoo*}, when: {event: fault, of: "
		"first}}\n"
		"invariants: [no-duplicate-commit, no-lost-task]\n"),
	    NULL);

	ran_status(ran, 0);
	ran_has(ran, "fault first: felt: spooler (pid ");
	ran_has(ran, "fault second: felt: spooler (pid ");
	ran_has(ran, "6 tasks, 6 commits, 0 duplicates");
	world_quiet(world);
}

/* A moment that never comes is no fault that was felt, and its repetitions are none at all. */
static void test_a_moment_that_never_comes(void **state)
{
	struct world *world = *state;
	struct ran *ran =
	    tritone(world, "test", "--system", spool_manifest(world, SPOOL, "{done-file: \"${state}/out/${task}\"}"),
		world_write(world, "x.yaml",
		    "title: x\nworkload: {tasks: 3, tail: 0}\n"
		    "faults: [{plugin: process-stop, arguments: {process: nonesuch*}, when: {event: commit}, duration: "
		    "1s}]\n"),
		NULL);

	ran_status(ran, 4);
	ran_has(ran, "no process of the manifest whose name matches 'nonesuch*' runs at the moment");
	world_quiet(world);
}

/* ---- what is installed ---- */

static void test_install_once(void **state)
{
	struct world *world = *state;
	struct ran *ran;
	const char *file;
	char text[64];
	int i;

	world_write(world, "spooler.sh", "%s", spooler);
	world_write(world, "count", "%s", "");
	file = world_write(world, "installed.yaml",
	    "name: installed\n"
	    "install:\n"
	    "  inputs: [spooler.sh]\n"
	    "  commands:\n"
	    "    - [sh, -c, \"echo installing; echo once >>$0/count\", \"${manifest}\"]\n"
	    "    - [mv, spooler.sh, moved.sh]\n"
	    "processes:\n"
	    "  - name: spooler\n"
	    "    command: [sh, \"${install}/moved.sh\", \"${state}\"]\n"
	    "    ready: {output: started}\n"
	    "submit: " SPOOL "\n"
	    "commits: {file: \"${state}/ledger\", pattern: 'commit task=(?<task>\\S+)'}\n");
	for (i = 0; i < 2; i++) {
		ran = tritone(world, "system", "check", file, NULL);
		ran_status(ran, 0);
	}
	assert_int_equal(world_matches(world_path(world, "state/install/installed-*.whole"), NULL, 0), 1);
	/* Another content of an input is another installation. */
	world_write(world, "spooler.sh", "# changed\n%s", spooler);
	ran = tritone(world, "system", "check", file, NULL);
	ran_status(ran, 0);
	{
		FILE *count = fopen(world_path(world, "count"), "re");
		size_t n;

		assert_non_null(count);
		n = fread(text, 1, sizeof text - 1, count);
		fclose(count);
		text[n] = '\0';
	}
	assert_string_equal(text, "once\nonce\n");
	assert_int_equal(world_matches(world_path(world, "state/install/installed-*.whole"), NULL, 0), 2);
	world_quiet(world);
}

/* Two at the same time: one installs, the other waits for it and takes what is there. */
static void test_two_installs(void **state)
{
	struct world *world = *state;
	struct ran *first, *second;
	const char *file;
	char text[64];
	FILE *out;

	world_write(world, "spooler.sh", "%s", spooler);
	assert_int_equal(mkfifo(world_path(world, "go"), 0600), 0);
	file = world_write(world, "installed.yaml",
	    "name: installed\n"
	    "install:\n"
	    "  inputs: [spooler.sh]\n"
	    "  commands: [[sh, -c, \"echo once >>$0/count; read go <$0/go\", \"${manifest}\"]]\n"
	    "processes:\n"
	    "  - name: spooler\n"
	    "    command: [sh, \"${install}/spooler.sh\", \"${state}\"]\n"
	    "    ready: {output: started}\n"
	    "submit: " SPOOL "\n"
	    "commits: {file: \"${state}/ledger\", pattern: 'commit task=(?<task>\\S+)'}\n");
	first = tritone_start(world, "system", "check", file, NULL);
	world_file(world_path(world, "count"));
	second = tritone_start(world, "test", "--system", file,
	    world_write(
		world, "x.yaml", "title: x\nworkload: {tasks: 1, tail: 0}\ninvariants: [no-duplicate-commit]\n"),
	    NULL);
	ran_says(second, "waiting for another tritone that installs it");
	out = fopen(world_path(world, "go"), "we"); /* it is being read */
	assert_non_null(out);
	fputs("now\n", out);
	fclose(out);
	ran_status(first, 0);
	ran_status(second, 0);
	out = fopen(world_path(world, "count"), "re");
	assert_non_null(out);
	text[fread(text, 1, sizeof text - 1, out)] = '\0';
	fclose(out);
	assert_string_equal(text, "once\n");
	world_quiet(world);
	world_clean(world);
}

static void test_install_that_fails(void **state)
{
	struct world *world = *state;
	const char *file;
	struct ran *ran;
	int i;

	world_write(world, "input", "%s", "x");
	file = world_write(world, "broken.yaml",
	    "name: broken\n"
	    "install: {inputs: [input], commands: [[sh, -c, \"echo no compiler here; exit 3\"]]}\n"
	    "processes: [{name: p, command: [sleep, \"1000\"]}]\n"
	    "submit: {url: \"http://127.0.0.1:1/\", body: x}\n");
	for (i = 0; i < 2; i++) { /* it is tried again */
		ran = tritone(world, "system", "check", file, NULL);
		ran_status(ran, 3);
		ran_has(ran, "starts FAILED");
		ran_has(ran, "install: sh exited with 3; it said: no compiler here; see ");
	}
	ran = tritone(world, "system", "check",
	    world_write(world, "nowhere.yaml",
		"name: nowhere\n"
		"install: {inputs: [nonesuch], commands: [[\"true\"]]}\n"
		"processes: [{name: p, command: [sleep, \"1000\"]}]\n"
		"submit: {url: \"http://127.0.0.1:1/\", body: x}\n"),
	    NULL);
	ran_status(ran, 3);
	ran_has(ran, "nonesuch: No such file or directory");
	world_quiet(world);
}

/* ---- a ledger that is none ---- */

static void test_a_ledger_of_garbage(void **state)
{
	struct world *world = *state;
	struct ran *ran;
	const char *file;

	world_write(world, "spooler.sh", "%s", spooler);
	file = spool_manifest(world, SPOOL, "{done-file: \"${state}/out/${task}\"}");
	world_write(world, "spooler.sh", "%s",
	    "cd \"$1\"; mkdir in; echo started; while :; do rm -f in/*.json && "
	    "head -c 100 /dev/zero >>ledger; sleep 0.05; done\n");
	ran = tritone(world, "system", "check", "--limit", "5s", file, NULL);
	ran_status(ran, 1);
	ran_has(ran, "state/ledger: line 1 is no text: it has a byte 0");
	ran_has(ran, "  spooler: started\n");
	/* What had landed is gone. */
	world_write(world, "spooler.sh", "%s",
	    "cd \"$1\"; mkdir in; echo started; while :; do for f in in/*.json; do [ -e \"$f\" ] || continue; "
	    "t=${f#in/}; "
	    "echo \"commit task=${t%.json} attempt=1 id=x\" >ledger.new; mv ledger.new ledger; rm \"$f\"; done; sleep "
	    "0.05; done\n");
	ran = tritone(world, "system", "check", "--limit", "5s", file, NULL);
	ran_status(ran, 1);
	ran_has(ran, "state/ledger: what had landed is not in it any more");
	world_quiet(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_spool_file_and_done_files, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_commands, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_command_that_lists, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_command_that_is_slow, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_command_that_refuses, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_it_has_to_be_killed, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_it_is_gone_for_good, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_helpers_and_readiness, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_faults_on_events, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_held_calls, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_fault_waits_for_who_is_started_again, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_moment_that_never_comes, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_sink_as_ledger, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_install_once, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_two_installs, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_install_that_fails, world_create, world_destroy),
	    cmocka_unit_test_setup_teardown(test_a_ledger_of_garbage, world_create, world_destroy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
