"""Operations of tf.keras 2, which records TensorFlow's functions under their own names, with all arguments at the call.

Next: operations.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast._pieces import contiguous, copied, filled, joined, spread, stacked, update
from lstmfast.layers.base import Array
from lstmfast.layers.contractions import alike, as_float, matmul_any, tensordot
from lstmfast.layers.operations import (
    EQUIVALENTS,
    OF_TENSORS,
    OPERATIONS,
    activation,
    axes_of,
    banded,
    binary,
    broadcast_to,
    by_value,
    cast,
    clipped,
    define,
    dtype_name,
    elementwise,
    extreme,
    full_like,
    integers,
    like,
    logsumexp,
    norm,
    one_hot,
    pad,
    product,
    repeat,
    reshape,
    rolled,
    running,
    slice_key,
    sort,
    split,
    summed,
    take,
    tile,
    together,
    top_k,
    unstack,
    variance,
    where,
)

# The function of Keras 3 that does the same: of two tensors, and of one.
_BINARY = {
    "Add": "math.add add __operators__.add",
    "Subtract": "math.subtract subtract __operators__.sub",
    "Multiply": "math.multiply multiply __operators__.mul",
    "Divide": "math.divide divide math.truediv truediv __operators__.truediv",
    "DivideNoNan": "math.divide_no_nan",
    "FloorDivide": "math.floordiv math.floor_div floor_div compat.v1.floor_div __operators__.floordiv",
    "Mod": "math.floormod math.mod math.floor_mod __operators__.mod",
    "Power": "math.pow pow __operators__.pow",
    "Maximum": "math.maximum maximum",
    "Minimum": "math.minimum minimum",
    "Equal": "math.equal equal __operators__.eq",
    "NotEqual": "math.not_equal not_equal __operators__.ne",
    "Greater": "math.greater greater __operators__.gt",
    "GreaterEqual": "math.greater_equal greater_equal __operators__.ge",
    "Less": "math.less less __operators__.lt",
    "LessEqual": "math.less_equal less_equal __operators__.le",
    "LogicalAnd": "math.logical_and logical_and __operators__.and",
    "LogicalOr": "math.logical_or logical_or __operators__.or",
    "LogicalXor": "math.logical_xor __operators__.xor",
}
_UNARY = {
    "Absolute": "math.abs abs __operators__.abs",
    "Arccos": "math.acos acos",
    "Arcsin": "math.asin asin",
    "Arctan": "math.atan atan",
    "Arctanh": "math.atanh atanh",
    "Ceil": "math.ceil",
    "Copy": "identity stop_gradient",
    "Cos": "math.cos cos",
    "Cosh": "math.cosh cosh",
    "Erf": "math.erf",
    "Exp": "math.exp exp",
    "Expm1": "math.expm1",
    "Floor": "math.floor floor",
    "Isfinite": "math.is_finite",
    "Isinf": "math.is_inf",
    "Isnan": "math.is_nan",
    "Log": "math.log",
    "Log1p": "math.log1p",
    "LogSigmoid": "math.log_sigmoid",
    "LogicalNot": "math.logical_not logical_not __operators__.not __operators__.invert",
    "Negative": "math.negative negative __operators__.neg",
    "Reciprocal": "math.reciprocal",
    "Round": "math.round round math.rint",
    "Rsqrt": "math.rsqrt",
    "Sigmoid": "math.sigmoid sigmoid nn.sigmoid",
    "Sign": "math.sign sign",
    "Sin": "math.sin sin",
    "Sinh": "math.sinh sinh",
    "Sqrt": "math.sqrt sqrt",
    "Square": "math.square square",
    "Tan": "math.tan tan",
    "Tanh": "math.tanh tanh nn.tanh",
}
_ACTIVATIONS = {
    "Elu": "nn.elu keras.activations.elu",
    "Relu": "nn.relu",
    "Relu6": "nn.relu6",
    "Selu": "nn.selu keras.activations.selu",
    "Softplus": "math.softplus nn.softplus",
    "Softsign": "nn.softsign math.softsign",
}
for _names, _arguments in ((_BINARY, "x y"), (_UNARY, "x"), (_ACTIVATIONS, "features")):
    for _keras, _tensorflow in _names.items():
        define(_tensorflow, _arguments, binary(OF_TENSORS[_keras]) if _keras in OF_TENSORS else OPERATIONS[_keras][1])
        for _name in _tensorflow.split():
            EQUIVALENTS[_name] = _keras, tuple(_arguments.split()), {}


def _of_wide_integers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Quotients of integers of 32 and 64 bits in float64, as TensorFlow's are."""

    def divide(x: Any, y: Any) -> Any:
        kinds = [value.dtype for value in (x, y) if isinstance(value, (np.ndarray, np.generic))]
        if all(dtype.kind in "iu" and dtype.itemsize > 2 for dtype in kinds):
            x, y = (np.asarray(value, np.float64) for value in (x, y))
        return function(x, y)

    return elementwise(divide)


