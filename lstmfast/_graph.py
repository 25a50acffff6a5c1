"""Symbolic tensors and the calls that made them: what the functional API records and the planner reads.

Next: layers/base.py (records), layers/operators.py (what `a + b` records), _plan.py (reads).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

Shape = tuple[Any, ...]  # of int or None

_counters: dict[str, Iterator[int]] = {}


def snake_case(name: str) -> str:
    """Keras's snake_case of a class name: ConvLSTM2D -> conv_lstm2d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def unique_name(prefix: str) -> str:
    """``prefix``, then ``prefix_1``, ``prefix_2``, … as Keras numbers its objects in a process."""
    count = next(_counters.setdefault(prefix, itertools.count()))
    return f"{prefix}_{count}" if count else prefix


def reset_names() -> None:
    """Start the automatic names over (Keras's ``clear_session``)."""
    _counters.clear()


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """``tree`` with its leaves replaced; lists, tuples and dicts are its branches."""
    if isinstance(tree, dict):
        mapped = {key: map_tree(function, tree[key]) for key in sorted(tree)}  # in the order of `flatten`
        return {key: mapped[key] for key in tree}
    if isinstance(tree, (list, tuple)):
        return of_kind(tree, [map_tree(function, value) for value in tree])
    return function(tree)


def of_kind(sequence: Any, values: list[Any]) -> Any:
    """A list, tuple or named tuple as the one given, of other values."""
    return type(sequence)(*values) if hasattr(sequence, "_fields") else type(sequence)(values)


def copy_tree(tree: Any) -> Any:
    """``tree`` in branches of its own: a caller may go on to fill a list that a call or a model was given."""
    return map_tree(lambda leaf: leaf, tree)


