"""What every model has: weights in files, a table, `predict`; and what those have whose `call` a user wrote.

Such a model is a layer of the user's own (layers/own.py). Where it has to be more, in `predict` and `stream`, it is the
one layer of a functional model, made for inputs of that shape.
Next: models.py, for those that are made of layers alone.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from lstmfast._arrays import is_buffer
from lstmfast._graph import KerasTensor, Shape, flat_shapes, flatten, map_shapes, map_tree
from lstmfast._keras import as_version
from lstmfast._pieces import joined
from lstmfast._plan import keepers_in
from lstmfast.layers.arguments import positive
from lstmfast.layers.base import Array, Layer, lock
from lstmfast.layers.core import Input
from lstmfast.layers.operations import Operation
from lstmfast.layers.own import parts_of, revived
from lstmfast.layers.transactions import keeping_states

if TYPE_CHECKING:
    from lstmfast.models import Functional
    from lstmfast.streaming import Stream

DEFAULT_BATCH = 32
_MOST_WHOLE = 64


class _OfTraining:
    """An attribute of Keras's models that there is not here: it says what to do."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, model: Any, kind: type) -> NoReturn:
        raise AttributeError(
            f"'{kind.__name__}' object has no attribute '{self.name}': lstmfast only predicts. Train, and measure "
            "losses and metrics, in Keras; then pass the model to lstmfast.from_keras, or its file to load_model."
        )


