/* tls: encrypted streams, by OpenSSL 3. In a library of its own (pkg-config rota-tls), and not in
 * <rota.h>.
 *
 *     static int ask(const char *host, int port, rota_tls_context *tls, char *ret_reply,
 *                    size_t len)
 *     {
 *         ROTA_AUTO(rota_stream) s = NULL;
 *         int err = rota_tls_connect(host, port, tls, NULL, &s);
 *         if (err < 0) {
 *             fprintf(stderr, "%s: %s\n", host, rota_error(err));
 *             return err;                            // "certificate has expired", for instance
 *         }
 *         err = rota_stream_write(s, "hello", 5);
 *         return err < 0 ? err : rota_stream_read_exact(s, ret_reply, len);
 *     }
 *
 *     static int handle(rota_stream *s, void *tls)   // for rota_serve(listener, handle, tls, NULL)
 *     {
 *         char buf[16384];
 *         ssize_t n = rota_tls_start_server(s, tls);
 *         while (n >= 0 && (n = rota_stream_read(s, buf, sizeof buf)) > 0)
 *             n = rota_stream_write(s, buf, (size_t)n);
 *         return (int)n;
 *     }
 *
 * A stream that speaks TLS is used like any other. It starts as a plain one, and may be one for a
 * while: what is said before the start is not encrypted, what comes after is (STARTTLS and its
 * like).
 *
 * Certificates are verified, and the host's name with them, unless a very long option says
 * otherwise. The host has to be among the certificate's subjectAltNames: the common name is not
 * looked at (RFC 9525). Versions are TLS 1.2 and 1.3. Sessions are resumed where both sides can.
 *
 * The end. rota_stream_shutdown tells the peer by close_notify that nothing more comes, and reading
 * goes on. A connection that ends without the peer's close_notify may have been cut by anybody:
 * that is ROTA_ETRUNCATED, never the end of the stream. Closing sends close_notify and waits for
 * the peer's, for a second at most.
 *
 * What has been encrypted cannot be taken back: a write that is cancelled or timed out while it
 * waits for a peer that does not keep up ends the write side, and so does such a flush; writes
 * return -EPIPE from then on. Reading goes on.
 *
 * OpenSSL's own memory comes from its own allocator (CRYPTO_set_mem_functions). */
#ifndef ROTA_TLS_H
#define ROTA_TLS_H

#include <rota/net.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Settings ---- */

/* How to speak TLS: whom to trust, who we are. Does not change once it is made. Any number of
 * streams on any threads may use it at once, as clients and as servers; they keep it alive. */
typedef struct rota_tls_context rota_tls_context;

typedef enum rota_tls_version {
    ROTA_TLS_DEFAULT, /* as minimum 1.2, as maximum the latest */
    ROTA_TLS_1_2,
    ROTA_TLS_1_3
} rota_tls_version;

typedef enum rota_tls_clients {
    ROTA_TLS_CLIENTS_ANONYMOUS,    /* are not asked for a certificate */
    ROTA_TLS_CLIENTS_MAY_IDENTIFY, /* a certificate that they show has to be good */
    ROTA_TLS_CLIENTS_MUST_IDENTIFY
} rota_tls_clients;

/* Chooses by the name that a client asks for (canonical, as rota_host_parse writes it; NULL: it
 * named none) whose certificate and key it gets to see; all else is of the first context. NULL
 * refuses the connection. Does not suspend. */
typedef rota_tls_context *rota_tls_choose_fn(void *arg, const char *server_name);

/* Zero is the default of each field. Files are PEM. Nothing is borrowed after rota_tls_context_new
 * but `choose_arg`. */
typedef struct rota_tls_options {
    /* Whom to trust: these authorities together. None: those of the system. */
    const char *ca_file;
    const char *ca_path; /* a directory as `openssl rehash` makes it */
    rota_str ca_pem;
    const char *crl_file;                 /* revocation lists, of each authority in the chains */
    bool insecure_accept_any_certificate; /* no security: anybody in between can read it all */

    /* Who we are: the certificate, followed by intermediate ones, and its key. */
    const char *cert_file, *key_file; /* without `key_file` the key is in `cert_file` too */
    rota_str cert_pem, key_pem;

    rota_tls_clients clients; /* of servers; needs authorities to be named above */
    rota_tls_choose_fn *choose;
    void *choose_arg;

    const char *const *alpn; /* protocols such as "h2", the preferred first, then NULL; at most 255
                                bytes each. A server refuses clients that offer only others */
    rota_tls_version min_version, max_version;
    const char *ciphers;      /* of TLS 1.2, as in ciphers(1); OpenSSL's default */
    const char *ciphersuites; /* of TLS 1.3, the same */

    size_t sessions; /* how many a client keeps, to resume them; 256 */
    /* Every handshake is a full one. Otherwise clients bring the tickets that the server gave them.
     * Their keys change every four hours and are read for another four, alike in all threads that
     * use the context and processes forked after it was made. */
    bool no_resumption;
    rota_time handshake_timeout; /* 10 s; ROTA_NEVER: none */
    bool use_kernel; /* the kernel encrypts what is written, where it can: see rota_tls_in_kernel */
} rota_tls_options;

