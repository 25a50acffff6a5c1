"""Who calls whom: the edges between layers in the config of a functional model, of each age of Keras.

Next: config.py, for one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Any

from lstmfast._graph import KerasTensor, flatten, of_kind
from lstmfast.layers.base import Layer
from lstmfast.layers.operations import Operation
from lstmfast.models import Functional, first_call
from lstmfast.saving.config import MAX_DEPTH, Context, array_of, is_array

MAX_NODES = 10_000


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
            except NotYet:
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


class NotYet(Exception):
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
            raise NotYet
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
            return of_kind(value, [self.struct(item, depth + 1) for item in value])
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
