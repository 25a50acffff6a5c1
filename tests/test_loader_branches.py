"""Corners of the loader that few files reach: old layouts of weights, odd graphs, refusals and what they say.

Files are made by hand here, from weights that are known, so that no other Keras is needed.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_corpus
import h5py
import hostile
import numpy as np
import pytest
from bits import assert_same_bits
from test_files import KERAS, loaded, rewritten
from tutorial_models import random_weights

import lstmfast
from lstmfast import layers

Arrays = list[np.ndarray[Any, Any]]


# ---- what is written is read ---------------------------------------------------------------------------------------


def corpus_inputs(model: lstmfast.Model) -> Any:
    random = np.random.default_rng(5)
    inputs = [
        random.integers(0, 7, (2, *tensor.shape[1:]))
        if tensor.dtype == "int32"
        else random.random((2, *tensor.shape[1:]))
        for tensor in model.inputs
    ]
    return inputs if len(inputs) > 1 else inputs[0]


@pytest.mark.parametrize("make", fuzz_corpus.MODELS, ids=lambda make: make.__name__)
def test_a_saved_model_is_the_same_model(make, tmp_path):
    model = fuzz_corpus.built(make, lstmfast)
    path = tmp_path / "model.keras"
    model.save(path)
    again = lstmfast.load_model(path)
    x = corpus_inputs(model)
    assert_same_bits(again(x), model(x))
    drawn = lstmfast.model_from_json(model.to_json())
    drawn.load_weights(path)
    assert_same_bits(drawn(x), model(x))
    explained = lstmfast.explain(path)
    assert explained.supported
    assert [name for name, *_ in explained.layers] == [layer.name for layer in model._layers]
    assert "it loads and runs" in str(explained)
    assert "0 problems" in repr(explained)


def test_save_writes_all_or_nothing(tmp_path):
    model = lstmfast.Sequential([lstmfast.Input((2,)), layers.Dense(1)])
    path = tmp_path / "model.keras"
    with pytest.raises(ValueError, match=r"\.keras"):
        model.save(tmp_path / "model.txt")
    model.save(path)
    content = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"model\.keras"):
        model.save(path, overwrite=False)
    assert path.read_bytes() == content
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(OSError, match="folder"):
        model.save(tmp_path / "folder.keras")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder.keras", "model.keras"]


# ---- weights of old layouts ----------------------------------------------------------------------------------------


def legacy_file(
    path: Path,
    version: str | None,
    entries: list[dict[str, Any]],
    weights: dict[str, Arrays],
    backend: str = "tensorflow",
) -> Path:
    """An .h5 file of a Sequential model."""
    config: Any = [{"class_name": entry["class_name"], "config": entry["config"]} for entry in entries]
    config = {"class_name": "Sequential", "config": config}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        if version is not None:
            file.attrs["keras_version"] = version
            file.attrs["backend"] = backend
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([entry["config"]["name"].encode() for entry in entries])
        for entry in entries:
            name = entry["config"]["name"]
            layer = group.create_group(name)
            names = [f"{name}_{number}".encode() for number, _ in enumerate(weights.get(name, []))]
            layer.attrs["weight_names"] = np.array(names, "S40")
            for key, array in zip(names, weights.get(name, []), strict=True):
                layer[key.decode()] = array
    return path


def entry(class_name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": "a", **config}}


def by_gate(arrays: Arrays, gates: int, order: tuple[int, ...]) -> Arrays:
    """Kernel, recurrent kernel and bias as Keras 1 kept them: W, U and b of each gate."""
    parts = [np.split(array, gates, axis=-1) for array in arrays]
    return [part[gate] for gate in order for part in parts]


@pytest.mark.parametrize(("class_name", "gates", "order"), [("LSTM", 4, (0, 2, 1, 3)), ("GRU", 3, (0, 1, 2))])
def test_weights_of_keras_1_by_gate(class_name, gates, order, tmp_path):
    units = 5
    expected = random_weights([(3, gates * units), (units, gates * units), (gates * units,)])
    described = entry(
        class_name,
        output_dim=units,
        batch_input_shape=[None, 4, 3],
        inner_activation="hard_sigmoid",
        input_dtype="float32",
    )
    path = legacy_file(tmp_path / "one.h5", None, [described], {"a": by_gate(expected, gates, order)})
    model = lstmfast.load_model(path)
    for mine, theirs in zip(model.get_weights(), expected, strict=True):
        assert_same_bits(mine, theirs)
    layer = getattr(layers, class_name)
    options = {"reset_after": False} if class_name == "GRU" else {}
    plain = lstmfast.Sequential(
        [lstmfast.Input((4, 3)), layer(units, recurrent_activation="hard_sigmoid_keras2", **options)]
    )
    plain.set_weights(expected)
    x = np.random.default_rng(0).standard_normal((2, 4, 3))
    assert_same_bits(model(x), plain(x))


def to_cudnn(array: np.ndarray[Any, Any], gates: int, order: str) -> np.ndarray[Any, Any]:
    """What CuDNNLSTM would hold for a kernel: the inverse of KERAS.md's rule, gate by gate."""
    turned = [
        part.reshape(part.T.shape, order=order).T if order == "F" else part.T for part in np.split(array, gates, axis=1)
    ]
    return np.concatenate(turned, axis=1)


@pytest.mark.parametrize(("class_name", "gates"), [("CuDNNLSTM", 4), ("CuDNNGRU", 3)])
def test_weights_of_cudnn_layers(class_name, gates, tmp_path):
    units = 4
    kernel, recurrent, bias = random_weights([(3, gates * units), (units, gates * units), (2 * gates * units,)])
    stored = [to_cudnn(kernel, gates, "F"), to_cudnn(recurrent, gates, "C"), bias]
    described = entry(class_name, units=units, batch_input_shape=[None, 4, 3])
    model = lstmfast.load_model(legacy_file(tmp_path / "cudnn.h5", "2.2.4", [described], {"a": stored}))
    halves = np.split(bias, 2)
    both = halves[0] + halves[1] if gates == 4 else np.stack(halves)
    for mine, theirs in zip(model.get_weights(), [kernel, recurrent, both], strict=True):
        assert_same_bits(mine, theirs)


