"""What a file is, by its content, and what it holds as plain data: a `Saved`.

Nothing here knows a layer. Next: archive.py, legacy.py.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
MAX_CONFIG_BYTES = 64 << 20


class Saved:
    """A saved model before it becomes layers.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    config : dict
        ``{"class_name": ..., "config": ...}`` of the model.
    version : str
        Of the Keras that wrote it.
    weights : WeightTree or LayerWeights
        The arrays, read when they are asked for.
    """

    def __init__(self, name: str, config: dict[str, Any], version: str, weights: Any) -> None:
        self.name = name
        self.config = config
        self.version = version
        self.weights = weights


@contextlib.contextmanager
def open_model(path: str | os.PathLike[str]) -> Iterator[Saved]:
    """The `Saved` of the file at ``path``; its arrays can be read inside the ``with`` block."""
    name, is_archive = _look(path)
    if is_archive:
        from lstmfast.saving.archive import open_archive

        with naming(name), open_archive(name) as saved:
            yield saved
    else:
        from lstmfast.saving.legacy import open_legacy

        with naming(name), open_legacy(name) as saved:
            yield saved


@contextlib.contextmanager
def open_weights(path: str | os.PathLike[str]) -> Iterator[tuple[str, str, Any]]:
    """The name, the Keras version and the weights of a file, which may hold weights only."""
    name, is_archive = _look(path)
    if is_archive:
        with open_model(path) as saved:
            yield saved.name, saved.version, saved.weights
    else:
        from lstmfast.saving.legacy import open_legacy_weights

        with naming(name), open_legacy_weights(name) as (version, weights):
            yield name, version, weights


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors about a file that do not name it, such as those of libraries, as ones that do."""
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:
        if name in str(error):
            raise
        kind = next(each for each in (OSError, ValueError, NotImplementedError) if isinstance(error, each))
        raise kind(f"'{name}': {error}") from error


def _look(path: str | os.PathLike[str]) -> tuple[str, bool]:
    """The name of a file, and whether it is a zip archive rather than HDF5.

    Raises
    ------
    OSError
        If it is neither.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"Expected a path as str or path-like, got {type(path).__name__}.")
    if os.path.isdir(name):
        raise OSError(
            f"'{name}' is a directory. A SavedModel directory has to be saved again from Keras as a .keras file; of an "
            "unpacked .keras file pass the file itself."
        )
    if not os.path.exists(name) and os.path.exists(f"{name}.index"):
        raise OSError(
            f"'{name}' is a TensorFlow checkpoint, which is not read. Load it in Keras, and save its weights in one "
            "file: model.save_weights('model.weights.h5')."
        )
    with open(name, "rb") as file:
        head = file.read(512)
    if not head.startswith((_ZIP, _HDF5)):
        raise OSError(f"'{name}' is no saved Keras model: {_what_is(head)}")
    return name, head.startswith(_ZIP)


def _what_is(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return "the file is empty."
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git-LFS pointer. Fetch the file it stands for with `git lfs pull`."
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page. Download the file itself (on GitHub the raw file), not the page that shows it."
    if head.startswith(b"PK"):
        return "it is an empty or damaged zip archive."
    if text.startswith(b"{") and b'"weight_map"' in text:
        return "it lists weights in several files, which are not read. Save them in one, without max_shard_size."
    if text.startswith(b"{"):
        return "it is JSON text; an architecture alone has no weights."
    return "it begins neither as a zip archive (.keras) nor as HDF5 (.h5)."


def _integer(digits: str) -> int:
    if len(digits) > 300:  # which no float holds
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def parse_json(text: bytes | str, name: str, what: str) -> dict[str, Any]:
    """``text`` as a JSON object.

    Raises
    ------
    ValueError
        If it is too long, too deep, or no JSON object.
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise ValueError(f"'{name}': {what} takes {len(text)} bytes, more than the {MAX_CONFIG_BYTES} allowed.")
    try:
        value = json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError(f"'{name}': {what} is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"'{name}': {what} is no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"'{name}': {what} is no JSON object.")
    return value


class Derived:
    """An array made of arrays in a file: its shape is known, its values are made on `read`."""

    __slots__ = ("_make", "_sources", "path", "shape")

    def __init__(self, sources: list[Array], shape: tuple[int, ...], make: Callable[..., np.ndarray[Any, Any]]) -> None:
        self.path = ", ".join(source.path for source in sources)
        self.shape = shape
        self._sources = sources
        self._make = make

    @property
    def is_float(self) -> bool:
        """Whether all of them are of floating point."""
        return all(source.is_float for source in self._sources)

    def data_sets(self) -> list[int]:
        """Where in the file the values lie."""
        return [place for source in self._sources for place in source.data_sets()]

    def read(self) -> np.ndarray[Any, Any]:
        """The values."""
        return self._make(*[source.read() for source in self._sources])


class Array:
    """An array in a file: its shape is known, its values are read on `read`."""

    __slots__ = ("_dataset", "path", "shape")

    def __init__(self, dataset: Any, path: str) -> None:
        self._dataset = dataset
        self.path = path
        self.shape: tuple[int, ...] = tuple(dataset.shape)

    @property
    def is_float(self) -> bool:
        """Whether it is of floating point; bfloat16 is kept as two bytes of no kind."""
        return self._dataset.dtype.kind in "fV"

    def data_sets(self) -> list[int]:
        """Where in the file the values lie."""
        if isinstance(self._dataset, np.ndarray):
            return []
        import h5py

        return [int(h5py.h5o.get_info(self._dataset.id).addr)]

    def read(self) -> np.ndarray[Any, Any]:
        """The values; bfloat16, which HDF5 lacks, comes as float32."""
        dataset = self._dataset
        if isinstance(dataset, np.ndarray):
            return dataset
        values = dataset[()]
        if values.dtype.kind == "V" and values.dtype.itemsize == 2 and values.dtype.names is None:
            bits = np.ascontiguousarray(values).view(np.uint16).astype(np.uint32) << 16
            return bits.view(np.float32).reshape(self.shape)
        return np.asarray(values)
