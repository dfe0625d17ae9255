/* Exceptions in tasks, generators and coroutines. Rule 22: exception state belongs to the stack,
 * and an exception that leaves a function which rota calls ends the program by std::terminate. */
#include "harness.h"

#include <rota.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

TEST_ALL_ON_BOTH_BACKENDS;

static std::string what(std::exception_ptr e)
{
    try {
        if (e)
            std::rethrow_exception(e);
    } catch (const std::exception &error) {
        return error.what();
    }
    return "";
}

/* Longer than what fits into a std::string, so that it is freed with its exception. */
static std::string words(const char *name)
{
    return std::string("the error of ") + name + ", in memory of its own";
}

/* ---- Handlers that wait */

struct part {
    const char *name;
    rota_time pause;
};

static int wait_and_rethrow(void *arg)
{
    auto *p = static_cast<part *>(arg);
    try {
        try {
            throw std::runtime_error(words(p->name));
        } catch (...) {
            CHECK_OK(rota_sleep(p->pause));
            CHECK_STR(what(std::current_exception()).c_str(), words(p->name).c_str());
            throw;
        }
    } catch (const std::exception &e) {
        CHECK_OK(rota_sleep(p->pause));
        CHECK_STR(e.what(), words(p->name).c_str());
        CHECK_INT(std::uncaught_exceptions(), ==, 0);
    }
    CHECK(!std::current_exception());
    return 0;
}

static int two_of_them(void *)
{
    part a = {"a", ROTA_MILLISECOND}, b = {"b", 2 * ROTA_MILLISECOND};
    rota_gather_call calls[] = {{wait_and_rethrow, &a, 0}, {wait_and_rethrow, &b, 0}};
    return rota_gather(calls, 2);
}

TEST(handlers_that_wait_rethrow_what_they_caught)
{
    CHECK_OK(rota_run(two_of_them, nullptr));
}

TEST(each_thread_has_handlers_that_wait)
{
    std::thread other([] { CHECK_OK(rota_run(two_of_them, nullptr)); });
    CHECK_OK(rota_run(two_of_them, nullptr));
    other.join();
}

static int sees_none(void *)
{
    CHECK(!std::current_exception());
    CHECK_INT(std::uncaught_exceptions(), ==, 0);
    return 0;
}

static int spawn_from_handler(void *)
{
    try {
        throw std::runtime_error(words("parent"));
    } catch (const std::exception &e) {
        rota_task *task = nullptr;
        CHECK_OK(rota_spawn(sees_none, nullptr, &task));
        CHECK_OK(rota_join(task));
        CHECK_STR(e.what(), words("parent").c_str());
        throw std::runtime_error("nested");
    }
}

static int catches_nested(void *)
{
    try {
        spawn_from_handler(nullptr);
    } catch (const std::exception &e) {
        CHECK_STR(e.what(), "nested");
        return 0;
    }
    return -EIO;
}

TEST(a_task_that_a_handler_spawns_begins_without_exceptions)
{
    CHECK_OK(rota_run(catches_nested, nullptr));
}

/* ---- Unwinding that waits */

struct waits_when_destroyed {
    int *seen;

    ~waits_when_destroyed()
    {
        CHECK_INT(std::uncaught_exceptions(), ==, 1);
        CHECK_OK(rota_sleep(2 * ROTA_MILLISECOND));
        *seen = std::uncaught_exceptions();
    }
};

static int unwind_and_wait(void *arg)
{
    try {
        waits_when_destroyed w = {static_cast<int *>(arg)};
        throw std::runtime_error(words("unwound"));
    } catch (const std::exception &e) {
        CHECK_STR(e.what(), words("unwound").c_str());
    }
    return sees_none(nullptr);
}

static int others_meanwhile(void *arg)
{
    CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    sees_none(nullptr);
    part p = {"other", 2 * ROTA_MILLISECOND};
    return wait_and_rethrow(&p);
}

