"""`lstmfast predict`: the bits of `model.predict` in every format, whole or not at all, killed and resumed.

Next: command_line.py.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import command_line
import hypothesis
import numpy as np
import pytest
from bits import assert_same_bits
from command_line import inside, program
from hypothesis import strategies as st
from programs import run_python

from lstmfast import Input, Model, Sequential, layers, load_model
from lstmfast.commands import Failure
from lstmfast.commands.sources import Table, Windows

STEPS, FEATURES, ROWS = 7, 3, 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Models and inputs that no test changes."""
    folder = tmp_path_factory.mktemp("predict")
    random = np.random.default_rng(0)
    Sequential([Input((STEPS, FEATURES)), layers.LSTM(9), layers.Dense(2, name="out")]).save(folder / "one.keras")
    open_steps = Sequential([Input((None, FEATURES)), layers.GRU(4, return_sequences=True, name="states")])
    open_steps.save(folder / "open.keras")
    Sequential([Input((6,)), layers.Embedding(10, 4), layers.LSTM(3), layers.Dense(1)]).save(folder / "tokens.keras")
    a, b = Input((5,), name="tokens", dtype="int32"), Input((4,), name="numbers")
    state, h, c = layers.LSTM(3, return_state=True, name="lstm")(layers.Embedding(10, 4)(a))
    Model([a, b], [layers.Dense(2, name="y")(layers.Concatenate()([state, b])), h, c]).save(folder / "two.keras")
    stateful = Sequential([Input(batch_shape=(4, STEPS, FEATURES)), layers.LSTM(5, stateful=True)])
    stateful.save(folder / "stateful.keras")
    np.save(folder / "x.npy", random.standard_normal((ROWS, STEPS, FEATURES)).astype("float32"))
    np.save(folder / "table.npy", random.standard_normal((ROWS, FEATURES)))
    np.savez(folder / "two.npz", numbers=random.standard_normal((ROWS, 4)), tokens=random.integers(0, 10, (ROWS, 5)))
    return folder


def array_of(path: Path) -> np.ndarray:
    """The outputs in a file, a table's as float32 and without its names."""
    if path.suffix == ".npy":
        return np.load(path)
    delimiter = "\t" if path.suffix == ".tsv" else ","
    return np.loadtxt(path, "float32", delimiter=delimiter, skiprows=1, ndmin=2)


