"""PyTorch's recurrent modules, from their attributes or state_dict alone: torch is not imported.

    LSTM  gates i, f, g, o, as Keras's i, f, c, o; its two biases are added
    GRU   gates r, z, n, as Keras's z, r, h with reset_after; its two biases stay apart
    RNN   one gate; its two biases are added
Next: ../layers/recurrent.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from lstmfast._arrays import FLOAT32, FLOAT64, as_array
from lstmfast.layers import GRU, LSTM, Bidirectional, SimpleRNN
from lstmfast.layers.base import Array, Layer
from lstmfast.layers.core import Input
from lstmfast.models import Sequential

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_LAYERS: dict[str, Any] = {"LSTM": LSTM, "GRU": GRU, "RNN": SimpleRNN}
_GRU_ORDER = [1, 0, 2]  # r, z, n -> z, r, h
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# Of a state_dict, what a weight is computed from.
_COMPUTED = re.compile(rf"parametrizations\.({'|'.join(_PARTS)}).*|({'|'.join(_PARTS)}).*_(g|v|u|orig|mask)")


class _Spec(NamedTuple):
    """What there is to know of a module beside its weights."""

    kind: str  # of _GATES
    activation: str
    units: int
    bidirectional: bool
    is_cell: bool


class TorchRecurrent:
    """A recurrent module of PyTorch; `from_torch` makes one.

    Attributes
    ----------
    batch_first : bool
        Whether sequences are (batch, steps, features), as the module says, or (steps, batch, features).
    num_layers, hidden_size, input_size : int
    bidirectional : bool
    """

    def __init__(self, spec: _Spec, weights: list[list[Array]], batch_first: bool) -> None:
        self._spec = spec
        self._weights = weights  # of each layer, in Keras's layout
        self.batch_first = batch_first
        self.num_layers = len(weights)
        self.hidden_size = spec.units
        self.input_size: int = weights[0][0].shape[0]
        self.bidirectional = spec.bidirectional
        self._dtype: str = weights[0][0].dtype.name

    # -- the layers ---------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> Sequential:
        """The module as a model: (batch, steps, features) -> (batch, steps, directions * hidden_size).

        The batch comes first whatever ``batch_first`` says. It saves, streams, and can be a layer of another model. A
        cell's is (batch, steps, features) -> (batch, hidden_size), the state after the last step.
        """
        layers = self._make_layers(return_state=False)
        model = Sequential([Input((None, self.input_size), dtype=self._dtype), *layers])
        model.set_weights([array for layer in self._weights for array in layer])
        return model

    @cached_property
    def _layers(self) -> list[Layer]:
        """The same layers, returning their states."""
        layers = self._make_layers(return_state=True)
        features = self.input_size
        for layer, weights in zip(layers, self._weights, strict=True):
            layer.build((None, None, features))
            layer.set_weights(weights)
            features = self.hidden_size * self._directions
        return layers

    def _make_layers(self, return_state: bool) -> list[Layer]:
        spec = self._spec
        options: dict[str, Any] = {
            "activation": spec.activation,
            "return_sequences": not spec.is_cell,
            "return_state": return_state,
            "use_bias": len(self._weights[0]) == 3 * self._directions,
            "dtype": self._dtype,
        }
        made = [_LAYERS[spec.kind](spec.units, **options) for _ in self._weights]
        return [Bidirectional(layer, dtype=self._dtype) for layer in made] if spec.bidirectional else made

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    # -- running ------------------------------------------------------------------------------------------------

    def __call__(self, x: Any, initial_state: Any = None, return_state: bool = False) -> Any:
        """What the module gives for a sequence, or a cell for a step.

        Parameters
        ----------
        x : array-like
            (batch, steps, features) with ``batch_first``, else (steps, batch, features); (steps, features) is one
            sequence without a batch. For a cell (batch, features) or (features,).
        initial_state : array-like or pair of array-like, optional
            In PyTorch's layout: h_0, or of an LSTM the pair (h_0, c_0), each (num_layers * directions, batch,
            hidden_size), without the batch where x has none. For a cell (batch, hidden_size) or (hidden_size,). Zeros
            otherwise.
        return_state : bool
            Whether to return the state after the last step too.

        Returns
        -------
        numpy.ndarray, or tuple of it and the state
            The output (batch, steps, directions * hidden_size), in x's layout; of a cell the new h. With
            ``return_state`` ``(output, h_n)``, or of an LSTM ``(output, (h_n, c_n))``, in the layout of
            ``initial_state``.

        Raises
        ------
        ValueError
            If a shape is wrong.
        """
        sequences, batched = self._sequences(x)
        if initial_state is None and not return_state:
            return self._restored(self.model.predict(sequences, verbose=0), batched)
        states = self._states(initial_state, sequences.shape[0], batched)
        final: list[Array] = []
        y: Any = sequences
        for layer, own in zip(self._layers, states, strict=True):
            y, *after = layer(y, initial_state=own)
            final += after
        output = self._restored(y, batched)
        return (output, self._packed(final, batched)) if return_state else output

    def predict(self, x: Any) -> Any:
        """As calling it: the output for all sequences of ``x``."""
        return self(x)

    def stream(self, batch_size: int = 1) -> Any:
        """A stream of `model`, one time step at a time.

        Raises
        ------
        ValueError
            If the module is bidirectional.
        """
        return self.model.stream(batch_size)

    def _sequences(self, x: Any) -> tuple[Array, bool]:
        """The input as (batch, steps, features), and whether it had a batch."""
        if hasattr(x, "batch_sizes"):
            raise TypeError("A PackedSequence is not supported: pass a padded array.")
        array = as_array(x)
        most = 2 if self._spec.is_cell else 3
        if array.ndim not in (most - 1, most) or array.shape[-1] != self.input_size:
            names = ["batch", "steps"] if self.batch_first else ["steps", "batch"]
            names = ["batch"] if self._spec.is_cell else names
            raise ValueError(f"Expected x of shape ({', '.join(names)}, {self.input_size}), got {array.shape}.")
        batched = array.ndim == most
        if self._spec.is_cell:
            return (array if batched else array[None])[:, None], batched
        if not batched:
            return array[None], batched
        return array if self.batch_first else np.swapaxes(array, 0, 1), batched

    def _restored(self, y: Array, batched: bool) -> Any:
        """An output in the caller's layout."""
        if not batched:
            return y[0]
        if self.batch_first or self._spec.is_cell:
            return y
        return np.ascontiguousarray(np.swapaxes(y, 0, 1))

    def _states(self, initial_state: Any, batch: int, batched: bool) -> list[list[Array]]:
        """For each layer its states in Keras's order: forward's first."""
        names = ("h_0", "c_0") if self._spec.kind == "LSTM" else ("h_0",)
        places = self.num_layers * self._directions
        if initial_state is None:
            arrays = [np.zeros((places, batch, self.hidden_size), self._dtype) for _ in names]
        else:
            given = [initial_state] if len(names) == 1 else initial_state
            if not isinstance(given, (list, tuple)) or len(given) != len(names):
                raise ValueError(f"Expected the initial state of an LSTM to be a pair (h_0, c_0), got {_told(given)}.")
            arrays = [self._state(value, name, batch, batched) for value, name in zip(given, names, strict=True)]
        width = self._directions
        return [
            [array[place] for place in range(layer * width, (layer + 1) * width) for array in arrays]
            for layer in range(self.num_layers)
        ]

    def _state(self, value: Any, name: str, batch: int, batched: bool) -> Array:
        array = as_array(value, name)
        shape: tuple[int, ...] = (batch, self.hidden_size) if batched else (self.hidden_size,)
        shape = shape if self._spec.is_cell else (self.num_layers * self._directions, *shape)
        if array.shape != shape:
            raise ValueError(f"Expected {name} of shape {shape}, got {array.shape}.")
        return array.reshape(-1, batch, self.hidden_size)

    def _packed(self, final: list[Array], batched: bool) -> Any:
        """The states of all layers in PyTorch's layout."""
        count = 2 if self._spec.kind == "LSTM" else 1
        stacked = [np.stack(final[part::count]) for part in range(count)]
        stacked = stacked if batched else [array[:, 0] for array in stacked]
        stacked = [array[0] for array in stacked] if self._spec.is_cell else stacked
        return tuple(stacked) if count == 2 else stacked[0]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("model", "_layers")}

    def __repr__(self) -> str:
        return (
            f"<TorchRecurrent {self._spec.kind}({self.input_size}, {self.hidden_size}), num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, batch_first={self.batch_first}>"
        )


