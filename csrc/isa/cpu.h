/* What this CPU and its operating system can run, found out once. Next: kernels/dispatch.c. */
#ifndef LF_CPU_H
#define LF_CPU_H

#include <stdint.h>

/* Memory goes from core to core in lines of so many bytes: who writes to one takes all of it from the others. */
#if defined(__APPLE__) && defined(__aarch64__)
enum { LF_LINE_BYTES = 128 };
#else
enum { LF_LINE_BYTES = 64 };
#endif

typedef struct lf_cpu {
    int avx2;       /* AVX2 and FMA, and the system saves the 256-bit registers */
    int avx512;     /* AVX-512 F, DQ, BW, VL, and the system saves the 512-bit and mask registers */
    int distant_l3; /* the third cache level answers late and slowly, as those that all cores of an Intel share */
    int two_loads;  /* a core loads two values in a cycle, as Intel's do, not three or four */
} lf_cpu;

lf_cpu lf_cpu_probe(void);

#if defined(__x86_64__)
/* What the probe reads, and what follows from it. */
typedef struct lf_cpu_registers {
    uint32_t leaf1_ecx, leaf7_ebx; /* of CPUID; 0 where it has no such leaf */
    uint64_t states;               /* XCR0: the registers that the system saves; 0 where it enables no XSAVE */
    uint32_t leaf0_ebx;            /* the first letters of the vendor's name */
} lf_cpu_registers;

lf_cpu lf_cpu_decide(const lf_cpu_registers *found);
#endif

/* Makes this thread compute as every call does, whatever the caller has set, which no other thread of its team has:
 * sums are rounded to nearest, nothing traps, for lanes without a unit compute anything, and subnormal numbers are 0,
 * as for TensorFlow's threads: a state that decays towards 0 would otherwise run many times slower on some CPUs. Gives
 * back what was set before, for lf_restore_arithmetic. */
static inline unsigned long long lf_set_arithmetic(void) {
#if defined(__x86_64__)
    const unsigned no_traps = 0x1f80, flush_results_and_inputs = 0x8040, before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(no_traps | flush_results_and_inputs);
    return before;
#elif defined(__aarch64__)
    unsigned long long before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" ::"r"(1ULL << 24));
    return before;
#else
    return 0;
#endif
}

static inline void lf_restore_arithmetic(unsigned long long before) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" ::"r"(before));
#else
    (void)before;
#endif
}

#endif
