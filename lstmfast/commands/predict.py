"""`lstmfast predict`: the outputs for every row of a file, a chunk at a time.

Next: sources.py, where the rows come from; results.py, where the outputs go.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from typing import Any

import numpy as np

from lstmfast import _core
from lstmfast._graph import flatten
from lstmfast._model import DEFAULT_BATCH
from lstmfast._progress import Progress
from lstmfast._version import __version__
from lstmfast.commands import DONE, USAGE, Failure, load
from lstmfast.commands.results import SUFFIXES, Result
from lstmfast.commands.sources import TABLES, ArrayFile, Member, Reshaped, Source, Table, Windows, digest, members
from lstmfast.models import Functional
from lstmfast.runtime import threads

Array = np.ndarray[Any, Any]

_CHUNK_BYTES = 32 << 20


def run(options: argparse.Namespace) -> int:
    """Compute and write."""
    started = time.perf_counter()
    _check_paths(options)
    model = load(options.file)
    sources = open_sources(model, options)
    rows = _agreed_rows(sources)
    lengths = _lengths(options, rows)
    batch = _batch(model, rows, options.batch_size)
    result = Result(
        options.output, rows, _identity(model, batch, options), options.header is not False, options.delimiter
    )
    repeatable = not (model.stateful or _draws(model))
    result.prepare(options.resume, options.force, repeatable)
    try:
        with threads(options.threads):
            _compute(model, sources, lengths, batch, result, options)
        shapes = ", ".join(f"{(rows, *shape)} {np.dtype(dtype).name}" for _, shape, dtype in result.layout)
        result.finish()
    except KeyboardInterrupt:
        done = result.done
        result.commit()
        result.close(keep=repeatable)
        again = "; --resume goes on from there" if repeatable and done else ""
        raise KeyboardInterrupt(f"interrupted after {done} of {rows} rows{again}") from None
    except BaseException as error:
        result.close(keep=repeatable and isinstance(error, OSError))
        raise
    if not options.quiet:
        print(f"{options.output}: {shapes} in {time.perf_counter() - started:.1f} s")
    return DONE


def _check_paths(options: argparse.Namespace) -> None:
    suffix = os.path.splitext(options.input)[1].lower()
    if suffix not in SUFFIXES:
        raise Failure(f"INPUT has to end in {', '.join(SUFFIXES)}, got '{options.input}'.")
    if suffix not in TABLES and options.columns:
        raise Failure(f"--columns is for tables, and '{options.input}' is none.")
    if suffix != ".npz" and options.map:
        raise Failure(f"--map is for .npz files, and '{options.input}' is none.")
    os.stat(options.input)
    for path in filter(None, (options.input, options.file, options.lengths)):
        if os.path.exists(options.output) and os.path.samefile(path, options.output):
            raise Failure(f"OUTPUT '{options.output}' is an input of this run.")


# -- inputs -------------------------------------------------------------------------------------------------------


def open_sources(model: Functional, options: argparse.Namespace) -> dict[str, Source]:
    """The rows of each input of the model, by its name."""
    path, suffix = options.input, os.path.splitext(options.input)[1].lower()
    if suffix == ".npz":
        chosen = _mapped(model, members(path), options)
        return {
            name: _shaped(model, position, Member(path, array), options, f"{path}, array '{array}'")
            for position, (name, array) in enumerate(chosen.items())
        }
    names = input_names(model)
    if len(names) > 1:
        raise Failure(f"The model has {len(names)} inputs ({', '.join(names)}): they come in a .npz file.")
    source: Source
    if suffix in TABLES:
        source = Table(path, options.delimiter, options.header, options.columns)
    else:
        source = ArrayFile(path)
    return {names[0]: _shaped(model, 0, source, options, path)}


def input_names(model: Functional) -> list[str]:
    """What the inputs are called where they are passed as a dict; one that is not known yet is "input"."""
    if not model.built:
        return ["input"]
    return sorted(model.input) if isinstance(model.input, dict) else model.input_names


def _mapped(model: Functional, there: list[str], options: argparse.Namespace) -> dict[str, str]:
    """The array of the file for each input."""
    names = input_names(model)
    pairs = [part.rpartition("=") for part in options.map]
    given = {name or names[0]: array for name, _, array in pairs}
    if len(given) < len(pairs) or (len(names) > 1 and any(not name for name, _, _ in pairs)):
        raise Failure(f"--map takes INPUT=ARRAY once for each of the inputs {', '.join(names)}.")
    for name in given:
        if name not in names:
            raise Failure(f"--map: the model has no input {name!r}; its inputs are {', '.join(names)}.")
    positional = [f"arr_{number}" for number in range(len(names))]  # as numpy.savez names what has no name
    chosen = {}
    for name, by_position in zip(names, positional):
        wanted = (
            [given[name]] if name in given else [name, by_position] + (there if len(names) == len(there) == 1 else [])
        )
        array = next((each for each in wanted if each in there), None)
        if array is None:
            listed = ", ".join(there) or "nothing"
            raise Failure(
                f"'{options.input}' holds no array {wanted[0]!r} for input {name!r}, but {listed}. "
                "--map INPUT=ARRAY says which is which."
            )
        chosen[name] = array
    return chosen


def _shaped(model: Functional, position: int, source: Source, options: argparse.Namespace, where: str) -> Source:
    """The rows in the shape that the model takes.

    Raises
    ------
    Failure
        If that cannot be.
    """
    if options.window is not None:
        if model.built and len(model.inputs) > 1:
            raise Failure("--window is for models with one input.")
        source = Windows(source, options.window, options.stride, f"'{where}'")
    elif options.stride != 1:
        raise Failure("--stride goes with --window.")
    if not model.built:
        model.build((None, *source.shape[1:]))
    port = model.plan().ports[position]
    if isinstance(source, Table):
        source = _unflattened(source, model.inputs[position].shape[1:], where)
    try:
        port.adjust(np.broadcast_to(np.float32(0), source.shape), position, model.name)
    except ValueError as error:
        hint = ""
        if options.window is None and len(source.shape) == port.ndim - 1:
            hint = " --window STEPS makes sequences of the rows of a table."
        raise Failure(f"'{where}': {error}.{hint}", USAGE) from error
    return source


def _unflattened(table: Table, shape: tuple[int | None, ...], where: str) -> Source:
    """A table whose lines are samples, with the axes of the model's input."""
    cells = table.shape[1]
    known, unknown = 1, 0
    for size in shape:
        known, unknown = known * (size or 1), unknown + (size is None)
    if len(shape) < 2:
        return table
    if unknown > 1 or cells % known or (not unknown and cells != known):
        takes = " x ".join("steps" if size is None else str(size) for size in shape)
        raise Failure(
            f"'{where}': a line has {cells} values, and a sample of the model {takes}: --window STEPS makes sequences "
            "of lines that are time steps, --columns chooses among their cells."
        )
    if unknown and cells == known > 1:
        raise Failure(
            f"'{where}': a line has {cells} values, one step of the model: --window STEPS says how many lines make a "
            "sequence, --window all that the whole table is one."
        )
    return Reshaped(table, tuple(cells // known if size is None else size for size in shape))


def _agreed_rows(sources: dict[str, Source]) -> int:
    counts = {name: source.shape[0] for name, source in sources.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise Failure(f"The inputs differ in their rows: {listed}.")
    return next(iter(counts.values()))


def _lengths(options: argparse.Namespace, rows: int) -> Array | None:
    """How many steps of each row count, where a file says so."""
    path = options.lengths
    if path is None:
        return None
    if options.window is not None:
        raise Failure("--lengths does not go with --window.")
    suffix = os.path.splitext(path)[1].lower()
    if suffix != ".npy" and suffix not in TABLES:
        raise Failure(f"--lengths takes a .npy, .csv or .tsv file, got '{path}'.")
    source: Source = ArrayFile(path) if suffix == ".npy" else Table(path, None, None, None)
    if source.shape not in ((rows,), (rows, 1)):
        raise Failure(f"'{path}' has the shape {source.shape}, expected one length for each of the {rows} rows.")
    lengths = source.read(0, rows).reshape(rows)
    whole = lengths.astype(np.int64)
    if (whole != lengths).any():
        raise Failure(f"'{path}' holds lengths that are no whole numbers.")
    return whole


# -- the work -----------------------------------------------------------------------------------------------------


def _batch(model: Functional, rows: int, asked: int | None) -> int | None:
    """The batch size; a stateful model is stepped by it."""
    if not model.stateful:
        return asked
    fixed = model.inputs[0].shape[0]
    batch: int = asked or fixed or DEFAULT_BATCH
    if (fixed is not None and batch != fixed) or rows % batch:
        expected = fixed or batch
        raise Failure(
            f"The model is stateful: it takes whole batches of {expected} rows, not {rows} rows in batches of {batch}."
        )
    return batch


def _draws(model: Functional) -> bool:
    """Whether the model draws random numbers."""
    return any(node.kwargs.get("training") for node in model._graph_nodes) or any(
        _draws(layer) for layer in model._layers if isinstance(layer, Functional) and layer.built
    )


def _identity(model: Functional, batch: int | None, options: argparse.Namespace) -> dict[str, Any]:
    """All that the bytes of the output depend on."""
    return {
        "model": digest(options.file),
        "input": digest(options.input),
        "version of lstmfast": __version__,
        "instruction set": _core.isa(),
        "options": [options.window, options.stride, options.columns, options.header, options.delimiter],
        "mapping": sorted(options.map),
        "lengths": options.lengths and digest(options.lengths),
        "dtype": options.dtype,
        "batch size": batch if model.stateful or model.plan().by_batch is not None else None,
    }


def _chunk_rows(model: Functional, sources: dict[str, Source], batch: int | None, asked: int | None) -> int:
    plan = model.plan()
    probes = [np.empty((0, *source.shape[1:])) for source in sources.values()]
    shapes = [port.adjust(probe, 0, model.name).shape[1:] for port, probe in zip(plan.ports, probes)]
    row_bytes = plan.row_bytes(shapes) + sum(8 * int(np.prod(shape, dtype=np.int64)) for shape in shapes)
    rows = asked or max(1, _CHUNK_BYTES // row_bytes)
    if model.stateful or plan.by_batch is not None:
        batch = batch or DEFAULT_BATCH
        return max(batch, rows // batch * batch)
    return rows


def _compute(
    model: Functional,
    sources: dict[str, Source],
    lengths: Array | None,
    batch: int | None,
    result: Result,
    options: argparse.Namespace,
) -> None:
    rows = _agreed_rows(sources)
    size = _chunk_rows(model, sources, batch, options.chunk_rows)
    dtype = options.dtype and np.dtype(options.dtype)
    first = result.done
    counted = batch or DEFAULT_BATCH
    shown = not options.quiet and sys.stderr.isatty()
    progress = Progress(-(-(rows - first) // counted), "auto" if shown else 0)
    while result.done < rows or not result.layout:
        start, stop = result.done, min(rows, result.done + size)
        x = {name: source.read(start, stop) for name, source in sources.items()}
        y = model.predict(
            x if len(x) > 1 else next(iter(x.values())),
            batch_size=batch,
            verbose=0,
            lengths=None if lengths is None else lengths[start:stop],
        )
        result.append([(name, _storable(array, dtype)) for name, array in named_outputs(model, y)])
        with contextlib.redirect_stdout(sys.stderr):
            progress.update(progress.target if stop == rows else (stop - first) // counted)


def named_outputs(model: Functional, y: Any) -> list[tuple[str, Array]]:
    """The arrays that a model gave, each with a name of its own."""
    if isinstance(y, dict):
        return list(y.items())
    arrays = flatten(y)
    names: list[str] = []
    for name in model.output_names:
        count, unique = 0, name
        while unique in names:
            count += 1
            unique = f"{name}.{count}"
        names.append(unique)
    return list(zip(names, arrays, strict=True))


def _storable(array: Array, dtype: np.dtype[Any] | None) -> Array:
    """The array in the type asked for; bfloat16, which files of NumPy do not know, becomes float32."""
    if dtype is None:
        dtype = np.dtype(np.float32) if array.dtype.kind == "V" or array.dtype.name == "bfloat16" else array.dtype
    return array.astype(dtype, copy=False)
