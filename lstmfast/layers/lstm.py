"""Long short-term memory: i, f, o = sigmoid(...), c' = f * c + i * tanh(...), h' = o * tanh(c').

Next: recurrent.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast import initializers
from lstmfast.layers.base import Array, register
from lstmfast.layers.recurrent import CellLayer, gate_view


@register()
class LSTM(CellLayer):
    """Keras's LSTM layer.

    Parameters
    ----------
    units : int
        Size of the output and of both states.
    activation, recurrent_activation : str, callable, dict or None
        Of the candidate and the new state, and of the three gates; None is linear. Any activation of Keras.
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, recurrent_initializer, bias_initializer, unit_forget_bias
        Of a fresh layer's weights, as in Keras.
    return_sequences : bool
        Whether to return the output of every step instead of the last.
    return_state : bool
        Whether to return ``(output, h, c)`` instead of ``output``.
    go_backwards : bool
        Whether to read the steps from the last to the first; the output stays in processing order.
    stateful : bool
        Whether a call starts from the state that the one before it ended with; needs a fixed batch size.
    **kwargs
        ``zero_output_for_mask`` (a masked step gives 0 instead of the output before it), ``time_major``,
        ``implementation``, and the arguments of `Layer`: ``name``, ``dtype``, ``trainable``.

    Notes
    -----
    Regularizers, constraints, ``unroll`` and ``use_cudnn`` are accepted and change no result; so are ``dropout`` and
    ``recurrent_dropout``, but in a call with ``training=True``: it drops out as Keras 3 does, or a layer from a file of
    another Keras as that did, with random numbers of NumPy's that ``seed`` makes the same again for a fresh layer.

    Called on ``x`` (batch, steps, features), with ``initial_state=[h, c]``, each (batch, units), and ``mask`` (batch,
    steps), False where a step is to be skipped, it returns float32 or, with ``dtype="float64"``, float64.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import layers
    >>> lstm = layers.LSTM(4, return_sequences=True, return_state=True)
    >>> y, h, c = lstm(np.zeros((2, 5, 3)))
    >>> y.shape, h.shape, c.shape
    ((2, 5, 4), (2, 4), (2, 4))
    """

    kind = "lstm"
    gates = 4
    cell_states = 2

    def __init__(
        self,
        units: int,
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
        unroll: bool = False,
        use_cudnn: Any = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(locals())

    unit_forget_bias: bool

    def draw_bias(self, shape: tuple[int, ...]) -> Array:
        if not self.unit_forget_bias:
            return super().draw_bias(shape)
        ones = initializers.get("ones")
        return np.concatenate(
            [
                self.bias_initializer((self.units,)),
                ones((self.units,)),
                self.bias_initializer((2 * self.units,)),
            ]
        )

    kernel_i = gate_view("kernel", 0, 4, "input gate")
    kernel_f = gate_view("kernel", 1, 4, "forget gate")
    kernel_c = gate_view("kernel", 2, 4, "candidate")
    kernel_o = gate_view("kernel", 3, 4, "output gate")
    recurrent_kernel_i = gate_view("recurrent_kernel", 0, 4, "input gate")
    recurrent_kernel_f = gate_view("recurrent_kernel", 1, 4, "forget gate")
    recurrent_kernel_c = gate_view("recurrent_kernel", 2, 4, "candidate")
    recurrent_kernel_o = gate_view("recurrent_kernel", 3, 4, "output gate")
    bias_i = gate_view("bias", 0, 4, "input gate")
    bias_f = gate_view("bias", 1, 4, "forget gate")
    bias_c = gate_view("bias", 2, 4, "candidate")
    bias_o = gate_view("bias", 3, 4, "output gate")
