"""Operations that a functional graph holds beside its layers: `keras.ops` calls, and the masks that Keras 3 freezes.

Each is a function of arrays and constants by the class name that Keras gives it in a config.
Next: base.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast import activations
from lstmfast._arrays import ordered_mean, ordered_sum
from lstmfast._graph import KerasTensor, Node, Shape, flatten, map_shapes, map_tree
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.core import matmul

OPERATIONS: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {}
_LISTS = ("xs", "values")
_INERT = ("name", "training")
# Operations that make more values than they take, and how many values one may make of a batch of 12.
_GROWING = ("BroadcastTo", "OneHot", "Pad", "Repeat", "Tile", "one_hot", "pad", "repeat", "tile")
_MOST_VALUES = 1 << 28


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

    def __init__(
        self, operation: str, options: dict[str, Any] | None = None, module: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.module = module
        self.operation = operation
        self.options = dict(options or {})

    def saved_entry(self) -> dict[str, Any]:
        """The operation as a Keras 3 file holds it."""
        if self.module is None:
            raise ValueError(
                f"Operation {self.operation} ('{self.name}') is not one of Keras 3, and cannot be written."
            )
        return {
            "module": self.module,
            "class_name": self.operation,
            "config": {"name": self.name, **self.options},
            "registered_name": self.operation,
        }

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
        for name, value in kwargs.items():
            if name in names:
                bound[name] = value
            elif value not in (None, False) and name not in _INERT:
                raise NotImplementedError(f"Operation {self.operation} does not take {name}={value!r}.")
        if len(args) > len(names) or names[0] not in bound:
            raise ValueError(f"Operation {self.operation} was called with {len(args)} arguments.")
        last = max(position for position, name in enumerate(names) if name in bound)
        return [bound.get(name) for name in names[: last + 1]], {}

    @property
    def joins(self) -> bool:
        """Whether the first argument is a list of tensors."""
        return OPERATIONS[self.operation][0][0] in _LISTS

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes, _ = self._probe(self._last_inputs, input_shape)
        return shapes if len(shapes) > 1 else shapes[0]

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        self._last_inputs = inputs
        self.built = True
        shapes, dtypes = self._probe(inputs, map_tree(lambda leaf: getattr(leaf, "shape", ()), inputs))
        outputs = [KerasTensor(shape, dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        Node(self, (inputs,), {}, outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def _probe(self, inputs: Any, shapes: Any) -> tuple[list[Shape], list[str]]:
        """Shapes and types of the outputs, found by running on zeros of two sizes where a size may vary."""
        run = self.freeze(())
        flat: list[Shape] = []
        map_shapes(flat.append, shapes)
        self._check_size(inputs, flat)

        def outputs(size: int) -> list[Array]:
            own = iter(flat)

            def fill(leaf: Any) -> Any:
                shape = next(own)
                if not isinstance(leaf, KerasTensor):
                    return leaf
                dtype = "float32" if leaf.dtype in ("float16", "bfloat16") else leaf.dtype
                return np.zeros([size if extent is None else extent for extent in shape], dtype)

            with np.errstate(all="ignore"):
                return [np.asarray(array) for array in flatten(run(map_tree(fill, inputs)))]

        first, second = outputs(6), outputs(12)
        if [array.ndim for array in first] != [array.ndim for array in second]:
            raise ValueError(f"Operation {self.operation} gives a rank that depends on its input's size.")
        found: list[Shape] = [
            tuple(a if a == b else None for a, b in zip(one.shape, other.shape, strict=True))
            for one, other in zip(first, second, strict=True)
        ]
        return found, [array.dtype.name for array in first]

    def _check_size(self, inputs: Any, shapes: list[Shape]) -> None:
        """Refuse what would take too much memory, before any is taken."""
        values = sum(int(np.prod([12 if size is None else size for size in shape], dtype=float)) for shape in shapes)
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

    def call_args(self, node: Node) -> list[Any]:
        return list(node.args[0])


def _define(name: str, arguments: str, function: Callable[..., Any]) -> None:
    OPERATIONS[name] = (tuple(arguments.split()), function)


def _same(value: Any, other: Any) -> Any:
    """A constant in the type of the array beside it, as Keras promotes it."""
    if isinstance(other, np.ndarray) and not isinstance(value, np.ndarray) and other.dtype.kind == "f":
        return np.asarray(value, other.dtype)
    return value


def _binary(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda x1, x2: function(_same(x1, x2), _same(x2, x1))


def _axis(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


def _key(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _float(x: Any) -> Array:
    array = np.ascontiguousarray(x)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _summed(x: Any, axis: Any, keepdims: bool, mean: bool = False) -> Array:
    x = np.asarray(x)
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, (list, tuple)) else (axis,)
    axes = tuple(one % x.ndim for one in axes)
    if mean and x.dtype.kind != "f":
        x = x.astype(np.float32)
    if x.dtype.kind == "b":
        x = x.astype(np.int32)
    return np.array((ordered_mean if mean else ordered_sum)(x, axes, keepdims))


def _variance(x: Any, axis: Any = None, keepdims: bool = False) -> Array:
    x = _float(x)
    return _summed(np.square(x - _summed(x, axis, True, True)), axis, keepdims, True)


def _activation(name: str) -> Callable[..., Array]:
    def apply(x: Any, **parameters: Any) -> Array:
        return activations.Activation(name, parameters).run(_float(x))

    return apply


def _matmul(a: Any, b: Any) -> Array:
    """Products of matrices with any leading axes, each on the core's dense step."""
    a, b = _float(a), _float(b)
    first, second = a.ndim == 1, b.ndim == 1
    a, b = a[None] if first else a, b[:, None] if second else b
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = np.ascontiguousarray(np.broadcast_to(a, leading + a.shape[-2:])).reshape(-1, *a.shape[-2:])
    right = np.broadcast_to(b, leading + b.shape[-2:]).reshape(-1, *b.shape[-2:])
    y = matmul(left, right).reshape(*leading, a.shape[-2], b.shape[-1])
    y = y[..., 0, :] if first else y
    return y[..., 0] if second else y


