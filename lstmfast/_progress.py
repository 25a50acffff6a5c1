"""Keras's progress bar, and its one line of verbose=2."""

from __future__ import annotations

import sys
import time

_WIDTH = 20


class Progress:
    """A bar over ``target`` steps.

    Parameters
    ----------
    target : int
        Number of steps.
    verbose : int or str
        0 for nothing, 1 for the bar, 2 for one line at the end; ``"auto"`` for the bar on work that takes longer than
        ``patience``.
    patience : float
        Seconds.
    """

    def __init__(self, target: int, verbose: int | str, patience: float = 1.0) -> None:
        self.target = max(1, target)
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self._start = self._last = time.perf_counter()
        self._quiet_until = self._start + (patience if verbose == "auto" else 0.0)
        self._shown = False
        self._width = 0

    def update(self, current: int) -> None:
        """Show that ``current`` steps are done."""
        now = time.perf_counter()
        final = current >= self.target
        if self.verbose == 0 or (now < self._quiet_until and not self._shown):
            return
        per_step = (now - self._start) / max(1, current)
        digits = len(str(self.target))
        elapsed = f"{now - self._start:.0f}s"
        if self.verbose == 2:
            if final:
                _write(f"{current:{digits}d}/{self.target} - {elapsed} -{_duration(per_step)}\n")
            return
        if now - self._last < 0.05 and not final and self._shown:
            return
        terminal = getattr(sys.stdout, "isatty", lambda: False)() or "ipykernel" in sys.modules
        filled = int(_WIDTH * current / self.target)
        count = f"{current:{digits}d}/{self.target}"
        when = elapsed if final else _clock(per_step * (self.target - current))
        plain = f"{count} {'━' * _WIDTH} {when}{_duration(per_step)}"
        bar = f"\33[32m{'━' * filled}\33[0m" if filled else ""
        bar += f"\33[37m{'━' * (_WIDTH - filled)}\33[0m"
        padding = " " * max(0, self._width - len(plain))
        start = "\r" if terminal else "\n"
        _write(f"{start}\33[1m{count}\33[0m {bar} \33[1m{when}\33[0m{_duration(per_step)}{padding}" + "\n" * final)
        self._width = len(plain)
        self._last = now
        self._shown = True


def _write(text: str) -> None:
    print_where_possible(text, "")
    if sys.stdout is not None:
        sys.stdout.flush()


def print_where_possible(text: str, end: str = "\n") -> None:
    """`print`, with ``?`` for what the encoding of the output does not have."""
    try:
        print(text, end=end)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "replace").decode(encoding), end=end)


def _clock(seconds: float) -> str:
    if seconds > 3600:
        return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"
    if seconds > 60:
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
    return f"{int(seconds)}s"


def _duration(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f" {seconds:.0f}s/step"
    if seconds >= 1e-3:
        return f" {seconds * 1e3:.0f}ms/step"
    return f" {seconds * 1e6:.0f}us/step"
