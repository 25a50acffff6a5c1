"""Words and numbers of any kind to a fixed number of bins: Hashing, and HashedCrossing of several at once.

Next: ../_hashes.py, for the hashes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast._arrays import as_numbers_or_strings, as_utf8, real_of
from lstmfast._graph import KerasTensor
from lstmfast._hashes import OfOneLength, fingerprint64, hashed, joined, siphash
from lstmfast.layers.arguments import keys_of, positive
from lstmfast.layers.base import Array, Run, register
from lstmfast.layers.categories import MODES, Encodes, encoded, encoded_shape

_MOST_BINS = np.iinfo(np.int64).max
_KEY_OF_CROSSING = np.uint64(0xDECAFCAFFE)  # TensorFlow's, where none is given


def texts_of(values: Array) -> list[bytes]:
    """Values as TensorFlow writes them: what a hash of a number is a hash of."""
    if values.dtype.kind == "O":
        return [as_utf8(text) for text in values.flat]
    if values.dtype.kind == "b":
        return [b"true" if value else b"false" for value in values.flat]
    if values.dtype.kind not in "iu":
        with np.errstate(invalid="ignore"):
            values = values.astype(np.int64)
    return [b"%d" % value for value in values.ravel().tolist()]


def bins_of(values: Array, count: int, function: OfOneLength) -> Array:
    """The bin of each value, of so many, int64."""
    bins = hashed(texts_of(values), function) % np.uint64(count)
    return bins.astype(np.int64).reshape(values.shape)  # type: ignore[no-any-return]


def hash_of(salt: Any) -> tuple[list[int] | None, OfOneLength]:
    """The two numbers of an argument ``salt``, and the hash function that it stands for.

    Raises
    ------
    ValueError
        If it is neither a number nor two.
    """
    if salt is None:
        return None, fingerprint64
    numbers = [salt, salt] if isinstance(salt, int) else salt
    two = isinstance(numbers, (list, tuple)) and len(numbers) == 2
    if not two or not all(type(number) is int and abs(number) < 1 << 64 for number in numbers):
        raise ValueError(f"The `salt` argument can only be two integers of 64 bits, or one. Received: salt={salt}.")
    return list(numbers), siphash(numbers)


class _Hashes(Encodes):
    """Base of the layers that hash."""

    reads_strings = reads_numbers = True

    def _begin(self, num_bins: Any, output_mode: str, sparse: bool, modes: tuple[str, ...]) -> None:
        if output_mode not in modes:
            raise ValueError(f"Unknown arg for output_mode: {output_mode}. Expected one of {modes}.")
        self.refuse_sparse(sparse)
        self.num_bins, self.output_mode, self.sparse = positive("num_bins", num_bins), output_mode, False
        if self.num_bins > _MOST_BINS:
            raise ValueError(f"`num_bins` must be at most {_MOST_BINS}. Received: num_bins={num_bins}")

    def output_dtype(self, inputs: Any) -> str:
        return self.policy.compute_dtype

    def convert_inputs(self, inputs: Any) -> Any:
        return as_numbers_or_strings(inputs)

    def _encode(self, bins: Array) -> Array:
        dtype = real_of(self.policy.compute_dtype)
        return (
            bins.astype(dtype) if self.output_mode == "int" else encoded(bins, self.output_mode, self.num_bins, dtype)
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape if self.output_mode == "int" else encoded_shape(input_shape, self.output_mode, self.num_bins)


@register()
class Hashing(_Hashes):
    """Keras's Hashing layer: strings or numbers -> their bins, int64, or these encoded.

    Parameters
    ----------
    num_bins : int
        How many bins there are.
    mask_value : str or int, optional
        A value that has bin 0 for itself.
    salt : int or two ints, optional
        The key of the hash, which is SipHash-2-4 then, and FarmHash's Fingerprint64 without one.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        Bins, or what `CategoryEncoding` makes of them.

    Examples
    --------
    >>> from lstmfast import layers
    >>> layers.Hashing(3)([["A"], ["B"], ["C"], ["D"], ["E"]]).ravel().tolist()
    [1, 0, 1, 1, 2]
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: Any = None,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": kwargs.get("dtype") or ("int64" if output_mode == "int" else None)})
        self._begin(num_bins, output_mode, sparse, ("int", *MODES))
        if output_mode == "int" and self.policy.is_float:
            raise ValueError(
                f"When `output_mode='int'`, `dtype` should be an integer type. Received: dtype={self.policy.name}"
            )
        self.salt, self._function = hash_of(salt)
        if not (mask_value is None or isinstance(mask_value, (str, bytes, int, float, np.number))):
            raise ValueError(f"`mask_value` must be a string or a number. Received: mask_value={mask_value!r:.80}")
        self.mask_value = mask_value

    config_keys = keys_of(__init__)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        count, function, mask = self.num_bins, self._function, self.mask_value
        keeps_one = mask is not None and count > 1

        def run(x: Array) -> Array:
            if not keeps_one:
                return self._encode(bins_of(x, count, function))
            bins = bins_of(x, count - 1, function) + 1
            bins[self._is_masked(x)] = 0
            return self._encode(bins)

        return run

    def _is_masked(self, x: Array) -> Array:
        mask = self.mask_value
        if isinstance(mask, (str, bytes)) != (x.dtype.kind == "O"):
            kind = "strings" if x.dtype.kind == "O" else "numbers"
            raise ValueError(f"Layer '{self.name}' with mask_value={mask!r:.80} is called on {kind}.")
        if x.dtype.kind == "O":
            mask = as_utf8(mask)
            return np.array([as_utf8(text) == mask for text in x.flat], bool).reshape(x.shape)  # type: ignore[no-any-return]
        return x == mask  # type: ignore[no-any-return]


