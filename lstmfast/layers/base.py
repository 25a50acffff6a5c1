"""What every layer is: a config, weights, and `freeze`, which turns the two into a function of arrays.

A subclass says what it is with a few class attributes, makes its weights in `build_weights`, and returns from
`freeze(weights)` a function `run(x, **call_arguments)` that holds all it needs and touches nothing mutable: calls that
are under way never see a change of weights.
Next: recurrent.py, for the layers that matter most; own.py, for those that users write; ../_plan.py, for how models run
them.
"""

from __future__ import annotations

import contextlib
import difflib
from _thread import RLock
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import numpy as np

from lstmfast import _core, activations, initializers
from lstmfast._arrays import STRING, DTypePolicy, as_array, convert, policy, real_of
from lstmfast._graph import (
    KerasTensor,
    Node,
    Shape,
    contains_symbolic,
    flat_shapes,
    flatten,
    map_shapes,
    map_tree,
    snake_case,
    unique_name,
)
from lstmfast._keras import NEWEST
from lstmfast._pieces import cast, contiguous, copied, in_pieces, put
from lstmfast._stack import has_stage, stage_of
from lstmfast.layers.arguments import input_shape_argument, positive, standardize_shape
from lstmfast.layers.transactions import all_or_nothing
from lstmfast.layers.variable import Variable, in_training, inherits_training, passing_on

Array = np.ndarray[Any, Any]
Run = Callable[..., Any]
# the count of changes that it is of, or None for any; what runs the layer; and what does so for one array alone
_Frozen = tuple[int | None, Run, Run]

# Every change of weights, of any layer, counts here: a model whose plan is older makes a new one. The lock makes a
# change of many layers one event.
changes = [0]
lock = RLock()

_INERT_OF_WEIGHTS = frozenset(
    "aggregation autocast constraint experimental_autocast overwrite_with_gradient regularizer "
    "synchronization use_resource".split()
)

REGISTRY: dict[str, type[Layer]] = {}
_Class = TypeVar("_Class", bound=type)


def register(*aliases: str) -> Callable[[_Class], _Class]:
    """Class decorator: files may name this layer, by its class name or an alias."""

    def add(cls: _Class) -> _Class:
        for name in (cls.__name__, *aliases):
            REGISTRY[name] = cls
        return cls

    return add


class Weight:
    """What a weight is: its name, shape, type and initializer; its values are the layer's."""

    __slots__ = ("dtype", "initializer", "is_further", "name", "shape", "trainable")

    def __init__(
        self, name: str, shape: Shape, initializer: Callable[..., Array], trainable: bool, dtype: np.dtype[Any]
    ) -> None:
        self.name = name
        self.shape = shape
        self.initializer = initializer
        self.trainable = trainable
        self.dtype = dtype
        self.is_further = False  # a user's class adds it to those that its layer is built with

    def holding(self, values: Any) -> Array:
        """Values as a layer keeps them: in C order and of the weight's type, not to be written to."""
        return _read_only(np.array(values, self.dtype, order="C"))


