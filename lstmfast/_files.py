"""Files that are written whole or not at all, and are safe on the disk once they are there."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from typing import IO, Any


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[IO[bytes]]:
    """A file that takes its place when all is written, and leaves what was there before where something fails.

    As if it were written in place, a link goes on pointing to it and its permissions stay.
    """
    path = os.path.realpath(path)
    temporary = os.path.join(os.path.dirname(path), f"{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb+") as file:
            yield file
            sync(file)
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(path))


def sync(file: IO[Any]) -> None:
    """Make what was written to a file safe."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: str) -> None:
    """Make names in a folder safe, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
