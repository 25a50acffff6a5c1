/* All kernels for any CPU: 128-bit GNU vectors, which are SSE2 on x86-64. Next: kernels/all.inc. */
#include <math.h>
#include <string.h>

#include "kernels.h"

#include "../isa/vec_generic.h"
#define LF_ISA generic
#include "all.inc"
