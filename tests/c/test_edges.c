/* Edges: every array ends, and then begins, at a page that may not be touched (masked vector loads escape the address
 * sanitizer); the caller's floating-point state; absurd numbers of threads; arguments out of range; each activation in
 * place and in a layer; memory of outputs; teams of a forked child. Next: csrc/core/layer.c and csrc/core/sequence.c.
 */
#define _GNU_SOURCE
#include <lstmfast.h>
#include <core/threads.h>
#include <isa/cpu.h>

#include <fenv.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "checks.h"

#if defined(__SANITIZE_ADDRESS__)
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; } /* absurd sizes are asked for */
#endif

static const size_t gates[LF_CELL_COUNT] = {4, 3, 3, 1, 1};

static void fill(lf_real real, void *array, size_t count, double scale) {
    for (size_t i = 0; i < count; i++) {
        const double value = scale * ((double)((i * 2654435761U) % 1009) / 504.0 - 1);
        put(real, array, i, value);
    }
}

/* ---- arrays between guard pages -----------------------------------------------------------------------------------
 */

#if defined(__linux__)
enum { KERNEL, RECURRENT, BIAS, X, H, C, Y, MASK, INDICES, TABLE, ARRAYS };

struct shape {
    lf_cell cell;
    lf_real real;
    size_t features, units, batch, steps;
    const char *activation;
    int variant; /* 0 plain, 1 masked, 2 one step repeated, 3 from a table */
    int threads;
};

static void run_guarded(const struct shape *s, int at_end) {
    const size_t bytes = s->real == LF_F32 ? sizeof(float) : sizeof(double), columns = gates[s->cell] * s->units;
    const size_t width = 4 * s->units + 64, inputs = s->batch * s->steps, states = s->batch * s->units;
    const int dense = s->cell == LF_DENSE, lstm = s->cell == LF_LSTM;
    const size_t sizes[ARRAYS] = {[KERNEL] = s->features * columns * bytes,
                                  [RECURRENT] = s->units * columns * bytes,
                                  [BIAS] = (s->cell == LF_GRU ? 2 : 1) * columns * bytes,
                                  [X] = (s->variant == 2 ? s->batch : inputs) * s->features * bytes,
                                  [H] = states * bytes,
                                  [C] = states * bytes,
                                  [Y] = inputs * s->units * bytes,
                                  [MASK] = inputs,
                                  [INDICES] = inputs * sizeof(int32_t),
                                  [TABLE] = 3 * width * bytes};
    struct guarded arrays[ARRAYS];
    for (int i = 0; i < ARRAYS; i++) {
        arrays[i] = guard(sizes[i], at_end);
        if (i < Y) fill(s->real, arrays[i].data, sizes[i] / bytes, 0.4);
    }
    for (size_t i = 0; i < inputs; i++) {
        ((uint8_t *)arrays[MASK].data)[i] = i % 3 != 1;
        ((int32_t *)arrays[INDICES].data)[i] = (int32_t)(i % 3);
    }
    const lf_layer_config config = {.cell = s->cell,
                                    .real = s->real,
                                    .features = s->features,
                                    .units = s->units,
                                    .activation = {.kind = lf_activation_find(s->activation)},
                                    .recurrent_activation = {.kind = lf_activation_find("sigmoid")},
                                    .kernel = arrays[KERNEL].data,
                                    .recurrent_kernel = dense ? NULL : arrays[RECURRENT].data,
                                    .bias = arrays[BIAS].data};
    lf_layer *layer = NULL;
    expect(lf_layer_create(&config, &layer) == LF_OK, "create between guards");
    const size_t table_width = lf_projection_width(layer);
    const int indexed = s->variant == 3 && table_width > 0;
    expect(table_width <= width, "a projection's width");
    char *table = arrays[TABLE].data;
    if (at_end) table += 3 * (width - table_width) * bytes;
    if (indexed && inputs >= 3)
        expect(lf_layer_project(layer, arrays[X].data, (ptrdiff_t)s->features, 3, table) == LF_OK, "project");
    const lf_run run = {.batch = s->batch,
                        .steps = s->steps,
                        .x = indexed ? NULL : arrays[X].data,
                        .x_row_stride = (ptrdiff_t)((s->variant == 2 ? 1 : s->steps) * s->features),
                        .x_step_stride = s->variant == 2 ? 0 : (ptrdiff_t)s->features,
                        .mask = s->variant == 1 ? arrays[MASK].data : NULL,
                        .mask_row_stride = (ptrdiff_t)s->steps,
                        .mask_step_stride = 1,
                        .initial_h = dense ? NULL : arrays[H].data,
                        .initial_c = lstm ? arrays[C].data : NULL,
                        .y = arrays[Y].data,
                        .y_row_stride = (ptrdiff_t)(s->steps * s->units),
                        .y_step_stride = (ptrdiff_t)s->units,
                        .final_h = dense ? NULL : arrays[H].data,
                        .final_c = lstm ? arrays[C].data : NULL,
                        .return_sequences = 1,
                        .go_backwards = s->variant == 1,
                        .threads = s->threads,
                        .table = indexed ? table : NULL,
                        .table_rows = 3,
                        .indices = arrays[INDICES].data,
                        .index_row_stride = (ptrdiff_t)s->steps,
                        .index_step_stride = 1};
    expect(lf_layer_run(layer, &run) == LF_OK, "run between guards");
    lf_layer_destroy(layer);
    for (int i = 0; i < ARRAYS; i++) unguard(arrays[i]);
}

