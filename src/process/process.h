/* What the files of the process module share. */
#ifndef ROTA__PROCESS_PROCESS_H
#define ROTA__PROCESS_PROCESS_H

#include "base/sys.h"
#include "task/task.h"

#include <rota/process.h>

#include <signal.h>
#include <sys/wait.h>

/* A descriptor of this process and the number that it has in the child. */
struct rota__passed {
    int from, to;
};

/* What a child needs between clone(2) and execve(2), where it may allocate nothing. */
struct rota__launch {
    const char *const *argv;
    const rota_process_options *options;
    char **programs; /* to be tried in turn; ends with NULL */
    char **env;
    struct rota__passed *passed; /* by `to` */
    size_t passed_count;
};

/* Prepares a launch; the standard streams, in `passed` as far as they are not inherited, are the
 * caller's. 0, -EINVAL or -ENOMEM. */
int rota__launch_init(struct rota__launch *launch, const char *const *argv,
                      const rota_process_options *options, const struct rota__passed *standard,
                      size_t standard_count);
void rota__launch_fini(struct rota__launch *launch);
/* Starts the child; returns when it runs its program, or why it does not. `ret_pidfd` is -1 where
 * filters refuse such descriptors. */
int rota__launch_run(struct rota__launch *launch, pid_t *ret_pid, int *ret_pidfd);

/* Sets the text of a failure to start, and reports it. Returns `err`. */
int rota__launch_failed(const char *const *argv, const rota_process_options *options, int err);

/* Whether an error of a newer system call may be that of a seccomp filter which does not know
 * it. */
static inline bool rota__process_refused(int err)
{
    return err == -ENOSYS || err == -EPERM;
}

/* waitid(2) by the descriptor, or by the process ID without one. */
static inline int rota__process_waitid(pid_t pid, int pidfd, siginfo_t *ret_info, int how)
{
    return (int)rota__sys_result(pidfd < 0 ? waitid(P_PID, (id_t)pid, ret_info, how)
                                           : waitid((idtype_t)P_PIDFD, (id_t)pidfd, ret_info, how));
}

#endif
