/* Reads the input's first line as a proxy's setting, the second as a host, the rest as a NO_PROXY.
 * A setting that is taken has a host that is one; what a host is excepted by excepts it in other
 * spellings, too; nothing shows a password. */
#include "fuzz.h"

#include "http/chars.h"
#include "http/params.h"
#include "http/proxy.h"
#include "http/url.h"

#include <stdio.h>

static void try_setting(rota_str text)
{
    struct rota__proxy proxy;
    rota_host again;
    const char *why = NULL;
    if (rota__proxy_parse(text, &proxy, &why) < 0) {
        require(why);
        return;
    }
    require(proxy.port > 0 && proxy.port < 65536);
    require(rota_host_parse(rota__str_of(proxy.host.text), &again) == 0);
    require(rota_host_equal(&proxy.host, &again));
}

/* A password of which no part may be seen, however it stands in the text. */
static void try_redaction(rota_str text)
{
    char whole[700], shown[900];
    if (text.len > 500 || memchr(text.ptr ? text.ptr : "", '\0', text.len))
        return;
    int len = snprintf(whole, sizeof whole, "http://%.*s:Q7#W9@h/", (int)text.len, text.ptr);
    if (memmem(text.ptr ? text.ptr : "", text.len, "Q7", 2))
        return;
    rota__url_redact((rota_str){whole, (size_t)len}, shown, sizeof shown);
    rota_url url;
    bool is_url = rota_url_parse((rota_str){whole, (size_t)len}, &url) == 0 && url.host.ptr;
    require(is_url || !strstr(shown, "Q7"));
}

static void try_exceptions(rota_str text, const char *list)
{
    rota_host host, again;
    char url[ROTA__HOST_IN_URL];
    if (rota_host_parse(text, &host) < 0)
        return;
    rota__host_write(&host, true, url);
    require(rota_host_parse(rota__str_of(url), &again) == 0);
    require(rota__proxy_excepts(list, &host, 80) == rota__proxy_excepts(list, &again, 80));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size + 1);
    memcpy(exact, data, size);
    exact[size] = '\0';
    rota_str rest = {exact, size}, setting = rota__cut(&rest, '\n'), host = rota__cut(&rest, '\n');
    try_setting(setting);
    try_redaction(setting);
    try_exceptions(host, rest.ptr ? rest.ptr : "");
    free(exact);
    return 0;
}
