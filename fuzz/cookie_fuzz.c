/* Reads the input's lines as Set-Cookie fields of one server, and then as the file of a jar. What
 * is sent back is fit for a header field; what is saved is understood again, and saved the same. */
#include "fuzz.h"

#include "http/chars.h"
#include "http/cookie.h"
#include "http/params.h"

enum { NOW = 1700000000 };

static const rota_host host = {.text = "www.example.org"};
static const struct rota__cookie_target target = {
    .host = &host, .path = {"/a/b/c", 6}, .secure = true};

/* A second jar that has read what the first one has saved saves the same. */
static void check_saved(const struct rota__cookie_jar *jar)
{
    struct rota__cookie_jar second = {0};
    struct rota__out saved = {0}, again = {0};
    rota__cookie_save(jar, &saved, NOW);
    require(rota__cookie_load(&second, written(&saved), NOW) == 0);
    rota__cookie_save(&second, &again, NOW);
    require(is_same(written(&saved), written(&again)));
    rota__cookie_jar_fini(&second);
    rota__out_fini(&saved);
    rota__out_fini(&again);
}

static void check_sent(struct rota__cookie_jar *jar)
{
    struct rota__out out = {0};
    rota__cookie_write(jar, &target, &out, NOW);
    require(rota__chars_are(written(&out), ROTA__CHAR_VALUE));
    rota__out_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size + 1);
    memcpy(exact, data, size);
    rota_str text = {exact, size};
    struct rota__cookie_jar set = {.limits = {.each = 200, .domain = 5, .all = 8}}, loaded = {0};
    require(rota__cookie_load(&loaded, text, NOW) >= 0);
    check_sent(&loaded);
    while (text.len) {
        rota_str field = rota__cut(&text, '\n');
        require(rota__cookie_set(&set, &target, field, NOW) >= 0);
    }
    check_sent(&set);
    check_saved(&set);
    rota__cookie_jar_fini(&set);
    rota__cookie_jar_fini(&loaded);
    free(exact);
    return 0;
}
