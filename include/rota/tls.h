/* tls: encrypted streams, by OpenSSL 3. Part of a separate library (pkg-config rota-tls); not
 * included by <rota.h>.
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
 * A TLS stream is used like any other stream. It starts as a plain one, and may stay plain for a
 * while: data exchanged before the start is not encrypted, data exchanged afterwards is (STARTTLS
 * and similar protocols).
 *
 * Certificates are verified, including the host name, unless the option
 * insecure_accept_any_certificate is set. The host must be among the certificate's subjectAltNames;
 * the common name is ignored (RFC 9525). Versions are TLS 1.2 and 1.3. Sessions are resumed if both
 * sides support it.
 *
 * Closing. rota_stream_shutdown sends close_notify, which tells the peer that no more data follows;
 * reading goes on. A connection that ends without the peer's close_notify may have been cut by an
 * attacker, so reading returns ROTA_ETRUNCATED instead of the end of the stream. Closing a stream
 * sends close_notify and waits for the peer's, for at most a second.
 *
 * Cancelling. Encrypted data cannot be taken back. If a write or a flush is cancelled or timed out
 * while it waits for a slow peer, the write side ends: later writes return -EPIPE. Reading goes on.
 *
 * OpenSSL allocates its memory itself (CRYPTO_set_mem_functions), not through rota's allocator. */
#ifndef ROTA_TLS_H
#define ROTA_TLS_H

#include <rota/net.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Settings ---- */

/* The settings of TLS: trusted authorities, own certificate, protocols. A context does not change
 * once it is made. Any number of streams may use it at once, on any threads, as clients and as
 * servers; they keep it alive. */
typedef struct rota_tls_context rota_tls_context;

typedef enum rota_tls_version {
    /* as min_version: 1.2; as max_version: the latest */
    ROTA_TLS_DEFAULT,
    ROTA_TLS_1_2,
    ROTA_TLS_1_3
} rota_tls_version;

typedef enum rota_tls_clients {
    /* clients are not asked for a certificate */
    ROTA_TLS_CLIENTS_ANONYMOUS,
    /* clients may present a certificate, which must then be valid */
    ROTA_TLS_CLIENTS_MAY_IDENTIFY,
    ROTA_TLS_CLIENTS_MUST_IDENTIFY
} rota_tls_clients;

/* Selects the certificate of a server by the name that the client asks for. `server_name` is in
 * canonical form, as rota_host_parse writes it; NULL if the client named none. Return the context
 * whose certificate and key to use; all other settings come from the context of the connection.
 * Return NULL to refuse the connection. Must not suspend. */
typedef rota_tls_context *rota_tls_choose_fn(void *arg, const char *server_name);

/* Zero selects the default of each field. Files are in PEM format. After rota_tls_context_new
 * nothing is borrowed except `choose_arg`. */
typedef struct rota_tls_options {
    /* Authorities to trust, all three sources together. Default: those of the system. */
    const char *ca_file;
    /* A directory prepared by `openssl rehash`. */
    const char *ca_path;
    rota_str ca_pem;
    /* Revocation lists, one of each authority in the chains. */
    const char *crl_file;
    /* Disables verification: anybody on the way can read and change everything. */
    bool insecure_accept_any_certificate;

    /* Own certificate, followed by intermediate ones, and its key. Without `key_file` the key is in
     * `cert_file`. */
    const char *cert_file, *key_file;
    rota_str cert_pem, key_pem;

    /* Servers: whether clients identify themselves by a certificate. Needs one of the authorities
     * above. */
    rota_tls_clients clients;
    rota_tls_choose_fn *choose;
    void *choose_arg;

    /* Protocols for ALPN, such as "h2", the preferred one first, then NULL; at most 255 bytes each.
     * A server refuses clients that offer only other protocols. */
    const char *const *alpn;
    rota_tls_version min_version, max_version;
    /* Cipher list of TLS 1.2, as in ciphers(1). Default: OpenSSL's. */
    const char *ciphers;
    /* Cipher suites of TLS 1.3. Default: OpenSSL's. */
    const char *ciphersuites;

    /* How many sessions a client keeps for resumption. Default: 256. */
    size_t sessions;
    /* Makes every handshake a full one. Otherwise servers give tickets to clients, which present
     * them to resume a session. The keys of the tickets change every four hours, and old tickets
     * are accepted for another four. The keys are the same in all threads that use the context, and
     * in processes forked after it was made. */
    bool no_resumption;
    /* Time limit of a handshake. Default: 10 s; ROTA_NEVER: no limit. */
    rota_time handshake_timeout;
    /* Let the kernel encrypt written data where it can: see rota_tls_in_kernel. */
    bool use_kernel;
} rota_tls_options;

