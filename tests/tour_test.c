/* Each stop of the tour prints what it is documented to print, in that order and at that time. The
 * clock is virtual, so the seconds take no time.
 *
 * An expected line begins with the time in seconds; in it, * stands for what may differ. */
#include "base/fault.h"
#include "harness.h"
#include "stage.h"
#include "stops.h"

#include <fnmatch.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    char *text;
    size_t size;
    FILE *file;
} played;

static void keep_line(const char *text, rota_time when)
{
    fprintf(played.file, "%.2f %s\n", (double)when / (double)ROTA_SECOND, text);
}

static const struct stop *stop_named(const char *name)
{
    for (int i = 0; i < stop_count; i++)
        if (strcmp(stops[i].name, name) == 0)
            return &stops[i];
    FAIL("no stop is called %s", name);
}

/* Takes the next line of `*text` into `line`. */
static bool next_line(const char **text, char *line, size_t size)
{
    size_t len = strcspn(*text, "\n");
    if (**text == '\0')
        return false;
    snprintf(line, size, "%.*s", (int)len, *text);
    *text += len + 1;
    return true;
}

static void compare(const char *expected, const char *actual)
{
    char want[300] = "", have[300] = "";
    const char *whole = actual;
    for (int number = 1;; number++) {
        bool more = next_line(&expected, want, sizeof want);
        if (next_line(&actual, have, sizeof have) != more)
            FAIL("line %d %s; this was printed:\n%s", number,
                 more ? "is missing" : "was not expected", whole);
        if (!more)
            return;
        if (fnmatch(want, have, 0) != 0)
            FAIL("line %d is \"%s\", should be \"%s\"; this was printed:\n%s", number, have, want,
                 whole);
    }
}

/* Plays the stop. Where a fault was injected it may say anything, but has to clean up. */
static void check_stop(const char *name, const char *expected)
{
    rota_loop_options options = {.virtual_clock = true};
    int fds = test_open_fds();

    played.file = open_memstream(&played.text, &played.size);
    stage = (struct stage){.options = &options, .line = keep_line};
    const struct stop *stop = stop_named(name);
    int status = stop->main();
    fclose(played.file);
    bool left_open = test_open_fds() != fds;
    if (left_open && rota__fault_armed) {
        printf("%d descriptors were open before, %d after\n", fds, test_open_fds());
        abort();
    }
    CHECK(!left_open);
    if (!rota__fault_armed) {
        compare(expected, played.text);
        CHECK_INT(status, ==, stop->status);
    }
    free(played.text);
}

/* Whatever the order in which ready tasks run, every stop comes to its end. */
TEST_WITH(order_of_ready_tasks_does_not_matter, .both_backends = true, .without_faults = true)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        rota_loop_options options = {.virtual_clock = true, .random_seed = seed};
        for (int i = 0; i < stop_count; i++) {
            played.file = open_memstream(&played.text, &played.size);
            stage = (struct stage){.options = &options, .line = keep_line};
            int status = stops[i].main();
            fclose(played.file);
            if (status != stops[i].status)
                FAIL("%s with seed %d returned %d:\n%s", stops[i].name, (int)seed, status,
                     played.text);
            free(played.text);
        }
    }
}

/* The tour is cancelled at each of its suspensions, however many there are. */
#define STOP(name_) TEST_WITH(name_, .every_suspend = true)

STOP(two_hellos)
{
    char expected[400];
    unsigned long self = (unsigned long)pthread_self();
    snprintf(expected, sizeof expected,
             "0.00 Hello world! (thread %lx)\n"
             "0.00 Hello world! (thread %lx)\n"
             "1.00 Hello again! (thread %lx)\n"
             "1.00 Hello again! (thread %lx)\n",
             self, self, self, self);
    check_stop("two-hellos", expected);
}

STOP(greenlet)
{
    check_stop("greenlet", "0.00 1\n"
                           "0.00 3\n"
                           "0.00 2\n"
                           "0.00 4\n");
}

STOP(generators)
{
    check_stop("generators", "0.00 1\n"
                             "0.00 3\n"
                             "0.00 4\n"
                             "0.00 2\n");
}

STOP(alternate)
{
    check_stop("alternate", "0.00 before 1\n"
                            "0.00 main\n"
                            "0.00 before 2\n"
                            "0.00 after 1\n"
                            "0.00 before 1\n"
                            "0.00 main\n"
                            "0.00 after 2\n"
                            "0.00 before 2\n"
                            "0.00 after 1\n"
                            "0.00 before 1\n"
                            "0.00 main\n"
                            "0.00 after 2\n"
                            "0.00 before 2\n"
                            "0.00 clean-up of 2\n"
                            "0.00 clean-up of 1\n");
}

