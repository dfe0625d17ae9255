/* Reads the input's first line as a base and the rest as a reference found there. What is resolved
 * is in normal form, stays so however often it is read, and a path alone leads to no other origin;
 * what is taken apart is put together again; what is encoded comes back. */
#include "fuzz.h"

#include "http/params.h"
#include "http/url.h"

static rota_str str_of(const rota_bytes *bytes)
{
    return (rota_str){bytes->ptr, bytes->len};
}

static void try_parse(rota_str text)
{
    rota_url url;
    struct rota__out out = {0};
    if (rota_url_parse(text, &url) < 0)
        return;
    require(rota_url_same_origin(&url, &url));
    rota__url_write(&out, &url);
    require(is_same(written(&out), text));
    rota__out_fini(&out);
}

static void try_encode(rota_str text)
{
    rota_bytes encoded, decoded;
    require(rota_url_encode(text, &encoded) == 0);
    require(rota_url_decode(str_of(&encoded), &decoded) == 0);
    require(is_same(str_of(&decoded), text));
    rota_bytes_fini(&encoded);
    rota_bytes_fini(&decoded);
    if (rota_url_decode(text, &decoded) == 0)
        rota_bytes_fini(&decoded);
}

static bool is_absolute_path(rota_str s)
{
    return s.len && *s.ptr == '/' && (s.len < 2 || s.ptr[1] != '/');
}

static void try_resolve(rota_str base, rota_str reference)
{
    rota_bytes target, again, start;
    rota_url from, to;
    if (rota_url_resolve(base, reference, &target) < 0)
        return;
    rota_str url = str_of(&target);
    require(rota_url_parse(url, &to) == 0);
    require(rota_url_resolve((rota_str){NULL, 0}, url, &again) == 0);
    require(is_same(str_of(&again), url));
    require(rota_url_resolve((rota_str){NULL, 0}, base, &start) == 0);
    require(rota_url_parse(str_of(&start), &from) == 0);
    require(!is_absolute_path(reference) || rota_url_same_origin(&from, &to));
    rota_bytes_fini(&again);
    rota_bytes_fini(&start);
    rota_bytes_fini(&target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size + 1);
    memcpy(exact, data, size);
    rota_str reference = {exact, size}, base = rota__cut(&reference, '\n');
    try_parse(base);
    try_encode(base);
    try_resolve(base, reference);
    free(exact);
    return 0;
}
