#include "http/ws_key.h"
#include "http/base64.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/random.h>

#define RANDOM 16
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* section 1.3 */

int rota__ws_key_new(char key[ROTA__WS_KEY_LEN])
{
    unsigned char bytes[RANDOM];
    if (getrandom(bytes, sizeof bytes, 0) < 0)
        return -errno;
    rota__base64_encode(key, bytes, sizeof bytes);
    return 0;
}

static int check_key(rota_str key)
{
    struct rota__out bytes = {0};
    int err = key.len == ROTA__WS_KEY_LEN ? rota__base64_decode(&bytes, key) : -EINVAL;
    if (err == 0 && bytes.len != RANDOM)
        err = -EINVAL;
    rota__out_fini(&bytes);
    return err;
}

int rota__ws_key_accept(rota_str key, char accept[ROTA__WS_ACCEPT_LEN])
{
    char text[ROTA__WS_KEY_LEN + sizeof GUID];
    unsigned char hash[SHA_DIGEST_LENGTH];
    int err = check_key(key);
    if (err < 0)
        return err;
    memcpy(text, key.ptr, ROTA__WS_KEY_LEN);
    memcpy(text + ROTA__WS_KEY_LEN, GUID, sizeof GUID);
    if (!EVP_Digest(text, sizeof text - 1, hash, NULL, EVP_sha1(), NULL))
        return -ENOMEM;
    rota__base64_encode(accept, hash, sizeof hash);
    return 0;
}
