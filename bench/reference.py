"""What a case computes, written plainly over NumPy: in a wider type the truth that all are checked against."""

import numpy as np

from bench.cases import EPSILON, Case, Layer


def _sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp(large) is inf, and 1 / inf is the right answer
        return 1 / (1 + np.exp(-x))


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


_ACTIVATION = {
    "softmax": _softmax,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": _sigmoid,
    "linear": lambda x: x,
}


def lstm_step(gates: np.ndarray, c: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """h and c after one step, from the gates' sums (batch, 4 * units)."""
    apply = _ACTIVATION[activation]
    input_gate, forget_gate, candidate, output_gate = np.split(gates, 4, axis=-1)
    c = _sigmoid(forget_gate) * c + _sigmoid(input_gate) * apply(candidate)
    return _sigmoid(output_gate) * apply(c), c


def _lstm(x: np.ndarray, weights: list[np.ndarray], options: dict, backwards: bool = False) -> np.ndarray:
    kernel, recurrent_kernel, bias = weights
    projected = x @ kernel + bias  # (batch, steps, 4 * units)
    h = c = np.zeros((len(x), len(recurrent_kernel)), x.dtype)
    outputs = []
    for t in range(x.shape[1])[:: -1 if backwards else 1]:
        h, c = lstm_step(projected[:, t] + h @ recurrent_kernel, c, options.get("activation", "tanh"))
        outputs.append(h)
    return np.stack(outputs, axis=1) if options.get("return_sequences") else h


def _gru(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """All steps of a GRU with `reset_after`, as Keras has it by default."""
    kernel, recurrent_kernel, bias = weights
    projected = x @ kernel + bias[0]  # (batch, steps, 3 * units)
    h = np.zeros((len(x), len(recurrent_kernel)), x.dtype)
    outputs = []
    for t in range(x.shape[1]):
        x_z, x_r, x_h = np.split(projected[:, t], 3, axis=-1)
        h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=-1)
        z = _sigmoid(x_z + h_z)
        h = z * h + (1 - z) * np.tanh(x_h + _sigmoid(x_r + h_r) * h_h)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def _windows(x: np.ndarray, window: tuple[int, ...]) -> np.ndarray:
    """(batch, *grid, channels) -> (batch, *grid, taps * channels) with "same" padding, for odd windows."""
    axes = tuple(range(1, 1 + len(window)))
    padded = np.pad(x, [(0, 0), *((size // 2, size // 2) for size in window), (0, 0)])
    views = np.lib.stride_tricks.sliding_window_view(padded, window, axis=axes)  # (batch, *grid, channels, *window)
    return np.moveaxis(views, 1 + len(window), -1).reshape(*x.shape[:-1], -1)


def _conv_lstm(x: np.ndarray, weights: list[np.ndarray], options: dict) -> np.ndarray:
    window = options["kernel_size"]
    kernel, recurrent_kernel = (array.reshape(-1, array.shape[-1]) for array in weights[:2])
    h = c = np.zeros((len(x), *x.shape[2:-1], options["filters"]), x.dtype)
    for t in range(x.shape[1]):
        gates = _windows(x[:, t], window) @ kernel + weights[2] + _windows(h, window) @ recurrent_kernel
        h, c = lstm_step(gates, c, "tanh")
    return h


def _normalized(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, gamma: np.ndarray, beta: np.ndarray):
    return (x - mean) / np.sqrt(variance + x.dtype.type(EPSILON)) * gamma + beta


def _apply(layer: Layer, weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    options = layer.options
    if layer.kind == "LSTM":
        return _lstm(x, weights, options)
    if layer.kind == "GRU":
        return _gru(x, weights)
    if layer.kind in ("ConvLSTM1D", "ConvLSTM2D"):
        return _conv_lstm(x, weights, options)
    if layer.kind == "Conv1D":
        products = _windows(x, options["kernel_size"]) @ weights[0].reshape(-1, options["filters"])
        return _ACTIVATION[options["activation"]](products + weights[1])
    if layer.kind == "BatchNormalization":
        return _normalized(x, weights[2], weights[3], *weights[:2])
    if layer.kind == "LayerNormalization":
        return _normalized(x, x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True), *weights)
    if layer.kind == "MaxPooling1D":
        return x.reshape(len(x), -1, options["pool_size"], x.shape[-1]).max(axis=2)
    if layer.kind == "GlobalAveragePooling1D":
        return x.mean(axis=1)
    if layer.kind == "GlobalMaxPooling1D":
        return x.max(axis=1)
    if layer.kind == "Bidirectional":
        forward = _lstm(x, weights[:3], layer.inner.options)
        backward = _lstm(x, weights[3:], layer.inner.options, True)
        return np.concatenate([forward, backward[:, ::-1] if backward.ndim == 3 else backward], axis=-1)
    if layer.kind == "TimeDistributed":
        return _apply(layer.inner, weights, x)
    if layer.kind == "Dense":
        return _ACTIVATION[options.get("activation", "linear")](x @ weights[0] + weights[1])
    if layer.kind == "RepeatVector":
        return np.repeat(x[:, None], options["n"], axis=1)
    if layer.kind == "Embedding":
        return weights[0][x]
    if layer.is_inert():
        return x
    raise NotImplementedError(layer.kind)


def forward(case: Case, weights: list[list[np.ndarray]], x: np.ndarray) -> np.ndarray:
    """The case's output, in the type of the weights."""
    for layer, arrays in zip(case.layers, weights, strict=True):
        x = _apply(layer, arrays, x)
    return x


def truth(case: Case) -> np.ndarray:
    """The case's output in a wider type, from the weights and inputs that the runners are given.

    That of float32 is float64, that of float64 long double: in its own type, the truth would be off as much as they.
    """
    wider = np.longdouble if case.dtype == "float64" else np.float64
    x = case.inputs()
    weights = [[array.astype(wider) for array in arrays] for arrays in case.weights()]
    return forward(case, weights, x if case.features == 0 else x.astype(wider))
