"""`from_onnx` beside ONNX Runtime: every attribute of the recurrent nodes, what exporters write, and hostile files."""

from __future__ import annotations

import io
import pickle
import sys
import types

import numpy as np
import oracle
import pytest
from programs import run_python

import lstmfast
from lstmfast.converting import onnx_graph

onnx = oracle.needed("onnx")
runtime = oracle.needed("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STATES = {"LSTM": ["h", "c"], "GRU": ["h"], "RNN": ["h"]}
X = TensorProto.FLOAT


def proto(nodes, inputs, outputs, constants=None, opset=17):
    """A ModelProto; inputs and outputs are {name: (type, shape)}."""
    weights = [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in (constants or {}).items()]
    ports = [
        [helper.make_tensor_value_info(name, *told) for name, told in group.items()] for group in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "graph", *ports, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def peer(model, feeds):
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def as_list(outputs):
    return outputs if isinstance(outputs, list) else [outputs]


def assert_as_peer(model, feeds, inputs=None):
    """The same shapes, types and numbers as ONNX Runtime's."""
    mine = as_list(lstmfast.from_onnx(model)(feeds if inputs is None else inputs))
    theirs = peer(model, feeds)
    for got, expected in zip(mine, theirs, strict=True):
        assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
        if expected.dtype.kind == "f":
            oracle.assert_close(got, expected, oracle.LOOSE * (1 + np.abs(expected)))
        else:
            assert np.array_equal(got, expected)


def recurrent(
    kind,
    direction="forward",
    bias=True,
    state=False,
    lengths=False,
    layout=0,
    sizes=(5, 3, 4, 9),
    seed=0,
    outputs=None,
    **attributes,
):
    """One node with random weights, and what to feed it: steps, batch, features and units."""
    steps, batch, features, units = sizes
    random = np.random.default_rng(seed)
    count, width = 2 if direction == "bidirectional" else 1, GATES[kind] * units
    constants = {
        "W": random.uniform(-0.6, 0.6, (count, width, features)),
        "R": random.uniform(-0.6, 0.6, (count, width, units)),
    }
    if bias:
        constants["B"] = random.uniform(-0.6, 0.6, (count, 2 * width))
    constants = {name: array.astype("float32") for name, array in constants.items()}
    feeds = {"x": random.uniform(-1, 1, (steps, batch, features)).astype("float32")}
    names = ["x", "W", "R", "B" if bias else "", "", *[""] * len(STATES[kind])]
    if lengths:
        feeds["lengths"] = random.integers(1, steps + 1, batch).astype("int32")
        names[4] = "lengths"
    for place, name in enumerate(STATES[kind] if state else ()):
        feeds[name] = random.uniform(-1, 1, (count, batch, units)).astype("float32")
        names[5 + place] = name
    if layout:
        attributes["layout"] = 1
        feeds = {key: np.swapaxes(value, 0, 1) if value.ndim == 3 else value for key, value in feeds.items()}
    made = outputs or ["y", *(f"y_{name}" for name in STATES[kind])]
    node = helper.make_node(kind, names, made, hidden_size=units, direction=direction, **attributes)
    ports = {
        name: (TensorProto.INT32 if name == "lengths" else X, [None] * array.ndim) for name, array in feeds.items()
    }
    return proto([node], ports, {name: (X, None) for name in made if name}, constants), feeds


@pytest.mark.parametrize("name", ["B", "P"])
def test_weights_that_are_computed_are_refused(name):
    model, _ = recurrent("LSTM")
    graph = model.graph
    if name == "B":
        stored = next(tensor for tensor in graph.initializer if tensor.name == "B")
        graph.initializer.remove(stored)
    else:
        graph.node[0].input.append("P")
    graph.input.append(helper.make_tensor_value_info(name, X, [1, None]))
    with pytest.raises(NotImplementedError, match=f"the input {name} has to be a weight"):
        lstmfast.from_onnx(model)


@pytest.mark.parametrize("state", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("bias", [False, True], ids=["no_bias", "bias"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU after", "RNN"])
def test_nodes(kind, direction, bias, state):
    kind, *after = kind.split()
    options = {"linear_before_reset": 1} if after else {}
    assert_as_peer(*recurrent(kind, direction, bias, state, **options))
    assert_as_peer(*recurrent(kind, direction, bias, state, lengths=True, **options))


@pytest.mark.parametrize("seed", range(30))
def test_random_nodes(seed):
    random = np.random.default_rng(seed)
    kind = ["LSTM", "GRU", "RNN"][seed % 3]
    options = {"linear_before_reset": int(random.integers(2))} if kind == "GRU" else {}
    flags = [bool(random.integers(2)) for _ in range(3)]
    direction = ["forward", "reverse", "bidirectional"][random.integers(3)]
    sizes = tuple(int(random.integers(1, most)) for most in (20, 12, 40, 70))
    assert_as_peer(*recurrent(kind, direction, *flags, sizes=sizes, seed=seed, **options))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", GATES)
def test_the_batch_first_layout(kind, direction):
    """ONNX Runtime has no layout=1 for the CPU: the other layout, turned, is what it has to give."""
    first, turned = recurrent(kind, direction, state=True, layout=1)
    other, feeds = recurrent(kind, direction, state=True)
    mine, expected = lstmfast.from_onnx(first)(turned), lstmfast.from_onnx(other)(feeds)
    assert np.array_equal(mine[0], np.transpose(expected[0], (2, 0, 1, 3)))
    for got, state in zip(mine[1:], expected[1:], strict=True):
        assert np.array_equal(got, np.swapaxes(state, 0, 1))


def test_float64():
    """ONNX Runtime has no GRU and LSTM in float64: float32's numbers are near."""
    for kind in GATES:
        model, feeds = recurrent(kind)
        wide, _ = recurrent(kind)
        for tensor in wide.graph.initializer:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float64"), tensor.name))
        for port in [*wide.graph.input, *wide.graph.output]:
            port.type.tensor_type.elem_type = TensorProto.DOUBLE
        for got, near in zip(lstmfast.from_onnx(wide)(feeds), lstmfast.from_onnx(model)(feeds), strict=True):
            assert got.dtype == np.float64
            oracle.assert_close(got, near, oracle.LOOSE)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RNN", {"activations": ["Relu"]}),
        ("RNN", {"activations": ["Softsign"]}),
        ("RNN", {"activations": ["Softplus"]}),
        ("RNN", {"activations": ["Elu"], "activation_alpha": [0.5]}),
        ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.3]}),
        ("RNN", {"activations": ["LeakyRelu"]}),
        ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.2]}),
        ("RNN", {"activations": ["HardSigmoid"], "activation_alpha": [0.2], "activation_beta": [0.5]}),
        ("RNN", {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]}),
        ("GRU", {"activations": ["HardSigmoid", "Relu"], "activation_alpha": [0.2], "activation_beta": [0.5]}),
        ("GRU", {"activations": ["Sigmoid", "Softsign"], "linear_before_reset": 1}),
        ("LSTM", {"activations": ["Sigmoid", "Relu", "Relu"]}),
        ("LSTM", {"activations": ["sigmoid", "tanh", "TANH"]}),
        ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [0.2]}),
    ],
    ids=str,
)
def test_activations(kind, options):
    assert_as_peer(*recurrent(kind, **options))
    twice = {name: value * 2 if isinstance(value, list) else value for name, value in options.items()}
    assert_as_peer(*recurrent(kind, "bidirectional", **twice))


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("LSTM", {"clip": 1.0}, "clip"),
        ("LSTM", {"input_forget": 1}, "input_forget"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}, "g and h differ"),
        ("RNN", {"activations": ["Affine"], "activation_alpha": [2.0]}, "Affine with alpha=2.0"),
        ("GRU", {"activations": ["HardSigmoid", "Tanh"], "activation_alpha": [0.3]}, "HardSigmoid"),
        ("RNN", {"activations": ["Wobble"]}, "Wobble"),
        ("RNN", {"wobble": 3}, "wobble"),
    ],
    ids=str,
)
def test_refused_attributes(kind, options, said):
    model, _ = recurrent(kind, **options)
    with pytest.raises(NotImplementedError, match=said):
        lstmfast.from_onnx(model)


