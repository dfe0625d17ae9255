#include "http/ws.h"

#include <errno.h>

void rota__ws_init(struct rota__ws *ws, bool is_server, bool compresses, uint64_t limit)
{
    *ws = (struct rota__ws){
        .is_server = is_server, .compresses = compresses, .limit = limit ? limit : UINT64_MAX};
}

static int refuse(struct rota__ws *ws, int code, const char *why)
{
    ws->state = ROTA__WS_BROKEN;
    ws->close_code = code;
    ws->error = why;
    return -EBADMSG;
}

const char *rota__ws_message_limit(struct rota__ws *ws)
{
    return rota__limit_bytes(ws->limit_text, "message", ws->limit, "message");
}

/* ---- UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing beyond U+10FFFF. The state holds
 * how many bytes are to come, and the bounds of the next one, which is where the special cases
 * are. */

static uint32_t utf8_state(uint32_t rest, uint32_t low, uint32_t high)
{
    return rest | low << 8 | high << 16;
}

static bool utf8_first(unsigned char c, uint32_t *ret_state)
{
    if (c < 0x80)
        *ret_state = 0;
    else if (c >= 0xc2 && c <= 0xdf)
        *ret_state = utf8_state(1, 0x80, 0xbf);
    else if (c >= 0xe0 && c <= 0xef)
        *ret_state = utf8_state(2, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf);
    else if (c >= 0xf0 && c <= 0xf4)
        *ret_state = utf8_state(3, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf);
    else
        return false;
    return true;
}

bool rota__utf8_check(uint32_t *state, const char *bytes, size_t len)
{
    uint32_t s = *state;
    for (size_t i = 0; i < len; i++) {
        uint64_t eight;
        while (!s && len - i >= 8 && (memcpy(&eight, bytes + i, 8), !(eight & 0x8080808080808080u)))
            i += 8;
        if (i == len)
            break;
        unsigned char c = (unsigned char)bytes[i];
        if (!s) {
            if (!utf8_first(c, &s))
                return false;
            continue;
        }
        if (c < (s >> 8 & 0xff) || c > (s >> 16 & 0xff))
            return false;
        uint32_t rest = (s & 0xff) - 1;
        s = rest ? utf8_state(rest, 0x80, 0xbf) : 0;
    }
    *state = s;
    return true;
}

/* ---- Masks */

void rota__ws_mask(char *bytes, size_t len, const unsigned char mask[4], uint64_t at)
{
    unsigned char turned[8];
    for (unsigned i = 0; i < 8; i++)
        turned[i] = mask[(at + i) % 4];
    uint64_t wide, key;
    memcpy(&key, turned, 8);
    size_t i = 0;
    for (; len - i >= 8; i += 8) {
        memcpy(&wide, bytes + i, 8);
        wide ^= key;
        memcpy(bytes + i, &wide, 8);
    }
    for (; i < len; i++)
        bytes[i] = (char)(bytes[i] ^ turned[i % 4]);
}

/* ---- Reading */

struct head {
    int opcode;
    bool final, rsv1;
    uint64_t len;
    /* Of the head itself. */
    size_t size;
    const unsigned char *mask;
};

static uint64_t big_endian(const unsigned char *bytes, size_t count)
{
    uint64_t n = 0;
    for (size_t i = 0; i < count; i++)
        n = n << 8 | bytes[i];
    return n;
}

/* Section 5.2. 1, 0 (incomplete), -EBADMSG. */
static int parse_head(struct rota__ws *ws, const unsigned char *bytes, size_t len,
                      struct head *head)
{
    if (len < 2)
        return 0;
    head->final = bytes[0] & 0x80;
    head->rsv1 = bytes[0] & 0x40;
    head->opcode = bytes[0] & 0x0f;
    bool masked = bytes[1] & 0x80;
    size_t extra = (bytes[1] & 0x7f) == 127 ? 8 : (bytes[1] & 0x7f) == 126 ? 2 : 0;
    if (bytes[0] & 0x30)
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "a reserved bit is set");
    if (masked != ws->is_server)
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR,
                      masked ? "a server masks its frames" : "a client does not mask its frames");
    head->size = 2 + extra + (masked ? 4 : 0);
    if (len < head->size)
        return 0;
    head->len = extra ? big_endian(bytes + 2, extra) : bytes[1] & 0x7f;
    if ((extra == 2 && head->len < 126) || (extra == 8 && head->len < 65536))
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "frame length not minimally encoded");
    if (head->len > INT64_MAX)
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "frame length above 2^63 - 1");
    head->mask = bytes + 2 + extra;
    return 1;
}

