"""Layers of users' own: the same class for Keras and here, but for the library of its arithmetic."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import layer_cases
import model_cases
import numpy as np
import oracle
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import Input, Model, Sequential, layers
from lstmfast._graph import flatten

X = np.random.default_rng(1).uniform(-1, 1, (4, 5, 3)).astype("float32")
X[1, 2:] = X[3, :2] = 0


def classes(module: Any, array: Any) -> dict[str, Any]:
    """The layers for a library: `module` has its layers, and `array` its arithmetic (NumPy, or keras.ops)."""
    some = module.layers

    class Scaled(some.Layer):
        """A weight in Keras 3's way and one in Keras 2's; `build` ends as in Keras 1."""

        def __init__(self, power: int = 1, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.power = power

        def build(self, input_shape: Any) -> None:
            self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
            self.offset = self.add_weight(name="offset", shape=(), initializer="zeros", trainable=False)
            self.built = True

        def call(self, inputs: Any) -> Any:
            return inputs**self.power * self.scale + self.offset

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "power": self.power}

    class Gated(some.Layer):
        """Layers in attributes and in a list, weights in a dict; of another shape than the input."""

        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = units
            self.gate = some.Dense(units, activation="sigmoid")
            self.deep = [some.Dense(units, activation="tanh"), some.Dense(units)]
            self.reader = some.GRU(units)

        def build(self, input_shape: Any) -> None:
            self.kernel = self.add_weight(shape=(self.units, 2), initializer="glorot_uniform", name="kernel")
            self.gate.build(input_shape)
            self.deep[0].build(input_shape)
            self.deep[1].build((*input_shape[:-1], self.units))
            self.reader.build((*input_shape[:-1], self.units))
            super().build(input_shape)

        def call(self, inputs: Any) -> Any:
            y = self.deep[1](self.deep[0](inputs)) * self.gate(inputs)
            return array.matmul(self.reader(y), self.kernel)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    class Pooled(some.Layer):
        """Of several inputs, with the mask of one, to several outputs."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)

        def call(self, inputs: Any, mask: Any = None) -> Any:
            sequence, other = inputs
            weight = array.ones_like(sequence)
            if mask is not None and mask[0] is not None:
                weight = array.expand_dims(array.cast(mask[0], "float32"), -1) * weight
            return array.sum(sequence * weight, axis=1) + other, [array.max(sequence * weight, axis=1)]

    class Kept(some.Layer):
        """Passes its mask on."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs: Any) -> Any:
            return inputs * 2

    return {cls.__name__: cls for cls in (Scaled, Gated, Pooled, Kept)}


class NumPy:
    """What differs from keras.ops."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def cast(x: Any, dtype: str) -> Any:
        return x.astype(dtype)


def model(name: str, module: Any, own: dict[str, Any]) -> Any:
    x = module.Input((5, 3))
    if name == "weights":
        y = own["Scaled"](2)(own["Scaled"]()(x))
    elif name == "layers":
        y = module.layers.Dense(2)(own["Gated"](4)(x))
    elif name == "over time":
        y = module.layers.TimeDistributed(own["Scaled"]())(x)
    elif name == "masks":
        masked = module.layers.Masking()(x)
        summed, (largest,) = own["Pooled"]()([masked, x[:, 0]])
        y = [
            summed,
            largest,
            module.layers.LSTM(2)(own["Kept"]()(masked)),
            module.layers.LSTM(2)(own["Scaled"]()(masked)),
        ]
    elif name == "twice":
        layer = own["Gated"](3)
        y = module.layers.Subtract()([layer(x), layer(module.layers.Rescaling(2.0)(x))])
    else:
        inner = module.Sequential([module.Input((5, 3)), own["Scaled"](name="s"), own["Gated"](4, name="g")])
        y = module.layers.Dense(2)(inner(x))
    return module.Model(x, y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["weights", "layers", "over time", "masks", "twice", "nested"])
def test_layers_of_ones_own_are_those_of_keras(keras, name, tmp_path):
    mine = classes(lstmfast, NumPy())
    theirs = classes(keras, keras.ops)
    live = model(name, keras, theirs)
    named = [(weight.path, tuple(weight.shape)) for weight in live.weights]
    live.set_weights(model_cases.weights(named, 3))
    expected = [np.asarray(y) for y in layer_cases.flatten(live(X))]
    live.save(tmp_path / "m.keras")
    sources = [
        lstmfast.load_model(tmp_path / "m.keras", custom_objects=mine),
        lstmfast.from_keras(live, custom_objects=mine),
        model(name, lstmfast, mine),
    ]
    if name != "masks":  # whose .h5 file Keras cannot write: it holds an operation
        live.save(tmp_path / "m.h5")
        sources.append(lstmfast.load_model(tmp_path / "m.h5", custom_objects=mine))
    sources[2].set_weights(live.get_weights())
    sources[2].save(tmp_path / "mine.keras")
    sources.append(lstmfast.load_model(tmp_path / "mine.keras", custom_objects=mine))
    for one in sources:
        assert one.output_shape == live.output_shape
        for found in (one(X), one.predict(X), one(np.concatenate([X, X]))):
            for y, values in zip(layer_cases.flatten(found), expected, strict=True):
                oracle.assert_close(y[:4], values, oracle.LOOSE * (1 + np.abs(values)))
    again = keras.models.load_model(tmp_path / "mine.keras", custom_objects=theirs)
    for y, values in zip(layer_cases.flatten(again(X)), expected, strict=True):
        oracle.assert_close(np.asarray(y), values, oracle.LOOSE * (1 + np.abs(values)))


def test_calls_with_training():
    class Loud(layers.Layer):
        def call(self, inputs: Any, training: bool = False) -> Any:
            return inputs + 1 if training else inputs

    layer = Loud()
    assert_same_bits(layer(X), X)
    assert_same_bits(layer(X, training=True), X + 1)
    chain = Sequential([Input((5, 3)), Loud()])
    assert_same_bits(chain(X), X)
    assert_same_bits(chain(X, training=True), X + 1)
    x = Input((5, 3))
    always = Model(x, Loud()(x, training=True))
    assert_same_bits(always(X), X + 1)
    assert_same_bits(always(X, training=False), X)


