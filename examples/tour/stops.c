#include "stops.h"

int stop_two_hellos(void);
int stop_greenlet(void);
int stop_generators(void);
int stop_alternate(void);
int stop_two_funcs(void);
int stop_lazy(void);
int stop_await(void);
int stop_tasks(void);
int stop_wait(void);
int stop_gather(void);
int stop_callback(void);
int stop_future(void);
int stop_never(void);
int stop_thread_pool(void);
int stop_executor(void);
int stop_blocking_download(void);
int stop_ticker(void);
int stop_async_iterator(void);
int stop_async_context(void);
int stop_timeout(void);
int stop_group(void);
int stop_early_return(void);
int stop_cancel(void);
int stop_producer_consumer(void);
int stop_echo(void);

const struct stop stops[] = {
    {"two-hellos", stop_two_hellos, "Two tasks on one thread: while one sleeps, the other runs."},
    {"greenlet", stop_greenlet, "Two coroutines switch to each other by name; there is no loop."},
    {"generators", stop_generators, "A generator hands out what another one makes."},
    {"alternate", stop_alternate, "Two endless generators, driven in turn by the main program."},
    {"two-funcs", stop_two_funcs,
     "Two functions that wait 2 seconds each take 2 seconds together."},
    {"lazy", stop_lazy,
     "Calling is running: there is no coroutine object that one could forget to await."},
    {"await", stop_await,
     "A call that waits returns its result like any other; two in a row add up."},
    {"tasks", stop_tasks, "Two tasks are started, main goes on, and awaits both later."},
    {"wait", stop_wait,
     "Waiting for the first of several tasks, until a deadline, and for all of them."},
    {"gather", stop_gather, "Three calls at once; the results come in the order of the calls."},
    {"callback", stop_callback, "A callback runs when a task has ended."},
    {"future", stop_future, "A task waits for a result that another task brings."},
    {"never", stop_never,
     "A result that never comes: rota reports what each task waits for, and ends the program.",
     .status = 1},
    {"thread-pool", stop_thread_pool,
     "Ten jobs that block for a second each, in five threads: two seconds."},
    {"executor", stop_executor,
     "Blocking calls run in threads and processes; the loop keeps ticking."},
    {"blocking-download", stop_blocking_download,
     "Several blocking downloads at once take as long as the slowest."},
    {"ticker", stop_ticker, "A blocking call tells of its end by a callback, while main goes on."},
    {"async-iterator", stop_async_iterator,
     "An object that takes its time for each item, read in a loop."},
    {"async-context", stop_async_context,
     "A connection is closed however the block around it is left."},
    {"timeout", stop_timeout, "A deadline for all that happens in a block; nested ones; a shield."},
    {"group", stop_group,
     "One task fails, its siblings are cancelled, the group returns the failure."},
    {"early-return", stop_early_return,
     "A block is left by a return: its task is cancelled first, then the error arrives."},
    {"cancel", stop_cancel, "A task that holds things is cancelled, and puts them back."},
    {"producer-consumer", stop_producer_consumer,
     "Two producers, three consumers, and a queue between them that can be closed."},
    {"echo", stop_echo, "A TCP server and its hundred clients, in one thread."},
};

const int stop_count = sizeof stops / sizeof stops[0];
