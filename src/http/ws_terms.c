/* Agreeing on permessage-deflate (RFC 7692, sections 5 and 7.1). */
#include "http/chars.h"
#include "http/params.h"
#include "http/ws_deflate.h"

#include <errno.h>

/* The four parameters, as a bit each of those that were seen. */
enum {
    SERVER_NO_CONTEXT = 1,
    CLIENT_NO_CONTEXT = 2,
    SERVER_BITS = 4,
    CLIENT_BITS = 8,
    /* Without a value, which only an offer may have. */
    CLIENT_BITS_OPEN = 16
};

static int param_of(rota_str name)
{
    static const char *const names[] = {"server_no_context_takeover", "client_no_context_takeover",
                                        "server_max_window_bits", "client_max_window_bits"};
    for (int i = 0; i < 4; i++) {
        if (rota__str_is(name, names[i]))
            return 1 << i;
    }
    return 0;
}

/* Returns 8 to 15, or 0 if it is invalid or has a leading zero. */
static int bits_of(rota_str s)
{
    if (s.len == 1 && (*s.ptr == '8' || *s.ptr == '9'))
        return *s.ptr - '0';
    bool two = s.len == 2 && s.ptr[0] == '1' && s.ptr[1] >= '0' && s.ptr[1] <= '5';
    return two ? 10 + (s.ptr[1] - '0') : 0;
}

/* Adds a parameter to `terms`. Returns its bit, or 0 if it is invalid. */
static int read_param(const struct rota__param *param, struct rota__ws_deflate_terms *terms)
{
    int which = param_of(param->name);
    if (which == SERVER_NO_CONTEXT || which == CLIENT_NO_CONTEXT) {
        *(which == SERVER_NO_CONTEXT ? &terms->server_no_context : &terms->client_no_context) =
            true;
        return param->value.ptr ? 0 : which;
    }
    if (which == CLIENT_BITS && !param->value.ptr)
        return CLIENT_BITS_OPEN;
    int bits = bits_of(param->value);
    *(which == SERVER_BITS ? &terms->server_bits : &terms->client_bits) = bits;
    return bits ? which : 0;
}

/* Reads the parameters after the extension's name. Returns the sum of their bits, or -EINVAL if one
 * is unknown, invalid or repeated. */
static int read_params(rota_str params, struct rota__ws_deflate_terms *terms)
{
    struct rota__param param;
    int seen = 0, more;
    while ((more = rota__param_next(&params, &param)) > 0) {
        int which = read_param(&param, terms);
        int name = which == CLIENT_BITS_OPEN ? CLIENT_BITS : which;
        bool again = seen & name || (name == CLIENT_BITS && seen & CLIENT_BITS_OPEN);
        if (!which || again)
            return -EINVAL;
        seen |= which;
    }
    return more < 0 ? -EINVAL : seen;
}

/* Takes the next extension off the list. A comma within quotes does not separate. */
static rota_str next_extension(rota_str *list)
{
    bool quoted = false;
    for (size_t i = 0; i < list->len; i++) {
        char c = list->ptr[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (c == ',' && !quoted) {
            rota_str element = {list->ptr, i};
            *list = (rota_str){list->ptr + i + 1, list->len - i - 1};
            return rota__trim(element);
        }
    }
    rota_str rest = rota__trim(*list);
    list->len = 0;
    return rest;
}

static int smaller(int a, int b)
{
    return !a ? b : !b || a < b ? a : b;
}

/* ---- Server */

/* Returns whether this offer can be accepted. */
static bool accept_offer(rota_str params, const struct rota__ws_deflate_terms *own,
                         struct rota__ws_deflate_terms *ret_agreed)
{
    struct rota__ws_deflate_terms offer = {.server_bits = 0};
    int seen = read_params(params, &offer);
    if (seen < 0)
        return false;
    bool client_bits = seen & (CLIENT_BITS | CLIENT_BITS_OPEN);
    /* Section 7.1.2.2: a client that does not name it cannot be told. */
    if (own->client_bits && own->client_bits < 15 && !client_bits)
        return false;
    *ret_agreed = (struct rota__ws_deflate_terms){
        .server_no_context = offer.server_no_context || own->server_no_context,
        .client_no_context = offer.client_no_context || own->client_no_context,
        .server_bits = smaller(offer.server_bits, own->server_bits),
        .client_bits = client_bits ? smaller(offer.client_bits, own->client_bits) : 0};
    return true;
}

int rota__ws_deflate_accept(rota_str offers, const struct rota__ws_deflate_terms *own,
                            struct rota__ws_deflate_terms *ret_agreed)
{
    while (offers.len) {
        rota_str params = next_extension(&offers);
        rota_str name = rota__param_head(&params);
        if (rota__str_is(name, "permessage-deflate") && accept_offer(params, own, ret_agreed))
            return 1;
    }
    return 0;
}

static void write_bits(struct rota__out *out, int bits)
{
    rota__out_add_literal(out, "=");
    rota__out_add_number(out, (unsigned)bits, 10);
}

static void write_terms(struct rota__out *out, const struct rota__ws_deflate_terms *terms)
{
    rota__out_add_literal(out, "permessage-deflate");
    if (terms->server_no_context)
        rota__out_add_literal(out, "; server_no_context_takeover");
    if (terms->client_no_context)
        rota__out_add_literal(out, "; client_no_context_takeover");
    if (terms->server_bits) {
        rota__out_add_literal(out, "; server_max_window_bits");
        write_bits(out, terms->server_bits);
    }
    if (terms->client_bits) {
        rota__out_add_literal(out, "; client_max_window_bits");
        write_bits(out, terms->client_bits);
    }
}

void rota__ws_deflate_write_answer(struct rota__out *out,
                                   const struct rota__ws_deflate_terms *agreed)
{
    write_terms(out, agreed);
}

/* ---- Client */

void rota__ws_deflate_write_offer(struct rota__out *out, const struct rota__ws_deflate_terms *own)
{
    write_terms(out, own);
    if (!own->client_bits) /* regardless of the server's options */
        rota__out_add_literal(out, "; client_max_window_bits");
}

/* The response must grant what the offer asked for: no larger window, no longer context (sections
 * 7.1.1.1 and 7.1.2.1). */
static bool is_granted(const struct rota__ws_deflate_terms *own,
                       const struct rota__ws_deflate_terms *answer)
{
    if (own->server_no_context && !answer->server_no_context)
        return false;
    return !own->server_bits || (answer->server_bits && answer->server_bits <= own->server_bits);
}

int rota__ws_deflate_read_answer(rota_str answer, const struct rota__ws_deflate_terms *own,
                                 struct rota__ws_deflate_terms *ret_agreed)
{
    struct rota__ws_deflate_terms terms = {.server_bits = 0};
    rota_str params = next_extension(&answer);
    if (!params.len && !answer.len)
        return 0;
    if (rota__trim(answer).len || !rota__str_is(rota__param_head(&params), "permessage-deflate"))
        return -EBADMSG;
    int seen = read_params(params, &terms);
    if (seen < 0 || seen & CLIENT_BITS_OPEN || !is_granted(own, &terms))
        return -EBADMSG;
    terms.client_no_context |= own->client_no_context;
    terms.client_bits = smaller(terms.client_bits, own->client_bits);
    *ret_agreed = terms;
    return 1;
}
