/* SPDX-License-Identifier: Apache-2.0 */
/* `tritone gateway`: a gateway by itself, for a system that somebody else has started. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/gateway_log.h"
#include "cli/options.h"
#include "cli/upstreams.h"
#include "cli/verb.h"
#include "gateway/gateway.h"
#include "service/service.h"
#include "spec/spec.h"

struct arguments {
	struct gateway_options gateway;
	char *providers, *sinks; /* what the names in `gateway` point into */
	struct upstreams upstreams;
	const char *control, *log, *seed;
	bool quiet, help;
};

static const char usage[] =
    "usage: tritone gateway [OPTION ...]\n"
    "Runs a gateway by itself: model providers and notification sinks on loopback, that answer wrongly on demand.\n"
    "Prints its URL on the first line of standard output when it is ready, then a line of JSON for each request and\n"
    "each answer. A provider is at URL/NAME/v1/chat/completions, a sink at URL/sink/NAME. Ends at SIGINT or "
    "SIGTERM.\n\n"
    "  -p, --port N              the port (default: any free one)\n"
    "      --providers A,B       names of providers (default: claude,codex,gemini,qwen)\n"
    "      --sinks A,B           names of sinks (default: notify)\n"
    "      --latency TIME        each provider's reply takes so long, such as 20ms (default: 0)\n"
    "      --seed N              the seed of replies and of rules with a probability (default: TRITONE_SEED, or a "
    "fresh one)\n"
    "      --script FILE         what the models say, as in tritone-script(5)\n"
    "      --task-header NAME    the header that says which task a request is for (default: X-Task-Id)\n"
    "      --attempt-header NAME (default: X-Attempt)\n"
    "      --task-pattern REGEX  where there is no such header: looked for in the messages, its group is the "
    "task\n" UPSTREAMS_USAGE "      --control SOCKET      let `tritone inject` set faults through this socket\n"
    "      --log FILE            write the lines to FILE instead\n"
    "  -q, --quiet               no lines\n"
    "  -h, --help\n\n"
    "Exit status: 0 after SIGINT or SIGTERM, 1 when it could not run, or a request was not in the recording, 2 usage, "
    "a "
    "bad script\n"
    "or recording.\n";

/* ---- arguments ---- */

static int split(const char **names, char *text, const char *what)
{
	size_t count = 0;
	char *name;

	while ((name = strsep(&text, ","))) {
		if (!*name)
			continue;
		if (count >= GATEWAY_NAMES_MAX)
			return cli_usage("gateway", "--%s: more than %d names", what, GATEWAY_NAMES_MAX);
		names[count++] = name;
	}
	names[count] = NULL;
	return 0;
}

static int take_option(struct arguments *a, int option, const char *value)
{
	struct error err = {0};
	uint64_t port;
	char *names;

	switch (option) {
	case 'p':
		if (cli_number(value, 0, 65535, &port) != 0)
			return cli_usage("gateway", "--port %s: expected a number of 0 to 65535", value);
		a->gateway.port = (uint16_t)port;
		return 0;
	case 'P':
	case 'S':
		names = strdup(value);
		if (!names)
			return cli_usage("gateway", "no memory");
		free(option == 'P' ? a->providers : a->sinks);
		*(option == 'P' ? &a->providers : &a->sinks) = names;
		return 0;
	case 'l':
		if (spec_duration(value, &a->gateway.latency_ms, &err) < 0)
			return cli_usage("gateway", "--latency: %s", err.text);
		return 0;
	case 's':
		a->seed = value;
		return 0;
	case 'f':
		a->gateway.script = value;
		return 0;
	case 't':
		a->gateway.task_header = value;
		return 0;
	case 'a':
		a->gateway.attempt_header = value;
		return 0;
	case 'T':
		a->gateway.task_pattern = value;
		return 0;
	case 'u':
		return upstreams_url(&a->upstreams, value);
	case 'k':
		return upstreams_key(&a->upstreams, value);
	case 'w':
		return upstreams_timeout(&a->upstreams, value);
	case 'r':
		a->gateway.record = value;
		return 0;
	case 'R':
		a->gateway.replay = value;
		return 0;
	case 'c':
		a->control = value;
		return 0;
	case 'L':
		a->log = value;
		return 0;
	case 'q':
		a->quiet = true;
		return 0;
	case 'h':
		a->help = true;
		return 0;
	default:
		return cli_usage("gateway", "unknown or incomplete option");
	}
}

