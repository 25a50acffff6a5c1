"""Test vectors: inputs and what Keras gave for them, in FILE.vectors.npz or inside a .keras file.

The arrays are input_0, input_1, … and output_0, …, in the model's order, keras_version, and model, a digest of the file
without them. Keras ignores the member of its file.
Next: verify.py.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from typing import IO, Any, NamedTuple

import numpy as np

from lstmfast._files import whole_file
from lstmfast.commands import FILE, Failure

Array = np.ndarray[Any, Any]

MEMBER = "lstmfast_vectors.npz"
_MOST_BYTES = 1 << 28


class Vectors(NamedTuple):
    """Inputs and outputs, what made them, and where they are."""

    inputs: list[Array]
    outputs: list[Array]
    keras: str
    place: str


def beside(path: str) -> str:
    """Where the vectors of a model stand beside it."""
    return f"{path}.vectors.npz"


def read(path: str) -> Vectors | None:
    """The vectors of a model; None where it has none.

    Raises
    ------
    Failure
        If they cannot be read, or belong to another model.
    """
    place = beside(path)
    if os.path.exists(place):
        with open(place, "rb") as file:
            return _parse(file.read(_MOST_BYTES + 1), path, place)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if MEMBER in archive.namelist():
                with archive.open(MEMBER) as member:
                    return _parse(member.read(_MOST_BYTES + 1), path, f"{path}, {MEMBER}")
    return None


def write(path: str, inputs: list[Array], outputs: list[Array], keras: str, inside: bool) -> str:
    """Store the vectors of a model; returns where.

    Raises
    ------
    Failure
        If they should stand inside a file that is no .keras file.
    """
    arrays = {f"input_{number}": array for number, array in enumerate(inputs)}
    arrays |= {f"output_{number}": array for number, array in enumerate(outputs)}
    content = io.BytesIO()
    np.savez(content, keras_version=np.array(keras), model=np.array(_model_digest(path)), **arrays)  # type: ignore[arg-type]
    if inside and not zipfile.is_zipfile(path):
        raise Failure(f"'{path}' is HDF5: its vectors stand beside it, not inside.")
    place = os.path.realpath(path) if inside else beside(path)
    with whole_file(place) as file:
        if inside:
            _copy_without(place, file)
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(zipfile.ZipInfo(MEMBER), content.getvalue())
        else:
            file.write(content.getvalue())
    return f"{path}, {MEMBER}" if inside else place


def _copy_without(path: str, file: IO[bytes]) -> None:
    """A copy of a .keras file, without its vectors."""
    with zipfile.ZipFile(path) as old:
        if MEMBER not in old.namelist():
            with open(path, "rb") as whole:
                shutil.copyfileobj(whole, file, 1 << 20)
            return
        with zipfile.ZipFile(file, "w") as new:
            for info in old.infolist():
                if info.filename != MEMBER:
                    with old.open(info) as source, new.open(info, "w") as target:
                        shutil.copyfileobj(source, target, 1 << 20)


def _model_digest(path: str) -> str:
    """Of the model in the file, with or without vectors in it."""
    found = hashlib.sha256()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                if info.filename != MEMBER:
                    found.update(repr((info.filename, info.file_size, info.CRC)).encode())
    else:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def _parse(content: bytes, path: str, place: str) -> Vectors:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if max(len(content), sum(info.file_size for info in archive.infolist())) > _MOST_BYTES:
                raise Failure(f"'{place}' holds more than {_MOST_BYTES >> 20} MB, which is refused.", FILE)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        keras, model = str(arrays.pop("keras_version")), str(arrays.pop("model"))
        inputs, outputs = (
            [arrays.pop(f"{kind}{number}") for number in range(sum(name.startswith(kind) for name in arrays))]
            for kind in ("input_", "output_")
        )
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise Failure(f"'{place}' holds no test vectors, or is damaged: {error}", FILE) from error
    if model != _model_digest(path):
        raise Failure(f"'{place}' belongs to another model than '{path}': --write-vectors makes new ones.")
    return Vectors(inputs, outputs, keras, place)
