"""A soak: threads that do everything at once for minutes, every result held to the bits of a precomputed one.

`python tests/soak.py --minutes 30` prints what was done and what memory was held after each round, as Markdown; its
exit status is 1 where a bit was wrong, a call hung or memory grew. Each round has threads of its own, so that their end
is tested too; the first fifth of the rounds is warm-up. `make soak` runs it.
Next: test_long_runs.py has the short form, and shows that it fails where it should.
"""

from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import faulthandler
import itertools
import pickle
import random
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layer_cases
import memory
import numpy as np
import test_random_models
import test_streams
import tutorial_models
from bits import assert_same_bits

import lstmfast
from lstmfast import layers

Array = np.ndarray[Any, Any]

MOST_THREADS = 8
HANG_SECONDS = 120
GROWTH_BYTES = 16 << 20  # what allocators and caches may still take after the warm-up
_SEQUENCES = {"return_sequences": True}

# Beside the many small ones: models whose calls are worth a team, split by rows or by units.
# name: shape of a sample, rows, tokens of an Embedding in front (0: real input), layers for tutorial_models.build
LARGE: dict[str, tuple[tuple[int, ...], int, int, list[tuple[Any, ...]]]] = {
    "one row, many units": ((20, 16), 3, 0, [("LSTM", 256)]),
    "many rows": ((12, 8), 70, 0, [("LSTM", 100, _SEQUENCES), ("TimeDistributed", ("Dense", 4))]),
    "GRU": ((20, 9), 17, 0, [("GRU", 200, _SEQUENCES), ("GRU", 64, {"reset_after": False}), ("Dense", 3)]),
    "SimpleRNN": ((30, 5), 9, 0, [("SimpleRNN", 256), ("Dense", 3, {"activation": "softmax"})]),
    "Bidirectional": ((15, 6), 40, 0, [("Bidirectional", ("LSTM", 64)), ("Dense", 2)]),
    "Embedding": ((30,), 33, 50, [("Embedding", 50, 32, {"mask_zero": True}), ("LSTM", 96), ("Dense", 1)]),
    "encoder-decoder": (
        (20, 1),
        33,
        0,
        [("LSTM", 100), ("RepeatVector", 20), ("LSTM", 100, _SEQUENCES), ("TimeDistributed", ("Dense", 1))],
    ),
    "Dense": ((10, 300), 30, 0, [("Dense", 260, {"activation": "relu"}), ("GRU", 20)]),
}


@dataclasses.dataclass
class Subject:
    """A model with an input and what it gives, for its own weights and for a second list of them."""

    name: str
    model: Any
    x: Array
    weights: tuple[list[Array], list[Array]]
    expected: tuple[Array, Array]


@dataclasses.dataclass
class Streamed:
    name: str
    model: Any
    x: Array
    steps: Array  # (batch, steps, ...): what a stream gives


def subject(name: str, model: Any, x: Array) -> Subject:
    """Expected results from one thread, row after row."""
    first = model.get_weights()
    second = [np.ascontiguousarray(weight[::-1]) for weight in first]
    expected = []
    for weights in (second, first):
        model.set_weights(weights)
        expected.append(np.concatenate([model(x[row : row + 1]) for row in range(len(x))]))
    return Subject(name, model, x, (first, second), (expected[1], expected[0]))


def small_model(seed: int) -> tuple[Any, Array]:
    case = test_random_models.random_model(seed)
    source = lstmfast.Input(case.shape, dtype="int32" if case.tokens else "float32")
    return tutorial_models.build(lstmfast, source, case.layers, seed), case.inputs()


def large_model(name: str) -> tuple[Any, Array]:
    shape, rows, tokens, described = LARGE[name]
    numbers = np.random.default_rng(len(name))
    if tokens:
        x = numbers.integers(0, tokens, (rows, *shape)).astype("int32")
    else:
        x = numbers.uniform(-1, 1, (rows, *shape)).astype("float32")
    source = lstmfast.Input(shape, dtype=x.dtype.name)
    return tutorial_models.build(lstmfast, source, described, len(name)), x


