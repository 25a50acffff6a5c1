"""Cases as ONNX graphs, built by hand: what an exporter would write at its best. For ONNX Runtime and OpenVINO."""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.cases import EPSILON, GATES, Case, Layer

_ACTIVATION = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "softmax": "Softmax"}


def _gates(array: np.ndarray) -> np.ndarray:
    """Keras's (..., i f c o) as ONNX's (i o f c, ...), with a leading axis for the direction."""
    i, f, c, o = np.split(array, GATES, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1).T[None]


class _Graph:
    """Nodes and constants in the making; `flow` names the tensor that the next layer reads."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: np.ndarray) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str] | None = None, **attributes: object) -> None:
        outputs = outputs or [f"flow{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        self.flow = next(name for name in outputs if name)

    def gru(self, layer: Layer, weights: list[np.ndarray], outputs: list[str]) -> None:
        """GRU over (steps, batch, features); Keras's gate order is ONNX's, and so are its two biases."""
        kernel, recurrent, bias = weights
        arrays = (kernel.T[None], recurrent.T[None], bias.reshape(1, -1))
        inputs = [self.flow, *map(self.constant, arrays)]
        self.node("GRU", inputs, outputs, hidden_size=layer.options["units"], linear_before_reset=1)

    def lstm(self, layer: Layer, weights: list[np.ndarray], state: list[str], outputs: list[str] | None = None) -> None:
        """LSTM over (steps, batch, features); two directions when `weights` holds six arrays."""
        directions = [weights[i : i + 3] for i in range(0, len(weights), 3)]
        kernel, recurrent, bias = (
            np.concatenate([_gates(direction[part]) for direction in directions]) for part in range(3)
        )
        bias = np.concatenate([bias, np.zeros_like(bias)], axis=1)
        activation = _ACTIVATION[layer.options.get("activation", "tanh")]
        inputs = [self.flow, *(self.constant(array) for array in (kernel, recurrent, bias)), *state]
        self.node(
            "LSTM",
            inputs,
            outputs,
            hidden_size=layer.options["units"],
            direction="bidirectional" if len(directions) == 2 else "forward",
            activations=["Sigmoid", activation, activation] * len(directions),
        )


def _model(case: Case, graph: _Graph, inputs: list, outputs: list) -> bytes:
    made = helper.make_graph(graph.nodes, case.name, inputs, outputs, graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def layer_model(case: Case, weights: list[list[np.ndarray]]) -> bytes:
    """One LSTM or GRU in ONNX's own layout: x (steps, batch, features) -> y (steps, 1, batch, units)."""
    graph = _Graph("x")
    if case.kind == "gru":
        graph.gru(case.layers[0], weights[0], ["y"])
    else:
        graph.lstm(case.layers[0], weights[0], [], ["y"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [case.steps, case.batch, case.features])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [case.steps, 1, case.batch, case.units])
    return _model(case, graph, [x], [y])


def step_model(case: Case, weights: list[list[np.ndarray]]) -> bytes:
    """One step of one LSTM: x (1, batch, features), h and c (1, batch, units) -> h, c."""
    graph = _Graph("x")
    graph.lstm(case.layers[0], weights[0], ["", "h", "c"], ["", "next_h", "next_c"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, case.batch, case.features])
    h, c, next_h, next_c = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, case.batch, case.units])
        for name in ("h", "c", "next_h", "next_c")
    )
    return _model(case, graph, [x, h, c], [next_h, next_c])


def _squeeze_direction(graph: _Graph, bidirectional: bool, sequences: bool) -> None:
    """What LSTM gives, as Keras's (batch, [steps,] features)."""
    if sequences:  # (steps, directions, batch, units)
        graph.node("Transpose", [graph.flow], perm=[2, 0, 1, 3])
        graph.node("Reshape", [graph.flow, graph.constant(np.array([0, 0, -1]))])
    elif bidirectional:  # (directions, batch, units)
        graph.node("Transpose", [graph.flow], perm=[1, 0, 2])
        graph.node("Reshape", [graph.flow, graph.constant(np.array([0, -1]))])
    else:
        graph.node("Squeeze", [graph.flow, graph.constant(np.array([0]))])


