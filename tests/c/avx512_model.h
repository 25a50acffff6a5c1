/* The intrinsics of csrc/isa/vec_avx512.h in AVX2 and C, number by number after Intel's definitions: so the AVX-512
 * kernels run, slowly, on a processor without AVX-512, with the same bits. `make check-avx512-model` compiles them so,
 * this file before all others. Next: avx512_model.c. */
#ifndef LF_AVX512_MODEL_H
#define LF_AVX512_MODEL_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LF_AVX512_TARGET "avx2,fma"
#pragma GCC push_options
#pragma GCC target("avx2,fma")

#define MODEL static inline __attribute__((always_inline, unused))

typedef struct model_ps {
    __m256 half[2];
} model_ps;
typedef struct model_pd {
    __m256d half[2];
} model_pd;
typedef struct model_i {
    __m256i half[2];
} model_i;
#define __m512 model_ps
#define __m512d model_pd
#define __m512i model_i

/* ---- the same on both halves */

#define MODEL_1(name, type, operation)                                                                                 \
    MODEL type model_##name(type a) { return (type){{operation(a.half[0]), operation(a.half[1])}}; }
#define MODEL_2(name, type, operation)                                                                                 \
    MODEL type model_##name(type a, type b) {                                                                          \
        return (type){{operation(a.half[0], b.half[0]), operation(a.half[1], b.half[1])}};                             \
    }
#define MODEL_3(name, type, operation)                                                                                 \
    MODEL type model_##name(type a, type b, type c) {                                                                  \
        return (type){{operation(a.half[0], b.half[0], c.half[0]), operation(a.half[1], b.half[1], c.half[1])}};       \
    }
#define MODEL_CAST(name, from, to, operation)                                                                          \
    MODEL to model_##name(from a) { return (to){{operation(a.half[0]), operation(a.half[1])}}; }
