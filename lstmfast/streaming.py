"""A model one step at a time: the same bits as the whole sequence.

Between the model's input and the layer that reads the sequence to its end, a value is one step of it without the time
axis; behind that layer it is what the layer gives for the sequence so far, and whatever reads it runs whole in each
step, as layers of inputs that are no sequences do. A layer of steps becomes a stage, a function of such values; the
stages with a state of their own are objects like `CellStage`.
Next: layers/recurrent.py.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmfast import _core
from lstmfast._arrays import STRING, as_array
from lstmfast._graph import KerasTensor, Node, flatten, map_tree
from lstmfast._plan import Operation, Port, Slot, keepers_in
from lstmfast.layers.activation import Activation
from lstmfast.layers.arguments import positive
from lstmfast.layers.base import Array, fill, lock
from lstmfast.layers.core import Dense, identity
from lstmfast.layers.reshaping import RepeatVector
from lstmfast.layers.wrappers import TimeDistributed

if TYPE_CHECKING:
    from lstmfast.models import Functional

Stage = Callable[..., Any]
State = tuple[Array, ...]

# What a value is: one step of a sequence; one of a sequence whose steps are all the same; what is known after the last
# step only; or what no step changes.
_TIMED, _REPEATED, _FINAL, _FIXED = "timed", "repeated", "final", "fixed"
# Up to so many inputs every choice is tried of those that may be sequences.
_MOST_INPUTS = 6


class Stateful:
    """Base of the stages that keep a state: one tuple of arrays."""

    __slots__ = ("_made", "name", "shapes", "step")

    _made: tuple[Any, ...]  # the arguments of the constructor
    step: Stage  # y of one step x; it leaves the state as it was where it raises
    shapes: tuple[tuple[int, ...], ...]  # of the state's arrays
    name: str  # of the layer

    def again(self) -> Stateful:
        """Another one with the same weights, at the beginning."""
        return type(self)(*self._made)

    def masked(self, x: Array, mask: Array) -> Array:
        """As ``step``, for rows of which some skip this step."""
        raise ValueError(f"Layer '{self.name}' takes no mask.")

    def get_state(self) -> State:
        """Copies of the state's arrays."""
        raise NotImplementedError

    def set_state(self, state: State) -> None:
        """Take over arrays of the right shapes, C order and type."""
        raise NotImplementedError


class SequenceStage(Stateful):
    """A recurrent layer that runs whole sequences, one step at a time."""

    __slots__ = ("_output", "_run", "_state", "_zero")

    def __init__(self, core: Any, layer: Any, batch: int) -> None:
        self._made = (core, layer, batch)
        self.name = layer.name
        self._run = core.run
        self._zero = layer.zero_output_for_mask
        self._output: int = layer.output_state
        self._state: State = tuple(layer.zero_states(batch))
        self.shapes = tuple(array.shape for array in self._state)
        self.step = self._step

    def _step(self, x: Array) -> Array:
        y, *state = self._run(x[:, None], None, self.get_state(), False, True, False, False, None, 0)
        self.set_state(tuple(state))
        return y  # type: ignore[no-any-return]

    def masked(self, x: Array, mask: Array) -> Array:
        # a masked row repeats its last output, the last cell's h: 0 where it has had no step yet
        y, *state = self._run(x[:, None], mask[:, None], self.get_state(), False, True, False, True, None, 0)
        self.set_state(tuple(state))
        return y if self._zero else np.where(_like(mask, y), y, state[self._output])  # type: ignore[no-any-return]

    def get_state(self) -> State:
        return tuple(array.copy() for array in self._state)

    def set_state(self, state: State) -> None:
        self._state = state


class OwnCellStage(SequenceStage):
    """As `SequenceStage`, of a cell whose output is not in its state: the last one stands behind that."""

    __slots__ = ()

    def __init__(self, core: Any, layer: Any, batch: int) -> None:
        super().__init__(core, layer, batch)
        self._state = (*self._state, np.zeros((batch, layer.units), layer.policy.real))
        self.shapes = tuple(array.shape for array in self._state)

    def _step(self, x: Array) -> Array:
        y, *state = self._run(x[:, None], None, self.get_state()[:-1], False, True, False, False, None, 0)
        self.set_state((*state, y))
        return y.copy()  # type: ignore[no-any-return]

    def masked(self, x: Array, mask: Array) -> Array:
        *state, last = self.get_state()
        y, *state = self._run(x[:, None], mask[:, None], tuple(state), False, True, False, True, None, 0)
        repeated = np.where(_like(mask, y), y, last)
        self.set_state((*state, repeated))
        return y if self._zero else repeated.copy()  # type: ignore[no-any-return]


