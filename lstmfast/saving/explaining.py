"""What a file holds and what would keep it from running, all at once, without running anything.

Next: files.py; config.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lstmfast._graph import KerasTensor, snake_case
from lstmfast._keras import version_for
from lstmfast._summary import output_shape
from lstmfast.layers.base import Layer, is_plain_shape
from lstmfast.layers.core import InputLayer
from lstmfast.layers.operations import Operation
from lstmfast.models import Functional, Model, Sequential
from lstmfast.saving.archive import WeightTree
from lstmfast.saving.build import build_model, make_model
from lstmfast.saving.config import MAX_DEPTH, Context, make_layer
from lstmfast.saving.edges import Edges, call_layers, needed_entries
from lstmfast.saving.files import Array, Saved, open_model

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
        Name, class, output shape and number of parameters of each layer. A shape is ``?`` where it follows from a layer
        that cannot be made; the parameters of such a layer are those in the file, None where it does not say whose
        they are.
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
    path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None, keras_version: Any
) -> Explanation:
    """See `loading.explain`."""
    with open_model(path) as saved:
        explanation = Explanation(saved.name, saved.version)
        context = Context(saved.name, version_for(saved.version, keras_version), custom_objects)
        outline = _Outline(saved, context)
        explanation.problems = outline.problems
        model = None if outline.problems else _built(saved, context, keras_version, outline.problems)
        if model is None:
            outline.connect()
            explanation.layers = outline.rows(saved.weights)
        else:
            explanation.layers = [
                (layer.name, _kind(layer), output_shape(layer), layer.count_params() if layer.built else None)
                for layer in (model._layers if isinstance(model, Functional) else model.layers)
            ]
    return explanation


def _built(saved: Saved, context: Context, keras_version: Any, problems: list[str]) -> Model | None:
    try:
        return build_model(saved, context.custom, keras_version)
    except (NotImplementedError, ValueError) as error:
        problems.append(_text(error, context))
        return None


def _kind(layer: Layer) -> str:
    return layer.operation if isinstance(layer, Operation) else type(layer).__name__


def _text(error: Exception, context: Context) -> str:
    return str(error).removeprefix(f"'{context.name}': ")


def _config_of(entry: Any) -> dict[str, Any]:
    config = entry.get("config") if isinstance(entry, dict) else None
    return config if isinstance(config, dict) else {}


def _entries_of(entry: Any) -> list[Any]:
    """The configs of the layers in a model's."""
    config = entry.get("config") if isinstance(entry, dict) else None
    entries = config.get("layers") if isinstance(config, dict) else config
    return entries if isinstance(entries, list) else []


