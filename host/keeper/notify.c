/* SPDX-License-Identifier: Apache-2.0 */
/* One thread that answers every listener. Without a rule nothing is looked at: receive, continue.
 * A delayed call waits in a list, not on the thread. */
#include "keeper/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "keeper/calls.h"
#include "keeper/filter.h"
#include "keeper/perform.h"
#include "notified/target.h"

struct waiting {
	int listener;
	uint64_t id;
	int64_t due_ns;
	struct rules_verdict verdict;
	bool performed; /* it returns `value`; else it is performed then */
	int64_t value;
};

struct notify {
	struct rules *rules;
	pthread_t thread;
	int epoll, wake;
	atomic_bool ending;
	/* From here on the thread's own. */
	struct performer *performer;
	struct notified notified;
	struct waiting *waiting;
	size_t waiting_count, waiting_room;
	char path[PATH_MAX], from[PATH_MAX], text[PATH_MAX];
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void answer(struct notify *notify, int listener, uint64_t id, int error)
{
	notified_answer(&notify->notified, listener, id, 0, 0, error);
}

static void answer_continue(struct notify *notify, int listener, uint64_t id)
{
	notified_answer(&notify->notified, listener, id, SECCOMP_USER_NOTIF_FLAG_CONTINUE, 0, 0);
}

/* ---- what is it about? ---- */

static uint64_t open_flags(const struct call *call, const struct seccomp_notif *request)
{
	struct open_how how = {0};

	if (call->flags != CALL_NONE)
		return request->data.args[call->flags] & UINT32_MAX;
	if (call->nr == SYS_openat2)
		return target_read((pid_t)request->pid, request->data.args[2], &how, sizeof how.flags) < 0 ? 0
													   : how.flags;
#ifdef SYS_creat
	if (call->nr == SYS_creat)
		return O_CREAT;
#endif
	return 0;
}

static int dir_of(const struct seccomp_notif *request, int8_t index)
{
	return index == CALL_NONE ? AT_FDCWD : (int)request->data.args[index];
}

/* False: the call makes no new name, so no rule is meant. Calls that are going to fail with EEXIST
 * are left to the kernel too. */
static bool find_path(struct notify *notify, const struct call *call, const struct seccomp_notif *request)
{
	const pid_t tid = (pid_t)request->pid;
	uint64_t flags = open_flags(call, request);
	bool opens = call->flags != CALL_NONE || flags || call->nr == SYS_openat2;
	bool unnamed = opens && (flags & O_TMPFILE) == O_TMPFILE;
	bool shortens = call->nr == SYS_truncate; /* a file that is there */
	bool follow =
	    shortens || (opens && !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL));
	struct stat st;

	if (opens && !unnamed && !(flags & O_CREAT))
		return false;
	if (target_string(tid, request->data.args[call->path], notify->text) < 0 ||
	    target_resolve(tid, dir_of(request, call->dir), notify->text, follow, notify->path) < 0)
		return false;
	return unnamed || shortens || call->set == TRITONE_CALL_RENAME || lstat(notify->path, &st) < 0;
}

static bool find_file(
    struct notify *notify, const struct call *call, const struct seccomp_notif *request, struct rules_call *ret_call)
{
	const pid_t tid = (pid_t)request->pid;

	*ret_call = (struct rules_call){
	    .name = call->name, .set = call->set, .path = notify->path, .pid = tid, .now_ns = now_ns()};
	if (call->fd != CALL_NONE)
		return target_fd_path(tid, (int)request->data.args[call->fd], notify->path) == 0;
	if (call->address != CALL_NONE)
		return target_mapped_path(tid, request->data.args[call->address], notify->path) == 0;
	if (!find_path(notify, call, request))
		return false;
	if (call->from_path != CALL_NONE &&
	    target_string(tid, request->data.args[call->from_path], notify->text) == 0 &&
	    target_resolve(tid, dir_of(request, call->from_dir), notify->text, false, notify->from) == 0)
		ret_call->from = notify->from;
	return true;
}

/* ---- verdicts ---- */

static int delay(struct notify *notify, const struct waiting *call)
{
	if (notify->waiting_count == notify->waiting_room) {
		size_t room = notify->waiting_room ? notify->waiting_room * 2 : 64;
		struct waiting *grown = reallocarray(notify->waiting, room, sizeof *grown);

		if (!grown)
			return -1;
		notify->waiting = grown;
		notify->waiting_room = room;
	}
	notify->waiting[notify->waiting_count] = *call;
	notify->waiting[notify->waiting_count++].due_ns = now_ns() + call->verdict.delay_ms * 1000000;
	return 0;
}

static void let_go(struct notify *notify, const struct waiting *call)
{
	if (call->performed)
		notified_answer(&notify->notified, call->listener, call->id, 0, call->value, 0);
	else
		answer_continue(notify, call->listener, call->id);
}

static void carry_out(struct notify *notify, int listener, const struct call *call, const struct rules_verdict *verdict)
{
	const uint64_t id = notify->notified.request->id;
	struct waiting waiting = {.listener = listener, .id = id, .verdict = *verdict};
	bool delays = verdict->mode == TRITONE_ERRNO_DELAY || verdict->mode == TRITONE_ERRNO_PERFORM_THEN_DELAY;
	enum performed performed = PERFORM_CANNOT;
	int code = EIO;

	if (verdict->mode == TRITONE_ERRNO_REFUSE) {
		rules_acted(notify->rules, verdict);
		answer(notify, listener, id, verdict->error);
		return;
	}
	/* What cannot be reported as done is done when the delay is over. */
	if (!delays || (verdict->mode == TRITONE_ERRNO_PERFORM_THEN_DELAY && perform_returns(call)))
		performed =
		    perform_call(notify->performer, call, listener, notify->notified.request, &waiting.value, &code);
	waiting.performed = performed == PERFORM_DONE;
	if (performed == PERFORM_GONE)
		return;
	if (performed == PERFORM_FAILED) {
		answer(notify, listener, id, code);
	} else if (delays) {
		if (delay(notify, &waiting) < 0)
			let_go(notify, &waiting);
		else
			rules_acted(notify->rules, verdict);
	} else if (performed == PERFORM_DONE) {
		rules_acted(notify->rules, verdict);
		answer(notify, listener, id, verdict->error);
	} else {
		answer_continue(notify, listener, id);
	}
}

