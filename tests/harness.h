/* The test harness: cases register themselves, and each runs in a process of its own.
 *
 *     #include "harness.h"
 *
 *     TEST(popping_an_empty_list_gives_null)
 *     {
 *         CHECK_PTR(list_pop(&list), ==, NULL);
 *     }
 *
 * A case passes when it returns. It fails on the first check that does not hold, on a signal, on an
 * exit and when its time is up; then the harness kills it and whatever it started, and prints
 * everything it wrote. A sanitizer's or valgrind's complaint at exit fails the case too.
 *
 * Running a program:
 *
 *     task_test                      all cases
 *     task_test cancel 'join[uring]' cases whose names contain one of the words
 *     task_test --list               names only
 *     task_test --verbose            passed cases too, with their time
 *     task_test --no-fork NAME       in this process, without a limit: for gdb
 *     task_test --fail=alloc         each case again and again: its first allocation fails, then
 *                                    its
 *                                    second, ...; also syscall, and suspend, which cancels there.
 *                                    Checks may fail then, but nothing may crash, hang or leak
 *
 * Of a case with many such points as many are failed as fit into ROTA_TEST_FAULT_SECONDS (1), or,
 * with ROTA_TEST_EVERY=1 in the environment, all of them. ROTA_TEST_SCALE multiplies every time
 * limit (sanitizers, valgrind and qemu are slow). The last line is for ./dev: `# task_test: 12
 * passed, 0 failed, 1 skipped`. */

#ifndef HARNESS_H
#define HARNESS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct test_case {
    const char *name;
    const char *file;
    int line;
    void (*body)(void);

    /* Options, for TEST_WITH. */
    int seconds;         /* time limit; 0 is the default, 20 */
    bool both_backends;  /* run twice: ROTA_BACKEND=epoll and ROTA_BACKEND=uring */
    int dies_of;         /* the signal that has to end the case */
    int exits_with;      /* the status that the case has to exit with */
    bool without_faults; /* left out of --fail: it cannot end by itself when something fails */
    bool every_suspend;  /* --fail=suspend leaves out no point, however long it takes */
    const char *says;    /* text that has to be in the output */

    struct test_case *next;
};

/* Defines a case. Its name states behaviour, so that a failure reads as a broken promise. */
#define TEST(name_) TEST_WITH(name_, .seconds = 0)

/* A case that runs once on each backend, as name[epoll] and name[uring]. The second is skipped
 * where the kernel refuses io_uring. */
#define TEST_BOTH(name_) TEST_WITH(name_, .both_backends = true)

/* A case that passes only when `signal_` ends it and its output contains `text_`. */
#define TEST_DIES(name_, signal_, text_) TEST_WITH(name_, .dies_of = (signal_), .says = (text_))

/* A case that passes only when it exits with `status_` and its output contains `text_`. */
#define TEST_EXITS(name_, status_, text_) TEST_WITH(name_, .exits_with = (status_), .says = (text_))

/* A case with any of the options above: TEST_WITH(big_tree, .seconds = 60) { ... } */
#define TEST_WITH(name_, ...)                                            \
    static void test_body_##name_(void);                                 \
    __attribute__((constructor)) static void test_register_##name_(void) \
    {                                                                    \
        static struct test_case test_case_ = {.name = #name_,            \
                                              .file = __FILE__,          \
                                              .line = __LINE__,          \
                                              .body = test_body_##name_, \
                                              __VA_ARGS__};              \
        test_register(&test_case_);                                      \
    }                                                                    \
    static void test_body_##name_(void)

/* Stands once in a file whose program runs every case on both backends. */
#define TEST_ALL_ON_BOTH_BACKENDS                                             \
    __attribute__((constructor)) static void test_program_runs_on_both_(void) \
    {                                                                         \
        test_all_on_both_backends = true;                                     \
    }                                                                         \
    extern bool test_all_on_both_backends

