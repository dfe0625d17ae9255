/* Heads of HTTP/2: collects the fields and checks them (RFC 9113, section 8). libnghttp2 has
 * already refused names in upper case, connection fields, invalid lengths, and pseudo-header fields
 * that are unknown, repeated, missing or after other fields. */
#include "http/chars.h"
#include "http/h1.h"
#include "http/h2.h"
#include "http/params.h"
#include "http/url.h"

#include <errno.h>

/* Most memory that a block keeps between heads. */
#define KEPT_TEXT 4096
#define KEPT_FIELDS 32

void rota__h2_block_begin(struct rota__h2_block *block)
{
    block->text.len = block->cookie.len = 0;
    block->count = block->size = 0;
    block->is_over = false;
}

static int add_crumb(struct rota__out *cookie, rota_str value)
{
    if (cookie->len)
        rota__out_add_literal(cookie, "; ");
    rota__out_add_str(cookie, value);
    return cookie->err;
}

static int add_field(struct rota__h2_block *block, rota_str name, rota_str value)
{
    if (block->count == block->room) {
        size_t room = block->room ? block->room * 2 : 16;
        rota_http_field *fields = rota_resize(block->fields, room * sizeof *fields);
        if (!fields)
            return -ENOMEM;
        block->fields = fields;
        block->room = room;
    }
    block->fields[block->count++] = (rota_http_field){{NULL, name.len}, {NULL, value.len}};
    rota__out_add_str(&block->text, name);
    rota__out_add_str(&block->text, value);
    return block->text.err;
}

int rota__h2_block_add(struct rota__h2 *h2, rota_str name, rota_str value)
{
    struct rota__h2_block *block = &h2->block;
    block->size += name.len + value.len + 32;
    block->is_over |= block->size > h2->limits.head;
    if (!block->is_over && rota_str_equal(name, "cookie"))
        return add_crumb(&block->cookie, value);
    /* At most four pseudo-header fields come before the others. */
    block->is_over |= block->count == h2->limits.fields + 4;
    return block->is_over ? 0 : add_field(block, name, value);
}

void rota__h2_block_trim(struct rota__h2_block *block)
{
    if (block->text.room > KEPT_TEXT || block->cookie.room > KEPT_TEXT || block->room > KEPT_FIELDS)
        rota__h2_block_fini(block);
}

void rota__h2_block_fini(struct rota__h2_block *block)
{
    rota__out_fini(&block->text);
    rota__out_fini(&block->cookie);
    rota_free(block->fields);
    block->fields = NULL;
    block->count = block->room = 0;
}

/* ---- Heads */

static int refuse(struct rota__h2 *h2, int how, const char *why)
{
    h2->why = why;
    return how;
}

const char *rota__h2_head_limit(struct rota__h2 *h2)
{
    if (h2->block.size > h2->limits.head)
        return rota__limit_bytes(h2->head_limit_text, "head", h2->limits.head, "head");
    return rota__limit_count(h2->fields_limit_text, "header fields", h2->limits.fields, "fields");
}

static int refuse_head(struct rota__h2 *h2, int status)
{
    return refuse(h2, status, rota__h2_head_limit(h2));
}

static int malformed(struct rota__h2 *h2, const char *why)
{
    return refuse(h2, -ROTA__H2_PROTOCOL_ERROR, why);
}

/* Sets the fields' pointers, now that the text does not move any more. The cookie comes last. */
static int settle(struct rota__h2_block *block)
{
    if (block->cookie.len) {
        rota_str name = {"cookie", 6};
        int err = add_field(block, name, (rota_str){"", 0});
        if (err < 0)
            return err;
    }
    const char *at = block->text.ptr;
    for (size_t i = 0; i < block->count; i++) {
        rota_http_field *field = &block->fields[i];
        field->name.ptr = at;
        field->value.ptr = at += field->name.len;
        at += field->value.len;
    }
    if (block->cookie.len)
        block->fields[block->count - 1].value = (rota_str){block->cookie.ptr, block->cookie.len};
    return 0;
}

static void read_pseudo(struct rota__h2_head *head, const rota_http_field *field)
{
    rota_str value = field->value;
    if (rota_str_equal(field->name, ":method"))
        head->method = value;
    else if (rota_str_equal(field->name, ":scheme"))
        head->scheme = value;
    else if (rota_str_equal(field->name, ":authority"))
        head->authority = value;
    else if (rota_str_equal(field->name, ":path"))
        head->target = value;
    else
        head->status =
            (value.ptr[0] - '0') * 100 + (value.ptr[1] - '0') * 10 + (value.ptr[2] - '0');
}

