"""Rows of different lengths, computed without their padding: each as if it were alone, the same bits.

Rows are sorted, longest first, and packed step by step: step 0 of all rows, then step 1 of those that have one, and so
on. What a recurrent layer runs at a step is one block of memory then, and rows that have ended are not in it. Where a
model holds anything but recurrent layers and layers that see one step, rows of equal length run together instead.
Next: layers/recurrent.py; models.py calls this.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lstmfast import _core
from lstmfast._arrays import as_array, convert
from lstmfast._graph import Shape, flatten, map_shapes
from lstmfast._pieces import in_pieces, joined, put
from lstmfast._plan import Plan, Port
from lstmfast.layers.base import Array, Layer, Run
from lstmfast.layers.core import identity
from lstmfast.layers.recurrent import Recurrent
from lstmfast.layers.rnn import Stack
from lstmfast.layers.wrappers import Bidirectional, merged

States = tuple[Array, ...]


class Layout:
    """Where the steps of packed rows are.

    Parameters
    ----------
    lengths : numpy.ndarray
        (rows,), longest first, none 0.

    Attributes
    ----------
    rows, times : numpy.ndarray
        (sum of lengths,): whose step each packed one is, and which.
    """

    __slots__ = ("_alive", "_offsets", "lengths", "rows", "times")

    def __init__(self, lengths: Array) -> None:
        steps = np.arange(lengths[0])
        self.lengths = lengths
        self._alive = np.searchsorted(-lengths, -steps)
        self._offsets = np.concatenate([[0], np.cumsum(self._alive)])
        self.times = np.repeat(steps, self._alive)
        self.rows = np.arange(len(self.times)) - self._offsets[self.times]

    def of_row(self, row: int) -> Array:
        """The places of one row's steps."""
        places: Array = self._offsets[: self.lengths[row]] + row
        return places

    def backwards(self) -> Array:
        """For each place that of the same row's step counted from its end."""
        places: Array = self._offsets[self.lengths[self.rows] - 1 - self.times] + self.rows
        return places

    def segments(self) -> Iterator[tuple[slice, int, int]]:
        """The places of steps that the same rows have, how many steps that are, and how many rows."""
        cuts = [0, *(np.flatnonzero(np.diff(self._alive)) + 1).tolist(), len(self._alive)]
        for first, last in itertools.pairwise(cuts):
            yield slice(self._offsets[first], self._offsets[last]), last - first, int(self._alive[first])


class Rows:
    """The caller's rows of different lengths.

    Parameters
    ----------
    flat : numpy.ndarray
        (steps of all rows, ...).
    starts, lengths : numpy.ndarray
        (rows,): where each row begins in it, and how many steps it has.
    """

    __slots__ = ("_flat", "_starts", "lengths")

    def __init__(self, flat: Array, starts: Array, lengths: Array) -> None:
        self._flat = flat
        self._starts = starts
        self.lengths = lengths

    @classmethod
    def of_padded(cls, x: Array, lengths: Any) -> Rows:
        """The first steps of each row of x (rows, steps, ...)."""
        lengths = checked_lengths(lengths, x.shape)
        flat = x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
        return cls(flat, np.arange(x.shape[0]) * x.shape[1], lengths)

    @classmethod
    def of_list(cls, arrays: list[Array]) -> Rows:
        lengths = np.array([len(array) for array in arrays])
        return cls(joined(arrays, 0), np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)

    @property
    def sample(self) -> Shape:
        """The shape of one step."""
        shape: Shape = self._flat.shape[1:]
        return shape

    def packed(self, rows: Array, layout: Layout) -> Array:
        """These rows, sorted as the layout has them."""
        return self._steps(self._starts[rows][layout.rows] + layout.times)

    def equal(self, rows: Array) -> Array:
        """(rows, steps, ...) of rows that are equally long."""
        return self._steps(self._starts[rows][:, None] + np.arange(self.lengths[rows[0]]))

    def _steps(self, places: Array) -> Array:
        return in_pieces(lambda some: self._flat[some], places, makes=math.prod(self.sample))


