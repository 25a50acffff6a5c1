"""One Keras model over a Dask array and a Dask DataFrame; see README.md. `python predict_blocks.py` runs both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from dask.distributed import Client, LocalCluster, get_worker

import lstmfast

MODEL = Path(__file__).resolve().parent.parent / "co2" / "co2.keras"  # (104 weeks, 6 numbers) -> 52 weeks


def model_of_worker(path: str) -> lstmfast.Model:
    """The model, loaded once in each worker process; one thread, for the workers are the parallelism."""
    worker = get_worker()
    models = worker.__dict__.setdefault("lstmfast_models", {})
    if path not in models:
        lstmfast.set_num_threads(1)
        models[path] = lstmfast.load_model(path)
    return models[path]


def predict_block(block: np.ndarray[Any, Any], path: str) -> np.ndarray[Any, Any]:
    return model_of_worker(path).predict(block, verbose=0)


def predict_array(x: da.Array, path: str = str(MODEL)) -> da.Array:
    """x (rows, steps, features), in blocks of rows -> (rows, outputs), lazily."""
    outputs = lstmfast.load_model(path).output_shape[-1]
    x = x.rechunk({1: -1, 2: -1})  # a block holds whole sequences
    return x.map_blocks(predict_block, path, dtype=np.float32, chunks=(x.chunks[0], (outputs,)), drop_axis=2)


def predict_partition(frame: Any, path: str, features: int) -> Any:
    """A row of the frame is one flattened window; its last forecast is the new column."""
    windows = frame.to_numpy(np.float32).reshape(len(frame), -1, features)
    return frame.assign(forecast=model_of_worker(path).predict(windows, verbose=0)[:, -1])


def predict_frame(frame: Any, path: str = str(MODEL), features: int = 6) -> Any:
    """A Dask DataFrame of flattened windows -> the same with a column `forecast`, lazily."""
    meta = frame._meta.assign(forecast=np.float32())
    return frame.map_partitions(predict_partition, path, features, meta=meta)


def main() -> None:
    import dask.dataframe as dd
    import pandas as pd

    x = np.random.default_rng(0).uniform(-1, 1, (1024, 104, 6)).astype("float32")
    expected = lstmfast.load_model(MODEL).predict(x, verbose=0)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        y = predict_array(da.from_array(x, chunks=(128, -1, -1))).compute()
        print(f"map_blocks: {y.shape}, bit-identical to one machine: {np.array_equal(y, expected)}")
        columns = [f"value{place}" for place in range(104 * 6)]
        frame = dd.from_pandas(pd.DataFrame(x.reshape(len(x), -1), columns=columns), npartitions=8)
        forecast = predict_frame(frame)["forecast"].compute()
        same = np.array_equal(forecast.to_numpy(), expected[:, -1])
        print(f"map_partitions: {forecast.shape}, bit-identical to one machine: {same}")


if __name__ == "__main__":
    main()
