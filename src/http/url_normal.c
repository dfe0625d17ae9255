/* URLs for users of the library: allocated, and in normal form (RFC 3986, section 6.2). */
#include "http/chars.h"
#include "http/url.h"

#include <errno.h>

static rota_str text_of(const struct rota__out *out)
{
    return (rota_str){out->ptr ? out->ptr : "", out->len};
}

/* Hands the bytes over, or frees them. */
static int give(struct rota__out *out, int err, rota_bytes *ret_bytes)
{
    if (err == 0) {
        rota__out_add(out, "", 1);
        err = out->err;
    }
    if (err == 0)
        *ret_bytes = (rota_bytes){out->ptr, out->len - 1};
    else
        rota__out_fini(out);
    return err;
}

static rota_str trim(rota_str s)
{
    while (s.len && (unsigned char)*s.ptr <= ' ')
        s = (rota_str){s.ptr + 1, s.len - 1};
    while (s.len && (unsigned char)s.ptr[s.len - 1] <= ' ')
        s.len--;
    return s;
}

/* Section 6.2.2.2: %7e becomes ~, and %2f becomes %2F. In place, because the text does not grow. */
static void normalize_encoding(struct rota__out *out)
{
    static const char digits[] = "0123456789ABCDEF";
    char *to = out->ptr;
    for (size_t i = 0; i < out->len; i++) {
        if (out->ptr[i] != '%') {
            *to++ = out->ptr[i];
            continue;
        }
        int high = rota__char_hex(out->ptr[i + 1]), low = rota__char_hex(out->ptr[i + 2]);
        char c = (char)(high << 4 | low);
        if (rota__url_is_unreserved(c)) {
            *to++ = c;
        } else {
            *to++ = '%';
            *to++ = digits[high];
            *to++ = digits[low];
        }
        i += 2;
    }
    out->len = (size_t)(to - out->ptr);
}

static int mend_and_parse(struct rota__out *out, rota_str text, rota_url *ret_url)
{
    rota__url_mend(out, trim(text));
    if (out->err < 0)
        return out->err;
    int err = rota_url_parse(text_of(out), ret_url); /* a host is not decoded */
    if (err < 0 || !out->len)
        return err;
    normalize_encoding(out);
    return rota_url_parse(text_of(out), ret_url);
}

static void normalize_host(rota_str *host, char text[ROTA__HOST_IN_URL])
{
    rota_host parsed;
    if (rota_host_parse(*host, &parsed) == 0) /* which the URL's has to */
        *host = rota__str_of(rota__host_write(&parsed, true, text));
}

static int write_normal(struct rota__out *out, const struct rota__out *resolved)
{
    rota_url url;
    if (resolved->err < 0)
        return resolved->err;
    int err = rota_url_parse(text_of(resolved), &url);
    if (err < 0)
        return err;
    rota__str_lower((char *)url.scheme.ptr, url.scheme); /* slices of bytes that are ours */
    char host[ROTA__HOST_IN_URL];
    if (url.host.len)
        normalize_host(&url.host, host);
    int port = rota__url_default_port(url.scheme);
    if (!url.port.len || (port && url.number == port))
        url.port = (rota_str){NULL, 0};
    if (port && url.host.len && !url.path.len)
        url.path = (rota_str){"/", 1};
    rota__url_write(out, &url);
    return out->err;
}

int rota_url_resolve(rota_str base, rota_str reference, rota_bytes *ret_url)
{
    struct rota__out base_text = {0}, text = {0}, resolved = {0}, out = {0};
    rota_url base_url = {0}, url;
    int err = base.len ? mend_and_parse(&base_text, base, &base_url) : 0;
    if (err == 0)
        err = mend_and_parse(&text, reference, &url);
    if (err == 0) {
        rota__url_resolve(&resolved, &base_url, &url);
        err = write_normal(&out, &resolved);
    }
    rota__out_fini(&base_text);
    rota__out_fini(&text);
    rota__out_fini(&resolved);
    return give(&out, err, ret_url);
}

int rota_url_encode(rota_str text, rota_bytes *ret_encoded)
{
    struct rota__out out = {0};
    rota__url_encode(&out, text);
    return give(&out, out.err, ret_encoded);
}

int rota_url_decode(rota_str text, rota_bytes *ret_decoded)
{
    struct rota__out out = {0};
    return give(&out, rota__url_decode(&out, text), ret_decoded);
}
