"""Weights of older Keras versions, of other backends and of cuDNN layers, in today's layout.

Next: assigning.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast.layers.base import Layer
from lstmfast.layers.convolution import Convolution
from lstmfast.layers.gru import GRU
from lstmfast.layers.lstm import LSTM
from lstmfast.layers.recurrent import Recurrent
from lstmfast.saving.files import Array, Derived

# Keras 1 kept an LSTM's arrays by gate, in the order i, c, f, o; a GRU's in the order z, r, h.
_KERAS_1_GATES: dict[type[Layer], tuple[int, ...]] = {LSTM: (0, 2, 1, 3), GRU: (0, 1, 2)}


def translated(owner: Layer, arrays: list[Any], backend: str) -> list[Any]:
    """The arrays of a layer, of whatever version or backend, as today's Keras would store them."""
    if isinstance(owner, Recurrent) and len(arrays) == keras_1_count(owner) != len(owner._specs):
        return _joined(arrays, _KERAS_1_GATES[type(owner)])
    if isinstance(owner, (LSTM, GRU)):
        return _from_cudnn(owner, arrays)
    if isinstance(owner, Convolution) and arrays:
        return [_convolution(owner, arrays[0], backend), *arrays[1:]]
    return arrays


def keras_1_count(owner: Layer) -> int:
    """How many arrays Keras 1 has for the weights of a layer."""
    return 3 * len(_KERAS_1_GATES.get(type(owner), ())) or len(owner._specs)


def _joined(arrays: list[Array], gates: tuple[int, ...]) -> list[Any]:
    """Kernel, recurrent kernel and bias of the arrays W, U, b of each gate."""
    result = []
    for kind in range(3):
        parts = [arrays[3 * gate + kind] for gate in gates]
        columns = sum(part.shape[-1] for part in parts)
        result.append(Derived(parts, (*parts[0].shape[:-1], columns), lambda *values: np.concatenate(values, axis=-1)))
    return result


def _from_cudnn(layer: LSTM | GRU, arrays: list[Any]) -> list[Any]:
    """Weights of CuDNNLSTM and CuDNNGRU, which transpose each gate and have two biases."""
    gates = layer.gates
    if len(arrays) != 3 or arrays[2].shape != (2 * gates * layer.units,):
        return arrays
    kernel, recurrent, bias = arrays

    def turned(order: str) -> Any:
        def turn(values: Any) -> Any:
            parts = np.split(values, gates, axis=1)
            return np.concatenate([part.T.reshape(part.shape, order=order) for part in parts], axis=1)

        return turn

    def transposed(values: Any) -> Any:
        return np.concatenate([part.T for part in np.split(values, gates, axis=1)], axis=1)

    if isinstance(layer, LSTM):
        both = Derived([bias], (gates * layer.units,), lambda values: np.add(*np.split(values, 2)))
    else:
        both = Derived([bias], (2, gates * layer.units), lambda values: values.reshape(2, -1))
    return [Derived([kernel], kernel.shape, turned("F")), Derived([recurrent], recurrent.shape, transposed), both]


def _convolution(layer: Convolution, kernel: Any, backend: str) -> Any:
    """A kernel with the layout and the direction of TensorFlow's."""
    expected = layer._specs[0].shape
    rank = layer.rank
    shape = tuple(kernel.shape)
    order: tuple[int, ...] | None = None
    if (
        rank == 1 and len(shape) == 4
    ):  # Keras 1: (length, 1, channels, filters), before 1.1 (filters, channels, length, 1)
        order = (0, 1, 2, 3) if shape[1] == 1 and shape[3] == expected[2] else (2, 3, 1, 0)
    elif shape != expected and len(shape) == rank + 2 and shape == (*expected[:-3:-1], *expected[:-2]):
        order = (*range(2, rank + 2), 1, 0)  # (filters, channels, ...)
    flipped = backend == "theano"
    if order is None and not flipped:
        return kernel

    def convert(values: Any) -> Any:
        if order is not None:
            values = values.transpose(order)
            values = values[:, 0] if rank == 1 and values.ndim == 4 else values
        return values[(slice(None, None, -1),) * rank] if flipped else values

    return Derived([kernel], expected if order is not None else shape, convert)