static void check_bounds(void) {
    static const size_t units[] = {1, 3, 6, 9, 17, 35, 130};
    for (int cell = 0; cell < LF_CELL_COUNT; cell++)
        for (size_t i = 0; i < 4 * 2 * 7; i++) {
            const size_t steps = cell == LF_DENSE ? 1 : 4;
            const struct shape shape = {.cell = (lf_cell)cell,
                                        .real = i / 4 % 2 ? LF_F64 : LF_F32,
                                        .features = 1 + i % 5 * 7,
                                        .units = units[i / 8],
                                        .batch = 1 + i % 7,
                                        .steps = steps,
                                        .activation = i % 9 == 8 ? "softmax"
                                                      : i % 3    ? "tanh"
                                                                 : "gelu",
                                        .variant = (int)(i % 4),
                                        .threads = 1 + (int)(i % 3)};
            run_guarded(&shape, 0);
            run_guarded(&shape, 1);
        }
    /* Few units of many rows: rows are lanes, some of which have none. */
    for (size_t i = 0; i < 2 * 14 * 3 * 2; i++) {
        const struct shape narrow = {.cell = i / 84 == 0 ? LF_LSTM : LF_GRU,
                                     .real = i % 2 ? LF_F64 : LF_F32,
                                     .features = 1 + i % 7 * 5,
                                     .units = 1 + i / 2 % 14,
                                     .batch = 12 + i % 11 * 13,
                                     .steps = 5,
                                     .activation = i % 3 ? "tanh" : "gelu",
                                     .variant = 0,
                                     .threads = 1 + (int)(i / 28 % 3)};
        run_guarded(&narrow, 0);
        run_guarded(&narrow, 1);
    }
    const struct shape wide = {LF_LSTM, LF_F32, 400, 150, 26, 2, "tanh", 0, 2};
    run_guarded(&wide, 0);
    run_guarded(&wide, 1);
}

/* Grids whose windows reach over every border. */
static void run_grid_guarded(lf_real real, int channels_first, int threads, int at_end) {
    enum { GRID_UNITS = 5, BATCH = 9, STEPS = 3, WIDE = 30, HIGH = 7, PLACES = WIDE * HIGH };
    const size_t bytes = real == LF_F32 ? sizeof(float) : sizeof(double);
    const size_t channels = 3, columns = 9 * (channels + GRID_UNITS), states = BATCH * PLACES * GRID_UNITS;
    const size_t sizes[] = {columns * 4 * GRID_UNITS * bytes,
                            BATCH * STEPS * PLACES * channels * bytes,
                            states * bytes,
                            states * bytes,
                            states * bytes,
                            states * bytes,
                            STEPS * states * bytes};
    enum { KERNEL_OF_GRID, X_OF_GRID, H0, C0, H1, C1, Y_OF_GRID, ALL };
    struct guarded arrays[ALL];
    for (int i = 0; i < ALL; i++) {
        arrays[i] = guard(sizes[i], at_end);
        fill(real, arrays[i].data, sizes[i] / bytes, 0.3);
    }
    const lf_layer_config config = {.cell = LF_LSTM,
                                    .real = real,
                                    .features = columns,
                                    .units = GRID_UNITS,
                                    .activation = {.kind = lf_activation_find("tanh")},
                                    .recurrent_activation = {.kind = lf_activation_find("sigmoid")},
                                    .kernel = arrays[KERNEL_OF_GRID].data};
    const lf_windows x = {.channels = channels,
                          .size = {1, HIGH, WIDE},
                          .extent = {1, 3, 3},
                          .stride = {1, 1, 1},
                          .dilation = {1, 1, 1},
                          .before = {0, 1, 1},
                          .axis_stride = {0, WIDE * (channels_first ? 1 : 3), channels_first ? 1 : 3},
                          .channel_stride = channels_first ? PLACES : 1};
    lf_windows h = x;
    h.channels = GRID_UNITS;
    const lf_convolution convolution = {.places = {1, HIGH, WIDE}, .x = x, .h = h};
    const lf_run run = {.batch = BATCH,
                        .steps = STEPS,
                        .x = arrays[X_OF_GRID].data,
                        .x_row_stride = (ptrdiff_t)(STEPS * PLACES * channels),
                        .x_step_stride = (ptrdiff_t)(PLACES * channels),
                        .initial_h = arrays[H0].data,
                        .initial_c = arrays[C0].data,
                        .y = arrays[Y_OF_GRID].data,
                        .y_row_stride = STEPS * PLACES * GRID_UNITS,
                        .y_step_stride = PLACES * GRID_UNITS,
                        .final_h = arrays[H1].data,
                        .final_c = arrays[C1].data,
                        .return_sequences = 1,
                        .threads = threads,
                        .convolution = &convolution};
    lf_layer *layer = NULL;
    expect(lf_layer_create(&config, &layer) == LF_OK, "create between guards");
    expect(lf_layer_run(layer, &run) == LF_OK, "grids between guards");
    lf_layer_destroy(layer);
    for (int i = 0; i < ALL; i++) unguard(arrays[i]);
}

