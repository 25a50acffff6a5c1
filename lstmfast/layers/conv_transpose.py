"""Transposed convolutions: each place of the input times the kernel, added to the output where its window lies.

The core multiplies all places with all taps at once; a row's bits depend on the row alone, as each output takes its
taps in one order.
Next: convolution.py, core.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from lstmfast import _core, _pieces, activations
from lstmfast._graph import Shape
from lstmfast._pieces import contiguous, filled, update
from lstmfast.layers.arguments import keys_of
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.convolution import Convolution, per_axis, same_amounts


def _size_out(size: Any, reach: int, stride: int, padding: str, more: int | None) -> Any:
    """How many places the output has along an axis, for windows that reach so far; ``more`` is its output_padding."""
    if size is None:
        return None
    if padding == "same":
        return size * stride if more is None else (size - 1) * stride + reach % 2 + more
    return (size - 1) * stride + (max(reach, stride) if more is None else reach + more)


def _landing(count: int, stride: int, shift: int, size: int) -> tuple[slice, slice]:
    """Which of ``count`` places land inside ``size`` others, and on which: place i lands on i * stride + shift."""
    first = max(0, -(shift // stride))
    stop = max(first, min(count, (size - 1 - shift) // stride + 1))
    start = first * stride + shift
    return slice(first, stop), slice(start, start + (stop - first) * stride, stride)


class _Scattering:
    """A kernel (window ..., filters, channels) packed for the core, and where the products with it are added.

    Parameters
    ----------
    kernel : numpy.ndarray
        (window ..., filters, channels).
    strides, dilation : sequence of int
        For each spatial axis.
    """

    def __init__(self, kernel: Array, strides: Sequence[int], dilation: Sequence[int]) -> None:
        *window, self.filters, self.channels = kernel.shape
        self.window, self.strides, self.dilation = tuple(window), strides, dilation
        flat = np.ascontiguousarray(kernel.reshape(-1, self.channels).T)  # (channels, taps * filters)
        self.apply = _core.PackedLayer("dense", flat, None, None, activations.LINEAR, None).apply

    def add(self, x: Array, y: Array, before: Sequence[int]) -> None:
        """Add to y (batch, spatial ..., filters), which begins ``before`` places behind what is computed.

        An output takes the places along the first spatial axis in their order, so that pieces of that axis, one after
        the other, give the bits of the whole.
        """
        of_a_step = math.prod(x.shape[2:-1]) * math.prod(self.window) * self.filters
        for piece in _pieces.pieces(x.shape[:2], _pieces.PIECE // max(1, of_a_step) or 1):
            start = piece[1].start if len(piece) > 1 else 0
            shifts = [start * self.strides[0] - before[0], *(-front for front in before[1:])]
            self._add_piece(x[piece], y[piece[:1]], shifts)

    def _add_piece(self, x: Array, y: Array, shifts: Sequence[int]) -> None:
        spatial = x.shape[1:-1]
        products = self.apply(contiguous(x).reshape(-1, self.channels), None, 0)
        products = products.reshape(*x.shape[:-1], *self.window, self.filters)
        # of the first axis the last tap comes first: it is that of the first place
        for tap in product(range(self.window[0])[::-1], *map(range, self.window[1:])):
            landings = [
                _landing(count, stride, position * step + shift, size)
                for count, stride, position, step, shift, size in zip(
                    spatial, self.strides, tap, self.dilation, shifts, y.shape[1:-1], strict=True
                )
            ]
            sources, targets = zip(*landings, strict=True)
            target, source = (slice(None), *targets), (slice(None), *sources, *tap)
            update(np.add, y[target], products[source])


class _ConvTranspose(Convolution):
    """Base of the transposed convolutions."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: Any = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.output_padding = None
        if output_padding is not None:
            self.output_padding = per_axis("output_padding", output_padding, self.rank, least=0)
        self._check_windows()

    config_keys = keys_of(__init__)

    output_padding: tuple[int, ...] | None

    def _check_windows(self) -> None:
        """Raise where the arguments do not go together."""
        if self.padding == "causal":
            raise ValueError(f"Invalid padding 'causal' of a {type(self).__name__}: expected 'valid' or 'same'.")
        if self.groups != 1:
            raise ValueError(f"A {type(self).__name__} has no groups. Received: groups={self.groups}")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "`strides > 1` not supported in conjunction with `dilation_rate > 1`. Received: "
                f"strides={self.strides} and dilation_rate={self.dilation_rate}"
            )
        if self.output_padding is None:
            return
        for axis, (more, stride, reach) in enumerate(
            zip(self.output_padding, self.strides, self._reaches(), strict=True)
        ):
            if more >= stride:
                raise ValueError(
                    "`output_padding` must be strictly less than `strides` for all dimensions. At dimension "
                    f"{axis}, `output_padding` is {more} but `strides` is {stride}. Received: "
                    f"output_padding={self.output_padding}, strides={self.strides}"
                )
            if self.padding == "same" and more + reach % 2 == 0:  # TensorFlow refuses to run these
                raise ValueError(
                    f"`output_padding` must not be 0 where a window has an even size ({reach} at dimension {axis}) and "
                    f"`padding` is 'same'. Received: output_padding={self.output_padding}"
                )

    def _reaches(self) -> list[int]:
        """How far a window goes along each axis."""
        return [(size - 1) * step + 1 for size, step in zip(self.kernel_size, self.dilation_rate, strict=True)]

    def build_weights(self, input_shape: Any) -> None:
        channels = self.fix_axis(input_shape, self.channel_axis)
        self.add_weight("kernel", (*self.kernel_size, self.filters, channels), self.kernel_initializer)
        if self.use_bias:
            self.add_weight("bias", (self.filters,), self.bias_initializer)

    @property
    def kernel(self) -> Array | None:
        """(window ..., filters, channels), read-only."""
        return self._weight("kernel")

    def output_spatial(self, spatial: Shape) -> Shape:
        more = self.output_padding or (None,) * self.rank
        return tuple(
            _size_out(size, reach, stride, self.padding, extra)
            for size, reach, stride, extra in zip(spatial, self._reaches(), self.strides, more, strict=True)
        )

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        kernel, *bias = self.packed(weights)
        scattering = _Scattering(kernel, self.strides, self.dilation_rate)
        sizes_of, activation, same = self.output_spatial, self.activation, self.padding == "same"

        def convolve(x: Array) -> Array:
            sizes = sizes_of(x.shape[1:-1])
            before: Sequence[int] = (0,) * len(sizes)
            if same:
                amounts = same_amounts(sizes, scattering.window, scattering.strides, scattering.dilation)
                before = [front for front, _ in amounts]
            y = filled((len(x), *sizes, scattering.filters), bias[0] if bias else 0, x.dtype)
            scattering.add(x, y, before)
            return y if activation.is_linear or activation.core is None else activation.run(y)

        return self._finished(convolve)

    # every step of the output depends on several of the input
    as_stage = Layer.as_stage


