"""`lstmfast verify`: Keras's numbers, and the same bits whatever the batch, the threads and the steps.

Next: samples.py, peers.py and vectors.py, where inputs and expected outputs come from.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lstmfast._graph import flatten
from lstmfast.commands import DONE, NO, Failure, charts, load, peers, samples, timing, vectors
from lstmfast.commands.predict import input_names, open_sources
from lstmfast.models import Functional
from lstmfast.runtime import get_num_threads, threads
from lstmfast.saving.files import open_model

Array = np.ndarray[Any, Any]

_REPEATS, _SECONDS = 3, 0.06

# The largest difference allowed, relative to 1 + |y|: in float32; and where Keras rounds every result to less, which
# is not done here, as much as a few such roundings are.
_TOLERANCE = 2e-5
_OF_COARSE = {"float16": 4 * 2.0**-10, "bfloat16": 4 * 2.0**-7}


class Reference(NamedTuple):
    """What the outputs are held against."""

    title: str
    inputs: dict[str, Array]
    outputs: list[Array]
    calls: dict[str, Callable[[], Any]]  # what can be timed


class Check(NamedTuple):
    """One line of the report; ``passed`` is None where it does not apply."""

    what: str
    passed: bool | None
    text: str


def run(options: argparse.Namespace) -> int:
    """Compare, print, and store or draw what was asked for."""
    charts.check(options.plot)
    model = load(options.file)
    with open_model(options.file) as saved:
        version = saved.version
    reference = _reference(model, version, options)
    x = samples.as_input(reference.inputs)
    rows = len(next(iter(reference.inputs.values())))
    print(f"{'model':<12}{options.file}, written by Keras {version or 'unknown'}, {model.count_params():,} parameters")
    print(f"{'against':<12}{reference.title}, {rows} rows")
    ours = _run(model, x)
    tolerance = _allowed(model) if options.tolerance is None else options.tolerance
    difference, line = _compare(ours, reference.outputs, tolerance)
    checks = [line, *_same_bits(model, reference.inputs, ours)]
    for check in checks:
        state = {True: "PASS", False: "FAIL", None: "-"}[check.passed]
        print(f"{check.what:<12}{state:<6}{check.text}")
    if options.write_vectors:
        place = vectors.write(
            options.file, list(reference.inputs.values()), reference.outputs, reference.title, options.inside
        )
        print(f"{'vectors':<12}{place}")
    calls = {"lstmfast": lambda: model.predict(x, verbose=0), **reference.calls}
    timers = {name: _timer(call) for name, call in calls.items()}
    times = timing.interleaved(timers, _REPEATS)
    listed = ", ".join(f"{name} {timing.text(seconds)}" for name, seconds in times.items())
    print(f"{'time':<12}{listed} for {rows} rows")
    passed = all(check.passed is not False for check in checks)
    if options.plot:
        title = f"{os.path.basename(options.file)} against {reference.title}: {'PASS' if passed else 'FAIL'}"
        charts.differences(options.plot, title, difference, tolerance, times, rows)
        print(f"{'plot':<12}{options.plot}")
    print("PASS" if passed else "FAIL")
    return DONE if passed else NO


def _timer(call: Callable[[], Any]) -> Callable[[], float]:
    return lambda: timing.per_call(call, _SECONDS)


def _run(model: Functional, x: Any) -> list[Array]:
    """The outputs from zero state."""
    model.reset_states()
    return flatten(model.predict(x, batch_size=len(flatten(x)[0]), verbose=0))


# -- what to hold it against --------------------------------------------------------------------------------------


def _reference(model: Functional, version: str, options: argparse.Namespace) -> Reference:
    there = peers.keras_installed(version)
    needed = options.write_vectors or options.against == "keras"
    if options.inside and not options.write_vectors:
        raise Failure("--inside goes with --write-vectors.")
    if options.write_vectors and options.against == "vectors":
        raise Failure("--write-vectors takes them from live Keras, not from vectors.")
    if needed and not there:
        raise Failure(f"Live Keras needs {peers.keras_packages(version)} installed.")
    if there and options.against != "vectors":
        try:
            return _live(model, version, options)
        except Failure as failure:
            stored = None if needed else vectors.read(options.file)
            if stored is None:
                raise
            print(f"{'note':<12}{failure}")
            return _stored(model, stored)
    stored = vectors.read(options.file)
    if stored is None:
        live = "" if there else f", and live Keras needs {peers.keras_packages(version)} installed"
        raise Failure(
            f"Nothing to compare '{options.file}' with: there are no test vectors ('{vectors.beside(options.file)}', "
            f"or {vectors.MEMBER} inside){live}. 'lstmfast verify FILE --write-vectors' makes vectors where Keras is."
        )
    return _stored(model, stored)


def _live(model: Functional, version: str, options: argparse.Namespace) -> Reference:
    inputs = _inputs(model, options)
    calls = peers.keras_calls(peers.load_keras(options.file, version), inputs)
    outputs = flatten(calls[peers.PREDICT]())
    return Reference(peers.keras_title(version), inputs, outputs, dict(calls))


def _inputs(model: Functional, options: argparse.Namespace) -> dict[str, Array]:
    if options.input is None:
        return samples.draw(model, options.rows, options.steps, options.seed)
    tables: dict[str, Any] = {
        "window": None,
        "stride": 1,
        "columns": None,
        "header": None,
        "delimiter": None,
        "map": [],
    }
    sources = open_sources(model, argparse.Namespace(input=options.input, **tables))
    fixed = model.inputs[0].shape[0] if model.stateful else None
    rows = fixed or min(options.rows, *(source.shape[0] for source in sources.values()))
    return {
        name: port.adjust(np.array(source.read(0, rows)), position, model.name)
        for position, (port, (name, source)) in enumerate(zip(model.plan().ports, sources.items(), strict=True))
    }


def _stored(model: Functional, stored: vectors.Vectors) -> Reference:
    names = input_names(model) if model.built else ["input"]
    if len(names) != len(stored.inputs):
        raise Failure(f"'{stored.place}' has {len(stored.inputs)} inputs, and the model {len(names)}.")
    title = f"stored outputs of {stored.keras}"
    return Reference(title, dict(zip(names, stored.inputs)), stored.outputs, {})


# -- the checks ---------------------------------------------------------------------------------------------------


def _allowed(model: Functional) -> float:
    """The largest difference where none is asked for, by the types in which Keras computes the layers."""
    return max(_OF_COARSE.get(layer.compute_dtype, _TOLERANCE) for layer in model.all_layers())


def _compare(ours: list[Array], theirs: list[Array], tolerance: float) -> tuple[Array, Check]:
    """All differences relative to 1 + |y|, and what they come to."""
    if [array.shape for array in ours] != [array.shape for array in theirs]:
        text = f"shapes {[array.shape for array in ours]}, expected {[array.shape for array in theirs]}"
        return np.empty(0), Check("difference", False, text)
    largest = 0.0
    relatives = []
    for mine, expected in zip(ours, theirs):
        a, b = mine.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
        with np.errstate(invalid="ignore"):
            gap = np.abs(a - b)
        gap[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
        gap[np.isnan(gap)] = np.inf
        largest = max(largest, float(gap.max(initial=0)))
        size = 1 + np.abs(b)
        relatives.append(gap / np.where(np.isfinite(size), size, 1))
    relative = np.concatenate(relatives)
    worst = float(relative.max(initial=0))
    text = f"largest {largest:.2g}, relative to 1 + |y| {worst:.2g}; allowed {tolerance:.2g}"
    return relative, Check("difference", worst <= tolerance, text)


def _same_bits(model: Functional, inputs: dict[str, Array], ours: list[Array]) -> list[Check]:
    """That nothing but a row's own values decides its bits."""
    x = samples.as_input(inputs)
    if not _equal(_run(model, x), ours):
        return [Check("same bits", None, "the model draws random numbers: two calls differ")]
    checks = [_alone(model, inputs, ours)]
    counts = sorted({1, get_num_threads(), get_num_threads() + 1})
    equal = True
    for count in counts:
        with threads(count):
            equal = equal and _equal(_run(model, x), ours)
    checks.append(Check("same bits", equal, f"{', '.join(map(str, counts[:-1]))} and {counts[-1]} threads"))
    checks.append(_streamed(model, inputs, ours))
    return checks


