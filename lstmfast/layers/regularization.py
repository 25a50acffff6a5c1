"""Layers that act in training only: at inference they hand their input on.

Next: core.py.
"""

from __future__ import annotations

from typing import Any

from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.core import identity


class Inert(Layer):
    """Base of the layers that do nothing at inference."""

    per_step = True
    allocates = False
    call_arguments = ("inputs", "training")

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        return identity

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("training"):
            self.refuse_training()
        return {}

    def refuse_training(self) -> None:
        raise NotImplementedError(f"Layer '{self.name}' is run for inference only (training=True).")


@register()
class Dropout(Inert):
    """Keras's Dropout layer; at inference it hands its input on.

    Parameters
    ----------
    rate : float
        Kept in the config.
    """

    config_keys = ("rate", "seed", "noise_shape")

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        if not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise ValueError(
                f"Invalid value received for argument `rate`. Expected a float value between 0 and 1. "
                f"Received: rate={rate}"
            )
        super().__init__(**kwargs)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed


class _Rated(Inert):
    config_keys = ("rate", "seed")

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed


@register()
class SpatialDropout1D(_Rated):
    """Keras's SpatialDropout1D layer; at inference it hands its input on."""


@register()
class SpatialDropout2D(_Rated):
    """Keras's SpatialDropout2D layer; at inference it hands its input on."""

    def __init__(self, rate: float, data_format: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)
        self.data_format = data_format


@register()
class SpatialDropout3D(SpatialDropout2D):
    """Keras's SpatialDropout3D layer; at inference it hands its input on."""


@register()
class GaussianDropout(_Rated):
    """Keras's GaussianDropout layer; at inference it hands its input on."""


@register()
class AlphaDropout(_Rated):
    """Keras's AlphaDropout layer; at inference it hands its input on."""

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = noise_shape


@register()
class GaussianNoise(Inert):
    """Keras's GaussianNoise layer; at inference it hands its input on."""

    config_keys = ("stddev", "seed")

    def __init__(self, stddev: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stddev, self.seed = stddev, seed


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
