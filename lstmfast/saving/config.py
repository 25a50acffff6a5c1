"""Configs of any version of Keras, as this package's layers take them.

Each rule below is a place where versions of Keras differ; what it returns holds the arguments of a layer's constructor.
Next: build.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstmfast import activations, initializers
from lstmfast._arrays import INTEGERS
from lstmfast._graph import snake_case
from lstmfast._keras import Version, as_custom
from lstmfast._model import Model
from lstmfast.layers import _every  # noqa: F401 (fills REGISTRY and OPERATIONS)
from lstmfast.layers.base import REGISTRY, Layer
from lstmfast.layers.lambda_layer import Lambda
from lstmfast.layers.merging import MergeCosine
from lstmfast.layers.normalization import BatchNormalization, LayerNormalization
from lstmfast.layers.operations import OPERATIONS, Operation
from lstmfast.layers.recurrent import CellLayer
from lstmfast.layers.recurrent_dropout import rules_before_keras_3
from lstmfast.models import Sequential

MAX_DEPTH = 64
_MAX_SHARED = 10_000
_MOST_LETTERS = 1000

# Keras 1's names of arguments, None for those without effect; and of classes.
_KERAS_1 = {
    "W_constraint": "kernel_constraint",
    "W_regularizer": "kernel_regularizer",
    "U_regularizer": "recurrent_regularizer",
    "atrous_rate": "dilation_rate",
    "b_constraint": "bias_constraint",
    "b_regularizer": "bias_regularizer",
    "beta_init": "beta_initializer",
    "bias": "use_bias",
    "border_mode": "padding",
    "consume_less": "implementation",
    "dim_ordering": "data_format",
    "dropout_U": "recurrent_dropout",
    "dropout_W": "dropout",
    "filter_length": "kernel_size",
    "forget_bias_init": None,
    "gamma_init": "gamma_initializer",
    "init": "kernel_initializer",
    "inner_activation": "recurrent_activation",
    "inner_init": "recurrent_initializer",
    "input_dtype": None,
    "length": "size",
    "nb_filter": "filters",
    "output_dim": "units",
    "p": "rate",
    "pool_length": "pool_size",
    "sigma": "stddev",
    "stride": "strides",
    "subsample": "strides",
    "subsample_length": "strides",
}
_RENAMED_CLASSES = {
    "AtrousConvolution1D": "Conv1D",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "CuDNNGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "SeparableConvolution1D": "SeparableConv1D",
}
_MERGE_MODES = {
    "ave": "Average",
    "concat": "Concatenate",
    "cos": "Merge (cos)",
    "dot": "Dot",
    "max": "Maximum",
    "mul": "Multiply",
    "sum": "Add",
}
# Arguments that say nothing about results, wherever they appear.
_IGNORED = {
    "batch_dropout",
    "input_spec",
    "module",
    "registered_name",
    "shared_object_id",
}
_SAYING_WHAT = ("module", "class_name", "registered_name", "config")
_ACTIVATION_KEYS = ("activation", "recurrent_activation")
# Layers around others, whose configs they hold.
_AROUND = ("Bidirectional", "RNN", "StackedRNNCells", "TimeDistributed")
# Operations of tf.keras 2 whose tensors are a `*args`, which its configs leave out.
_WITHOUT_OPERANDS = ("einsum", "linalg.einsum")
# What the arrays in a config may hold.
_NUMBERS = frozenset("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split())
_CODE_LAYERS = ("Lambda", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
# What they hold that a layer in their place need not take.
_OF_CODE = frozenset(
    "apply_fn arguments call_fn function function_type init_fn mask mask_type module output_shape output_shape_module "
    "output_shape_type params state variables".split()
)


class Context:
    """What a file says about all its layers.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    version : tuple of int
        The (major, minor) version of the Keras that wrote it.
    custom : dict, optional
        The caller's classes and functions by name.
    draws : bool
        Whether the layers draw their weights, unless others come: there is no file with them.
    """

    def __init__(self, name: str, version: Version, custom: Mapping[str, Any] | None, draws: bool = False) -> None:
        self.name = name
        self.version = version
        self.custom = as_custom(custom)
        self.draws = draws
        self.made = 0  # layers, counted wherever they stand
        # layers that may stand elsewhere too, with how many they hold: by their number in the file, and by their names
        self.shared: dict[int, tuple[Layer, int]] = {}
        self.first: dict[str, tuple[dict[str, Any], tuple[Layer, int]]] = {}

    @property
    def major(self) -> int:
        return self.version[0]

    def key_of(self, entry: dict[str, Any], *others: Any) -> str | None:
        """The name by which the caller supplies what an entry of a config stands for; None where it is not supplied.

        That may be one of ``others``, or else what Keras 3 has registered (``pkg>Name``), or the class with or without
        its package.
        """
        class_name = entry.get("class_name")
        short = class_name.rsplit(">", 1)[-1] if isinstance(class_name, str) else None
        names = (*others, entry.get("registered_name"), class_name, short)
        return next((name for name in names if isinstance(name, str) and name in self.custom), None)


def layer_class(entry: dict[str, Any], layer_name: Any, context: Context) -> type[Layer]:
    """The class that an entry of a file means.

    Raises
    ------
    NotImplementedError
        If it holds code, or is none that lstmfast has.
    """
    class_name = entry["class_name"]
    what = f"'{context.name}': layer '{layer_name}' of class {class_name}"
    key = context.key_of(entry, *([layer_name] if class_name in _CODE_LAYERS else []))
    if key is not None:
        found = context.custom[key]
        if isinstance(found, type) and issubclass(found, Layer):
            return found
        raise NotImplementedError(
            f"{what}: custom_objects has {str(found)[:80]} for {key!r}, which is no subclass of lstmfast.layers.Layer."
        )
    known = REGISTRY.get(class_name)
    if known is not None and not _is_own(entry):
        return known
    if class_name in _CODE_LAYERS:
        function = "a function of arrays, or " if class_name == "Lambda" else ""
        raise NotImplementedError(
            f"{what} holds Python code, which is never run from a file. Rewrite it with layers, or pass "
            f"custom_objects={{{layer_name!r}: {function}a subclass of lstmfast.layers.Layer}}."
        )
    if known is not None:
        raise NotImplementedError(
            f"{what} is not the layer of this name that Keras has. Pass custom_objects={{{class_name!r}: a subclass of "
            "lstmfast.layers.Layer}, or save a model without it."
        )
    raise NotImplementedError(
        f"{what} is not supported. Pass custom_objects={{{class_name!r}: a subclass of lstmfast.layers.Layer}}, or "
        "save a model without it."
    )


def graph_class(entry: dict[str, Any], context: Context) -> type[Model] | None:
    """The caller's class for a model of a file that is made of layers alone; None where there is none."""
    config, key = entry.get("config"), context.key_of(entry)
    if not isinstance(config, dict) or "layers" not in config or key is None:
        return None
    found = context.custom[key]
    if not isinstance(found, type) or not issubclass(found, Model) or found.is_own is not Layer.is_own:
        return None
    return Sequential if found is Model and "input_layers" not in config else found


