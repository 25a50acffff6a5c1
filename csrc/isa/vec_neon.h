/* Vectors of AArch64 NEON: 4 float32 or 2 float64 lanes, 32 registers, FMA. The names are those of vec_avx512.h.
 * min/max(a, b) give b where either is NaN; fma(a, b, c) = a*b + c; fnma(a, b, c) = c - a*b.
 * Next: kernels/all.inc. */
#ifndef LF_VEC_NEON_H
#define LF_VEC_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "inline.h"

/* 6 rows x 4 vectors of sums, 4 of weights and one broadcast fill 29 of the 32 registers. */
#define LF_TILE_ROWS 6
#define LF_LONE_ROWS 6
#define LF_SPLIT_ROWS 6
#define LF_STRIP_VECTORS 4
/* Vectors of sums that one, two and three rows take at once, so that enough of them hide the latency of an FMA. */
#define LF_MOST_VECTORS_1 16
#define LF_SPLIT_VECTORS_1 16
#define LF_TILE_VECTORS_2 8
#define LF_TILE_VECTORS_3 4
/* So many rows take a narrow tail beside the blocks before it, for the same reason. */
#define LF_TAIL_ROWS 3
/* A tail of so many vectors counts as a block beside those of one row. */
#define LF_WIDE_TAIL LF_BLOCK_VECTORS
#define LF_MAPPED_LSTM 0
#define LF_MAPPED_GRU 0
/* So much of a block is 16 KiB: it stays in the first cache level. */
#define LF_SEGMENT 256
#define LF_WHOLE_f32 LF_SEGMENT
#define LF_WHOLE_f64 LF_SEGMENT
#define LF_FETCH_ROWS 2
#define LF_FETCH_ROWS_DISTANT LF_FETCH_ROWS
#define LF_FETCH_BYTES 2048
#define LF_FETCH_ROOM 1
#define LF_FETCH_ROWS_LATER LF_FETCH_ROWS

/* No layer has rows for lanes: few are empty. */
#define LF_LANES_MOST_f32 0
#define LF_LANES_MOST_f64 0

/* Whether fma rounds once. */
#define LF_FUSES 1

/* Whether powers of two of the parts of an octave are looked up. */
#define LF_LOOKS_UP_f32 0
#define LF_LOOKS_UP_f64 0

#define LANES_f32 4
#define LANES_f64 2
typedef float32x4_t vec_f32;
typedef float64x2_t vec_f64;
typedef uint32x4_t mask_f32; /* all bits of a lane set, or none */
typedef uint64x2_t mask_f64;

#include "one_row.h"

LF_INLINE vec_f32 load_f32(const float *p) { return vld1q_f32(p); }
LF_INLINE vec_f64 load_f64(const double *p) { return vld1q_f64(p); }
LF_INLINE void store_f32(float *p, vec_f32 a) { vst1q_f32(p, a); }
LF_INLINE void store_f64(double *p, vec_f64 a) { vst1q_f64(p, a); }
/* The first `count` lanes, in 0..LANES; nothing beyond them is touched, and loads leave 0 there. */
LF_INLINE vec_f32 load_partial_f32(const float *p, size_t count) {
    const float32x4_t zero = vdupq_n_f32(0.0f);
    switch (count) {
    case 0: return zero;
    case 1: return vld1q_lane_f32(p, zero, 0);
    case 2: return vcombine_f32(vld1_f32(p), vget_low_f32(zero));
    case 3: return vcombine_f32(vld1_f32(p), vld1_lane_f32(p + 2, vget_low_f32(zero), 0));
    default: return vld1q_f32(p);
    }
}
LF_INLINE vec_f64 load_partial_f64(const double *p, size_t count) {
    switch (count) {
    case 0: return vdupq_n_f64(0.0);
    case 1: return vld1q_lane_f64(p, vdupq_n_f64(0.0), 0);
    default: return vld1q_f64(p);
    }
}
LF_INLINE void store_partial_f32(float *p, vec_f32 a, size_t count) {
    switch (count) {
    case 0: break;
    case 1: vst1q_lane_f32(p, a, 0); break;
    case 3: vst1q_lane_f32(p + 2, a, 2); __attribute__((fallthrough));
    case 2: vst1_f32(p, vget_low_f32(a)); break;
    default: vst1q_f32(p, a);
    }
}
LF_INLINE void store_partial_f64(double *p, vec_f64 a, size_t count) {
    switch (count) {
    case 0: break;
    case 1: vst1q_lane_f64(p, a, 0); break;
    default: vst1q_f64(p, a);
    }
}
LF_INLINE vec_f32 broadcast_f32(float a) { return vdupq_n_f32(a); }
LF_INLINE vec_f64 broadcast_f64(double a) { return vdupq_n_f64(a); }

