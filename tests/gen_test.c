/* Generators, iteration, and locals. */

#include "clean_run.h"

#include "base/fault.h"
#include "task/task.h"

#include <rota.h>

#include <string.h>

/* Stacks of generators stay with their thread, so memory is not counted. */
static void run_generators(rota_fn *fn, void *arg)
{
    CHECK_OK(rota_test_run(fn, arg));
}

#define GEN_TEST(name_) TASK_TEST_BY(run_generators, name_)

#if ROTA__ASAN
#define TEST_OVERFLOWS(name_, text_) TEST_EXITS(name_, 1, text_)
#else
#define TEST_OVERFLOWS(name_, text_) TEST_DIES(name_, SIGSEGV, text_)
#endif

/* Numbers are handed out as pointers. */
static void *number(intptr_t n)
{
    return (void *)n;
}

/* A range of numbers, and what became of the generator's function. */
struct range {
    int from, to;
    int result; /* what the function returns at the end */
    rota_time pause;
    int yields, stopped; /* how often it yielded, and with what its last yield or pause ended */
    bool cleaned;
};

static int count(rota_gen *gen, void *arg)
{
    struct range *r = arg;
    for (int i = r->from; i < r->to && r->stopped == 0; i++) {
        if (r->pause)
            r->stopped = rota_sleep(r->pause);
        if (r->stopped == 0)
            r->stopped = rota_gen_yield(gen, number(i));
        r->yields++;
    }
    r->cleaned = true;
    return r->stopped < 0 ? r->stopped : r->result;
}

static rota_gen *generator(int (*fn)(rota_gen *gen, void *arg), void *arg)
{
    rota_gen *gen = NULL;
    CHECK_OK(rota_gen_new(fn, arg, &gen));
    return gen;
}

static int next_number(rota_gen *gen)
{
    void *item;
    int more = rota_gen_next(gen, &item);
    return more > 0 ? (int)(intptr_t)item : more < 0 ? more : -1;
}

/* ---- Items, the end, errors */

static void check_count(void)
{
    struct range r = {1, 4};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    CHECK_INT(next_number(gen), ==, 1);
    CHECK_INT(next_number(gen), ==, 2);
    CHECK_INT(next_number(gen), ==, 3);
    void *item = &r;
    CHECK_INT(rota_gen_next(gen, &item), ==, 0);
    CHECK_INT(rota_gen_next(gen, &item), ==, 0);
    CHECK_PTR(item, ==, &r);
}

GEN_TEST(items_come_in_order_and_the_end_stays)
{
    check_count();
}

TEST(generator_works_outside_a_task)
{
    check_count();
    struct range r = {1, 100};
    rota_gen *gen = generator(count, &r);
    CHECK_INT(next_number(gen), ==, 1);
    CHECK_PTR(rota_gen_free(gen), ==, NULL);
    CHECK(r.cleaned);
    CHECK_INT(r.stopped, ==, -ECANCELED);
}

TEST(generator_outside_a_task_keeps_the_text_of_a_failure)
{
    struct range r = {1, 4};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    rota_error_set(ROTA_ENOTASK, "of an earlier failure");
    CHECK_INT(next_number(gen), ==, 1);
    CHECK_STR(rota_error(ROTA_ENOTASK), "of an earlier failure");
}

TEST(generator_outside_a_task_cannot_wait)
{
    struct range r = {1, 3, .pause = ROTA_SECOND};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    CHECK_INT(next_number(gen), ==, ROTA_ENOTASK);
    CHECK(r.cleaned);
}

static int take_two(void *arg)
{
    CHECK_INT(next_number(arg), ==, 2);
    CHECK_INT(next_number(arg), ==, 3);
    return 0;
}

TEST(generator_may_pass_in_and_out_of_tasks)
{
    struct range r = {1, 100};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    CHECK_INT(next_number(gen), ==, 1);
    run_generators(take_two, gen);
    CHECK_INT(next_number(gen), ==, 4);
}

GEN_TEST(error_of_the_function_ends_the_iteration_and_stays)
{
    struct range r = {1, 2, .result = -EIO};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    CHECK_INT(next_number(gen), ==, 1);
    void *item = &r;
    CHECK_INT(rota_gen_next(gen, &item), ==, -EIO);
    CHECK_INT(rota_gen_next(gen, &item), ==, -EIO);
    CHECK_PTR(item, ==, &r);
}

