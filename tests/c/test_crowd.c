/* Calls whose members wait for each other make the next teams smaller, for a while; calls that go well do not.
 * Linked with --wrap=clock_gettime: time passes when the test says so, however busy the machine is. */
#include <stdio.h>
#include <time.h>

#include "core/crowd.h"

enum { PROCESSORS = 4, MILLISECOND = 1000000 };

static int failures, checks;

static void expect(int held, const char *what) {
    checks++;
    if (held) return;
    failures++;
    fprintf(stderr, "FAILED: %s\n", what);
}

static long long now_ns = 1000000000LL * 1000;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    now->tv_sec = (time_t)(now_ns / 1000000000);
    now->tv_nsec = (long)(now_ns++ % 1000000000);
    return 0;
}

static void pause_for(long nanoseconds) { now_ns += nanoseconds; }

/* Calls of `team` members who leave one after the other, `apart` nanoseconds from first to last. */
static void calls(int count, int team, long apart, long long asleep, double uneven) {
    for (int i = 0; i < count; i++) {
        lf_watch watch;
        lf_watch_begin(&watch);
        for (int member = 0; member < team; member++) lf_watch_enter(&watch);
        pause_for(MILLISECOND);
        lf_watch_leave(&watch);
        pause_for(apart);
        for (int member = 1; member < team; member++) lf_watch_leave(&watch);
        lf_watch_end(&watch, team, PROCESSORS, asleep, uneven);
    }
}

/* Late calls, until they bound something. */
static void suffer(int team, long apart, long long asleep) {
    for (int i = 0; i < 60 && lf_crowd_bound(team, PROCESSORS) == team; i++) calls(1, team, apart, asleep, 0);
}

int main(void) {
    const long late = 5 * MILLISECOND;
    expect(lf_crowd_bound(9, PROCESSORS) == PROCESSORS, "never more than there are processors");
    expect(lf_crowd_bound(2, PROCESSORS) == 2, "nobody known: no other bound");
    calls(1, PROCESSORS, late, 0, 0);
    calls(30, PROCESSORS, 0, 0, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == PROCESSORS, "one slow call among many bounds nothing");
    calls(5, PROCESSORS, late, 0, 0.9);
    expect(lf_crowd_bound(9, PROCESSORS) == PROCESSORS, "shares that differ are no crowd");

    expect(!lf_crowd_lately(), "no crowd yet");
    suffer(PROCESSORS, late, 0);
    expect(lf_crowd_lately(), "a crowd just now");
    expect(lf_crowd_bound(9, PROCESSORS) == PROCESSORS - 1, "after waits at the end, one thread less");
    suffer(PROCESSORS - 1, 0, (PROCESSORS - 2) * MILLISECOND);
    expect(lf_crowd_bound(9, PROCESSORS) == PROCESSORS - 2, "after waits at barriers, another one less");
    suffer(2, late, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == 1 && lf_crowd_bound(1, PROCESSORS) == 1, "never less than one");

    pause_for(500L * MILLISECOND);
    expect(lf_crowd_bound(9, PROCESSORS) == 2, "after a pause, an attempt with one more");
    calls(40, 2, 0, 0, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == 2, "which lasts where it went well");
    for (int team = 3; team <= PROCESSORS; team++) {
        pause_for(500L * MILLISECOND);
        expect(lf_crowd_bound(9, PROCESSORS) == team, "and so on, up to all");
        calls(40, team, 0, 0, 0);
    }
    pause_for(6000L * MILLISECOND);
    expect(!lf_crowd_lately(), "a crowd is forgotten");

    lf_crowd_ignore(1);
    calls(4, PROCESSORS, late, 0, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == PROCESSORS, "ignored");
    printf("%d passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
