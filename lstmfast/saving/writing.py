"""Models out: a ``.keras`` file as Keras 3 writes and reads it.

Next: archive.py, which reads it.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from lstmfast._files import whole_file
from lstmfast._graph import flatten
from lstmfast._keras import WRITTEN, parse_version
from lstmfast._mask_order import joins_of_masks
from lstmfast._plan import MaskRules, Plan, Slot
from lstmfast.layers.attention import AdditiveAttention, Attention
from lstmfast.layers.base import Layer, numbering_shared, serialize_layer
from lstmfast.layers.merging import Merge, MergeCosine
from lstmfast.layers.operations import Operation
from lstmfast.layers.recurrent import Recurrent
from lstmfast.layers.rnn import RNN
from lstmfast.layers.wrappers import Bidirectional, TimeDistributed
from lstmfast.models import Functional, Model, first_call

# Layers with these hand a mask on as it is, where it is one alone.
_HANDING_ON = (Layer.compute_mask, Merge.compute_mask, Recurrent.compute_mask, Bidirectional.compute_mask)


def save_model(model: Model, path: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a model to a ``.keras`` file, whole or not at all; see `Model.save`."""
    name = _name(path, ".keras", overwrite)
    model._require_built()
    metadata = {"keras_version": WRITTEN, "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")}
    with _other_names(model):
        config = json.dumps(architecture(model))
        weights = _weights(model, lambda graph: graph.layers_as_saved(), _in_several_graphs(model))
    with whole_file(name) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)