def checked_lengths(lengths: Any, shape: Shape) -> Array:
    """The caller's ``lengths`` for an input of this shape.

    Raises
    ------
    TypeError
        If they are no integers.
    ValueError
        If there is not one for each row, from 1 to the number of steps.
    """
    found = as_array(lengths, "lengths")
    if found.dtype.kind not in "iu":
        raise TypeError(f"lengths: expected integers, got {found.dtype}.")
    if found.shape != shape[:1]:
        raise ValueError(f"lengths: expected shape {shape[:1]}, one for each row, got {found.shape}.")
    wrong = np.flatnonzero((found < 1) | (found > shape[1]))
    if len(wrong):
        raise ValueError(
            f"lengths: expected numbers from 1 to {shape[1]}, the number of steps, got {found[wrong[0]]} for row "
            f"{wrong[0]}."
        )
    return found.astype(np.int64)


# ---- recurrent layers ----------------------------------------------------------------------------------------------


def _block(packed: Array, steps: int, rows: int) -> Array:
    """A segment as (rows, steps, ...), a view."""
    block: Array = packed.reshape(steps, rows, *packed.shape[1:]).swapaxes(0, 1)
    return block


def _run(layer: Recurrent, core: Any, packed: Array, layout: Layout, states: States) -> tuple[Array, States]:
    """A layer over packed rows: packed outputs in processing order, or the last of each; and the final states."""
    if layer.go_backwards:
        packed = packed[layout.backwards()]
    sample = layer.step_shapes((None, None, *packed.shape[1:]))[0]
    count = len(packed) if layer.return_sequences else len(layout.lengths)
    y = np.empty((count, *sample), packed.dtype)
    for place, steps, rows in layout.segments():
        own = tuple(state[:rows] for state in states)
        out = _block(y[place], steps, rows) if layer.return_sequences else y[:rows]
        _, *new = core.run(
            _block(packed[place], steps, rows), None, own, layer.return_sequences, True, False, False, out, 0
        )
        for state, after in zip(own, new, strict=True):
            state[...] = after
    return y, states


def _run_both(
    layer: Bidirectional, cores: list[Any], packed: Array, layout: Layout, states: States
) -> tuple[Any, States]:
    count = len(states) // 2
    y, first = _run(layer.forward_layer, cores[0], packed, layout, states[:count])
    other, second = _run(layer.backward_layer, cores[1], packed, layout, states[count:])
    if layer.return_sequences:
        other = other[layout.backwards()]
    value = (y, other) if layer.merge_mode is None else merged(y, other, layer.merge_mode)
    return value, (*first, *second)


def _cores(layer: Layer, run: Run) -> list[Any] | None:
    """What runs a recurrent layer's sequences, one for each direction; None where packed rows cannot be run."""
    runs = getattr(run, "parts", (run,))
    cores = [getattr(part, "core", None) for part in runs]
    parts = [layer.forward_layer, layer.backward_layer] if isinstance(layer, Bidirectional) else [layer]
    fits = len(cores) == len(parts) and all(isinstance(core, (_core.PackedLayer, Stack)) for core in cores)
    fits = fits and not any(getattr(part, "time_major", False) or getattr(part, "stateful", False) for part in parts)
    return cores if fits else None


def _run_packed(layer: Any, cores: list[Any], packed: Array, layout: Layout, states: Any = None) -> tuple[Any, States]:
    if states is None:
        parts = [layer] if len(cores) == 1 else [layer.forward_layer, layer.backward_layer]
        states = [zeros for part in parts for zeros in part.zero_states(len(layout.lengths))]
    if len(cores) == 1:
        return _run(layer, cores[0], packed, layout, tuple(states))
    return _run_both(layer, cores, packed, layout, tuple(states))


