"""Operations that a functional graph holds beside its layers: `keras.ops` calls, and the masks that Keras 3 freezes.

Each is a function of arrays and constants by the class name that Keras gives it in a config.
Next: tensorflow_operations.py, for the names of tf.keras 2; base.py.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lstmfast import activations
from lstmfast._arrays import ordered_mean, ordered_sum
from lstmfast._graph import KerasTensor, Node, Shape, common_shape, contains_symbolic, flat_shapes, flatten, map_tree
from lstmfast._pieces import (
    accumulated,
    along,
    contiguous,
    copied,
    filled,
    in_pieces,
    joined,
    padded,
    pieces,
    place_of,
    place_of_extreme,
    reduced,
    repeated,
    spread,
    stacked,
    taken,
)
from lstmfast._pieces import (
    cast as as_type,
)
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.contractions import as_float, dot, einsum, matmul_any, tensordot
from lstmfast.layers.pooling import pool_any

OPERATIONS: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {}
# By the name of an operation of tf.keras 2: the class that does the same in Keras 3, which arguments stay the call's,
# and which become options of the class, under which name.
EQUIVALENTS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {}
# The modules of keras.src.ops that have these classes; all others are in `numpy`.
_MODULES = {
    "core": "Cast ConvertToTensor Slice StopGradient Unstack".split(),
    "linalg": ["Norm"],
    "math": "Erf Logsumexp Rsqrt TopK".split(),
    "nn": (
        "AveragePool Celu Elu Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LayerNorm LeakyRelu LogSigmoid "
        "LogSoftmax MaxPool Moments MultiHot Normalize OneHot RMSNorm Relu Relu6 Selu Sigmoid Silu SoftShrink Softmax "
        "Softplus Softsign SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink Threshold"
    ).split(),
}
_INERT = ("name", "training")
# What operations call their first argument, where it is not their first here.
_FIRST = ("a", "inputs", "variable", "x")
# Those that give the shape of their input.
SHAPES = ("shape", "compat.v1.shape")
# Those in which Keras makes tensors of constants first.
OF_TENSORS: dict[str, np.ufunc] = {
    "Mod": np.mod,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
}
# The two sizes that stand for one which may vary, to find shapes with.
_PROBED = (6, 12)
# Operations that make more values than they take, and how many values one may make of the larger batch.
_GROWING = ("BroadcastTo", "OneHot", "Pad", "Repeat", "Tile", "one_hot", "pad", "repeat", "tile")
_MOST_VALUES = 1 << 28
# Those of Keras 3 that give floats of integers where TensorFlow gives integers, or wider floats.
_FLOATS_OF_INTEGERS = ("Divide", "DivideNoNan", "Mean")
# Those whose output may be a view of their first input.
_VIEWS = frozenset(
    (
        "Diff ExpandDims Moveaxis Pad Prod Reshape Round Slice Split Squeeze Swapaxes Transpose compat.v1.pad "
        "compat.v1.squeeze compat.v1.transpose expand_dims linalg.band_part math.reduce_prod math.rint math.round pad "
        "reduce_prod reshape round slice split squeeze transpose"
    ).split()
)


@register()
class Operation(Layer):
    """One operation of a graph.

    Parameters
    ----------
    operation : str
        Keras's class name of it.
    options : dict
        What the config says beside the name, such as ``axis``.
    module : str, optional
        Where Keras 3 has it.
    """

    casts_input = False
    supports_masking = False
    config_keys = ("operation", "options", "module")

    def saved_class(self) -> str:
        return "TFOpLambda" if "." in self.operation else self.operation

    def __init__(
        self, operation: str, options: dict[str, Any] | None = None, module: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.module = module
        self.operation = operation
        self.options = dict(options or {})

    @property
    def allocates(self) -> bool:  # type: ignore[override]
        return self.operation not in _VIEWS

    def as_stage(self, run: Run, node: Node, batch_size: int) -> tuple[Any, bool]:
        from lstmfast.layers.operation_axes import stage_of_operation

        return stage_of_operation(self, run, node), True

    def mixes_batch_of(self, node: Node, training: bool | None) -> bool:
        from lstmfast.layers.operation_axes import ROWS, keeps_places

        return not keeps_places(self, node, ROWS)

    def saved_entry(self) -> dict[str, Any]:
        """The operation as a Keras 3 file holds it.

        Raises
        ------
        NotImplementedError
            If Keras 3 has none that does the same.
        """
        name, options, _ = self._in_keras_3(self.nodes[0])
        module = next((module for module, names in _MODULES.items() if name in names), "numpy")
        return {
            "module": self.module or f"keras.src.ops.{module}",
            "class_name": name,
            "config": {"name": self.name, **options},
            "registered_name": name,
        }

    def call_args(self, node: Node) -> list[Any]:
        return self._in_keras_3(node)[2]

    def _in_keras_3(self, node: Node) -> tuple[str, dict[str, Any], list[Any]]:
        """Keras 3's class for the operation, its options and the arguments of a call."""
        values = list(node.args[0])
        if self.operation[0].isupper():
            if self.operation == "RMSNorm" and len(values) == 1:  # whose second argument has no default there
                values.append(None)
            return self.operation, self.options, values
        name, names, renamed = EQUIVALENTS.get(self.operation, ("", (), {}))
        if name in _FLOATS_OF_INTEGERS and all(np.dtype(leaf.dtype).kind in "iu" for leaf in node.inputs):
            name = ""
        bound = dict(zip(OPERATIONS[self.operation][0], values, strict=False))
        rest = {key: value for key, value in bound.items() if key not in names}
        options = {renamed[key]: value for key, value in rest.items() if key in renamed and value is not None}
        others = [value for key, value in rest.items() if key not in renamed]
        symbolic = contains_symbolic(options.values())
        if name in ("Take", "Cumsum", "Cumprod"):
            options.setdefault("axis", 0)
        if not name or symbolic or any(others):
            raise NotImplementedError(
                f"Operation tf.{self.operation} ('{self.name}') has no equal among those of Keras 3, and cannot be "
                "written for it."
            )
        call = [bound[key] if key == "slice_spec" else as_constant(bound[key]) for key in names if key in bound]
        if "slice_spec" in bound:
            key = slice_key(call[-1])
            call[-1] = list(key) if isinstance(key, tuple) else key  # as Keras writes it, and reads no tuple here
        return name, options, call

    def takes_list(self) -> bool:
        return True

    def check_shape(self, shape: Any) -> None:
        """Any will do; NumPy says what does not fit."""

    def build(self, input_shape: Any) -> None:
        self.built = True

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The call's arguments as one list of tensors and constants, in the function's order."""
        names, _ = OPERATIONS[self.operation]
        if names[0].startswith("*"):
            return list(args), {}
        bound = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in names:
                bound[name] = value
            elif not bound and name in _FIRST:
                bound[names[0]] = value
            elif value not in (None, False) and name not in _INERT:
                raise NotImplementedError(f"Operation {self.operation} does not take {name}={value!r}.")
        if len(args) > len(names) or names[0] not in bound:
            raise ValueError(f"Operation {self.operation} was called with {len(args)} arguments.")
        last = max(position for position, name in enumerate(names) if name in bound)
        return [bound.get(name) for name in names[: last + 1]], {}

    def output_shape_of(self, node: Node, known: dict[int, Shape]) -> Any:
        shapes = map_tree(lambda leaf: known[id(leaf)] if isinstance(leaf, KerasTensor) else (), node.args[0])
        found, _, _ = self._probe(node.args[0], shapes)
        return found if len(found) > 1 else found[0]

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        self.refuse_strings(inputs)
        self.built = True
        shapes, dtypes, samples = self._probe(inputs, map_tree(lambda leaf: getattr(leaf, "shape", ()), inputs))
        outputs = [KerasTensor(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        sources = [leaf for leaf in flatten(inputs) if isinstance(leaf, KerasTensor)]
        is_constant = self.operation in SHAPES or all(leaf.samples is not None for leaf in sources)
        for output, (first, second) in zip(outputs, samples, strict=True):
            output.extents = first.shape, second.shape
            output.samples = (first, second) if is_constant else None
        Node(self, (inputs,), {}, outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def _probe(self, inputs: Any, shapes: Any) -> tuple[list[Shape], list[str], list[tuple[Array, Array]]]:
        """Shapes, types and values of the outputs, found by running on zeros of two sizes where a size may vary."""
        run = self.freeze(())
        flat = flat_shapes(shapes)
        self._check_size(inputs, flat)

        def outputs(position: int) -> list[Array]:
            places = iter(flat)
            size = _PROBED[position]

            def fill(leaf: Any) -> Any:
                shape = next(places)
                if not isinstance(leaf, KerasTensor):
                    return leaf
                if leaf.samples is not None:
                    return leaf.samples[position]
                dtype = "float32" if leaf.dtype in ("float16", "bfloat16") else leaf.dtype
                known = (size,) * len(shape) if leaf.extents is None else leaf.extents[position]
                return np.zeros(
                    [own if own is not None else other for own, other in zip(shape, known, strict=True)], dtype
                )

            with np.errstate(all="ignore"):
                return [np.asarray(array) for array in flatten(run(map_tree(fill, inputs)))]

        first, second = outputs(0), outputs(1)
        if [array.ndim for array in first] != [array.ndim for array in second]:
            raise ValueError(f"Operation {self.operation} gives a rank that depends on its input's size.")
        found: list[Shape] = [common_shape(one.shape, other.shape) for one, other in zip(first, second, strict=True)]
        return found, [array.dtype.name for array in first], list(zip(first, second, strict=True))

    def _check_size(self, inputs: Any, shapes: list[Shape]) -> None:
        """Refuse what would take too much memory, before any is taken."""
        values = sum(
            int(np.prod([_PROBED[1] if size is None else size for size in shape], dtype=float)) for shape in shapes
        )
        if self.operation in _GROWING:
            constants = [leaf for leaf in flatten([inputs, self.options]) if type(leaf) is int]
            values *= int(np.prod([max(1, abs(number)) for number in constants], dtype=float))
        if values > _MOST_VALUES:
            raise ValueError(f"Operation {self.operation} would make more than {_MOST_VALUES} values of one sample.")

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        _, function = OPERATIONS[self.operation]
        options = self.options

        def run(values: list[Any]) -> Any:
            y = function(*values, **options)
            return list(map(np.asarray, y)) if isinstance(y, list) else np.asarray(y)

        return run


def define(names: str, arguments: str, function: Callable[..., Any]) -> None:
    """Give the operations of these names a function, and the names of its arguments that a call may hold."""
    for name in names.split():
        OPERATIONS[name] = (tuple(arguments.split()), function)


def as_constant(value: Any) -> Any:
    """A list of numbers as an array, which a config can hold among tensors."""
    if isinstance(value, list) and value and not contains_symbolic(value):
        array = np.asarray(value)
        return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
    return value


def slice_key(spec: Any) -> Any:
    """A slice as tf.keras writes it: ``{"start", "stop", "step"}``, a number, an ellipsis or a new axis."""

    def one(item: Any) -> Any:
        if isinstance(item, dict):
            if item.get("class_name") == "__ellipsis__" or item.get("type") == "ellipsis":
                return ...
            return slice(item.get("start"), item.get("stop"), item.get("step"))
        return ... if isinstance(item, str) and item in ("...", "Ellipsis") else item

    return tuple(one(item) for item in spec) if isinstance(spec, (list, tuple)) else one(spec)


def promoted(dtypes: list[np.dtype[Any]]) -> np.dtype[Any]:
    """The type of arrays together, as Keras promotes them: a float's beats an integer's."""
    floats = [dtype for dtype in dtypes if dtype.kind == "f"]
    return np.result_type(*floats or dtypes)


def together(x1: Any, x2: Any) -> tuple[Array, Array]:
    """Two values in one type, as Keras promotes them: a float's type beats an integer's, an array's a constant's."""
    a, b = np.asarray(x1), np.asarray(x2)
    strong = [array.dtype for array, value in ((a, x1), (b, x2)) if isinstance(value, (np.ndarray, np.generic))]
    dtype: Any
    if any(dtype.kind == "f" for dtype in strong) or len(strong) == 2:
        dtype = promoted(strong)
    elif "f" in (a.dtype.kind, b.dtype.kind):
        dtype = np.float32
    elif len(strong) == 1 and (strong[0].kind != "b" or a.dtype == b.dtype):
        dtype = strong[0]
    else:
        dtype = np.bool_ if a.dtype.kind == b.dtype.kind == "b" else np.int32
    return a.astype(dtype, copy=False), b.astype(dtype, copy=False)


def as_tensor(value: Any) -> Any:
    """A constant in the type that Keras gives it as a tensor: int32, float32 or bool."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value
    array = np.asarray(value)
    return array.astype({"i": np.int32, "f": np.float32}.get(array.dtype.kind, array.dtype))


