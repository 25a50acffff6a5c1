/* What one thread does of a call, and where its rows lie. Next: sequence.c takes it through the steps, masks.c where
 * rows are left out of some, lanes.c where they are lanes. */
#ifndef LF_PART_H
#define LF_PART_H

#include <string.h>

#include "sequence.h"

/* What one thread does: blocks [block_begin, block_end) of some rows. */
typedef struct lf_part {
    size_t rows;
    ptrdiff_t row, row_step; /* of the call: the part's first, and 1, -1 or, of masked rows, more to the next */
    size_t block_begin, block_end;
    size_t me, members; /* that meet after each step, each with its part of the blocks; 0 where they never meet */
    size_t even_blocks, even_members; /* of each member, and of those after the first so many one more */
    char *h[2], *c[2];                /* (rows, units), stride state_stride */
    char *projection;                 /* (project_steps, rows, block_end - block_begin, block_width) */
    char *row_sums;
    char *inputs;      /* (project_steps, rows, features): where the x of several rows and steps are put together */
    ptrdiff_t *places; /* (2, rows): where steps of even and of odd number look in the table; instead of inputs */
    size_t letters;    /* that a member has for a row of h */
} lf_part;

/* The units of some blocks: the columns of h, c and y that a member owns. */
typedef struct lf_columns {
    size_t begin, count;
} lf_columns;

static inline lf_columns lf_columns_of(const lf_panels *panels, size_t block_begin, size_t block_end) {
    const size_t begin = lf_smaller(block_begin * panels->block_units, panels->units);
    const size_t end = lf_smaller(block_end * panels->block_units, panels->units);
    return (lf_columns){begin, end - begin};
}

static inline void lf_copy_row(const lf_sequence *s, struct lf_rows to, struct lf_rows from, size_t row,
                               lf_columns own) {
    const size_t bytes = s->layer->element_bytes;
    memcpy(to.data + ((ptrdiff_t)row * to.stride + (ptrdiff_t)own.begin) * (ptrdiff_t)bytes,
           from.data + ((ptrdiff_t)row * from.stride + (ptrdiff_t)own.begin) * (ptrdiff_t)bytes, own.count * bytes);
}

static inline void lf_copy_rows(const lf_sequence *s, struct lf_rows to, struct lf_rows from, size_t rows,
                                lf_columns own) {
    for (size_t row = 0; row < rows; row++) lf_copy_row(s, to, from, row, own);
}

static inline struct lf_rows lf_state_of(const lf_sequence *s, const lf_part *part, const void *state) {
    if (state == NULL) return (struct lf_rows){s->workspace, 0};
    const ptrdiff_t units = (ptrdiff_t)s->layer->panels.units;
    return (struct lf_rows){(char *)lf_at(state, part->row * units, s->layer->element_bytes), part->row_step * units};
}

static inline struct lf_rows lf_x_at(const lf_sequence *s, const lf_part *part, size_t step) {
    const lf_run *run = s->run;
    const ptrdiff_t place = part->row * run->x_row_stride + lf_time_of(run, step) * run->x_step_stride;
    return (struct lf_rows){(char *)lf_at(run->x, place, s->layer->element_bytes), part->row_step * run->x_row_stride};
}

static inline struct lf_rows lf_y_at(const lf_sequence *s, const lf_part *part, size_t step) {
    const lf_run *run = s->run;
    const ptrdiff_t place =
        part->row * run->y_row_stride + (run->return_sequences ? (ptrdiff_t)step * run->y_step_stride : 0);
    return (struct lf_rows){(char *)lf_at(run->y, place, s->layer->element_bytes), part->row_step * run->y_row_stride};
}

/* A row of the part, in its place: it takes no step before `begin`, and none from `end` on. */
struct lf_ordered {
    size_t row;
    size_t begin, end;
    const uint8_t *mask; /* of step 0 */
};

/* sequence.c: where the rows of the table begin that a step takes, of the part's rows in order, or as they are (NULL),
 * into places (2, rows), which steps of even and of odd number take in turn */
const ptrdiff_t *lf_look_up(const lf_sequence *s, const lf_part *part, size_t step, const struct lf_ordered *order,
                            ptrdiff_t *places);
/* Whether every other step begins with the last blocks, the first step leaves h's products out, and what
 * the next step looks up or reads of x is fetched */
int lf_turns(const lf_layer *layer);
int lf_skips_h(const lf_layer *layer, const lf_run *run);
int lf_is_far(const lf_sequence *s);
int lf_fetches_x(const lf_sequence *s);

/* lanes.c: whether so many rows of the call are lanes of vectors, the work space for that beside the states, and
 * all steps of such a part, which is its thread's alone */
int lf_takes_lanes(const lf_sequence *s, size_t rows);
size_t lf_lanes_input_bytes(const lf_sequence *s);
void lf_run_lanes(const lf_sequence *s, const lf_part *part);

/* masks.c */
int lf_all_valid(const lf_sequence *s, const lf_part *part);
int lf_any_valid(const lf_sequence *s, const lf_part *part, size_t step);
/* Masked rows keep their state, and repeat their output: the last one, or 0 before the first valid step or where the
 * caller wants zeros. Runs after the kernel, on the part's own columns. */
void lf_apply_mask(const lf_sequence *s, const lf_part *part, size_t step, lf_columns own, struct lf_rows h_prev,
                   struct lf_rows h_next, struct lf_rows c_prev, struct lf_rows c_next);
/* All steps of a part that is its thread's alone, of each only the rows that it does not leave out; 0, and nothing
 * done, where these are about all. */
int lf_run_ordered(const lf_sequence *s, const lf_part *part);
/* Work space for that, of so many rows; 0 where it may not be used. */
size_t lf_ordered_bytes(const lf_sequence *s, size_t rows);

#endif
