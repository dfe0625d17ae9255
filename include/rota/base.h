/* base: what every other header uses: time, borrowed bytes, errors, the log hook, memory.
 *
 * Errors. A call that can fail returns `int` or `ssize_t`: 0 or more is success, less is `-errno`
 * or one of the ROTA_... codes below. `rota_error(err)` describes what failed, on what, and why;
 * `rota_strerror` describes the bare code. Results go through `ret_...` parameters, which come last
 * and are untouched on failure. `errno` itself means nothing after a call that suspends,
 * because other tasks have run meanwhile.
 *
 *     int err = rota_sleep(50 * ROTA_MILLISECOND);
 *     if (err < 0)
 *         fprintf(stderr, "%s\n", rota_error(err));
 *
 * Time. `rota_time` is a signed count of nanoseconds on the monotonic clock; a duration is one too:
 * `50 * ROTA_MILLISECOND`.
 *
 * Bytes. A `rota_str` is borrowed: it points to bytes that somebody else owns. ROTA_STR makes one
 * of a string literal, and printf prints it with "%.*s":
 *
 *     rota_str name = ROTA_STR("rota");
 *     printf("hello, %.*s\n", ROTA_STR_ARG(name));
 *
 * Reports. Failures that no caller sees, deadlocks and stalled loops are reported to the log hook.
 * Where no hook is set, programs of rota_run, rota_main, rota_run_workers and
 * rota_run_worker_processes write warnings and errors to standard error. A loop that your program
 * runs itself by rota_loop_run is silent unless ROTA_DEBUG=1 is in the environment. ROTA_LOG=debug,
 * info, warning or error sets the lowest level that is written there; ROTA_LOG=off, like
 * rota_log_set(NULL, NULL), silences it. At most ten reports with the same text, and a hundred
 * warnings or errors with the same format, are passed on per minute. The rest are only counted. */
#ifndef ROTA_BASE_H
#define ROTA_BASE_H

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ROTA_API __attribute__((visibility("default")))

/* Marks a function that may suspend the calling task and is a cancellation point: it returns
 * -ECANCELED inside a cancelled scope and -ETIMEDOUT once a deadline around it has passed, also
 * when it would not have had to wait. Outside a task it returns ROTA_ENOTASK. Compilers warn where
 * the result is dropped: a cancellation that is ignored comes back, and a loop that ignores it
 * never ends. */
#define ROTA_SUSPENDS ROTA_API __attribute__((warn_unused_result))

/* Marks a release that may suspend: other tasks may run meanwhile. It shields itself, so no
 * cancellation arrives in it. Between two calls that have none of these marks no other task of the
 * thread runs. */
#define ROTA_SUSPENDS_SHIELDED ROTA_API

/* Marks such a release whose result tells of something that was lost and that nothing else tells
 * of. Compilers warn where it is dropped. */
#define ROTA_SUSPENDS_SHIELDED_RESULT ROTA_SUSPENDS_SHIELDED __attribute__((warn_unused_result))

/* Drops the result of a call on purpose. (gcc warns in spite of a cast to void.)
 *
 *     ROTA_IGNORE(rota_stream_write(s, "bye\n", 4)); */
#define ROTA_IGNORE(call) ((void)!(call))

#define ROTA_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* Releases an object when the block is left, however it is left; the release may suspend.
 *
 *     ROTA_AUTO(rota_listener) l = NULL;           // a pointer, for what is allocated
 *     ROTA_AUTO(rota_task) a = NULL, b = NULL;     // two of them: b is released first
 *     ROTA_SCOPED(rota_bytes) b = ROTA_BYTES_INIT; // a value, for what lives in your storage
 *
 * Works with each type whose header has a ROTA_DEFINE_AUTO or ROTA_DEFINE_SCOPED for it. */
#define ROTA_AUTO(type) __attribute__((cleanup(type##__auto))) __typeof__(type *)
#define ROTA_SCOPED(type) __attribute__((cleanup(type##__scoped))) type

#define ROTA_DEFINE_AUTO(type, release)       \
    static inline void type##__auto(type **p) \
    {                                         \
        release(*p);                          \
    }                                         \
    typedef int type##__auto_defined
#define ROTA_DEFINE_SCOPED(type, release)      \
    static inline void type##__scoped(type *p) \
    {                                          \
        release(p);                            \
    }                                          \
    typedef int type##__scoped_defined

/* A name that differs from line to line, so that block macros can be nested. */
#define ROTA__UNIQUE(name) ROTA__PASTE(name, __LINE__)
#define ROTA__PASTE(a, b) ROTA__PASTE_EXPANDED(a, b)
#define ROTA__PASTE_EXPANDED(a, b) a##_##b

/* Nanoseconds: a point on the monotonic clock, or a duration. */
typedef int64_t rota_time;
#define ROTA_NANOSECOND ((rota_time)1)
#define ROTA_MICROSECOND (1000 * ROTA_NANOSECOND)
#define ROTA_MILLISECOND (1000 * ROTA_MICROSECOND)
#define ROTA_SECOND (1000 * ROTA_MILLISECOND)
#define ROTA_MINUTE (60 * ROTA_SECOND)
/* No deadline: later than every point in time. */
#define ROTA_NEVER INT64_MAX

