"""Layers over steps, planes and volumes against Keras, with random arguments, sizes and layouts.

Next: test_written_layers.py, for one of each layer in a file; model_cases.py, for models of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest

import lstmfast
from lstmfast import layers

MOVING = [f"{name}{rank}D" for name in ("Cropping", "UpSampling", "ZeroPadding") for rank in (1, 2, 3)]


def rank_of(kind: str) -> int:
    return int(kind[kind.index("D") - 1])


class Draw:
    """Every choice of a seed."""

    def __init__(self, *seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def size(self, least: int, most: int) -> int:
        return int(self.random.integers(least, most + 1))

    def sizes(self, count: int, least: int, most: int) -> tuple[int, ...]:
        return tuple(self.size(least, most) for _ in range(count))

    def either(self, *values: Any) -> Any:
        return values[self.size(0, len(values) - 1)]

    def numbers(self, *shape: int, dtype: str = "float32") -> np.ndarray:
        return self.random.normal(0, 1, shape).astype("float32").astype(dtype)


def arguments_of_transposed(rank: int, draw: Draw) -> dict[str, Any]:
    """Random arguments of a transposed convolution that TensorFlow runs on a CPU, where none is dilated."""
    window, strides = draw.sizes(rank, 1, 5), draw.sizes(rank, 1, 4)
    padding = draw.either("valid", "same", "SAME")
    least = [1 - size % 2 if padding != "valid" else 0 for size in window]  # see the test of what is refused
    arguments: dict[str, Any] = {
        "filters": draw.size(1, 20),
        "kernel_size": draw.either(window, list(window)) if rank > 1 else draw.either(window, window[0]),
        "padding": padding,
    }
    if draw.size(0, 3):
        arguments["strides"] = strides
        if draw.size(0, 1) and all(low < stride for low, stride in zip(least, strides, strict=True)):
            more = (draw.size(low, stride - 1) for low, stride in zip(least, strides, strict=True))
            arguments["output_padding"] = tuple(more)
    arguments |= draw.either({}, {"activation": draw.either("relu", "tanh", "softmax", "log_softmax")})
    return arguments | draw.either({}, {}, {"use_bias": False})


def laid_out(x: np.ndarray, arguments: dict[str, Any]) -> np.ndarray:
    """``x`` (batch, spatial ..., channels) in the layout of the arguments."""
    first = arguments.get("data_format") == "channels_first"
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if first else x


def amounts(draw: Draw, rank: int) -> Any:
    """What to crop or to pad, in each of the forms that Keras takes."""
    if rank == 1:
        return draw.either(draw.size(0, 2), draw.sizes(2, 0, 2))
    mixed = tuple(draw.either(draw.size(0, 2), draw.sizes(2, 0, 2), list(draw.sizes(2, 0, 2))) for _ in range(rank))
    return draw.either(draw.size(0, 2), draw.sizes(rank, 0, 2), mixed, list(mixed))


def arguments_of(kind: str, draw: Draw) -> dict[str, Any]:
    """Random arguments of a layer that moves values."""
    rank = rank_of(kind)
    arguments: dict[str, Any] = {}
    if kind.startswith("UpSampling"):
        arguments["size"] = draw.size(1, 4) if rank == 1 else draw.either(draw.size(1, 4), draw.sizes(rank, 1, 4))
    else:
        arguments["cropping" if kind.startswith("Cropping") else "padding"] = amounts(draw, rank)
    if draw.size(0, 4) == 0:
        arguments = {}
    if kind not in ("Cropping1D", "UpSampling1D"):
        arguments |= draw.either({}, {"data_format": draw.either("channels_first", "channels_last")})
    if kind == "UpSampling2D":
        arguments |= draw.either({}, {"interpolation": draw.either("nearest", "bilinear", "Bilinear")})
    return arguments


def listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: listed(one) for key, one in value.items()}
    return [listed(one) for one in value] if isinstance(value, (list, tuple)) else value


def assert_same_face(mine: Any, theirs: Any, shape: tuple[int, ...]) -> None:
    """Configs, and output shapes of known and of unknown sizes."""
    expected = {key: listed(value) for key, value in theirs.get_config().items() if key not in ("name", "dtype")}
    found = mine.get_config()
    assert {key: found[key] for key in expected if isinstance(expected[key], (int, float, str, list))} == {
        key: value for key, value in expected.items() if isinstance(value, (int, float, str, list))
    }
    assert set(found) >= set(expected)
    for sizes in (shape, (None, *shape[1:]), tuple(size if place == 1 else None for place, size in enumerate(shape))):
        assert tuple(mine.compute_output_shape(sizes)) == tuple(theirs.compute_output_shape(sizes)), sizes


def assert_rows_alone(layer: Any, x: np.ndarray) -> None:
    """The bits of a row do not depend on the batch."""
    whole = layer(x)
    for row in range(len(x)):
        np.testing.assert_array_equal(layer(x[row : row + 1]), whole[row : row + 1])


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("kind", MOVING)
def test_layers_that_move_values(keras, kind, seed):
    rank = rank_of(kind)
    draw = Draw(seed, rank, len(kind))
    arguments, dtype = arguments_of(kind, draw), draw.either("float32", "float32", "float64")
    values = draw.numbers(draw.size(1, 4), *draw.sizes(rank, 5, (30, 11, 7)[rank - 1]), draw.size(1, 5), dtype=dtype)
    values[draw.random.random(values.shape) < 0.02] = np.nan
    x = laid_out(values, arguments)
    mine, theirs = (getattr(module, kind)(dtype=dtype, **arguments) for module in (layers, keras.layers))
    found, expected = mine(x), np.asarray(theirs(x))
    assert found.dtype == expected.dtype == np.dtype(dtype)
    assert not np.shares_memory(found, x)
    if dtype == "float64" and mine.get_config().get("interpolation") == "bilinear":  # Keras's is one of float32
        oracle.assert_close(found, expected, oracle.STRICT * (1 + np.abs(expected)), f"{arguments}")
    else:
        np.testing.assert_array_equal(found, expected, f"{arguments}")
    assert_same_face(mine, theirs, x.shape)
    assert_rows_alone(mine, x)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("Cropping1D", {"cropping": (1, 2, 3)}),
        ("Cropping1D", {"cropping": (1, -1)}),
        ("Cropping2D", {"cropping": -1}),
        ("Cropping2D", {"cropping": (1, 2, 3)}),
        ("Cropping2D", {"cropping": (1, (2, 3, 4))}),
        ("Cropping2D", {"cropping": "ab"}),
        ("Cropping3D", {"cropping": (1, 2)}),
        ("Cropping3D", {"cropping": (1, 2, (1, -2))}),
        ("Cropping3D", {"cropping": None}),
        ("ZeroPadding1D", {"padding": (1, 2, 3)}),
        ("ZeroPadding2D", {"padding": (1, 2, 3)}),
        ("ZeroPadding2D", {"padding": (1, -2)}),
        ("ZeroPadding2D", {"padding": 1.5}),
        ("ZeroPadding3D", {"padding": ((1, 2), (3, 4))}),
        ("UpSampling1D", {"size": 0}),
        ("UpSampling2D", {"size": (1, 2, 3)}),
        ("UpSampling2D", {"size": (0, 2)}),
        ("UpSampling3D", {"size": -2}),
    ],
    ids=str,
)
def test_arguments_that_keras_refuses(keras, kind, arguments):
    for module in (keras.layers, layers):
        with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`|of {next(iter(arguments))}`"):
            getattr(module, kind)(**arguments)


@pytest.mark.parametrize(("kind", "cropping"), [("Cropping1D", (1, 2)), ("Cropping2D", ((0, 0), (1, 2)))])
def test_cropping_has_to_leave_something(keras, kind, cropping):
    x = np.ones((2, *(3,) * rank_of(kind), 1), "float32")
    for module in (keras.layers, layers):
        layer = getattr(module, kind)(cropping)
        for call in (lambda layer=layer: layer(x), lambda layer=layer: layer.compute_output_shape(x.shape)):
            with pytest.raises(ValueError, match=r"smaller than the (input length|corresponding spatial dimension)"):
                call()


def test_interpolations_that_there_are_not(keras):
    x = np.ones((1, 2, 2, 1), "float32")
    for module in (keras.layers, layers):
        with pytest.raises(ValueError, match="Invalid value for argument `interpolation`"):
            module.UpSampling2D(2, interpolation="linear")(x)
    for name in ("area", "bicubic", "lanczos3", "lanczos5"):
        keras.layers.UpSampling2D(2, interpolation=name)(x)
        with pytest.raises(NotImplementedError, match=name):
            layers.UpSampling2D(2, interpolation=name)


@pytest.mark.parametrize("seed", range(40))
def test_root_mean_squares(keras, seed):
    draw = Draw(seed, 7)
    rank, dtype = draw.size(2, 5), draw.either("float32", "float64")
    x = draw.numbers(draw.size(1, 5), *draw.sizes(rank - 1, 1, (300, 30, 9, 6)[rank - 2]), dtype=dtype)
    x *= 10.0 ** draw.size(-4, 4)
    # what is normalized over is at the end, as scale goes with the last axes alone
    count = draw.size(1, rank - 1)
    axes = draw.either(list(range(rank - count, rank)), list(range(-count, 0)), list(range(-count, 0))[::-1])
    axis = draw.either(axes, tuple(axes), -1, rank - 1)
    arguments = draw.either({}, {"axis": axis}, {"axis": axis, "epsilon": draw.either(1e-3, 0.5)})
    mine, theirs = (module.RMSNormalization(dtype=dtype, **arguments) for module in (layers, keras.layers))
    assert_same_face(mine, theirs, x.shape)
    theirs.build(x.shape)
    mine.build((None, *x.shape[1:]))
    weights = [draw.numbers(*weight.shape) for weight in theirs.get_weights()]
    for layer in (mine, theirs):
        layer.set_weights(weights)
    found, expected = mine(x), np.asarray(theirs(x))
    assert found.dtype == expected.dtype == np.dtype(dtype)
    unit = 1.0 if dtype == "float32" else 1e-8
    oracle.assert_close(found, expected, unit * oracle.STRICT * (1 + np.abs(expected)), f"{arguments}")
    assert_rows_alone(mine, x)
    if mine.per_step and rank == 3:
        for step in range(x.shape[1]):
            np.testing.assert_array_equal(mine.frozen()(x[:, step]), found[:, step])


@pytest.mark.parametrize(
    ("axis", "shape"), [(1, (2, 3, 4)), ([-1, 1], (2, 3, 4)), (1, (2, 3, 1)), ((1, 3), (2, 3, 4, 5))], ids=str
)
def test_a_scale_that_does_not_go_with_the_last_axes(keras, axis, shape):
    x = np.ones(shape, "float32")
    with pytest.raises(ValueError, match="last axes"):
        layers.RMSNormalization(axis)(x)
    theirs = keras.layers.RMSNormalization(axis)
    if shape[-1] == 1:  # Keras gives more than it says it will
        assert theirs(x).shape != theirs.compute_output_shape(shape)
        return
    with pytest.raises(Exception, match="Incompatible shapes"):
        theirs(x)


def test_axes_that_are_not_there():
    for axis in (3, -4, (1, 3)):
        with pytest.raises(ValueError, match="Invalid axis"):
            layers.RMSNormalization(axis)(np.ones((2, 3, 4), "float32"))


def test_a_scale_of_an_axis_before_the_last(keras):
    """Keras multiplies the last axis by it, where the sizes allow that."""
    draw = Draw(3)
    x = draw.numbers(2, 4, 4)
    mine, theirs = (module.RMSNormalization(axis=1) for module in (layers, keras.layers))
    for layer in (mine, theirs):
        layer.build(x.shape)
        layer.set_weights([np.arange(1, 5)])
    expected = np.asarray(theirs(x))
    oracle.assert_close(mine(x), expected, oracle.STRICT * (1 + np.abs(expected)))
    assert_rows_alone(mine, x)


def with_weights(draw: Draw, x: np.ndarray, *made: Any) -> None:
    """Builds the layers and gives them the same random weights."""
    for layer in made:
        layer.build(x.shape)
    weights = [draw.numbers(*weight.shape) for weight in made[0].get_weights()]
    for layer in made:
        layer.set_weights(weights)


TRANSPOSED = {"Conv1DTranspose": 1, "Conv2DTranspose": 2, "Conv3DTranspose": 3}


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", TRANSPOSED)
def test_transposed_convolutions(keras, kind, seed):
    rank = TRANSPOSED[kind]
    draw = Draw(seed, rank, 5)
    arguments, dtype = arguments_of_transposed(rank, draw), draw.either("float32", "float32", "float64")
    x = draw.numbers(draw.size(1, 4), *draw.sizes(rank, 1, (40, 9, 5)[rank - 1]), draw.size(1, 20), dtype=dtype)
    first, mine, theirs = (
        getattr(module, kind)(dtype=dtype, **arguments, **options)
        for module, options in ((layers, {"data_format": "channels_first"}), (layers, {}), (keras.layers, {}))
    )
    with_weights(draw, x, theirs, mine)
    found, expected = mine(x), np.asarray(theirs(x))
    assert found.dtype == expected.dtype == np.dtype(dtype)
    unit = 1.0 if dtype == "float32" else 1e-8
    oracle.assert_close(found, expected, unit * oracle.LOOSE * (1 + np.abs(expected)), f"{arguments}")
    assert_same_face(mine, theirs, x.shape)
    assert_rows_alone(mine, x)
    swapped = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    first.build(swapped.shape)
    first.set_weights(mine.get_weights())
    y = first(swapped)
    assert first.compute_output_shape(swapped.shape) == y.shape
    if arguments.get("activation") not in ("softmax", "log_softmax"):  # those are over the last axis
        np.testing.assert_array_equal(np.moveaxis(y, 1, -1), found)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", TRANSPOSED)
def test_dilated_transposed_convolutions(keras, kind, seed):
    """TensorFlow has them on a GPU only: a kernel with zeros between its values says the same."""
    rank = TRANSPOSED[kind]
    draw = Draw(seed, rank, 6)
    window, dilation = draw.sizes(rank, 1, 4), draw.sizes(rank, 1, 3)
    options = {"padding": draw.either("valid", "same"), "use_bias": draw.either(True, False)}
    x = draw.numbers(draw.size(1, 3), *draw.sizes(rank, 1, (20, 7, 4)[rank - 1]), draw.size(1, 5))
    mine = getattr(layers, kind)(4, window, dilation_rate=dilation, **options)
    with_weights(draw, x, mine)
    kernel, *bias = mine.get_weights()
    wide = np.zeros((*((size - 1) * step + 1 for size, step in zip(window, dilation, strict=True)), *kernel.shape[-2:]))
    wide[tuple(slice(None, None, step) for step in dilation)] = kernel
    theirs = getattr(keras.layers, kind)(4, wide.shape[:rank], **options)
    theirs.build(x.shape)
    theirs.set_weights([wide, *bias])
    expected = np.asarray(theirs(x))
    oracle.assert_close(mine(x), expected, oracle.LOOSE * (1 + np.abs(expected)))
    undone = getattr(keras.layers, kind)(4, window, dilation_rate=dilation, **options)
    assert_same_face(mine, undone, x.shape)
    assert_rows_alone(mine, x)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"filters": 0}, "filters"),
        ({"kernel_size": 0}, "kernel_size"),
        ({"kernel_size": (1, 2, 3, 4)}, "kernel_size"),
        ({"strides": (1, 0)}, "strides"),
        ({"padding": "causal"}, "padding"),
        ({"padding": "full"}, "padding"),
        (
            {"strides": 2, "dilation_rate": (1, 2)},
            "`strides > 1` not supported in conjunction with `dilation_rate > 1`",
        ),
        ({"strides": (3, 2), "output_padding": 2}, "must be strictly less than `strides`"),
        ({"output_padding": (0, -1)}, "output_padding"),
    ],
    ids=str,
)
def test_transposed_convolutions_refuse_what_keras_refuses(keras, arguments, says):
    for kind, rank in TRANSPOSED.items():
        pairs = {
            key: (value[0], *value)[-rank:]
            for key, value in arguments.items()
            if isinstance(value, tuple) and len(value) == 2
        }
        for module in (keras.layers, layers):
            with pytest.raises(ValueError, match=says):
                getattr(module, kind)(**{"filters": 2, "kernel_size": 3, **arguments, **pairs})


def test_what_tensorflow_does_not_run_is_refused(keras):
    """The size that Keras says these have is not one that a convolution takes the input's size from."""
    for kind, rank in TRANSPOSED.items():
        for window, strides in ((2, 1), (2, 3), (4, 2)):
            options = {"strides": strides, "padding": "same", "output_padding": 0}
            with pytest.raises(ValueError, match="even size"):
                getattr(layers, kind)(2, window, **options)
            with pytest.raises(Exception, match="out_backprop doesn't match"):
                getattr(keras.layers, kind)(2, window, **options)(np.ones((1, *(5,) * rank, 2), "float32"))
    with pytest.raises(ValueError, match="no groups"):
        layers.Conv2DTranspose(4, 2, groups=2)


