"""Layers that make masks: Masking and Embedding.

Next: recurrent.py, which heeds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast import _core, initializers
from lstmfast._arrays import FLOAT32, FLOAT64
from lstmfast._lookup import Lookup
from lstmfast._pieces import cast, contiguous, copied, extreme, in_pieces, spread, taken
from lstmfast.layers.arguments import numbers, positive
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.quantized import Quantizable


@register()
class Masking(Layer):
    """Keras's Masking layer: steps in which every feature equals ``mask_value`` are masked and set to zero.

    Parameters
    ----------
    mask_value : float or sequence of float
        What marks a step; one value for all features, or one for each.
    """

    makes_mask = True
    per_step = True
    config_keys = ("mask_value",)

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        return "iu" if self.of_keras_2 else "biu"

    def made_of_integers(self, dtype: Any) -> str:
        return "int32" if dtype.kind == "b" else str(dtype.name)

    def __init__(self, mask_value: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = numbers("mask_value", mask_value)
        if np.ndim(self.mask_value) > 1:
            raise NotImplementedError(
                f"Masking takes one `mask_value`, or one for each feature. Received: {mask_value!r:.80}"
            )

    def build_weights(self, input_shape: Any) -> None:
        count = np.size(self.mask_value)
        if count != 1 and input_shape[-1] not in (count, None):
            raise ValueError(
                f"Layer '{self.name}' has a mask_value for {count} features, its inputs {input_shape[-1]}."
            )

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        value, seen = self._compared()
        return in_pieces(lambda x: (cast(x, seen) != value).any(axis=-1), inputs, cut=-1)

    def _compared(self) -> tuple[Array, Any]:
        """The value as TensorFlow rounds it, and the type in which inputs are compared with it."""
        value, seen = np.asarray(self.mask_value), self.policy.result
        if self.of_keras_2:
            return value.astype(seen), seen
        if value.dtype.kind != "f" or hasattr(self.mask_value, "dtype"):
            return value, seen
        rounded = value.astype(np.float32)
        # Keras 3 compares with what float32 makes of it; its `predict` makes that of float64 inputs, too
        return rounded, FLOAT32 if seen is FLOAT64 and (rounded != value).any() else seen

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        value, seen = self._compared()
        quick = not value.ndim and seen is self.policy.real

        def with_masks(x: Array) -> tuple[Array, Array]:
            if quick:
                return _core.mask(contiguous(x), float(value))
            mask = self.compute_mask(x)
            return spread(np.where, mask[..., None], x, x.dtype.type(0)), mask

        def run(x: Array) -> Array:
            return with_masks(x)[0]

        run.with_masks = with_masks  # type: ignore[attr-defined]
        return run

    def on_integers(self, run: Run) -> Run:
        def with_masks(x: Array) -> tuple[Array, Array]:
            mask = self.compute_mask(x)
            x = cast(x, self.made_of_integers(x.dtype))
            return spread(np.where, mask[..., None], x, x.dtype.type(0)), mask

        def on_integers(x: Array) -> Array:
            return with_masks(x)[0]

        on_integers.with_masks = with_masks  # type: ignore[attr-defined]
        return on_integers


@register()
class Embedding(Quantizable):
    """Keras's Embedding layer: (batch, ...) of token ids -> (batch, ..., output_dim).

    Parameters
    ----------
    input_dim : int
        Size of the vocabulary.
    output_dim : int
        Size of a token's vector.
    mask_zero : bool
        Whether id 0 is padding, which layers behind skip.
    weights : array-like or list of one, optional
        (input_dim, output_dim): the vectors to begin with.
    """

    casts_input = False
    per_step = True
    elementwise = True
    config_keys = (
        "input_dim",
        "output_dim",
        "embeddings_initializer",
        "embeddings_regularizer",
        "activity_regularizer",
        "embeddings_constraint",
        "mask_zero",
    )

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        lora_rank: Any = None,
        **kwargs: Any,
    ) -> None:
        length = kwargs.pop("input_length", None)
        if length is not None and not {"input_shape", "batch_input_shape"} & set(kwargs):
            sizes = tuple(length) if isinstance(length, (list, tuple)) else (length,)
            kwargs["batch_input_shape"] = (kwargs.pop("batch_size", None), *sizes)
        super().__init__(**kwargs)
        self.input_dim, self.output_dim = positive("input_dim", input_dim), positive("output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer, self.embeddings_constraint = embeddings_regularizer, embeddings_constraint
        self.mask_zero = bool(mask_zero)
        self.supports_masking = self.mask_zero
        self.makes_mask = self.mask_zero
        if weights is not None:
            self.build((None,))
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    def build_weights(self, input_shape: Any) -> None:
        self.add_quantizable("embeddings", (self.input_dim, self.output_dim), self.embeddings_initializer, 0)

    @property
    def embeddings(self) -> Array | None:
        """(input_dim, output_dim), read-only."""
        return self._weight("embeddings")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.output_dim)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        return np.not_equal(inputs, 0) if self.mask_zero else None

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        table, *scale = self.packed(weights)
        if scale:
            table = spread(np.divide, table, scale[0][:, None])
        count, name = self.input_dim, self.name

        def checked(x: Array) -> Array:
            if x.dtype.kind not in "iu":
                x = cast(x, np.int64)
            if x.size and (int(extreme(np.maximum, x)) >= count or int(extreme(np.minimum, x)) < 0):
                bad = x[(x >= count) | (x < 0)].flat[0]
                raise ValueError(f"Layer '{name}' expected token ids in [0, {count}), got {bad}.")
            return x

        def run(x: Array) -> Array:
            return taken(table, checked(x), 0)

        def look_up(x: Array) -> Lookup:
            ids = _core.few_ids(x, count)
            return Lookup(copied(checked(x), np.int32) if ids is None else ids, table)

        if count <= np.iinfo(np.int32).max:
            run.look_up = look_up  # type: ignore[attr-defined]
        return run
