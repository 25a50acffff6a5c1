/* Vectors of 128 bits in plain GNU C: 4 float32 or 2 float64 lanes; SSE2 and no more on x86-64, and any other machine.
 * The names are those of vec_avx512.h. min/max(a, b) give b where either is NaN; without an FMA instruction,
 * fma(a, b, c) = a*b + c and fnma(a, b, c) = c - a*b round twice.
 * Next: kernels/all.inc. */
#ifndef LF_VEC_GENERIC_H
#define LF_VEC_GENERIC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "inline.h"

/* 2 rows x 4 vectors of sums leave room for weights, broadcasts and products in 16 registers. */
#define LF_TILE_ROWS 2
#define LF_LONE_ROWS 2
#define LF_SPLIT_ROWS 2
#define LF_STRIP_VECTORS 4
/* Vectors of sums that one, two and three rows take at once, so that enough of them hide the latency of an addition. */
#define LF_MOST_VECTORS_1 8
#define LF_SPLIT_VECTORS_1 8
#define LF_TILE_VECTORS_2 4
#define LF_TILE_VECTORS_3 4
/* So many rows take a narrow tail beside the blocks before it, for the same reason. */
#define LF_TAIL_ROWS 1
/* A tail of so many vectors counts as a block beside those of one row. */
#define LF_WIDE_TAIL LF_BLOCK_VECTORS
#define LF_MAPPED_LSTM 0
#define LF_MAPPED_GRU 6
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
#define LF_FUSES 0

/* Whether powers of two of the parts of an octave are looked up. */
#define LF_LOOKS_UP_f32 0
#define LF_LOOKS_UP_f64 0

#define LANES_f32 4
#define LANES_f64 2
typedef float vec_f32 __attribute__((vector_size(16)));
typedef double vec_f64 __attribute__((vector_size(16)));
typedef int32_t mask_f32 __attribute__((vector_size(16))); /* -1 or 0 in each lane */
typedef int64_t mask_f64 __attribute__((vector_size(16)));
typedef uint32_t bits_f32 __attribute__((vector_size(16)));
typedef uint64_t bits_f64 __attribute__((vector_size(16)));

#include "one_row.h"

LF_INLINE vec_f32 load_f32(const float *p) {
    vec_f32 a;
    memcpy(&a, p, sizeof a);
    return a;
}
LF_INLINE vec_f64 load_f64(const double *p) {
    vec_f64 a;
    memcpy(&a, p, sizeof a);
    return a;
}
LF_INLINE void store_f32(float *p, vec_f32 a) { memcpy(p, &a, sizeof a); }
LF_INLINE void store_f64(double *p, vec_f64 a) { memcpy(p, &a, sizeof a); }
/* The first `count` lanes, in 0..LANES; nothing beyond them is touched, and loads leave 0 there. */
LF_INLINE vec_f32 load_partial_f32(const float *p, size_t count) {
    switch (count) {
    case 0: return (vec_f32){0.0f, 0.0f, 0.0f, 0.0f};
    case 1: return (vec_f32){p[0], 0.0f, 0.0f, 0.0f};
    case 2: return (vec_f32){p[0], p[1], 0.0f, 0.0f};
    case 3: return (vec_f32){p[0], p[1], p[2], 0.0f};
    default: return load_f32(p);
    }
}
LF_INLINE vec_f64 load_partial_f64(const double *p, size_t count) {
    switch (count) {
    case 0: return (vec_f64){0.0, 0.0};
    case 1: return (vec_f64){p[0], 0.0};
    default: return load_f64(p);
    }
}
LF_INLINE void store_partial_f32(float *p, vec_f32 a, size_t count) {
    if (count >= 4) {
        store_f32(p, a);
        return;
    }
    if (count > 0) p[0] = a[0];
    if (count > 1) p[1] = a[1];
    if (count > 2) p[2] = a[2];
}
LF_INLINE void store_partial_f64(double *p, vec_f64 a, size_t count) {
    if (count > 0) p[0] = a[0];
    if (count > 1) p[1] = a[1];
}
LF_INLINE vec_f32 broadcast_f32(float a) { return (vec_f32){a, a, a, a}; }
LF_INLINE vec_f64 broadcast_f64(double a) { return (vec_f64){a, a}; }

