/* Arms, cancels and lets time pass as the input says, and compares the wheel with a plain table:
 * due timers come out in the order (deadline, arming), none early, none late, and the next deadline
 * is never announced too late. */
#include "fuzz.h"

#include "loop/timer.h"

#define TIMERS 16

struct model {
    struct rota__timers timers;
    struct rota__timer timer[TIMERS];
    rota_time now;
};

/* The first by deadline, then by arming; NULL if none is armed. */
static struct rota__timer *model_first(struct model *m)
{
    struct rota__timer *first = NULL;
    for (int i = 0; i < TIMERS; i++) {
        struct rota__timer *t = &m->timer[i];
        if (rota__timer_armed(t) && (!first || t->deadline < first->deadline ||
                                     (t->deadline == first->deadline && t->order < first->order)))
            first = t;
    }
    return first;
}

static void pass(struct model *m, rota_time duration)
{
    if (__builtin_add_overflow(m->now, duration, &m->now))
        m->now = ROTA_NEVER;
    for (;;) {
        struct rota__timer *expected = model_first(m);
        if (expected && expected->deadline > m->now)
            expected = NULL;
        require(rota__timers_pop(&m->timers, m->now) == expected);
        if (!expected)
            return;
        require(!rota__timer_armed(expected));
    }
}

/* A duration of any magnitude: a byte for the digits, one for the shift. */
static rota_time duration(uint8_t digits, uint8_t shift)
{
    return (rota_time)digits << (shift % 55);
}

static void step(struct model *m, const uint8_t *op)
{
    struct rota__timer *t = &m->timer[op[0] % TIMERS];
    rota_time d = duration(op[1], op[2]);
    if (op[0] & 0x80) {
        pass(m, d);
    } else if (op[0] & 0x40 || rota__timer_armed(t)) {
        rota__timer_cancel(&m->timers, t);
    } else {
        if (__builtin_add_overflow(m->now, d, &t->deadline))
            t->deadline = ROTA_NEVER;
        rota__timer_arm(&m->timers, t);
    }
    struct rota__timer *first = model_first(m);
    rota_time next = rota__timers_next(&m->timers);
    require(first ? next <= first->deadline : next == ROTA_NEVER);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct model m;
    memset(&m, 0, sizeof m);
    if (size < 8)
        return 0;
    memcpy(&m.now, data, 8);
    m.now &= INT64_MAX;
    rota__timers_init(&m.timers, m.now);
    for (size_t at = 8; at + 3 <= size; at += 3)
        step(&m, data + at);
    return 0;
}
