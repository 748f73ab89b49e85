/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interface between Tritone and a fault plugin: all that a plugin sees, and all that it needs.
 * C11 and C++17.
 *
 * A plugin is one shared module that holds one fault and exports one function, tritone_fault_v1
 * (see TRITONE_FAULT below). It is loaded into a process of its own (the *fault runner*), which
 * calls the hooks in this order, each under a deadline:
 *
 *     check -> plan -> [the host makes the undo record durable] -> inject -> verify (again and again) -> revert
 *
 *   check   can this fault work here at all? -1 with the reason if not. Optional. No effects.
 *   plan    chooses the target from call->services->targets with call's seed and writes the undo record. No effects.
 *   inject  does it. Only called once the undo record is durable.
 *   verify  looks at the system and says whether the fault is *felt*, with evidence. No effects.
 *   revert  undoes it. Must succeed when inject never ran, ran half way, ran in another process, or was reverted
 *           already. Must refuse, with EINVAL and without effects, a record that plan cannot have written.
 *
 * Each hook returns 0, or -1 with *error filled. Hooks may block; they should look at services->cancelled when they
 * loop.
 *
 * Caveats
 *  - plan, inject, verify and revert may each run in a different process: whatever a later hook needs goes into the
 *    undo record.
 *  - The undo record may be read by a later version of the plugin: put a version into it.
 *  - The host keeps nothing that a plugin allocated and frees nothing; strings that a hook passes to a service are
 *    copied.
 *  - The process has no_new_privs, no network but the services' socket (unless TRITONE_CAP_NETWORK), and may write
 *    files only below call->state_dir (with TRITONE_CAP_FILES) and call->keep_dir, where the kernel can enforce it
 *    (Landlock). Where it does, other processes' /proc/PID/exe, cwd, fd, environ and mem cannot be looked into; stat,
 *    status and cmdline can.
 *  - Structs only ever grow at the end. Look at struct_size before you touch a field that is newer than the ABI's
 *    first version. Enumerations are uint32_t with gaps: an unknown value is an error to report, never undefined
 *    behaviour.
 */
#ifndef TRITONE_FAULT_H
#define TRITONE_FAULT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRITONE_FAULT_MAGIC   0x544f5254u /* "TROT" */
#define TRITONE_FAULT_ABI     1u
#define TRITONE_UNDO_SIZE_MAX 4096u /* bytes */
#define TRITONE_TEXT_SIZE     256u  /* bytes, with the final NUL */

struct tritone_error {
	int32_t code; /* an errno value; ENOTSUP from check: "this machine or system cannot have
			 this fault" */
	char text[TRITONE_TEXT_SIZE];
};

/* --- parameters: the host parses, defaults, range-checks, prints and completes them from this
 * table --- */

enum tritone_param_type {
	TRITONE_PARAM_STRING = 0x10,
	TRITONE_PARAM_INT = 0x20, /* int64_t */
	TRITONE_PARAM_DOUBLE = 0x30,
	TRITONE_PARAM_BOOL = 0x40,
	TRITONE_PARAM_DURATION = 0x50, /* in files "250ms", "2s", "1m"; here int64_t milliseconds */
	TRITONE_PARAM_CHOICE = 0x60,   /* one of `choices`, here the string */
};

struct tritone_param {
	const char *name;     /* lower case, words joined by '-' or '_' */
	uint32_t type;        /* enum tritone_param_type */
	uint32_t required;    /* 1: no default, must be given */
	const char *fallback; /* the default, as it would be written in a file; NULL: empty / 0 / false */
	double min, max;      /* inclusive, for INT, DOUBLE and DURATION (ms); both 0: unbounded */
	const char *choices;  /* CHOICE: "a|b|c" */
	const char *unit;     /* for people; may be NULL */
	const char *help;     /* one line */
};

/* Values in the table's order; call->values[i] belongs to fault->params[i]. Only the field of its
 * type is set. */
struct tritone_value {
	const char *string; /* never NULL for STRING and CHOICE */
	int64_t integer;    /* INT, BOOL (0 or 1), DURATION (ms) */
	double number;      /* DOUBLE */
	uint32_t given;     /* 1: written by the user, 0: the default */
	uint32_t reserved;
};

/* --- the system's inventory --- */

enum tritone_target_kind {
	TRITONE_TARGET_AGENT = 0x10,    /* a process that works on a task */
	TRITONE_TARGET_SYSTEM = 0x20,   /* the orchestrator's own main process */
	TRITONE_TARGET_PROCESS = 0x28,  /* any process that the manifest names, that one too; id is its name */
	TRITONE_TARGET_PROVIDER = 0x30, /* a model provider at the gateway; id is its name */
	TRITONE_TARGET_SINK = 0x40,     /* a notification sink at the gateway */
};

