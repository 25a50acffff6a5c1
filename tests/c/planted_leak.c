/* A layer that nobody destroys: the leak check has to find it, or `make check-leaks` fails. Next: csrc/core/layer.c. */
#include <lstmfast.h>

int main(void) {
    static const float weights[6 * 4];
    const lf_layer_config config = {.cell = LF_DENSE, .real = LF_F32, .features = 6, .units = 4, .kernel = weights};
    lf_layer *layer = NULL;
    const lf_status status = lf_layer_create(&config, &layer);
    layer = NULL;
    return status != LF_OK;
}
