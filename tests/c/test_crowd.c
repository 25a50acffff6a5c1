/* Calls whose members wait for each other make the next teams smaller, for a while; calls that go well do not. */
#include <stdio.h>

#include "core/crowd.h"

enum { PROCESSORS = 4, MILLISECOND = 1000000 };

static int failures, checks;

static void expect(int held, const char *what) {
    checks++;
    if (held) return;
    failures++;
    fprintf(stderr, "FAILED: %s\n", what);
}

static void pause_for(long nanoseconds) {
    const long long until = lf_now_ns() + nanoseconds;
    while (lf_now_ns() < until) continue;
}

/* A call of `team` members who leave one after the other, `apart` nanoseconds from first to last. */
static void call(int team, long apart, long long asleep, double uneven) {
    lf_watch watch;
    lf_watch_begin(&watch);
    for (int member = 0; member < team; member++) lf_watch_enter(&watch);
    pause_for(MILLISECOND);
    lf_watch_leave(&watch);
    pause_for(apart);
    for (int member = 1; member < team; member++) lf_watch_leave(&watch);
    lf_watch_end(&watch, team, PROCESSORS, asleep, uneven);
}

int main(void) {
    expect(lf_crowd_bound(9, PROCESSORS) == 9, "nobody known: no bound");
    call(PROCESSORS, 0, 0, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == 9, "a call that went well bounds nothing");
    call(PROCESSORS, 5 * MILLISECOND, 0, 0.9);
    expect(lf_crowd_bound(9, PROCESSORS) == 9, "shares that differ are no crowd");
    call(PROCESSORS + 1, 5 * MILLISECOND, 0, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == 9, "a team larger than the machine is its own crowd");

    call(PROCESSORS, 5 * MILLISECOND, 0, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == PROCESSORS - 1, "after a wait at the end, one thread less");
    call(PROCESSORS - 1, 0, (PROCESSORS - 2) * 5LL * MILLISECOND, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == PROCESSORS - 2, "after a wait at barriers, another one less");
    call(2, 5 * MILLISECOND, 0, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == 1 && lf_crowd_bound(1, PROCESSORS) == 1, "never less than one");

    pause_for(100 * MILLISECOND);
    expect(lf_crowd_bound(9, PROCESSORS) == 2, "after a pause, an attempt with one more");
    call(2, 0, 0, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == 2, "which lasts where it went well");
    for (int team = 3; team <= PROCESSORS; team++) {
        pause_for(100 * MILLISECOND);
        expect(lf_crowd_bound(9, PROCESSORS) == (team < PROCESSORS ? team : 9), "and so on, up to all");
        call(team, 0, 0, 0);
    }
    expect(lf_crowd_bound(9, PROCESSORS) == 9, "no bound is left");

    lf_crowd_ignore();
    call(PROCESSORS, 5 * MILLISECOND, 0, 0);
    expect(lf_crowd_bound(9, PROCESSORS) == 9, "ignored");
    printf("%d passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
