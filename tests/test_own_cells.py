"""Recurrent cells of users' own: the same class for Keras and here, but for the library of its arithmetic."""

from __future__ import annotations

from typing import Any

import layer_cases
import model_cases
import numpy as np
import oracle
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import Input, Model, Sequential, layers

X = np.random.default_rng(1).uniform(-1, 1, (6, 5, 3)).astype("float32")
MASK = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]], bool
)


def classes(module: Any, array: Any) -> dict[str, Any]:
    """The cells for a library: `module` has its layers, and `array` its arithmetic (NumPy, or keras.ops)."""
    some = module.layers

    class Minimal(some.Layer):
        """Keras's example of one: a weight for the input and one for the state, which is the output."""

        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = units
            self.state_size = units

        def build(self, input_shape: Any) -> None:
            self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
            self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), name="recurrent_kernel")
            self.built = True

        def call(self, inputs: Any, states: Any) -> Any:
            h = array.tanh(array.matmul(inputs, self.kernel) + array.matmul(states[0], self.recurrent_kernel))
            return h, [h]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    class Peephole(some.Layer):
        """Layers inside, two states of different sizes, an output of another, `training`, a first state of its own."""

        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = units
            self.state_size = [units, units + 1]
            self.output_size = 2
            self.gate = some.Dense(units, activation="sigmoid")
            self.slow = some.Dense(units + 1)
            self.out = some.Dense(2)

        def build(self, input_shape: Any) -> None:
            size = self.units + self.units + 1
            self.gate.build((input_shape[0], input_shape[-1] + size))
            self.slow.build((input_shape[0], size))
            self.out.build((input_shape[0], size))
            self.built = True

        def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
            fast, slow = states
            new = self.gate(array.concatenate([inputs, fast, slow], -1))
            slow = slow * 0.5 + array.tanh(self.slow(array.concatenate([new, slow], -1)))
            y = self.out(array.concatenate([new, slow], -1))
            return y * (2 if training else 1), [new, slow]

        def get_initial_state(self, batch_size: Any = None) -> Any:
            return [array.ones((batch_size, self.units)), array.zeros((batch_size, self.units + 1))]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    return {cls.__name__: cls for cls in (Minimal, Peephole)}


def model(name: str, module: Any, own: dict[str, Any]) -> Any:
    some = module.layers
    x = module.Input((5, 3))
    if name == "states":
        y = some.RNN(own["Peephole"](4), return_sequences=True, return_state=True)(x)
    elif name == "masks":
        masked = some.Masking()(x)
        y = [
            some.RNN(own["Minimal"](4), return_sequences=True)(masked),
            some.RNN(own["Peephole"](4), return_sequences=True)(masked),
            some.RNN(own["Peephole"](4), return_sequences=True, zero_output_for_mask=True)(masked),
            some.RNN(own["Peephole"](2), go_backwards=True)(masked),
        ]
    elif name == "stacked":
        cells = [some.LSTMCell(3), own["Minimal"](4), own["Peephole"](2)]
        y = some.RNN(cells, return_sequences=True, return_state=True)(x)
    elif name == "stacked below":
        y = some.RNN(some.StackedRNNCells([own["Peephole"](4), some.GRUCell(3)]))(x)
    elif name == "two directions":
        y = some.Bidirectional(some.RNN(own["Peephole"](4), return_sequences=True))(x)
    else:
        first = some.RNN(own["Minimal"](4), return_state=True)(x)
        y = some.RNN(own["Minimal"](4))(x, initial_state=first[1:])
    return module.Model(x, y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["states", "masks", "stacked", "stacked below", "two directions", "first state"])
