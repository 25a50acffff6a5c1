"""Weights as attributes of layers that users write.

Next: own.py.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Of the layers whose `call` runs in this thread, `values`: by their id, the weights that it began with; `training`:
# whether it is one with training=True, which layers inside inherit. How many calls of that kind run, in any thread.
under_way = threading.local()
in_training = [0]
_count = threading.Lock()


def inherits_training() -> bool:
    """Whether a layer that is called now, without `training`, is called with True."""
    return bool(in_training[0]) and getattr(under_way, "training", False)


@contextlib.contextmanager
def passing_on(training: bool) -> Iterator[None]:
    """What layers that are called in the block inherit."""
    before = getattr(under_way, "training", False)
    if training == before:
        yield
        return
    with _count:
        in_training[0] += training
    under_way.training = training
    try:
        yield
    finally:
        under_way.training = before
        with _count:
            in_training[0] -= training


class Variable(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for a weight of a layer, in arithmetic and as an argument of NumPy's functions.

    While the layer's `call` runs, for the values that it began with, else for the present ones.

    Attributes
    ----------
    value : numpy.ndarray
        These values, read-only, those of floating point in the type that the layer computes in. All attributes and
        methods of this array are the variable's too.
    """

    __slots__ = ("_layer", "_weight")
    __hash__ = object.__hash__

    def __init__(self, layer: Any, weight: Any) -> None:
        self._layer = layer
        self._weight = weight

    @property
    def value(self) -> Array:
        layer = self._layer
        values = getattr(under_way, "values", {}).get(id(layer)) or layer._own_weights()
        array: Array = values[layer._specs.index(self._weight)]
        return array if array.dtype.kind in "biu" else np.asarray(array, layer.policy.real)

    @property
    def name(self) -> str:
        return str(self._weight.name)

    @property
    def trainable(self) -> bool:
        return bool(self._weight.trainable)

    def numpy(self) -> Array:
        """A copy of the values."""
        array: Array = self.value.copy()
        return array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        array: Array = np.array(self.value, dtype) if copy else np.asarray(self.value, dtype)
        return array

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(one, Variable) for one in kwargs.get("out", ())):
            raise TypeError(f"The weights of layer '{self._layer.name}' are read-only: set_weights changes them.")
        values = [one.value if isinstance(one, Variable) else one for one in inputs]
        return getattr(ufunc, method)(*values, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.value, name)

    def __getitem__(self, key: Any) -> Any:
        return self.value[key]

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, form: str) -> str:
        return format(self.value, form)

    def __repr__(self) -> str:
        return f"<Variable {self.name} of layer '{self._layer.name}'>"
