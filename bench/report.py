"""Result files: Markdown tables and the chart, both made from the JSON alone."""

import statistics
from pathlib import Path
from typing import Any

from bench import figures
from bench.peers import PEERS

Result = dict[str, Any]

_NONE = "-"
_KINDS = {
    "layer": "single layers",
    "gru": "single GRUs",
    "model": "whole models",
    "mixed": "models with other layers",
    "stream": "streaming steps",
    "convolutional": "convolutional LSTMs",
}
_SCALING_BATCH, _SCALING_MICROSECONDS = 16, 200


def _number(value: float | None, digits: int = 2) -> str:
    if value is None:
        return _NONE
    return f"{value:.0f}" if value >= 100 else f"{value:.{digits}f}"


def _time(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)] + [""]


def _runners(result: Result) -> list[str]:
    return [name for name in PEERS if name in result["versions"]]


def _cell(row: dict[str, Any], name: str) -> str:
    text = _time(figures.microseconds(row, name))
    return f"**{text}**" if name == figures.best_peer(row) else text


def _times(result: Result, run: Result) -> list[str]:
    runners = _runners(result)
    head = ["case", *(PEERS[name].title for name in runners), "limit", "fraction", "ratio to best peer", "error ratio"]
    head.append("extra KiB")
    rows = []
    for name, row in run["cases"].items():
        values = [figures.fraction(row), figures.best_ratio(row), figures.error_ratio(row)]
        times = [_cell(row, runner) for runner in runners]
        rows.append([f"`{name}`", *times, _time(row["limit"]), *map(_number, values), _kibibytes(row)])
    return _table(head, rows)


def _kibibytes(row: dict[str, Any]) -> str:
    extra = figures.extra_bytes(row)
    return _NONE if extra is None else f"{extra / 1024:,.0f}"


def _means(result: Result, run: Result) -> list[str]:
    others = [name for name in _runners(result) if not PEERS[name].ours]
    head = ["geometric mean over", "cases", "ratio to best peer", *(f"to {PEERS[name].title}" for name in others)]
    rows = []
    for kind, title in _KINDS.items():
        cases = [row for row in run["cases"].values() if row["kind"] == kind]
        if cases:
            best = figures.geometric_mean(map(figures.best_ratio, cases))
            each = [figures.geometric_mean(figures.ratio(row, name) for row in cases) for name in others]
            rows.append([title, str(len(cases)), _number(best), *map(_number, each)])
    return _table(head, rows)


def _skips(run: Result) -> list[str]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for name, row in run["cases"].items():
        for runner, one in row["runners"].items():
            if "skipped" in one:
                reasons.setdefault((PEERS[runner].title, one["skipped"]), []).append(f"`{name}`")
    lines = [f"- {title}: {reason} ({', '.join(cases)})" for (title, reason), cases in reasons.items()]
    return ["Not run:", *lines, ""] if lines else []


def _scaling(result: Result) -> list[str]:
    """How much faster the most threads are than one."""
    by_threads = {run["threads"]: run for run in result["runs"]}
    most = max(by_threads)
    if 1 not in by_threads or most == 1:
        return []
    rows = []
    for name, row in by_threads[1]["cases"].items():
        one, many = (figures.microseconds(by_threads[threads]["cases"].get(name, row)) for threads in (1, most))
        if one and many and row["batch"] >= _SCALING_BATCH and one >= _SCALING_MICROSECONDS:
            rows.append([f"`{name}`", _time(one), _time(many), _number(one / many)])
    head = ["case", "1 thread, µs", f"{most} threads, µs", "times faster"]
    return [f"## lstmfast on {most} threads against one", "", *_table(head, rows)] if rows else []


def _imports(result: Result) -> list[str]:
    found = result["imports"].items()
    rows = [[f"`{name}`", _time(one["milliseconds"]), _time(one["megabytes"])] for name, one in found]
    head = ["import", "ms beyond NumPy", "MB of its package"]
    return ["## Before the first number", "", *_table(head, rows)] if rows else []


def _probe(run: Result) -> str:
    if not run["probe"]:
        return "The machine's limit could not be measured (no C compiler)."
    peaks = ", ".join(f"{isa} {peak / 1e9:.0f}" for isa, peak in run["probe"]["peak_flops"].items())
    found = [peak for row in run["cases"].values() for peak in row.get("peaks", ())]
    beside = f"; beside the cases {min(found) / 1e9:.0f} to {max(found) / 1e9:.0f}" if found else ""
    # The median of a case's repeats: two threads that begin on the same processor wait there for milliseconds.
    meetings = [statistics.median(row["meetings"]) for row in run["cases"].values() if row.get("meetings")]
    met = f" Two threads met in {min(meetings) * 1e9:.0f} to {max(meetings) * 1e9:.0f} ns." if meetings else ""
    rates = run["probe"]["bytes_per_second"]
    sizes = ", ".join(f"{int(size) // 1024} KiB {rate / 1e9:.0f}" for size, rate in rates.items())
    return (
        f"Peak before and after, GFLOP/s: {peaks}{beside}.{met} "
        f"Read bandwidth of each thread, GB/s, by bytes a thread: {sizes}."
    )


