/* test: what a test of a program needs: time that does not pass, an order that can be repeated, and
 * faults at will. <rota.h> leaves it out.
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
 * jumps to the next timer. What comes from the kernel or another thread is waited for first: a
 * promise by rota_loop_hold_threadsafe as long as it takes, input over loopback for about a
 * millisecond.
 *
 * Faults. The library passes points at which something can fail. One of them can be made to fail:
 * then that allocation returns NULL, that system call an error it might really return (or moves one
 * byte only), or the program is cancelled at that suspending call. */
#ifndef ROTA_TEST_H
#define ROTA_TEST_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Options for a loop on the virtual clock. With a `seed` other than 0 ready tasks run in an order
 * that the seed decides: a test that holds for many seeds does not lean on the order. */
ROTA_API rota_loop_options rota_test_options(uint64_t seed);

/* rota_run on the virtual clock, first come, first served. */
#define rota_test_run(main, arg) rota_test_run_at(main, arg, ROTA_SITE(#main))
ROTA_API int rota_test_run_at(rota_fn *main, void *arg, const rota_site *site);

typedef enum rota_test_fault {
    ROTA_TEST_ALLOCATION, /* of memory, by the library */
    ROTA_TEST_SYSCALL,    /* made by the library */
    /* a call marked ROTA_SUSPENDS: the program's main task is cancelled there */
    ROTA_TEST_SUSPENSION
} rota_test_fault;

/* The `nth` point of that kind from now on fails, once; the first is 1, and 0 only counts. Points
 * of all threads count together. */
ROTA_API void rota_test_fail(rota_test_fault kind, uint64_t nth);
/* Points passed since rota_test_fail. */
ROTA_API uint64_t rota_test_points(rota_test_fault kind);
/* Nothing fails or is counted any more. */
ROTA_API void rota_test_fail_none(void);

/* Allocations of the library that are not released yet, in the whole process: equal before and
 * after what does not leak. */
ROTA_API long rota_test_allocations(void);

/* Runs main(arg) by rota_test_run again and again: with the first point of that kind failing, then
 * the second, until a run comes to its end without reaching the point. Results of main do not
 * matter; it has to end, and to release what it allocated and opened.
 *
 * Returns the number of points; -ENOTEMPTY when a run left allocations or descriptors of the
 * library behind, which the log hook hears of. */
#define rota_test_each_fault(kind, main, arg) \
    rota_test_each_fault_at(kind, main, arg, ROTA_SITE(#main))
ROTA_API int rota_test_each_fault_at(rota_test_fault kind, rota_fn *main, void *arg,
                                     const rota_site *site);

#ifdef __cplusplus
}
#endif

#endif
