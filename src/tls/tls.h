/* Internals of tls: a stream's filter, and the context that filters share.
 *
 * OpenSSL never waits: it reads and writes the filter's memory, and the filter waits for the layer
 * below outside of OpenSSL's calls. So one task may read while another writes the same SSL object.
 *
 *     states    start -> open -> failed          (failed: reads and writes return that)
 *     read      open; `in` is filled only while it is empty
 *     write     open -> torn                     (torn: what was encrypted did not all go out)
 *
 * 1. No call suspends while OpenSSL is on the stack.
 * 2. What was read below stays in `in`, or in OpenSSL, until a read returns it.
 * 3. What OpenSSL has encrypted stays in `out`, then in `sending`, until it is sent, in order; only
 *    a writer sends (or the handshake, or the farewell, when nobody else writes). What is lent
 *    below does not move: a reader may append to `out` meanwhile. After a torn write nothing is
 *    encrypted.
 * 4. Where the kernel encrypts, `out` has at most one record, of type `record`, for which the
 *    socket had no room; data goes below as it is.
 * 5. The error queue of OpenSSL belongs to the thread: it is emptied before each call that may fill
 *    it and read right after.
 * 6. The worker processes of a pool have no keys: contexts and SSL objects are secrets
 *    (rota_secret_add), which a worker frees, and OpenSSL overwrites keys that it frees. So what
 *    belongs to them is changed inside ROTA__TLS_INSIDE. */
#ifndef ROTA__TLS_TLS_H
#define ROTA__TLS_TLS_H

#include <rota/exec.h>
#include <rota/filter.h>
#include <rota/tls.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define ROTA__TLS_WHY 192

/* Bytes between `head` and `tail`, in memory that exists only while it is needed. */
struct rota__tls_bytes {
    char *data;
    size_t size, head, tail;
};

static inline size_t rota__tls_count(const struct rota__tls_bytes *b)
{
    return b->tail - b->head;
}

/* The sessions that a context's clients may resume, the newest first. */
struct rota__tls_sessions {
    pthread_mutex_t mutex;
    struct rota__tls_session *first;
    size_t limit;
};

struct rota__tls_ticket_key {
    unsigned char name[16], cipher[32], mac[32];
};

/* See tickets.c. */
struct rota__tls_tickets {
    pthread_mutex_t mutex;
    unsigned char chain[32];
    struct rota__tls_ticket_key present, past;
    rota_time until; /* the present key is used */
};

struct rota_tls_context {
    rota_secret secret; /* first: see context_forget */
    atomic_int uses;
    SSL_CTX *ctx;
    rota_time handshake_timeout;
    bool insecure;
    bool needs_system; /* the system's authorities are trusted, and not loaded yet */
    pthread_mutex_t system_mutex;
    bool has_certificate;
    rota_tls_clients clients;
    bool use_kernel;
    rota_tls_choose_fn *choose;
    void *choose_arg;
    unsigned char *alpn; /* as on the wire */
    unsigned alpn_len;
    struct rota__tls_sessions sessions;
    struct rota__tls_tickets tickets;
};

struct rota__tls {
    rota_filter filter;
    rota_secret secret;
    rota_tls_context *context;
    SSL *ssl;
    struct rota__tls_bytes in, out; /* encrypted */
    struct rota__tls_bytes sending; /* taken from `out`: does not move while it is lent below */
    size_t step;                    /* how much is asked for from below at once */
    int failed;                     /* final */
    bool torn;
    int socket;           /* whose kernel may encrypt; -1: none */
    bool in_kernel;       /* it does */
    unsigned char record; /* the record type of what OpenSSL writes next, if it is not data */
    bool waiting;         /* a task waits for room in the socket */
    bool interrupted;
    bool reading;      /* a task is inside a read */
    bool ended;        /* the peer has said close_notify */
    bool said_end;     /* so have we */
    char *resumes;     /* what sessions are kept under; NULL: none are */
    char *server_name; /* servers: the canonical host that the client asked for, or NULL */
    char why[ROTA__TLS_WHY];
};

extern const rota_filter_kind rota__tls_kind;

static inline struct rota__tls *rota__tls_of(rota_filter *filter)
{
    return (struct rota__tls *)filter; /* its first member */
}

/* ---- bio.c */

