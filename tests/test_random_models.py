"""Random models, saved by Keras 3 and tf_keras in every format, and taken over live.

Stacks of recurrent layers, their wrappers, Dense and the layers that only change shapes, with padding behind a Masking
layer or an Embedding; then graphs of every layer (model_cases.py). Each has to give what the Keras that made it gives.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import layer_cases
import model_cases
import numpy as np
import oracle
import pytest
from bits import assert_same_bits
from tutorial_models import build

import lstmfast

COUNT = 48
GRAPHS = {"keras": 160, "tf_keras": 12}
LONG_BLOCK, LONG_BLOCKS = 50, 20
SOURCES = (
    ("keras", "model.keras"),
    ("keras", "model.h5"),
    ("keras", None),
    ("tf_keras", "model.h5"),
    ("tf_keras", "model.keras"),
    ("tf_keras", None),
)
ELEMENTWISE = ("relu", "tanh", "sigmoid", "softmax", "elu", "selu", "softplus", "softsign", "linear", "swish", "gelu")


@dataclasses.dataclass(frozen=True)
class ModelCase:
    seed: int
    shape: tuple[int | None, ...]
    layers: tuple[tuple[Any, ...], ...]
    tokens: int = 0  # of an Embedding in front
    padded: bool = False

    def inputs(self) -> np.ndarray:
        random = np.random.default_rng([self.seed, 7])
        rows, steps = int(random.integers(1, 6)), self.shape[0] or int(random.integers(2, 7))
        if self.tokens:
            x = random.integers(1, self.tokens, (rows, steps)).astype("int32")
        else:
            x = random.uniform(-1, 1, (rows, steps, self.shape[1])).astype("float32")
        if self.padded:
            x[~layer_cases.draw_mask(random, "mixed", rows, steps)] = 0
        return x


def random_model(seed: int) -> ModelCase:
    """A model of two to six layers; only layers that lstmfast has by now."""
    random = np.random.default_rng([seed, 11])

    def pick(options: Any) -> Any:
        return options[random.integers(len(options))]

    def size() -> int:
        return int(pick(layer_cases.SIZES[:12]))

    def recurrent(sequences: bool) -> tuple[Any, ...]:
        options: dict[str, Any] = {"return_sequences": sequences}
        kind = pick(["LSTM", "LSTM", "GRU", "SimpleRNN"])
        if random.random() < 0.3:
            options["activation"] = pick(["relu", "sigmoid", "softsign", "hard_sigmoid"])
        if kind != "SimpleRNN" and random.random() < 0.3:
            options["recurrent_activation"] = pick(["hard_sigmoid", "relu", "tanh"])
        if random.random() < 0.2:
            options["go_backwards"] = True
        if random.random() < 0.2:
            options["use_bias"] = False
        if kind == "GRU" and random.random() < 0.4:
            options["reset_after"] = False
        if random.random() < 0.25 and not options.get("go_backwards"):
            merge = {"merge_mode": pick(["concat", "sum", "mul", "ave"])}
            return ("Bidirectional", (kind, size(), options), merge)
        return (kind, size(), options)

    stack: list[tuple[Any, ...]] = []
    tokens = int(random.integers(5, 30)) if random.random() < 0.2 else 0
    padded = random.random() < (0.5 if tokens else 0.25)
    features = size()
    if tokens:
        stack.append(("Embedding", tokens, size(), {"mask_zero": padded}))
    elif padded:
        stack.append(("Masking", {"mask_value": 0.0}))
    is_sequence, flattens = True, not padded  # Flatten takes no mask
    for _ in range(int(random.integers(1, 5))):
        if is_sequence:
            choice = pick(["recurrent", "recurrent", "last", "dense", "time", "inert", "flatten"])
            if choice == "recurrent":
                stack.append(recurrent(True))
            elif choice == "last" or (choice == "flatten" and not flattens):
                stack.append(recurrent(False))
                is_sequence = False
            elif choice == "dense":
                stack.append(("Dense", size(), {"activation": pick(ELEMENTWISE)}))
            elif choice == "time":
                stack.append(("TimeDistributed", ("Dense", size(), {"activation": pick(ELEMENTWISE)})))
            elif choice == "inert":
                stack.append(pick([("Dropout", 0.4), ("Activation", pick(ELEMENTWISE))]))
            else:
                stack.append(("Flatten",))
                is_sequence = False
        else:
            choice = pick(["dense", "repeat", "inert"])
            if choice == "dense":
                stack.append(("Dense", size(), {"activation": pick(ELEMENTWISE)}))
            elif choice == "repeat":
                stack.append(("RepeatVector", int(random.integers(1, 6))))
                is_sequence, flattens = True, True
            else:
                stack.append(("Dropout", 0.2))
    stack.append(("Dense", size(), {"activation": pick(["linear", "sigmoid", "softmax"])}))
    if not any(name in ("Bidirectional", *layer_cases.GATES) for name, *_ in stack):
        stack.insert(1 if padded or tokens else 0, recurrent(True))
    is_flat = any(name == "Flatten" for name, *_ in stack)
    steps = int(random.integers(2, 8)) if is_flat or random.random() < 0.7 else None
    shape = (steps, *(() if tokens else (features,)))
    return ModelCase(seed, shape, tuple(stack), tokens, padded)


def check(case: ModelCase, source: tuple[str, str | None], folder: Any) -> None:
    framework_name, file_name = source
    framework = oracle.live_keras(framework_name)
    if framework is None:
        pytest.skip(f"needs TensorFlow and {framework_name}")
    x = case.inputs()
    keras_input = framework.Input(case.shape, dtype="int32" if case.tokens else "float32")
    theirs = build(framework, keras_input, case.layers, case.seed)
    expected = np.asarray(theirs(x))
    if file_name is None:
        mine = lstmfast.from_keras(theirs)
    else:
        path = folder / file_name
        theirs.save(path)
        mine = lstmfast.load_model(path)
    what = f"{case} from {source}"
    assert mine.count_params() == theirs.count_params()
    assert [layer.name for layer in mine.layers] == [layer.name for layer in theirs.layers]
    y = mine.predict(x)
    oracle.assert_close(y, expected, oracle.LOOSE * (1 + np.abs(expected)), what)
    for row in {0, len(x) - 1}:
        assert_same_bits(mine(x[row : row + 1]), y[row : row + 1], what)
    # the same definition, with the import line changed
    again = build(lstmfast, lstmfast.Input(case.shape, dtype="int32" if case.tokens else "float32"), case.layers)
    if framework_name == "keras":
        again.set_weights(theirs.get_weights())
        assert_same_bits(again(x), y, what)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("seed", range(COUNT))
def test_random_model(seed, tmp_path):
    check(random_model(seed), SOURCES[seed % len(SOURCES)], tmp_path)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("block", range(LONG_BLOCKS))
def test_many_random_models(block, tmp_path):
    for seed in range(1000 + block * LONG_BLOCK, 1000 + (block + 1) * LONG_BLOCK):
        check(random_model(seed), SOURCES[seed % len(SOURCES)], tmp_path)
        oracle.live_keras().backend.clear_session()


def test_models_are_varied():
    cases = [random_model(seed) for seed in range(COUNT)]
    names = {name for case in cases for name, *_ in case.layers}
    assert {
        "LSTM",
        "GRU",
        "SimpleRNN",
        "Bidirectional",
        "Dense",
        "TimeDistributed",
        "RepeatVector",
        "Flatten",
        "Dropout",
        "Activation",
        "Embedding",
        "Masking",
    } <= names
    assert sum(case.padded for case in cases) > 8


# -- graphs of every layer ------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Graph:
    """A random model of `model_cases` as its Keras made it."""

    seed: int
    dialect: str
    model: Any
    builder: model_cases.Builder

    def weights(self) -> list[np.ndarray]:
        named = [(getattr(weight, "path", weight.name), tuple(weight.shape)) for weight in self.model.weights]
        return model_cases.weights(named, self.seed)

    def inputs(self) -> Any:
        """The arrays, as the model takes them."""
        return self.as_inputs(model_cases.inputs(self.builder, self.seed))

    def as_inputs(self, arrays: list[np.ndarray]) -> Any:
        structs = (getattr(self.model, name, None) for name in ("_inputs_struct", "_nested_inputs"))
        if any(isinstance(struct, dict) for struct in structs):
            names = [model_cases.source_name(kind, index) for index, (kind, _) in enumerate(self.builder.feeds)]
            return dict(zip(names, arrays, strict=True))
        return arrays if len(arrays) > 1 else arrays[0]


def make_graph(framework: Any, seed: int, dialect: str, dtype: str = "float32") -> Graph:
    if dtype != "float32":
        framework.backend.set_floatx(dtype)
    try:
        model, builder = model_cases.build(framework, seed, dialect)
        graph = Graph(seed, dialect, model, builder)
        model.set_weights([value.astype(dtype) for value in graph.weights()])
        for layer in model._flatten_layers():
            if hasattr(layer, "finalize_state"):  # a Normalization keeps what it makes of its weights
                layer.finalize_state()
        return graph
    finally:
        if dtype != "float32":
            framework.backend.set_floatx("float32")


def arrays_of(struct: Any) -> list[np.ndarray]:
    """The outputs in the order of their names, or their own."""
    if isinstance(struct, dict):
        return [np.asarray(struct[key]) for key in sorted(struct)]
    return layer_cases.flatten(struct)


def assert_agree(mine: Any, graph: Graph, x: Any, what: str) -> None:
    """Fail where outputs differ by more than rounding does to the model itself."""
    expected = arrays_of(graph.model(x))
    outputs = arrays_of(mine)
    assert len(outputs) == len(expected), what
    for position, (y, theirs) in enumerate(zip(outputs, expected, strict=True)):
        bound = oracle.LOOSE * (1 + np.abs(theirs))
        if y.shape == theirs.shape and oracle.exceeds(y, theirs, bound).any():
            framework = oracle.live_keras(graph.dialect)
            double = make_graph(framework, graph.seed, graph.dialect, "float64")
            exact = arrays_of(double.model(x))[position]
            bound = np.fmax(bound, oracle.rounding(theirs, exact))
        oracle.assert_close(y, theirs, bound, f"{what}, output {position}")
        assert y.dtype == theirs.dtype, f"{what}, output {position}: {y.dtype}, expected {theirs.dtype}"


def check_graph(seed: int, dialect: str, folder: Any) -> None:
    """One random model, from the source that its seed picks."""
    framework = oracle.live_keras(dialect)
    if framework is None:
        pytest.skip(f"needs TensorFlow and {dialect}")
    graph = make_graph(framework, seed, dialect)
    theirs, x = graph.model, graph.inputs()
    source = ("model.keras", "model.h5", None)[seed % 3]
    what = f"{dialect} {seed} from {source}"
    if source is None:
        mine = lstmfast.from_keras(theirs)
    else:
        theirs.save(folder / source)
        mine = lstmfast.load_model(folder / source)
    assert mine.count_params() == theirs.count_params(), what
    y = mine(x)
    assert_agree(y, graph, x, what)
    assert_same_bits(arrays_of(mine.predict(x, batch_size=2, verbose=0)), arrays_of(y), f"{what}, predict")
    arrays = model_cases.inputs(graph.builder, seed)
    row = len(arrays[0]) - 1
    alone = arrays_of(mine(graph.as_inputs([array[row : row + 1] for array in arrays])))
    assert_same_bits(alone, [array[row : row + 1] for array in arrays_of(y)], f"{what}, a row alone")
    # Operations that Keras makes of a mask stand among the layers by whose depth it orders the weights.
    has_operations = any(not isinstance(one, framework.layers.Layer) for one in getattr(theirs, "operations", ()))
    if dialect == "keras" and seed % 2 == 0 and not has_operations:  # the same definition, the import line changed
        again, _ = model_cases.build(lstmfast, seed, dialect)
        again.set_weights(theirs.get_weights())
        assert_same_bits(arrays_of(again(x)), arrays_of(y), f"{what}, in lstmfast")
    if dialect == "keras" and seed % 4 == 1:
        path = folder / "again.keras"
        mine.save(path)
        assert_same_bits(arrays_of(lstmfast.load_model(path)(x)), arrays_of(y), f"{what}, written and read")
        back = framework.models.load_model(path)
        assert_agree(arrays_of(back(x)), graph, x, f"{what}, written for Keras")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("dialect", "seed"), [(dialect, seed) for dialect in GRAPHS for seed in range(GRAPHS[dialect])]
)
def test_random_graph(dialect, seed, tmp_path):
    check_graph(seed, dialect, tmp_path)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dialect", GRAPHS)
@pytest.mark.parametrize("block", range(LONG_BLOCKS))
def test_many_random_graphs(block, dialect, tmp_path):
    blocks = LONG_BLOCK if dialect == "keras" else LONG_BLOCK // 5
    for seed in range(1000 + block * blocks, 1000 + (block + 1) * blocks):
        check_graph(seed, dialect, tmp_path)
        oracle.live_keras(dialect).backend.clear_session()


def test_graphs_are_varied():
    """All layers take part, in code that needs no Keras."""
    builders = [model_cases.build(lstmfast, seed, "keras")[1] for seed in range(GRAPHS["keras"])]
    made = set().union(*(builder.names for builder in builders))
    kinds = [kind.split()[0] for builder in builders for kind, _ in builder.feeds]
    assert len(made) > 60, sorted(made)
    assert {
        "nested",
        "RNN",
        "LSTMCell",
        "Bidirectional",
        "ConvLSTM1D",
        "ConvLSTM2D",
        "Dot",
        "MultiHeadAttention",
    } <= made
    for kind in ("sequence", "padded", "tokens", "vector", "planes", "volumes"):
        assert kinds.count(kind) > 5, kind
    assert sum(len(builder.feeds) > 1 for builder in builders) > 40
