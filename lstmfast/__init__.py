"""Fast CPU inference for saved Keras LSTM models, with Keras's numbers and without TensorFlow.

>>> import numpy as np
>>> from lstmfast import Input, Sequential, layers
>>> model = Sequential([Input((40, 1)), layers.LSTM(100), layers.Dense(1)])
>>> model.predict(np.zeros((8, 40, 1))).shape
(8, 1)
"""

from typing import TYPE_CHECKING

from lstmfast import (
    _core,  # noqa: F401 (what cannot run here fails now, where a program may still do without)
    _environment,
)
from lstmfast._version import __version__

_environment.check()

if TYPE_CHECKING:
    from lstmfast import activations, initializers, layers, preprocessing
    from lstmfast.converting import from_onnx, from_torch
    from lstmfast.functional import gru, lstm, simple_rnn
    from lstmfast.layers import Input
    from lstmfast.models import Model, Sequential
    from lstmfast.runtime import get_num_threads, set_num_threads, show_config, threads
    from lstmfast.saving import explain, from_keras, load_model, model_from_json

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "__version__",
    "activations",
    "explain",
    "from_keras",
    "from_onnx",
    "from_torch",
    "get_num_threads",
    "gru",
    "initializers",
    "layers",
    "load_model",
    "lstm",
    "model_from_json",
    "preprocessing",
    "set_num_threads",
    "show_config",
    "simple_rnn",
    "threads",
]

# Each name is imported when it is first asked for: a process that never runs a model does not pay for the layers. The
# modules, and where the other names above are:
_MODULES = {
    "activations": (),
    "converting": ("from_onnx", "from_torch"),
    "functional": ("gru", "lstm", "simple_rnn"),
    "initializers": (),
    "layers": ("Input",),
    "models": ("Model", "Sequential"),
    "preprocessing": (),
    "runtime": ("get_num_threads", "set_num_threads", "show_config", "threads"),
    "saving": ("explain", "from_keras", "load_model", "model_from_json"),
    "streaming": (),
}

if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name):
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        for module, names in _MODULES.items():
            if name in names:
                value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *_MODULES, *__all__} - {"TYPE_CHECKING"})