def test_cells_of_ones_own_are_those_of_keras(keras, name, tmp_path):
    mine, theirs = classes(lstmfast, np), classes(keras, keras.ops)
    with keras.saving.custom_object_scope(theirs):
        live = model(name, keras, theirs)
    live.set_weights(model_cases.weights([(weight.path, tuple(weight.shape)) for weight in live.weights], 3))
    x = X * MASK[..., None]
    expected = [np.asarray(y) for y in layer_cases.flatten(live(x))]
    live.save(tmp_path / "m.keras")
    by_hand = model(name, lstmfast, mine)
    by_hand.set_weights(live.get_weights())
    by_hand.save(tmp_path / "mine.keras")
    sources = [
        lstmfast.load_model(tmp_path / "m.keras", custom_objects=mine),
        lstmfast.from_keras(live, custom_objects=mine),
        lstmfast.load_model(tmp_path / "mine.keras", custom_objects=mine),
        by_hand,
    ]
    for one in sources:
        assert one.output_shape == live.output_shape
        for found in (one(x), one.predict(x)):
            for y, values in zip(layer_cases.flatten(found), expected, strict=True):
                oracle.assert_close(y, values, oracle.LOOSE * (1 + np.abs(values)))
    again = keras.models.load_model(tmp_path / "mine.keras", custom_objects=theirs)
    for y, values in zip(layer_cases.flatten(again(x)), expected, strict=True):
        oracle.assert_close(np.asarray(y), values, oracle.LOOSE * (1 + np.abs(values)))


def test_streams_have_the_bits_of_the_whole():
    own = classes(lstmfast, np)
    for make in (
        lambda: layers.RNN(own["Minimal"](4), return_sequences=True),
        lambda: layers.RNN(own["Peephole"](4), return_sequences=True),
        lambda: layers.RNN([layers.LSTMCell(3), own["Peephole"](4)], return_sequences=True),
        lambda: layers.RNN([own["Peephole"](4), layers.LSTMCell(3)], return_sequences=True),
        lambda: layers.RNN(own["Peephole"](4), return_sequences=True, zero_output_for_mask=True),
    ):
        net = Sequential([Input((5, 3)), layers.Masking(), make()])
        x = X * MASK[..., None]
        whole = net(x)
        stream = net.stream(len(x))
        for step in range(5):
            if step == 2:
                kept = stream.state
            assert_same_bits(stream.step(x[:, step]), whole[:, step])
        stream.state = kept
        assert_same_bits(stream.step(x[:, 2]), whole[:, 2])


def test_states_from_call_to_call(keras):
    mine, theirs = classes(lstmfast, np), classes(keras, keras.ops)

    def net(module: Any, own: dict[str, Any]) -> Any:
        x = module.Input(batch_shape=(6, 5, 3))
        return module.Model(x, module.layers.RNN(own["Minimal"](4), stateful=True)(x))

    live, ours = net(keras, theirs), net(lstmfast, mine)
    ours.set_weights(live.get_weights()[: len(ours.get_weights())])
    for _ in range(3):
        oracle.assert_close(ours(X), np.asarray(live(X)), oracle.LOOSE)
    live.layers[-1].reset_state()
    ours.reset_states()
    oracle.assert_close(ours(X), np.asarray(live(X)), oracle.LOOSE)


def test_training_reaches_the_cell():
    layer = layers.RNN(classes(lstmfast, np)["Peephole"](4))
    assert_same_bits(layer(X, training=True), 2 * layer(X))
    net = Sequential([Input((5, 3)), layer])
    assert_same_bits(net(X, training=True), 2 * net(X))


def test_training_reaches_layers_in_the_cell():
    class Drops(layers.Layer):
        state_size = 64

        def __init__(self) -> None:
            super().__init__()
            self.drop = layers.Dropout(0.5)

        def call(self, inputs: Any, states: Any) -> Any:
            return self.drop(states[0] + 1), [states[0]]

    layer = layers.RNN(Drops())
    assert_same_bits(layer(X), np.ones((6, 64), "float32"))
    assert set(np.unique(layer(X, training=True))) == {0, 2}


