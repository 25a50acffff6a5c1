"""Layers that act in training only: at inference they hand their input on.

A graph may call one with ``training=True`` (Monte Carlo dropout): then it is random, from the layer's seed.
Next: core.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast._pieces import cast, spread
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.core import identity
from lstmfast.layers.noise import Noise


class Inert(Layer):
    """Base of the layers that do nothing at inference."""

    per_step = True
    elementwise = True
    allocates = False
    keeps_integers = "biu"
    call_arguments = ("inputs", "training")
    noise: Noise

    def is_noisy(self) -> bool:
        """Whether training changes anything."""
        return False

    def noisy(self, x: Array) -> Array:
        """What the layer gives in training."""
        return x

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        return identity

    def run_for(self, arguments: dict[str, Any]) -> Run:
        if not arguments.get("training") or not self.is_noisy():
            return self.frozen()
        return self._run_noisy

    def _run_noisy(self, x: Array, training: Any = True) -> Array:
        if x.dtype.kind != "f":
            raise TypeError(f"Layer '{self.name}' called with training=True takes floats, got integers: {x.dtype}.")
        return cast(self.noisy(x), x.dtype)

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
        Of the random numbers: of NumPy's, not of TensorFlow's, and the same again for a fresh layer.
    """

    config_keys: tuple[str, ...] = ("rate", "seed", "noise_shape")

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        if not isinstance(rate, (int, float, np.number)) or not 0 <= rate <= 1:
            raise ValueError(
                f"Invalid value received for argument `rate`. Expected a float value between 0 and 1. "
                f"Received: rate={rate}"
            )
        super().__init__(**kwargs)
        self.rate, self.noise_shape, self.seed = rate, noise_shape, seed
        self.noise = Noise(seed)
        if noise_shape is not None and (len(noise_shape) == 0 or noise_shape[0] is not None):
            self.row_by_row = False  # rows drop the same values

    def is_noisy(self) -> bool:
        return self.rate > 0

    def dropped_together(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the random numbers for an input of ``shape``.

        Raises
        ------
        ValueError
            If ``noise_shape`` does not fit it.
        """
        if self.noise_shape is None:
            return shape
        if len(self.noise_shape) <= len(shape):
            sizes = tuple(size if own is None else own for own, size in zip(self.noise_shape, shape, strict=False))
            if all(own in (1, size) for own, size in zip(reversed(sizes), reversed(shape), strict=False)):
                return sizes
        raise ValueError(
            f"Layer '{self.name}' has noise_shape={self.noise_shape}, which does not fit its input of shape {shape}: "
            "each size has to be None, 1 or the input's."
        )

    def noisy(self, x: Array) -> Array:
        return self.noise.dropped(x, self.rate, self.dropped_together(x.shape))

    def refuse_all(self) -> None:
        """Raise where every value would be dropped and the layer cannot tell what is left then."""
        if self.rate >= 1:
            raise ValueError(
                f"Layer '{self.name}' cannot run with training=True and rate={self.rate}: it divides by 0."
            )


class _SpatialDropout(Dropout):
    """Base of the dropouts of whole channels."""

    config_keys = ("rate", "seed")

    inert_arguments = ("noise_shape",)

    def __init__(self, rate: float, data_format: Any = None, seed: Any = None, **kwargs: Any) -> None:
        self.data_format = data_format
        kwargs.pop("noise_shape", None)
        super().__init__(rate, None, seed, **kwargs)

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

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(rate, kwargs.pop("data_format", None), seed, **kwargs)


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

    def noisy(self, x: Array) -> Array:
        self.refuse_all()
        deviation = np.sqrt(self.rate / (1 - self.rate))
        return spread(lambda part, drawn: part * (1 + deviation * drawn), x, self.noise.normal(x.shape))


@register()
class AlphaDropout(Dropout):
    """Keras's AlphaDropout layer: a dropout that keeps the mean and the variance of selu's outputs."""

    def noisy(self, x: Array) -> Array:
        self.refuse_all()
        floor = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946
        scale = ((1 - self.rate) * (1 + self.rate * floor**2)) ** -0.5

        def kept(x: Array, drawn: Array) -> Array:
            y: Array = scale * np.where(drawn >= self.rate, x, floor) - scale * floor * self.rate
            return y

        return spread(kept, x, self.noise.uniform(self.dropped_together(x.shape)))


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
        self.noise = Noise(seed)

    def is_noisy(self) -> bool:
        return bool(self.stddev > 0)

    def noisy(self, x: Array) -> Array:
        return spread(lambda part, drawn: part + self.stddev * drawn, x, self.noise.normal(x.shape))


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
