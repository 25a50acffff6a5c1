/* A call over grids: a convolution, or an LSTM whose products are convolutions.
 *   a place of the grid is a row; for each step: (windows of x and of h there, c) -> kernel -> (h', c'),  y[step] = h'
 * Windows are put side by side for one chunk of rows at a time, by the thread that multiplies them, and stay in its
 * cache. A step reads h of other places than its own, so members meet after each.
 * Next: kernels/lstm_step.inc does the step. */
#include <string.h>

#include "crowd.h"
#include "layer.h"
#include "team.h"

/* Rows of windows lie this many elements further apart than they are long, rounded up to as many: else those of many
 * channels, a power of two, would share the same few places of a cache. */
enum { WINDOW_GAP = 16 };

/* All that a call's threads share; nothing in it changes while they run but the barrier, the queues and the grids. */
struct convolving {
    const lf_layer *layer;
    const lf_run *run;
    const lf_convolution *convolution;
    lf_windows of_h; /* with the strides of the grids below and of the initial state */
    lf_plan plan;
    size_t places;         /* of a sample: its rows */
    size_t row, rows;      /* of the call */
    size_t band_rows;      /* that go through all steps together: whole samples, where there is more than one step */
    size_t chunk_rows;     /* whose windows are put together at once, at most */
    size_t x_columns;      /* of a row's windows; those of h come behind */
    size_t zeros;          /* of those that may be left out where the state is 0: all or none */
    ptrdiff_t input_width; /* elements from one row of windows to the next */
    size_t grid_bytes, input_bytes, fresh_bytes, row_sum_bytes;
    size_t member_bytes; /* work space of one thread */
    char *zero_row;
    char *h[2], *c[2]; /* (band_rows, units): of one step and of the next */
    char *workspace;   /* member_bytes for each member */
    lf_barrier barrier;
    lf_watch watch;
    lf_queue *queues; /* of each member */
};

/* One thread's own memory. */
struct member {
    char *inputs;  /* (chunk_rows, input_width) */
    char *fresh_h; /* (chunk_rows, units), where no later step reads them */
    char *fresh_c;
    char *row_sums;
};

/* Where a row is: a sample, and a place in its grid. */
struct where {
    size_t sample, place[LF_AXES];
};

static struct where where_is(const struct convolving *s, size_t row) {
    const size_t *places = s->convolution->places;
    struct where where = {.sample = row / s->places};
    size_t rest = row % s->places;
    for (int axis = LF_AXES - 1; axis >= 0; axis--) {
        where.place[axis] = rest % places[axis];
        rest /= places[axis];
    }
    return where;
}

/* ---- windows ----------------------------------------------------------------------------------------------------- */

/* Whether a tap of a window is inside the grid, and then where. */
static int tap_of(const lf_windows *windows, int axis, size_t place, size_t tap, size_t *position) {
    const size_t shifted = place * windows->stride[axis] + tap * windows->dilation[axis];
    *position = shifted - windows->before[axis];
    return shifted >= windows->before[axis] && *position < windows->size[axis];
}

/* Whether the taps of a window along the last axis lie side by side in the grid. */
static int has_lines(const lf_windows *windows) {
    const int axis = LF_AXES - 1;
    return windows->channel_stride == 1 && windows->dilation[axis] == 1 &&
           (windows->axis_stride[axis] == (ptrdiff_t)windows->channels || windows->size[axis] == 1);
}

/* Those taps, out of a line of the grid, for `count` places from `place` on, whose windows are `stride` bytes apart. */
static void put_lines(const lf_windows *windows, const char *line, size_t place, size_t count, size_t bytes, char *to,
                      size_t stride) {
    const int axis = LF_AXES - 1;
    const size_t extent = windows->extent[axis], size = windows->size[axis], tap_bytes = windows->channels * bytes;
    const size_t step = windows->stride[axis], before = windows->before[axis], line_bytes = extent * tap_bytes;
    for (size_t i = 0, begin = place * step; i < count; i++, begin += step, to += stride) {
        if (begin >= before && begin - before + extent <= size) {
            memcpy(to, line + (begin - before) * tap_bytes, line_bytes);
            continue;
        }
        const size_t front = before > begin ? lf_smaller(before - begin, extent) : 0, start = begin + front - before;
        const size_t inside = start < size ? lf_smaller(extent - front, size - start) : 0;
        memset(to, 0, front * tap_bytes);
        if (inside > 0) memcpy(to + front * tap_bytes, line + start * tap_bytes, inside * tap_bytes);
        memset(to + (front + inside) * tap_bytes, 0, (extent - front - inside) * tap_bytes);
    }
}

