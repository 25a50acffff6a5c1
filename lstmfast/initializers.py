"""Keras's weight initializers: the same distributions, drawn with NumPy.

An initializer is named as in Keras (``"glorot_uniform"``, ``{"class_name": "Orthogonal", "config": {...}}``), made by
a constructor (``GlorotUniform(seed=1)``, ``glorot_uniform(seed=1)``), or a function of a shape and a dtype. With a seed
it gives the same values in every process.

>>> from lstmfast import initializers
>>> initializers.get("ones")((2, 2)).tolist()
[[1.0, 1.0], [1.0, 1.0]]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast._keras import as_custom

Array = np.ndarray[Any, Any]
Axes = tuple[list[int], list[int]] | None  # of a shape, that count as inputs and as outputs; None says the places


def _fans(shape: tuple[int, ...], axes: Axes = None) -> tuple[float, float]:
    if axes is not None:
        fan_in, fan_out = (math.prod(shape[axis] for axis in side) for side in axes)
        return float(fan_in), float(fan_out)
    if not shape:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    receptive = 1
    for size in shape[:-2]:
        receptive *= size
    return float(shape[-2] * receptive), float(shape[-1] * receptive)


def _variance_scaling(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    axes: Axes = None,
) -> Array:
    fan_in, fan_out = _fans(shape, axes)
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}.get(mode)
    if fan is None:
        raise ValueError(f"Invalid `mode` argument: {mode!r}. Expected fan_in, fan_out or fan_avg.")
    variance = scale / max(1.0, fan)
    if distribution == "truncated_normal":
        # the factor restores the variance that truncation at two deviations takes away
        return _truncated_normal(shape, rng, 0.0, variance**0.5 / 0.87962566103423978)
    if distribution == "untruncated_normal":
        return _normal(shape, rng, 0.0, variance**0.5)
    if distribution == "uniform":
        limit = (3.0 * variance) ** 0.5
        return _uniform(shape, rng, -limit, limit)
    raise ValueError(f"Invalid `distribution` argument: {distribution!r}.")


def _uniform(shape: tuple[int, ...], rng: np.random.Generator, minval: float = -0.05, maxval: float = 0.05) -> Array:
    return rng.uniform(minval, maxval, shape)


def _normal(shape: tuple[int, ...], rng: np.random.Generator, mean: float = 0.0, stddev: float = 0.05) -> Array:
    return rng.normal(mean, stddev, shape)


def _truncated_normal(
    shape: tuple[int, ...], rng: np.random.Generator, mean: float = 0.0, stddev: float = 0.05
) -> Array:
    values = rng.standard_normal(shape)
    while True:
        far = np.abs(values) > 2.0
        count = int(np.count_nonzero(far))
        if not count:
            return mean + stddev * values
        values[far] = rng.standard_normal(count)


def _orthogonal(shape: tuple[int, ...], rng: np.random.Generator, gain: float = 1.0) -> Array:
    if len(shape) < 2:
        raise ValueError(f"The orthogonal initializer needs at least two dimensions, got shape {shape}.")
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diagonal(r))
    matrix: Array = (q.T if rows < columns else q).reshape(shape)
    return gain * matrix


def _identity(shape: tuple[int, ...], rng: np.random.Generator, gain: float = 1.0) -> Array:
    if len(shape) != 2:
        raise ValueError(f"The identity initializer needs two dimensions, got shape {shape}.")
    return gain * np.eye(*shape)


def _constant(shape: tuple[int, ...], rng: np.random.Generator, value: Any = 0.0) -> Array:
    return np.broadcast_to(np.asarray(value, np.float64), shape)


def _scaled(scale: float, mode: str, distribution: str) -> Any:
    def draw(shape: tuple[int, ...], rng: np.random.Generator, axes: Axes = None) -> Array:
        return _variance_scaling(shape, rng, scale, mode, distribution, axes)

    return draw


# Keras's class name: (how to draw, the defaults of its parameters, whether it takes a seed)
_CLASSES: dict[str, tuple[Any, dict[str, Any], bool]] = {
    "Zeros": (lambda shape, rng: np.zeros(shape), {}, False),
    "Ones": (lambda shape, rng: np.ones(shape), {}, False),
    "Constant": (_constant, {"value": 0.0}, False),
    "Identity": (_identity, {"gain": 1.0}, False),
    "RandomUniform": (_uniform, {"minval": -0.05, "maxval": 0.05}, True),
    "RandomNormal": (_normal, {"mean": 0.0, "stddev": 0.05}, True),
    "TruncatedNormal": (_truncated_normal, {"mean": 0.0, "stddev": 0.05}, True),
    "VarianceScaling": (
        _variance_scaling,
        {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"},
        True,
    ),
    "GlorotUniform": (_scaled(1.0, "fan_avg", "uniform"), {}, True),
    "GlorotNormal": (_scaled(1.0, "fan_avg", "truncated_normal"), {}, True),
    "HeUniform": (_scaled(2.0, "fan_in", "uniform"), {}, True),
    "HeNormal": (_scaled(2.0, "fan_in", "truncated_normal"), {}, True),
    "LecunUniform": (_scaled(1.0, "fan_in", "uniform"), {}, True),
    "LecunNormal": (_scaled(1.0, "fan_in", "truncated_normal"), {}, True),
    "Orthogonal": (_orthogonal, {"gain": 1.0}, True),
}
_SCALED = frozenset("VarianceScaling GlorotUniform GlorotNormal HeUniform HeNormal LecunUniform LecunNormal".split())
_NAMES = {
    "zeros": "Zeros",
    "zero": "Zeros",
    "ones": "Ones",
    "one": "Ones",
    "constant": "Constant",
    "identity": "Identity",
    "uniform": "RandomUniform",
    "normal": "RandomNormal",
    "random_uniform": "RandomUniform",
    "random_normal": "RandomNormal",
    "truncated_normal": "TruncatedNormal",
    "variance_scaling": "VarianceScaling",
    "glorot_uniform": "GlorotUniform",
    "glorot_normal": "GlorotNormal",
    "he_uniform": "HeUniform",
    "he_normal": "HeNormal",
    "lecun_uniform": "LecunUniform",
    "lecun_normal": "LecunNormal",
    "orthogonal": "Orthogonal",
    "OrthogonalInitializer": "Orthogonal",
    "IdentityInitializer": "Identity",
}


class Initializer:
    """One of Keras's initializers with its parameters.

    Parameters
    ----------
    class_name : str
        Keras's class name, such as ``"GlorotUniform"``.
    config : dict, optional
        Its parameters, ``seed`` among them; what is not given has Keras's default.
    """

    axes: Axes = None

    def __init__(self, class_name: str, config: dict[str, Any] | None = None) -> None:
        self.class_name = class_name
        _, defaults, seeded = _CLASSES[class_name]
        config = dict(config or {})
        self.seed = config.pop("seed", None)
        config.pop("dtype", None)
        for key in list(config):  # Keras 2 wrote the parameters of VarianceScaling for glorot_uniform and its kin
            if key not in defaults:
                config.pop(key)
        self.parameters = {**defaults, **config}
        self._seeded = seeded

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """Values of the given shape, float32 unless ``dtype`` says otherwise."""
        rng = None
        if self._seeded:
            # a Keras seed may be a SeedGenerator's config; its number is what counts
            seed = self.seed
            while isinstance(seed, dict):
                seed = (seed.get("config") or {}).get("seed")
            rng = np.random.default_rng(seed)
        draw = _CLASSES[self.class_name][0]
        given = self.parameters if self.axes is None else {**self.parameters, "axes": self.axes}
        return np.asarray(draw(tuple(shape), rng, **given), dtype=dtype or np.float32)

    def over(self, inputs: list[int], outputs: list[int]) -> Initializer:
        """The same for shapes of which these axes are those of the inputs and of the outputs, as in Keras 3."""
        if self.class_name not in _SCALED:
            return self
        other = Initializer(self.class_name, self.get_config())
        other.axes = inputs, outputs
        return other

    def get_config(self) -> dict[str, Any]:
        return {**self.parameters, **({"seed": self.seed} if self._seeded else {})}

    def __repr__(self) -> str:
        return f"<initializer {self.class_name} {self.get_config()}>"


class _Given(Initializer):
    """A function of a shape and a dtype as an initializer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__("Zeros")
        self.function = function

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        dtype = np.dtype(dtype or np.float32)
        values = np.asarray(self.function(tuple(shape), dtype=dtype.name), dtype)
        if values.shape != tuple(shape):
            raise ValueError(f"{self!r} gave values of shape {values.shape}, expected {tuple(shape)}.")
        return values

    def __repr__(self) -> str:
        return f"<initializer {self.function}>"