def convert_module(module: Any, prefix: str, batch_first: bool | None, nonlinearity: str | None) -> TorchRecurrent:
    """See `lstmfast.from_torch`."""
    if nonlinearity not in (None, "tanh", "relu"):
        raise ValueError(f'Expected nonlinearity to be "tanh" or "relu", got {nonlinearity!r}.')
    if isinstance(module, Mapping):
        values = {name[len(prefix) :]: value for name, value in module.items() if str(name).startswith(prefix)}
        _refuse_without_weights(module, values, prefix)
        made = _assembled(values, None, nonlinearity or "tanh", bool(batch_first))
        if nonlinearity is not None and made._spec.kind != "RNN":
            raise ValueError(f"`nonlinearity` is for an RNN: the shapes of the weights say {made._spec.kind}.")
        return made
    kind, own = _kind_of(module)
    if prefix:
        raise ValueError("`prefix` is for a state_dict; of a larger module pass the recurrent submodule itself.")
    if nonlinearity is not None and (kind != "RNN" or nonlinearity != own):
        raise ValueError(f"`nonlinearity` is for a state_dict; the module says {own}.")
    says = bool(getattr(module, "batch_first", False))
    if batch_first is not None and batch_first != says:
        raise ValueError(f"`batch_first` is for a state_dict; the module says {says}.")
    if getattr(module, "proj_size", 0):
        raise NotImplementedError(f"An LSTM with projections (proj_size={module.proj_size}) is not supported.")
    return _assembled(_weights_of(module), kind, own, says)


