/* How fast this core multiplies, which the cost model has to know: what a team costs is the same on a core of half the
 * speed. Next: threads.c. */
#include <stdatomic.h>

#include "crowd.h"
#include "layer.h"
#include "threads.h"

/* As of a core that is not measured: of few products, which no team is worth. */
static const double USUAL_NS = 0.2;
/* One that is slower is emulated, and so are its threads. */
enum { MOST_PS = 2000 };
enum { LEAST_PRODUCTS = 8192 };
/* The first times may find the core at a low clock, or busy with something else: it is measured so often, so many
 * nanoseconds apart, and the least counts. */
enum { OCCASIONS = 8, APART_NS = 20000000 };
enum { TIMES = 4, CHAIN = 1024 }; /* more than a microsecond each, for coarse clocks */

static double measure(const lf_kernels *kernels) {
    long long least = 0;
    for (int i = 0; i < TIMES; i++) {
        const long long begin = lf_now_ns();
        kernels->multiply(CHAIN);
        const long long took = lf_now_ns() - begin;
        if (i == 0 || took < least) least = took;
    }
    return (double)least / (CHAIN * LF_MULTIPLY_CHAINS);
}

double lf_product_ns(const lf_kernels *kernels, double products) {
    lf_speed *speed = kernels->speed;
    const int known = atomic_load_explicit(&speed->product_ps, memory_order_relaxed);
    const int occasions = atomic_load_explicit(&speed->occasions, memory_order_relaxed);
    if (lf_processors_are_assumed()) return USUAL_NS;
    if (products < LEAST_PRODUCTS || occasions >= OCCASIONS) return known > 0 ? known * 1e-3 : USUAL_NS;
    const long long now = lf_now_ns();
    if (known > 0 && now - atomic_load_explicit(&speed->measured_at, memory_order_relaxed) < APART_NS)
        return known * 1e-3;
    const double found_ps = measure(kernels) * 1e3;
    const int found = found_ps < MOST_PS ? (int)found_ps : MOST_PS;
    const int least = found == 0 || (known > 0 && known < found) ? known : found; /* 0: the clock stood still */
    atomic_store_explicit(&speed->product_ps, least, memory_order_relaxed);
    atomic_store_explicit(&speed->measured_at, now, memory_order_relaxed);
    atomic_store_explicit(&speed->occasions, occasions + 1, memory_order_relaxed);
    return least > 0 ? least * 1e-3 : USUAL_NS;
}
