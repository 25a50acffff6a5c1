"""One call, NumPy in and out: no layer to make or keep.

Next: layers/recurrent.py.
"""

from __future__ import annotations

from typing import Any

from lstmfast._arrays import FLOAT64, as_array
from lstmfast.layers.base import Array
from lstmfast.layers.lstm import LSTM


def lstm(
    x: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any = None,
    initial_state: Any = None,
    mask: Any = None,
    return_sequences: bool = False,
    return_state: bool = False,
    go_backwards: bool = False,
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
    zero_output_for_mask: bool = False,
) -> Any:
    """An LSTM over whole sequences, with weights in Keras's layout.

    Parameters
    ----------
    x : array-like
        (batch, steps, features). float64 computes in float64, everything else in float32.
    kernel : array-like
        (features, 4 * units), gates in the order input, forget, candidate, output.
    recurrent_kernel : array-like
        (units, 4 * units).
    bias : array-like, optional
        (4 * units,).
    initial_state : pair of array-like, optional
        h and c, each (batch, units); zeros otherwise.
    mask : array-like, optional
        (batch, steps), False where a step is to be skipped.
    return_sequences, return_state, go_backwards, activation, recurrent_activation, zero_output_for_mask
        As of `layers.LSTM`.

    Returns
    -------
    numpy.ndarray or tuple of numpy.ndarray
        (batch, units), or (batch, steps, units) with ``return_sequences``; ``(output, h, c)`` with ``return_state``.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Notes
    -----
    The weights are packed on each call; `layers.LSTM` packs them once.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmfast
    >>> lstmfast.lstm(np.ones((2, 5, 3)), np.zeros((3, 16)), np.zeros((4, 16))).shape
    (2, 4)
    """
    x = as_array(x, "x")
    kernel, recurrent_kernel = as_array(kernel, "kernel"), as_array(recurrent_kernel, "recurrent_kernel")
    if x.ndim != 3:
        raise ValueError(f"Expected x to be (batch, steps, features), got shape {x.shape}.")
    if recurrent_kernel.ndim != 2 or recurrent_kernel.shape[1] != 4 * recurrent_kernel.shape[0]:
        raise ValueError(f"Expected recurrent_kernel to be (units, 4 * units), got shape {recurrent_kernel.shape}.")
    layer = LSTM(
        recurrent_kernel.shape[0],
        activation,
        recurrent_activation,
        use_bias=bias is not None,
        return_sequences=return_sequences,
        return_state=return_state,
        go_backwards=go_backwards,
        zero_output_for_mask=zero_output_for_mask,
        dtype="float64" if x.dtype == FLOAT64 else "float32",
        name="lstm",
    )
    layer.build(x.shape)
    weights: list[Array] = [kernel, recurrent_kernel]
    layer.set_weights(weights if bias is None else [*weights, bias])
    return layer(x, initial_state=initial_state, mask=mask)