for _name in (*_BINARY["Divide"].split(), *_BINARY["DivideNoNan"].split()):
    define(_name, "x y", _of_wide_integers(OPERATIONS[_name][1]))

define("math.atan2 atan2", "y x", OPERATIONS["Arctan2"][1])
define("math.squared_difference", "x y", binary(lambda x, y: np.square(x - y)))
define(
    "math.multiply_no_nan",
    "x y",
    by_value(lambda x, y: np.where(np.equal(y, 0), like(0, x), np.multiply(*together(x, y)))),
)


def _added(arrays: list[Array]) -> Array:
    total = copied(np.asarray(arrays[0]))
    for array in arrays[1:]:
        update(np.add, total, array)
    return total


define("math.add_n add_n", "inputs", elementwise(_added))

define("nn.silu nn.swish", "features beta", elementwise(lambda features, beta=1.0: _silu(as_float(features), beta)))
define(
    "nn.gelu",
    "features approximate",
    elementwise(lambda features, approximate=False: activation("gelu")(features, approximate=bool(approximate))),
)
define("keras.activations.relu", "x", elementwise(activation("relu")))
define("nn.leaky_relu", "features alpha", elementwise(lambda features, alpha=0.2: _leaky(features, alpha)))
define("nn.softmax", "logits axis", lambda logits, axis=-1: _last(OPERATIONS["Softmax"][1], logits, axis))
define("nn.log_softmax", "logits axis", lambda logits, axis=-1: _last(OPERATIONS["LogSoftmax"][1], logits, axis))
define("nn.bias_add", "value bias", lambda value, bias: spread(np.add, value, np.asarray(bias, value.dtype)))


def _last(function: Callable[..., Array], x: Any, axis: Any) -> Array:
    return function(x, axis=-1 if axis is None else axis)


def _silu(x: Array, beta: Any) -> Array:
    return spread(np.multiply, x, activation("sigmoid")(spread(np.multiply, x, like(beta, x))))


def _leaky(x: Any, alpha: float) -> Array:
    return activation("leaky_relu")(x, negative_slope=alpha)


def _l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12) -> Any:
    x = as_float(x)
    smallest = like(epsilon, x)
    squares = summed(spread(np.square, x), axis, True)
    return spread(lambda part, total: part * (1 / np.sqrt(np.maximum(total, smallest))), x, squares)


define("math.l2_normalize nn.l2_normalize linalg.l2_normalize", "x axis epsilon", _l2_normalize)


def _mean(x: Any, axis: Any = None, keepdims: Any = False) -> Array:
    """Of integers an integer, rounded towards zero."""
    x = np.asarray(x)
    if x.dtype.kind not in "iu":
        return summed(x, axis, keepdims, True)
    total = summed(x, axis, keepdims)
    mean: Array = np.sign(total) * (np.abs(total) // (x.size // max(total.size, 1)))
    return mean.astype(x.dtype)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "mean": lambda x, axis=None, keepdims=False: _mean(x, axis, keepdims),
    "sum": summed,
    "prod": product,
    "max": extreme(np.maximum),
    "min": extreme(np.minimum),
    "any": extreme(np.logical_or),
    "all": extreme(np.logical_and),
    "variance": variance,
    "std": lambda x, axis=None, keepdims=False: spread(np.sqrt, variance(x, axis, keepdims)),
    "logsumexp": logsumexp,
    "euclidean_norm": lambda x, axis=None, keepdims=False: norm(x, None, axis, keepdims),
}
for _name, _function in _REDUCTIONS.items():
    define(f"math.reduce_{_name} reduce_{_name}", "input_tensor axis keepdims", _function)
