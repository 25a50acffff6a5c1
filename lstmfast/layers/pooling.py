"""Pooling over steps, planes and volumes, in the core.

Next: base.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lstmfast import _core
from lstmfast._arrays import as_array, ordered_sum
from lstmfast._pieces import cast, contiguous, filled, joined, put, reduced, spread, taken, update
from lstmfast.layers.base import Array, Layer, Run, passing, register
from lstmfast.layers.convolution import per_axis, same_amounts, to_channels_last, windows_out


class _Pools(Layer):
    """Base of all of them; a subclass gives the number of spatial axes and whether it takes means."""

    rank: int
    means: bool
    supports_masking = False

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        return "" if self.means else "iu"

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        return self.with_pool(_core.pool)

    def on_integers(self, run: Run) -> Run:
        return self.with_pool(_pool_integers)

    def with_pool(self, pool_axis: Any) -> Run:
        """What runs the layer with a function that pools one axis, as `_core.pool` does."""
        raise NotImplementedError


def _pool_integers(
    kind: str, x: Array, count: int, window: int, stride: int, before: int, mask: Array | None, out: Array | None = None
) -> Array:
    """`_core.pool` for integers, which it does not take: the largest, or the mean over all steps."""
    steps = x.shape[1]
    if kind == "mean":  # of a Keras 2, which leaves its fraction out where no step is masked
        if mask is None:
            total = reduced(np.add, x, (1,), keepdims=True)
            return np.asarray(np.sign(total) * (np.abs(total) // steps), x.dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = reduced(np.add, x * mask[..., None], (1,), keepdims=True)
            return np.asarray(total / mask.sum(axis=1)[:, None, None])
    y = np.empty((len(x), count, x.shape[2]), x.dtype) if out is None else out
    put(y, _least(x.dtype))
    for place in range(window):
        first = max(0, -(-(before - place) // stride))  # the windows in which this place is one of the input
        last = min(count, (steps - 1 + before - place) // stride + 1)
        if first < last:
            start = first * stride - before + place
            part = x[:, start : start + (last - first - 1) * stride + 1 : stride]
            update(np.maximum, y[:, first:last], part)
    return y


def _least(dtype: Any) -> float:
    return -np.inf if dtype.kind == "f" else 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)


class _Pooling(_Pools):
    """Base of pooling in windows."""

    config_keys = ("pool_size", "strides", "padding", "data_format")

    def __init__(
        self, pool_size: Any = 2, strides: Any = None, padding: str = "valid", data_format: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.ndim = self.rank + 2
        self.pool_size = per_axis("pool_size", pool_size, self.rank)
        self.strides = per_axis("strides", pool_size if strides is None else strides, self.rank)
        self.padding = str(padding).lower()
        if self.padding not in ("valid", "same"):
            raise ValueError(f"Invalid padding {padding!r}: expected 'valid' or 'same'.")
        self.data_format = data_format or "channels_last"

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = self.data_format == "channels_first"
        spatial = input_shape[2:] if first else input_shape[1:-1]
        sizes = [
            windows_out(size, pool, stride, 1, self.padding, self.name)
            for size, pool, stride in zip(spatial, self.pool_size, self.strides, strict=True)
        ]
        return (*input_shape[:2], *sizes) if first else (input_shape[0], *sizes, input_shape[-1])

    def with_pool(self, pool_axis: Any) -> Run:
        pool, strides, same, name = self.pool_size, self.strides, self.padding == "same", self.name
        kind, padding = "mean" if self.means else "max", self.padding

        axes = [axis for axis in range(len(pool)) if (pool[axis], strides[axis]) != (1, 1)] or [0]

        def windows_of(spatial: tuple[int, ...]) -> list[tuple[int, int]]:
            """For each axis how many windows it has, and how many places before the first one begins."""
            counts = [
                windows_out(size, window, stride, 1, padding, name)
                for size, window, stride in zip(spatial, pool, strides, strict=True)
            ]
            before = [front if same else 0 for front, _ in same_amounts(spatial, pool, strides, (1,) * len(pool))]
            return list(zip(counts, before, strict=True))

        known: tuple[tuple[int, ...], list[tuple[int, int]]] = (), []

        def pooled(x: Array, out: Array | None = None) -> Array:
            """One axis after the other; what lies behind an axis are its columns, of which the first has the most."""
            nonlocal known
            spatial, windows = known
            if spatial != x.shape[1:-1]:
                spatial = x.shape[1:-1]
                windows = windows_of(spatial)
                known = spatial, windows
            y = x
            for axis in axes:
                count, before = windows[axis]
                shape = y.shape
                steps = y
                if y.ndim > 3:
                    steps = y.reshape(math.prod(shape[: axis + 1]), spatial[axis], math.prod(shape[axis + 2 :]))
                place = None
                if out is not None and axis == axes[-1]:
                    place = out.reshape(len(steps), count, steps.shape[2])
                y = pool_axis(kind, steps, count, pool[axis], strides[axis], before, None, place)
                if steps.ndim != len(shape):
                    y = y.reshape(*shape[: axis + 1], count, *shape[axis + 2 :])
            return y if out is None else out

        if self.data_format == "channels_first":
            return lambda x: contiguous(np.moveaxis(pooled(to_channels_last(x, True)), -1, 1))
        return passing(pooled)


def _weighted(x: Array, mask: Array) -> Array:
    """The mean of x (batch, steps, channels) over its steps, each with the weight that a mask of numbers gives it."""
    weights = mask[..., None].astype(x.dtype)
    y: Array = ordered_sum(spread(np.multiply, x, weights), (1,), False) / ordered_sum(weights, (1,), False)
    return y


class _GlobalPooling(_Pools):
    """Base of pooling over everything but batch and channels."""

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        if self.means:
            return "iu" if self.of_keras_2 else ""
        return "iu" if self.of_keras_2 else "biu"

    config_keys = ("data_format", "keepdims")

    def __init__(self, data_format: Any = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ndim = self.rank + 2
        self.data_format, self.keepdims = data_format or "channels_last", bool(keepdims)

    def _reduced(self) -> tuple[int, ...]:
        start = 2 if self.data_format == "channels_first" else 1
        return tuple(range(start, start + self.rank))

    def compute_output_shape(self, input_shape: Any) -> Any:
        axes = self._reduced()
        if self.keepdims:
            return tuple(1 if axis in axes else size for axis, size in enumerate(input_shape))
        return tuple(size for axis, size in enumerate(input_shape) if axis not in axes)

    def with_pool(self, pool_axis: Any) -> Run:
        first, keepdims, means = self.data_format == "channels_first", self.keepdims, self.means
        kind = "mean" if means else "max"
        makes_bools = not self.of_keras_2

        def run(x: Array, mask: Array | None = None) -> Array:
            spatial = (1,) * (x.ndim - 2)
            x = contiguous(to_channels_last(x, first))
            batch, *sizes, channels = x.shape
            steps = math.prod(sizes)
            if mask is not None and makes_bools:
                mask = np.asarray(mask, bool)
            if mask is not None and (
                type(mask) is not np.ndarray or mask.dtype != bool or mask.shape != (batch, steps)
            ):
                y = _weighted(x, np.asarray(mask))
            elif steps:
                kept = None if mask is None else contiguous(mask)
                y = pool_axis(kind, x.reshape(batch, steps, channels), 1, steps, 1, 0, kept)
            else:
                y = filled((batch, channels), np.nan if means else _least(x.dtype), x.dtype)
            if not keepdims:
                return y.reshape(batch, channels)
            return y.reshape((batch, channels, *spatial) if first else (batch, *spatial, channels))

        return run


def _adaptive_windows(size: int, count: int) -> tuple[int, Array, Array]:
    """How large ``count`` windows over ``size`` places are at least, where each begins, and which are one larger.

    They begin and end where Keras's do, which computes in float32.
    """
    edges = np.arange(count + 1, dtype=np.float32) * np.float32(size) / np.float32(count)
    starts = np.minimum(np.floor(edges[:-1]), size - 1).astype(np.intp)
    ends = np.minimum(np.ceil(edges[1:]), size).astype(np.intp)
    small = -(-size // count)
    return small, starts, ends - starts > small


class _AdaptivePooling(_Pools):
    """Base of pooling in windows that a wanted number of places makes."""

    config_keys = ("output_size", "data_format")

    def __init__(self, output_size: Any, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ndim = self.rank + 2
        self.output_size = per_axis("output_size", output_size, self.rank)
        self.data_format = data_format or "channels_last"

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.data_format == "channels_first":
            return (*input_shape[:2], *self.output_size)
        return (input_shape[0], *self.output_size, input_shape[-1])

    def check_shape(self, shape: Any) -> None:
        super().check_shape(shape)
        if 0 in (shape[2:] if self.data_format == "channels_first" else shape[1:-1]):
            raise ValueError(f"Layer '{self.name}' has nothing to pool. Full shape received: {tuple(shape)}")

    def with_pool(self, pool_axis: Any) -> Run:
        counts, first, kind = self.output_size, self.data_format == "channels_first", "mean" if self.means else "max"

        def along(steps: Array, count: int) -> Array:
            """(batch, places, columns) -> (batch, count, columns)"""
            size = steps.shape[1]
            small, starts, larger = _adaptive_windows(size, count)
            if size % count == 0:
                y: Array = pool_axis(kind, steps, count, small, small, 0, None)
                return y
            every = [pool_axis(kind, steps, size - small + 1, small, 1, 0, None)]
            if larger.any():
                every.append(pool_axis(kind, steps, size - small, small + 1, 1, 0, None))
            return taken(joined(every, 1), starts + larger * (size - small + 1), 1)

        def run(x: Array) -> Array:
            y = contiguous(to_channels_last(x, first))
            for axis, count in enumerate(counts, 1):
                shape = y.shape
                steps = y.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
                y = along(steps, count).reshape(*shape[:axis], count, *shape[axis + 1 :])
            return contiguous(np.moveaxis(y, -1, 1)) if first else y

        return run


@register("MaxPool1D")
class MaxPooling1D(_Pooling):
    """Keras's MaxPooling1D layer."""

    rank, means = 1, False


