/* Reads the input as multipart/form-data, whole and in pieces: both have to be told the same, and are refused alike.
 * The first byte chooses the pieces. */
#include "http/multipart.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void tell(struct rota__out *told, int event, const struct rota__multipart_item *item)
{
    if (event == ROTA__MULTIPART_PART) {
        rota__multipart_unescape(told, item->name);
        rota__multipart_unescape(told, item->filename);
        rota__out_add_str(told, item->type);
    }
    rota__out_add_str(told, item->data);
    if (event != ROTA__MULTIPART_DATA)
        rota__out_add_number(told, (unsigned)event, 10);
    require(told->err == 0);
}

static struct rota__multipart read_all(const uint8_t *data, size_t size, size_t piece,
                                       struct rota__out *told)
{
    static const struct rota__multipart_limits limits = {.head = 200, .parts = 5};
    static const char type[] = "multipart/form-data; boundary=\"b 1\"";
    struct rota__multipart m;
    struct rota__multipart_item item;
    require(rota__multipart_init(&m, (rota_str){type, sizeof type - 1}, &limits) == 0);
    int event = 0;
    for (size_t at = 0, end = 0; event >= 0 && end < size;) {
        end = size - end < piece ? size : end + piece;
        char *exact = malloc(end - at + 1);
        memcpy(exact, data + at, end - at);
        size_t unread = end - at, used;
        do {
            rota_str bytes = {exact + (end - at - unread), unread};
            event = rota__multipart_next(&m, bytes, &used, &item);
            require(used <= unread);
            unread -= used;
            if (event > 0)
                tell(told, event, &item);
        } while (event > 0);
        free(exact);
        at = end - unread;
    }
    rota__multipart_finish(&m);
    return m;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct rota__out told[2] = {{0}, {0}};
    struct rota__multipart whole = read_all(data + 1, size - 1, size, &told[0]);
    struct rota__multipart split = read_all(data + 1, size - 1, data[0] + 1u, &told[1]);
    require(whole.state == split.state && whole.status == split.status);
    require(whole.state == ROTA__MULTIPART_BROKEN ||
            (told[0].len == told[1].len &&
             (told[0].len == 0 || memcmp(told[0].ptr, told[1].ptr, told[0].len) == 0)));
    rota__out_fini(&told[0]);
    rota__out_fini(&told[1]);
    return 0;
}
