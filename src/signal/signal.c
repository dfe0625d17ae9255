/* Signals: a handler that sets bits, and a reader of these bits on each loop's thread.
 *
 *     handler    for each hub (one per loop) that wants the signal: sets its bit, and posts the hub
 *     hub_run    on the loop's thread: takes all bits, and hands them to the listeners
 *     listener   keeps its bits until rota_signals_next takes them
 *
 * 1. The handler runs on any thread, at any point: it uses atomics only, and rota__loop_post.
 * 2. A hub is posted at most once at a time, whatever number of signals come. `posted` is taken
 *    back before the bits are read, so a bit that is set later posts again: the last signal is
 *    never lost.
 * 3. A hub leaves the list before it goes, and goes when no handler runs and its post has come
 *    back.
 * 4. The signal's disposition is ours exactly while a hub wants it; a bit of `wanted` is set
 *    before, and cleared after. The lock protects changes of that; the handler never takes it. */
#include "signal/signal.h"
#include "base/alloc.h"
#include "base/sys.h"

#include <pthread.h>
#include <sched.h>

#define SIGNALS 64

struct rota__signal_hub {
    struct rota__annex annex;
    struct rota__post post;
    _Atomic(struct rota__signal_hub *) next;
    struct rota__loop *loop;
    atomic_uint_least64_t wanted, pending;
    atomic_bool posted;
    bool closed; /* its loop has ended; hub_run frees it */
    struct rota__list listeners;
    unsigned users[SIGNALS + 1]; /* listeners, by signal */
};

static struct {
    _Atomic(struct rota__signal_hub *) hubs;
    atomic_int handling; /* threads in the handler */
    pthread_mutex_t lock;
    unsigned users[SIGNALS + 1]; /* hubs, by signal */
    struct sigaction before[SIGNALS + 1];
} signals = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t bit_of(int number)
{
    return UINT64_C(1) << (number - 1);
}

/* ---- The handler */

static void hub_note(struct rota__signal_hub *hub, uint64_t bit)
{
    if (!(atomic_load(&hub->wanted) & bit))
        return;
    atomic_fetch_or(&hub->pending, bit);
    if (!atomic_exchange(&hub->posted, true))
        rota__loop_post(hub->loop->handle, &hub->post);
}

static void on_signal(int number)
{
    int saved = errno;
    atomic_fetch_add(&signals.handling, 1);
    struct rota__signal_hub *hub = atomic_load(&signals.hubs);
    for (; hub; hub = atomic_load(&hub->next))
        hub_note(hub, bit_of(number));
    atomic_fetch_sub(&signals.handling, 1);
    errno = saved;
}

/* ---- Dispositions; under the lock */

static int disposition_take(int number)
{
    if (signals.users[number] == 0) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
        int err = (int)rota__sys(EINVAL, sigaction(number, &action, &signals.before[number]));
        if (err < 0)
            return err;
    }
    signals.users[number]++;
    return 0;
}

bool rota__signal_is_ignored(int number)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    pthread_mutex_lock(&signals.lock);
    if (signals.users[number])
        action = signals.before[number];
    else
        sigaction(number, NULL, &action);
    pthread_mutex_unlock(&signals.lock);
    return action.sa_handler == SIG_IGN;
}

/* A handler that the program has set meanwhile stays. */
static void disposition_restore(int number)
{
    struct sigaction now;
    if (sigaction(number, NULL, &now) == 0 && now.sa_handler == on_signal)
        sigaction(number, &signals.before[number], NULL);
}

static void disposition_give_back(int number)
{
    if (--signals.users[number] == 0)
        disposition_restore(number);
}

/* In the child of a fork no loop waits for signals. */
static void forget_in_child(void)
{
    atomic_store(&signals.hubs, NULL);
    atomic_store(&signals.handling, 0);
    pthread_mutex_init(&signals.lock, NULL);
    for (int number = 1; number <= SIGNALS; number++) {
        if (signals.users[number])
            disposition_restore(number);
        signals.users[number] = 0;
    }
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_in_child);
}

/* ---- Hubs */

static const char hub_type;

static void listener_hear(rota_signals *s, uint64_t bits)
{
    s->_pending |= bits & s->_wanted;
    if (!s->_pending)
        return;
    struct rota__wait *waiter = s->_waiter;
    if (s->_heard) {
        s->_heard(s);
    } else if (waiter) {
        s->_waiter = NULL;
        rota__wake(waiter, rota__signals_take(s));
    }
}

static void hub_run(struct rota__post *post, struct rota__loop *loop)
{
    struct rota__signal_hub *hub = rota__container_of(post, struct rota__signal_hub, post);
    atomic_store(&hub->posted, false);
    if (hub->closed) {
        rota_free(hub);
        return;
    }
    uint64_t bits = atomic_exchange(&hub->pending, 0);
    if (loop->abandoned)
        return; /* listeners may have lain on a stack that is gone */
    rota__list_each (node, &hub->listeners)
        listener_hear(rota__container_of(node, rota_signals, _node), bits);
}

static void hub_unlink(struct rota__signal_hub *hub)
{
    _Atomic(struct rota__signal_hub *) *link = &signals.hubs;
    while (atomic_load(link) != hub)
        link = &atomic_load(link)->next;
    atomic_store(link, atomic_load(&hub->next));
}

/* Listeners that are left are tasks' that were abandoned. */
static void hub_close(struct rota__annex *annex)
{
    struct rota__signal_hub *hub = rota__container_of(annex, struct rota__signal_hub, annex);
    pthread_mutex_lock(&signals.lock);
    for (int number = 1; number <= SIGNALS; number++) {
        if (hub->users[number])
            disposition_give_back(number);
    }
    hub_unlink(hub);
    pthread_mutex_unlock(&signals.lock);
    while (atomic_load(&signals.handling))
        sched_yield();
    hub->closed = true;
    if (!atomic_load(&hub->posted))
        rota_free(hub);
}

