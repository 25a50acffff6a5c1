"""Keras's activations: identifiers to the tuples that the core computes.

Each name of this module is an `Activation`, callable on arrays, with Keras's parameters and defaults:

>>> from lstmfast import activations
>>> activations.relu([-2.0, 3.0], negative_slope=0.5).tolist()
[-1.0, 3.0]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast import _core
from lstmfast._arrays import FLOAT32, FLOAT64, as_array
from lstmfast._keras import as_custom
from lstmfast._pieces import cast, contiguous

_INFINITY = float("inf")


class Activation:
    """An activation with its parameters.

    Attributes
    ----------
    name : str
        Keras's name.
    core : tuple or None
        What the core takes; None for a Python function, and for one over another axis than the last, which only
        element-wise layers and those like `Dense` can run.
    parameters : dict
        Keras's parameters by name, defaults included.
    """

    __slots__ = ("core", "function", "name", "parameters")

    def __init__(self, name: str, parameters: dict[str, Any] | None = None, function: Callable[..., Any] | None = None):
        self.name = name
        self.function = function
        self.parameters: dict[str, Any] = {}
        self.core: tuple[str, float, float, float] | None = None
        if function is None:
            self.parameters = dict(_PARAMETERS.get(name, ()))
            for key, value in (parameters or {}).items():
                if key not in self.parameters:
                    raise TypeError(f"{name}() got an unexpected argument {key!r}")
                self.parameters[key] = value
            if self.parameters.get("axis", -1) == -1:
                self.core = _core_tuple(name, self.parameters)

    @property
    def __name__(self) -> str:
        return self.name

    def __call__(self, x: Any, *args: Any, **parameters: Any) -> np.ndarray[Any, Any]:
        """Apply to an array-like of any shape; float64 stays float64, everything else becomes float32."""
        if args:
            places = tuple(self.parameters)[: len(args)]
            if len(places) < len(args) or not parameters.keys().isdisjoint(places):
                raise TypeError(f"{self.name}() takes x, {', '.join(self.parameters)}, each once.")
            parameters.update(zip(places, args, strict=True))
        this = Activation(self.name, {**self.parameters, **parameters}) if parameters else self
        array = as_array(x)
        array = contiguous(cast(array, FLOAT64 if array.dtype == FLOAT64 else FLOAT32))
        return this.run(np.ascontiguousarray(array))

    def run(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Apply to a C-contiguous float32 or float64 array."""
        if self.function is not None:
            return np.ascontiguousarray(self.function(x), x.dtype)
        if self.core is not None:
            return _core.activate(self.core, x)
        axis, of_last = self.parameters["axis"], Activation(self.name)
        if axis == x.ndim - 1:
            return of_last.run(x)
        return contiguous(np.moveaxis(of_last.run(contiguous(np.moveaxis(x, axis, -1))), -1, axis))

    @property
    def is_linear(self) -> bool:
        return self.name == "linear"

    def __repr__(self) -> str:
        return f"<activation {self.name}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        mine, others = (self.name, self.core, self.function), (other.name, other.core, other.function)
        return mine == others and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((self.name, self.core))

    def __reduce__(self) -> tuple[Any, ...]:
        return Activation, (self.name, self.parameters if self.function is None else None, self.function)


# Keras's parameters and their defaults, in the core's order.
_PARAMETERS: dict[str, dict[str, Any]] = {
    "relu": {"negative_slope": 0.0, "max_value": None, "threshold": 0.0},
    "leaky_relu": {"negative_slope": 0.2},
    "elu": {"alpha": 1.0},
    "celu": {"alpha": 1.0},
    "squareplus": {"b": 4.0},
    "soft_shrink": {"threshold": 0.5},
    "hard_shrink": {"threshold": 0.5},
    "threshold": {"threshold": 0.0, "default_value": 0.0},
    "gelu": {"approximate": False},
    "softmax": {"axis": -1},
    "log_softmax": {"axis": -1},
    "sparsemax": {"axis": -1},
}
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu", "exp": "exponential"}
# Layers that are nothing but an activation, with what their config keys are called there.
_LAYERS = {
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "Softmax": "softmax",
}


