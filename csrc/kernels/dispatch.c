/* Which instruction set new layers use: the best that the build holds and the CPU runs, or a lower one by request.
 * Next: core/layer.c asks for the table when a layer is created. */
#include <stdatomic.h>
#include <string.h>

#include "../isa/cpu.h"
#include "kernels.h"

static const lf_kernels *const *const tables[] = {
#define LF_ISA_TABLE(isa) lf_kernels_##isa,
#include "isas.inc"
#undef LF_ISA_TABLE
};
enum { TABLE_COUNT = sizeof tables / sizeof *tables };

static atomic_int selected = -1; /* index into tables; -1 until asked, or for the best */

static int runs_here(const char *isa, const lf_cpu *cpu) {
    if (strcmp(isa, "avx512") == 0) return cpu->avx512;
    if (strcmp(isa, "avx2") == 0) return cpu->avx2;
    return 1;
}

/* The index is one of nth_available's, and never its -1. NOLINTNEXTLINE(*.ArrayBound) */
static const char *isa_of(int index) { return tables[index][0]->isa; }

static int nth_available(int index) {
    const lf_cpu cpu = lf_cpu_probe();
    for (int i = 0; i < TABLE_COUNT; i++)
        if (runs_here(isa_of(i), &cpu) && index-- == 0) return i;
    return -1;
}

static int selected_index(void) {
    int i = atomic_load_explicit(&selected, memory_order_relaxed);
    if (i >= 0) return i;
    const int best = nth_available(0); /* generic runs everywhere: never -1 */
    /* Unless another thread has asked for one since: `i` becomes that. */
    const int none =
        atomic_compare_exchange_strong_explicit(&selected, &i, best, memory_order_relaxed, memory_order_relaxed);
    return none ? best : i;
}

/* NOLINTNEXTLINE(*.ArrayBound): likewise */
const lf_kernels *lf_kernels_selected(lf_real real) { return tables[selected_index()][real]; }

const char *lf_isa_available(int index) {
    const int i = index < 0 ? -1 : nth_available(index);
    return i < 0 ? NULL : isa_of(i);
}

const char *lf_isa(void) { return isa_of(selected_index()); }

lf_status lf_isa_select(const char *name) {
    int found = -1;
    if (name != NULL) {
        const lf_cpu cpu = lf_cpu_probe();
        for (int i = 0; i < TABLE_COUNT && found < 0; i++)
            if (strcmp(isa_of(i), name) == 0 && runs_here(isa_of(i), &cpu)) found = i;
        if (found < 0) return LF_UNAVAILABLE;
    }
    atomic_store_explicit(&selected, found, memory_order_relaxed);
    return LF_OK;
}