GEN_TEST(success_of_the_function_is_the_end_whatever_its_value)
{
    struct range r = {1, 1, .result = 5};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    void *item;
    CHECK_INT(rota_gen_next(gen, &item), ==, 0);
}

static int fibonacci(rota_gen *gen, void *arg)
{
    intptr_t a = 0, b = 1;
    int err;
    while ((err = rota_gen_yield(gen, number(a))) == 0) {
        intptr_t sum = (a + b) % 1000;
        a = b;
        b = sum;
    }
    return err;
}

GEN_TEST(endless_generator_runs_as_far_as_it_is_asked)
{
    ROTA_AUTO(rota_gen) gen = generator(fibonacci, NULL);
    for (int i = 0; i < 10000; i++)
        CHECK_INT(next_number(gen), >=, 0);
    ROTA_AUTO(rota_gen) again = generator(fibonacci, NULL);
    static const int first[] = {0, 1, 1, 2, 3, 5, 8, 13, 21};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        CHECK_INT(next_number(again), ==, first[i]);
}

GEN_TEST(many_generators_live_side_by_side)
{
    enum { N = 1000 };
    struct range ranges[N];
    rota_gen *gens[N];
    for (int i = 0; i < N; i++) {
        ranges[i] = (struct range){i, i + 3};
        gens[i] = generator(count, &ranges[i]);
    }
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < N; i++)
            CHECK_INT(next_number(gens[i]), ==, i + k);
    for (int i = 0; i < N; i++)
        rota_gen_free(gens[i]);
}

/* ---- Freeing */

GEN_TEST(early_free_lets_the_function_clean_up)
{
    struct range r = {1, 100};
    rota_gen *gen = generator(count, &r);
    CHECK_INT(next_number(gen), ==, 1);
    CHECK(!r.cleaned);
    CHECK_PTR(rota_gen_free(gen), ==, NULL);
    CHECK(r.cleaned);
    CHECK_INT(r.stopped, ==, -ECANCELED);
    CHECK_INT(r.yields, ==, 1);
}

GEN_TEST(generator_that_never_started_is_freed_without_running)
{
    struct range r = {1, 100};
    rota_gen_free(generator(count, &r));
    CHECK(!r.cleaned);
    CHECK_PTR(rota_gen_free(NULL), ==, NULL);
}

static int clean_up_slowly(rota_gen *gen, void *arg)
{
    int *slept = arg;
    int err = rota_gen_yield(gen, NULL);
    *slept = rota_sleep(5 * ROTA_SECOND);
    CHECK_INT(rota_gen_yield(gen, NULL), ==, -ECANCELED);
    return err;
}

GEN_TEST(clean_up_in_a_cancelled_task_may_wait)
{
    int slept = 1;
    rota_gen *gen = generator(clean_up_slowly, &slept);
    void *item;
    CHECK_INT(rota_gen_next(gen, &item), ==, 1);
    rota_task_cancel(rota_task_current());
    rota_gen_free(gen);
    CHECK_INT(slept, ==, 0);
    CHECK_INT(rota_now(), ==, 5 * ROTA_SECOND);
    CHECK_INT(rota_yield(), ==, -ECANCELED);
}

/* ---- Waiting inside */

GEN_TEST(function_may_wait_between_items)
{
    struct range r = {1, 4, .pause = ROTA_SECOND};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    for (int i = 1; i < 4; i++) {
        CHECK_INT(next_number(gen), ==, i);
        CHECK_INT(rota_now(), ==, i * ROTA_SECOND);
    }
    CHECK_INT(next_number(gen), ==, -1);
}

static int iterate(void *arg)
{
    struct range *r = arg;
    ROTA_AUTO(rota_gen) gen = generator(count, r);
    int err;
    ROTA_FOREACH (void *, item, rota_gen_iter(gen), &err)
        CHECK_PTR(item, !=, NULL);
    return err;
}

GEN_TEST(cancellation_reaches_the_function_where_it_waits)
{
    struct range r = {1, 100, .pause = ROTA_SECOND};
    rota_task *task;
    CHECK_OK(rota_spawn(iterate, &r, &task));
    CHECK_INT(rota_sleep(2 * ROTA_SECOND + ROTA_MILLISECOND), ==, 0);
    CHECK_STR(rota_task_waits_for(task), "sleep");
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK(r.cleaned);
    CHECK_INT(r.yields, ==, 3);
}

