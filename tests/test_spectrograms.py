"""Spectrograms against live Keras: every mode and argument, alone and before recurrent layers in files."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from test_grids_against_keras import Draw, assert_rows_alone, listed

import lstmfast
from lstmfast import layers

MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


def stft_arguments(draw: Draw, mode: str) -> dict[str, Any]:
    length = draw.size(2, 40)
    arguments: dict[str, Any] = {"mode": mode, "frame_length": length, "padding": draw.either("valid", "same")}
    window = draw.either("hann", "hamming", "blackman", "boxcar", "blackmanharris", None, [*draw.numbers(length)])
    arguments |= draw.either({}, {"window": window, "periodic": draw.either(True, False)})
    arguments |= draw.either({}, {"frame_step": draw.size(1, length)})
    arguments |= draw.either({}, {"fft_length": length + draw.size(0, 40)})
    arguments |= draw.either({}, {"scaling": draw.either("density", "spectrum", None)})
    return arguments | draw.either({}, {"expand_dims": True})


def assert_same_face(mine: Any, theirs: Any, shape: tuple[int, ...]) -> None:
    """Configs, and output shapes with and without a batch size and a number of samples."""
    found, expected = (listed(layer.get_config()) for layer in (mine, theirs))
    assert {key: found[key] for key in expected if key not in ("name", "dtype")} == {
        key: value for key, value in expected.items() if key not in ("name", "dtype")
    }
    samples = 2 if mine.data_format == "channels_first" else 1
    for unknown in ((), (0,), (0, samples)):
        sizes = tuple(None if place in unknown else size for place, size in enumerate(shape))
        assert tuple(mine.compute_output_shape(sizes)) == tuple(theirs.compute_output_shape(sizes)), sizes


def assert_close_in_rounding(found: Any, theirs: list[Any], what: str, double: bool) -> None:
    """Within what rounding does to Keras's own result, or to float32 results of that size."""
    single, exact = (np.asarray(one) for one in theirs)
    expected, unit = (exact, 1e-8) if double else (single, 1.0)
    bound = np.fmax(oracle.rounding(single, exact, unit), unit * oracle.LOOSE * (1 + np.abs(exact)))
    oracle.assert_close(found, expected, bound, what)


@pytest.mark.filterwarnings("ignore:.fft_length")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", MODES)
def test_stft_spectrograms(keras, mode, seed):
    draw = Draw(seed, MODES.index(mode), 1)
    arguments, double = stft_arguments(draw, mode), seed % 3 == 2
    x = draw.numbers(draw.size(1, 3), draw.size(50, 200), draw.size(1, 3), dtype="float64")
    mine = layers.STFTSpectrogram(dtype="float64" if double else "float32", **arguments)
    theirs = [keras.layers.STFTSpectrogram(dtype=dtype, **arguments) for dtype in ("float32", "float64")]
    found, expected = mine(x), [np.asarray(layer(x.astype(layer.dtype))) for layer in theirs]
    for ours, keras_s in zip(mine.get_weights(), theirs[double].get_weights(), strict=True):
        oracle.assert_close(ours, keras_s, 1e-14 if double else 5e-7, f"{arguments}")
    mine.set_weights(theirs[double].get_weights())
    theirs[not double].set_weights(theirs[double].get_weights())
    found, expected = mine(x), [np.asarray(layer(x.astype(layer.dtype))) for layer in theirs]
    assert found.dtype == mine.dtype
    if mode == "angle":  # on the circle, and where there is something whose angle it is
        parts = layers.STFTSpectrogram(dtype=mine.dtype, **{**arguments, "mode": "stft", "expand_dims": True})
        parts.build(x.shape)
        parts.set_weights(mine.get_weights())
        real, imaginary = np.split(parts(x), 2, axis=2)
        size = np.hypot(real, imaginary)
        size = size if arguments.get("expand_dims") else np.moveaxis(size, 3, 2).reshape(found.shape)
        found, expected = np.exp(1j * found), [np.exp(1j * one) for one in expected]
        oracle.assert_close(np.abs(found - expected[double]), np.zeros(found.shape), 2e-5 / size)
    else:
        assert_close_in_rounding(found, expected, f"{arguments}", double)
    assert_same_face(mine, theirs[double], x.shape)
    assert_rows_alone(mine, x)


