"""Live Keras and ONNX Runtime on a model's file; imported only where they are asked for.

Next: verify.py, bench.py.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lstmfast._graph import flatten
from lstmfast.commands import FILE, Failure
from lstmfast.commands.config import version

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]  # gives the outputs: an array, or a list or dict of them

_BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}  # of Keras 3: its name, its module
PREDICT, CALL, ONNX = "Keras predict", "Keras model(x)", "ONNX Runtime"


def keras_module(keras_version: str) -> str:
    """The module whose Keras reads a file of this version: "keras" or "tf_keras"."""
    return "keras" if keras_version.split(".")[0] not in ("", "1", "2") else "tf_keras"


def keras_installed(keras_version: str) -> bool:
    """Whether that Keras, and something to run it, is installed."""
    module = keras_module(keras_version)
    found = importlib.util.find_spec(module) is not None
    if module == "tf_keras":
        return found and importlib.util.find_spec("tensorflow") is not None
    return found and _backend() is not None


def keras_packages(keras_version: str) -> str:
    """What has to be installed for that, as a message names it."""
    if keras_module(keras_version) == "tf_keras":
        return "tf_keras and tensorflow"
    return "keras and a backend of it (tensorflow, jax or torch)"


def keras_title(keras_version: str) -> str:
    """That Keras and what runs it, with their versions."""
    module = keras_module(keras_version)
    backend = ("tensorflow" if module == "tf_keras" else _backend()) or "no backend"
    return f"{module} {version(module)} on {backend} {version(backend) or ''}".rstrip()


def load_keras(path: str, keras_version: str) -> Any:
    """The live model in a file.

    Raises
    ------
    Failure
        If Keras cannot load it.
    """
    name = keras_module(keras_version)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    if name == "keras":
        os.environ.setdefault("KERAS_BACKEND", _backend() or "tensorflow")
    with _no_standard_error():
        keras = importlib.import_module(name)
        try:
            return keras.models.load_model(path, compile=False)
        except Exception as error:  # whatever a library of this size raises
            first = str(error).strip().splitlines()[:1]
            raise Failure(f"{keras_title(keras_version)} cannot load '{path}': {' '.join(first)}", FILE) from error


def keras_calls(model: Any, arrays: dict[str, Array]) -> dict[str, Call]:
    """The two ways to run a live model on inputs by name."""
    names = [getattr(tensor, "name", "").split(":")[0] for tensor in model.inputs]
    x: Any = list(arrays.values())
    if len(x) == 1:
        x = x[0]
    elif isinstance(getattr(model, "_inputs_struct", None), dict) or set(arrays) == set(names):
        x = arrays
    rows = len(next(iter(arrays.values())))
    return {
        PREDICT: lambda: model.predict(x, batch_size=rows, verbose=0),
        CALL: lambda: [np.asarray(array) for array in flatten(model(x))],
    }


def onnx_call(path: str, arrays: dict[str, Array], threads: int) -> Call:
    """A model in a .onnx file on inputs by name, or in their order where the names differ.

    Raises
    ------
    Failure
        If its inputs are others.
    """
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if len(inputs) != len(arrays):
        raise Failure(f"'{path}' has {len(inputs)} inputs, and the model {len(arrays)}.")
    by_name = all(entry.name in arrays for entry in inputs)
    values = [arrays[entry.name] for entry in inputs] if by_name else list(arrays.values())
    feed = {entry.name: value.astype(_numpy_type(entry.type)) for entry, value in zip(inputs, values, strict=True)}
    return lambda: session.run(None, feed)


def _numpy_type(name: str) -> np.dtype[Any]:
    """Of ``tensor(float)`` and the like."""
    inner = name[name.find("(") + 1 : -1]
    return np.dtype({"float": "float32", "double": "float64", "float16": "float16"}.get(inner, inner))


def _backend() -> str | None:
    chosen = os.environ.get("KERAS_BACKEND")
    names = [chosen] if chosen else list(_BACKENDS)
    return next((name for name in names if importlib.util.find_spec(_BACKENDS.get(name, name))), None)


@contextlib.contextmanager
def _no_standard_error() -> Iterator[None]:
    """TensorFlow's C++ writes to the descriptor, whatever its log level."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