class Layer:
    """Base of all layers.

    Parameters
    ----------
    activity_regularizer, autocast : optional
        Accepted, kept in the config, without effect.
    trainable : bool
        Kept for `summary` and for the order of weights in legacy files.
    dtype : str, numpy.dtype or policy, optional
        float32 (default), float64, float16, bfloat16, mixed_float16 or mixed_bfloat16. The arithmetic is float32 for
        all but float64; float16 and mixed_float16 return float16, the last two bfloat16 (where ml_dtypes is installed,
        else float32).
    name : str, optional
        Made from the class name where it is not given.
    """

    config_keys: tuple[str, ...] = ()
    call_arguments: tuple[str, ...] = ("inputs",)
    takes_any_name = False  # call arguments of any other name too
    ndim: int | None = None
    min_ndim: int | None = None
    uses_mask = False  # run takes mask=
    uses_mask_since_34 = False  # so it does by the rules of Keras 3.4 and later
    masks_each_argument = False  # Keras 3 looks for masks of its inputs also where there are other tensors
    removes_masks = False  # in Keras 3, from its inputs: layers that run later do not find them
    makes_mask = False  # gives its output a mask whatever came in
    supports_masking = True  # passes its input's mask on
    per_step = False  # step t of the output depends on step t of the input alone
    last_axis_only = True  # where `per_step`: so it is for every axis but the last
    elementwise = False  # where `per_step`: so it is for the last axis too
    row_by_row = True  # False where it may depend on rows that are run with it, though `mixes_batch` does not say so
    row_by_row_in_training = True  # False where it depends on other rows in a call with training=True
    casts_input = True  # run takes arrays of policy.real
    keeps_integers = ""  # which kinds of them run takes as they are: of "biu", NumPy's kinds of types
    reads_strings = False  # run takes arrays of strings
    reads_numbers = False  # and, where it does, of numbers too
    allocates = True  # False where the output is a view of the input
    nodes: list[Node]  # the calls on symbolic tensors
    _specs: list[Weight]
    repeats = False  # the output is one step of memory seen many times, or a view that no input tells of
    stops_mask_since_316 = False  # Keras 3.16 stopped handing masks on here
    stops_mask_before_3 = False  # Keras 2 did not hand masks on here
    may_be_quantized = False  # its weights may be 8-bit integers
    of_keras_2 = False  # made from a file, or a live model, of a Keras before 3

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._input_shape: Shape | None = input_shape_argument(kwargs)
        for inert in self.inert_arguments:
            kwargs.pop(inert, None)
        if kwargs:
            raise ValueError(
                f"Unrecognized keyword arguments passed to {type(self).__name__}: {kwargs}{self._meant(kwargs)}"
            )
        if not isinstance(trainable, bool):
            raise ValueError(
                f"Expected `trainable` to be a boolean. Received: trainable={trainable} (of type {type(trainable)})"
            )
        if name is not None and not isinstance(name, str):
            raise ValueError(f"Argument `name` must be a string. Received: {name!r}")
        self.policy: DTypePolicy = policy(dtype)
        if self.policy.quantized and not self.may_be_quantized:
            raise NotImplementedError(
                f"{type(self).__name__} with the dtype policy {self.policy.name!r} is not supported: save the model "
                "before it is quantized."
            )
        if self.casts_input and not self.policy.is_float:
            raise ValueError(
                f"{type(self).__name__} computes in floating point: dtype={self.policy.name!r} is refused."
            )
        self.name: str = name or unique_name(snake_case(type(self).__name__))
        self._trainable = trainable
        self.autocast = autocast
        self.activity_regularizer = activity_regularizer
        self.built = self._building = False
        self.build_shape: Any = None
        self.__dict__.update(nodes=[], _specs=[])  # which no assignment replaces; see own.py
        self._values: tuple[Array, ...] | None = None
        self._frozen: _Frozen | None = None
        self._noisy: tuple[Run, Run] | None = None  # `frozen`, and what it is in training
        self._axes: dict[int, int] = {}
        self._known = _core.KnownInputs(self.policy.real)  # what a call need not check again

    def _meant(self, names: Iterable[str]) -> str:
        """Which of the constructor's arguments these names may stand for, as the end of a message."""
        known = ("name", "dtype", "trainable", *self.config_keys)
        found = {name: difflib.get_close_matches(name, known, 1) for name in names}
        return "".join(f". Did you mean '{close[0]}' by '{name}'?" for name, close in found.items() if close)

    # -- what subclasses say ------------------------------------------------------------------------------------

    def build_weights(self, input_shape: Any) -> None:
        """Call `add_weight` for each weight; ``input_shape`` is checked already."""

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        """The function ``run(x, **call_arguments)`` of this layer with these weights.

        What its attributes say is in docs/extending.md.
        """
        return self.call

    def on_integers(self, run: Run) -> Run:
        """What runs the layer on integers that it takes as they are, given what runs it on floats."""
        return run

    def call(self, inputs: Any) -> Any:
        """A layer of the user's own may define this, on arrays, instead of `freeze`."""
        raise NotImplementedError(f"Layer {type(self).__name__} does not have a `call()` method implemented.")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape, or the nested shapes, that the layer gives for the shape of its input."""
        return input_shape

    def output_shape_of(self, node: Node, known: dict[int, Shape]) -> Any:
        """As `compute_output_shape`, of a recorded call, given the shapes of the tensors that it is of by their id."""
        shapes = map_tree(lambda leaf: known[id(leaf)] if isinstance(leaf, KerasTensor) else (), node.args[0])
        return self.compute_output_shape(shapes)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the output, given the input and its mask."""
        return previous_mask

    def masked_outputs(self, count: int, incoming: bool) -> list[bool]:
        """Which of its so many outputs may have a mask, where its input has one or has none."""
        return [True] * count

    def mask_function(self, merges: str) -> Callable[[Any, Any], Any]:
        """`compute_mask` by the rules for merging layers, "and", "none" or "or", of ../_plan.py's `MaskRules`."""
        return self.compute_mask

    def sublayers(self) -> tuple[Layer, ...]:
        """The layers inside this one, in the order of their weights."""
        return ()

    def parts_of_keras_2(self) -> list[Any]:
        """The same in the order of Keras 2's weights: layers, and lists of those in one attribute."""
        return list(self.sublayers())

    def all_layers(self) -> Iterator[Layer]:
        """This layer and those inside it, however deep."""
        yield self
        for inner in self.sublayers():
            yield from inner.all_layers()

    # Arguments without effect that files hold beside those of the constructor.
    inert_arguments: tuple[str, ...] = ()

    # The module that a Keras 3 config says the class is in.
    saved_module: str | None = "keras.layers"

    # Where a .keras file keeps the layer's own weights, below the layer's place.
    saved_vars = "vars"

    def saved_group(self) -> str:
        """What a .keras file names the groups of such layers after."""
        return snake_case(self.saved_class())

    def file_order(self) -> list[int]:
        """The layer's own weights, by their places in the layer, in the order of a .keras file."""
        return list(range(len(self._specs)))

    def saved_parts(self) -> list[tuple[str, Any]]:
        """The layers inside this one, or lists of them, by the attribute that a .keras file names them after."""
        return []

    def saved_values(self) -> dict[str, Array]:
        """What a .keras file keeps of the layer itself beside its weights, by the places below its own."""
        return {}

    def is_own(self) -> bool:
        """Whether a user wrote the layer's arithmetic, in `call`."""
        return False

    # What a file of Keras 2 named the groups of such layers after, where that is the name of another class.
    group_in_file: str | None = None

    # The class name in the file that it was made from, where a class of the user's stands for that, and what Keras had
    # registered that as.
    class_in_file: str | None = None
    registered_in_file: str | None = None

    def note_class_in_file(self, entry: dict[str, Any]) -> None:
        """Take over what an entry of a file says of the user's class; ``.h5`` files have one name for both."""
        self.class_in_file = entry["class_name"].rsplit(">", 1)[-1]
        self.registered_in_file = entry.get("registered_name") or entry["class_name"]

    def chained(self) -> list[Layer]:
        """The list of layers that building may put an input in front of; that of a model itself."""
        return []

    def saved_class(self) -> str:
        """The class name that a .keras file counts the layer under."""
        return self.class_in_file or type(self).__name__

    def registered_class(self) -> str:
        """What Keras finds a class of the user's by when it reads a file."""
        return self.registered_in_file or self.saved_class()

    # -- weights ------------------------------------------------------------------------------------------------

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not cls.__module__.startswith("lstmfast.") and "saved_module" not in vars(cls):
            cls.saved_module = None
        if cls.call is not Layer.call:  # a user's own
            from lstmfast.layers.own import adopt

            adopt(cls)

    def add_weight(
        self,
        *args: Any,
        name: str | None = None,
        shape: Any = None,
        initializer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        **kwargs: Any,
    ) -> Variable:
        """Declare a weight; its values are made when they are first needed, unless `set_weights` comes before.

        Parameters
        ----------
        *args
            A name, a shape and an initializer, or as in Keras 3 without the name.
        name : str, optional
            Of the weight.
        shape : tuple of int, optional
            Of the weight; of a single number where it is not given.
        initializer : str, dict or callable, optional
            Glorot's uniform one where it is not given, zeros for integers.
        trainable : bool
            Kept for `summary` and for the order of weights in legacy files.
        dtype : str or numpy.dtype, optional
            In which the weight is kept; that of the layer's weights where it is not given.
        **kwargs
            Keras's others: without effect.

        Returns
        -------
        Variable
            What stands for the weight in the `call` of a layer of one's own.

        Raises
        ------
        TypeError
            If Keras has no such argument.
        """
        places = ("name", "shape", "initializer") if args and isinstance(args[0], str) else ("shape", "initializer")
        given = {"name": name, "shape": shape, "initializer": initializer}
        twice = [place for place, _ in zip(places, args, strict=False) if given[place] is not None]
        unknown = [*twice, *sorted(set(kwargs) - _INERT_OF_WEIGHTS)]
        if unknown or len(args) > len(places):
            what = f"an unexpected argument '{unknown[0]}'" if unknown else f"{len(args)} positional arguments"
            raise TypeError(f"add_weight got {what}.")
        given.update(zip(places, args, strict=False))
        kept_as = self.policy if dtype is None else policy(dtype)
        initializer = given["initializer"]
        if initializer is None:
            initializer = "glorot_uniform" if kept_as.is_float else "zeros"
        if not callable(initializer):
            initializer = initializers.get(initializer)
        label = given["name"] or f"variable_{len(self._specs)}"
        weight = Weight(label, tuple(given["shape"] or ()), initializer, trainable, kept_as.variable)
        weight.is_further = self.built
        place = len(self._specs)
        if trainable:  # before those that are not, as in Keras
            place = sum(spec.trainable for spec in self._specs)
        if place < len(self._specs):
            values = self._own_weights()
            self._values = (*values[:place], self._drawn(weight), *values[place:])
        self._specs.insert(place, weight)
        return Variable(self, weight)

    def _own_weights(self) -> tuple[Array, ...]:
        values = self._values
        if not self._specs:  # none, or none yet
            return ()
        if values is None or len(values) < len(self._specs):
            with lock:
                values = self._values or ()
                self._values = values = values + tuple(map(self._drawn, self._specs[len(values) :]))
        return values

    def _drawn(self, spec: Weight) -> Array:
        return spec.holding(spec.initializer(spec.shape))

    def frozen_with(self, values: tuple[Array, ...]) -> Run:
        """`freeze`, with those of the layer's weights that its arithmetic knows."""
        if not self.is_own():
            values = tuple(value for spec, value in zip(self._specs, values, strict=True) if not spec.is_further)
        return self.freeze(values)

    def _weight(self, name: str) -> Array | None:
        for spec, value in zip(self._specs, self._own_weights(), strict=True):
            if spec.name == name:
                return value
        return None

    def owners(self) -> list[Layer]:
        """The layers that hold this layer's weights, each once: itself and those inside it, in Keras's order."""
        found: dict[int, Layer] = {}
        stack: list[Layer] = [self]
        while stack:
            layer = stack.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                stack.extend(reversed(layer.sublayers()))
        return [layer for layer in found.values() if layer._specs]

    @property
    def weights(self) -> list[Array]:
        """The weights as read-only arrays, in Keras's order; `set_weights` changes them."""
        return [value for owner in self.owners() for value in owner._own_weights()]

    @property
    def trainable_weights(self) -> list[Array]:
        return [value for _, spec, value in self._listed() if spec]

    @property
    def non_trainable_weights(self) -> list[Array]:
        return [value for _, spec, value in self._listed() if not spec]

    # Keras's other names of these.
    variables, trainable_variables, non_trainable_variables = weights, trainable_weights, non_trainable_weights

    def _listed(self, trainable: bool = True) -> list[tuple[Layer, bool, Array]]:
        frozen: set[int] = set()
        stack: list[tuple[Layer, bool]] = [(self, trainable)]
        while stack:
            layer, live = stack.pop()
            live = live and layer.trainable
            if not live:
                frozen.add(id(layer))
            stack.extend((inner, live) for inner in layer.sublayers())
        return [
            (owner, spec.trainable and id(owner) not in frozen, value)
            for owner in self.owners()
            for spec, value in zip(owner._specs, owner._own_weights(), strict=True)
        ]

    def get_weights(self) -> list[Array]:
        """Copies of the weights, in Keras's order."""
        return [value.copy() for value in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Replace all weights. A call that is under way in another thread finishes with the old ones.

        Parameters
        ----------
        weights : sequence of array-like
            As `get_weights` of this layer, or of its Keras twin, gives them.

        Raises
        ------
        ValueError
            If their number or a shape is wrong; nothing has changed then.
        """
        weights = list(weights)
        owners = self.owners()
        expected = sum(len(owner._specs) for owner in owners)
        if len(weights) != expected:
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of length "
                f"{len(weights)}, but the layer was expecting {expected} weights."
            )
        position, new = 0, []
        for owner in owners:
            values = weights[position : position + len(owner._specs)]
            position += len(values)
            new.append((owner, owner._checked_weights(values)))
        assign(new)

    def _checked_weights(self, values: list[Any]) -> tuple[Array, ...]:
        checked = []
        for spec, value in zip(self._specs, values, strict=True):
            array = as_array(value, f"weight '{spec.name}' of layer '{self.name}'")
            if array.shape != spec.shape:
                raise ValueError(
                    f"Layer {self.name} weight shape {spec.shape} is not compatible with provided weight shape "
                    f"{array.shape}."
                )
            checked.append(spec.holding(array))
        return tuple(checked)

    @property
    def trainable(self) -> bool:
        """Kept for `summary` and for the order of weights in legacy files; setting it sets that of layers inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for inner in self.sublayers():
            inner.trainable = value

    def count_params(self) -> int:
        """The number of scalars in the weights."""
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer '{self.name}', but the layer isn't built. You can build "
                f"it manually via: `layer.build(input_shape)`."
            )
        return sum(_size(spec.shape) for owner in self.owners() for spec in owner._specs)

    def packed(self, values: tuple[Array, ...]) -> tuple[Array, ...]:
        """Weights as the core takes them: C order and the type of the arithmetic."""
        return tuple(np.ascontiguousarray(value, self.policy.real) for value in values)

    # -- dtypes -------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> str:
        """The dtype of the weights."""
        return self.policy.variable_dtype

    @property
    def compute_dtype(self) -> str:
        return self.policy.compute_dtype

    @property
    def dtype_policy(self) -> DTypePolicy:
        return self.policy

    def output_dtype(self, inputs: Any) -> str:
        """The dtype name of the outputs, for inputs that are KerasTensors."""
        kept = self.kept_integers(inputs)
        return self.policy.compute_dtype if kept is None else self.made_of_integers(kept)

    def kept_integers(self, inputs: Any) -> np.dtype[Any] | None:
        """The type that holds all of the inputs, KerasTensors or arrays, where these are integers that `run` takes."""
        if not self.keeps_integers:
            return None
        types = [
            real_of(leaf.dtype) if isinstance(leaf, KerasTensor) else getattr(leaf, "dtype", STRING)
            for leaf in flatten(inputs)
        ]
        if not types or any(dtype.kind not in "biu" for dtype in types):
            return None
        joint = np.result_type(*types)
        return joint if joint.kind in self.keeps_integers else None

    def made_of_integers(self, dtype: np.dtype[Any]) -> str:
        """The dtype name of the outputs, for inputs of integers that the layer takes as they are."""
        return str(dtype.name)

    # -- building and calling -----------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape (batch first; None where a size may vary).

        Raises
        ------
        ValueError
            If the layer cannot take inputs of this shape.
        """
        if self.built:
            return
        input_shape = map_shapes(standardize_shape, input_shape)
        self.check_shape(input_shape)
        with lock:
            if self.built or self._building:  # by another thread meanwhile; from a `build` of a user's own
                return
            self._building = True
            try:
                with all_or_nothing([self]):
                    self.build_weights(input_shape)
            finally:
                self._building = False
            self.build_shape = input_shape
            self.built = True

    def check_shape(self, shape: Any) -> None:
        """Raise ValueError where the layer cannot take inputs of this shape."""
        if not isinstance(shape, tuple) or (shape and isinstance(shape[0], (tuple, list))):
            takes_one = self.ndim is not None or self.min_ndim is not None
            if takes_one and len(shape) != 1 and not self.takes_list():
                raise ValueError(
                    f'Layer "{self.name}" expects 1 input(s), but it received {len(shape)} input tensors. '
                    f"Shapes received: {shape}"
                )
            return
        what = f"Input 0 with name 'None' of layer '{self.name}' is incompatible with the layer: "
        if self.ndim is not None and len(shape) != self.ndim:
            raise ValueError(f"{what}expected ndim={self.ndim}, found ndim={len(shape)}. Full shape received: {shape}")
        if self.min_ndim is not None and len(shape) < self.min_ndim:
            raise ValueError(
                f"{what}expected min_ndim={self.min_ndim}, found ndim={len(shape)}. Full shape received: {shape}"
            )
        for axis, size in self._axes.items():
            if shape[axis] is not None and shape[axis] != size:
                raise ValueError(
                    f"{what}expected axis {axis} of input shape to have value {size}, found {shape[axis]}. "
                    f"Full shape received: {shape}"
                )

    def fix_axis(self, shape: Shape, axis: int = -1) -> int:
        """The size of an axis of the input, which from now on every input must have.

        Raises
        ------
        ValueError
            If it is not known.
        """
        size = shape[axis]
        if size is None:
            raise ValueError(
                f"Axis {axis} of the input of layer '{self.name}' must be known to build it. "
                f"Full shape received: {shape}"
            )
        self._axes[axis] = positive(f"axis {axis} of the input", size)
        return int(size)

    def frozen(self) -> Run:
        """The layer as it is now, as a function that no later change reaches."""
        entry = self._frozen
        if entry is None or (entry[0] is not None and entry[0] != changes[0]):
            with lock:
                count = changes[0] if self.sublayers() else None
                entry = self._frozen = _as_frozen(count, self.frozen_with(self._own_weights()))
        return entry[1]

    def run_for(self, arguments: dict[str, Any]) -> Run:
        """`frozen`, for a call with these further arguments."""
        return self.frozen()

    def is_noisy(self) -> bool:
        """Whether the layer gives something else with ``training=True``."""
        return self.run_for({"training": True}) is not self.run_for({})

    @property
    def trains(self) -> bool:
        """Whether it calls a layer inside with ``training=True``, whatever it is called with."""
        return any(inner.trains for inner in self.sublayers())

    def mixes_batch(self, training: bool | None) -> bool:
        """Whether a row of the output depends on the others of its batch, in a call with this `training`."""
        own = bool(training) and not self.row_by_row_in_training
        return own or any(inner.mixes_batch(training) for inner in self.sublayers())

    def mixes_batch_of(self, node: Node, training: bool | None) -> bool:
        """As `mixes_batch`, of a recorded call in a model that is called with this `training`."""
        return self.mixes_batch(node.kwargs.get("training") if training is None else training)

    def noisy_run(self, make: Callable[[], Run]) -> Run:
        """What ``make`` gives for the weights that the layer has now; the same function until these change."""
        with lock:
            frozen = self.frozen()
            if self._noisy is None or self._noisy[0] is not frozen:
                self._noisy = frozen, make()
            return self._noisy[1]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run on array-likes, or record the call where an argument is a symbolic `Input` or what came from one.

        Parameters
        ----------
        *args, **kwargs
            The layer's call arguments, and for arrays:
        out : numpy.ndarray, or list or tuple of them as the layer returns, optional
            Where to put the results: of their shapes and dtypes, writable, in C order but for gaps
            between rows, and apart from the inputs and from each other. LSTM, GRU, SimpleRNN and Dense write into
            them directly; what other layers compute is copied there.
        lengths : array-like of int, optional
            (batch,), for recurrent layers: how many steps of each row count. See `Model.predict`.

        Returns
        -------
        numpy.ndarray or KerasTensor, or a structure of them
            Fresh arrays in the policy's compute dtype, or of integers where Keras makes such of integers, or those of
            ``out``.

        Raises
        ------
        ValueError
            If a shape is wrong, or an array of ``out`` cannot be written to; it is untouched then.
        TypeError
            If the input does not hold numbers, or ``out`` has another dtype.
        """
        if len(args) == 1 and not in_training[0]:
            entry = self._frozen
            if entry is not None and (entry[0] is None or entry[0] == changes[0]):
                if not kwargs:
                    x = self._known.ready(args[0], False)
                    if x is not args[0]:
                        if self.keeps_integers:
                            x = None
                        elif x is None and self._known.converts(args[0], False):
                            x = convert(args[0], self.policy.real)
                    if x is not None:
                        return entry[2](x)
                elif self._known.takes(args[0], False) and self.takes_unchecked(args[0], kwargs):
                    return entry[1](args[0], **kwargs)
        inherits = inherits_training()
        if inherits and kwargs.get("training") is False:
            with passing_on(False):
                return self(*args, **kwargs)
        out = lengths = None
        if len(args) != 1 or kwargs or inherits:
            out, lengths = kwargs.pop("out", None), kwargs.pop("lengths", None)
            inputs, kwargs = self._bind(args, kwargs)
        else:
            inputs = args[0]
        if contains_symbolic((inputs,)) or (kwargs and contains_symbolic(kwargs.values())):
            if out is not None or lengths is not None:
                raise ValueError(f"Layer '{self.name}': `out` and `lengths` go with arrays, not with symbolic inputs.")
            return self._record(list(inputs) if type(inputs) is tuple and self.takes_list() else inputs, kwargs)
        caller = flatten([inputs, kwargs]) if out is not None else []
        inputs = self.convert_inputs(inputs)
        shapes = inputs.shape if type(inputs) is np.ndarray else map_tree(_shape_of, inputs)
        self.check_shape(shapes)
        if kwargs:
            if kwargs.get("training"):
                self.refuse_training()
            kwargs = self.convert_arguments(shapes, kwargs)
        if not self.built:
            self.build(shapes)
        if lengths is not None:
            return self.run_ragged(inputs, lengths, kwargs, out, caller)
        if out is not None:
            outputs = self._run_into(out, caller, inputs, kwargs)
            self._remember(inputs)
            return outputs
        outputs = self._run_on(inputs, kwargs)(inputs, **kwargs)
        if not self.allocates:
            outputs = map_tree(copied, outputs)
        result = self.policy.result
        if result is not self.policy.real:
            return map_tree(lambda array: copied(array, result) if array.dtype.kind == "f" else array, outputs)
        self._remember(inputs)
        return outputs

    def _remember(self, inputs: Any) -> None:
        """Let the next such inputs pass without a look at them."""
        quick = self.allocates and self.casts_input and self.policy.result is self.policy.real
        if quick and type(inputs) is np.ndarray and inputs.ndim and inputs.dtype == self.policy.real:
            self._known = self._known.adding(inputs.shape[1:], 0)

    def _run_on(self, inputs: Any, arguments: dict[str, Any]) -> Run:
        """What runs the layer on these arrays."""
        run = self.run_for(arguments)
        return run if self.kept_integers(inputs) is None else self.on_integers(run)

    def takes_unchecked(self, inputs: Array, arguments: dict[str, Any]) -> bool:
        """Whether these call arguments, beside known inputs, need no look but that of `run`."""
        return False

    def _run_into(self, out: Any, caller: list[Any], inputs: Any, arguments: dict[str, Any]) -> Any:
        targets = flatten(out)
        known = self.casts_input and self.kept_integers(inputs) is None  # the type of the results
        if known:
            shapes = inputs.shape if type(inputs) is np.ndarray else map_tree(_shape_of, inputs)
            self.check_targets(targets, self.compute_output_shape(shapes), caller)
        run = self._run_on(inputs, arguments)
        if known and getattr(run, "takes_out", False) and self.policy.result is self.policy.real:
            return run(inputs, **arguments, out=targets[0] if len(targets) == 1 else tuple(targets))
        outputs = run(inputs, **arguments)
        if not known:
            results = flatten(outputs)
            self.check_targets(targets, [array.shape for array in results], caller, [array.dtype for array in results])
        return fill(targets, outputs)

    def check_targets(self, targets: list[Any], shapes: Any, caller: list[Any], dtypes: Any = None) -> None:
        """Raise where the layer's results, of these shapes, cannot be put into ``targets``."""
        expected = flat_shapes(shapes)
        if len(targets) != len(expected):
            raise ValueError(f"out: layer '{self.name}' returns {len(expected)} arrays, got {len(targets)}.")
        check_targets(targets, expected, dtypes or [self.policy.result] * len(expected), caller)

    def run_ragged(self, inputs: Any, lengths: Any, arguments: dict[str, Any], out: Any, caller: list[Any]) -> Any:
        """The call where each row has a length of its own; see ../_ragged.py."""
        raise TypeError(f"{type(self).__name__} got an unexpected call argument 'lengths'.")

    def convert_inputs(self, inputs: Any) -> Any:
        """The caller's inputs as the arrays that `run` takes."""
        what = f"the input of layer '{self.name}'"
        if not self.casts_input:
            return as_array(inputs, what)
        listed = isinstance(inputs, (list, tuple)) and self.takes_list()
        dtype: np.dtype[Any] | None = None
        if self.keeps_integers:
            inputs = [as_array(value, what) for value in inputs] if listed else as_array(inputs, what)
            dtype = self.kept_integers(inputs)
        dtype = self.policy.real if dtype is None else dtype
        return [convert(value, dtype, what) for value in inputs] if listed else convert(inputs, dtype, what)

    def takes_list(self) -> bool:
        """Whether the layer's input is a list of tensors, as of the merging layers."""
        return False

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """The call's other arguments, checked and as `run` takes them."""
        return {name: value for name, value in arguments.items() if value is not None and name in self.call_arguments}

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        names = self.call_arguments
        if not names:
            raise TypeError(f"`call` of {type(self).__name__} has to name its arguments: call(self, inputs, ...).")
        if len(args) > len(names):
            raise TypeError(f"{type(self).__name__} takes at most {len(names)} call arguments, got {len(args)}.")
        bound = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name in bound:
                raise TypeError(f"{type(self).__name__} got several values for the argument '{name}'.")
            ignored = name in ("inputs", "training") or (name == "mask" and value is None)
            if name not in names and not ignored and not self.takes_any_name:
                raise TypeError(f"{type(self).__name__} got an unexpected call argument '{name}'.")
            bound[name] = value
        first = names[0] if names[0] in bound else "inputs"
        if first not in bound:
            raise TypeError(f"{type(self).__name__} needs its inputs.")
        inputs = bound.pop(first)
        if inherits_training():
            bound.setdefault("training", True)
        takes = "training" in names or self.is_own()
        if "training" in bound and not (takes and (bound["training"] or self.trains)):
            del bound["training"]
        return inputs, {name: value for name, value in bound.items() if value is not None}

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        self.refuse_strings(inputs)
        shapes = map_tree(_shape_of, inputs)
        self.check_shape(shapes)
        if kwargs.get("training"):
            self.refuse_training()
        self.build(shapes)
        dtype = self.output_dtype(inputs)
        outputs = map_shapes(lambda shape: KerasTensor(shape, dtype), self.compute_output_shape(shapes))
        Node(self, (inputs,), kwargs, outputs)
        return outputs

    def refuse_strings(self, inputs: Any) -> None:
        """Raise where a symbolic input is of strings, and the layer reads none."""
        for leaf in flatten(inputs):
            if isinstance(leaf, KerasTensor) and leaf.dtype == "string" and not self.reads_strings:
                raise NotImplementedError(
                    f"Layer '{self.name}' of class {type(self).__name__} is called on text. Only TextVectorization, "
                    "StringLookup, Hashing and HashedCrossing are, and what they are called on has to be an Input."
                )

    def refuse_training(self) -> None:
        """Raise where the layer cannot do what Keras's does with training=True."""
        drops: Any = getattr(self, "dropout", 0) or getattr(self, "recurrent_dropout", 0)
        if drops and type(self).run_for is Layer.run_for:
            raise NotImplementedError(
                f"Layer '{self.name}' has a dropout, and its class {type(self).__name__} does not say what it does in "
                "a call with training=True: its method `run_for` would."
            )
        for inner in self.sublayers():
            inner.refuse_training()

    def refuse_mask(self, several: bool) -> None:
        """Raise where Keras's layer does more with a mask than this one, which takes none, or none of ``several``."""

    def call_args(self, node: Node) -> list[Any]:
        """The positional arguments of a recorded call, as a config lists them."""
        return list(node.args)

    # -- state --------------------------------------------------------------------------------------------------

    def reset_state(self) -> None:
        """Forget what stateful layers carry from call to call."""
        for layer in self.sublayers():
            layer.reset_state()

    def reset_states(self) -> None:
        """The older name of `reset_state`."""
        self.reset_state()

    # -- streaming ----------------------------------------------------------------------------------------------

    def as_stage(self, run: Run, node: Node, batch_size: int) -> tuple[Any, bool]:
        """What makes a call of the layer on sequences one step at a time; and whether that gives one: ../streaming.py.

        Raises
        ------
        ValueError
            If it needs more than the steps so far.
        """
        inputs = flatten(node.args)
        reason = ""
        if not all(isinstance(leaf, KerasTensor) for leaf in inputs):
            reason = "is called on a constant"
        elif len({len(tensor.shape) for tensor in inputs}) > 1:
            reason = "joins sequences of different rank"
        elif not self.elementwise and len(inputs[0].shape) == 2:
            reason = "takes whole the last axis of its input, which is time"
        elif not self.per_step:
            reason = "is none of those whose output at a step depends on that step alone"
        if reason:
            raise ValueError(f"Layer '{self.name}' (of type {type(self).__name__}) cannot be streamed: it {reason}.")
        return self.one_step(run, node), True

    def one_step(self, run: Run, node: Node) -> Run:
        """``run`` of a `per_step` layer for one step, whose arrays have no time axis."""
        if self.last_axis_only:
            return run

        def step(x: Any) -> Any:
            return run(map_tree(lambda array: array[:, None], x))[:, 0]

        return step

    # -- configs ------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this layer again, as Keras writes them."""
        dtype: Any = self.policy.name
        config: dict[str, Any] = {"name": self.name, "trainable": self.trainable, "dtype": dtype}
        for key in self.config_keys:
            config[key] = serialize(getattr(self, key))
        return config

    def twin_config(self) -> dict[str, Any]:
        """`get_config` for another layer like this one, at once: it may hold objects in place of their configs."""
        made = {key: getattr(self, key) for key in self.config_keys if key.endswith("_initializer")}
        return {**self.get_config(), **made}  # a function among them has no config

    def twin(self) -> Layer:
        """A fresh layer of the same class and config."""
        made = type(self).from_config(self.twin_config())
        keep_age(made, self)
        return made

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A fresh layer from what `get_config` gave."""
        return cls(**config)

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "nodes": [], "_frozen": None, "_noisy": None}
        del state["_known"]
        return state

    def __copy__(self) -> Layer:
        """A layer that shares its weights and the layers inside, and none of what building or a call changes."""
        twin = type(self).__new__(type(self))
        twin.__setstate__(with_own_lists(self.__getstate__()))
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._known = _core.KnownInputs(self.policy.real)
        if self._values is not None:
            self._values = tuple(_read_only(value) for value in self._values)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    # -- connections --------------------------------------------------------------------------------------------

    @property
    def input(self) -> Any:
        """The symbolic input of the layer's first call."""
        return _single(self._first_node("input").args[0])

    @property
    def output(self) -> Any:
        """The symbolic output of the layer's first call."""
        return _single(self._first_node("output").outputs)

    def _first_node(self, what: str) -> Node:
        if not self.nodes:
            raise AttributeError(f"The layer {self.name} has never been called and thus has no defined {what}.")
        return self.nodes[0]


