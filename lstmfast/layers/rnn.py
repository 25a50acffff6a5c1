"""RNN around cells: the same recurrences as LSTM, GRU and SimpleRNN, with Keras's other way of saying so.

Next: recurrent.py.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import numpy as np

from lstmfast._arrays import convert
from lstmfast._graph import KerasTensor, Shape, flatten, map_tree
from lstmfast._pieces import cast
from lstmfast.layers.arguments import at_least
from lstmfast.layers.base import Array, Layer, Run, deserialize_layer, fill, register, serialize_layer
from lstmfast.layers.gru import GRU
from lstmfast.layers.lstm import LSTM
from lstmfast.layers.own_cell import OwnCell
from lstmfast.layers.recurrent import FLAGS, CellLayer, Recurrent
from lstmfast.layers.simple_rnn import SimpleRNN


class _Cell(CellLayer):
    """Base of the cells: a layer's weights and arguments without its way through time."""

    ndim = 2
    uses_mask = supports_masking = False
    saved_vars = "vars"
    call_arguments = ("sequence", "states", "training")

    @property
    def output_size(self) -> int:
        return self.units

    @property
    def state_sizes(self) -> list[int]:
        """The units of each array of the state."""
        return [self.units] * self.cell_states

    @property
    def state_size(self) -> Any:
        return self.units if self.cell_states == 1 else self.state_sizes

    def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
        batch = sequences_shape[0]
        return ((batch, self.units), [(batch, self.units)] * self.cell_states)

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        if not self.built:
            self.build(shapes)
        if "states" not in arguments:
            return {}
        states = self._checked_states(arguments["states"], shapes[0])
        return {"states": states if isinstance(arguments["states"], (list, tuple)) else states[0]}

    def refuse_training(self) -> None:
        """Raise where the cell drops out, which it does in an `RNN` alone."""
        if self.dropping_cells():
            raise NotImplementedError(
                f"Layer '{self.name}' drops the same values at all steps of a sequence (training=True): call an RNN "
                "around the cell."
            )

    def run_for(self, arguments: dict[str, Any]) -> Run:
        return self.frozen()

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        core = self.make_core(weights)

        def run(x: Array, states: Any = None, training: Any = False) -> Any:
            alone = isinstance(states, np.ndarray)
            given = (states,) if alone else None if states is None else tuple(states)
            y, *new = core.run(x[:, None], None, given, False, True, False, False, None, 0)
            return y, new[0] if alone else new

        return run

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        y, states = super()._record(inputs, kwargs)
        return y, states[0] if isinstance(kwargs.get("states"), KerasTensor) else states

    def get_config(self) -> dict[str, Any]:
        left_out = (*FLAGS, "zero_output_for_mask", "activity_regularizer", "use_cudnn")
        return {key: value for key, value in super().get_config().items() if key not in left_out}


@register()
class LSTMCell(_Cell, LSTM):
    """Keras's LSTMCell: one step of an `LSTM`, whose arguments it takes; ``h, [h, c] = cell(x, [h, c])``."""


@register()
class GRUCell(_Cell, GRU):
    """Keras's GRUCell: one step of a `GRU`, whose arguments it takes.

    ``h, [h] = cell(x, [h])``, ``h, h = cell(x, h)``.
    """


@register()
class SimpleRNNCell(_Cell, SimpleRNN):
    """Keras's SimpleRNNCell: one step of a `SimpleRNN`, whose arguments it takes.

    ``h, [h] = cell(x, [h])``, ``h, h = cell(x, h)``.
    """