def _core_tuple(name: str, parameters: dict[str, Any]) -> tuple[str, float, float, float]:
    if name == "gelu" and parameters["approximate"]:
        name = "gelu_tanh"
    values: list[float] = []
    if "axis" not in parameters and not name.startswith("gelu"):
        for key, value in parameters.items():
            if value is None and key == "max_value":
                value = _INFINITY
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                raise TypeError(f"Activation {name}: expected a number for {key!r}, got {value!r}")
            values.append(float(value))
    values += [0.0] * (3 - len(values))
    return (name, values[0], values[1], values[2])


def _from_config(config: dict[str, Any]) -> Activation:
    """An activation from a Keras 3 object config: a function, or an activation layer."""
    class_name, inner = config.get("class_name"), config.get("config")
    if class_name == "function" and isinstance(inner, str):
        return get(inner)
    if class_name in _LAYERS and isinstance(inner, dict):
        name = _LAYERS[class_name]
        known = _PARAMETERS[name]
        defaults = {}
        if class_name == "LeakyReLU":  # Keras 2 calls it alpha
            defaults = {"negative_slope": 0.3 if inner.get("alpha") is None else inner["alpha"]}
        if isinstance(inner.get("axis"), (list, tuple)):
            raise ValueError(f"Softmax as an activation takes one axis. Received: {config}")
        return Activation(name, {**defaults, **{key: inner[key] for key in known if inner.get(key) is not None}})
    if class_name == "Activation" and isinstance(inner, dict):
        return get(inner.get("activation"))
    raise ValueError(f"Could not interpret activation function identifier: {config}")


def get(identifier: Any) -> Activation:
    """The activation that a Keras identifier means.

    Parameters
    ----------
    identifier : str, None, Activation, dict, activation layer or callable
        A name such as ``"tanh"``; None for linear; a function or layer of lstmfast or Keras, taken by its name; a
        config of one of these; or any other callable, which only element-wise layers and `Dense` can run.

    Raises
    ------
    ValueError
        If no activation is known by that name.
    """
    if identifier is None:
        return linear
    if isinstance(identifier, Activation):
        return identifier
    if isinstance(identifier, str):
        name = _ALIASES.get(identifier, identifier)
        if name not in _KNOWN:
            raise ValueError(f"Could not interpret activation function identifier: {identifier}")
        return _KNOWN[name]
    if isinstance(identifier, dict):
        return _from_config(identifier)
    module = type(identifier).__module__ if not hasattr(identifier, "__name__") else identifier.__module__ or ""
    if module.split(".")[0] in ("keras", "tf_keras", "tensorflow", "lstmfast"):
        if hasattr(identifier, "get_config"):
            return _from_config({"class_name": type(identifier).__name__, "config": identifier.get_config()})
        return get(identifier.__name__)
    if callable(identifier):
        return Activation(getattr(identifier, "__name__", type(identifier).__name__), function=identifier)
    raise ValueError(f"Could not interpret activation function identifier: {identifier}")


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The activation of a config, or of the name of one of ``custom_objects``."""
    custom = as_custom(custom_objects)
    return custom[config] if isinstance(config, str) and config in custom else get(config)


def serialize(activation: Activation) -> Any:
    """The identifier that a Keras config would hold for it: a name, or the config of the layer with its parameters."""
    if activation.function is not None:
        raise ValueError(f"Unknown activation function '{activation.name}' cannot be serialized: it is Python code.")
    if activation == _KNOWN.get(activation.name):
        return activation.name
    for class_name, name in _LAYERS.items():
        if name == activation.name:
            return {"module": "keras.layers", "class_name": class_name, "config": dict(activation.parameters)}
    raise ValueError(f"Keras has no config for {activation.name} with the parameters {activation.parameters}.")


_KNOWN: dict[str, Activation] = {
    name: Activation(name) for name in _core.activation_names() if name not in ("gelu_tanh",)
}
linear, sigmoid = _KNOWN["linear"], _KNOWN["sigmoid"]
LINEAR = ("linear", 0.0, 0.0, 0.0)  # as the core takes it


def glu(x: Any, axis: int = -1) -> np.ndarray[Any, Any]:
    """Keras's gated linear unit: one half of an axis times the sigmoid of the other. No layer has it by its name."""
    values, gates = np.split(linear(x), 2, axis=axis)
    y: np.ndarray[Any, Any] = values * sigmoid(gates)
    return y


def __getattr__(name: str) -> Activation:
    found = _KNOWN.get(_ALIASES.get(name, name))
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_KNOWN, *_ALIASES])
