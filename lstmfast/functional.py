"""One call, NumPy in and out: no layer to make or keep.

Next: layers/recurrent.py.
"""

from __future__ import annotations

from typing import Any

from lstmfast._arrays import FLOAT64, as_array
from lstmfast._graph import snake_case
from lstmfast.layers.gru import GRU
from lstmfast.layers.lstm import LSTM
from lstmfast.layers.recurrent import CellLayer
from lstmfast.layers.simple_rnn import SimpleRNN


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
    lengths: Any = None,
    out: Any = None,
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
    lengths : array-like of int, optional
        (batch,): how many steps of each row count, in place of ``mask``; zeros stand behind the end of a sequence.
    out : numpy.ndarray or tuple of numpy.ndarray, optional
        Where to put what is returned: of its shape and dtype, writable, in C order, and apart from the inputs.

    Returns
    -------
    numpy.ndarray or tuple of numpy.ndarray
        (batch, units), or (batch, steps, units) with ``return_sequences``; ``(output, h, c)`` with ``return_state``.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or ``out`` cannot be written to.
    TypeError
        If an array does not hold numbers, or ``out`` has another dtype.

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
    options = {"activation": activation, "recurrent_activation": recurrent_activation}
    options |= {"return_sequences": return_sequences, "return_state": return_state, "go_backwards": go_backwards}
    options["zero_output_for_mask"] = zero_output_for_mask
    call = {"initial_state": initial_state, "mask": mask, "lengths": lengths, "out": out}
    return _run(LSTM, x, kernel, recurrent_kernel, bias, options, call)


def gru(
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
    reset_after: bool = True,
    zero_output_for_mask: bool = False,
    lengths: Any = None,
    out: Any = None,
) -> Any:
    """A GRU over whole sequences: as `lstm`, with what differs below.

    Parameters
    ----------
    kernel, recurrent_kernel : array-like
        (features, 3 * units) and (units, 3 * units), gates in the order update, reset, candidate.
    bias : array-like, optional
        (2, 3 * units), or (3 * units,) without ``reset_after``.
    initial_state : array-like, optional
        (batch, units).
    reset_after : bool
        As of `layers.GRU`.

    Returns
    -------
    numpy.ndarray or tuple of numpy.ndarray
        As of `lstm`; the state is h alone.

    Raises
    ------
    ValueError, TypeError
        As `lstm`.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmfast
    >>> lstmfast.gru(np.ones((2, 5, 3)), np.zeros((3, 12)), np.zeros((4, 12))).shape
    (2, 4)
    """
    options = {"activation": activation, "recurrent_activation": recurrent_activation, "reset_after": reset_after}
    options |= {"return_sequences": return_sequences, "return_state": return_state, "go_backwards": go_backwards}
    options["zero_output_for_mask"] = zero_output_for_mask
    call = {"initial_state": initial_state, "mask": mask, "lengths": lengths, "out": out}
    return _run(GRU, x, kernel, recurrent_kernel, bias, options, call)


def simple_rnn(
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
    zero_output_for_mask: bool = False,
    lengths: Any = None,
    out: Any = None,
) -> Any:
    """A SimpleRNN over whole sequences: as `lstm`, with what differs below.

    Parameters
    ----------
    kernel, recurrent_kernel, bias : array-like
        (features, units), (units, units) and (units,).
    initial_state : array-like, optional
        (batch, units).

    Returns
    -------
    numpy.ndarray or tuple of numpy.ndarray
        As of `lstm`; the state is h alone.

    Raises
    ------
    ValueError, TypeError
        As `lstm`.

    Examples
    --------
    >>> import numpy as np
    >>> import lstmfast
    >>> lstmfast.simple_rnn(np.ones((2, 5, 3)), np.zeros((3, 4)), np.zeros((4, 4))).shape
    (2, 4)
    """
    options = {"activation": activation, "zero_output_for_mask": zero_output_for_mask}
    options |= {"return_sequences": return_sequences, "return_state": return_state, "go_backwards": go_backwards}
    call = {"initial_state": initial_state, "mask": mask, "lengths": lengths, "out": out}
    return _run(SimpleRNN, x, kernel, recurrent_kernel, bias, options, call)


def _run(kind: type[CellLayer], x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, options: Any, call: Any) -> Any:
    x = as_array(x, "x")
    kernel, recurrent_kernel = as_array(kernel, "kernel"), as_array(recurrent_kernel, "recurrent_kernel")
    if x.ndim != 3:
        raise ValueError(f"Expected x to be (batch, steps, features), got shape {x.shape}.")
    gates = kind.gates
    if recurrent_kernel.ndim != 2 or recurrent_kernel.shape[1] != gates * recurrent_kernel.shape[0]:
        width = "units" if gates == 1 else f"{gates} * units"
        raise ValueError(f"Expected recurrent_kernel to be (units, {width}), got shape {recurrent_kernel.shape}.")
    make: Any = kind
    layer = make(
        recurrent_kernel.shape[0],
        use_bias=bias is not None,
        dtype="float64" if x.dtype == FLOAT64 else "float32",
        name=snake_case(kind.__name__),
        **options,
    )
    layer.build(x.shape)
    layer.set_weights([kernel, recurrent_kernel] if bias is None else [kernel, recurrent_kernel, bias])
    return layer(x, **call)
