"""Layers that move values, and all but one of them without changing any.

Next: core.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import add, mul, sub
from typing import Any

import numpy as np

from lstmfast import _core
from lstmfast._pieces import cast, contiguous, copied, in_pieces, padded, repeated, taken
from lstmfast._stack import give_stage
from lstmfast.layers.arguments import positive
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.convolution import per_axis


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
    keeps_integers = "biu"
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

        give_stage(run, partial(_core.RepeatStage, count=n))
        return run


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
    keeps_integers = "biu"
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
    keeps_integers = "biu"
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

    keeps_integers = "biu"
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
        return lambda x: copied(x.transpose(axes))  # also where nothing moves


_ORDINALS = ("1st", "2nd", "3rd")
INTERPOLATIONS = ("bilinear", "nearest", "lanczos3", "lanczos5", "bicubic", "area")


def _pairs(name: str, value: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """How much before and behind each spatial axis, of one number for all, or of a number or a pair for each."""
    if rank == 1 or isinstance(value, (int, np.integer)):
        return (_pair(name, value),) * rank
    if not isinstance(value, (list, tuple)) or len(value) != rank:
        raise ValueError(f"`{name}` should have {rank} elements. Received: {name}={value}.")
    return tuple(_pair(f"{_ORDINALS[place]} entry of {name}", entry) for place, entry in enumerate(value))


def _pair(name: str, value: Any) -> tuple[int, int]:
    before, behind = per_axis(name, value, 2, least=0)
    return before, behind


class _Spatial(Layer):
    """Base of cropping, padding and upsampling; a subclass gives the number of spatial axes."""

    rank: int
    keeps_integers = "biu"
    supports_masking = False

    def __init__(self, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ndim = self.rank + 2
        self.data_format = data_format or "channels_last"

    def spatial_axes(self) -> range:
        start = 2 if self.data_format == "channels_first" else 1
        return range(start, start + self.rank)

    def resized(self, shape: Any, function: Callable[[int, int], int], amounts: Iterable[int]) -> Any:
        """``shape`` with ``function(size, amount)`` for each spatial size that is known."""
        sizes = list(shape)
        for axis, amount in zip(self.spatial_axes(), amounts, strict=True):
            if sizes[axis] is not None:
                sizes[axis] = function(sizes[axis], amount)
        return tuple(sizes)

    def widths(self, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """What pairs for the spatial axes are for all axes of the input."""
        start = self.spatial_axes().start
        return [(0, 0)] * start + list(pairs) + [(0, 0)] * (2 - start)


class _Cropping(_Spatial):
    """Base of cropping: takes places away from both ends of each spatial axis."""

    config_keys: tuple[str, ...] = ("cropping", "data_format")

    def __init__(self, cropping: Any, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self._taken = _pairs("cropping", cropping, self.rank)
        self.cropping = self._taken if self.rank > 1 else self._taken[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = self.resized(input_shape, sub, map(sum, self._taken))
        if any(shape[axis] is not None and shape[axis] <= 0 for axis in self.spatial_axes()):
            raise ValueError(
                "Values in `cropping` argument should be smaller than the corresponding spatial dimension of the "
                f"input. Received: input_shape={tuple(input_shape)}, cropping={self.cropping}"
            )
        return shape

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        shape_of, starts = self.compute_output_shape, [before for before, _ in self.widths(self._taken)]

        def run(x: Array) -> Array:
            sizes = shape_of(x.shape)
            return copied(x[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))])

        return run


@register()
class Cropping1D(_Cropping):
    """Keras's Cropping1D layer: (batch, steps, features) -> (batch, fewer steps, features).

    Parameters
    ----------
    cropping : int or tuple of int
        How many steps to take away at the beginning and at the end.
    """

    rank = 1
    config_keys = ("cropping",)

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(cropping, **kwargs)


@register()
class Cropping2D(_Cropping):
    """Keras's Cropping2D layer: (batch, height, width, channels) -> (batch, smaller height, smaller width, channels).

    Parameters
    ----------
    cropping : int or tuple
        How many places to take away: one number for both ends of both axes, or a number or a pair for each axis.
    data_format : str, optional
        With ``"channels_first"`` the channels are axis 1.
    """

    rank = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


@register()
class Cropping3D(_Cropping):
    """Keras's Cropping3D layer, with the arguments of `Cropping2D` for three axes."""

    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


