/* lstmfast: recurrent layers of Keras, computed on a CPU.
 *
 * The whole public C interface. A layer is created from weights in Keras's layout, is read-only from then on, and may
 * be run by any number of threads at once; state belongs to the caller. Nothing here keeps a pointer that the caller
 * passed in, and nothing prints or exits but GCC's OpenMP runtime, where the system gives it no thread
 * (docs/threads.md). Sizes are in elements unless the name ends in _bytes. Next: core/layer.c. */
#ifndef LSTMFAST_H
#define LSTMFAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lf_status {
    LF_OK = 0,
    LF_INVALID,     /* an argument is out of its range; nothing was read or written */
    LF_NO_MEMORY,   /* no memory, or a size overflows; nothing was written but by some of several calls or products */
    LF_UNAVAILABLE, /* this CPU, or this build, lacks the instruction set that was asked for */
    LF_INTERRUPTED, /* the caller's own function said so; nothing is left of what was begun */
} lf_status;

typedef enum lf_real { LF_F32, LF_F64, LF_REAL_COUNT } lf_real;

/* What a layer computes from x (rows, features) and its state; the weights' shapes are Keras's:
 *   LF_LSTM              kernel (features, 4u)  recurrent (u, 4u)  bias (4u)     gates i, f, c, o
 *   LF_GRU               kernel (features, 3u)  recurrent (u, 3u)  bias (2, 3u)  gates z, r, h; reset after the matmul
 *   LF_GRU_RESET_BEFORE  kernel (features, 3u)  recurrent (u, 3u)  bias (3u)     gates z, r, h
 *   LF_SIMPLE_RNN        kernel (features, u)   recurrent (u, u)   bias (u)
 *   LF_DENSE             kernel (features, u)   -                  bias (u) */
typedef enum lf_cell { LF_LSTM, LF_GRU, LF_GRU_RESET_BEFORE, LF_SIMPLE_RNN, LF_DENSE, LF_CELL_COUNT } lf_cell;

/* A Keras activation: its number from lf_activation_find, and up to three parameters (see kernels/activations.h). */
typedef struct lf_activation {
    int kind;
    double parameters[3];
} lf_activation;

typedef struct lf_layer_config {
    lf_cell cell;
    lf_real real;                       /* type of weights, inputs, outputs and arithmetic */
    size_t features, units;             /* both >= 1 */
    lf_activation activation;           /* of the candidate and the new state (recurrent), of the output (dense) */
    lf_activation recurrent_activation; /* of the gates; ignored by cells that have none */
    const void *kernel;                 /* C order, as above */
    const void *recurrent_kernel;       /* C order, as above; NULL for LF_DENSE, and for an LF_LSTM whose h x holds */
    const void *bias;                   /* C order, as above; NULL for none */
    int (*interrupted)(void);           /* asked every few milliseconds of packing; NULL: never interrupted */
} lf_layer_config;

typedef struct lf_layer lf_layer;

enum { LF_AXES = 3 };

/* What is seen of a grid (size[0], size[1], size[2], channels), from each place of another: a window of `extent` taps,
 * `dilation` apart, that begins at place * stride - before. Outside of the grid there are zeros. A grid of fewer axes
 * has them last, and 1 (or `before` 0) for the others. */
typedef struct lf_windows {
    size_t channels;
    size_t size[LF_AXES], extent[LF_AXES], stride[LF_AXES], dilation[LF_AXES], before[LF_AXES];
    ptrdiff_t axis_stride[LF_AXES], channel_stride; /* elements from one to the next */
} lf_windows;

/* What makes of an lf_run a call over grids: each place is computed like a row of its own. The layer is LF_DENSE, or an
 * LF_LSTM whose h x holds, and its features are the window of x, (extent ..., channels) in C order, and behind it that
 * of h. In lf_run, a row is then a sample: x is (batch, steps, grid), y and every state (batch, [steps,] places ...,
 * units), contiguous from the places on. final_h and final_c may not be initial_h and initial_c. */
typedef struct lf_convolution {
    size_t places[LF_AXES];
    lf_windows x;
    lf_windows h; /* LF_LSTM only: its channels are the units, its size the places, its strides those of a state */
    size_t first, rows; /* with one step: only so many of the batch * places, from that one on; 0 rows: all */
} lf_convolution;

/* One call of a layer over (batch, steps, features). A dense layer takes steps = 1 and ignores mask, states and flags.
 * Strides are in elements; the last axis of x, y and every state is contiguous. x may overlap nothing that is written.
 * An x_step_stride of 0 repeats one step (Keras's RepeatVector): it is projected once. */
typedef struct lf_run {
    size_t batch, steps;
    const void *x; /* (batch, steps, features) */
    ptrdiff_t x_row_stride, x_step_stride;
    const uint8_t *mask; /* (batch, steps), 0 = masked; NULL when every step is valid */
    ptrdiff_t mask_row_stride, mask_step_stride;
    const void *initial_h; /* (batch, units) C order, or NULL for zeros; may be final_h */
    const void *initial_c; /* (batch, units) C order, or NULL for zeros; may be final_c; LSTM only */
    void *y; /* (batch, steps, units) when return_sequences, else (batch, units), then y_step_stride = 0 */
    ptrdiff_t y_row_stride, y_step_stride;
    void *final_h; /* (batch, units) C order, or NULL when not wanted */
    void *final_c; /* (batch, units) C order, or NULL when not wanted; LSTM only */
    int return_sequences;
    int go_backwards;         /* read x from its last step on; y stays in processing order, as in Keras */
    int zero_output_for_mask; /* a masked step's output is 0 instead of the previous output */
    int threads;              /* at most this many; 0 = lf_threads(), less those that other calls keep busy */
    /* Instead of x: which of a few known inputs each step takes, and what lf_layer_project made of those (an Embedding
     * in front of the layer). NULL table: x counts. */
    const void *table; /* (table_rows, lf_projection_width) */
    size_t table_rows;
    const int32_t *indices; /* (batch, steps), each in [0, table_rows) */
    ptrdiff_t index_row_stride, index_step_stride;
    const lf_convolution *convolution; /* NULL: rows are sequences */
} lf_run;

