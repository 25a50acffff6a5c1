"""Hashing and HashedCrossing beside Keras's, whose hashes are TensorFlow's."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import Input, Sequential, layers
from lstmfast._hashes import fingerprint64, hashed, siphash


def random_texts(count: int, seed: int = 0) -> list[bytes]:
    """Texts of random bytes, of every length up to that count."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, length, dtype=np.uint8).tobytes() for length in range(count)]


@pytest.mark.parametrize("key", [None, (133, 137), (0, 2**63 - 1), (-5, 3)])
def test_hashes_are_those_of_tensorflow(keras, key):
    import tensorflow as tf

    texts = [*random_texts(270), *random_texts(270, 1), b"x" * 5000]
    count = 2**62 + 1
    if key is None:
        mine, theirs = hashed(texts, fingerprint64), tf.strings.to_hash_bucket_fast(texts, count)
    else:
        mine, theirs = hashed(texts, siphash(key)), tf.strings.to_hash_bucket_strong(texts, count, key=list(key))
    assert np.array_equal((mine % np.uint64(count)).astype(np.int64), theirs)
    assert np.array_equal(
        mine, np.concatenate([hashed([text], siphash(key) if key else fingerprint64) for text in texts])
    )


WORDS = np.array([["up", "down", ""], ["left", "\u00e9t\u00e9", "up"]], object)
NUMBERS = np.array([[0, -7, 123456789], [2**62, 3, -(2**63)]])
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"num_bins": 5},
    "one bin": {"num_bins": 1, "mask_value": "up"},
    "mask": {"num_bins": 4, "mask_value": "up"},
    "salt": {"num_bins": 1000, "salt": 133},
    "two salts": {"num_bins": 7, "salt": [133, -137], "mask_value": "left"},
    "int32": {"num_bins": 9, "dtype": "int32"},
    "one hot": {"num_bins": 4, "output_mode": "one_hot", "salt": 1},
    "multi hot": {"num_bins": 4, "output_mode": "multi_hot", "mask_value": "up"},
    "count": {"num_bins": 3, "output_mode": "count", "dtype": "float64"},
}


def same(mine: Any, theirs: Any) -> None:
    theirs = np.asarray(theirs)
    assert mine.shape == theirs.shape
    assert mine.dtype == theirs.dtype
    assert np.array_equal(mine, theirs)


