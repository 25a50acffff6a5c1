/* All steps of a part whose rows are lanes: a layer of so few units that its own lanes would stay mostly empty (64 rows
 * of one input: LSTM(8) 1.2 times as fast, LSTM(4) and GRU(8) 1.5; AVX-512, Zen 4). Its h and c are turned around once,
 * x and y in each step. Next: kernels/lanes.inc has the step. */
#include "part.h"

/* A lane without a row costs as much as the others; the more units there are, the fewer of them are made good. And so
 * h and c fit the states of the part: where this holds, units * lf_round_up(rows, lanes) <= rows * lanes. */
static int pays(const lf_sequence *s, size_t rows) {
    const size_t lanes = s->layer->kernels->lanes, units = s->layer->panels.units;
    return 8 * rows * lanes >= lf_round_up(rows, lanes) * (3 * lanes + 6 * units);
}

int lf_takes_lanes(const lf_sequence *s, size_t rows) {
    enum { LEAST_STEPS = 4 }; /* for which the states are turned */
    const lf_run *run = s->run;
    const int is_plain = run->mask == NULL && run->table == NULL && run->x_step_stride != 0;
    return s->layer->panels.columns != NULL && is_plain && run->steps >= LEAST_STEPS && s->passed == NULL &&
           pays(s, rows);
}

size_t lf_lanes_input_bytes(const lf_sequence *s) {
    const lf_layer *layer = s->layer;
    return layer->panels.columns == NULL ? 0 : layer->panels.features * lf_lanes_rows(layer) * layer->element_bytes;
}

/* Whether x and y come from far, and a line of them does not last for several steps: then each step fetches those of
 * the next (2000 rows of LSTM(10) 1.05 times as fast; where they are near, 0.95; Zen 4). */
static int comes_from_far(const lf_sequence *s) {
    enum { LEAST_BYTES = 48, CACHES = 2 };
    const lf_panels *panels = &s->layer->panels;
    const double bytes = (double)((panels->features + panels->units) * s->layer->element_bytes);
    const double all = (double)s->run->batch * (double)s->run->steps * bytes;
    return bytes >= LEAST_BYTES && all > CACHES * (double)lf_private_cache_bytes();
}

static struct lf_rows from_row(const lf_sequence *s, struct lf_rows rows, size_t row) {
    rows.data = (char *)lf_at(rows.data, (ptrdiff_t)row * rows.stride, s->layer->element_bytes);
    return rows;
}

void lf_run_lanes(const lf_sequence *s, const lf_part *part) {
    const lf_run *run = s->run;
    const lf_kernels *kernels = s->layer->kernels;
    const lf_lanes_cell *cell = &kernels->lanes_of[s->layer->cell];
    const lf_panels *panels = &s->layer->panels;
    const size_t units = panels->units, most = lf_lanes_rows(s->layer);
    const int is_far = comes_from_far(s);
    lf_lanes call = {.cell = cell, .x_lanes = part->inputs, .h = part->h[0], .c = part->c[0]};
    for (size_t row = 0; row < part->rows; row += most) {
        call.rows = lf_smaller(part->rows - row, most);
        const struct lf_rows h = from_row(s, lf_state_of(s, part, run->initial_h), row);
        const struct lf_rows c = from_row(s, lf_state_of(s, part, run->initial_c), row);
        kernels->to_lanes(h.data, h.stride, call.rows, units, call.h);
        if (cell->has_c) kernels->to_lanes(c.data, c.stride, call.rows, units, call.c);
        for (size_t step = 0; step < run->steps; step++) {
            const struct lf_rows x = from_row(s, lf_x_at(s, part, step), row);
            const struct lf_rows y = from_row(s, lf_y_at(s, part, step), row);
            call.x = x.data;
            call.x_stride = x.stride;
            call.y = run->return_sequences || step + 1 == run->steps ? y.data : NULL;
            call.y_stride = y.stride;
            const int fetches = is_far && step + 1 < run->steps;
            call.x_ahead = !fetches ? 0 : run->go_backwards ? -run->x_step_stride : run->x_step_stride;
            call.y_ahead = !fetches || !run->return_sequences ? 0 : run->y_step_stride;
            cell->step(panels, &call);
        }
        const struct lf_rows final_h = from_row(s, lf_state_of(s, part, run->final_h), row);
        const struct lf_rows final_c = from_row(s, lf_state_of(s, part, run->final_c), row);
        if (run->final_h != NULL) kernels->from_lanes(call.h, call.rows, units, final_h.data, final_h.stride);
        if (run->final_c != NULL) kernels->from_lanes(call.c, call.rows, units, final_c.data, final_c.stride);
    }
}
