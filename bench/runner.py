"""Runs cases over runners, each in a process of its own, one at a time, in rotated order."""

import contextlib
import os
import pickle
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import figures, machine
from bench.cases import Case
from bench.peers import PEERS, Peer
from bench.reference import truth
from bench.timing import PAUSE_SECONDS

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4  # of the largest output; float32 stays below 1e-5 here, bfloat16 or a wrong gate do not
_truths: dict[tuple[str, int], np.ndarray] = {}  # by a case's name and draw; the same for every thread count

# {runner: {"error", "microseconds": [one of each repeat], "fastest", "extra_bytes" of lstmfast} or {"skipped": reason}}
Results = dict[str, dict[str, Any]]


class RunnerError(RuntimeError):
    """A runner failed or died on a case."""


class Runner:
    """The parent's end of one worker process."""

    def __init__(self, peer: Peer, threads: int, isa: str | None) -> None:
        self.peer = peer
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", peer.name, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ | peer.environment(threads, isa),
        )

    def tell(self, command: str, argument: Any = None) -> None:
        """Start a command; `answer` must follow."""
        with contextlib.suppress(BrokenPipeError):  # a dead process gives no answer: reported there
            pickle.dump((command, argument), self._process.stdin)
            self._process.stdin.flush()

    def answer(self) -> Any:
        """What the command gave; RunnerError when it gave nothing."""
        try:
            status, answer = pickle.load(self._process.stdout)
        except EOFError:
            raise RunnerError(f"process ended with status {self._process.wait()}") from None
        if status != "ok":
            raise RunnerError(answer.strip().splitlines()[-1] if status == "error" else answer)
        return answer

    def ask(self, command: str, argument: Any = None) -> Any:
        """Command and answer."""
        self.tell(command, argument)
        return self.answer()

    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def check(y: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute error; RunnerError when it is no rounding error."""
    if y.shape != expected.shape:
        raise RunnerError(f"gave shape {y.shape}, expected {expected.shape}")
    error = float(np.max(np.abs(y - expected)))
    if not error <= TOLERANCE * max(1.0, float(np.max(np.abs(expected)))):
        raise RunnerError(f"wrong: off by {error:.2g}")
    return error


def joined(results: Results, more: Results) -> Results:
    """Two rounds of a case as one: of a runner that failed in one of them nothing counts."""

    def join(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        if "skipped" in one or "skipped" in other:
            return one if "skipped" in one else other
        joint = {
            "error": max(one["error"], other["error"]),
            "microseconds": one["microseconds"] + other["microseconds"],
            "fastest": min(one["fastest"], other["fastest"]),
        }
        if "extra_bytes" in one:
            joint["extra_bytes"] = max(one["extra_bytes"], other["extra_bytes"])
        return joint

    return {name: join(one, more[name]) for name, one in results.items()}


class Bench:
    """All runners at one thread count."""

    def __init__(self, names: list[str], threads: int, isa: str | None) -> None:
        self.threads = threads
        self._isa = isa
        self._runners: dict[str, Runner] = {}
        self.versions: dict[str, str] = {}
        for name in names:
            runner = Runner(PEERS[name], threads, isa)
            try:
                self.versions[name] = runner.ask("version")
                self._runners[name] = runner
            except RunnerError as failure:
                print(f"{name} is left out: {failure}")
                runner.close()

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        for runner in self._runners.values():
            runner.close()

    def run(self, case: Case, repeats: int, seconds: float) -> tuple[Results, list[machine.Moment]]:
        """Check, then time. Beside the results, what the machine could do before each repeat."""
        results: Results = {}
        errors: dict[str, list[float]] = {}

        def drop(name: str, failure: RunnerError) -> None:
            results[name] = {"skipped": str(failure)}
            if self._runners[name].ended():
                self._runners[name] = Runner(PEERS[name], self.threads, self._isa)

        ready = [name for name, runner in self._runners.items() if case.kind in runner.peer.kinds]
        for drawn in case.draws():
            asked = [name for name in ready if drawn == case or name in (figures.US, *figures.ERROR_PEERS)]
            for name in asked:  # all at once: nothing is timed yet, and some compile for seconds
                self._runners[name].tell("prepare", drawn)
            key = drawn.name, drawn.draw
            if key not in _truths:
                _truths[key] = truth(drawn)
            for name in asked:
                try:
                    errors.setdefault(name, []).append(check(self._runners[name].answer(), _truths[key]))
                except RunnerError as failure:
                    drop(name, failure)
                    ready.remove(name)
        for name in ready:
            results[name] = {"error": statistics.fmean(errors[name]), "microseconds": []}
        moments = []
        for repeat in range(repeats):
            time.sleep(PAUSE_SECONDS)
            moments.append(machine.moment(self.threads, self._isa, machine.far_reads(case, self.threads)))
            turn = repeat % len(ready) if ready else 0
            for name in ready[turn:] + ready[:turn]:
                if "skipped" in results[name]:
                    continue
                time.sleep(PAUSE_SECONDS)
                try:
                    median, least = (ns / 1e3 for ns in self._runners[name].ask("time", seconds))
                except RunnerError as failure:
                    drop(name, failure)
                    continue
                row = results[name]
                row["microseconds"].append(median)
                row["fastest"] = min(least, row.get("fastest", least))
        if "lstmfast" in ready and "skipped" not in results["lstmfast"]:
            results["lstmfast"]["extra_bytes"] = self._runners["lstmfast"].ask("extra_bytes")
        return results, [moment for moment in moments if moment]