@register("Convolution1DTranspose")
class Conv1DTranspose(_ConvTranspose):
    """Keras's Conv1DTranspose layer: (batch, steps, channels) -> (batch, about steps * strides, filters).

    Parameters
    ----------
    filters : int
        Size of the output's last axis.
    kernel_size, strides, dilation_rate : int
        The window along the steps of the output. Not both of strides and dilation_rate are larger than 1.
    padding : {"valid", "same"}
        Whether the output has all that any window reaches, or ``strides`` steps for each of the input.
    output_padding : int, optional
        Less than strides: what sets the number of steps, in place of the rule of ``padding``. It is
        (steps - 1) * strides + window + output_padding, where ``"same"`` has window % 2 for the window.
    activation : str, callable, dict or None
        Of the output.
    **kwargs
        As of Keras's layer.
    """

    rank = 1


@register("Convolution2DTranspose")
class Conv2DTranspose(_ConvTranspose):
    """Keras's Conv2DTranspose layer, with the arguments of `Conv1DTranspose` for two axes."""

    rank = 2


@register("Convolution3DTranspose")
class Conv3DTranspose(_ConvTranspose):
    """Keras's Conv3DTranspose layer, with the arguments of `Conv1DTranspose` for three axes."""

    rank = 3


__all__ = ["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"]