static void check_grid_bounds(void) {
    for (int i = 0; i < 16; i++) run_grid_guarded(i & 1 ? LF_F64 : LF_F32, i & 2, i & 4 ? 3 : 1, i & 8);
}
#else
static void check_bounds(void) {}
static void check_grid_bounds(void) {}
#endif

/* ---- arguments, threads, floating-point state ---------------------------------------------------------------------
 */

enum { UNITS = 40, FEATURES = 9 };
static float kernel[FEATURES * 4 * UNITS], recurrent[UNITS * 4 * UNITS], bias[6 * UNITS];

static lf_layer_config config_of(lf_cell cell) {
    return (lf_layer_config){.cell = cell,
                             .real = LF_F32,
                             .features = FEATURES,
                             .units = UNITS,
                             .activation = {.kind = lf_activation_find("tanh")},
                             .recurrent_activation = {.kind = lf_activation_find("sigmoid")},
                             .kernel = kernel,
                             .recurrent_kernel = cell == LF_DENSE ? NULL : recurrent,
                             .bias = bias};
}

static lf_layer *layer_of(lf_cell cell) {
    const lf_layer_config config = config_of(cell);
    lf_layer *layer = NULL;
    expect(lf_layer_create(&config, &layer) == LF_OK, "create");
    if (layer == NULL) exit(1);
    return layer;
}

static void check_create(void) {
    lf_layer *layer = NULL;
    for (int i = 0; i < 9; i++) {
        lf_layer_config config = config_of(LF_LSTM);
        if (i == 0) config.cell = LF_CELL_COUNT;
        if (i == 1) config.real = LF_REAL_COUNT;
        if (i == 2) config.features = 0;
        if (i == 3) config.kernel = NULL;
        if (i == 4) config.cell = LF_GRU, config.recurrent_kernel = NULL;
        if (i == 5) config.activation.kind = -1;
        if (i == 6) config.recurrent_activation.kind = INT_MAX;
        if (i == 7) config.cell = LF_DENSE; /* has no recurrent kernel */
        expect(lf_layer_create(&config, i == 8 ? NULL : &layer) == LF_INVALID, "create: out of range");
    }
    /* Products and sums of sizes that do not fit: all of them fail before any memory is read. */
    for (int cell = 0; cell < LF_CELL_COUNT; cell++)
        for (int shift = 20; shift < 64; shift++)
            for (int which = 0; which < 3; which++) {
                lf_layer_config config = config_of((lf_cell)cell);
                const size_t absurd = shift == 63 ? SIZE_MAX - 1 : (size_t)1 << shift;
                if (which != 0) config.features = absurd;
                if (which != 1) config.units = absurd;
                const double weights = (double)config.units * ((double)config.features + (double)config.units);
                if (weights < 0x1p60) continue; /* a machine might grant that much, to be read by nobody */
                expect(lf_layer_create(&config, &layer) == LF_NO_MEMORY, "create: absurd sizes");
            }
    expect(layer == NULL, "create: no layer was given");
    lf_layer_destroy(NULL);
}

