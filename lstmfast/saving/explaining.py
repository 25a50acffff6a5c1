"""What a file holds and what would keep it from running, all at once, without running anything.

Next: files.py; config.py.
"""

from __future__ import annotations

import os
from typing import Any

from lstmfast._summary import output_shape
from lstmfast.layers.operations import Operation
from lstmfast.saving.build import build_model
from lstmfast.saving.config import MAX_DEPTH, Context, make_layer, parse_version
from lstmfast.saving.files import Saved, open_model

_WRAPPED = ("layer", "backward_layer", "forward_layer", "cell")


class Explanation:
    """What `explain` found; printing it gives a table.

    Attributes
    ----------
    name : str
        Of the file.
    keras_version : str
        Of the Keras that wrote it.
    layers : list of (str, str, str, int or None)
        Name, class, output shape and number of parameters of each layer; the last two are known if nothing is missing.
    problems : list of str
        Everything that keeps the file from running, and what to do about it.
    """

    def __init__(self, name: str, keras_version: str) -> None:
        self.name = name
        self.keras_version = keras_version
        self.layers: list[tuple[str, str, str, int | None]] = []
        self.problems: list[str] = []

    @property
    def supported(self) -> bool:
        """Whether `load_model` loads the file."""
        return not self.problems

    def __repr__(self) -> str:
        return f"<Explanation of '{self.name}': {len(self.layers)} layers, {len(self.problems)} problems>"

    def __str__(self) -> str:
        rows = [("Layer", "Class", "Output shape", "Params")]
        rows += [
            (name, kind, shape, "?" if count is None else f"{count:,}") for name, kind, shape, count in self.layers
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        table = [
            "  ".join(
                cell.rjust(width) if column == 3 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        table.insert(1, "-" * (sum(widths) + 6))
        verdict = ["Supported: it loads and runs."]
        if self.problems:
            verdict = [f"Not supported, {len(self.problems)} reason(s):", *(f"- {text}" for text in self.problems)]
        return "\n".join([f"{self.name}: written by Keras {self.keras_version or 'unknown'}", *table, *verdict])


def explain_file(
    path: str | os.PathLike[str], custom_objects: dict[str, Any], keras_version: str | None
) -> Explanation:
    """See `loading.explain`."""
    with open_model(path) as saved:
        explanation = Explanation(saved.name, saved.version)
        context = Context(saved.name, parse_version(keras_version or saved.version), custom_objects)
        _look(saved.config, context, explanation, 0)
        if not explanation.problems:
            _build(saved, context, explanation, keras_version)
    return explanation


def _look(entry: Any, context: Context, explanation: Explanation, depth: int) -> None:
    """Try each layer of a config by itself; of what cannot be made, the parts."""
    config = entry.get("config") if isinstance(entry, dict) else None
    entries = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    if isinstance(entries, list) and depth < MAX_DEPTH:
        for inner in entries:
            _look(inner, context, explanation, depth + 1)
        return
    name = str(config.get("name", "?")) if isinstance(config, dict) else "?"
    kind = str(entry.get("class_name", "?")) if isinstance(entry, dict) else "?"
    explanation.layers.append((name, kind, "?", None))
    try:
        make_layer(entry, context)
    except (NotImplementedError, ValueError, TypeError) as error:
        before = len(explanation.problems)
        wrapped = [config[key] for key in _WRAPPED if isinstance(config, dict) and isinstance(config.get(key), dict)]
        if depth < MAX_DEPTH:
            shown = len(explanation.layers)
            for inner in wrapped:
                _look(inner, context, explanation, depth + 1)
            del explanation.layers[shown:]
        if len(explanation.problems) == before:
            explanation.problems.append(str(error).removeprefix(f"'{context.name}': "))


def _build(saved: Saved, context: Context, explanation: Explanation, keras_version: str | None) -> None:
    try:
        model = build_model(saved, context.custom, keras_version)
    except (NotImplementedError, ValueError) as error:
        explanation.problems.append(str(error).removeprefix(f"'{context.name}': "))
        return
    explanation.layers = [
        (
            layer.name,
            layer.operation if isinstance(layer, Operation) else type(layer).__name__,
            output_shape(layer),
            layer.count_params() if layer.built else None,
        )
        for layer in model._layers
    ]
