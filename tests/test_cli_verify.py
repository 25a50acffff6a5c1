"""`lstmfast verify` and `lstmfast bench`: they pass what is right, and fail what is not.

Next: command_line.py.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import zipfile
from pathlib import Path

import numpy as np
import oracle
import pytest
from command_line import inside

from lstmfast import Input, Model, Sequential, layers, load_model
from lstmfast._graph import flatten
from lstmfast.commands import bench, peers, runners, samples, timing, vectors, verify

MODEL = oracle.GOLDEN / "stacked-relu.keras"
PNG = b"\x89PNG\r\n"


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    """What is measured in this process does not matter here."""
    monkeypatch.setattr(verify, "_SECONDS", 1e-4)
    monkeypatch.setattr(verify, "_REPEATS", 1)
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(timing, "WARM_SECONDS", 1e-4)


@pytest.fixture
def model(tmp_path) -> Path:
    return Path(shutil.copy(MODEL, tmp_path / "model.keras"))


def store(path: Path, *, off: float = 0.0, inside: bool = False) -> str:
    """Write vectors with the model's own outputs, off by so much."""
    loaded = load_model(path)
    x = samples.draw(loaded, 5, 20, 3)
    y = loaded.predict(samples.as_input(x), verbose=0)
    return vectors.write(str(path), list(x.values()), [y + np.float32(off)], "Keras 3.15.1", inside)


# -- against vectors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [False, True])
def test_vectors_take_the_place_of_keras(inner, model, capsys, monkeypatch):
    monkeypatch.setattr(peers, "keras_installed", lambda version: False)
    ended = inside(capsys, "verify", model)
    assert ended.status == 2
    assert "model.keras.vectors.npz" in ended.error
    assert "live Keras needs keras and a backend of it (tensorflow, jax or torch) installed" in ended.error
    expected = load_model(model).get_weights()
    place = store(model, inside=inner)
    assert ("lstmfast_vectors.npz" in place) == inner
    store(model, inside=inner)  # again, over the first
    for mine, before in zip(load_model(model).get_weights(), expected, strict=True):
        np.testing.assert_array_equal(mine, before)
    ended = inside(capsys, "verify", model)
    assert (ended.status, ended.err) == (0, "")
    assert "stored outputs of Keras 3.15.1, 5 rows" in ended.out
    assert ended.out.count(" PASS ") == 4
    assert ended.out.endswith("\nPASS\n")
    assert sorted(path.name for path in model.parent.iterdir()) == ["model.keras", *["model.keras.vectors.npz"][inner:]]


@pytest.mark.parametrize("off", [1e-3, np.nan, np.inf])
def test_wrong_numbers_fail(off, model, capsys):
    store(model, off=off)
    ended = inside(capsys, "verify", model, "--against", "vectors")
    assert ended.status == 1
    assert re.search(r"^difference  FAIL", ended.out, re.MULTILINE)
    assert ended.out.endswith("\nFAIL\n")
    if off == 1e-3:
        assert inside(capsys, "verify", model, "--against", "vectors", "--tolerance", "1e-2").status == 0


@pytest.mark.parametrize("broken", ["each row alone", "threads", "as a stream"])
def test_a_broken_promise_fails(broken, model, capsys, monkeypatch):
    from lstmfast.streaming import Stream

    store(model)
    real_run, real_step = verify._run, Stream.step
    calls = []

    def run(loaded, x):
        calls.append(len(x))
        outputs = real_run(loaded, x)
        wrong = len(x) == 1 if broken == "each row alone" else broken == "threads" and len(calls) == 9
        return [np.nextafter(array, np.float32(9)) for array in outputs] if wrong else outputs

    def step(self, x, mask=None):
        return real_step(self, x, mask) * np.float32(1.0000002 if broken == "as a stream" else 1)

    monkeypatch.setattr(verify, "_run", run)
    monkeypatch.setattr(Stream, "step", step)
    ended = inside(capsys, "verify", model, "--against", "vectors")
    assert ended.status == 1
    (line,) = [line for line in ended.out.splitlines() if " FAIL " in line]
    assert broken in line


def test_vectors_of_another_model(model, tmp_path, capsys):
    shutil.copy(oracle.GOLDEN / "two-features.keras", tmp_path / "other.keras")
    store(model)
    (tmp_path / "model.keras.vectors.npz").rename(tmp_path / "other.keras.vectors.npz")
    ended = inside(capsys, "verify", tmp_path / "other.keras", "--against", "vectors")
    assert ended.status == 2
    assert "another model" in ended.error


