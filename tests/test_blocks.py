"""Large outputs get memory that earlier ones had: no two arrays that live share any, and all are as NumPy's own."""

from __future__ import annotations

import gc
import os
import pickle
import threading

import numpy as np
import pytest

import lstmfast
from lstmfast import _core, layers

RELU = ("relu", 0.0, float("inf"), 0.0)
LARGE = 64 << 10  # bytes


def large(size, value):
    """An array of the core's: so many float32, all of them `value`."""
    return _core.activate(RELU, np.full(size, value, "float32"))


def test_a_large_output_owns_its_memory():
    y = large(LARGE, 3.0)
    assert y.flags.owndata
    assert y.flags.writeable
    assert y.base is None
    assert y.ctypes.data % 64 == 0
    y.resize(3 * LARGE, refcheck=False)  # as a user may
    assert (y[:LARGE] == 3).all()
    y[:] = 1
    y.resize(5, refcheck=False)
    assert y.tolist() == [1.0] * 5
    assert (pickle.loads(pickle.dumps(large(LARGE, 2.0))) == 2).all()


def test_memory_is_taken_again():
    places = {large(LARGE, 1.0).ctypes.data for _ in range(20)}
    assert len(places) < 5


def test_arrays_that_live_share_no_memory():
    random = np.random.default_rng(0)
    alive = {}
    for turn in range(600):
        if len(alive) > 12 or (alive and random.random() < 0.4):
            key = random.choice(list(alive))
            value, array = alive.pop(key)
            assert (array == value).all(), key
            del array
        alive[turn] = float(turn), large(int(random.integers(LARGE // 8, LARGE)), float(turn))
    for key, (value, array) in alive.items():
        assert (array == value).all(), key


def test_threads_get_memory_of_their_own():
    failed = []

    def work(own):
        kept = []
        for turn in range(150):
            value = float(1000 * own + turn)
            kept.append((value, large(LARGE // 4 + 100 * (turn % 7), value)))
            if len(kept) > 3:
                expected, array = kept.pop(0)
                if not (array == expected).all():
                    failed.append(expected)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_forked_child_has_its_own():
    large(LARGE, 1.0)
    y = large(LARGE, 5.0)
    child = os.fork()
    if child == 0:
        mine = [large(LARGE, 7.0) for _ in range(5)]
        os._exit(0 if all((one == 7).all() for one in mine) and (y == 5).all() else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert (y == 5).all()


def test_what_numpy_makes_in_a_model_does_so_too():
    """Arrays between layers, and what the caller keeps of them, live on when their memory's context is left."""
    inputs = lstmfast.Input((50, 64))
    model = lstmfast.Model(inputs, layers.Add()([inputs, layers.Permute((1, 2))(inputs)]))
    x = np.random.default_rng(0).standard_normal((40, 50, 64), dtype="float32")
    kept = [model(x + turn) for turn in range(6)]
    for turn, y in enumerate(kept):
        np.testing.assert_array_equal(y, 2 * (x + turn))
    gc.collect()
    before = np.zeros(LARGE)
    with _core.Blocks():
        inside = np.ones(LARGE)
    with pytest.raises(ZeroDivisionError), _core.Blocks():
        1 / 0  # noqa: B018
    after = np.ones(LARGE)
    del before
    assert (inside + after == 2).all()
