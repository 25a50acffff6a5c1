"""Pictures of `verify` and `bench`, where matplotlib is installed."""

from __future__ import annotations

import importlib
import importlib.util
import os
import textwrap
from typing import Any

import numpy as np

from lstmfast.commands import FILE, Failure, timing

Array = np.ndarray[Any, Any]
Times = dict[str, dict[int, float]]  # seconds by library and batch size

_COLOURS = {"lstmfast": "#2e8b57", "Keras predict": "#d1495b", "Keras model(x)": "#edae49", "ONNX Runtime": "#2e86ab"}
_OTHER = "#777777"
_LEAST = 1e-12  # differences of zero are drawn here


def check(path: str | None) -> None:
    """Say before the work begins that a picture cannot be drawn.

    Raises
    ------
    Failure
        If matplotlib, the folder or the suffix is missing.
    """
    if path is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise Failure("--plot needs matplotlib, which is not installed.")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise Failure(f"'{os.path.dirname(path)}' is no directory.", FILE)
    if os.path.splitext(path)[1].lower() not in (".png", ".svg", ".pdf"):
        raise Failure(f"--plot draws .png, .svg or .pdf, got '{path}'.")


def _pyplot() -> Any:
    importlib.import_module("matplotlib").use("Agg")
    return importlib.import_module("matplotlib.pyplot")


def differences(path: str, title: str, relative: Array, allowed: float, times: dict[str, float], rows: int) -> None:
    """A histogram of the differences beside the times of a call."""
    pyplot = _pyplot()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.4), width_ratios=(3, 2), layout="constrained")
    figure.suptitle(title)
    zero = relative < _LEAST
    shown = np.clip(relative[np.isfinite(relative) & ~zero], _LEAST, None)
    top = max(float(shown.max(initial=0)), allowed) * 3
    low = float(shown.min(initial=allowed)) / 3
    bins = np.geomspace(low, top, 40)
    left.hist(shown, bins=bins, color=_COLOURS["lstmfast"])
    left.axvline(allowed, color=_COLOURS["Keras predict"], linestyle="--", label=f"allowed: {allowed:.1g}")
    left.set(xscale="log", xlim=(low, top))
    left.yaxis.get_major_locator().set_params(integer=True)
    left.set(xlabel="|lstmfast - Keras| / (1 + |Keras|)", ylabel="number of output values")
    left.set_title(f"{zero.sum():,} of {relative.size:,} values are equal, the others differ by", fontsize=10)
    left.legend(loc="upper center")
    names = list(times)
    widths = [1e3 * times[name] for name in names]
    bars = right.barh(names, widths, 0.6, color=[_COLOURS.get(name, _OTHER) for name in names])
    right.bar_label(bars, [timing.text(times[name]) for name in names], padding=4)
    right.set(xscale="log", xlabel=f"milliseconds a call of {rows} rows (log scale; less is better)")
    right.set_xlim(right.get_xlim()[0] / 2, right.get_xlim()[1] * 6)
    right.set_ylim(max(len(names), 3) - 0.5, -0.5)
    right.set_title("Time of a call", fontsize=10)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def times(path: str, title: str, by_threads: dict[int, Times]) -> None:
    """The time of a call by batch size, a panel for each number of threads."""
    pyplot = _pyplot()
    width_inches = 2.5 + 5 * len(by_threads)
    figure, panels = pyplot.subplots(
        1, len(by_threads), figsize=(width_inches, 5.5), sharey=True, squeeze=False, layout="constrained"
    )
    lines = [textwrap.fill(line, int(11 * width_inches)) for line in title.splitlines()]
    figure.suptitle("\n".join(lines), fontsize=11)
    for panel, (threads, found) in zip(panels[0], by_threads.items()):
        batches = sorted({batch for one in found.values() for batch in one})
        width = 0.8 / max(1, len(found))
        for number, (name, one) in enumerate(found.items()):
            places = [index + (number - (len(found) - 1) / 2) * width for index in range(len(batches))]
            heights = [1e3 * one[batch] if batch in one else np.nan for batch in batches]
            bars = panel.bar(places, heights, width * 0.92, label=name, color=_COLOURS.get(name, _OTHER))
            panel.bar_label(
                bars, [timing.text(one.get(batch)) for batch in batches], fontsize=7, rotation=90, padding=3
            )
        panel.set_yscale("log")
        panel.set_xticks(range(len(batches)), [str(batch) for batch in batches])
        panel.set_xlabel("rows in a call")
        panel.set_title(f"{threads} thread{'s' if threads > 1 else ''}", fontsize=10)
        panel.grid(axis="y", alpha=0.3)
    panels[0][0].set_ylim(top=panels[0][0].get_ylim()[1] * 4)  # room for the labels; the panels share it
    panels[0][0].set_ylabel("milliseconds a call (log scale; less is better)")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