static struct rota__signal_hub *hub_of(struct rota__loop *loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct rota__annex *annex = rota__loop_annex(loop, &hub_type);
    if (annex)
        return rota__container_of(annex, struct rota__signal_hub, annex);
    struct rota__signal_hub *hub = rota_zalloc(sizeof *hub);
    if (!hub)
        return NULL;
    pthread_once(&once, watch_forks);
    hub->annex.type = &hub_type;
    hub->annex.close = hub_close;
    hub->post.run = hub_run;
    hub->loop = loop;
    rota__list_init(&hub->listeners);
    rota__loop_annex_add(loop, &hub->annex);
    pthread_mutex_lock(&signals.lock);
    atomic_store(&hub->next, atomic_load(&signals.hubs));
    atomic_store(&signals.hubs, hub);
    pthread_mutex_unlock(&signals.lock);
    return hub;
}

static int hub_want(struct rota__signal_hub *hub, int number)
{
    int err = 0;
    if (hub->users[number] == 0) {
        pthread_mutex_lock(&signals.lock);
        atomic_fetch_or(&hub->wanted, bit_of(number));
        err = disposition_take(number);
        if (err < 0)
            atomic_fetch_and(&hub->wanted, ~bit_of(number));
        pthread_mutex_unlock(&signals.lock);
    }
    hub->users[number] += err == 0;
    return err;
}

static void hub_want_no_more(struct rota__signal_hub *hub, int number)
{
    if (--hub->users[number] > 0)
        return;
    pthread_mutex_lock(&signals.lock);
    disposition_give_back(number);
    atomic_fetch_and(&hub->wanted, ~bit_of(number));
    pthread_mutex_unlock(&signals.lock);
}

/* ---- Listeners */

static bool may_be_caught(int number)
{
    static const int refused[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,
                                  SIGFPE,  SIGILL,  SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (number == refused[i])
            return false;
    }
    return number >= 1 && number <= SIGNALS && (number <= 31 || number >= SIGRTMIN);
}

int rota_signals_add(rota_signals *s, int number)
{
    struct rota__loop *loop = rota__loop_here;
    if (!rota__task_here())
        return rota__error_plain(ROTA_ENOTASK);
    if (s->_hub && s->_hub->loop != loop)
        return rota__loop_refuse(__func__);
    if (!may_be_caught(number))
        return rota_error_set(-EINVAL, "listen for signal %d: %s", number,
                              number < 1 || number > SIGRTMAX
                                  ? "there is no such signal"
                                  : "it cannot be caught by a listener");
    if (s->_wanted & bit_of(number))
        return 0;
    struct rota__signal_hub *hub = hub_of(loop);
    int err = hub ? hub_want(hub, number) : -ENOMEM;
    if (err < 0)
        return rota_error_set(err, "listen for signal %d: %s", number, rota_strerror(err));
    if (!s->_hub) {
        s->_hub = hub;
        rota__list_append(&hub->listeners, &s->_node);
    }
    s->_wanted |= bit_of(number);
    return 0;
}

int rota__signals_take(rota_signals *s)
{
    s->_number = __builtin_ctzll(s->_pending) + 1;
    s->_pending &= s->_pending - 1;
    return s->_number;
}

static void listener_abort(struct rota__wait *wait, int reason)
{
    ((rota_signals *)(uintptr_t)wait->object)->_waiter = NULL;
    rota__wake(wait, reason);
}

static const struct rota__wait_kind listening = {"signal", listener_abort};

int rota_signals_next(rota_signals *s)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    if (!s->_hub)
        return rota_error_set(-EINVAL, "wait for a signal: none was added");
    struct rota__loop *loop = rota__loop_here;
    if (s->_hub->loop != loop)
        return rota__loop_refuse(__func__);
    if (s->_waiter)
        return rota__error_plain(-EBUSY);
    if (s->_pending)
        return (int)rota__done_at_once(rota__signals_take(s));
    struct rota__wait wait = {0};
    s->_waiter = &wait;
    loop->far_waits++;
    int number = rota__park(&wait, &listening, s);
    loop->far_waits--;
    return number;
}

static int signals_iter_next(void *self, void **ret_item)
{
    rota_signals *s = self;
    int number = rota_signals_next(s);
    if (number < 0)
        return number;
    *ret_item = &s->_number;
    return 1;
}

rota_iter rota_signals_iter(rota_signals *s)
{
    return (rota_iter){signals_iter_next, s};
}

void rota_signals_fini(rota_signals *s)
{
    struct rota__signal_hub *hub = s->_hub;
    struct rota__wait *waiter = s->_waiter;
    if (!hub || rota__loop_here != hub->loop) {
        if (hub && rota__loop_here)
            rota__loop_refuse(__func__); /* else this is the child of a fork */
        return;
    }
    for (uint64_t left = s->_wanted; left; left &= left - 1)
        hub_want_no_more(hub, __builtin_ctzll(left) + 1);
    rota__list_remove(&s->_node);
    s->_hub = NULL;
    s->_wanted = s->_pending = 0;
    s->_waiter = NULL;
    if (waiter)
        rota__wake(waiter, ROTA_ECLOSED);
}

int rota_signal_wait(const int *numbers, size_t count)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    int err = rota__suspend_check();
    for (size_t i = 0; i < count && err == 0; i++)
        err = rota_signals_add(&s, numbers[i]);
    return err < 0 ? err : rota_signals_next(&s);
}
