"""lstmfast itself: layers and models called as users call them."""

from functools import partial

import numpy as np

from bench.cases import Case
from bench.peers.base import Peer, Prepared


class Lstmfast(Peer):
    """`layer(x)` for single layers, `model(x)` for models, `stream.step(x_t)` for streams."""

    name = "lstmfast"
    title = "lstmfast"
    module = distribution = "lstmfast"
    kinds = ("layer", "gru", "model", "mixed", "stream", "convolutional")
    ours = True

    def environment(self, threads: int, isa: str | None) -> dict[str, str]:
        """lstmfast's own variables."""
        return {"LSTMFAST_NUM_THREADS": str(threads)} | ({"LSTMFAST_ISA": isa} if isa else {})

    def version(self) -> str:
        """With the instruction set that new layers use."""
        import lstmfast
        from lstmfast import _core

        return f"{lstmfast.__version__} ({_core.isa()})"

    def unsupported(self, case: Case) -> str | None:
        """Whatever layers it has."""
        from lstmfast import layers

        missing = sorted(kind for kind in case.kinds() if not hasattr(layers, kind))
        return f"no {', '.join(missing)} yet" if missing else None

    def prepare(self, case: Case, weights: list[list[np.ndarray]], x: np.ndarray, threads: int) -> Prepared:
        import lstmfast

        lstmfast.set_num_threads(threads)
        if case.is_layer:
            layer = case.layers[0].build(lstmfast.layers, case.dtype)
            layer.build((None, None, case.features))
            layer.set_weights(weights[0])
            return Prepared(partial(layer, x), partial(layer, x))
        model = self.model(case, weights)
        if case.kind != "stream":
            return self.whole(model, x)
        stream = model.stream(batch_size=case.batch)

        def result() -> np.ndarray:
            stream.reset()
            outputs = [stream.step(x[:, t]).reshape(case.batch, 1, -1) for t in range(case.steps)]
            return np.concatenate(outputs, axis=1)

        return Prepared(partial(stream.step, np.ascontiguousarray(x[:, 0])), result)

    @staticmethod
    def model(case: Case, weights: list[list[np.ndarray]]):
        """The case as a Sequential model."""
        import lstmfast

        shape = (case.steps, *case.grid, case.features) if case.features else (case.steps,)
        if case.kind == "stream":
            shape = (None, case.features)
        entry = lstmfast.Input(shape) if case.features else lstmfast.Input(shape, dtype="int32")
        model = lstmfast.Sequential([entry, *(layer.build(lstmfast.layers, case.dtype) for layer in case.layers)])
        model.set_weights([array for arrays in weights for array in arrays])
        return model

    @staticmethod
    def whole(model, x: np.ndarray) -> Prepared:
        """What is timed of a whole model."""
        return Prepared(partial(model, x), partial(model, x))


class LstmfastPredict(Lstmfast):
    """`model.predict(x)` with its default batch size, on whole models."""

    name = "lstmfast-predict"
    title = "lstmfast predict"
    kinds = ("model", "mixed", "convolutional")

    @staticmethod
    def whole(model, x: np.ndarray) -> Prepared:
        """What is timed of a whole model."""
        predict = partial(model.predict, x, verbose=0)
        return Prepared(predict, predict)
