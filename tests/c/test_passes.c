/* Passes over arrays and products of matrices against plain float64 loops, on every instruction set and both real
 * types: sizes that straddle the lanes, arrays that end, and then begin, at a page that may not be touched; the same
 * bits alone, among other rows, in place and on any number of threads; NaN; arguments out of range. Next:
 * csrc/core/passes.c and csrc/kernels/passes.inc. */
#define _GNU_SOURCE
#include <lstmfast.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"

static unsigned long long random_state = 88172645463325252ULL;

static double uniform(double low, double high) {
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return low + (high - low) * (double)(random_state >> 11) / 9007199254740992.0;
}

static struct guarded make_random(lf_real real, size_t count, int at_end) {
    const struct guarded made = guard(count * bytes_of(real), at_end);
    for (size_t i = 0; i < count; i++) put(real, made.data, i, uniform(-2, 2));
    return made;
}

/* ---- passes --------------------------------------------------------------------------------------------------------
 */

static int is_pool(lf_pass_kind kind) { return kind >= LF_PASS_MEAN; }

static int counts(const lf_pass *pass, size_t row, size_t step) {
    return pass->step_mask == NULL || pass->step_mask[row * pass->steps + step];
}

/* One number of what a pass gives, in float64. */
static double expected_pool(const lf_pass *pass, size_t row, size_t window, size_t column) {
    double total = pass->kind == LF_PASS_MAX ? -INFINITY : 0, valid = 0;
    for (size_t tap = 0; tap < pass->extent; tap++) {
        const size_t shifted = window * pass->stride + tap, step = shifted - pass->before;
        if (shifted < pass->before || step >= pass->steps || !counts(pass, row, step)) continue;
        const double x = get(pass->real, pass->x, (row * pass->steps + step) * pass->columns + column);
        total = pass->kind == LF_PASS_MAX ? fmax(total, x) : total + x;
        valid++;
    }
    return pass->kind == LF_PASS_MEAN ? total / valid : total;
}

static double expected_of(const lf_pass *pass, size_t row, size_t column) {
    const lf_real real = pass->real;
    const double x = get(real, pass->x, row * pass->columns + column);
    const double shift = pass->shift == NULL ? 0 : get(real, pass->shift, column);
    const double scale = pass->scale == NULL ? 1 : get(real, pass->scale, column);
    const double offset = pass->offset == NULL ? 0 : get(real, pass->offset, column);
    double mean = 0, squares = 0;
    if (pass->kind == LF_PASS_ACTIVATION) return tanh(x);
    if (pass->kind == LF_PASS_PRELU) return fmax(x, 0) + scale * fmin(x, 0);
    if (pass->kind == LF_PASS_MASK) return pass->kept[row] ? x : 0;
    if (pass->kind == LF_PASS_DOT) {
        double sum = 0;
        for (size_t i = 0; i < pass->columns; i++)
            sum += get(real, pass->x, row * pass->columns + i) * (pass->scale == NULL ? 1 : get(real, pass->scale, i));
        return sum;
    }
    if (pass->kind == LF_PASS_SCALE) return (x - shift) * scale + offset;
    for (size_t i = 0; pass->kind == LF_PASS_LAYER_NORM && i < pass->columns; i++)
        mean += get(real, pass->x, row * pass->columns + i) / (double)pass->columns;
    for (size_t i = 0; i < pass->columns; i++) squares += pow(get(real, pass->x, row * pass->columns + i) - mean, 2);
    const double size = pass->kind == LF_PASS_UNIT_NORM ? fmax(squares, pass->epsilon)
                                                        : squares / (double)pass->columns + pass->epsilon;
    return (x - mean) / sqrt(size) * scale + offset;
}

static size_t outputs_of(const lf_pass *pass) {
    if (pass->kind == LF_PASS_DOT) return 1;
    return (is_pool(pass->kind) ? pass->windows : 1) * pass->columns;
}

static int is_near(lf_real real, double got, double expected) {
    if (isnan(expected)) return isnan(got);
    return fabs(got - expected) <=
           (real == LF_F32 ? 64 * (double)FLT_EPSILON : 64 * DBL_EPSILON) * (1 + fabs(expected));
}

