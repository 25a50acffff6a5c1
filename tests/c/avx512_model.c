/* With the model, whoever has AVX2 has AVX-512. Linked with --wrap=lf_cpu_probe. Next: avx512_model.h. */
#include "isa/cpu.h"

lf_cpu __real_lf_cpu_probe(void);
lf_cpu __wrap_lf_cpu_probe(void);

lf_cpu __wrap_lf_cpu_probe(void) {
    lf_cpu cpu = __real_lf_cpu_probe();
    cpu.avx512 = cpu.avx2;
    return cpu;
}