def _add(graph: _Graph, layer: Layer, weights: list[np.ndarray]) -> None:
    options = layer.options
    if layer.is_inert():
        return
    if layer.kind == "TimeDistributed":
        _add(graph, layer.inner, weights)
    elif layer.kind == "Dense":
        graph.node("MatMul", [graph.flow, graph.constant(weights[0])])
        graph.node("Add", [graph.flow, graph.constant(weights[1])])
        if "activation" in options:
            graph.node(_ACTIVATION[options["activation"]], [graph.flow])
    elif layer.kind == "Conv1D":
        (window,) = options["kernel_size"]
        graph.node("Transpose", [graph.flow], perm=[0, 2, 1])
        kernel = graph.constant(weights[0].transpose(2, 1, 0))
        graph.node("Conv", [graph.flow, kernel, graph.constant(weights[1])], pads=[window // 2, window // 2])
        graph.node(_ACTIVATION[options["activation"]], [graph.flow])
        graph.node("Transpose", [graph.flow], perm=[0, 2, 1])
    elif layer.kind == "MaxPooling1D":
        size = [options["pool_size"]]
        graph.node("Transpose", [graph.flow], perm=[0, 2, 1])
        graph.node("MaxPool", [graph.flow], kernel_shape=size, strides=size)
        graph.node("Transpose", [graph.flow], perm=[0, 2, 1])
    elif layer.kind == "BatchNormalization":  # folded, as an exporter does
        gamma, beta, mean, variance = weights
        scale = gamma / np.sqrt(variance + np.float32(EPSILON))
        graph.node("Mul", [graph.flow, graph.constant(scale)])
        graph.node("Add", [graph.flow, graph.constant(beta - mean * scale)])
    elif layer.kind == "LayerNormalization":
        inputs = [graph.flow, *(graph.constant(array) for array in weights)]
        graph.node("LayerNormalization", inputs, axis=-1, epsilon=EPSILON)
    elif layer.kind in ("GlobalAveragePooling1D", "GlobalMaxPooling1D"):
        graph.node("ReduceMean" if "Average" in layer.kind else "ReduceMax", [graph.flow], axes=[1], keepdims=0)
    elif layer.kind == "RepeatVector":
        graph.node("Unsqueeze", [graph.flow, graph.constant(np.array([1]))])
        graph.node("Expand", [graph.flow, graph.constant(np.array([1, options["n"], 1]))])
    elif layer.kind == "Embedding":
        graph.node("Gather", [graph.constant(weights[0]), graph.flow])
    elif layer.kind in ("LSTM", "Bidirectional"):
        inner = layer.inner or layer
        sequences = inner.options.get("return_sequences", False)
        graph.node("Transpose", [graph.flow], perm=[1, 0, 2])
        name = f"flow{len(graph.nodes)}"
        graph.lstm(inner, weights, [], [name] if sequences else ["", name])
        _squeeze_direction(graph, layer.kind == "Bidirectional", sequences)
    else:
        raise NotImplementedError(layer.kind)


def _shapes(case: Case) -> Iterator[list[int]]:
    """The shapes of a whole model's input and output."""
    yield [case.batch, case.steps, case.features] if case.features else [case.batch, case.steps]
    last = case.layers[-1]
    if last.kind == "TimeDistributed":
        yield [case.batch, case.steps, last.inner.options["units"]]
    else:
        yield [case.batch, last.options["units"]]


def whole_model(case: Case, weights: list[list[np.ndarray]]) -> bytes:
    """A whole model in Keras's layout, with the shapes of the case."""
    graph = _Graph("x")
    for layer, arrays in zip(case.layers, weights, strict=True):
        _add(graph, layer, arrays)
    graph.node("Identity", [graph.flow], ["y"])
    shape_in, shape_out = _shapes(case)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT if case.features else TensorProto.INT32, shape_in)
    return _model(case, graph, [x], [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape_out)])
