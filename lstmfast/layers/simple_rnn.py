"""The plain recurrent layer: h' = tanh(x W + h R + b).

Next: recurrent.py.
"""

from __future__ import annotations

from typing import Any

from lstmfast.layers.arguments import keys_of
from lstmfast.layers.base import register
from lstmfast.layers.recurrent import CellLayer


@register()
class SimpleRNN(CellLayer):
    """Keras's SimpleRNN layer.

    Parameters
    ----------
    units : int
        Size of the output and of the state.
    activation : str, callable, dict or None
        Of the output; None is linear.
    **kwargs
        As of `LSTM`, like the arguments that are not named here.

    Attributes
    ----------
    kernel : numpy.ndarray or None
        (features, units). This and those below are read-only, and None until the layer is built.
    recurrent_kernel : numpy.ndarray or None
        (units, units).
    bias : numpy.ndarray or None
        (units,); None without ``use_bias``, too.

    Raises
    ------
    ValueError
        If an argument is unknown, or has a value that it cannot have.

    Notes
    -----
    It is called as `LSTM` is, with one state, h (batch, units), as ``initial_state``.
    """

    kind = "simple_rnn"
    gates = 1
    cell_states = 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(locals())

    config_keys = keys_of(__init__, more="zero_output_for_mask")
