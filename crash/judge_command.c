/* SPDX-License-Identifier: Apache-2.0 */
/* The judge of any program: a command that recovers, and one that looks at what was recovered. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/judge.h"
#include "crash/leftover.h"
#include "crash/record/record.h"

extern char **environ;

struct command_judge {
	const struct crash_commands *commands;
	char *recover, *check; /* as given to the shell */
	size_t listed;         /* lines that the file of acknowledgements has now, plus one */
	int output;            /* what the commands print, in memory */
};

/* The command gets further arguments. One that is simple needs no shell of its own beside it. */
static char *shell_line(const char *command)
{
	const char *head = strpbrk(command, ";|&<>()$`\n{}=") ? "" : "exec ";
	char *line;

	return asprintf(&line, "%s%s \"$@\"", head, command) < 0 ? NULL : line;
}

static void finish(void *context)
{
	struct command_judge *judge = context;

	if (judge->output >= 0)
		close(judge->output);
	free(judge->recover);
	free(judge->check);
	free(judge);
}

static int prepare(const void *config, const struct trace *trace, void **ret_context, struct error *err)
{
	struct command_judge *judge = calloc(1, sizeof *judge);

	(void)trace;
	if (!judge)
		return error_set(err, ENOMEM, "no memory for a judge");
	judge->commands = config;
	judge->output = -1;
	judge->check = shell_line(judge->commands->check);
	if (judge->commands->recover)
		judge->recover = shell_line(judge->commands->recover);
	if (!judge->check || (judge->commands->recover && !judge->recover)) {
		finish(judge);
		return error_set(err, ENOMEM, "no memory for a judge");
	}
	*ret_context = judge;
	return 0;
}

/* The lines, for the check: written anew only when they are others. */
static int list_acks(struct command_judge *judge, const struct crash_case *state, const char *path, struct error *err)
{
	if (judge->listed == state->acked + 1)
		return 0;
	if (trace_save_acks(state->trace, state->acked, path, err) < 0)
		return -1;
	judge->listed = state->acked + 1;
	return 0;
}

/* What waitpid says, or -1. The first line that it prints goes to `said`. */
static int run(struct command_judge *judge, char *line, char *dir, char *acks, char said[150], struct error *err)
{
	char shell[] = "sh", option[] = "-c", name[] = "tritone";
	char *argv[] = {shell, option, line, name, dir, acks, NULL};
	posix_spawn_file_actions_t actions;
	int rc, status = 0;
	ssize_t n;
	pid_t pid;

	if (judge->output < 0)
		judge->output = memfd_create("tritone-output", MFD_CLOEXEC); /* this process's own */
	if (judge->output < 0 || ftruncate(judge->output, 0) < 0 || lseek(judge->output, 0, SEEK_SET) < 0)
		return error_set(err, errno, "no memory for what a command prints: %s", strerror(errno));
	rc = posix_spawn_file_actions_init(&actions);
	if (rc)
		return error_set(err, rc, "%s: cannot be started: %s", line, strerror(rc));
	rc = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, judge->output, STDOUT_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&actions, judge->output, STDERR_FILENO);
	if (rc == 0)
		rc = posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc)
		return error_set(err, rc, "%s: cannot be started: %s", line, strerror(rc));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_set(err, errno, "%s: cannot be waited for: %s", line, strerror(errno));
	n = pread(judge->output, said, 149, 0);
	said[n > 0 ? n : 0] = '\0';
	said[strcspn(said, "\n")] = '\0';
	return status;
}

/* 128 + n is how a shell says that what it ran was ended by signal n. */
static int signal_of(int status)
{
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WEXITSTATUS(status) > 128 && WEXITSTATUS(status) <= 128 + SIGRTMAX ? WEXITSTATUS(status) - 128 : 0;
}

static void say(
    struct crash_verdict *verdict, enum crash_outcome outcome, const char *which, int status, const char *said)
{
	verdict->outcome = outcome;
	if (signal_of(status))
		snprintf(verdict->reason, sizeof verdict->reason, "the %s died of signal %d", which, signal_of(status));
	else
		snprintf(verdict->reason, sizeof verdict->reason, "the %s ended with status %d%s%s", which,
		    WEXITSTATUS(status), *said ? ": " : "", said);
}

