"""Outputs on their way into a file: whole or not at all, and resumable.

OUTPUT.part/ holds one file for each output (or the one table), and journal.json, which says how many rows and bytes of
them are safe on the disk, and what was computing them. At the end OUTPUT takes its place in one step.
Next: predict.py.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import os
import shutil
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstmfast._files import sync, sync_folder
from lstmfast.commands import FILE, Failure
from lstmfast.commands.sources import TABLES

Array = np.ndarray[Any, Any]
Layout = list[tuple[str, tuple[int, ...], str]]  # name, shape of a row and dtype of each output

SUFFIXES = (".npy", ".npz", *TABLES)
# Making rows safe may take this share of the time: so often is the journal written.
_COMMIT_SHARE = 0.05
_FORMAT = 1
_JOURNAL, _FRESH, _WHOLE, _PART = "journal.json", "journal.new", "whole", "output{}"
_MOST_OUTPUTS = 1000


class Result:
    """The rows of an output file, as far as they are computed.

    Parameters
    ----------
    path : str
        Of the output; its suffix decides the format.
    rows : int
        How many there will be.
    identity : dict
        What the bytes depend on; an earlier run is continued only where it was the same.
    names : bool
        Whether a table begins with a line of names.
    delimiter : str, optional
        Of a table.
    """

    def __init__(self, path: str, rows: int, identity: dict[str, Any], names: bool, delimiter: str | None) -> None:
        self._path = os.path.realpath(path)
        self._folder = self._path + ".part"
        self._suffix = os.path.splitext(path)[1].lower()
        self._rows = rows
        self._identity = {**identity, "rows": rows, "suffix": self._suffix}
        self._names = names
        self._delimiter = delimiter or TABLES.get(self._suffix, ",")
        self._layout: Layout = []
        self._files: list[Any] = []
        self._open = contextlib.ExitStack()
        self._lock: int | None = None
        self._reached: tuple[int, list[int]] = (0, [])  # rows, and the bytes of each file that hold them
        self._safe = -1  # rows that the journal names
        self._commit_at = 0.0

    @property
    def layout(self) -> Layout:
        """Of the outputs; empty before the first rows are there."""
        return self._layout

    @property
    def done(self) -> int:
        """How many rows are there."""
        return self._reached[0]

    def prepare(self, resume: bool, force: bool, repeatable: bool) -> None:
        """Look at what is there already; only a ``repeatable`` run is continued, another begins again.

        Raises
        ------
        Failure
            If the output exists, or an earlier run left something behind and neither option says what to do with it.
        """
        if self._suffix not in SUFFIXES:
            raise Failure(f"OUTPUT has to end in {', '.join(SUFFIXES)}, got '{self._path}'.")
        if os.path.lexists(self._path) and not force:
            raise Failure(f"'{self._path}' exists: --force replaces it.")
        if os.path.isdir(self._path):
            raise Failure(f"'{self._path}' is a directory.")
        if not os.path.isdir(os.path.dirname(self._path)):
            raise Failure(f"'{os.path.dirname(self._path)}' is no directory.", FILE)
        if not os.path.lexists(self._folder):
            return
        if not os.path.isdir(self._folder) or not set(os.listdir(self._folder)) <= self._own_names():
            raise Failure(f"'{self._folder}' is in the way, and was not made by lstmfast.")
        if not resume and not force:
            raise Failure(f"'{self._folder}' is what an earlier run left: --resume continues it, --force discards it.")
        self._take_lock()
        try:
            continued = resume and repeatable and self._reopen()
        except BaseException:
            self._release_lock()
            raise
        if not continued:
            self._discard()

    def append(self, outputs: list[tuple[str, Array]]) -> None:
        """Take the outputs of the next rows.

        Raises
        ------
        Failure
            If the format cannot hold them.
        """
        layout: Layout = [(name, array.shape[1:], array.dtype.str) for name, array in outputs]
        if not self._files:
            self._begin(layout)
        elif layout != self._layout:
            raise Failure(f"The outputs changed their shapes on the way: first {self._layout}, then {layout}.")
        arrays = [array for _, array in outputs]
        if self._suffix in TABLES:
            self._files[0].write(_lines(arrays, self._delimiter))
        else:
            for file, array in zip(self._files, arrays):
                file.write(np.ascontiguousarray(array).tobytes())
        self._reached = (self.done + len(arrays[0]), [file.tell() for file in self._files])
        if time.monotonic() >= self._commit_at:
            self.commit()

    def commit(self) -> None:
        """Make what was appended safe, so that a later run can go on from here."""
        done, sizes = self._reached
        if self._safe == done or not self._files:
            return
        before = time.monotonic()
        for file in self._files:
            sync(file)
        journal = {
            "format": _FORMAT,
            "identity": self._identity,
            "layout": self._layout,
            "done": done,
            "bytes": sizes,
        }
        fresh = os.path.join(self._folder, _FRESH)
        with open(fresh, "wb") as file:
            file.write(json.dumps(journal).encode())
            sync(file)
        os.replace(fresh, self._journal)
        sync_folder(self._folder)
        after = time.monotonic()
        self._safe = done
        self._commit_at = after + (after - before) / _COMMIT_SHARE

    def finish(self) -> None:
        """Put the file into its place."""
        self.commit()
        self._open.close()
        whole = self._part(0)
        if self._suffix == ".npz":
            whole = os.path.join(self._folder, _WHOLE)
            with open(whole, "wb") as file:
                with zipfile.ZipFile(file, "w") as archive:
                    for number, (name, _, _) in enumerate(self._layout):
                        with (
                            open(self._part(number), "rb") as part,
                            archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member,
                        ):
                            shutil.copyfileobj(part, member, 1 << 20)
                sync(file)
        os.replace(whole, self._path)
        sync_folder(os.path.dirname(self._path))
        self._discard()

    def close(self, keep: bool) -> None:
        """End without the file; what is safe stays for a later run where ``keep`` says so."""
        with contextlib.suppress(OSError):
            self._open.close()
        if self._lock is not None and not (keep and self._safe > 0):
            self._discard()
        self._release_lock()

    # -- the folder ---------------------------------------------------------------------------------------------

    @property
    def _journal(self) -> str:
        return os.path.join(self._folder, _JOURNAL)

    @staticmethod
    def _own_names() -> set[str]:
        return {_JOURNAL, _FRESH, _WHOLE, *(_PART.format(number) for number in range(_MOST_OUTPUTS))}

    def _part(self, number: int) -> str:
        return os.path.join(self._folder, _PART.format(number))

    def _take_lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: there nothing warns of a second run
            self._lock = -1
            return
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise Failure(f"Another process is writing '{self._folder}'.") from None
        except OSError:
            pass  # a file system without locks
        self._lock = handle

    def _release_lock(self) -> None:
        if self._lock is not None and self._lock >= 0:
            os.close(self._lock)
        self._lock = None

    def _discard(self) -> None:
        self._open.close()
        self._files = []
        shutil.rmtree(self._folder)
        self._release_lock()
        self._reached, self._safe = (0, []), -1

    def _begin(self, layout: Layout) -> None:
        if self._suffix == ".npy" and len(layout) > 1:
            names = ", ".join(name for name, _, _ in layout)
            raise Failure(f"The model has {len(layout)} outputs ({names}); a .npy file holds one: use .npz or .csv.")
        os.mkdir(self._folder)
        self._take_lock()
        self._layout = layout
        table = self._suffix in TABLES
        self._open_parts("wb", 1 if table else len(layout))
        if table and self._names:
            names_line = [name for entry in layout for name in _column_names(entry)]
            self._files[0].write(_encode([names_line], self._delimiter))
        elif not table:
            for file, (_, shape, dtype) in zip(self._files, layout):
                header = {"descr": dtype, "fortran_order": False, "shape": (self._rows, *shape)}
                np.lib.format.write_array_header_1_0(file, header)

    def _reopen(self) -> bool:
        """Continue an earlier run; False where nothing of it is safe.

        Raises
        ------
        Failure
            If it was computing something else.
        """
        try:
            with open(self._journal, "rb") as file:
                journal = json.load(file)
            if journal["format"] != _FORMAT:
                raise Failure(f"'{self._folder}' was left by another version of lstmfast: --force discards it.")
            changed = sorted(
                key
                for key in {**journal["identity"], **self._identity}
                if journal["identity"].get(key) != self._identity.get(key)
            )
            sizes, layout = journal["bytes"], journal["layout"]
            if any(os.path.getsize(self._part(number)) < size for number, size in enumerate(sizes)):
                return False
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        if changed:
            what = ", ".join(changed)
            raise Failure(f"'{self._folder}' is from a run with another {what}: --force without --resume discards it.")
        self._layout = [(name, tuple(shape), dtype) for name, shape, dtype in layout]
        self._open_parts("r+b", len(sizes))
        for file, size in zip(self._files, sizes):
            file.truncate(size)
            file.seek(size)
        self._reached, self._safe = (journal["done"], sizes), journal["done"]
        return True

    def _open_parts(self, mode: str, count: int) -> None:
        for number in range(count):
            file = open(self._part(number), mode)  # noqa: SIM115
            self._files.append(self._open.enter_context(file))


def _lines(arrays: list[Array], delimiter: str) -> bytes:
    """Lines of a table: for each row the values of all outputs, in the fewest digits that tell them apart."""
    cells = [array.reshape(len(array), math.prod(array.shape[1:])).astype("U32").tolist() for array in arrays]
    return _encode(map(itertools.chain.from_iterable, zip(*cells)), delimiter)


def _encode(rows: Any, delimiter: str) -> bytes:
    lines: list[str] = []
    csv.writer(_Lines(lines), delimiter=delimiter, lineterminator="\n").writerows(rows)
    return "".join(lines).encode()


class _Lines:
    """What csv needs of a file."""

    def __init__(self, lines: list[str]) -> None:
        self.write = lines.append


def _column_names(entry: tuple[str, tuple[int, ...], str]) -> Iterator[str]:
    name, shape, _ = entry
    if math.prod(shape) == 1:
        yield name
        return
    for index in np.ndindex(*shape):
        yield "_".join([name, *map(str, index)])
