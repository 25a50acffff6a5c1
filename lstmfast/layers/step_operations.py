"""Operations of a graph one step at a time: those of which step t depends on step t of their tensors alone.

Between the layers of a stream a value has no time axis; an operation, whose arguments count axes, gets it back with the
size 1. Keras 3 makes the masks of a functional model by such operations.
Next: operations.py; ../streaming.py.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from lstmfast._graph import KerasTensor, Node, contains_symbolic, flatten, map_tree
from lstmfast.layers.base import Run
from lstmfast.layers.operations import EQUIVALENTS, OPERATIONS, Operation, axes_of, slice_key

# By Keras 3's name, or TensorFlow's where that has no equal: operations along axes that the call names, and how many of
# these are of the output alone.
_ALONG = {
    **dict.fromkeys(
        (
            "All Amax Amin Any Argmax Argmin Argsort Concatenate CountNonzero Cumprod Cumsum Diff Flip Glu LayerNorm "
            "LogSoftmax Logsumexp Max Mean Median Min Moments Norm Normalize Prod RMSNorm Softmax Sort Sparsemax Split "
            "Squeeze Std Sum Unstack Var compat.v1.norm linalg.l2_normalize linalg.norm math.l2_normalize "
            "nn.l2_normalize norm"
        ).split(),
        0,
    ),
    **dict.fromkeys("ExpandDims OneHot Stack one_hot".split(), 1),
}


def stage_of_operation(operation: Operation, run: Run, node: Node) -> Run:
    """``run`` of a call of an operation for one step, whose arrays have no time axis.

    Raises
    ------
    ValueError
        If its output at a step depends on other steps, or it is not known not to.
    """
    call = node.args[0]
    if not _keeps_steps(operation, call):
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


def _keeps_steps(operation: Operation, call: list[Any]) -> bool:
    """Whether step t of the output depends on step t of the tensors alone, and its axis 1 is time as theirs is."""
    names, function = OPERATIONS[operation.operation]
    options = operation.options
    ranks = {len(leaf.shape) for leaf in flatten(call) if isinstance(leaf, KerasTensor)}
    if len(ranks) != 1 or contains_symbolic(options.values()):
        return False
    (ndim,) = ranks
    constants: list[Any] = list(options.values())
    for value in call:
        if not contains_symbolic([value]):
            constants.append(value)
        elif not all(isinstance(leaf, KerasTensor) for leaf in flatten(value)):
            return False  # an index, or a list, of tensors and constants
    if getattr(function, "elementwise", False):
        return all(_is_for_any_step(value, ndim) for value in constants)
    arguments = {**dict(zip(names, call, strict=False)), **options}
    if operation.operation == "GetItem":
        return _is_behind_time(arguments["key"], ndim)
    if operation.operation == "__operators__.getitem":
        return _is_behind_time(slice_key(arguments["slice_spec"]), ndim)
    keras_3, _, _ = EQUIVALENTS.get(operation.operation, (operation.operation, (), {}))
    if keras_3 not in _ALONG or not all(_is_for_any_step(value, ndim) for value in constants):
        return False
    name = "axes" if "axes" in arguments else "axis"
    axes = axes_of(arguments.get(name, inspect.signature(function).parameters[name].default))
    axes = axes if isinstance(axes, tuple) else (axes,)
    of_output = ndim + _ALONG[keras_3] * len(axes)
    return all(isinstance(axis, int) and (axis + of_output if axis < 0 else axis) >= 2 for axis in axes)


def _is_for_any_step(value: Any, ndim: int) -> bool:
    """Whether a constant is the same for every step where it meets tensors of ``ndim`` axes."""
    try:
        shape = np.shape(value)
    except ValueError:
        return False
    return len(shape) < ndim - 1 or (len(shape) <= ndim and shape[1 - ndim] == 1)


def _is_behind_time(key: Any, ndim: int) -> bool:
    """Whether an index takes all rows and steps, and its parts are of the axes behind them."""
    parts = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    if not all(part is None or part is ... or isinstance(part, (int, slice)) for part in parts):
        return False
    if ... not in parts:
        parts = (*parts, ...)
    place = parts.index(...)
    rest = ndim - sum(part is not None and part is not ... for part in parts)
    whole = slice(None)
    return (*parts[:place], *[whole] * rest, *parts[place + 1 :])[:2] == (whole, whole)
