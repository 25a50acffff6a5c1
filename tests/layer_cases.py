"""Random recurrent layers: every argument, mask, state and size, each made again from its seed alone.

`run(layers, case)` builds and calls the layer of a case from any namespace with Keras's names, so that Keras and
lstmfast run the very same code.
Next: oracle.py compares the two.
"""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Sizes that straddle the lanes (4, 8, 16) and tile rows of every instruction set.
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 54, 60, 64, 100)

# Every name that keras.activations.get knows and that keeps an array's shape. `glu` halves it and `threshold` has
# arguments without defaults: no layer can run either by name.
ACTIVATIONS = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid "
    "log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid "
    "sparsemax squareplus swish tanh tanh_shrink"
).split()

GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
STATES = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}
MASKS = ("left", "right", "holes", "nothing", "everything", "mixed")


@dataclasses.dataclass(frozen=True)
class Case:
    """One layer, its weights and one or more calls."""

    kind: str
    seed: int
    units: int
    batch: int
    steps: int
    features: int
    arguments: tuple[tuple[str, Any], ...] = ()
    mask: str | None = None
    has_state: bool = False
    merge_mode: str | None = "none"  # of a Bidirectional around the layer; "none" is no Bidirectional

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.seed}"

    @property
    def key(self) -> str:
        """Tells a case from every other, in committed outputs too."""
        return f"{self.name}-{zlib.crc32(repr(self).encode()):08x}"

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.arguments)

    @property
    def is_bidirectional(self) -> bool:
        return self.merge_mode != "none"

    @property
    def is_tame(self) -> bool:
        """Whether rounding errors do not grow: gates and Keras's default activations see to that."""
        return self.kind != "SimpleRNN" and not {"activation", "recurrent_activation"} & set(self.options)

    @property
    def calls(self) -> int:
        return 3 if self.options.get("stateful") else 1

    def weight_shapes(self) -> list[tuple[int, ...]]:
        width = GATES[self.kind] * self.units
        shapes: list[tuple[int, ...]] = [(self.features, width), (self.units, width)]
        if self.options.get("use_bias", True):
            shapes.append((2, width) if self.kind == "GRU" and self.options.get("reset_after", True) else (width,))
        return shapes * 2 if self.is_bidirectional else shapes

    def weights(self, dtype: str = "float32") -> list[Array]:
        """Random ones of about unit gain: no zero bias, no symmetry."""
        random = np.random.default_rng([self.seed, 1])
        gain = 1.0 if self.is_tame else 0.6
        drawn = []
        for shape in self.weight_shapes():
            scale = 0.5 if len(shape) == 1 or (self.kind == "GRU" and shape[0] == 2) else gain / np.sqrt(shape[0])
            drawn.append((scale * random.standard_normal(shape)).astype("float32").astype(dtype))
        return drawn

    def inputs(self, dtype: str = "float32") -> Array:
        random = np.random.default_rng([self.seed, 2])
        values = random.uniform(-1, 1, (self.calls, self.batch, self.steps, self.features))
        return values.astype("float32").astype(dtype)

    def masks(self) -> list[Array | None]:
        if self.mask is None:
            return [None] * self.calls
        random = np.random.default_rng([self.seed, 3])
        return [draw_mask(random, self.mask, self.batch, self.steps) for _ in range(self.calls)]

    def initial_state(self, dtype: str = "float32") -> list[Array] | None:
        if not self.has_state:
            return None
        random = np.random.default_rng([self.seed, 4])
        count = STATES[self.kind] * (2 if self.is_bidirectional else 1)
        states = random.uniform(-1, 1, (count, self.batch, self.units)).astype("float32")
        return list(states.astype(dtype))


def draw_mask(random: np.random.Generator, kind: str, batch: int, steps: int) -> Array:
    """(batch, steps) bools; every row has a pattern of its own, `mixed` every kind of row."""
    rows = []
    for _ in range(batch):
        row_kind = kind if kind != "mixed" else MASKS[random.integers(len(MASKS) - 1)]
        padding = random.integers(0, steps + 1)
        if row_kind == "left":
            rows.append(np.arange(steps) >= padding)
        elif row_kind == "right":
            rows.append(np.arange(steps) < padding)
        elif row_kind == "holes":
            rows.append(random.random(steps) < 0.6)
        else:
            rows.append(np.full(steps, row_kind == "everything"))
    return np.array(rows, bool).reshape(batch, steps)


