"""Inputs for a model, drawn at random: values, token ids where an Embedding reads them, padding where there is a mask.

Next: verify.py, bench.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmfast.commands import Failure
from lstmfast.commands.predict import input_names
from lstmfast.layers.masking import Embedding, Masking
from lstmfast.layers.recurrent import Recurrent
from lstmfast.models import Functional

Array = np.ndarray[Any, Any]


class _Use:
    """What the layers behind an input read it as."""

    def __init__(self) -> None:
        self.tokens: int | None = None  # ids below this
        self.padding: float | None = None  # marks a masked step


def draw(model: Functional, rows: int, steps: int, seed: int, padded: bool = True) -> dict[str, Array]:
    """(rows, ...) for each input; axes that the model leaves open get ``steps``.

    Raises
    ------
    Failure
        If the model does not say what its inputs are.
    """
    if not model.built:
        raise Failure("The model says nothing of its inputs: --input gives some.")
    random = np.random.default_rng(seed)
    arrays = {}
    for name, tensor in zip(input_names(model), model.inputs, strict=True):
        shape = (tensor.shape[0] or rows, *(steps if size is None else size for size in tensor.shape[1:]))
        use = _Use()
        _follow(model, tensor, use)
        if use.tokens is not None or np.dtype(tensor.dtype).kind in "iu":
            values: Array = random.integers(0, use.tokens or 10, shape).astype("int32")
        else:
            values = random.standard_normal(shape).astype("float32")
        if padded and use.padding is not None and len(shape) > 1:
            values[::2, shape[1] - shape[1] // 3 :] = use.padding
        arrays[name] = values
    return arrays


def as_input(arrays: dict[str, Array]) -> Any:
    """What a model with these inputs is called on."""
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def _follow(model: Functional, tensor: Any, use: _Use) -> None:
    pending = [tensor]
    while pending:
        here = pending.pop()
        for node in model._graph_nodes:
            places = [place for place, other in enumerate(node.inputs) if other is here]
            if not places:
                continue
            layer = getattr(node.layer, "layer", node.layer)
            if isinstance(layer, Embedding):
                use.tokens = min(layer.input_dim, use.tokens or layer.input_dim)
                use.padding = 0.0 if layer.mask_zero else use.padding
            elif isinstance(layer, Masking):
                use.padding = layer.mask_value
            elif isinstance(layer, Functional):
                for place in places:
                    _follow(layer, layer.inputs[place], use)
            elif not isinstance(layer, Recurrent) and not layer.count_params():
                pending.extend(node.outputs)
