"""Ctrl-C in the middle of long calls: how long each goes on. `python tests/interrupts.py [CASE]...` prints a table.

Each case is a process of its own that gets SIGINT after it has begun to compute, and says when KeyboardInterrupt came
and whether the model gives the same bits as before. Another process gets a signal every 2 ms, and says how long it was
at most between two of them that Python heard: a Ctrl-C at the worst moment waits as long. Beside it stands a process on
each processor that does nothing but wake every millisecond: a processor that is taken away, as hosts do from their
virtual machines, is silent to it as well, and its silence is none of the call's.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import lstmfast
from lstmfast import Input, Sequential, _core, layers

Case = tuple[Callable[..., Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]


def _zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, "float32")  # pages that are only read take no memory


def _model(*stack: layers.Layer, features: int) -> Sequential:
    return Sequential([Input((None, features)), *stack])


def _predict(model: Sequential) -> Callable[..., Any]:
    return lambda x: model.predict(x, verbose=0)  # no progress bar: standard output is for what is measured


def predict_rows() -> Case:
    """Sequential.predict, 2 000 000 rows"""
    model = _model(layers.LSTM(64, return_sequences=True), layers.LSTM(64), layers.Dense(1), features=8)
    return _predict(model), _zeros(2_000_000, 50, 8), _zeros(3, 50, 8)


def call_rows() -> Case:
    """model(x), 1 000 000 rows"""
    return _model(layers.LSTM(64), features=8), _zeros(1_000_000, 100, 8), _zeros(3, 50, 8)


def layer_rows() -> Case:
    """LSTM(256) of 20 000 rows"""
    layer = layers.LSTM(256)
    return layer, _zeros(20_000, 500, 16), _zeros(3, 50, 16)


def layer_steps() -> Case:
    """LSTM(256) of 1 000 000 steps, batch 1"""
    layer = layers.LSTM(256)
    return layer, _zeros(1, 1_000_000, 16), _zeros(1, 50, 16)


def long_rows() -> Case:
    """LSTM(128) of 2000 rows of 4096 steps, all returned"""
    layer = layers.LSTM(128, return_sequences=True)  # 2 MiB a row: each begins a page in the same slice
    return layer, _zeros(2000, 4096, 8), _zeros(3, 50, 8)


def large_units() -> Case:
    """GRU(2048), batch 1"""
    layer = layers.GRU(2048)
    layer.build((None, None, 64))
    random = np.random.default_rng(0)
    layer.set_weights([0.01 * random.standard_normal(spec.shape, "float32") for spec in layer._specs])
    return layer, _zeros(1, 100_000, 64), _zeros(1, 5, 64)


def masked_steps() -> Case:
    """LSTM(128) of 1 000 000 masked steps, batch 4"""
    layer = layers.LSTM(128, return_sequences=True)
    mask = np.broadcast_to(np.arange(1_000_000) % 3 > 0, (4, 1_000_000))
    return lambda x: layer(x, mask=mask[: len(x), : x.shape[1]]), _zeros(4, 1_000_000, 16), _zeros(2, 50, 16)


def padded_steps() -> Case:
    """LSTM(512), 1 row whose first 90 000 of 500 000 steps are masked"""
    layer = layers.LSTM(512, return_sequences=True)
    mask = np.arange(500_000)[None] >= 90_000
    return lambda x: layer(x, mask=mask[:, : x.shape[1]]), _zeros(1, 500_000, 16), _zeros(1, 50, 16)


def bidirectional() -> Case:
    """Bidirectional(LSTM(256)) of 20 000 steps, batch 32"""
    layer = layers.Bidirectional(layers.LSTM(256))
    return layer, _zeros(32, 20_000, 16), _zeros(3, 50, 16)


def dense() -> Case:
    """Dense(4096) of 200 000 rows"""
    layer = layers.Dense(4096)
    return layer, _zeros(200_000, 4096), _zeros(3, 4096)


def convolution() -> Case:
    """predict of Conv1D and LSTM, 100 000 rows"""
    model = _model(layers.Conv1D(64, 5), layers.LSTM(64), features=16)
    return _predict(model), _zeros(100_000, 200, 16), _zeros(3, 50, 16)


def image() -> Case:
    """Conv2D(16, 9) of one image of 3000 x 3000"""
    return layers.Conv2D(16, 9), _zeros(1, 3000, 3000, 8), _zeros(1, 20, 20, 8)


def frames() -> Case:
    """ConvLSTM2D(32, 5) of one film of 200 frames, 600 x 600, of which a single one takes long"""
    return layers.ConvLSTM2D(32, 5), _zeros(1, 200, 600, 600, 8), _zeros(1, 3, 20, 20, 8)


def films() -> Case:
    """ConvLSTM1D(16, 3) of 20 000 films of 50 frames"""
    return layers.ConvLSTM1D(16, 3), _zeros(20_000, 50, 300, 4), _zeros(2, 3, 20, 4)


def embedding() -> Case:
    """predict of Embedding and LSTM, 1 000 000 rows"""
    model = Sequential([Input((None,), dtype="int32"), layers.Embedding(5000, 100), layers.LSTM(64)])
    return _predict(model), np.zeros((1_000_000, 100), "int32"), np.zeros((3, 20), "int32")


def _row(call: Callable[..., Any]) -> Case:
    """A layer on one row of 512 MB, over and over: what NumPy computes may be done before the signal comes."""

    def run(x: np.ndarray[Any, Any]) -> Any:
        while x.shape[1] > 50:
            call(x)
        return call(x)

    return run, _zeros(1, 2_000_000, 64), np.ones((3, 50, 64), "float32")


def add() -> Case:
    """Add of 1 row of 2 000 000 steps, 64 features"""
    layer = layers.Add()
    return _row(lambda x: layer([x, x]))


def concatenate() -> Case:
    """Concatenate, the same row"""
    layer = layers.Concatenate()
    return _row(lambda x: layer([x, x]))


def batch_normalization() -> Case:
    """BatchNormalization, the same row"""
    return _row(layers.BatchNormalization())


def layer_normalization() -> Case:
    """LayerNormalization, the same row"""
    return _row(layers.LayerNormalization())


def max_pooling() -> Case:
    """MaxPooling1D, the same row"""
    return _row(layers.MaxPooling1D())


def average_pooling() -> Case:
    """GlobalAveragePooling1D, the same row"""
    return _row(layers.GlobalAveragePooling1D())


def softmax() -> Case:
    """Softmax over the steps, the same row"""
    return _row(layers.Softmax(axis=1))


def upsampling() -> Case:
    """UpSampling1D, the same row"""
    return _row(layers.UpSampling1D(2))


def converted() -> Case:
    """Rescaling, the same row as float64"""
    layer = layers.Rescaling(0.5)
    run, x, short = _row(layer)
    return run, np.zeros(x.shape), short.astype("float64")


def joined() -> Case:
    """Bidirectional(SimpleRNN(64)), all steps of 32 rows of 40 000"""
    layer = layers.Bidirectional(layers.SimpleRNN(64, return_sequences=True))
    run, _, _ = _row(layer)
    return run, _zeros(32, 40_000, 8), np.ones((3, 50, 8), "float32")


def stateful() -> Case:
    """a stateful model, 16 rows of 400 000 steps"""
    model = Sequential(
        [
            Input((None, 8), batch_size=16),
            layers.LSTM(128, stateful=True, return_sequences=True),
            layers.LSTM(128, stateful=True),
        ]
    )

    def states() -> np.ndarray[Any, Any]:
        return np.array([layer.states for layer in model.layers])

    def call(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if len(x) == 16:
            model(x)
        return states()

    model(_zeros(16, 3, 8))
    return call, _zeros(16, 400_000, 8), _zeros(3, 1, 1)


CASES = (
    predict_rows,
    call_rows,
    layer_rows,
    layer_steps,
    long_rows,
    large_units,
    masked_steps,
    padded_steps,
    bidirectional,
    dense,
    convolution,
    image,
    frames,
    films,
    embedding,
    stateful,
    add,
    concatenate,
    batch_normalization,
    layer_normalization,
    max_pooling,
    average_pooling,
    softmax,
    upsampling,
    converted,
    joined,
)


def run_case(name: str) -> None:
    """In the process that is interrupted: says "ready" before the long call, and afterwards what became of it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    run, long, short = globals()[name]()
    before = run(short)
    print("ready", flush=True)
    try:
        run(long)
    except KeyboardInterrupt:
        end = time.monotonic()
        print(end, np.array_equal(run(short), before), flush=True)
    else:
        print("finished", flush=True)


