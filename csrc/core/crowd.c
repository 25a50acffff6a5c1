/* A team is as late as its last member, and a member whose processor belongs to a neighbour is late by a time slice of
 * milliseconds, at a barrier once a step. So calls are watched: where members waited for one that did not come, the
 * next calls take a thread less, and after a while one tries again. With a neighbour on one of two cores LSTM(100) on
 * one row took 17 times as long on both threads as on one (`python -m bench.oversubscribed`).
 * What is remembered is a few numbers for the whole process, read and written without order: a lost update costs one
 * slow call. Next: threads.c, sequence.c. */
#define _GNU_SOURCE
#include "crowd.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <time.h>
#endif

/* How long a team stays smaller: twice as long where the next attempt fails soon after. */
static const long long FIRST_PAUSE_NS = 5000000, LONGEST_PAUSE_NS = 1000000000;
/* Members wait for each other on quiet machines too: for one that handles an interrupt, and for one that wakes up. */
static const long long USUAL_WAIT_NS = 100000, WAKE_NS = 500000;
static const double USUAL_WAIT = 0.25; /* of the call */
/* OpenMP's threads spin for some milliseconds after a team, and then sleep. */
static const long long SLEEP_AFTER_NS = 2000000;

static atomic_int taken; /* processors that others seem to hold */
static atomic_llong until, pause_ns, last_stall;
static atomic_llong last_asked;
static atomic_int ignored;

long long lf_now_ns(void) {
#if defined(_WIN32)
    LARGE_INTEGER ticks, per_second;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_second);
    return (long long)((double)ticks.QuadPart * 1e9 / (double)per_second.QuadPart);
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
#endif
}

void lf_watch_begin(lf_watch *watch) {
    atomic_store_explicit(&watch->last_enter, 0, memory_order_relaxed);
    atomic_store_explicit(&watch->first_leave, 0, memory_order_relaxed);
    watch->begin = lf_now_ns();
}

void lf_watch_enter(lf_watch *watch) {
    const long long now = lf_now_ns();
    long long last = atomic_load(&watch->last_enter);
    while (last < now && !atomic_compare_exchange_weak(&watch->last_enter, &last, now)) continue;
}

void lf_watch_leave(lf_watch *watch) {
    long long none = 0;
    atomic_compare_exchange_strong(&watch->first_leave, &none, lf_now_ns());
}

static int smaller(int a, int b) { return a < b ? a : b; }

static void stalled(int team, int processors, long long now) {
    const long long paused = atomic_load(&pause_ns);
    const int again = now - atomic_load(&last_stall) < 8 * paused;
    const long long next = again && 2 * paused < LONGEST_PAUSE_NS ? 2 * paused : again ? paused : FIRST_PAUSE_NS;
    atomic_store(&pause_ns, next);
    atomic_store(&last_stall, now);
    atomic_store(&until, now + next);
    atomic_store(&taken, processors - team + 1);
}

void lf_watch_end(lf_watch *watch, int team, int processors, long long asleep, double uneven) {
    if (team > processors || atomic_load(&ignored)) return; /* a larger team is its own crowd */
    const long long now = lf_now_ns(), first = atomic_load(&watch->first_leave);
    const double whole = (double)(now - watch->begin);
    const long long late = atomic_load(&watch->last_enter) - watch->begin;
    const double waited =
        (double)(now - first) + (double)asleep / (team - 1) - (double)(late < WAKE_NS ? late : WAKE_NS);
    if (first > 0 && waited > (uneven + USUAL_WAIT) * whole + (double)USUAL_WAIT_NS) {
        stalled(team, processors, now);
    } else if (team > processors - atomic_load(&taken)) { /* an attempt that went well */
        atomic_store(&taken, processors - team);
        atomic_store(&until, now + atomic_load(&pause_ns));
    }
}

void lf_crowd_ignore(void) { atomic_store(&ignored, 1); }

int lf_teams_sleep(void) {
    const long long now = lf_now_ns();
    const long long before = atomic_exchange_explicit(&last_asked, now, memory_order_relaxed);
    return now - before > SLEEP_AFTER_NS && !atomic_load(&ignored);
}

int lf_crowd_bound(int most, int processors) {
    int gone = atomic_load_explicit(&taken, memory_order_relaxed);
    if (gone == 0) return most;
    if (lf_now_ns() >= atomic_load_explicit(&until, memory_order_relaxed)) gone--;
    if (gone == 0) return most;
    return smaller(most, processors > gone ? processors - gone : 1);
}
