"""Measures the server under load: latency percentiles of lstmfast beside ONNX Runtime and Keras; see README.md.

python load.py measure lstmfast     two uvicorn workers under wrk; results/lstmfast.json
python load.py report               results/latency.md and results/latency.png from what has been measured
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
ENGINES = ("lstmfast", "onnxruntime", "keras")
CONNECTIONS = (2, 16)  # as many as workers: nobody waits; eight a worker: a queue
SECONDS = 12
WARM_UP_SECONDS = 2
START_SECONDS = 60
PERCENTILES = (50, 90, 99, 99.9)

# wrk's own summary lacks the 99.9th percentile and counts no wrong answers.
SCRIPT = """
local file = io.open(os.getenv("BODY"), "r")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency, requests)
  local errors = summary.errors
  local parts = {}
  for _, p in ipairs({50, 90, 99, 99.9}) do
    parts[#parts + 1] = string.format('"%g": %g', p, latency:percentile(p) / 1000)
  end
  io.write(string.format('\\nJSON {"requests": %d, "seconds": %g, "errors": %d, "milliseconds": {%s}}\\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, table.concat(parts, ", ")))
end
"""


def window() -> list[list[float]]:
    """One window of the model's input, (104, 6)."""
    values: list[list[float]] = np.random.default_rng(0).uniform(-1, 1, (104, 6)).astype("float32").round(4).tolist()
    return values


def uvicorn(port: int, workers: int = 2) -> list[str]:
    bind = ["--host", "127.0.0.1", "--port", str(port)]
    quiet = ["--log-level", "warning", "--no-access-log"]
    return [sys.executable, "-m", "uvicorn", "app:app", *bind, "--workers", str(workers), *quiet]


def gunicorn(port: int, workers: int = 2) -> list[str]:
    config = ["-c", str(HERE / "gunicorn.conf.py"), "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]
    return [sys.executable, "-m", "gunicorn", "app:app", *config, "--log-level", "warning"]


@contextlib.contextmanager
def serving(command: list[str], port: int, engine: str = "lstmfast") -> Iterator[str]:
    """Runs a server; gives its address once it answers."""
    environment = {**os.environ, "ENGINE": engine, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, cwd=HERE, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if server.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"The server did not start: {' '.join(command)}") from None
                time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait(20)


def run_wrk(address: str, connections: int, seconds: int, folder: Path) -> dict[str, Any]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(folder / "script.lua")]
    done = subprocess.run(
        [*command, f"{address}/predict"],
        env={**os.environ, "BODY": str(folder / "body.json")},
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("JSON "))
    found: dict[str, Any] = json.loads(line.removeprefix("JSON "))
    return found


def wait_for_workers(address: str, count: int = 2) -> None:
    """Ask until every worker has answered: a slow one may still be loading its model."""
    seen, end = set(), time.monotonic() + START_SECONDS
    while len(seen) < count:
        if time.monotonic() > end:
            raise RuntimeError(f"Only {len(seen)} of {count} workers answer.")
        with urllib.request.urlopen(f"{address}/health", timeout=30) as answer:
            seen.add(answer.headers["x-worker"])


def measure(engine: str, port: int) -> None:
    if shutil.which("wrk") is None:
        sys.exit("load.py needs wrk (a package of most distributions)")
    with tempfile.TemporaryDirectory() as name, serving(uvicorn(port), port, engine) as address:
        folder = Path(name)
        (folder / "script.lua").write_text(SCRIPT)
        (folder / "body.json").write_text(json.dumps({"x": [window()]}))
        wait_for_workers(address)
        run_wrk(address, 4, WARM_UP_SECONDS, folder)
        loads = {str(count): run_wrk(address, count, SECONDS, folder) for count in CONNECTIONS}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{engine}.json").write_text(json.dumps({"machine": machine(), "loads": loads}, indent=1) + "\n")
    print(engine, json.dumps(loads))


def machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def report() -> None:
    found = {
        engine: json.loads((RESULTS / f"{engine}.json").read_text())
        for engine in ENGINES
        if (RESULTS / f"{engine}.json").exists()
    }
    (RESULTS / "latency.md").write_text(table(found))
    draw(found, RESULTS / "latency.png")


def table(found: dict[str, Any]) -> str:
    one = next(iter(found.values()))
    lines = [
        "# Latency of the server, by what computes in it",
        "",
        f"{one['machine']}; two uvicorn workers and wrk share them; {SECONDS} s for each row. Written by `load.py`.",
        "",
        "| connections | engine | requests/s | " + " | ".join(f"p{p:g} ms" for p in PERCENTILES) + " | errors |",
        "|---|---|---|" + "---|" * len(PERCENTILES) + "---|",
    ]
    for count in map(str, CONNECTIONS):
        for engine, told in found.items():
            load = told["loads"][count]
            latency = " | ".join(f"{load['milliseconds'][f'{p:g}']:.2f}" for p in PERCENTILES)
            rate = load["requests"] / load["seconds"]
            lines.append(f"| {count} | {engine} | {rate:.0f} | {latency} | {load['errors']} |")
    return "\n".join(lines) + "\n"


def draw(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(CONNECTIONS), figsize=(10, 4.2), sharey=True)
    width = 0.8 / len(found)
    for axis, count in zip(axes, CONNECTIONS, strict=True):
        for place, (engine, told) in enumerate(found.items()):
            load = told["loads"][str(count)]
            values = [load["milliseconds"][f"{p:g}"] for p in PERCENTILES]
            rate = load["requests"] / load["seconds"]
            at = np.arange(len(PERCENTILES)) + (place - (len(found) - 1) / 2) * width
            bars = axis.bar(at, values, width, label=f"{engine}: {rate:.0f} requests/s")
            axis.bar_label(bars, [f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in values], fontsize=7)
        axis.set_yscale("log")
        axis.set_xticks(range(len(PERCENTILES)), [f"p{p:g}" for p in PERCENTILES])
        axis.set_title(f"{count} connections")
        axis.set_xlabel("percentile of requests")
        axis.legend(fontsize=8, loc="upper left")
        axis.margins(y=0.35)
    axes[0].set_ylabel("latency in ms (log scale)")
    figure.suptitle("One forecast over HTTP: two LSTM layers of a two-year window, two worker processes")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency of the server under load.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("measure", help="one engine in the server, under wrk")
    run.add_argument("engine", choices=ENGINES)
    run.add_argument("--port", type=int, default=8765)
    commands.add_parser("report", help="the table and the chart")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        measure(arguments.engine, arguments.port)
    else:
        report()


if __name__ == "__main__":
    main()