@register("MaxPool2D")
class MaxPooling2D(_Pooling):
    """Keras's MaxPooling2D layer."""

    rank, means = 2, False


@register("MaxPool3D")
class MaxPooling3D(_Pooling):
    """Keras's MaxPooling3D layer."""

    rank, means = 3, False


@register("AvgPool1D")
class AveragePooling1D(_Pooling):
    """Keras's AveragePooling1D layer."""

    rank, means = 1, True


@register("AvgPool2D")
class AveragePooling2D(_Pooling):
    """Keras's AveragePooling2D layer."""

    rank, means = 2, True


@register("AvgPool3D")
class AveragePooling3D(_Pooling):
    """Keras's AveragePooling3D layer."""

    rank, means = 3, True


@register("GlobalMaxPool1D")
class GlobalMaxPooling1D(_GlobalPooling):
    """Keras's GlobalMaxPooling1D layer."""

    rank, means = 1, False


@register("GlobalMaxPool2D")
class GlobalMaxPooling2D(_GlobalPooling):
    """Keras's GlobalMaxPooling2D layer."""

    rank, means = 2, False


@register("GlobalMaxPool3D")
class GlobalMaxPooling3D(_GlobalPooling):
    """Keras's GlobalMaxPooling3D layer."""

    rank, means = 3, False


