/* What dl_test loads: two tasks that wait in handlers at once, and leave them crosswise. */
#include <rota/task.h>

#include <stdexcept>
#include <string>

static int wait_in_handler(void *arg)
{
    int number = *static_cast<int *>(arg);
    std::string words = "exception number " + std::to_string(number) + ", in memory of its own";
    try {
        try {
            throw std::runtime_error(words);
        } catch (...) {
            if (rota_sleep(number * ROTA_MILLISECOND) == 0)
                throw;
        }
    } catch (const std::exception &e) {
        return words == e.what() ? 0 : -EIO;
    }
    return -ECANCELED;
}

extern "C" int throw_and_wait(void *)
{
    int one = 1, two = 2;
    rota_gather_call calls[] = {{wait_in_handler, &one, 0}, {wait_in_handler, &two, 0}};
    return rota_gather(calls, 2);
}
