/* The C core against a plain float64 loop, and against itself, through the public interface alone:
 * every instruction set of this machine, both real types, all cells, sizes that straddle the lanes; masks, direction,
 * states and strides; grids; and the same bits alone, in a batch, on any number of threads and step by step.
 * Build and run: make check-c. It needs neither Python nor an x86: it is what runs under qemu for Arm. */
#define _GNU_SOURCE
#include <lstmfast.h>

#include "checks.h"
#include "core/threads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int quick; /* every third size: for an emulator */
#if defined(__x86_64__)
enum { QUICK_GENERIC = 0 };
#else
enum { QUICK_GENERIC = 1 }; /* its kernels are those of x86-64, where it has all sizes */
#endif

static void fail(const char *what, const char *detail) {
    if (failures++ < 20) fprintf(stderr, "FAILED: %s: %s\n", what, detail);
}

/* ---- a small generator and arrays of either type ------------------------------------------------------------------
 */

static unsigned long long random_state = 88172645463325252ULL;

static double uniform(double low, double high) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return low + (high - low) * (double)(random_state >> 11) / 9007199254740992.0;
}

static size_t size_between(size_t low, size_t high) {
    return low + (size_t)(uniform(0, 1) * (double)(high - low + 1)) % (high - low + 1);
}

static void *random_array(lf_real real, size_t count, double scale) {
    void *array = malloc((count + 1) * bytes_of(real));
    for (size_t i = 0; i < count; i++) put(real, array, i, uniform(-scale, scale));
    return array;
}

/* ---- the reference ------------------------------------------------------------------------------------------------
 */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double relu(double x) { return fmax(x, 0); }
static double softsign(double x) { return x / (1 + fabs(x)); }
static double hard_sigmoid(double x) { return fmin(fmax(x + 3, 0), 6) / 6; }
static double hard_sigmoid_keras2(double x) { return fmin(fmax(0.2 * x + 0.5, 0), 1); }

struct function {
    const char *name;
    double (*of)(double);
};

/* Pairs that the epilogues fuse, and others. */
static const struct function activations[] = {{"tanh", tanh}, {"tanh", tanh}, {"relu", relu}, {"softsign", softsign}};
static const struct function gate_activations[] = {{"sigmoid", sigmoid},
                                                   {"sigmoid", sigmoid},
                                                   {"hard_sigmoid", hard_sigmoid},
                                                   {"hard_sigmoid_keras2", hard_sigmoid_keras2}};

struct problem {
    lf_cell cell;
    lf_real real;
    size_t features, units, batch, steps;
    void *kernel, *recurrent, *bias, *x, *h0, *c0; /* recurrent: NULL where h has no product */
    unsigned char *mask;
    int backwards, zero_output;
    struct function activation, gate;
};

static size_t gates_of(lf_cell cell) {
    return cell == LF_LSTM ? 4 : cell == LF_GRU || cell == LF_GRU_RESET_BEFORE ? 3 : 1;
}

static double activated(const struct problem *p, double x) { return p->activation.of(x); }

/* bias + x kernel + h recurrent of one row, in float64. */
static void reference_sums(const struct problem *p, const void *x, size_t x_begin, const double *h, double *from_x,
                           double *from_h) {
    const size_t columns = gates_of(p->cell) * p->units;
    for (size_t j = 0; j < columns; j++) {
        from_x[j] = p->bias ? get(p->real, p->bias, j) : 0;
        from_h[j] = p->bias && p->cell == LF_GRU ? get(p->real, p->bias, columns + j) : 0;
        for (size_t k = 0; k < p->features; k++)
            from_x[j] += get(p->real, x, x_begin + k) * get(p->real, p->kernel, k * columns + j);
        for (size_t k = 0; k < p->units && p->recurrent != NULL; k++)
            from_h[j] += h[k] * get(p->real, p->recurrent, k * columns + j);
    }
}

static void reference_step(const struct problem *p, const double *from_x, const double *from_h, double *h, double *c) {
    const size_t u = p->units, columns = gates_of(p->cell) * u;
    if (p->cell == LF_LSTM) {
        for (size_t j = 0; j < u; j++) {
            const double i = p->gate.of(from_x[j] + from_h[j]), f = p->gate.of(from_x[u + j] + from_h[u + j]);
            const double o = p->gate.of(from_x[3 * u + j] + from_h[3 * u + j]);
            c[j] = f * c[j] + i * activated(p, from_x[2 * u + j] + from_h[2 * u + j]);
            h[j] = o * activated(p, c[j]);
        }
    } else if (p->cell == LF_GRU) {
        for (size_t j = 0; j < u; j++) {
            const double z = p->gate.of(from_x[j] + from_h[j]), r = p->gate.of(from_x[u + j] + from_h[u + j]);
            h[j] = z * h[j] + (1 - z) * activated(p, from_x[2 * u + j] + r * from_h[2 * u + j]);
        }
    } else if (p->cell == LF_GRU_RESET_BEFORE) {
        double *next = malloc(u * sizeof *next);
        for (size_t j = 0; j < u; j++) {
            const double z = p->gate.of(from_x[j] + from_h[j]);
            double sum = from_x[2 * u + j];
            for (size_t k = 0; k < u; k++)
                sum += p->gate.of(from_x[u + k] + from_h[u + k]) * h[k] *
                       get(p->real, p->recurrent, k * columns + 2 * u + j);
            next[j] = z * h[j] + (1 - z) * activated(p, sum);
        }
        memcpy(h, next, u * sizeof *h);
        free(next);
    } else {
        for (size_t j = 0; j < u; j++) h[j] = activated(p, from_x[j] + from_h[j]);
    }
}

