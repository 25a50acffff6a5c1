"""One Keras model over a Spark DataFrame, as a predict_batch_udf; see README.md. `python predict_udf.py` runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, FloatType

MODEL = Path(__file__).resolve().parent.parent / "co2" / "co2.keras"  # (104 weeks, 6 numbers) -> 52 weeks


def forecast_udf(path: str = str(MODEL), steps: int = 104, features: int = 6, batch_size: int = 256) -> Any:
    """A column function: an array column of steps * features floats -> an array column of forecasts."""

    def make_predict() -> Callable[..., Any]:
        import lstmfast

        lstmfast.set_num_threads(1)  # the Python workers are the parallelism
        model = lstmfast.load_model(path)
        return lambda x: model.predict(x.reshape(-1, steps, features), verbose=0)

    return predict_batch_udf(
        make_predict,
        return_type=ArrayType(FloatType()),
        batch_size=batch_size,
        input_tensor_shapes=[[steps * features]],
    )


def session(master: str = "local[2]") -> SparkSession:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return (
        SparkSession.builder.master(master)
        .appName("lstmfast")
        .config("spark.ui.enabled", False)
        .config("spark.sql.execution.arrow.pyspark.enabled", True)
        .getOrCreate()
    )


def main() -> None:
    import lstmfast

    x = np.random.default_rng(0).uniform(-1, 1, (512, 104, 6)).astype("float32")
    spark = session()
    rows = [(row, window.ravel().tolist()) for row, window in enumerate(x)]
    frame = spark.createDataFrame(rows, "row int, x array<float>").repartition(8)
    found = frame.select("row", forecast_udf()("x").alias("forecast")).orderBy("row").collect()
    y = np.array([row.forecast for row in found], "float32")
    same = np.array_equal(y, lstmfast.load_model(MODEL).predict(x, verbose=0))
    print(f"predict_batch_udf: {y.shape}, bit-identical to one machine: {same}")
    spark.stop()


if __name__ == "__main__":
    main()
