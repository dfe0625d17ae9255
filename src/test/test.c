#include "base/alloc.h"
#include "base/fault.h"
#include "base/log.h"
#include "coro/coro.h"

#include <rota/test.h>

#include <dirent.h>

rota_loop_options rota_test_options(uint64_t seed)
{
    return (rota_loop_options){.virtual_clock = true, .random_seed = seed};
}

int rota_test_run_at(rota_fn *main, void *arg, const rota_site *site)
{
    rota_loop_options options = rota_test_options(0);
    return rota_run_at(main, arg, &options, site);
}

static enum rota__fault_kind fault_kind(rota_test_fault kind)
{
    switch (kind) {
    case ROTA_TEST_ALLOCATION:
        return ROTA__FAULT_ALLOC;
    case ROTA_TEST_SYSCALL:
        return ROTA__FAULT_SYSCALL;
    case ROTA_TEST_SUSPENSION:
        break;
    }
    return ROTA__FAULT_SUSPEND;
}

void rota_test_fail(rota_test_fault kind, uint64_t nth)
{
    rota__fault_arm(fault_kind(kind), nth);
}

uint64_t rota_test_points(rota_test_fault kind)
{
    return rota__fault_count(fault_kind(kind));
}

void rota_test_fail_none(void)
{
    rota__fault_disarm();
}

long rota_test_allocations(void)
{
    rota__thread_stacks_drop();
    return rota__alloc_live();
}

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static bool left_nothing(const char *name, uint64_t point, long allocations, int descriptors)
{
    if (allocations == 0 && descriptors == 0)
        return true;
    rota_log(ROTA_LOG_ERROR,
             "'%s' with fault %llu leaves %ld allocations and %d descriptors behind", name,
             (unsigned long long)point, allocations, descriptors);
    return false;
}

int rota_test_each_fault_at(rota_test_fault kind, rota_fn *main, void *arg, const rota_site *site)
{
    for (uint64_t nth = 1;; nth++) {
        long allocations = rota_test_allocations();
        int descriptors = open_descriptors();
        rota_test_fail(kind, nth);
        rota_test_run_at(main, arg, site);
        rota_test_fail_none();
        if (!left_nothing(site->name, nth, rota_test_allocations() - allocations,
                          open_descriptors() - descriptors))
            return -ENOTEMPTY;
        uint64_t points = rota_test_points(kind);
        if (points < nth)
            return (int)points;
    }
}
