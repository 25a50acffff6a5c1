/* The public interface: checks, creation, destruction. A layer is read-only once created.
 * Next: sequence.c (the time loop), convolution.c (that of grids), pack.c (the layout), kernels/lstm_step.inc and
 * kernels/gate_tile.inc below; passes.c for what stands around a layer. */
#define _GNU_SOURCE
#include "layer.h"

#include "../isa/cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
#include <malloc.h>
#elif defined(__linux__)
#include <sys/mman.h>
#endif

static const char *const activation_names[] = {
#define LF_ACTIVATION(name, ...) #name,
#include "../kernels/activations_list.inc"
#undef LF_ACTIVATION
};

const char *lf_activation_name(int kind) {
    return kind >= 0 && kind < LF_ACTIVATION_COUNT ? activation_names[kind] : NULL;
}

int lf_activation_find(const char *name) {
    for (int kind = 0; kind < LF_ACTIVATION_COUNT; kind++)
        if (name != NULL && strcmp(activation_names[kind], name) == 0) return kind;
    return -1;
}

void *lf_allocate(size_t bytes) {
    size_t rounded;
    if (!lf_sum(bytes, LF_ALIGNMENT - 1, &rounded)) return NULL;
    rounded = rounded / LF_ALIGNMENT * LF_ALIGNMENT;
    if (rounded == 0) rounded = LF_ALIGNMENT;
#if defined(_WIN32)
    return _aligned_malloc(rounded, LF_ALIGNMENT);
#elif defined(__linux__) && defined(MADV_HUGEPAGE)
    /* Weights that are read from memory every step come 1.3 times as fast from pages of 2 MiB (Zen 4), and 2 MiB of
     * them from the third cache level 1.02 times (Zen 3). The rest of the last such page stays in small ones. */
    enum { HUGE_PAGE = 2 << 20 };
    if (rounded < HUGE_PAGE) return aligned_alloc(LF_ALIGNMENT, rounded);
    size_t reserved;
    if (!lf_sum(rounded, HUGE_PAGE - 1, &reserved)) return NULL;
    void *memory = aligned_alloc(HUGE_PAGE, reserved / HUGE_PAGE * HUGE_PAGE);
    if (memory != NULL) (void)madvise(memory, rounded / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return memory;
#else
    return aligned_alloc(LF_ALIGNMENT, rounded);
#endif
}

void lf_release(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

int lf_is_activation(lf_activation activation) { return activation.kind >= 0 && activation.kind < LF_ACTIVATION_COUNT; }

static int has_its_recurrent_kernel(const lf_layer_config *config) {
    if (config->cell == LF_DENSE) return config->recurrent_kernel == NULL;
    return config->recurrent_kernel != NULL || config->cell == LF_LSTM;
}

lf_status lf_layer_create(const lf_layer_config *config, lf_layer **result) {
    if (config == NULL || result == NULL || config->cell < 0 || config->cell >= LF_CELL_COUNT || config->real < 0 ||
        config->real >= LF_REAL_COUNT || config->features == 0 || config->units == 0 || config->kernel == NULL ||
        !has_its_recurrent_kernel(config) || !lf_is_activation(config->activation))
        return LF_INVALID;
    const lf_kernels *kernels = lf_kernels_selected(config->real);
    if (kernels->step[config->cell] == NULL) return LF_UNAVAILABLE;
    const int has_gates = config->cell != LF_DENSE && config->cell != LF_SIMPLE_RNN;
    if (has_gates && !lf_is_activation(config->recurrent_activation)) return LF_INVALID;

    lf_layer *layer = lf_allocate(sizeof *layer);
    if (layer == NULL) return LF_NO_MEMORY;
    memset(layer, 0, sizeof *layer);
    layer->cell = config->cell;
    layer->real = config->real;
    layer->element_bytes = config->real == LF_F32 ? sizeof(float) : sizeof(double);
    layer->kernels = kernels;
    const lf_status status = lf_pack(config, layer);
    if (status != LF_OK) {
        lf_release(layer);
        return status;
    }
    *result = layer;
    return LF_OK;
}

void lf_layer_destroy(lf_layer *layer) {
    if (layer == NULL) return;
    lf_pack_release(layer);
    lf_release(layer);
}

size_t lf_projection_width(const lf_layer *layer) {
    if (layer == NULL || layer->cell == LF_DENSE || layer->panels.candidate != NULL) return 0;
    return layer->panels.block_count * layer->panels.block_width;
}

lf_status lf_layer_project(const lf_layer *layer, const void *x, ptrdiff_t x_row_stride, size_t rows,
                           void *projection) {
    const size_t width = lf_projection_width(layer);
    if (width == 0 || x == NULL || projection == NULL) return LF_INVALID;
    if (rows == 0) return LF_OK;
    const lf_project call = {.rows = rows,
                             .block_end = layer->panels.block_count,
                             .x = x,
                             .x_stride = x_row_stride,
                             .projection = projection,
                             .projection_stride = (ptrdiff_t)width};
    const unsigned long long before = lf_set_arithmetic(); /* as in a call, for the same bits */
    layer->kernels->project(&layer->panels, &call);
    lf_restore_arithmetic(before);
    return LF_OK;
}

static int indices_fit(const lf_run *run) {
    for (size_t row = 0; row < run->batch; row++) {
        const int32_t *index = run->indices + (ptrdiff_t)row * run->index_row_stride;
        for (size_t step = 0; step < run->steps; step++, index += run->index_step_stride)
            if (*index < 0 || (size_t)*index >= run->table_rows) return 0;
    }
    return 1;
}

/* Whether windows of so many columns, at these places, can be counted; `columns` becomes how many there are. */
static int windows_fit(const lf_windows *windows, const size_t *places, size_t *columns) {
    *columns = windows->channels;
    if (windows->channels == 0) return 0;
    for (int axis = 0; axis < LF_AXES; axis++) {
        const size_t extent = windows->extent[axis], stride = windows->stride[axis], dilation = windows->dilation[axis];
        size_t begin, reach;
        if (extent == 0 || stride == 0 || dilation == 0 || !lf_multiply(*columns, extent, columns) ||
            !lf_multiply(places[axis], stride, &begin) || !lf_multiply(extent, dilation, &reach) ||
            !lf_sum(begin, reach, &reach) || reach > PTRDIFF_MAX)
            return 0;
    }
    return 1;
}

static lf_status check_convolution(const lf_layer *layer, const lf_run *run) {
    const lf_convolution *convolution = run->convolution;
    const lf_panels *panels = &layer->panels;
    if (run->table != NULL) return LF_INVALID;
    const int has_state = layer->cell == LF_LSTM && panels->recurrent == NULL;
    if (!has_state && layer->cell != LF_DENSE) return LF_INVALID;
    size_t columns, of_h = 0, rows = run->batch, values;
    if (!windows_fit(&convolution->x, convolution->places, &columns)) return LF_INVALID;
    if (has_state) {
        const lf_windows *h = &convolution->h;
        if (h->channels != panels->units || !windows_fit(h, convolution->places, &of_h)) return LF_INVALID;
        for (int axis = 0; axis < LF_AXES; axis++)
            if (h->size[axis] != convolution->places[axis]) return LF_INVALID;
        if ((run->initial_h != NULL && run->initial_h == run->final_h) ||
            (run->initial_c != NULL && run->initial_c == run->final_c))
            return LF_INVALID;
    }
    if (!lf_sum(columns, of_h, &columns) || columns != panels->features) return LF_INVALID;
    for (int axis = 0; axis < LF_AXES; axis++)
        if (!lf_multiply(rows, convolution->places[axis], &rows)) return LF_INVALID;
    if (!lf_multiply(rows, panels->units * layer->element_bytes, &values) || values > PTRDIFF_MAX) return LF_INVALID;
    if (convolution->first > rows || convolution->rows > rows - convolution->first) return LF_INVALID;
    if (convolution->rows == 0 ? convolution->first > 0 : run->steps > 1) return LF_INVALID;
    return LF_OK;
}

static lf_status check_run(const lf_layer *layer, const lf_run *run) {
    if (layer == NULL || run == NULL || run->threads < 0 || run->steps == 0) return LF_INVALID;
    if (run->batch == 0) return LF_OK;
    if (run->table != NULL && (lf_projection_width(layer) == 0 || run->indices == NULL || !indices_fit(run)))
        return LF_INVALID;
    if ((run->x == NULL && run->table == NULL) || run->y == NULL || (layer->cell == LF_DENSE && run->steps != 1))
        return LF_INVALID;
    if (layer->cell != LF_LSTM && (run->initial_c != NULL || run->final_c != NULL)) return LF_INVALID;
    return run->convolution == NULL ? LF_OK : check_convolution(layer, run);
}

static size_t places_of(const lf_convolution *convolution) {
    return convolution->places[0] * convolution->places[1] * convolution->places[2];
}

lf_status lf_layer_run(const lf_layer *layer, const lf_run *run) {
    const lf_status status = check_run(layer, run);
    if (status != LF_OK || run->batch == 0) return status;
    if (run->convolution == NULL) return lf_sequence_run(layer, run);
    return places_of(run->convolution) > 0 ? lf_convolution_run(layer, run) : LF_OK;
}

static lf_status run_beside(const lf_layer *const *layers, const lf_run *const *runs, int count) {
    lf_status status = LF_OK;
    for (int i = 0; i < count && status == LF_OK; i++) {
        const int both = i + 1 < count && runs[i]->convolution == NULL && runs[i + 1]->convolution == NULL &&
                         runs[i]->batch > 0 && runs[i + 1]->batch > 0;
        status = both ? lf_sequence_run_pair(layers + i, runs + i) : lf_layer_run(layers[i], runs[i]);
        i += both;
    }
    return status;
}

/* Whether the call reads what the one below writes, step by step. */
static int lies_on(const lf_layer *layer, const lf_run *run, const lf_layer *below, const lf_run *below_run) {
    return run->convolution == NULL && below_run->convolution == NULL && run->table == NULL &&
           layer->cell != LF_DENSE && below->cell != LF_DENSE && layer->real == below->real &&
           layer->panels.features == below->panels.units && below_run->return_sequences && run->x == below_run->y &&
           run->batch == below_run->batch && run->steps == below_run->steps &&
           run->x_row_stride == below_run->y_row_stride && run->x_step_stride == below_run->y_step_stride &&
           (run->steps == 1 || run->x_step_stride != 0);
}

lf_status lf_layers_run(const lf_layer *const *layers, const lf_run *const *runs, int count, lf_together together) {
    const int above = together == LF_ABOVE;
    if (layers == NULL || runs == NULL || count < 1 || (!above && together != LF_BESIDE)) return LF_INVALID;
    for (int i = 0; i < count; i++) {
        const lf_status status = check_run(layers[i], runs[i]);
        if (status != LF_OK) return status;
        if (above && i > 0 && !lies_on(layers[i], runs[i], layers[i - 1], runs[i - 1])) return LF_INVALID;
    }
    if (!above || count == 1) return run_beside(layers, runs, count);
    return runs[0]->batch == 0 ? LF_OK : lf_sequence_run_stack(layers, runs, (size_t)count);
}
