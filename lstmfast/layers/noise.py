"""The random numbers of a layer that is called with ``training=True``.

They are NumPy's, not TensorFlow's: of the same distribution, and the same again for a fresh layer of the same seed.
Next: regularization.py, recurrent_dropout.py, attention.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import numpy as np

from lstmfast._pieces import pieces, spread
from lstmfast.layers.base import Array

_SEED_BITS = (1 << 64) - 1


def _drawn(draw: Callable[[tuple[int, ...]], Array], shape: tuple[int, ...]) -> Array:
    """What ``draw(shape)`` gives: it goes on from piece to piece."""
    numbers = np.empty(shape)
    for piece in pieces(shape):
        numbers[piece] = draw(numbers[piece].shape)
    return numbers


class Noise:
    """A stream of random numbers, which any number of threads may draw from.

    Copies and pickles begin the stream again.

    Parameters
    ----------
    seed : int or None
        None takes one from the operating system.
    """

    def __init__(self, seed: Any) -> None:
        self.seed = seed
        self._made: np.random.Generator | None = None  # by the first draw: few layers draw at all
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Noise, (self.seed,)

    def _random(self) -> np.random.Generator:
        if self._made is None:
            # NumPy takes no negative seed, Keras does
            self._made = np.random.default_rng(self.seed & _SEED_BITS if isinstance(self.seed, int) else None)
        return self._made

    def uniform(self, shape: tuple[int, ...]) -> Array:
        """Numbers from 0 up to 1, 1 left out."""
        with self._lock:
            return _drawn(self._random().random, shape)

    def normal(self, shape: tuple[int, ...]) -> Array:
        """Numbers of mean 0 and variance 1."""
        with self._lock:
            return _drawn(self._random().standard_normal, shape)

    def dropped(self, x: Array, rate: float, together: tuple[int, ...] | None = None) -> Array:
        """``x`` with a share of its values 0 and the others larger for it.

        Parameters
        ----------
        rate : float
            The share, from 0 to 1.
        together : tuple of int, optional
            The shape of the random numbers: where a size is 1, the same values are dropped along that axis.
        """
        if rate >= 1:
            return np.zeros_like(x)
        factor, zero = x.dtype.type(1 / (1 - rate)), x.dtype.type(0)

        def kept(x: Array, drawn: Array) -> Array:
            y: Array = np.where(drawn >= rate, x * factor, zero)
            return y

        return spread(kept, x, self.uniform(x.shape if together is None else together))

    def masks(self, batch: int, wanted: Sequence[tuple[float, tuple[int, ...]]], dtype: Any) -> list[Array | None]:
        """What to multiply values with, (batch, ...): 0 where they are dropped, else a factor; None where none is.

        The numbers of a row follow those of the row before it, so that rows in slices get the same as all at once.

        Parameters
        ----------
        wanted : sequence of (float, tuple of int)
            The rate of each mask, and its shape without the batch.
        """
        sizes = [math.prod(shape) if rate else 0 for rate, shape in wanted]
        drawn = self.uniform((batch, sum(sizes)))
        masks: list[Array | None] = []
        first = 0
        for (rate, shape), size in zip(wanted, sizes, strict=True):
            factor = 1 / (1 - rate) if rate < 1 else 0.0
            mask = np.where(drawn[:, first : first + size] >= rate, factor, 0.0).astype(dtype) if rate else None
            masks.append(None if mask is None else mask.reshape(batch, *shape))
            first += size
        return masks


__all__ = ["Noise"]