@register()
class StackedRNNCells(Layer):
    """Cells on top of each other, as one cell for `RNN`.

    Parameters
    ----------
    cells : list of cells
        From the input to the output.
    """

    ndim = 2
    supports_masking = False
    call_arguments = ("inputs", "states", "training")

    def __init__(self, cells: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells: list[Any] = [_as_cell(cell) for cell in cells]
        if any(isinstance(cell, StackedRNNCells) for cell in self.cells):
            raise NotImplementedError("`StackedRNNCells` stacks single cells, and no stacks of them.")
        if not self.cells:
            raise ValueError("`StackedRNNCells` needs at least one cell.")
        self.runners = [_runner(cell) for cell in self.cells]

    @property
    def state_size(self) -> list[Any]:
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        return self.runners[-1].output_size  # type: ignore[no-any-return]

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """For each cell a list of (batch, units) for each array of its state: zeros, where it says nothing else."""
        return [cell.get_initial_state(batch_size) for cell in self.runners]

    def sublayers(self) -> tuple[Layer, ...]:
        return tuple(self.cells)

    def saved_parts(self) -> list[tuple[str, Any]]:
        return [("cells", list(self.cells))]

    def twin_config(self) -> dict[str, Any]:
        return {**super().twin_config(), "cells": [cell.twin() for cell in self.cells]}

    def build_weights(self, input_shape: Any) -> None:
        for cell in self.runners:
            cell.build(input_shape)
            input_shape = (*input_shape[:-1], cell.output_size)

    def compute_output_shape(self, input_shape: Any) -> Any:
        states = []
        for cell in self.runners:
            output, state = cell.compute_output_shape(input_shape)
            states.append(state)
        return output, _nested(states)

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        if not self.built:
            self.build(shapes)
        if "states" not in arguments:
            return {}
        states = arguments["states"]
        if len(self.cells) == 1 and len(flatten(states)) == len(states):
            states = [states]
        if not isinstance(states, (list, tuple)) or len(states) != len(self.cells):
            raise ValueError(f"Layer '{self.name}' takes the states of {len(self.cells)} cells, a list for each.")
        batch = shapes[0]
        return {"states": [cell._checked_states(own, batch) for cell, own in zip(self.runners, states, strict=True)]}

    def run_for(self, arguments: dict[str, Any]) -> Run:
        return self.frozen()

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        runs = [(_step_of(cell), cell.policy.real) for cell in self.runners]
        runners = self.runners

        def run(x: Array, states: Any = None, training: Any = False) -> Any:
            new = []
            states = states or [cell.get_initial_state(len(x)) for cell in runners]
            for (one, real), own in zip(runs, states, strict=True):
                x, state = one(cast(x, real), tuple(own))
                new.append(state)
            return cast(x, self.policy.real), _nested(new)

        return run

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [serialize_layer(cell) for cell in self.cells]}


def _nested(states: list[Any]) -> Any:
    """The states of stacked cells as Keras has them: those of a single cell alone."""
    return states if len(states) > 1 else states[0]


def _as_cell(cell: Any) -> Any:
    cell = deserialize_layer(cell)
    if isinstance(cell, (_Cell, StackedRNNCells)):
        return cell
    if not cell.is_own() or len(cell.call_arguments) < 2:
        raise NotImplementedError(
            "`RNN` runs LSTMCell, GRUCell, SimpleRNNCell, StackedRNNCells, and classes that derive from "
            f"lstmfast.layers.Layer with a `call(inputs, states)`. Received: cell={cell}"
        )
    return cell


def _runner(cell: Any) -> Any:
    """What runs a cell, alone or in a stack: itself, where it is of Keras's."""
    return cell if isinstance(cell, _Cell) else OwnCell(cell)


def _takes_constants(runner: Any) -> bool:
    return isinstance(runner, OwnCell) and "constants" in runner.layer.call_arguments


def _step_of(runner: Any) -> Any:
    return runner.frozen() if isinstance(runner, _Cell) else runner.one_step()


def _weights(runner: Any) -> Any:
    return runner._own_weights() if isinstance(runner, _Cell) else None


