"""What callers say of Keras: its version, and what stands for the names in its files.

`WRITTEN` is the version whose files are written, `NEWEST` the newest whose rules are known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized
from typing import Any

Version = tuple[int, int]  # major, minor

WRITTEN = "3.15.1"
NEWEST: Version = (3, 15)
NEWEST_NAME = ".".join(map(str, NEWEST))


def parse_version(text: str) -> Version:
    """(major, minor) of a version such as ``2.2.4-tf``; an empty one is that of Keras 1, 0.1 of keras_core."""
    match = re.match(r"(\d{1,9})(?:\.(\d{1,9}))?", text)
    version = (int(match[1]), int(match[2] or 0)) if match else (1, 0)
    return version if version[0] else (3, 0)


def as_version(given: Any) -> Version:
    """The version that a caller gives as a text or as numbers; the newest known where it is None.

    Raises
    ------
    ValueError
        If it is no version.
    """
    if given is None:
        return NEWEST
    if isinstance(given, str) and re.match(r"\d", given):
        return parse_version(given)
    if isinstance(given, (tuple, list)) and len(given) >= 2 and all(isinstance(one, int) for one in given[:2]):
        return given[0], given[1]
    raise ValueError(f"`keras_version` must be a version of Keras such as '2.15'. Received: {given!r}")


def version_for(found: str, given: Any = None) -> Version:
    """The version by whose rules to read: what the caller says, or else what was found."""
    return parse_version(found) if given is None else as_version(given)


def as_custom(given: Any) -> dict[str, Any]:
    """A caller's ``custom_objects``: a dict, or nothing.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if isinstance(given, Mapping):
        return dict(given)
    if given is None or (isinstance(given, Sized) and not len(given)):
        return {}
    raise TypeError(
        "`custom_objects` must be a dict of classes and functions by their names. "
        f"Received: {str(given)[:80]} (of type {type(given).__name__})"
    )
