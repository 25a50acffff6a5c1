"""Array-likes and dtype policies: what a caller may pass, and what the core takes.

Next: layers/base.py.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from lstmfast import _core
from lstmfast._pieces import contiguous, copied, in_pieces, spread, update

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
BOOL = np.dtype(np.bool_)
STRING = np.dtype(object)  # of strings, each a str or bytes

_FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_QUANTIZED = "int8_from_float32"  # Keras's for layers with weights in 8-bit integers
_POLICIES: dict[str, DTypePolicy] = {}


class DTypePolicy:
    """A Keras dtype policy, and the types that stand for it here.

    Arithmetic is in ``real``: float64 for ``"float64"``, float32 for everything else. Weights are kept in
    ``variable``, and what a layer or model returns has the dtype ``result``.
    """

    __slots__ = ("compute_dtype", "is_float", "name", "quantized", "real", "result", "variable", "variable_dtype")

    def __init__(self, name: str) -> None:
        self.quantized = name == _QUANTIZED
        base = name[len("mixed_") :] if name.startswith("mixed_") else "float32" if self.quantized else name
        if "_from_" in name and not self.quantized:
            raise NotImplementedError(
                f"dtype policy {name!r} is not supported: save the model before it is quantized, or as {_QUANTIZED!r}."
            )
        if base not in _FLOATS + INTEGERS or (name.startswith("mixed_") and base not in ("float16", "bfloat16")):
            raise ValueError(
                f"Unknown dtype policy {name!r}: expected one of {', '.join(_FLOATS)}, mixed_float16, mixed_bfloat16."
            )
        self.name = name
        self.is_float = base in _FLOATS
        self.compute_dtype = base
        self.variable_dtype = "float32" if base != name else base
        self.real = FLOAT64 if base == "float64" else FLOAT32
        self.result = numpy_dtype(base)
        self.variable = numpy_dtype(self.variable_dtype)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self.name}">'


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a Keras dtype name; bfloat16 is ml_dtypes' where that is installed, else float32."""
    if name == "string":
        return STRING
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            return FLOAT32
        return np.dtype(ml_dtypes.bfloat16)  # type: ignore[no-any-return]
    return np.dtype(name)


def policy(identifier: Any = None) -> DTypePolicy:
    """The policy of a name, a NumPy dtype, a Keras policy object or its config; None is float32."""
    if isinstance(identifier, DTypePolicy):
        return identifier
    if identifier is None:
        name = "float32"
    elif isinstance(identifier, str):
        name = identifier
    elif isinstance(identifier, dict):
        class_name = identifier.get("class_name")
        if class_name not in ("DTypePolicy", "Policy", "PolicyV1", "FloatDTypePolicy", "QuantizedDTypePolicy"):
            advice = "save the model before it is quantized, or quantize it to int8"
            if class_name == "DTypePolicyMap":
                advice = "give each layer a policy of its own by name"
            raise NotImplementedError(f"dtype policy {class_name!r} is not supported: {advice}.")
        config = identifier.get("config") or {}
        inner = config.get("name")
        if class_name == "QuantizedDTypePolicy":
            inner = f"{config.get('mode')}_from_{config.get('source_name')}"
        if not isinstance(inner, str):
            raise ValueError(f"A dtype policy without a name: {identifier!r}")
        name = inner
    else:
        name = getattr(identifier, "name", None) or np.dtype(identifier).name
    found = _POLICIES.get(name)
    if found is None:
        found = _POLICIES.setdefault(name, DTypePolicy(name))
    return found


def real_of(dtype_name: str) -> np.dtype[Any]:
    """The type in which values of the Keras dtype ``dtype_name`` travel between layers."""
    if dtype_name == "string":
        return STRING
    if dtype_name in ("float16", "bfloat16"):
        return FLOAT32
    return np.dtype(dtype_name)


def as_array(value: Any, what: str = "the input") -> np.ndarray[Any, Any]:
    """``value`` as an array of numbers or bools, not copied where that can be helped.

    Raises
    ------
    TypeError
        If it holds anything but real numbers and bools (strings, objects, complex numbers, dates).
    ValueError
        If it is a ragged list.
    """
    if type(value) is not np.ndarray:
        if value is None:
            raise TypeError(f"Expected {what} to hold real numbers, got None.")
        _refuse_uneven(value, what)
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            value = np.from_dlpack(value)
        else:
            try:
                value = np.asarray(value, _of_columns(value))
            except (ValueError, TypeError, RuntimeError) as error:  # the last of a tensor that needs a gradient
                raise ValueError(f"Cannot read {what} as one array: {error}") from error
    array: np.ndarray[Any, Any] = value
    if array.dtype.kind not in "fbiu" and array.dtype.name != "bfloat16":
        raise TypeError(f"Expected {what} to hold real numbers, got dtype {array.dtype}.")
    return array


def is_buffer(value: Any) -> bool:
    """Whether NumPy reads a value, such as a memoryview, by the protocol of buffers."""
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