/* The same, where they do not lie side by side. */
static void put_taps(const lf_windows *windows, const char *line, size_t place, size_t count, size_t bytes, char *to,
                     size_t stride) {
    const int axis = LF_AXES - 1;
    const size_t tap_bytes = windows->channels * bytes;
    for (size_t i = 0; i < count; i++, place++, to += stride) {
        char *tap_to = to;
        for (size_t tap = 0; tap < windows->extent[axis]; tap++, tap_to += tap_bytes) {
            size_t position;
            if (!tap_of(windows, axis, place, tap, &position)) {
                memset(tap_to, 0, tap_bytes);
                continue;
            }
            const char *from = lf_at(line, (ptrdiff_t)position * windows->axis_stride[axis], bytes);
            if (windows->channel_stride == 1) memcpy(tap_to, from, tap_bytes);
            else
                for (size_t channel = 0; channel < windows->channels; channel++)
                    memcpy(tap_to + channel * bytes, lf_at(from, (ptrdiff_t)channel * windows->channel_stride, bytes),
                           bytes);
        }
    }
}

/* The windows of `count` places of a grid, side by side along its last axis; NULL: a grid of zeros. */
static void put_windows(const lf_windows *windows, const char *grid, const size_t *place, size_t count, size_t bytes,
                        char *to, size_t stride) {
    const size_t line_bytes = windows->extent[LF_AXES - 1] * windows->channels * bytes;
    const int lines = has_lines(windows);
    for (size_t i = 0; i < windows->extent[0]; i++) {
        size_t first, second;
        const int inside = grid != NULL && tap_of(windows, 0, place[0], i, &first);
        for (size_t j = 0; j < windows->extent[1]; j++, to += line_bytes) {
            if (!inside || !tap_of(windows, 1, place[1], j, &second)) {
                for (size_t n = 0; n < count; n++) memset(to + n * stride, 0, line_bytes);
                continue;
            }
            const char *line = lf_at(
                grid, (ptrdiff_t)first * windows->axis_stride[0] + (ptrdiff_t)second * windows->axis_stride[1], bytes);
            if (lines) put_lines(windows, line, place[LF_AXES - 1], count, bytes, to, stride);
            else put_taps(windows, line, place[LF_AXES - 1], count, bytes, to, stride);
        }
    }
}