# What layers of files have of them that no config of Keras 3 says.
_OF_FILES = (
    "causal class_in_file counts_masked cuts_integers dropping_rules group_in_file implementation keras_version "
    "of_keras_2 registered_in_file"
).split()


def keep_age(made: Layer, old: Layer) -> None:
    """Tell a layer made from the config of another one, and those inside, what the file said of that."""
    for name in _OF_FILES:
        if name in vars(old):
            setattr(made, name, vars(old)[name])
    for pair in zip(made.sublayers(), old.sublayers(), strict=False):  # some may come when one is built
        keep_age(*pair)


def with_own_lists(state: dict[str, Any]) -> dict[str, Any]:
    """Attributes with copies of their lists and dicts, for a copy of what has them."""
    return {name: value.copy() if type(value) in (list, dict) else value for name, value in state.items()}


def passing(function: Callable[[Array, Array | None], Array]) -> Run:
    """What runs a layer that is one pass of the core, ``function(x, out)``, over an array in C order."""

    def run(x: Array, out: Array | None = None, training: Any = None, mask: Any = None) -> Array:
        if out is None or out.flags.c_contiguous:
            return function(contiguous(x), out)
        put(out, function(contiguous(x), None))
        return out

    run.takes_out = True  # type: ignore[attr-defined]
    return run


