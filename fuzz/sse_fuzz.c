/* Reads the input as server-sent events, whole and in pieces: both have to be told the same. What
 * was told is written and read again. The first byte chooses the pieces. */
#include "fuzz.h"

#include "http/sse.h"

/* Every event is written as it would be sent. */
static int read_all(rota_str stream, size_t piece, size_t limit, struct rota__out *told)
{
    struct rota__sse sse;
    struct rota__sse_event event;
    int done = 0;
    rota__sse_init(&sse, limit);
    while (done >= 0 && stream.len) {
        size_t len = stream.len < piece ? stream.len : piece;
        char *exact = malloc(len);
        memcpy(exact, stream.ptr, len);
        rota_str in = {exact, len};
        while ((done = rota__sse_next(&sse, &in, &event)) > 0)
            require(rota__sse_write(told, &event) == 0);
        require(done < 0 || in.len == 0);
        free(exact);
        stream = (rota_str){stream.ptr + len, stream.len - len};
    }
    rota__sse_fini(&sse);
    return done;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct rota__out whole = {0}, split = {0}, again = {0};
    rota_str stream = {(const char *)data + 1, size - 1};
    int done = read_all(stream, size, 100, &whole);
    require(read_all(stream, data[0] + 1u, 100, &split) == done);
    require(is_same(written(&whole), written(&split)));
    if (whole.len) {
        require(read_all(written(&whole), whole.len, 1000, &again) == 0);
        require(is_same(written(&whole), written(&again)));
    }
    rota__out_fini(&whole);
    rota__out_fini(&split);
    rota__out_fini(&again);
    return 0;
}
