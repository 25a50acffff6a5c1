"""A recurrence in Python, step by step: for those that the core does not run.

Next: own_cell.py and conv_lstm.py, whose steps these are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast._pieces import put
from lstmfast.layers.base import Array

State = tuple[Array, ...] | None


def stepped(
    step: Callable[[Array, State], tuple[Array, Any]],
    at: Callable[[int], Array],
    steps: int,
    state: State,
    return_sequences: bool,
    go_backwards: bool,
    zero_output_for_mask: bool,
    valid: Callable[[int, Array], Array] | None = None,
) -> tuple[Array, tuple[Array, ...]]:
    """The outputs of all steps, or of the last, and the state behind it.

    Parameters
    ----------
    step : callable
        Gives the output and the new state for one step's input and the state before it.
    at : callable
        Gives the input of a step.
    steps : int
        How many there are.
    state : tuple of numpy.ndarray, optional
        Before the first step; zeros where it is not given, which ``step`` knows.
    return_sequences, go_backwards, zero_output_for_mask : bool
        As of the recurrent layers.
    valid : callable, optional
        Gives a step's mask, in a shape that goes with its output.

    Raises
    ------
    ValueError
        If there is no step.
    """
    if not steps:
        raise ValueError("expected at least one step")
    outputs: Any = None
    y: Any = None
    for position, time in enumerate(range(steps - 1, -1, -1) if go_backwards else range(steps)):
        last = y
        y, new = step(at(time), state)
        if valid is not None:  # as in Keras: a masked step leaves the state, and gives the last output again
            there = valid(time, y)
            y = np.where(there, y, y.dtype.type(0) if zero_output_for_mask or last is None else last)
            before = state or [np.zeros_like(array) for array in new]
            new = [np.where(there, *pair) for pair in zip(new, before, strict=True)]
        state = tuple(new)
        if return_sequences:
            if outputs is None:
                outputs = np.empty((len(y), steps, *y.shape[1:]), y.dtype)
            put(outputs[:, position], y)
    assert state is not None
    return (outputs if return_sequences else y), state
