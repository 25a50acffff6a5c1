"""The `lstmfast` program as a whole: its help, its exit statuses, its one line about what is wrong; info and config.

Next: test_cli_predict.py, test_cli_verify.py.
"""

from __future__ import annotations

import json
import signal
import zipfile
from pathlib import Path

import command_line
import numpy as np
import oracle
import pytest
from command_line import inside, program
from programs import run_python
from test_files import rewritten

import lstmfast
from lstmfast import cli, commands

MODEL = oracle.GOLDEN / "stacked-relu.keras"
COMMANDS = ["info", "predict", "verify", "bench", "config"]


def with_code(folder: Path) -> Path:
    """A copy of the model with a Lambda and a layer that nobody knows."""

    def change(config):
        config["config"]["layers"][1]["class_name"] = "Lambda"
        config["config"]["layers"][2]["class_name"] = "Unheard"
        config["config"]["layers"][2]["module"] = "somewhere"
        return config

    return rewritten(MODEL, folder / "code.keras", config=change)


def test_the_program_runs():
    ended = program("--version")
    assert (ended.status, ended.out, ended.err) == (0, f"lstmfast {lstmfast.__version__}\n", "")


def test_the_entry_point_is_the_program():
    project = Path(__file__).parent.parent / "pyproject.toml"
    if not project.is_file():
        pytest.skip("no sources beside these tests (an installed wheel)")
    text = project.read_text(encoding="utf-8")
    assert 'lstmfast = "lstmfast.cli:main"' in text


@pytest.mark.parametrize("arguments", ["--version", "--help", "predict --help", "predict --nonsense"])
def test_starting_imports_no_command(arguments):
    output = run_python(
        f"""
        import sys
        from lstmfast.cli import main
        try:
            main({arguments.split()})
        except SystemExit:
            pass
        print("imported", *(name for name in sorted(sys.modules) if name.startswith("lstmfast")))
        """
    )
    expected = [
        "lstmfast",
        "lstmfast._core",
        "lstmfast._environment",
        "lstmfast._version",
        "lstmfast.cli",
        "lstmfast.commands",
    ]
    assert output.rpartition("imported")[2].split() == expected


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command, capsys):
    ended = inside(capsys, *[command][: bool(command)], "--help")
    assert ended.status == 0
    assert ended.out.startswith(f"usage: lstmfast {command}".rstrip())
    if not command:
        assert all(name in ended.out for name in COMMANDS)
        assert "exit status:" in ended.out
    for line in ended.out.splitlines():
        if line.startswith("  lstmfast "):  # an example
            cli.parser().parse_args(line.split("#")[0].split()[1:])


