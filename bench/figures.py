"""What a result says: ratios, best peers, means, errors. Tables, charts and comparisons all take them from here."""

import math
import statistics
from collections.abc import Iterable
from typing import Any

from bench.peers import PEERS

US = "lstmfast"
ERROR_PEERS = ("onnxruntime", "openvino", "pytorch")
_STEADY = 1.1  # repeats of a runner move by less than this where nobody disturbs the machine


def microseconds(row: dict[str, Any], name: str = US) -> float | None:
    """Median time of a runner on a case."""
    times = row["runners"].get(name, {}).get("microseconds")
    return statistics.median(times) if times else None


def ratio(row: dict[str, Any], name: str) -> float | None:
    """How many times longer a runner takes than lstmfast: the median over repeats of what stood side by side."""
    ours, theirs = (row["runners"].get(each, {}).get("microseconds") for each in (US, name))
    if not (ours and theirs):
        return None
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=True))


def peers(row: dict[str, Any]) -> list[str]:
    """Runners of a case that are not lstmfast and gave a time."""
    return [name for name in row["runners"] if not PEERS[name].ours and microseconds(row, name)]


def best_peer(row: dict[str, Any]) -> str | None:
    """The fastest peer of a case."""
    return min(peers(row), key=lambda name: microseconds(row, name), default=None)


def best_ratio(row: dict[str, Any]) -> float | None:
    """Ratio to the fastest peer."""
    name = best_peer(row)
    return ratio(row, name) if name else None


def is_steady(row: dict[str, Any], repeats: int) -> bool:
    """Whether the last repeats of lstmfast and of its fastest peer agree, whomever a disturbance would help."""
    times = [row["runners"].get(name, {}).get("microseconds") for name in (US, best_peer(row))]
    return all(max(one[-repeats:]) <= _STEADY * min(one[-repeats:]) for one in times if one)


def fraction(row: dict[str, Any]) -> float | None:
    """The machine's limit over lstmfast's time."""
    ours = microseconds(row)
    return row["limit"] / ours if ours and row["limit"] else None


def error_ratio(row: dict[str, Any]) -> float | None:
    """lstmfast's error over the largest of ONNX Runtime's, OpenVINO's and PyTorch's."""
    ours = row["runners"].get(US, {}).get("error")
    theirs = [row["runners"][name]["error"] for name in ERROR_PEERS if "error" in row["runners"].get(name, {})]
    return ours / max(theirs) if ours is not None and theirs and max(theirs) > 0 else None


def extra_bytes(row: dict[str, Any]) -> int | None:
    """What a call of lstmfast needs at its peak beyond its output."""
    return row["runners"].get(US, {}).get("extra_bytes")


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Of what is there."""
    logs = [math.log(value) for value in values if value]
    return math.exp(statistics.fmean(logs)) if logs else None
