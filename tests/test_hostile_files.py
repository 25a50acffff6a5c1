"""Files made to harm: nothing in them runs, nothing outside them is read or written, and memory stays bounded.

Every attack ends in a model or in a clear error; the process that loads them watches itself (see hostile.py).
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import hostile
import pytest
from programs import run_python

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
    results = load_in_a_process(folder)
    assert not marker.exists(), "an attack wrote its marker"
    assert set(folder.parent.rglob("*")) == before, "loading wrote files"
    return results


def load_in_a_process(folder: Path, timeout: float = 240) -> dict[str, dict[str, Any]]:
    """What `python hostile.py FOLDER` reports."""
    code = f"""
    import runpy, sys
    sys.argv = ["hostile.py", {str(folder)!r}]
    runpy.run_path({hostile.__file__!r}, run_name="__main__")
    """
    return json.loads(run_python(code, timeout=timeout).splitlines()[-1])


@pytest.mark.parametrize("name", hostile.ATTACKS)
def test_an_attack_ends_harmlessly(name, outcomes):
    outcome = outcomes[name]
    assert outcome["tried"] == [], f"{name}: {outcome['tried']}"
    assert outcome["ended"] in CLEAR | {"Model"}, f"{outcome['ended']}: {outcome['says']}"
    if outcome["ended"] != "Model":
        assert name in outcome["says"], f"the message names no file: {outcome['says']}"
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


def test_the_audit_hook_sees_what_it_should():
    """The watch would be worth nothing if it never saw anything: it sees a loader that runs a Lambda's code."""
    code = """
    import hostile, lstmfast, marshal, json, pathlib, types
    real = lstmfast.load_model
    def careless(path):
        if "planted" in str(path):
            code = marshal.loads(marshal.dumps(compile("1 + 1", "planted", "eval")))
            eval(code)
            open("/etc/hostname").close()
        return real(path)
    lstmfast.load_model = careless
    print(json.dumps(hostile.report([pathlib.Path("planted")])))
    """
    tried = " ".join(json.loads(run_python(code).splitlines()[-1])["planted"]["tried"])
    for event in ("marshal.loads", "exec", "open /etc/hostname"):
        assert event in tried


def mutations(source: Path, folder: Path, count: int, seed: int) -> None:
    """Copies of a good file with a few bytes changed, cut out, doubled, or swapped for others of the file."""
    random_ = random.Random(seed)
    whole = source.read_bytes()
    for number in range(count):
        content = bytearray(whole)
        for _ in range(random_.choice((1, 1, 2, 8))):
            place = random_.randrange(len(content))
            kind = random_.randrange(5)
            if kind == 0:
                content[place] ^= 1 << random_.randrange(8)
            elif kind == 1:
                content[place] = random_.choice((0, 1, 127, 128, 255))
            elif kind == 2:
                del content[place : place + random_.randrange(1, 64)]
            elif kind == 3:
                other = random_.randrange(len(content))
                size = random_.randrange(1, 32)
                content[place : place + size] = content[other : other + size]
            else:
                content[place:place] = content[place : place + random_.randrange(1, 64)]
        (folder / f"{source.stem}-{number:05d}{source.suffix}").write_bytes(content)


def config_mutations(folder: Path, count: int, seed: int) -> None:
    """Good files whose config has a few values swapped for strange ones: deeper than changed bytes reach."""
    random_ = random.Random(seed)
    strange = [
        None,
        True,
        -1,
        0,
        10**30,
        1.5,
        "",
        "x",
        [],
        {},
        [None],
        {"class_name": "LSTM"},
        "LSTM",
        float("nan"),
        [[]],
    ]

    def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
        return [path, *(place for key, value in items for place in places(value, (*path, key)))]

    def change(config: Any) -> Any:
        for _ in range(random_.choice((1, 1, 2))):
            path = random_.choice([place for place in places(config) if place])
            target = config
            for key in path[:-1]:
                target = target[key]
            if random_.random() < 0.25:
                del target[path[-1]]
            else:
                target[path[-1]] = random_.choice(strange)
        return config

    for number in range(count):
        hostile.archive(folder / f"config-{number:05d}.keras", config=change)


def check_fuzzed(folder: Path, timeout: float) -> None:
    results = load_in_a_process(folder, timeout)
    wrong = {
        name: (outcome["ended"], outcome["says"][:300], outcome["tried"])
        for name, outcome in results.items()
        if outcome["ended"] not in CLEAR | {"Model"} or outcome["tried"] or outcome["bytes"] > MOST_BYTES
    }
    endings = {name: outcome["ended"] for name, outcome in results.items()}
    assert not wrong, "\n".join(f"{name}: {outcome}" for name, outcome in list(wrong.items())[:12])
    assert len(set(endings.values())) >= 3, "the mutations are too tame or too wild"


def test_fuzzed_files(tmp_path):
    mutations(hostile.KERAS, tmp_path, 200, seed=1)
    mutations(hostile.H5, tmp_path, 200, seed=2)
    config_mutations(tmp_path, 200, seed=3)
    check_fuzzed(tmp_path, timeout=120)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(10))
def test_many_fuzzed_files(tmp_path, seed):
    mutations(hostile.KERAS, tmp_path, 1500, seed=100 + seed)
    mutations(hostile.H5, tmp_path, 1500, seed=200 + seed)
    config_mutations(tmp_path, 3000, seed=300 + seed)
    check_fuzzed(tmp_path, timeout=1000)
