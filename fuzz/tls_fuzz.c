/* The TLS filter, on streams in memory. Either the input is all that a client or a server gets from
 * its peer, played by peer.h, whole, byte by byte and seven bytes at a time: it fails for the same
 * reason each time. Or two real sides talk to each other, and the input says what somebody in
 * between does to their records. Then no side ever reads what the other one has not written, and
 * the end of the stream is the end of all that was written.
 *
 * The first byte chooses. Behind it come changes of four bytes each: the record, what is done to
 * it, where, and with which value. */
#include "peer.h"

#include <rota/tls.h>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

enum { BETWEEN = 1, SERVER = 2, TLS_1_2 = 4, NARROW = 8, ALPN = 16 };

enum { RECORD_MAX = 5 + 65535, WRITTEN = 20000, PATIENCE = 200 };

static rota_tls_context *servers[2]; /* by version */

/* ---- One side */

struct side {
    rota_stream *stream;
    bool is_server;
    uint8_t options;
    int started, written, read;
    struct note received;
};

static const char *const protocols[] = {"h2", "http/1.1", NULL};

static int start(struct side *side)
{
    if (side->is_server)
        return rota_tls_start_server(side->stream, servers[!(side->options & TLS_1_2)]);
    /* Of its own, as it keeps sessions. */
    rota_tls_version version = side->options & TLS_1_2 ? ROTA_TLS_1_2 : ROTA_TLS_1_3;
    const rota_tls_options options = {
        .min_version = version, .max_version = version, .insecure_accept_any_certificate = true};
    ROTA_AUTO(rota_tls_context) tls = NULL;
    require(rota_tls_context_new(&options, &tls) == 0);
    return rota_tls_start_client(side->stream, tls, "a", side->options & ALPN ? protocols : NULL);
}

static char text_of(const struct side *side, size_t at)
{
    return (char)(at % 251 + side->is_server);
}

static int write_all(void *arg)
{
    static const size_t lengths[] = {1, 17000, 2000, 999};
    struct side *side = arg;
    char bytes[17000];
    size_t sent = 0;
    for (int i = 0; side->written == 0 && i < 4; i++) {
        for (size_t at = 0; at < lengths[i]; at++)
            bytes[at] = text_of(side, sent + at);
        side->written = rota_stream_write(side->stream, bytes, lengths[i]);
        sent += lengths[i];
    }
    if (side->written == 0)
        side->written = rota_stream_shutdown(side->stream);
    require(side->written < 0 || sent == WRITTEN);
    return 0;
}

static int read_all(void *arg)
{
    struct side *side = arg;
    char buf[3000];
    ssize_t n;
    while ((n = rota_stream_read(side->stream, buf, sizeof buf)) > 0)
        note_add(&side->received, (rota_str){buf, (size_t)n});
    side->read = (int)n;
    return 0;
}

static int be_side(void *arg)
{
    struct side *side = arg;
    ROTA_TIMEOUT (PATIENCE *ROTA_SECOND) {
        side->started = start(side);
        const char *why = rota_error(side->started);
        require(side->started == 0 || (why[0] && strlen(why) <= 512));
        require(side->started == 0 || rota_stream_error(side->stream)[0] ||
                side->started == -ETIMEDOUT);
        if (side->started == 0) {
            ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
            rota_group_spawn(&g, write_all, side);
            rota_group_spawn(&g, read_all, side);
            ROTA_IGNORE(rota_group_wait(&g));
        }
    }
    ROTA_IGNORE(rota_stream_close(side->stream));
    return 0;
}

/* ---- In between */

struct relay {
    rota_stream *from, *to;
    int direction;
    rota_str changes;
};

static bool forward(struct relay *r, const char *bytes, size_t len)
{
    return rota_stream_write(r->to, bytes, len) == 0;
}

/* Returns whether it goes on. `len` is that of the whole record. */
static bool change(struct relay *r, char *record, size_t *len, const unsigned char *what)
{
    size_t at = what[2] % *len;
    switch (what[1] % 8) {
    case 0:
        record[at] = (char)(record[at] ^ what[3]);
        return true;
    case 1:
        *len = 0;
        return true;
    case 2:
        return forward(r, record, *len);
    case 3:
        forward(r, record, at);
        return false;
    case 4:
        record[0] = (char)what[3];
        return true;
    case 5: {
        char more[5 + 255] = {(char)what[3], 3, 3, 0, (char)what[2]};
        return forward(r, more, 5u + what[2]);
    }
    case 6:
        return rota_sleep(what[3] * ROTA_SECOND) == 0;
    default: { /* in two records */
        if (*len < 5)
            return true; /* the end of one that was split before */
        char rest[5] = {record[0], record[1], record[2]};
        size_t first = at < 5 ? 5 : at, left = *len - first;
        record[3] = (char)((first - 5) >> 8);
        record[4] = (char)(first - 5);
        rest[3] = (char)(left >> 8);
        rest[4] = (char)left;
        if (!forward(r, record, first) || !forward(r, rest, 5))
            return false;
        memmove(record, record + first, left);
        *len = left;
        return true;
    }
    }
}

