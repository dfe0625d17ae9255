/* The sessions that clients may resume, by host and port.
 *
 * 1. A session of TLS 1.3 is handed out once (RFC 8446, appendix C.4); servers send new ones. One
 *    of TLS 1.2 stays.
 * 2. A busy host keeps at most PER_KEY, so that it does not push the others out. */
#include "tls/tls.h"

#include <string.h>
#include <time.h>

enum { PER_KEY = 4 };

struct rota__tls_session {
    struct rota__tls_session *next;
    SSL_SESSION *session;
    char key[];
};

void rota__tls_sessions_init(struct rota__tls_sessions *sessions, size_t limit)
{
    pthread_mutex_init(&sessions->mutex, NULL);
    sessions->limit = limit;
}

static void drop(struct rota__tls_session **place)
{
    struct rota__tls_session *gone = *place;
    *place = gone->next;
    SSL_SESSION_free(gone->session);
    rota_free(gone);
}

void rota__tls_sessions_fini(struct rota__tls_sessions *sessions)
{
    while (sessions->first)
        drop(&sessions->first);
    pthread_mutex_destroy(&sessions->mutex);
}

/* OpenSSL 3.4 deprecates the older call, whose seconds end in 2038 where long has 32 bits. */
static time_t issued_at(const SSL_SESSION *session)
{
#if OPENSSL_VERSION_NUMBER >= 0x30400000L
    return SSL_SESSION_get_time_ex(session);
#else
    return SSL_SESSION_get_time(session);
#endif
}

static bool is_good(const SSL_SESSION *session)
{
    return SSL_SESSION_is_resumable(session) &&
           issued_at(session) + SSL_SESSION_get_timeout(session) > time(NULL);
}

static struct rota__tls_session **find(struct rota__tls_sessions *sessions, const char *key)
{
    struct rota__tls_session **place = &sessions->first;
    while (*place && strcmp((*place)->key, key) != 0)
        place = &(*place)->next;
    return place;
}

/* The newest of this key that is still good; drops those that are not. */
static struct rota__tls_session **find_good(struct rota__tls_sessions *sessions, const char *key)
{
    struct rota__tls_session **place = find(sessions, key);
    while (*place && !is_good((*place)->session)) {
        drop(place);
        place = find(sessions, key);
    }
    return place;
}

SSL_SESSION *rota__tls_sessions_take(struct rota__tls_sessions *sessions, const char *key)
{
    SSL_SESSION *session = NULL;
    pthread_mutex_lock(&sessions->mutex);
    struct rota__tls_session **place = find_good(sessions, key);
    if (*place) {
        session = (*place)->session;
        SSL_SESSION_up_ref(session);
        if (SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION)
            drop(place);
    }
    pthread_mutex_unlock(&sessions->mutex);
    return session;
}

/* Drops the oldest of this key, or of all, where there are too many. */
static void shrink(struct rota__tls_sessions *sessions, const char *key)
{
    size_t of_key = 0, all = 0;
    for (struct rota__tls_session **place = &sessions->first; *place;) {
        bool same = strcmp((*place)->key, key) == 0;
        if ((same && of_key == PER_KEY) || all == sessions->limit) {
            drop(place);
            continue;
        }
        of_key += same;
        all++;
        place = &(*place)->next;
    }
}

bool rota__tls_sessions_put(struct rota__tls_sessions *sessions, const char *key,
                            SSL_SESSION *session)
{
    struct rota__tls_session *kept = rota_alloc(sizeof *kept + strlen(key) + 1);
    if (!kept)
        return false;
    strcpy(kept->key, key);
    kept->session = session;
    pthread_mutex_lock(&sessions->mutex);
    kept->next = sessions->first;
    sessions->first = kept;
    shrink(sessions, key);
    pthread_mutex_unlock(&sessions->mutex);
    return true;
}
