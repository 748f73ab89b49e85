/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fault plugin that misbehaves on request, for the tests of the runner. Its one honest effect is a file,
 * STATE/evil-FAULT_ID, that revert removes. `when` names the hook that misbehaves, `how` in which way. Compiled again
 * with -DEVIL_... it has a broken descriptor instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tritone/fault.h"

enum { PARAM_WHEN, PARAM_HOW, PARAM_ONCE, PARAM_COUNT_, PARAM_RATIO, PARAM_GRACE, PARAM_TEXT };

#ifdef EVIL_NO_SYMBOL
int evil_no_symbol(void);
int evil_no_symbol(void)
{
	return 0;
}
#else

#ifdef EVIL_CRASH_ON_LOAD
__attribute__((constructor)) static void on_load(void)
{
	abort();
}
#endif

#ifdef EVIL_HANG_ON_LOAD
__attribute__((constructor)) static void on_load(void)
{
	for (;;)
		pause();
}
#endif

static int fail(struct tritone_error *error, int code, const char *text)
{
	error->code = code;
	snprintf(error->text, sizeof error->text, "%s", text);
	return -1;
}

static void path_of(char *ret, size_t size, const char *dir, const char *what, const struct tritone_call *call)
{
	snprintf(ret, size, "%s/%s-%s", dir, what, call->fault_id);
}

static int make_file(const char *path, struct tritone_error *error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return fail(error, errno, strerror(errno));
	close(fd);
	return 0;
}

/* With `once`, only the first process that comes here misbehaves. */
static int is_first(const struct tritone_call *call)
{
	char path[4096];
	int fd;

	path_of(path, sizeof path, call->keep_dir, "once", call);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void write_number(const struct tritone_call *call, const char *name, long number)
{
	char text[32];

	snprintf(text, sizeof text, "%ld", number);
	call->services->evidence(call->host, name, text);
}

static int reach_out(const struct tritone_call *call, const char *how, struct tritone_error *error)
{
	char path[4096];
	int fd;

	if (!strcmp(how, "inet")) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0)
			return fail(error, errno, "no AF_INET");
		close(fd);
		return 0;
	}
	snprintf(path, sizeof path, "%s/../outside", call->state_dir);
	return make_file(path, error);
}

static int see_target(void *arg, const struct tritone_target *target)
{
	const struct tritone_call *call = arg;

	call->services->evidence(call->host, "target", target->id);
	return 0;
}

/* Uses each service that there is once; what is refused becomes evidence. */
static int use_services(const struct tritone_call *call, struct tritone_error *error)
{
	const struct tritone_services *s = call->services;
	const struct tritone_gateway_rule rule = {.struct_size = sizeof rule,
	    .action = TRITONE_GATEWAY_ANSWER,
	    .key = call->fault_id,
	    .target = "*",
	    .status = 429,
	    .retry_after_ms = -1};
	const struct tritone_errno_rule refused = {.struct_size = sizeof refused,
	    .mode = TRITONE_ERRNO_REFUSE,
	    .key = "errno",
	    .path = call->state_dir,
	    .calls = TRITONE_CALL_WRITE,
	    .error = ENOSPC};
	const struct tritone_point_rule point = {
	    .struct_size = sizeof point, .action = TRITONE_POINT_COUNT, .key = "point", .name = "p"};
	uint64_t hits = 0, seen = 0;

	if (s->targets(call->host, TRITONE_TARGET_AGENT, see_target, (void *)(uintptr_t)call, error) < 0 ||
	    s->gateway_rule(call->host, &rule, error) < 0 ||
	    s->rule_hits(call->host, call->fault_id, &hits, &seen, error) < 0 ||
	    s->rule_hits(call->host, call->fault_id, NULL, NULL, error) < 0)
		return -1;
	write_number(call, "hits", (long)hits);
	write_number(call, "seen", (long)seen);
	if (s->errno_rule(call->host, &refused, error) < 0)
		s->evidence(call->host, "errno", error->text);
	if (s->faultpoint(call->host, &point, error) < 0)
		s->evidence(call->host, "point", error->text);
	return 0;
}

/* Leaves a process behind that holds every descriptor open. */
static void leave_child(const struct tritone_call *call)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	write_number(call, "child", (long)pid);
}

static int hang(void) __attribute__((noreturn));
static int hang(void)
{
	for (;;)
		pause();
}

