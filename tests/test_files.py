"""Files that are not what they seem, and the plain ways to write one: each loads, or says what it is.

All of it starts from the committed files, so that it needs no TensorFlow.
"""

from __future__ import annotations

import inspect
import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import oracle
import pytest
from bits import assert_same_bits
from tutorial_models import TUTORIALS

import lstmfast

KERAS = oracle.GOLDEN / "stacked-relu.keras"
H5 = oracle.GOLDEN / "stacked-relu.h5"
TF_KERAS_H5 = oracle.GOLDEN / "stacked-relu.tf_keras.h5"
X = TUTORIALS["stacked-relu"].inputs()
EXPECTED = lstmfast.load_model(KERAS)(X)


def rewritten(source: Path, target: Path, *, config=None, weights=None, metadata=None, deflate: bool = False) -> Path:
    """A copy of a .keras file; each argument is a function that changes a part of it (None drops the part)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json" and config:
                content = json.dumps(config(json.loads(content))).encode()
            elif name == "metadata.json" and metadata:
                content = json.dumps(metadata(json.loads(content))).encode()
            elif name == "model.weights.h5" and weights:
                buffer = io.BytesIO(content)
                with h5py.File(buffer, "r+") as file:
                    weights(file)
                content = buffer.getvalue()
            new.writestr(name, content, zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED)
    return target


def loaded(path: Path, **options) -> lstmfast.Model | Exception:
    """The model, or what load_model raised of the errors that it may raise."""
    try:
        return lstmfast.load_model(path, **options)
    except (OSError, ValueError, NotImplementedError) as error:
        return error


def test_paths_of_every_kind(tmp_path):
    for path in (KERAS, str(KERAS), os.fspath(KERAS)):
        assert_same_bits(lstmfast.load_model(path)(X), EXPECTED)
    for wrong in (3, None, b"model.keras", object()):
        with pytest.raises(TypeError):
            lstmfast.load_model(wrong)
    with pytest.raises(OSError, match=r"nowhere\.keras"):
        lstmfast.load_model(tmp_path / "nowhere.keras")
    with pytest.raises(OSError, match="directory"):
        lstmfast.load_model(tmp_path)


def test_content_counts_and_not_the_name(tmp_path):
    for source, name in ((KERAS, "a.h5"), (H5, "b.keras"), (TF_KERAS_H5, "c.keras"), (KERAS, "d"), (H5, "e.bin")):
        shutil.copy(source, tmp_path / name)
        oracle.assert_close(lstmfast.load_model(tmp_path / name)(X), EXPECTED, oracle.STRICT, name)


def test_keras_s_arguments_are_accepted():
    model = lstmfast.load_model(KERAS, custom_objects=None, compile=False, safe_mode=True)
    assert_same_bits(model(X), EXPECTED)


def test_a_compressed_archive_loads(tmp_path):
    path = rewritten(KERAS, tmp_path / "deflated.keras", deflate=True)
    assert_same_bits(lstmfast.load_model(path)(X), EXPECTED)


def test_a_newer_keras_loads_with_a_warning(tmp_path):
    path = rewritten(KERAS, tmp_path / "new.keras", metadata=lambda data: {**data, "keras_version": "9.1.0"})
    with pytest.warns(UserWarning, match=r"new\.keras.*9\.1\.0"):
        model = lstmfast.load_model(path)
    assert_same_bits(model(X), EXPECTED)


@pytest.mark.parametrize("version", [None, "", "three", 3, "3", "2.15.0", "3.0.0"])
def test_any_version_text_is_survived(version, tmp_path):
    path = rewritten(KERAS, tmp_path / "model.keras", metadata=lambda data: {**data, "keras_version": version})
    result = loaded(path)
    if isinstance(result, Exception):
        assert "model.keras" in str(result)
    else:
        assert result(X).shape == EXPECTED.shape


IMPOSTORS = {
    "empty": (b"", OSError, "empty"),
    "a Git-LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        OSError,
        "Git-LFS pointer",
    ),
    "an HTML page": (b"\n<!DOCTYPE html><html><body>Not found</body></html>", OSError, "web page"),
    "an XML error of a storage service": (b"<?xml version='1.0'?><Error/>", OSError, "web page"),
    "JSON": (b'{"class_name": "Sequential"}', OSError, "JSON"),
    "a list of shards": (b'{"metadata": {"total_size": 8}, "weight_map": {}}', OSError, "several files"),
    "text": (b"hello", OSError, "neither"),
    "zeros": (bytes(10000), OSError, "neither"),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(100), OSError, "neither"),
    "the beginning of a zip": (b"PK\x03\x04" + bytes(50), OSError, "truncated"),
    "an empty zip": (b"PK\x05\x06" + bytes(18), OSError, "zip"),
    "the beginning of an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(50), OSError, "truncated"),
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("kind", IMPOSTORS)
def test_an_impostor_is_named(kind, suffix, tmp_path):
    content, error, says = IMPOSTORS[kind]
    path = tmp_path / f"impostor{suffix}"
    path.write_bytes(content)
    with pytest.raises(error, match=f"(?is)impostor.*{says}"):
        lstmfast.load_model(path)


def test_a_checkpoint_is_named(tmp_path):
    """TensorFlow writes several files, and none of the name that is given."""
    (tmp_path / "cp.index").write_bytes(b"")
    model = lstmfast.load_model(KERAS)
    for load in (lstmfast.load_model, model.load_weights):
        with pytest.raises(OSError, match=r"cp' is a TensorFlow checkpoint.*weights\.h5"):
            load(tmp_path / "cp")


def zip_of(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_json", ".json"), content)
    return path


def test_other_zips_are_named(tmp_path):
    with pytest.raises(OSError, match="PyTorch"):
        lstmfast.load_model(zip_of(tmp_path / "a.keras", **{"archive/data.pkl": b""}))
    with pytest.raises(OSError, match=r"config\.json"):
        lstmfast.load_model(zip_of(tmp_path / "b.keras", readme=b"hello"))
    with zipfile.ZipFile(KERAS) as archive:
        config = archive.read("config.json")
    with pytest.raises(ValueError, match="without weights"):
        lstmfast.load_model(zip_of(tmp_path / "c.keras", config_json=config))


def test_weights_without_an_architecture(tmp_path):
    path = tmp_path / "only.weights.h5"
    with zipfile.ZipFile(KERAS) as archive:
        path.write_bytes(archive.read("model.weights.h5"))
    with pytest.raises(ValueError, match=r"only\.weights\.h5.*weights"):
        lstmfast.load_model(path)
    legacy = tmp_path / "legacy.h5"
    with h5py.File(H5) as old, h5py.File(legacy, "w") as new:
        for name in old["model_weights"]:
            old["model_weights"].copy(name, new)
        for key, value in old["model_weights"].attrs.items():
            new.attrs[key] = value
    with pytest.raises(ValueError, match=r"legacy\.h5.*weights"):
        lstmfast.load_model(legacy)


@pytest.mark.parametrize("source", [KERAS, H5, TF_KERAS_H5], ids=lambda path: path.name)
def test_a_truncated_file_is_an_os_error(source, tmp_path):
    whole = source.read_bytes()
    path = tmp_path / "short"
    for length in np.linspace(9, len(whole) - 1, 40, dtype=int):
        path.write_bytes(whole[:length])
        result = loaded(path)
        if isinstance(result, Exception):
            assert isinstance(result, OSError), repr(result)
            assert "short" in str(result)
        else:  # HDF5 pads its files: the last bytes of some may be missing
            assert length > 0.9 * len(whole)
            assert_same_bits(result(X), lstmfast.load_model(source)(X))


def change_layer(index: int, **changes):
    def change(config):
        config["config"]["layers"][index]["config"].update(changes)
        return config

    return change


def rename_class(index: int, class_name: str, **entry):
    def change(config):
        config["config"]["layers"][index].update(class_name=class_name, registered_name=None, **entry)
        return config

    return change


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (rename_class(1, "FancyLSTM"), NotImplementedError, ["'a'", "FancyLSTM", "model.keras", "custom_objects"]),
        (rename_class(2, "Lambda"), NotImplementedError, ["'b'", "Lambda", "model.keras", "code"]),
        (change_layer(1, activation="fancy"), (NotImplementedError, ValueError), ["'a'", "fancy", "model.keras"]),
        (change_layer(1, units=9), ValueError, ["'a'", "(3, 36)", "(3, 40)", "model.keras"]),
        (change_layer(1, units=0), ValueError, ["'a'", "units", "0", "model.keras"]),
        (change_layer(1, units="ten"), ValueError, ["'a'", "units", "ten", "model.keras"]),
        (change_layer(1, return_sequences=False), ValueError, ["ndim", "model.keras"]),
        (change_layer(1, use_bias=False), ValueError, ["'a'", "model.keras"]),
        (change_layer(1, surprise=7), NotImplementedError, ["'a'", "surprise", "model.keras"]),
        (lambda config: {**config, "class_name": "MyModel"}, NotImplementedError, ["MyModel", "model.keras"]),
        (lambda config: {"class_name": "Sequential"}, ValueError, ["model.keras"]),
        (lambda config: {}, (ValueError, NotImplementedError), ["model.keras"]),
    ],
)
def test_what_a_config_gets_wrong_is_named(change, error, says, tmp_path):
    path = rewritten(KERAS, tmp_path / "model.keras", config=change)
    with pytest.raises(error) as caught:
        lstmfast.load_model(path)
    for part in says:
        assert part in str(caught.value)


def test_weights_that_do_not_fit_the_config_are_named(tmp_path):
    def wrong_shape(file):
        del file["layers/lstm/cell/vars/0"]
        file["layers/lstm/cell/vars/0"] = np.zeros((4, 40), "float32")

    def missing(file):
        del file["layers/lstm_1"]

    def one_missing(file):
        del file["layers/lstm/cell/vars/2"]

    for change, says in (
        (wrong_shape, ["(3, 40)", "(4, 40)", "'a'"]),
        (missing, ["LSTM"]),
        (one_missing, ["'a'"]),
    ):
        path = rewritten(KERAS, tmp_path / "model.keras", weights=change)
        with pytest.raises(ValueError, match=r"model\.keras") as caught:
            lstmfast.load_model(path)
        for part in says:
            assert part in str(caught.value)


def test_custom_objects_supply_what_the_file_cannot(tmp_path):
    class Doubled(lstmfast.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    def replace_dropout(config):
        config["config"]["layers"][4] = {
            "module": "somewhere",
            "class_name": "Doubled",
            "registered_name": "mine>Doubled",
            "config": {"name": "d", "trainable": True, "dtype": "float32"},
        }
        return config

    path = rewritten(KERAS, tmp_path / "custom.keras", config=replace_dropout)
    with pytest.raises(NotImplementedError, match="Doubled"):
        lstmfast.load_model(path)
    model = lstmfast.load_model(path, custom_objects={"Doubled": Doubled})
    plain = lstmfast.load_model(KERAS)
    hidden = lstmfast.Sequential(plain.layers[:3])
    oracle.assert_close(model(X), plain.layers[-1](2 * hidden(X)), oracle.STRICT)


def test_loading_leaves_nothing_open_or_written(tmp_path):
    path = tmp_path / "model.keras"
    shutil.copy(KERAS, path)
    before = path.stat().st_mtime_ns
    model = lstmfast.load_model(path)
    assert path.stat().st_mtime_ns == before
    path.unlink()
    assert_same_bits(model(X), EXPECTED)
    assert list(tmp_path.iterdir()) == []


def test_each_load_is_its_own_model():
    first, second = lstmfast.load_model(KERAS), lstmfast.load_model(KERAS)
    first.set_weights([0 * weight for weight in first.get_weights()])
    assert_same_bits(second(X), EXPECTED)


def test_an_archive_without_its_version_is_of_keras_3(tmp_path):
    """Keras never looks for it, and keras_core counted from 0."""

    def change(config):
        config["config"]["layers"][1]["config"]["recurrent_activation"] = "hard_sigmoid"
        return config

    path = rewritten(KERAS, tmp_path / "known.keras", config=change)
    expected, older = lstmfast.load_model(path)(X), lstmfast.load_model(path, keras_version="2.15")(X)
    assert np.abs(expected - older).max() > 1e-5
    for name, metadata in (("none", None), ("empty", {}), ("core", {"keras_version": "0.1.7"})):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / name, "w") as new:
            for member in old.namelist():
                if member != "metadata.json":
                    new.writestr(member, old.read(member))
            if metadata is not None:
                new.writestr("metadata.json", json.dumps(metadata))
        assert_same_bits(lstmfast.load_model(tmp_path / name)(X), expected)


@pytest.mark.parametrize("version", ["latest", "v3", "keras"])
def test_a_version_that_is_none(version):
    for read in (lstmfast.load_model, lstmfast.explain):
        with pytest.raises(ValueError, match=rf"`keras_version` must be a version.*Received: '{version}'"):
            read(KERAS, keras_version=version)


@pytest.mark.parametrize(
    "filters", [{"compression": "gzip"}, {"compression": "gzip", "shuffle": True, "fletcher32": True}]
)
def test_deflated_weights_load(filters, tmp_path):
    def deflate(file):
        for name in ("layers/lstm/cell/vars/0", "layers/lstm_1/cell/vars/1"):
            values = file[name][()]
            del file[name]
            file.create_dataset(name, data=values, chunks=(2, 7), **filters)

    assert_same_bits(lstmfast.load_model(rewritten(KERAS, tmp_path / "m.keras", weights=deflate))(X), EXPECTED)


def test_deflated_weights_that_are_damaged(tmp_path):
    def damage(file):
        name = "layers/lstm/cell/vars/0"
        del file[name]
        data = file.create_dataset(name, (3, 40), "float32", chunks=(3, 40), compression="gzip")
        data.id.write_direct_chunk((0, 0), b"no such stream")

    with pytest.raises(OSError, match=r"m\.keras.*layers/lstm/cell/vars/0 are damaged"):
        lstmfast.load_model(rewritten(KERAS, tmp_path / "m.keras", weights=damage))


@pytest.mark.parametrize("place", ["model_weights", "model_weights/a"])
def test_weights_that_are_no_group(place, tmp_path):
    shutil.copy(H5, tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        attributes = dict(file[place].attrs)
        del file[place]
        file[place] = np.zeros(3)
        file[place].attrs.update(attributes)
    with pytest.raises(ValueError, match=r"m\.h5.*layer 'a'.* (is|are) missing"):
        lstmfast.load_model(tmp_path / "m.h5")


def test_a_saved_file_is_as_if_written_in_place(tmp_path, monkeypatch):
    model, path = lstmfast.load_model(KERAS), tmp_path / "new.keras"
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)  # it is the whole process's: other threads make files, too
        model.save(path)
    finally:
        monkeypatch.undo()
        os.umask(before)
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        link = tmp_path / "link.keras"
        link.symlink_to(path.name)
        model.save(link)
        assert link.is_symlink()
        assert path.stat().st_mode & 0o777 == 0o604
    assert_same_bits(lstmfast.load_model(path)(X), EXPECTED)


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    model, path = lstmfast.load_model(KERAS), tmp_path / "model.keras"
    path.write_bytes(b"precious")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == b"precious"
    assert [one.name for one in tmp_path.iterdir()] == ["model.keras"]


@pytest.mark.parametrize("name", ["load_model", "model_from_json"])
def test_arguments_have_the_names_of_keras(keras, name):
    theirs = inspect.signature(getattr(keras.models, name)).parameters
    ours = inspect.signature(getattr(lstmfast, name)).parameters
    assert list(ours) == [*theirs, "keras_version"]
    for argument in theirs:
        assert ours[argument].default == theirs[argument].default


def test_the_first_argument_by_its_place_and_by_its_name():
    model = lstmfast.load_model(KERAS)
    assert_same_bits(model(X), EXPECTED)
    assert_same_bits(lstmfast.load_model(filepath=KERAS)(X), EXPECTED)
    assert str(lstmfast.explain(KERAS)) == str(lstmfast.explain(filepath=KERAS))
    text = model.to_json()
    assert lstmfast.model_from_json(text).to_json() == lstmfast.model_from_json(json_string=text).to_json()