static void check_run(void) {
    float x[3 * FEATURES] = {0}, y[3 * UNITS], state[UNITS] = {0};
    int32_t indices[3] = {0, 1, 2};
    lf_layer *lstm = layer_of(LF_LSTM), *gru = layer_of(LF_GRU), *dense = layer_of(LF_DENSE);
    lf_layer *before = layer_of(LF_GRU_RESET_BEFORE);
    float *table = calloc(3 * lf_projection_width(lstm), sizeof *table);
    for (int i = 0; i < 15; i++) {
        lf_run run = {.batch = 1, .steps = 3, .x = x, .x_step_stride = FEATURES, .y = y, .threads = 1};
        const lf_layer *layer = lstm;
        if (i == 0) layer = NULL;
        if (i == 1) run.threads = -1;
        if (i == 2) run.steps = 0;
        if (i == 3) run.x = NULL;
        if (i == 4) run.y = NULL;
        if (i == 5) layer = dense;
        if (i == 6) layer = gru, run.initial_c = state;
        if (i == 7) layer = gru, run.final_c = state;
        if (i >= 8) run.table = table, run.table_rows = 3, run.indices = indices, run.index_step_stride = 1;
        if (i == 8) layer = dense;
        if (i == 9) layer = before;
        if (i == 10) run.indices = NULL;
        if (i == 11) run.table_rows = 2;
        indices[1] = i == 12 ? -1 : i == 13 ? INT32_MIN : i == 14 ? INT32_MAX : 1;
        expect(lf_layer_run(layer, &run) == LF_INVALID, "run: out of range");
    }
    lf_run none = {.batch = 0, .steps = 3};
    expect(lf_layer_run(lstm, NULL) == LF_INVALID, "run: no call");
    expect(lf_layer_run(lstm, &none) == LF_OK, "run: no rows");
    expect(lf_projection_width(NULL) == 0 && lf_projection_width(dense) == 0 && lf_projection_width(before) == 0,
           "a projection's width");
    expect(lf_layer_project(dense, x, 0, 1, table) == LF_INVALID, "project: a dense layer");
    expect(lf_layer_project(lstm, NULL, 0, 1, table) == LF_INVALID, "project: no x");
    expect(lf_layer_project(lstm, x, 0, 1, NULL) == LF_INVALID, "project: nowhere");
    expect(lf_layer_project(lstm, x, 0, 0, table) == LF_OK, "project: no rows");
    free(table);
    lf_layer_destroy(lstm);
    lf_layer_destroy(gru);
    lf_layer_destroy(dense);
    lf_layer_destroy(before);
}

/* Descriptions of grids that do not fit the layer, or that nobody could count. */
static void check_grids(void) {
    enum { GRID_UNITS = 3, PLACES = 5, COLUMNS = 3 * (2 + GRID_UNITS) };
    float x[2 * PLACES] = {0}, y[PLACES * GRID_UNITS], state[2][PLACES * GRID_UNITS] = {{0}};
    lf_layer_config config = config_of(LF_LSTM);
    config.features = COLUMNS;
    config.units = GRID_UNITS;
    config.recurrent_kernel = NULL;
    config.bias = NULL;
    lf_layer *layer = NULL, *with_h = layer_of(LF_LSTM), *gru = layer_of(LF_GRU);
    expect(lf_layer_create(&config, &layer) == LF_OK, "create");
    for (int i = 0; i < 22; i++) {
        lf_convolution grids = {.places = {1, 1, PLACES}, .x = {.channels = 2}};
        grids.x = (lf_windows){.channels = 2,
                               .size = {1, 1, PLACES},
                               .extent = {1, 1, 3},
                               .stride = {1, 1, 1},
                               .dilation = {1, 1, 1},
                               .before = {0, 0, 1},
                               .axis_stride = {0, 0, 2},
                               .channel_stride = 1};
        grids.h = grids.x;
        grids.h.channels = GRID_UNITS;
        lf_run run = {.batch = 1,
                      .steps = 1,
                      .x = x,
                      .y = y,
                      .initial_h = state[0],
                      .final_h = state[1],
                      .threads = 1,
                      .convolution = &grids};
        const lf_layer *own = layer;
        if (i == 1) own = with_h;
        if (i == 2) own = gru;
        if (i == 3) grids.x.channels = 0;
        if (i == 4) grids.x.channels = 3;
        if (i == 5) grids.x.extent[0] = 0;
        if (i == 6) grids.x.extent[2] = SIZE_MAX;
        if (i == 7) grids.x.stride[1] = 0;
        if (i == 8) grids.x.stride[2] = SIZE_MAX / 2;
        if (i == 9) grids.x.dilation[2] = 0;
        if (i == 10) grids.h.dilation[2] = SIZE_MAX / 3;
        if (i == 11) grids.h.extent[2] = 2;
        if (i == 12) grids.h.channels = GRID_UNITS + 1;
        if (i == 13) grids.h.size[2] = PLACES - 1;
        if (i == 14) grids.places[0] = SIZE_MAX / 16; /* the sizes of h stay */
        if (i == 15) grids.places[0] = grids.h.size[0] = SIZE_MAX / 4;
        if (i == 16) grids.rows = PLACES + 1;
        if (i == 17) grids.first = 1; /* and all rows */
        if (i == 18) grids.rows = 2, grids.first = PLACES - 1;
        if (i == 19) grids.rows = 2, run.steps = 2;
        if (i == 20) run.initial_h = state[1];
        if (i == 21) run.initial_c = run.final_c = state[0];
        expect(lf_layer_run(own, &run) == (i == 0 ? LF_OK : LF_INVALID), "grids: out of range");
        const lf_layer *const pair[2] = {own, own};
        const lf_run *const runs[2] = {&run, &run};
        expect(lf_layers_run(pair, runs, 2, LF_BESIDE) == (i == 0 ? LF_OK : LF_INVALID),
               "a pair of grids: out of range");
        if (i > 0) continue;
        grids.places[2] = grids.h.size[2] = 0;
        expect(lf_layer_run(own, &run) == LF_OK, "grids without places");
    }
    lf_layer_destroy(layer);
    lf_layer_destroy(with_h);
    lf_layer_destroy(gru);
}

