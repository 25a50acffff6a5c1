/* What core/ asks of a kernel: one packed layer, one timestep of some rows and some unit blocks, in; new state, out.
 * Kernels are pure: they allocate nothing, start no thread, keep no state and report no error.
 * Next: kernels/all.inc, then lstm_step.inc. */
#ifndef LF_KERNELS_H
#define LF_KERNELS_H

#include <stdatomic.h>

#include <lstmfast.h>

#include "activations.h"

/* Sums over k run in chains of at most LF_CHAIN products, added up in order; in an LSTM with at least LF_DEEP products
 * in all, of LF_DEEP_CHAIN. One long chain would have twice the rounding error of other libraries from k = 170 on.
 * Chains of 128 keep the largest error below 1.0 of theirs (of 64: 0.8; of 256: 1.8) and those of 256 behind a depth of
 * 512 below 0.95 (a GRU's above 1.5); chains half as long cost 3 to 6 % of the time (`python -m bench`, Zen 4).
 * In float64, where others sum up one row's products in parts, they are shorter (100 units of one input: 1.0 of their
 * error instead of 2.1, for 0.7 % of the time; Zen 5).
 * A chain spans the end of an LSTM's input only where that hardly lengthens it: both together fit LF_JOINED_CHAIN, or
 * the state is LF_JOINED_SHARE times the input (at 4 times, LSTM(96) of 24 features has 1.7 times the error of others
 * instead of 1.0, for 0.5 to 2 % of the time; Zen 4). A SimpleRNN has no gates that damp what its sums are off by: its
 * chains are shorter and never joined. The split depends on cell, features and units alone: every path rounds alike. */
enum {
    LF_CHAIN = 128,
    LF_DOUBLE_CHAIN = 64,
    LF_DEEP = 512,
    LF_DEEP_CHAIN = 256,
    LF_JOINED_CHAIN = 64,
    LF_JOINED_SHARE = 16,
    LF_UNGATED_CHAIN = 32
};

/* Vectors of sums per row that a full block keeps in registers: four gates of one vector of units, or four vectors of
 * units where a cell has one gate. */
#define LF_BLOCK_VECTORS 4

typedef enum lf_fused {
#define LF_FUSED(activation, recurrent) LF_FUSED_##activation##_##recurrent,
#include "fused_list.inc"
#undef LF_FUSED
    LF_FUSED_COUNT,
    LF_FUSED_NONE = LF_FUSED_COUNT
} lf_fused;

/* A layer's weights as the kernels read them. A block holds `block_units` units, gate after gate, in strips of
 * `strip_vectors` vectors: what a tile of many rows has registers for.
 *   kernel    [block][strip][features][vector of a strip]    vectors of a block: [weight gate][unit]
 *   recurrent [block][strip][units][vector of a strip]
 *   bias      [block][gate][unit]
 * The last block may be a narrow one: `tail_units` units whose gates together fill `tail_vectors` vectors, up to
 * one strip of them or a whole block.
 * Weight gates are the gates, but for a GRU that resets after the product: its candidate's two sums, of x and of h,
 * stay apart, so x has no weights for the fourth sum and h none for the third; its blocks are one strip. */
typedef struct lf_panels {
    size_t features, units;
    size_t gates;        /* sums per unit: 4 (LSTM, GRU), 2 (gates of a GRU that resets before) or 1 */
    size_t weight_gates; /* 3 for GRU, else gates */
    size_t block_units;  /* units of a full block: LF_BLOCK_VECTORS * lanes / gates */
    size_t full_blocks, block_count;
    size_t tail_units, tail_vectors; /* 0 where units is a multiple of block_units */
    size_t tail_width;               /* units that the tail's vectors have room for */
    size_t weight_width;             /* weights of one k in a full block */
    size_t strip_vectors;
    int far;            /* so many weights that they are fetched ahead of their use */
    size_t own_blocks;  /* the weights of more come from a third cache level that answers late */
    int two_loads;      /* of a core in a cycle, not more */
    size_t near_bytes;  /* of a core's first cache level */
    size_t chain;       /* products of a chain at most */
    int h_restarts;     /* the state's products begin a chain of their own */
    size_t block_width; /* sums of a full block: LF_BLOCK_VECTORS * lanes */
    const void *kernel, *recurrent, *bias;
    const void *columns;               /* (4 units, features + units), where rows may be lanes: sum by sum; or NULL */
    const void *column_bias;           /* (4 units, strip_vectors * lanes): each the same in all lanes */
    const struct lf_panels *candidate; /* second product of a GRU that resets before, else NULL */
    lf_activation activation, recurrent_activation;
    size_t zeros_least;  /* the last inputs of a step, h or else of x, may be left out where so many are 0; 0: never */
    lf_fused fused;      /* pair of activations that the epilogue computes in registers */
    int row_activations; /* an activation needs whole rows */
} lf_panels;

enum { LF_ROW_SUMS = 4 };

/* What a tile's loop fetches beside its products: nothing; what it reads itself in a moment; or what comes after it,
 * which the first cache level would not keep for so long. */
enum { LF_FETCH_NOTHING, LF_FETCH_SOON, LF_FETCH_LATER };

/* Where a step of few rows notes down the tiles it runs, for steps like it to run them again: to find them out takes
 * longer than the products of a small layer. Like it are those of the same rows, blocks and inputs, in the same
 * direction and with no zeros left out, whatever they read and write. Empty at first: all zeros in `state`. */
