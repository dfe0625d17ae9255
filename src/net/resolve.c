/* Names to addresses. The system's resolver blocks, and may hang for half a minute, so it runs in a
 * thread pool of its own, on a copy of the question.
 *
 *     a lookup   under way (lookup_start) -> answered, or given up (lookup_end), when its last
 *                caller leaves
 *
 * 1. Callers that ask for the same name at the same time share one lookup.
 * 2. A lookup that all its callers gave up is left to its thread and nobody joins it: the next
 *    caller may find the network in order again. Its thread no longer counts among those of the
 *    pool, up to EXTRA_THREADS. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "exec/exec.h"
#include "net/net.h"

#include <rota/host.h>

#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <strings.h>

enum { NAME_MAX_LEN = 255 }; /* RFC 1035, section 2.3.4 */

#define THREADS 16
#define EXTRA_THREADS 240

/* Without descriptors the resolver neither reads its files nor asks a server, and takes the host
 * for unknown. Its errno may have been overwritten, and a descriptor may be free again by now, so
 * both are looked at. Returns -EMFILE, -ENFILE or 0. */
static int shortage_of_descriptors(int err)
{
    if (err == EMFILE || err == ENFILE)
        return -err;
    int fd = (int)rota__sys(EMFILE, open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (fd >= 0)
        rota__sys_close(fd);
    return fd == -EMFILE || fd == -ENFILE ? fd : 0;
}

static int lookup_error(int code)
{
    int err = errno;
    int shortage = shortage_of_descriptors(err);
    if (shortage < 0)
        return shortage;
    switch (code) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
        return ROTA_ENOHOST;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return err ? -err : ROTA_EDNS;
    default:
        return ROTA_EDNS;
    }
}

static int lookup_by_system(const char *host, rota_address *ret_addresses, size_t max)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found;
    errno = 0;
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
    int result; /* how many addresses, or an error */
    rota_address addresses[ROTA__ADDRESSES];
};

static int answer(void *arg)
{
    struct question *q = arg;
    q->result = rota__lookup(q->host, q->addresses, ROTA__ADDRESSES);
    return 0;
}

/* ---- The lookups of a loop */

struct lookups {
    struct rota__annex annex;
    rota_executor *executor;
    struct rota__list under_way;
};

struct lookup {
    struct rota__list node;
    rota_job job;
    unsigned callers;
    struct question question;
};

static const char lookups_type;

static void lookups_close(struct rota__annex *annex)
{
    struct lookups *lookups = rota__container_of(annex, struct lookups, annex);
    rota_executor_free(lookups->executor);
    rota_free(lookups);
}

static int lookups_of(struct rota__loop *loop, struct lookups **ret_lookups)
{
    struct rota__annex *annex = rota__loop_annex(loop, &lookups_type);
    if (annex) {
        *ret_lookups = rota__container_of(annex, struct lookups, annex);
        return 0;
    }
    struct lookups *lookups = rota_zalloc(sizeof *lookups);
    if (!lookups)
        return -ENOMEM;
    rota_thread_pool_options options = {.threads = THREADS, .extra_threads = EXTRA_THREADS};
    int err = rota_thread_pool_new(&options, &lookups->executor);
    if (err < 0) {
        rota_free(lookups);
        return err;
    }
    rota__list_init(&lookups->under_way);
    lookups->annex.type = &lookups_type;
    lookups->annex.close = lookups_close;
    rota__loop_annex_add(loop, &lookups->annex);
    *ret_lookups = lookups;
    return 0;
}

static struct lookup *lookup_find(struct lookups *lookups, const char *host)
{
    rota__list_each (node, &lookups->under_way) {
        struct lookup *lookup = rota__container_of(node, struct lookup, node);
        if (strcasecmp(lookup->question.host, host) == 0 && !rota_future_done(&lookup->job.done))
            return lookup;
    }
    return NULL;
}

