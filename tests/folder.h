/* A folder for each case, that is gone when the program has ended, however the cases did. It is on a disk, or,
 * where FOLDER_IN_MEMORY is defined, in memory if there is a place for that: quicker for many files. */
#ifndef FOLDER_H
#define FOLDER_H

#include "harness.h"

#include <rota.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder_of_program[64], folder_of_case[96];
static pid_t folder_owner;

__attribute__((constructor)) static void folder_name(void)
{
#ifdef FOLDER_IN_MEMORY
    const char *place = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/var/tmp";
#else
    const char *place = "/var/tmp";
#endif
    folder_owner = getpid();
    snprintf(folder_of_program, sizeof folder_of_program, "%s/rota-test-%d", place,
             (int)folder_owner);
}

static int folder_remove_one(const char *path, const struct stat *about, int type,
                             struct FTW *where)
{
    (void)about;
    (void)where;
    if (type == FTW_DNR && chmod(path, 0700) == 0)
        return -1;
    return remove(path);
}

static void folder_remove(const char *path)
{
    for (int tries = 0;
         tries < 10 && nftw(path, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 &&
         access(path, F_OK) == 0;
         tries++)
        continue;
}

/* Runs in each case's process, for its own folder, and at last in the program's, for all. */
__attribute__((destructor)) static void folder_cleanup(void)
{
    folder_remove(getpid() == folder_owner ? folder_of_program : folder_of_case);
}

/* Makes the case's folder if it is not there, and gives the path of `name` in it; the four last ones are valid. */
static const char *in_folder(const char *name)
{
    static char paths[4][300];
    static int next;
    if (!folder_of_case[0]) {
        snprintf(folder_of_case, sizeof folder_of_case, "%s/%d", folder_of_program, (int)getpid());
        mkdir(folder_of_program, 0755);
        CHECK_OK(mkdir(folder_of_case, 0755));
    }
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder_of_case, name);
    return path;
}

__attribute__((unused)) static void write_file(const char *name, const void *data, size_t len)
{
    int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK_OK(fd);
    for (size_t done = 0; done < len;) {
        ssize_t n = write(fd, (const char *)data + done, len - done);
        CHECK_INT(n, >, 0);
        done += (size_t)n;
    }
    close(fd);
}

__attribute__((unused)) static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

/* What is in a file, as text; valid until the next call. */
__attribute__((unused)) static const char *text_of(const char *name)
{
    static char text[8192];
    int fd = open(in_folder(name), O_RDONLY | O_CLOEXEC);
    CHECK_OK(fd);
    ssize_t n = read(fd, text, sizeof text - 1);
    CHECK_OK(n);
    close(fd);
    text[n] = '\0';
    return text;
}

/* A case whose body runs as the main task of a loop, and leaves no descriptor behind. */
#define TASK_TEST(name_)               \
    static void name_##_body(void);    \
    static int name_##_task(void *arg) \
    {                                  \
        name_##_body();                \
        return 0;                      \
    }                                  \
    TEST(name_)                        \
    {                                  \
        run_in_folder(name_##_task);   \
    }                                  \
    static void name_##_body(void)

static void run_in_folder(rota_fn *fn)
{
    in_folder("");
    int before = test_open_fds();
    CHECK_OK(rota_run(fn, NULL));
    CHECK_INT(test_open_fds(), ==, before);
}

#endif
