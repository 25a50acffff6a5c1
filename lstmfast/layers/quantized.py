"""Weights in 8-bit integers, as `model.quantize("int8")` of Keras leaves them.

Next: core.py and masking.py, whose Dense and Embedding may have such.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast import _core, activations
from lstmfast._pieces import contiguous, in_pieces, reshaped, spread, update
from lstmfast.layers.base import Array, Layer, Run

_MOST = 127
_DEFAULT = {"value_range": [-_MOST, _MOST], "epsilon": 1e-7, "output_dtype": "int8"}


class Quantizable(Layer):
    """Base of the layers whose main weight may be integers, with a scale that they are divided by.

    Parameters
    ----------
    quantization_config : dict, optional
        What Keras 3 writes of how it was quantized, which says too whether a call rounds its inputs to 8 bits.
    """

    may_be_quantized = True
    inert_arguments = ("lora_alpha", "lora_rank")

    def __init__(self, *, quantization_config: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.quantization_config = quantization_config if self.policy.quantized else None
        self._rounds_inputs = True
        if self.quantization_config is not None:
            self._rounds_inputs = _rounds_inputs(self.quantization_config)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        known = self.quantization_config
        return config if known is None else {**config, "quantization_config": known}

    def add_quantizable(self, name: str, shape: tuple[int, int], initializer: Any, scaled_axis: int) -> None:
        """Declare the main weight, and if it is of integers its scale, of which each place along an axis has one."""
        if not self.policy.quantized:
            self.add_weight(name, shape, initializer)
            return
        self.add_weight(name, shape, "zeros", trainable=False, dtype="int8")
        self.add_weight(f"{name}_scale", (shape[scaled_axis],), "ones", trainable=False)

    def file_order(self) -> list[int]:
        # the integers come first, as a weight that is trained would
        order = super().file_order()
        return sorted(order, key=lambda place: place != 1) if self.policy.quantized and len(order) == 3 else order


def _rounds_inputs(config: Any) -> bool:
    """Whether a layer with this quantization config rounds its inputs.

    Raises
    ------
    NotImplementedError
        If it does so in another way than Keras by default.
    """
    inner = config.get("config") if isinstance(config, dict) else None
    quantizer = inner.get("activation_quantizer") if isinstance(inner, dict) else {}
    if quantizer is None:
        return False
    given = quantizer.get("config") if isinstance(quantizer, dict) else None
    if isinstance(given, dict) and quantizer.get("class_name") == "AbsMaxQuantizer":
        said = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
        if all(said.get(key) == value for key, value in _DEFAULT.items()) and said.get("axis") in (None, -1, [-1]):
            return True
    raise NotImplementedError(
        f"the quantization_config {str(config)[:80]} is not supported, only that of model.quantize('int8'): quantize "
        "the model so, or save it before it is quantized"
    )


def _quantized(x: Array) -> tuple[Array, Array]:
    """Rows as whole numbers up to 127, and what they were multiplied with, (rows, 1); each step rounds as Keras's."""
    real = x.dtype.type
    largest = in_pieces(lambda part: np.abs(part).max(axis=-1, keepdims=True), x, cut=-1)
    factors = real(_MOST) / (largest + real(1e-7))
    return spread(lambda some, factor: np.clip(np.round(some * factor), -_MOST, _MOST), x, factors), factors


def quantized_product(kernel: Array, scale: Array, bias: Array | None, activation: Any, rounds_inputs: bool) -> Run:
    """What runs a Dense with a kernel of integers.

    Parameters
    ----------
    kernel : numpy.ndarray
        (features, units), whole numbers.
    scale, bias : numpy.ndarray
        (units,)
    rounds_inputs : bool
        Whether a row of the inputs is multiplied so that its largest value is 127, and rounded.
    """
    features, units = kernel.shape
    # sums of whole numbers are exact, in Keras's 32-bit integers as in floats that hold the largest
    small = not rounds_inputs or features * _MOST**2 < 1 << 24
    real = np.dtype(np.float32 if small else np.float64)
    apply = _core.PackedLayer("dense", kernel.astype(real), None, None, activations.LINEAR, None).apply

    def run(x: Array) -> Array:
        rows = contiguous(reshaped(x, (-1, features)))
        divisor = scale
        if rounds_inputs:
            rows, factors = _quantized(rows)
            divisor = spread(np.multiply, scale, factors)
        y = apply(rows.astype(real, copy=False), None, 0).astype(x.dtype, copy=False)
        update(np.divide, y, divisor)
        if bias is not None:
            update(np.add, y, bias)
        result: Array = activation.run(y.reshape(*x.shape[:-1], units))
        return result

    return run


__all__ = ["Quantizable", "quantized_product"]