def _transposed_matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
) -> Array:
    a, b = np.asarray(a), np.asarray(b)
    a = np.swapaxes(a, -1, -2) if transpose_a or adjoint_a else a
    return _matmul(a, np.swapaxes(b, -1, -2) if transpose_b or adjoint_b else b)


def _reshape(x: Any, newshape: Any) -> Array:
    """None stands for the batch, as -1 does."""
    return np.ascontiguousarray(x).reshape([-1 if size is None else int(size) for size in np.ravel(newshape)])


def _pad(x: Any, pad_width: Any, constant_values: Any = None, mode: str = "constant") -> Array:
    mode = mode.lower()
    options = {"constant_values": constant_values or 0} if mode == "constant" else {}
    if isinstance(pad_width, (list, tuple)) and len(pad_width) == 1:
        pad_width = pad_width[0]
    return np.pad(x, pad_width, mode, **options)  # type: ignore[call-overload,no-any-return]


def _split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    if isinstance(indices_or_sections, list):
        indices_or_sections = list(indices_or_sections)
    return [np.ascontiguousarray(part) for part in np.split(x, indices_or_sections, axis)]


def _one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Array:
    if sparse:
        raise NotImplementedError("Sparse tensors are not supported.")
    y = np.asarray(x)[..., None] == np.arange(num_classes)
    return np.moveaxis(y.astype(dtype or "float32"), -1, axis)


def _cast(x: Any, dtype: Any = "float32", **_: Any) -> Array:
    if isinstance(dtype, dict):
        dtype = (dtype.get("config") or {}).get("name")
    dtype = str(dtype).removeprefix("tf.")
    return np.asarray(x).astype("float32" if dtype == "bfloat16" else dtype)


def _integers(function: Callable[..., Any]) -> Callable[..., Array]:
    return lambda x, axis=None, keepdims=False: function(x, axis=axis, keepdims=keepdims).astype(np.int32)


