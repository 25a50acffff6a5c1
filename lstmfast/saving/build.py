"""Models out of plain configs.

Next: edges.py, for who calls whom; config.py, for one layer; assigning.py, for the weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from lstmfast._graph import KerasTensor
from lstmfast._keras import NEWEST, NEWEST_NAME, Version, as_version, version_for
from lstmfast.layers.base import Layer, is_plain_shape
from lstmfast.layers.core import InputLayer
from lstmfast.models import Functional, Model, Sequential
from lstmfast.saving.archive import WeightTree
from lstmfast.saving.assigning import assign_layers, assign_tree
from lstmfast.saving.config import MAX_DEPTH, Context, graph_class, make_layer
from lstmfast.saving.edges import MAX_NODES, Edges, NotYet, call_layers, needed_entries
from lstmfast.saving.files import Saved, parse_json


def build_model(saved: Saved, custom: Mapping[str, Any] | None, keras_version: Any = None) -> Model:
    """The model of a file that is open."""
    context = Context(saved.name, rules(saved.name, saved.version, keras_version), custom)
    model = make_model(saved.config, context, 0)
    if isinstance(saved.weights, WeightTree):
        assign_tree(model, saved.weights, context)
    else:
        assign_layers(model, saved.weights, context)
    return model


def rules(name: str, found: str, given: Any) -> Version:
    """The version by whose rules a model is read; a newer one than is known comes with a warning."""
    version = version_for(found, given)
    if version > NEWEST:
        warnings.warn(
            f"'{name}' is of Keras {found if given is None else given}, newer than the newest known ({NEWEST_NAME}). "
            "It is read by the rules of what is known.",
            stacklevel=4,
        )
    return version


def build_json(text: str, custom: Mapping[str, Any] | None, keras_version: Any = None) -> Model:
    """A fresh model of an architecture as JSON."""
    config = parse_json(text, "model_from_json", "the text")
    # Keras 3 writes no version, but a module
    found = str(config.get("keras_version") or (NEWEST_NAME if "module" in config else "1.0"))
    context = Context("model_from_json", rules("model_from_json", found, keras_version), custom, draws=True)
    return make_model(config, context, 0)


def make_model(entry: Any, context: Context, depth: int) -> Model:
    """The model of ``{"class_name": ..., "config": ...}``."""
    if not isinstance(entry, dict):
        raise ValueError(f"'{context.name}' has no model config.")
    class_name, config = entry.get("class_name"), entry.get("config")
    kind = graph_class(entry, context) if isinstance(class_name, str) else None
    if kind is not None and isinstance(config, dict):
        chain = issubclass(kind, Sequential)
        model = _sequential(config, context, depth, kind) if chain else _functional(config, context, depth, kind)
        model.note_class_in_file(entry)
        return model
    if class_name == "Sequential":
        return _sequential(config, context, depth)
    if class_name in ("Functional", "Model") and isinstance(config, dict) and "layers" in config:
        return _functional(config, context, depth)
    if class_name not in ("Functional", "Model") and isinstance(class_name, str):
        return _own_model(entry, class_name, context, depth)
    raise ValueError(f"'{context.name}': a model of class {class_name} without layers.")


def _own_model(entry: dict[str, Any], class_name: str, context: Context, depth: int) -> Model:
    """A model of a class that the caller supplies, built for the shapes of its inputs in the file."""
    key = context.key_of(entry)
    kind = None if key is None else context.custom[key]
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        config = entry.get("config")
        graph = (
            " (lstmfast.Model itself, if it has no `call`)" if isinstance(config, dict) and "layers" in config else ""
        )
        raise NotImplementedError(
            f"'{context.name}' holds a model of class {class_name}, which is code of its own. Pass "
            f"custom_objects={{{class_name!r}: a subclass of lstmfast.Model}}{graph}, or save a Sequential or "
            "functional model."
        )
    model = make_layer(entry, context, depth)
    assert isinstance(model, Model)
    _build_own(model, entry.get("build_config"), context)
    return model


def _build_own(model: Model, config: Any, context: Context) -> None:
    """Build a model of a class of the caller's as its build config says."""
    config = config if isinstance(config, dict) else {}
    try:
        if model.built:
            return
        if isinstance(config.get("shapes_dict"), dict) and config["shapes_dict"]:
            shapes = {str(name): _as_shapes(shape) for name, shape in config["shapes_dict"].items()}
            model.build_from_shapes(shapes)  # type: ignore[attr-defined]
        elif config.get("input_shape") is not None:
            model.build(_as_shapes(config["input_shape"]))
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"'{context.name}': model '{model.name}' cannot be built: {error}") from error


def _as_shapes(value: Any, depth: int = 0) -> Any:
    """A shape, or shapes in lists and dicts, of a config."""
    if depth > MAX_DEPTH:
        raise ValueError("The shapes are nested too deeply.")
    if isinstance(value, dict):
        return {str(key): _as_shapes(one, depth + 1) for key, one in value.items()}
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{value!r} is no shape.")
    if is_plain_shape(tuple(value)):
        return tuple(value)
    return [_as_shapes(one, depth + 1) for one in value]