lf_status lf_layer_create(const lf_layer_config *config, lf_layer **layer);
lf_status lf_layer_run(const lf_layer *layer, const lf_run *run);
/* How calls of several layers belong together: each for itself, as the directions of a Bidirectional, of which none may
 * write what another reads or writes; or on top of each other, the lowest first: runs[i]->x and its strides are those
 * of runs[i - 1]->y, which is a sequence, and all layers are recurrent. */
typedef enum lf_together { LF_BESIDE, LF_ABOVE } lf_together;

/* The same bits as one call after the other, but at the same time where that is sooner: two beside each other with half
 * of the threads each, those above each other one step apart, on a thread each. */
lf_status lf_layers_run(const lf_layer *const *layers, const lf_run *const *runs, int count, lf_together together);
enum { LF_LEVELS_MOST = 8 };            /* that run at once */
void lf_layer_destroy(lf_layer *layer); /* NULL is allowed */

/* projection (rows, lf_projection_width) = what the layer sums up of x (rows, features), bias included, in a layout of
 * its own. The width is 0 for a layer whose steps can not start from that. */
size_t lf_projection_width(const lf_layer *layer);
lf_status lf_layer_project(const lf_layer *layer, const void *x, ptrdiff_t x_row_stride, size_t rows, void *projection);

/* What one pass over an array makes of each row of it. Rows know nothing of each other. */
typedef enum lf_pass_kind {
    LF_PASS_ACTIVATION, /* y = activation(x); softmax and its kin work along a row */
    LF_PASS_SCALE,      /* y = (x - shift) * scale + offset */
    LF_PASS_PRELU,      /* y = max(x, 0) + scale * min(x, 0) */
    LF_PASS_MASK,       /* y = x, times 0 where a row holds nothing but mask_value; `kept` says where it does not */
    LF_PASS_LAYER_NORM, /* y = (x - mean) / sqrt(variance + epsilon) * scale + offset, both of the row */
    LF_PASS_UNIT_NORM,  /* y = x / sqrt(max(sum of the row's squares, epsilon)) * scale + offset */
    LF_PASS_DOT,        /* y = the sum of the row's x * scale, one number */
    LF_PASS_MEAN,       /* of the steps of each window: the mean, column by column */
    LF_PASS_SUM,        /* their sum */
    LF_PASS_MAX,        /* the largest number, or NaN where there is one */
    LF_PASS_COUNT
} lf_pass_kind;

/* A row has `columns` columns or, from LF_PASS_MEAN on, `steps` of them. Window w of those spans `extent`
 * steps from w * stride - before on, without what lies outside of the row, and holds one step at least. */
typedef struct lf_pass {
    lf_pass_kind kind;
    lf_real real;
    lf_activation activation;
    size_t rows, columns; /* where one is 0, nothing is written */
    const void *x;        /* (rows, columns) or (rows, steps, columns) */
    void *y;              /* (rows, columns), which may be x; or, which may not, (rows) or (rows, windows, columns) */
    const void *shift, *scale, *offset; /* (columns) each; NULL: 0, 1 and 0 */
    double epsilon, mask_value;
    uint8_t *kept; /* (rows), of LF_PASS_MASK: 1 or 0 */
    size_t steps, windows, extent, stride, before;
    const uint8_t *step_mask; /* (rows, steps), of a mean or sum: 0 = the step does not count; NULL: all do */
    int threads;              /* as of lf_run */
} lf_pass;

lf_status lf_pass_run(const lf_pass *pass);

/* y[i] = a[i] b[i]: products of matrices that are no layer's weights, such as an attention's. A row of y has the bits
 * that a layer LF_DENSE with the kernel b[i] would give it. */
typedef struct lf_products {
    lf_real real;
    size_t count, rows, inner, columns;
    const void *a; /* (count, rows, inner), the last axis contiguous */
    ptrdiff_t a_stride, a_row_stride;
    const void *b; /* (count, inner, columns) */
    ptrdiff_t b_stride, b_row_stride, b_column_stride;
    void *y;     /* (count, rows, columns) C order */
    int threads; /* as of lf_run */
} lf_products;

lf_status lf_products_run(const lf_products *products);

/* Memory for arrays that calls write: as realloc, but aligned, and some of what is given back is kept for those that
 * follow. NULL takes a block, 0 bytes give it back; NULL when there is none, then the block stays as it is. */
void *lf_block_resize(void *block, size_t bytes);

/* Number of the activation `name`, or -1. */
int lf_activation_find(const char *name);
const char *lf_activation_name(int kind); /* NULL past the last */

/* The threads a call may use: a number set by lf_set_threads, else what environment, affinity and quota allow. */
int lf_threads(void);
/* 0 returns to the default. *before, where not NULL, becomes what was set before. */
lf_status lf_set_threads(int threads, int *before);

/* For tests: as if there were so many processors, none of them crowded; 0 counts them again. No team is larger. */
void lf_assume_processors(int count);

/* Instruction sets, best first, that this build holds and this CPU runs: name number `index`, NULL past the last. */
const char *lf_isa_available(int index);
const char *lf_isa(void);                  /* the one that new layers use */
lf_status lf_isa_select(const char *name); /* for new layers; NULL returns to the best */

#ifdef __cplusplus
}
#endif
#endif
