"""Long short-term memory: i, f, o = sigmoid(...), c' = f * c + i * tanh(...), h' = o * tanh(c').

Next: recurrent.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast import initializers
from lstmfast.layers.arguments import keys_of
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

    Attributes
    ----------
    kernel : numpy.ndarray or None
        (features, 4 * units), the gates side by side in the order i, f, c, o. This and all below are read-only, and
        None until the layer is built.
    recurrent_kernel : numpy.ndarray or None
        (units, 4 * units).
    bias : numpy.ndarray or None
        (4 * units,); None without ``use_bias``, too.
    kernel_i, kernel_f, kernel_c, kernel_o : numpy.ndarray or None
        Views of one gate's part of ``kernel``: input gate, forget gate, candidate, output gate.
    recurrent_kernel_i, recurrent_kernel_f, recurrent_kernel_c, recurrent_kernel_o : numpy.ndarray or None
        The same of ``recurrent_kernel``.
    bias_i, bias_f, bias_c, bias_o : numpy.ndarray or None
        The same of ``bias``.

    Raises
    ------
    ValueError
        If an argument is unknown, or has a value that it cannot have.

    Notes
    -----
    A call takes

    - ``sequences`` (batch, steps, features);
    - ``initial_state``, ``[h, c]``, each (batch, units);
    - ``mask`` (batch, steps), False where a step is to be skipped;
    - ``training``, whether ``dropout`` and ``recurrent_dropout`` drop out;
    - ``lengths`` (batch,), how many steps of each row count;
    - ``out``, arrays for the results,

    and returns arrays of the dtype's compute type. `Layer` says what it raises, and more on ``lengths`` and ``out``.

    Regularizers, constraints, ``unroll`` and ``use_cudnn`` are accepted and change no result. ``dropout`` and
    ``recurrent_dropout`` act only in calls with ``training=True``, by the rules of Keras 3 or, for a layer from a file
    of another Keras, by those of that one. The random numbers are NumPy's; a fresh layer with the same ``seed`` repeats
    them.

    With ``stateful=True`` a layer takes one call at a time; any other takes calls from any number of threads at once.

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

    config_keys = keys_of(__init__, more="zero_output_for_mask")

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
