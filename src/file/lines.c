/* Lines, and what is read ahead for them. */
#include "file/file.h"

#include <string.h>

#define STEP 16384
#define CALL "read a line of"

void rota_file_set_limit(rota_file *file, size_t limit)
{
    file->limit = limit;
}

/* Copies from `ahead` to the front of `iov`. */
static size_t copy_ahead(rota_file *file, const struct iovec *iov, int count)
{
    size_t copied = 0;
    for (int i = 0; i < count && rota__buffer_count(&file->ahead); i++) {
        size_t n = rota__buffer_count(&file->ahead);
        if (n > iov[i].iov_len)
            n = iov[i].iov_len;
        memcpy(iov[i].iov_base, rota__buffer_front(&file->ahead), n);
        rota__buffer_take(&file->ahead, n);
        copied += n;
    }
    return copied;
}

static ssize_t read_piece(rota_file *file, struct iovec piece, size_t skip, size_t before)
{
    piece.iov_base = (char *)piece.iov_base + skip;
    piece.iov_len -= skip;
    return rota__file_read_at(file, &piece, 1, file->position + (int64_t)before);
}

ssize_t rota__file_read_ahead(rota_file *file, const struct iovec *iov, int count)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    size_t done = copy_ahead(file, iov, count), before = 0;
    for (int i = 0; i < count; before += iov[i++].iov_len) {
        if (done >= before + iov[i].iov_len)
            continue;
        ssize_t n = read_piece(file, iov[i], done - before, done);
        if (n <= 0)
            break; /* what was ahead is there; the next call tells of the error */
        done += (size_t)n;
    }
    return (ssize_t)done;
}

/* Reads once, so that `ahead` holds at most `most` bytes; it holds less now. */
static ssize_t fill(rota_file *file, size_t most)
{
    size_t count = rota__buffer_count(&file->ahead);
    size_t room = most - count < STEP ? most - count : STEP;
    if (!rota__buffer_reserve(&file->ahead, room))
        return -ENOMEM;
    struct iovec iov = {file->ahead.data + file->ahead.tail, room};
    ssize_t n = rota__file_read_at(file, &iov, 1, file->position + (int64_t)count);
    if (n > 0)
        file->ahead.tail += (size_t)n;
    return n;
}

/* How long the next line is with its end; 0 at the end of the file; or an error. */
static ssize_t find_line(rota_file *file)
{
    for (size_t from = 0;;) {
        size_t count = rota__buffer_count(&file->ahead), limit = rota__file_line_limit(file);
        size_t end = count < limit ? count : limit;
        char *front = rota__buffer_front(&file->ahead);
        char *found = end > from ? memchr(front + from, '\n', end - from) : NULL;
        if (found)
            return found - front + 1;
        if (count >= limit)
            return ROTA_ELIMIT;
        from = end;
        ssize_t n = fill(file, limit);
        if (n <= 0)
            return n < 0 ? n : (ssize_t)count;
    }
}

static void take_line(rota_file *file, size_t len, rota_str *ret_line)
{
    char *line = rota__buffer_front(&file->ahead);
    size_t end = len;
    if (line[end - 1] == '\n')
        end -= end > 1 && line[end - 2] == '\r' ? 2 : 1;
    *ret_line = (rota_str){line, end};
    rota__buffer_take(&file->ahead, len);
    file->position += (int64_t)len;
    line[end] = '\0';
}

static int read_line(rota_file *file, rota_str *ret_line)
{
    ssize_t len = find_line(file);
    if (len <= 0)
        return (int)len;
    if (file->gate.closed)
        return ROTA_ECLOSED; /* the buffer goes when this call leaves */
    take_line(file, (size_t)len, ret_line);
    return 1;
}

int rota_file_read_line(rota_file *file, rota_str *ret_line)
{
    int err = rota__suspend_check();
    if (err == 0)
        err = rota__file_enter(file, ROTA__FILE_AT_POSITION);
    if (err < 0)
        return rota__file_refused(err, CALL, file);
    int more = read_line(file, ret_line);
    return (int)rota__file_leave(file, ROTA__FILE_AT_POSITION, more, CALL);
}

static int next_line(void *self, void **ret_item)
{
    rota_file *file = self;
    int more = rota_file_read_line(file, &file->line);
    if (more > 0)
        *ret_item = &file->line;
    return more;
}

rota_iter rota_file_lines(rota_file *file)
{
    return (rota_iter){next_line, file};
}