/* More threads than rows, than blocks, than any machine has. */
static void check_threads(void) {
    enum { ROWS = 64, STEPS = 24 };
    lf_layer *layer = layer_of(LF_LSTM);
    float *x = malloc(sizeof(float) * ROWS * STEPS * FEATURES), *y[2];
    fill(LF_F32, x, ROWS * STEPS * FEATURES, 1);
    for (int i = 0; i < 2; i++) y[i] = calloc(ROWS * STEPS * UNITS, sizeof *y[i]);
    static const int threads[] = {7, 64, INT_MAX};
    for (size_t i = 0; i < 2 * 3; i++) {
        lf_run run = {.batch = i % 2 ? 2 : ROWS,
                      .steps = STEPS,
                      .x = x,
                      .x_row_stride = STEPS * FEATURES,
                      .x_step_stride = FEATURES,
                      .y = y[0],
                      .y_row_stride = STEPS * UNITS,
                      .y_step_stride = UNITS,
                      .return_sequences = 1,
                      .threads = 1};
        expect(lf_layer_run(layer, &run) == LF_OK, "run on one thread");
        run.y = y[1];
        run.threads = threads[i / 2];
        expect(lf_layer_run(layer, &run) == LF_OK, "run on absurdly many threads");
        expect(memcmp(y[0], y[1], run.batch * STEPS * UNITS * sizeof(float)) == 0, "bits on absurdly many threads");
    }
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
    const pid_t child = fork(); /* libgomp's team is gone there: it must not be waited for */
    if (child == 0) {
        alarm(20);
        memset(y[1], 0, ROWS * STEPS * UNITS * sizeof(float));
        const lf_run run = {.batch = 2,
                            .steps = STEPS,
                            .x = x,
                            .x_row_stride = STEPS * FEATURES,
                            .x_step_stride = FEATURES,
                            .y = y[1],
                            .y_row_stride = STEPS * UNITS,
                            .y_step_stride = UNITS,
                            .return_sequences = 1,
                            .threads = 2};
        const int right =
            lf_layer_run(layer, &run) == LF_OK && memcmp(y[0], y[1], 2 * STEPS * UNITS * sizeof(float)) == 0;
        _exit(right ? 0 : 1);
    }
    int status = -1;
    expect(child > 0 && waitpid(child, &status, 0) == child && status == 0, "a forked child");
#endif
    for (int i = 0; i < 2; i++) free(y[i]);
    free(x);
    lf_layer_destroy(layer);

    int before, third;
    expect(lf_set_threads(3, &before) == LF_OK && lf_threads() == 3, "threads: set");
    expect(lf_set_threads(1025, &third) == LF_INVALID && lf_threads() == 3, "threads: too many");
    expect(lf_set_threads(0, &third) == LF_OK && lf_threads() >= 1 && third == 3, "threads: the default");
    setenv("OMP_NUM_THREADS", "1,2", 1);
    expect(lf_set_threads(0, NULL) == LF_OK && lf_threads() == 1, "threads: OMP_NUM_THREADS");
    setenv("LSTMFAST_NUM_THREADS", "5", 1);
    expect(lf_set_threads(0, NULL) == LF_OK && lf_threads() == 5, "threads: LSTMFAST_NUM_THREADS");
    setenv("LSTMFAST_NUM_THREADS", "-5", 1);
    expect(lf_set_threads(0, NULL) == LF_OK && lf_threads() == 1, "threads: a senseless LSTMFAST_NUM_THREADS");
    unsetenv("LSTMFAST_NUM_THREADS");
    unsetenv("OMP_NUM_THREADS");
    lf_set_threads(before, NULL);
}

static unsigned long long floating_point_state(void) {
    const unsigned long long state = lf_set_arithmetic();
    lf_restore_arithmetic(state);
    return state;
}

