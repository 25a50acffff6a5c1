/* Keras's weight layout -> panels: the only code that knows both. Runs once per layer, so it is plain C.
 *   kernel (k, gates * units), gate-major columns  ->  panel [block][strip][k][values of the strip]
 * where a block's strips, side by side, hold [gate][unit of the block].
 * Next: sequence.c runs the panels. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "../isa/cpu.h"
#include "layer.h"
#include "threads.h"

/* Layers from here on fetch their weights ahead: a few percent of 8 MiB in the third cache level, up to a third of the
 * time of a few rows where all come from memory, while a layer of 2 MiB lost 5 % (AVX2, Zen 3). */
enum { FAR_BYTES = 4 << 20 };

/* Memory that is cleared or filled between two questions whether to go on: 5 ms where fresh memory comes slowly. */
enum { ASK_BYTES = 16 << 20 };

/* Which of Keras's gates, in the order of its columns, stand in a panel. */
struct gates {
    size_t count;
    size_t columns[4];
};

/* What of a cell goes where: the gates of the first product, and of the second where a cell has one. */
struct recipe {
    size_t sums; /* of the first product, per unit */
    struct gates first, second;
    size_t keras_gates;
};

static const struct recipe recipes[LF_CELL_COUNT] = {
    [LF_LSTM] = {.sums = 4, .first = {4, {0, 1, 2, 3}}, .keras_gates = 4},
    [LF_GRU] = {.sums = 4, .first = {3, {0, 1, 2}}, .keras_gates = 3},
    [LF_GRU_RESET_BEFORE] = {.sums = 2, .first = {2, {0, 1}}, .second = {1, {2}}, .keras_gates = 3},
    [LF_SIMPLE_RNN] = {.sums = 1, .first = {1, {0}}, .keras_gates = 1},
    [LF_DENSE] = {.sums = 1, .first = {1, {0}}, .keras_gates = 1},
};

static size_t width_of(const lf_panels *panels, size_t block) { /* units a block has room for */
    return block < panels->full_blocks ? panels->block_units : panels->tail_width;
}

/* Rows that are packed into all blocks before the next: read block by block, each row would be fetched again from page
 * to page (64 MiB of a Dense(4096): 40 ms instead of 19). */
enum { PACK_ROWS = 8 };

static int is_interrupted(const lf_layer_config *config) {
    return config->interrupted != NULL && config->interrupted();
}

/* rows (count, keras_gates * units) -> [block][strip][count][values of the strip]. The panel was cleared, so that a
 * tail's spare lanes hold zeros. False where the caller is interrupted. */
static int pack_rows(const lf_layer_config *config, const lf_panels *panels, const void *rows, size_t count,
                     size_t keras_gates, const struct gates *gates, void *panel, size_t bytes) {
    const size_t units = panels->units, strip_width = panels->block_width / LF_BLOCK_VECTORS * panels->strip_vectors;
    const size_t full_width = gates->count * panels->block_units;
    size_t packed = 0; /* bytes, since the last question */
    for (size_t first = 0; first < count; first += PACK_ROWS) {
        const size_t last = lf_smaller(first + PACK_ROWS, count);
        packed += PACK_ROWS * gates->count * units * bytes;
        if (packed >= ASK_BYTES) {
            if (is_interrupted(config)) return 0;
            packed = 0;
        }
        for (size_t block = 0; block < panels->block_count; block++) {
            char *block_start = (char *)panel + block * count * full_width * bytes;
            const size_t width = width_of(panels, block), unit = block * panels->block_units;
            const size_t held = units - unit < width ? units - unit : width;
            const size_t block_width = gates->count * width; /* values of one k, in all strips */
            for (size_t k = first; k < last; k++) {
                const char *row = (const char *)rows + k * keras_gates * units * bytes;
                for (size_t gate = 0; gate < gates->count; gate++) {
                    const char *from = row + (gates->columns[gate] * units + unit) * bytes;
                    /* A gate's values lie in one strip, or, where a block's gates are few, in several. */
                    for (size_t done = 0, part; done < held; done += part) {
                        const size_t value = gate * width + done, strip = value / strip_width * strip_width;
                        const size_t this_width = lf_smaller(strip_width, block_width - strip);
                        part = lf_smaller(held - done, strip + this_width - value);
                        memcpy(block_start + (strip * count + k * this_width + value - strip) * bytes,
                               from + done * bytes, part * bytes);
                    }
                }
            }
        }
    }
    return 1;
}

/* False where the caller is interrupted. */
static int clear(const lf_layer_config *config, char *memory, size_t bytes) {
    for (size_t done = 0, part; done < bytes; done += part) {
        if (done > 0 && is_interrupted(config)) return 0;
        part = lf_smaller(bytes - done, ASK_BYTES);
        memset(memory + done, 0, part);
    }
    return 1;
}

static void lay_out(lf_panels *panels, const lf_kernels *kernels) {
    const size_t lanes = kernels->lanes;
    const int split = panels->weight_gates < panels->gates; /* split tiles see whole blocks */
    panels->strip_vectors = split ? LF_BLOCK_VECTORS : kernels->strip_vectors;
    panels->block_width = LF_BLOCK_VECTORS * lanes;
    panels->block_units = panels->block_width / panels->gates;
    panels->weight_width = panels->block_units * panels->weight_gates;
    panels->full_blocks = panels->units / panels->block_units;
    panels->tail_units = panels->units % panels->block_units;
    panels->tail_vectors = 0;
    if (panels->tail_units > 0) {
        panels->tail_vectors = split ? LF_BLOCK_VECTORS : (panels->tail_units * panels->gates + lanes - 1) / lanes;
        if (panels->tail_vectors > panels->strip_vectors) panels->tail_vectors = LF_BLOCK_VECTORS; /* whole strips */
    }
    panels->tail_width = panels->tail_vectors * lanes / panels->gates;
    panels->block_count = panels->full_blocks + (panels->tail_units > 0);
}

/* See LF_CHAIN. */
static void choose_chains(const lf_layer_config *config, lf_panels *panels) {
    const size_t state = config->recurrent_kernel == NULL ? 0 : config->units, depth = config->features + state;
    const int hardly_longer = depth <= LF_JOINED_CHAIN || config->features <= state / LF_JOINED_SHARE;
    panels->chain = config->cell == LF_LSTM && depth >= LF_DEEP ? LF_DEEP_CHAIN
                    : config->real == LF_F64                    ? LF_DOUBLE_CHAIN
                                                                : LF_CHAIN;
    if (config->cell == LF_SIMPLE_RNN) panels->chain = LF_UNGATED_CHAIN;
    panels->h_restarts = config->cell != LF_LSTM || depth > panels->chain || !hardly_longer;
}

/* False where one of the values is infinite or not a number. By their bits: arithmetic with one of those may trap. */
static int are_finite(lf_real real, const void *values, size_t count) {
    const uint32_t exponent_f32 = UINT32_C(0xff) << 23;
    const uint64_t exponent_f64 = UINT64_C(0x7ff) << 52;
    int finite = 1;
    for (size_t i = 0; i < count && real == LF_F32; i++) {
        uint32_t bits;
        memcpy(&bits, (const float *)values + i, sizeof bits);
        finite &= (bits & exponent_f32) != exponent_f32;
    }
    for (size_t i = 0; i < count && real == LF_F64; i++) {
        uint64_t bits;
        memcpy(&bits, (const double *)values + i, sizeof bits);
        finite &= (bits & exponent_f64) != exponent_f64;
    }
    return finite;
}

static int is_negative(lf_real real, const void *values, size_t i) {
    return real == LF_F32 ? signbit(((const float *)values)[i]) != 0 : signbit(((const double *)values)[i]) != 0;
}

/* Products with zeros leave a sum as it is, but that they make 0 of -0, where all weights are finite and, for the sake
 * of those that go on with a chain that began before them, some weight of each column is not negative: a step from a
 * state of zeros need not compute them. How many inputs there have to be from the last back for that; 0: it never
 * holds. `weights` (rows, columns). False where the caller is interrupted. */
