"""Layers out of plain configs, and weights into them.

Next: config.py, for one layer; ../models.py.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lstmfast._graph import KerasTensor, flatten, snake_case
from lstmfast.layers.base import Layer, assign, is_plain_shape
from lstmfast.layers.core import InputLayer
from lstmfast.layers.operations import Operation
from lstmfast.models import Model, Sequential
from lstmfast.saving.archive import WeightTree
from lstmfast.saving.config import MAX_DEPTH, Context, Version, make_layer, parse_version
from lstmfast.saving.files import Array, Saved, open_weights
from lstmfast.saving.legacy import LayerWeights

NEWEST_KERAS: Version = (3, 15)
_MAX_NODES = 10_000
# What the arrays in a config may hold.
_NUMBERS = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split())


def build_model(saved: Saved, custom: dict[str, Any], keras_version: str | None = None) -> Model:
    """The model of a file that is open."""
    version = parse_version(keras_version or saved.version)
    if version > NEWEST_KERAS:
        warnings.warn(
            f"'{saved.name}' was written by Keras {saved.version}, newer than the newest known "
            f"({NEWEST_KERAS[0]}.{NEWEST_KERAS[1]}). It is read by the rules of what is known.",
            stacklevel=3,
        )
    context = Context(saved.name, version, custom)
    model = make_model(saved.config, context, 0)
    if isinstance(saved.weights, WeightTree):
        assign_tree(model, saved.weights, context)
    else:
        assign_layers(model, saved.weights, context)
    return model


def build_live(model: Any, custom: dict[str, Any]) -> Model:
    """A copy of a live Keras model, from its config and weights alone."""
    if not callable(getattr(model, "get_config", None)) or not callable(getattr(model, "get_weights", None)):
        raise TypeError(f"Expected a Keras model, got {type(model).__name__}.")
    modules = {base.__module__.split(".")[0] for base in type(model).__mro__}
    version: Version = (2, 15)
    if "tf_keras" not in modules and "keras" in modules:
        found = getattr(sys.modules.get("keras"), "__version__", None)
        version = NEWEST_KERAS if found is None else min(parse_version(str(found)), NEWEST_KERAS)
    names = {base.__name__ for base in type(model).__mro__}
    class_name = "Sequential" if "Sequential" in names else "Functional"
    if (class_name == "Functional" and "Functional" not in names) or not _calls_as_keras(type(model)):
        raise NotImplementedError(
            f"Model '{getattr(model, 'name', '?')}' is a subclass of keras.Model with code of its own: only Sequential "
            "and functional models can be taken over."
        )
    context = Context(f"live model {getattr(model, 'name', '')}", version, custom)
    config = _plain(model.get_config())
    copy = make_model({"class_name": class_name, "config": config}, context, 0)
    weights = [np.asarray(value) for value in model.get_weights()]
    if not copy.built:
        shape = getattr(model, "input_shape", None)
        if shape is None and weights:
            raise ValueError(f"Model '{copy.name}' is not built: call it on data first.")
        if shape is not None:
            copy.build(shape)
    if version[0] < 3 and class_name == "Functional":
        order = {layer.name: layer for layer in copy.layers}
        names_in_order = [layer.name for layer in model.layers if layer.name in order]
        copy._layers = [order[name] for name in names_in_order] + [
            layer for layer in copy._layers if layer.name not in names_in_order
        ]
    if any(layer.reads_strings for layer in copy.all_layers()):
        _take_vocabularies(model, copy)
    copy.set_weights(weights)
    return copy


def _calls_as_keras(kind: type) -> bool:
    """Whether a class of models leaves it to Keras what a call does."""
    owner = next((base for base in kind.__mro__ if "call" in base.__dict__), None)
    return owner is None or owner.__module__.split(".")[0] in ("keras", "tf_keras", "tensorflow")


def _take_vocabularies(model: Any, copy: Model) -> None:
    """The words of a live model's layers: those that a config lists may have been replaced."""
    own: Any
    for own in copy.layers:
        if isinstance(own, Model):
            _take_vocabularies(model.get_layer(own.name), own)
        elif own.reads_strings:
            words = model.get_layer(own.name).get_vocabulary(include_special_tokens=False)
            if words:
                own.set_vocabulary(words)


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
    if class_name == "Sequential":
        return _sequential(config, context, depth)
    if class_name in ("Functional", "Model") and isinstance(config, dict) and "layers" in config:
        return functional(config, context, depth)
    raise NotImplementedError(
        f"'{context.name}' holds a model of class {class_name}, which is code of its own: only Sequential and "
        "functional models can be loaded."
    )


