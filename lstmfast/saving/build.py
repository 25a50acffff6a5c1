"""Layers out of plain configs, and weights into them.

Next: config.py, for one layer; ../models.py.
"""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Callable, Container, Iterator
from types import FunctionType
from typing import Any

import numpy as np

from lstmfast._graph import KerasTensor, flatten
from lstmfast._keras import NEWEST, NEWEST_NAME, Version, as_version, parse_version, version_for
from lstmfast.layers.attention import AdditiveAttention, Attention
from lstmfast.layers.base import Layer, all_or_nothing, assign, is_plain_shape
from lstmfast.layers.core import InputLayer
from lstmfast.layers.lookup import Vocabulary
from lstmfast.layers.operations import Operation
from lstmfast.layers.wrappers import TimeDistributed
from lstmfast.models import Functional, Model, Sequential, first_call
from lstmfast.saving.archive import WeightTree
from lstmfast.saving.config import (
    MAX_DEPTH,
    Context,
    array_of,
    graph_class,
    is_array,
    make_layer,
)
from lstmfast.saving.files import Array, Saved, open_weights, parse_json
from lstmfast.saving.legacy import LayerWeights
from lstmfast.saving.translate import keras_1_count, translated
from lstmfast.saving.weight_order import inside, keras_2_order, saved_order

_MAX_NODES = 10_000
_ATTENTION = (Attention, AdditiveAttention)


def build_model(saved: Saved, custom: dict[str, Any], keras_version: Any = None) -> Model:
    """The model of a file that is open."""
    context = Context(saved.name, _rules(saved.name, saved.version, keras_version), custom)
    model = make_model(saved.config, context, 0)
    if isinstance(saved.weights, WeightTree):
        assign_tree(model, saved.weights, context)
    else:
        assign_layers(model, saved.weights, context)
    return model


def _rules(name: str, found: str, given: Any) -> Version:
    """The version by whose rules a model is read; a newer one than is known comes with a warning."""
    version = version_for(found, given)
    if version > NEWEST:
        warnings.warn(
            f"'{name}' is of Keras {found if given is None else given}, newer than the newest known ({NEWEST_NAME}). "
            "It is read by the rules of what is known.",
            stacklevel=4,
        )
    return version


def build_json(text: str, custom: dict[str, Any], keras_version: Any = None) -> Model:
    """A fresh model of an architecture as JSON."""
    config = parse_json(text, "model_from_json", "the text")
    # Keras 3 writes no version, but a module
    found = str(config.get("keras_version") or (NEWEST_NAME if "module" in config else "1.0"))
    context = Context("model_from_json", _rules("model_from_json", found, keras_version), custom, draws=True)
    return make_model(config, context, 0)


def build_live(model: Any, custom: dict[str, Any], keras_version: Any = None) -> Model:
    """A copy of a live Keras model, from its config and weights alone."""
    if not callable(getattr(model, "get_config", None)) or not callable(getattr(model, "get_weights", None)):
        raise TypeError(f"Expected a Keras model, got {type(model).__name__}.")
    modules = {base.__module__.split(".")[0] for base in type(model).__mro__}
    library, found = "tf_keras", "2.15"
    if "tf_keras" not in modules and "keras" in modules:
        library, found = "keras", str(getattr(sys.modules.get("keras"), "__version__", NEWEST_NAME))
    is_older = parse_version(found) < (3, 0)  # whatever the rules
    names = {base.__name__ for base in type(model).__mro__}
    class_name = "Sequential" if "Sequential" in names else "Functional"
    name = f"live model {getattr(model, 'name', '')}"
    context = Context(name, _rules(name, found, keras_version), custom)
    entry: dict[str, Any] = {"class_name": class_name, "module": None}
    if (class_name == "Functional" and "Functional" not in names) or not _calls_as_keras(type(model)):
        class_name = type(model).__name__
        entry.update(class_name=class_name, registered_name=_registered_name(type(model), library))
        if context.key_of(entry) is None:
            raise NotImplementedError(
                f"Model '{getattr(model, 'name', '?')}' is a subclass of keras.Model with code of its own. Pass "
                f"custom_objects={{{class_name!r}: a subclass of lstmfast.Model}}; or make one of these, build it, and "
                f"give it the weights: {_by_hand(is_older)}."
            )
    _refuse_what_configs_lack(model, custom, library)
    try:
        config = model.get_config()
    except NotImplementedError as error:
        raise NotImplementedError(
            f"Model '{getattr(model, 'name', '?')}' of class {class_name} gives no config: let its get_config say how "
            f"it is made; or make a model here, build it, and give it the weights: {_by_hand(is_older)}."
        ) from error
    entry["config"] = _plain(config)
    _note_shared(model, entry, {})
    if callable(getattr(model, "get_build_config", None)):
        entry["build_config"] = _plain(model.get_build_config())
    copy = make_model(entry, context, 0)
    weights = _live_weights(model, any(isinstance(layer, Vocabulary) for layer in copy.all_layers()), is_older)
    if not copy.built:
        shape = getattr(model, "input_shape", None)
        if shape is None and weights:
            raise ValueError(f"Model '{copy.name}' is not built: call it on data first.")
        if shape is not None:
            copy.build(shape)
    if any(isinstance(layer, Vocabulary) for layer in copy.all_layers()):
        _take_vocabularies(model, copy)
    if is_older:
        _take_causal(model, copy)
    copy.set_weights(_by_layer(copy, weights) if is_older else weights)
    return copy