@register("GlobalAvgPool1D")
class GlobalAveragePooling1D(_GlobalPooling):
    """Keras's GlobalAveragePooling1D layer, which leaves masked steps out."""

    rank, means = 1, True
    uses_mask = True
    keeps_integers = "iu"
    call_arguments = ("inputs", "mask")

    def on_integers(self, run: Run) -> Run:
        whole, real = super().on_integers(run), self.policy.real
        if self.of_keras_2:
            return whole
        # as in Keras 3, whose sum of what is left divided by the count of the steps is of float64
        return lambda x, mask=None: run(cast(x, real)) if mask is None else whole(x, mask=mask)

    def made_of_integers(self, dtype: Any) -> str:
        return super().made_of_integers(dtype) if self.of_keras_2 else self.policy.compute_dtype

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        converted = super().convert_arguments(shapes, arguments)
        if "mask" in converted:
            mask = converted["mask"] = as_array(converted["mask"], "the mask")
            if mask.ndim != 2 or any(own not in (1, size) for own, size in zip(mask.shape, shapes, strict=False)):
                raise ValueError(f"The mask of layer '{self.name}' has shape {mask.shape}, expected {shapes[:2]}.")
        return converted


@register("GlobalAvgPool2D")
class GlobalAveragePooling2D(_GlobalPooling):
    """Keras's GlobalAveragePooling2D layer."""

    rank, means = 2, True


