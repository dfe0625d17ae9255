#include "http/zlib_stream.h"

#include <errno.h>

/* zlib counts by unsigned int. */
#define MOST ((size_t)1 << 30)
/* zlib repeats the end of a flush where there was just room for it; six bytes are enough to avoid
 * that. */
#define ROOM 512

/* zlib clears what it has to. */
static void *take(void *opaque, unsigned items, unsigned size)
{
    return rota_alloc((size_t)items * size);
}

static void give_back(void *opaque, void *memory)
{
    rota_free(memory);
}

void rota__zlib_init(z_stream *z)
{
    *z = (z_stream){.zalloc = take, .zfree = give_back};
}

int rota__zlib_error(int status)
{
    switch (status) {
    case Z_OK:
    case Z_STREAM_END:
    case Z_BUF_ERROR: /* no progress was possible, which is not an error */
        return 0;
    case Z_MEM_ERROR:
        return -ENOMEM;
    default:
        return -EBADMSG;
    }
}

static unsigned most(size_t len)
{
    return (unsigned)(len < MOST ? len : MOST);
}

int rota__zlib_deflate(z_stream *z, rota_str bytes, int flush, struct rota__out *out)
{
    bool all = false;
    while (!all || z->avail_out == 0) {
        char *to = rota__out_reserve(out, ROOM);
        if (!to)
            return -ENOMEM;
        z->next_in = (unsigned char *)bytes.ptr;
        z->avail_in = most(bytes.len);
        z->next_out = (unsigned char *)to;
        z->avail_out = most(out->room - out->len);
        all = z->avail_in == bytes.len;
        deflate(z, all ? flush : Z_NO_FLUSH);
        out->len += (size_t)((char *)z->next_out - to);
        bytes = (rota_str){(const char *)z->next_in,
                           bytes.len - (size_t)((const char *)z->next_in - bytes.ptr)};
        all &= bytes.len == 0;
    }
    return 0;
}

int rota__zlib_inflate(z_stream *z, rota_str *in, char *to, size_t room, size_t *ret_put)
{
    z->next_in = (unsigned char *)in->ptr;
    z->avail_in = most(in->len);
    z->next_out = (unsigned char *)to;
    z->avail_out = most(room);
    size_t had = z->avail_in;
    int status = inflate(z, Z_SYNC_FLUSH);
    size_t used = had - z->avail_in;
    if (used)
        *in = (rota_str){in->ptr + used, in->len - used};
    *ret_put = (size_t)((char *)z->next_out - to);
    return status;
}
