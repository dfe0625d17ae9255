/* Reads the input as WebSocket frames, whole and in pieces: both have to be told the same, and are
 * refused with the same code. The first byte chooses the role and the pieces. */
#include "../tests/pieces.h"
#include "fuzz.h"

#include "http/ws.h"

struct reader {
    struct rota__ws ws;
    struct rota__out told;
};

static int take(void *arg, rota_str bytes, size_t *ret_used)
{
    struct reader *r = arg;
    struct rota__ws_item item;
    int event = rota__ws_next(&r->ws, (char *)bytes.ptr, bytes.len, ret_used, &item);
    if (event > 0)
        rota__out_add_str(&r->told, item.data);
    if (event > 0 && item.last) {
        rota__out_add_number(&r->told, (unsigned)event, 10);
        rota__out_add_number(&r->told, (unsigned)item.opcode, 10);
        rota__out_add_number(&r->told, (unsigned)item.close_code, 10);
    }
    return event;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct reader whole = {.told = {0}}, split = {.told = {0}};
    rota_str frames = {(const char *)data + 1, size - 1};
    rota__ws_init(&whole.ws, data[0] & 1, data[0] & 2, 1000);
    rota__ws_init(&split.ws, data[0] & 1, data[0] & 2, 1000);
    read_in_pieces(frames, 0, size, take, &whole);
    read_in_pieces(frames, 0, (data[0] >> 2) + 1u, take, &split);
    require(whole.ws.state == split.ws.state && whole.ws.close_code == split.ws.close_code);
    require(whole.ws.state == ROTA__WS_BROKEN ||
            is_same(written(&whole.told), written(&split.told)));
    rota__out_fini(&whole.told);
    rota__out_fini(&split.told);
    return 0;
}
