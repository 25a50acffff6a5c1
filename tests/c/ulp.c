/* Accuracy of kernels/activations.inc on every instruction set that this machine has, against libm in more precision.
 * Built by `make check-ulp`; alone: `cc -std=gnu11 -O3 -ffp-contract=off -Icsrc/include -c tests/c/ulp.c` without and
 * with -DULP_ISA=generic, avx2, avx512 and neon, then all five objects linked with -pthread -lm.
 * Usage: ulp [--stride N] [--samples N] [--only name,name] [--isa name] [--time]
 * A broken bound makes it exit with 1. Next: ulp_kernels.inc. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <lstmfast.h>

#include "../../csrc/isa/inline.h"
#include "../../csrc/kernels/activations.h"

/* Functions that are no activation follow the activations' numbers. */
enum { ULP_EXPM1 = LF_ACTIVATION_COUNT, ULP_LOG, ULP_LOG1P, ULP_ERF, ULP_KIND_COUNT };

typedef struct ulp_kernels {
    const char *isa;
    void (*apply_f32)(const lf_activation *activation, const float *x, ptrdiff_t x_stride, float *y, ptrdiff_t y_stride,
                      size_t rows, size_t columns);
    void (*apply_f64)(const lf_activation *activation, const double *x, ptrdiff_t x_stride, double *y,
                      ptrdiff_t y_stride, size_t rows, size_t columns);
    /* Names of vec_<isa>.h by number; results compared over instruction sets and with libm. */
    void (*vector_f32)(int operation, const float *a, const float *b, float *y); /* 16 numbers */
    void (*vector_f64)(int operation, const double *a, const double *b, double *y);
} ulp_kernels;
enum { ULP_MIN, ULP_MAX, ULP_SCALE, ULP_MANTISSA, ULP_EXPONENT, ULP_COPYSIGN, ULP_SQRT, ULP_OPERATIONS };

#ifdef ULP_ISA
#define ULP_NUMBER_generic 0
#define ULP_NUMBER_avx2 1
#define ULP_NUMBER_avx512 2
#define ULP_NUMBER_neon 3
#define ULP_NUMBER LF_JOIN(ULP_NUMBER_, ULP_ISA)

#if ULP_NUMBER == 0
#include "../../csrc/isa/vec_generic.h"
#define ULP_BUILT
#elif ULP_NUMBER == 1 && defined(__x86_64__)
#define LF_TARGET "avx2,fma"
#include "../../csrc/kernels/target_begin.h"
#include "../../csrc/isa/vec_avx2.h"
#define ULP_BUILT
#elif ULP_NUMBER == 2 && defined(__x86_64__)
#define LF_TARGET LF_AVX512_TARGET
#include "../../csrc/kernels/target_begin.h"
#include "../../csrc/isa/vec_avx512.h"
#define ULP_BUILT
#elif ULP_NUMBER == 3 && defined(__aarch64__)
#include "../../csrc/isa/vec_neon.h"
#define ULP_BUILT
#endif

#ifdef ULP_BUILT
#define VEC(name) LF_JOIN(LF_JOIN(name, _), SUFFIX)
#define vec VEC(vec)
#define mask VEC(mask)
#define LANES VEC(LANES)

#define REAL float
#define SUFFIX f32
#include "ulp_kernels.inc"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX f64
#include "ulp_kernels.inc"
#undef REAL
#undef SUFFIX

#ifdef LF_TARGET
#include "../../csrc/kernels/target_end.h"
#endif
#define ULP_STRING_(a) #a
#define ULP_STRING(a) ULP_STRING_(a)
const ulp_kernels LF_JOIN(ulp_kernels_, ULP_ISA) = {ULP_STRING(ULP_ISA), apply_f32, apply_f64, vector_f32, vector_f64};
#else
const ulp_kernels LF_JOIN(ulp_kernels_, ULP_ISA) = {0};
#endif

#else /* the test itself */

#include <float.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

extern const ulp_kernels ulp_kernels_generic, ulp_kernels_avx2, ulp_kernels_avx512, ulp_kernels_neon;

enum { MAX_ISAS = 4, MAX_THREADS = 64, CHUNK = 4096 };
static const ulp_kernels *isas[MAX_ISAS];
static int isa_count;
static int failures;

