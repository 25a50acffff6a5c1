/* A pass over an array, and products of matrices: rows, or matrices, shared out over threads.
 * Next: kernels/passes.inc makes a row's numbers, sequence.c a product's. */
#include <stdatomic.h>
#include <string.h>

#include "layer.h"
#include "team.h"

/* What a pass takes for a vector of values, in products of vectors: with what comes from beyond the first cache level,
 * as the outputs of a layer do (Zen 5). */
static const double pass_products[LF_PASS_COUNT] = {
    [LF_PASS_ACTIVATION] = 16, [LF_PASS_SCALE] = 10,     [LF_PASS_PRELU] = 10, [LF_PASS_MASK] = 10,
    [LF_PASS_LAYER_NORM] = 20, [LF_PASS_UNIT_NORM] = 16, [LF_PASS_DOT] = 10,   [LF_PASS_MEAN] = 6,
    [LF_PASS_SUM] = 6,         [LF_PASS_MAX] = 8,
};

/* Work of `rows` equal pieces that no thread has to meet another for. */
static lf_plan plan_rows(const lf_kernels *kernels, size_t rows, double products, int threads) {
    const lf_work work = {.rows = rows,
                          .steps = 1,
                          .blocks = 1,
                          .last_block = 1,
                          .chunk_rows = rows,
                          .products = products,
                          .tiled_products = products,
                          .product_ns = lf_product_ns(kernels, products)};
    return lf_plan_threads(&work, threads > 0 ? threads : lf_threads_free());
}

/* ---- passes ------------------------------------------------------------------------------------------------------ */

struct passing {
    const lf_pass *pass;
    const lf_kernels *kernels;
    lf_barrier barrier;
    lf_watch watch;
};

static void pass_member(void *context, int index, int count) {
    struct passing *s = context;
    const size_t rows = s->pass->rows, me = (size_t)index, team = (size_t)count;
    const unsigned long long before = lf_member_begin(&s->watch, count);
    s->kernels->pass(s->pass, lf_part_begin(rows, me, team), lf_part_begin(rows, me + 1, team));
    lf_member_end(&s->watch, count, before);
}

static int is_pool(lf_pass_kind kind) { return kind >= LF_PASS_MEAN; }

/* Whether every window begins in the row and ends behind its `before`: then each holds a step. */
static int windows_fit(const lf_pass *pass) {
    size_t begin, end;
    if (pass->windows == 0 || pass->stride == 0 || pass->extent <= pass->before || pass->steps == 0) return 0;
    if (!lf_multiply(pass->windows - 1, pass->stride, &begin) || !lf_sum(begin, pass->extent, &end)) return 0;
    return begin < pass->before || begin - pass->before < pass->steps;
}

static lf_status check_pass(const lf_pass *pass, size_t *values) {
    size_t outputs;
    if (pass == NULL || pass->kind < 0 || pass->kind >= LF_PASS_COUNT || pass->real < 0 ||
        pass->real >= LF_REAL_COUNT || pass->threads < 0)
        return LF_INVALID;
    if (pass->kind == LF_PASS_ACTIVATION && !lf_is_activation(pass->activation)) return LF_INVALID;
    if (pass->step_mask != NULL && (!is_pool(pass->kind) || pass->kind == LF_PASS_MAX)) return LF_INVALID;
    *values = 0;
    if (pass->kind == LF_PASS_MASK && pass->kept == NULL) return LF_INVALID;
    if (pass->rows == 0 || pass->columns == 0) return LF_OK;
    if (pass->x == NULL || pass->y == NULL || !lf_multiply(pass->rows, pass->columns, values)) return LF_INVALID;
    outputs = *values;
    if (is_pool(pass->kind) && (!windows_fit(pass) || !lf_multiply(outputs, pass->windows, &outputs) ||
                                !lf_multiply(*values, pass->steps, values)))
        return LF_INVALID;
    return *values <= PTRDIFF_MAX / sizeof(double) && outputs <= PTRDIFF_MAX / sizeof(double) ? LF_OK : LF_INVALID;
}