def _kind_of(module: Any) -> tuple[str, str]:
    """LSTM, GRU or RNN, and its activation."""
    for cls in type(module).__mro__:
        kind = cls.__name__.removesuffix("Cell")
        if cls.__module__.startswith("torch.nn.modules.rnn") and kind in _GATES:
            if getattr(module.forward, "__func__", None) is not vars(cls)["forward"] or module._forward_hooks:
                raise NotImplementedError(
                    f"{type(module).__name__} has a forward of its own or a forward hook, which may give other numbers "
                    f"than torch.nn.{cls.__name__}: convert one without, or pass the state_dict."
                )
            return kind, getattr(module, "nonlinearity", "tanh") if kind == "RNN" else "tanh"
    raise TypeError(
        f"Expected a torch.nn.LSTM, GRU or RNN, a cell of one, or its state_dict, got {type(module).__name__}. Of a "
        "larger module convert the recurrent submodules, or export it to ONNX and use from_onnx."
    )


def _names(module: Any) -> list[str]:
    """The names of a module's weights, which its attributes have under parametrizations too."""
    parts = _PARTS if module.bias else _PARTS[:2]
    if not hasattr(module, "num_layers"):
        return list(parts)
    suffixes = ["", "_reverse"] if module.bidirectional else [""]
    return [f"{part}_l{layer}{end}" for layer in range(module.num_layers) for end in suffixes for part in parts]


def _weights_of(module: Any) -> dict[str, Any]:
    """The weights that the module's next call would use: some hooks compute the attributes before each call."""
    values = {name: getattr(module, name) for name in _names(module)}
    for hook in module._forward_pre_hooks.values():
        kinds = {cls.__name__ for cls in type(hook).__mro__ if cls.__module__.startswith("torch.nn.utils.")}
        if "WeightNorm" in kinds:
            values[hook.name] = hook.compute_weight(module)
        elif "SpectralNorm" in kinds:
            values[hook.name] = hook.compute_weight(module, do_power_iteration=False)
        elif "BasePruningMethod" in kinds:
            values[hook._tensor_name] = hook.apply_mask(module)
        else:
            raise NotImplementedError(
                f"{type(module).__name__} has a forward pre-hook other than weight_norm, spectral_norm and pruning, "
                "which may give other numbers: remove it, or pass the state_dict."
            )
    return values


def _refuse_without_weights(module: Mapping[Any, Any], values: dict[str, Any], prefix: str) -> None:
    computed = [name for name in values if _COMPUTED.fullmatch(name)]
    if computed:
        raise ValueError(
            f"The state_dict holds {computed[:4]}, of which weight_norm, spectral_norm, pruning or a parametrization "
            "makes the weight: load it into the module and pass that, or remove the parametrization first."
        )
    if "weight_ih_l0" in values or "weight_ih" in values:
        return
    ends = ("weight_ih_l0", "weight_ih")
    known = [name[: -len(end)] for name in map(str, module) for end in ends if name.endswith(end)]
    found = f"its recurrent modules have the prefixes {known}" if known else f"it holds {list(module)[:8]}"
    raise ValueError(f"The state_dict has no '{prefix}weight_ih_l0': {found}.")


