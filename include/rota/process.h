/* process: start other programs, write to them, read from them, and end them with the block that
 * they belong to.
 *
 *     static int sorted(void *arg)
 *     {
 *         ROTA_SCOPED(rota_communication) c = {.input = {"pear\napple\n", 11}};
 *         int code = rota_process_run(ROTA_ARGV("sort"), NULL, &c);
 *         if (code != 0)
 *             return code < 0 ? code : -EIO;           // it did not run, or it failed
 *         fputs(c.out.ptr, stdout);                    // ends with a NUL
 *         return 0;
 *     }
 *
 * Or piece by piece. The process owns the streams:
 *
 *     static int first_answer(void *arg)
 *     {
 *         ROTA_AUTO(rota_process) sh = NULL;
 *         rota_process_options piped = {.in = ROTA_PROCESS_PIPE, .out = ROTA_PROCESS_PIPE};
 *         int err = rota_process_spawn(ROTA_SHELL("read x; echo $(($x))"), &piped, &sh);
 *         if (err < 0)
 *             return err;
 *         err = rota_stream_write(rota_process_in(sh), "6 * 7\n", 6);
 *         if (err < 0)
 *             return err;
 *         rota_str line;
 *         err = rota_stream_read_line(rota_process_out(sh), &line);
 *         return err > 0 ? atoi(line.ptr) : err;       // sh ends however you leave
 *     }
 *
 * Freeing a process kills it and waits for it. The end of the loop does the same for all processes
 * that are left. So no child stays behind or becomes a zombie, unless a signal kills the program:
 * ROTA_UNTIL_STOP ends the loop on SIGTERM. Children of the child are covered only with the option
 * `group`.
 *
 * A child inherits the three standard streams as the options say, and the descriptors that the
 * options name. All others are closed, marked close-on-exec or not. Ignored signals stay ignored,
 * except SIGPIPE and SIGXFSZ. No signal is blocked and none has a handler.
 *
 * The exit of a child is seen through a descriptor; SIGCHLD is left to the program. If the program
 * ignores SIGCHLD or waits for any child, the status is lost: see rota_process_wait. */
#ifndef ROTA_PROCESS_H
#define ROTA_PROCESS_H

#include <rota/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_process rota_process;

/* An argument list, the program's name first; and one that runs a command in the shell. Never build
 * a shell command from input.
 *
 * The list lives as long as the block that it is written in; in C++ as long as the expression,
 * which is enough for a call. */
#ifdef __cplusplus
#define ROTA_ARGV(...) rota__argv_of(__VA_ARGS__)
#else
#define ROTA_ARGV(...) ((const char *[]){__VA_ARGS__, NULL})
#endif
#define ROTA_SHELL(command) ROTA_ARGV("/bin/sh", "-c", (command))

#ifdef __cplusplus
extern "C++" {
template <size_t n> struct rota__argv {
    const char *words[n];
    operator const char * const *() const
    {
        return words;
    }
};

template <class... word> rota__argv<sizeof...(word) + 1> rota__argv_of(word... words)
{
    return {{words..., NULL}};
}
}
#endif

/* For `in`, `out` and `err`. A number of 1 or more is a descriptor of yours, which you keep. */
enum {
    ROTA_PROCESS_INHERIT = 0,      /* the one of this process */
    ROTA_PROCESS_NULL = -1048577,  /* /dev/null */
    ROTA_PROCESS_PIPE = -1048578,  /* a stream: rota_process_in, _out, _err */
    ROTA_PROCESS_STDOUT = -1048579 /* for `err`: the same as `out` */
};

/* A further descriptor for the child, which gets your `fd` as number `as`. */
typedef struct rota_process_fd {
    int fd;
    /* 3 or more. */
    int as;
} rota_process_fd;