def test_transposed_convolutions_are_not_streamed():
    model = lstmfast.Sequential([lstmfast.Input((None, 3)), layers.Conv1DTranspose(2, 1)])
    with pytest.raises(ValueError, match=r"conv1d_transpose.* cannot be streamed"):
        model.stream()


ADAPTIVE = [f"Adaptive{kind}Pooling{rank}D" for kind in ("Average", "Max") for rank in (1, 2, 3)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ADAPTIVE)
def test_adaptive_pooling(keras, kind, seed):
    rank = rank_of(kind)
    draw = Draw(seed, rank, 7)
    shape = (draw.size(1, 3), *draw.sizes(rank, 1, (60, 14, 7)[rank - 1]), draw.size(1, 5))
    size = draw.either(draw.size(1, 9), draw.sizes(rank, 1, 9), list(draw.sizes(rank, 1, 9)))
    arguments = {"output_size": size, **draw.either({}, {"data_format": "channels_first"})}
    x = laid_out(draw.numbers(*shape), arguments)
    mine, theirs = (getattr(module, kind)(**arguments) for module in (layers, keras.layers))
    found, expected = mine(x), np.asarray(theirs(x))
    oracle.assert_close(found, expected, oracle.STRICT * (1 + np.abs(expected)), f"{arguments} {x.shape}")
    assert found.flags.c_contiguous
    assert_same_face(mine, theirs, x.shape)
    assert_rows_alone(mine, x)


