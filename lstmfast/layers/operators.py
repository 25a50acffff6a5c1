"""What ``x[:, -1]``, ``a + b`` and their like mean for symbolic tensors: a call of the operation that Keras records.

Next: operations.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lstmfast._graph import KerasTensor, snake_case, unique_name
from lstmfast.layers.operations import Operation

_OF_ONE = {"abs": "Absolute", "invert": "LogicalNot", "neg": "Negative"}
_OF_TWO = {
    "add": "Add",
    "and": "LogicalAnd",
    "floordiv": "FloorDivide",
    "matmul": "Matmul",
    "mod": "Mod",
    "mul": "Multiply",
    "or": "LogicalOr",
    "pow": "Power",
    "sub": "Subtract",
    "truediv": "TrueDivide",
    "xor": "LogicalXor",
}
# Python swaps a comparison by the other one; `==` is by identity, as in Keras.
_NEVER_SWAPPED = {
    "ge": "GreaterEqual",
    "getitem": "GetItem",
    "gt": "Greater",
    "le": "LessEqual",
    "lt": "Less",
    "ne": "NotEqual",
}


def _record(operation: str, *values: Any) -> Any:
    layer = Operation(operation, name=unique_name(snake_case(operation)))
    # the key of an item is a list in a config
    return layer._record([list(value) if isinstance(value, tuple) else value for value in values], {})


def _method(operation: str, swapped: bool = False) -> Callable[..., Any]:
    def method(self: KerasTensor, *others: Any) -> Any:
        return _record(operation, *others, self) if swapped else _record(operation, self, *others)

    return method


for symbol, operation in (_OF_ONE | _OF_TWO | _NEVER_SWAPPED).items():
    setattr(KerasTensor, f"__{symbol}__", _method(operation))
for symbol, operation in _OF_TWO.items():
    setattr(KerasTensor, f"__r{symbol}__", _method(operation, swapped=True))
