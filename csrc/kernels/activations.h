/* The numbers of the activations: lf_activation.kind. Next: activations_list.inc, the one list of them. */
#ifndef LF_ACTIVATIONS_H
#define LF_ACTIVATIONS_H

enum lf_activation_kind {
#define LF_ACTIVATION(name, ...) LF_ACTIVATION_##name,
#include "activations_list.inc"
#undef LF_ACTIVATION
    LF_ACTIVATION_COUNT
};

/* Whether an output depends on its whole row, as in softmax; then a row can not be split. */
static inline int lf_activation_needs_row(int kind) {
    enum { shape_elementwise, shape_row };
    switch (kind) {
#define LF_ACTIVATION(name, shape, ...)                                                                                \
    case LF_ACTIVATION_##name: return shape_##shape;
#include "activations_list.inc"
#undef LF_ACTIVATION
    default: return 0;
    }
}

#endif
