"""A model one step at a time: the same bits as the whole sequence.

Between the model's input and the layer that reads the sequence to its end, a tensor is one step, (batch, 1, ...);
behind that layer it is what the layer gives for the sequence so far.
Next: layers/recurrent.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast._arrays import as_array
from lstmfast._graph import KerasTensor, flatten, map_tree
from lstmfast._plan import Slot, as_masks
from lstmfast.layers.base import Array, positive
from lstmfast.layers.core import identity


class RecurrentStep:
    """One recurrent layer of a stream: its packed weights, and how its state goes from step to step."""

    __slots__ = ("run", "sequences", "shape", "states_count", "zero")

    def __init__(self, run: Any, layer: Any, batch: int) -> None:
        self.run = run
        self.sequences = layer.return_sequences
        self.zero = layer.zero_output_for_mask
        self.states_count = layer.states_count
        self.shape = (batch, layer.units)

    def initial_state(self, dtype: Any) -> tuple[Array, ...]:
        return tuple(np.zeros(self.shape, dtype) for _ in range(self.states_count))

    def __call__(self, x: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        result = self.run(x, None, state, self.sequences, True, False, False, None, 0)
        return result[0], result[1:]

    def masked(self, x: Array, mask: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        """As a call, for rows of which some skip this step; the output before it is the state's last entry."""
        before = state[self.states_count] if len(state) > self.states_count else np.zeros(self.shape, x.dtype)
        y, *new = self.run(x, mask, state[: self.states_count], False, True, False, True, None, 0)
        if not self.zero:
            y = np.where(mask, y, before)
        return (y[:, None] if self.sequences else y), (*new, y)


