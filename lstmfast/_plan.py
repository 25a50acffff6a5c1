"""A model's graph as a list of operations, ready to run: made once, immutable, so that a call is one moment's weights.

A plan holds no weights that a later `set_weights` could change: it holds what `Layer.frozen` gave.
Next: layers/base.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from lstmfast import _core
from lstmfast._arrays import BOOL, STRING, as_array, as_strings, convert, numpy_dtype, real_of
from lstmfast._graph import KerasTensor, Node, Shape, depths, flat_shapes, flatten, map_tree
from lstmfast._pieces import cast, copied
from lstmfast._stack import stacked, stage_of
from lstmfast.layers.core import identity
from lstmfast.layers.transactions import give_back, keeping_states

Array = np.ndarray[Any, Any]
Masks = list[Any]

_MOST_SHAPES = 64
_SAME = object()
_LARGE_BYTES = 64 << 10  # between two layers: from there on it pays to look after their memory


class Port:
    """One input of a model: what it expects, and how an array becomes that."""

    __slots__ = ("batch", "dtype", "name", "ndim", "shape")

    def __init__(self, tensor: KerasTensor, any_steps: bool) -> None:
        layer = tensor.history[0] if tensor.history else None
        self.name = layer.name if layer is not None else tensor.name
        self.dtype = real_of(tensor.dtype)
        self.batch = tensor.shape[0] if tensor.shape else None
        self.shape: Shape = tuple(tensor.shape[1:])
        if any_steps:
            self.shape = (None, *self.shape[1:])
        self.ndim = len(tensor.shape)

    def adjust(self, array: Array, position: int, model: str) -> Array:
        """``array`` with the expected rank: as in Keras, a last axis of size 1 may be left out or added.

        Raises
        ------
        ValueError
            If its shape is not what the model was built for.
        """
        what = f"Input {position} with name '{self.name}' of layer '{model}' is incompatible with the layer: "
        given = array.shape
        if array.ndim == self.ndim + 1 and given[-1] == 1:
            array = array[..., 0]
        elif array.ndim == self.ndim - 1 and array.ndim and self.shape[-1] == 1:
            array = array[..., None]
        if array.ndim != self.ndim:
            raise ValueError(
                f"{what}expected ndim={self.ndim}, found ndim={len(given)}. Full shape received: {given}. "
                f"The model takes {(None, *self.shape)}{self._hint(given)}"
            )
        for expected, size in zip(self.shape, array.shape[1:], strict=True):
            if expected is not None and expected != size:
                shapes = f"expected shape={(None, *self.shape)}, found shape={given}"
                raise ValueError(f"{what}{shapes}{self._hint(given)}")
        return array

    def _hint(self, given: Shape) -> str:
        """What to do where an array is one sample, without a batch axis."""
        is_sample = len(given) == len(self.shape) and all(
            expected in (None, size) for expected, size in zip(self.shape, given, strict=True)
        )
        return ": one sample x is passed as x[None]" if is_sample else ""

    def read(self, value: Any, what: str) -> Array:
        """A caller's value as an array of what the model takes: numbers, or strings.

        Raises
        ------
        TypeError
            If it holds something else.
        """
        return as_strings(value, what) if self.dtype is STRING else as_array(value, what)

    def prepare(self, array: Array) -> Array:
        return array if self.dtype is STRING else convert(array, self.dtype)


class Operation:
    """One node of the graph: which values it takes, what it runs, where its outputs go."""

    __slots__ = (
        "argument_places",
        "arguments",
        "auto_mask",
        "call",
        "carrying",
        "cast",
        "compute_mask",
        "finds_mask",
        "gives_one",
        "hands_masks",
        "inputs",
        "layer",
        "masked",
        "outputs",
        "places",
        "plain",
        "release",
        "run",
        "single",
        "stops_mask",
        "supports_mask",
        "unmasked",
        "uses_mask",
    )

    def __init__(self, node: Node, slots: dict[int, int], training: bool | None = None) -> None:
        def place(leaf: Any) -> Any:
            return Slot(slots[id(leaf)]) if isinstance(leaf, KerasTensor) else leaf

        self.layer = node.layer
        self.run: Callable[..., Any] = node.layer.run_for(
            node.kwargs if training is None else {**node.kwargs, "training": training}
        )
        if node.layer.casts_input and node.layer.kept_integers(node.args[0]) is not None:
            self.run = node.layer.on_integers(self.run)
        self.call = self.run  # `run`, or what a plan knows to be the same and faster
        self.carrying: Any = getattr(self.run, "with_masks", None)
        self.hands_masks: Any = getattr(self.run, "hands_masks", None)
        self.inputs = map_tree(place, node.args[0])
        self.single: int | None = self.inputs.index if isinstance(self.inputs, Slot) else None
        # the places of several inputs, where these are a list
        self.places: list[int] | None = None
        if type(self.inputs) is list and all(type(leaf) is Slot for leaf in self.inputs):
            self.places = [leaf.index for leaf in self.inputs]
        self.plain = False  # takes one array, and gives one, with nothing beside it
        self.arguments = {
            name: map_tree(place, value)
            for name, value in node.kwargs.items()
            if name != "training" or training is None
        }
        # where these are values alone, and lists of them: their places
        self.argument_places = _places_of(self.arguments)
        self.outputs = [slots[id(tensor)] for tensor in node.outputs]
        self.gives_one = node.gives_one
        self.release: list[int] = []
        self.cast: np.dtype[Any] | None = None
        self.finds_mask = False  # is run with the mask of its inputs, if there is one
        self.auto_mask = self.masked = self.stops_mask = False
        self.unmasked: frozenset[int] = frozenset()  # the places whose masks another operation has taken away
        self.uses_mask: bool = node.layer.uses_mask
        self.supports_mask: bool = node.layer.supports_masking
        self.compute_mask: Callable[[Any, Any], Any] = node.layer.compute_mask

    def hands_on(self, incoming: bool) -> bool:
        """Whether masks are made of its outputs, where its input has one or has none."""
        if self.carrying is not None or (incoming and self.hands_masks is not None):
            return True
        return not self.stops_mask and (self.layer.makes_mask or (incoming and self.supports_mask))

    def masked_outputs(self, incoming: bool) -> list[int]:
        """The places of the outputs that may then have a mask."""
        if not self.hands_on(incoming):
            return []
        kept = self.layer.masked_outputs(len(self.outputs), incoming)
        return [slot for slot, may in zip(self.outputs, kept, strict=True) if may]

    def of_inputs(self, values: list[Any], other: Any = _SAME) -> Any:
        """What stands in the places of its inputs; a constant among these stays, or gives way to ``other``."""
        if self.single is not None:
            return values[self.single]
        if self.places is not None:
            return [values[place] for place in self.places]
        return _filled(self.inputs, values, other)

    def outcome(self, x: Any, incoming: Any, arguments: dict[str, Any], carrying: Any, masked: bool) -> tuple[Any, Any]:
        """The layer's outputs and, with ``masked``, their masks: ``carrying`` gives both, else `compute_mask` these."""
        if carrying is not None:
            return carrying(x, **arguments)  # type: ignore[no-any-return]
        y = self.call(x, **arguments)
        return y, self.compute_mask(x, incoming) if masked else None


