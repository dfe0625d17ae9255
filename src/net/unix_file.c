/* The files of Unix sockets: made by bind(2), removed on close, left behind when a program is
 * killed.
 *
 * 1. A listener locks the directory before it looks at an existing file, until it listens. In
 *    between, its own socket would look dead to another listener, which would replace it. The lock
 *    is held for an instant. Any program that may read the directory can hold the lock for longer,
 *    so after LOCK_TIME it is ignored.
 * 2. Only sockets are removed: a dead one when its path is taken, and the listener's own on
 * close. */
#include "base/log.h"
#include "base/sys.h"
#include "net/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

/* How long the lock of a directory is waited for, in pauses. */
#define LOCK_TIME ROTA_SECOND

static bool is_abstract(const rota_address *address)
{
    return address->un.sun_path[0] == '\0';
}

/* A descriptor that holds the lock; -1 if the directory cannot be locked (binding goes on without
 * the lock); -EAGAIN if the lock is held elsewhere. */
static int directory_try_lock(const char *path)
{
    char directory[sizeof((struct sockaddr_un *)0)->sun_path];
    const char *slash = strrchr(path, '/');
    size_t len = slash > path ? (size_t)(slash - path) : 1;
    memcpy(directory, slash ? path : ".", len);
    directory[len] = '\0';
    int fd = (int)rota__sys(ENOENT, open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        return -1; /* binding will say why, if it matters */
    int err = (int)rota__sys(ENOLCK, flock(fd, LOCK_EX | LOCK_NB));
    if (err < 0)
        rota__sys_close(fd);
    return err == 0 ? fd : err == -EAGAIN ? -EAGAIN : -1;
}

/* Waits for the lock, but not for ever. -1 stands for a lock that could not be had. */
static int directory_lock(const char *path, int *ret_lock)
{
    rota_time pause = ROTA__PAUSE_FIRST, waited = 0;
    while ((*ret_lock = directory_try_lock(path)) == -EAGAIN && waited < LOCK_TIME) {
        int err = rota_sleep(pause);
        if (err < 0)
            return err;
        waited += pause;
        pause = rota__pause_after(pause);
    }
    if (*ret_lock == -EAGAIN) {
        rota_log(ROTA_LOG_WARNING, "bind %s: the directory stays locked; binding without the lock",
                 path);
        *ret_lock = -1;
    }
    return 0;
}

/* -EADDRINUSE if the socket of that file is open, else 0. */
static int file_is_dead(const rota_address *address)
{
    int probe =
        (int)rota__sys(EMFILE, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (probe < 0)
        return probe;
    int err = (int)rota__sys(EACCES, connect(probe, &address->any, address->len));
    rota__sys_close(probe);
    return err == -ECONNREFUSED || err == -ENOENT ? 0 : -EADDRINUSE;
}

static int remove_if_dead(const rota_address *address)
{
    struct stat about;
    int err = (int)rota__sys(EACCES, lstat(address->un.sun_path, &about));
    if (err < 0)
        return err == -ENOENT ? 0 : err;
    if (!S_ISSOCK(about.st_mode))
        return -ENOTSOCK;
    err = file_is_dead(address);
    if (err == 0)
        err = (int)rota__sys(EACCES, unlink(address->un.sun_path));
    return err == -ENOENT ? 0 : err;
}

/* ---- Binding with exactly the mode of the socket
 *
 * The umask reduces it, and belongs to the whole process. So a thread with a umask of its own
 * binds: then the mode is right from the first moment. To change it afterwards, without following a
 * link that was put there meanwhile, takes /proc before Linux 6.6. */

struct binding {
    int fd;
    const rota_address *address;
    int result;
};

static void *bind_without_umask(void *arg)
{
    struct binding *b = arg;
    if (unshare(CLONE_FS) == 0)
        umask(0);
    b->result = bind(b->fd, &b->address->any, b->address->len) < 0 ? -errno : 0;
    return NULL;
}

static int bind_in_thread(int fd, const rota_address *address)
{
    struct binding b = {.fd = fd, .address = address};
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&thread, NULL, bind_without_umask, &b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err != 0)
        return (int)rota__sys(EADDRINUSE, bind(fd, &address->any, address->len));
    pthread_join(thread, NULL);
    return b.result;
}

static int bind_once(int fd, const rota_address *address, bool exactly)
{
    return exactly ? bind_in_thread(fd, address)
                   : (int)rota__sys(EADDRINUSE, bind(fd, &address->any, address->len));
}

static int bind_file(int fd, const rota_address *address, bool exactly)
{
    int err = bind_once(fd, address, exactly);
    if (err != -EADDRINUSE)
        return err;
    err = remove_if_dead(address);
    return err < 0 ? err : bind_once(fd, address, exactly);
}

/* The file's mode, if the directory's ACL or, where there was no thread, the umask has taken from
 * it. A link that was put in its place is not followed. */
static int file_set_mode(const char *path, mode_t mode)
{
    struct stat about;
    int err = (int)rota__sys(EIO, lstat(path, &about));
    if (err < 0 || !S_ISSOCK(about.st_mode))
        return err < 0 ? err : -ENOTSOCK;
    if ((about.st_mode & 07777) == mode)
        return 0;
    return (int)rota__sys(EIO, fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW));
}

/* The permissions must be right from the first moment; the umask can only remove some. */
static int bind_with_mode(int fd, const rota_address *address, unsigned mode)
{
    int err = mode ? (int)rota__sys(EIO, fchmod(fd, (mode_t)mode)) : 0;
    if (err == 0)
        err = bind_file(fd, address, mode != 0);
    if (err == 0 && mode) {
        err = file_set_mode(address->un.sun_path, (mode_t)mode);
        if (err < 0)
            unlink(address->un.sun_path);
    }
    return err;
}

static int start_listening(int fd, int backlog)
{
    if (backlog == ROTA__UNIX_NO_BACKLOG)
        return 0;
    return (int)rota__sys(EADDRINUSE, listen(fd, backlog ? backlog : SOMAXCONN));
}

static int bind_locked(int fd, const rota_address *address, unsigned mode, int backlog,
                       struct rota__unix_file *ret_file)
{
    struct stat about;
    int err = bind_with_mode(fd, address, mode);
    if (err < 0)
        return err;
    err = (int)rota__sys(EIO, lstat(address->un.sun_path, &about));
    if (err == 0)
        err = start_listening(fd, backlog);
    if (err < 0)
        unlink(address->un.sun_path);
    else
        *ret_file = (struct rota__unix_file){about.st_dev, about.st_ino};
    return err;
}

static int bind_abstract(int fd, const rota_address *address, int backlog)
{
    int err = (int)rota__sys(EADDRINUSE, bind(fd, &address->any, address->len));
    return err < 0 ? err : start_listening(fd, backlog);
}

int rota__unix_bind(int fd, const rota_address *address, unsigned mode, int backlog,
                    struct rota__unix_file *ret_file)
{
    if (is_abstract(address))
        return bind_abstract(fd, address, backlog);
    int lock, err = directory_lock(address->un.sun_path, &lock);
    if (err < 0)
        return err;
    err = bind_locked(fd, address, mode, backlog, ret_file);
    rota__sys_close(lock);
    return err;
}

void rota__unix_remove(const rota_address *address, const struct rota__unix_file *file)
{
    struct stat about;
    if (!file->number || lstat(address->un.sun_path, &about) < 0)
        return;
    if (S_ISSOCK(about.st_mode) && about.st_dev == file->device && about.st_ino == file->number)
        unlink(address->un.sun_path);
}