class _Values:
    """Gives an array, for its own shape alone."""

    def __init__(self, values: Array) -> None:
        self.values = values

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        if shape != self.values.shape:
            raise ValueError(
                f"Expected `shape` to be {self.values.shape} for direct tensor as initializer. Received shape={shape}"
            )
        return self.values


class _Class:
    """Stands for one of Keras's classes: called on parameters, it gives an `Initializer`."""

    def __init__(self, name: str) -> None:
        self.__name__ = self.__qualname__ = name

    def __call__(self, *args: Any, **config: Any) -> Initializer:
        name = self.__name__
        _, defaults, seeded = _CLASSES[name]
        places = [*defaults, *(["seed"] if seeded else [])]
        twice = [place for place, _ in zip(places, args, strict=False) if place in config]
        if len(args) > len(places) or twice:
            raise TypeError(f"{name}() takes {', '.join(places) or 'no arguments'}, each once.")
        config.update(zip(places, args, strict=False))
        unknown = set(config) - set(places)
        if unknown:
            raise TypeError(f"{name}() got an unexpected argument {sorted(unknown)[0]!r}")
        return Initializer(name, config)

    def __repr__(self) -> str:
        return f"<class {self.__name__!r} of lstmfast.initializers>"


def get(identifier: Any) -> Any:
    """The initializer that a Keras identifier means; None for None, which a layer takes for its default.

    Parameters
    ----------
    identifier : str, dict, Initializer, callable, array or None
        A name, a config, an initializer of lstmfast or Keras or its class, another function of a shape and a dtype, or
        the values themselves.

    Raises
    ------
    ValueError
        If no initializer is known by that name.
    """
    if identifier is None or isinstance(identifier, Initializer):
        return identifier
    if isinstance(identifier, (type, _Class)):
        return get(identifier())
    class_name: Any = identifier
    config: Any = {}
    if isinstance(identifier, dict):
        class_name, config = identifier.get("class_name"), identifier.get("config") or {}
    elif not isinstance(identifier, str) and hasattr(identifier, "get_config"):
        class_name, config = type(identifier).__name__, identifier.get_config()
    class_name = _NAMES.get(class_name, class_name) if isinstance(class_name, str) else None
    if class_name in _CLASSES and isinstance(config, dict):
        return Initializer(class_name, config)
    if hasattr(identifier, "__array__") and not isinstance(identifier, str):
        return _Given(_Values(np.asarray(identifier)))
    if callable(identifier):
        return _Given(identifier)
    raise ValueError(f"Could not interpret initializer identifier: {identifier}")


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """The initializer of a config, or of the name of one of ``custom_objects``."""
    name = config.get("class_name") if isinstance(config, dict) else config
    return get(as_custom(custom_objects).get(name, config) if isinstance(name, str) else config)


def serialize(initializer: Initializer) -> dict[str, Any]:
    """The initializer's Keras 3 config; that of zeros for a function, for which there is none."""
    if isinstance(initializer, _Given):
        initializer = Initializer("Zeros")
    return {
        "module": "keras.initializers",
        "class_name": initializer.class_name,
        "config": initializer.get_config(),
        "registered_name": None,
    }


def __getattr__(name: str) -> Any:
    class_name = _NAMES.get(name, name)
    if class_name not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[name] = globals().setdefault(class_name, _Class(class_name))
    return made


def __dir__() -> list[str]:
    return sorted({*globals(), *_CLASSES, *_NAMES})