/* Incompressible data grows by 5 bytes for each block of 128 bytes or more. The inflater limits the
 * size of the message itself. */
static uint64_t limit_of(const struct rota__ws *ws, bool compressed)
{
    return compressed && ws->limit < INT64_MAX ? ws->limit + ws->limit / 16 + 64 : ws->limit;
}

static int check_data(struct rota__ws *ws, const struct head *head)
{
    bool compressed = ws->message ? ws->compressed : head->rsv1;
    if (head->opcode > ROTA__WS_BINARY)
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "unknown frame type");
    if ((head->opcode == ROTA__WS_CONTINUATION) != (ws->message != 0))
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR,
                      ws->message ? "a message within another"
                                  : "continuation frame outside a message");
    if (head->rsv1 && (!ws->compresses || ws->message))
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "a reserved bit is set");
    if (head->len > limit_of(ws, compressed) - ws->total)
        return refuse(ws, ROTA__WS_TOO_BIG, rota__ws_message_limit(ws));
    return 0;
}

static int check_control(struct rota__ws *ws, const struct head *head)
{
    if (head->opcode > ROTA__WS_PONG)
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "unknown frame type");
    if (!head->final)
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "fragmented control frame");
    if (head->rsv1)
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "a reserved bit is set");
    if (head->len > ROTA__WS_CONTROL_MAX)
        return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "control frame too long");
    return 0;
}

/* Codes that are allowed in a close frame (section 7.4). */
static bool is_close_code(int code)
{
    if (code >= 3000)
        return code < 5000;
    return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}

static int read_close(struct rota__ws *ws, struct rota__ws_item *item)
{
    item->close_code = ROTA__WS_NO_CODE;
    if (item->data.len) {
        uint32_t utf8 = 0;
        if (item->data.len == 1)
            return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "half a close code");
        item->close_code = (int)big_endian((const unsigned char *)item->data.ptr, 2);
        item->data = (rota_str){item->data.ptr + 2, item->data.len - 2};
        if (!is_close_code(item->close_code))
            return refuse(ws, ROTA__WS_PROTOCOL_ERROR, "invalid close code");
        if (!rota__utf8_check(&utf8, item->data.ptr, item->data.len) || utf8)
            return refuse(ws, ROTA__WS_BAD_DATA, "a reason that is not UTF-8");
    }
    ws->close_code = item->close_code;
    ws->state = ROTA__WS_CLOSED;
    return ROTA__WS_CONTROL;
}

/* Reported whole, so that no state is needed besides the message's. */
static int read_control(struct rota__ws *ws, const struct head *head, char *bytes, size_t len,
                        size_t *ret_used, struct rota__ws_item *item)
{
    if (len - head->size < head->len)
        return ROTA__WS_MORE;
    char *payload = bytes + head->size;
    if (ws->is_server)
        rota__ws_mask(payload, (size_t)head->len, head->mask, 0);
    *item = (struct rota__ws_item){
        .opcode = head->opcode, .last = true, .data = {payload, (size_t)head->len}};
    *ret_used = head->size + (size_t)head->len;
    return head->opcode == ROTA__WS_CLOSE ? read_close(ws, item) : ROTA__WS_CONTROL;
}

static void begin_payload(struct rota__ws *ws, const struct head *head)
{
    if (head->opcode != ROTA__WS_CONTINUATION) {
        ws->message = head->opcode;
        ws->compressed = head->rsv1;
    }
    ws->final = head->final;
    ws->left = head->len;
    ws->total += head->len;
    ws->masked = 0;
    if (ws->is_server)
        memcpy(ws->mask, head->mask, 4);
    ws->state = ROTA__WS_AT_PAYLOAD;
}

static void end_frame(struct rota__ws *ws)
{
    ws->state = ROTA__WS_AT_FRAME;
    if (!ws->final)
        return;
    ws->message = 0;
    ws->total = 0;
}