static int parse(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {{"port", required_argument, NULL, 'p'},
	    {"providers", required_argument, NULL, 'P'}, {"sinks", required_argument, NULL, 'S'},
	    {"latency", required_argument, NULL, 'l'}, {"seed", required_argument, NULL, 's'},
	    {"script", required_argument, NULL, 'f'}, {"task-header", required_argument, NULL, 't'},
	    {"attempt-header", required_argument, NULL, 'a'}, {"task-pattern", required_argument, NULL, 'T'},
	    {"upstream", required_argument, NULL, 'u'}, {"key-from", required_argument, NULL, 'k'},
	    {"upstream-timeout", required_argument, NULL, 'w'}, {"record", required_argument, NULL, 'r'},
	    {"replay", required_argument, NULL, 'R'}, {"control", required_argument, NULL, 'c'},
	    {"log", required_argument, NULL, 'L'}, {"quiet", no_argument, NULL, 'q'}, {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0}};
	int option, r;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "p:qh", options, NULL)) != -1) {
		if (option == '?')
			return cli_usage("gateway", "%s: unknown option, or its value is missing", argv[optind - 1]);
		r = take_option(a, option, optarg);
		if (r)
			return r;
	}
	if (a->help)
		return 0;
	if (optind < argc)
		return cli_usage("gateway", "%s: expected no argument", argv[optind]);
	if (a->log && a->quiet)
		return cli_usage("gateway", "--log and --quiet contradict each other");
	if (!a->providers)
		a->providers = strdup("claude,codex,gemini,qwen");
	if (!a->sinks)
		a->sinks = strdup("notify");
	if (!a->providers || !a->sinks)
		return cli_usage("gateway", "no memory");
	a->gateway.seed = cli_seed(a->seed);
	r = split(a->gateway.providers, a->providers, "providers");
	if (r == 0)
		r = split(a->gateway.sinks, a->sinks, "sinks");
	return r ? r : upstreams_set(&a->upstreams, &a->gateway);
}

/* ---- the control socket's backend ---- */

static int backend_targets(void *arg, uint32_t kind, tritone_target_fn visit, void *visit_arg, struct error *err)
{
	(void)err;
	return gateway_targets(arg, kind, visit, visit_arg);
}

static int backend_rule(void *arg, const struct tritone_gateway_rule *rule, struct error *err)
{
	return gateway_rule_set(arg, rule, err);
}

static int backend_hits(void *arg, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	return gateway_rule_hits(arg, key, ret_hits, ret_seen, err);
}

static int backend_clear(void *arg, const char *key, struct error *err)
{
	(void)err;
	gateway_rule_clear(arg, key);
	return 0;
}

static int serve_control(
    struct service_server **ret_server, struct gateway *gateway, const char *path, struct error *err)
{
	struct service_backend backend = {.arg = gateway,
	    .targets = backend_targets,
	    .gateway_rule = backend_rule,
	    .rule_hits = backend_hits,
	    .rule_clear = backend_clear,
	    .missing_errno = "this is a gateway by itself",
	    .missing_faultpoint = "this is a gateway by itself"};

	return service_serve(ret_server, path, &backend, err);
}

/* ---- the run ---- */

static int run(struct arguments *a)
{
	struct service_server *server = NULL;
	struct history *history = NULL;
	struct gateway *gateway = NULL;
	struct error err = {0};
	FILE *out = stdout;
	int r = -1;

	if (a->log && !(out = fopen(a->log, "ae"))) {
		error_set(&err, errno, "%s: %s", a->log, strerror(errno));
		goto end;
	}
	if (!a->quiet && history_create(&history, NULL, &err) < 0)
		goto end;
	a->gateway.history = history;
	if (gateway_create(&gateway, &a->gateway, &err) < 0)
		goto end;
	if (a->control && serve_control(&server, gateway, a->control, &err) < 0)
		goto end;
	fprintf(stderr, "tritone gateway: seed %" PRIu64 "\n", a->gateway.seed);
	if (printf("%s\n", gateway_url(gateway)) < 0 || fflush(stdout)) {
		error_set(&err, errno, "standard output: %s", strerror(errno));
		goto end;
	}
	r = gateway_log(history, fileno(out));
	if (r == 0 && gateway_amiss(gateway, &err) < 0)
		r = -1;
end:
	if (r < 0)
		fprintf(stderr, "tritone gateway: %s\n", *err.text ? err.text : "no thread for signals");
	service_stop(server);
	gateway_destroy(gateway);
	history_destroy(history);
	if (out && out != stdout && fclose(out))
		r = -1;
	return r == 0 ? 0 : err.code == EINVAL ? 2 : 1; /* EINVAL: a bad name, or a bad script */
}

int verb_gateway(int argc, char **argv)
{
	struct arguments a = {
	    .gateway = {
		.task_header = "X-Task-Id", .attempt_header = "X-Attempt", .sink_task = "task", .sink_key = "key"}};
	sigset_t ends;
	int r = parse(&a, argc, argv);

	if (r == 0 && a.help) {
		fputs(usage, stdout);
	} else if (r == 0) {
		/* Blocked from the start and in every thread: one thread waits for them. */
		sigemptyset(&ends);
		sigaddset(&ends, SIGINT);
		sigaddset(&ends, SIGTERM);
		pthread_sigmask(SIG_BLOCK, &ends, NULL);
		signal(SIGPIPE, SIG_IGN);
		r = run(&a);
	}
	upstreams_free(&a.upstreams);
	free(a.providers);
	free(a.sinks);
	return r;
}