def test_kernels_of_theano_are_turned_around(tmp_path):
    kernel, bias = random_weights([(3, 2, 5), (5,)])
    described = entry("Conv1D", filters=5, kernel_size=[3], batch_input_shape=[None, 6, 2])
    path = legacy_file(tmp_path / "theano.h5", "2.0.0", [described], {"a": [kernel[::-1], bias]}, backend="theano")
    assert_same_bits(lstmfast.load_model(path).get_weights()[0], kernel)
    # Keras 1 kept (length, 1, channels, filters), and before that (filters, channels, length, 1)
    described = entry("Convolution1D", nb_filter=5, filter_length=3, batch_input_shape=[None, 6, 2])
    for stored in (kernel[:, None], kernel.transpose(2, 1, 0)[..., None]):
        path = legacy_file(tmp_path / "one.h5", "1.2.0", [described], {"a": [stored, bias]})
        assert_same_bits(lstmfast.load_model(path).get_weights()[0], kernel)


def test_kernels_of_theano_are_turned_around_inside_models(tmp_path):
    """Beside weights that are not trained, which come last."""
    kernel, bias, *others = random_weights([(3, 2, 5), (5,), *[(5,)] * 4])
    inner = [
        {**entry("Conv1D", filters=5, kernel_size=[3], batch_input_shape=[None, 6, 2])},
        {"class_name": "BatchNormalization", "config": {"name": "b"}},
    ]
    described = {"class_name": "Sequential", "config": {"name": "a", "layers": inner}}
    stored = [kernel[::-1], bias, *others]
    path = legacy_file(tmp_path / "theano.h5", "2.2.4", [described], {"a": stored}, backend="theano")
    for mine, theirs in zip(lstmfast.load_model(path).get_weights(), [kernel, bias, *others], strict=True):
        assert_same_bits(mine, theirs)


def linked(name: str, other: str) -> Callable[[Any], None]:
    """What makes one data set of a file be another one, too."""

    def link(group: Any) -> None:
        del group[name]
        group[name] = group[other]

    return link


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_data_set_is_one_weight_s(suffix, tmp_path):
    """Or a file of one large array could fill any memory."""
    arrays = random_weights([(3, 3), (3,)])
    if suffix == ".h5":
        entries = [{"class_name": "Dense", "config": {"name": name, "units": 3}} for name in "ab"]
        entries[0]["config"]["batch_input_shape"] = [None, 3]
        path = legacy_file(tmp_path / "m.h5", "2.2.4", entries, {"a": arrays, "b": arrays})
        with h5py.File(path, "a") as file:
            linked("b/b_0", "a/a_0")(file["model_weights"])
    else:
        chain = lstmfast.Sequential([lstmfast.Input((3,)), layers.Dense(3), layers.Dense(3)])
        chain.save(tmp_path / "whole.keras")

        link = linked("layers/dense_1/vars/0", "layers/dense/vars/0")
        path = rewritten(tmp_path / "whole.keras", tmp_path / "m.keras", weights=link)
    with pytest.raises(ValueError, match=r"weight 'kernel' at .*0, which is another's too"):
        lstmfast.load_model(path)


def test_the_weights_of_words_are_one_layer_s(tmp_path):
    words = lstmfast.Input((3,), dtype="string")
    options = {"output_mode": "tf_idf", "vocabulary": ["a", "b"], "idf_weights": [1.0, 2.0]}
    found = layers.Add()([layers.StringLookup(**options)(words) for _ in range(2)])
    lstmfast.Model(words, found).save(tmp_path / "whole.keras")

    link = linked("layers/string_lookup_1/vars/idf_weights", "layers/string_lookup/vars/idf_weights")
    path = rewritten(tmp_path / "whole.keras", tmp_path / "m.keras", weights=link)
    with pytest.raises(ValueError, match=r"vocabulary of layer .* has its weights at .*, which is another's too"):
        lstmfast.load_model(path)


@pytest.mark.parametrize("function", [{"a": 1}, ["math.add"], None])
def test_an_operation_without_a_name_is_refused(function):
    described = {"class_name": "TFOpLambda", "config": {"name": "a", "function": function}}
    with pytest.raises(NotImplementedError, match=r"the operation tf\..* \('a'\) is not supported"):
        layers.deserialize(described)


def test_a_dense_layer_over_time_of_keras_1(tmp_path):
    weights = random_weights([(3, 2), (2,)])
    described = entry("TimeDistributedDense", output_dim=2, batch_input_shape=[None, 4, 3], activation="tanh")
    model = lstmfast.load_model(legacy_file(tmp_path / "one.h5", "1.0.0", [described], {"a": weights}))
    assert isinstance(model.layers[0], layers.TimeDistributed)
    assert model(np.ones((1, 4, 3))).shape == (1, 4, 2)


def test_a_model_without_input_shape_takes_it_from_its_first_kernel(tmp_path):
    weights = random_weights([(3, 8), (2, 8), (8,)])
    path = legacy_file(tmp_path / "shapeless.h5", "2.2.4", [entry("LSTM", units=2)], {"a": weights})
    assert lstmfast.load_model(path)(np.ones((1, 4, 3))).shape == (1, 2)
    path = legacy_file(
        tmp_path / "shapeless.h5", "2.2.4", [entry("Dense", units=2)], {"a": random_weights([(3, 2), (2,)])}
    )
    assert lstmfast.load_model(path)(np.ones((1, 3))).shape == (1, 2)