class Stream:
    """A model with a state of its own, stepped from outside; `Model.stream` makes it.

    The weights are those that the model had then. Streams of one model share them and nothing else. A stream must not
    be stepped by two threads at once.
    """

    def __init__(self, model: Any, batch_size: int = 1) -> None:
        batch = positive("batch_size", batch_size)
        plan = model.plan()
        self._name = model.name
        self._batch = batch
        self._ports = plan.ports
        self._plan = plan
        if len(plan.ports) != 1:
            raise ValueError(f"Model '{model.name}' cannot be streamed: it has {len(plan.ports)} inputs.")
        port = plan.ports[0]
        if port.ndim < 2:
            raise ValueError(f"Model '{model.name}' cannot be streamed: its input has no time axis.")
        if port.batch is not None and port.batch != batch:
            raise ValueError(
                f"Model '{model.name}' has a fixed batch size of {port.batch}: it cannot be streamed in batches of "
                f"{batch}."
            )
        self._dtype = port.dtype
        self._shape = (batch, *port.shape[1:])
        if None in self._shape:
            raise ValueError(f"Model '{model.name}' cannot be streamed: its features {port.shape[1:]} vary.")
        sequence: dict[int, bool] = {id(plan.input_tensors[0]): True}
        self._steps: list[tuple[Any, bool]] = []
        for node, operation in zip(plan.nodes, plan.operations, strict=True):
            kinds = [sequence[id(tensor)] for tensor in node.inputs]
            layer = operation.layer
            if len(set(kinds)) > 1:
                raise ValueError(
                    f"Layer '{layer.name}' (of type {type(layer).__name__}) cannot be streamed: it joins a sequence "
                    "with what is known after its last step only."
                )
            if operation.arguments:
                raise ValueError(
                    f"Layer '{layer.name}' (of type {type(layer).__name__}) cannot be streamed: it is called with "
                    f"{', '.join(sorted(operation.arguments))}."
                )
            step, kind = layer.stream(operation.run, batch, kinds[0])
            self._steps.append((step, isinstance(step, RecurrentStep)))
            sequence.update((id(tensor), kind) for tensor in node.outputs)
        self._outputs = [sequence[id(tensor)] for tensor in self._output_tensors(plan)]
        self._chain = self._as_chain()
        self.reset()

    def _output_tensors(self, plan: Any) -> list[KerasTensor]:
        made = {plan.slots[id(tensor)]: tensor for node in plan.nodes for tensor in node.outputs}
        made.update(zip(plan.input_slots, plan.input_tensors, strict=True))
        return [made[slot] for slot in plan.output_slots]

    def _as_chain(self) -> list[tuple[Any, int]] | None:
        """(function, index of its state or -1) for a chain without masks."""
        plan = self._plan
        if plan.chain is None or len(self._shape) != 2:
            return None
        chain: list[tuple[Any, int]] = []
        for number, (operation, (step, recurrent)) in enumerate(zip(plan.operations, self._steps, strict=True)):
            if operation.cast is not None:
                cast = operation.cast
                chain.append((lambda array, cast=cast: array.astype(cast), -1))
            if recurrent:
                chain.append((step, number))
            elif step is not identity:
                chain.append((step, -1))
        return chain

    # -- state --------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Go back to the beginning of a sequence."""
        self._states: list[Any] = [
            step.initial_state(operation.layer.policy.real) if recurrent else None
            for operation, (step, recurrent) in zip(self._plan.operations, self._steps, strict=True)
        ]

    @property
    def batch_size(self) -> int:
        return self._batch

    @property
    def state(self) -> list[tuple[Array, ...]]:
        """A copy of the state, one tuple of (batch, units) arrays for each recurrent layer; it pickles.

        Assigning one, of this stream or of another of the same model, continues from there.
        """
        return [tuple(array.copy() for array in state) for state in self._states if state is not None]

    @state.setter
    def state(self, states: Any) -> None:
        recurrent = [number for number, (_, flag) in enumerate(self._steps) if flag]
        if not isinstance(states, (list, tuple)) or len(states) != len(recurrent):
            raise ValueError(
                f"The state of a stream of model '{self._name}' holds {len(recurrent)} tuples, one for each recurrent "
                f"layer, got {len(states) if isinstance(states, (list, tuple)) else type(states).__name__}."
            )
        new = list(self._states)
        for number, state in zip(recurrent, states, strict=True):
            step, layer = self._steps[number][0], self._plan.operations[number].layer
            if len(state) not in (step.states_count, step.states_count + 1):
                raise ValueError(
                    f"Layer '{layer.name}' has {step.states_count} states, but the stream's state holds {len(state)}."
                )
            arrays = []
            for value in state:
                array = np.array(as_array(value, "the state"), layer.policy.real, order="C")
                if array.shape != step.shape:
                    raise ValueError(
                        f"A state of layer '{layer.name}' has shape {array.shape}, expected {step.shape} "
                        "(batch, units)."
                    )
                arrays.append(array)
            new[number] = tuple(arrays)
        self._states = new

    # -- stepping -----------------------------------------------------------------------------------------------

    def step(self, x: Any, mask: Any = None) -> Any:
        """Take one step.

        Parameters
        ----------
        x : array-like
            (batch, features): one step of each sequence. With a batch of 1, (features,) will do.
        mask : array-like, optional
            (batch,), False for the sequences that skip this step.

        Returns
        -------
        numpy.ndarray, or a list or dict of them as the model's outputs
            What the model would give for the sequence up to this step; of a returned sequence its last step.

        Raises
        ------
        ValueError
            If the shape is wrong; the state has not changed then.
        """
        if type(x) is not np.ndarray or x.dtype is not self._dtype or x.shape != self._shape:
            x = self._checked(x)
        elif not x.flags.carray:
            x = np.array(x, order="C")
        chain = self._chain
        if chain is None or mask is not None:
            return self._step_graph(x, mask)
        y: Any = x[:, None]
        states = self._states
        for run, number in chain:
            if number < 0:
                y = run(y)
            else:
                y, states[number] = run(y, states[number])
        return self._finish([y])

    def _checked(self, x: Any) -> Array:
        array = as_array(x, "the step")
        if self._batch == 1 and array.shape == self._shape[1:]:
            array = array[None]
        if array.shape != self._shape:
            raise ValueError(
                f"A step of a stream of model '{self._name}' has shape {array.shape}, expected {self._shape} "
                "(batch, features)."
            )
        return np.ascontiguousarray(array, self._dtype)

    def _step_graph(self, x: Array, mask: Any) -> Any:
        plan = self._plan
        values: list[Any] = [None] * plan.size
        masks: list[Any] = [None] * plan.size
        values[plan.input_slots[0]] = x[:, None]
        if mask is not None:
            mask = as_array(mask, "the mask")
            if mask.shape == (self._batch,):
                mask = mask[:, None]
            masks[plan.input_slots[0]] = as_masks(mask, [x[:, None]], self._name)[0]
        states = list(self._states)
        for number, (operation, (step, recurrent)) in enumerate(zip(plan.operations, self._steps, strict=True)):
            inputs = map_tree(lambda leaf: values[leaf.index] if isinstance(leaf, Slot) else leaf, operation.inputs)
            known = map_tree(lambda leaf: masks[leaf.index] if isinstance(leaf, Slot) else None, operation.inputs)
            if operation.cast is not None:
                cast = operation.cast
                inputs = map_tree(lambda array, cast=cast: array.astype(cast, copy=False), inputs)
            if recurrent and known is not None:
                y, states[number] = step.masked(inputs, known, states[number])
            elif recurrent:
                y, state = step(inputs, states[number][: step.states_count])
                states[number] = (*state, y.reshape(step.shape)) if len(states[number]) > len(state) else state
            else:
                y = step(inputs)
            values[operation.outputs[0]] = y
            if operation.masked or (mask is not None and operation.layer.supports_masking):
                made = operation.layer.compute_mask(inputs, known)
                masks[operation.outputs[0]] = flatten([made])[0]
        self._states = states
        return self._finish([values[slot] for slot in plan.output_slots])

    def _finish(self, outputs: list[Array]) -> Any:
        plan = self._plan
        finished = []
        for array, sequence, owned, result in zip(outputs, self._outputs, plan.owned, plan.results, strict=True):
            if sequence:
                array = array[:, 0]
            if not owned:
                array = array.copy()
            finished.append(array if result is None else array.astype(result))
        return finished[0] if len(finished) == 1 else finished
