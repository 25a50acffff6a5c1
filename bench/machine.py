"""The machine: what it is, what it can do at most, and what that allows a case."""

import bisect
import functools
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bench.cases import GATES, GRU_GATES, Case, Layer

# Flags of the probe per instruction set, best first; the names are those of LSTMFAST_ISA.
_X86 = {"avx512": ["-mavx512f", "-mprefer-vector-width=512"], "avx2": ["-mavx2", "-mfma"], "generic": []}
_ARM = {"neon": []}
_SIZES = [1 << power for power in range(13, 28)]  # 8 KiB to 128 MiB a thread
_FAR = 512 << 10  # bytes from which on a thread's weights may come from a shared cache or from memory
_MANY_ROWS = 16  # from here on weights are reused so often that reading them costs nothing

Probe = dict[str, Any]


@functools.cache
def _build(isa: str, flags: tuple[str, ...]) -> str | None:
    """Path of the compiled probe, or None where there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not compiler:
        return None
    program = os.path.join(tempfile.mkdtemp(prefix="lstmfast-probe-"), isa)
    source = str(Path(__file__).with_name("probe.c"))
    command = [compiler, "-O3", "-std=gnu11", "-ffp-contract=fast", *flags, source, "-o", program, "-pthread"]
    built = subprocess.run(command, capture_output=True, check=False)
    return program if built.returncode == 0 else None


def _measured(threads: int, isa: str | None, sizes: Iterable[int] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the probe says with each instruction set up to `isa`, best first; only the best reads `sizes`."""
    flags = _ARM if platform.machine() in ("aarch64", "arm64") else _X86
    for name in list(flags)[list(flags).index(isa) if isa in flags else 0 :]:
        program = _build(name, tuple(flags[name]))
        command = [str(program), str(threads), *map(str, sizes)]
        run = program and subprocess.run(command, capture_output=True, text=True, check=False)
        if run and run.returncode == 0:
            sizes = ()
            yield name, json.loads(run.stdout)


def probe(threads: int, isa: str | None = None) -> Probe | None:
    """Peak FLOP/s of all threads for each ISA, and bytes/s of one thread by bytes with the best; None: not measurable.

    Parameters
    ----------
    threads : int
        Threads that work at the same time.
    isa : str, optional
        Leave out what is better than this.
    """
    found = dict(_measured(threads, isa, _SIZES))
    if not found:
        return None
    peaks = {name: one["peak_flops"] for name, one in found.items()}
    return {"peak_flops": peaks, "bytes_per_second": next(iter(found.values()))["bytes_per_second"]}


class Moment(NamedTuple):
    """What the machine does now: clocks move while a benchmark runs, and so do the threads of a virtual machine."""

    peak: float  # FLOP/s of all threads, with the best instruction set
    meeting: float | None  # seconds that two threads take to meet, there and back; None with one
    bytes_per_second: dict[str, float]  # of one thread, by the bytes that were asked for


def moment(threads: int, isa: str | None = None, sizes: Iterable[int] = ()) -> Moment | None:
    """What `threads` threads can do at this moment, each reading `sizes` bytes; None: not measurable."""
    for _, found in _measured(threads, isa, sizes):
        return Moment(found["peak_flops"], found.get("meeting_seconds"), found["bytes_per_second"])
    return None


def beside(found: Probe, moments: Iterable[Moment]) -> Probe:
    """`found`, with what was read beside a case instead: memory is shared with neighbours, and caches move."""
    read: dict[str, list[float]] = {}
    for one in moments:
        for size, rate in one.bytes_per_second.items():
            read.setdefault(size, []).append(rate)
    rates = {size: statistics.median(values) for size, values in read.items()}
    return {**found, "bytes_per_second": {**found["bytes_per_second"], **rates}}


def best(first: Probe | None, second: Probe | None) -> Probe | None:
    """The larger of each figure: a shared machine shows its limit only at times."""
    if not (first and second):
        return first or second
    return {key: {item: max(value, second[key][item]) for item, value in first[key].items()} for key in first}


def _bandwidth(found: Probe, bytes_per_thread: float) -> float:
    """Bytes/s of one thread, between the measured sizes on a log scale."""
    rates = sorted((int(size), rate) for size, rate in found["bytes_per_second"].items())
    above = bisect.bisect_left(rates, (bytes_per_thread, 0))
    if above in (0, len(rates)):
        return rates[min(above, len(rates) - 1)][1]
    (small, fast), (large, slow) = rates[above - 1 : above + 1]
    return fast + (slow - fast) * math.log(bytes_per_thread / small) / math.log(large / small)