def put(place: Any, key: str, value: Any) -> None:
    """Replaces an attribute, whatever it was."""
    del place.attrs[key]
    place.attrs[key] = value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file["model_weights"].pop("a"), r"the weights of layer 'a' are missing"),
        (lambda file: file["model_weights/a"].pop("a_1"), r"the weight 'a_1' of layer 'a' is missing"),
        (lambda file: put(file["model_weights/a"], "weight_names", np.array([b"a_0"])), "expects 3 weights"),
        (lambda file: put(file["model_weights"], "layer_names", np.array([], "S1")), "weights of 0 layers"),
        (lambda file: put(file["model_weights"], "layer_names", 3), "no list of names"),
        (lambda file: put(file["model_weights/a"], "weight_names", h5py.Empty("f")), "no list of names"),
    ],
)
def test_what_is_missing_is_named(change, says, tmp_path):
    weights = random_weights([(3, 8), (2, 8), (8,)])
    described = entry("LSTM", units=2, batch_input_shape=[None, 4, 3])
    path = legacy_file(tmp_path / "broken.h5", "2.2.4", [described], {"a": weights})
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=rf"broken\.h5.*{says}"):
        lstmfast.load_model(path)


def test_names_cut_into_pieces(tmp_path):
    """HDF5 limits attributes to 64 KiB, so Keras cuts long lists."""
    weights = random_weights([(3, 8), (2, 8), (8,)])
    described = entry("LSTM", units=2, batch_input_shape=[None, 4, 3])
    path = legacy_file(tmp_path / "cut.h5", "2.2.4", [described], {"a": weights})
    with h5py.File(path, "r+") as file:
        attributes = file["model_weights/a"].attrs
        names = attributes["weight_names"]
        del attributes["weight_names"]
        attributes["weight_names0"], attributes["weight_names1"] = names[:2], names[2:]
    for mine, theirs in zip(lstmfast.load_model(path).get_weights(), weights, strict=True):
        assert_same_bits(mine, theirs)


@pytest.mark.parametrize("marked", [True, False])
def test_bfloat16_weights_are_widened(tmp_path, marked):
    """HDF5 has no bfloat16: two bytes a value, and an attribute that says so, which Keras leaves out of `.h5` files."""

    def halve(file: Any) -> None:
        values = file["layers/lstm/cell/vars/0"][()]
        halves = (values.view(np.uint32) >> 16).astype(np.uint16).view("V2")
        del file["layers/lstm/cell/vars/0"]
        file["layers/lstm/cell/vars/0"] = halves
        if marked:
            file["layers/lstm/cell/vars/0"].attrs["dtype"] = "bfloat16"

    model = lstmfast.load_model(rewritten(KERAS, tmp_path / "half.keras", weights=halve))
    full = lstmfast.load_model(KERAS).get_weights()[0]
    assert_same_bits(model.get_weights()[0], (full.view(np.uint32) & 0xFFFF0000).view(np.float32))


def test_load_weights_takes_every_kind_of_file(tmp_path):
    weights = random_weights([(3, 8), (2, 8), (8,)])
    described = entry("LSTM", units=2, batch_input_shape=[None, 4, 3])
    whole = legacy_file(tmp_path / "whole.h5", "2.2.4", [described], {"a": weights})
    only = tmp_path / "only.h5"
    with h5py.File(whole) as old, h5py.File(only, "w") as new:
        old.copy("model_weights/a", new)
        for key, value in old["model_weights"].attrs.items():
            new.attrs[key] = value
    model = lstmfast.Sequential([lstmfast.Input((4, 3)), layers.LSTM(2, name="a")])
    archive = tmp_path / "model.keras"
    model.set_weights(weights)
    model.save(archive)
    inside = tmp_path / "inside.weights.h5"
    with zipfile.ZipFile(archive) as members:
        inside.write_bytes(members.read("model.weights.h5"))
    for path in (whole, only, archive, inside):
        model.set_weights([0 * weight for weight in weights])
        model.load_weights(path)
        for mine, theirs in zip(model.get_weights(), weights, strict=True):
            assert_same_bits(mine, theirs)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = 1.0
    for take in (model.load_weights, lstmfast.load_model):
        with pytest.raises(ValueError, match=r"other\.h5.*HDF5 file without"):
            take(other)
    with pytest.raises(ValueError, match=r"only\.h5.*load_weights"):
        lstmfast.load_model(only)


def test_weights_alone_written_on_windows(tmp_path):
    model = lstmfast.Sequential([lstmfast.Input((4, 3)), layers.LSTM(2)])
    path = tmp_path / "only.weights.h5"
    with h5py.File(path, "w") as file:
        for number, weight in enumerate(model.get_weights()):
            file[f"_layer_checkpoint_dependencies\\lstm\\cell/vars/{number}"] = weight + 1
    again = lstmfast.Sequential([lstmfast.Input((4, 3)), layers.LSTM(2)])
    again.load_weights(path)
    for mine, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        assert_same_bits(mine, theirs + 1)
    with pytest.raises(ValueError, match=r"only\.weights\.h5' holds weights only"):
        lstmfast.load_model(path)


def test_a_layer_called_layers(tmp_path):
    model = lstmfast.Sequential([lstmfast.Input((3,)), layers.Dense(2, name="layers")])
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = np.array([b"layers"])
        group = file.create_group("layers")
        group.attrs["weight_names"] = np.array([b"kernel", b"bias"])
        group["kernel"], group["bias"] = np.ones((3, 2)), np.zeros(2)
    model.load_weights(tmp_path / "m.h5")
    assert_same_bits(model(np.ones((1, 3))), np.full((1, 2), 3, "float32"))