LF_INLINE vec_f32 add_f32(vec_f32 a, vec_f32 b) { return a + b; }
LF_INLINE vec_f64 add_f64(vec_f64 a, vec_f64 b) { return a + b; }
LF_INLINE vec_f32 sub_f32(vec_f32 a, vec_f32 b) { return a - b; }
LF_INLINE vec_f64 sub_f64(vec_f64 a, vec_f64 b) { return a - b; }
LF_INLINE vec_f32 mul_f32(vec_f32 a, vec_f32 b) { return a * b; }
LF_INLINE vec_f64 mul_f64(vec_f64 a, vec_f64 b) { return a * b; }
LF_INLINE vec_f32 div_f32(vec_f32 a, vec_f32 b) { return a / b; }
LF_INLINE vec_f64 div_f64(vec_f64 a, vec_f64 b) { return a / b; }
LF_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return a * b + c; }
LF_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return a * b + c; }
LF_INLINE vec_f32 fnma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return c - a * b; }
LF_INLINE vec_f64 fnma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return c - a * b; }

/* Comparisons are false where either side is NaN. select(m, a, b) = m ? a : b, lane by lane. */
LF_INLINE mask_f32 less_f32(vec_f32 a, vec_f32 b) { return (mask_f32)(a < b); }
LF_INLINE mask_f64 less_f64(vec_f64 a, vec_f64 b) { return (mask_f64)(a < b); }
LF_INLINE mask_f32 less_equal_f32(vec_f32 a, vec_f32 b) { return (mask_f32)(a <= b); }
LF_INLINE mask_f64 less_equal_f64(vec_f64 a, vec_f64 b) { return (mask_f64)(a <= b); }
LF_INLINE mask_f32 is_nan_f32(vec_f32 a) { return (mask_f32)(a != a); }
LF_INLINE mask_f64 is_nan_f64(vec_f64 a) { return (mask_f64)(a != a); }
LF_INLINE vec_f32 select_f32(mask_f32 m, vec_f32 a, vec_f32 b) {
    return (vec_f32)((m & (mask_f32)a) | (~m & (mask_f32)b));
}
LF_INLINE vec_f64 select_f64(mask_f64 m, vec_f64 a, vec_f64 b) {
    return (vec_f64)((m & (mask_f64)a) | (~m & (mask_f64)b));
}

/* On x86 the compilers see no minimum in compare-and-select, and call libm for the square root of a lane. */
#ifdef __SSE2__
LF_INLINE vec_f32 sqrt_f32(vec_f32 a) { return _mm_sqrt_ps(a); }
LF_INLINE vec_f64 sqrt_f64(vec_f64 a) { return _mm_sqrt_pd(a); }
LF_INLINE vec_f32 min_f32(vec_f32 a, vec_f32 b) { return _mm_min_ps(a, b); }
LF_INLINE vec_f64 min_f64(vec_f64 a, vec_f64 b) { return _mm_min_pd(a, b); }
LF_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return _mm_max_ps(a, b); }
LF_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return _mm_max_pd(a, b); }
#else
LF_INLINE vec_f32 sqrt_f32(vec_f32 a) {
    return (vec_f32){__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}
LF_INLINE vec_f64 sqrt_f64(vec_f64 a) { return (vec_f64){__builtin_sqrt(a[0]), __builtin_sqrt(a[1])}; }
LF_INLINE vec_f32 min_f32(vec_f32 a, vec_f32 b) { return select_f32(less_f32(a, b), a, b); }
LF_INLINE vec_f64 min_f64(vec_f64 a, vec_f64 b) { return select_f64(less_f64(a, b), a, b); }
LF_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return select_f32(less_f32(b, a), a, b); }
LF_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return select_f64(less_f64(b, a), a, b); }
#endif

/* The sum of all lanes: by halves, the upper onto the lower one. */
LF_INLINE float sum_lanes_f32(vec_f32 a) { return (a[0] + a[2]) + (a[1] + a[3]); }
LF_INLINE double sum_lanes_f64(vec_f64 a) { return a[0] + a[1]; }

/* Sign bits. */
LF_INLINE vec_f32 abs_f32(vec_f32 a) { return (vec_f32)((mask_f32)a & INT32_MAX); }
LF_INLINE vec_f64 abs_f64(vec_f64 a) { return (vec_f64)((mask_f64)a & INT64_MAX); }
LF_INLINE vec_f32 negate_f32(vec_f32 a) { return (vec_f32)((mask_f32)a ^ INT32_MIN); }
LF_INLINE vec_f64 negate_f64(vec_f64 a) { return (vec_f64)((mask_f64)a ^ INT64_MIN); }
/* a, which is not negative, with the sign of b. */
LF_INLINE vec_f32 with_sign_f32(vec_f32 a, vec_f32 b) { return (vec_f32)((mask_f32)a ^ ((mask_f32)b & INT32_MIN)); }
LF_INLINE vec_f64 with_sign_f64(vec_f64 a, vec_f64 b) { return (vec_f64)((mask_f64)a ^ ((mask_f64)b & INT64_MIN)); }

