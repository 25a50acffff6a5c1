"""Ctrl-C in the middle of long calls: how long each goes on. `python tests/interrupts.py [SECONDS]` prints a table.

Each case is a process of its own that gets SIGINT after it has begun to compute, and says when KeyboardInterrupt came
and whether the model gives the same bits as before.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lstmfast
from lstmfast import Input, Sequential, layers

Case = tuple[Callable[..., Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]


def _zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, "float32")  # pages that are only read take no memory


def _model(*stack: layers.Layer, features: int) -> Sequential:
    return Sequential([Input((None, features)), *stack])


def predict_rows() -> Case:
    """Sequential.predict, 2 000 000 rows"""
    model = _model(layers.LSTM(64, return_sequences=True), layers.LSTM(64), layers.Dense(1), features=8)
    return model.predict, _zeros(2_000_000, 50, 8), _zeros(3, 50, 8)


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
    return model.predict, _zeros(100_000, 200, 16), _zeros(3, 50, 16)


def embedding() -> Case:
    """predict of Embedding and LSTM, 1 000 000 rows"""
    model = Sequential([Input((None,), dtype="int32"), layers.Embedding(5000, 100), layers.LSTM(64)])
    return model.predict, np.zeros((1_000_000, 100), "int32"), np.zeros((3, 20), "int32")


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
    large_units,
    masked_steps,
    bidirectional,
    dense,
    convolution,
    embedding,
    stateful,
)


def run_case(name: str) -> None:
    """In the process that is interrupted: says "ready" before the long call, and afterwards what became of it."""
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


def latency(name: str, after: float) -> float:
    """Seconds from SIGINT, ``after`` seconds into the call, to KeyboardInterrupt.

    Raises
    ------
    RuntimeError
        If the call ended by itself, or the model has changed.
    """
    command = [sys.executable, str(Path(__file__)), "--run", name]
    paths = ":".join(path for path in sys.path if path)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin"}
    ) as child:
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


def main() -> None:
    tries = [0.3, 0.7, 1.1]
    print(f"lstmfast {lstmfast.__version__}, {lstmfast.get_num_threads()} threads; milliseconds to KeyboardInterrupt")
    for case in CASES:
        took = [1000 * latency(case.__name__, after) for after in tries]
        print(f"{' '.join(f'{value:6.1f}' for value in took)}  {case.__doc__}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_case(sys.argv[2])
    else:
        main()