static int find_zeros_least(const lf_layer_config *config, const void *weights, size_t rows, size_t columns,
                            size_t *least) {
    const size_t bytes = config->real == LF_F32 ? sizeof(float) : sizeof(double), part = ASK_BYTES / bytes;
    *least = 0;
    for (size_t done = 0; done < rows * columns; done += part) {
        if (done > 0 && is_interrupted(config)) return 0;
        if (!are_finite(config->real, (const char *)weights + done * bytes, lf_smaller(rows * columns - done, part)))
            return 1;
    }
    size_t most = 0;
    for (size_t column = 0; column < columns; column++) {
        size_t row = rows;
        while (row > 0 && is_negative(config->real, weights, (row - 1) * columns + column)) row--;
        if (row == 0) return 1;
        if (rows - (row - 1) > most) most = rows - (row - 1);
    }
    *least = most;
    return 1;
}

/* Bias of a GRU that resets after the product, (2, 3 * units): input and recurrent rows add up for z and r, and stay
 * apart for the candidate. -> (4 * units) */
static void sum_gru_bias(const lf_layer_config *config, void *sums) {
    const size_t units = config->units;
    const unsigned long long before = lf_set_arithmetic(); /* as in a call, whatever the caller has set */
    for (size_t i = 0; i < 4 * units; i++) {
        const size_t input = i < 3 * units ? i : i - units, recurrent = input + 3 * units;
        const int both = i < 2 * units, only_recurrent = i >= 3 * units;
        if (config->real == LF_F32) {
            const float *bias = config->bias;
            ((float *)sums)[i] = both ? bias[input] + bias[recurrent] : bias[only_recurrent ? recurrent : input];
        } else {
            const double *bias = config->bias;
            ((double *)sums)[i] = both ? bias[input] + bias[recurrent] : bias[only_recurrent ? recurrent : input];
        }
    }
    lf_restore_arithmetic(before);
}

/* Elements of bias, kernel and recurrent panels together; false where that overflows. */
static int panel_elements(const lf_panels *panels, size_t inputs, size_t *elements) {
    size_t depth, weights;
    return lf_sum(panels->features, inputs, &depth) &&
           lf_multiply(panels->block_count, panels->block_width, &weights) && lf_multiply(weights, depth, elements) &&
           lf_sum(*elements, weights, elements);
}

/* False where the caller is interrupted. */
static int fill(const lf_layer_config *config, lf_panels *panels, const struct gates *gates, const void *bias,
                size_t bias_gates, char *memory, size_t bytes) {
    static const struct gates all = {4, {0, 1, 2, 3}};
    const size_t keras_gates = recipes[config->cell].keras_gates;
    char *kernel = memory + panels->block_count * panels->block_width * bytes;
    char *recurrent = kernel + panels->block_count * panels->weight_width * panels->features * bytes;
    panels->bias = memory;
    panels->kernel = kernel;
    if (config->recurrent_kernel != NULL) panels->recurrent = recurrent;
    return (bias == NULL ||
            pack_rows(config, panels, bias, 1, bias_gates, config->cell == LF_GRU ? &all : gates, memory, bytes)) &&
           pack_rows(config, panels, config->kernel, config->features, keras_gates, gates, kernel, bytes) &&
           (config->recurrent_kernel == NULL ||
            pack_rows(config, panels, config->recurrent_kernel, config->units, keras_gates, gates, recurrent, bytes));
}

/* Parameters matter to relu alone; the fused one is Keras's plain relu. */
static int is_pair(const lf_layer_config *config, int activation, int recurrent_activation) {
    const double *p = config->activation.parameters;
    const int plain = activation != LF_ACTIVATION_relu || (p[0] == 0 && p[1] == INFINITY && p[2] == 0);
    return config->activation.kind == activation && config->recurrent_activation.kind == recurrent_activation && plain;
}

