/* A clock that is wrong by CLOCK_OFFSET seconds, loaded with LD_PRELOAD: for Python, in processes
   whose command line contains CLOCK_ONLY.

   Not for other libraries: Ray waits until a time of the kernel's clock, which stays right. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static long offset = 0;

__attribute__((constructor)) static void start(void) {
    const char *seconds = getenv("CLOCK_OFFSET"), *only = getenv("CLOCK_ONLY");
    char line[65536];
    size_t length;
    FILE *file;
    if (seconds == NULL || only == NULL) return;
    file = fopen("/proc/self/cmdline", "r");
    if (file == NULL) return;
    length = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    for (size_t k = 0; k < length; k++)
        if (line[k] == 0) line[k] = ' ';
    line[length] = 0;
    if (strstr(line, only) != NULL) offset = atol(seconds);
}

static long offset_for(void *caller) {
    Dl_info object;
    const char *name;
    if (offset == 0 || dladdr(caller, &object) == 0 || object.dli_fname == NULL) return 0;
    name = strrchr(object.dli_fname, '/');
    name = name == NULL ? object.dli_fname : name + 1;
    return strncmp(name, "python", 6) == 0 || strncmp(name, "libpython", 9) == 0 ? offset : 0;
}

static int now(clockid_t clock, struct timespec *result) {
    static int (*real)(clockid_t, struct timespec *) = NULL;
    if (real == NULL) real = dlsym(RTLD_NEXT, "clock_gettime");
    return real(clock, result);
}

int clock_gettime(clockid_t clock, struct timespec *result) {
    int code = now(clock, result);
    if (code == 0 && clock == CLOCK_REALTIME)
        result->tv_sec += offset_for(__builtin_return_address(0));
    return code;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (now(CLOCK_REALTIME, &exact)) return -1;
    result->tv_sec = exact.tv_sec + offset_for(__builtin_return_address(0));
    result->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec exact;
    now(CLOCK_REALTIME, &exact);
    exact.tv_sec += offset_for(__builtin_return_address(0));
    if (result != NULL) *result = exact.tv_sec;
    return exact.tv_sec;
}
