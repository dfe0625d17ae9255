/* Files in the directory of a case. */
#ifndef DIRECTORY_H
#define DIRECTORY_H

#include "harness.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The path of `name`; the four last ones are valid. */
static inline const char *in_directory(const char *name)
{
    static char paths[4][300];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", test_directory(), name);
    return path;
}

static inline bool exists(const char *path)
{
    struct stat about;
    return lstat(path, &about) == 0;
}

static inline void write_file(const char *name, const void *data, size_t len)
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

static inline void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

/* What is in a file, as text; valid until the next call. */
static inline const char *text_of(const char *name)
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

#endif
