"""The fuzzer of the loader, in short: fixed cases are harmless, and bugs planted in the loader are found.

`make fuzz` runs it for long, with new cases made of those that reach new code.
"""

from __future__ import annotations

from pathlib import Path

import fuzz
import h5py
import hostile
import mutations
import numpy as np
import pytest
import watching
from fuzz_corpus import make_corpus

if not watching.ON_LINUX:
    pytest.skip("the fuzzer watches itself by what Linux offers", allow_module_level=True)

SEEDS = 600


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> Path:
    """Good files to start from."""
    folder = tmp_path_factory.mktemp("bases")
    make_corpus(folder)
    return folder


def told(outcome: fuzz.Outcome) -> str:
    return "\n".join(
        f"{finding['kind']} at {finding['where']}: {finding['says']} ({finding['case']}, {finding['genome']})"
        for finding in outcome.findings
    )


def test_fixed_cases_are_harmless(bases, tmp_path):
    outcome = fuzz.fuzz(tmp_path, bases, seeds=(0, SEEDS), seconds=240)
    assert not outcome.findings, told(outcome)
    assert outcome.executions == SEEDS
    assert outcome.processes == 1


PLANTS = {
    "links are followed": "reached out",
    "sizes are trusted": "memory",
    "JSON errors pass": "RecursionError",
}
RARE_PLANTS = {"a class is imported": "reached out", "weights are set one by one": "AssertionError"}


@pytest.mark.parametrize("plant", [*PLANTS, *(pytest.param(plant, marks=pytest.mark.long) for plant in RARE_PLANTS)])
def test_a_planted_bug_is_found(plant, bases, tmp_path):
    outcome = fuzz.fuzz(tmp_path, bases, seeds=(0, 20_000), seconds=240, plant=plant, stop_at_finding=True)
    assert [finding["kind"] for finding in outcome.findings] == [(PLANTS | RARE_PLANTS)[plant]], told(outcome)


def test_a_crash_is_a_finding_and_the_next_process_goes_on(bases, tmp_path):
    outcome = fuzz.fuzz(tmp_path, bases, seeds=(0, 12), seconds=240, plant="a crash")
    assert {finding["kind"] for finding in outcome.findings} == {"crash -6"}
    assert outcome.executions == 12
    assert outcome.processes > 1


def test_the_same_bytes_make_the_same_file(bases, tmp_path):
    decoy = hostile.decoy(tmp_path / "marker")
    first, second = mutations.Maker(bases, decoy), mutations.Maker(bases, decoy)
    cases = fuzz.genomes(0, 60)
    made = [first.make(genome) for genome in cases]
    again = [second.make(genome) for genome in reversed(cases)][::-1]
    for one, other in zip(made, again, strict=True):
        assert (one.action, one.base, len(one.content)) == (other.action, other.base, len(other.content))
    good = {path.read_bytes() for path in bases.iterdir()}
    assert sum(case.content not in good for case in made) > 50


def test_hdf5_changes_reach_the_file(tmp_path):
    """Whole HDF5 files are changed at all: for one, some of them link to another place."""
    changed = mutations.Hdf5(hostile.H5.read_bytes())
    with changed:
        name = "model_weights/a/tutorial/a/lstm_cell/kernel"
        del changed.file[name]
        mutations._external(mutations.Choices(b""), changed.file, name, np.ones(1), (1,), hostile.decoy(tmp_path / "m"))
    path = tmp_path / "changed.h5"
    path.write_bytes(changed.content)
    with h5py.File(path) as file:
        assert isinstance(file.get(name, getlink=True), h5py.ExternalLink)
