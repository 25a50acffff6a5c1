"""ONNX's operators beside the recurrent ones: each name's maker turns a node into a function of its input arrays.

Sums of products go through the core's dense step and the ordered sums of ../_arrays.py, so that a row's bits do not
depend on the rows beside it.
Next: onnx_recurrent.py; ../layers/operations.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast._arrays import ordered_mean
from lstmfast._pieces import place_of
from lstmfast.activations import Activation
from lstmfast.converting.onnx_recurrent import recurrent
from lstmfast.layers.base import Array
from lstmfast.layers.core import Dense
from lstmfast.layers.operations import OPERATIONS

Run = Callable[..., Any]

# ONNX's codes of the types that Cast may give.
_CODES = (1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13)
_TYPES = dict(
    zip(_CODES, "float32 uint8 int8 uint16 int16 int32 int64 bool float64 uint32 uint64".split(), strict=True)
)


class Call:
    """A node while it becomes a function: its attributes, and which of its inputs are constants.

    Attributes
    ----------
    makes : callable or None
        How many values it makes of its input arrays, where these may be more than the arrays broadcast to.
    """

    def __init__(
        self,
        operator: str,
        attributes: dict[str, Any],
        constants: list[Array | None],
        used: list[bool],
        opset: int,
        named: list[bool] | None = None,
    ) -> None:
        self.operator = operator
        self._named = [array is not None for array in constants] if named is None else named
        self.opset = opset
        self._attributes = dict(attributes)
        self._constants = constants
        self._used = used
        self.makes: Callable[..., float] | None = None

    def take(self, name: str, default: Any) -> Any:
        """An attribute, which has been heeded then."""
        value = self._attributes.pop(name, default)
        expected = (int, float) if isinstance(default, float) else type(default)
        if default is not None and not isinstance(value, expected):
            raise ValueError(f"the attribute {name} is {value!r}.")
        return value

    def need(self, name: str) -> Any:
        if name not in self._attributes:
            raise ValueError(f"the attribute {name} is missing.")
        return self._attributes.pop(name)

    def refuse_rest(self) -> None:
        """Raise where an attribute has not been heeded."""
        if self._attributes:
            raise NotImplementedError(f"the attributes {sorted(self._attributes)} are not supported.")

    def given(self, place: int) -> bool:
        """Whether this constant input is there."""
        return place < len(self._constants) and self._constants[place] is not None

    def maybe_constant(self, place: int) -> Array | None:
        return self._constants[place] if place < len(self._constants) else None

    def constant_if_named(self, place: int, name: str) -> Array | None:
        """An input that has to be a constant, if it is there at all."""
        return self.constant(place, name) if place < len(self._named) and self._named[place] else None

    def constant(self, place: int, name: str) -> Array:
        """An input that has to be a constant."""
        array = self.maybe_constant(place)
        if array is None:
            raise NotImplementedError(f"the input {name} has to be a weight, not something computed.")
        return array

    @property
    def outputs_count(self) -> int:
        return len(self._used)

    def uses(self, place: int) -> bool:
        """Whether anybody reads this output."""
        return place < len(self._used) and self._used[place]


OPERATORS: dict[str, Callable[[Call], Run]] = dict.fromkeys(("LSTM", "GRU", "RNN"), recurrent)


def _operator(*names: str) -> Callable[[Callable[[Call], Run]], Callable[[Call], Run]]:
    def add(make: Callable[[Call], Run]) -> Callable[[Call], Run]:
        for name in names:
            OPERATORS[name] = make
        return make

    return add


def _plain(names: str, function: Run) -> None:
    """Operators without attributes."""
    for name in names.split():
        OPERATORS[name] = lambda call: function


def _numbers(array: Any) -> list[int]:
    return [int(number) for number in np.ravel(array)]


# -- products -----------------------------------------------------------------------------------------------------


def _dense(kernel: Array, bias: Array | None) -> Run:
    """x (..., features) times a constant kernel."""
    layer = Dense(kernel.shape[1], use_bias=bias is not None, dtype=kernel.dtype.name)
    layer.build((None, kernel.shape[0]))
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return lambda x, *rest: layer(x)


def _product(a: Array, b: Array) -> Any:
    return OPERATIONS["Matmul"][1](a, b) if a.dtype.kind == "f" else np.matmul(a, b)


def _is_kernel(array: Array | None) -> bool:
    return array is not None and array.ndim == 2 and array.dtype.kind == "f" and array.size > 0


@_operator("MatMul")
def _matmul(call: Call) -> Run:
    kernel = call.maybe_constant(1)
    if kernel is None or not _is_kernel(kernel):
        return _product
    dense = _dense(kernel, None)
    return lambda a, b: dense(a) if a.ndim > 1 else dense(a[None])[0]


@_operator("Gemm")
def _gemm(call: Call) -> Run:
    alpha, beta = call.take("alpha", 1.0), call.take("beta", 1.0)
    turn_a, turn_b = bool(call.take("transA", 0)), bool(call.take("transB", 0))
    call.makes = lambda a, b, c=None: a.shape[turn_a] * b.shape[not turn_b]
    kernel, bias = call.maybe_constant(1), call.maybe_constant(2)
    if kernel is not None and _is_kernel(kernel) and not turn_a and alpha == 1:
        kernel = kernel.T if turn_b else kernel
        if bias is not None and beta == 1 and bias.shape in ((kernel.shape[1],), (1, kernel.shape[1])):
            return _dense(kernel, bias.reshape(-1))
        dense = _dense(kernel, None)
        return lambda a, b, c=None: _plus(dense(a), c, beta)

    def run(a: Array, b: Array, c: Array | None = None) -> Any:
        y = _product(a.T if turn_a else a, b.T if turn_b else b)
        return _plus(y if alpha == 1 else y * y.dtype.type(alpha), c, beta)

    return run


def _plus(y: Array, c: Array | None, beta: float) -> Array:
    if c is None:
        return y
    sums: Array = np.add(y, c if beta == 1 else c * c.dtype.type(beta), out=y)  # which does not stretch to a larger c
    return sums


# -- shapes -------------------------------------------------------------------------------------------------------


@_operator("Transpose")
def _transpose(call: Call) -> Run:
    order = call.take("perm", None)
    return lambda x: np.transpose(x, order)


@_operator("Squeeze")
def _squeeze(call: Call) -> Run:
    fixed = call.take("axes", None)

    def run(x: Array, axes: Array | None = None) -> Array:
        chosen = fixed if axes is None else _numbers(axes)
        return np.squeeze(x, None if chosen is None else tuple(chosen))

    return run


@_operator("Unsqueeze")
def _unsqueeze(call: Call) -> Run:
    fixed = call.take("axes", None)

    def run(x: Array, axes: Array | None = None) -> Array:
        return np.expand_dims(x, tuple(fixed if axes is None else _numbers(axes)))

    return run


@_operator("Reshape")
def _reshape(call: Call) -> Run:
    keeps_zero = call.take("allowzero", 0)

    def run(x: Array, shape: Array) -> Array:
        sizes = _numbers(shape)
        if not keeps_zero:
            sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


@_operator("Flatten")
def _flatten(call: Call) -> Run:
    axis = call.take("axis", 1)

    def run(x: Array) -> Array:
        place = axis if axis >= 0 else axis + x.ndim
        return x.reshape(int(np.prod(x.shape[:place])), int(np.prod(x.shape[place:])))

    return run


@_operator("Concat")
def _concat(call: Call) -> Run:
    axis = call.need("axis")
    call.makes = lambda *arrays: sum(array.size for array in arrays)
    return lambda *arrays: np.concatenate(arrays, axis)


@_operator("Split")
def _split(call: Call) -> Run:
    axis, fixed = call.take("axis", 0), call.take("split", None)
    count = call.outputs_count
    if call.take("num_outputs", count) != count:
        raise ValueError(f"num_outputs is not {count}, the number of its outputs.")

    def run(x: Array, sizes: Array | None = None) -> list[Array]:
        parts = fixed if sizes is None else _numbers(sizes)
        if parts is None:
            each = -(-x.shape[axis] // count)
            parts = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
        if len(parts) != count or min(parts) < 0 or sum(parts) != x.shape[axis]:
            raise ValueError(f"cannot split {x.shape[axis]} into {parts} for {count} outputs.")
        return np.split(x, np.cumsum(parts)[:-1], axis)

    return run


@_operator("Slice")
def _slice(call: Call) -> Run:
    fixed = (call.take("starts", None), call.take("ends", None), call.take("axes", None), None)

    def run(x: Array, first: Any = None, last: Any = None, along: Any = None, by: Any = None) -> Array:
        given = fixed if first is None and last is None else (first, last, along, by)
        starts, ends, axes, steps = (None if part is None else _numbers(part) for part in given)
        if starts is None or ends is None or len(starts) != len(ends):
            raise ValueError(f"cannot slice from {starts} to {ends}.")
        chosen = [slice(None)] * x.ndim
        for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
            axis = place if axes is None else axes[place]
            step = None if steps is None else steps[place]
            if step is not None and step < 0 and start < -x.shape[axis]:
                start = 0  # where Python's slice would begin before the first
            chosen[axis] = slice(start, end, step)
        return x[tuple(chosen)]

    return run


@_operator("Gather")
def _gather(call: Call) -> Run:
    axis = call.take("axis", 0)
    call.makes = lambda x, places: float(places.size) * x.size / max(1, x.shape[axis])
    return lambda x, places: np.take(x, places.astype(np.int64), axis)


@_operator("GatherElements")
def _gather_elements(call: Call) -> Run:
    axis = call.take("axis", 0)

    def run(x: Array, places: Array) -> Array:
        along = place_of(axis, x.ndim)
        pairs = list(zip(x.shape, places.shape, strict=False))
        if x.ndim != places.ndim or any(own < size for place, (own, size) in enumerate(pairs) if place != along):
            raise ValueError(f"cannot take places of shape {places.shape} along axis {along} of shape {x.shape}.")
        x = x[tuple(slice(own if place == along else size) for place, (own, size) in enumerate(pairs))]
        return np.take_along_axis(x, places, along)

    return run


@_operator("GatherND")
def _gather_nd(call: Call) -> Run:
    batch = call.take("batch_dims", 0)
    call.makes = lambda x, places: places[..., 0].size * np.prod(x.shape[batch + places.shape[-1] :], dtype=float)

    def run(x: Array, places: Array) -> Array:
        if x.shape[:batch] != places.shape[:-1][:batch]:
            raise ValueError(f"the first {batch} axes of the shapes {x.shape} and {places.shape} differ.")
        rows = np.indices(places.shape[:-1], sparse=True)[:batch]
        key = (*rows, *np.moveaxis(places, -1, 0))
        return np.asarray(x[key])

    return run


@_operator("Shape")
def _shape(call: Call) -> Run:
    start, end = call.take("start", None), call.take("end", None)
    return lambda x: np.array(x.shape[start:end], np.int64)


@_operator("Constant")
def _constant(call: Call) -> Run:
    kinds = {"value": None, "value_float": "float32", "value_floats": "float32"}
    kinds |= {"value_int": "int64", "value_ints": "int64"}
    arrays = [np.asarray(value, kinds[name]) for name in kinds if (value := call.take(name, None)) is not None]
    if len(arrays) != 1:
        raise NotImplementedError("its value is of a kind that is not supported.")
    return lambda: arrays[0]


@_operator("ConstantOfShape")
def _constant_of_shape(call: Call) -> Run:
    value = np.asarray(call.take("value", np.zeros(1, np.float32)))
    if value.size != 1:
        raise ValueError(f"its value holds {value.size} numbers.")

    call.makes = lambda shape: np.prod(shape, dtype=float)
    return lambda shape: np.full(_numbers(shape), value.reshape(()), value.dtype)


@_operator("Expand")
def _expand(call: Call) -> Run:
    def target(x: Array, shape: Array) -> tuple[int, ...]:
        return np.broadcast_shapes(x.shape, tuple(_numbers(shape)))

    call.makes = lambda x, shape: np.prod(target(x, shape), dtype=float)
    return lambda x, shape: np.broadcast_to(x, target(x, shape))


@_operator("Tile")
def _tile(call: Call) -> Run:
    call.makes = lambda x, repeats: x.size * np.prod(repeats, dtype=float)
    return lambda x, repeats: np.tile(x, _numbers(repeats))


@_operator("Range")
def _range(call: Call) -> Run:
    call.makes = lambda start, limit, delta: (float(limit) - float(start)) / float(delta)
    return lambda start, limit, delta: np.arange(float(start), float(limit), float(delta)).astype(start.dtype)


@_operator("Cast")
def _cast(call: Call) -> Run:
    call.take("saturate", 1)
    to = call.need("to")
    if to not in _TYPES:
        raise NotImplementedError(f"the type {to} is not supported.")
    return lambda x: x.astype(_TYPES[to])


@_operator("Dropout")
def _dropout(call: Call) -> Run:
    for inert in ("ratio", "seed"):
        call.take(inert, None)

    def run(x: Array, ratio: Array | None = None, training: Array | None = None) -> list[Array]:
        if training is not None and training.any():
            raise NotImplementedError("dropping out (training_mode) is not supported.")
        return [x, np.ones(x.shape, bool)]

    return run


# -- one value at a time ------------------------------------------------------------------------------------------


def _divide(a: Array, b: Array) -> Any:
    if a.dtype.kind == "f":
        return a / b
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))  # integers are cut off towards zero


def _of_floats(function: Run) -> Run:
    """``function``, for operators that ONNX has of floats alone."""

    def run(x: Array, **options: Any) -> Any:
        if x.dtype.kind != "f":
            raise TypeError(f"expected float32 or float64, got {x.dtype}.")
        return function(x, **options)

    return run


def _where(condition: Array, a: Array, b: Array) -> Array:
    return np.where(condition, a, b)


def _fold(function: Callable[[Any, Any], Any]) -> Run:
    def run(first: Array, *others: Array) -> Any:
        for other in others:
            first = function(first, other)
        return first

    return run


def _activate(name: str, **parameters: float) -> Run:
    activation = Activation(name, parameters)
    return _of_floats(lambda x: activation.run(np.ascontiguousarray(x)).reshape(x.shape))


_plain("Add", np.add)
_plain("Sub", np.subtract)
_plain("Mul", np.multiply)
_plain("Div", _divide)
_plain("Pow", lambda a, b: np.power(a, b).astype(a.dtype, copy=False))
_plain("Max", _fold(np.maximum))
_plain("Min", _fold(np.minimum))
_plain("Sum", _fold(np.add))
_plain("Abs", np.abs)
_plain("Neg", np.negative)
_plain("Sqrt", np.sqrt)
_plain("Log", np.log)
_plain("Reciprocal", np.reciprocal)
_plain("Floor", np.floor)
_plain("Ceil", np.ceil)
_plain("Sign", np.sign)
_plain("Not", np.logical_not)
_plain("And", np.logical_and)
_plain("Or", np.logical_or)
_plain("Equal", np.equal)
_plain("Greater", np.greater)
_plain("GreaterOrEqual", np.greater_equal)
_plain("Less", np.less)
_plain("LessOrEqual", np.less_equal)
_plain("Where", _where)
_plain("Identity", lambda x: x)
_plain("PRelu", lambda x, slope: np.where(x < 0, x * slope, x))
_plain("Erf", _of_floats(OPERATIONS["Erf"][1]))
_plain("Exp", _activate("exponential"))
_plain("Relu", _activate("relu"))
_plain("Sigmoid", _activate("sigmoid"))
_plain("Tanh", _activate("tanh"))
_plain("Softplus", _activate("softplus"))
_plain("Softsign", _activate("softsign"))
_plain("HardSwish", _activate("hard_silu"))
_plain("Mish", _activate("mish"))

for _name, _keras, _attribute, _parameter, _default in (
    ("LeakyRelu", "leaky_relu", "alpha", "negative_slope", 0.01),
    ("Elu", "elu", "alpha", "alpha", 1.0),
    ("Celu", "celu", "alpha", "alpha", 1.0),
    ("ThresholdedRelu", "threshold", "alpha", "threshold", 1.0),
):

    def _parametric(call: Call, told: tuple[Any, ...] = (_keras, _attribute, _parameter, _default)) -> Run:
        keras, attribute, parameter, default = told
        return _activate(keras, **{parameter: call.take(attribute, default)})

    OPERATORS[_name] = _parametric


@_operator("Selu")
def _selu(call: Call) -> Run:
    for name, known in (("alpha", 1.6732632), ("gamma", 1.0507009)):
        if not np.isclose(call.take(name, known), known, rtol=1e-6):
            raise NotImplementedError(f"only {name}={known} is supported.")
    return _activate("selu")


@_operator("HardSigmoid")
def _hard_sigmoid(call: Call) -> Run:
    alpha, beta = call.take("alpha", 0.2), call.take("beta", 0.5)
    return lambda x: np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1)


@_operator("Gelu")
def _gelu(call: Call) -> Run:
    return _activate("gelu", approximate=call.take("approximate", "none") == "tanh")


@_operator("Clip")
def _clip(call: Call) -> Run:
    least, most = call.take("min", None), call.take("max", None)

    def run(x: Array, low: Array | None = None, high: Array | None = None) -> Array:
        low, high = least if low is None else low, most if high is None else high
        x = x if low is None else np.maximum(x, np.asarray(low, x.dtype))
        return x if high is None else np.minimum(x, np.asarray(high, x.dtype))

    return run


# -- along an axis ------------------------------------------------------------------------------------------------


@_operator("Softmax", "LogSoftmax")
def _softmax(call: Call) -> Run:
    name = "softmax" if call.operator == "Softmax" else "log_softmax"
    if call.opset >= 13:
        return _activate(name, axis=call.take("axis", -1))
    axis, softmax = call.take("axis", 1), _activate(name)  # over this axis and all behind it

    def run(x: Array) -> Any:
        before, behind = (int(np.prod(sizes)) for sizes in (x.shape[:axis], x.shape[axis:]))
        return softmax(x.reshape(before, behind)).reshape(x.shape)

    return run


_sum = OPERATIONS["Sum"][1]


def _mean(x: Array, **options: Any) -> Any:
    if x.dtype.kind == "f":
        return OPERATIONS["Mean"][1](x, **options)
    total = _sum(x, **options)
    return _divide(total, total.dtype.type(x.size // max(1, total.size)))


_REDUCTIONS: dict[str, Run] = {
    "ReduceL1": lambda x, **options: _sum(np.abs(x), **options),
    "ReduceL2": _of_floats(OPERATIONS["Norm"][1]),
    "ReduceLogSum": _of_floats(lambda x, **options: np.log(_sum(x, **options))),
    "ReduceLogSumExp": _of_floats(OPERATIONS["Logsumexp"][1]),
    "ReduceMax": OPERATIONS["Max"][1],
    "ReduceMean": _mean,
    "ReduceMin": OPERATIONS["Min"][1],
    "ReduceProd": OPERATIONS["Prod"][1],
    "ReduceSum": _sum,
    "ReduceSumSquare": lambda x, **options: _sum(np.square(x), **options),
}


@_operator(*_REDUCTIONS)
def _reduce(call: Call) -> Run:
    function = _REDUCTIONS[call.operator]
    fixed, keepdims = call.take("axes", None), bool(call.take("keepdims", 1))
    without = () if call.take("noop_with_empty_axes", 0) else None
    call.makes = lambda x, axes=None: 0 if x.size else np.prod([size or 1 for size in x.shape], dtype=float)

    def run(x: Array, axes: Array | None = None) -> Any:
        chosen = fixed if axes is None else _numbers(axes)
        return function(x, axis=chosen or without, keepdims=keepdims)

    return run


@_operator("ArgMax", "ArgMin")
def _arg(call: Call) -> Run:
    function = np.argmax if call.operator == "ArgMax" else np.argmin
    axis, keepdims = call.take("axis", 0), bool(call.take("keepdims", 1))
    if call.take("select_last_index", 0):
        raise NotImplementedError("select_last_index=1 is not supported.")
    return lambda x: np.asarray(function(x, axis=axis, keepdims=keepdims)).astype(np.int64)


@_operator("BatchNormalization")
def _batch_normalization(call: Call) -> Run:
    epsilon = call.take("epsilon", 1e-5)
    call.take("momentum", None)
    if call.take("spatial", 1) != 1:
        raise NotImplementedError("spatial=0 is not supported.")
    if call.take("training_mode", 0):
        raise NotImplementedError("training_mode=1 is not supported.")

    def run(x: Array, scale: Array, offset: Array, mean: Array, variance: Array) -> Array:
        shapes = {array.shape for array in (scale, offset, mean, variance)}
        if shapes != {x.shape[1:2] or (1,)}:
            raise ValueError(f"its weights have the shapes {sorted(shapes)} for an input of shape {x.shape}.")
        columns = (-1, *[1] * (x.ndim - 2))
        factor = scale / np.sqrt(variance + variance.dtype.type(epsilon))
        y: Array = (x - mean.reshape(columns)) * factor.reshape(columns) + offset.reshape(columns)
        return y

    return run


@_operator("LayerNormalization")
def _layer_normalization(call: Call) -> Run:
    axis, epsilon = call.take("axis", -1), call.take("epsilon", 1e-5)
    call.take("stash_type", 1)
    if call.uses(1) or call.uses(2):
        raise NotImplementedError("its outputs Mean and InvStdDev are not supported.")

    def run(x: Array, scale: Array, offset: Array | None = None) -> Array:
        axes = tuple(range(axis % x.ndim, x.ndim))
        centred = x - ordered_mean(x, axes)
        y: Array = centred / np.sqrt(ordered_mean(centred * centred, axes) + x.dtype.type(epsilon)) * scale
        return y if offset is None else y + offset

    return run
