"""What people do with models in Keras, done here: parts of graphs, operators, weights, shapes, states, summaries."""

from __future__ import annotations

import collections
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py
import layer_cases
import model_cases
import numpy as np
import oracle
import pytest
from bits import assert_same_bits
from programs import run_python

import lstmfast
from lstmfast import Input, Model, Sequential, layers
from lstmfast._graph import flatten

X = np.random.default_rng(1).uniform(-1, 1, (4, 5, 3)).astype("float32")


def same_weights(model: Any, mine: Model) -> None:
    """Give a live model weights, and this one the same."""
    named = [(getattr(weight, "path", weight.name), tuple(weight.shape)) for weight in model.weights]
    model.set_weights(model_cases.weights(named, 3))
    mine.set_weights(model.get_weights())


def assert_like(mine: Any, theirs: Any) -> None:
    for y, expected in zip(layer_cases.flatten(mine), layer_cases.flatten(theirs), strict=True):
        expected = np.asarray(expected)
        oracle.assert_close(y, expected, oracle.LOOSE * (1 + np.abs(expected)))


# ---- parts of graphs -----------------------------------------------------------------------------------------------


def tail(module: Any) -> tuple[Any, Any, Any]:
    """A model, what comes before its last layers, and these: from a tensor in the middle on."""
    x = module.Input((5, 3))
    hidden = module.layers.LSTM(4, return_sequences=True, name="lstm")(x)
    y = module.layers.Dense(2, name="dense")(module.layers.Concatenate(name="both")([hidden, hidden]))
    return module.Model(x, y), module.Model(x, hidden), module.Model(hidden, y)


def test_a_model_from_the_middle_of_a_graph(keras, tmp_path):
    theirs, mine = tail(keras), tail(lstmfast)
    same_weights(theirs[0], mine[0])
    hidden = mine[1](X)
    assert [type(layer).__name__ for layer in mine[2].layers] == [type(layer).__name__ for layer in theirs[2].layers]
    assert_same_bits(mine[2](hidden), mine[0](X))
    assert_like(mine[2](hidden), theirs[2](hidden))
    mine[2].save(tmp_path / "tail.keras")
    for again in (
        lstmfast.load_model(tmp_path / "tail.keras"),
        pickle.loads(pickle.dumps(mine[2])),
        keras.models.load_model(tmp_path / "tail.keras"),
    ):
        assert_like(again(hidden), theirs[2](hidden))
    drawn = Model.from_config(mine[2].get_config())
    drawn.set_weights(mine[2].get_weights())
    assert_same_bits(drawn(hidden), mine[2](hidden))


def test_a_graph_with_operations_is_written_after_a_part_of_it(tmp_path):
    x = Input((5, 3))
    hidden = layers.Dense(3)(x)
    whole = Model(x, layers.Dense(2)(hidden * 2 + 1))
    part = Model(hidden, whole.output)
    for model in (whole, part):
        model.save(tmp_path / "m.keras")
        assert_same_bits(lstmfast.load_model(tmp_path / "m.keras")(X), model(X))


def test_lists_that_grow_after_a_call(keras, tmp_path):
    """As of densely connected layers, which each take what came before."""

    def dense(module: Any) -> Any:
        kept = [module.Input((5, 3))]
        states: list[Any] = []
        for _ in range(2):
            x = module.layers.Concatenate()(kept) if len(kept) > 1 else kept[0]
            x, *found = module.layers.LSTM(4, return_sequences=True, return_state=True)(x, initial_state=states or None)
            kept.append(x)
            states.clear()
            states += found
        model = module.Model(kept[:1], kept)
        kept.append(x)
        return model

    theirs, mine = dense(keras), dense(lstmfast)
    same_weights(theirs, mine)
    for one in twins(mine, theirs, tmp_path, keras):
        assert_like(one(X), theirs(X))


def test_masks_by_comparison(keras):
    def make(module: Any) -> Any:
        ids = module.Input((6,), dtype="int32")
        embedded = module.layers.Embedding(7, 3)(ids)
        return module.Model(ids, module.layers.LSTM(4)(embedded, mask=ids != 0))

    mine, theirs = make(lstmfast), make(keras)
    same_weights(theirs, mine)
    x = np.random.default_rng(0).integers(0, 3, (4, 6))
    assert_like(mine(x), theirs(x))


def test_outputs_of_layers_of_a_chain(keras):
    """Layers put in one by one, so that the chain has called them several times."""
    models = []
    for module in (lstmfast, keras):
        model = module.Sequential()
        model.add(module.Input((5, 3)))
        for layer in (module.layers.LSTM(4, return_sequences=True), module.layers.GRU(3), module.layers.Dense(2)):
            model.add(layer)
        models.append(module.Model(model.inputs, [layer.output for layer in model.layers]))
    same_weights(models[1], models[0])
    assert_like(models[0](X), models[1](X))
    with pytest.raises(AttributeError, match="never been called"):
        _ = layers.Dense(2).output


