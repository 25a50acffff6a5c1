"""TensorFlow with XLA: the Keras model inside one tf.function(jit_compile=True)."""

import numpy as np

from bench.cases import Case
from bench.peers.base import XLA_ISA, Prepared
from bench.peers.keras_predict import KerasPredict, hold_tensorflow, keras_model


class TensorflowXla(KerasPredict):
    """The compiled function on a tensor that is already TensorFlow's; no predict loop."""

    name = "xla"
    title = "TensorFlow XLA"
    module = distribution = "tensorflow"

    def version(self) -> str:
        """Version of TensorFlow."""
        import tensorflow

        return tensorflow.__version__

    def environment(self, threads: int, isa: str | None) -> dict[str, str]:
        """TensorFlow's variables, and XLA's limit."""
        variables = hold_tensorflow(threads, isa)
        return variables | ({"XLA_FLAGS": f"--xla_cpu_max_isa={XLA_ISA[isa]}"} if isa else {})

    def prepare(self, case: Case, weights: list[list[np.ndarray]], x: np.ndarray, threads: int) -> Prepared:
        """The thread count is in the environment."""
        import keras
        import tensorflow

        keras.backend.clear_session()
        model = keras_model(case, weights)
        if case.kind == "stream":
            return _stream(tensorflow, model.layers[0], case, x)
        compiled = tensorflow.function(lambda batch: model(batch, training=False), jit_compile=True)
        x_in = tensorflow.constant(x)
        return Prepared(lambda: compiled(x_in).numpy(), lambda: compiled(x_in).numpy())


def _stream(tensorflow, layer, case: Case, x: np.ndarray) -> Prepared:
    compiled = tensorflow.function(lambda x_t, h, c: layer.cell(x_t, [h, c])[1], jit_compile=True)
    zeros = [tensorflow.zeros((case.batch, case.units))] * 2
    steps = [tensorflow.constant(x[:, t]) for t in range(case.steps)]
    state = list(zeros)

    def step(x_t=steps[0]):
        state[:] = compiled(x_t, *state)
        return state[0]

    def result() -> np.ndarray:
        state[:] = zeros
        return np.stack([step(x_t).numpy() for x_t in steps], axis=1)

    return Prepared(step, result)
