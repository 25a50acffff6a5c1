/* Vectors of AVX-512 (F, DQ, BW, VL) with FMA: 16 float32 or 8 float64 lanes, 32 registers.
 * Each vec_<isa>.h defines the same set of names for the suffixes f32 and f64; the kernels are written over them once.
 * min/max(a, b) give b where either is NaN; fma(a, b, c) = a*b + c; fnma(a, b, c) = c - a*b.
 * Next: kernels/all.inc. */
#ifndef LF_VEC_AVX512_H
#define LF_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "inline.h"

/* 6 rows x 4 vectors of sums, 4 of weights and one broadcast fill 29 of the 32 registers. Up to 12 rows that are all
 * there are, from 7 on, take the strip in two passes of 2 vectors: 8 rows reach 0.91 of the peak of a Zen 5 from 4 MiB
 * of weights, and as 4 + 4 rows 0.74; of more rows tiles of 6 are 1 to 3 % faster. */
#define LF_TILE_ROWS 6
#define LF_LONE_ROWS 12
#define LF_SPLIT_ROWS 6
#define LF_STRIP_VECTORS 4
/* Vectors of sums that one, two and three rows take at once, so that enough of them hide the latency of an FMA; of one
 * row, see row_vectors below. */
#define LF_MOST_VECTORS_1 16
#define LF_SPLIT_VECTORS_1 16
#define LF_TILE_VECTORS_2 8
#define LF_TILE_VECTORS_3 4
/* So many rows take a narrow tail beside the blocks before it, for the same reason. */
#define LF_TAIL_ROWS 3
/* A tail of so many vectors counts as a block beside those of one row: 8 + 6 vectors, not 12 + 2, of which the last
 * are slow to come (LSTM(150) 1.28, LSTM(200) 1.35 times as fast, 100 units of float64 1.29; Zen 5). */
#define LF_WIDE_TAIL 2
#define LF_MAPPED_LSTM 0
#define LF_MAPPED_GRU 8
/* So much of a block is 128 KiB: it stays in the second cache level, which feeds a tile of six rows fast enough. Blocks
 * of up to twice that are taken whole, if float32 (600 inputs: 2 % faster; 2048 inputs in segments of 1024: 4 % slower;
 * 1024 inputs of float64: 1 % slower; Zen 5). */
#define LF_SEGMENT 512
#define LF_WHOLE_f32 1024
#define LF_WHOLE_f64 LF_SEGMENT
/* Tiles of so many rows fetch weights that come from far, a lone one so many bytes before it reads them: 4 rows of 36
 * MiB 56 instead of 47 GB/s, but one and two rows 69 instead of 93, 60 instead of 70 (Zen 5). A first cache level with
 * less room than this would lose what is in use: there they go to the second, for so many rows (3 rows take 0.63, 4
 * rows 0.8 of the time without, 5 rows 0.9 and 6 rows 0.95 of it with them in the second level; Zen 4). From memory
 * behind a distant third level, one and two rows fetch, too, twice as early (one row of LSTM(2048) 1.14, two 1.09, one
 * of LSTM(1536) 1.09 times as fast; Ice Lake). */
#define LF_FETCH_ROWS 3
#define LF_FETCH_ROWS_DISTANT 1
#define LF_FETCH_BYTES 8192
#define LF_FETCH_ROOM (48 << 10)
#define LF_FETCH_ROWS_LATER 5

/* Of how many units layers have rows for lanes, and of how many at most (of 64 rows LSTM(1) 3, LSTM(4) 1.5, LSTM(8) to
 * LSTM(10) 1.2 to 1.3, LSTM(11) 1.1, LSTM(12) 1.05 times as fast, but 0.97 of 100 rows; GRU(1) 3.6, GRU(4) 2.3,
 * GRU(8) 1.5, GRU(10) 1.3, GRU(13) 1.1, GRU(14) 1.0, in float64 GRU(1) 2.5, GRU(4) 1.5, GRU(6) 1.2 to 1.3; Zen 4). */
#define LF_LANES_LSTM_f32 LF_UNITS(1, 11)
#define LF_LANES_GRU_f32 LF_UNITS(1, 13)
#define LF_LANES_MOST_f32 13
#define LF_LANES_LSTM_f64 LF_UNITS(1, 5)
#define LF_LANES_GRU_f64 LF_UNITS(1, 6)
#define LF_LANES_MOST_f64 6
/* Whether rows_to_lanes and lanes_to_rows are below, or those of lanes.inc will do. */
#define LF_TURNS_f32 1
#define LF_TURNS_f64 0

