"""Models with LoRA enabled and models quantized to 8 bits, from files and live, against live Keras."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import oracle
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import layers
from lstmfast._arrays import policy


def model_of_words(keras: Any, einsum: bool = False) -> Any:
    inputs = keras.Input((6,))
    x = keras.layers.Embedding(20, 8, mask_zero=True)(inputs)
    x = keras.layers.LSTM(8, return_sequences=True)(x)
    if einsum:
        x = keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 6), bias_axes="d")(x)
        x = keras.layers.Conv1D(5, 2)(x)
        x = keras.layers.MultiHeadAttention(2, 3)(x, x)
    x = keras.layers.Dense(7, activation="relu")(keras.layers.LSTM(5)(x))
    model = keras.Model(inputs, keras.layers.Dense(3, use_bias=False, activation="softmax")(x))
    random = np.random.default_rng(2)
    model.set_weights([random.normal(0, 0.6, weight.shape) for weight in model.get_weights()])
    return model


IDS = np.random.default_rng(1).integers(0, 20, (16, 6)) * (np.arange(6) < np.arange(16)[:, None] % 7)


def every_way(keras: Any, model: Any, folder: Any, legacy: bool) -> list[Any]:
    """The model from its files, live, and from what is written of it, which Keras reads too."""
    model.save(folder / "m.keras")
    model.save_weights(folder / "m.weights.h5")
    found = [lstmfast.load_model(folder / "m.keras"), lstmfast.from_keras(model)]
    found.append(lstmfast.model_from_json(model.to_json()))
    found[-1].load_weights(folder / "m.weights.h5")
    if legacy:
        model.save(folder / "m.h5")
        found.append(lstmfast.load_model(folder / "m.h5"))
    for number, mine in enumerate(found[:2]):
        mine.save(folder / f"back{number}.keras")
        found += [read(folder / f"back{number}.keras") for read in (keras.models.load_model, lstmfast.load_model)]
    return found


@pytest.mark.filterwarnings("ignore")
def test_lora_adds_to_the_weights(keras, tmp_path):
    model = model_of_words(keras, einsum=True)
    before = np.asarray(model(IDS))
    adapted = [layer for layer in model._flatten_layers() if hasattr(layer, "enable_lora")]
    assert {type(layer).__name__ for layer in adapted} == {"Embedding", "EinsumDense", "Conv1D", "Dense"}
    for layer in adapted:
        layer.enable_lora(2, lora_alpha=3)
    random = np.random.default_rng(5)
    for weight in model.weights:
        if "lora" in weight.path:
            weight.assign(random.normal(0, 0.4, weight.shape))
    expected = np.asarray(model(IDS))
    assert np.abs(expected - before).max() > 0.01
    for mine in every_way(keras, model, tmp_path, legacy=False):
        oracle.assert_close(np.asarray(mine(IDS)), expected, oracle.LOOSE)
    model.save(tmp_path / "m.h5")
    with pytest.raises(NotImplementedError, match=r"LoRA.*save the model in the \.keras format"):
        lstmfast.load_model(tmp_path / "m.h5")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rounds_inputs", [True, False])
def test_models_in_eight_bits(keras, tmp_path, rounds_inputs):
    """What rounds its inputs may round another way what an LSTM gives in other last bits: here no input is on edge."""
    model = model_of_words(keras)
    before = np.asarray(model(IDS))
    options = {} if rounds_inputs else {"activation_quantizer": None}
    model.quantize(config=keras.quantizers.Int8QuantizationConfig(**options))
    expected = np.asarray(model(IDS))
    assert np.abs(expected - before).max() > 1e-4
    for mine in every_way(keras, model, tmp_path, legacy=True):
        oracle.assert_close(np.asarray(mine(IDS)), expected, oracle.LOOSE)


@pytest.mark.parametrize("rounds_inputs", [True, False])
@pytest.mark.parametrize(("features", "units"), [(3, 5), (40, 9), (1500, 17)])
def test_dense_in_eight_bits(keras, features, units, rounds_inputs):
    random = np.random.default_rng([features, units])
    options = {} if rounds_inputs else {"activation_quantizer": None}
    for number, activation in enumerate((None, "tanh", "softmax")):
        shape = (4, 3, features) if number else (7, features)
        theirs = keras.layers.Dense(units, activation=activation, use_bias=number > 0)
        theirs.build(shape)
        theirs.set_weights([random.normal(size=weight.shape) for weight in theirs.get_weights()])
        theirs.quantize("int8", config=keras.quantizers.Int8QuantizationConfig(**options))
        mine = layers.deserialize(keras.saving.serialize_keras_object(theirs))
        mine.build(shape)
        mine.set_weights(theirs.get_weights())
        x = random.normal(size=shape).astype("float32")
        x[0] = 0
        expected = np.asarray(theirs(x))
        oracle.assert_close(mine(x), expected, 1e-6 if rounds_inputs else 1e-7 * max(10, features))
        for row in range(len(x)):
            np.testing.assert_array_equal(mine(x[row : row + 1]), mine(x)[row : row + 1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["float8", "int4"])
def test_other_quantized_models_are_refused(keras, tmp_path, mode):
    model = model_of_words(keras)
    model.quantize(mode)
    model.save(tmp_path / "m.keras")
    for read in (lambda: lstmfast.load_model(tmp_path / "m.keras"), lambda: lstmfast.from_keras(model)):
        with pytest.raises(NotImplementedError, match="save the model before it is quantized"):
            read()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda K: K.EinsumDense("abc,cd->abd", (None, 2)), "EinsumDense with the dtype policy"),
        (lambda K: K.TimeDistributed(K.Dense(2)), "without their scale"),
        (lambda K: lambda x: K.MultiHeadAttention(2, 3)(x, x), "is quantized in the file|is quantized, which"),
    ],
)
def test_other_quantized_layers_are_refused(keras, tmp_path, make, says):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, make(keras.layers)(inputs))
    model.quantize("int8")
    model.save(tmp_path / "m.keras")
    for read in (lambda: lstmfast.load_model(tmp_path / "m.keras"), lambda: lstmfast.from_keras(model)):
        with pytest.raises(NotImplementedError, match=says):
            read()


@pytest.mark.filterwarnings("ignore")
def test_what_is_quantized_otherwise_is_refused(keras, tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    quantizer = keras.quantizers.AbsMaxQuantizer(value_range=(-100, 100))
    model.quantize(config=keras.quantizers.Int8QuantizationConfig(activation_quantizer=quantizer))
    with pytest.raises(NotImplementedError, match="quantization_config"):
        lstmfast.from_keras(model)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.quantize("int8")
    model.layers[0].enable_lora(1)
    with pytest.raises(NotImplementedError, match="is quantized with LoRA"):
        lstmfast.from_keras(model)
    model.save(tmp_path / "m.keras")
    x = np.random.default_rng(1).normal(size=(5, 3)).astype("float32")
    expected = np.asarray(keras.models.load_model(tmp_path / "m.keras")(x))
    oracle.assert_close(lstmfast.load_model(tmp_path / "m.keras")(x), expected, oracle.STRICT)
    for name in ("int8_from_mixed_bfloat16", "float8_from_float32", "int4/128_from_float32"):
        with pytest.raises(NotImplementedError, match="quantized"):
            policy(name)


@pytest.mark.filterwarnings("ignore")
def test_weights_in_eight_bits_are_integers(keras, tmp_path):
    model = model_of_words(keras)
    model.quantize("int8")
    model.save(tmp_path / "m.keras")
    expected, random = model.get_weights(), np.random.default_rng(7)
    for mine in (lstmfast.load_model(tmp_path / "m.keras"), lstmfast.from_keras(model)):
        for given in (
            expected,
            [one[::-1] for one in expected],
            [random.uniform(-99, 99, one.shape) for one in expected],
        ):
            mine.set_weights(given)
            model.set_weights(given)
            assert_same_bits(mine.get_weights(), model.get_weights())
            before = mine(IDS)
            mine.set_weights(mine.get_weights())
            assert_same_bits(mine(IDS), before)
        assert_same_bits(pickle.loads(pickle.dumps(mine)).get_weights(), model.get_weights())
        mine.save(tmp_path / "again.keras")
        assert_same_bits(keras.models.load_model(tmp_path / "again.keras").get_weights(), model.get_weights())
        dense = mine.layers[-1]
        assert dense.kernel.dtype == np.int8
        printed = []
        for one in (mine, model):
            one.summary(print_fn=printed.append)
        assert printed[0].splitlines()[-4:] == printed[1].splitlines()[-4:]
        model.set_weights(expected)
