"""ONNX's LSTM, GRU and RNN nodes on the recurrent layers.

    LSTM  gates i, o, f, c in rows (4 * units, features); Keras has i, f, c, o in columns
    GRU   gates z, r, h, as Keras; linear_before_reset is reset_after
    RNN   one gate
The two biases of a node are added, but of a GRU with linear_before_reset. X is (steps, batch, features) and Y (steps,
directions, batch, units), or with layout=1 the batch comes first in all.
Next: ../layers/recurrent.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmfast.activations import Activation
from lstmfast.layers import GRU, LSTM, SimpleRNN
from lstmfast.layers.base import Array

if TYPE_CHECKING:
    from lstmfast.converting.onnx_operators import Call
    from lstmfast.layers.recurrent import CellLayer

_LSTM_ORDER = [0, 2, 3, 1]  # i, o, f, c -> i, f, c, o
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
# alpha and beta where a node gives none
_PARAMETERS = {
    "affine": (1.0, 0.0),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0, None),
}


def recurrent(call: Call) -> Callable[..., Any]:
    """A node as a function of X, W, R, B, sequence_lens, initial_h, initial_c and P."""
    kind = call.operator
    direction = call.take("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"direction is {direction!r}.")
    activations = _activations(call, kind, count)
    layout = call.take("layout", 0)
    if call.take("clip", None) is not None:
        raise NotImplementedError("clip is not supported.")
    if kind == "LSTM" and call.take("input_forget", 0):
        raise NotImplementedError("coupled input and forget gates (input_forget=1) are not supported.")
    reset_after = bool(call.take("linear_before_reset", 0)) if kind == "GRU" else False
    if kind == "LSTM" and call.constant_if_named(7, "P") is not None:
        raise NotImplementedError("peepholes (the input P) are not supported.")
    units = call.take("hidden_size", None)
    kernels, recurrents = call.constant(1, "W"), call.constant(2, "R")
    biases = call.constant_if_named(3, "B")
    units = recurrents.shape[-1] if units is None else units
    _check_weights(kernels, recurrents, biases, count, _GATES[kind], units)
    sequences = call.uses(0)
    layers: list[CellLayer] = []
    for place in range(count):
        options = {
            "use_bias": biases is not None,
            "dtype": kernels.dtype.name,
            "return_sequences": sequences,
            "return_state": True,
            "go_backwards": place == 1 or direction == "reverse",
            "zero_output_for_mask": True,
        }
        layer = _layer(kind, units, activations[place], reset_after, options)
        layer.build((None, None, kernels.shape[2]))
        layer.set_weights(
            _keras_weights(
                kind, kernels[place], recurrents[place], None if biases is None else biases[place], reset_after
            )
        )
        layers.append(layer)
    states_count = layers[0].cell_states

    def run(
        x: Array,
        w: Array,
        r: Array,
        b: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        peepholes: None = None,
    ) -> list[Array]:
        x = x if layout else np.swapaxes(x, 0, 1)  # (batch, steps, features)
        batch, steps = x.shape[:2]
        states = _initial_states([initial_h, initial_c][:states_count], layout, (count, batch, units), x.dtype)
        mask = None if lengths is None else _mask(lengths, batch, steps)
        y = np.empty((steps, count, batch, units), x.dtype) if sequences else np.empty(0, x.dtype)
        final = np.empty((states_count, count, batch, units), x.dtype)
        for place, layer in enumerate(layers):
            own = None if states is None else [state[place] for state in states]
            output, *after = layer(x, initial_state=own, mask=mask)
            if sequences:
                output = output[:, ::-1] if layer.go_backwards else output
                y[:, place] = np.swapaxes(output, 0, 1)
            final[:, place] = after
        if lengths is not None:
            final[:, :, lengths == 0] = 0  # as ONNX Runtime has it
        if layout:
            y = np.moveaxis(y, 2, 0) if sequences else y
            return [y, *(np.swapaxes(state, 0, 1) for state in final)]
        return [y, *final]

    return run


def _activations(call: Call, kind: str, count: int) -> list[list[Activation]]:
    """For each direction its activations."""
    names = call.take("activations", []) or _DEFAULTS[kind] * count
    each = len(_DEFAULTS[kind])
    if len(names) != each * count or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected {each * count} activations, got {names}.")
    alphas, betas = iter(call.take("activation_alpha", [])), iter(call.take("activation_beta", []))
    found: list[Activation] = []
    for name in names:
        alpha, beta = _PARAMETERS.get(name.lower(), (None, None))
        alpha = alpha if alpha is None else next(alphas, alpha)
        beta = beta if beta is None else next(betas, beta)
        found.append(_activation(name, alpha, beta))
    by_direction = [found[place * each : (place + 1) * each] for place in range(count)]
    for own in by_direction:
        if kind == "LSTM" and own[1] != own[2]:
            raise NotImplementedError(f"an LSTM whose activations g and h differ ({names}) is not supported.")
    return by_direction


def _activation(name: str, alpha: Any, beta: Any) -> Activation:
    plain = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "softsign": "softsign", "softplus": "softplus"}
    key = name.lower()
    if key in plain:
        return Activation(plain[key])
    if key == "leakyrelu":
        return Activation("leaky_relu", {"negative_slope": alpha})
    if key == "elu":
        return Activation("elu", {"alpha": alpha})
    if key == "thresholdedrelu":
        return Activation("threshold", {"threshold": alpha})
    if key == "affine" and (alpha, beta) == (1.0, 0.0):
        return Activation("linear")
    if key == "scaledtanh" and (alpha, beta) == (1.0, 1.0):
        return Activation("tanh")
    if key == "hardsigmoid" and np.isclose(beta, 0.5, rtol=1e-6):
        for slope, known in ((0.2, "hard_sigmoid_keras2"), (1 / 6, "hard_sigmoid")):
            if np.isclose(alpha, slope, rtol=1e-6):
                return Activation(known)
    told = "" if alpha is None else f" with alpha={alpha}" + ("" if beta is None else f", beta={beta}")
    raise NotImplementedError(f"the activation {name}{told} is not supported inside a recurrence.")


def _check_weights(kernels: Array, recurrents: Array, biases: Array | None, count: int, gates: int, units: int) -> None:
    width = gates * units
    features = kernels.shape[-1] if kernels.ndim == 3 else None
    for what, array, shape in (
        ("W", kernels, (count, width, features)),
        ("R", recurrents, (count, width, units)),
        ("B", biases, (count, 2 * width)),
    ):
        if array is not None and array.shape != shape:
            raise ValueError(f"{what} has shape {array.shape}, expected {shape}.")
        if array is not None and (array.dtype.name not in ("float32", "float64") or array.dtype != kernels.dtype):
            raise ValueError(f"{what} is of {array.dtype}, expected float32 or float64 as W.")


def _layer(
    kind: str, units: int, activations: list[Activation], reset_after: bool, options: dict[str, Any]
) -> CellLayer:
    first, last = activations[0], activations[-1]
    if kind == "RNN":
        return SimpleRNN(units, last, **options)
    if kind == "LSTM":
        return LSTM(units, last, first, **options)
    return GRU(units, last, first, reset_after=reset_after, **options)


def _keras_weights(kind: str, kernel: Array, recurrent: Array, bias: Array | None, reset_after: bool) -> list[Array]:
    """One direction's weights in Keras's layout."""
    parts = [kernel, recurrent] if bias is None else [kernel, recurrent, *np.split(bias, 2)]
    if kind == "LSTM":
        parts = [np.concatenate([np.split(part, 4)[gate] for gate in _LSTM_ORDER]) for part in parts]
    weights = [np.ascontiguousarray(part.T) for part in parts[:2]]
    if bias is None:
        return weights
    return [*weights, np.stack(parts[2:]) if reset_after else parts[2] + parts[3]]


def _initial_states(
    given: list[Array | None], layout: int, shape: tuple[int, int, int], dtype: Any
) -> list[Array] | None:
    """Each (directions, batch, units); None where all are zeros."""
    if all(state is None for state in given):
        return None
    states = []
    for state, name in zip(given, ("initial_h", "initial_c"), strict=False):
        if state is None:
            states.append(np.zeros(shape, dtype))
            continue
        state = np.swapaxes(state, 0, 1) if layout and state.ndim == 3 else state
        if state.shape != shape:
            raise ValueError(f"{name} has shape {state.shape}, expected {shape} (directions, batch, units).")
        states.append(state)
    return states


def _mask(lengths: Array, batch: int, steps: int) -> Array | None:
    if lengths.shape != (batch,) or ((lengths < 0) | (lengths > steps)).any():
        raise ValueError(f"sequence_lens is {lengths.tolist()[:8]}: expected {batch} numbers from 0 to {steps}.")
    if (lengths == steps).all():
        return None
    mask: Array = np.arange(steps) < lengths[:, None]
    return mask
