/* SPDX-License-Identifier: Apache-2.0 */
/* Probes and actions of an experiment file, as in the Chaos Toolkit: an HTTP request or a process, and a tolerance for what comes back. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pcre2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "engine/run.h"
#include "system/commands.h"

#define OUTPUT_MAX 65536

struct output {
	char text[OUTPUT_MAX];
	size_t used;
};

static size_t take(char *bytes, size_t size, size_t count, void *arg)
{
	struct output *out = arg;
	size_t room = sizeof out->text - 1 - out->used, n = size * count;

	if (n < room)
		room = n;
	memcpy(out->text + out->used, bytes, room);
	out->used += room;
	out->text[out->used] = '\0';
	return n; /* what is over the limit is read and dropped */
}

static int is_interrupted(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	(void)a, (void)b, (void)c, (void)d;
	return interrupt_signal(arg) != 0;
}

static int do_http(const char *url, const struct spec_activity *a, int64_t timeout_ms,
    const struct interrupt *interrupt, struct output *out, int64_t *ret_status, struct error *err)
{
	CURL *curl = curl_easy_init();
	CURLcode code;
	long status = 0;

	if (!curl)
		return error_set(err, ENOMEM, "no memory for an HTTP request");
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, a->method ? a->method : "GET");
	if (a->method && !strcasecmp(a->method, "HEAD"))
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L); /* else it waits for what the answer only announces */
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, is_interrupted);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, interrupt);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	if (code != CURLE_OK)
		return error_set(err, EHOSTUNREACH, "%s: %s", url, curl_easy_strerror(code));
	*ret_status = status;
	return 0;
}

/* Waits for one of the two, and no longer than the deadline or an interrupt: false then. */
static bool wait_for(int fd, int64_t deadline, int interrupt_at)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = interrupt_at, .events = POLLIN}};
		int64_t left = deadline - clock_ms();
		int r = poll(p, 2, left < 0 ? 0 : left < INT_MAX ? (int)left : INT_MAX);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0 || p[1].revents)
			return false;
		return true;
	}
}

/* Reads until end of file, the deadline or an interrupt; true when the end came in time. */
static bool drain(int fd, int64_t deadline, int interrupt_at, struct output *out)
{
	char chunk[4096];

	while (wait_for(fd, deadline, interrupt_at)) {
		ssize_t n = read(fd, chunk, sizeof chunk);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return true;
		take(chunk, 1, (size_t)n, out);
	}
	return false;
}