/* The bits of a moved to the exponent field: 2^n from round_magic + exponent_bias + n (kernels/coefficients.h). */
LF_INLINE vec_f32 power_of_two_f32(vec_f32 a) { return (vec_f32)((bits_f32)a << 23); }
LF_INLINE vec_f64 power_of_two_f64(vec_f64 a) { return (vec_f64)((bits_f64)a << 52); }
/* Nothing is looked up: LF_LOOKS_UP is 0, and these are never reached. */
#define look_up_f32(table, a) (a)
#define power_of_part_f32(a, fraction) power_of_two_f32(a)
#define look_up_f64(table, a) (a)
#define power_of_part_f64(a, fraction) power_of_two_f64(a)
/* For scale: the nearest integer, ties to even. Adding 2^23 (2^52) leaves no bits below the unit; larger numbers are
 * integers. */
LF_INLINE vec_f32 round_f32(vec_f32 a) {
    const vec_f32 magic = broadcast_f32(0x1p23f), size = abs_f32(a);
    return select_f32(less_f32(size, magic), with_sign_f32(size + magic - magic, a), a);
}
LF_INLINE vec_f64 round_f64(vec_f64 a) {
    const vec_f64 magic = broadcast_f64(0x1p52), size = abs_f64(a);
    return select_f64(less_f64(size, magic), with_sign_f64(size + magic - magic, a), a);
}
/* a * 2^n for integer-valued n; overflows to infinity and underflows gradually, whatever n.
 * Three factors reach from the largest number to the smallest; a NaN n counts as 0. */
LF_INLINE vec_f32 scale_f32(vec_f32 a, vec_f32 n) {
    n = min_f32(max_f32(n, broadcast_f32(-300.0f)), broadcast_f32(300.0f));
    const vec_f32 magic = broadcast_f32(0x1.8p23f + 127.0f);
    const vec_f32 third = round_f32(n * broadcast_f32(1.0f / 3.0f));
    const vec_f32 factor = power_of_two_f32(third + magic);
    return a * factor * factor * power_of_two_f32(n - third - third + magic);
}
LF_INLINE vec_f64 scale_f64(vec_f64 a, vec_f64 n) {
    n = min_f64(max_f64(n, broadcast_f64(-2200.0)), broadcast_f64(2200.0));
    const vec_f64 magic = broadcast_f64(0x1.8p52 + 1023.0);
    const vec_f64 third = round_f64(n * broadcast_f64(1.0 / 3.0));
    const vec_f64 factor = power_of_two_f64(third + magic);
    return a * factor * factor * power_of_two_f64(n - third - third + magic);
}
/* a = m * 2^e with m in [1, 2) and the sign of a, for a finite and not 0 (subnormals included). */
LF_INLINE vec_f32 mantissa_f32(vec_f32 a) {
    a = select_f32(less_f32(abs_f32(a), broadcast_f32(0x1p-126f)), a * broadcast_f32(0x1p24f), a);
    return (vec_f32)(((bits_f32)a & 0x807FFFFFu) | 0x3F800000u);
}
LF_INLINE vec_f64 mantissa_f64(vec_f64 a) {
    a = select_f64(less_f64(abs_f64(a), broadcast_f64(0x1p-1022)), a * broadcast_f64(0x1p54), a);
    return (vec_f64)(((bits_f64)a & 0x800FFFFFFFFFFFFFu) | 0x3FF0000000000000u);
}
/* The field is read as the low bits of a number of known exponent: SSE2 converts no 64-bit integers. */
LF_INLINE vec_f32 exponent_f32(vec_f32 a) {
    a = abs_f32(a);
    const mask_f32 subnormal = less_f32(a, broadcast_f32(0x1p-126f));
    a = select_f32(subnormal, a * broadcast_f32(0x1p24f), a);
    const vec_f32 magic = broadcast_f32(0x1p23f);
    const vec_f32 field = (vec_f32)(((bits_f32)a >> 23) | (bits_f32)magic) - magic;
    return field - select_f32(subnormal, broadcast_f32(127.0f + 24.0f), broadcast_f32(127.0f));
}
LF_INLINE vec_f64 exponent_f64(vec_f64 a) {
    a = abs_f64(a);
    const mask_f64 subnormal = less_f64(a, broadcast_f64(0x1p-1022));
    a = select_f64(subnormal, a * broadcast_f64(0x1p54), a);
    const vec_f64 magic = broadcast_f64(0x1p52);
    const vec_f64 field = (vec_f64)(((bits_f64)a >> 52) | (bits_f64)magic) - magic;
    return field - select_f64(subnormal, broadcast_f64(1023.0 + 54.0), broadcast_f64(1023.0));
}

#endif