/* Subnormal inputs give the same bits projected ahead and read in each step; the caller's state is as before. */
static void check_subnormals(void) {
    enum { ROWS = 5 };
    float x[ROWS * FEATURES], y[2][ROWS * UNITS];
    fill(LF_F32, x, ROWS * FEATURES, 0x1p-128);
    for (int i = 0; i < ROWS * FEATURES; i += 3) x[i] *= 0x1p20f;
    static const float no_bias[6 * UNITS];
    lf_layer_config config = config_of(LF_SIMPLE_RNN);
    config.bias = no_bias;
    config.activation.kind = lf_activation_find("linear");
    lf_layer *layer = NULL;
    expect(lf_layer_create(&config, &layer) == LF_OK, "create");
    const unsigned long long before = floating_point_state();
    const int rounding = fegetround();
    const int32_t indices[ROWS] = {0, 1, 2, 3, 4};
    float *table = calloc(ROWS * lf_projection_width(layer), sizeof *table);
    expect(lf_layer_project(layer, x, FEATURES, ROWS, table) == LF_OK, "project");
    expect(floating_point_state() == before, "project: floating-point state");
    lf_run run = {
        .batch = ROWS, .steps = 1, .x = x, .x_row_stride = FEATURES, .y = y[0], .y_row_stride = UNITS, .threads = 1};
    expect(lf_layer_run(layer, &run) == LF_OK, "run");
    run = (lf_run){.batch = ROWS,
                   .steps = 1,
                   .y = y[1],
                   .y_row_stride = UNITS,
                   .threads = 2,
                   .table = table,
                   .table_rows = ROWS,
                   .indices = indices,
                   .index_row_stride = 1};
    expect(lf_layer_run(layer, &run) == LF_OK, "run");
    expect(memcmp(y[0], y[1], sizeof y[0]) == 0, "subnormal inputs through a table");
    expect(floating_point_state() == before && fegetround() == rounding, "run: floating-point state");
    free(table);
    lf_layer_destroy(layer);
}

/* Until calm_caller: the caller rounds otherwise, and its undefined results trap. */
static void set_caller(int rounding) {
    fesetround(rounding);
#if defined(__GLIBC__) && defined(__x86_64__)
    feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW);
#endif
}

static void calm_caller(void) {
#if defined(__GLIBC__) && defined(__x86_64__)
    fedisableexcept(FE_ALL_EXCEPT);
#endif
    fesetround(FE_TONEAREST);
}

static const int roundings[] = {FE_TONEAREST, FE_UPWARD, FE_TOWARDZERO};

/* The same bits on one thread and on several, of which only the first inherits what the caller has set, and it goes on
 * as before. */
static void check_arithmetic(void) {
    enum { ROWS = 64, STEPS = 24 };
    float *x = malloc(sizeof(float) * ROWS * STEPS * FEATURES), *y[2];
    for (int i = 0; i < 2; i++) y[i] = malloc(ROWS * UNITS * sizeof *y[i]);
    fill(LF_F32, x, ROWS * STEPS * FEATURES, 1);
    lf_layer *layer = layer_of(LF_LSTM);
    for (int i = 0; i < 2 * 3; i++) {
        const int rounding = roundings[i / 2];
        lf_run run = {.batch = ROWS,
                      .steps = STEPS,
                      .x = x,
                      .x_row_stride = STEPS * FEATURES,
                      .x_step_stride = FEATURES,
                      .y = y[i > 0],
                      .y_row_stride = UNITS,
                      .threads = 1 + i % 2};
        set_caller(rounding);
        const unsigned long long before = floating_point_state();
        const lf_status status = lf_layer_run(layer, &run);
        const int same = floating_point_state() == before && fegetround() == rounding;
        calm_caller();
        expect(status == LF_OK && same, "the caller's rounding and traps stay");
        expect(memcmp(y[0], y[i > 0], ROWS * UNITS * sizeof(float)) == 0,
               "the same bits whatever the caller's rounding");
    }
    for (int i = 0; i < 2; i++) free(y[i]);
    free(x);
    lf_layer_destroy(layer);
}

/* Likewise a layer that is created so, with biases to be added up, and weights that are no numbers. */
static void check_arithmetic_of_creation(void) {
    float x[FEATURES], y[2][UNITS], strange[sizeof recurrent / sizeof *recurrent];
    fill(LF_F32, x, FEATURES, 1);
    memcpy(strange, recurrent, sizeof recurrent);
    for (size_t i = 0; i < 3; i++) strange[100 * i] = i == 0 ? INFINITY : i == 1 ? NAN : -INFINITY;
    for (int i = 0; i < LF_CELL_COUNT * 2 * 3; i++) {
        const int rounding = roundings[i / 2 % 3];
        lf_layer_config config = config_of((lf_cell)(i / 6));
        if (i % 2 == 1 && config.recurrent_kernel != NULL) config.recurrent_kernel = strange;
        for (int in_caller = 0; in_caller < 2; in_caller++) {
            lf_layer *layer = NULL;
            if (in_caller) set_caller(rounding);
            const unsigned long long before = floating_point_state();
            const lf_status status = lf_layer_create(&config, &layer);
            const int same = floating_point_state() == before;
            calm_caller();
            expect(status == LF_OK && same, "create: the caller's rounding and traps stay");
            const lf_run run = {.batch = 1, .steps = 1, .x = x, .y = y[in_caller], .threads = 1};
            expect(lf_layer_run(layer, &run) == LF_OK, "run");
            lf_layer_destroy(layer);
        }
        expect(memcmp(y[0], y[1], sizeof y[0]) == 0, "the same layer whatever the caller's rounding");
    }
}

