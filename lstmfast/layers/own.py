"""Layers that users write, as they write them for Keras: `build`, `call`, layers and weights in attributes.

A class with a `call` of its own gets what is here wherever it says nothing else. A call ends with the weights of its
layer that it began with; layers inside are called with what they have then.
Next: base.py, whose methods these stand for.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, NoneType
from typing import Any

import numpy as np

from lstmfast._arrays import STRING, DTypePolicy, as_array, as_numbers_or_strings, numpy_dtype
from lstmfast._core import KnownInputs
from lstmfast._graph import KerasTensor, Node, common_shape, flat_shapes, flatten, map_shapes, map_tree
from lstmfast.activations import Activation
from lstmfast.initializers import Initializer
from lstmfast.layers.base import Array, Layer, Run, lock, serialize
from lstmfast.layers.transactions import give_back, keeping_states
from lstmfast.layers.variable import passing_on, under_way

_PROBED = (2, 3)  # sizes of what may vary, to find the shape of an output
_MOST_VALUES = 1 << 26
_MOST_FOUND = 64
_MOST_NESTED = 8
# What came into attributes, in its order; what the constructor was given; and the functional models around a model.
_NOTES = ("_came", "_given", "_whole")
_OF_EVERY_CONFIG = ("name", "trainable", "dtype")
_PLAIN = (str, int, float, bool, type(None))


class _Place:
    """What a call for the shape of its output has in the place of a tensor."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Any, dtype: str) -> None:
        self.shape, self.dtype = tuple(shape), dtype

    def zeros(self, size: int) -> Array:
        shape = [size if own is None else own for own in self.shape]
        return np.full(shape, "", STRING) if self.dtype == "string" else np.zeros(shape, numpy_dtype(self.dtype))


class _Forgotten:
    """What all layers have from the constructor of `Layer` on, and a layer that did not call it lacks."""

    def __get__(self, layer: Any, cls: type) -> Any:
        if layer is None:
            return self
        raise RuntimeError(f"`__init__` of {cls.__name__} has to call `super().__init__()`, as its first statement.")


