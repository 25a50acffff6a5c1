"""Layers around layers: TimeDistributed and Bidirectional.

Next: recurrent.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from lstmfast import _core
from lstmfast._arrays import as_array
from lstmfast._graph import Node, flatten, map_tree
from lstmfast._lookup import Lookup
from lstmfast._pieces import cast, contiguous, joined, put, reshaped, spread, update
from lstmfast._stack import give_stage, has_stage, stage_of
from lstmfast.layers.arguments import as_mask
from lstmfast.layers.base import Array, Layer, Run, deserialize_layer, fill, keep_age, register, serialize_layer
from lstmfast.layers.recurrent import Recurrent


@register()
class TimeDistributed(Layer):
    """Keras's TimeDistributed wrapper: any layer or model, applied to every step.

    Parameters
    ----------
    layer : Layer
        What to apply; (batch, steps, ...) is (batch * steps, ...) to it.
    """

    min_ndim = 3
    per_step = True
    last_axis_only = False
    stops_mask_since_316 = True
    call_arguments = ("inputs", "training", "mask")

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        if not isinstance(layer, (Layer, dict)):
            raise ValueError(
                f"Please initialize `TimeDistributed` layer with a `keras.layers.Layer` instance. Received: {layer}"
            )
        super().__init__(**kwargs)
        self.layer = deserialize_layer(layer)
        if self.layer.policy.quantized:
            raise NotImplementedError(
                f"TimeDistributed around the quantized layer '{self.layer.name}' is not supported: Keras takes its "
                "integers there, without their scale, for the weights."
            )

    @property
    def repeats(self) -> bool:  # type: ignore[override]
        return self.layer.repeats

    @property
    def allocates(self) -> bool:  # type: ignore[override]
        return self.layer.allocates

    @property
    def uses_mask(self) -> bool:  # type: ignore[override]
        return self.layer.uses_mask

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        return self.layer.keeps_integers if self.layer.policy.real is self.policy.real else ""

    def kept_integers(self, inputs: Any) -> np.dtype[Any] | None:
        return None if super().kept_integers(inputs) is None else self.layer.kept_integers(inputs)

    def on_integers(self, run: Run) -> Run:
        return self._at_once(self.layer.on_integers(self.layer.frozen()))

    @property
    def makes_mask(self) -> bool:  # type: ignore[override]
        return self.of_keras_2 and (self.layer.makes_mask or self._makes_mask_inside())

    def _makes_mask_inside(self) -> bool:
        return self.layer.built and hasattr(self.layer.frozen(), "with_masks")

    def _takes(self, mask: Array | None) -> bool:
        """Whether a mask of (batch, steps, ...) goes to the layer: one of its own steps, or of rows, where these count.

        Most layers would take one of (batch, steps) for a mask of their own steps.
        """
        return mask is not None and self.layer.uses_mask and (mask.ndim > 2 or self._takes_rows())

    def _takes_rows(self) -> bool:
        """Whether the layer mixes rows, or merges such as are masked."""
        return any(
            inner.uses_mask_since_34 or (inner.mixes_batch(True) and not inner.sublayers())
            for inner in self.layer.all_layers()
        )

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask that came; of Keras 2 what the layer makes of it, and of a mask of more axes one of the steps."""
        if not self.of_keras_2:
            return previous_mask
        hands_masks = getattr(self.frozen(), "hands_masks", None)
        if hands_masks is not None:
            return hands_masks(inputs, previous_mask)[1]
        rows = None if previous_mask is None else previous_mask.reshape(-1, *previous_mask.shape[2:])
        inner = None
        if self.layer.makes_mask or (rows is not None and self.layer.supports_masking):
            inner = self.layer.compute_mask(reshaped(inputs, (-1, *inputs.shape[2:])), rows)
        return _of_steps(inner, previous_mask, inputs.shape[:2])

    def sublayers(self) -> tuple[Layer, ...]:
        return (self.layer,)

    def saved_parts(self) -> list[tuple[str, Any]]:
        return [("layer", self.layer)]

    def build_weights(self, input_shape: Any) -> None:
        if not self.layer.built:
            self.layer.build((input_shape[0], *input_shape[2:]))

    def check_shape(self, shape: Any) -> None:
        super().check_shape(shape)
        self.layer.check_shape((shape[0], *shape[2:]))

    def compute_output_shape(self, input_shape: Any) -> Any:
        inner = self.layer.compute_output_shape((input_shape[0], *input_shape[2:]))
        return (inner[0], input_shape[1], *inner[1:])

    def output_dtype(self, inputs: Any) -> str:
        return self.layer.output_dtype(inputs)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        own = self.layer.frozen()
        if self.layer.mixes_batch(False) and not self.of_keras_2:
            return self._step_by_step(self._inner(own))
        return self._at_once(own)

    def _at_once(self, own: Run) -> Run:
        """`freeze`, given what runs the layer inside."""
        inner = self._inner(own)

        def run(x: Array, mask: Any = None, training: Any = None, out: Array | None = None) -> Array:
            batch, steps = x.shape[:2]
            rows = reshaped(x, (batch * steps, *x.shape[2:]))
            if self._takes(mask):
                y: Array = inner(rows, mask=mask.reshape(batch * steps, *mask.shape[2:]))
                y = y.reshape(batch, steps, *y.shape[1:])
                return y if out is None else fill([out], y)
            if out is not None and out.flags.c_contiguous:
                inner(rows, out=out.reshape(batch * steps, *out.shape[2:]))
                return out
            y = inner(rows)
            y = y.reshape(batch, steps, *y.shape[1:])
            if out is None:
                return y
            put(out, y)
            return out

        run.takes_out = getattr(inner, "takes_out", False)  # type: ignore[attr-defined]
        if self.of_keras_2 and hasattr(own, "hands_masks"):
            self._hand_masks(run, own)
        if has_stage(inner) and type(stage_of(inner)) is _core.DenseStage:  # which takes the steps for rows by itself
            give_stage(run, inner.stage[1])  # type: ignore[attr-defined]
        return run

    def _hand_masks(self, run: Run, own: Run) -> None:
        """Let ``run`` give the masks, too, that the model inside makes and hands on in ``own``."""

        def with_masks(x: Array, mask: Any = None, training: Any = None) -> tuple[Array, Any]:
            rows = reshaped(x, (-1, *x.shape[2:]))
            below = mask.reshape(-1, *mask.shape[2:]) if self._takes(mask) else None
            y, masks = own.hands_masks(rows, below)  # type: ignore[attr-defined]
            return y.reshape(*x.shape[:2], *y.shape[1:]), _of_steps(flatten([masks])[0], mask, x.shape[:2])

        run.hands_masks = with_masks  # type: ignore[attr-defined]
        if hasattr(own, "with_masks"):
            run.with_masks = with_masks  # type: ignore[attr-defined]

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        converted = super().convert_arguments(shapes, arguments)
        if "mask" in converted:
            mask = converted["mask"] = as_array(converted["mask"], "the mask")
            if mask.shape[:2] != shapes[:2]:
                raise ValueError(
                    f"Layer '{self.name}' takes a mask of shape ({shapes[0]}, {shapes[1]}, ...). Received: {mask.shape}"
                )
        return converted

    def run_for(self, arguments: dict[str, Any]) -> Run:
        training = arguments.get("training")
        if training and self.layer.is_noisy():
            return self.noisy_run(self._in_training)
        if training is not None and not training and self.layer.trains:
            return self._at_once(self.layer.run_for({"training": False}))
        return self.frozen()

    def _in_training(self) -> Run:
        """What runs a layer that differs in training."""
        inner = self._inner(self.layer.run_for({"training": True}))
        return self._all_rows(inner) if self.of_keras_2 else self._step_by_step(inner)

    def _step_by_step(self, inner: Run) -> Run:
        """A call for each step, as in Keras 3."""

        def call(x: Array, mask: Array | None) -> Array:
            if mask is None:
                return inner(np.ascontiguousarray(x))  # type: ignore[no-any-return]
            return inner(np.ascontiguousarray(x), mask=mask)  # type: ignore[no-any-return]

        def run(x: Array, mask: Any = None, training: Any = True) -> Array:
            mask = mask if self._takes(mask) else None
            steps = range(x.shape[1])
            return np.stack([call(x[:, step], None if mask is None else mask[:, step]) for step in steps], axis=1)

        return run

    def _all_rows(self, inner: Run) -> Run:
        """One call for all steps, as in Keras 2."""

        def run(x: Array, mask: Any = None, training: Any = True) -> Array:
            rows = np.ascontiguousarray(x.reshape(-1, *x.shape[2:]))
            y = inner(rows, mask=mask.reshape(-1, *mask.shape[2:])) if self._takes(mask) else inner(rows)
            whole: Array = y.reshape(*x.shape[:2], *y.shape[1:])
            return whole

        return run

    def _inner(self, run: Run) -> Run:
        own = self.layer.policy.real
        return _in_type(run, own, own) if self.layer.casts_input and own is not self.policy.real else run

    def one_step(self, run: Run, node: Node) -> Run:
        own = self.layer.frozen()
        inner = self._inner(own if self.kept_integers(node.args[0]) is None else self.layer.on_integers(own))
        if not self.uses_mask and "mask" not in node.kwargs:
            return inner

        def step(x: Array, mask: Array | None = None) -> Any:
            return inner(x, mask=mask) if mask is not None and self._takes(mask[:, None]) else inner(x)

        return step

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": serialize_layer(self.layer)}

    def twin_config(self) -> dict[str, Any]:
        return {**super().twin_config(), "layer": self.layer.twin()}


