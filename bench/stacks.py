"""Recurrent layers on top of each other, at once and one after the other: python -m bench.stacks

Both give the same bits. The core decides itself whether a stack runs at once, so a ratio of 1 says that it does not. It
depends on where the system has put the threads: the last column tells how long two of them take to meet.
"""

from functools import partial
from statistics import median
from typing import Any

import numpy as np

import lstmfast
from bench.machine import moment
from bench.timing import in_turn, seconds_of_repeat
from lstmfast import layers
from lstmfast._stack import Stack

# rows, steps, features, units of each layer
_CASES = [
    (1, 40, 1, (32, 32)),
    (1, 60, 1, (50, 50)),
    (1, 60, 1, (50, 50, 50, 50)),
    (1, 100, 8, (64, 32)),
    (1, 50, 128, (128, 128)),
    (4, 50, 8, (64, 64)),
    (1, 14, 8, (10, 10, 10)),
]
_REPEATS = 7


def one_after_the_other(runs: list[Any], x: np.ndarray) -> np.ndarray:
    """What the last layer gives, each having run to its end before the next begins."""
    for run in runs:
        x = run(x)
    return x


def main() -> None:
    """Command line."""
    seconds = seconds_of_repeat(__doc__)
    print(f"{lstmfast.get_num_threads()} threads\n")
    print("| rows x steps x features | units | one after the other, us | at once, us | times faster | to meet, ns |")
    print("|---|---|---:|---:|---:|---:|")
    for rows, steps, features, units in _CASES:
        x = np.random.default_rng(0).uniform(-1, 1, (rows, steps, features)).astype("float32")
        stack = [layers.LSTM(size, return_sequences=True) for size in units]
        one_after_the_other(stack, x)  # builds them
        runs = [layer.run_for({}) for layer in stack]
        calls = [partial(one_after_the_other, runs, x), partial(Stack(runs), x)]
        np.testing.assert_array_equal(*[call() for call in calls])
        times = in_turn(calls, seconds, _REPEATS)
        apart, together = map(median, times)
        ratio = median(first / second for first, second in zip(*times, strict=True))
        shape = " x ".join(map(str, (rows, steps, features)))
        now = moment(2)
        meeting = f"{now.meeting * 1e9:.0f}" if now and now.meeting else "-"
        figures = f"{apart:.1f} | {together:.1f} | {ratio:.2f} | {meeting}"
        print(f"| {shape} | {', '.join(map(str, units))} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