# -- formats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [[], ["--chunk-rows", 1], ["--chunk-rows", 7, "--batch-size", 3, "--threads", 1]])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".tsv"])
def test_an_array_in(suffix, chunk, folder, tmp_path, capsys):
    target = tmp_path / f"y{suffix}"
    ended = inside(capsys, "predict", folder / "one.keras", folder / "x.npy", "-o", target, *chunk)
    assert (ended.status, ended.err) == (0, "")
    assert f"({ROWS}, 2) float32" in ended.out
    expected = load_model(folder / "one.keras").predict(np.load(folder / "x.npy"))
    actual = np.load(target)["out"] if suffix == ".npz" else array_of(target)
    assert_same_bits(actual, expected)
    assert list(tmp_path.iterdir()) == [target]
    if suffix in (".csv", ".tsv"):
        assert target.read_text().splitlines()[0].split("\t" if suffix == ".tsv" else ",") == ["out_0", "out_1"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_several_inputs_and_outputs(save, suffix, folder, tmp_path, capsys):
    with np.load(folder / "two.npz") as file:
        x = dict(file)
    save(tmp_path / "x.npz", **x)
    save(tmp_path / "positional.npz", x["tokens"], x["numbers"])
    save(tmp_path / "renamed.npz", text=x["tokens"], numbers=x["numbers"])
    expected = load_model(folder / "two.keras").predict(x)
    for name, options in (("x", []), ("positional", []), ("renamed", ["--map", "tokens=text"])):
        target = tmp_path / f"y-{name}{suffix}"
        ended = inside(
            capsys,
            "predict",
            folder / "two.keras",
            tmp_path / f"{name}.npz",
            "-o",
            target,
            "--chunk-rows",
            11,
            *options,
        )
        assert ended.status == 0, ended.err
        if suffix == ".npz":
            with np.load(target) as file:
                assert file.files == ["y", "lstm", "lstm.1"]
                assert_same_bits([file[name] for name in file.files], expected)
        else:
            assert target.read_text().startswith("y_0,y_1,lstm_0,lstm_1,lstm_2,lstm.1_0,")
            assert_same_bits(array_of(target), np.concatenate(expected, axis=1))


def test_one_array_of_several(folder, tmp_path, capsys):
    x = np.load(folder / "x.npy")
    np.savez(tmp_path / "x.npz", train=x[:5], test=x[5:])
    arguments = ["predict", folder / "one.keras", tmp_path / "x.npz", "-o", tmp_path / "y.npy"]
    ended = inside(capsys, *arguments)
    assert ended.status == 2
    assert "train, test" in ended.error
    assert inside(capsys, *arguments, "--map", "test").status == 0
    assert_same_bits(np.load(tmp_path / "y.npy"), load_model(folder / "one.keras").predict(x[5:]))


def test_dtype_of_the_outputs(folder, tmp_path, capsys):
    expected = load_model(folder / "one.keras").predict(np.load(folder / "x.npy"))
    for dtype in ("float16", "float64"):
        target = tmp_path / f"{dtype}.npy"
        assert (
            inside(capsys, "predict", folder / "one.keras", folder / "x.npy", "-o", target, "--dtype", dtype).status
            == 0
        )
        assert_same_bits(np.load(target), expected.astype(dtype))


def test_inputs_of_other_types_and_orders(folder, tmp_path, capsys):
    x = np.load(folder / "x.npy")
    for number, array in enumerate([x.astype(">f8"), np.asfortranarray(x), x[:0], (10 * x).astype("int16")]):
        np.save(tmp_path / "x.npy", array)
        target = tmp_path / f"{number}.npy"
        ended = inside(capsys, "predict", folder / "one.keras", tmp_path / "x.npy", "-o", target, "--chunk-rows", 9)
        assert ended.status == 0, ended.err
        assert_same_bits(np.load(target), load_model(folder / "one.keras").predict(array))


def test_rows_of_different_lengths(folder, tmp_path, capsys):
    lengths = np.random.default_rng(0).integers(1, STEPS + 1, ROWS)
    np.save(tmp_path / "lengths.npy", lengths)
    (tmp_path / "lengths.csv").write_text("".join(f"{length}\n" for length in ["steps", *lengths]))
    x = np.load(folder / "x.npy")
    Sequential([Input((None, FEATURES)), layers.LSTM(4), layers.Dense(2)]).save(tmp_path / "last.keras")
    for model in (tmp_path / "last.keras", folder / "open.keras"):
        expected = load_model(model).predict(x, lengths=lengths)
        for name in ("lengths.npy", "lengths.csv"):
            arguments = ["predict", model, folder / "x.npy", "-o", tmp_path / "y.npy", "--force"]
            ended = inside(capsys, *arguments, "--lengths", tmp_path / name, "--chunk-rows", 9)
            assert ended.status == 0, ended.err
            assert_same_bits(np.load(tmp_path / "y.npy"), expected)
    for wrong, words in ((lengths[1:], "(39,)"), (lengths + 0.5, "whole numbers"), (lengths + STEPS, "")):
        np.save(tmp_path / "wrong.npy", wrong)
        arguments = ["predict", folder / "open.keras", folder / "x.npy", "-o", tmp_path / "no.npy"]
        ended = inside(capsys, *arguments, "--lengths", tmp_path / "wrong.npy")
        assert ended.status == 2
        assert words in ended.error
        assert not list(tmp_path.glob("no*"))


def test_a_stateful_model_goes_on_from_chunk_to_chunk(folder, tmp_path, capsys):
    x = np.load(folder / "x.npy")
    arguments = ["predict", folder / "stateful.keras", folder / "x.npy", "-o", tmp_path / "y.npy"]
    ended = inside(capsys, *arguments, "--chunk-rows", 9)
    assert ended.status == 0, ended.err
    assert_same_bits(np.load(tmp_path / "y.npy"), load_model(folder / "stateful.keras").predict(x, batch_size=4))
    np.save(tmp_path / "x.npy", x[:39])
    ended = inside(capsys, "predict", folder / "stateful.keras", tmp_path / "x.npy", "-o", tmp_path / "z.npy")
    assert ended.status == 2
    assert "39 rows" in ended.error


# -- tables ---------------------------------------------------------------------------------------------------------


def write_table(path: Path, rows: np.ndarray, names: str | None = "a,b,c", delimiter: str = ",") -> Path:
    lines = [delimiter.join(map(repr, row)) for row in rows.tolist()]
    path.write_text("".join(f"{line}\n" for line in [*([names] if names else []), *lines]), encoding="utf-8")
    return path


@pytest.mark.parametrize("stride", [1, 4, 11])
@pytest.mark.parametrize("source", ["table.csv", "table.npy", "table.npz"])
def test_windows_over_a_table(source, stride, folder, tmp_path, capsys):
    table = np.load(folder / "table.npy")
    write_table(tmp_path / "table.csv", table)
    np.save(tmp_path / "table.npy", table)
    np.savez(tmp_path / "table.npz", table)
    arguments = ["--window", STEPS, "--stride", stride, "--chunk-rows", 3]
    ended = inside(capsys, "predict", folder / "one.keras", tmp_path / source, "-o", tmp_path / "y.npy", *arguments)
    assert ended.status == 0, ended.err
    windows = np.stack([table[start : start + STEPS] for start in range(0, ROWS - STEPS + 1, stride)])
    assert_same_bits(np.load(tmp_path / "y.npy"), load_model(folder / "one.keras").predict(windows))


def test_the_whole_table_as_one_window(folder, tmp_path, capsys):
    path = write_table(tmp_path / "table.csv", np.load(folder / "table.npy"))
    arguments = ["predict", folder / "open.keras", path, "-o", tmp_path / "y.npy"]
    assert "--window all" in inside(capsys, *arguments).error
    assert inside(capsys, *arguments, "--window", "all").status == 0
    expected = load_model(folder / "open.keras").predict(np.load(folder / "table.npy")[None])
    assert_same_bits(np.load(tmp_path / "y.npy"), expected)


def test_lines_as_samples(folder, tmp_path, capsys):
    x = np.load(folder / "x.npy").astype("float64")
    path = write_table(tmp_path / "x.csv", x.reshape(ROWS, -1), None)
    assert inside(capsys, "predict", folder / "one.keras", path, "-o", tmp_path / "y.npy").status == 0
    assert_same_bits(np.load(tmp_path / "y.npy"), load_model(folder / "one.keras").predict(x))
    tokens = np.random.default_rng(0).integers(0, 10, (ROWS, 6))
    path = write_table(tmp_path / "tokens.csv", tokens, None)
    assert inside(capsys, "predict", folder / "tokens.keras", path, "-o", tmp_path / "t.csv", "--no-header").status == 0
    written = np.loadtxt(tmp_path / "t.csv", "float32", ndmin=2)  # no line of names
    assert_same_bits(written, load_model(folder / "tokens.keras").predict(tokens))


def test_columns_header_and_delimiter(folder, tmp_path, capsys):
    table = np.load(folder / "table.npy")
    dates = [f"2024-01-{day:02}" for day in range(1, 32)] * 2
    lines = [f'"{date}"; {row[0]!r} ;{row[1]!r};;{row[2]!r}' for date, row in zip(dates, table.tolist(), strict=False)]
    text = "\ufeffdate;first;second;empty;third\r\n" + "\r\n\r\n".join(lines)
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    windows = np.stack([table[start : start + STEPS] for start in range(ROWS - STEPS + 1)])
    expected = load_model(folder / "one.keras").predict(windows)
    arguments = ["predict", folder / "one.keras", path, "--window", STEPS, "--delimiter", ";", "--chunk-rows", 10]
    for number, columns in enumerate(["first,second,third", "2-3,5", "2, second ,5"]):
        target = tmp_path / f"{number}.csv"
        assert inside(capsys, *arguments, "-o", target, "--columns", columns).status == 0
        assert target.read_text().startswith("out_0;out_1\n")
        assert_same_bits(np.loadtxt(target, "float32", delimiter=";", skiprows=1), expected)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,2\n", ["a", "b"]),
        ("1,2\n3,4\n", None),
        ("2024-01-01,2\n2024-01-02,4\n", None),
        ("day,value\n2024-01-02,4\n", ["day", "value"]),
        ("a,b\n", ["a", "b"]),
        ("1,2\n", None),
        ("nan,inf\n1,2\n", None),
        (",2\n3,4\n", None),
        ("NA,2\n3,4\n", None),
    ],
)
def test_a_header_is_recognised(text, names, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    table = Table(str(tmp_path / "t.csv"), None, None, None)
    assert table.names == names
    assert table.shape == (len(text.splitlines()) - (names is not None), 2)


BAD_TABLES = {
    "a word": ("1,2,3\n4,five,6\n", "line 2, column 2: 'five' is no number"),
    "a gap": ("a,b,c\n1,2,3\n\n4,,6\n", "line 4, column 2 (b): '' is no number"),
    "too few": ("1,2,3\n4,5\n", "line 2: 2 cells, but 3"),
    "too many": ("1,2,3\n4,5,6,7\n", "line 2: 4 cells, but 3"),
    "grouped digits": ("1,2,3\n4,5_000,6\n", "'5_000' is no number"),
    "a gap at once": (",2,3\n4,5,6\n", "line 1, column 1: '' is no number"),
    "nothing": ("", "is empty"),
    "too short": ("1,2,3\n", "too few for a window of 2"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_explained(name, folder, tmp_path, capsys):
    text, words = BAD_TABLES[name]
    (tmp_path / "t.csv").write_text(text)
    ended = inside(
        capsys, "predict", folder / "open.keras", tmp_path / "t.csv", "-o", tmp_path / "y.npy", "--window", 2
    )
    assert ended.status == 2
    assert words in ended.error
    assert list(tmp_path.iterdir()) == [tmp_path / "t.csv"]


def test_columns_that_are_not_there(folder, tmp_path, capsys):
    path = write_table(tmp_path / "t.csv", np.load(folder / "table.npy"))
    for columns in ("a,d", "0", "4", "3-2", "", "-1"):
        ended = inside(
            capsys,
            "predict",
            folder / "one.keras",
            path,
            "-o",
            tmp_path / "y.npy",
            "--window",
            7,
            f"--columns={columns}",
        )
        assert ended.status == 2
        assert "a, b, c" in ended.error


@hypothesis.given(data=st.data())
def test_windows_of_any_kind_in_chunks_of_any_size(data):
    rows = data.draw(st.integers(1, 30))
    steps, stride = data.draw(st.integers(1, rows)), data.draw(st.integers(1, 8))
    table = np.arange(rows * 2.0).reshape(rows, 2)
    windows = Windows(OnceOnly(table), steps, stride, "t")
    expected = [table[start : start + steps] for start in range(0, rows - steps + 1, stride)]
    assert windows.shape == (len(expected), steps, 2)
    start = data.draw(st.integers(0, len(expected) - 1))
    while start < len(expected):
        stop = min(len(expected), start + data.draw(st.integers(1, 9)))
        np.testing.assert_array_equal(windows.read(start, stop), expected[start:stop])
        start = stop


class OnceOnly:
    """A table that is read from front to end, as a file is."""

    def __new__(cls, table):
        from lstmfast.commands.sources import _Forward

        class Lines(_Forward):
            shape = table.shape
            place = 0

            def _next(self, rows):
                self.place += rows
                return table[self.place - rows : self.place]

            def _skip(self, rows):
                self.place += rows

        return Lines(table[:0])


# -- mistakes -------------------------------------------------------------------------------------------------------


def test_inputs_that_do_not_fit(folder, tmp_path, capsys):
    def refused(model, source, *options, status=2, output="y.npy"):
        ended = inside(capsys, "predict", folder / model, source, "-o", tmp_path / output, *options)
        assert ended.status == status
        return ended.error

    assert "--window STEPS" in refused("one.keras", folder / "table.npy")
    assert "expected shape=(None, None, 3), found shape=(34, 7, 2)" in refused(
        "one.keras", write_table(tmp_path / "t.csv", np.load(folder / "table.npy")), "--window", 7, "--columns", "a,b"
    )
    assert "sample of the model 7 x 3" in refused("one.keras", tmp_path / "t.csv")
    assert ".npz" in refused("two.keras", folder / "x.npy")
    assert "one input" in refused("two.keras", folder / "two.npz", "--window", 3)
    assert "3 outputs" in refused("two.keras", folder / "two.npz")
    assert "--stride" in refused("one.keras", folder / "x.npy", "--stride", 2)
    assert "--columns" in refused("one.keras", folder / "x.npy", "--columns", "1")
    assert "--map" in refused("one.keras", folder / "x.npy", "--map", "a")
    assert "no input 'nothing'" in refused("two.keras", folder / "two.npz", "--map", "nothing=tokens", output="y.npz")
    assert "tokens, numbers" in refused("two.keras", folder / "two.npz", "--map", "tokens", output="y.npz")
    assert ".npy" in refused("one.keras", folder / "x.npy", output="y.txt")
    assert "is no directory" in refused("one.keras", folder / "x.npy", output="no/y.npy", status=3)
    np.savez(tmp_path / "uneven.npz", tokens=np.zeros((3, 5), int), numbers=np.zeros((4, 4)))
    assert "tokens has 3, numbers has 4" in refused("two.keras", tmp_path / "uneven.npz", output="y.npz")
    for name, array in {
        "text": np.array(["a"]),
        "complex": np.zeros((2, 7, 3), complex),
        "scalar": np.array(3),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
        refused("one.keras", tmp_path / f"{name}.npy")
        np.savez(tmp_path / f"{name}.npz", array)
        refused("one.keras", tmp_path / f"{name}.npz")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    refused("one.keras", tmp_path / "objects.npy", status=3)
    (tmp_path / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:-8])
    assert "truncated" in refused("one.keras", tmp_path / "cut.npy", status=3)
    (tmp_path / "cut.npz").write_bytes((folder / "two.npz").read_bytes()[:-30])
    assert "truncated" in refused("two.keras", tmp_path / "cut.npz", status=3)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("y")]


def test_an_output_that_exists_stays(folder, tmp_path, capsys):
    target = tmp_path / "y.csv"
    target.write_text("precious")
    arguments = ["predict", folder / "one.keras", folder / "x.npy", "-o", target]
    assert "--force" in inside(capsys, *arguments).error
    assert "--force" in inside(capsys, *arguments, "--resume").error
    # a failure at the very end
    table = write_table(tmp_path / "bad.csv", np.load(folder / "table.npy"))
    with open(table, "a") as file:
        file.write("1,2,three\n")
    bad = ["predict", folder / "one.keras", table, "-o", target, "--window", STEPS, "--chunk-rows", 2, "--force"]
    assert "'three'" in inside(capsys, *bad).error
    assert target.read_text() == "precious"
    assert sorted(tmp_path.iterdir()) == [table, target]
    assert inside(capsys, *arguments, "--force").status == 0
    assert target.read_text().startswith("out_0,out_1\n")


def test_an_output_may_not_be_an_input(folder, tmp_path, capsys):
    source = tmp_path / "x.npy"
    source.write_bytes((folder / "x.npy").read_bytes())
    (tmp_path / "link.npy").symlink_to(source)
    for target in (source, tmp_path / "link.npy"):
        ended = inside(capsys, "predict", folder / "one.keras", source, "-o", target, "--force")
        assert ended.status == 2
        assert "is an input" in ended.error
    assert source.read_bytes() == (folder / "x.npy").read_bytes()
    lengths = tmp_path / "lengths.npy"
    np.save(lengths, np.ones(len(np.load(source)), "int64"))
    before = lengths.read_bytes()
    ended = inside(capsys, "predict", folder / "one.keras", source, "--lengths", lengths, "-o", lengths, "--force")
    assert ended.status == 2
    assert "is an input" in ended.error
    assert lengths.read_bytes() == before


def test_a_damaged_archive_is_the_files_fault(folder, tmp_path, capsys):
    np.savez_compressed(tmp_path / "x.npz", x=np.random.default_rng(0).random((400, 7, 3)))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    for place in (len(content) // 2, 200):
        damaged = content[:place] + bytes(byte ^ 0xFF for byte in content[place : place + 40]) + content[place + 40 :]
        (tmp_path / "x.npz").write_bytes(damaged)
        ended = inside(capsys, "predict", folder / "one.keras", tmp_path / "x.npz", "-o", tmp_path / "y.npy", "--force")
        assert ended.status == 3, ended.error
        assert "is damaged" in ended.error


def test_what_is_not_ours_is_left_alone(folder, tmp_path, capsys):
    (tmp_path / "y.npy.part").mkdir()
    (tmp_path / "y.npy.part" / "thesis.txt").write_text("precious")
    for option in ("--force", "--resume"):
        ended = inside(capsys, "predict", folder / "one.keras", folder / "x.npy", "-o", tmp_path / "y.npy", option)
        assert ended.status == 2
        assert "not made by lstmfast" in ended.error
    assert (tmp_path / "y.npy.part" / "thesis.txt").read_text() == "precious"


# -- stopped and resumed --------------------------------------------------------------------------------------------


def crash_after(calls: int, arguments: list[str]) -> bool:
    """Run in a forked child that dies, as by kill -9, in its `calls`-th call for safety; whether it died."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    counter = itertools.count(1)

    def dying(real):
        def call(*args, **options):
            if next(counter) == calls:
                os._exit(9)
            return real(*args, **options)

        return call

    for name in ("fsync", "replace", "mkdir"):
        setattr(os, name, dying(getattr(os, name)))
    from lstmfast.cli import main

    with open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        status = main(arguments)
    os._exit(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_a_crash_at_any_moment_costs_nothing(suffix, folder, tmp_path):
    """The moments are those between which the file system's state differs."""
    output = run_python(
        f"""
        import os, sys
        from pathlib import Path
        from lstmfast.commands import results
        from lstmfast.cli import main
        from test_cli_predict import crash_after
        results._COMMIT_SHARE = 1e9  # a journal after every chunk
        folder, target = Path({str(folder)!r}), Path({str(tmp_path)!r}, "y{suffix}")
        arguments = ["predict", str(folder / "two.keras"), str(folder / "two.npz"), "-q", "-o"]
        arguments[3:3] = ["--threads", "1", "--chunk-rows", "20"]
        if {suffix!r} == ".npy":
            arguments[1:3] = [str(folder / "one.keras"), str(folder / "x.npy")]
        def written_in_place(event, found):
            if event == "open" and str(found[0]) == str(target) and found[2] & (os.O_WRONLY | os.O_RDWR):
                os._exit(77)
        sys.addaudithook(written_in_place)
        assert main([*arguments, str(target)]) == 0  # here, so that the children need not import anything
        expected = target.read_bytes()
        target.unlink()
        for calls in range(1, 1000):
            died = crash_after(calls, [*arguments, str(target)])
            assert not target.exists() or target.read_bytes() == expected, calls
            if not died:
                break
            if not target.exists() and crash_after(calls % 7 + 1, [*arguments, str(target), "--resume"]):
                assert not target.exists() or target.read_bytes() == expected, calls
            if not target.exists():
                crash_after(0, [*arguments, str(target), "--resume"])
            assert target.read_bytes() == expected, calls
            target.unlink()
            if target.with_name(target.name + ".part").exists():
                assert not crash_after(0, [*arguments, str(target), "--force"])
                target.unlink()
        print(calls)
        """
    )
    assert int(output) > 10
    assert [path.name for path in tmp_path.iterdir()] == [f"y{suffix}"]


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """Arguments of a run that takes a while, and the bytes of its output."""
    folder = tmp_path_factory.mktemp("long")
    Sequential([Input((60, 8)), layers.LSTM(48), layers.Dense(3)]).save(folder / "model.keras")
    x = np.random.default_rng(1).standard_normal((16000, 60, 8)).astype("float32")
    np.save(folder / "x.npy", x)
    arguments = ["predict", folder / "model.keras", folder / "x.npy", "--threads", 1, "--chunk-rows", 64]
    ended = program(*arguments, "-o", folder / "whole.npy")
    assert ended.status == 0, ended.err
    return arguments, (folder / "whole.npy").read_bytes()


def wait_for_rows(process: subprocess.Popen, target: Path, rows: int) -> int:
    """Wait until the journal names `rows` rows, or the process has ended; how many it names."""
    journal = target.with_name(target.name + ".part") / "journal.json"
    done = 0
    while process.poll() is None and done < rows:
        with contextlib.suppress(OSError, ValueError):
            done = json.loads(journal.read_text())["done"]
        time.sleep(0.002)
    return done


def test_killed_again_and_again(long_run, tmp_path):
    arguments, expected = long_run
    target = tmp_path / "y.npy"
    moments = random.Random(0)
    done, kills = 0, 0
    while not target.exists():
        process = command_line.start([*arguments, "-o", target, "--resume"])
        reached = wait_for_rows(process, target, done + 1)
        assert reached >= done, "what was safe is lost"
        done = max(done, reached)
        if kills < 4 and process.poll() is None:
            time.sleep(moments.uniform(0, 0.15))
            process.kill()
            kills += 1
        _, err = process.communicate(timeout=120)
        assert process.returncode in (0, -signal.SIGKILL), err
        assert kills < 100
    assert kills
    assert target.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [target]


def test_interrupted_by_ctrl_c(long_run, tmp_path, capsys):
    arguments, expected = long_run
    target = tmp_path / "y.npy"
    process = command_line.start([*arguments, "-o", target])
    assert wait_for_rows(process, target, 1)
    process.send_signal(signal.SIGSTOP)  # or it may have ended before the second run looks
    # a second run keeps its hands off
    assert "Another process" in inside(capsys, *arguments, "-o", target, "--resume").error
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.startswith("lstmfast: interrupted after ")
    assert len(err.splitlines()) == 1
    assert not target.exists()
    assert "--resume continues it" in inside(capsys, *arguments, "-o", target).error
    assert inside(capsys, *arguments, "-o", target, "--resume").status == 0
    assert target.read_bytes() == expected


def stopped_run(folder: Path, target: Path, monkeypatch, capsys, *options) -> list:
    """A run that stopped after its second chunk with a full disk; its arguments."""
    from lstmfast.commands import results

    arguments = ["predict", folder / "one.keras", folder / "x.npy", "-o", target, "--chunk-rows", 10, *options]
    real, chunks = results.Result.append, itertools.count(1)

    def append(self, outputs):
        if next(chunks) == 3:
            raise OSError(28, "No space left on device", "y")
        real(self, outputs)
        self.commit()

    with monkeypatch.context() as patch:
        patch.setattr(results.Result, "append", append)
        ended = inside(capsys, *arguments)
    assert ended.status == 3
    assert "No space left" in ended.error
    assert not target.exists()
    return arguments


def test_a_full_disk_loses_nothing(folder, tmp_path, capsys, monkeypatch):
    target = tmp_path / "y.npy"
    arguments = stopped_run(folder, target, monkeypatch, capsys)
    assert json.loads((tmp_path / "y.npy.part" / "journal.json").read_text())["done"] == 20
    read = []
    from lstmfast.commands.sources import ArrayFile

    real = ArrayFile.read
    monkeypatch.setattr(ArrayFile, "read", lambda self, start, stop: read.append(start) or real(self, start, stop))
    assert inside(capsys, *arguments, "--resume").status == 0
    assert min(read) == 20, "rows that were safe are computed again"
    assert_same_bits(np.load(target), load_model(folder / "one.keras").predict(np.load(folder / "x.npy")))


def test_batches_that_count_are_not_changed_on_the_way(folder, tmp_path, capsys, monkeypatch):
    """A softmax over the rows: what a row gives depends on the batch."""
    x = np.load(folder / "x.npy")
    model = Sequential([Input(x.shape[1:]), layers.Softmax(axis=0)])
    model.save(tmp_path / "one.keras")
    np.save(tmp_path / "x.npy", x)
    arguments = stopped_run(tmp_path, tmp_path / "y.npy", monkeypatch, capsys, "--batch-size", 10)
    arguments[-1] = 5
    assert "another batch size" in inside(capsys, *arguments, "--resume").error
    arguments[-1] = 10
    assert inside(capsys, *arguments, "--resume").status == 0
    assert_same_bits(np.load(tmp_path / "y.npy"), model.predict(x, batch_size=10))


def test_only_the_same_run_is_resumed(folder, tmp_path, capsys, monkeypatch):
    target = tmp_path / "y.npy"
    arguments = stopped_run(folder, target, monkeypatch, capsys)
    np.save(tmp_path / "x.npy", np.load(folder / "x.npy") + 1)
    (tmp_path / "other.keras").write_bytes((folder / "one.keras").read_bytes() + b"\0")

    def changed(place, value):
        return [value if index == place else each for index, each in enumerate(arguments)]

    for other, words in (
        (changed(2, tmp_path / "x.npy"), "another input"),
        (changed(1, tmp_path / "other.keras"), "another model"),
        ([*arguments, "--dtype", "float64"], "another dtype"),
    ):
        ended = inside(capsys, *other, "--resume")
        assert ended.status == 2
        assert words in ended.error
    monkeypatch.setattr("lstmfast.commands.predict.__version__", "0.0.9")
    assert "another version of lstmfast" in inside(capsys, *arguments, "--resume").error
    monkeypatch.undo()
    assert inside(capsys, *arguments, "--resume", "--batch-size", 5, "--threads", 1).status == 0


@pytest.mark.parametrize("damage", ["{", '{"format": 1}', "[]", ""])
def test_a_damaged_journal_begins_again(damage, folder, tmp_path, capsys, monkeypatch):
    target = tmp_path / "y.npy"
    arguments = stopped_run(folder, target, monkeypatch, capsys)
    (tmp_path / "y.npy.part" / "journal.json").write_text(damage)
    assert inside(capsys, *arguments, "--resume").status == 0
    assert_same_bits(np.load(target), load_model(folder / "one.keras").predict(np.load(folder / "x.npy")))


def test_a_model_that_draws_begins_again(folder, tmp_path, capsys, monkeypatch):
    x = Input((STEPS, FEATURES))
    y = layers.Dense(2)(layers.Dropout(0.5, seed=3)(layers.LSTM(9)(x), training=True))
    Model(x, y).save(tmp_path / "one.keras")
    (tmp_path / "x.npy").write_bytes((folder / "x.npy").read_bytes())
    target = tmp_path / "y.npy"
    arguments = stopped_run(tmp_path, target, monkeypatch, capsys)
    assert not (tmp_path / "y.npy.part").exists()
    assert inside(capsys, *arguments, "--resume").status == 0
    whole = tmp_path / "whole.npy"
    assert inside(capsys, *arguments[:4], whole, *arguments[5:]).status == 0
    assert whole.read_bytes() == target.read_bytes()


def test_chunks_are_whole_batches_where_rows_are_normalized_by_them(tmp_path, capsys):
    x = Input((FEATURES,))
    model = Model(x, layers.BatchNormalization()(x, training=True))
    model.save(tmp_path / "m.keras")
    rows = np.random.default_rng(0).normal(size=(100, FEATURES)).astype("float32")
    np.save(tmp_path / "x.npy", rows)
    for given, size in (((), 32), (("--batch-size", 20), 20)):
        target = tmp_path / f"{size}.npy"
        arguments = ("predict", tmp_path / "m.keras", tmp_path / "x.npy", "-o", target, "--chunk-rows", 50, *given)
        assert inside(capsys, *arguments).status == 0
        assert_same_bits(np.load(target), model.predict(rows, batch_size=size))


# -- size -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_memory_is_bounded(tmp_path):
    """400 MB of input, with 150 MB of memory beyond what a small run takes."""
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (10_000, 100, 100))  # a sparse file
    output = run_python(
        f"""
        import resource, sys
        import numpy as np
        from lstmfast import Input, Sequential, layers
        from lstmfast.cli import main
        folder = {str(tmp_path)!r}
        model = Sequential([Input((100, 100)), layers.AveragePooling1D(100), layers.LSTM(4)])
        model.save(folder + "/model.keras")
        np.save(folder + "/small.npy", np.zeros((8, 100, 100), "float32"))
        assert main(["predict", folder + "/model.keras", folder + "/small.npy", "-o", folder + "/small-y.npy"]) == 0
        data = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (data + (150 << 20),) * 2)
        try:
            np.ones(1 << 28, "uint8")
        except MemoryError:
            print("bounded")
        sys.exit(main(["predict", folder + "/model.keras", folder + "/x.npy", "-o", folder + "/y.npy"]))
        """,
        timeout=120,
    )
    assert output.startswith(f"{tmp_path}/small-y.npy")
    assert "bounded" in output
    assert np.load(tmp_path / "y.npy").shape == (10_000, 4)


def test_a_chunk_is_what_is_asked_for(folder, tmp_path, capsys, monkeypatch):
    from lstmfast.commands.sources import ArrayFile

    real, seen = ArrayFile.read, []
    monkeypatch.setattr(
        ArrayFile, "read", lambda self, start, stop: seen.append(stop - start) or real(self, start, stop)
    )
    arguments = ["predict", folder / "one.keras", folder / "x.npy", "-o", tmp_path / "y.npy", "--chunk-rows", 15]
    assert inside(capsys, *arguments).status == 0
    assert seen == [15, 15, 10]


def test_the_progress_bar_is_keras_s_and_only_on_a_terminal(folder, tmp_path, capsys, monkeypatch):
    import sys

    from lstmfast.commands import predict

    arguments = [
        "predict",
        folder / "one.keras",
        folder / "x.npy",
        "-o",
        tmp_path / "y.npy",
        "--chunk-rows",
        10,
        "--force",
    ]
    assert inside(capsys, *arguments).err == ""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    monkeypatch.setattr(predict, "Progress", lambda target, verbose: real(target, 1 if verbose else 0))
    from lstmfast._progress import Progress as real

    shown = inside(capsys, *arguments)
    assert "\33[1m2/2\33[0m \33[32m━━━━━━━━━━━━━━━━━━━━\33[0m" in shown.err
    assert "━" not in shown.out
    assert inside(capsys, *arguments, "--quiet") == (0, "", "")


def test_a_failure_has_a_status():
    assert Failure("what").status == 2


def test_names_that_are_numbers(folder, tmp_path, capsys):
    """As those of a pandas.DataFrame that is made of an array."""
    tokens = np.random.default_rng(0).integers(0, 10, (ROWS, 6))
    path = write_table(tmp_path / "tokens.csv", tokens, ",".join(map(str, range(6))))
    arguments = ["predict", folder / "tokens.keras", path, "-o", tmp_path / "y.npy", "--force"]
    expected = load_model(folder / "tokens.keras").predict(tokens)
    ended = inside(capsys, *arguments)
    assert "--header says that they are names" in ended.err
    assert len(np.load(tmp_path / "y.npy")) == ROWS + 1
    ended = inside(capsys, *arguments, "--header")
    assert not ended.err
    assert_same_bits(np.load(tmp_path / "y.npy"), expected)
    assert not inside(capsys, *arguments, "--no-header").err
    assert inside(capsys, *arguments, "--header", "--no-header").status == 2


def test_a_line_with_a_quote_and_too_many_cells(folder, tmp_path, capsys):
    path = tmp_path / "tokens.csv"
    path.write_text('1,2,3,4,5,6\n"1",2,3,4,5,6,7\n')
    ended = inside(capsys, "predict", folder / "tokens.keras", path, "-o", tmp_path / "y.npy")
    assert "line 2: 7 cells, but 6 in the first line" in ended.error


def test_interrupted_before_the_first_row(folder, tmp_path, capsys, monkeypatch):
    from lstmfast.commands import predict

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "_compute", interrupted)
    ended = inside(capsys, "predict", folder / "one.keras", folder / "x.npy", "-o", tmp_path / "y.npy")
    assert ended.status == 130
    assert ended.err.startswith(f"lstmfast: interrupted after 0 of {ROWS} rows")
    assert not list(tmp_path.iterdir())
