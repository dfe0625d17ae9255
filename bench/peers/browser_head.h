/* A request as Firefox makes it: 700 bytes. */
#pragma once

static const char browser_head[] =
    "GET /shop/articles/2154?sort=price&page=3 HTTP/1.1\r\n"
    "Host: www.example.org\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: "
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://www.example.org/shop/articles?sort=price&page=2\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=0f8b5a3c6d1e4f7a9b2c; theme=dark; consent=necessary; "
    "basket=7c1d2e5f8a904b36\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-User: ?1\r\n"
    "If-None-Match: \"5f2b8a-9c41\"\r\n"
    "Priority: u=0, i\r\n"
    "\r\n";