def _sequential(config: Any, context: Context, depth: int) -> Model:
    entries = config if isinstance(config, list) else config.get("layers") if isinstance(config, dict) else None
    if not isinstance(entries, list) or len(entries) > _MAX_NODES:
        raise ValueError(f"'{context.name}': a Sequential config without layers, or with more than {_MAX_NODES}.")
    options = config if isinstance(config, dict) else {}
    layers = [make_layer(entry, context, depth + 1) for entry in entries]
    branches = _branches(entries, context, depth)
    if branches:
        return _joined(branches, layers, options.get("name"), context)
    try:
        model = Sequential(layers, name=options.get("name"), keras_version=context.version)
        model._trainable = bool(options.get("trainable", True))
        shape = options.get("build_input_shape")
        if not model.built and isinstance(shape, list) and is_plain_shape(tuple(shape)) and layers:
            model.build(tuple(shape))
            model._any_steps = model._takes_any_steps()
    except (ValueError, TypeError) as error:
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


def functional_from_config(config: dict[str, Any]) -> Model:
    """A functional model from what `Model.get_config` gave."""
    return functional(config, Context("config", NEWEST_KERAS, {}), 0)


def functional(config: dict[str, Any], context: Context, depth: int) -> Model:
    """A functional model from a config of any version."""
    entries = config.get("layers")
    if not isinstance(entries, list) or len(entries) > _MAX_NODES:
        raise ValueError(f"'{context.name}': a functional config without layers.")
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
        model = Model(inputs, outputs, name=config.get("name"), keras_version=context.version)
    except _NotYet:
        raise ValueError(f"'{context.name}': an input or output of the model is no layer's.") from None
    model._trainable = bool(config.get("trainable", True))
    return model


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
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
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
        self.own_nodes = self._own_nodes(config)

    def _own_nodes(self, config: dict[str, Any]) -> set[str]:
        """The nested models whose first node is their own, so that their calls are counted from 1.

        So it is in files of Keras 2 and some of Keras 3; no file says so. But every call that it holds is read by
        something: where a number is as large as that of the calls, 0 stands for none of them.
        """
        calls: dict[str, int] = {}
        for entry in config.get("layers") or []:
            if isinstance(entry, dict) and isinstance(entry.get("inbound_nodes"), list):
                calls[str(entry.get("name"))] = len(entry["inbound_nodes"])
        own: set[str] = set()
        left: list[Any] = [
            *(entry.get("inbound_nodes") for entry in config.get("layers") or [] if isinstance(entry, dict)),
            config.get("input_layers"),
            config.get("output_layers"),
        ]
        while left:
            value = left.pop()
            if isinstance(value, dict):
                left.extend(value.values())
            elif self.is_reference(value):
                name, node = value[0], value[1]
                if isinstance(self.layers[name], Model) and node >= calls.get(name, node + 1):
                    own.add(name)
                left.extend(value[3:])
            elif isinstance(value, (list, tuple)):
                left.extend(value)
        return own

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
        return (
            isinstance(value, (list, tuple))
            and len(value) in (3, 4)
            and isinstance(value[0], str)
            and value[0] in self.layers
            and isinstance(value[1], int)
            and isinstance(value[2], int)
        )

    def struct(self, value: Any, depth: int = 0) -> Any:
        """The model's inputs or outputs."""
        if depth > MAX_DEPTH:
            raise ValueError(f"'{self.context.name}' nests its outputs too deeply.")
        if self.is_reference(value):
            return self.tensor(*value[:3])
        if isinstance(value, dict):
            return {key: self.struct(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = [self.struct(item, depth + 1) for item in value]
            return items[0] if len(items) == 1 and self.context.major < 3 else items
        raise ValueError(f"'{self.context.name}': no layer gives the tensor {value!r}.")

    def call(self, layer: Layer, node: Any) -> tuple[Any, dict[str, Any]]:
        """Inputs and further arguments of one call."""
        if isinstance(node, dict):
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
                if value.get("class_name") in ("__numpy__", "__tensor__") and isinstance(config, dict):
                    dtype = str(config.get("dtype", "float32"))
                    if dtype not in _NUMBERS:
                        raise ValueError(f"'{self.context.name}': layer '{layer.name}' is called on {dtype[:40]!r}.")
                    return np.asarray(config.get("value"), dtype)
                return {key: revive(item, depth + 1) for key, item in value.items()}
            if isinstance(value, list):
                return [revive(item, depth + 1) for item in value]
            return value

        args = revive(node.get("args") or [])
        kwargs = revive(node.get("kwargs") or {})
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise ValueError(f"'{self.context.name}': the call of layer '{layer.name}' is not understood.")
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        bind = getattr(layer, "bind_call", layer._bind)
        inputs, arguments = bind(tuple(args), kwargs)
        return inputs, arguments

    def _call_legacy(self, layer: Layer, node: Any) -> tuple[Any, dict[str, Any]]:
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

        def revive(value: Any, depth: int = 0) -> Any:
            if depth > MAX_DEPTH:
                raise ValueError(f"'{self.context.name}': the call of layer '{layer.name}' is nested too deeply.")
            if self.is_reference(value):
                return self.tensor(*value[:3])
            if isinstance(value, list):
                return [revive(item, depth + 1) for item in value]
            return value

        arguments = {key: revive(value) for key, value in kwargs.items() if value is not None}
        if len(tensors) > 1 and "initial_state" in layer.call_arguments:  # Keras 2 calls RNNs on [x, h, c]
            arguments.setdefault("initial_state", tensors[1:])
            tensors = tensors[:1]
        arguments.pop("constants", None)
        if isinstance(layer, Operation):
            return layer.bind_call((tensors[0] if single else tensors,), arguments)
        alone = len(tensors) == 1 and (not layer.takes_list() or "value" in arguments)  # MultiHeadAttention's first
        inputs = tensors[0] if alone else tensors
        return layer._bind((inputs,), arguments)


# -- weights into models ------------------------------------------------------------------------------------------


class _Collector:
    """Pairs of layers and the arrays of a file, whose shapes are checked before any is read."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.pairs: list[tuple[Layer, list[Array]]] = []
        self.vocabularies: list[tuple[Any, tuple[str, ...]]] = []

    def add(self, layer: Layer, arrays: list[Array]) -> None:
        where = f"'{self.context.name}': layer '{layer.name}' of class {type(layer).__name__}"
        if len(arrays) != len(layer._specs):
            raise ValueError(f"{where} expects {len(layer._specs)} weights, the file holds {len(arrays)}.")
        for spec, array in zip(layer._specs, arrays, strict=True):
            if tuple(array.shape) != spec.shape:
                raise ValueError(
                    f"{where} expects its weight '{spec.name}' to have the shape {spec.shape}, the file holds "
                    f"{tuple(array.shape)}."
                )
        self.pairs.append((layer, arrays))

    def add_words(self, layer: Any, words: list[str]) -> None:
        while words and not words[-1]:
            words.pop()
        try:
            self.vocabularies.append((layer, layer.checked_vocabulary(words)))
        except ValueError as error:
            raise ValueError(f"'{self.context.name}': the vocabulary of layer '{layer.name}': {error}") from None

    def assign(self) -> None:
        new = [(layer, layer._checked_weights([array.read() for array in arrays])) for layer, arrays in self.pairs]
        for layer, words in self.vocabularies:
            layer.take_words(words)
        assign(new)


def _lacks_words(layer: Any) -> bool:
    return bool(layer.reads_strings) and not layer.vocabulary


def _without_words(layer: Layer, context: Context) -> ValueError:
    return ValueError(
        f"'{context.name}': the vocabulary of layer '{layer.name}' of class {type(layer).__name__} is missing. Of all "
        "files, only whole models in the .keras format hold one."
    )


def assign_tree(model: Model, tree: WeightTree, context: Context) -> None:
    """Weights of a ``.keras`` file into its model.

    Raises
    ------
    ValueError
        If a weight is missing, or has another shape than the config says; the model has not changed then.
    """
    model._require_built()
    collector = _Collector(context)
    seen: set[int] = set()

    def own(layer: Layer, path: str) -> None:
        """The weights of one layer, whose place in the file is ``path``."""
        if id(layer) in seen:
            return
        seen.add(id(layer))
        if isinstance(layer, Model):
            container(list(layer.layers), f"{path}layers/")
            return
        if layer._specs:
            prefix = f"{path}{layer.saved_vars}/"
            keys = [key for key in tree.arrays if key.startswith(prefix) and key[len(prefix) :].isdigit()]
            keys.sort(key=lambda key: int(key[len(prefix) :]))
            if not keys:
                raise ValueError(
                    f"'{context.name}': the weights of layer '{layer.name}' of class {type(layer).__name__} are "
                    f"missing (looked for {prefix}0)."
                )
            collector.add(layer, [tree.arrays[key] for key in keys])
        if _lacks_words(layer):
            place = f"{path}vocabulary.txt"
            if place not in tree.texts:
                raise _without_words(layer, context)
            collector.add_words(layer, tree.texts[place]())
        for attribute, inner in layer.saved_parts():
            below = f"{path}{attribute}/"
            if not any(key.startswith(below) for key in tree.arrays):
                below = f"{path}_{attribute}/"  # tf.keras kept the underscore of a private attribute
            if isinstance(inner, list):
                container(inner, below)
            else:
                own(inner, below)

    def container(layers: list[Layer], path: str) -> None:
        """A list of layers: groups are named after classes and counted per class."""
        groups = {key[len(path) :].split("/", 1)[0] for key in (*tree.arrays, *tree.texts) if key.startswith(path)}
        by_class: dict[str, list[Layer]] = {}
        for layer in layers:
            if layer.owners() or any(map(_lacks_words, layer.all_layers())):
                by_class.setdefault(snake_case(layer.saved_class()), []).append(layer)
        for prefix, members in by_class.items():
            numbered = sorted(
                (int(match[1] or 0), group)
                for group in groups
                if (match := re.fullmatch(re.escape(prefix) + r"(?:_(\d+))?", group))
            )
            names = [group for _, group in numbered]
            if len(names) != len(members):
                if all(map(_lacks_words, members)):
                    raise _without_words(members[0], context)
                raise ValueError(
                    f"'{context.name}' holds the weights of {len(names)} layers of class {members[0].saved_class()}, "
                    f"its config has {len(members)}: {', '.join(layer.name for layer in members[:8])}."
                )
            real = {tree.names.get(f"{path}{group}"): group for group in names}
            if len(real) == len({layer.name for layer in members}) == len(names) and all(
                layer.name in real for layer in members
            ):
                names = [real[layer.name] for layer in members]
            for group, layer in zip(names, members, strict=True):
                own(layer, f"{path}{group}/")

    own(model, "")
    collector.assign()


def assign_layers(model: Model, weights: LayerWeights, context: Context) -> None:
    """Weights of a legacy file into its model; see `assign_tree`."""
    for inner in model.all_layers():
        if _lacks_words(inner):
            raise _without_words(inner, context)
    stored = [(name, arrays) for name, arrays in weights.layers if arrays]
    if not model.built:
        if stored:
            _build_from_weights(model, stored)
        model._require_built()
    collector = _Collector(context)
    layers = [layer for layer in model.layers if layer.owners()]
    by_name = {layer.name: layer for layer in layers}
    if len(stored) != len(layers):
        raise ValueError(
            f"'{context.name}' holds the weights of {len(stored)} layers, its config has {len(layers)} layers with "
            "weights."
        )
    matched = all(name in by_name for name, _ in stored)
    for position, (name, arrays) in enumerate(stored):
        layer = by_name[name] if matched else layers[position]
        _add_legacy(collector, layer, arrays, context, weights.backend)
    collector.assign()


def _add_legacy(collector: _Collector, layer: Layer, arrays: list[Array], context: Context, backend: str) -> None:
    """One entry of ``layer_names``: trainable weights first, then the others, through all that is nested in it."""
    from lstmfast.saving.translate import translated

    arrays = translated(layer, arrays, context, backend)
    listed = _legacy_order(layer)
    if len(listed) != len(arrays):
        raise ValueError(
            f"'{context.name}': layer '{layer.name}' of class {type(layer).__name__} expects {len(listed)} weights, "
            f"the file holds {len(arrays)}."
        )
    found: dict[int, tuple[Layer, dict[int, Array]]] = {}
    for (owner, index), array in zip(listed, arrays, strict=True):
        found.setdefault(id(owner), (owner, {}))[1][index] = array
    for owner, by_index in found.values():
        collector.add(owner, [by_index[index] for index in range(len(owner._specs))])


def _legacy_order(layer: Layer) -> list[tuple[Layer, int]]:
    """(owner, index of its weight) in the order of ``trainable_weights + non_trainable_weights``."""
    order: list[tuple[bool, Layer, int]] = []
    seen: set[int] = set()

    def visit(here: Layer, trainable: bool) -> None:
        if id(here) in seen:
            return
        seen.add(id(here))
        trainable = trainable and here.trainable
        order.extend((trainable and spec.trainable, here, index) for index, spec in enumerate(here._specs))
        for inner in here.sublayers():
            visit(inner, trainable)

    visit(layer, True)
    return [(owner, index) for flag in (True, False) for trainable, owner, index in order if trainable is flag]


def _build_from_weights(model: Model, stored: list[tuple[str, list[Array]]]) -> None:
    """A Sequential file without any input shape says the number of features in its first kernel."""
    shape = stored[0][1][0].shape
    first = next((layer for layer in model.layers if layer.ndim == 3 or layer.min_ndim == 2), None)
    if first is None or len(shape) != 2:
        return
    model.build((None, None, shape[0]) if first.ndim == 3 else (None, shape[0]))


def load_weights(model: Model, path: Any) -> None:
    """The weights in a file into a model; see `Model.load_weights`."""
    with open_weights(path) as (name, version, weights):
        context = Context(name, parse_version(version), {})
        if isinstance(weights, WeightTree):
            assign_tree(model, weights, context)
        else:
            assign_layers(model, weights, context)