class _ZeroPadding(_Spatial):
    """Base of padding: puts zeros at both ends of each spatial axis."""

    config_keys = ("padding", "data_format")

    def __init__(self, padding: Any = 1, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self._added = _pairs("padding", padding, self.rank)
        self.padding = self._added if self.rank > 1 else self._added[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.resized(input_shape, add, map(sum, self._added))

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        widths = self.widths(self._added)
        return lambda x: padded(x, widths)


@register()
class ZeroPadding1D(_ZeroPadding):
    """Keras's ZeroPadding1D layer: (batch, steps, features) -> (batch, more steps, features).

    Parameters
    ----------
    padding : int or tuple of int
        How many steps to add at the beginning and at the end.
    data_format : str, optional
        With ``"channels_first"`` the steps are the last axis.
    """

    rank = 1


@register()
class ZeroPadding2D(_ZeroPadding):
    """Keras's ZeroPadding2D layer: (batch, height, width, channels) -> (batch, larger height, larger width, channels).

    Parameters
    ----------
    padding : int or tuple
        How many places to add: one number for both ends of both axes, or a number or a pair for each axis.
    data_format : str, optional
        With ``"channels_first"`` the channels are axis 1.
    """

    rank = 2


@register()
class ZeroPadding3D(_ZeroPadding):
    """Keras's ZeroPadding3D layer, with the arguments of `ZeroPadding2D` for three axes."""

    rank = 3


def interpolated(x: Array, count: int, axis: int) -> Array:
    """``x`` with ``count`` places along an axis, as TensorFlow puts them between those of ``x``."""
    real, size = x.dtype.type, x.shape[axis]
    places = (np.arange(count, dtype=x.dtype) + real(0.5)) * (real(size) / real(count)) - real(0.5)
    before = np.floor(places)
    share = (places - before).reshape(-1, *[1] * (x.ndim - 1 - axis))
    left, right = (taken(x, np.clip(places, 0, size - 1).astype(np.intp), axis) for places in (before, np.ceil(places)))
    return in_pieces(_between, left, right, share)


def rounded(x: Array, dtype: np.dtype[Any]) -> Array:
    """Floats as integers of a type, the nearest that it has."""
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.asarray(np.clip(np.round(x), least, most).astype(dtype))


def _between(left: Array, right: Array, share: Array) -> Array:
    y: Array = right - left
    y *= share
    y += left
    return y


class _UpSampling(_Spatial):
    """Base of upsampling: every spatial size times a factor of its own."""

    config_keys: tuple[str, ...] = ("size", "data_format")
    interpolation = "nearest"

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        return "biu" if self.interpolation == "nearest" else "" if self.of_keras_2 else "iu"

    def on_integers(self, run: Run) -> Run:
        if self.interpolation == "nearest":
            return run
        real = self.policy.real
        return lambda x: in_pieces(partial(rounded, dtype=x.dtype), run(cast(x, real)))

    def __init__(self, size: Any = 2, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self._factors = per_axis("size", size, self.rank)
        self.size = self._factors if self.rank > 1 else self._factors[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.resized(input_shape, mul, self._factors)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        # the last axis first: then few values are moved one by one, and long runs of them by the axes before it
        factors = list(zip(self.spatial_axes(), self._factors, strict=True))[::-1]
        bilinear = self.interpolation == "bilinear"

        def run(x: Array) -> Array:
            for axis, factor in factors:
                x = interpolated(x, x.shape[axis] * factor, axis) if bilinear else repeated(x, factor, axis)
            return x

        return run


@register()
class UpSampling1D(_UpSampling):
    """Keras's UpSampling1D layer: (batch, steps, features) -> (batch, steps * size, features).

    Parameters
    ----------
    size : int
        How many times to repeat each step.
    """

    rank = 1
    config_keys = ("size",)

    def __init__(self, size: Any = 2, **kwargs: Any) -> None:
        super().__init__(size, **kwargs)


@register()
class UpSampling2D(_UpSampling):
    """Keras's UpSampling2D layer: (batch, height, width, channels) -> (batch, more rows, more columns, channels).

    Parameters
    ----------
    size : int or tuple of int
        The factors of height and width.
    data_format : str, optional
        With ``"channels_first"`` the channels are axis 1.
    interpolation : {"nearest", "bilinear"}
        Whether values are repeated, or lie on a line between two neighbours along each axis.

    Notes
    -----
    A layer of float64 interpolates in float64, where TensorFlow does so in float32.
    """

    rank = 2
    config_keys = ("size", "data_format", "interpolation")

    def __init__(self, size: Any = 2, data_format: Any = None, interpolation: str = "nearest", **kwargs: Any) -> None:
        super().__init__(size, data_format, **kwargs)
        self.interpolation = str(interpolation).lower()
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"Invalid value for argument `interpolation`. Expected of one {INTERPOLATIONS}. Received: "
                f"interpolation={interpolation}"
            )
        if self.interpolation not in ("nearest", "bilinear"):
            raise NotImplementedError(f"UpSampling2D with interpolation='{self.interpolation}' is not supported.")


@register()
class UpSampling3D(_UpSampling):
    """Keras's UpSampling3D layer, with the arguments of `UpSampling2D` but ``interpolation`` for three axes."""

    rank = 3


__all__ = [
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Flatten",
    "Permute",
    "RepeatVector",
    "Reshape",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
]