def test_weights_are_those_of_the_cell():
    cell = classes(lstmfast, np)["Minimal"](4)
    layer = layers.RNN(cell)
    before = layer(X)
    layer.set_weights([2 * w for w in layer.get_weights()])
    after = layer(X)
    assert np.abs(after - before).max() > 1e-3
    cell.set_weights([w / 2 for w in cell.get_weights()])
    assert_same_bits(layer(X), before)
    y, states = cell(X[:, 0], [np.zeros((6, 4), "float32")])
    assert_same_bits(y, states[0])
    out = np.empty((6, 4), "float32")
    assert layer(X, out=out) is out
    assert_same_bits(out, before)


def test_what_is_refused():
    class NoSize(layers.Layer):
        def call(self, inputs: Any, states: Any) -> Any:
            return inputs, states

    class Wrong(NoSize):
        state_size = 4

    class Square(NoSize):
        state_size = ((4, 4),)

    class NoState(layers.Layer):
        state_size = 4

        def call(self, inputs: Any) -> Any:
            return inputs

    with pytest.raises(ValueError, match="state_size"):
        layers.RNN(NoSize())
    with pytest.raises(NotImplementedError, match="vectors"):
        layers.RNN(Square())
    with pytest.raises(NotImplementedError, match=r"call\(inputs, states\)"):
        layers.RNN(NoState())
    with pytest.raises(ValueError, match="output of shape"):
        layers.RNN(Wrong())(X)
    with pytest.raises(ValueError, match="timestep"):
        layers.RNN(classes(lstmfast, np)["Minimal"](4))(X[:, :0])
    with pytest.raises(ValueError, match="state"):
        layers.RNN(classes(lstmfast, np)["Minimal"](4))(X, initial_state=[np.zeros((6, 3))])
    assert Model


def test_first_states_by_the_signature_of_keras_2():
    class Counts(layers.Layer):
        state_size = 2

        def call(self, inputs: Any, states: Any) -> Any:
            return states[0], [states[0] + 1]

        def get_initial_state(self, inputs: Any, batch_size: Any, dtype: Any) -> Any:
            return np.full((batch_size, 2), 3, dtype)

    assert_same_bits(layers.RNN(Counts())(X), np.full((6, 2), 7, "float32"))


def classes_with_constants(module: Any, array: Any) -> dict[str, Any]:
    """Cells of Keras 2 that get constants at each step."""
    some = module.layers

    class Attends(some.Layer):
        """Weighs the steps of a memory, the second constant, by the state; the first is added."""

        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.units = units
            self.state_size = [units]
            self.query = some.Dense(2)
            self.change = some.Dense(units, activation="tanh")

        def call(self, inputs: Any, states: Any, constants: Any = None, training: Any = None) -> Any:
            added, memory = constants
            scores = array.einsum("bf,btf->bt", self.query(states[0]), memory)
            found = array.einsum("bt,btf->bf", scores, memory)
            h = states[0] + self.change(array.concatenate([inputs, found, added], -1))
            return h * 2 if training else h, [h]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    class Plain(some.Layer):
        state_size = 3

        def call(self, inputs: Any, states: Any) -> Any:
            return inputs[:, :3] + states[0], [inputs[:, :3] * 0.5 + states[0]]

        def get_config(self) -> dict[str, Any]:
            return super().get_config()

    return {cls.__name__: cls for cls in (Attends, Plain)}


def model_with_constants(module: Any, own: dict[str, Any], stacked: bool) -> Any:
    some = module.layers
    x, added, memory = module.Input((5, 3)), module.Input((4,)), module.Input((7, 2))
    cell = [some.GRUCell(3), own["Plain"](), own["Attends"](3)] if stacked else own["Attends"](3)
    layer = some.RNN(cell, return_sequences=True, return_state=True)
    y, *states = layer(some.Masking()(x), constants=[added, memory])
    more = some.RNN(own["Attends"](3), go_backwards=True)
    z = more(x, initial_state=states[-1], constants=[added, memory])
    return module.Model([x, added, memory], [y, states[-1], z])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stacked", [False, True])
