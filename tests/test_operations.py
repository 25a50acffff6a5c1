"""Operations between layers, `keras.ops` of Keras 3 and TensorFlow's of tf.keras 2, against the Keras that has them.

Each operation is one output of a large model, which is saved once and compared output by output.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast.layers.contractions import einsum
from lstmfast.saving.config import Context, make_layer

Array = np.ndarray
STEPS, FEATURES, TOKENS = 4, 6, 4
RANDOM = np.random.default_rng(0)
X, Y = (RANDOM.uniform(0.1, 1, (3, STEPS, FEATURES)).astype("float32") for _ in range(2))
IDS = RANDOM.integers(0, TOKENS, (3, STEPS)).astype("int32")
TABLE = RANDOM.uniform(-1, 1, (FEATURES, 2)).astype("float32")


def of_keras(ops: Any, x: Any, y: Any, i: Any) -> dict[str, Any]:
    """Operations of Keras 3 by what they are called here."""
    k = ops
    return {
        "+": x + y,
        "+1": 1 + x,
        "-": 1 - x,
        "*": x * 2,
        "int*float": i * 0.5,
        "int+int": i + 1,
        "/": x / y,
        "1/": 1 / x,
        "int/int": i / 2,
        "//": x // y,
        "%": x % y,
        "**": x**2,
        "neg": -x,
        "abs": abs(x - 0.5),
        "<": x < y,
        "<=": x <= y,
        "==": k.equal(i, 1),
        "!=": k.not_equal(i, 1),
        ">": x > 0.5,
        ">=": x >= 0.5,
        "and": k.logical_and(x > 0.5, y > 0.5),
        "or": k.logical_or(x > 0.5, y > 0.5),
        "xor": k.logical_xor(x > 0.5, y > 0.5),
        "not": k.logical_not(x > 0.5),
        "last step": x[:, -1],
        "slice": x[:, 1:3],
        "stride": x[:, ::2],
        "ellipsis": x[..., 0],
        "new axis": x[:, None],
        "backwards": x[:, ::-1],
        "core slice": k.slice(x, (0, 1, 0), (3, 2, FEATURES)),
        "reshape": k.reshape(x, (-1, STEPS * FEATURES)),
        "reshape to more": k.reshape(x, (-1, 2, 2, FEATURES)),
        "ravel": k.ravel(x),
        "expand": k.expand_dims(x, 2),
        "expand twice": k.expand_dims(x, (1, 2)),
        "squeeze": k.squeeze(x[:, :1], 1),
        "concatenate": k.concatenate([x, y], axis=-1),
        "stack": k.stack([x, y], axis=1),
        "hstack": k.hstack([x, y]),
        "vstack": k.vstack([x, y]),
        "split": k.split(x, 2, axis=1)[1],
        "split at": k.split(x, [1, 3], axis=2)[2],
        "unstack": k.unstack(x, axis=1)[2],
        "transpose": k.transpose(x, (0, 2, 1)),
        "swapaxes": k.swapaxes(x, 1, 2),
        "moveaxis": k.moveaxis(x, 1, 2),
        "flip": k.flip(x, axis=1),
        "roll": k.roll(x, 1, axis=1),
        "tile": k.tile(x, (1, 2, 1)),
        "repeat": k.repeat(x, 2, axis=1),
        "pad": k.pad(x, [[0, 0], [1, 0], [0, 0]]),
        "tril": k.tril(x),
        "triu": k.triu(x, 1),
        "diagonal": k.diagonal(x, axis1=1, axis2=2),
        "ones_like": k.ones_like(x),
        "zeros_like": k.zeros_like(x),
        "full_like": k.full_like(x, 2.5),
        "sum": k.sum(x, axis=1),
        "sum of axes": k.sum(x, axis=[1, 2], keepdims=True),
        "mean": k.mean(x, axis=1),
        "mean of ints": k.mean(i, axis=1),
        "max": k.max(x, axis=1),
        "min": k.min(x, axis=-1, keepdims=True),
        "amax": k.amax(x, axis=1),
        "amin": k.amin(x, axis=1),
        "prod": k.prod(x, axis=1),
        "var": k.var(x, axis=1),
        "std": k.std(x, axis=1),
        "moments": k.moments(x, axes=[1])[1],
        "median": k.median(x, axis=1),
        "average": k.average(x, axis=1),
        "weighted average": k.average(x, axis=1, weights=y),
        "any": k.any(x > 0.5, axis=1),
        "all": k.all(x > 0.2, axis=-1),
        "count_nonzero": k.count_nonzero(i, axis=1),
        "argmax": k.argmax(x, axis=1),
        "argmin": k.argmin(x, axis=-1),
        "sort": k.sort(x, axis=1),
        "argsort": k.argsort(x, axis=-1),
        "top_k": k.top_k(x, 2)[0],
        "top_k places": k.top_k(x, 2)[1],
        "cumsum": k.cumsum(x, axis=1),
        "cumprod": k.cumprod(x, axis=1),
        "diff": k.diff(x, axis=1),
        "logsumexp": k.logsumexp(x, axis=-1),
        "norm": k.norm(x, axis=-1),
        "norm 1": k.norm(x, ord=1, axis=-1),
        "norm 3": k.norm(x, ord=3, axis=-1),
        "norm inf": k.norm(x, ord=np.inf, axis=1, keepdims=True),
        "norm of matrices": k.norm(x, ord="fro", axis=(1, 2)),
        "norm 1 of matrices": k.norm(x, ord=1, axis=(1, 2)),
        "normalize": k.normalize(x, axis=-1),
        "normalize 1": k.normalize(x, axis=1, order=1),
        "layer_normalization": k.layer_normalization(x),
        "rms_normalization": k.rms_normalization(x),
        "softmax": k.softmax(x),
        "softmax of steps": k.softmax(x, axis=1),
        "log_softmax": k.log_softmax(x),
        "sparsemax": k.sparsemax(x),
        "matmul": k.matmul(x, k.transpose(y, (0, 2, 1))),
        "@": x @ k.transpose(y, (0, 2, 1)),
        "dot": k.dot(x, k.convert_to_tensor(TABLE)),
        "tensordot": k.tensordot(x, k.convert_to_tensor(TABLE), axes=1),
        "inner": k.inner(x, k.convert_to_tensor(TABLE.T)),
        "einsum scores": k.einsum("btf,bsf->bts", x, y),
        "einsum dense": k.einsum("btf,fu->btu", x, k.convert_to_tensor(TABLE)),
        "einsum dense first": k.einsum("fu,btf->but", k.convert_to_tensor(TABLE), x),
        "einsum pairs": k.einsum("btf,btf->bt", x, y),
        "einsum steps": k.einsum("btf,btf->bf", x, y),
        "einsum sum": k.einsum("btf->bf", x),
        "einsum ellipsis": k.einsum("...tf,...sf->...ts", x, y),
        "einsum of three": k.einsum("btf,bsf,bsg->btg", x, y, x),
        "einsum outer": k.einsum("bt,bf->btf", x[:, :, 0], y[:, 0]),
        "einsum without arrow": k.einsum("btf,bsf", x, y),
        "exp": k.exp(x),
        "expm1": k.expm1(x),
        "log": k.log(x),
        "log1p": k.log1p(x),
        "log2": k.log2(x),
        "log10": k.log10(x),
        "logaddexp": k.logaddexp(x, y),
        "sqrt": k.sqrt(x),
        "rsqrt": k.rsqrt(x),
        "square": k.square(x),
        "power": k.power(x, 3),
        "absolute": k.absolute(x - 0.5),
        "clip": k.clip(x, 0.2, 0.7),
        "sign": k.sign(x - 0.5),
        "floor": k.floor(3 * x),
        "ceil": k.ceil(3 * x),
        "trunc": k.trunc(3 * x),
        "round": k.round(x, 1),
        "reciprocal": k.reciprocal(x),
        "sin": k.sin(x),
        "cos": k.cos(x),
        "tan": k.tan(x),
        "arcsin": k.arcsin(x),
        "arctan": k.arctan(x),
        "arctan2": k.arctan2(x, y),
        "sinh": k.sinh(x),
        "cosh": k.cosh(x),
        "erf": k.erf(x),
        "maximum": k.maximum(x, 0.5),
        "minimum": k.minimum(x, y),
        "isnan": k.isnan(x),
        "isfinite": k.isfinite(x),
        "nan_to_num": k.nan_to_num(x),
        "divide_no_nan": k.divide_no_nan(x, y * k.cast(y > 0.5, "float32")),
        "where": k.where(x > 0.5, x, y),
        "where a constant": k.where(x > 0.5, x, 0.0),
        "cast": k.cast(i, "float32"),
        "cast to ints": k.cast(3 * x, "int32"),
        "one_hot": k.one_hot(i, TOKENS),
        "multi_hot": k.multi_hot(i, TOKENS),
        "take": k.take(x, [0, 2], axis=1),
        "take one": k.take(x, 1, axis=1),
        "take of a table": k.take(k.convert_to_tensor(TABLE), i, axis=0),
        "take_along_axis": k.take_along_axis(x, i[:, :, None], axis=1),
        "stop_gradient": k.stop_gradient(x),
        "copy": k.copy(x),
        "average_pool": k.average_pool(x, 2),
        "max_pool": k.max_pool(x, 2, strides=1, padding="same"),
        "tanh": k.tanh(x),
        **{
            name: getattr(k, name)(x - 0.5)
            for name in (
                "relu relu6 gelu silu elu selu leaky_relu softplus softsign hard_sigmoid hard_silu celu glu log_sigmoid"
                " sigmoid hard_tanh squareplus soft_shrink hard_shrink tanh_shrink sparse_plus sparse_sigmoid"
            ).split()
        },
        "threshold": k.threshold(x, 0.5, 0.1),
        "max from 0": k.max(-x, axis=1, initial=0.0),
        "min from 0": k.min(x, axis=1, initial=0.5),
        "cumsum of bools": k.cumsum(x > 0.5, axis=1),
        "cumprod of bools": k.cumprod(x > 0.2, axis=1),
        "sum of int8": k.sum(k.cast(100 * x, "int8"), axis=1),
        "sum of uint8": k.sum(k.cast(200 * x, "uint8"), axis=1),
        "prod of int8": k.prod(k.cast(20 * x, "int8"), axis=1),
        "// of floats": k.floor_divide(k.round(x, 1), 0.1),
        "uint8 < 300": k.less(k.cast(i, "uint8"), 300),
        "uint8 != -1": k.not_equal(k.cast(i, "uint8"), -1),
        "uint8 % 3": k.mod(k.cast(i, "uint8"), 3),
        "float64 >= 0.1": k.greater_equal(k.cast(k.round(x, 1), "float64"), 0.1),
        "one_hot of floats": k.one_hot(3 * x[:, :, 0], TOKENS),
        "concatenate types": k.concatenate([x[:, :, 0], i], axis=1),
        "stack types": k.stack([i, x[:, :, 0]], axis=-1),
        "where of numbers": k.where(x > 0.5, 1, 0),
        "clip crossed": k.clip(x, 0.7, 0.2),
        "vstack of vectors": k.vstack([x[:, 0, 0], y[:, 0, 0]]),
        "layer_normalization of steps": k.layer_normalization(x, TABLE[:STEPS, 0], TABLE[:STEPS, 1], axis=1),
    }


def of_tensorflow(tf: Any, backend: Any, x: Any, y: Any, i: Any) -> dict[str, Any]:
    """Operations of TensorFlow, and of the Keras 2 backend, which consist of them."""
    rows = tf.shape(x)[0]
    return {
        "+": x + y,
        "1+": 1.0 + x,
        "1-": 1 - x,
        "*": x * y,
        "/": x / y,
        "1/": 1 / x,
        "//": x // y,
        "%": x % y,
        "**": x**2,
        "neg": -x,
        "abs": abs(x),
        "<": x < y,
        ">": x > 0.5,
        "==": tf.equal(i, 1),
        "!=": tf.not_equal(i, 0),
        "not": ~(x > 0.5),
        "and": (x > 0.5) & (y > 0.5),
        "last step": x[:, -1],
        "slice": x[:, 1:3],
        "ellipsis": x[..., 0],
        "new axis": x[:, tf.newaxis],
        "backwards": x[:, ::-1],
        "tf.slice": tf.slice(x, [0, 1, 0], [-1, 2, -1]),
        "reshape": tf.reshape(x, (-1, STEPS * FEATURES)),
        "reshape to rows": tf.reshape(x, [rows, STEPS * FEATURES]),
        "zeros of rows": tf.zeros([rows, 3]),
        "fill": tf.fill([rows, 3], 0.5),
        "broadcast_to": tf.broadcast_to(x[:, :1], tf.shape(x)),
        "expand_dims": tf.expand_dims(x, 1),
        "squeeze": tf.squeeze(x[:, :1], axis=1),
        "concat": tf.concat([x, y], -1),
        "stack": tf.stack([x, y], 1),
        "split": tf.split(x, 2, axis=1)[1],
        "split sizes": tf.split(x, [1, 3], 1)[1],
        "unstack": tf.unstack(x, axis=1)[2],
        "transpose": tf.transpose(x, [0, 2, 1]),
        "reverse": tf.reverse(x, [1]),
        "tile": tf.tile(x, [1, 2, 1]),
        "repeat": tf.repeat(x, 2, axis=1),
        "roll": tf.roll(x, 1, 1),
        "pad": tf.pad(x, [[0, 0], [1, 0], [0, 0]]),
        "band_part": tf.linalg.band_part(x, -1, 0),
        "ones_like": tf.ones_like(x),
        "zeros_like": tf.zeros_like(x),
        "mean": tf.reduce_mean(x, 1),
        "sum": tf.reduce_sum(x, axis=-1, keepdims=True),
        "max": tf.reduce_max(x, 1),
        "min": tf.reduce_min(x, [1, 2]),
        "prod": tf.reduce_prod(x, 1),
        "any": tf.reduce_any(x > 0.5, 1),
        "all": tf.reduce_all(x > 0.2, 1),
        "std": tf.math.reduce_std(x, 1),
        "variance": tf.math.reduce_variance(x, 1),
        "logsumexp": tf.reduce_logsumexp(x, 1),
        "norm": tf.norm(x, axis=-1),
        "argmax": tf.argmax(x, 1),
        "argmin": tf.argmin(x, 1, output_type=tf.int32),
        "cumsum": tf.cumsum(x, 1),
        "cumsum of the others": tf.cumsum(x, 1, exclusive=True, reverse=True),
        "cumprod": tf.math.cumprod(x, 1),
        "sort": tf.sort(x, axis=1),
        "top_k": tf.math.top_k(x, 2)[0],
        "l2_normalize": tf.math.l2_normalize(x, axis=-1),
        "softmax": tf.nn.softmax(x),
        "softmax of steps": tf.nn.softmax(x, axis=1),
        "log_softmax": tf.nn.log_softmax(x),
        "matmul": tf.matmul(x, y, transpose_b=True),
        "@": x @ tf.transpose(y, [0, 2, 1]),
        "tensordot": tf.tensordot(x, tf.constant(TABLE), 1),
        "where": tf.where(x > 0.5, x, y),
        "cast": tf.cast(i, tf.float32),
        "one_hot": tf.one_hot(i, TOKENS),
        "gather": tf.gather(x, [0, 2], axis=1),
        "gather of a table": tf.gather(tf.constant(TABLE), i),
        "gather of each row": tf.gather(x, i, batch_dims=1, axis=1),
        "clip": tf.clip_by_value(x, 0.2, 0.7),
        "squared_difference": tf.math.squared_difference(x, y),
        "divide_no_nan": tf.math.divide_no_nan(x, y),
        "add_n": tf.add_n([x, y, x]),
        "atan2": tf.atan2(x, y),
        "pow": tf.pow(x, 3.0),
        "maximum": tf.maximum(x, 0.5),
        "stop_gradient": tf.stop_gradient(x),
        **{name: getattr(tf.math, name)(x) for name in "exp log log1p expm1 sqrt rsqrt square sign floor ceil".split()},
        **{name: getattr(tf.math, name)(x) for name in "round reciprocal sin cos tan tanh sigmoid erf abs".split()},
        **{f"nn.{name}": getattr(tf.nn, name)(x - 0.5) for name in "relu relu6 elu selu leaky_relu gelu silu".split()},
        **{f"nn.{name}": getattr(tf.nn, name)(x - 0.5) for name in "softplus softsign".split()},
        "K.dot": backend.dot(x, tf.constant(TABLE)),
        "K.batch_dot": backend.batch_dot(x, y, axes=[2, 2]),
        "K.batch_flatten": backend.batch_flatten(x),
        "K.switch": backend.switch(x > 0.5, x, y),
        "K.repeat": backend.repeat(x[:, 0], 3),
        "K.repeat_elements": backend.repeat_elements(x, 2, 1),
        "K.hard_sigmoid": backend.hard_sigmoid(x),
        "K.relu": backend.relu(x - 0.5, alpha=0.1),
        "K.var": backend.var(x, axis=1),
        "mean of ints": tf.reduce_mean(2 * i - 5, 1),
        "int / int": i / 2,
        "int64 / int64": tf.cast(i, tf.int64) / 7,
        "int8 / int8": tf.cast(i, tf.int8) / tf.constant(7, tf.int8),
        "divide_no_nan of ints": tf.math.divide_no_nan(tf.cast(i, tf.float32), 0.0),
        "cumsum of ints": tf.cumsum(i, 1),
        "// of floats": tf.round(10 * x) / 10 // 0.1,
        "split with a rest": tf.split(x, [-1, 1], 1)[0],
        "one_hot of ints": tf.one_hot(i, TOKENS, 5, -1),
        "float64 >= 0.1": tf.cast(x, tf.float64) >= 0.1,
        "clip crossed": tf.clip_by_value(x, 0.7, 0.2),
        "norm of all": x[:, :, 0] / tf.norm(x[0, :, 0], ord=1),
    }


# What has no equal in Keras 3, or none that takes its arguments: such a model is not written.
ONLY_OF_TENSORFLOW = {
    "reshape to rows",
    "zeros of rows",
    "fill",
    "broadcast_to",
    "tf.slice",
    "split",
    "split sizes",
    "pad",
    "band_part",
    "norm",
    "argmax",
    "argmin",
    "cumsum of the others",
    "sort",
    "top_k",
    "l2_normalize",
    "matmul",
    "one_hot",
    "gather of each row",
    "squared_difference",
    "add_n",
    "atan2",
    "nn.gelu",
    "K.dot",
    "K.batch_flatten",
    "K.switch",
    "K.repeat_elements",
    "mean of ints",
    "int / int",
    "int64 / int64",
    "int8 / int8",
    "split with a rest",
    "one_hot of ints",
    "norm of all",
}


def inputs_of(framework: Any) -> list[Any]:
    return [
        framework.Input((STEPS, FEATURES), name="x"),
        framework.Input((STEPS, FEATURES), name="y"),
        framework.Input((STEPS,), dtype="int32", name="i"),
    ]


def assert_outputs(mine: dict[str, Array], theirs: dict[str, Any], what: str) -> None:
    assert mine.keys() == theirs.keys()
    wrong = []
    for name, expected in theirs.items():
        expected = np.asarray(expected)
        try:
            oracle.assert_close(mine[name], expected, oracle.LOOSE / 4 * (1 + np.abs(expected)), f"{name} {what}")
            assert mine[name].dtype == expected.dtype, f"{name} {what}: {mine[name].dtype}, expected {expected.dtype}"
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def keras_model():
    keras = oracle.live_keras()
    if keras is None:
        pytest.skip("needs TensorFlow and Keras")
    inputs = inputs_of(keras)
    return keras.Model(inputs, of_keras(keras.ops, *inputs))


@pytest.fixture(scope="module")
def tensorflow_graph():
    """tf_keras, inputs and outputs."""
    tf_keras = oracle.live_keras("tf_keras")
    if tf_keras is None:
        pytest.skip("needs TensorFlow and tf_keras")
    import tensorflow as tf

    inputs = inputs_of(tf_keras)
    return tf_keras, inputs, of_tensorflow(tf, tf_keras.backend, *inputs)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("source", ["m.keras", "m.h5", None])
def test_operations_of_keras(keras_model, source, tmp_path):
    if source is None:
        mine = lstmfast.from_keras(keras_model)
    else:
        keras_model.save(tmp_path / source)
        mine = lstmfast.load_model(tmp_path / source)
    assert_outputs(mine([X, Y, IDS]), keras_model([X, Y, IDS]), f"from {source}")


def test_operations_keep_rows_apart(keras_model):
    mine = lstmfast.from_keras(keras_model)
    whole = mine([X, Y, IDS])
    for row in range(len(X)):
        alone = mine([X[row : row + 1], Y[row : row + 1], IDS[row : row + 1]])
        for name, value in alone.items():
            if value.shape[:1] == (1,):
                assert_same_bits(value, whole[name][row : row + 1], name)


@pytest.mark.parametrize("framework", ["keras_model", "tensorflow_graph"])
def test_what_operations_give_is_the_callers(framework, request):
    """Also where an operation does no more than look at its input in another way."""
    given = request.getfixturevalue(framework)
    model = given if framework == "keras_model" else given[0].Model(*given[1:])
    mine = lstmfast.from_keras(model)
    for arrays in ([X, Y, IDS], [X[:1], Y[:1], IDS[:1]]):
        for outputs in (mine(arrays), mine.predict(arrays)):
            found = list(outputs.items())
            for place, (name, value) in enumerate(found):
                for what, other in [*zip("xyi", arrays, strict=True), *found[:place]]:
                    assert not np.shares_memory(value, other), f"{name}, {what}"
    x = lstmfast.Input((STEPS, FEATURES))
    reshaped = lstmfast.layers.Flatten()(lstmfast.layers.LSTM(3)(x))
    for one, other in (lstmfast.Model(x, [reshaped, reshaped])(X), lstmfast.Model(x, [x, x])(X)):
        assert not np.shares_memory(one, other)


def along_features(k: Any, x: Any, y: Any, i: Any) -> dict[str, Any]:
    """Operations of Keras 3 whose axes lie behind the time axis."""
    return {
        **{name: getattr(k, name)(x, axis=-1) for name in "sum prod var max amax amin any std median".split()},
        **{f"{name} of 2": getattr(k, name)(x, axis=2) for name in "argmax sort cumsum cumprod diff flip".split()},
        "layer_normalization": k.layer_normalization(x, TABLE[:, 0], TABLE[:, 1], axis=-1),
        "kept": k.mean(x, axis=(2,), keepdims=True),
        "moments": k.moments(x, axes=[-1])[1],
        "count": k.count_nonzero(x > 0.5, axis=-1),
        "softmax": k.softmax(x, axis=-1),
        "normalize": k.normalize(x, axis=2, order=1),
        "stack": k.stack([x, y], axis=-1),
        "stack of 2": k.stack([x, y], axis=2),
        "split": k.split(x, 2, axis=2)[1],
        "unstack": k.unstack(x, axis=-1)[2],
        "squeeze": k.squeeze(x[..., :1], -1),
        "expand": k.expand_dims(k.expand_dims(x, -1), 2),
        "mask": k.any(k.not_equal(x, 0.5), axis=-1),
        "weights of features": x * k.convert_to_tensor(TABLE[:, 0]) + TABLE[None, None, :, 1],
        "columns": x[:, :, 1] - x[..., ::2, None][..., 0, 0],
    }


# Operations that could be streamed by what they compute, but are not: most have a table, or two axes.
NOT_STREAMED = {
    "keras": "diagonal,dot,einsum dense,einsum pairs,inner,tensordot,tril,triu,vstack",
    "tf_keras": "K.dot,K.switch,band_part,tensordot",
}


# Operations that keep rows apart, but are not known to: a model with one is run in the batches of Keras.
NOT_BY_ROWS = {"keras": "core slice", "tf_keras": "K.dot,K.switch,gather of each row"}


@pytest.mark.parametrize("framework", ["keras", "tf_keras"])
def test_operations_of_one_row_and_one_step_at_a_time(framework):
    """Those whose output at a row, or step, stays as it is whatever other ones hold; others are not streamed."""
    live = oracle.live_keras(framework)
    if live is None:
        pytest.skip(f"needs {framework}")
    together = np.concatenate([X, Y, IDS[..., None]], axis=-1)
    entrance = live.Input((STEPS, 2 * FEATURES + 1))
    parts = entrance[..., :FEATURES], entrance[..., FEATURES:-1], entrance[..., -1]
    if framework == "keras":
        arguments = live.ops, *parts[:2], live.ops.cast(parts[2], "int32")
        outputs = of_keras(*arguments) | {f"{name}, -1": y for name, y in along_features(*arguments).items()}
    else:
        import tensorflow as tf

        outputs = of_tensorflow(tf, live.backend, *parts[:2], tf.cast(parts[2], tf.int32))
    refused, batched = set(), set()
    for name, output in outputs.items():
        mine = lstmfast.from_keras(live.Model(entrance, output))
        y = mine(together)
        by_rows = keeps_rows_apart(mine, together, y)
        assert by_rows or mine.plan().by_batch is not None, name
        if by_rows and mine.plan().by_batch is not None:
            batched.add(name)
        by_steps = y.ndim > 1 and y.shape[1] == STEPS
        for step in range(STEPS if by_steps else 0):
            others = np.roll(together, 1, axis=0)
            others[:, step] = together[:, step]
            by_steps = by_steps and np.array_equal(mine(others)[:, step], y[:, step])
        try:
            stream = mine.stream(batch_size=3)
        except ValueError:
            if by_steps:
                refused.add(name)
            continue
        assert_same_bits(np.stack([stream.step(together[:, step]) for step in range(STEPS)], axis=1), y, name)
        assert by_steps, name
    assert refused == set(NOT_STREAMED[framework].split(","))
    assert batched == set(NOT_BY_ROWS[framework].split(","))


def keeps_rows_apart(model: Any, x: Array, y: Array) -> bool:
    """Whether each row of the output is what the model gives for that row alone."""
    if y.shape[:1] != x.shape[:1]:
        return False
    try:
        return all(np.array_equal(model(x[row : row + 1]), y[row : row + 1]) for row in range(len(x)))
    except ValueError:
        return False


def over_rows(k: Any, x: Any, y: Any) -> dict[str, Any]:
    """Operations of Keras 3 that go by the rows of a batch, and give as many."""
    first = x[:, 0]
    return {
        "less the mean": x - k.mean(x, axis=0),
        "less the mean of all": x - k.mean(x),
        "sum": x * 0 + k.sum(y, axis=(0, 2), keepdims=True),
        "cumsum": k.cumsum(x, axis=0),
        "sort": k.sort(x, axis=0),
        "order": k.argsort(x, axis=-3),
        "flip": k.flip(x, axis=0),
        "backwards": x[::-1, :],
        "all but the last": k.pad(x[:-1, :], [[1, 0], [0, 0], [0, 0]]),
        "roll": k.roll(x, 1, axis=0),
        "softmax": k.softmax(x, axis=0),
        "softmax of all": k.softmax(x, axis=None),
        "turned": k.transpose(k.cumsum(k.transpose(x, (1, 0, 2)), axis=1), (1, 0, 2)),
        "swapped": k.swapaxes(k.flip(k.swapaxes(x, 0, 1), axis=1), 0, 1),
        "pairs": k.sum(first @ k.transpose(first), axis=-1),
        "einsum": k.einsum("btf,ctf->b", x, y),
        "reshaped": k.reshape(k.cumsum(k.reshape(x, (-1, FEATURES)), axis=0), (-1, STEPS, FEATURES)),
        "repeated": k.repeat(x, 2, axis=0)[::2, :] + x[:1, :],
        "joined": k.concatenate([x, y], axis=0)[::2, :],
    }


def test_operations_over_rows_get_the_batches_of_keras(keras):
    x, y = (np.random.default_rng(1).uniform(0, 1, (70, STEPS, FEATURES)).astype("float32") for _ in range(2))
    inputs = [keras.Input((STEPS, FEATURES)) for _ in range(2)]
    model = keras.Model(inputs, over_rows(keras.ops, *inputs))
    mine = lstmfast.from_keras(model)
    for size in (4, None, 70):
        expected = model.predict([x, y], batch_size=size, verbose=0)
        assert_outputs(mine.predict([x, y], batch_size=size), expected, f"batch_size={size}")
    for name, output in mine.output.items():
        alone = lstmfast.Model(mine.inputs, output)
        inside = lstmfast.Model(mine.inputs, alone(mine.inputs))
        assert None not in (alone.plan().by_batch, inside.plan().by_batch), name
    rowwise = lstmfast.Model(mine.inputs, mine.inputs[0] * mine.inputs[1] - 1)
    assert rowwise.plan().by_rows
    assert rowwise.plan().by_batch is None


def test_operations_that_change_the_number_of_rows(keras):
    x = X[np.arange(64) % 3]
    inputs = keras.Input((STEPS, FEATURES))
    model = keras.Model(inputs, inputs[::2, :])
    mine = lstmfast.from_keras(model)
    with pytest.raises(ValueError, match=r"gives 16 rows for 32.*Call the model itself on all rows: model\(x\)\."):
        mine.predict(x)
    assert_same_bits(mine(x), np.asarray(model(x)))
    assert_same_bits(mine.predict(x, batch_size=64), np.asarray(model(x)))


def test_each_call_of_an_operation_has_its_own_constants(keras):
    """Of one operation that is called twice."""
    operation = keras.src.ops.numpy.GetItem()
    x = keras.Input((STEPS, FEATURES))
    keys = [(slice(None), slice(0, 2)), (slice(None), slice(0, 3))]
    mine = lstmfast.from_keras(keras.Model(x, [operation(x, key) for key in keys]))
    assert mine.compute_output_shape((5, STEPS, FEATURES)) == [(5, 2, FEATURES), (5, 3, FEATURES)]
    out = [np.empty((3, 2, FEATURES), "float32"), np.empty((3, 3, FEATURES), "float32")]
    for found, key in zip(mine.predict(X, out=out), keys, strict=True):
        assert_same_bits(found, X[key])


def test_operations_are_written_for_keras(keras_model, tmp_path):
    lstmfast.from_keras(keras_model).save(tmp_path / "m.keras")
    assert_outputs(lstmfast.load_model(tmp_path / "m.keras")([X, Y, IDS]), keras_model([X, Y, IDS]), "written and read")
    again = oracle.live_keras().models.load_model(tmp_path / "m.keras")
    assert_outputs(
        {name: np.asarray(value) for name, value in again([X, Y, IDS]).items()}, keras_model([X, Y, IDS]), ""
    )


@pytest.mark.parametrize("source", ["m.h5", None])  # tf_keras writes no slices and types into a .keras file
def test_operations_of_tensorflow(tensorflow_graph, source, tmp_path):
    tf_keras, inputs, outputs = tensorflow_graph
    model = tf_keras.Model(inputs, outputs)
    if source is None:
        mine = lstmfast.from_keras(model)
    else:
        model.save(tmp_path / source)
        mine = lstmfast.load_model(tmp_path / source)
    expected = model([X, Y, IDS])
    assert_outputs(mine([X, Y, IDS]), expected, f"from {source}")
    for rows in (1, 2):
        part = mine([X[:rows], Y[:rows], IDS[:rows]])
        for name, value in part.items():
            assert_same_bits(value, np.asarray(mine([X, Y, IDS])[name])[: len(value)], name)


def test_operations_of_tensorflow_are_written_for_keras(tensorflow_graph, keras, tmp_path):
    tf_keras, inputs, outputs = tensorflow_graph
    model = tf_keras.Model(inputs, {name: tensor for name, tensor in outputs.items() if name not in ONLY_OF_TENSORFLOW})
    lstmfast.from_keras(model).save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert_outputs({name: np.asarray(value) for name, value in again([X, Y, IDS]).items()}, model([X, Y, IDS]), "")


def test_operations_without_an_equal_in_keras_are_not_written(tensorflow_graph, tmp_path):
    tf_keras, inputs, outputs = tensorflow_graph
    for name in sorted(ONLY_OF_TENSORFLOW):
        mine = lstmfast.from_keras(tf_keras.Model(inputs, outputs[name]))
        written = True
        try:
            mine.save(tmp_path / "m.keras")
        except NotImplementedError:
            written = False
        assert not written, name
        assert not list(tmp_path.iterdir())


def test_operations_without_support_are_named(keras, tmp_path):
    x, y, _ = inputs_of(keras)
    for output, name in (
        (keras.ops.cross(x[..., :3], y[..., :3]), "Cross"),
        (keras.ops.conv(x, np.ones((2, FEATURES, 3), "float32")), "Conv"),
        (keras.ops.fft((x, y))[0], "FFT"),
    ):
        keras.Model([x, y], output).save(tmp_path / "m.keras")
        with pytest.raises(NotImplementedError, match=rf"(?s)m\.keras.*{name}"):
            lstmfast.load_model(tmp_path / "m.keras")
    model = lstmfast.from_keras(keras.Model([x, y], keras.ops.einsum("btf,bsf->bts", x, y)))
    with pytest.raises(ValueError, match="expected shape"):
        model([X, Y[..., :2]])
    with pytest.raises(NotImplementedError, match="twice"):
        lstmfast.from_keras(keras.Model(x, keras.ops.einsum("btt->bt", x[..., :STEPS])))


@pytest.mark.parametrize(
    ("subscripts", "first", "second", "fit"),
    [
        ("ij,jk->ik", (2, 1), (3, 4), False),
        ("bij,bjk->bik", (1, 2, 3), (5, 3, 4), False),
        ("...ij,...jk->...ik", (1, 2, 1), (5, 3, 4), False),
        ("...ij,...jk->...ik", (1, 2, 3), (5, 3, 4), True),
    ],
)
def test_only_the_axes_of_an_ellipsis_stretch(keras, subscripts, first, second, fit):
    a, b = (np.random.default_rng(0).standard_normal(shape).astype("float32") for shape in (first, second))
    if fit:
        oracle.assert_close(einsum(subscripts, a, b), np.asarray(keras.ops.einsum(subscripts, a, b)), oracle.LOOSE)
        return
    for run, error in ((keras.ops.einsum, Exception), (einsum, ValueError)):
        with pytest.raises(error):
            run(subscripts, a, b)


def test_what_tf_keras_does_not_save_is_named(tensorflow_graph, tmp_path):
    """Its config of an operation with `*args` holds the equation alone."""
    tf_keras, (x, y, _), _ = tensorflow_graph
    import tensorflow as tf

    model = tf_keras.Model([x, y], tf.einsum("btf,bsf->bts", x, y))
    model.save(tmp_path / "m.keras")
    with pytest.raises(NotImplementedError, match=r"m\.keras.*does not save what the operation tf\.einsum"):
        lstmfast.load_model(tmp_path / "m.keras")
    with pytest.raises(NotImplementedError, match=r"does not save what the operation tf\.einsum"):
        lstmfast.from_keras(model)


def merge_of_keras_1(dot_axes: Any) -> Any:
    config = {"name": "m", "mode": "cos", "mode_type": "raw", "dot_axes": dot_axes, "concat_axis": -1}
    return make_layer({"class_name": "Merge", "config": config}, Context("m.h5", (1, 2), {}))


@pytest.mark.parametrize(
    ("dot_axes", "shape", "subscripts"),
    [
        (-1, (3, 5), "bi,bi->b"),
        (1, (3, 5), "bi,bi->b"),
        ([2, 2], (3, 4, 5), "bti,bsi->bts"),
        (1, (3, 4, 5), "bit,bis->bts"),
    ],
    ids=str,
)
def test_the_cosine_of_keras_1(dot_axes, shape, subscripts):
    """Its formula in float64: batch_dot(a, b) / max(sqrt(batch_dot(a, a) * batch_dot(b, b)), 1e-7), then a new axis."""
    a, b = (np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32") for seed in (1, 2))
    a[0] = 0
    squares = np.clip(
        np.einsum(subscripts, *2 * [a.astype(float)]) * np.einsum(subscripts, *2 * [b.astype(float)]), 0, None
    )
    expected = np.einsum(subscripts, a.astype(float), b.astype(float)) / np.maximum(np.sqrt(squares), 1e-7)
    expected = (expected[:, None] if len(shape) == 2 else expected)[:, None]
    x, y = (lstmfast.Input(shape[1:]) for _ in range(2))
    model = lstmfast.Model([x, y], merge_of_keras_1(dot_axes)([x, y]))
    found = model([a, b])
    assert model.output_shape == (None, *expected.shape[1:])
    # where the squares' product is small beside its rounding, so is the divisor beside its own
    reach = np.sqrt(np.maximum(squares, 1e-12)).reshape(expected.shape)
    oracle.assert_close(found, expected, 1e-6 * (1 + np.abs(expected)) * np.maximum(1, 1 / reach**2))
    with pytest.raises(NotImplementedError, match=r"'m'.*mode cos of Keras 1"):
        model.save("m.keras")


def test_the_cosine_of_keras_1_takes_inputs_of_one_shape():
    x = np.ones((2, 3, 4), "float32")
    for dot_axes, pair in (
        (2, [x, x[:, :2]]),
        ([1, 2], [x[:, :, :3]] * 2),
        (0, [x[:, 0]] * 2),
        (1, [x[..., None]] * 2),
    ):
        with pytest.raises(ValueError, match="cos mode"):
            merge_of_keras_1(dot_axes)(pair)