/* y (batch, steps, units), h and c (batch, units). */
static void reference_run(const struct problem *p, double *y, double *h, double *c) {
    const size_t u = p->units, columns = gates_of(p->cell) * u;
    double *from_x = malloc(columns * sizeof *from_x), *from_h = malloc(columns * sizeof *from_h);
    for (size_t b = 0; b < p->batch; b++) {
        for (size_t j = 0; j < u; j++) {
            h[b * u + j] = p->h0 ? get(p->real, p->h0, b * u + j) : 0;
            c[b * u + j] = p->c0 ? get(p->real, p->c0, b * u + j) : 0;
        }
        for (size_t s = 0; s < p->steps; s++) {
            const size_t t = p->backwards ? p->steps - 1 - s : s;
            double *out = y + (b * p->steps + s) * u;
            if (p->mask && !p->mask[b * p->steps + t]) {
                for (size_t j = 0; j < u; j++) out[j] = s == 0 || p->zero_output ? 0 : out[j - u];
                continue;
            }
            reference_sums(p, p->x, (b * p->steps + t) * p->features, h + b * u, from_x, from_h);
            reference_step(p, from_x, from_h, h + b * u, c + b * u);
            memcpy(out, h + b * u, u * sizeof *out);
        }
    }
    free(from_x);
    free(from_h);
}

/* ---- running lstmfast ---------------------------------------------------------------------------------------------
 */

static lf_layer *create(const struct problem *p) {
    lf_layer_config config = {
        .cell = p->cell,
        .real = p->real,
        .features = p->features,
        .units = p->units,
        .activation = {.kind = lf_activation_find(p->activation.name), .parameters = {0, INFINITY, 0}},
        .recurrent_activation = {.kind = lf_activation_find(p->gate.name)},
        .kernel = p->kernel,
        .recurrent_kernel = p->recurrent,
        .bias = p->bias};
    lf_layer *layer = NULL;
    const lf_status status = lf_layer_create(&config, &layer);
    if (status != LF_OK) {
        fail("lf_layer_create", "status");
        exit(1);
    }
    return layer;
}

struct result {
    void *y, *h, *c;
};

static struct result result_for(const struct problem *p, size_t batch) {
    const size_t bytes = bytes_of(p->real);
    return (struct result){calloc(batch * p->steps * p->units, bytes), calloc(batch * p->units, bytes),
                           calloc(batch * p->units, bytes)};
}

static void release(struct result r) {
    free(r.y);
    free(r.h);
    free(r.c);
}

/* Rows [row, row + rows) of the problem, steps [step, step + steps) of its processing order, from the given states. */
static lf_run call_of(const struct problem *p, size_t row, size_t rows, size_t step, size_t steps, const void *h0,
                      const void *c0, int sequences, int threads, struct result r) {
    const size_t bytes = bytes_of(p->real);
    const size_t first = p->backwards ? p->steps - step - steps : step;
    const int lstm = p->cell == LF_LSTM;
    return (lf_run){.batch = rows,
                    .steps = steps,
                    .x = (const char *)p->x + (row * p->steps + first) * p->features * bytes,
                    .x_row_stride = (ptrdiff_t)(p->steps * p->features),
                    .x_step_stride = (ptrdiff_t)p->features,
                    .mask = p->mask ? p->mask + row * p->steps + first : NULL,
                    .mask_row_stride = (ptrdiff_t)p->steps,
                    .mask_step_stride = 1,
                    .initial_h = h0,
                    .initial_c = lstm ? c0 : NULL,
                    .y = (char *)r.y + (sequences ? step * p->units * bytes : 0),
                    .y_row_stride = (ptrdiff_t)(sequences ? p->steps * p->units : p->units),
                    .y_step_stride = (ptrdiff_t)(sequences ? p->units : 0),
                    .final_h = r.h,
                    .final_c = lstm ? r.c : NULL,
                    .return_sequences = sequences,
                    .go_backwards = p->backwards,
                    .zero_output_for_mask = p->zero_output,
                    .threads = threads};
}

static void run(const lf_layer *layer, const struct problem *p, size_t row, size_t rows, size_t step, size_t steps,
                const void *h0, const void *c0, int sequences, int threads, struct result r) {
    const lf_run call = call_of(p, row, rows, step, steps, h0, c0, sequences, threads, r);
    if (lf_layer_run(layer, &call) != LF_OK) fail("lf_layer_run", "status");
}

static const void *state_at(const struct problem *p, const void *state, size_t row) {
    return state ? (const char *)state + row * p->units * bytes_of(p->real) : NULL;
}

static void same_bits(const struct problem *p, const char *what, const void *a, const void *b, size_t count) {
    checks++;
    if (memcmp(a, b, count * bytes_of(p->real)) == 0) return;
    char detail[200];
    snprintf(detail, sizeof detail, "cell %d real %d features %zu units %zu batch %zu steps %zu, %s", p->cell, p->real,
             p->features, p->units, p->batch, p->steps, lf_isa());
    fail(what, detail);
}

static void near(const struct problem *p, const char *what, const void *got, const double *expected, size_t count) {
    const double tolerance = p->real == LF_F32 ? 4e-6 : 2e-14;
    checks++;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs(get(p->real, got, i) - expected[i]);
        if (difference <= tolerance * (1 + fabs(expected[i]))) continue;
        char detail[250];
        snprintf(detail, sizeof detail,
                 "[%zu] = %.9g, expected %.9g; cell %d real %d features %zu units %zu batch %zu steps %zu %s %s, %s", i,
                 get(p->real, got, i), expected[i], p->cell, p->real, p->features, p->units, p->batch, p->steps,
                 p->activation.name, p->gate.name, lf_isa());
        fail(what, detail);
        return;
    }
}

