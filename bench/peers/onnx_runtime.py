"""ONNX Runtime: the LSTM op, sessions with default options but for the thread count."""

import numpy as np

from bench.cases import Case
from bench.peers.base import Peer, Prepared, time_major


class OnnxRuntime(Peer):
    """`session.run` as users call it. Spinning stays at its default (on).

    Its kernels choose their instruction set alone: nothing holds them to an older one.
    """

    name = "onnxruntime"
    title = "ONNX Runtime"
    module = distribution = "onnxruntime"
    held_to_isa = False

    def prepare(self, case: Case, weights: list[list[np.ndarray]], x: np.ndarray, threads: int) -> Prepared:
        import onnxruntime

        from bench.peers import onnx_graph

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3

        def session(model: bytes) -> onnxruntime.InferenceSession:
            return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        if case.kind == "stream":
            return self._stream(session(onnx_graph.step_model(case, weights)), case, x)
        if case.is_layer:
            run, feed = session(onnx_graph.layer_model(case, weights)).run, {"x": time_major(x)}
            return Prepared(lambda: run(None, feed), lambda: time_major(run(None, feed)[0][:, 0]))
        run, feed = session(onnx_graph.whole_model(case, weights)).run, {"x": x}
        return Prepared(lambda: run(None, feed), lambda: run(None, feed)[0])

    @staticmethod
    def _stream(session, case: Case, x: np.ndarray) -> Prepared:
        run, state = session.run, {}

        def reset() -> None:
            state.update({name: np.zeros((1, case.batch, case.units), "float32") for name in "hc"})

        def step() -> None:
            state["h"], state["c"] = run(None, state)

        def result() -> np.ndarray:
            reset()
            outputs = []
            for x_t in time_major(x):
                state["x"] = x_t[None]
                step()
                outputs.append(state["h"][0])
            return np.stack(outputs, axis=1)

        return Prepared(step, result)
