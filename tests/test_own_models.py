"""Models of users' own, with a `call`: the same class for Keras and here, but for the library of its arithmetic."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import layer_cases
import model_cases
import numpy as np
import oracle
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import Input, Model, Sequential, layers

X = np.random.default_rng(1).uniform(-1, 1, (7, 5, 3)).astype("float32")


def classes(module: Any, array: Any) -> dict[str, Any]:
    """The models for a library: `module` has its layers, and `array` its arithmetic (NumPy, or keras.ops)."""
    some = module.layers

    class Detector(module.Model):
        """Layers in attributes; the constructor takes nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = module.Sequential([some.LSTM(6, return_sequences=True), some.LSTM(4)])
            self.decoder = [some.RepeatVector(5), some.LSTM(4, return_sequences=True)]
            self.score = some.TimeDistributed(some.Dense(3))

        def call(self, x: Any) -> Any:
            y = self.encoder(x)
            for layer in self.decoder:
                y = layer(y)
            return array.mean(array.abs(self.score(y) - x), axis=(1, 2))

    class Forecast(module.Model):
        """Weights of its own, arguments, `training`, a normalization."""

        def __init__(self, units: int, rate: float = 0.5, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units, self.rate = units, rate
            self.read = some.Bidirectional(some.GRU(units))
            self.norm = some.BatchNormalization()
            self.drop = some.Dropout(rate)
            self.out = some.Dense(2)

        def build(self, input_shape: Any) -> None:
            self.trend = self.add_weight(shape=(2,), initializer="ones", name="trend")
            self.level = self.add_weight(shape=(), initializer="ones", name="level", trainable=False)
            self.read.build(input_shape)
            self.norm.build((input_shape[0], 2 * self.units))
            self.out.build((input_shape[0], 2 * self.units))
            self.built = True

        def call(self, x: Any, training: bool = False) -> Any:
            y = self.drop(self.norm(self.read(x), training=training), training=training)
            return {"last": x[:, -1] * 2, "next": self.out(y) * self.trend + self.level}

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units, "rate": self.rate}

    class Pair(module.Model):
        """Of several inputs; a model inside."""

        def __init__(self, name: str = "pair") -> None:
            super().__init__(name=name)
            self.inner = Detector()
            self.join = some.Concatenate()
            self.out = some.Dense(2, activation="tanh")

        def call(self, inputs: Any) -> Any:
            sequence, other = inputs
            score = array.expand_dims(self.inner(sequence), -1)
            return self.out(self.join([score, other])), score

    return {cls.__name__: cls for cls in (Detector, Forecast, Pair)}


def made(name: str, own: dict[str, Any]) -> Any:
    return own[name](3, rate=0.2) if name == "Forecast" else own[name]()


def data(name: str, rows: int = 7) -> Any:
    x = np.resize(X, (rows, 5, 3))
    return [x, x[:, 0] * 2] if name == "Pair" else x


def weights(live: Any) -> list[Any]:
    return model_cases.weights([(weight.path, tuple(weight.shape)) for weight in live.weights], 3)