OPERATORS = {
    "last step": lambda x: x[:, -1],
    "some steps": lambda x: x[:, 1:4:2, ::-1],
    "feature": lambda x: x[..., 0],
    "axis": lambda x: x[:, :, None],
    "add": lambda x: 1 + x + x,
    "subtract": lambda x: 2 - x - 0.5,
    "multiply": lambda x: 3 * x * x,
    "divide": lambda x: 1 / (x * x + 1) / 2,
    "negative": lambda x: -x,
    "absolute": abs,
    "power": lambda x: 2 ** (x**2),
    "floor": lambda x: x // 0.25 + 2 // (x * x + 1),
    "mod": lambda x: x % 0.25,
    "matmul": lambda x: x @ np.arange(6, dtype="float32").reshape(3, 2),
    "compare": lambda x: (x[:, 0] < x[:, 1]) if x.ndim else x,
    "greater": lambda x: x >= 0.25,
    "logical": lambda x: ~((x > 0) & (x != 0.5)) ^ ((x < -0.5) | (x > 0.75)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_symbolic_tensors(keras, name, tmp_path):
    mine, theirs = (module.Model(x, OPERATORS[name](x)) for module in (lstmfast, keras) for x in [module.Input((5, 3))])
    expected = np.asarray(theirs(X))
    assert mine.output_shape == theirs.output_shape
    y = mine(X)
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    mine.save(tmp_path / "m.keras")
    assert_same_bits(lstmfast.load_model(tmp_path / "m.keras")(X), y)
    np.testing.assert_array_equal(np.asarray(keras.models.load_model(tmp_path / "m.keras")(X)), expected)


def test_operators_with_an_array_first():
    x = Input((5, 3))
    array = np.arange(15, dtype="float32").reshape(5, 3)
    assert_same_bits(Model(x, array - x)(X), array - X)


def test_a_list_for_a_model_of_named_inputs(keras):
    """Keras goes by the sorted names, and refuses a list where they were not given so."""
    for module in (lstmfast, keras):
        a, z = module.Input((3,), name="a"), module.Input((3,), name="z")
        difference = module.layers.Subtract()([z, a])
        in_order = module.Model({"a": a, "z": z}, difference)
        np.testing.assert_array_equal(np.asarray(in_order([X[:, 0], X[:, 1]])), X[:, 1] - X[:, 0])
        other = module.Model({"z": z, "a": a}, difference)
        np.testing.assert_array_equal(np.asarray(other({"a": X[:, 0], "z": X[:, 1]})), X[:, 1] - X[:, 0])
        with pytest.raises(ValueError, match="structure of `inputs` doesn't match"):
            other([X[:, 0], X[:, 1]])


def test_shapes_of_several_inputs_are_a_list(keras):
    for module in (lstmfast, keras):
        a, z = module.Input((3,), name="a"), module.Input((5, 2), name="z")
        summed = module.layers.LSTM(4)(z)
        model = module.Model({"z": z, "a": a}, {"y": summed, "b": a * 2})
        assert model.input_shape == [(None, 3), (None, 5, 2)]
        assert model.output_shape == [(None, 3), (None, 4)]
        assert module.Model([z], summed).input_shape == (None, 5, 2)


def test_shapes_of_several_tensors_of_keras_2(tf_keras):
    a, z = tf_keras.Input((3,), name="a"), tf_keras.Input((5, 2), name="z")
    summed, doubled = tf_keras.layers.LSTM(4)(z), tf_keras.layers.Dense(2)(a)
    for inputs, outputs in (
        ({"z": z, "a": a}, {"y": summed, "b": doubled}),
        ([z, a], {"one": summed}),
        ([a, z], [summed, [doubled, summed]]),
        (z, [summed]),
        ({"z": z}, [summed, summed]),
    ):
        model = tf_keras.Model(inputs, outputs)
        mine = lstmfast.from_keras(model)
        assert mine.output_shape == model.output_shape
        assert mine.input_shape == model.input_shape


# ---- training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["Dropout", "GaussianNoise", "BatchNormalization"])
def test_training_false_beats_that_of_the_graph(keras, layer):
    models = []
    for module in (lstmfast, keras):
        arguments = () if layer == "BatchNormalization" else (0.5,)
        x = module.Input((5, 3))
        inner = module.Model(x, getattr(module.layers, layer)(*arguments)(x, training=True))
        off, free = module.Input((5, 3)), module.Input((5, 3))
        models.append((inner, module.Model(off, inner(off, training=False)), module.Model(free, inner(free))))
    for mine, theirs in zip(*models, strict=True):
        assert_like(mine(X, training=False), theirs(X, training=False))
    assert_like(models[0][1](X), models[1][1](X))
    quiet = models[0][0](X, training=False)
    assert np.abs(models[0][0](X) - quiet).max() > 0.01  # as the graph says
    assert np.abs(models[0][2](X) - quiet).max() > 0.01
    again = pickle.loads(pickle.dumps(models[0][1]))
    assert_same_bits(again(X), models[0][1](X))


# ---- chains --------------------------------------------------------------------------------------------------------


def test_a_chain_takes_other_numbers_of_steps(keras):
    """As Keras 3 does where no layer depends on the number; Keras 2 does not."""

    def chains(module: Any) -> list[Any]:
        some = module.layers
        return [
            module.Sequential([module.Input((5, 3)), some.LSTM(4, return_sequences=True), some.Dense(2)]),
            module.Sequential([module.Input((5, 3)), some.Bidirectional(some.GRU(4)), some.Dense(2)]),
            module.Sequential([module.Input((5,)), some.Embedding(7, 3), some.LSTM(2)]),
        ]

    longer = np.concatenate([X, X[:, ::-1]], 1)
    for mine, theirs in zip(chains(lstmfast), chains(keras), strict=True):
        same_weights(theirs, mine)
        x = longer if theirs.input_shape[-1] == 3 else np.arange(24).reshape(3, 8) % 7
        assert_like(mine.predict(x), theirs.predict(x, verbose=0))
    flat = Sequential([Input((5, 3)), layers.LSTM(4, return_sequences=True), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"expected shape=\(None, 5, 3\), found shape=\(4, 10, 3\)"):
        flat.predict(longer)
    older = Sequential([Input((5, 3)), layers.LSTM(4)], keras_version=(2, 15))
    with pytest.raises(ValueError, match=r"expected shape=\(None, 5, 3\)"):
        older.predict(longer)
    dense = Sequential([Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"expected shape=\(None, 3\)"):
        dense.predict(X[:, 0, :2])


def test_a_layer_that_does_not_fit_is_not_added():
    model = Sequential([Input((5, 3)), layers.LSTM(4)])
    y = model(X)
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        model.add(layers.LSTM(4))
    with pytest.raises(ValueError, match="Only instances"):
        model.add("LSTM")
    assert_same_bits(model(X), y)
    assert len(model.layers[0].nodes) == 1
    unbuilt = Sequential([layers.LSTM(3), layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match="expected ndim=4"):
        unbuilt.build((None, 5, 3))
    unbuilt.pop()
    unbuilt.build((None, 5, 4))
    assert Model(unbuilt.inputs, unbuilt.layers[0].output)(np.zeros((1, 5, 4))).shape == (1, 3)
    model.add(layers.Dense(2))
    assert model(X).shape == (4, 2)
    assert model.pop().units == 2
    assert_same_bits(model(X), y)


def test_a_built_chain_is_not_built_for_another_shape(keras):
    for module in (lstmfast, keras):
        model = module.Sequential([module.Input((5, 3)), module.layers.LSTM(4)])
        model.build((None, 5, 3))
        with pytest.raises(ValueError, match=r"You cannot build it with input_shape \(None, 5, 7\)"):
            model.build((None, 5, 7))


def test_a_layer_that_could_not_be_built_is_as_before():
    layer = layers.LSTM(4, stateful=True)
    with pytest.raises(ValueError, match="batch size must be static"):
        layer.build((None, 5, 7))
    assert layer.weights == []
    layer.build((4, 5, 3))
    assert layer(X).shape == (4, 4)


def test_variables_are_weights():
    model = Sequential([Input((5, 3)), layers.LSTM(4), layers.BatchNormalization()])
    assert_same_bits(model.variables, model.weights)
    assert_same_bits(model.trainable_variables, model.trainable_weights)
    assert [value.shape for value in model.non_trainable_variables] == [(4,), (4,)]


def test_weights_of_a_layer_that_is_not_built():
    layer = layers.LSTM(4)
    assert layer.kernel is layer.bias is layer.kernel_i is None
    assert layer(X).shape == (4, 4)
    assert layer.kernel.shape == (3, 16)


def test_a_layer_twice_in_a_chain(keras, tmp_path):
    """Keras runs it, and reads it, but writes a config with the layer once: no live model of it is taken."""
    shared = layers.Dense(3)
    model = Sequential([Input((3,)), shared, layers.ReLU(), shared])
    kernel, bias = shared.get_weights()
    np.testing.assert_allclose(model(X[:, 0]), np.maximum(X[:, 0] @ kernel + bias, 0) @ kernel + bias, atol=1e-6)
    model.save(tmp_path / "m.keras")
    again = lstmfast.load_model(tmp_path / "m.keras")
    assert len(again.get_weights()) == 2
    assert_same_bits(again(X[:, 0]), model(X[:, 0]))
    assert_like(model(X[:, 0]), keras.models.load_model(tmp_path / "m.keras")(X[:, 0]))
    shared = keras.layers.Dense(3)
    twice = keras.Sequential([keras.Input((3,)), shared, keras.layers.ReLU(), shared])
    x = keras.Input((5, 3))
    for theirs in (twice, keras.Model(x, keras.layers.TimeDistributed(twice)(x))):
        with pytest.raises(NotImplementedError, match="holds a layer twice"):
            lstmfast.from_keras(theirs)


# ---- states --------------------------------------------------------------------------------------------------------


def cells(module: Any) -> list[Any]:
    some = module.layers
    return [
        some.LSTMCell(4),
        some.GRUCell(3),
        some.SimpleRNNCell(2),
        some.StackedRNNCells([some.LSTMCell(3), some.GRUCell(4)]),
    ]


@pytest.mark.parametrize("index", range(4))
def test_cells_by_hand(keras, index):
    mine, theirs = (cells(module)[index] for module in (lstmfast, keras))
    assert mine.state_size == theirs.state_size
    assert mine.output_size == theirs.output_size
    assert lstmfast.layers.RNN(mine).state_size == keras.layers.RNN(theirs).state_size
    states, theirs_states = mine.get_initial_state(4), theirs.get_initial_state(batch_size=4)
    assert_like(states, theirs_states)
    mine.build((4, 3))
    theirs.build((4, 3))
    mine.set_weights(theirs.get_weights())
    for step in range(3):
        y, states = mine(X[:, step], states)
        expected, theirs_states = theirs(X[:, step], theirs_states)
        assert_like(y, expected)
        assert_like(states, theirs_states)
    assert_like(lstmfast.layers.RNN(mine)(X[:, :3]), y)


def test_states_of_stacked_cells_are_handed_back(keras, tmp_path):
    def make(module: Any) -> Any:
        some = module.layers
        x = module.Input((5, 3))
        first = some.RNN([some.LSTMCell(3), some.GRUCell(4)], return_state=True)(x)
        again = some.RNN([some.LSTMCell(3), some.GRUCell(4)])(x, initial_state=list(first[1:]))
        return module.Model(x, again)

    mine, theirs = make(lstmfast), make(keras)
    same_weights(theirs, mine)
    assert_like(mine(X), theirs(X))
    mine.save(tmp_path / "m.keras")
    for model in (lstmfast.load_model(tmp_path / "m.keras"), keras.models.load_model(tmp_path / "m.keras")):
        assert_like(model(X), theirs(X))
    rnn = layers.RNN([layers.GRUCell(3), layers.GRUCell(4)], return_state=True)
    _, *states = rnn(X)
    assert [len(state) for state in states] == [1, 1]
    whole = rnn(np.concatenate([X, X], 1))[0]
    assert_same_bits(rnn(X, initial_state=states)[0], whole)


def test_stacks_of_cells_of_several_types():
    stack = layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(4, dtype="float64")])
    y, _ = stack(X[:, 0], stack.get_initial_state(4))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, layers.RNN(stack)(X[:, :1]), atol=1e-6)
    with pytest.raises(NotImplementedError, match="no stacks of them"):
        layers.StackedRNNCells([stack])


def test_initial_states_before_building():
    assert [state.shape for state in layers.LSTM(4).get_initial_state(2)] == [(2, 4), (2, 4)]
    assert [state.shape for state in layers.GRU(4, dtype="float64").get_initial_state(2)] == [(2, 4)]
    nested = layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)]).get_initial_state(2)
    assert [[state.shape for state in own] for own in nested] == [[(2, 3), (2, 3)], [(2, 4)]]
    with pytest.raises(ValueError, match="needs inputs of known size"):
        layers.ConvLSTM2D(2, 3).get_initial_state(2)


