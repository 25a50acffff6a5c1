"""Times lstmfast's core alone, in this process, on single layers: the tuner's quick look.

    python -m bench.profile_case --cases '1x*' 64x25x512-u512 --threads 1 2 --against bench/results/short.json

One line per case and thread count: microseconds (median and fastest), fraction of the machine's limit, ratio to each
peer's figure in the `--against` file (above 1: lstmfast is faster) and error against float64. Peers' figures are taken
from another run: good for direction while tuning, not for a claim.
"""

import argparse
import json
import time
from pathlib import Path

from bench import machine
from bench.cases import Case, select
from bench.peers import PEERS
from bench.reference import truth
from bench.runner import check
from bench.timing import PAUSE_SECONDS, per_call
from lstmfast import _core


def activation(name: str) -> tuple[str, float, float, float]:
    """A Keras activation without parameters, in the core's own form."""
    return (name, 0.0, 0.0, 0.0)


TANH, SIGMOID = activation("tanh"), activation("sigmoid")


def pack(case: Case) -> _core.PackedLayer:
    """The case's layer in the core's own form."""
    return _core.PackedLayer("lstm", *case.weights()[0], TANH, SIGMOID)


def _peers(path: Path | None) -> dict:
    """{(case, threads): {peer: fastest microseconds}} of a result file."""
    if path is None:
        return {}
    found = {}
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        for name, row in run["cases"].items():
            figures = {peer: one["fastest"] for peer, one in row["runners"].items() if "fastest" in one}
            found[name, run["threads"]] = {peer: one for peer, one in figures.items() if not PEERS[peer].ours}
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["layer"], help="shell patterns over names and groups")
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, machine.cores()}))
    parser.add_argument("--seconds", type=float, default=0.2, help="per case and thread count")
    parser.add_argument("--isa", help="as LSTMFAST_ISA")
    parser.add_argument("--against", type=Path, help="result file with peers' figures")
    parser.add_argument("--check", action=argparse.BooleanOptionalAction, default=True, help="against float64 first")
    options = parser.parse_args()
    if options.isa:
        _core.select_isa(options.isa)
    limits = {threads: machine.probe(threads, options.isa) for threads in options.threads}
    for threads, found in limits.items():
        peaks = ", ".join(f"{isa} {peak / 1e9:.0f}" for isa, peak in found["peak_flops"].items()) if found else "?"
        print(f"{threads} threads: peak GFLOP/s {peaks}")
    peers = _peers(options.against)
    print(f"{'case':24} {'thr':>3} {'median us':>10} {'fastest':>10} {'limit':>9} {'frac':>5} {'error':>8}")
    for case in select(options.cases, full=True):
        if case.kind != "layer":
            continue
        layer, x, expected = pack(case), case.inputs(), truth(case) if options.check else None
        for threads in options.threads:

            def call() -> object:
                return layer.run(x, None, None, True, False, False, False, None, threads)  # noqa: B023

            try:
                error = check(call(), expected) if options.check else float("nan")
            except RuntimeError as failure:
                print(f"{case.name:24} {threads:3} {failure}")
                continue
            time.sleep(PAUSE_SECONDS)
            median, fastest = (ns / 1e3 for ns in per_call(call, options.seconds))
            moment = machine.moment(threads, options.isa, machine.far_reads(case, threads))
            peak = moment.peak if moment else None
            found = limits[threads]
            if found and moment:
                found = machine.beside(found, [moment])
            limit = machine.limit_microseconds(case, found, peak, threads) or float("nan")
            ratios = " ".join(f"{peer} {us / fastest:.2f}" for peer, us in peers.get((case.name, threads), {}).items())
            line = f"{case.name:24} {threads:3} {median:10.2f} {fastest:10.2f} {limit:9.2f} {limit / fastest:5.2f}"
            print(f"{line} {error:8.1e}  {ratios}", flush=True)


if __name__ == "__main__":
    main()