STOP(two_funcs)
{
    check_stop("two-funcs", "0.00 1\n"
                            "0.00 3\n"
                            "2.00 2\n"
                            "2.00 4\n");
}

STOP(lazy)
{
    check_stop("lazy", "0.00 a call runs, and is awaited by being called:\n"
                       "0.00   hello, call\n"
                       "0.20 a spawned task begins when this one steps aside:\n"
                       "0.20   not yet\n"
                       "0.20   hello, task\n"
                       "0.40 a rota_gather_call is a call for later:\n"
                       "0.40   nothing ran\n"
                       "0.40   hello, later\n");
}

STOP(await_)
{
    check_stop("await", "0.00 start\n"
                        "2.00 end\n"
                        "2.00 result: 10\n"
                        "2.00 start\n"
                        "4.00 end\n"
                        "4.00 start\n"
                        "6.00 end\n"
                        "6.00 results: 40 and 60\n");
}

STOP(tasks)
{
    check_stop("tasks", "0.00 main begins\n"
                        "0.00 1, in first\n"
                        "0.00 1, in second\n"
                        "2.00 2, in first\n"
                        "2.00 2, in second\n"
                        "2.00 first has a result, second has a result\n"
                        "2.00 main ends\n");
}

STOP(wait)
{
    check_stop("wait", "0.50 first completed: done pending pending\n"
                       "1.00 half a second later: done done pending\n"
                       "2.00 all completed: done done done\n");
}

STOP(gather)
{
    check_stop("gather", "0.00 Waiting 1\n"
                         "0.00 Waiting 2\n"
                         "0.00 Waiting 3\n"
                         "1.00 Done 1\n"
                         "2.00 Done 2\n"
                         "3.00 Done 3\n"
                         "3.00 Res 1\n"
                         "3.00 Res 2\n"
                         "3.00 Res 3\n");
}

STOP(callback)
{
    check_stop("callback", "1.00 Hello World\n"
                           "1.00 Done: hello_world returned 42\n");
}

STOP(future)
{
    check_stop("future", "0.00 waiting\n"
                         "2.00 setting\n"
                         "2.00 the future brought 666\n");
}

/* Compares with the case's own standard error, read back through its descriptor. */
static void check_stderr(const char *expected)
{
    char text[2000];
    if (rota__fault_armed)
        return;
    ssize_t n = pread(STDERR_FILENO, text, sizeof text - 1, 0);
    CHECK_OK(n);
    text[n] = '\0';
    compare(expected, text);
}

STOP(never)
{
    check_stop("never", "0.00 waiting for Godot\n");
    check_stderr("rota: deadlock: no task can go on, and nothing is pending:\n"
                 "  never                waits for group *, spawned at *examples/tour/never.c:*\n"
                 "  wait_for_godot       waits for future *, spawned at *examples/tour/never.c:*\n"
                 "tour_test: deadlock: no task can go on, and nothing is pending\n");
}

STOP(thread_pool)
{
    check_stop("thread-pool", "1.00 0 * 0 = 0\n"
                              "1.00 1 * 1 = 1\n"
                              "1.00 2 * 2 = 4\n"
                              "1.00 3 * 3 = 9\n"
                              "1.00 4 * 4 = 16\n"
                              "2.00 5 * 5 = 25\n"
                              "2.00 6 * 6 = 36\n"
                              "2.00 7 * 7 = 49\n"
                              "2.00 8 * 8 = 64\n"
                              "2.00 9 * 9 = 81\n");
}

STOP(executor)
{
    check_stop("executor", "0.00 tick\n"
                           "0.20 tick\n"
                           "0.40 tick\n"
                           "0.45 default pool: 100\n"
                           "0.60 tick\n"
                           "0.80 tick\n"
                           "0.90 thread pool: 100\n"
                           "1.00 tick\n"
                           "1.20 tick\n"
                           "1.35 process pool: 500000500000\n");
}

STOP(blocking_download)
{
    check_stop("blocking-download", "0.30 bb.txt: 18 bytes\n"
                                    "0.60 dddd.txt: 20 bytes\n"
                                    "0.90 a.txt: 17 bytes\n"
                                    "1.50 ccc.txt: 19 bytes\n"
                                    "1.50 all files are here\n");
}

