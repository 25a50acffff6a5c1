"""Random Sequential models, saved by Keras 3 and tf_keras in every format, and taken over live.

Stacks of recurrent layers, their wrappers, Dense and the layers that only change shapes; with padding behind a Masking
layer or an Embedding. Each has to give what the Keras that made it gives.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import layer_cases
import numpy as np
import oracle
import pytest
from bits import assert_same_bits
from tutorial_models import build

import lstmfast

COUNT = 72
LONG_BLOCK, LONG_BLOCKS = 50, 20
SOURCES = (
    ("keras", "model.keras"),
    ("keras", "model.h5"),
    ("keras", None),
    ("tf_keras", "model.h5"),
    ("tf_keras", "model.keras"),
    ("tf_keras", None),
)
ELEMENTWISE = ("relu", "tanh", "sigmoid", "softmax", "elu", "selu", "softplus", "softsign", "linear", "swish", "gelu")


@dataclasses.dataclass(frozen=True)
class ModelCase:
    seed: int
    shape: tuple[int | None, ...]
    layers: tuple[tuple[Any, ...], ...]
    tokens: int = 0  # of an Embedding in front
    padded: bool = False

    def inputs(self) -> np.ndarray:
        random = np.random.default_rng([self.seed, 7])
        rows, steps = int(random.integers(1, 6)), self.shape[0] or int(random.integers(2, 7))
        if self.tokens:
            x = random.integers(1, self.tokens, (rows, steps)).astype("int32")
        else:
            x = random.uniform(-1, 1, (rows, steps, self.shape[1])).astype("float32")
        if self.padded:
            x[~layer_cases.draw_mask(random, "mixed", rows, steps)] = 0
        return x


def random_model(seed: int) -> ModelCase:
    """A model of two to six layers; only layers that lstmfast has by now."""
    random = np.random.default_rng([seed, 11])

    def pick(options: Any) -> Any:
        return options[random.integers(len(options))]

    def size() -> int:
        return int(pick(layer_cases.SIZES[:12]))

    def recurrent(sequences: bool) -> tuple[Any, ...]:
        options: dict[str, Any] = {"return_sequences": sequences}
        kind = pick(["LSTM", "LSTM", "GRU", "SimpleRNN"])
        if random.random() < 0.3:
            options["activation"] = pick(["relu", "sigmoid", "softsign", "hard_sigmoid"])
        if kind != "SimpleRNN" and random.random() < 0.3:
            options["recurrent_activation"] = pick(["hard_sigmoid", "relu", "tanh"])
        if random.random() < 0.2:
            options["go_backwards"] = True
        if random.random() < 0.2:
            options["use_bias"] = False
        if kind == "GRU" and random.random() < 0.4:
            options["reset_after"] = False
        if random.random() < 0.25 and not options.get("go_backwards"):
            merge = {"merge_mode": pick(["concat", "sum", "mul", "ave"])}
            return ("Bidirectional", (kind, size(), options), merge)
        return (kind, size(), options)

    stack: list[tuple[Any, ...]] = []
    tokens = int(random.integers(5, 30)) if random.random() < 0.2 else 0
    padded = random.random() < (0.5 if tokens else 0.25)
    features = size()
    if tokens:
        stack.append(("Embedding", tokens, size(), {"mask_zero": padded}))
    elif padded:
        stack.append(("Masking", {"mask_value": 0.0}))
    is_sequence, flattens = True, not padded  # Flatten takes no mask
    for _ in range(int(random.integers(1, 5))):
        if is_sequence:
            choice = pick(["recurrent", "recurrent", "last", "dense", "time", "inert", "flatten"])
            if choice == "recurrent":
                stack.append(recurrent(True))
            elif choice == "last" or (choice == "flatten" and not flattens):
                stack.append(recurrent(False))
                is_sequence = False
            elif choice == "dense":
                stack.append(("Dense", size(), {"activation": pick(ELEMENTWISE)}))
            elif choice == "time":
                stack.append(("TimeDistributed", ("Dense", size(), {"activation": pick(ELEMENTWISE)})))
            elif choice == "inert":
                stack.append(pick([("Dropout", 0.4), ("Activation", pick(ELEMENTWISE))]))
            else:
                stack.append(("Flatten",))
                is_sequence = False
        else:
            choice = pick(["dense", "repeat", "inert"])
            if choice == "dense":
                stack.append(("Dense", size(), {"activation": pick(ELEMENTWISE)}))
            elif choice == "repeat":
                stack.append(("RepeatVector", int(random.integers(1, 6))))
                is_sequence, flattens = True, True
            else:
                stack.append(("Dropout", 0.2))
    stack.append(("Dense", size(), {"activation": pick(["linear", "sigmoid", "softmax"])}))
    if not any(name in ("Bidirectional", *layer_cases.GATES) for name, *_ in stack):
        stack.insert(1 if padded or tokens else 0, recurrent(True))
    is_flat = any(name == "Flatten" for name, *_ in stack)
    steps = int(random.integers(2, 8)) if is_flat or random.random() < 0.7 else None
    shape = (steps, *(() if tokens else (features,)))
    return ModelCase(seed, shape, tuple(stack), tokens, padded)


def check(case: ModelCase, source: tuple[str, str | None], folder: Any) -> None:
    framework_name, file_name = source
    framework = oracle.live_keras(framework_name)
    if framework is None:
        pytest.skip(f"needs TensorFlow and {framework_name}")
    x = case.inputs()
    keras_input = framework.Input(case.shape, dtype="int32" if case.tokens else "float32")
    theirs = build(framework, keras_input, case.layers, case.seed)
    expected = np.asarray(theirs(x))
    if file_name is None:
        mine = lstmfast.from_keras(theirs)
    else:
        path = folder / file_name
        theirs.save(path)
        mine = lstmfast.load_model(path)
    what = f"{case} from {source}"
    assert mine.count_params() == theirs.count_params()
    assert [layer.name for layer in mine.layers] == [layer.name for layer in theirs.layers]
    y = mine.predict(x)
    oracle.assert_close(y, expected, oracle.LOOSE * (1 + np.abs(expected)), what)
    for row in {0, len(x) - 1}:
        assert_same_bits(mine(x[row : row + 1]), y[row : row + 1], what)
    # the same definition, with the import line changed
    again = build(lstmfast, lstmfast.Input(case.shape, dtype="int32" if case.tokens else "float32"), case.layers)
    if framework_name == "keras":
        again.set_weights(theirs.get_weights())
        assert_same_bits(again(x), y, what)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("seed", range(COUNT))
def test_random_model(seed, tmp_path):
    check(random_model(seed), SOURCES[seed % len(SOURCES)], tmp_path)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("block", range(LONG_BLOCKS))
def test_many_random_models(block, tmp_path):
    for seed in range(1000 + block * LONG_BLOCK, 1000 + (block + 1) * LONG_BLOCK):
        check(random_model(seed), SOURCES[seed % len(SOURCES)], tmp_path)
        oracle.live_keras().backend.clear_session()


def test_models_are_varied():
    cases = [random_model(seed) for seed in range(COUNT)]
    names = {name for case in cases for name, *_ in case.layers}
    assert {
        "LSTM",
        "GRU",
        "SimpleRNN",
        "Bidirectional",
        "Dense",
        "TimeDistributed",
        "RepeatVector",
        "Flatten",
        "Dropout",
        "Activation",
        "Embedding",
        "Masking",
    } <= names
    assert sum(case.padded for case in cases) > 8
