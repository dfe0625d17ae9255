/* Reads the input as WebSocket frames, whole and in pieces: both have to be told the same, and are refused
 * with the same code. The first byte chooses the role and the pieces. */
#include "http/ws.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void tell(struct rota__out *told, const struct rota__ws_item *item, int event)
{
    rota__out_add_str(told, item->data);
    if (item->last) {
        rota__out_add_number(told, (unsigned)event, 10);
        rota__out_add_number(told, (unsigned)item->opcode, 10);
        rota__out_add_number(told, (unsigned)item->close_code, 10);
    }
    require(told->err == 0);
}

static struct rota__ws read_all(uint8_t how, const uint8_t *data, size_t size, size_t piece,
                                struct rota__out *told)
{
    struct rota__ws ws;
    struct rota__ws_item item;
    rota__ws_init(&ws, how & 1, how & 2, 1000);
    int event = 0;
    for (size_t at = 0, end = 0; event >= 0 && end < size;) {
        end = size - end < piece ? size : end + piece;
        char *exact = malloc(end - at + 1);
        memcpy(exact, data + at, end - at);
        size_t unread = end - at, used;
        do {
            event = rota__ws_next(&ws, exact + (end - at - unread), unread, &used, &item);
            require(used <= unread);
            unread -= used;
            if (event > 0)
                tell(told, &item, event);
        } while (event > 0);
        free(exact);
        at = end - unread;
    }
    return ws;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct rota__out told[2] = {{0}, {0}};
    struct rota__ws whole = read_all(data[0], data + 1, size - 1, size, &told[0]);
    struct rota__ws split = read_all(data[0], data + 1, size - 1, (data[0] >> 2) + 1u, &told[1]);
    require(whole.state == split.state && whole.close_code == split.close_code);
    require(whole.state == ROTA__WS_BROKEN ||
            (told[0].len == told[1].len &&
             (told[0].len == 0 || memcmp(told[0].ptr, told[1].ptr, told[0].len) == 0)));
    rota__out_fini(&told[0]);
    rota__out_fini(&told[1]);
    return 0;
}