static int unwind_beside_others(void *)
{
    int seen = 0;
    rota_gather_call calls[] = {{unwind_and_wait, &seen, 0}, {others_meanwhile, nullptr, 0}};
    CHECK_OK(rota_gather(calls, 2));
    CHECK_INT(seen, ==, 1);
    return 0;
}

TEST(exceptions_in_flight_are_counted_by_stack)
{
    CHECK_OK(rota_run(unwind_beside_others, nullptr));
}

static int until_cancelled(void *arg)
{
    CHECK_INT(rota_sleep(ROTA_NEVER), ==, -ECANCELED);
    *static_cast<bool *>(arg) = true;
    part p = {"cancelled", 0};
    rota_shield shield = {};
    rota_shield_begin(&shield);
    int err = wait_and_rethrow(&p);
    rota_shield_end(&shield);
    return err;
}

static int throw_across_releases(bool *ended)
{
    ROTA_AUTO(rota_task) task = nullptr;
    CHECK_OK(rota_spawn(until_cancelled, ended, &task));
    ROTA_TIMEOUT (ROTA_MINUTE) {
        ROTA_SHIELD
        {
            CHECK_OK(rota_yield());
            throw std::runtime_error(words("owner"));
        }
    }
    return 0;
}

static int unwind_releases(void *)
{
    bool ended = false;
    try {
        throw_across_releases(&ended);
    } catch (const std::exception &e) {
        CHECK_STR(e.what(), words("owner").c_str());
        CHECK(ended);
        return rota_check();
    }
    return -EIO;
}

TEST(an_exception_releases_what_it_leaves_and_waits_for_it)
{
    CHECK_OK(rota_run(unwind_releases, nullptr));
}

/* ---- Generators and coroutines */

static int count_in_handler(rota_gen *gen, void *)
{
    static int number;
    for (number = 0; number < 3; number++) {
        try {
            sees_none(nullptr);
            throw std::runtime_error(words("generator"));
        } catch (const std::exception &e) {
            int err = rota_gen_yield(gen, &number);
            CHECK_STR(e.what(), words("generator").c_str());
            CHECK_STR(what(std::current_exception()).c_str(), e.what());
            if (err < 0)
                return err;
            CHECK_OK(rota_sleep(ROTA_MILLISECOND));
        }
    }
    return 0;
}

static int iterate_in_handler(void *)
{
    ROTA_AUTO(rota_gen) gen = nullptr, half = nullptr;
    CHECK_OK(rota_gen_new(count_in_handler, nullptr, &gen));
    CHECK_OK(rota_gen_new(count_in_handler, nullptr, &half));
    int err, sum = 0;
    try {
        throw std::runtime_error(words("consumer"));
    } catch (const std::exception &e) {
        ROTA_FOREACH (int *, n, rota_gen_iter(gen), &err) {
            sum += *n;
            CHECK_STR(what(std::current_exception()).c_str(), words("consumer").c_str());
        }
        void *item;
        CHECK_INT(rota_gen_next(half, &item), ==, 1);
        half = rota_gen_free(half);
        CHECK_STR(e.what(), words("consumer").c_str());
    }
    CHECK_INT(sum, ==, 3);
    return err;
}

TEST(a_generator_has_exceptions_of_its_own)
{
    CHECK_OK(rota_run(iterate_in_handler, nullptr));
}

static void *switch_in_handler(void *arg, void *)
{
    auto *consumer = static_cast<rota_coro *>(arg);
    try {
        sees_none(nullptr);
        throw std::runtime_error(words("coroutine"));
    } catch (const std::exception &e) {
        int err = rota_coro_switch(consumer, nullptr, nullptr);
        CHECK_STR(e.what(), words("coroutine").c_str());
        return err < 0 ? nullptr : consumer;
    }
}

