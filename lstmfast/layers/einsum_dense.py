"""EinsumDense: the product that an equation describes, of the inputs and a kernel.

Next: contractions.py, for the product.
"""

from __future__ import annotations

import re
import string
from typing import Any

from lstmfast import activations, initializers
from lstmfast._pieces import spread
from lstmfast.layers.arguments import keys_of
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.contractions import einsum

_EQUATION = re.compile(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?")


@register()
class EinsumDense(Layer):
    """Keras's EinsumDense layer: activation(einsum(equation, x, kernel) + bias).

    Parameters
    ----------
    equation : str
        Letters for the axes of inputs, kernel and output: ``"abc,cd->abd"``. Three dots stand for the first axes of
        inputs and output (``"...x,xy->...y"``), or for the last.
    output_shape : int or tuple of int
        Of a sample, without the axes that dots stand for; None where an axis of the inputs says it.
    activation : str or callable, optional
        Of the output.
    bias_axes : str, optional
        The output's axes along which there is a bias; there is none without it.
    """

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        found = _EQUATION.fullmatch(equation.replace(" ", ""))
        if found is None or (found[1], found[3]) != (found[5], found[7]) or (found[1] and found[3]):
            raise ValueError(
                f"Invalid einsum equation '{equation}'. Equations must be in the form [X],[Y]->[Z], ...[X],[Y]->"
                "...[Z], or [X]...,[Y]->[Z]...."
            )
        self.equation = equation
        self._dots_first, self._dots_last = bool(found[1]), bool(found[3])
        self._terms = found[2], found[4], found[6]
        sizes = [output_shape] if isinstance(output_shape, int) else output_shape
        self.output_shape = tuple(None if size is None else int(size) for size in sizes)
        self.bias_axes = bias_axes
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer, self.bias_regularizer = kernel_regularizer, bias_regularizer
        self.kernel_constraint, self.bias_constraint = kernel_constraint, bias_constraint

    config_keys = keys_of(__init__, without="lora_rank")

    supports_masking = False
    last_axis_only = False
    inert_arguments = ("lora_alpha", "gptq_unpacked_column_size", "quantization_config")

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        if self.build_shape is None or len(self.build_shape) < 3:
            return False
        inputs, kernel, output = self._letters(len(self.build_shape))
        return inputs[1:2] == output[1:2] and inputs[1] not in kernel + (self.bias_axes or "")

    def mixes_batch(self, training: bool | None) -> bool:
        """Where the equation does more with the first axis than to keep it."""
        inputs, kernel, output = self._letters(None if self.build_shape is None else len(self.build_shape))
        return inputs[:1] != output[:1] or inputs[0] in kernel + (self.bias_axes or "")

    def _letters(self, ndim: int | None) -> tuple[str, str, str]:
        """The letters of inputs, kernel and output, with some for what dots stand for."""
        inputs, kernel, output = self._terms
        free = [letter for letter in string.ascii_letters if letter not in self.equation]
        dots = "".join(free[: len(inputs if ndim is None else "0" * ndim) - len(inputs)])
        if self._dots_first:
            return dots + inputs, kernel, dots + output
        return (inputs + dots, kernel, output + dots) if self._dots_last else (inputs, kernel, output)

    def check_shape(self, shape: Any) -> None:
        super().check_shape(shape)
        if len(shape) < len(self._terms[0]) or len(self._letters(len(shape))[0]) != len(shape):
            raise ValueError(f"Layer '{self.name}' with the equation '{self.equation}' cannot take inputs {shape}.")

    def compute_output_shape(self, input_shape: Any) -> Any:
        inputs, _, output = self._letters(len(input_shape))
        elided = len(input_shape) - len(self._terms[0])
        batch, rest = input_shape[: max(1, elided) if self._dots_first else 1], input_shape[len(input_shape) - elided :]
        full = (*batch, *self.output_shape, *(rest if self._dots_last else ()))
        if len(full) != len(output):
            raise ValueError(
                f"Layer '{self.name}': the equation '{self.equation}' gives {len(output)} axes, output_shape="
                f"{self.output_shape} says {len(full)}."
            )
        known = dict(zip(inputs, input_shape, strict=True))
        for letter, size in zip(output, full, strict=True):
            own = known.setdefault(letter, size)
            if None not in (own, size) and own != size:
                raise ValueError(
                    f"Input shape and output shape do not match at shared dimension '{letter}'. Input shape is {own}, "
                    f"and output shape is {size}."
                )
        return tuple(known[letter] for letter in output)

    def build_weights(self, input_shape: Any) -> None:
        inputs, kernel, output = self._letters(len(input_shape))
        sizes = dict(zip(output, self.compute_output_shape(input_shape), strict=True))
        for axis, letter in enumerate(inputs):
            if letter in kernel or letter in (self.bias_axes or ""):
                sizes[letter] = self.fix_axis(input_shape, axis)
        missing = [letter for letter in kernel if sizes.get(letter) is None]
        if missing:
            raise ValueError(
                f"Weight dimension '{missing[0]}' did not have a match in either the input spec '{inputs}' or the "
                f"output spec '{output}'. For this layer, the weight must be fully specified."
            )
        initializer = self.kernel_initializer
        if initializer is not None and not self.of_keras_2:
            places = range(len(kernel))
            summed = [place for place in places if kernel[place] not in output]
            initializer = initializer.over(summed, [place for place in places if place not in summed])
        self.add_weight("kernel", tuple(sizes[letter] for letter in kernel), initializer)
        if self.bias_axes is not None:
            own = self._terms[2]
            if not set(self.bias_axes) <= set(own):
                raise ValueError(f"Bias dimensions '{self.bias_axes}' were requested, but are not part of '{own}'.")
            along = own[min(map(own.index, self.bias_axes)) :] if self.bias_axes else ""
            shape = [sizes[letter] if letter in self.bias_axes else 1 for letter in along]
            if self._dots_last:
                shape += [1] * (len(input_shape) - len(self._terms[0]))
            self.add_weight("bias", tuple(shape), self.bias_initializer)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        kernel, *bias = self.packed(weights)
        activation, name = self.activation, self.name
        inputs, within, output = self._letters(len(self.build_shape))
        equation = f"{inputs},{within}->{output}"

        def run(x: Array) -> Array:
            try:
                y = einsum(equation, x, kernel)
            except ValueError as error:
                raise ValueError(f"Layer '{name}': {error}") from error
            y = spread(_sum, y, bias[0]) if bias else y
            return activation.run(y)

        return run


def _sum(a: Array, b: Array) -> Array:
    y: Array = a + b
    return y


__all__ = ["EinsumDense"]
