"""Two results against each other: which cases became slower."""

from typing import Any

from bench import figures

SLACK = 1.10  # shared machines move by this much between runs


def _against_peers(old: dict[str, Any], new: dict[str, Any]) -> float | None:
    """Change of lstmfast's time, with the peers of both runs as the yardstick of how fast the machine was."""
    common = [name for name in figures.peers(old) if name in figures.peers(new)]
    before, after = (figures.geometric_mean(figures.ratio(row, name) for name in common) for row in (old, new))
    if before and after:
        return before / after
    before, after = figures.fraction(old), figures.fraction(new)
    return before / after if before and after else None


def compare(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], int]:
    """Lines that say how each case changed, and how many became slower than SLACK allows.

    A change is that of lstmfast's time relative to the peers that both runs have (without any, to the machine's limit):
    the time itself moves with the machine.
    """
    before = {(run["threads"], name): row for run in old["runs"] for name, row in run["cases"].items()}
    lines, slower = [], 0
    for run in new["runs"]:
        for name, row in run["cases"].items():
            known = before.get((run["threads"], name))
            change = _against_peers(known, row) if known else None
            if change is None:
                continue
            regressed = change > SLACK
            slower += regressed
            times = f"{figures.microseconds(known):10.1f} -> {figures.microseconds(row):10.1f} us"
            mark = "  SLOWER" if regressed else "  faster" if change < 1 / SLACK else ""
            lines.append(f"{name:28} {run['threads']:2} thr {times}  {change:5.2f}x the relative time{mark}")
    lines.append(f"{slower} of {len(lines)} cases are slower")
    return lines, slower
