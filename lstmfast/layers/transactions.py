"""Blocks that leave layers as they were where they raise.

Next: base.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmfast.layers.base import Layer


@contextlib.contextmanager
def all_or_nothing(layers: Iterable[Layer]) -> Iterator[None]:
    """Leave layers, and those inside, as they were where the block raises: unbuilt, and without its calls."""
    before = [
        (
            layer,
            layer.built,
            dict(layer._axes),
            list(layer._specs),
            layer._values,
            len(layer.nodes),
            list(layer.chained()),
        )
        for outer in layers
        for layer in outer.all_layers()
    ]
    try:
        yield
    except BaseException:
        for layer, built, axes, specs, values, nodes, chained in before:
            layer.built, layer._axes, layer._values = built, axes, values
            layer._specs[:] = specs
            del layer.nodes[nodes:]
            if not built:
                layer._frozen = layer._noisy = None
                layer.chained()[:] = chained
        raise


def give_back(layer: Any, states: Any) -> None:
    """Let a stateful layer have the states that it had; zeros, where it was built since."""
    layer.states = layer.zero_states(layer._batch) if states is None and layer._batch else states


@contextlib.contextmanager
def keeping_states(keepers: list[Any]) -> Iterator[None]:
    """Give stateful layers their states back where the block raises, be it for Ctrl-C."""
    before = [(layer, layer.states) for layer in keepers]
    try:
        yield
    except BaseException:
        for layer, states in before:
            give_back(layer, states)
        raise
