"""Layers of images against live Keras: alone, and in files of models of video."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from test_grids_against_keras import Draw, assert_rows_alone, listed

import lstmfast
from lstmfast import layers
from lstmfast.layers import images

RANDOM = [name for name, cls in vars(images).items() if isinstance(cls, type) and cls.__base__ is images._Augmentation]
# What has no default, by its name.
NEEDED = {"factor": 0.3, "height_factor": 0.2, "width_factor": 0.1}


# What Keras makes a range of.
AS_RANGES = {*NEEDED, "x_factor", "y_factor", "scale", "sigma", "kernel_size"}


def random_layer(module: Any, name: str) -> Any:
    needed = {key: NEEDED[key] for key in NEEDED if f"'{key}'" in str(getattr(images, name).config_keys)}
    if name == "RandomPosterization":
        needed = {"factor": 4}
    return getattr(module, name)(**needed)


def resized(draw: Draw) -> dict[str, Any]:
    arguments = {"height": draw.size(1, 12), "width": draw.size(1, 12), **draw.either({}, {"interpolation": "nearest"})}
    if arguments.get("interpolation"):
        arguments |= draw.either({}, {"antialias": True})
    arguments |= draw.either({}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 2.0})
    return arguments | draw.either({}, {"data_format": "channels_first"})


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", ["Resizing", "CenterCrop"])
def test_sizes(keras, kind, seed):
    draw = Draw(seed, len(kind))
    arguments = resized(draw)
    if kind == "CenterCrop":
        arguments = {key: arguments[key] for key in ("height", "width", "data_format") if key in arguments}
    dtype = "float32" if kind == "CenterCrop" or "fill_value" in arguments else draw.either("float32", "uint8", "int32")
    shape = (draw.size(1, 3), *draw.sizes(2, 1, 14), draw.size(1, 3))
    shape = shape if draw.size(0, 3) else shape[1:]
    x = draw.numbers(*shape) if dtype == "float32" else draw.random.integers(0, 255, shape).astype(dtype)
    if "data_format" in arguments:
        x = np.ascontiguousarray(np.moveaxis(x, -1, -3))
    mine, theirs = (getattr(module, kind)(**arguments) for module in (layers, keras.layers))
    found, expected = mine(x), np.asarray(theirs(x))
    assert found.dtype == expected.dtype
    assert not np.shares_memory(found, x)
    np.testing.assert_array_equal(found, expected, f"{arguments} {x.shape}")
    assert tuple(mine.compute_output_shape(x.shape)) == tuple(theirs.compute_output_shape(x.shape)) == found.shape
    config = theirs.get_config()
    assert {key: mine.get_config()[key] for key in arguments} == {key: config[key] for key in arguments}
    if x.ndim == 4:
        assert_rows_alone(mine, x)


def test_interpolations_that_are_not_exact_are_refused(keras):
    for options in ({"interpolation": "bicubic"}, {"interpolation": "area"}, {"antialias": True}):
        with pytest.raises(NotImplementedError, match="not supported"):
            layers.Resizing(4, 4, **options)
    for options in ({"interpolation": "cubic"}, {"fill_mode": "reflect"}):
        with pytest.raises(ValueError, match="Invalid value for argument"):
            layers.Resizing(4, 4, **options)
    with pytest.raises(ValueError, match="Only one of"):
        layers.Resizing(4, 4, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True)
    with pytest.raises(ValueError, match="TimeDistributed"):
        layers.CenterCrop(2, 2)(np.zeros((1, 2, 4, 4, 3)))


def assert_files_agree(framework: Any, model: Any, x: np.ndarray, folder: Any, suffixes: tuple[str, ...]) -> None:
    """Files and the live model, and what is written of it for Keras 3, give the numbers of `predict`."""
    expected = model.predict(x, verbose=0)
    for suffix in suffixes:
        model.save(folder / f"m{suffix}")
    found = [*map(lstmfast.load_model, sorted(folder.iterdir())), lstmfast.from_keras(model)]
    for mine in found:
        oracle.assert_close(mine.predict(x), expected, oracle.LOOSE * (1 + np.abs(expected)))
    if framework.__name__ == "keras":
        found[-1].save(folder / "back.keras")
        again = framework.models.load_model(folder / "back.keras").predict(x, verbose=0)
        oracle.assert_close(again, expected, oracle.LOOSE * (1 + np.abs(expected)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_models_of_video(request, name, tmp_path):
    framework = request.getfixturevalue(name)
    per_frame = [
        framework.layers.Resizing(8, 9, crop_to_aspect_ratio=True),
        framework.layers.RandomFlip("horizontal"),
        framework.layers.CenterCrop(6, 6),
    ]
    model = framework.Sequential([framework.Input((4, 10, 12, 3))])
    for layer in per_frame:
        model.add(framework.layers.TimeDistributed(layer))
    model.add(framework.layers.ConvLSTM2D(2, 3))
    x = Draw(1).numbers(3, 4, 10, 12, 3)
    assert_files_agree(framework, model, x, tmp_path, (".keras", ".h5"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
def test_random_layers_do_nothing_at_inference(request, name, tmp_path):
    framework = request.getfixturevalue(name)
    known = [one for one in RANDOM if hasattr(framework.layers, one)]
    assert {"RandomFlip", "RandomZoom"} < set(known)
    made = [random_layer(framework.layers, one) for one in known]
    model = framework.Sequential([framework.Input((6, 6, 3)), *made, framework.layers.Flatten()])
    x = np.random.default_rng(3).uniform(0, 1, (4, 6, 6, 3)).astype("float32")
    np.testing.assert_array_equal(model.predict(x, verbose=0), x.reshape(4, -1))
    # Keras 3 cannot write the states of some of them into an .h5 file
    assert_files_agree(framework, model, x, tmp_path, (".keras",) if name == "keras" else (".keras", ".h5"))
    assert name == "tf_keras" or known == RANDOM


@pytest.mark.parametrize("name", RANDOM)
def test_random_layers_take_what_keras_takes(keras, name):
    mine, theirs = (random_layer(module, name) for module in (layers, keras.layers))
    found, expected = listed(mine.get_config()), listed(theirs.get_config())
    assert set(found) >= set(expected)
    for key in set(expected) - {"dtype", "seed", "name", *AS_RANGES}:
        assert found[key] == expected[key], key
    with pytest.raises(NotImplementedError, match="training=True"):
        mine(np.zeros((1, 4, 4, 3)), training=True)


def test_random_crop_is_refused(keras):
    model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.RandomCrop(4, 4)])
    with pytest.raises(NotImplementedError, match="RandomCrop is not supported"):
        lstmfast.from_keras(model)
