"""What may be passed as input: any strides, alignment, byte order, type of number, container and number of rows."""

from __future__ import annotations

import bits
import numpy as np
import oracle
import pytest
from bits import assert_same_bits
from test_same_bits import stacked_model

import lstmfast
from lstmfast import _arrays, _core, _pieces, layers
from lstmfast._graph import KerasTensor, flatten

Array = np.ndarray


@pytest.fixture(scope="module")
def model():
    return stacked_model()


@pytest.fixture(scope="module")
def x() -> Array:
    """(batch 5, steps 7, features 3), small integers over 8: exact in float16 and in integers times 1/8."""
    return (np.random.default_rng(0).integers(-8, 9, (5, 7, 3)) / 8).astype("float32")


@pytest.fixture(scope="module")
def expected(model, x) -> Array:
    return model(x)


def unaligned(x: Array) -> Array:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def read_only(x: Array) -> Array:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def in_a_field(x: Array) -> Array:
    records = np.zeros(x.shape, [("before", "i2"), ("value", "<f4"), ("after", "i1")])
    records["value"] = x
    return records["value"]


class ArrayLike:
    """Only __array__, as data frames have it."""

    def __init__(self, x: Array) -> None:
        self.x = x

    def __array__(self, dtype=None, copy=None) -> Array:
        return self.x.astype(dtype) if dtype else self.x


class Subclass(np.ndarray):
    pass