/* Whether fma rounds once. */
#define LF_FUSES 1

/* Powers of two of the parts of an octave are looked up, which spares sigmoid 3 and tanh 2 of their products: an LSTM's
 * epilogue takes 32 cycles instead of 38 for 16 units (Zen 5). */
#define LF_LOOKS_UP_f32 1
#define LF_LOOKS_UP_f64 1

#define LANES_f32 16
#define LANES_f64 8
typedef __m512 vec_f32;
typedef __m512d vec_f64;
typedef __mmask16 mask_f32;
typedef __mmask8 mask_f64;

enum { LITTLE_ROOM = 48 << 10 }; /* in the first cache level: what is less */
/* Of one row's sums of so many products, where the first cache level has so many bytes. The next step begins with the
 * blocks of the last ones, and finds as much of them there as fits: of 48 KiB three of 64 products, two of 96 (LSTM(84)
 * to LSTM(96) 1.10 to 1.15 times as fast as with 12 vectors, LSTM(60) 1.25 as with 16; Zen 5), of 32 KiB no three of 48
 * (LSTM(48) 1.13, LSTM(50) 1.19, in float64 1.07 times as fast with 8; Zen 4). Where not even two do, the more the
 * better, up to a point (LSTM(128): 1.06, 100 units of float64 1.15 times as fast as with 8; from 320 units on 12
 * are 1.01; Zen 5). */
LF_INLINE int blocks_stay(size_t blocks, size_t products, size_t near_bytes) {
    enum { BLOCK_BYTES = 256 }; /* for each product */
    /* A little more than fits does no harm (Zen 5); of 32 KiB it does (LSTM(45) to LSTM(47) 1.15; Zen 4). */
    return blocks * BLOCK_BYTES * products <= near_bytes + near_bytes / (near_bytes < LITTLE_ROOM ? 32 : 8);
}
/* Whether one row's epilogue follows each tile of its blocks, of which there are few at once: it runs while the second
 * cache level sends the weights of the next tile (LSTM(60) to LSTM(112) 1.03 to 1.08, GRU(64) to GRU(140) 1.02 to 1.06,
 * SimpleRNN(100) 1.1, float64 of 72 to 100 units 1.04 to 1.10 times as fast, half of LSTM(64) on each of two threads
 * 1.1; LSTM(128) 1.00, with four blocks at once; Zen 4). */
LF_INLINE int row_streams_f32(size_t products, size_t near_bytes) {
    return near_bytes < LITTLE_ROOM && !blocks_stay(3, products, near_bytes) && products <= 118;
}
LF_INLINE int row_streams_f64(size_t products, size_t near_bytes) {
    return near_bytes < LITTLE_ROOM && products > 72 && products <= 104;
}
LF_INLINE size_t row_vectors_f32(size_t products, size_t near_bytes) {
    if (row_streams_f32(products, near_bytes)) return products <= 56 ? 8 : 4;
    return blocks_stay(3, products, near_bytes) ? 12 : products <= 118 ? 8 : products <= 256 ? 16 : 12;
}
LF_INLINE size_t row_vectors_f64(size_t products, size_t near_bytes) {
    if (row_streams_f64(products, near_bytes)) return 4;
    if (products <= 72) return blocks_stay(3, products, near_bytes) ? 12 : 8;
    return products > 96 && products <= 256 ? 16 : 12;
}
/* The same of blocks with three weights for four sums (GRU(64) 1.15, GRU(80) 1.07 times as fast as with 16; Zen 4). */
LF_INLINE size_t split_vectors_f32(size_t products, size_t near_bytes) {
    if (blocks_stay(4, products, near_bytes)) return 16;
    if (row_streams_f32(products, near_bytes) && products <= 66) return 8;
    return row_vectors_f32(products, near_bytes);
}
LF_INLINE size_t split_vectors_f64(size_t products, size_t near_bytes) {
    return blocks_stay(4, products, near_bytes) ? 16 : row_vectors_f64(products, near_bytes);
}