def _sequential(config: Any, context: Context, depth: int, kind: Any = Sequential) -> Model:
    entries = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_NODES:
        raise ValueError(f"'{context.name}': a Sequential config without layers, or with more than {MAX_NODES}.")
    options = config if isinstance(config, dict) else {}
    layers = [make_layer(entry, context, depth + 1) for entry in entries]
    branches = _branches(entries, context, depth)
    if branches:
        return _joined(branches, layers, options.get("name"), context)
    try:
        model = _chain_of(kind, layers, options.get("name"), context)
        model._trainable = bool(options.get("trainable", True))
        shape = options.get("build_input_shape")
        if not model.built and isinstance(shape, list) and is_plain_shape(tuple(shape)) and layers:
            model.build(tuple(shape))
            model._any_steps = model._takes_any_steps()
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"'{context.name}': {error}") from error
    return model


def _chain_of(kind: Any, layers: list[Layer], name: Any, context: Context) -> Sequential:
    """A Sequential model of these layers, of a class of the caller's as Keras makes one: empty first."""
    if kind.__init__ is Sequential.__init__:
        return kind(layers, name=name, keras_version=context.version)  # type: ignore[no-any-return]
    model: Sequential = kind(name=name)
    model.keras_version = context.version
    for layer in layers:
        model.add(layer)
    return model


def _branches(entries: list[Any], context: Context, depth: int) -> list[Model]:
    """The models that a Merge layer of Keras 1 at the beginning of a Sequential one joins."""
    first = entries[0] if entries else None
    config = first.get("config") if isinstance(first, dict) and first.get("class_name") == "Merge" else None
    found = config.get("layers") if isinstance(config, dict) else None
    return [make_model(entry, context, depth + 1) for entry in found] if isinstance(found, list) else []


def _joined(branches: list[Model], layers: list[Layer], name: Any, context: Context) -> Model:
    """A functional model of branches, of the layer that joins them and of those behind it."""
    try:
        for branch in branches:
            branch._require_built()
        value: Any = [branch.outputs[0] for branch in branches]
        for layer in layers:
            value = layer(value)
        inputs = [tensor for branch in branches for tensor in branch.inputs]
        return Model(inputs, value, name=name, keras_version=context.version)
    except (ValueError, TypeError) as error:
        raise ValueError(f"'{context.name}': {error}") from error


def functional_from_config(
    config: dict[str, Any], custom: Mapping[str, Any] | None, keras_version: Any, kind: type[Model] = Model
) -> Model:
    """A functional model, of the class ``kind``, from what its `get_config` gave."""
    return _functional(config, Context("config", as_version(keras_version), custom, draws=True), 0, kind)


def sequential_from_config(
    config: dict[str, Any], custom: Mapping[str, Any] | None, keras_version: Any, kind: Any = Sequential
) -> Model:
    """A Sequential model, of the class ``kind``, from what its `get_config` gave."""
    return _sequential(config, Context("config", as_version(keras_version), custom, draws=True), 0, kind)


def _functional(config: dict[str, Any], context: Context, depth: int, kind: type[Model] = Model) -> Functional:
    """A functional model from a config of any version."""
    entries = config.get("layers")
    if not isinstance(entries, list) or len(entries) > MAX_NODES:
        raise ValueError(f"'{context.name}': a functional config without layers.")
    entries = needed_entries(entries, config, context)
    layers: dict[str, Layer] = {}
    pending: list[tuple[Layer, Any]] = []
    made: dict[str, list[list[KerasTensor]]] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError(f"'{context.name}': not the config of a layer: {str(entry)[:200]}")
        layer = make_layer(entry, context, depth + 1)
        name = entry.get("name", layer.name)
        if not isinstance(name, str) or name in layers:
            raise ValueError(f"'{context.name}': two layers are called {name!r}.")
        layer.name = name
        layers[name] = layer
        made[name] = [layer.nodes[0].outputs] if isinstance(layer, InputLayer) else []
        nodes = entry.get("inbound_nodes") or []
        if not isinstance(nodes, list):
            raise ValueError(f"'{context.name}': layer '{name}' has no list of inbound nodes.")
        pending.extend((layer, node) for node in nodes if not isinstance(layer, InputLayer))
    reader = Edges(config, layers, made, context)
    if len(pending) > MAX_NODES:
        raise ValueError(f"'{context.name}' has {len(pending)} nodes.")
    waiting = call_layers(pending, reader)
    if waiting:
        names = sorted({layer.name for layer, _ in waiting})
        raise ValueError(f"'{context.name}': the graph has a loop or a gap at {', '.join(names[:8])}.")
    try:
        inputs = reader.struct(config.get("input_layers"))
        outputs = reader.struct(config.get("output_layers"))
        model: Any = kind(inputs, outputs, name=config.get("name"), keras_version=context.version)
    except NotYet:
        raise ValueError(f"'{context.name}': an input or output of the model is no layer's.") from None
    except TypeError as error:
        raise ValueError(f"'{context.name}': the model cannot be made: {error}") from error
    model._trainable = bool(config.get("trainable", True))
    # the order of the model that was saved, and so of its weights, which depends on how its layers were called
    found = set(map(id, model._layers))
    listed = {id(layer): layer for layer in layers.values() if id(layer) in found}
    model._layers = [*listed.values(), *(layer for layer in model._layers if id(layer) not in listed)]
    return model  # type: ignore[no-any-return]