static void judge(struct notify *notify, int listener)
{
	const struct seccomp_notif *request = notify->notified.request;
	const struct call *call = call_find(request->data.nr);
	struct rules_verdict verdict;
	struct rules_call what;

	if (!call || !find_file(notify, call, request, &what)) {
		answer_continue(notify, listener, request->id);
		return;
	}
	/* If the task is gone, its number may be another's, and so may be what we read. */
	if (!perform_still_valid(listener, request->id))
		return;
	if (rules_judge(notify->rules, &what, &verdict))
		carry_out(notify, listener, call, &verdict);
	else
		answer_continue(notify, listener, request->id);
}

static void receive(struct notify *notify, int listener)
{
	if (notified_receive(&notify->notified, listener) < 0)
		return; /* ENOENT: it died meanwhile */
	if (!rules_any(notify->rules))
		answer_continue(notify, listener, notify->notified.request->id);
	else
		judge(notify, listener);
}

/* ---- the thread ---- */

/* Lets go what is due, or whose rule has ended. Returns the time until the next one. */
static int release_waiting(struct notify *notify)
{
	const int64_t now = now_ns();
	int64_t next = INT64_MAX;
	size_t i, kept = 0;

	for (i = 0; i < notify->waiting_count; i++) {
		struct waiting *w = &notify->waiting[i];

		if (w->due_ns <= now || !rules_alive(notify->rules, &w->verdict, now)) {
			let_go(notify, w);
			continue;
		}
		if (w->due_ns < next)
			next = w->due_ns;
		notify->waiting[kept++] = *w;
	}
	notify->waiting_count = kept;
	if (!kept)
		return -1;
	next = (next - now + 999999) / 1000000;
	return next > INT_MAX ? INT_MAX : (int)next;
}

static void drop_listener(struct notify *notify, int listener)
{
	size_t i, kept = 0;

	for (i = 0; i < notify->waiting_count; i++)
		if (notify->waiting[i].listener != listener)
			notify->waiting[kept++] = notify->waiting[i];
	notify->waiting_count = kept;
	/* Not left to close: a child on its way to exec may hold a copy, and the next listener may get
	 * this number. */
	epoll_ctl(notify->epoll, EPOLL_CTL_DEL, listener, NULL);
	close(listener);
}

static void *run(void *arg)
{
	struct notify *notify = arg;
	struct epoll_event events[16];
	uint64_t count;

	/* An umask of our own: perform.c sets that of the task. */
	(void)unshare(CLONE_FS);
	pthread_setname_np(pthread_self(), "tritone-notify");
	while (!atomic_load(&notify->ending)) {
		int timeout = notify->waiting_count ? release_waiting(notify) : -1;
		int n = epoll_wait(notify->epoll, events, 16, timeout), i;

		for (i = 0; i < n; i++) {
			if (events[i].data.fd == notify->wake)
				(void)!read(notify->wake, &count, sizeof count);
			else if (events[i].events & EPOLLIN)
				receive(notify, events[i].data.fd);
			else
				drop_listener(notify, events[i].data.fd);
		}
	}
	return NULL;
}

static void wake(struct notify *notify)
{
	const uint64_t one = 1;

	(void)!write(notify->wake, &one, sizeof one);
}

/* ---- its life ---- */

static void release(struct notify *notify)
{
	if (notify->epoll >= 0)
		close(notify->epoll);
	if (notify->wake >= 0)
		close(notify->wake);
	performer_destroy(notify->performer);
	notified_finish(&notify->notified);
	free(notify->waiting);
	free(notify);
}

static int watch(struct notify *notify, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(notify->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Signals are the main thread's. */
static int start_thread(struct notify *notify)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&notify->thread, NULL, run, notify);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

int notify_start(struct notify **ret_notify, struct rules *rules, struct error *err)
{
	struct notify *notify = calloc(1, sizeof *notify);
	int r;

	if (!notify)
		return error_set(err, ENOMEM, "no memory for the notifier");
	notify->rules = rules;
	notify->epoll = epoll_create1(EPOLL_CLOEXEC);
	notify->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (notify->epoll < 0 || notify->wake < 0 || watch(notify, notify->wake) < 0) {
		error_set(err, errno, "starting the notifier: %s", strerror(errno));
		goto fail;
	}
	if (notified_init(&notify->notified, err) < 0 || performer_create(&notify->performer, err) < 0)
		goto fail;
	r = start_thread(notify);
	if (r) {
		error_set(err, r, "starting the notifier: %s", strerror(r));
		goto fail;
	}
	*ret_notify = notify;
	return 0;
fail:
	release(notify);
	return -1;
}

int notify_add(struct notify *notify, int listener, struct error *err)
{
	(void)notified_sync_wake_up(listener);
	if (watch(notify, listener) == 0)
		return 0;
	error_set(err, errno, "watching a listener: %s", strerror(errno));
	close(listener);
	return -1;
}

void notify_rules_changed(struct notify *notify)
{
	wake(notify);
}

void notify_stop(struct notify *notify)
{
	if (!notify)
		return;
	atomic_store(&notify->ending, true);
	wake(notify);
	pthread_join(notify->thread, NULL);
	release(notify);
}