/* Makes a context. Reads the files, which blocks the thread. May be called on any thread, also
 * outside tasks. `options` may be NULL.
 *
 * Returns 0, -ENOMEM, -EINVAL (the options contradict each other), or ROTA_ETLS (a file cannot be
 * read or has the wrong contents). rota_error says what is wrong.
 *
 * Worker processes of a process pool have neither the program's keys nor its contexts: in a worker,
 * calls with such a context return ROTA_ECLOSED. A job that uses TLS must make its own context. */
ROTA_API int rota_tls_context_new(const rota_tls_options *options, rota_tls_context **ret_context);

/* Releases the context; streams that use it are not affected. Accepts NULL, returns NULL.
 * ROTA_AUTO(rota_tls_context) calls this. */
ROTA_API rota_tls_context *rota_tls_context_free(rota_tls_context *context);
ROTA_DEFINE_AUTO(rota_tls_context, rota_tls_context_free);

/* ---- Starting ---- */

/* Connects as rota_tcp_connect does, then starts TLS as rota_tls_start_client does. A deadline
 * around the call covers both.
 *
 * Returns 0, or an error of either call. */
ROTA_SUSPENDS int rota_tls_connect(const char *host, int port, rota_tls_context *context,
                                   const rota_connect_options *options, rota_stream **ret_stream);

/* Starts TLS on a stream, as the client. The peer must present a certificate for `host`, a name or
 * an address; NULL is allowed only with insecure_accept_any_certificate. `alpn` lists the protocols
 * to offer instead of the context's; NULL offers the context's. No other task may be inside a call
 * on the stream. Output that the stream holds back is sent first, unencrypted.
 *
 * When this returns 0 the handshake is complete. After an error you can only call
 * rota_stream_error, which gives the reason, and free the stream.
 *
 * Returns 0; ROTA_ECERT (the peer's certificate is not valid), ROTA_ETLS (the peer does not speak
 * TLS, has no version, cipher or protocol in common, or refused), ROTA_ETRUNCATED (the peer closed
 * the connection during the handshake), -ETIMEDOUT (`handshake_timeout`, or a deadline around the
 * call), -ECANCELED, -EBUSY, ROTA_ECLOSED, -EINVAL (no host, or one that rota_host_parse refuses;
 * an empty list of protocols, or an invalid one), -ENOMEM, or an error of reading or writing the
 * stream, such as -ECONNRESET. */
ROTA_SUSPENDS int rota_tls_start_client(rota_stream *s, rota_tls_context *context, const char *host,
                                        const char *const *alpn);

/* Starts TLS on a stream, as the server. Returns as rota_tls_start_client does; -EINVAL if the
 * context has neither a certificate nor `choose`. */
ROTA_SUSPENDS int rota_tls_start_server(rota_stream *s, rota_tls_context *context);

/* ---- Properties of a connection ----
 *
 * On a stream without TLS these return NULL, an empty string, false, or -ENOTCONN. */

/* Returns the negotiated version, such as "TLSv1.3". */
ROTA_API const char *rota_tls_version_name(const rota_stream *s);
/* Returns the negotiated cipher, such as "TLS_AES_256_GCM_SHA384". */
ROTA_API const char *rota_tls_cipher(const rota_stream *s);
/* Returns the protocol negotiated by ALPN; empty if there is none. */
ROTA_API rota_str rota_tls_alpn(const rota_stream *s);
/* Returns whether the handshake resumed an earlier session. */
ROTA_API bool rota_tls_resumed(const rota_stream *s);
/* Returns whether the kernel encrypts written data (kTLS). If so, rota_stream_send_file copies
 * nothing, and a write that was interrupted before it sent anything may be repeated. This needs the
 * option `use_kernel`, a TCP socket directly below, a kernel with CONFIG_TLS (`modprobe tls`), an
 * OpenSSL built for it, and a cipher that both support. The connection ends if the peer asks for
 * new keys. */
ROTA_API bool rota_tls_in_kernel(const rota_stream *s);
/* Returns the host name that the client asked for, in the form of rota_host_parse; NULL if the
 * client named none, or an address. A server refuses a client that asks for an invalid host. */
ROTA_API const char *rota_tls_server_name(const rota_stream *s);

/* Writes the subject of the peer's certificate, such as "CN=example.org,O=Example". Returns its
 * length, -ENOENT (the peer presented no certificate), -ENOBUFS (longer than `size` bytes,
 * including the NUL), -ENOMEM. */
ROTA_API int rota_tls_peer_subject(const rota_stream *s, char *ret_text, size_t size);
/* Gets the SHA-256 of the peer's certificate, for pinning. Returns 0, -ENOENT, -ENOMEM. */
ROTA_API int rota_tls_peer_fingerprint(const rota_stream *s, unsigned char ret_sha256[32]);

#ifdef __cplusplus
}
#endif

#endif
