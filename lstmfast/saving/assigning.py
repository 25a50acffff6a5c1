"""Weights of files into the layers of a model.

Next: weight_order.py and translate.py, for what older files hold.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from typing import Any

from lstmfast._keras import parse_version
from lstmfast.layers.base import Layer, assign
from lstmfast.layers.lookup import Vocabulary
from lstmfast.layers.transactions import all_or_nothing
from lstmfast.models import Model
from lstmfast.saving.archive import WeightTree
from lstmfast.saving.config import Context
from lstmfast.saving.files import Array, open_weights
from lstmfast.saving.legacy import LayerWeights
from lstmfast.saving.translate import keras_1_count, translated
from lstmfast.saving.weight_order import inside, saved_order

_LAST_OF_KERAS_2 = (2, 15)


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
            if not (layer.policy.quantized or layer.is_own()) and not all(array.is_float for array in arrays):
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
            self._claim(array, f"{where} has its weight '{spec.name}'")
        self.pairs.append((layer, arrays))

    def _claim(self, array: Array, what: str) -> None:
        """Take an array for one weight alone, or a file of one large array could fill any memory."""
        for place in array.data_sets():
            if place in self._taken:
                raise ValueError(f"{what} at {array.path}, which is another's too.")
            self._taken.add(place)

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
            self._claim(idf_weights, f"{where} has its weights")
        self.vocabularies.append((layer, words, idf_weights))

    def assign(self) -> None:
        new = [(layer, layer._checked_weights([array.read() for array in arrays])) for layer, arrays in self.pairs]
        vocabularies = [(layer, words, None if idf is None else idf.read()) for layer, words, idf in self.vocabularies]

        def take_words() -> None:
            for layer, words, idf in vocabularies:
                layer.take_words(words, idf)

        assign(new, take_words)


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
    reader = _TreeReader(tree, context, skip_mismatch)
    reader.read(model, "")
    for layer in model.owners():
        if id(layer) not in reader.seen:
            raise _without_weights(layer, context, ": Keras has no place for it in a file")
    reader.collector.assign()


class _TreeReader:
    """Finds the places of layers in the tree of a ``.keras`` file.

    A place is a path that ends with a slash; a layer is in the file once, where it is met first.
    """

    def __init__(self, tree: WeightTree, context: Context, skip_mismatch: bool) -> None:
        self._tree = tree
        self._context = context
        self._skip_mismatch = skip_mismatch
        self.collector = _Collector(context, skip_mismatch)
        self.seen: set[int] = set()

    def _names(self) -> Iterator[str]:
        yield from self._tree.arrays
        yield from self._tree.texts

    def read(self, layer: Layer, path: str) -> None:
        """A layer and those inside it, whose place is ``path``."""
        if id(layer) in self.seen:
            return
        self.seen.add(id(layer))
        self._read_own(layer, path)
        if isinstance(layer, Vocabulary) and _keeps_words(layer):
            self._read_words(layer, path)
        places = [f"{path}{layer.saved_vars}/"]
        for attribute, inner in self._parts(layer):
            place = f"{path}{attribute}/"
            if not any(name.startswith(place) for name in self._names()):
                place = f"{path}_{attribute}/"  # tf.keras kept the underscore of a private attribute
            places.append(place)
            if isinstance(inner, list):
                self._read_list(inner, place)
            else:
                self.read(inner, place)
        if layer.is_own():
            self._refuse_others(layer, path, tuple(places))

    def _read_own(self, layer: Layer, path: str) -> None:
        arrays, place = self._tree.arrays, f"{path}{layer.saved_vars}/"
        if not layer._specs:
            if not layer.built and f"{place}0" in arrays:
                self.collector.refuse(_not_built(layer, self._context))
            return
        names = [name for name in arrays if name.startswith(place) and name[len(place) :].isdigit()]
        names.sort(key=lambda name: int(name[len(place) :]))
        order = layer.file_order()
        if len(names) == len(order):
            names = [name for _, name in sorted(zip(order, names, strict=True))]
        if names:
            self.collector.add(layer, [arrays[name] for name in names])
        else:
            self.collector.refuse(_without_weights(layer, self._context, f" (looked for {place}0)"))

    def _read_words(self, layer: Vocabulary, path: str) -> None:
        text = None if layer.words else self._tree.texts.get(f"{path}vocabulary.txt")
        if text is None and not layer.words:
            raise _without_words(layer, self._context)
        self.collector.add_words(layer, text and text(), self._tree.arrays.get(f"{path}vars/idf_weights"))

    def _parts(self, layer: Layer) -> list[tuple[str, Any]]:
        """The layers inside a layer, by attributes, in the order in which Keras looked for their places."""
        parts = layer.saved_parts()
        if self._context.major >= 3:
            return parts
        parts.sort(key=lambda part: part[0], reverse=True)  # which matters to a layer that is in two of them
        if layer.is_own() and isinstance(layer, Model):
            in_order = inside(layer)
            parts = [(name, in_order if name == "layers" else inner) for name, inner in parts]
        return parts

    def _refuse_others(self, layer: Layer, path: str, places: tuple[str, ...]) -> None:
        """Refuse weights below a layer of the user's that are in none of its places, and no optimizer's or metric's."""
        if self._context.major < 3 and isinstance(layer, Model):
            places = (*places, f"{path}metrics/")
        for name, array in self._tree.arrays.items():
            if not name.startswith(path) or name.startswith(places) or not array.is_float:
                continue
            if not self._is_of_training(name, path):
                what = f"layer '{layer.name}' of class {type(layer).__name__}"
                self.collector.refuse(
                    ValueError(f"'{self._context.name}': {what} has no place for the weight {name} in the file.")
                )
                return

    def _is_of_training(self, name: str, path: str) -> bool:
        """Whether a value below ``path`` is an optimizer's, in whatever attribute, or of a mean that Keras 2 keeps."""
        arrays, place = self._tree.arrays, path
        for group in name[len(path) :].split("/")[:-2]:
            place += f"{group}/"
            first = arrays.get(f"{place}vars/0")
            if first is not None and not first.is_float and first.shape == ():  # how many steps it has taken
                return True
        mean = [arrays[f"{place}vars/{number}"].shape for number in range(3) if f"{place}vars/{number}" in arrays]
        return self._context.major < 3 and mean == [(), ()]  # a total and a count

    def _read_list(self, members: list[Any], path: str) -> None:
        """A list of layers, and of such lists: groups are named after classes and counted per class."""
        layers = [member for member in members if isinstance(member, Layer)]
        nested = [member for member in members if isinstance(member, list)] if self._context.major >= 3 else []
        for number, member in enumerate(nested):  # which Keras 2 kept in `layers` alone
            self._read_list(member, f"{path}container{f'_{number}' if number else ''}/")
        groups = {name[len(path) :].split("/", 1)[0] for name in self._names() if name.startswith(path)}
        by_class = self._by_class(layers, groups)
        for layer in layers:
            if not layer.built and _group_of(layer) not in by_class:
                below = tuple(f"{path}{group}/" for group in _numbered(_group_of(layer), groups))
                if any(name.startswith(below) and array.is_float for name, array in self._tree.arrays.items()):
                    self.collector.refuse(_not_built(layer, self._context))
        places: dict[int, str] = {}
        for group, alike in by_class.items():
            places.update(self._places(alike, _numbered(group, groups), path))
        for layer in layers:
            if id(layer) in places:
                self.read(layer, places[id(layer)])

    def _by_class(self, layers: list[Layer], groups: set[str]) -> dict[str, list[Layer]]:
        """Those that have something in the file and were not met before, by the name of their groups."""
        by_class: dict[str, list[Layer]] = {}
        met = set(self.seen)
        for layer in layers:
            name = _group_of(layer)
            new = [inner for inner in layer.all_layers() if id(inner) not in met]
            if any(inner._specs or _keeps_words(inner) for inner in new) or (new and layer.is_own() and name in groups):
                by_class.setdefault(name, []).append(layer)
            met.update(map(id, new))
        return by_class

    def _places(self, layers: list[Layer], groups: list[str], path: str) -> dict[int, str]:
        """The places of layers of one class, by their ids: groups with their names, or else as they are counted."""
        if len(groups) != len(layers):
            self._refuse_number(layers, len(groups))
        named = {self._tree.names.get(f"{path}{group}"): group for group in groups}
        names = [layer.name for layer in layers]
        if len(named) == len(set(names)) == len(groups) and all(name in named for name in names):
            groups = [named[name] for name in names]
        return {id(layer): f"{path}{group}/" for group, layer in zip(groups, layers, strict=False)}

    def _refuse_number(self, layers: list[Layer], found: int) -> None:
        """Refuse as many layers of a class as the file does not have; those without a group are done with."""
        if all(map(_lacks_words, layers)):
            raise _without_words(layers[0], self._context)
        if not self._skip_mismatch:
            raise ValueError(
                f"'{self._context.name}' holds the weights of {found} layers of class {layers[0].saved_class()}, its "
                f"config has {len(layers)}: {', '.join(layer.name for layer in layers[:8])}."
            )
        for layer in layers[found:]:
            self.collector.refuse(_without_weights(layer, self._context))
            self.seen.update(map(id, layer.all_layers()))


def _group_of(layer: Layer) -> str:
    """What a layer's group is named after, before its number."""
    return layer.group_in_file or layer.saved_group()


def _numbered(name: str, groups: set[str]) -> list[str]:
    """Those groups that have a name, by the numbers behind it."""
    matches = (re.fullmatch(re.escape(name) + r"(?:_(\d+))?", group) for group in groups)
    return [match[0] for match in sorted(filter(None, matches), key=lambda match: int(match[1] or 0))]


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
            if not weights.names and _fits_keras_2(model, weights, context):
                context = Context(name, _LAST_OF_KERAS_2, {})
            assign_tree(model, weights, context, skip_mismatch)


def _fits_keras_2(model: Model, tree: WeightTree, context: Context) -> bool:
    """Whether the places in a file that does not say what wrote it are those of Keras 2, and not of what it seems."""
    fits = []
    for version in (context.version, _LAST_OF_KERAS_2):
        try:
            _TreeReader(tree, Context(context.name, version, {}), False).read(model, "")
        except (ValueError, NotImplementedError):
            fits.append(False)
        else:
            fits.append(True)
    return fits == [False, True]
