"""The C interface, csrc/include/lstmfast.h, as Cython sees it."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint8_t


cdef extern from "lstmfast.h" nogil:
    ctypedef enum lf_status:
        LF_OK
        LF_INVALID
        LF_NO_MEMORY
        LF_UNAVAILABLE
        LF_INTERRUPTED

    ctypedef enum lf_real:
        LF_F32
        LF_F64

    ctypedef enum lf_cell:
        LF_LSTM
        LF_GRU
        LF_GRU_RESET_BEFORE
        LF_SIMPLE_RNN
        LF_DENSE

    ctypedef struct lf_activation:
        int kind
        double parameters[3]

    ctypedef struct lf_layer_config:
        lf_cell cell
        lf_real real
        size_t features
        size_t units
        lf_activation activation
        lf_activation recurrent_activation
        const void *kernel
        const void *recurrent_kernel
        const void *bias
        int (*interrupted)() noexcept nogil

    ctypedef struct lf_layer:
        pass

    enum:
        LF_AXES

    ctypedef struct lf_windows:
        size_t channels
        size_t size[3]
        size_t extent[3]
        size_t stride[3]
        size_t dilation[3]
        size_t before[3]
        ptrdiff_t axis_stride[3]
        ptrdiff_t channel_stride

    ctypedef struct lf_convolution:
        size_t places[3]
        lf_windows x
        lf_windows h
        size_t first
        size_t rows

    ctypedef struct lf_run:
        size_t batch
        size_t steps
        const void *x
        ptrdiff_t x_row_stride
        ptrdiff_t x_step_stride
        const uint8_t *mask
        ptrdiff_t mask_row_stride
        ptrdiff_t mask_step_stride
        const void *initial_h
        const void *initial_c
        void *y
        ptrdiff_t y_row_stride
        ptrdiff_t y_step_stride
        void *final_h
        void *final_c
        int return_sequences
        int go_backwards
        int zero_output_for_mask
        int threads
        const void *table
        size_t table_rows
        const int32_t *indices
        ptrdiff_t index_row_stride
        ptrdiff_t index_step_stride
        const lf_convolution *convolution

    lf_status lf_layer_create(const lf_layer_config *config, lf_layer **layer)
    lf_status lf_layer_run(const lf_layer *layer, const lf_run *run)
    ctypedef enum lf_together:
        LF_BESIDE
        LF_ABOVE

    lf_status lf_layers_run(const lf_layer *const *layers, const lf_run *const *runs, int count, lf_together together)
    enum:
        LF_LEVELS_MOST
    void lf_layer_destroy(lf_layer *layer)
    size_t lf_projection_width(const lf_layer *layer)
    lf_status lf_layer_project(const lf_layer *layer, const void *x, ptrdiff_t x_row_stride, size_t rows,
                               void *projection)

    ctypedef enum lf_pass_kind:
        LF_PASS_ACTIVATION
        LF_PASS_SCALE
        LF_PASS_PRELU
        LF_PASS_MASK
        LF_PASS_LAYER_NORM
        LF_PASS_UNIT_NORM
        LF_PASS_DOT
        LF_PASS_MEAN
        LF_PASS_SUM
        LF_PASS_MAX

    ctypedef struct lf_pass:
        lf_pass_kind kind
        lf_real real
        lf_activation activation
        size_t rows
        size_t columns
        const void *x
        void *y
        const void *shift
        const void *scale
        const void *offset
        double epsilon
        double mask_value
        uint8_t *kept
        size_t steps
        size_t windows
        size_t extent
        size_t stride
        size_t before
        const uint8_t *step_mask
        int threads

    lf_status lf_pass_run(const lf_pass *call)

    ctypedef struct lf_products:
        lf_real real
        size_t count
        size_t rows
        size_t inner
        size_t columns
        const void *a
        ptrdiff_t a_stride
        ptrdiff_t a_row_stride
        const void *b
        ptrdiff_t b_stride
        ptrdiff_t b_row_stride
        ptrdiff_t b_column_stride
        void *y
        int threads

    lf_status lf_products_run(const lf_products *products)

    void *lf_block_resize(void *block, size_t size)
    int lf_activation_find(const char *name)
    const char *lf_activation_name(int kind)
    int lf_threads()
    lf_status lf_set_threads(int threads, int *before)
    void lf_assume_processors(int count)
    const char *lf_isa_available(int index)
    const char *lf_isa()
    lf_status lf_isa_select(const char *name)
