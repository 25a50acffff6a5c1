"""What constructors and calls of layers are given, checked: numbers, shapes, masks.

Next: base.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast._arrays import as_array
from lstmfast._graph import Shape

Array = np.ndarray[Any, Any]


def keys_of(init: Callable[..., None], without: str = "", more: str = "") -> tuple[str, ...]:
    """The `config_keys` of a layer that keeps every argument of its constructor under its name."""
    names = [name for name in inspect.signature(init).parameters if name not in ("self", "kwargs", without)]
    return (*names, more) if more else tuple(names)


def positive(name: str, value: Any) -> int:
    """``value`` as a positive int, or Keras's error."""
    return at_least(1, name, value)


def at_least(least: int, name: str, value: Any) -> int:
    """``value`` as an int that is no less than ``least``, which is 0 or 1, or Keras's error."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        kind = "positive" if least else "non-negative"
        raise ValueError(f"Received an invalid value for argument `{name}`, expected a {kind} integer, got {value}.")
    return int(value)


def number(name: str, value: Any) -> Any:
    """``value``, which has to be a real number, or Keras's kind of error."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise ValueError(f"Received an invalid value for argument `{name}`, expected a number, got {value!r:.80}.")
    return value


def numbers(name: str, value: Any) -> Any:
    """A number, or a sequence of them, as a layer keeps it; what has a dtype becomes NumPy's."""
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"Received an invalid value for argument `{name}`, expected numbers, got {value!r:.80}.")
    return array[()] if hasattr(value, "dtype") else value


def is_over_rows(axis: Any, shape: Shape | None) -> bool:
    """Whether an axis, or one of several, is that of the rows of inputs of a shape, where that is known."""
    axes = axis if isinstance(axis, (list, tuple)) else (axis,)
    return 0 in axes or (shape is not None and -len(shape) in axes)


def as_mask(mask: Any, shape: Shape, name: str) -> Array:
    """A caller's mask as a bool array of the given shape."""
    array = as_array(mask, "the mask")
    if array.shape != shape:
        raise ValueError(f"The mask of layer '{name}' has shape {array.shape}, expected {shape}.")
    return array if array.dtype == np.bool_ else array != 0


def input_shape_argument(kwargs: dict[str, Any]) -> Shape | None:
    """Keras 1 and 2's shape arguments of the first layer, taken out of ``kwargs``; batch first."""
    batch_shape = kwargs.pop("batch_input_shape", None)
    shape = kwargs.pop("input_shape", None)
    size = kwargs.pop("input_dim", None)
    length = kwargs.pop("input_length", None)
    batch = kwargs.pop("batch_size", None)
    if batch_shape is not None:
        return standardize_shape(batch_shape)
    if shape is not None:
        return standardize_shape((batch, *shape))
    if size is not None:
        return standardize_shape((batch, length, size) if length is not None else (batch, size))
    return None


def standardize_shape(shape: Any) -> Shape:
    sizes = []
    for size in shape:
        if size is not None:
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
                raise ValueError(f"Cannot convert {tuple(shape)!r} to a shape. Found invalid entry {size!r}.")
            if size < 0:
                raise ValueError(f"Cannot convert {tuple(shape)!r} to a shape. Negative dimensions are not allowed.")
            size = int(size)
        sizes.append(size)
    return tuple(sizes)