def cut(run: Run, real: np.dtype[Any]) -> Run:
    """What runs a layer on integers where Keras computes in floats, of type ``real``, and cuts their fractions off."""

    def on_integers(x: Array, **arguments: Any) -> Array:
        y: Array = run(cast(x, real), **arguments)
        return in_pieces(partial(_truncated, dtype=x.dtype), y)

    return on_integers


def _truncated(x: Array, dtype: np.dtype[Any]) -> Array:
    """Floats as integers; those out of range become as in TensorFlow, the nearest of 8 and 16 bits, or wrap around."""
    if dtype.kind == "b":
        return np.asarray(x != 0)
    if dtype.itemsize < 4:
        x = np.clip(x, np.iinfo(dtype).min, np.iinfo(dtype).max)
    with np.errstate(invalid="ignore"):
        return x.astype(np.int64 if dtype.kind == "u" else dtype).astype(dtype)


def check_targets(targets: list[Any], shapes: list[Shape], dtypes: list[Any], caller: Iterable[Any]) -> None:
    """Raise where results of these shapes and types cannot be put into ``targets``, apart from ``caller``'s arrays."""
    taken = list(caller)
    for target, shape, dtype in zip(targets, shapes, dtypes, strict=True):
        _core.check_out(target, dtype, shape, taken)
        taken.append(target)


