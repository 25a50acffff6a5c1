"""ConvLSTM: an LSTM whose products are convolutions.

Next: convolution.py, recurrent.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lstmfast import _core, activations, initializers
from lstmfast._graph import Shape
from lstmfast._pieces import contiguous
from lstmfast.layers.arguments import as_mask, keys_of, positive
from lstmfast.layers.base import Array, register
from lstmfast.layers.convolution import Convolving, Windows, output_spatial, per_axis, to_channels_last
from lstmfast.layers.noise import Noise
from lstmfast.layers.recurrent import Recurrent
from lstmfast.layers.steps import stepped

_GATES = 4


class _ConvLSTM(Recurrent):
    """Base of ConvLSTM1D, ConvLSTM2D and ConvLSTM3D; a subclass gives the number of spatial axes."""

    rank: int
    inert_arguments = ("unroll", "implementation", "time_major", "use_cudnn")
    keyword_arguments = ("zero_output_for_mask",)
    saved_vars = "cell/vars"

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: Any = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs: Any,
    ) -> None:
        self.kernel_regularizer, self.recurrent_regularizer = kernel_regularizer, recurrent_regularizer
        self.bias_regularizer, self.bias_constraint = bias_regularizer, bias_constraint
        self.kernel_constraint, self.recurrent_constraint = kernel_constraint, recurrent_constraint
        self.dropout, self.recurrent_dropout, self.seed = dropout, recurrent_dropout, seed
        self.noise = Noise(seed)
        self.zero_output_for_mask = bool(kwargs.pop("zero_output_for_mask", False))
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.ndim = self.rank + 3
        self.filters = positive("filters", filters)
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank)
        self.strides = per_axis("strides", strides, self.rank)
        self.dilation_rate = per_axis("dilation_rate", dilation_rate, self.rank)
        self.padding = str(padding).lower()
        if self.padding not in ("valid", "same"):
            raise ValueError(f"Invalid padding {padding!r} of a {type(self).__name__}: expected 'valid' or 'same'.")
        self.data_format = data_format or "channels_last"
        self.activation = activations.get(activation)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.use_bias, self.unit_forget_bias = bool(use_bias), bool(unit_forget_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful = bool(go_backwards), bool(stateful)

    config_keys = keys_of(__init__, more="zero_output_for_mask")

    @property
    def states_count(self) -> int:
        return 2

    def step_shapes(self, input_shape: Any) -> tuple[Shape, list[Shape]]:
        first = self.data_format == "channels_first"
        spatial = output_spatial(input_shape[3:] if first else input_shape[2:-1], self)
        shape = (self.filters, *spatial) if first else (*spatial, self.filters)
        return shape, [shape, shape]

    def checked_mask(self, mask: Any, shape: Shape) -> Array:
        """A mask of the steps, or of the places of each."""
        return as_mask(mask, shape[: min(max(2, np.ndim(mask)), len(shape) - 1)], self.name)

    def zero_states(self, batch: int) -> list[Array]:
        if not hasattr(self, "_state_shapes") or any(size is None for shape in self._state_shapes for size in shape):
            raise ValueError(f"The state of layer '{self.name}' needs inputs of known size.")
        return super().zero_states(batch)

    def build_weights(self, input_shape: Any) -> None:
        channels = self.fix_axis(input_shape, 2 if self.data_format == "channels_first" else -1)
        self.build_states(input_shape)
        width = _GATES * self.filters
        self.add_weight("kernel", (*self.kernel_size, channels, width), self.kernel_initializer)
        self.add_weight("recurrent_kernel", (*self.kernel_size, self.filters, width), self.recurrent_initializer)
        if self.use_bias:
            self.add_weight("bias", (width,), self._draw_bias)

    def _draw_bias(self, shape: Shape) -> Array:
        bias = np.array(self.bias_initializer(shape))
        if self.unit_forget_bias:
            bias[self.filters : 2 * self.filters] = 1.0
        return bias

    def own_rate(self, name: str) -> float:
        """The share of the inputs ("dropout") or of the state ("recurrent_dropout") that training drops."""
        rate = float(getattr(self, name) or 0)
        return rate if 0 < rate < 1 else 0.0  # Keras's cell takes 1 for none

    def dropping_cells(self) -> list[Any]:
        return [self] if self.own_rate("dropout") or self.own_rate("recurrent_dropout") else []

    def make_dropping_core(self, weights: tuple[Array, ...]) -> Any:
        return _DroppingCore(self, self.make_core(weights), self.packed(weights))

    def make_core(self, weights: tuple[Array, ...]) -> _Core:
        kernel, recurrent, *bias = self.packed(weights)
        ones = (1,) * self.rank
        stacked = np.concatenate([kernel.reshape(-1, kernel.shape[-1]), recurrent.reshape(-1, kernel.shape[-1])])
        return _Core(
            Windows(self.kernel_size, self.strides, self.dilation_rate, self.padding, self.name),
            Windows(self.kernel_size, ones, ones, "same", self.name),
            _core.PackedLayer(
                "lstm",
                stacked,
                None,
                bias[0] if bias else None,
                self.core_activation(self.activation),
                self.core_activation(self.recurrent_activation),
            ),
            self.data_format == "channels_first",
        )


class _Core:
    """The recurrence, with a call like `_core.PackedLayer.run`.

    A place of the grid is a row of one step of an LSTM, whose input is both windows there: those of x and of h.
    """

    def __init__(self, of_x: Windows, of_h: Windows, cells: _core.PackedLayer, channels_first: bool) -> None:
        self.of_x, self.of_h, self.cells = of_x, of_h, cells
        self.channels_first = channels_first

    def run(
        self,
        x: Array,
        mask: Array | None,
        initial_state: tuple[Array, ...] | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        out: Array | None,
        threads: int,
    ) -> Any:
        """As `_core.PackedLayer.run`."""
        if not x.shape[1]:
            raise ValueError("expected at least one step")
        if mask is not None and mask.ndim > 2:
            flags = return_sequences, return_state, go_backwards, zero_output_for_mask
            return self.stepped(self.step, x, mask, initial_state, *flags)
        if self.channels_first:
            x = np.moveaxis(x, 2, -1)
            if initial_state is not None:
                initial_state = tuple(to_channels_last(state, True) for state in initial_state)
        spatial = x.shape[2:-1]
        places = self.of_x.places(spatial)
        results = self.cells.convolve(
            x,
            places,
            self.of_x.of(spatial),
            self.of_h.of(places),
            mask,
            initial_state,
            return_sequences,
            return_state,
            go_backwards,
            zero_output_for_mask,
            threads,
        )
        if not self.channels_first:
            return results
        if not return_state:
            return _to_channels_first(results, return_sequences)
        y, *states = results
        return (_to_channels_first(y, return_sequences), *(_to_channels_first(state, False) for state in states))

    def step(self, x: Array, state: tuple[Array, ...] | None) -> tuple[Array, Array]:
        """The state behind one step, given that before it; all of it channels last."""
        spatial = x.shape[1:-1]
        places = self.of_x.places(spatial)
        seen = self.of_x.of(spatial), self.of_h.of(places)
        _, h, c = self.cells.convolve(x[:, None], places, *seen, None, state, False, True, False, False, 0)
        return h, c

    def stepped(
        self,
        step: Callable[[Array, Any], tuple[Array, Array]],
        x: Array,
        mask: Array | None,
        initial_state: tuple[Array, ...] | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
    ) -> Any:
        """As `run`, by calls of ``step``; a mask of more axes than two is one of the places of each step."""
        first = self.channels_first
        if initial_state is not None:
            initial_state = tuple(to_channels_last(array, first) for array in initial_state)

        def whole(x: Array, state: Any) -> tuple[Array, tuple[Array, Array]]:
            h, c = step(x, state)
            return h, (h, c)

        outputs, state = stepped(
            whole,
            lambda time: to_channels_last(np.ascontiguousarray(x[:, time]), first),
            x.shape[1],
            initial_state,
            return_sequences,
            go_backwards,
            zero_output_for_mask,
            None if mask is None else lambda time, y: self._valid(mask[:, time], y),
        )
        if first:
            outputs = _to_channels_first(outputs, return_sequences)
            state = tuple(_to_channels_first(array, False) for array in state)
        return (outputs, *state) if return_state else outputs

    def _valid(self, mask: Array, y: Array) -> Array:
        """One step's mask as one that goes with its output."""
        if mask.shape != y.shape[: mask.ndim] or (self.channels_first and mask.ndim > 1):
            raise ValueError(
                f"Layer '{self.of_x.name}' got a mask of places, {mask.shape} at each step, for outputs {y.shape}: it "
                "takes one with padding='same', strides of 1 and the channels last."
            )
        return mask.reshape(*mask.shape, *[1] * (y.ndim - mask.ndim))


