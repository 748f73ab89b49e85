/* SPDX-License-Identifier: Apache-2.0 */
/* The side of the recorder that starts it and reads what it wrote. All in anonymous memory: nothing is left behind. */
#include "crash/record/record.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash/record/emit.h"
#include "crash/record/image.h"
#include "crash/record/recording.h"
#include "crash/record/trap.h"

#define LOOK_MS 500 /* a signal that comes just before we wait is seen after that */

const char *const record_volatiles[] = {"lock.mdb", "*-shm", NULL};

const struct trace_file_head *recording_head(const struct recording *recording)
{
	return (const struct trace_file_head *)(const void *)((const uint8_t *)recording->control + RECORD_TRACE_AT);
}

void recording_restart(struct recording *recording, uint64_t root_inode)
{
	struct trace_file_head *head =
	    (struct trace_file_head *)(void *)((uint8_t *)recording->control + RECORD_TRACE_AT);

	*head = (struct trace_file_head){
	    .magic = TRACE_MAGIC, .end = sizeof(struct trace_file_head), .root_inode = root_inode};
	head->root[0] = '\0'; /* for messages only, and the trace in memory has its own */
}

static int add_patterns(struct record_control *control, size_t *used, const char *const *patterns, struct error *err)
{
	for (; patterns && *patterns; patterns++) {
		const size_t size = strlen(*patterns) + 1;

		if (*used + size >= sizeof control->volatiles)
			return error_set(err, E2BIG, "too many patterns of volatile files");
		memcpy(control->volatiles + *used, *patterns, size);
		*used += size;
	}
	return 0;
}

static int init_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attributes;
	int rc = pthread_mutexattr_init(&attributes);

	if (rc == 0)
		rc = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	if (rc == 0)
		rc = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	if (rc == 0)
		rc = pthread_mutex_init(lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	return rc;
}

int recording_map(struct recording *recording, const struct record_options *options, struct error *err)
{
	struct record_control *control;
	struct stat status;
	size_t used = 0;
	int rc;

	recording->fd = memfd_create("tritone-record", MFD_CLOEXEC);
	if (recording->fd < 0 || ftruncate(recording->fd, (off_t)RECORD_SIZE) < 0)
		return error_set(err, errno, "no memory for a recording: %s", strerror(errno));
	control = mmap(NULL, RECORD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, recording->fd, 0);
	if (control == MAP_FAILED)
		return error_set(err, errno, "no memory for a recording: %s", strerror(errno));
	recording->control = control;
	if (!realpath(options->dir, control->root) || stat(control->root, &status) < 0 || !S_ISDIR(status.st_mode))
		return error_set(
		    err, errno ? errno : ENOTDIR, "%s: %s", options->dir, strerror(errno ? errno : ENOTDIR));
	if (!strcmp(control->root, "/"))
		return error_set(err, EINVAL, "/: is no directory to crash");
	control->root_dev = status.st_dev;
	rc = init_lock(&control->lock);
	if (rc)
		return error_set(err, rc, "no lock for a recording: %s", strerror(rc));
	if (add_patterns(control, &used, record_volatiles, err) < 0 ||
	    add_patterns(control, &used, options->volatiles, err) < 0)
		return -1;
	recording_restart(recording, status.st_ino);
	control->magic = RECORD_MAGIC;
	control->enabled = 1;
	return 0;
}