def watch_case(name: str, seconds: float) -> None:
    """In a process of its own: says how long Python heard no signal at most in so many seconds of the long call."""
    run, long, short = globals()[name]()
    run(short)
    heard = [0.0]

    def hear(*_: object) -> None:
        heard.append(time.perf_counter())
        if heard[-1] - heard[0] > seconds:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, hear)
    heard[0] = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    with contextlib.suppress(KeyboardInterrupt):
        run(long)
    signal.setitimer(signal.ITIMER_REAL, 0)
    heard.append(time.perf_counter())
    print(max(later - sooner for sooner, later in pairwise(heard)), flush=True)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__)), *arguments]
    paths = ":".join(path for path in sys.path if path)
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths}
    )


def longest_deafness(name: str, seconds: float) -> float:
    """Seconds between two signals that Python heard, at most, in so many seconds of the call."""
    with start("--watch", name, str(seconds)) as child:
        said = child.communicate()[0].split()
    if child.returncode or len(said) != 1:
        raise RuntimeError(f"{name}: the process failed")
    return float(said[0])


def latency(name: str, after: float) -> float:
    """Seconds from SIGINT, ``after`` seconds into the call, to KeyboardInterrupt.

    Raises
    ------
    RuntimeError
        If the call ended by itself, or the model has changed.
    """
    with start("--run", name) as child:
        assert child.stdout is not None
        try:
            if child.stdout.readline() != "ready\n":
                raise RuntimeError(f"{name}: the process did not start")
            time.sleep(after)
            begin = time.monotonic()
            child.send_signal(signal.SIGINT)
            words = child.stdout.readline().split()
        finally:
            child.kill()
    if words == ["finished"]:
        raise RuntimeError(f"{name}: the call ended before the signal came")
    if len(words) != 2 or words[1] != "True":
        raise RuntimeError(f"{name}: the model is not what it was: {words}")
    return float(words[0]) - begin


