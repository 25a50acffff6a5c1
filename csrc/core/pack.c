/* Keras's weight layout -> panels: the only code that knows both. Runs once per layer, so it is plain C.
 *   kernel (k, gates * units), gate-major columns  ->  panel [block][k][gate][unit of the block]
 * Next: sequence.c runs the panels. */
#include <string.h>

#include "layer.h"

/* Where the sums of unit `unit` stand: block, and place of gate 0 in the block's width. */
typedef struct place {
    size_t block, offset, gate_stride;
} place;

static place place_of(const lf_panels *panels, size_t unit) {
    const size_t block = unit / panels->block_units;
    const size_t lanes = panels->block_width / LF_BLOCK_VECTORS;
    const size_t width = block < panels->full_blocks ? panels->block_units
                                                     : panels->tail_vectors * lanes / panels->gates;
    return (place){block, unit % panels->block_units, width};
}

static void copy_element(void *to, size_t to_index, const void *from, size_t from_index, size_t bytes) {
    memcpy((char *)to + to_index * bytes, (const char *)from + from_index * bytes, bytes);
}

/* rows (count, gates * units) -> panel; the panel was cleared, so that a tail's spare lanes hold zeros. */
static void pack_rows(const lf_panels *panels, const void *rows, size_t count, void *panel, size_t bytes) {
    const size_t units = panels->units;
    for (size_t unit = 0; unit < units; unit++) {
        const place at = place_of(panels, unit);
        const size_t block_begin = at.block * count * panels->block_width;
        const size_t width = at.gate_stride * panels->gates;
        for (size_t k = 0; k < count; k++)
            for (size_t gate = 0; gate < panels->gates; gate++)
                copy_element(panel, block_begin + k * width + gate * at.gate_stride + at.offset, rows,
                             k * panels->gates * units + gate * units + unit, bytes);
    }
}

static void lay_out(lf_panels *panels, size_t lanes) {
    panels->block_width = LF_BLOCK_VECTORS * lanes;
    panels->block_units = panels->block_width / panels->gates;
    panels->full_blocks = panels->units / panels->block_units;
    panels->tail_units = panels->units % panels->block_units;
    panels->tail_vectors = 0;
    if (panels->tail_units > 0)
        for (panels->tail_vectors = 1; panels->tail_vectors * lanes < panels->tail_units * panels->gates;)
            panels->tail_vectors *= 2;
    panels->block_count = panels->full_blocks + (panels->tail_units > 0);
}

static int is_default(const lf_layer_config *config) {
    return config->cell == LF_LSTM && config->activation.kind == LF_ACTIVATION_tanh &&
           config->recurrent_activation.kind == LF_ACTIVATION_sigmoid;
}

lf_status lf_pack(const lf_layer_config *config, lf_layer *layer) {
    lf_panels *panels = &layer->panels;
    const size_t bytes = layer->element_bytes;
    panels->features = config->features;
    panels->units = config->units;
    panels->gates = config->cell == LF_LSTM ? 4 : 1;
    panels->activation = config->activation;
    panels->recurrent_activation = config->recurrent_activation;
    panels->default_activations = is_default(config);
    panels->row_activations = lf_activation_needs_row(config->activation.kind) ||
                              (panels->gates > 1 && lf_activation_needs_row(config->recurrent_activation.kind));
    lay_out(panels, layer->kernels->lanes);

    /* One allocation of bias, kernel and recurrent panels, each a whole number of blocks. */
    const size_t inputs = config->recurrent_kernel != NULL ? config->units : 0;
    size_t depth, sums, total_bytes;
    if (!lf_sum(config->features, inputs, &depth) || !lf_sum(depth, 1, &depth) ||
        !lf_multiply(panels->block_count, panels->block_width, &sums) || !lf_multiply(sums, depth, &total_bytes) ||
        !lf_multiply(total_bytes, bytes, &total_bytes))
        return LF_NO_MEMORY;
    char *memory = lf_allocate(total_bytes);
    if (memory == NULL) return LF_NO_MEMORY;
    memset(memory, 0, total_bytes);
    layer->weight_bytes = total_bytes;

    char *kernel = memory + sums * bytes;
    char *recurrent = kernel + sums * config->features * bytes;
    if (config->bias != NULL) pack_rows(panels, config->bias, 1, memory, bytes);
    pack_rows(panels, config->kernel, config->features, kernel, bytes);
    if (inputs > 0) pack_rows(panels, config->recurrent_kernel, inputs, recurrent, bytes);
    panels->bias = memory;
    panels->kernel = kernel;
    panels->recurrent = inputs > 0 ? recurrent : NULL;
    return LF_OK;
}

void lf_pack_release(lf_layer *layer) {
    lf_release((void *)layer->panels.bias); /* the one allocation begins with it */
}