/* Frames of the runner's own protocol, without an end: as many as the host takes in. */
static int babble(void) __attribute__((noreturn));
static int babble(void)
{
	static const char frame[] = "\0\0\0\x1b\x83\xa5level\x10\xa4text\xa6"
				    "babble"
				    "\xa2is\xa3log";
	char many[64 * (sizeof frame - 1)];
	size_t i;

	for (i = 0; i < sizeof many; i++)
		many[i] = frame[i % (sizeof frame - 1)];
	for (;;)
		if (write(3, many, sizeof many) != (ssize_t)sizeof many)
			_exit(4);
}

static int wait_for_cancel(const struct tritone_call *call, struct tritone_error *error)
{
	while (!call->services->cancelled(call->host))
		poll(NULL, 0, 1);
	return fail(error, ECANCELED, "cancelled");
}

static int misbehave(const struct tritone_call *call, const char *hook, struct tritone_error *error)
{
	const char *how = call->values[PARAM_HOW].string;
	int i;

	if (strcmp(call->values[PARAM_WHEN].string, hook) != 0)
		return 0;
	if (call->values[PARAM_ONCE].integer && !is_first(call))
		return 0;
	call->services->evidence(call->host, "misbehaving", hook);
	if (!strcmp(how, "crash"))
		abort();
	if (!strcmp(how, "exit"))
		_exit(3);
	if (!strcmp(how, "hang"))
		return hang();
	if (!strcmp(how, "wait"))
		return wait_for_cancel(call, error);
	if (!strcmp(how, "refuse"))
		return fail(error, ENOTSUP, "not on a Sunday");
	if (!strcmp(how, "mute"))
		return -1;
	if (!strcmp(how, "garbage"))
		return write(3, "\0\0\0\4????", 8) == 8 ? hang() : -1;
	if (!strcmp(how, "close"))
		return close(3) == 0 ? hang() : -1;
	if (!strcmp(how, "child"))
		leave_child(call);
	if (!strcmp(how, "services"))
		return use_services(call, error);
	if (!strcmp(how, "outside") || !strcmp(how, "inet"))
		return reach_out(call, how, error);
	if (!strcmp(how, "chatter"))
		for (i = 0; i < 20000; i++)
			call->services->log(call->host, TRITONE_LOG_DEBUG, "the same again, and again, and again");
	if (!strcmp(how, "babble"))
		return babble();
	return 0;
}

static int check(const struct tritone_call *call, struct tritone_error *error)
{
	struct sigaction now;
	int is_ignored = sigaction(SIGTERM, NULL, &now) == 0 && now.sa_handler == SIG_IGN;

	call->services->evidence(call->host, "text", call->values[PARAM_TEXT].string);
	write_number(call, "count", (long)call->values[PARAM_COUNT_].integer);
	write_number(call, "grace", (long)call->values[PARAM_GRACE].integer);
	write_number(call, "percent", (long)(call->values[PARAM_RATIO].number * 100));
	write_number(call, "random", (long)call->services->random(call->host, 1000000));
	write_number(call, "random-none", (long)call->services->random(call->host, 0));
	write_number(call, "term-ignored", is_ignored);
	call->services->log(call->host, TRITONE_LOG_INFO, "checked");
	return misbehave(call, "check", error);
}

static int plan(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error)
{
	if (!strcmp(call->values[PARAM_WHEN].string, "plan") && !strcmp(call->values[PARAM_HOW].string, "big-undo")) {
		undo->size = TRITONE_UNDO_SIZE_MAX + 1;
		return 0;
	}
	undo->size = 5;
	memcpy(undo->bytes, "evil1", 5);
	return misbehave(call, "plan", error);
}

static int check_undo(const struct tritone_undo *undo, struct tritone_error *error)
{
	if (undo->size != 5 || memcmp(undo->bytes, "evil1", 5) != 0)
		return fail(error, EILSEQ, "that is not my undo record");
	return 0;
}

static int lies(const struct tritone_call *call)
{
	return !strcmp(call->values[PARAM_HOW].string, "lie");
}

static int inject(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char path[4096];

	if (check_undo(undo, error) < 0)
		return -1;
	path_of(path, sizeof path, call->state_dir, "evil", call);
	if (!lies(call) && make_file(path, error) < 0)
		return -1;
	return misbehave(call, "inject", error);
}

static int is_older(const char *path, int64_t ms)
{
	struct timespec now;
	struct stat st;

	clock_gettime(CLOCK_REALTIME, &now);
	return stat(path, &st) == 0 &&
	       (now.tv_sec - st.st_mtim.tv_sec) * 1000 + (now.tv_nsec - st.st_mtim.tv_nsec) / 1000000 >= ms;
}

static int verify(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
    struct tritone_error *error)
{
	char path[sizeof proof->text];

