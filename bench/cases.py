"""The one table of cases, with the weights and inputs that every runner is given."""

import dataclasses
import fnmatch
import math
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

GATES = 4  # of an LSTM: i, f, c, o, Keras's order
GRU_GATES = 3  # z, r, h
_GAIN = 0.6  # of recurrent kernels: below 1, float32 and float64 stay on one trajectory; the check is not of chaos
_DRAWS, _MANY_ROWS, _MANY_WEIGHTS = 8, 8, 1 << 20
EPSILON = 1e-3  # what Keras's normalizations add to a variance


@dataclass(frozen=True)
class Layer:
    """One layer in Keras's words; `inner` is the wrapped layer of TimeDistributed and Bidirectional."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    inner: "Layer | None" = None

    def kinds(self) -> set[str]:
        """Names of this layer's class and of the one it wraps."""
        return {self.kind} | (self.inner.kinds() if self.inner else set())

    def is_inert(self) -> bool:
        """Whether it does nothing but in training."""
        return self.kind.endswith(("Dropout", "Dropout1D"))

    def build(self, namespace: Any, dtype: str = "float32") -> Any:
        """The same layer from `namespace`: keras.layers, or lstmfast.layers, which has the same names."""
        maker = getattr(namespace, self.kind)
        if self.inner:
            return maker(self.inner.build(namespace, dtype), **self.options)
        return maker(dtype=dtype, **self.options) if dtype != "float32" else maker(**self.options)


@dataclass(frozen=True)
class Case:
    """What is computed: layers over an input of (batch, steps, *grid, features); features 0 means integer tokens.

    A "layer" case is one LSTM that returns its sequence, in the memory layout each runner likes best, a "gru" case one
    GRU; a "model" case takes and gives Keras's layout, as does a "mixed" one, of which LSTMs are not nearly all; a
    "stream" case is one step of one sequence per call, the state kept between calls; a "convolutional" case is a model
    with a convolutional LSTM, whose steps are grids.
    """

    name: str
    kind: str
    batch: int
    steps: int
    features: int
    layers: tuple[Layer, ...]
    short: bool
    group: str
    dtype: str = "float32"
    grid: tuple[int, ...] = ()
    draw: int = 0  # other weights and inputs of the same case

    @property
    def is_layer(self) -> bool:
        """Whether it is one recurrent layer, which every runner gets in the memory layout that it likes best."""
        return self.kind in ("layer", "gru")

    @property
    def units(self) -> int:
        """Units of a case of one recurrent layer."""
        return self.layers[0].options["units"]

    def kinds(self) -> set[str]:
        """Names of all layer classes that the case needs."""
        return set().union(*(layer.kinds() for layer in self.layers))

    def random(self) -> np.random.Generator:
        """Fresh generator with the case's own seed, so that every process makes the same numbers."""
        return np.random.default_rng(zlib.crc32(self.name.encode(), self.draw))

    def draws(self) -> list["Case"]:
        """The case, behind others of its draws where it is of few rows and weights: one's largest error is chance."""
        count = 1
        if self.batch < _MANY_ROWS and sum(one.size for own in self.weights() for one in own) < _MANY_WEIGHTS:
            count = _DRAWS
        return [dataclasses.replace(self, draw=draw) for draw in reversed(range(count))]

    def weights(self) -> list[list[np.ndarray]]:
        """Weights of each layer, in Keras's order and layout."""
        random, width, made = self.random(), self.features, []
        for layer in self.layers:
            arrays, width = _weights(random, layer, width)
            made.append([array.astype(self.dtype) for array in arrays])
        return made

    def inputs(self) -> np.ndarray:
        """The input, C order: (batch, steps, features) real, or (batch, steps) tokens."""
        random = np.random.default_rng(self.random().integers(2**32))
        if self.features == 0:
            return random.integers(0, self.layers[0].options["input_dim"], (self.batch, self.steps)).astype("int32")
        return random.uniform(-1, 1, (self.batch, self.steps, *self.grid, self.features)).astype(self.dtype)