def damaged(model: Path, change) -> None:
    place = Path(store(model))
    with np.load(place) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(place, **arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("model"),
        lambda arrays: arrays.pop("keras_version"),
        lambda arrays: arrays.update(input_7=arrays.pop("input_0")),
        lambda arrays: arrays.update(output_0=np.array([{}], object)),
    ],
)
def test_damaged_vectors(change, model, capsys):
    damaged(model, change)
    ended = inside(capsys, "verify", model, "--against", "vectors")
    assert ended.status == 3
    assert "no test vectors, or is damaged" in ended.error


def test_vectors_that_unpack_to_too_much(model, capsys):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input_0.npy", bytes(vectors._MOST_BYTES + 1))
    Path(vectors.beside(str(model))).write_bytes(content.getvalue())
    ended = inside(capsys, "verify", model, "--against", "vectors")
    assert ended.status == 3
    assert "refused" in ended.error


def test_options_that_do_not_go_together(model, capsys, monkeypatch):
    assert "--write-vectors" in inside(capsys, "verify", model, "--inside").error
    assert "live Keras" in inside(capsys, "verify", model, "--write-vectors", "--against", "vectors").error
    monkeypatch.setattr(peers, "keras_installed", lambda version: False)
    for options in (["--against", "keras"], ["--write-vectors"]):
        ended = inside(capsys, "verify", model, *options)
        assert ended.status == 2
        assert "Live Keras needs keras and a backend of it (tensorflow, jax or torch) installed" in ended.error


# -- against live Keras ---------------------------------------------------------------------------------------------


def test_live_keras(keras, model, capsys):
    ended = inside(capsys, "verify", model, "--write-vectors", "--inside")
    assert ended.status == 0, ended.out + ended.err
    assert f"keras {keras.__version__} on tensorflow" in ended.out
    assert "Keras predict" in ended.out
    assert inside(capsys, "verify", model, "--against", "vectors").status == 0
    assert keras.models.load_model(model).count_params() == load_model(model).count_params()


def test_live_tf_keras(tf_keras, capsys, tmp_path):
    path = shutil.copy(oracle.GOLDEN / "repeat-vector-small.tf_keras.h5", tmp_path / "model.h5")
    ended = inside(capsys, "verify", path, "--write-vectors")
    assert ended.status == 0, ended.out + ended.err
    assert f"tf_keras {tf_keras.__version__} on tensorflow" in ended.out
    assert (tmp_path / "model.h5.vectors.npz").exists()
    assert inside(capsys, "verify", path, "--against", "vectors").status == 0
    ended = inside(capsys, "verify", path, "--write-vectors", "--inside")
    assert "beside it" in ended.error


def test_several_inputs_with_padding(keras, tmp_path, capsys):
    tokens, values = Input((12,), name="tokens", dtype="int32"), Input((9, 3), name="values")
    state = layers.LSTM(5)(layers.Embedding(7, 4, mask_zero=True)(tokens))
    other = layers.GRU(4)(layers.Masking(-1.0)(values))
    Model([tokens, values], [layers.Dense(2)(layers.Concatenate()([state, other])), other]).save(tmp_path / "two.keras")
    drawn = samples.draw(load_model(tmp_path / "two.keras"), 6, 20, 0)
    assert drawn["tokens"].shape == (6, 12)
    assert drawn["tokens"].max() == 6
    assert (drawn["tokens"][::2, -4:] == 0).all()
    assert (drawn["values"][::2, -3:] == -1).all()
    ended = inside(capsys, "verify", tmp_path / "two.keras", "--against", "keras")
    assert ended.status == 0, ended.out + ended.err
    np.savez(tmp_path / "x.npz", **drawn)
    ended = inside(capsys, "verify", tmp_path / "two.keras", "--input", tmp_path / "x.npz", "--rows", 3)
    assert ended.status == 0, ended.out + ended.err
    assert ", 3 rows" in ended.out
    assert "stream:" not in ended.out  # of one input, and the other as it is


def test_several_inputs_step_by_step(tmp_path, capsys):
    series, fixed = Input((9, 3), name="series"), Input((4,), name="fixed")
    joined = layers.Concatenate()([fixed, layers.LSTM(5)(layers.Masking()(series))])
    Model([fixed, series], layers.Dense(2)(joined)).save(tmp_path / "two.keras")
    ended = inside(capsys, "verify", tmp_path / "two.keras")
    assert ended.status == 0, ended.out + ended.err
    assert "step by step as a stream" in ended.out
    assert "stream:" not in ended.out


