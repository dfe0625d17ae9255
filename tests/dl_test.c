/* The shared library as a plug-in brings it along: loaded late, and closed while threads live
 * on. */
#include "harness.h"

#include "coro/coro.h"

#include <rota/http_client.h>
#include <rota/task.h>

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *open_library(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        FAIL("%s", dlerror());
    return library;
}

#define FUNCTION(library_, name_) ((__typeof__(&name_))dlsym(library_, #name_))

static int yield_nothing(rota_gen *gen, void *arg)
{
    return 0;
}

static int return_five(void *arg)
{
    return 5;
}

static void *open_run_close(void *arg)
{
    static const rota_site site = {"main", __FILE__, __LINE__};
    void *library = open_library(LIBRARY), *item;
    CHECK_INT(FUNCTION(library, rota_run_at)(return_five, NULL, NULL, &site), ==, 5);
    rota_gen *gen;
    CHECK_OK(FUNCTION(library, rota_gen_new)(yield_nothing, NULL, &gen));
    CHECK_INT(FUNCTION(library, rota_gen_next)(gen, &item), ==, 0);
    FUNCTION(library, rota_gen_free)(gen);
    CHECK_INT(dlclose(library), ==, 0);
    return NULL;
}

TEST(a_thread_ends_and_a_process_forks_after_the_library_was_closed)
{
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        CHECK_INT(pthread_create(&thread, NULL, open_run_close, NULL), ==, 0);
        pthread_join(thread, NULL);
        pid_t child = fork();
        CHECK_OK(child);
        if (child == 0)
            _exit(0);
        int status;
        CHECK_INT(waitpid(child, &status, 0), ==, child);
        CHECK_INT(status, ==, 0);
    }
}

static void *library;

#ifdef HTTP_LIBRARY

static int fetch_late(void *http)
{
    rota_timeout timeout = ROTA_TIMEOUT_INIT;
    rota_http_response *r;
    FUNCTION(library, rota_timeout_begin)(&timeout, 0);
    int err = FUNCTION(http, rota_http_get)("http://127.0.0.1:1/", &r);
    FUNCTION(library, rota_timeout_end)(&timeout);
    return err;
}

TEST(words_of_a_failure_are_made_after_their_library_was_closed)
{
    static const rota_site site = {"main", __FILE__, __LINE__};
    library = open_library(LIBRARY);
    void *http = open_library(HTTP_LIBRARY);
    CHECK_INT(FUNCTION(library, rota_run_at)(fetch_late, http, NULL, &site), ==, -ETIMEDOUT);
    CHECK_INT(dlclose(http), ==, 0);
    CHECK(strstr(FUNCTION(library, rota_error)(-ETIMEDOUT), "deadline"));
}

#endif

#if defined(PLUGIN) && \
    !ROTA__CORO_WATCHED /* sanitizers bring a runtime along, and not all that C++ needs */

/* This program and librota have no C++: the plug-in brings the runtime. */
static int use_plugin(void *arg)
{
    CHECK_OK(FUNCTION(library, rota_yield)());
    void *plugin = open_library(PLUGIN);
    int (*throw_and_wait)(void *) = (int (*)(void *))dlsym(plugin, "throw_and_wait");
    CHECK(throw_and_wait);
    int result = throw_and_wait(NULL);
    CHECK_INT(dlclose(plugin), ==, 0);
    CHECK_OK(FUNCTION(library, rota_yield)());
    return result;
}

TEST(a_plugin_in_cxx_may_wait_in_its_handlers)
{
    static const rota_site site = {"main", __FILE__, __LINE__};
    CHECK(!dlsym(RTLD_DEFAULT, "__cxa_get_globals"));
    library = open_library(LIBRARY);
    for (int i = 0; i < 2; i++)
        CHECK_OK(FUNCTION(library, rota_run_at)(use_plugin, NULL, NULL, &site));
}

#endif
