/* All kernels for 64-bit Arm's NEON. Next: kernels/all.inc. */
#include "kernels.h"

#if defined(__aarch64__)
#include <math.h>
#include <string.h>

#include "../isa/vec_neon.h"
#define LF_ISA neon
#include "all.inc"
#endif