@register("GlobalAvgPool3D")
class GlobalAveragePooling3D(_GlobalPooling):
    """Keras's GlobalAveragePooling3D layer."""

    rank, means = 3, True


@register()
class AdaptiveAveragePooling1D(_AdaptivePooling):
    """Keras's AdaptiveAveragePooling1D layer: (batch, steps, channels) -> (batch, output_size, channels).

    Parameters
    ----------
    output_size : int or tuple of int
        How many places each spatial axis has then: windows of about the same size make one each.
    data_format : str, optional
        With ``"channels_first"`` the channels are axis 1.
    """

    rank, means = 1, True


@register()
class AdaptiveAveragePooling2D(_AdaptivePooling):
    """Keras's AdaptiveAveragePooling2D layer, with the arguments of `AdaptiveAveragePooling1D` for two axes."""

    rank, means = 2, True


@register()
class AdaptiveAveragePooling3D(_AdaptivePooling):
    """Keras's AdaptiveAveragePooling3D layer, with the arguments of `AdaptiveAveragePooling1D` for three axes."""

    rank, means = 3, True


@register()
class AdaptiveMaxPooling1D(_AdaptivePooling):
    """Keras's AdaptiveMaxPooling1D layer, with the arguments of `AdaptiveAveragePooling1D`."""

    rank, means = 1, False


@register()
class AdaptiveMaxPooling2D(_AdaptivePooling):
    """Keras's AdaptiveMaxPooling2D layer, with the arguments of `AdaptiveAveragePooling1D` for two axes."""

    rank, means = 2, False


@register()
class AdaptiveMaxPooling3D(_AdaptivePooling):
    """Keras's AdaptiveMaxPooling3D layer, with the arguments of `AdaptiveAveragePooling1D` for three axes."""

    rank, means = 3, False


def pool_any(x: Array, means: bool, **options: Any) -> Array:
    """Pooling in windows, with as many spatial axes as ``x`` has; ``options`` are those of the layers."""
    kinds: dict[int, tuple[type[_Pooling], type[_Pooling]]] = {
        1: (MaxPooling1D, AveragePooling1D),
        2: (MaxPooling2D, AveragePooling2D),
        3: (MaxPooling3D, AveragePooling3D),
    }
    if x.ndim - 2 not in kinds:
        raise ValueError(f"Pooling takes 1 to 3 spatial axes, got an input of shape {x.shape}.")
    y: Array = kinds[x.ndim - 2][means](**options, name="pool").freeze(())(x)
    return y


__all__ = [
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "pool_any",
]
