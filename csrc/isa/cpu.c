/* CPUID says what the processor decodes, XGETBV what the system preserves: both have to agree before a wider kernel
 * may run. NEON is part of every aarch64. Next: kernels/dispatch.c. */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>

/* XCR0, by its instruction's bytes, so that this object needs no compiler flag. */
static uint64_t enabled_states(void) {
    uint32_t low, high;
    __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has(uint64_t bits, int number) { return (int)(bits >> number & 1); }

lf_cpu lf_cpu_decide(const lf_cpu_registers *found) {
    const uint32_t leaf1 = found->leaf1_ecx, leaf7 = found->leaf7_ebx;
    const uint64_t ymm = 0x6, zmm = 0xe6; /* SSE and AVX; with opmask, upper halves of 0-15, all of 16-31 */
    const int osxsave = has(leaf1, 27), avx = has(leaf1, 28), fma = has(leaf1, 12), avx2 = has(leaf7, 5);
    const int f = has(leaf7, 16), dq = has(leaf7, 17), bw = has(leaf7, 30), vl = has(leaf7, 31);
    const uint32_t genuine_intel = 0x756e6547; /* "Genu" */
    lf_cpu cpu = {0};
    cpu.avx2 = osxsave && avx && fma && avx2 && (found->states & ymm) == ymm;
    cpu.avx512 = cpu.avx2 && f && dq && bw && vl && (found->states & zmm) == zmm;
    cpu.distant_l3 = cpu.two_loads = found->leaf0_ebx == genuine_intel;
    return cpu;
}

static lf_cpu ask(void) {
    lf_cpu_registers found = {0};
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(0, &eax, &ebx, &ecx, &edx)) found.leaf0_ebx = ebx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) found.leaf1_ecx = ecx;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) found.leaf7_ebx = ebx;
    if (has(found.leaf1_ecx, 27)) found.states = enabled_states(); /* without OSXSAVE it would be an illegal one */
    return lf_cpu_decide(&found);
}

/* Asked once, for every layer wants to know, and those of attention are made in each call: a virtual machine stops for
 * each CPUID. */
lf_cpu lf_cpu_probe(void) {
    enum { ASKED = 1, AVX2 = 2, AVX512 = 4, DISTANT_L3 = 8, TWO_LOADS = 16 };
    static atomic_int known;
    int bits = atomic_load_explicit(&known, memory_order_relaxed);
    if (bits == 0) {
        const lf_cpu cpu = ask();
        bits = ASKED | (cpu.avx2 ? AVX2 : 0) | (cpu.avx512 ? AVX512 : 0) | (cpu.distant_l3 ? DISTANT_L3 : 0) |
               (cpu.two_loads ? TWO_LOADS : 0);
        atomic_store_explicit(&known, bits, memory_order_relaxed);
    }
    return (lf_cpu){.avx2 = (bits & AVX2) != 0,
                    .avx512 = (bits & AVX512) != 0,
                    .distant_l3 = (bits & DISTANT_L3) != 0,
                    .two_loads = (bits & TWO_LOADS) != 0};
}

#else

lf_cpu lf_cpu_probe(void) { return (lf_cpu){0}; }

#endif