def test_peepholes_are_refused():
    model, _ = recurrent("LSTM")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 27), "float32"), "P"))
    model.graph.node[0].input.append("P")
    with pytest.raises(NotImplementedError, match="peepholes"):
        lstmfast.from_onnx(model)


@pytest.mark.parametrize("outputs", [["", "y_h"], ["y"], ["", "", "y_c"]])
def test_outputs_that_nobody_asks_for(outputs):
    assert_as_peer(*recurrent("LSTM", "bidirectional", lengths=True, outputs=outputs))


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("head", [False, True], ids=["states", "linear"])
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_what_pytorch_exports(kind, head, tmp_path):
    torch = oracle.needed("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for number, (bidirectional, batch_first) in enumerate([(False, False), (True, True), (True, False)]):

        class Net(torch.nn.Module):
            def __init__(self, bidirectional=bidirectional, batch_first=batch_first):
                super().__init__()
                self.rnn = getattr(torch.nn, kind)(
                    5, 7, num_layers=2, bidirectional=bidirectional, batch_first=batch_first
                )
                self.linear = torch.nn.Linear(14 if bidirectional else 7, 3)

            def forward(self, x):
                y, state = self.rnn(x)
                return torch.softmax(self.linear(y), -1) if head else (y, state)

        buffer = io.BytesIO()
        torch.onnx.export(
            Net().eval(),
            (torch.zeros(2, 4, 5),),
            buffer,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "first", 1: "second"}},
            opset_version=[11, 13, 18][number],
        )
        x = np.random.default_rng(0).standard_normal((4, 6, 5)).astype("float32")
        assert_as_peer(onnx.load_from_string(buffer.getvalue()), {"x": x}, x)


def test_what_tf2onnx_exports(tf_keras):
    tf2onnx = oracle.needed("tf2onnx")
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            tf_keras.Input((None,), dtype="int32"),
            layers.Embedding(20, 4),
            layers.LSTM(8, return_sequences=True),
            layers.Bidirectional(layers.GRU(5)),
            layers.RepeatVector(3),
            layers.GRU(6, return_sequences=True),
            layers.TimeDistributed(layers.Dense(2, activation="softmax")),
        ]
    )
    x = np.random.default_rng(0).integers(0, 20, (4, 6)).astype("int32")
    exported, _ = tf2onnx.convert.from_keras(model, opset=17)
    mine = lstmfast.from_onnx(exported)(x)
    oracle.assert_close(mine, model(x).numpy(), oracle.LOOSE)
    assert_as_peer(exported, {exported.graph.input[0].name: x}, x)


# -- the other operators ------------------------------------------------------------------------------------------

