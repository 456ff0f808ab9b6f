/* Shifts the wall clock of a program that is started with this library preloaded, by EXPORTS_TEST_CLOCK_OFFSET_SECONDS.
 * The monotonic clocks are left alone. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset_seconds(void) {
    static volatile int is_known;
    static volatile long offset;
    if (!is_known) {
        const char *text = getenv("EXPORTS_TEST_CLOCK_OFFSET_SECONDS");
        offset = text ? atol(text) : 0;
        is_known = 1;
    }
    return offset;
}

static int is_wall_clock(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int outcome = (int)syscall(SYS_clock_gettime, clock, now);
    if (outcome == 0 && is_wall_clock(clock)) now->tv_sec += offset_seconds();
    return outcome;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int outcome = (int)syscall(SYS_gettimeofday, now, zone);
    if (outcome == 0 && now) now->tv_sec += offset_seconds();
    return outcome;
}

time_t time(time_t *result) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return (time_t)-1;
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
