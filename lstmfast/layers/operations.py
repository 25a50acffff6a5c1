"""Operations that a functional graph holds beside its layers: `keras.ops` calls, and the masks that Keras 3 freezes.

Each is a function of arrays and constants by the class name that Keras gives it in a config.
Next: base.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast._graph import KerasTensor, Node, Shape, map_tree
from lstmfast.layers.base import Array, Layer, Run, register

OPERATIONS: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {}


@register()
class Operation(Layer):
    """One operation of a graph.

    Parameters
    ----------
    operation : str
        Keras's class name of it.
    options : dict
        What the config says beside the name, such as ``axis``.
    """

    casts_input = False
    supports_masking = False
    config_keys = ("operation", "options")

    def __init__(self, operation: str, options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.operation = operation
        self.options = dict(options or {})

    def takes_list(self) -> bool:
        return True

    def check_shape(self, shape: Any) -> None:
        """Any will do; NumPy says what does not fit."""

    def build(self, input_shape: Any) -> None:
        self.built = True

    def bind_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The call's arguments as one list of tensors and constants, in the function's order."""
        names, _ = OPERATIONS[self.operation]
        bound = dict(zip(names, args, strict=False))
        bound.update({name: value for name, value in kwargs.items() if name in names})
        if len(args) > len(names) or names[0] not in bound:
            raise ValueError(f"Operation {self.operation} was called with {len(args)} arguments.")
        values = []
        for name in names:
            if name not in bound:
                break
            values.append(bound[name])
        return values, {}

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        shape, dtype = self._infer(inputs)
        output = KerasTensor(shape, dtype)
        Node(self, (inputs,), {}, output)
        return output

    def _infer(self, inputs: Any) -> tuple[Shape, str]:
        """Shape and type of the output, found by running on zeros of two sizes where a size may vary."""
        run = self.freeze(())

        def probe(size: int) -> Array:
            def fill(leaf: Any) -> Any:
                if not isinstance(leaf, KerasTensor):
                    return leaf
                dtype = "float32" if leaf.dtype in ("float16", "bfloat16") else leaf.dtype
                return np.zeros([size if extent is None else extent for extent in leaf.shape], dtype)

            return np.asarray(run(map_tree(fill, inputs)))

        first, second = probe(2), probe(3)
        if first.ndim != second.ndim:
            raise ValueError(f"Operation {self.operation} gives a rank that depends on its input's size.")
        shape = tuple(a if a == b else None for a, b in zip(first.shape, second.shape, strict=True))
        return shape, first.dtype.name

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        _, function = OPERATIONS[self.operation]
        options = self.options
        return lambda values: np.asarray(function(*values, **options))

    def call_args(self, node: Node) -> list[Any]:
        return list(node.args[0])


def _define(name: str, arguments: str, function: Callable[..., Any]) -> None:
    OPERATIONS[name] = (tuple(arguments.split()), function)


def _same(value: Any, other: Any) -> Any:
    """A constant in the type of the array beside it, as Keras promotes it."""
    if isinstance(other, np.ndarray) and not isinstance(value, np.ndarray) and other.dtype.kind == "f":
        return other.dtype.type(value)
    return value


def _binary(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda x1, x2: function(_same(x1, x2), _same(x2, x1))


for _name, _function in {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Divide": np.divide,
    "TrueDivide": np.true_divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
}.items():
    _define(_name, "x1 x2", _binary(_function))
_define("LogicalNot", "x", np.logical_not)
_define("Negative", "x", np.negative)
_define("Absolute", "x", np.abs)
_define("Any", "x", lambda x, axis=None, keepdims=False: np.any(x, axis=_axis(axis), keepdims=keepdims))
_define("All", "x", lambda x, axis=None, keepdims=False: np.all(x, axis=_axis(axis), keepdims=keepdims))
_define("ExpandDims", "x", lambda x, axis=-1: np.expand_dims(x, _axis(axis)))
_define("Squeeze", "x", lambda x, axis=None: np.squeeze(x, _axis(axis)))
_define("Cast", "x", lambda x, dtype="float32": np.asarray(x).astype("float32" if dtype == "bfloat16" else dtype))
_define("OnesLike", "x dtype", lambda x, dtype=None: np.ones_like(x, dtype=dtype))
_define("ZerosLike", "x dtype", lambda x, dtype=None: np.zeros_like(x, dtype=dtype))
_define("Concatenate", "xs", lambda xs, axis=0: np.concatenate(xs, axis=axis))
_define("Stack", "xs", lambda xs, axis=0: np.stack(xs, axis=axis))
_define("Flip", "x", lambda x, axis=None: np.flip(x, _axis(axis)).copy())
_define("GetItem", "x key", lambda x, key: np.ascontiguousarray(x[_key(key)]))
_define("Copy", "x", np.array)
_define("BroadcastTo", "x", lambda x, shape=None: np.broadcast_to(x, shape).copy())


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _axis(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis
