"""`models.clone_model`: a model like another one, of layers of its own.

Next: models.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lstmfast._graph import KerasTensor, Node, flatten, map_tree
from lstmfast._keras import NEWEST
from lstmfast._model import Model, is_of_graph
from lstmfast.layers.base import Layer
from lstmfast.layers.core import Input, InputLayer
from lstmfast.layers.operations import Operation
from lstmfast.models import Functional, Sequential, alone, same_branches

_Clone = Callable[[Layer], Layer]


def clone_model(
    model: Model,
    input_tensors: Any = None,
    clone_function: _Clone | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
    **kwargs: Any,
) -> Model:
    """A model like another one, with layers of its own, whose weights are drawn anew.

    Parameters
    ----------
    model : Model
        Sequential or functional; of a class with a ``call`` of its own, it has to have a ``get_config`` that its
        constructor takes.
    input_tensors : KerasTensor, or a structure of them as the model's inputs, optional
        What the clone begins with, in place of inputs like those of the model.
    clone_function : callable, optional
        Gives for each layer but the inputs the one that takes its place; another of the same config where it is not
        given. Operations between layers, which have no weights, take no part.
    call_function : callable, optional
        ``call_function(layer, *args, **kwargs)`` calls the layers of a functional model in place of ``layer(...)``.
    recursive : bool
        Whether the layers of models inside are given to ``clone_function`` one by one, and not these models.

    Returns
    -------
    Model
        `Model.set_weights` gives it those of the other: ``clone.set_weights(model.get_weights())``.

    Raises
    ------
    ValueError
        If an argument does not go with a model of this kind, or ``input_tensors`` are not as the model's inputs.

    Examples
    --------
    >>> from lstmfast import Input, Sequential, layers
    >>> from lstmfast.models import clone_model
    >>> model = Sequential([Input((40, 1)), layers.LSTM(10), layers.Dense(1)])
    >>> def widen(layer):
    ...     return layers.LSTM(20) if isinstance(layer, layers.LSTM) else layer.from_config(layer.get_config())
    >>> clone_model(model, clone_function=widen).count_params()
    1781
    """
    cache = kwargs.pop("cache", None)
    if kwargs:
        raise ValueError(f"Unexpected keyword argument(s): {tuple(kwargs)}")
    if not isinstance(model, Model):
        raise ValueError(f"Expected `model` to be a model of lstmfast. Received: {model} (of type {type(model)})")
    if not isinstance(model, Functional):
        return _of_class(model, {"clone_function": clone_function, "input_tensors": input_tensors}, call_function)
    if not callable(clone_function or _twin):
        raise ValueError(
            f"Expected `clone_function` argument to be a callable. Received: clone_function={clone_function}"
        )
    clone = _once(clone_function or _twin, call_function, recursive, {} if cache is None else cache)
    if not isinstance(model, Sequential):
        return _of_graph(model, clone, input_tensors, call_function)
    if call_function is not None:
        raise ValueError(
            "`call_function` argument is not supported with Sequential models: use it with functional models only. "
            f"Received model of type '{type(model).__name__}', with call_function={call_function}"
        )
    return _of_chain(model, clone, input_tensors)


def _twin(layer: Layer) -> Layer:
    return layer.twin()


def _once(function: _Clone, call_function: Any, recursive: bool, cache: dict[int, Layer]) -> _Clone:
    """What clones each layer once, and with ``recursive`` models layer by layer."""

    def clone(layer: Layer) -> Layer:
        if id(layer) not in cache:
            if recursive and isinstance(layer, Functional):
                call = None if isinstance(layer, Sequential) else call_function
                cache[id(layer)] = clone_model(layer, None, function, call, recursive=True, cache=cache)
            else:
                cache[id(layer)] = function(layer)
        return cache[id(layer)]

    return clone


def _of_class(model: Model, of_graphs: dict[str, Any], call_function: Any) -> Model:
    """A clone of a model with a ``call`` of its own."""
    if call_function is not None:
        of_graphs = {"call_function": call_function}
    if any(of_graphs.values()):
        raise ValueError(
            f"The arguments {' and '.join(of_graphs)} go with Sequential and functional models only. Received model of "
            f"type '{type(model).__name__}'."
        )
    made: Any = model.twin()
    if model.built and model.build_shape is not None:
        made.build(model.build_shape)
    return made  # type: ignore[no-any-return]


def _of_chain(model: Sequential, clone: _Clone, input_tensors: Any) -> Sequential:
    layers: list[Any] = [clone(layer) for layer in model.layers]
    first = model._layers[0] if model._layers else None
    if input_tensors is not None:
        layers.insert(0, _only_tensor(input_tensors))
    elif isinstance(first, InputLayer):
        layers.insert(0, Input(batch_shape=first.batch_shape, dtype=first.input_dtype, name=first.name))
    return Sequential(layers, trainable=model.trainable, name=model.name, keras_version=model.keras_version)


def _only_tensor(input_tensors: Any) -> KerasTensor:
    """What a chain begins with.

    Raises
    ------
    ValueError
        If it is not one tensor.
    """
    if isinstance(input_tensors, (list, tuple)) and len(input_tensors) != 1:
        raise ValueError("Argument `input_tensors` must contain a single tensor.")
    tensor = alone(input_tensors)
    if not isinstance(tensor, KerasTensor):
        raise ValueError(
            f"Argument `input_tensors` must be a KerasTensor. Received invalid value: input_tensors={input_tensors}"
        )
    return tensor


def _of_graph(model: Functional, clone: _Clone, input_tensors: Any, call_function: Any) -> Model:
    if input_tensors is None:
        input_tensors = map_tree(_input_like, model.input)
    elif not all(isinstance(leaf, KerasTensor) for leaf in flatten(input_tensors)):
        raise ValueError(
            f"All entries in `input_tensors` must be KerasTensors. Received invalid values: {input_tensors}"
        )
    elif not same_branches(alone(input_tensors), model.input):
        raise ValueError(
            f"`input_tensors` must have the same structure as model.input\nReference structure: {model.input}\n"
            f"Received structure: {input_tensors}"
        )
    made = dict(zip(map(id, model.inputs), flatten(input_tensors), strict=True))
    for node in model._graph_nodes:
        outputs = flatten(_called(node, clone, made, call_function))
        made.update(zip(map(id, node.outputs), outputs, strict=True))
    kind: Any = type(model) if is_of_graph(type(model), {"input_layers": None}) else Functional
    rules = {} if model.keras_version == NEWEST else {"keras_version": model.keras_version}
    result: Model = kind(input_tensors, map_tree(lambda leaf: made[id(leaf)], model.output), name=model.name, **rules)
    result.class_in_file, result.registered_in_file = model.class_in_file, model.registered_in_file
    return result


def _input_like(tensor: KerasTensor) -> KerasTensor:
    name = tensor.history[0].name if tensor.history else tensor.name
    made: KerasTensor = Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
    return made


def _called(node: Node, clone: _Clone, made: dict[int, KerasTensor], call_function: Any) -> Any:
    """The symbolic outputs of a call of a layer's clone, on tensors that stand for those of the call."""

    def moved(leaf: Any) -> Any:
        return made[id(leaf)] if isinstance(leaf, KerasTensor) else leaf

    inputs, arguments = map_tree(moved, node.args[0]), {key: map_tree(moved, node.kwargs[key]) for key in node.kwargs}
    if isinstance(node.layer, Operation):
        return node.layer._record(inputs, arguments)
    layer = clone(node.layer)
    return layer(inputs, **arguments) if call_function is None else call_function(layer, inputs, **arguments)


__all__ = ["clone_model"]