def _of_steps(inner: Array | None, mask: Array | None, sizes: tuple[int, ...]) -> Array | None:
    """In Keras 2 the mask behind a TimeDistributed, given what its layer makes of the rows, and the mask before it."""
    if inner is not None:
        return inner.reshape(*sizes, *inner.shape[1:])
    if mask is None or mask.ndim == 2:
        return mask
    return np.asarray(mask.any(axis=tuple(range(2, mask.ndim))))


# What a Bidirectional reads of its layers: which one goes backwards, and in what they have to agree.
_OF_BOTH = ("go_backwards", "stateful", "return_sequences", "return_state")


@register()
class Bidirectional(Layer):
    """Keras's Bidirectional wrapper: a recurrent layer forwards and one backwards.

    Parameters
    ----------
    layer : Layer
        A recurrent layer, or one of the user's own with the attributes ``go_backwards``, ``return_sequences``,
        ``return_state`` and ``stateful``; a copy of its config runs forwards.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How the two outputs become one; None returns both.
    backward_layer : Layer, optional
        Runs backwards in place of another copy of ``layer``.
    """

    uses_mask = True
    stops_mask_since_316 = True
    call_arguments = ("sequences", "initial_state", "mask", "training")

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(layer, (Layer, dict)):
            raise ValueError(
                f"Please initialize `Bidirectional` layer with a `keras.layers.Layer` instance. Received: {layer}"
            )
        if merge_mode not in ("sum", "mul", "ave", "concat", None):
            raise ValueError(
                f"Invalid merge mode. Received: {merge_mode}. Merge mode should be one of "
                '{"sum", "mul", "ave", "concat", None}'
            )
        super().__init__(**kwargs)
        layer = deserialize_layer(layer)
        if not isinstance(layer, Recurrent) and not (layer.is_own() and all(hasattr(layer, one) for one in _OF_BOTH)):
            raise ValueError(
                "`Bidirectional` wraps a recurrent layer, or one of your own with the attributes "
                f"{', '.join(_OF_BOTH)}. Received: layer={layer}"
            )
        if getattr(layer, "time_major", False):
            raise NotImplementedError(f"`Bidirectional` around the time-major layer '{layer.name}' is not supported.")
        self.forward_layer: Any = _renamed(layer, "forward_")
        if backward_layer is None:
            self.backward_layer: Any = _renamed(layer, "backward_", go_backwards=not layer.go_backwards)
        else:
            self.backward_layer = deserialize_layer(backward_layer)
        forward: Any = self.forward_layer
        backward: Any = self.backward_layer
        if forward.is_own() != backward.is_own():
            raise NotImplementedError(
                f"`Bidirectional` around layer '{forward.name}' forwards and '{backward.name}' backwards, of which one "
                "is of your own, is not supported: let both be."
            )
        if forward.go_backwards == backward.go_backwards:
            raise ValueError(
                "Forward layer and backward layer should have different `go_backwards` value. Received: "
                f"forward_layer.go_backwards {forward.go_backwards}, backward_layer.go_backwards="
                f"{backward.go_backwards}"
            )
        for attribute in _OF_BOTH[1:]:
            if getattr(forward, attribute) != getattr(backward, attribute):
                raise ValueError(
                    "Forward layer and backward layer are expected to have the same value for attribute "
                    f'"{attribute}", got "{getattr(forward, attribute)}" for forward layer and '
                    f'"{getattr(backward, attribute)}" for backward layer'
                )
        for inner in (forward, backward):
            if hasattr(inner, "zero_output_for_mask"):
                inner.zero_output_for_mask = inner.return_sequences
        self.merge_mode = merge_mode
        self.ndim = forward.ndim
        self.return_sequences = forward.return_sequences
        self.return_state = forward.return_state
        self.stateful = forward.stateful
        if forward.is_own():
            self.uses_mask = forward.uses_mask
            self.allocates = False

    def sublayers(self) -> tuple[Layer, ...]:
        return (self.forward_layer, self.backward_layer)

    def saved_parts(self) -> list[tuple[str, Any]]:
        return [("forward_layer", self.forward_layer), ("backward_layer", self.backward_layer)]

    def check_shape(self, shape: Any) -> None:
        super().check_shape(shape)
        self.forward_layer.check_shape(shape)

    def build_weights(self, input_shape: Any) -> None:
        self.forward_layer.build(input_shape)
        self.backward_layer.build(input_shape)

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        shape = self.forward_layer.compute_output_shape(sequences_shape)
        states: tuple[Any, ...] = ()
        if self.return_state:
            shape, states = shape[0], tuple(shape[1:])
        if self.merge_mode is None:
            return (shape, shape, *states, *states)
        if self.merge_mode == "concat":
            backward = self.backward_layer.compute_output_shape(sequences_shape)
            shape = (*shape[:-1], shape[-1] + (backward[0] if self.return_state else backward)[-1])
        return (shape, *states, *states) if self.return_state else shape

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        mask = previous_mask[0] if isinstance(previous_mask, list) else previous_mask
        mask = mask if self.return_sequences else None
        outputs = [mask, mask] if self.merge_mode is None else mask
        if not self.return_state:
            return outputs
        states = [None] * (2 * self._states_count())
        return [*(outputs if isinstance(outputs, list) else [outputs]), *states]

    def masked_outputs(self, count: int, incoming: bool) -> list[bool]:
        return [mask is not None for mask in flatten([self.compute_mask(None, True)])]

    def refuse_mask(self, several: bool) -> None:
        self.forward_layer.refuse_mask(several)

    def _states_count(self) -> int:
        """How many arrays the state of one direction has."""
        forward = self.forward_layer
        if isinstance(forward, Recurrent):
            return forward.states_count
        return len(forward.compute_output_shape(forward.build_shape)) - 1

    def _drops(self) -> bool:
        """Whether a direction gives something else with training=True."""
        return any(
            bool(layer.dropping_cells()) if isinstance(layer, Recurrent) else layer.is_noisy()
            for layer in self.sublayers()
        )

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        if not self.built:
            self.build(shapes)
        if arguments.get("mask") is not None and self.uses_mask:
            converted["mask"] = as_mask(arguments["mask"], shapes[:2], self.name)
        if arguments.get("initial_state") is not None:
            converted["initial_state"] = self._split_states(arguments["initial_state"], shapes[0])
        if arguments.get("training") and self._drops():
            converted["training"] = True
        return converted

    def _split_states(self, initial_state: Any, batch: int) -> tuple[Any, ...]:
        states = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        if not isinstance(self.forward_layer, Recurrent):  # whose call looks at them
            return tuple(as_array(state, f"a state of layer '{self.name}'") for state in states)
        count = self.forward_layer.states_count
        if len(states) != 2 * count:
            raise ValueError(
                f"Layer '{self.name}' has {2 * count} states, forward's first, but `initial_state` holds {len(states)}."
            )
        return (
            *self.forward_layer._checked_states(states[:count], batch),
            *self.backward_layer._checked_states(states[count:], batch),
        )

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        return self._both({})

    def run_for(self, arguments: dict[str, Any]) -> Run:
        if not arguments.get("training") or not self._drops():
            return self.frozen()
        return self.noisy_run(lambda: self._both({"training": True}))

    def _both(self, arguments: dict[str, Any]) -> Run:
        """The two layers as one, for calls with these arguments."""
        real = self.policy.real
        runs = [(layer.run_for(arguments), layer.policy.real) for layer in self.sublayers()]
        by_name = self.forward_layer.is_own()
        forward, backward = (run if own is real and not by_name else _in_type(run, own, real) for run, own in runs)
        merge, sequences, states = self.merge_mode, self.return_sequences, self.return_state
        pairs = all(getattr(one, "takes_calls", False) for one in (forward, backward))
        joint = 0  # units of both, where they write into one array
        if pairs and merge == "concat":
            joint = sum(one.core.units for one in (forward, backward))  # type: ignore[attr-defined]

        def run(
            x: Array,
            initial_state: Any = None,
            mask: Array | None = None,
            training: Any = False,
            out: Array | None = None,
        ) -> Any:
            first = second = None
            if initial_state is not None:
                half = len(initial_state) // 2
                first, second = initial_state[:half], initial_state[half:]
            if pairs:
                pair = _core.Pair(joint, out)
                y, y_backward = forward(x, first, mask, calls=pair), backward(x, second, mask, calls=pair)
                pair.finish()
            else:
                y, y_backward = forward(x, first, mask), backward(x, second, mask)
            final: tuple[Any, ...] = ()
            if states:
                final = (*y[1:], *y_backward[1:])
                y, y_backward = y[0], y_backward[0]
            if joint:  # y is both
                return (y, *final) if states else y
            if sequences and not pairs:
                y_backward = y_backward[:, ::-1]
            if merge is None:
                return (y, contiguous(y_backward), *final)
            y = merged(y, y_backward, merge, pairs)
            return (y, *final) if states else y

        run.parts = (forward, backward)  # type: ignore[attr-defined]
        run.takes_out = joint > 0 and not states  # type: ignore[attr-defined]
        run.takes_lookup = all(getattr(one, "takes_lookup", False) for one in (forward, backward))  # type: ignore[attr-defined]
        if joint and not states:
            give_stage(run, partial(_pair_stage, forward=forward, backward=backward))
        return run

    def run_ragged(self, inputs: Any, lengths: Any, arguments: dict[str, Any], out: Any, caller: list[Any]) -> Any:
        from lstmfast._ragged import call_layer

        return call_layer(self, inputs, lengths, arguments, out, caller)

    def as_stage(self, run: Run, node: Node, batch_size: int) -> tuple[Any, bool]:
        raise ValueError(
            f"Layer '{self.name}' (of type Bidirectional) cannot be streamed: it reads its input from the last step on."
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "merge_mode": self.merge_mode,
            "layer": serialize_layer(self.forward_layer),
            "backward_layer": serialize_layer(self.backward_layer),
        }

    def twin_config(self) -> dict[str, Any]:
        inside = {"layer": self.forward_layer.twin(), "backward_layer": self.backward_layer.twin()}
        return {**super().twin_config(), **inside}