def test_a_stateful_and_a_random_model(keras, tmp_path, capsys):
    Sequential([Input(batch_shape=(3, 8, 2)), layers.LSTM(4, stateful=True)]).save(tmp_path / "stateful.keras")
    ended = inside(capsys, "verify", tmp_path / "stateful.keras")
    assert ended.status == 0, ended.out + ended.err
    assert "batch size is fixed" in ended.out
    x = Input((5, 2))
    y = layers.Dropout(0.5)(layers.LSTM(4)(x), training=True)
    Model(x, y).save(tmp_path / "random.keras")
    ended = inside(capsys, "verify", tmp_path / "random.keras")
    assert "draws random numbers" in ended.out


def test_a_model_that_goes_by_its_batch(keras, tmp_path, capsys):
    x = keras.Input((5, 2))
    centred = x - keras.ops.mean(x, axis=0, keepdims=True)
    keras.Model(x, keras.layers.LSTM(4)(centred)).save(tmp_path / "batch.keras")
    ended = inside(capsys, "verify", tmp_path / "batch.keras")
    assert ended.status == 0, ended.out + ended.err
    assert "each row alone: layer 'mean' goes by all rows of a batch" in ended.out


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_what_keras_rounds_more(keras, tmp_path, capsys, policy):
    some = [keras.layers.LSTM(8, return_sequences=True, dtype=policy), keras.layers.LSTM(3, dtype=policy)]
    keras.Sequential([keras.Input((9, 4)), *some]).save(tmp_path / "half.keras")
    ended = inside(capsys, "verify", tmp_path / "half.keras")
    assert ended.status == 0, ended.out + ended.err
    ended = inside(capsys, "verify", tmp_path / "half.keras", "--tolerance", "1e-6")
    assert ended.status == 1


def test_what_keras_cannot_load(keras, model, capsys, monkeypatch):
    def refuse(*arguments, **options):
        raise ValueError("Unknown layer: 'NotEqual'.\nand more")

    monkeypatch.setattr(keras.models, "load_model", refuse)
    ended = inside(capsys, "verify", model)
    assert ended.status == 3
    assert ended.error.endswith("cannot load '" + str(model) + "': Unknown layer: 'NotEqual'.")
    store(model)
    ended = inside(capsys, "verify", model)
    assert ended.status == 0
    assert "note        keras" in ended.out
    assert "stored outputs" in ended.out


# -- bench ----------------------------------------------------------------------------------------------------------

QUICK = ["--threads", 1, "--repeats", 1, "--seconds", 1e-4]


@pytest.mark.parametrize("asked", [["--no-keras"], []], ids=["without Keras", "where Keras is not"])
def test_bench_runs(asked, model, capsys, monkeypatch):
    monkeypatch.setattr(peers, "keras_installed", lambda version: False)
    ended = inside(capsys, "bench", model, *asked, "--batch", 2, 1, *QUICK)
    assert (ended.status, ended.err) == (0, "")
    assert ("Keras joins where keras and a backend of it" in ended.out) == (not asked)
    assert re.search(r"^1 thread\n +rows +lstmfast\n +1 +[\d.]+ [mu]?s\n +2 +[\d.]+ [mu]?s$", ended.out, re.MULTILINE)


def test_what_the_process_of_keras_runs(keras, model):
    inputs = samples.draw(load_model(model), 3, 20, 0)
    calls = runners._OPENERS["keras"](runners.Job("keras", str(model), "3.15.1", None, 1))(inputs)
    expected = load_model(model).predict(samples.as_input(inputs), verbose=0)
    assert list(calls) == [peers.PREDICT, peers.CALL]
    for call in calls.values():
        (outputs,) = flatten([call()])
        oracle.assert_close(outputs, expected)


@pytest.mark.long
def test_bench_measures_keras_in_a_process_of_its_own(keras, capsys):
    ended = inside(capsys, "bench", "--batch", 1, "--steps", 3, *QUICK)
    assert ended.status == 0, ended.out + ended.err
    assert re.search(r"rows +lstmfast +Keras predict +Keras model\(x\)\n", ended.out)
    assert re.search(r"[\d.,]+x.*[\d.,]+x", ended.out)
    assert "left out" not in ended.out


class FakeRunner:
    """A library that is wrong, missing or right."""

    def __init__(self, job):
        self.job = job

    def prepare(self, inputs):
        rows = len(next(iter(inputs.values())))
        if self.job.library == "lstmfast":
            return {"lstmfast": [np.ones((rows, 2), "float32")]}
        if self.job.library == "onnxruntime":
            raise runners.RunnerError("it is not there")
        right, wrong = np.ones((rows, 2)), np.ones((rows, 2)) * 1.001
        return {peers.PREDICT: [right], peers.CALL: [wrong]}

    def time(self, name, seconds):
        return {"lstmfast": 0.002, peers.PREDICT: 0.05}[name]

    def close(self):
        pass