class CellStage(SequenceStage):
    """One LSTM, GRU or SimpleRNN: its packed weights, and its state."""

    __slots__ = ("stepper",)

    def __init__(self, core: _core.PackedLayer, layer: Any, batch: int) -> None:
        super().__init__(core, layer, batch)
        self._state = ()  # the stepper has it
        self.stepper = self.step = _core.Stepper(core, batch, 0)

    def get_state(self) -> State:
        return self.stepper.get_state()

    def set_state(self, state: State) -> None:
        self.stepper.set_state(state)


class WindowStage(Stateful):
    """A causal convolution: it keeps the steps that its window reaches back to."""

    __slots__ = ("_run", "_state")

    def __init__(self, run: Any, layer: Any, batch: int) -> None:
        self._made = (run, layer, batch)
        self.name = layer.name
        self._run = run
        reach = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        self.shapes = ((batch, reach, layer._axes[-1]),)
        self._state = np.zeros(self.shapes[0], layer.policy.real)
        self.step = self._step

    def _step(self, x: Array) -> Array:
        window = np.concatenate([self._state, x[:, None]], axis=1)
        y = self._run(window)[:, -1]
        self._state = window[:, 1:]
        return np.ascontiguousarray(y)

    def masked(self, x: Array, mask: Array) -> Array:
        return self._step(x)  # a convolution heeds no mask

    def get_state(self) -> State:
        return (self._state.copy(),)

    def set_state(self, state: State) -> None:
        (self._state,) = state


def _like(mask: Array, y: Array) -> Array:
    return mask.reshape(*mask.shape, *[1] * (y.ndim - mask.ndim))


class NestedStage(Stateful):
    """A model inside a streamed model."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self.name = name
        self.shapes = tuple(array.shape for state in self._stream.state for array in state)

    def again(self) -> Stateful:
        stream = self._stream.fork()
        stream.reset()
        return NestedStage(stream, self.name)

    def with_masks(self, x: Any, mask: Any) -> tuple[list[Array], list[Any]]:
        """The model's step, and the masks of its outputs."""
        return self._stream.step_inside(x, mask)

    def get_state(self) -> State:
        return tuple(array for state in self._stream.state for array in state)

    def set_state(self, state: State) -> None:
        arrays = iter(state)
        self._stream.state = [tuple(next(arrays) for _ in own) for own in self._stream.state]


