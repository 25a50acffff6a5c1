"""CategoryEncoding and Discretization beside Keras's."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import Input, Sequential, layers

IDS = [np.array([[1, 2, 1], [0, 0, 3]]), np.array([[1], [3]]), np.array([[1, 7]])]


@pytest.mark.parametrize("mode", ["multi_hot", "one_hot", "count"])
def test_encodings_are_those_of_keras(keras, mode):
    mine = layers.CategoryEncoding(4, output_mode=mode)
    theirs = keras.layers.CategoryEncoding(4, output_mode=mode)
    for ids in (
        *IDS,
        *([np.array([1, 2, 1]), np.array([[-1, 2]]), np.array([[[1, 2], [0, 0]]])] if mode == "one_hot" else []),
    ):
        for x in (ids, ids.astype("float32"), ids.tolist()):
            y, expected = mine(x), np.asarray(theirs(np.array(x)))
            assert y.dtype == expected.dtype
            assert np.array_equal(y, expected)
        assert mine.compute_output_shape(ids.shape) == y.shape == tuple(theirs.compute_output_shape(ids.shape))
    if mode == "count":
        weights = np.array([[0.5, 1, 2], [3, 4, 5]])
        expected = np.asarray(theirs(IDS[0], count_weights=weights))
        assert np.array_equal(mine(IDS[0], count_weights=weights), expected)
        with pytest.raises(ValueError, match=r"shape \(1, 3\), expected.*\(2, 3\)"):
            mine(IDS[0], count_weights=weights[:1])
    else:
        with pytest.raises(ValueError, match="count_weights"):
            mine(IDS[0], count_weights=IDS[0])
    if mode != "one_hot":
        with pytest.raises(ValueError, match="negative, got -1"):
            mine([[-1, 2]])
        with pytest.raises(ValueError, match=r"takes \(batch, n\)"):
            mine([1, 2])


@pytest.mark.parametrize("mode", ["int", "multi_hot", "one_hot", "count"])
@pytest.mark.parametrize("version", ["keras", "tf_keras"])
def test_bins_are_those_of_keras(version, mode, request):
    library = request.getfixturevalue(version)
    boundaries = [0.0, 0.1, 1.0, 2.0]
    mine = layers.Discretization(boundaries, output_mode=mode, dtype="int64" if version == "tf_keras" else None)
    theirs = library.layers.Discretization(boundaries, output_mode=mode)
    random = np.random.default_rng(0).uniform(-1, 3, (5, 4))
    for x in (random, random[:, :1], np.array([[np.nan, np.inf, -np.inf, 0.1, 0.0, 2.0]]), np.array([[1, 2, 0]])):
        if version == "tf_keras" and mode == "one_hot" and x.shape[1] > 1:  # which it refuses
            continue
        x = x.astype("float32")
        y, expected = mine(x), np.asarray(theirs(x))
        assert y.dtype == expected.dtype
        assert np.array_equal(y, expected)
        assert mine.compute_output_shape(x.shape) == y.shape


@pytest.mark.parametrize("version", ["keras", "tf_keras"])
def test_models_with_classes(version, request, tmp_path):
    library = request.getfixturevalue(version)

    def model(module: Any) -> Any:
        some = module.layers
        x, kind, age = module.Input((5, 3)), module.Input((2,), dtype="int32"), module.Input((1,))
        found = some.Embedding(4, 2)(some.Discretization([0.0, 0.5, 1.0])(age))
        joined = some.Concatenate()(
            [some.LSTM(4)(x), some.CategoryEncoding(6, output_mode="count")(kind), some.Flatten()(found)]
        )
        return module.Model([x, kind, age], some.Dense(2)(joined))

    random = np.random.default_rng(0)
    inputs = [random.uniform(-1, 1, (3, 5, 3)), random.integers(0, 6, (3, 2)), random.uniform(-1, 2, (3, 1))]
    live = model(library)
    expected = np.asarray(live.predict(inputs, verbose=0))
    sources = [lstmfast.from_keras(live)]
    for ending in (".keras", ".h5"):
        live.save(tmp_path / f"m{ending}")
        sources.append(lstmfast.load_model(tmp_path / f"m{ending}"))
    sources[0].save(tmp_path / "mine.keras")
    sources.append(lstmfast.load_model(tmp_path / "mine.keras"))
    for one in sources:
        oracle.assert_close(one.predict(inputs), expected, oracle.LOOSE)
    if version == "keras":
        again = library.models.load_model(tmp_path / "mine.keras")
        oracle.assert_close(np.asarray(again.predict(inputs, verbose=0)), expected, oracle.LOOSE)


def test_what_is_refused():
    for arguments, message in (
        ({}, "num_tokens must be set"),
        ({"num_tokens": 0}, "num_tokens.*positive"),
        ({"num_tokens": 3, "output_mode": "some"}, "output_mode: some"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.CategoryEncoding(**arguments)
    for arguments, message in (
        ({}, "needs its `bin_boundaries`"),
        ({"num_bins": 3}, "needs its `bin_boundaries`"),
        ({"bin_boundaries": [1.0, 0.0]}, "rising order"),
        ({"bin_boundaries": [1.0], "output_mode": "some"}, "output_mode: some"),
    ):
        with pytest.raises(ValueError, match=message):
            layers.Discretization(**arguments)
    for kind in (layers.CategoryEncoding, layers.Discretization):
        with pytest.raises(NotImplementedError, match="sparse"):
            kind([1.0] if kind is layers.Discretization else 3, sparse=True)
    net = Sequential([Input((4,)), layers.Discretization([0.0]), layers.Embedding(2, 3), layers.LSTM(2)])
    assert_same_bits(net.predict([[1, -1, 1, -1]]), net([[2, -2, 3, -3]]))
