#include "task/task.h"

#include <rota/stream.h>

static const struct rota__wait_kind waiting = {"descriptor", rota__op_abort};

int rota_fd_wait(int fd, int events)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    if (!events || events & ~(ROTA_READABLE | ROTA_WRITABLE))
        return -EINVAL;
    err = rota__fd_check_pollable(fd);
    if (err < 0)
        return err;
    struct rota__op op = {
        .kind = ROTA__OP_POLL, .loop = rota__loop_here, .poll_fd = fd, .events = events};
    return (int)rota__op_await(&op, &waiting);
}