static void check_problem(const struct problem *p) {
    const size_t outputs = p->batch * p->steps * p->units, states = p->batch * p->units;
    const size_t bytes = bytes_of(p->real);
    double *y = malloc(outputs * sizeof *y), *h = malloc(states * sizeof *h), *c = malloc(states * sizeof *c);
    reference_run(p, y, h, c);
    lf_layer *layer = create(p);
    const struct result whole = result_for(p, p->batch);
    run(layer, p, 0, p->batch, 0, p->steps, p->h0, p->c0, 1, 1, whole);
    near(p, "y", whole.y, y, outputs);
    if (p->cell != LF_DENSE) near(p, "h", whole.h, h, states);
    if (p->cell == LF_LSTM) near(p, "c", whole.c, c, states);

    for (int threads = 2; threads <= 5 && p->cell != LF_DENSE; threads++) {
        const struct result other = result_for(p, p->batch);
        run(layer, p, 0, p->batch, 0, p->steps, p->h0, p->c0, 1, threads, other);
        same_bits(p, "y on more threads", whole.y, other.y, outputs);
        same_bits(p, "h on more threads", whole.h, other.h, states);
        const struct result pair[2] = {other, result_for(p, p->batch)};
        lf_run calls[2];
        for (int i = 0; i < 2; i++) calls[i] = call_of(p, 0, p->batch, 0, p->steps, p->h0, p->c0, 1, threads, pair[i]);
        memset(other.y, 7, outputs * bytes);
        const lf_layer *const layers[2] = {layer, layer};
        const lf_run *const both[2] = {&calls[0], &calls[1]};
        if (lf_layers_run(layers, both, 2, LF_BESIDE) != LF_OK) fail("lf_layers_run", "status");
        for (int i = 0; i < 2; i++) same_bits(p, "y as one of a pair", whole.y, pair[i].y, outputs);
        release(pair[1]);
        release(other);
    }
    for (size_t row = 0; row < p->batch; row++) { /* alone, and only the last output */
        const struct result alone = result_for(p, 1);
        run(layer, p, row, 1, 0, p->steps, state_at(p, p->h0, row), state_at(p, p->c0, row), 1, 0, alone);
        same_bits(p, "a row alone", (char *)whole.y + row * p->steps * p->units * bytes, alone.y, p->steps * p->units);
        if (p->cell != LF_DENSE) {
            memset(alone.y, 7, p->units * bytes);
            run(layer, p, row, 1, 0, p->steps, state_at(p, p->h0, row), state_at(p, p->c0, row), 0, 0, alone);
            same_bits(p, "the last output", (char *)whole.y + ((row + 1) * p->steps - 1) * p->units * bytes, alone.y,
                      p->units);
        }
        release(alone);
    }
    if (p->cell != LF_DENSE && !p->mask) { /* step by step, the state in place */
        const struct result stepped = result_for(p, p->batch);
        if (p->h0) memcpy(stepped.h, p->h0, states * bytes);
        if (p->c0) memcpy(stepped.c, p->c0, states * bytes);
        for (size_t step = 0; step < p->steps; step++)
            run(layer, p, 0, p->batch, step, 1, stepped.h, stepped.c, 1, 0, stepped);
        same_bits(p, "y step by step", whole.y, stepped.y, outputs);
        same_bits(p, "h step by step", whole.h, stepped.h, states);
        if (p->cell == LF_LSTM) same_bits(p, "c step by step", whole.c, stepped.c, states);
        release(stepped);
    }
    release(whole);
    lf_layer_destroy(layer);
    free(y);
    free(h);
    free(c);
}

static struct problem random_problem(lf_cell cell, lf_real real, size_t features, size_t units, size_t batch,
                                     size_t steps) {
    const size_t columns = gates_of(cell) * units;
    const double scale = 1 / sqrt((double)(features + units));
    struct problem p = {.cell = cell,
                        .real = real,
                        .features = features,
                        .units = units,
                        .batch = batch,
                        .steps = cell == LF_DENSE ? 1 : steps};
    p.kernel = random_array(real, features * columns, scale * 2);
    const int product_of_h = cell != LF_DENSE && (cell != LF_LSTM || uniform(0, 1) < 0.9);
    p.recurrent = product_of_h ? random_array(real, units * columns, scale * 2) : NULL;
    p.bias = uniform(0, 1) < 0.8 ? random_array(real, (cell == LF_GRU ? 2 : 1) * columns, 0.5) : NULL;
    p.x = random_array(real, batch * p.steps * features, 1.5);
    p.h0 = uniform(0, 1) < 0.5 ? random_array(real, batch * units, 1) : NULL;
    p.c0 = p.h0 ? random_array(real, batch * units, 1) : NULL;
    p.backwards = uniform(0, 1) < 0.3;
    p.zero_output = uniform(0, 1) < 0.3;
    p.activation = activations[size_between(0, 3)];
    p.gate = gate_activations[size_between(0, 3)];
    if (cell != LF_DENSE && uniform(0, 1) < 0.4) {
        p.mask = malloc(batch * p.steps);
        for (size_t i = 0; i < batch * p.steps; i++) p.mask[i] = uniform(0, 1) < 0.6;
    }
    return p;
}

static void free_problem(const struct problem *p) {
    free(p->kernel);
    free(p->recurrent);
    free(p->bias);
    free(p->x);
    free(p->h0);
    free(p->c0);
    free(p->mask);
}

static void check(lf_cell cell, lf_real real, size_t features, size_t units, size_t batch, size_t steps) {
    const struct problem p = random_problem(cell, real, features, units, batch, steps);
    check_problem(&p);
    free_problem(&p);
}