static void compare(const lf_pass *pass, const char *what) {
    const size_t width = outputs_of(pass);
    int near = 1;
    for (size_t row = 0; row < pass->rows && pass->kind == LF_PASS_MASK; row++) {
        size_t same = 0;
        for (size_t i = 0; i < width; i++) same += get(pass->real, pass->x, row * width + i) == pass->mask_value;
        near = near && pass->kept[row] == (same < width);
    }
    for (size_t row = 0; row < pass->rows; row++)
        for (size_t i = 0; i < width; i++) {
            const double expected = is_pool(pass->kind) ? expected_pool(pass, row, i / pass->columns, i % pass->columns)
                                                        : expected_of(pass, row, i);
            near = near && is_near(pass->real, get(pass->real, pass->y, row * width + i), expected);
        }
    expect(near, what);
}

/* Each row for itself, all of them on several threads, and in place: the same bits. */
static void check_bits(const lf_pass *pass) {
    const size_t bytes = bytes_of(pass->real), of_x = (is_pool(pass->kind) ? pass->steps : 1) * pass->columns * bytes;
    const size_t of_y = outputs_of(pass) * bytes;
    char *got = malloc(pass->rows * of_y + 1);
    lf_pass other = *pass;
    other.y = got;
    for (int threads = 1; threads <= 5; threads += 2) {
        other.threads = threads;
        memset(got, 1, pass->rows * of_y);
        expect(lf_pass_run(&other) == LF_OK && memcmp(got, pass->y, pass->rows * of_y) == 0, "a pass on threads");
    }
    other.rows = 1;
    for (size_t row = 0; row < pass->rows && row < 9; row++) {
        other.x = (const char *)pass->x + row * of_x;
        if (pass->step_mask != NULL) other.step_mask = pass->step_mask + row * pass->steps;
        expect(lf_pass_run(&other) == LF_OK && memcmp(got, (const char *)pass->y + row * of_y, of_y) == 0,
               "a row alone");
    }
    if (!is_pool(pass->kind) && pass->kind != LF_PASS_DOT) {
        other.rows = pass->rows;
        memcpy(got, pass->x, pass->rows * of_x);
        other.x = got;
        expect(lf_pass_run(&other) == LF_OK && memcmp(got, pass->y, pass->rows * of_y) == 0, "a pass in place");
    }
    free(got);
}

static void check_pass(lf_pass_kind kind, lf_real real, size_t rows, size_t columns, size_t steps, int variant) {
    const int at_end = variant & 1, pools = is_pool(kind), masked = pools && kind != LF_PASS_MAX && (variant & 2);
    lf_pass pass = {.kind = kind, .real = real, .rows = rows, .columns = columns, .epsilon = 1e-3};
    pass.activation.kind = lf_activation_find("tanh");
    if (pools) {
        pass.steps = steps;
        pass.extent = variant & 4 ? steps : 1 + steps / 3;
        pass.before = variant & 8 ? pass.extent / 2 : 0;
        pass.stride = variant & 4 ? 1 : 1 + steps / 4;
        pass.windows = variant & 4 ? 1 : (steps - 1 + pass.before) / pass.stride + 1;
    }
    struct guarded arrays[7] = {make_random(real, rows * columns * (pools ? steps : 1), at_end),
                                make_random(real, columns, at_end),
                                make_random(real, columns, at_end),
                                make_random(real, columns, at_end),
                                guard(rows * outputs_of(&pass) * bytes_of(real), at_end),
                                guard(rows * steps, at_end),
                                guard(rows, at_end)};
    pass.x = arrays[0].data;
    pass.kept = arrays[6].data;
    pass.mask_value = -1;
    for (size_t i = 0; i < rows * columns && kind == LF_PASS_MASK; i++) /* all of it, all but the end, or none */
        if (i / columns % 3 == 0 || (i / columns % 3 == 1 && i % columns + 1 < columns))
            put(real, arrays[0].data, i, -1);
    if (!pools && (variant & 2)) pass.shift = arrays[1].data;
    if (!pools && (variant & 4)) pass.scale = arrays[2].data;
    if (!pools && (variant & 8)) pass.offset = arrays[3].data;
    pass.y = arrays[4].data;
    uint8_t *mask = arrays[5].data;
    for (size_t i = 0; i < rows * steps; i++) mask[i] = uniform(0, 1) < 0.6 ? (uint8_t)(1 + i % 5) : 0;
    if (masked) pass.step_mask = mask;
    expect(lf_pass_run(&pass) == LF_OK, "a pass");
    compare(&pass, "a pass");
    check_bits(&pass);
    for (int i = 0; i < 7; i++) unguard(arrays[i]);
}

