"""Stages of a chain, and recurrent layers on top of each other as one of them.

The core is told of all of them at once, so that each can be one step behind the one below it, on a thread of its own.
Next: layers/recurrent.py runs one, csrc/core/together.c decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lstmfast import _core

Array = np.ndarray[Any, Any]
Run = Callable[..., Array]

# LF_LEVELS_MOST of lstmfast.h
_MOST = 8
# More rows go through each layer on all threads as fast; and what layers hand on is kept until the last one has run.
_MOST_ROWS = 16


def give_stage(run: Any, make: Callable[[Run], _core.Stage]) -> None:
    """Let chains have ``make(run)`` for ``run``.

    It is made where it is needed: ``run`` and its stage would keep each other, and packed weights, until Python looks
    for garbage. Whatever takes on the attributes of ``run``, as `functools.wraps` does, is something else.
    """
    run.stage = id(run), make


def has_stage(run: Any) -> bool:
    """Whether C knows a stage for ``run``."""
    return getattr(run, "stage", (None,))[0] == id(run)


def stage_of(run: Any) -> _core.Stage:
    """What does as ``run`` in a chain."""
    return run.stage[1](run) if has_stage(run) else _core.Stage(run)


class Stack:
    """Runs of recurrent layers, each of which reads the sequence that the one before it gives."""

    __slots__ = ("_below", "_last", "stage", "takes_out")

    def __init__(self, runs: list[Run]) -> None:
        *self._below, self._last = runs
        self.takes_out: bool = getattr(self._last, "takes_out", False)
        give_stage(self, partial(_stack_stage, runs=runs))

    def __call__(self, x: Any, out: Array | None = None) -> Array:
        if not 0 < x.shape[0] <= _MOST_ROWS:
            for run in self._below:
                x = run(x)
            return self._last(x) if out is None else self._last(x, out=out)
        stack = _core.Stack()
        for run in self._below:
            x = run(x, calls=stack)
        y = self._last(x, out=out, calls=stack)
        stack.finish()
        return y


def _stack_stage(stack: Stack, runs: list[Run]) -> _core.Stage:
    levels = []
    for run in runs:
        level = stage_of(run)
        if type(level) is not _core.RecurrentStage:  # as of one that gives its states, too
            return _core.Stage(stack)
        levels.append(level)
    return _core.StackStage(stack, levels, _MOST_ROWS)


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
