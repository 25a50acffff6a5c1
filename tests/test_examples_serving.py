"""The serving example: two real workers under concurrent requests; right answers, and errors for wrong requests."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oracle
import pytest
from programs import TESTS

import lstmfast

EXAMPLE = TESTS.parent / "examples" / "serving"
if not EXAMPLE.is_dir():
    pytest.skip("no examples beside these tests (an installed wheel)", allow_module_level=True)

CLIENTS, EACH = 8, 50


def loaded(name):
    """A script of the example as a module."""
    spec = importlib.util.spec_from_file_location(f"serving_{name}", EXAMPLE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


load = loaded("load")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(connection, method, path, body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.headers["x-worker"], json.loads(answer.read())


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn"])
def test_two_workers_under_load(server, monkeypatch):
    """Hundreds of requests at once: each answered, with the bits of a call, by two processes."""
    oracle.needed(server)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    model = lstmfast.load_model(TESTS.parent / "examples" / "co2" / "co2.keras")
    x = np.random.default_rng(0).uniform(-1, 1, (CLIENTS, 104, 6)).astype("float32")
    expected = model.predict(x)

    def client(number, port):
        """One connection's requests: of one, two and all rows in turn."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        workers = set()
        for request in range(EACH):
            rows = [[number], [number, 0], list(range(CLIENTS))][request % 3]
            status, worker, answer = ask(connection, "POST", "/predict", json.dumps({"x": x[rows].tolist()}))
            assert status == 200, answer
            assert np.array_equal(np.array(answer["y"], "float32"), expected[rows])
            workers.add(worker)
        connection.close()
        return workers

    port = free_port()
    with load.serving(getattr(load, server)(port), port) as address:
        load.wait_for_workers(address)
        with ThreadPoolExecutor(CLIENTS) as pool:
            found = list(pool.map(client, range(CLIENTS), [port] * CLIENTS))
        assert len(set().union(*found)) == 2
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for method, path, body, status, said in (
            ("GET", "/", None, 404, "POST /predict"),
            ("POST", "/predict", "nonsense", 400, "JSONDecodeError"),
            ("POST", "/predict", "{}", 400, "KeyError"),
            ("POST", "/predict", '{"x": [[1]]}', 400, "ValueError"),
            ("POST", "/predict", '{"x": [["a"]]}', 400, "ValueError"),
            ("POST", "/predict", " " * (17 << 20), 413, "bytes"),
        ):
            got, _, answer = ask(connection, method, path, body)
            assert got == status, answer
            assert said in answer["error"]
            connection.close()


def test_the_engines_agree(monkeypatch):
    """What is compared under load computes the same."""
    oracle.needed("onnxruntime")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    engines = loaded("engines")
    x = np.random.default_rng(0).uniform(-1, 1, (3, 104, 6)).astype("float32")
    before = lstmfast.get_num_threads()
    try:
        expected = engines.load("lstmfast")(x)
    finally:
        lstmfast.set_num_threads(before)
    assert np.abs(engines.load("onnxruntime")(x) - expected).max() < 2e-6


def test_the_committed_table_is_of_the_committed_figures():
    found = {engine: json.loads((EXAMPLE / "results" / f"{engine}.json").read_text()) for engine in load.ENGINES}
    assert (EXAMPLE / "results" / "latency.md").read_text() == load.table(found)
    assert all(told["loads"][count]["errors"] == 0 for told in found.values() for count in told["loads"])
    assert (EXAMPLE / "results" / "latency.png").stat().st_size > 10_000