def test_a_batch_that_fails_leaves_the_states():
    model = Sequential([Input(batch_shape=(4, 5, 3)), layers.LSTM(4, stateful=True)])
    first = model.predict(X)
    model.reset_states()
    with pytest.raises(ValueError, match="incompatible"):
        model.predict(iter([(X,), (X[..., :2],)]))
    assert_same_bits(model.predict(X), first)


@pytest.mark.parametrize("targets", ["one", "list of x", "dict of x"])
def test_batches_that_are_lists(targets):
    """As in Keras a list is as good as a tuple: of what a dataset gives, x comes first."""
    a, b = Input((5, 3), name="a"), Input((5, 3), name="b")
    model = Model([a, b], a * 2 + b)
    y = np.zeros(4)
    batches = {"one": [[X, -X]], "list of x": [[[X, -X], y]], "dict of x": [[{"a": X, "b": -X}, y]]}
    assert_same_bits(model.predict(iter(batches[targets])), X * 2 - X)


@pytest.mark.parametrize("dialect", ["keras", "tf_keras"])
def test_steps_over_arrays_take_as_many_rows(dialect, request):
    library = request.getfixturevalue(dialect)
    theirs = library.Sequential([library.Input((5, 3)), library.layers.LSTM(2)])
    model = lstmfast.from_keras(theirs)
    random = np.random.default_rng(0)
    x = random.standard_normal((70, 5, 3)).astype("float32")
    options = [{"steps": 1}, {"steps": 2}, {"steps": 1, "batch_size": 32}]
    options += [{"steps": int(steps)} for steps in random.integers(3, 99, 2)]
    for given in options:
        y = model.predict(x, **given)
        assert_same_bits(y, model.predict(x)[: len(y)], f"{given}")
        if given["steps"] < 3:  # with more steps than batches Keras warns, and tf_keras fails
            assert len(y) == len(theirs.predict(x, verbose=0, **given)), given
        else:
            assert len(y) == 70, given


def test_progress_over_batches_of_a_known_number(capsys):
    class Batches:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, place: int) -> Any:
            return X, np.zeros(4)

    model = Sequential([Input((5, 3)), layers.LSTM(2)])
    assert len(model.predict(Batches(), verbose=2)) == 12
    assert capsys.readouterr().out.startswith("3/3 - ")
    model.predict(Batches(), verbose=2, steps=2)
    assert capsys.readouterr().out.startswith("2/2 - ")
    model.predict((x for x in [X]), verbose=2)
    assert capsys.readouterr().out == ""


# ---- files and configs ---------------------------------------------------------------------------------------------


