"""Errors of whole layers against float64, beside TensorFlow, PyTorch and ONNX Runtime on the same weights and inputs.

`python tests/accuracy.py` prints them as Markdown for every instruction set of this machine, means over several draws
of weights and inputs; its exit status is 1 where lstmfast's largest error, or its root mean square, is more than 1.5
times that of the peer that has the largest.
Whatever of the peers is not installed is left out. `make check-accuracy` runs it.
Next: test_accuracy.py holds the short form.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

import layer_cases
import numpy as np

from lstmfast import _core, layers

Array = np.ndarray[Any, Any]

ALLOWED = 1.5  # times the largest of the peers
DRAWS = 5  # one draw's largest error is off by a third, a peer's like ours


def case(kind: str, batch: int, steps: int, features: int, units: int) -> layer_cases.Case:
    return layer_cases.Case(kind, 1, units, batch, steps, features, (("return_sequences", True),))


SHORT = (
    case("LSTM", 16, 10_000, 4, 32),
    case("GRU", 16, 10_000, 4, 32),
    case("SimpleRNN", 16, 10_000, 4, 32),
    case("LSTM", 14, 100, 24, 96),
    case("LSTM", 64, 20, 200, 130),
    case("GRU", 64, 20, 200, 130),
    case("SimpleRNN", 64, 20, 200, 130),
)
LONG = (
    *SHORT,
    case("LSTM", 4, 10_000, 64, 128),
    case("GRU", 4, 10_000, 64, 128),
    case("SimpleRNN", 4, 10_000, 64, 128),
    case("LSTM", 32, 100, 1, 100),
    case("LSTM", 64, 25, 512, 512),
    case("GRU", 64, 25, 512, 512),
    case("SimpleRNN", 64, 25, 512, 512),
    case("LSTM", 4, 25, 1024, 1024),
    case("LSTM", 2000, 10, 8, 32),
)


@dataclasses.dataclass(frozen=True)
class Error:
    """Of one runner's outputs against float64."""

    largest: float
    root_mean_square: float


def error(actual: Array, expected: Array) -> Error:
    difference = np.abs(actual.astype("float64") - expected)
    return Error(float(difference.max()), float(np.sqrt((difference**2).mean())))


def mean_error(errors: list[Error]) -> Error:
    squares = [error.root_mean_square**2 for error in errors]
    return Error(float(np.mean([error.largest for error in errors])), float(np.sqrt(np.mean(squares))))


def reference(case: layer_cases.Case) -> Array:
    """(batch, steps, units): the outputs in float64, from the equations."""
    x, weights = case.inputs("float64")[0], case.weights("float64")
    kernel, recurrent, bias = weights
    input_bias, state_bias = bias if case.kind == "GRU" else (bias, np.zeros_like(bias))
    h = c = np.zeros((case.batch, case.units))
    outputs = []
    for t in range(case.steps):
        from_x, from_h = x[:, t] @ kernel + input_bias, h @ recurrent + state_bias
        if case.kind == "SimpleRNN":
            h = np.tanh(from_x + from_h)
        elif case.kind == "LSTM":
            i, f, candidate, o = np.split(from_x + from_h, 4, axis=1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(candidate)
            h = _sigmoid(o) * np.tanh(c)
        else:
            x_parts, h_parts = np.split(from_x, 3, axis=1), np.split(from_h, 3, axis=1)
            z, r = (_sigmoid(a + b) for a, b in zip(x_parts[:2], h_parts[:2], strict=True))
            h = z * h + (1 - z) * np.tanh(x_parts[2] + r * h_parts[2])
        outputs.append(h)
    return np.stack(outputs, axis=1)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# ---- runners: (batch, steps, units) of a case in float32; ImportError where the library is missing -----------------


def run_tensorflow(case: layer_cases.Case) -> Array:
    import keras
    import tensorflow

    layer = layer_cases.build(keras.layers, case)
    y: Array = tensorflow.function(layer)(case.inputs()[0]).numpy()
    return y


def run_torch(case: layer_cases.Case) -> Array:
    import torch

    kernel, recurrent, bias = (_gates(case, weight, {"GRU": (1, 0, 2)}) for weight in case.weights())
    input_bias, state_bias = bias if case.kind == "GRU" else (bias, np.zeros_like(bias))
    maker = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "SimpleRNN": torch.nn.RNN}[case.kind]
    module = maker(case.features, case.units, batch_first=True)
    with torch.no_grad():
        for parameter, value in zip(
            (module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0, module.bias_hh_l0),
            (kernel.T, recurrent.T, input_bias, state_bias),
            strict=True,
        ):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
        result: Array = module(torch.from_numpy(case.inputs()[0]))[0].numpy()
    return result


