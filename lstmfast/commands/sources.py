"""Inputs in files, read a range of rows at a time: .npy memory-mapped, .npz and .csv from front to end.

Next: predict.py.
"""

from __future__ import annotations

import csv
import hashlib
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

import numpy as np

from lstmfast.commands import FILE, Failure

Array = np.ndarray[Any, Any]

TABLES = {".csv": ",", ".tsv": "\t"}
_SAMPLES = 64
_SAMPLE_BYTES = 1 << 20

# What unpacking a damaged archive raises.
_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError)


class Source(Protocol):
    """Rows in a file; ``shape`` is that of all of them."""

    shape: tuple[int, ...]

    def read(self, start: int, stop: int) -> Array:
        """Rows from ``start`` to ``stop``; no later call asks for a smaller ``start``."""


class ArrayFile:
    """A .npy file, memory-mapped."""

    def __init__(self, path: str) -> None:
        try:
            self._array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise Failure(f"'{path}' is no .npy file of numbers, or is truncated: {error}", FILE) from error
        if not isinstance(self._array, np.ndarray):
            raise Failure(f"'{path}' is no .npy file, whatever its name says.", FILE)
        _check(self._array.shape, self._array.dtype, path)
        self.shape = self._array.shape

    def read(self, start: int, stop: int) -> Array:
        return self._array[start:stop]


class _Forward:
    """Rows that come one after the other; what was read and may be asked for again is kept."""

    shape: tuple[int, ...]

    def __init__(self, empty: Array) -> None:
        self._kept = empty  # the rows from _first on
        self._first = 0

    def read(self, start: int, stop: int) -> Array:
        end = self._first + len(self._kept)
        if start > end:
            self._skip(start - end)
        self._kept = self._kept[max(0, start - self._first) :]
        self._first, end = start, max(start, end)
        if stop > end:
            more = self._next(stop - end)
            self._kept = np.concatenate([self._kept, more]) if len(self._kept) else more
        return self._kept[: stop - start]

    def _next(self, rows: int) -> Array:
        raise NotImplementedError

    def _skip(self, rows: int) -> None:
        raise NotImplementedError


class Member(_Forward):
    """One array of a .npz file, unpacked as it is read."""

    def __init__(self, path: str, name: str) -> None:
        self._where = f"'{path}', array '{name}'"
        archive = zipfile.ZipFile(path)
        try:
            self._stream = archive.open(f"{name}.npy")
            major, _ = np.lib.format.read_magic(self._stream)
            read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            self.shape, fortran_order, self._dtype = read_header(self._stream)
        except ValueError as error:
            raise Failure(f"{self._where} is no array of numbers: {error}", FILE) from error
        except (*_DAMAGES, RuntimeError, SyntaxError, tokenize.TokenError, TypeError) as error:
            raise Failure(f"{self._where} is damaged: {error}", FILE) from error
        _check(self.shape, self._dtype, self._where)
        if fortran_order and len(self.shape) > 1:
            raise Failure(f"{self._where} is in Fortran order: save it with np.ascontiguousarray.")
        super().__init__(np.empty((0, *self.shape[1:]), self._dtype))
        self._row_bytes = self._dtype.itemsize
        for size in self.shape[1:]:
            self._row_bytes *= size

    def _next(self, rows: int) -> Array:
        content = self._take(rows * self._row_bytes)
        return np.frombuffer(content, self._dtype).reshape(rows, *self.shape[1:])

    def _skip(self, rows: int) -> None:
        left = rows * self._row_bytes
        while left:
            left -= len(self._take(min(left, _SAMPLE_BYTES)))

    def _take(self, size: int) -> bytes:
        try:
            content = self._stream.read(size)
        except _DAMAGES as error:
            raise Failure(f"{self._where} is damaged: {error}", FILE) from error
        if len(content) < size:
            raise Failure(f"{self._where} ends before its last row.", FILE)
        return content


