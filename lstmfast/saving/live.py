"""Models that are alive in Keras, as configs and weights.

Next: build.py, which makes the model of the config.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

import numpy as np

from lstmfast._keras import NEWEST_NAME, parse_version
from lstmfast.layers.attention import AdditiveAttention, Attention
from lstmfast.layers.lookup import Vocabulary
from lstmfast.layers.wrappers import TimeDistributed
from lstmfast.models import Functional, Model
from lstmfast.saving.build import make_model, rules
from lstmfast.saving.config import MAX_DEPTH, Context
from lstmfast.saving.weight_order import keras_2_order

_ATTENTION = (Attention, AdditiveAttention)
_STRUCTURES = ("input_layers", "output_layers")  # of a graph, whose tuples are no lists


def build_live(model: Any, custom: Mapping[str, Any] | None, keras_version: Any = None) -> Model:
    """A copy of a live Keras model, from its config and weights alone."""
    names = {base.__name__ for base in type(model).__mro__}
    if not callable(getattr(model, "get_config", None)) or not callable(getattr(model, "get_weights", None)):
        raise TypeError(f"Expected a Keras model, got {type(model).__name__}.")
    if "Layer" in names and "Model" not in names:
        raise TypeError(
            f"Expected a Keras model, got a layer of class {type(model).__name__}: put it into a Sequential model, or "
            "make one here, build it, and call its set_weights."
        )
    modules = {base.__module__.split(".")[0] for base in type(model).__mro__}
    library, found = "tf_keras", "2.15"
    if "tf_keras" not in modules and "keras" in modules:
        library, found = "keras", str(getattr(sys.modules.get("keras"), "__version__", NEWEST_NAME))
    is_older = parse_version(found) < (3, 0)  # whatever the rules
    class_name = "Sequential" if "Sequential" in names else "Functional"
    name = f"live model {getattr(model, 'name', '')}"
    context = Context(name, rules(name, found, keras_version), custom)
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
    _refuse_what_configs_lack(model, context.custom, library)
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


def _refuse_what_configs_lack(model: Any, custom: Mapping[str, Any], library: str) -> None:
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
        return {key: item if key in _STRUCTURES else _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value.name if type(value).__name__ == "DType" else value