def test_cells_with_constants_are_those_of_keras_2(tf_keras, stacked, tmp_path):
    import tensorflow as tf

    arithmetic = type("arithmetic", (), {"einsum": staticmethod(tf.einsum), "concatenate": staticmethod(tf.concat)})
    mine, theirs = classes_with_constants(lstmfast, np), classes_with_constants(tf_keras, arithmetic)
    random = np.random.default_rng(2)
    inputs = [X * MASK[..., None], *(random.uniform(-1, 1, (6, *shape)).astype("float32") for shape in ((4,), (7, 2)))]
    live = model_with_constants(tf_keras, theirs, stacked)
    expected = [np.asarray(y) for y in layer_cases.flatten(live(inputs))]
    live.save(tmp_path / "m.keras")
    live.save(tmp_path / "m.h5")
    by_hand = model_with_constants(lstmfast, mine, stacked)
    by_hand.load_weights(tmp_path / "m.h5")
    sources = [
        *(lstmfast.load_model(tmp_path / name, custom_objects=mine) for name in ("m.keras", "m.h5")),
        lstmfast.from_keras(live, custom_objects=mine),
    ]
    for one in sources:
        for found in (one(inputs), one.predict(inputs, batch_size=4)):
            for y, values in zip(layer_cases.flatten(found), expected, strict=True):
                oracle.assert_close(y, values, oracle.LOOSE * (1 + np.abs(values)))
    inputs[0] = X  # by the rules of Keras 3, which hold in code, no mask goes with constants
    for training in (False, True):
        found, theirs_found = (layer_cases.flatten(one(inputs, training=training)) for one in (by_hand, live))
        for y, values in zip(found, theirs_found, strict=True):
            oracle.assert_close(y, np.asarray(values), oracle.LOOSE * (1 + np.abs(np.asarray(values))))
    with pytest.raises(NotImplementedError, match="called with constants"):
        by_hand.save(tmp_path / "mine.keras")


def test_constants_of_arrays():
    own = classes_with_constants(lstmfast, np)
    layer = layers.RNN(own["Attends"](3), return_sequences=True)
    added, memory = np.ones((6, 4), "float32"), np.zeros((6, 7, 2))
    whole = layer(X, constants=[added, memory])
    assert whole.shape == (6, 5, 3)
    assert layer.get_config()["num_constants"] == 2
    assert_same_bits(layer(X[:2], constants=(added[:2], memory[:2])), whole[:2])
    twin = layers.RNN(layer.cell, return_sequences=True)
    assert_same_bits(twin(X, constants=[added, memory], out=np.empty_like(whole)), whole)
    with pytest.raises(ValueError, match="takes 2 constants, got 1"):
        layer(X, constants=[added])
    fresh = layers.RNN(own["Attends"](3))
    with pytest.raises(ValueError, match="initial state"):
        fresh(X, constants=[added], initial_state=np.zeros((6, 4)))
    assert fresh.num_constants == 0
    assert fresh(X, constants=[added, memory]).shape == (6, 3)
    with pytest.raises(ValueError, match="does not support constants"):
        layers.RNN(layers.GRUCell(3))(X, constants=[added])
    with pytest.raises(ValueError, match="no `lengths` beside"):
        layer(X, constants=[added, memory], lengths=[1, 2, 3, 4, 5, 5])

    class Sums(layers.Layer):
        state_size = 3

        def call(self, inputs: Any, states: Any, constants: Any) -> Any:
            return constants[0].sum(1), [inputs]

    x = Input((5, 3))
    net = Model(x, layers.RNN(Sums(), return_sequences=True)(x, constants=x))
    np.testing.assert_allclose(net(X), np.repeat(X.sum(1, keepdims=True), 5, axis=1), rtol=1e-6)
    with pytest.raises(ValueError, match="called with constants"):
        net.stream(1)
