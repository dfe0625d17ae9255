/* Public suffixes: the list of publicsuffix.org that libpsl was built with. A newer list on the
 * disk is not used, because reading it would block. */
#include "http/cookie.h"

#include <libpsl.h>
#include <string.h>

bool rota__cookie_is_public_suffix(const char *domain)
{
    const psl_ctx_t *list = psl_builtin();
    return list ? psl_is_public_suffix(list, domain) : !strchr(domain, '.');
}
