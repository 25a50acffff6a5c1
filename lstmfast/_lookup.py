"""An Embedding in front of a recurrent layer, folded into a table of already projected rows.

A token's input projection is the same wherever it stands, so it is computed once for the whole vocabulary; a step then
gathers a row instead of multiplying. The bits are those of the product.
Next: layers/masking.py makes lookups, layers/recurrent.py runs them, _plan.py puts the two together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast import _core
from lstmfast._pieces import taken

Array = np.ndarray[Any, Any]

# A larger table would leave the caches that the weights need.
MOST_TABLE_BYTES = 64 << 20


class Lookup:
    """Rows of embeddings (vocabulary, features) that nobody has copied yet, named by ids (batch, steps), int32."""

    __slots__ = ("embeddings", "ids")

    def __init__(self, ids: Array, embeddings: Array) -> None:
        self.ids = ids
        self.embeddings = embeddings

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that this stands for."""
        return (*self.ids.shape, self.embeddings.shape[1])

    def array(self) -> Array:
        """That array, (batch, steps, features)."""
        return taken(self.embeddings, self.ids, 0)


class ProjectedTable:
    """One packed layer's projection of one embedding, made once enough tokens have been looked up to pay for it."""

    __slots__ = ("_core", "_embeddings", "_seen", "_table")

    def __init__(self, core: _core.PackedLayer) -> None:
        self._core = core
        self._embeddings: Array | None = None
        self._table: Array | None = None
        self._seen = 0

    def made(self, lookup: Lookup) -> Array | None:
        """The table for ``lookup``, if there is one already."""
        return self._table if self._table is not None and self._embeddings is lookup.embeddings else None

    def of(self, lookup: Lookup) -> Array | None:
        """The table for ``lookup``, or None while, or where, it does not pay."""
        embeddings = lookup.embeddings
        if self._table is not None:
            return self._table if self._embeddings is embeddings else None
        rows = embeddings.shape[0]
        self._seen += lookup.ids.size
        # A packed row has at least the width of four gates; the core says no where it has no such table.
        if 2 * self._seen < rows or 4 * rows * self._core.units * embeddings.itemsize > MOST_TABLE_BYTES:
            return None
        table = self._core.project(embeddings)
        # The table last: another thread that sees it must see what it is of.
        self._embeddings = embeddings
        self._table = table
        return table
