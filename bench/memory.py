"""How much memory a call needs beyond what it returns, as the kernel counts the process's pages."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc_pid_clear_refs(5)


def _kibibytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(field + ":"))
    return int(line.split()[1])


def extra_bytes(call: Callable[[], Any]) -> int | None:
    """Peak growth of the resident memory during a call, less the size of its output; None outside Linux.

    The kernel counts pages in batches of each processor, so that a few hundred KiB may be missing or too many.
    """
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls left to the allocator counts as well
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
        before = _kibibytes("VmRSS")
        output = call()
        grown = (_kibibytes("VmHWM") - before) << 10
    except (OSError, AttributeError, StopIteration):
        return None
    return max(0, grown - getattr(output, "nbytes", 0))
