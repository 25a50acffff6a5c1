"""How one runner, or calls in turn, are timed: the only clock of the benchmark."""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

PAUSE_SECONDS = 0.05  # before a runner: the spinning threads of the one before must have gone to sleep
WARM_SECONDS = 0.03  # before its clock starts: its own threads must be awake, its weights in cache
LONG = 3  # a first call that took this many times the time to be measured is the measurement
SAMPLE_NS = 20_000  # short calls are timed in groups of at least this, far above the clock's own cost


def _elapsed(call: Callable[[], Any], count: int) -> int:
    start = time.perf_counter_ns()
    for _ in range(count):
        call()
    return time.perf_counter_ns() - start


def per_call(call: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """Median and least nanoseconds per call over `seconds` of calls, after a warm-up.

    The median is what is reported; where the machine is shared, the least shows what the median would be alone.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        warm_until, calls, spent = WARM_SECONDS * 1e9, 0, 0
        while spent < warm_until:
            spent += _elapsed(call, 1)
            calls += 1
        if spent > LONG * seconds * 1e9:  # what is cold in such a long call does not show
            return spent / calls, spent / calls
        group = max(1, round(SAMPLE_NS * calls / spent))
        samples, spent = [], 0
        while spent < seconds * 1e9:
            took = _elapsed(call, group)
            spent += took
            samples.append(took / group)
    finally:
        if collecting:
            gc.enable()
    return statistics.median(samples), min(samples)


def seconds_of_repeat(description: str | None) -> float:
    """The one option of a program that times its calls in turn."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each repeat")
    return float(parser.parse_args().seconds)


def in_turn(calls: list[Callable[[], Any]], seconds: float, repeats: int) -> list[list[float]]:
    """Microseconds of each call in each repeat, the order turned in every other one."""
    times: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats):
        for place in range(len(calls)) if repeat % 2 else reversed(range(len(calls))):
            times[place].append(per_call(calls[place], seconds)[0] / 1e3)
    return times
