/* Threads: how many a call may use, how many its work is worth, and a team that runs it. Next: threads.c. */
#ifndef LF_THREADS_H
#define LF_THREADS_H

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

/* Processors that the calling thread may run on, and so its team, which inherits that: no team is larger. */
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

#endif
