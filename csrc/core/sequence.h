/* A call of a recurrent layer on its way: planned, prepared, shared out among members, released.
 * Next: sequence.c, together.c. */
#ifndef LF_SEQUENCE_H
#define LF_SEQUENCE_H

#include "crowd.h"
#include "layer.h"
#include "letters.h"
#include "team.h"

/* Work space up to this size lives on the caller's stack. */
enum { LF_STACK_BYTES = 16 << 10 };

/* All that a call's threads share; nothing in it changes while they run but the barrier, the queues and the work space.
 */
typedef struct lf_sequence {
    const lf_layer *layer;
    const lf_run *run;
    lf_plan plan;
    size_t members;            /* that have work space of their own: all where rows are split, else one */
    size_t chunks, chunk_rows; /* of nearly equal height, so that none gets a short tile; the largest */
    size_t row_unit;           /* chunks begin at multiples of it */
    size_t project_steps;      /* 0: a step reads x itself */
    size_t state_stride;       /* elements of a row of h or c in the work space */
    size_t state_bytes, projection_bytes, row_sum_bytes, input_bytes;
    size_t ordered_bytes; /* of the inputs, for masked rows that are put in order; 0: they are not */
    size_t member_bytes;  /* work space of one thread (by rows) or of all (by units, but for the inputs), and its gap */
    char *workspace;      /* a row of zeros, then member_bytes for each member */
    char *allocated;      /* what to release, if anything */
    lf_barrier barrier;
    int measures_barrier; /* before it begins */
    lf_watch watch;
    lf_queue *queues; /* of each member: chunks of rows, or pieces of blocks; NULL where they do not help each other */
    lf_letter *letters;   /* of the rounds of even, then of odd number; NULL where members read each other's h */
    char *private_states; /* of each member that writes letters: h and c; of h all units, of c its own */
    size_t private_bytes;
    lf_barrier *passed; /* where each level of a stack counts the steps that it has done; NULL of a call alone */
    int level;          /* in it: what the one below gives is what this one reads */
} lf_sequence;

/* Threads that a call may have. */
int lf_sequence_threads(const lf_run *run);
/* Up to `most` threads. `region_ns`, as of lf_work, where a plan made just before found it out. */
lf_status lf_sequence_plan(lf_sequence *s, int most, double region_ns);
/* Work space of a planned call: `memory`, of LF_STACK_BYTES, where there is any and that is enough. */
lf_status lf_sequence_prepare(lf_sequence *s, char *memory);
/* One thread's share: chunks of rows as long as there are any, or some unit blocks of all. */
void lf_sequence_share(lf_sequence *s, size_t me, size_t team);
void lf_sequence_release(lf_sequence *s);
/* All of a planned call, on a team of its own. */
lf_status lf_sequence_run_planned(lf_sequence *s);

#endif
