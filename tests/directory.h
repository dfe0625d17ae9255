/* A directory for each case, that is gone when the program has ended, however the cases did. It is on a disk, or,
 * where DIRECTORY_IN_MEMORY is defined, in memory if there is a place for that: quicker for many files. */
#ifndef DIRECTORY_H
#define DIRECTORY_H

#include "harness.h"

#include <rota.h>

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory_of_program[64], directory_of_case[96];
static pid_t directory_owner;

__attribute__((constructor)) static void directory_name(void)
{
#ifdef DIRECTORY_IN_MEMORY
    const char *place = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/var/tmp";
#else
    const char *place = "/var/tmp";
#endif
    directory_owner = getpid();
    snprintf(directory_of_program, sizeof directory_of_program, "%s/rota-test-%d", place,
             (int)directory_owner);
}

static int directory_remove_one(const char *path, const struct stat *about, int type,
                                struct FTW *where)
{
    (void)about;
    (void)where;
    if (type == FTW_DNR && chmod(path, 0700) == 0)
        return -1;
    return remove(path);
}

static void directory_remove(const char *path)
{
    for (int tries = 0;
         tries < 10 && nftw(path, directory_remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 &&
         access(path, F_OK) == 0;
         tries++)
        continue;
}

/* Runs in each case's process, for its own directory, and at last in the program's, for all. */
__attribute__((destructor)) static void directory_cleanup(void)
{
    directory_remove(getpid() == directory_owner ? directory_of_program : directory_of_case);
}

/* Makes the case's directory if it is not there, and gives the path of `name` in it; the four last ones are valid. */
static const char *in_directory(const char *name)
{
    static char paths[4][300];
    static int next;
    if (!directory_of_case[0]) {
        snprintf(directory_of_case, sizeof directory_of_case, "%s/%d", directory_of_program,
                 (int)getpid());
        mkdir(directory_of_program, 0755);
        CHECK_OK(mkdir(directory_of_case, 0755));
    }
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory_of_case, name);
    return path;
}

__attribute__((unused)) static void write_file(const char *name, const void *data, size_t len)
{
    int fd = open(in_directory(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
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
    int fd = open(in_directory(name), O_RDONLY | O_CLOEXEC);
    CHECK_OK(fd);
    ssize_t n = read(fd, text, sizeof text - 1);
    CHECK_OK(n);
    close(fd);
    text[n] = '\0';
    return text;
}

/* A case whose body runs as the main task of a loop, and leaves no descriptor behind. */
#define TASK_TEST(name_)                \
    static void name_##_body(void);     \
    static int name_##_task(void *arg)  \
    {                                   \
        name_##_body();                 \
        return 0;                       \
    }                                   \
    TEST(name_)                         \
    {                                   \
        run_in_directory(name_##_task); \
    }                                   \
    static void name_##_body(void)

static void run_in_directory(rota_fn *fn)
{
    in_directory("");
    int before = test_open_fds();
    CHECK_OK(rota_run(fn, NULL));
    CHECK_INT(test_open_fds(), ==, before);
}

#endif