def _refuse_uneven(value: Any, what: str) -> None:
    """Raise for a tensor of TensorFlow that is not one array, with what to pass in its place."""
    if hasattr(value, "nested_row_splits"):
        kind, advice = "RaggedTensor", "its rows, [row.numpy() for row in x], go with `predict` of a model of one input"
    elif hasattr(value, "dense_shape") and hasattr(value, "indices"):
        kind, advice = "SparseTensor", "tf.sparse.to_dense(x) is an array"
    else:
        return
    raise TypeError(f"Expected {what} to be an array, got a {kind} of shape {value.shape}: {advice}.")


def _of_columns(value: Any) -> np.dtype[Any] | None:
    """The type of numbers for all columns of a table, which may have several; None of anything else."""
    dtypes = getattr(value, "dtypes", None)
    if dtypes is None:
        return None
    try:
        own = [
            np.dtype(getattr(dtype, "numpy_dtype", dtype)) for dtype in (dtypes if np.iterable(dtypes) else [dtypes])
        ]
    except TypeError:  # of another library, or of a column that holds no numbers
        return None
    return np.result_type(*own) if own and all(dtype.kind in "fbiu" for dtype in own) else None


def as_strings(value: Any, what: str = "the input") -> np.ndarray[Any, Any]:
    """``value`` as an array of str or bytes.

    Raises
    ------
    TypeError
        If it holds anything else.
    """
    if isinstance(value, (list, tuple)):
        value = np.array(value, STRING)
    _refuse_uneven(value, what)
    array = value if type(value) is np.ndarray else np.asarray(value)
    if array.dtype.kind in "SUT":
        return copied(array, STRING)
    if array.dtype.kind != "O" or not all(isinstance(item, (str, bytes)) for item in array.flat):
        raise TypeError(f"Expected {what} to hold strings, got dtype {array.dtype}.")
    return array


def as_numbers_or_strings(value: Any) -> np.ndarray[Any, Any]:
    """``value`` as `as_array` gives it, or as `as_strings` does.

    Raises
    ------
    TypeError
        If it holds neither.
    """
    try:
        return as_array(value)
    except TypeError:
        return as_strings(value)


def as_utf8(text: Any, what: str = "the input") -> bytes:
    """One string's bytes.

    Raises
    ------
    TypeError
        If it is none.
    ValueError
        If UTF-8 has no bytes for it.
    """
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{what} holds half a surrogate pair, which UTF-8 has no bytes for: {error}") from None
    raise TypeError(f"Expected {what} to hold strings, got {type(text).__name__}.")


def convert(value: Any, dtype: np.dtype[Any], what: str = "the input") -> np.ndarray[Any, Any]:
    """``value`` in ``dtype``, native, aligned, with a contiguous last axis; copied only where it is not so already."""
    array = value if type(value) is np.ndarray and value.dtype is dtype else as_array(value, what)
    if array.dtype is not dtype:
        return copied(array, dtype)
    flags = array.flags
    if flags.aligned and (flags.c_contiguous or not array.ndim or array.strides[-1] == array.itemsize):
        return array
    return copied(array)


def ordered_sum(x: np.ndarray[Any, Any], axes: tuple[int, ...], keepdims: bool = True) -> np.ndarray[Any, Any]:
    """The sum over ``axes``, one by one, in an order that depends on the sizes of a sample alone."""
    for axis in sorted(axes, reverse=True):
        size, behind = x.shape[axis], math.prod(x.shape[axis + 1 :])
        kept = (1,) if keepdims else ()
        if not x.size or x.dtype not in (FLOAT32, FLOAT64) or not axis or not x.flags.aligned:
            x = in_pieces(partial(_folded, axis=axis, keepdims=keepdims), x, cut=axis)
            continue
        shape = (*x.shape[:axis], *kept, *x.shape[axis + 1 :])
        if behind == 1:
            x = _core.dot(contiguous(x).reshape(-1, size), None).reshape(shape)
        else:
            x = _core.pool("sum", contiguous(x).reshape(-1, size, behind), 1, size, 1, 0, None).reshape(shape)
    return x


def _folded(x: np.ndarray[Any, Any], axis: int, keepdims: bool) -> np.ndarray[Any, Any]:
    folded = np.moveaxis(x, axis, 0)
    size = folded.shape[0]
    if size == 0:
        folded = np.zeros((1, *folded.shape[1:]), x.dtype)
    elif size > 1:
        half = size // 2
        first = copied(folded[: size - half])
        update(np.add, first[:half], folded[size - half :])
        folded, size = first, size - half
        while size > 1:
            half = size // 2
            update(np.add, folded[:half], folded[size - half : size])
            size -= half
    return np.moveaxis(folded[:1], 0, axis) if keepdims else folded[0]


def ordered_mean(x: np.ndarray[Any, Any], axes: tuple[int, ...], keepdims: bool = True) -> np.ndarray[Any, Any]:
    """The mean over ``axes``; see `ordered_sum`."""
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    total, divisor = ordered_sum(x, axes, keepdims), x.dtype.type(count)
    mean: np.ndarray[Any, Any] = spread(np.true_divide, total, divisor)
    return mean