static int lookup_start(struct lookups *lookups, const char *host, struct lookup **ret_lookup)
{
    struct lookup *lookup = rota_zalloc(sizeof *lookup);
    if (!lookup)
        return -ENOMEM;
    rota__list_init(&lookup->node);
    memcpy(lookup->question.host, host, strlen(host) + 1);
    lookup->job.copy = sizeof lookup->question;
    int err = rota_executor_submit(lookups->executor, answer, &lookup->question, &lookup->job);
    if (err < 0) {
        rota_free(lookup);
        return err;
    }
    rota__list_append(&lookups->under_way, &lookup->node);
    *ret_lookup = lookup;
    return 0;
}

/* The last caller has left. */
static void lookup_end(struct lookup *lookup)
{
    rota__list_remove(&lookup->node);
    rota_job_fini(&lookup->job);
    rota_free(lookup);
}

static const struct rota__wait_kind looking_up = {"name lookup", rota__future_abort};

static int lookup_wait(struct lookup *lookup)
{
    rota_future *done = &lookup->job.done;
    int err = rota__suspend_check();
    if (err == 0 && !rota_future_done(done))
        err = rota__future_park(done, &looking_up);
    if (rota_future_done(done))
        err = done->_result;
    return err < 0 ? err : lookup->question.result;
}

/* RFC 6761, section 6.3: this name, and names that end in it, are not looked up. */
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
    struct lookups *lookups;
    if (strlen(host) > NAME_MAX_LEN)
        return ROTA_ENOHOST;
    int n = lookups_of(rota__loop_here, &lookups);
    if (n < 0)
        return n;
    struct lookup *lookup = lookup_find(lookups, host);
    if (!lookup)
        n = lookup_start(lookups, host, &lookup);
    if (n < 0)
        return n;
    lookup->callers++;
    n = lookup_wait(lookup);
    if (n > 0 && (size_t)n > max)
        n = (int)max;
    if (n > 0)
        memcpy(ret_addresses, lookup->question.addresses, (size_t)n * sizeof *ret_addresses);
    if (--lookup->callers == 0)
        lookup_end(lookup);
    return n;
}

/* Whether rota_host_parse refuses the host. getaddrinfo(3) may still take it for an address (127.1
 * for 127.0.0.1), which the rest of the library would not. Names with non-ASCII bytes are left to
 * the system resolver. */
static bool is_refused(const char *host)
{
    rota_str text = {host, strlen(host)};
    for (const char *at = host; *at; at++)
        if ((unsigned char)*at >= 0x80)
            return false;
    return text.len < ROTA_HOST_TEXT - 1 && !rota_host_is_valid(text);
}

static int resolve(const char *host, rota_address *ret_addresses, size_t max)
{
    if (rota__address_parse(host, 0, &ret_addresses[0]) == 0)
        return 1;
    if (*host == '[' || is_refused(host))
        return -EINVAL;
    if (!is_localhost(host))
        return look_up(host, ret_addresses, max);
    rota__address_parse("127.0.0.1", 0, &ret_addresses[0]);
    if (max > 1)
        rota__address_parse("::1", 0, &ret_addresses[1]);
    return max > 1 ? 2 : 1;
}

int rota_resolve(const char *host, int port, rota_address *ret_addresses, size_t max)
{
    int err = rota__suspend_check();
    if (err < 0)
        return rota__error_plain(err);
    if (!host || !*host)
        return rota_error_set(-EINVAL, "look up a host: its name is empty");
    if (port < 0 || port > 65535)
        return rota_error_set(-EINVAL, "look up %s: %d is not a valid port", host, port);
    if (max == 0)
        return rota_error_set(-EINVAL, "look up %s: no room for an address", host);
    int n = resolve(host, ret_addresses, max);
    if (n < 0 && rota__was_interrupted(n))
        rota__error_plain(n);
    else if (n == -EINVAL)
        rota_error_set(n, "look up %s: not a valid host name or address", host);
    else if (n < 0)
        rota_error_set(n, "look up %s: %s", host, rota_strerror(n));
    for (int i = 0; i < n; i++)
        rota__address_set_port(&ret_addresses[i], port);
    return (int)rota__done_at_once(n);
}
