/* Marks shared by every vector header: LF_INLINE functions never leave the object that includes them, so that an
 * AVX-512 copy can not be linked into baseline code. Next: vec_generic.h and its kin. */
#ifndef LF_INLINE_H
#define LF_INLINE_H

#if defined(_MSC_VER) && !defined(__clang__)
#error "lstmfast needs gcc or clang (clang-cl on Windows): its kernels use GNU attributes and target pragmas"
#endif
/* The loop below has a constant count, and its arrays become registers once it is unrolled. LF_UNROLL_4: of any count.
 */
#ifdef __clang__
#define LF_UNROLL _Pragma("clang loop unroll(full)")
#define LF_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define LF_UNROLL _Pragma("GCC unroll 16")
#define LF_UNROLL_4 _Pragma("GCC unroll 4")
#endif
#define LF_INLINE static inline __attribute__((always_inline, unused))

#define LF_JOIN_(a, b) a##b
#define LF_JOIN(a, b) LF_JOIN_(a, b)

#endif