/* Makes a context. Reads files and blocks for that; may be called on any thread, outside tasks too.
 * `options` may be NULL.
 *
 * Returns 0, -ENOMEM, -EINVAL (options that contradict each other), or ROTA_ETLS (a file cannot be
 * read or is not what it should be); rota_error says what.
 *
 * Worker processes of a process pool do not get the keys of the program, nor its contexts: there,
 * calls with such a context return ROTA_ECLOSED. A job that speaks TLS makes a context of its
 * own. */
ROTA_API int rota_tls_context_new(const rota_tls_options *options, rota_tls_context **ret_context);

/* Lets go of the context; streams that use it go on. Accepts NULL, returns NULL; what
 * ROTA_AUTO(rota_tls_context) calls. */
ROTA_API rota_tls_context *rota_tls_context_free(rota_tls_context *context);
ROTA_DEFINE_AUTO(rota_tls_context, rota_tls_context_free);

/* ---- Starting ---- */

/* Connects as rota_tcp_connect, then starts TLS. A deadline around it covers both.
 *
 * Returns 0, or an error of either. */
ROTA_SUSPENDS int rota_tls_connect(const char *host, int port, rota_tls_context *context,
                                   const rota_connect_options *options, rota_stream **ret_stream);

/* Makes a stream in use an encrypted one, with us as the client. The peer has to have a certificate
 * for `host`, a name or an address; NULL only with insecure_accept_any_certificate. `alpn` are the
 * protocols to offer instead of the context's; NULL: those. Nobody else may be inside the stream.
 * What is held back is sent before, unencrypted.
 *
 * When this returns, the handshake is complete. If it fails, the stream is good for nothing but
 * rota_stream_error, which says why, and for being freed.
 *
 * Returns 0; ROTA_ECERT (the peer's certificate is not good), ROTA_ETLS (no TLS, or none in common,
 * or the peer refused), ROTA_ETRUNCATED (the peer closed the connection meanwhile), -ETIMEDOUT (the
 * handshake's deadline, or one around the call), -ECANCELED, -EBUSY, ROTA_ECLOSED, -EINVAL (no
 * host, or none by rota_host_parse; no protocols, or one that cannot be offered), -ENOMEM, or an
 * error of reading or writing the stream, such as -ECONNRESET. */
ROTA_SUSPENDS int rota_tls_start_client(rota_stream *s, rota_tls_context *context, const char *host,
                                        const char *const *alpn);

/* Makes a stream in use an encrypted one, with us as the server. Returns as rota_tls_start_client;
 * -EINVAL where the context has no certificate and no `choose`. */
ROTA_SUSPENDS int rota_tls_start_server(rota_stream *s, rota_tls_context *context);

/* ---- What was agreed ----
 *
 * Of a stream that does not speak TLS these return NULL, nothing, false, or -ENOTCONN. */

/* The version that was agreed on: "TLSv1.3". */
ROTA_API const char *rota_tls_version_name(const rota_stream *s);
/* The cipher that was agreed on: "TLS_AES_256_GCM_SHA384". */
ROTA_API const char *rota_tls_cipher(const rota_stream *s);
/* The protocol of ALPN that was agreed on; empty if none was. */
ROTA_API rota_str rota_tls_alpn(const rota_stream *s);
/* Whether the handshake went on with an earlier session. */
ROTA_API bool rota_tls_resumed(const rota_stream *s);
/* Whether the kernel encrypts what is written (kTLS). rota_stream_send_file then copies nothing,
 * and a write that was interrupted before it sent anything may be repeated. It takes `use_kernel`,
 * a TCP socket directly below, a kernel with CONFIG_TLS (`modprobe tls`), OpenSSL built for it, and
 * a cipher that both know. A peer that asks for new keys on the way ends such a connection. */
ROTA_API bool rota_tls_in_kernel(const rota_stream *s);
/* The host that the client asked for, as rota_host_parse writes it; NULL if it named none, or an
 * address. A server refuses a client that asks for what is not a host. */
ROTA_API const char *rota_tls_server_name(const rota_stream *s);

/* Writes the subject of the peer's certificate, as in "CN=example.org,O=Example". Returns its
 * length, -ENOENT (the peer has shown none), -ENOBUFS (more than `size` bytes, the NUL included),
 * -ENOMEM. */
ROTA_API int rota_tls_peer_subject(const rota_stream *s, char *ret_text, size_t size);
/* The SHA-256 of the peer's certificate, for who pins it. Returns 0, -ENOENT, -ENOMEM. */
ROTA_API int rota_tls_peer_fingerprint(const rota_stream *s, unsigned char ret_sha256[32]);

#ifdef __cplusplus
}
#endif

#endif