/* So much input, and so large a table, that what a step reads of them is fetched during the one before: the same bits
 * from both, and for a row alone. */
static void check_fetching(void) {
    enum { STEPS = 60 };
    lf_layer *layer = layer_of(LF_LSTM);
    const size_t width = lf_projection_width(layer), cache = lf_private_cache_bytes();
    const size_t rows = 5 * cache / (width * sizeof(float)) + 1,
                 batch = 2 * cache / (STEPS * FEATURES * sizeof(float)) + 7;
    float *vectors = malloc(rows * FEATURES * sizeof *vectors), *table = malloc(rows * width * sizeof *table);
    float *x = malloc(batch * STEPS * FEATURES * sizeof *x), *y[3];
    int32_t *indices = malloc(batch * STEPS * sizeof *indices);
    for (int i = 0; i < 3; i++) y[i] = malloc(batch * UNITS * sizeof **y);
    fill(LF_F32, vectors, rows * FEATURES, 1);
    for (size_t i = 0; i < batch * STEPS; i++) {
        indices[i] = (int32_t)(i * 7919 % rows);
        memcpy(x + i * FEATURES, vectors + (size_t)indices[i] * FEATURES, FEATURES * sizeof *x);
    }
    expect(lf_layer_project(layer, vectors, FEATURES, rows, table) == LF_OK, "project");
    for (int backwards = 0; backwards < 2; backwards++) {
        lf_run of_x = {.batch = batch,
                       .steps = STEPS,
                       .x = x,
                       .x_row_stride = STEPS * FEATURES,
                       .x_step_stride = FEATURES,
                       .y = y[0],
                       .y_row_stride = UNITS,
                       .go_backwards = backwards,
                       .threads = 2};
        const lf_run of_table = {.batch = batch,
                                 .steps = STEPS,
                                 .table = table,
                                 .table_rows = rows,
                                 .indices = indices,
                                 .index_row_stride = STEPS,
                                 .index_step_stride = 1,
                                 .y = y[1],
                                 .y_row_stride = UNITS,
                                 .go_backwards = backwards,
                                 .threads = 2};
        expect(lf_layer_run(layer, &of_x) == LF_OK && lf_layer_run(layer, &of_table) == LF_OK, "run");
        expect(memcmp(y[0], y[1], batch * UNITS * sizeof **y) == 0, "inputs and a table that are fetched ahead");
        of_x.batch = 1;
        of_x.y = y[2];
        expect(lf_layer_run(layer, &of_x) == LF_OK, "run");
        expect(memcmp(y[0], y[2], UNITS * sizeof **y) == 0, "a row of inputs that are fetched ahead");
    }
    for (int i = 0; i < 3; i++) free(y[i]);
    free(indices);
    free(x);
    free(table);
    free(vectors);
    lf_layer_destroy(layer);
}

/* ---- activations --------------------------------------------------------------------------------------------------
 */