static lf_fused fused_pair(const lf_layer_config *config) {
#define LF_FUSED(a, r)                                                                                                 \
    if (is_pair(config, LF_ACTIVATION_##a, LF_ACTIVATION_##r)) return LF_FUSED_##a##_##r;
#include "../kernels/fused_list.inc"
#undef LF_FUSED
    return LF_FUSED_NONE;
}

/* Of so few units, and inputs, that rows may be lanes: the weights of all sums one after the other, and each one's bias
 * in as many lanes as a step may have rows. */
enum { LANES_FEATURES_MOST = 32 };
static int may_take_lanes(const lf_layer_config *config, const lf_kernels *kernels, const lf_panels *panels) {
    const lf_lanes_cell *cell = &kernels->lanes_of[config->cell];
    const int is_one = config->units < CHAR_BIT * sizeof cell->units && (cell->units >> config->units & 1);
    return is_one && config->recurrent_kernel != NULL && !panels->row_activations &&
           config->features <= LANES_FEATURES_MOST;
}

/* Column `column` of `rows` (count, columns), whose values then lie side by side. */
static void copy_column(const void *rows, size_t count, size_t columns, size_t column, char *to, size_t bytes) {
    for (size_t k = 0; k < count; k++)
        memcpy(to + k * bytes, (const char *)rows + (k * columns + column) * bytes, bytes);
}

/* `bias` (sums * units), or NULL. What a sum has no weights for is not read. */
static void fill_columns(const lf_layer_config *config, const char *bias, lf_layer *layer, char *memory) {
    lf_panels *panels = &layer->panels;
    const struct recipe *recipe = &recipes[config->cell];
    const lf_lanes_cell *cell = &layer->kernels->lanes_of[config->cell];
    const size_t features = config->features, units = config->units, depth = features + units;
    const size_t lanes = lf_lanes_rows(layer), bytes = layer->element_bytes, columns = recipe->keras_gates * units;
    char *column_bias = memory + recipe->sums * units * depth * bytes;
    panels->columns = memory;
    panels->column_bias = column_bias;
    size_t of_x = 0, of_h = 0; /* Keras's columns that come next */
    for (const struct lf_sum_run *run = cell->runs; run->sums > 0; run++)
        for (size_t i = 0; i < run->sums * units; i++, memory += depth * bytes) {
            if (run->of_x) copy_column(config->kernel, features, columns, of_x++, memory, bytes);
            if (run->of_h)
                copy_column(config->recurrent_kernel, units, columns, of_h++, memory + features * bytes, bytes);
            for (size_t lane = 0; lane < lanes && bias != NULL; lane++, column_bias += bytes)
                memcpy(column_bias, bias, bytes);
            if (bias != NULL) bias += bytes;
        }
}

/* What the panels of both products have in common, but for their size. */
static void begin_panels(const lf_layer_config *config, lf_layer *layer) {
    const int has_gates = recipes[config->cell].keras_gates > 1;
    lf_panels *panels = &layer->panels;
    panels->features = config->features;
    panels->units = config->units;
    panels->near_bytes = lf_near_cache_bytes();
    panels->two_loads = lf_cpu_probe().two_loads;
    panels->activation = config->activation;
    panels->recurrent_activation = config->recurrent_activation;
    choose_chains(config, panels);
    panels->fused = has_gates ? fused_pair(config) : LF_FUSED_NONE;
    panels->row_activations = lf_activation_needs_row(config->activation.kind) ||
                              (has_gates && lf_activation_needs_row(config->recurrent_activation.kind));
    layer->candidate = *panels;
}

/* The panels of the first product, and behind them, `second_begin` bytes from there, those of the second; false where
 * their size overflows. */
static int lay_out_all(const lf_layer_config *config, lf_layer *layer, size_t *second_begin) {
    const struct recipe *recipe = &recipes[config->cell];
    const size_t inputs = config->recurrent_kernel != NULL ? config->units : 0;
    lf_panels *panels = &layer->panels, *second = &layer->candidate;
    size_t total, of_second = 0;
    if (!lf_multiply(panels->units, LF_ROW_SUMS, &total)) return 0;
    panels->gates = recipe->sums;
    panels->weight_gates = recipe->first.count;
    lay_out(panels, layer->kernels);
    if (!panel_elements(panels, inputs, &total)) return 0;
    if (recipe->second.count > 0) {
        second->gates = second->weight_gates = recipe->second.count;
        lay_out(second, layer->kernels);
        if (!panel_elements(second, inputs, &of_second)) return 0;
        panels->candidate = second;
    }
    const size_t of_first = total;
    if (!lf_sum(of_first, of_second, &total) || !lf_multiply(total, layer->element_bytes, &total)) return 0;
    layer->weight_bytes = total;
    *second_begin = of_first * layer->element_bytes;
    panels->far = second->far = total >= FAR_BYTES;
    const size_t own_bytes = lf_cpu_probe().distant_l3 ? lf_private_cache_bytes() : SIZE_MAX;
    panels->own_blocks = second->own_blocks = own_bytes / (total / panels->block_count + 1);
    return 1;
}

/* False where the caller is interrupted. */
static int choose_zeros(const lf_layer_config *config, lf_panels *panels) {
    const size_t columns = recipes[config->cell].keras_gates * config->units;
    if (config->cell == LF_DENSE || config->cell == LF_GRU_RESET_BEFORE)
        return 1; /* has no step that leaves them out */
    return config->recurrent_kernel != NULL
               ? find_zeros_least(config, config->recurrent_kernel, config->units, columns, &panels->zeros_least)
               : find_zeros_least(config, config->kernel, config->features, columns, &panels->zeros_least);
}

lf_status lf_pack(const lf_layer_config *config, lf_layer *layer) {
    const struct recipe *recipe = &recipes[config->cell];
    const size_t bytes = layer->element_bytes;
    lf_panels *panels = &layer->panels;
    size_t second_begin;
    begin_panels(config, layer);
    if (!lay_out_all(config, layer, &second_begin)) return LF_NO_MEMORY;

    const int takes_lanes = may_take_lanes(config, layer->kernels, panels);
    const size_t columns_begin = lf_round_up(layer->weight_bytes, LF_ALIGNMENT);
    size_t total = layer->weight_bytes;
    if (takes_lanes) /* few: nothing overflows */
        total = columns_begin +
                recipe->sums * config->units * (config->features + config->units + lf_lanes_rows(layer)) * bytes;
    const void *bias = config->bias;
    void *summed_bias = NULL;
    if (config->cell == LF_GRU && bias != NULL) {
        bias = summed_bias = lf_allocate(LF_ROW_SUMS * config->units * bytes);
        if (summed_bias == NULL) return LF_NO_MEMORY;
        sum_gru_bias(config, summed_bias);
    }
    char *memory = lf_allocate(total);
    if (memory == NULL) {
        lf_release(summed_bias);
        return LF_NO_MEMORY;
    }
    const size_t bias_gates = config->cell == LF_GRU ? 4 : recipe->keras_gates;
    const int done = clear(config, memory, total) &&
                     fill(config, panels, &recipe->first, bias, bias_gates, memory, bytes) &&
                     (recipe->second.count == 0 ||
                      fill(config, &layer->candidate, &recipe->second, bias, bias_gates, memory + second_begin, bytes));
    if (done && takes_lanes) fill_columns(config, bias, layer, memory + columns_begin);
    lf_release(summed_bias);
    if (done && choose_zeros(config, panels)) return LF_OK;
    lf_release(memory);
    return LF_INTERRUPTED;
}

lf_status lf_pack_again(const lf_layer_config *config, lf_layer *layer) {
    char *memory = (char *)layer->panels.bias; /* zeros, which stay */
    const struct recipe *recipe = &recipes[LF_DENSE];
    const int done =
        fill(config, &layer->panels, &recipe->first, NULL, recipe->keras_gates, memory, layer->element_bytes);
    return done ? LF_OK : LF_INTERRUPTED;
}

void lf_pack_release(lf_layer *layer) {
    lf_release((void *)layer->panels.bias); /* the one allocation begins with it */
}