define(
    "norm linalg.norm compat.v1.norm",
    "tensor ord axis keepdims",
    lambda tensor, ord="euclidean", axis=None, keepdims=False: _norm(tensor, ord, axis, keepdims),
)
for _name, _arg in (("argmax", np.argmax), ("argmin", np.argmin)):
    define(
        f"math.{_name} {_name}",
        "input axis output_type",
        lambda input, axis=None, output_type="int64", arg=_arg: integers(arg)(input, axis or 0).astype(
            dtype_name(output_type or "int64")
        ),
    )
define(
    "math.cumsum cumsum",
    "x axis exclusive reverse",
    lambda x, axis=0, exclusive=False, reverse=False: _accumulated(np.add, x, axis or 0, exclusive, reverse),
)
define(
    "math.cumprod",
    "x axis exclusive reverse",
    lambda x, axis=0, exclusive=False, reverse=False: _accumulated(np.multiply, x, axis or 0, exclusive, reverse),
)
define("math.top_k nn.top_k", "input k sorted", lambda input, k=1, sorted=True: top_k(input, k))
define("sort", "tensor axis direction", lambda tensor, axis=-1, direction="ASCENDING": _sorted(tensor, axis, direction))


def _band(x: Any, lower: int, upper: int) -> Array:
    """The diagonals of a matrix from so many below the main one to so many above it; all where the number is < 0."""
    x = np.asarray(x)
    below = x if lower < 0 else banded(x, -lower, False)
    return below if upper < 0 else banded(below, upper, True)


define("linalg.band_part", "input num_lower num_upper", _band)


def _norm(x: Any, ord: Any, axis: Any, keepdims: Any) -> Any:
    """Without an axis that of all values, as of one vector."""
    if axis is not None:
        return norm(x, ord, axis, keepdims)
    x = as_float(x)
    return np.reshape(norm(x.reshape(-1), ord, 0), (1,) * x.ndim if keepdims else ())


def _accumulated(function: np.ufunc, x: Any, axis: int, exclusive: Any, reverse: Any) -> Array:
    """Of all entries so far; without the entry itself, or from the last on."""
    x = np.asarray(x)
    y = np.flip(x, axis) if reverse else x
    y = running(function, y, axis)
    if exclusive:
        y = rolled(y, 1, axis)
        first = [slice(None)] * y.ndim
        first[axis] = slice(0, 1)
        y[tuple(first)] = function.identity
    return contiguous(np.flip(y, axis) if reverse else y)


def _sorted(values: Any, axis: int, direction: str) -> Array:
    y = sort(values, axis)
    return contiguous(np.flip(y, axis) if direction == "DESCENDING" else y)


def _split(value: Any, num_or_size_splits: Any, axis: Any = 0) -> list[Array]:
    if isinstance(num_or_size_splits, list):
        sizes = np.array(num_or_size_splits)
        sizes[sizes == -1] = np.shape(value)[axis or 0] - sizes[sizes != -1].sum()
        num_or_size_splits = np.cumsum(sizes)[:-1].tolist()
    return split(value, num_or_size_splits, axis or 0)


def _transposed_matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
) -> Array:
    a, b = alike((a, b))
    a = np.swapaxes(a, -1, -2) if transpose_a or adjoint_a else a
    return matmul_any(a, np.swapaxes(b, -1, -2) if transpose_b or adjoint_b else b)


def _shape(input: Any, out_type: Any = "int32", optimize: Any = True, name: Any = None) -> Array:
    return np.asarray(np.shape(input), dtype_name(out_type or "int32"))