enum tritone_target_flags {
	TRITONE_TARGET_OF_EVENT = 0x1, /* this target belongs to the event that triggered the fault: prefer it */
};

struct tritone_target {
	uint32_t struct_size;
	uint32_t kind;        /* enum tritone_target_kind */
	uint32_t flags;       /* enum tritone_target_flags */
	int32_t pid;          /* 0: none */
	uint64_t start_time;  /* clock ticks since boot, field 22 of /proc/PID/stat: with pid, names
				 one process for ever */
	const char *id;       /* agent id, provider name, ... never NULL */
	const char *task;     /* the task it works on, "" if unknown */
	const char *worktree; /* the directory in which it works, "" if none */
};

/* Return 0 to go on, 1 to stop. The target and its strings are valid only during the call. */
typedef int (*tritone_target_fn)(void *arg, const struct tritone_target *target);

/* --- rules: lasting effects that the host holds for the plugin; each is named by a key of the
 * plugin's choice --- */

enum tritone_gateway_action {
	TRITONE_GATEWAY_ANSWER = 0x10,    /* answer `status`, with Retry-After when retry_after_ms >= 0 */
	TRITONE_GATEWAY_DELAY = 0x20,     /* answer as usual, delay_ms later */
	TRITONE_GATEWAY_HANG = 0x30,      /* never answer; the connection stays open until the rule is cleared */
	TRITONE_GATEWAY_RESET = 0x40,     /* close the connection without an answer */
	TRITONE_GATEWAY_MALFORMED = 0x50, /* 200 with a body that is not JSON */
	TRITONE_GATEWAY_TRUNCATED = 0x60, /* 200 with a body that ends half way */
	/* Newer than the ABI's first version, as is `text`; a host that does not know one refuses it. Those from
	 * WRONG_CONTENT on are for models, not for sinks. */
	TRITONE_GATEWAY_SLOW = 0x70,            /* answer as usual, the pieces of the body delay_ms apart */
	TRITONE_GATEWAY_WRONG_CONTENT = 0x80,   /* the model says `text` (NULL: that it cannot help), calls no tools */
	TRITONE_GATEWAY_WRONG_USAGE = 0x90,     /* the tokens that the answer tells of cannot be */
	TRITONE_GATEWAY_WRONG_TOOL = 0xa0,      /* it calls the tool `text` (NULL: one that was not offered) */
	TRITONE_GATEWAY_WRONG_ARGUMENTS = 0xb0, /* it calls a tool with arguments that are not whole */
	TRITONE_GATEWAY_TOO_LONG = 0xc0,        /* answer 400: the prompt is longer than the model's context */
	TRITONE_GATEWAY_KEY = 0xd0,             /* answer 401 to whoever has another API key than `text` */
	TRITONE_GATEWAY_BROKEN_STREAM = 0xe0,   /* a stream ends half way, with an event that says error */
};

struct tritone_gateway_rule {
	uint32_t struct_size;
	uint32_t action;    /* enum tritone_gateway_action */
	const char *key;    /* <= 63 bytes; setting a key again replaces the rule */
	const char *target; /* provider or sink by id; "*": every provider (not the sinks) */
	int32_t status;     /* ANSWER: 400..599 */
	int32_t reserved;
	int64_t retry_after_ms; /* ANSWER: -1 none; sent in seconds with decimals as the providers
				   do when below one second */
	int64_t delay_ms;       /* DELAY, SLOW */
	uint64_t first;         /* leave this many matching requests alone first */
	uint64_t count;         /* then act on this many; 0: on all */
	double probability;     /* 0 and 1: always */
	int64_t lifetime_ms;    /* the rule ends by itself after this; 0: when it is cleared */
	const char *text;       /* <= 255 bytes, printable; ANSWER: what Retry-After says instead; NULL: none */
};

enum tritone_call_set {           /* which system calls a rule speaks of; OR them */
	TRITONE_CALL_WRITE = 0x1, /* write pwrite64 writev pwritev pwritev2 sendfile copy_file_range splice */
	TRITONE_CALL_SYNC = 0x2,  /* fsync fdatasync msync */
	TRITONE_CALL_CREATE =
	    0x4, /* open openat openat2 creat mkdir mkdirat, where they would make what is not there yet */
	TRITONE_CALL_RENAME = 0x8,   /* rename renameat renameat2 */
	TRITONE_CALL_LINK = 0x10,    /* link linkat symlink symlinkat */
	TRITONE_CALL_ALLOCATE = 0x20 /* ftruncate truncate fallocate */
};

