"""Fixtures of every test: the instruction sets, live Keras, the thread count; and the `long` marker.

`pytest` alone leaves out what is marked `long`; `pytest -m long` runs that, and the property tests with many examples.
Next: oracle.py.
"""

from __future__ import annotations

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # on with AVX-512; its softmax takes five dimensions at most
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts background jobs, and their children
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its spinning threads slow NumPy down beside TensorFlow's

import hypothesis
import oracle
import pytest

from lstmfast import _core

LONG = "long: takes minutes (thousands of random models); left out unless -m asks for it"

for profile, examples in (("short", 45), ("long", 1500)):
    hypothesis.settings.register_profile(
        profile,
        max_examples=examples,
        derandomize=profile == "short",
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[
            hypothesis.HealthCheck.function_scoped_fixture,
            hypothesis.HealthCheck.differing_executors,
            hypothesis.HealthCheck.too_slow,
        ],
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", LONG)
    hypothesis.settings.load_profile("long" if "long" in (config.option.markexpr or "") else "short")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "long" in (config.option.markexpr or ""):
        for item in items:  # with the examples of the long profile
            if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
                item.add_marker("long")
        return
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
    items[:] = [item for item in items if not item.get_closest_marker("long")]


def pytest_report_header() -> list[str]:
    return [f"lstmfast: {', '.join(_core.available_isas())}; {_core.get_num_threads()} threads", oracle.describe()]


@pytest.fixture(scope="session")
def keras():
    """The keras module; skips where it is missing, and fails there if LSTMFAST_REQUIRE_TENSORFLOW is set."""
    module = oracle.live_keras()
    if module is None:
        pytest.skip("needs TensorFlow and Keras")
    return module


@pytest.fixture(scope="session")
def tf_keras():
    """The tf_keras module (Keras 2), on the same terms as `keras`."""
    module = oracle.live_keras("tf_keras")
    if module is None:
        pytest.skip("needs TensorFlow and tf_keras")
    return module


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest):
    """Runs the test once for each instruction set of this machine."""
    before = _core.isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


@pytest.fixture
def many_processors():
    """Teams of up to eight threads, however few processors there are."""
    _core.assume_processors(8)
    yield
    _core.assume_processors(0)


@pytest.fixture
def thread_count(many_processors):
    """Sets the number of threads; the count from before returns after the test."""
    before = _core.get_num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)
