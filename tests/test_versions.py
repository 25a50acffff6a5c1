"""Whose Keras's rules a model follows: that of its file or library, or the one that the caller names."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import oracle
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import Input, Model, Sequential, layers

X = np.random.default_rng(1).uniform(-1, 1, (4, 5, 3)).astype("float32")
X[:, 3:] = X[1, 1:] = 0


def masked(module: Any) -> Any:
    """Keras 3.16 hands no mask from one LSTM to the next: its second one computes steps that 3.15 skips."""
    some = module.layers
    return module.Sequential(
        [module.Input((5, 3)), some.Masking(), some.LSTM(4, return_sequences=True), some.LSTM(2), some.Dense(1)]
    )


def hard(module: Any) -> Any:
    """Keras 2 and Keras 3 have two functions of this name."""
    return module.Sequential([module.Input((5, 3)), module.layers.LSTM(4, recurrent_activation="hard_sigmoid")])


def called_twice(module: Any) -> Any:
    """Keras 2 counts the calls of a model inside from 1, for the first node is its own; Keras 3 from 0."""
    a, b = module.Input((5, 3)), module.Input((5, 3))
    inner = module.Model(a, module.layers.LSTM(3, return_sequences=True)(a))
    return module.Model(b, [inner(inner(b)), inner(b)])


def assert_follows(mine: Model, theirs: Any, x: Any = X) -> None:
    for y, expected in zip(lstmfast._graph.flatten(mine(x)), lstmfast._graph.flatten(theirs(x)), strict=True):
        oracle.assert_close(y, np.asarray(expected), oracle.LOOSE)


def test_a_live_model_follows_its_keras_also_a_newer_one(keras, tmp_path, monkeypatch):
    theirs = masked(keras)
    theirs.save(tmp_path / "m.keras")
    known = lstmfast.load_model(tmp_path / "m.keras")
    with pytest.warns(UserWarning, match=r"'[^']*m\.keras' is of Keras 3\.16, newer than the newest known \(3\.15\)"):
        newer = lstmfast.load_model(tmp_path / "m.keras", keras_version="3.16")
    assert np.abs(known(X) - newer(X)).max() > 1e-3
    assert_follows(known, theirs)
    assert_same_bits(lstmfast.from_keras(theirs)(X), known(X))
    with pytest.warns(UserWarning, match=r"'live model sequential\w*' is of Keras 3\.16, newer"):
        assert_same_bits(lstmfast.from_keras(theirs, keras_version="3.16")(X), newer(X))
    monkeypatch.setattr(keras, "__version__", "3.16.0")
    with pytest.warns(UserWarning, match=r"is of Keras 3\.16\.0, newer than the newest known"):
        mine = lstmfast.from_keras(theirs)
    assert mine.keras_version == (3, 16)
    assert_same_bits(mine(X), newer(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_bits(lstmfast.from_keras(theirs, keras_version=(3, 15))(X), known(X))


def test_the_caller_names_another_version(keras, tf_keras, tmp_path):
    theirs, older = hard(keras), hard(tf_keras)
    older.set_weights(theirs.get_weights())
    older.save(tmp_path / "m.h5")
    assert np.abs(np.asarray(theirs(X)) - np.asarray(older(X))).max() > 1e-3
    for model, others, version in ((theirs, older, "2.15"), (older, theirs, "3.15")):
        assert_follows(lstmfast.from_keras(model), model)
        assert_follows(lstmfast.from_keras(model, keras_version=version), others)
        fresh = lstmfast.model_from_json(model.to_json(), keras_version=version)
        fresh.set_weights(model.get_weights())
        assert_follows(fresh, others)
    assert_follows(lstmfast.load_model(tmp_path / "m.h5", keras_version=(3, 15)), theirs)


@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_calls_are_read_as_they_are_written_whatever_the_rules(name, request, tmp_path):
    theirs = called_twice(request.getfixturevalue(name))
    path = tmp_path / ("m.keras" if name == "keras" else "m.h5")
    theirs.save(path)
    for version in ("2.15", "3.15"):
        drawn = lstmfast.model_from_json(theirs.to_json(), keras_version=version)
        drawn.set_weights(theirs.get_weights())
        again = Model.from_config(drawn.get_config(), keras_version=version)
        again.set_weights(theirs.get_weights())
        loaded = lstmfast.load_model(path, keras_version=version)
        for mine in (drawn, again, loaded, lstmfast.from_keras(theirs, keras_version=version)):
            assert mine.keras_version == tuple(map(int, version.split(".")))
            assert_follows(mine, theirs)


@pytest.mark.parametrize("kind", ["functional", "Sequential", "inside", "own"])
def test_a_config_is_read_by_the_rules_that_the_caller_names(kind):
    class Own(Model):
        def call(self, x: Any) -> Any:
            return x

    def masks(model: Any) -> Any:
        """Whether the second LSTM of a chain gets the mask that the first one got."""
        chain = model.layers[1] if kind == "inside" else model
        return [bool(one.auto_mask) for one in chain.plan().operations if isinstance(one.layer, layers.LSTM)]

    chain = Sequential([Input((5, 3)), *masked(lstmfast).layers], keras_version=(3, 16))
    x = Input((5, 3))
    model = {
        "functional": lambda: Model(chain.inputs, chain.outputs, keras_version=(3, 16)),
        "Sequential": lambda: chain,
        "inside": lambda: Model(x, chain(x), keras_version=(3, 16)),
        "own": Own,
    }[kind]()
    plain = type(model).from_config(model.get_config())
    same = type(model).from_config(model.get_config(), keras_version=(3, 16))
    assert (plain.keras_version, same.keras_version) == ((3, 15), (3, 16))
    if kind != "own":
        assert masks(same) == masks(model) != masks(plain)
        same.set_weights(model.get_weights())
        assert_same_bits(same(X), model(X))


@pytest.mark.parametrize("version", ["latest", "v3", "", (3,), 3, ("3", "15")])
def test_a_version_that_is_none(version, keras):
    model = hard(lstmfast)
    for read in (
        lambda: lstmfast.from_keras(hard(keras), keras_version=version),
        lambda: lstmfast.model_from_json(model.to_json(), keras_version=version),
        lambda: Sequential.from_config(model.get_config(), keras_version=version),
        lambda: Sequential([Input((3,))], keras_version=version),
        lambda: Model(model.inputs, model.outputs, keras_version=version),
    ):
        with pytest.raises(ValueError, match=r"`keras_version` must be a version of Keras such as '2\.15'\. Received:"):
            read()
