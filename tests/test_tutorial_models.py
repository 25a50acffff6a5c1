"""The standard tutorials' models, from every kind of file that Keras writes and from live models, to 2e-6."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import oracle
import pytest
from tutorial_models import GOLDEN, TUTORIALS, random_weights

import lstmfast

SOURCES = ("keras-file", "h5-of-keras-3", "live-keras", "h5-of-tf-keras", "keras-file-of-tf-keras", "live-tf-keras")


@functools.cache
def twin(framework_name: str, name: str):
    """The tutorial's model in keras or tf_keras, and its outputs."""
    framework = oracle.live_keras(framework_name)
    tutorial = TUTORIALS[name]
    model = tutorial.build(framework)
    x = tutorial.inputs()
    # 2000 sequences go through predict, in its batches of 32; the rest is quicker without tracing a graph.
    outputs = model.predict(x, verbose=0) if len(x) > 500 else np.asarray(model(x))
    return model, outputs


def load(name: str, source: str, folder) -> tuple[lstmfast.Model, np.ndarray]:
    """lstmfast's model out of a file or a live model, and Keras's outputs."""
    framework_name = "tf_keras" if source.endswith("tf-keras") else "keras"
    if oracle.live_keras(framework_name) is None:
        pytest.skip(f"needs TensorFlow and {framework_name}")
    model, expected = twin(framework_name, name)
    if source.startswith("live"):
        return lstmfast.from_keras(model), expected
    path = folder / ("model.h5" if source.startswith("h5") else "model.keras")
    model.save(path)
    return lstmfast.load_model(path), expected


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", TUTORIALS)
def test_outputs_are_those_of_keras(name, source, tmp_path):
    model, expected = load(name, source, tmp_path)
    x = TUTORIALS[name].inputs()
    assert model.count_params() == TUTORIALS[name].parameters
    outputs = model.predict(x)
    assert outputs.dtype == np.float32
    oracle.assert_close(outputs, expected, oracle.STRICT, f"{name} from {source}")
    assert np.array_equal(model(x[:5]), outputs[:5])


@pytest.mark.parametrize("suffix", ["keras", "h5", "tf_keras.h5"])
@pytest.mark.parametrize("name", GOLDEN)
def test_committed_files_give_the_committed_outputs(name, suffix):
    model = lstmfast.load_model(oracle.GOLDEN / f"{name}.{suffix}")
    oracle.assert_close(model.predict(TUTORIALS[name].inputs()), oracle.golden("tutorials")[name], oracle.STRICT, name)


@pytest.mark.parametrize("name", TUTORIALS)
def test_the_same_definition_in_lstmfast(name):
    tutorial = TUTORIALS[name]
    model = tutorial.build(lstmfast)
    assert model.count_params() == tutorial.parameters
    if oracle.live_keras() is not None:
        _, expected = twin("keras", name)
    elif name in GOLDEN:
        expected = oracle.golden("tutorials")[name]
    else:
        pytest.skip("needs TensorFlow and Keras")
    oracle.assert_close(model.predict(tutorial.inputs()), expected, oracle.STRICT, name)


@pytest.mark.parametrize(("features", "units", "parameters"), [(1, 1, 12), (2, 1, 16), (1, 100, 40800), (8, 3, 144)])
def test_parameters_do_not_depend_on_steps(features, units, parameters):
    for steps in (None, 1, 7, 1000):
        model = lstmfast.Sequential([lstmfast.Input((steps, features)), lstmfast.layers.LSTM(units)])
        assert model.count_params() == model.layers[0].count_params() == parameters
        assert sum(weight.size for weight in model.get_weights()) == parameters