#define MODEL_ARITHMETIC(s)                                                                                            \
    MODEL_2(add_##s, model_##s, _mm256_add_##s)                                                                        \
    MODEL_2(sub_##s, model_##s, _mm256_sub_##s)                                                                        \
    MODEL_2(mul_##s, model_##s, _mm256_mul_##s)                                                                        \
    MODEL_2(div_##s, model_##s, _mm256_div_##s)                                                                        \
    MODEL_2(min_##s, model_##s, _mm256_min_##s)                                                                        \
    MODEL_2(max_##s, model_##s, _mm256_max_##s)                                                                        \
    MODEL_2(xor_##s, model_##s, _mm256_xor_##s)                                                                        \
    MODEL_2(unpacklo_##s, model_##s, _mm256_unpacklo_##s)                                                              \
    MODEL_2(unpackhi_##s, model_##s, _mm256_unpackhi_##s)                                                              \
    MODEL_1(sqrt_##s, model_##s, _mm256_sqrt_##s)                                                                      \
    MODEL_3(fmadd_##s, model_##s, _mm256_fmadd_##s)                                                                    \
    MODEL_3(fnmadd_##s, model_##s, _mm256_fnmadd_##s)                                                                  \
    MODEL_CAST(cast##s##_si512, model_##s, model_i, _mm256_cast##s##_si256)                                            \
    MODEL_CAST(castsi512_##s, model_i, model_##s, _mm256_castsi256_##s)
MODEL_ARITHMETIC(ps)
MODEL_ARITHMETIC(pd)
MODEL_CAST(castps_pd, model_ps, model_pd, _mm256_castps_pd)
MODEL_CAST(castpd_ps, model_pd, model_ps, _mm256_castpd_ps)

/* ---- number by number */

#define MODEL_LANES(s, real, lanes, SIGN)                                                                              \
    MODEL model_##s model_loadu_##s(const void *p) {                                                                   \
        model_##s y;                                                                                                   \
        memcpy(&y, p, sizeof y);                                                                                       \
        return y;                                                                                                      \
    }                                                                                                                  \
    MODEL void model_storeu_##s(void *p, model_##s a) { memcpy(p, &a, sizeof a); }                                     \
    MODEL model_##s model_maskz_loadu_##s(unsigned m, const void *p) { /* reads nothing that is masked */              \
        real y[lanes] = {0};                                                                                           \
        for (int i = 0; i < lanes; i++)                                                                                \
            if (m >> i & 1) memcpy(&y[i], (const real *)p + i, sizeof *y);                                             \
        return model_loadu_##s(y);                                                                                     \
    }                                                                                                                  \
    MODEL void model_mask_storeu_##s(void *p, unsigned m, model_##s a) {                                               \
        real y[lanes];                                                                                                 \
        model_storeu_##s(y, a);                                                                                        \
        for (int i = 0; i < lanes; i++)                                                                                \
            if (m >> i & 1) memcpy((real *)p + i, &y[i], sizeof *y);                                                   \
    }                                                                                                                  \
    MODEL model_##s model_set1_##s(real a) { return (model_##s){{_mm256_set1_##s(a), _mm256_set1_##s(a)}}; }           \
    MODEL model_##s model_abs_##s(model_##s a) {                                                                       \
        const __typeof__(a.half[0]) sign = _mm256_set1_##s(SIGN);                                                      \
        return (model_##s){{_mm256_andnot_##s(sign, a.half[0]), _mm256_andnot_##s(sign, a.half[1])}};                  \
    }                                                                                                                  \
    MODEL real model_scalef_one_##s(real a, real n) { /* a * 2^floor(n), rounded once */                               \
        if (isnan(a) || isnan(n)) return a + n;                                                                        \
        if (isinf(n)) return n > 0 ? a * n : isinf(a) ? (real)NAN : (real)copysign(0, a);                              \
        const double floored = floor(n);                                                                               \
        return (real)ldexp(a, floored > 5000 ? 5000 : floored < -5000 ? -5000 : (int)floored);                         \
    }                                                                                                                  \
    MODEL model_##s model_scalef_##s(model_##s a, model_##s n) {                                                       \
        real y[lanes], by[lanes];                                                                                      \
        model_storeu_##s(y, a);                                                                                        \
        model_storeu_##s(by, n);                                                                                       \
        for (int i = 0; i < lanes; i++) y[i] = model_scalef_one_##s(y[i], by[i]);                                      \
        return model_loadu_##s(y);                                                                                     \
    }                                                                                                                  \
    MODEL model_##s model_getmant_##s(model_##s a, int interval, int sign) { /* in [1, 2), with the sign of a */       \
        real y[lanes];                                                                                                 \
        (void)interval, (void)sign;                                                                                    \
        model_storeu_##s(y, a);                                                                                        \
        for (int i = 0; i < lanes; i++) {                                                                              \
            int exponent;                                                                                              \
            if (isnan(y[i])) continue;                                                                                 \
            y[i] = y[i] == 0 || isinf(y[i]) ? (real)copysign(1, y[i]) : (real)(2 * frexp(y[i], &exponent));            \
        }                                                                                                              \
        return model_loadu_##s(y);                                                                                     \
    }                                                                                                                  \
    MODEL model_##s model_getexp_##s(model_##s a) {                                                                    \
        real y[lanes];                                                                                                 \
        model_storeu_##s(y, a);                                                                                        \
        for (int i = 0; i < lanes; i++) {                                                                              \
            int exponent;                                                                                              \
            if (isnan(y[i])) continue;                                                                                 \
            if (y[i] == 0 || isinf(y[i])) {                                                                            \
                y[i] = (real)(y[i] == 0 ? -INFINITY : INFINITY);                                                       \
                continue;                                                                                              \
            }                                                                                                          \
            (void)frexp(y[i], &exponent);                                                                              \
            y[i] = (real)(exponent - 1);                                                                               \
        }                                                                                                              \
        return model_loadu_##s(y);                                                                                     \
    }                                                                                                                  \
    MODEL unsigned model_cmp_##s##_mask(model_##s a, model_##s b, const int how) {                                     \
        __typeof__(a.half[0]) low, high;                                                                               \
        if (how == _CMP_LT_OQ) {                                                                                       \
            low = _mm256_cmp_##s(a.half[0], b.half[0], _CMP_LT_OQ);                                                    \
            high = _mm256_cmp_##s(a.half[1], b.half[1], _CMP_LT_OQ);                                                   \
        } else if (how == _CMP_LE_OQ) {                                                                                \
            low = _mm256_cmp_##s(a.half[0], b.half[0], _CMP_LE_OQ);                                                    \
            high = _mm256_cmp_##s(a.half[1], b.half[1], _CMP_LE_OQ);                                                   \
        } else {                                                                                                       \
            low = _mm256_cmp_##s(a.half[0], b.half[0], _CMP_UNORD_Q);                                                  \
            high = _mm256_cmp_##s(a.half[1], b.half[1], _CMP_UNORD_Q);                                                 \
        }                                                                                                              \
        return (unsigned)_mm256_movemask_##s(low) | (unsigned)_mm256_movemask_##s(high) << (lanes / 2);                \
    }                                                                                                                  \
    MODEL model_##s model_mask_blend_##s(unsigned m, model_##s a, model_##s b) { /* b where the bit is set */          \
        real x[lanes], y[lanes];                                                                                       \
        model_storeu_##s(x, a);                                                                                        \
        model_storeu_##s(y, b);                                                                                        \
        for (int i = 0; i < lanes; i++) x[i] = m >> i & 1 ? y[i] : x[i];                                               \
        return model_loadu_##s(x);                                                                                     \
    }
MODEL_LANES(ps, float, 16, -0.0f)
MODEL_LANES(pd, double, 8, -0.0)

/* ---- integers */

#define MODEL_INTEGERS(bits, int_type, set1)                                                                           \
    MODEL model_i model_slli_epi##bits(model_i a, unsigned n) {                                                        \
        return (model_i){{_mm256_slli_epi##bits(a.half[0], (int)n), _mm256_slli_epi##bits(a.half[1], (int)n)}};        \
    }                                                                                                                  \
    MODEL model_i model_add_epi##bits(model_i a, model_i b) {                                                          \
        return (model_i){{_mm256_add_epi##bits(a.half[0], b.half[0]), _mm256_add_epi##bits(a.half[1], b.half[1])}};    \
    }                                                                                                                  \
    MODEL model_i model_set1_epi##bits(int_type a) { return (model_i){{set1(a), set1(a)}}; }                           \
    MODEL model_i model_ternarylogic_epi##bits(model_i a, model_i b, model_i c, const int table) {                     \
        uint64_t x[8], y[8], z[8]; /* bit by bit: the number of a row of the table is a b c */                         \
        memcpy(x, &a, sizeof x);                                                                                       \
        memcpy(y, &b, sizeof y);                                                                                       \
        memcpy(z, &c, sizeof z);                                                                                       \
        for (int i = 0; i < 8; i++) {                                                                                  \
            uint64_t found = 0;                                                                                        \
            for (int row = 0; row < 8; row++)                                                                          \
                if (table >> row & 1)                                                                                  \
                    found |= (row & 4 ? x[i] : ~x[i]) & (row & 2 ? y[i] : ~y[i]) & (row & 1 ? z[i] : ~z[i]);           \
            x[i] = found;                                                                                              \
        }                                                                                                              \
        memcpy(&a, x, sizeof x);                                                                                       \
        return a;                                                                                                      \
    }
MODEL_INTEGERS(32, int32_t, _mm256_set1_epi32)
MODEL_INTEGERS(64, int64_t, _mm256_set1_epi64x)

/* ---- lanes by number */

MODEL model_ps model_broadcast_f32x8(__m256 a) { return (model_ps){{a, a}}; }
MODEL __m256 model_castps512_ps256(model_ps a) { return a.half[0]; }
MODEL __m256d model_castpd512_pd256(model_pd a) { return a.half[0]; }
MODEL __m256 model_extractf32x8_ps(model_ps a, int half) { return a.half[half]; }
MODEL __m256d model_extractf64x4_pd(model_pd a, int half) { return a.half[half]; }

#define MODEL_PERMUTE(s, real, index_type, lanes)                                                                      \
    MODEL model_##s model_permutexvar_##s(model_i index, model_##s a) {                                                \
        index_type from[lanes];                                                                                        \
        real x[lanes], y[lanes];                                                                                       \
        memcpy(from, &index, sizeof from);                                                                             \
        memcpy(x, &a, sizeof x);                                                                                       \
        for (int lane = 0; lane < lanes; lane++) y[lane] = x[from[lane] % lanes];                                      \
        memcpy(&a, y, sizeof y);                                                                                       \
        return a;                                                                                                      \
    }
MODEL_PERMUTE(ps, float, uint32_t, 16)
MODEL_PERMUTE(pd, double, uint64_t, 8)

MODEL model_ps model_castps256_ps512(__m256 a) { return (model_ps){{a, a}}; } /* whatever is above it */
MODEL model_ps model_insertf32x8_ps(model_ps a, __m256 b, int half) {
    a.half[half] = b;
    return a;
}
MODEL model_ps model_shuffle_f32x4_ps(model_ps a, model_ps b, int quarters) { /* two of a, then two of b */
    float x[2][16], y[16];
    memcpy(x[0], &a, sizeof x[0]);
    memcpy(x[1], &b, sizeof x[1]);
    for (int i = 0; i < 16; i++) y[i] = x[i / 8][(quarters >> i / 4 * 2 & 3) * 4 + i % 4];
    memcpy(&a, y, sizeof y);
    return a;
}
MODEL model_ps model_permutex2var_ps(model_ps a, model_i index, model_ps b) {
    uint32_t from[16];
    float x[32], y[16];
    memcpy(from, &index, sizeof from);
    memcpy(x, &a, sizeof a);
    memcpy(x + 16, &b, sizeof b);
    for (int i = 0; i < 16; i++) y[i] = x[from[i] % 32];
    memcpy(&a, y, sizeof y);
    return a;
}
MODEL model_i model_loadu_si512(const void *p) {
    model_i y;
    memcpy(&y, p, sizeof y);
    return y;
}
MODEL __m256 model_half_maskz_loadu_ps(unsigned m, const void *p) { return model_maskz_loadu_ps(m, p).half[0]; }

#pragma GCC pop_options

/* Every name that vec_avx512.h uses; one that is not here would not compile for AVX2. */
#define _mm512_loadu_ps model_loadu_ps
#define _mm512_loadu_pd model_loadu_pd
#define _mm512_storeu_ps model_storeu_ps
#define _mm512_storeu_pd model_storeu_pd
#define _mm512_maskz_loadu_ps model_maskz_loadu_ps
#define _mm512_maskz_loadu_pd model_maskz_loadu_pd
#define _mm512_mask_storeu_ps model_mask_storeu_ps
#define _mm512_mask_storeu_pd model_mask_storeu_pd
#define _mm512_set1_ps model_set1_ps
#define _mm512_set1_pd model_set1_pd
#define _mm512_set1_epi32 model_set1_epi32
#define _mm512_set1_epi64 model_set1_epi64
#define _mm512_add_ps model_add_ps
#define _mm512_add_pd model_add_pd
#define _mm512_sub_ps model_sub_ps
#define _mm512_sub_pd model_sub_pd
#define _mm512_mul_ps model_mul_ps
#define _mm512_mul_pd model_mul_pd
#define _mm512_div_ps model_div_ps
#define _mm512_div_pd model_div_pd
#define _mm512_fmadd_ps model_fmadd_ps
#define _mm512_fmadd_pd model_fmadd_pd
#define _mm512_fnmadd_ps model_fnmadd_ps
#define _mm512_fnmadd_pd model_fnmadd_pd
#define _mm512_sqrt_ps model_sqrt_ps
#define _mm512_sqrt_pd model_sqrt_pd
#define _mm512_min_ps model_min_ps
#define _mm512_min_pd model_min_pd
#define _mm512_max_ps model_max_ps
#define _mm512_max_pd model_max_pd
#define _mm512_xor_ps model_xor_ps
#define _mm512_xor_pd model_xor_pd
#define _mm512_abs_ps model_abs_ps
#define _mm512_abs_pd model_abs_pd
#undef _mm512_getmant_ps
#undef _mm512_getmant_pd
#undef _mm512_cmp_ps_mask
#undef _mm512_cmp_pd_mask
#undef _mm512_slli_epi32
#undef _mm512_slli_epi64
#undef _mm512_ternarylogic_epi32
#undef _mm512_ternarylogic_epi64
#define _mm512_scalef_ps model_scalef_ps
#define _mm512_scalef_pd model_scalef_pd
#define _mm512_getmant_ps model_getmant_ps
#define _mm512_getmant_pd model_getmant_pd
#define _mm512_getexp_ps model_getexp_ps
#define _mm512_getexp_pd model_getexp_pd
#define _mm512_slli_epi32 model_slli_epi32
#define _mm512_slli_epi64 model_slli_epi64
#define _mm512_add_epi32 model_add_epi32
#define _mm512_add_epi64 model_add_epi64
#define _mm512_permutexvar_ps model_permutexvar_ps
#define _mm512_permutexvar_pd model_permutexvar_pd
#define _mm512_broadcast_f32x8 model_broadcast_f32x8
#define _mm512_castps512_ps256 model_castps512_ps256
#define _mm512_castpd512_pd256 model_castpd512_pd256
#undef _mm512_extractf32x8_ps
#undef _mm512_extractf64x4_pd
#define _mm512_extractf32x8_ps model_extractf32x8_ps
#define _mm512_extractf64x4_pd model_extractf64x4_pd
#define _mm512_ternarylogic_epi32 model_ternarylogic_epi32
#define _mm512_ternarylogic_epi64 model_ternarylogic_epi64
#define _mm512_castps_si512 model_castps_si512
#define _mm512_castpd_si512 model_castpd_si512
#define _mm512_castsi512_ps model_castsi512_ps
#define _mm512_castsi512_pd model_castsi512_pd
#define _mm512_cmp_ps_mask model_cmp_ps_mask
#define _mm512_cmp_pd_mask model_cmp_pd_mask
#define _mm512_mask_blend_ps model_mask_blend_ps
#define _mm512_mask_blend_pd model_mask_blend_pd
#define _mm512_unpacklo_ps model_unpacklo_ps
#define _mm512_unpackhi_ps model_unpackhi_ps
#define _mm512_unpacklo_pd model_unpacklo_pd
#define _mm512_unpackhi_pd model_unpackhi_pd
#define _mm512_castps_pd model_castps_pd
#define _mm512_castpd_ps model_castpd_ps
#define _mm512_castps256_ps512 model_castps256_ps512
#undef _mm512_insertf32x8
#undef _mm512_shuffle_f32x4
#define _mm512_insertf32x8 model_insertf32x8_ps
#define _mm512_shuffle_f32x4 model_shuffle_f32x4_ps
#define _mm512_permutex2var_ps model_permutex2var_ps
#define _mm512_loadu_si512 model_loadu_si512
#define _mm256_maskz_loadu_ps model_half_maskz_loadu_ps

#endif
