"""Attention layers; their products run on the core's dense step.

Called with ``training=True``, one with a ``dropout`` drops some of the weights that it gives the values.
Next: core.py, noise.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np

from lstmfast import _core, activations, initializers
from lstmfast._graph import KerasTensor, Node
from lstmfast._pieces import contiguous, repeated, reshaped, spread, update
from lstmfast.layers.arguments import as_mask, keys_of, positive
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.core import matmul
from lstmfast.layers.noise import Noise


def _softmax(scores: Array, allowed: Array | None) -> Array:
    if allowed is not None:
        largest = 65504.0 if scores.dtype == np.float16 else 1e9
        offset = scores.dtype.type(largest)
        scores = spread(lambda some, kept: some - offset * (~kept).astype(some.dtype), scores, allowed)
    return activations.softmax.run(contiguous(scores))


def _causal(queries: int, keys: int) -> Array:
    return spread(np.greater_equal, np.arange(queries)[:, None], np.arange(keys))[None]


def _record_scores(layer: Any, inputs: Any, kwargs: dict[str, Any], record: Callable[..., Any]) -> Any:
    """A call inside a model, which gives two tensors with ``return_attention_scores``."""
    output = record(inputs, kwargs)
    if not kwargs.get("return_attention_scores"):
        return output
    scores = KerasTensor(layer.score_shape([tuple(tensor.shape) for tensor in inputs]), output.dtype)
    layer.nodes.pop()
    Node(layer, (inputs,), kwargs, (output, scores))
    return output, scores


class _Dropping(Layer):
    """Base of the layers that drop attention weights in training."""

    dropout: float
    noise: Noise

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        return self.attending(weights, lambda weighted: weighted)

    def run_for(self, arguments: dict[str, Any]) -> Run:
        if not arguments.get("training") or not self.dropout > 0:
            return self.frozen()
        return self.noisy_run(
            lambda: self.attending(self._own_weights(), lambda weighted: self.noise.dropped(weighted, self.dropout))
        )

    def attending(self, weights: tuple[Array, ...], drop: Callable[[Array], Array]) -> Run:
        """As `freeze`, with what becomes of the attention weights before the values are summed by them."""
        raise NotImplementedError


class _ScoredAttention(_Dropping):
    """Base of Attention and AdditiveAttention: called on [query, value] or [query, value, key]."""

    uses_mask = True
    call_arguments = ("inputs", "mask", "training", "return_attention_scores", "use_causal_mask")
    keyword_arguments = ("causal",)

    causal = False  # in Keras 2: called with use_causal_mask=True, whatever else

    def takes_list(self) -> bool:
        return True

    def check_shape(self, shape: Any) -> None:
        if not isinstance(shape, list) or len(shape) not in (2, 3):
            raise ValueError(f"Layer '{self.name}' should be called on [query, value] or [query, value, key].")
        if any(len(one) != 3 for one in shape):
            raise ValueError(f"Layer '{self.name}' takes inputs (batch, steps, features). Received shapes: {shape}")

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[0][:-1], input_shape[1][-1])

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return previous_mask[0] if isinstance(previous_mask, (list, tuple)) else None

    def score_function(self, weights: tuple[Array, ...]) -> Any:
        """What makes scores (batch, queries, keys) of queries and keys."""
        raise NotImplementedError

    def attending(self, weights: tuple[Array, ...], drop: Callable[[Array], Array]) -> Run:
        scored = self.score_function(weights)
        always_causal, older = self.causal, self.of_keras_2

        def run(
            inputs: Any,
            mask: Any = None,
            training: Any = None,
            return_attention_scores: bool = False,
            use_causal_mask: bool = False,
        ) -> Any:
            query, value = inputs[:2]
            key = inputs[2] if len(inputs) > 2 else value
            scores = scored(query, key)
            allowed = None
            masks = list(mask) if isinstance(mask, (list, tuple)) else [None]
            if len(masks) > 1 and masks[1] is not None:
                allowed = masks[1][:, None, :]
            if use_causal_mask or always_causal:
                causal = _causal(scores.shape[1], scores.shape[2])
                allowed = causal if allowed is None else spread(np.logical_and, allowed, causal)
            weighted = drop(_softmax(scores, allowed))
            y = matmul(weighted, value)
            if masks[0] is not None and older:
                update(np.multiply, y, masks[0][..., None])
            elif masks[0] is not None:
                y = spread(np.where, masks[0][..., None], y, y.dtype.type(0))
            return (y, weighted) if return_attention_scores else y

        return run

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        converted = super().convert_arguments(shapes, arguments)
        if "mask" in converted:
            converted["mask"] = [
                None if mask is None else as_mask(mask, shape[:2], self.name)
                for mask, shape in zip(converted["mask"], shapes, strict=False)
            ]
        return converted

    def score_shape(self, input_shape: Any) -> Any:
        """(batch, queries, keys)"""
        return (*input_shape[0][:-1], input_shape[1][-2])

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        return _record_scores(self, inputs, kwargs, super()._record)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | ({"causal": True} if self.causal else {})


@register()
class Attention(_ScoredAttention):
    """Keras's Attention layer: softmax(query key) value, called on [query, value] or [query, value, key].

    Parameters
    ----------
    use_scale : bool
        Whether the scores have a weight ``scale``.
    score_mode : {"dot", "concat"}
        How scores are made.
    dropout : float
        The share of the attention weights that a call with ``training=True`` drops.
    seed : int, optional
        Of the random numbers: of NumPy's, not of TensorFlow's, and the same again for a fresh layer.
    """

    config_keys = ("use_scale", "score_mode", "dropout", "seed")

    def __init__(
        self, use_scale: bool = False, score_mode: str = "dot", dropout: float = 0.0, seed: Any = None, **kwargs: Any
    ) -> None:
        self.causal = bool(kwargs.pop("causal", False))
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(f"Invalid value for argument score_mode. Received: score_mode={score_mode}")
        self.use_scale, self.score_mode, self.dropout, self.seed = bool(use_scale), score_mode, dropout, seed
        self.noise = Noise(seed)

    def build_weights(self, input_shape: Any) -> None:
        if self.use_scale:
            self.add_weight("scale", (), "ones")
        if self.score_mode == "concat":
            self.add_weight("concat_score_weight", (), "ones")

    def score_function(self, weights: tuple[Array, ...]) -> Any:
        values = [value.reshape(()) for value in self.packed(weights)]
        scale = values[0] if self.use_scale else None
        if self.score_mode == "dot":

            def dot(query: Array, key: Array) -> Array:
                scores = matmul(query, key.transpose(0, 2, 1))
                if scale is not None:
                    update(np.multiply, scores, scale)
                return scores

            return dot
        factor = values[-1]

        def concat(query: Array, key: Array) -> Array:
            both = spread(np.add, query[:, :, None], key[:, None])
            if scale is not None:
                both = spread(np.multiply, scale, both)
            sums = _core.dot(activations.tanh.run(contiguous(both)), None)
            return spread(np.multiply, factor, sums)

        return concat


@register()
class AdditiveAttention(_ScoredAttention):
    """Keras's AdditiveAttention layer: the scores are sums of tanh(query + key).

    Parameters
    ----------
    use_scale : bool
        Whether the sum has a weight for each feature.
    dropout, seed
        As of `Attention`.
    """

    config_keys = ("use_scale", "dropout", "seed")

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, seed: Any = None, **kwargs: Any) -> None:
        self.causal = bool(kwargs.pop("causal", False))
        kwargs.pop("score_mode", None)
        super().__init__(**kwargs)
        self.use_scale, self.dropout, self.seed = bool(use_scale), dropout, seed
        self.noise = Noise(seed)

    def build_weights(self, input_shape: Any) -> None:
        if self.use_scale:
            self.add_weight("scale", (input_shape[0][-1],), "glorot_uniform")

    def score_function(self, weights: tuple[Array, ...]) -> Any:
        scale = self.packed(weights)[0] if self.use_scale else None

        def scored(query: Array, key: Array) -> Array:
            both = activations.tanh.run(contiguous(spread(np.add, query[:, :, None], key[:, None])))
            if scale is None or scale.shape == both.shape[-1:]:
                return _core.dot(both, scale)
            return _core.dot(both, np.broadcast_to(scale, both.shape[-1:]).copy())

        return scored


@register()
class MultiHeadAttention(_Dropping):
    """Keras's MultiHeadAttention layer: called on query, value and, optionally, key, (batch, ..., features).

    Parameters
    ----------
    num_heads, key_dim : int
        How many heads, and the size of a head's queries and keys.
    value_dim : int, optional
        The size of a head's values; ``key_dim``.
    dropout, seed
        As of `Attention`.
    use_bias : bool
        Whether the projections have a bias.
    output_shape : int or tuple of int, optional
        What stands in the output for the query's last axis; its size.
    attention_axes : int or tuple of int, optional
        The axes over which to attend; all between the batch and the features.
    sliding_window : int, optional
        How many steps to either side a query sees at most, itself counted.
    use_gate : bool
        Whether a fifth projection, of the query, gates what the heads give.
    **kwargs
        As of Keras's layer.

    Notes
    -----
    As in Keras, the query's mask is the one that travels with the query: a call's ``query_mask`` changes nothing.
    """

    uses_mask = True
    removes_masks = True
    masks_each_argument = True
    min_ndim = 3
    inert_arguments = ("query_shape", "key_shape", "value_shape")
    keyword_arguments = ("softmax_robust_masking",)
    call_arguments = (
        "query",
        "value",
        "key",
        "query_mask",
        "value_mask",
        "key_mask",
        "attention_mask",
        "return_attention_scores",
        "training",
        "use_causal_mask",
        "mask",
    )

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        self.softmax_robust_masking = bool(kwargs.pop("softmax_robust_masking", False))  # of Keras 2
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.num_heads, self.key_dim = positive("num_heads", num_heads), positive("key_dim", key_dim)
        self.value_dim = positive("value_dim", value_dim) if value_dim else self.key_dim
        self.dropout, self.use_bias, self.use_gate, self.seed = dropout, bool(use_bias), bool(use_gate), seed
        self.noise = Noise(seed)
        self.output_shape = _sizes(output_shape, "output_shape")
        self.attention_axes = _sizes(attention_axes, "attention_axes")
        self.sliding_window = None if sliding_window is None else positive("sliding_window", sliding_window)
        self.flash_attention = flash_attention
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer, self.bias_regularizer = kernel_regularizer, bias_regularizer
        self.kernel_constraint, self.bias_constraint = kernel_constraint, bias_constraint
        self.parts: dict[str, _Projection] = {}

    config_keys = keys_of(__init__)

    heeds_query_mask = False  # that of a call, and not only one that travels with the query

    def heads_of(self, name: str) -> int:
        """How many heads a projection makes."""
        return self.num_heads

    def sublayers(self) -> tuple[Layer, ...]:
        return tuple(self.parts.values())

    def saved_parts(self) -> list[tuple[str, Any]]:
        # Keras has no public name for the gate's
        return [(f"{'_' * (name == 'gate')}{name}_dense", part) for name, part in self.parts.items()]

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        query, arguments = super()._bind(args, kwargs)
        if isinstance(query, (list, tuple)):
            return list(query), arguments
        value = arguments.pop("value", None)
        if value is None:
            raise TypeError(f"Layer '{self.name}' is called on a query and a value.")
        key = arguments.pop("key", None)
        return [query, value, *([] if key is None else [key])], arguments

    def call_args(self, node: Any) -> list[Any]:
        return list(node.args[0])

    def takes_list(self) -> bool:
        return True

    def check_shape(self, shape: Any) -> None:
        if not isinstance(shape, list) or len(shape) not in (2, 3):
            raise ValueError(f"Layer '{self.name}' is called on a query and a value.")
        for one in shape:
            super().check_shape(one)
            if len(one) != len(shape[0]):
                raise ValueError(f"Layer '{self.name}' takes inputs of equal rank. Received shapes: {shape}")
        axes = self._axes_of(len(shape[0]))
        query, *others = shape
        for one in others:
            if any(
                None not in (size, one[axis]) and size != one[axis] and axis not in axes
                for axis, size in enumerate(query[:-1])
            ):
                raise ValueError(
                    f"Layer '{self.name}' attends over axes {axes}; the others, but the last, have to agree. Received "
                    f"shapes: {shape}"
                )
        if len(others) > 1 and any(
            None not in pair and pair[0] != pair[1] for pair in zip(others[0][1:-1], others[1][1:-1], strict=True)
        ):
            raise ValueError(
                f"All dimensions of `value` and `key`, except the last one, must be equal. Received: {shape}"
            )

    def _axes_of(self, ndim: int) -> tuple[int, ...]:
        """The axes of attention for inputs of this rank."""
        if self.attention_axes is None:
            return tuple(range(1, ndim - 1))
        axes = tuple(axis if axis >= 0 else ndim + axis for axis in self.attention_axes)
        if not axes or len(set(axes)) != len(axes) or not all(0 < axis < ndim - 1 for axis in axes):
            raise ValueError(
                f"Layer '{self.name}' has attention_axes={self.attention_axes}, expected different axes between the "
                f"first and the last of its inputs' {ndim}."
            )
        return axes

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[0][:-1], *(self.output_shape or input_shape[0][-1:]))

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return previous_mask[0] if isinstance(previous_mask, (list, tuple)) else None

    def build_weights(self, input_shape: Any) -> None:
        query, value = input_shape[:2]
        key = input_shape[2] if len(input_shape) > 2 else value
        heads, output = self.num_heads, self.output_shape or query[-1:]
        for name, features, dim in (
            ("query", query[-1], self.key_dim),
            ("key", key[-1], self.key_dim),
            *([("gate", query[-1], self.value_dim)] if self.use_gate else []),
            ("value", value[-1], self.value_dim),
        ):
            units = (self.heads_of(name), dim)
            self.parts[name] = _Projection(self, name, (features, *units), units)
        self.parts["output"] = _Projection(self, "attention_output", (heads, self.value_dim, *output), output)

    def attending(self, weights: tuple[Array, ...], drop: Callable[[Array], Array]) -> Run:
        heads, dim = self.num_heads, self.value_dim
        project = {name: (part.frozen(), part.columns) for name, part in self.parts.items()}
        scale = self.policy.real.type(1 / np.sqrt(float(self.key_dim)))
        repeats = {name: heads // self.heads_of(name) for name in project}

        def rows(name: str, x: Array) -> Array:
            """(batch, ..., heads * size)"""
            apply, columns = project[name]
            y: Array = apply(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], columns)
            return y

        def run(
            inputs: Any,
            mask: Any = None,
            query_mask: Any = None,
            value_mask: Any = None,
            key_mask: Any = None,
            attention_mask: Any = None,
            return_attention_scores: bool = False,
            use_causal_mask: bool = False,
            training: Any = None,
        ) -> Any:
            query, value = inputs[:2]
            key = inputs[2] if len(inputs) > 2 else value
            axes = self._axes_of(query.ndim)
            others = [axis for axis in range(query.ndim - 1) if axis not in axes]
            masks = self._masks(mask, query_mask, value_mask, key_mask)
            beside = [query.shape[axis] for axis in others]
            queries, keys = ([x.shape[axis] for axis in axes] for x in (query, key))

            def split(name: str, x: Array) -> Array:
                """(axes beside attention * heads, places to attend to or from, size)"""
                y = rows(name, x)
                own = heads // repeats[name]
                size = y.shape[-1] // own
                y = y.reshape(*x.shape[:-1], own, size)
                y = repeated(y, repeats[name], -2) if repeats[name] > 1 else y
                y = y.transpose(*others, x.ndim - 1, *axes, x.ndim)
                places = int(np.prod([x.shape[axis] for axis in axes]))
                return reshaped(y, (-1, places, size))

            allowed = self._allowed(query, value, masks, attention_mask, use_causal_mask)
            scores = matmul(spread(np.multiply, split("query", query), scale), split("key", key).transpose(0, 2, 1))
            together = (-1, int(np.prod(queries)), int(np.prod(keys)))
            at_hand = bool(return_attention_scores or self.dropout or query.ndim > 3)
            scores = scores.reshape(*beside, heads, *queries, *keys)
            weighted = self._weighted(scores, together, allowed, len(axes), at_hand)
            flat = matmul(drop(weighted).reshape(together), split("value", value))
            # from (beside, heads, queries, dim) back to the query's order
            back = np.argsort([*others, query.ndim - 1, *axes, query.ndim])
            y = reshaped(flat.reshape(*beside, heads, *queries, dim).transpose(back), (*query.shape[:-1], heads * dim))
            if self.use_gate:
                y = spread(np.multiply, y, activations.sigmoid.run(contiguous(rows("gate", query))))
            y = rows("output", y).reshape(*query.shape[:-1], *(self.output_shape or query.shape[-1:]))
            return (y, weighted) if return_attention_scores else y

        return run

    def _masks(self, mask: Any, query_mask: Any, value_mask: Any, key_mask: Any) -> list[Any]:
        """Those of query, value and key: what a call says, or else what travels with each; see the notes."""
        propagated = list(mask) if isinstance(mask, (list, tuple)) else [mask]
        propagated += [None] * (3 - len(propagated))
        given = (query_mask if self.heeds_query_mask else None, value_mask, key_mask)
        return [own if one is None else one for own, one in zip(propagated, given, strict=False)]

    def _weighted(
        self, scores: Array, together: tuple[int, ...], allowed: Array | None, axes: int, at_hand: bool
    ) -> Array:
        """The softmax of scores (axes beside, heads, ``axes`` of queries, of keys) over all axes of the keys.

        ``together`` is their shape with the queries, and the keys, on one axis each. Where the weights are ``at_hand``,
        Keras 3 gives nothing masked one, even where all is masked.
        """
        if allowed is not None:
            while allowed.ndim < scores.ndim:
                allowed = np.expand_dims(allowed, -2 * axes - 1)
            least = scores.dtype.type(-1e9)
            if not self.of_keras_2 or self.softmax_robust_masking:
                scores = spread(np.where, allowed, scores, least)
            else:
                scores = spread(lambda some, kept: some + np.where(kept, 0, least), scores, allowed)
        weighted: Array = activations.softmax.run(contiguous(scores.reshape(together))).reshape(scores.shape)
        if allowed is not None and at_hand and not self.of_keras_2:
            weighted = spread(np.where, allowed, weighted, weighted.dtype.type(0))
        return weighted

    def _allowed(
        self, query: Array, value: Array, masks: list[Any], attention_mask: Any, use_causal_mask: bool
    ) -> Array | None:
        """Which places attend to which, (batch, queries, keys) or what broadcasts to that; None for all."""
        query_mask, value_mask, key_mask = masks
        row, column = np.ogrid[: query.shape[1], : value.shape[1]]
        window = self.sliding_window
        parts = [
            None if query_mask is None else query_mask[..., None],
            None if value_mask is None else value_mask[..., None, :],
            None if key_mask is None else key_mask[..., None, :],
            spread(np.greater_equal, row, column)[None] if use_causal_mask else None,
            None if window is None else spread(lambda i, j: np.abs(i - j) < window, row, column)[None],
            None if attention_mask is None else np.asarray(attention_mask) != 0,
        ]
        known = [part for part in parts if part is not None]
        allowed: Array | None = reduce(partial(spread, np.logical_and), known) if known else None
        return allowed

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        converted = super().convert_arguments(shapes, arguments)
        for name, position in (("query_mask", 0), ("value_mask", 1), ("key_mask", -1)):
            if name in converted:
                ndim = max(2, min(np.ndim(converted[name]), len(shapes[position]) - 1))
                converted[name] = as_mask(converted[name], shapes[position][:ndim], self.name)
        return converted

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        if not all(isinstance(tensor, KerasTensor) for tensor in inputs):
            raise TypeError(f"Layer '{self.name}' was called on symbolic tensors and arrays at once.")
        return _record_scores(self, inputs, kwargs, super()._record)

    def score_shape(self, input_shape: Any) -> Any:
        """(batch, other axes, heads, queries, keys)"""
        query, value = input_shape[:2]
        axes = self._axes_of(len(query))
        others = [size for axis, size in enumerate(query[:-1]) if axis not in axes]
        return (*others, self.num_heads, *(shape[axis] for shape in (query, value) for axis in axes))


@register("GroupedQueryAttention")
class GroupQueryAttention(MultiHeadAttention):
    """Keras's GroupQueryAttention layer: a MultiHeadAttention whose heads share keys and values in groups.

    Parameters
    ----------
    head_dim : int
        Size of each head.
    num_query_heads, num_key_value_heads : int
        How many heads the query has, and how many keys and values do; the first is a multiple of the second.
    dropout, use_bias, sliding_window, use_gate, seed
        As of `MultiHeadAttention`.
    **kwargs
        As of Keras's layer.
    """

    ndim = 3
    removes_masks = False
    heeds_query_mask = True

    def __init__(
        self,
        head_dim: int,
        num_query_heads: int,
        num_key_value_heads: int,
        dropout: float = 0.0,
        use_bias: bool = True,
        sliding_window: int | None = None,
        flash_attention: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        self.head_dim = positive("head_dim", head_dim)
        self.num_query_heads = positive("num_query_heads", num_query_heads)
        self.num_key_value_heads = positive("num_key_value_heads", num_key_value_heads)
        if num_query_heads % num_key_value_heads:
            raise ValueError("`num_query_heads` must be divisible by `num_key_value_heads`.")
        super().__init__(
            num_query_heads,
            head_dim,
            dropout=dropout,
            use_bias=use_bias,
            sliding_window=sliding_window,
            flash_attention=flash_attention,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            use_gate=use_gate,
            seed=seed,
            **kwargs,
        )

    config_keys = keys_of(__init__, without="flash_attention")

    def heads_of(self, name: str) -> int:
        return self.num_key_value_heads if name in ("key", "value") else self.num_query_heads

    def saved_group(self) -> str:
        return "grouped_query_attention"  # after the name of Keras's class inside Keras

    def saved_parts(self) -> list[tuple[str, Any]]:
        return [(f"_{name}_dense", part) for name, part in self.parts.items()]


def _sizes(value: Any, name: str) -> tuple[int, ...] | None:
    """One or several numbers as a tuple; None stays."""
    if value is None or value == () or value == []:
        return None
    sizes = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not all(isinstance(size, int) and not isinstance(size, bool) for size in sizes):
        raise ValueError(f"Invalid `{name}`: expected an int or several, got {value!r}.")
    return sizes


class _Projection(Layer):
    """One of the products of a MultiHeadAttention, (rows, features) -> (rows, units)."""

    def __init__(self, layer: MultiHeadAttention, name: str, shape: tuple[int, ...], bias: tuple[int, ...]) -> None:
        super().__init__(name=name, dtype=layer.policy)
        self.columns = int(np.prod(bias))
        initializer = layer.kernel_initializer
        if initializer is not None and not layer.of_keras_2:
            summed = len(shape) - len(bias)
            initializer = initializer.over([*range(summed)], [*range(summed, len(shape))])
        self.add_weight("kernel", shape, initializer)
        if layer.use_bias:
            self.add_weight("bias", bias, layer.bias_initializer)
        self.built = True

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        kernel, *bias = self.packed(weights)
        flat = np.ascontiguousarray(kernel.reshape(-1, self.columns))
        offset = np.ascontiguousarray(bias[0].reshape(-1)) if bias else None
        apply = _core.PackedLayer("dense", flat, None, offset, activations.LINEAR, None).apply
        return lambda x: apply(contiguous(x), None, 0)


__all__ = ["AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"]
