#include "base/log.h"
#include "base/noexcept.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static rota_log_fn *hook;
static void *hook_arg;

bool rota__debug(void)
{
    static atomic_int known = -1;
    int debug = atomic_load_explicit(&known, memory_order_relaxed);
    if (debug < 0) {
        const char *s = getenv("ROTA_DEBUG");
        debug = s && *s && strcmp(s, "0") != 0;
        atomic_store_explicit(&known, debug, memory_order_relaxed);
    }
    return debug;
}

void rota_log_set(rota_log_fn *fn, void *arg)
{
    hook = fn;
    hook_arg = arg;
}

void rota_log_stderr(void *arg, rota_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    fprintf(stderr, "rota: %s\n", message);
}

bool rota__log_wanted(void)
{
    return hook || rota__debug();
}

void rota__log_text(rota_log_level level, const char *text)
{
    if (hook) {
        hook(hook_arg, level, text);
        ROTA__NOEXCEPT();
    } else if (rota__debug()) {
        rota_log_stderr(NULL, level, text);
    }
}

void rota_log(rota_log_level level, const char *format, ...)
{
    if (!rota__log_wanted())
        return;
    char text[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    rota__log_text(level, text);
}