@pytest.mark.parametrize("expand", [False, True])
def test_channels_first_of_stft_spectrograms(keras, expand):
    """Keras on a CPU does not convolve such: its other layout says the same."""
    x = Draw(1).numbers(2, 3, 100)
    options: dict[str, Any] = {"mode": "stft", "frame_length": 20, "expand_dims": expand}
    mine = layers.STFTSpectrogram(data_format="channels_first", **options)
    theirs = keras.layers.STFTSpectrogram(data_format="channels_first", **options)
    expected = np.asarray(keras.layers.STFTSpectrogram(**options)(np.moveaxis(x, 1, -1)))
    expected = np.moveaxis(expected, -1, 1) if expand else expected.swapaxes(1, 2)
    oracle.assert_close(mine(x), expected, 1e-5)
    assert_same_face(mine, theirs, x.shape)


def mel_arguments(draw: Draw) -> dict[str, Any]:
    size = draw.size(8, 60)
    length = draw.size(4, size)
    arguments: dict[str, Any] = {"fft_length": size, "sequence_stride": draw.size(1, 40)}
    arguments |= {"num_mel_bins": draw.size(1, 12), "sampling_rate": draw.either(8000, 16000)}
    arguments |= draw.either({}, {"sequence_length": length})
    own = [*np.abs(draw.numbers(arguments.get("sequence_length", size)))]
    arguments |= draw.either({}, {"window": draw.either("hann", "hamming", None, own)})
    arguments |= draw.either({}, {"min_freq": 100.0, "max_freq": draw.either(3000.0, 3999)})
    arguments |= draw.either({}, {"power_to_db": False}, {"top_db": 20.0, "ref_power": -3.0, "min_power": 1e-3})
    return arguments | draw.either({}, {"mag_exp": draw.either(1.0, 1.5)})


@pytest.mark.parametrize("seed", range(30))
def test_mel_spectrograms(keras, seed):
    draw = Draw(seed, 2)
    arguments, double = mel_arguments(draw), seed % 3 == 2
    x = draw.numbers(*draw.either((), (3,), (1,)), draw.size(40, 300), dtype="float64")
    double = double and arguments.get("power_to_db") is False  # Keras's decibels are not of float64
    mine, theirs = (
        module.MelSpectrogram(dtype="float64" if double else "float32", **arguments)
        for module in (layers, keras.layers)
    )
    found, expected = mine(x), np.asarray(theirs(x))
    assert found.dtype == expected.dtype == mine.dtype
    # the shares of the bins are float32 everywhere, and Keras in a graph gives them otherwise than by itself
    oracle.assert_close(found, expected, 5 * oracle.LOOSE * (1 + np.abs(expected)), f"{arguments}")
    assert mine.compute_output_shape(x.shape) == found.shape
    assert {key: mine.get_config()[key] for key in arguments} == arguments
    if not mine.power_to_db and x.ndim > 1:
        assert_rows_alone(mine, x)


def test_decibels_are_of_the_whole_batch(keras):
    x = np.stack([Draw(1).numbers(400), 1e-3 * Draw(2).numbers(400)])
    options: dict[str, Any] = {"fft_length": 64, "sequence_stride": 32, "num_mel_bins": 8, "top_db": 30.0}
    model = keras.Sequential([keras.Input((400,)), keras.layers.MelSpectrogram(**options)])
    mine = lstmfast.from_keras(model)
    for size in (1, 2):
        expected = model.predict(x, batch_size=size, verbose=0)
        oracle.assert_close(mine.predict(x, batch_size=size), expected, oracle.LOOSE * (1 + np.abs(expected)))
    assert not np.array_equal(mine.predict(x, batch_size=1), mine.predict(x, batch_size=2))
    clips = np.stack([x, 0.1 * x[::-1], 10 * x], axis=1)
    model = keras.Sequential(
        [keras.Input((3, 400)), keras.layers.TimeDistributed(keras.layers.MelSpectrogram(**options))]
    )
    expected = model.predict(clips, verbose=0)
    oracle.assert_close(lstmfast.from_keras(model).predict(clips), expected, oracle.LOOSE * (1 + np.abs(expected)))