class Slot:
    """Stands for a value in an operation's arguments."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


class Masked:
    """Operations one behind the other, between which a mask travels, as one function of a chain."""

    __slots__ = ("_operations", "takes_out")

    def __init__(self, operations: list[Operation]) -> None:
        self._operations = operations
        self.takes_out = operations[-1].carrying is None and bool(getattr(operations[-1].run, "takes_out", False))

    def __call__(self, x: Any, out: Array | None = None) -> Array:
        mask = None
        for operation in self._operations:
            arguments: dict[str, Any] = {"mask": mask} if operation.auto_mask and mask is not None else {}
            if out is not None and operation is self._operations[-1]:
                arguments["out"] = out
            x, mask = operation.outcome(x, mask, arguments, operation.carrying, operation.masked)
            if type(x) is not np.ndarray:
                x = flatten(x)[0]
            if type(mask) is list:
                mask = mask[0]
        return x  # type: ignore[no-any-return]


class Plan:
    """A model, frozen.

    Parameters
    ----------
    inputs, outputs : list of KerasTensor
        The model's.
    nodes : list of Node
        From the former to the latter, in an order in which they can run.
    rules : MaskRules
        How masks travel.
    any_steps : bool
        Whether the number of steps of the inputs is not to be held to what the model was built with.
    training : bool, optional
        What all layers are called with, whatever the graph calls them with.
    masked_inputs : bool
        Whether the inputs are known to have masks; without, a call finds out.
    """

    def __init__(
        self,
        inputs: list[KerasTensor],
        outputs: list[KerasTensor],
        nodes: list[Node],
        rules: MaskRules,
        any_steps: bool = False,
        training: bool | None = None,
        masked_inputs: bool = False,
    ) -> None:
        self.ports = [Port(tensor, any_steps) for tensor in inputs]
        self.dtype = self.ports[0].dtype
        # what the inputs were before, and how many such rows are run at once
        self.known = [_core.KnownInputs(port.dtype) for port in self.ports]
        self.input_tensors = inputs
        self.nodes = nodes
        slots: dict[int, int] = {}
        for tensor in [*inputs, *(output for node in nodes for output in node.outputs)]:
            slots.setdefault(id(tensor), len(slots))
        self.slots = slots
        self.size = len(slots)
        self.input_slots = [slots[id(tensor)] for tensor in inputs]
        self.output_slots = [slots[id(tensor)] for tensor in outputs]
        self.operations = [Operation(node, slots, training) for node in nodes]
        self.keepers: list[Any] = list(
            {id(layer): layer for node in nodes for layer in keepers_in(node.layer)}.values()
        )
        self.stateful = bool(self.keepers)
        self._plan_masks(rules, masked_inputs)
        self._plan_casts(nodes)
        self._plan_lookups()
        self._plan_release()
        for operation in self.operations:
            alone = operation.single is not None and len(operation.outputs) == 1 and not operation.arguments
            operation.plain = alone and operation.cast is None and not operation.masked and not operation.auto_mask
        self.owned = self._owned(nodes, outputs)
        self.results = [
            None if numpy_dtype(tensor.dtype) is real_of(tensor.dtype) else numpy_dtype(tensor.dtype)
            for tensor in outputs
        ]
        self.output_dtypes = [
            real_of(tensor.dtype) if result is None else result
            for tensor, result in zip(outputs, self.results, strict=True)
        ]
        self.gives_outputs = all(self.owned) and self.results == [None] * len(outputs)  # `run`, as the caller gets them
        # a layer whose rows depend on those that are run with them
        self.by_batch: Any = next((node.layer for node in nodes if node.layer.mixes_batch_of(node, training)), None)
        self.by_rows = not self.stateful and self.by_batch is None and all(_is_by_rows(node.layer) for node in nodes)
        self.masks_travel = any(operation.masked or operation.auto_mask for operation in self.operations)
        self.chain: tuple[Callable[..., Array], ...] | None = self._as_chain()
        self._stages = [stage_of(run) for run in self.chain or ()]
        # whether the chain's last function can put its result where it is told
        self.takes_out = bool(self.chain) and bool(getattr(self.chain[-1], "takes_out", False))  # type: ignore[index]
        # shapes of the inputs, and of the outputs that go with them; and what `row_bytes` found for them
        self.known_outputs: dict[tuple[Shape, ...], list[Shape]] = {}
        self._known_bytes: dict[tuple[Shape, ...], int] = {}
        self.most_bytes = 0  # of them
        self._chain_known()

    # -- planning -----------------------------------------------------------------------------------------------

    def _plan_masks(self, rules: MaskRules, masked_inputs: bool) -> None:
        live = set(self.input_slots if masked_inputs else ())  # what has a mask
        possible = set(self.input_slots)  # what has one where all inputs have
        for operation in self.operations:
            layer = operation.layer
            first = [leaf.index for leaf in flatten(operation.inputs) if isinstance(leaf, Slot)]
            explicit = operation.arguments.get("mask") is not None
            incoming = explicit or any(index in live for index in first)
            other = any(isinstance(leaf, Slot) for leaf in flatten(operation.arguments))
            if incoming and operation.carrying is None:  # what becomes of it is for the layers inside to say
                operation.carrying = operation.hands_masks
            operation.uses_mask = layer.uses_mask or (layer.uses_mask_since_34 and rules.merges == "or")
            operation.compute_mask = layer.mask_function(rules.merges)
            operation.supports_mask = layer.supports_masking and not (rules.is_keras_2 and layer.stops_mask_before_3)
            operation.finds_mask = (
                operation.uses_mask
                and not explicit
                and (rules.mask_beside_state or layer.masks_each_argument or not other)
            )
            operation.auto_mask = operation.finds_mask and incoming
            elsewhere = any(leaf.index in live for leaf in flatten(operation.arguments) if isinstance(leaf, Slot))
            if elsewhere or (incoming and not explicit and not operation.uses_mask):
                layer.refuse_mask(elsewhere)
            operation.stops_mask = rules.recurrent_stops and layer.stops_mask_since_316
            operation.masked = operation.hands_on(incoming)
            live.update(operation.masked_outputs(incoming))
            possible.update(operation.masked_outputs(explicit or any(index in possible for index in first)))
        # for each output whether it may have a mask, where no input has one and where inputs have
        self.masked_outputs = {
            incoming: [slot in masked for slot in self.output_slots]
            for incoming, masked in ((False, live), (True, possible))
        }
        if not rules.is_keras_2:
            self._plan_removals()

    def _plan_removals(self) -> None:
        """Keep masks from what runs after a layer that takes them away from its inputs, as Keras 3's attention does.

        That is so for masks that a nested model hands on, which Keras finds in the call: others it put in the graph.
        """
        removers = [operation for operation in self.operations if operation.layer.removes_masks and operation.masked]
        if not removers:
            return
        handed: set[int] = set()
        same: dict[int, int] = {}  # the place of the tensor that an operation hands on as it is
        for operation in self.operations:
            places = [leaf.index for leaf in flatten(operation.inputs) if isinstance(leaf, Slot)]
            if operation.carrying is not None or any(place in handed for place in places):
                handed.update(operation.outputs)
            if operation.run is identity and len(places) == 1:
                same[operation.outputs[0]] = same.get(places[0], places[0])
        node_depths, _ = depths(self.nodes)
        order = sorted(node_depths, key=lambda node: -node_depths[node])
        turns = {node: turn for turn, node in enumerate(order)}
        for remover, node in zip(self.operations, self.nodes, strict=True):
            if remover not in removers:
                continue
            leaves = flatten([remover.inputs, remover.arguments])
            taken = {same.get(leaf.index, leaf.index) for leaf in leaves if isinstance(leaf, Slot)} & handed
            unmasked = frozenset(place for place in range(self.size) if same.get(place, place) in taken)
            for later, its_node in zip(self.operations, self.nodes, strict=True):
                if turns[id(its_node)] > turns[id(node)]:
                    later.unmasked |= unmasked

    def _plan_casts(self, nodes: list[Node]) -> None:
        for node, operation in zip(nodes, self.operations, strict=True):
            if not operation.layer.casts_input:
                continue
            real = operation.layer.policy.real
            sources = [leaf for leaf in flatten(node.args[0]) if isinstance(leaf, KerasTensor)]
            constants = any(not isinstance(leaf, KerasTensor) for leaf in flatten(node.args[0]))
            if operation.layer.kept_integers(node.args[0]) is not None:
                continue
            if constants or any(real_of(tensor.dtype) != real for tensor in sources):
                operation.cast = real

    def _plan_lookups(self) -> None:
        """An Embedding that only recurrent layers read hands them the ids: see _lookup.py."""
        for operation in self.operations:
            look_up = getattr(operation.run, "look_up", None)
            if look_up is not None and self._takes_lookups(operation.outputs[0]):
                operation.call = look_up

    def _takes_lookups(self, slot: int) -> bool:
        """Whether a lookup may stand in a place: all who read it take one, or hand it on as it is, as Dropout does."""
        if slot in self.output_slots:
            return False
        users = [
            user
            for user in self.operations
            if any(type(leaf) is Slot and leaf.index == slot for leaf in flatten([user.inputs, user.arguments]))
        ]
        return bool(users) and all(
            user.single == slot
            and user.cast is None
            and not any(type(leaf) is Slot and leaf.index == slot for leaf in flatten(user.arguments))
            and (
                getattr(user.run, "takes_lookup", False)
                or (user.run is identity and len(user.outputs) == 1 and self._takes_lookups(user.outputs[0]))
            )
            for user in users
        )

    def _plan_release(self) -> None:
        keep = {*self.output_slots, *self.input_slots}
        seen: set[int] = set()
        for operation in reversed(self.operations):
            used = {leaf.index for leaf in flatten([operation.inputs, operation.arguments]) if isinstance(leaf, Slot)}
            operation.release = sorted((used | set(operation.outputs)) - seen - keep)
            seen |= used

    def _owned(self, nodes: list[Node], outputs: list[KerasTensor]) -> list[bool]:
        """For each output whether it is an array of its own: no view of an input, nor of what another output is too,
        nor of one repeated step."""
        made_by = {id(tensor): node for node in nodes for tensor in node.outputs}
        taken: set[int] = set()
        owned = []
        for tensor in outputs:
            node = made_by.get(id(tensor))
            while node is not None and not node.layer.allocates and not node.layer.repeats:
                tensor = node.inputs[0]
                node = made_by.get(id(tensor))
            owned.append(node is not None and not node.layer.repeats and id(tensor) not in taken)
            taken.add(id(tensor))
        return owned

    def _as_chain(self) -> tuple[Callable[..., Array], ...] | None:
        if len(self.input_slots) != 1 or len(self.output_slots) != 1:
            return None
        place = self.input_slots[0]
        runs: list[Callable[..., Array]] = []
        masked: list[Operation] = []
        for operation in self.operations:
            if operation.single != place or operation.arguments or not operation.gives_one:
                return None
            place = operation.outputs[0]
            if operation.masked or operation.auto_mask:
                if operation.cast is not None:
                    return None
                masked.append(operation)
                continue
            if masked:
                runs.append(Masked(masked))
                masked = []
            if operation.cast is not None:
                runs.append(_caster(operation.cast))
            if operation.run is not identity:
                runs.append(operation.call)
        if masked:
            runs.append(Masked(masked))
        if place != self.output_slots[0]:
            return None
        if not self.owned[0]:
            runs.append(copied)
        if self.results[0] is not None:
            runs.append(_caster(self.results[0]))
        return tuple(stacked(runs))

    # -- running ------------------------------------------------------------------------------------------------

    def _chain_known(self) -> None:
        """Make the chain of what is known now; it knows no inputs where more than the chain is to be done."""
        known = _core.KnownInputs(self.dtype) if self.keepers or self.chain is None else self.known[0]
        most_rows = (_LARGE_BYTES - 1) // max(self.most_bytes, 1)
        self._fast = _core.Chain(self._stages, known, most_rows, self.by_rows)
        # what the chain gives for an array that needs no check and takes no care of memory; else None. As `quick`
        self.at_once = self._fast.run_known

    def quick(self, x: Any, bounded: bool) -> Any:
        """What the chain gives for an array that needs no check, at most conversion; else None.

        With ``bounded``, and where no row depends on another, only for as many rows as are run at once.
        """
        bounded = bounded or self.by_rows
        if not self.known[0].takes(x, bounded):
            x = self._converted(x, 0, bounded)
            if x is None:
                return None
        if self.keepers:
            states = [layer.states for layer in self.keepers]
            try:
                return self.through(x)
            except BaseException:
                for layer, state in zip(self.keepers, states, strict=True):
                    give_back(layer, state)
                raise
        if len(x) * self.most_bytes >= _LARGE_BYTES:
            return self.through(x)
        return self._fast.run(x)

    def quick_graph(self, arrays: list[Any], bounded: bool) -> list[Array] | None:
        """As `quick`, for plans that are no chain: all outputs."""
        if self.keepers or len(arrays) != len(self.ports):
            return None
        bounded = bounded or self.by_rows
        prepared: list[Array] = []
        for position, x in enumerate(arrays):
            if not self.known[position].takes(x, bounded):
                x = self._converted(x, position, bounded)
            if x is None or (prepared and len(x) != len(prepared[0])):
                return None
            prepared.append(x)
        if len(prepared[0]) * self.most_bytes < _LARGE_BYTES:
            return self.finish(self.run(prepared)[0])
        with _core.Blocks():
            return self.finish(self.run(prepared)[0])

    def _converted(self, x: Any, position: int, bounded: bool) -> Array | None:
        """An input of a known shape as its port takes it; None for another."""
        if self.ports[position].dtype is STRING:
            listed = type(x) is list and len(x) > 0 and isinstance(x[0], (str, bytes))
            x = as_strings(x) if listed or (type(x) is np.ndarray and x.dtype is not STRING) else None
            return x if self.known[position].takes(x, bounded) else None
        return self.ports[position].prepare(x) if self.known[position].converts(x, bounded) else None

    def remember(self, shapes: list[Shape], rows: int) -> None:
        """Inputs of these shapes, and any dtype, need no check from now on; so many rows of them are run at once."""
        self.known = [known.adding(shape, rows) for known, shape in zip(self.known, shapes, strict=True)]
        self.most_bytes = max(self.most_bytes, self.row_bytes(shapes))
        self._chain_known()

    def through(self, x: Any, out: Array | None = None) -> Array:
        """What the chain gives, put into ``out`` where it is given and the chain takes it."""
        chain = self.chain or ()
        last = len(chain) - 1 if out is not None and self.takes_out else -1
        with _core.Blocks():
            for place, (run, stage) in enumerate(zip(chain, self._stages, strict=True)):
                x = stage.run(x) if place != last else run(x, out=out)
        return x  # type: ignore[no-any-return]

    def keeping_states(self) -> contextlib.AbstractContextManager[None]:
        """Give stateful layers their states back where the block raises, be it for Ctrl-C."""
        return keeping_states(self.keepers)

    def make(self, operation: Operation, values: list[Any], known: list[Any], some_mask: bool) -> None:
        """Put an operation's outputs and their masks among those there are, the inputs and theirs."""
        x = operation.of_inputs(values)
        if operation.cast is not None:
            x = map_tree(partial(convert, dtype=operation.cast), x)
        arguments = operation.arguments
        if operation.argument_places is not None:
            arguments = {
                name: values[place] if type(place) is int else [values[one] for one in place]
                for name, place in operation.argument_places
            }
        elif arguments:
            arguments = {name: _filled(value, values) for name, value in arguments.items()}
        masked = operation.masked
        incoming = None
        if masked or operation.auto_mask or some_mask:
            incoming = arguments.get("mask")
            if incoming is None:
                there = known
                if operation.unmasked:
                    there = [None if place in operation.unmasked else mask for place, mask in enumerate(known)]
                incoming = operation.of_inputs(there, None)
                auto = operation.auto_mask or (some_mask and operation.finds_mask)
                if auto and (operation.single is None or incoming is not None):
                    arguments = {**arguments, "mask": incoming}
            masked = masked or (some_mask and operation.supports_mask and not operation.stops_mask)
        carrying = operation.carrying
        if carrying is None and some_mask:
            carrying = operation.hands_masks
            masked = masked or carrying is not None
        y, out_masks = operation.outcome(x, incoming, arguments, carrying, masked)
        outputs = operation.outputs
        if len(outputs) == 1:
            values[outputs[0]] = y if type(y) is np.ndarray else flatten(y)[0]
            if masked:
                known[outputs[0]] = flatten([out_masks])[0]
            return
        flat_masks = flatten([out_masks]) if masked else ()
        for position, array in enumerate(_flat(y)):
            values[outputs[position]] = array
            if position < len(flat_masks):
                known[outputs[position]] = flat_masks[position]

    def run(self, arrays: list[Array], masks: Masks | None = None) -> tuple[list[Array], Masks]:
        """Outputs and their masks for prepared inputs, in the types in which values travel between layers."""
        values: list[Any] = [None] * self.size
        known: list[Any] = [None] * self.size
        for index, slot in enumerate(self.input_slots):
            values[slot] = arrays[index]
            if masks is not None:
                known[slot] = masks[index]
        some_mask = masks is not None
        for operation in self.operations:
            if operation.plain and not some_mask:
                y = operation.call(values[operation.single])  # type: ignore[index]
                values[operation.outputs[0]] = y if type(y) is np.ndarray else flatten(y)[0]
            else:
                self.make(operation, values, known, some_mask)
            for slot in operation.release:
                values[slot] = None
        return [values[slot] for slot in self.output_slots], [known[slot] for slot in self.output_slots]

    def finish(self, outputs: list[Array]) -> list[Array]:
        """Outputs of `run` as the caller gets them: arrays of their own, in the policies' compute types."""
        if self.gives_outputs:
            return outputs
        finished = []
        for array, owned, result in zip(outputs, self.owned, self.results, strict=True):
            if not owned:
                array = copied(array)
            finished.append(array if result is None else copied(array, result))
        return finished

    def row_bytes(self, shapes: list[Shape]) -> int:
        """About how many bytes one row takes between two layers at most, for single-sample shapes of the inputs."""
        key = tuple(shapes)
        if key in self._known_bytes:  # `get` would lock the dict in CPython 3.13t: a child forked then waits for ever
            return self._known_bytes[key]
        found = self._row_bytes(shapes)
        if len(self._known_bytes) < _MOST_SHAPES:
            self._known_bytes[key] = found
        return found

    def _row_bytes(self, shapes: list[Shape]) -> int:
        known: dict[int, Shape] = {
            id(tensor): (1, *shape) for tensor, shape in zip(self.input_tensors, shapes, strict=True)
        }
        largest = 1
        for node in self.nodes:
            try:
                flat = flat_shapes(node.layer.output_shape_of(node, known))
            except (ValueError, TypeError, KeyError):
                flat = [tuple(1 if size is None else size for size in tensor.shape) for tensor in node.outputs]
            total = 0
            for tensor, shape in zip(node.outputs, flat, strict=False):
                known[id(tensor)] = shape
                if node.layer.allocates:
                    size = real_of(tensor.dtype).itemsize
                    for extent in shape:
                        size *= extent if extent is not None else 1
                    total += size
            largest = max(largest, total)
        return largest


