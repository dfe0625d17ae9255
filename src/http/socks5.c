#include "http/socks5.h"

#include <errno.h>
#include <string.h>

enum {
    VERSION = 5,
    NO_AUTHENTICATION = 0,
    USER_AND_PASSWORD = 2,
    NONE_ACCEPTED = 0xff,
    USER_VERSION = 1,
    CONNECT = 1,
    IPV4 = 1,
    NAME = 3,
    IPV6 = 4
};

static int read_exact(rota_stream *s, unsigned char *buf, size_t len)
{
    int err = (int)rota_stream_read_exact(s, buf, len);
    return err == ROTA_EOF ? ROTA_ETRUNCATED : err;
}

static int no_socks(const char **ret_why)
{
    *ret_why = "it does not speak SOCKS5";
    return ROTA_EPROTOCOL;
}

static unsigned char *put(unsigned char *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

/* ---- Methods */

static int negotiate(rota_stream *s, bool has_user, const char **ret_why, int *ret_method)
{
    unsigned char hello[] = {VERSION, has_user ? 2 : 1, NO_AUTHENTICATION, USER_AND_PASSWORD};
    unsigned char reply[2];
    int err = rota_stream_write(s, hello, has_user ? 4 : 3);
    if (err == 0)
        err = read_exact(s, reply, sizeof reply);
    if (err < 0)
        return err;
    if (reply[0] != VERSION)
        return no_socks(ret_why);
    if (reply[1] == NONE_ACCEPTED) {
        *ret_why = has_user ? "it accepts neither user and password nor no authentication"
                            : "it wants a user and a password";
        return -EACCES;
    }
    if (reply[1] != NO_AUTHENTICATION && !(has_user && reply[1] == USER_AND_PASSWORD)) {
        *ret_why = "it chose an authentication that was not offered";
        return ROTA_EPROTOCOL;
    }
    *ret_method = reply[1];
    return 0;
}

/* RFC 1929. */
static int authenticate(rota_stream *s, const struct rota__socks5 *what, const char **ret_why)
{
    unsigned char text[3 + 2 * ROTA__SOCKS5_TEXT], reply[2], *at = text;
    if (what->user.len > ROTA__SOCKS5_TEXT || what->password.len > ROTA__SOCKS5_TEXT)
        return -EINVAL;
    *at++ = USER_VERSION;
    *at++ = (unsigned char)what->user.len;
    at = put(at, what->user.ptr, what->user.len);
    *at++ = (unsigned char)what->password.len;
    if (what->password.len)
        at = put(at, what->password.ptr, what->password.len);
    int err = rota_stream_write(s, text, (size_t)(at - text));
    explicit_bzero(text, sizeof text);
    if (err == 0)
        err = read_exact(s, reply, sizeof reply);
    if (err < 0)
        return err;
    if (reply[1] == 0)
        return 0;
    *ret_why = "it refused user and password";
    return -EACCES;
}

/* ---- The request */

static int ask(rota_stream *s, const rota_host *host, int port)
{
    unsigned char text[7 + ROTA_HOST_TEXT] = {VERSION, CONNECT, 0}, *at = text + 3;
    if (host->kind == ROTA_HOST_NAME) {
        size_t len = strlen(host->text);
        *at++ = NAME;
        *at++ = (unsigned char)len;
        at = put(at, host->text, len);
    } else {
        bool is_v4 = host->kind == ROTA_HOST_IPV4;
        *at++ = is_v4 ? IPV4 : IPV6;
        at = put(at, host->address, is_v4 ? 4 : 16);
    }
    *at++ = (unsigned char)(port >> 8);
    *at++ = (unsigned char)port;
    return rota_stream_write(s, text, (size_t)(at - text));
}

static int refusal(unsigned code, const char **ret_why)
{
    static const struct {
        const char *why;
        int err;
    } replies[] = {
        [1] = {"it failed", -ECONNREFUSED},
        [2] = {"its rules do not allow the connection", -EACCES},
        [3] = {"it cannot reach the network", -ENETUNREACH},
        [4] = {"it cannot reach the host", -EHOSTUNREACH},
        [5] = {"the host refused the connection", -ECONNREFUSED},
        [6] = {"the host is too far away (TTL expired)", -EHOSTUNREACH},
        [7] = {"it does not support CONNECT", -EOPNOTSUPP},
        [8] = {"it does not support this type of address", -EAFNOSUPPORT},
    };
    bool is_known = code < sizeof replies / sizeof *replies;
    *ret_why = is_known ? replies[code].why : "it refused with an unknown code";
    return is_known ? replies[code].err : -ECONNREFUSED;
}

/* The proxy's own address is read and ignored. */
static int read_verdict(rota_stream *s, const char **ret_why)
{
    unsigned char head[4], rest[255 + 2], len = 0;
    int err = read_exact(s, head, sizeof head);
    if (err < 0)
        return err;
    if (head[0] != VERSION)
        return no_socks(ret_why);
    if (head[1] != 0)
        return refusal(head[1], ret_why);
    if (head[3] == NAME)
        err = read_exact(s, &len, 1);
    else if (head[3] == IPV4 || head[3] == IPV6)
        len = head[3] == IPV4 ? 4 : 16;
    else
        return no_socks(ret_why);
    return err < 0 ? err : read_exact(s, rest, len + 2u);
}

int rota__socks5_connect(rota_stream *s, const struct rota__socks5 *what, const char **ret_why)
{
    int method = NO_AUTHENTICATION;
    *ret_why = NULL;
    int err = negotiate(s, what->user.ptr != NULL, ret_why, &method);
    if (err == 0 && method == USER_AND_PASSWORD)
        err = authenticate(s, what, ret_why);
    if (err == 0)
        err = ask(s, what->host, what->port);
    return err < 0 ? err : read_verdict(s, ret_why);
}
