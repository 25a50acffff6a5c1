/* Threads: how many a call may use, how many its work is worth, and a team that runs it. Next: threads.c. */
#ifndef LF_THREADS_H
#define LF_THREADS_H

#include <stdatomic.h>
#include <stddef.h>

typedef enum lf_split {
    LF_BY_ROWS,  /* each thread takes rows through all steps; no barrier */
    LF_BY_UNITS, /* each thread takes unit blocks of every step, so that its weights stay in its own cache */
} lf_split;

typedef struct lf_plan {
    int threads;
    lf_split split;
    double uneven;    /* part of the time that the thread with the least to do waits for the others */
    double ns;        /* what it is thought to take */
    double region_ns; /* what a team costs now; 0 where the work is too small to ask */
} lf_plan;

/* What one call is going to do, in the terms its plan depends on. */
typedef struct lf_work {
    size_t rows, steps, blocks;
    double last_block; /* how much of a whole block the last one is, 1 or less */
    size_t chunk_rows;
    double products;       /* multiply-adds of the call, of vectors */
    double tiled_products; /* those of them whose tiles are full, however few the rows */
    double updates;        /* states computed in the call, of vectors */
    double product_ns;     /* lf_product_ns of its kernels */
    size_t weight_bytes;
    double state_bytes;  /* of a step: what members that split the units give each other */
    int writes_letters;  /* they do so in letters where these are few */
    double region_ns;    /* of a plan made just before; 0: to be found out */
    int splits_by_units; /* false where a step needs whole rows */
    size_t meet_rows;    /* that a member takes through a step until all meet; 0: by rows they never do */
} lf_work;

lf_plan lf_plan_threads(const lf_work *work, int most);

/* What a level of a stack takes that in each step hands on so many bytes, or waits for them. */
double lf_level_ns(double alone_ns, size_t steps, size_t step_bytes);

/* Whether two calls at once, with half of the threads for each, are sooner than one after the other with all. */
int lf_pair_pays(double one_by_one_ns, double slower_half_ns, double region_ns);

/* The threads that a call may use beside the teams of other calls that run now: lf_threads() less theirs, at least 1. A
 * server's many calling threads would otherwise start a full team each. */
int lf_threads_free(void);

/* Processors that this process may run on: no team is larger. */
int lf_processors(void);
/* Whether a test says so: then nothing is measured, and plans are the same everywhere. */
int lf_processors_are_assumed(void);

/* Bytes of the caches that one core has to itself: its first level, and its second. */
size_t lf_near_cache_bytes(void);
size_t lf_private_cache_bytes(void);

/* Runs member(context, index, count) on up to `threads` threads, the caller being index 0. `count` is the size of the
 * team that came, which may be smaller. */
typedef void lf_member_fn(void *context, int index, int count);
void lf_team_run(int threads, lf_member_fn *member, void *context);

/* A member's place at a barrier, on a line of memory that only it writes: the others look there, so that from the last
 * arrival to the next step one line has to come from another core, where a shared counter takes three in a row. */
typedef struct lf_arrival {
    _Alignas(64) atomic_uint round;
} lf_arrival;

/* Which of a member's pieces of work is next, in rounds of even and of odd number: the one is cleared while the other
 * counts. */
typedef struct lf_queue {
    _Alignas(64) atomic_size_t next[2];
    size_t rounds; /* that the member itself has begun */
} lf_queue;

/* All members of a team arrive before any leaves. Spins briefly, then sleeps: an idle core is given the thread that
 * everybody waits for, while a spinning or yielding one would leave it queued behind a stranger. */
typedef struct lf_barrier {
    lf_arrival *arrivals; /* of each member, zeros at first */
    long long begin_ns;   /* of the call; 0: its team never scatters */
    _Alignas(64) atomic_uint sleepers;
    atomic_uint scatter_round;
    atomic_llong late_ns; /* what members waited beyond the usual, all together */
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
 * measure it, all together before they begin, where that is due. Whether the team goes on, as above. */
int lf_barrier_measure_due(void);
int lf_barrier_measure(lf_barrier *barrier, int me, int count);

#endif
