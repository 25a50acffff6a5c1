"""Every layer, written by `Model.save`, is read by live Keras and gives what it gave before."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import oracle
import pytest
from bits import assert_same_bits
from test_images import RANDOM, random_layer

import lstmfast
from lstmfast import layers
from lstmfast.layers.base import REGISTRY

STEPS, PLANE, VOLUME = (6, 4), (5, 6, 4), (4, 5, 4, 2)
# The inputs' shapes of one sample, and the layer on them.
Case = tuple[list[tuple[int, ...]], Callable[[], Any]]


def alone(shape: tuple[int, ...], make: Callable[[], Any]) -> Case:
    return [shape], make


CASES: dict[str, Case] = {
    **{name: alone((5, 6, 3), partial(random_layer, layers, name)) for name in RANDOM},
    "AdaptiveAveragePooling1D": alone(STEPS, lambda: layers.AdaptiveAveragePooling1D(4)),
    "AdaptiveAveragePooling2D": alone(PLANE, lambda: layers.AdaptiveAveragePooling2D((2, 4))),
    "AdaptiveAveragePooling3D": alone(VOLUME, lambda: layers.AdaptiveAveragePooling3D(3)),
    "AdaptiveMaxPooling1D": alone(STEPS, lambda: layers.AdaptiveMaxPooling1D((4,))),
    "AdaptiveMaxPooling2D": alone(PLANE, lambda: layers.AdaptiveMaxPooling2D(3)),
    "AdaptiveMaxPooling3D": alone(VOLUME, lambda: layers.AdaptiveMaxPooling3D((1, 2, 3))),
    "CenterCrop": alone(PLANE, lambda: layers.CenterCrop(3, 8)),
    "Conv3DTranspose": alone(VOLUME, lambda: layers.Conv3DTranspose(3, 2, 2, "same", output_padding=1)),
    "Resizing": alone(PLANE, lambda: layers.Resizing(3, 8, crop_to_aspect_ratio=True)),
    "Activation": alone(STEPS, lambda: layers.Activation("gelu")),
    "ActivityRegularization": alone(STEPS, lambda: layers.ActivityRegularization(l1=0.1, l2=0.2)),
    "AlphaDropout": alone(STEPS, lambda: layers.AlphaDropout(0.2, seed=3)),
    "AveragePooling1D": alone(STEPS, lambda: layers.AveragePooling1D(2, padding="same")),
    "AveragePooling2D": alone(PLANE, lambda: layers.AveragePooling2D((2, 3), strides=1)),
    "AveragePooling3D": alone(VOLUME, lambda: layers.AveragePooling3D(2, padding="same")),
    "BatchNormalization": alone(STEPS, lambda: layers.BatchNormalization(scale=False, epsilon=0.01)),
    "Bidirectional": alone(STEPS, lambda: layers.Bidirectional(layers.GRU(3), merge_mode="mul")),
    "Conv1D": alone(STEPS, lambda: layers.Conv1D(3, 2, padding="causal", dilation_rate=2, activation="relu")),
    "Conv1DTranspose": alone(STEPS, lambda: layers.Conv1DTranspose(3, 2, strides=3, activation="softmax")),
    "Conv2D": alone(PLANE, lambda: layers.Conv2D(4, (2, 3), strides=2, padding="same", groups=2)),
    "Conv2DTranspose": alone(PLANE, lambda: layers.Conv2DTranspose(3, (2, 3), 2, "same", output_padding=1)),
    "Conv3D": alone(VOLUME, lambda: layers.Conv3D(3, 2, use_bias=False)),
    "ConvLSTM1D": alone(PLANE, lambda: layers.ConvLSTM1D(3, 2, padding="same", return_sequences=True)),
    "ConvLSTM2D": alone(VOLUME, lambda: layers.ConvLSTM2D(3, 2, strides=2)),
    "ConvLSTM3D": alone((2, 3, 4, 5, 2), lambda: layers.ConvLSTM3D(2, (1, 2, 2), padding="same")),
    "Cropping1D": alone(STEPS, lambda: layers.Cropping1D((1, 2))),
    "Cropping2D": alone(PLANE, lambda: layers.Cropping2D(((1, 0), 2))),
    "Cropping3D": alone(VOLUME, lambda: layers.Cropping3D((1, 2, (0, 1)), data_format="channels_last")),
    "Dense": alone(STEPS, lambda: layers.Dense(3, activation="softsign")),
    "DepthwiseConv1D": alone(STEPS, lambda: layers.DepthwiseConv1D(2, depth_multiplier=2)),
    "DepthwiseConv2D": alone(PLANE, lambda: layers.DepthwiseConv2D(2, depth_multiplier=2, padding="same")),
    "Dropout": alone(STEPS, lambda: layers.Dropout(0.3, noise_shape=(None, 1, 4))),
    "ELU": alone(STEPS, lambda: layers.ELU(0.5)),
    "EinsumDense": alone(STEPS, lambda: layers.EinsumDense("abc,dce->abde", (6, 3, 2), "tanh", bias_axes="e")),
    "Embedding": alone((6,), lambda: layers.Embedding(9, 3, mask_zero=True)),
    "Flatten": alone(PLANE, layers.Flatten),
    "GRU": alone(STEPS, lambda: layers.GRU(3, reset_after=False, go_backwards=True)),
    "GRUCell": alone(STEPS, lambda: layers.RNN(layers.GRUCell(3), return_sequences=True)),
    "GaussianDropout": alone(STEPS, lambda: layers.GaussianDropout(0.2)),
    "GaussianNoise": alone(STEPS, lambda: layers.GaussianNoise(0.2)),
    "GlobalAveragePooling1D": alone(STEPS, lambda: layers.GlobalAveragePooling1D(keepdims=True)),
    "GlobalAveragePooling2D": alone(PLANE, lambda: layers.GlobalAveragePooling2D(data_format="channels_first")),
    "GlobalAveragePooling3D": alone(VOLUME, layers.GlobalAveragePooling3D),
    "GlobalMaxPooling1D": alone(STEPS, layers.GlobalMaxPooling1D),
    "GlobalMaxPooling2D": alone(PLANE, lambda: layers.GlobalMaxPooling2D(keepdims=True)),
    "GlobalMaxPooling3D": alone(VOLUME, layers.GlobalMaxPooling3D),
    "GroupNormalization": alone(STEPS, lambda: layers.GroupNormalization(2, center=False)),
    "Identity": alone(STEPS, layers.Identity),
    "LSTM": alone(STEPS, lambda: layers.LSTM(3, unit_forget_bias=False, return_sequences=True)),
    "LSTMCell": alone(STEPS, lambda: layers.RNN(layers.LSTMCell(3), go_backwards=True)),
    "LayerNormalization": alone(PLANE, lambda: layers.LayerNormalization(axis=(2, 3))),
    "LeakyReLU": alone(STEPS, lambda: layers.LeakyReLU(0.1)),
    "MelSpectrogram": alone((100,), lambda: layers.MelSpectrogram(32, 8, 20, "hamming", num_mel_bins=5)),
    "Masking": alone(STEPS, lambda: layers.Masking(0.5)),
    "MaxPooling1D": alone(STEPS, lambda: layers.MaxPooling1D(3, strides=2)),
    "MaxPooling2D": alone(PLANE, lambda: layers.MaxPooling2D(2, padding="same")),
    "MaxPooling3D": alone(VOLUME, lambda: layers.MaxPooling3D(2)),
    "Normalization": alone(
        STEPS, lambda: layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0])
    ),
    "PReLU": alone(STEPS, lambda: layers.PReLU(shared_axes=[1])),
    "Permute": alone(PLANE, lambda: layers.Permute((3, 1, 2))),
    "RMSNormalization": alone(PLANE, lambda: layers.RMSNormalization(axis=(2, 3), epsilon=0.01)),
    "RNN": alone(STEPS, lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)])),
    "ReLU": alone(STEPS, lambda: layers.ReLU(0.8, 0.1, 0.05)),
    "RepeatVector": alone((4,), lambda: layers.RepeatVector(3)),
    "Rescaling": alone(STEPS, lambda: layers.Rescaling(2.0, 0.5)),
    "Reshape": alone(STEPS, lambda: layers.Reshape((3, -1, 2))),
    "STFTSpectrogram": alone((40, 2), lambda: layers.STFTSpectrogram("psd", 16, 5, window=None, padding="same")),
    "SeparableConv1D": alone(STEPS, lambda: layers.SeparableConv1D(3, 2, depth_multiplier=2)),
    "SeparableConv2D": alone(PLANE, lambda: layers.SeparableConv2D(3, 2, strides=2)),
    "SimpleRNN": alone(STEPS, lambda: layers.SimpleRNN(3, activation="relu")),
    "SimpleRNNCell": alone(STEPS, lambda: layers.RNN(layers.SimpleRNNCell(3))),
    "Softmax": alone(STEPS, lambda: layers.Softmax(axis=1)),
    "SpatialDropout1D": alone(STEPS, lambda: layers.SpatialDropout1D(0.2)),
    "SpatialDropout2D": alone(PLANE, lambda: layers.SpatialDropout2D(0.2)),
    "SpatialDropout3D": alone(VOLUME, lambda: layers.SpatialDropout3D(0.2)),
    "StackedRNNCells": alone(
        STEPS, lambda: layers.RNN(layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(2)]))
    ),
    "TimeDistributed": alone(PLANE, lambda: layers.TimeDistributed(layers.LSTM(3))),
    "UnitNormalization": alone(STEPS, layers.UnitNormalization),
    "UpSampling1D": alone(STEPS, lambda: layers.UpSampling1D(3)),
    "UpSampling2D": alone(PLANE, lambda: layers.UpSampling2D((2, 3), interpolation="bilinear")),
    "UpSampling3D": alone(VOLUME, lambda: layers.UpSampling3D((1, 2, 3), data_format="channels_first")),
    "ZeroPadding1D": alone(STEPS, lambda: layers.ZeroPadding1D((2, 1))),
    "ZeroPadding2D": alone(PLANE, lambda: layers.ZeroPadding2D((1, (0, 2)))),
    "ZeroPadding3D": alone(VOLUME, lambda: layers.ZeroPadding3D(2)),
    "Add": ([STEPS, STEPS, STEPS], layers.Add),
    "AdditiveAttention": ([STEPS, (5, 4)], layers.AdditiveAttention),
    "Attention": ([STEPS, (5, 4)], lambda: layers.Attention(use_scale=True)),
    "Average": ([STEPS, STEPS], layers.Average),
    "Concatenate": ([STEPS, (2, 4)], lambda: layers.Concatenate(axis=1)),
    "Dot": ([STEPS, (5, 4)], lambda: layers.Dot(axes=2, normalize=True)),
    "Maximum": ([STEPS, STEPS], layers.Maximum),
    "Minimum": ([STEPS, STEPS], layers.Minimum),
    "Multiply": ([STEPS, (1, 4)], layers.Multiply),
    "Subtract": ([STEPS, STEPS], layers.Subtract),
}
# Models, what a graph holds beside layers, and what takes text or makes classes have tests of their own; Keras 3 has no
# ThresholdedReLU.
ELSEWHERE = {
    "CategoryEncoding",
    "Discretization",
    "Functional",
    "GroupQueryAttention",
    "HashedCrossing",
    "Hashing",
    "InputLayer",
    "IntegerLookup",
    "MultiHeadAttention",
    "Operation",
    "Sequential",
    "StringLookup",
    "TextVectorization",
    "ThresholdedReLU",
}


def test_every_layer_has_a_case():
    assert lstmfast.Model.__name__ in REGISTRY  # its module comes when it is asked for
    own = {cls.__name__ for cls in REGISTRY.values() if cls.__module__.startswith("lstmfast.")}
    assert own == set(CASES) | ELSEWHERE


def reads_the_same(keras: Any, model: lstmfast.Model, shapes: list[tuple[int, ...]], folder: Any) -> None:
    random = np.random.default_rng(3)
    x: Any = [random.uniform(0, 1, (3, *shape)).astype("float32") for shape in shapes]
    if any(isinstance(layer, layers.Embedding) for layer in model.layers):
        x = [random.integers(0, 9, (3, *shape)) for shape in shapes]
    # positive, for variances are among them
    model.set_weights([random.uniform(0.05, 0.7, weight.shape) for weight in model.weights])
    model.save(folder / "m.keras")
    theirs = keras.models.load_model(folder / "m.keras")
    x = x if len(x) > 1 else x[0]
    y = model(x)
    expected = np.asarray(theirs(x, training=False))  # what is random acts in other calls
    oracle.assert_close(y, expected, oracle.LOOSE * (1 + np.abs(y)))
    for twin in (lstmfast.load_model(folder / "m.keras"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same_bits(twin(x), y)


FIRST = "channels_first"
CHANNELS_FIRST: dict[str, Case] = {
    name: alone(shape, make)
    for name, shape, make in (
        ("Conv1D", STEPS, lambda: layers.Conv1D(3, 2, strides=2, padding="same", data_format=FIRST)),
        ("Conv2D", PLANE, lambda: layers.Conv2D(3, 2, dilation_rate=2, data_format=FIRST)),
        ("Conv3D", VOLUME, lambda: layers.Conv3D(3, 2, data_format=FIRST)),
        ("Conv2DTranspose", PLANE, lambda: layers.Conv2DTranspose(3, 2, 2, padding="same", data_format=FIRST)),
        ("DepthwiseConv1D", STEPS, lambda: layers.DepthwiseConv1D(2, data_format=FIRST)),
        ("SeparableConv2D", PLANE, lambda: layers.SeparableConv2D(3, 2, data_format=FIRST)),
        ("MaxPooling1D", STEPS, lambda: layers.MaxPooling1D(2, padding="same", data_format=FIRST)),
        ("AveragePooling2D", PLANE, lambda: layers.AveragePooling2D(2, padding="same", data_format=FIRST)),
        ("MaxPooling3D", VOLUME, lambda: layers.MaxPooling3D(2, data_format=FIRST)),
        ("GlobalMaxPooling2D", PLANE, lambda: layers.GlobalMaxPooling2D(keepdims=True, data_format=FIRST)),
        ("ZeroPadding1D", STEPS, lambda: layers.ZeroPadding1D((2, 1), data_format=FIRST)),
    )
}


@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_channels_first_is_channels_last_turned_around(name):
    # which Keras on TensorFlow computes on a GPU only
    shapes, make = CHANNELS_FIRST[name]
    random = np.random.default_rng(3)
    x = random.uniform(-1, 1, (3, *shapes[0])).astype("float32")
    first = make()
    last = type(first).from_config({**first.get_config(), "data_format": "channels_last"})
    last.build(x.shape)
    weights = [random.uniform(-1, 1, weight.shape) for weight in last.weights]
    last.set_weights(weights)
    turned = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    first.build(turned.shape)
    first.set_weights(weights)
    expected = np.moveaxis(last(x), -1, 1)
    assert first.compute_output_shape(turned.shape) == expected.shape
    np.testing.assert_allclose(first(turned), expected, rtol=1e-5, atol=1e-6)


def test_padding_of_channels_first_is_that_of_keras(keras, tmp_path):
    x = lstmfast.Input(STEPS)
    reads_the_same(keras, lstmfast.Model(x, CHANNELS_FIRST["ZeroPadding1D"][1]()(x)), [STEPS], tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_reads_the_same(keras, name, tmp_path):
    shapes, make = CASES[name]
    inputs = [lstmfast.Input(shape) for shape in shapes]
    model = lstmfast.Model(inputs, make()(inputs if len(inputs) > 1 else inputs[0]))
    reads_the_same(keras, model, shapes, tmp_path)


def test_multi_head_attention_reads_the_same(keras, tmp_path):
    x, y = lstmfast.Input(STEPS), lstmfast.Input((5, 3))
    model = lstmfast.Model([x, y], layers.MultiHeadAttention(2, 3, value_dim=2)(x, y))
    reads_the_same(keras, model, [STEPS, (5, 3)], tmp_path)
