/* test: support for tests of programs: a virtual clock, a repeatable order of tasks, and injected
 * faults. Not included by <rota.h>.
 *
 *     static int twice(void *arg)
 *     {
 *         int *tries = arg, err;
 *         do
 *             err = rota_sleep(60 * ROTA_MINUTE);
 *         while (err == 0 && ++*tries < 2);
 *         return err;
 *     }
 *
 *     static void takes_no_time(void)
 *     {
 *         int tries = 0;
 *         assert(rota_test_run(twice, &tries) == 0 && tries == 2);
 *     }
 *
 *     static void is_clean_whatever_fails(void)
 *     {
 *         int tries = 0;
 *         assert(rota_test_each_fault(ROTA_TEST_ALLOCATION, twice, &tries) >= 0);
 *     }
 *
 * Virtual clock. The loop's clock begins at 0 and stands still while something can run; then it
 * jumps to the next timer. Before it jumps, the loop waits for other sources: for a thread that
 * called rota_loop_hold_threadsafe as long as it takes, and for input over loopback about a
 * millisecond.
 *
 * Faults. The library passes points at which something can fail, and a test can make one of them
 * fail. Then that allocation returns NULL, that system call returns a plausible error (or moves
 * only one byte), or the program is cancelled at that suspending call. */
#ifndef ROTA_TEST_H
#define ROTA_TEST_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Returns options for a loop with a virtual clock. If `seed` is not 0, it determines the order in
 * which ready tasks run. A test that passes with many seeds does not depend on that order. */
ROTA_API rota_loop_options rota_test_options(uint64_t seed);

/* Runs a program as rota_run does, with the virtual clock; tasks run in the usual order. */
#define rota_test_run(main, arg) rota_test_run_at(main, arg, ROTA_SITE(#main))
ROTA_API int rota_test_run_at(rota_fn *main, void *arg, const rota_site *site);

typedef enum rota_test_fault {
    ROTA_TEST_ALLOCATION, /* of memory, by the library */
    ROTA_TEST_SYSCALL,    /* made by the library */
    /* a call marked ROTA_SUSPENDS: cancels the program's main task there */
    ROTA_TEST_SUSPENSION
} rota_test_fault;

/* Makes the `nth` point of that kind from now on fail, once. The first is 1; 0 only counts. Points
 * of all threads count together. */
ROTA_API void rota_test_fail(rota_test_fault kind, uint64_t nth);
/* Returns the number of points passed since rota_test_fail. */
ROTA_API uint64_t rota_test_points(rota_test_fault kind);
/* Stops failing and counting. */
ROTA_API void rota_test_fail_none(void);

/* Returns the number of allocations of the library that are not released yet, in the whole process.
 * It is the same before and after code that does not leak. */
ROTA_API long rota_test_allocations(void);

/* Runs main(arg) by rota_test_run again and again: with the first point of that kind failing, then
 * the second, until a run comes to its end without reaching the point. The results of main do not
 * matter; it must end, and release everything that it allocated or opened.
 *
 * Returns the number of points; -ENOTEMPTY if a run left allocations or descriptors of the library
 * behind, which is reported to the log hook. */
#define rota_test_each_fault(kind, main, arg) \
    rota_test_each_fault_at(kind, main, arg, ROTA_SITE(#main))
ROTA_API int rota_test_each_fault_at(rota_test_fault kind, rota_fn *main, void *arg,
                                     const rota_site *site);

#ifdef __cplusplus
}
#endif

#endif
