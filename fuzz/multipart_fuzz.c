/* Reads the input as multipart/form-data, whole and in pieces: both have to be told the same, and
 * are refused alike. The first byte chooses the pieces. */
#include "../tests/pieces.h"
#include "fuzz.h"

#include "http/multipart.h"

struct reader {
    struct rota__multipart m;
    struct rota__out told;
};

static int take(void *arg, rota_str bytes, size_t *ret_used)
{
    struct reader *r = arg;
    struct rota__multipart_item item;
    int event = rota__multipart_next(&r->m, bytes, ret_used, &item);
    if (event == ROTA__MULTIPART_PART) {
        rota__multipart_unescape(&r->told, item.name);
        rota__multipart_unescape(&r->told, item.filename);
        rota__out_add_str(&r->told, item.type);
    }
    if (event > 0)
        rota__out_add_str(&r->told, item.data);
    if (event > 0 && event != ROTA__MULTIPART_DATA)
        rota__out_add_number(&r->told, (unsigned)event, 10);
    return event;
}

static void read_all(struct reader *r, rota_str form, size_t piece)
{
    static const struct rota__multipart_limits limits = {.head = 200, .parts = 5};
    static const char type[] = "multipart/form-data; boundary=\"b 1\"";
    require(rota__multipart_init(&r->m, (rota_str){type, sizeof type - 1}, &limits) == 0);
    read_in_pieces(form, 0, piece, take, r);
    rota__multipart_finish(&r->m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct reader whole = {.told = {0}}, split = {.told = {0}};
    rota_str form = {(const char *)data + 1, size - 1};
    read_all(&whole, form, size);
    read_all(&split, form, data[0] + 1u);
    require(whole.m.state == split.m.state && whole.m.status == split.m.status);
    require(whole.m.state == ROTA__MULTIPART_BROKEN ||
            is_same(written(&whole.told), written(&split.told)));
    rota__out_fini(&whole.told);
    rota__out_fini(&split.told);
    return 0;
}