/* Each of them in place, one row at a time, and as a dense layer's: the same bits. */
static void check_activations(lf_real real) {
    enum { ROWS = 7, COLUMNS = 37 };
    const size_t bytes = real == LF_F32 ? sizeof(float) : sizeof(double);
    double x[ROWS * COLUMNS], y[ROWS * COLUMNS], z[ROWS * COLUMNS], unit[COLUMNS * COLUMNS];
    memset(unit, 0, sizeof unit);
    for (size_t i = 0; i < COLUMNS; i++) {
        if (real == LF_F32) ((float *)unit)[i * (COLUMNS + 1)] = 1;
        else unit[i * (COLUMNS + 1)] = 1;
    }
    for (int kind = 0; lf_activation_name(kind) != NULL; kind++) {
        const lf_activation activation = {.kind = kind, .parameters = {1, 6, 0.5}};
        fill(real, x, ROWS * COLUMNS, 4);
        lf_pass pass = {.real = real, .activation = activation, .rows = ROWS, .columns = COLUMNS, .x = x, .y = y};
        expect(lf_pass_run(&pass) == LF_OK, "activate");
        pass.rows = 1;
        memcpy(z, x, ROWS * COLUMNS * bytes);
        for (size_t row = 0; row < ROWS; row++) {
            char *in_place = (char *)z + row * COLUMNS * bytes;
            pass.x = pass.y = in_place;
            expect(lf_pass_run(&pass) == LF_OK, "activate");
        }
        expect(memcmp(y, z, ROWS * COLUMNS * bytes) == 0, lf_activation_name(kind));
        const lf_layer_config config = {.cell = LF_DENSE,
                                        .real = real,
                                        .features = COLUMNS,
                                        .units = COLUMNS,
                                        .activation = activation,
                                        .kernel = unit};
        lf_layer *layer = NULL;
        expect(lf_layer_create(&config, &layer) == LF_OK, "create");
        const lf_run run = {
            .batch = ROWS, .steps = 1, .x = x, .x_row_stride = COLUMNS, .y = z, .y_row_stride = COLUMNS};
        expect(lf_layer_run(layer, &run) == LF_OK, "run");
        expect(memcmp(y, z, ROWS * COLUMNS * bytes) == 0, lf_activation_name(kind));
        lf_layer_destroy(layer);
        expect(lf_activation_find(lf_activation_name(kind)) == kind, "activation by name");
    }
    expect(lf_activation_find(NULL) == -1 && lf_activation_find("none such") == -1, "no activation by that name");
    expect(lf_activation_name(-1) == NULL, "no name");
}

/* ---- memory of outputs --------------------------------------------------------------------------------------------
 */

static int holds(const unsigned char *block, size_t bytes, unsigned char value) {
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != value) return 0;
    return 1;
}

static void check_blocks(void) {
    enum { BLOCKS = 40, BYTES = 100000 };
    unsigned char *blocks[BLOCKS];
    expect(lf_block_resize(NULL, 0) == NULL, "no block");
    expect(lf_block_resize(NULL, SIZE_MAX) == NULL && lf_block_resize(NULL, SIZE_MAX / 2) == NULL, "an absurd block");
    for (int i = 0; i < BLOCKS; i++) { /* more than are kept, small ones among them */
        blocks[i] = lf_block_resize(NULL, (size_t)(i % 2 ? BYTES + i : 1 + i));
        expect(blocks[i] != NULL && (uintptr_t)blocks[i] % 64 == 0, "a block");
        memset(blocks[i], i, (size_t)(i % 2 ? BYTES + i : 1 + i));
    }
    for (int i = 0; i < BLOCKS; i++) /* none lies in another */
        expect(holds(blocks[i], (size_t)(i % 2 ? BYTES + i : 1 + i), (unsigned char)i), "what is in a block");
    expect(lf_block_resize(blocks[1], SIZE_MAX) == NULL && holds(blocks[1], BYTES, 1), "no larger block");
    blocks[1] = lf_block_resize(blocks[1], 5 * BYTES);
    expect(blocks[1] != NULL && holds(blocks[1], BYTES + 1, 1), "a larger block");
    blocks[1] = lf_block_resize(blocks[1], 7);
    expect(blocks[1] != NULL && holds(blocks[1], 7, 1), "a smaller block");
    for (int i = 0; i < BLOCKS; i++) expect(lf_block_resize(blocks[i], 0) == NULL, "a block is given back");
    unsigned char *again = lf_block_resize(NULL, BYTES);
    expect(again == blocks[BLOCKS - 1], "the last one is kept for the next");
    lf_block_resize(again, 0);
    again = lf_block_resize(NULL, 4 * BYTES + 77777);
    unsigned char *other = lf_block_resize(NULL, 10);
    expect(other != NULL && (other < again || other > again + 4 * BYTES + 77777), "two at once");
    lf_block_resize(again, 0);
    lf_block_resize(other, 0);
}

int main(void) {
    const char *isa;
    check_blocks();
    fill(LF_F32, kernel, sizeof kernel / sizeof *kernel, 0.5);
    fill(LF_F32, recurrent, sizeof recurrent / sizeof *recurrent, 0.2);
    fill(LF_F32, bias, sizeof bias / sizeof *bias, 0.5);
    for (int i = 0; (isa = lf_isa_available(i)) != NULL; i++) {
        expect(lf_isa_select(isa) == LF_OK && strcmp(lf_isa(), isa) == 0, "select");
        check_bounds();
        check_grid_bounds();
        check_create();
        check_run();
        check_grids();
        check_threads();
        check_subnormals();
        check_arithmetic();
        check_arithmetic_of_creation();
        check_fetching();
        check_activations(LF_F32);
        check_activations(LF_F64);
    }
    expect(lf_isa_available(-1) == NULL, "no instruction set before the first");
    expect(lf_isa_select(NULL) == LF_OK && strcmp(lf_isa(), lf_isa_available(0)) == 0, "select the best");
    printf("%ld passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