def flatten(tree: Any) -> list[Any]:
    """The leaves of ``tree`` in order; dicts by sorted key, as in Keras."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in flatten(tree[key])]
    if isinstance(tree, (list, tuple)):
        return [leaf for value in tree for leaf in flatten(value)]
    return [tree]


def is_shape(value: Any) -> bool:
    if not isinstance(value, (tuple, list)):
        return hasattr(value, "as_list")  # TensorFlow's
    return not any(isinstance(size, (tuple, list, dict)) or hasattr(size, "as_list") for size in value)


def common_shape(one: Shape, other: Shape) -> Shape:
    """What two shapes of one rank agree on, None where they differ."""
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))


def map_shapes(function: Callable[[Shape], Any], shapes: Any) -> Any:
    """As `map_tree`, where the leaves are shapes."""
    if is_shape(shapes):
        return function(tuple(shapes))
    if isinstance(shapes, dict):
        mapped = {key: map_shapes(function, shapes[key]) for key in sorted(shapes)}
        return {key: mapped[key] for key in shapes}
    if not isinstance(shapes, (list, tuple)):
        raise TypeError(f"Expected a shape, or a list or dict of them. Received: {shapes!r}")
    return of_kind(shapes, [map_shapes(function, value) for value in shapes])


def flat_shapes(shapes: Any) -> list[Shape]:
    """The shapes in a structure of them, in the order of `flatten`."""
    flat: list[Shape] = []
    map_shapes(flat.append, shapes)
    return flat


class KerasTensor:
    """The place of a value in a model: its shape, its dtype, and which call of which layer makes it.

    An operation runs on batches of two sizes to find the shape of its output. ``extents`` are the output's shapes for
    these, and ``samples`` its values, where they are made of shapes alone.
    """

    __slots__ = ("dtype", "extents", "history", "name", "samples", "shape")

    def __init__(self, shape: Shape, dtype: str = "float32", name: str | None = None) -> None:
        self.shape = tuple(shape)
        self.dtype = dtype
        self.name = name or unique_name("keras_tensor")
        self.extents: tuple[Shape, Shape] | None = None
        self.samples: tuple[Any, Any] | None = None
        self.history: tuple[Any, int, int] | None = None  # (layer, index of its node, index among its outputs)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    # NumPy leaves an operator between an array and a tensor to the tensor
    __array_ufunc__ = None

    if TYPE_CHECKING:  # layers/operators.py says what these do

        def _of_one(self) -> KerasTensor: ...
        def _of_two(self, other: Any) -> KerasTensor: ...

        __abs__ = __invert__ = __neg__ = _of_one
        __add__ = __floordiv__ = __matmul__ = __mod__ = __mul__ = __pow__ = __sub__ = __truediv__ = _of_two
        __radd__ = __rfloordiv__ = __rmatmul__ = __rmod__ = __rmul__ = __rpow__ = __rsub__ = __rtruediv__ = _of_two
        __and__ = __or__ = __xor__ = __rand__ = __ror__ = __rxor__ = _of_two
        __ge__ = __gt__ = __le__ = __lt__ = __getitem__ = _of_two

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __bool__(self) -> bool:
        raise TypeError("A symbolic KerasTensor has no truth value.")

    def __iter__(self) -> Any:
        raise TypeError("Iterating over a symbolic KerasTensor is not supported.")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("A KerasTensor is symbolic: it cannot be converted to a NumPy array.")


class Node:
    """One call of a layer on symbolic tensors."""

    __slots__ = ("args", "gives_one", "inputs", "kwargs", "layer", "outputs")

    def __init__(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> None:
        self.layer = layer
        self.args, self.kwargs = copy_tree((args, kwargs))
        self.outputs = flatten(outputs)
        self.gives_one = isinstance(outputs, KerasTensor)  # and not a list or dict with it
        self.inputs = [leaf for leaf in flatten([args, kwargs]) if isinstance(leaf, KerasTensor)]
        index = len(layer.nodes)
        layer.nodes.append(self)
        for position, tensor in enumerate(self.outputs):
            tensor.history = (layer, index, position)


def contains_symbolic(values: Any) -> bool:
    for value in values:
        if isinstance(value, KerasTensor):
            return True
        if isinstance(value, (list, tuple)) and contains_symbolic(value):
            return True
        if isinstance(value, dict) and contains_symbolic(value.values()):
            return True
    return False


def depths(nodes: list[Node]) -> tuple[dict[int, int], dict[int, int]]:
    """How far from the outputs Keras counts nodes, and layers, each by identity; ``nodes`` come after their inputs.

    Keras runs the nodes from the deepest on, those of one depth in the order of this dict.
    """
    node_depths: dict[int, int] = {}
    layer_depths: dict[int, int] = {}
    known = {id(node) for node in nodes}
    for node in reversed(nodes):
        depth = max(node_depths.get(id(node), 0), layer_depths.get(id(node.layer), 0))
        node_depths[id(node)] = layer_depths[id(node.layer)] = depth
        for tensor in node.inputs:
            source = tensor.history[0].nodes[tensor.history[1]] if tensor.history else None
            if source is not None and id(source) in known:
                node_depths[id(source)] = max(depth + 1, node_depths.get(id(source), 0))
    return node_depths, layer_depths


def map_graph(inputs: list[KerasTensor], outputs: list[KerasTensor]) -> tuple[list[Node], list[Any]]:
    """The nodes that lead from inputs to outputs, each after those it depends on, and their layers in Keras's order.

    Raises
    ------
    ValueError
        If an output depends on a tensor that no input leads to, or two layers share a name.
    """
    given = {id(tensor) for tensor in inputs}
    finished: dict[int, Node] = {}
    met: dict[int, int] = {}  # id(layer) -> when the search first met it
    layers: dict[int, Any] = {}
    for output in outputs:
        stack: list[tuple[Node, Iterator[KerasTensor]]] = []
        pending = iter([output])
        while True:
            tensor = next(pending, None)
            if tensor is None:
                if not stack:
                    break
                node, _ = stack.pop()
                finished[id(node)] = node
                pending = stack[-1][1] if stack else pending
                continue
            if tensor.history is None:
                raise ValueError(f"{tensor!r} was not made by a layer.")
            layer, index, _ = tensor.history
            node = layer.nodes[index]
            if id(node) in finished or (id(tensor) in given and node.inputs):
                continue
            if not node.inputs and id(tensor) not in given:
                raise ValueError(
                    f"Graph disconnected: the outputs need {tensor!r} of layer '{layer.name}', which is not an input."
                )
            met.setdefault(id(layer), len(met))
            layers[id(layer)] = layer
            pending = iter(node.inputs)
            stack.append((node, pending))
    order = list(finished.values())
    _, layer_depths = depths(order)
    for tensor in inputs:  # inputs that no output needs
        layer = tensor.history[0] if tensor.history else None
        if layer is not None and id(layer) not in layers and not layer.nodes[tensor.history[1]].inputs:  # type: ignore[index]
            layers[id(layer)], met[id(layer)], layer_depths[id(layer)] = layer, -1, 0
    ordered = sorted(layers.values(), key=lambda layer: (-layer_depths[id(layer)], met[id(layer)]))
    names = [layer.name for layer in ordered]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f'The name "{twice}" is used {names.count(twice)} times in the model. All layer names should be unique.'
        )
    return [node for node in order if node.inputs], ordered