enum { LEVELS = LF_LEVELS_MOST + 1 };

/* Layers on top of each other, some of other cells and sizes: all at once gives what one after the other does. */
static void check_stack(lf_cell cell, lf_real real, int count, size_t features, size_t units, size_t batch,
                        size_t steps) {
    struct problem problems[LEVELS];
    lf_layer *layers[LEVELS];
    struct result apart[LEVELS], together[LEVELS];
    for (int i = 0; i < count; i++) {
        const lf_cell other = i % 2 == 0 ? cell : LF_GRU;
        const size_t below = i == 0 ? features : problems[i - 1].units;
        problems[i] = random_problem(other, real, below, i % 3 == 1 ? units + 7 : units, batch, steps);
        if (i > 0) memcpy(problems[i].x, apart[i - 1].y, batch * steps * below * bytes_of(real));
        layers[i] = create(&problems[i]);
        apart[i] = result_for(&problems[i], batch);
        together[i] = result_for(&problems[i], batch);
        run(layers[i], &problems[i], 0, batch, 0, steps, problems[i].h0, problems[i].c0, 1, 1, apart[i]);
    }
    for (int threads = 1; threads <= 4; threads++) {
        const lf_layer *levels[LEVELS];
        const lf_run *calls[LEVELS];
        lf_run runs[LEVELS];
        for (int i = 0; i < count; i++) {
            struct problem p = problems[i];
            if (i > 0) p.x = together[i - 1].y;
            runs[i] = call_of(&p, 0, batch, 0, steps, p.h0, p.c0, 1, threads, together[i]);
            levels[i] = layers[i];
            calls[i] = &runs[i];
            memset(together[i].y, 7, batch * steps * p.units * bytes_of(real));
        }
        if (lf_layers_run(levels, calls, count, LF_ABOVE) != LF_OK) fail("lf_layers_run", "status");
        for (int i = 0; i < count; i++) {
            same_bits(&problems[i], "y in a stack", apart[i].y, together[i].y, batch * steps * problems[i].units);
            same_bits(&problems[i], "h in a stack", apart[i].h, together[i].h, batch * problems[i].units);
        }
        lf_run wrong = runs[1];
        wrong.x = problems[0].x;
        calls[1] = &wrong;
        if (lf_layers_run(levels, calls, count, LF_ABOVE) != LF_INVALID)
            fail("lf_layers_run", "reads what is not below");
    }
    for (int i = 0; i < count; i++) {
        release(apart[i]);
        release(together[i]);
        lf_layer_destroy(layers[i]);
        free_problem(&problems[i]);
    }
}

/* One step repeated by a stride of 0, and rows taken backwards from a wider array: the bits of the plain arrays. */
static void check_strides(lf_cell cell, lf_real real, size_t features, size_t units, size_t batch) {
    const size_t columns = gates_of(cell) * units, bytes = bytes_of(real), steps = 5, wide = features + 3;
    struct problem p = {.cell = cell,
                        .real = real,
                        .features = features,
                        .units = units,
                        .batch = batch,
                        .steps = steps,
                        .activation = activations[0],
                        .gate = gate_activations[0]};
    p.kernel = random_array(real, features * columns, 0.5);
    p.recurrent = random_array(real, units * columns, 0.5);
    p.bias = random_array(real, (cell == LF_GRU ? 2 : 1) * columns, 0.5);
    void *given = random_array(real, batch * wide, 1); /* (batch, wide), used from its last row to its first */
    p.x = calloc(batch * steps * features, bytes);
    for (size_t b = 0; b < batch; b++)
        for (size_t s = 0; s < steps; s++)
            memcpy((char *)p.x + (b * steps + s) * features * bytes, (char *)given + (batch - 1 - b) * wide * bytes,
                   features * bytes);
    lf_layer *layer = create(&p);
    const struct result plain = result_for(&p, batch), strided = result_for(&p, batch);
    run(layer, &p, 0, batch, 0, steps, NULL, NULL, 1, 1, plain);
    for (int threads = 1; threads <= 3; threads++) {
        lf_run call = {.batch = batch,
                       .steps = steps,
                       .x = (char *)given + (batch - 1) * wide * bytes,
                       .x_row_stride = -(ptrdiff_t)wide,
                       .x_step_stride = 0,
                       .y = strided.y,
                       .y_row_stride = (ptrdiff_t)(steps * units),
                       .y_step_stride = (ptrdiff_t)units,
                       .return_sequences = 1,
                       .threads = threads};
        if (lf_layer_run(layer, &call) != LF_OK) fail("lf_layer_run", "strides");
        same_bits(&p, "a repeated step", plain.y, strided.y, batch * steps * units);
    }
    release(plain);
    release(strided);
    lf_layer_destroy(layer);
    free(p.kernel);
    free(p.recurrent);
    free(p.bias);
    free(p.x);
    free(given);
}

/* What no state leaves out of the first step gives the bits of a state of zeros: with sums that are -0, which products
 * with zeros turn to 0, or leave where all weights of a column are negative; and NaN where a weight is infinite. */
