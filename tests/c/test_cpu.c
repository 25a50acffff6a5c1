/* The probe: every combination of what CPUID and XGETBV may say, AVX that the system does not save included, and that
 * this machine is offered what its own registers allow. Next: csrc/isa/cpu.c. */
#include <lstmfast.h>
#include <isa/cpu.h>

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
static int failures;
static long checks;

static void expect(int holds, const char *what) {
    checks++;
    if (!holds && failures++ < 20) fprintf(stderr, "FAILED: %s\n", what);
}

/* Intel's numbers of the bits; AVX2 needs the first COUNT_AVX2, AVX-512 all. */
enum { LEAF1, LEAF7, STATES };
static const struct {
    int where, number;
} needed[] = {{LEAF1, 27}, {LEAF1, 28}, {LEAF1, 12}, {LEAF7, 5},  {STATES, 1}, {STATES, 2}, {LEAF7, 16},
              {LEAF7, 17}, {LEAF7, 30}, {LEAF7, 31}, {STATES, 5}, {STATES, 6}, {STATES, 7}};
enum { COUNT = sizeof needed / sizeof *needed, COUNT_AVX2 = 6 };

static lf_cpu decide(unsigned set, int others) {
    uint64_t bits[3] = {0};
    if (others) memset(bits, 0xff, sizeof bits);
    for (int i = 0; i < COUNT; i++) {
        const uint64_t bit = UINT64_C(1) << needed[i].number;
        bits[needed[i].where] = set >> i & 1 ? bits[needed[i].where] | bit : bits[needed[i].where] & ~bit;
    }
    const lf_cpu_registers found = {
        .leaf1_ecx = (uint32_t)bits[LEAF1], .leaf7_ebx = (uint32_t)bits[LEAF7], .states = bits[STATES]};
    return lf_cpu_decide(&found);
}

static int is_available(const char *isa) {
    for (int i = 0; lf_isa_available(i) != NULL; i++)
        if (strcmp(lf_isa_available(i), isa) == 0) return 1;
    return 0;
}

int main(void) {
    for (unsigned set = 0; set < 1u << COUNT; set++)
        for (int others = 0; others < 2; others++) {
            const lf_cpu cpu = decide(set, others);
            const unsigned for_avx2 = (1u << COUNT_AVX2) - 1, for_avx512 = (1u << COUNT) - 1;
            expect(cpu.avx2 == ((set & for_avx2) == for_avx2), "AVX2 where it may not run, or not where it may");
            expect(cpu.avx512 == (set == for_avx512), "AVX-512 where it may not run, or not where it may");
        }
    static const struct {
        const char *vendor; /* EBX, EDX, ECX of leaf 0 */
        int is_intel;
    } vendors[] = {{"GenuineIntel", 1}, {"AuthenticAMD", 0}, {"HygonGenuine", 0}, {"CentaurHauls", 0}};
    for (size_t i = 0; i < sizeof vendors / sizeof *vendors; i++) {
        lf_cpu_registers found = {0};
        memcpy(&found.leaf0_ebx, vendors[i].vendor, sizeof found.leaf0_ebx);
        const lf_cpu cpu = lf_cpu_decide(&found);
        expect(cpu.distant_l3 == vendors[i].is_intel && cpu.two_loads == vendors[i].is_intel, vendors[i].vendor);
    }
    const lf_cpu here = lf_cpu_probe();
    expect(is_available("avx2") == here.avx2 && is_available("avx512") == here.avx512, "offers what the probe found");
    expect(here.avx2 == (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")), "the compiler's own probe");
    expect(is_available("generic"), "generic runs everywhere");
    expect((lf_isa_select("avx2") == LF_OK) == here.avx2, "selecting AVX2");
    expect((lf_isa_select("avx512") == LF_OK) == here.avx512, "selecting AVX-512");
    printf("test_cpu: %ld passed, %d failed\n", checks - failures, failures);
    return failures != 0;
}
#else
int main(void) {
    printf("test_cpu: nothing to probe on this machine\n");
    return 0;
}
#endif
