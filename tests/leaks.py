"""Looks for leaks from Python: each thing that can be done is done up to a million times, and memory has to stay flat.

`python tests/leaks.py` prints for each operation what is held more after it than after its warm-up, as Markdown: blocks
of Python's, bytes of the C heap, resident bytes. Exit status 1 where one grew. `--part 0.002` does that part of each
count. `make check-memory` runs it.
Next: test_long_runs.py has the short form, and shows that it fails where it should.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import pickle
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bits
import layer_cases
import memory
import numpy as np
from test_same_bits import stacked_model

import lstmfast
from lstmfast import Input, Sequential, _core, layers

# What may be held more at the end for reasons of its own: caches of free lists, arenas, the tables of interned names.
BLOCKS = 400
HEAP_BYTES = 128 << 10
RESIDENT_BYTES = 2 << 20
WARM_UP = 0.1

MILLION, FEWER, FEW = 10**6, 10**5, 10**4


@dataclasses.dataclass
class Growth:
    name: str
    times: int
    blocks: int
    heap: int | None
    resident: int

    @property
    def leaks(self) -> bool:
        return self.blocks > BLOCKS or (self.heap or 0) > HEAP_BYTES or self.resident > RESIDENT_BYTES

    def row(self) -> str:
        heap = "-" if self.heap is None else self.heap
        verdict = "GREW" if self.leaks else "ok"
        return f"| {self.name} | {self.times} | {self.blocks} | {heap} | {self.resident} | {verdict} |"


def fails(call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """The call has to raise what users are told about."""
    with contextlib.suppress(ValueError, TypeError, OSError, NotImplementedError):
        call(*arguments, **options)
        raise AssertionError(f"{call} did not fail")


def operations(folder: Path) -> dict[str, tuple[int, Callable[[], Any]]]:
    """name: how many times, what."""
    model, x = stacked_model(), bits.sequences(3, 5, 3)
    stream = model.stream(batch_size=3)
    lstm = layers.LSTM(9, return_sequences=True, return_state=True)
    lstm(x)
    mask, state = layer_cases.draw_mask(np.random.default_rng(0), "mixed", 3, 5), [np.zeros((3, 9), "float32")] * 2
    first, second = model.get_weights(), [weight[::-1].copy() for weight in model.get_weights()]
    path, broken = folder / "model.keras", folder / "broken.keras"
    model.save(path)
    broken.write_bytes(path.read_bytes()[:-700])
    packed = bits.packed("lstm", 3, 9)
    kinds = list(bits.CORE_KINDS)
    turn = [0]

    def streams() -> None:
        new = model.stream()
        new.step(x[:1, 0])
        new.state = new.state

    def pack() -> None:
        turn[0] += 1
        bits.run(bits.packed(kinds[turn[0] % len(kinds)], 3, 5 + turn[0] % 13), x)

    def build_layer() -> None:
        turn[0] += 1
        cell = (layers.LSTM, layers.GRU, layers.SimpleRNN)[turn[0] % 3](5)
        (layers.Bidirectional(cell) if turn[0] % 2 else cell)(x)

    def build_model() -> None:
        Sequential([Input((5, 3)), layers.GRU(4, return_sequences=True), layers.LSTM(3), layers.Dense(2)])(x)

    def swap_weights() -> None:
        turn[0] += 1
        model.set_weights((first, second)[turn[0] % 2])
        model(x)

    wrong_calls: list[Callable[[], None]] = [
        lambda: fails(model, x[..., :2]),
        lambda: fails(model.predict, np.zeros((2, 3, 4, 5), "float32")),
        lambda: fails(lstm, x, mask=mask[:, :2]),
        lambda: fails(lstm, x, initial_state=state[:1]),
        lambda: fails(stream.step, x[:, :2]),
        lambda: fails(model.set_weights, first[:-1]),
        lambda: fails(packed.run, x[..., :2], None, None, True, True, False, False, None, 0),
        lambda: fails(layers.LSTM, 0),
        lambda: fails(layers.LSTM, 3, activation="nothing"),
        lambda: fails(_core.PackedLayer, "lstm", first[0], first[0], None, bits.DEFAULTS["activation"], None),
        lambda: fails(lstmfast.lstm, x, first[0], first[1][:3], first[2]),
        lambda: fails(Sequential([Input((5, 3)), layers.LSTM(3)]).stream, 0),
    ]

    def fail() -> None:
        turn[0] += 1
        wrong_calls[turn[0] % len(wrong_calls)]()

    return {
        "predict": (MILLION, lambda: model.predict(x, verbose=0)),
        "call of a model": (MILLION, lambda: model(x)),
        "call of a layer with mask and state": (MILLION, lambda: lstm(x, mask=mask, initial_state=state)),
        "step of a stream": (MILLION, lambda: stream.step(x[:, 0])),
        "stream made, stepped, its state read and set": (MILLION, streams),
        "layer of the core packed and run": (MILLION, pack),
        "failed call": (MILLION, fail),
        "layer built and called": (FEWER, build_layer),
        "model built and called": (FEWER, build_model),
        "set_weights and a call": (FEWER, swap_weights),
        "model pickled and back": (FEW, lambda: pickle.loads(pickle.dumps(model))(x)),
        "file loaded": (FEW, lambda: lstmfast.load_model(path)),
        "broken file refused": (FEW, lambda: fails(lstmfast.load_model, broken)),
    }


def held() -> tuple[int, int | None, int]:
    resident = memory.resident_bytes()
    return sys.getallocatedblocks(), memory.heap_bytes(), resident


def growth(name: str, times: int, operation: Callable[[], Any]) -> Growth:
    """What `times` runs leave behind, after a warm-up."""
    for _ in range(max(60, int(WARM_UP * times))):
        operation()
    blocks, heap, resident = held()
    for _ in range(times):
        operation()
    blocks_after, heap_after, resident_after = held()
    heap_growth = None if heap is None or heap_after is None else heap_after - heap
    return Growth(name, times, blocks_after - blocks, heap_growth, resident_after - resident)


def planted(kind: str) -> Callable[[], Any]:
    """An operation that leaks, to show that it is seen: blocks of Python's, or bytes of the C heap."""
    if kind == "python":
        kept: list[Any] = []
        return lambda: kept.append([1.0])
    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    return lambda: malloc(ctypes.c_size_t(600))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=float, default=1.0, help="of each count")
    options = parser.parse_args(arguments)
    print(
        "| operation | times | blocks of Python | bytes of the C heap | resident bytes | |\n|---|---|---|---|---|---|"
    )
    leaks = 0
    with tempfile.TemporaryDirectory() as folder, lstmfast.threads(1):
        for name, (times, operation) in operations(Path(folder)).items():
            found = growth(name, max(1, int(times * options.part)), operation)
            leaks += found.leaks
            print(found.row(), flush=True)
    return bool(leaks)


if __name__ == "__main__":
    sys.exit(main())