/* Zero selects the default of each field. */
typedef struct rota_process_options {
    /* Program to run. Default: argv[0]. */
    const char *program;
    /* Working directory. Default: that of this program. */
    const char *cwd;
    /* Changes to the child's environment: "NAME=value" sets a variable, "NAME" removes one. Ends
     * with NULL. */
    const char *const *env;
    /* The child gets the variables of `env` only, and none of this program. */
    bool env_only;
    /* ROTA_PROCESS_... or a descriptor. */
    int in, out, err;
    /* Further descriptors for the child. */
    const rota_process_fd *fds;
    size_t fd_count;
    /* The child leads a new process group; signals go to the whole group. */
    bool group;
    /* The child leads a new session without a terminal, and a new group. */
    bool session;
    /* Time between SIGTERM and SIGKILL when the process is freed. Default: 0, SIGKILL at once. */
    rota_time grace;
} rota_process_options;

/* How a process ended. All zero: not known, for example because it still runs. */
typedef struct rota_process_status {
    /* It has ended; otherwise the other fields have no meaning. */
    bool known;
    /* Exit code, 0 to 255; 128 + signal if a signal ended it. */
    int code;
    /* 0 if it exited. */
    int signal;
    /* It left a core dump. */
    bool core;
} rota_process_status;

#define ROTA_PROCESS_STATUS_TEXT 64

/* Writes "exit code 3", "signal 9 (Killed)" or "end not known" into `ret_text`, which has room for
 * ROTA_PROCESS_STATUS_TEXT bytes, and returns it. */
ROTA_API const char *rota_process_status_text(const rota_process_status *status, char *ret_text);

/* ---- Starting ---- */

/* Starts a program. `argv` ends with NULL. A name without a slash is looked up in the child's PATH;
 * a relative one counts from `cwd`. Everything is copied; `options` may be NULL.
 *
 * The call does not suspend, but it blocks the thread until the kernel has loaded the program:
 * about 0.3 ms, regardless of the size of this process. A child that is killed before that counts
 * as started.
 *
 * After a failed start, rota_error names the step that failed and its path: "spawn make:
 * change to /nowhere: No such file or directory". The log hook gets them at INFO.
 *
 * Returns 0, -ENOENT (no such program, or `cwd`), -EACCES (not executable), -ENOTDIR, -ENOEXEC
 * (neither a binary nor a script with #!), -E2BIG (arguments and environment are too long), -EAGAIN
 * (no more processes are allowed), -EMFILE, -ENFILE, -EBADF (a given descriptor), -EINVAL (no
 * argument, two descriptors for one number, a number under 3 or over the limit of descriptors),
 * -ENOMEM, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, or another error of execve(2). */
ROTA_SUSPENDS int rota_process_spawn(const char *const *argv, const rota_process_options *options,
                                     rota_process **ret_process);

/* Returns the process ID. The kernel does not reuse it until the process is freed or its
 * end was waited for. */
ROTA_API pid_t rota_process_pid(const rota_process *p);

/* Our ends of the pipes: write to `in`, read from `out` and `err`. NULL where there is no pipe.
 * They are freed with the process. After rota_stream_close or rota_stream_shutdown of `in` the
 * child reads the end of its input. */
ROTA_API rota_stream *rota_process_in(const rota_process *p);
ROTA_API rota_stream *rota_process_out(const rota_process *p);
ROTA_API rota_stream *rota_process_err(const rota_process *p);

/* ---- Waiting and ending ---- */

/* Waits until the process has ended. Any number of tasks may wait, and later calls return the same.
 * `ret_status` may be NULL. Output that the child left in its pipes can still be read.
 *
 * Returns the exit code, or 128 + N if signal N ended it, as shells do; -ECANCELED, -ETIMEDOUT,
 * ROTA_ENOTASK, ROTA_ETHREAD, ROTA_ECLOSED (it is being freed), -ENOMEM; -ECHILD (it has ended, but
 * its status is lost, because the program ignores SIGCHLD or has waited for it elsewhere). */
ROTA_SUSPENDS int rota_process_wait(rota_process *p, rota_process_status *ret_status);

/* Tells whether the process has ended. */
ROTA_API bool rota_process_done(rota_process *p);

