"""Operations of a graph by their axes: in which calls a row, or a step, depends on that row or step alone.

Where rows are so, they may be run in any number at once; where steps are so too, a stream runs them one by one. Between
the layers of a stream a value has no time axis; an operation, whose arguments count axes, gets it back with the size 1.
Keras 3 makes the masks of a functional model by such operations.
Next: operations.py; ../streaming.py.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lstmfast._graph import KerasTensor, Node, contains_symbolic, flatten, map_tree
from lstmfast.layers.base import Run
from lstmfast.layers.operations import EQUIVALENTS, OPERATIONS, SHAPES, Operation, axes_of, slice_key

# By Keras 3's name, or TensorFlow's where that has no equal: operations along axes that the call names, and how many of
# these are of the output alone.
_ALONG = {
    **dict.fromkeys(
        (
            "All Amax Amin Any Argmax Argmin Argsort Average Concatenate CountNonzero Cumprod Cumsum Diff Flip Glu "
            "LayerNorm LogSoftmax Logsumexp Max Mean Median Min Moments Norm Normalize Prod RMSNorm Repeat Roll "
            "Softmax Sort Sparsemax Split Squeeze Std Sum TakeAlongAxis Unstack Var argmax argmin compat.v1.norm "
            "linalg.l2_normalize linalg.norm math.argmax math.argmin math.l2_normalize nn.l2_normalize norm sort split"
        ).split(),
        0,
    ),
    **dict.fromkeys("ExpandDims OneHot Stack one_hot".split(), 1),
}


def _several(axis: Any) -> tuple[Any, ...]:
    axes = axes_of(axis)
    return axes if isinstance(axes, tuple) else (axes,)


def _transposed(axes: Any, ndim: int) -> list[int]:
    order = range(ndim)[::-1] if axes is None else [axis % ndim for axis in _several(axes)]
    return [place for place, axis in enumerate(order) if place != axis]


def _padded(widths: Any, ndim: int) -> list[int]:
    return [place for place, own in enumerate(np.broadcast_to(widths, (ndim, 2))) if own.any()]


def _tiled(counts: Any, ndim: int) -> list[int]:
    counts = [*[1] * (ndim - np.size(counts)), *np.ravel(counts)]
    return [0] if len(counts) > ndim else [place for place, count in enumerate(counts) if count != 1]


def _cut(starts: Any, sizes: Any) -> list[int]:
    pairs = zip(np.ravel(starts), np.ravel(sizes), strict=True)
    return [place for place, (start, size) in enumerate(pairs) if start != 0 or size != -1]


# Those that say otherwise along which axes they are, given their arguments and the number of axes of their tensors.
_Axes = Callable[[dict[str, Any], int], Iterable[Any]]
_OTHERWISE: dict[str, _Axes] = {
    **dict.fromkeys("AveragePool MaxPool keras.backend.batch_flatten".split(), lambda given, ndim: range(1, ndim)),
    **dict.fromkeys("Tril Triu linalg.band_part".split(), lambda given, ndim: (-2, -1)),
    **dict.fromkeys("TopK math.top_k nn.bias_add nn.top_k".split(), lambda given, ndim: (-1,)),
    **dict.fromkeys("Diagonal Swapaxes".split(), lambda given, ndim: (given.get("axis1", 0), given.get("axis2", 1))),
    **dict.fromkeys("Hstack MultiHot".split(), lambda given, ndim: (min(1, ndim - 1),)),
    "Moveaxis": lambda given, ndim: (*_several(given["source"]), *_several(given["destination"])),
    "Pad": lambda given, ndim: _padded(given["pad_width"], ndim),
    **dict.fromkeys("compat.v1.pad pad".split(), lambda given, ndim: _padded(given["paddings"], ndim)),
    "Slice": lambda given, ndim: _cut(given["start_indices"], given["shape"]),
    "slice": lambda given, ndim: _cut(given["begin"], given["size"]),
    "Tile": lambda given, ndim: _tiled(given["repeats"], ndim),
    "Transpose": lambda given, ndim: _transposed(given.get("axes"), ndim),
}
# Those that make values of sizes alone.
_OF_SIZES = ("fill", "ones", "zeros")
# The axes of `keeps_places`.
ROWS, TIME = 0, 1


def stage_of_operation(operation: Operation, run: Run, node: Node) -> Run:
    """``run`` of a call of an operation for one step, whose arrays have no time axis.

    Raises
    ------
    ValueError
        If its output at a step depends on other steps, or it is not known not to.
    """
    call = node.args[0]
    if not keeps_places(operation, node, TIME):
        raise ValueError(
            f"Operation {operation.operation} ('{operation.name}') cannot be streamed: it is none of those whose "
            "output at a step depends on that step alone."
        )

    def stage(values: Any) -> Any:
        return map_tree(lambda y: y[:, 0], run(_with_time(call, values)))

    return stage


def _with_time(recorded: Any, values: Any) -> Any:
    """``values`` with a time axis wherever a tensor was recorded; the rest are constants."""
    if isinstance(recorded, KerasTensor):
        return values[:, None]
    if isinstance(recorded, (list, tuple)):
        return [_with_time(own, value) for own, value in zip(recorded, values, strict=True)]
    return values


def keeps_places(operation: Operation, node: Node, last: int) -> bool:
    """Whether what stands at a place along an axis of a call's outputs depends on that place of its tensors alone.

    So for all axes up to ``last``, which is `ROWS` or `TIME`. False also where that is not known.
    """
    call, options = node.args[0], operation.options
    names, function = OPERATIONS[operation.operation]
    name, _, renamed = EQUIVALENTS.get(operation.operation, (operation.operation, (), {}))
    given = {**dict(zip(names, call, strict=False)), **options}
    given.update({new: given[old] for old, new in renamed.items() if old in given})
    if last == ROWS and (_is_of_sizes(name, node) or _reshapes_rows(name, node) or _contracts_rows(name, given, call)):
        return True
    ranks = {len(tensor.shape) for tensor in node.inputs}
    if len(ranks) != 1 or contains_symbolic(options.values()):
        return False
    (ndim,) = ranks
    constants: list[Any] = list(options.values())
    for value in call:
        if not contains_symbolic([value]):
            constants.append(value)
        elif not all(isinstance(leaf, KerasTensor) for leaf in flatten(value)):
            return False  # an index, or a list, of tensors and constants
    if name == "GetItem":
        key = given["slice_spec"] if "slice_spec" in given else given["key"]
        return _is_behind(last, slice_key(key) if "slice_spec" in given else key, ndim)
    if name in _OTHERWISE:
        return _are_behind(last, _OTHERWISE[name](given, ndim), ndim)
    if name == "Take" and not given.get("batch_dims"):
        return _takes_places(last, call[0], given, ndim)
    if not all(_is_for_any_place(last, value, ndim) for value in constants):
        return False
    if getattr(function, "elementwise", False):
        return True
    if name not in _ALONG:
        return False
    argument = "axes" if "axes" in given else "axis"
    axes = _several(given.get(argument, inspect.signature(function).parameters[argument].default))
    return _are_behind(last, axes, ndim + _ALONG[name] * len(axes))


def _are_behind(last: int, axes: Iterable[Any], ndim: int) -> bool:
    return all(isinstance(axis, int) and (axis + ndim if axis < 0 else axis) > last for axis in axes)


def _is_of_sizes(name: str, node: Node) -> bool:
    """Whether the call gives sizes of its tensors, or makes new values for such sizes."""
    if name in SHAPES or name in _OF_SIZES:
        return True
    small = all(len(tensor.shape) < 2 for tensor in [*node.inputs, *node.outputs])
    return small and all(tensor.samples is not None for tensor in node.inputs)


def _reshapes_rows(name: str, node: Node) -> bool:
    """Whether the call gives each row a shape of its own."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if not before or not after or before[0] != after[0]:
        return False
    if name in ("BroadcastTo", "broadcast_to"):
        return before[0] is None and len(before) == len(after)
    return name == "Reshape" and None not in (*before[1:], *after[1:]) and math.prod(before[1:]) == math.prod(after[1:])


