"""An ONNX graph as plain data, and `OnnxModel`, which runs it node by node.

What depends on weights alone is computed when the model is made, and a value is let go after its last reader.
Next: onnx_operators.py; onnx_recurrent.py.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from lstmfast._arrays import as_array
from lstmfast.converting.onnx_operators import OPERATORS, Call
from lstmfast.layers.base import Array

# How many values may be computed when the model is made: so many, or so many times those of the file.
_MOST_FOLDED, _FOLDED_TIMES = 1 << 22, 16
# How many values a node may make that makes more than it takes: so many, or so many times those of a call's inputs.
_MOST_VALUES, _VALUES_TIMES = 1 << 28, 64


class Port(NamedTuple):
    """An input of a graph; None where a size may vary, or where nothing is known of the shape."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str


class Node(NamedTuple):
    """One operator's call; names of tensors, "" for those that are left out."""

    operator: str
    name: str
    attributes: dict[str, Any]
    inputs: list[str]
    outputs: list[str]


class Graph(NamedTuple):
    """What `OnnxModel` is made of, and what it pickles as."""

    name: str
    opset: int
    inputs: list[Port]
    outputs: list[str]
    constants: dict[str, Array]
    nodes: list[Node]


class _Step(NamedTuple):
    run: Callable[..., Any]
    makes: Callable[..., float] | None  # see `Call`
    node: Node
    done: list[str]  # tensors that nobody reads after this step


