/* What this CPU and its operating system can run, found out once. Next: kernels/dispatch.c. */
#ifndef LF_CPU_H
#define LF_CPU_H

typedef struct lf_cpu {
    int avx2;   /* AVX2 and FMA, and the system saves the 256-bit registers */
    int avx512; /* AVX-512 F, DQ, BW, VL, and the system saves the 512-bit and mask registers */
} lf_cpu;

lf_cpu lf_cpu_probe(void);

#endif
