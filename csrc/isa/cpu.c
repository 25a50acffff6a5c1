/* CPUID says what the processor decodes, XGETBV what the system preserves: both have to agree before a wider kernel
 * may run. NEON is part of every aarch64. Next: kernels/dispatch.c. */
#include "cpu.h"

#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* XCR0, by its instruction's bytes, so that this object needs no compiler flag. */
static uint64_t enabled_states(void) {
    uint32_t low, high;
    __asm__ volatile(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

lf_cpu lf_cpu_probe(void) {
    lf_cpu cpu = {0};
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return cpu;
    const int osxsave = ecx >> 27 & 1, avx = ecx >> 28 & 1, fma = ecx >> 12 & 1;
    if (!osxsave || !avx || !fma) return cpu;
    const uint64_t states = enabled_states();
    const uint64_t ymm = 0x6, zmm = 0xe6; /* SSE and AVX; with opmask, upper halves of 0-15, all of 16-31 */
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return cpu;
    const int avx2 = ebx >> 5 & 1;
    const int f = ebx >> 16 & 1, dq = ebx >> 17 & 1, bw = ebx >> 30 & 1, vl = ebx >> 31 & 1;
    cpu.avx2 = avx2 && (states & ymm) == ymm;
    cpu.avx512 = cpu.avx2 && f && dq && bw && vl && (states & zmm) == zmm;
    return cpu;
}

#else

lf_cpu lf_cpu_probe(void) { return (lf_cpu){0}; }

#endif
