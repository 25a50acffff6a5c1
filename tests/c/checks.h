/* What several of these programs have: checks that are counted, numbers of either type, and arrays beside pages that
 * may not be touched (masked vector loads escape the address sanitizer). Includers on Linux define _GNU_SOURCE. */
#ifndef LF_CHECKS_H
#define LF_CHECKS_H

#include <lstmfast.h>

#include <stdio.h>
#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

static int failures;
static long checks;

static inline void expect(int holds, const char *what) {
    checks++;
    if (!holds && failures++ < 20) fprintf(stderr, "FAILED: %s, %s\n", what, lf_isa());
}

static inline size_t bytes_of(lf_real real) { return real == LF_F32 ? sizeof(float) : sizeof(double); }

static inline double get(lf_real real, const void *array, size_t i) {
    return real == LF_F32 ? (double)((const float *)array)[i] : ((const double *)array)[i];
}

static inline void put(lf_real real, void *array, size_t i, double value) {
    if (real == LF_F32) ((float *)array)[i] = (float)value;
    else ((double *)array)[i] = value;
}

struct guarded {
    char *pages;
    size_t page_bytes; /* of all pages */
    void *data;
};

/* `bytes` bytes that end where a forbidden page begins, or begin where one ends; elsewhere than on Linux, plain ones.
 */
static inline struct guarded guard(size_t bytes, int at_end) {
#if defined(__linux__)
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (bytes + page - 1) / page * page;
    struct guarded g = {.page_bytes = inner + 2 * page};
    g.pages = mmap(NULL, g.page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.pages == MAP_FAILED || mprotect(g.pages + page, inner, PROT_READ | PROT_WRITE) != 0) abort();
    g.data = g.pages + page + (at_end ? inner - bytes : 0);
#else
    (void)at_end;
    struct guarded g = {.page_bytes = bytes};
    g.data = g.pages = malloc(bytes + 1);
#endif
    return g;
}

static inline void unguard(struct guarded g) {
#if defined(__linux__)
    munmap(g.pages, g.page_bytes);
#else
    free(g.pages);
#endif
}

#endif