_BINARY: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "Add": ("math.add add __operators__.add", np.add),
    "Subtract": ("math.subtract subtract __operators__.sub", np.subtract),
    "Multiply": ("math.multiply multiply __operators__.mul", np.multiply),
    "Divide": ("math.divide divide math.truediv truediv __operators__.truediv", np.true_divide),
    "TrueDivide": ("math.divide_no_nan", np.true_divide),
    "FloorDivide": ("math.floordiv __operators__.floordiv", np.floor_divide),
    "Mod": ("math.floormod __operators__.mod", np.mod),
    "Power": ("math.pow pow __operators__.pow", np.power),
    "Maximum": ("math.maximum maximum", np.maximum),
    "Minimum": ("math.minimum minimum", np.minimum),
    "Equal": ("math.equal equal __operators__.eq", np.equal),
    "NotEqual": ("math.not_equal not_equal __operators__.ne", np.not_equal),
    "Greater": ("math.greater greater __operators__.gt", np.greater),
    "GreaterEqual": ("math.greater_equal greater_equal __operators__.ge", np.greater_equal),
    "Less": ("math.less less __operators__.lt", np.less),
    "LessEqual": ("math.less_equal less_equal __operators__.le", np.less_equal),
    "LogicalAnd": ("math.logical_and logical_and __operators__.and", np.logical_and),
    "LogicalOr": ("math.logical_or logical_or __operators__.or", np.logical_or),
}
for _name, (_older, _function) in _BINARY.items():
    _define(_name, "x1 x2", _binary(_function))
    for _tf in _older.split():
        _define(_tf, "x y", _binary(_function))
del OPERATIONS["math.divide_no_nan"]

_UNARY: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Absolute": ("math.abs abs __operators__.abs", np.abs),
    "Ceil": ("math.ceil", np.ceil),
    "Copy": ("identity", np.array),
    "Cos": ("math.cos cos", lambda x: np.cos(_float(x))),
    "Exp": ("math.exp exp", _activation("exponential")),
    "Floor": ("math.floor floor", np.floor),
    "Log": ("math.log", lambda x: np.log(_float(x))),
    "Log1p": ("math.log1p", lambda x: np.log1p(_float(x))),
    "LogicalNot": ("math.logical_not logical_not __operators__.not", np.logical_not),
    "Negative": ("math.negative negative __operators__.neg", np.negative),
    "Reciprocal": ("math.reciprocal", np.reciprocal),
    "Relu6": ("nn.relu6", _activation("relu6")),
    "Rsqrt": ("math.rsqrt", lambda x: 1 / np.sqrt(_float(x))),
    "Selu": ("nn.selu", _activation("selu")),
    "Sigmoid": ("math.sigmoid sigmoid nn.sigmoid", _activation("sigmoid")),
    "Sign": ("math.sign sign", np.sign),
    "Silu": ("nn.silu nn.swish", _activation("silu")),
    "Sin": ("math.sin sin", lambda x: np.sin(_float(x))),
    "Softplus": ("math.softplus nn.softplus", _activation("softplus")),
    "Softsign": ("nn.softsign", _activation("softsign")),
    "Sqrt": ("math.sqrt sqrt", lambda x: np.sqrt(_float(x))),
    "Square": ("math.square square", np.square),
    "Tanh": ("math.tanh tanh nn.tanh", _activation("tanh")),
}
for _name, (_older, _unary) in _UNARY.items():
    _define(_name, "x", _unary)
    for _tf in _older.split():
        _define(_tf, "x", _unary)

