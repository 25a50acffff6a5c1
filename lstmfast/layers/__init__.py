"""The layers, by Keras's names.

Next: lstm.py, recurrent.py.
"""

from lstmfast.layers.base import Layer
from lstmfast.layers.core import ELU, Activation, Dense, Input, InputLayer, LeakyReLU, ReLU, Softmax
from lstmfast.layers.gru import GRU
from lstmfast.layers.lstm import LSTM
from lstmfast.layers.masking import Embedding, Masking
from lstmfast.layers.merging import Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract
from lstmfast.layers.regularization import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    Identity,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from lstmfast.layers.reshaping import (
    Cropping1D,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    ZeroPadding1D,
)
from lstmfast.layers.simple_rnn import SimpleRNN
from lstmfast.layers.wrappers import Bidirectional, TimeDistributed

__all__ = [
    "ELU",
    "GRU",
    "LSTM",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AlphaDropout",
    "Average",
    "Bidirectional",
    "Concatenate",
    "Cropping1D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "Input",
    "InputLayer",
    "Layer",
    "LeakyReLU",
    "Masking",
    "Maximum",
    "Minimum",
    "Multiply",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Reshape",
    "SimpleRNN",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "Subtract",
    "TimeDistributed",
    "UpSampling1D",
    "ZeroPadding1D",
]
