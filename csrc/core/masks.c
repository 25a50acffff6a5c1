/* Rows that a mask leaves out of some steps. Rows of different lengths are the rule, filled up at the end or at the
 * beginning: they are put in an order in which those that a step leaves out come last, and it does not compute them.
 * Next: sequence.c. */
#include "part.h"

/* Of a row's steps in processing order, the first. */
static const uint8_t *mask_of(const lf_sequence *s, const lf_part *part, size_t row) {
    const lf_run *run = s->run;
    const ptrdiff_t place = part->row + (ptrdiff_t)row * part->row_step;
    return run->mask + place * run->mask_row_stride + lf_time_of(run, 0) * run->mask_step_stride;
}

static ptrdiff_t mask_step(const lf_run *run) {
    return run->go_backwards ? -run->mask_step_stride : run->mask_step_stride;
}

/* Whether the part's row is valid in this step. */
static int is_valid(const lf_sequence *s, const lf_part *part, size_t row, size_t step) {
    return mask_of(s, part, row)[(ptrdiff_t)step * mask_step(s->run)] != 0;
}

int lf_all_valid(const lf_sequence *s, const lf_part *part) {
    const ptrdiff_t stride = mask_step(s->run);
    for (size_t row = 0; row < part->rows; row++) {
        const uint8_t *mask = mask_of(s, part, row);
        if (stride == 1 && memchr(mask, 0, s->run->steps) != NULL) return 0;
        for (size_t step = 0; stride != 1 && step < s->run->steps; step++)
            if (mask[(ptrdiff_t)step * stride] == 0) return 0;
    }
    return 1;
}

void lf_apply_mask(const lf_sequence *s, const lf_part *part, size_t step, lf_columns own, struct lf_rows h_prev,
                   struct lf_rows h_next, struct lf_rows c_prev, struct lf_rows c_next) {
    const lf_run *run = s->run;
    const size_t bytes = s->layer->element_bytes;
    const struct lf_rows y = lf_y_at(s, part, step);
    const struct lf_rows y_prev = lf_y_at(s, part, step > 0 ? step - 1 : 0);
    for (size_t row = 0; row < part->rows; row++) {
        if (is_valid(s, part, row, step)) {
            lf_copy_row(s, y, h_next, row, own);
            continue;
        }
        lf_copy_row(s, h_next, h_prev, row, own);
        if (c_next.data != NULL) lf_copy_row(s, c_next, c_prev, row, own);
        char *out = y.data + ((ptrdiff_t)row * y.stride + (ptrdiff_t)own.begin) * (ptrdiff_t)bytes;
        if (run->zero_output_for_mask || step == 0) memset(out, 0, own.count * bytes);
        else if (run->return_sequences) lf_copy_row(s, y, y_prev, row, own);
    }
}

int lf_any_valid(const lf_sequence *s, const lf_part *part, size_t step) {
    for (size_t row = 0; row < part->rows; row++)
        if (is_valid(s, part, row, step)) return 1;
    return 0;
}

/* ---- rows in order ----------------------------------------------------------------------------------------------- */

/* The rows' x are put side by side, up to so many bytes each. To put them in order pays where it spares one of so many
 * steps. */
enum { COPIED_BYTES = 16 << 10, LEAST_SPARED = 16 };

static size_t row_bytes_of(const lf_sequence *s) { return s->layer->panels.features * s->layer->element_bytes; }

/* The work space: (rows) struct lf_ordered, then (2, rows) places or (rows, features) x. */
static size_t ordered_rows_bytes(size_t rows) { return lf_round_up(rows * sizeof(struct lf_ordered), LF_ALIGNMENT); }

size_t lf_ordered_bytes(const lf_sequence *s, size_t rows) {
    if (s->run->mask == NULL || s->project_steps > 0 || rows < 2) return 0;
    if (s->run->table != NULL) return ordered_rows_bytes(rows) + 2 * rows * sizeof(ptrdiff_t);
    return row_bytes_of(s) > COPIED_BYTES ? 0 : ordered_rows_bytes(rows) + rows * row_bytes_of(s);
}

static size_t key_of(const struct lf_ordered *row, int by_end) { return by_end ? SIZE_MAX - row->end : row->begin; }