def _alone(model: Functional, inputs: dict[str, Array], ours: list[Array]) -> Check:
    what = "each row alone"
    if any(tensor.shape[0] is not None for tensor in model.inputs):
        return Check("same bits", None, f"{what}: the model's batch size is fixed")
    mixing = model.plan().by_batch
    if mixing is not None:
        return Check("same bits", None, f"{what}: layer '{mixing.name}' goes by all rows of a batch")
    rows = len(ours[0])
    equal = True
    for row in range(rows):
        part = samples.as_input({name: array[row : row + 1] for name, array in inputs.items()})
        equal = equal and _equal(_run(model, part), [array[row : row + 1] for array in ours])
    return Check("same bits", equal, what)


def _streamed(model: Functional, inputs: dict[str, Array], ours: list[Array]) -> Check:
    what = "step by step as a stream"
    try:
        stream = model.stream(batch_size=len(ours[0]))
    except ValueError as error:
        return Check("same bits", None, f"{what}: {error}")
    timed = dict(zip(input_names(model), stream.timed, strict=True))
    counts = {array.shape[1] for name, array in inputs.items() if timed[name]}
    if len(counts) > 1:
        return Check("same bits", None, f"{what}: the inputs have {' and '.join(map(str, sorted(counts)))} steps")
    steps = []
    for step in range(counts.pop()):
        x = {name: array[:, step] if timed[name] else array for name, array in inputs.items()}
        steps.append(flatten(stream.step(samples.as_input(x))))
    equal = True
    for whole, parts, gives_sequence in zip(ours, zip(*steps), stream.gives_sequences, strict=True):
        streamed = np.stack(parts, axis=1) if gives_sequence else parts[-1]
        equal = equal and _equal([streamed], [whole])
    return Check("same bits", equal, what)


def _equal(first: list[Array], second: list[Array]) -> bool:
    """Whether all bits agree; every NaN counts as the same."""
    return len(first) == len(second) and all(
        a.shape == b.shape
        and a.dtype == b.dtype
        and bool(np.all((a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))))
        for a, b in zip(first, second)
    )
