"""The recurrent layers' common part: what Keras's RNN does around a cell.

`Recurrent` has masks, states and directions, and asks its subclass for something that runs a sequence as
`_core.PackedLayer` does; LSTM, GRU and SimpleRNN are a `CellLayer` each, with a row of constants and their arguments.
Next: lstm.py; recurrent_dropout.py; ../_core.pyi, where it ends up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast import _core, activations, initializers
from lstmfast._arrays import BOOL, convert
from lstmfast._graph import Node, Shape, flatten
from lstmfast._lookup import Lookup, ProjectedTable
from lstmfast._pieces import contiguous
from lstmfast._stack import give_stage
from lstmfast.layers.arguments import as_mask, positive
from lstmfast.layers.base import Array, Layer, Run
from lstmfast.layers.noise import Noise
from lstmfast.layers.recurrent_dropout import DroppingCell, DroppingRules

FLAGS = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll")
_INITIALIZERS = ("kernel_initializer", "recurrent_initializer", "bias_initializer")


class Recurrent(Layer):
    """Base of all recurrent layers: (batch, steps, ...) -> (batch, steps, ...) or (batch, ...)."""

    ndim = 3
    uses_mask = True
    stops_mask_since_316 = True
    call_arguments: tuple[str, ...] = ("sequences", "initial_state", "mask", "training")

    config_keys: tuple[str, ...]
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    unroll: bool
    zero_output_for_mask: bool
    time_major = False
    states: list[Array] | None = None
    dropping_rules = DroppingRules()  # of that Keras
    _batch: int | None = None
    _state_shapes: list[Shape]  # of each array, without the batch; once built

    # -- what subclasses say ------------------------------------------------------------------------------------

    @property
    def states_count(self) -> int:
        """The number of arrays in the state."""
        raise NotImplementedError

    @property
    def output_state(self) -> int:
        """Which of the state's arrays is the last step's output."""
        return 0

    def step_shapes(self, input_shape: Any) -> tuple[Shape, list[Shape]]:
        """The shapes of one step's output and of the state's arrays, without the batch."""
        raise NotImplementedError

    def make_core(self, weights: tuple[Array, ...]) -> Any:
        """What runs sequences: an object with ``run`` as a `_core.PackedLayer` has it."""
        raise NotImplementedError

    def make_dropping_core(self, weights: tuple[Array, ...]) -> Any:
        """As `make_core`, of a layer that drops out."""
        raise NotImplementedError

    def dropping_cells(self) -> list[Any]:
        """The parts that drop out in training."""
        return []

    def nest_states(self, states: tuple[Any, ...]) -> tuple[Any, ...]:
        """The state's arrays, or their shapes, as the layer returns them."""
        return states

    # -- shapes and masks ---------------------------------------------------------------------------------------

    def build_states(self, input_shape: Any) -> None:
        """Make the states of a stateful layer."""
        self._state_shapes = self.step_shapes(input_shape)[1]
        batch = input_shape[1 if self.time_major else 0]
        if self.stateful and batch is None:
            raise ValueError(
                "When using `stateful=True` in a RNN, the batch size must be static. Found dynamic batch size: "
                f"sequence.shape={input_shape}"
            )
        if self.stateful:
            self._batch = batch
            self.states = self.zero_states(batch)

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        """(batch, units), or (batch, steps, units) with ``return_sequences``; with the states' where they come too."""
        batch, steps = sequences_shape[:2]
        if self.time_major:
            batch, steps = steps, batch
        sample, states = self.step_shapes(sequences_shape)
        output: Shape = (batch, *sample)
        if self.return_sequences:
            output = (steps, batch, *sample) if self.time_major else (batch, steps, *sample)
        if self.return_state:
            return (output, *self.nest_states(tuple((batch, *state) for state in states)))
        return output

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        mask = previous_mask[0] if isinstance(previous_mask, list) else previous_mask
        mask = mask if self.return_sequences else None
        return [mask, *[None] * self.states_count] if self.return_state else mask

    def masked_outputs(self, count: int, incoming: bool) -> list[bool]:
        return [mask is not None for mask in flatten([self.compute_mask(None, True)])]

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """Zeros, (batch, units) for each array of the state; as in Keras 2, also for an array of so many rows."""
        batch_size = batch_size.shape[0] if getattr(batch_size, "shape", ()) else batch_size
        return list(self.nest_states(tuple(self.zero_states(batch_size))))

    def zero_states(self, batch: int) -> list[Array]:
        """As `get_initial_state`, in one list."""
        shapes = self._state_shapes if hasattr(self, "_state_shapes") else self.step_shapes(None)[1]
        return [np.zeros((batch, *shape), self.policy.real) for shape in shapes]

    # -- running ------------------------------------------------------------------------------------------------

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        return self._around(self.make_core(weights))

    def run_for(self, arguments: dict[str, Any]) -> Run:
        if not arguments.get("training") or not self.dropping_cells():
            return self.frozen()
        return self.noisy_run(lambda: self._around(self.make_dropping_core(self._own_weights())))

    def _around(self, core: Any) -> Run:
        """`freeze`, given what runs sequences."""
        call, sequences, states = core.run, self.return_sequences, self.return_state
        backwards, zero = self.go_backwards, self.zero_output_for_mask

        table = ProjectedTable(core)

        def run(
            x: Any,
            initial_state: Any = None,
            mask: Array | None = None,
            training: Any = False,
            out: Any = None,
            calls: _core.Calls | None = None,
        ) -> Any:
            if initial_state is not None:
                initial_state = self._checked_states(initial_state, x.shape[0])
            try:
                if type(x) is Lookup:
                    found = table.of(x)
                    if found is not None:
                        rest = (mask, initial_state, sequences, states, backwards, zero, out)
                        if calls is not None:
                            return calls.run_indexed(core, x.ids, found, *rest)
                        return core.run_indexed(x.ids, found, *rest, 0)
                    x = x.array()
                if calls is not None:
                    return calls.run(core, x, mask, initial_state, sequences, states, backwards, zero, out)
                return call(x, mask, initial_state, sequences, states, backwards, zero, out, 0)
            except ValueError:
                self._refuse_no_steps(x.shape)
                raise

        def run_stateful(
            x: Array, initial_state: Any = None, mask: Array | None = None, training: Any = False, out: Any = None
        ) -> Any:
            self._refuse_no_steps(x.shape)
            self._check_batch(x.shape[0])
            initial_state = self._checked_states(self.states if initial_state is None else initial_state, x.shape[0])
            result = call(x, mask, initial_state, sequences, True, backwards, zero, out, 0)
            self.states = [state.copy() for state in result[1:]] if states else list(result[1:])
            return result if states else result[0]

        def run_time_major(x: Array, initial_state: Any = None, mask: Any = None, training: Any = False) -> Any:
            mask = None if mask is None else mask.T
            result = inner(np.swapaxes(x, 0, 1), initial_state, mask)
            if not sequences:
                return result
            if states:
                return (contiguous(np.swapaxes(result[0], 0, 1)), *result[1:])
            return contiguous(np.swapaxes(result, 0, 1))

        inner = run_stateful if self.stateful else run
        chosen: Any = run_time_major if self.time_major else inner
        chosen.core = core
        chosen.table = table
        chosen.takes_out = chosen is inner and type(core) is _core.PackedLayer
        chosen.takes_calls = chosen is run and type(core) is _core.PackedLayer
        if chosen.takes_calls and not states:
            give_stage(chosen, lambda run: _core.RecurrentStage(run, core, sequences, backwards, zero))
        # what can lie below another layer, and on one, while both run
        chosen.gives_steps = chosen.takes_calls and sequences and not states
        chosen.takes_steps = chosen.takes_calls and not backwards
        chosen.takes_lookup = chosen is run and type(core) is _core.PackedLayer and core.kind != "gru_reset_before"
        return chosen  # type: ignore[no-any-return]

    def _refuse_no_steps(self, shape: tuple[int, ...]) -> None:
        if not shape[1]:
            raise ValueError(
                f"Layer '{self.name}' expected at least 1 timestep, got 0. Full shape received: {tuple(shape)}"
            )

    def _check_batch(self, batch: int) -> None:
        if self._batch is not None and batch != self._batch:
            raise ValueError(
                "If an RNN is stateful, the batch size of the input sequences must be the same as the batch size of "
                f"the initial state. \n- Expected batch size: {self._batch}\n- Received batch size: {batch}"
            )

    def _checked_states(self, initial_state: Any, batch: int) -> tuple[Array, ...]:
        real = self.policy.real
        listed = type(initial_state) is tuple or type(initial_state) is list
        if listed and _core.are_states(initial_state, real, batch, self._state_shapes):
            return tuple(initial_state)
        states = initial_state if isinstance(initial_state, (list, tuple)) else [initial_state]
        if any(isinstance(state, (list, tuple)) for state in states):
            leaves = flatten(states)
            # those of stacked cells, a list for each; not what is a list of numbers
            if len(states) != self.states_count or any(hasattr(leaf, "shape") for leaf in leaves):
                states = leaves
        if len(states) != self.states_count:
            raise ValueError(
                f"Layer '{self.name}' has {self.states_count} states, but `initial_state` holds {len(states)}."
            )
        checked = []
        for state, shape in zip(states, self._state_shapes, strict=True):
            array = convert(state, real, f"the initial state of layer '{self.name}'")
            if array.shape != (batch, *shape):
                raise ValueError(
                    f"The initial state of layer '{self.name}' has shape {array.shape}, expected {(batch, *shape)}, "
                    "the batch first."
                )
            checked.append(np.ascontiguousarray(array))
        return tuple(checked)

    def takes_unchecked(self, inputs: Array, arguments: dict[str, Any]) -> bool:
        if self.stateful or self.time_major:
            return False
        for name, value in arguments.items():
            if name == "initial_state":
                good = type(value) in (list, tuple) and all(type(state) is np.ndarray for state in value)
            elif name == "mask":
                good = type(value) is np.ndarray and value.dtype is BOOL and value.shape == inputs.shape[:2]
            else:
                good = name == "out" and type(value) is np.ndarray and getattr(self.frozen(), "takes_out", False)
                good = good and not self.return_state and "initial_state" not in arguments
            if not good:
                return False
        return True

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        if not self.built:
            self.build(shapes)
        if arguments.get("mask") is not None:
            converted["mask"] = self.checked_mask(arguments["mask"], shapes)
        if arguments.get("initial_state") is not None:
            converted["initial_state"] = self._checked_states(
                arguments["initial_state"], shapes[1 if self.time_major else 0]
            )
        if arguments.get("training") and self.dropping_cells():
            converted["training"] = True
        return converted

    def checked_mask(self, mask: Any, shape: Shape) -> Array:
        """A caller's mask for inputs of this shape."""
        return as_mask(mask, shape[:2], self.name)

    def refuse_training(self) -> None:
        """Nothing to refuse: what cells alone cannot do, they can in the layer around them."""

    def run_ragged(self, inputs: Any, lengths: Any, arguments: dict[str, Any], out: Any, caller: list[Any]) -> Any:
        from lstmfast._ragged import call_layer

        return call_layer(self, inputs, lengths, arguments, out, caller)

    # -- state --------------------------------------------------------------------------------------------------

    def reset_state(self) -> None:
        """Set the states of a stateful layer to zero."""
        if self.states is not None and self._batch is not None:
            self.states = self.zero_states(self._batch)

    def reset_states(self, states: Any = None) -> None:
        """Set the states of a stateful layer to zero, or to the given arrays."""
        if states is None:
            self.reset_state()
            return
        if self.states is None or self._batch is None:
            raise AttributeError("Layer must be stateful.")
        self.states = [state.copy() for state in self._checked_states(states, self._batch)]

    # -- configs ------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | ({"time_major": True} if self.time_major else {})

    # -- streaming ----------------------------------------------------------------------------------------------

    def as_stage(self, run: Run, node: Node, batch_size: int) -> tuple[Any, bool]:
        reason = None
        if self.go_backwards:
            reason = "reads its input from the last step on (go_backwards=True)"
        elif self.return_state:
            reason = "returns its state (return_state=True)"
        elif self.time_major:
            reason = "is time-major"
        elif any(cell.policy.real is not self.policy.real for cell in self.all_layers()):
            reason = "has cells of another dtype, whose states it returns rounded"
        if reason:
            raise ValueError(f"Layer '{self.name}' (of type {type(self).__name__}) cannot be streamed: it {reason}.")
        from lstmfast.streaming import CellStage, SequenceStage

        core = run.core  # type: ignore[attr-defined]
        kind = CellStage if isinstance(core, _core.PackedLayer) else SequenceStage
        return kind(core, self, batch_size), self.return_sequences

    def core_activation(self, activation: activations.Activation) -> tuple[str, float, float, float]:
        if activation.core is None:
            raise NotImplementedError(
                f"Layer '{self.name}' cannot run the Python function {activation.name!r} inside the recurrence; "
                "the activations of Keras it can."
            )
        return activation.core


