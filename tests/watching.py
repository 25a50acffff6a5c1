"""Watches this process while it loads files: what it tries in Python, what it opens from C, and how much it holds.

Python tells an audit hook what it is about to do. Libraries in C do not, so on Linux folders are watched by the kernel
too; and what memory the process really held is the kernel's figure as well.
Next: hostile.py and fuzz.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORBIDDEN = (
    "exec",
    "import",
    "marshal.loads",
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.symlink",
    "os.link",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
    "urllib.Request",
    "ctypes.dlopen",
    "shutil.unpack_archive",
    "tempfile.mkdtemp",
    "tempfile.mkstemp",
)
ON_LINUX = sys.platform == "linux"
_ACCESS, _MODIFY, _OPEN, _CREATE = 0x1, 0x2, 0x20, 0x100  # of inotify


class Watch:
    """Counts as tried whatever happens inside ``with watch.over(path)`` beside reading ``path``.

    Parameters
    ----------
    folders : list of Path
        Files in them which anything opens, reads, writes or makes count, the file of `over` aside.

    Attributes
    ----------
    tried : list of str
        What was tried during the last `over`.
    seconds : float
        Of this process's processor time, in the last `over`.
    held : int
        Bytes by which the resident memory grew at most in the last `over`; 0 where it cannot be known.
    """

    def __init__(self, folders: list[Path]) -> None:
        self.tried: list[str] = []
        self.seconds = 0.0
        self.held = 0
        self._current: str | None = None
        self._folders: dict[int, Path] = {}
        self._events = -1
        if ON_LINUX:
            self._watch(folders)
        sys.addaudithook(self._hook)

    def _watch(self, folders: list[Path]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._events < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        for folder in folders:
            number = libc.inotify_add_watch(self._events, os.fsencode(folder), _ACCESS | _MODIFY | _OPEN | _CREATE)
            if number < 0:
                raise OSError(ctypes.get_errno(), f"inotify_add_watch {folder}")
            self._folders[number] = Path(folder)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._current is None:
            return
        if event in FORBIDDEN:
            self.tried.append(f"{event} {str(arguments[:1])[:120]}")
        elif event == "open" and str(arguments[0]) != self._current:
            self.tried.append(f"open {arguments[0]}")

    @contextlib.contextmanager
    def over(self, path: Path) -> Iterator[None]:
        """Loading of the file at ``path``, which lies in a watched folder or elsewhere."""
        self._touched(path)
        self.tried = []
        before = self._resident_peak()
        begin = time.process_time()
        self._current = str(path)
        try:
            yield
        finally:
            self._current = None
            self.seconds = time.process_time() - begin
            self.held = _status("VmHWM") - before
            self.tried += [f"touched {name}" for name in self._touched(path)]

    def _resident_peak(self) -> int:
        """The resident memory, from which on its peak is counted."""
        if ON_LINUX:
            Path("/proc/self/clear_refs").write_bytes(b"5")
        return _status("VmHWM")

    def _touched(self, path: Path) -> list[str]:
        """Files of the watched folders, other than ``path``, that were opened, read or written since the last call."""
        if not ON_LINUX:
            return []
        content = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                content += os.read(self._events, 1 << 16)
        names: list[str] = []
        while content:
            number, _, _, length = struct.unpack_from("iIII", content)
            found = self._folders[number] / os.fsdecode(content[16 : 16 + length].rstrip(b"\0"))
            content = content[16 + length :]
            if found != path and str(found) not in names and found not in self._folders.values():
                names.append(str(found))
        return names


def _status(key: str) -> int:
    """A line of /proc/self/status, in bytes."""
    text = Path("/proc/self/status").read_text() if ON_LINUX else ""
    found = re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0