static void check_zero_state(lf_cell cell, lf_real real) {
    static const struct function gate = {"tanh", tanh}, linear = {"linear", NULL};
    enum { RANDOM, NEGATIVE, TINY, TINY_NEGATIVE, INFINITE, KINDS };
    static const size_t sizes[][2] = {{3, 5}, {70, 16}, {9, 70}, {20, 90}, {150, 40}}; /* features, units */
    for (size_t i = 0; i < KINDS * 5 * 2; i++) {
        const size_t kind = i % KINDS, features = sizes[i / KINDS % 5][0], units = sizes[i / KINDS % 5][1];
        const size_t columns = gates_of(cell) * units, batch = i < KINDS * 5 ? 1 : 16, bytes = bytes_of(real);
        const double tiny = real == LF_F32 ? 1e-23 : 1e-162;
        struct problem p = {.cell = cell,
                            .real = real,
                            .features = features,
                            .units = units,
                            .batch = batch,
                            .steps = 4,
                            .activation = linear,
                            .gate = gate};
        p.kernel = random_array(real, features * columns, kind == TINY || kind == TINY_NEGATIVE ? tiny : 0.3);
        p.recurrent = random_array(real, units * columns, 0.3);
        p.x = random_array(real, batch * p.steps * features, kind == TINY || kind == TINY_NEGATIVE ? tiny : 1);
        for (size_t k = 0; k < units * columns && (kind == NEGATIVE || kind == TINY_NEGATIVE); k++)
            put(real, p.recurrent, k, -fabs(get(real, p.recurrent, k)) - (k % 7 == 0 ? 0.0 : 0.1));
        if (kind == INFINITE) put(real, p.recurrent, units * columns - 1, INFINITY);
        lf_layer *layer = create(&p);
        const struct result none = result_for(&p, batch), zeros = result_for(&p, batch);
        void *state = calloc(batch * units, bytes);
        run(layer, &p, 0, batch, 0, p.steps, NULL, NULL, 1, 1, none);
        run(layer, &p, 0, batch, 0, p.steps, state, state, 1, 1, zeros);
        if (kind == INFINITE) { /* the last unit's candidate, or all that there is */
            checks++;
            const size_t last = units - 1;
            if (!isnan(get(real, none.y, last)) || !isnan(get(real, zeros.y, last))) fail("0 * infinity", lf_isa());
        } else {
            same_bits(&p, "y of no state", none.y, zeros.y, batch * p.steps * units);
            same_bits(&p, "h of no state", none.h, zeros.h, batch * units);
            same_bits(&p, "c of no state", none.c, zeros.c, cell == LF_LSTM ? batch * units : 0);
            run(layer, &p, batch - 1, 1, 0, p.steps, NULL, NULL, 1, 1, zeros);
            const size_t last_row = (batch - 1) * p.steps * units * bytes;
            same_bits(&p, "y of no state, a row alone", (char *)none.y + last_row, zeros.y, p.steps * units);
        }
        release(none);
        release(zeros);
        lf_layer_destroy(layer);
        free(p.kernel);
        free(p.recurrent);
        free(p.x);
        free(state);
    }
}

/* Many rows of few units, which may be the lanes of vectors: those of each row alone, which never is. */
static void check_many_rows(lf_cell cell, lf_real real, size_t units) {
    static const size_t fixed[] = {8, 16, 33, 64, 200};
    const size_t i = size_between(0, 9), batch = i < 5 ? fixed[i] : size_between(1, 200);
    struct problem p = random_problem(cell, real, size_between(1, 20), units, batch, size_between(4, 7));
    free(p.mask);
    p.mask = NULL;
    const size_t bytes = bytes_of(real), row_bytes = p.steps * units * bytes, states = batch * units;
    double *y = malloc(batch * p.steps * units * sizeof *y), *h = malloc(states * sizeof *h);
    double *c = malloc(states * sizeof *c);
    reference_run(&p, y, h, c);
    lf_layer *layer = create(&p);
    const struct result apart = result_for(&p, batch), got = result_for(&p, batch), last = result_for(&p, batch);
    for (size_t row = 0; row < batch; row++) {
        const struct result own = {(char *)apart.y + row * row_bytes, (char *)apart.h + row * units * bytes,
                                   (char *)apart.c + row * units * bytes};
        run(layer, &p, row, 1, 0, p.steps, state_at(&p, p.h0, row), state_at(&p, p.c0, row), 1, 1, own);
    }
    near(&p, "y of each row", apart.y, y, batch * p.steps * units);
    for (int threads = 1; threads <= 3; threads++) {
        run(layer, &p, 0, batch, 0, p.steps, p.h0, p.c0, 1, threads, got);
        same_bits(&p, "y of many rows", apart.y, got.y, batch * p.steps * units);
        same_bits(&p, "h of many rows", apart.h, got.h, states);
        same_bits(&p, "c of many rows", apart.c, got.c, cell == LF_LSTM ? states : 0);
        run(layer, &p, 0, batch, 0, p.steps, p.h0, p.c0, 0, threads, last);
        same_bits(&p, "the last output of many rows", apart.h, last.y, states);
        same_bits(&p, "h with the last output of many rows", apart.h, last.h, states);
        for (size_t value = 0; value < 2 * states; value++) { /* so that none is left over for the next */
            put(real, value < states ? got.h : got.c, value % states, 7);
            put(real, value < states ? last.h : last.y, value % states, 7);
        }
    }
    release(apart);
    release(got);
    release(last);
    lf_layer_destroy(layer);
    free_problem(&p);
    free(y);
    free(h);
    free(c);
}