_define("Relu", "x", _activation("relu"))
_define("Gelu", "x", _activation("gelu"))
_define("Elu", "x", _activation("elu"))
_define("LeakyRelu", "x", _activation("leaky_relu"))
_define("HardSigmoid", "x", _activation("hard_sigmoid"))
_define("Softmax", "x", _activation("softmax"))
_define("LogSoftmax", "x", _activation("log_softmax"))
_define("Mean", "x", lambda x, axis=None, keepdims=False: _summed(x, axis, keepdims, True))
_define("Sum", "x", lambda x, axis=None, keepdims=False: _summed(x, axis, keepdims))
_define("Var", "x", _variance)
_define("Std", "x", lambda x, axis=None, keepdims=False: np.sqrt(_variance(x, axis, keepdims)))
_define(
    "Norm",
    "x",
    lambda x, ord=None, axis=None, keepdims=False: np.sqrt(_summed(np.square(x), axis, keepdims)),
)
_define("Max", "x", lambda x, axis=None, keepdims=False, initial=None: np.max(x, axis=_axis(axis), keepdims=keepdims))
_define("Min", "x", lambda x, axis=None, keepdims=False, initial=None: np.min(x, axis=_axis(axis), keepdims=keepdims))
_define("Argmax", "x", _integers(np.argmax))
_define("Argmin", "x", _integers(np.argmin))
_define("Any", "x", lambda x, axis=None, keepdims=False: np.any(x, axis=_axis(axis), keepdims=keepdims))
_define("All", "x", lambda x, axis=None, keepdims=False: np.all(x, axis=_axis(axis), keepdims=keepdims))
_define("Cumsum", "x", lambda x, axis=None, dtype=None: np.add.accumulate(x, axis=axis, dtype=dtype or x.dtype))
_define("Clip", "x", lambda x, x_min=None, x_max=None: np.clip(x, _same(x_min, x), _same(x_max, x)))
_define("Round", "x", lambda x, decimals=0: np.round(x, decimals))
_define("ExpandDims", "x", lambda x, axis=-1: np.expand_dims(x, _axis(axis)))
_define("Squeeze", "x", lambda x, axis=None: np.squeeze(x, _axis(axis)))
_define("Reshape", "x", _reshape)
_define("Transpose", "x", lambda x, axes=None: np.ascontiguousarray(np.transpose(x, axes)))
_define("Swapaxes", "x", lambda x, axis1, axis2: np.ascontiguousarray(np.swapaxes(x, axis1, axis2)))
_define("Moveaxis", "x", lambda x, source, destination: np.ascontiguousarray(np.moveaxis(x, source, destination)))
_define("Cast", "x", _cast)
_define("OnesLike", "x dtype", lambda x, dtype=None: np.ones_like(x, dtype=dtype))
_define("ZerosLike", "x dtype", lambda x, dtype=None: np.zeros_like(x, dtype=dtype))
_define("FullLike", "x fill_value dtype", lambda x, fill_value, dtype=None: np.full_like(x, fill_value, dtype=dtype))
_define("Concatenate", "xs", lambda xs, axis=0: np.concatenate(xs, axis=axis))
_define("Stack", "xs", lambda xs, axis=0: np.stack(xs, axis=axis))
_define("Split", "x", _split)
_define("Flip", "x", lambda x, axis=None: np.flip(x, _axis(axis)).copy())
_define("Roll", "x", lambda x, shift, axis=None: np.roll(x, _axis(shift), _axis(axis)))
_define("Repeat", "x", lambda x, repeats, axis=None: np.repeat(x, repeats, axis=axis))
_define("Tile", "x", lambda x, repeats: np.tile(np.asarray(x), repeats))
_define(
    "Pad",
    "x constant_values",
    lambda x, constant_values=None, **kw: _pad(x, kw.pop("pad_width"), constant_values, **kw),
)
_define("Where", "condition x1 x2", lambda condition, x1, x2: np.where(condition, _same(x1, x2), _same(x2, x1)))
_define("Take", "x indices", lambda x, indices, axis=None: np.take(x, np.asarray(indices, np.int64), axis=axis))
_define("OneHot", "x", _one_hot)
_define("GetItem", "x key", lambda x, key: np.ascontiguousarray(x[_key(key)]))
_define("BroadcastTo", "x", lambda x, shape=None: np.broadcast_to(x, shape).copy())
_define("Matmul", "x1 x2", _matmul)

# tf.keras 2 records TensorFlow's functions under their own names, with all arguments at the call.
_define("__operators__.getitem", "x slice_spec", lambda x, slice_spec: np.ascontiguousarray(x[_slices(slice_spec)]))
_define("concat", "values axis", lambda values, axis: np.concatenate(values, axis=axis))
_define("stack", "values axis", lambda values, axis=0: np.stack(values, axis=axis))
_define(
    "unstack",
    "value num axis",
    lambda value, num=None, axis=0: [np.ascontiguousarray(part) for part in np.moveaxis(value, axis, 0)],
)
_define(
    "split",
    "value num_or_size_splits axis",
    lambda value, num_or_size_splits, axis=0: _split(
        value,
        np.cumsum(num_or_size_splits)[:-1] if isinstance(num_or_size_splits, list) else num_or_size_splits,
        axis or 0,
    ),
)
_define("cast", "x dtype", _cast)
_define("expand_dims", "input axis", lambda input, axis=-1: np.expand_dims(input, axis))
_define("reshape", "tensor shape", lambda tensor, shape: _reshape(tensor, shape))  # noqa: PLW0108
for _tf in ("transpose", "compat.v1.transpose"):
    _define(_tf, "a perm", lambda a, perm=None: np.ascontiguousarray(np.transpose(a, perm)))