class Table(_Forward):
    """The chosen columns of a .csv file, (rows, columns) in float64; blank lines do not count."""

    def __init__(self, path: str, delimiter: str | None, header: bool | None, columns: str | None) -> None:
        self._path = path
        self._delimiter = delimiter or TABLES[os.path.splitext(path)[1].lower()]
        if len(self._delimiter) != 1:
            raise Failure(f"--delimiter takes one character, got {delimiter!r}.")
        first = list(islice((cells for _, cells in self._cells()), 2))
        if not first:
            raise Failure(f"'{path}' is empty.")
        self.names = first[0] if (_is_header(first) if header is None else header) else None
        if header is None and self.names is None and first[0] == [str(number) for number in range(len(first[0]))]:
            warnings.warn(
                f"'{path}' begins with the line {','.join(first[0])[:40]}, which is read as numbers: --header says "
                "that they are names, --no-header that they are not.",
                stacklevel=2,
            )
        self._width = len(first[0])
        self._columns = self._chosen(columns)
        with self._open() as file:
            rows = sum(1 for line in file if line.strip()) - (self.names is not None)
        self.shape = (rows, len(self._columns))
        self._lines = self._data_lines()
        super().__init__(np.empty((0, len(self._columns))))

    def _open(self) -> Any:
        return open(self._path, encoding="utf-8-sig", errors="replace")

    def _data_lines(self) -> Iterator[tuple[int, str]]:
        """The lines with data and their numbers, as they stand in the file."""
        header = self.names is not None
        with self._open() as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    if not header:
                        yield number, line
                    header = False

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        with self._open() as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, self._split(line)

    def _split(self, line: str) -> list[str]:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=self._delimiter, skipinitialspace=True))]

    def _chosen(self, columns: str | None) -> list[int]:
        if columns is None:
            return list(range(self._width))
        found: list[int] = []
        for part in columns.split(","):
            part = part.strip()
            first, _, last = part.partition("-")
            if self.names is not None and part in self.names:
                found.append(self.names.index(part))
            elif first.isdigit() and (last or first).isdigit() and 1 <= int(first) <= int(last or first) <= self._width:
                found.extend(range(int(first) - 1, int(last or first)))
            else:
                there = f"'{self._path}' has {self._width} columns"
                names = f", called {', '.join(self.names)}" if self.names is not None else " and no header"
                raise Failure(f"--columns: there is no column {part!r}; {there}{names}.")
        return found

    def _next(self, rows: int) -> Array:
        lines = list(islice(self._lines, rows))
        if len(lines) < rows:
            raise Failure(f"'{self._path}' became shorter while it was read.", FILE)
        separators = self._width - 1
        if any(self._separators(line) != separators for _, line in lines):
            self._explain(lines)
        try:
            return np.loadtxt(
                [line for _, line in lines],
                np.float64,
                comments=None,
                delimiter=self._delimiter,
                usecols=self._columns,
                ndmin=2,
                quotechar='"',
            )
        except ValueError as error:
            self._explain(lines)
            raise Failure(f"'{self._path}': {error}") from error

    def _separators(self, line: str) -> int:
        return len(self._split(line)) - 1 if '"' in line else line.count(self._delimiter)

    def _skip(self, rows: int) -> None:
        next(islice(self._lines, rows - 1, None), None)

    def _explain(self, lines: list[tuple[int, str]]) -> None:
        """Raise a Failure about the first line that is no row of the table."""
        for number, line in lines:
            cells = self._split(line)
            where = f"'{self._path}', line {number}"
            if len(cells) != self._width:
                raise Failure(f"{where}: {len(cells)} cells, but {self._width} in the first line.")
            for column in self._columns:
                if not _is_number(cells[column]):
                    name = f" ({self.names[column]})" if self.names is not None else ""
                    raise Failure(
                        f"{where}, column {column + 1}{name}: {cells[column]!r} is no number; --columns leaves out "
                        "columns that hold something else."
                    )


class Windows:
    """Every run of ``steps`` rows of a table, from each ``stride``-th row on: (windows, steps, ...)."""

    def __init__(self, table: Source, steps: int, stride: int, where: str) -> None:
        rows = table.shape[0]
        self._table, self._steps, self._stride = table, steps or rows, stride
        if not 0 < self._steps <= rows:
            raise Failure(f"{where} has {rows} rows, too few for a window of {self._steps or 1}.")
        self.shape = ((rows - self._steps) // stride + 1, self._steps, *table.shape[1:])

    def read(self, start: int, stop: int) -> Array:
        if stop <= start:
            return np.empty((0, *self.shape[1:]))
        first = start * self._stride
        rows = self._table.read(first, (stop - 1) * self._stride + self._steps)
        windows = np.lib.stride_tricks.sliding_window_view(rows, self._steps, axis=0)[:: self._stride]
        return np.moveaxis(windows, -1, 1)


class Reshaped:
    """Rows of another shape with as many values."""

    def __init__(self, rows: Source, shape: tuple[int, ...]) -> None:
        self._rows = rows
        self.shape = (rows.shape[0], *shape)

    def read(self, start: int, stop: int) -> Array:
        return self._rows.read(start, stop).reshape(stop - start, *self.shape[1:])


def members(path: str) -> list[str]:
    """The names of the arrays in a .npz file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name[: -len(".npy")] for name in archive.namelist() if name.endswith(".npy")]
    except zipfile.BadZipFile as error:
        raise Failure(f"'{path}' is no .npz file, or is truncated: {error}", FILE) from error


def digest(path: str) -> str:
    """A digest of a file: of all of it where it is small, else of evenly spaced parts, its size and its time."""
    size = os.path.getsize(path)
    found = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            while block := file.read(_SAMPLE_BYTES):
                found.update(block)
        else:
            found.update(str(os.stat(path).st_mtime_ns).encode())
            for part in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * part // (_SAMPLES - 1))
                found.update(file.read(_SAMPLE_BYTES))
    return found.hexdigest()


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    if not shape:
        raise Failure(f"{where} holds one number, not rows.")
    if dtype.kind not in "fbiu":
        raise Failure(f"{where} holds {dtype}, and real numbers are needed.")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _is_header(lines: list[list[str]]) -> bool:
    """Whether the first line names columns: it holds text where the second, if there is one, holds a number."""
    if len(lines) == 1:
        return not any(map(_is_number, lines[0]))
    gaps = ("", "na", "n/a", "null", "none", "-", "?")
    return any(not _is_number(name) and name.lower() not in gaps and _is_number(cell) for name, cell in zip(*lines))
