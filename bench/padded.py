"""Rows of different lengths, filled up and masked, beside as many whole ones: python -m bench.padded

A step computes the rows alone that it does not leave out, so the time should follow the part of the steps that count.
Outputs are compared with those of each row alone, cut to its length.
"""

from functools import partial
from statistics import median

import numpy as np

import lstmfast
from bench.timing import in_turn, seconds_of_repeat
from lstmfast import layers

# rows, steps, features, units
_CASES = [(8, 100, 64, 64), (32, 100, 64, 64), (256, 100, 16, 32), (1000, 60, 32, 64)]
_PADDINGS = {
    "behind": lambda time, lengths: time < lengths,
    "before": lambda time, lengths: time >= len(time) - lengths,
    "behind, sorted": lambda time, lengths: time < np.sort(lengths, axis=0),
    "holes": lambda time, lengths: np.random.default_rng(1).random((len(lengths), len(time))) < 0.5,
}
_REPEATS = 5


def check(layer: layers.LSTM, x: np.ndarray, mask: np.ndarray) -> None:
    """Compare some rows with what is left of them without their masked steps."""
    y = layer(x, mask=mask)
    for row in range(0, len(x), max(1, len(x) // 8)):
        alone = layer(np.ascontiguousarray(x[row : row + 1, mask[row]])) if mask[row].any() else 0 * y[row]
        np.testing.assert_array_equal(y[row], np.reshape(alone, -1))


def main() -> None:
    """Command line."""
    seconds = seconds_of_repeat(__doc__)
    print(f"{lstmfast.get_num_threads()} threads\n")
    print("| rows x steps x features, units | padding | valid | whole, us | padded, us | part of the time |")
    print("|---|---|---:|---:|---:|---:|")
    for rows, steps, features, units in _CASES:
        random = np.random.default_rng(0)
        x = random.uniform(-1, 1, (rows, steps, features)).astype("float32")
        lengths, layer = random.integers(0, steps + 1, (rows, 1)), layers.LSTM(units)
        layer(x)
        for name, padding in _PADDINGS.items():
            mask = padding(np.arange(steps), lengths)
            check(layer, x, mask)
            calls = [partial(layer, x), partial(layer, x, mask=mask)]
            times = in_turn(calls, seconds, _REPEATS)
            whole, padded = map(median, times)
            part = median(second / first for first, second in zip(*times, strict=True))
            shape = f"{rows} x {steps} x {features}, {units}"
            print(f"| {shape} | {name} | {mask.mean():.2f} | {whole:.0f} | {padded:.0f} | {part:.2f} |", flush=True)


if __name__ == "__main__":
    main()