WRONG = {
    "unknown command": (["train"], 2, "train"),
    "no command": ([], 2, "a COMMAND is missing: info, predict, verify, bench or config (see 'lstmfast --help')"),
    "unknown option": (["info", MODEL, "--colour"], 2, "arguments: --colour (see 'lstmfast info --help')"),
    "unknown option and no command": (["--colour"], 2, "arguments: --colour (see 'lstmfast --help')"),
    "a misspelt option": (["predict", MODEL, "x.npy", "-o", "y", "--bath-size=3"], 2, "did you mean --batch-size?"),
    "one file too many": (["info", MODEL, "x.npy"], 2, "unrecognized arguments: x.npy (see"),
    "no file": (["info"], 2, "FILE"),
    "a count of nothing": (["predict", MODEL, "x.npy", "-o", "y.npy", "--batch-size", "0"], 2, "positive whole number"),
    "a count with a fraction": (["bench", "--repeats", "1.5"], 2, "positive whole number"),
    "an infinite tolerance": (["verify", MODEL, "--tolerance", "inf"], 2, "positive number"),
    "an unknown dtype": (["predict", MODEL, "x.npy", "-o", "y.npy", "--dtype", "int8"], 2, "float16"),
    "missing file": (["info", "nowhere.keras"], 3, "nowhere.keras"),
    "a folder": (["info", "."], 3, "directory"),
    "no model": (["info", __file__], 3, "no saved Keras model"),
    "missing input": (["predict", MODEL, "nowhere.npy", "-o", "y.npy"], 3, "nowhere.npy"),
    "missing onnx file": (["bench", MODEL, "--onnx", "nowhere.onnx"], 3, "nowhere.onnx"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_on_one_line(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, status, words = WRONG[name]
    ended = inside(capsys, *arguments)
    assert ended.status == status
    assert words in ended.error
    assert ended.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["before", "behind"])
def test_verbose_shows_the_traceback(place, capsys):
    arguments = ["info", "nowhere.keras"]
    ended = inside(capsys, *(["-v", *arguments] if place == "before" else [*arguments, "--verbose"]))
    assert ended.status == 3
    assert "Traceback" in ended.err
    assert ended.err.splitlines()[-1].startswith("lstmfast: error: ")


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (RuntimeError("two\nlines"), 70, "RuntimeError: two lines; this is a mistake in lstmfast"),
        (MemoryError(), 3, "out of memory"),
        (NotImplementedError("no such layer"), 1, "no such layer"),
        (ValueError("wrong shape"), 2, "wrong shape"),
        (OSError(28, "No space left on device"), 3, "No space left"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whatever_a_command_raises(raised, status, words, capsys, monkeypatch):
    import lstmfast.commands.config as command

    def fail(options):
        raise raised

    monkeypatch.setattr(command, "run", fail)
    ended = inside(capsys, "config")
    assert ended.status == status
    assert words in ended.error


def test_ctrl_c(capsys, monkeypatch):
    import lstmfast.commands.config as command

    def interrupt(options):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(command, "run", interrupt)
    assert inside(capsys, "config") == (commands.INTERRUPTED, "", "lstmfast: interrupted\n")


def test_a_reader_that_goes_away():
    process = command_line.start(["info", MODEL])
    process.stdout.close()
    assert process.wait(60) == commands.BROKEN_PIPE
    assert process.stderr.read() == ""
    process.stderr.close()


def test_warnings_are_one_line(capsys, tmp_path):
    newer = rewritten(MODEL, tmp_path / "newer.keras", metadata=lambda metadata: {**metadata, "keras_version": "9.1.0"})
    np.save(tmp_path / "x.npy", np.zeros((2, *lstmfast.load_model(MODEL).input_shape[1:]), "float32"))
    ended = inside(capsys, "predict", newer, tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert ended.status == 0
    (line,) = ended.err.splitlines()
    assert line.startswith("lstmfast: warning: ")
    assert "9.1.0" in line


# -- info -----------------------------------------------------------------------------------------------------------


def test_info_of_a_file_that_loads(capsys):
    ended = inside(capsys, "info", MODEL)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"{lstmfast.explain(MODEL)}\n"
    ended = inside(capsys, "info", MODEL, "--json")
    report = json.loads(ended.out)
    model = lstmfast.load_model(MODEL)
    assert ended.status == 0
    assert report["supported"]
    assert report["problems"] == []
    assert report["parameters"] == model.count_params()
    assert report["keras_version"].startswith("3.")
    layers = {layer["name"]: layer for layer in report["layers"]}
    for layer in model.layers:
        assert layers[layer.name]["class"] == type(layer).__name__
        assert layers[layer.name]["parameters"] == layer.count_params()


def test_info_names_everything_that_is_not_supported(capsys, tmp_path):
    path = with_code(tmp_path)
    ended = inside(capsys, "info", path)
    assert ended.status == 1
    assert "Lambda" in ended.out
    assert "Unheard" in ended.out
    report = json.loads(inside(capsys, "info", path, "--json").out)
    assert not report["supported"]
    assert report["parameters"] == lstmfast.load_model(MODEL).count_params()  # those in the file
    assert len(report["problems"]) == 2


def test_other_commands_refuse_what_is_not_supported(capsys, tmp_path):
    path = with_code(tmp_path)
    np.save(tmp_path / "x.npy", np.zeros(3))
    for arguments in (
        ["predict", path, tmp_path / "x.npy", "-o", tmp_path / "y.npy"],
        ["verify", path],
        ["bench", path],
    ):
        ended = inside(capsys, *arguments)
        assert ended.status == 1
        assert "code.keras" in ended.error
        assert "lstmfast info" in ended.error


def test_info_of_weights_alone(capsys, tmp_path):
    path = tmp_path / "weights.h5"
    with zipfile.ZipFile(MODEL) as archive:
        path.write_bytes(archive.read("model.weights.h5"))
    ended = inside(capsys, "info", path)
    assert ended.status == 3
    assert "weights only" in ended.error


# -- config ---------------------------------------------------------------------------------------------------------


def test_config(capsys):
    report = json.loads(inside(capsys, "config", "--json").out)
    assert report["lstmfast"] == lstmfast.__version__
    assert report["isa"] in report["isas available"]
    assert report["libraries"]["h5py"]
    text = inside(capsys, "config")
    assert text.status == 0
    for name in (*(key for key in report if key != "libraries"), *report["libraries"]):
        assert f"{name}: " in text.out


@pytest.mark.parametrize(
    ("variables", "threads", "source"),
    [
        ({"LSTMFAST_NUM_THREADS": "3", "OMP_NUM_THREADS": "1"}, 3, "LSTMFAST_NUM_THREADS"),
        ({"LSTMFAST_NUM_THREADS": " 3 \n", "OMP_NUM_THREADS": "1"}, 3, "LSTMFAST_NUM_THREADS"),
        ({"LSTMFAST_NUM_THREADS": "", "OMP_NUM_THREADS": "1,2"}, 1, "OMP_NUM_THREADS"),
        ({"LSTMFAST_NUM_THREADS": "many", "OMP_NUM_THREADS": ""}, None, ("processors", "affinity", "quota")),
    ],
    ids=["own", "blanks", "openmp", "neither"],
)
def test_where_the_threads_come_from(variables, threads, source):
    if source == "OMP_NUM_THREADS" and lstmfast.runtime.config()["cpus"] == 1:
        pytest.skip("on one processor it makes no difference")
    report = json.loads(program("config", "--json", **variables).out)
    if threads is not None:
        assert report["threads"] == threads
        assert report["threads from"] == source
    else:
        assert any(word in report["threads from"] for word in source)
