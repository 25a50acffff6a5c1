"""The long runs in their short form: the soak and the search for leaks; and that both fail where they should."""

from __future__ import annotations

import tempfile
from pathlib import Path

import leaks
import memory
import numpy as np
import pytest
import soak

import lstmfast


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def small_soak(folder: Path, seed: int = 1) -> soak.Soak:
    return soak.Soak(seed, 4, folder)


def test_soak(folder, thread_count):
    # In seconds the heaps of eight threads have not settled: only a large leak shows in this form.
    found = small_soak(folder).run(seconds=8, rounds=4, allowed=8 * soak.GROWTH_BYTES)
    assert found.errors == []
    assert found.values > 0
    assert {operation.__name__ for operation in found.operations} == set(found.done)
    assert sum(found.done.values()) > 2 * len(found.done)


def test_the_soak_notices_one_wrong_bit(folder, thread_count):
    """In one weight of one shared model, while it runs."""
    planted = small_soak(folder)
    victim = planted.subjects[0]
    first, *rest = victim.model.get_weights()
    largest = np.unravel_index(np.abs(first).argmax(), first.shape)
    first[largest] = np.nextafter(first[largest], np.float32(9))
    victim.model.set_weights([first, *rest])
    planted.operations = [planted.predict]
    planted.run(seconds=20, rounds=1)
    assert planted.errors
    assert "differ in their bits" in planted.errors[0]


@pytest.mark.skipif(not memory.MEASURABLE, reason="needs /proc")
def test_the_soak_notices_growth(folder, thread_count):
    planted = small_soak(folder)
    kept = []

    def leak(choose):
        if len(kept) == len(planted.resident):  # once a round
            kept.append(np.ones(soak.GROWTH_BYTES // 8))
        return planted.predict(choose)

    planted.operations = [leak]
    planted.run(seconds=1, rounds=4, workers=1)
    assert "memory grew" in planted.errors[0]


@pytest.mark.skipif(not memory.MEASURABLE, reason="needs /proc")
def test_nothing_leaks(folder):
    found = []
    with lstmfast.threads(1):
        for name, (times, operation) in leaks.operations(folder).items():
            found.append(leaks.growth(name, max(60, times // 1000), operation))
    assert [growth.row() for growth in found if growth.leaks] == []


@pytest.mark.skipif(not memory.MEASURABLE, reason="needs /proc")
@pytest.mark.parametrize("kind", ["python", "heap"])
def test_a_leak_is_noticed(kind):
    assert leaks.growth("planted", 2000, leaks.planted(kind)).leaks
