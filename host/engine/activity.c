/* SPDX-License-Identifier: Apache-2.0 */
/* Probes and actions of an experiment file, as in the Chaos Toolkit: an HTTP request or a process, and a tolerance for what comes back. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pcre2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/run.h"

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

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Reads until end of file, the deadline or an interrupt; true when the end came in time. */
static bool drain(int fd, int64_t deadline, int interrupt_at, struct output *out)
{
	char chunk[4096];

	for (;;) {
		struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = interrupt_at, .events = POLLIN}};
		int64_t left = deadline - now_ms();
		ssize_t n;

		if (left <= 0 || poll(p, 2, (int)left) == 0 || p[1].revents)
			return false;
		n = read(fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return true;
		take(chunk, 1, (size_t)n, out);
	}
}

static int do_process(char *const *argv, int64_t timeout_ms, const struct interrupt *interrupt, struct output *out,
    int64_t *ret_status, struct error *err)
{
	int64_t deadline = now_ms() + timeout_ms;
	int fds[2], status;
	bool ended;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return error_set(err, errno, "a pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0) {
		close(fds[0]);
		close(fds[1]);
		return error_set(err, errno, "fork: %s", strerror(errno));
	}
	if (pid == 0) {
		sigset_t none;

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* it may not outlive the harness */
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setpgid(0, 0);
		if (dup2(fds[1], STDOUT_FILENO) < 0)
			_exit(127);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(fds[1]);
	ended = drain(fds[0], deadline, interrupt_fd(interrupt), out);
	close(fds[0]);
	if (!ended)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!ended && interrupt_signal(interrupt))
		return error_set(err, ECANCELED, "%s was interrupted", argv[0]);
	if (!ended)
		return error_set(err, ETIMEDOUT, "%s did not end within %lld ms", argv[0], (long long)timeout_ms);
	*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return 0;
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
	error_set(err, ERANGE, "%s: expected %lld to %lld, found %lld", a->name, (long long)a->tolerance_low,
	    (long long)a->tolerance_high, (long long)status);
	return 1;
}

const char *run_lookup(void *arg, const char *name)
{
	struct run *run = arg;
	const struct spec_pairs *all[] = {&run->x->configuration, &run->x->secrets};
	size_t i, k;

	for (k = 0; k < sizeof all / sizeof *all; k++)
		for (i = 0; i < all[k]->count; i++)
			if (!strcmp(all[k]->items[i].name, name))
				return all[k]->items[i].value;
	return system_lookup(run->system, name);
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
		r = argv ? 0 : error_set(err, ENOMEM, "no memory");
		for (i = 0; r == 0 && i < a->command.count; i++)
			r = spec_expand(&argv[i], a->command.items[i], run_lookup, run, err);
		if (r == 0)
			r = do_process(argv, timeout_ms, interrupt, out, &status, err);
		for (i = 0; argv && i < a->command.count; i++)
			free(argv[i]);
		free(argv);
	}
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