def run_onnxruntime(case: layer_cases.Case) -> Array:
    import onnx
    import onnxruntime

    kernel, recurrent, bias = (_gates(case, weight, {"LSTM": (0, 3, 1, 2)}) for weight in case.weights())
    input_bias, state_bias = bias if case.kind == "GRU" else (bias, np.zeros_like(bias))
    constants = {"W": kernel.T[None], "R": recurrent.T[None], "B": np.concatenate([input_bias, state_bias])[None]}
    options = {"linear_before_reset": 1} if case.kind == "GRU" else {}
    operation = {"SimpleRNN": "RNN"}.get(case.kind, case.kind)
    node = onnx.helper.make_node(operation, ["X", *constants], ["Y"], hidden_size=case.units, **options)
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [onnx.helper.make_tensor_value_info("X", 1, [case.steps, case.batch, case.features])],
        [onnx.helper.make_tensor_value_info("Y", 1, [case.steps, 1, case.batch, case.units])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"X": np.ascontiguousarray(case.inputs()[0].swapaxes(0, 1))})
    return np.asarray(y[:, 0]).swapaxes(0, 1)


def _gates(case: layer_cases.Case, weight: Array, orders: dict[str, tuple[int, ...]]) -> Array:
    """A weight with its gates in another order."""
    parts = np.split(weight, layer_cases.GATES[case.kind], axis=-1)
    return np.concatenate([parts[gate] for gate in orders.get(case.kind, range(len(parts)))], axis=-1)


PEERS: dict[str, Callable[[layer_cases.Case], Array]] = {
    "TensorFlow": run_tensorflow,
    "PyTorch": run_torch,
    "ONNX Runtime": run_onnxruntime,
}


def run_lstmfast(case: layer_cases.Case, isa: str) -> Array:
    before = _core.isa()
    _core.select_isa(isa)
    try:
        return layer_cases.run(layers, case)[0]
    finally:
        _core.select_isa(before)


@functools.cache
def peer_errors(case: layer_cases.Case) -> dict[str, Error]:
    """By peer; of those that are installed."""
    expected, errors = reference(case), {}
    for name, run in PEERS.items():
        try:
            errors[name] = error(run(case), expected)
        except ImportError:
            continue
    return errors


def ratios(mine: Error, peers: dict[str, Error]) -> tuple[float, float]:
    """Largest error and root mean square, relative to the worst of the peers."""
    return (
        mine.largest / max(peer.largest for peer in peers.values()),
        mine.root_mean_square / max(peer.root_mean_square for peer in peers.values()),
    )


def _cell(error: Error) -> str:
    return f"{1e9 * error.largest:.0f} ({1e9 * error.root_mean_square:.1f})"


def main() -> int:
    names = [name for name in PEERS if name in peer_errors(SHORT[0])]
    isas = _core.available_isas()
    print("Largest error (root mean square), in units of 1e-9, of outputs between -1 and 1:\n")
    print(f"| layer | {' | '.join(names)} | {' | '.join(f'{isa} | of the worst' for isa in isas)} |")
    print("|---" * (1 + len(names) + 2 * len(isas)) + "|")
    worst = 0.0
    for one in LONG:
        draws = [dataclasses.replace(one, seed=seed) for seed in range(1, DRAWS + 1)]
        expected = [reference(draw) for draw in draws]
        peers = {name: mean_error([peer_errors(draw)[name] for draw in draws]) for name in names}
        cells = [f"{one.kind} {one.batch}x{one.steps}x{one.features}, {one.units} units"]
        cells += [_cell(peers[name]) for name in names]
        for isa in isas:
            pairs = zip(draws, expected, strict=True)
            mine = mean_error([error(run_lstmfast(draw, isa), exact) for draw, exact in pairs])
            largest, mean = ratios(mine, peers)
            worst = max(worst, largest, mean)
            cells += [_cell(mine), f"{largest:.2f} ({mean:.2f})"]
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nAt most {worst:.2f} times the worst peer; allowed are {ALLOWED}.")
    return worst > ALLOWED


if __name__ == "__main__":
    sys.exit(main())
