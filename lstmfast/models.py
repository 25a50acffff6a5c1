"""Models: `Sequential`, and the functional `Model(inputs, outputs)`.

A call takes the model's plan, which is made again after weights have changed, and runs it; a stateless model shares
nothing between calls.
Next: _plan.py; layers/base.py.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from lstmfast import _core, _graph
from lstmfast._arrays import as_array, as_numbers_or_strings, as_strings
from lstmfast._graph import KerasTensor, Node, Shape, copy_tree, flat_shapes, flatten, map_graph, map_tree
from lstmfast._keras import as_version
from lstmfast._mask_order import in_keras_order
from lstmfast._model import DEFAULT_BATCH, make_progress
from lstmfast._model import Model as Model
from lstmfast._pieces import put
from lstmfast._plan import MaskRules, Plan, as_masks
from lstmfast.layers.base import (
    Array,
    Layer,
    Run,
    changes,
    check_targets,
    fill,
    is_plain_shape,
    lock,
    register,
    serialize_layer,
    with_own_lists,
)
from lstmfast.layers.core import InputLayer
from lstmfast.layers.lookup import Vocabulary
from lstmfast.layers.masking import Embedding
from lstmfast.layers.operations import Operation
from lstmfast.layers.transactions import all_or_nothing
from lstmfast.layers.variable import in_training, inherits_training, passing_on

if TYPE_CHECKING:
    from lstmfast._clone import clone_model as clone_model
    from lstmfast.saving import load_model as load_model
    from lstmfast.saving import model_from_json as model_from_json
    from lstmfast.saving import save_model as save_model
    from lstmfast.streaming import Stream

# What the rows that `predict` runs at once may take between two layers, for each thread: a core's own cache; and how
# many rows they are at least, whatever they take.
SLICE_BYTES = 2 << 20
SLICE_ROWS = 16
_MOST_SHAPES = 64


@register("Model")
class Functional(Model):
    """What ``Model(inputs, outputs)`` gives: a graph of layers, run by its plan."""

    casts_input = False
    uses_mask = True
    call_arguments = ("inputs", "training", "mask")
    saved_module = "keras.src.models.functional"

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        trainable: bool = True,
        keras_version: str | tuple[int, int] | None = None,
        dtype: Any = None,
    ) -> None:
        Layer.__init__(self, name=name or _graph.unique_name(self._prefix()), trainable=trainable, dtype=dtype)
        self.keras_version = as_version(keras_version)
        self._plan: tuple[int, Plan] | None = None
        self._training_plans: dict[bool, tuple[int, Plan]] = {}  # as `_plan`, for calls with this `training`
        self._trains = False
        self._any_steps = False
        self._shapes: dict[tuple[Shape, ...], list[Shape]] = {}  # of outputs, by those of the inputs
        self._layers: list[Layer] = []
        if inputs is not None or outputs is not None:
            self._connect(inputs, outputs)

    @classmethod
    def _prefix(cls) -> str:
        return "functional"

    def _connect(self, inputs: Any, outputs: Any) -> None:
        inputs, outputs = copy_tree(inputs), self._as_returned(copy_tree(outputs))
        flat_inputs, flat_outputs = flatten(inputs), flatten(outputs)
        for what, tensors in (("inputs", flat_inputs), ("outputs", flat_outputs)):
            for tensor in tensors:
                if not isinstance(tensor, KerasTensor):
                    raise ValueError(f"All `{what}` values must be KerasTensors. Received: {what}={tensor!r}")
        if len({id(tensor) for tensor in flat_inputs}) != len(flat_inputs):
            raise ValueError("`inputs` argument cannot have duplicates.")
        if not all(_is_input(tensor) for tensor in flat_inputs):
            inputs, outputs = _with_own_inputs(inputs, outputs)
            flat_inputs, flat_outputs = flatten(inputs), flatten(outputs)
        graph_nodes, layers = map_graph(flat_inputs, flat_outputs)
        self._inputs_struct = inputs if isinstance(inputs, (list, tuple, dict)) else [inputs]
        self._outputs_struct = outputs
        self._by_name_alone = isinstance(inputs, dict) and list(inputs) != sorted(inputs)
        branches = inputs.values() if isinstance(inputs, dict) else self._inputs_struct
        self._nests_inputs = not all(isinstance(branch, KerasTensor) for branch in branches)
        self._lists_outputs = type(outputs) is list and all(isinstance(leaf, KerasTensor) for leaf in outputs)
        self.inputs: list[KerasTensor] = flat_inputs
        self.outputs: list[KerasTensor] = flat_outputs
        self._graph_nodes: list[Node] = graph_nodes
        self._layers = self._in_order(layers)
        self.built = True
        self.build_shape = alone([tensor.shape for tensor in flat_inputs])
        self._shapes = {}  # which models in models, each twice, would ask for 2**depth times
        self._trains = any(node.kwargs.get("training") or node.layer.trains for node in graph_nodes)
        self._forget_plans()

    def _as_returned(self, outputs: Any) -> Any:
        """The structure of what a call gives: as in Keras, what is in a list of one comes alone."""
        if self.keras_version[0] >= 3:
            return alone(outputs)
        return outputs[0] if isinstance(outputs, list) and len(flatten(outputs)) == 1 else outputs

    def _in_order(self, layers: list[Any]) -> list[Any]:
        """The layers that `map_graph` found, in Keras's order, which masks move in Keras 3."""
        if self.keras_version < (3, 4):
            return layers
        return in_keras_order(self.inputs, self.outputs, self._graph_nodes) or layers

    def _forget_plans(self) -> None:
        self._frozen = self._plan = None
        self._training_plans = {}

    # -- what is in it ------------------------------------------------------------------------------------------

    def sublayers(self) -> tuple[Layer, ...]:
        return tuple(self._layers)

    def saved_parts(self) -> list[tuple[str, Any]]:
        return [("layers", self.layers)]

    def saved_class(self) -> str:
        return self.class_in_file or ("Functional" if type(self) is Functional else type(self).__name__)

    def chained(self) -> list[Layer]:
        return self._layers

    @property
    def input_shape(self) -> Any:
        """The shape of the input, batch first; where there are several a list, or of Keras 2 what `input` has."""
        return self._shapes_of(self.inputs, self._inputs_struct)

    @property
    def output_shape(self) -> Any:
        """The shape of the output, batch first; where there are several a list, or of Keras 2 what `output` has."""
        return self._shapes_of(self.outputs, self._outputs_struct)

    def _shapes_of(self, tensors: list[KerasTensor], struct: Any) -> Any:
        if self.keras_version[0] < 3:
            return map_tree(lambda tensor: tensor.shape, alone(struct))
        return alone([tensor.shape for tensor in tensors])

    @property
    def input_names(self) -> list[str]:
        return [tensor.history[0].name for tensor in self.inputs if tensor.history]

    @property
    def output_names(self) -> list[str]:
        return [tensor.history[0].name for tensor in self.outputs if tensor.history]

    @property
    def input(self) -> Any:
        return alone(self._inputs_struct)

    @property
    def output(self) -> Any:
        return alone(self._outputs_struct)

    # -- as a layer ---------------------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Nothing to do: a functional model is built when it is made."""

    def check_shape(self, shape: Any) -> None:
        """Shapes are checked input by input, when arrays come in or tensors are recorded."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for inputs of another batch size or number of steps."""
        shapes = tuple(flat_shapes(input_shape))
        found = self._shapes.get(shapes)
        if found is None:
            known = dict(zip(map(id, self.inputs), shapes, strict=True))
            for node in self._graph_nodes:
                flat = flat_shapes(node.layer.output_shape_of(node, known))
                known.update(zip(map(id, node.outputs), flat, strict=True))
            found = [known[id(tensor)] for tensor in self.outputs]
            if len(self._shapes) < _MOST_SHAPES:
                self._shapes = {**self._shapes, shapes: found}
        remaining = iter(found)
        return map_tree(lambda _: next(remaining), self._outputs_struct)

    def output_dtype(self, inputs: Any) -> str:
        return self.outputs[0].dtype

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        flat = self._flat_inputs(inputs)
        for position, (tensor, own) in enumerate(zip(flat, self.inputs, strict=True)):
            if len(tensor.shape) != len(own.shape) or any(
                a is not None and b is not None and a != b for a, b in zip(tensor.shape[1:], own.shape[1:], strict=True)
            ):
                raise ValueError(
                    f"Input {position} of model '{self.name}' is incompatible with it: expected shape={own.shape}, "
                    f"found shape={tensor.shape}"
                )
        shapes = self.compute_output_shape(alone([tensor.shape for tensor in flat]))
        found = iter(flat_shapes(shapes))
        outputs = map_tree(lambda tensor: KerasTensor(next(found), tensor.dtype), self._outputs_struct)
        given: Any = flat if len(flat) > 1 else flat[0]
        if self._by_name_alone:
            by_name = dict(zip(sorted(self._inputs_struct), flat, strict=True))
            given = {name: by_name[name] for name in self._inputs_struct}
        Node(self, (given,), kwargs, outputs)
        return outputs

    def refuse_training(self) -> None:
        """Raise where a layer inside cannot do what Keras's does with training=True."""
        for layer in self._layers:
            try:
                layer.refuse_training()
            except NotImplementedError as error:
                raise NotImplementedError(
                    f"Model '{self.name}' is called with training=True, which reaches its layer '{layer.name}': {error}"
                ) from None

    def masked_outputs(self, count: int, incoming: bool) -> list[bool]:
        return self.plan().masked_outputs[incoming]

    def mixes_batch(self, training: bool | None) -> bool:
        # a layer once, though called many times: of models in models there may be 2**depth calls
        calls = {
            (id(node if isinstance(node.layer, Operation) else node.layer), str(node.kwargs.get("training"))): node
            for node in self._graph_nodes
        }
        return any(node.layer.mixes_batch_of(node, training) for node in calls.values())

    @property
    def trains(self) -> bool:
        return self._trains

    def is_noisy(self) -> bool:
        """Whether a layer inside gives something else with training=True."""
        return any(layer.is_noisy() for layer in self._layers)

    def run_for(self, arguments: dict[str, Any]) -> Run:
        training = self._effective(arguments.get("training"))
        if training is None:
            return self.frozen()
        if not training:
            return self._run_of(self.plan(False))
        return self.noisy_run(lambda: self._run_of(self.plan(True)))

    def _effective(self, training: Any) -> bool | None:
        """A call's `training`, or None where it makes no difference: in Keras 2 what the graph says is stronger."""
        if training is None or not (self.is_noisy() if training else self._trains and self.keras_version[0] >= 3):
            return None
        return bool(training)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        return self._run_of(self.plan())

    def _run_of(self, plan: Plan) -> Run:
        pack = self._pack_outputs

        def with_masks(inputs: Any, mask: Any = None, training: Any = None) -> Any:
            arrays = self._flat_inputs(inputs)
            adjusted = []
            for position, (array, port) in enumerate(zip(arrays, plan.ports, strict=True)):
                adjusted.append(port.prepare(port.adjust(array, position, self.name)))
            masks = None if mask is None else flatten(mask)
            outputs, out_masks = plan.run(adjusted, masks)
            return pack(outputs), out_masks

        def run(inputs: Any, mask: Any = None, training: Any = None) -> Any:
            return with_masks(inputs, mask)[0]

        run.hands_masks = with_masks  # type: ignore[attr-defined]
        if any(plan.masked_outputs[False]):
            run.with_masks = with_masks  # type: ignore[attr-defined]
        return run

    def plan(self, training: bool | None = None) -> Plan:
        """The model as it is now, for calls with this `training`, which all its layers are given; None gives none."""
        entry = self._plan if training is None else self._training_plans.get(training)
        if entry is None or entry[0] != changes[0]:
            with lock:
                count = changes[0]
                self._require_built()
                plan = Plan(
                    self.inputs,
                    self.outputs,
                    self._graph_nodes,
                    MaskRules(self.keras_version),
                    self._any_steps,
                    training,
                )
                entry = count, plan
                if training is None:
                    self._plan = entry
                else:
                    self._training_plans[training] = entry
        return entry[1]

    @property
    def repeats(self) -> bool:  # type: ignore[override]
        """Whether, as a layer of another model, it may give views of its input, or of one step that it repeats."""
        return not all(self.plan().owned)

    def _require_built(self) -> None:
        if not self.built:
            raise ValueError(f"Model '{self.name}' has no inputs and outputs yet.")

    def _flat_inputs(self, inputs: Any) -> list[Any]:
        """The caller's inputs in the order of the model's.

        Raises
        ------
        ValueError
            If their number or their names are wrong.
        """
        struct = self._inputs_struct
        if self._nests_inputs and same_branches(inputs, struct):
            return flatten(inputs)
        if isinstance(inputs, dict):
            plain = isinstance(struct, dict) and not self._nests_inputs
            names = sorted(struct) if plain else self.input_names
            missing = [name for name in names if name not in inputs]
            if missing:
                raise ValueError(
                    f'Missing data for input "{missing[0]}". You passed a data dictionary with keys {list(inputs)}. '
                    f"Expected the following keys: {names}"
                )
            return [inputs[name] for name in names]
        count = len(self.inputs)
        if self._by_name_alone and isinstance(inputs, (list, tuple)):
            raise ValueError(
                f"The structure of `inputs` doesn't match the expected structure. Expected a dict with the keys "
                f"{list(struct)}, received a {type(inputs).__name__}."
            )
        found = len(inputs) if isinstance(inputs, (list, tuple)) else 1
        if count == 1:
            alone = not isinstance(inputs, (list, tuple)) or not inputs or not hasattr(inputs[0], "shape")
            if not alone and found == 1:
                return [inputs[0]]
            # else they are the rows of one array
            if alone or len(inputs[0].shape) != len(self.inputs[0].shape) or tuple(inputs[0].shape[-1:]) == (1,):
                return [inputs]
        if found != count or not isinstance(inputs, (list, tuple)):
            raise ValueError(
                f'Layer "{self.name}" expects {count} input(s), but it received {found} input tensors. '
                f"Its inputs are {self.input_names}."
            )
        return list(inputs)

    def output_shapes(self, shapes: list[Shape]) -> list[Shape]:
        """The shape of each output, for these shapes of the inputs."""
        known = self.plan().known_outputs
        key = tuple(shapes)
        if key in known:  # not `get`: see Plan.row_bytes
            return known[key]
        found = flat_shapes(self.compute_output_shape(alone(shapes)))
        if len(known) < _MOST_SHAPES:
            known[key] = found
        return found

    def checked_out(self, out: Any, shapes: list[Shape], dtypes: list[Any], caller: Any) -> list[Array]:
        """The caller's arrays for the outputs, in the order of `outputs`.

        Raises
        ------
        ValueError, TypeError
            If their structure, a shape or a dtype is wrong, one cannot be written to, or overlaps another array.
        """
        if type(out) is np.ndarray and isinstance(self._outputs_struct, KerasTensor):
            targets = [out]
        elif same_branches(out, self._outputs_struct):
            targets = flatten(out)
        else:
            raise ValueError(
                f"out: expected what model '{self.name}' returns, {_described(self._outputs_struct)}, got "
                f"{_described(out)}."
            )
        check_targets(targets, shapes, dtypes, caller)
        return targets

    def _targets(self, plan: Plan, arrays: list[Array], out: Any, inputs: Any) -> list[Array]:
        shapes = self.output_shapes([array.shape for array in arrays])
        return self.checked_out(out, shapes, plan.output_dtypes, flatten(inputs))

    def _pack_outputs(self, outputs: list[Array]) -> Any:
        if isinstance(self._outputs_struct, KerasTensor):
            return outputs[0]
        if self._lists_outputs:
            return outputs
        remaining = iter(outputs)
        return map_tree(lambda _: next(remaining), self._outputs_struct)

    # -- running ------------------------------------------------------------------------------------------------

    def __call__(
        self, inputs: Any, training: Any = None, mask: Any = None, out: Any = None, lengths: Any = None
    ) -> Any:
        """Run on array-likes, or record the call on symbolic tensors.

        Parameters
        ----------
        inputs : array-like, list or dict
            (batch, ...) as the model's inputs.
        training : bool, optional
            Reaches all layers, as in Keras 3. With True those that drop out or add noise do so, and batch normalization
            goes by the rows that are run together, which are those of a batch. With False none does, not even one that
            the model calls with ``training=True``.
        mask : array-like, optional
            (batch, steps) of the input, False where a step is to be skipped; one for each input.
        out : numpy.ndarray, or list or dict of them as the model's outputs, optional
            Where to put the outputs: of their shapes and dtypes, writable, in C order but for gaps between rows, and
            apart from the inputs and from each other.
        lengths : array-like of int, optional
            (batch,): how many steps of each row count, as in `predict`.

        Returns
        -------
        numpy.ndarray, or a list or dict of them as the model's outputs
            Fresh arrays, or those of ``out``.

        Raises
        ------
        ValueError
            If a shape is not what the model was built for, or an array of ``out`` cannot be written to; it is
            untouched then.
        TypeError
            If the input does not hold numbers, or ``out`` has another dtype.
        NotImplementedError
            If ``training`` is true and reaches a layer that cannot do what Keras's does then, which is named.
        """
        if in_training[0] and inherits_training():
            if training is None:
                training = True
            elif not training:
                with passing_on(False):
                    return self(inputs, training, mask, out, lengths)
        entry = self._plan
        quiet = training is None or not (training or self._trains)
        if entry is not None and entry[0] == changes[0] and quiet and mask is out is lengths is None:
            outputs = entry[1].at_once(inputs, False)
            if outputs is None:
                outputs = self._quick(entry[1], inputs, False)
            if outputs is not None:
                return outputs
        if training:
            self.refuse_training()
        recorded = ({} if quiet else {"training": bool(training)}) | ({} if mask is None else {"mask": mask})
        self._build_for(inputs)
        if type(inputs) is not np.ndarray and _graph.contains_symbolic((inputs,)):
            return self._record(inputs, recorded)
        plan = self.plan(self._effective(training))
        if lengths is not None:
            if recorded:
                raise ValueError(f"Model '{self.name}': `lengths` and `{next(iter(recorded))}` do not go together.")
            return self._run_ragged(plan, inputs, lengths, out, None, 0)
        arrays = self._adjusted(plan, inputs)
        masks = None if mask is None else as_masks(mask, arrays, self.name)
        targets = None if out is None else self._targets(plan, arrays, out, [inputs, mask])
        if plan.by_rows and masks is None:
            size = self._slice_rows(plan, [array.shape[1:] for array in arrays], None)
            if arrays[0].shape[0] > size:
                return self._predict_slices(plan, arrays, size, size, 0, targets)
        return self._run(plan, arrays, masks, targets)

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """As calling the model."""
        return self(inputs, training, mask)

    def _quick(self, plan: Plan, inputs: Any, bounded: bool) -> Any:
        """The outputs for arrays like those of an earlier call; None where they have to be looked at."""
        if plan.chain is not None:
            return plan.quick(inputs, bounded)
        if self._by_name_alone:
            return None
        outputs = plan.quick_graph(inputs if type(inputs) is list else [inputs], bounded)
        return None if outputs is None else self._pack_outputs(outputs)

    def _build_for(self, inputs: Any) -> None:
        """Build a model that waits for its first input."""

    def _adjusted(self, plan: Plan, inputs: Any) -> list[Array]:
        """The inputs as arrays of the right rank and shape, not yet converted."""
        arrays = []
        for position, (value, port) in enumerate(zip(self._flat_inputs(inputs), plan.ports, strict=True)):
            array = port.read(value, f"input '{port.name}' of model '{self.name}'")
            arrays.append(port.adjust(array, position, self.name))
        sizes = {array.shape[0] for array in arrays if array.ndim}
        if len(sizes) > 1:
            raise ValueError(
                f"Data cardinality is ambiguous. Make sure all arrays contain the same number of samples. "
                f"'x' sizes: {', '.join(str(array.shape[0]) for array in arrays)}"
            )
        return arrays

    def _run(self, plan: Plan, arrays: list[Array], masks: Any = None, targets: list[Array] | None = None) -> Any:
        """The outputs for all rows at once, put into ``targets`` where that is given."""
        if plan.stateful:
            with plan.keeping_states():
                outputs = self._outputs(plan, arrays, masks, targets)
        else:
            outputs = self._outputs(plan, arrays, masks, targets)
        if targets is not None:
            fill(targets, outputs)
        return self._pack_outputs(outputs if targets is None else targets)

    def _outputs(self, plan: Plan, arrays: list[Array], masks: Any, targets: list[Array] | None) -> list[Array]:
        prepared = [port.prepare(array) for port, array in zip(plan.ports, arrays, strict=True)]
        shapes = [array.shape[1:] for array in prepared]
        if plan.stateful or plan.by_batch is not None:  # one batch may be run as it is
            rows = (plan.by_batch is None and self._fixed_batch()) or 0
        else:
            rows = self._slice_rows(plan, shapes, None)
        if masks is not None or plan.chain is None:
            with _core.Blocks():
                outputs = plan.finish(plan.run(prepared, masks)[0])
            plan.remember(shapes, rows)
            return outputs
        y = plan.through(prepared[0], None if targets is None else targets[0])
        if isinstance(self._outputs_struct, KerasTensor):
            plan.remember(shapes, rows)
        return [y]

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Any = None,
        out: Any = None,
        lengths: Any = None,
    ) -> Any:
        entry = self._plan
        if (
            steps is callbacks is out is lengths is None
            and (batch_size is None or _is_one_batch(x, batch_size))
            and (verbose == "auto" or verbose == 0)
            and entry is not None
            and entry[0] == changes[0]
        ):
            outputs = entry[1].at_once(x, True)
            if outputs is None:
                outputs = self._quick(entry[1], x, True)
            if outputs is not None:
                return outputs
        return super().predict(x, batch_size, verbose, steps, callbacks, out, lengths)

    def _predict_arrays(
        self, x: Any, batch_size: int | None, verbose: int | str, steps: int | None, out: Any, lengths: Any
    ) -> Any:
        if lengths is not None or self._is_ragged(x):
            if steps is not None:
                raise ValueError("`steps` does not go with rows of different lengths.")
            self._build_for(x if lengths is not None else x[0][None])
            return self._run_ragged(self.plan(), x, lengths, out, batch_size, verbose)
        self._build_for(x)
        plan = self.plan()
        arrays = self._adjusted(plan, x)
        rows = arrays[0].shape[0]
        batch = batch_size or (plan.stateful and self._fixed_batch()) or _batch_for(rows, steps)
        if steps is not None and steps * batch < rows:
            rows = steps * batch
            arrays = [array[:rows] for array in arrays]
        targets = None if out is None else self._targets(plan, arrays, out, x)
        if plan.stateful:
            with plan.keeping_states():
                return self._predict_stateful(plan, arrays, min(batch, max(1, rows)), verbose, targets)
        size = batch
        if plan.by_batch is None:
            size = self._slice_rows(plan, [array.shape[1:] for array in arrays], batch_size)
        if rows <= size:
            progress = make_progress(-(-rows // batch), verbose) if verbose in (1, 2) else None
            outputs = self._run(plan, arrays, None, targets)
            if progress is not None:
                progress.update(progress.target)
            return outputs
        if plan.by_batch is None:
            # even slices, so that the last is no stub
            size = -(-rows // -(-rows // size))
            size = -(-size // SLICE_ROWS) * SLICE_ROWS if size > SLICE_ROWS else size
        return self._predict_slices(plan, arrays, size, batch, verbose, targets)

    def _is_ragged(self, x: Any) -> bool:
        """Whether x is a list of rows, each an array of one sample."""
        if not isinstance(x, (list, tuple)) or not x or not all(isinstance(row, np.ndarray) for row in x):
            return False
        if not self.built:
            return len({row.shape[:1] for row in x}) > 1
        if len(self.inputs) != 1:
            return False
        shape = self.inputs[0].shape
        if len(x) == 1 and len(shape) > 1 and shape[-1] == 1 and x[0].shape[1:] != (1,):
            return False  # Keras's list of inputs, without the last axis
        return len(shape) > 1 and all(row.ndim == len(shape) - 1 for row in x)

    def _run_ragged(
        self, plan: Plan, x: Any, lengths: Any, out: Any, batch_size: int | None, verbose: int | str
    ) -> Any:
        from lstmfast import _ragged

        if plan.stateful:
            raise ValueError(f"Model '{self.name}' is stateful: it cannot take rows of different lengths.")
        if any(tensor.dtype == "string" for tensor in self.inputs):
            raise ValueError(f"Model '{self.name}' takes text: it cannot take rows of different lengths.")
        if len(plan.ports) != 1:
            raise ValueError(
                f"Model '{self.name}' has {len(plan.ports)} inputs: rows of different lengths go with models of one."
            )
        if lengths is not None:
            x = self._flat_inputs(x)[0]
        rows = _ragged.rows_of(self, plan.ports[0], x, lengths)
        options = {"out": out, "caller": flatten([x, lengths]), "batch_size": batch_size}
        if verbose:
            options["progress"] = make_progress(len(rows.lengths), verbose)
        steps = None if lengths is None else np.shape(x)[1]
        return _ragged.run_model(self, plan, rows, steps, options)

    def _fixed_batch(self) -> int | None:
        sizes = {tensor.shape[0] for tensor in self.inputs if tensor.shape}
        return sizes.pop() if len(sizes) == 1 else None

    def _slice_rows(self, plan: Plan, shapes: list[Shape], batch: int | None) -> int:
        """How many rows to run at once: see SLICE_BYTES."""
        threads = _core.get_num_threads()
        least = max(SLICE_ROWS * threads, DEFAULT_BATCH)
        return max(SLICE_BYTES * threads // plan.row_bytes(shapes), least if batch is None else min(batch, least))

    def _predict_slices(
        self,
        plan: Plan,
        arrays: list[Array],
        size: int,
        batch: int,
        verbose: int | str,
        targets: list[Array] | None = None,
    ) -> Any:
        rows = arrays[0].shape[0]
        progress = make_progress(-(-rows // batch), verbose) if verbose else None
        for start in range(0, rows, size):
            some = [array[start : start + size] for array in arrays]
            if targets is None:
                parts = flatten(self._run(plan, some))
                self._check_rows(parts, len(some[0]))
                targets = [np.empty((rows, *part.shape[1:]), part.dtype) for part in parts]
                for target, part in zip(targets, parts, strict=True):
                    put(target[: len(part)], part)
            else:
                self._run(plan, some, None, [target[start : start + size] for target in targets])
            if progress is not None:
                progress.update(min(rows, start + size) // batch if start + size < rows else progress.target)
        assert targets is not None
        return self._pack_outputs(targets)

    def _check_rows(self, parts: list[Array], rows: int) -> None:
        for part in parts:
            if len(part) != rows:
                raise ValueError(
                    f"Model '{self.name}' gives {len(part)} rows for {rows}: `predict` cannot put parts of that "
                    "together. Call the model itself on all rows: model(x)."
                )

    def _predict_stateful(
        self, plan: Plan, arrays: list[Array], batch: int, verbose: int | str, targets: list[Array] | None
    ) -> Any:
        rows = arrays[0].shape[0]
        fixed = self._fixed_batch()
        if rows % batch or (fixed is not None and batch != fixed):
            received = rows % batch or batch
            raise ValueError(
                "If an RNN is stateful, the batch size of the input sequences must be the same as the batch size of "
                f"the initial state. \n- Expected batch size: {fixed or batch}\n- Received batch size: {received}"
            )
        return self._predict_slices(plan, arrays, batch, batch, verbose, targets)

    def _keeping_states(self) -> contextlib.AbstractContextManager[None]:
        return self.plan().keeping_states() if self.built else contextlib.nullcontext()

    # -- looking at it ------------------------------------------------------------------------------------------

    def summary_layers(self) -> tuple[list[Layer], dict[int, str] | None]:
        """The layers that `summary` lists and, unless they are one chain, what each is connected to."""
        chain = len(self.inputs) == 1 and len({id(node.layer) for node in self._graph_nodes}) == len(self._graph_nodes)
        before = set(map(id, self.inputs))
        for node in self._graph_nodes:
            chain = chain and len(node.inputs) == 1 and id(node.inputs[0]) in before
            before = set(map(id, node.outputs))
        if chain:
            return self._layers, None
        connections: dict[int, list[str]] = {}
        for node in self._graph_nodes:
            for tensor in node.inputs:
                if tensor.history:
                    layer, index, position = tensor.history
                    connections.setdefault(id(node.layer), []).append(f"{layer.name}[{index}][{position}]")
        return self._layers, {key: ", ".join(value) for key, value in connections.items()}

    def stream(self, batch_size: int = 1) -> Stream:
        from lstmfast.streaming import Stream

        return Stream(self, batch_size)

    def as_stage(self, run: Run, node: Node, batch_size: int) -> tuple[Any, bool]:
        from lstmfast.streaming import NestedStage, Stream

        stream = Stream(self, batch_size, [True] * len(self.inputs))
        if len(set(stream.gives_sequences)) > 1:
            raise ValueError(
                f"Model '{self.name}' cannot be streamed inside another model: it gives both sequences and what is "
                "known after the last step only."
            )
        return NestedStage(stream, self.name), stream.gives_sequences[0]

    # -- configs ------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The model as Keras 3 writes a functional one."""
        own: dict[int, list[int]] = {}
        for node in self._graph_nodes:
            own.setdefault(id(node.layer), []).append(node.layer.nodes.index(node))

        def reference(tensor: KerasTensor) -> list[Any]:
            layer, index, position = tensor.history  # type: ignore[misc]
            return [layer.name, own.get(id(layer), [index]).index(index), position]

        def output(tensor: KerasTensor) -> list[Any]:
            name, index, position = reference(tensor)
            return [name, index + first_call(tensor.history[0]), position]  # type: ignore[index]

        def edge(leaf: Any) -> Any:
            if isinstance(leaf, slice):
                ends = {"start": leaf.start, "stop": leaf.stop, "step": leaf.step}
                return {"class_name": "__slice__", "config": ends}
            if leaf is ...:
                return {"class_name": "__ellipsis__", "config": {}}
            if isinstance(leaf, np.ndarray):
                return {"class_name": "__numpy__", "config": {"value": leaf.tolist(), "dtype": leaf.dtype.name}}
            if not isinstance(leaf, KerasTensor):
                return leaf
            return {
                "class_name": "__keras_tensor__",
                "config": {"shape": list(leaf.shape), "dtype": leaf.dtype, "keras_history": reference(leaf)},
            }

        entries = []
        for layer in self.layers_as_saved():
            nodes = [node for node in self._graph_nodes if node.layer is layer]
            entry = layer.saved_entry() if isinstance(layer, Operation) else serialize_layer(layer)
            entry["name"] = layer.name
            entry["inbound_nodes"] = [
                {"args": map_tree(edge, layer.call_args(node)), "kwargs": map_tree(edge, node.kwargs)} for node in nodes
            ]
            entries.append(entry)
        return {
            "name": self.name,
            "trainable": self.trainable,
            "layers": entries,
            "input_layers": map_tree(reference, alone(self._inputs_struct)),
            "output_layers": map_tree(output, self._outputs_struct),
        }

    def layers_as_saved(self) -> list[Layer]:
        """The layers in the order in which Keras finds them in what `get_config` says, and then their weights."""
        found = in_keras_order(self.inputs, self.outputs, self._graph_nodes)
        return map_graph(self.inputs, self.outputs)[1] if found is None else found

    def twin(self) -> Layer:
        from lstmfast._clone import clone_model

        return clone_model(self)

    def _records(self) -> dict[str, Any]:
        """The graph with its layers as they are, for pickling."""
        place = {id(layer): number for number, layer in enumerate(self._layers)}
        order = {id(node): number for number, node in enumerate(self._graph_nodes)}

        def reference(leaf: Any) -> Any:
            if not isinstance(leaf, KerasTensor):
                return leaf
            for number, tensor in enumerate(self.inputs):
                if tensor is leaf:
                    return _Reference(-1, number)
            layer, index, position = leaf.history  # type: ignore[misc]
            return _Reference(order[id(layer.nodes[index])], position)

        return {
            "inputs": [(tensor.shape, tensor.dtype, tensor.name) for tensor in self.inputs],
            "input_layers": [place.get(id(tensor.history[0])) if tensor.history else None for tensor in self.inputs],
            "nodes": [
                (place[id(node.layer)], map_tree(reference, node.args), map_tree(reference, node.kwargs))
                for node in self._graph_nodes
            ],
            "inputs_struct": map_tree(reference, self._inputs_struct),
            "outputs_struct": map_tree(reference, self._outputs_struct),
        }

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for name in ("inputs", "outputs", "_graph_nodes", "_inputs_struct", "_outputs_struct"):
            state.pop(name, None)
        state["_plan"], state["_training_plans"] = None, {}
        state["_records"] = self._records() if self.built else None
        return state

    def __copy__(self) -> Functional:
        """As of any layer; the calls of the layers inside are shared, too."""
        twin: Functional = object.__new__(type(self))
        Layer.__setstate__(twin, with_own_lists(Layer.__getstate__(self)))
        twin._forget_plans()
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        records = state.pop("_records")
        super().__setstate__(state)
        if records is None:
            return
        inputs = []
        for (shape, dtype, name), number in zip(records["inputs"], records["input_layers"], strict=True):
            layer = self._layers[number] if number is not None else None
            if isinstance(layer, InputLayer):
                inputs.append(layer.nodes[0].outputs[0])
            else:
                inputs.append(InputLayer(batch_shape=shape, dtype=dtype, name=name).nodes[0].outputs[0])
        made: list[list[KerasTensor]] = []

        def revive(leaf: Any) -> Any:
            if not isinstance(leaf, _Reference):
                return leaf
            return inputs[leaf.position] if leaf.node < 0 else made[leaf.node][leaf.position]

        for number, args, kwargs in records["nodes"]:
            outputs = self._layers[number]._record(
                map_tree(revive, args[0]), {name: map_tree(revive, value) for name, value in kwargs.items()}
            )
            made.append(flatten(outputs))
        self._connect(map_tree(revive, records["inputs_struct"]), map_tree(revive, records["outputs_struct"]))


@register()
class Sequential(Functional):
    """A chain of layers.

    Parameters
    ----------
    layers : list of Layer, optional
        In order; the first may be an `Input`. Without one the model is built for the first input that comes.
    name : str, optional
        Of the model.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import Input, Sequential, layers
    >>> model = Sequential([Input((40, 1)), layers.LSTM(10), layers.Dense(1)])
    >>> model.count_params()
    491
    >>> model.predict(np.zeros((3, 40, 1))).shape
    (3, 1)
    """

    saved_module = "keras"

    def __init__(
        self,
        layers: Any = None,
        trainable: bool = True,
        name: str | None = None,
        keras_version: str | tuple[int, int] | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable, keras_version=keras_version, dtype=dtype)
        for layer in layers or ():
            self._append(layer)
        self._rebuild()

    @classmethod
    def _prefix(cls) -> str:
        return "sequential"

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the input's."""
        return [layer for layer in self._layers if not isinstance(layer, InputLayer)]

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Put a layer at the end; ``rebuild`` is without effect.

        Raises
        ------
        ValueError
            If it is no layer, has another's name, or does not take what comes before it; nothing has changed then.
        """
        before, plans = list(self._layers), vars(self).copy()
        try:
            self._append(layer)
            with all_or_nothing(self._layers):
                self._rebuild()
        except BaseException:
            self.__dict__.update(plans)
            self._layers = before
            raise

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer away and return it; ``rebuild`` is without effect."""
        if not self._layers:
            raise ValueError(f"Sequential model '{self.name}' has no layers.")
        layer = self._layers.pop()
        self._rebuild()
        return layer

    def _append(self, layer: Any) -> None:
        if isinstance(layer, KerasTensor) and layer.history and isinstance(layer.history[0], InputLayer):
            layer = layer.history[0]
        if not isinstance(layer, Layer):
            raise ValueError(
                "Only instances of `keras.Layer` can be added to a Sequential model. "
                f"Received: {layer} (of type {type(layer)})"
            )
        if any(other.name == layer.name and other is not layer for other in self._layers):
            raise ValueError(
                f"All layers added to a Sequential model should have unique names. Name '{layer.name}' is already the "
                "name of a layer in this model. Update the `name` argument to pass a unique name."
            )
        if isinstance(layer, InputLayer) and self._layers:
            first = self._layers[0]
            if isinstance(first, InputLayer):
                raise ValueError(
                    f"Sequential model '{self.name}' has already been configured to use input shape "
                    f"{first.batch_shape}. You cannot add a different Input layer to it."
                )
            raise ValueError("An Input has to be the first layer of a Sequential model.")
        if not self._layers and layer._input_shape is not None:
            self._layers.append(InputLayer(batch_shape=layer._input_shape, dtype=_input_dtype(layer)))
        self._layers.append(layer)

    def _rebuild(self) -> None:
        self.built = False
        self._forget_plans()
        if not self._layers:
            return
        first = self._layers[0]
        if isinstance(first, InputLayer):
            if len(self._layers) > 1:
                self._chain(first.nodes[0].outputs[0])
        elif isinstance(first, Functional) and first.built and is_plain_shape(first.input_shape):
            self.build(first.input_shape)

    def _chain(self, tensor: KerasTensor) -> None:
        start = tensor
        for layer in self._layers:
            if not isinstance(layer, InputLayer):
                tensor = layer._record(tensor, {})
        _graph.unique_name("functional")  # Keras makes, and numbers, a functional model inside
        self._connect(start, tensor)
        self._inputs_struct = [start]

    def _connect(self, inputs: Any, outputs: Any) -> None:
        layers = self._layers
        super()._connect(inputs, outputs)
        self._layers = layers  # a chain's order is the user's
        self._any_steps = self.keras_version[0] >= 3 and self._takes_any_steps()

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for inputs of this shape, batch first.

        Raises
        ------
        ValueError
            If a layer does not take them, or the model is built for others; nothing has changed then.
        """
        self._build_on(input_shape, None)

    def _build_on(self, input_shape: Any, dtype: str | None) -> None:
        """`build` for an input of a type; of that which the first layer is made for, where it is not given."""
        if input_shape is None:
            return
        if self.built:
            if tuple(input_shape) != self.input_shape:
                raise ValueError(
                    f"Sequential model '{self.name}' has already been configured to use input shape "
                    f"{self.input_shape}. You cannot build it with input_shape {tuple(input_shape)}"
                )
            return
        if not self._layers:
            raise ValueError(
                f"Sequential model {self.name} cannot be built because it has no layers. Call `model.add(layer)`."
            )
        first = self._layers[0]
        if isinstance(first, InputLayer):
            raise ValueError(f"Sequential model '{self.name}' consists of an Input only. Call `model.add(layer)`.")
        # all checks come before the first change
        first.check_shape(tuple(input_shape))
        source = InputLayer(batch_shape=tuple(input_shape), dtype=dtype or _input_dtype(first))
        self._layers.insert(0, source)
        try:
            with all_or_nothing(self._layers):
                self._chain(source.nodes[0].outputs[0])
        except BaseException:
            self._layers.remove(source)
            raise

    def _build_for(self, inputs: Any) -> None:
        if not self.built:  # which calls of a built model need no lock to see
            with lock:
                self._build_once(inputs)

    def _build_once(self, inputs: Any) -> None:
        if self.built:  # by another thread meanwhile
            return
        if not self._layers:
            self.build(())
        dtype = None
        if self._layers[0].reads_numbers:
            found = as_numbers_or_strings(inputs)
            shape, dtype = found.shape, "string" if found.dtype.kind == "O" else found.dtype.name
        elif hasattr(inputs, "shape"):
            shape = tuple(inputs.shape)
        elif _input_dtype(self._layers[0]) == "string":
            shape = as_strings(inputs).shape
        else:
            shape = as_array(alone(inputs)).shape
        if not shape:
            raise ValueError(f"Model '{self.name}' needs an input with a batch axis, got a scalar.")
        batch = shape[0] if any(getattr(layer, "stateful", False) for layer in self._layers) else None
        self._build_on((batch, *shape[1:]), dtype)
        self._any_steps = self._takes_any_steps()
        self._plan = None

    def _takes_any_steps(self) -> bool:
        """Whether no layer's weights or shape depend on the number of steps."""
        batch, *sample = self.inputs[0].shape
        if not sample or sample[0] is None or (len(sample) < 2 and not isinstance(self.layers[0], Embedding)):
            return False
        shape: Any = (batch, 2 * sample[0] + 1, *sample[1:])
        try:
            for layer in self.layers:
                if isinstance(layer, Functional) and not layer._any_steps and None not in layer.input_shape[1:2]:
                    return False
                layer.check_shape(shape)
                shape = layer.compute_output_shape(shape)
        except Exception:  # of what users wrote
            return False
        return True

    def _require_built(self) -> None:
        if not self.built:
            raise ValueError(
                f"Sequential model '{self.name}' has no defined input shape yet: begin it with an Input, call "
                "`model.build(input_shape)`, or call it on data."
            )

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.built:
            return super().compute_output_shape(input_shape)
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def _record(self, inputs: Any, kwargs: dict[str, Any]) -> Any:
        tensor = alone(inputs)
        if not self.built:
            self.build(tensor.shape)
        return super()._record(tensor, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("inputs", "outputs", "_inputs_struct", "_outputs_struct", "_graph_nodes"):
            raise AttributeError(f"Sequential model '{self.__dict__.get('name')}' has no defined input shape yet.")
        return object.__getattribute__(self, name)  # which says why there is none

    def summary_layers(self) -> tuple[list[Layer], dict[int, str] | None]:
        return self.layers, None

    def layers_as_saved(self) -> list[Layer]:
        return self.layers

    def get_config(self) -> dict[str, Any]:
        """The model as Keras 3 writes a Sequential one."""
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.policy.name,
            "layers": [serialize_layer(layer) for layer in self._layers],
        }
        if self.built:
            config["build_input_shape"] = list(self.inputs[0].shape)
        return config

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None, keras_version: Any = None
    ) -> Model:
        """A fresh model from what `get_config` gave; see `Model.from_config`."""
        from lstmfast.saving.build import sequential_from_config

        return sequential_from_config(config, custom_objects, keras_version, cls)


class _Reference:
    """A tensor of a pickled graph: output ``position`` of node ``node``, or model input where that is -1."""

    __slots__ = ("node", "position")

    def __init__(self, node: int, position: int) -> None:
        self.node = node
        self.position = position


def _input_dtype(layer: Layer) -> str:
    """The type of the input in front of a first layer that brings no Input."""
    if isinstance(layer, Functional) and layer.built and len(layer.inputs) == 1 and layer.inputs[0].dtype == "string":
        return "string"
    if isinstance(layer, Vocabulary) and not layer.reads_strings:
        return "int64"
    return "string" if layer.reads_strings else layer.policy.compute_dtype if layer.casts_input else "float32"


def _is_input(tensor: KerasTensor) -> bool:
    return tensor.history is not None and isinstance(tensor.history[0], InputLayer)


def _with_own_inputs(inputs: Any, outputs: Any) -> tuple[Any, Any]:
    """The tensors of a model from the middle of a graph, with inputs and calls of layers of its own, as in Keras."""
    nodes, _ = map_graph(flatten(inputs), flatten(outputs))
    own: dict[int, KerasTensor] = {}
    for tensor in flatten(inputs):
        source = InputLayer(batch_shape=tensor.shape, dtype=tensor.dtype, name=f"{tensor.name}CLONE")
        own[id(tensor)] = tensor if _is_input(tensor) else source.nodes[0].outputs[0]

    def moved(leaf: Any) -> Any:
        return own.get(id(leaf), leaf)

    for node in nodes:
        arguments = {name: map_tree(moved, value) for name, value in node.kwargs.items()}
        made = node.layer._record(map_tree(moved, node.args[0]), arguments)
        own.update(zip(map(id, node.outputs), flatten(made), strict=True))
    return map_tree(moved, inputs), map_tree(moved, outputs)


def _is_one_batch(x: Any, batch_size: Any) -> bool:
    """Whether x is an array, or a list of them, of no more rows than a batch."""
    if type(x) is list and x:
        x = x[0]
    return type(x) is np.ndarray and type(batch_size) is int and x.ndim > 0 and 0 < x.shape[0] <= batch_size


def _batch_for(rows: int, steps: int | None) -> int:
    """How many rows a batch has where the caller does not say; of so many steps, as in Keras, what they need."""
    return DEFAULT_BATCH if steps is None else max(1, -(-rows // steps))


def first_call(layer: Layer) -> int:
    """From which number Keras 3 counts the calls of a layer in the outputs of a model; in edges it is 0 for all."""
    return int(isinstance(layer, Functional) and not isinstance(layer, Sequential))


def alone(struct: Any) -> Any:
    return struct[0] if isinstance(struct, (list, tuple)) and len(struct) == 1 else struct


def same_branches(a: Any, b: Any) -> bool:
    """Whether two trees have the same branches; a list is as good as a tuple."""
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(same_branches(a[key], b[key]) for key in b)
    if isinstance(b, (list, tuple)):
        return isinstance(a, (list, tuple)) and len(a) == len(b) and all(map(same_branches, a, b))
    return not isinstance(a, (dict, list, tuple))


def _described(tree: Any) -> str:
    """What a tree of arrays or tensors is, in words."""
    if isinstance(tree, dict):
        return f"a dict of {', '.join(map(repr, sorted(tree)))}"
    if isinstance(tree, (list, tuple)):
        return f"a {type(tree).__name__} of {len(tree)}"
    return "one array" if isinstance(tree, (KerasTensor, np.ndarray)) else type(tree).__name__


if not TYPE_CHECKING:

    def __getattr__(name):
        """Keras's other names in this module."""
        if name in ("load_model", "model_from_json", "save_model"):
            from lstmfast import saving

            return getattr(saving, name)
        if name == "clone_model":
            from lstmfast._clone import clone_model

            return clone_model
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
