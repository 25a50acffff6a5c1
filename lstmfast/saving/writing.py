"""Models out: a ``.keras`` file as Keras 3 writes and reads it.

Next: archive.py, which reads it.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any

from lstmfast._graph import snake_case
from lstmfast._plan import MaskRules, Plan
from lstmfast.layers.attention import AdditiveAttention, Attention
from lstmfast.layers.base import Layer, numbering_shared, serialize_layer
from lstmfast.layers.merging import MergeCosine
from lstmfast.layers.operations import Operation
from lstmfast.layers.recurrent import Recurrent
from lstmfast.layers.wrappers import TimeDistributed
from lstmfast.models import Functional, Model, first_call
from lstmfast.saving.config import parse_version

# Of the Keras whose format is written.
KERAS_VERSION = "3.15.1"


def save_model(model: Model, path: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a model to a ``.keras`` file, whole or not at all; see `Model.save`."""
    name = _name(path, ".keras", overwrite)
    model._require_built()
    config = json.dumps(architecture(model))
    metadata = {"keras_version": KERAS_VERSION, "date_saved": datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")}
    weights = _weights(model, lambda graph: graph.layers_as_saved(), _in_several_graphs(model))
    with _whole_file(name) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)


def save_weights(model: Model, path: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Write a model's weights to a ``.weights.h5`` file, whole or not at all; see `Model.save_weights`."""
    name = _name(path, ".weights.h5", overwrite)
    model._require_built()
    weights = _weights(model, lambda graph: graph.layers, set())
    with _whole_file(name) as file:
        file.write(weights)


def _name(path: str | os.PathLike[str], ending: str, overwrite: bool) -> str:
    """The name of a file to write, checked."""
    name = os.fspath(path)
    if not str(name).endswith(ending):
        raise ValueError(f"The file name has to end in {ending}, the only format that is written. Received: {name}")
    if not overwrite and os.path.exists(name):
        raise FileExistsError(f"'{name}' exists, and overwrite=False.")
    return name


@contextlib.contextmanager
def _whole_file(name: str) -> Iterator[IO[bytes]]:
    """A file that takes its place when all is written, and leaves what was there before where something fails."""
    handle, temporary = tempfile.mkstemp(suffix=".part", dir=os.path.dirname(name) or ".")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, name)
    except BaseException:
        os.unlink(temporary)
        raise


def architecture(model: Model) -> dict[str, Any]:
    """The model's class and config, as Keras 3 writes them.

    Raises
    ------
    NotImplementedError
        If a layer of an older Keras has no equal there.
    """
    for layer in model.all_layers():
        _refuse_what_changed(layer)
    with numbering_shared(_in_several_graphs(model)):
        entry = serialize_layer(model)
    return {**entry, "registered_name": model.saved_class(), "build_config": {"input_shape": model.build_shape}}


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
    if isinstance(layer, TimeDistributed) and layer.makes_mask:
        raise NotImplementedError(
            f"Layer '{layer.name}' hands on the mask that its layer '{layer.layer.name}' makes, which that of Keras 3 "
            "does not: the model cannot be written for it."
        )
    if "/" in layer.name:
        raise NotImplementedError(
            f"Layer '{layer.name}' has a '/' in its name, which Keras 3 refuses: give its attribute `name` another one."
        )
    if isinstance(layer, Functional) and layer.built and layer.keras_version < (3, 4):
        for newer in _other_masks(layer):
            raise NotImplementedError(
                f"Layer '{newer.name}' of a model of Keras {layer.keras_version[0]}.{layer.keras_version[1]} gets or "
                "hands on another mask by the rules of Keras 3: the model cannot be written for it."
            )


def _other_masks(model: Functional) -> Iterator[Layer]:
    """The layers of a model whose masks the rules of the written version change."""
    version = parse_version(KERAS_VERSION)
    old, new = (
        Plan(model.inputs, model.outputs, model._graph_nodes, MaskRules(one)) for one in (model.keras_version, version)
    )
    for before, after in zip(old.operations, new.operations, strict=True):
        changed = before.compute_mask != after.compute_mask and (before.masked or after.masked)
        if changed or (before.auto_mask, before.masked) != (after.auto_mask, after.masked):
            yield before.layer


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
            for index, value in enumerate(layer._own_weights()):
                data = group.create_dataset(str(index), data=value)
                if value.dtype.name == "bfloat16":
                    data.attrs["dtype"] = "bfloat16"
        for attribute, inner in layer.saved_parts():
            if isinstance(inner, list):
                container(inner, f"{path}{attribute}/")
            else:
                own(inner, f"{path}{attribute}/")

    def container(members: list[Any], path: str) -> None:
        counts: dict[str, int] = {}
        for member in members:
            name = "container" if isinstance(member, list) else snake_case(member.saved_class())
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