class _Outline:
    """The layers of a file that does not load: each by itself, and connected as far as they can be made.

    Attributes
    ----------
    layers : list of (str, str, Layer or None)
        Name and class in the file, and the layer where it can be made.
    problems : list of str
        Why others cannot.
    """

    def __init__(self, saved: Saved, context: Context) -> None:
        self.context = context
        self.entry = saved.config
        self.entries = needed_entries(_entries_of(saved.config), _config_of(saved.config), context)
        self.problems: list[str] = []
        self.layers: list[tuple[str, str, Layer | None]] = []
        for entry in self.entries:
            layer = self._make(entry, 0)
            found = entry if isinstance(entry, dict) else {}
            name = found.get("name", _config_of(entry).get("name", "?" if layer is None else layer.name))
            if layer is not None and isinstance(name, str):
                layer.name = name
            self.layers.append((str(name), str(found.get("class_name", "?")), layer))

    def _make(self, entry: Any, depth: int) -> Layer | None:
        """The layer of a config, or None; then the problems of what is inside it are told, or else its own."""
        try:
            return make_layer(entry, self.context)
        except (NotImplementedError, ValueError, TypeError) as error:
            before = len(self.problems)
            config = _config_of(entry)
            inside = [config[key] for key in _WRAPPED if isinstance(config.get(key), dict)]
            for inner in [*_entries_of(entry), *inside] if depth < MAX_DEPTH else ():
                self._make(inner, depth + 1)
            if len(self.problems) == before:
                self._tell(error)
            return None

    def _tell(self, error: Exception) -> None:
        text = _text(error, self.context)
        if text not in self.problems:
            self.problems.append(text)

    def connect(self) -> None:
        """Call the layers, so that they know their shapes, up to those that cannot be made."""
        try:
            kind = self.entry.get("class_name")
            if kind == "Sequential":
                self._connect_chain()
            elif kind in ("Functional", "Model"):
                self._connect_graph()
            else:
                make_model(self.entry, self.context, 0)  # says why it cannot
        except (ValueError, TypeError, NotImplementedError) as error:
            self._tell(error)

    def _connect_chain(self) -> None:
        known: list[Layer] = []
        for _, _, layer in self.layers:
            if layer is None:
                break
            known.append(layer)
        model = Sequential(known, keras_version=self.context.version)
        shape = _config_of(self.entry).get("build_input_shape")
        waits = bool(known) and not model.built and not isinstance(known[-1], InputLayer)
        if waits and isinstance(shape, list) and is_plain_shape(tuple(shape)):
            model.build(tuple(shape))

    def _connect_graph(self) -> None:
        layers: dict[str, Layer] = {}
        made: dict[str, list[list[KerasTensor]]] = {}
        pending: list[tuple[Layer, Any]] = []
        for entry, (name, _, layer) in zip(self.entries, self.layers, strict=True):
            if name in layers:
                continue
            layers[name] = layer or Layer(name=name)
            made[name] = [layer.nodes[0].outputs] if isinstance(layer, InputLayer) else []
            nodes = entry.get("inbound_nodes") if isinstance(entry, dict) else None
            if layer is not None and not isinstance(layer, InputLayer) and isinstance(nodes, list):
                pending.extend((layer, node) for node in nodes)
        call_layers(pending, Edges(_config_of(self.entry), layers, made, self.context), self._tell)

    def rows(self, weights: Any) -> list[tuple[str, str, str, int | None]]:
        """What `Explanation.layers` holds."""
        counts = _counts([(name, kind) for name, kind, _ in self.layers], weights)
        rows: list[tuple[str, str, str, int | None]] = []
        for (name, kind, layer), count in zip(self.layers, counts, strict=True):
            if layer is None:
                rows.append((name, kind, "?", count))
                continue
            known = bool(layer.nodes) or (isinstance(layer, Functional) and layer.built)
            parameters = layer.count_params() if layer.built else count
            rows.append((name, _kind(layer), output_shape(layer) if known else "?", parameters))
        return rows


def _counts(layers: list[tuple[str, str]], weights: Any) -> list[int | None]:
    """How many parameters the file holds for each layer, given the names and classes."""
    if isinstance(weights, WeightTree):
        return _counts_in_tree(layers, weights)
    by_name = {name: sum(map(_size, arrays)) for name, arrays in weights.layers}
    return [by_name.get(name) for name, _ in layers]


def _counts_in_tree(layers: list[tuple[str, str]], tree: WeightTree) -> list[int | None]:
    sizes: dict[str, int] = {}
    for path, array in tree.arrays.items():
        parts = path.split("/")
        if parts[0] == "layers" and len(parts) > 2 and "seed_generator" not in parts:
            sizes[parts[1]] = sizes.get(parts[1], 0) + _size(array)
    named = {tree.names[f"layers/{group}"]: group for group in sizes if f"layers/{group}" in tree.names}
    positions: dict[str, int] = {}
    counts: list[int | None] = []
    for name, kind in layers:
        prefix = snake_case(kind)
        position = positions[prefix] = positions.get(prefix, -1) + 1
        if name not in named:
            group = f"{prefix}_{position}" if position else prefix
            counts.append(0 if group in named.values() else sizes.get(group, 0))
        else:
            counts.append(sizes[named[name]])
    return counts


def _size(array: Array) -> int:
    size = 1
    for extent in array.shape:
        size *= extent
    return size
