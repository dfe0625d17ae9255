/* The same head by http_parser, once of node.js; a slice of each name and value is kept, as rota's
 * parser does.
 *
 *     http_parser_head HEADS REPEATS */
#include "browser_head.h"
#include "clock.h"

#include <http_parser.h>
#include <stdlib.h>

struct slice {
    const char *at;
    size_t length;
};

static struct slice target, names[100], values[100];
static size_t count;

static int keep(struct slice *slice, const char *at, size_t length)
{
    *slice = (struct slice){at, length};
    return 0;
}

static int on_url(http_parser *parser, const char *at, size_t length)
{
    (void)parser;
    return keep(&target, at, length);
}

static int on_name(http_parser *parser, const char *at, size_t length)
{
    (void)parser;
    return keep(&names[count], at, length);
}

static int on_value(http_parser *parser, const char *at, size_t length)
{
    (void)parser;
    return keep(&values[count++], at, length);
}

static const http_parser_settings settings = {
    .on_url = on_url, .on_header_field = on_name, .on_header_value = on_value};

static void parse(uint64_t heads)
{
    http_parser parser;

    http_parser_init(&parser, HTTP_REQUEST);
    while (heads--) {
        count = 0;
        if (http_parser_execute(&parser, &settings, browser_head, sizeof browser_head - 1) !=
                sizeof browser_head - 1 ||
            count != 15) {
            fputs("http_parser_head: the head was not parsed\n", stderr);
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    clock_best(parse, strtoull(argv[1], NULL, 10), atoi(argv[2]));
    return 0;
}