class _Own(Layer):
    _frozen: Any = _Forgotten()
    built: Any = _Forgotten()
    row_by_row = False  # it may look at all of them
    supports_masking = False
    saved_module = None
    allocates = False  # it may return what it was given, or a weight
    casts_input = False

    _required: frozenset[str]  # the names of arguments of `call` without a default, beside the inputs
    _given: tuple[tuple[Any, ...], dict[str, Any]]  # to the constructor
    _arguments: dict[str, Any] = {}  # noqa: RUF012 (replaced, never changed) beside the inputs, of what is recorded
    _found: dict[Any, Any] = {}  # noqa: RUF012 shapes of outputs by those of inputs alone

    def is_own(self) -> bool:
        return True

    def check_shape(self, shape: Any) -> None:
        """Its `call` says what it takes; an attribute `ndim` is the user's."""

    # -- what is inside -----------------------------------------------------------------------------------------

    def sublayers(self) -> tuple[Layer, ...]:
        """In the order in which they came, which is Keras's."""
        known = vars(self).copy()  # to which a call in another thread may add
        inside = {
            id(layer): layer for name, value in known.items() if name not in _NOTES for layer in _layers_in(value)
        }
        ordered = {id(layer): layer for layer in tuple(known.get("_came", ())) if id(layer) in inside}
        return tuple((ordered | inside).values())

    def parts_of_keras_2(self) -> list[Any]:
        """Attribute by attribute, as they were set last, and dicts by their keys."""
        values = (value for name, value in vars(self).copy().items() if name not in _NOTES)
        return [value if isinstance(value, Layer) else list(_layers_in(value, by_key=True)) for value in values]

    def saved_parts(self) -> list[tuple[str, Any]]:
        return parts_of(self)

    def build_from_shapes(self, shapes: dict[str, Any]) -> None:
        """Build for a call on several arguments, whose shapes are named after them, as ``query_shape``."""
        dtype = self.policy.compute_dtype
        first, *others = shapes.items()
        self._arguments = {
            name.removesuffix("_shape"): map_shapes(lambda one: _Place(one, dtype), shape) for name, shape in others
        }
        try:
            self.build(first[1])
        finally:
            self._arguments = {}

    def build_weights(self, input_shape: Any) -> None:
        taken = list(inspect.signature(self.build).parameters)[1:]
        named = {f"{name}_shape": map_tree(lambda leaf: leaf.shape, given) for name, given in self._places().items()}
        self.build(input_shape, **{name: shape for name, shape in named.items() if name in taken})
        inside = [inner for inner in self.all_layers() if inner is not self]
        fixed = any(leaf.shape[:1] != (None,) for leaf in flatten(list(self._places().values())))  # of a call on arrays
        if (
            not fixed
            and not all(inner.built for inner in inside)
            and self._required <= {"training", "mask", *self._arguments}
        ):
            self._find_shapes(input_shape)  # a call builds them
        for layer in () if _sees_to_masks(type(self)) else self.all_layers():
            if layer is not self and layer.makes_mask:
                warnings.warn(
                    f"Layer '{layer.name}' inside layer '{self.name}' makes a mask, but arrays have none: compute the "
                    "mask in `call`, and pass it to the layers that need it.",
                    stacklevel=2,
                )

    def _places(self) -> dict[str, Any]:
        """The further arguments of the call for which the layer is built that are tensors."""
        return {
            name: given
            for name, given in self._arguments.items()
            if flatten(given) and all(isinstance(leaf, _Place) for leaf in flatten(given))
        }

    def _says_shape(self) -> bool:
        """Whether the class says the shape of its output for that of its input alone."""
        method = type(self).compute_output_shape
        return method is not _Own.compute_output_shape and len(inspect.signature(method).parameters) == 2

    # -- calls --------------------------------------------------------------------------------------------------

    def convert_inputs(self, inputs: Any) -> Any:
        if any(leaf is None for leaf in flatten(inputs)):
            raise TypeError(
                f"Layer '{self.name}' is called on inputs with a None among them: leave it out, or let `call` take it "
                "as an argument of its own."
            )
        if any(hasattr(leaf, "shape") for leaf in flatten(inputs)):
            return map_tree(self._as_input, inputs)
        return self._as_input(inputs)

    def _as_input(self, value: Any) -> Array:
        return as_numbers_or_strings(value) if self._reads_inside() else as_array(value)

    def _reads_inside(self) -> bool:
        """Whether a layer inside takes text."""
        return any(inner.reads_strings for inner in self.all_layers())

    def refuse_strings(self, inputs: Any) -> None:
        if not self._reads_inside():
            Layer.refuse_strings(self, inputs)

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        if not self.built:
            self._arguments = {name: map_tree(_of_array, value) for name, value in arguments.items()}
            try:
                self.build(shapes)
            finally:
                self._arguments = {}
        return arguments

    @property
    def trains(self) -> bool:
        return "training" in self.call_arguments or any(inner.trains for inner in self.sublayers())

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        real = self.policy.real
        takes = self.call_arguments
        keepers = self._keepers()
        defaults = {name: value for name, value in (("training", False), ("mask", None)) if name in self._required}

        def seen(x: Any) -> Any:
            """An array of the type of the arithmetic, which the call cannot write to."""
            if not isinstance(x, np.ndarray):
                return x
            view: Array = x.astype(real) if x.dtype.kind == "f" and x.dtype != real else x.view()
            view.flags.writeable = False
            return view

        def given(y: Any) -> Array:
            if y is None:
                raise TypeError(f"`call` of layer '{self.name}' returned None, alone or among others: not an array.")
            array: Array = np.asarray(y)
            return array.astype(real, copy=False) if array.dtype.kind == "f" else array

        def run(inputs: Any, **arguments: Any) -> Any:
            arguments = {name: map_tree(seen, value) for name, value in (defaults | arguments).items()}
            training = arguments.get("training")
            if "training" not in takes:
                arguments.pop("training", None)
            passing = contextlib.nullcontext() if training is None else passing_on(bool(training))
            before = getattr(under_way, "values", {})
            under_way.values = before | {id(self): weights} if len(weights) == len(self._specs) else before
            try:
                with passing, keeping_states(keepers) if keepers else contextlib.nullcontext():
                    return map_tree(given, self.call(map_tree(seen, inputs), **arguments))
            finally:
                under_way.values = before

        return run

    def run_for(self, arguments: dict[str, Any]) -> Run:
        training = arguments.get("training")
        if training is None or not (training or self.trains):
            return self.frozen()
        frozen = self.frozen()
        inside = (inner for inner in self.all_layers() if inner is not self and inner.built)
        if "training" not in self.call_arguments and not any(inner.is_noisy() for inner in inside):
            return frozen

        def run(inputs: Any, **others: Any) -> Any:
            return frozen(inputs, **{**others, "training": bool(training)})

        return self.noisy_run(lambda: run) if training else run

    def refuse_training(self) -> None:
        """What cannot be done, `run_for` says, when all layers inside are built."""

    def refuse_mask(self, several: bool) -> None:
        by_name = any(name.endswith("_mask") for name in self.call_arguments)
        if several or by_name or any(inner.uses_mask for inner in self.all_layers() if inner is not self):
            raise NotImplementedError(
                f"Layer '{self.name}' is called on a tensor with a mask, which its `call` does not get: only `mask` is "
                "passed, that of the inputs of one argument. Let `call` take `mask`, and pass it on to layers inside."
            )

    # -- shapes, found by calls on zeros of two sizes, where a size may vary --------------------------------------

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        self.refuse_strings(inputs)
        shapes = map_tree(lambda leaf: getattr(leaf, "shape", ()), inputs)
        self.check_shape(shapes)
        self._dtypes = [getattr(leaf, "dtype", None) for leaf in flatten(inputs)]
        self._arguments = {name: map_tree(_placed, value) for name, value in kwargs.items()}
        self._found = {}
        try:
            self.build(shapes)
            if self._says_shape():
                return Layer._record(self, inputs, kwargs)
            outputs = self._probed(map_tree(_placed, inputs), self._arguments)
        finally:
            self._arguments = {}
        tensors = map_tree(lambda place: KerasTensor(place.shape, place.dtype), outputs)
        Node(self, (inputs,), kwargs, tensors)
        return tensors

    def output_shape_of(self, node: Node, known: dict[int, Any]) -> Any:
        if self._says_shape() or not node.kwargs:
            return Layer.output_shape_of(self, node, known)

        def place(leaf: Any) -> Any:
            return _Place(known[id(leaf)], leaf.dtype) if isinstance(leaf, KerasTensor) else leaf

        arguments = {name: map_tree(place, value) for name, value in node.kwargs.items()}
        return map_tree(lambda found: found.shape, self._probed(map_tree(place, node.args[0]), arguments))

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.build(input_shape)
        return self._find_shapes(input_shape)

    def _find_shapes(self, input_shape: Any) -> Any:
        flat = flat_shapes(input_shape)
        known = getattr(self, "_dtypes", None)
        text = "string" if len(flat) == 1 and self._reads_inside() else None
        dtypes = known if known and len(known) == len(flat) else [text] * len(flat)
        batches = {shape[0] for shape in flat if shape}
        batch = batches.pop() if len(batches) == 1 else None
        if batch is not None and not self._keepers():
            flat = [(None, *shape[1:]) if shape else shape for shape in flat]
        key = tuple(flat)
        if key not in self._found:
            places = iter(zip(flat, dtypes, strict=True))

            def place(_: Any) -> _Place:
                shape, dtype = next(places)
                return _Place(shape, dtype or self.policy.compute_dtype)

            found = self._probed(map_shapes(place, input_shape), self._arguments)
            self._found = {**self._found, key: found} if len(self._found) < _MOST_FOUND else {key: found}

        def shape(found: _Place) -> Any:
            return (batch, *found.shape[1:]) if found.shape and found.shape[0] is None else found.shape

        return map_tree(shape, self._found[key])

    def _keepers(self) -> list[Any]:
        """The layers inside that keep states from call to call."""
        return [layer for layer in self.all_layers() if getattr(layer, "stateful", False) and hasattr(layer, "states")]

    def _probed(self, inputs: Any, others: dict[str, Any]) -> Any:
        """The `_Place` of each output, for those of the inputs and of the other arguments."""
        for leaf in flatten([inputs, others]):
            if isinstance(leaf, _Place):
                sizes = [_PROBED[1] if size is None else size for size in leaf.shape]
                if np.prod(sizes, dtype=float) > _MOST_VALUES:
                    raise ValueError(
                        f"Layer '{self.name}' is called on inputs of shape {leaf.shape}, too many values to find the "
                        "shape of its output by a call: its method compute_output_shape(input_shape) would say it."
                    )

        def outputs(size: int) -> Any:
            def zeros(leaf: Any) -> Any:
                return leaf.zeros(size) if isinstance(leaf, _Place) else leaf

            arguments = {name: map_tree(zeros, value) for name, value in others.items()}
            states = {id(layer): layer.states for layer in self._keepers()}
            x = map_tree(zeros, inputs)
            run = self.run_for(arguments)
            try:
                with np.errstate(all="ignore"):
                    try:
                        return run(x, **arguments)
                    except Exception:  # of a call that cannot do without a mask, perhaps
                        if not self.uses_mask or "mask" in arguments or not isinstance(x, np.ndarray) or x.ndim < 2:
                            raise
                        return run(x, **arguments, mask=np.ones(x.shape[:2], bool))
            finally:
                for layer in self._keepers():
                    give_back(layer, states.get(id(layer)))

        first = outputs(_PROBED[0])
        try:
            second = outputs(_PROBED[1])
        except ValueError as error:
            shapes = map_tree(lambda leaf: getattr(leaf, "shape", leaf), inputs)
            raise ValueError(
                f"Layer '{self.name}' is called on inputs of shape {shapes}, where a None may be {_PROBED[0]}, but "
                f"then not {_PROBED[1]}: {error}"
            ) from error
        twins = iter(flatten(second))

        def place(array: Array) -> _Place:
            dtype = self.policy.compute_dtype if array.dtype.kind == "f" else _name_of(array.dtype)
            return _Place(common_shape(array.shape, next(twins).shape), dtype)

        return map_tree(place, first)

    # -- configs ------------------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return revived(cls, config)

    def get_config(self) -> dict[str, Any]:
        parameters = inspect.signature(type(self).__init__).parameters
        config = Layer.get_config(self)
        if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):  # or Keras could not make it again
            config = {name: value for name, value in config.items() if name in parameters}
        positional, named = getattr(self, "_given", ((), {}))
        bound = inspect.signature(type(self).__init__).bind(self, *positional, **named)
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD or name not in bound.arguments or bound.arguments[name] is self:
                continue
            value = bound.arguments[name]
            if isinstance(value, (Activation, Initializer)):
                value = serialize(value)
            if not all(isinstance(leaf, _PLAIN) for leaf in flatten(value)):
                raise NotImplementedError(
                    f"Layer '{self.name}' of class {type(self).__name__} was made with {name}="
                    f"{str(value)[:80]}, which no config can hold: its method get_config would say how."
                )
            config.setdefault(name, value)
        return config