/* The shell says so when it does not find what it is to run, or may not: that judges nothing. */
static int must_run(int status, const char *option, const char *command, const char *said, struct error *err)
{
	if (status < 0 || !WIFEXITED(status) || (WEXITSTATUS(status) != 126 && WEXITSTATUS(status) != 127))
		return status;
	return error_set(err, ENOENT, "%s '%.100s' cannot be run (status %d)%s%.100s", option, command,
	    WEXITSTATUS(status), *said ? ": " : "", said);
}

/* Both commands, once. */
static int run_both(
    struct command_judge *judge, char *dir, char *acks, struct crash_verdict *ret_verdict, struct error *err)
{
	static const enum crash_outcome by_status[] = {CRASH_RECOVERED, CRASH_LOST, CRASH_CORRUPT, CRASH_REFUSED};
	char said[150] = "";
	int status;

	if (judge->recover) {
		status = run(judge, judge->recover, dir, NULL, said, err);
		status = must_run(status, "--recover", judge->commands->recover, said, err);
		if (status < 0)
			return -1;
		if (status) {
			say(ret_verdict, signal_of(status) ? CRASH_FAILED : CRASH_REFUSED, "recovery", status, said);
			return 0;
		}
	}
	status = run(judge, judge->check, dir, acks, said, err);
	status = must_run(status, "--check", judge->commands->check, said, err);
	if (status < 0)
		return -1;
	*ret_verdict = (struct crash_verdict){0};
	if (status)
		say(ret_verdict,
		    WIFEXITED(status) && WEXITSTATUS(status) < 4 ? by_status[WEXITSTATUS(status)] : CRASH_FAILED,
		    "check", status, said);
	return 0;
}

/* What a recovery leaves running may be what the check asks; after that it would be beside the next state. */
static int recover_and_check(
    struct command_judge *judge, char *dir, char *acks, struct crash_verdict *ret_verdict, struct error *err)
{
	const int rc = run_both(judge, dir, acks, ret_verdict, err);

	leftover_end();
	return rc;
}

static int judge_state(
    void *context, const struct crash_case *state, struct crash_verdict *ret_verdict, struct error *err)
{
	struct command_judge *judge = context;
	char dir[PATH_MAX], acks[PATH_MAX + 8], reason[sizeof ret_verdict->reason];

	snprintf(dir, sizeof dir, "%s", state->dir);
	snprintf(acks, sizeof acks, "%s.acked", dir);
	if (list_acks(judge, state, acks, err) < 0 || recover_and_check(judge, dir, acks, ret_verdict, err) < 0)
		return -1;
	if (ret_verdict->outcome != CRASH_RECOVERED || !crash_case_again(state))
		return 0;
	if (recover_and_check(judge, dir, acks, ret_verdict, err) < 0)
		return -1;
	if (ret_verdict->outcome != CRASH_RECOVERED) {
		memcpy(reason, ret_verdict->reason, sizeof reason);
		ret_verdict->outcome = CRASH_FAILED;
		snprintf(ret_verdict->reason, sizeof ret_verdict->reason, "recovered a second time: %.170s", reason);
	}
	return 0;
}

/* Without a command that recovers, the check does, when it opens what is there. What either says is for the judge. */
static int record_recovery(void *context, const struct crash_case *state, const char *const *volatiles,
    struct trace **ret_trace, struct error *err)
{
	const struct record_options options = {.dir = state->dir, .volatiles = volatiles};
	char shell[] = "/bin/sh", option[] = "-c", name[] = "tritone", dir[PATH_MAX], acks[PATH_MAX + 8];
	struct command_judge *judge = context;
	char *argv[] = {shell, option, judge->recover ? judge->recover : judge->check, name, dir,
	    judge->recover ? NULL : acks, NULL};
	int rc, status;

	snprintf(dir, sizeof dir, "%s", state->dir);
	snprintf(acks, sizeof acks, "%s.acked", dir);
	judge->listed = 0; /* here and, after it, where the states of its crash are judged: other files */
	if (list_acks(judge, state, acks, err) < 0)
		return -1;
	judge->listed = 0;
	rc = record_command(&options, argv, ret_trace, &status, err);
	leftover_end();
	return rc < 0 ? error_context(err, "the recovery, to be crashed") : 0;
}

struct crash_judge crash_judge_commands(const struct crash_commands *commands)
{
	return (struct crash_judge){.name = "command",
	    .config = commands,
	    .prepare = prepare,
	    .finish = finish,
	    .record = record_recovery,
	    .judge = judge_state};
}