_KERAS_MODULES = ("keras", "tf_keras", "tensorflow")


def _weights_with_lora(model: Any) -> list[Any]:
    """The weights of a live model, each with what LoRA adds to it, as in Keras's own files."""
    values = list(model.get_weights())
    merged: dict[int, Any] = {}
    for layer in getattr(model, "_flatten_layers", list)():
        quantized, adapted = getattr(layer, "quantization_mode", None), getattr(layer, "lora_enabled", False)
        if quantized is not None and (adapted or type(layer).__name__ not in ("Dense", "Embedding")):
            raise NotImplementedError(
                f"Layer '{layer.name}' of class {type(layer).__name__} is quantized{' with LoRA' if adapted else ''}, "
                "which is not supported: pass on the model before it is quantized."
            )
        if adapted:
            name = "embeddings" if hasattr(layer, "lora_embeddings_a") else "kernel"
            merged[id(getattr(layer, f"_{name}"))] = np.asarray(getattr(layer, name))
            merged.update((id(getattr(layer, f"lora_{name}_{part}")), None) for part in "ab")
    if not merged:
        return values
    pairs = zip(model.weights, values, strict=True)
    return [value for value in (merged.get(id(weight), own) for weight, own in pairs) if value is not None]


def _by_hand(is_older: bool) -> str:
    """How a model that is made in code gets the weights of a live one; Keras 2 lists them in another order."""
    if is_older:
        return "load_weights('weights.h5') of what save_weights('weights.h5') wrote"
    return "set_weights(model.get_weights())"


def _live_layers(layer: Any) -> Iterator[Any]:
    """A live layer and those inside it."""
    yield layer
    inside: list[Any] = []
    for name in ("layers", "layer", "forward_layer", "backward_layer", "cell", "cells"):
        found = getattr(layer, name, None)
        inside.extend(found if isinstance(found, (list, tuple)) else [found])
    for inner in inside:
        if callable(getattr(inner, "get_config", None)):
            yield from _live_layers(inner)


def _registered_name(thing: Any, library: str) -> str:
    """What ``keras`` or ``tf_keras`` has a class or function of the user's registered as, such as ``pkg>Name``."""
    saving = getattr(sys.modules.get(library), "saving", None)
    name_of = getattr(saving, "get_registered_name", None)
    return str(thing.__name__ if name_of is None else name_of(thing))


def _refuse_what_configs_lack(model: Any, custom: dict[str, Any], library: str) -> None:
    """Raise where a live model is something else than its config says."""
    for layer in _live_layers(model):
        is_chain = any(base.__name__ == "Sequential" for base in type(layer).__mro__)
        held = getattr(layer, "layers", [])
        if is_chain and len(set(map(id, held))) < len(held):
            raise NotImplementedError(
                f"Sequential model '{layer.name}' holds a layer twice, which its config does not say: make it a "
                "functional model."
            )
        for argument in ("activation", "recurrent_activation"):
            function = getattr(layer, argument, None)
            name, module = getattr(function, "__name__", None), str(getattr(function, "__module__", None))
            if not isinstance(function, FunctionType) or module.split(".")[0] in _KERAS_MODULES:
                continue
            if name in custom or _registered_name(function, library) in custom:
                continue
            raise NotImplementedError(
                f"Layer '{layer.name}' has the {argument} {name}, a Python function of {module}. Pass "
                f"custom_objects={{{name!r}: a function of arrays}}."
            )


def _note_shared(live: Any, entry: Any, first: dict[int, dict[str, Any]]) -> None:
    """Say in the config of a live model which of its layers are one, as Keras does when it saves."""
    config = entry.get("config") if isinstance(entry, dict) else None
    if live is None or not isinstance(config, dict):
        return
    known = first.setdefault(id(live), entry)
    if known is not entry:
        known["shared_object_id"] = entry["shared_object_id"] = id(live)
        return
    for key in ("layer", "backward_layer", "cell"):
        _note_shared(getattr(live, key, None), config.get(key), first)
    for key in ("layers", "cells"):
        held, inside = getattr(live, key, None), config.get(key)
        if not isinstance(held, (list, tuple)) or not isinstance(inside, list):
            continue
        if key == "layers":  # among which a config may have inputs and operations
            named = {getattr(layer, "name", None): layer for layer in held}
            configs = [inner.get("config") if isinstance(inner, dict) else None for inner in inside]
            held = [named.get(found.get("name")) if isinstance(found, dict) else None for found in configs]
        for layer, inner in zip(held, inside, strict=False):
            _note_shared(layer, inner, first)


def _by_layer(model: Model, weights: list[Any]) -> list[Any]:
    """What Keras 2 gave as the weights of its model, layer by layer."""
    order = keras_2_order(model)
    if len(order) != len(weights):
        return weights  # which is the number to complain of
    places = {(id(owner), index): value for (owner, index), value in zip(order, weights, strict=True)}
    return [places[id(owner), index] for owner in model.owners() for index in range(len(owner._specs))]