class Stream:
    """A model with a state of its own, stepped from outside; `Model.stream` makes it.

    The weights are those that the model had then. Streams of one model share them and nothing else: thousands of them
    take little more than their states. A stream must not be stepped by two threads at once. It pickles with its model
    and its state; `copy.copy` and `copy.deepcopy` do what `fork` does.

    Attributes
    ----------
    batch_size : int
        How many sequences a step advances.
    timed : tuple of bool
        For each input of the model, whether it is a sequence, of which ``step`` takes one step; else it comes whole.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import Input, Sequential, layers
    >>> model = Sequential([Input((None, 3)), layers.LSTM(4), layers.Dense(1)])
    >>> stream = model.stream()
    >>> y = stream.step(np.ones((1, 3)))
    >>> other = stream.fork()
    >>> bool((other.step(np.zeros((1, 3))) == stream.step(np.zeros((1, 3)))).all())
    True
    """

    __slots__ = (
        "__weakref__",
        "_batch",
        "_chain",
        "_keepers",
        "_masks",
        "_model",
        "_name",
        "_out_shapes",
        "_plan",
        "_shapes",
        "_stages",
        "_weights",
        "gives_sequences",
        "timed",
    )

    def __init__(self, model: Functional, batch_size: int = 1, timed: Sequence[bool] | None = None) -> None:
        self._batch = positive("batch_size", batch_size)
        with lock:
            plan = model.plan()
            self._weights = tuple(model.weights)
        self._model = model
        self._name = model.name
        self._plan = plan
        fixed = next((port.batch for port in plan.ports if port.batch not in (None, batch_size)), None)
        if fixed is not None:
            raise ValueError(
                f"Model '{model.name}' has a fixed batch size of {fixed}: it cannot be streamed in batches of "
                f"{batch_size}."
            )
        reached = -1
        refused = ValueError(f"Model '{model.name}' cannot be streamed: it has no input with a time axis.")
        for choice in _choices(plan.ports) if timed is None else [timed]:
            self._stages: list[Stage | Stateful | None] = []
            try:
                self._make_stages(choice)
                return
            except ValueError as error:
                if len(self._stages) > reached:  # of the choice that came furthest
                    reached, refused = len(self._stages), error
        raise refused

    def _make_stages(self, timed: Sequence[bool]) -> None:
        """Make the stages, where these inputs are sequences and no step changes the others."""
        plan, batch = self._plan, self._batch
        self.timed = tuple(timed)
        self._shapes = [(batch, *port.shape[1 if own else 0 :]) for port, own in zip(plan.ports, timed, strict=True)]
        steps = {port.shape[0] for port, own in zip(plan.ports, timed, strict=True) if own} - {None}
        if len(steps) > 1:
            counts = " and ".join(map(str, sorted(steps)))
            raise ValueError(f"Model '{self._name}' cannot be streamed: its inputs have {counts} steps.")
        for shape, own in zip(self._shapes, timed, strict=True):
            if own and None in shape:
                raise ValueError(f"Model '{self._name}' cannot be streamed: its features {shape[1:]} vary.")
        kind_of = {id(tensor): _TIMED if own else _FIXED for tensor, own in zip(plan.input_tensors, timed, strict=True)}
        self._masks: list[int | None] = []  # for each stage, the place of the mask that it is called with
        for node, operation in zip(plan.nodes, plan.operations, strict=True):
            kinds = {kind_of[id(tensor)] for tensor in node.inputs}
            stage, kind = self._stage_of(node, operation, kinds)
            self._stages.append(stage)
            mask = None if stage is None else operation.arguments.get("mask")
            self._masks.append(None if mask is None else mask.index)
            kind_of.update((id(tensor), kind) for tensor in node.outputs)
        tensors = [*plan.input_tensors, *(tensor for node in plan.nodes for tensor in node.outputs)]
        made = {plan.slots[id(tensor)]: tensor for tensor in tensors}
        outputs = [made[slot] for slot in plan.output_slots]
        self.gives_sequences = tuple(kind_of[id(tensor)] in (_TIMED, _REPEATED) for tensor in outputs)
        self._out_shapes = [
            (batch, *tensor.shape[2 if own else 1 :]) for tensor, own in zip(outputs, self.gives_sequences, strict=True)
        ]
        self._set_stages(self._stages)

    def _stage_of(self, node: Node, operation: Operation, kinds: set[str]) -> tuple[Stage | Stateful | None, str]:
        """What makes an operation step by step, None where it runs whole; and of which kind its outputs are.

        Raises
        ------
        ValueError
            If it needs other steps, naming the layer.
        """
        layer = operation.layer
        mask = operation.arguments.get("mask")
        others = sorted(name for name, value in operation.arguments.items() if name != "mask" and value is not False)
        in_steps, whole = kinds & {_TIMED, _REPEATED}, kinds & {_FINAL, _FIXED}
        if not in_steps:
            if whole == {_FIXED} and isinstance(layer, RepeatVector):
                return identity, _REPEATED
            if not any(keepers_in(layer)):
                return None, _FINAL if _FINAL in whole else _FIXED
            reason = "is stateful; a stream keeps its own state"
        elif whole:
            reason = "joins a sequence with what is none"
            if _FINAL in whole:
                reason = "joins a sequence with what is known after its last step only"
        elif others:
            reason = f"is called with {', '.join(others)}"
        elif mask is not None and not isinstance(mask, Slot):
            reason = "is called with a mask of its own"
        else:
            stage, gives_sequence = layer.as_stage(operation.run, node, self._batch)
            if _TIMED in in_steps:
                return stage, _TIMED if gives_sequence else _FINAL
            if not isinstance(stage, Stateful):
                return stage, _REPEATED
            reason = "reads nothing but a RepeatVector, which has a number of steps of its own"
        raise ValueError(f"Layer '{layer.name}' (of type {type(layer).__name__}) cannot be streamed: it {reason}.")

    def _set_stages(self, stages: list[Stage | Stateful | None]) -> None:
        self._stages = stages
        self._keepers = [stage for stage in stages if isinstance(stage, Stateful)]
        self._chain = self._as_chain()

    def _as_chain(self) -> _core.StepChain | None:
        """The stages of a chain of cells, Dense layers and activations, which makes a step whole or not at all."""
        plan = self._plan
        if len(plan.ports) > 1:
            return None
        runs: list[Stage] = []
        place = plan.input_slots[0]
        for operation, stage in zip(plan.operations, self._stages, strict=True):
            layer, run = operation.layer, operation.run if stage is None else stage
            if operation.single != place or operation.arguments or operation.masked or operation.cast is not None:
                return None
            place = operation.outputs[0]
            if isinstance(run, CellStage):
                runs.append(run.stepper)
            elif isinstance(run, Stateful):
                return None
            elif run is not identity:
                layer = layer.layer if isinstance(layer, TimeDistributed) else layer
                if not isinstance(layer, (Dense, Activation)) or layer.activation.core is None:
                    return None
                runs.append(run)
        # the steppers check the shape and the type of what they take
        alone = [place] == plan.output_slots and isinstance(self._model._outputs_struct, KerasTensor)
        if not self._keepers or not alone or plan.results[0] is not None:
            return None
        return _core.StepChain(runs)

    # -- state --------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Go back to the beginning of a sequence."""
        for stage, state in zip(self._keepers, self.state, strict=True):
            stage.set_state(tuple(np.zeros_like(array) for array in state))

    @property
    def batch_size(self) -> int:
        """How many sequences a step advances."""
        return self._batch

    @property
    def state(self) -> list[State]:
        """A copy of the state, a tuple of arrays for each layer that has one, (batch, units) of an LSTM; it pickles.

        Assigning one, of this stream or of another of the same model, continues from there.
        """
        return [stage.get_state() for stage in self._keepers]

    @state.setter
    def state(self, states: Any) -> None:
        keepers = self._keepers
        if not isinstance(states, (list, tuple)) or len(states) != len(keepers):
            raise ValueError(
                f"The state of a stream of model '{self._name}' holds {len(keepers)} tuples, one for each recurrent "
                f"layer, got {len(states) if isinstance(states, (list, tuple)) else type(states).__name__}."
            )
        new = []
        for stage, state, before in zip(keepers, states, self.state, strict=True):
            if not isinstance(state, (list, tuple)) or len(state) != len(stage.shapes):
                raise ValueError(
                    f"Layer '{stage.name}' has {len(stage.shapes)} states, but the stream's state holds "
                    f"{len(state) if isinstance(state, (list, tuple)) else type(state).__name__}."
                )
            arrays = []
            for value, shape, old in zip(state, stage.shapes, before, strict=True):
                array = np.array(as_array(value, "the state"), old.dtype, order="C")
                if array.shape != shape:
                    raise ValueError(
                        f"A state of layer '{stage.name}' has shape {array.shape}, expected {shape} (batch, units)."
                    )
                arrays.append(array)
            new.append(tuple(arrays))
        self._restore(new)

    def _restore(self, states: list[State]) -> None:
        for stage, state in zip(self._keepers, states, strict=True):
            stage.set_state(state)

    # -- copies -------------------------------------------------------------------------------------------------

    def fork(self) -> Stream:
        """A second stream that goes on from here on its own, with the same weights."""
        twin = Stream.__new__(Stream)
        for name in set(Stream.__slots__) - {"__weakref__", "_chain", "_keepers", "_stages"}:
            setattr(twin, name, getattr(self, name))
        twin._set_stages([stage.again() if isinstance(stage, Stateful) else stage for stage in self._stages])
        twin._restore(self.state)
        return twin

    def __copy__(self) -> Stream:
        return self.fork()

    def __deepcopy__(self, memo: dict[int, Any]) -> Stream:
        return self.fork()

    def __reduce__(self) -> tuple[Any, ...]:
        model = self._model
        if len(model.weights) != len(self._weights):
            raise ValueError(
                f"Model '{model.name}' has other layers than when its stream was made: it cannot be pickled."
            )
        if any(mine is not own for mine, own in zip(self._weights, model.weights, strict=True)):
            model = copy.deepcopy(model)  # its weights have changed since
            model.set_weights(self._weights)
        return _opened, (model, self._batch, self.state)

    # -- stepping -----------------------------------------------------------------------------------------------

    def step(self, x: Any, mask: Any = None, out: Any = None) -> Any:
        """Take one step.

        Parameters
        ----------
        x : array-like, or list or dict of them as the model's inputs
            (batch, features): one step of each sequence. With a batch of 1, (features,) will do. An input that is no
            sequence comes whole, with each step.
        mask : array-like, or list of them and None where the model has several inputs, optional
            (batch,), False for the sequences that skip this step.
        out : numpy.ndarray, or list or dict of them as the model's outputs, optional
            Where to put what the step gives; as of `Model.predict`.

        Returns
        -------
        numpy.ndarray, or a list or dict of them as the model's outputs
            What the model would give for the sequence up to this step; of a returned sequence its last step.

        Raises
        ------
        ValueError
            If the shape is wrong, or ``out`` cannot be written to; the state has not changed then, nor ``out``.
        TypeError
            If ``x`` does not hold numbers, or ``out`` has another dtype.
        """
        chain = self._chain
        if out is not None:
            return self._step_into(x, mask, out)
        if chain is not None and mask is None:
            try:  # at half the cost of contextlib.suppress
                return chain.step(x)
            except (AttributeError, TypeError, ValueError):
                pass
            return chain.step(self._checked(x)[0])
        return self._step_graph(self._checked(x), mask)

    def step_inside(self, x: Any, mask: Any) -> tuple[list[Array], list[Any]]:
        """As ``step``, for a model around this one: values as they travel between layers, and their masks.

        ``mask`` is one (batch,) array or None, a list of these where there are several inputs.
        """
        masks = mask if len(self._shapes) > 1 else [mask]
        if all(own is None for own in masks):
            masks = None
        if self._chain is not None and masks is None:
            return [self.step(x)], [None]
        return self._run(self._checked(x), masks)

    def _step_into(self, x: Any, mask: Any, out: Any) -> Any:
        caller = flatten([x, mask])
        targets = self._model.checked_out(out, self._out_shapes, self._plan.output_dtypes, caller)
        x = self._checked(x)
        if self._chain is not None and mask is None:
            outputs = self._chain.step(x[0], targets[0])
        else:
            outputs = self._step_graph(x, mask)
        return fill(targets, outputs)

    def _checked(self, x: Any) -> list[Array]:
        """The step's inputs as the stages take them."""
        checked = []
        values = self._model._flat_inputs(x) if len(self._shapes) > 1 or isinstance(x, dict) else [x]
        for value, shape, port in zip(values, self._shapes, self._plan.ports, strict=True):
            array = port.read(value, "the step")
            if self._batch == 1 and array.ndim == len(shape) - 1:
                array = array[None]
            if not _fits(array, shape):
                what = f"A step of a stream of model '{self._name}'"
                if len(self._shapes) > 1:
                    what = f"Input '{port.name}' of a step of model '{self._name}'"
                raise ValueError(f"{what} has shape {array.shape}, expected {shape} (batch, features).")
            checked.append(array if port.dtype is STRING else np.require(array, port.dtype, ("C", "A")))
        return checked

    def _checked_masks(self, mask: Any) -> list[Any]:
        masks = [mask]
        if len(self._shapes) > 1:
            masks = list(mask) if isinstance(mask, (list, tuple)) else []
            if len(masks) != len(self._shapes):
                raise ValueError(f"Model '{self._name}' has {len(self._shapes)} inputs: expected as many masks.")
        checked: list[Any] = []
        for value, shape, timed in zip(masks, self._shapes, self.timed, strict=True):
            if value is None:
                checked.append(None)
                continue
            array = as_array(value, "the mask") != 0
            expected = shape[:1] if timed else shape[:2]
            if timed and array.shape == (self._batch, 1):
                array = array[:, 0]
            if not _fits(array, expected):
                raise ValueError(
                    f"A mask of a stream of model '{self._name}' has shape {array.shape}, expected {expected}."
                )
            checked.append(array)
        return checked

    def _step_graph(self, x: list[Array], mask: Any) -> Any:
        masks = None if mask is None else self._checked_masks(mask)
        before = self.state
        try:
            outputs = self._plan.finish(self._run(x, masks)[0])
        except BaseException:
            self._restore(before)
            raise
        return self._model._pack_outputs(outputs)

    def _run(self, x: list[Array], mask: list[Any] | None) -> tuple[list[Array], list[Any]]:
        plan = self._plan
        values: list[Any] = [None] * plan.size
        masks: list[Any] = [None] * plan.size
        for place, slot in enumerate(plan.input_slots):
            values[slot], masks[slot] = x[place], None if mask is None else mask[place]
        for operation, stage, own_mask in zip(plan.operations, self._stages, self._masks, strict=True):
            if stage is None:
                plan.make(operation, values, masks, mask is not None)
                continue
            inputs = operation.of_inputs(values)
            known = operation.of_inputs(masks, None) if own_mask is None else values[own_mask] != 0
            cast = operation.cast
            if cast is not None:
                inputs = [array.astype(cast) for array in inputs] if isinstance(inputs, list) else inputs.astype(cast)
            y: Any
            after: list[Any] = []
            if isinstance(stage, NestedStage):
                y, after = stage.with_masks(inputs, known)
            elif not isinstance(stage, Stateful):
                takes_mask = operation.auto_mask or own_mask is not None or (mask is not None and operation.uses_mask)
                y = stage(inputs, mask=known) if takes_mask and known is not None else stage(inputs)
            elif known is None:
                y = stage.step(inputs)
            else:
                y = stage.masked(inputs, known)
            if operation.masked or (mask is not None and operation.supports_mask and not operation.stops_mask):
                after = after or [_mask_after(operation, inputs, known)]
            for slot, value in zip(operation.outputs, flatten(y), strict=True):
                values[slot] = value
            for slot, value in zip(operation.outputs, after, strict=False):
                masks[slot] = value
        return [values[slot] for slot in plan.output_slots], [masks[slot] for slot in plan.output_slots]


