/* A team is as late as its last member, and a member whose processor belongs to a neighbour is late by a time slice of
 * milliseconds, at a barrier once a step. So calls are watched: where members waited for each other for so much of the
 * time that one fewer would have been sooner, the next calls take one fewer, and after a while one more is tried. With
 * a neighbour on one of two cores LSTM(100) on one row took 17 times as long on both threads as on one
 * (`python -m bench.oversubscribed`). What is remembered is a few numbers for the whole process, read and written
 * without order: a lost update costs a few slow calls. Next: threads.c, sequence.c. */
#define _GNU_SOURCE
#include "crowd.h"

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <time.h>
#endif

/* How long a team stays smaller: twice as long where the next attempt fails. */
static const long long FIRST_PAUSE_NS = 100000000, LONGEST_PAUSE_NS = 1000000000;
/* An attempt is judged after so much time of teams; what lies further back than the window counts less and less. One
 * stolen time slice now and then is no crowd. */
static const long long TRIAL_NS = 20000000, WINDOW_NS = 40000000;
/* Members wait for each other on quiet machines too: for one that wakes up. */
static const long long WAKE_NS = 500000;
/* Waiting for 1 / team of the time, one fewer would do as well; a little more tells noise from neighbours where the
 * team is large and this part small. Of a pair that waits for half of the time one is the better: with a neighbour on
 * one of two cores 1.0 to 1.3 times the time of one thread, and up to 1.6 with a longer window and a margin. */
static const double MARGIN = 0.1;
/* OpenMP's threads spin for some milliseconds after a team, and then sleep. */
static const long long SLEEP_AFTER_NS = 2000000;
/* Woken threads may share a processor until the system has spread them: nothing is learned from that, but no more than
 * a quarter of the time passes so. */
static const long long SETTLE_NS = 60000000, SETTLE_AGAIN_NS = 250000000;

/* So long a crowd is remembered where that costs little. */
static const long long LATELY_NS = 5000000000;

static atomic_int taken; /* processors that others seem to hold */
static atomic_llong until, pause_ns, last_stall;
static atomic_llong team_ns, waited_ns;    /* within the window */
static atomic_llong last_call, last_woken; /* that asked whether teams sleep, or ended */
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
    const int again = now - atomic_load(&last_stall) < 2 * paused + FIRST_PAUSE_NS;
    const long long next = !again ? FIRST_PAUSE_NS : 2 * paused < LONGEST_PAUSE_NS ? 2 * paused : LONGEST_PAUSE_NS;
    atomic_store(&pause_ns, next > 0 ? next : FIRST_PAUSE_NS);
    atomic_store(&last_stall, now);
    atomic_store(&until, now + atomic_load(&pause_ns));
    atomic_store(&taken, processors - team + 1);
    atomic_store(&team_ns, 0);
    atomic_store(&waited_ns, 0);
}

/* sum, less of it the longer `whole` is, and `more`. */
static long long remember(atomic_llong *sum, long long whole, long long more) {
    const double kept = whole < WINDOW_NS ? 1 - (double)whole / (double)WINDOW_NS : 0;
    const long long next = (long long)(kept * (double)atomic_load(sum)) + more;
    atomic_store(sum, next);
    return next;
}

void lf_watch_end(lf_watch *watch, int team, int processors, long long late_ns, double uneven) {
    const long long now = lf_now_ns();
    atomic_store_explicit(&last_call, now, memory_order_relaxed);
    if (atomic_load(&ignored)) return;
    const long long first = atomic_load(&watch->first_leave);
    if (first == 0 || now - atomic_load(&last_woken) < SETTLE_NS) return; /* the team did not come, or only just */
    const long long whole = now - watch->begin, late = atomic_load(&watch->last_enter) - watch->begin;
    const long long waited =
        now - first + late_ns / (team - 1) - (late < WAKE_NS ? late : WAKE_NS) - (long long)(uneven * (double)whole);
    const long long all = remember(&team_ns, whole, whole), idle = remember(&waited_ns, whole, waited > 0 ? waited : 0);
    if (all < TRIAL_NS) return;
    if ((double)idle > (1.0 / team + MARGIN * (1 - 2.0 / team)) * (double)all) {
        stalled(team, processors, now);
    } else if (team > processors - atomic_load(&taken)) { /* an attempt that went well */
        atomic_store(&taken, processors - team);
        atomic_store(&until, now + atomic_load(&pause_ns));
    }
}

void lf_crowd_ignore(int ignore) { atomic_store(&ignored, ignore); }

int lf_teams_sleep(void) {
    const long long now = lf_now_ns();
    const long long before = atomic_exchange_explicit(&last_call, now, memory_order_relaxed);
    if (now - before <= SLEEP_AFTER_NS || atomic_load(&ignored)) return 0;
    if (now - atomic_load(&last_woken) > SETTLE_AGAIN_NS) atomic_store(&last_woken, now);
    return 1;
}

int lf_crowd_lately(void) {
    const long long last = atomic_load_explicit(&last_stall, memory_order_relaxed);
    return last != 0 && lf_now_ns() - last < LATELY_NS;
}

int lf_crowd_bound(int most, int processors) {
    int gone = atomic_load_explicit(&taken, memory_order_relaxed);
    if (gone > 0 && lf_now_ns() >= atomic_load_explicit(&until, memory_order_relaxed)) gone--;
    return smaller(most, processors > gone ? processors - gone : 1);
}