FORMS = {
    "a copy": np.array,
    "Fortran order": np.asfortranarray,
    "transposed axes": lambda x: np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0),
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every second step": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "every second feature": lambda x: np.repeat(x, 2, axis=2)[:, :, ::2],
    "negative row stride": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "negative step stride": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "negative feature stride": lambda x: np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1],
    "all strides negative": lambda x: np.ascontiguousarray(x[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "inside a larger array": lambda x: np.pad(x, 2, constant_values=99)[2:-2, 2:-2, 2:-2],
    "unaligned": unaligned,
    "read-only": read_only,
    "a field of records": in_a_field,
    "float16": lambda x: x.astype("float16"),
    "float64": lambda x: x.astype("float64"),
    "longdouble": lambda x: x.astype("longdouble"),
    "big-endian float32": lambda x: x.astype(">f4"),
    "big-endian float64": lambda x: x.astype(">f8"),
    "little-endian float32": lambda x: x.astype("<f4"),
    "nested lists": lambda x: x.tolist(),
    "a list of arrays": list,
    "a tuple of lists": lambda x: tuple(x.tolist()),
    "__array__": ArrayLike,
    "a subclass": lambda x: x.view(Subclass),
    "broadcast": lambda x: np.broadcast_to(x, (1, *x.shape))[0],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", ["model", "predict", "layer"])
def test_forms_of_the_same_numbers(form, call, model, x, expected):
    given = FORMS[form](x)
    if call == "layer":
        layer = layers.LSTM(4, return_sequences=True)
        layer.build(x.shape)
        assert_same_bits(layer(given), layer(x))
        return
    result = model(given) if call == "model" else model.predict(given)
    assert_same_bits(result, expected)
    assert type(result) is np.ndarray


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", ">i4", "bool"])
def test_integers_and_bools(dtype, model):
    x = np.random.default_rng(0).integers(0, 2, (4, 5, 3))
    assert_same_bits(model(x.astype(dtype)), model(x.astype("float32")))


def test_bfloat16(model, x):
    ml_dtypes = oracle.needed("ml_dtypes")
    assert_same_bits(model(x.astype(ml_dtypes.bfloat16)), model(x))


def test_dlpack(model, x, expected):
    torch = oracle.needed("torch")
    assert_same_bits(model(torch.tensor(x)), expected)
    assert_same_bits(model.predict(torch.tensor(x.astype("float64"))), expected)
    assert_same_bits(layers.Dense(1, kernel_initializer="ones")(torch.ones(2, 3)), np.full((2, 1), 3, "float32"))

    class OnlyDlpack:
        """No __array__: what an array of another library may look like."""

        def __dlpack__(self, **options):
            return x.__dlpack__(**options)

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    assert_same_bits(model(OnlyDlpack()), expected)


def test_pandas(model):
    pandas = oracle.needed("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    dense = layers.Dense(3)
    assert_same_bits(dense(frame), dense(frame.to_numpy()))


@pytest.mark.parametrize("dtypes", [("int64", "float32"), ("bool", "float64"), ("bool", "int8"), ("int16", "bool")])
def test_columns_of_several_types(dtypes):
    """What a DataFrame of them says: each column's type, and objects as the type of all."""

    class Table:
        shape = (4, 2)

        def __init__(self, *columns):
            self.columns = columns
            self.dtypes = [column.dtype for column in columns]

        def __array__(self, dtype=None, copy=None):
            return np.stack([column.astype(dtype or object) for column in self.columns], axis=1)

    columns = [np.array([0, 1, 1, 0]).astype(dtype) for dtype in dtypes]
    model = lstmfast.Sequential([lstmfast.Input((2,)), layers.Dense(3)])
    expected = model.predict(np.stack([column.astype("float32") for column in columns], axis=1))
    assert_same_bits(model.predict(Table(*columns)), expected)
    assert_same_bits(model.layers[0](Table(*columns)), expected)
    with pytest.raises(TypeError, match="object"):
        model.predict(Table(columns[0], np.array(list("abcd"))))


def test_the_input_is_not_written_to(model, x):
    for form in ("a copy", "Fortran order", "unaligned", "float64"):
        given = FORMS[form](x)
        before = np.array(given)
        model(given)
        model.predict(given)
        assert np.array_equal(given, before)


def test_only_what_needs_no_check_is_known():
    x = np.zeros((4, 3, 2), "float32")
    known = _core.KnownInputs(x.dtype)
    assert not len(known)
    assert not known.takes(x, False)
    more = known.adding((5, 2), 9).adding((3, 2), 4).adding((), 1)
    assert (len(known), len(more)) == (0, 3)
    assert more.takes(x, False)
    assert more.takes(x, True)
    assert more.takes(np.zeros((0, 3, 2), "float32"), True)
    assert more.takes(np.zeros((5, 3, 2), "float32"), False)
    assert not more.takes(np.zeros((5, 3, 2), "float32"), True)
    assert more.takes(np.zeros(1, "float32"), True)
    assert not more.takes(np.zeros(2, "float32"), True)
    unaligned = np.frombuffer(b"x" + x.tobytes(), np.uint8)[1:].view("float32").reshape(x.shape)
    for other in (
        x.astype("float64"),
        x.astype(">f4"),
        x.view(np.recarray),
        np.zeros((4, 3, 3), "float32"),
        np.zeros((4, 2, 3), "float32"),
        np.zeros((4, 3), "float32"),
        np.zeros((4, 3, 2, 1), "float32"),
        np.zeros((), "float32"),
        np.zeros((4, 3, 4), "float32")[..., ::2],
        np.asfortranarray(x),
        unaligned,
        x.tolist(),
        None,
    ):
        assert not more.takes(other, False)
    assert more.adding((5, 2), 1) is more
    for size in range(100):
        more = more.adding((size,), 1)
    assert len(more) == 64
    with pytest.raises(TypeError):
        more.adding((None, 2), 1)


def test_calls_like_earlier_ones_give_the_same():
    """What is known of arrays is no more than what was checked; all else is checked as in the first call."""
    steps, side, ids = lstmfast.Input((4, 3), name="steps"), lstmfast.Input((5,)), lstmfast.Input((4,), dtype="int32")
    recurrent = layers.LSTM(6, return_state=True)(steps, initial_state=[layers.Dense(6)(side), layers.Dense(6)(side)])
    words = layers.LSTM(2)(layers.Embedding(9, 3, mask_zero=True)(ids))
    model = lstmfast.Model([steps, side, ids], {"y": layers.Concatenate()([recurrent[0], words]), "h": recurrent[1]})
    random = np.random.default_rng(0)
    given = [
        random.standard_normal((70, 4, 3)).astype("float32"),
        random.standard_normal((70, 5)).astype("float32"),
        random.integers(0, 9, (70, 4)).astype("int32"),
    ]
    expected = model(given)
    for call in (model, lambda x: model.predict(x, verbose=0), lambda x: model.predict(x, batch_size=80, verbose=0)):
        for form in (given, tuple(given), [given[0].astype("float64"), np.asfortranarray(given[1]), given[2].tolist()]):
            got = call(form)
            assert sorted(got) == ["h", "y"]
            for name in got:
                assert_same_bits(got[name], expected[name], name)
        for wrong in (given[:2], [given[0][:, :, :2], *given[1:]], [given[0][:5], *given[1:]], given[0]):
            with pytest.raises(ValueError, match=r"expects 3 input|expected shape|cardinality"):
                call(wrong)
        assert_same_bits(call([array[:1] for array in given])["y"], expected["y"][:1])
    masked = lstmfast.Sequential([lstmfast.Input((4, 3)), layers.Masking(), layers.LSTM(6)])
    sparse = given[0] * (random.random((70, 4, 1)) < 0.5).astype("float32")
    first = masked(sparse)
    for form in (sparse, sparse.astype("float64"), sparse[::-1][::-1], [sparse], sparse.tolist()):
        assert_same_bits(masked(form), first)
        assert_same_bits(masked.predict(form, verbose=0), first)
    with pytest.raises(ValueError, match="expected shape"):
        masked(sparse[..., :2])


@pytest.mark.parametrize("make", [layers.LSTM, layers.GRU, layers.SimpleRNN])
@pytest.mark.parametrize("returns", [{}, {"return_state": True}, {"return_sequences": True}])
def test_arguments_of_known_calls_are_looked_at_all_the_same(make, returns):
    random = np.random.default_rng(0)
    layer = make(5, **returns)
    x = random.standard_normal((3, 4, 2)).astype("float32")
    states = [random.standard_normal((3, 5)).astype("float32") for _ in range(2 if make is layers.LSTM else 1)]
    mask = random.random((3, 4)) < 0.6
    expected = {
        "initial_state": flatten(layer(x, initial_state=states)),
        "mask": flatten(layer(x, mask=mask)),
        "both": flatten(layer(x, initial_state=states, mask=mask)),
    }
    forms = {
        "initial_state": [states, tuple(states), [np.asfortranarray(array) for array in states]],
        "mask": [mask, mask.astype("int64"), mask.tolist(), np.asfortranarray(mask)],
    }
    forms["initial_state"].append([array.astype("float64") for array in states])
    for name in ("initial_state", "mask"):
        for form in forms[name]:
            assert_same_bits(flatten(layer(x, **{name: form})), expected[name], name)
    assert_same_bits(flatten(layer(x, mask=mask, initial_state=states)), expected["both"])
    assert_same_bits(flatten(layer(x, states, mask=mask)), expected["both"])
    assert_same_bits(flatten(layer(x, initial_state=None, mask=None)), flatten(layer(x)))
    symbol = lstmfast.Input((5,))
    for wrong in (
        states[:-1],
        [*states, states[0]],
        [array[:2] for array in states],
        [array[:, :4] for array in states],
    ):
        with pytest.raises(ValueError, match="state"):
            layer(x, initial_state=wrong)
    for wrong in (mask[:2], mask[:, :3], mask[0], mask[..., None]):
        with pytest.raises(ValueError, match="mask"):
            layer(x, mask=wrong)
    with pytest.raises(TypeError):
        layer(x, initial_state=[["text"] for _ in states])
    with pytest.raises(TypeError, match="unexpected"):
        layer(x, states=states)
    assert isinstance(flatten(layer(lstmfast.Input((4, 2)), initial_state=[symbol] * len(states)))[0], KerasTensor)
    assert_same_bits(flatten(layer(x, initial_state=states)), expected["initial_state"])


def masked_models():
    ids, steps = lstmfast.Input((6,), dtype="int32"), lstmfast.Input((6, 3))
    yield [ids, layers.Embedding(9, 3, mask_zero=True), layers.LSTM(4)]
    yield [ids, layers.Embedding(9, 3, mask_zero=True), layers.Dropout(0.1), layers.GRU(4, return_sequences=True)]
    yield [
        ids,
        layers.Embedding(9, 3, mask_zero=True),
        layers.SpatialDropout1D(0.2),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(3)),
        layers.LSTM(2, go_backwards=True),
        layers.Dense(2, activation="softmax"),
    ]
    yield [steps, layers.Masking(), layers.LSTM(4, return_sequences=True), layers.LSTM(3), layers.Dense(1)]
    yield [steps, layers.Dense(3), layers.Masking(), layers.GlobalAveragePooling1D()]
    yield [steps, layers.Masking(2.0), layers.LayerNormalization(), layers.SimpleRNN(3, return_sequences=True)]
    yield [steps, lstmfast.Sequential([lstmfast.Input((6, 3)), layers.Masking()]), layers.LSTM(3)]
    yield [steps, layers.Masking(), layers.Flatten()]


@pytest.mark.parametrize("stack", list(masked_models()), ids=lambda stack: "-".join(type(x).__name__ for x in stack))
def test_a_chain_with_masks_gives_what_its_graph_gives(stack):
    random = np.random.default_rng(1)
    model = lstmfast.Sequential(stack)
    x = random.integers(0, 4, (9, 6)).astype("int32")
    if len(model.input_shape) == 3:
        x = random.standard_normal((9, 6, 3)).astype("float32") * (random.random((9, 6, 1)) < 0.6)
        x = x.astype("float32")
    plan = model.plan()
    assert plan.masks_travel
    assert plan.chain is not None
    expected = plan.finish(plan.run([x])[0])[0]
    for _ in range(2):
        assert_same_bits(model(x), expected)
        assert_same_bits(model.predict(x, verbose=0), expected)
        assert_same_bits(model.predict(x, batch_size=4, verbose=0), expected)
        out = np.empty_like(expected)
        assert model(x, out=out) is out
        assert_same_bits(out, expected)
    assert_same_bits(model(x[2:3]), expected[2:3])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", ">i4", "float32"])
@pytest.mark.parametrize("size", [5, 5000])
def test_token_ids_are_looked_at_in_every_type(dtype, size):
    table = np.arange(200, dtype="float32").reshape(100, 2)
    model = lstmfast.Sequential([lstmfast.Input((None,), dtype="int32"), layers.Embedding(100, 2), layers.LSTM(3)])
    embedding = layers.Embedding(100, 2, weights=[table])
    ids = (np.arange(size) % 100).astype(dtype)[None]
    expected = model(ids.astype("int32"))
    assert_same_bits(model(ids), expected)
    assert_same_bits(embedding(ids), table[ids.astype("int64")])
    for bad in (100, 127, -1):
        if bad < 0 and np.dtype(dtype).kind == "u":
            continue
        wrong = ids.copy()
        wrong[0, 3] = bad
        for call in (model, embedding):
            with pytest.raises(ValueError, match=rf"in \[0, 100\), got {bad}"):
                call(wrong)


@pytest.mark.parametrize("call", ["__call__", "predict"])
def test_a_stateful_model_goes_on_where_it_was(call):
    """Also where calls are like earlier ones; and a wrong call, before or after, leaves the states as they were."""
    random = np.random.default_rng(0)

    def made():
        first, second = layers.LSTM(5, stateful=True, return_sequences=True), layers.GRU(4, stateful=True)
        model = lstmfast.Sequential(
            [lstmfast.Input(batch_shape=(2, None, 3)), first, layers.Dropout(0.1), second, layers.Dense(2)]
        )
        options = {"verbose": 0} if call == "predict" else {}
        return model, lambda x, **more: getattr(model, call)(x, **(options | more))

    model, run = made()
    fresh, again = made()
    fresh.set_weights(model.get_weights())
    x = random.standard_normal((2, 12, 3)).astype("float32")
    whole = again(x)
    for step in range(12):
        for rows in (1, 3):  # not the batch that it was built for
            with pytest.raises(ValueError, match="stateful"):
                run(np.ones((rows, 1, 3), "float32"))
        with pytest.raises(ValueError, match="shape"):
            run(np.ones((2, 1, 4), "float32"))
        more = {"batch_size": 2} if call == "predict" and step % 2 else {}
        y = run(x[:, step : step + 1].copy(), **more)
    assert_same_bits(y, whole)
    model.reset_states()
    for part in (x[:, :5], x[:, 5:].astype("float64")):
        y = run(part, **({"batch_size": 2} if call == "predict" else {}))
    assert_same_bits(y, whole)


def test_results_are_fresh(model, x):
    first, second = model(x), model(x)
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(first, x)
    assert first.flags.writeable
    assert first.flags.c_contiguous
    kept = first.copy()
    first[...] = 9
    assert_same_bits(model(x), kept)
    # a layer that does nothing must not hand its input out either
    for inert in (layers.Dropout(0.5), layers.Activation("linear"), layers.Flatten(), layers.Reshape((7, 3))):
        net = lstmfast.Sequential([lstmfast.Input((7, 3)), inert])
        for result in (net(x), net.predict(x)):
            assert not np.shares_memory(result, x), inert.name
            assert result.flags.writeable, inert.name


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_zero_rows(dtype, model):
    x = np.zeros((0, 7, 3), dtype)
    for result in (model(x), model.predict(x), model.predict(x, batch_size=4)):
        assert result.shape == (0, 5)
        assert result.dtype == np.float32
    layer = layers.LSTM(4, return_sequences=True, return_state=True)
    y, h, c = layer(x)
    assert (y.shape, h.shape, c.shape) == ((0, 7, 4), (0, 4), (0, 4))
    assert layer(x, mask=np.zeros((0, 7), bool))[0].shape == (0, 7, 4)
    stream = model.stream(batch_size=2)
    assert stream.step(np.zeros((2, 3))).shape == (2, 5)


@pytest.mark.parametrize("batch", [1, 2, 33])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize("units", [1, 2])
def test_smallest_sizes(batch, steps, features, units):
    layer = layers.LSTM(units, return_sequences=True)
    assert layer(np.ones((batch, steps, features))).shape == (batch, steps, units)


def test_float64_policy_computes_in_float64(x):
    wide = stacked_model(dtype="float64")
    narrow = stacked_model()
    wide.set_weights(narrow.get_weights())
    y = wide(x.astype("float64"))
    assert y.dtype == np.float64
    assert 0 < np.abs(y - narrow(x)).max() < 2e-6


@pytest.mark.parametrize(
    ("policy", "result"), [("float16", "float16"), ("mixed_float16", "float16"), ("mixed_bfloat16", "bfloat16")]
)
def test_half_policies_compute_in_float32(policy, result, x):
    if result == "bfloat16":
        oracle.needed("ml_dtypes")
    layer = layers.LSTM(5, return_sequences=True, dtype=policy)
    y = layer(x)
    assert y.dtype.name == result
    single = layers.LSTM(5, return_sequences=True)
    single.build(x.shape)
    single.set_weights(layer.get_weights())
    assert_same_bits(y, single(x).astype(y.dtype))


def test_masks_of_any_kind_of_number(x):
    layer = layers.LSTM(4, return_sequences=True, return_state=True)
    layer.build(x.shape)
    mask = np.random.default_rng(1).random(x.shape[:2]) < 0.5
    expected = layer(x, mask=mask)
    for form in (
        mask.astype("uint8"),
        mask.astype("int64"),
        mask.astype("float32") * 3,
        mask.tolist(),
        np.asfortranarray(mask),
        np.repeat(mask, 2, axis=1)[:, ::2],
        np.ascontiguousarray(mask[:, ::-1])[:, ::-1],
    ):
        assert_same_bits(layer(x, mask=form), expected)


def test_initial_states_of_any_kind_of_number(x):
    layer = layers.LSTM(4)
    layer.build(x.shape)
    h, c = np.arange(20).reshape(5, 4) / 16, np.arange(20).reshape(5, 4) / 8
    expected = layer(x, initial_state=[h.astype("float32"), c.astype("float32")])
    for form in (
        [h, c],
        (h.tolist(), c.tolist()),
        [np.asfortranarray(h), np.repeat(c, 2, axis=1)[:, ::2]],
        [h.astype("float16"), c.astype(">f8")],
    ):
        assert_same_bits(layer(x, initial_state=form), expected)


def test_the_function_on_arrays(x):
    layer = layers.LSTM(6, return_sequences=True, return_state=True, go_backwards=True)
    layer.build(x.shape)
    mask = np.random.default_rng(1).random(x.shape[:2]) < 0.5
    state = [np.full((5, 6), 0.25), np.full((5, 6), 0.5)]
    expected = layer(x, mask=mask, initial_state=state)
    result = lstmfast.lstm(
        x,
        *layer.get_weights(),
        initial_state=state,
        mask=mask,
        return_sequences=True,
        return_state=True,
        go_backwards=True,
    )
    assert_same_bits(result, expected)
    kernel, recurrent, _ = layer.get_weights()
    assert lstmfast.lstm(x.tolist(), kernel.tolist(), recurrent.tolist()).dtype == np.float64
    assert lstmfast.lstm(x, kernel, recurrent).dtype == np.float32


@pytest.mark.parametrize("shape", [(20,), (5, 6, 3), (1, 40, 2), (3, 1, 50), (6, 0, 3)])
def test_large_inputs_are_converted_piece_by_piece(monkeypatch, shape):
    monkeypatch.setattr(_pieces, "PIECE", 8)
    for x in (np.random.default_rng(0).standard_normal(shape), np.ones(shape[::-1]).T):
        converted = _arrays.convert(x, _arrays.FLOAT32)
        assert converted.flags.c_contiguous
        assert_same_bits(converted, x.astype("float32"))


def test_predict_takes_batches_from_a_generator(model, x, expected):
    def batches():
        for start in range(0, 5, 2):
            yield x[start : start + 2]

    assert_same_bits(model.predict(batches()), expected)
    assert_same_bits(model.predict(((part, None) for part in batches()), steps=2), expected[:4])


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 4, 2), (3, 2)])
def test_dense_works_on_the_last_axis_of_any_rank(shape):
    dense = layers.Dense(6, bias_initializer="ones", activation="relu")
    x = bits.sequences(1, 1, int(np.prod(shape)))[0, 0].reshape(shape)
    y = dense(x)
    assert y.shape == (*shape[:-1], 6)
    np.testing.assert_allclose(y, np.maximum(x @ dense.kernel + dense.bias, 0), atol=2e-6)
    assert_same_bits(dense(np.asfortranarray(x)), y)