def _slice(input: Any, begin: Any, size: Any) -> Array:
    key = tuple(
        slice(start, None if extent == -1 else start + extent)
        for start, extent in zip(np.ravel(begin).tolist(), np.ravel(size).tolist(), strict=True)
    )
    return contiguous(np.asarray(input)[key])


def _concat(values: Any, axis: int) -> Array:
    return joined([np.asarray(value) for value in values], int(axis))


define(
    "__operators__.getitem",
    "x slice_spec",
    lambda x, slice_spec: copied(np.asarray(np.asarray(x)[slice_key(slice_spec)])),
)
define("slice", "input begin size", _slice)
define("concat", "values axis", _concat)
define("stack", "values axis", lambda values, axis=0: stacked([np.asarray(value) for value in values], axis or 0))
define("unstack", "value num axis", lambda value, num=None, axis=0: unstack(value, num, axis or 0))
define("split", "value num_or_size_splits axis", _split)
define("cast", "x dtype", elementwise(cast))
define("expand_dims", "input axis", lambda input, axis=-1: np.expand_dims(input, axis))
define("squeeze compat.v1.squeeze", "input axis", lambda input, axis=None: np.squeeze(input, axes_of(axis)))
define("reshape", "tensor shape", lambda tensor, shape: reshape(tensor, shape))  # noqa: PLW0108
define("transpose compat.v1.transpose", "a perm", lambda a, perm=None: contiguous(np.transpose(a, axes_of(perm))))
define("tile", "input multiples", lambda input, multiples: tile(input, integers_of(multiples)))
define("repeat", "input repeats axis", lambda input, repeats, axis=None: repeat(input, repeats, axis))
define("reverse", "tensor axis", lambda tensor, axis: copied(np.flip(tensor, axes_of(axis))))
define("roll", "input shift axis", lambda input, shift, axis: rolled(input, axes_of(shift), axes_of(axis)))
define("where", "condition x y", by_value(where))
define("zeros_like", "input dtype", elementwise(lambda input, dtype=None: full_like(input, 0, dtype)))
define("ones_like", "input dtype", elementwise(lambda input, dtype=None: full_like(input, 1, dtype)))
define("zeros", "shape dtype", lambda shape, dtype="float32": np.zeros(integers_of(shape), dtype_name(dtype)))
define("ones", "shape dtype", lambda shape, dtype="float32": filled(integers_of(shape), 1, dtype_name(dtype)))
define("fill", "dims value", lambda dims, value: filled(integers_of(dims), value, like_value(value)))
define("broadcast_to", "input shape", lambda input, shape: broadcast_to(input, integers_of(shape)))
define("shape compat.v1.shape", "input out_type optimize", _shape)
define(
    "pad compat.v1.pad",
    "tensor paddings mode constant_values",
    lambda tensor, paddings, mode="CONSTANT", constant_values=0: pad(
        tensor, paddings, constant_values, mode or "CONSTANT"
    ),
)
define(
    "one_hot",
    "indices depth on_value off_value axis dtype",
    lambda indices, depth, on_value=None, off_value=None, axis=-1, dtype=None: _one_hot(
        indices, depth, on_value, off_value, axis, dtype
    ),
)
define(
    "gather compat.v1.gather",
    "params indices validate_indices axis batch_dims",
    lambda params, indices, validate_indices=None, axis=None, batch_dims=0: _gather(
        params, indices, axis, batch_dims or 0
    ),
)
define(
    "clip_by_value",
    "t clip_value_min clip_value_max",
    elementwise(
        lambda t, clip_value_min, clip_value_max: spread(clipped, t, like(clip_value_min, t), like(clip_value_max, t))
    ),
)
define("keras.backend.batch_flatten", "x", lambda x: copied(np.asarray(x)).reshape(len(x), -1))
define("linalg.matmul matmul", "a b transpose_a transpose_b adjoint_a adjoint_b", _transposed_matmul)
define("tensordot linalg.tensordot", "a b axes", tensordot)


def integers_of(values: Any) -> list[int]:
    """A shape, whose sizes may be arrays."""
    return [int(value) for value in values] if isinstance(values, (list, tuple)) else np.ravel(values).tolist()


