"""Fuzzes the loader: `python fuzz.py --seconds 600`, or `make fuzz SECONDS=600`.

Cases run in a process of their own, one after the other, for libhdf5 may crash on what it reads: that is a finding, and
the next process goes on. With Atheris new cases are made of those that reached new code; without it, of seeds alone.
Says how many cases ran, what was found, and which lines of lstmfast/saving they reached.
Next: fuzz_harness.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fuzz_corpus import make_corpus

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "lstmfast"
GENOME_BYTES = 160
STALLED_SECONDS = 120


@dataclasses.dataclass
class Outcome:
    """What a run came to: `findings` are dicts of `fuzz_harness.Finding`, one for each kind and place."""

    executions: int
    findings: list[dict[str, Any]]
    processes: int
    seconds: float


class State:
    """What the process that runs the cases leaves behind even if it crashes: their number, and the last of them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state"
        self.findings = folder / "findings.jsonl"

    def write(self, count: int, genome: bytes) -> None:
        with open(self.path, "wb") as file:
            file.write(struct.pack("<Q", count) + genome)

    def read(self) -> tuple[int, bytes]:
        content = self.path.read_bytes() if self.path.exists() else b""
        return (struct.unpack_from("<Q", content)[0], content[8:]) if len(content) >= 8 else (0, b"")

    def found(self, finding: dict[str, Any]) -> None:
        with open(self.findings, "a") as file:
            file.write(json.dumps(finding) + "\n")

    def all_found(self) -> list[dict[str, Any]]:
        lines = self.findings.read_text().splitlines() if self.findings.exists() else []
        unique = {(finding["kind"], finding["where"]): finding for finding in map(json.loads, reversed(lines))}
        return list(unique.values())


def genomes(first: int, count: int) -> list[bytes]:
    """The cases of the seeds from `first` on."""
    return [random.Random(seed).randbytes(GENOME_BYTES) for seed in range(first, first + count)]


# ---- the parent ----------------------------------------------------------------------------------------------------


def fuzz(
    folder: Path,
    bases: Path,
    *,
    seconds: float = 3600,
    seeds: tuple[int, int] | None = None,
    plant: str | None = None,
    stop_at_finding: bool = False,
) -> Outcome:
    """Run cases from the good files in `bases`: of `seeds` (first, count), or as Atheris finds them, for `seconds`."""
    state = State(folder)
    begin = time.monotonic()
    ran, processes = 0, 0
    first, left = seeds or (0, 0)
    while (remaining := seconds - (time.monotonic() - begin)) > 0 and (seeds is None or left > 0):
        state.write(0, b"")
        arguments = ["--bases", bases, "--folder", folder]
        arguments += ["--atheris", max(1, int(remaining))] if seeds is None else ["--seeds", f"{first}:{left}"]
        arguments += ["--plant", plant] if plant else []
        arguments += ["--stop"] if stop_at_finding else []
        code, said = _run_child(state, arguments, remaining + 60)
        processes += 1
        count, genome = state.read()
        ran += count
        first, left = first + count, left - count
        if code == 0:
            break
        if not genome:
            raise RuntimeError(f"the fuzzer itself failed:\n{said}")
        lines = [line for line in said.splitlines() if not line.startswith(("INFO:", "WARNING:", "#", "stat::"))]
        where = next((line.strip() for line in lines if "rror" in line), "")
        says = "\n  ".join(lines[:20])
        state.found({"kind": f"crash {code}", "where": where, "says": says, "case": "", "genome": genome.hex()})
        if stop_at_finding:
            break
    return Outcome(ran, state.all_found(), processes, time.monotonic() - begin)


def _run_child(state: State, arguments: list[Any], timeout: float) -> tuple[int | str, str]:
    """How a child process ended: its exit status, or that it hung; and what it said."""
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(
            [sys.executable, __file__, "--child", *map(str, arguments)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "LSTMFAST_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join([str(TESTS), *(path for path in sys.path if path)]),
            },
        )
        before, moved = None, time.monotonic()
        code: int | str | None = None
        while code is None:
            try:
                code = child.wait(0.5)
            except subprocess.TimeoutExpired:
                now = state.read()
                if now != before:
                    before, moved = now, time.monotonic()
                if time.monotonic() - moved > STALLED_SECONDS:
                    code = "hang"
        if code == "hang":
            child.kill()
            child.wait()
        output.seek(0)
        return code, output.read()