static bool change_record(struct relay *r, char *record, size_t *len, unsigned number)
{
    for (size_t i = 0; i + 4 <= r->changes.len; i += 4) {
        const unsigned char *what = (const unsigned char *)r->changes.ptr + i;
        bool is_meant = (what[0] & 127) == number && what[0] >> 7 == r->direction;
        if (is_meant && *len && !change(r, record, len, what))
            return false;
    }
    return true;
}

static int relay(void *arg)
{
    struct relay *r = arg;
    char *record = malloc(RECORD_MAX);
    for (unsigned number = 0;; number++) {
        if (rota_stream_read_exact(r->from, record, 5) < 0)
            break;
        size_t len = (size_t)(unsigned char)record[3] << 8 | (unsigned char)record[4];
        if (rota_stream_read_exact(r->from, record + 5, len) < 0)
            break;
        len += 5;
        if (!change_record(r, record, &len, number) || (len && !forward(r, record, len)))
            break;
    }
    free(record);
    ROTA_IGNORE(rota_stream_shutdown(r->to));
    return 0;
}

/* What came is what the other side wrote; all of it, where it ended. */
static void check_received(const struct side *side, const struct side *other)
{
    require(side->received.len <= WRITTEN);
    for (size_t i = 0; i < side->received.len; i++)
        require(side->received.ptr[i] == text_of(other, i));
    if (side->started == 0 && side->read == 0)
        require(side->received.len == WRITTEN);
}

struct between {
    uint8_t options;
    rota_str changes;
};

static int run_between(void *arg)
{
    struct between *b = arg;
    size_t capacity = b->options & NARROW ? 500 : 0;
    struct side client = {.options = b->options},
                server = {.options = b->options, .is_server = true};
    rota_stream *near, *far;
    require(rota_stream_pair(capacity, &client.stream, &near) == 0);
    require(rota_stream_pair(capacity, &server.stream, &far) == 0);
    struct relay there = {near, far, 0, b->changes}, back = {far, near, 1, b->changes};
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
        rota_group_spawn(&g, relay, &there);
        rota_group_spawn(&g, relay, &back);
        rota_group_spawn(&g, be_side, &client);
        rota_group_spawn(&g, be_side, &server);
        require(rota_group_wait(&g) == 0);
    }
    check_received(&client, &server);
    check_received(&server, &client);
    if (b->changes.len < 4)
        require(client.read == 0 && server.read == 0 && client.started == 0 && server.started == 0);
    rota_stream *all[] = {client.stream, server.stream, near, far};
    for (int i = 0; i < 4; i++)
        rota_stream_free(all[i]);
    note_fini(&client.received);
    note_fini(&server.received);
    return 0;
}

/* ---- Alone */

struct alone {
    struct side side;
    struct peer peer;
};

static int run_alone(void *arg)
{
    struct alone *a = arg;
    require(rota_stream_pair(a->side.options & NARROW ? 500 : 0, &a->side.stream,
                             &a->peer.stream) == 0);
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
        rota_group_spawn(&g, be_side, &a->side);
        rota_group_spawn(&g, peer_send, &a->peer);
        rota_group_spawn(&g, peer_receive, &a->peer);
        require(rota_group_wait(&g) == 0);
    }
    require(a->side.started < 0);
    rota_stream_free(a->side.stream);
    rota_stream_free(a->peer.stream);
    note_fini(&a->peer.received);
    return 0;
}

static int start_in_pieces(uint8_t options, rota_str script, size_t piece, bool *broke_off)
{
    struct alone a = {.side = {.options = options, .is_server = options & SERVER},
                      .peer = {.script = script, .piece = piece}};
    peer_run(run_alone, &a);
    *broke_off |= a.peer.broke_off;
    return a.side.started;
}

/* ---- The run */

static rota_str text_in(BIO *bio)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);
    return (rota_str){bytes, (size_t)len};
}

static void begin(void)
{
    peer_begin();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    BIO *cert_pem = BIO_new(BIO_s_mem()), *key_pem = BIO_new(BIO_s_mem());
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 1000000);
    X509_set_pubkey(cert, key);
    require(X509_sign(cert, key, EVP_sha256()) > 0);
    require(PEM_write_bio_X509(cert_pem, cert));
    require(PEM_write_bio_PrivateKey(key_pem, key, NULL, NULL, 0, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        rota_tls_version version = i ? ROTA_TLS_1_3 : ROTA_TLS_1_2;
        rota_tls_options options = {.min_version = version,
                                    .max_version = version,
                                    .cert_pem = text_in(cert_pem),
                                    .key_pem = text_in(key_pem),
                                    .alpn = protocols};
        require(rota_tls_context_new(&options, &servers[i]) == 0);
    }
    BIO_free(cert_pem);
    BIO_free(key_pem);
    X509_free(cert);
    EVP_PKEY_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!servers[0])
        begin();
    if (size < 1)
        return 0;
    rota_str rest = {(const char *)data + 1, size - 1};
    if (data[0] & BETWEEN) {
        struct between between = {data[0], rest};
        peer_run(run_between, &between);
        return 0;
    }
    bool broke_off = false;
    int whole = start_in_pieces(data[0], rest, 0, &broke_off);
    int bytes = start_in_pieces(data[0], rest, 1, &broke_off);
    int sevens = start_in_pieces(data[0], rest, 7, &broke_off);
    require(broke_off || (whole == bytes && whole == sevens));
    return 0;
}
