"""The order of a graph's layers where masks travel in it.

Keras 3 makes operations of what a mask is made by, and an edge of each mask that a layer is called with. So they move
layers in its order, and with them weights and what files count. Here they are nodes beside a copy of the graph.
Next: _graph.py, whose `map_graph` orders it.
"""

from __future__ import annotations

from typing import Any

from lstmfast._graph import KerasTensor, Node, flatten, map_graph, map_tree
from lstmfast.layers.activation import Softmax
from lstmfast.layers.masking import Embedding, Masking
from lstmfast.layers.merging import Concatenate, Dot, Merge
from lstmfast.layers.normalization import BatchNormalization
from lstmfast.layers.wrappers import TimeDistributed

_Mask = Any  # the tensor that stands for a mask, or None
# Layers whose `call` takes a mask in Keras, and here only where it is of use.
_TAKING = (BatchNormalization, Softmax, TimeDistributed)


class _Shadow:
    """A layer, or the place of an operation that Keras has and this graph has not, in the copy."""

    def __init__(self, name: str, layer: Any = None) -> None:
        self.name = name
        self.layer = layer
        self.nodes: list[Node] = []


class _Copy:
    """The copy of a graph.

    Parameters
    ----------
    inputs : list of KerasTensor
        Of the graph.
    nodes : list of Node
        Of the graph, each after those it depends on.
    """

    def __init__(self, inputs: list[KerasTensor], nodes: list[Node]) -> None:
        self._shadows: dict[int, _Shadow] = {}
        self._count = 0
        self.tensors: dict[int, KerasTensor] = {}
        self._masks: dict[int, _Mask] = {}
        self.joining: list[Any] = []  # the layers that put masks behind each other
        for tensor in inputs:
            self._call(self._of(tensor.history[0]), (), {}, [tensor])  # type: ignore[index]
        for node in nodes:
            self._add(node)

    def _of(self, layer: Any) -> _Shadow:
        return self._shadows.setdefault(id(layer), _Shadow(layer.name, layer))

    def _call(self, shadow: _Shadow, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[KerasTensor]) -> None:
        made = [KerasTensor(tensor.shape, tensor.dtype, tensor.name) for tensor in outputs]
        Node(shadow, args, kwargs, made)
        self.tensors.update(zip(map(id, outputs), made, strict=True))

    def _operation(self, *operands: KerasTensor) -> KerasTensor:
        self._count += 1
        result = KerasTensor((), "bool", "mask")
        Node(_Shadow(f"mask operation {self._count}"), (list(operands),), {}, [result])
        return result

    def _add(self, node: Node) -> None:
        layer = node.layer

        def copied(leaf: Any) -> Any:
            return self.tensors.get(id(leaf), leaf) if isinstance(leaf, KerasTensor) else leaf

        args, kwargs = map_tree(copied, node.args), map_tree(copied, node.kwargs)
        inputs = [leaf for leaf in flatten(node.args[0]) if isinstance(leaf, KerasTensor)]
        masks = [self._masks.get(id(tensor)) for tensor in inputs]
        others = any(isinstance(leaf, KerasTensor) for leaf in flatten(node.kwargs))
        several = isinstance(node.args[0], (list, tuple, dict))
        if any(mask is not None for mask in masks) and node.kwargs.get("mask") is None:
            if layer.masks_each_argument:
                kwargs |= {f"{name}_mask": mask for name, mask in zip(("query", "value", "key"), masks, strict=False)}
            elif takes_mask(layer) and not others:
                kwargs["mask"] = masks if several else masks[0]
        explicit = copied(node.kwargs.get("mask"))
        if explicit is not None:
            masks = flatten(explicit)
        self._call(self._of(layer), args, kwargs, node.outputs)
        found = self._made(layer, [copied(tensor) for tensor in inputs], masks, several)
        found = found if isinstance(found, list) else [found] * len(node.outputs)
        self._masks.update(zip(map(id, node.outputs), found, strict=False))

    def _made(self, layer: Any, inputs: list[KerasTensor], masks: list[_Mask], several: bool) -> Any:
        """The mask of a layer's outputs, or a list of those of each."""
        if isinstance(layer, Embedding):
            return self._operation(inputs[0]) if layer.mask_zero else None
        if isinstance(layer, Masking):
            return self._operation(self._operation(inputs[0]))
        if all(mask is None for mask in masks) or not layer.supports_masking or layer.makes_mask:
            return None
        if isinstance(layer, Concatenate):
            self.joining.append(layer)
            parts = []
            for tensor, mask in zip(inputs, masks, strict=True):
                if mask is None:
                    parts.append(self._operation(tensor))
                else:
                    parts.append(self._operation(self._operation(mask), self._operation(tensor)))
            return self._operation(self._operation(*parts))
        if isinstance(layer, Merge):
            if isinstance(layer, Dot) or any(mask is None for mask in masks):
                return None
            joined = masks[0]
            for mask in masks[1:]:
                joined = self._operation(joined, mask)
            return joined
        try:
            found = layer.compute_mask(None, masks if several else masks[0])
        except (TypeError, ValueError, AttributeError):  # of a mask that is worked out from values
            return None
        return found if isinstance(found, (list, KerasTensor)) else None


def takes_mask(layer: Any) -> bool:
    """Whether Keras calls a layer, or those of a class, with a mask."""
    kind = layer if isinstance(layer, type) else type(layer)
    return issubclass(kind, _TAKING) or bool(layer.uses_mask)


def joins_of_masks(inputs: list[KerasTensor], nodes: list[Node]) -> list[Any]:
    """The layers of a graph that put masks behind each other, by an operation of their name in Keras."""
    return _Copy(inputs, nodes).joining if _has_masks(inputs, nodes) else []


def _has_masks(inputs: list[KerasTensor], nodes: list[Node]) -> bool:
    return any(node.layer.makes_mask for node in nodes) and all(tensor.history for tensor in inputs)


def in_keras_order(inputs: list[KerasTensor], outputs: list[KerasTensor], nodes: list[Node]) -> list[Any] | None:
    """The layers of a graph in Keras 3's order; None where no layer makes a mask, which leaves that of `map_graph`."""
    if not _has_masks(inputs, nodes):
        return None
    copy = _Copy(inputs, nodes)
    _, shadows = map_graph([copy.tensors[id(one)] for one in inputs], [copy.tensors[id(one)] for one in outputs])
    return [shadow.layer for shadow in shadows if shadow.layer is not None]
