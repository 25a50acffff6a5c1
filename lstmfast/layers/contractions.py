"""Products of arrays with any axes, each as products of matrices on the core's dense step.

Next: core.py, for `matmul`.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from lstmfast._arrays import ordered_sum
from lstmfast._pieces import cast, contiguous, copied, spread
from lstmfast.layers.base import Array
from lstmfast.layers.core import matmul


def as_float(x: Any) -> Array:
    """``x`` in C order, in float32 where it is no array of floats."""
    array = np.asarray(x)
    is_float = array.dtype in (np.float32, np.float64) and isinstance(x, (np.ndarray, np.generic))
    return contiguous(array) if is_float else copied(array, np.float32)


def alike(values: Any) -> list[Array]:
    """Values in one type of float, which an array among them decides and not a constant."""
    arrays = [value for value in values if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    dtype = np.result_type(*arrays) if arrays else np.dtype(np.float32)
    return [contiguous(cast(np.asarray(value), dtype)) for value in values]


def matmul_any(a: Any, b: Any) -> Array:
    """The product of matrices with any leading axes, as ``numpy.matmul``."""
    a, b = alike((a, b))
    first, second = a.ndim == 1, b.ndim == 1
    a, b = a[None] if first else a, b[:, None] if second else b
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = einsum("...ij,...jk->...ik", a, b)
    y = y.reshape(*leading, a.shape[-2], b.shape[-1])
    y = y[..., 0, :] if first else y
    return y[..., 0] if second else y


def dot(a: Any, b: Any) -> Any:
    """As ``numpy.dot``: over the last axis of ``a`` and the last but one of ``b``."""
    a, b = alike((a, b))
    if not a.ndim or not b.ndim:
        return spread(np.multiply, a, b)
    return tensordot(a, b, [[a.ndim - 1], [max(b.ndim - 2, 0)]])


def tensordot(a: Any, b: Any, axes: Any = 2) -> Array:
    """As ``numpy.tensordot``: over the given axes, or the last ``axes`` of ``a`` and the first of ``b``."""
    a, b = alike((a, b))
    if isinstance(axes, (int, np.integer)):
        axes = [range(a.ndim - int(axes), a.ndim), range(int(axes))]
    left, right = ([one] if isinstance(one, int) else list(one) for one in axes)
    names = iter(string.ascii_letters)
    first = [next(names) for _ in range(a.ndim)]
    second = [next(names) for _ in range(b.ndim)]
    for one, other in zip(left, right, strict=True):
        second[other % b.ndim] = first[one % a.ndim]
    kept = [name for name in first + second if (name in first) != (name in second)]
    return einsum(f"{''.join(first)},{''.join(second)}->{''.join(kept)}", a, b)


def einsum(subscripts: str, *operands: Any) -> Array:
    """As Keras's ``einsum``, of real numbers; two operands at a time, from the left.

    Raises
    ------
    NotImplementedError
        If an operand has a letter twice.
    ValueError
        If the subscripts do not fit the operands.
    """
    arrays = alike(operands)
    terms, output = _parse(subscripts, arrays)
    y, letters = arrays[0], terms[0]
    for position in range(1, len(arrays)):
        later = set(output).union(*terms[position + 1 :])
        y, letters = _product(y, letters, arrays[position], terms[position], later, output)
    y = _summed(y, letters, set(output))
    letters = "".join(letter for letter in letters if letter in output)
    return contiguous(y.transpose([letters.index(letter) for letter in output]))


def _parse(subscripts: str, arrays: list[Array]) -> tuple[list[str], str]:
    """The letters of each operand and of the output; an ellipsis becomes letters too."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(arrays):
        raise ValueError(f"The subscripts {subscripts!r} are of {len(terms)} operands, got {len(arrays)}.")
    free = [letter for letter in string.ascii_letters if letter not in subscripts]
    widest = 0
    for place, (term, array) in enumerate(zip(terms, arrays, strict=True)):
        if "..." in term:
            count = array.ndim - len(term.replace("...", ""))
            widest = max(widest, count)
            terms[place] = term.replace("...", "".join(free[-count:]) if count > 0 else "")
        if len(terms[place]) != array.ndim:
            raise ValueError(f"The subscripts {term!r} do not fit an operand of shape {array.shape}.")
        if len(set(terms[place])) != array.ndim:
            raise NotImplementedError(f"Subscripts with a letter twice in one operand are not supported: {subscripts}")
    dots = "".join(free[-widest:]) if widest else ""
    for letter in set("".join(terms)):
        sizes = {array.shape[term.index(letter)] for term, array in zip(terms, arrays, strict=True) if letter in term}
        if len(sizes - {1} if letter in dots else sizes) > 1:  # what the dots stand for broadcasts
            shapes = " and ".join(str(array.shape) for array in arrays)
            raise ValueError(f"The sizes {sorted(sizes)} of one axis differ in a product of the shapes {shapes}.")
    if not arrow:
        named = "".join(terms)  # in the order of their appearance, as in Keras and unlike in NumPy
        output = "..." + "".join(letter for letter in named if letter not in dots and named.count(letter) == 1)
    output = output.replace("...", dots)
    if not set(output) <= set("".join(terms)) or len(set(output)) != len(output):
        raise ValueError(f"The output of the subscripts {subscripts!r} has letters that no operand has.")
    return terms, output


def _summed(array: Array, letters: str, kept: set[str]) -> Array:
    """``array`` summed over the letters that are not kept."""
    axes = tuple(axis for axis, letter in enumerate(letters) if letter not in kept)
    return ordered_sum(array, axes, keepdims=False) if axes else array


def _product(a: Array, left: str, b: Array, right: str, later: set[str], output: str) -> tuple[Array, str]:
    """Two operands as one, with the letters that are needed later; a size of 1 stretches to the other's."""
    a = _summed(a, left, later | set(right))
    left = "".join(letter for letter in left if letter in later or letter in right)
    b = _summed(b, right, later | set(left))
    right = "".join(letter for letter in right if letter in later or letter in left)
    shared = [letter for letter in left if letter in right and letter in later]
    inner = [letter for letter in left if letter in right and letter not in later]
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]
    if columns and output.find(columns[0]) == 0:  # samples are rows, which know nothing of each other
        a, b, left, right, rows, columns = b, a, right, left, columns, rows
    sizes = dict(zip(left, a.shape, strict=True))
    for letter, size in zip(right, b.shape, strict=True):
        if sizes.get(letter, 1) == 1:
            sizes[letter] = size

    def matrices(array: Array, letters: str, first: list[str], second: list[str]) -> Array:
        order = [*shared, *first, *second]
        array = array.transpose([letters.index(letter) for letter in order])
        array = np.broadcast_to(array, [sizes[letter] for letter in order])
        return contiguous(array).reshape(_size(shared), _size(first), _size(second))

    def _size(letters: list[str]) -> int:
        return int(np.prod([sizes[letter] for letter in letters], dtype=np.int64))

    y = matmul(matrices(a, left, rows, inner), matrices(b, right, inner, columns))
    letters = [*shared, *rows, *columns]
    return y.reshape([sizes[letter] for letter in letters]), "".join(letters)
