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

/* For vec_<isa>.h where looking up does not pay, and LF_LOOKS_UP is 0: nothing calls these. */
#define LF_NO_LOOK_UP(suffix)                                                                                          \
    LF_INLINE vec_##suffix look_up_##suffix(const void *table, vec_##suffix a) {                                       \
        (void)table;                                                                                                   \
        return a;                                                                                                      \
    }                                                                                                                  \
    LF_INLINE vec_##suffix power_of_part_##suffix(vec_##suffix a, vec_##suffix fraction) {                             \
        (void)fraction;                                                                                                \
        return power_of_two_##suffix(a);                                                                               \
    }

#define LF_JOIN_(a, b) a##b
#define LF_JOIN(a, b) LF_JOIN_(a, b)

#endif