_define("tile", "input multiples", lambda input, multiples: np.tile(np.asarray(input), multiples))
_define("repeat", "input repeats axis", lambda input, repeats, axis=None: np.repeat(input, repeats, axis=axis))
_define("reverse", "tensor axis", lambda tensor, axis: np.flip(tensor, _axis(axis)).copy())
_define("where", "condition x y", lambda condition, x, y: np.where(condition, _same(x, y), _same(y, x)))
_define("zeros_like", "input dtype", lambda input, dtype=None: np.zeros_like(input, dtype=dtype))
_define("ones_like", "input dtype", lambda input, dtype=None: np.ones_like(input, dtype=dtype))
_define(
    "pad",
    "tensor paddings mode constant_values",
    lambda tensor, paddings, mode="CONSTANT", constant_values=0: _pad(
        tensor, paddings, constant_values, mode or "CONSTANT"
    ),
)
_define("one_hot", "indices depth", _one_hot)
_define(
    "gather",
    "params indices axis",
    lambda params, indices, axis=None: np.take(params, np.asarray(indices, np.int64), axis=axis or 0),
)
_define(
    "clip_by_value",
    "t clip_value_min clip_value_max",
    lambda t, clip_value_min, clip_value_max: np.clip(t, _same(clip_value_min, t), _same(clip_value_max, t)),
)
_define("nn.relu", "features", _activation("relu"))
_define(
    "nn.leaky_relu",
    "features alpha",
    lambda features, alpha=0.2: _activation("leaky_relu")(features, negative_slope=alpha),
)
_define(
    "nn.softmax",
    "logits axis",
    lambda logits, axis=None: _activation("softmax")(logits, axis=-1 if axis is None else axis),
)
_define("keras.activations.relu", "x", _activation("relu"))
for _tf in ("squeeze", "compat.v1.squeeze"):
    _define(_tf, "input axis", lambda input, axis=None: np.squeeze(input, _axis(axis)))
for _tf in ("linalg.matmul", "matmul"):
    _define(_tf, "a b transpose_a transpose_b adjoint_a adjoint_b", _transposed_matmul)
_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "mean": lambda x, axis=None, keepdims=False: _summed(x, axis, bool(keepdims), True),
    "sum": lambda x, axis=None, keepdims=False: _summed(x, axis, bool(keepdims)),
    "max": lambda x, axis=None, keepdims=False: np.max(x, axis=_axis(axis), keepdims=bool(keepdims)),
    "min": lambda x, axis=None, keepdims=False: np.min(x, axis=_axis(axis), keepdims=bool(keepdims)),
    "any": lambda x, axis=None, keepdims=False: np.any(x, axis=_axis(axis), keepdims=bool(keepdims)),
    "all": lambda x, axis=None, keepdims=False: np.all(x, axis=_axis(axis), keepdims=bool(keepdims)),
}
for _name, _function in _REDUCTIONS.items():
    for _tf in (f"math.reduce_{_name}", f"reduce_{_name}"):
        _define(_tf, "input_tensor axis keepdims", _function)


def _slices(spec: Any) -> Any:
    """A slice as tf.keras writes it: ``{"start", "stop", "step"}``, a number, an ellipsis or a new axis."""

    def one(item: Any) -> Any:
        if isinstance(item, dict):
            if item.get("class_name") == "__ellipsis__" or item.get("type") == "ellipsis":
                return ...
            return slice(item.get("start"), item.get("stop"), item.get("step"))
        return ... if item in ("...", "Ellipsis") else item

    return tuple(one(item) for item in spec) if isinstance(spec, (list, tuple)) else one(spec)
