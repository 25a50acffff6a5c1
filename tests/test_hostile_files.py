"""Files made to harm: nothing in them runs, nothing outside them is read or written, and memory stays bounded.

Every attack ends in a model or in a clear error; the process that loads them watches itself (see hostile.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hostile
import pytest
import watching
from programs import run_python, run_script

# What load_model may raise, by its documentation.
CLEAR = {"OSError", "ValueError", "NotImplementedError"}
MOST_BYTES = 160 << 20  # twice the largest config that is allowed, with its copy as text
MOST_SECONDS = 20


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """What became of every attack: {file: {ended, says, tried, seconds, bytes}}."""
    folder = tmp_path_factory.mktemp("attacks")
    marker = tmp_path_factory.mktemp("elsewhere") / "marker"
    for attack in hostile.ATTACKS.values():
        attack(folder, marker)
    before = set(folder.parent.rglob("*"))
    results = load_in_a_process(folder, marker.parent)
    assert not marker.exists(), "an attack wrote its marker"
    assert set(folder.parent.rglob("*")) == before, "loading wrote files"
    return results


def load_in_a_process(folder: Path, elsewhere: Path) -> dict[str, dict[str, Any]]:
    """What `python hostile.py FOLDER ELSEWHERE` reports."""
    said = run_script(Path(hostile.__file__), str(folder), str(elsewhere), timeout=240)
    return json.loads(said.splitlines()[-1])


@pytest.mark.parametrize("name", hostile.ATTACKS)
def test_an_attack_ends_harmlessly(name, outcomes):
    outcome = outcomes[name]
    assert outcome["tried"] == [], f"{name}: {outcome['tried']}"
    assert outcome["ended"] in CLEAR | {"Model"}, f"{outcome['ended']}: {outcome['says']}"
    if outcome["ended"] != "Model":
        assert name in outcome["says"], f"the message names no file: {outcome['says']}"
        assert len(outcome["says"]) < 2000, "the message is as long as it may be reported"
    assert outcome["bytes"] < MOST_BYTES, f"{outcome['bytes'] >> 20} MiB"
    assert outcome["seconds"] < MOST_SECONDS


# These may load: what is hostile in them is never looked at.
MAY_LOAD = ("traversal", "duplicate", "repeat-for-ever", "many-layers", "input-huge", "lstm-", "initializer-from")
MUST_FAIL = [name for name in hostile.ATTACKS if not name.startswith(MAY_LOAD)]


@pytest.mark.parametrize("name", MUST_FAIL)
def test_an_attack_is_refused(name, outcomes):
    assert outcomes[name]["ended"] in CLEAR


@pytest.mark.parametrize("name", [name for name in hostile.ATTACKS if name.startswith("lambda")])
def test_a_lambda_is_refused_by_name(name, outcomes):
    assert outcomes[name]["ended"] == "NotImplementedError"
    for part in ("Lambda", "'evil'", name, "code"):
        assert part in outcomes[name]["says"]


def test_the_watch_sees_what_it_should(tmp_path):
    """The watch would be worth nothing if it never saw anything.

    It sees a loader that runs a Lambda's code, one whose C library opens another file, and one that takes memory.
    """
    code = f"""
    import h5py, hostile, json, lstmfast, marshal, numpy, pathlib
    elsewhere = pathlib.Path({str(tmp_path)!r})
    hostile.decoy(elsewhere / "marker")
    real = lstmfast.load_model
    def careless(path):
        if "planted" in str(path):
            code = marshal.loads(marshal.dumps(compile("1 + 1", "planted", "eval")))
            eval(code)
            open("/etc/hostname").close()
            h5py.h5f.open(b"decoy.h5").close()
            numpy.ones(1 << 27)
        return real(path)
    lstmfast.load_model = careless
    print(json.dumps(hostile.report([elsewhere / "planted"], elsewhere)))
    """
    seen = json.loads(run_python(code).splitlines()[-1])["planted"]
    for event in ("marshal.loads", "exec", "open /etc/hostname"):
        assert event in " ".join(seen["tried"])
    if watching.ON_LINUX:
        assert f"touched {tmp_path}/decoy.h5" in seen["tried"]
        assert seen["bytes"] > 1 << 29
