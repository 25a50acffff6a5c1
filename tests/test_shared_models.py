"""Saved models of other projects, with the outputs of the Keras that wrote them: the folder that LSTMFAST_MODELS names.

Its index.json lists for each file the Keras version, the layers, and where its inputs and outputs are. A model whose
layers are all supported has to load and to agree; any other has to be refused by a message that names the layer.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest

import lstmfast

FOLDER = Path(os.environ.get("LSTMFAST_MODELS") or "/nonexistent")
INDEX = FOLDER / "index.json"
if not INDEX.is_file():
    pytest.skip("LSTMFAST_MODELS names no folder of models", allow_module_level=True)

MODELS: list[dict[str, Any]] = json.loads(INDEX.read_text())

# Agreement to expect of draw A, as the folder's README says. Draw B is N(0, 16), which relu layers blow up.
BOUND = {"1": 4e-6, "2": 2e-6, "3": 2e-6}
# These have to load by now, in Sequential models of Keras 2.
ENGINE = {
    "LSTM",
    "Dense",
    "TimeDistributed",
    "RepeatVector",
    "Dropout",
    "Activation",
    "Flatten",
    "Reshape",
    "InputLayer",
}
LOADED: dict[str, bool] = {}


def arrays(entry: dict[str, Any], draw: str, kind: str, suffix: str = "") -> list[np.ndarray]:
    """The inputs or outputs A_input_0, A_input_1, … of a draw."""
    with np.load(FOLDER / entry["expected"], allow_pickle=False) as file:
        names = [name for name in file.files if name.startswith(f"{draw}_{kind}_")]
        names = [name for name in names if name.endswith("_call2") == bool(suffix)]
        return [file[name] for name in sorted(names)]


def is_sequential_of_the_engine(entry: dict[str, Any]) -> bool:
    return (
        set(entry["layers"]) <= ENGINE
        and "functional graph" not in entry["features"]
        and not entry["keras_version"].startswith("1")
    )


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry["file"])
def test_outputs_are_those_of_the_keras_that_wrote_the_file(entry):
    name = entry["file"]
    LOADED[name] = False
    refusal, model = None, None
    try:
        model = lstmfast.load_model(FOLDER / name)
    except NotImplementedError as error:
        refusal = str(error)
    LOADED[name] = refusal is None
    if refusal is not None:
        assert not is_sequential_of_the_engine(entry), f"{entry['layers']} are all supported: {refusal}"
        assert any(layer in refusal for layer in entry["layers"]), refusal
        assert name in refusal, f"the message names no file: {refusal}"
        return
    bound = BOUND[entry["keras_version"][0]]
    for draw in "AB":
        inputs = arrays(entry, draw, "input")
        if not inputs:
            continue
        model.reset_states()
        for suffix in ("", "_call2"):
            expected = arrays(entry, draw, "output", suffix)
            if not expected:
                continue
            outputs = model(inputs if len(inputs) > 1 else inputs[0])
            outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
            assert len(outputs) == len(expected)
            for mine, theirs in zip(outputs, expected, strict=True):
                limit = bound if draw == "A" else oracle.LOOSE
                oracle.assert_close(mine, theirs, limit * (1 + np.abs(theirs)), f"{name}, draw {draw}{suffix}")


def test_how_many_load(capsys):
    if len(LOADED) < len(MODELS):
        pytest.skip("only a part of the models ran")
    with capsys.disabled():
        print(f"\n{sum(LOADED.values())} of {len(MODELS)} models of other projects load; the rest is refused")
    assert all(LOADED[entry["file"]] for entry in MODELS if is_sequential_of_the_engine(entry))