lf_status lf_pass_run(const lf_pass *pass) {
    size_t values;
    const lf_status status = check_pass(pass, &values);
    if (status != LF_OK || values == 0) return status;
    struct passing s = {.pass = pass, .kernels = lf_kernels_selected(pass->real)};
    const double vectors = (double)values / (double)lf_smaller(s.kernels->lanes, pass->columns);
    const lf_plan plan = plan_rows(s.kernels, pass->rows, vectors * pass_products[pass->kind], pass->threads);
    lf_run_planned(&plan, &s.barrier, &s.watch, pass_member, &s);
    return LF_OK;
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

struct multiplying {
    const lf_products *products;
    size_t element_bytes;
    int activation;
    int run_threads; /* of one product */
    lf_barrier barrier;
    lf_watch watch;
    atomic_int status;
};

/* b[i] in C order. */
static void put_kernel(const lf_products *p, const char *b, size_t bytes, char *kernel) {
    for (size_t k = 0; k < p->inner; k++) {
        const char *from = lf_at(b, (ptrdiff_t)k * p->b_row_stride, bytes);
        if (bytes == sizeof(float))
            for (size_t j = 0; j < p->columns; j++, kernel += sizeof(float))
                memcpy(kernel, lf_at(from, (ptrdiff_t)j * p->b_column_stride, sizeof(float)), sizeof(float));
        else
            for (size_t j = 0; j < p->columns; j++, kernel += sizeof(double))
                memcpy(kernel, lf_at(from, (ptrdiff_t)j * p->b_column_stride, sizeof(double)), sizeof(double));
    }
}

/* y[i] by the layer whose kernel is b[i], made of the one before where there is one. */
static lf_status multiply(const struct multiplying *s, size_t i, char *kernel, lf_layer **layer) {
    const lf_products *p = s->products;
    const size_t bytes = s->element_bytes;
    const char *b = lf_at(p->b, (ptrdiff_t)i * p->b_stride, bytes);
    if (kernel != NULL) put_kernel(p, b, bytes, kernel);
    const lf_layer_config config = {.cell = LF_DENSE,
                                    .real = p->real,
                                    .features = p->inner,
                                    .units = p->columns,
                                    .activation = {.kind = s->activation},
                                    .kernel = kernel != NULL ? kernel : b};
    const lf_status status = *layer == NULL ? lf_layer_create(&config, layer) : lf_pack_again(&config, *layer);
    if (status != LF_OK) return status;
    const lf_run run = {.batch = p->rows,
                        .steps = 1,
                        .x = lf_at(p->a, (ptrdiff_t)i * p->a_stride, bytes),
                        .x_row_stride = p->a_row_stride,
                        .y = (char *)p->y + i * p->rows * p->columns * bytes,
                        .y_row_stride = (ptrdiff_t)p->columns,
                        .threads = s->run_threads};
    return lf_layer_run(*layer, &run);
}

static void multiply_share(struct multiplying *s, size_t begin, size_t end) {
    const lf_products *p = s->products;
    const int is_plain = p->b_column_stride == 1 && p->b_row_stride == (ptrdiff_t)p->columns;
    char *kernel = is_plain ? NULL : lf_allocate(p->inner * p->columns * s->element_bytes);
    lf_status status = is_plain || kernel != NULL ? LF_OK : LF_NO_MEMORY;
    lf_layer *layer = NULL;
    for (size_t i = begin; i < end && status == LF_OK; i++) status = multiply(s, i, kernel, &layer);
    lf_layer_destroy(layer);
    lf_release(kernel);
    if (status != LF_OK) atomic_store(&s->status, (int)status);
}

static void products_member(void *context, int index, int count) {
    struct multiplying *s = context;
    const size_t all = s->products->count, me = (size_t)index, team = (size_t)count;
    const unsigned long long before = lf_member_begin(&s->watch, count);
    multiply_share(s, lf_part_begin(all, me, team), lf_part_begin(all, me + 1, team));
    lf_member_end(&s->watch, count, before);
}

static lf_status check_products(const lf_products *p) {
    size_t of_a, of_b, of_y;
    if (p == NULL || p->real < 0 || p->real >= LF_REAL_COUNT || p->threads < 0) return LF_INVALID;
    if (p->count == 0 || p->rows == 0 || p->columns == 0) return LF_OK;
    if (p->a == NULL || p->b == NULL || p->y == NULL || p->inner == 0) return LF_INVALID;
    if (!lf_multiply(p->rows, p->inner, &of_a) || !lf_multiply(p->inner, p->columns, &of_b) ||
        !lf_multiply(p->rows, p->columns, &of_y) || !lf_multiply(of_y, p->count, &of_y))
        return LF_INVALID;
    const size_t most = PTRDIFF_MAX / sizeof(double);
    return of_a <= most && of_b <= most && of_y <= most ? LF_OK : LF_INVALID;
}

/* Where there are fewer products than threads, each of them is shared out, one after the other. */
lf_status lf_products_run(const lf_products *products) {
    const lf_status status = check_products(products);
    if (status != LF_OK || products->count == 0 || products->rows == 0 || products->columns == 0) return status;
    struct multiplying s = {.products = products,
                            .element_bytes = products->real == LF_F32 ? sizeof(float) : sizeof(double),
                            .activation = lf_activation_find("linear"),
                            .run_threads = 1};
    const int most = products->threads > 0 ? products->threads : lf_threads_free();
    if (products->count < (size_t)most) {
        s.run_threads = products->threads;
        multiply_share(&s, 0, products->count);
        return (lf_status)atomic_load(&s.status);
    }
    const lf_kernels *kernels = lf_kernels_selected(products->real);
    const double vectors = (double)products->columns / (double)kernels->lanes + 1;
    const double packed = 8; /* rows that would take as long as packing does */
    const double made = (double)products->count * ((double)products->rows + packed) * (double)products->inner * vectors;
    const lf_plan plan = plan_rows(kernels, products->count, made, most);
    lf_run_planned(&plan, &s.barrier, &s.watch, products_member, &s);
    return (lf_status)atomic_load(&s.status);
}
