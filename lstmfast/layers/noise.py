"""The random numbers of a layer that is called with ``training=True``.

They are NumPy's, not TensorFlow's: of the same distribution, and the same again for a fresh layer of the same seed.
Next: regularization.py, recurrent_dropout.py.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np

from lstmfast.layers.base import Array

_SEED_BITS = (1 << 64) - 1


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
            return self._random().random(shape)

    def normal(self, shape: tuple[int, ...]) -> Array:
        """Numbers of mean 0 and variance 1."""
        with self._lock:
            return self._random().standard_normal(shape)


__all__ = ["Noise"]