@pytest.mark.parametrize("name", ["two-features", "stacked-relu", "repeat-vector"])
@pytest.mark.parametrize("options", [{}, {"line_length": 60}, {"line_length": 120}, {"show_trainable": True}], ids=str)
def test_summary_is_keras_s_table(keras, monkeypatch, name, options):
    monkeypatch.setenv("COLUMNS", "200")  # Keras crops its table where the terminal is narrower
    model, _ = twin("keras", name)
    lines: list[str] = []
    model.summary(print_fn=lines.append, **options)
    mine: list[str] = []
    TUTORIALS[name].build(lstmfast).summary(print_fn=mine.append, **options)
    assert "\n".join(mine).rstrip() == "\n".join(lines).rstrip()


def test_summary_prints_the_table(capsys):
    TUTORIALS["two-features"].build(lstmfast).summary()
    text = capsys.readouterr().out
    for word in ("tutorial", "a (LSTM)", "(None, 1)", "16", "Total params"):
        assert word in text


def test_models_keep_their_weights_and_layers():
    model = TUTORIALS["stacked-relu"].build(lstmfast)
    assert [layer.name for layer in model.layers] == list("abcde")
    assert model.get_layer("e") is model.layers[4]
    assert model.get_layer(index=1) is model.layers[1]
    weights = model.get_weights()
    assert [weight.shape for weight in weights[:3]] == [(3, 40), (10, 40), (40,)]
    other = random_weights([weight.shape for weight in weights], seed=9)
    model.set_weights(other)
    for mine, given in zip(model.get_weights(), other, strict=True):
        assert np.array_equal(mine, given)
    # get_weights gives copies
    model.get_weights()[0][...] = 0
    assert np.array_equal(model.get_weights()[0], other[0])


def test_gate_views():
    layer = lstmfast.layers.LSTM(3)
    layer.build((None, None, 2))
    layer.set_weights(random_weights([(2, 12), (3, 12), (12,)]))
    for index, gate in enumerate("ifco"):
        for name, weight in (
            ("kernel", layer.kernel),
            ("recurrent_kernel", layer.recurrent_kernel),
            ("bias", layer.bias),
        ):
            view = getattr(layer, f"{name}_{gate}")
            assert np.array_equal(view, weight[..., 3 * index : 3 * index + 3])
            assert np.shares_memory(view, weight)
            with pytest.raises(ValueError, match="read-only"):
                view[...] = 0


def test_predict_has_keras_s_arguments(keras):
    mine = inspect.signature(lstmfast.Sequential.predict).parameters
    theirs = inspect.signature(keras.Sequential.predict).parameters
    names = list(theirs)
    assert [name for name in mine if name in names] == names
    assert set(mine) - set(names) == {"out", "lengths"}
    assert all(mine[name].default == theirs[name].default for name in names)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "Dense", "Dropout", "RepeatVector", "TimeDistributed"])
def test_layers_have_keras_s_arguments(keras, kind):
    theirs = inspect.signature(getattr(keras.layers, kind)).parameters
    mine = inspect.signature(getattr(lstmfast.layers, kind)).parameters
    shared = [name for name in theirs if name in mine]
    assert shared[: len(mine)] == [name for name in mine if name in theirs], "the order of the arguments"
    for name in shared:
        default, expected = mine[name].default, theirs[name].default
        assert default == expected or default is expected, f"{kind}({name}={default!r}), Keras has {expected!r}"
    for name, parameter in theirs.items():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name not in mine:
            assert name in ("quantization_config", "lora_alpha", "lora_rank"), f"{kind} lacks the argument {name}"


def test_verbose_1_shows_a_progress_bar(capsys):
    model = TUTORIALS["one-feature"].build(lstmfast)
    model.predict(np.zeros((100, 3, 1)), verbose=1)
    assert "4/4" in capsys.readouterr().out
    model.predict(np.zeros((100, 3, 1)), verbose=0)
    model.predict(np.zeros((100, 3, 1)))
    assert capsys.readouterr().out == ""
    model.predict(np.zeros((100, 3, 1)), verbose=2)
    assert "4/4" in capsys.readouterr().out
