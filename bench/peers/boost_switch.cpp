/* Boost.Context's own jump, without the C++ layer above it: nanoseconds for one way.
 *
 *     boost_switch OPERATIONS [REPEATS] */
#include "clock.h"

#include <boost/context/detail/fcontext.hpp>
#include <stdlib.h>

using namespace boost::context::detail;

static char stack[65536] __attribute__((aligned(64)));
static fcontext_t other;

static void answer(transfer_t from)
{
    for (;;)
        from = jump_fcontext(from.fctx, nullptr);
}

/* A round trip is two jumps. */
static void jump(uint64_t operations)
{
    for (uint64_t i = 0; i < operations; i += 2)
        other = jump_fcontext(other, nullptr).fctx;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: boost_switch OPERATIONS [REPEATS]\n", stderr);
        return 2;
    }
    other = make_fcontext(stack + sizeof stack, sizeof stack, answer);
    clock_best(jump, strtoull(argv[1], nullptr, 10), argc > 2 ? atoi(argv[2]) : 5);
    return 0;
}
