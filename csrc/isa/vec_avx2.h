/* Vectors of AVX2 with FMA: 8 float32 or 4 float64 lanes, 16 registers. The names are those of vec_avx512.h.
 * min/max(a, b) give b where either is NaN; fma(a, b, c) = a*b + c; fnma(a, b, c) = c - a*b.
 * Next: kernels/all.inc. */
#ifndef LF_VEC_AVX2_H
#define LF_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "inline.h"

/* 6 rows x 2 vectors of sums, two of weights and one broadcast fill 15 of the 16 registers; for a GRU's split blocks,
 * 4 rows x 3 vectors. 3 rows x 4 vectors would ask twice the weights of the second cache level. */
#define LF_TILE_ROWS 6
#define LF_LONE_ROWS 6
#define LF_SPLIT_ROWS 4
#define LF_STRIP_VECTORS 2
/* Vectors of sums that one, two and three rows take at once, so that enough of them hide the latency of an FMA. With 8
 * for one row LSTM(48) takes 1.07 times as long. */
#define LF_MOST_VECTORS_1 12
#define LF_SPLIT_VECTORS_1 8
#define LF_TILE_VECTORS_2 4
#define LF_TILE_VECTORS_3 4
/* So many rows take a narrow tail beside the blocks before it, for the same reason. */
#define LF_TAIL_ROWS 2
/* A tail of so many vectors counts as a block beside those of one row. */
#define LF_WIDE_TAIL LF_BLOCK_VECTORS
#define LF_MAPPED_LSTM 6
#define LF_MAPPED_GRU 6
/* So much of a strip is 16 KiB: it stays in the first cache level. */
#define LF_SEGMENT 256
#define LF_WHOLE_f32 LF_SEGMENT
#define LF_WHOLE_f64 LF_SEGMENT
#define LF_FETCH_ROWS 2
#define LF_FETCH_ROWS_DISTANT LF_FETCH_ROWS
#define LF_FETCH_BYTES 2048
#define LF_FETCH_ROOM 1
#define LF_FETCH_ROWS_LATER LF_FETCH_ROWS

/* Of how many units layers have rows for lanes, and of how many at most (LSTM(5) 1.2 to 1.4, LSTM(6) 1.1 to 1.3 times
 * as fast, LSTM(4) 0.9 to 1.1; GRU(1) 1.3 to 1.5, GRU(4) 1.0 to 1.3, but 0.8 of 18 rows, GRU(5) and GRU(6) 1.2 to 1.4,
 * GRU(7) 0.9 to 1.1, in float64 GRU(3) 1.05 to 1.2, GRU(2) and GRU(4) 0.7 to 0.8; Zen 4). */
#define LF_LANES_LSTM_f32 LF_UNITS(5, 6)
#define LF_LANES_GRU_f32 (LF_UNITS(1, 3) | LF_UNITS(5, 6))
#define LF_LANES_MOST_f32 6
#define LF_LANES_LSTM_f64 LF_UNITS(3, 3)
#define LF_LANES_GRU_f64 LF_UNITS(3, 3)
#define LF_LANES_MOST_f64 3
#define LF_TURNS_f32 0
#define LF_TURNS_f64 0

/* Whether fma rounds once. */
#define LF_FUSES 1

/* Powers of two of the parts of an octave are looked up where one instruction does it. */
#define LF_LOOKS_UP_f32 1
#define LF_LOOKS_UP_f64 0

#define LANES_f32 8
#define LANES_f64 4
typedef __m256 vec_f32;
typedef __m256d vec_f64;
typedef __m256 mask_f32; /* all bits of a lane set, or none */
typedef __m256d mask_f64;

#include "one_row.h"

