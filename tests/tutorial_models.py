"""The models of the field's standard tutorials, for any namespace with Keras's names: keras, tf_keras, lstmfast.

Next: test_tutorial_models.py.
"""

from __future__ import annotations

import dataclasses
import string
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Tutorial:
    """A model's layers, as (class, arguments) pairs, and the shape of one sample."""

    steps: int
    features: int
    layers: tuple[tuple[Any, ...], ...]
    parameters: int
    rows: int = 8

    def build(self, framework: Any) -> Any:
        """The model, with random weights; layers are called a, b, c, …"""
        return build(framework, framework.Input((self.steps, self.features)), self.layers)

    def inputs(self) -> Array:
        """(rows, steps, features) between -1 and 1."""
        return np.random.default_rng(3).uniform(-1, 1, (self.rows, self.steps, self.features)).astype("float32")


def random_weights(shapes: list[tuple[int, ...]], seed: int = 0) -> list[Array]:
    """Random ones of about Keras's own scale, biases among them."""
    random = np.random.default_rng(seed)
    return [
        (random.standard_normal(shape) * (0.1 if len(shape) == 1 else (sum(shape) / 2) ** -0.5)).astype("float32")
        for shape in shapes
    ]


def build(framework: Any, source: Any, described: Any, seed: int = 0) -> Any:
    """A Sequential of `source`, an Input, and of layers described as (class, *arguments, options)."""
    model = framework.Sequential([source], name="tutorial")
    for letter, (name, *arguments) in zip(string.ascii_lowercase, described, strict=False):
        model.add(_layer(framework, name, arguments, letter))
    model.set_weights(random_weights([tuple(weight.shape) for weight in model.get_weights()], seed))
    return model


def _layer(framework: Any, name: str, arguments: list[Any], letter: str) -> Any:
    options = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
    positional = arguments[:-1] if options else arguments
    if name in ("TimeDistributed", "Bidirectional"):
        inner_name, *inner = positional[0]
        positional = [_layer(framework, inner_name, inner, letter + "_inner")]
    return getattr(framework.layers, name)(*positional, name=letter, **options)


_DROPOUT = {"dropout": 0.2, "recurrent_dropout": 0.2}
_SEQUENCES = {"return_sequences": True}
_OUTPUT = ("TimeDistributed", ("Dense", 1, {"activation": "tanh"}))

TUTORIALS = {
    "one-feature": Tutorial(3, 1, (("LSTM", 1),), 12),
    "one-feature-more-steps": Tutorial(30, 1, (("LSTM", 1),), 12),
    "two-features": Tutorial(3, 2, (("LSTM", 1),), 16),
    "several-features": Tutorial(5, 4, (("LSTM", 7),), 4 * (4 * 7 + 7 * 7 + 7)),
    "stacked-relu": Tutorial(
        12,
        3,
        (
            ("LSTM", 10, {"activation": "relu", **_SEQUENCES}),
            ("LSTM", 10, {"activation": "relu", **_SEQUENCES, **_DROPOUT}),
            ("LSTM", 10, {"activation": "relu", **_DROPOUT}),
            ("Dropout", 0.8),
            ("Dense", 4),
        ),
        4 * (3 * 10 + 10 * 10 + 10) + 2 * 4 * (10 * 10 + 10 * 10 + 10) + 44,
    ),
    "repeat-vector": Tutorial(
        40,
        1,
        (("LSTM", 100), ("RepeatVector", 40), ("LSTM", 100, _SEQUENCES), _OUTPUT),
        4 * (100 + 100 * 100 + 100) + 4 * (2 * 100 * 100 + 100) + 101,
        rows=2000,
    ),
    "without-repeat-vector": Tutorial(
        40,
        1,
        (("LSTM", 100, _SEQUENCES), ("LSTM", 100, _SEQUENCES), _OUTPUT),
        4 * (100 + 100 * 100 + 100) + 4 * (2 * 100 * 100 + 100) + 101,
        rows=300,
    ),
    "repeat-vector-small": Tutorial(
        9, 1, (("LSTM", 12), ("RepeatVector", 9), ("LSTM", 12, _SEQUENCES), _OUTPUT), 672 + 1200 + 13
    ),
}
# Those whose files and outputs are committed, for machines without TensorFlow.
GOLDEN = ("two-features", "stacked-relu", "repeat-vector-small")
