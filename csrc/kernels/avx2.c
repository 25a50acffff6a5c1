/* All kernels for AVX2 with FMA. Next: kernels/all.inc. */
#include "kernels.h"

#if defined(__x86_64__) && !defined(LF_NO_AVX2)
#include <math.h>
#include <string.h>

#define LF_TARGET "avx2,fma"
#include "target_begin.h"

#include "../isa/vec_avx2.h"
#define LF_ISA avx2
#include "all.inc"

#include "target_end.h"
#endif
