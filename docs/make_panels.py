"""Draws docs/images/panels.svg: how a kernel in Keras's layout becomes panels, and how a tile of sums reads them.

python docs/make_panels.py            write it
python docs/make_panels.py --check    exit status 1 where the committed file is another
"""

from __future__ import annotations

import sys
from pathlib import Path

PICTURE = Path(__file__).resolve().parent / "images" / "panels.svg"

GATES = ("i", "f", "c", "o")
LANES, UNITS, DEPTH, ROWS = 4, 10, 5, 3
CELL, BIG = 8, 15  # of Keras's matrix, and of the panels
WIDTH, HEIGHT = 940, 500

STYLE = """
  .card { fill: #fbfbfb; stroke: #d5d5d5 } text { fill: #222; font: 13px sans-serif } .small { font-size: 11.5px }
  .head { font-weight: bold } .i { fill: #4477aa } .f { fill: #228833 } .c { fill: #ccaa22 } .o { fill: #cc6677 }
  .block1 { opacity: .68 } .block2 { opacity: .42 } .edge { fill: none; stroke: #222; stroke-width: 1.6 }
  .line { stroke: #666; stroke-width: 1.4; fill: none } .tip { fill: #666 } .row { fill: #888 }
  .cell { stroke: #fbfbfb; stroke-width: .8 } .mid { text-anchor: middle } .end { text-anchor: end }
  @media (prefers-color-scheme: dark) {
    .card { fill: #20242c; stroke: #444 } text { fill: #e4e4e4 } .edge { stroke: #e4e4e4 } .cell { stroke: #20242c }
    .i { fill: #6fa3d8 } .f { fill: #4fb562 } .c { fill: #e0c244 } .o { fill: #e58a9a }
    .line { stroke: #aaa } .tip { fill: #aaa }
  }
"""


def cell(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="cell {kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{words}</text>'


def edge(x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="edge" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="2"/>'


def arrow(path: str) -> str:
    return f'<path class="line" d="{path}" marker-end="url(#tip)"/>'


def keras_matrix(x: float, y: float) -> list[str]:
    """(features, 4 units): each gate's units side by side."""
    parts = [text(x, y - 34, "Keras: kernel (features, 4 &#215; units)", "head")]
    for g, gate in enumerate(GATES):
        left = x + g * UNITS * CELL
        parts.append(text(left + UNITS * CELL / 2, y - 8, gate, "mid"))
        for unit in range(UNITS):
            for k in range(DEPTH):
                parts.append(cell(left + unit * CELL, y + k * BIG, CELL, BIG, f"{gate} block{unit // LANES}"))
    parts += [text(x - 8, y + (k + 0.75) * BIG, f"{k}", "small end") for k in range(DEPTH)]
    parts.append(text(x - 24, y + DEPTH * BIG / 2 + 4, "k", "end"))
    return parts


def panel(x: float, y: float, block: int) -> list[str]:
    """(features, gates, units of the block), the units of the block being the lanes of one vector."""
    units = min(LANES, UNITS - block * LANES)
    parts = []
    for g, gate in enumerate(GATES):
        for unit in range(units):
            for k in range(DEPTH):
                left = x + (g * units + unit) * BIG
                parts.append(cell(left, y + k * BIG, BIG, BIG, f"{gate} block{block}"))
    first, last = block * LANES, block * LANES + units - 1
    name = f"block {block}: units {first} to {last}" + (", a narrow tail" if units < LANES else "")
    parts.append(text(x + len(GATES) * units * BIG + 12, y + DEPTH * BIG / 2 + 4, name, "small"))
    return parts


def tile(x: float, y: float) -> list[str]:
    """Sums of some rows and one block, in registers."""
    parts = [text(x, y - 34, "One tile: the sums of 3 rows and one block stay in registers", "head")]
    for g, gate in enumerate(GATES):
        left = x + g * (LANES * BIG + 8)
        parts.append(text(left + LANES * BIG / 2, y - 8, f"Σ {gate}", "mid"))
        for row in range(ROWS):
            top = y + row * (BIG + 6)
            parts += [cell(left + lane * BIG, top, BIG, BIG, f"{gate} block0") for lane in range(LANES)]
            parts.append(edge(left, top, LANES * BIG, BIG))
    for row in range(ROWS):
        top = y + row * (BIG + 6)
        parts.append(cell(x - 62, top, BIG, BIG, "row"))
        parts.append(text(x - 68, top + 12, f"x[{row}][k]", "small end"))
        parts.append(arrow(f"M{x - 44:g} {top + BIG / 2:g} H{x - 8:g}"))
    return parts


def picture() -> str:
    left, right, top, low = 60, 470, 66, 388
    registers = left + 130
    parts = keras_matrix(left, top)
    parts.append(text(right, top - 34, "Panels: [block][k][gate][lane], here 4 lanes", "head"))
    for block in range(3):
        parts += panel(right, top + block * (DEPTH * BIG + 14), block)
    parts.append(edge(right - 2, top + 2 * BIG - 2, 4 * LANES * BIG + 4, BIG + 4))
    parts.append(arrow(f"M{left + 4 * UNITS * CELL + 12} {top + 36} H{right - 16}"))
    parts.append(text(left + 4 * UNITS * CELL + 42, top + 28, "pack.c", "small mid"))
    parts += [
        text(left, top + 112, "A layer is packed once. Then each k of a block is one run of", "small"),
        text(left, top + 128, "memory: four vectors, one for each gate of the same units.", "small"),
    ]
    parts += tile(registers, low)
    parts.append(
        arrow(f"M{right - 6} {top + 2.5 * BIG} C{right - 60} {top + 150} {registers + 220} 270 {registers + 180} 330")
    )
    parts.append(text(right - 116, top + 196, "for each k: load four", "small end"))
    parts.append(text(right - 116, top + 212, "vectors, 12 FMAs", "small end"))
    state = registers + 4 * (LANES * BIG + 8) + 24
    parts.append(arrow(f"M{state - 20} {low + 28} H{state + 30}"))
    parts += [
        text(state + 40, low - 4, "After the last k, bias included:", "small"),
        text(state + 40, low + 18, "new c = sigmoid(Σ f) · c + sigmoid(Σ i) · tanh(Σ c)"),
        text(state + 40, low + 40, "new h = sigmoid(Σ o) · tanh(new c)"),
        text(state + 40, low + 62, "all four sums of a unit are in the same lane,", "small"),
        text(state + 40, low + 78, "so nothing is shuffled and no sum is far away.", "small"),
    ]
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}">',
            "<title>How a kernel becomes panels, and how a tile of sums reads them</title>",
            f"<style>{STYLE}</style>",
            f'<defs>{tip}<path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
            f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def main(arguments: list[str]) -> int:
    drawn = picture()
    if "--check" in arguments:
        if not PICTURE.is_file() or PICTURE.read_text(encoding="utf-8") != drawn:
            print(f"{PICTURE.name} is stale: run `python docs/{Path(__file__).name}`", file=sys.stderr)
            return 1
        return 0
    PICTURE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