def parts_of(layer: Layer, **others: Any) -> list[tuple[str, Any]]:
    """The attributes that are layers, or hold some: by name, private ones last, as Keras looks for them."""
    attributes = {**_properties(layer), **vars(layer), **others}
    parts: list[tuple[str, Any]] = []
    for name, value in sorted(attributes.items(), key=lambda item: (item[0].startswith("_"), item[0])):
        if isinstance(value, Layer):
            parts.append((name, value))
        elif name not in _NOTES and any(_layers_in(value)):
            parts.append((name, _members(value)))
    return parts


def _sees_to_masks(cls: type[Layer]) -> bool:
    """Whether a class of a user's has a `compute_mask`, or its code calls one or hands on a ``mask=``."""
    if cls.compute_mask is not Layer.compute_mask:
        return True
    members = [inspect.unwrap(value) for base in cls.__mro__ for value in vars(base).values()]
    own = [member for member in members if not str(getattr(member, "__module__", "lstmfast.")).startswith("lstmfast.")]
    codes = [member.__code__ for member in own if isinstance(member, FunctionType)]
    while codes:
        code = codes.pop()
        if "compute_mask" in code.co_names or any("mask" in one for one in code.co_consts if isinstance(one, tuple)):
            return True
        codes.extend(one for one in code.co_consts if isinstance(one, CodeType))
    return False