def test_a_model_that_a_file_does_not_fit_is_not_built(tmp_path):
    weights = {"a": random_weights([(7, 16), (4, 16), (16,)]), "b": random_weights([(4, 2), (2,)])}
    described = [entry("LSTM", units=4, batch_input_shape=[None, 5, 7]), entry("Dense", name="b", units=2)]
    more = [*described, entry("Dense", name="c", units=1)]
    path = legacy_file(tmp_path / "m.h5", "2.2.4", more, {**weights, "c": random_weights([(2, 1), (1,)])})
    model = lstmfast.Sequential([layers.LSTM(4), layers.Dense(1)])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"m\.h5' holds the weights of 3 layers, its config has 2"):
            model.load_weights(path)
        assert not model.built
        assert [type(layer).__name__ for layer in model._layers] == ["LSTM", "Dense"]
    with pytest.raises(ValueError, match="kernel' to have the shape"):
        model.load_weights(legacy_file(tmp_path / "m.h5", "2.2.4", described, weights))
    assert not model.built
    assert model(np.zeros((2, 5, 3))).shape == (2, 1)


def test_a_table_is_not_taken_for_a_kernel(tmp_path):
    weights = {"a": random_weights([(9, 4)]), "b": random_weights([(4, 12), (3, 12), (12,)])}
    described = [entry("Embedding", input_dim=9, output_dim=4), entry("LSTM", name="b", units=3)]
    path = legacy_file(tmp_path / "m.h5", "2.2.4", described, weights)
    model = lstmfast.Sequential([layers.Embedding(9, 4), layers.LSTM(3)])
    with pytest.raises(ValueError, match="has no defined input shape yet"):
        model.load_weights(path)
    model.build((None, 5))
    model.load_weights(path)
    assert_same_bits(model.get_weights()[0], weights["a"][0])


@pytest.mark.parametrize(
    ("layer", "value"),
    [
        ("StringLookup", {"num_oov_indices": float("inf"), "vocabulary": ["a"]}),
        ("Dropout", {"rate": 10**400}),
        ("LSTM", {"units": 2, "dropout": 10**400}),
        ("BatchNormalization", {"epsilon": 10**400}),
    ],
)
def test_numbers_that_are_none(layer, value):
    config = {"name": "m", "layers": [entry("InputLayer", batch_shape=[None, 4, 3]), entry(layer, name="b", **value)]}
    with pytest.raises(ValueError, match=r"'b' of class|an integer of 401 digits"):
        lstmfast.model_from_json(json.dumps({"class_name": "Sequential", "config": config}))


def test_policies_of_old_and_of_many_layers():
    def made(policy: Any) -> lstmfast.Model:
        config = {"layers": [entry("LSTM", units=2, batch_input_shape=[None, 4, 3], dtype=policy)]}
        return lstmfast.model_from_json(json.dumps({"class_name": "Sequential", "config": config}))

    old = {
        "class_name": "PolicyV1",
        "config": {"name": "mixed_float16", "loss_scale": {"class_name": "DynamicLossScale"}},
    }
    assert made(old).layers[0].compute_dtype == "float16"
    with pytest.raises(NotImplementedError, match=r"DTypePolicyMap' is not supported: give each layer a policy"):
        made({"class_name": "DTypePolicyMap", "config": {"name": "map"}})
    for config in ({"mode": "int8", "source_name": "float32"}, {"mode": "int8", "source_name": "bfloat16"}, {}):
        with pytest.raises(NotImplementedError, match="save the model before it is quantized"):
            made({"class_name": "QuantizedDTypePolicy", "config": config})


def test_numbers_of_shared_layers():
    """The same number is the same layer; of an older file, which has no modules, it says nothing."""

    def dense(name: str, **more: Any) -> dict[str, Any]:
        return {"module": "keras.layers", **entry("Dense", name=name, units=3), **more}

    def made(*entries: Any) -> lstmfast.Model:
        config = {"name": "m", "layers": [entry("InputLayer", name="i", batch_shape=[None, 3]), *entries]}
        return lstmfast.model_from_json(json.dumps({"module": "keras", "class_name": "Sequential", "config": config}))

    one, same = dense("b", shared_object_id=7), dense("b", shared_object_id=7)
    assert len(made(one, same).get_weights()) == 2
    assert len(made(dense("b"), same).get_weights()) == 2  # as Keras 3.15 writes it
    assert len(made(one, dense("c")).get_weights()) == 4
    for other in (dense("b"), dense("b", config={"name": "b", "units": 3, "use_bias": False}, shared_object_id=7)):
        with pytest.raises(ValueError, match="unique names"):
            made(dense("b"), other)
    for each in (one, same):
        del each["module"]
    with pytest.raises(ValueError, match="unique names"):
        made(one, same)


def test_what_keras_3_has_no_more_is_not_written_for_it(tmp_path):
    weights = random_weights([(3, 8), (2, 8), (8,)])
    described = entry("LSTM", units=2, batch_input_shape=[None, 4, 3], recurrent_activation="hard_sigmoid")
    model = lstmfast.load_model(legacy_file(tmp_path / "two.h5", "2.2.4", [described], {"a": weights}))
    with pytest.raises(NotImplementedError, match="'a' has the recurrent_activation hard_sigmoid of Keras 2"):
        model.save(tmp_path / "three.keras")
    assert not (tmp_path / "three.keras").exists()


@pytest.mark.parametrize(
    ("described", "weights", "x"),
    [
        (
            entry("Embedding", input_dim=5, output_dim=2, batch_input_shape=[None, 3], dropout=0.0),
            [(5, 2)],
            [[1, 2, 3]],
        ),
        (
            entry(
                "Convolution2D",
                nb_filter=2,
                nb_row=2,
                nb_col=3,
                dim_ordering="tf",
                border_mode="same",
                batch_input_shape=[None, 4, 4, 1],
            ),
            [(2, 3, 1, 2), (2,)],
            np.ones((1, 4, 4, 1)),
        ),
    ],
    ids=["Embedding", "Convolution2D"],
)
def test_arguments_of_keras_1(described, weights, x, tmp_path):
    arrays = random_weights(weights)
    model = lstmfast.load_model(legacy_file(tmp_path / "one.h5", "1.2.2", [described], {"a": arrays}))
    assert np.isfinite(model(np.asarray(x))).all()
    assert_same_bits(model.get_weights()[0], arrays[0])