def like(value: Any, x: Array) -> Any:
    """A constant in the type of the array beside it; None stays."""
    return None if value is None else np.asarray(value, x.dtype)


def elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, marked as one whose values each depend on those in their place alone: see operation_axes.py."""
    function.elementwise = True  # type: ignore[attr-defined]
    return function


def by_value(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of single values, which takes arrays that NumPy brings to one shape, and options."""
    return elementwise(
        lambda *values, **options: spread(partial(function, **options) if options else function, *values)
    )


def binary(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return elementwise(lambda x1, x2: spread(lambda a, b: function(*together(a, b)), x1, x2))


def of_tensors(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """As `binary`, where a constant's type counts as much as an array's."""
    of_two = binary(function)
    return elementwise(lambda x1, x2: of_two(as_tensor(x1), as_tensor(x2)))


def floor_divide(a: Array, b: Array) -> Any:
    """TensorFlow's: of floats the floor of the rounded quotient."""
    return np.floor(np.true_divide(a, b)) if a.dtype.kind == "f" else np.floor_divide(a, b)


def clipped(x: Any, least: Any, most: Any) -> Any:
    """The least value wins where it is above the most, unlike with ``numpy.clip``."""
    x = x if most is None else np.minimum(x, most)
    return np.array(x) if least is None else np.maximum(x, least)


def widened(x: Any) -> Array:
    """Small integers in the type in which Keras 3 adds and multiplies them."""
    array: Array = np.asarray(x)
    if array.dtype.kind in "biu" and array.dtype.itemsize < 4:
        return as_type(array, np.uint32 if array.dtype.kind == "u" else np.int32)
    return array


def _divide(x1: Any, x2: Any) -> Array:
    return np.true_divide(*map(as_float, together(x1, x2)))


def _divide_no_nan(x1: Any, x2: Any) -> Array:
    a, b = map(as_float, together(x1, x2))
    zero = b == 0
    y: Array = np.where(zero, a.dtype.type(0), a / np.where(zero, b.dtype.type(1), b))
    return y


def unary(function: Callable[[Array], Any]) -> Callable[[Any], Any]:
    """``function`` of floats in C order, in which NumPy's loops are the same whatever the caller's layout."""
    return elementwise(lambda x: spread(lambda part: function(as_float(part)), x))


def broadcast_to(x: Any, shape: Any) -> Array:
    """A copy of ``x`` in a larger shape.

    Raises
    ------
    ValueError
        If it does not fit, as where the shape holds another number of rows than the call.
    """
    x = np.asarray(x)
    sizes = tuple(shape)
    ends = zip(reversed(x.shape), reversed(sizes), strict=False)
    if x.ndim > len(sizes) or any(own not in (1, size) for own, size in ends):
        raise ValueError(f"An operation broadcasts to the shape {sizes}, its input has the shape {x.shape}.")
    return copied(np.broadcast_to(x, sizes))


def _erf(x: Array) -> Array:
    # a call of Python's for each value takes many times as long as what NumPy does
    return in_pieces(lambda part: np.asarray(np.frompyfunc(math.erf, 1, 1)(part)).astype(part.dtype), x, makes=16)


def _flat(x: Array, axis: Any) -> Array:
    return contiguous(x).reshape(-1) if axis is None else x


def running(function: np.ufunc, x: Array, axis: int, dtype: Any = None) -> Array:
    """Of all entries so far along an axis, in the array's type, of bools in int32."""
    x = x if dtype is None else as_type(x, dtype)
    return accumulated(function, x, axis, np.dtype(np.int32) if x.dtype.kind == "b" else x.dtype)


def in_one_type(xs: Any) -> list[Array]:
    """Arrays in one type, as Keras promotes them."""
    arrays = [np.asarray(x) for x in xs]
    dtype = promoted([array.dtype for array in arrays])
    return [as_type(array, dtype) for array in arrays]


def axes_of(axis: Any) -> Any:
    """NumPy's form of an axis: None, a number or a tuple."""
    if isinstance(axis, np.ndarray):
        axis = axis.tolist()
    return tuple(axis) if isinstance(axis, (list, tuple)) else axis


def _all_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    several = range(ndim) if axis is None else axes_of(axis) if isinstance(axis, (list, tuple, np.ndarray)) else [axis]
    return tuple(place_of(one, ndim) for one in several)


def summed(x: Any, axis: Any = None, keepdims: Any = False, mean: bool = False) -> Array:
    """The sum or the mean, in an order that the sizes of the axes alone decide."""
    x = np.asarray(x)
    if mean and x.dtype.kind != "f":
        x = as_type(x, np.float32)
    if x.dtype.kind == "b":
        x = as_type(x, np.int32)
    return copied(np.asarray((ordered_mean if mean else ordered_sum)(x, _all_axes(axis, x.ndim), bool(keepdims))))


def product(x: Any, axis: Any = None, keepdims: Any = False, dtype: Any = None) -> Array:
    """The product, one factor after the other."""
    x = np.asarray(x)
    x = as_type(x, dtype or (np.int32 if x.dtype.kind == "b" else x.dtype))
    for one in sorted(_all_axes(axis, x.ndim), reverse=True):
        moved = np.moveaxis(x, one, 0)
        total = np.ones(moved.shape[1:], x.dtype)
        for part in moved:
            total = spread(operator.mul, total, part)
        x = np.expand_dims(total, one) if keepdims else total
    return contiguous(np.asarray(x))


def variance(x: Any, axis: Any = None, keepdims: Any = False) -> Array:
    x = as_float(x)
    return summed(spread(_squared_distance, x, summed(x, axis, True, True)), axis, keepdims, True)


def _squared_distance(x: Array, mean: Array) -> Any:
    return np.square(x - mean)


def logsumexp(x: Any, axis: Any = None, keepdims: Any = False) -> Array:
    x = as_float(x)
    axes = _all_axes(axis, x.ndim)
    largest = spread(lambda one: np.where(np.isfinite(one), one, x.dtype.type(0)), reduced(np.maximum, x, axes, True))
    sums = summed(activation("exponential")(spread(np.subtract, x, largest)), axes, True)
    total = spread(lambda one, offset: np.log(one) + offset, sums, largest)
    return copied(np.asarray(total if keepdims else np.squeeze(total, axes)))


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: Any = False) -> Any:
    """Of vectors along one axis, or of matrices along two, by sums and largest values.

    Raises
    ------
    NotImplementedError
        For the orders of a matrix that need its singular values.
    """
    x = as_float(x)
    axes = _all_axes(axis, x.ndim)
    if ord in (None, "euclidean") or (ord == 2 and len(axes) == 1) or (ord == "fro" and len(axes) == 2):
        return spread(np.sqrt, summed(spread(np.square, x), axes, keepdims))
    size = spread(np.abs, x)
    order = float(ord) if isinstance(ord, (int, float)) or ord in ("inf", "-inf") else math.nan
    if len(axes) == 2 and order in (1.0, -1.0, math.inf, -math.inf):
        inner, outer = axes if abs(order) == 1 else axes[::-1]
        y = reduced(np.maximum if order > 0 else np.minimum, summed(size, inner, True), (outer,), True)
        return np.array(y if keepdims else np.squeeze(y, axes))
    if len(axes) != 1 or math.isnan(order):
        raise NotImplementedError(f"The norm of order {ord!r} over the axes {axes} is not supported.")
    if math.isinf(order):
        return np.array(reduced(np.maximum if order > 0 else np.minimum, size, axes, bool(keepdims)))
    if order == 0:
        return summed(spread(lambda part: (part != 0).astype(part.dtype), x), axes, keepdims)
    if order == 1:
        return summed(size, axes, keepdims)
    return spread(np.power, summed(spread(np.power, size, like(order, x)), axes, keepdims), like(1 / order, x))


def _normalize(x: Any, axis: Any = -1, order: Any = 2, epsilon: Any = None) -> Any:
    x = as_float(x)
    epsilon = 1e-7 if epsilon is None else epsilon
    if order == 2:

        def of_length_1(x: Array, squares: Array) -> Any:
            with np.errstate(divide="ignore"):
                factor = 1 / np.sqrt(squares)
            return x * np.minimum(factor, like(1 / epsilon, x))

        return spread(of_length_1, x, summed(spread(np.square, x), axis, True))
    smallest = like(epsilon, x)
    return spread(lambda part, size: part / np.maximum(size, smallest), x, norm(x, order, axis, True))


def _layer_norm(
    x: Any, gamma: Any = None, beta: Any = None, axis: Any = -1, epsilon: Any = None, rms_scaling: bool = False
) -> Any:
    x = as_float(x)
    epsilon = like(1e-7 if epsilon is None else epsilon, x)
    axes = _all_axes([axis] if isinstance(axis, int) else axis, x.ndim)

    def along_axes(value: Any) -> Any:
        if value is None or np.ndim(value) == x.ndim or axes == (x.ndim - 1,):
            return value
        return np.reshape(value, [size if place in axes else 1 for place, size in enumerate(x.shape)])

    def normalized(x: Array, mean: Any, spread_out: Array, gamma: Any, beta: Any) -> Any:
        y = (x if mean is None else x - mean) * (1 / np.sqrt(spread_out + epsilon))
        y = y if gamma is None else y * gamma
        return y if beta is None else y + beta

    gamma, beta = along_axes(gamma), along_axes(beta)
    if rms_scaling:
        return spread(normalized, x, None, variance(x, axes, True), gamma, None)
    return spread(normalized, x, summed(x, axes, True, True), variance(x, axes, True), gamma, beta)


def _rms_norm(x: Any, scale: Any = None, axis: Any = -1, epsilon: Any = None) -> Any:
    x = as_float(x)
    offset = like(1e-7 if epsilon is None else epsilon, x)

    def normalized(x: Array, squares: Array, scale: Any) -> Any:
        y = x * (1 / np.sqrt(squares + offset))
        return y if scale is None else y * scale

    return spread(normalized, x, summed(spread(np.square, x), axis, True, True), scale)


def _average(x: Any, weights: Any = None, axis: Any = None) -> Array:
    x = as_float(x)
    if weights is None:
        return summed(x, axis, False, True)
    weights = as_type(as_float(weights), x.dtype)
    if weights.ndim == 1 and x.ndim > 1:
        weights = weights.reshape([-1 if one == _all_axes(axis, x.ndim)[0] else 1 for one in range(x.ndim)])
    weights = np.broadcast_to(weights, x.shape)
    return spread(np.true_divide, summed(spread(np.multiply, x, weights), axis), summed(weights, axis))


def _median(x: Any, axis: Any = None, keepdims: Any = False) -> Array:
    x = as_float(x)
    axes = _all_axes(axis, x.ndim)
    middle = partial(np.median, axis=axes, keepdims=bool(keepdims))
    return np.asarray(in_pieces(middle, x, cut=min(axes, default=0)))


def activation(name: str) -> Callable[..., Array]:
    """One of Keras's activations as a function of an array and its parameters."""

    def apply(x: Any, **parameters: Any) -> Array:
        return activations.Activation(name, parameters).run(as_float(x))

    return apply


def _over_axis(name: str) -> Callable[..., Array]:
    """An activation of the last axis, over any axis; None is all of them."""

    def apply(x: Any, axis: Any = -1) -> Any:
        x = as_float(x)
        if axis is None:
            return activations.Activation(name).run(x.reshape(-1)).reshape(x.shape)
        moved = contiguous(np.moveaxis(x, axis, -1))
        return contiguous(np.moveaxis(activations.Activation(name).run(moved), -1, axis))

    return apply


def _glu(x: Any, axis: int = -1) -> Array:
    first, second = np.split(as_float(x), 2, axis)
    return spread(np.multiply, first, activation("sigmoid")(second))


def _threshold(x: Any, threshold: float, default_value: float) -> Any:
    def passed(x: Any) -> Any:
        x = as_float(x)
        return np.where(x > like(threshold, x), x, like(default_value, x))

    return spread(passed, x)


def reshape(x: Any, newshape: Any) -> Array:
    """None stands for the batch, as -1 does."""
    sizes = newshape if isinstance(newshape, (list, tuple)) else np.ravel(newshape).tolist()
    return contiguous(np.asarray(x)).reshape([-1 if size is None else int(size) for size in sizes])


def pad(x: Any, pad_width: Any, constant_values: Any = None, mode: str = "constant") -> Array:
    x, padding = np.asarray(x), str(mode).lower()
    widths = [(int(before), int(behind)) for before, behind in np.broadcast_to(pad_width, (x.ndim, 2))]
    if any(min(own) < 0 for own in widths):
        raise ValueError(f"Expected widths of at least 0 to pad with, got {widths}.")
    if padding == "constant":
        return padded(x, widths, constant_values or 0)
    for axis, (size, own) in enumerate(zip(x.shape, widths, strict=True)):
        if any(own):
            x = taken(x, np.pad(np.arange(size), own, padding), axis)  # type: ignore[call-overload]
    return np.asarray(x)


def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    if isinstance(indices_or_sections, (list, tuple)):
        indices_or_sections = list(indices_or_sections)
    return [contiguous(part) for part in np.split(x, indices_or_sections, axis)]


def unstack(x: Any, num: Any = None, axis: int = 0) -> list[Array]:
    return [copied(part) for part in np.moveaxis(x, axis, 0)]


def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Array:
    if sparse:
        raise NotImplementedError("Sparse tensors are not supported.")
    y = in_pieces(
        lambda part: (part[..., None] == np.arange(num_classes)).astype(dtype or "float32"),
        as_type(np.asarray(x), np.int64),
        makes=num_classes,
    )
    return np.moveaxis(y, -1, axis)


def _multi_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    x = np.asarray(x)
    return reduced(np.maximum, one_hot(x, num_classes, axis, dtype, sparse), (1 if x.ndim >= 2 else 0,))


def cast(x: Any, dtype: Any = "float32", **_: Any) -> Array:
    if isinstance(dtype, dict):
        dtype = (dtype.get("config") or {}).get("name")
    name = dtype_name(dtype)
    return copied(np.asarray(x), "float32" if name == "bfloat16" else name)


def dtype_name(dtype: Any) -> str:
    """A type's name out of the forms that files have for it: ``float32``, ``tf.float32``, ``<dtype: 'float32'>``."""
    return str(dtype).removeprefix("<dtype: '").removesuffix("'>").removeprefix("tf.")


def take(x: Any, indices: Any, axis: Any = None) -> Array:
    """Entries by their places; negative ones count from the end."""
    table, places = np.asarray(x), as_type(np.asarray(indices), np.int64)
    return taken(_flat(table, axis), places, 0 if axis is None else axis)


def _take_along_axis(x: Any, indices: Any, axis: Any = None) -> Array:
    x, places = np.asarray(x), as_type(np.asarray(indices), np.int64)
    before = 0 if axis is None else place_of(axis, x.ndim)
    cut = before if x.shape[:before] == places.shape[:before] else 0
    return in_pieces(lambda part, own: np.take_along_axis(part, own, axis), x, places, cut=cut)


def integers(function: Callable[..., Any]) -> Callable[..., Array]:
    """The places of the largest or smallest values, in one axis or among all values."""

    def places(x: Any, axis: Any = None, keepdims: Any = False) -> Array:
        x = np.asarray(x)
        if axis is not None:
            return as_type(place_of_extreme(function, x, axis, bool(keepdims)), np.int32)
        flat = place_of_extreme(function, _flat(x, None), 0)
        return (flat.reshape((1,) * x.ndim) if keepdims else flat).astype(np.int32)

    return places


def top_k(x: Any, k: int, sorted: bool = True) -> list[Array]:
    """The largest values of the last axis and their places; of equal ones the first comes first."""
    x = contiguous(np.asarray(x))

    def largest(x: Array) -> Array:
        return np.argsort(-x if x.dtype.kind == "f" else -x.astype(np.int64), axis=-1, kind="stable")[..., :k]

    places = in_pieces(largest, x, cut=x.ndim - 1)
    values = np.empty(places.shape, x.dtype)
    for piece in pieces(places.shape):
        values[piece] = np.take_along_axis(x[piece[: x.ndim - 1]], places[piece], -1)
    return [values, as_type(places, np.int32)]


def _slice(x: Any, start_indices: Any, shape: Any = ()) -> Array:
    starts = [int(start) for start in np.ravel(start_indices)]
    sizes = [extent - start if size == -1 else size for start, size, extent in zip(starts, shape, np.shape(x))]
    key = tuple(slice(start, start + size) for start, size in zip(starts, sizes))
    return contiguous(np.asarray(x)[key])


def sort(x: Any, axis: Any = -1) -> Array:
    return along(np.sort, -1 if axis is None else axis)(_flat(np.asarray(x), axis))


def _order(x: Any, axis: Any = -1) -> Array:
    order = along(np.argsort, -1 if axis is None else axis, kind="stable")
    return as_type(order(_flat(np.asarray(x), axis)), np.int32)


def _differences(x: Any, n: int = 1, axis: int = -1) -> Array:
    x = np.asarray(x)
    if n < 1:
        return np.diff(x, n, axis)
    for _ in range(n):
        rows = np.moveaxis(x, axis, 0)
        change = spread(np.not_equal if x.dtype.kind == "b" else np.subtract, rows[1:], rows[:-1])
        x = np.moveaxis(change, 0, axis)
    return contiguous(x)


def where(condition: Any, x1: Any, x2: Any) -> Array:
    return np.where(condition, *together(x1, x2))


def full_like(x: Any, value: Any, dtype: Any = None) -> Array:
    x = np.asarray(x)
    return filled(x.shape, value, dtype or x.dtype)


def repeat(x: Any, repeats: Any, axis: Any = None) -> Array:
    x, own = _flat(np.asarray(x), axis), 0 if axis is None else axis
    if np.ndim(repeats) == 0:
        return repeated(x, int(repeats), own)
    return taken(x, np.repeat(np.arange(x.shape[own]), repeats), own)


def tile(x: Any, repeats: Any) -> Array:
    x, counts = np.asarray(x), np.ravel(repeats).tolist()
    ndim = max(x.ndim, len(counts))
    counts, sizes = [1] * (ndim - len(counts)) + counts, (1,) * (ndim - x.ndim) + x.shape
    x = x.reshape([one for size in sizes for one in (1, size)])
    tiles = copied(np.broadcast_to(x, [one for pair in zip(counts, sizes, strict=True) for one in pair]))
    return tiles.reshape([count * size for count, size in zip(counts, sizes, strict=True)])


def banded(x: Any, k: int, below: bool) -> Array:
    """``numpy.tril`` with ``below``, else ``numpy.triu``."""
    x = np.asarray(x)
    rows, columns = np.arange(x.shape[-2])[:, None], np.arange(x.shape[-1])
    kept = spread(np.greater_equal if below else np.less_equal, rows, columns - k)
    return spread(lambda part, keep: np.where(keep, part, part.dtype.type(0)), x, kept)


def _side_by_side(arrays: list[Array], axis: int) -> Array:
    return joined(arrays, min(axis, arrays[0].ndim - 1))


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def extreme(function: np.ufunc) -> Callable[..., Array]:
    """The largest or smallest values, or whether any or all hold."""

    def reduce(x: Any, axis: Any = None, keepdims: Any = False, initial: Any = None) -> Any:
        y = reduced(function, np.asarray(x), _all_axes(axis, np.ndim(x)), bool(keepdims))
        return y if initial is None else np.asarray(function(y, like(initial, y)))

    return reduce


def _counted(x: Any, axis: Any = None) -> Array:
    x = np.asarray(x)
    zeroes = spread(lambda part: (part != 0).astype(np.int64), x)
    return as_type(reduced(np.add, zeroes, _all_axes(axis, x.ndim)), np.int32)


def rolled(x: Array, shift: Any, axis: Any) -> Array:
    """As ``numpy.roll``."""
    if axis is None:
        y: Array = rolled(_flat(x, None), shift, 0).reshape(x.shape)
        return y
    pairs = np.broadcast(shift, axis)
    for by, own in pairs:
        size = x.shape[int(own)]
        cut = size - int(by) % max(size, 1)
        first, second = np.split(x, [cut], int(own))
        x = joined([second, first], int(own))
    return x if pairs.size else copied(x)


_function: Any
for _name, _function in {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "FloorDivide": floor_divide,
    "Power": np.power,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "LogicalXor": np.logical_xor,
}.items():
    define(_name, "x1 x2", binary(_function))
for _name, _function in OF_TENSORS.items():
    define(_name, "x1 x2", of_tensors(_function))
define("Divide TrueDivide", "x1 x2", by_value(_divide))
define("DivideNoNan", "x1 x2", by_value(_divide_no_nan))
define("Arctan2", "x1 x2", binary(lambda a, b: np.arctan2(as_float(a), as_float(b))))
define("Logaddexp", "x1 x2", binary(lambda a, b: np.logaddexp(as_float(a), as_float(b))))

for _name, _function in {
    "Arccos": np.arccos,
    "Arccosh": np.arccosh,
    "Arcsin": np.arcsin,
    "Arcsinh": np.arcsinh,
    "Arctan": np.arctan,
    "Arctanh": np.arctanh,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Erf": _erf,
    "Exp2": np.exp2,
    "Expm1": np.expm1,
    "Floor": np.floor,
    "Log": np.log,
    "Log10": np.log10,
    "Log1p": np.log1p,
    "Log2": np.log2,
    "Reciprocal": np.reciprocal,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Sqrt": np.sqrt,
    "Tan": np.tan,
}.items():
    define(_name, "x", unary(_function))
for _name, _function in {
    "Abs": np.abs,
    "Absolute": np.abs,
    "Copy": np.array,
    "Isfinite": np.isfinite,
    "Isinf": np.isinf,
    "Isnan": np.isnan,
    "LogicalNot": np.logical_not,
    "Negative": np.negative,
    "Sign": np.sign,
    "Square": np.square,
    "Trunc": np.trunc,
}.items():
    define(_name, "x", by_value(_function))
for _name, _activation in {
    "Celu": "celu",
    "Elu": "elu",
    "Exp": "exponential",
    "Gelu": "gelu",
    "HardShrink": "hard_shrink",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardTanh": "hard_tanh",
    "LeakyRelu": "leaky_relu",
    "LogSigmoid": "log_sigmoid",
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "SoftShrink": "soft_shrink",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "SparsePlus": "sparse_plus",
    "SparseSigmoid": "sparse_sigmoid",
    "Squareplus": "squareplus",
    "Tanh": "tanh",
    "TanhShrink": "tanh_shrink",
}.items():
    define(_name, "x", elementwise(activation(_activation)))
define("Softmax", "x", _over_axis("softmax"))
define("LogSoftmax", "x", _over_axis("log_softmax"))
define("Sparsemax", "x", _over_axis("sparsemax"))
define("Glu", "x", _glu)
define("Threshold", "x", elementwise(_threshold))
define("StopGradient", "x", by_value(np.array))
define(
    "ConvertToTensor",
    "x dtype",
    elementwise(lambda x, dtype=None, **_: copied(np.asarray(x)) if dtype is None else cast(x, dtype)),
)
define("Identity", "x", by_value(np.array))

define("Mean", "x", lambda x, axis=None, keepdims=False: summed(x, axis, keepdims, True))
define("Sum", "x", lambda x, axis=None, keepdims=False: summed(widened(x), axis, keepdims))
define(
    "Prod",
    "x",
    lambda x, axis=None, keepdims=False, dtype=None: product(widened(x) if dtype is None else x, axis, keepdims),
)
define("Var", "x", variance)
define("Std", "x", lambda x, axis=None, keepdims=False: spread(np.sqrt, variance(x, axis, keepdims)))
define(
    "Moments",
    "x",
    lambda x, axes, keepdims=False, synchronized=False: [
        summed(x, axes, keepdims, True),
        variance(x, axes, keepdims),
    ],
)
define("Average", "x weights", _average)
define("Median", "x", _median)
define("Norm", "x", norm)
define("Normalize", "x", _normalize)
define("LayerNorm", "x gamma beta", _layer_norm)
define("RMSNorm", "x scale", _rms_norm)
define("Logsumexp", "x", logsumexp)
define("Max Amax", "x", extreme(np.maximum))
define("Min Amin", "x", extreme(np.minimum))
define("Any", "x", extreme(np.logical_or))
define("All", "x", extreme(np.logical_and))
define("Argmax", "x", integers(np.argmax))
define("Argmin", "x", integers(np.argmin))
define("CountNonzero", "x", _counted)
define("Cumsum", "x", lambda x, axis=None, dtype=None: running(np.add, _flat(x, axis), axis or 0, dtype))
define("Cumprod", "x", lambda x, axis=None, dtype=None: running(np.multiply, _flat(x, axis), axis or 0, dtype))
define("Sort", "x", sort)
define("Argsort", "x", _order)
define("TopK", "x", top_k)
define(
    "Clip",
    "x",
    elementwise(lambda x, x_min=None, x_max=None: spread(clipped, x, like(x_min, x), like(x_max, x))),
)
define("Round", "x", by_value(np.round))
define(
    "NanToNum",
    "x",
    elementwise(
        lambda x, nan=0.0, posinf=None, neginf=None: spread(
            lambda part: np.nan_to_num(part, nan=nan, posinf=posinf, neginf=neginf), x
        )
    ),
)
define("Diff", "x", _differences)

define("ExpandDims", "x", lambda x, axis=-1: np.expand_dims(x, axes_of(axis)))
define("Squeeze", "x", lambda x, axis=None: np.squeeze(x, axes_of(axis)))
define("Reshape", "x", reshape)
define("Ravel", "x", lambda x: copied(np.asarray(x)).reshape(-1))
define("Transpose", "x", lambda x, axes=None: contiguous(np.transpose(x, axes)))
define("Swapaxes", "x", lambda x, axis1, axis2: contiguous(np.swapaxes(x, axis1, axis2)))
define("Moveaxis", "x", lambda x, source, destination: contiguous(np.moveaxis(x, source, destination)))
define("Cast", "x", elementwise(cast))
define("OnesLike", "x dtype", elementwise(lambda x, dtype=None: full_like(x, 1, dtype)))
define("ZerosLike", "x dtype", elementwise(lambda x, dtype=None: full_like(x, 0, dtype)))
define("FullLike", "x fill_value dtype", elementwise(full_like))
define("Concatenate", "xs", lambda xs, axis=0: joined(in_one_type(xs), axis))
define("Stack", "xs", lambda xs, axis=0: stacked(in_one_type(xs), axis))
define("Hstack", "xs", lambda xs: _side_by_side(in_one_type(map(np.atleast_1d, xs)), 1))
define("Vstack", "xs", lambda xs: _side_by_side(in_one_type(map(np.atleast_1d, xs)), 0))
define("Split", "x", split)
define("Unstack", "x", unstack)
define("Slice", "x start_indices", _slice)
define("Flip", "x", lambda x, axis=None: copied(np.flip(x, axes_of(axis))))
define("Roll", "x", lambda x, shift, axis=None: rolled(x, axes_of(shift), axes_of(axis)))
define("Repeat", "x", repeat)
define("Tile", "x", tile)
define(
    "Pad",
    "x constant_values",
    lambda x, constant_values=None, **kw: pad(x, kw.pop("pad_width"), constant_values, **kw),
)
define("Tril", "x", lambda x, k=0: banded(x, k, True))
define("Triu", "x", lambda x, k=0: banded(x, k, False))
define("Diagonal", "x", lambda x, offset=0, axis1=0, axis2=1: copied(np.diagonal(x, offset, axis1, axis2)))
define("Where", "condition x1 x2", by_value(where))
define("Take", "x indices", take)
define("TakeAlongAxis", "x indices", _take_along_axis)
define("OneHot", "x", one_hot)
define("MultiHot", "x", _multi_hot)
define("GetItem", "x key", lambda x, key: copied(np.asarray(x[_key(key)])))
define("BroadcastTo", "x", lambda x, shape=None: broadcast_to(x, shape))

define("Matmul", "x1 x2", matmul_any)
define("Dot", "x1 x2", dot)
define("Tensordot", "x1 x2", tensordot)
define("Inner", "x1 x2", lambda x1, x2: tensordot(x1, x2, [[-1], [-1]]))
define("Einsum", "*operands", lambda *operands, subscripts: einsum(subscripts, *operands))
define("MaxPool", "x", lambda x, **options: pool_any(as_float(x), False, **options))
define("AveragePool", "x", lambda x, **options: pool_any(as_float(x), True, **options))
