"""The fastest way to run a Keras LSTM on a CPU: saved models in, the same numbers out, no TensorFlow.

>>> import numpy as np
>>> from lstmfast import Input, Sequential, layers
>>> model = Sequential([Input((40, 1)), layers.LSTM(100), layers.Dense(1)])
>>> model.predict(np.zeros((8, 40, 1))).shape
(8, 1)
"""

from lstmfast import activations, initializers, layers
from lstmfast._version import __version__
from lstmfast.converting import from_onnx, from_torch
from lstmfast.functional import gru, lstm, simple_rnn
from lstmfast.layers.core import Input
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
    "set_num_threads",
    "show_config",
    "simple_rnn",
    "threads",
]
