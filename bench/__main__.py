"""Command line of the benchmark."""

import argparse
import datetime
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from bench import figures, imports, machine, report
from bench.cases import CASES, Case, drawn, select
from bench.compare import compare
from bench.peers import PEERS
from bench.runner import Bench, joined

_BUSY = 0.5
RESULTS = Path(__file__).with_name("results")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="lstmfast beside its peers, on equal terms")
    parser.add_argument("--full", action="store_true", help="every case of the table, not only the short form")
    parser.add_argument("--cases", nargs="+", metavar="PATTERN", help="shell patterns over names, groups and kinds")
    parser.add_argument("--drawn", type=int, metavar="COUNT", help="this many layers of random sizes instead")
    parser.add_argument("--seed", type=int, default=0, help="of --drawn (default %(default)s)")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), help="runners; default: all that are installed")
    parser.add_argument("--threads", nargs="+", type=int, help="thread counts; default: 1 and all")
    parser.add_argument("--isa", choices=["avx2", "generic"], help="hold lstmfast and the peers that allow it to this")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved repeats (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.05, help="of each repeat (default %(default)s)")
    parser.add_argument(
        "--rounds",
        type=int,
        help="at most; from the second on, of cases whose repeats disagree (default 1, with --full and --drawn 3)",
    )
    parser.add_argument("--out", type=Path, help="result path without suffix; default: bench/results/short, full, ...")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="RESULT.json",
        help="measure the cases of --cases, for those of this result or beside them",
    )
    parser.add_argument("--list", action="store_true", help="show the table of cases and stop")
    parser.add_argument(
        "--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="flag regressions between two JSON files"
    )
    parser.add_argument("--render", type=Path, metavar="RESULT.json", help="write its table and chart again, and stop")
    options = parser.parse_args(arguments)
    if options.drawn and (options.cases or options.full):
        parser.error("--drawn goes without --cases and --full")
    return options


def _progress(case: Case, row: dict[str, Any]) -> str:
    ours, best, name = figures.microseconds(row), figures.best_ratio(row), figures.best_peer(row)
    parts = [f"{case.name:26}", "lstmfast -" if ours is None else f"lstmfast {ours:.1f} us"]
    if figures.fraction(row):
        parts.append(f"{figures.fraction(row):.2f} of the limit")
    if name:
        parts.append(f"best peer {name} {figures.microseconds(row, name):.1f} us")
    if best:
        parts.append(f"ratio {best:.2f}")
    # A peer that cannot is no news; lstmfast failing, or anyone giving wrong numbers, is.
    skips = {name: one["skipped"] for name, one in row["runners"].items() if "skipped" in one}
    return ", ".join(parts + [f"{name} {why}" for name, why in skips.items() if PEERS[name].ours or "wrong" in why])