/* Both windows of each row, side by side. `band` is the row that the grid of h begins with. */
static void put_inputs(const struct convolving *s, size_t step, size_t band, size_t row, size_t rows, char *inputs) {
    const lf_run *run = s->run;
    const size_t bytes = s->layer->element_bytes, units = s->layer->panels.units;
    const size_t line = s->convolution->places[LF_AXES - 1], stride = (size_t)s->input_width * bytes;
    const char *h = step > 0 ? s->h[(step - 1) % 2] : run->initial_h;
    const size_t h_begin = step > 0 ? band : 0;
    for (size_t done = 0, count; done < rows; done += count, inputs += count * stride) {
        const struct where where = where_is(s, row + done);
        count = lf_smaller(line - where.place[LF_AXES - 1], rows - done);
        const ptrdiff_t sample =
            (ptrdiff_t)where.sample * run->x_row_stride + lf_time_of(run, step) * run->x_step_stride;
        put_windows(&s->convolution->x, lf_at(run->x, sample, bytes), where.place, count, bytes, inputs, stride);
        if (s->layer->cell != LF_LSTM) continue;
        const char *grid = h == NULL ? NULL : h + (where.sample * s->places - h_begin) * units * bytes;
        put_windows(&s->of_h, grid, where.place, count, bytes, inputs + s->x_columns * bytes, stride);
    }
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static char *row_of(struct lf_rows view, size_t row, size_t bytes) {
    return view.data + (ptrdiff_t)row * view.stride * (ptrdiff_t)bytes;
}

/* What a step wrote becomes the caller's; a masked row keeps its state, and repeats its output: the last one, or 0
 * before the first step or where the caller wants zeros. */
static void put_outputs(const struct convolving *s, size_t step, size_t row, size_t rows, struct lf_rows h_prev,
                        struct lf_rows h_next, struct lf_rows c_prev, struct lf_rows c_next) {
    const lf_run *run = s->run;
    const size_t bytes = s->layer->element_bytes, units = s->layer->panels.units, row_bytes = units * bytes;
    const int last = step + 1 == run->steps, masked = run->mask != NULL && s->layer->cell == LF_LSTM;
    const ptrdiff_t y_step = run->return_sequences ? run->y_step_stride : 0;
    if (!run->return_sequences && !last && !masked) return;
    size_t place = row % s->places;
    ptrdiff_t sample = (ptrdiff_t)(row / s->places);
    for (size_t i = 0; i < rows; i++, place++) {
        if (place == s->places) {
            place = 0;
            sample++;
        }
        char *y = (char *)lf_at(
            run->y, sample * run->y_row_stride + (ptrdiff_t)step * y_step + (ptrdiff_t)(place * units), bytes);
        char *h = row_of(h_next, i, bytes);
        if (masked && !run->mask[sample * run->mask_row_stride + lf_time_of(run, step) * run->mask_step_stride]) {
            memcpy(h, row_of(h_prev, i, bytes), row_bytes);
            memcpy(row_of(c_next, i, bytes), row_of(c_prev, i, bytes), row_bytes);
            if (run->zero_output_for_mask || step == 0) memset(y, 0, row_bytes);
            else if (run->return_sequences) memcpy(y, y - y_step * (ptrdiff_t)bytes, row_bytes);
        } else {
            memcpy(y, h, row_bytes);
        }
        if (last && run->final_h != NULL) memcpy((char *)run->final_h + (row + i) * row_bytes, h, row_bytes);
    }
}

static struct lf_rows state_at(const struct convolving *s, const void *state, size_t row) {
    const size_t units = s->layer->panels.units;
    if (state == NULL) return (struct lf_rows){s->zero_row, 0};
    return (struct lf_rows){(char *)state + row * units * s->layer->element_bytes, (ptrdiff_t)units};
}

/* One step of some rows of a band. */
static void run_chunk(const struct convolving *s, const struct member *member, size_t step, size_t band, size_t row,
                      size_t rows) {
    const lf_layer *layer = s->layer;
    const lf_run *run = s->run;
    const ptrdiff_t units = (ptrdiff_t)layer->panels.units;
    const int last = step + 1 == run->steps, has_cell = layer->cell == LF_LSTM;
    const int keeps_both = run->mask != NULL; /* a masked row's new state is what the old one was */
    put_inputs(s, step, band, row, rows, member->inputs);

    struct lf_rows h_prev = {NULL, 0}, c_prev = {NULL, 0}, c_next = {NULL, 0}, h_next = {member->fresh_h, units};
    if (has_cell) {
        h_prev = step > 0 ? state_at(s, s->h[(step - 1) % 2], row - band) : state_at(s, run->initial_h, row);
        c_prev = step > 0 ? state_at(s, s->c[keeps_both ? (step - 1) % 2 : 0], row - band)
                          : state_at(s, run->initial_c, row);
        c_next = (struct lf_rows){member->fresh_c, units};
        if (!last) {
            h_next = state_at(s, s->h[step % 2], row - band);
            c_next = state_at(s, s->c[keeps_both ? step % 2 : 0], row - band);
        } else if (run->final_c != NULL) {
            c_next = state_at(s, run->final_c, row);
        }
    }
    const lf_step call = {.rows = rows,
                          .block_end = layer->panels.block_count,
                          .x = member->inputs,
                          .x_stride = s->input_width,
                          .h_next = h_next.data,
                          .h_next_stride = h_next.stride,
                          .c_prev = c_prev.data,
                          .c_prev_stride = c_prev.stride,
                          .c_next = c_next.data,
                          .c_next_stride = c_next.stride,
                          .row_sums = member->row_sums,
                          .zeros = step == 0 && run->initial_h == NULL ? s->zeros : 0};
    layer->kernels->step[layer->cell](&layer->panels, &call);
    put_outputs(s, step, row, rows, h_prev, h_next, c_prev, c_next);
}

/* One step of a band: each member's own chunks, the same in every step, then those that others have not begun. */
static void run_step(const struct convolving *s, const struct member *member, size_t step, size_t band, size_t rows,
                     size_t me, size_t team) {
    const size_t of_member = (rows + team - 1) / team;
    const size_t own = (of_member + s->chunk_rows - 1) / s->chunk_rows, chunks = own * team;
    lf_queue *queue = s->queues + me;
    const size_t parity = team > 1 ? queue->rounds++ % 2 : 0;
    if (team > 1) atomic_store_explicit(&queue->next[1 - parity], 0, memory_order_relaxed);
    for (size_t i = 0; i < team; i++) {
        const size_t whose = (me + i) % team;
        for (size_t next = 0;; next++) {
            if (team > 1) next = atomic_fetch_add_explicit(&s->queues[whose].next[parity], 1, memory_order_relaxed);
            if (next >= own) break;
            const size_t chunk = whose * own + next;
            const size_t begin = lf_part_begin(rows, chunk, chunks), end = lf_part_begin(rows, chunk + 1, chunks);
            if (begin < end) run_chunk(s, member, step, band, band + begin, end - begin);
        }
    }
}

static void run_share(struct convolving *s, size_t me, size_t team) {
    char *memory = s->workspace + me * s->member_bytes;
    struct member member = {.inputs = memory, .fresh_h = memory + s->input_bytes};
    member.fresh_c = member.fresh_h + s->fresh_bytes;
    member.row_sums = member.fresh_c + s->fresh_bytes;
    for (size_t done = 0; done < s->rows; done += s->band_rows) {
        const size_t rows = lf_smaller(s->band_rows, s->rows - done);
        for (size_t step = 0; step < s->run->steps; step++) {
            run_step(s, &member, step, s->row + done, rows, me, team);
            if (team > 1 && s->layer->cell == LF_LSTM && !lf_barrier_wait(&s->barrier, (int)me, (int)team)) {
                if (me > 0) return; /* the team scatters: its first member goes on with all rows */
                team = 1;
            }
        }
    }
}

static void run_member(void *context, int index, int count) {
    struct convolving *s = context;
    const unsigned long long before = lf_member_begin(&s->watch, count);
    run_share(s, (size_t)index, (size_t)count);
    lf_member_end(&s->watch, count, before);
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

/* Rows of which a member's own cache holds the grids of a step, beside weights and windows. */
static size_t rows_of_member(const lf_layer *layer) {
    enum { GRIDS = 3 };
    const size_t rows = lf_private_cache_bytes() / 2 / (GRIDS * layer->panels.units * layer->element_bytes);
    return rows > 0 ? rows : 1;
}

/* Samples that go through the steps together. */
static size_t rows_of_band(const struct convolving *s) {
    if (s->run->steps == 1) return s->rows;
    const size_t rows = rows_of_member(s->layer) * (size_t)s->plan.threads;
    const size_t samples = rows / s->places > 0 ? rows / s->places : 1;
    const size_t bands = (s->run->batch + samples - 1) / samples; /* of nearly equal height */
    return (s->run->batch + bands - 1) / bands * s->places;
}

static lf_status plan(struct convolving *s) {
    const lf_layer *layer = s->layer;
    const lf_run *run = s->run;
    const lf_panels *panels = &layer->panels;
    const size_t bytes = layer->element_bytes;
    const int has_state = layer->cell == LF_LSTM;
    s->input_width = (ptrdiff_t)(lf_round_up(panels->features, WINDOW_GAP) + WINDOW_GAP);
    s->chunk_rows = lf_rows_of_chunk(layer, (size_t)s->input_width * bytes);
    const double row_steps = (double)s->rows * (double)run->steps;
    const double products = row_steps * lf_sum_vectors(panels) * (double)panels->features;
    const lf_work work = {.rows = s->rows,
                          .steps = run->steps,
                          .blocks = panels->block_count,
                          .last_block = lf_last_block(panels),
                          .chunk_rows = s->chunk_rows,
                          .products = products,
                          .updates = row_steps * lf_state_vectors(layer, s->rows),
                          .product_ns = lf_product_ns(layer->kernels, products),
                          .weight_bytes = layer->weight_bytes,
                          .meet_rows = has_state ? rows_of_member(layer) : 0};
    s->plan = lf_plan_threads(&work, run->threads > 0 ? run->threads : lf_threads_free());
    s->band_rows = rows_of_band(s);
    s->chunk_rows = lf_smaller(s->chunk_rows, s->band_rows);
    if (s->plan.threads > 1 && lf_crowd_lately())
        s->chunk_rows = lf_smaller(s->chunk_rows, LF_CROWDED_TILES * layer->kernels->tile_rows);

    size_t grid = 0, inputs, fresh, sums = 0;
    if (has_state && run->steps > 1 &&
        (!lf_multiply(s->band_rows, panels->units, &grid) || !lf_multiply(grid, bytes, &grid)))
        return LF_NO_MEMORY;
    if (!lf_multiply(s->chunk_rows, (size_t)s->input_width, &inputs) || !lf_multiply(inputs, bytes, &inputs) ||
        !lf_multiply(s->chunk_rows, panels->units, &fresh) || !lf_multiply(fresh, bytes, &fresh))
        return LF_NO_MEMORY;
    if (panels->row_activations && !lf_multiply(fresh, LF_ROW_SUMS, &sums)) return LF_NO_MEMORY;
    s->grid_bytes = lf_round_up(grid, LF_ALIGNMENT);
    s->input_bytes = lf_round_up(inputs, LF_ALIGNMENT);
    s->fresh_bytes = lf_round_up(fresh, LF_ALIGNMENT);
    s->row_sum_bytes = lf_round_up(sums, LF_ALIGNMENT);
    size_t own;
    if (!lf_sum(s->input_bytes, 2 * s->fresh_bytes, &own) || !lf_sum(own, s->row_sum_bytes + LF_APART_BYTES, &own))
        return LF_NO_MEMORY;
    s->member_bytes = own;
    return LF_OK;
}

static lf_status run_planned(struct convolving *s) {
    const size_t threads = (size_t)s->plan.threads, zero_bytes = s->layer->panels.units * s->layer->element_bytes;
    const size_t arrivals = threads * sizeof(lf_arrival), queues = threads * sizeof(lf_queue);
    const size_t shared = lf_round_up(arrivals + queues + zero_bytes, LF_ALIGNMENT);
    size_t grids, members, total;
    if (!lf_multiply(4, s->grid_bytes, &grids) || !lf_multiply(threads, s->member_bytes, &members) ||
        !lf_sum(grids, members, &total) || !lf_sum(total, shared, &total))
        return LF_NO_MEMORY;
    char *memory = lf_allocate(total);
    if (memory == NULL) return LF_NO_MEMORY;
    memset(memory, 0, shared);
    s->barrier.arrivals = (lf_arrival *)memory;
    s->queues = (lf_queue *)(memory + arrivals);
    s->zero_row = memory + arrivals + queues;
    for (size_t i = 0; i < 2; i++) {
        s->h[i] = memory + shared + i * s->grid_bytes;
        s->c[i] = memory + shared + (2 + i) * s->grid_bytes;
    }
    s->workspace = memory + shared + grids;
    lf_run_planned(&s->plan, &s->barrier, &s->watch, run_member, s);
    lf_release(memory);
    return LF_OK;
}

lf_status lf_convolution_run(const lf_layer *layer, const lf_run *run) {
    const lf_convolution *convolution = run->convolution;
    struct convolving s = {.layer = layer, .run = run, .convolution = convolution, .of_h = convolution->h};
    s.places = 1;
    ptrdiff_t stride = (ptrdiff_t)layer->panels.units;
    s.of_h.channel_stride = 1;
    for (int axis = LF_AXES - 1; axis >= 0; axis--) {
        s.places *= convolution->places[axis];
        s.of_h.axis_stride[axis] = stride;
        stride *= (ptrdiff_t)convolution->places[axis];
    }
    s.x_columns = convolution->x.channels;
    for (int axis = 0; axis < LF_AXES; axis++) s.x_columns *= convolution->x.extent[axis];
    const size_t h_columns = layer->panels.features - s.x_columns;
    const size_t least = layer->panels.zeros_least;
    s.zeros = least > 0 && h_columns >= least ? h_columns : 0;
    s.row = convolution->first;
    s.rows = convolution->rows > 0 ? convolution->rows : run->batch * s.places;
    const lf_status status = plan(&s);
    return status == LF_OK ? run_planned(&s) : status;
}