@register()
class HashedCrossing(_Hashes):
    """Keras's HashedCrossing layer: several arrays of strings or integers -> the bin of each combination.

    Parameters
    ----------
    num_bins : int
        How many bins there are.
    output_mode : {"int", "one_hot"}
        Bins, int64, or a row for each.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import layers
    >>> layers.HashedCrossing(5)([np.array(["A", "B", "A"]), np.array([101, 101, 102])]).tolist()
    [1, 4, 3]
    """

    def __init__(self, num_bins: int, output_mode: str = "int", sparse: bool = False, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": kwargs.get("dtype") or ("int64" if output_mode == "int" else None)})
        self._begin(num_bins, output_mode, sparse, ("int", "one_hot"))

    config_keys = keys_of(__init__)

    def takes_list(self) -> bool:
        return True

    def check_shape(self, shape: Any) -> None:
        shapes = shape if isinstance(shape, (list, tuple)) else ()
        if len(shapes) < 2 or not all(isinstance(one, tuple) for one in shapes):
            raise ValueError(f"Layer '{self.name}' should be called on a list of at least two inputs, got {shape}.")
        if len(set(shapes)) > 1 or len(shapes[0]) not in (1, 2) or shapes[0][1:] not in ((), (1,)):
            raise ValueError(
                f"The inputs of layer '{self.name}' should all have the shape (batch,) or (batch, 1), got {shapes}."
            )

    def convert_inputs(self, inputs: Any) -> Any:
        if not isinstance(inputs, (list, tuple)):
            raise ValueError(
                f"Layer '{self.name}' should be called on a list of at least two inputs, got {type(inputs).__name__}."
            )
        arrays = [as_numbers_or_strings(one) for one in inputs]
        self._refuse_floats([array.dtype.kind for array in arrays])
        return arrays

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        listed = [one for one in inputs if isinstance(one, KerasTensor)] if isinstance(inputs, (list, tuple)) else []
        self._refuse_floats([real_of(tensor.dtype).kind for tensor in listed])
        return super()._record(inputs, kwargs)

    def _refuse_floats(self, kinds: list[str]) -> None:
        if not set(kinds) <= set("iuO"):
            found = ", ".join({"b": "bools", "f": "floats", "O": "strings"}.get(kind, "integers") for kind in kinds)
            raise ValueError(f"The inputs of layer '{self.name}' should be integers or strings, got {found}.")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return super().compute_output_shape(input_shape[0])

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        count = np.uint64(self.num_bins)

        def run(x: list[Array]) -> Array:
            crossed = np.full(x[0].size, _KEY_OF_CROSSING)
            for array in x:
                is_text = array.dtype.kind == "O"
                own = hashed(texts_of(array), fingerprint64) if is_text else array.ravel().astype(np.int64).view("u8")
                crossed = joined(crossed, own)
            return self._encode((crossed % count).astype(np.int64).reshape(x[0].shape))

        return run


__all__ = ["HashedCrossing", "Hashing"]
