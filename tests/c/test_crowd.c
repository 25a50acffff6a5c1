/* Calls whose members wait for each other make the next teams smaller, for a while; calls that go well do not. And
 * where it takes long to meet, a call does not split its units. Linked with --wrap=clock_gettime: time passes when the
 * test says so, however busy the machine is. */
#include <stdio.h>
#include <time.h>

#include <lstmfast.h>

#include "core/barrier.h"
#include "core/crowd.h"
#include "core/threads.h"

enum { PROCESSORS = 4, MILLISECOND = 1000000 };

static int failures, checks;

static void expect(int held, const char *what) {
    checks++;
    if (held) return;
    failures++;
    fprintf(stderr, "FAILED: %s\n", what);
}

static long long now_ns = 1000000000LL * 1000, tick_ns = 1;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    now->tv_sec = (time_t)(now_ns / 1000000000);
    now->tv_nsec = (long)(now_ns % 1000000000);
    now_ns += tick_ns;
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

/* Threads that two processors would give to one row of a small layer, which can be split by units alone. */
static int threads_of_one_row(void) {
    const lf_work work = {.rows = 1,
                          .steps = 100,
                          .blocks = 8,
                          .last_block = 1,
                          .chunk_rows = 1,
                          .products = 100 * 4.0 * 128 * 200 / 16,
                          .updates = 100 * 128.0 / 16,
                          .product_ns = 0.27,
                          .state_bytes = 128 * 4.0,
                          .splits_by_units = 1};
    const lf_plan plan = lf_plan_threads(&work, 2);
    expect(plan.threads == 1 || plan.split == LF_BY_UNITS, "one row is split by units");
    return plan.threads;
}

/* As if 8 rounds took so long: the clock advances when it is read. */
static void measure(long long nanoseconds) {
    lf_arrival arrival = {0};
    lf_barrier barrier = {.arrivals = &arrival};
    tick_ns = nanoseconds;
    lf_barrier_measure(&barrier, 0, 1);
    tick_ns = 1;
}

static void check_meetings(void) {
    expect(lf_barrier_measure_due(), "a barrier that was never measured is due");
    lf_assume_processors(2);
    expect(!lf_barrier_measure_due(), "where processors are assumed nothing is measured");
    expect(threads_of_one_row() == 2, "what was not measured is no reason to stay alone");
    measure(12000);
    expect(threads_of_one_row() == 1, "more than a microsecond to meet is too long");
    measure(160000);
    expect(threads_of_one_row() == 2, "and twenty are no barrier, but a member without a processor");
    measure(12000);
    pause_for(60L * MILLISECOND);
    expect(threads_of_one_row() == 2, "which is forgotten, for threads move");
    measure(400);
    expect(threads_of_one_row() == 2, "fifty nanoseconds are not");
    lf_assume_processors(0);
    expect(!lf_barrier_measure_due(), "a measured barrier is not due");
    pause_for(30L * MILLISECOND);
    expect(lf_barrier_measure_due(), "but soon is again");
}

int main(void) {
    check_meetings();
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
