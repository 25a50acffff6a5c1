"""Layers that act in training only: at inference they hand their input on.

A graph may call one with ``training=True`` (Monte Carlo dropout): then it is random, from the layer's seed.
Next: core.py.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np

from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.core import identity


class Inert(Layer):
    """Base of the layers that do nothing at inference."""

    per_step = True
    allocates = False
    call_arguments = ("inputs", "training")
    seed: Any = None
    _noise: tuple[np.random.Generator, Any] | None = None

    def noisy(self, x: Array, rng: np.random.Generator) -> Array:
        """What the layer gives in training."""
        return x

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        return identity

    def run_for(self, arguments: dict[str, Any]) -> Run:
        if not arguments.get("training") or type(self).noisy is Inert.noisy:
            return self.frozen()
        if self._noise is None:
            seed = self.seed if isinstance(self.seed, int) else None
            self._noise = np.random.default_rng(seed), Lock()
        rng, lock = self._noise

        def run(x: Array, training: Any = True) -> Array:
            with lock:
                return self.noisy(x, rng).astype(x.dtype, copy=False)

        return run

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_noise": None}

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"training": True} if arguments.get("training") else {}


@register()
class Dropout(Inert):
    """Keras's Dropout layer.

    Parameters
    ----------
    rate : float
        The share of values that training sets to 0.
    noise_shape : tuple, optional
        Where a size is 1, the same values are dropped along that axis.
    seed : int, optional
        Of the random numbers.
    """

    config_keys: tuple[str, ...] = ("rate", "seed", "noise_shape")

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        if not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise ValueError(
                f"Invalid value received for argument `rate`. Expected a float value between 0 and 1. "
                f"Received: rate={rate}"
            )
        super().__init__(**kwargs)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed

    def dropped_together(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the random numbers for an input of ``shape``."""
        if self.noise_shape is None:
            return shape
        return tuple(size if own is None else own for own, size in zip(self.noise_shape, shape, strict=True))

    def noisy(self, x: Array, rng: np.random.Generator) -> Array:
        if self.rate >= 1:
            return np.zeros_like(x)
        keep = rng.random(self.dropped_together(x.shape)) >= self.rate
        y: Array = np.where(keep, x / x.dtype.type(1 - self.rate), x.dtype.type(0))
        return y


class _SpatialDropout(Dropout):
    """Base of the dropouts of whole channels."""

    config_keys = ("rate", "seed")

    inert_arguments = ("noise_shape",)

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        self.data_format = kwargs.pop("data_format", None)
        kwargs.pop("noise_shape", None)
        super().__init__(rate, None, seed, **kwargs)

    keyword_arguments = ("data_format",)

    def get_config(self) -> dict[str, Any]:
        """As Keras 3's, whose constructor knows no `trainable`."""
        config = super().get_config()
        del config["trainable"]
        return config if self.data_format is None else {**config, "data_format": self.data_format}

    def dropped_together(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        ones = (1,) * (len(shape) - 2)
        return (*shape[:2], *ones) if self.data_format == "channels_first" else (shape[0], *ones, shape[-1])


@register()
class SpatialDropout1D(_SpatialDropout):
    """Keras's SpatialDropout1D layer: `Dropout` of whole channels."""

    ndim = 3
    per_step = True


@register()
class SpatialDropout2D(_SpatialDropout):
    """Keras's SpatialDropout2D layer: `Dropout` of whole channels."""

    ndim = 4


@register()
class SpatialDropout3D(_SpatialDropout):
    """Keras's SpatialDropout3D layer: `Dropout` of whole channels."""

    ndim = 5


@register()
class GaussianDropout(Dropout):
    """Keras's GaussianDropout layer: in training it multiplies by normal numbers around 1."""

    config_keys = ("rate", "seed")
    inert_arguments = ("noise_shape",)

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        kwargs.pop("noise_shape", None)
        super().__init__(rate, None, seed, **kwargs)

    def noisy(self, x: Array, rng: np.random.Generator) -> Array:
        y: Array = x * rng.normal(1.0, np.sqrt(self.rate / (1.0 - self.rate)), x.shape)
        return y


@register()
class AlphaDropout(Dropout):
    """Keras's AlphaDropout layer: a dropout that keeps the mean and the variance of selu's outputs."""

    def noisy(self, x: Array, rng: np.random.Generator) -> Array:
        if self.rate >= 1:
            return np.zeros_like(x)
        floor = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946
        keep = rng.random(self.dropped_together(x.shape)) >= self.rate
        scale = ((1 - self.rate) * (1 + self.rate * floor**2)) ** -0.5
        y: Array = scale * np.where(keep, x, floor) - scale * floor * self.rate
        return y


@register()
class GaussianNoise(Inert):
    """Keras's GaussianNoise layer: in training it adds normal numbers.

    Parameters
    ----------
    stddev : float
        Of the numbers.
    seed : int, optional
        Of the random numbers.
    """

    config_keys = ("stddev", "seed")

    def __init__(self, stddev: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev, self.seed = stddev, seed

    def noisy(self, x: Array, rng: np.random.Generator) -> Array:
        y: Array = x + rng.normal(0.0, self.stddev, x.shape)
        return y


@register()
class ActivityRegularization(Inert):
    """Keras's ActivityRegularization layer; at inference it hands its input on."""

    config_keys = ("l1", "l2")

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.l1, self.l2 = l1, l2


@register()
class Identity(Inert):
    """Keras's Identity layer."""

    stops_mask_before_3 = True