STOP(ticker)
{
    check_stop("ticker", "0.00 waiting\n"
                         "0.10 waiting\n"
                         "0.20 waiting\n"
                         "0.30 waiting\n"
                         "0.40 waiting\n"
                         "0.50 waiting\n"
                         "0.60 waiting\n"
                         "0.70 waiting\n"
                         "0.80 waiting\n"
                         "0.90 waiting\n"
                         "1.00 waiting\n"
                         "1.05 the call returned 666\n");
}

STOP(async_iterator)
{
    check_stop("async-iterator", "0.11 1 2 3 4 5 6 7 8 9 10 11\n"
                                 "0.22 12 13 14 15 16 17 18 19 20 21 22\n"
                                 "0.33 23 24 25 26 27 28 29 30 31 32 33\n"
                                 "0.44 34 35 36 37 38 39 40 41 42 43 44\n"
                                 "0.55 45 46 47 48 49 50 51 52 53 54 55\n"
                                 "0.66 56 57 58 59 60 61 62 63 64 65 66\n"
                                 "0.77 67 68 69 70 71 72 73 74 75 76 77\n"
                                 "0.88 78 79 80 81 82 83 84 85 86 87 88\n"
                                 "0.99 89 90 91 92 93 94 95 96 97 98 99\n");
}

STOP(async_context)
{
    check_stop("async-context", "0.10 early return: open\n"
                                "0.10 early return: work\n"
                                "0.20 early return: close\n"
                                "0.30 failure: open\n"
                                "0.30 failure: work\n"
                                "0.40 failure: close\n"
                                "0.50 cancellation: open\n"
                                "0.50 cancellation: work\n"
                                "0.60 cancellation: Operation canceled\n"
                                "0.70 cancellation: close\n");
}

STOP(timeout)
{
    check_stop("timeout", "0.50 a slow call: deadline passed while waiting (sleep)\n"
                          "1.00 inner deadline passed: yes\n"
                          "1.50 second inner deadline passed: no\n"
                          "1.50 outer deadline passed: yes\n"
                          "2.00 saving\n"
                          "2.30 saved\n");
}

STOP(group)
{
    check_stop("group", "0.00 sibling 1 begins\n"
                        "0.00 failing begins\n"
                        "0.00 sibling 2 begins\n"
                        "1.00 failing fails\n"
                        "1.00 sibling 1: Operation canceled\n"
                        "1.00 sibling 2: Operation canceled\n"
                        "1.00 the group: open settings: No such file or directory\n");
}

STOP(early_return)
{
    check_stop("early-return", "0.00 watching settings\n"
                               "1.00 cancelled: Operation canceled\n"
                               "1.50 cleaned up\n"
                               "1.50 load: open settings: No such file or directory\n");
}

STOP(cancel)
{
    check_stop("cancel", "0.00 taking a lamp and a rope\n"
                         "1.00 cancelling\n"
                         "1.00 sleep: Operation canceled\n"
                         "1.00 sleep again: Operation canceled\n"
                         "1.10 put back the rope\n"
                         "1.20 put back the lamp\n"
                         "1.20 the task: Operation canceled\n");
}

STOP(producer_consumer)
{
    check_stop("producer-consumer", "0.00 consumer took 1\n"
                                    "0.00 consumer took 2\n"
                                    "0.00 consumer took 3\n"
                                    "0.10 consumer took 4\n"
                                    "0.10 consumer took 5\n"
                                    "0.10 consumer took 6\n"
                                    "0.20 consumer took 7\n"
                                    "0.20 consumer took 8\n"
                                    "0.20 consumer took 9\n"
                                    "0.30 consumer took 10\n"
                                    "0.30 consumer took 11\n"
                                    "0.30 consumer took 12\n"
                                    "0.40 consumer took 13\n"
                                    "0.40 consumer took 14\n"
                                    "0.40 consumer took 15\n"
                                    "0.50 consumer took 16\n"
                                    "0.50 consumer took 17\n"
                                    "0.50 consumer took 18\n"
                                    "0.60 consumer took 19\n"
                                    "0.60 consumer took 20\n"
                                    "0.70 20 items, sum 210\n");
}

TEST_WITH(echo, .every_suspend = true, .both_backends = true)
{
    check_stop("echo", "0.00 100 clients\n"
                       "0.00 each got its own words back\n");
}
