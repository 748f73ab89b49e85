/* SPDX-License-Identifier: Apache-2.0 */
/* A system under `tritone up`, and a person's curl. */
#include "e2e_up.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- HTTP as a person's curl ---- */

static size_t take(char *bytes, size_t one, size_t count, void *arg)
{
	struct body *body = arg;
	size_t n = one * count, room = sizeof body->text - 1 - body->used;

	if (n > room)
		n = room;
	memcpy(body->text + body->used, bytes, n);
	body->used += n;
	body->text[body->used] = '\0';
	return one * count;
}

/* `request` is "METHOD URL", as `up` prints it. The status, 0 when there was no answer. */
long http(const char *request, const char *json, struct body *body)
{
	char method[16] = "";
	struct curl_slist *headers;
	struct body ignored;
	long status = 0;
	CURL *curl;

	if (!request)
		return 0; /* the system has not said how */
	curl = curl_easy_init();
	headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!body)
		body = &ignored;
	body->used = 0;
	body->text[0] = '\0';
	snprintf(method, sizeof method, "%.*s", (int)strcspn(request, " "), request);
	curl_easy_setopt(curl, CURLOPT_URL, strchr(request, ' ') + 1);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)GUARD_MS);
	if (json)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, json);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return status;
}

/* ---- a system that is up ---- */

struct up start_up(struct world *world, const char *system, const char *option)
{
	struct up up = {.ran = tritone_start(world, "up", system, option, NULL)};

	ran_says(up.ran, "ready; end it with");
	up.run = ran_value(world, up.ran, "run ");
	up.state = ran_value(world, up.ran, "state ");
	up.gateway = ran_value(world, up.ran, "gateway ");
	up.control = ran_value(world, up.ran, "control ");
	up.submit = ran_value(world, up.ran, "submit ");
	up.outcome = ran_value(world, up.ran, "outcome ");
	return up;
}

void hand_in(const struct up *up, const char *id, const char *role)
{
	char json[256];

	snprintf(json, sizeof json,
	    "{\"id\": \"%s\", \"key\": \"%s\", \"role\": \"%s\", \"after\": [], \"prompt\": \"do\"}", id, id, role);
	assert_in_range(http(up->submit, json, NULL), 200, 299);
}

/* While it is being started again nobody takes it. */
void hand_in_again(const struct up *up, const char *id)
{
	char json[256];

	snprintf(
	    json, sizeof json, "{\"id\": \"%s\", \"key\": \"%s\", \"role\": \"write\", \"prompt\": \"do\"}", id, id);
	while (http(up->submit, json, NULL) / 100 != 2)
		usleep(5000);
}

/* Waits for `count` agents that are at work: their pid files. */
void await_agents(const struct up *up, size_t count)
{
	char pattern[512];

	snprintf(pattern, sizeof pattern, "%s/.sdd/runtime/agents/*/pid", up->state);
	while (world_matches(pattern, NULL, 0) < count)
		usleep(5000);
}

void end_up(struct world *world, const struct up *up)
{
	ran_signal(up->ran, SIGINT);
	ran_status(up->ran, 0);
	world_quiet(world);
	world_clean(world);
	assert_int_equal(world_runs(world), 0);
}

/* A model that answers after an hour, and nobody who gives it up: whoever asks it stays where he is for the length of a test. */
const char *patient(struct world *world)
{
	return world_unhurried(world, "patient.yaml", "latency: 20ms", "latency: 1h");
}

const char *unhurried(struct world *world)
{
	return world_path(world, "unhurried.yaml");
}

pid_t sleeper(struct world *world, struct ran **ret)
{
	char *argv[] = {(char[]){"/bin/sleep"}, (char[]){"1000"}, NULL};

	*ret = program_start(world, argv);
	return (*ret)->pid;
}

const char *text_of(pid_t pid)
{
	char *text;

	assert_true(asprintf(&text, "%d", (int)pid) > 0);
	return text;
}

int up_main(const char *name, const struct CMUnitTest *tests, size_t count)
{
	int r;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	r = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
	curl_global_cleanup();
	return r;
}