def _fits(array: Array, shape: tuple[int | None, ...]) -> bool:
    """Whether an array has a shape, of which None leaves sizes open."""
    return array.ndim == len(shape) and all(size in (None, own) for size, own in zip(shape, array.shape, strict=True))


def _choices(ports: list[Port]) -> Iterator[list[bool]]:
    """Which inputs may be sequences, the likeliest choice first: all with features, open steps or ids at each step."""
    able = {place for place, port in enumerate(ports) if port.ndim >= 2 and (len(ports) == 1 or port.shape[0] != 1)}
    likely = {place for place in able if _is_likely(ports[place])} or able
    choices = [likely, able]
    if len(able) <= _MOST_INPUTS:
        counts = range(len(able) + 1)
        choices = [set(choice) for count in counts for choice in itertools.combinations(sorted(able), count)]
        choices.sort(key=lambda choice: len(choice ^ likely))
    for choice in filter(None, choices):
        yield [place in choice for place in range(len(ports))]


def _is_likely(port: Port) -> bool:
    return port.ndim > 2 or port.shape[0] is None or port.dtype.kind in "iu"


def _mask_after(operation: Operation, inputs: Any, known: Any) -> Any:
    """The mask of a layer's output at one step; one that counts axes from the first sees the step as a sequence."""
    if operation.layer.last_axis_only:
        return flatten([operation.compute_mask(inputs, known)])[0]

    def as_sequence(leaf: Any) -> Any:
        return None if leaf is None else leaf[:, None]

    mask = flatten([operation.compute_mask(map_tree(as_sequence, inputs), map_tree(as_sequence, known))])[0]
    return None if mask is None else mask[:, 0]


def _opened(model: Any, batch: int, state: list[State]) -> Stream:
    stream = Stream(model, batch)
    stream.state = state
    return stream