class CellLayer(Recurrent):
    """Base of LSTM, GRU and SimpleRNN.

    A subclass gives the core's ``kind``, the number of ``gates`` in its kernels, the number of ``cell_states``, and
    its arguments with Keras's order and defaults.
    """

    kind: str
    gates: int
    cell_states: int
    keyword_arguments = ("implementation", "time_major", "zero_output_for_mask")
    saved_vars = "cell/vars"

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Take the ``locals()`` of a subclass's constructor, whose signature is Keras's."""
        arguments = {name: value for name, value in arguments.items() if name not in ("self", "__class__")}
        kwargs = arguments.pop("kwargs")
        units = positive("units", arguments.pop("units"))
        self.implementation = kwargs.pop("implementation", 2)
        self.time_major = bool(kwargs.pop("time_major", False))
        self.zero_output_for_mask = bool(kwargs.pop("zero_output_for_mask", False))
        super().__init__(activity_regularizer=arguments.pop("activity_regularizer"), **kwargs)
        self.units = units
        self.activation = activations.get(arguments.pop("activation"))
        self.recurrent_activation = activations.get(arguments.pop("recurrent_activation", None))
        for name, value in arguments.items():  # regularizers and their like are kept for the config alone
            if name in _INITIALIZERS:
                value = initializers.get("glorot_uniform" if value is None else value)
            setattr(self, name, bool(value) if name in FLAGS or name == "use_bias" else value)
        self.noise = Noise(arguments.get("seed"))

    use_bias: bool
    dropout: float
    recurrent_dropout: float
    kernel_initializer: initializers.Initializer
    recurrent_initializer: initializers.Initializer
    bias_initializer: initializers.Initializer

    def build_weights(self, input_shape: Any) -> None:
        features = self.fix_axis(input_shape)
        width = self.gates * self.units
        self.build_states(input_shape)
        self.add_weight("kernel", (features, width), self.kernel_initializer)
        self.add_weight("recurrent_kernel", (self.units, width), self.recurrent_initializer)
        if self.use_bias:
            self.add_weight("bias", self.bias_shape(), self.draw_bias)

    def bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def draw_bias(self, shape: tuple[int, ...]) -> Array:
        return self.bias_initializer(shape)

    @property
    def kernel(self) -> Array | None:
        """(features, gates * units), read-only."""
        return self._weight("kernel")

    @property
    def recurrent_kernel(self) -> Array | None:
        """(units, gates * units), read-only."""
        return self._weight("recurrent_kernel")

    @property
    def bias(self) -> Array | None:
        """The bias, read-only; None without ``use_bias``."""
        return self._weight("bias")

    @property
    def cell(self) -> CellLayer:
        """The layer itself, which has what Keras keeps in the layer's cell."""
        return self

    @property
    def states_count(self) -> int:
        return self.cell_states

    @property
    def state_size(self) -> list[int]:
        return [self.units] * self.cell_states

    def step_shapes(self, input_shape: Any) -> tuple[Shape, list[Shape]]:
        return (self.units,), [(self.units,)] * self.cell_states

    def core_kind(self) -> str:
        return self.kind

    def own_rate(self, name: str) -> float:
        """The share of the inputs ("dropout") or of the state ("recurrent_dropout") that training drops."""
        rate = min(1.0, max(0.0, float(getattr(self, name) or 0)))
        # Keras's cells with gates take 1 for none
        return rate if rate < 1 or self.gates == 1 or self.dropping_rules.each_step else 0.0

    def dropping_cells(self) -> list[Any]:
        return [self] if self.own_rate("dropout") or self.own_rate("recurrent_dropout") else []

    def make_dropping_core(self, weights: tuple[Array, ...]) -> Any:
        return DroppingCell(self, self.make_core(weights), self.packed(weights))

    def make_core(self, weights: tuple[Array, ...]) -> _core.PackedLayer:
        kernel, recurrent, *bias = self.packed(weights)
        return _core.PackedLayer(
            self.core_kind(),
            kernel,
            recurrent,
            bias[0] if bias else None,
            self.core_activation(self.activation),
            self.core_activation(self.recurrent_activation) if self.gates > 1 else None,
        )


def gate_view(attribute: str, index: int, gates: int, what: str) -> property:
    """A property that gives one gate's columns of a weight, as a read-only view."""

    def view(layer: CellLayer) -> Array | None:
        weight: Array | None = getattr(layer, attribute)
        if weight is None:
            return None
        units = weight.shape[-1] // gates
        return weight[..., index * units : (index + 1) * units]

    return property(view, doc=f"The {what}'s part of ``{attribute}``, a read-only view.")