static int runs_here(const ulp_kernels *kernels) {
    if (kernels->isa == NULL) return 0;
#ifdef __x86_64__
    if (strcmp(kernels->isa, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#ifdef LF_AVX512_MODEL
    if (strcmp(kernels->isa, "avx512") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    if (strcmp(kernels->isa, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#endif
    return 1;
}

/* float64 judges float32, and many times as fast as long double, which judges float64. */
#define REF(name) LF_JOIN(fast_, name)
#define wide double
#include "ulp_references.inc"
#undef wide
#undef REF

typedef long double wide;
#define REF(name) LF_JOIN(ref_, name)
#include "ulp_references.inc"
#undef REF

/* Where a formula of Keras's cancels, no evaluation of it in the working precision has small errors relative to the
 * result; there an ulp is that of the larger of result and argument. */
enum { OF_RESULT, OF_ARGUMENT };

typedef struct test_case {
    const char *name;
    int kind;
    double parameters[3];
    double (*reference_f32)(double x, const double *parameters);
    wide (*reference_f64)(wide x, const double *parameters);
    int relative_to;
    double bound_f32, bound_f64; /* in ulp, where the result is at least `smallest` times the least normal number; */
    double smallest;             /* below that, in units of the least normal number, and times the same */
} test_case;

#define ACTIVATION(name) #name, LF_ACTIVATION_##name
#define JUDGES(name) fast_##name, ref_##name
#define NONE {0, 0, 0}
/* gelu_tanh: half an ulp of its argument is worth a hundred ulp of exp(2u) in the far tail, where Keras gives 0. */
static const test_case cases[] = {
    {ACTIVATION(sigmoid), NONE, JUDGES(sigmoid), OF_RESULT, 4, 4, 1},
    {ACTIVATION(tanh), NONE, JUDGES(tanh), OF_RESULT, 4, 4, 1},
    {ACTIVATION(exponential), NONE, JUDGES(exponential), OF_RESULT, 4, 4, 1},
    {ACTIVATION(linear), NONE, JUDGES(linear), OF_RESULT, 0, 0, 1},
    {ACTIVATION(relu), {0, INFINITY, 0}, JUDGES(relu), OF_RESULT, 0, 0, 1},
    {"relu(0.125, 6, 0)", LF_ACTIVATION_relu, {0.125, 6, 0}, JUDGES(relu), OF_RESULT, 1, 1, 1},
    {"relu(0.125, none, 1)", LF_ACTIVATION_relu, {0.125, INFINITY, 1}, JUDGES(relu), OF_ARGUMENT, 1, 1, 1},
    {ACTIVATION(relu6), NONE, JUDGES(relu6), OF_RESULT, 0, 0, 1},
    {ACTIVATION(leaky_relu), {0.2}, JUDGES(leaky_relu), OF_RESULT, 1, 1, 1},
    {ACTIVATION(elu), {1}, JUDGES(elu), OF_RESULT, 2, 2, 1},
    {ACTIVATION(celu), {1.5}, JUDGES(celu), OF_RESULT, 3, 3, 1},
    {ACTIVATION(selu), NONE, JUDGES(selu), OF_RESULT, 3, 3, 1},
    {ACTIVATION(softplus), NONE, JUDGES(softplus), OF_RESULT, 2, 2, 1},
    {ACTIVATION(softsign), NONE, JUDGES(softsign), OF_RESULT, 2, 2, 1},
    {ACTIVATION(squareplus), {4}, JUDGES(squareplus), OF_ARGUMENT, 2.5, 2.5, 1},
    {ACTIVATION(soft_shrink), {0.5}, JUDGES(soft_shrink), OF_RESULT, 1, 1, 1},
    {ACTIVATION(sparse_plus), NONE, JUDGES(sparse_plus), OF_RESULT, 2.5, 2.5, 1},
    {ACTIVATION(silu), NONE, JUDGES(silu), OF_RESULT, 3.5, 3.5, 1024},
    {ACTIVATION(gelu), NONE, JUDGES(gelu), OF_RESULT, 8, 8, 1},
    {ACTIVATION(gelu_tanh), NONE, JUDGES(gelu_tanh), OF_RESULT, 256, 2048, 1024},
    {ACTIVATION(tanh_shrink), NONE, JUDGES(tanh_shrink), OF_ARGUMENT, 3, 3, 1},
    {ACTIVATION(threshold), {1, 0.5}, JUDGES(threshold), OF_RESULT, 0, 0, 1},
    {ACTIVATION(hard_sigmoid), NONE, JUDGES(hard_sigmoid), OF_RESULT, 2, 2, 1},
    {ACTIVATION(hard_sigmoid_keras2), NONE, JUDGES(hard_sigmoid_keras2), OF_ARGUMENT, 2, 2, 1},
    {ACTIVATION(hard_silu), NONE, JUDGES(hard_silu), OF_RESULT, 2, 2, 1},
    {ACTIVATION(hard_tanh), NONE, JUDGES(hard_tanh), OF_RESULT, 0, 0, 1},
    {ACTIVATION(hard_shrink), {0.5}, JUDGES(hard_shrink), OF_RESULT, 0, 0, 1},
    {ACTIVATION(mish), NONE, JUDGES(mish), OF_RESULT, 5, 5, 1024},
    {ACTIVATION(log_sigmoid), NONE, JUDGES(log_sigmoid), OF_RESULT, 2, 2, 1},
    {ACTIVATION(sparse_sigmoid), NONE, JUDGES(sparse_sigmoid), OF_RESULT, 1, 1, 1},
    {"expm1", ULP_EXPM1, NONE, JUDGES(expm1), OF_RESULT, 3, 3, 1},
    {"log", ULP_LOG, NONE, JUDGES(log), OF_RESULT, 1, 1, 1},
    {"log1p", ULP_LOG1P, NONE, JUDGES(log1p), OF_RESULT, 2, 2, 1},
    {"erf", ULP_ERF, NONE, JUDGES(erf), OF_RESULT, 3, 3, 1},
};
enum { CASE_COUNT = sizeof cases / sizeof cases[0] };

typedef struct worst {
    double ulp, ulp_at;
    double small, small_at; /* error of results below `smallest`, in units of the least normal number */
    double special_at;      /* an argument for which NaN or infinity is wrong */
    uint64_t special_count;
} worst;

static void merge(worst *total, const worst *part) {
    if (part->ulp > total->ulp) {
        total->ulp = part->ulp;
        total->ulp_at = part->ulp_at;
    }
    if (part->small > total->small) {
        total->small = part->small;
        total->small_at = part->small_at;
    }
    if (part->special_count != 0) {
        total->special_count += part->special_count;
        total->special_at = part->special_at;
    }
}

/* 2^k for any k of a normal float64. */
static double power_of_two(int k) {
    const uint64_t bits = (uint64_t)(k + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

static int exponent_of(double a) {
    uint64_t bits;
    memcpy(&bits, &a, sizeof bits);
    return (int)(bits >> 52 & 0x7FF) - 1023;
}

/* Keras's formula for squareplus overflows where the square of its argument does, and so must ours. */
static int overflows(const test_case *test, double x, double largest) {
    return test->kind == LF_ACTIVATION_squareplus && isfinite(x) && fabs(x) > sqrt(largest);
}

static void judge_f32(const test_case *test, float x, float y, double reference, worst *result) {
    if (overflows(test, x, FLT_MAX)) reference = INFINITY;
    if (isnan(reference) || isnan(y) || isinf(x)) {
        if (!(isnan(reference) && isnan(y)) && !(fabs(y - reference) <= 1e-6)) {
            if (y == reference) return;
            result->special_count++;
            result->special_at = x;
        }
        return;
    }
    const double size = test->relative_to == OF_RESULT ? fabs(reference) : fmax(fabs(reference), fabs((double)x));
    if (size == INFINITY && fabs((double)y) == INFINITY && (y > 0) == (reference > 0)) return;
    if (size >= 0x1p128) { /* rounds to infinity; the largest number is not far off */
        if (!(fabs((double)y) >= FLT_MAX * (1 - 8 * 0x1p-24))) {
            result->special_count++;
            result->special_at = x;
        }
        return;
    }
    const double given = fabs((double)y) == INFINITY ? copysign(0x1p128, y) : y;
    const double error = fabs(given - reference);
    if (size < FLT_MIN * test->smallest) {
        if (error * 0x1p126 > result->small) {
            result->small = error * 0x1p126;
            result->small_at = x;
        }
        return;
    }
    const double ulp = error * power_of_two(23 - exponent_of(size));
    if (ulp > result->ulp) {
        result->ulp = ulp;
        result->ulp_at = x;
    }
}

/* Whether no number of a chunk can change its result: a loop that compilers turn into vectors. An error of u ulp is at
 * least u 2^-24 of the reference; NaN and infinity never pass. */
static int is_dull(const worst *result, const float *y, const double *reference, size_t count) {
    const double limit = result->ulp * 0x1p-24;
    int passed = 0;
    for (size_t k = 0; k < count; k++) passed += fabs(y[k] - reference[k]) <= limit * fabs(reference[k]);
    return passed == (int)count;
}

static void judge_f64(const test_case *test, double x, double y, wide reference, worst *result) {
    if (overflows(test, x, DBL_MAX)) reference = INFINITY;
    if (isnan(reference) || isnan(y) || isinf(x) || fabsl(reference) > DBL_MAX || isinf(y)) {
        const int right = (isnan(reference) && isnan(y)) || (double)reference == y ||
                          fabsl(reference - y) <= 1e-12L * fabsl(reference);
        if (!right) {
            result->special_count++;
            result->special_at = x;
        }
        return;
    }
    const wide size = test->relative_to == OF_RESULT ? fabsl(reference) : fmaxl(fabsl(reference), fabsl(x));
    const wide error = fabsl(y - reference);
    if (size < DBL_MIN * (wide)test->smallest) {
        if (error / DBL_MIN > result->small) {
            result->small = (double)(error / DBL_MIN);
            result->small_at = x;
        }
        return;
    }
    int exponent;
    (void)frexpl(size, &exponent);
    const double ulp = (double)ldexpl(error, 53 - exponent);
    if (ulp > result->ulp) {
        result->ulp = ulp;
        result->ulp_at = x;
    }
}

/* One case's sweep, shared by the threads: each takes the next chunk. */
typedef struct sweep {
    const test_case *test;
    uint64_t stride;    /* float32: every stride-th bit pattern; 0 for float64 */
    uint64_t samples;   /* how many arguments */
    atomic_ullong next; /* chunk */
    worst results[MAX_THREADS][MAX_ISAS];
    atomic_int next_thread;
} sweep;

static uint64_t mix(uint64_t a) { /* splitmix64 */
    a += 0x9E3779B97F4A7C15u;
    a = (a ^ a >> 30) * 0xBF58476D1CE4E5B9u;
    a = (a ^ a >> 27) * 0x94D049BB133111EBu;
    return a ^ a >> 31;
}

static const double special_arguments[] = {0.0,    -0.0,    INFINITY, -INFINITY, NAN, -NAN, 1,    -1,
                                           1e-30,  -1e-30,  88.8,     -88.8,     104, -104, 1e30, -1e30,
                                           3.4e38, -3.4e38, 1e-40,    -1e-40,    0.5, -0.5, 6,    -3};
enum { SPECIAL_COUNT = sizeof special_arguments / sizeof special_arguments[0] };

/* Special values, then random bit patterns, numbers around 1 of any size, and numbers in +-60 and +-800, in turn. */
static double argument_f64(uint64_t index) {
    if (index < SPECIAL_COUNT) return special_arguments[index];
    const uint64_t random = mix(index);
    const double unit = (double)(int64_t)random * 0x1p-63;
    double x;
    switch (index & 3) {
    case 0: memcpy(&x, &random, sizeof x); return x;
    case 1: return ldexp(unit, (int)(mix(random) % 40) - 34);
    case 2: return unit * 60;
    default: return unit * 800;
    }
}

static void *run_sweep(void *argument) {
    sweep *job = argument;
    const test_case *test = job->test;
    const lf_activation activation = {test->kind, {test->parameters[0], test->parameters[1], test->parameters[2]}};
    worst *results = job->results[atomic_fetch_add(&job->next_thread, 1)];
    for (;;) {
        const uint64_t begin = atomic_fetch_add(&job->next, 1) * CHUNK;
        if (begin >= job->samples) return NULL;
        const size_t count = job->samples - begin < CHUNK ? (size_t)(job->samples - begin) : CHUNK;
        if (job->stride != 0) {
            float x[CHUNK], y[CHUNK];
            double reference[CHUNK];
            for (size_t k = 0; k < count; k++) {
                const uint32_t bits = (uint32_t)((begin + k) * job->stride);
                memcpy(x + k, &bits, sizeof bits);
                if (job->stride != 1 && begin + k < SPECIAL_COUNT) x[k] = (float)special_arguments[begin + k];
            }
            for (size_t k = 0; k < count; k++) reference[k] = test->reference_f32(x[k], test->parameters);
            for (int isa = 0; isa < isa_count; isa++) {
                isas[isa]->apply_f32(&activation, x, 0, y, 0, 1, count);
                if (!is_dull(results + isa, y, reference, count))
                    for (size_t k = 0; k < count; k++) judge_f32(test, x[k], y[k], reference[k], results + isa);
            }
        } else {
            double x[CHUNK], y[CHUNK];
            wide reference[CHUNK];
            for (size_t k = 0; k < count; k++) x[k] = argument_f64(begin + k);
            for (size_t k = 0; k < count; k++) reference[k] = test->reference_f64(x[k], test->parameters);
            for (int isa = 0; isa < isa_count; isa++) {
                isas[isa]->apply_f64(&activation, x, 0, y, 0, 1, count);
                for (size_t k = 0; k < count; k++) judge_f64(test, x[k], y[k], reference[k], results + isa);
            }
        }
    }
}

static void test_accuracy(const test_case *test, uint64_t stride, uint64_t samples) {
    static sweep job;
    memset(&job, 0, sizeof job);
    job.test = test;
    job.stride = stride;
    job.samples = samples;
    pthread_t threads[MAX_THREADS];
    int started = 0;
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    while (started < MAX_THREADS && started < processors &&
           pthread_create(threads + started, NULL, run_sweep, &job) == 0)
        started++;
    if (started == 0) run_sweep(&job);
    for (int t = 0; t < started; t++) pthread_join(threads[t], NULL);
    const double bound = stride != 0 ? test->bound_f32 : test->bound_f64;
    worst all = {0};
    printf("| %s | %s | %llu | %.3g |", test->name, stride != 0 ? "float32" : "float64", (unsigned long long)samples,
           bound);
    for (int isa = 0; isa < isa_count; isa++) {
        worst total = {0};
        for (int t = 0; t < MAX_THREADS; t++) merge(&total, &job.results[t][isa]);
        merge(&all, &total);
        if (total.ulp > 0) printf(" %.2f at %.9g |", total.ulp, total.ulp_at);
        else printf(" 0 |");
    }
    const int good = all.ulp <= bound && all.small <= test->smallest && all.special_count == 0;
    failures += !good;
    printf(" %.2g | %s |", all.small, good ? "ok" : "BROKEN");
    if (all.special_count != 0)
        printf(" %llu wrong NaN or infinity, as at %.9g", (unsigned long long)all.special_count, all.special_at);
    printf("\n");
    fflush(stdout);
}

/* Any width, in place or not, gives each number the same bits, and nothing is written behind a row. */
static void test_edges(const ulp_kernels *kernels) {
    enum { WIDTH = 40, ROWS = 3 };
    for (int kind = 0; kind < LF_ACTIVATION_softmax; kind++) {
        const lf_activation activation = {kind, {1, 2, 0}};
        float x[ROWS * WIDTH], whole[ROWS * WIDTH], y[ROWS * WIDTH];
        for (int k = 0; k < ROWS * WIDTH; k++) x[k] = (float)argument_f64((uint64_t)(4 * k + 2)) / 10;
        kernels->apply_f32(&activation, x, WIDTH, whole, WIDTH, ROWS, WIDTH);
        for (size_t columns = 0; columns < WIDTH; columns++)
            for (int in_place = 0; in_place < 2; in_place++) {
                memcpy(y, x, sizeof x);
                kernels->apply_f32(&activation, in_place ? y : x, WIDTH, y, WIDTH, ROWS, columns);
                for (size_t k = 0; k < ROWS * WIDTH; k++)
                    if (memcmp(y + k, (k % WIDTH < columns ? whole : x) + k, sizeof y[k]) != 0) {
                        printf("%s: activation %d, %zu columns: wrong number at %zu\n", kernels->isa, kind, columns, k);
                        failures++;
                        return;
                    }
            }
        double x64[ROWS * WIDTH], whole64[ROWS * WIDTH], y64[ROWS * WIDTH];
        for (int k = 0; k < ROWS * WIDTH; k++) x64[k] = x[k];
        kernels->apply_f64(&activation, x64, WIDTH, whole64, WIDTH, ROWS, WIDTH);
        for (size_t columns = 0; columns < WIDTH; columns++) {
            memcpy(y64, x64, sizeof x64);
            kernels->apply_f64(&activation, x64, WIDTH, y64, WIDTH, ROWS, columns);
            for (size_t k = 0; k < ROWS * WIDTH; k++)
                if (memcmp(y64 + k, (k % WIDTH < columns ? whole64 : x64) + k, sizeof y64[k]) != 0) {
                    printf("%s: activation %d, %zu columns, float64: wrong number at %zu\n", kernels->isa, kind,
                           columns, k);
                    failures++;
                    return;
                }
        }
    }
}

static int descending(const void *a, const void *b) {
    const double left = *(const double *)a, right = *(const double *)b;
    return (left < right) - (left > right);
}

/* What Keras computes for one row, in long double; its sparsemax adds up cumulative sums. Returns what is large in it.
 */
static wide reference_row(int kind, const double *x, wide *y, size_t columns) {
    double sorted[64];
    memcpy(sorted, x, columns * sizeof *x);
    qsort(sorted, columns, sizeof *sorted, descending);
    wide total = 0, cumulative = 0, all_cumulative = 0, support = 0;
    for (size_t k = 0; k < columns; k++) {
        total += expl((wide)x[k] - sorted[0]);
        cumulative += sorted[k];
        if (sorted[k] - (cumulative - 1) / (wide)(k + 1) > 0) {
            all_cumulative += cumulative;
            support++;
        }
    }
    const wide threshold = (all_cumulative - 1) / support;
    for (size_t k = 0; k < columns; k++) {
        const wide shifted = (wide)x[k] - sorted[0];
        y[k] = kind == LF_ACTIVATION_softmax       ? expl(shifted) / total
               : kind == LF_ACTIVATION_log_softmax ? shifted - logl(total)
                                                   : fmaxl(x[k] - threshold, 0);
    }
    return kind == LF_ACTIVATION_sparsemax ? fabsl(threshold) : 1;
}

static void test_rows(const ulp_kernels *kernels) {
    double largest_f32 = 0, largest_f64 = 0; /* relative to the largest number in the formula */
    for (int kind = LF_ACTIVATION_softmax; kind < LF_ACTIVATION_COUNT; kind++)
        for (size_t columns = 1; columns < 50; columns++)
            for (uint64_t trial = 0; trial < 40; trial++) {
                const lf_activation activation = {kind, {0, 0, 0}};
                double x[64], y[64];
                float x_f32[64], y_f32[64];
                wide reference[64];
                for (size_t k = 0; k < columns; k++)
                    x_f32[k] = (float)argument_f64(4 * (k + 64 * trial) + 2) / (float)(1 + trial * trial);
                for (size_t k = 0; k < 64; k++) y[k] = y_f32[k] = 1234;
                for (size_t k = 0; k < columns; k++) x[k] = x_f32[k];
                const wide large = reference_row(kind, x, reference, columns);
                kernels->apply_f32(&activation, x_f32, 0, y_f32, 0, 1, columns);
                kernels->apply_f64(&activation, x, 0, y, 0, 1, columns);
                for (size_t k = 0; k < columns; k++) {
                    const wide scale = fmaxl(fmaxl(1, large), fabsl(reference[k]));
                    largest_f32 = fmax(largest_f32, (double)(fabsl(y_f32[k] - reference[k]) / scale));
                    largest_f64 = fmax(largest_f64, (double)(fabsl(y[k] - reference[k]) / scale));
                }
                if (y_f32[columns] != 1234 || y[columns] != 1234) {
                    printf("%s: a row-wise activation wrote behind its row of %zu\n", kernels->isa, columns);
                    failures++;
                }
                kernels->apply_f32(&activation, x_f32, 0, x_f32, 0, 1, columns);
                if (memcmp(x_f32, y_f32, columns * sizeof *y_f32) != 0) {
                    printf("%s: a row-wise activation differs in place, %zu columns\n", kernels->isa, columns);
                    failures++;
                }
            }
    const int good = largest_f32 <= 4 * FLT_EPSILON && largest_f64 <= 4 * DBL_EPSILON;
    failures += !good;
    printf("%s: softmax, log_softmax, sparsemax: largest error %.2g (float32), %.2g (float64): %s\n", kernels->isa,
           largest_f32, largest_f64, good ? "ok" : "BROKEN");
}

static double expected_operation(int operation, double a, double b) {
    switch (operation) {
    case ULP_MIN: return a < b ? a : b;
    case ULP_MAX: return a > b ? a : b;
    case ULP_MANTISSA: {
        int exponent;
        return 2 * frexp(a, &exponent);
    }
    case ULP_EXPONENT: return logb(a);
    case ULP_COPYSIGN: return copysign(a, b);
    default: return sqrt(a);
    }
}

static void test_vectors(const ulp_kernels *kernels) {
    static const double exponents[] = {0,    1,    -1,  23,   -23, 100,  -100, 127,   128,
                                       -126, -149, 200, -200, 277, -280, 5000, -1e30, 1e30};
    const size_t exponent_count = sizeof exponents / sizeof *exponents;
    for (int operation = 0; operation < ULP_OPERATIONS; operation++)
        for (uint64_t trial = 0; trial < 4000; trial++) {
            float a[16], b[16], y[16];
            double a64[16], b64[16], y64[16];
            for (uint64_t k = 0; k < 16; k++) {
                const uint64_t index = trial * 16 + k;
                const uint32_t bits = (uint32_t)mix(index);
                memcpy(a + k, &bits, sizeof bits);
                if (index < SPECIAL_COUNT * SPECIAL_COUNT) a[k] = (float)special_arguments[index % SPECIAL_COUNT];
                a64[k] = argument_f64(index % 3 == 0 ? index % SPECIAL_COUNT : index);
                b64[k] = special_arguments[index / SPECIAL_COUNT % SPECIAL_COUNT];
                b[k] = (float)b64[k];
                if (operation == ULP_SCALE) b[k] = (float)(b64[k] = exponents[mix(index) % exponent_count]);
                if (operation == ULP_MANTISSA || operation == ULP_EXPONENT) {
                    if (!isfinite(a[k]) || a[k] == 0) a[k] = 3;
                    if (!isfinite(a64[k]) || a64[k] == 0) a64[k] = 3;
                }
            }
            kernels->vector_f32(operation, a, b, y);
            kernels->vector_f64(operation, a64, b64, y64);
            for (int k = 0; k < 16; k++) {
                const int n = (int)fmax(-10000, fmin(b64[k], 10000));
                const float expected = operation == ULP_SCALE  ? ldexpf(a[k], n)
                                       : operation == ULP_SQRT ? sqrtf(a[k])
                                                               : (float)expected_operation(operation, a[k], b[k]);
                const double expected64 =
                    operation == ULP_SCALE ? ldexp(a64[k], n) : expected_operation(operation, a64[k], b64[k]);
                const int right = expected == y[k] || (isnan(expected) && isnan(y[k])) ||
                                  (operation == ULP_SCALE && fabsf(expected - y[k]) <= 0x1p-149f);
                const int right64 = expected64 == y64[k] || (isnan(expected64) && isnan(y64[k])) ||
                                    (operation == ULP_SCALE && fabs(expected64 - y64[k]) <= 0x1p-1074);
                if (!right || !right64) {
                    printf("%s: vector operation %d: (%g, %g) gave %g, not %g; (%g, %g) gave %g, not %g\n",
                           kernels->isa, operation, a[k], b[k], y[k], expected, a64[k], b64[k], y64[k], expected64);
                    failures++;
                    return;
                }
            }
        }
}

/* An activation without a row of its own in `cases` would go unmeasured. */
static void test_completeness(void) {
    for (int kind = 0; kind < LF_ACTIVATION_softmax; kind++) {
        int k = 0;
        while (k < CASE_COUNT && cases[k].kind != kind) k++;
        if (k < CASE_COUNT) continue;
        printf("activation %d is measured by no case\n", kind);
        failures++;
    }
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Mean throughput over an array in the first cache level, best of five. */
static void print_time(const test_case *test) {
    static float x[CHUNK / 2], y[CHUNK / 2];
    static double x64[CHUNK / 4], y64[CHUNK / 4];
    for (int k = 0; k < CHUNK / 2; k++) x[k] = (float)(argument_f64((uint64_t)(4 * k + 2)) / 10);
    for (int k = 0; k < CHUNK / 4; k++) x64[k] = x[k];
    const lf_activation activation = {test->kind, {test->parameters[0], test->parameters[1], test->parameters[2]}};
    for (int isa = 0; isa < isa_count; isa++) {
        double best_f32 = INFINITY, best_f64 = INFINITY;
        for (int trial = 0; trial < 5; trial++) {
            double begin = seconds();
            for (int k = 0; k < 2000; k++) isas[isa]->apply_f32(&activation, x, 0, y, 0, 1, CHUNK / 2);
            best_f32 = fmin(best_f32, (seconds() - begin) / 2000 / (CHUNK / 2));
            begin = seconds();
            for (int k = 0; k < 1000; k++) isas[isa]->apply_f64(&activation, x64, 0, y64, 0, 1, CHUNK / 4);
            best_f64 = fmin(best_f64, (seconds() - begin) / 1000 / (CHUNK / 4));
        }
        printf("| %s | %s | %.3f | %.3f |\n", test->name, isas[isa]->isa, 1e9 * best_f32, 1e9 * best_f64);
    }
}

/* Whether `name` is one of the names in `list`, which are separated by commas; all are in no list. */
static int is_listed(const char *list, const char *name) {
    const size_t length = strlen(name);
    for (const char *p = list; p != NULL; p = strchr(p, ','), p = p == NULL ? NULL : p + 1)
        if (strncmp(p, name, length) == 0 && (p[length] == ',' || p[length] == 0)) return 1;
    return list == NULL;
}

int main(int argc, char **argv) {
    uint64_t stride = 1, samples = 1 << 20;
    const char *only = NULL, *isa_name = NULL;
    int timing = 0;
    for (int k = 1; k < argc; k++) {
        const char *value = k + 1 < argc ? argv[k + 1] : "";
        if (strcmp(argv[k], "--time") == 0) {
            timing = 1;
            continue;
        }
        k++;
        if (strcmp(argv[k - 1], "--stride") == 0 && atoll(value) > 0) stride = (uint64_t)atoll(value);
        else if (strcmp(argv[k - 1], "--samples") == 0) samples = (uint64_t)atoll(value);
        else if (strcmp(argv[k - 1], "--only") == 0) only = value;
        else if (strcmp(argv[k - 1], "--isa") == 0) isa_name = value;
        else {
            fprintf(stderr, "usage: ulp [--stride N] [--samples N] [--only name,name] [--isa name] [--time]\n");
            return 2;
        }
    }
    const ulp_kernels *const built[] = {&ulp_kernels_generic, &ulp_kernels_avx2, &ulp_kernels_avx512,
                                        &ulp_kernels_neon};
    for (int k = 0; k < MAX_ISAS; k++)
        if (runs_here(built[k]) && is_listed(isa_name, built[k]->isa)) isas[isa_count++] = built[k];
    if (timing) {
        printf("| function | ISA | float32 ns | float64 ns |\n|---|---|---|---|\n");
        for (int k = 0; k < CASE_COUNT; k++)
            if (is_listed(only, cases[k].name)) print_time(cases + k);
        return 0;
    }
    test_completeness();
    for (int isa = 0; isa < isa_count; isa++) {
        test_vectors(isas[isa]);
        test_edges(isas[isa]);
        test_rows(isas[isa]);
    }
    printf("\n| function | real | arguments | bound, ulp |");
    for (int isa = 0; isa < isa_count; isa++) printf(" %s, ulp |", isas[isa]->isa);
    printf(" below normal, in least normal numbers | |\n|---|---|---|---|---|---|");
    for (int isa = 0; isa < isa_count; isa++) printf("---|");
    printf("\n");
    for (int k = 0; k < CASE_COUNT; k++)
        if (is_listed(only, cases[k].name)) {
            test_accuracy(cases + k, stride, ((UINT64_C(1) << 32) + stride - 1) / stride);
            test_accuracy(cases + k, 0, samples);
        }
    printf("\n%d broken\n", failures);
    return failures != 0;
}
#endif
