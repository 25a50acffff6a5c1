"""NumPy on arrays of any size, a piece at a time: Python looks for signals, such as Ctrl-C, between two pieces.

An array of up to `PIECE` values is one piece, which NumPy gets as it is. No piece changes a bit of what NumPy gives for
the whole.
Next: _arrays.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# Values that the slower of NumPy's functions take 10 ms for. Memory counts too: Linux gives it in pages of up to 2 MiB,
# and in a virtual machine the first write to one takes up to 10 ms.
PIECE = 1 << 18

_SCALARS = (int, float, type(None), np.generic)


def place_of(axis: int, ndim: int) -> int:
    """An axis of an array of ``ndim`` axes, counted from the first.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not -ndim <= axis < ndim:
        raise ValueError(f"Axis {axis} is out of bounds for an array of {ndim} axes.")
    return axis % ndim


def pieces(shape: Sequence[int], most: int | None = None) -> Iterator[tuple[slice, ...]]:
    """Index the whole of an array in C order, ``most`` values, or `PIECE`, at a time: the first axes alone are cut."""
    most = PIECE if most is None else most
    if math.prod(shape) <= most:
        yield ()
        return
    axis, below = 0, math.prod(shape[1:])
    while below > most and axis + 1 < len(shape):
        axis += 1
        below = math.prod(shape[axis + 1 :])
    count = max(1, most // max(1, below))
    for place in product(*map(range, shape[:axis])):
        before = tuple(slice(index, index + 1) for index in place)
        for start in range(0, shape[axis], count):
            yield (*before, slice(start, start + count))


def _part(value: Any, piece: tuple[slice, ...], ndim: int) -> Any:
    """What belongs to a piece of an array of ``ndim`` axes, of a value that broadcasts to it."""
    if isinstance(value, (list, tuple)):  # these have no dtype of their own, and must not get one
        return _part(np.asarray(value), piece, ndim).tolist()
    if not isinstance(value, np.ndarray) or not value.ndim:
        return value
    own = piece[ndim - value.ndim :]
    return value[tuple(place if size > 1 else slice(None) for place, size in zip(own, value.shape, strict=False))]


def _gathered(
    function: Callable[..., Array], values: Sequence[Any], shape: Sequence[int], cut: int, most: int
) -> Array:
    """``function`` of values that broadcast to ``shape``, whose first ``cut`` axes the result has too."""
    result: Any = None
    for piece in pieces(shape[:cut], most):
        parts = [_part(value, piece, len(shape)) for value in values]
        if result is not None and isinstance(function, np.ufunc):
            function(*parts, out=result[piece])
            continue
        y = function(*parts)
        if result is None:
            result = np.empty((*shape[:cut], *y.shape[cut:]), y.dtype)
        result[piece] = y
    return result  # type: ignore[no-any-return]


def in_pieces(function: Callable[..., Array], x: Array, *others: Any, cut: int | None = None, makes: int = 1) -> Array:
    """``function(x, *others)``, where every index of some axes is computed for itself.

    Parameters
    ----------
    function : callable
        Of pieces of ``x``, and of what belongs to them of the other values.
    x : numpy.ndarray
        The largest array.
    *others
        Arrays that broadcast to the shape of ``x``, numbers and None.
    cut : int, optional
        How many of the first axes of ``x`` the result has, index for index; from -1 on all but so many. Without it
        all, as for functions of single values.
    makes : int
        How many values the function makes of one of ``x``.
    """
    if x.size * makes <= PIECE:
        return function(x, *others)
    cut = x.ndim if cut is None else cut if cut >= 0 else x.ndim + cut
    if not cut:
        return function(x, *others)
    return _gathered(function, (x, *others), x.shape, cut, PIECE // (makes * math.prod(x.shape[cut:])))


def spread(function: Callable[..., Array], *values: Any) -> Array:
    """``function`` of arrays, numbers and None, single value by single value, which NumPy brings to one shape."""
    shape: tuple[int, ...] | None = None
    size = 0
    for value in values:
        if type(value) is np.ndarray:
            if shape is None:
                shape, size = value.shape or None, value.size
            elif value.shape != shape and value.ndim:
                break
        elif not isinstance(value, _SCALARS):
            break
    else:
        if shape is None or size <= PIECE:
            return function(*values)
        return _gathered(function, values, shape, len(shape), PIECE)
    try:
        whole = np.broadcast(*[value for value in values if value is not None])
    except ValueError:
        return function(*values)  # says what does not fit
    if whole.size <= PIECE:
        return function(*values)
    return _gathered(function, values, whole.shape, whole.ndim, PIECE)


def update(function: np.ufunc, target: Array, other: Any) -> None:
    """``target = function(target, other)``, in place."""
    if target.size <= PIECE:
        function(target, other, out=target)
        return
    for piece in pieces(target.shape):
        part = target[piece]
        function(part, _part(other, piece, target.ndim), out=part)


# ---- copies


def put(target: Array, source: Any) -> None:
    """``target[...] = source``."""
    if target.size <= PIECE:
        target[...] = source
        return
    for piece in pieces(target.shape):
        target[piece] = _part(source, piece, target.ndim)


def copied(x: Array, dtype: Any = None) -> Array:
    """A copy in C order, of another type where one is given."""
    if x.size <= PIECE:
        return x.copy() if dtype is None else np.array(x, dtype, order="C")
    copy = np.empty(x.shape, x.dtype if dtype is None else dtype)
    put(copy, x)
    return copy


def contiguous(x: Array) -> Array:
    """``x`` in C order, copied where it is not."""
    if x.size <= PIECE or x.flags.c_contiguous:
        return np.asarray(x, order="C")
    return copied(x)


def cast(x: Array, dtype: Any) -> Array:
    """``x`` itself, if it has that type, or a copy in C order."""
    return x if x.dtype == dtype else copied(x, dtype)


def filled(shape: Sequence[int], value: Any, dtype: Any) -> Array:
    """``numpy.full``."""
    if math.prod(shape) <= PIECE:
        return np.full(shape, value, dtype)
    array = np.empty(shape, dtype)
    put(array, value)
    return array


def joined(arrays: Sequence[Array], axis: int) -> Array:
    """``numpy.concatenate``."""
    size = 0
    for array in arrays:
        size += array.size
    if size <= PIECE:
        return np.concatenate(arrays, axis)
    first = arrays[0]
    shape = list(first.shape)
    place = place_of(axis, first.ndim)
    others = [[*array.shape[:place], *array.shape[place + 1 :]] for array in arrays]
    if any(other != others[0] for other in others):
        return np.concatenate(arrays, axis=axis)  # says what does not fit
    shape[place] = sum(array.shape[place] for array in arrays)
    result = np.empty(shape, np.result_type(*[array.dtype for array in arrays]))
    start = 0
    for array in arrays:
        end = start + array.shape[place]
        put(result[(slice(None),) * place + (slice(start, end),)], array)
        start = end
    return result


def stacked(arrays: Sequence[Array], axis: int) -> Array:
    """``numpy.stack``."""
    if sum([array.size for array in arrays]) <= PIECE:
        return np.stack(arrays, axis)
    return joined([np.expand_dims(array, axis) for array in arrays], axis)


def reshaped(x: Array, shape: Sequence[int]) -> Array:
    """``x.reshape(shape)``: a view where that can be."""
    if x.size > PIECE and not x.flags.c_contiguous:
        x = copied(x)
    return x.reshape(shape)


def repeated(x: Array, count: int, axis: int) -> Array:
    """``numpy.repeat``."""
    if x.size * count <= PIECE:
        return np.repeat(x, count, axis)
    behind = place_of(axis, x.ndim) + 1
    steps = np.broadcast_to(np.expand_dims(x, behind), (*x.shape[:behind], count, *x.shape[behind:]))
    return copied(steps).reshape(*x.shape[: behind - 1], -1, *x.shape[behind:])


def padded(x: Array, widths: Sequence[tuple[int, int]], value: Any = 0) -> Array:
    """``x`` with so many of ``value`` before and behind each axis."""
    result = filled([size + sum(pair) for size, pair in zip(x.shape, widths, strict=True)], value, x.dtype)
    put(result[tuple(slice(before, before + size) for (before, _), size in zip(widths, x.shape, strict=True))], x)
    return result


def taken(table: Array, places: Array, axis: int) -> Array:
    """``numpy.take`` along one axis."""
    if places.size * (table.size // max(1, table.shape[axis])) <= PIECE:
        return table.take(places, axis)
    axis = place_of(axis, table.ndim)
    of_one = table.size // table.shape[axis]
    result = np.empty((*table.shape[:axis], *places.shape, *table.shape[axis + 1 :]), table.dtype)
    before = (slice(None),) * axis
    if of_one > PIECE:
        for index in np.ndindex(places.shape):
            own = (*before, places[index])
            put(result[before + index], table[own])
        return result
    for piece in pieces(places.shape, PIECE // of_one):
        result[before + piece] = table.take(places[piece], axis)
    return result


# ---- over axes


def reduced(function: np.ufunc, x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
    """``function.reduce`` over ``axes``, for functions that may take the values in any order, such as the maximum."""
    if x.size <= PIECE:
        return np.asarray(function.reduce(x, axis=axes, keepdims=keepdims))
    result: Any = None
    for piece in pieces(x.shape):
        part = function.reduce(x[piece], axis=axes, keepdims=True)
        if result is None:
            result = np.empty([1 if axis in axes else size for axis, size in enumerate(x.shape)], part.dtype)
        place = tuple(slice(None) if axis in axes else own for axis, own in enumerate(piece))
        if any(own.start for axis, own in enumerate(piece) if axis in axes):
            part = function(result[place], part)
        result[place] = part
    return np.asarray(result if keepdims else np.squeeze(result, axes))


def extreme(function: np.ufunc, x: Array) -> Any:
    """``function.reduce`` over all axes; see `reduced`."""
    return function.reduce(x, None) if x.size <= PIECE else reduced(function, x, tuple(range(x.ndim)))


def place_of_extreme(function: Callable[..., Array], x: Array, axis: int, keepdims: bool = False) -> Array:
    """``numpy.argmax``, or argmin, along one axis: of equal values the first, of NaN and others the first NaN."""
    if x.size <= PIECE:
        return np.asarray(function(x, axis=axis, keepdims=keepdims))
    axis = place_of(axis, x.ndim)
    exceeds = np.greater if function is np.argmax else np.less
    sizes = [1 if own == axis else size for own, size in enumerate(x.shape)]
    values, places = np.empty(sizes, x.dtype), np.empty(sizes, np.intp)
    for piece in pieces(x.shape):
        own = x[piece]
        found = function(own, axis=axis, keepdims=True)
        value = np.take_along_axis(own, found, axis)
        start = piece[axis].start if axis < len(piece) else 0
        where = tuple(slice(None) if other == axis else one for other, one in enumerate(piece))
        if start:
            best = values[where]
            better = (exceeds(value, best) | (value != value)) & (best == best)
            value, found = np.where(better, value, best), np.where(better, found + start, places[where])
        values[where], places[where] = value, found
    return places if keepdims else np.squeeze(places, axis)


def accumulated(function: np.ufunc, x: Array, axis: int, dtype: Any = None) -> Array:
    """``function.accumulate``: each value of the result is ``function`` of the one before and the next of ``x``."""
    if x.size <= PIECE:
        return function.accumulate(x, axis=axis, dtype=dtype)
    axis = place_of(axis, x.ndim)
    result: Any = None
    for piece in pieces(x.shape):
        own = x[piece]
        start = piece[axis].start if axis < len(piece) else 0
        if start:
            before = (*piece[:axis], slice(start - 1, start), *piece[axis + 1 :])
            own = np.concatenate([result[before], own.astype(result.dtype, copy=False)], axis=axis)
        y = function.accumulate(own, axis=axis, dtype=dtype)
        if result is None:
            result = np.empty(x.shape, y.dtype)
        result[piece] = y[(slice(None),) * axis + (slice(1, None),)] if start else y
    return result  # type: ignore[no-any-return]


def along(function: Callable[..., Any], axis: int, **options: Any) -> Callable[[Array], Array]:
    """``function(x, axis=axis)``, which gives as many values as it takes: every line of that axis for itself."""

    def run(x: Array) -> Array:
        place = place_of(axis, x.ndim)
        if x.size <= PIECE:
            return np.asarray(function(x, axis=place, **options))
        lines = in_pieces(partial(function, axis=-1, **options), np.moveaxis(x, place, -1), cut=-1)
        return np.moveaxis(lines, -1, place)

    return run