@pytest.mark.parametrize("name", ["STFTSpectrogram", "MelSpectrogram"])
def test_spectrograms_before_recurrent_layers(keras, name, tmp_path):
    if name == "MelSpectrogram":
        window = np.hanning(24).astype("float32")
        first = [keras.layers.MelSpectrogram(32, 16, 24, window, num_mel_bins=6), keras.layers.Permute((2, 1))]
        first = [keras.Input((300,)), *first]
    else:
        first = [keras.Input((300, 2)), keras.layers.STFTSpectrogram(frame_length=32, trainable=False)]
    model = keras.Sequential([*first, keras.layers.GRU(4), keras.layers.Dense(2)])
    x = Draw(3).numbers(4, *model.input_shape[1:])
    expected = np.asarray(model(x))
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"m{suffix}")
    found = [*map(lstmfast.load_model, sorted(tmp_path.iterdir())), lstmfast.from_keras(model)]
    found[-1].save(tmp_path / "back.keras")
    for mine in (*found, keras.models.load_model(tmp_path / "back.keras")):
        oracle.assert_close(np.asarray(mine(x)), expected, oracle.LOOSE * (1 + np.abs(expected)))


def test_spectrograms_say_what_does_not_fit(keras):
    for arguments, says in (
        ({"mode": "phase"}, "Output mode is invalid"),
        ({"frame_length": 8, "frame_step": 9}, "not greater than `frame_length`"),
        ({"frame_length": 8, "frame_step": 0}, "not greater than `frame_length`"),
        ({"frame_length": 8, "fft_length": 7}, "not less than `frame_length`"),
        ({"scaling": "power"}, "Scaling is invalid"),
        ({"padding": "causal"}, "Padding is invalid"),
    ):
        for module in (keras.layers, layers):
            with pytest.raises(ValueError, match=says):
                module.STFTSpectrogram(**arguments)
    with pytest.raises(ValueError, match=r"must be equal to \[frame_length\]"):
        layers.STFTSpectrogram(frame_length=8, window=[1.0, 2.0])(np.ones((1, 20, 1)))
    with pytest.raises(NotImplementedError, match="pass its values"):
        layers.STFTSpectrogram(window="tukey")(np.ones((1, 300, 1)))
    with pytest.raises(ValueError, match="a window of 256 does not fit"):
        layers.STFTSpectrogram()(np.ones((1, 255, 1)))
    with pytest.raises(ValueError, match="must be greater than or equal to"):
        layers.MelSpectrogram(16, sequence_length=17)
    with pytest.raises(ValueError, match="must be one of"):
        layers.MelSpectrogram(16, window="blackman")
    with pytest.raises(ValueError, match=r"must be equal to \[sequence_length\]"):
        layers.MelSpectrogram(16, window=[1.0])
    with pytest.raises(ValueError, match="fft_length"):
        layers.MelSpectrogram(1 << 40)
    for argument in ("sampling_rate", "min_freq", "max_freq", "top_db", "mag_exp", "min_power", "ref_power"):
        for value in ("a", [1.0], {"a": 1}, True):
            with pytest.raises(ValueError, match=f"`{argument}`, expected a number"):
                layers.MelSpectrogram(16, **{argument: value})
    with pytest.raises(ValueError, match="more than 8 samples"):
        layers.MelSpectrogram(16)(np.ones((1, 8)))
