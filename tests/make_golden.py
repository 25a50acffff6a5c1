"""Writes golden/: what live Keras gives for the cases that also run without TensorFlow.

    python tests/make_golden.py

Run it with the Keras of tests/requirements.txt after a change of the cases; the outputs of unchanged cases stay the
same up to TensorFlow's rounding.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import layer_cases
import numpy as np
import oracle
import test_activations
import test_layers_against_keras as layers_test
from tutorial_models import GOLDEN, TUTORIALS

# Keep the files small: values of all outputs of one case, and inputs of an activation (the edges come first).
MOST_VALUES = 600
KEPT = 116


def layers(keras) -> dict[str, np.ndarray]:
    cases = [*layers_test.MASK_CASES, *layers_test.ACTIVATION_CASES]
    for kind in layers_test.KINDS:
        cases += layers_test.RANDOM_CASES[kind][: layers_test.GOLDEN]
    arrays: dict[str, np.ndarray] = {}
    for case in cases:
        runs = {"float32": layer_cases.run(keras.layers, case)}
        if sum(output.size for output in runs["float32"]) > MOST_VALUES:
            continue
        if not case.is_tame:
            runs["float64"] = layer_cases.run(keras.layers, case, "float64")
        for dtype, results in runs.items():
            arrays.update({f"{case.key}/{dtype}/{place:02d}": array for place, array in enumerate(results)})
    return arrays


def activations(keras) -> dict[str, np.ndarray]:
    arrays = {}
    for name in layer_cases.ACTIVATIONS:
        for dtype in test_activations.DTYPES:
            x, y = test_activations.keras_values(name, dtype)
            arrays[f"{name}/{dtype}/x"], arrays[f"{name}/{dtype}/y"] = x[:KEPT], y[:KEPT]
    return arrays


def tutorials(keras, tf_keras) -> dict[str, np.ndarray]:
    arrays = {}
    for name in GOLDEN:
        tutorial = TUTORIALS[name]
        model = tutorial.build(keras)
        arrays[name] = np.asarray(model(tutorial.inputs()))
        model.save(oracle.GOLDEN / f"{name}.keras")
        model.save(oracle.GOLDEN / f"{name}.h5", include_optimizer=False)
        tutorial.build(tf_keras).save(oracle.GOLDEN / f"{name}.tf_keras.h5", include_optimizer=False)
    return arrays


def main() -> None:
    keras, tf_keras = oracle.live_keras(), oracle.live_keras("tf_keras")
    if keras is None or tf_keras is None:
        raise SystemExit("make_golden needs TensorFlow, Keras and tf_keras")
    oracle.GOLDEN.mkdir(exist_ok=True)
    for name, arrays in (
        ("layers", layers(keras)),
        ("activations", activations(keras)),
        ("tutorials", tutorials(keras, tf_keras)),
    ):
        np.savez_compressed(oracle.GOLDEN / f"{name}.npz", **arrays)
    size = sum(path.stat().st_size for path in oracle.GOLDEN.iterdir())
    print(f"{oracle.GOLDEN}: {len(list(oracle.GOLDEN.iterdir()))} files, {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
