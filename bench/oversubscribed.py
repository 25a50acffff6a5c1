"""What too many threads cost, and a busy neighbour: python -m bench.oversubscribed

Each layer runs on every number of threads from 1 to the cores, and on more, alone and beside processes that never rest.
The table gives microseconds a call (mean, so that every stall counts, those of the first tenth of a second too, in
which calls learn about their neighbours) and what the largest number of threads loses against the best. The exit status
is 1 where that is more than 1.5.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

from bench import machine
from bench.cases import Case, single
from bench.profile_case import pack

ALLOWED = 1.5
_CASES = (
    single("many units, one row", 1, 50, 256, 512),
    single("units for two cores, one row", 1, 40, 64, 256),
    single("small, one row", 1, 40, 1, 100),
    single("smallest, one step", 1, 1, 8, 32),
    single("small, 32 rows", 32, 40, 1, 100),
    single("64 rows", 64, 25, 256, 256),
)


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Processes that keep a core each busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def microseconds(case: Case, counts: list[int], seconds: float, rounds: int) -> dict[int, float]:
    """By number of threads; the numbers take turns, and the median of each one's rounds counts."""
    layer, x = pack(case), case.inputs()
    found: dict[int, list[float]] = {threads: [] for threads in counts}
    for _ in range(rounds):
        for threads in counts:
            calls, start = 0, time.perf_counter()
            until = start + seconds / rounds
            while (now := time.perf_counter()) < until:
                layer.run(x, None, None, True, False, False, False, None, threads)
                calls += 1
            found[threads].append(1e6 * (now - start) / calls)
    return {threads: sorted(times)[len(times) // 2] for threads, times in found.items()}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = machine.cores()
    parser.add_argument("--threads", type=int, default=4 * cores, help="the number that is too many")
    parser.add_argument("--seconds", type=float, default=2.4, help="per case, number of threads and neighbours")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each number of threads")
    options = parser.parse_args()
    counts = [*range(1, cores + 1), options.threads]
    names = {0: "alone", 1: "one neighbour", cores: "a neighbour on every core"}
    print(f"{cores} cores; microseconds a call on {', '.join(map(str, counts[:-1]))} and {options.threads} threads\n")
    print(f"| layer | beside | {' | '.join(map(str, counts))} | {options.threads} against the best |")
    print("|---" * (len(counts) + 3) + "|")
    worst = 0.0
    for count, beside in names.items():
        with neighbours(count):
            for case in _CASES:
                times = microseconds(case, counts, options.seconds, options.rounds)
                loss = times[options.threads] / min(times.values())
                worst = max(worst, loss)
                figures = " | ".join(f"{times[threads]:.1f}" for threads in counts)
                print(f"| {case.group}: {case.name} | {beside} | {figures} | {loss:.2f} |", flush=True)
    print(f"\nAt most {worst:.2f} times the best; allowed are {ALLOWED}.")
    return worst > ALLOWED


if __name__ == "__main__":
    sys.exit(main())