def test_weights_are_what_they_are_now():
    """An attribute that holds one stands for its present values, in the layer and outside."""

    class Own(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.factors = {"a": self.add_weight((), "ones"), "b": self.add_weight((3,), "ones")}

        def call(self, inputs: Any) -> Any:
            self.seen = self.factors["a"] * 1
            return self.factors["a"] * inputs * self.factors["b"]

    layer = Own()
    assert_same_bits(layer(X), X)
    assert layer.seen == 1
    layer.set_weights([2, [1, 2, 3]])
    assert_same_bits(layer(X), 2 * X * np.float32([1, 2, 3]))
    again = pickle.loads(pickle.dumps(layers.Dense(2)))
    assert again.name == "dense" or again.name.startswith("dense_")
    weight = layer.factors["b"]
    assert isinstance(weight.numpy(), np.ndarray)
    assert weight.shape == (3,)
    assert len(weight) == 3
    assert weight.sum() == 6
    assert weight[-1] == 3
    assert list(weight) == [1, 2, 3]
    assert_same_bits(np.concatenate([weight, -weight]), np.float32([1, 2, 3, -1, -2, -3]))
    assert_same_bits(weight @ weight, np.float32(14))
    assert (weight.name, weight.trainable) == ("variable_1", True)
    scalar = layer.factors["a"]
    assert (float(scalar), int(scalar), bool(scalar), f"{scalar:.1f}") == (2.0, 2, True, "2.0")
    assert "variable_1" in repr(weight)
    assert weight in {weight}
    with pytest.raises(TypeError, match="read-only"):
        weight += 1
    with pytest.raises(AttributeError):
        _ = weight.colour
    layer.scale = 5.0
    assert layer.scale == 5.0


def test_results_are_fresh_and_inputs_are_kept():
    class Last(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs[:, -1]

    class Same(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    class Adds(layers.Layer):
        def call(self, inputs: Any) -> Any:
            inputs += 1
            return inputs

    class Weights(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.w = self.add_weight((3,), "ones")

        def call(self, inputs: Any) -> Any:
            return self.w

        def compute_output_shape(self, input_shape: Any) -> Any:
            return (3,)

    before = X.copy()
    for make in (Last, Same, lambda: layers.TimeDistributed(Same())):
        for run in (make(), Sequential([Input((5, 3)), make()]), Sequential([Input((5, 3)), make()]).predict):
            y = run(X)
            y[...] = 99
            assert_same_bits(X, before)
    with pytest.raises(ValueError, match="read-only"):
        Adds()(X)
    with pytest.raises(ValueError, match="read-only"):
        Sequential([Input((5, 3)), Adds()])
    layer = Weights()
    y = layer(X)
    y[:] = 3
    assert_same_bits(layer(X), np.ones(3, "float32"))


def test_arguments_of_weights():
    class Own(layers.Layer):
        def build(self, input_shape: Any) -> None:
            some = {"regularizer": None, "constraint": None, "dtype": "float32"}
            self.a = self.add_weight((3, 2), "ones", **some)
            self.b = self.add_weight("b", (2,), "zeros")
            self.c = self.add_weight(name="c")
            self.d = self.add_weight(shape=(3, 3), trainable=False)

        def call(self, inputs: Any) -> Any:
            assert self.a.dtype == self.b.dtype == np.float32
            return inputs @ self.d @ self.a + self.b + self.c

    layer = Own()
    assert layer(X).shape == (4, 5, 2)
    assert [(spec.name, spec.shape) for spec in layer._specs] == [
        ("variable_0", (3, 2)),
        ("b", (2,)),
        ("c", ()),
        ("variable_3", (3, 3)),
    ]
    assert len(layer.trainable_weights) == 3
    assert layer.count_params() == 18
    with pytest.raises(TypeError, match="unexpected argument 'colour'"):
        layers.Dense(2).add_weight((3,), colour=1)
    with pytest.raises(TypeError, match="unexpected argument 'shape'"):
        layers.Dense(2).add_weight((3,), shape=(2,))


@pytest.mark.filterwarnings("ignore")
def test_weights_of_other_types(keras, tmp_path):
    def make(module: Any) -> Any:
        class Counting(module.layers.Layer):
            def build(self, input_shape: Any) -> None:
                self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], 2), dtype="float64")
                self.offsets = self.add_weight(name="offsets", shape=(2,), dtype="int32", trainable=False)
                self.mask = self.add_weight(name="mask", shape=(2,), dtype="bool", initializer="ones", trainable=False)

            def call(self, inputs: Any) -> Any:
                return inputs @ self.kernel * self.mask + self.offsets

        class Cast(Counting):
            def call(self, inputs: Any) -> Any:
                kernel, mask, offsets = (
                    keras.ops.cast(one, "float32") for one in (self.kernel, self.mask, self.offsets)
                )
                return keras.ops.matmul(inputs, kernel) * mask + offsets

        return Cast if module is keras else Counting

    theirs, mine = make(keras), make(lstmfast)
    net = keras.Sequential([keras.Input((5, 3)), theirs(name="c")])
    own = Sequential([Input((5, 3)), mine(name="c")])
    assert [one.dtype.name for one in own.get_weights()] == [one.dtype.name for one in net.get_weights()]
    assert_same_bits(own.get_weights()[1:], net.get_weights()[1:])
    net.set_weights([net.get_weights()[0], np.array([5, -70000], "int32"), np.array([True, False])])
    net.save(tmp_path / "m.keras")
    loaded = lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Cast": mine})
    loaded.save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras", custom_objects={"Cast": theirs})
    own.set_weights(net.get_weights())
    for one in (loaded, own, again):
        assert_same_bits(one.get_weights(), net.get_weights())
        np.testing.assert_allclose(one(X), net(X), atol=1e-6)
    with pytest.raises(ValueError, match="dtype"):
        layers.Dense(2).add_weight((3,), dtype="int33")


def test_shapes_are_found_by_calls_or_said():
    class Flat(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs.reshape(len(inputs), -1), inputs.sum(1)

    class Said(Flat):
        def compute_output_shape(self, input_shape: Any) -> Any:
            return [(input_shape[0], 7), (input_shape[0], 3)]

    x, open_steps = Input((5, 3)), Input((None, 3))
    assert [tensor.shape for tensor in Flat()(x)] == [(None, 15), (None, 3)]
    assert [tensor.shape for tensor in Flat()(open_steps)] == [(None, None), (None, 3)]
    assert [tensor.shape for tensor in Said()(x)] == [(None, 7), (None, 3)]
    with pytest.raises(ValueError, match="compute_output_shape"):
        Flat()(Input((100_000, 10_000)))


class Weighted(layers.Layer):
    """With a weight for each feature, which is 1."""

    def build(self, input_shape: Any) -> None:
        self.w = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs: Any) -> Any:
        return inputs * self.w


def test_a_class_from_another_of_ones_own():
    class Further(Weighted):
        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            self.v = self.add_weight(shape=(input_shape[-1],), initializer="ones")

        def call(self, inputs: Any, mask: Any = None) -> Any:
            y = super().call(inputs) + self.v
            return y if mask is None else y * mask[..., None]

    layer = Further()
    assert_same_bits(layer(X), X + 1)
    assert len(layer.weights) == 2
    y = Sequential([layers.Masking(), layer])(X)
    assert_same_bits(y, (X + 1) * (X != 0).any(-1, keepdims=True))
    assert_same_bits(Weighted()(X), X)


def test_a_class_that_adds_to_the_build_alone():
    class Further(Weighted):
        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            self.v = self.add_weight(shape=(2,), initializer="ones")

    layer = Further()
    for _ in range(2):
        assert_same_bits(layer(X), X)
    assert len(layer.weights) == 2


def test_calls_of_mixed_in_classes_and_of_layers():
    class Mixin:
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    class Mixed(Mixin, layers.Layer):
        pass

    assert_same_bits(Mixed()(X), X * 2)
    assert not Mixed.row_by_row


@pytest.mark.parametrize("base", [layers.Dense, layers.LSTM, layers.GRUCell, layers.SimpleRNN, layers.Bidirectional])
def test_a_call_that_would_not_run_is_refused(base):
    with pytest.raises(TypeError, match="Halved derives from a layer whose arithmetic is not in its `call`"):

        class Halved(base):
            def call(self, inputs: Any) -> Any:
                return inputs / 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "Dense"])