def call_layer(layer: Any, x: Array, lengths: Any, arguments: dict[str, Any], out: Any, caller: list[Any]) -> Any:
    """A recurrent layer over the first steps of each row of x (batch, steps, ...); zeros stand behind their ends."""
    if layer.stateful or getattr(layer, "time_major", False) or arguments.get("mask") is not None:
        raise ValueError(f"Layer '{layer.name}': `lengths` do not go with stateful, time_major or a mask.")
    rows = Rows.of_padded(x, lengths)
    shapes = layer.compute_output_shape(x.shape)
    targets = flatten(out)
    if out is None:
        targets = []
        map_shapes(lambda shape: targets.append(np.empty(shape, layer.policy.result)), shapes)
    else:
        layer.check_targets(targets, shapes, caller)
    if layer.return_sequences:
        for target in targets[: 2 if getattr(layer, "merge_mode", "") is None else 1]:
            put(target, 0)
    run = layer.run_for(arguments)
    cores = _cores(layer, run)
    states = arguments.get("initial_state")
    if cores is None:
        for some in _equal_rows(rows.lengths):
            given = {} if states is None else {"initial_state": tuple(state[some] for state in states)}
            _put(targets, some, flatten(run(rows.equal(some), **given)))
    elif len(rows.lengths):
        order = np.argsort(-rows.lengths, kind="stable")
        layout = Layout(rows.lengths[order])
        states = None if states is None else [state[order] for state in states]
        value, states = _run_packed(layer, cores, rows.packed(order, layout), layout, states)
        values = flatten(value)
        for target, array in zip(targets, values):
            if layer.return_sequences:
                target[order[layout.rows], layout.times] = array
            else:
                target[order] = array
        for target, state in zip(targets[len(values) :], states):
            target[order] = state
    remaining = iter(targets)
    return map_shapes(lambda _: next(remaining), shapes)


# ---- models --------------------------------------------------------------------------------------------------------


def _equal_rows(lengths: Array) -> Iterator[Array]:
    """The rows of each length, shortest first."""
    order = np.argsort(lengths, kind="stable")
    return iter(np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1) if len(order) else [])


def _put(targets: list[Any], rows: Array, parts: list[Array]) -> None:
    """Store what some rows of equal length gave; shorter than its place, it leaves the rest of that as it is."""
    for target, part in zip(targets, parts, strict=True):
        if isinstance(target, list):
            for row, array in zip(rows.tolist(), part):
                target[row] = array.copy()
        else:
            place = (rows, *(slice(size) for size in part.shape[1:]))
            target[place] = part


def _stages(plan: Plan) -> tuple[list[Callable[..., Any]], bool] | None:
    """Functions of packed rows and their layout that make up a chain, and whether the last gives packed rows."""
    if plan.chain is None or plan.masks_travel:
        return None
    stages: list[Callable[..., Any]] = []
    packed = True
    for operation in plan.operations:
        layer, run = operation.layer, operation.run
        if operation.cast is not None:
            stages.append(lambda x, layout, cast=operation.cast: convert(x, cast))
        if run is identity:
            continue
        if not packed:
            stages.append(lambda x, layout, run=run: run(x))
        elif isinstance(layer, (Recurrent, Bidirectional)):
            cores = _cores(layer, run)
            if cores is None:
                return None
            stages.append(lambda x, layout, layer=layer, cores=cores: _run_packed(layer, cores, x, layout)[0])
            packed = layer.return_sequences
        elif layer.per_step:
            stages.append(lambda x, layout, run=run: run(x[None])[0])
        else:
            return None
    return stages, packed


def rows_of(model: Any, port: Port, x: Any, lengths: Any) -> Rows:
    """What the caller passed as rows that the model takes.

    Raises
    ------
    ValueError, TypeError
        If a shape, a type or a length is wrong.
    """
    what = f"input '{port.name}' of model '{model.name}'"
    if port.ndim < 2:
        raise ValueError(f"Rows of different lengths need a time axis, which {what} does not have.")
    lacks_axis = port.ndim - 1 if port.shape[-1] == 1 else None  # as in `Port.adjust`
    if lengths is not None:
        array = as_array(x, what)
        array = array[..., None] if array.ndim == lacks_axis else array
        if array.ndim != port.ndim:
            raise ValueError(f"`lengths` go with one array of {port.ndim} axes for {what}, got shape {array.shape}.")
        rows = Rows.of_padded(array, lengths)
    else:
        arrays = [as_array(row, what) for row in x]
        arrays = [row[:, None] if row.ndim + 1 == lacks_axis else row for row in arrays]
        for place, row in enumerate(arrays):
            if row.ndim != port.ndim - 1 or row.shape[1:] != arrays[0].shape[1:] or not len(row):
                raise ValueError(
                    f"Row {place} of {what} has shape {row.shape}, expected (steps, {str(port.shape[1:])[1:-1]}) with "
                    "at least 1 step."
                )
        rows = Rows.of_list(arrays)
    for length in np.unique(rows.lengths).tolist():
        port.adjust(np.broadcast_to(np.float32(0), (1, length, *rows.sample)), 0, model.name)
    return rows


