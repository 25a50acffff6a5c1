"""`.keras` files: a zip of config.json, metadata.json and model.weights.h5, read in place.

Next: hdf5.py; files.py.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from lstmfast._keras import NEWEST_NAME
from lstmfast.saving import hdf5
from lstmfast.saving.files import MAX_CONFIG_BYTES, Array, Saved, parse_json

# A deflated member may grow by this much at most.
_MAX_RATIO = 200
_MAX_WEIGHTS_BYTES = 1 << 36
_ASSETS = "assets/"


class WeightTree:
    """Weights by their path in the file: ``layers/lstm/cell/vars/0``.

    Attributes
    ----------
    arrays : dict of str to Array
        By path, with forward slashes.
    names : dict of str to str
        By its path, what a layer is called, where the file says so.
    texts : dict of str to function
        By its path, ``layers/text_vectorization/vocabulary.txt``, what gives the lines of a text.
    """

    def __init__(
        self, arrays: dict[str, Array], names: dict[str, str], texts: dict[str, Callable[[], list[str]]] | None = None
    ) -> None:
        self.arrays = arrays
        self.names = names
        self.texts = texts or {}


@contextlib.contextmanager
def open_archive(name: str) -> Iterator[Saved]:
    """The `Saved` of a ``.keras`` file."""
    try:
        with zipfile.ZipFile(name) as archive:
            members = {info.filename: info for info in archive.infolist()}
            if "config.json" not in members:
                if "data.pkl" in {path.rsplit("/", 1)[-1] for path in members}:
                    raise OSError(f"'{name}' is a PyTorch file, not a saved Keras model.")
                raise OSError(f"'{name}' is a zip archive without config.json: no saved Keras model.")
            config = parse_json(_read(archive, members["config.json"], name, MAX_CONFIG_BYTES), name, "config.json")
            metadata: dict[str, Any] = {}
            if "metadata.json" in members:
                metadata = parse_json(
                    _read(archive, members["metadata.json"], name, MAX_CONFIG_BYTES), name, "metadata.json"
                )
            version = str(metadata.get("keras_version", ""))
            if not version[:1].isdigit():  # Keras does not look for it
                version = NEWEST_NAME
            if "model.weights.h5" in members:
                info = members["model.weights.h5"]
                with _seekable(archive, info, name) as stream, hdf5.open_file(stream, name) as file:
                    tree = weight_tree(file, name)
                    tree.texts = _texts(archive, members, name)
                    yield Saved(name, config, version, tree)
            elif "model.weights.npz" in members:
                raise NotImplementedError(
                    f"'{name}' keeps its weights in a pickled model.weights.npz, which could run code: save it again "
                    "with HDF5 weights."
                )
            else:
                raise ValueError(f"'{name}' holds no model.weights.h5: it is an architecture without weights.")
    except (zipfile.BadZipFile, EOFError, zlib.error, struct.error) as error:
        raise OSError(f"'{name}' is a damaged or truncated .keras file: {error}") from error


def _texts(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str
) -> dict[str, Callable[[], list[str]]]:
    """What reads the vocabularies that the file keeps beside its weights."""

    def lines(info: zipfile.ZipInfo) -> list[str]:
        content = _read(archive, info, name, MAX_CONFIG_BYTES)
        try:
            # not at what else Python takes for the end of a line, which may be in a word
            return [line.removesuffix("\r") for line in content.decode().split("\n")]
        except UnicodeDecodeError as error:
            raise ValueError(f"'{name}': {info.filename} is no UTF-8 text: {error}") from None

    return {
        clean(path)[len(_ASSETS) :]: partial(lines, info)
        for path, info in members.items()
        if clean(path).startswith(_ASSETS) and path.endswith(".txt")
    }


def _check(info: zipfile.ZipInfo, name: str, limit: int) -> None:
    if info.flag_bits & 1:
        raise OSError(f"'{name}': {info.filename} is encrypted.")
    # the others are inflated to their end, whatever size is asked for
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"'{name}': {info.filename} is neither stored nor deflated, which is refused.")
    if info.file_size > limit or info.file_size > max(1 << 20, info.compress_size * _MAX_RATIO):
        raise ValueError(f"'{name}': {info.filename} claims {info.file_size} bytes, which is refused.")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, limit: int) -> bytes:
    _check(info, name, limit)
    with archive.open(info) as stream:
        content = stream.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise OSError(f"'{name}': {info.filename} has {len(content)} bytes, expected {info.file_size}.")
    return content


@contextlib.contextmanager
def _seekable(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Iterator[Any]:
    """A member as a binary file that can be read at any place; a stored one is read where it lies."""
    _check(info, name, _MAX_WEIGHTS_BYTES)
    if info.compress_type == zipfile.ZIP_STORED:
        with archive.open(info) as stream:
            yield stream
    else:
        yield io.BytesIO(_read(archive, info, name, _MAX_WEIGHTS_BYTES))


def clean(path: str) -> str:
    """A path of Keras 2.13 to 2.15, of Windows too, as Keras 3 writes it."""
    return path.replace("\\", "/").replace("_layer_checkpoint_dependencies", "layers")


def _places(paths: Iterable[str], name: str) -> set[str]:
    """What lies above some paths. Of one name with many backslashes that is more than the file holds of letters."""
    places: set[str] = set()
    letters = 0
    for path in paths:
        if path.count("/") > hdf5.MAX_DEPTH:
            raise ValueError(f"'{name}' nests groups more than {hdf5.MAX_DEPTH} deep.")
        while (path := path.rpartition("/")[0]) and path not in places:
            places.add(path)
            letters += len(path)
        if letters > hdf5.MAX_LETTERS:
            raise ValueError(f"'{name}' names its objects in more than {hdf5.MAX_LETTERS} letters.")
    return places


def weight_tree(file: Any, name: str) -> WeightTree:
    """The weights below an HDF5 file."""
    arrays: dict[str, Array] = {}
    for path, array in hdf5.arrays(file, name).items():
        arrays[clean(path)] = array
    names: dict[str, str] = {}
    for place in _places(arrays, name):
        group = hdf5.descend(file, f"{place}/vars", name)
        if group is not None and "name" in group.attrs:
            names[place] = hdf5.text(group.attrs["name"])
    return WeightTree(arrays, names)
