/* A packed layer, and what the files of core/ share. Next: layer.c, then sequence.c. */
#ifndef LF_LAYER_H
#define LF_LAYER_H

#include "../isa/cpu.h"
#include "../kernels/kernels.h"

struct lf_layer {
    lf_panels panels;
    lf_panels candidate; /* of a GRU that resets before: panels.candidate */
    lf_cell cell;
    lf_real real;
    size_t element_bytes;
    size_t weight_bytes; /* of all panels */
    const lf_kernels *kernels;
};

/* A whole number of lines of memory, and of the widest vectors. */
enum { LF_ALIGNMENT = LF_LINE_BYTES };

/* Rows that go through the steps at once where they are lanes. */
static inline size_t lf_lanes_rows(const lf_layer *layer) {
    return layer->kernels->strip_vectors * layer->kernels->lanes;
}

/* *result = a * b, a + b; false where that does not fit a size_t. */
static inline int lf_multiply(size_t a, size_t b, size_t *result) { return !__builtin_mul_overflow(a, b, result); }
static inline int lf_sum(size_t a, size_t b, size_t *result) { return !__builtin_add_overflow(a, b, result); }
static inline size_t lf_smaller(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t lf_round_up(size_t a, size_t unit) { return (a + unit - 1) / unit * unit; }

/* Which of `all` things a part begins with, where so many parts share them out; of part number `parts` the end. */
static inline size_t lf_part_begin(size_t all, size_t part, size_t parts) {
    return part * (all / parts) + lf_smaller(part, all % parts);
}

static inline const char *lf_at(const void *base, ptrdiff_t index, size_t element_bytes) {
    return (const char *)base + index * (ptrdiff_t)element_bytes;
}

/* Time runs from step 0 in processing order; x and the mask are read from the other end with go_backwards. */
static inline ptrdiff_t lf_time_of(const lf_run *run, size_t step) {
    return (ptrdiff_t)(run->go_backwards ? run->steps - 1 - step : step);
}

struct lf_rows { /* (rows, units), or one row for all where stride is 0 */
    char *data;
    ptrdiff_t stride; /* elements */
};

/* Memory aligned to LF_ALIGNMENT, not cleared; NULL when there is none. */
void *lf_allocate(size_t bytes);
void lf_release(void *memory);

int lf_is_activation(lf_activation activation);

/* pack.c: fills layer->panels from Keras's arrays. */
lf_status lf_pack(const lf_layer_config *config, lf_layer *layer);
void lf_pack_release(lf_layer *layer);
/* Other weights of the same shape in place of those of a dense layer without a bias, which nobody runs meanwhile. */
lf_status lf_pack_again(const lf_layer_config *config, lf_layer *layer);

/* sequence.c, together.c: everything of lf_layer_run and lf_layers_run behind the checks. */
lf_status lf_sequence_run(const lf_layer *layer, const lf_run *run);
lf_status lf_sequence_run_pair(const lf_layer *const layers[2], const lf_run *const runs[2]);
lf_status lf_sequence_run_stack(const lf_layer *const *layers, const lf_run *const *runs, size_t count);

/* Vectors of sums of a row: of few units, mostly empty lanes, which take as long. */
static inline double lf_sum_vectors(const lf_panels *panels) {
    return (double)(panels->full_blocks * LF_BLOCK_VECTORS + panels->tail_vectors);
}

/* How much of a whole block the last one is. */
static inline double lf_last_block(const lf_panels *panels) {
    return panels->tail_vectors > 0 ? (double)panels->tail_vectors / LF_BLOCK_VECTORS : 1;
}

/* Vectors of states of a row: those of few units of many rows lie side by side. */
static inline double lf_state_vectors(const lf_layer *layer, size_t rows) {
    const lf_panels *panels = &layer->panels;
    const size_t lanes = layer->kernels->lanes, tail = panels->tail_units;
    const double full = (double)(panels->full_blocks * panels->block_units) / (double)lanes;
    if (rows > 1 && 2 * tail <= lanes) return full + (double)tail / (double)lanes;
    const size_t tail_vectors = (tail + lanes - 1) / lanes;
    return full + (double)tail_vectors;
}

/* speed.c: nanoseconds that this core takes for a product of vectors at best. It is found out for a call of so many
 * that a team may be worth it. */
double lf_product_ns(const lf_kernels *kernels, double products);

/* Rows that go through a step together, of which it reads so much. */
size_t lf_rows_of_chunk(const lf_layer *layer, size_t row_bytes);
/* Tiles of such a chunk where others hold the processors. */
enum { LF_CROWDED_TILES = 2 };
/* Between the work spaces of two threads, each of which goes through its rows in every step: a core fetches ahead what
 * would be the next ones, out of the cache of the other (LSTM(64) behind an Embedding, 32 rows on two cores that share
 * no cache: 1.30 times as fast, with 4 KiB 1.16; Zen 5). */
enum { LF_APART_BYTES = 16 << 10 };

/* convolution.c: the same of a call over grids. */
lf_status lf_convolution_run(const lf_layer *layer, const lf_run *run);

#endif
