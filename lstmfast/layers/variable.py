"""Weights as attributes of layers that users write.

Next: own.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Variable(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for a weight of a layer, in arithmetic and as an argument of NumPy's functions: for its present values.

    Attributes
    ----------
    value : numpy.ndarray
        These values, read-only, in the type that the layer computes in. All attributes and methods of this array are
        the variable's too.
    """

    __slots__ = ("_layer", "_place")
    __hash__ = object.__hash__

    def __init__(self, layer: Any, place: int) -> None:
        self._layer = layer
        self._place = place

    @property
    def value(self) -> Array:
        array: Array = np.asarray(self._layer._own_weights()[self._place], self._layer.policy.real)
        return array

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

    def __repr__(self) -> str:
        return f"<Variable {self._layer._specs[self._place].name} of layer '{self._layer.name}'>"