enum tritone_errno_mode {
	TRITONE_ERRNO_REFUSE = 0x10,             /* the call is not performed and fails */
	TRITONE_ERRNO_PERFORM_THEN_FAIL = 0x20,  /* the call is performed, and reported as failed */
	TRITONE_ERRNO_DELAY = 0x30,              /* the call is performed, delay_ms later */
	TRITONE_ERRNO_PERFORM_THEN_DELAY = 0x40, /* the call is performed, and returns delay_ms later */
};

struct tritone_errno_rule {
	uint32_t struct_size;
	uint32_t mode;       /* enum tritone_errno_mode */
	const char *key;     /* <= 63 bytes; setting a key again replaces the rule */
	const char *path;    /* absolute: the file itself or a directory and all below it */
	uint32_t calls;      /* enum tritone_call_set */
	int32_t error;       /* the errno value that the caller gets */
	int64_t delay_ms;    /* DELAY, PERFORM_THEN_DELAY */
	uint64_t first;      /* leave this many matching calls alone first */
	uint64_t every;      /* then act on every n-th; 0 and 1: on each */
	uint64_t count;      /* at most so many times; 0: unbounded */
	double probability;  /* 0 and 1: always */
	int64_t lifetime_ms; /* the rule ends by itself after this; 0: when it is cleared */
};

enum tritone_point_action {
	TRITONE_POINT_COUNT = 0x10, /* only count the passes */
	TRITONE_POINT_ERROR = 0x20, /* the point reports `error`; what that means is the system's business */
	TRITONE_POINT_KILL = 0x30,  /* the process SIGKILLs itself there */
	TRITONE_POINT_STOP = 0x40,  /* the process SIGSTOPs itself there */
};

struct tritone_point_rule { /* a cooperative fault point in the system's own code, see
			       tritone/faultpoint.h */
	uint32_t struct_size;
	uint32_t action;  /* enum tritone_point_action */
	const char *key;  /* <= 63 bytes */
	const char *name; /* <= 55 bytes; the point */
	int32_t error;    /* ERROR: > 0 */
	int32_t reserved;
	uint64_t nth;   /* act at the n-th pass from now; 0 and 1: the next one */
	uint64_t count; /* act so many times; 0: from then on */
};

enum tritone_log_level {
	TRITONE_LOG_DEBUG = 0x10,
	TRITONE_LOG_INFO = 0x20,
	TRITONE_LOG_WARNING = 0x30,
};

/*
 * What the host does for a plugin. The first argument of each is call->host. Those that can fail
 * return -1 with *error filled: ENOTSUP when the system at hand has no such thing (no gateway, no
 * system-call filter, no fault points). Rules end when they are cleared, when their lifetime is
 * over, or when the runner and the host are both gone.
 */
struct tritone_services {
	uint32_t struct_size;
	uint32_t reserved;
	void (*log)(void *host, uint32_t level, const char *text);
	int (*cancelled)(void *host); /* 1: return as soon as you can */
	uint64_t (*random)(
	    void *host, uint64_t bound); /* uniform in [0, bound), from the run's seed; 0 when bound is 0 */
	int (*targets)(void *host, uint32_t kind, tritone_target_fn visit, void *arg, struct tritone_error *error);
	int (*gateway_rule)(void *host, const struct tritone_gateway_rule *rule, struct tritone_error *error);
	int (*errno_rule)(void *host, const struct tritone_errno_rule *rule, struct tritone_error *error);
	int (*faultpoint)(void *host, const struct tritone_point_rule *rule, struct tritone_error *error);
	/* How often a rule has acted, and how often it was looked at (either may be NULL). ENOENT:
	 * no such rule, or ended. */
	int (*rule_hits)(
	    void *host, const char *key, uint64_t *ret_hits, uint64_t *ret_seen, struct tritone_error *error);
	/* Ends a rule of any kind. A key that is not there is no error. */
	int (*rule_clear)(void *host, const char *key, struct tritone_error *error);
	/* One fact for the report, such as ("pid", "4711"); from any hook. */
	void (*evidence)(void *host, const char *name, const char *value);
};

struct tritone_call {
	uint32_t struct_size;
	uint32_t value_count;
	const struct tritone_services *services;
	void *host;
	const struct tritone_value *values;
	const char *fault_id;  /* unique in the run, [a-z0-9-]: use it as prefix of rule keys and
				 names of kept files */
	const char *state_dir; /* the system's directory, absolute: nothing outside it may be touched */
	const char *keep_dir;  /* outside the system's directory, for what revert needs back (files);
				 absolute, exists */
	uint64_t seed;
	int64_t duration_ms; /* how long the fault is to last; 0: until reverted */
};