def _is_own(entry: dict[str, Any]) -> bool:
    """Whether an entry of a config says that its class is none of Keras's; older ones do not."""
    if "module" not in entry:
        return False
    module, registered = entry["module"], entry.get("registered_name")
    keras_s = isinstance(module, str) and module.split(".")[0] in ("keras", "keras_core", "tf_keras", "tensorflow")
    return not keras_s or (isinstance(registered, str) and ">" in registered)


def make_layer(entry: Any, context: Context, depth: int = 0) -> Layer:
    """The layer of one entry ``{"class_name": ..., "config": {...}}`` of a file; one for all that share a number.

    Raises
    ------
    ValueError
        If the entry contradicts itself.
    NotImplementedError
        If the layer, or an argument of it, is not supported.
    """
    # the numbers of older files, which have no modules, begin anew in each model
    number = entry.get("shared_object_id") if isinstance(entry, dict) and "module" in entry else None
    if isinstance(number, int):
        known = context.shared.get(number) or _first_like(entry, context)
        if known is not None:
            layer, count = context.shared[number] = known
            context.made += count
            if context.made > _MAX_SHARED:  # models in models, each of them twice
                raise ValueError(f"'{context.name}' holds layer '{layer.name}' in too many places.")
            return layer
    before = context.made
    layer = _make_layer(entry, context, depth)
    context.made += 1
    made = layer, context.made - before
    if isinstance(number, int):
        context.shared[number] = made
    if "module" in entry:
        context.first.setdefault(layer.name, (entry, made))
    return layer