class Soak:
    """The pool, the operations on it, and what came of them.

    Parameters
    ----------
    seed : int
        Of every choice.
    small : int
        How many random models, and random layers, the pool has beside the large ones.
    folder : path
        For saved models.
    """

    def __init__(self, seed: int, small: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        self.done: collections.Counter[str] = collections.Counter()
        self.values = 0
        self.errors: list[str] = []
        self.resident: list[int] = []
        self.counts: set[int] = set()
        self.lock = threading.Lock()
        self.swapping = threading.Lock()
        self.fresh_seeds = itertools.count(10**6 * (1 + seed))
        with lstmfast.threads(1):
            self.subjects = [subject(name, *large_model(name)) for name in LARGE]
            self.subjects += [subject(f"model {k}", *small_model(k)) for k in range(small)]
            self.swapped = subject("swapped", *large_model("many rows"))
            self.cases = self._layer_cases(small)
            self.streamed = []
            for name in test_streams.STREAMED:
                model = test_streams.model_of(name)
                steps = test_streams.outputs_so_far(model, test_streams.X)
                self.streamed.append(Streamed(name, model, test_streams.X, steps))
        self.operations: list[Callable[[random.Random], int]] = [
            *[self.predict] * 6,
            *[self.call_layer] * 3,
            *[self.step_stream] * 3,
            self.change_threads,
            self.set_weights_of_a_copy,
            self.swap_weights,
            *[self.read_swapped] * 2,
            self.save_and_load,
            self.pickle_and_copy,
            self.build_fresh,
            self.fail,
        ]

    @staticmethod
    def _layer_cases(count: int) -> list[tuple[Any, layer_cases.Case, list[Array]]]:
        found = []
        for kind, bidirectional in itertools.product(layer_cases.GATES, (False, True)):
            for seed in range(max(1, count // 4)):
                case = layer_cases.random_case(seed, kind, bidirectional)
                if not case.options.get("stateful"):
                    layer = layer_cases.build(layers, case)
                    found.append((layer, case, Soak._run_layer(layer, case)))
        return found

    @staticmethod
    def _run_layer(layer: Any, case: layer_cases.Case) -> list[Array]:
        return layer_cases.flatten(layer(case.inputs()[0], mask=case.masks()[0], initial_state=case.initial_state()))

    # -- operations: each compares and returns how many numbers it compared ----------------------------------------

    def predict(self, choose: random.Random) -> int:
        """Some rows of a shared model, whole or in slices, contiguous or not."""
        item = choose.choice(self.subjects)
        rows = sorted(choose.sample(range(len(item.x)), choose.randint(1, len(item.x))))
        x = item.x[rows]
        if choose.random() < 0.3:
            x = np.repeat(x, 2, axis=1)[:, ::2]
        if choose.random() < 0.5:
            y = item.model(x)
        else:
            y = item.model.predict(x, batch_size=choose.choice([None, 1, 3, 16, 32]), verbose=0)
        assert_same_bits(y, item.expected[0][rows], f"{item.name}, rows {rows}")
        return int(y.size)

    def call_layer(self, choose: random.Random) -> int:
        layer, case, expected = choose.choice(self.cases)
        outputs = self._run_layer(layer, case)
        assert_same_bits(outputs, expected, str(case))
        return sum(part.size for part in outputs)

    def step_stream(self, choose: random.Random) -> int:
        """A stream up to some step; then from a saved state again, or from the beginning."""
        item = choose.choice(self.streamed)
        rows = choose.randint(1, len(item.x))
        stream = item.model.stream(batch_size=rows)
        steps, cut, compared = item.x.shape[1], choose.randint(1, item.x.shape[1] - 1), 0
        saved = None
        for order in (range(steps), range(cut, steps)):
            for t in order:
                if t == cut:
                    if saved is None:
                        saved = stream.state
                    else:
                        stream.state = saved
                y = np.array(stream.step(item.x[:rows, t]))
                assert_same_bits(y, item.steps[:rows, t], f"stream of {item.name}, step {t}")
                compared += y.size
        stream.reset()
        assert_same_bits(np.array(stream.step(item.x[:rows, 0])), item.steps[:rows, 0], f"{item.name} after reset")
        return compared

    def change_threads(self, choose: random.Random) -> int:
        count = choose.choice([None, *range(1, MOST_THREADS + 1)])
        lstmfast.set_num_threads(count)
        self.counts.add(count or 0)
        return 0

    def set_weights_of_a_copy(self, choose: random.Random) -> int:
        item = choose.choice(self.subjects)
        mine = copy.deepcopy(item.model)
        for which in (1, 0):
            mine.set_weights(item.weights[which])
            assert_same_bits(mine(item.x), item.expected[which], f"{item.name} with weights {which}")
        return 2 * int(item.expected[0].size)

    def swap_weights(self, choose: random.Random) -> int:
        with self.swapping:
            self.swapped.model.set_weights(self.swapped.weights[choose.randrange(2)])
        return 0

    def read_swapped(self, choose: random.Random) -> int:
        """A model whose weights others swap: all old or all new."""
        y = self.swapped.model.predict(self.swapped.x, verbose=0)
        assert any(np.array_equal(y, expected) for expected in self.swapped.expected), "a mixture of weights"
        return int(y.size)

    def save_and_load(self, choose: random.Random) -> int:
        item = choose.choice(self.subjects)
        path = self.folder / f"{threading.get_ident()}.keras"
        item.model.save(path)
        y = lstmfast.load_model(path)(item.x)
        path.unlink()
        assert_same_bits(y, item.expected[0], f"{item.name}, saved and loaded")
        return int(y.size)

    def pickle_and_copy(self, choose: random.Random) -> int:
        item = choose.choice(self.subjects)
        y = pickle.loads(pickle.dumps(item.model))(item.x)
        assert_same_bits(y, item.expected[0], f"{item.name}, pickled")
        case = choose.choice(self.cases)
        assert_same_bits(self._run_layer(copy.deepcopy(case[0]), case[1]), case[2], f"copy of {case[1]}")
        return int(y.size)

    def build_fresh(self, choose: random.Random) -> int:
        """A model never seen before: in a batch as row by row."""
        seed = next(self.fresh_seeds)
        model, x = small_model(seed)
        alone = np.concatenate([model(x[row : row + 1]) for row in range(len(x))])
        assert_same_bits(model.predict(x, verbose=0), alone, f"fresh model {seed}")
        return int(alone.size)

    def fail(self, choose: random.Random) -> int:
        """Wrong calls raise, and the next right one is right."""
        item = choose.choice(self.subjects)
        wrong: Callable[[], Any]
        for wrong in (
            lambda: item.model(np.zeros((2, 3, 4, 5, 6))),
            lambda: item.model.set_weights(item.weights[0][:-1]),
            lambda: item.model(np.array([["a", "b"]])),
        ):
            try:
                wrong()
            except (ValueError, TypeError):
                continue
            raise AssertionError(f"{item.name}: a wrong call did not raise")
        return self.predict(choose)

    # -- running ------------------------------------------------------------------------------------------------

    def _do(self, operation: Callable[[random.Random], int], choose: random.Random) -> None:
        try:
            compared = operation(choose)
        except BaseException:
            self.errors.append(f"{operation.__name__}: {traceback.format_exc()}")
            return
        with self.lock:
            self.done[operation.__name__] += 1
            self.values += compared

    def _work(self, number: int, until: float) -> None:
        choose = random.Random(f"{self.seed} {number} {len(self.resident)}")
        while time.monotonic() < until and not self.errors:
            self._do(choose.choice(self.operations), choose)

    def run_round(self, seconds: float, workers: int) -> None:
        """One round of `workers` threads, then a look at memory."""
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self._work, args=(k, until), daemon=True) for k in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()) + HANG_SECONDS)
            if thread.is_alive():
                faulthandler.dump_traceback(all_threads=True)
                self.errors.append(f"a thread was not done {HANG_SECONDS} seconds after the round")
                return
        if memory.MEASURABLE:
            self.resident.append(memory.resident_bytes())

    @property
    def warm(self) -> int:
        """The round after which memory has to stay flat."""
        return len(self.resident) // 5

    @property
    def growth(self) -> int:
        """Bytes that the last round held more than the last one of the warm-up."""
        return self.resident[-1] - self.resident[self.warm] if self.resident else 0

    def run(self, seconds: float, rounds: int, workers: int = 8, allowed: int = GROWTH_BYTES) -> Soak:
        """Every operation once, so that the shortest soak has them all; then the rounds, `allowed` bytes of growth."""
        before = lstmfast.get_num_threads()
        try:
            for operation in dict.fromkeys(self.operations):
                self._do(operation, random.Random(self.seed))
            for _ in range(rounds):
                self.run_round(seconds / rounds, workers)
                if self.errors:
                    break
        finally:
            lstmfast.set_num_threads(before)
        if not self.errors and self.growth > allowed:
            self.errors.append(f"memory grew by {memory.mebibytes(self.growth)} after the warm-up")
        return self

    def report(self) -> str:
        lines = [
            f"{sum(self.done.values())} operations on {lstmfast._core.isa()}, {self.values} numbers compared, "
            f"thread counts {sorted(self.counts)} (0: the default), {len(self.errors)} errors.",
            "",
            "| operation | times |",
            "|---|---|",
            *(f"| {name} | {count} |" for name, count in sorted(self.done.items())),
            "",
            f"Resident memory after each round: {', '.join(memory.mebibytes(held) for held in self.resident)};",
            f"growth since round {self.warm + 1}: {memory.mebibytes(self.growth)}.",
        ]
        return "\n".join([*lines, *self.errors])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(options.seed, 48, Path(folder))
        soak.run(60 * options.minutes, options.rounds, options.workers)
    print(f"{options.workers} threads for {options.minutes:g} minutes, seed {options.seed}: {soak.report()}")
    return bool(soak.errors)


if __name__ == "__main__":
    sys.exit(main())
