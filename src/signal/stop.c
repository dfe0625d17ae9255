/* A scope that SIGINT and SIGTERM cancel.
 *
 *     open -> stopped (stop_heard: it listens no more) -> left
 *
 * While it listens it counts as something that the loop waits for. */
#include "base/log.h"
#include "signal/signal.h"

static void stop_listen_no_more(rota_stop *stop)
{
    if (!stop->_signals._hub)
        return;
    rota_signals_fini(&stop->_signals);
    stop->_scope.fiber->loop->far_waits--;
}

/* The signal is used up: the next one has its former effect. */
static void stop_heard(rota_signals *s)
{
    rota_stop *stop = rota__container_of(s, rota_stop, _signals);
    rota__interrupt_spend(rota__signals_take(s));
    stop_listen_no_more(stop);
    rota__scope_cancel(&stop->_scope);
}

/* Ignored signals stay ignored: a shell starts background programs with SIGINT ignored. */
static int stop_listen(rota_stop *stop)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    int err = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && err == 0; i++) {
        if (!rota__signal_is_ignored(numbers[i]))
            err = rota_signals_add(&stop->_signals, numbers[i]);
    }
    return err;
}

int rota_stop_begin(rota_stop *stop)
{
    struct rota__fiber *here = rota__fiber_here();
    stop->_scope.fiber = NULL;
    stop->_signals = (rota_signals)ROTA_SIGNALS_INIT;
    stop->_signals._heard = stop_heard;
    if (!here)
        return rota__error_plain(ROTA_ENOTASK);
    rota__scope_open(&stop->_scope, ROTA__SCOPE_STOP, here);
    int err = stop_listen(stop);
    if (err < 0) {
        rota_log(ROTA_LOG_ERROR,
                 "cannot listen for SIGINT and SIGTERM, so the block is cancelled: %s",
                 rota_strerror(err));
        rota_signals_fini(&stop->_signals);
        rota__scope_cancel(&stop->_scope);
        return err;
    }
    if (stop->_signals._hub)
        here->loop->far_waits++;
    return 0;
}

int rota_stop_end(rota_stop *stop)
{
    if (!stop->_scope.fiber)
        return stop->_signals._number;
    stop_listen_no_more(stop);
    rota__scope_close(&stop->_scope);
    return stop->_signals._number;
}
