"""Gated recurrent unit: z, r = sigmoid(...), h' = z * h + (1 - z) * tanh(...), with the reset gate r before or after.

Next: recurrent.py.
"""

from __future__ import annotations

from typing import Any

from lstmfast.layers.arguments import keys_of
from lstmfast.layers.base import register
from lstmfast.layers.recurrent import CellLayer


@register()
class GRU(CellLayer):
    """Keras's GRU layer.

    Parameters
    ----------
    units : int
        Size of the output and of the state.
    activation, recurrent_activation : str, callable, dict or None
        Of the candidate, and of the gates; None is linear.
    reset_after : bool
        Whether the reset gate applies after the recurrent product (Keras's default; the bias is (2, 3 * units)) or
        before it (bias (3 * units,)).
    **kwargs
        As of `LSTM`, like the arguments that are not named here.

    Attributes
    ----------
    kernel : numpy.ndarray or None
        (features, 3 * units), the gates side by side in the order z, r, candidate. This and those below are read-only,
        and None until the layer is built.
    recurrent_kernel : numpy.ndarray or None
        (units, 3 * units).
    bias : numpy.ndarray or None
        (2, 3 * units) or (3 * units,), as ``reset_after`` says; None without ``use_bias``, too.

    Raises
    ------
    ValueError
        If an argument is unknown, or has a value that it cannot have.

    Notes
    -----
    It is called as `LSTM` is, with one state, h (batch, units), as ``initial_state``.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import layers
    >>> gru = layers.GRU(4, return_state=True)
    >>> y, h = gru(np.zeros((2, 5, 3)))
    >>> y.shape, h.shape, gru.kernel.shape, gru.bias.shape
    ((2, 4), (2, 4), (3, 12), (2, 12))
    """

    kind = "gru"
    gates = 3
    cell_states = 1

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
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
        seed: Any = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        use_cudnn: Any = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(locals())

    config_keys = keys_of(__init__, more="zero_output_for_mask")

    reset_after: bool

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def core_kind(self) -> str:
        return "gru" if self.reset_after else "gru_reset_before"