/* Borrowed bytes; not terminated by NUL. */
typedef struct rota_str {
    const char *ptr;
    size_t len;
} rota_str;

/* The bytes of a string literal, without the NUL at its end. */
#ifdef __cplusplus
#define ROTA_STR(literal) (rota_str{"" literal, sizeof(literal) - 1})
#else
#define ROTA_STR(literal) ((rota_str){"" literal, sizeof(literal) - 1})
#endif

/* The two arguments of "%.*s" for a rota_str, which is evaluated more than once. As always with
 * "%.*s", printing ends at a NUL. */
#define ROTA_STR_ARG(str) \
    ((int)((str).len < INT_MAX ? (str).len : INT_MAX)), ((str).ptr ? (str).ptr : "")

/* Whether the bytes are those of `text`. */
static inline bool rota_str_equal(rota_str s, const char *text)
{
    return __builtin_strlen(text) == s.len && (!s.len || __builtin_memcmp(s.ptr, text, s.len) == 0);
}

/* Bytes that you own. They are followed by a NUL that `len` does not count, so text is also a C
 * string.
 *
 *     ROTA_SCOPED(rota_bytes) text = ROTA_BYTES_INIT;
 *     int err = rota_file_load("/etc/hosts", 0, &text); */
typedef struct rota_bytes {
    char *ptr;
    size_t len;
} rota_bytes;

#ifdef __cplusplus
#define ROTA_BYTES_INIT \
    {                   \
    }
#else
#define ROTA_BYTES_INIT \
    {                   \
        NULL, 0         \
    }
#endif

/* Frees the memory and leaves the bytes empty, ready to be used again. Does nothing if they are
 * empty. */
ROTA_API void rota_bytes_fini(rota_bytes *bytes);
ROTA_DEFINE_SCOPED(rota_bytes, rota_bytes_fini);

/* rota's own error codes. They never collide with -errno. */
enum {
    ROTA_EOF = -65537,        /* the stream or the iteration ended before what was asked for */
    ROTA_ECLOSED = -65538,    /* the queue, pool or listener was closed */
    ROTA_ELIMIT = -65539,     /* input exceeded a limit, such as the length of a line */
    ROTA_ENOHOST = -65540,    /* the host name does not exist */
    ROTA_EDNS = -65541,       /* the host name could not be looked up now */
    ROTA_ENOTASK = -65542,    /* called without a loop, or outside a task; rota_run gives both */
    ROTA_ETHREAD = -65543,    /* an object was used from a thread that is not its loop's */
    ROTA_ECRASHED = -65544,   /* a worker process died while it ran the job */
    ROTA_ESCOPE = -65545,     /* a generator yielded inside a scope that it had opened itself */
    ROTA_ETLS = -65546,       /* the TLS handshake or connection failed */
    ROTA_ECERT = -65547,      /* the peer's certificate is not trusted */
    ROTA_ETRUNCATED = -65548, /* the data ended early: what was read may be incomplete */
    ROTA_EPROTOCOL = -65549,  /* the peer broke the protocol */
    ROTA_EHELD = -65550,      /* a process has ended, but others hold its pipes open */
    ROTA_EREDIRECTS = -65551  /* more redirects than are followed */
};

/* Returns a text for any code that rota returns. Never NULL; valid for ever; may be called
 * anywhere. */
ROTA_API const char *rota_strerror(int err);

/* Returns the text of the last failure if that was `err`: "listen on 127.0.0.1:80: Address already
 * in use". Otherwise, and where memory is missing, returns rota_strerror(err).
 *
 * Each task has a record of its last failure, and each thread one for code outside tasks. The text
 * travels with the result: rota_join, a group, rota_gather, a generator, an executor, rota_run_on
 * and rota_run also pass on the text of the task or job that failed. A call that returns no code
 * (free, fini, what ROTA_AUTO, ROTA_SCOPED and rota_defer run) leaves the record as it was.
 *
 * Never NULL. The text is UTF-8 of at most 511 bytes without control characters and stays valid
 * until the task's next call that fails. */
ROTA_API const char *rota_error(int err);

/* Stores the text of a failure and returns `err`, so that a function can end with it:
 *
 *     return rota_error_set(-EINVAL, "port \"%s\": not a number", text);
 *
 * Name the operation, its object and the cause, in lower case, without a full stop. Never put a
 * password in. Control characters and bytes that are not UTF-8 are stored as \xNN. Longer text is
 * cut and ends with "...". The arguments may include rota_error(err). Does nothing if `err` is not
 * negative. Keeps errno; may be called anywhere. */
ROTA_API int rota_error_set(int err, const char *format, ...) ROTA_PRINTF(2, 3);

/* Puts a prefix and ": " before the text of the failure `err`, and returns `err`. Keeps a detail.
 *
 *     return rota_error_wrap(err, "load settings");
 *     // load settings: open "app.conf": No such file or directory */
ROTA_API int rota_error_wrap(int err, const char *format, ...) ROTA_PRINTF(2, 3);

