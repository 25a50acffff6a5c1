"""JAX: lax.scan over a hand-written cell, jitted."""

import os

import numpy as np

from bench.cases import EPSILON, Case, Layer
from bench.peers.base import XLA_ISA, Peer, Prepared, time_major


class JaxScan(Peer):
    """Inputs projected in one product, outputs waited for; single layers time-major, as scan wants them."""

    name = "jax"
    title = "JAX lax.scan"
    module = distribution = "jax"

    def environment(self, threads: int, isa: str | None) -> dict[str, str]:
        """XLA sizes its pool by the CPUs it may use: `prepare` sees to those."""
        flags = "--xla_cpu_multi_thread_eigen=false" if threads == 1 else ""
        if isa:
            flags += f" --xla_cpu_max_isa={XLA_ISA[isa]}"
        return {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1", "XLA_FLAGS": flags.strip()}

    def unsupported(self, case: Case) -> str | None:
        """It runs everything."""
        return None

    def prepare(self, case: Case, weights: list[list[np.ndarray]], x: np.ndarray, threads: int) -> Prepared:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        import jax

        jax.clear_caches()
        constants = [[jax.device_put(array) for array in arrays] for arrays in weights]
        if case.kind == "stream":
            return _stream(jax, case, constants[0], x)
        layer = case.is_layer

        def whole(given):
            for each, arrays in zip(case.layers, constants, strict=True):
                given = _apply(jax, each, arrays, given, time_major=layer)
            return given

        compiled = jax.jit(whole)
        x_in = jax.device_put(time_major(x) if layer else x)

        def call():
            return compiled(x_in).block_until_ready()

        return Prepared(call, (lambda: time_major(np.asarray(call()))) if layer else (lambda: np.asarray(call())))


def _activation(jax, name: str):
    numpy = jax.numpy
    functions = {"tanh": numpy.tanh, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "softmax": jax.nn.softmax}
    return functions.get(name, lambda x: x)


def _step(jax, state, gates, activation: str):
    apply, c = _activation(jax, activation), state
    input_gate, forget_gate, candidate, output_gate = jax.numpy.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(forget_gate) * c + jax.nn.sigmoid(input_gate) * apply(candidate)
    return jax.nn.sigmoid(output_gate) * apply(c), c


def _lstm(jax, x, weights, options, reverse=False):
    """An LSTM over (steps, batch, features)."""
    kernel, recurrent_kernel, bias = weights

    def body(state, projected):
        h, c = _step(jax, state[1], projected + state[0] @ recurrent_kernel, options.get("activation", "tanh"))
        return (h, c), h if options.get("return_sequences") else None

    zeros = jax.numpy.zeros((x.shape[1], recurrent_kernel.shape[0]), x.dtype)
    (h, _), outputs = jax.lax.scan(body, (zeros, zeros), x @ kernel + bias, reverse=reverse)
    return h if outputs is None else outputs


def _gru(jax, x, weights):
    """All steps of a GRU over (steps, batch, features)."""
    kernel, recurrent_kernel, bias = weights

    def body(h, projected):
        x_z, x_r, x_h = jax.numpy.split(projected, 3, axis=-1)
        h_z, h_r, h_h = jax.numpy.split(h @ recurrent_kernel + bias[1], 3, axis=-1)
        z = jax.nn.sigmoid(x_z + h_z)
        h = z * h + (1 - z) * jax.numpy.tanh(x_h + jax.nn.sigmoid(x_r + h_r) * h_h)
        return h, h

    zeros = jax.numpy.zeros((x.shape[1], recurrent_kernel.shape[0]), x.dtype)
    return jax.lax.scan(body, zeros, x @ kernel + bias[0])[1]


def _normalized(x, mean, variance, gamma, beta):
    return (x - mean) / (variance + x.dtype.type(EPSILON)) ** 0.5 * gamma + beta


def _apply(jax, layer: Layer, weights, x, time_major: bool):
    numpy, options = jax.numpy, layer.options
    if layer.kind == "LSTM":
        y = _lstm(jax, x if time_major else x.swapaxes(0, 1), weights, options)
        return y if time_major or y.ndim == 2 else y.swapaxes(0, 1)
    if layer.kind == "GRU":
        return _gru(jax, x, weights)  # single layers only
    if layer.kind == "Bidirectional":
        x = x.swapaxes(0, 1)
        halves = (_lstm(jax, x, weights[3 * i : 3 * i + 3], layer.inner.options, reverse=i == 1) for i in range(2))
        y = numpy.concatenate(list(halves), axis=-1)
        return y if y.ndim == 2 else y.swapaxes(0, 1)
    if layer.kind == "TimeDistributed":
        return _apply(jax, layer.inner, weights, x, time_major)
    if layer.kind == "Dense":
        return _activation(jax, options.get("activation", "linear"))(x @ weights[0] + weights[1])
    if layer.kind == "Conv1D":
        y = jax.lax.conv_general_dilated(x, weights[0], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
        return _activation(jax, options["activation"])(y + weights[1])
    if layer.kind == "MaxPooling1D":
        return x.reshape(len(x), -1, options["pool_size"], x.shape[-1]).max(axis=2)
    if layer.kind == "BatchNormalization":
        return _normalized(x, *weights[2:], *weights[:2])
    if layer.kind == "LayerNormalization":
        return _normalized(x, x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True), *weights)
    if layer.kind == "GlobalAveragePooling1D":
        return x.mean(axis=1)
    if layer.kind == "GlobalMaxPooling1D":
        return x.max(axis=1)
    if layer.kind == "RepeatVector":
        return numpy.repeat(x[:, None], options["n"], axis=1)
    if layer.kind == "Embedding":
        return weights[0][x]
    if layer.is_inert():
        return x
    raise NotImplementedError(layer.kind)


def _stream(jax, case: Case, weights, x: np.ndarray) -> Prepared:
    kernel, recurrent_kernel, bias = weights
    compiled = jax.jit(lambda x_t, h, c: _step(jax, c, x_t @ kernel + bias + h @ recurrent_kernel, "tanh"))
    zeros = [jax.numpy.zeros((case.batch, case.units), x.dtype)] * 2
    steps = [jax.device_put(x[:, t]) for t in range(case.steps)]
    state = list(zeros)

    def step(x_t=steps[0]):
        state[:] = compiled(x_t, *state)
        return state[0].block_until_ready()

    def result() -> np.ndarray:
        state[:] = zeros
        return np.stack([np.asarray(step(x_t)) for x_t in steps], axis=1)

    return Prepared(step, result)
