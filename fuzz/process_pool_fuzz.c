/* The wire of a process pool: the input is what a worker sends back, whole, then byte by byte, by a
 * job that writes to its worker's socket and ends the process. The pool makes the same of it both
 * times: a result with words, or a crash; and it comes to have a worker again that works.
 *
 * The first byte: how many bytes the job has. */
#include "peer.h"

#include <rota/exec.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BYTES = 255, TRIES = 200, MINUTES = 1000 * 60 };

/* In the parent: the worker's copy of them is of the moment when it was forked. */
static rota_str script;
static size_t piece;

struct run {
    size_t size; /* of the job's bytes */
    int result;
    struct note told;
};

/* The worker has closed all other descriptors. */
static int find_socket(void)
{
    struct stat status;
    for (int fd = 3; fd < 1024; fd++) {
        if (fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode))
            return fd;
    }
    return -1;
}

static int speak(void *arg)
{
    int fd = find_socket();
    for (size_t at = 0, n; at < script.len; at += n) {
        n = script.len - at < piece ? script.len - at : piece;
        if (send(fd, script.ptr + at, n, MSG_NOSIGNAL) < 0)
            break;
    }
    _exit(0);
}

static int answer(void *arg)
{
    unsigned char *byte = arg;
    return *byte + 1;
}

/* What a worker wrote into the job's bytes, and the words of a failure. While a worker that has
 * ended pretends to sleep, the end or the deadline may come first. */
static void tell(struct run *run, const char *bytes)
{
    char text[40];
    bool lost = run->result == ROTA_ECRASHED || run->result == -ETIMEDOUT;
    snprintf(text, sizeof text, "%d", lost ? ROTA_ECRASHED : run->result);
    note_line(&run->told, (rota_str){text, strlen(text)});
    if (!lost)
        note_add(&run->told, (rota_str){bytes, run->size});
    if (lost || run->result >= 0)
        return; /* the words of a crash have the worker's number */
    const char *words = rota_error(run->result);
    require(strlen(words) <= 512);
    note_add(&run->told, (rota_str){words, strlen(words)});
}

static int use_pool(void *arg)
{
    struct run *run = arg;
    ROTA_AUTO(rota_executor) pool = NULL;
    char bytes[BYTES] = {41};
    require(rota_process_pool_new(&(rota_process_pool_options){.workers = 1}, &pool) == 0);
    ROTA_TIMEOUT (MINUTES *ROTA_MINUTE) {
        run->result = rota_executor_run_copy(pool, speak, bytes, run->size);
    }
    tell(run, bytes);
    /* A worker that lied well, and dies only now, may get the next job, too. */
    int tries = 0;
    unsigned char byte;
    do
        byte = 41;
    while (rota_executor_run_copy(pool, answer, &byte, 1) != 42 && ++tries < TRIES);
    require(tries < TRIES);
    return 0;
}

static void run_in_pieces(struct run *run, size_t size, size_t at_once)
{
    memset(run, 0, sizeof *run);
    run->size = size;
    piece = at_once;
    peer_run(use_pool, run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool began;
    if (!began)
        peer_begin();
    began = true;
    if (size < 1)
        return 0;
    struct run whole, bytes;
    script = (rota_str){(const char *)data + 1, size - 1};
    run_in_pieces(&whole, data[0], size);
    run_in_pieces(&bytes, data[0], 1);
    note_require_equal(&whole.told, &bytes.told);
    note_fini(&whole.told);
    note_fini(&bytes.told);
    return 0;
}