/* A window of LANES entries that ends `count` before the zeros marks the first `count` lanes. */
static const int32_t first_lanes_f32[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
static const int64_t first_lanes_f64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
LF_INLINE __m256i first_f32(size_t count) { return _mm256_loadu_si256((const __m256i *)(first_lanes_f32 + 8 - count)); }
LF_INLINE __m256i first_f64(size_t count) { return _mm256_loadu_si256((const __m256i *)(first_lanes_f64 + 4 - count)); }

LF_INLINE vec_f32 load_f32(const float *p) { return _mm256_loadu_ps(p); }
LF_INLINE vec_f64 load_f64(const double *p) { return _mm256_loadu_pd(p); }
LF_INLINE void store_f32(float *p, vec_f32 a) { _mm256_storeu_ps(p, a); }
LF_INLINE void store_f64(double *p, vec_f64 a) { _mm256_storeu_pd(p, a); }
/* The first `count` lanes, in 0..LANES; nothing beyond them is touched, and loads leave 0 there. */
LF_INLINE vec_f32 load_partial_f32(const float *p, size_t count) { return _mm256_maskload_ps(p, first_f32(count)); }
LF_INLINE vec_f64 load_partial_f64(const double *p, size_t count) { return _mm256_maskload_pd(p, first_f64(count)); }
/* Pieces of 4, 2 and 1: a masked store is microcoded on AMD before Zen 4. */
LF_INLINE void store_partial_f32(float *p, vec_f32 a, size_t count) {
    if (count & 8) {
        _mm256_storeu_ps(p, a);
        return;
    }
    __m128 part = _mm256_castps256_ps128(a);
    if (count & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps(a, 1);
        p += 4;
    }
    if (count & 2) {
        _mm_storel_pi((__m64 *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (count & 1) _mm_store_ss(p, part);
}
LF_INLINE void store_partial_f64(double *p, vec_f64 a, size_t count) {
    if (count & 4) {
        _mm256_storeu_pd(p, a);
        return;
    }
    __m128d part = _mm256_castpd256_pd128(a);
    if (count & 2) {
        _mm_storeu_pd(p, part);
        part = _mm256_extractf128_pd(a, 1);
        p += 2;
    }
    if (count & 1) _mm_store_sd(p, part);
}
LF_INLINE vec_f32 broadcast_f32(float a) { return _mm256_set1_ps(a); }
LF_INLINE vec_f64 broadcast_f64(double a) { return _mm256_set1_pd(a); }

LF_INLINE vec_f32 add_f32(vec_f32 a, vec_f32 b) { return _mm256_add_ps(a, b); }
LF_INLINE vec_f64 add_f64(vec_f64 a, vec_f64 b) { return _mm256_add_pd(a, b); }
LF_INLINE vec_f32 sub_f32(vec_f32 a, vec_f32 b) { return _mm256_sub_ps(a, b); }
LF_INLINE vec_f64 sub_f64(vec_f64 a, vec_f64 b) { return _mm256_sub_pd(a, b); }
LF_INLINE vec_f32 mul_f32(vec_f32 a, vec_f32 b) { return _mm256_mul_ps(a, b); }
LF_INLINE vec_f64 mul_f64(vec_f64 a, vec_f64 b) { return _mm256_mul_pd(a, b); }
LF_INLINE vec_f32 div_f32(vec_f32 a, vec_f32 b) { return _mm256_div_ps(a, b); }
LF_INLINE vec_f64 div_f64(vec_f64 a, vec_f64 b) { return _mm256_div_pd(a, b); }
LF_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm256_fmadd_ps(a, b, c); }
LF_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm256_fmadd_pd(a, b, c); }
LF_INLINE vec_f32 fnma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm256_fnmadd_ps(a, b, c); }
LF_INLINE vec_f64 fnma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm256_fnmadd_pd(a, b, c); }
LF_INLINE vec_f32 sqrt_f32(vec_f32 a) { return _mm256_sqrt_ps(a); }
LF_INLINE vec_f64 sqrt_f64(vec_f64 a) { return _mm256_sqrt_pd(a); }
LF_INLINE vec_f32 min_f32(vec_f32 a, vec_f32 b) { return _mm256_min_ps(a, b); }
LF_INLINE vec_f64 min_f64(vec_f64 a, vec_f64 b) { return _mm256_min_pd(a, b); }
LF_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return _mm256_max_ps(a, b); }
LF_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return _mm256_max_pd(a, b); }

/* The sum of all lanes: by halves, the upper onto the lower one. */
LF_INLINE float sum_lanes_f32(vec_f32 a) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
LF_INLINE double sum_lanes_f64(vec_f64 a) {
    const __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
}