LF_INLINE vec_f32 add_f32(vec_f32 a, vec_f32 b) { return vaddq_f32(a, b); }
LF_INLINE vec_f64 add_f64(vec_f64 a, vec_f64 b) { return vaddq_f64(a, b); }
LF_INLINE vec_f32 sub_f32(vec_f32 a, vec_f32 b) { return vsubq_f32(a, b); }
LF_INLINE vec_f64 sub_f64(vec_f64 a, vec_f64 b) { return vsubq_f64(a, b); }
LF_INLINE vec_f32 mul_f32(vec_f32 a, vec_f32 b) { return vmulq_f32(a, b); }
LF_INLINE vec_f64 mul_f64(vec_f64 a, vec_f64 b) { return vmulq_f64(a, b); }
LF_INLINE vec_f32 div_f32(vec_f32 a, vec_f32 b) { return vdivq_f32(a, b); }
LF_INLINE vec_f64 div_f64(vec_f64 a, vec_f64 b) { return vdivq_f64(a, b); }
LF_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return vfmaq_f32(c, a, b); }
LF_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return vfmaq_f64(c, a, b); }
LF_INLINE vec_f32 fnma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return vfmsq_f32(c, a, b); }
LF_INLINE vec_f64 fnma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return vfmsq_f64(c, a, b); }
LF_INLINE vec_f32 sqrt_f32(vec_f32 a) { return vsqrtq_f32(a); }
LF_INLINE vec_f64 sqrt_f64(vec_f64 a) { return vsqrtq_f64(a); }

/* Comparisons are false where either side is NaN. select(m, a, b) = m ? a : b, lane by lane. */
LF_INLINE mask_f32 less_f32(vec_f32 a, vec_f32 b) { return vcltq_f32(a, b); }
LF_INLINE mask_f64 less_f64(vec_f64 a, vec_f64 b) { return vcltq_f64(a, b); }
LF_INLINE mask_f32 less_equal_f32(vec_f32 a, vec_f32 b) { return vcleq_f32(a, b); }
LF_INLINE mask_f64 less_equal_f64(vec_f64 a, vec_f64 b) { return vcleq_f64(a, b); }
LF_INLINE mask_f32 is_nan_f32(vec_f32 a) { return vmvnq_u32(vceqq_f32(a, a)); }
LF_INLINE mask_f64 is_nan_f64(vec_f64 a) { return veorq_u64(vceqq_f64(a, a), vdupq_n_u64(UINT64_MAX)); }
LF_INLINE vec_f32 select_f32(mask_f32 m, vec_f32 a, vec_f32 b) { return vbslq_f32(m, a, b); }
LF_INLINE vec_f64 select_f64(mask_f64 m, vec_f64 a, vec_f64 b) { return vbslq_f64(m, a, b); }
/* Not vminq and vmaxq: they give NaN where b is a number. */
LF_INLINE vec_f32 min_f32(vec_f32 a, vec_f32 b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
LF_INLINE vec_f64 min_f64(vec_f64 a, vec_f64 b) { return vbslq_f64(vcltq_f64(a, b), a, b); }
LF_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
LF_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }

/* The sum of all lanes: by halves, the upper onto the lower one. */
LF_INLINE float sum_lanes_f32(vec_f32 a) {
    const float32x2_t sum = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(sum, 0) + vget_lane_f32(sum, 1);
}
LF_INLINE double sum_lanes_f64(vec_f64 a) { return vgetq_lane_f64(a, 0) + vgetq_lane_f64(a, 1); }

/* Sign bits. */
LF_INLINE vec_f32 abs_f32(vec_f32 a) { return vabsq_f32(a); }
LF_INLINE vec_f64 abs_f64(vec_f64 a) { return vabsq_f64(a); }
LF_INLINE vec_f32 negate_f32(vec_f32 a) { return vnegq_f32(a); }
LF_INLINE vec_f64 negate_f64(vec_f64 a) { return vnegq_f64(a); }
/* a, which is not negative, with the sign of b. */
LF_INLINE vec_f32 with_sign_f32(vec_f32 a, vec_f32 b) { return vbslq_f32(vdupq_n_u32(UINT32_C(1) << 31), b, a); }
LF_INLINE vec_f64 with_sign_f64(vec_f64 a, vec_f64 b) { return vbslq_f64(vdupq_n_u64(UINT64_C(1) << 63), b, a); }