def reached(folder: Path, bases: Path) -> str:
    """The lines of lstmfast/saving that the cases kept in the corpus reach, as a table."""
    code, said = _run_child(State(folder), ["--bases", bases, "--folder", folder, "--coverage"], 600)
    return said if code == 0 else f"coverage could not be measured ({code}):\n{said}"


# ---- the child -----------------------------------------------------------------------------------------------------


def child(options: argparse.Namespace) -> None:
    if options.atheris:
        _with_atheris(options)
        return
    if options.coverage:
        _with_coverage(options)
        return
    first, count = map(int, options.seeds.split(":"))
    _Runner(options, genomes(first, count)).all()


class _Runner:
    """Checks cases and keeps the state."""

    def __init__(self, options: argparse.Namespace, cases: list[bytes] | None = None) -> None:
        from fuzz_harness import PLANTS, Harness

        self.state = State(options.folder)
        self.stop = options.stop
        self.cases = cases or []
        scratch = options.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        self.harness = Harness(options.bases, scratch)
        if options.plant:
            PLANTS[options.plant]()
        self.count = 0

    def one(self, genome: bytes) -> bool:
        """Whether the case was harmless."""
        self.count += 1
        self.state.write(self.count, genome)
        finding = self.harness.check(genome)
        if finding is not None:
            self.state.found(dataclasses.asdict(finding))
        return finding is None

    def all(self) -> None:
        for genome in self.cases:
            if not self.one(genome) and self.stop:
                break


def _with_atheris(options: argparse.Namespace) -> None:
    import atheris

    with atheris.instrument_imports(include=["lstmfast"]):
        import fuzz_harness  # noqa: F401
    runner = _Runner(options)
    corpus = options.folder / "corpus"
    if not corpus.exists():
        corpus.mkdir()
        for number, genome in enumerate(genomes(0, 400)):
            (corpus / f"seed-{number}").write_bytes(genome)

    def one(genome: bytes) -> None:
        runner.one(genome)

    limits = [f"-max_total_time={options.atheris}", "-max_len=400", "-len_control=0", f"-timeout={STALLED_SECONDS}"]
    atheris.Setup(["fuzz", str(corpus), *limits, f"-artifact_prefix={options.folder}/", "-print_final_stats=1"], one)
    atheris.Fuzz()


def _with_coverage(options: argparse.Namespace) -> None:
    import coverage

    measured = coverage.Coverage(data_file=None, include=[str(PACKAGE / "saving" / "*")])
    measured.start()
    corpus = sorted((options.folder / "corpus").iterdir())
    _Runner(options, [path.read_bytes() for path in corpus]).all()
    measured.stop()
    measured.report(file=sys.stdout, show_missing=True)


# ---- the command ---------------------------------------------------------------------------------------------------


def replay(options: argparse.Namespace) -> None:
    """Check one case again, and keep its file."""
    runner = _Runner(options)
    finding = runner.harness.check(bytes.fromhex(options.replay))
    print(finding or "harmless", f"the file: {runner.harness.path}", sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument(
        "--folder", type=Path, default=TESTS.parent / "build" / "fuzz", help="keeps corpus and findings"
    )
    parser.add_argument("--replay", metavar="HEX", help="check the case of a finding again")
    for internal in ("--child", "--coverage", "--stop"):
        parser.add_argument(internal, action="store_true", help=argparse.SUPPRESS)
    for internal in ("--seeds", "--plant", "--atheris"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    parser.add_argument("--bases", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return 0
    options.bases = options.bases or options.folder / "bases"
    if not options.bases.exists():
        partial = options.bases.with_name(options.bases.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make_corpus(partial, live=True)
        partial.rename(options.bases)
    if options.replay:
        replay(options)
        return 0
    (options.folder / "findings.jsonl").unlink(missing_ok=True)
    outcome = fuzz(options.folder, options.bases, seconds=options.seconds)
    table = reached(options.folder, options.bases)
    files = len(list(options.bases.iterdir()))
    print(table)
    print(f"{outcome.executions} executions in {outcome.seconds:.0f} s, of {files} good files; ", end="")
    print(f"{len(list((options.folder / 'corpus').iterdir()))} cases reach something of their own")
    for finding in outcome.findings:
        print(f"\n{finding['kind']} at {finding['where']}, {finding['case']}\n  {finding['says']}")
        print(f"  python tests/fuzz.py --replay {finding['genome']}")
    print(f"{len(outcome.findings)} findings")
    return bool(outcome.findings)


if __name__ == "__main__":
    sys.exit(main())
