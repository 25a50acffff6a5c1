"""Weights of older Keras versions, in today's layout.

Next: build.py.
"""

from __future__ import annotations

from typing import Any

from lstmfast.layers.base import Layer
from lstmfast.saving.config import Context
from lstmfast.saving.files import Array


def translated(layer: Layer, arrays: list[Array], context: Context) -> list[Array]:
    """The arrays of one entry of ``layer_names`` as today's Keras would store them."""
    return arrays


_ = Any
