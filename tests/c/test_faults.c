/* No memory: the n-th allocation of a call fails, for every n; and a caller that interrupts the packing. Each time the
 * call says so and leaves nothing allocated, that of one layer writes nothing, and the layer works afterwards with the
 * same bits. The core asks for memory through aligned_alloc alone, which this program replaces. Next: csrc/core/layer.c
 * has lf_allocate. */
#include <lstmfast.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__GLIBC__)
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

static int failures;
static long checks;

static void expect(int holds, const char *what) {
    checks++;
    if (!holds && failures++ < 20) fprintf(stderr, "FAILED: %s\n", what);
}

#if defined(__GLIBC__)

static long allocations, failing; /* number `failing` of them gets nothing; 0: none fails */
static long allocated;            /* how many are held now, where this is counted */

/* A sanitizer's leak check finds at the end what is lost; a static program, as for Arm, has no second `free`. */
#if defined(__SANITIZE_ADDRESS__) || !defined(__x86_64__)
static void hold(void *memory) { (void)memory; }
#else
/* Memory from aligned_alloc that was not freed; `free` is replaced too. Other threads free things of their own. */
static void *held[16];
static atomic_flag busy = ATOMIC_FLAG_INIT;

static void replace(void *old, void *new, long difference) {
    while (atomic_flag_test_and_set(&busy)) {
    }
    size_t i = 0;
    while (i < sizeof held / sizeof *held && held[i] != old) i++;
    if (i < sizeof held / sizeof *held) {
        held[i] = new;
        allocated += difference;
    } else if (new != NULL) abort();
    atomic_flag_clear(&busy);
}

static void hold(void *memory) { replace(NULL, memory, 1); }

extern void __libc_free(void *memory);
void free(void *memory) {
    if (memory != NULL) replace(memory, NULL, -1);
    __libc_free(memory);
}
#endif

void *aligned_alloc(size_t alignment, size_t size) {
    void *memory = NULL;
    if (++allocations == failing || posix_memalign(&memory, alignment, size) != 0) return NULL;
    hold(memory);
    return memory;
}

static void fail_number(long number) {
    allocations = 0;
    failing = number;
}

struct problem {
    lf_cell cell;
    lf_real real;
    size_t features, units, batch, steps;
    const char *activation;
    int threads, indexed;
    long creating, running; /* allocations that each takes */
};

static const struct problem problems[] = {
    {LF_LSTM, LF_F32, 3, 5, 1, 4, "tanh", 1, 0, 2, 0}, /* work space on the stack */
    {LF_LSTM, LF_F32, 30, 70, 40, 6, "tanh", 1, 0, 2, 1},
    {LF_LSTM, LF_F64, 30, 200, 2, 20, "softmax", 1, 0, 2, 1},
    {LF_LSTM, LF_F32, 30, 200, 9, 20, "tanh", 1, 1, 2, 1},
    {LF_LSTM, LF_F32, 300, 500, 2, 3, "tanh", 2, 0, 2, 1}, /* weights in huge pages; a team */
    {LF_GRU, LF_F32, 30, 70, 40, 6, "tanh", 2, 0, 3, 1},
    {LF_GRU_RESET_BEFORE, LF_F64, 30, 70, 40, 6, "tanh", 1, 0, 2, 1},
    {LF_SIMPLE_RNN, LF_F32, 30, 70, 40, 6, "tanh", 1, 0, 2, 1},
    {LF_DENSE, LF_F32, 30, 700, 40, 1, "softmax", 1, 0, 2, 1},
};

static void *filled(size_t count, lf_real real, double from) {
    const size_t bytes = real == LF_F32 ? sizeof(float) : sizeof(double);
    void *array = malloc(count * bytes);
    for (size_t i = 0; i < count; i++) {
        const double value = from * ((double)((i * 2654435761U) % 1009) / 504.0 - 1);
        if (real == LF_F32) ((float *)array)[i] = (float)value;
        else ((double *)array)[i] = value;
    }
    return array;
}