static void check_passes(lf_real real) {
    static const size_t columns[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 129, 300};
    for (int kind = 0; kind < LF_PASS_COUNT; kind++) {
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
            check_pass((lf_pass_kind)kind, real, 1 + i % 6, columns[i], 1 + 11 * i % 150, (int)(i * 7 % 16));
        check_pass((lf_pass_kind)kind, real, 3000, 33, 5, 14); /* worth a team */
        check_pass((lf_pass_kind)kind, real, 700, 16, 70, 4);
    }
}

/* A row that holds NaN gives NaN: whole, where its numbers are summed up, and else where it stands. */
static void check_nan(lf_real real) {
    enum { COLUMNS = 37, STEPS = 70 };
    const struct guarded x = make_random(real, COLUMNS * STEPS, 1), y = guard(COLUMNS * STEPS * bytes_of(real), 1);
    for (int kind = 0; kind < LF_PASS_COUNT; kind++)
        for (size_t place = 0; place < COLUMNS; place += 9) {
            lf_pass pass = {.kind = (lf_pass_kind)kind, .real = real, .rows = 1, .columns = COLUMNS, .epsilon = 1e-3};
            uint8_t kept[1];
            pass.activation.kind = lf_activation_find("tanh");
            pass.kept = kept;
            pass.steps = pass.extent = STEPS;
            pass.windows = pass.stride = 1;
            pass.x = x.data;
            pass.y = y.data;
            for (size_t i = 0; i < COLUMNS * STEPS; i++) put(real, x.data, i, uniform(-2, 2));
            put(real, x.data, is_pool(pass.kind) ? (place + 3) * COLUMNS + place : place, NAN);
            expect(lf_pass_run(&pass) == LF_OK, "a pass over NaN");
            const int whole = pass.kind >= LF_PASS_LAYER_NORM && pass.kind <= LF_PASS_DOT;
            int right = 1;
            for (size_t i = 0; i < COLUMNS; i++)
                right = right && !isnan(get(real, y.data, i)) == !(whole || i == place);
            expect(right, "where a pass gives NaN");
        }
    unguard(x);
    unguard(y);
}

static void check_arguments(void) {
    float x[24] = {0}, y[24];
    uint8_t mask[6] = {0};
    const lf_pass good = {.kind = LF_PASS_MEAN,
                          .rows = 2,
                          .columns = 4,
                          .x = x,
                          .y = y,
                          .steps = 3,
                          .windows = 2,
                          .extent = 2,
                          .stride = 2,
                          .before = 1};
    for (int i = 0; i <= 19; i++) {
        lf_pass pass = good;
        if (i == 1) pass.kind = LF_PASS_COUNT;
        if (i == 2) pass.kind = (lf_pass_kind)-1;
        if (i == 3) pass.real = LF_REAL_COUNT;
        if (i == 4) pass.threads = -1;
        if (i == 5) pass.x = NULL;
        if (i == 6) pass.y = NULL;
        if (i == 7) pass.windows = 0;
        if (i == 8) pass.stride = 0;
        if (i == 9) pass.extent = 1;  /* the first window lies before the row */
        if (i == 10) pass.stride = 4; /* the last one behind it */
        if (i == 11) pass.steps = 0;
        if (i == 12) pass.windows = SIZE_MAX;
        if (i == 13) pass.rows = SIZE_MAX / 2;
        if (i == 14) pass.columns = SIZE_MAX / 4;
        if (i == 15) pass.extent = SIZE_MAX;
        if (i == 16) pass.kind = LF_PASS_MAX, pass.step_mask = mask;
        if (i == 17) pass.kind = LF_PASS_ACTIVATION, pass.activation.kind = -1;
        if (i == 18) pass.stride = SIZE_MAX;
        if (i == 19) pass.kind = LF_PASS_MASK;
        expect(lf_pass_run(&pass) == (i == 0 ? LF_OK : LF_INVALID), "a pass: out of range");
    }
    expect(lf_pass_run(NULL) == LF_INVALID, "no pass");
    lf_pass none = good;
    none.rows = 0;
    none.x = none.y = NULL;
    expect(lf_pass_run(&none) == LF_OK, "a pass over nothing");

    float b[12] = {0};
    const lf_products products = {.count = 2,
                                  .rows = 2,
                                  .inner = 3,
                                  .columns = 2,
                                  .a = x,
                                  .a_stride = 6,
                                  .a_row_stride = 3,
                                  .b = b,
                                  .b_stride = 6,
                                  .b_row_stride = 2,
                                  .b_column_stride = 1,
                                  .y = y};
    for (int i = 0; i <= 9; i++) {
        lf_products call = products;
        if (i == 1) call.real = LF_REAL_COUNT;
        if (i == 2) call.threads = -1;
        if (i == 3) call.a = NULL;
        if (i == 4) call.b = NULL;
        if (i == 5) call.y = NULL;
        if (i == 6) call.inner = 0;
        if (i == 7) call.count = SIZE_MAX / 2;
        if (i == 8) call.inner = SIZE_MAX / 2;
        if (i == 9) call.rows = SIZE_MAX / 2;
        expect(lf_products_run(&call) == (i == 0 ? LF_OK : LF_INVALID), "products: out of range");
    }
    lf_products nothing = products;
    nothing.count = 0;
    expect(lf_products_run(NULL) == LF_INVALID && lf_products_run(&nothing) == LF_OK, "products of nothing");
}