def run_model(model: Any, plan: Plan, rows: Rows, steps: int | None, options: dict[str, Any]) -> Any:
    """A model over rows of different lengths.

    Parameters
    ----------
    steps : int or None
        The number of steps of padded outputs, zeros behind the rows' ends; None for lists of arrays.
    options : dict
        ``out``, ``caller`` (the arrays that it must not overlap), ``batch_size`` and ``progress``.

    Returns
    -------
    numpy.ndarray or list of numpy.ndarray, or a structure of them as the model's outputs
        Lists for outputs whose shape varies with the number of steps, where ``steps`` is None.
    """
    if plan.by_batch is not None:
        raise ValueError(
            f"Layer '{plan.by_batch.name}' goes by the rows of a batch: rows of different lengths do not go with it."
        )
    count = len(rows.lengths)
    targets = _make_targets(model, plan, rows, steps, options)
    progress, done = options.get("progress"), 0
    found = _stages(plan)
    order = np.argsort(-rows.lengths, kind="stable") if found else np.argsort(rows.lengths, kind="stable")
    while done < count:
        longest = int(rows.lengths[order[done]])
        size = model._slice_rows(plan, [(longest, *rows.sample)], options.get("batch_size"))
        some = order[done : done + size]
        if found is None:
            some = some[rows.lengths[some] == longest]
            _put(targets, some, flatten(model._run(plan, [rows.equal(some)])))
        else:
            layout = Layout(rows.lengths[some])
            value = convert(rows.packed(some, layout), plan.dtype)
            for stage in found[0]:
                value = stage(value, layout)
            _put_packed(targets[0], some, value, layout if found[1] else None)
        done += len(some)
        if progress is not None:
            progress.update(done)
    return model._pack_outputs(targets)


def _put_packed(target: Any, rows: Array, value: Array, layout: Layout | None) -> None:
    if layout is None:
        target[rows] = value
    elif isinstance(target, list):
        for place, row in enumerate(rows.tolist()):
            target[row] = value[layout.of_row(place)].astype(target[row], copy=False)
    else:
        target[rows[layout.rows], layout.times] = value


def _make_targets(model: Any, plan: Plan, rows: Rows, steps: int | None, options: dict[str, Any]) -> list[Any]:
    """Where the outputs go; in a list that is to be filled with arrays stands their dtype."""
    count, out = len(rows.lengths), options.get("out")
    varying = model.output_shapes([(None, None, *rows.sample)])
    longest = steps or int(rows.lengths.max(initial=1))
    shapes = model.output_shapes([(count, longest, *rows.sample)])
    dtypes = plan.output_dtypes
    as_lists = [steps is None and None in shape[1:] for shape in varying]
    if out is not None:
        if any(as_lists):
            raise ValueError(
                "out: outputs of different lengths have no array to go to; pass a padded array and lengths."
            )
        targets: list[Any] = model.checked_out(out, shapes, dtypes, options.get("caller", ()))
    else:
        targets = [
            [dtype] * count if as_list else np.empty(shape, dtype)
            for as_list, shape, dtype in zip(as_lists, shapes, dtypes, strict=True)
        ]
    for target, shape in zip(targets, varying, strict=True):
        if not isinstance(target, list) and None in shape[1:]:
            put(target, 0)
    return targets
