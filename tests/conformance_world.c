/* SPDX-License-Identifier: Apache-2.0 */
/* The system that test_conformance breaks; see conformance_world.h. */
#include "conformance_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "gateway/gateway.h"
#include "service/service.h"
#include "system/faultpoints.h"
#include "keeper/keeper.h"
#include "keeper/filter.h"

#define RULES_MAX 16
#define CALLS_MAX 8

struct world_parts {
	struct keeper *keeper;
	struct gateway *gateway;
	struct faultpoints *points;
	struct service_server *server;
	int done;  /* the orchestrator's words */
	int death; /* its pidfd: it may be gone, and reaped, at any time */
	int calls[CALLS_MAX];
	size_t call_count;

	pthread_mutex_t lock; /* the services' thread writes what follows */
	struct {
		char key[64];
		uint32_t kind; /* the capability that it needs */
	} rules[RULES_MAX];
	size_t rule_count;
	uint32_t used;
};

#define must(call)                                                                                                     \
	do {                                                                                                           \
		if ((call) < 0)                                                                                        \
			fail_msg("%s: %s", #call, err.text);                                                           \
	} while (0)

/* ---- the services ---- */

static void forget(struct world_parts *parts, const char *key)
{
	size_t i;

	for (i = 0; i < parts->rule_count && strcmp(parts->rules[i].key, key) != 0; i++)
		;
	if (i < parts->rule_count)
		parts->rules[i] = parts->rules[--parts->rule_count];
}

static int note(struct world_parts *parts, const char *key, uint32_t kind, int result)
{
	pthread_mutex_lock(&parts->lock);
	parts->used |= kind;
	if (result == 0) {
		forget(parts, key);
		if (parts->rule_count < RULES_MAX) {
			snprintf(parts->rules[parts->rule_count].key, sizeof parts->rules[0].key, "%s", key);
			parts->rules[parts->rule_count++].kind = kind;
		}
	}
	pthread_mutex_unlock(&parts->lock);
	return result;
}

static uint32_t kind_of(struct world_parts *parts, const char *key)
{
	uint32_t kind = 0;
	size_t i;

	pthread_mutex_lock(&parts->lock);
	for (i = 0; i < parts->rule_count; i++)
		if (!strcmp(parts->rules[i].key, key))
			kind = parts->rules[i].kind;
	pthread_mutex_unlock(&parts->lock);
	return kind;
}

static int targets(void *arg, uint32_t kind, tritone_target_fn visit, void *visit_arg, struct error *err)
{
	const struct world *world = arg;
	size_t i;

	(void)err;
	for (i = 0; i < WORLD_PROCESSES; i++) {
		const struct tritone_target target = {
		    .struct_size = sizeof target,
		    .kind = kind == TRITONE_TARGET_PROCESS ? kind
			    : i                            ? TRITONE_TARGET_AGENT
							   : TRITONE_TARGET_SYSTEM,
		    .pid = world->process[i].pid,
		    .start_time = world->process[i].start_time,
		    .id = world->process[i].id,
		    .task = "",
		    .worktree = world->process[i].worktree,
		};

		if (target.kind == kind && visit(visit_arg, &target))
			return 0;
	}
	return gateway_targets(world->parts->gateway, kind, visit, visit_arg);
}

static int gateway_rule(void *arg, const struct tritone_gateway_rule *rule, struct error *err)
{
	struct world_parts *parts = ((struct world *)arg)->parts;

	return note(parts, rule->key, TRITONE_CAP_GATEWAY, gateway_rule_set(parts->gateway, rule, err));
}

static int errno_rule(void *arg, const struct tritone_errno_rule *rule, struct error *err)
{
	const struct world *world = arg;

	return note(world->parts, rule->key, TRITONE_CAP_ERRNO,
	    world->filtered ? keeper_rule_set(world->parts->keeper, rule, err) : 0);
}

static int faultpoint(void *arg, const struct tritone_point_rule *rule, struct error *err)
{
	struct world_parts *parts = ((struct world *)arg)->parts;

	return note(parts, rule->key, TRITONE_CAP_FAULTPOINT, faultpoints_set(parts->points, rule, err));
}

static int rule_hits(void *arg, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct error *err)
{
	const struct world *world = arg;
	struct keeper_rule_stats stats = {0};

	switch (kind_of(world->parts, key)) {
	case TRITONE_CAP_GATEWAY:
		return gateway_rule_hits(world->parts->gateway, key, ret_hits, ret_seen, err);
	case TRITONE_CAP_FAULTPOINT:
		return faultpoints_hits(world->parts->points, key, ret_hits, ret_seen, err);
	case TRITONE_CAP_ERRNO:
		if (world->filtered && keeper_rule_stats(world->parts->keeper, key, &stats, err))
			return -1;
		*ret_hits = stats.hits;
		*ret_seen = stats.seen;
		return 0;
	default:
		return error_set(err, ENOENT, "there is no rule '%s'", key);
	}
}

static int rule_clear(void *arg, const char *key, struct error *err)
{
	const struct world *world = arg;
	struct world_parts *parts = world->parts;

	gateway_rule_clear(parts->gateway, key);
	faultpoints_clear(parts->points, key);
	if (world->filtered && keeper_rule_clear(parts->keeper, key, err))
		return -1;
	pthread_mutex_lock(&parts->lock);
	forget(parts, key);
	pthread_mutex_unlock(&parts->lock);
	return 0;
}

size_t world_rules(struct world *world, uint32_t *ret_used)
{
	size_t count;

	pthread_mutex_lock(&world->parts->lock);
	count = world->parts->rule_count;
	if (ret_used)
		*ret_used = world->parts->used;
	pthread_mutex_unlock(&world->parts->lock);
	return count;
}

/* ---- building ---- */

static void make_dir(const char *path)
{
	if (mkdir(path, 0700) < 0)
		fail_msg("%s: %s", path, strerror(errno));
}

static void put(const char *dir, const char *name, const void *bytes, size_t size, mode_t mode)
{
	char path[512];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void make_worktree(const char *dir)
{
	char path[512], binary[1000];
	size_t i;

	for (i = 0; i < sizeof binary; i++)
		binary[i] = (char)(i * 7);
	make_dir(dir);
	put(dir, "read.md", "# what to do\n", 13, 0640);
	put(dir, "image.bin", binary, sizeof binary, 0444);
	put(dir, "empty", "", 0, 0600);
	snprintf(path, sizeof path, "%s/src", dir);
	make_dir(path);
	put(path, "run.sh", "#!/bin/sh\n", 10, 0755);
	snprintf(path, sizeof path, "%s/link", dir);
	assert_int_equal(symlink("/etc/passwd", path), 0);
}

static uint64_t start_of(pid_t pid, char *ret_state)
{
	char path[64], text[1024], *p;
	ssize_t n;
	int fd, field;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	p = strrchr(text, ')');
	if (!p)
		return 0;
	*ret_state = p[2];
	for (field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

static void start(struct world *world, size_t i, const char *const *argv, const char *const *env)
{
	const struct keeper_process process = {
	    .name = world->process[i].id, .argv = argv, .env = env, .filter = world->filtered};
	struct error err;
	char state;

	must(keeper_spawn(world->parts->keeper, &process, &world->process[i].pid, &err));
	world->process[i].start_time = start_of(world->process[i].pid, &state);
	assert_true(world->process[i].start_time > 0);
}

/* Until the orchestrator has done its work, or died of it. */
static void wait_done(const struct world *world)
{
	struct pollfd p[2] = {
	    {.fd = world->parts->done, .events = POLLIN}, {.fd = world->parts->death, .events = POLLIN}};
	char byte;

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (p[0].revents)
		assert_int_equal(read(world->parts->done, &byte, 1), 1);
}

static void start_system(struct world *world)
{
	char program[PATH_MAX], fifo[160], log[160], points[160], env_points[192], *slash;
	const char *const agent[] = {program, "agent", NULL};
	const char *const orchestrator[] = {program, "system", world->state, fifo, NULL};
	const char *const env[] = {env_points, NULL};
	const struct keeper_options options = {.log_dir = log, .seed = 7};
	struct error err;
	size_t i;
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 32);

	assert_true(n > 0);
	program[n] = '\0';
	slash = strrchr(program, '/');
	strcpy(slash, "/conformance_child");
	snprintf(fifo, sizeof fifo, "%s/done", world->dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	world->parts->done = open(fifo, O_RDWR | O_CLOEXEC);
	assert_true(world->parts->done >= 0);
	snprintf(points, sizeof points, "%s/points", world->dir);
	must(faultpoints_create(&world->parts->points, points, &err));
	snprintf(env_points, sizeof env_points, "TRITONE_FAULTPOINTS=%s", points);
	snprintf(log, sizeof log, "%s/log", world->run);
	make_dir(log);
	world->filtered = filter_available(&err) == 0;
	must(keeper_start(&world->parts->keeper, &options, &err));
	for (i = 1; i < WORLD_PROCESSES; i++)
		start(world, i, agent, env);
	start(world, 0, orchestrator, env);
	world->parts->death = pidfd_open(world->process[0].pid, 0);
	assert_true(world->parts->death >= 0);
	wait_done(world);
}

static void start_services(struct world *world)
{
	const struct gateway_options options = {
	    .seed = 7, .providers = {"claude", "codex"}, .sinks = {"notify"}, .sink_task = "task"};
	const struct service_backend backend = {
	    .arg = world,
	    .targets = targets,
	    .gateway_rule = gateway_rule,
	    .errno_rule = errno_rule,
	    .faultpoint = faultpoint,
	    .rule_hits = rule_hits,
	    .rule_clear = rule_clear,
	    .state_dir = world->state,
	};
	struct error err;

	must(gateway_create(&world->parts->gateway, &options, &err));
	snprintf(world->socket, sizeof world->socket, "%s/control.sock", world->run);
	must(service_serve(&world->parts->server, world->socket, &backend, &err));
}

struct world *world_create(const char *plugin)
{
	static const char *const ids[WORLD_PROCESSES] = {"orchestrator", "a-1", "a-2"};
	struct world *world = calloc(1, sizeof *world);
	struct error err;
	size_t i;

	assert_non_null(world);
	world->parts = calloc(1, sizeof *world->parts);
	assert_non_null(world->parts);
	pthread_mutex_init(&world->parts->lock, NULL);
	world->plugin = plugin;
	must(plugin_info_load(&world->info, plugin, &err));
	strcpy(world->dir, "/tmp/test-conformance-XXXXXX");
	assert_non_null(mkdtemp(world->dir));
	snprintf(world->run, sizeof world->run, "%s/run", world->dir);
	snprintf(world->state, sizeof world->state, "%s/state", world->dir);
	make_dir(world->run);
	make_dir(world->state);
	for (i = 0; i < WORLD_PROCESSES; i++) {
		world->process[i].id = ids[i];
		if (i) {
			snprintf(world->process[i].worktree, sizeof world->process[i].worktree, "%s/tree-%s",
			    world->state, ids[i]);
			make_worktree(world->process[i].worktree);
		}
	}
	start_system(world);
	start_services(world);
	return world;
}

void world_destroy(struct world *world)
{
	char command[128];
	size_t i;

	runner_destroy(world->runner);
	undo_close(world->undo);
	for (i = 0; i < world->parts->call_count; i++)
		close(world->parts->calls[i]);
	service_stop(world->parts->server);
	gateway_destroy(world->parts->gateway);
	keeper_destroy(world->parts->keeper);
	faultpoints_destroy(world->parts->points);
	close(world->parts->death);
	close(world->parts->done);
	pthread_mutex_destroy(&world->parts->lock);
	plugin_info_free(world->info);
	snprintf(command, sizeof command, "rm -rf '%s'", world->dir);
	assert_int_equal(system(command), 0);
	free(world->parts);
	free(world);
}

/* ---- looking ---- */

static uint64_t hash_of(const char *path)
{
	char bytes[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd >= 0 ? read(fd, bytes, sizeof bytes) : 0;

	if (fd >= 0)
		close(fd);
	return XXH3_64bits(bytes, n > 0 ? (size_t)n : 0);
}

static void list(FILE *out, const char *dir, bool exact)
{
	struct dirent **names;
	int n = scandir(dir, &names, NULL, alphasort), i;

	assert_true(n >= 0);
	for (i = 0; i < n; i++) {
		char path[PATH_MAX], target[256] = "";
		struct stat st;

		snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
		if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0) {
			assert_int_equal(lstat(path, &st), 0);
			if (S_ISLNK(st.st_mode))
				assert_true(readlink(path, target, sizeof target - 1) > 0);
			fprintf(out, "%s %o %u:%u", path, st.st_mode, st.st_uid, st.st_gid);
			if (!S_ISDIR(st.st_mode))
				fprintf(out, " %lld %llx %s %lld.%09ld", (long long)st.st_size,
				    S_ISREG(st.st_mode) ? (unsigned long long)hash_of(path) : 0, target,
				    (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
			if (exact)
				fprintf(out, " i%llu %lld.%09ld", (unsigned long long)st.st_ino,
				    (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
			fputc('\n', out);
			if (S_ISDIR(st.st_mode))
				list(out, path, exact);
		}
		free(names[i]);
	}
	free(names);
}

char *world_tree(const struct world *world, bool exact)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	list(out, world->state, exact);
	assert_int_equal(fclose(out), 0);
	return text;
}

const char *world_processes(const struct world *world, char buf[256])
{
	size_t i, used = 0;

	for (i = 0; i < WORLD_PROCESSES; i++) {
		char state = '?';
		bool there = start_of(world->process[i].pid, &state) == world->process[i].start_time;

		used += (size_t)snprintf(buf + used, 256 - used, "%s %s; ", world->process[i].id,
		    !there || state == 'Z' || state == 'X' ? "gone"
		    : state == 'T'                         ? "stopped"
							   : "alive");
	}
	return buf;
}

/* ---- exercising ---- */

/* Sends a request; whoever wants the answer may wait for it: no fault's proof does. */
static void call(struct world *world, const char *path)
{
	static const char body[] =
	    "{\"task\":\"t-1\",\"model\":\"any\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}";
	const char *colon = strrchr(gateway_url(world->parts->gateway), ':');
	struct sockaddr_in to = {.sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	    .sin_port = htons((uint16_t)atoi(colon + 1))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char text[512];
	int n;

	assert_true(fd >= 0 && world->parts->call_count < CALLS_MAX);
	world->parts->calls[world->parts->call_count++] = fd;
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
	n = snprintf(text, sizeof text,
	    "POST %s HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
	    path, sizeof body - 1, body);
	assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

void world_exercise(struct world *world)
{
	struct error err;

	call(world, "/claude/v1/chat/completions");
	call(world, "/codex/v1/chat/completions");
	call(world, "/sink/notify");
	if (keeper_signal(world->parts->keeper, world->process[0].pid, SIGUSR1, &err) < 0 && err.code != ESRCH)
		fail_msg("%s", err.text); /* ESRCH: the fault was its death */
	wait_done(world);
}
