/* What tasks may rely on where several of them meet, as asyncio, trio and anyio define it: a table
 * of scripts, and what becomes of them.
 *
 * Each row has up to four tasks, a to d, which start in that order. The letters of a script are
 * calls:
 *
 *     1..9  sleep so many seconds       y   yield
 *     L U   lock, unlock                A R acquire, release (a semaphore of 1)
 *     E S C wait for, set, clear event  W N wait for, notify one of a condition (with the mutex)
 *     P G X put, get, close (queue of 1)
 *     F D   wait for the future, set it to 7
 *     ka    cancel task a               (n ) a deadline of n seconds around
 *     [ ]   a shield around             B   wait at a barrier for 2
 *
 * Each call leaves a word: task, letter, result, second. Results: + done, c cancelled, t timed out,
 * x closed, d deadlock, p not the owner; `)t` says that this deadline has passed. Sleeps and calls
 * that never wait leave a word only if they fail. */

#include "clean_run.h"
#include "told.h"

#include <rota.h>

#include <ctype.h>

#define ACTORS 4
#define DEPTH 4

static struct world {
    rota_mutex mutex;
    rota_semaphore semaphore;
    rota_event event;
    rota_cond cond;
    rota_barrier barrier;
    rota_queue *queue;
    rota_future future;
    rota_task *tasks[ACTORS];
    struct told told;
} world;

struct actor {
    char name;
    const char *script;
    rota_timeout timeouts[DEPTH];
    rota_shield shield;
    int depth;
};

static char letter(int result)
{
    return result >= 0              ? '+'
           : result == -ECANCELED   ? 'c'
           : result == -ETIMEDOUT   ? 't'
           : result == ROTA_ECLOSED ? 'x'
           : result == -EDEADLK     ? 'd'
           : result == -EPERM       ? 'p'
                                    : '?';
}

static int waiting_call(char call)
{
    static int item;
    switch (call) {
    case 'L':
        return rota_mutex_lock(&world.mutex);
    case 'A':
        return rota_semaphore_acquire(&world.semaphore);
    case 'E':
        return rota_event_wait(&world.event);
    case 'W':
        return rota_cond_wait(&world.cond, &world.mutex);
    case 'B':
        return rota_barrier_wait(&world.barrier);
    case 'P':
        return rota_queue_put(world.queue, &item);
    case 'G':
        return rota_queue_get(world.queue, &item);
    case 'F':
        return rota_future_wait(&world.future);
    default:
        return rota_yield();
    }
}

/* The calls that never wait. */
static int prompt_call(char call)
{
    switch (call) {
    case 'U':
        return rota_mutex_unlock(&world.mutex);
    case 'R':
        return rota_semaphore_release(&world.semaphore);
    case 'S':
        return rota_event_set(&world.event);
    case 'C':
        return rota_event_clear(&world.event);
    case 'N':
        return rota_cond_notify(&world.cond, 1);
    case 'X':
        return rota_queue_close(world.queue);
    default:
        return rota_future_set(&world.future, 7);
    }
}

static void say(const struct actor *a, char call, int result)
{
    tell(&world.told, "%s%c%c%c%d", world.told.len ? " " : "", a->name, call, letter(result),
         (int)(rota_now() / ROTA_SECOND));
}

/* Scopes and cancellations; returns how many letters of the script they take, or 0. */
static int scope_step(struct actor *a, const char *s)
{
    switch (*s) {
    case 'k':
        if (world.tasks[s[1] - 'a'])
            rota_task_cancel(world.tasks[s[1] - 'a']);
        return 2;
    case '(':
        rota_timeout_begin(&a->timeouts[a->depth++], (s[1] - '0') * ROTA_SECOND);
        return 2;
    case ')':
        say(a, ')', rota_timeout_end(&a->timeouts[--a->depth]));
        return 1;
    case '[':
        rota_shield_begin(&a->shield);
        return 1;
    case ']':
        rota_shield_end(&a->shield);
        return 1;
    default:
        return 0;
    }
}

static int act(void *arg)
{
    struct actor *a = arg;
    for (const char *s = a->script; *s;) {
        int taken = scope_step(a, s);
        if (taken) {
            s += taken;
            continue;
        }
        bool sleeps = isdigit((unsigned char)*s), prompt = strchr("URSCNXD", *s) != NULL;
        int result = sleeps ? rota_sleep((*s - '0') * ROTA_SECOND)
                            : (prompt ? prompt_call(*s) : waiting_call(*s));
        if (result < 0 || !(sleeps || prompt))
            say(a, *s, result);
        s++;
    }
    return 0;
}

struct row {
    const char *name;
    const char *scripts[ACTORS];
    const char *told;
};

