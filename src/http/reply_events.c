/* Replies of server-sent events. */
#include "http/plain.h"
#include "http/reply.h"
#include "http/sse.h"

int rota_http_start_events(rota_http_request *r)
{
    int err = rota_http_add_header(r, "Cache-Control", "no-store");
    if (err == 0)
        err = rota_http_start(r, 200, "text/event-stream", ROTA_HTTP_UNKNOWN_LENGTH);
    return err < 0 ? err : rota_http_flush(r);
}

int rota_http_send_event(rota_http_request *r, const rota_http_event *event)
{
    struct rota__out out = {0};
    struct rota__sse_event sse = {event->type, event->data, event->id,
                                  (uint64_t)(event->retry / ROTA_MILLISECOND)};
    int err = rota__sse_write(&out, &sse);
    if (err == -EINVAL)
        rota_error_set(err, "send event: a line end in the type or the id, or a NUL in the id");
    else if (err < 0)
        rota__http_plain(err);
    if (err == 0)
        err = rota_http_write(r, out.ptr, out.len);
    if (err == 0 && r->encoder)
        err = rota_http_flush(r);
    rota__out_fini(&out);
    return err;
}
