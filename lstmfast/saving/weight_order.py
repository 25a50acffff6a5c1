"""The order in which the Keras versions list the weights of a layer and of those inside it.

Keras 3 lists them layer by layer. Keras 2 has the trainable ones of a layer before the others, and puts the two in
order once for each layer that holds others, but for a model, which takes them attribute by attribute, and its own, as
a class of a user's may have, last. What a layer's ``trainable`` says decides which are which.
Next: assigning.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lstmfast.layers.base import Layer
from lstmfast.models import Model

_Place = tuple[Layer, int]  # a layer and the index of its weight


def saved_order(layer: Layer, major: int) -> list[_Place]:
    """The weights of one entry of ``layer_names`` in a legacy file: trainable ones, then the others."""
    if major < 3:
        return _each_once((*_trainable(layer), *_others(layer)))
    every = [(owner, index) for owner in layer.owners() for index in range(len(owner._specs))]
    if not layer.trainable:
        return every
    return sorted(every, key=lambda place: not (place[0].trainable and place[0]._specs[place[1]].trainable))


def keras_2_order(layer: Layer) -> list[_Place]:
    """The weights as ``get_weights`` of Keras 2 gives them."""
    return _each_once(_all(layer))


def inside(layer: Layer) -> list[Layer]:
    """The layers in one, in the order of Keras 2."""
    parts = layer.parts_of_keras_2()
    layers = (inner for part in parts for inner in (part if isinstance(part, list) else [part]))
    return list({id(inner): inner for inner in layers}.values())


def _each_once(places: Iterable[_Place]) -> list[_Place]:
    return list({(id(owner), index): (owner, index) for owner, index in places}.values())


def _own(layer: Layer, trainable: bool) -> Iterator[_Place]:
    return ((layer, index) for index, spec in enumerate(layer._specs) if spec.trainable is trainable)


def _trainable(layer: Layer) -> Iterator[_Place]:
    if layer.trainable:
        own = _own(layer, True)
        if not isinstance(layer, Model):
            yield from own
        for inner in inside(layer):
            yield from _trainable(inner)
        yield from own


def _others(layer: Layer) -> Iterator[_Place]:
    layers = inside(layer)
    own = _own(layer, False)
    if isinstance(layer, Model) and not layer.trainable:
        for inner in layers:
            yield from _trainable(inner)
    if not layer.trainable:
        yield from _own(layer, True)
    if not isinstance(layer, Model):
        yield from own
    for inner in layers:
        yield from _others(inner) if layer.trainable or isinstance(layer, Model) else _all(inner)
    yield from own


def _all(layer: Layer) -> Iterator[_Place]:
    if isinstance(layer, Model):
        for part in layer.parts_of_keras_2():
            if isinstance(part, list):
                yield from (place for inner in part for place in _trainable(inner))
                yield from (place for inner in part for place in _others(inner))
            else:
                yield from _all(part)
        yield from _own(layer, True)
        yield from _own(layer, False)
    else:
        yield from _trainable(layer)
        yield from _others(layer)