enum { LF_TAPE_BYTES = 6656 };
typedef struct lf_tape {
    enum { LF_TAPE_EMPTY, LF_TAPE_RECORDS, LF_TAPE_PLAYS, LF_TAPE_TOO_SHORT } state;
    _Alignas(64) unsigned char memory[LF_TAPE_BYTES];
} lf_tape;

/* One timestep. Strides are in elements between rows; the last axis of each array is contiguous. */
typedef struct lf_step {
    size_t rows;
    size_t block_begin, block_end;
    size_t zeros;   /* so many of the last inputs are 0, and left out: see panels->zeros_least */
    int descending; /* the last blocks come first: no block needs another, so the numbers are the same */
    const void *x;  /* (rows, features); NULL where `projection` holds bias + x kernel already */
    ptrdiff_t x_stride;
    ptrdiff_t x_ahead;      /* from a row to the one of the next step, which is to be fetched now; 0: it is not */
    const void *projection; /* (rows, block_end - block_begin, block_width) */
    ptrdiff_t projection_stride;
    const ptrdiff_t *places;       /* (rows): where in `projection` each begins, which then has no stride; or NULL */
    const ptrdiff_t *places_ahead; /* the same of the next step, whose are to be fetched now; or NULL */
    const void *h_prev;            /* (rows, units) */
    ptrdiff_t h_prev_stride;
    void *h_next; /* (rows, units), never h_prev */
    ptrdiff_t h_next_stride;
    const void *c_prev; /* (rows, units); LSTM only */
    ptrdiff_t c_prev_stride;
    void *c_next; /* (rows, units); may be c_prev */
    ptrdiff_t c_next_stride;
    void *row_sums; /* (rows, LF_ROW_SUMS, units): scratch where sums must be gathered as whole rows first */
    lf_tape *tape;  /* of the steps like this one; NULL: none */
} lf_step;

typedef struct lf_lanes_cell lf_lanes_cell;

/* One timestep of strip_vectors vectors of rows at most, which are lanes: see lanes.inc. */
typedef struct lf_lanes {
    const lf_lanes_cell *cell;
    size_t rows;
    const void *x; /* (rows, features) */
    ptrdiff_t x_stride;
    void *x_lanes; /* (features, width): scratch. The width are the rows, rounded up to whole vectors */
    void *h, *c;   /* (units, width): of the step before, and then of this one; c only where the cell has it */
    void *y;       /* (rows, units), or NULL */
    ptrdiff_t y_stride;
    ptrdiff_t x_ahead, y_ahead; /* from a row to the one of the next step, which is fetched; 0: it is not */
} lf_lanes;

/* projection[r][block] = bias + x[r] kernel, for the blocks of `step`; x as in lf_step. */
typedef struct lf_project {
    size_t rows;
    size_t block_begin, block_end;
    const void *x; /* (rows, features) */
    ptrdiff_t x_stride;
    void *projection; /* (rows, block_end - block_begin, block_width) */
    ptrdiff_t projection_stride;
} lf_project;

typedef void lf_step_fn(const lf_panels *panels, const lf_step *step);
typedef void lf_lanes_fn(const lf_panels *panels, const lf_lanes *lanes);
/* (rows, columns) -> (columns, width), and back */
typedef void lf_to_lanes_fn(const void *from, ptrdiff_t stride, size_t rows, size_t columns, void *to);
typedef void lf_from_lanes_fn(const void *from, size_t rows, size_t columns, void *to, ptrdiff_t stride);
typedef void lf_project_fn(const lf_panels *panels, const lf_project *project);
/* Rows begin to end of a pass. */
typedef void lf_pass_fn(const lf_pass *pass, size_t begin, size_t end);

/* Sums of each unit that are made of the same inputs. */
struct lf_sum_run {
    size_t sums; /* 0: no such run, nor another behind it */
    int of_x, of_h;
};

/* A set of numbers of units, from the least to the most of them: a bit for each. */
#define LF_UNITS(least, most) ((2u << (most)) - (1u << (least)))

/* A cell whose rows may be lanes. The sums of a unit come in the order in which Keras has their weights of x, and those
 * of h. */
struct lf_lanes_cell {
    unsigned units; /* LF_UNITS: of how many; 0: of none, and there is none of what follows */
    struct lf_sum_run runs[LF_ROW_SUMS + 1];
    int has_c;
    lf_lanes_fn *step;
};

/* LF_MULTIPLY_CHAINS times `count` products of vectors, as fast as this core makes any. */
typedef void lf_multiply_fn(size_t count);
enum { LF_MULTIPLY_CHAINS = 12 };

/* What core/speed.c found out about kernels. */
typedef struct lf_speed {
    atomic_int product_ps; /* 0: nothing yet */
    atomic_int occasions;
    atomic_llong measured_at;
} lf_speed;

/* One instruction set's kernels for one real type. */
typedef struct lf_kernels {
    const char *isa;
    size_t lanes;
    size_t tile_rows;
    size_t strip_vectors;
    lf_step_fn *step[LF_CELL_COUNT];
    lf_project_fn *project;
    const lf_lanes_cell *lanes_of; /* [LF_CELL_COUNT] */
    lf_to_lanes_fn *to_lanes;      /* NULL where no cell's rows may be lanes */
    lf_from_lanes_fn *from_lanes;
    lf_pass_fn *pass;
    lf_multiply_fn *multiply;
    lf_speed *speed;
} lf_kernels;

/* The tables of this build; an ISA that it lacks has none. */
#define LF_ISA_TABLE(isa) extern const lf_kernels *const lf_kernels_##isa[LF_REAL_COUNT];
#include "isas.inc"
#undef LF_ISA_TABLE

/* dispatch.c */
const lf_kernels *lf_kernels_selected(lf_real real);

#endif
