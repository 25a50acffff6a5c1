"""PyTorch: nn.LSTM in inference mode, which runs oneDNN on a CPU."""

from functools import partial

import numpy as np

from bench.cases import EPSILON, Case, Layer
from bench.peers.base import ONEDNN_ISA, Peer, Prepared, time_major


class PyTorch(Peer):
    """Time-major single layers, oneDNN's own layout; models are built of torch.nn modules, batch first."""

    name = "pytorch"
    title = "PyTorch"
    module = distribution = "torch"

    def environment(self, threads: int, isa: str | None) -> dict[str, str]:
        """OneDNN's variable, and PyTorch's own for what it does not hand on."""
        variables = super().environment(threads, isa)
        if isa:
            own = {"avx2": "avx2", "generic": "default"}[isa]
            variables |= {"ONEDNN_MAX_CPU_ISA": ONEDNN_ISA[isa], "ATEN_CPU_CAPABILITY": own}
        return variables

    def version(self) -> str:
        """With the kind of build."""
        import torch

        return torch.__version__

    def unsupported(self, case: Case) -> str | None:
        """nn.LSTM has no other activation than tanh."""
        kinds = [layer.inner or layer for layer in case.layers]
        activations = {layer.options.get("activation", "tanh") for layer in kinds if layer.kind == "LSTM"}
        return None if activations <= {"tanh"} else "nn.LSTM knows tanh only"

    def prepare(self, case: Case, weights: list[list[np.ndarray]], x: np.ndarray, threads: int) -> Prepared:
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        if case.kind in ("model", "mixed"):
            model, x_in = _model(torch, case, weights), torch.from_numpy(x)
            return Prepared(lambda: model(x_in), lambda: model(x_in).numpy())
        lstm = (_gru if case.kind == "gru" else _lstm)(torch, case.layers[0], weights[0], batch_first=False)
        x_in = torch.from_numpy(time_major(x))
        if case.is_layer:
            return Prepared(lambda: lstm(x_in), lambda: time_major(lstm(x_in)[0].numpy()))
        state = [None]

        def step(x_t=x_in[:1]):
            output, state[0] = lstm(x_t, state[0])
            return output

        def result() -> np.ndarray:
            state[0] = None
            return time_major(np.concatenate([step(x_t[None]).numpy() for x_t in x_in]))

        return Prepared(step, result)


def _lstm(torch, layer: Layer, weights: list[np.ndarray], batch_first: bool):
    """nn.LSTM; Keras's gate order is PyTorch's, its matrices are transposed, it has one bias for two."""
    features, bidirectional = len(weights[0]), len(weights) == 6
    lstm = torch.nn.LSTM(
        features,
        layer.options["units"],
        batch_first=batch_first,
        bidirectional=bidirectional,
        dtype=torch.from_numpy(weights[0]).dtype,
    )
    for direction, suffix in enumerate(("l0", "l0_reverse")[: 1 + bidirectional]):
        kernel, recurrent, bias = (torch.from_numpy(array) for array in weights[3 * direction : 3 * direction + 3])
        getattr(lstm, f"weight_ih_{suffix}").copy_(kernel.T)
        getattr(lstm, f"weight_hh_{suffix}").copy_(recurrent.T)
        getattr(lstm, f"bias_ih_{suffix}").copy_(bias)
        getattr(lstm, f"bias_hh_{suffix}").zero_()
    return lstm.eval()


def _gru(torch, layer: Layer, weights: list[np.ndarray], batch_first: bool):
    """nn.GRU, whose gates come in the order r, z, h."""
    units = layer.options["units"]
    gru = torch.nn.GRU(len(weights[0]), units, batch_first=batch_first)
    order = np.r_[units : 2 * units, :units, 2 * units : 3 * units]
    kernel, recurrent, biases = (torch.from_numpy(np.ascontiguousarray(array[:, order])) for array in weights)
    gru.weight_ih_l0.copy_(kernel.T)
    gru.weight_hh_l0.copy_(recurrent.T)
    gru.bias_ih_l0.copy_(biases[0])
    gru.bias_hh_l0.copy_(biases[1])
    return gru.eval()


def _stage(torch, layer: Layer, weights: list[np.ndarray]):
    """One Keras layer as a function of a batch-first tensor."""
    if layer.kind == "TimeDistributed":
        return _stage(torch, layer.inner, weights)
    if layer.kind == "Dense":
        kernel, bias = torch.from_numpy(weights[0].T.copy()), torch.from_numpy(weights[1])
        name = layer.options.get("activation", "clone")
        activation = partial(torch.softmax, dim=-1) if name == "softmax" else getattr(torch, name)
        return lambda x: activation(torch.nn.functional.linear(x, kernel, bias))
    if layer.kind == "Conv1D":
        kernel, bias = torch.from_numpy(weights[0].transpose(2, 1, 0).copy()), torch.from_numpy(weights[1])
        activation, convolve = getattr(torch, layer.options["activation"]), torch.nn.functional.conv1d
        return lambda x: activation(convolve(x.transpose(1, 2), kernel, bias, padding="same")).transpose(1, 2)
    if layer.kind == "MaxPooling1D":
        size = layer.options["pool_size"]
        return lambda x: torch.nn.functional.max_pool1d(x.transpose(1, 2), size).transpose(1, 2)
    if layer.kind == "BatchNormalization":  # folded
        gamma, beta, mean, variance = (torch.from_numpy(array) for array in weights)
        scale = gamma / torch.sqrt(variance + EPSILON)
        offset = beta - mean * scale
        return lambda x: torch.addcmul(offset, x, scale)
    if layer.kind == "LayerNormalization":
        gamma, beta = (torch.from_numpy(array) for array in weights)
        return lambda x: torch.nn.functional.layer_norm(x, gamma.shape, gamma, beta, EPSILON)
    if layer.kind == "GlobalAveragePooling1D":
        return lambda x: x.mean(1)
    if layer.kind == "GlobalMaxPooling1D":
        return lambda x: x.amax(1)
    if layer.kind == "RepeatVector":
        return lambda x: x[:, None].expand(-1, layer.options["n"], -1)
    if layer.kind == "Embedding":
        table = torch.from_numpy(weights[0])
        return lambda x: torch.nn.functional.embedding(x, table)
    inner = layer.inner or layer
    lstm = _lstm(torch, inner, weights, batch_first=True)
    if inner.options.get("return_sequences"):
        return lambda x: lstm(x)[0]
    if layer.kind == "Bidirectional":
        return lambda x: torch.cat(tuple(lstm(x)[1][0]), dim=-1)
    return lambda x: lstm(x)[1][0][0]


def _model(torch, case: Case, weights: list[list[np.ndarray]]):
    given = zip(case.layers, weights, strict=True)
    stages = [_stage(torch, layer, arrays) for layer, arrays in given if not layer.is_inert()]

    def model(x):
        for stage in stages:
            x = stage(x)
        return x

    return model
