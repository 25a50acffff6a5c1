"""Vocabularies of integers, and what StringLookup, IntegerLookup and TextVectorization make of ids, beside Keras."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import numpy as np
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import Input, Sequential, layers

WORDS = ["up", "down", "left", "\u00e9t\u00e9"]
INTEGERS = [12, 36, 1138, -42]
TEXTS = np.array([["up", "nowhere", "up"], ["down", "<pad>", "far"], ["left", "left", ""]], object)
NUMBERS = np.array([[12, 7, 12], [36, 0, 8], [1138, -42, -9]])
# Keras cannot read a file whose vocabulary ends with "", nor tf_keras learn weights from rows that repeat words
DISTINCT = np.array([["up", "nowhere", "left"], ["down", "<pad>", "far"], ["left", "up", "right"]], object)
MODES = ["multi_hot", "one_hot", "count", "tf_idf", "int"]
WEIGHTS = [0.25, 0.75, 0.6, 0.4]
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "mask": {"mask_token": 0},
    "buckets": {"num_oov_indices": 3},
    "padded": {"max_tokens": 9, "pad_to_max_tokens": True, "mask_token": 0},
}


def same(mine: Any, theirs: Any) -> None:
    theirs = np.asarray(theirs)
    assert mine.shape == theirs.shape
    assert mine.dtype == theirs.dtype
    if mine.dtype.kind == "f":
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    else:
        assert np.array_equal(mine, theirs)


def lookups(library: Any, kind: str, options: dict[str, Any], mode: str, given: bool = True) -> tuple[Any, Any, Any]:
    """The layer here and there, and inputs."""
    is_text = kind == "StringLookup"
    options = {**options, "output_mode": mode}
    if is_text and "mask_token" in options:
        options["mask_token"] = "<pad>"
    if given:
        options["vocabulary"] = WORDS if is_text else INTEGERS
        options.update({"idf_weights": WEIGHTS} if mode == "tf_idf" else {})
    mine, theirs = (getattr(module, kind)(**options) for module in (layers, library.layers))
    if library.__name__.startswith("tf_keras"):
        mine.of_keras_2 = True
    return mine, theirs, TEXTS if is_text else NUMBERS


@pytest.mark.parametrize("version", ["keras", "tf_keras"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup"])
def test_encodings_of_a_vocabulary_are_those_of_keras(version, kind, mode, request):
    library = request.getfixturevalue(version)
    for options in VARIANTS.values():
        mine, theirs, x = lookups(library, kind, options, mode)
        for part in (x, x[:, :1], x[:1]):
            if version == "tf_keras" and mode == "one_hot" and part.shape[1] > 1:  # which it refuses
                continue
            same(mine(part), theirs(part))
            assert mine.compute_output_shape(part.shape) == mine(part).shape
        if mode in ("one_hot", "int"):
            same(mine(x[:, 0]), theirs(x[:, 0]))
        assert mine.get_vocabulary() == list(theirs.get_vocabulary())
        again = type(mine).from_config(mine.get_config())
        again.of_keras_2 = mine.of_keras_2
        assert_same_bits(again(x), mine(x))


@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup"])
@pytest.mark.parametrize("mode", ["int", "count", "tf_idf"])
def test_a_vocabulary_of_data_is_that_of_keras(keras, kind, mode):
    for options in VARIANTS.values():
        for data in (None, "flat", "batches"):
            mine, theirs, x = lookups(keras, kind, options, mode, given=False)
            if "max_tokens" in options:
                mine.max_tokens = theirs.max_tokens = 6
            values = x if data is None else x.ravel()
            for layer in (mine, theirs):
                layer.adapt((row for row in x) if data == "batches" else values)
            assert mine.get_vocabulary() == list(theirs.get_vocabulary())
            same(mine(x), theirs(x))


@pytest.mark.parametrize("options", [{}, {"salt": 5}, {"salt": [7, 8]}])
def test_many_unknown_words_are_spread_as_in_keras(keras, options):
    random = np.random.default_rng(0)
    numbers = random.integers(-(2**40), 2**40, 100)
    more = {**options, "num_oov_indices": 7}
    same(
        layers.IntegerLookup(vocabulary=INTEGERS, oov_method="farmhash", **more)(numbers),
        keras.layers.IntegerLookup(vocabulary=INTEGERS, oov_method="farmhash", **more)(numbers),
    )
    words = np.array([str(number) for number in numbers], object)
    same(
        layers.StringLookup(vocabulary=WORDS, **more)(words), keras.layers.StringLookup(vocabulary=WORDS, **more)(words)
    )


@pytest.mark.parametrize("version", ["keras", "tf_keras"])
@pytest.mark.parametrize("kind", ["StringLookup", "IntegerLookup"])
def test_words_of_ids_are_those_of_keras(version, kind, request):
    library = request.getfixturevalue(version)
    ids = np.array([[0, 1, 2, 3], [4, 5, 6, -1], [7, 100, 0, 2]])
    for options in ({}, {"mask_token": 0}, {"num_oov_indices": 0}, {"num_oov_indices": 2, "mask_token": 0}):
        mine, theirs, _ = lookups(library, kind, {**options, "invert": True}, "int")
        same(mine(ids), theirs(ids))
        model = Sequential([Input((4,), dtype="int64"), type(mine).from_config(mine.get_config())])
        assert np.array_equal(model.predict(ids), mine(ids))


@pytest.mark.parametrize("mode", ["multi_hot", "count", "tf_idf"])
@pytest.mark.parametrize("version", ["keras", "tf_keras"])
@pytest.mark.parametrize("given", [False, True])
def test_encodings_of_texts_are_those_of_keras(version, mode, given, request):
    library = request.getfixturevalue(version)
    texts = np.array(["Up, up and down!", "", "left   left down down", "\u00e9t\u00e9 far UP"], object)
    for more in ({}, {"max_tokens": 8, "pad_to_max_tokens": True}, {"split": "character"}, {"ngrams": 2}):
        options = {**more, "output_mode": mode}
        if given:
            options["vocabulary"] = WORDS
            options.update({"idf_weights": WEIGHTS} if mode == "tf_idf" else {})
        mine, theirs = (module.TextVectorization(**options) for module in (layers, library.layers))
        mine.of_keras_2 = version == "tf_keras"
        if not given:
            for layer in (mine, theirs):
                layer.adapt(texts)
        assert mine.get_vocabulary() == list(theirs.get_vocabulary())
        same(mine(texts), theirs(texts))
        assert mine.compute_output_shape((4,)) == mine(texts).shape
        assert_same_bits(np.concatenate([mine(texts[:1]), mine(texts[1:])]), mine(texts))


@pytest.mark.parametrize("mode", ["one_hot", "count", "int"])
def test_encodings_of_words_without_a_split_are_those_of_keras(keras, mode):
    options = {"split": None, "vocabulary": WORDS, "output_mode": mode}
    mine, theirs = (module.TextVectorization(**options) for module in (layers, keras.layers))
    same(mine(TEXTS), theirs(TEXTS))


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("version", ["keras", "tf_keras"])
def test_models_that_look_up(version, learned, request, tmp_path):
    library = request.getfixturevalue(version)

    def vocabularies(module: Any, taught: bool) -> list[Any]:
        some = module.layers
        words, numbers = ({"vocabulary": WORDS}, {"vocabulary": INTEGERS}) if taught else ({}, {})
        weights = {"idf_weights": WEIGHTS} if taught else {}
        return [
            some.StringLookup(output_mode="tf_idf", mask_token="<pad>", **words, **weights),
            some.IntegerLookup(output_mode="count", num_oov_indices=2, **numbers),
            some.IntegerLookup(mask_token=0, **numbers),
            some.IntegerLookup(output_mode="tf_idf", max_tokens=8, **numbers, **weights),
            some.TextVectorization(output_mode="tf_idf", **words, **weights),
        ]

    def model(module: Any, found: list[Any]) -> Any:
        some = module.layers
        word, number = module.Input((3,), dtype="string"), module.Input((3,), dtype="int64")
        text = module.Input((), dtype="string")
        steps = some.LSTM(3)(some.Embedding(9, 2, mask_zero=True)(found[2](number)))
        counts = some.Dense(3)(found[1](number))
        joined = some.Concatenate()([found[0](word), counts, steps, found[3](number), found[4](text)])
        return module.Model([word, number, text], some.Dense(2)(joined))

    numbers = np.array([[12, 7, 13], [36, 0, 8], [1138, -42, 12]])
    inputs = [DISTINCT, numbers, DISTINCT[:, 0]]
    theirs = vocabularies(library, not learned)
    if learned:
        for layer, x in zip(theirs, (DISTINCT, numbers, numbers, numbers, DISTINCT[:, 0]), strict=True):
            layer.adapt(x)
    live = model(library, theirs)
    tensors = [library.ops.convert_to_tensor(x) if version == "keras" else x for x in inputs]
    expected = np.asarray(live(tensors))
    live.save(tmp_path / "m.keras")
    models = [lstmfast.from_keras(live), lstmfast.load_model(tmp_path / "m.keras")]
    if version == "tf_keras" and not learned:
        live.save(tmp_path / "m.h5")
        models.append(lstmfast.load_model(tmp_path / "m.h5"))
    models.append(pickle.loads(pickle.dumps(models[0])))
    for own in models:
        np.testing.assert_allclose(own.predict(inputs), expected, atol=1e-5)
        assert_same_bits(own.predict(inputs, batch_size=2), own(inputs))
        own.save(tmp_path / "again.keras")
        assert_same_bits(lstmfast.load_model(tmp_path / "again.keras")(inputs), own(inputs))
    keras = request.getfixturevalue("keras")
    again = keras.models.load_model(tmp_path / "again.keras")
    found = np.asarray(again([keras.ops.convert_to_tensor(x) for x in inputs]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_without_an_input_takes_integers():
    model = Sequential([layers.IntegerLookup(vocabulary=[2**53 + 1, 5]), layers.Embedding(3, 2), layers.LSTM(2)])
    x = np.array([[2**53 + 1, 2**53]])
    ids = model.layers[0](x)
    assert ids.tolist() == [[1, 0]]
    assert_same_bits(model(x), model.layers[2](model.layers[1](ids)))


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_weights_of_words_find_their_layers(keras, tmp_path, name):
    """Of two layers of a class that look words up, the one that has a vocabulary, and the one that has learned it."""
    entrance = keras.Input((3,), dtype="string")
    learned = keras.layers.StringLookup(output_mode="tf_idf")
    learned.adapt(DISTINCT)
    given = keras.layers.StringLookup(output_mode="tf_idf", vocabulary=WORDS, idf_weights=WEIGHTS)
    theirs = keras.Model(entrance, keras.layers.Concatenate()([given(entrance), learned(entrance)]))
    getattr(theirs, "save" if name == "m.keras" else "save_weights")(tmp_path / name)
    if name == "m.keras":
        mine = lstmfast.load_model(tmp_path / name)
        np.testing.assert_allclose(mine(DISTINCT), np.asarray(theirs(DISTINCT)), rtol=1e-6)
    else:
        with pytest.raises(ValueError, match=r"vocabulary of layer .* is missing"):
            lstmfast.model_from_json(theirs.to_json()).load_weights(tmp_path / name)


BAD: dict[str, Any] = {
    "mode": ({"output_mode": "hot"}, ValueError, "output_mode: hot"),
    "padding": ({"pad_to_max_tokens": True}, ValueError, "must set `max_tokens`"),
    "inverse": ({"invert": True, "output_mode": "count"}, ValueError, "must be `'int'`"),
    "weights": ({"vocabulary": [1], "idf_weights": [1.0]}, ValueError, "only be set if output_mode is `'tf_idf'`"),
    "no weights": ({"vocabulary": [1], "output_mode": "tf_idf"}, ValueError, "`idf_weights` must be set"),
    "too few": ({"vocabulary": [1, 2], "output_mode": "tf_idf", "idf_weights": [1.0]}, ValueError, "same length"),
    "a word": ({"vocabulary": ["a"]}, ValueError, "to hold integers"),
    "half": ({"vocabulary": [1.5]}, ValueError, "to hold integers"),
    "large": ({"vocabulary": [1 << 63]}, ValueError, "to hold integers"),
    "narrow": ({"vocabulary": [1 << 31], "vocabulary_dtype": "int32"}, ValueError, "integers of 32 bits"),
    "twice": ({"vocabulary": [1, 2, 1]}, ValueError, "repeated term"),
    "unknown": ({"vocabulary": [1, -1], "invert": True}, ValueError, "reserved OOV token"),
    "mask": ({"vocabulary": [1, 0], "mask_token": 0}, ValueError, "reserved mask token"),
    "type": ({"vocabulary_dtype": "float32"}, ValueError, "vocabulary_dtype"),
    "method": ({"oov_method": "md5"}, ValueError, "oov_method: md5"),
    "salt": ({"salt": 3}, ValueError, "oov_method='farmhash'"),
    "sparse": ({"output_mode": "count", "sparse": True}, NotImplementedError, "sparse=True"),
    "ids": ({"num_oov_indices": 1 << 40}, NotImplementedError, "num_oov_indices"),
    "negative": ({"num_oov_indices": -1}, ValueError, "num_oov_indices"),
}


@pytest.mark.parametrize(("options", "error", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_say_so(options, error, message):
    with pytest.raises(error, match=message):
        layers.IntegerLookup(**options)


def test_the_size_of_an_encoding_is_kept():
    layer = layers.IntegerLookup(vocabulary=[3, 4], output_mode="count")
    layer.set_vocabulary([5, 6])
    with pytest.raises(ValueError, match="cannot change: it is 3, got 4"):
        layer.set_vocabulary([5, 6, 7])
    assert layer.get_vocabulary() == [-1, 5, 6]
    with pytest.raises(ValueError, match="no vocabulary yet"):
        layers.IntegerLookup(output_mode="count")(Input((3,), dtype="int64"))
    with pytest.raises(ValueError, match=r"takes \(batch, n\)"):
        layer([5, 6])
    with pytest.raises(ValueError, match=r"found OOV values \[7\]"):
        layers.IntegerLookup(vocabulary=[3], num_oov_indices=0)([3, 7])


def test_the_size_of_an_encoding_is_kept_whoever_sets_it_first():
    layer = layers.StringLookup(output_mode="tf_idf")

    class Slow:
        """Weights during whose reading another thread sets the vocabulary."""

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            layer.set_vocabulary(["a", "b", "c"], [1, 1, 1])
            return np.ones(2)

    with pytest.raises(ValueError, match="cannot change: it is 4, got 3"):
        layer.set_vocabulary(["d", "e"], Slow())
    assert layer.get_vocabulary() == ["[UNK]", "a", "b", "c"]


def test_words_and_weights_of_a_file_come_at_once(tmp_path, monkeypatch):
    """A call while they come sees all old or all new ones."""

    def model(scale: float) -> Any:
        options = {"vocabulary": WORDS, "idf_weights": [scale] * len(WORDS)}
        made = Sequential([Input((3,), dtype="string"), layers.StringLookup(output_mode="tf_idf", **options)])
        made.add(layers.Dense(1, use_bias=False))
        made.set_weights([np.full((len(WORDS) + 1, 1), scale)])
        return made

    mine, other = model(1.0), model(2.0)
    other.save(tmp_path / "other.keras")
    known = [mine(TEXTS), other(TEXTS)]
    seen: list[Any] = []
    callers: list[threading.Thread] = []
    real = layers.StringLookup.take_words

    def take_words(layer: Any, *given: Any) -> None:
        real(layer, *given)
        callers.append(threading.Thread(target=lambda: seen.append(mine(TEXTS))))
        callers[0].start()
        callers[0].join(0.2)

    monkeypatch.setattr(layers.StringLookup, "take_words", take_words)
    mine.load_weights(tmp_path / "other.keras")
    callers[0].join()
    assert any(np.array_equal(seen[0], one) for one in known)
    assert_same_bits(mine(TEXTS), known[1])


def test_a_vocabulary_of_integers_in_a_file(keras, tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("3\n-4\n5")
    mine, theirs = (module.IntegerLookup(vocabulary=str(path)) for module in (layers, keras.layers))
    assert mine.get_vocabulary() == list(theirs.get_vocabulary())
    path.write_text("3\nfour\n")
    with pytest.raises(ValueError, match="a line that is no integer"):
        mine.set_vocabulary(path)
    assert mine.get_vocabulary() == [-1, 3, -4, 5]