def _properties(layer: Layer) -> dict[str, Any]:
    """What the properties of users' classes give."""
    classes = [base for base in type(layer).__mro__ if not base.__module__.startswith("lstmfast.")]
    found: dict[str, Any] = {}
    for name in {name for base in classes for name, value in vars(base).items() if isinstance(value, property)}:
        with contextlib.suppress(Exception):  # one may need what is not there yet
            found[name] = getattr(layer, name)
    return found


class _List(list[Any]):
    """A list in an attribute, which tells its layer what comes into it."""

    owner: Layer | None = None

    def _told(self, value: Any) -> Any:
        return value if self.owner is None else _kept(self.owner, value)

    def append(self, value: Any) -> None:
        super().append(self._told(value))

    def insert(self, place: Any, value: Any) -> None:
        super().insert(place, self._told(value))

    def extend(self, values: Any) -> None:
        super().extend(map(self._told, values))

    def __iadd__(self, values: Any) -> Any:  # type: ignore[misc]
        self.extend(values)
        return self

    def __setitem__(self, place: Any, value: Any) -> None:
        super().__setitem__(place, list(map(self._told, value)) if isinstance(place, slice) else self._told(value))


class _Dict(dict[Any, Any]):
    """As `_List`, a dict."""

    owner: Layer | None = None

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value if self.owner is None else _kept(self.owner, value))

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self