def assert_alike(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert sorted(found) == sorted(expected)
        found, expected = ([outputs[key] for key in sorted(expected)] for outputs in (found, expected))
    for y, values in zip(layer_cases.flatten(found), layer_cases.flatten(expected), strict=True):
        values = np.asarray(values)
        oracle.assert_close(np.asarray(y)[: len(values)], values, oracle.LOOSE * (1 + np.abs(values)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Detector", "Forecast", "Pair"])
def test_models_of_ones_own_are_those_of_keras(keras, name, tmp_path):
    mine, theirs = classes(lstmfast, np), classes(keras, keras.ops)
    live, x = made(name, theirs), data(name)
    live(x)
    live.set_weights(weights(live))
    expected = live(x)
    live.save(tmp_path / "m.keras")
    live.save_weights(tmp_path / "m.weights.h5")
    fresh = made(name, mine)
    fresh(x)
    by_hand = made(name, mine)
    by_hand(x)
    by_hand.set_weights(live.get_weights())
    fresh.load_weights(tmp_path / "m.weights.h5")
    fresh.save(tmp_path / "mine.keras")
    fresh.save_weights(tmp_path / "mine.weights.h5")
    sources = [
        lstmfast.load_model(tmp_path / "m.keras", custom_objects=mine),
        lstmfast.from_keras(live, custom_objects=mine),
        lstmfast.load_model(tmp_path / "mine.keras", custom_objects=mine),
        by_hand,
        fresh,
    ]
    for one in sources:
        assert isinstance(one, Model)
        assert [tuple(w.shape) for w in one.weights] == [tuple(w.shape) for w in live.weights]
        assert one.count_params() == live.count_params()
        assert [type(layer).__name__ for layer in one.layers] == [type(layer).__name__ for layer in live.layers]
        for found in (one(x), one.predict(x), one.predict(x, batch_size=2), one.predict_on_batch(x)):
            assert_alike(found, expected)
        assert_alike(one.predict(data(name, 700), verbose=0), expected)
    assert_alike(keras.models.load_model(tmp_path / "mine.keras", custom_objects=theirs)(x), expected)
    again = made(name, theirs)
    again(x)
    again.load_weights(tmp_path / "mine.weights.h5")
    assert_alike(again(x), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Detector", "Forecast", "Pair"])
def test_weights_alone_of_keras_2(tf_keras, name, tmp_path):
    import tensorflow as tf

    mine, theirs = classes(lstmfast, np), classes(tf_keras, Functions(tf))
    live, x = made(name, theirs), data(name)
    live(x)
    live.set_weights(model_cases.weights([(w.name, tuple(w.shape)) for w in live.weights], 3))
    expected = live(x)
    live.save_weights(tmp_path / "m.h5")
    fresh = made(name, mine)
    fresh(x)
    fresh.load_weights(tmp_path / "m.h5")
    assert_alike(fresh(x), expected)
    live.save(tmp_path / "m.keras")
    assert_alike(lstmfast.load_model(tmp_path / "m.keras", custom_objects=mine).predict(x), expected)
    assert_alike(lstmfast.from_keras(live, custom_objects=mine)(x), expected)


class Functions:
    """What differs in TensorFlow from keras.ops."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tf, {"mean": "reduce_mean"}.get(name, name))


def test_inside_other_models(keras, tmp_path):
    mine, theirs = classes(lstmfast, np), classes(keras, keras.ops)

    def graph(module: Any, own: dict[str, Any]) -> Any:
        x = module.Input((5, 3))
        y = own["Forecast"](3, name="forecast")(x)
        score = own["Detector"]()(x)
        return module.Model(x, [y["next"], score, module.layers.Dense(2, name="d")(y["last"])])

    live = graph(keras, theirs)
    live.set_weights(weights(live))
    live.save(tmp_path / "m.keras")
    loaded = lstmfast.load_model(tmp_path / "m.keras", custom_objects=mine)
    ours = graph(lstmfast, mine)
    ours.set_weights(live.get_weights())
    for one in (loaded, ours):
        assert_alike(one.predict(X), live(X))
    ours.save(tmp_path / "mine.keras")
    assert_alike(keras.models.load_model(tmp_path / "mine.keras", custom_objects=theirs)(X), live(X))
    chain = Sequential([Input((5, 3)), mine["Detector"]()])
    assert chain.predict(X).shape == (7,)
    over_time = Sequential([Input((2, 5, 3)), layers.TimeDistributed(mine["Detector"]())])
    assert over_time.predict(np.zeros((3, 2, 5, 3))).shape == (3, 2)


class Attends(Model):
    """Of two arguments, as decoders are."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.cell = layers.GRU(units, return_state=True, return_sequences=True)
        self.attention = layers.Attention()
        self.out = layers.Dense(2)

    def call(self, x: Any, states: Any, steps: int = 1) -> Any:
        y, state = self.cell(x, initial_state=states[:, 0])
        return self.out(self.attention([y, states]))[:, -steps:], state


def test_further_arguments(keras):
    model = Attends(4)
    states = np.random.default_rng(2).uniform(-1, 1, (7, 6, 4)).astype("float32")
    y, state = model(X, states, steps=2)
    assert y.shape == (7, 2, 2)
    assert state.shape == (7, 4)
    cell = keras.layers.GRU(4, return_state=True, return_sequences=True)
    out = keras.layers.Dense(2)
    for layer, own in ((cell, model.cell), (out, model.out)):
        layer.build((None, None, 3 if layer is cell else 4))
        layer.set_weights(own.get_weights())
    hidden, last = cell(X, initial_state=states[:, 0])
    assert_alike((y, state), (out(keras.layers.Attention()([hidden, states]))[:, -2:], last))
    x, s = Input((5, 3)), Input((6, 4))
    whole = Model([x, s], model(x, s, steps=2))
    assert_alike(whole.predict([X, states]), (y, state))


def test_predict_takes_what_other_models_take():
    model = classes(lstmfast, np)["Detector"]()
    expected = model(X)
    batches = [X[:3], (X[3:6], "targets"), [X[6:], "targets"]]
    assert_same_bits(model.predict(iter(batches)), expected)
    assert_same_bits(model.predict(batches[0], steps=1, batch_size=2), expected[:2])
    out = np.empty(7, "float32")
    assert model.predict(X, out=out) is out
    assert_same_bits(out, expected)
    assert_same_bits(model.predict(X.astype("float64")), expected)
    assert_same_bits(model.predict(X.tolist()), expected)
    assert_same_bits(model.predict(X[:1]), expected[:1])
    assert model.predict(X[:0]).shape == (0,)
    with pytest.raises(ValueError, match="scalar"):
        model.predict(3.0)
    with pytest.raises(NotImplementedError, match="Callbacks"):
        model.predict(X, callbacks=[1])
    with pytest.raises(ValueError, match="batch_size"):
        model.predict(X, batch_size=0)


def test_lengths_may_change_from_call_to_call():
    class Summed(Model):
        def __init__(self) -> None:
            super().__init__()
            self.read = layers.LSTM(4)

        def call(self, x: Any) -> Any:
            return self.read(x) + x.sum((1, 2))[:, None]

    model = Summed()
    for steps in (5, 3, 1, 4, 5):
        x = X[:, :steps]
        assert_same_bits(model.predict(x), model(x))
    chains = {id(whole) for whole in model._whole.values()}
    model.predict(X)
    assert chains == {id(whole) for whole in model._whole.values()}
    for steps in range(1, 150):
        model.predict(np.zeros((1, steps, 3)))
    assert len(model._whole) <= 64
    assert model.layers == [model.read]
    assert len(model.nodes) == 0


def test_a_functional_class_of_ones_own(keras, tmp_path):
    """Which Keras makes functional when its constructor is called with inputs and outputs."""

    def kind(module: Any) -> Any:
        class Chain(module.Model):
            def __init__(self, units: int, **kwargs: Any) -> None:
                x = module.Input((5, 3))
                y = module.layers.Dense(2)(module.layers.LSTM(units)(x))
                super().__init__(inputs=x, outputs=y, **kwargs)
                self.units = units

            def doubled(self, x: Any) -> Any:
                return 2 * self.predict(x, verbose=0)

        return Chain

    theirs, mine = kind(keras)(4), kind(lstmfast)(4)
    mine.set_weights(theirs.get_weights())
    assert_alike(mine.doubled(X), theirs.doubled(X))
    assert mine.output_shape == theirs.output_shape
    assert mine.stream().step(X[:1, 0]).shape == (1, 2)
    assert isinstance(mine, Model)
    assert kind(lstmfast)(3).count_params() == kind(keras)(3).count_params()


def test_summary_and_config(keras, capsys):
    mine, theirs = classes(lstmfast, np)["Forecast"](3), classes(keras, keras.ops)["Forecast"](3)
    mine(X)
    theirs(X)
    mine.summary()
    table = capsys.readouterr().out
    for text in ("forecast", "bidirectional", "batch_normalization", "dropout", "dense", "Total params: 185"):
        assert text in table
    assert theirs.count_params() == 185
    assert mine.get_layer("dense" if "dense" in [one.name for one in mine.layers] else mine.layers[-1].name) is mine.out
    config = mine.get_config()
    assert (config["units"], config["rate"]) == (3, 0.5)
    again = type(mine).from_config(config)
    assert (again.name, again.units) == (mine.name, 3)
    assert lstmfast.model_from_json(mine.to_json(), custom_objects={"Forecast": type(mine)}).built


class Plain(Model):
    """Of the module, so that it pickles."""

    def __init__(self) -> None:
        super().__init__()
        self.read = layers.LSTM(4)

    def call(self, x: Any) -> Any:
        return self.read(x) * 2


def test_pickles_and_copies():
    model = Plain()
    expected = model.predict(X)
    again = pickle.loads(pickle.dumps(model))
    assert_same_bits(again.predict(X), expected)
    assert_same_bits(again(X), expected)


def test_calls_that_train():
    model = classes(lstmfast, np)["Forecast"](3)
    still = model(X)["next"]
    assert_same_bits(model.predict(X)["next"], still)
    assert np.abs(model(X, training=True)["next"] - still).max() > 1e-3


def test_what_is_refused(tmp_path):
    x = Input((5, 3))

    class Both(Model):
        def __init__(self) -> None:
            super().__init__(x, layers.Dense(2)(x))

        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(TypeError, match="no inputs and outputs"):
        Both()
    with pytest.raises(NotImplementedError, match="call"):
        Model()(X)
    model = Plain()
    with pytest.raises(ValueError, match="not built"):
        model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="not built"):
        model.stream()
    model(X)
    with pytest.raises(ValueError, match="cannot be streamed"):
        model.stream()
    model.save(tmp_path / "m.keras")
    with pytest.raises(NotImplementedError, match=r"'Plain': a subclass of lstmfast\.Model"):
        lstmfast.load_model(tmp_path / "m.keras")
    with pytest.raises(NotImplementedError, match=r"'Plain': a subclass of lstmfast\.Model"):
        lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Plain": layers.Dense})
    assert "Plain" in str(lstmfast.explain(tmp_path / "m.keras"))
    explained = lstmfast.explain(tmp_path / "m.keras", custom_objects={"Plain": Plain})
    assert "Supported" in str(explained)
    with pytest.raises(AttributeError):
        model.layers = []
    with pytest.raises(TypeError, match="arithmetic is not in its `call`"):

        class Chain(Sequential):
            def call(self, inputs: Any) -> Any:
                return inputs


@pytest.mark.filterwarnings("ignore")
def test_weights_of_keras_2_come_in_its_order(tf_keras, tmp_path):
    """Which has dicts by their keys, lists where they were first set, and nested lists among `layers` alone."""

    def kind(module: Any) -> Any:
        some = module.layers

        class Heads(module.Model):
            def __init__(self) -> None:
                super().__init__()
                self.steps: list[Any] = []
                self.late = None
                self.nested = [[some.Dense(3)], [some.Dense(3)]]
                self.heads = {"z": some.Dense(3), "a": [some.Dense(3)]}
                self.norms = [some.BatchNormalization(), module.Sequential([some.BatchNormalization(), some.Dense(3)])]
                self.late = some.Dense(3)
                self.steps.append(some.Dense(3))

            def call(self, x: Any) -> Any:
                for layer in (*self.nested[0], *self.nested[1], *self.norms, *self.steps, self.late):
                    x = layer(x)
                return [self.heads["z"](x), self.heads["a"][0](x)]

        return Heads

    live = kind(tf_keras)()
    live(X)
    live.set_weights(model_cases.weights([(w.name, tuple(w.shape)) for w in live.weights], 3))
    live.save_weights(tmp_path / "m.h5")
    live.save(tmp_path / "m.keras")
    fresh = kind(lstmfast)()
    fresh(X)
    fresh.load_weights(tmp_path / "m.h5")
    own = {"Heads": kind(lstmfast)}
    loaded = lstmfast.load_model(tmp_path / "m.keras", custom_objects=own)
    for one in (fresh, loaded, lstmfast.from_keras(live, custom_objects=own)):
        assert_alike(one(X), live(X))


class Shared(Model):
    """The cell of an RNN is called alone too."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = layers.LSTMCell(4)
        self.read = layers.RNN(self.cell, return_state=True)
        self.out = layers.Dense(3)

    def call(self, x: Any) -> Any:
        y, *states = self.read(x)
        return self.out(self.cell(self.out(y), states)[0])


def test_files_with_a_cell_that_is_in_two_places(keras, tmp_path):
    class Theirs(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.cell = keras.layers.LSTMCell(4)
            self.read = keras.layers.RNN(self.cell, return_state=True)
            self.out = keras.layers.Dense(3)

        call = Shared.call

    live, mine = Theirs(), Shared()
    live(X)
    live.save_weights(tmp_path / "m.weights.h5")
    mine(X)
    mine.load_weights(tmp_path / "m.weights.h5")
    assert_alike(mine(X), live(X))
    mine.save(tmp_path / "m.keras")
    assert_same_bits(lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Shared": Shared})(X), mine(X))


def test_tables_of_layers_that_take_more_than_their_input(capsys):
    class Net(Model):
        def __init__(self) -> None:
            super().__init__()
            self.attends = Attends(4)

        def call(self, x: Any) -> Any:
            return self.attends(x, np.zeros((len(x), 6, 4)))

    model = Net()
    model(X)
    model.summary()
    assert "?" in capsys.readouterr().out


def test_models_without_weights(keras, tmp_path):
    class Mean(keras.Model):
        def call(self, x: Any) -> Any:
            return keras.ops.mean(x, axis=1)

    class Mine(Model):
        def call(self, x: Any) -> Any:
            return x.mean(1)

    live, mine = Mean(), Mine()
    live(X)
    live.save_weights(tmp_path / "m.weights.h5")
    mine(X)
    mine.load_weights(tmp_path / "m.weights.h5")
    assert_alike(mine.predict(X), live(X))


@pytest.mark.filterwarnings("ignore")
def test_live_models_without_a_config(keras, tf_keras):
    def live(module: Any) -> Any:
        class Around(module.Model):
            def __init__(self, inner: Any) -> None:
                super().__init__()
                self.inner = inner

            def call(self, x: Any) -> Any:
                return self.inner(x)

        model = Around(module.layers.Dense(2))
        model(X)
        return model

    class Around(Model):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def call(self, x: Any) -> Any:
            return self.inner(x)

    with pytest.raises(NotImplementedError, match=r"no config: .* weights: set_weights\("):
        lstmfast.from_keras(live(keras), custom_objects={"Around": Around})
    with pytest.raises(ValueError, match="layer of class Around cannot be made"):
        lstmfast.from_keras(live(tf_keras), custom_objects={"Around": Around})
    with pytest.raises(NotImplementedError, match=r"weights: load_weights\('weights\.h5'\) of what save_weights"):
        lstmfast.from_keras(live(tf_keras))


@pytest.mark.parametrize("name", ["stateful", "input_shape", "layers", "nodes", "_whole", "keras_version"])
def test_names_of_attributes_that_models_have(name):
    model = Plain()
    with pytest.raises(AttributeError, match=f"as `{name}`, which is an attribute"):
        setattr(model, name, [layers.Dense(2)])


class Pieces(NamedTuple):
    y: Any
    state: Any


def test_named_tuples_come_and_go():
    class Net(Model):
        def __init__(self) -> None:
            super().__init__()
            self.read = layers.GRU(4, return_state=True)

        def call(self, pieces: Any) -> Any:
            y, state = self.read(pieces.y, initial_state=pieces.state)
            return Pieces(y, state)

    model = Net()
    inputs = Pieces(X, np.ones((7, 4), "float32"))
    for found in (model(inputs), model.predict(inputs)):
        assert isinstance(found, Pieces)
        assert_same_bits(found.y, found.state)


class Kept(Model):
    """Its layer keeps its state from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.read = layers.LSTM(4, stateful=True)
        self.fails = False

    def call(self, x: Any) -> Any:
        y = self.read(x)
        if self.fails:
            raise RuntimeError("fails")
        return y


def test_states_from_call_to_call():
    plain = Sequential([Input(batch_shape=(7, 5, 3)), layers.LSTM(4, stateful=True)])
    model = Kept()
    assert model.predict(X, batch_size=7).shape == (7, 4)  # and is built by that
    model.set_weights(plain.get_weights())
    model.reset_states()
    for _ in range(2):
        assert_same_bits(model(X), plain(X))
        assert_same_bits(model.predict(X), plain.predict(X))
        assert_same_bits(model.predict(np.tile(X, (2, 1, 1)), batch_size=7), plain.predict(np.tile(X, (2, 1, 1))))
    with pytest.raises(ValueError, match="batch size"):
        model.predict(X[:3])
    with pytest.raises(ValueError, match="cannot be streamed"):
        model.stream()


def test_states_are_as_before_where_a_call_fails():
    model = Kept()
    model(X)
    before = [state.copy() for state in model.read.states]

    def batches() -> Any:
        yield X
        raise RuntimeError("fails")

    with pytest.raises(RuntimeError):
        model.predict(batches())
    model.fails = True
    for run in (model, model.predict):
        with pytest.raises(RuntimeError):
            run(X)
    for state, known in zip(model.read.states, before, strict=True):
        assert_same_bits(state, known)


def test_weights_of_layers_that_are_not_built_are_not_lost(keras, tf_keras, tmp_path):
    def kind(module: Any) -> Any:
        class Optional(module.Model):
            def __init__(self) -> None:
                super().__init__()
                self.read = module.layers.LSTM(4, name="read")
                self.more = module.layers.Dense(4, name="more")
                self.drop = module.layers.Dropout(0.5)

            def call(self, x: Any, other: Any = None, training: bool = False) -> Any:
                x = self.drop(x, training=True) if training else x
                return self.read(x) if other is None else self.read(x) + self.more(other)

        return Optional

    live, mine = kind(keras)(), kind(lstmfast)()
    live(X, X[:, 0])
    live.save_weights(tmp_path / "m.weights.h5")
    mine(X)
    with pytest.raises(ValueError, match="'more' of class Dense, which is not built"):
        mine.load_weights(tmp_path / "m.weights.h5")
    older = kind(tf_keras)()
    older(X, X[:, 0])
    older.save_weights(tmp_path / "m.h5")
    with pytest.raises(ValueError, match="'more' of class Dense, which is not built"):
        mine.load_weights(tmp_path / "m.h5", by_name=True)
    with pytest.raises(ValueError, match="is not built: call it on data"):
        kind(lstmfast)().load_weights(tmp_path / "m.h5")
    mine(X, X[:, 0])
    mine.load_weights(tmp_path / "m.weights.h5")
    assert_alike(mine(X, X[:, 0]), live(X, X[:, 0]))


def test_arguments_of_any_name():
    class Around(Model):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            return inputs + self.inner(inputs, *args, **kwargs)

    inner = layers.LSTM(3, return_sequences=True)
    model = Around(inner)
    mask = np.array([[1, 1, 0, 0, 1]] * 7, bool)
    assert_same_bits(model(X, mask=mask), X + inner(X, mask=mask))
    states = [np.ones((7, 3), "float32")] * 2
    assert_same_bits(model(X, initial_state=states), X + inner(X, initial_state=states))


def test_what_a_call_cannot_take_or_give():
    class Nothing(Model):
        def call(self, x: Any) -> Any:
            return x, None

    class Unnamed(Model):
        def call(self, *x: Any) -> Any:
            return x[0]

    class Forgets(Model):
        def __init__(self) -> None:
            self.read = layers.LSTM(4)

        def call(self, x: Any) -> Any:
            return self.read(x)

    with pytest.raises(TypeError, match="returned None, alone or among others"):
        Nothing()(X)
    with pytest.raises(TypeError, match="None among them"):
        Nothing()([X, None])
    with pytest.raises(TypeError, match="has to name its arguments"):
        Unnamed()(X, X)
    for run in (Forgets(), Forgets().predict):
        with pytest.raises(RuntimeError, match=r"Forgets has to call `super\(\)\.__init__\(\)`"):
            run(X)


def test_shapes_to_build_for(tmp_path):
    class TensorShape:
        """As TensorFlow's."""

        def __init__(self, sizes: list[Any]) -> None:
            self.as_list = sizes.copy
            self.sizes = sizes

        def __iter__(self) -> Any:
            return iter(self.sizes)

    class Two(Model):
        def __init__(self) -> None:
            super().__init__()
            self.read = layers.LSTM(4)

        def call(self, inputs: Any) -> Any:
            return self.read(inputs[0]) + self.read(inputs[1])

    shape = TensorShape([None, 5, 3])
    for given in ([shape, shape], (shape, shape), [(None, 5, 3)] * 2, [[None, 5, 3]] * 2):
        model = Two()
        model.build(given)
        assert model.predict([X, X]).shape == (7, 4)
    model = Plain()
    for unknown in (None, 3, "abc", [shape, 3]):
        with pytest.raises((TypeError, ValueError), match=r"Expected a shape|to a shape"):
            model.build(unknown)
    with pytest.raises(ValueError, match=r"of shape \(None, 5, None\), where a None may be 2, but then not 3"):
        model.build((None, 5, None))
    assert not model.read.built
    model.build(shape)
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match="not built"):
        Plain().load_weights(tmp_path / "m.weights.h5")


@pytest.mark.filterwarnings("ignore")
def test_text_that_goes_to_layers_inside(keras, tmp_path):
    def kind(module: Any) -> Any:
        some = module.layers

        class Reader(module.Model):
            def __init__(self) -> None:
                super().__init__()
                self.words = some.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=4)
                self.embed = some.Embedding(4, 3)
                self.read = some.LSTM(2)

            def call(self, x: Any) -> Any:
                return self.read(self.embed(self.words(x)))

        return Reader

    import tensorflow as tf

    texts = ["good or bad", "good"]
    live, mine = kind(keras)(), kind(lstmfast)()
    expected = live(tf.constant(texts))
    live.save(tmp_path / "m.keras")
    mine(texts)
    mine.set_weights(live.get_weights())
    own = {"Reader": kind(lstmfast)}
    chain = Sequential([Input((), dtype="string"), mine])
    sources = [lstmfast.load_model(tmp_path / "m.keras", custom_objects=own), lstmfast.from_keras(live, own), chain]
    for one in (mine, *sources):
        assert_alike(one(texts), expected)
        assert_alike(one.predict(np.array(texts)), expected)
    with pytest.raises(TypeError, match="real numbers"):
        Plain()(texts)


def test_rows_of_different_lengths():
    model = Plain()
    model(X)
    lengths = [1, 5, 3, 3, 2, 5, 4]
    for found in (model.predict(X, lengths=lengths), model(X, lengths=lengths)):
        for row, length in enumerate(lengths):
            assert_same_bits(found[row : row + 1], model(X[row : row + 1, :length]))
    with pytest.raises(ValueError, match="do not go together"):
        classes(lstmfast, np)["Forecast"](3)(X, lengths=lengths, training=True)


def test_files_with_layers_that_are_properties_too(keras, tmp_path):
    def kind(module: Any) -> Any:
        class Net(module.Model):
            def __init__(self) -> None:
                super().__init__()
                self._read = module.layers.LSTM(4)
                self._scores = [module.layers.Dense(3), module.layers.Dense(3)]

            @property
            def core(self) -> Any:
                return self._read

            @property
            def scores(self) -> Any:
                return self._scores

            @property
            def missing(self) -> Any:
                raise AttributeError("not yet")

            def call(self, x: Any) -> Any:
                return self.scores[0](self.core(x)) * 2 + self.scores[1](self.core(x))

        return Net

    live, mine = kind(keras)(), kind(lstmfast)()
    live(X)
    live.save_weights(tmp_path / "m.weights.h5")
    mine(X)
    mine.load_weights(tmp_path / "m.weights.h5")
    assert_alike(mine(X), live(X))
    mine.set_weights([2 * weight for weight in mine.get_weights()])
    mine.save_weights(tmp_path / "mine.weights.h5")
    live.load_weights(tmp_path / "mine.weights.h5")
    assert_alike(mine(X), live(X))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("framework", ["keras", "tf_keras"])
def test_files_of_models_that_were_trained(request, framework, tmp_path):
    """Optimizers, and the means that Keras 2 keeps, are in the file and no weights of the model."""
    module = request.getfixturevalue(framework)

    def make(library: Any, optimizers: Any = None, mean: Any = None) -> Any:
        class Coder(library.Model):
            def __init__(self) -> None:
                super().__init__()
                self.encoder = library.layers.LSTM(4)
                if optimizers is not None:
                    self.alternate = optimizers.Adam()
                    self.total_loss_tracker = mean(name="total")

            def call(self, x: Any) -> Any:
                return self.encoder(x)

        class Trained(library.Model):
            def __init__(self) -> None:
                super().__init__()
                self.coder = Coder()
                self.out = library.layers.Dense(2)

            def call(self, x: Any) -> Any:
                return self.out(self.coder(x))

        return Trained

    live = make(module, module.optimizers, module.metrics.Mean)()
    live(X)
    live.coder.compile("sgd", loss="mse")
    live.coder.fit(X, X[:, 0, :1] * np.ones(4, "float32"), verbose=0)
    live.coder.alternate.build(live.coder.trainable_variables)
    live.compile("adam", loss="mse", metrics=["mae"])
    live.fit(X, X[:, 0, :2], verbose=0)
    live.save(tmp_path / "m.keras")
    live.save_weights(tmp_path / "m.weights.h5")
    expected = np.asarray(live(X))
    own = make(lstmfast)
    assert_alike(lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Trained": own})(X), expected)
    for name in ("m.keras", "m.weights.h5"):
        model = own()
        model(X)
        model.load_weights(tmp_path / name)
        assert_alike(model(X), expected)


def classes_of_graphs(module: Any, kind: str) -> Any:
    """A class of the caller's without arithmetic of its own, and a model of it."""
    some = module.layers
    if kind.startswith("chain"):

        class Chain(module.Sequential):
            def said(self) -> str:
                return self.name

        class Named(module.Sequential):
            def __init__(self, name: Any = None) -> None:
                super().__init__(name=name)
                self.note = "made here"

        cls = Named if kind == "chain by name" else Chain
        model = cls(name="mine")
        for layer in (some.Dense(4), some.Dense(2)):
            model.add(layer)
        model.build((None, 3))
        return cls, model

    class Graph(module.Model):
        def said(self) -> str:
            return self.name

    class Wide(module.Model):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.note = "made here"

    class Alike(module.Model):
        def __init__(self, inputs: Any, outputs: Any, name: Any = None, **kwargs: Any) -> None:
            super().__init__(inputs, outputs, name=name, **kwargs)
            self.note = "made here"

    cls = {"graph": Graph, "graph of any": Wide, "graph alike": Alike}[kind]
    x = module.Input((3,))
    return cls, cls(x, some.Dense(2)(x), name="mine")


@pytest.mark.parametrize("kind", ["chain", "chain by name", "graph", "graph of any", "graph alike"])
def test_configs_make_models_of_the_caller_s_class(kind, keras):
    for module in (keras, lstmfast):
        cls, model = classes_of_graphs(module, kind)
        again = cls.from_config(model.get_config())
        assert type(again) is cls
        assert again.name == "mine"
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
        assert getattr(again, "note", None) == getattr(model, "note", None)
        again.set_weights(model.get_weights())
        x = np.ones((2, 3), "float32")
        np.testing.assert_array_equal(again(x), model(x))
        if module is lstmfast:
            assert cls.from_config(model.get_config(), keras_version="3.2").keras_version == (3, 2)


@pytest.mark.parametrize("dialect", ["keras", "lstmfast"])
def test_a_config_that_the_constructor_of_a_class_does_not_take(dialect, request):
    module: Any = lstmfast if dialect == "lstmfast" else request.getfixturevalue("keras")

    class Sized(module.Model):
        def __init__(self, size: int) -> None:
            x = module.Input((3,))
            super().__init__(x, module.layers.Dense(size)(x))

    with pytest.raises(TypeError):
        Sized.from_config({"name": "m", "trainable": True, "layers": [], "input_layers": [], "output_layers": []})