def like_value(value: Any) -> Any:
    """The type of a filled array: TensorFlow's default for a Python number."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype
    return np.int32 if isinstance(value, int) else np.float32


def _one_hot(indices: Any, depth: int, on_value: Any, off_value: Any, axis: Any, dtype: Any) -> Array:
    y = one_hot(indices, depth, -1 if axis is None else axis, "bool")
    on, off = 1 if on_value is None else on_value, 0 if off_value is None else off_value
    name = dtype_name(dtype or np.dtype(like_value(1.0 if on_value is None else on_value)))
    return spread(lambda part: np.where(part, on, off).astype(name), y)


def _gather(params: Any, indices: Any, axis: Any, batch_dims: int) -> Array:
    table = params if isinstance(params, np.ndarray) else np.asarray(params, like_value(np.ravel(params)[0].item()))
    if not batch_dims:
        return take(table, indices, axis or 0)
    axis = batch_dims if axis is None else axis
    if axis != batch_dims:
        raise NotImplementedError(f"A gather over axis {axis} with batch_dims={batch_dims} is not supported.")
    places = np.asarray(indices).astype(np.int64)
    samples = np.ogrid[tuple(slice(size) for size in table.shape[:batch_dims])]
    lead = tuple(grid.reshape(grid.shape + (1,) * (places.ndim - batch_dims)) for grid in samples)
    key = (*lead, places)
    return np.ascontiguousarray(table[key])


def _equals(keras: str, names: str, call: str, **options: str) -> None:
    for name in names.split():
        EQUIVALENTS[name] = keras, tuple(call.split()), options


_equals("GetItem", "__operators__.getitem", "x slice_spec")
_equals("Concatenate", "concat", "values", axis="axis")
_equals("Stack", "stack", "values", axis="axis")
_equals("Unstack", "unstack", "value", num="num", axis="axis")
_equals("Cast", "cast", "x", dtype="dtype")
_equals("ExpandDims", "expand_dims", "input", axis="axis")
_equals("Squeeze", "squeeze compat.v1.squeeze", "input", axis="axis")
_equals("Reshape", "reshape", "tensor", shape="newshape")
_equals("Transpose", "transpose compat.v1.transpose", "a", perm="axes")
_equals("Tile", "tile", "input", multiples="repeats")
_equals("Repeat", "repeat", "input", repeats="repeats", axis="axis")
_equals("Flip", "reverse", "tensor", axis="axis")
_equals("Roll", "roll", "input", shift="shift", axis="axis")
_equals("Where", "where", "condition x y")
_equals("ZerosLike", "zeros_like", "input", dtype="dtype")
_equals("OnesLike", "ones_like", "input", dtype="dtype")
_equals("Take", "gather compat.v1.gather", "params indices", axis="axis")
_equals("Clip", "clip_by_value", "t", clip_value_min="x_min", clip_value_max="x_max")
_equals("Matmul", "linalg.matmul matmul", "a b")
_equals("Tensordot", "tensordot linalg.tensordot", "a b", axes="axes")
_equals("Softmax", "nn.softmax", "logits", axis="axis")
_equals("LogSoftmax", "nn.log_softmax", "logits", axis="axis")
_equals("LeakyRelu", "nn.leaky_relu", "features", alpha="negative_slope")
_equals("Silu", "nn.silu nn.swish", "features")
_equals("Cumsum", "math.cumsum cumsum", "x", axis="axis")
_equals("Cumprod", "math.cumprod", "x", axis="axis")
for _keras, _tensorflow in {
    "Mean": "mean",
    "Sum": "sum",
    "Prod": "prod",
    "Max": "max",
    "Min": "min",
    "Any": "any",
    "All": "all",
    "Var": "variance",
    "Std": "std",
    "Logsumexp": "logsumexp",
    "Norm": "euclidean_norm",
}.items():
    _equals(_keras, f"math.reduce_{_tensorflow} reduce_{_tensorflow}", "input_tensor", axis="axis", keepdims="keepdims")

__all__: list[str] = []