/* The rows that end, or else those that begin, one after the other: `*by_end`. How many of their steps that spares. */
static size_t put_in_order(const lf_sequence *s, const lf_part *part, struct lf_ordered *rows, int *by_end) {
    const size_t steps = s->run->steps;
    const ptrdiff_t stride = mask_step(s->run);
    size_t before = 0, behind = 0;
    for (size_t i = 0; i < part->rows; i++) {
        struct lf_ordered *row = &rows[i];
        *row = (struct lf_ordered){.row = i, .end = steps, .mask = mask_of(s, part, i)};
        while (row->end > 0 && row->mask[(ptrdiff_t)(row->end - 1) * stride] == 0) row->end--;
        while (row->begin < row->end && row->mask[(ptrdiff_t)row->begin * stride] == 0) row->begin++;
        if (row->end == 0) row->begin = steps;
        before += row->begin;
        behind += steps - row->end;
    }
    *by_end = behind >= before;
    for (size_t i = 1; i < part->rows; i++) { /* some ten rows, seldom a hundred */
        const struct lf_ordered row = rows[i];
        size_t place = i;
        for (; place > 0 && key_of(&rows[place - 1], *by_end) > key_of(&row, *by_end); place--)
            rows[place] = rows[place - 1];
        rows[place] = row;
    }
    return *by_end ? behind : before;
}

static char *row_of(struct lf_rows rows, size_t row, size_t bytes) {
    return rows.data + (ptrdiff_t)row * rows.stride * (ptrdiff_t)bytes;
}

/* x of the first `count` rows, side by side; on the way, the next step's are fetched. */
static void copy_x(const lf_sequence *s, const lf_part *part, size_t step, const struct lf_ordered *rows, size_t count,
                   char *to) {
    enum { LINE = 64, FETCHED_BYTES = 512 };
    const lf_run *run = s->run;
    const size_t bytes = s->layer->element_bytes, row_bytes = row_bytes_of(s);
    const struct lf_rows x = lf_x_at(s, part, step);
    const struct lf_rows next = lf_x_at(s, part, step + 1 < run->steps ? step + 1 : step);
    const size_t fetched = row_bytes <= FETCHED_BYTES ? row_bytes : 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t byte = 0; byte < fetched; byte += LINE) __builtin_prefetch(row_of(next, rows[i].row, bytes) + byte);
        memcpy(to + i * row_bytes, row_of(x, rows[i].row, bytes), row_bytes);
    }
}

/* What a step gives for the part's rows: their state, what the step before gave, or zeros. */
static void put_sequence(const lf_sequence *s, const lf_part *part, size_t step, const struct lf_ordered *rows,
                         struct lf_rows h, size_t computed) {
    const lf_run *run = s->run;
    const size_t bytes = s->layer->element_bytes, row_bytes = s->layer->panels.units * bytes;
    const ptrdiff_t stride = mask_step(run);
    const struct lf_rows y = lf_y_at(s, part, step), before = lf_y_at(s, part, step > 0 ? step - 1 : 0);
    for (size_t i = 0; i < part->rows; i++) {
        char *out = row_of(y, rows[i].row, bytes);
        if (i < computed && rows[i].mask[(ptrdiff_t)step * stride] != 0) memcpy(out, row_of(h, i, bytes), row_bytes);
        else if (run->zero_output_for_mask || step == 0) memset(out, 0, row_bytes);
        else memcpy(out, row_of(before, rows[i].row, bytes), row_bytes);
    }
}

static struct lf_rows states_of(const lf_sequence *s, char *states) {
    return (struct lf_rows){states, (ptrdiff_t)s->state_stride};
}

/* Both states of each row are what it begins with. */
static void begin_states(const lf_sequence *s, const lf_part *part, const struct lf_ordered *rows) {
    const size_t bytes = s->layer->element_bytes, row_bytes = s->layer->panels.units * bytes;
    const struct lf_rows h = lf_state_of(s, part, s->run->initial_h), c = lf_state_of(s, part, s->run->initial_c);
    for (size_t i = 0; i < 2 * part->rows; i++) {
        const size_t place = i / 2, row = rows[place].row;
        memcpy(row_of(states_of(s, part->h[i % 2]), place, bytes), row_of(h, row, bytes), row_bytes);
        if (s->layer->cell == LF_LSTM)
            memcpy(row_of(states_of(s, part->c[i % 2]), place, bytes), row_of(c, row, bytes), row_bytes);
    }
}