/* For functions that release something. Write it before calls that may fail: when the block is
 * left, the record is as it was before. Inside the block, the record begins empty.
 *
 *     pool *pool_free(pool *p)
 *     {
 *         ROTA_KEEP_ERROR;
 *         ...
 *     } */
#define ROTA_KEEP_ERROR                                                                      \
    __attribute__((cleanup(rota_error_put_back), unused)) rota_error_kept rota__error_kept = \
        rota_error_set_aside()

struct rota__error;
typedef struct rota_error_kept {
    struct rota__error *_error;
} rota_error_kept;

/* The two halves of ROTA_KEEP_ERROR: take the record away, and put it back. */
ROTA_API rota_error_kept rota_error_set_aside(void);
ROTA_API void rota_error_put_back(rota_error_kept *kept);

/* A structure that a library attaches to its failures, for callers that need more than a text: a
 * server's code, a position. The address of the type is its identity: define one constant
 * for each structure. A thread keeps its last failure, so a shared library that defines a type must
 * stay loaded: link it with `-z nodelete`. */
typedef struct rota_error_type {
    size_t size;
    /* Frees what the structure owns, not the structure. May be NULL. Another thread may call it. */
    void (*fini)(void *detail);
    /* Writes the text of a failure, as rota_error_set would format it: at most `size` bytes,
     * with a NUL. Required by rota_error_set_deferred; otherwise unused. Another thread may call
     * it, and several at once. It must neither suspend nor call rota_error. */
    void (*words)(const void *detail, int err, char *ret_words, size_t size);
} rota_error_type;

/* Does what rota_error_set does and attaches a detail: `type->size` bytes are copied from `detail`.
 * The record then owns what the structure owns, and calls `fini` when it is overwritten or freed.
 * If the detail cannot be kept, `fini` is called before this call returns. Either way, it is no
 * longer yours.
 *
 * A detail travels with the text, also to other threads, but not out of the worker of a process
 * pool. */
ROTA_API int rota_error_set_detail(int err, const rota_error_type *type, void *detail,
                                   const char *format, ...) ROTA_PRINTF(4, 5);

/* Does the same, but `type->words` writes the text when it is first read: for failures that are
 * frequent and mostly expected, such as -ECANCELED and -ETIMEDOUT. Returns `err`. Where
 * memory is missing, rota_error returns the text of rota_strerror. */
ROTA_API int rota_error_set_deferred(int err, const rota_error_type *type, void *detail);

/* Returns the detail of the last failure if that was `err` and its detail is of this type, else
 * NULL. Borrowed; valid as long as the text is. */
ROTA_API const void *rota_error_detail(int err, const rota_error_type *type);

/* "0.1.0": the version of the library that is running. */
ROTA_API const char *rota_version(void);

/* Links inside objects that live in your storage. Fields whose names begin with `_` and types whose
 * names begin with `rota__` belong to the library. */
struct rota__list {
    struct rota__list *next, *prev;
};

typedef enum rota_log_level {
    ROTA_LOG_DEBUG,
    ROTA_LOG_INFO,
    ROTA_LOG_WARNING,
    ROTA_LOG_ERROR
} rota_log_level;

/* Receives one report, possibly of several lines, without a final newline. It may be called from
 * any thread of the program and must not suspend. */
typedef void rota_log_fn(void *arg, rota_log_level level, const char *message);

/* Sets the hook for the whole program. It receives reports of all levels. With NULL nothing is
 * reported anywhere. Call it before the first loop runs. */
ROTA_API void rota_log_set(rota_log_fn *fn, void *arg);

/* A ready-made hook: writes "rota: message" to standard error, in one system call. */
ROTA_API void rota_log_stderr(void *arg, rota_log_level level, const char *message);

/* Reports to the hook; for libraries that are built on this one. Truncated at 8 KiB. At most a
 * hundred warnings and errors with the same `format`, and ten reports with the same text, are
 * passed on per minute. A format of just "%s" is exempt from the first limit. */
ROTA_API void rota_log(rota_log_level level, const char *format, ...) ROTA_PRINTF(2, 3);

/* Where the library's memory comes from. `resize` is realloc; sizes are never 0. Either may return
 * NULL, and then the call in progress fails with -ENOMEM. */
typedef struct rota_allocator {
    void *(*resize)(void *ctx, void *ptr, size_t size);
    void (*release)(void *ctx, void *ptr);
    void *ctx;
} rota_allocator;

/* Sets the allocator for the whole program; NULL restores malloc. Call it before anything else.
 * `allocator` is copied. Stacks are mapped from the kernel and do not come from here. */
ROTA_API void rota_allocator_set(const rota_allocator *allocator);

/* Memory from that allocator, for libraries that are built on this one; NULL where there is none.
 * `size` is not 0. rota_zalloc clears it. rota_free accepts NULL. */
ROTA_API void *rota_alloc(size_t size);
ROTA_API void *rota_zalloc(size_t size);
ROTA_API void *rota_resize(void *ptr, size_t size);
ROTA_API void rota_free(void *ptr);

#ifdef __cplusplus
}
#endif

#endif