/* Sends a signal to the process, never to another one that reuses its ID. With `group` or
 * `session` the whole group gets it, also after the process itself has ended. Returns 0, -ESRCH (no
 * process is left), -EPERM, -EINVAL, ROTA_ETHREAD. */
ROTA_API int rota_process_kill(rota_process *p, int signal);

/* Sends SIGTERM (and SIGCONT, if the process is stopped), waits for `grace`, then sends SIGKILL;
 * with a `grace` of 0 it sends SIGKILL at once. Waits for the end. If the caller is cancelled
 * meanwhile, the process goes on as it is. Returns what rota_process_wait does. */
ROTA_SUSPENDS int rota_process_terminate(rota_process *p, rota_time grace,
                                         rota_process_status *ret_status);

/* Closes the pipes, ends the process as the option `grace` says, waits for it and frees it. With
 * `group` or `session` the whole group gets SIGTERM, but only the process itself has the grace:
 * once it has ended, the rest of the group gets SIGKILL. To give the others time, first send
 * SIGTERM by rota_process_kill and wait for a sign such as the end of their output. Tasks that
 * still wait for the process get its status. Shields itself. Outside a task there is no grace.
 * Accepts NULL, returns NULL. ROTA_AUTO(rota_process) calls this. */
ROTA_SUSPENDS_SHIELDED rota_process *rota_process_free(rota_process *p);
ROTA_DEFINE_AUTO(rota_process, rota_process_free);

/* ---- All at once ---- */

/* The input of a process, and its output. */
typedef struct rota_communication {
    /* Borrowed. After these bytes the child reads the end of its input. Bytes that were written to
     * the child are removed here. */
    rota_str input;
    /* Limit of each output, in bytes. Default: 16 MiB. */
    size_t limit;
    /* How long to wait for outputs that stay open after the child's end, see below. Default: 1 s.
     * ROTA_NEVER waits for their end. */
    rota_time linger;
    /* What the child wrote to its pipes; owned by you. */
    rota_bytes out, err;
    /* `known` if the child has ended, whatever the call returns. */
    rota_process_status status;
    size_t _room[2];
} rota_communication;

#ifdef __cplusplus
#define ROTA_COMMUNICATION_INIT \
    {                           \
    }
#else
#define ROTA_COMMUNICATION_INIT \
    {                           \
        .limit = 0              \
    }
#endif

/* Writes the input, collects the outputs that are pipes, and waits for the end, all at once, so
 * that neither side blocks the other. It is not an error if the child does not read its input.
 *
 * Also after an error, what the child had written by then is appended to `out` and `err`, and the
 * process goes on unless it has ended. After ROTA_ELIMIT, further output can be read from the
 * stream.
 *
 * A program that the child started may outlive it and hold the pipes, so that they do not end. If
 * nothing comes through them for `linger` after the end of the child (or after this call began, if
 * that is later), the call returns ROTA_EHELD, and `status` is set.
 *
 * Returns as rota_process_wait does; ROTA_ELIMIT (an output is longer than `limit`), ROTA_EHELD,
 * -EBUSY (another task uses the streams), -ENOMEM, or an error of rota_stream_read. */
ROTA_SUSPENDS int rota_process_communicate(rota_process *p, rota_communication *c);

/* Runs a program, waits for its end, and returns its exit code. With `c`, standard output and
 * standard error are pipes unless the options say otherwise (by a number, such as 2), and standard
 * input is a pipe if `c` has input. Without `c` there are no pipes. After an error the process is
 * killed.
 *
 * Returns as rota_process_spawn, rota_process_communicate and rota_process_wait do. */
ROTA_SUSPENDS int rota_process_run(const char *const *argv, const rota_process_options *options,
                                   rota_communication *c);

/* Frees both outputs and makes them empty. */
ROTA_API void rota_communication_fini(rota_communication *c);
ROTA_DEFINE_SCOPED(rota_communication, rota_communication_fini);

#ifdef __cplusplus
}
#endif

#endif