/* The bits of a moved to the exponent field: 2^n from round_magic + exponent_bias + n (kernels/coefficients.h). */
LF_INLINE vec_f32 power_of_two_f32(vec_f32 a) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), 23));
}
LF_INLINE vec_f64 power_of_two_f64(vec_f64 a) {
    return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(a), 52));
}
/* Nothing is looked up: LF_LOOKS_UP is 0, and these are never reached. */
#define look_up_f32(table, a) (a)
#define power_of_part_f32(a, fraction) power_of_two_f32(a)
#define look_up_f64(table, a) (a)
#define power_of_part_f64(a, fraction) power_of_two_f64(a)
/* For scale: the nearest integer, ties to even. */
LF_INLINE vec_f32 round_f32(vec_f32 a) { return vrndnq_f32(a); }
LF_INLINE vec_f64 round_f64(vec_f64 a) { return vrndnq_f64(a); }
/* a * 2^n for integer-valued n; overflows to infinity and underflows gradually, whatever n.
 * Three factors reach from the largest number to the smallest; a NaN n counts as 0. */
LF_INLINE vec_f32 scale_f32(vec_f32 a, vec_f32 n) {
    n = min_f32(max_f32(n, broadcast_f32(-300.0f)), broadcast_f32(300.0f));
    const vec_f32 magic = broadcast_f32(0x1.8p23f + 127.0f);
    const vec_f32 third = round_f32(mul_f32(n, broadcast_f32(1.0f / 3.0f)));
    const vec_f32 factor = power_of_two_f32(add_f32(third, magic));
    const vec_f32 rest = power_of_two_f32(add_f32(sub_f32(n, add_f32(third, third)), magic));
    return mul_f32(mul_f32(mul_f32(a, factor), factor), rest);
}
LF_INLINE vec_f64 scale_f64(vec_f64 a, vec_f64 n) {
    n = min_f64(max_f64(n, broadcast_f64(-2200.0)), broadcast_f64(2200.0));
    const vec_f64 magic = broadcast_f64(0x1.8p52 + 1023.0);
    const vec_f64 third = round_f64(mul_f64(n, broadcast_f64(1.0 / 3.0)));
    const vec_f64 factor = power_of_two_f64(add_f64(third, magic));
    const vec_f64 rest = power_of_two_f64(add_f64(sub_f64(n, add_f64(third, third)), magic));
    return mul_f64(mul_f64(mul_f64(a, factor), factor), rest);
}
/* a = m * 2^e with m in [1, 2) and the sign of a, for a finite and not 0 (subnormals included). */
LF_INLINE vec_f32 mantissa_f32(vec_f32 a) {
    a = select_f32(less_f32(abs_f32(a), broadcast_f32(0x1p-126f)), mul_f32(a, broadcast_f32(0x1p24f)), a);
    return vbslq_f32(vdupq_n_u32(0x807FFFFF), a, broadcast_f32(1.0f));
}
LF_INLINE vec_f64 mantissa_f64(vec_f64 a) {
    a = select_f64(less_f64(abs_f64(a), broadcast_f64(0x1p-1022)), mul_f64(a, broadcast_f64(0x1p54)), a);
    return vbslq_f64(vdupq_n_u64(0x800FFFFFFFFFFFFF), a, broadcast_f64(1.0));
}
LF_INLINE vec_f32 exponent_f32(vec_f32 a) {
    a = abs_f32(a);
    const mask_f32 subnormal = less_f32(a, broadcast_f32(0x1p-126f));
    a = select_f32(subnormal, mul_f32(a, broadcast_f32(0x1p24f)), a);
    const vec_f32 field = vcvtq_f32_u32(vshrq_n_u32(vreinterpretq_u32_f32(a), 23));
    return sub_f32(field, select_f32(subnormal, broadcast_f32(127.0f + 24.0f), broadcast_f32(127.0f)));
}
LF_INLINE vec_f64 exponent_f64(vec_f64 a) {
    a = abs_f64(a);
    const mask_f64 subnormal = less_f64(a, broadcast_f64(0x1p-1022));
    a = select_f64(subnormal, mul_f64(a, broadcast_f64(0x1p54)), a);
    const vec_f64 field = vcvtq_f64_u64(vshrq_n_u64(vreinterpretq_u64_f64(a), 52));
    return sub_f64(field, select_f64(subnormal, broadcast_f64(1023.0 + 54.0), broadcast_f64(1023.0)));
}

#endif
