#include <rota/base.h>

#include <errno.h>
#include <string.h>

static const char *rota_code_words(int err)
{
    switch (err) {
    case ROTA_EOF:
        return "end of stream";
    case ROTA_ECLOSED:
        return "closed";
    case ROTA_ELIMIT:
        return "limit exceeded";
    case ROTA_ENOHOST:
        return "unknown host";
    case ROTA_EDNS:
        return "host name lookup failed, try again later";
    case ROTA_ENOTASK:
        return "called without a loop or outside a task; rota_run gives both";
    case ROTA_ETHREAD:
        return "used from a thread other than its loop's";
    case ROTA_ECRASHED:
        return "worker process died while running the job";
    case ROTA_ESCOPE:
        return "generator yielded inside a scope that it opened";
    case ROTA_ETLS:
        return "TLS failed";
    case ROTA_ECERT:
        return "certificate not trusted";
    case ROTA_ETRUNCATED:
        return "connection was cut off before its end";
    case ROTA_EPROTOCOL:
        return "peer broke the protocol";
    case ROTA_EREDIRECTS:
        return "too many redirects";
    case ROTA_EHELD:
        return "process ended, but other processes hold its pipes open";
    /* a deadline's far more often than a connection's, of which errno's text speaks */
    case -ETIMEDOUT:
        return "timed out";
    default:
        return NULL;
    }
}

/* Strings that live for ever: glibc's strerror may return a buffer, musl's does not. */
static const char *errno_words(int number)
{
#ifdef __GLIBC__
    return strerrordesc_np(number);
#else
    return strerror(number);
#endif
}

const char *rota_strerror(int err)
{
    const char *words = rota_code_words(err);
    if (words)
        return words;
    if (err >= 0)
        return "success";
    words = err > -4096 ? errno_words(-err) : NULL;
    return words ? words : "unknown error";
}

const char *rota_version(void)
{
    return ROTA_VERSION;
}