def test_masks_of_a_mean(x):
    """A mask leaves steps out, whatever it is of; in Keras 2 one of numbers weighs them."""
    pool = layers.GlobalAveragePooling1D()
    mask = np.arange(len(x) * x.shape[1]).reshape(x.shape[:2]) % 3
    kept = (x * (mask != 0)[..., None]).sum(1) / (mask != 0).sum(1, keepdims=True)
    np.testing.assert_allclose(pool(x, mask=mask != 0), kept, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pool(x, mask=(mask != 0).tolist()), kept, rtol=1e-5, atol=1e-6)
    older = layers.GlobalAveragePooling1D()
    older.of_keras_2 = True
    weighted = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    for form in (mask, mask.astype("float32"), mask.astype("uint8")):
        np.testing.assert_allclose(pool(x, mask=form), kept, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(older(x, mask=form), weighted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("columns", [100, 5000, 300_000])
def test_sums_of_wide_rows_are_exact(isa, columns):
    """However many columns there are, a sum is off by no more than some units in its last place."""
    row = np.full((2, columns), 0.1, "float32")
    assert_close = np.testing.assert_allclose
    assert_close(_core.dot(row, None), row.astype("float64").sum(1), rtol=5e-7)
    assert_close(_arrays.ordered_sum(row, (1,))[:, 0], row.astype("float64").sum(1), rtol=5e-7)
    assert_close(_core.pool("sum", row.reshape(1, columns, 2), 1, columns, 1, 0, None)[0, 0], columns * 0.1, rtol=5e-7)
    assert_close(layers.UnitNormalization()(row), columns**-0.5, rtol=1e-6)


def test_a_normalization_of_numbers_takes_any_width():
    layer = layers.Normalization(axis=None, mean=1.0, variance=4.0)
    for shape in ((2, 3), (2, 5), (4, 2, 3)):
        np.testing.assert_array_equal(layer(np.full(shape, 2.0, "float32")), np.full(shape, 0.5, "float32"))
