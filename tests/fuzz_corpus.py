"""Good model files of every kind and version, small ones, for the fuzzer to start from.

`python fuzz_corpus.py FOLDER` writes those of this project, those of Keras 3 and of tf_keras where they are installed,
and copies those which LSTMFAST_MODELS names.
Next: mutations.py.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import oracle
from tutorial_models import random_weights

MOST_BYTES = 120_000  # of one file: larger ones say no more, and slow the fuzzer down


def sequence(k: Any) -> Any:
    """Every kind of recurrent layer and wrapper, one after the other."""
    layers = k.layers
    return k.Sequential(
        [
            k.Input((6, 3)),
            layers.Masking(0.0),
            layers.GRU(4, return_sequences=True),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum"),
            layers.SimpleRNN(4, return_sequences=True, activation="relu"),
            layers.TimeDistributed(layers.Dense(4, activation="softmax")),
            layers.LSTM(3, recurrent_activation="hard_sigmoid"),
            layers.RepeatVector(2),
            layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(2, activation="tanh"),
        ]
    )


def images(k: Any) -> Any:
    """Convolutions and pooling in one, two and three dimensions, and normalization."""
    layers = k.layers
    return k.Sequential(
        [
            k.Input((3, 4, 4, 2)),
            layers.ConvLSTM2D(2, 2, return_sequences=True),
            layers.MaxPooling3D((1, 2, 2), padding="same"),
            layers.TimeDistributed(layers.Conv2D(3, 2, padding="same")),
            layers.BatchNormalization(),
            layers.TimeDistributed(layers.GlobalAveragePooling2D()),
            layers.Conv1D(3, 2, padding="causal", dilation_rate=2),
            layers.LayerNormalization(),
            layers.ZeroPadding1D(1),
            layers.AveragePooling1D(2),
            layers.GlobalMaxPooling1D(),
            layers.LeakyReLU(),
            layers.Reshape((3, 1)),
        ]
    )


def graph(k: Any) -> Any:
    """Two inputs, two outputs, a shared layer, a nested model, and merges."""
    layers = k.layers
    tokens, numbers = k.Input((5,), dtype="int32", name="tokens"), k.Input((5, 2), name="numbers")
    embedded = layers.Embedding(7, 2, mask_zero=True)(tokens)
    shared = layers.LSTM(3, return_sequences=True)
    first, second = shared(embedded), shared(numbers)
    inner = k.Sequential([k.Input((5, 3)), layers.GRU(2, reset_after=False), layers.Dense(3)], name="inner")
    joined = layers.Concatenate()([layers.Average()([first, second]), layers.Permute((1, 2))(first)])
    summed = layers.Add()([inner(first), layers.GlobalAveragePooling1D()(second)])
    return k.Model([tokens, numbers], [layers.Dense(1)(joined), layers.Multiply()([summed, summed])])


def translator(k: Any) -> Any:
    """An encoder whose state is wired into a decoder, with attention."""
    layers = k.layers
    source, target = k.Input((4, 2)), k.Input((3, 2))
    encoded, h, c = layers.LSTM(3, return_sequences=True, return_state=True)(source)
    decoded = layers.LSTM(3, return_sequences=True)(target, initial_state=[h, c])
    seen = layers.Attention()([decoded, encoded])
    heads = layers.MultiHeadAttention(2, 2)(decoded, encoded)
    return k.Model([source, target], layers.Dense(1)(layers.Concatenate()([decoded, seen, heads])))


MODELS: tuple[Callable[[Any], Any], ...] = (sequence, images, graph, translator)


def built(make: Callable[[Any], Any], framework: Any) -> Any:
    """The model in a framework, with random weights."""
    model = make(framework)
    weights = [np.asarray(weight) for weight in model.get_weights()]
    fresh = random_weights([weight.shape for weight in weights])
    # the statistics of a normalization are no less than zero
    model.set_weights([abs(array).astype(weight.dtype) for weight, array in zip(weights, fresh, strict=True)])
    return model


def write(folder: Path, frameworks: dict[str, Any]) -> None:
    """The files of each framework, by the name of the framework."""
    import warnings

    for name, framework in frameworks.items():
        for make in MODELS:
            model = built(make, framework)
            for suffix in (".keras",) if name == "lstmfast" else (".keras", ".h5"):
                with warnings.catch_warnings():  # Keras dislikes .h5
                    warnings.simplefilter("ignore")
                    model.save(folder / f"{name}-{make.__name__}{suffix}")


def shipped() -> Iterator[Path]:
    """Files that are committed."""
    yield from sorted(path for path in oracle.GOLDEN.iterdir() if path.suffix in (".keras", ".h5"))


def of_other_projects() -> Iterator[Path]:
    """Those that LSTMFAST_MODELS names."""
    models = Path(os.environ.get("LSTMFAST_MODELS") or "/nonexistent")
    if (models / "index.json").is_file():
        names = sorted(entry["file"] for entry in json.loads((models / "index.json").read_text()))
        yield from (models / name for name in names if (models / name).stat().st_size <= MOST_BYTES)


def make_corpus(folder: Path, *, live: bool = False) -> None:
    """All of them into a folder: the same everywhere, so that a seed is the same case everywhere.

    With `live`, those of Keras 3 and tf_keras too, where they are installed, and those of LSTMFAST_MODELS.
    """
    import lstmfast

    frameworks = {"lstmfast": lstmfast}
    if live:
        found = {name: oracle.live_keras(name) for name in ("keras", "tf_keras")}
        frameworks |= {name: framework for name, framework in found.items() if framework is not None}
    write(folder, frameworks)
    for path in (*shipped(), *(of_other_projects() if live else ())):
        shutil.copy(path, folder)


if __name__ == "__main__":
    make_corpus(Path(sys.argv[1]), live=True)