def _kept(owner: Layer, value: Any) -> Any:
    """A value as an attribute holds it, the layers in it noted in their order."""
    if isinstance(value, Layer):
        came = owner.__dict__.setdefault("_came", [])
        if not any(one is value for one in came):
            came.append(value)
    elif type(value) is list:
        kept = _List()
        kept.extend(_kept(owner, member) for member in value)
        kept.owner = owner
        return kept
    elif type(value) is dict:
        named = _Dict()
        for key, member in value.items():
            named[key] = _kept(owner, member)
        named.owner = owner
        return named
    elif isinstance(value, tuple):
        for member in value:
            _kept(owner, member)
    return value


# What all layers have: methods and properties, and attributes of these types, or of none.
_METHODS = frozenset(
    name
    for name in dir(Layer)
    if callable(getattr(Layer, name)) or isinstance(inspect.getattr_static(Layer, name), property)
)
_OF_ALL: dict[str, Any] = {
    "policy": DTypePolicy,
    "name": str,
    "_arguments": dict,
    "_axes": dict,
    "_found": dict,
    "_frozen": (tuple, NoneType),
    "_known": KnownInputs,
    "_noisy": (tuple, NoneType),
    "_values": (tuple, NoneType),
    "_building": bool,
    "_required": frozenset,
    "build_shape": (tuple, list, dict, NoneType),
    "call_arguments": tuple,
    "class_in_file": (str, NoneType),
    "registered_in_file": (str, NoneType),
    "config_keys": tuple,
    "inert_arguments": tuple,
    "keras_version": tuple,
    "reads_strings": bool,
    "saved_module": (str, NoneType),
    "saved_vars": str,
    **dict.fromkeys((*_NOTES, "_specs", "nodes"), ()),
}


def _set(self: Layer, name: str, value: Any) -> None:
    """`setattr` that notes what comes, and lets nothing take the place of what all layers have."""
    kind = _OF_ALL.get(name)
    if (kind is not None and not isinstance(value, kind)) or (
        _is_of_all(type(self), name) and getattr(getattr(type(self), name), "fset", None) is None
    ):
        raise AttributeError(
            f"Layer '{vars(self).get('name', '?')}' cannot keep anything of its own as `{name}`, which is an attribute "
            "of every layer or model: choose another name."
        )
    if kind is None:
        value = _kept(self, value)
        if any(_layers_in(value)):  # the attributes are in the order in which they were set last
            vars(self).pop(name, None)
    object.__setattr__(self, name, value)