def test_weights_alone_for_keras(keras, tmp_path):
    path = tmp_path / "m.weights.h5"
    mine = Sequential([Input((5, 3)), layers.Bidirectional(layers.LSTM(4)), layers.Dense(2)])
    mine.save_weights(path)
    some = keras.layers
    theirs = keras.Sequential([keras.Input((5, 3)), some.Bidirectional(some.LSTM(4)), some.Dense(2)])
    theirs.load_weights(path)
    assert_like(mine(X), theirs(X))
    again = Sequential([Input((5, 3)), layers.Bidirectional(layers.LSTM(4)), layers.Dense(2)])
    again.load_weights(path)
    assert_same_bits(again(X), mine(X))
    with pytest.raises(FileExistsError, match="overwrite=False"):
        mine.save_weights(path, overwrite=False)
    with pytest.raises(ValueError, match=r"has to end in \.weights\.h5"):
        mine.save_weights(tmp_path / "m.keras")
    with pytest.raises(NotImplementedError, match="not as a directory"):
        mine.save(tmp_path / "m.keras", zipped=False)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_of_other_shapes_are_skipped(keras, suffix, tmp_path):
    some = keras.layers
    theirs = keras.Sequential([keras.Input((5, 3)), some.LSTM(4, name="lstm"), some.Dense(2, name="dense")])
    theirs.save(tmp_path / f"m{suffix}")
    mine = Sequential([Input((5, 3)), layers.LSTM(4, name="lstm"), layers.Dense(7, name="dense")])
    own = mine.layers[1].get_weights()
    with pytest.raises(ValueError, match=r"kernel' to have the shape \(4, 7\), the file holds \(4, 2\)"):
        mine.load_weights(tmp_path / f"m{suffix}")
    assert_same_bits(mine.layers[1].get_weights(), own)
    with pytest.warns(UserWarning, match="layer 'dense'.* keeps its own"):
        mine.load_weights(tmp_path / f"m{suffix}", skip_mismatch=True)
    fewer = Sequential([Input((5, 3)), layers.LSTM(4, name="lstm"), layers.Dense(2, use_bias=False, name="dense")])
    with pytest.warns(UserWarning, match="expects 1 weights, the file holds 2.* keeps its own"):
        fewer.load_weights(tmp_path / f"m{suffix}", skip_mismatch=True)
    assert_same_bits(mine.layers[0].get_weights(), theirs.layers[0].get_weights())
    assert_same_bits(mine.layers[1].get_weights(), own)


def test_configs_of_models_with_layers_of_ones_own():
    class Doubled(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    x = Input((5, 3))
    chain = Sequential([x, Doubled()])
    for model in (chain, Model(x, Doubled()(x))):
        again = type(model).from_config(model.get_config(), custom_objects={"Doubled": Doubled})
        assert type(again) is type(model)
        assert_same_bits(again(X), X * 2)
        assert json.loads(model.to_json(indent=2)) == json.loads(model.to_json())


def test_tuples_of_a_call_are_lists_in_a_file(keras, tmp_path):
    """As Keras writes them: it reads no others."""
    x = Input((5, 3))
    lstm = layers.LSTM(4, return_state=True)
    states = lstm(x)[1:]
    model = Model(x, layers.LSTM(4)(x, initial_state=tuple(states)))
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert b"__tuple__" not in archive.read("config.json")
    assert_like(model(X), keras.models.load_model(tmp_path / "m.keras")(X))


def test_a_summary_names_the_classes_of_keras(keras):
    printed = []
    for module in (lstmfast, keras):
        module.layers.Input  # noqa: B018
        x = module.Input((5, 3), name="x")
        inner = module.Model(x, module.layers.LSTM(4, name="lstm")(x), name="inner")
        model = module.Model(x, module.layers.Dense(2, name="dense")(inner(x)), name="outer")
        lines: list[str] = []
        model.summary(print_fn=lines.append, line_length=80)
        printed.append([line.strip() for line in "\n".join(lines).strip().split("\n")])
    assert printed[0] == printed[1]
    x = Input((5, 3))
    Model(x, x[:, -1]).summary(print_fn=lines.append)
    assert "(GetItem)" in lines[-1]


def test_functions_of_merging_layers(keras):
    models = []
    for module in (lstmfast, keras):
        a, b = module.Input((5, 3)), module.Input((5, 3))
        some = module.layers
        merged = [
            some.add([a, b]),
            some.subtract([a, b]),
            some.multiply([a, b]),
            some.average([a, b], name="mean"),
            some.maximum([a, b]),
            some.minimum([a, b]),
            some.concatenate([a, b], axis=1),
            some.concatenate([a, b]),
            some.dot([a, b], axes=2),
            some.dot([a, b], axes=(1, 1), normalize=True),
        ]
        models.append(module.Model([a, b], merged))
    assert_like(models[0]([X, X[::-1]]), models[1]([X, X[::-1]]))
    assert models[0].get_layer("mean") is not None


def test_keras_s_names_in_the_module_of_models():
    from lstmfast.models import clone_model, load_model, model_from_json, save_model

    assert callable(clone_model)
    assert save_model is lstmfast.saving.save_model
    assert load_model is lstmfast.load_model
    assert model_from_json is lstmfast.model_from_json
    with pytest.raises(ImportError, match="cannot import name 'clone'"):
        from lstmfast.models import clone  # noqa: F401
    assert Sequential([Input((3,))], keras_version="2.15").keras_version == (2, 15)


def test_words_among_the_weights_of_a_live_model(tf_keras):
    import tensorflow

    some = tf_keras.layers
    text = some.TextVectorization(output_sequence_length=4)
    text.adapt(["a b c", "b c d"])
    model = tf_keras.Sequential(
        [tf_keras.Input((1,), dtype=tensorflow.string), text, some.Embedding(9, 2), some.LSTM(2)]
    )
    mine = lstmfast.from_keras(model)
    words = [["a c x"], ["d d b a"]]
    assert_like(mine.predict(np.array(words)), model.predict(tensorflow.constant(words), verbose=0))


@pytest.mark.parametrize("version", ["keras", "tf_keras"])
def test_activations_of_users(version, tmp_path):
    """A live model says more than its name of a function; of a lambda a file has only code."""
    framework = oracle.live_keras(version)
    if framework is None:
        pytest.skip(f"needs TensorFlow and {version}")

    def relu(x: Any) -> Any:
        return x * (x > 0) * 3 if isinstance(x, np.ndarray) else framework.activations.relu(x) * 3

    some = framework.layers
    for layer in (some.Dense(2, activation=relu), some.TimeDistributed(some.Dense(2, activation=relu))):
        model = framework.Sequential([framework.Input((5, 3)), layer])
        with pytest.raises(NotImplementedError, match="the activation relu, a Python function of"):
            lstmfast.from_keras(model)
        assert_like(lstmfast.from_keras(model, custom_objects={"relu": relu})(X), model(X))
    model = framework.Sequential([framework.Input((5, 3)), some.Dense(2, activation=lambda x: x * 3)])
    with pytest.raises(NotImplementedError, match="a Python function of"):
        lstmfast.from_keras(model)
    model.save(tmp_path / "m.keras")
    with pytest.raises(NotImplementedError, match="an activation is a lambda"):
        lstmfast.load_model(tmp_path / "m.keras")


@pytest.mark.parametrize("version", ["keras", "tf_keras"])
def test_weights_by_the_names_of_layers(version, request, tmp_path):
    module = request.getfixturevalue(version)
    some = module.layers
    theirs = module.Sequential(
        [module.Input((5, 3)), some.LSTM(4, name="lstm"), some.Dense(3, name="middle"), some.Dense(2, name="dense")]
    )
    theirs.save_weights(tmp_path / "m.h5") if version == "tf_keras" else theirs.save(tmp_path / "m.h5")
    mine = Sequential([Input((5, 3)), layers.LSTM(4, name="lstm"), layers.Dense(2, name="other")])
    own = mine.layers[1].get_weights()
    with pytest.raises(ValueError, match="3 layers"):
        mine.load_weights(tmp_path / "m.h5")
    mine.load_weights(tmp_path / "m.h5", by_name=True)
    assert_same_bits(mine.layers[0].get_weights(), theirs.layers[0].get_weights())
    assert_same_bits(mine.layers[1].get_weights(), own)
    renamed = Sequential([Input((5, 3)), layers.LSTM(4, name="lstm"), layers.Dense(7, name="dense")])
    with pytest.raises(ValueError, match="kernel"):
        renamed.load_weights(tmp_path / "m.h5", by_name=True)
    with pytest.warns(UserWarning, match="keeps its own"):
        renamed.load_weights(tmp_path / "m.h5", by_name=True, skip_mismatch=True)
    mine.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match=r"older `\.h5` files"):
        mine.load_weights(tmp_path / "m.weights.h5", by_name=True)