def random_case(seed: int, kind: str = "LSTM", bidirectional: bool = False) -> Case:
    """The case of a seed: about half have Keras's default activations."""
    random = np.random.default_rng([seed, sum(map(ord, kind)), bidirectional])

    def chance(probability: float) -> bool:
        return bool(random.random() < probability)

    arguments: dict[str, Any] = {}
    if chance(0.5):
        arguments["activation"] = str(random.choice(ACTIVATIONS))
        if kind != "SimpleRNN" and chance(0.7):
            arguments["recurrent_activation"] = str(random.choice(ACTIVATIONS))
    for flag, probability in (
        ("return_sequences", 0.5),
        ("return_state", 0.4),
        ("go_backwards", 0.3),
        ("stateful", 0.15),
        ("unroll", 0.1),
    ):
        if chance(probability):
            arguments[flag] = True
    if chance(0.2):
        arguments["use_bias"] = False
    if chance(0.2):
        arguments.update(dropout=0.3, recurrent_dropout=0.2)
    if kind == "GRU" and chance(0.5):
        arguments["reset_after"] = False
    if chance(0.3) and not bidirectional:
        arguments["zero_output_for_mask"] = True
    merge_mode: str | None = "none"
    if bidirectional:
        merge_mode = (None, "concat", "sum", "mul", "ave")[random.integers(5)]
        arguments.pop("go_backwards", None)
        if arguments.get("return_state"):  # Keras 3.15 raises a TypeError for the two together
            arguments.pop("stateful", None)
    case = Case(
        kind=kind,
        seed=seed,
        units=int(random.choice(SIZES)),
        batch=int(random.choice(SIZES[:11])),
        steps=int(random.choice((1, 2, 3, 4, 5, 7, 8, 9, 17))),
        features=int(random.choice(SIZES)),
        arguments=tuple(sorted(arguments.items())),
        mask=str(random.choice(MASKS)) if chance(0.6) else None,
        has_state=chance(0.4),
        merge_mode=merge_mode,
    )
    if is_misread_by_keras(case):
        case = dataclasses.replace(case, mask=None)
    return case


def is_misread_by_keras(case: Case) -> bool:
    """Unrolled, Keras 3.15 zeroes the outputs of a backward layer by the mask in forward order.

    (keras/src/backend/tensorflow/rnn.py, `outputs = tf.where(_expand_mask(mask, outputs, ...), ...)`; the last output
    and the states are right, and so is everything where the layer is not unrolled.)
    """
    options = case.options
    zeroes = options.get("zero_output_for_mask") or case.is_bidirectional
    backwards = options.get("go_backwards") or case.is_bidirectional
    return bool(case.mask and options.get("unroll") and options.get("return_sequences") and zeroes and backwards)


def build(layers: Any, case: Case, dtype: str = "float32") -> Any:
    """The layer of a case from `layers` (keras.layers, lstmfast.layers), with its weights."""
    layer = getattr(layers, case.kind)(case.units, dtype=dtype, **case.options)
    if case.is_bidirectional:
        layer = layers.Bidirectional(layer, merge_mode=case.merge_mode, dtype=dtype)
    layer.build((case.batch if case.options.get("stateful") else None, case.steps, case.features))
    layer.set_weights(case.weights(dtype))
    return layer


def run(layers: Any, case: Case, dtype: str = "float32") -> list[Array]:
    """All outputs of all calls. A stateful layer is called twice, reset, and called once more."""
    layer = build(layers, case, dtype)
    outputs: list[Array] = []
    initial_state = case.initial_state(dtype)
    for call, (x, mask) in enumerate(zip(case.inputs(dtype), case.masks(), strict=True)):
        if call == 2:
            layer.reset_state()
        given = {} if mask is None else {"mask": mask}
        if initial_state is not None and call == 0:
            given["initial_state"] = initial_state
        outputs.extend(flatten(layer(x, **given)))
    return outputs


def flatten(outputs: Any) -> list[Array]:
    """The arrays of nested lists and tuples."""
    if isinstance(outputs, (list, tuple)):
        return [array for value in outputs for array in flatten(value)]
    return [np.asarray(outputs)]
