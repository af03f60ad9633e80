/* A clock that is wrong by CLOCK_OFFSET seconds, loaded with LD_PRELOAD: in processes whose command
   line contains CLOCK_ONLY, or in all where that is not set. The monotonic clock stays right. */

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
    if (seconds == NULL) return;
    if (only != NULL) {
        file = fopen("/proc/self/cmdline", "r");
        if (file == NULL) return;
        length = fread(line, 1, sizeof line - 1, file);
        fclose(file);
        for (size_t k = 0; k < length; k++)
            if (line[k] == 0) line[k] = ' ';
        line[length] = 0;
        if (strstr(line, only) == NULL) return;
    }
    offset = atol(seconds);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *) = NULL;
    if (real == NULL) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, now);
    if (code == 0 && clock == CLOCK_REALTIME) now->tv_sec += offset;
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result != NULL) *result = now.tv_sec;
    return now.tv_sec;
}