@register()
class RNN(Recurrent):
    """Keras's RNN layer: a cell, or several, over a sequence.

    Parameters
    ----------
    cell : cell or list of cells
        `LSTMCell`, `GRUCell`, `SimpleRNNCell`, a layer of one's own with a ``state_size`` and a
        ``call(inputs, states)`` that gives an output and new states, or `StackedRNNCells` of them. Where its ``call``
        takes ``constants``, the layer may be called with ``constants=``, arrays that it gets at each step, as in
        Keras 2.
    return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask
        As of `LSTM`; the state of stacked cells is one list for each cell.
    """

    config_keys: tuple[str, ...] = (*FLAGS, "zero_output_for_mask")
    keyword_arguments = ("time_major", "num_constants")
    inert_arguments = ("implementation",)
    call_arguments = (*Recurrent.call_arguments, "constants")

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        self.time_major = bool(kwargs.pop("time_major", False))
        self.num_constants = at_least(0, "num_constants", kwargs.pop("num_constants", 0))
        super().__init__(**kwargs)
        self.cell = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else _as_cell(cell)
        self.runners: list[Any] = self.cell.runners if isinstance(self.cell, StackedRNNCells) else [_runner(self.cell)]
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful, self.unroll = bool(go_backwards), bool(stateful), bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)

    @property
    def state_size(self) -> list[Any]:
        """The units of each array of the state; of stacked cells, of each cell."""
        size = self.cell.state_size
        return list(size) if isinstance(size, (list, tuple)) else [size]

    @property
    def states_count(self) -> int:
        return sum(cell.cell_states for cell in self.runners)

    @property
    def output_state(self) -> int:
        return self.states_count - self.runners[-1].cell_states  # type: ignore[no-any-return]

    @property
    def units(self) -> int:
        return self.runners[-1].output_size  # type: ignore[no-any-return]

    def sublayers(self) -> tuple[Layer, ...]:
        return (self.cell,)

    def saved_parts(self) -> list[tuple[str, Any]]:
        return [("cell", self.cell)]

    def build_weights(self, input_shape: Any) -> None:
        self.fix_axis(input_shape)
        inside = self.cell if isinstance(self.cell, StackedRNNCells) else self.runners[0]
        inside.build((input_shape[0], *input_shape[2:]))
        self.build_states(input_shape)

    def step_shapes(self, input_shape: Any) -> tuple[Shape, list[Shape]]:
        return (self.units,), [(size,) for cell in self.runners for size in cell.state_sizes]

    def zero_states(self, batch: int) -> list[Array]:
        states = flatten([cell.get_initial_state(batch) for cell in self.runners])
        return [cast(state, self.policy.real) for state in states]

    def nest_states(self, states: tuple[Any, ...]) -> tuple[Any, ...]:
        if not isinstance(self.cell, StackedRNNCells):
            return states
        remaining = iter(states)
        return tuple([next(remaining) for _ in range(cell.cell_states)] for cell in self.runners)

    def dropping_cells(self) -> list[Any]:
        return [one for cell in self.runners for one in cell.dropping_cells()]

    def make_core(self, weights: tuple[Array, ...]) -> Any:
        return self._stacked([cell.make_core(_weights(cell)) for cell in self.runners])

    def make_dropping_core(self, weights: tuple[Array, ...]) -> Any:
        return self._stacked([cell.make_dropping_core(_weights(cell)) for cell in self.runners])

    def _stacked(self, own_cores: list[Any]) -> Any:
        """What runs sequences, of what runs those of each cell."""
        cores: list[Any] = []
        for cell, core in zip(self.runners, own_cores, strict=True):
            own = cell.policy.real
            cores.append(core if own is self.policy.real else _InType(core, own, self.policy.real))
        return cores[0] if len(cores) == 1 else Stack(cores, [cell.cell_states for cell in self.runners])

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        if "constants" not in kwargs:
            return super()._record(inputs, kwargs)
        constants = self._listed_constants(kwargs["constants"])
        outputs = super()._record(inputs, {**kwargs, "constants": constants})
        self.num_constants = len(constants)
        return outputs

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        given = arguments.get("constants")
        if given is None:
            return super().convert_arguments(shapes, arguments)
        listed = given if isinstance(given, (list, tuple)) else [given]
        what = f"a constant of layer '{self.name}'"
        constants = self._listed_constants([convert(one, self.policy.real, what) for one in listed])
        converted = super().convert_arguments(shapes, arguments)
        self.num_constants = len(constants)
        return {**converted, "constants": constants}

    def _listed_constants(self, constants: Any) -> list[Any]:
        """The argument ``constants`` as a list, of which cells that are not built yet learn the shapes."""
        listed = list(constants) if isinstance(constants, (list, tuple)) else [constants]
        taking = [cell for cell in self.runners if _takes_constants(cell)]
        if not taking:
            raise ValueError(f"RNN cell {self.cell} does not support constants: its `call` does not take them.")
        if self.num_constants not in (0, len(listed)):
            raise ValueError(f"Layer '{self.name}' takes {self.num_constants} constants, got {len(listed)}.")
        for cell in taking:
            cell.constant_shapes = [tuple(one.shape) for one in listed]
        return listed

    def run_ragged(self, inputs: Any, lengths: Any, arguments: dict[str, Any], out: Any, caller: list[Any]) -> Any:
        if "constants" in arguments:
            raise ValueError(f"Layer '{self.name}' takes no `lengths` beside `constants`.")
        return super().run_ragged(inputs, lengths, arguments, out, caller)

    def as_stage(self, run: Run, node: Any, batch_size: int) -> tuple[Any, bool]:
        if "constants" in node.kwargs:
            raise ValueError(f"Layer '{self.name}' (of type RNN) cannot be streamed: it is called with constants.")
        stage, sequences = super().as_stage(run, node, batch_size)
        if isinstance(self.runners[-1], OwnCell):
            from lstmfast.streaming import OwnCellStage

            stage = OwnCellStage(run.core, self, batch_size)  # type: ignore[attr-defined]
        return stage, sequences

    def run_for(self, arguments: dict[str, Any]) -> Run:
        if not arguments.get("training") or not self.dropping_cells():
            return self.frozen()
        return self.noisy_run(lambda: self._taking_constants(self.make_dropping_core(self._own_weights()), True))

    def _around(self, core: Any) -> Run:
        return self._taking_constants(core, False)

    def _taking_constants(self, core: Any, training: bool) -> Run:
        """`_around`, of a core that does, or does not, what the cells do in training."""
        run = self._nesting(core)
        if not any(map(_takes_constants, self.runners)):
            return run

        @wraps(run)
        def run_with(x: Array, constants: Any = None, **others: Any) -> Any:
            chosen = run if constants is None else self._nesting(self._core_with(constants, training))
            return chosen(x, **others)

        return run_with

    def _core_with(self, constants: list[Array], training: bool) -> Any:
        """What runs sequences with some constants."""
        return self._stacked(
            [
                cell.core_with(constants, training)
                if _takes_constants(cell)
                else (cell.make_dropping_core if training and cell.dropping_cells() else cell.make_core)(_weights(cell))
                for cell in self.runners
            ]
        )

    def _nesting(self, core: Any) -> Run:
        """`Recurrent._around`, with the states of stacked cells in lists."""
        run = super()._around(core)
        if not (self.return_state and isinstance(self.cell, StackedRNNCells)):
            return run

        def nested(*args: Any, **kwargs: Any) -> Any:
            y, *states = run(*args, **kwargs)
            return (y, *self.nest_states(tuple(states)))

        return nested

    def get_config(self) -> dict[str, Any]:
        return {**self._own_config(), "cell": serialize_layer(self.cell)}

    def twin_config(self) -> dict[str, Any]:
        return {**self._own_config(), "cell": self.cell.twin()}

    def _own_config(self) -> dict[str, Any]:
        return super().get_config() | ({"num_constants": self.num_constants} if self.num_constants else {})


