"""How a call is timed, fairly beside others.

A library's threads go on spinning after a call, and whoever runs next is timed against a busy core: so everyone sleeps
first, then the one to be timed is warmed, and the order rotates.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

PAUSE_SECONDS = 0.05
WARM_SECONDS = 0.03
GROUP_SECONDS = 2e-5  # short calls are timed in groups of at least this, far above the clock's own cost


def per_call(call: Callable[[], Any], seconds: float) -> float:
    """Median seconds of a call over ``seconds`` of calls, after a pause and a warm-up."""
    time.sleep(PAUSE_SECONDS)
    collecting = gc.isenabled()
    gc.disable()
    try:
        calls, spent = 0, 0.0
        while spent < WARM_SECONDS:
            spent += _elapsed(call, 1)
            calls += 1
        group = max(1, round(GROUP_SECONDS * calls / spent))
        samples, spent = [], 0.0
        while spent < seconds:
            took = _elapsed(call, group)
            spent += took
            samples.append(took / group)
    finally:
        if collecting:
            gc.enable()
    return statistics.median(samples)


def interleaved(timers: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """The median over repeats of what each timer gives, in rotated order."""
    names = list(timers)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats):
        turn = repeat % max(1, len(names))
        for name in names[turn:] + names[:turn]:
            samples[name].append(timers[name]())
    return {name: statistics.median(values) for name, values in samples.items()}


def text(seconds: float | None) -> str:
    """A time with its unit, in three digits."""
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1 or unit == "us":
            value = seconds * factor
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    raise AssertionError


def _elapsed(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start