/* Between fork and exec of a host with threads: async-signal-safe calls only. (execvp is glibc's, which allocates nothing.) */
static void become(char *const *argv, int null, int out, pid_t host) __attribute__((noreturn));
static void become(char *const *argv, int null, int out, pid_t host)
{
	const struct sigaction normal = {.sa_handler = SIG_DFL};
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* it may not outlive the harness */
	setpgid(0, 0);
	sigaction(SIGPIPE, &normal, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (getppid() != host || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(127);
	execvp(argv[0], argv);
	_exit(127);
}

/* Its output to the end and then its own end, both within the time: who closes its output may still hang. */
static int await_end(pid_t pid, const char *name, int out_fd, int64_t timeout_ms, const struct interrupt *interrupt,
    struct output *out, int64_t *ret_status, struct error *err)
{
	int64_t deadline = clock_ms() + timeout_ms;
	int pidfd = pidfd_open(pid, 0), cause = pidfd < 0 ? errno : 0, status;
	bool ended = pidfd >= 0 && drain(out_fd, deadline, interrupt_fd(interrupt), out) &&
		     wait_for(pidfd, deadline, interrupt_fd(interrupt));

	if (pidfd >= 0)
		close(pidfd);
	kill(-pid,
	    SIGKILL); /* what it has left behind, too: it is not waited for yet, so that the group is still its own */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (cause)
		return error_set(err, cause, "%s could not be watched: %s", name, strerror(cause));
	if (!ended && interrupt_signal(interrupt))
		return error_set(err, ECANCELED, "%s was interrupted", name);
	if (!ended)
		return error_set(err, ETIMEDOUT, "%s did not end within %lld ms", name, (long long)timeout_ms);
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return 0;
}

static int do_process(char *const *argv, int64_t timeout_ms, const struct interrupt *interrupt, struct output *out,
    int64_t *ret_status, struct error *err)
{
	int null, fds[2] = {-1, -1}, r;
	pid_t pid, host = getpid();

	if (!argv[0])
		return error_set(err, EINVAL, "there is no program to run");
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || pipe2(fds, O_CLOEXEC)) {
		r = error_set(err, errno, "descriptors for %s: %s", argv[0], strerror(errno));
		goto out;
	}
	pid = fork();
	if (pid == 0)
		become(argv, null, fds[1], host);
	if (pid < 0) {
		r = error_set(err, errno, "fork: %s", strerror(errno));
		goto out;
	}
	setpgid(pid, pid); /* by both, so that it is done whoever is first */
	close(fds[1]);
	fds[1] = -1;
	r = await_end(pid, argv[0], fds[0], timeout_ms, interrupt, out, ret_status, err);
out:
	if (fds[0] >= 0)
		close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
	if (null >= 0)
		close(null);
	return r;
}

static int judge_regex(const struct spec_activity *a, const struct output *out, struct error *err)
{
	pcre2_match_data *data;
	pcre2_code *code;
	PCRE2_SIZE where;
	int number, r;

	code = pcre2_compile((PCRE2_SPTR)a->tolerance_regex, PCRE2_ZERO_TERMINATED, 0, &number, &where, NULL);
	if (!code)
		return error_set(
		    err, EINVAL, "the pattern '%s' is not valid at character %zu", a->tolerance_regex, (size_t)where);
	data = pcre2_match_data_create_from_pattern(code, NULL);
	r = data ? pcre2_match(code, (PCRE2_SPTR)out->text, out->used, 0, 0, data, NULL) : PCRE2_ERROR_NOMEMORY;
	pcre2_match_data_free(data);
	pcre2_code_free(code);
	if (r > 0)
		return 0;
	error_set(err, ERANGE, "%s: the output does not match '%s': %.80s", a->name, a->tolerance_regex, out->text);
	return 1;
}

static int judge(const struct spec_activity *a, int64_t status, const struct output *out, struct error *err)
{
	if (!a->has_tolerance)
		return 0;
	if (a->tolerance_regex)
		return judge_regex(a, out, err);
	if (status >= a->tolerance_low && status <= a->tolerance_high)
		return 0;
	if (a->tolerance_low == a->tolerance_high)
		error_set(err, ERANGE, "%s: expected %lld, found %lld", a->name, (long long)a->tolerance_low,
		    (long long)status);
	else
		error_set(err, ERANGE, "%s: expected %lld to %lld, found %lld", a->name, (long long)a->tolerance_low,
		    (long long)a->tolerance_high, (long long)status);
	return 1;
}

const char *run_lookup(void *arg, const char *name)
{
	struct run *run = arg;
	const struct spec_pairs *all[2] = {&run->x->configuration, &run->x->secrets};
	size_t i, k;

	for (k = 0; k < 2; k++)
		for (i = 0; i < all[k]->count; i++)
			if (!strcmp(all[k]->items[i].name, name))
				return all[k]->items[i].value;
	if (!strcmp(name, "provider") && run->manifest && run->manifest->gateway.providers.count)
		return run->manifest->gateway.providers.items[0];
	return run->system ? system_lookup(run->system, name) : NULL;
}

const char *run_lookup_early(void *arg, const char *name)
{
	struct run_early *early = arg;
	const char *value = run_lookup(early->run, name);

	if (value || !system_variable(name))
		return value;
	early->later = true;
	return "";
}

static int check_program(struct run *run, const struct spec_activity *a, struct error *err)
{
	struct run_early early = {run, false};
	char *name, path[PATH_MAX];
	int r;

	if (spec_expand(&name, a->command.items[0], run_lookup_early, &early, err))
		return -1;
	r = early.later ? 0 : command_find(name, path, sizeof path, err);
	free(name);
	return r;
}

int activities_check(struct run *run, const struct spec_activities *activities, struct error *err)
{
	size_t i;

	for (i = 0; i < activities->count; i++) {
		const struct spec_activity *a = &activities->items[i];

		if (a->type == SPEC_PROVIDER_PROCESS && check_program(run, a, err))
			return error_context(err, "%s:%u:%u: %s", run->x->file, a->line, a->column, a->name);
	}
	return 0;
}

int activity_run(struct run *run, const struct spec_activity *a, bool must_finish, struct error *err)
{
	const struct interrupt *interrupt = must_finish ? NULL : run->options->interrupt;
	int64_t status = 0, timeout_ms = a->timeout_ms > 0 ? a->timeout_ms : 5000;
	struct output *out = calloc(1, sizeof *out);
	char **argv = NULL, *url = NULL;
	int r = -1;
	size_t i;

	if (!out)
		return error_set(err, ENOMEM, "no memory");
	if (a->type == SPEC_PROVIDER_HTTP) {
		if (spec_expand(&url, a->url, run_lookup, run, err) == 0)
			r = do_http(url, a, timeout_ms, interrupt, out, &status, err);
	} else {
		argv = calloc(a->command.count + 1, sizeof *argv);
		if (!argv) {
			error_set(err, ENOMEM, "no memory");
			goto out;
		}
		r = 0;
		for (i = 0; r == 0 && i < a->command.count; i++)
			r = spec_expand(&argv[i], a->command.items[i], run_lookup, run, err);
		if (r == 0)
			r = do_process(argv, timeout_ms, interrupt, out, &status, err);
		for (i = 0; i < a->command.count; i++)
			free(argv[i]);
		free(argv);
	}
out:
	free(url);
	if (r == 0)
		r = judge(a, status, out, err);
	else
		error_context(err, "%s", a->name);
	free(out);
	return r;
}

int activities_run(struct run *run, const struct spec_activities *activities, bool must_finish, struct error *err)
{
	size_t i;

	for (i = 0; i < activities->count; i++) {
		const struct spec_activity *a = &activities->items[i];
		int r;

		if (a->pause_before_ms > 0 && run_pause(run, a->pause_before_ms, must_finish) < 0)
			return error_set(err, EINTR, "interrupted");
		r = activity_run(run, a, must_finish, err);
		history_append(run->history, &(struct op){.kind = OP_PROBE,
						 .type = r ? OP_FAIL : OP_OK,
						 .pair = OP_NONE,
						 .actor = a->name,
						 .detail = r ? err->text : ""});
		if (r)
			return -1;
		if (a->pause_after_ms > 0 && run_pause(run, a->pause_after_ms, must_finish) < 0)
			return error_set(err, EINTR, "interrupted");
	}
	return 0;
}