static int at_payload(struct rota__ws *ws, char *bytes, size_t len, size_t *ret_used,
                      struct rota__ws_item *item)
{
    size_t n = len < ws->left ? len : (size_t)ws->left;
    if (n == 0 && ws->left)
        return ROTA__WS_MORE;
    if (ws->is_server)
        rota__ws_mask(bytes, n, ws->mask, ws->masked);
    ws->masked = (unsigned)((ws->masked + n) % 4);
    ws->left -= n;
    bool last = ws->final && !ws->left;
    *item = (struct rota__ws_item){
        .opcode = ws->message, .last = last, .compressed = ws->compressed, .data = {bytes, n}};
    *ret_used = n;
    if (ws->message == ROTA__WS_TEXT && !ws->compressed) {
        if (!rota__utf8_check(&ws->utf8, bytes, n) || (last && ws->utf8))
            return refuse(ws, ROTA__WS_BAD_DATA, "a text that is not UTF-8");
    }
    if (!ws->left)
        end_frame(ws);
    return ROTA__WS_DATA;
}

static int at_frame(struct rota__ws *ws, char *bytes, size_t len, size_t *ret_used,
                    struct rota__ws_item *item)
{
    struct head head;
    int done = parse_head(ws, (const unsigned char *)bytes, len, &head);
    if (done <= 0)
        return done;
    bool control = head.opcode & 8;
    int err = control ? check_control(ws, &head) : check_data(ws, &head);
    if (err < 0)
        return err;
    if (control)
        return read_control(ws, &head, bytes, len, ret_used, item);
    begin_payload(ws, &head);
    int event = at_payload(ws, bytes + head.size, len - head.size, ret_used, item);
    *ret_used += head.size;
    return event;
}

int rota__ws_next(struct rota__ws *ws, char *bytes, size_t len, size_t *ret_used,
                  struct rota__ws_item *item)
{
    *ret_used = 0;
    switch (ws->state) {
    case ROTA__WS_AT_FRAME:
        return at_frame(ws, bytes, len, ret_used, item);
    case ROTA__WS_AT_PAYLOAD:
        return at_payload(ws, bytes, len, ret_used, item);
    case ROTA__WS_CLOSED:
        return ROTA__WS_MORE;
    case ROTA__WS_BROKEN:
        break;
    }
    return -EBADMSG;
}

/* ---- Writing */

static void put_big_endian(unsigned char *to, uint64_t n, size_t count)
{
    for (size_t i = count; i-- > 0; n >>= 8)
        to[i] = (unsigned char)n;
}

void rota__ws_write_head(struct rota__out *out, int opcode, bool final, bool compressed,
                         uint64_t len, const unsigned char *mask)
{
    unsigned char head[ROTA__WS_HEAD_MAX];
    size_t size = 2, extra = len > 65535 ? 8 : len > 125 ? 2 : 0;
    head[0] = (unsigned char)(opcode | (final ? 0x80 : 0) | (compressed ? 0x40 : 0));
    head[1] = (unsigned char)((mask ? 0x80 : 0) | (extra == 8 ? 127 : extra == 2 ? 126 : (int)len));
    put_big_endian(head + size, len, extra);
    size += extra;
    if (mask) {
        memcpy(head + size, mask, 4);
        size += 4;
    }
    rota__out_add(out, (const char *)head, size);
}

int rota__ws_write_close(struct rota__out *out, int code, rota_str reason,
                         const unsigned char *mask)
{
    uint32_t utf8 = 0;
    size_t len = code == ROTA__WS_NO_CODE ? 0 : 2 + reason.len;
    if ((code != ROTA__WS_NO_CODE && !is_close_code(code)) || len > ROTA__WS_CONTROL_MAX ||
        !rota__utf8_check(&utf8, reason.ptr, reason.len) || utf8)
        return -EINVAL;
    rota__ws_write_head(out, ROTA__WS_CLOSE, true, false, len, mask);
    char *payload = len ? rota__out_reserve(out, len) : NULL;
    if (!payload)
        return out->err;
    put_big_endian((unsigned char *)payload, (uint64_t)code, 2);
    if (reason.len)
        memcpy(payload + 2, reason.ptr, reason.len);
    if (mask)
        rota__ws_mask(payload, len, mask, 0);
    out->len += len;
    return 0;
}