def _calls_as_keras(kind: type) -> bool:
    """Whether a class of models leaves it to Keras what a call does."""
    owner = next((base for base in kind.__mro__ if "call" in base.__dict__), None)
    return owner is None or owner.__module__.split(".")[0] in _KERAS_MODULES


def _take_vocabularies(model: Any, copy: Model) -> None:
    """The words of a live model's layers: those that a config lists may have been replaced."""
    own: Any
    for place, own in enumerate(copy.layers):
        if not any(isinstance(layer, Vocabulary) for layer in own.all_layers()):
            continue
        live = model.layers[place] if copy.is_own() else model.get_layer(own.name)  # a class may name its layers anew
        if isinstance(own, Model):
            _take_vocabularies(live, own)
        elif isinstance(own, Vocabulary):
            weighed = own.output_mode == "tf_idf"
            words = live.get_vocabulary(include_special_tokens=weighed)
            if weighed and words:
                weights = np.asarray(_lookup_of(live).idf_weights_const)  # filled up to `max_tokens`
                own.set_vocabulary(words, weights[: len(words)])
            elif words:
                own.set_vocabulary(words)


def _lookup_of(layer: Any) -> Any:
    """What looks words up in a live layer."""
    return getattr(layer, "_lookup_layer", layer)


def _live_weights(model: Any, looks_up: bool, is_older: bool) -> list[Any]:
    """The weights of a live model, without what Keras 2 counts among them of layers that look words up."""
    if not (is_older and looks_up):
        return list(map(np.asarray, _weights_with_lora(model)))
    kept = [vars(_lookup_of(layer)) for layer in _live_layers(model) if hasattr(layer, "get_vocabulary")]
    left_out = {id(one.get(name)) for one in kept for name in ("idf_weights", "num_documents")}
    # a table of words is none of the variables
    return [np.asarray(one) for one in model.weights if id(one) not in left_out and not hasattr(one, "get_tensors")]


def _take_causal(theirs: Any, own: Any) -> None:
    """An argument of attention layers that Keras 2 has, and does not tell of in their configs."""
    if isinstance(own, Functional):
        for inner in own.layers:
            if isinstance(inner, (Functional, TimeDistributed, *_ATTENTION)):
                _take_causal(theirs.get_layer(inner.name), inner)
    elif isinstance(own, TimeDistributed):
        _take_causal(theirs.layer, own.layer)
    elif isinstance(own, _ATTENTION):
        own.causal = bool(theirs.causal)


def _plain(value: Any, depth: int = 0) -> Any:
    """A live config with its objects in their serialized form."""
    if depth > MAX_DEPTH:
        raise ValueError("The config is nested too deeply.")
    if isinstance(value, dict):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value.name if type(value).__name__ == "DType" else value


# -- models from configs ------------------------------------------------------------------------------------------


def make_model(entry: Any, context: Context, depth: int) -> Model:
    """The model of ``{"class_name": ..., "config": ...}``."""
    if not isinstance(entry, dict):
        raise ValueError(f"'{context.name}' has no model config.")
    class_name, config = entry.get("class_name"), entry.get("config")
    kind = graph_class(entry, context) if isinstance(class_name, str) else None
    if kind is not None and isinstance(config, dict):
        chain = issubclass(kind, Sequential)
        model = _sequential(config, context, depth, kind) if chain else functional(config, context, depth, kind)
        model.note_class_in_file(entry)
        return model
    if class_name == "Sequential":
        return _sequential(config, context, depth)
    if class_name in ("Functional", "Model") and isinstance(config, dict) and "layers" in config:
        return functional(config, context, depth)
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
    build_own(model, entry.get("build_config"), context)
    return model


def build_own(model: Model, config: Any, context: Context) -> None:
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
    if not isinstance(entries, list) or len(entries) > _MAX_NODES:
        raise ValueError(f"'{context.name}': a Sequential config without layers, or with more than {_MAX_NODES}.")
    options = config if isinstance(config, dict) else {}
    layers = [make_layer(entry, context, depth + 1) for entry in entries]
    branches = _branches(entries, context, depth)
    if branches:
        return _joined(branches, layers, options.get("name"), context)
    try:
        model: Sequential = kind(layers, name=options.get("name"), keras_version=context.version)
        model._trainable = bool(options.get("trainable", True))
        shape = options.get("build_input_shape")
        if not model.built and isinstance(shape, list) and is_plain_shape(tuple(shape)) and layers:
            model.build(tuple(shape))
            model._any_steps = model._takes_any_steps()
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"'{context.name}': {error}") from error
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


def functional_from_config(config: dict[str, Any], custom: dict[str, Any] | None, keras_version: Any) -> Model:
    """A functional model from what `Model.get_config` gave."""
    return functional(config, Context("config", as_version(keras_version), custom or {}, draws=True), 0)


def sequential_from_config(config: dict[str, Any], custom: dict[str, Any] | None, keras_version: Any) -> Model:
    """A Sequential model from what its `get_config` gave."""
    return _sequential(config, Context("config", as_version(keras_version), custom or {}, draws=True), 0)