/* Sign bits. */
LF_INLINE vec_f32 abs_f32(vec_f32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
LF_INLINE vec_f64 abs_f64(vec_f64 a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }
LF_INLINE vec_f32 negate_f32(vec_f32 a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
LF_INLINE vec_f64 negate_f64(vec_f64 a) { return _mm256_xor_pd(a, _mm256_set1_pd(-0.0)); }
/* a, which is not negative, with the sign of b. */
LF_INLINE vec_f32 with_sign_f32(vec_f32 a, vec_f32 b) {
    return _mm256_xor_ps(a, _mm256_and_ps(b, _mm256_set1_ps(-0.0f)));
}
LF_INLINE vec_f64 with_sign_f64(vec_f64 a, vec_f64 b) {
    return _mm256_xor_pd(a, _mm256_and_pd(b, _mm256_set1_pd(-0.0)));
}

/* Comparisons are false where either side is NaN. select(m, a, b) = m ? a : b, lane by lane. */
LF_INLINE mask_f32 less_f32(vec_f32 a, vec_f32 b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
LF_INLINE mask_f64 less_f64(vec_f64 a, vec_f64 b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
LF_INLINE mask_f32 less_equal_f32(vec_f32 a, vec_f32 b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
LF_INLINE mask_f64 less_equal_f64(vec_f64 a, vec_f64 b) { return _mm256_cmp_pd(a, b, _CMP_LE_OQ); }
LF_INLINE mask_f32 is_nan_f32(vec_f32 a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
LF_INLINE mask_f64 is_nan_f64(vec_f64 a) { return _mm256_cmp_pd(a, a, _CMP_UNORD_Q); }
LF_INLINE vec_f32 select_f32(mask_f32 m, vec_f32 a, vec_f32 b) { return _mm256_blendv_ps(b, a, m); }
LF_INLINE vec_f64 select_f64(mask_f64 m, vec_f64 a, vec_f64 b) { return _mm256_blendv_pd(b, a, m); }

/* The bits of a moved to the exponent field: 2^n from round_magic + exponent_bias + n (kernels/coefficients.h). */
LF_INLINE vec_f32 power_of_two_f32(vec_f32 a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23));
}
LF_INLINE vec_f64 power_of_two_f64(vec_f64 a) {
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a), 52));
}
/* The number, or its bits, that the lowest bits of a name in a table of LF_POWER_PARTS. */
LF_INLINE vec_f32 look_up_f32(const void *table, vec_f32 a) {
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), _mm256_castps_si256(a));
}
/* 2^(n / LF_POWER_PARTS) from round_magic + LF_POWER_PARTS * exponent_bias + n and the fraction that it looks up. */
LF_INLINE vec_f32 power_of_part_f32(vec_f32 a, vec_f32 fraction) {
    const __m256i field = _mm256_slli_epi32(_mm256_castps_si256(a), 20);
    return _mm256_castsi256_ps(_mm256_add_epi32(field, _mm256_castps_si256(fraction)));
}
/* Nothing is looked up: LF_LOOKS_UP is 0, and these are never reached. */
#define look_up_f64(table, a) (a)
#define power_of_part_f64(a, fraction) power_of_two_f64(a)
/* For scale: the nearest integer, ties to even. */
LF_INLINE vec_f32 round_f32(vec_f32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
LF_INLINE vec_f64 round_f64(vec_f64 a) { return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
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
    const vec_f32 kept = _mm256_castsi256_ps(_mm256_set1_epi32((int32_t)0x807FFFFF));
    return _mm256_or_ps(_mm256_and_ps(a, kept), broadcast_f32(1.0f));
}
LF_INLINE vec_f64 mantissa_f64(vec_f64 a) {
    a = select_f64(less_f64(abs_f64(a), broadcast_f64(0x1p-1022)), mul_f64(a, broadcast_f64(0x1p54)), a);
    const vec_f64 kept = _mm256_castsi256_pd(_mm256_set1_epi64x((int64_t)0x800FFFFFFFFFFFFF));
    return _mm256_or_pd(_mm256_and_pd(a, kept), broadcast_f64(1.0));
}
LF_INLINE vec_f32 exponent_f32(vec_f32 a) {
    a = abs_f32(a);
    const mask_f32 subnormal = less_f32(a, broadcast_f32(0x1p-126f));
    a = select_f32(subnormal, mul_f32(a, broadcast_f32(0x1p24f)), a);
    const vec_f32 field = _mm256_cvtepi32_ps(_mm256_srli_epi32(_mm256_castps_si256(a), 23));
    return sub_f32(field, select_f32(subnormal, broadcast_f32(127.0f + 24.0f), broadcast_f32(127.0f)));
}
/* AVX2 converts no 64-bit integers: the field is read as the low bits of a float64 of known exponent. */
LF_INLINE vec_f64 exponent_f64(vec_f64 a) {
    a = abs_f64(a);
    const mask_f64 subnormal = less_f64(a, broadcast_f64(0x1p-1022));
    a = select_f64(subnormal, mul_f64(a, broadcast_f64(0x1p54)), a);
    const vec_f64 magic = broadcast_f64(0x1p52);
    const vec_f64 bits = _mm256_castsi256_pd(_mm256_srli_epi64(_mm256_castpd_si256(a), 52));
    const vec_f64 field = sub_f64(_mm256_or_pd(bits, magic), magic);
    return sub_f64(field, select_f64(subnormal, broadcast_f64(1023.0 + 54.0), broadcast_f64(1023.0)));
}

#endif