def _uniform(random: np.random.Generator, rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
    # Glorot's bound over one gate's columns: what Keras starts from, and near what training leaves.
    return random.uniform(-1, 1, (rows, columns)) * gain * np.sqrt(6 / (rows + columns))


def _weights(random: np.random.Generator, layer: Layer, width: int) -> tuple[list[np.ndarray], int]:
    """Weights of one layer over `width` features, and the width of what it gives."""
    options = layer.options
    if layer.kind == "Bidirectional":
        forward, units = _weights(random, layer.inner, width)
        backward, _ = _weights(random, layer.inner, width)
        return forward + backward, 2 * units
    if layer.kind == "TimeDistributed":
        return _weights(random, layer.inner, width)
    if layer.kind == "Embedding":
        return [random.uniform(-0.5, 0.5, (options["input_dim"], options["output_dim"]))], options["output_dim"]
    if layer.kind == "Dense":
        units = options["units"]
        return [_uniform(random, width, units), random.uniform(-0.1, 0.1, units)], units
    if layer.kind == "LSTM":
        return _gates(random, width, options["units"], options["units"]), options["units"]
    if layer.kind == "GRU":  # its bias has two rows: of the inputs' products and of the state's
        units = options["units"]
        matrices = [_columns(random, rows, units, GRU_GATES, gain) for rows, gain in ((width, 1.0), (units, _GAIN))]
        return [*matrices, random.uniform(-0.1, 0.1, (2, GRU_GATES * units))], units
    if layer.kind == "Conv1D":
        (window,), filters = options["kernel_size"], options["filters"]
        kernel = _uniform(random, window * width, filters).reshape(window, width, filters)
        return [kernel, random.uniform(-0.1, 0.1, filters)], filters
    if layer.kind == "LayerNormalization":
        return [random.uniform(0.8, 1.2, width), random.uniform(-0.1, 0.1, width)], width
    if layer.kind == "BatchNormalization":  # gamma, beta, mean, variance
        bounds = ((0.8, 1.2), (-0.1, 0.1), (-0.1, 0.1), (0.1, 0.4))
        return [random.uniform(*bound, width) for bound in bounds], width
    if layer.kind in ("ConvLSTM1D", "ConvLSTM2D"):
        filters, window = options["filters"], options["kernel_size"]
        taps = math.prod(window)
        kernel, recurrent, bias = _gates(random, taps * width, taps * filters, filters)
        shape = (*window, -1, GATES * filters)
        return [kernel.reshape(shape), recurrent.reshape(shape), bias], filters
    return [], width


def _columns(random: np.random.Generator, rows: int, units: int, gates: int, gain: float = 1.0) -> np.ndarray:
    return np.concatenate([_uniform(random, rows, units, gain) for _ in range(gates)], axis=1)


def _gates(random: np.random.Generator, inputs: int, states: int, units: int) -> list[np.ndarray]:
    """Kernel (inputs, 4 * units), recurrent kernel (states, 4 * units) and bias."""
    kernel = _columns(random, inputs, units, GATES)
    recurrent = _columns(random, states, units, GATES, _GAIN)
    bias = random.uniform(-0.1, 0.1, GATES * units)
    bias[units : 2 * units] += 1  # Keras's unit_forget_bias
    return [kernel, recurrent, bias]


def single(group: str, batch: int, steps: int, features: int, units: int, short: bool = False, dtype: str = "float32"):
    """A case of one LSTM layer."""
    suffix = "" if dtype == "float32" else f"-{dtype}"
    layer = Layer("LSTM", {"units": units, "return_sequences": True})
    name = f"{batch}x{steps}x{features}-u{units}{suffix}"
    return Case(name, "layer", batch, steps, features, (layer,), short, group, dtype)


def drawn(count: int, seed: int) -> list[Case]:
    """Cases of one LSTM layer whose sizes nobody chose: drawn evenly on a log scale, 20 kflop to 4 Gflop in all."""
    random, cases = np.random.default_rng(seed), {}
    while len(cases) < count:
        units, features, steps = (int(2 ** random.uniform(*bounds)) for bounds in ((2, 10.3), (0, 9.5), (1, 7)))
        batch = int(2 ** random.choice([0, random.uniform(0, 4), random.uniform(3, 11)]))
        if 2e4 < 2 * GATES * units * (features + units) * batch * steps < 4e9:
            case = single("drawn", batch, steps, features, units)
            cases[case.name] = case
    return list(cases.values())


def _lstm(units: int, **options: Any) -> Layer:
    return Layer("LSTM", {"units": units, **options})


SHORT, FULL = True, False

_SINGLE = (
    # The middle ground of practice: forecasting, sensors, tagging.
    ("reference", 1, 40, 1, 100, SHORT),
    ("reference", 32, 40, 1, 100, SHORT),
    ("reference", 2000, 40, 1, 100, SHORT),
    ("reference", 1, 1, 8, 32, SHORT),
    ("reference", 32, 100, 8, 32, SHORT),
    ("reference", 1, 100, 64, 64, SHORT),
    ("reference", 32, 100, 64, 64, SHORT),
    ("reference", 256, 80, 128, 128, SHORT),
    ("reference", 1, 100, 128, 128, SHORT),
    ("reference", 16, 50, 256, 256, SHORT),
    ("reference", 1, 50, 256, 256, SHORT),
    ("reference", 64, 25, 512, 512, SHORT),
    ("reference", 1, 50, 512, 512, SHORT),
    ("reference", 1, 25, 1024, 1024, SHORT),
    ("reference", 64, 25, 1024, 1024, SHORT),
    # A few rows of a large layer: too few to split by rows, enough to fill registers.
    ("small batch", 2, 50, 128, 128, FULL),
    ("small batch", 4, 50, 256, 256, SHORT),
    ("small batch", 8, 50, 256, 256, FULL),
    ("small batch", 2, 25, 768, 768, FULL),
    ("small batch", 4, 25, 768, 768, FULL),
    ("small batch", 8, 25, 768, 768, FULL),
    ("small batch", 2, 25, 1024, 1024, FULL),
    ("small batch", 4, 25, 1024, 1024, FULL),
    ("small batch", 8, 25, 1024, 1024, SHORT),
    # Units that are no multiple of any vector, and layers too small to be worth a thread.
    ("odd and tiny", 1, 100, 1, 8, FULL),
    ("odd and tiny", 32, 100, 1, 8, FULL),
    ("odd and tiny", 3000, 50, 1, 8, SHORT),
    ("odd and tiny", 1, 14, 8, 10, SHORT),
    ("odd and tiny", 32, 14, 8, 10, FULL),
    ("odd and tiny", 2000, 14, 8, 10, FULL),
    ("odd and tiny", 7, 33, 5, 33, SHORT),
    ("odd and tiny", 64, 60, 13, 33, SHORT),
    ("odd and tiny", 1, 100, 33, 33, FULL),
    ("odd and tiny", 128, 1, 64, 64, FULL),
    ("odd and tiny", 17, 50, 100, 100, FULL),
    ("odd and tiny", 100, 100, 100, 100, SHORT),
    # Inputs much wider than the state, and wide batches.
    ("wide", 1, 100, 1024, 64, SHORT),
    ("wide", 64, 50, 1024, 64, FULL),
    ("wide", 1000, 30, 20, 200, FULL),
    ("wide", 512, 20, 300, 300, FULL),
    ("wide", 3000, 10, 16, 48, FULL),
)

# baidu-research/DeepBench, inference LSTMs. It leaves out the input's product, which no peer can: one feature instead.
_DEEPBENCH = {256: (150, SHORT), 512: (25, FULL), 1024: (25, FULL), 1536: (50, FULL), 2048: (25, FULL)}

_DOUBLE = ((1, 40, 1, 100), (32, 100, 64, 64), (64, 25, 512, 512), (1, 50, 256, 256))

# As LSTMs, above, but GRUs.
_GRUS = (
    (1, 40, 1, 100, FULL),
    (32, 40, 1, 100, FULL),
    (2000, 40, 1, 100, FULL),
    (32, 100, 8, 32, FULL),
    (1, 100, 64, 64, FULL),
    (32, 100, 64, 64, SHORT),
    (256, 80, 128, 128, FULL),
    (1, 50, 256, 256, FULL),
    (8, 50, 256, 256, FULL),
    (64, 25, 512, 512, FULL),
    (1, 25, 1024, 1024, FULL),
    (2000, 14, 8, 10, FULL),
)

_DROPPED = {"dropout": 0.2, "recurrent_dropout": 0.2}
# name: steps, features, batches, in the short form, layers
_MODELS = {
    # As the tutorials begin: one layer, the last output only. The smallest is all call and no arithmetic.
    "smallest": (3, 2, (1,), SHORT, (_lstm(1),)),
    "first": (50, 3, (1, 32, 2000), FULL, (_lstm(50),)),
    "stacked": (
        14,
        8,
        (1, 32, 2000),
        SHORT,
        (
            _lstm(10, activation="relu", return_sequences=True),
            _lstm(10, activation="relu", return_sequences=True, **_DROPPED),
            _lstm(10, activation="relu", **_DROPPED),
            Layer("Dropout", {"rate": 0.8}),
            Layer("Dense", {"units": 7}),
        ),
    ),
    "encoder-decoder": (
        40,
        1,
        (1, 32, 2000),
        SHORT,
        (
            _lstm(100),
            Layer("RepeatVector", {"n": 40}),
            _lstm(100, return_sequences=True),
            Layer("TimeDistributed", inner=Layer("Dense", {"units": 1, "activation": "tanh"})),
        ),
    ),
    "sentiment": (
        100,
        0,
        (1, 32, 2000),
        SHORT,
        (
            Layer("Embedding", {"input_dim": 5000, "output_dim": 128}),
            Layer("Bidirectional", inner=_lstm(64)),
            Layer("Dense", {"units": 1, "activation": "sigmoid"}),
        ),
    ),
    # A label for each word.
    "tagger": (
        60,
        0,
        (1, 32, 2000),
        FULL,
        (
            Layer("Embedding", {"input_dim": 5000, "output_dim": 64}),
            Layer("Bidirectional", inner=_lstm(64, return_sequences=True)),
            Layer("TimeDistributed", inner=Layer("Dense", {"units": 10, "activation": "softmax"})),
        ),
    ),
}

# The same, of LSTMs among other layers, which take a good part of the time.
_MIXED = {
    # Windows of sensors: features of neighbouring steps, half as many steps, and a class.
    "sensors": (
        128,
        9,
        (1, 32, 2000),
        FULL,
        (
            Layer("Conv1D", {"filters": 64, "kernel_size": (5,), "padding": "same", "activation": "relu"}),
            Layer("BatchNormalization"),
            Layer("MaxPooling1D", {"pool_size": 2}),
            _lstm(64),
            Layer("Dense", {"units": 6, "activation": "softmax"}),
        ),
    ),
    # What keeps deeper ones in range: each layer's outputs normalized, and the mean of all steps.
    "normalized": (
        60,
        16,
        (1, 32, 2000),
        FULL,
        (
            _lstm(64, return_sequences=True),
            Layer("LayerNormalization"),
            _lstm(64, return_sequences=True),
            Layer("LayerNormalization"),
            Layer("GlobalAveragePooling1D"),
            Layer("Dense", {"units": 8}),
        ),
    ),
    # A review, and whether it is a good one.
    "reviews": (
        100,
        0,
        (1, 32, 2000),
        FULL,
        (
            Layer("Embedding", {"input_dim": 20000, "output_dim": 128}),
            Layer("SpatialDropout1D", {"rate": 0.2}),
            Layer("Bidirectional", inner=_lstm(64, return_sequences=True)),
            Layer("GlobalMaxPooling1D"),
            Layer("Dense", {"units": 64, "activation": "relu"}),
            Layer("Dense", {"units": 1, "activation": "sigmoid"}),
        ),
    ),
}


# name: batch, steps, grid, channels, filters; the window is 3 each way, the padding "same"
_CONVOLUTIONAL = {
    "conv1d-32": (32, 20, (64,), 4, 16, FULL),
    "conv2d-1": (1, 10, (32, 32), 1, 32, SHORT),
    "conv2d-8": (8, 10, (32, 32), 1, 32, FULL),
}


def _table() -> list[Case]:
    table = [single(*row) for row in _SINGLE]
    for units, (steps, short) in _DEEPBENCH.items():
        table += [single("DeepBench", batch, steps, 1, units, short and batch == 1) for batch in (1, 2, 4)]
    table += [single("float64", *row, dtype="float64") for row in _DOUBLE]
    for batch, steps, features, units, short in _GRUS:
        layer = Layer("GRU", {"units": units, "return_sequences": True})
        name = f"gru-{batch}x{steps}x{features}-u{units}"
        table.append(Case(name, "gru", batch, steps, features, (layer,), short, "GRU"))
    for kind, group, models in (("model", "models", _MODELS), ("mixed", "mixed models", _MIXED)):
        for name, (steps, features, batches, short, layers) in models.items():
            for batch in batches:
                quick = short and (batch, name) != (2000, "sentiment")  # a second a call for most peers
                table.append(Case(f"{name}-{batch}", kind, batch, steps, features, layers, quick, group))
    for name, (batch, steps, grid, channels, filters, short) in _CONVOLUTIONAL.items():
        options = {"filters": filters, "kernel_size": (3,) * len(grid), "padding": "same"}
        layer = Layer(f"ConvLSTM{len(grid)}D", options)
        table.append(Case(name, "convolutional", batch, steps, channels, (layer,), short, "convolutional", grid=grid))
    table.append(Case("stream-8-u32", "stream", 1, 20, 8, (_lstm(32, return_sequences=True),), SHORT, "streaming"))
    table.append(Case("stream-64-u128", "stream", 1, 20, 64, (_lstm(128, return_sequences=True),), FULL, "streaming"))
    return table


CASES = _table()


def select(patterns: list[str] | None, full: bool) -> list[Case]:
    """Cases by shell patterns over names, groups and kinds; without patterns, the short form or all."""
    if not patterns:
        return [case for case in CASES if full or case.short]

    def chosen(case: Case) -> set[str]:
        labels = (case.name, case.group, case.kind)
        return {pattern for pattern in patterns if any(fnmatch.fnmatchcase(label, pattern) for label in labels)}

    found = {case.name: chosen(case) for case in CASES}
    unknown = set(patterns).difference(*found.values())
    if unknown:
        raise SystemExit(f"no case matches {', '.join(sorted(unknown))}; python -m bench --list shows them")
    return [case for case in CASES if found[case.name]]
