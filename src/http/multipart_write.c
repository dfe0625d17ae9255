/* Writing multipart/form-data as browsers do (WHATWG HTML, "multipart/form-data encoding
 * algorithm"). */
#include "http/chars.h"
#include "http/multipart.h"

#include <errno.h>
#include <sys/random.h>

int rota__boundary_new(char boundary[ROTA__BOUNDARY_SIZE])
{
    unsigned char bytes[(ROTA__BOUNDARY_SIZE - 1) / 2];
    if (getrandom(bytes, sizeof bytes, 0) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof bytes; i++) {
        boundary[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        boundary[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    boundary[ROTA__BOUNDARY_SIZE - 1] = '\0';
    return 0;
}

void rota__multipart_write_type(struct rota__out *out, const char *boundary)
{
    rota__out_add_literal(out, "multipart/form-data; boundary=");
    rota__out_add(out, boundary, strlen(boundary));
}

void rota__multipart_write_delimiter(struct rota__out *out, const char *boundary, bool first)
{
    if (first)
        rota__out_add_literal(out, "--");
    else
        rota__out_add_literal(out, "\r\n--");
    rota__out_add(out, boundary, strlen(boundary));
}

/* A backslash at the end would quote the closing quote for some. */
static bool is_name(rota_str s)
{
    if (s.len && s.ptr[s.len - 1] == '\\')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!rota__char_is(s.ptr[i], ROTA__CHAR_VALUE) && s.ptr[i] != '\r' && s.ptr[i] != '\n')
            return false;
    }
    return true;
}

/* `mends`: a line end of any kind becomes CRLF, which holds for names of fields but not of
 * files. */
static void write_escaped(struct rota__out *out, rota_str s, bool mends)
{
    for (size_t i = 0; i < s.len; i++) {
        bool pair = s.ptr[i] == '\r' && i + 1 < s.len && s.ptr[i + 1] == '\n';
        if (s.ptr[i] == '"')
            rota__out_add_literal(out, "%22");
        else if ((mends || pair) && (s.ptr[i] == '\r' || s.ptr[i] == '\n'))
            rota__out_add_literal(out, "%0D%0A");
        else if (s.ptr[i] == '\r')
            rota__out_add_literal(out, "%0D");
        else if (s.ptr[i] == '\n')
            rota__out_add_literal(out, "%0A");
        else
            rota__out_add(out, s.ptr + i, 1);
        i += pair;
    }
}

int rota__multipart_write_part(struct rota__out *out, const char *boundary,
                               const struct rota__part *part, bool first)
{
    rota_str type = part->type;
    if (part->filename.ptr && !type.len)
        type = (rota_str){"application/octet-stream", 24};
    if (!is_name(part->name) || !is_name(part->filename) ||
        !rota__chars_are(type, ROTA__CHAR_VALUE))
        return -EINVAL;
    rota__multipart_write_delimiter(out, boundary, first);
    rota__out_add_literal(out, "\r\nContent-Disposition: form-data; name=\"");
    write_escaped(out, part->name, true);
    if (part->filename.ptr) {
        rota__out_add_literal(out, "\"; filename=\"");
        write_escaped(out, part->filename, false);
    }
    rota__out_add_literal(out, "\"\r\n");
    if (type.len) {
        rota__out_add_literal(out, "Content-Type: ");
        rota__out_add_str(out, type);
        rota__out_add_literal(out, "\r\n");
    }
    rota__out_add_literal(out, "\r\n");
    return out->err;
}

int rota__multipart_write_end(struct rota__out *out, const char *boundary, bool none)
{
    rota__multipart_write_delimiter(out, boundary, none);
    rota__out_add_literal(out, "--\r\n");
    return out->err;
}

int rota__multipart_length(const char *boundary, const struct rota__part *parts, size_t count,
                           uint64_t *ret_length)
{
    struct rota__out heads = {0};
    uint64_t data = 0;
    int err = 0;
    for (size_t i = 0; i < count && err == 0; i++) {
        err = rota__multipart_write_part(&heads, boundary, &parts[i], i == 0);
        data += parts[i].length;
    }
    if (err == 0)
        err = rota__multipart_write_end(&heads, boundary, count == 0);
    if (err == 0)
        *ret_length = heads.len + data;
    rota__out_fini(&heads);
    return err;
}