def test_a_normalization_of_keras_1_with_another_mode_is_refused(tmp_path):
    described = entry("BatchNormalization", mode=1, batch_input_shape=[None, 3])
    path = legacy_file(tmp_path / "one.h5", "1.2.2", [described], {"a": random_weights([(3,)] * 4)})
    with pytest.raises(NotImplementedError, match=r"one\.h5.*'a'.*mode"):
        lstmfast.load_model(path)


# ---- functional models before Keras 3 ------------------------------------------------------------------------------


def legacy_graph(path: Path, version: str, *inner: dict[str, Any], output: str) -> Path:
    """An .h5 file of a functional model without weights, of inputs `x` and `y`, both (batch, 3)."""
    sources = [
        {
            "class_name": "InputLayer",
            "name": name,
            "config": {"name": name, "batch_input_shape": [None, 3], "dtype": "float32"},
            "inbound_nodes": [],
        }
        for name in "xy"
    ]
    config = {
        "name": "m",
        "layers": [*sources, *inner],
        "input_layers": [["x", 0, 0], ["y", 0, 0]],
        "output_layers": [[output, 0, 0]],
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": config})
        file.attrs["keras_version"] = version
        file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
    return path


def node(class_name: str, inbound: Any, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "name": "a", "config": {"name": "a", **config}, "inbound_nodes": inbound}


X, Y = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
BOTH = [[["x", 0, 0, {}], ["y", 0, 0, {}]]]


@pytest.mark.parametrize(
    ("version", "layer", "expected"),
    [
        ("2.2.4", node("Add", BOTH), X + Y),
        ("1.2.2", node("Merge", BOTH, mode="sum"), X + Y),
        ("1.2.2", node("Merge", BOTH, mode="concat", concat_axis=-1), np.concatenate([X, Y], axis=-1)),
        ("2.4.0", node("TFOpLambda", [["x", 0, 0, {"y": ["y", 0, 0]}]], function="math.add"), X + Y),
        ("2.4.0", node("TFOpLambda", [["x", 0, 0, {"y": 2.5}]], function="math.multiply"), X * 2.5),
        ("2.4.0", node("TFOpLambda", [["_CONSTANT_VALUE", -1, 2.5, {"y": ["x", 0, 0]}]], function="math.add"), X + 2.5),
    ],
    ids=["Add", "Merge", "Merge concat", "two tensors", "a number", "a constant first"],
)
def test_edges_before_keras_3(version, layer, expected, tmp_path):
    model = lstmfast.load_model(legacy_graph(tmp_path / "graph.h5", version, layer, output="a"))
    np.testing.assert_allclose(model([X, Y]), expected, rtol=1e-6)


def of_branches(path: Path, merge: dict[str, Any], first: np.ndarray[Any, Any], last: np.ndarray[Any, Any]) -> Path:
    """A file of Keras 1 whose Sequential begins with a Merge of two others; the weights lie by the layers inside."""
    names = ["p", "q", "r"]
    kernels = dict(zip(names, (first, -first, last), strict=True))
    dense = {name: entry("Dense", output_dim=kernels[name].shape[1], bias=False) for name in names}
    for name in names:
        dense[name]["config"].update(name=name, activation="linear")
    branches = []
    for name in names[:2]:
        dense[name]["config"]["batch_input_shape"] = [None, 3]
        branches.append({"class_name": "Sequential", "config": [dense[name]]})
    merged = {"class_name": "Merge", "config": {"name": "merge_1", "mode_type": "raw", "layers": branches, **merge}}
    with h5py.File(path, "w") as file:
        model = {"class_name": "Sequential", "config": [merged, dense["r"]]}
        file.attrs["model_config"] = json.dumps(model)
        file.attrs["keras_version"] = "1.2.2"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([name.encode() for name in names])
        for name in names:
            group.create_group(name).attrs["weight_names"] = np.array([f"{name}_W".encode()])
            group[name][f"{name}_W"] = kernels[name]
    return path


MERGED = {
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
    "max": np.maximum,
    "concat": lambda a, b: np.concatenate([a, b], axis=1),
    "dot": lambda a, b: np.sum(a * b, axis=1, keepdims=True),
    "cos": lambda a, b: np.sum(a * b, 1)[:, None, None] / np.sqrt(np.sum(a * a, 1) * np.sum(b * b, 1))[:, None, None],
}


@pytest.mark.parametrize("mode", MERGED)
def test_branches_of_keras_1(mode, tmp_path):
    random = np.random.default_rng(4)
    first = random.normal(size=(3, 4))
    last = random.normal(size=({"concat": 8, "dot": 1, "cos": 1}.get(mode, 4), 2))
    path = of_branches(tmp_path / "m.h5", {"mode": mode, "concat_axis": -1, "dot_axes": -1}, first, last)
    model = lstmfast.load_model(path)
    expected = MERGED[mode](X @ first, -(Y @ first)) @ last
    np.testing.assert_allclose(model([X, Y]), expected, rtol=1e-5, atol=1e-5)
    assert lstmfast.explain(path).supported


@pytest.mark.parametrize(
    ("merge", "says"),
    [
        ({"mode": "div"}, "with the mode 'div' is not supported"),
        ({"mode": ["code", None, None], "mode_type": "lambda"}, "holds Python code"),
        ({"mode": "f", "mode_type": "function"}, "holds Python code"),
    ],
)
def test_other_branches_of_keras_1_are_refused(merge, says, tmp_path):
    path = of_branches(tmp_path / "m.h5", merge, np.ones((3, 4)), np.ones((4, 2)))
    found, problems = outline(path)
    assert len(problems) == 1
    for part in ("merge_1", says, "custom_objects"):
        assert part in problems[0]
    assert found["r"] == ("?", 8)


@pytest.mark.parametrize(
    ("layer", "error", "says"),
    [
        (node("Add", [7]), ValueError, "is not understood"),
        (node("Add", [[]]), ValueError, "is not understood"),
        (node("Add", [[7]]), ValueError, "is not understood"),
        (node("Add", [[["x", 0, 3, {}], ["y", 0, 0, {}]]]), ValueError, "has no output 3"),
        (node("TFOpLambda", BOTH, function="io.write_file"), NotImplementedError, "io.write_file"),
        ({"class_name": "Add", "name": "a"}, ValueError, "has no config"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_edges_that_are_none(layer, error, says, tmp_path):
    path = legacy_graph(tmp_path / "graph.h5", "2.4.0", layer, output="a")
    with pytest.raises(error, match=rf"graph\.h5.*{says}"):
        lstmfast.load_model(path)


# ---- live models that are none -------------------------------------------------------------------------------------


def test_from_keras_takes_models_only():
    class Fake:
        """Looks like a model of Keras, whose config is given."""

        name = "fake"

        def __init__(self, config: Any) -> None:
            self.config = config

        def get_config(self) -> Any:
            return self.config

        def get_weights(self) -> list[Any]:
            return []

    class Sequential(Fake):
        pass

    with pytest.raises(TypeError, match="Expected a Keras model, got dict"):
        lstmfast.from_keras({})
    layer = type("Layer", (Fake,), {})
    with pytest.raises(TypeError, match="Expected a Keras model, got a layer of class Layer"):
        lstmfast.from_keras(layer({}))
    with pytest.raises(NotImplementedError, match="'fake' is a subclass"):
        lstmfast.from_keras(Fake({}))
    nested: Any = []
    for _ in range(100):
        nested = [nested]
    with pytest.raises(ValueError, match="nested too deeply"):
        lstmfast.from_keras(Sequential(nested))


# ---- archives ------------------------------------------------------------------------------------------------------


def test_an_encrypted_member_is_named(tmp_path):
    path = tmp_path / "model.keras"
    content = bytearray(KERAS.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place >= 0:  # a flag of each entry of the directory
        content[place + 8] |= 1
        place = content.find(b"PK\x01\x02", place + 1)
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"model\.keras.*config\.json is encrypted"):
        lstmfast.load_model(path)


# ---- configs -------------------------------------------------------------------------------------------------------


def changed_layer(index: int, **changes: Any) -> Any:
    def change(config: Any) -> Any:
        config["config"]["layers"][index]["config"].update(changes)
        return config

    return change


@pytest.mark.parametrize(
    "spelling",
    [
        "relu",
        {"class_name": "function", "config": "relu"},
        {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"},
        {"class_name": "Activation", "config": {"name": "x", "activation": "relu"}},
        {"config": "relu"},
        "keras>relu",
    ],
)
def test_every_spelling_of_an_activation(spelling, tmp_path):
    path = rewritten(KERAS, tmp_path / "model.keras", config=changed_layer(1, activation=spelling))
    x = np.random.default_rng(0).random((2, 12, 3))
    assert_same_bits(lstmfast.load_model(path)(x), lstmfast.load_model(KERAS)(x))


def test_an_activation_that_the_caller_supplies(tmp_path):
    x = np.random.default_rng(0).random((2, 12, 3))
    expected = lstmfast.load_model(
        rewritten(KERAS, tmp_path / "tanh.keras", config=changed_layer(5, activation="tanh"))
    )
    path = rewritten(KERAS, tmp_path / "model.keras", config=changed_layer(5, activation="mine>fancy"))
    with pytest.raises(NotImplementedError, match=r"model\.keras.*fancy.*custom_objects"):
        lstmfast.load_model(path)
    model = lstmfast.load_model(path, custom_objects={"fancy": np.tanh})
    np.testing.assert_allclose(model(x), expected(x), rtol=1e-5, atol=1e-6)


def graph_file(folder: Path) -> Path:
    path = folder / "graph.keras"
    fuzz_corpus.built(fuzz_corpus.translator, lstmfast).save(path)
    return path


def layer_of(config: Any, class_name: str) -> Any:
    return next(each for each in config["config"]["layers"] if each["class_name"] == class_name)


def history_of(config: Any, class_name: str) -> Any:
    """The first edge into a layer."""
    edge = layer_of(config, class_name)["inbound_nodes"][0]["args"][0]
    while isinstance(edge, list):
        edge = edge[0]
    return edge["config"]["keras_history"]


GRAPH_ERRORS = {
    "an edge without history": (lambda c: history_of(c, "LSTM").pop(), "leads nowhere"),
    "an edge from nobody": (lambda c: history_of(c, "LSTM").__setitem__(0, "nobody"), "no layer gives the tensor"),
    "a negative node": (lambda c: history_of(c, "LSTM").__setitem__(1, -1), "no layer gives the tensor"),
    "an output that is not there": (lambda c: history_of(c, "LSTM").__setitem__(2, 7), "has no output 7"),
    "a call that never happens": (lambda c: history_of(c, "LSTM").__setitem__(1, 7), "a loop or a gap"),
    "a loop": (lambda c: history_of(c, "LSTM").__setitem__(0, layer_of(c, "Dense")["config"]["name"]), "loop or a gap"),
    "nodes that are no list": (lambda c: layer_of(c, "LSTM").update(inbound_nodes=7), "no list of inbound nodes"),
    "a node that is no call": (lambda c: layer_of(c, "LSTM").update(inbound_nodes=[7]), "is not understood"),
    "arguments that are no list": (
        lambda c: layer_of(c, "LSTM").update(inbound_nodes=[{"args": {"a": 1}, "kwargs": {}}]),
        "is not understood",
    ),
    "an argument nobody takes": (
        lambda c: layer_of(c, "Dense")["inbound_nodes"][0]["kwargs"].update(surprise=1),
        "cannot be called",
    ),
    "two layers of one name": (
        lambda c: c["config"]["layers"].append(dict(layer_of(c, "Dense"))),
        "two layers are called",
    ),
    "a layer that is none": (lambda c: c["config"]["layers"].append(7), "not the config of a layer"),
    "no layers": (lambda c: c["config"].update(layers=7), "without layers"),
    "an output of nobody": (lambda c: c["config"].update(output_layers=[["nobody", 0, 0]]), "no layer gives"),
    "an output that is never made": (
        lambda c: c["config"].update(output_layers=[[layer_of(c, "Dense")["config"]["name"], 5, 0]]),
        "no layer's",
    ),
}


@pytest.mark.parametrize("kind", GRAPH_ERRORS)
def test_a_graph_that_contradicts_itself_is_explained(kind, tmp_path):
    change, says = GRAPH_ERRORS[kind]

    def changed(config: Any) -> Any:
        change(config)
        return config

    path = rewritten(graph_file(tmp_path), tmp_path / "broken.keras", config=changed)
    result = loaded(path)
    assert isinstance(result, ValueError), repr(result)
    assert "broken.keras" in str(result)
    assert says in str(result)
    explained = lstmfast.explain(path) if kind not in ("no layers",) else None
    assert explained is None or not explained.supported


def test_explain_lists_every_problem_at_once(tmp_path):
    def change(config: Any) -> Any:
        listed = config["config"]["layers"]
        listed[1]["class_name"] = "Fancy"
        listed[2] = {"class_name": "Lambda", "config": {"name": "evil"}}
        inner = {"class_name": "Strange", "config": {"name": "s"}}
        listed[4] = {"class_name": "TimeDistributed", "config": {"name": "t", "layer": inner}}
        return config

    explained = lstmfast.explain(rewritten(KERAS, tmp_path / "model.keras", config=change))
    assert not explained.supported
    assert len(explained.problems) == 3
    text = str(explained)
    for part in ("Fancy", "'evil'", "Strange", "Not supported, 3 reason(s)"):
        assert part in text


CODE = {"Lambda": "holds Python code", "Fancy": "is not supported", "Einsum": "is not supported"}


def outline(path: Path) -> tuple[dict[str, tuple[str, int | None]], list[str]]:
    """Shape and parameters by layer, and the problems of a file that does not load."""
    assert isinstance(loaded(path), NotImplementedError)
    explained = lstmfast.explain(path)
    assert not explained.supported
    return {name: (shape, count) for name, _, shape, count in explained.layers}, explained.problems


def as_code(config: Any, name: str, class_name: str) -> Any:
    """A config in which the layer of this name is one that does not load."""
    for described in config["config"]["layers"]:
        if described["config"]["name"] == name:
            described["class_name"] = class_name
    return config


def explained_chain() -> lstmfast.Sequential:
    kinds = [layers.LSTM(4, return_sequences=True, name="a"), layers.Dense(5, name="b"), layers.Flatten(name="c")]
    return lstmfast.Sequential([lstmfast.Input((6, 3), name="x"), *kinds, layers.Dense(2, name="d")])


def explained_graph() -> lstmfast.Model:
    x, y = lstmfast.Input((6, 3), name="x"), lstmfast.Input((4,), name="y")
    a = layers.LSTM(4, name="a")(x)
    b = layers.Dense(5, name="b")(a)
    c = layers.Dense(7, name="c")(y)
    d = layers.Concatenate(name="d")([a, c])
    nested = lstmfast.Sequential([lstmfast.Input((5,)), layers.Dense(3)], name="n")
    e = layers.Concatenate(name="e")([nested(b), d])
    return lstmfast.Model([x, y], [layers.Dense(1, name="f")(e), layers.Dense(1, name="g")(d)])


CHAIN = {"x": ("(None, 6, 3)", 0), "a": ("(None, 6, 4)", 128), "b": ("?", 25), "c": ("?", 0), "d": ("?", 62)}
GRAPH = {
    "x": ("(None, 6, 3)", 0),
    "y": ("(None, 4)", 0),
    "a": ("(None, 4)", 128),
    "b": ("?", 25),
    "c": ("(None, 7)", 35),
    "d": ("(None, 11)", 0),
    "n": ("(None, 3)", 18),
    "e": ("?", 0),
    "f": ("?", 15),
    "g": ("(None, 1)", 12),
}


@pytest.mark.parametrize("class_name", CODE)
@pytest.mark.parametrize(("make", "expected"), [(explained_chain, CHAIN), (explained_graph, GRAPH)])
def test_explain_knows_what_does_not_depend_on_code(make, expected, class_name, tmp_path):
    model = make()
    model.save(tmp_path / "m.keras")
    path = rewritten(tmp_path / "m.keras", tmp_path / "c.keras", config=lambda c: as_code(c, "b", class_name))
    found, problems = outline(path)
    assert found == expected
    assert len(problems) == 1
    for part in ("'b'", CODE[class_name], "custom_objects"):
        assert part in problems[0]


@pytest.mark.parametrize("kind", ["chain", "graph"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_explain_of_files_with_code_that_keras_wrote(keras, kind, suffix, tmp_path):
    kl = keras.layers

    @keras.saving.register_keras_serializable("explained")
    class Doubled(kl.Dense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    x = keras.Input((6, 3), name="x")
    before = kl.LSTM(4, name="a")
    code = [kl.Lambda(lambda t: t * 2, name="one"), Doubled(5, name="two")]
    after = kl.Dense(2, name="d")
    if kind == "chain":
        model = keras.Sequential([x, before, *code, after])
    else:
        a = before(x)
        model = keras.Model(x, [after(code[1](code[0](a))), kl.Dense(3, name="side")(kl.Dropout(0.5, name="drop")(a))])
    model.save(tmp_path / f"m.{suffix}")
    found, problems = outline(tmp_path / f"m.{suffix}")
    assert found["a"] == ("(None, 4)", 128)
    assert [found[name][0] for name in ("one", "two", "d")] == ["?", "?", "?"]
    assert [found[name][1] for name in ("one", "two", "d")] == [0, 25, 12]
    if kind == "graph":
        assert found["drop"] == ("(None, 4)", 0)
        assert found["side"] == ("(None, 3)", 15)
    assert len(problems) == 2
    for problem, parts in zip(problems, (("'one'", "Python code"), ("'two'", "Doubled")), strict=True):
        for part in (*parts, "custom_objects"):
            assert part in problem


def test_explain_names_every_problem_of_nested_models_and_calls(tmp_path):
    x = lstmfast.Input((6, 3), name="x")
    nested = lstmfast.Sequential(
        [lstmfast.Input((6, 3)), layers.Dense(3, name="i"), layers.Dense(3, name="j")], name="n"
    )
    wrong, right = layers.Dense(2, name="wrong")(nested(x)), layers.Dense(2, name="right")(x)
    lstmfast.Model(x, layers.Add(name="sum")([wrong, right])).save(tmp_path / "m.keras")

    def change(config: Any) -> Any:
        as_code(layer_named(config, "n"), "i", "Fancy")
        as_code(layer_named(config, "n"), "j", "Lambda")
        layer_named(config, "right")["inbound_nodes"][0]["kwargs"]["surprise"] = 1
        return config

    found, problems = outline(rewritten(tmp_path / "m.keras", tmp_path / "c.keras", config=change))
    assert len(problems) == 3
    for problem, name in zip(problems, ("'i'", "'j'", "'right'"), strict=True):
        assert name in problem
    assert found["n"] == ("?", 24)
    assert found["sum"][0] == "?"


def layer_named(config: Any, name: str) -> Any:
    return next(each for each in config["config"]["layers"] if each["config"]["name"] == name)


def test_model_from_json_takes_json_only():
    for wrong, says in (
        ("", "no valid JSON"),
        ("[1]", "no JSON object"),
        ("{}", "class"),
        ("[" * 100_000, "nested too deeply"),
        ("7" * (65 << 20), "bytes, more than"),
    ):
        with pytest.raises((ValueError, NotImplementedError), match=says):
            lstmfast.model_from_json(wrong)


# ---- hostile files say why they are refused ------------------------------------------------------------------------

REASONS = {
    "compound-weights": "not numbers",
    "compressed-zeros": "more than a weight has",
    "cycle-of-groups": "nests groups|missing",
    "deep-json": "nested too deeply",
    "deep-models": "deep",
    "deep-wrappers": "deep",
    "embedding-of-everything": "",
    "empty-weight": "",
    "external-group": "a link to another place",
    "external-link": "a link to another place",
    "external-storage": "in another file",
    "filter-to-load": "filters",
    "graph-in-a-loop": "a loop or a gap",
    "huge-shape": "more than a weight has",
    "large-chunk": "more than a weight has",
    "model-from-a-module": "no layer gives the tensor",
    "npz-shape-bomb": "model.weights.npz",
    "pickled-weights": "model.weights.npz",
    "references-for-weights": "not numbers",
    "soft-group": "a link to another place",
    "soft-link": "a link to another place",
    "strings-for-weights": "not numbers",
    "virtual-data-set": "in another file",
    "weights-bomb": "claims",
}


@pytest.mark.parametrize("name", [name for name in hostile.ATTACKS if name.rsplit(".", 1)[0] in REASONS])
def test_a_hostile_file_is_told_why(name, tmp_path):
    hostile.ATTACKS[name](tmp_path, tmp_path / "marker")
    with pytest.raises(
        (OSError, ValueError, NotImplementedError), match=rf"(?s){name}.*({REASONS[name.rsplit('.', 1)[0]]})"
    ):
        lstmfast.load_model(tmp_path / name)


@pytest.mark.parametrize("dtype", ["U500000000", "(1000000000,)f4", "object", "datetime64[s]", ""])
def test_arrays_of_a_config_hold_numbers(dtype):
    x = lstmfast.Input((3,))
    text = lstmfast.Model(x, layers.Add()([x, np.ones((1, 3), "float32")])).to_json()
    config = json.loads(text)

    def change(value: Any) -> None:
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            change(inner)
        if isinstance(value, dict) and value.get("class_name") == "__numpy__":
            value["config"]["dtype"] = dtype

    change(config)
    assert lstmfast.model_from_json(text)(np.ones((2, 3)))[0, 0] == 2
    with pytest.raises(ValueError, match="holds no numbers"):
        lstmfast.model_from_json(json.dumps(config))


def test_calls_of_early_files_are_not_nested_without_end():
    x = lstmfast.Input((3,), name="x")
    config = json.loads(lstmfast.Model(x, layers.Dense(2, name="d")(x)).to_json())
    nested: Any = 1
    for _ in range(600):
        nested = [nested]
    for entry in config["config"]["layers"]:
        entry["inbound_nodes"] = [] if entry["config"]["name"] == "x" else [[["x", 0, 0, {"training": nested}]]]
    with pytest.raises(ValueError, match="nested too deeply"):
        lstmfast.model_from_json(json.dumps(config))


def test_a_chain_has_not_any_number_of_layers():
    entry = {"class_name": "ReLU", "config": {}}
    text = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": [entry] * 20_000}})
    with pytest.raises(ValueError, match="more than"):
        lstmfast.model_from_json(text)


@pytest.mark.parametrize("layer", [layers.LSTM(3, time_major=True), layers.RNN(layers.GRUCell(3), time_major=True)])
def test_time_major_layers_have_one_direction(layer):
    with pytest.raises(NotImplementedError, match="time-major layer"):
        layers.Bidirectional(layer)