def _is_of_all(cls: type, name: str) -> bool:
    """Whether all layers, or all models, have a method or property of this name."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), object)
    return name in _METHODS or (owner.__module__.startswith("lstmfast.") and isinstance(vars(owner)[name], property))


def revived(cls: type[Layer], config: dict[str, Any]) -> Layer:
    """A layer of a class whose constructor need not take what the configs of all layers hold."""
    parameters = inspect.signature(cls.__init__).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return cls(**config)
    layer = cls(**{key: value for key, value in config.items() if key in parameters or key not in _OF_EVERY_CONFIG})
    if isinstance(config.get("name"), str):
        layer.name = config["name"]
    layer._trainable = bool(config.get("trainable", True))
    return layer


def _placed(leaf: Any) -> Any:
    return _Place(leaf.shape, leaf.dtype) if isinstance(leaf, KerasTensor) else leaf


def _of_array(leaf: Any) -> Any:
    return _Place(leaf.shape, _name_of(leaf.dtype)) if isinstance(leaf, np.ndarray) else leaf


def _name_of(dtype: np.dtype[Any]) -> str:
    return "string" if dtype.kind in "OSU" else dtype.name


def _layers_in(value: Any, depth: int = 0, by_key: bool = False) -> Iterator[Layer]:
    """The layers in a value, and in lists and dicts in it, of a dict as they came or by its keys."""
    if isinstance(value, Layer):
        yield value
    elif isinstance(value, (list, tuple, dict)) and depth < _MOST_NESTED:
        if isinstance(value, dict):
            value = [value[key] for key in sorted(value, key=str)] if by_key else value.values()
        for member in value:
            yield from _layers_in(member, depth + 1, by_key)


def _members(value: Any, depth: int = 0) -> list[Any]:
    """The layers in a container, and the containers in it, as lists."""
    members = value.values() if isinstance(value, dict) else value
    return [
        member if isinstance(member, Layer) else _members(member, depth + 1)
        for member in members
        if isinstance(member, Layer) or (isinstance(member, (list, tuple, dict)) and depth < _MOST_NESTED)
    ]


def _new(cls: type[Layer], *args: Any, **kwargs: Any) -> Layer:
    layer = object.__new__(cls)
    layer.__dict__["_given"] = args, kwargs
    return layer


def adopt(cls: type[Layer]) -> None:
    """Complete a class of layers as far as it has a `call`, or a `build`, of its own.

    Raises
    ------
    TypeError
        If it derives from a layer that does not run by its `call`.
    """
    classes = [vars(base) for base in cls.__mro__]
    calls, freezes = (next(place for place, own in enumerate(classes) if name in own) for name in ("call", "freeze"))
    if calls < freezes:
        if cls.freeze not in (Layer.freeze, _Own.freeze):
            raise TypeError(
                f"{cls.__name__} derives from a layer whose arithmetic is not in its `call`, so that one of its own "
                "would not run. Derive from Layer, or from Model, and call such a layer from there."
            )
        said = {name for own in classes[: cls.__mro__.index(Layer)] for name in own}
        for name, value in vars(_Own).items():
            if name not in said and not name.startswith("__"):
                setattr(cls, name, value)
        if cls.__setattr__ is object.__setattr__:
            cls.__setattr__ = _set  # type: ignore[method-assign, assignment]
        maker = next(base for base in cls.__mro__ if "__new__" in vars(base))
        if maker is object or maker.__module__.startswith("lstmfast."):
            cls.__new__ = _new  # type: ignore[method-assign, assignment]
        parameters = list(inspect.signature(cls.call).parameters.values())[1:]
        takes = tuple(one.name for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL))
        required = (one for one in parameters[1:] if one.name in takes and one.default is one.empty)
        cls._required = frozenset(one.name for one in required)  # type: ignore[attr-defined]
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
        own_values = (("call_arguments", takes), ("uses_mask", "mask" in takes), ("takes_any_name", takes_any))
        for name, value in own_values:
            if name not in vars(cls):
                setattr(cls, name, value)
    own = [vars(base) for base in cls.__mro__[: cls.__mro__.index(Layer)]]
    if cls.freeze is _Own.freeze and any("compute_mask" in names for names in own):
        for name in ("supports_masking", "makes_mask"):  # as in Keras, which calls it whatever came in
            if name not in vars(cls) or getattr(cls, name) is vars(_Own).get(name):
                setattr(cls, name, True)
    if cls.freeze is _Own.freeze and "build" in vars(cls):
        cls.build = _guarded(vars(cls)["build"])  # type: ignore[method-assign]


def _guarded(build: Callable[..., None]) -> Callable[..., None]:
    """A `build` of a user's own, as a part of that of all layers."""

    names = list(inspect.signature(build).parameters)[1:]

    @functools.wraps(build)
    def guarded(self: Any, *shapes: Any, **named: Any) -> None:
        if self.built:
            return
        with lock:
            if self._building:  # as `build_weights`, or as the `build` of a class that this one is made of
                build(self, *shapes, **named)
                return
            given = dict(zip(names, shapes, strict=False)) | named
            if len(given) > 1:
                self.build_from_shapes({name: given[name] for name in names if name in given})
            else:
                Layer.build(self, *given.values())

    return guarded