static void check(const struct problem *p) {
    static const size_t gates[LF_CELL_COUNT] = {4, 3, 3, 1, 1};
    const size_t columns = gates[p->cell] * p->units, outputs = p->batch * p->units;
    const size_t bytes = outputs * (p->real == LF_F32 ? sizeof(float) : sizeof(double));
    const int dense = p->cell == LF_DENSE, lstm = p->cell == LF_LSTM;
    fail_number(0);
    void *kernel = filled(p->features * columns, p->real, 0.2), *recurrent = filled(p->units * columns, p->real, 0.1);
    void *bias = filled(2 * columns, p->real, 0.3), *x = filled(p->batch * p->steps * p->features, p->real, 1);
    void *h0 = filled(outputs, p->real, 0.5);
    const lf_layer_config config = {.cell = p->cell,
                                    .real = p->real,
                                    .features = p->features,
                                    .units = p->units,
                                    .activation = {.kind = lf_activation_find(p->activation)},
                                    .recurrent_activation = {.kind = lf_activation_find("sigmoid")},
                                    .kernel = kernel,
                                    .recurrent_kernel = dense ? NULL : recurrent,
                                    .bias = bias};
    lf_layer *const untouched = (lf_layer *)&failures;
    lf_layer *layer = untouched;
    long before = allocated;
    for (long n = 1; n <= p->creating; n++) {
        fail_number(n);
        expect(lf_layer_create(&config, &layer) == LF_NO_MEMORY, "create: LF_NO_MEMORY");
        expect(layer == untouched, "create: no layer is given");
        expect(allocated == before, "create: nothing stays allocated");
    }
    fail_number(p->creating + 1);
    expect(lf_layer_create(&config, &layer) == LF_OK, "create: no more allocations than those");
    if (layer == untouched) exit(1);

    fail_number(0);
    void *y = malloc(bytes), *expected = malloc(bytes), *h = malloc(bytes), *c = malloc(bytes);
    int32_t *indices = malloc(p->batch * p->steps * sizeof *indices);
    for (size_t i = 0; i < p->batch * p->steps; i++) indices[i] = (int32_t)(i % 3);
    void *table = p->indexed ? filled(3 * lf_projection_width(layer), p->real, 1) : NULL;
    lf_run run = {.batch = p->batch,
                  .steps = p->steps,
                  .x = x,
                  .x_row_stride = (ptrdiff_t)(p->steps * p->features),
                  .x_step_stride = (ptrdiff_t)p->features,
                  .initial_h = dense ? NULL : h,
                  .initial_c = lstm ? c : NULL,
                  .y = expected,
                  .y_row_stride = (ptrdiff_t)p->units,
                  .final_h = dense ? NULL : h,
                  .final_c = lstm ? c : NULL,
                  .threads = p->threads,
                  .table = table,
                  .table_rows = 3,
                  .indices = indices,
                  .index_row_stride = (ptrdiff_t)p->steps,
                  .index_step_stride = 1};
    memcpy(h, h0, bytes);
    memcpy(c, h0, bytes);
    expect(lf_layer_run(layer, &run) == LF_OK, "run"); /* also starts the team, whose threads stay */
    run.y = y;
    before = allocated;
    for (long n = 1; n <= p->running + 1; n++) {
        const int enough = n > p->running;
        fail_number(n);
        memset(y, 0x55, bytes);
        memcpy(h, h0, bytes);
        memcpy(c, h0, bytes);
        expect(lf_layer_run(layer, &run) == (enough ? LF_OK : LF_NO_MEMORY), "run: status");
        expect(allocated == before, "run: nothing stays allocated");
        if (enough) expect(memcmp(y, expected, bytes) == 0, "run: the same bits after failures");
        else
            for (size_t i = 0; i < bytes; i++)
                if (((unsigned char *)y)[i] != 0x55) {
                    expect(0, "run: nothing is written");
                    break;
                }
        if (!enough) expect(memcmp(h, h0, bytes) == 0 && memcmp(c, h0, bytes) == 0, "run: states are kept");
    }
    fail_number(0);
    lf_layer_destroy(layer);
    free(kernel);
    free(recurrent);
    free(bias);
    free(x);
    free(h0);
    free(y);
    free(expected);
    free(h);
    free(c);
    free(indices);
    free(table);
}

