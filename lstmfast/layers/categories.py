"""Numbers to classes: Discretization, and CategoryEncoding, which counts them.

Next: text.py, for words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast._arrays import as_array, numpy_dtype
from lstmfast.layers.arguments import keys_of, positive
from lstmfast.layers.base import Array, Layer, Run, register

MODES = ("one_hot", "multi_hot", "count")


def encoded(ids: Array, mode: str, depth: int, dtype: Any, weights: Array | None = None) -> Array:
    """Ids as Keras's layers encode them.

    Parameters
    ----------
    ids : numpy.ndarray of int
        (batch, n); for ``"one_hot"`` any shape.
    mode : {"one_hot", "multi_hot", "count"}
        Whether each id becomes a row, in the place of n where that is 1; or the n ids one, of ones or how often each is
        there.
    depth : int
        How many classes there are. Ids beyond count for none.
    dtype : numpy.dtype
        Of the result.
    weights : numpy.ndarray, optional
        As ``ids``: what each counts for.

    Returns
    -------
    numpy.ndarray
        (batch, depth), or the shape of ``ids`` and depth behind it.

    Raises
    ------
    ValueError
        If an id that is counted is negative.
    """
    if mode == "one_hot":
        ids = ids[..., 0] if ids.ndim > 1 and ids.shape[-1] == 1 else ids
        hot: Array = np.zeros((*ids.shape, depth), dtype)
        known = (ids >= 0) & (ids < depth)
        places = (*np.nonzero(known), ids[known])
        hot[places] = 1
        return hot
    if (ids < 0).any():
        raise ValueError(f"Ids that are counted must not be negative, got {ids.min()}.")
    counts = np.zeros((*ids.shape[:-1], depth), dtype)
    known = ids < depth
    places = (*np.nonzero(known)[:-1], ids[known])
    if mode == "multi_hot":
        counts[places] = 1
    else:
        np.add.at(counts, places, 1 if weights is None else weights[known])
    return counts


def encoded_shape(shape: Any, mode: str, depth: int) -> Any:
    """The shape of what `encoded` gives."""
    if mode == "one_hot" and (len(shape) == 1 or shape[-1] != 1):
        return (*shape, depth)
    return (*shape[:-1], depth)


class Encodes(Layer):
    """Base of the layers that give ids, or these encoded."""

    casts_input = False
    supports_masking = False
    output_mode: str

    def check_shape(self, shape: Any) -> None:
        if self.output_mode in ("multi_hot", "count", "tf_idf") and len(shape) != 2:
            raise ValueError(
                f"Layer '{self.name}' with output_mode='{self.output_mode}' takes (batch, n), whose n values become "
                f"one row. Full shape received: {shape}"
            )

    def refuse_sparse(self, sparse: Any) -> None:
        """Raise where a sparse array is asked for."""
        if sparse:
            raise NotImplementedError(f"Layer '{self.name}' with sparse=True is not supported: arrays are dense here.")

    def convert_inputs(self, inputs: Any) -> Array:
        return as_array(inputs)


@register()
class CategoryEncoding(Encodes):
    """Keras's CategoryEncoding layer: ids (batch, n) -> (batch, num_tokens), or (batch, n, num_tokens).

    Parameters
    ----------
    num_tokens : int
        How many ids there are, from 0 on.
    output_mode : {"multi_hot", "one_hot", "count"}
        Ones for the ids that are among the n; one row for each of the n, unless there is but one; or how often each id
        is there, which the call's ``count_weights``, as the input, may weigh.

    Examples
    --------
    >>> from lstmfast import layers
    >>> layers.CategoryEncoding(4, output_mode="count")([[0, 1, 1], [3, 3, 3]]).tolist()
    [[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 3.0]]
    """

    call_arguments = ("inputs", "count_weights")

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if output_mode == "binary":  # its older name
            output_mode = "multi_hot"
        if output_mode not in MODES:
            raise ValueError(f"Unknown arg for output_mode: {output_mode}")
        if num_tokens is None:
            raise ValueError(
                "num_tokens must be set to use this layer. If the number of tokens is not known beforehand, use the "
                "IntegerLookup layer instead."
            )
        self.refuse_sparse(sparse)
        self.num_tokens, self.output_mode, self.sparse = positive("num_tokens", num_tokens), output_mode, False

    config_keys = keys_of(__init__)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return encoded_shape(input_shape, self.output_mode, self.num_tokens)

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("count_weights") is None:
            return {}
        if self.output_mode != "count":
            raise ValueError(f"`count_weights` is not used when `output_mode` is not `'count'` (layer '{self.name}').")
        weights = as_array(arguments["count_weights"], "count_weights")
        if weights.shape != tuple(shapes):
            raise ValueError(
                f"count_weights of layer '{self.name}' has shape {weights.shape}, expected that of the input, {shapes}."
            )
        return {"count_weights": weights}

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        mode, depth, real = self.output_mode, self.num_tokens, self.policy.real

        def run(x: Array, count_weights: Array | None = None) -> Array:
            return encoded(x.astype(np.int64), mode, depth, real, count_weights)

        return run


@register()
class Discretization(Encodes):
    """Keras's Discretization layer: numbers -> the ids of the bins that they are in, or these encoded.

    Parameters
    ----------
    bin_boundaries : sequence of float
        In rising order. A number that is a boundary is in the bin above it.
    num_bins, epsilon : optional
        What Keras found the boundaries by.
    output_mode : {"int", "one_hot", "multi_hot", "count"}
        Ids, int32, or what `CategoryEncoding` makes of them.

    Examples
    --------
    >>> from lstmfast import layers
    >>> layers.Discretization([0.0, 1.0])([[-1.5, 1.0, 3.4, 0.5]]).tolist()
    [[0, 2, 2, 1]]
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        dtype = kwargs.get("dtype")
        self.ids_dtype = numpy_dtype(dtype) if dtype in ("int64", "int32") else numpy_dtype("int32")  # tf.keras's
        if dtype in ("int64", "int32"):
            kwargs["dtype"] = None
        super().__init__(**kwargs)
        if output_mode not in ("int", *MODES):
            raise ValueError(f"Unknown arg for output_mode: {output_mode}")
        self.refuse_sparse(sparse)
        if bin_boundaries is None or not len(bin_boundaries):
            raise ValueError(
                f"Layer '{self.name}' needs its `bin_boundaries`: the config of a layer that was adapted by tf.keras, "
                "or not yet, does not hold them."
            )
        self.bin_boundaries = [float(boundary) for boundary in bin_boundaries]
        if sorted(self.bin_boundaries) != self.bin_boundaries:
            raise ValueError(f"`bin_boundaries` must be in rising order. Received: {self.bin_boundaries[:8]}")
        self.num_bins, self.epsilon, self.output_mode, self.sparse = num_bins, epsilon, output_mode, False

    config_keys = keys_of(__init__)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["trainable"]  # which its constructor in Keras 3 does not take
        return config

    def output_dtype(self, inputs: Any) -> str:
        return str(self.ids_dtype) if self.output_mode == "int" else self.policy.compute_dtype

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.output_mode == "int":
            return input_shape
        return encoded_shape(input_shape, self.output_mode, len(self.bin_boundaries) + 1)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        boundaries = np.array(self.bin_boundaries, np.float32)
        mode, depth, real, ids_dtype = self.output_mode, len(boundaries) + 1, self.policy.real, self.ids_dtype

        def run(x: Array) -> Array:
            ids = np.searchsorted(boundaries, x.astype(np.float32), side="right")
            return ids.astype(ids_dtype) if mode == "int" else encoded(ids, mode, depth, real)

        return run


__all__ = ["CategoryEncoding", "Discretization"]
