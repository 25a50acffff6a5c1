"""Layers that move values without changing them.

Next: core.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast._pieces import contiguous, copied, padded, repeated
from lstmfast.layers.base import Array, Layer, Run, positive, register


def _product(sizes: Any) -> Any:
    product = 1
    for size in sizes:
        if size is None:
            return None
        product *= size
    return product


def _reshaped(x: Array, shape: Any) -> Array:
    """`x` in another shape, its last axis contiguous: a view of a RepeatVector's one step need not be."""
    reshaped: Array = contiguous(x).reshape(shape)
    return reshaped


@register()
class RepeatVector(Layer):
    """Keras's RepeatVector layer: (batch, features) -> (batch, n, features).

    Parameters
    ----------
    n : int
        How many times. Inside a model the repeated steps are one step in memory, and a recurrent layer behind it
        projects that step once.
    """

    ndim = 2
    allocates = False
    repeats = True
    supports_masking = False
    config_keys = ("n",)

    def __init__(self, n: int, **kwargs: Any) -> None:
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
            raise TypeError(f"Expected an integer value for `n`, got {type(n)}.")
        super().__init__(**kwargs)
        self.n = positive("n", n)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], self.n, input_shape[1])

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        n, ndarray = self.n, np.ndarray

        def run(x: Array) -> Array:
            x = contiguous(x)
            batch, features = x.shape
            # np.broadcast_to would take ten times as long
            repeated: Array = ndarray((batch, n, features), x.dtype, x, 0, (x.strides[0], 0, x.itemsize))
            return repeated

        return run

    def as_stage(self, run: Run, batch_size: int, sequence: bool) -> tuple[Any, bool]:
        raise ValueError(
            f"Layer '{self.name}' (of type RepeatVector) cannot be streamed: every step of its output depends on the "
            "whole sequence."
        )


@register()
class Flatten(Layer):
    """Keras's Flatten layer: (batch, ...) -> (batch, product of the rest).

    Parameters
    ----------
    data_format : str, optional
        ``"channels_first"`` moves axis 1 to the end first, as Keras does.
    """

    min_ndim = 1
    allocates = False
    supports_masking = False
    config_keys = ("data_format",)

    def __init__(self, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format or "channels_last"

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], _product(input_shape[1:]))

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        first = self.data_format == "channels_first"

        def run(x: Array) -> Array:
            if first and x.ndim > 2:
                x = np.moveaxis(x, 1, -1)
            return _reshaped(x, (x.shape[0], _product(x.shape[1:])))

        return run


@register()
class Reshape(Layer):
    """Keras's Reshape layer.

    Parameters
    ----------
    target_shape : tuple of int
        Of one sample; one size may be -1.
    """

    allocates = False
    supports_masking = False
    config_keys = ("target_shape",)

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(target_shape, (int, np.integer)):
            target_shape = (target_shape,)
        self.target_shape = tuple(-1 if size is None else int(size) for size in target_shape)
        if self.target_shape.count(-1) > 1 or any(size < -1 for size in self.target_shape):
            raise ValueError(f"The `target_shape` {self.target_shape} may hold one -1 and no other negative size.")

    def compute_output_shape(self, input_shape: Any) -> Any:
        total = _product(input_shape[1:])
        known = _product(size for size in self.target_shape if size != -1)
        if total is not None and (total != known if -1 not in self.target_shape else not known or total % known):
            raise ValueError(
                f"The total size of the tensor must be unchanged. Received: input_shape={tuple(input_shape[1:])}, "
                f"target_shape={self.target_shape}"
            )
        fill = None if total is None else total // known if known else None
        return (input_shape[0], *[fill if size == -1 else size for size in self.target_shape])

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        shape_of = self.compute_output_shape
        return lambda x: _reshaped(x, shape_of(x.shape))


@register()
class Permute(Layer):
    """Keras's Permute layer.

    Parameters
    ----------
    dims : tuple of int
        The order of the axes after the batch, counted from 1.
    """

    supports_masking = False
    config_keys = ("dims",)

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                "Invalid permutation argument `dims` for Permute Layer. The set of indices in `dims` must be "
                f"consecutive and start from 1. Received dims={dims}"
            )
        self.ndim = len(self.dims) + 1

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (input_shape[0], *[input_shape[axis] for axis in self.dims])

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        axes = (0, *self.dims)
        return lambda x: contiguous(x.transpose(axes))


class _Shaped(Layer):
    """Base of cropping, padding and upsampling along the steps."""

    ndim = 3
    supports_masking = False

    def _pair(self, name: str, value: Any) -> tuple[int, int]:
        pair = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
        if len(pair) != 2 or any(size < 0 for size in pair):
            raise ValueError(f"The `{name}` argument must be one or two sizes >= 0. Received: {value}")
        return int(pair[0]), int(pair[1])


@register()
class Cropping1D(_Shaped):
    """Keras's Cropping1D layer."""

    config_keys = ("cropping",)

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cropping = self._pair("cropping", cropping)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, steps, features = input_shape
        if steps is not None:
            steps -= sum(self.cropping)
            if steps <= 0:
                raise ValueError(f"`cropping` {self.cropping} leaves no step of {input_shape}.")
        return (batch, steps, features)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        left, right = self.cropping
        return lambda x: copied(x[:, left : x.shape[1] - right])


@register()
class ZeroPadding1D(_Shaped):
    """Keras's ZeroPadding1D layer; with ``"channels_first"`` the steps are the last axis."""

    config_keys = ("padding", "data_format")

    def __init__(self, padding: Any = 1, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = self._pair("padding", padding)
        self.data_format = data_format or "channels_last"

    def _axis(self) -> int:
        return 2 if self.data_format == "channels_first" else 1

    def compute_output_shape(self, input_shape: Any) -> Any:
        sizes, axis = list(input_shape), self._axis()
        sizes[axis] = None if sizes[axis] is None else sizes[axis] + sum(self.padding)
        return tuple(sizes)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        widths = [(0, 0)] * 3
        widths[self._axis()] = self.padding
        return lambda x: padded(x, widths)


@register()
class UpSampling1D(_Shaped):
    """Keras's UpSampling1D layer."""

    config_keys = ("size",)

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = positive("size", size[0] if isinstance(size, (list, tuple)) else size)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, steps, features = input_shape
        return (batch, None if steps is None else steps * self.size, features)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        size = self.size
        return lambda x: repeated(x, size, 1)


__all__ = ["Cropping1D", "Flatten", "Permute", "RepeatVector", "Reshape", "UpSampling1D", "ZeroPadding1D"]