def test_classes_that_add_an_argument_keep_those_of_their_layer(keras, kind, tmp_path):
    def make(module: Any) -> Any:
        class Named(getattr(module.layers, kind)):
            def __init__(self, units: int, team: str = "", **kwargs: Any) -> None:
                super().__init__(units, **kwargs)
                self.team = team

            def get_config(self) -> dict[str, Any]:
                return {**super().get_config(), "team": self.team}

        return Named

    mine, theirs = {"Named": make(lstmfast)}, {"Named": make(keras)}
    net = keras.Sequential([keras.Input((5, 3)), theirs["Named"](4, team="a", activation="relu", use_bias=False)])
    net.save(tmp_path / "m.keras")
    for one in (
        lstmfast.load_model(tmp_path / "m.keras", custom_objects=mine),
        lstmfast.from_keras(net, custom_objects=mine),
    ):
        one.save(tmp_path / "again.keras")
        again = lstmfast.load_model(tmp_path / "again.keras", custom_objects=mine)
        assert again.layers[0].team == "a"
        assert_same_bits(again(X), one(X))
        back = keras.models.load_model(tmp_path / "again.keras", custom_objects=theirs)
        for y in (one(X), back(X)):
            np.testing.assert_allclose(y, net(X), atol=1e-5)
    plain = type("Plain", (getattr(layers, kind),), {"__module__": __name__})
    with pytest.raises(NotImplementedError, match="the argument team=a is not supported: let its class here take it"):
        lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Named": plain})


