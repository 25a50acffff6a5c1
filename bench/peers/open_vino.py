"""OpenVINO: the same ONNX graphs, compiled for the CPU."""

import numpy as np

from bench.cases import Case
from bench.peers.base import ONEDNN_ISA, Peer, Prepared, time_major


class OpenVino(Peer):
    """One stream, latency hint, float32 held (its default may be bfloat16).

    Inputs and outputs are tensors bound once: handing arrays to `infer` costs about 40 us a call here.
    """

    name = "openvino"
    title = "OpenVINO"
    module = distribution = "openvino"

    def environment(self, threads: int, isa: str | None) -> dict[str, str]:
        """Its oneDNN is linked in and reads oneDNN's variable."""
        variables = super().environment(threads, isa)
        return variables | ({"ONEDNN_MAX_CPU_ISA": ONEDNN_ISA[isa]} if isa else {})

    def prepare(self, case: Case, weights: list[list[np.ndarray]], x: np.ndarray, threads: int) -> Prepared:
        import openvino

        from bench.peers import onnx_graph

        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }

        def request(model: bytes) -> openvino.InferRequest:
            return core.compile_model(core.read_model(model, b""), "CPU", options).create_infer_request()

        if case.kind == "stream":
            return self._stream(request(onnx_graph.step_model(case, weights)), case, x)
        layer = case.is_layer
        ready = request((onnx_graph.layer_model if layer else onnx_graph.whole_model)(case, weights))
        ready.get_input_tensor(0).data[:] = time_major(x) if layer else x

        def result() -> np.ndarray:
            ready.infer()
            y = ready.get_output_tensor(0).data
            return time_major(y[:, 0]) if layer else y.copy()

        return Prepared(ready.infer, result)

    @staticmethod
    def _stream(request, case: Case, x: np.ndarray) -> Prepared:
        x_t, h, c = (request.get_input_tensor(i).data for i in range(3))
        next_h, next_c = (request.get_output_tensor(i).data for i in range(2))

        def step() -> None:
            request.infer()
            h[:], c[:] = next_h, next_c

        def result() -> np.ndarray:
            h[:] = c[:] = 0
            outputs = []
            for given in time_major(x):
                x_t[0] = given
                step()
                outputs.append(h[0].copy())
            return np.stack(outputs, axis=1)

        return Prepared(step, result)
