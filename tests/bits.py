"""Layers of the core with random weights, and comparison bit by bit: what the tests of exact promises share."""

from __future__ import annotations

from typing import Any

import layer_cases
import numpy as np

from lstmfast import _core

Array = np.ndarray[Any, Any]

DEFAULTS = {"activation": ("tanh", 0.0, 0.0, 0.0), "recurrent_activation": ("sigmoid", 0.0, 0.0, 0.0)}
CORE_KINDS = {"lstm": 4, "gru": 3, "gru_reset_before": 3, "simple_rnn": 1}  # kind -> gates


def packed(
    kind: str, features: int, units: int, dtype: str = "float32", seed: int = 0, **activations: Any
) -> _core.PackedLayer:
    """A layer with random weights of about unit gain, for the instruction set that is selected."""
    random = np.random.default_rng(seed)

    def draw(scale: float, *shape: int) -> Array:
        return (scale * random.standard_normal(shape)).astype(dtype)

    gates = CORE_KINDS.get(kind, 1)
    width = gates * units
    chosen = {**DEFAULTS, **activations}
    return _core.PackedLayer(
        kind,
        draw(features**-0.5, features, width),
        None if kind == "dense" else draw(units**-0.5, units, width),
        draw(0.5, 2, width) if kind == "gru" else draw(0.5, width),
        chosen["activation"],
        chosen["recurrent_activation"] if gates > 1 else None,
    )


def sequences(batch: int, steps: int, features: int, dtype: str = "float32", seed: int = 1) -> Array:
    """(batch, steps, features) between -1 and 1."""
    return np.random.default_rng(seed).uniform(-1, 1, (batch, steps, features)).astype(dtype)


def run(
    layer: _core.PackedLayer,
    x: Array,
    mask: Array | None = None,
    initial_state: tuple[Array, ...] | None = None,
    *,
    return_sequences: bool = True,
    go_backwards: bool = False,
    zero_output_for_mask: bool = False,
    out: Array | None = None,
    threads: int = 0,
) -> tuple[Array, ...]:
    """(y, *states) of the layer."""
    return tuple(
        layer.run(x, mask, initial_state, return_sequences, True, go_backwards, zero_output_for_mask, out, threads)
    )


def assert_same_bits(actual: Any, expected: Any, what: str = "") -> None:
    """Fail where any bit of any array differs, the sign of zero included; every NaN counts as the same.

    IEEE 754 leaves the sign and payload of a computed NaN open, and compilers use that.
    """
    mine, theirs = layer_cases.flatten(actual), layer_cases.flatten(expected)
    assert len(mine) == len(theirs), f"{what}: {len(mine)} arrays, expected {len(theirs)}"
    for position, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{what}: {a.dtype}{a.shape}, expected {b.dtype}{b.shape}"
        if a.tobytes() != b.tobytes():
            differing = np.frombuffer(a.tobytes(), f"u{a.itemsize}") != np.frombuffer(b.tobytes(), f"u{b.itemsize}")
            differing &= ~(np.isnan(a) & np.isnan(b)).ravel()
            if not differing.any():
                continue
            first = np.unravel_index(int(differing.argmax()), a.shape)
            raise AssertionError(
                f"{what}, array {position}: {differing.sum()} of {a.size} values differ in their bits, first at "
                f"{tuple(map(int, first))}: {a[first]!r}, expected {b[first]!r}"
            )