static void check_sizes(lf_cell cell, lf_real real) {
    static const size_t units[] = {1,  2,  3,  4,  5,  7,  8,  9,  10, 15,  16, 17,
                                   20, 27, 31, 32, 33, 60, 64, 65, 90, 100, 129};
    static const size_t batches[] = {1, 2, 3, 5, 6, 7, 8, 10, 12, 13};
    enum { BATCHES = sizeof batches / sizeof *batches };
    for (size_t u = 0; u < sizeof units / sizeof *units; u += quick ? 3 : 1)
        check(cell, real, size_between(1, 12), units[u], batches[u % BATCHES], size_between(1, 6));
    for (size_t u = 1; u <= 14 && cell != LF_DENSE; u += quick ? 3 : 1)
        for (size_t times = 0; times < (quick ? 1 : 2); times++) check_many_rows(cell, real, u);
    if (cell != LF_DENSE) {
        check_zero_state(cell, real);
        check_stack(cell, real, 3, 5, 60, 1, 30); /* large enough for the levels to run at once */
    }
    if (quick) return;
    if (cell != LF_DENSE) {
        check_stack(cell, real, LEVELS, size_between(1, 70), 30, 1, 12);
        check_stack(cell, real, 2, size_between(1, 70), size_between(60, 140), size_between(2, 9), size_between(1, 20));
    }
    for (size_t b = 0; b < BATCHES; b++) check(cell, real, size_between(1, 300), size_between(1, 70), batches[b], 3);
    check(cell, real, 130, 140, 9, 3);  /* several chains in both inputs */
    check(cell, real, 400, 150, 26, 2); /* more than a segment, several tiles */
    check(cell, real, 900, 140, 26, 1); /* and so many that they are never taken whole */
    check(cell, real, 900, 140, 11, 1); /* and one tile, in two passes where the vectors have that */
    check(cell, real, 20, 50, 1, 40);   /* a projection ahead, in several pieces */
    check(cell, real, 3, 40, 70, 4);    /* several chunks of rows */
    if (cell == LF_LSTM && real == LF_F32) {
        check(cell, real, 440, 340, 2, 1);  /* weights that are fetched ahead: by one tile */
        check(cell, real, 440, 340, 9, 2);  /* in two passes */
        check(cell, real, 440, 340, 14, 1); /* by several */
    }
    for (size_t batch = 1; batch < 20 && cell != LF_DENSE; batch += 6) check_strides(cell, real, 9, 21, batch);
    if (cell != LF_DENSE) check_strides(cell, real, 40, 50, 300);
}

/* ---- grids --------------------------------------------------------------------------------------------------------
 */

/* A convolution, or an LSTM of convolutions, and its input (batch, steps, grid, channels) in any order of memory. */
struct grids {
    struct problem rows; /* features: all columns of a place's windows; batch: of samples */
    lf_convolution convolution;
    ptrdiff_t x_row_stride, x_step_stride;
    size_t places;
};

static size_t columns_of(const lf_windows *windows) {
    return windows->channels * windows->extent[0] * windows->extent[1] * windows->extent[2];
}

/* The window of one place, value by value: the definition in lstmfast.h. */
static void put_window(const struct grids *g, const lf_windows *windows, size_t place, const void *grid, void *to) {
    const size_t *extent = windows->extent, *places = g->convolution.places;
    const size_t at[LF_AXES] = {place / places[2] / places[1], place / places[2] % places[1], place % places[2]};
    for (size_t i = 0; i < columns_of(windows); i++) {
        const size_t taps = i / windows->channels, channel = i % windows->channels;
        const size_t tap[LF_AXES] = {taps / extent[2] / extent[1], taps / extent[2] % extent[1], taps % extent[2]};
        ptrdiff_t index = (ptrdiff_t)channel * windows->channel_stride;
        int inside = grid != NULL;
        for (int axis = 0; axis < LF_AXES; axis++) {
            const ptrdiff_t position =
                (ptrdiff_t)(at[axis] * windows->stride[axis] + tap[axis] * windows->dilation[axis]) -
                (ptrdiff_t)windows->before[axis];
            if (position < 0 || position >= (ptrdiff_t)windows->size[axis]) inside = 0;
            index += position * windows->axis_stride[axis];
        }
        put(g->rows.real, to, i, inside ? get(g->rows.real, grid, (size_t)index) : 0);
    }
}

/* The same by calls of one step over rows of windows: y (batch, steps, places, units), h and c (batch, places, units).
 */
static void expected_of_grids(const struct grids *g, const lf_layer *layer, struct result to) {
    const struct problem *p = &g->rows;
    const size_t bytes = bytes_of(p->real), row_bytes = p->units * bytes, rows = p->batch * g->places;
    const int lstm = p->cell == LF_LSTM;
    char *inputs = malloc(rows * p->features * bytes + 1), *y = malloc(rows * row_bytes + 1);
    char *next_h = malloc(rows * row_bytes + 1), *next_c = malloc(rows * row_bytes + 1);
    memset(to.h, 0, rows * row_bytes);
    memset(to.c, 0, rows * row_bytes);
    if (p->h0) memcpy(to.h, p->h0, rows * row_bytes);
    if (p->c0) memcpy(to.c, p->c0, rows * row_bytes);
    for (size_t step = 0; step < p->steps; step++) {
        const size_t time = p->backwards ? p->steps - 1 - step : step;
        for (size_t row = 0; row < rows; row++) {
            const size_t sample = row / g->places, place = row % g->places;
            char *input = inputs + row * p->features * bytes;
            put_window(g, &g->convolution.x, place,
                       (const char *)p->x + ((ptrdiff_t)sample * g->x_row_stride + (ptrdiff_t)time * g->x_step_stride) *
                                                (ptrdiff_t)bytes,
                       input);
            if (lstm)
                put_window(g, &g->convolution.h, place, (const char *)to.h + sample * g->places * row_bytes,
                           input + columns_of(&g->convolution.x) * bytes);
        }
        const lf_run call = {.batch = rows,
                             .steps = 1,
                             .x = inputs,
                             .x_row_stride = (ptrdiff_t)p->features,
                             .initial_h = lstm ? to.h : NULL,
                             .initial_c = lstm ? to.c : NULL,
                             .y = y,
                             .y_row_stride = (ptrdiff_t)p->units,
                             .final_h = lstm ? next_h : NULL,
                             .final_c = lstm ? next_c : NULL,
                             .threads = 1};
        if (lf_layer_run(layer, &call) != LF_OK) fail("lf_layer_run", "rows of windows");
        for (size_t row = 0; row < rows; row++) {
            const size_t sample = row / g->places, place = row % g->places;
            char *out = (char *)to.y + ((sample * p->steps + step) * g->places + place) * row_bytes;
            if (lstm && p->mask && !p->mask[sample * p->steps + time]) {
                if (step == 0 || p->zero_output) memset(out, 0, row_bytes);
                else memcpy(out, out - g->places * row_bytes, row_bytes);
                continue;
            }
            memcpy(out, y + row * row_bytes, row_bytes);
            if (!lstm) continue;
            memcpy((char *)to.h + row * row_bytes, next_h + row * row_bytes, row_bytes);
            memcpy((char *)to.c + row * row_bytes, next_c + row * row_bytes, row_bytes);
        }
    }
    free(inputs);
    free(y);
    free(next_h);
    free(next_c);
}