def functional(config: dict[str, Any], context: Context, depth: int, kind: type[Model] = Model) -> Functional:
    """A functional model from a config of any version."""
    entries = config.get("layers")
    if not isinstance(entries, list) or len(entries) > _MAX_NODES:
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
    if len(pending) > _MAX_NODES:
        raise ValueError(f"'{context.name}' has {len(pending)} nodes.")
    waiting = call_layers(pending, reader)
    if waiting:
        names = sorted({layer.name for layer, _ in waiting})
        raise ValueError(f"'{context.name}': the graph has a loop or a gap at {', '.join(names[:8])}.")
    try:
        inputs = reader.struct(config.get("input_layers"))
        outputs = reader.struct(config.get("output_layers"))
        model: Any = kind(inputs, outputs, name=config.get("name"), keras_version=context.version)
    except _NotYet:
        raise ValueError(f"'{context.name}': an input or output of the model is no layer's.") from None
    except TypeError as error:
        raise ValueError(f"'{context.name}': the model cannot be made: {error}") from error
    model._trainable = bool(config.get("trainable", True))
    # the order of the model that was saved, and so of its weights, which depends on how its layers were called
    found = set(map(id, model._layers))
    listed = {id(layer): layer for layer in layers.values() if id(layer) in found}
    model._layers = [*listed.values(), *(layer for layer in model._layers if id(layer) not in listed)]
    return model  # type: ignore[no-any-return]


def needed_entries(entries: list[Any], config: Any, context: Context) -> list[Any]:
    """The layers of a functional config that its outputs depend on; `add_loss` of Keras 2 leaves others there."""
    if not isinstance(config, dict) or not config.get("output_layers") or _calls_as_keras_3(config, context):
        return entries
    named = {entry["name"]: entry for entry in entries if _has_name(entry)}
    needed: set[str] = set()
    left = [config["output_layers"], config.get("input_layers")]
    while left:
        for name, _ in _references(left.pop(), named):
            if name not in needed:
                needed.add(name)
                left.append(named[name].get("inbound_nodes"))
    return [entry for entry in entries if not _has_name(entry) or entry["name"] in needed]


def _calls_as_keras_3(config: dict[str, Any], context: Context) -> bool:
    """Whether a functional config holds its calls as Keras 3 writes them, by whatever rules it is read."""
    entries = config.get("layers")
    for entry in entries if isinstance(entries, list) else ():
        nodes = entry.get("inbound_nodes") if isinstance(entry, dict) else None
        if isinstance(nodes, list) and nodes:
            return _is_call_of_keras_3(nodes[0])
    return context.major >= 3


def _is_call_of_keras_3(node: Any) -> bool:
    return isinstance(node, dict) and ("args" in node or "kwargs" in node)


def _has_name(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def _is_reference(value: Any, names: Container[str]) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and value[0] in names
        and isinstance(value[1], int)
        and isinstance(value[2], int)
    )


