"""Keras as the oracle: live where TensorFlow is installed, committed outputs of the same cases where it is not.

A case is run by the same code (`layer_cases.run`) on Keras and on lstmfast. How far the two may differ:
    default activations                  2e-6 of max(1, |y|)
    others                               2e-5 of 1 + |y|
    where the layer itself is chaotic    20 times the difference between Keras in float32 and in float64
Next: layer_cases.py; make_golden.py writes the committed outputs.
"""

from __future__ import annotations

import functools
import importlib
import os
import platform
from pathlib import Path
from typing import Any

import layer_cases
import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"
REQUIRED = os.environ.get("LSTMFAST_REQUIRE_TENSORFLOW", "") not in ("", "0")

STRICT = 2e-6
LOOSE = 2e-5
CHAOS = 20.0
EXPLODED = 1e6

Arrays = list[np.ndarray[Any, Any]]


@functools.cache
def live_keras(name: str = "keras") -> Any:
    """The module `name` on TensorFlow, or None where it is not installed (an error if it is required)."""
    try:
        importlib.import_module("tensorflow")
        return importlib.import_module(name)
    except ImportError:
        if REQUIRED:
            raise
        return None


def describe() -> str:
    keras = live_keras()
    if keras is None:
        return f"oracle: committed outputs in {GOLDEN.name}/ (TensorFlow is not installed)"
    return f"oracle: live Keras {keras.version()} on {keras.backend.backend()}, {platform.machine()}"


def needed(name: str) -> Any:
    """The module `name`, which tests/requirements.txt names; skips the test where it is not, unless all is required."""
    return importlib.import_module(name) if REQUIRED else pytest.importorskip(name)


@functools.cache
def golden(name: str) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of golden/NAME.npz."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def layer_outputs(case: layer_cases.Case, dtype: str = "float32") -> Arrays:
    """What Keras gives for a case; skips the test where neither Keras nor a committed output is there."""
    keras = live_keras()
    if keras is not None:
        return layer_cases.run(keras.layers, case, dtype)
    known = golden("layers")
    prefix = f"{case.key}/{dtype}/"
    found = [known[key] for key in sorted(known) if key.startswith(prefix)]
    if not found:
        pytest.skip("not among the committed outputs, and TensorFlow is not installed")
    return found


def exceeds(actual: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], bound: Any) -> np.ndarray[Any, Any]:
    """Where `actual` is not `expected` within `bound`: NaN equals NaN, infinities equal themselves."""
    with np.errstate(invalid="ignore", over="ignore"):
        close = np.abs(actual.astype(np.float64) - expected.astype(np.float64)) <= bound
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected)) | np.isposinf(bound)
    return ~(close | same)


def assert_close(actual: Any, expected: Any, bound: Any = STRICT, what: str = "") -> None:
    """Fail where shapes or types differ, or a value differs by more than `bound`."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    wrong = exceeds(actual, expected, bound)
    if wrong.any():
        place = tuple(int(index) for index in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} values differ; the first at {place}: {actual[place]!r}, "
            f"expected {expected[place]!r}"
        )


def assert_case(case: layer_cases.Case, actual: Arrays, dtype: str = "float32") -> None:
    """Fail where the outputs of a case are not Keras's."""
    expected = layer_outputs(case, dtype)
    assert len(actual) == len(expected), f"{case}: {len(actual)} outputs, expected {len(expected)}"
    unit = 1.0 if dtype == "float32" else 1e-8
    for position, (mine, theirs) in enumerate(zip(actual, expected, strict=True)):
        what = f"{case} in {dtype}, output {position}"
        assert mine.dtype == theirs.dtype == np.dtype(dtype), f"{what}: {mine.dtype}, expected {dtype}"
        bound = unit * (STRICT * np.maximum(1, np.abs(theirs)) if case.is_tame else LOOSE * (1 + np.abs(theirs)))
        if mine.shape == theirs.shape and not case.is_tame and exceeds(mine, theirs, bound).any():
            bound = np.fmax(bound, _chaos(case, position, dtype))
        assert_close(mine, theirs, bound, what)


def _chaos(case: layer_cases.Case, position: int, dtype: str) -> np.ndarray[Any, Any]:
    single, double = (layer_outputs(case, one)[position] for one in ("float32", "float64"))
    return rounding(single, double, 1.0 if dtype == "float32" else 1e-8)


def rounding(single: np.ndarray[Any, Any], double: np.ndarray[Any, Any], unit: float = 1.0) -> np.ndarray[Any, Any]:
    """`CHAOS` times what rounding does to an output, relative to 1 + |y|; ``unit`` times that.

    A row that explodes multiplies its rounding errors by luck: it is held to one hundredth, and one that overflows to
    nothing.
    """
    finite = np.isfinite(double) & np.isfinite(single)
    single, double = (np.where(finite, one, 0.0).astype(np.float64) for one in (single, double))
    size = 1 + np.abs(double)
    relative = np.abs(single - double) / size
    overflowing, exploding = (where.reshape(len(size), -1).any(axis=1) for where in (~finite, size > EXPLODED))
    exploding |= overflowing
    bound: np.ndarray[Any, Any] = CHAOS * relative[~exploding].max(initial=0.0) * size * unit
    bound[exploding] = np.maximum(CHAOS * relative.max(initial=0.0) * unit, 1e-2) * size[exploding]
    bound[overflowing] = np.inf
    return bound