def stand_by(processor: int) -> None:
    """In a process of its own: says for how long this processor did not wake it at most, until standard input ends."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {processor})
    with contextlib.suppress(AttributeError, PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # else other processes count as silence, too
    woken, longest = time.perf_counter(), 0.0
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        before, woken = woken, time.perf_counter()
        longest = max(longest, woken - before)
    print(longest, flush=True)


@contextlib.contextmanager
def bystanders(silences: list[float]) -> Iterator[None]:
    """Notes for how long each processor did nothing at most, in seconds."""
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    with contextlib.ExitStack() as stack:
        standing = [stack.enter_context(start("--stand-by", str(processor))) for processor in processors]
        yield
        silences += [float(child.communicate()[0]) for child in standing]


def main(names: list[str]) -> None:
    print(
        f"lstmfast {lstmfast.__version__}, {lstmfast.get_num_threads()} threads, {_core.isa()}; milliseconds to "
        "KeyboardInterrupt, at most between two signals that are heard, and that a processor was silent itself\n"
        "| call | after 0.3 s | after 0.7 s | after 1.1 s | at most | the machine |\n|---|---|---|---|---|---|"
    )
    for case in CASES:
        if not names or case.__name__ in names:
            took = [latency(case.__name__, after) for after in (0.3, 0.7, 1.1)]
            silences: list[float] = []
            with bystanders(silences):
                took.append(longest_deafness(case.__name__, 4))
            took.append(max(silences))
            print(f"| {case.__doc__} | {' | '.join(f'{1000 * value:.0f}' for value in took)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_case(sys.argv[2])
    elif sys.argv[1:2] == ["--watch"]:
        watch_case(sys.argv[2], float(sys.argv[3]))
    elif sys.argv[1:2] == ["--stand-by"]:
        stand_by(int(sys.argv[2]))
    else:
        main(sys.argv[1:])