LF_INLINE __mmask16 first_f32(size_t count) { return (__mmask16)((1u << count) - 1u); } /* count in 0..16 */
LF_INLINE __mmask8 first_f64(size_t count) { return (__mmask8)((1u << count) - 1u); }   /* count in 0..8 */

LF_INLINE vec_f32 load_f32(const float *p) { return _mm512_loadu_ps(p); }
LF_INLINE vec_f64 load_f64(const double *p) { return _mm512_loadu_pd(p); }
LF_INLINE void store_f32(float *p, vec_f32 a) { _mm512_storeu_ps(p, a); }
LF_INLINE void store_f64(double *p, vec_f64 a) { _mm512_storeu_pd(p, a); }
/* The first `count` lanes, in 0..LANES; nothing beyond them is touched, and loads leave 0 there. */
LF_INLINE vec_f32 load_partial_f32(const float *p, size_t count) { return _mm512_maskz_loadu_ps(first_f32(count), p); }
LF_INLINE vec_f64 load_partial_f64(const double *p, size_t count) { return _mm512_maskz_loadu_pd(first_f64(count), p); }
LF_INLINE void store_partial_f32(float *p, vec_f32 a, size_t count) { _mm512_mask_storeu_ps(p, first_f32(count), a); }
LF_INLINE void store_partial_f64(double *p, vec_f64 a, size_t count) { _mm512_mask_storeu_pd(p, first_f64(count), a); }
/* 4x4 transposed in each quarter: a[i] holds row i, then a[j] column j. */
LF_INLINE void turn_quarters(__m512 a[4]) {
    const __m512d b0 = _mm512_castps_pd(_mm512_unpacklo_ps(a[0], a[1]));
    const __m512d b1 = _mm512_castps_pd(_mm512_unpackhi_ps(a[0], a[1]));
    const __m512d b2 = _mm512_castps_pd(_mm512_unpacklo_ps(a[2], a[3]));
    const __m512d b3 = _mm512_castps_pd(_mm512_unpackhi_ps(a[2], a[3]));
    a[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(b0, b2));
    a[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(b0, b2));
    a[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b1, b3));
    a[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b1, b3));
}
/* (rows, columns), of 1..16 and 1..8, -> (columns, 16): the lanes behind the last row repeat it. */
enum { TURNED_f32 = 8 };
LF_INLINE void rows_to_lanes_f32(const float *from, ptrdiff_t stride, size_t rows, size_t columns, float *to,
                                 ptrdiff_t to_stride) {
    const __mmask8 kept = (__mmask8)((1u << columns) - 1u);
    __m256 row[16];
    LF_UNROLL
    for (size_t i = 0; i < 16; i++)
        row[i] = _mm256_maskz_loadu_ps(kept, from + (ptrdiff_t)(i < rows ? i : rows - 1) * stride);
    __m512 low[4], high[4]; /* quarters: rows i and i + 4, of rows 8 to 15 then, columns 0-3 and 4-7 of each */
    LF_UNROLL
    for (int i = 0; i < 4; i++) {
        low[i] = _mm512_insertf32x8(_mm512_castps256_ps512(row[i]), row[i + 4], 1);
        high[i] = _mm512_insertf32x8(_mm512_castps256_ps512(row[i + 8]), row[i + 12], 1);
    }
    turn_quarters(low);
    turn_quarters(high);
    LF_UNROLL
    for (size_t i = 0; i < 4; i++) {
        if (i < columns) _mm512_storeu_ps(to + (ptrdiff_t)i * to_stride, _mm512_shuffle_f32x4(low[i], high[i], 0x88));
        if (i + 4 < columns)
            _mm512_storeu_ps(to + (ptrdiff_t)(i + 4) * to_stride, _mm512_shuffle_f32x4(low[i], high[i], 0xdd));
    }
}
/* And back. Upper halves come down to be stored: gcc would make one instruction of taking out and storing one under a
 * mask, which faults where the lanes that are left out reach an inaccessible page. */