def test_layers_among_other_things(keras, tmp_path):
    def make(module: Any) -> Any:
        class Own(module.layers.Layer):
            def __init__(self, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.first = [module.layers.Dense(3), None, "text"]
                self.options = {1: 2, "a": [3]}

            def build(self, input_shape: Any) -> None:
                self.first[0].build(input_shape)

            def call(self, inputs: Any) -> Any:
                return self.first[0](inputs)

            def compute_output_shape(self, input_shape: Any) -> Any:
                return input_shape

        return Own

    theirs = keras.Sequential([keras.Input((3,)), make(keras)()])
    theirs.save(tmp_path / "m.keras")
    mine = lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Own": make(lstmfast)})
    np.testing.assert_allclose(mine(X[:, 0]), theirs(X[:, 0]), atol=1e-6)

    def nested(module: Any) -> Any:
        class Nested(module.layers.Layer):
            def __init__(self, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                some = module.layers
                self.blocks = [[some.Dense(3)], [some.Dense(3), some.Dense(3)]]
                self.named = {"z": [some.Dense(3)], "a": [some.Dense(3)]}

            def call(self, inputs: Any) -> Any:
                y = self.blocks[1][1](self.blocks[1][0](self.blocks[0][0](inputs)))
                return self.named["a"][0](self.named["z"][0](y) * 2)

            def compute_output_shape(self, input_shape: Any) -> Any:
                return input_shape

        return Nested

    theirs = keras.Sequential([keras.Input((3,)), nested(keras)()])
    theirs(X[:, 0])
    theirs.save(tmp_path / "nested.keras")
    theirs.save(tmp_path / "nested.h5")
    own = {"Nested": nested(lstmfast)}
    model = lstmfast.from_keras(theirs, custom_objects=own)
    model.save(tmp_path / "mine.keras")
    for name in ("nested.keras", "nested.h5", "mine.keras"):
        again = lstmfast.load_model(tmp_path / name, custom_objects=own)
        np.testing.assert_allclose(again(X[:, 0]), theirs(X[:, 0]), atol=1e-6)


def test_integers_stay_integers():
    class Table(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.rows = self.add_weight((7, 2), "glorot_uniform")

        def call(self, inputs: Any) -> Any:
            return self.rows[inputs], inputs % 2

    ids = np.array([[1, 2, 6], [2**24 + 1, 0, 3]]) % 7
    layer = Table()
    y, odd = layer(ids)
    assert_same_bits(y, layer.rows.value[ids])
    assert odd.dtype.kind == "i"
    x = Input((3,), dtype="int32")
    model = Model(x, Table()(x))
    assert [tensor.shape for tensor in model.outputs] == [(None, 3, 2), (None, 3)]
    assert [tensor.dtype for tensor in model.outputs] == ["float32", "int32"]
    assert model(ids)[1].dtype == np.int32
    assert [tensor.dtype for tensor in Model.from_config(model.get_config(), {"Table": Table}).outputs] == [
        "float32",
        "int32",
    ]


def test_configs_of_plain_arguments(tmp_path):
    class Scale(layers.Layer):
        def __init__(self, factor: Any = 1.0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, inputs: Any) -> Any:
            return inputs * self.factor

    model = Sequential([Input((5, 3)), Scale(3.0), Scale(factor=[1, 2, 3])])
    model.save(tmp_path / "m.keras")
    again = lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Scale": Scale})
    assert_same_bits(again(X), model(X))
    again.save(tmp_path / "again.keras")
    last = lstmfast.load_model(tmp_path / "again.keras", custom_objects={"Scale": Scale})
    assert_same_bits(last(X), model(X))

    class Bent(layers.Layer):
        def __init__(self, activation: Any = "tanh", **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.activation = lstmfast.activations.get(activation)

        def call(self, inputs: Any) -> Any:
            return self.activation(inputs)

    model = Sequential([Input((5, 3)), Bent("relu")])
    for _ in range(2):
        model.save(tmp_path / "bent.keras")
        model = lstmfast.load_model(tmp_path / "bent.keras", custom_objects={"Bent": Bent})
        assert_same_bits(model(X), np.maximum(X, 0))
    other = Sequential([Input((5, 3)), Scale(np.ones(3))])
    with pytest.raises(NotImplementedError, match=r"made with factor=.*get_config would say how"):
        other.save(tmp_path / "other.keras")


def test_masks_that_would_be_lost():
    class Reader(layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.lstm = layers.LSTM(2)

        def call(self, inputs: Any) -> Any:
            return self.lstm(inputs)

    class Passing(Reader):
        def call(self, inputs: Any, mask: Any = None) -> Any:
            return self.lstm(inputs, mask=mask)

    class Embedded(Reader):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.embedding = layers.Embedding(5, 3, mask_zero=True)

        def call(self, inputs: Any) -> Any:
            return self.lstm(self.embedding(inputs))

    with pytest.raises(NotImplementedError, match="with a mask, which its `call` does not get"):
        Sequential([Input((5, 3)), layers.Masking(), Reader()]).predict(X)
    model = Sequential([Input((5, 3)), layers.Masking(), Passing()])
    layer = model.layers[1]
    assert_same_bits(model(X), layer.lstm(X, mask=(X != 0).any(-1)))
    with pytest.warns(UserWarning, match="makes a mask, but arrays have none"):
        Embedded()(np.ones((2, 4), int))

    class Computing(Embedded):
        def call(self, inputs: Any) -> Any:
            return self.lstm(self.embedding(inputs), mask=self.embedding.compute_mask(inputs))

    class Comparing(Embedded):
        def call(self, inputs: Any) -> Any:
            return next(self.read(ids) for ids in [inputs])

        def read(self, ids: Any) -> Any:
            return self.lstm(self.embedding(ids), mask=ids != 0)

    ids = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    for layer in (Computing(), Comparing()):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y = layer(ids)
        assert_same_bits(y, layer.lstm(layer.embedding(ids), mask=ids != 0))


def test_training_reaches_layers_inside():
    class Own(layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.dropout = layers.Dropout(0.5)

        def call(self, inputs: Any) -> Any:
            return self.dropout(inputs)

    class Passing(Own):
        def call(self, inputs: Any, training: Any) -> Any:
            return self.dropout(inputs, training=training)

    chain = Sequential([Input((5, 3)), Own()])
    assert_same_bits(chain(X), X)
    assert (chain(X, training=True) == 0).sum() > (X == 0).sum()
    assert_same_bits(chain(X), X)
    x = Input((5, 3))
    always = Model(x, Own()(x, training=True))
    assert (always(X) == 0).sum() > (X == 0).sum()
    assert_same_bits(always(X, training=False), X)
    layer = Own()
    layer.build((None, 5, 3))
    assert_same_bits(layer(X), X)
    assert (layer(X, training=True) == 0).sum() > (X == 0).sum()
    chain = Sequential([Input((5, 3)), Passing()])
    assert_same_bits(chain(X), X)
    assert (chain(X, training=True) == 0).sum() > (X == 0).sum()
    x, steps = Input((3,)), Input((5, 3))
    inner = Model(x, layers.Dropout(0.5)(x, training=True))
    over = Model(steps, layers.TimeDistributed(inner)(steps))
    assert_same_bits(over(X, training=False), X)
    assert (over(X) == 0).sum() > (X == 0).sum()
    older = Model(x, layers.Dropout(0.5)(x, training=True), keras_version=(2, 15))
    assert (older(X[:, 4], training=False) == 0).sum() > (X[:, 4] == 0).sum()


def test_training_is_inherited_as_in_keras(keras):
    """By layers that are called without it, unless a call between says something else."""

    def kind(module: Any) -> Any:
        some = module.layers

        class Inner(some.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.norm = some.BatchNormalization()
                self.chain = module.Sequential([some.BatchNormalization(), some.Dense(3)])

            def call(self, inputs: Any, training: Any = None) -> Any:
                return self.chain(self.norm(inputs) * (2 if training else 1))

        class Silent(Inner):
            def call(self, inputs: Any) -> Any:
                return self.norm(self.chain(inputs))

        class Net(module.Model):
            def __init__(self) -> None:
                super().__init__()
                self.inner, self.silent, self.still = Inner(), Silent(), Inner()
                self.quiet = module.Sequential([Silent()])

            def call(self, inputs: Any, training: bool = False) -> Any:
                y = self.silent(self.inner(inputs))
                return self.quiet(self.still(y, training=False) * 2, training=False)

        return Net

    live, mine = kind(keras)(), kind(lstmfast)()
    live(X)
    mine(X)
    mine.set_weights(live.get_weights())
    for training in (False, True, None):
        found, expected = (np.asarray(model(X, training=training)) for model in (mine, live))
        oracle.assert_close(found, expected, oracle.LOOSE * (1 + np.abs(expected)))
        live.set_weights(mine.get_weights())  # which a call that trains has moved
    assert_same_bits(mine(X), mine(X, training=False))


def test_calls_for_shapes_are_few_and_small():
    sizes: list[int] = []

    class Own(layers.Layer):
        def call(self, a: Any, b: Any = None, **options: Any) -> Any:
            sizes.append(len(a))
            return a if b is None else a + b

    layer = Own()
    out = np.empty_like(X)
    layer(X, out=out)
    assert_same_bits(out, X)
    assert sizes == [len(X)]
    model = Sequential([Input((5, 3)), Own()])
    many = np.zeros((1000, 5, 3), "float32")
    del sizes[:]
    model.predict(many, out=np.empty_like(many))
    assert max(sizes) <= 1000
    assert sum(sizes) < 1100
    i, j = Input((5, 3)), Input((5, 3))
    both = Model([i, j], Own()(i, j))
    assert_same_bits(both([X, X]), X + X)
    assert_same_bits(both([X, X], out=out), X + X)
    assert Model([i, j], both([i, j])).output_shape == (None, 5, 3)

    class Summed(layers.Layer):
        def call(self, inputs: Any, axis: int) -> Any:
            return inputs.sum(axis)

    layer = Summed()
    two = Model(i, [layer(i, axis=1), layer(i, axis=2)])
    assert [tensor.shape for tensor in two(Input((5, 3)))] == [(None, 3), (None, 5)]
    assert_same_bits(two(X)[1], X.sum(2))


def test_a_build_that_fails_leaves_nothing():
    class Own(layers.Layer):
        fails = True

        def build(self, input_shape: Any) -> None:
            self.w = self.add_weight((3,), "ones")
            self.built = True
            if self.fails:
                raise ValueError("not yet")

        def call(self, inputs: Any) -> Any:
            return inputs * self.w

    layer = Own()
    with pytest.raises(ValueError, match="not yet"):
        layer(X)
    assert not layer.built
    layer.fails = False
    assert_same_bits(layer(X), X)
    assert len(layer.weights) == 1

    inner = Sequential([layers.Dense(3)])
    with pytest.raises(ValueError, match="total size"):
        Sequential([inner, layers.Reshape((7,))]).build((None, 5))
    assert not inner.built
    inner.build((None, 4))
    assert inner(np.ones((1, 4))).shape == (1, 3)

    class Late(layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.n = self.add_weight((3,), "ones", trainable=False, name="n")
            self.fails = True

        def build(self, input_shape: Any) -> None:
            self.k = self.add_weight((3,), "zeros", name="k")
            if self.fails:
                raise ValueError("not yet")

        def call(self, inputs: Any) -> Any:
            return inputs * self.k + self.n

    layer = Late()
    with pytest.raises(ValueError, match="not yet"):
        layer(X)
    layer.fails = False
    assert_same_bits(layer(X), np.ones_like(X))
    assert [spec.name for spec in layer._specs] == ["k", "n"]

    class Early(layers.Layer):
        """With a weight from the start."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.first = self.add_weight((), "ones", name="first")

        def build(self, input_shape: Any) -> None:
            self.second = self.add_weight((3,), "ones")

        def call(self, inputs: Any) -> Any:
            return inputs * self.first + self.second

    layer = Early()
    assert len(layer.get_weights()) == 1
    assert_same_bits(layer(X), X + 1)
    assert len(layer.get_weights()) == 2


def test_layers_inside_are_built_before_weights_come(keras, tmp_path):
    """By a call, where neither `build` nor anything else does it."""

    def make(module: Any, array: Any) -> Any:
        class Att(module.layers.Layer):
            def __init__(self, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.W = module.layers.Dense(5)
                self.V = module.layers.Dense(1)

            def call(self, h: Any) -> Any:
                return array.sum(self.V(array.tanh(self.W(h))) * h, axis=1)

            def compute_output_shape(self, input_shape: Any) -> Any:
                return (input_shape[0], input_shape[-1])

        return Att

    theirs = keras.Sequential(
        [keras.Input((5, 3)), keras.layers.LSTM(4, return_sequences=True), make(keras, keras.ops)()]
    )
    theirs(X)
    own = {"Att": make(lstmfast, np)}
    for suffix in (".keras", ".h5", None):
        if suffix is None:
            mine = lstmfast.from_keras(theirs, custom_objects=own)
        else:
            theirs.save(tmp_path / f"m{suffix}")
            mine = lstmfast.load_model(tmp_path / f"m{suffix}", custom_objects=own)
        np.testing.assert_allclose(mine(X), theirs(X), atol=1e-5)

    class Empty(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs.sum(1)

    with pytest.raises(ValueError, match=r"'att.*' of class Empty has no place for the weight .*W/vars/0"):
        lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Att": Empty})


@pytest.mark.filterwarnings("ignore")
def test_names_that_keras_has_too(keras, tmp_path):
    """A class of the user's is not taken for Keras's layer of that name."""

    class Softmax(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    class Doubled(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    class Same(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    Same.__name__ = "Softmax"
    with pytest.raises(ValueError, match="Unknown layer: 'Softmax'"):
        layers.TimeDistributed.from_config(layers.TimeDistributed(Same()).get_config())
    theirs = keras.Sequential([keras.Input((5, 3)), Softmax()])
    theirs.save(tmp_path / "m.keras")
    for take in (lstmfast.from_keras, lambda _, **options: lstmfast.load_model(tmp_path / "m.keras", **options)):
        with pytest.raises(NotImplementedError, match="is not the layer of this name that Keras has"):
            take(theirs)
        mine = take(theirs, custom_objects={"Softmax": Doubled})
        assert_same_bits(mine(X), X * 2)
        mine.save(tmp_path / "again.keras")
        again = keras.models.load_model(tmp_path / "again.keras", custom_objects={"Softmax": Softmax})
        np.testing.assert_array_equal(np.asarray(again(X)), X * 2)


def test_what_draws_random_numbers_is_no_weight(keras, tmp_path):
    class Noisy(keras.layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.numbers = keras.random.SeedGenerator(1)
            self.drop = keras.layers.Dropout(0.5)
            self.dense = keras.layers.Dense(3)

        def build(self, input_shape: Any) -> None:
            self.dense.build(input_shape)

        def call(self, inputs: Any) -> Any:
            return self.drop(self.dense(inputs))

    class Mine(layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.dense = layers.Dense(3)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    theirs = keras.Sequential([keras.Input((5, 3)), Noisy()])
    theirs.save(tmp_path / "m.keras")
    for mine in (
        lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Noisy": Mine}),
        lstmfast.from_keras(theirs, custom_objects={"Noisy": Mine}),
    ):
        np.testing.assert_allclose(mine(X), theirs(X), atol=1e-6)


def test_classes_of_other_names(keras, tmp_path):
    class Foo(keras.layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.k = self.add_weight(shape=(3,), initializer="ones", name="k")

        def call(self, inputs: Any) -> Any:
            return inputs * self.k

    class Bar(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.k = self.add_weight(shape=(3,), name="k", initializer="ones")

        def call(self, inputs: Any) -> Any:
            return inputs * self.k

    theirs = keras.Sequential([keras.Input((5, 3)), Foo(), Foo()])
    theirs.set_weights([np.arange(3), np.arange(3) + 1])
    theirs.save(tmp_path / "m.keras")
    mine = lstmfast.load_model(tmp_path / "m.keras", custom_objects={"Foo": Bar})
    np.testing.assert_allclose(mine(X), theirs(X), atol=1e-6)
    mine.save(tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras", custom_objects={"Foo": Foo})
    np.testing.assert_allclose(again(X), theirs(X), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_what_stands_for_a_lambda(keras, tmp_path):
    class Last(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs[:, -1]

    class Doubled(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    some = keras.layers
    theirs = keras.Sequential(
        [keras.Input((5, 3)), some.Lambda(lambda x: x * 2, name="twice"), some.Lambda(lambda x: x[:, -1], name="last")]
    )
    theirs.save(tmp_path / "m.keras")
    theirs.save(tmp_path / "m.h5")
    own = {"twice": Doubled, "Lambda": Last}
    for mine in (
        lstmfast.from_keras(theirs, custom_objects=own),
        lstmfast.load_model(tmp_path / "m.keras", custom_objects=own),
        lstmfast.load_model(tmp_path / "m.h5", custom_objects=own),
    ):
        assert_same_bits(mine(X), X[:, -1] * 2)
    with pytest.raises(NotImplementedError, match=r"custom_objects=\{'last': a function of arrays, or a subclass"):
        lstmfast.load_model(tmp_path / "m.keras", custom_objects={"twice": Doubled})


@pytest.mark.parametrize("name", ["frozen", "nodes", "policy", "weights", "freeze"])
def test_names_of_attributes_that_are_taken(name):
    class Own(layers.Layer):
        def build(self, input_shape: Any) -> None:
            setattr(self, name, self.add_weight((3,), "ones"))

        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(AttributeError, match=f"as `{name}`, which is an attribute"):
        Own()(X)
    with pytest.raises(AttributeError, match=f"as `{name}`, which is an attribute"):
        setattr(Own(), name, 64)


KINDS = ("not trained first", "early", "lists in turn", "later appended", "dicts", "two names")


def ordered(module: Any, kind: str) -> Any:
    """Layers whose weights Keras has in another order than their attributes."""
    some = module.layers

    class Ordered(module.layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            if kind == "early":
                self.late = None
                self.first = some.Dense(3)
            elif kind == "lists in turn":
                self.a, self.b = [], []
                for _ in range(2):
                    self.a.append(some.Dense(3))
                    self.b += [some.Dense(3)]
            elif kind == "later appended":
                self.ls = [some.Dense(3)]
                self.last = some.Dense(3)
            elif kind == "dicts":
                self.heads: dict[str, Any] = {}
                self.heads["z"] = some.Dense(3)
                self.first = some.Dense(3)
                self.heads.update({"a": some.Dense(3)})
            elif kind == "two names":
                self.z, self.y = some.Dense(3), some.Dense(3)
                self.all_of_them = [self.y, self.z]
                self.a = self.z

        def build(self, input_shape: Any) -> None:
            if kind == "not trained first":
                self.mean = self.add_weight(shape=(3,), trainable=False, name="mean", initializer="zeros")
                self.scale = self.add_weight(shape=(3,), name="scale", initializer="ones")
                self.built = True
                return
            if kind == "early":
                self.late = some.Dense(3)
            elif kind == "later appended":
                self.ls.append(some.Dense(3))
            for layer in self.chain():
                layer.build(input_shape)
            self.built = True

        def chain(self) -> list[Any]:
            if kind == "early":
                return [self.late, self.first]
            if kind == "lists in turn":
                return [*self.a, *self.b]
            if kind == "dicts":
                return [self.first, self.heads["a"], self.heads["z"]]
            return [self.z, self.y] if kind == "two names" else [*self.ls, self.last]

        def call(self, inputs: Any) -> Any:
            if kind == "not trained first":
                return (inputs - self.mean) * self.scale
            for layer in self.chain():
                inputs = layer(inputs)
            return inputs

        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

    return Ordered


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_in_the_order_of_keras(keras, kind, tmp_path):
    theirs = keras.Sequential([keras.Input((3,)), ordered(keras, kind)()])
    random = np.random.default_rng(0)
    theirs.set_weights([random.uniform(-1, 1, value.shape) for value in theirs.get_weights()])
    expected = np.asarray(theirs(X[:, 0]))
    theirs.save(tmp_path / "m.keras")
    theirs.save(tmp_path / "m.h5")
    own = {"Ordered": ordered(lstmfast, kind)}
    code = Sequential([Input((3,)), own["Ordered"]()])
    code.set_weights(theirs.get_weights())
    code.save(tmp_path / "mine.keras")
    for mine in (
        code,
        lstmfast.from_keras(theirs, custom_objects=own),
        *(lstmfast.load_model(tmp_path / name, custom_objects=own) for name in ("m.keras", "m.h5", "mine.keras")),
    ):
        np.testing.assert_allclose(mine(X[:, 0]), expected, atol=1e-6)
    again = keras.models.load_model(tmp_path / "mine.keras", custom_objects={"Ordered": ordered(keras, kind)})
    np.testing.assert_allclose(again(X[:, 0]), expected, atol=1e-6)


def test_masks_that_a_layer_makes(keras, tmp_path):
    def make(module: Any) -> Any:
        class Emb(module.layers.Layer):
            def build(self, input_shape: Any) -> None:
                self.rows = self.add_weight(shape=(4, 3), initializer="glorot_uniform", name="rows")

            def call(self, ids: Any) -> Any:
                return self.rows[ids] if module is lstmfast else module.ops.take(self.rows, ids, axis=0)

            def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
                return inputs != 0 if module is lstmfast else module.ops.not_equal(inputs, 0)

        class Crop(module.layers.Layer):
            def call(self, inputs: Any) -> Any:
                return inputs[:, 1:]

            def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
                return None if mask is None else mask[:, 1:]

        ids = module.Input((6,), dtype="int32")
        return module.Model(ids, module.layers.LSTM(2)(Crop()(Emb()(ids))))

    class Cut(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs[:, 1:]

    class Masked(Cut):
        def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
            return mask[:, 1:]

    lstm = layers.LSTM(2)
    model = Sequential([Input((5, 3)), layers.Masking(), Masked(), lstm])
    assert_same_bits(model(X), lstm(X[:, 1:], mask=(X != 0).any(-1)[:, 1:]))
    mine, theirs = make(lstmfast), make(keras)
    mine.set_weights(theirs.get_weights())
    ids = np.random.default_rng(0).integers(0, 3, (5, 6))
    np.testing.assert_allclose(mine(ids), theirs(ids), atol=1e-6)


def test_states_inside_are_not_touched_by_calls_for_shapes():
    class Kept(layers.Layer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.lstm = layers.LSTM(4, stateful=True)
            self.calls = 0

        def call(self, inputs: Any) -> Any:
            self.calls += 1
            return self.lstm(inputs)

    model = Sequential([Input(batch_shape=(4, 5, 3)), Kept()])
    layer = model.layers[0]
    plain = Sequential([Input(batch_shape=(4, 5, 3)), layers.LSTM(4, stateful=True)])
    plain.set_weights(model.get_weights())
    for _ in range(3):
        assert_same_bits(model(X), plain(X))
    model.reset_states()
    plain.reset_states()
    before = layer.calls
    for _ in range(3):
        assert_same_bits(model.predict(X), plain.predict(X))
    assert layer.calls - before <= 5


def test_explicit_training_reaches_call():
    class Own(layers.Layer):
        def call(self, inputs: Any, training: Any = True) -> Any:
            return inputs * (3 if training else 1)

    model = Sequential([Input((5, 3)), Own()])
    assert_same_bits(model(X), X * 3)
    assert_same_bits(model(X, training=False), X)
    assert_same_bits(Own()(X, training=False), X)
    assert_same_bits(Own()(X), X * 3)


def test_masks_of_several_arguments_are_refused():
    class Two(layers.Layer):
        def call(self, a: Any, b: Any, a_mask: Any = None, b_mask: Any = None) -> Any:
            return a + b

    x = Input((5, 3))
    masked = layers.Masking()(x)
    model = Model(x, Two()(x, x))
    assert_same_bits(model(X), X + X)
    for y in (Two()(masked, x), Two()(x, masked)):
        with pytest.raises(NotImplementedError, match="only `mask` is passed"):
            Model(x, y)(X)


def test_a_call_ends_with_the_weights_that_it_began_with():
    class Own(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.a = self.add_weight((), "ones", name="a")
            self.b = self.add_weight((), "ones", name="b")

        def call(self, inputs: Any) -> Any:
            y = inputs * self.a
            if changes:
                self.set_weights(changes.pop())
            return y * self.b

    changes: list[Any] = []
    model = Sequential([Input((5, 3)), Own()])
    model.set_weights([2, 3])
    changes.append([5, 7])
    assert_same_bits(model(X), X * 2 * 3)
    assert_same_bits(model(X), X * 5 * 7)


def test_names_with_packages_and_what_is_no_layer(keras, tmp_path):
    @keras.saving.register_keras_serializable(package="my")
    class Twice(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    class Mine(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    theirs = keras.Sequential([keras.Input((5, 3)), Twice()])
    for suffix in (".keras", ".h5"):
        theirs.save(tmp_path / f"m{suffix}")
        for name in ("Twice", "my>Twice"):
            assert_same_bits(lstmfast.load_model(tmp_path / f"m{suffix}", custom_objects={name: Mine})(X), X * 2)
            assert_same_bits(lstmfast.from_keras(theirs, custom_objects={name: Mine})(X), X * 2)
            assert_same_bits(lstmfast.model_from_json(theirs.to_json(), custom_objects={name: Mine})(X), X * 2)
            assert lstmfast.explain(tmp_path / f"m{suffix}", custom_objects={name: Mine}).supported
            with pytest.raises(NotImplementedError, match=f"'{name}', which is no subclass of lstmfast"):
                lstmfast.load_model(tmp_path / f"m{suffix}", custom_objects={name: Twice})


@pytest.mark.parametrize("class_name", ["Add", "Merge", "TimeDistributedDense", "CuDNNLSTM", "TFOpLambda", "Mean"])
def test_a_registered_class_is_taken_whatever_else_has_its_name(class_name):
    class Mine(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    entry = {
        "module": "keras",
        "class_name": class_name,
        "registered_name": f"my>{class_name}",
        "config": {"name": "a"},
    }
    for name in (class_name, f"my>{class_name}"):
        assert type(layers.deserialize(entry, {name: Mine})) is Mine
    both = {class_name: layers.Dropout, f"my>{class_name}": Mine}  # Keras looks for what is registered
    assert type(layers.deserialize(entry, both)) is Mine


@pytest.mark.parametrize("name", ["Twice", "my>Twice"])
@pytest.mark.parametrize("kind", ["own", "graph"])
def test_registered_models_and_activations(keras, name, kind, tmp_path):
    def make(module: Any) -> Any:
        class Twice(module.Model):
            if kind == "own":

                def __init__(self, **kwargs: Any) -> None:
                    super().__init__(**kwargs)
                    self.read = module.layers.LSTM(2)

                def call(self, inputs: Any) -> Any:
                    return self.read(inputs) * 2

        return Twice

    def twice(x: Any) -> Any:
        return x * 2

    kind_of_theirs = keras.saving.register_keras_serializable("my")(make(keras))
    keras.saving.register_keras_serializable("my", "Doubled")(twice)
    custom = {name: make(lstmfast), "my>Doubled": twice}
    x = keras.Input((5, 3))
    theirs = kind_of_theirs() if kind == "own" else kind_of_theirs(x, keras.layers.Dense(2, activation=twice)(x))
    y = theirs(X)
    theirs.save(tmp_path / "m.keras")
    for mine in (
        lstmfast.load_model(tmp_path / "m.keras", custom_objects=custom),
        lstmfast.from_keras(theirs, custom_objects=custom),
    ):
        oracle.assert_close(mine(X), np.asarray(y), oracle.LOOSE)


def test_a_call_that_returns_nothing_is_named():
    class Nothing(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return None

    with pytest.raises(TypeError, match="returned None"):
        Nothing()(X)


def test_inputs_by_name_of_keras_2(tf_keras, tmp_path):
    def make(module: Any) -> Any:
        class Named(module.layers.Layer):
            def call(self, inputs: Any) -> Any:
                return inputs["q"] * 2 + inputs["v"]

        return Named

    a, b = tf_keras.Input((3,), name="a"), tf_keras.Input((3,), name="b")
    theirs = tf_keras.Model([a, b], make(tf_keras)()({"v": b, "q": a}))
    own = {"Named": make(lstmfast)}
    theirs.save(tmp_path / "m.h5")
    x = [X[:, 0], X[:, 1]]
    for mine in (
        lstmfast.from_keras(theirs, custom_objects=own),
        lstmfast.load_model(tmp_path / "m.h5", custom_objects=own),
    ):
        np.testing.assert_allclose(mine(x), x[0] * 2 + x[1], atol=1e-6)


def test_a_layer_that_takes_a_layer(keras, tmp_path):
    def make(module: Any) -> Any:
        class Around(module.layers.Layer):
            def __init__(self, inner: Any, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.inner = inner

            def build(self, input_shape: Any) -> None:
                self.inner.build(input_shape)

            def call(self, inputs: Any) -> Any:
                return inputs + self.inner(inputs)

            def compute_output_shape(self, input_shape: Any) -> Any:
                return input_shape

            def get_config(self) -> dict[str, Any]:
                return {**super().get_config(), "inner": module.layers.serialize(self.inner)}

            @classmethod
            def from_config(cls, config: dict[str, Any]) -> Any:
                return cls(**{**config, "inner": module.layers.deserialize(config["inner"])})

        return Around

    theirs = keras.Sequential([keras.Input((5, 3)), make(keras)(keras.layers.LSTM(3, return_sequences=True))])
    theirs.save(tmp_path / "m.keras")
    own = {"Around": make(lstmfast)}
    mine = lstmfast.load_model(tmp_path / "m.keras", custom_objects=own)
    np.testing.assert_allclose(mine(X), theirs(X), atol=1e-6)
    mine.save(tmp_path / "mine.keras")
    for again in (
        lstmfast.load_model(tmp_path / "mine.keras", custom_objects=own),
        keras.models.load_model(tmp_path / "mine.keras", custom_objects={"Around": make(keras)}),
    ):
        np.testing.assert_allclose(again(X), theirs(X), atol=1e-6)
    around = layers.serialize(own["Around"](layers.Dense(3)))
    with pytest.raises(NotImplementedError, match="Around is not supported"):
        layers.deserialize(around)
    assert isinstance(layers.deserialize(around, own), own["Around"])


def test_builds_for_several_tensors(keras, tmp_path):
    """Keras 3 hands the shape of each to `build`, by its name."""

    def kind(module: Any, array: Any) -> Any:
        class Bilinear(module.layers.Layer):
            def build(self, query_shape: Any, value_shape: Any) -> None:
                self.kernel = self.add_weight(shape=(query_shape[-1], value_shape[-1]), name="kernel")
                self.built = True

            def call(self, query: Any, value: Any) -> Any:
                return array.sum(array.matmul(query, self.kernel) * value, axis=-1, keepdims=True)

            def compute_output_shape(self, query_shape: Any, value_shape: Any) -> Any:
                return (*query_shape[:-1], 1)

        return Bilinear

    def graph(module: Any, own: Any) -> Any:
        x = module.Input((5, 3))
        y = module.layers.LSTM(4, return_sequences=True)(x)
        return module.Model(x, own()(x, y))

    theirs, mine = kind(keras, keras.ops), kind(lstmfast, np)
    live = graph(keras, theirs)
    live.save(tmp_path / "m.keras")
    custom = {"Bilinear": mine}
    for one in (
        lstmfast.load_model(tmp_path / "m.keras", custom_objects=custom),
        lstmfast.from_keras(live, custom_objects=custom),
    ):
        assert one.output_shape == live.output_shape
        oracle.assert_close(one.predict(X), np.asarray(live(X)), oracle.LOOSE)
    by_hand, also = mine(), mine()
    assert by_hand(X, np.ones((4, 5, 2))).shape == (4, 5, 1)
    also.build((None, 5, 3), (None, 5, 2))
    assert [w.shape for w in also.weights] == [w.shape for w in by_hand.weights] == [(3, 2)]
    named = mine()
    named.build(value_shape=(None, 5, 7), query_shape=(None, 5, 3))
    assert named.kernel.shape == (3, 7)


def test_functions_as_layers(keras, tmp_path):
    """Lambda, in code and in the place of one in a file."""

    def chain(module: Any, last: Any, scaled: Any) -> Any:
        some = module.layers
        return module.Sequential(
            [
                module.Input((5, 3)),
                some.Masking(),
                some.LSTM(4, return_sequences=True),
                some.Lambda(scaled, arguments={"by": 3.0}, name="scaled"),
                some.Lambda(last, output_shape=(4,), name="last"),
            ]
        )

    def last(x: Any) -> Any:
        return x[:, -1]

    def scaled(x: Any, by: float = 1.0) -> Any:
        return x * by

    live = chain(keras, last, scaled)
    live.save(tmp_path / "m.keras")
    live.save(tmp_path / "m.h5")
    custom = {"last": lambda x: x[:, -1], "scaled": scaled}
    ours = chain(lstmfast, last, scaled)
    ours.set_weights(live.get_weights())
    sources = [ours, lstmfast.from_keras(live, custom_objects=custom)]
    sources += [lstmfast.load_model(tmp_path / name, custom_objects=custom) for name in ("m.keras", "m.h5")]
    for one in sources:
        assert one.output_shape == (None, 4)
        oracle.assert_close(one.predict(X), np.asarray(live(X)), oracle.LOOSE)
    with pytest.raises(NotImplementedError, match="'last': a function of arrays, or a subclass"):
        lstmfast.load_model(tmp_path / "m.keras", custom_objects={"scaled": scaled})
    with pytest.raises(NotImplementedError, match="no file can hold"):
        ours.save(tmp_path / "ours.keras")
    with pytest.raises(TypeError, match="callable"):
        layers.Lambda(3)


def test_functions_that_take_or_make_masks(keras):
    def counted(module: Any, array: Any) -> Any:
        def count(x: Any, mask: Any = None) -> Any:
            return array.sum(x * array.cast(mask, "float32")[..., None], axis=1)

        x = module.Input((5, 3))
        masked = module.layers.Masking()(x)
        kept = module.layers.Lambda(lambda x: x * 2, mask=lambda x, mask: mask)(masked)
        dropped = module.layers.Lambda(lambda x: x * 2)(masked)
        return module.Model(
            x,
            [
                module.layers.Lambda(count, output_shape=(3,))(masked),
                *(module.layers.LSTM(2)(one) for one in (kept, dropped)),
            ],
        )

    live, ours = counted(keras, keras.ops), counted(lstmfast, NumPy())
    ours.set_weights(live.get_weights())
    for found, expected in zip(ours.predict(X), live(X), strict=True):
        oracle.assert_close(found, np.asarray(expected), oracle.LOOSE)
    noisy = layers.Lambda(lambda x, training=None: x + 1 if training else x)
    assert_same_bits(noisy(X), X)
    assert_same_bits(noisy(X, training=True), X + 1)


@pytest.mark.parametrize("suffix", [".keras", ".h5", "live"])
def test_a_registered_class_is_written_as_what_it_is_registered(keras, suffix, tmp_path):
    def make(module: Any) -> Any:
        class Scale(module.layers.Layer):
            def build(self, shape: Any) -> None:
                self.scale = self.add_weight(shape=shape[-1:], initializer="random_normal")

            def call(self, inputs: Any) -> Any:
                return inputs * self.scale

        return Scale

    theirs = keras.saving.register_keras_serializable(package="ours")(make(keras))
    model = keras.Sequential([keras.Input((5, 3)), theirs()])
    custom = {"ours>Scale": make(lstmfast)}
    if suffix == "live":
        mine = lstmfast.from_keras(model, custom_objects=custom)
    else:
        model.save(tmp_path / f"theirs{suffix}")
        mine = lstmfast.load_model(tmp_path / f"theirs{suffix}", custom_objects=custom)
    mine.save(tmp_path / "mine.keras")
    read = keras.models.load_model(tmp_path / "mine.keras")  # it finds the class by what it is registered as
    assert type(read.layers[-1]) is theirs
    assert_same_bits(np.asarray(read(X)), np.asarray(model(X)))


def test_a_chain_of_a_layer_that_returns_a_list_of_one():
    class Listed(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return [inputs * 2]

    x = Input((5, 3))
    inner = Model(x, {"y": Listed()(x)[0]})
    for listed in (Listed(), inner):
        (y,) = flatten(listed(x))
        model = Model(x, layers.Activation("relu")(y))
        for _ in range(2):
            assert_same_bits(model(X), np.maximum(X * 2, 0))


def running(module: Any) -> Any:
    """A layer that goes through time on its own, as a Bidirectional takes one."""
    ops = np if module is lstmfast else module.ops

    class Running(module.layers.Layer):
        def __init__(
            self,
            units: int,
            go_backwards: bool = False,
            return_sequences: bool = False,
            return_state: bool = False,
            stateful: bool = False,
            **kwargs: Any,
        ) -> None:
            super().__init__(**kwargs)
            self.units, self.go_backwards, self.supports_masking = units, go_backwards, True
            self.return_sequences, self.return_state, self.stateful = return_sequences, return_state, stateful
            self.states = None  # which Keras reads

        def build(self, input_shape: Any) -> None:
            self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.units))

        def call(self, inputs: Any, initial_state: Any = None, mask: Any = None) -> Any:
            x = ops.matmul(inputs, self.kernel)
            if mask is not None:
                x = ops.where(mask[:, :, None], x, ops.zeros_like(x))
            x = ops.cumsum(ops.flip(x, axis=1) if self.go_backwards else x, axis=1)
            if initial_state is not None:
                x = x + initial_state[0][:, None]
            y = x if self.return_sequences else x[:, -1]
            return (y, x[:, -1]) if self.return_state else y

        def compute_output_shape(self, sequences_shape: Any, initial_state_shape: Any = None) -> Any:
            batch, steps, _ = sequences_shape
            y = (batch, steps, self.units) if self.return_sequences else (batch, self.units)
            return (y, (batch, self.units)) if self.return_state else y

        def get_config(self) -> dict[str, Any]:
            names = ("units", "go_backwards", "return_sequences", "return_state", "stateful")
            return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    return Running


def named_both(module: Any) -> Any:
    class Both(module.layers.Bidirectional):
        def __init__(self, layer: Any, team: str = "", **kwargs: Any) -> None:
            super().__init__(layer, **kwargs)
            self.team = team

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "team": self.team}

    return Both


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("kind", ["own layer", "own wrapper", "both"])
def test_bidirectional_layers_of_ones_own(keras, kind, merge_mode, tmp_path):
    mine, theirs = ({"Running": running(module), "Both": named_both(module)} for module in (lstmfast, keras))
    for name, cls in theirs.items():
        keras.saving.register_keras_serializable("own")(cls)
        assert cls.__name__ == name
    x = X * (np.arange(5) < [[5], [3], [1], [4]])[..., None]
    for number in range(8):
        flags = {"return_sequences": bool(number & 1), "return_state": bool(number & 2)}
        inner = keras.layers.GRU(2, **flags) if kind == "own wrapper" else theirs["Running"](2, **flags)
        wrapper = keras.layers.Bidirectional if kind == "own layer" else theirs["Both"]
        inputs = keras.Input((5, 3))
        both = wrapper(inner, merge_mode=merge_mode, **({} if kind == "own layer" else {"team": "a"}))
        model = keras.Model(inputs, both(keras.layers.Masking()(inputs) if number & 4 else inputs))
        model.save(tmp_path / "m.keras")
        loaded = lstmfast.load_model(tmp_path / "m.keras", custom_objects=mine)
        loaded.save(tmp_path / "again.keras")
        again = lstmfast.load_model(tmp_path / "again.keras", custom_objects=mine)
        back = keras.models.load_model(tmp_path / "again.keras")
        expected = flatten(model(x))
        for one in (loaded, again, back, lstmfast.from_keras(model, custom_objects=mine)):
            for y, right in zip(flatten(one(x)), expected, strict=True):
                np.testing.assert_allclose(y, right, atol=1e-5)
        for y, right in zip(flatten(loaded.predict(np.repeat(x, 20, 0))), expected, strict=True):
            np.testing.assert_allclose(y, np.repeat(right, 20, 0), atol=1e-5)
        states = [np.full((4, 2), value, "float32") for value in (0.5, -0.25)]
        found, right = (net.layers[-1](x, initial_state=states) for net in (loaded, model))
        for one, other in zip(flatten(found), flatten(right), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_bidirectional_around_a_layer_that_is_no_recurrent_one():
    class Plain(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(ValueError, match="recurrent layer, or one of your own with the attributes go_backwards, "):
        layers.Bidirectional(Plain())
    with pytest.raises(ValueError, match="recurrent layer, or one of your own"):
        layers.Bidirectional(layers.Dense(2))
    with pytest.raises(NotImplementedError, match="of which one is of your own"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=running(lstmfast)(2, go_backwards=True))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", ["Dense", "LSTM", "GRU", "SimpleRNN"])
def test_a_weight_that_a_class_adds_to_those_of_its_layer(kind, use_bias):
    class Further(getattr(layers, kind)):
        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            self.extra = self.add_weight(name="extra", shape=(2,), initializer="ones")

    model = Sequential([Input((5, 3)), Further(2, use_bias=use_bias)])
    plain = Sequential([Input((5, 3)), getattr(layers, kind)(2, use_bias=use_bias)])
    *own, extra = model.get_weights()
    assert_same_bits(extra, np.ones(2, "float32"))
    plain.set_weights(own)
    assert_same_bits(model(X), plain(X))
    model.set_weights([*own, extra * 3])
    assert_same_bits(model(X), plain(X))
