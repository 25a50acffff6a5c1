"""Keras's summary table of a model, as plain text."""

from __future__ import annotations

import re
import shutil
from typing import Any

from lstmfast._graph import map_shapes


def render(
    model: Any,
    line_length: int | None = None,
    positions: Any = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Any = None,
) -> str:
    """The table and totals that Keras 3 prints for ``model``."""
    layers, connections = model.summary_layers()
    graph = connections is not None
    header = ["Layer (type)", "Output Shape", "Param #"]
    default, positions = (108, positions or [0.3, 0.56, 0.74, 1.0]) if graph else (88, positions or [0.45, 0.80, 1.0])
    if graph:
        header.append("Connected to")
    if show_trainable:
        default += 12
        positions = [position * 0.90 for position in positions] + [1.0]
        header.append("Trainable")
    line_length = line_length or min(default, shutil.get_terminal_size().columns - 4)
    widths = _widths(positions, line_length)
    if layer_range is not None:
        layers = _within(layers, layer_range)

    rows: list[list[str]] = []

    def add(layer: Any, level: int, trainable: bool) -> None:
        trainable = trainable and layer.trainable
        prefix = "   " * level + "└ " if level else ""
        params = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
        row = [f"{prefix}{layer.name} ({layer.saved_class()})", output_shape(layer), params]
        if graph:
            row.append(connections.get(id(layer), "-"))
        if show_trainable:
            row.append(("Y" if trainable else "N") if layer.built and layer.count_params() else "-")
        rows.append(row)
        if expand_nested and hasattr(layer, "layers"):
            for inner in layer.layers:
                add(inner, level + 1, trainable)

    for layer in layers:
        add(layer, 0, model.trainable)
    lines = [f'Model: "{model.name}"', *_table(header, rows, widths)]
    # sizes only: no weight is drawn for a summary
    sizes = {True: [0, 0], False: [0, 0]}
    for trainable, count, itemsize in model.weight_sizes():
        sizes[trainable][0] += count
        sizes[trainable][1] += count * itemsize
    totals: tuple[tuple[str, int, int], ...] = (
        ("Total", sizes[True][0] + sizes[False][0], sizes[True][1] + sizes[False][1]),
        ("Trainable", sizes[True][0], sizes[True][1]),
        ("Non-trainable", sizes[False][0], sizes[False][1]),
    )
    for title, count, size in totals:
        lines.append(f" {title} params: {count:,} ({readable(size)})")
    return "\n".join(lines)


def output_shape(layer: Any) -> str:
    """The shape of the layer's output as Keras prints it, ``?`` where it is not known."""

    def text(shape: Any) -> str:
        return f"({', '.join(map(str, shape))})"

    if layer.nodes:
        shapes = [text(tensor.shape) for tensor in layer.nodes[-1].outputs]
    elif layer.build_shape is not None:
        shapes = []
        built = layer.build_shape
        if not getattr(layer, "stateful", False):  # which is built for a number of rows
            built = map_shapes(lambda shape: (None, *shape[1:]), built)
        try:
            map_shapes(lambda shape: shapes.append(text(shape)), layer.compute_output_shape(built))
        except Exception:  # of a `call` that cannot do with the input alone, perhaps
            if not layer.is_own():
                raise
            return "?"
    else:
        return "?"
    return shapes[0] if len(shapes) == 1 else f"[{', '.join(shapes)}]"


def readable(size: float) -> str:
    """A number of bytes with its unit."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} PB"


def _widths(positions: Any, line_length: int) -> list[int]:
    """Widths of the columns' content, which with bars and padding fill ``line_length``."""
    widths, current = [], 0
    for position in positions:
        width = int(position * line_length) - current
        if width < 4:
            raise ValueError("Insufficient console width to print summary.")
        widths.append(width)
        current += width
    excess, left = len(widths) * 3 + 1, len(widths)
    for index, width in enumerate(widths):
        cut = round(excess / left)
        widths[index] = width - cut
        excess -= cut
        left -= 1
    return widths


def _wrap(text: str, width: int) -> list[str]:
    lines, line = [], ""
    for word in re.findall(r"\s*\S+\s*", text):
        if line and len(line) + len(word.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += word
    lines.append(line.rstrip())
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]


def _table(header: list[str], rows: list[list[str]], widths: list[int]) -> list[str]:
    def rule(left: str, line: str, middle: str, right: str) -> str:
        return left + middle.join(line * (width + 2) for width in widths) + right

    def aligned(column: int, text: str, width: int) -> str:
        if header[column] == "Param #":
            return text.rjust(width)
        return text.center(width) if header[column] == "Trainable" else text.ljust(width)

    def cells(row: list[str], bar: str) -> list[str]:
        wrapped = [_wrap(text, width) for text, width in zip(row, widths, strict=True)]
        lines = []
        for number in range(max(map(len, wrapped))):
            texts = [
                aligned(column, cell[number] if number < len(cell) else "", widths[column])
                for column, cell in enumerate(wrapped)
            ]
            lines.append(f"{bar} " + f" {bar} ".join(texts) + f" {bar}")
        return lines

    lines = [rule("┏", "━", "┳", "┓"), *cells(header, "┃"), rule("┡", "━", "╇", "┩")]
    for number, row in enumerate(rows):
        if number:
            lines.append(rule("├", "─", "┼", "┤"))
        lines += cells(row, "│")
    lines.append(rule("└", "─", "┴", "┘"))
    return lines


def _within(layers: list[Any], layer_range: Any) -> list[Any]:
    if len(layer_range) != 2 or not all(isinstance(name, str) for name in layer_range):
        raise ValueError(f"layer_range must be a list or tuple of two strings. Received: {layer_range}")
    first = [index for index, layer in enumerate(layers) if re.match(layer_range[0], layer.name)]
    last = [index for index, layer in enumerate(layers) if re.match(layer_range[1], layer.name)]
    if not first or not last:
        raise ValueError(f"Passed layer_names do not match the layer names in the model. Received: {layer_range}")
    if min(first) > max(last):
        return layers[min(last) : max(first) + 1]
    return layers[min(first) : max(last) + 1]
