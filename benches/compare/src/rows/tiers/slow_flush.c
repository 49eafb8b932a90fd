/* Stands before fsync and fdatasync and waits a while after each. How long, in microseconds, is in the file that
 * NANOTIER_SLOW_FLUSH names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile uint32_t *delay;
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *path = getenv("NANOTIER_SLOW_FLUSH");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(uint32_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) delay = mapped;
}

static int slowed(int result) {
    int saved = errno;
    uint32_t microseconds = delay ? *delay : 0;
    if (microseconds) {
        struct timespec wait = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};
        while (nanosleep(&wait, &wait) != 0 && errno == EINTR) {
        }
    }
    errno = saved;
    return result;
}

int fsync(int file) { return slowed(real_fsync(file)); }

int fdatasync(int file) { return slowed(real_fdatasync(file)); }