@pytest.mark.parametrize("version", ["keras", "tf_keras"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_bins_are_those_of_keras(version, options, request):
    library = request.getfixturevalue(version)
    of_numbers = {**options, **({"mask_value": 3} if "mask_value" in options else {})}
    given: list[Any] = [(options, x) for x in (WORDS, WORDS[:, :1], np.char.encode(WORDS.astype(str)))]
    given += [(of_numbers, x) for x in (NUMBERS, NUMBERS[:, :1], NUMBERS.astype("int32"))]
    if version == "keras":
        given += [(of_numbers, np.array([[3.7, -2.2, 3.0], [0.0, 1e9, -0.9]], "float32"))]
    for arguments, x in given:
        if version == "tf_keras" and options.get("output_mode") == "one_hot" and x.shape[1] > 1:  # which it refuses
            continue
        mine, theirs = layers.Hashing(**arguments), library.layers.Hashing(**arguments)
        same(mine(x), theirs(x))
        assert mine.compute_output_shape(x.shape) == mine(x).shape
        again = layers.Hashing.from_config(mine.get_config())
        assert np.array_equal(again(x), mine(x))
    if options.get("output_mode") not in ("multi_hot", "count"):
        same(layers.Hashing(**options)(WORDS[0]), library.layers.Hashing(**options)(WORDS[0]))


@pytest.mark.parametrize("version", ["keras", "tf_keras"])
@pytest.mark.parametrize("options", [{}, {"output_mode": "one_hot"}], ids=["int", "one hot"])
def test_crossings_are_those_of_keras(version, options, request):
    library = request.getfixturevalue(version)
    random = np.random.default_rng(0)
    words = np.array([text.hex() for text in random_texts(40)], object)
    inputs = [words, random.integers(-(2**62), 2**62, 40), words[::-1].copy(), random.integers(0, 9, 40, dtype="int32")]
    for chosen in (inputs[:2], inputs[1::2], inputs):
        for x in (chosen, [column[:, None] for column in chosen]):
            mine = layers.HashedCrossing(11, **options)
            same(mine(x), library.layers.HashedCrossing(11, **options)(tuple(x)))
            assert mine.compute_output_shape([column.shape for column in x]) == mine(x).shape


@pytest.mark.parametrize("version", ["keras", "tf_keras"])
def test_models_that_hash(version, request, tmp_path):
    library = request.getfixturevalue(version)

    def model(module: Any) -> Any:
        some = module.layers
        x, word, number = module.Input((5, 3)), module.Input((1,), dtype="string"), module.Input((1,), dtype="int64")
        crossed = some.HashedCrossing(8)([word, number])
        found = some.Embedding(8, 2)(crossed)
        counts = some.Hashing(6, output_mode="multi_hot", salt=[1, 2], mask_value="b")(word)
        more = some.Embedding(7, 2)(some.Hashing(7)(number))
        joined = some.Concatenate()([some.LSTM(4)(x), some.Flatten()(found), counts, some.Flatten()(more)])
        return module.Model([x, word, number], some.Dense(2)(joined))

    random = np.random.default_rng(0)
    words = np.array([["a"], ["b"], ["\u00e9"]], object)
    inputs = [random.uniform(-1, 1, (3, 5, 3)).astype("float32"), words, np.array([[1], [2], [-1]])]
    live = model(library)
    expected = np.asarray(live([library.ops.convert_to_tensor(x) if version == "keras" else x for x in inputs]))
    copy = model(lstmfast)
    copy.set_weights(live.get_weights())
    live.save(tmp_path / "m.keras")
    models = [copy, lstmfast.from_keras(live), lstmfast.load_model(tmp_path / "m.keras")]
    if version == "tf_keras":
        live.save(tmp_path / "m.h5")
        models.append(lstmfast.load_model(tmp_path / "m.h5"))
    models.append(pickle.loads(pickle.dumps(copy)))
    for own in models:
        np.testing.assert_allclose(own.predict(inputs), expected, atol=1e-5)
        assert_same_bits(own.predict(inputs, batch_size=2), own(inputs))
    if version == "keras":
        models[2].save(tmp_path / "again.keras")
        again = library.models.load_model(tmp_path / "again.keras")
        found = np.asarray(again([library.ops.convert_to_tensor(x) for x in inputs]))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("x", [WORDS, WORDS.tolist(), NUMBERS, NUMBERS.astype("float32")], ids=["a", "l", "i", "f"])
def test_a_model_without_an_input_takes_what_comes_first(x):
    model = Sequential([layers.Hashing(5), layers.Embedding(5, 2), layers.LSTM(3)])
    layer = layers.Hashing(5)
    assert_same_bits(model(x), model.layers[2](model.layers[1](layer(x))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Hashing(0), "num_bins"),
        (lambda: layers.Hashing(1 << 63), "num_bins"),
        (lambda: layers.Hashing(3, [1, 2]), "mask_value"),
        (lambda: layers.HashedCrossing(1 << 70), "num_bins"),
        (lambda: layers.Hashing(3, salt=(1, 2, 3)), "salt"),
        (lambda: layers.Hashing(3, salt="a"), "salt"),
        (lambda: layers.Hashing(3, salt=1 << 65), "salt"),
        (lambda: layers.Hashing(3, output_mode="tf_idf"), "output_mode"),
        (lambda: layers.Hashing(3, dtype="float32"), "integer type"),
        (lambda: layers.HashedCrossing(3, "count"), "output_mode"),
        (lambda: layers.Hashing(3, "a")(NUMBERS), "called on numbers"),
        (lambda: layers.Hashing(3, 1)(WORDS), "called on strings"),
        (lambda: layers.Hashing(3, output_mode="count")(WORDS[0]), r"takes \(batch, n\)"),
        (lambda: layers.HashedCrossing(3)(NUMBERS), "at least two inputs, got ndarray"),
        (lambda: layers.HashedCrossing(3)([NUMBERS[:, 0]]), "at least two inputs"),
        (lambda: layers.HashedCrossing(3)([NUMBERS, NUMBERS]), "shape"),
        (lambda: layers.HashedCrossing(3)([NUMBERS[:, 0], NUMBERS[:1, 0]]), "shape"),
        (lambda: layers.HashedCrossing(3)([NUMBERS[:, 0], NUMBERS[:, 0] * 0.5]), "strings, got integers, floats"),
        (lambda: layers.HashedCrossing(3)([Input(()), Input((), dtype="string")]), "integers or strings"),
    ],
)
def test_what_cannot_be_hashed_says_so(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", [layers.Hashing, layers.HashedCrossing])
def test_sparse_arrays_are_refused(kind):
    with pytest.raises(NotImplementedError, match="sparse=True"):
        kind(3, output_mode="one_hot", sparse=True)