def _to_channels_first(x: Array, sequence: bool) -> Array:
    return contiguous(np.moveaxis(x, -1, 2 if sequence else 1))


class _DroppingCore:
    """`_Core` of a layer that drops out: each gate has masks of its own, which hold for all steps of a call."""

    def __init__(self, layer: _ConvLSTM, core: _Core, weights: tuple[Array, ...]) -> None:
        self.core = core
        self.noise: Noise = layer.noise
        self.rates = [layer.own_rate(name) for name in ("dropout", "recurrent_dropout")]
        self.gate, self.outer = layer.recurrent_activation.run, layer.activation.run
        kernel, recurrent, *bias = weights
        offsets = [None] * _GATES if not bias else [np.ascontiguousarray(part) for part in np.split(bias[0], _GATES)]
        self.of_x, self.of_h = (
            [
                Convolving(np.ascontiguousarray(part), offset, activations.LINEAR, *options, layer.name)
                for part, offset in zip(np.split(whole, _GATES, axis=-1), added, strict=True)
            ]
            for whole, added, options in (
                (kernel, offsets, (layer.strides, layer.dilation_rate, layer.padding)),
                (recurrent, [None] * _GATES, ((1,) * layer.rank, (1,) * layer.rank, "same")),
            )
        )

    def draw(self, x_shape: Shape, dtype: Any) -> tuple[list[Any], list[Any]]:
        """The masks of one step's input and of the state for each gate, channels last; None without that dropout."""
        batch, *sample = x_shape
        shapes = [tuple(sample), (*self.of_x[0].windows.places(sample[:-1]), self.of_x[0].filters)]
        wanted = [(rate, shape) for rate, shape in zip(self.rates, shapes, strict=True) for _ in range(_GATES)]
        masks = self.noise.masks(batch, wanted, dtype)
        return masks[:_GATES], masks[_GATES:]

    def run(self, x: Array, mask: Array | None, initial_state: tuple[Array, ...] | None, *rest: Any) -> Any:
        """As `_core.PackedLayer.run`."""
        _, _, *sample = x.shape
        if self.core.channels_first:
            sample = [*sample[1:], sample[0]]
        step = partial(self._step, self.draw((len(x), *sample), x.dtype))
        *flags, _, _ = rest
        return self.core.stepped(step, x, mask, initial_state, *flags)

    def _step(
        self, masks: tuple[list[Any], list[Any]], x: Array, state: tuple[Array, ...] | None
    ) -> tuple[Array, Array]:
        """As `_Core.step`, gate by gate."""
        sums = self._sums(self.of_x, x, masks[0])
        if state is None:
            empty = np.zeros((*sums.shape[:-1], sums.shape[-1] // _GATES), x.dtype)
            state = empty, empty
        h, c = state
        sums = sums + self._sums(self.of_h, h, masks[1])
        i, f, candidate, o = (np.ascontiguousarray(part) for part in np.split(sums, _GATES, axis=-1))
        c = self.gate(f) * c + self.gate(i) * self.outer(candidate)
        return self.gate(o) * self.outer(c), c

    def _sums(self, products: list[Convolving], x: Array, masks: list[Any]) -> Array:
        """The sums of the gates, (batch, spatial ..., gates * filters)."""
        parts = [product(x if mask is None else x * mask) for product, mask in zip(products, masks, strict=True)]
        return np.concatenate(parts, axis=-1)


@register()
class ConvLSTM1D(_ConvLSTM):
    """Keras's ConvLSTM1D layer: (batch, steps, size, channels), with the arguments of `Conv1D` and `LSTM`."""

    rank = 1


@register()
class ConvLSTM2D(_ConvLSTM):
    """Keras's ConvLSTM2D layer: (batch, steps, rows, columns, channels), with the arguments of `Conv2D` and `LSTM`."""

    rank = 2


@register()
class ConvLSTM3D(_ConvLSTM):
    """Keras's ConvLSTM3D layer: (batch, steps, three axes, channels), with the arguments of `Conv3D` and `LSTM`."""

    rank = 3


__all__ = ["ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"]