TEST(a_coroutine_has_exceptions_of_its_own)
{
    ROTA_AUTO(rota_coro) coro = nullptr;
    CHECK_OK(rota_coro_new(switch_in_handler, rota_coro_current(), &coro));
    try {
        throw std::runtime_error(words("thread"));
    } catch (const std::exception &e) {
        void *value = nullptr;
        CHECK_OK(rota_coro_switch(coro, nullptr, nullptr));
        CHECK_STR(what(std::current_exception()).c_str(), words("thread").c_str());
        CHECK_OK(rota_coro_switch(coro, nullptr, &value));
        CHECK_PTR(value, ==, rota_coro_current());
        CHECK_STR(e.what(), words("thread").c_str());
    }
    sees_none(nullptr);
}

/* ---- What leaves a function that rota calls. Each is called where a handler is in reach. */

#define TERMINATES(name_) TEST_DIES(name_, SIGABRT, "escaped")

static int throws(void *)
{
    throw std::runtime_error("escaped");
}

static void throws_nothing_back(void *arg)
{
    throws(arg);
}

static int run_caught(rota_fn *fn, void *arg)
{
    try {
        return rota_run(fn, arg);
    } catch (...) {
        puts("caught");
        return 0;
    }
}

TERMINATES(an_exception_that_leaves_a_task_terminates)
{
    run_caught(throws, nullptr);
}

static int throwing_generator(rota_gen *, void *)
{
    return throws(nullptr);
}

static int next_caught(void *)
{
    ROTA_AUTO(rota_gen) gen = nullptr;
    CHECK_OK(rota_gen_new(throwing_generator, nullptr, &gen));
    try {
        void *item;
        return rota_gen_next(gen, &item);
    } catch (...) {
        return 0;
    }
}

TERMINATES(an_exception_that_leaves_a_generator_terminates)
{
    next_caught(nullptr);
}

static void *throwing_coroutine(void *, void *)
{
    throws(nullptr);
    return nullptr;
}

TERMINATES(an_exception_that_leaves_a_coroutine_terminates)
{
    ROTA_AUTO(rota_coro) coro = nullptr;
    CHECK_OK(rota_coro_new(throwing_coroutine, nullptr, &coro));
    try {
        rota_coro_switch(coro, nullptr, nullptr);
    } catch (...) {
        puts("caught");
    }
}

static int defer_and_return(void *)
{
    return rota_defer(throws_nothing_back, nullptr);
}

TERMINATES(an_exception_that_leaves_a_deferred_call_terminates)
{
    run_caught(defer_and_return, nullptr);
}

static int offload_caught(void *)
{
    try {
        return rota_to_thread(throws, nullptr);
    } catch (...) {
        return 0;
    }
}

TERMINATES(an_exception_that_leaves_a_job_terminates)
{
    test_valgrind_knows_no_uring();
    run_caught(offload_caught, nullptr);
}

static void throwing_handle(rota_handle *, void *)
{
    throws(nullptr);
}

static void throwing_post(rota_loop *, void *)
{
    throws(nullptr);
}

/* `prepare` gives the loop something to call. */
template <class prepare> static void run_loop_caught(prepare p)
{
    rota_loop *loop = nullptr;
    CHECK_OK(rota_loop_new(nullptr, &loop));
    try {
        p(loop);
        rota_loop_run(loop);
    } catch (...) {
        puts("caught");
    }
    rota_loop_free(loop);
}

TERMINATES(an_exception_that_leaves_a_callback_of_the_loop_terminates)
{
    static rota_handle handle = ROTA_HANDLE_INIT;
    run_loop_caught(
        [](rota_loop *loop) { rota_loop_call_soon(loop, &handle, throwing_handle, nullptr); });
}

TERMINATES(an_exception_that_leaves_a_timer_terminates)
{
    static rota_handle handle = ROTA_HANDLE_INIT;
    run_loop_caught([](rota_loop *loop) {
        rota_loop_call_later(loop, &handle, ROTA_MILLISECOND, throwing_handle, nullptr);
    });
}