static struct result result_for_grids(const struct grids *g) {
    struct problem rows = g->rows;
    rows.units *= g->places;
    return result_for(&rows, rows.batch);
}

static lf_run call_of_grids(const struct grids *g, int sequences, int threads, struct result r) {
    const struct problem *p = &g->rows;
    const size_t width = g->places * p->units;
    const int lstm = p->cell == LF_LSTM;
    return (lf_run){.batch = p->batch,
                    .steps = p->steps,
                    .x = p->x,
                    .x_row_stride = g->x_row_stride,
                    .x_step_stride = g->x_step_stride,
                    .mask = p->mask,
                    .mask_row_stride = (ptrdiff_t)p->steps,
                    .mask_step_stride = 1,
                    .initial_h = p->h0,
                    .initial_c = p->c0,
                    .y = r.y,
                    .y_row_stride = (ptrdiff_t)(sequences ? p->steps * width : width),
                    .y_step_stride = (ptrdiff_t)(sequences ? width : 0),
                    .final_h = lstm ? r.h : NULL,
                    .final_c = lstm ? r.c : NULL,
                    .return_sequences = sequences,
                    .go_backwards = p->backwards,
                    .zero_output_for_mask = p->zero_output,
                    .threads = threads,
                    .convolution = &g->convolution};
}

static void run_grids(const lf_layer *layer, const lf_run *call) {
    if (lf_layer_run(layer, call) != LF_OK) fail("lf_layer_run", "over grids");
}

/* One step at a time, and of that some places at a time. */
static void check_places(const struct grids *g, const lf_layer *layer, struct result expected) {
    const struct problem *p = &g->rows;
    const size_t bytes = bytes_of(p->real), width = g->places * p->units, rows = p->batch * g->places;
    struct result states[2] = {result_for_grids(g), result_for_grids(g)};
    for (size_t step = 0; step < p->steps; step++) {
        const struct result before = states[step % 2], after = states[(step + 1) % 2];
        lf_convolution some = g->convolution;
        lf_run call = call_of_grids(g, 1, 2, after);
        call.convolution = &some;
        call.steps = 1;
        call.x = (const char *)p->x +
                 (ptrdiff_t)(p->backwards ? p->steps - 1 - step : step) * g->x_step_stride * (ptrdiff_t)bytes;
        call.y = (char *)expected.y + step * width * bytes;
        if (step > 0 && p->cell == LF_LSTM) {
            call.initial_h = before.h;
            call.initial_c = before.c;
        }
        for (; some.first < rows; some.first += some.rows) {
            some.rows = size_between(1, rows - some.first);
            run_grids(layer, &call);
        }
    }
    if (p->cell == LF_LSTM) same_bits(p, "c place by place", states[p->steps % 2].c, expected.c, p->batch * width);
    release(states[0]);
    release(states[1]);
}

