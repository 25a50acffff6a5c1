"""Keras `predict` on TensorFlow: what users have today."""

import numpy as np

from bench.cases import Case
from bench.peers.base import ONEDNN_ISA, Peer, Prepared


def hold_tensorflow(threads: int, isa: str | None) -> dict[str, str]:
    """Environment of a TensorFlow process."""
    variables = {
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": str(threads),
    }
    return variables | ({"ONEDNN_MAX_CPU_ISA": ONEDNN_ISA[isa]} if isa else {})


def keras_model(case: Case, weights: list[list[np.ndarray]], **options):
    """The case as a Keras model with its weights; `options` go to the first layer of a stream."""
    import keras

    keras.backend.set_floatx(case.dtype)
    tokens = case.features == 0
    shape = (case.steps,) if tokens else (None if case.kind == "stream" else case.steps, *case.grid, case.features)
    entry = keras.Input(batch_shape=(case.batch, *shape), dtype="int32" if tokens else case.dtype)
    layers = [layer.build(keras.layers, case.dtype) for layer in case.layers]
    for name, value in options.items():
        setattr(layers[0], name, value)
    model = keras.Sequential([entry, *layers])
    model.set_weights([array for arrays in weights for array in arrays])
    return model


class KerasPredict(Peer):
    """The whole batch in one step of `predict`, so that its cost per step counts once."""

    name = "keras"
    title = "Keras predict"
    module = "tensorflow"
    distribution = "keras"
    kinds = ("layer", "gru", "model", "mixed", "stream", "convolutional")

    def version(self) -> str:
        """Of Keras and of what runs it."""
        import keras
        import tensorflow

        return f"{keras.__version__} (TensorFlow {tensorflow.__version__})"

    def environment(self, threads: int, isa: str | None) -> dict[str, str]:
        """TensorFlow's variables."""
        return hold_tensorflow(threads, isa)

    def unsupported(self, case: Case) -> str | None:
        """It runs everything."""
        return None

    def prepare(self, case: Case, weights: list[list[np.ndarray]], x: np.ndarray, threads: int) -> Prepared:
        """The thread count is in the environment."""
        import keras

        keras.backend.clear_session()
        stream = case.kind == "stream"
        model = keras_model(case, weights, **({"stateful": True} if stream else {}))
        first = x[:, :1] if stream else x

        def call(part: np.ndarray = first) -> np.ndarray:
            return model.predict(part, batch_size=case.batch, verbose=0)

        def steps() -> np.ndarray:
            model.layers[0].reset_states()
            return np.concatenate([call(x[:, t : t + 1]) for t in range(case.steps)], axis=1)

        return Prepared(call, steps if stream else call)
