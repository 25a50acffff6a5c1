/* Compiles the functions from here to target_end.h for LF_TARGET, a string such as "avx2,fma", in a baseline object.
 * The compiler's own header comes first: clang refuses a second target on the intrinsics that it declares. */
#ifndef LF_TARGET
#error "define LF_TARGET before target_begin.h"
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

/* The parts of AVX-512 that lf_cpu_decide asks for. */
#ifndef LF_AVX512_TARGET
#define LF_AVX512_TARGET "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"
#endif

#define LF_PRAGMA_TEXT(text) _Pragma(#text)
#define LF_PRAGMA(text) LF_PRAGMA_TEXT(text)
#ifdef __clang__
LF_PRAGMA(clang attribute push(__attribute__((target(LF_TARGET))), apply_to = function))
#else
LF_PRAGMA(GCC push_options)
LF_PRAGMA(GCC target(LF_TARGET))
#endif