/* ---- products ------------------------------------------------------------------------------------------------------
 */

static void check_products(lf_real real, size_t count, size_t rows, size_t inner, size_t columns, int variant) {
    const int at_end = variant & 1, turned = variant & 2;
    const size_t bytes = bytes_of(real), of_y = rows * columns;
    const struct guarded a = make_random(real, count * rows * inner, at_end);
    const struct guarded b = make_random(real, count * inner * columns, at_end);
    const struct guarded y = guard(count * of_y * bytes, at_end);
    const lf_products call = {.real = real,
                              .count = count,
                              .rows = rows,
                              .inner = inner,
                              .columns = columns,
                              .a = a.data,
                              .a_stride = (ptrdiff_t)(rows * inner),
                              .a_row_stride = (ptrdiff_t)inner,
                              .b = b.data,
                              .b_stride = (ptrdiff_t)(inner * columns),
                              .b_row_stride = turned ? 1 : (ptrdiff_t)columns,
                              .b_column_stride = turned ? (ptrdiff_t)inner : 1,
                              .y = y.data};
    expect(lf_products_run(&call) == LF_OK, "products");
    int near = 1;
    for (size_t i = 0; i < count * of_y; i++) {
        const size_t sample = i / of_y, row = i % of_y / columns, column = i % columns;
        double sum = 0;
        for (size_t k = 0; k < inner; k++)
            sum += get(real, a.data, (sample * rows + row) * inner + k) *
                   get(real, b.data, sample * inner * columns + (turned ? column * inner + k : k * columns + column));
        near = near && is_near(real, get(real, y.data, i) / (double)inner, sum / (double)inner);
    }
    expect(near, "products");
    char *got = malloc(count * of_y * bytes);
    lf_products other = call;
    other.y = got;
    for (int threads = 1; threads <= 5; threads += 2) {
        other.threads = threads;
        expect(lf_products_run(&other) == LF_OK && memcmp(got, y.data, count * of_y * bytes) == 0,
               "products on threads");
    }
    other.count = other.rows = 1;
    other.a = (const char *)a.data + (count - 1) * rows * inner * bytes;
    other.b = (const char *)b.data + (count - 1) * inner * columns * bytes;
    expect(lf_products_run(&other) == LF_OK &&
               memcmp(got, (const char *)y.data + (count - 1) * of_y * bytes, columns * bytes) == 0,
           "a row of a product alone");
    free(got);
    unguard(a);
    unguard(b);
    unguard(y);
}

int main(void) {
    static const size_t sizes[] = {1, 2, 5, 16, 17, 33, 70};
    const char *isa;
    lf_assume_processors(8);
    for (int i = 0; (isa = lf_isa_available(i)) != NULL; i++) {
        expect(lf_isa_select(isa) == LF_OK, "select");
        for (int real = 0; real < LF_REAL_COUNT; real++) {
            check_passes((lf_real)real);
            check_nan((lf_real)real);
            for (size_t k = 0; k < 28; k++)
                check_products((lf_real)real, 1 + k % 4, sizes[k % 7], sizes[k * 3 % 7], sizes[k * 5 % 7], (int)k);
            check_products((lf_real)real, 60, 20, 40, 50, 2); /* worth a team */
            check_products((lf_real)real, 2, 300, 70, 60, 0); /* a team for each */
        }
        check_arguments();
    }
    printf("%ld passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
