/*
 * Stands between a program and the C library, and makes writes below one directory fail, or ends the
 * program in front of one, as a crash at that moment would. The test says when, through a file that
 * both have open.
 *
 *   FAULTS_BELOW    what the path of a file has to contain
 *   FAULTS_CONTROL  the file: three numbers of 32 bits, see struct control
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum mode { NOTHING, KILL, TEAR, SYNC_FAILS, WRITE_FAILS, DISK_FULL, READ_FAILS };
enum call { SYNC, WRITE, READ, OTHER };

static struct control {
    _Atomic int mode;      /* what to do */
    _Atomic int countdown; /* KILL and TEAR: in front of which call; the others: from which one on */
    _Atomic int hits;      /* how many calls there were since the test last looked */
} *control;
static const char *below;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAULTS_CONTROL");
    below = getenv("FAULTS_BELOW");
    int file = path && below ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    control = mapped == MAP_FAILED ? NULL : mapped;
    close(file);
}

static int concerns(int fd)
{
    char link[40], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, below) != NULL;
}

/* The error to answer with, 0 for none, or -1 where half of what is to be written has to be. */
static int fault(enum call call, int matches)
{
    if (!control || !matches)
        return 0;
    int mode = atomic_load(&control->mode);
    if (mode == NOTHING || (call == READ) != (mode == READ_FAILS))
        return 0;
    if (mode == SYNC_FAILS && call != SYNC)
        return 0;
    if ((mode == WRITE_FAILS || mode == DISK_FULL) && call != WRITE)
        return 0;
    atomic_fetch_add(&control->hits, 1);
    int left = atomic_fetch_sub(&control->countdown, 1);
    switch (mode) {
    case KILL:
    case TEAR:
        if (left > 1)
            return 0;
        if (mode == TEAR && call == WRITE)
            return -1;
        kill(getpid(), SIGKILL);
        pause();
        return 0;
    case DISK_FULL:
        return left > 1 ? 0 : ENOSPC;
    default:
        return left > 1 ? 0 : EIO;
    }
}

static int concerns_fd(int fd) { return control && atomic_load(&control->mode) && concerns(fd); }

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define FAIL(error) do { errno = (error); return -1; } while (0)

#define WRITING(name, parameters, arguments) \
    ssize_t name parameters \
    { \
        REAL(name); \
        int error = fault(WRITE, concerns_fd(fd)); \
        if (error > 0) \
            FAIL(error); \
        if (error < 0) { \
            size /= 2; \
            (void)!real arguments; \
            kill(getpid(), SIGKILL); \
            pause(); \
        } \
        return real arguments; \
    }

WRITING(write, (int fd, const void *bytes, size_t size), (fd, bytes, size))
WRITING(pwrite, (int fd, const void *bytes, size_t size, off_t at), (fd, bytes, size, at))
WRITING(pwrite64, (int fd, const void *bytes, size_t size, off64_t at), (fd, bytes, size, at))

#define CALLING(name, kind, matches, parameters, arguments) \
    int name parameters \
    { \
        REAL(name); \
        int error = fault(kind, matches); \
        if (error > 0) \
            FAIL(error); \
        return real arguments; \
    }

CALLING(fsync, SYNC, concerns_fd(fd), (int fd), (fd))
CALLING(fdatasync, SYNC, concerns_fd(fd), (int fd), (fd))
CALLING(ftruncate, OTHER, concerns_fd(fd), (int fd, off_t size), (fd, size))
CALLING(ftruncate64, OTHER, concerns_fd(fd), (int fd, off64_t size), (fd, size))
CALLING(rename, OTHER, control && strstr(to, below), (const char *from, const char *to), (from, to))
CALLING(unlink, OTHER, control && strstr(path, below), (const char *path), (path))

#define READING(name, parameters, arguments) \
    ssize_t name parameters \
    { \
        REAL(name); \
        int error = fault(READ, concerns_fd(fd)); \
        if (error > 0) \
            FAIL(error); \
        return real arguments; \
    }

READING(pread, (int fd, void *bytes, size_t size, off_t at), (fd, bytes, size, at))
READING(pread64, (int fd, void *bytes, size_t size, off64_t at), (fd, bytes, size, at))
READING(read, (int fd, void *bytes, size_t size), (fd, bytes, size))