/* Checks. Each prints both values and ends the case when it does not hold; they may be used on any
 * thread and on any coroutine's stack. */
#define CHECK(condition_) \
    ((condition_) ? (void)0 : test_fail(__FILE__, __LINE__, "CHECK(%s)", #condition_))
#define CHECK_INT(a_, op_, b_)                                                         \
    do {                                                                               \
        long long test_a_ = (a_), test_b_ = (b_);                                      \
        if (!(test_a_ op_ test_b_))                                                    \
            test_fail_int(__FILE__, __LINE__, #a_ " " #op_ " " #b_, test_a_, test_b_); \
    } while (0)
#define CHECK_PTR(a_, op_, b_)                                                      \
    do {                                                                            \
        const volatile void *test_a_ = (a_), *test_b_ = (b_);                       \
        if (!(test_a_ op_ test_b_))                                                 \
            test_fail(__FILE__, __LINE__, "CHECK_PTR(%s): left is %p, right is %p", \
                      #a_ " " #op_ " " #b_, (void *)test_a_, (void *)test_b_);      \
    } while (0)
#define CHECK_STR(a_, b_) test_check_str(__FILE__, __LINE__, #a_ ", " #b_, (a_), (b_))
#define CHECK_MEM(a_, b_, len_) \
    test_check_mem(__FILE__, __LINE__, #a_ ", " #b_ ", " #len_, (a_), (b_), (len_))
/* The rota and system call convention: 0 or more is success, less is -errno. */
#define CHECK_OK(call_) CHECK_INT(call_, >=, 0)

#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)

/* Ends the case without a verdict; the reason is shown and counted. */
#define SKIP(...) test_skip(__VA_ARGS__)

/* A directory of the case's own, empty at first; the harness removes it with all that is in it,
 * however the case ends. It is also $TMPDIR. Files of a case belong nowhere else: ./dev test
 * looks. */
const char *test_directory(void);

/* Where these directories are, said once in a file: on a disk, or in memory if there is a place for
 * that, which is quicker for many files. Elsewhere they are in /tmp, whatever that is on. */
#define TEST_DIRECTORIES_ON_DISK TEST_DIRECTORIES_IN("/var/tmp")
#define TEST_DIRECTORIES_IN_MEMORY \
    TEST_DIRECTORIES_IN(access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/var/tmp")
#define TEST_DIRECTORIES_IN(place_)                                     \
    __attribute__((constructor)) static void test_directories_in_(void) \
    {                                                                   \
        test_place_of_directories = (place_);                           \
    }                                                                   \
    extern const char *test_place_of_directories

/* How many descriptors this process has open, to be compared before and after. */
int test_open_fds(void);

/* By how much time limits are stretched here; for bounds that a test sets itself. */
int test_scale(void);

/* Stands at the start of a case that waits for another thread or looks at what a ring has read.
 * Under valgrind with io_uring it ends the case without a verdict: valgrind runs no other thread
 * during io_uring_enter, which it does not know to wait, and takes what the kernel wrote for
 * uninitialised. */
void test_valgrind_knows_no_uring(void);

/* What the macros call. */
extern bool test_all_on_both_backends;
extern const char *test_place_of_directories;

void test_register(struct test_case *test);
__attribute__((noreturn, format(printf, 3, 4))) void test_fail(const char *file, int line,
                                                               const char *format, ...);
__attribute__((noreturn)) void test_fail_int(const char *file, int line, const char *what,
                                             long long a, long long b);
void test_check_str(const char *file, int line, const char *what, const char *a, const char *b);
void test_check_mem(const char *file, int line, const char *what, const void *a, const void *b,
                    size_t len);
__attribute__((noreturn, format(printf, 1, 2))) void test_skip(const char *format, ...);

/* Runs the cases of a list as a program of that name would, reporting to `out`; returns its exit
 * status. The harness tests itself through this. */
int test_run(struct test_case *first, int argc, char **argv, FILE *out);

#ifdef __cplusplus
}
#endif

#endif
