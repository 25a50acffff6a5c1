"""Libraries that run a model, each in a process of its own, so that its threads are its own.

Next: bench.py; peers.py.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from lstmfast._graph import flatten
from lstmfast.commands import timing

Array = np.ndarray[Any, Any]
Calls = dict[str, Callable[[], Any]]


class Job(NamedTuple):
    """What a process runs."""

    library: str  # "lstmfast", "keras" or "onnxruntime"
    model: str  # path of the .keras or .h5 file
    keras_version: str
    onnx: str | None  # path of the .onnx file
    threads: int


class RunnerError(RuntimeError):
    """A process failed, or died."""


class Runner:
    """The parent's end of a process."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, job, list(sys.path)), daemon=True)
        kept = {name: os.environ.get(name) for name in _environment(job.threads)}
        os.environ.update(_environment(job.threads))
        try:
            self._process.start()
        finally:
            for name, value in kept.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
        there.close()

    def prepare(self, inputs: dict[str, Array]) -> dict[str, list[Array]]:
        """Make ready for inputs; returns the outputs by the names of the calls."""
        found: dict[str, list[Array]] = self._ask("prepare", inputs)
        return found

    def time(self, name: str, seconds: float) -> float:
        """Median seconds of a call."""
        found: float = self._ask("time", (name, seconds))
        return found

    def close(self) -> None:
        """End the process."""
        self._here.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, command: str, argument: Any) -> Any:
        try:
            self._here.send((command, argument))
            failed, answer = self._here.recv()
        except (EOFError, OSError):
            self._process.join(5)
            raise RunnerError(f"its process ended with status {self._process.exitcode}") from None
        if failed:
            raise RunnerError(answer)
        return answer


def _environment(threads: int) -> dict[str, str]:
    """Holds every library to a number of threads."""
    names = ("LSTMFAST_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return {"TF_NUM_INTEROP_THREADS": "1", **dict.fromkeys(names, str(threads))}


def _serve(connection: Connection, job: Job, paths: list[str]) -> None:
    """The process: answers until its parent goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which closes the pipe
    sys.path[:] = paths
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    open_calls: Callable[[dict[str, Array]], Calls] | None = None
    calls: Calls = {}
    while True:
        try:
            command, argument = connection.recv()
        except (EOFError, OSError):
            return
        try:
            if command == "prepare":
                if open_calls is None:
                    open_calls = _OPENERS[job.library](job)
                calls = open_calls(argument)
                answer: Any = {name: list(map(np.asarray, flatten(call()))) for name, call in calls.items()}
            else:
                name, seconds = argument
                answer = timing.per_call(calls[name], seconds)
            connection.send((False, answer))
        except Exception as error:  # whatever a library raises
            first = str(error).strip().splitlines()[:1]
            connection.send((True, " ".join([f"{type(error).__name__}:", *first])))


def _open_lstmfast(job: Job) -> Callable[[dict[str, Array]], Calls]:
    from lstmfast.commands import load, samples

    model = load(job.model)

    def calls(inputs: dict[str, Array]) -> Calls:
        x = samples.as_input(inputs)
        batch = len(next(iter(inputs.values()))) if model.stateful else None
        model.reset_states()
        return {"lstmfast": lambda: model.predict(x, batch_size=batch, verbose=0)}

    return calls


def _open_keras(job: Job) -> Callable[[dict[str, Array]], Calls]:
    from lstmfast.commands import peers

    model = peers.load_keras(job.model, job.keras_version)
    return lambda inputs: peers.keras_calls(model, inputs)


def _open_onnx(job: Job) -> Callable[[dict[str, Array]], Calls]:
    from lstmfast.commands import peers

    return lambda inputs: {peers.ONNX: peers.onnx_call(str(job.onnx), inputs, job.threads)}


_OPENERS = {"lstmfast": _open_lstmfast, "keras": _open_keras, "onnxruntime": _open_onnx}