static const struct row rows[] = {
    {"a lock is had in the order of asking", {"L2U", "LU", "LU"}, "aL+0 bL+2 cL+2"},
    {"a lock that is released goes to the first in line, not to the next task that asks",
     {"LyULU", "LU"},
     "aL+0 ay+0 bL+0 aL+0"},
    {"locking twice is a deadlock and keeps the lock", {"LLU", "LU"}, "aL+0 aLd0 bL+0"},
    {"a cancelled waiter leaves the line", {"L3U", "LU", "LU", "1kb"}, "aL+0 bLc1 bUp1 cL+3"},
    {"a waiter that is woken and cancelled in one turn has the lock, and the next call says so",
     {"L1Ukb", "LyU", "LU"},
     "aL+0 bL+1 byc1 cL+1"},
    {"a deadline while waiting for a lock leaves the lock alone",
     {"L3U", "(1L)", "2LU"},
     "aL+0 bLt1 b)t1 cL+3"},
    {"a cancelled task gets no free lock", {"1L", "ka"}, "a1c0 aLc0"},
    {"an unlock without the lock is refused", {"U", "LU"}, "aUp0 bL+0"},
    {"a semaphore is had in order", {"A2R", "AR", "AR"}, "aA+0 bA+2 cA+2"},
    {"a cancelled acquire takes no permit", {"A3R", "A", "1kb", "2AR"}, "aA+0 bAc1 dA+3"},
    {"an event wakes all, also when it is cleared at once",
     {"E", "E", "1SC", "2(1E)"},
     "aE+1 bE+1 dEt3 d)t3"},
    {"a set event does not wait but is a cancellation point", {"SE", "1E", "kb"}, "aE+0 b1c0 bEc0"},
    {"a condition gives the lock away and back", {"LWU", "1LN2U"}, "aL+0 bL+1 aW+3"},
    {"a cancelled wait for a condition has the lock again",
     {"LWU", "1L2U", "2ka"},
     "aL+0 bL+1 aWc3"},
    {"a notification is not lost with a cancelled waiter",
     {"LWUy", "LWU", "1LNkaU", "2LNU"},
     "aL+0 bL+0 cL+1 aW+1 ayc1 dL+2 bW+2"},
    {"a notification without a waiter is lost", {"LNU", "(1LW)"}, "aL+0 bL+0 bWt1 b)t1"},
    {"a full queue makes a put wait until a get", {"PPP", "1G1G"}, "aP+0 bG+1 aP+1 bG+2 aP+2"},
    {"gets are served in order", {"G", "G", "1PP"}, "cP+1 cP+1 aG+1 bG+1"},
    {"a closed queue gives what it has, then ends", {"PX", "GG"}, "aP+0 bG+0 bGx0"},
    {"closing ends the waits", {"G", "G", "1X"}, "aGx1 bGx1"},
    {"a cancelled get takes nothing", {"G", "1ka", "2P", "3G"}, "aGc1 cP+2 dG+3"},
    {"an item that is handed over before the cancellation arrives",
     {"Gy", "1Pka"},
     "bP+1 aG+1 ayc1"},
    {"a future wakes all waiters", {"F", "F", "1D", "2F"}, "aF+1 bF+1 dF+2"},
    {"a deadline around a future leaves the future pending", {"(1F)F", "2D"}, "aFt1 a)t1 aF+2"},
    {"the inner deadline fires alone", {"(9(15)1)"}, "a5t1 a)t1 a)+2"},
    {"the outer deadline fires first and only it says so", {"(1(95)5)1"}, "a5t1 a)+1 a5t1 a)t1"},
    {"cancellation outranks the deadline", {"(15[1]y)y", "1ka"}, "a5t1 ayc2 a)t2 ayc2"},
    {"cancellation is a level", {"5yy1", "1ka"}, "a5c1 ayc1 ayc1 a1c1"},
    {"a shield keeps a cancellation out until it is left", {"[3y]y", "1ka"}, "ay+3 ayc3"},
    {"a deadline inside a shield counts", {"[(1F)]1", "ka"}, "aFt1 a)t1 a1c1"},
    {"a deadline of nothing ends the first call",
     {"(0y)y", "(0L)", "(0G)"},
     "ayt0 a)t0 bLt0 b)t0 cGt0 c)t0 ay+0"},
    {"a barrier lets go when all are there", {"B", "2B"}, "bB+2 aB+2"},
    {"a cancelled party has not arrived", {"B", "1ka", "2B", "3B"}, "aBc1 dB+3 cB+3"},
};

static void play(const struct row *row)
{
    struct actor actors[ACTORS] = {0};
    world = (struct world){.semaphore = ROTA_SEMAPHORE_INIT(1), .barrier = ROTA_BARRIER_INIT(2)};
    rota_future_init(&world.future);
    CHECK_OK(rota_queue_new(1, sizeof(int), &world.queue));
    rota_time start = rota_now();
    CHECK_OK(
        rota_sleep_until((start + 99 * ROTA_SECOND) / (100 * ROTA_SECOND) * (100 * ROTA_SECOND)));
    for (int i = 0; i < ACTORS && row->scripts[i]; i++) {
        actors[i].name = (char)('a' + i);
        actors[i].script = row->scripts[i];
        CHECK_OK(rota_spawn(act, &actors[i], &world.tasks[i]));
    }
    for (int i = 0; i < ACTORS && row->scripts[i]; i++) {
        int result = rota_join(world.tasks[i]);
        world.tasks[i] = NULL; /* a join that is interrupted ends before the others' scripts do */
        CHECK_INT(result, ==, 0);
    }
    rota_queue_free(world.queue);
    if (strcmp(world.told.text, row->told) != 0)
        FAIL("%s:\n  expected %s\n  was      %s", row->name, row->told, world.told.text);
}

static int play_row(void *arg)
{
    play(arg);
    return 0;
}

TEST(each_script_ends_as_the_table_says)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        run_virtual(play_row, (void *)(uintptr_t)&rows[i]);
}
