/* The barrier of a team, whose members spin, then sleep; whether they have processors of their own, or scatter; and how
 * long it takes to meet. Next: threads.c has the team, sequence.c meets here. */
#define _GNU_SOURCE
#include "barrier.h"

#include "crowd.h"
#include "threads.h"

#if defined(__linux__)
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <sched.h>
#endif

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* "yield" does nothing on cores that run one thread each */
#endif
}

/* Until the member is no longer at `round`, or for no reason. */
static void sleep_at(const lf_arrival *member, unsigned round) {
#if defined(__linux__)
    syscall(SYS_futex, &member->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
#elif defined(_WIN32)
    (void)member, (void)round;
    SwitchToThread();
#else
    (void)member, (void)round;
    sched_yield();
#endif
}

static void wake_all(const lf_arrival *member) {
#if defined(__linux__)
    syscall(SYS_futex, &member->round, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
    (void)member;
#endif
}

/* A hypervisor takes a processor that pauses at short intervals for idle, and hands it to others for 300 microseconds
 * at a time (pause-loop exiting; an AMD one counts pauses less than 128 cycles apart): the first steps of a team then
 * took that long each in 14 % of new processes, with pauses 200 cycles apart in 3 %. */
static void pause_at_length(void) {
    pause_briefly();
#if defined(__x86_64__)
    for (int i = 0; i < 12; i++) __asm__ volatile("lfence" ::: "memory");
#endif
}

/* Members that wait for each other for so long that one alone would have been as soon: each of `count` stands still for
 * (count - 1) / count of the time. */
static int has_no_processors(const lf_barrier *barrier, int count) {
    static const long long PATIENCE_NS = 2000000;
    const long long late = atomic_load_explicit(&barrier->late_ns, memory_order_relaxed);
    if (late < PATIENCE_NS || barrier->begin_ns == 0) return 0;
    return late > (count - 1) * (lf_now_ns() - barrier->begin_ns);
}

static int has_come(const atomic_uint *sign, unsigned round) {
    return (int)(atomic_load_explicit(sign, memory_order_acquire) - round) >= 0;
}

static void wait_for(lf_barrier *barrier, const lf_arrival *member, const atomic_uint *sign, unsigned round) {
    /* Longer than to wake one that sleeps, which takes up to 100 microseconds in a virtual machine. With less, a member
     * that came late once has the others asleep when it comes, then sleeps itself while they are woken, and so on: half
     * as fast, LSTM(256) on one row and two threads. In a test, whose team may be larger than the machine, whom one
     * waits for is often not running. */
    static const long long SPIN_NS = 500000, SPIN_IN_TEST_NS = 10000;
    enum { USUAL_SPINS = 1000, SPINS_BY_CLOCK = 32 }; /* from one look at the clock to the next */
    for (int spins = 0; spins < USUAL_SPINS; spins++) {
        if (has_come(sign, round)) return;
        pause_briefly();
    }
    const long long begin = lf_now_ns(), longest = lf_processors_are_assumed() ? SPIN_IN_TEST_NS : SPIN_NS;
    long long waited = 0;
    int come = 0;
    while (!come && waited < longest) {
        for (int spins = 0; spins < SPINS_BY_CLOCK && !come; spins++) {
            pause_at_length();
            come = has_come(sign, round);
        }
        waited = lf_now_ns() - begin;
    }
    if (!come) {
        /* Either the member sees this sleeper when it comes, or the sleeper sees that it has: the futex looks again. */
        atomic_fetch_add(&barrier->sleepers, 1);
        for (unsigned seen; (int)((seen = atomic_load(&member->round)) - round) < 0;) sleep_at(member, seen);
        atomic_fetch_sub(&barrier->sleepers, 1);
        waited = lf_now_ns() - begin;
    }
    atomic_fetch_add_explicit(&barrier->late_ns, waited, memory_order_relaxed);
}

static unsigned round_of(const lf_barrier *barrier, int me) {
    return atomic_load_explicit(&barrier->arrivals[me].round, memory_order_relaxed);
}

/* Member 0 settles whether `round` is the `last` that they meet in; the others know once they have awaited it. */
static void settle(const lf_barrier *barrier, int me, int count, unsigned round, atomic_uint *last) {
    if (me == 0 && has_no_processors(barrier, count)) atomic_store_explicit(last, round, memory_order_relaxed);
}

unsigned lf_barrier_next_round(lf_barrier *barrier, int me, int count) {
    const unsigned round = round_of(barrier, me) + 1;
    settle(barrier, me, count, round, &barrier->scatter_round);
    return round;
}

void lf_barrier_arrive(lf_barrier *barrier, int me) {
    lf_arrival *own = &barrier->arrivals[me];
    atomic_store(&own->round, round_of(barrier, me) + 1); /* sequentially consistent, as are the sleepers' steps */
    if (atomic_load(&barrier->sleepers) > 0) wake_all(own);
}

void lf_barrier_pass(lf_barrier *barrier, int me, int last) {
    lf_arrival *own = &barrier->arrivals[me];
    if (last) {
        lf_barrier_arrive(barrier, me);
        return;
    }
    atomic_store_explicit(&own->round, round_of(barrier, me) + 1, memory_order_release);
    if (atomic_load_explicit(&barrier->sleepers, memory_order_relaxed) > 0) wake_all(own);
}

void lf_barrier_await(lf_barrier *barrier, int me, int other, const atomic_uint *sign) {
    wait_for(barrier, &barrier->arrivals[other], sign, round_of(barrier, me));
}

unsigned lf_barrier_await_round(lf_barrier *barrier, int other, unsigned round) {
    const lf_arrival *member = &barrier->arrivals[other];
    wait_for(barrier, member, &member->round, round);
    return atomic_load_explicit(&member->round, memory_order_acquire); /* it may have come again since */
}

int lf_barrier_goes_on(const lf_barrier *barrier, int me) {
    return atomic_load_explicit(&barrier->scatter_round, memory_order_relaxed) != round_of(barrier, me);
}

static void meet(lf_barrier *barrier, int me, int count) {
    lf_barrier_arrive(barrier, me);
    for (int i = 1; i < count; i++) {
        const int other = (me + i) % count;
        lf_barrier_await(barrier, me, other, &barrier->arrivals[other].round);
    }
}

int lf_barrier_wait(lf_barrier *barrier, int me, int count) {
    (void)lf_barrier_next_round(barrier, me, count);
    meet(barrier, me, count);
    return lf_barrier_goes_on(barrier, me);
}

/* ---- how long it takes to meet ----------------------------------------------------------------------------------- */

/* As long as it is not measured: rather too short, for a team that runs measures it. */
static const double UNMEASURED_NS = 60;
/* What was measured counts for so long, and is measured again after so long. */
static const long long MEASURED_FOR_NS = 50000000, MEASURED_AGAIN_NS = 20000000;
/* Where it took longer, a member had no processor: that is for crowd.c to judge, and passes sooner. */
static const double MEASURED_MOST_NS = 2000;

static atomic_int measured_ns; /* 0: not known */
static atomic_llong measured_at;

static long long measured_ago(void) { return lf_now_ns() - atomic_load_explicit(&measured_at, memory_order_relaxed); }

int lf_barrier_measure_due(void) { return !lf_processors_are_assumed() && measured_ago() >= MEASURED_AGAIN_NS; }

double lf_barrier_ns(void) {
    const int known = atomic_load_explicit(&measured_ns, memory_order_relaxed);
    return known > 0 && measured_ago() < MEASURED_FOR_NS ? known : UNMEASURED_NS;
}

/* Whether the members went through all rounds. */
static int meet_often(lf_barrier *barrier, int me, int count, int rounds) {
    for (int i = 0; i < rounds; i++) {
        const unsigned round = round_of(barrier, me) + 1;
        settle(barrier, me, count, round, &barrier->measured_round);
        meet(barrier, me, count);
        if (atomic_load_explicit(&barrier->measured_round, memory_order_relaxed) == round) return 0;
    }
    return 1;
}

/* Here members do nothing but wait for each other: where one had no processor for a moment, that says nothing of the
 * steps that follow, and is forgotten. */
void lf_barrier_measure(lf_barrier *barrier, int me, int count) {
    enum { TIMES = 3, ROUNDS = 8 };
    meet(barrier, me, count); /* now all have come */
    long long least = 0;
    for (int i = 0; i < TIMES; i++) {
        const long long begin = lf_now_ns();
        if (!meet_often(barrier, me, count, ROUNDS)) break;
        const long long took = lf_now_ns() - begin;
        if (i == 0 || took < least) least = took;
    }
    if (me > 0) return;
    const double two_ns = (double)least / ROUNDS / (1 + 0.1 * (count - 2)); /* 0: not known */
    const long long now = lf_now_ns();
    atomic_store_explicit(&measured_ns, two_ns < MEASURED_MOST_NS ? (int)two_ns : 0, memory_order_relaxed);
    atomic_store_explicit(&measured_at, now, memory_order_relaxed);
    atomic_store_explicit(&barrier->late_ns, 0, memory_order_relaxed);
    if (barrier->begin_ns != 0) barrier->begin_ns = now;
}
