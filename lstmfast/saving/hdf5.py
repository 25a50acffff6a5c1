"""HDF5 without its ways out of the file: links elsewhere, external storage and virtual data sets are refused.

Next: files.py.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstmfast.saving.files import Array

_MAX_DEPTH = 64
_MAX_OBJECTS = 1_000_000
_MAX_LETTERS = 256 << 20
# What a file claims beyond this, or beyond what its compressed values can grow to, is refused before memory is taken.
_MAX_VALUES = 1 << 33
_MAX_RATIO = 200
# deflate, shuffle, fletcher32, szip, nbit, scaleoffset, and h5py's lzf; for others libhdf5 looks for libraries to load
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}


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
    link = group.get(key, getlink=True)
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
        filters = {creation.get_filter(number)[0] for number in range(creation.get_nfilters())}
        if not filters <= _FILTERS:
            raise ValueError(f"{where} is stored by the filters {sorted(filters - _FILTERS)}, which are not loaded.")
    elif not isinstance(member, h5py.Group):
        raise ValueError(f"{where} is neither a group nor a data set.")
    return member


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
        if depth > _MAX_DEPTH:
            raise ValueError(f"'{name}' nests groups more than {_MAX_DEPTH} deep.")
        for key in here:
            count += 1
            if count > _MAX_OBJECTS:
                raise ValueError(f"'{name}' holds more than {_MAX_OBJECTS} objects.")
            member = child(here, key, name)
            path = prefix + key
            letters += len(path)
            if letters > _MAX_LETTERS:
                raise ValueError(f"'{name}' names its objects in more than {_MAX_LETTERS} letters.")
            if member is None:
                raise ValueError(f"'{name}': {path} cannot be read.")
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