LF_INLINE void lanes_to_rows_f32(const float *from, ptrdiff_t from_stride, float *to, ptrdiff_t stride, size_t rows,
                                 size_t columns) {
    /* Of two columns that are 4 apart, whose quarters are rows: the first two of each in turn, and the last two. */
    static const int32_t first_quarters[16] = {0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23};
    static const int32_t last_quarters[16] = {8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31};
    const __m512i first = _mm512_loadu_si512(first_quarters), last = _mm512_loadu_si512(last_quarters);
    __m512 low[4], high[4];
    LF_UNROLL
    for (size_t i = 0; i < 4; i++) {
        const __m512 none = _mm512_set1_ps(0);
        const __m512 a = i < columns ? _mm512_loadu_ps(from + (ptrdiff_t)i * from_stride) : none;
        const __m512 b = i + 4 < columns ? _mm512_loadu_ps(from + (ptrdiff_t)(i + 4) * from_stride) : none;
        low[i] = _mm512_permutex2var_ps(a, first, b);
        high[i] = _mm512_permutex2var_ps(a, last, b);
    }
    turn_quarters(low);
    turn_quarters(high);
    LF_UNROLL
    for (size_t i = 0; i < 16; i++) {
        const __m512 two = i < 8 ? low[i % 4] : high[i % 4];
        const __m512 one = i % 8 < 4 ? two : _mm512_shuffle_f32x4(two, two, 0xee);
        if (i < rows) _mm512_mask_storeu_ps(to + (ptrdiff_t)i * stride, first_f32(columns), one);
    }
}
LF_INLINE vec_f32 broadcast_f32(float a) { return _mm512_set1_ps(a); }
LF_INLINE vec_f64 broadcast_f64(double a) { return _mm512_set1_pd(a); }

LF_INLINE vec_f32 add_f32(vec_f32 a, vec_f32 b) { return _mm512_add_ps(a, b); }
LF_INLINE vec_f64 add_f64(vec_f64 a, vec_f64 b) { return _mm512_add_pd(a, b); }
LF_INLINE vec_f32 sub_f32(vec_f32 a, vec_f32 b) { return _mm512_sub_ps(a, b); }
LF_INLINE vec_f64 sub_f64(vec_f64 a, vec_f64 b) { return _mm512_sub_pd(a, b); }
LF_INLINE vec_f32 mul_f32(vec_f32 a, vec_f32 b) { return _mm512_mul_ps(a, b); }
LF_INLINE vec_f64 mul_f64(vec_f64 a, vec_f64 b) { return _mm512_mul_pd(a, b); }
LF_INLINE vec_f32 div_f32(vec_f32 a, vec_f32 b) { return _mm512_div_ps(a, b); }
LF_INLINE vec_f64 div_f64(vec_f64 a, vec_f64 b) { return _mm512_div_pd(a, b); }
LF_INLINE vec_f32 fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm512_fmadd_ps(a, b, c); }
LF_INLINE vec_f64 fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm512_fmadd_pd(a, b, c); }
LF_INLINE vec_f32 fnma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return _mm512_fnmadd_ps(a, b, c); }
LF_INLINE vec_f64 fnma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return _mm512_fnmadd_pd(a, b, c); }
LF_INLINE vec_f32 sqrt_f32(vec_f32 a) { return _mm512_sqrt_ps(a); }
LF_INLINE vec_f64 sqrt_f64(vec_f64 a) { return _mm512_sqrt_pd(a); }
LF_INLINE vec_f32 min_f32(vec_f32 a, vec_f32 b) { return _mm512_min_ps(a, b); }
LF_INLINE vec_f64 min_f64(vec_f64 a, vec_f64 b) { return _mm512_min_pd(a, b); }
LF_INLINE vec_f32 max_f32(vec_f32 a, vec_f32 b) { return _mm512_max_ps(a, b); }
LF_INLINE vec_f64 max_f64(vec_f64 a, vec_f64 b) { return _mm512_max_pd(a, b); }

