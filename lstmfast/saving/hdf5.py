"""HDF5 without its ways out of the file: links elsewhere, external storage and virtual data sets are refused.

Next: files.py.
"""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstmfast.saving.files import Array

MAX_DEPTH = 64
_MAX_OBJECTS = 1_000_000
MAX_LETTERS = 256 << 20
# What a file claims beyond this, or beyond what its compressed values can grow to, is refused before memory is taken.
_MAX_VALUES = 1 << 33
_MAX_RATIO = 200
_MAX_CHUNKS = 1 << 16
# Keras writes none; h5repack, and h5py where it is told to, deflate (1), shuffle before and check sums (3) behind. What
# others take is for the file to say, and for those that it lacks libhdf5 looks for libraries to load.
_DEFLATE = 1
_FILTERS: tuple[list[int], ...] = ([], [1], [2], [3], [2, 1], [1, 3], [2, 3], [2, 1, 3])


@contextlib.contextmanager
def open_file(source: Any, name: str) -> Iterator[Any]:
    """The h5py file of a path or of an open binary file.

    Raises
    ------
    OSError
        If it is truncated or damaged.
    """
    import h5py

    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise OSError(f"'{name}' cannot be read as HDF5, it may be truncated: {error}") from None
    with file:
        try:
            yield file
        except NotImplementedError:  # ours; a RuntimeError by descent
            raise
        except (RuntimeError, KeyError) as error:
            # h5py's errors about damaged structures, which name nothing that a caller knows
            raise OSError(f"'{name}' is damaged: {error}") from error


def child(group: Any, key: str, name: str) -> Any:
    """The member ``key`` of a group, or None; only what lies in the same file.

    Raises
    ------
    ValueError
        If it is a soft or external link, or its values lie elsewhere.
    """
    import h5py

    where = f"'{name}': {group.name.rstrip('/')}/{key}"
    link = group.get(key, getlink=True) if isinstance(group, h5py.Group) else None
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{where} is a link to another place, which is not followed.")
    member = group.get(key)
    if isinstance(member, h5py.Dataset):
        if member.external or member.is_virtual:
            raise ValueError(f"{where} keeps its values in another file, which is not read.")
        if member.dtype.kind not in "fiub" and member.dtype != "V2":  # how bfloat16 is kept
            raise ValueError(f"{where} holds {member.dtype}, not numbers.")
        most = max(1 << 20, member.id.get_storage_size() * _MAX_RATIO)
        # a chunk is inflated whole, however few of its values belong to the data set
        chunk = math.prod(member.chunks or ()) * member.dtype.itemsize
        if member.size is None or member.size > _MAX_VALUES or max(member.nbytes, chunk) > most:
            raise ValueError(f"{where} claims the shape {member.shape}, more than a weight has or the file holds.")
        creation = member.id.get_create_plist()
        filters = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
        if filters not in _FILTERS:
            raise ValueError(f"{where} is stored by the filters {filters}, which are not loaded.")
        if _DEFLATE in filters and member.size and not _inflates_to(member, chunk, filters):
            raise ValueError(f"{where} has compressed values that grow beyond their place, or in too many pieces.")
    elif not isinstance(member, h5py.Group):
        raise ValueError(f"{where} is neither a group nor a data set.")
    return member


def _inflates_to(dataset: Any, size: int, filters: list[int]) -> bool:
    """Whether each of not too many deflated chunks ends within ``size`` bytes; libhdf5 would inflate it to its end."""
    place = filters.index(_DEFLATE)
    counts = (-(-extent // length) for extent, length in zip(dataset.shape, dataset.chunks, strict=True))
    if math.prod(counts) > _MAX_CHUNKS:
        return False
    for part in dataset.iter_chunks():
        offset = tuple(axis.start for axis in part)
        if dataset.id.get_chunk_info_by_coord(offset).byte_offset is None:  # never written
            continue
        skipped, stored = dataset.id.read_direct_chunk(offset)
        try:
            if not skipped >> place & 1 and len(zlib.decompressobj().decompress(stored, size + 1)) > size:
                return False
        except zlib.error as error:
            raise OSError(f"the compressed values of {dataset.name} are damaged: {error}") from None
    return True


def descend(group: Any, path: str, name: str) -> Any:
    """The object at a path of several keys below ``group``, or None."""
    for key in path.split("/"):
        if key in ("", "."):
            continue
        if not hasattr(group, "keys"):
            return None
        group = child(group, key, name)
        if group is None:
            return None
    return group


def arrays(group: Any, name: str) -> dict[str, Array]:
    """Every data set below ``group`` by its path."""
    import h5py

    found: dict[str, Array] = {}
    stack = [(group, "", 0)]
    count = letters = 0
    while stack:
        here, prefix, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"'{name}' nests groups more than {MAX_DEPTH} deep.")
        for key in here:
            count += 1
            if count > _MAX_OBJECTS:
                raise ValueError(f"'{name}' holds more than {_MAX_OBJECTS} objects.")
            member = child(here, key, name)
            path = prefix + key
            letters += len(path)
            if letters > MAX_LETTERS:
                raise ValueError(f"'{name}' names its objects in more than {MAX_LETTERS} letters.")
            if member is None:
                raise OSError(f"'{name}' is damaged: {path} leads nowhere.")
            if isinstance(member, h5py.Dataset):
                found[path] = Array(member, path)
            else:
                stack.append((member, path + "/", depth + 1))
    return found


def text(value: Any) -> str:
    """An attribute's text, which may be bytes or str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def texts(attributes: Any, key: str) -> list[str]:
    """An attribute that lists names, which HDF5's limits may have cut into ``key0``, ``key1``, …"""

    def listed(key: str) -> list[str]:
        values = attributes[key]
        if not isinstance(values, np.ndarray) or values.ndim != 1:
            raise ValueError(f"The attribute {key} is no list of names: {values!r:.80}")
        return [text(value) for value in values]

    if key in attributes:
        return listed(key)
    names: list[str] = []
    number = 0
    while f"{key}{number}" in attributes:
        names.extend(listed(f"{key}{number}"))
        number += 1
    return names
