"""What NumPy computes of large arrays it computes in pieces, between which Ctrl-C is heard: no piece changes a bit.

So does the core, in passes over arrays, and where the outputs of a long call reach fresh memory; test_same_bits.py has
the bits of those.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from bits import assert_same_bits

import lstmfast.layers.tensorflow_operations  # noqa: F401 (fills the table)
from lstmfast import _arrays, _core, _lookup, _pieces, layers
from lstmfast.layers.operations import OPERATIONS

PIECE = 32


@pytest.fixture
def cut(monkeypatch):
    """Calls a function with small pieces and returns what it gives and into how many pieces it cut something."""
    real = _pieces.pieces

    def call(function, *arguments):
        counts = [1]

        def counted(shape, most=None):
            found = list(real(shape, most))
            counts.append(len(found))
            return iter(found)

        before = _core.set_slice_seconds(0)
        try:
            with monkeypatch.context() as small:
                small.setattr(_pieces, "PIECE", PIECE)
                small.setattr(_pieces, "pieces", counted)
                return function(*arguments), max(counts)
        finally:
            _core.set_slice_seconds(before)

    return call


def values(*shape, dtype="float32"):
    """Random numbers, some of them 0, -0, infinite or NaN."""
    random = np.random.default_rng(math.prod(shape))
    x = random.standard_normal(shape)
    kind = random.random(shape)
    x[kind < 0.1], x[kind < 0.05] = 0.0, -0.0
    x[kind > 0.98], x[kind > 0.99] = np.inf, np.nan
    return x.astype(dtype)


X = values(3, 11, 6)
LONG = values(1, 90, 2)  # no row is small enough for a piece
PLANES = values(3, 4, 11, 3), values(1, 30, 6, 2)
IDS = np.random.default_rng(0).integers(0, 7, (3, 40))
MASK = np.random.default_rng(1).random((3, 11)) < 0.5


@pytest.mark.parametrize("shape", [(), (20,), (5, 6, 3), (1, 40, 2), (3, 1, 50), (6, 0, 3), (2, 3, 2, 30)])
@pytest.mark.parametrize("most", [1, 8, 100])
def test_pieces_are_small_and_the_whole(shape, most):
    covered = np.zeros(shape, int)
    for piece in _pieces.pieces(shape, most):
        assert covered[piece].size <= most
        covered[piece] += 1
    assert (covered == 1).all()


IN_CORE = [
    layers.Activation("tanh"),
    layers.AveragePooling1D(3, 2, "same"),
    layers.BatchNormalization(),
    layers.GlobalAveragePooling1D(),
    layers.GlobalMaxPooling1D(),
    layers.LayerNormalization(),
    layers.LayerNormalization(axis=(1, 2)),
    layers.Masking(),
    layers.MaxPooling1D(3, 1, "same"),
    layers.MaxPooling1D(2, 3),
    layers.Normalization(),
    layers.PReLU(),
    layers.PReLU(shared_axes=[1]),
    layers.Softmax(),
    layers.UnitNormalization(),
]
SINGLE = [
    layers.BatchNormalization(axis=1),
    layers.Conv1D(4, 3, data_format="channels_first", groups=1, padding="same"),
    layers.Conv1DTranspose(3, 4, strides=2, padding="same"),
    layers.Conv1DTranspose(3, 3, dilation_rate=2, activation="softmax"),
    layers.Cropping1D(1),
    layers.DepthwiseConv1D(3, padding="same"),
    layers.GlobalAveragePooling1D(data_format="channels_first"),
    layers.GlobalMaxPooling1D(data_format="channels_first"),
    layers.GroupNormalization(2),
    layers.GroupNormalization(1, axis=1),
    layers.LayerNormalization(rms_scaling=True),
    layers.MaxPooling1D(data_format="channels_first"),
    layers.PReLU(shared_axes=[2]),
    layers.PReLU(shared_axes=[1, 2]),
    layers.Permute((2, 1)),
    layers.RMSNormalization(),
    layers.RMSNormalization(axis=(1, 2)),
    layers.Rescaling(0.3, 0.1),
    layers.Rescaling(0.3, dtype="mixed_float16"),
    layers.Softmax(axis=1),
    layers.UnitNormalization(axis=(1, 2)),
    layers.UpSampling1D(2),
    layers.ZeroPadding1D(2),
]


OVER_PLANES = [
    layers.Conv2DTranspose(2, (3, 2), padding="same"),
    layers.Conv2DTranspose(2, (5, 3), strides=(2, 3), activation="tanh"),
    layers.Cropping2D((1, (0, 2))),
    layers.UpSampling2D((2, 3)),
    layers.CenterCrop(5, 400),
    layers.Resizing(30, 41),
    layers.Resizing(30, 41, "nearest"),
    layers.UpSampling2D(2, interpolation="bilinear"),
    layers.ZeroPadding2D((1, 2)),
]


@pytest.mark.parametrize("layer", IN_CORE + SINGLE + OVER_PLANES, ids=lambda layer: layer.name)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_layers_in_pieces_give_the_same_bits(layer, cut):
    for x in PLANES if layer in OVER_PLANES else (X, LONG):
        own = type(layer).from_config(layer.get_config())
        own.build(x.shape)
        own.set_weights([np.abs(values(*weight.shape)) + 0.1 for weight in own.weights])
        expected = own(x)
        got, count = cut(own, x)
        assert_same_bits(got, expected, layer.name)
        assert layer in IN_CORE or count >= x.size // PIECE // 3, f"{layer.name}: {count} pieces of {x.size} values"


@pytest.mark.parametrize(
    "layer",
    [
        layers.Add(),
        layers.Average(),
        layers.Concatenate(),
        layers.Concatenate(axis=1),
        layers.Maximum(),
        layers.Multiply(),
        layers.Subtract(),
        layers.Dot(2, normalize=True),
    ],
    ids=lambda layer: layer.name,
)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_merging_in_pieces_gives_the_same_bits(layer, cut):
    second = X[::-1]
    for call in (
        lambda: layer([X, second]),
        lambda: layer([LONG, LONG]),
        lambda: layer.frozen()([X, second], **({"mask": [MASK, ~MASK]} if hasattr(layer, "combine_masked") else {})),
        lambda: layer.mask_function("or")([X, X], [MASK, ~MASK]),
    ):
        expected = call()
        got, count = cut(call)
        if expected is not None:
            assert_same_bits(got, expected)
            assert count > 1


def test_the_rest_in_pieces_gives_the_same_bits(cut):
    embedding = layers.Embedding(7, 5)
    pair = layers.Bidirectional(layers.LSTM(4, return_sequences=True), merge_mode="ave")
    inner = layers.TimeDistributed(layers.Dense(3, dtype="float64"), dtype="float32")
    finite = np.nan_to_num(X, posinf=1.0)
    table = values(7, 5)
    for call, *arguments in (
        (embedding, IDS),
        (layers.Flatten(), X.transpose(0, 2, 1)),
        (pair, finite),
        (inner, finite),
        (_lookup.Lookup(IDS.astype("int32"), table).array,),
        (_arrays.ordered_sum, LONG.transpose(1, 0, 2), (0,)),
        (layers.Softmax().frozen(), finite, np.broadcast_to(MASK[..., None], X.shape)),
        (layers.Masking().compute_mask, X),
    ):
        expected = call(*arguments)
        got, count = cut(call, *arguments)
        assert_same_bits(got, expected)
        assert count > 1
    for in_core, *arguments in (
        (layers.GlobalAveragePooling1D().frozen(), finite, MASK),
        (_arrays.ordered_sum, finite, (1, 2)),
        (_core.dot, finite, finite[0, 0]),
    ):
        assert_same_bits(cut(in_core, *arguments)[0], in_core(*arguments))


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.AlphaDropout(0.3, seed=1),
        layers.BatchNormalization,
        lambda: layers.Dropout(0.3, noise_shape=(None, 1, None), seed=1),
        lambda: layers.GaussianDropout(0.3, seed=1),
        lambda: layers.GaussianNoise(0.3, seed=1),
    ],
)
def test_training_in_pieces_gives_the_same_bits(make, cut):
    x = np.nan_to_num(X, posinf=1.0)
    expected = make()(x, training=True)
    got, count = cut(lambda: make()(x, training=True))
    assert_same_bits(got, expected)
    assert count > 1


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (layers.AdditiveAttention(), {}),
        (layers.Attention(use_scale=True), {"mask": [MASK, MASK]}),
        (layers.Attention(score_mode="concat"), {"use_causal_mask": True}),
        (layers.MultiHeadAttention(2, 3, use_gate=True), {"query_mask": MASK, "use_causal_mask": True}),
        (layers.MultiHeadAttention(2, 3, sliding_window=2), {"return_attention_scores": True}),
    ],
)
def test_attention_in_pieces_gives_the_same_bits(layer, options, cut):
    x = np.nan_to_num(X, posinf=1.0)
    arguments = (x, x) if isinstance(layer, layers.MultiHeadAttention) else ([x, x],)
    expected = layer(*arguments, **options)
    got, count = cut(lambda: layer(*arguments, **options))
    assert_same_bits(got, expected)
    assert count > 10


A = values(3, 7, 6)
B = values(3, 7, 6)[::-1]
WHOLE = np.random.default_rng(2).integers(-3, 9, (3, 7, 6)).astype("int32")
OF_TWO = (
    "Add Arctan2 Divide DivideNoNan Equal FloorDivide LogicalAnd Maximum math.squared_difference math.multiply_no_nan"
)
OF_ONE = (
    "Abs Argsort Cast Copy Cos Cumsum Diff Erf Exp Flip Isnan LayerNorm Log Negative Normalize Norm OnesLike RMSNorm "
    "Ravel Relu Round Sigmoid Softmax Sort Square StopGradient Threshold TopK Tril math.l2_normalize nn.silu"
)
REDUCING = "All Any Argmax Argmin Average CountNonzero Logsumexp Max Mean Median Min Moments Std Sum Var"
OPTIONS = {
    "Cumsum": {"axis": 1},
    "Threshold": {"threshold": 0.1, "default_value": -1.0},
    "TopK": {"k": 2},
    "Diff": {"n": 2},
    "Moments": {"axes": 1},
}
CALLS = [
    *[(name, (A, B), {}) for name in OF_TWO.split()],
    *[("Add", (A, value), {}) for value in (2.0, WHOLE, B[:, :1], [1.0] * 6, np.float64(2))],
    *[(name, (A,), OPTIONS.get(name, {})) for name in OF_ONE.split()],
    *[(name, (A,), OPTIONS.get(name, {"axis": axis})) for name in REDUCING.split() for axis in (1, -1)],
    *[(name, (LONG,), {"axis": 1}) for name in ("Argmax", "CountNonzero", "Cumprod", "Max", "Sum")],
    *[(name, (A.transpose(0, 2, 1),), {"axis": 1}) for name in ("Argsort", "Max", "Normalize", "Softmax", "Sort")],
    ("Argmax", (A,), {}),
    ("BroadcastTo", (A[:, :1],), {"shape": A.shape}),
    ("Clip", (A,), {"x_min": -0.5, "x_max": 0.5}),
    ("Concatenate", ([A, WHOLE],), {"axis": 1}),
    ("GetItem", (A, (slice(None), slice(1, None))), {}),
    ("Hstack", ([A, B],), {}),
    ("MultiHot", (np.abs(WHOLE),), {"num_classes": 9}),
    ("OneHot", (WHOLE,), {"num_classes": 9}),
    ("Pad", (A,), {"pad_width": [[0, 0], [2, 1], [1, 0]]}),
    ("Pad", (A,), {"pad_width": [[0, 0], [2, 1], [1, 0]], "mode": "reflect"}),
    ("Repeat", (A, 2), {"axis": 1}),
    ("Repeat", (A, [1, 2, 0, 1, 1, 3]), {"axis": 2}),
    ("Roll", (A, (2, -1)), {"axis": (1, 2)}),
    ("Stack", ([A, B],), {"axis": 1}),
    ("Take", (A, [2, 0, -1]), {"axis": 1}),
    ("TakeAlongAxis", (A, np.abs(WHOLE) % 6), {"axis": 2}),
    ("Tile", (A, [2, 1, 3]), {}),
    ("Transpose", (A,), {"axes": (2, 1, 0)}),
    ("Where", (A > 0, A, WHOLE), {}),
    ("math.add_n", ([A, B, A],), {}),
    ("math.cumsum", (A,), {"axis": 1, "exclusive": True, "reverse": True}),
    ("one_hot", (np.abs(WHOLE), 9, 2.0, -1.0, None, None), {}),
]


# which cuts them itself
IN_CORE_TOO = ("Average", "Exp", "Mean", "Relu", "Sigmoid", "Softmax", "Sum")


@pytest.mark.parametrize(("name", "arguments", "options"), CALLS, ids=lambda value: value if type(value) is str else "")
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning", "ignore:.*NaN slice:RuntimeWarning")
def test_operations_in_pieces_give_the_same_bits(name, arguments, options, cut):
    _, function = OPERATIONS[name]
    expected = function(*arguments, **options)
    got, count = cut(lambda: function(*arguments, **options))
    assert_same_bits(got, expected, name)
    assert count > 1 or name in IN_CORE_TOO


def test_an_axis_that_is_not_there_is_refused():
    for name in ("Max", "Sort", "Cumsum", "Softmax", "Take", "Argmax", "Repeat"):
        arguments = (A, [0]) if name == "Take" else (A, 2) if name == "Repeat" else (A,)
        with pytest.raises((ValueError, IndexError)):
            OPERATIONS[name][1](*arguments, axis=3)


PAGE = 1 << 21  # what Linux clears when it is first written
PAGES_OF_A_THREAD = 2  # that a piece may begin


def rows_that_begin_a_page(y, first, steps):
    """Of each row, whether its steps [first, first + steps) write into a page that no earlier one has written."""
    begin = y.__array_interface__["data"][0] + np.arange(len(y)) * y.strides[0] + first * y.strides[1]
    end = begin + steps * y.strides[1]
    begins = (end - 1) // PAGE != (begin - 1) // PAGE
    return begins | (first == 0 and y.strides[0] >= PAGE)


@pytest.mark.parametrize(
    ("shape", "first", "steps"),
    [
        ((256, 80, 128), 0, 80),  # rows of 40 KiB: one in 50 begins a page
        ((256, 80, 128), 24, 12),
        ((2000, 40, 100), 0, 40),
        ((3000, 50, 8), 0, 50),
        ((20, 4096, 128), 0, 12),  # rows of 2 MiB: each begins one
        ((40, 8192, 128), 2040, 16),  # at the same step
        ((5, 3, 4), 0, 3),
        ((1, 1 << 16, 64), 0, 1 << 16),
    ],
)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_piece_begins_few_pages_and_is_no_smaller_than_that_takes(shape, first, steps, threads):
    layer = _core.PackedLayer("dense", np.zeros((1, shape[2]), "float32"), None, None, ("linear", 0.0, 0.0, 0.0), None)
    memory = np.zeros(math.prod(shape) + PAGE // 4, "float32")  # never written, so it takes no memory
    before = _core.set_num_threads(threads)
    try:
        for offset in (0, 1000, PAGE // 8, PAGE // 4 - 32):
            y = memory[offset : offset + math.prod(shape)].reshape(shape)
            begins = rows_that_begin_a_page(y, first, steps)
            pieces = layer.pieces(y, first, steps)
            assert sum(pieces) == len(y)
            assert min(pieces) > 0
            most = PAGES_OF_A_THREAD * threads
            assert max(part.sum() for part in np.split(begins, np.cumsum(pieces)[:-1])) <= most
            assert len(pieces) <= max(1, math.ceil(begins.sum() / most))
    finally:
        _core.set_num_threads(before)


def test_pieces_are_of_outputs_that_the_layer_could_write():
    layer = _core.PackedLayer("dense", np.zeros((1, 4), "float32"), None, None, ("linear", 0.0, 0.0, 0.0), None)
    for y in (np.zeros((2, 3, 4)), np.zeros((2, 4), "float32"), [1.0]):
        with pytest.raises(TypeError, match="expected an array of float32 with 3 dimensions"):
            layer.pieces(y, 0, 1)
    for units, first, steps in ((5, 0, 1), (4, -1, 1), (4, 0, 0), (4, 2, 2)):
        with pytest.raises(ValueError, match="expected"):
            layer.pieces(np.zeros((2, 3, units), "float32"), first, steps)
