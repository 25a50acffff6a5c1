"""`lstmfast bench`: how long a model takes on this machine, beside other libraries on the same work.

Next: runners.py, the processes; timing.py, the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lstmfast import Input, _core, layers
from lstmfast._version import __version__
from lstmfast.commands import DONE, FILE, NO, Failure, charts, load, peers, samples, timing
from lstmfast.commands.config import version
from lstmfast.commands.runners import Job, Runner, RunnerError
from lstmfast.models import Functional, Sequential
from lstmfast.runtime import get_num_threads
from lstmfast.saving.files import open_model

Array = np.ndarray[Any, Any]

_US = "lstmfast"
_TOLERANCE = 1e-4  # of the largest output; a wrong gate is further off
_BUSY = 0.5
_SEED = 1
_WIDTH = 20


def run(options: argparse.Namespace) -> int:
    """Check, time, print and draw."""
    charts.check(options.plot)
    if options.onnx is not None:
        os.stat(options.onnx)
        if importlib.util.find_spec("onnxruntime") is None:
            raise Failure("--onnx needs onnxruntime, which is not installed.")
    with tempfile.TemporaryDirectory() as folder:
        path = options.file
        if path is None:
            path = str(Path(folder, "lstm.keras"))
            _built_in(options.steps).save(path)
        model = load(path)
        with open_model(path) as saved:
            keras_version = saved.version
        libraries = _libraries(keras_version, options)
        _print_head(model, options, libraries, keras_version)
        found: dict[int, charts.Times] = {}
        wrong = False
        for threads in options.threads or sorted({1, get_num_threads()}):
            jobs = [Job(name, path, keras_version, options.onnx, threads) for name in libraries]
            found[threads], failed = _measure(model, jobs, options)
            wrong = wrong or failed
    if options.plot:
        head = f"{options.file or 'LSTM(128) on 64 features'}, {options.steps} steps where open, on {_cpu()}"
        how = f"{', '.join(libraries.values())}; median of {options.repeats} interleaved repeats"
        title = f"{head}\n{how}"
        charts.times(options.plot, title, found)
        print(f"plot: {options.plot}")
    return NO if wrong else DONE


def _built_in(steps: int) -> Functional:
    return Sequential([Input((steps, 64)), layers.LSTM(128), layers.Dense(1)])


def _libraries(keras_version: str, options: argparse.Namespace) -> dict[str, str]:
    """The libraries that take part, with their versions."""
    found = {_US: f"lstmfast {__version__} ({_core.isa()})"}
    if not options.no_keras and peers.keras_installed(keras_version):
        found["keras"] = peers.keras_title(keras_version)
    if options.onnx is not None:
        found["onnxruntime"] = f"ONNX Runtime {version('onnxruntime')}"
    return found


def _print_head(model: Functional, options: argparse.Namespace, libraries: dict[str, str], keras_version: str) -> None:
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
    print(f"{options.file or 'built-in LSTM'}: {model.count_params():,} parameters, inputs {shapes}")
    print(f"{_cpu()}; {', '.join(libraries.values())}")
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > _BUSY:
        print(f"This machine is busy (load {os.getloadavg()[0]:.1f}): expect noise, most of all on several threads.")
    if len(libraries) == 1 and not options.no_keras:
        needed = peers.keras_packages(keras_version)
        print(f"lstmfast alone: Keras joins where {needed} are installed, ONNX Runtime with --onnx FILE.onnx.")


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _measure(model: Functional, jobs: list[Job], options: argparse.Namespace) -> tuple[charts.Times, bool]:
    """Seconds by library and batch size with one number of threads, and whether a library was wrong."""
    threads = jobs[0].threads
    print(f"\n{threads} thread{'s' if threads > 1 else ''}")
    found: charts.Times = {}
    wrong, columns = False, set[str]()
    with contextlib.ExitStack() as stack:
        runners = {job.library: Runner(job) for job in jobs}
        for runner in runners.values():
            stack.callback(runner.close)
        for batch in _batches(model, options.batch):
            inputs = samples.draw(model, batch, options.steps, _SEED, padded=False)
            timers, notes = _prepared(runners, inputs)
            wrong = wrong or any("wrong" in note for note in notes)
            seconds = timing.interleaved(
                {name: _timer(runner, name, options.seconds) for name, runner in timers.items()}, options.repeats
            )
            if set(seconds) != columns:
                columns = set(seconds)
                print(f"  {'rows':>8}  " + "".join(name.ljust(_WIDTH) for name in seconds).rstrip())
            cells = [_cell(seconds[name], seconds[_US], name) for name in seconds]
            print(f"  {batch:>8}  {''.join(cells).rstrip()}", flush=True)
            for note in notes:
                print(f"            {note}")
            for name, each in seconds.items():
                found.setdefault(name, {})[batch] = each
    return found, wrong


def _cell(seconds: float, ours: float, name: str) -> str:
    ratio = seconds / ours
    beside = "" if name == _US else f"  {ratio:.2f}x" if ratio < 10 else f"  {ratio:,.0f}x"
    return f"{timing.text(seconds)}{beside}".ljust(_WIDTH)


def _timer(runner: Runner, name: str, seconds: float) -> Any:
    return lambda: runner.time(name, seconds)


def _batches(model: Functional, asked: list[int]) -> list[int]:
    fixed = {tensor.shape[0] for tensor in model.inputs if tensor.shape[0] is not None}
    return sorted(fixed or set(asked))


def _prepared(runners: dict[str, Runner], inputs: dict[str, Array]) -> tuple[dict[str, Runner], list[str]]:
    """The calls that give lstmfast's outputs, and what is to be said of the others."""
    try:
        expected = runners[_US].prepare(inputs)[_US]
    except RunnerError as error:
        raise Failure(f"lstmfast failed: {error}", FILE) from error
    timers, notes = {_US: runners[_US]}, []
    for library, runner in runners.items():
        if library == _US:
            continue
        try:
            given = runner.prepare(inputs)
        except RunnerError as error:
            notes.append(f"{library} is left out: {error}")
            continue
        for name, outputs in given.items():
            fault = _fault(outputs, expected)
            if fault:
                notes.append(f"{name} is left out, wrong: {fault}")
            else:
                timers[name] = runner
    return timers, notes


def _fault(outputs: list[Array], expected: list[Array]) -> str:
    """What is wrong with outputs; nothing where they agree."""
    if [array.shape for array in outputs] != [array.shape for array in expected]:
        return f"shapes {[array.shape for array in outputs]}, expected {[array.shape for array in expected]}"
    for given, right in zip(outputs, expected):
        size = max(1.0, float(np.abs(right).max(initial=0)))
        off = float(np.abs(given.astype(np.float64) - right).max(initial=0))
        if not off <= _TOLERANCE * size:
            return f"off by {off:.2g}"
    return ""