def _first_like(entry: dict[str, Any], context: Context) -> tuple[Layer, int] | None:
    """The layer that an entry means which has a number alone, for Keras may write none where it first meets a layer."""
    config = entry.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    first, made = context.first.get(name, (None, None)) if isinstance(name, str) else (None, None)
    left: list[tuple[Any, Any]] = [] if first is None else [(first.get(key), entry.get(key)) for key in _SAYING_WHAT]
    while left:
        one, other = left.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            keys = (one.keys() | other.keys()) - {"shared_object_id"}
            if not keys <= one.keys() & other.keys():
                return None
            left.extend((one[key], other[key]) for key in keys)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            left.extend(zip(one, other, strict=True))
        elif one != other:
            return None
    return made


def _make_layer(entry: Any, context: Context, depth: int) -> Layer:
    if depth > MAX_DEPTH:
        raise ValueError(f"'{context.name}' nests layers more than {MAX_DEPTH} deep.")
    if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
        raise ValueError(f"'{context.name}': not the config of a layer: {str(entry)[:200]}")
    class_name, config = entry["class_name"], entry.get("config")
    if class_name in ("Sequential", "Functional", "Model") or graph_class(entry, context):
        from lstmfast.saving.build import make_model

        return make_model(entry, context, depth + 1)
    if not isinstance(config, dict):
        raise ValueError(f"'{context.name}': layer of class {class_name} has no config.")
    name = config.get("name", entry.get("name"))
    if context.key_of(entry) is None:
        if class_name in ("TFOpLambda", "SlicingOpLambda"):
            return _operation_of_tensorflow(config.get("function"), name, context)
        if _is_operation(entry, context):
            options = {key: value for key, value in config.items() if key not in ("name", *_IGNORED)}
            return Operation(class_name, options, entry.get("module"), name=name)
        class_name, config = _renamed(class_name, config, name, context)
    if class_name == "Lambda":
        function = next((context.custom[key] for key in (name, "Lambda") if key in context.custom), None)
        if callable(function) and not isinstance(function, type):
            return _as_lambda(function, config, name, context)
    is_cosine = class_name == _MERGE_MODES["cos"]
    cls = MergeCosine if is_cosine else layer_class({**entry, "class_name": class_name}, name, context)
    called = "" if name is None else f"'{name}' "
    where = f"'{context.name}': layer {called}of class {class_name}"
    try:
        layer = cls.from_config(arguments(class_name, cls, config, context, depth))
        if cls is not REGISTRY.get(class_name) and not is_cosine:
            layer.note_class_in_file({**entry, "class_name": class_name})
        if context.major < 3:
            _mark_as_older(layer)
            layer.group_in_file = snake_case(entry["class_name"]) if layer.class_in_file is None else None
            if isinstance(layer, CellLayer):
                layer.dropping_rules = rules_before_keras_3(class_name, config, context.version)
            elif isinstance(layer, BatchNormalization):
                layer.counts_masked = context.version < (2, 12)
        if isinstance(layer, LayerNormalization):
            layer.cuts_integers = context.version >= (3, 11)
        return layer
    except (TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{where} cannot be made from its config: {_in_short(error)}") from error
    except (ValueError, NotImplementedError) as error:
        if str(error).startswith(f"'{context.name}'"):  # of a layer inside this one
            raise
        kind = NotImplementedError if isinstance(error, NotImplementedError) else ValueError
        raise kind(f"{where}: {_in_short(error)}") from error


def _in_short(error: Exception) -> str:
    """What an error says, without the middle of a value of the file that is long."""
    text = str(error)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS // 2]} ... {text[-_MOST_LETTERS // 2 :]}"


def _as_lambda(function: Callable[..., Any], config: dict[str, Any], name: Any, context: Context) -> Layer:
    """A Lambda of a file with a function of the caller's in the place of its own."""
    given = config.get("arguments")
    if config.get("mask") is not None:
        raise NotImplementedError(
            f"'{context.name}': layer '{name}' of class Lambda makes a mask by Python code. Pass custom_objects="
            f"{{{name!r}: a subclass of lstmfast.layers.Layer}}, with a method compute_mask."
        )
    kept = {
        key: config[key] for key in ("name", "trainable", "dtype", "batch_input_shape") if config.get(key) is not None
    }
    return Lambda(function, arguments=given if isinstance(given, dict) else None, **kept)


def _mark_as_older(layer: Layer) -> None:
    """Tell a layer and those inside it that no Keras 3 wrote them."""
    for each in layer.all_layers():
        each.of_keras_2 = True


def _operation_of_tensorflow(function: Any, name: Any, context: Context) -> Operation:
    """An operation of TensorFlow in a model of tf.keras."""
    if function in _WITHOUT_OPERANDS:
        raise NotImplementedError(
            f"'{context.name}': tf.keras does not save what the operation tf.{function} ('{name}') is called on. "
            "Call tf.matmul, tf.tensordot or a Dot layer in its place."
        )
    if not isinstance(function, str) or function not in OPERATIONS:
        raise NotImplementedError(
            f"'{context.name}': the operation tf.{function} ('{name}') is not supported. Save a model without it."
        )
    return Operation(function, {}, name=name)


def _renamed(class_name: str, config: dict[str, Any], name: Any, context: Context) -> tuple[str, dict[str, Any]]:
    """The class and the config of a layer of older Keras, as Keras 3 has them."""
    if class_name == "Merge":
        return _from_merge(config, name, context)
    if class_name == "TimeDistributedDense":
        inner = {key: value for key, value in config.items() if key not in ("batch_input_shape", "input_dtype", "name")}
        inner = {"class_name": "Dense", "config": {**inner, "name": f"{name}_dense"}}
        config = {"name": name, "layer": inner, "batch_input_shape": config.get("batch_input_shape")}
        return "TimeDistributed", {key: value for key, value in config.items() if value is not None}
    if class_name == "CuDNNGRU":
        config = {**config, "reset_after": True}
    return _RENAMED_CLASSES.get(class_name, class_name), config


def _from_merge(config: dict[str, Any], name: Any, context: Context) -> tuple[str, dict[str, Any]]:
    """Keras 1's Merge layer as the class and the config of a layer for its mode alone."""
    mode = config.get("mode")
    what = f"'{context.name}': layer '{name}' of class Merge"
    advice = "Pass custom_objects={'Merge': a subclass of lstmfast.layers.Layer}, or save a model without it."
    if not isinstance(mode, str) or config.get("mode_type", "raw") != "raw":
        raise NotImplementedError(f"{what} holds Python code as its mode, which is never run from a file. {advice}")
    if mode not in _MERGE_MODES:
        raise NotImplementedError(f"{what} with the mode {mode!r} is not supported. {advice}")
    options = {}
    if mode == "concat":
        options = {"axis": config.get("concat_axis", -1)}
    elif mode in ("cos", "dot"):
        options = {"axes": config.get("dot_axes", -1)}
    return _MERGE_MODES[mode], {"name": name, **options}


def _is_operation(entry: dict[str, Any], context: Context) -> bool:
    """Whether an entry is an operation of Keras 3, which may share its class name with a layer."""
    class_name, module = entry["class_name"], entry.get("module")
    if isinstance(module, str):
        if ".ops." in module and class_name not in OPERATIONS:
            raise NotImplementedError(
                f"'{context.name}': the operation {class_name} ('{entry.get('name')}') is not supported. Save a model "
                "without it."
            )
        return ".ops." in module
    return context.major >= 3 and class_name in OPERATIONS and "trainable" not in entry["config"]


def arguments(
    class_name: str, cls: type[Layer], config: dict[str, Any], context: Context, depth: int
) -> dict[str, Any]:
    """A layer's config as the arguments of its constructor."""
    config = {key: value for key, value in config.items() if key not in _IGNORED}
    if class_name in _CODE_LAYERS:
        config = {key: value for key, value in config.items() if key not in _OF_CODE or key in _accepted(cls)}
    if context.major < 2:
        config = _from_keras_1(class_name, config)
    if class_name == "Embedding" and str(config.get("dtype")) in INTEGERS:
        config.pop("dtype")  # of the input, in Keras 2.0
    if context.major < 3 and class_name in ("Hashing", "IntegerLookup"):
        # the older say another one, without effect
        is_int, dtype = config.get("output_mode", "int") == "int", str(config.get("dtype"))
        if is_int != dtype.startswith("int"):
            config.pop("dtype", None)
    if class_name == "GRU" and context.major < 3:
        config.setdefault("reset_after", False)
    if class_name in _AROUND or issubclass(cls, tuple(REGISTRY[name] for name in _AROUND)):
        if isinstance(config.get("cells"), list):
            config["cells"] = [make_layer(cell, context, depth + 1) for cell in config["cells"]]
        for key in ("layer", "backward_layer", "cell"):
            if config.get(key) is not None:
                config[key] = make_layer(config[key], context, depth + 1)
        config.pop("weights", None)
    for key in _ACTIVATION_KEYS:
        if key in config:
            config[key] = activation(config[key], context)
    for key in list(config):
        if key.endswith("_initializer"):
            config[key] = initializer(config[key], f"{key} of layer '{config.get('name')}'", context)
    accepted = _accepted(cls)
    for key in list(config):
        if key not in accepted:
            value = config.pop(key)
            if value not in (None, False, 0, 0.0, "", "auto") and value != [] and value != {}:
                advice = "" if cls.saved_module else "let its class here take it, or "
                raise NotImplementedError(
                    f"the argument {key}={str(value)[:80]} is not supported: {advice}save a model without it"
                )
    if cls.call is Layer.call:  # not for a class of the user's, which reads what it wrote itself
        config = {key: array_of(value) if is_array(value) else value for key, value in config.items()}
    return config


def is_array(value: Any) -> bool:
    """Whether a value of a Keras 3 config stands for an array or a tensor."""
    is_of = isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__")
    return is_of and isinstance(value.get("config"), dict)


def array_of(value: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The array that a value of a config stands for.

    Raises
    ------
    ValueError
        If it is none of numbers.
    """
    dtype = str(value["config"].get("dtype", "float32"))
    if dtype not in _NUMBERS:
        raise ValueError(f"an array of {dtype[:40]!r} holds no numbers")
    try:
        return np.asarray(value["config"].get("value"), dtype)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"not an array of {dtype}: {error}") from None


def _from_keras_1(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col")]
    if config.get("dim_ordering") is not None:
        config["dim_ordering"] = {"tf": "channels_last", "th": "channels_first"}.get(config["dim_ordering"])
    if config.pop("mode", 0) not in (0, None):
        raise NotImplementedError("a BatchNormalization with a mode other than 0 is not supported")
    if class_name == "Embedding":
        config["embeddings_initializer"] = config.pop("init", "uniform")
        config.pop("dropout", None)
    if "consume_less" in config:  # "cpu" and "mem" have a mask for each gate, as 0 and 1 of Keras 2
        config["consume_less"] = 2 if config["consume_less"] == "gpu" else 1
    renamed = {_KERAS_1.get(key, key): value for key, value in config.items()}
    if class_name == "Embedding":
        renamed["output_dim"] = renamed.pop("units")
    return {key: value for key, value in renamed.items() if key is not None}


def _accepted(cls: type[Layer]) -> set[str]:
    """The names that a class's constructor takes, those of its bases and those for a first layer's shape included."""
    names = {"batch_input_shape", "input_shape", "input_dim", "input_length", "batch_size", *cls.inert_arguments}
    for base in cls.__mro__:
        if issubclass(base, Layer):
            names.update(getattr(base, "keyword_arguments", ()))
            names.update(inspect.signature(base.__init__).parameters)
    return names - {"self", "kwargs", "arguments"}


def activation(identifier: Any, context: Context) -> Any:
    """What a file calls an activation, by this package's identifiers.

    Raises
    ------
    NotImplementedError
        If it is none of Keras's and none that the caller supplies.
    """
    if isinstance(identifier, dict):
        class_name, inner = identifier.get("class_name"), identifier.get("config")
        registered = identifier.get("registered_name")
        if isinstance(registered, str) and ">" in registered:
            identifier = registered
        elif class_name == "function" and isinstance(inner, str):
            identifier = inner
        elif class_name == "Activation" and isinstance(inner, dict):
            return activation(inner.get("activation"), context)
        elif isinstance(inner, str) and class_name is None:
            identifier = inner
        elif "value" in identifier or class_name == "__lambda__":
            raise NotImplementedError(
                "an activation is a lambda: Python code, which is never run from a file. Give the model a function "
                "with a name, and pass custom_objects={name: a function of arrays}"
            )
    name = identifier if isinstance(identifier, str) else None
    package, _, short = (name or "").rpartition(">")
    for known in () if name is None else (name, short):
        if known in context.custom and not isinstance(context.custom[known], type):
            return context.custom[known]
    try:
        if package not in ("", "keras"):  # registered by a user: none of Keras's, whatever its name
            raise ValueError
        if short == "hard_sigmoid" and context.major < 3:
            return "hard_sigmoid_keras2"
        return activations.get(short or identifier)
    except (ValueError, TypeError):
        raise NotImplementedError(
            f"the activation {str(identifier)[:80]} is not known. Pass custom_objects={{name: a function of arrays}}."
        ) from None


def initializer(identifier: Any, what: str, context: Context) -> Any:
    """An initializer of a config, ``what`` in messages. An unknown one gives zeros in the place of a file's weights.

    Where there is no file it raises NotImplementedError when weights are drawn, for others may come before.
    """
    entry = identifier if isinstance(identifier, dict) else {"class_name": identifier}
    known = _known_initializer(identifier, entry)
    is_keras_s = known is not None and "module" in entry  # older ones do not say it
    supplied = None if is_keras_s else _supplied_initializer(entry, context)
    if supplied is not None:
        return supplied
    if known is not None or identifier is None:
        return known
    if not context.draws:
        return "zeros"
    name = entry.get("class_name")
    return _Unknown(
        f"'{context.name}': the {what}, {name}, is not known, and the layer has no weights. Give it some first "
        f"(load_weights, set_weights), or pass custom_objects={{{name!r}: a function of a shape and a dtype}}."
    )


def _known_initializer(identifier: Any, entry: dict[str, Any]) -> Any:
    """An initializer of Keras's; None for one of a user's, whatever its name."""
    try:
        return None if _is_own(entry) else initializers.get(identifier)
    except (ValueError, TypeError):
        return None


def _supplied_initializer(entry: dict[str, Any], context: Context) -> Any:
    """An initializer of the caller's; None where there is none, or a layer of that name."""
    key = context.key_of(entry)
    supplied: Any = None if key is None else context.custom[key]
    if not isinstance(supplied, type):
        return supplied
    if issubclass(supplied, Layer):
        return None
    config = entry.get("config")
    made: Any = supplied(**config if isinstance(config, dict) else {})
    return made.__call__  # a function, for what made it may be named like one of Keras's


class _Unknown:
    """In the place of an initializer: it raises where weights are drawn."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        raise NotImplementedError(self.message)
