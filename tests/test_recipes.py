"""The cluster recipes of examples/ on real local clusters of two worker processes, one of which is killed in mid-job.

Each runs in a process of its own. `tests/requirements-recipes.txt` installs Dask and Ray; Spark is tested where PySpark
and Java are.
"""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from textwrap import dedent

import numpy as np
import oracle
import pytest
from programs import TESTS, run_python

import lstmfast
from lstmfast import Input, Sequential, layers

EXAMPLES = TESTS.parent / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("no examples beside these tests (an installed wheel)", allow_module_level=True)

ROWS, BLOCKS = 960, 24

# What every job begins with: a model that takes long enough for a worker to be killed in mid-job, and its input.
SETUP = """
import os, pathlib, signal, sys, threading, time
import numpy as np, lstmfast, psutil
folder, pids = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]) / "pids"
path = str(folder / "model.keras")
x, expected = np.load(folder / "x.npy"), np.load(folder / "expected.npy")

def kill_one(workers, started):
    "Kill one of the worker processes, once the job has started on it."
    end = time.monotonic() + 90
    while not started() and time.monotonic() < end:
        time.sleep(0.01)
    victim = workers()[0]
    os.kill(victim, signal.SIGKILL)
    return victim
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Path:
    """A folder with model.keras, x.npy and what one machine makes of them."""
    folder = tmp_path_factory.mktemp("job")
    model = Sequential([Input((150, 6)), layers.LSTM(160, return_sequences=True), layers.LSTM(96), layers.Dense(52)])
    model.save(folder / "model.keras")
    x = np.random.default_rng(0).uniform(-1, 1, (ROWS, 150, 6)).astype("float32")
    np.save(folder / "x.npy", x)
    np.save(folder / "expected.npy", lstmfast.load_model(folder / "model.keras").predict(x, verbose=0))
    return folder


def run_job(recipe: str, folder: Path, code: str, timeout: float = 240) -> str:
    """Runs code beside a recipe, whose folder its worker processes can import from."""
    script = folder / f"{recipe}_job.py"
    script.write_text(SETUP + dedent(code))
    places = [str(EXAMPLES / recipe), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    call = f"import runpy, sys; sys.argv = [{str(script)!r}, {str(folder)!r}]; "
    call += f"runpy.run_path({str(script)!r}, run_name='__main__')"
    environment = {"PYTHONPATH": os.pathsep.join(places), "RAY_USAGE_STATS_ENABLED": "0"}
    return run_python(call, timeout=timeout, environment=environment)


def test_dask(job):
    """Blocks have the bits of one machine after a worker was killed in mid-job; partitions, in the script, too."""
    oracle.needed("distributed")
    code = f"""
    import dask.array as da
    from dask.distributed import Client, LocalCluster, wait
    import predict_blocks

    def main():
        options = {{"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}}
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            pid_of = client.run(os.getpid)
            assert len(set(pid_of.values()) - {{os.getpid()}}) == 2
            y = predict_blocks.predict_array(da.from_array(x, chunks=({ROWS // BLOCKS}, -1, -1)), path)
            future = client.compute(y)
            done = lambda: sum(count for count in client.run_on_scheduler(
                lambda dask_scheduler: [len(w.has_what) for w in dask_scheduler.workers.values()])) >= 6
            busy = lambda: [pid_of[address] for address, keys in client.processing().items() if keys]
            victim = kill_one(busy, lambda: done() and busy())
            assert not future.done(), "the job was over before the worker was killed"
            assert np.array_equal(future.result(timeout=120), expected)
            client.wait_for_workers(2, timeout=60)
            pids = set(client.run(os.getpid).values())
            assert victim not in pids and not psutil.pid_exists(victim)
            threads = client.run(lambda: lstmfast.get_num_threads())
            assert min(threads.values()) == 1, threads
        predict_blocks.main()

    if __name__ == "__main__":
        main()
    """
    assert run_job("dask", job, code).count("bit-identical to one machine: True") == 2


def test_ray(job):
    """Batches have the bits of one machine after an actor's process was killed in mid-job."""
    oracle.needed("ray.data")
    code = f"""
    import ray
    import predict_batches

    class Slow(predict_batches.Predictor):
        "Tells its process, so that one can be killed in mid-job."
        def __call__(self, batch):
            assert lstmfast.get_num_threads() == 1
            with open(folder / "pids", "a") as file:
                file.write(f"{{os.getpid()}}\\n")
            return super().__call__(batch)

    predict_batches.Predictor = Slow
    predict_batches.start()
    told = lambda: [int(line) for line in pids.read_text().split()] if pids.exists() else []
    victim = begun = None

    def kill():
        global victim, begun
        victim = kill_one(told, lambda: len(told()) >= 4 and len(set(told())) == 2)
        begun = len(told())

    killer = threading.Thread(target=kill)
    killer.start()
    dataset = predict_batches.ray.data.from_numpy(np.array_split(x, {BLOCKS}))
    y = predict_batches.forecasts(predict_batches.predict_dataset(dataset, path, batch_size={ROWS // BLOCKS}))
    killer.join()
    assert np.array_equal(y, expected)
    assert begun < {BLOCKS}, "the job was over before the worker was killed"
    assert len(told()) >= {BLOCKS}
    assert not psutil.pid_exists(victim)
    ray.shutdown()
    predict_batches.Predictor = Slow.__base__
    predict_batches.main()
    """
    (job / "pids").unlink(missing_ok=True)
    assert run_job("ray", job, code).count("bit-identical to one machine: True") == 1


def test_spark(job):
    """Two Python workers of Spark give the bits of one machine."""
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("needs Java")
    code = """
    import predict_udf
    spark = predict_udf.session()
    rows = [(row, window.ravel().tolist()) for row, window in enumerate(x[:96])]
    frame = spark.createDataFrame(rows, "row int, x array<float>").repartition(8)
    udf = predict_udf.forecast_udf(path, 150, 6, batch_size=12)
    found = frame.select("row", udf("x").alias("forecast")).orderBy("row").collect()
    assert np.array_equal(np.array([row.forecast for row in found], "float32"), expected[:96])
    predict_udf.main()
    """
    assert run_job("spark", job, code).count("bit-identical to one machine: True") == 1


@pytest.mark.parametrize("units", [7, 96])
def test_a_pickle_holds_no_packed_weights(units):
    """What an engine sends to its workers: the config and the weights; the panels are packed where it arrives."""
    model = Sequential([Input((None, 6)), layers.LSTM(units, return_sequences=True), layers.GRU(units)])
    model(np.zeros((2, 5, 6)))
    model.stream().step(np.zeros(6))
    data = pickle.dumps(model)
    assert len(data) < sum(weight.nbytes for weight in model.get_weights()) + 8192
    x = np.random.default_rng(0).standard_normal((3, 5, 6)).astype("float32")
    assert np.array_equal(pickle.loads(data).predict(x), model.predict(x))
