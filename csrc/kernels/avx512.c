/* All kernels for AVX-512. Next: kernels/all.inc. */
#include "kernels.h"

#if defined(__x86_64__) && !defined(LF_NO_AVX512)
#include <math.h>
#include <string.h>

#define LF_TARGET LF_AVX512_TARGET
#include "target_begin.h"

#include "../isa/vec_avx512.h"
#define LF_ISA avx512
#include "all.inc"

#include "target_end.h"
#endif