def fill(targets: list[Array], outputs: Any) -> Any:
    """Copy results to where the caller wants them; returns them there, in the structure of ``outputs``."""
    for target, array in zip(targets, flatten(outputs), strict=True):
        if array is not target:
            put(target, array)
    remaining = iter(targets)
    return map_tree(lambda _: next(remaining), outputs)


def _as_frozen(count: int | None, run: Run) -> _Frozen:
    return count, run, stage_of(run).run if has_stage(run) else run


def assign(new: list[tuple[Layer, tuple[Array, ...]]], beside: Callable[[], None] | None = None) -> None:
    """Give layers their new weights, all in one event, of which ``beside`` is a part; the packing happens before it."""
    prepared = [
        (layer, values, None if layer.sublayers() or not layer.built else _as_frozen(None, layer.frozen_with(values)))
        for layer, values in new
    ]
    with lock:
        if beside is not None:
            beside()
        for layer, values, frozen in prepared:
            layer._values = values
            layer._frozen = frozen
        changes[0] += 1


def serialize(value: Any) -> Any:
    """An attribute of a layer as Keras writes it into a config."""
    if isinstance(value, activations.Activation):
        return activations.serialize(value)
    if isinstance(value, initializers.Initializer):
        return initializers.serialize(value)
    if isinstance(value, Layer):
        return serialize_layer(value)
    if isinstance(value, (list, tuple)):
        return [serialize(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value


def serialize_layer(layer: Layer) -> dict[str, Any]:
    """A layer's class and config, as a Keras 3 file holds them."""
    entry: dict[str, Any] = {
        "module": layer.saved_module,
        "class_name": layer.saved_class(),
        "config": layer.get_config(),
        "registered_name": None if layer.saved_module else layer.registered_class(),
        **({"build_config": {"input_shape": layer.build_shape}} if is_plain_shape(layer.build_shape) else {}),
    }
    numbered = _numbered.get()
    if numbered is not None and id(layer) not in numbered[1]:
        number, _, first = numbered[0].setdefault(id(layer), (len(numbered[0]), layer, entry))
        if first is not entry:
            first["shared_object_id"] = entry["shared_object_id"] = number
    return entry


# Inside `numbering_shared` the number of each layer, and what `serialize_layer` gave; and which layers have none.
_numbered: ContextVar[tuple[dict[int, tuple[int, Layer, dict[str, Any]]], set[int]] | None] = ContextVar(
    "_numbered", default=None
)


@contextlib.contextmanager
def numbering_shared(but: set[int]) -> Iterator[None]:
    """Let the configs of a layer that stands in several places say that it is one, as in Keras's files."""
    token = _numbered.set(({}, but))
    try:
        yield
    finally:
        _numbered.reset(token)


def deserialize_layer(config: Any) -> Layer:
    """A layer from what `serialize_layer` gave; a layer passes through.

    Raises
    ------
    ValueError
        If no layer of that class is known.
    """
    if isinstance(config, Layer):
        return config
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise ValueError(f"Expected a layer, or the config of one, got {config!r}.")
    from lstmfast.layers import _every  # noqa: F401 (fills REGISTRY)

    cls = REGISTRY.get(config.get("class_name", ""))
    if cls is None or config.get("module", "") is None:  # a user's
        raise ValueError(f"Unknown layer: {config.get('class_name')!r}")
    return cls.from_config(config["config"])


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Layer:
    """A layer from its class and config, as `lstmfast.layers.serialize` and Keras 3 write them.

    Parameters
    ----------
    config : dict
        ``{"class_name": ..., "config": {...}}``.
    custom_objects : dict, optional
        As of `load_model`.

    Raises
    ------
    ValueError, NotImplementedError
        As `load_model`.
    """
    from lstmfast.saving.config import Context, make_layer

    return make_layer(config, Context("config", NEWEST, custom_objects, draws=True))


def is_plain_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(size is None or isinstance(size, int) for size in shape)


def _shape_of(value: Any) -> Shape:
    return tuple(value.shape)


def _read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


def _size(shape: Shape) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size


def _single(values: Any) -> Any:
    return values[0] if isinstance(values, (list, tuple)) and len(values) == 1 else values
