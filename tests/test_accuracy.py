"""Errors of whole layers against float64: at most 1.5 times those of the worst of the other runtimes."""

from __future__ import annotations

import accuracy
import layer_cases
import numpy as np
import oracle
import pytest


@pytest.mark.parametrize("case", accuracy.SHORT, ids=lambda case: f"{case.kind}-{case.steps}")
def test_the_error_is_that_of_others(keras, isa, case):
    peers = accuracy.peer_errors(case)
    mine = accuracy.error(accuracy.run_lstmfast(case, isa), accuracy.reference(case))
    assert max(accuracy.ratios(mine, peers)) <= accuracy.ALLOWED, (mine, peers)


@pytest.mark.parametrize("kind", layer_cases.GATES)
def test_every_peer_computes_the_same_layer(keras, kind):
    """A peer that was set up wrongly would have a large error, and allow anything."""
    case = accuracy.case(kind, 3, 5, 4, 6)
    expected = accuracy.reference(case)
    np.testing.assert_allclose(expected, layer_cases.run(keras.layers, case, "float64")[0], atol=1e-14)
    for name, found in accuracy.peer_errors(case).items():
        assert found.largest < oracle.STRICT, name


def test_a_worse_layer_is_noticed(keras):
    """Inputs off by a part in a million, as from a sum in too few bits."""
    case = accuracy.SHORT[3]
    expected, peers = accuracy.reference(case), accuracy.peer_errors(case)
    worse = expected * (1 + 1e-6 * np.random.default_rng(0).standard_normal(expected.shape))
    assert max(accuracy.ratios(accuracy.error(worse, expected), peers)) > accuracy.ALLOWED