TERMINATES(an_exception_that_leaves_a_call_from_a_thread_terminates)
{
    run_loop_caught(
        [](rota_loop *loop) { CHECK_OK(rota_loop_call_threadsafe(loop, throwing_post, nullptr)); });
}

TERMINATES(an_exception_that_leaves_a_call_at_the_end_of_the_loop_terminates)
{
    rota_loop *loop = nullptr;
    CHECK_OK(rota_loop_new(nullptr, &loop));
    CHECK_OK(rota_loop_call_threadsafe(loop, throwing_post, nullptr));
    try {
        rota_loop_free(loop);
    } catch (...) {
        puts("caught");
    }
}

static int each_caught(void *)
{
    try {
        rota_task_each(
            rota_loop_current(), [](rota_task *, void *) { throws(nullptr); }, nullptr);
    } catch (...) {
        puts("caught");
    }
    return 0;
}

TERMINATES(an_exception_that_leaves_a_visitor_of_tasks_terminates)
{
    run_caught(each_caught, nullptr);
}

TERMINATES(an_exception_that_leaves_the_log_hook_terminates)
{
    rota_log_set([](void *, rota_log_level, const char *) { throws(nullptr); }, nullptr);
    try {
        rota_log(ROTA_LOG_ERROR, "something");
    } catch (...) {
        puts("caught");
    }
}

TERMINATES(an_exception_that_leaves_the_allocator_terminates)
{
    rota_allocator allocator = {};
    allocator.resize = [](void *, void *, size_t) -> void * {
        throws(nullptr);
        return nullptr;
    };
    rota_allocator_set(&allocator);
    try {
        rota_alloc(1);
    } catch (...) {
        puts("caught");
    }
}

static int yields_from_throwing(rota_gen *gen, void *)
{
    rota_iter iter = {[](void *, void **) { return throws(nullptr); }, nullptr};
    try {
        return rota_gen_yield_from(gen, iter);
    } catch (...) {
        return 0;
    }
}

static int iterator_caught(void *)
{
    ROTA_AUTO(rota_gen) gen = nullptr;
    CHECK_OK(rota_gen_new(yields_from_throwing, nullptr, &gen));
    void *item;
    return rota_gen_next(gen, &item);
}

TERMINATES(an_exception_that_leaves_an_iterator_terminates)
{
    run_caught(iterator_caught, nullptr);
}

static ssize_t throwing_read(rota_filter *, void *, size_t)
{
    return throws(nullptr);
}

static ssize_t throwing_write(rota_filter *, const void *, size_t)
{
    return throws(nullptr);
}

static int read_caught(void *)
{
    static rota_filter_kind kind;
    kind.read = throwing_read;
    kind.write = throwing_write;
    kind.close = [](rota_filter *) {};
    rota_filter filter = {};
    filter.kind = &kind;
    ROTA_AUTO(rota_stream) s = nullptr;
    CHECK_OK(rota_stream_from_filter(&filter, &s));
    try {
        char byte;
        return (int)rota_stream_read(s, &byte, 1);
    } catch (...) {
        puts("caught");
        return 0;
    }
}

TERMINATES(an_exception_that_leaves_a_filter_terminates)
{
    run_caught(read_caught, nullptr);
}

static int process_job_caught(void *)
{
    ROTA_AUTO(rota_executor) pool = nullptr;
    CHECK_OK(rota_process_pool_new(nullptr, &pool));
    try {
        char copied = 0;
        CHECK_INT(rota_executor_run_copy(pool, throws, &copied, 1), ==, ROTA_ECRASHED);
        puts("the worker terminated");
    } catch (...) {
        puts("caught");
    }
    return 0;
}

TEST_WITH(an_exception_that_leaves_a_job_of_a_process_terminates_that,
          .says = "the worker terminated")
{
    CHECK_OK(run_caught(process_job_caught, nullptr));
}