def save_weights(model: Model, path: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a model's weights to a ``.weights.h5`` file, whole or not at all; see `Model.save_weights`."""
    name = _name(path, ".weights.h5", overwrite)
    model._require_built()
    weights = _weights(model, lambda graph: graph.layers, set())
    with whole_file(name) as file:
        file.write(weights)


def _name(path: str | os.PathLike[str], ending: str, overwrite: bool) -> str:
    """The name of a file to write, checked."""
    name = os.fsdecode(path)
    if not name.endswith(ending):
        raise ValueError(f"The file name has to end in {ending}, the only format that is written. Received: {name}")
    if not overwrite and os.path.exists(name):
        raise FileExistsError(f"'{name}' exists, and overwrite=False.")
    return name


def architecture(model: Model) -> dict[str, Any]:
    """The model's class and config, as Keras 3 writes them.

    Raises
    ------
    NotImplementedError
        If a layer of an older Keras has no equal there.
    """
    masked: set[int] = set()
    for layer in model.all_layers():
        _refuse_what_changed(layer)
        if isinstance(layer, Functional) and layer.built:
            _refuse_other_masks(layer, layer is not model, masked)
    with numbering_shared(_in_several_graphs(model)), _other_names(model):
        entry = serialize_layer(model)
    return {**entry, "registered_name": model.registered_class(), "build_config": {"input_shape": model.build_shape}}


@contextlib.contextmanager
def _other_names(model: Model) -> Iterator[None]:
    """Let a Concatenate that gets a mask have a name that Keras does not give to the operation on the masks."""
    graphs = [layer for layer in model.all_layers() if isinstance(layer, Functional)]
    before = {
        id(layer): (layer, layer.name)
        for graph in graphs
        if graph.built
        for layer in joins_of_masks(graph.inputs, graph._graph_nodes)
        if re.fullmatch(r"concatenate(_\d+)?", layer.name)
    }
    try:
        for layer, name in before.values():
            layer.name = f"{name}_layer"
        yield
    finally:
        for layer, name in before.values():
            layer.name = name


def _in_several_graphs(model: Model) -> set[int]:
    """The layers that are called in a functional model and in another model too, with those inside.

    Keras counts the calls of a layer in each graph from 0, and cannot read a file in which they are one layer in two
    graphs: they are written as several, each with the weights.
    """
    graphs = {id(layer): layer for layer in model.all_layers() if isinstance(layer, Functional)}.values()
    count = Counter(each for graph in graphs for each in {id(layer) for layer in graph._layers})
    return {
        id(inner)
        for graph in graphs
        if first_call(graph)
        for layer in graph._layers
        if count[id(layer)] > 1
        for inner in layer.all_layers()
    }


def _refuse_what_changed(layer: Layer) -> None:
    for argument in ("activation", "recurrent_activation"):
        if getattr(getattr(layer, argument, None), "name", "") == "hard_sigmoid_keras2":
            raise NotImplementedError(
                f"Layer '{layer.name}' has the {argument} hard_sigmoid of Keras 2, 0.2 x + 0.5, which Keras 3 does not "
                "have: the model cannot be written for it."
            )
    if isinstance(layer, MergeCosine):
        raise NotImplementedError(
            f"Layer '{layer.name}' merges by the mode cos of Keras 1, which Keras 3 does not have: the model cannot be "
            "written for it."
        )
    for argument in ("causal", "time_major"):
        if isinstance(layer, (AdditiveAttention, Attention, Recurrent)) and getattr(layer, argument, False):
            raise NotImplementedError(
                f"Layer '{layer.name}' has {argument}=True, an argument of Keras 2, which Keras 3 does not have: the "
                "model cannot be written for it."
            )
    if isinstance(layer, RNN) and layer.num_constants:
        raise NotImplementedError(
            f"Layer '{layer.name}' is called with constants, which an RNN of Keras 3 does not take: the model cannot "
            "be written for it."
        )
    if isinstance(layer, TimeDistributed) and layer.makes_mask:
        raise NotImplementedError(
            f"Layer '{layer.name}' hands on the mask that its layer '{layer.layer.name}' makes, which that of Keras 3 "
            "does not: the model cannot be written for it."
        )
    if "/" in layer.name:
        raise NotImplementedError(
            f"Layer '{layer.name}' has a '/' in its name, which Keras 3 refuses: give its attribute `name` another one."
        )


def _refuse_other_masks(model: Functional, is_nested: bool, masked: set[int]) -> None:
    """Refuse a model that uses, or hands to the model around it, masks which the rules of the written version change.

    Layers that get a mask, and those inside them, come into ``masked``, by their id.
    """
    given = id(model) in masked
    old, new = (
        Plan(model.inputs, model.outputs, model._graph_nodes, MaskRules(version), masked_inputs=given)
        for version in (model.keras_version, parse_version(WRITTEN))
    )
    other: dict[int, Layer] = {}  # the places of masks that differ, and whose they are
    origin: dict[int, int] = {}  # the places of masks that were handed on as they were, and where they come from
    wrong: list[Layer] = []
    for before, after in zip(old.operations, new.operations, strict=True):
        if before.auto_mask or "mask" in before.arguments:
            masked.update(id(inner) for inner in before.layer.all_layers())
        if before.auto_mask != after.auto_mask:
            wrong.append(before.layer)
        hands_on = before.masked or after.masked
        places = [
            leaf.index for leaf in flatten([before.inputs, before.arguments.get("mask")]) if isinstance(leaf, Slot)
        ]
        origins = {origin.get(place, place) for place in places}
        is_one = isinstance(before.layer, Merge) and model.keras_version[0] < 3 and len(origins) == 1
        is_other = (before.compute_mask != after.compute_mask and not is_one) or before.masked != after.masked
        found = [other[place] for place in places if place in other]
        if before.auto_mask:
            wrong.extend(found)
        handed = before.masked_outputs(incoming=True) if hands_on else []
        if is_other or found:
            other.update(dict.fromkeys(handed, before.layer))
        elif len(origins) == 1 and type(before.layer).compute_mask in _HANDING_ON:
            origin.update(dict.fromkeys(handed, *origins))
    wrong.extend(other[slot] for slot in old.output_slots if is_nested and slot in other)
    for layer in wrong:
        raise NotImplementedError(
            f"Layer '{layer.name}' of a model of Keras {model.keras_version[0]}.{model.keras_version[1]} gets or hands "
            "on another mask by the rules of Keras 3: the model cannot be written for it."
        )


def _weights(model: Model, order: Callable[[Functional], list[Layer]], several: set[int]) -> bytes:
    """model.weights.h5, in which layers are counted in an order: that of the config beside it, or of Keras's own model.

    These differ for a model whose layers Keras called by keyword. A layer is there once, but for ``several``.
    """
    import h5py

    seen: set[int] = set()

    def own(layer: Layer, path: str) -> None:
        if id(layer) in seen and id(layer) not in several:
            return
        seen.add(id(layer))
        if isinstance(layer, Functional):
            container([inner for inner in order(layer) if not isinstance(inner, Operation)], f"{path}layers/")
            return
        file.create_group(f"{path}vars").attrs["name"] = layer.name
        if layer._specs:
            group = file.require_group(f"{path}{layer.saved_vars}")
            values = layer._own_weights()
            for index, value in enumerate(values[place] for place in layer.file_order()):
                data = group.create_dataset(str(index), data=value)
                if value.dtype.name == "bfloat16":
                    data.attrs["dtype"] = "bfloat16"
        for place, value in layer.saved_values().items():
            file.create_dataset(f"{path}{place}", data=value)
        for attribute, inner in layer.saved_parts():
            if isinstance(inner, list):
                container(inner, f"{path}{attribute}/")
            else:
                own(inner, f"{path}{attribute}/")

    def container(members: list[Any], path: str) -> None:
        counts: dict[str, int] = {}
        for member in members:
            name = "container" if isinstance(member, list) else member.saved_group()
            counts[name] = counts.get(name, -1) + 1
            below = f"{path}{name}{f'_{counts[name]}' if counts[name] else ''}/"
            container(member, below) if isinstance(member, list) else own(member, below)

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        own(model, "")
    for layer in model.owners():
        if id(layer) not in seen:
            raise NotImplementedError(
                f"Keras has no place in a file for layer '{layer.name}', which is inside another one."
            )
    return buffer.getvalue()