class _InType:
    """A packed layer whose arithmetic has another type than the layer around it."""

    def __init__(self, core: Any, inside: Any, outside: Any) -> None:
        self.core = core
        self.inside, self.outside = inside, outside

    def run(self, x: Array, mask: Array | None, initial_state: tuple[Array, ...] | None, *rest: Any) -> Any:
        """As `_core.PackedLayer.run`."""
        *flags, out, threads = rest
        x, initial_state = map_tree(lambda leaf: None if leaf is None else cast(leaf, self.inside), (x, initial_state))
        result = map_tree(
            lambda leaf: cast(leaf, self.outside), self.core.run(x, mask, initial_state, *flags, None, threads)
        )
        return result if out is None else fill(flatten([out]), result)


class Stack:
    """Packed layers on top of each other, run as one: each over the whole sequence, then the next."""

    def __init__(self, cores: list[Any], counts: list[int]) -> None:
        self.cores = cores
        self.counts = counts

    def run(
        self,
        x: Array,
        mask: Array | None,
        initial_state: tuple[Array, ...] | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        out: Array | None,
        threads: int,
    ) -> Any:
        """As `_core.PackedLayer.run`."""
        final: list[Array] = []
        first, last = 0, len(self.cores) - 1
        for position, (core, count) in enumerate(zip(self.cores, self.counts, strict=True)):
            state = None if initial_state is None else tuple(initial_state[first : first + count])
            first += count
            whole = return_sequences or position < last
            zero = zero_output_for_mask and position == last
            target = out if position == last else None
            x, *states = core.run(x, mask, state, whole, True, go_backwards, zero, target, threads)
            final += states
            if go_backwards:  # what comes out is in processing order
                go_backwards = False
                mask = None if mask is None else mask[:, ::-1]
        return (x, *final) if return_state else x


__all__ = ["RNN", "GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"]
