/* Which worker this is, and the port that all listen on.
 *
 * Port 0: the first worker that asks takes a free port and publishes it. If a worker has taken a
 * port and finds that another one was faster, it closes its own and takes the published one. No
 * worker waits for another, so one that dies meanwhile stops none. */
#include "exec/exec.h"
#include "worker/worker.h"

#include <signal.h>

__thread struct rota__worker_place *rota__worker_here;

int rota__worker_count_of(unsigned n)
{
    if (n > ROTA__WORKERS_MAX)
        return -EINVAL;
    return (int)(n ? n : rota__processors());
}

int rota_worker_index(void)
{
    return rota__worker_here ? rota__worker_here->index : -1;
}

unsigned rota_worker_count(void)
{
    return rota__worker_here ? rota__worker_here->count : 0;
}

static int listen_on_any(const char *host, const rota_listen_options *options, _Atomic(int) *port,
                         rota_listener **ret_listener)
{
    int known = atomic_load(port);
    if (known == 0) {
        rota_listener *l;
        int err = rota_tcp_listen(host, 0, options, &l);
        if (err < 0)
            return err;
        if (atomic_compare_exchange_strong(port, &known, rota_listener_port(l))) {
            *ret_listener = l;
            return 0;
        }
        rota_listener_free(l);
    }
    return rota_tcp_listen(host, known, options, ret_listener);
}

/* SIGCHLD makes the supervisor check its workers, as the death of a worker does. */
static void tell_supervisor(struct rota__worker_report *report)
{
    if (!atomic_exchange(&report->listens, true))
        kill(report->supervisor, SIGCHLD);
}

int rota_worker_listen(const char *host, int port, const rota_listen_options *options,
                       rota_listener **ret_listener)
{
    struct rota__worker_place *here = rota__worker_here;
    if (!here)
        return rota_tcp_listen(host, port, options, ret_listener);
    rota_listen_options shared = {.reuse_port = true};
    if (options)
        shared = *options;
    shared.reuse_port = true;
    int err;
    if (port != 0)
        err = rota_tcp_listen(host, port, &shared, ret_listener);
    else if (here->asked == ROTA__WORKER_PORTS)
        err = ROTA_ELIMIT;
    else
        err = listen_on_any(host, &shared, &here->ports->port[here->asked], ret_listener);
    if (err == 0 && port == 0)
        here->asked++;
    if (err == 0 && here->report)
        tell_supervisor(here->report);
    return err;
}
