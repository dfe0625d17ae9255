#include "http/h1_write.h"
#include "http/chars.h"

#include <errno.h>

static bool is_all(rota_str s, int classes)
{
    return s.len && rota__chars_are(s, classes);
}

static bool is_visible(rota_str s)
{
    const char *end = s.ptr + s.len;
    return s.len && rota__scan_target(s.ptr, end) == end;
}

static bool is_framing(rota_str name)
{
    return rota__str_is(name, "content-length") || rota__str_is(name, "transfer-encoding") ||
           rota__str_is(name, "host");
}

int rota__h1_write_request(struct rota__h1_writer *w, struct rota__out *out, rota_str method,
                           rota_str target, rota_str host)
{
    if (!is_all(method, ROTA__CHAR_TOKEN) || !is_visible(target) || !is_visible(host))
        return -EINVAL;
    *w = (struct rota__h1_writer){.out = out};
    rota__out_add_str(out, method);
    rota__out_add_literal(out, " ");
    rota__out_add_str(out, target);
    rota__out_add_literal(out, " HTTP/1.1\r\nHost: ");
    rota__out_add_str(out, host);
    rota__out_add_literal(out, "\r\n");
    return out->err;
}

int rota__h1_write_response(struct rota__h1_writer *w, struct rota__out *out, int status,
                            rota_str reason, bool silent)
{
    if (status < 100 || status > 999 || !rota__chars_are(reason, ROTA__CHAR_VALUE))
        return -EINVAL;
    *w = (struct rota__h1_writer){
        .out = out, .silent = silent || status == 304, .bodiless = status < 200 || status == 204};
    if (!reason.len) {
        reason.ptr = rota_http_reason(status);
        reason.len = strlen(reason.ptr);
    }
    rota__out_add_literal(out, "HTTP/1.1 ");
    rota__out_add_number(out, (uint64_t)status, 10);
    rota__out_add_literal(out, " ");
    rota__out_add_str(out, reason);
    rota__out_add_literal(out, "\r\n");
    return out->err;
}

bool rota__h1_is_field(rota_str name, rota_str value)
{
    const char *end = value.ptr + value.len;
    return is_all(name, ROTA__CHAR_TOKEN) && !is_framing(name) &&
           (!value.len || rota__scan_value(value.ptr, end) == end);
}

int rota__h1_write_field(struct rota__h1_writer *w, rota_str name, rota_str value)
{
    if (!rota__h1_is_field(name, value))
        return -EINVAL;
    rota__h1_write_own(w, name, value);
    return w->out->err;
}

int rota__h1_write_body(struct rota__h1_writer *w, enum rota__h1_body body, uint64_t length)
{
    w->body = w->bodiless ? ROTA__H1_NO_BODY : body;
    w->left = w->body == ROTA__H1_LENGTH ? length : 0;
    if (w->body == ROTA__H1_LENGTH) {
        rota__out_add_literal(w->out, "Content-Length: ");
        rota__out_add_number(w->out, length, 10);
        rota__out_add_literal(w->out, "\r\n");
    } else if (w->body == ROTA__H1_CHUNKED) {
        rota__out_add_literal(w->out, "Transfer-Encoding: chunked\r\n");
    }
    rota__out_add_literal(w->out, "\r\n");
    return w->out->err;
}

int rota__h1_write_data(struct rota__h1_writer *w, size_t len)
{
    if (len == 0)
        return w->silent ? 0 : 1;
    bool counts = w->body == ROTA__H1_LENGTH || w->is_counted;
    if (w->body == ROTA__H1_NO_BODY || (counts && len > w->left))
        return -EMSGSIZE;
    if (counts)
        w->left -= len;
    if (w->silent)
        return 0;
    if (w->body == ROTA__H1_CHUNKED) {
        if (w->in_chunks)
            rota__out_add_literal(w->out, "\r\n");
        rota__out_add_number(w->out, len, 16);
        rota__out_add_literal(w->out, "\r\n");
        w->in_chunks = true;
    }
    return w->out->err < 0 ? w->out->err : 1;
}

static void write_last_chunk(struct rota__h1_writer *w)
{
    if (w->in_chunks)
        rota__out_add_literal(w->out, "\r\n");
    rota__out_add_literal(w->out, "0\r\n");
}

int rota__h1_write_trailer(struct rota__h1_writer *w, rota_str name, rota_str value)
{
    if (w->body != ROTA__H1_CHUNKED || w->silent)
        return 0;
    if (rota__h1_is_forbidden_trailer(name) || !rota__h1_is_field(name, value))
        return -EINVAL;
    if (!w->in_trailers)
        write_last_chunk(w);
    w->in_trailers = true;
    rota__h1_write_own(w, name, value);
    return w->out->err;
}

int rota__h1_write_end(struct rota__h1_writer *w)
{
    if (w->left && !w->silent)
        return -EMSGSIZE;
    if (w->body == ROTA__H1_CHUNKED && !w->silent) {
        if (!w->in_trailers)
            write_last_chunk(w);
        rota__out_add_literal(w->out, "\r\n");
    }
    return w->out->err;
}