static int open_output(struct recording *recording, struct error *err)
{
	struct stat status;

	if (pipe2(recording->output, O_CLOEXEC) < 0 || fstat(recording->output[1], &status) < 0)
		return error_set(err, errno, "no pipe for the command: %s", strerror(errno));
	recording->control->output_dev = status.st_dev;
	recording->control->output_inode = status.st_ino;
	return 0;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void recording_release(struct recording *recording)
{
	if (recording->control)
		munmap(recording->control, RECORD_SIZE);
	close_one(&recording->fd);
	close_one(&recording->image_fd);
	close_one(&recording->output[0]);
	close_one(&recording->output[1]);
	trace_destroy(recording->trace);
}

static int prepare(struct recording *recording, const struct record_options *options, struct error *err)
{
	*recording = (struct recording){.fd = -1, .image_fd = -1, .output = {-1, -1}};
	if (recording_map(recording, options, err) < 0 || open_output(recording, err) < 0)
		return -1;
	if (trace_create(&recording->trace, options->dir, err) < 0)
		return -1;
	return trace_add_tree(recording->trace, options->dir, err);
}

/* Lets the command talk until it has ended, so that it never waits for us. */
static int follow(struct recording *recording, const volatile sig_atomic_t *interrupted, pid_t pid, int *ret_status,
    struct error *err)
{
	struct pollfd ends[2] = {{.fd = recording->output[0], .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	char bytes[65536];
	int rc = 0, pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);

	ends[1].fd = pid_fd;
	close_one(&recording->output[1]);
	while (pid_fd >= 0 && !ends[1].revents) {
		const int ready = poll(ends, 2, interrupted ? LOOK_MS : -1);

		if (ready < 0 && errno != EINTR)
			break;
		if (interrupted && *interrupted)
			kill(pid, SIGKILL);
		if (ready > 0 && ends[0].revents && read(recording->output[0], bytes, sizeof bytes) <= 0)
			ends[0].fd = -1;
	}
	while (waitpid(pid, ret_status, 0) < 0) {
		if (errno == EINTR)
			continue;
		rc = error_set(err, errno, "the command cannot be waited for: %s", strerror(errno));
		break;
	}
	emit_stop(recording->control);
	close_one(&pid_fd);
	if (rc == 0 && interrupted && *interrupted)
		return error_set(err, EINTR, "interrupted");
	return rc;
}

/* What was written down becomes the trace, unless it is not the whole story. */
static int harvest(
    struct recording *recording, const char *what, int status, struct trace **ret_trace, struct error *err)
{
	const struct record_control *control = recording->control;
	const struct trace_file_head *head = recording_head(recording);

	if (control->refused)
		return error_set(err, ENOTSUP,
		    "%s cannot be followed: %s; if that file may be absent after a loss of power, name it with "
		    "--volatile",
		    what, control->refusal);
	if ((WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) ||
	    (WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGSYS)) /* as a shell says it of what it ran */
		return error_set(err, ENOTSUP,
		    "%s was ended by SIGSYS: it, or what it started, is statically linked or was started with an empty "
		    "environment, and so cannot be recorded by a preloaded library: --recorder notifier sees it",
		    what);
	if (!control->processes)
		return error_set(err, ENOTSUP,
		    "%s did not load the recorder: it is statically linked, or has privileges of its own", what);
	if (control->full)
		return error_set(
		    err, EFBIG, "%s wrote more than the %zu MiB that a trace may have", what, RECORD_SIZE >> 20);
	if (control->torn)
		return error_set(err, EINTR, "%s: a process of it was killed in the middle of a call; try again", what);
	if (trace_add_records(recording->trace, (const uint8_t *)(head + 1), head->end - sizeof *head, err) < 0)
		return -1;
	*ret_trace = recording->trace;
	recording->trace = NULL;
	return 0;
}

/* --- a command --- */

/* No interpreter in an ELF file: no dynamic loader, so nothing is preloaded. Scripts and the like are not looked into. */
static bool is_static(const char *path)
{
	Elf64_Phdr segment;
	bool dynamic = false;
	Elf64_Ehdr head;
	int i, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
	    head.e_ident[EI_CLASS] != ELFCLASS64)
		dynamic = true;
	for (i = 0; !dynamic && i < head.e_phnum; i++)
		if (pread(fd, &segment, sizeof segment, (off_t)(head.e_phoff + (size_t)i * sizeof segment)) ==
		    (ssize_t)sizeof segment)
			dynamic = segment.p_type == PT_INTERP;
	close(fd);
	return !dynamic;
}

/* As execvp will find it. */
static int find_command(const char *name, char path[PATH_MAX], struct error *err)
{
	const char *at = getenv("PATH"), *end;
	struct stat status;

	if (strchr(name, '/')) {
		snprintf(path, PATH_MAX, "%s", name);
		return access(path, X_OK) < 0 ? error_set(err, errno, "%s: %s", name, strerror(errno)) : 0;
	}
	for (at = at ? at : "/usr/bin:/bin"; at; at = *end ? end + 1 : NULL) {
		end = strchrnul(at, ':');
		snprintf(path, PATH_MAX, "%.*s/%s", end > at ? (int)(end - at) : 1, end > at ? at : ".", name);
		if (access(path, X_OK) == 0 && stat(path, &status) == 0 && S_ISREG(status.st_mode))
			return 0;
	}
	return error_set(err, ENOENT, "%s: there is no such command", name);
}

int record_is_static(const char *command, bool *ret_static, struct error *err)
{
	char path[PATH_MAX];

	if (find_command(command, path, err) < 0)
		return -1;
	*ret_static = is_static(path);
	return 0;
}

/* The library, in memory, where the dynamic loader can open it as long as we live. */
static int open_image(struct recording *recording, struct error *err)
{
	size_t done = 0;
	ssize_t n;

	recording->image_fd = memfd_create("tritone-record.so", MFD_CLOEXEC);
	if (recording->image_fd < 0)
		return error_set(err, errno, "no memory for the recorder: %s", strerror(errno));
	while (done < record_image_size) {
		n = write(recording->image_fd, record_image + done, record_image_size - done);
		if (n < 0)
			return error_set(err, errno, "no memory for the recorder: %s", strerror(errno));
		done += (size_t)n;
	}
	return 0;
}

static int set_environment(const char *library, const char *control)
{
	const char *before = getenv("LD_PRELOAD");
	char *both = NULL;
	int rc;

	if (before && *before) {
		if (asprintf(&both, "%s:%s", library, before) < 0)
			return -1;
		library = both;
	}
	rc = setenv("LD_PRELOAD", library, 1) < 0 || setenv(RECORD_ENV, control, 1) < 0 ? -1 : 0;
#ifdef __SANITIZE_ADDRESS__
	/* what we start may be instrumented as we are, and the runtime wants to be the first library */
	if (rc == 0)
		rc = setenv("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0", 1);
#endif
	free(both);
	return rc;
}

static void become(const struct recording *recording, const char *path, char *const *argv, pid_t parent)
{
	char library[64], control[64];

	snprintf(library, sizeof library, "/proc/%d/fd/%d", (int)parent, recording->image_fd);
	snprintf(control, sizeof control, "/proc/%d/fd/%d", (int)parent, recording->fd);
	if (dup2(recording->output[1], STDOUT_FILENO) >= 0 && set_environment(library, control) == 0)
		execv(path, argv);
	fprintf(stderr, "%s: cannot be started: %s\n", path, strerror(errno));
	_exit(127);
}

int record_command(const struct record_options *options, char *const *argv, struct trace **ret_trace, int *ret_status,
    struct error *err)
{
	const pid_t parent = getpid();
	struct recording recording;
	char path[PATH_MAX];
	int rc = -1;
	pid_t pid;

	if (find_command(argv[0], path, err) < 0)
		return -1;
	if (is_static(path))
		return error_set(
		    err, ENOTSUP, "%s is statically linked: a preloaded library does not see what it writes", path);
	if (prepare(&recording, options, err) < 0 || open_image(&recording, err) < 0)
		goto out;
	pid = fork();
	if (pid < 0) {
		error_set(err, errno, "%s: cannot be started: %s", path, strerror(errno));
		goto out;
	}
	if (pid == 0)
		become(&recording, path, argv, parent);
	if (follow(&recording, options->interrupted, pid, ret_status, err) == 0)
		rc = harvest(&recording, path, *ret_status, ret_trace, err);
out:
	recording_release(&recording);
	return rc;
}

/* --- a function --- */

static void call(struct recording *recording, int (*function)(void *arg), void *arg)
{
	int rc;

	if (dup2(recording->output[1], STDOUT_FILENO) < 0)
		_exit(126);
	rc = trap_install(recording->control);
	if (rc) {
		fprintf(stderr, "cannot record: %s\n", strerror(rc));
		_exit(126);
	}
	recording->control->processes = 1;
	rc = function(arg);
	fflush(stdout);
	_exit(rc);
}

int record_function(const struct record_options *options, int (*function)(void *arg), void *arg,
    struct trace **ret_trace, int *ret_status, struct error *err)
{
	struct recording recording;
	int rc = -1;
	pid_t pid;

	if (prepare(&recording, options, err) < 0)
		goto out;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		error_set(err, errno, "no process to record: %s", strerror(errno));
		goto out;
	}
	if (pid == 0)
		call(&recording, function, arg);
	if (follow(&recording, options->interrupted, pid, ret_status, err) == 0)
		rc = harvest(&recording, "the writer", *ret_status, ret_trace, err);
out:
	recording_release(&recording);
	return rc;
}
