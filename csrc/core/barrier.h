/* Where the members of a team wait for each other. Next: barrier.c. */
#ifndef LF_BARRIER_H
#define LF_BARRIER_H

#include "../isa/cpu.h"

#include <stdatomic.h>

/* A member's place at a barrier, on a line of memory that only it writes: the others look there, so that from the last
 * arrival to the next step one line has to come from another core, where a shared counter takes three in a row. */
typedef struct lf_arrival {
    _Alignas(LF_LINE_BYTES) atomic_uint round;
} lf_arrival;

/* All members of a team arrive before any leaves. Spins briefly, then, on Linux, sleeps: an idle core is given the
 * thread that everybody waits for, while a spinning or yielding one would leave it queued behind a stranger. Elsewhere
 * it yields, for there is no futex. */
typedef struct lf_barrier {
    lf_arrival *arrivals; /* of each member, zeros at first */
    long long begin_ns;   /* of the call, or of its steps; 0: its team never scatters */
    _Alignas(LF_LINE_BYTES) atomic_uint sleepers;
    atomic_uint scatter_round, measured_round; /* the last that members meet in; the last of those that are measured */
    atomic_llong late_ns;                      /* what members waited beyond the usual, all together */
} lf_barrier;

/* Whether the team goes on. If not, it has no processors of its own: member 0 has to do the rest alone, and the others
 * go. All members are told so in the same round. */
int lf_barrier_wait(lf_barrier *barrier, int me, int count);

/* The same in parts. Member 0 settles before a round whether the team goes on after it; the others know once they have
 * awaited member 0. */
unsigned lf_barrier_next_round(lf_barrier *barrier, int me, int count); /* the one at which `me` arrives next */
void lf_barrier_arrive(lf_barrier *barrier, int me);
int lf_barrier_goes_on(const lf_barrier *barrier, int me);

/* Until `other` has arrived as often as `me`, or `sign` has that round, which `other` sets before it arrives. */
void lf_barrier_await(lf_barrier *barrier, int me, int other, const atomic_uint *sign);

/* Arrives like lf_barrier_arrive, but goes on at once, while the line is still on its way back from those that look
 * there. Who falls asleep at that moment is woken by the next arrival: so it may not be the `last` one. */
void lf_barrier_pass(lf_barrier *barrier, int me, int last);
/* Until `other` has arrived so often: how often it has by then. */
unsigned lf_barrier_await_round(lf_barrier *barrier, int other, unsigned round);

/* How long it takes to meet depends on where the system has put the threads, and that changes. So the members of a team
 * measure it, all together before they begin, where that is due. */
int lf_barrier_measure_due(void);
void lf_barrier_measure(lf_barrier *barrier, int me, int count);
/* For two threads, as measured not long ago: 40 ns on cores that share a cache, 260 on others (Zen 5). */
double lf_barrier_ns(void);

#endif