class _Work(NamedTuple):
    """One contraction: `steps` dependent products of `rows` rows by a (width, columns) matrix."""

    rows: int
    steps: int
    width: int
    columns: int

    def flops(self) -> int:
        return 2 * self.rows * self.steps * self.width * self.columns


def _works(layers: tuple[Layer, ...], rows: int, steps: int, width: int) -> Iterator[tuple[_Work, bool]]:
    """Every contraction of the layers, and whether its steps depend on each other."""
    distinct = steps  # steps of x that differ: a repeated one need be projected only once
    for layer in layers:
        units = layer.options.get("units")
        if layer.kind in ("LSTM", "GRU", "Bidirectional"):
            inner = layer.inner or layer
            units = inner.options["units"]
            columns = units * (GRU_GATES if inner.kind == "GRU" else GATES)
            for _ in range(2 if layer.inner else 1):
                yield _Work(rows * distinct, 1, width, columns), False
                yield _Work(rows, steps, units, columns), True
            width = units * (2 if layer.inner else 1)
            steps = distinct = steps if inner.options.get("return_sequences") else 1
        elif layer.kind in ("ConvLSTM1D", "ConvLSTM2D"):
            taps, filters = math.prod(layer.options["kernel_size"]), layer.options["filters"]
            yield _Work(rows * steps, 1, taps * width, GATES * filters), False
            yield _Work(rows, steps, taps * filters, GATES * filters), True
        elif layer.kind == "RepeatVector":
            steps, distinct = layer.options["n"], 1
        elif layer.kind == "Embedding":
            width = layer.options["output_dim"]
        elif layer.kind in ("Dense", "TimeDistributed"):
            units = (layer.inner or layer).options["units"]
            yield _Work(rows * steps, 1, width, units), False
            width = units


def _is_read(work: _Work, recurrent: bool) -> bool:
    """Whether reading the weights in each step may take longer than to multiply them."""
    return recurrent and work.rows < _MANY_ROWS


def _share(case: Case, work: _Work, threads: int) -> int:
    """Bytes of the weights that each thread reads in a step."""
    return work.width * work.columns * _item(case) // threads


def _item(case: Case) -> int:
    return 8 if case.dtype == "float64" else 4


def _works_of(case: Case) -> Iterator[tuple[_Work, bool]]:
    steps = 1 if case.kind == "stream" else case.steps
    return _works(case.layers, case.batch * math.prod(case.grid), steps, case.features)


def far_reads(case: Case, threads: int) -> list[int]:
    """How many bytes a thread reads in each step, where these are not in a cache of its own for certain."""
    shares = {_share(case, work, threads) for work, recurrent in _works_of(case) if _is_read(work, recurrent)}
    return sorted(share for share in shares if share >= _FAR)


def limit_microseconds(case: Case, found: Probe | None, peak_flops: float | None, threads: int) -> float | None:
    """The least time that the case can take; activations and everything else but the products count nothing.

    From 16 rows on it is work / peak. Below, each step also has to read the recurrent weights from wherever they fit:
    steps * max(recurrent flops / peak, recurrent bytes / bandwidth of that many bytes a thread).
    `peak_flops` is the peak beside the case's own timings; see `beside` for the bandwidth.
    """
    if not (found and peak_flops):
        return None
    flops = peak_flops * 4 / _item(case)
    seconds = 0.0
    for work, recurrent in _works_of(case):
        arithmetic = work.flops() / flops
        if _is_read(work, recurrent):
            share = _share(case, work, threads)
            arithmetic = max(arithmetic, work.steps * share / _bandwidth(found, share))
        seconds += arithmetic
    return seconds * 1e6


def describe() -> dict[str, Any]:
    """The machine in words, for the result file."""
    found: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    except OSError:
        pass
    numbers = {key: int(found[key]) for key in ("cpu family", "model") if found.get(key, "").isdigit()}
    cpu = found.get("model name") or platform.processor() or platform.machine()
    return {"cpu": cpu, **numbers, "cores": cores(), "system": f"{platform.system()} {platform.machine()}"}


def load() -> float | None:
    """Processes that were running in the last minute: what stands in the way of a fair measurement."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