static void check_grids(lf_cell cell, lf_real real, int axes, size_t largest, size_t batch) {
    struct grids g = {.rows = {.cell = cell, .real = real, .units = size_between(1, 20), .batch = batch}, .places = 1};
    struct problem *p = &g.rows;
    lf_windows *x = &g.convolution.x, *h = &g.convolution.h;
    p->steps = cell == LF_LSTM ? size_between(1, 5) : 1;
    p->backwards = uniform(0, 1) < 0.3;
    p->zero_output = uniform(0, 1) < 0.3;
    x->channels = size_between(1, 5);
    h->channels = p->units;
    size_t values = 1;
    for (int axis = 0; axis < LF_AXES; axis++) {
        const int used = axis >= LF_AXES - axes;
        x->size[axis] = used ? size_between(1, largest) : 1;
        x->extent[axis] = used ? size_between(1, 3) : 1;
        x->stride[axis] = used && uniform(0, 1) < 0.3 ? 2 : 1;
        x->dilation[axis] = used && uniform(0, 1) < 0.3 ? 2 : 1;
        x->before[axis] = used ? size_between(0, 3) : 0; /* of windows that may lie outside altogether */
        g.convolution.places[axis] = used ? size_between(1, x->size[axis] + 1) : 1;
        h->size[axis] = g.convolution.places[axis];
        h->extent[axis] = used ? size_between(1, 3) : 1;
        h->stride[axis] = h->dilation[axis] = 1;
        h->before[axis] = (h->extent[axis] - 1) / 2;
        values *= x->size[axis];
        g.places *= g.convolution.places[axis];
    }
    const int first = uniform(0, 1) < 0.3; /* channels first */
    ptrdiff_t x_stride = first ? 1 : (ptrdiff_t)x->channels, h_stride = (ptrdiff_t)p->units;
    x->channel_stride = first ? (ptrdiff_t)values : 1;
    h->channel_stride = 1;
    for (int axis = LF_AXES - 1; axis >= 0; axis--) {
        x->axis_stride[axis] = x_stride;
        h->axis_stride[axis] = h_stride;
        x_stride *= (ptrdiff_t)x->size[axis];
        h_stride *= (ptrdiff_t)h->size[axis];
    }
    g.x_step_stride = (ptrdiff_t)(values * x->channels);
    g.x_row_stride = g.x_step_stride * (ptrdiff_t)p->steps;
    p->features = columns_of(x) + (cell == LF_LSTM ? columns_of(h) : 0);
    const size_t columns = gates_of(cell) * p->units, width = g.places * p->units;
    p->kernel = random_array(real, p->features * columns, 1 / sqrt((double)p->features));
    p->bias = random_array(real, columns, 0.5);
    p->x = random_array(real, batch * p->steps * values * x->channels, 1.5);
    if (cell == LF_LSTM && uniform(0, 1) < 0.5) {
        p->h0 = random_array(real, batch * width, 1);
        p->c0 = random_array(real, batch * width, 1);
    }
    if (cell == LF_LSTM && uniform(0, 1) < 0.4) {
        p->mask = malloc(batch * p->steps);
        for (size_t i = 0; i < batch * p->steps; i++) p->mask[i] = uniform(0, 1) < 0.6;
    }
    p->activation = activations[size_between(0, 3)];
    p->gate = gate_activations[size_between(0, 3)];
    lf_layer *layer = create(p);
    const struct result expected = result_for_grids(&g);
    expected_of_grids(&g, layer, expected);
    for (int threads = 1; threads <= 5; threads++) {
        const struct result got = result_for_grids(&g);
        lf_run call = call_of_grids(&g, 1, threads, got);
        run_grids(layer, &call);
        same_bits(p, "y over grids", expected.y, got.y, batch * p->steps * width);
        same_bits(p, "h over grids", expected.h, got.h, cell == LF_LSTM ? batch * width : 0);
        same_bits(p, "c over grids", expected.c, got.c, cell == LF_LSTM ? batch * width : 0);
        call = call_of_grids(&g, 0, threads, got);
        run_grids(layer, &call);
        for (size_t sample = 0; sample < batch; sample++)
            same_bits(p, "the last output over grids",
                      (char *)expected.y + ((sample + 1) * p->steps - 1) * width * bytes_of(real),
                      (char *)got.y + sample * width * bytes_of(real), width);
        release(got);
    }
    if (p->mask == NULL) check_places(&g, layer, expected);
    release(expected);
    lf_layer_destroy(layer);
    void *const arrays[] = {p->kernel, p->bias, p->x, p->h0, p->c0, p->mask};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
}

static void check_all_grids(lf_real real) {
    static const lf_cell cells[] = {LF_LSTM, LF_DENSE};
    for (size_t cell = 0; cell < sizeof cells / sizeof *cells; cell++)
        for (int axes = 1; axes <= LF_AXES; axes++)
            for (size_t i = 0; i < (quick ? 4 : 16); i++) {
                static const size_t largest[] = {60, 12, 5};
                check_grids(cells[cell], real, axes, largest[axes - 1] * (i % 8 == 7 ? 2 : 1),
                            size_between(1, i % 8 == 7 ? 9 : 5));
            }
}

static void check_arguments(void) {
    float weights[8] = {0};
    lf_layer *layer = NULL;
    lf_layer_config config = {.cell = LF_DENSE, .real = LF_F32, .features = 2, .units = 2, .kernel = weights};
    checks += 6;
    if (lf_layer_create(NULL, &layer) != LF_INVALID) fail("create", "no config");
    config.units = 0;
    if (lf_layer_create(&config, &layer) != LF_INVALID) fail("create", "no units");
    config.units = (size_t)-1 / 2;
    if (lf_layer_create(&config, &layer) != LF_NO_MEMORY) fail("create", "absurd units");
    config.units = 2;
    config.activation.kind = 1000;
    if (lf_layer_create(&config, &layer) != LF_INVALID) fail("create", "unknown activation");
    if (lf_isa_select("none such") != LF_UNAVAILABLE) fail("isa", "unknown name");
    if (lf_set_threads(-1, NULL) != LF_INVALID) fail("threads", "negative");
}

/* With an argument: the one instruction set that this machine may offer, and fewer sizes. */
int main(int count, char **arguments) {
    static const lf_cell cells[] = {LF_LSTM, LF_SIMPLE_RNN, LF_DENSE, LF_GRU, LF_GRU_RESET_BEFORE};
    const char *isa;
    const int only = count > 1;
    lf_assume_processors(8);
    if (only && (lf_isa_available(1) != NULL || strcmp(lf_isa(), arguments[1]) != 0))
        fail("isa, expected", arguments[1]);
    check_arguments();
    for (int i = 0; (isa = lf_isa_available(i)) != NULL; i++) {
        const long before = checks;
        if (lf_isa_select(isa) != LF_OK) fail("isa", isa);
        quick = only || (QUICK_GENERIC && strcmp(isa, "generic") == 0);
        for (int real = 0; real < LF_REAL_COUNT; real++)
            for (size_t cell = 0; cell < sizeof cells / sizeof *cells; cell++) check_sizes(cells[cell], (lf_real)real);
        for (int real = 0; real < LF_REAL_COUNT; real++) check_all_grids((lf_real)real);
        printf("%-8s %ld checks\n", isa, checks - before);
    }
    printf("%ld passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
