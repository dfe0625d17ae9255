/* rota's side of the row of heads: parses a browser's request again and again, and prints the best
 * of the repeats, in nanoseconds a head.
 *
 *     http_head HEADS REPEATS */
#include "peers/browser_head.h"
#include "peers/clock.h"

#include "http/h1.h"

#include <stdlib.h>

static rota_http_field fields[ROTA__H1_FIELDS];

static void parse(uint64_t count)
{
    rota_str bytes = {browser_head, sizeof browser_head - 1};
    struct rota__h1_item item;
    struct rota__h1 parser;
    size_t used;

    rota__h1_init(&parser, true, NULL, fields);
    while (count--) {
        if (rota__h1_next(&parser, bytes, &used, &item) != ROTA__H1_HEAD || used != bytes.len ||
            item.head.count != 15 ||
            rota__h1_next(&parser, (rota_str){"", 0}, &used, &item) != ROTA__H1_END) {
            fputs("http_head: the head was not parsed\n", stderr);
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: http_head HEADS REPEATS\n", stderr);
        return 2;
    }
    clock_best(parse, strtoull(argv[1], NULL, 10), atoi(argv[2]));
    return 0;
}