class OnnxModel:
    """A model from an ONNX file; `from_onnx` makes one.

    It takes and gives arrays in the layouts of the graph, runs all rows at once, and holds no state: any number of
    threads may call it.

    Attributes
    ----------
    inputs : list of Port
        Each has ``name``, ``shape`` (None where a size may vary) and ``dtype``.
    input_names, output_names : list of str
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.inputs = graph.inputs
        self.input_names = [port.name for port in graph.inputs]
        self.output_names = graph.outputs
        self._constants: dict[str, Array] = dict(graph.constants)
        self._steps: list[_Step] = []
        values = [*graph.constants.values(), *(value for node in graph.nodes for value in node.attributes.values())]
        held = sum(value.size for value in values if isinstance(value, np.ndarray))
        self._foldable = max(_MOST_FOLDED, _FOLDED_TIMES * held)
        with np.errstate(all="ignore"):
            self._compile()

    # -- making -------------------------------------------------------------------------------------------------

    def _compile(self) -> None:
        graph = self._graph
        known = {*self.input_names, *self._constants}
        if len(known) != len(self.input_names) + len(self._constants):
            raise ValueError(f"{graph.name}: two inputs have one name.")
        read = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
        for node in graph.nodes:
            for name in node.inputs:
                if name and name not in known:
                    raise ValueError(f"{graph.name}: node '{node.name}' reads '{name}', which nothing before it gives.")
            for name in node.outputs:
                if name and name in known:
                    raise ValueError(f"{graph.name}: two nodes, or a node and an input, give '{name}'.")
                known.add(name)
            self._add(node, read)
        missing = [name for name in graph.outputs if not name or name not in known]
        if missing:
            raise ValueError(f"{graph.name}: nothing gives the output '{missing[0]}'.")
        kept = {name for step in self._steps for name in step.node.inputs} | set(graph.outputs)
        self._constants = {name: array for name, array in self._constants.items() if name in kept}
        self._find_last_readers()

    def _add(self, node: Node, read: set[str]) -> None:
        node = node._replace(outputs=[name if name in read else "" for name in node.outputs])
        constants = [self._constants.get(name) for name in node.inputs]
        used = [bool(name) for name in node.outputs]
        named = [bool(name) for name in node.inputs]
        call = Call(node.operator, node.attributes, constants, used, self._graph.opset, named)
        try:
            run = OPERATORS[node.operator](call)
            call.refuse_rest()
            _check_count(run, node.inputs)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise ValueError(self._told(node, error)) from error
        except NotImplementedError as error:
            raise NotImplementedError(self._told(node, error)) from error
        fixed = all(name in self._constants for name in node.inputs if name)
        step = _Step(run, call.makes or (_most_made if fixed else None), node, [])
        if not fixed or not self._fold(step, constants):
            self._steps.append(step)

    def _fold(self, step: _Step, arrays: list[Array | None]) -> bool:
        """Run a node of weights alone once and for all, where not too much comes of them."""
        if step.makes is None or self._guarded(step.node, step.makes, arrays) > self._foldable:
            return False
        made = self._outputs(step, arrays)
        self._foldable -= sum(array.size for array in made.values())
        self._constants.update(made)
        return True

    def _find_last_readers(self) -> None:
        kept = {*self.output_names, *self._constants, *self.input_names}
        seen: set[str] = set()
        for step in reversed(self._steps):
            last = [name for name in {*step.node.inputs, *step.node.outputs} - seen - kept if name]
            step.done.extend(last)
            seen.update(last)

    def _told(self, node: Node, error: BaseException | str) -> str:
        return f"{self._graph.name}: node '{node.name}' ({node.operator}): {error}"

    def __getstate__(self) -> dict[str, Any]:
        return {"graph": self._graph}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["graph"])  # type: ignore[misc]

    # -- running ------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any) -> Any:
        """Run the graph.

        Parameters
        ----------
        inputs : array-like, list or dict
            As the graph's inputs, whose types they are converted to: an array where there is one input, else a list in
            the order of `input_names`, or a dict by these names.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            An array where the graph has one output, else a list in the order of `output_names`.

        Raises
        ------
        ValueError
            If an input is missing, or a shape is wrong.
        TypeError
            If an input does not hold numbers.
        """
        values = dict(self._constants)
        for port, value in zip(self.inputs, self._ordered(inputs), strict=True):
            values[port.name] = _checked(port, value)
        most = max(_MOST_VALUES, _VALUES_TIMES * sum(values[name].size for name in self.input_names))
        with np.errstate(all="ignore"):
            for step in self._steps:
                arrays = [values[name] if name else None for name in step.node.inputs]
                if step.makes is not None and (size := self._guarded(step.node, step.makes, arrays)) > most:
                    raise ValueError(self._told(step.node, f"it would make {size:.3g} values; the most are {most}."))
                values.update(self._outputs(step, arrays))
                for name in step.done:
                    values.pop(name, None)
        outputs = self._fresh(values)
        return outputs[0] if len(outputs) == 1 else outputs

    def _fresh(self, values: dict[str, Array]) -> list[Array]:
        """The outputs as arrays that share memory with nothing else."""
        taken = {id(values[name]) for name in (*self._constants, *self.input_names)}
        outputs = []
        for name in self.output_names:
            value = values[name]
            shared = value.base is not None or id(value) in taken or not value.flags.c_contiguous
            taken.add(id(value))
            outputs.append(np.array(value, order="C") if shared else value)
        return outputs

    def predict(self, x: Any) -> Any:
        """As calling the model."""
        return self(x)

    def _outputs(self, step: _Step, arrays: list[Array | None]) -> dict[str, Array]:
        """What a node makes, by the names that somebody reads."""
        node, made = step.node, self._guarded(step.node, step.run, arrays)
        outputs = list(made) if isinstance(made, (list, tuple)) else [np.asarray(made)]
        if any(node.outputs[len(outputs) :]):
            raise ValueError(self._told(node, f"it makes {len(outputs)} outputs, and {len(node.outputs)} are named."))
        return {name: value for name, value in zip(node.outputs, outputs, strict=False) if name}

    def _guarded(self, node: Node, function: Callable[..., Any], arrays: list[Array | None]) -> Any:
        try:
            return function(*arrays)
        except (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError) as error:
            raise ValueError(self._told(node, error)) from error

    def _ordered(self, inputs: Any) -> list[Any]:
        names = self.input_names
        if isinstance(inputs, dict):
            missing = [name for name in names if name not in inputs]
            unknown = [name for name in inputs if name not in names]
            if missing or unknown:
                raise ValueError(f"Expected the inputs {names}, got {list(inputs)}.")
            return [inputs[name] for name in names]
        if len(names) == 1:
            alone = isinstance(inputs, (list, tuple)) and len(inputs) == 1 and hasattr(inputs[0], "shape")
            return [inputs[0] if alone else inputs]
        if not isinstance(inputs, (list, tuple)) or len(inputs) != len(names):
            found = len(inputs) if isinstance(inputs, (list, tuple)) else 1
            raise ValueError(f"Expected {len(names)} inputs ({', '.join(names)}), got {found}.")
        return list(inputs)

    def __repr__(self) -> str:
        told = ", ".join(f"{port.name}: {port.dtype}{port.shape}" for port in self.inputs)
        return f"<OnnxModel {self._graph.name} ({told}) -> {', '.join(self.output_names)}>"


def _check_count(run: Callable[..., Any], names: list[str]) -> None:
    """Refuse inputs that are more than the function of a node takes, or fewer than it needs."""
    least = most = len(names)
    if isinstance(run, np.ufunc):
        least = most = run.nin
    else:
        parameters = [own for own in inspect.signature(run).parameters.values() if own.kind is not own.VAR_KEYWORD]
        if not any(own.kind is own.VAR_POSITIONAL for own in parameters):
            least, most = sum(own.default is own.empty for own in parameters), len(parameters)
    if not least <= len(names) <= most:
        raise ValueError(f"expected {least if least == most else f'{least} to {most}'} inputs, got {len(names)}.")
    if "" in names[:least]:
        raise ValueError(f"its input {names.index('')} is left out, and it needs {least}.")


def _most_made(*arrays: Array | None) -> float:
    """The most values that come of arrays which are broadcast, multiplied or reduced."""
    shapes = [reversed(array.shape) for array in arrays if array is not None]
    return math.prod((max(1, *sizes) for sizes in zip_longest(*shapes, fillvalue=1)), start=1.0)


def _checked(port: Port, value: Any) -> Array:
    array = as_array(value, f"input '{port.name}'")
    shape = port.shape
    if shape is not None and (
        array.ndim != len(shape) or any(a not in (None, b) for a, b in zip(shape, array.shape, strict=True))
    ):
        raise ValueError(f"Input '{port.name}' has shape {array.shape}, expected {shape}.")
    return array.astype(port.dtype, copy=False)
