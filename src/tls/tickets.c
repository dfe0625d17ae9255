/* The keys of a server's session tickets (RFC 5077, section 4).
 *
 *     epoch n, for PERIOD     tickets are made with its key; those of epoch n - 1 are still read,
 *                             and replaced
 *     epoch n + 1             `chain` moves on, and nothing that is left tells the keys of epoch n
 *                             - 1
 *
 * 1. A stolen key reveals the sessions of its tickets, so no key lasts, and none is kept.
 * 2. The keys of an epoch follow from the secret at the beginning and from the clock. So they are
 *    the same for all threads of a context, and for processes that were forked after it was made,
 *    without a word between them: a client may come to any of them.
 * 3. A step of the chain is a hash: it cannot be taken back. */
#include "tls/tls.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>

/* Longer than a session lasts (two hours): each ticket is good as long as that. */
#define PERIOD (240 * ROTA_MINUTE)
#define SECRET sizeof((struct rota__tls_tickets *)0)->chain

static bool derive(const unsigned char *chain, unsigned char label, unsigned char *ret_secret)
{
    unsigned len = SECRET;
    return HMAC(EVP_sha256(), chain, (int)SECRET, &label, 1, ret_secret, &len);
}

static bool derive_key(const unsigned char *chain, struct rota__tls_ticket_key *ret_key)
{
    unsigned char name[SECRET];
    bool ok = derive(chain, 'n', name) && derive(chain, 'e', ret_key->cipher) &&
              derive(chain, 'm', ret_key->mac);
    if (ok)
        memcpy(ret_key->name, name, sizeof ret_key->name);
    return ok;
}

/* There is no past key yet, so the present one takes its place. A key of zeros could be guessed. */
int rota__tls_tickets_init(struct rota__tls_tickets *tickets)
{
    *tickets = (struct rota__tls_tickets){.until = rota_now() + PERIOD};
    pthread_mutex_init(&tickets->mutex, NULL);
    bool ok = RAND_priv_bytes(tickets->chain, (int)SECRET) == 1 &&
              derive_key(tickets->chain, &tickets->present);
    tickets->past = tickets->present;
    return ok ? 0 : -ENOMEM;
}

void rota__tls_tickets_fini(struct rota__tls_tickets *tickets)
{
    pthread_mutex_destroy(&tickets->mutex);
    OPENSSL_cleanse(tickets, sizeof *tickets);
}

static bool step(struct rota__tls_tickets *tickets)
{
    unsigned char next[SECRET];
    struct rota__tls_ticket_key key;
    bool ok = derive(tickets->chain, 'c', next) && derive_key(next, &key);
    if (ok) {
        memcpy(tickets->chain, next, sizeof next);
        tickets->past = tickets->present;
        tickets->present = key;
        tickets->until += PERIOD;
    }
    OPENSSL_cleanse(next, sizeof next);
    OPENSSL_cleanse(&key, sizeof key);
    return ok;
}

static bool take_key(struct rota__tls_tickets *tickets, const unsigned char *name,
                     struct rota__tls_ticket_key *ret_key, bool *ret_is_present)
{
    bool found = true;
    pthread_mutex_lock(&tickets->mutex);
    while (found && rota_now() >= tickets->until)
        found = step(tickets);
    bool is_present = !name || memcmp(name, tickets->present.name, sizeof ret_key->name) == 0;
    found = found && (is_present || memcmp(name, tickets->past.name, sizeof ret_key->name) == 0);
    if (found)
        *ret_key = is_present ? tickets->present : tickets->past;
    pthread_mutex_unlock(&tickets->mutex);
    *ret_is_present = is_present;
    return found;
}

static bool use_key(struct rota__tls_ticket_key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, bool encrypt)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_end()};
    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, encrypt) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* OpenSSL's callback: 0 (no such key: a full handshake), 1, 2 (good, and to be replaced), -1
 * (failed). */
int rota__tls_ticket_key(SSL *ssl, unsigned char name[16], unsigned char *iv,
                         EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    struct rota__tls *t = SSL_get_app_data(ssl);
    struct rota__tls_ticket_key key;
    bool is_present;
    if (!take_key(&t->context->tickets, encrypt ? NULL : name, &key, &is_present))
        return encrypt ? -1 : 0;
    bool ok = true;
    if (encrypt) {
        memcpy(name, key.name, sizeof key.name);
        ok = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1;
    }
    ok = ok && use_key(&key, iv, cipher, mac, encrypt);
    OPENSSL_cleanse(&key, sizeof key);
    if (!ok)
        return -1;
    /* A client of TLS 1.3 uses a ticket once, so it needs another one. */
    return is_present && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
}