/* What is left of each row behind its last step. */
static void put_last(const lf_sequence *s, const lf_part *part, const struct lf_ordered *rows, int by_end) {
    const lf_run *run = s->run;
    const size_t bytes = s->layer->element_bytes, row_bytes = s->layer->panels.units * bytes;
    const struct lf_rows y = lf_y_at(s, part, 0);
    const struct lf_rows final_h = lf_state_of(s, part, run->final_h), final_c = lf_state_of(s, part, run->final_c);
    for (size_t i = 0; i < part->rows; i++) {
        const size_t row = rows[i].row;
        const size_t taken = by_end ? rows[i].end : run->steps; /* steps that wrote its state; 0: both hold it */
        const char *h = row_of(states_of(s, part->h[(taken + 1) % 2]), i, bytes);
        const int has_output = rows[i].end > 0 && !(run->zero_output_for_mask && rows[i].end < run->steps);
        if (!run->return_sequences && has_output) memcpy(row_of(y, row, bytes), h, row_bytes);
        else if (!run->return_sequences) memset(row_of(y, row, bytes), 0, row_bytes);
        if (run->final_h != NULL) memcpy(row_of(final_h, row, bytes), h, row_bytes);
        if (run->final_c != NULL)
            memcpy(row_of(final_c, row, bytes), row_of(states_of(s, part->c[(taken + 1) % 2]), i, bytes), row_bytes);
    }
}

/* A row that a step leaves out lies behind those that it computes, in whichever state it had last: of those that end,
 * in the states that its last step wrote; of those that are to begin, in both. */
int lf_run_ordered(const lf_sequence *s, const lf_part *part) {
    const lf_layer *layer = s->layer;
    const lf_run *run = s->run;
    const size_t bytes = layer->element_bytes, row_bytes = layer->panels.units * bytes, steps = run->steps;
    const ptrdiff_t stride = (ptrdiff_t)s->state_stride, mask_stride = mask_step(run);
    const int has_cell = layer->cell == LF_LSTM, turns = lf_turns(layer);
    struct lf_ordered *const rows = (struct lf_ordered *)part->inputs;
    char *const copied_x = part->inputs + ordered_rows_bytes(part->rows);
    ptrdiff_t *const places_of_steps = (ptrdiff_t *)copied_x;
    int by_end;
    if (put_in_order(s, part, rows, &by_end) < part->rows * steps / LEAST_SPARED) return 0;
    begin_states(s, part, rows);

    lf_step call = {.block_end = layer->panels.block_count,
                    .h_prev_stride = stride,
                    .h_next_stride = stride,
                    .c_prev_stride = stride,
                    .c_next_stride = stride,
                    .row_sums = part->row_sums};
    const int looks_ahead = run->table != NULL && lf_is_far(s);
    const ptrdiff_t *places = NULL; /* of the step at hand, where they were looked up before it */
    size_t computed = by_end ? part->rows : 0;
    for (size_t step = 0; step < steps; step++) {
        while (by_end && computed > 0 && rows[computed - 1].end <= step) computed--;
        while (!by_end && computed < part->rows && rows[computed].begin <= step) computed++;
        const struct lf_rows h_prev = states_of(s, part->h[(step + 1) % 2]), h_next = states_of(s, part->h[step % 2]);
        const struct lf_rows c_prev = states_of(s, part->c[(step + 1) % 2]), c_next = states_of(s, part->c[step % 2]);
        if (computed > 0) {
            call.rows = computed;
            if (run->table != NULL) {
                const int ahead = looks_ahead && step + 1 < steps;
                call.projection = run->table;
                call.places = places != NULL ? places : lf_look_up(s, part, step, rows, places_of_steps);
                call.places_ahead = places = ahead ? lf_look_up(s, part, step + 1, rows, places_of_steps) : NULL;
            } else {
                copy_x(s, part, step, rows, computed, copied_x);
                call.x = copied_x;
                call.x_stride = (ptrdiff_t)layer->panels.features;
            }
            call.descending = turns && step % 2 == 1;
            call.zeros = step == 0 && lf_skips_h(layer, run) ? layer->panels.units : 0;
            call.h_prev = h_prev.data;
            call.h_next = h_next.data;
            call.c_prev = has_cell ? c_prev.data : NULL;
            call.c_next = has_cell ? c_next.data : NULL;
            layer->kernels->step[layer->cell](&layer->panels, &call);
        }
        for (size_t i = 0; i < computed; i++) {
            if (rows[i].mask[(ptrdiff_t)step * mask_stride] != 0) continue;
            memcpy(row_of(h_next, i, bytes), row_of(h_prev, i, bytes), row_bytes);
            if (has_cell) memcpy(row_of(c_next, i, bytes), row_of(c_prev, i, bytes), row_bytes);
        }
        if (run->return_sequences) put_sequence(s, part, step, rows, h_next, computed);
    }
    put_last(s, part, rows, by_end);
    return 1;
}
