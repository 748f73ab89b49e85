/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of host/report share; see report_room.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/report_room.h"

static void fill_held(struct result *r)
{
	strcpy(r->name, "agent-kill");
	strcpy(r->title, "An agent dies");
	strcpy(r->file, "fixtures/experiments/agent-kill.yaml");
	r->seed = 18446744073709551615u;
	r->verdict = VERDICT_HELD;
	r->ok = true;
	r->recovered_us = 41300;
	r->tasks = r->commits = 24;
	r->duration_us = 1500000;
	r->fault_count = 1;
	if (!r->faults)
		r->faults = calloc(1, sizeof *r->faults);
	assert_non_null(r->faults);
	strcpy(r->faults[0].id, "agent-kill-1");
	strcpy(r->faults[0].name, "agent-kill");
	strcpy(r->faults[0].plugin, "agent-kill");
	r->faults[0].injected = r->faults[0].felt = r->faults[0].reverted = true;
	strcpy(r->faults[0].proof, "pid 4711 is gone");
	strcpy(r->faults[0].evidence[0].name, "pid");
	strcpy(r->faults[0].evidence[0].value, "4711");
	r->faults[0].evidence_count = 1;
	r->checks[0].check = check_find("no-duplicate-commit");
	r->checks[0].result.verdict = CHECK_HELD;
	r->checks[0].result.opportunities = 24;
	strcpy(r->checks[0].result.summary, "24 tasks, 24 commits");
	r->checks[0].expected = true;
	r->check_count = 1;
}

static void fill_failed(struct result *r)
{
	struct check_result *judged = &r->checks[1].result;

	fill_held(r);
	strcpy(r->name, "rate-limit");
	strcpy(r->file, "my experiments/rate-limit.yaml");
	strcpy(r->run_dir, ".tritone/runs/7");
	r->seed = 7;
	r->verdict = VERDICT_DEVIATED;
	r->ok = false;
	r->recovered_us = -1;
	r->reproduced = r->reruns = 3;
	r->checks[1].check = check_find("cascade-order");
	judged->verdict = CHECK_DEVIATED;
	judged->opportunities = 40;
	judged->violations = 3;
	strcpy(judged->summary, "40 calls, 3 out of order");
	judged->finding_count = 2;
	strcpy(judged->findings[0].text, "claude was called inside its window");
	judged->findings[0].evidence[0] = 5;
	judged->findings[0].evidence[1] = 9;
	judged->findings[0].evidence_count = 2;
	strcpy(judged->findings[1].text, "<&\">");
	judged->findings[1].evidence[0] = 11;
	judged->findings[1].evidence_count = 1;
	r->check_count = 2;
	r->evidence_lines[0] = strdup("1.204 s  call fail  task-1 claude");
	r->evidence_lines[1] = strdup("1.208 s  call invoke  task-2 claude");
	r->evidence_lines[2] = strdup("1.300 s  call ok  task-3 claude");
}

static void fill_expected(struct result *r)
{
	fill_held(r);
	strcpy(r->name, "double-commit-on-retry");
	strcpy(r->bug, "double-commit-on-retry");
	r->verdict = VERDICT_DEVIATED;
	r->checks[0].result.verdict = CHECK_DEVIATED;
	r->checks[0].result.violations = 1;
	r->checks[0].result.finding_count = 1;
	strcpy(r->checks[0].result.findings[0].text, "task-3 was committed twice");
}

int setup(void **state)
{
	struct place *place = calloc(1, sizeof *place);
	int fd;

	assert_non_null(place);
	place->out = open_memstream(&place->text, &place->size);
	assert_non_null(place->out);
	fill_held(&place->results[0]);
	fill_failed(&place->results[1]);
	fill_expected(&place->results[2]);
	fill_held(&place->results[3]);
	strcpy(place->path, "/tmp/test-report-XXXXXX");
	fd = mkstemp(place->path);
	assert_true(fd >= 0);
	close(fd);
	*state = place;
	return 0;
}

int teardown(void **state)
{
	struct place *place = *state;
	size_t i;

	for (i = 0; i < 4; i++)
		result_finish(&place->results[i]);
	unlink(place->path);
	fclose(place->out);
	free(place->text);
	free(place);
	return 0;
}

const char *written(struct place *place)
{
	static char text[32768];

	fflush(place->out);
	assert_true(place->size < sizeof text);
	memcpy(text, place->text, place->size);
	text[place->size] = '\0';
	rewind(place->out);
	return text;
}

void slurp(const char *path, char *buf, size_t size)
{
	FILE *in = fopen(path, "re");
	size_t got;

	assert_non_null(in);
	got = fread(buf, 1, size - 1, in);
	buf[got] = '\0';
	fclose(in);
}

void run_on_terminal(void (*what)(FILE *out, void *arg), void *arg, char *seen, size_t size)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave, status;
	size_t used = 0;
	ssize_t got;
	pid_t pid;

	assert_true(master >= 0);
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(slave >= 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		FILE *out = fdopen(slave, "w");

		what(out, arg);
		fclose(out);
		_exit(0);
	}
	close(slave);
	while (used + 1 < size && (got = read(master, seen + used, size - used - 1)) > 0)
		used += (size_t)got;
	seen[used] = '\0';
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(master);
}