SIMPLE = {
    1: "Abs Ceil Exp Floor HardSigmoid HardSwish Identity LeakyRelu LogSoftmax Neg Relu Selu Sigmoid Sign Softmax "
    "Softplus Softsign Tanh Elu Celu ThresholdedRelu Mish Flatten Shape Transpose Squeeze ArgMax ArgMin ReduceMax "
    "ReduceMin ReduceMean Reciprocal Dropout Erf",
    2: "Add Sub Mul Div Max Min Sum Equal Greater Less GreaterOrEqual LessOrEqual MatMul PRelu",
}
OPTIONS = {
    "LeakyRelu": {"alpha": 0.3},
    "Elu": {"alpha": 0.7},
    "Celu": {"alpha": 0.7},
    "ThresholdedRelu": {"alpha": 0.4},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "Softmax": {"axis": 1},
    "Flatten": {"axis": 2},
    "Shape": {"start": 1},
    "Transpose": {"perm": [2, 0, 1]},
    "ArgMax": {"axis": 1, "keepdims": 0},
    "ReduceMax": {"axes": [1], "keepdims": 0},
    "ReduceMean": {"axes": [0, 2]},
    "Gemm": {"alpha": 0.5, "beta": 2.0, "transB": 1},
}


def small(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype("float32")


@pytest.mark.parametrize(
    ("operator", "count", "constant"),
    [(name, count, constant) for count, names in SIMPLE.items() for name in names.split() for constant in range(count)],
)
def test_simple_operators(operator, count, constant):
    feeds = {"a": small(2, 3, 4), "b": small(4, 4, seed=1)}
    if operator in ("Sub", "Equal"):
        feeds["b"] = feeds["a"][1].copy()
    names = list(feeds)[:count]
    node = helper.make_node(operator, names, ["y"], **OPTIONS.get(operator, {}))
    if operator not in ("MatMul",) and count == 2:
        feeds["b"] = feeds["b"][:3] if operator != "PRelu" else feeds["b"][:1]
    constants = {"b": feeds.pop("b")} if constant or count == 1 else {}
    fed = {name: feeds[name] for name in names if name in feeds}
    ports = {name: (X, [None] * array.ndim) for name, array in fed.items()}
    model = proto([node], ports, {"y": (X, None)}, constants, opset=18 if operator == "Mish" else 17)
    outputs = {"Shape": TensorProto.INT64, "ArgMax": TensorProto.INT64, "ArgMin": TensorProto.INT64}
    outputs |= dict.fromkeys(("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"), TensorProto.BOOL)
    model.graph.output[0].type.tensor_type.elem_type = outputs.get(operator, X)
    assert_as_peer(model, fed)


REDUCTIONS = "L1 L2 Max Mean Min Prod Sum SumSquare LogSumExp".split()


def ints(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    ("operator", "constants", "options", "opset", "outputs"),
    [
        ("Gemm", {"b": small(5, 4), "c": small(5)}, {"transB": 1}, 17, 1),
        ("Gemm", {"b": small(5, 4), "c": small(1, 5)}, {"transB": 1, "alpha": 0.5, "beta": 2.0}, 17, 1),
        ("Gemm", {"b": small(3, 5)}, {"transA": 1}, 17, 1),
        ("Reshape", {"s": ints(0, -1, 2)}, {}, 17, 1),
        ("Unsqueeze", {"s": ints(0, -1)}, {}, 17, 1),
        ("Unsqueeze", {}, {"axes": [1]}, 11, 1),
        ("Slice", {"s": ints(-2), "e": ints(1 << 62), "a": ints(1)}, {}, 17, 1),
        ("Slice", {"s": ints(5, 0), "e": ints(-(1 << 62), 2), "a": ints(1, 0), "t": ints(-2, 1)}, {}, 17, 1),
        ("Slice", {}, {"starts": [1], "ends": [3], "axes": [1]}, 9, 1),
        ("Gather", {"i": np.array([[0, -1], [1, 1]])}, {"axis": 1}, 17, 1),
        ("Split", {}, {"axis": 1}, 13, 2),
        ("Split", {"s": ints(1, 3)}, {"axis": 1}, 13, 2),
        ("Split", {}, {"axis": 0, "num_outputs": 2}, 18, 2),
        ("Expand", {"s": ints(2, 1, 4)}, {}, 17, 1),
        ("Tile", {"s": ints(2, 3)}, {}, 17, 1),
        ("Cast", {}, {"to": TensorProto.INT32}, 17, 1),
        ("Clip", {"l": np.array(-1, "f"), "h": np.array(0.5, "f")}, {}, 17, 1),
        ("Clip", {}, {"min": -1.0}, 10, 1),
        ("Pow", {"e": np.array(2, "f")}, {}, 17, 1),
        ("ReduceSum", {"a": ints(1)}, {"keepdims": 0}, 17, 1),
        ("ReduceSum", {}, {"noop_with_empty_axes": 1}, 17, 1),
        *((f"Reduce{kind}", {"a": ints(-1)}, {"keepdims": place % 2}, 18, 1) for place, kind in enumerate(REDUCTIONS)),
        *((f"Reduce{kind}", {}, {}, 18, 1) for kind in REDUCTIONS),
        *((f"Reduce{kind}", {}, {"axes": [0], "keepdims": 0}, 12, 1) for kind in REDUCTIONS),
        ("GatherElements", {"i": np.array([[0, -1], [3, -4]])}, {"axis": 1}, 17, 1),
        ("GatherElements", {"i": np.array([[0, -1, 2, 1]], "int32")}, {}, 17, 1),
        ("GatherElements", {"i": np.zeros((0, 3), "int64")}, {"axis": -2}, 17, 1),
        ("GatherND", {"i": np.array([[[0, -1]], [[-3, 2]]])}, {}, 17, 1),
        ("GatherND", {"i": np.array([[2], [-1]])}, {}, 17, 1),
        ("GatherND", {"i": ints(1, 1)}, {}, 17, 1),
        ("GatherND", {"i": np.array([[0], [-1], [3]])}, {"batch_dims": 1}, 17, 1),
        ("Softmax", {}, {"axis": 0}, 12, 1),
        ("LogSoftmax", {}, {}, 11, 1),
        ("Gelu", {}, {"approximate": "tanh"}, 20, 1),
        ("Gelu", {}, {}, 20, 1),
        ("Concat", {"b": small(3, 2)}, {"axis": 1}, 17, 1),
        ("BatchNormalization", {name: abs(small(4, seed=3)) for name in "bcde"}, {"epsilon": 1e-3}, 17, 1),
        ("LayerNormalization", {"s": small(4), "b": small(4)}, {"epsilon": 1e-3}, 17, 1),
        ("Squeeze", {"s": ints(0)}, {}, 17, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operators(operator, constants, options, opset, outputs):
    x = small(3, 4)[None] if operator == "Squeeze" else small(3, 4)
    names = [f"y{place}" for place in range(outputs)]
    node = helper.make_node(operator, ["x", *constants], names, **options)
    kind = options.get("to", X)
    model = proto([node], {"x": (X, [None] * x.ndim)}, dict.fromkeys(names, (kind, None)), constants, opset)
    assert_as_peer(model, {"x": x}, x)


@pytest.mark.parametrize("options", [{}, {"keepdims": 0}, {"noop_with_empty_axes": 1}], ids=str)
@pytest.mark.parametrize("kind", [*REDUCTIONS, "LogSum"])
def test_reductions_without_axes(kind, options):
    """What is not reduced is squared, or made positive, all the same."""
    node = helper.make_node(f"Reduce{kind}", ["x"], ["y"], **options)
    x = np.abs(small(2, 3, 4)) if kind == "LogSum" else small(2, 3, 4)
    assert_as_peer(proto([node], {"x": (X, [None] * 3)}, {"y": (X, None)}, opset=18), {"x": x})


@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceSum", "ReduceProd", "ReduceMax", "ReduceL1"])
def test_reductions_of_integers(operator, kind):
    """ONNX Runtime has ReduceMean and ReduceL1 of no int64: there the reference stands in."""
    x = np.array([[-7, 2, 0], [5, 5, 1], [-1, -1, (1 << 30) + 1]], kind)
    code = helper.np_dtype_to_tensor_dtype(x.dtype)
    node = helper.make_node(operator, ["x", "axis"], ["y"], keepdims=0)
    model = proto([node], {"x": (code, [None, 3])}, {"y": (code, [None])}, {"axis": ints(1)}, opset=18)
    if kind == "int32" or operator in ("ReduceSum", "ReduceMax"):
        assert_as_peer(model, {"x": x})
    else:
        expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
        got = lstmfast.from_onnx(model)(x)
        assert got.dtype == expected.dtype
        assert np.array_equal(got, expected)


def test_the_last_step_of_each_sequence():
    """As networks in PyTorch choose it, with `gather` or by two lists of places."""
    x, lengths = small(3, 5, 4), ints(2, 5, 1)
    places = (lengths - 1)[:, None, None]
    nodes = [
        helper.make_node("Expand", ["places", "size"], ["wide"]),
        helper.make_node("GatherElements", ["x", "wide"], ["gathered"], axis=1),
        helper.make_node("GatherND", ["x", "pairs"], ["chosen"], batch_dims=1),
    ]
    constants = {"size": ints(1, 1, 4)}
    feeds = {"x": x, "places": places, "pairs": (lengths - 1)[:, None]}
    ports = {name: (X if name == "x" else TensorProto.INT64, [None] * array.ndim) for name, array in feeds.items()}
    model = proto(nodes, ports, {"gathered": (X, None), "chosen": (X, None)}, constants)
    assert_as_peer(model, feeds)
    assert np.array_equal(lstmfast.from_onnx(model)(feeds)[1], x[np.arange(3), lengths - 1])


@pytest.mark.parametrize(
    ("node", "shapes"),
    [
        (("MatMul",), [(2, 1), (3, 4)]),
        (("MatMul",), [(5, 2, 1), (1, 3, 4)]),
        (("Gemm",), [(2, 1), (3, 4)]),
        (("Gemm",), [(1, 3), (3, 1), (2, 4)]),
        (("GatherElements",), [(3, 4), (1, 5)]),
        (("GatherElements",), [(3, 4), (1,)]),
        (("GatherElements",), [(3, 4), (4, 1)]),
        (("GatherND", "batch_dims"), [(3, 4), (2, 1)]),
        (("GatherND",), [(3, 4), (2, 3)]),
        (("BatchNormalization",), [(2, 3), (1,), (3,), (3,), (3,)]),
        (("BatchNormalization",), [(2, 1, 3), (3,), (3,), (3,), (3,)]),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused_as_by_the_peer(node, shapes):
    operator, *options = node
    names = [f"x{place}" for place in range(len(shapes))]
    made = helper.make_node(operator, names, ["y"], **dict.fromkeys(options, 1))
    kinds = [np.int64 if operator.startswith("Gather") and place else np.float32 for place in range(len(shapes))]
    feeds = {name: np.ones(shape, kind) for name, shape, kind in zip(names, shapes, kinds, strict=True)}
    if operator == "GatherElements":
        feeds["x1"] += 3 if shapes[1] == (4, 1) else 0  # past the end
    ports = {name: (helper.np_dtype_to_tensor_dtype(a.dtype), [None] * a.ndim) for name, a in feeds.items()}
    model = proto([made], ports, {"y": (X, None)})
    with pytest.raises(Exception, match=operator):
        peer(model, feeds)
    with pytest.raises(ValueError, match=operator):
        lstmfast.from_onnx(model)(feeds)


@pytest.mark.parametrize(
    ("operator", "inputs", "outputs", "said"),
    [
        ("Relu", [""], ["y"], "input 0 is left out"),
        ("Relu", [], ["y"], "expected 1 inputs, got 0"),
        ("Where", ["", "x", "x"], ["y"], "input 0 is left out"),
        ("Equal", ["x", ""], ["y"], "input 1 is left out"),
        ("Concat", ["x", ""], ["y"], "input 1 is left out"),
        ("Abs", ["x", "x"], ["y"], "expected 1 inputs, got 2"),
        ("Add", ["x", "x", "x"], ["y"], "expected 2 inputs, got 3"),
        ("LSTM", ["x", "", "x"], ["y"], "W has to be a weight"),
        ("Relu", ["x"], ["z", "y"], "makes 1 outputs, and 2 are named"),
        ("Split", ["x"], ["y", "z"], "num_outputs"),
    ],
    ids=str,
)
def test_numbers_of_inputs_and_outputs(operator, inputs, outputs, said):
    options = {"Concat": {"axis": 0}, "Split": {"num_outputs": 1 << 33}}.get(operator, {})
    node = helper.make_node(operator, inputs, outputs, **options)
    model = proto([node], {"x": (X, [2])}, {"y": (X, None)}, opset=18)
    x = small(2)
    before = x.copy()
    with pytest.raises((ValueError, NotImplementedError), match=said):
        lstmfast.from_onnx(model)(x)
    assert np.array_equal(x, before)


def test_outputs_that_nobody_reads_need_not_be_made():
    node = helper.make_node("LayerNormalization", ["x", "s"], ["y", "mean", "deviation"])
    assert_as_peer(proto([node], {"x": (X, [2, 4])}, {"y": (X, None)}, {"s": small(4)}), {"x": small(2, 4)})


def test_integers_and_choices():
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["rows"]),
        helper.make_node("Range", ["zero", "rows", "one"], ["range"]),
        helper.make_node("Div", ["minus", "two"], ["half"]),
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=numpy_helper.from_array(np.array([1.5], "f"))),
        helper.make_node("Greater", ["x", "ones"], ["large"]),
        helper.make_node("Not", ["large"], ["small"]),
        helper.make_node("And", ["large", "small"], ["neither"]),
        helper.make_node("Or", ["neither", "large"], ["chosen"]),
        helper.make_node("Where", ["chosen", "x", "ones"], ["y"]),
        helper.make_node("Sqrt", ["y"], ["root"]),
        helper.make_node("Log", ["y"], ["log"]),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "minus": ints(-7, 7), "two": ints(2, -3)}
    outputs = {"range": (TensorProto.INT64, None), "half": (TensorProto.INT64, None)}
    outputs |= dict.fromkeys(("y", "root", "log"), (X, None))
    model = proto(nodes, {"x": (X, [None, 4])}, outputs, constants)
    assert_as_peer(model, {"x": small(3, 4)})


# -- the model ----------------------------------------------------------------------------------------------------


def stacked(units=33):
    """LSTM, GRU behind it, and a head: a graph as exporters write it."""
    random = np.random.default_rng(0)
    constants = {
        "W1": random.uniform(-0.4, 0.4, (1, 4 * units, 5)),
        "R1": random.uniform(-0.4, 0.4, (1, 4 * units, units)),
        "W2": random.uniform(-0.4, 0.4, (1, 3 * 6, units)),
        "R2": random.uniform(-0.4, 0.4, (1, 3 * 6, 6)),
        "K": random.uniform(-1, 1, (6, 3)),
        "b": random.uniform(-1, 1, 3),
    }
    constants = {name: array.astype("float32") for name, array in constants.items()} | {
        "axis": ints(1),
        "first": ints(0),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["xt", "W1", "R1"], ["y1"], hidden_size=units),
        helper.make_node("Squeeze", ["y1", "axis"], ["s1"]),
        helper.make_node("GRU", ["s1", "W2", "R2"], ["", "h2"], hidden_size=6),
        helper.make_node("Squeeze", ["h2", "first"], ["s2"]),
        helper.make_node("MatMul", ["s2", "K"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"]),
    ]
    return proto(nodes, {"x": (X, ["batch", "steps", 5])}, {"y": (X, ["batch", 3])}, constants)


def normed(constant, units=40, features=30):
    """An LSTM whose weights are products of directions and lengths, as under PyTorch's weight_norm."""
    model, feeds = recurrent("LSTM", sizes=(5, 3, features, units))
    nodes = [
        helper.make_node("ReduceL2", ["W"], ["norm"], axes=[2]),
        helper.make_node("Div", ["W", "norm"], ["unit"]),
        helper.make_node("Mul", ["unit", "length"], ["made"]),
    ]
    model.graph.initializer.append(numpy_helper.from_array(small(1, 4 * units, 1), "length"))
    if constant:  # weights as nodes, as some exporters have them
        stored = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer]
        del model.graph.initializer[:]
        nodes = [*stored, *nodes]
    model.graph.node[0].input[1] = "made"
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    return model, feeds


@pytest.mark.parametrize("constant", [False, True], ids=["weights", "nodes"])
def test_arithmetic_on_weights_is_done_once(constant, monkeypatch):
    assert_as_peer(*normed(constant))
    monkeypatch.setattr(onnx_graph, "_MOST_FOLDED", 0)  # what is allowed follows the size of the weights too
    mine = lstmfast.from_onnx(normed(constant)[0])
    assert [step.node.operator for step in mine._steps] == ["LSTM"]
    assert "norm" not in mine._constants


def test_a_model_folds_no_more_than_it_may(monkeypatch):
    """What is too much stays a node; that is seen in all together, and not in each alone."""
    nodes = [helper.make_node("Gather", ["table", "places"], [f"y{place}"]) for place in range(20)]
    constants = {"table": small(1), "places": np.zeros(99, "int64")}
    model = proto(nodes, {}, {f"y{place}": (X, [99]) for place in range(20)}, constants)
    monkeypatch.setattr(onnx_graph, "_MOST_FOLDED", 0)
    mine = lstmfast.from_onnx(model)
    assert len(mine._steps) == 20 - onnx_graph._FOLDED_TIMES * 100 // 99
    assert_as_peer(model, {})


def test_loops_are_refused_with_what_else_to_do():
    model = proto([helper.make_node("Loop", ["n", "", "x"], ["y"])], {"x": (X, [2])}, {"y": (X, None)})
    with pytest.raises(NotImplementedError, match=r"Loop\..*dynamo=False.*from_keras"):
        lstmfast.from_onnx(model)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_what_pytorch_exports_by_default():
    """A program, which holds a ModelProto."""
    torch = oracle.needed("torch")
    oracle.needed("onnxscript")
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.utils.parametrizations.weight_norm(
                torch.nn.LSTM(5, 7, batch_first=True), "weight_hh_l0"
            )

        def forward(self, x, lengths):
            y, _ = self.rnn(x)
            return torch.nn.functional.normalize(y[torch.arange(x.shape[0]), lengths - 1])

    batch, steps = torch.export.Dim("batch"), torch.export.Dim("steps")
    sizes = {"x": {0: batch, 1: steps}, "lengths": {0: batch}}
    example = (torch.zeros(2, 4, 5), torch.tensor([4, 1]))
    program = torch.onnx.export(Net().eval(), example, dynamo=True, dynamic_shapes=sizes, verbose=False)
    inputs = [small(3, 6, 5), ints(2, 6, 1)]
    mine = lstmfast.from_onnx(program)
    (expected,) = peer(program.model_proto, dict(zip(mine.input_names, inputs, strict=True)))
    oracle.assert_close(mine(inputs), expected, oracle.LOOSE)


def test_constants_without_a_finite_value_warn_of_nothing():
    nodes = [helper.make_node("Log", ["zero"], ["log"]), helper.make_node("Div", ["x", "log"], ["y"])]
    nodes.append(helper.make_node("Div", ["one", "zero"], ["z"]))
    constants = {"zero": np.zeros(2, "f"), "one": np.ones(2, "f")}
    model = proto(nodes, {"x": (X, [2])}, {"y": (X, None), "z": (X, None)}, constants)
    with np.errstate(all="raise"):
        assert_as_peer(model, {"x": small(2)})


def test_same_bits_alone_and_pickled():
    model = lstmfast.from_onnx(stacked())
    x = small(40, 6, 5)
    y = model(x)
    assert np.array_equal(model.predict(x[7:8])[0], y[7])
    data = pickle.dumps(model)
    assert np.array_equal(pickle.loads(data)(x), y)
    packed = sum(tensor.ByteSize() for tensor in stacked().graph.initializer)
    assert len(data) < packed + 8192


def test_a_pickle_needs_no_onnx(tmp_path):
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(lstmfast.from_onnx(stacked())))
    code = f"""
    import pickle, sys, numpy as np
    model = pickle.loads(open({str(path)!r}, "rb").read())
    assert model(np.zeros((2, 6, 5))).shape == (2, 3)
    assert "onnx" not in sys.modules and "google" not in sys.modules
    """
    run_python(code)


def test_sources(tmp_path):
    proto_model = stacked()
    data, path, x = proto_model.SerializeToString(), tmp_path / "model.onnx", small(2, 6, 5)
    path.write_bytes(data)
    expected = lstmfast.from_onnx(proto_model)(x)
    program = types.SimpleNamespace(model_proto=proto_model)  # as a torch.onnx.ONNXProgram has it
    for source in (data, bytearray(data), path, str(path), program):
        assert np.array_equal(lstmfast.from_onnx(source)(x), expected)


def test_inputs_and_outputs():
    model, feeds = recurrent("LSTM", state=True)
    mine = lstmfast.from_onnx(model)
    assert mine.input_names == ["x", "h", "c"]
    assert mine.output_names == ["y", "y_h", "y_c"]
    assert [port.dtype for port in mine.inputs] == ["float32"] * 3
    expected = mine(feeds)
    for inputs in (
        list(feeds.values()),
        tuple(feeds.values()),
        {name: v.astype("float64") for name, v in feeds.items()},
    ):
        for got, one in zip(mine(inputs), expected, strict=True):
            assert np.array_equal(got, one)
    for inputs, said in (
        (feeds["x"], "Expected 3 inputs"),
        ({"x": feeds["x"]}, "Expected the inputs"),
        ({**feeds, "z": 0}, "Expected the inputs"),
        ({**feeds, "x": feeds["x"][0]}, "Input 'x' has shape"),
        ({**feeds, "h": feeds["h"][:, :2]}, "initial_h has shape"),
    ):
        with pytest.raises(ValueError, match=said):
            mine(inputs)
    with pytest.raises(TypeError, match="real numbers"):
        mine({**feeds, "x": np.full((5, 3, 4), "a")})


def test_outputs_are_the_caller_s():
    """An output that is an input or a weight is copied."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    model = lstmfast.from_onnx(proto(nodes, {"x": (X, [3])}, {"y": (X, [3]), "w": (X, [3])}, {"w": small(3)}))
    x = small(3, seed=1)
    y, w = model(x)
    w[:] = 0
    y[:] = 0
    assert x.any()
    assert model(x)[1].any()


def test_weights_beside_the_file(tmp_path):
    model, x = stacked(), small(2, 6, 5)
    expected = lstmfast.from_onnx(model)(x)
    path = tmp_path / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="model.data", size_threshold=0)
    assert np.array_equal(lstmfast.from_onnx(path)(x), expected)
    with pytest.raises(ValueError, match="pass the model's path"):
        lstmfast.from_onnx(path.read_bytes())


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install onnx"):
        lstmfast.from_onnx(b"")


# -- hostile files ------------------------------------------------------------------------------------------------


def changed(change):
    model = stacked()
    change(model)
    return model


def outside(location, **entries):
    def change(model):
        tensor = model.graph.initializer[0]
        size = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "length": size, **entries}.items():
            tensor.external_data.add(key=key, value=str(value))

    return change


def grow(operator, *inputs, **options):
    """A node that makes far more than the file holds."""

    def change(model):
        model.graph.initializer.append(numpy_helper.from_array(ints(1 << 20, 1 << 20), "huge"))
        model.graph.node.insert(0, helper.make_node(operator, inputs, ["bomb"], **options))
        model.graph.output.append(helper.make_tensor_value_info("bomb", X, None))

    return change


def chain(operator, *inputs, weights=(), count=40, **options):
    """Nodes each of which takes the one before twice, or what follows it in ``inputs``."""

    def change(model):
        for name, array in weights:
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        last = inputs[0]
        for place in range(count):
            taken = [last, *(inputs[1:] or [last])]
            model.graph.node.insert(place, helper.make_node(operator, taken, [f"bomb{place}"], **options))
            last = f"bomb{place}"
        model.graph.output.append(helper.make_tensor_value_info(last, X, None))

    return change


def shape_of(*dims):
    def change(model):
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return change


HOSTILE = {
    "huge shape": shape_of(1 << 40, 1 << 40),
    "negative shape": shape_of(-1, 132, 5),
    "wrong shape": shape_of(1, 130, 5),
    "transposed": shape_of(1, 5, 132),
    "flat": shape_of(660),
    "half": lambda model: setattr(model.graph.initializer[0], "data_type", TensorProto.FLOAT16),
    "strings": lambda model: setattr(model.graph.initializer[0], "data_type", TensorProto.STRING),
    "unknown type": lambda model: setattr(model.graph.initializer[0], "data_type", 99),
    "outside, up": outside("../../../../etc/passwd"),
    "outside, absolute": outside("/etc/passwd"),
    "outside, device": outside("/dev/zero"),
    "outside, missing": outside("nowhere.data"),
    "outside, folder": outside("."),
    "outside, short": outside("short.data"),
    "outside, negative": outside("short.data", offset=-5),
    "outside, no number": outside("short.data", offset="x"),
    "outside, link": outside("link.data"),
    "cycle": lambda model: model.graph.node[0].input.__setitem__(0, "y"),
    "unknown input": lambda model: model.graph.node[5].input.__setitem__(0, "nowhere"),
    "unknown output": lambda model: setattr(model.graph.output[0], "name", "nowhere"),
    "two of a name": lambda model: model.graph.node[5].output.__setitem__(0, "s2"),
    "no inputs": lambda model: model.graph.node[1].ClearField("input"),
    "no outputs": lambda model: model.graph.node[1].ClearField("output"),
    "computed weights": lambda model: model.graph.node[1].input.__setitem__(1, "xt"),
    "zero units": lambda model: model.graph.node[1].attribute[0].__setattr__("i", 0),
    "huge units": lambda model: model.graph.node[1].attribute[0].__setattr__("i", 1 << 60),
    "negative units": lambda model: model.graph.node[1].attribute[0].__setattr__("i", -33),
    "direction": lambda model: model.graph.node[1].attribute.append(helper.make_attribute("direction", "up")),
    "direction of a wrong type": lambda model: model.graph.node[1].attribute.append(
        helper.make_attribute("direction", [1, 2])
    ),
    "two directions": lambda model: model.graph.node[1].attribute.append(
        helper.make_attribute("direction", "bidirectional")
    ),
    "activations of a wrong type": lambda model: model.graph.node[1].attribute.append(
        helper.make_attribute("activations", [1, 2, 3])
    ),
    "too few activations": lambda model: model.graph.node[1].attribute.append(
        helper.make_attribute("activations", ["Tanh"])
    ),
    "perm of a wrong type": lambda model: model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("perm", "a")),
    "a graph as attribute": lambda model: model.graph.node[0].attribute.append(
        helper.make_attribute("body", model.graph)
    ),
    "unknown operator": lambda model: setattr(model.graph.node[0], "op_type", "Loop"),
    "unknown domain": lambda model: setattr(model.graph.node[0], "domain", "com.example"),
    "no opset": lambda model: model.ClearField("opset_import"),
    "old opset": lambda model: setattr(model.opset_import[0], "version", 6),
    "no graph": lambda model: model.ClearField("graph"),
    "tile": grow("Tile", "K", "huge"),
    "expand": grow("Expand", "axis", "huge"),
    "constant of shape": grow("ConstantOfShape", "huge"),
    "concat": chain("Concat", "K", axis=0),
    "concat of an input": chain("Concat", "x", axis=0),
    "gather": chain("Gather", "K", "places", weights=[("places", np.zeros((1, 1 << 15), "int64"))], count=2),
    "gather nd": chain("GatherND", "b", "places", weights=[("places", np.zeros((1, 1 << 15, 1), "int64"))], count=2),
    "sum": chain("Add", "flat", "tall", weights=[("flat", np.zeros((1, 1 << 20))), ("tall", np.zeros((1 << 20, 1)))]),
    "gemm": chain("Gemm", "flat", "flat", weights=[("flat", np.zeros((1, 1 << 20)))], count=1, transA=1),
    "empty product": chain(
        *("MatMul", "flat", "tall"), weights=[("flat", np.zeros((1 << 36, 0))), ("tall", np.zeros((0, 8)))], count=1
    ),
    "empty sum": chain("ReduceSum", "none", "axis", weights=[("none", np.zeros((1 << 36, 0, 1)))], count=1),
    "wrong attribute": lambda model: (
        model.graph.node[1].attribute[0].CopyFrom(helper.make_attribute("hidden_size", "a"))
    ),
    "axis": lambda model: model.graph.node[7].attribute.append(helper.make_attribute("axis", 1 << 40)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_in_a_clear_error(name, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "_MOST_VALUES", 1 << 23)  # as large, and no more memory than a test needs
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "short.data").write_bytes(b"12345")
    (tmp_path / "target").write_bytes(bytes(1 << 16))
    (folder / "link.data").symlink_to(tmp_path / "target")
    path = folder / "model.onnx"
    path.write_bytes(changed(HOSTILE[name]).SerializeToString())
    with pytest.raises((ValueError, OSError, NotImplementedError)) as caught:
        lstmfast.from_onnx(path)(np.zeros((2, 6, 5)))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, b"PK\x03\x04", b"<html>", bytes(range(256)) * 4])
def test_what_is_no_onnx(data):
    with pytest.raises(OSError, match="ONNX"):
        lstmfast.from_onnx(data)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        lstmfast.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(TypeError):
        lstmfast.from_onnx(3)


def test_damaged_files_end_in_a_clear_error_or_run():
    """Whatever a flipped byte or a cut makes of a file, it ends in one of the promised errors."""
    good = stacked(units=5).SerializeToString()
    random = np.random.default_rng(0)
    for trial in range(1000):
        data = bytearray(good)
        if trial % 4 == 0:
            data = data[: random.integers(len(data))]
        else:
            for _ in range(random.integers(1, 4)):
                data[random.integers(len(data))] = random.integers(256)
        try:
            lstmfast.from_onnx(bytes(data))(np.zeros((2, 6, 5)))
        except (ValueError, OSError, NotImplementedError):
            continue


def test_open_sizes_below_zero():
    """As older exporters write them."""
    node = helper.make_node("Relu", ["x"], ["y"])
    model = proto([node], {"x": (X, [-1, 5, 3])}, {"y": (X, [-1, 5, 3])})
    assert_as_peer(model, {"x": np.ones((2, 5, 3), "float32")})
    with pytest.raises(ValueError, match=r"expected \(None, 5, 3\)"):
        lstmfast.from_onnx(model)(np.ones((2, 4, 3), "float32"))


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_no_rows_before_opset_13(operator):
    node = helper.make_node(operator, ["x"], ["y"], axis=1)
    model = proto([node], {"x": (X, [None, 5])}, {"y": (X, [None, 5])}, opset=12)
    for rows in (0, 3):
        assert_as_peer(model, {"x": np.arange(rows * 5, dtype="float32").reshape(rows, 5)})


@pytest.mark.parametrize("start", [-10, -3, -1, 0, 2, 9])
def test_slices_that_go_back(start):
    node = helper.make_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["y"])
    numbers = {"starts": [start], "ends": [np.iinfo("int64").min + 1], "axes": [0], "steps": [-1]}
    constants = {name: np.array(value, "int64") for name, value in numbers.items()}
    model = proto([node], {"x": (X, [3, 2])}, {"y": (X, [None, 2])}, constants)
    assert_as_peer(model, {"x": np.arange(6, dtype="float32").reshape(3, 2)})


def test_batch_normalization_of_opset_8():
    names = ["scale", "offset", "mean", "variance"]
    random = np.random.default_rng(0)
    constants = {name: random.uniform(0.5, 1, 3).astype("float32") for name in names}
    node = helper.make_node("BatchNormalization", ["x", *names], ["y"], spatial=1)
    model = proto([node], {"x": (X, [None, 3, 4])}, {"y": (X, [None, 3, 4])}, constants, opset=8)
    assert_as_peer(model, {"x": random.uniform(-1, 1, (2, 3, 4)).astype("float32")})