static void read_fields(struct rota__h2_block *block, struct rota__h2_head *head)
{
    size_t i = 0;
    while (i < block->count && *block->fields[i].name.ptr == ':')
        read_pseudo(head, &block->fields[i++]);
    head->fields = block->fields + i;
    head->count = block->count - i;
}

/* Reads what the fields say about the message, and gets the Host field. Returns as
 * rota__h2_read_request does. */
static int read_meaning(struct rota__h2 *h2, struct rota__h2_head *head, rota_str *host)
{
    bool expects_other = false;
    for (size_t i = 0; i < head->count; i++) {
        rota_str name = head->fields[i].name, value = head->fields[i].value;
        if (rota_str_equal(name, "content-length")) {
            head->has_length = rota__take_number(&value, &head->length);
        } else if (rota_str_equal(name, "host")) {
            *host = value;
        } else if (rota_str_equal(name, "expect")) {
            bool known = rota__str_is(value, "100-continue");
            head->expect_continue |= known;
            expects_other |= !known;
        }
    }
    return expects_other && h2->is_server ? refuse(h2, 417, "unknown expectation") : 0;
}

/* Section 8.3.1. */
static int check_authority(struct rota__h2 *h2, struct rota__h2_head *head, rota_str host)
{
    int port = rota__url_default_port(head->scheme);
    if (host.len && !rota__url_is_authority(host))
        return malformed(h2, "invalid Host");
    if (!head->authority.len)
        head->authority = host;
    else if (!rota__url_is_authority(head->authority))
        return malformed(h2, "invalid :authority");
    else if (host.len && !rota__url_same_authority(head->authority, host, port))
        return malformed(h2, "authority and Host differ");
    return 0;
}

static int check_target(struct rota__h2 *h2, const struct rota__h2_head *head)
{
    if (rota_str_equal(head->method, "CONNECT")) /* libnghttp2 has checked the rest (section 8.5) */
        return head->has_length ? malformed(h2, "CONNECT with a body") : 0;
    if (!rota__url_is_scheme(head->scheme))
        return malformed(h2, "invalid :scheme");
    bool is_star = rota_str_equal(head->target, "*") && rota_str_equal(head->method, "OPTIONS");
    if (!is_star && (!head->target.len || *head->target.ptr != '/'))
        return malformed(h2, "invalid target");
    if (!rota__chars_are(head->target, ROTA__CHAR_TARGET))
        return malformed(h2, "invalid character in the target");
    return 0;
}

static int read_block(struct rota__h2 *h2, struct rota__h2_head *head, int status)
{
    *head = (struct rota__h2_head){.status = 0};
    if (h2->block.is_over)
        return refuse_head(h2, status);
    if (settle(&h2->block) < 0)
        return refuse(h2, -ROTA__H2_INTERNAL_ERROR, "no memory");
    read_fields(&h2->block, head);
    return head->count > h2->limits.fields ? refuse_head(h2, status) : 0;
}

int rota__h2_read_request(struct rota__h2 *h2, struct rota__h2_head *head)
{
    rota_str host = {NULL, 0};
    int refused = read_block(h2, head, 431);
    if (refused)
        return refused;
    if (!head->method.len || !rota__chars_are(head->method, ROTA__CHAR_TOKEN))
        return malformed(h2, "no method");
    int later = read_meaning(h2, head, &host);
    refused = check_authority(h2, head, host);
    if (!refused)
        refused = check_target(h2, head);
    return refused ? refused : later;
}

int rota__h2_read_response(struct rota__h2 *h2, struct rota__h2_head *head)
{
    rota_str host;
    int refused = read_block(h2, head, -ROTA__H2_ENHANCE_YOUR_CALM);
    if (refused)
        return refused;
    if (head->status < 100 || head->status == 101) /* section 8.6 */
        return malformed(h2, "invalid :status");
    return read_meaning(h2, head, &host);
}

int rota__h2_read_trailers(struct rota__h2 *h2, struct rota__h2_head *head)
{
    int refused = read_block(h2, head, -ROTA__H2_ENHANCE_YOUR_CALM);
    for (size_t i = 0; !refused && i < head->count; i++) {
        if (rota__h1_is_forbidden_trailer(head->fields[i].name))
            refused = malformed(h2, "a trailer that frames the message");
    }
    return refused;
}
