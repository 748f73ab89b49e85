/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone gateway` as a person runs it: the URL, a fault through the control socket, the lines, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/service.h"

extern char **environ;

struct world {
	char dir[64], socket[100], url[128];
	FILE *out; /* its standard output */
	pid_t pid; /* 0: has ended */
};

/* The program lies above the directory of the tests. */
static void program(char *path, size_t size)
{
	char self[3800];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	assert_true(n > 0);
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	snprintf(path, size, "%s/../tritone", self);
}

static pid_t spawn(char **argv, int *ret_out)
{
	posix_spawn_file_actions_t actions;
	char path[4096];
	int out[2];
	pid_t pid;

	program(path, sizeof path);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	assert_int_equal(posix_spawn(&pid, path, &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	*ret_out = out[0];
	return pid;
}

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	char *argv[] = {(char[]){"tritone"}, (char[]){"gateway"}, (char[]){"--providers"}, (char[]){"claude,codex"},
	    (char[]){"--control"}, NULL, (char[]){"--seed"}, (char[]){"3"}, NULL};
	int out;

	assert_non_null(world);
	strcpy(world->dir, "/tmp/tritone-verb-XXXXXX");
	assert_non_null(mkdtemp(world->dir));
	snprintf(world->socket, sizeof world->socket, "%s/control.sock", world->dir);
	argv[5] = world->socket;
	world->pid = spawn(argv, &out);
	world->out = fdopen(out, "r");
	assert_non_null(fgets(world->url, sizeof world->url, world->out));
	*strchrnul(world->url, '\n') = '\0';
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;

	if (world->pid) {
		kill(world->pid, SIGKILL);
		waitpid(world->pid, NULL, 0);
	}
	fclose(world->out);
	unlink(world->socket);
	rmdir(world->dir);
	free(world);
	return 0;
}

static size_t swallow(char *bytes, size_t one, size_t count, void *arg)
{
	(void)bytes;
	(void)arg;
	return one * count;
}

static long post(struct world *world)
{
	CURL *curl = curl_easy_init();
	char url[256];
	long status = 0;

	snprintf(url, sizeof url, "%s/claude/v1/chat/completions", world->url);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "{\"model\":\"opus\",\"messages\":[{}]}");
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, swallow);
	assert_int_equal(curl_easy_perform(curl), CURLE_OK);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	return status;
}

/* The next line of the log. */
static json_t *line_of(struct world *world)
{
	char line[4096];
	json_t *object;

	assert_non_null(fgets(line, sizeof line, world->out));
	object = json_loads(line, 0, NULL);
	assert_non_null(object);
	return object;
}

static int count_target(void *arg, const struct tritone_target *target)
{
	(void)target;
	++*(int *)arg;
	return 0;
}

static void test_run(void **state)
{
	struct world *world = *state;
	struct service_client *client = NULL;
	struct tritone_gateway_rule rule = {.struct_size = sizeof rule,
	    .action = TRITONE_GATEWAY_ANSWER,
	    .key = "k",
	    .target = "*",
	    .status = 429,
	    .retry_after_ms = 500,
	    .count = 1};
	struct tritone_errno_rule error = {.struct_size = sizeof error, .key = "e", .path = "/x"};
	struct error err = {0};
	uint64_t hits = 0;
	int count = 0, status = -1;
	json_t *line;

	assert_int_equal(service_connect(&client, world->socket, &err), 0);
	assert_int_equal(service_targets(client, TRITONE_TARGET_PROVIDER, count_target, &count, NULL), 0);
	assert_int_equal(count, 2);
	assert_int_equal(service_gateway_rule(client, &rule, &err), 0);
	assert_int_equal(post(world), 429);
	assert_int_equal(service_rule_hits(client, "k", &hits, NULL, NULL), 0);
	assert_int_equal(hits, 1);
	assert_int_equal(service_errno_rule(client, &error, &err), -1);
	assert_int_equal(err.code, ENOTSUP);

	line = line_of(world);
	assert_string_equal(json_string_value(json_object_get(line, "type")), "invoke");
	json_decref(line);
	line = line_of(world);
	assert_string_equal(json_string_value(json_object_get(line, "type")), "fail");
	assert_int_equal(json_integer_value(json_object_get(line, "status")), 429);
	assert_true(json_real_value(json_object_get(line, "retry_after_s")) == 0.5);
	json_decref(line);

	rule.count = 0;
	assert_int_equal(service_gateway_rule(client, &rule, &err), 0);
	kill(world->pid, SIGTERM);
	assert_int_equal(waitpid(world->pid, &status, 0), world->pid);
	world->pid = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(access(world->socket, F_OK), -1);
	assert_int_equal(fgetc(world->out), EOF);
	service_close(client);
}

/* Whoever reads the lines has stopped reading: it still answers, and it still ends when it is told to. */
static void test_nobody_reads(void **state)
{
	struct world *world = *state;
	int room = fcntl(fileno(world->out), F_GETPIPE_SZ), i, status = -1;

	for (i = 0; i < room / 100; i++) /* two lines each, of more than a hundred bytes */
		assert_int_equal(post(world), 200);
	kill(world->pid, SIGTERM);
	assert_int_equal(waitpid(world->pid, &status, 0), world->pid);
	world->pid = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(access(world->socket, F_OK), -1);
}

/* ---- a real upstream: three processes, one after the other killed ---- */

struct started {
	pid_t pid;
	FILE *out;
	char url[128];
};

static struct started start(const char *const *options)
{
	char text[8][160], *argv[11] = {(char[]){"tritone"}, (char[]){"gateway"}};
	struct started started;
	size_t i;
	int out;

	for (i = 0; options[i]; i++) {
		assert_true(i < 8);
		snprintf(text[i], sizeof text[i], "%s", options[i]);
		argv[i + 2] = text[i];
	}
	argv[i + 2] = NULL;
	started.pid = spawn(argv, &out);
	started.out = fdopen(out, "r");
	assert_non_null(fgets(started.url, sizeof started.url, started.out));
	*strchrnul(started.url, '\n') = '\0';
	return started;
}

static int stop(struct started *started, int signal)
{
	int status = -1;

	kill(started->pid, signal);
	assert_int_equal(waitpid(started->pid, &status, 0), started->pid);
	fclose(started->out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct answer {
	long status;
	char text[4096];
	size_t size;
};

static size_t keep(char *bytes, size_t one, size_t count, void *arg)
{
	struct answer *answer = arg;

	if (answer->size + one * count >= sizeof answer->text)
		return 0;
	memcpy(answer->text + answer->size, bytes, one * count);
	answer->size += one * count;
	return one * count;
}

static struct answer ask(const struct started *started, const char *body)
{
	struct answer answer = {0};
	struct curl_slist *key = curl_slist_append(NULL, "Authorization: Bearer client-secret-1");
	CURL *curl = curl_easy_init();
	char url[256];

	snprintf(url, sizeof url, "%s/claude/v1/chat/completions", started->url);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, key);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
	assert_int_equal(curl_easy_perform(curl), CURLE_OK);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
	curl_easy_cleanup(curl);
	curl_slist_free_all(key);
	return answer;
}

#define AT_ONCE 128 /* so many events libmicrohttpd asks for at a time */

static int connect_to(const struct world *world)
{
	const struct timeval patience = {.tv_sec = 30}; /* only so that a hang is reported as one */
	struct sockaddr_in address = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)atoi(strrchr(world->url, ':') + 1)),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void send_request(int fd)
{
	static const char request[] = "GET /claude/v1/models HTTP/1.1\r\nHost: x\r\n\r\n";

	assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
}

/* The status of one whole answer; 0: none came. */
static int hear_status(int fd)
{
	char answer[8192], *body, *length;
	size_t used = 0;
	int status = 0;

	for (;;) {
		ssize_t n = recv(fd, answer + used, sizeof answer - 1 - used, 0);

		if (n <= 0)
			return 0;
		answer[used += (size_t)n] = '\0';
		body = strstr(answer, "\r\n\r\n");
		length = strcasestr(answer, "content-length: ");
		if (body && length && used >= (size_t)(body + 4 - answer) + strtoul(length + 16, NULL, 10))
			break;
	}
	assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
	return status;
}

/* All of them have asked when it looks, as many as it can be told of at once; and nobody else ever comes to wake it. */
static void test_all_ask_at_once(void **state)
{
	struct world *world = *state;
	int fds[AT_ONCE], i, how;

	for (i = 0; i < AT_ONCE; i++) {
		fds[i] = connect_to(world);
		send_request(fds[i]);
		assert_int_equal(hear_status(fds[i]), 200);
	}
	assert_int_equal(kill(world->pid, SIGSTOP), 0);
	assert_int_equal(waitpid(world->pid, &how, WUNTRACED), world->pid);
	assert_true(WIFSTOPPED(how));
	for (i = 0; i < AT_ONCE; i++)
		send_request(fds[i]);
	assert_int_equal(kill(world->pid, SIGCONT), 0);
	for (i = 0; i < AT_ONCE; i++) {
		if (hear_status(fds[i]) != 200)
			fail_msg("no answer to the call %d of %d", i + 1, AT_ONCE);
		close(fds[i]);
	}
}

/* It has no descriptor for one more client, until one of the others leaves. */
static void test_a_place_becomes_free(void **state)
{
	struct world *world = *state;
	const struct rlimit few = {.rlim_cur = 40, .rlim_max = 40};
	int fds[60], i, served = 0;

	assert_int_equal(prlimit(world->pid, RLIMIT_NOFILE, &few, NULL), 0);
	for (i = 0; i < 60; i++) {
		fds[i] = connect_to(world);
		send_request(fds[i]);
	}
	while (served < 60 && hear_status(fds[served]) == 200) /* each that leaves makes room for another */
		close(fds[served++]);
	assert_int_equal(served, 60);
}

/* What a client has had whole is in the recording, though the gateway was killed the next moment. */
static void test_record_and_replay(void **state)
{
	static const char body[] = "{\"model\":\"opus\",\"messages\":[{}]}",
			  other[] = "{\"messages\":[{}],\"model\":\"x\"}";
	struct world *world = *state;
	char upstream[160], file[100], line[4096];
	const char *with[] = {"--upstream", upstream, "--key-from", "claude=TRITONE_TEST_KEY", "--record", file, NULL};
	const char *from[] = {"--replay", file, "--log", "/dev/null", NULL};
	struct started front;
	struct answer first, again;
	FILE *lines;

	snprintf(file, sizeof file, "%s/answers.jsonl", world->dir);
	snprintf(upstream, sizeof upstream, "claude=%s/claude", world->url);
	assert_int_equal(setenv("TRITONE_TEST_KEY", "server-secret-2", 1), 0);
	front = start(with);
	assert_int_equal(unsetenv("TRITONE_TEST_KEY"), 0);
	first = ask(&front, body);
	assert_int_equal(stop(&front, SIGKILL), -SIGKILL);
	assert_int_equal(first.status, 200);
	assert_true(first.size > 100);

	front = start(from);
	again = ask(&front, body);
	assert_int_equal(again.status, 200);
	assert_int_equal(again.size, first.size);
	assert_memory_equal(again.text, first.text, first.size);
	assert_int_equal(ask(&front, other).status, 404);
	assert_int_equal(stop(&front, SIGTERM), 1); /* it was not all in the recording */
	front = start(from);
	assert_int_equal(ask(&front, body).status, 200);
	assert_int_equal(stop(&front, SIGTERM), 0);

	lines = fopen(file, "re");
	assert_non_null(lines);
	while (fgets(line, sizeof line, lines))
		assert_null(strstr(line, "secret"));
	fclose(lines);
	unlink(file);
}

static int exit_of(const char *option, const char *value)
{
	char name[32], text[64];
	char *argv[] = {(char[]){"tritone"}, (char[]){"gateway"}, name, text, NULL};
	int out, status = -1;
	pid_t pid;

	snprintf(name, sizeof name, "%s", option);
	snprintf(text, sizeof text, "%s", value);
	pid = spawn(argv, &out);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_usage(void **state)
{
	struct world *world = *state;

	assert_int_equal(exit_of("--port", "70000"), 2);
	assert_int_equal(exit_of("--latency", "soon"), 2);
	assert_int_equal(exit_of("--providers", "a,a"), 2);
	assert_int_equal(exit_of("--upstream", "claude"), 2);
	assert_int_equal(exit_of("--upstream", "claude=x"), 2);
	assert_int_equal(exit_of("--upstream", "nobody=http://x"), 2);
	assert_int_equal(exit_of("--key-from", "claude=X"), 2);
	assert_int_equal(exit_of("--upstream-timeout", "0s"), 2);
	assert_int_equal(exit_of("--record", "/tmp/x"), 2);
	assert_int_equal(exit_of("--prot", "1"), 2);
	assert_int_equal(exit_of("--port", strrchr(world->url, ':') + 1), 1); /* in use */
	assert_int_equal(exit_of("--control", world->socket), 1);             /* too */
	assert_int_equal(exit_of("--help", ""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_run, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nobody_reads, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_all_ask_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_place_becomes_free, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_record_and_replay, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_usage, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
