/* Sends the input through a pair of streams in pieces and reads it by lines, separators, peeks and
 * exact counts, as its first bytes say: what comes out is what went in, in order, nothing lost at
 * an error. */
#include "fuzz.h"

#include <rota.h>

struct job {
    rota_stream *in, *out;
    const uint8_t *plan; /* how to read */
    size_t plan_len;
    const uint8_t *data;
    size_t size;
};

static int produce(void *arg)
{
    struct job *j = arg;
    size_t piece = j->plan[0] % 7 + 1u;
    for (size_t at = 0; at < j->size; at += piece) {
        size_t n = j->size - at < piece ? j->size - at : piece;
        int err = rota_stream_write(j->in, j->data + at, n);
        if (err < 0)
            return err;
    }
    return rota_stream_shutdown(j->in);
}

/* Compares `len` bytes with what is next in the input and moves on. */
static void expect(struct job *j, size_t *at, const void *got, size_t len)
{
    require(len <= j->size - *at && memcmp(j->data + *at, got, len) == 0);
    *at += len;
}

/* One call; returns whether there may be more. What a failed call leaves is read bytewise. */
static bool read_some(struct job *j, size_t *at, uint8_t how)
{
    char buf[32];
    rota_str got;
    ssize_t n;
    switch (how % 4) {
    case 0:
        n = rota_stream_read(j->out, buf, how % 31 + 1u);
        require(n >= 0);
        expect(j, at, buf, (size_t)n);
        return n > 0;
    case 1:
        if (rota_stream_read_exact(j->out, buf, how % 29 + 1u) == 0)
            expect(j, at, buf, how % 29 + 1u);
        break;
    case 2:
        if (rota_stream_read_until(j->out, (rota_str){"\n\n", 1u + (how & 64 ? 1u : 0)}, 16,
                                   &got) == 0)
            expect(j, at, got.ptr, got.len);
        break;
    default:
        n = rota_stream_peek(j->out, how % 17 + 1u, &got);
        require(n >= 0 && (size_t)n <= j->size - *at &&
                memcmp(j->data + *at, got.ptr, (size_t)n) == 0);
    }
    n = rota_stream_read(j->out, buf, 1);
    require(n >= 0);
    expect(j, at, buf, (size_t)n);
    return n > 0;
}

static int consume(void *arg)
{
    struct job *j = arg;
    size_t at = 0, step = 0;
    while (read_some(j, &at, j->plan[step++ % j->plan_len]))
        continue;
    require(at == j->size);
    return 0;
}

static int both(void *arg)
{
    struct job *j = arg;
    int err = rota_stream_pair(j->plan[0] % 13 + 1u, &j->in, &j->out);
    require(err == 0);
    err = rota_gather((rota_gather_call[]){{produce, j, 0}, {consume, j, 0}}, 2);
    rota_stream_free(j->in);
    rota_stream_free(j->out);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 9)
        return 0;
    struct job j = {.plan = data, .plan_len = 8, .data = data + 8, .size = size - 8};
    require(rota_run(both, &j) == 0);
    return 0;
}