def test_adaptive_pooling_says_what_does_not_fit():
    with pytest.raises(ValueError, match="output_size"):
        layers.AdaptiveMaxPooling2D((2, 3, 4))
    with pytest.raises(ValueError, match="nothing to pool"):
        layers.AdaptiveMaxPooling1D(2)(np.zeros((1, 0, 3)))


SAVED = [kind for kind in MOVING if not kind.endswith("1D")] + [*TRANSPOSED, *ADAPTIVE, "RMSNormalization"]
OF_KERAS_3 = {*ADAPTIVE, "RMSNormalization"}


def test_what_keras_3_alone_has(tf_keras):
    assert {kind for kind in SAVED if not hasattr(tf_keras.layers, kind)} == OF_KERAS_3


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in ("keras", "tf_keras") for kind in SAVED if name == "keras" or kind not in OF_KERAS_3],
)
def test_files_of_both_versions_of_keras(request, name, kind, tmp_path):
    framework = request.getfixturevalue(name)
    for seed in range(3):
        draw = Draw(seed, len(kind))
        rank = TRANSPOSED.get(kind) or (2 if kind == "RMSNormalization" else rank_of(kind))
        arguments = arguments_of_transposed(rank, draw) if kind in TRANSPOSED else {}
        if kind in MOVING:
            arguments = arguments_of(kind, draw)
        elif kind in ADAPTIVE:
            arguments = {"output_size": draw.size(1, 5)}
        shape = (*draw.sizes(rank, 6, 8), 6)
        theirs = framework.Sequential([framework.Input(shape), getattr(framework.layers, kind)(**arguments)])
        theirs.set_weights([draw.numbers(*weight.shape) for weight in theirs.get_weights()])
        x = draw.numbers(2, *shape)
        expected = np.asarray(theirs(x))
        for suffix in (".keras", ".h5"):
            theirs.save(tmp_path / f"m{suffix}")
        for mine in (*map(lstmfast.load_model, sorted(tmp_path.iterdir())), lstmfast.from_keras(theirs)):
            oracle.assert_close(mine(x), expected, oracle.LOOSE * (1 + np.abs(expected)), f"{arguments}")
            assert type(mine.layers[-1]) is getattr(layers, kind)
            assert mine.output_shape == tuple(theirs.output_shape)
