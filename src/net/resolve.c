/* Names to addresses. The system's resolver blocks, so it runs in the thread pool, on a copy of the
 * question: a caller that is cancelled leaves it behind. */
#include "net/net.h"

#include <rota/exec.h>

#include <netdb.h>
#include <string.h>
#include <strings.h>

enum { NAME_MAX_LEN = 255 }; /* RFC 1035, section 2.3.4 */

static int lookup_error(int code)
{
    switch (code) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return ROTA_ENOHOST;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return errno ? -errno : ROTA_EDNS;
    default:
        return ROTA_EDNS;
    }
}

static int lookup_by_system(const char *host, rota_address *ret_addresses, size_t max)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found;
    int code = getaddrinfo(host, NULL, &hints, &found);
    if (code)
        return lookup_error(code);
    size_t n = 0;
    for (struct addrinfo *a = found; a && n < max; a = a->ai_next) {
        if (a->ai_addrlen > sizeof(struct sockaddr_in6))
            continue;
        memcpy(&ret_addresses[n].any, a->ai_addr, a->ai_addrlen);
        ret_addresses[n++].len = a->ai_addrlen;
    }
    freeaddrinfo(found);
    return n ? (int)n : ROTA_ENOHOST;
}

int (*rota__lookup)(const char *host, rota_address *ret_addresses, size_t max) = lookup_by_system;

struct question {
    char host[NAME_MAX_LEN + 1];
    rota_address addresses[ROTA__ADDRESSES];
};

static int answer(void *arg)
{
    struct question *q = arg;
    return rota__lookup(q->host, q->addresses, ROTA__ADDRESSES);
}

/* RFC 6761, section 6.3: the name and what ends in it never leave the machine. */
static bool is_localhost(const char *host)
{
    size_t len = strlen(host);
    if (len && host[len - 1] == '.')
        len--;
    if (len < 9 || strncasecmp(host + len - 9, "localhost", 9) != 0)
        return false;
    return len == 9 || host[len - 10] == '.';
}

static int look_up(const char *host, rota_address *ret_addresses, size_t max)
{
    struct question q;
    size_t len = strlen(host);
    if (len > NAME_MAX_LEN)
        return ROTA_ENOHOST;
    memcpy(q.host, host, len + 1);
    int n = rota_executor_run_copy(NULL, answer, &q, sizeof q);
    if (n < 0)
        return n;
    if ((size_t)n > max)
        n = (int)max;
    memcpy(ret_addresses, q.addresses, (size_t)n * sizeof *ret_addresses);
    return n;
}

static int resolve(const char *host, rota_address *ret_addresses, size_t max)
{
    if (rota__address_parse(host, 0, &ret_addresses[0]) == 0)
        return 1;
    if (!is_localhost(host))
        return look_up(host, ret_addresses, max);
    rota__address_parse("127.0.0.1", 0, &ret_addresses[0]);
    if (max > 1)
        rota__address_parse("::1", 0, &ret_addresses[1]);
    return max > 1 ? 2 : 1;
}

int rota_resolve(const char *host, int port, rota_address *ret_addresses, size_t max)
{
    if (!host || !*host || port < 0 || port > 65535 || max == 0)
        return -EINVAL;
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    int n = resolve(host, ret_addresses, max);
    for (int i = 0; i < n; i++)
        rota__address_set_port(&ret_addresses[i], port);
    return (int)rota__done_at_once(n);
}
