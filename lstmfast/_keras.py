"""Versions of Keras: the one whose files are written, the newest whose rules are known, and what a text says of one."""

from __future__ import annotations

import re
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