/* The transport of an SSL object: reads t->in, appends to t->out. NULL: no memory. */
BIO *rota__tls_bio_new(struct rota__tls *t);
bool rota__tls_reserve(struct rota__tls_bytes *b, size_t more);
void rota__tls_bytes_fini(struct rota__tls_bytes *b);

/* ---- fork.c */

void rota__tls_enter(void);
void rota__tls_leave(const char *unused);
/* Until the end of the block the thread is inside OpenSSL, and no other thread forks. Blocks may be
 * nested, and must not suspend. */
#define ROTA__TLS_INSIDE                                                \
    __attribute__((cleanup(rota__tls_leave))) const char inside = '\0'; \
    (void)inside;                                                       \
    rota__tls_enter()
/* In a child: whether no thread was inside OpenSSL at the fork. */
bool rota__tls_may_free_in_child(void);

/* ---- kernel.c */

/* Finds out whether the kernel may encrypt for this filter, which is about to start. */
void rota__tls_kernel_prepare(struct rota__tls *t);
/* OpenSSL's control calls of its BIO that are about it. */
long rota__tls_kernel_control(struct rota__tls *t, int what, long number, void *arg);
/* Sends a record of OpenSSL's own, or keeps it in `out`. False: there is one already, or an
 * error. */
bool rota__tls_kernel_write(struct rota__tls *t, const char *bytes, size_t len);
/* Sends what is in `out`. Suspends. Returns 0 or an error. */
int rota__tls_kernel_flush(struct rota__tls *t);
void rota__tls_kernel_interrupt(struct rota__tls *t);

/* ---- filter.c */

/* A filter that is not started. Returns 0, -ENOMEM or ROTA_ECLOSED. */
int rota__tls_new(rota_tls_context *context, struct rota__tls **ret_tls);
/* Reads below once. Returns 0, ROTA_ETRUNCATED, or an error from below. */
int rota__tls_fill(struct rota__tls *t);
/* Sends what is encrypted. Returns 0 or an error from below, and then the rest is still there. */
int rota__tls_flush(struct rota__tls *t);
/* The failure of an OpenSSL call, with its reason in t->why. */
int rota__tls_failed(struct rota__tls *t);

/* ---- handshake.c */

int rota__tls_start(rota_filter *filter);
/* OpenSSL's verify callback: records in the filter why a certificate is refused. */
int rota__tls_verified(int good, X509_STORE_CTX *chain);

/* ---- context.c */

void rota__tls_context_use(rota_tls_context *context);
/* As ALPN has them on the wire: each with its length in front (RFC 7301, section 3.1); to be freed.
 * Returns 0, -EINVAL, -ENOMEM. */
int rota__tls_write_protocols(const char *const *names, unsigned char **ret_wire,
                              unsigned *ret_len);
/* Loads the system's authorities if they are needed and not loaded. Blocks. Returns 0, ROTA_ETLS,
 * -ENOMEM. */
int rota__tls_trust_system(rota_tls_context *context);

/* ---- sessions.c */

void rota__tls_sessions_init(struct rota__tls_sessions *sessions, size_t limit);
void rota__tls_sessions_fini(struct rota__tls_sessions *sessions);
/* One to resume, or NULL; to be freed. */
SSL_SESSION *rota__tls_sessions_take(struct rota__tls_sessions *sessions, const char *key);
/* Keeps a session if there is memory for it. Returns whether it took it over. */
bool rota__tls_sessions_put(struct rota__tls_sessions *sessions, const char *key,
                            SSL_SESSION *session);

/* ---- tickets.c */

/* Returns 0, -ENOMEM. */
int rota__tls_tickets_init(struct rota__tls_tickets *tickets);
/* Leaves nothing of the keys in memory. */
void rota__tls_tickets_fini(struct rota__tls_tickets *tickets);
/* OpenSSL's callback. */
int rota__tls_ticket_key(SSL *ssl, unsigned char name[16], unsigned char *iv,
                         EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt);

/* ---- words.c */

static inline void rota__tls_clear_errors(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
}
/* Empties OpenSSL's error queue: returns -ENOMEM or ROTA_ETLS, and the reason as text. */
int rota__tls_why(char *ret_why, size_t size);
/* Why a certificate is refused, as text. */
void rota__tls_why_not(X509_STORE_CTX *chain, char *ret_why, size_t size);

#endif
