"""`.h5` files of Keras 1, 2 and 3: a JSON config in an attribute, and each layer's weights in a list.

Next: hdf5.py; files.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from lstmfast._keras import NEWEST_NAME
from lstmfast.saving import hdf5
from lstmfast.saving.archive import WeightTree, clean, weight_tree
from lstmfast.saving.files import Array, Saved, parse_json


class LayerWeights:
    """Weights by layer, in the file's order.

    Attributes
    ----------
    layers : list of (str, list of Array)
        Name and weights of each layer.
    backend : str
        Of the Keras that wrote them.
    top : list of Array
        Weights of the model itself, which only a class of a user's own has.
    """

    def __init__(self, layers: list[tuple[str, list[Array]]], backend: str, top: list[Array]) -> None:
        self.layers = layers
        self.backend = backend
        self.top = top


@contextlib.contextmanager
def open_legacy(name: str) -> Iterator[Saved]:
    """The `Saved` of an HDF5 file."""
    with hdf5.open_file(name, name) as file:
        if "model_config" not in file.attrs:
            if _lists_layers(file) or _holds_tree(file):
                raise ValueError(
                    f"'{name}' holds weights only, no model: build the model in code and call its load_weights, or "
                    "save it whole with `model.save(...)`."
                )
            raise ValueError(f"'{name}' is an HDF5 file without a Keras model in it.")
        config = parse_json(hdf5.text(file.attrs["model_config"]), name, "model_config")
        version, weights = _weights(file, name)
        yield Saved(name, config, version, weights)


@contextlib.contextmanager
def open_legacy_weights(name: str) -> Iterator[tuple[str, LayerWeights | WeightTree]]:
    """The Keras version and the weights of an HDF5 file, with or without a model."""
    with hdf5.open_file(name, name) as file:
        if "model_weights" in file or _lists_layers(file):
            yield _weights(file, name)
            return
        tree = weight_tree(file, name)
        if not _holds_tree(file) and not any("vars" in path.split("/") for path in tree.arrays):
            raise ValueError(f"'{name}' is an HDF5 file without the weights of a Keras model.")
        yield hdf5.text(file.attrs.get("keras_version", NEWEST_NAME)), tree


def _lists_layers(group: Any) -> bool:
    return "layer_names" in group.attrs or "layer_names0" in group.attrs


def _holds_tree(file: Any) -> bool:
    """Whether an HDF5 file is one of weights by their path."""
    return any(clean(key).split("/")[0] in ("layers", "vars") for key in file)


def _weights(file: Any, name: str) -> tuple[str, LayerWeights]:
    group = hdf5.child(file, "model_weights", name) if "model_weights" in file else file
    version = file.attrs.get("keras_version", group.attrs.get("keras_version", "1.0.0"))
    backend = file.attrs.get("backend", group.attrs.get("backend", "tensorflow"))
    return hdf5.text(version), layer_weights(group, name, hdf5.text(backend))


def layer_weights(group: Any, name: str, backend: str = "tensorflow") -> LayerWeights:
    """The weights below a group with an attribute ``layer_names``."""
    layers: list[tuple[str, list[Array]]] = []
    for layer_name in hdf5.texts(group.attrs, "layer_names"):
        layer = hdf5.descend(group, layer_name, name)
        if layer is None:
            raise ValueError(f"'{name}': the weights of layer '{layer_name}' are missing.")
        layers.append((layer_name, _arrays(layer, f"layer '{layer_name}'", name)))
    top = hdf5.child(group, "top_level_model_weights", name)
    return LayerWeights(layers, backend, [] if top is None else _arrays(top, "the model", name))


def _arrays(group: Any, owner: str, name: str) -> list[Array]:
    """What the attribute ``weight_names`` of a group lists."""
    arrays = []
    for weight_name in hdf5.texts(group.attrs, "weight_names"):
        dataset = hdf5.descend(group, weight_name, name)
        if dataset is None or not hasattr(dataset, "shape"):
            raise ValueError(f"'{name}': the weight '{weight_name}' of {owner} is missing.")
        arrays.append(Array(dataset, weight_name))
    return arrays