struct tritone_undo {
	uint32_t size; /* bytes used; plan sets it, 0..TRITONE_UNDO_SIZE_MAX */
	uint32_t reserved;
	uint8_t bytes[TRITONE_UNDO_SIZE_MAX];
};

enum tritone_felt {
	TRITONE_NOT_YET = 0x10,     /* ask again, until the deadline for the proof */
	TRITONE_FELT = 0x20,        /* proven */
	TRITONE_NEVER = 0x30,       /* proven not to have happened, and it will not: "the agent ignores SIGTERM" */
	TRITONE_UNEXERCISED = 0x40, /* in force, but nobody has come across it yet: ask again; at
				       the end it is `vacuous` */
};

struct tritone_proof {
	uint32_t struct_size;
	uint32_t felt;                /* enum tritone_felt */
	char text[TRITONE_TEXT_SIZE]; /* the evidence in one line: what was seen, from outside */
};

/* --- the descriptor --- */

enum tritone_blast {
	TRITONE_BLAST_PROCESS = 0x10,
	TRITONE_BLAST_DIRECTORY = 0x20,
	TRITONE_BLAST_GATEWAY = 0x30,
	TRITONE_BLAST_SYSTEM = 0x40,       /* the whole system under test */
	TRITONE_BLAST_HOST = 0x50,         /* the machine */
	TRITONE_BLAST_PATHOLOGICAL = 0x60, /* refused without --pathological */
};

enum tritone_capability {
	TRITONE_CAP_SIGNAL = 0x1,      /* signals processes of the system */
	TRITONE_CAP_FILES = 0x2,       /* writes below state_dir */
	TRITONE_CAP_GATEWAY = 0x4,     /* needs services->gateway_rule */
	TRITONE_CAP_ERRNO = 0x8,       /* needs services->errno_rule: the system must be started under the
				    system-call filter */
	TRITONE_CAP_FAULTPOINT = 0x10, /* needs services->faultpoint */
	TRITONE_CAP_NETWORK = 0x20,    /* opens sockets of its own */
	TRITONE_CAP_INSTANT = 0x40,    /* nothing lasts once it is felt (a kill): the host reverts at once */
};

struct tritone_fault {
	uint32_t magic;        /* TRITONE_FAULT_MAGIC */
	uint32_t abi;          /* TRITONE_FAULT_ABI */
	uint32_t struct_size;  /* sizeof(struct tritone_fault) as the plugin was compiled */
	uint32_t blast;        /* enum tritone_blast */
	uint32_t capabilities; /* enum tritone_capability, OR-ed */
	uint32_t param_count;
	const char *name; /* [a-z0-9-], as the file is called */
	const char *version;
	const char *summary; /* one line */
	const struct tritone_param *params;
	int64_t proof_ms; /* how long the proof may take when the experiment does not say; 0: 5000 */
	int (*check)(const struct tritone_call *call, struct tritone_error *error);
	int (*plan)(const struct tritone_call *call, struct tritone_undo *undo, struct tritone_error *error);
	int (*inject)(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error);
	int (*verify)(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_proof *proof,
	    struct tritone_error *error);
	int (*revert)(const struct tritone_call *call, const struct tritone_undo *undo, struct tritone_error *error);
};

typedef const struct tritone_fault *(*tritone_fault_fn)(void);

#define TRITONE_FAULT_SYMBOL "tritone_fault_v1"

/* The first three fields of a descriptor: static const struct tritone_fault fault =
 * {TRITONE_FAULT_HEAD, .name = ...}; */
#define TRITONE_FAULT_HEAD                                                                                             \
	.magic = TRITONE_FAULT_MAGIC, .abi = TRITONE_FAULT_ABI, .struct_size = (uint32_t)sizeof(struct tritone_fault)

/* Its table of parameters, and how many they are. In C; C++ wants a descriptor's fields in their order. */
#define TRITONE_FAULT_PARAMS(table) .params = (table), .param_count = (uint32_t)(sizeof(table) / sizeof((table)[0]))

/* The hooks that every fault has; they end a descriptor. */
#define TRITONE_FAULT_HOOKS(plan_, inject_, verify_, revert_)                                                          \
	.plan = (plan_), .inject = (inject_), .verify = (verify_), .revert = (revert_)

/* The one exported function: TRITONE_FAULT(fault) at the end of the file, no semicolon after it. */
#define TRITONE_FAULT(descriptor)                                                                                      \
	__attribute__((visibility("default"))) const struct tritone_fault *tritone_fault_v1(void);                     \
	__attribute__((visibility("default"))) const struct tritone_fault *tritone_fault_v1(void)                      \
	{                                                                                                              \
		return &(descriptor);                                                                                  \
	}

#ifdef __cplusplus
}
#endif
#endif
