#include "stage.h"

#include <stdarg.h>
#include <string.h>

struct stage stage;

static struct {
    rota_time begin, now;
    char text[4096]; /* printed since the last end of a line */
    size_t len;
} scene;

struct first_task {
    rota_fn *fn;
    void *arg;
};

static int begin(void *arg)
{
    struct first_task *first = arg;
    scene.begin = rota_now();
    return first->fn(first->arg);
}

int stage_main(rota_fn *main, void *arg, const rota_site *site)
{
    struct first_task first = {main, arg};
    return rota_main_at(begin, &first, stage.options, site);
}

/* Outside a loop no time passes. */
static rota_time since_begin(void)
{
    if (rota_loop_current())
        scene.now = rota_now() - scene.begin;
    return scene.now;
}

int stage_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(scene.text + scene.len, sizeof scene.text - scene.len, format, args);
    va_end(args);
    scene.len = strlen(scene.text);

    char *line = scene.text;
    for (char *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        stage.line(line, since_begin());
    }
    scene.len -= (size_t)(line - scene.text);
    memmove(scene.text, line, scene.len + 1);
    return len;
}