/* Layers on top of each other, each of which takes memory of its own: whichever gets none, nothing stays allocated. */
static void check_stack(void) {
    enum { LEVELS = 4, STEPS = 60, UNITS = 90, BATCH = 2, MOST = 3 * LEVELS };
    const size_t outputs = (size_t)BATCH * STEPS * UNITS;
    fail_number(0);
    float *kernel = filled((size_t)UNITS * 4 * UNITS, LF_F32, 0.2), *x = filled(outputs, LF_F32, 1);
    const lf_layer_config config = {.cell = LF_LSTM,
                                    .real = LF_F32,
                                    .features = UNITS,
                                    .units = UNITS,
                                    .activation = {.kind = lf_activation_find("tanh")},
                                    .recurrent_activation = {.kind = lf_activation_find("sigmoid")},
                                    .kernel = kernel,
                                    .recurrent_kernel = kernel};
    lf_layer *layer = NULL;
    if (lf_layer_create(&config, &layer) != LF_OK) exit(1);
    const lf_layer *layers[LEVELS];
    const lf_run *calls[LEVELS];
    lf_run runs[LEVELS];
    float *y[LEVELS], *expected = malloc(outputs * sizeof *expected);
    for (int i = 0; i < LEVELS; i++) {
        y[i] = malloc(outputs * sizeof *y[i]);
        runs[i] = (lf_run){.batch = BATCH,
                           .steps = STEPS,
                           .x = i == 0 ? x : y[i - 1],
                           .x_row_stride = (ptrdiff_t)STEPS * UNITS,
                           .x_step_stride = UNITS,
                           .y = y[i],
                           .y_row_stride = (ptrdiff_t)STEPS * UNITS,
                           .y_step_stride = UNITS,
                           .return_sequences = 1,
                           .threads = LEVELS};
        layers[i] = layer;
        calls[i] = &runs[i];
    }
    expect(lf_layers_run(layers, calls, LEVELS, LF_ABOVE) == LF_OK, "a stack");
    memcpy(expected, y[LEVELS - 1], outputs * sizeof *expected);
    const long before = allocated;
    lf_status status = LF_NO_MEMORY;
    int failed = 0;
    for (; failed < MOST && status == LF_NO_MEMORY; failed++) {
        fail_number(failed + 1);
        status = lf_layers_run(layers, calls, LEVELS, LF_ABOVE);
        expect(allocated == before, "a stack: nothing stays allocated");
    }
    expect(failed > 1 && status == LF_OK, "a stack: as soon as there is memory");
    expect(memcmp(y[LEVELS - 1], expected, outputs * sizeof *expected) == 0, "a stack: the same bits after failures");
    fail_number(0);

    expect(lf_layers_run(NULL, calls, 1, LF_ABOVE) == LF_INVALID, "a stack of no layers");
    expect(lf_layers_run(layers, NULL, 1, LF_ABOVE) == LF_INVALID, "a stack of no calls");
    expect(lf_layers_run(layers, calls, 0, LF_ABOVE) == LF_INVALID, "a stack without levels");
    expect(lf_layers_run(layers, calls, 1, (lf_together)7) == LF_INVALID, "neither beside nor above");
    for (int i = 0; i < 7; i++) {
        runs[1] = runs[2];
        runs[1].x = y[0];
        runs[1].y = y[1];
        if (i == 1) runs[1].x = y[3];
        if (i == 2) runs[1].steps--;
        if (i == 3) runs[1].batch--;
        if (i == 4) runs[1].x_row_stride++;
        if (i == 5) runs[1].x_step_stride--;
        if (i == 6) runs[1].steps = 0;
        expect(lf_layers_run(layers, calls, 2, LF_ABOVE) == (i == 0 ? LF_OK : LF_INVALID),
               "a stack: what lies on what");
    }
    for (int i = 0; i < LEVELS; i++) free(y[i]);
    lf_layer_destroy(layer);
    free(expected);
    free(kernel);
    free(x);
}