def _run(names: list[str], cases: list[Case], threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """All cases at one thread count; the versions go along."""

    def limit(case: Case, row: dict[str, Any], found: machine.Probe | None) -> None:
        peak = statistics.median(row["peaks"]) if row["peaks"] else None
        own = machine.beside(found, beside[case.name]) if found else None
        row["limit"] = machine.limit_microseconds(case, own, peak, threads)

    before = machine.probe(threads, options.isa)
    rows: dict[str, dict[str, Any]] = {}
    beside: dict[str, list[machine.Moment]] = {}
    with Bench(names, threads, options.isa) as bench:
        for turn in range(options.rounds):
            # What disturbs a machine lasts for seconds, and spoils all repeats of a case, but hardly two rounds of it.
            left = [case for case in cases if turn == 0 or not figures.is_steady(rows[case.name], options.repeats)]
            for number, case in enumerate(left, 1):
                results, moments = bench.run(case, options.repeats, options.seconds)
                row = {"kind": case.kind, "group": case.group, "batch": case.batch, "runners": results}
                if turn > 0:
                    row["runners"] = joined(rows[case.name]["runners"], results)
                    moments = beside[case.name] + moments
                row["peaks"] = [moment.peak for moment in moments]
                row["bandwidths"] = [moment.bytes_per_second for moment in moments if moment.bytes_per_second]
                row["meetings"] = [moment.meeting for moment in moments if moment.meeting is not None]
                rows[case.name], beside[case.name] = row, moments
                limit(case, row, before)
                done = f"{threads} thr {number:2}/{len(left)}" + (f" round {turn + 1}" if turn else "")
                print(f"[{done}] {_progress(case, row)}", flush=True)
    found = machine.best(before, machine.probe(threads, options.isa))
    for case in cases:  # with the better of the two probes
        limit(case, rows[case.name], found)
    return {"threads": threads, "probe": found, "versions": bench.versions, "cases": rows}


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    names = options.peers or [name for name, peer in PEERS.items() if peer.available()]
    if options.isa:
        names = [name for name in names if PEERS[name].held_to_isa]
    cases = drawn(options.drawn, options.seed) if options.drawn else select(options.cases, options.full)
    counts = options.threads or sorted({1, machine.cores()})
    load = machine.load()
    if load and load > _BUSY:
        print(f"this machine is busy (load {load:.1f}): expect noise, most of all on several threads", flush=True)
    runs = [_run(names, cases, threads, options) for threads in counts]
    arguments = " ".join(sys.argv[1:])
    return {
        "machine": machine.describe(),
        "load": load,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": f"python -m bench {arguments}".strip(),
        "isa": options.isa,
        "repeats": options.repeats,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "versions": runs[0]["versions"],
        "runs": runs,
        "imports": {} if options.cases or options.drawn else imports.measure([PEERS[name] for name in names]),
    }


def _replaced(result: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The result with the chosen cases measured again, by the same runners on the same machine."""
    if not options.cases:
        raise SystemExit("--into needs --cases")
    now = machine.describe()
    if now | result["machine"] != now:  # an older result may say less
        raise SystemExit("that result is of another machine")
    options.isa, options.peers = result["isa"], [name for name in PEERS if name in result["versions"]]
    options.threads = options.threads or [run["threads"] for run in result["runs"]]
    again = _measure(options)
    cases = {run["threads"]: run["cases"] for run in again["runs"]}
    for run in result["runs"]:
        joint = run["cases"] | cases.get(run["threads"], {})
        order = [case.name for case in CASES if case.name in joint]  # the result may be older than a case
        run["cases"] = {name: joint[name] for name in dict.fromkeys([*order, *joint])}
    result.setdefault("again", []).append(again["command"])
    return result


def _write(result: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(report.markdown(result), encoding="utf-8")
    report.chart(result, out.with_suffix(".png"))
    chart = ", .png" if out.with_suffix(".png").exists() else ""  # there is none without a peer
    print(f"wrote {out}.json, .md{chart}")


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; the exit status is 1 when --compare found regressions."""
    options = _options(arguments)
    if options.list:
        for case in CASES:
            print(f"{case.name:28} {case.group:14} {'short' if case.short else 'full'}")
        return 0
    if options.compare:
        lines, slower = compare(*(json.loads(path.read_text(encoding="utf-8")) for path in options.compare))
        print("\n".join(lines))
        return int(slower > 0)
    if options.render:
        _write(json.loads(options.render.read_text(encoding="utf-8")), options.render.with_suffix(""))
        return 0
    if options.rounds is None:
        options.rounds = 3 if options.full or options.drawn else 1
    started = time.monotonic()
    if options.into:
        _write(_replaced(json.loads(options.into.read_text(encoding="utf-8")), options), options.into.with_suffix(""))
        return 0
    result = _measure(options)
    form = "drawn" if options.drawn else "full" if options.full else "cases" if options.cases else "short"
    _write(result, options.out or RESULTS / (form + (f"-{options.isa}" if options.isa else "")))
    print(f"took {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