def _assembled(values: dict[str, Any], kind: str | None, activation: str, batch_first: bool) -> TorchRecurrent:
    """A module from its weights by name; ``kind`` is told from their shapes where it is None."""
    is_cell = "weight_ih" in values
    if is_cell:
        values = {f"{name}_l0": value for name, value in values.items()}
    arrays = {name: _as_array(value, name) for name, value in values.items()}
    if any(name.startswith("weight_hr_l") for name in arrays):
        raise NotImplementedError("An LSTM with projections (weight_hr_l0) is not supported.")
    kind, units = _measured(arrays, kind)
    suffixes = ["", "_reverse"] if "weight_ih_l0_reverse" in arrays else [""]
    parts = _PARTS if "bias_ih_l0" in arrays else _PARTS[:2]
    count = sum(name.startswith("weight_ih_l") and not name.endswith("_reverse") for name in arrays)
    expected = [f"{part}_l{layer}{end}" for layer in range(count) for end in suffixes for part in parts]
    if sorted(expected) != sorted(arrays):
        wrong = sorted(set(expected) ^ set(arrays))
        raise ValueError(f"The weights do not make {count} layers: missing or unknown are {wrong[:8]}.")
    features = arrays["weight_ih_l0"].shape[-1]
    weights: list[list[Array]] = []
    for layer in range(count):
        weights.append([])
        for end in suffixes:
            own = [arrays[f"{part}_l{layer}{end}"] for part in parts]
            weights[-1] += _keras_weights(own, kind, units, features, f"_l{layer}{end}")
        features = units * len(suffixes)
    if len({array.dtype for array in arrays.values()}) > 1:
        raise NotImplementedError("The weights are of several types: expected all float32, or all float64.")
    return TorchRecurrent(_Spec(kind, activation, units, len(suffixes) == 2, is_cell), weights, batch_first)


def _as_array(value: Any, name: str) -> Array:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no such type
            raise NotImplementedError(f"Weight '{name}' is {value.dtype}: call `module.float()` first.")
        value = value.numpy()
    array = as_array(value, f"weight '{name}'")
    if array.dtype not in (FLOAT32, FLOAT64):
        raise NotImplementedError(f"Weight '{name}' is {array.dtype}: expected float32 or float64.")
    return array


def _measured(arrays: dict[str, Array], kind: str | None) -> tuple[str, int]:
    """The kind and the number of units, from the shape (gates * units, units) of a recurrent weight."""
    recurrent = arrays.get("weight_hh_l0")
    if recurrent is None or recurrent.ndim != 2 or not recurrent.shape[1]:
        raise ValueError(f"Expected 'weight_hh_l0' of shape (gates * units, units), got {_told(recurrent)}.")
    rows, units = recurrent.shape
    kinds = [name for name, gates in _GATES.items() if rows == gates * units]
    if not kinds or kind not in (None, *kinds):
        raise ValueError(f"Expected 'weight_hh_l0' of shape (gates * units, units), got {recurrent.shape}.")
    return kinds[0], units


def _keras_weights(arrays: list[Array], kind: str, units: int, features: int, name: str) -> list[Array]:
    """One direction's weights in Keras's layout."""
    width = _GATES[kind] * units
    shapes = [(width, features), (width, units), (width,), (width,)]
    for array, shape, part in zip(arrays, shapes, _PARTS, strict=False):
        if array.shape != shape:
            raise ValueError(f"Expected '{part}{name}' of shape {shape}, got {array.shape}.")
    if kind == "GRU":
        arrays = [np.concatenate([np.split(array, 3)[gate] for gate in _GRU_ORDER]) for array in arrays]
    kernels = [np.array(array.T, order="C") for array in arrays[:2]]
    if len(arrays) == 2:
        return kernels
    return [*kernels, np.stack(arrays[2:]) if kind == "GRU" else arrays[2] + arrays[3]]


def _told(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"one array of shape {tuple(shape)}"