class Model(Layer):
    """Layers as one, with `predict`: a graph from inputs to outputs, or what a class derived from this says.

    Such a class makes its layers in the constructor, and in ``call`` says what they do, as in Keras: with NumPy, and
    under the rules for `layers.Layer`. `predict` chooses how many rows ``call`` gets at once.

    Parameters
    ----------
    inputs, outputs : KerasTensor, or list or dict of them
        Made by `Input`, and by calling layers on what it gave. Not for a class with a ``call`` of its own.
    name : str, optional
        Of the model.
    keras_version : str or tuple of int, optional
        The (major, minor) version of Keras whose rules for masks apply; the newest known otherwise.
    **kwargs
        As of all layers: trainable, dtype.

    Raises
    ------
    ValueError
        If an output does not come from the inputs.
    TypeError
        If a class with a ``call`` of its own is given inputs and outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import Input, Model, layers
    >>> x = Input((10, 3))
    >>> model = Model(x, layers.Dense(1)(layers.LSTM(8)(x)))
    >>> model.predict(np.zeros((5, 10, 3))).shape
    (5, 1)

    >>> class Detector(Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.encoder = layers.LSTM(8)
    ...         self.score = layers.Dense(1)
    ...
    ...     def call(self, x):
    ...         return np.abs(self.score(self.encoder(x)))
    >>> Detector().predict(np.zeros((5, 10, 3))).shape
    (5, 1)
    """

    inputs: list[KerasTensor]  # of a graph
    outputs: list[KerasTensor]
    _whole: dict[str, Functional] = {}  # noqa: RUF012 (replaced, never changed) by what `_whole_of` was asked for

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is not Model or not _says_graph(args, kwargs):
            return object.__new__(cls)
        from lstmfast.models import Functional

        return object.__new__(Functional)

    def __init__(self, *args: Any, keras_version: Any = None, **kwargs: Any) -> None:
        if _says_graph(args, kwargs):
            kind = type(self)
            if self.is_own():
                raise TypeError(f"{kind.__name__} has a `call` of its own: it takes no inputs and outputs.")
            from lstmfast.models import Functional

            _make_functional(kind, Functional)
            given: Any = {**kwargs, "keras_version": keras_version}
            Functional.__init__(self, *args, **given)  # type: ignore[arg-type]
            return
        super().__init__(**kwargs)
        self.keras_version = as_version(keras_version)

    # -- what is in it ------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers, in Keras's order; operations between them are not counted."""
        return [layer for layer in self.sublayers() if not isinstance(layer, Operation)]

    def saved_parts(self) -> list[tuple[str, Any]]:
        return parts_of(self, layers=self.layers)  # which is among the attributes that Keras looks at

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place in `layers`.

        Raises
        ------
        ValueError
            If there is none, or both or neither are given.
        """
        layers = self.layers
        if name is not None and index is not None:
            raise ValueError(f"Provide only a layer name or a layer index. Received: index={index}, name={name}.")
        if index is not None:
            if len(layers) <= index:
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has {len(layers)} layers."
                )
            return layers[index]
        if name is None:
            raise ValueError("Provide either a layer name or layer index at `get_layer`.")
        for layer in layers:
            if layer.name == name:
                return layer
        raise ValueError(f"No such layer: {name}. Existing layers are: {[layer.name for layer in layers]}.")

    @property
    def input_shape(self) -> Any:
        """The shape of the input, batch first, that the model is built for; a list of them where there are several."""
        self._require_built()
        return self.build_shape

    @property
    def output_shape(self) -> Any:
        """The shape of the output, batch first; a list of them where there are several."""
        return self.compute_output_shape(self.input_shape)

    @property
    def stateful(self) -> bool:
        """Whether a layer carries state from call to call."""
        inside = (layer for layer in self.all_layers() if not isinstance(layer, Model))  # or each would look for itself
        return any(getattr(layer, "stateful", False) for layer in inside)

    def weight_sizes(self) -> Iterator[tuple[bool, int, int]]:
        """For each weight whether it is trainable, how many scalars it has, and the bytes of one."""
        yield from _weight_sizes(self, True, set())

    def _require_built(self) -> None:
        if not self.built:
            raise ValueError(f"Model '{self.name}' is not built: call it on data, or call `model.build(input_shape)`.")

    # -- running ------------------------------------------------------------------------------------------------

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
        """Outputs for all rows of ``x``.

        Parameters
        ----------
        x : array-like, list or dict of them, iterable of batches, or list of rows of different lengths
            (rows, ...) as the model's inputs. An iterable (a generator, a ``tf.data.Dataset``, a PyTorch
            ``DataLoader``, a ``keras.utils.PyDataset``) gives batches, of a tuple the first element. A list of arrays
            (steps, features) for a model of one input holds rows that may differ in their steps.
        batch_size : int, optional
            Bounds the memory that is taken beside the outputs, and is what the progress bar counts. It changes no
            number: rows are computed independently, and in slices that suit the caches. Only a stateful model is
            stepped by it, and one that goes by the rows of a batch: with a BatchNormalization that is called with
            ``training=True``, or an operation such as a mean over the rows. It defaults to a stateful model's fixed
            batch size, else to 32, and to what ``steps`` batches of all rows have.
        verbose : {"auto", 0, 1, 2}
            Keras's progress bar always (1), only on work of more than a second ("auto"), one line (2), nothing (0).
        steps : int, optional
            How many batches to take at most; of arrays without a ``batch_size``, as in Keras, all rows are taken.
        callbacks : optional
            Must be None or empty.
        out : numpy.ndarray, or list or dict of them as the model's outputs, optional
            Where to put the outputs: of their shapes and dtypes, writable, in C order but for gaps between rows, and
            apart from the inputs and from each other. What is allocated beside them does not grow with the rows.
        lengths : array-like of int, optional
            (rows,): how many steps of each row of ``x`` (rows, steps, ...) count, at least 1. A row's output is that
            of ``x[row : row + 1, : lengths[row]]`` alone, the same bits, and steps that do not count cost nothing.

        Returns
        -------
        numpy.ndarray, or a list or dict of them as the model's outputs
            (rows, ...), fresh or those of ``out``. With ``lengths``, zeros stand behind the ends of outputs that have
            steps; for a list of rows such outputs are lists of arrays.

        Raises
        ------
        ValueError
            If a shape is not what the model was built for, a length is out of range, or an array of ``out`` cannot be
            written to; before anything has been computed.
        TypeError
            If the input does not hold numbers, or ``out`` has another dtype.
        KeyboardInterrupt
            Soon after Ctrl-C, in the midst of any work. The model is as before, stateful layers included; what is in
            ``out`` then is not said.

        Examples
        --------
        >>> import numpy as np
        >>> from lstmfast import Input, Sequential, layers
        >>> model = Sequential([Input((None, 3)), layers.LSTM(4, return_sequences=True)])
        >>> x, out = np.ones((2, 5, 3)), np.empty((2, 5, 4), "float32")
        >>> model.predict(x, out=out) is out
        True
        >>> [y.shape for y in model.predict([x[0, :2], x[1]])]
        [(2, 4), (5, 4)]
        >>> padded = model.predict(x, lengths=[2, 5])
        >>> padded.shape, bool(padded[0, 2:].any())
        ((2, 5, 4), False)
        """
        if callbacks:
            raise NotImplementedError("Callbacks are not supported: lstmfast only predicts.")
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f'`verbose` must be "auto", 0, 1 or 2. Received: {verbose!r}')
        if batch_size is not None:
            batch_size = positive("batch_size", batch_size)
        if steps is not None:
            steps = positive("steps", steps)
        batches = None if isinstance(x, (list, tuple, dict, str, bytes)) else _batches(x)
        if batches is None:
            return self._predict_arrays(x, batch_size, verbose, steps, out, lengths)
        if out is not None or lengths is not None:
            raise ValueError("`out` and `lengths` go with arrays, not with an iterable of batches.")
        with self._keeping_states():
            return self._predict_batches(batches, verbose, steps, _count(x))

    def _predict_arrays(
        self, x: Any, batch_size: int | None, verbose: int | str, steps: int | None, out: Any, lengths: Any
    ) -> Any:
        """As `predict`, its arguments checked, of arrays."""
        x = self.convert_inputs(x)
        arrays = flatten(x)
        for array in arrays:
            if not array.ndim:
                raise ValueError(f"Model '{self.name}' needs inputs with a batch axis, got a scalar.")
        rows = self._rows_at_once(min(batch_size or DEFAULT_BATCH, max(1, len(arrays[0]))))
        sizes = (rows,) if lengths is None else (rows, None)
        whole = self._whole_of(map_tree(lambda array: _Like((*sizes, *array.shape[len(sizes) :]), array.dtype), x))
        return whole.predict(x, batch_size, verbose, steps, None, out, lengths)

    def _rows_at_once(self, rows: int) -> int | None:
        """How many a stateful layer inside takes, or where none is built yet is to take; None where there is none."""
        keepers = list(keepers_in(self))
        return next((layer._batch for layer in keepers if layer._batch), rows) if keepers else None

    def _whole_of(self, inputs: Any) -> Functional:
        """The functional model of this one as its one layer, for inputs like these."""
        from lstmfast.models import Functional

        key = str(inputs)
        whole = self._whole.get(key)
        if whole is None:
            with lock:
                self.build(map_tree(lambda like: like.shape, inputs))
                tensors = map_tree(lambda like: like.symbolic(), inputs)
                before = len(self.nodes)
                whole = Functional(tensors, self(tensors), name=self.name, keras_version=self.keras_version)
                del self.nodes[before:]
                known = self._whole if len(self._whole) < _MOST_WHOLE else {}
                self.__dict__["_whole"] = {**known, key: whole}  # not as an attribute, which would be a layer inside
        return whole

    def _keeping_states(self) -> contextlib.AbstractContextManager[None]:
        return keeping_states(list(keepers_in(self)))

    def _predict_batches(self, batches: Any, verbose: int | str, steps: int | None, known: int | None) -> Any:
        parts: list[list[Array]] = []
        struct: Any = None
        target = min((count for count in (steps, known) if count is not None), default=None)
        progress = None if target is None else make_progress(target, verbose)
        for count, batch in enumerate(batches, 1):
            struct = self(self._batch_inputs(batch))
            parts.append(flatten(struct))
            if progress is not None:
                progress.update(count)
            if count == steps:
                break
        if not parts:
            raise ValueError("Unexpected result of `predict`: the iterable gave no batch.")
        return _repack(struct, [joined(column, 0) for column in zip(*parts, strict=True)])

    def _batch_inputs(self, batch: Any) -> Any:
        """The inputs in what an iterable gave: as in Keras, of a tuple or list (x, y, ...) its x."""
        if isinstance(batch, list) and batch:
            first = batch[0]
            if hasattr(first, "shape"):
                count = len(flat_shapes(self.build_shape)) if self.built else 1
                return batch if count > 1 and len(batch) == count else first
            if isinstance(first, (list, tuple, dict)) and any(hasattr(leaf, "shape") for leaf in flatten(first)):
                return first
        if not isinstance(batch, tuple):
            return batch
        if not batch:
            raise ValueError("Unexpected result of `predict`: the iterable gave an empty batch.")
        return batch[0]

    def run_ragged(self, inputs: Any, lengths: Any, arguments: dict[str, Any], out: Any, caller: list[Any]) -> Any:
        if arguments:
            raise ValueError(f"Model '{self.name}': `lengths` and `{next(iter(arguments))}` do not go together.")
        return self.predict(inputs, out=out, lengths=lengths)

    def predict_on_batch(self, x: Any) -> Any:
        """As calling the model."""
        return self(x)

    def stream(self, batch_size: int = 1) -> Stream:
        """The model one step at a time, with a state of its own.

        Parameters
        ----------
        batch_size : int
            How many sequences to step at once.

        Returns
        -------
        Stream
            Its ``step(x_t)``, x_t (batch, features), gives what the model would give for the sequence up to this step
            (its last step, where the model returns sequences): the same bits.

        Raises
        ------
        ValueError
            If an output depends on later steps, naming the layer.
        """
        from lstmfast.streaming import Stream

        self._require_built()
        rows = self._rows_at_once(batch_size)
        like = map_shapes(lambda shape: _Like((rows, *shape[1:]), self.policy.real), self.build_shape)
        return Stream(self._whole_of(like), batch_size)

    # -- files --------------------------------------------------------------------------------------------------

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None) -> None:
        """Write the model to a ``.keras`` file, which Keras 3 loads too.

        Parameters
        ----------
        filepath : str or path-like
            Ends in ``.keras``.
        overwrite : bool
            Whether to replace a file that exists.
        zipped : bool, optional
            Not False: a directory is not written.

        Raises
        ------
        ValueError
            If the name ends otherwise, or the model is not built.
        NotImplementedError
            If the model holds something that Keras 3 does not have.
        FileExistsError
            If the file exists, and ``overwrite`` is False.
        OSError
            If it cannot be written.
        """
        if zipped is False:
            raise NotImplementedError("Models are written as one file, not as a directory (zipped=False).")
        from lstmfast.saving.writing import save_model

        save_model(self, filepath, overwrite)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Write the weights alone to a ``.weights.h5`` file, which Keras 3 loads too.

        Parameters
        ----------
        filepath : str or path-like
            Ends in ``.weights.h5``.
        overwrite : bool
            Whether to replace a file that exists.

        Raises
        ------
        ValueError
            If the name ends otherwise, or the model is not built.
        FileExistsError
            If the file exists, and ``overwrite`` is False.
        OSError
            If it cannot be written.
        """
        from lstmfast.saving.writing import save_weights

        save_weights(self, filepath, overwrite)

    def to_json(self, **kwargs: Any) -> str:
        """The architecture without weights, as Keras 3 writes it; `model_from_json` and Keras read it.

        Parameters
        ----------
        **kwargs
            Those of `json.dumps`, such as ``indent``.

        Raises
        ------
        NotImplementedError
            If the model holds something that Keras 3 does not have.
        """
        import json

        from lstmfast.saving.writing import architecture

        self._require_built()
        return json.dumps(architecture(self), **kwargs)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, by_name: bool = False) -> None:
        """Take over the weights in a file: ``.weights.h5``, an older weights-only ``.h5``, or a whole model.

        Parameters
        ----------
        filepath : str or path-like
            Of the file.
        skip_mismatch : bool
            Whether a layer whose weights have other shapes in the file keeps its own, with a warning.
        by_name : bool
            Whether only layers of the same name take their weights, and others keep theirs; for older ``.h5`` files.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If its weights are not this model's; nothing has changed then.
        """
        from lstmfast.saving.assigning import load_weights

        load_weights(self, filepath, skip_mismatch, by_name)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Accepted and ignored: there is no training here."""

    fit = _OfTraining()
    evaluate = _OfTraining()
    train_on_batch = _OfTraining()
    test_on_batch = _OfTraining()
    loss = _OfTraining()
    metrics = _OfTraining()
    optimizer = _OfTraining()

    # -- looking at it ------------------------------------------------------------------------------------------

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Print Keras's table of the layers with their output shapes and parameters.

        Parameters
        ----------
        line_length : int, optional
            Width of the table.
        positions : list of float, optional
            Where the columns end, relative to the width.
        print_fn : callable, optional
            Takes the whole text, in place of `print`.
        expand_nested : bool
            Whether to list the layers of nested models.
        show_trainable : bool
            Whether to say which layers are trainable.
        layer_range : pair of str, optional
            Names, or patterns of them, of the first and last layer to list.
        """
        from lstmfast._progress import print_where_possible
        from lstmfast._summary import render

        text = render(self, line_length, positions, expand_nested, show_trainable, layer_range)
        if print_fn is None:
            print_where_possible(text)
        else:
            print_fn(text + "\n")

    def summary_layers(self) -> tuple[list[Layer], dict[int, str] | None]:
        """The layers that `summary` lists and, unless they are one chain, what each is connected to."""
        return self.layers, None

    # -- configs ------------------------------------------------------------------------------------------------

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None, keras_version: Any = None
    ) -> Model:
        """A fresh model from what `get_config` gave.

        Parameters
        ----------
        config : dict
            It does not say by which version's rules the model hands masks on.
        custom_objects : dict, optional
            As of `load_model`.
        keras_version : str or tuple of int, optional
            That version, such as the ``keras_version`` of the model of an older file; the newest known otherwise.
        """
        if not is_of_graph(cls, config):
            model: Any = revived(cls, config)
            if keras_version is not None:
                model.keras_version = as_version(keras_version)
            return model  # type: ignore[no-any-return]
        from lstmfast.saving.build import functional_from_config

        return functional_from_config(config, custom_objects, keras_version, cls)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_whole", None)
        return state


