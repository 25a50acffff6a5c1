/* How an instruction set takes one row where the numbers of its products, and the caches, do not matter: always as many
 * vectors of sums, LF_MOST_VECTORS_1 and LF_SPLIT_VECTORS_1 of them. For some they do: vec_avx512.h.
 * Next: vec_avx2.h and the others that include it. */
#ifndef LF_ONE_ROW_H
#define LF_ONE_ROW_H

#include <stddef.h>

#include "inline.h"

/* Of one row's sums of so many products. */
LF_INLINE size_t row_vectors_f32(size_t products, size_t near_bytes) {
    return (void)products, (void)near_bytes, LF_MOST_VECTORS_1;
}
LF_INLINE size_t row_vectors_f64(size_t products, size_t near_bytes) {
    return (void)products, (void)near_bytes, LF_MOST_VECTORS_1;
}
/* Whether the epilogue of so many products follows each tile of one row. */
LF_INLINE int row_streams_f32(size_t products, size_t near_bytes) { return (void)products, (void)near_bytes, 0; }
LF_INLINE int row_streams_f64(size_t products, size_t near_bytes) { return (void)products, (void)near_bytes, 0; }
/* As row_vectors, of blocks with three weights for four sums. */
LF_INLINE size_t split_vectors_f32(size_t products, size_t near_bytes) {
    return (void)products, (void)near_bytes, LF_SPLIT_VECTORS_1;
}
LF_INLINE size_t split_vectors_f64(size_t products, size_t near_bytes) {
    return (void)products, (void)near_bytes, LF_SPLIT_VECTORS_1;
}

#endif
