/* What this machine can do at most, on N threads at once, with the instruction set this file was compiled for:
 * FMA throughput, and read bandwidth of a loop over n bytes per thread; and how long two of them take to meet, which
 * depends on where the system, or the host of a virtual machine, has put them. Prints one JSON object.
 * Usage: probe THREADS BYTES...   Exit status 3: this CPU lacks the instruction set. Caller: machine.py. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float vec __attribute__((vector_size(LANES * sizeof(float))));

/* FMA latency times ports is at most 10 on today's cores; with the two operands it still fits AVX2's 16 registers. */
enum {
    CHAINS = 12,
    LOADS = 8,
    FMA_ROUNDS = 1 << 19,
    ATTEMPTS = 20,
    MEETINGS = 4000,
    MEETING_ATTEMPTS = 12,
    GOOD_ATTEMPTS = 3
};
static const size_t HUGE_PAGE = (size_t)2 << 20;
static const size_t BYTES_PER_ATTEMPT = (size_t)64 << 20;

typedef struct worker {
    size_t bytes; /* 0: measure FMAs */
    float *data;
    double seconds[ATTEMPTS];
    vec sink;
} worker;

static pthread_barrier_t gate;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static vec fma_rounds(float scale) {
    vec sum[CHAINS], multiplier, addend;
    /* Values that keep changing, as real ones do: on sums that settle down a Zen 4 clocks up by 9 %, to a peak that no
     * computation reaches. */
    for (int lane = 0; lane < LANES; lane++) multiplier[lane] = scale * (float)(lane - 40), addend[lane] = 0.37f;
    for (int chain = 0; chain < CHAINS; chain++) sum[chain] = addend * (float)(chain + 1);
    for (int round = 0; round < FMA_ROUNDS; round++) {
#pragma GCC unroll 12
        for (int chain = 0; chain < CHAINS; chain++) sum[chain] = sum[chain] * multiplier + addend;
    }
    for (int chain = 1; chain < CHAINS; chain++) sum[0] += sum[chain];
    return sum[0];
}

static vec read_rounds(const float *data, size_t bytes, size_t rounds) {
    const size_t count = bytes / sizeof(vec);
    vec sum[LOADS];
    memset(sum, 0, sizeof sum);
    for (size_t round = 0; round < rounds; round++) {
        const vec *from = (const vec *)data;
        __asm__ volatile("" : "+r"(from)); /* as good as another address: read it again */
        for (size_t i = 0; i + LOADS <= count; i += LOADS) {
#pragma GCC unroll 8
            for (int load = 0; load < LOADS; load++) sum[load] += from[i + load];
        }
    }
    for (int load = 1; load < LOADS; load++) sum[0] += sum[load];
    return sum[0];
}

static size_t rounds_of(size_t bytes) { return bytes < BYTES_PER_ATTEMPT ? BYTES_PER_ATTEMPT / bytes : 1; }

static void *work(void *argument) {
    worker *self = argument;
    if (self->bytes) {
        self->data = aligned_alloc(HUGE_PAGE, (self->bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
        if (!self->data) abort();
#ifdef MADV_HUGEPAGE
        madvise(self->data, self->bytes, MADV_HUGEPAGE); /* the limit is that of the memory, not of the TLB */
#endif
        memset(self->data, 0, self->bytes); /* by the thread that reads it: first touch places the page */
        self->sink = read_rounds(self->data, self->bytes, 1);
    }
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        pthread_barrier_wait(&gate);
        const double start = now();
        self->sink += self->bytes ? read_rounds(self->data, self->bytes, rounds_of(self->bytes)) : fma_rounds(0.0249f);
        self->seconds[attempt] = now() - start;
    }
    free(self->data);
    return NULL;
}

/* Seconds of the best attempt, each as long as its slowest thread. */
static double best_attempt(int threads, size_t bytes) {
    worker *workers = aligned_alloc(64, sizeof(worker) * (size_t)threads);
    pthread_t *ids = calloc((size_t)threads, sizeof *ids);
    double best = 1e9;
    if (!workers || !ids) abort();
    memset(workers, 0, sizeof(worker) * (size_t)threads);
    pthread_barrier_init(&gate, NULL, (unsigned)threads);
    for (int t = 0; t < threads; t++) {
        workers[t].bytes = bytes;
        if (pthread_create(&ids[t], NULL, work, &workers[t])) abort();
    }
    for (int t = 0; t < threads; t++) pthread_join(ids[t], NULL);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        double slowest = 0;
        for (int t = 0; t < threads; t++)
            if (workers[t].seconds[attempt] > slowest) slowest = workers[t].seconds[attempt];
        if (slowest < best) best = slowest;
    }
    pthread_barrier_destroy(&gate);
    free(workers);
    free(ids);
    return best;
}

/* Each says how often it has come, and waits until the other has come as often. */
static _Alignas(64) atomic_int come_first;
static _Alignas(64) atomic_int come_second;
static atomic_int meetings_over;

static void *meet_second(void *unused) {
    (void)unused;
    for (int i = 1; !atomic_load_explicit(&meetings_over, memory_order_relaxed); i++) {
        atomic_store(&come_second, i);
        while (atomic_load(&come_first) < i && !atomic_load_explicit(&meetings_over, memory_order_relaxed)) continue;
    }
    return NULL;
}

/* Of one meeting of two threads, at best. Two that begin on one processor wait there for slices of its time: then they
 * are few, and more attempts follow. */
static double meeting_seconds(void) {
    double best = 1e9;
    for (int attempt = 0, good = 0; attempt < MEETING_ATTEMPTS && good < GOOD_ATTEMPTS; attempt++) {
        pthread_t second;
        atomic_store(&come_first, 0);
        atomic_store(&come_second, 0);
        atomic_store(&meetings_over, 0);
        if (pthread_create(&second, NULL, meet_second, NULL)) abort();
        while (atomic_load(&come_second) == 0) continue; /* it runs */
        const double start = now();
        double took = 0;
        int met = 0;
        while (met < MEETINGS && took < 0.001) {
            atomic_store(&come_first, ++met);
            while (atomic_load(&come_second) <= met) continue; /* it has seen that, and come again */
            if (met % 100 == 0 || met < 10) took = now() - start;
        }
        took = (now() - start) / met;
        atomic_store(&meetings_over, 1);
        pthread_join(second, NULL);
        good += took < 1e-5;
        if (took < best) best = took;
    }
    return best;
}

static int cpu_has_it(void) {
#if defined(__AVX512F__)
    return __builtin_cpu_supports("avx512f") != 0;
#elif defined(__AVX2__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

int main(int argc, char **argv) {
    if (!cpu_has_it()) return 3;
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    const double flops = 2.0 * LANES * CHAINS * FMA_ROUNDS * threads;
    printf("{\"peak_flops\": %.6g, ", flops / best_attempt(threads, 0));
    if (threads > 1) printf("\"meeting_seconds\": %.4g, ", meeting_seconds());
    printf("\"bytes_per_second\": {");
    for (int i = 2; i < argc; i++) {
        const size_t bytes = (size_t)atoll(argv[i]) / (sizeof(vec) * LOADS) * (sizeof(vec) * LOADS);
        const double read = (double)bytes * (double)rounds_of(bytes);
        printf("%s\"%s\": %.6g", i > 2 ? ", " : "", argv[i], read / best_attempt(threads, bytes));
    }
    printf("}}\n");
    return 0;
}