def _repeats(result: Result) -> str:
    most = result.get("rounds", 1) * result["repeats"]
    again = f" (up to {most} where they disagree)" if most > result["repeats"] else ""
    return f"median of {result['repeats']} interleaved repeats{again} of {result['seconds']} s each, warm"


def markdown(result: Result) -> str:
    """The whole result as Markdown."""
    machine = result["machine"]
    numbers = "".join(f", {key} {machine[key]}" for key in ("cpu family", "model") if key in machine)
    lines = [
        f"# lstmfast and its peers on {machine['cpu']}",
        "",
        f"{machine['cores']} cores{numbers}, {machine['system']}, {result['date']}; "
        f"instruction set: {result['isa'] or 'best'}; "
        f"load before: {_number(result['load'])}; "
        f"{_repeats(result)}. Command: `{result['command']}`."
        + "".join(f" Then, for the rows of these cases: `{command}`." for command in result.get("again", ())),
        "",
        "Versions: " + ", ".join(f"{PEERS[name].title} {result['versions'][name]}" for name in _runners(result)) + ".",
        "",
        "Times: microseconds a call; the fastest peer is bold. Fraction: the machine's limit over lstmfast's time; "
        "ratio, the best peer's time over lstmfast's; error ratio, lstmfast's largest error against float64 (of small "
        "cases the mean over several draws of weights and inputs) over the largest of ONNX Runtime's, OpenVINO's and "
        "PyTorch's; extra, what a call of lstmfast needs at its peak beyond "
        "its output, as the kernel counts pages (it may miss some 100 KiB). The peak FLOP/s behind the limit is that "
        "measured before each repeat of the case. A case is named `batch x steps x features - u units`.",
        "",
    ]
    for run in result["runs"]:
        plural = "s" if run["threads"] > 1 else ""
        lines += [f"## {run['threads']} thread{plural}", "", _probe(run), ""]
        lines += [*_means(result, run), *_times(result, run), *_skips(run)]
    lines += [*_scaling(result), *_imports(result)]
    return "\n".join(lines).rstrip() + "\n"


def chart(result: Result, path: Path) -> None:
    """Every case's ratio to every peer, a panel per thread count; nothing where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = [run for run in result["runs"] if any(map(figures.best_ratio, run["cases"].values()))]
    if not runs:
        return
    names = list(runs[0]["cases"])
    others = [name for name in _runners(result) if not PEERS[name].ours]
    colours = dict(zip(others, pyplot.get_cmap("tab10").colors, strict=False))
    shapes = dict(zip(others, "osD^vP*X", strict=False))
    height_inches = 2.4 + 0.24 * len(names)
    figure, panels = pyplot.subplots(
        1, len(runs), figsize=(2.5 + 5.5 * len(runs), height_inches), sharey=True, sharex=True, squeeze=False
    )
    for run, panel in zip(runs, panels[0], strict=True):
        for height, name in enumerate(names):
            best = figures.best_ratio(run["cases"][name]) if name in run["cases"] else None
            if best:
                colour = "#2e8b57" if best >= 1 else "#c0392b"
                panel.barh(height, best - 1, left=1, height=0.7, color=colour, alpha=0.25, zorder=1)
                panel.text(0.012, height, f"{best:.2f}", transform=panel.get_yaxis_transform(), va="center", fontsize=7)
        for other in others:
            points = [(figures.ratio(row, other), names.index(name)) for name, row in run["cases"].items()]
            points = [point for point in points if point[0]]
            if points:
                xs, ys = zip(*points, strict=True)
                panel.scatter(
                    xs, ys, s=20, color=colours[other], marker=shapes[other], label=PEERS[other].title, zorder=3
                )
        panel.axvline(1, color="black", linewidth=1)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}x")
        panel.set_ylim(len(names) - 0.3, -0.7)
        panel.grid(axis="x", alpha=0.3)
        panel.set_yticks(range(len(names)), names, fontsize=8)
        panel.set_xlabel("peer's time / lstmfast's time (log scale; right of 1x: lstmfast is faster)")
        mean = figures.geometric_mean(map(figures.best_ratio, run["cases"].values()))
        plural = "s" if run["threads"] > 1 else ""
        panel.set_title(f"{run['threads']} thread{plural}: {mean:.2f}x the best peer (geometric mean)", fontsize=10)
    low = min(figures.best_ratio(row) or 1 for run in runs for row in run["cases"].values())
    panels[0][0].set_xlim(left=min(low, 0.8) / 4)  # room for the column of figures
    figure.suptitle(
        f"lstmfast beside its peers, {result['machine']['cpu']}\nbar and number: ratio to the case's best peer",
        y=1 - 0.1 / height_inches,
        va="top",
    )
    handles, labels = panels[0][-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.6 / height_inches, 1, 1))  # the legend stands in the margin below
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