/* A million layers would show the smallest leak; a few thousand calls do too, where bytes are counted. */
static void check_leaks(void) {
    static const float weights[64], x[4];
    float y[4];
    const lf_layer_config config = {
        .cell = LF_LSTM, .features = 2, .units = 2, .kernel = weights, .recurrent_kernel = weights, .bias = weights};
    const lf_run run = {.batch = 1, .steps = 2, .x = x, .x_step_stride = 2, .y = y, .threads = 1};
    long before = 0;
    for (int i = 0; i < 5000; i++) {
        lf_layer *layer = NULL;
        fail_number(i % 5);
        if (lf_layer_create(&config, &layer) == LF_OK) expect(lf_layer_run(layer, &run) == LF_OK, "run in a loop");
        lf_layer_destroy(layer);
        if (i == 10) before = allocated;
    }
    fail_number(0);
    expect(allocated == before, "a loop of layers, some of them failed: nothing stays allocated");
}

static int questions, answered_yes; /* that number of them */

static int interrupt(void) { return ++questions == answered_yes; }

/* Weights large enough for several questions, interrupted at each of them. */
static void check_interrupted(lf_cell cell, size_t features, size_t units, size_t columns) {
    float *kernel = calloc(features * columns, sizeof *kernel), *recurrent = calloc(units * columns, sizeof *recurrent);
    const lf_layer_config config = {.cell = cell,
                                    .features = features,
                                    .units = units,
                                    .kernel = kernel,
                                    .recurrent_kernel = cell == LF_DENSE ? NULL : recurrent,
                                    .interrupted = interrupt};
    lf_layer *layer = NULL;
    const long before = allocated;
    questions = answered_yes = 0;
    expect(lf_layer_create(&config, &layer) == LF_OK && layer != NULL, "asked, and told to go on");
    lf_layer_destroy(layer);
    const int all = questions;
    expect(all >= 3, "asked several times");
    for (int n = 1; n <= all; n++) {
        layer = NULL;
        questions = 0;
        answered_yes = n;
        expect(lf_layer_create(&config, &layer) == LF_INTERRUPTED && layer == NULL, "interrupted");
        expect(questions == n, "and at once");
        expect(allocated == before, "interrupted: nothing stays allocated");
    }
    free(kernel);
    free(recurrent);
}

/* The one allocation of a call over grids. */
static void check_grids(void) {
    enum { UNITS = 4, PLACES = 50, STEPS = 3, COLUMNS = 3 * (1 + UNITS) };
    static float kernel[COLUMNS * 4 * UNITS], x[STEPS * PLACES], y[PLACES * UNITS], h[PLACES * UNITS];
    const lf_windows of_x = {.channels = 1,
                             .size = {1, 1, PLACES},
                             .extent = {1, 1, 3},
                             .stride = {1, 1, 1},
                             .dilation = {1, 1, 1},
                             .before = {0, 0, 1},
                             .axis_stride = {0, 0, 1},
                             .channel_stride = 1};
    lf_convolution convolution = {.places = {1, 1, PLACES}, .x = of_x, .h = of_x};
    convolution.h.channels = UNITS;
    const lf_layer_config config = {.cell = LF_LSTM, .features = COLUMNS, .units = UNITS, .kernel = kernel};
    const lf_run run = {.batch = 1,
                        .steps = STEPS,
                        .x = x,
                        .x_step_stride = PLACES,
                        .y = y,
                        .final_h = h,
                        .threads = 1,
                        .convolution = &convolution};
    lf_layer *layer = NULL;
    if (lf_layer_create(&config, &layer) != LF_OK) exit(1);
    for (int i = 0; i < PLACES * UNITS; i++) y[i] = h[i] = 7;
    const long before = allocated;
    fail_number(1);
    expect(lf_layer_run(layer, &run) == LF_NO_MEMORY, "grids: status");
    for (int i = 0; i < PLACES * UNITS; i++)
        if (y[i] != 7 || h[i] != 7) expect(0, "grids: nothing is written");
    fail_number(2);
    expect(lf_layer_run(layer, &run) == LF_OK, "grids: one allocation");
    expect(allocated == before, "grids: nothing stays allocated");
    fail_number(0);
    lf_layer_destroy(layer);
}