def test_outputs_that_cannot_show_the_table():
    code = (
        "import numpy as np; from lstmfast import Input, Sequential, layers; "
        "m = Sequential([Input((5, 3)), layers.LSTM(4)]); m.summary(); m.predict(np.zeros((2, 5, 3)), verbose=1)"
    )
    shown = run_python(code, environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert "lstm (LSTM)" in shown
    assert "1/1" in shown
    assert "?" in shown


# ---- files that Keras and lstmfast write for each other ------------------------------------------------------------


def calls_of_a_model(module: Any, kind: str) -> Any:
    """A model that calls another one several times."""
    some = module.layers
    inside = module.Input((3,))
    step = module.Model(inside, some.Dense(3, activation="tanh")(inside), name="step")
    if kind == "a chain":
        step = module.Sequential([module.Input((3,)), some.Dense(3, activation="tanh")], name="step")
    a, b = module.Input((3,), name="a"), module.Input((3,), name="b")
    one, other = step(a), step(b)
    joined = some.Concatenate()([one, other])
    outputs = {
        "the first and both": [one, joined],
        "all": [one, other, joined],
        "the second": [other, one],
        "unrolled": [step(one), one, step(step(other)), joined],
        "a chain": [other, joined, one],
    }
    return module.Model([a, b], outputs[kind])


def twins(mine: Any, theirs: Any, path: Any, keras: Any) -> Iterator[Any]:
    """What each makes of the files of the other; ``mine`` has the weights of ``theirs``."""
    yield mine
    yield lstmfast.from_keras(theirs)
    theirs.save(path / "theirs.keras")
    again = lstmfast.load_model(path / "theirs.keras")
    yield again
    again.save(path / "again.keras")
    yield keras.models.load_model(path / "again.keras")
    mine.save(path / "mine.keras")
    yield lstmfast.load_model(path / "mine.keras")
    yield keras.models.load_model(path / "mine.keras")
    yield pickle.loads(pickle.dumps(mine))


KINDS_OF_CALLS = ("the first and both", "all", "the second", "unrolled", "a chain")


@pytest.mark.parametrize("kind", KINDS_OF_CALLS)
def test_a_model_called_several_times(keras, kind, tmp_path):
    mine, theirs = calls_of_a_model(lstmfast, kind), calls_of_a_model(keras, kind)
    same_weights(theirs, mine)
    x = [X[:, 0], X[:, 1]]
    for twin in twins(mine, theirs, tmp_path, keras):
        assert_like(twin(x), theirs(x))
    theirs.save(tmp_path / "m.h5")
    assert_like(lstmfast.load_model(tmp_path / "m.h5")(x), theirs(x))


@pytest.mark.parametrize("kind", KINDS_OF_CALLS)
def test_a_model_of_keras_2_called_several_times(tf_keras, kind, tmp_path):
    theirs = calls_of_a_model(tf_keras, kind)
    x = [X[:, 0], X[:, 1]]
    for name in ("m.keras", "m.h5"):
        theirs.save(tmp_path / name)
        assert_like(lstmfast.load_model(tmp_path / name)(x), theirs(x))
    assert_like(lstmfast.from_keras(theirs)(x), theirs(x))


def shares_a_layer(module: Any, kind: str) -> Any:
    """A model in which one layer stands in several places."""
    some = module.layers
    x = module.Input((5, 3))
    dense = some.Dense(3, name="shared")
    pooled = some.GlobalAveragePooling1D()(x)
    if kind == "in a wrapper first":
        return module.Model(x, [some.TimeDistributed(dense)(x), dense(some.Dense(3)(pooled))])
    if kind == "in a wrapper last":
        first = some.TimeDistributed(some.Dense(3))(x)
        return module.Model(x, some.TimeDistributed(dense)(some.Add()([first, dense(x)])))
    if kind == "in two wrappers":
        return module.Model(x, some.TimeDistributed(dense)(some.ReLU()(some.TimeDistributed(dense)(x))))
    if kind == "a cell":
        cell = some.LSTMCell(3)
        return module.Model(x, [some.RNN(cell)(x), some.RNN(cell, return_sequences=True, go_backwards=True)(x)])
    if kind == "backwards":
        backward = some.GRU(3, go_backwards=True, return_sequences=True, name="backward")
        both = some.Bidirectional(some.GRU(3, return_sequences=True), backward_layer=backward)
        return module.Model(x, [both(x), backward(x)])
    chain = module.Sequential([module.Input((3,)), dense, some.ReLU()], name="chain")
    return module.Model(x, [some.TimeDistributed(chain)(x), chain(pooled), some.TimeDistributed(chain)(x)])


SHARING = ("in a wrapper first", "in a wrapper last", "in two wrappers", "a cell", "a model", "backwards")


@pytest.mark.parametrize("kind", SHARING)
def test_a_layer_in_several_places(keras, kind, tmp_path):
    mine, theirs = shares_a_layer(lstmfast, kind), shares_a_layer(keras, kind)
    same_weights(theirs, mine)
    for twin in twins(mine, theirs, tmp_path, keras):
        assert_like(twin(X), theirs(X))
        assert [weight.shape for weight in twin.get_weights()] == [weight.shape for weight in theirs.get_weights()]


@pytest.mark.parametrize("kind", SHARING[:-1])
def test_a_layer_in_several_places_of_keras_2(tf_keras, kind, tmp_path):
    theirs = shares_a_layer(tf_keras, kind)
    models = [lstmfast.from_keras(theirs)]
    for name in ("m.keras", "m.h5"):
        theirs.save(tmp_path / name)
        models.append(lstmfast.load_model(tmp_path / name))
    for mine in models:
        assert_like(mine(X), theirs(X))


def test_a_layer_of_two_models_in_a_model(keras, tmp_path):
    def make(module: Any) -> Any:
        some = module.layers
        embedding = some.Embedding(9, 4, name="words")
        ids, others, state = module.Input((5,), dtype="int32"), module.Input((6,), dtype="int32"), module.Input((3,))
        encoder = module.Model(ids, some.GRU(3)(embedding(ids)), name="encoder")
        decoder = module.Model([others, state], some.GRU(3)(embedding(others), initial_state=state), name="decoder")
        a, b = module.Input((5,), dtype="int32"), module.Input((6,), dtype="int32")
        return module.Model([a, b], decoder([b, encoder(a)]))

    mine, theirs = make(lstmfast), make(keras)
    same_weights(theirs, mine)
    x = [np.arange(20).reshape(4, 5) % 9, np.arange(24).reshape(4, 6) % 7]
    mine.save(tmp_path / "mine.keras")
    for twin in (
        mine,
        lstmfast.from_keras(theirs),
        lstmfast.load_model(tmp_path / "mine.keras"),
        keras.models.load_model(tmp_path / "mine.keras"),
        pickle.loads(pickle.dumps(mine)),
    ):
        assert_like(twin(x), theirs(x))
    mine.save_weights(tmp_path / "m.weights.h5")
    again = make(keras)
    again.load_weights(tmp_path / "m.weights.h5")
    assert_like(again(x), theirs(x))
    theirs.save(tmp_path / "theirs.keras")  # which Keras cannot read
    assert_like(lstmfast.load_model(tmp_path / "theirs.keras")(x), theirs(x))


def by_keyword(module: Any, kind: str) -> Any:
    some = module.layers
    x, y = module.Input((5, 3)), module.Input((5, 3))
    if kind == "attention":
        one, other = (some.LSTM(4, return_sequences=True)(tensor) for tensor in (x, y))
        return module.Model([x, y], some.MultiHeadAttention(2, 3)(query=one, value=other, key=other))
    one, other = some.LSTM(4, return_sequences=True)(x), some.LSTM(4)(y)
    return module.Model([x, y], some.SimpleRNN(4)(sequences=one, initial_state=other))


@pytest.mark.parametrize("kind", ["attention", "state"])
def test_tensors_by_keyword(keras, kind, tmp_path):
    """Keras finds layers, whose weights have the same shapes, in another order then."""
    theirs = by_keyword(keras, kind)
    names = [(weight.path, tuple(weight.shape)) for weight in theirs.weights]
    theirs.set_weights(model_cases.weights(names, 3))
    x = [X, X[::-1].copy()]
    theirs.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as old, zipfile.ZipFile(tmp_path / "bare.keras", "w") as new:
        for name in old.namelist():
            content = io.BytesIO(old.read(name))
            if name.endswith(".h5"):  # as Keras 3.0 wrote it
                with h5py.File(content, "r+") as file:
                    file.visititems(lambda _, item: item.attrs.pop("name", None))
            new.writestr(name, content.getvalue())
    theirs.save(tmp_path / "m.h5")
    for mine in (
        lstmfast.from_keras(theirs),
        *(map(lstmfast.load_model, (tmp_path / name for name in ("m.keras", "bare.keras", "m.h5")))),
    ):
        assert_like(mine(x), theirs(x))
        mine.save(tmp_path / "mine.keras")
        assert_like(keras.models.load_model(tmp_path / "mine.keras")(x), theirs(x))
        assert_like(lstmfast.load_model(tmp_path / "mine.keras")(x), theirs(x))
        mine.save_weights(tmp_path / "mine.weights.h5")
        again = by_keyword(keras, kind)
        again.load_weights(tmp_path / "mine.weights.h5")
        assert_like(again(x), theirs(x))


def test_a_nested_model_of_named_inputs(keras, tmp_path):
    def make(module: Any) -> Any:
        named = {name: module.Input((3,), name=name) for name in "ba"}
        inner = module.Model(named, module.layers.Subtract()([named["a"], named["b"]]), name="inner")
        p, q = module.Input((3,)), module.Input((3,))
        return module.Model([p, q], module.layers.Dense(2)(inner({"b": p, "a": q})))

    mine, theirs = make(lstmfast), make(keras)
    same_weights(theirs, mine)
    x = [X[:, 0], X[:, 1]]
    for twin in twins(mine, theirs, tmp_path, keras):
        assert_like(twin(x), theirs(x))
    part = Model(mine.inputs, mine.layers[-1].input)
    np.testing.assert_allclose(part(x), x[1] - x[0])


def structured(module: Any, kind: str) -> Any:
    """A decoder that takes its states in a branch of its inputs."""
    x, h, c = module.Input((5, 3), name="x"), module.Input((4,), name="h"), module.Input((4,), name="c")
    y, *states = module.layers.LSTM(4, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    if kind == "a dict of dicts":
        return module.Model({"x": x, "states": {"h": h, "c": c}}, [y, states])
    if kind == "a dict of lists":
        return module.Model({"x": x, "states": [h, c]}, {"y": y, "states": states})
    decoder = module.Model([x, [h, c]], [y, states], name="decoder")
    if kind == "a list of lists":
        return decoder
    again, z = module.Input((5, 3)), module.Input((4,))
    y, states = decoder([again, [z, z]])
    return module.Model([again, z], decoder([again, states]))


@pytest.mark.parametrize("kind", ["a list of lists", "a dict of lists", "a dict of dicts", "inside"])
def test_inputs_in_branches(keras, kind, tmp_path):
    theirs, mine = structured(keras, kind), structured(lstmfast, kind)
    same_weights(theirs, mine)
    states: Any = {"h": X[:, 0, [0, 1, 2, 0]], "c": X[:, 1, [0, 1, 2, 0]]}
    if kind != "a dict of dicts":
        states = [states["h"], states["c"]]
    x: Any = {"x": X, "states": states} if "dict" in kind else [X, states if kind != "inside" else states[0]]
    for twin in twins(mine, theirs, tmp_path, keras):
        assert_like(flatten(twin(x)), flatten(theirs(x)))
        assert_like(flatten(twin.predict(x, verbose=0)), flatten(theirs(x)))
    with pytest.raises(ValueError, match="Missing data" if "dict" in kind else "expects [23] input"):
        mine({**x, "states": states[:1]} if kind == "a dict of lists" else {"x": X} if "dict" in kind else [X])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_registered_activation_named_like_one_of_keras(keras, suffix, tmp_path):
    @keras.saving.register_keras_serializable(package="Mine")
    def gelu(x: Any) -> Any:
        return x * 2

    some = keras.layers
    theirs = keras.Sequential([keras.Input((5, 3)), some.Dense(2, activation=gelu), some.Activation(gelu)])
    theirs.save(tmp_path / f"m{suffix}")
    with pytest.raises(NotImplementedError, match=r"m\.\w+': layer 'dense\w*'.*the activation Mine>gelu is not known"):
        lstmfast.load_model(tmp_path / f"m{suffix}")
    for name in ("gelu", "Mine>gelu"):
        mine = lstmfast.load_model(tmp_path / f"m{suffix}", custom_objects={name: gelu})
        assert_like(mine(X), theirs(X))


def test_a_graph_of_a_class_with_a_training_step(keras, tmp_path):
    class Custom(keras.Model):
        def train_step(self, data: Any) -> Any:
            raise NotImplementedError

    class Mine(Model):
        pass

    class Chain(keras.Sequential):
        pass

    x = keras.Input((5, 3))
    theirs = Custom(x, keras.layers.LSTM(2)(x))
    nested = Custom(x, keras.layers.Dense(1)(theirs(x)))
    chain = Chain([keras.Input((5, 3)), nested, keras.layers.Dense(2)])
    for model, names in ((theirs, ("Custom",)), (nested, ("Custom",)), (chain, ("Custom", "Chain"))):
        model.save(tmp_path / "m.keras")
        with pytest.raises(NotImplementedError, match=r"m\.keras.*lstmfast.Model itself, if it has no `call`"):
            lstmfast.load_model(tmp_path / "m.keras")
        for kind in (Model, Mine) if "Chain" not in names else (Model,):
            mine = lstmfast.load_model(tmp_path / "m.keras", custom_objects=dict.fromkeys(names, kind))
            assert_like(mine(X), model(X))
            mine.save(tmp_path / "again.keras")
            again = lstmfast.load_model(tmp_path / "again.keras", custom_objects=dict.fromkeys(names, kind))
            assert_same_bits(again(X), mine(X))


def test_losses_in_a_graph_of_keras_2(tf_keras, tmp_path):
    import tensorflow

    some = tf_keras.layers
    x = tf_keras.Input((5, 3))
    y = some.LSTM(3, return_sequences=True)(x)
    theirs = tf_keras.Model(x, some.Dense(2)(y))
    theirs.add_loss(tensorflow.reduce_mean(tensorflow.square(tensorflow.math.lgamma(y) - x)))
    theirs.add_metric(tensorflow.reduce_mean(y), name="mean")
    for name in ("m.h5", "m.keras"):
        theirs.save(tmp_path / name)
        assert_like(lstmfast.load_model(tmp_path / name)(X), theirs(X))
        assert lstmfast.explain(tmp_path / name).supported
    assert_like(lstmfast.from_keras(theirs)(X), theirs(X))


def test_a_mask_that_keras_3_does_not_make(tf_keras, tmp_path):
    some = tf_keras.layers
    x = tf_keras.Input((4, 6), dtype="int32")
    theirs = tf_keras.Model(
        x, some.TimeDistributed(some.LSTM(3))(some.TimeDistributed(some.Embedding(9, 3, mask_zero=True))(x))
    )
    mine = lstmfast.from_keras(theirs)
    ids = np.random.default_rng(0).integers(0, 3, (2, 4, 6))
    assert_like(mine(ids), theirs(ids))
    with pytest.raises(NotImplementedError, match=r"'time_distributed\w*' hands on the mask that its layer 'embedding"):
        mine.save(tmp_path / "m.keras")


def merges_masked(module: Any, kind: str) -> Any:
    """A model of Keras 2 of two inputs of ids, in which a layer merges what comes of masked steps."""
    some = module.layers
    one, two = module.Input((6,)), module.Input((6,))
    x, plain = some.Embedding(3, 4, mask_zero=True)(one), some.Embedding(3, 4)(two)
    if kind == "no steps":
        y = some.Dense(2)(some.Concatenate()([some.LSTM(3)(x), some.Bidirectional(some.LSTM(3))(plain)]))
    elif kind == "states":
        y = some.Add()(some.LSTM(3, return_state=True)(x)[1:])
    elif kind == "a tower":
        tower = module.Sequential([module.Input((6, 4)), some.GRU(3), some.Dense(3)])
        y = some.Multiply()([tower(x), tower(plain)])
    elif kind == "a tower over steps":
        ids = module.Input((6,))
        tower = module.Model(ids, some.LSTM(4)(some.Embedding(3, 4, mask_zero=True)(ids)))
        y = some.GRU(3)(some.TimeDistributed(tower)(some.Reshape((2, 6))(some.Concatenate()([one, two]))))
    elif kind == "not used":
        y = some.TimeDistributed(some.Dense(2))(some.Concatenate()([some.LSTM(3, return_sequences=True)(x), plain]))
    elif kind == "one mask":
        h = some.Bidirectional(some.LSTM(2, return_sequences=True))(x)
        h = some.Add()([some.Dropout(0.5)(x), some.GRU(4, return_sequences=True)(h)])
        y = some.LSTM(3)(some.Concatenate()([h, x, h]))
    elif kind == "used":
        y = some.LSTM(3)(some.Concatenate()([x, plain]))
    else:
        pair = [module.Input((6, 4)), module.Input((6, 4))]
        both = some.Concatenate()(pair)
        y = module.Model(pair, some.LSTM(3)(both) if kind == "used inside" else both)([x, plain])
        y = y if kind == "used inside" else some.LSTM(3)(y)
    return module.Model([one, two], y)


MERGED = ("no steps", "states", "a tower", "a tower over steps", "not used", "one mask")


@pytest.mark.parametrize("kind", [*MERGED, "used", "used inside", "used outside"])
def test_merged_masks_of_keras_2_written_for_keras_3(tf_keras, kind, tmp_path):
    theirs = merges_masked(tf_keras, kind)
    mine = lstmfast.from_keras(theirs)
    ids = list(np.random.default_rng(0).integers(0, 3, (2, 4, 6)))
    assert_like(mine(ids), theirs(ids))
    if kind in MERGED:
        mine.save(tmp_path / "m.keras")
        assert_like(lstmfast.load_model(tmp_path / "m.keras")(ids), theirs(ids))
    else:
        with pytest.raises(
            NotImplementedError, match=r"'concatenate\w*' .* hands on another mask by the rules of Keras 3"
        ):
            mine.save(tmp_path / "m.keras")


@pytest.mark.parametrize("module", ["keras", "tf_keras"])
def test_a_mask_from_outside_beside_a_state(request, module):
    theirs = request.getfixturevalue(module)
    some = theirs.layers
    x, inside = theirs.Input((5, 3)), theirs.Input((5, 3))
    y = some.GRU(3, return_sequences=True)(inside, initial_state=some.Dense(3)(some.Flatten()(inside)))
    theirs = theirs.Model(x, theirs.Model(inside, y)(some.Masking()(x)))
    masked = X.copy()
    masked[0, 2:4] = masked[1, :2] = 0
    assert_like(lstmfast.from_keras(theirs)(masked), theirs(masked))


def test_a_call_of_keras_2_on_a_dict_with_training(tf_keras, tmp_path):
    named = {name: tf_keras.Input((3,), name=name) for name in "ab"}
    inner = tf_keras.Model(named, tf_keras.layers.BatchNormalization()(tf_keras.layers.Add()(list(named.values()))))
    p, q = tf_keras.Input((3,)), tf_keras.Input((3,))
    theirs = tf_keras.Model([p, q], inner({"a": p, "b": q}, training=True))
    theirs.save(tmp_path / "m.h5")
    x = [X[:, 0], X[:, 1]]
    assert_like(lstmfast.load_model(tmp_path / "m.h5")(x), theirs(x))


def test_words_with_other_ends_of_lines(tf_keras, tmp_path):
    import tensorflow

    text = tf_keras.layers.TextVectorization(output_sequence_length=4)
    text.adapt(["a\u2028b c d c d d", "e\x85f d"])
    model = tf_keras.Sequential([tf_keras.Input((1,), dtype="string"), text])
    model.save(tmp_path / "m.keras")
    words = ["a\u2028b c d e\x85f"]
    mine = lstmfast.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(mine(words), model(tensorflow.constant(words)).numpy())


def test_a_name_that_keras_3_refuses(keras, tmp_path):
    x = Input((3,))
    mine = Model(x, layers.Dense(2, name="block/dense")(x))
    with pytest.raises(NotImplementedError, match="'block/dense' has a '/' in its name"):
        mine.save(tmp_path / "m.keras")
    mine.layers[1].name = "block_dense"
    mine.save(tmp_path / "m.keras")
    assert_like(mine(X[:, 0]), keras.models.load_model(tmp_path / "m.keras")(X[:, 0]))


def test_more_layers_than_the_file_has(keras, tmp_path):
    def make(module: Any, *units: int) -> Any:
        some = module.layers
        return module.Sequential([module.Input((5, 3)), some.LSTM(4), *map(some.Dense, units)])

    theirs = make(keras, 2)
    theirs.save_weights(tmp_path / "m.weights.h5")
    mine, same = make(lstmfast, 2, 1), make(keras, 2, 1)
    own = mine.layers[2].get_weights()
    with pytest.raises(ValueError, match="holds the weights of 1 layers of class Dense, its config has 2"):
        mine.load_weights(tmp_path / "m.weights.h5")
    with pytest.warns(UserWarning, match=rf"layer '{mine.layers[2].name}' of class Dense are missing.* keeps its own"):
        mine.load_weights(tmp_path / "m.weights.h5", skip_mismatch=True)
    with pytest.warns(UserWarning, match="could not be loaded"):
        same.load_weights(tmp_path / "m.weights.h5", skip_mismatch=True)
    assert_same_bits(mine.get_weights()[:-2], theirs.get_weights())
    assert_same_bits(mine.get_weights()[:-2], same.get_weights()[:-2])
    assert_same_bits(mine.layers[2].get_weights(), own)
    other = Sequential([Input((5, 3)), layers.GRU(4), layers.Dense(2)])
    with pytest.warns(UserWarning, match="class GRU are missing"):
        other.load_weights(tmp_path / "m.weights.h5", skip_mismatch=True)
    assert_same_bits(other.layers[1].get_weights(), theirs.layers[1].get_weights())


def test_models_in_models_each_called_twice():
    """Which costs no more to make than they are."""
    x = Input((3,))
    net = Model(x, layers.Dense(3)(x))
    for _ in range(30):
        y = Input((3,))
        net = Model(y, net(net(y)))
    again = lstmfast.model_from_json(net.to_json())
    assert again.output_shape == again.compute_output_shape((None, 3)) == (None, 3)
    assert again.count_params() == 12


class Joining(layers.Layer):
    """A layer whose output is as long as both of its arguments."""

    def call(self, x, other):
        return np.concatenate([x, other], axis=1)


def test_the_bytes_of_a_row_are_those_of_what_layers_give():
    """By which `predict` chooses how many rows to run at once."""
    for dtype, size in (("float32", 4), ("float64", 8)):
        x = Input((None, 3), dtype=dtype)
        y = layers.Dense(2, dtype=dtype)(layers.LSTM(7, return_sequences=True, dtype=dtype)(x))
        assert lstmfast.Model(x, y).plan().row_bytes([(50, 3)]) == 50 * 7 * size
    x, other = Input((None, 3)), Input((None, 3))
    model = lstmfast.Model([x, other], layers.Dense(5)(Joining()(x, other=other)))
    assert model.plan().row_bytes([(50, 3), (20, 3)]) == 70 * 5 * 4


STRUCTURES = {
    "list": lambda a, b, c: [a, b],
    "tuple": lambda a, b, c: (a, b),
    "list of one": lambda a, b, c: [a],
    "tuple of one": lambda a, b, c: (a,),
    "dict of one": lambda a, b, c: {"z": a},
    "dict": lambda a, b, c: {"b": (a,), "a": [b, c]},
    "list of lists": lambda a, b, c: [[a], [b]],
    "list of a list": lambda a, b, c: [[a, b]],
    "tuple of a list": lambda a, b, c: ([a, b],),
    "tuple in a list": lambda a, b, c: [a, (b, c)],
    "dict in a tuple": lambda a, b, c: (a, {"x": b, "w": [c]}),
    "twice": lambda a, b, c: (a, a, [b]),
    "named tuple": lambda a, b, c: Pair(a, [b, c]),
}
Pair = collections.namedtuple("Pair", "first second")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("module", ["keras", "tf_keras"])
def test_outputs_have_the_structure_that_keras_gives_them(request, module, structure, tmp_path):
    keras = request.getfixturevalue(module)
    inputs = keras.Input((4, 3))
    a = keras.layers.LSTM(2)(inputs)
    outputs = STRUCTURES[structure](a, keras.layers.Dense(3)(a), keras.layers.Dense(1)(a))
    model = keras.Model(inputs, outputs)
    if structure != "named tuple":
        outer = keras.Input((4, 3))
        _same_structure(lstmfast.from_keras(keras.Model(outer, model(outer))), keras.Model(outer, model(outer)))
    _same_structure(lstmfast.from_keras(model), model)
    if structure != "named tuple":  # whose names Keras 2 does not read again
        for suffix in (".keras", ".h5"):
            model.save(tmp_path / f"m{suffix}")
            loaded = keras.models.load_model(tmp_path / f"m{suffix}", compile=False)
            _same_structure(lstmfast.load_model(tmp_path / f"m{suffix}"), loaded)


def _same_structure(mine: Any, theirs: Any) -> None:
    x = np.random.default_rng(3).normal(size=(5, 4, 3)).astype("float32")
    for many in (x, np.repeat(x, 40, 0)):
        expected = theirs(many), theirs.predict(many, verbose=0)
        for _ in range(2):
            found = mine(many), mine.predict(many)
            assert _kinds(found) == _kinds(expected)
            for one, other in zip(flatten(found), flatten(expected), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)


def _kinds(tree: Any) -> Any:
    """The branches of a structure, by their types, with the shapes of its leaves."""
    if isinstance(tree, dict):
        return {key: _kinds(tree[key]) for key in tree}
    if isinstance(tree, (list, tuple)):
        return type(tree).__name__, *map(_kinds, tree)
    return tuple(tree.shape)
