"""What a process holds in memory, measured so that two measurements can be compared."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from pathlib import Path

STATUS = Path("/proc/self/statm")
MEASURABLE = STATUS.exists()


def resident_bytes() -> int:
    """Resident memory of this process, after garbage and free pages were given back; needs /proc.

    Without the C library's own trimming a heap of many threads keeps what they freed, in amounts that chance decides.
    """
    for _ in range(2):
        gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(STATUS.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


class _Mallinfo(ctypes.Structure):
    """mallinfo2 of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    )


def heap_bytes() -> int | None:
    """Bytes that the C heap holds now, to the byte; None where the C library does not tell (all but glibc 2.33)."""
    try:
        mallinfo2 = ctypes.CDLL("libc.so.6").mallinfo2
    except (OSError, AttributeError):
        return None
    mallinfo2.restype = _Mallinfo
    gc.collect()
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


def mebibytes(count: float) -> str:
    return f"{count / 2**20:.1f} MiB"