GEN_TEST(deadline_around_the_iteration_reaches_the_function)
{
    struct range r = {1, 100, .pause = ROTA_SECOND};
    int err = 0;
    ROTA_TIMEOUT (2 * ROTA_SECOND + ROTA_MILLISECOND) {
        err = iterate(&r);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK(r.cleaned);
    CHECK_INT(r.yields, ==, 3);
}

GEN_TEST(rule_7_next_is_a_cancellation_point)
{
    struct range r = {1, 100};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    rota_task_cancel(rota_task_current());
    CHECK_INT(next_number(gen), ==, -ECANCELED);
    CHECK_INT(next_number(gen), ==, -ECANCELED);
    ROTA_SHIELD
    {
        CHECK_INT(next_number(gen), ==, 1);
    }
    CHECK_INT(next_number(gen), ==, -ECANCELED);
}

struct gift {
    rota_gen *gen;
    int got;
};

static int take_one(void *arg)
{
    struct gift *gift = arg;
    gift->got = next_number(gift->gen);
    return 0;
}

GEN_TEST(suspended_generator_can_be_handed_to_another_task)
{
    struct range r = {1, 100, .pause = ROTA_SECOND};
    struct gift gift = {generator(count, &r)};
    CHECK_INT(next_number(gift.gen), ==, 1);
    rota_task *task;
    CHECK_OK(rota_spawn(take_one, &gift, &task));
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(gift.got, ==, 2);
    CHECK_INT(next_number(gift.gen), ==, 3);
    CHECK_INT(rota_now(), ==, 3 * ROTA_SECOND);
    rota_gen_free(gift.gen);
    CHECK(r.cleaned);
}

GEN_TEST(generator_that_runs_is_busy_for_other_tasks)
{
    struct range r = {1, 100, .pause = ROTA_SECOND};
    struct gift first = {generator(count, &r)}, second = first;
    rota_task *tasks[2];
    CHECK_OK(rota_spawn(take_one, &first, &tasks[0]));
    CHECK_OK(rota_spawn(take_one, &second, &tasks[1]));
    CHECK_INT(rota_join(tasks[0]), ==, 0);
    CHECK_INT(rota_join(tasks[1]), ==, 0);
    CHECK_INT(first.got, ==, 1);
    CHECK_INT(second.got, ==, -EBUSY);
    CHECK_INT(next_number(first.gen), ==, 2);
    rota_gen_free(first.gen);
}

static int ask_oneself(rota_gen *gen, void *arg)
{
    void *item;
    *(int *)arg = rota_gen_next(gen, &item);
    return 0;
}

GEN_TEST(generator_is_busy_for_itself)
{
    int result = 0;
    ROTA_AUTO(rota_gen) gen = generator(ask_oneself, &result);
    CHECK_INT(next_number(gen), ==, -1);
    CHECK_INT(result, ==, -EBUSY);
}

/* ---- Yielding where it is not allowed */

static int yield_for_another(rota_gen *gen, void *arg)
{
    rota_gen *other = arg;
    CHECK_INT(rota_gen_yield(other, NULL), ==, -EPERM);
    return rota_gen_yield(gen, number(7));
}

GEN_TEST(only_the_function_itself_yields)
{
    struct range r = {1, 100};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    CHECK_INT(rota_gen_yield(gen, NULL), ==, -EPERM);
    CHECK_INT(next_number(gen), ==, 1);
    CHECK_INT(rota_gen_yield(gen, NULL), ==, -EPERM);
    ROTA_AUTO(rota_gen) other = generator(yield_for_another, gen);
    CHECK_INT(next_number(other), ==, 7);
    CHECK_INT(next_number(gen), ==, 2);
}

static int yield_in_scopes(rota_gen *gen, void *arg)
{
    ROTA_TIMEOUT (ROTA_SECOND) {
        CHECK_INT(rota_gen_yield(gen, NULL), ==, ROTA_ESCOPE);
        CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    }
    CHECK_INT(rota_gen_yield(gen, number(1)), ==, 0);
    ROTA_SHIELD
    {
        CHECK_INT(rota_gen_yield(gen, NULL), ==, ROTA_ESCOPE);
    }
    CHECK_INT(rota_gen_yield(gen, number(2)), ==, 0);
    struct range r = {1, 2};
    ROTA_GROUP(g);
    CHECK_OK(rota_group_spawn(&g, iterate, &r));
    CHECK_INT(rota_gen_yield(gen, NULL), ==, ROTA_ESCOPE);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    return rota_gen_yield(gen, number(3));
}

GEN_TEST(yield_inside_a_scope_of_the_function_is_refused_and_harmless)
{
    ROTA_AUTO(rota_gen) gen = generator(yield_in_scopes, NULL);
    CHECK_INT(next_number(gen), ==, 1);
    CHECK_INT(next_number(gen), ==, 2);
    CHECK_INT(next_number(gen), ==, 3);
    CHECK_INT(next_number(gen), ==, -1);
}

GEN_TEST(scopes_of_the_caller_may_differ_from_item_to_item)
{
    struct range r = {1, 100, .pause = ROTA_SECOND};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    CHECK_INT(next_number(gen), ==, 1);
    ROTA_TIMEOUT (ROTA_MINUTE) {
        CHECK_INT(next_number(gen), ==, 2);
        ROTA_SHIELD
        {
            CHECK_INT(next_number(gen), ==, 3);
        }
    }
    CHECK_INT(next_number(gen), ==, 4);
}

/* ---- Delegation */

struct nest {
    struct range *ranges;
    size_t n;
    int err;
};

static int chain(rota_gen *gen, void *arg)
{
    struct nest *nest = arg;
    for (size_t i = 0; i < nest->n; i++) {
        ROTA_AUTO(rota_gen) inner = generator(count, &nest->ranges[i]);
        nest->err = rota_gen_yield_from(gen, rota_gen_iter(inner));
        if (nest->err < 0)
            return nest->err;
    }
    return 0;
}

GEN_TEST(delegation_hands_out_the_items_of_others)
{
    struct range ranges[] = {{1, 3}, {5, 5}, {3, 5, .pause = ROTA_SECOND}};
    struct nest nest = {ranges, 3};
    ROTA_AUTO(rota_gen) gen = generator(chain, &nest);
    for (int i = 1; i < 5; i++)
        CHECK_INT(next_number(gen), ==, i);
    CHECK_INT(next_number(gen), ==, -1);
    CHECK_INT(rota_now(), ==, 2 * ROTA_SECOND);
}

GEN_TEST(delegation_passes_on_the_error_of_the_inner_one)
{
    struct range ranges[] = {{1, 2, .result = -EIO}, {5, 6}};
    struct nest nest = {ranges, 2};
    ROTA_AUTO(rota_gen) gen = generator(chain, &nest);
    CHECK_INT(next_number(gen), ==, 1);
    CHECK_INT(next_number(gen), ==, -EIO);
    CHECK_INT(ranges[1].yields, ==, 0);
}

GEN_TEST(early_free_cleans_up_through_delegation)
{
    struct range ranges[] = {{1, 9}, {5, 6}};
    struct nest nest = {ranges, 2};
    rota_gen *gen = generator(chain, &nest);
    CHECK_INT(next_number(gen), ==, 1);
    rota_gen_free(gen);
    CHECK_INT(nest.err, ==, -ECANCELED);
    CHECK(ranges[0].cleaned);
    CHECK_INT(ranges[0].stopped, ==, -ECANCELED);
    CHECK_INT(ranges[1].yields, ==, 0);
}

struct tree {
    struct tree *left, *right;
    intptr_t value;
};

static int walk(rota_gen *gen, void *arg)
{
    struct tree *tree = arg;
    if (!tree)
        return 0;
    ROTA_AUTO(rota_gen) left = generator(walk, tree->left);
    int err = rota_gen_yield_from(gen, rota_gen_iter(left));
    if (err == 0)
        err = rota_gen_yield(gen, number(tree->value));
    if (err < 0)
        return err;
    ROTA_AUTO(rota_gen) right = generator(walk, tree->right);
    return rota_gen_yield_from(gen, rota_gen_iter(right));
}

GEN_TEST(recursive_generators_walk_a_tree)
{
    struct tree nodes[31];
    for (size_t i = 0; i < 31; i++)
        nodes[i] = (struct tree){i < 15 ? &nodes[2 * i + 1] : NULL,
                                 i < 15 ? &nodes[2 * i + 2] : NULL, (intptr_t)i + 1};
    ROTA_AUTO(rota_gen) gen = generator(walk, &nodes[0]);
    int sum = 0, n = 0, err;
    ROTA_FOREACH (intptr_t, value, rota_gen_iter(gen), &err) {
        CHECK_INT(value, ==, n == 0 ? 16 : n == 15 ? 1 : value);
        sum += (int)value;
        n++;
    }
    CHECK_INT(err, ==, 0);
    CHECK_INT(n, ==, 31);
    CHECK_INT(sum, ==, 496);
}

/* ---- ROTA_FOREACH */

GEN_TEST(break_leaves_the_rest_for_later)
{
    struct range r = {1, 10};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    int err = 1;
    ROTA_FOREACH (intptr_t, i, rota_gen_iter(gen), &err)
        if (i == 3)
            break;
    CHECK_INT(err, ==, 0);
    CHECK_INT(next_number(gen), ==, 4);
}

GEN_TEST(error_that_the_block_has_found_stays_after_a_break)
{
    struct range r = {1, 10};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    int err = 1;
    ROTA_FOREACH (intptr_t, i, rota_gen_iter(gen), &err) {
        CHECK_INT(err, ==, 0);
        err = i == 3 ? -EBADMSG : 0;
        if (err < 0)
            break;
    }
    CHECK_INT(err, ==, -EBADMSG);
}

GEN_TEST(continue_goes_on_with_the_next_item)
{
    struct range r = {1, 10};
    ROTA_AUTO(rota_gen) gen = generator(count, &r);
    int err = 1, sum = 0;
    ROTA_FOREACH (intptr_t, i, rota_gen_iter(gen), &err) {
        if (i % 2)
            continue;
        sum += (int)i;
    }
    CHECK_INT(err, ==, 0);
    CHECK_INT(sum, ==, 20);
}

static int find(struct range *r, int wanted)
{
    ROTA_AUTO(rota_gen) gen = generator(count, r);
    int err;
    ROTA_FOREACH (intptr_t, i, rota_gen_iter(gen), &err)
        if (i == wanted)
            return (int)i;
    return err;
}

GEN_TEST(return_from_the_block_frees_the_generator)
{
    struct range r = {1, 10};
    CHECK_INT(find(&r, 3), ==, 3);
    CHECK(r.cleaned);
    CHECK_INT(r.yields, ==, 3);
}

GEN_TEST(error_that_ends_the_iteration_is_told)
{
    struct range r = {1, 4, .result = -EIO};
    CHECK_INT(find(&r, 9), ==, -EIO);
}

GEN_TEST(iterations_nest)
{
    int n = 0, outer_err, inner_err;
    struct range rows = {0, 5};
    ROTA_AUTO(rota_gen) outer = generator(count, &rows);
    ROTA_FOREACH (intptr_t, row, rota_gen_iter(outer), &outer_err) {
        struct range columns = {0, (int)row};
        ROTA_AUTO(rota_gen) inner = generator(count, &columns);
        ROTA_FOREACH (intptr_t, column, rota_gen_iter(inner), &inner_err) {
            if (column == 2)
                break;
            n++;
        }
        CHECK_INT(inner_err, ==, 0);
    }
    CHECK_INT(outer_err, ==, 0);
    CHECK_INT(n, ==, 0 + 1 + 2 + 2 + 2);
}

/* ---- Locals */

static char anonymous[] = "anonymous", alice[] = "alice", bob[] = "bob", carol[] = "carol";

static const rota_local user = {anonymous}, room = {NULL};

static int check_user(void *arg)
{
    CHECK_STR(rota_local_get(&user), arg);
    return 0;
}

static int check_user_later(void *arg)
{
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    return check_user(arg);
}

GEN_TEST(local_begins_with_its_initial_value)
{
    CHECK_STR(rota_local_get(&user), "anonymous");
    CHECK_PTR(rota_local_get(&room), ==, NULL);
}

TEST(local_outside_a_task_has_its_initial_value_and_cannot_be_set)
{
    CHECK_STR(rota_local_get(&user), "anonymous");
    CHECK_INT(rota_local_set(&user, bob), ==, ROTA_ENOTASK);
}

GEN_TEST(local_is_inherited_at_spawn_and_changes_apart)
{
    ROTA_GROUP(g);
    CHECK_OK(rota_group_spawn(&g, check_user_later, anonymous));
    CHECK_OK(rota_local_set(&user, alice));
    CHECK_OK(rota_group_spawn(&g, check_user_later, alice));
    CHECK_OK(rota_local_set(&user, bob));
    CHECK_STR(rota_local_get(&user), "bob");
    CHECK_OK(rota_group_spawn(&g, check_user_later, bob));
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_STR(rota_local_get(&user), "bob");
}

static int change_user(void *arg)
{
    CHECK_STR(rota_local_get(&user), "alice");
    int err = rota_local_set(&user, arg);
    if (err < 0)
        return err;
    ROTA_GROUP(g);
    rota_group_spawn(&g, check_user, arg);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    CHECK_STR(rota_local_get(&user), arg);
    CHECK_PTR(rota_local_get(&room), ==, &anonymous);
    return rota_group_wait(&g);
}

GEN_TEST(change_in_a_task_is_seen_by_it_and_its_children_alone)
{
    CHECK_OK(rota_local_set(&user, alice));
    CHECK_OK(rota_local_set(&room, anonymous));
    ROTA_GROUP(g);
    rota_group_spawn(&g, change_user, bob);
    rota_group_spawn(&g, change_user, carol);
    rota_group_spawn(&g, check_user_later, alice);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_STR(rota_local_get(&user), "alice");
}

static int outlive_the_parent(void *arg)
{
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    CHECK_STR(rota_local_get(&user), "bob");
    CHECK_OK(rota_local_set(&user, carol));
    CHECK_STR(rota_local_get(&user), "carol");
    return 0;
}

static int leave_children(void *arg)
{
    CHECK_OK(rota_local_set(&user, bob));
    rota_task **tasks = arg;
    CHECK_OK(rota_spawn(outlive_the_parent, NULL, &tasks[0]));
    CHECK_OK(rota_spawn(outlive_the_parent, NULL, &tasks[1]));
    return 0;
}

GEN_TEST(children_keep_locals_after_their_parent_has_ended)
{
    rota_task *parent, *children[2] = {NULL, NULL};
    CHECK_OK(rota_spawn(leave_children, children, &parent));
    CHECK_INT(rota_join(parent), ==, 0);
    CHECK_INT(rota_join(children[0]), ==, 0);
    CHECK_INT(rota_join(children[1]), ==, 0);
    CHECK_STR(rota_local_get(&user), "anonymous");
}

static int set_without_memory(void *arg)
{
    CHECK_OK(rota_local_set(&user, alice));
    rota__fault_arm(ROTA__FAULT_ALLOC, 1);
    CHECK_INT(rota_local_set(&user, bob), ==, 0); /* in place */
    CHECK_INT(rota_local_set(&room, carol), ==, -ENOMEM);
    rota__fault_disarm();
    CHECK_STR(rota_local_get(&user), "bob");
    CHECK_PTR(rota_local_get(&room), ==, NULL);
    return 0;
}

TEST_WITH(set_without_memory_changes_nothing, .without_faults = true)
{
    run_generators(set_without_memory, NULL);
}

static int read_local(rota_gen *gen, void *arg)
{
    for (;;) {
        int err = rota_gen_yield(gen, rota_local_get(&user));
        if (err < 0)
            return err;
    }
}

GEN_TEST(generator_sees_the_locals_of_the_task_that_asks)
{
    ROTA_AUTO(rota_gen) gen = generator(read_local, NULL);
    void *item;
    CHECK_INT(rota_gen_next(gen, &item), ==, 1);
    CHECK_STR(item, "anonymous");
    CHECK_OK(rota_local_set(&user, alice));
    CHECK_INT(rota_gen_next(gen, &item), ==, 1);
    CHECK_STR(item, "alice");
}

/* ---- Overflow */

__attribute__((noinline)) static int recurse(int depth)
{
    volatile char frame[512];
    frame[0] = (char)depth;
    return depth ? recurse(depth - 1) + frame[0] : 0;
}

static int overflow(rota_gen *gen, void *arg)
{
    return recurse(1 << 20);
}

static int overflow_in_generator(void *arg)
{
    rota_task_set_name(rota_task_current(), "mill");
    return next_number(generator(overflow, NULL));
}

TEST_OVERFLOWS(overflow_in_a_generator_names_the_task,
               "stack overflow in a generator of task 'mill'")
{
    rota_run(overflow_in_generator, NULL);
}