def test_bench_times_no_library_that_is_wrong(model, capsys, monkeypatch):
    monkeypatch.setattr(bench, "Runner", FakeRunner)
    monkeypatch.setattr(bench, "_libraries", lambda *_: dict.fromkeys(["lstmfast", "keras", "onnxruntime"], "some"))
    ended = inside(capsys, "bench", model, "--batch", 4, *QUICK)
    assert ended.status == 1
    assert "       4  2 ms                50 ms  25x\n" in ended.out
    assert "Keras model(x) is left out, wrong: off by 0.001" in ended.out
    assert "onnxruntime is left out: it is not there" in ended.out


def test_outputs_that_agree():
    right = [np.array([1.0, 100.0])]
    assert bench._fault([np.array([1.0, 100.0]) + 1e-3], right) == ""
    assert "off by" in bench._fault([np.array([1.0, 100.0]) + 0.02], right)
    assert "off by" in bench._fault([np.array([1.0, np.nan])], right)
    assert "shapes" in bench._fault([np.ones((1, 2))], right)
    assert "shapes" in bench._fault([], right)


def test_a_process_that_fails_or_dies(tmp_path):
    runner = runners.Runner(runners.Job("lstmfast", str(tmp_path / "none.keras"), "3.15", None, 1))
    try:
        with pytest.raises(runners.RunnerError, match=r"none\.keras"):
            runner.prepare({"x": np.zeros((1, 2, 3))})
        assert "LSTMFAST_NUM_THREADS" not in os.environ or os.environ["LSTMFAST_NUM_THREADS"] != "1"
        os.kill(runner._process.pid, signal.SIGTERM)
        with pytest.raises(runners.RunnerError, match="ended with status -15"):
            runner.prepare({"x": np.zeros((1, 2, 3))})
    finally:
        runner.close()


def test_medians_of_interleaved_repeats():
    order = []

    def timer(name, values):
        return lambda: order.append(name) or values.pop(0)

    found = timing.interleaved({"a": timer("a", [3.0, 1.0, 2.0]), "b": timer("b", [9.0, 8.0, 7.0])}, 3)
    assert found == {"a": 2.0, "b": 8.0}
    assert "".join(order) == "abbaab"


def test_times_have_units():
    times = {2.5: "2.5 s", 0.25: "250 ms", 1e-3: "1 ms", 4.2e-5: "42 us", 3e-8: "0.03 us", 0: "0 us", None: "-"}
    assert {seconds: timing.text(seconds) for seconds in times} == times


# -- pictures -------------------------------------------------------------------------------------------------------


def test_pictures(model, tmp_path, capsys):
    oracle.needed("matplotlib")
    store(model)
    ended = inside(capsys, "verify", model, "--against", "vectors", "--plot", tmp_path / "verify.png")
    assert ended.status == 0
    ended = inside(capsys, "bench", model, "--no-keras", "--batch", 1, 2, *QUICK, "--plot", tmp_path / "bench.png")
    assert ended.status == 0
    for name in ("verify.png", "bench.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)


def test_pictures_that_cannot_be_drawn(model, tmp_path, capsys, monkeypatch):
    from importlib import util

    real = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    for command in ("verify", "bench"):
        ended = inside(capsys, command, model, "--plot", tmp_path / "p.png")
        assert ended.status == 2
        assert "matplotlib" in ended.error
    monkeypatch.setattr(util, "find_spec", lambda name: object())
    assert "no directory" in inside(capsys, "verify", model, "--plot", tmp_path / "no" / "p.png").error
    assert ".png" in inside(capsys, "verify", model, "--plot", tmp_path / "p.gif").error


def test_onnx_runtime_on_the_same_model(model, capsys, tmp_path):
    oracle.needed("onnxruntime")
    onnx = oracle.needed("onnx")
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    shape = ["rows", 2]
    kinds = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    graph = onnx.helper.make_graph([node], "same", [kinds[0]], [kinds[1]])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(tmp_path / "same.onnx"))
    Sequential([Input((2,)), layers.Activation("linear")]).save(tmp_path / "same.keras")
    arguments = ["--onnx", tmp_path / "same.onnx", "--no-keras", "--batch", 3, *QUICK]
    ended = inside(capsys, "bench", tmp_path / "same.keras", *arguments)
    assert ended.status == 0, ended.out + ended.err
    assert re.search(r"rows +lstmfast +ONNX Runtime\n", ended.out)
    ended = inside(capsys, "bench", model, *arguments)
    assert "onnxruntime is left out" in ended.out