/* Products of matrices that have to be put in order first, and as they are. */
static void check_products(int turned) {
    enum { COUNT = 3, ROWS = 4, INNER = 5, COLUMNS = 6 };
    static float a[COUNT * ROWS * INNER], b[COUNT * INNER * COLUMNS], y[COUNT * ROWS * COLUMNS],
        again[COUNT * ROWS * COLUMNS];
    for (int i = 0; i < COUNT * ROWS * INNER; i++) a[i] = (float)(i % 7) - 3;
    for (int i = 0; i < COUNT * INNER * COLUMNS; i++) b[i] = (float)(i % 5) - 2;
    lf_products call = {.count = COUNT,
                        .rows = ROWS,
                        .inner = INNER,
                        .columns = COLUMNS,
                        .a = a,
                        .a_stride = (ptrdiff_t)ROWS * INNER,
                        .a_row_stride = INNER,
                        .b = b,
                        .b_stride = (ptrdiff_t)INNER * COLUMNS,
                        .b_row_stride = turned ? 1 : COLUMNS,
                        .b_column_stride = turned ? INNER : 1,
                        .y = y,
                        .threads = 1};
    expect(lf_products_run(&call) == LF_OK, "products");
    const long before = allocated;
    lf_status status = LF_NO_MEMORY;
    int failed = 0;
    call.y = again;
    for (; failed < 20 && status == LF_NO_MEMORY; failed++) {
        fail_number(failed + 1);
        status = lf_products_run(&call);
        expect(allocated == before, "products: nothing stays allocated");
    }
    fail_number(0);
    expect(failed > 1 && status == LF_OK, "products: as soon as there is memory");
    expect(memcmp(y, again, sizeof y) == 0, "products: the same bits after failures");
}

static void check_blocks(void) {
    fail_number(1);
    expect(lf_block_resize(NULL, 100) == NULL, "a block: status");
    char *block = lf_block_resize(NULL, 100);
    memset(block, 5, 100);
    fail_number(1);
    expect(lf_block_resize(block, 1 << 20) == NULL && block[0] == 5 && block[99] == 5, "a block stays as it is");
    fail_number(0);
    const long before = allocated;
    expect(lf_block_resize(block, 0) == NULL && allocated <= before, "a block is given back");
}

static atomic_int works;

static void *take_and_give_back(void *bytes) {
    while (atomic_load(&works)) lf_block_resize(lf_block_resize(NULL, *(const size_t *)bytes), 0);
    return NULL;
}

/* A fork beside a thread that is at the kept blocks most of the time: in the child, too, a block that is given back is
 * there for the next, for which there is no other memory. */
static void check_blocks_after_forks(void) {
    enum { FORKS = 50 };
    static const size_t bytes = 1 << 20;
    pthread_t worker;
    atomic_store(&works, 1);
    if (pthread_create(&worker, NULL, take_and_give_back, (void *)&bytes) != 0) exit(1);
    for (int i = 0; i < FORKS; i++) {
        int status = -1;
        const pid_t child = fork();
        if (child == 0) {
            lf_block_resize(lf_block_resize(NULL, bytes), 0);
            fail_number(1);
            _exit(lf_block_resize(NULL, bytes) == NULL);
        }
        expect(waitpid(child, &status, 0) == child && status == 0, "a block is kept in a forked child");
    }
    atomic_store(&works, 0);
    pthread_join(worker, NULL);
}

int main(void) {
    check_grids();
    check_stack();
    check_products(0);
    check_products(1);
    check_blocks();
    check_blocks_after_forks();
    check_interrupted(LF_DENSE, 3000, 4000, 4000);
    check_interrupted(LF_GRU, 2100, 1000, 3000);
    check_interrupted(LF_GRU_RESET_BEFORE, 2100, 1000, 3000);
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) check(&problems[i]);
    check_leaks();
    expect(lf_layer_create(NULL, NULL) == LF_INVALID, "no config");
    printf("%ld passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
#else
int main(void) {
    expect(1, "nothing");
    puts("not run: aligned_alloc is not replaced here");
    return failures;
}
#endif