def _references(value: Any, names: Container[str]) -> Iterator[tuple[str, int]]:
    """The layers, and the numbers of their calls, whose tensors a part of a legacy config names."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif _is_reference(value, names):
            yield value[0], value[1]
            left.extend(value[3:])
        elif isinstance(value, (list, tuple)):
            left.extend(value)


def call_layers(
    pending: list[tuple[Layer, Any]], reader: Edges, failed: Callable[[Exception], None] | None = None
) -> list[tuple[Layer, Any]]:
    """Make the calls of a graph, each after those it depends on; returns those whose inputs never come.

    With ``failed``, which is told of each call that cannot be made, the others go on.
    """
    broken: set[str] = set()
    while pending:
        waiting: list[tuple[Layer, Any]] = []
        blocked = set(broken)
        for layer, node in pending:
            # a layer's calls happen in their order, for others refer to them by number
            if layer.name in blocked:
                waiting.append((layer, node))
                continue
            try:
                reader.made[layer.name].append(flatten(_called(layer, node, reader)))
            except _NotYet:
                blocked.add(layer.name)
                waiting.append((layer, node))
            except (ValueError, NotImplementedError) as error:
                if failed is None:
                    raise
                failed(error)
                broken.add(layer.name)
                blocked.add(layer.name)
        if len(waiting) == len(pending):
            break
        pending = waiting
    return pending


def _called(layer: Layer, node: Any, reader: Edges) -> Any:
    """The symbolic outputs of one call."""
    name = reader.context.name
    try:
        inputs, arguments = reader.call(layer, node)
        return layer(inputs, **arguments)
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        if str(error).startswith(f"'{name}'"):  # of the edge itself
            raise
        raise ValueError(f"'{name}': layer '{layer.name}' cannot be called: {error}") from error


class _NotYet(Exception):
    """A tensor is not made yet."""


class Edges:
    """Reads the calls of a functional config: Keras 3's ``{args, kwargs}`` and the lists before it."""

    def __init__(
        self,
        config: dict[str, Any],
        layers: dict[str, Layer],
        made: dict[str, list[list[KerasTensor]]],
        context: Context,
    ) -> None:
        self.layers = layers
        self.made = made
        self.context = context
        self.is_keras_3 = _calls_as_keras_3(config, context)
        self.own_nodes = set() if self.is_keras_3 else self._own_nodes(config)

    def _own_nodes(self, config: dict[str, Any]) -> set[str]:
        """The nested models of Keras 2 whose first node is their own, so that their calls are counted from 1.

        No file says so. But every call that it holds is read by something: where a number is as large as that of the
        calls, 0 stands for none of them.
        """
        calls: dict[str, int] = {}
        for entry in config.get("layers") or []:
            if isinstance(entry, dict) and isinstance(entry.get("inbound_nodes"), list):
                calls[str(entry.get("name"))] = len(entry["inbound_nodes"])
        read = [
            *(entry.get("inbound_nodes") for entry in config.get("layers") or [] if isinstance(entry, dict)),
            config.get("input_layers"),
            config.get("output_layers"),
        ]
        return {
            name
            for name, node in _references(read, self.layers)
            if isinstance(self.layers[name], Functional) and node >= calls.get(name, node + 1)
        }

    def tensor(self, name: Any, node: Any, position: Any) -> KerasTensor:
        layer = self.layers.get(name) if isinstance(name, str) else None
        if layer is None or not isinstance(node, int) or not isinstance(position, int) or node < 0 or position < 0:
            raise ValueError(f"'{self.context.name}': no layer gives the tensor {[name, node, position]}.")
        made = self.made[name]
        if name in self.own_nodes:
            node = max(0, node - 1)
        if node >= len(made):
            raise _NotYet
        if position >= len(made[node]):
            raise ValueError(f"'{self.context.name}': layer '{name}' has no output {position}.")
        tensor: KerasTensor = made[node][position]
        return tensor

    def is_reference(self, value: Any) -> bool:
        return _is_reference(value, self.layers)

    def struct(self, value: Any, depth: int = 0) -> Any:
        """The model's inputs or outputs."""
        if depth > MAX_DEPTH:
            raise ValueError(f"'{self.context.name}' nests its outputs too deeply.")
        if self.is_reference(value):
            name, node, position = value[:3]
            if node > 0 and self.is_keras_3:
                node -= first_call(self.layers[name])
            return self.tensor(name, node, position)
        if isinstance(value, dict):
            return {key: self.struct(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = [self.struct(item, depth + 1) for item in value]
            return items[0] if len(items) == 1 and not self.is_keras_3 else items
        raise ValueError(f"'{self.context.name}': no layer gives the tensor {value!r}.")

    def call(self, layer: Layer, node: Any) -> tuple[Any, dict[str, Any]]:
        """Inputs and further arguments of one call."""
        if _is_call_of_keras_3(node):
            return self._call_keras_3(layer, node)
        return self._call_legacy(layer, node)

    def _call_keras_3(self, layer: Layer, node: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        def revive(value: Any, depth: int = 0) -> Any:
            if depth > MAX_DEPTH:
                raise ValueError(f"'{self.context.name}': the call of layer '{layer.name}' is nested too deeply.")
            if isinstance(value, dict):
                config = value.get("config")
                if value.get("class_name") == "__keras_tensor__" and isinstance(config, dict):
                    history = config.get("keras_history")
                    if not isinstance(history, list) or len(history) != 3:
                        raise ValueError(f"'{self.context.name}': an edge of layer '{layer.name}' leads nowhere.")
                    return self.tensor(*history)
                if value.get("class_name") == "__tuple__" and isinstance(value.get("items"), list):
                    return tuple(revive(item, depth + 1) for item in value["items"])
                if value.get("class_name") == "__slice__" and isinstance(config, dict):
                    return slice(*(revive(config.get(key), depth + 1) for key in ("start", "stop", "step")))
                if value.get("class_name") == "__ellipsis__":
                    return ...
                if is_array(value):
                    return array_of(value)
                return {key: revive(item, depth + 1) for key, item in value.items()}
            if isinstance(value, (list, tuple)):
                return type(value)([revive(item, depth + 1) for item in value])
            return value

        args = revive(node.get("args") or [])
        kwargs = revive(node.get("kwargs") or {})
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise ValueError(f"'{self.context.name}': the call of layer '{layer.name}' is not understood.")
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        inputs, arguments = layer._bind(tuple(args), kwargs)
        return inputs, arguments

    def _call_legacy(self, layer: Layer, node: Any) -> tuple[Any, dict[str, Any]]:
        if isinstance(node, dict):  # of tensors by name
            given: dict[str, Any] = {}
            for call in node.values():
                if self.is_reference(call) and len(call) == 4 and isinstance(call[3], dict):
                    given.update(call[3])
            named = {key: self.struct(call) for key, call in node.items()}
            return layer._bind((named,), self._legacy_arguments(layer, given))
        if not isinstance(node, list) or not node:
            raise ValueError(f"'{self.context.name}': the call of layer '{layer.name}' is not understood.")
        # TFOpLambda nests one level less, but for a list of tensors
        single = self.is_reference(node) or node[0] == "_CONSTANT_VALUE"
        tensors: list[Any] = []
        kwargs: dict[str, Any] = {}
        for call in [node] if single else node:
            if call == []:  # a constant shape among tensors
                tensors.append(call)
                continue
            if isinstance(call, list) and len(call) == 4 and call[0] == "_CONSTANT_VALUE":
                tensors.append(call[2])
            elif self.is_reference(call):
                tensors.append(self.tensor(*call[:3]))
            else:
                raise ValueError(f"'{self.context.name}': the call of layer '{layer.name}' is not understood.")
            if len(call) == 4 and isinstance(call[3], dict):
                kwargs.update(call[3])
        arguments = self._legacy_arguments(layer, kwargs)
        if len(tensors) > 1 and "initial_state" in layer.call_arguments:  # Keras 2 calls RNNs on [x, h, c, *constants]
            count = len(tensors) - getattr(layer, "num_constants", 0)
            further = {"initial_state": tensors[1:count], "constants": tensors[count:]}
            for key, value in further.items():
                if value:
                    arguments.setdefault(key, value)
            tensors = tensors[:1]
        if arguments.get("constants") and "constants" not in layer.call_arguments:
            raise NotImplementedError(
                f"'{self.context.name}': layer '{layer.name}' of class {type(layer).__name__} is called with "
                "constants, which an RNN alone can be."
            )
        if isinstance(layer, Operation):
            return layer._bind((tensors[0] if single else tensors,), arguments)
        alone = len(tensors) == 1 and (not layer.takes_list() or "value" in arguments)  # MultiHeadAttention's first
        inputs = tensors[0] if alone else tensors
        return layer._bind((inputs,), arguments)

    def _legacy_arguments(self, layer: Layer, arguments: dict[str, Any]) -> dict[str, Any]:
        """A call's arguments beside its inputs, with the tensors that they name."""

        def revive(value: Any, depth: int = 0) -> Any:
            if depth > MAX_DEPTH:
                raise ValueError(f"'{self.context.name}': the call of layer '{layer.name}' is nested too deeply.")
            if self.is_reference(value):
                return self.tensor(*value[:3])
            if isinstance(value, list):
                return [revive(item, depth + 1) for item in value]
            return value

        return {key: revive(value) for key, value in arguments.items() if value is not None}


# -- weights into models ------------------------------------------------------------------------------------------


class _Collector:
    """Pairs of layers and the arrays of a file, whose shapes are checked before any is read."""

    def __init__(self, context: Context, skip_mismatch: bool = False) -> None:
        self.context = context
        self._skip_mismatch = skip_mismatch
        self.pairs: list[tuple[Layer, list[Array]]] = []
        self.vocabularies: list[tuple[Vocabulary, tuple[Any, ...], Array | None]] = []
        self._taken: set[int] = set()

    def add(self, layer: Layer, arrays: list[Array]) -> None:
        try:
            self._add(layer, arrays)
        except ValueError as error:
            self.refuse(error)

    def refuse(self, error: ValueError) -> None:
        """Raise the error, or warn of it where layers that do not fit are to be left alone."""
        if not self._skip_mismatch:
            raise error
        warnings.warn(f"{error} The layer keeps its own.", stacklevel=4)

    def _add(self, layer: Layer, arrays: list[Array]) -> None:
        where = f"'{self.context.name}': layer '{layer.name}' of class {type(layer).__name__}"
        if len(arrays) != len(layer._specs):
            if not layer.policy.quantized and not all(array.is_float for array in arrays):
                raise NotImplementedError(
                    f"{where} is quantized in the file, which is not supported: save it before it is quantized."
                )
            raise ValueError(f"{where} expects {len(layer._specs)} weights, the file holds {len(arrays)}.")
        for spec, array in zip(layer._specs, arrays, strict=True):
            if tuple(array.shape) != spec.shape:
                raise ValueError(
                    f"{where} expects its weight '{spec.name}' to have the shape {spec.shape}, the file holds "
                    f"{tuple(array.shape)}."
                )
            for place in array.data_sets():  # or a file of one large array could fill any memory
                if place in self._taken:
                    raise ValueError(f"{where} has its weight '{spec.name}' at {array.path}, which is another's too.")
                self._taken.add(place)
        self.pairs.append((layer, arrays))

    def add_words(self, layer: Vocabulary, lines: list[str] | None, idf_weights: Array | None) -> None:
        """The lines of a vocabulary, or those that the layer has already, and the weights of its words."""
        where = f"'{self.context.name}': the vocabulary of layer '{layer.name}'"
        words = layer.words
        if lines is not None:
            while lines and not lines[-1]:
                lines.pop()
            try:
                words = layer.checked_vocabulary(layer.tokens_of_lines(lines))
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
        if layer.output_mode == "tf_idf":
            expected = (layer.depth_for(words),)
            if idf_weights is None or not idf_weights.is_float or tuple(idf_weights.shape) != expected:
                found = "none" if idf_weights is None else f"an array of shape {tuple(idf_weights.shape)}"
                raise ValueError(f"{where} needs {expected[0]} weights for output_mode='tf_idf', the file has {found}.")
            self._taken.update(idf_weights.data_sets())
        self.vocabularies.append((layer, words, idf_weights))

    def assign(self) -> None:
        new = [(layer, layer._checked_weights([array.read() for array in arrays])) for layer, arrays in self.pairs]
        vocabularies = [(layer, words, None if idf is None else idf.read()) for layer, words, idf in self.vocabularies]
        for words_of, words, idf in vocabularies:
            words_of.take_words(words, idf)
        assign(new)


def _lacks_words(layer: Layer) -> bool:
    return isinstance(layer, Vocabulary) and not layer.words


def _keeps_words(layer: Layer) -> bool:
    """Whether a .keras file has a place for the vocabulary of a layer, or for its weights."""
    return isinstance(layer, Vocabulary) and (not layer.words or layer.output_mode == "tf_idf")


def _without_words(layer: Layer, context: Context) -> ValueError:
    return ValueError(
        f"'{context.name}': the vocabulary of layer '{layer.name}' of class {type(layer).__name__} is missing. Of all "
        "files, only whole models in the .keras format hold one."
    )


def _without_weights(layer: Layer, context: Context, more: str = "") -> ValueError:
    return ValueError(
        f"'{context.name}': the weights of layer '{layer.name}' of class {type(layer).__name__} are missing{more}."
    )


def _not_built(layer: Layer, context: Context) -> ValueError:
    return ValueError(
        f"'{context.name}' holds the weights of layer '{layer.name}' of class {type(layer).__name__}, which is not "
        "built: the `build` of what it is in has to build it, where a call on the input alone does not reach it."
    )


def assign_tree(model: Model, tree: WeightTree, context: Context, skip_mismatch: bool = False) -> None:
    """Weights of a ``.keras`` file into its model.

    Raises
    ------
    ValueError
        If a weight is missing, or has another shape than the config says; the model has not changed then.
    """
    model._require_built()
    collector = _Collector(context, skip_mismatch)
    seen: set[int] = set()

    def own(layer: Layer, path: str) -> None:
        """The weights of one layer, whose place in the file is ``path``."""
        if id(layer) in seen:
            return
        seen.add(id(layer))
        if layer._specs:
            prefix = f"{path}{layer.saved_vars}/"
            keys = [key for key in tree.arrays if key.startswith(prefix) and key[len(prefix) :].isdigit()]
            keys.sort(key=lambda key: int(key[len(prefix) :]))
            order = layer.file_order()
            if len(keys) == len(order):
                keys = [key for _, key in sorted(zip(order, keys, strict=True))]
            if keys:
                collector.add(layer, [tree.arrays[key] for key in keys])
            else:
                collector.refuse(_without_weights(layer, context, f" (looked for {prefix}0)"))
        elif not layer.built and f"{path}{layer.saved_vars}/0" in tree.arrays:
            collector.refuse(_not_built(layer, context))
        if isinstance(layer, Vocabulary) and _keeps_words(layer):
            text = None if layer.words else tree.texts.get(f"{path}vocabulary.txt")
            if text is None and not layer.words:
                raise _without_words(layer, context)
            collector.add_words(layer, text and text(), tree.arrays.get(f"{path}vars/idf_weights"))
        read = [f"{path}{layer.saved_vars}/"]
        parts = layer.saved_parts()
        if context.major < 3:  # it looked from the last to the first, which matters to a layer that is in two of them
            parts.sort(key=lambda part: part[0], reverse=True)
            if layer.is_own() and isinstance(layer, Model):
                in_order = inside(layer)
                parts = [(name, in_order if name == "layers" else inner) for name, inner in parts]
        for attribute, inner in parts:
            below = f"{path}{attribute}/"
            if not any(key.startswith(below) for key in (*tree.arrays, *tree.texts)):
                below = f"{path}_{attribute}/"  # tf.keras kept the underscore of a private attribute
            read.append(below)
            if isinstance(inner, list):
                container(inner, below)
            else:
                own(inner, below)
        if layer.is_own():
            for key, array in tree.arrays.items():
                if key.startswith(path) and not key.startswith(tuple(read)) and array.is_float:
                    what = f"layer '{layer.name}' of class {type(layer).__name__}"
                    collector.refuse(
                        ValueError(f"'{context.name}': {what} has no place for the weight {key} in the file.")
                    )
                    break

    def of_class(prefix: str, groups: set[str]) -> list[str]:
        """Those groups that are named after a class, by their numbers."""
        matches = (re.fullmatch(re.escape(prefix) + r"(?:_(\d+))?", group) for group in groups)
        return [match[0] for match in sorted(filter(None, matches), key=lambda match: int(match[1] or 0))]

    def container(members: list[Any], path: str) -> None:
        """A list of layers, and of such lists: groups are named after classes and counted per class."""
        layers = [member for member in members if isinstance(member, Layer)]
        nested = [member for member in members if isinstance(member, list)] if context.major >= 3 else []
        for number, member in enumerate(nested):  # which Keras 2 kept in `layers` alone
            container(member, f"{path}container{f'_{number}' if number else ''}/")
        groups = {key[len(path) :].split("/", 1)[0] for key in (*tree.arrays, *tree.texts) if key.startswith(path)}
        by_class: dict[str, list[Layer]] = {}
        met = set(seen)  # a layer is in the file once, where it is met first
        for layer in layers:
            name = layer.group_in_file or layer.saved_group()
            new = [inner for inner in layer.all_layers() if id(inner) not in met]
            if any(inner._specs or _keeps_words(inner) for inner in new) or (new and layer.is_own() and name in groups):
                by_class.setdefault(name, []).append(layer)
            met.update(map(id, new))
        for layer in layers:
            name = layer.group_in_file or layer.saved_group()
            if not layer.built and name not in by_class:
                below = tuple(f"{path}{group}/" for group in of_class(name, groups))
                if any(key.startswith(below) and array.is_float for key, array in tree.arrays.items()):
                    collector.refuse(_not_built(layer, context))
        places: dict[int, str] = {}
        for prefix, members in by_class.items():
            names = of_class(prefix, groups)
            if len(names) != len(members):
                if all(map(_lacks_words, members)):
                    raise _without_words(members[0], context)
                if not skip_mismatch:
                    raise ValueError(
                        f"'{context.name}' holds the weights of {len(names)} layers of class "
                        f"{members[0].saved_class()}, its config has {len(members)}: "
                        f"{', '.join(layer.name for layer in members[:8])}."
                    )
                for layer in members[len(names) :]:
                    collector.refuse(_without_weights(layer, context))
                    seen.update(map(id, layer.all_layers()))
            real = {tree.names.get(f"{path}{group}"): group for group in names}
            if len(real) == len({layer.name for layer in members}) == len(names) and all(
                layer.name in real for layer in members
            ):
                names = [real[layer.name] for layer in members]
            places.update((id(layer), group) for group, layer in zip(names, members, strict=False))
        for layer in layers:
            if id(layer) in places:
                own(layer, f"{path}{places[id(layer)]}/")

    own(model, "")
    for layer in model.owners():
        if id(layer) not in seen:
            raise _without_weights(layer, context, ": Keras has no place for it in a file")
    collector.assign()


def assign_layers(
    model: Model, weights: LayerWeights, context: Context, skip_mismatch: bool = False, by_name: bool = False
) -> None:
    """Weights of a legacy file into its model, or with ``by_name`` into the layers that it names; see `assign_tree`."""
    for inner in model.all_layers():
        if _lacks_words(inner):
            raise _without_words(inner, context)
    # Keras 2 has there what the config has too
    looking_up = {layer.name for layer in model.all_layers() if isinstance(layer, Vocabulary)}
    stored = [(name, arrays) for name, arrays in weights.layers if arrays and name not in looking_up]
    with contextlib.nullcontext() if model.built else all_or_nothing([model]):
        if stored and not model.built and not model.is_own():
            _build_from_weights(model, stored)
        model._require_built()
        _assign_stored(model, stored, weights, context, _Collector(context, skip_mismatch), by_name)


def _assign_stored(
    model: Model,
    stored: list[tuple[str, list[Array]]],
    weights: LayerWeights,
    context: Context,
    collector: _Collector,
    by_name: bool,
) -> None:
    layers = [layer for layer in inside(model) if layer.owners()]
    named = {layer.name: layer for layer in layers}
    if by_name:
        for layer in model.layers:
            if not layer.built and layer.name in dict(stored):
                raise _not_built(layer, context)
        stored = [(name, arrays) for name, arrays in stored if name in named]
    elif len(stored) != len(layers):
        raise ValueError(
            f"'{context.name}' holds the weights of {len(stored)} layers, its config has {len(layers)} layers with "
            "weights."
        )
    matched = all(name in named for name, _ in stored)
    for position, (name, arrays) in enumerate(stored):
        layer = named[name] if matched else layers[position]
        _add_legacy(collector, layer, arrays, context, weights.backend)
    if not by_name and (weights.top or model._specs):
        collector.add(model, weights.top)
    collector.assign()


def _add_legacy(collector: _Collector, layer: Layer, arrays: list[Array], context: Context, backend: str) -> None:
    """One entry of ``layer_names``, with the weights of all that is nested in it."""
    places = saved_order(layer, context.major)
    if len(places) != len(arrays) and any("/lora_" in array.path for array in arrays):
        raise NotImplementedError(
            f"'{context.name}': layer '{layer.name}' of class {type(layer).__name__} has what LoRA adds apart from its "
            "weights: save the model in the .keras format, which keeps their sum."
        )
    if len(places) != len(arrays) and context.major < 2:
        places = [(owner, index) for owner in layer.owners() for index in range(keras_1_count(owner))]
    if len(places) != len(arrays):
        what = f"layer '{layer.name}' of class {type(layer).__name__}"
        collector.refuse(
            ValueError(f"'{context.name}': {what} expects {len(places)} weights, the file holds {len(arrays)}.")
        )
        return
    found: dict[int, tuple[Layer, dict[int, Array]]] = {}
    for (owner, index), array in zip(places, arrays, strict=True):
        found.setdefault(id(owner), (owner, {}))[1][index] = array
    for owner, own in found.values():
        collector.add(owner, translated(owner, [own[index] for index in range(len(own))], backend))


def _build_from_weights(model: Model, stored: list[tuple[str, list[Array]]]) -> None:
    """A Sequential file without any input shape says the number of features in its first kernel."""
    shape = stored[0][1][0].shape
    weightless = Layer.build_weights
    first = next((one for one in model.layers if isinstance(one, Model) or type(one).build_weights != weightless), None)
    if first is None or len(shape) != 2:
        return
    if 3 in (first.ndim, first.min_ndim):
        model.build((None, None, shape[0]))
    elif first.min_ndim == 2:
        model.build((None, shape[0]))


def load_weights(model: Model, path: Any, skip_mismatch: bool = False, by_name: bool = False) -> None:
    """The weights in a file into a model; see `Model.load_weights`."""
    with open_weights(path) as (name, version, weights):
        context = Context(name, parse_version(version), {})
        if isinstance(weights, LayerWeights):
            assign_layers(model, weights, context, skip_mismatch, by_name)
        elif by_name:
            raise ValueError(
                f"'{name}': only older `.h5` files have their weights by the names of layers (by_name=True)."
            )
        else:
            assign_tree(model, weights, context, skip_mismatch)