def _pair_stage(run: Run, forward: Any, backward: Any) -> _core.Stage:
    one, other = stage_of(forward), stage_of(backward)
    if type(one) is not _core.RecurrentStage or type(other) is not _core.RecurrentStage:
        return _core.Stage(run)
    return _core.PairStage(run, one, other, partial(_tables, forward, backward))


def _tables(forward: Any, backward: Any, x: Any) -> tuple[Array, Array, Array] | None:
    """Of a lookup its ids and what both layers start from; None of anything else, and before these are made."""
    if type(x) is not Lookup:
        return None
    table, other = forward.table.made(x), backward.table.made(x)
    return None if table is None or other is None else (x.ids, table, other)


def _in_type(run: Run, inside: Any, outside: Any) -> Run:
    """``run`` of a layer whose arithmetic has the type ``inside``, with results of the type ``outside``."""

    def converting(x: Array, initial_state: Any = None, mask: Any = None) -> Any:
        given = {"initial_state": initial_state, "mask": mask}
        arguments = {name: value for name, value in given.items() if value is not None}
        return map_tree(partial(cast, dtype=outside), run(cast(x, inside), **arguments))

    return converting


def merged(y: Array, y_backward: Array, mode: str, in_place: bool = False) -> Array:
    """The two outputs of a Bidirectional layer as one; with ``in_place``, y may become it."""
    if mode == "concat":
        return joined([y, y_backward], -1)
    combine, total = np.multiply if mode == "mul" else np.add, y
    if in_place:
        update(combine, y, y_backward)
    else:
        total = spread(combine, y, y_backward)
    if mode == "ave":
        update(np.true_divide, total, 2)
    return total


def _renamed(layer: Any, prefix: str, **changes: Any) -> Layer:
    config = layer.twin_config()
    name = config["name"]
    config["name"] = prefix + (name[len(prefix) :] if name.startswith(prefix) else name)
    made: Layer = type(layer).from_config({**config, **changes})
    keep_age(made, layer)
    return made
