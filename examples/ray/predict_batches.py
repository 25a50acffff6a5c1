"""One Keras model over a Ray data set, one actor a worker; see README.md. `python predict_batches.py` runs it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
import ray.data

import lstmfast

MODEL = Path(__file__).resolve().parent.parent / "co2" / "co2.keras"  # (104 weeks, 6 numbers) -> 52 weeks


class Predictor:
    """Loads the model once in each actor; one thread, for the actors are the parallelism."""

    def __init__(self, path: str) -> None:
        lstmfast.set_num_threads(1)
        self.model = lstmfast.load_model(path)

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
        return {"forecast": self.model.predict(batch["data"], verbose=0)}


def predict_dataset(dataset: Any, path: str = str(MODEL), workers: int = 2, batch_size: int = 256) -> Any:
    """A data set with a column `data` (steps, features) -> one with a column `forecast` (outputs,), lazily."""
    return dataset.map_batches(
        Predictor,
        fn_constructor_args=(path,),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )


def start() -> None:
    """Two CPUs of this machine; rows keep their order, which Ray gives up by default."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False


def forecasts(dataset: Any) -> np.ndarray[Any, Any]:
    """The column `forecast` as one array."""
    return np.concatenate([batch["forecast"] for batch in dataset.iter_batches(batch_size=None)])


def main() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (1024, 104, 6)).astype("float32")
    start()
    y = forecasts(predict_dataset(ray.data.from_numpy(np.array_split(x, 8)), batch_size=128))
    same = np.array_equal(y, lstmfast.load_model(MODEL).predict(x, verbose=0))
    print(f"map_batches: {y.shape}, bit-identical to one machine: {same}")
    ray.shutdown()


if __name__ == "__main__":
    main()
