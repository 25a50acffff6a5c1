"""Cells that users write, as they write them for Keras: ``call(inputs, states)`` gives an output and new states.

Next: rnn.py, which runs them; own.py, for what they may hold.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast._graph import Shape, flatten
from lstmfast._pieces import put
from lstmfast.layers.base import Array, Layer
from lstmfast.layers.recurrent import Recurrent
from lstmfast.layers.steps import State, stepped

Step = Callable[[Array, State], tuple[Array, list[Array]]]


class OwnCell:
    """What `RNN` asks of a cell, of a layer that a user wrote.

    Raises
    ------
    ValueError
        If it has no ``state_size``.
    NotImplementedError
        If its states are no vectors.
    """

    def __init__(self, layer: Layer) -> None:
        sizes = getattr(layer, "state_size", None)
        if sizes is None:
            raise ValueError(
                "The RNN cell should have a `state_size` attribute (single integer or list of integers, one integer "
                f"per RNN state). Received: cell={layer}"
            )
        self.layer = layer
        self.name, self.policy = layer.name, layer.policy
        self.state_sizes = [_size(size, layer) for size in (sizes if isinstance(sizes, (list, tuple)) else [sizes])]
        self.cell_states = self.states_count = len(self.state_sizes)
        given = getattr(layer, "output_size", None)
        self.output_size = self.state_sizes[0] if given is None else _size(given, layer)
        self._state_shapes: list[Shape] = [(size,) for size in self.state_sizes]

    _checked_states: Any = Recurrent._checked_states
    constant_shapes: list[Shape] | None = None  # of the constants that come with each call

    def build(self, input_shape: Shape) -> None:
        """Make the weights, those of layers inside included."""
        if not self.layer.built:
            names = self.layer.call_arguments
            states = [(input_shape[0], size) for size in self.state_sizes]
            shapes: dict[str, Any] = dict(zip((f"{name}_shape" for name in names), (input_shape, states), strict=False))
            if self.constant_shapes is not None:
                shapes["constants_shape"] = self.constant_shapes
            self.layer.build_from_shapes(shapes)  # type: ignore[attr-defined]

    def compute_output_shape(self, input_shape: Shape) -> Any:
        batch = input_shape[0]
        return (batch, self.output_size), [(batch, size) for size in self.state_sizes]

    def get_initial_state(self, batch_size: int) -> list[Array]:
        """What the cell says, or zeros."""
        method = getattr(self.layer, "get_initial_state", None)
        if method is None:
            return [np.zeros((batch_size, size), self.policy.real) for size in self.state_sizes]
        taken = inspect.signature(method).parameters
        others = {"inputs": None, "dtype": self.policy.compute_dtype}  # of Keras 2
        given = method(batch_size=batch_size, **{name: value for name, value in others.items() if name in taken})
        return list(self._checked_states(list(given) if isinstance(given, (list, tuple)) else [given], batch_size))

    def dropping_cells(self) -> list[Any]:
        """The cell, where it does something else in training."""
        inside = (inner for inner in self.layer.all_layers() if inner is not self.layer and inner.built)
        return [self] if "training" in self.layer.call_arguments or any(inner.is_noisy() for inner in inside) else []

    def one_step(self, arguments: dict[str, Any] | None = None) -> Step:
        """A function of (batch, features) and the states, by the cell's present weights."""
        run = self.layer.run_for(arguments or {})
        states_name = self.layer.call_arguments[1]
        sizes, name = self.state_sizes, self.name

        def step(x: Array, states: Any) -> tuple[Array, list[Array]]:
            found = run(x, **{states_name: list(states)}, **(arguments or {}))
            if not isinstance(found, (list, tuple)) or len(found) != 2:
                raise ValueError(f"`call` of cell '{name}' has to return its output and its states.")
            y, new = found[0], flatten(found[1])
            shapes = [array.shape for array in new]
            if shapes != [(len(x), size) for size in sizes]:
                raise ValueError(
                    f"`call` of cell '{name}' returned states of shape {shapes}, expected "
                    f"{[(len(x), size) for size in sizes]}."
                )
            if y.shape != (len(x), self.output_size):
                raise ValueError(
                    f"`call` of cell '{name}' returned an output of shape {y.shape}, expected "
                    f"{(len(x), self.output_size)}."
                )
            return y, new

        return step

    def make_core(self, weights: Any) -> OwnSteps:
        return OwnSteps(self, self.one_step())

    def core_with(self, constants: list[Array], training: bool) -> OwnSteps:
        """As `make_core`, for a call with constants."""
        return OwnSteps(self, self.one_step({"constants": constants, **({"training": True} if training else {})}))

    def make_dropping_core(self, weights: Any) -> OwnSteps:
        return OwnSteps(self, self.one_step({"training": True}))


class OwnSteps:
    """Runs sequences, step by step."""

    def __init__(self, cell: OwnCell, step: Step) -> None:
        self.cell = cell
        self.step = step

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
        state = tuple(self.cell.get_initial_state(len(x)) if initial_state is None else initial_state)
        outputs, state = stepped(
            self.step,
            lambda time: x[:, time],
            x.shape[1],
            state,
            return_sequences,
            go_backwards,
            zero_output_for_mask,
            None if mask is None else lambda time, _: mask[:, time, None],
        )
        if out is None:
            out = outputs if return_sequences else np.array(outputs)  # which may be the user's
        else:
            put(out, outputs)
        return (out, *map(np.array, state)) if return_state else out


def _size(size: Any, layer: Layer) -> int:
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise NotImplementedError(
            f"Cell '{layer.name}' has the size {size!r}: its states and its output have to be vectors, each of a "
            "positive number of units."
        )
    return int(size)