	if (check_undo(undo, error) < 0)
		return -1;
	path_of(path, sizeof path, call->state_dir, "evil", call);
	proof->felt = access(path, F_OK) == 0 ? TRITONE_FELT : TRITONE_NOT_YET;
	if (!strcmp(call->values[PARAM_WHEN].string, "verify") && !strcmp(call->values[PARAM_HOW].string, "nonsense"))
		proof->felt = 0x77;
	if (!strcmp(call->values[PARAM_HOW].string, "late") && !is_older(path, call->values[PARAM_GRACE].integer))
		proof->felt = TRITONE_NOT_YET;
	snprintf(proof->text, sizeof proof->text, "%s", path);
	return misbehave(call, "verify", error);
}

__attribute__((unused)) static int revert(
    const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error)
{
	char path[4096];

	if (check_undo(undo, error) < 0 || misbehave(call, "revert", error) < 0)
		return -1;
	path_of(path, sizeof path, call->state_dir, "evil", call);
	if (unlink(path) < 0 && errno != ENOENT)
		return fail(error, errno, strerror(errno));
	call->services->evidence(call->host, "reverted", path);
	return call->services->rule_clear(call->host, call->fault_id, error);
}

static const struct tritone_param params[] = {
    [PARAM_WHEN] = {.name = "when",
	.type = TRITONE_PARAM_CHOICE,
	.fallback = "never",
	.choices = "never|check|plan|inject|verify|revert",
	.help = "the hook that misbehaves"},
    [PARAM_HOW] = {.name = "how", .type = TRITONE_PARAM_STRING, .fallback = "crash", .help = "in which way"},
    [PARAM_ONCE] = {.name = "once", .type = TRITONE_PARAM_BOOL, .help = "only the first time"},
    [PARAM_COUNT_] = {.name = "count",
	.type = TRITONE_PARAM_INT,
	.fallback = "3",
	.min = 1,
	.max = 9,
	.unit = "pieces",
	.help = "a number"},
    [PARAM_RATIO] = {.name = "ratio", .type = TRITONE_PARAM_DOUBLE, .fallback = "0.5", .max = 1, .help = "a share"},
    [PARAM_GRACE] =
	{.name = "grace", .type = TRITONE_PARAM_DURATION, .fallback = "250ms", .max = 60000, .help = "a time"},
    [PARAM_TEXT] = {.name = "text", .type = TRITONE_PARAM_STRING, .help = "any text"},
#ifdef EVIL_BAD_DEFAULT
    {.name = "broken", .type = TRITONE_PARAM_INT, .fallback = "many", .help = "a default of another type"},
#endif
};

#ifndef EVIL_BLAST
#define EVIL_BLAST TRITONE_BLAST_PROCESS
#endif
#ifndef EVIL_CAPABILITIES
#define EVIL_CAPABILITIES TRITONE_CAP_FILES
#endif

static const struct tritone_fault fault = {
#if defined EVIL_ABI
    .magic = TRITONE_FAULT_MAGIC,
    .abi = 2,
    .struct_size = sizeof(struct tritone_fault),
#elif defined EVIL_MAGIC
    .magic = 0xdeadbeef,
    .abi = TRITONE_FAULT_ABI,
    .struct_size = sizeof(struct tritone_fault),
#elif defined EVIL_SHORT
    .magic = TRITONE_FAULT_MAGIC,
    .abi = TRITONE_FAULT_ABI,
    .struct_size = offsetof(struct tritone_fault, revert),
#elif defined EVIL_LONG /* as if compiled with a later header, whose struct has grown at the end */
    .magic = TRITONE_FAULT_MAGIC,
    .abi = TRITONE_FAULT_ABI,
    .struct_size = sizeof(struct tritone_fault) + 64,
#else
    TRITONE_FAULT_HEAD,
#endif
    .blast = EVIL_BLAST,
    .capabilities = EVIL_CAPABILITIES,
#ifdef EVIL_HUGE_TABLE
    .param_count = 100000,
#else
    .param_count = sizeof params / sizeof *params,
#endif
#ifdef EVIL_NAME
    .name = "Evil Twin",
#else
    .name = "evil",
#endif
    .version = "1.0",
    .summary = "misbehaves on request",
    .params = params,
    .check = check,
    .plan = plan,
    .inject = inject,
    .verify = verify,
#ifndef EVIL_NO_HOOK
    .revert = revert,
#endif
};

#ifdef EVIL_NULL
TRITONE_FAULT(*(const struct tritone_fault *)NULL)
#else
TRITONE_FAULT(fault)
#endif
#endif