class _Like:
    """What a model is made for: arrays of a shape, which may leave open the rows, and of a type."""

    def __init__(self, shape: Shape, dtype: Any) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __repr__(self) -> str:
        return f"{self.dtype}{self.shape}"

    def symbolic(self) -> KerasTensor:
        dtype = "string" if self.dtype.kind in "OSU" else self.dtype.name
        tensor: KerasTensor = Input(batch_shape=self.shape, dtype=dtype)
        return tensor


def _says_graph(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a constructor's arguments are those of a functional model."""
    return bool(args) or "inputs" in kwargs or "outputs" in kwargs


def is_of_graph(kind: type[Model], config: dict[str, Any]) -> bool:
    """Whether a config is that of a graph, and the constructor of ``kind`` takes one as Keras's own does."""
    from lstmfast.models import Functional

    if kind in (Model, Functional):
        return True
    if "input_layers" not in config:
        return False
    wanted = inspect.getfullargspec(kind.__init__)
    names = wanted.args[1:]
    return (
        bool(wanted.varargs and wanted.varkw)
        or names == ["inputs", "outputs", "name"]
        or kind.__init__ is Functional.__init__
    )


def _make_functional(kind: type, functional: type) -> None:
    """Put the functional model in the place of `Model` among what a class derives from, as Keras does."""
    for base in kind.__bases__:
        if issubclass(base, Model) and base is not Model:
            _make_functional(base, functional)
    kind.__bases__ = tuple(functional if base is Model else base for base in kind.__bases__)


def _batches(x: Any) -> Iterator[Any] | None:
    """The batches that an iterable or a Keras dataset gives; None where x is no such thing."""
    if hasattr(x, "__array__") or hasattr(x, "__dlpack__") or is_buffer(x):
        return None
    if hasattr(x, "__iter__"):
        batches: Iterator[Any] = iter(x)
        return batches
    if hasattr(x, "__getitem__") and hasattr(x, "__len__"):  # PyDataset, whose indices do not end by themselves
        return (x[place] for place in range(len(x)))
    return None


def _count(batches: Any) -> int | None:
    """How many batches an iterable gives, where it says so."""
    try:
        return len(batches)
    except TypeError:
        return None


def _repack(struct: Any, arrays: list[Array]) -> Any:
    by_order = iter(arrays)
    return map_tree(lambda _: next(by_order), struct)


def make_progress(target: int, verbose: int | str) -> Any:
    from lstmfast._progress import Progress

    return Progress(target, verbose)


def _weight_sizes(layer: Layer, trainable: bool, seen: set[int]) -> Iterator[tuple[bool, int, int]]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    trainable = trainable and layer.trainable
    for spec in layer._specs:
        yield trainable and spec.trainable, int(np.prod(spec.shape, dtype=np.int64)), spec.dtype.itemsize
    for inner in layer.sublayers():
        yield from _weight_sizes(inner, trainable, seen)