def _places_of(arguments: dict[str, Any]) -> list[tuple[str, Any]] | None:
    """The places of arguments, each a value of the plan or a list of them; None where there are others, or none."""
    places: list[tuple[str, Any]] = []
    for name, value in arguments.items():
        if type(value) is Slot:
            places.append((name, value.index))
        elif type(value) is list and all(type(leaf) is Slot for leaf in value):
            places.append((name, [leaf.index for leaf in value]))
        else:
            return None
    return places or None


def _filled(tree: Any, values: list[Any], other: Any = _SAME) -> Any:
    """What stands in the slots of ``tree``; what is no slot stays, or gives way to ``other``."""

    def leaf_of(leaf: Any) -> Any:
        if type(leaf) is Slot:
            return values[leaf.index]
        return leaf if other is _SAME else other

    return map_tree(leaf_of, tree)


def _flat(outputs: Any) -> Any:
    """What several outputs are, one behind the other: mostly as they come."""
    if type(outputs) is tuple or type(outputs) is list:
        for array in outputs:
            if type(array) is not np.ndarray:
                return flatten(outputs)
        return outputs
    return flatten(outputs)


class MaskRules:
    """How a version of Keras hands masks on.

    Parameters
    ----------
    keras_version : tuple of int
        (major, minor).
    """

    __slots__ = ("is_keras_2", "mask_beside_state", "merges", "recurrent_stops")

    def __init__(self, keras_version: tuple[int, int]) -> None:
        # Keras 3 looks for a mask only where a layer is called on one tensor, Keras 2 beside initial_state too
        self.is_keras_2 = self.mask_beside_state = keras_version[0] < 3
        # merging layers: Keras 2 masks what any input masks; before keras-team/keras#19685 (3.4) Keras 3 handed nothing
        # on, since then it masks what all inputs mask
        self.merges = "and" if keras_version[0] < 3 else "or" if keras_version >= (3, 4) else "none"
        # keras-team/keras#23235: from 3.16 on, recurrent layers and their wrappers hand no mask on
        self.recurrent_stops = keras_version >= (3, 16)