/* The bits of a moved to the exponent field: 2^n from round_magic + exponent_bias + n (kernels/coefficients.h). */
LF_INLINE vec_f32 power_of_two_f32(vec_f32 a) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23));
}
LF_INLINE vec_f64 power_of_two_f64(vec_f64 a) {
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(a), 52));
}
/* The number, or its bits, that the lowest bits of a name in a table of LF_POWER_PARTS. */
LF_INLINE vec_f32 look_up_f32(const void *table, vec_f32 a) {
    return _mm512_permutexvar_ps(_mm512_castps_si512(a), _mm512_broadcast_f32x8(_mm256_loadu_ps(table)));
}
LF_INLINE vec_f64 look_up_f64(const void *table, vec_f64 a) {
    return _mm512_permutexvar_pd(_mm512_castpd_si512(a), _mm512_loadu_pd(table));
}
/* 2^(n / LF_POWER_PARTS) from round_magic + LF_POWER_PARTS * exponent_bias + n and the fraction that it looks up. */
LF_INLINE vec_f32 power_of_part_f32(vec_f32 a, vec_f32 fraction) {
    const __m512i field = _mm512_slli_epi32(_mm512_castps_si512(a), 20);
    return _mm512_castsi512_ps(_mm512_add_epi32(field, _mm512_castps_si512(fraction)));
}
LF_INLINE vec_f64 power_of_part_f64(vec_f64 a, vec_f64 fraction) {
    const __m512i field = _mm512_slli_epi64(_mm512_castpd_si512(a), 49);
    return _mm512_castsi512_pd(_mm512_add_epi64(field, _mm512_castpd_si512(fraction)));
}
/* a * 2^n for integer-valued n; overflows to infinity and underflows gradually, whatever n. */
LF_INLINE vec_f32 scale_f32(vec_f32 a, vec_f32 n) { return _mm512_scalef_ps(a, n); }
LF_INLINE vec_f64 scale_f64(vec_f64 a, vec_f64 n) { return _mm512_scalef_pd(a, n); }
/* a = m * 2^e with m in [1, 2) and the sign of a, for a finite and not 0 (subnormals included). */
LF_INLINE vec_f32 mantissa_f32(vec_f32 a) { return _mm512_getmant_ps(a, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src); }
LF_INLINE vec_f64 mantissa_f64(vec_f64 a) { return _mm512_getmant_pd(a, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src); }
LF_INLINE vec_f32 exponent_f32(vec_f32 a) { return _mm512_getexp_ps(a); }
LF_INLINE vec_f64 exponent_f64(vec_f64 a) { return _mm512_getexp_pd(a); }

/* The sum of all lanes: by halves, the upper onto the lower one. */
LF_INLINE float sum_lanes_f32(vec_f32 a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
LF_INLINE double sum_lanes_f64(vec_f64 a) {
    const __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    const __m128d sum = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
    return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
}

/* Sign bits. */
LF_INLINE vec_f32 abs_f32(vec_f32 a) { return _mm512_abs_ps(a); }
LF_INLINE vec_f64 abs_f64(vec_f64 a) { return _mm512_abs_pd(a); }
LF_INLINE vec_f32 negate_f32(vec_f32 a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
LF_INLINE vec_f64 negate_f64(vec_f64 a) { return _mm512_xor_pd(a, _mm512_set1_pd(-0.0)); }
/* a, which is not negative, with the sign of b: bit select (b & sign) | (a & ~sign), in place of a. */
LF_INLINE vec_f32 with_sign_f32(vec_f32 a, vec_f32 b) {
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b), _mm512_set1_epi32(INT32_MIN), 0xD8));
}
LF_INLINE vec_f64 with_sign_f64(vec_f64 a, vec_f64 b) {
    return _mm512_castsi512_pd(
        _mm512_ternarylogic_epi64(_mm512_castpd_si512(a), _mm512_castpd_si512(b), _mm512_set1_epi64(INT64_MIN), 0xD8));
}

/* Comparisons are false where either side is NaN. select(m, a, b) = m ? a : b, lane by lane. */
LF_INLINE mask_f32 less_f32(vec_f32 a, vec_f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
LF_INLINE mask_f64 less_f64(vec_f64 a, vec_f64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
LF_INLINE mask_f32 less_equal_f32(vec_f32 a, vec_f32 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
LF_INLINE mask_f64 less_equal_f64(vec_f64 a, vec_f64 b) { return _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ); }
LF_INLINE mask_f32 is_nan_f32(vec_f32 a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
LF_INLINE mask_f64 is_nan_f64(vec_f64 a) { return _mm512_cmp_pd_mask(a, a, _CMP_UNORD_Q); }
LF_INLINE vec_f32 select_f32(mask_f32 m, vec_f32 a, vec_f32 b) { return _mm512_mask_blend_ps(m, b, a); }
LF_INLINE vec_f64 select_f64(mask_f64 m, vec_f64 a, vec_f64 b) { return _mm512_mask_blend_pd(m, b, a); }

#endif
