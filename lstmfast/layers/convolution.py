"""Convolutions: windows of the input as rows of a matrix, multiplied on the core's dense step.

The core puts the windows together, some rows at a time. A row's bits depend on the row alone, so that neither the batch
nor the slicing changes an output.
Next: conv_transpose.py and conv_lstm.py, which use it; core.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lstmfast import _core, activations, initializers
from lstmfast._graph import Node, Shape
from lstmfast._pieces import contiguous, joined, padded, reshaped, spread, update
from lstmfast.layers.arguments import at_least, keys_of, positive
from lstmfast.layers.base import Array, Layer, Run, is_plain_shape, register


def per_axis(name: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """A size for each spatial axis, no less than ``least``, which is 0 or 1."""
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value,) * rank
    if len(sizes) != rank:
        raise ValueError(f"The `{name}` argument must be a tuple of {rank} integers. Received: {name}={value}")
    return tuple(at_least(least, name, size) for size in sizes)


def windows_out(size: Any, window: int, stride: int, dilation: int, padding: str, name: str) -> Any:
    """How many windows there are along an axis."""
    if size is None:
        return None
    if padding != "valid":
        return -(-size // stride)
    reach = (window - 1) * dilation + 1
    if size < reach:
        raise ValueError(f"Layer '{name}': a window of {reach} does not fit into a size of {size}.")
    return (size - reach) // stride + 1


def to_channels_last(x: Array, channels_first: bool) -> Array:
    return contiguous(np.moveaxis(x, 1, -1)) if channels_first else x


def pad(x: Array, amounts: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
    """``x`` (batch, spatial ..., channels) with ``value`` before and after each spatial axis."""
    return padded(x, [(0, 0), *amounts, (0, 0)], value) if any(map(any, amounts)) else x


def same_amounts(
    spatial: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """TensorFlow's padding "same": the odd one comes behind."""
    amounts = []
    for size, extent, stride, step in zip(spatial, window, strides, dilation, strict=True):
        total = max((-(-size // stride) - 1) * stride + (extent - 1) * step + 1 - size, 0)
        amounts.append((total // 2, total - total // 2))
    return amounts


class Windows:
    """What a convolution sees of its input at each place.

    Parameters
    ----------
    window, strides, dilation : sequence of int
        For each spatial axis.
    padding : {"valid", "same", "causal"}
        How the borders are filled.
    """

    def __init__(
        self,
        window: Sequence[int],
        strides: Sequence[int],
        dilation: Sequence[int],
        padding: str,
        name: str,
    ) -> None:
        self.window, self.strides, self.dilation = tuple(window), tuple(strides), tuple(dilation)
        self.padding, self.name = padding, name

    def places(self, spatial: Sequence[int]) -> tuple[int, ...]:
        """How many windows a grid of these sizes has along each axis."""
        return tuple(
            windows_out(size, window, stride, step, self.padding, self.name)
            for size, window, stride, step in zip(spatial, self.window, self.strides, self.dilation, strict=True)
        )

    def of(self, spatial: Sequence[int]) -> tuple[Sequence[int], ...]:
        """What `_core.PackedLayer.convolve` has to know of those."""
        before: Sequence[int] = (0,) * len(self.window)
        if self.padding == "same":
            before = [front for front, _ in same_amounts(spatial, self.window, self.strides, self.dilation)]
        elif self.padding == "causal":
            before = [(self.window[0] - 1) * self.dilation[0]]
        return self.window, self.strides, self.dilation, before


class Convolving:
    """A kernel (window ..., channels, filters) packed for the core, and the windows that it is multiplied with."""

    def __init__(
        self, kernel: Array, bias: Array | None, activation: Any, strides: Any, dilation: Any, padding: str, name: str
    ) -> None:
        *window, _, filters = kernel.shape
        self.filters = filters
        self.windows = Windows(window, strides, dilation, padding, name)
        flat = np.ascontiguousarray(kernel.reshape(-1, filters))
        self.core = _core.PackedLayer("dense", flat, None, bias, activation, None)

    def __call__(self, x: Array) -> Array:
        """(batch, spatial ..., channels), of any strides -> (batch, spatial ..., filters)."""
        spatial = x.shape[1:-1]
        places, seen = self.windows.places(spatial), self.windows.of(spatial)
        y: Array = self.core.convolve(x[:, None], places, seen, None, None, None, False, False, False, False, 0)
        return y


class Convolution(Layer):
    """Base of all convolutions.

    A subclass gives the number of spatial axes.
    """

    rank: int
    supports_masking = False

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
        groups: int = 1,
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
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.ndim = self.rank + 2
        self.filters = positive("filters", filters)
        self.groups = positive("groups", groups)
        self._windows(kernel_size, strides, padding, data_format, dilation_rate)
        if self.filters % self.groups:
            raise ValueError(
                f"The number of filters must be a multiple of the number of groups {groups}, got {filters}."
            )
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer, self.bias_regularizer = kernel_regularizer, bias_regularizer
        self.kernel_constraint, self.bias_constraint = kernel_constraint, bias_constraint

    config_keys = keys_of(__init__)

    def _windows(self, kernel_size: Any, strides: Any, padding: str, data_format: Any, dilation_rate: Any) -> None:
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank)
        self.strides = per_axis("strides", strides, self.rank)
        self.dilation_rate = per_axis("dilation_rate", dilation_rate, self.rank)
        self.padding = str(padding).lower()
        known = ("valid", "same", "causal")[: 3 if self.rank == 1 else 2]
        if self.padding not in known:
            raise ValueError(f"Invalid padding {padding!r} of a {type(self).__name__}: expected one of {known}.")
        self.data_format = data_format or "channels_last"

    @property
    def channel_axis(self) -> int:
        return 1 if self.data_format == "channels_first" else -1

    def build_weights(self, input_shape: Any) -> None:
        channels = self.fix_axis(input_shape, self.channel_axis)
        if channels % self.groups:
            raise ValueError(
                f"The number of input channels must be divisible by the number of groups {self.groups}. Received: "
                f"input_shape={input_shape}"
            )
        kernel = (*self.kernel_size, channels // self.groups, self.filters)
        self.add_weight("kernel", kernel, self.kernel_initializer)
        if self.use_bias:
            self.add_weight("bias", (self.filters,), self.bias_initializer)

    @property
    def kernel(self) -> Array | None:
        """(window ..., channels / groups, filters), read-only."""
        return self._weight("kernel")

    @property
    def bias(self) -> Array | None:
        """(filters,), read-only; None without ``use_bias``."""
        return self._weight("bias")

    def output_channels(self, channels: Any) -> Any:
        return self.filters

    def output_spatial(self, spatial: Shape) -> Shape:
        """The spatial sizes of the output."""
        return output_spatial(spatial, self)

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = self.data_format == "channels_first"
        spatial = input_shape[2:] if first else input_shape[1:-1]
        sizes = self.output_spatial(spatial)
        channels = self.output_channels(input_shape[1 if first else -1])
        return (input_shape[0], channels, *sizes) if first else (input_shape[0], *sizes, channels)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        kernel, *bias = self.packed(weights)
        activation, core = self.activation, self.activation.core
        groups, filters = self.groups, self.filters // self.groups
        parts = []
        for group in range(groups):
            own = slice(group * filters, (group + 1) * filters)
            # an activation over the channels has to wait for all groups
            alone = core if core is not None and groups == 1 else activations.LINEAR
            offset = np.ascontiguousarray(bias[0][own]) if bias else None
            parts.append(
                Convolving(kernel[..., own], offset, alone, self.strides, self.dilation_rate, self.padding, self.name)
            )
        channels = kernel.shape[-2]

        def convolve(x: Array) -> Array:
            if groups == 1:
                return parts[0](x)
            y = joined(
                [part(x[..., group * channels : (group + 1) * channels]) for group, part in enumerate(parts)], -1
            )
            return activation.run(y) if core is not None else y

        return self._finished(convolve)

    def _finished(self, convolve: Run) -> Run:
        """``convolve``, which works on channels_last, for the layer's layout and with its activation, if a function."""
        first = self.data_format == "channels_first"
        function = self.activation.run if self.activation.core is None else None

        def run(x: Array) -> Array:
            y: Array = convolve(to_channels_last(x, first))
            if function is not None:
                y = function(y)
            return contiguous(np.moveaxis(y, -1, 1)) if first else y

        return run

    def as_stage(self, run: Run, node: Node, batch_size: int) -> tuple[Any, bool]:
        whole = (self.kernel_size, self.strides) == ((1,), (1,))
        causal = self.rank == 1 and self.data_format == "channels_last" and self.strides == (1,)
        if not causal or (self.padding != "causal" and not whole):
            raise ValueError(
                f"Layer '{self.name}' (of type {type(self).__name__}) cannot be streamed: only windows along the steps "
                f"with padding='causal' and a stride of 1 can be; its padding is '{self.padding}'."
            )
        from lstmfast.streaming import WindowStage

        return WindowStage(run, self, batch_size), True


class _Conv(Convolution):
    """Base of Conv1D, Conv2D and Conv3D, which in Keras 2 take more axes of the batch than one."""

    inert_arguments = ("lora_alpha", "lora_rank")

    def _more(self, shape: Any) -> int:
        """How many more there are in the shape of an input."""
        return max(0, len(shape) - self.rank - 2) if self.of_keras_2 and is_plain_shape(shape) else 0

    def check_shape(self, shape: Any) -> None:
        super().check_shape(shape[self._more(shape) :])

    def build_weights(self, input_shape: Any) -> None:
        super().build_weights(input_shape[self._more(input_shape) :])

    def compute_output_shape(self, input_shape: Any) -> Any:
        more = self._more(input_shape)
        return (*input_shape[:more], *super().compute_output_shape(input_shape[more:]))

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        run, rank = super().freeze(weights), self.rank
        if not self.of_keras_2:
            return run

        def folded(x: Array) -> Array:
            count = x.ndim - rank - 1  # axes of the batch
            if count == 1:
                return run(x)  # type: ignore[no-any-return]
            y = run(reshaped(x, (-1, *x.shape[count:])))
            return y.reshape(*x.shape[:count], *y.shape[1:])  # type: ignore[no-any-return]

        return folded

    def as_stage(self, run: Run, node: Node, batch_size: int) -> tuple[Any, bool]:
        if self._more(self.build_shape):
            raise ValueError(
                f"Layer '{self.name}' (of type {type(self).__name__}) cannot be streamed: its windows do not lie along "
                "the steps."
            )
        return super().as_stage(run, node, batch_size)


@register("Convolution1D")
class Conv1D(_Conv):
    """Keras's Conv1D layer.

    Parameters
    ----------
    filters : int
        Size of the output's last axis.
    kernel_size, strides, dilation_rate : int
        The window along the steps.
    padding : {"valid", "same", "causal"}
        How the borders are filled.
    groups : int
        Into how many groups the channels are split.
    activation : str, callable, dict or None
        Of the output.
    **kwargs
        As of Keras's layer.
    """

    rank = 1


@register("Convolution2D")
class Conv2D(_Conv):
    """Keras's Conv2D layer, with the arguments of `Conv1D` for two axes."""

    rank = 2


@register("Convolution3D")
class Conv3D(_Conv):
    """Keras's Conv3D layer, with the arguments of `Conv1D` for three axes."""

    rank = 3


class _Depthwise(Convolution):
    """Base of the convolutions of each channel by itself."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: Any = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            1,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation=activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            bias_constraint=bias_constraint,
            **kwargs,
        )
        self.depth_multiplier = positive("depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer, self.depthwise_constraint = depthwise_regularizer, depthwise_constraint

    config_keys = keys_of(__init__)

    def output_channels(self, channels: Any) -> Any:
        return None if channels is None else channels * self.depth_multiplier

    def build_weights(self, input_shape: Any) -> None:
        channels = self.fix_axis(input_shape, self.channel_axis)
        self.add_weight("kernel", (*self.kernel_size, channels, self.depth_multiplier), self.depthwise_initializer)
        if self.use_bias:
            self.add_weight("bias", (channels * self.depth_multiplier,), self.bias_initializer)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        kernel, *bias = self.packed(weights)
        depthwise = self._depthwise(kernel)
        activation = self.activation

        def convolve(x: Array) -> Array:
            y = depthwise(x)
            if bias:
                update(np.add, y, bias[0])
            return y if activation.is_linear or activation.core is None else activation.run(y)

        return self._finished(convolve)

    def _depthwise(self, kernel: Array) -> Run:
        """Each channel's windows times its kernel, tap by tap in the kernel's order."""
        window, channels, multiplier = kernel.shape[: self.rank], kernel.shape[-2], kernel.shape[-1]
        strides, dilation, padding, name = self.strides, self.dilation_rate, self.padding, self.name

        def run(x: Array) -> Array:
            sizes = [
                windows_out(size, extent, stride, step, padding, name)
                for size, extent, stride, step in zip(x.shape[1:-1], window, strides, dilation, strict=True)
            ]
            if padding == "same":
                x = pad(x, same_amounts(x.shape[1:-1], window, strides, dilation))
            elif padding == "causal":
                x = pad(x, [((window[0] - 1) * dilation[0], 0)])
            y = np.zeros((x.shape[0], *sizes, channels, multiplier), x.dtype)
            for tap in np.ndindex(*window):
                starts = [position * step for position, step in zip(tap, dilation, strict=True)]
                key = (
                    slice(None),
                    *(
                        slice(start, start + (size - 1) * stride + 1, stride)
                        for start, size, stride in zip(starts, sizes, strides, strict=True)
                    ),
                )
                update(np.add, y, spread(np.multiply, x[key][..., None], kernel[tap]))
            return y.reshape(*y.shape[:-2], channels * multiplier)

        return run


@register()
class DepthwiseConv1D(_Depthwise):
    """Keras's DepthwiseConv1D layer."""

    rank = 1


@register()
class DepthwiseConv2D(_Depthwise):
    """Keras's DepthwiseConv2D layer."""

    rank = 2


class _Separable(_Depthwise):
    """Base of a depthwise convolution followed by a mixing of the channels."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            depth_multiplier,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            depthwise_initializer,
            bias_initializer,
            depthwise_regularizer,
            bias_regularizer,
            activity_regularizer,
            depthwise_constraint,
            bias_constraint,
            **kwargs,
        )
        self.filters = positive("filters", filters)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.pointwise_regularizer, self.pointwise_constraint = pointwise_regularizer, pointwise_constraint

    config_keys = keys_of(__init__)

    def output_channels(self, channels: Any) -> Any:
        return self.filters

    def build_weights(self, input_shape: Any) -> None:
        channels = self.fix_axis(input_shape, self.channel_axis)
        self.add_weight(
            "depthwise_kernel", (*self.kernel_size, channels, self.depth_multiplier), self.depthwise_initializer
        )
        mixed = channels * self.depth_multiplier
        self.add_weight("pointwise_kernel", (*(1,) * self.rank, mixed, self.filters), self.pointwise_initializer)
        if self.use_bias:
            self.add_weight("bias", (self.filters,), self.bias_initializer)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        kernel, mixing, *bias = self.packed(weights)
        depthwise = self._depthwise(kernel)
        flat = np.ascontiguousarray(mixing.reshape(mixing.shape[-2:]))
        core = self.activation.core or activations.LINEAR
        apply = _core.PackedLayer("dense", flat, None, bias[0] if bias else None, core, None).apply

        def convolve(x: Array) -> Array:
            y = depthwise(x)
            return apply(y.reshape(-1, flat.shape[0]), None, 0).reshape(*y.shape[:-1], flat.shape[1])

        return self._finished(convolve)


@register("SeparableConvolution1D")
class SeparableConv1D(_Separable):
    """Keras's SeparableConv1D layer."""

    rank = 1


@register("SeparableConvolution2D")
class SeparableConv2D(_Separable):
    """Keras's SeparableConv2D layer."""

    rank = 2


def output_spatial(spatial: Shape, layer: Any) -> Shape:
    """The spatial sizes that a layer with windows gives."""
    return tuple(
        windows_out(size, window, stride, step, layer.padding, layer.name)
        for size, window, stride, step in zip(
            spatial, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
        )
    )


__all__ = [
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
]
