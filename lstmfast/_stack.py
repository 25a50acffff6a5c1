"""Recurrent layers on top of each other, as one function of a plan's chain.

The core is told of all of them at once, so that each can be one step behind the one below it, on a thread of its own.
Next: layers/recurrent.py runs one, csrc/core/together.c decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast import _core

Array = np.ndarray[Any, Any]
Run = Callable[..., Array]

# LF_LEVELS_MOST of lstmfast.h
_MOST = 8
# More rows go through each layer on all threads as fast; and what layers hand on is kept until the last one has run.
_MOST_ROWS = 16


class Stack:
    """Runs of recurrent layers, each of which reads the sequence that the one before it gives."""

    __slots__ = ("_below", "_last", "takes_out")

    def __init__(self, runs: list[Run]) -> None:
        *self._below, self._last = runs
        self.takes_out: bool = getattr(self._last, "takes_out", False)

    def __call__(self, x: Any, out: Array | None = None) -> Array:
        if x.shape[0] > _MOST_ROWS:
            for run in self._below:
                x = run(x)
            return self._last(x) if out is None else self._last(x, out=out)
        stack = _core.Stack()
        for run in self._below:
            x = run(x, calls=stack)
        y = self._last(x, out=out, calls=stack)
        stack.finish()
        return y

    def stage(self, run: Run) -> _core.Stage:
        """This, which is also ``run``, in a chain."""
        levels = []
        for one in (*self._below, self._last):
            level = one.stage(one) if hasattr(one, "stage") else None  # none of one that gives its states, too
            if type(level) is not _core.RecurrentStage:
                return _core.Stage(run)
            levels.append(level)
        return _core.StackStage(run, levels, _MOST_ROWS)


def stacked(runs: list[Run]) -> list[Run]:
    """The same chain, with those that lie on each other put together."""
    chain: list[Run] = []
    levels: list[Run] = []
    for run in runs:
        grows = levels and getattr(levels[-1], "gives_steps", False) and getattr(run, "takes_steps", False)
        if not grows or len(levels) == _MOST:
            chain += _together(levels)
            levels = []
        levels.append(run)
    return chain + _together(levels)


def _together(levels: list[Run]) -> list[Run]:
    return [Stack(levels)] if len(levels) > 1 else levels