def _takes_places(last: int, table: Any, given: dict[str, Any], ndim: int) -> bool:
    axis, indices = given.get("axis"), given["indices"]
    if contains_symbolic([indices]):  # each looks up its own in a table
        return not contains_symbolic([table]) and axis in (None, 0)
    return _are_behind(last, (axis,), ndim)


def _contracts_rows(name: str, given: dict[str, Any], call: list[Any]) -> bool:
    """Whether the call is a product of each row with the same row of another tensor, or with a constant."""
    if name == "Einsum":
        return _einsum_of_rows(str(given["subscripts"]), call)
    if name not in ("Dot", "Inner", "Matmul", "Tensordot"):
        return False
    (a, b), (left, right) = call[:2], (np.ndim(value) for value in call[:2])
    if isinstance(a, KerasTensor) and not isinstance(b, KerasTensor):
        if name == "Tensordot":
            axes = given.get("axes", 2)
            summed = range(left - axes, left) if isinstance(axes, int) else [axis % left for axis in np.ravel(axes[0])]
            return 0 not in summed
        turned = left == 2 and any(given.get(key) for key in ("transpose_a", "adjoint_a"))
        return left > 1 and not turned and (name != "Matmul" or right < 3)
    return name == "Matmul" and right > 2 and (left == right if isinstance(a, KerasTensor) else left < 3)


def _einsum_of_rows(subscripts: str, call: list[Any]) -> bool:
    left, _, output = subscripts.replace(" ", "").partition("->")
    row = output[:3] if output.startswith("...") else output[:1]
    dots = set()
    for term, value in zip(left.split(","), call, strict=True):
        if isinstance(value, KerasTensor):
            dots.add(len(value.shape) - len(term.replace("...", "")) if row == "..." else 1)
        if not row or term.startswith(row) != isinstance(value, KerasTensor) or row in term[len(row) :]:
            return False
    return len(dots) == 1 and min(dots) > 0


def _is_for_any_place(last: int, value: Any, ndim: int) -> bool:
    """Whether a constant is the same for every row or step where it meets tensors of ``ndim`` axes."""
    try:
        shape = np.shape(value)
    except ValueError:
        return False
    return len(shape) < ndim - last or (len(shape) <= ndim and shape[last - ndim] == 1)


def _is_behind(last: int, key: Any, ndim: int) -> bool:
    """Whether an index takes the axes up to ``last`` whole, and its parts are of those behind."""
    parts = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    if not all(part is None or part is ... or isinstance(part, (int, slice)) for part in parts):
        return False
    if ... not in parts:
        parts = (*parts, ...)
    place = parts.index(...)
    rest = ndim - sum(part is not None and part is not ... for part in parts)
    whole = slice(None)
    taken = (*parts[:place], *[whole] * rest, *parts[place + 1 :])
    return taken[: last + 1] == (whole,) * (last + 1)
