"""Every command in docs/cli.md runs.

Next: command_line.py.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from command_line import inside

from lstmfast import Input, Model, Sequential, layers
from lstmfast.commands import verify

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
if not PAGE.is_file():
    pytest.skip("no docs beside these tests (an installed wheel)", allow_module_level=True)

TEXT = PAGE.read_text(encoding="utf-8")
LINES = "".join(re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)).splitlines()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The folder in which the page is read."""
    random = np.random.default_rng(0)
    Sequential([Input((12, 3)), layers.LSTM(8), layers.Dense(1)]).save(tmp_path / "model.keras")
    tokens, numbers = Input((5,), name="tokens", dtype="int32"), Input((4,), name="numbers")
    state = layers.LSTM(3)(layers.Embedding(10, 4)(tokens))
    Model([tokens, numbers], layers.Concatenate()([state, numbers])).save(tmp_path / "two-inputs.keras")
    np.save(tmp_path / "x.npy", random.standard_normal((20, 12, 3)))
    ids = random.integers(0, 10, (20, 5))
    np.savez(tmp_path / "x.npz", tokens=ids, text=ids, numbers=random.standard_normal((20, 4)))
    rows = [f"2024-01-{day:02},{day},{day / 2},{day / 4}" for day in range(1, 32)]
    (tmp_path / "weather.csv").write_text("\n".join(["date,temperature,pressure,wind", *rows]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_line_of_the_page_runs(keras, files, capsys, monkeypatch):
    monkeypatch.setattr(verify, "_SECONDS", 1e-4)
    monkeypatch.setattr(verify, "_REPEATS", 1)
    assert len(LINES) > 10
    for line in LINES:
        program, *arguments = shlex.split(line)
        assert program == "lstmfast"
        if arguments[0] == "bench":
            arguments += ["--no-keras", "--repeats", "1", "--seconds", "1e-4"]
        ended = inside(capsys, *arguments)
        assert ended.status == 0, f"{line}\n{ended.out}{ended.err}"
    assert len((files / "forecast.csv").read_text().splitlines()) == 31 - 12 + 2
    assert len((files / "every-sixth.csv").read_text().splitlines()) == (31 - 12) // 6 + 2


def test_the_page_and_the_help_list_the_same_statuses(capsys):
    listed = re.findall(r"^\| (\d+) \| (.*) \|$", TEXT, re.MULTILINE)
    helped = re.findall(r"^  (\d+) +(.*)$", inside(capsys, "--help").out, re.MULTILINE)
    assert [status for status, _ in listed] == [status for status, _ in helped]
    for (_, page), (_, text) in zip(listed[:4], helped[:4], strict=True):
        assert page.replace("`", "") == text