def keepers_in(layer: Any) -> Iterator[Any]:
    """The layers in and below this one that keep states from call to call."""
    if getattr(layer, "stateful", False) and hasattr(layer, "states"):
        yield layer
    for inner in layer.sublayers():
        yield from keepers_in(inner)


def _is_by_rows(layer: Any) -> bool:
    """Whether a row of the output depends on the same row of the input alone: so it is for all layers of Keras."""
    own = not layer.row_by_row or getattr(layer, "time_major", False)
    return not own and all(_is_by_rows(inner) for inner in layer.sublayers())


def _caster(dtype: np.dtype[Any]) -> Callable[[Array], Array]:
    return partial(cast, dtype=dtype)


def as_masks(mask: Any, arrays: list[Array], name: str) -> Masks:
    """A caller's mask, or structure of masks, one for each input; bool arrays or None."""
    flat = flatten(mask)
    if len(flat) != len(arrays) and type(mask) in (list, tuple) and len(arrays) == 1:
        flat = [mask]
    if len(flat) != len(arrays):
        raise ValueError(f"Model '{name}' has {len(arrays)} inputs, but got {len(flat)} masks.")
    masks: Masks = []
    for value, array in zip(flat, arrays, strict=True):
        if value is None:
            masks.append(None)
            continue
        found = as_array(value, "the mask")
        if not 0 < found.ndim <= array.ndim or found.shape != array.shape[: found.ndim]:
            raise ValueError(f"A mask of model '{name}' has shape {found.shape}, expected {array.shape[:2]}.")
        masks.append(found if found.dtype == BOOL else found != 0)
    return masks
